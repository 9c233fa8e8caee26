/* Expressions of tiles and tensors: see exprs.h. */
#include "exprs.h"
#include "search/log.h"

#include <string.h>

static const expr_attr no_attributes = {.size = 1, .loop = 1};

/* Whether the program has a root mean square of this. */
static bool root_is_wanted (exprs *x, expr_id e) {
  for (int i = 0; i < x->n_roots; i++)
    if (expr_may_contribute (x->pool[0], expr_opaque_root (x->pool[0], e, x->root[i], 0))) return true;
  return false;
}

/* A square, or a mean of squares: its operand's expression, and more elements. */
static exprs_value moment_of (exprs *x, const mugraph_op *op, const exprs_value *in, int64_t size) {
  bool square = op->kind == MUGRAPH_OP_SQUARE;
  if (square && !root_is_wanted (x, in->expr[0])) return (exprs_value){.count = 0};
  exprs_value out = *in;
  out.count = square ? 1 : (int32_t) (in->count * size);
  return out;
}

exprs_value exprs_of_op (exprs *x, const letter *l, const mugraph_op *op, const mugraph_shape *const shape[],
                         const exprs_value in[], int32_t loop, bool varies) {
  expr_attr attr = expr_attr_of (op, shape, loop, varies);
  int64_t size = attr.size * attr.loop;
  bool rms = mugraph_op_table[op->kind].statistic == MUGRAPH_OF_RMS;
  if (l->moment && op->kind != MUGRAPH_OP_SQRT) return moment_of (x, op, in, size);
  exprs_value out = {.count = 1};
  if (l->moment) size = in[0].count;
  for (int p = 0; p < x->n_pools; p++) {
    expr_id operand[MUGRAPH_FANIN];
    for (int k = 0; k < op->n_in; k++) operand[k] = in[k].expr[p];
    if (!l->moment && !rms) {
      out.expr[p] = expr_of_op (x->pool[p], op->kind, op->n_in, operand, &attr);
      continue;
    }
    expr_id root = expr_opaque_root (x->pool[p], operand[0], size, rms ? op->c[0] : 0);
    out.expr[p] = !mugraph_op_is (op->kind, MUGRAPH_NORM)
                      ? root
                      : expr_of_op (x->pool[p], MUGRAPH_OP_DIV, 2, (expr_id[]){operand[0], root}, &no_attributes);
  }
  return out;
}

exprs_value exprs_of_input (const exprs *x, int i) {
  exprs_value out = {.count = 1};
  for (int p = 0; p < x->n_pools; p++) out.expr[p] = expr_input (x->pool[p], i);
  return out;
}

exprs_value exprs_of_constant (const exprs *x, double c) {
  exprs_value out = {.count = 1};
  for (int p = 0; p < x->n_pools; p++) out.expr[p] = expr_constant (x->pool[p], c);
  return out;
}

/* ---- verdicts ---- */

/* Whether this is what the program divides by somewhere. */
static bool is_divisor (const exprs *x, const exprs_value *v) {
  return x->n_pools > 1 && expr_target (x->pool[1], v->expr[1]) >= 0;
}

/* Whether a result may still become an output of the program. divisor: of a division, or NULL; then what is divided by
   has to be a part of a divisor too. */
static bool may_stay (exprs *x, const letter *l, const exprs_value *v, const exprs_value *divisor) {
  if (v->count == 0 || !expr_may_contribute (x->pool[0], v->expr[0])) return false;
  return !(divisor && l->flat && x->n_pools > 1) || expr_may_contribute (x->pool[1], divisor->expr[1]);
}

bool exprs_divisor_is_why (exprs *x, const exprs_value *v) {
  return v->count && expr_may_contribute (x->pool[0], v->expr[0]);
}

static void log_pruned (exprs *x, const mugraph_op *op, const exprs_value in[], const exprs_value *result) {
  char text[1024];
  const char *name = mugraph_op_table[op->kind].text;
  if (!result->count)
    log_line ("pruned: %s of %s: no root mean square of it is wanted", name,
              expr_text (x->pool[0], in[0].expr[0], text, sizeof text));
  else if (exprs_divisor_is_why (x, result))
    log_line ("pruned: %s by %s, which is a part of no divisor", name,
              expr_text (x->pool[1], in[1].expr[1], text, sizeof text));
  else log_line ("pruned: %s = %s", name, expr_text (x->pool[0], result->expr[0], text, sizeof text));
}

