/* libFuzzer: the reader of our schema. Whatever is accepted must pass inference and read back from its own text. */
#include "mugraph/file/saved.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size) {
  mugraph_file f, again;
  mugraph_error e = {""};
  if (!mugraph_file_parse ("fuzz", (const char *) data, size, &f, &e)) {
    if (!*e.text || strchr (e.text, '\n')) abort (); /* one line, always */
    return 0;
  }
  for (int i = 0; i < f.n; i++)
    if (!mugraph_infer (&f.saved[i].graph, &e)) abort ();
  char *text = mugraph_file_print (&f);
  if (!text || !mugraph_file_parse ("again", text, strlen (text), &again, &e) || again.n != f.n) abort ();
  for (int i = 0; i < f.n; i++)
    if (!mugraph_equal (&f.saved[i].graph, &again.saved[i].graph)) abort ();
  free (text);
  mugraph_file_free (&again);
  mugraph_file_free (&f);
  return 0;
}
