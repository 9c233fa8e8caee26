/* The six workloads at any shape, as programs and as hand-built µGraphs: shared by the tests and the benchmark of
   verify/. Builders abort on a mistake of their own. */
#ifndef TESTS_VERIFY_GRAPHS_H
#define TESTS_VERIFY_GRAPHS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mugraph/mugraph.h"

#define OP_(x) MUGRAPH_OP_##x
#define IMAP(x, y, z) ((int[]){x, y, z})

static inline int must (int index, const mugraph_error *e) {
  if (index < 0) {
    fprintf (stderr, "builder: %s\n", e->text);
    abort ();
  }
  return index;
}

static inline int input2 (mugraph *g, const char *name, int a, int b) {
  return mugraph_add_input (g, name, mugraph_shape_of (MUGRAPH_F16, 2, (int32_t[]){a, b}));
}
static inline int input3 (mugraph *g, const char *name, int a, int b, int c) {
  return mugraph_add_input (g, name, mugraph_shape_of (MUGRAPH_F16, 3, (int32_t[]){a, b, c}));
}
static inline int op1 (mugraph *g, mugraph_op_kind k, int a, int dim) {
  mugraph_error e = {""};
  return must (mugraph_add_op (g, k, 1, (int[]){a}, dim, &e), &e);
}
static inline int op2 (mugraph *g, mugraph_op_kind k, int a, int b) {
  mugraph_error e = {""};
  return must (mugraph_add_op (g, k, 2, (int[]){a, b}, -1, &e), &e);
}
static inline int constant_of (mugraph *g, double v) {
  mugraph_error e = {""};
  return must (mugraph_add_const (g, v, &e), &e);
}
static inline void finish (mugraph *g) {
  mugraph_error e = {""};
  must (mugraph_infer (g, &e) ? 0 : -1, &e);
}
/* Ends a graph-defined kernel; its k-th output tensor is g->op[kernel].out[k]. */
static inline void finish_kernel (mugraph *g, int kernel) {
  mugraph_error e = {""};
  must (mugraph_finish_custom (g, kernel, &e) ? 0 : -1, &e);
}
static inline mugraph_block *block_of (mugraph *g, int kernel) { return &g->block[g->op[kernel].block]; }

/* ---- programs ---- */

static inline void gqa_inputs (mugraph *g, int b, int m, int d, int n) {
  mugraph_init (g);
  input3 (g, "Q", b, m, d), input3 (g, "K", b, d, n), input3 (g, "V", b, n, d);
}
static inline void attention_program (mugraph *g, int b, int m, int d, int n, bool norm) {
  gqa_inputs (g, b, m, d, n);
  int q = norm ? op1 (g, OP_ (RMS_NORM), 0, 2) : 0;
  int e = op1 (g, OP_ (EXP), op2 (g, OP_ (MATMUL), q, 1), -1);
  int s = op1 (g, OP_ (SUM), e, 2);
  int p = op2 (g, OP_ (DIV), e, s);
  int v = norm ? op1 (g, OP_ (RMS_NORM), 2, 2) : 2;
  mugraph_add_output (g, op2 (g, OP_ (MATMUL), p, v), "O");
  finish (g);
}
static inline void rmsnorm_program (mugraph *g, int r, int k, int n) {
  mugraph_init (g);
  input2 (g, "X", r, k), input2 (g, "W", k, n);
  mugraph_add_output (g, op2 (g, OP_ (MATMUL), op1 (g, OP_ (RMS_NORM), 0, 1), 1), "O");
  finish (g);
}
static inline void lora_program (mugraph *g, int r, int k, int n, int rank) {
  mugraph_init (g);
  input2 (g, "X", r, k), input2 (g, "W", k, n), input2 (g, "A", k, rank), input2 (g, "B", rank, n);
  int low = op2 (g, OP_ (MATMUL), op2 (g, OP_ (MATMUL), 0, 2), 3);
  mugraph_add_output (g, op2 (g, OP_ (ADD), op2 (g, OP_ (MATMUL), 0, 1), low), "O");
  finish (g);
}
static inline void gatedmlp_program (mugraph *g, int r, int k, int n) {
  mugraph_init (g);
  input2 (g, "X", r, k), input2 (g, "W1", k, n), input2 (g, "W2", k, n);
  int gate = op1 (g, OP_ (SILU), op2 (g, OP_ (MATMUL), 0, 1), -1);
  mugraph_add_output (g, op2 (g, OP_ (MUL), gate, op2 (g, OP_ (MATMUL), 0, 2)), "O");
  finish (g);
}
static inline void ntrans_program (mugraph *g, int r, int n) {
  mugraph_init (g);
  input2 (g, "X", r, n), input2 (g, "H", r, n), input2 (g, "alpha", r, n);
  int h = op2 (g, OP_ (ADD), op1 (g, OP_ (RMS_NORM), 1, 1), 0);
  mugraph_add_output (g, op1 (g, OP_ (RMS_NORM), op2 (g, OP_ (ADD), 0, op2 (g, OP_ (MUL), 2, h)), 1), "O");
  finish (g);
}

