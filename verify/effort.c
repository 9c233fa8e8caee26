/* What evaluating a graph takes, from its shapes alone. */
#include "planes.h"
#include "verify.h"

#include <math.h>

/* Products of a matmul, elements of anything else. */
static double work_of (const mugraph_op *op, const mugraph_shape *const in[], const mugraph_shape *out) {
  double n = (double) mugraph_volume (out);
  if (op->kind == MUGRAPH_OP_MATMUL) return n * in[0]->dim[in[0]->n_dims - 1];
  for (int k = 0; k < op->n_in; k++) n = fmax (n, (double) mugraph_volume (in[k]));
  return n;
}

static double work_of_block (const mugraph_block *b) {
  double blocks = (double) b->grid[0] * b->grid[1] * b->grid[2], work = 0;
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *op = &b->op[i];
    const mugraph_shape *in[MUGRAPH_FANIN];
    for (int k = 0; k < op->n_in; k++) in[k] = &b->op[op->in[k]].shape;
    work += work_of (op, in, &op->shape) * (op->after_loop ? 1 : b->loop);
  }
  return work * blocks;
}

static double work_of_kernel_graph (const mugraph *g) {
  double work = 0;
  for (int i = 0; i < g->n_ops; i++) {
    const mugraph_op *op = &g->op[i];
    const mugraph_shape *in[MUGRAPH_FANIN];
    for (int k = 0; k < op->n_in; k++) in[k] = &g->tensor[op->in[k]].shape;
    work += op->kind == MUGRAPH_OP_CUSTOM ? work_of_block (&g->block[op->block])
                                          : work_of (op, in, &g->tensor[op->out[0]].shape);
  }
  return work;
}

static double bytes_of (const mugraph *g, int tensor, int planes) {
  return (double) mugraph_volume (&g->tensor[tensor].shape) * planes * sizeof (uint32_t);
}

/* Inputs and, for program and candidate, outputs lie there all the time; what is between, from its operator to its last
   reader. */
static double peak_bytes (const mugraph *g) {
  eval_plan plan;
  double live = 0, peak = 0, size[MUGRAPH_TENSORS] = {0};
  eval_plan_make (&plan, g, false, NULL);
  for (int t = 0; t < g->n_tensors; t++) {
    size[t] = bytes_of (g, t, (plan.tensor[t] & EVAL_P ? 1 : 0) + (plan.tensor[t] & EVAL_Q ? 1 : 0));
    if (t < g->n_inputs) live += size[t];
  }
  for (int k = 0; k < g->n_outputs; k++) live += bytes_of (g, g->output[k], 2);
  for (int i = 0; i < g->n_ops; i++) {
    for (int k = 0; k < g->op[i].n_out; k++) live += size[g->op[i].out[k]];
    peak = fmax (peak, live);
    for (int t = g->n_inputs; t < g->n_tensors; t++)
      if (plan.last_use[t] == i) live -= size[t];
  }
  return peak;
}

void verify_effort (const mugraph *g, double *bytes, double *work) {
  *bytes = peak_bytes (g);
  *work = work_of_kernel_graph (g);
}
