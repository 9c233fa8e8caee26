/* libFuzzer on the program language and the shape parser: no input may crash, and what is accepted prints and reads
   back to an equal graph. The first line, up to a newline, is tried as an override of the rest as well. */
#include "mugraph/program/program.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static void round_trip (const mugraph_program *p) {
  static mugraph_program q;
  mugraph_error e;
  char *text = mugraph_program_print (&p->graph);
  if (!text) abort ();
  if (!mugraph_program_parse (text, strlen (text), "printed", NULL, &q, &e)) abort ();
  if (!mugraph_equal (&p->graph, &q.graph)) abort ();
  free (text);
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size) {
  static mugraph_program p;
  mugraph_error e;
  const char *text = (const char *) data;
  if (mugraph_program_parse (text, size, "fuzz", NULL, &p, &e)) round_trip (&p);
  const char *line = memchr (text, '\n', size);
  size_t len = line ? (size_t) (line - text) : size;
  char *shape = malloc (len + 1);
  if (!shape) return 0;
  memcpy (shape, text, len);
  shape[len] = 0;
  mugraph_program_options o = {.batch = 3};
  if (mugraph_program_override (shape, &o, &e) && line &&
      mugraph_program_parse (line + 1, size - len - 1, "fuzz", &o, &p, &e))
    round_trip (&p);
  free (shape);
  return 0;
}