/* ---- µGraphs ---- */

/* rms_norm of a tile over its last dimension, spelled out or as one operator. */
static inline int normalise (mugraph_block *b, int x, int dim, bool spelled) {
  if (!spelled) return mugraph_block_op (b, OP_ (RMS_NORM), x, -1, dim);
  int mean = mugraph_block_op (b, OP_ (MEAN), mugraph_block_op (b, OP_ (SQUARE), x, -1, -1), -1, dim);
  return mugraph_block_op (b, OP_ (DIV), x, mugraph_block_op (b, OP_ (SQRT), mean, -1, -1), -1);
}

/* One kernel, the loop walks keys and values. */
static inline void attention_fused (mugraph *g, int b, int m, int d, int n, bool norm, int rows, int loop) {
  gqa_inputs (g, b, m, d, n);
  int kernel = mugraph_add_custom (g, 3, (int[]){0, 1, 2}, (int32_t[]){b, rows, 1}, loop);
  mugraph_block *t = block_of (g, kernel);
  int q = mugraph_block_input (t, 0, IMAP (0, 1, -1), -1), k = mugraph_block_input (t, 1, IMAP (0, -1, -1), 2),
      v = mugraph_block_input (t, 2, IMAP (0, -1, -1), 1);
  if (norm) q = normalise (t, q, 2, true), v = normalise (t, v, 2, false);
  int e = mugraph_block_op (t, OP_ (EXP), mugraph_block_op (t, OP_ (MATMUL), q, k, -1), -1, -1);
  int l = mugraph_block_op (t, OP_ (ACCUM_SUM), e, -1, -1);
  int o = mugraph_block_op (t, OP_ (ACCUM), mugraph_block_op (t, OP_ (MATMUL), e, v, -1), -1, -1);
  mugraph_block_output (t, mugraph_block_op (t, OP_ (DIV), o, l, -1), IMAP (0, 1, -1));
  finish_kernel (g, kernel);
  mugraph_add_output (g, g->op[kernel].out[0], "O");
  finish (g);
}

/* Two kernels: keys and values are split over z, partial results are concatenated along the last dimension. combine:
   the second is a graph-defined kernel (else kernel operators). */
static inline void attention_split (mugraph *g, int b, int m, int d, int n, bool norm, int rows, int split, int loop,
                                    bool combine) {
  gqa_inputs (g, b, m, d, n);
  int kernel = mugraph_add_custom (g, 3, (int[]){0, 1, 2}, (int32_t[]){b, rows, split}, loop);
  mugraph_block *t = block_of (g, kernel);
  int q = mugraph_block_input (t, 0, IMAP (0, 1, -1), -1), k = mugraph_block_input (t, 1, IMAP (0, -1, 2), 2),
      v = mugraph_block_input (t, 2, IMAP (0, -1, 1), 1);
  if (norm) q = normalise (t, q, 2, false), v = normalise (t, v, 2, true);
  int e = mugraph_block_op (t, OP_ (EXP), mugraph_block_op (t, OP_ (MATMUL), q, k, -1), -1, -1);
  int o = mugraph_block_op (t, OP_ (ACCUM), mugraph_block_op (t, OP_ (MATMUL), e, v, -1), -1, -1);
  int l = mugraph_block_op (t, OP_ (ACCUM_SUM), e, -1, -1);
  mugraph_block_output (t, o, IMAP (0, 1, 2));
  mugraph_block_output (t, l, IMAP (0, 1, 2));
  finish_kernel (g, kernel);
  int po = g->op[kernel].out[0], pl = g->op[kernel].out[1];
  if (!combine) {
    mugraph_error e2 = {""};
    mugraph_op *op;
    /* sum_to has a width, which the plain builder does not set: the same sum, by a graph-defined kernel of one block */
    int whole = mugraph_add_custom (g, 1, (int[]){po}, (int32_t[]){1, 1, 1}, 1);
    mugraph_block *w = block_of (g, whole);
    int x = mugraph_block_input (w, 0, IMAP (-1, -1, -1), -1);
    int s = mugraph_block_op (w, OP_ (SUM_TO), x, -1, 2);
    op = &w->op[s], op->width = d;
    mugraph_block_output (w, s, IMAP (-1, -1, -1));
    must (mugraph_finish_custom (g, whole, &e2) ? 0 : -1, &e2);
    mugraph_add_output (g, op2 (g, OP_ (DIV), g->op[whole].out[0], op1 (g, OP_ (SUM), pl, 2)), "O");
    finish (g);
    return;
  }
  int second = mugraph_add_custom (g, 2, (int[]){po, pl}, (int32_t[]){b, rows, 1}, 1);
  t = block_of (g, second);
  int x = mugraph_block_input (t, 0, IMAP (0, 1, -1), -1), y = mugraph_block_input (t, 1, IMAP (0, 1, -1), -1);
  int sx = mugraph_block_op (t, OP_ (ACCUM_SUM_TO), x, -1, -1), sy = mugraph_block_op (t, OP_ (ACCUM_SUM), y, -1, -1);
  t->op[sx].width = d;
  mugraph_block_output (t, mugraph_block_op (t, OP_ (DIV), sx, sy, -1), IMAP (0, 1, -1));
  finish_kernel (g, second);
  mugraph_add_output (g, g->op[second].out[0], "O");
  finish (g);
}

