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

/* What stands for $name in a block of code. */
typedef struct {
  const char *name;
  const char *text; /* NULL: the number */
  char number[24];
} cuda_name;

cuda_name cuda_name_text (const char *name, const char *text);
cuda_name cuda_name_number (const char *name, long long number);
/* A text or an integer. */
#define CUDA_NAME(name, value)                                                                                         \
  _Generic((value), char * : cuda_name_text, const char * : cuda_name_text, default : cuda_name_number) (name, value)

/* Appends a block of code that reads as what is emitted, with $name or ${name} replaced:
     cuda_block (t,
                 "for (int i = 0; i < $count; i++) {\n"
                 "  $body\n"
                 "}\n",
                 CUDA_NAME ("count", 4), CUDA_NAME ("body", body))
   A line that holds one name alone vanishes when that is empty. Every $name is given and every name given is used:
   both are asserted. At least one. */
#define cuda_block(text, code, ...) cuda_print_block (text, code, (const cuda_name[]){__VA_ARGS__, {0}})
void cuda_print_block (cuda_text *, const char *code, const cuda_name *names);

/* Appends code with every line indented by its depth in braces and by what it goes on with; blanks that it began with
   do not count. Directives stay at the margin. Braces match. */
void cuda_print_indented (cuda_text *, const char *code);

#endif
