/* Operators and functions on values: constants are folded, the same operator on the same tensors is one tensor. */
#include "parser.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- operators ---- */

/* The same operator on the same tensors is the same tensor. */
static int find_op (const mugraph *g, const mugraph_op *op) {
  for (int i = 0; i < g->n_ops; i++) {
    const mugraph_op *o = &g->op[i];
    if (o->kind == op->kind && o->n_in == op->n_in && !memcmp (o->in, op->in, sizeof o->in) &&
        mugraph_same_attributes (o, op))
      return o->out[0];
  }
  return -1;
}

/* Appends op, whose attributes are set, on these tensors; false with a message at `at`. */
static bool append (parser *p, size_t at, mugraph_op op, int n_in, const int in[], value *out) {
  mugraph *g = &p->g;
  const mugraph_shape *shapes[MUGRAPH_FANIN];
  mugraph_shape shape;
  mugraph_error e;
  op.n_in = (uint8_t) n_in;
  for (int i = 0; i < n_in; i++) {
    op.in[i] = (uint8_t) in[i];
    shapes[i] = &g->tensor[in[i]].shape;
  }
  *out = (value){.tensor = find_op (g, &op), .at = at};
  if (out->tensor >= 0) return true;
  if (!mugraph_infer_op (&op, shapes, &shape, &e)) return lexer_fail (&p->l, at, "%s", e.text);
  if (g->n_ops >= MUGRAPH_KERNEL_OPS || g->n_tensors >= MUGRAPH_TENSORS)
    return lexer_fail (&p->l, at, "more than %d operators in one program", MUGRAPH_KERNEL_OPS);
  out->tensor = g->n_tensors++;
  op.n_out = 1;
  op.out[0] = (uint8_t) out->tensor;
  g->tensor[out->tensor].shape = shape;
  g->tensor[out->tensor].name[0] = 0;
  g->op[g->n_ops++] = op;
  return true;
}

/* A number as an operand. */
static bool make_tensor (parser *p, value *v) {
  if (!v->is_number) return true;
  mugraph_op op = mugraph_op_of (MUGRAPH_OP_CONST, -1);
  op.c[0] = v->number;
  return append (p, v->at, op, 0, NULL, v);
}

/* Operations on numbers; the functions that people write to get a constant. */
static bool fold (parser *p, size_t at, mugraph_op_kind kind, double a, double b, value *out) {
  double r;
  switch (kind) {
  case MUGRAPH_OP_NEG: r = -a; break;
  case MUGRAPH_OP_EXP: r = exp (a); break;
  case MUGRAPH_OP_SQUARE: r = a * a; break;
  case MUGRAPH_OP_SQRT: r = sqrt (a); break;
  case MUGRAPH_OP_LOG: r = log (a); break;
  case MUGRAPH_OP_ADD: r = a + b; break;
  case MUGRAPH_OP_SUB: r = a - b; break;
  case MUGRAPH_OP_MUL: r = a * b; break;
  case MUGRAPH_OP_DIV: r = a / b; break;
  case MUGRAPH_OP_POW: r = pow (a, b); break;
  default: return lexer_fail (&p->l, at, "%s takes a tensor, not a number", mugraph_op_table[kind].text);
  }
  if (!isfinite (r)) return lexer_fail (&p->l, at, "this constant is not a finite number");
  *out = (value){.is_number = true, .number = r, .at = at};
  return true;
}

/* An elementwise operator on one or two values. */
static bool apply (parser *p, size_t at, mugraph_op op, int n, value in[], value *out) {
  if (in[0].is_number && (n == 1 || in[1].is_number)) return fold (p, at, op.kind, in[0].number, in[n - 1].number, out);
  int tensor[2];
  for (int i = 0; i < n; i++) {
    if (!make_tensor (p, &in[i])) return false;
    tensor[i] = in[i].tensor;
  }
  return append (p, at, op, n, tensor, out);
}

bool parser_apply (parser *p, size_t at, mugraph_op_kind kind, int n, value in[], value *out) {
  return apply (p, at, mugraph_op_of (kind, -1), n, in, out);
}

/* ---- functions ---- */

/* Whether programs can call an operator. */
static bool is_callable (int kind) {
  if (kind < 0 || !(mugraph_op_table[kind].levels & MUGRAPH_KERNEL_LEVEL)) return false;
  const mugraph_class c = mugraph_op_table[kind].klass;
  return c == MUGRAPH_MATMUL || c == MUGRAPH_UNARY || c == MUGRAPH_BINARY || c == MUGRAPH_REDUCE || c == MUGRAPH_LAYOUT;
}

/* What a function takes: its operands, then its attributes. */
typedef struct {
  int least, most; /* arguments */
  char text[64];   /* as messages show it; [ ] encloses what may be left out */
} signature;

static signature signature_of (mugraph_op_kind kind) {
  signature s = {.least = mugraph_op_table[kind].arity};
  size_t n = (size_t) snprintf (s.text, sizeof s.text, s.least == 1 ? "x" : "a, b");
  static const char *const sizes[] = {"d", "width"};
  for (int i = 0; i < 2; i++)
    if (mugraph_op_has (kind, i ? MUGRAPH_HAS_WIDTH : MUGRAPH_HAS_DIM))
      n += (size_t) snprintf (s.text + n, sizeof s.text - n, ", %s", sizes[i]), s.least++;
  s.most = s.least;
  for (int r = 0; r < MUGRAPH_REALS; r++) {
    const mugraph_real *real = &mugraph_reals[r];
    if (!mugraph_op_has (kind, real->attribute)) continue;
    n += (size_t) snprintf (s.text + n, sizeof s.text - n, real->optional ? "[, %s]" : ", %s", real->text);
    s.most++, s.least += !real->optional;
  }
  return s;
}

