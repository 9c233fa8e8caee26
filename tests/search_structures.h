/* µGraphs built by hand for the tests of schedules and costs: one graph-defined kernel each, and attention in two. */
#ifndef TESTS_SEARCH_STRUCTURES_H
#define TESTS_SEARCH_STRUCTURES_H

#include "mugraph/mugraph.h"

static int input2 (mugraph *g, const char *name, int rows, int columns) {
  return mugraph_add_input (g, name, mugraph_shape_of (MUGRAPH_F16, 2, (int32_t[]){rows, columns}));
}

__attribute__ ((unused)) static int input3 (mugraph *g, const char *name, int batch, int rows, int columns) {
  return mugraph_add_input (g, name, mugraph_shape_of (MUGRAPH_F16, 3, (int32_t[]){batch, rows, columns}));
}

static int read_tile (mugraph_block *b, int input, int x, int y, int z, int loop) {
  return mugraph_block_input (b, input, (int[]){x, y, z}, loop);
}

static bool finish (mugraph *g, mugraph_error *e) {
  if (!mugraph_finish_custom (g, g->n_ops - 1, e)) return false;
  const mugraph_op *last = &g->op[g->n_ops - 1];
  return mugraph_add_output (g, last->out[0], "O") && mugraph_infer (g, e);
}

/* rms_norm (X) W, the division after the matmul; columns over x. */
__attribute__ ((unused)) static bool build_rms_norm (mugraph *g, int rows, int inner, int columns, int x, int loop,
                                                     mugraph_error *e) {
  mugraph_init (g);
  int in[2] = {input2 (g, "X", rows, inner), input2 (g, "W", inner, columns)};
  mugraph_block *b = &g->block[g->op[mugraph_add_custom (g, 2, in, (int32_t[]){x, 1, 1}, loop)].block];
  int a = read_tile (b, 0, -1, -1, -1, 1), w = read_tile (b, 1, 1, -1, -1, 0);
  int product = mugraph_block_op (b, MUGRAPH_OP_ACCUM, mugraph_block_op (b, MUGRAPH_OP_MATMUL, a, w, -1), -1, -1);
  int rms = mugraph_block_op (b, MUGRAPH_OP_ACCUM_RMS, a, -1, -1);
  mugraph_block_output (b, mugraph_block_op (b, MUGRAPH_OP_DIV, product, rms, -1), (int[]){1, -1, -1});
  return finish (g, e);
}

/* silu (X W1) * (X W2) */
__attribute__ ((unused)) static bool build_gated (mugraph *g, int rows, int inner, int columns, int x, int loop,
                                                  mugraph_error *e) {
  mugraph_init (g);
  int in[3] = {input2 (g, "X", rows, inner), input2 (g, "W1", inner, columns), input2 (g, "W2", inner, columns)};
  mugraph_block *b = &g->block[g->op[mugraph_add_custom (g, 3, in, (int32_t[]){x, 1, 1}, loop)].block];
  int a = read_tile (b, 0, -1, -1, -1, 1), product[2];
  for (int i = 0; i < 2; i++) {
    int w = read_tile (b, 1 + i, 1, -1, -1, 0);
    product[i] = mugraph_block_op (b, MUGRAPH_OP_ACCUM, mugraph_block_op (b, MUGRAPH_OP_MATMUL, a, w, -1), -1, -1);
  }
  int gate = mugraph_block_op (b, MUGRAPH_OP_SILU, product[0], -1, -1);
  mugraph_block_output (b, mugraph_block_op (b, MUGRAPH_OP_MUL, gate, product[1], -1), (int[]){1, -1, -1});
  return finish (g, e);
}

/* X W + (X A) B */
__attribute__ ((unused)) static bool build_low_rank (mugraph *g, int rows, int inner, int rank, int columns, int x,
                                                     int loop, mugraph_error *e) {
  mugraph_init (g);
  int in[4] = {input2 (g, "X", rows, inner), input2 (g, "W", inner, columns), input2 (g, "A", inner, rank),
               input2 (g, "B", rank, columns)};
  mugraph_block *b = &g->block[g->op[mugraph_add_custom (g, 4, in, (int32_t[]){x, 1, 1}, loop)].block];
  int a = read_tile (b, 0, -1, -1, -1, 1), w = read_tile (b, 1, 1, -1, -1, 0);
  int down = read_tile (b, 2, -1, -1, -1, 0), up = read_tile (b, 3, 1, -1, -1, -1);
  int full = mugraph_block_op (b, MUGRAPH_OP_ACCUM, mugraph_block_op (b, MUGRAPH_OP_MATMUL, a, w, -1), -1, -1);
  int low = mugraph_block_op (b, MUGRAPH_OP_ACCUM, mugraph_block_op (b, MUGRAPH_OP_MATMUL, a, down, -1), -1, -1);
  low = mugraph_block_op (b, MUGRAPH_OP_MATMUL, low, up, -1);
  mugraph_block_output (b, mugraph_block_op (b, MUGRAPH_OP_ADD, full, low, -1), (int[]){1, -1, -1});
  return finish (g, e);
}

