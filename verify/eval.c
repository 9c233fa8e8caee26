/* The kernel graph, operator by operator. Tensors that are small lie in the arena; large ones have memory of their own,
   which goes when their last reader is done. */
#include "eval.h"
#include "block.h"
#include "boxes.h"
#include "field.h"
#include "maxima.h"
#include "mugraph/check.h"
#include "mugraph/stable.h"
#include "operators.h"

#include <stdlib.h>
#include <string.h>

enum { LARGE = 1 << 16 }; /* elements of a tensor */

typedef struct {
  eval_value v[MUGRAPH_TENSORS];
  bool large[MUGRAPH_TENSORS]; /* owned */
} tensors;

/* Memory for the planes needed of tensor t. */
static bool take_tensor (eval_context *c, tensors *all, int t) {
  int64_t n = mugraph_volume (&c->plan->graph->tensor[t].shape);
  all->v[t] = (eval_value){{NULL, NULL}};
  all->large[t] = n >= LARGE;
  if (!all->large[t]) return eval_take_value (c, n, c->plan->tensor[t], &all->v[t]);
  FOR_PLANES (p, c->plan->tensor[t]) {
    all->v[t].plane[p] = eval_take_large ((size_t) n * c->num[p]->size);
    if (all->v[t].plane[p]) continue;
    c->status = EVAL_MEMORY;
    return false;
  }
  return true;
}

static void free_tensor (tensors *all, int t) {
  if (!all->large[t]) return;
  free (all->v[t].plane[0]);
  free (all->v[t].plane[1]);
  all->large[t] = false;
}

/* out = exp (x - its row maxima) */
static bool stable_exp (eval_context *c, int i, const eval_operand *x, eval_operand *out) {
  eval_maxima m;
  if (!eval_take_maxima (c, &m, eval_rows (x->shape))) return false;
  eval_start_maxima (&m, i, 0);
  eval_raise_maxima (c, &m, x);
  eval_accept_maxima (&m);
  return eval_shifted_exp (c, &m, x, out);
}

static bool compute (eval_context *c, int i, const eval_operand in[], eval_operand out[], const eval_value values[]) {
  const mugraph_op *op = &c->plan->graph->op[i];
  const mugraph_stable *stable = c->options->stable;
  if (op->kind == MUGRAPH_OP_CUSTOM) return eval_run_block_graph (c, i, in, values);
  if (stable && stable->kernel_exp[i]) return stable_exp (c, i, &in[0], &out[0]);
  return eval_apply (c, op, in, &out[0], c->plan->tensor[op->out[0]]);
}

static bool run_operator (eval_context *c, tensors *all, int i) {
  const mugraph *g = c->plan->graph;
  const mugraph_op *op = &g->op[i];
  eval_operand in[MUGRAPH_FANIN], out[MUGRAPH_FANOUT];
  eval_value values[MUGRAPH_FANOUT];
  for (int k = 0; k < op->n_in; k++) in[k] = (eval_operand){&g->tensor[op->in[k]].shape, NULL, all->v[op->in[k]]};
  for (int k = 0; k < op->n_out; k++) {
    int t = op->out[k];
    if (!take_tensor (c, all, t)) return false;
    values[k] = all->v[t];
    out[k] = (eval_operand){&g->tensor[t].shape, NULL, values[k]};
  }
  eval_mark before = eval_set_mark (c->arena);
  if (!compute (c, i, in, out, values)) return false;
  eval_release (c->arena, before);
  for (int k = 0; k < op->n_out; k++) CHECK (eval_is_value (c, &out[k], c->plan->tensor[op->out[k]]));
  return true;
}

static bool is_needed (const eval_plan *plan, const mugraph_op *op) {
  for (int k = 0; k < op->n_out; k++)
    if (plan->tensor[op->out[k]]) return true;
  return false;
}

static bool run_kernel_graph (eval_context *c, tensors *all) {
  const mugraph *g = c->plan->graph;
  for (int i = 0; i < g->n_ops; i++) {
    if (!is_needed (c->plan, &g->op[i])) continue;
    if (!eval_goes_on (c) || !run_operator (c, all, i)) return false;
    for (int t = g->n_inputs; t < g->n_tensors; t++)
      if (c->plan->last_use[t] == i) free_tensor (all, t);
  }
  return true;
}

eval_status eval_run (const eval_plan *plan, const eval_options *options, const eval_value inputs[],
                      void *const outputs[], eval_arena *arena) {
  const mugraph *g = plan->graph;
  eval_context c = {.plan = plan,
                    .options = options,
                    .num = {eval_number (plan, 0), eval_number (plan, 1)},
                    .arena = arena,
                    .threads = options->threads};
  tensors all;
  field_setup ();
  memset (all.large, 0, g->n_tensors);
  memcpy (all.v, inputs, g->n_inputs * sizeof *inputs);
  bool ok = run_kernel_graph (&c, &all);
  for (int k = 0; ok && k < g->n_outputs; k++) {
    int t = g->output[k];
    memcpy (outputs[k], all.v[t].plane[0], (size_t) mugraph_volume (&g->tensor[t].shape) * c.num[0]->size);
  }
  for (int t = g->n_inputs; t < g->n_tensors; t++) free_tensor (&all, t);
  if (eval_stopped (&c)) return EVAL_STOPPED; /* what looks done may be zeros */
  assert (ok == (c.status == EVAL_DONE));
  return c.status;
}
