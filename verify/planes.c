/* Two passes over the graph: forward, which planes exist; backward, which are needed. The rules of one operator stand
   first and hold at both levels. */
#include "planes.h"
#include "field.h"
#include "mugraph/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- one operator ---- */

/* Planes that exist, from those of the operands. */
static uint8_t planes_of (int kind, uint8_t operands) {
  if (kind == MUGRAPH_OP_EXP) return EVAL_P;
  return mugraph_op_is (kind, MUGRAPH_KEYED) ? EVAL_P | EVAL_Q : operands;
}

/* Planes of the operands that the planes `need` of the result are made from. */
static uint8_t planes_for (bool real, int kind, uint8_t need) {
  if (!need) return 0;
  if (real) return EVAL_P;
  if (kind == MUGRAPH_OP_EXP) return EVAL_Q;
  if (mugraph_op_is (kind, MUGRAPH_KEYED)) return EVAL_P;
  return mugraph_op_is (kind, MUGRAPH_NORM) ? need | EVAL_P : need;
}

/* ---- forward: which exist ---- */

typedef struct {
  uint8_t tensor[MUGRAPH_TENSORS], tile[MUGRAPH_BLOCKS][MUGRAPH_BLOCK_OPS];
} existing;

static void find_existing_of_block (const mugraph *g, const mugraph_op *kernel, existing *has) {
  const mugraph_block *b = &g->block[kernel->block];
  uint8_t *tile = has->tile[kernel->block];
  for (int i = 0, saver = 0; i < b->n_ops; i++) {
    const mugraph_op *op = &b->op[i];
    uint8_t operands = EVAL_P | EVAL_Q;
    if (op->kind == MUGRAPH_OP_INPUT) operands = has->tensor[kernel->in[op->in[0]]];
    for (int k = 0; k < op->n_in; k++) operands &= tile[op->in[k]];
    tile[i] = planes_of (op->kind, operands);
    if (op->kind == MUGRAPH_OP_OUTPUT) has->tensor[kernel->out[saver++]] = tile[i];
  }
}

static void find_existing (const mugraph *g, existing *has) {
  for (int t = 0; t < g->n_inputs; t++) has->tensor[t] = EVAL_P | EVAL_Q;
  for (int i = 0; i < g->n_ops; i++) {
    const mugraph_op *op = &g->op[i];
    uint8_t operands = EVAL_P | EVAL_Q;
    if (op->kind == MUGRAPH_OP_CUSTOM) {
      find_existing_of_block (g, op, has);
      continue;
    }
    for (int k = 0; k < op->n_in; k++) operands &= has->tensor[op->in[k]];
    has->tensor[op->out[0]] = planes_of (op->kind, operands);
  }
}

/* ---- backward: which are needed ---- */

static bool missing (char reason[256], const char *level, int i, int kind) {
  if (reason)
    snprintf (
        reason, 256,
        "%s operator %d (%s): an exponential of something that depends on an exponential has no value over the fields",
        level, i, mugraph_op_table[kind].text);
  return false;
}

static bool need_in_block (eval_plan *p, const existing *has, const mugraph_op *kernel, char reason[256]) {
  const mugraph_block *b = &p->graph->block[kernel->block];
  const uint8_t *exist = has->tile[kernel->block];
  uint8_t *tile = p->tile[kernel->block];
  for (int i = b->n_ops, saver = kernel->n_out; i--;) {
    const mugraph_op *op = &b->op[i];
    if (op->kind == MUGRAPH_OP_OUTPUT) tile[i] = p->tensor[kernel->out[--saver]];
    uint8_t of = planes_for (p->real, op->kind, tile[i]);
    if (op->kind == MUGRAPH_OP_INPUT) p->tensor[kernel->in[op->in[0]]] |= of;
    for (int k = 0; k < op->n_in; k++) {
      tile[op->in[k]] |= of;
      if (!p->real && (of & ~exist[op->in[k]])) return missing (reason, "block", i, op->kind);
    }
  }
  return true;
}

static bool need_in_kernel_operator (eval_plan *p, const existing *has, int i, uint8_t need, char reason[256]) {
  const mugraph_op *op = &p->graph->op[i];
  uint8_t of = planes_for (p->real, op->kind, need);
  for (int k = 0; k < op->n_in; k++) {
    p->tensor[op->in[k]] |= of;
    if (!p->real && (of & ~has->tensor[op->in[k]])) return missing (reason, "kernel", i, op->kind);
  }
  return true;
}

__attribute__ ((unused)) static bool is_inferred (const mugraph *g) {
  mugraph *again = malloc (sizeof *again);
  bool good = true;
  if (again) {
    *again = *g;
    good = mugraph_infer (again, NULL) && mugraph_equal (again, g);
  }
  free (again);
  return good;
}

bool eval_plan_make (eval_plan *p, const mugraph *g, bool real, char reason[256]) {
  CHECK (is_inferred (g));
  p->graph = g;
  p->real = real;
  memset (p->tensor, 0, g->n_tensors);
  memset (p->last_use, -1, g->n_tensors);
  for (int b = 0; b < g->n_blocks; b++) memset (p->tile[b], 0, g->block[b].n_ops);
  existing has;
  find_existing (g, &has);
  for (int k = 0; k < g->n_outputs; k++)
    p->tensor[g->output[k]] |= EVAL_P, p->last_use[g->output[k]] = (int8_t) g->n_ops;
  for (int i = g->n_ops; i--;) {
    const mugraph_op *op = &g->op[i];
    uint8_t need = 0;
    for (int k = 0; k < op->n_out; k++) need |= p->tensor[op->out[k]];
    if (!need) continue;
    for (int k = 0; k < op->n_in; k++)
      if (p->last_use[op->in[k]] < 0) p->last_use[op->in[k]] = (int8_t) i;
    if (!(op->kind == MUGRAPH_OP_CUSTOM ? need_in_block (p, &has, op, reason)
                                        : need_in_kernel_operator (p, &has, i, need, reason)))
      return false;
  }
  return true;
}

/* ---- the numbers of a plane ---- */

const number *eval_number (const eval_plan *plan, int p) {
  return plan->real ? &number_real : p ? &number_q : &number_p;
}

bool eval_are_numbers (const eval_plan *plan, int p, int64_t n, const void *x) {
  for (int64_t i = 0; i < n; i++)
    if (plan->real ? ((const uint64_t *) x)[i] == UINT64_MAX : ((const uint32_t *) x)[i] >= (p ? FIELD_Q : FIELD_P))
      return false;
  return true;
}
