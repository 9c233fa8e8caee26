/* Building graphs, operator by operator. */
#include "mugraph.h"

#include <stdio.h>
#include <string.h>

void mugraph_init (mugraph *g) { memset (g, 0, sizeof *g); }

static void name_copy (char to[MUGRAPH_NAME], const char *from) { snprintf (to, MUGRAPH_NAME, "%s", from ? from : ""); }

int mugraph_add_input (mugraph *g, const char *name, mugraph_shape s) {
  if (g->n_ops || g->n_inputs >= MUGRAPH_INPUTS) return -1;
  int t = g->n_tensors++;
  g->n_inputs++;
  g->tensor[t].shape = s;
  name_copy (g->tensor[t].name, name);
  return t;
}

static int append_kernel_op (mugraph *g, mugraph_op op, const mugraph_shape *out) {
  if (g->n_ops >= MUGRAPH_KERNEL_OPS || g->n_tensors >= MUGRAPH_TENSORS) return -1;
  int t = g->n_tensors++;
  op.n_out = 1;
  op.out[0] = (uint8_t) t;
  g->tensor[t].shape = *out;
  g->tensor[t].name[0] = 0;
  g->op[g->n_ops++] = op;
  return t;
}

int mugraph_add_op (mugraph *g, mugraph_op_kind kind, int n_in, const int in[], int dim, mugraph_error *e) {
  mugraph_op op = mugraph_op_of (kind, dim);
  const mugraph_shape *shapes[MUGRAPH_FANIN];
  mugraph_shape out;
  if (n_in < 0 || n_in > MUGRAPH_FANIN)
    return mugraph_fail (e, "an operator takes at most %d inputs", MUGRAPH_FANIN), -1;
  op.n_in = (uint8_t) n_in;
  for (int i = 0; i < n_in; i++) {
    if (in[i] < 0 || in[i] >= g->n_tensors)
      return mugraph_fail (e, "%s: no tensor %d", mugraph_op_table[kind].text, in[i]), -1;
    op.in[i] = (uint8_t) in[i];
    shapes[i] = &g->tensor[in[i]].shape;
  }
  if (!mugraph_infer_op (&op, shapes, &out, e)) return -1;
  int t = append_kernel_op (g, op, &out);
  if (t < 0) mugraph_fail (e, "more than %d operators in one kernel graph", MUGRAPH_KERNEL_OPS);
  return t;
}

int mugraph_add_const (mugraph *g, double value, mugraph_error *e) {
  mugraph_op op = mugraph_op_of (MUGRAPH_OP_CONST, -1);
  op.c[0] = value;
  mugraph_shape s = mugraph_shape_of (MUGRAPH_F32, 1, (int32_t[]){1});
  int t = append_kernel_op (g, op, &s);
  if (t < 0) mugraph_fail (e, "more than %d operators in one kernel graph", MUGRAPH_KERNEL_OPS);
  return t;
}

bool mugraph_add_output (mugraph *g, int tensor, const char *name) {
  if (g->n_outputs >= MUGRAPH_OUTPUTS || tensor < 0 || tensor >= g->n_tensors) return false;
  name_copy (g->output_name[g->n_outputs], name);
  g->output[g->n_outputs++] = (uint8_t) tensor;
  return true;
}

void mugraph_reorder_inputs (mugraph *g, const int order[]) {
  mugraph_tensor input[MUGRAPH_INPUTS];
  memcpy (input, g->tensor, sizeof *input * (size_t) g->n_inputs);
  for (int k = 0; k < g->n_inputs; k++) g->tensor[order[k]] = input[k];
  for (int i = 0; i < g->n_ops; i++)
    for (int k = 0; k < g->op[i].n_in; k++)
      if (g->op[i].in[k] < g->n_inputs) g->op[i].in[k] = (uint8_t) order[g->op[i].in[k]];
  for (int k = 0; k < g->n_outputs; k++)
    if (g->output[k] < g->n_inputs) g->output[k] = (uint8_t) order[g->output[k]];
}