static inline void rmsnorm_fused (mugraph *g, int r, int k, int n, int grid, int loop) {
  mugraph_init (g);
  input2 (g, "X", r, k), input2 (g, "W", k, n);
  int kernel = mugraph_add_custom (g, 2, (int[]){0, 1}, (int32_t[]){grid, 1, 1}, loop);
  mugraph_block *t = block_of (g, kernel);
  int x = mugraph_block_input (t, 0, IMAP (-1, -1, -1), 1), w = mugraph_block_input (t, 1, IMAP (1, -1, -1), 0);
  int rms = mugraph_block_op (t, OP_ (ACCUM_RMS), x, -1, -1);
  int acc = mugraph_block_op (t, OP_ (ACCUM), mugraph_block_op (t, OP_ (MATMUL), x, w, -1), -1, -1);
  mugraph_block_output (t, mugraph_block_op (t, OP_ (DIV), acc, rms, -1), IMAP (1, -1, -1));
  finish_kernel (g, kernel);
  mugraph_add_output (g, g->op[kernel].out[0], "O");
  finish (g);
}

/* Split over the contraction: partial products and sums of squares, combined by a second kernel. */
static inline void rmsnorm_split (mugraph *g, int r, int k, int n, int grid, int split, int loop) {
  mugraph_init (g);
  input2 (g, "X", r, k), input2 (g, "W", k, n);
  int kernel = mugraph_add_custom (g, 2, (int[]){0, 1}, (int32_t[]){split, 1, 1}, loop);
  mugraph_block *t = block_of (g, kernel);
  int x = mugraph_block_input (t, 0, IMAP (1, -1, -1), 1), w = mugraph_block_input (t, 1, IMAP (0, -1, -1), 0);
  int acc = mugraph_block_op (t, OP_ (ACCUM), mugraph_block_op (t, OP_ (MATMUL), x, w, -1), -1, -1);
  mugraph_block_output (t, acc, IMAP (1, -1, -1));
  finish_kernel (g, kernel);
  int second = mugraph_add_custom (g, 2, (int[]){g->op[kernel].out[0], 0}, (int32_t[]){grid, 1, 1}, 1);
  t = block_of (g, second);
  mugraph_block_input (t, 0, IMAP (-1, -1, -1), -1);
  int y = mugraph_block_input (t, 1, IMAP (0, -1, -1), -1), p = mugraph_block_input (t, 0, IMAP (0, -1, -1), -1);
  int sum = mugraph_block_op (t, OP_ (SUM_TO), p, -1, 1), rms = mugraph_block_op (t, OP_ (ACCUM_RMS), y, -1, -1);
  t->op[sum].width = n;
  mugraph_block_output (t, mugraph_block_op (t, OP_ (DIV), sum, rms, -1), IMAP (0, -1, -1));
  finish_kernel (g, second);
  mugraph_add_output (g, g->op[second].out[0], "O");
  finish (g);
}

static inline void lora_fused (mugraph *g, int r, int k, int n, int rank, int grid, int loop) {
  mugraph_init (g);
  input2 (g, "X", r, k), input2 (g, "W", k, n), input2 (g, "A", k, rank), input2 (g, "B", rank, n);
  int kernel = mugraph_add_custom (g, 4, (int[]){0, 1, 2, 3}, (int32_t[]){grid, 1, 1}, loop);
  mugraph_block *t = block_of (g, kernel);
  int x = mugraph_block_input (t, 0, IMAP (-1, -1, -1), 1), w = mugraph_block_input (t, 1, IMAP (1, -1, -1), 0),
      a = mugraph_block_input (t, 2, IMAP (-1, -1, -1), 0), b = mugraph_block_input (t, 3, IMAP (1, -1, -1), -1);
  int xw = mugraph_block_op (t, OP_ (ACCUM), mugraph_block_op (t, OP_ (MATMUL), x, w, -1), -1, -1);
  int xa = mugraph_block_op (t, OP_ (ACCUM), mugraph_block_op (t, OP_ (MATMUL), x, a, -1), -1, -1);
  int low = mugraph_block_op (t, OP_ (MATMUL), xa, b, -1);
  mugraph_block_output (t, mugraph_block_op (t, OP_ (ADD), xw, low, -1), IMAP (1, -1, -1));
  finish_kernel (g, kernel);
  mugraph_add_output (g, g->op[kernel].out[0], "O");
  finish (g);
}

