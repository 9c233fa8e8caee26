/* Growing text, and code printed with the indentation that its braces ask for. */
#include "emit_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void cuda_print_list (cuda_text *t, const char *format, va_list list) {
  if (t->failed) return;
  va_list again;
  va_copy (again, list);
  int n = vsnprintf (NULL, 0, format, again);
  va_end (again);
  if (n < 0) {
    t->failed = true;
    return;
  }
  if (t->size + (size_t) n + 1 > t->room) {
    size_t room = 2 * (t->size + (size_t) n + 1);
    char *data = realloc (t->data, room);
    if (!data) {
      t->failed = true;
      return;
    }
    t->data = data, t->room = room;
  }
  vsnprintf (t->data + t->size, (size_t) n + 1, format, list);
  t->size += (size_t) n;
}

void cuda_print (cuda_text *t, const char *format, ...) {
  va_list list;
  va_start (list, format);
  cuda_print_list (t, format, list);
  va_end (list);
}

void cuda_print_indented (cuda_text *t, const char *code) {
  int depth = 1;
  bool open = false; /* the statement goes on in the next line */
  while (*code) {
    while (*code == ' ') code++;
    int n = (int) strcspn (code, "\n"), inner = depth;
    for (int i = 0; i < n && code[i] == '}'; i++) inner--;
    bool directive = *code == '#', comment = !strncmp (code, "//", 2);
    int indent = directive || !n ? 0 : 2 * (inner < 0 ? 0 : inner) + (open && inner == depth ? 4 : 0);
    cuda_print (t, "%*s%.*s\n", indent, "", n, code);
    for (int i = 0; i < n && !directive && strncmp (code + i, "//", 2); i++) {
      if (code[i] == '"')
        while (++i < n && code[i] != '"') i += code[i] == '\\';
      else depth += (code[i] == '{') - (code[i] == '}');
    }
    if (!directive && !comment) open = n && !strchr (";{}:,(", code[n - 1]);
    code += n + (code[n] == '\n');
  }
}

void cuda_text_free (cuda_text *t) {
  free (t->data);
  *t = (cuda_text){0};
}
