/* Expressions: one function a grammar rule, which stands above it. */
#include "parser.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* function '(' expr, ... ')'; the current token is '(' */
static bool parse_call (parser *p, size_t at, const char *name, value *v) {
  value arg[PARSER_ARGUMENTS];
  int n = 0;
  if (!parser_is_function (name)) return parser_unknown_function (p, at, name);
  if (!lexer_advance (&p->l)) return false;
  while (p->l.tok.kind != ')' && n < PARSER_ARGUMENTS) {
    if (!parser_expr (p, &arg[n++])) return false;
    if (p->l.tok.kind == ',') {
      if (!lexer_advance (&p->l)) return false;
      if (p->l.tok.kind == ')') return lexer_unexpected (&p->l, "another argument");
    } else if (p->l.tok.kind != ')') return lexer_unexpected (&p->l, "',' or ')'");
  }
  return parser_takes (p, at, name, n) && lexer_expect (&p->l, ')', "')'") && parser_call (p, at, name, arg, n, v);
}

/* atom: number | NAME | '(' expr ')' | function '(' expr, ... ')' */
static bool parse_atom (parser *p, value *v) {
  size_t at = p->l.tok.at;
  *v = (value){.tensor = -1, .at = at};
  if (p->l.tok.kind == TOKEN_NUMBER) {
    char digits[64];
    if (p->l.tok.len >= sizeof digits)
      return lexer_fail (&p->l, at, "a number of more than %d characters", (int) sizeof digits - 1);
    memcpy (digits, p->l.text + at, p->l.tok.len);
    digits[p->l.tok.len] = 0;
    v->is_number = true;
    v->number = strtod (digits, NULL);
    if (!isfinite (v->number)) return lexer_fail (&p->l, at, "this constant is not a finite number");
    return lexer_advance (&p->l);
  }
  if (p->l.tok.kind == TOKEN_NAME) {
    char name[MUGRAPH_NAME];
    if (!parser_name (p, name, "a name") || !lexer_advance (&p->l)) return false;
    if (p->l.tok.kind == '(') return parse_call (p, at, name, v);
    const symbol *s = parser_find (p, name);
    if (!s) {
      if (parser_is_function (name)) return lexer_fail (&p->l, at, "'%s' is a function: write %s(...)", name, name);
      return parser_unknown_name (p, at, name);
    }
    v->is_number = s->kind != SYMBOL_TENSOR;
    v->number = s->kind == SYMBOL_SIZE ? (double) s->size : s->number;
    v->tensor = s->tensor;
    p->uses_batch |= s->kind == SYMBOL_SIZE && s->by_batch;
    return true;
  }
  if (p->l.tok.kind != '(') return lexer_unexpected (&p->l, "an expression");
  return lexer_advance (&p->l) && parser_expr (p, v) && lexer_expect (&p->l, ')', "')'");
}

/* sign: '-' sign | atom */
static bool parse_sign (parser *p, value *v) {
  if (!parser_enter (p)) return false;
  size_t at = p->l.tok.at;
  bool ok;
  if (p->l.tok.kind == '-') {
    value x;
    ok = lexer_advance (&p->l) && parse_sign (p, &x) && parser_apply (p, at, MUGRAPH_OP_NEG, 1, &x, v);
  } else ok = parse_atom (p, v);
  p->depth--;
  return ok;
}

/* term: sign (('*' | '/') sign)* */
static bool parse_term (parser *p, value *v) {
  if (!parse_sign (p, v)) return false;
  while (p->l.tok.kind == '*' || p->l.tok.kind == '/') {
    mugraph_op_kind kind = p->l.tok.kind == '*' ? MUGRAPH_OP_MUL : MUGRAPH_OP_DIV;
    size_t at = p->l.tok.at;
    value in[2] = {*v};
    if (!lexer_advance (&p->l) || !parse_sign (p, &in[1]) || !parser_apply (p, at, kind, 2, in, v)) return false;
  }
  return true;
}

/* expr: term (('+' | '-') term)* */
bool parser_expr (parser *p, value *v) {
  if (!parse_term (p, v)) return false;
  while (p->l.tok.kind == '+' || p->l.tok.kind == '-') {
    mugraph_op_kind kind = p->l.tok.kind == '+' ? MUGRAPH_OP_ADD : MUGRAPH_OP_SUB;
    size_t at = p->l.tok.at;
    value in[2] = {*v};
    if (!lexer_advance (&p->l) || !parse_term (p, &in[1]) || !parser_apply (p, at, kind, 2, in, v)) return false;
  }
  return true;
}