exprs_verdict exprs_judge (exprs *x, const letter *l, const mugraph_op *op, const mugraph_shape *const shape[],
                           const exprs_value in[], int32_t loop, bool varies, bool prune, exprs_value *out) {
  if (l->flat && (is_divisor (x, &in[0]) || (op->kind == MUGRAPH_OP_MUL && is_divisor (x, &in[1]))))
    return EXPRS_USES_DIVISOR;
  *out = exprs_of_op (x, l, op, shape, in, loop, varies);
  if (!prune || may_stay (x, l, out, op->kind == MUGRAPH_OP_DIV ? &in[1] : NULL)) return EXPRS_STAYS;
  if (log_level >= LOG_PRUNES) log_pruned (x, op, in, out);
  return EXPRS_PRUNED;
}

/* ---- the program ---- */

static void note_root (exprs *x, int64_t size) {
  if (x->n_roots < EXPRS_ROOTS) x->root[x->n_roots++] = size;
}

/* The program's own expressions, by the rules for what is built. */
static void express_program (exprs *x, const mugraph *g, exprs_value value[MUGRAPH_TENSORS]) {
  static const letter whole = {.moment = false};
  for (int t = 0; t < g->n_inputs; t++) value[t] = exprs_of_input (x, t);
  for (int i = 0; i < g->n_ops; i++) {
    const mugraph_op *op = &g->op[i];
    const mugraph_shape *shape[MUGRAPH_FANIN];
    exprs_value in[MUGRAPH_FANIN];
    for (int k = 0; k < op->n_in; k++) shape[k] = &g->tensor[op->in[k]].shape, in[k] = value[op->in[k]];
    if (mugraph_op_is (op->kind, MUGRAPH_NORM)) note_root (x, shape[0]->dim[op->dim]);
    value[op->out[0]] = op->kind == MUGRAPH_OP_CONST ? exprs_of_constant (x, op->c[0])
                                                     : exprs_of_op (x, &whole, op, shape, in, 1, false);
  }
}

static bool divides (const mugraph_op *op) {
  return op->kind == MUGRAPH_OP_DIV || mugraph_op_is (op->kind, MUGRAPH_NORM);
}

static int count_divisors (const mugraph *g) {
  int n = 0;
  for (int i = 0; i < g->n_ops; i++) n += divides (&g->op[i]);
  return n;
}

/* What an operator divides by, in the second pool. */
static expr_id divisor_of (exprs *x, const mugraph *g, const mugraph_op *op, const exprs_value value[]) {
  if (op->kind == MUGRAPH_OP_DIV) return value[op->in[1]].expr[1];
  return expr_opaque_root (x->pool[1], value[op->in[0]].expr[1], g->tensor[op->in[0]].shape.dim[op->dim], op->c[0]);
}

static void set_targets (exprs *x, const mugraph *g, const exprs_value value[]) {
  expr_id target[MUGRAPH_OUTPUTS];
  for (int k = 0; k < g->n_outputs; k++) target[k] = value[g->output[k]].expr[0];
  expr_set_targets (x->pool[0], g->n_outputs, target);
  if (x->n_pools == 1) return;
  int n = 0;
  for (int i = 0; i < g->n_ops; i++)
    if (divides (&g->op[i])) target[n++] = divisor_of (x, g, &g->op[i], value);
  expr_set_targets (x->pool[1], n, target);
}

bool exprs_start (exprs *x, const mugraph *g, bool self_check, expr_memo *const memo[EXPRS_POOLS],
                  search_stats *stats) {
  bool loose = expr_loose (g);
  int divisors = count_divisors (g);
  exprs_value value[MUGRAPH_TENSORS];
  memset (x, 0, sizeof *x);
  /* where terms may cancel, quotients come in other ways too: exp (a - b) */
  int pools = divisors && divisors <= MUGRAPH_OUTPUTS && !loose ? 2 : 1;
  for (int p = 0; p < pools; p++) {
    if (!(x->pool[p] = expr_pool_new (loose))) return false;
    x->n_pools = p + 1;
    expr_configure (x->pool[p], self_check, stats);
    expr_share (x->pool[p], memo ? memo[p] : NULL);
  }
  express_program (x, g, value);
  set_targets (x, g, value);
  return true;
}

void exprs_end (exprs *x) {
  for (int p = 0; p < x->n_pools; p++) expr_pool_free (x->pool[p]);
  x->n_pools = 0;
}
