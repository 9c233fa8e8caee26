/* Golden files: what is printed is compared byte for byte with a file under tests/golden/. `make golden` rewrites them
   instead; git then shows what changed. */
#ifndef TESTS_GOLDEN_H
#define TESTS_GOLDEN_H

#include "cuda_templates/emit/templates.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* $MSEARCH_GOLDEN: "write" rewrites golden files, "only" compares them and leaves out all other tests. */
static inline bool golden_writes (void) {
  const char *how = getenv ("MSEARCH_GOLDEN");
  return how && !strcmp (how, "write");
}
/* Called by main. */
static inline void golden_filter (void) {
  if (getenv ("MSEARCH_GOLDEN")) cmocka_set_test_filter ("golden*");
}

#define GOLDEN_FOLDER "tests/golden/"

static inline char *golden_read (const char *path) {
  FILE *f = fopen (path, "rb");
  if (!f) return NULL;
  size_t size = 0, room = 1 << 16;
  char *text = malloc (room);
  for (size_t n; text && (n = fread (text + size, 1, room - size - 1, f)) > 0;) {
    size += n;
    if (room - size >= 2) continue;
    char *more = realloc (text, room *= 2);
    if (!more) free (text);
    text = more;
  }
  fclose (f);
  if (text) text[size] = 0;
  return text;
}

/* The first line of printed that is not wanted's, which is shown; 0: none. */
static inline int golden_difference (const char *path, const char *wanted, const char *printed) {
  if (!strcmp (wanted, printed)) return 0;
  for (int line = 1;; line++) {
    size_t n = strcspn (wanted, "\n"), m = strcspn (printed, "\n");
    if (n != m || memcmp (wanted, printed, n) || !wanted[n] || !printed[m]) {
      print_message ("%s:%d: differs (`make golden` takes what is printed now)\n  golden   %.*s\n  printed  %.*s\n",
                     path, line, (int) n, wanted, (int) m, printed);
      return line;
    }
    wanted += n + 1, printed += m + 1;
  }
}

/* Fails with the first line that differs. name: below tests/golden/. */
static inline void golden_check (const char *name, const char *text) {
  char path[300];
  snprintf (path, sizeof path, GOLDEN_FOLDER "%s", name);
  if (golden_writes ()) {
    FILE *f = fopen (path, "wb");
    assert_non_null (f);
    fputs (text, f);
    assert_int_equal (fclose (f), 0);
    return;
  }
  char *wanted = golden_read (path);
  if (!wanted) fail_msg ("%s cannot be read; `make golden` writes it", path);
  int line = golden_difference (path, wanted, text);
  free (wanted);
  if (line) fail_msg ("%s: line %d differs", path, line);
}

/* Device templates in an emitted source as #include lines: they are files of the tree, and golden kernels that include
   them compile with nvcc -I cuda_templates/device -I cuda_templates/chain (each folder). Owned by the caller. */
static inline char *golden_includes (const char *source) {
  char *text = malloc (strlen (source) + 1), *to = text;
  assert_non_null (text);
  for (const char *from = source; *from;) {
    const cuda_template_file *t = cuda_template_files;
    if (from == source || from[-1] == '\n')
      while (t->name && strncmp (from, t->text, strlen (t->text))) t++;
    else t += cuda_n_template_files;
    if (t->name) {
      to += sprintf (to, "#include \"%s\"\n", t->name);
      from += strlen (t->text);
    } else *to++ = *from++;
  }
  *to = 0;
  return text;
}

#endif