bool mugraph_next_order (int n, int order[]) {
  int i = n - 2, k = n - 1;
  while (i >= 0 && order[i] > order[i + 1]) i--;
  if (i < 0) return false;
  while (order[k] < order[i]) k--;
  int swap = order[i];
  order[i] = order[k];
  order[k] = swap;
  for (int low = i + 1, high = n - 1; low < high; low++, high--) {
    swap = order[low];
    order[low] = order[high];
    order[high] = swap;
  }
  return true;
}

int mugraph_add_custom (mugraph *g, int n_in, const int in[], const int32_t grid[3], int32_t loop) {
  if (g->n_ops >= MUGRAPH_KERNEL_OPS || g->n_blocks >= MUGRAPH_BLOCKS || n_in > MUGRAPH_FANIN) return -1;
  mugraph_op op = mugraph_op_of (MUGRAPH_OP_CUSTOM, -1);
  op.n_in = (uint8_t) n_in;
  for (int i = 0; i < n_in; i++) op.in[i] = (uint8_t) in[i];
  op.block = (int8_t) g->n_blocks;
  mugraph_block_init (&g->block[g->n_blocks++], grid, loop);
  g->op[g->n_ops] = op;
  return g->n_ops++;
}

bool mugraph_finish_custom (mugraph *g, int i, mugraph_error *e) {
  mugraph_op *op = &g->op[i];
  mugraph_shape in[MUGRAPH_FANIN], out[MUGRAPH_FANOUT];
  int n_out;
  for (int k = 0; k < op->n_in; k++) in[k] = g->tensor[op->in[k]].shape;
  if (!mugraph_infer_block (&g->block[op->block], op->n_in, in, &n_out, out, e)) return false;
  if (g->n_tensors + n_out > MUGRAPH_TENSORS) return mugraph_fail (e, "more than %d tensors", MUGRAPH_TENSORS);
  for (int k = 0; k < n_out; k++) {
    int t = g->n_tensors++;
    op->out[op->n_out++] = (uint8_t) t;
    g->tensor[t].shape = out[k];
    g->tensor[t].name[0] = 0;
  }
  return true;
}

void mugraph_block_init (mugraph_block *b, const int32_t grid[3], int32_t loop) {
  memset (b, 0, sizeof *b);
  memcpy (b->grid, grid, sizeof b->grid);
  b->loop = loop;
  mugraph_sched_default (&b->sched);
}

static int append_block_op (mugraph_block *b, mugraph_op op) {
  if (b->n_ops >= MUGRAPH_BLOCK_OPS) return -1;
  b->op[b->n_ops] = op;
  return b->n_ops++;
}

int mugraph_block_input (mugraph_block *b, int kernel_input, const int imap[3], int fmap) {
  mugraph_op op = mugraph_op_of (MUGRAPH_OP_INPUT, -1);
  op.in[0] = (uint8_t) kernel_input;
  for (int g = 0; g < 3; g++) op.map[g] = (int8_t) imap[g];
  op.fmap = (int8_t) fmap;
  return append_block_op (b, op);
}

int mugraph_block_op (mugraph_block *b, mugraph_op_kind kind, int a, int second, int dim) {
  mugraph_op op = mugraph_op_of (kind, dim);
  op.in[0] = (uint8_t) a;
  op.n_in = 1;
  if (second >= 0) {
    op.in[1] = (uint8_t) second;
    op.n_in = 2;
  }
  return append_block_op (b, op);
}

int mugraph_block_const (mugraph_block *b, double value) {
  mugraph_op op = mugraph_op_of (MUGRAPH_OP_CONST, -1);
  op.c[0] = value;
  return append_block_op (b, op);
}

int mugraph_block_output (mugraph_block *b, int tile, const int omap[3]) {
  mugraph_op op = mugraph_op_of (MUGRAPH_OP_OUTPUT, -1);
  op.in[0] = (uint8_t) tile;
  op.n_in = 1;
  for (int g = 0; g < 3; g++) op.map[g] = (int8_t) omap[g];
  return append_block_op (b, op);
}

int mugraph_block_uses (const mugraph_block *b, int i) {
  int n = 0;
  for (int j = i + 1; j < b->n_ops; j++)
    for (int k = 0; k < b->op[j].n_in; k++) n += b->op[j].in[k] == i;
  return n;
}
