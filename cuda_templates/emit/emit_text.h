/* Growing text: what emitters print to. */
#ifndef CUDA_TEMPLATES_EMIT_EMIT_TEXT_H
#define CUDA_TEMPLATES_EMIT_EMIT_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct {
  char *data; /* owned; NULL while empty. 0-terminated */
  size_t size, room;
  bool failed; /* out of memory: later calls do nothing */
} cuda_text;

void cuda_print (cuda_text *, const char *format, ...) __attribute__ ((format (printf, 2, 3)));
void cuda_print_list (cuda_text *, const char *format, va_list);
void cuda_text_free (cuda_text *);

/* Appends code with every line indented by its depth in braces and by what it goes on with; blanks that it began with
   do not count. Directives stay at the margin. Braces match. */
void cuda_print_indented (cuda_text *, const char *code);

#endif