static const char *next_function (const void *user, int i) {
  (void) user;
  return i < MUGRAPH_N_OPS ? is_callable (i) ? mugraph_op_table[i].text : "" : i == MUGRAPH_N_OPS ? "softmax" : NULL;
}

static bool want_number (parser *p, const value *v, const char *what) {
  return v->is_number || lexer_fail (&p->l, v->at, "%s must be a number", what);
}

/* A dimension of tensor x; negative ones count from the end. */
static bool want_dim (parser *p, const value *v, int x, int8_t *dim) {
  int n = p->g.tensor[x].shape.n_dims;
  if (!want_number (p, v, "the dimension")) return false;
  double d = v->number < 0 ? v->number + n : v->number;
  if (!(d >= 0 && d < n) || d != floor (d))
    return lexer_fail (&p->l, v->at, "no dimension %g in a tensor of %d dimension%s (%d to %d)", v->number, n,
                       n == 1 ? "" : "s", -n, n - 1);
  *dim = (int8_t) d;
  return true;
}

static bool want_width (parser *p, const value *v, int32_t *width) {
  if (!want_number (p, v, "the width")) return false;
  if (!(v->number >= 1 && v->number <= (double) MUGRAPH_MAX_DIM) || v->number != floor (v->number))
    return lexer_fail (&p->l, v->at, "a width of %g is no size", v->number);
  *width = (int32_t) v->number;
  return true;
}

static bool call_softmax (parser *p, size_t at, value arg[], value *out) {
  value e, s;
  mugraph_op sum = mugraph_op_of (MUGRAPH_OP_SUM, -1);
  if (arg[0].is_number) return lexer_fail (&p->l, arg[0].at, "softmax takes a tensor, not a number");
  if (!want_dim (p, &arg[1], arg[0].tensor, &sum.dim)) return false;
  if (!parser_apply (p, at, MUGRAPH_OP_EXP, 1, arg, &e) || !append (p, at, sum, 1, &e.tensor, &s)) return false;
  return parser_apply (p, at, MUGRAPH_OP_DIV, 2, (value[]){e, s}, out);
}

/* The arguments behind the operands, in the order of signature_of. tensor: the first operand. */
static bool want_attributes (parser *p, int n, const value arg[], int tensor, mugraph_op *op) {
  int k = 0;
  if (mugraph_op_has (op->kind, MUGRAPH_HAS_DIM) && !want_dim (p, &arg[k++], tensor, &op->dim)) return false;
  if (mugraph_op_has (op->kind, MUGRAPH_HAS_WIDTH) && !want_width (p, &arg[k++], &op->width)) return false;
  for (int r = 0; r < MUGRAPH_REALS && k < n; r++) {
    if (!mugraph_op_has (op->kind, mugraph_reals[r].attribute)) continue;
    if (!want_number (p, &arg[k], mugraph_reals[r].what)) return false;
    op->c[mugraph_reals[r].index] = arg[k++].number;
  }
  return true;
}

static bool call_operator (parser *p, size_t at, mugraph_op_kind kind, int n, value arg[], value *out) {
  mugraph_op op = mugraph_op_of (kind, -1);
  const int arity = mugraph_op_table[kind].arity;
  if (mugraph_elementwise (kind))
    return want_attributes (p, n - arity, arg + arity, -1, &op) && apply (p, at, op, arity, arg, out);
  int tensor[2];
  for (int i = 0; i < arity; i++) {
    if (arg[i].is_number)
      return lexer_fail (&p->l, arg[i].at, "%s takes a tensor here, not a number", mugraph_op_table[kind].text);
    tensor[i] = arg[i].tensor;
  }
  return want_attributes (p, n - arity, arg + arity, tensor[0], &op) && append (p, at, op, arity, tensor, out);
}

/* softmax is the one function that is no operator. */
static bool is_softmax (const char *name) { return !strcmp (name, "softmax"); }

bool parser_is_function (const char *name) { return is_softmax (name) || is_callable (mugraph_op_find (name)); }

bool parser_unknown_function (parser *p, size_t at, const char *name) {
  const char *like = mugraph_most_like (name, next_function, NULL);
  return lexer_fail (&p->l, at, "unknown function '%s'%s%s%s", name, like ? "; did you mean '" : "", like ? like : "",
                     like ? "'?" : "");
}

bool parser_takes (parser *p, size_t at, const char *name, int n) {
  const signature s =
      is_softmax (name) ? (signature){2, 2, "x, d"} : signature_of ((mugraph_op_kind) mugraph_op_find (name));
  return (n >= s.least && n <= s.most) || lexer_fail (&p->l, at, "%s takes (%s)", name, s.text);
}

bool parser_call (parser *p, size_t at, const char *name, value arg[], int n, value *out) {
  return is_softmax (name) ? call_softmax (p, at, arg, out)
                           : call_operator (p, at, (mugraph_op_kind) mugraph_op_find (name), n, arg, out);
}
