/* Growing text, and code printed with the indentation that its braces ask for. */
#include "emit_text.h"
#include "mugraph/check.h"

#include <ctype.h>
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

cuda_name cuda_name_text (const char *name, const char *text) {
  assert (text);
  return (cuda_name){.name = name, .text = text};
}

cuda_name cuda_name_number (const char *name, long long number) {
  cuda_name n = {.name = name};
  snprintf (n.number, sizeof n.number, "%lld", number);
  return n;
}

/* Reads $name or ${name} at code and moves behind it. Returns its index. */
static int read_name (const char **code, const cuda_name *names) {
  const bool braces = (*code)[1] == '{';
  const char *begin = *code + 1 + braces, *end = begin;
  while (isalnum ((unsigned char) *end) || *end == '_') end++;
  const size_t n = (size_t) (end - begin);
  *code = end + braces;
  for (int i = 0; names[i].name; i++)
    if (strlen (names[i].name) == n && !memcmp (names[i].name, begin, n)) return i;
  assert (!"a name of the block");
  return 0;
}

void cuda_print_block (cuda_text *t, const char *code, const cuda_name *names) {
  unsigned long long used = 0;
  const char *line = code; /* where it begins; NULL: something was printed of it */
  while (*code) {
    const size_t n = strcspn (code, "$\n");
    if (code[n] == '$') {
      const bool alone = line && strspn (line, " ") == (size_t) (code + n - line);
      const char *at = code + n;
      const int i = read_name (&at, names);
      const char *value = names[i].text ? names[i].text : names[i].number;
      assert (i < 64); /* bits of used */
      used |= 1ull << i;
      if (alone && *at == '\n' && !*value) {
        code = line = at + 1;
        continue;
      }
      cuda_print (t, "%.*s%s", (int) n, code, value);
      code = at, line = NULL;
    } else {
      const bool ends = code[n] == '\n';
      cuda_print (t, "%.*s", (int) (n + ends), code);
      code += n + ends, line = ends ? code : NULL;
    }
  }
  for (int i = 0; names[i].name; i++) assert (used >> i & 1);
  (void) used;
}

/* What a line of code does to those below it. */
typedef struct {
  int depth, indent[32]; /* open braces, and the indentation of the lines that opened them */
  int inner;             /* loops and conditions whose statement without braces is still to come */
  bool open;             /* the statement goes on in the next line */
} layout;

static bool begins (const char *code, const char *word) { return !strncmp (code, word, strlen (word)); }

/* Length of a line of code without the comment at its end. */
static int code_length (const char *code, int n) {
  bool quoted = false;
  for (int i = 0; i < n; i++) {
    if (code[i] == '"') quoted = !quoted;
    else if (code[i] == '\\') i++;
    else if (!quoted && i + 1 < n && code[i] == '/' && code[i + 1] == '/') n = i;
  }
  while (n && code[n - 1] == ' ') n--;
  return n;
}

/* Where the line begins: below the line that opened its block, deeper where it goes on with something. */
static int indentation (const layout *l, const char *code) {
  int depth = l->depth;
  for (const char *c = code; *c == '}'; c++) depth -= depth > 0;
  if (*code == '}') return l->indent[depth];
  return (depth ? l->indent[depth - 1] + 2 : 0) + 2 * l->inner + (l->open ? 4 : 0);
}

static void advance (layout *l, const char *code, int n, int indent) {
  bool quoted = false, starts = !l->open;
  int round = 0;
  for (int i = 0; i < n; i++) {
    if (code[i] == '\\') i++;
    else if (code[i] == '"') quoted = !quoted;
    else if (quoted) continue;
    else if (code[i] == '{') {
      assert (l->depth < (int) (sizeof l->indent / sizeof *l->indent));
      l->indent[l->depth++] = indent - (starts ? 0 : 4);
    } else if (code[i] == '}') {
      assert (l->depth > 0);
      l->depth--;
    } else round += (code[i] == '(') - (code[i] == ')');
  }
  const char last = code[n - 1];
  const bool control = begins (code, "for (") || begins (code, "if (") || begins (code, "else");
  if (strchr (";{}:", last)) l->open = false, l->inner = 0;
  else if (control && !round) l->inner++;
  else l->open = !begins (code, "template");
}

void cuda_print_indented (cuda_text *t, const char *code) {
  layout l = {.depth = 0};
  while (*code) {
    while (*code == ' ') code++;
    const int n = (int) strcspn (code, "\n"), length = code_length (code, n);
    const int indent = *code == '#' || !n ? 0 : indentation (&l, code);
    cuda_print (t, "%*s%.*s\n", indent, "", n, code);
    if (*code != '#' && length) advance (&l, code, length, indent);
    code += n + (code[n] == '\n');
  }
  CHECK (l.depth == 0);
}

void cuda_text_free (cuda_text *t) {
  free (t->data);
  *t = (cuda_text){0};
}