/* [X | X A] [W ; B] by concatenation: X A from a pre-defined kernel. */
static inline void lora_concat (mugraph *g, int r, int k, int n, int rank, int grid) {
  mugraph_init (g);
  input2 (g, "X", r, k), input2 (g, "W", k, n), input2 (g, "A", k, rank), input2 (g, "B", rank, n);
  int xa = op2 (g, OP_ (MATMUL), 0, 2);
  int kernel = mugraph_add_custom (g, 4, (int[]){0, 1, xa, 3}, (int32_t[]){grid, 1, 1}, 1);
  mugraph_block *t = block_of (g, kernel);
  int x = mugraph_block_input (t, 0, IMAP (-1, -1, -1), -1), w = mugraph_block_input (t, 1, IMAP (1, -1, -1), -1),
      a = mugraph_block_input (t, 2, IMAP (-1, -1, -1), -1), b = mugraph_block_input (t, 3, IMAP (1, -1, -1), -1);
  int left = mugraph_block_op (t, OP_ (CONCAT), x, a, 1), right = mugraph_block_op (t, OP_ (CONCAT), w, b, 0);
  mugraph_block_output (t, mugraph_block_op (t, OP_ (MATMUL), left, right, -1), IMAP (1, -1, -1));
  finish_kernel (g, kernel);
  mugraph_add_output (g, g->op[kernel].out[0], "O");
  finish (g);
}

static inline void gatedmlp_fused (mugraph *g, int r, int k, int n, int grid, int loop) {
  mugraph_init (g);
  input2 (g, "X", r, k), input2 (g, "W1", k, n), input2 (g, "W2", k, n);
  int kernel = mugraph_add_custom (g, 3, (int[]){0, 1, 2}, (int32_t[]){grid, 1, 1}, loop);
  mugraph_block *t = block_of (g, kernel);
  int x = mugraph_block_input (t, 0, IMAP (-1, -1, -1), 1), w1 = mugraph_block_input (t, 1, IMAP (1, -1, -1), 0),
      w2 = mugraph_block_input (t, 2, IMAP (1, -1, -1), 0);
  int a = mugraph_block_op (t, OP_ (ACCUM), mugraph_block_op (t, OP_ (MATMUL), x, w1, -1), -1, -1);
  int b = mugraph_block_op (t, OP_ (ACCUM), mugraph_block_op (t, OP_ (MATMUL), x, w2, -1), -1, -1);
  int gate = mugraph_block_op (t, OP_ (SILU), a, -1, -1);
  mugraph_block_output (t, mugraph_block_op (t, OP_ (MUL), gate, b, -1), IMAP (1, -1, -1));
  finish_kernel (g, kernel);
  mugraph_add_output (g, g->op[kernel].out[0], "O");
  finish (g);
}

/* One block a group of rows. */
static inline void ntrans_fused (mugraph *g, int r, int n, int grid, bool spelled) {
  mugraph_init (g);
  input2 (g, "X", r, n), input2 (g, "H", r, n), input2 (g, "alpha", r, n);
  int kernel = mugraph_add_custom (g, 3, (int[]){0, 1, 2}, (int32_t[]){grid, 1, 1}, 1);
  mugraph_block *t = block_of (g, kernel);
  int x = mugraph_block_input (t, 0, IMAP (0, -1, -1), -1), h = mugraph_block_input (t, 1, IMAP (0, -1, -1), -1),
      a = mugraph_block_input (t, 2, IMAP (0, -1, -1), -1);
  int s = mugraph_block_op (t, OP_ (ADD), normalise (t, h, 1, spelled), x, -1);
  int y = mugraph_block_op (t, OP_ (ADD), x, mugraph_block_op (t, OP_ (MUL), a, s, -1), -1);
  mugraph_block_output (t, normalise (t, y, 1, spelled), IMAP (0, -1, -1));
  finish_kernel (g, kernel);
  mugraph_add_output (g, g->op[kernel].out[0], "O");
  finish (g);
}

#endif