/* rms_norm (X + alpha * (rms_norm (H) + X)), rows over x */
__attribute__ ((unused)) static bool build_residual (mugraph *g, int rows, int columns, int x, mugraph_error *e) {
  mugraph_init (g);
  int in[3] = {input2 (g, "X", rows, columns), input2 (g, "H", rows, columns), input2 (g, "alpha", rows, columns)};
  mugraph_block *b = &g->block[g->op[mugraph_add_custom (g, 3, in, (int32_t[]){x, 1, 1}, 1)].block];
  int t[3];
  for (int i = 0; i < 3; i++) t[i] = read_tile (b, i, 0, -1, -1, -1);
  int norm = mugraph_block_op (b, MUGRAPH_OP_RMS_NORM, t[1], -1, 1);
  int step = mugraph_block_op (b, MUGRAPH_OP_MUL, t[2], mugraph_block_op (b, MUGRAPH_OP_ADD, norm, t[0], -1), -1);
  int sum = mugraph_block_op (b, MUGRAPH_OP_ADD, t[0], step, -1);
  mugraph_block_output (b, mugraph_block_op (b, MUGRAPH_OP_RMS_NORM, sum, -1, 1), (int[]){0, -1, -1});
  return finish (g, e);
}

/* exp (Q K) V / sum (exp (Q K)): heads over x, rows over y, keys over z in the first kernel; the second adds up what
   the parts of the keys gave, side by side along the last dimension. */
__attribute__ ((unused)) static bool build_attention (mugraph *g, int heads, int rows, int depth, int keys, int y,
                                                      int z, int loop, mugraph_error *e) {
  mugraph_init (g);
  int in[3] = {input3 (g, "Q", heads, rows, depth), input3 (g, "K", heads, depth, keys),
               input3 (g, "V", heads, keys, depth)};
  int first = mugraph_add_custom (g, 3, in, (int32_t[]){heads, y, z}, loop);
  mugraph_block *b = &g->block[g->op[first].block];
  int q = read_tile (b, 0, 0, 1, -1, -1), k = read_tile (b, 1, 0, -1, 2, 2), v = read_tile (b, 2, 0, -1, 1, 1);
  int weight = mugraph_block_op (b, MUGRAPH_OP_EXP, mugraph_block_op (b, MUGRAPH_OP_MATMUL, q, k, -1), -1, -1);
  int values = mugraph_block_op (b, MUGRAPH_OP_ACCUM, mugraph_block_op (b, MUGRAPH_OP_MATMUL, weight, v, -1), -1, -1);
  int total = mugraph_block_op (b, MUGRAPH_OP_ACCUM_SUM, weight, -1, -1);
  mugraph_block_output (b, values, (int[]){0, 1, 2});
  mugraph_block_output (b, total, (int[]){0, 1, 2});
  if (!mugraph_finish_custom (g, first, e)) return false;
  int parts[2] = {g->op[first].out[0], g->op[first].out[1]};
  int second = mugraph_add_custom (g, 2, parts, (int32_t[]){heads, y, 1}, 1);
  b = &g->block[g->op[second].block];
  int o = read_tile (b, 0, 0, 1, -1, -1), s = read_tile (b, 1, 0, 1, -1, -1);
  int sums[2] = {mugraph_block_op (b, MUGRAPH_OP_SUM_TO, o, -1, 2), mugraph_block_op (b, MUGRAPH_OP_SUM, s, -1, 2)};
  b->op[sums[0]].width = depth;
  mugraph_block_output (b, mugraph_block_op (b, MUGRAPH_OP_DIV, sums[0], sums[1], -1), (int[]){0, 1, -1});
  return finish (g, e);
}

#endif
