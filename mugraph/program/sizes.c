/* Sizes: whole numbers and names of sizes under + - * / and parentheses. */
#include "parser.h"

/* number | NAME | '-' atom | '(' size ')' */
static bool parse_size_atom (parser *p, size_value *v) {
  if (!parser_enter (p)) return false;
  size_t at = p->l.tok.at;
  *v = (size_value){0, false, NULL};
  if (p->l.tok.kind == TOKEN_NUMBER) {
    for (size_t i = 0; i < p->l.tok.len; i++) {
      char c = p->l.text[at + i];
      if (!lexer_is_digit (c)) return lexer_fail (&p->l, at, "sizes are whole numbers");
      if (__builtin_mul_overflow (v->n, 10, &v->n) || __builtin_add_overflow (v->n, c - '0', &v->n))
        return lexer_fail (&p->l, at, "this size is too large");
    }
    if (!lexer_advance (&p->l)) return false;
  } else if (p->l.tok.kind == TOKEN_NAME) {
    char name[MUGRAPH_NAME];
    if (!parser_name (p, name, "a size")) return false;
    const symbol *s = parser_find (p, name);
    if (!s) return parser_unknown_name (p, at, name);
    if (s->kind != SYMBOL_SIZE)
      return lexer_fail (&p->l, at, "'%s' is not a size; `dim %s = ...` would make one", name, name);
    *v = (size_value){s->size, s->by_batch, s->line ? s : NULL};
    p->uses_batch |= s->by_batch;
    if (!lexer_advance (&p->l)) return false;
  } else if (p->l.tok.kind == '-') {
    if (!lexer_advance (&p->l) || !parse_size_atom (p, v)) return false;
    if (__builtin_sub_overflow (0, v->n, &v->n)) return lexer_fail (&p->l, at, "this size is too large");
  } else if (p->l.tok.kind == '(') {
    if (!lexer_advance (&p->l) || !parser_size (p, v) || !lexer_expect (&p->l, ')', "')'")) return false;
  } else return lexer_unexpected (&p->l, "a size");
  p->depth--;
  return true;
}

static bool combine_sizes (parser *p, size_t at, int op, size_value *a, const size_value *b) {
  bool overflow = false;
  if (op == '/' && !b->n) return lexer_fail (&p->l, at, "division by zero");
  switch (op) {
  case '+': overflow = __builtin_add_overflow (a->n, b->n, &a->n); break;
  case '-': overflow = __builtin_sub_overflow (a->n, b->n, &a->n); break;
  case '*': overflow = __builtin_mul_overflow (a->n, b->n, &a->n); break;
  default:
    if (b->n == -1) overflow = __builtin_sub_overflow (0, a->n, &a->n);
    else a->n /= b->n;
  }
  a->by_batch |= b->by_batch;
  if (!a->named) a->named = b->named;
  return !overflow || lexer_fail (&p->l, at, "this size is too large");
}

/* size: product (('+' | '-') product)*, product: atom (('*' | '/') atom)* */
static bool parse_size_level (parser *p, size_value *v, bool product) {
  if (!(product ? parse_size_atom (p, v) : parse_size_level (p, v, true))) return false;
  while (product ? p->l.tok.kind == '*' || p->l.tok.kind == '/' : p->l.tok.kind == '+' || p->l.tok.kind == '-') {
    int op = p->l.tok.kind;
    size_t at = p->l.tok.at;
    size_value w;
    if (!lexer_advance (&p->l) || !(product ? parse_size_atom (p, &w) : parse_size_level (p, &w, true))) return false;
    if (!combine_sizes (p, at, op, v, &w)) return false;
  }
  return true;
}

bool parser_size (parser *p, size_value *v) { return parse_size_level (p, v, false); }

bool parser_check_size (parser *p, size_t at, int64_t n) {
  return (n >= 1 && n <= MUGRAPH_MAX_DIM) || lexer_fail (&p->l, at, "a size of %lld is out of range (1 to %lld)",
                                                         (long long) n, (long long) MUGRAPH_MAX_DIM);
}
