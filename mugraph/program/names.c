/* The names of a program: sizes, numbers and tensors. */
#include "parser.h"

#include <stdio.h>
#include <string.h>

bool parser_enter (parser *p) {
  return ++p->depth <= PARSER_NESTING ||
         lexer_fail (&p->l, p->l.tok.at, "nested deeper than %d levels", PARSER_NESTING);
}

symbol *parser_find (parser *p, const char *name) {
  for (int i = 0; i < p->n_symbols; i++)
    if (!strcmp (p->symbol[i].name, name)) return &p->symbol[i];
  return NULL;
}

/* The current token as a name. */
bool parser_name (parser *p, char name[MUGRAPH_NAME], const char *wanted) {
  if (p->l.tok.kind != TOKEN_NAME) return lexer_unexpected (&p->l, wanted);
  if (p->l.tok.len >= MUGRAPH_NAME)
    return lexer_fail (&p->l, p->l.tok.at, "this name is longer than %d characters", MUGRAPH_NAME - 1);
  memcpy (name, p->l.text + p->l.tok.at, p->l.tok.len);
  name[p->l.tok.len] = 0;
  return true;
}

/* The current token as the name of something new. */
bool parser_new_name (parser *p, char name[MUGRAPH_NAME]) {
  if (!parser_name (p, name, "a name")) return false;
  if (!strcmp (name, "input") || !strcmp (name, "output") || !strcmp (name, "dim"))
    return lexer_fail (&p->l, p->l.tok.at, "'%s' is a word of the language and cannot be a name", name);
  const symbol *s = parser_find (p, name);
  if (s && !s->line) return lexer_fail (&p->l, p->l.tok.at, "'%s' is the batch size and cannot be defined", name);
  if (s) return lexer_fail (&p->l, p->l.tok.at, "'%s' is defined already, in line %d", name, s->line);
  if (p->n_symbols >= PARSER_SYMBOLS) return lexer_fail (&p->l, p->l.tok.at, "more than %d names", PARSER_SYMBOLS);
  return true;
}

symbol *parser_define (parser *p, const char *name, symbol_kind kind, size_t at) {
  symbol *s = &p->symbol[p->n_symbols++];
  *s = (symbol){.kind = kind, .line = lexer_line (&p->l, at), .tensor = -1};
  snprintf (s->name, sizeof s->name, "%s", name);
  return s;
}

static const char *next_symbol (const void *user, int i) {
  const parser *p = user;
  return i < p->n_symbols ? p->symbol[i].name : NULL;
}

bool parser_unknown_name (parser *p, size_t at, const char *name) {
  const char *like = mugraph_most_like (name, next_symbol, p);
  return lexer_fail (&p->l, at, "unknown name '%s'%s%s%s", name, like ? "; did you mean '" : "", like ? like : "",
                     like ? "'?" : "");
}

const mugraph_override *parser_override (parser *p, const char *name) {
  for (int i = 0; p->options && i < p->options->n_overrides; i++)
    if (!strcmp (p->options->override[i].name, name)) {
      p->overridden[i] = true;
      return &p->options->override[i];
    }
  return NULL;
}
