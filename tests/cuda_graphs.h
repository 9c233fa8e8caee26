/* µGraphs that the CUDA tests share: each case is a program in the program language and one way to build a µGraph for
   it. tests/cuda_generic.c compiles them without a GPU; tests/gpu_test.c runs them on one. */
#ifndef TESTS_CUDA_GRAPHS_H
#define TESTS_CUDA_GRAPHS_H

#include "cuda_templates/plan.h"
#include "mugraph/mugraph.h"
#include "mugraph/program/program.h"

#include <stdio.h>
#include <string.h>

typedef struct case_ {
  const char *name, *program; /* b stands for `b` below */
  int b;
  bool (*build) (const struct case_ *, const mugraph *program, mugraph *);
  int grid[3], loop;
  const char *maps; /* for build_split: a digit or - per input, then per output: the dimension that grid x splits */
  int backend;
  double scale[4]; /* of the inputs, 0: 1 */
} graph_case;

static inline int tile_in (mugraph_block *b, int input, int x, int y, int fmap) {
  return mugraph_block_input (b, input, (const int[]){x, y, -1}, fmap);
}
static inline int tile_op (mugraph_block *b, mugraph_op_kind kind, int a, int second) {
  return mugraph_block_op (b, kind, a, second, -1);
}
static inline int tile_out (mugraph_block *b, int tile, int x, int y) {
  return mugraph_block_output (b, tile, (const int[]){x, y, -1});
}

/* A graph with the program's inputs and one graph-defined kernel over all of them, empty. */
static inline mugraph_block *start (const graph_case *c, const mugraph *program, mugraph *g) {
  int in[MUGRAPH_FANIN];
  mugraph_init (g);
  for (int i = 0; i < program->n_inputs; i++)
    in[i] = mugraph_add_input (g, program->tensor[i].name, program->tensor[i].shape);
  mugraph_add_custom (g, program->n_inputs, in,
                      (const int32_t[]){c->grid[0], c->grid[1] ? c->grid[1] : 1, c->grid[2] ? c->grid[2] : 1}, c->loop);
  g->block[0].sched.backend = (int16_t) c->backend;
  return &g->block[0];
}

static inline bool give_up (const char *name, const mugraph_error *e) {
  fprintf (stderr, "%s: %s\n", name, e->text);
  return false;
}

/* The outputs of the last operator become the graph's. */
static inline bool finish (const graph_case *c, mugraph *g) {
  mugraph_error e;
  int last = g->n_ops - 1;
  if (g->op[last].kind == MUGRAPH_OP_CUSTOM && !mugraph_finish_custom (g, last, &e)) return give_up (c->name, &e);
  for (int i = 0; i < g->op[last].n_out; i++) mugraph_add_output (g, g->op[last].out[i], "");
  return mugraph_infer (g, &e) || give_up (c->name, &e);
}

/* The program itself: pre-defined kernels only. */
static inline bool build_plain (const graph_case *c, const mugraph *program, mugraph *g) {
  (void) c;
  *g = *program;
  return true;
}

/* The whole program as one block graph without a loop; grid x splits the dimensions that c->maps names. */
static inline bool build_split (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  int tile[MUGRAPH_TENSORS];
  for (int i = 0; i < program->n_inputs; i++)
    tile[i] = tile_in (b, i, c->maps[i] == '-' ? -1 : c->maps[i] - '0', -1, -1);
  for (int k = 0; k < program->n_ops; k++) {
    const mugraph_op *o = &program->op[k];
    int i = o->kind == MUGRAPH_OP_CONST ? mugraph_block_const (b, o->c[0])
                                        : mugraph_block_op (b, (mugraph_op_kind) o->kind, tile[o->in[0]],
                                                            o->n_in > 1 ? tile[o->in[1]] : -1, o->dim);
    if (i < 0) return false;
    b->op[i].width = o->width;
    memcpy (b->op[i].c, o->c, sizeof o->c);
    tile[o->out[0]] = i;
  }
  for (int k = 0; k < program->n_outputs; k++) {
    char map = c->maps[program->n_inputs + k];
    tile_out (b, tile[program->output[k]], map == '-' ? -1 : map - '0', -1);
  }
  return finish (c, g);
}

/* Weights [k, n], or the transpose of [n, k] as layers of networks store them; grid x over n, the loop over k. */
static inline int weights_in (mugraph_block *b, int input, bool turned) {
  if (!turned) return tile_in (b, input, 1, -1, 0);
  return tile_op (b, MUGRAPH_OP_TRANSPOSE, tile_in (b, input, 0, -1, 1), -1);
}

static inline bool rmsnorm (const graph_case *c, const mugraph *program, mugraph *g, bool turned) {
  mugraph_block *b = start (c, program, g);
  int x = tile_in (b, 0, -1, -1, 1), w = weights_in (b, 1, turned);
  int sum = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w), -1),
      rms = tile_op (b, MUGRAPH_OP_ACCUM_RMS, x, -1);
  tile_out (b, tile_op (b, MUGRAPH_OP_DIV, sum, rms), 1, -1);
  return finish (c, g);
}

static inline bool build_rmsnorm (const graph_case *c, const mugraph *program, mugraph *g) {
  return rmsnorm (c, program, g, false);
}
static inline bool build_rmsnorm_turned (const graph_case *c, const mugraph *program, mugraph *g) {
  return rmsnorm (c, program, g, true);
}

/* The same with the statistics spelt out: accum_mean of squares. */
static inline bool build_rmsnorm_mean (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  int x = tile_in (b, 0, -1, -1, 1), w = tile_in (b, 1, 1, -1, 0);
  int sum = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w), -1);
  int mean = tile_op (b, MUGRAPH_OP_ACCUM_MEAN, tile_op (b, MUGRAPH_OP_SQUARE, x, -1), -1);
  tile_out (b, tile_op (b, MUGRAPH_OP_DIV, sum, tile_op (b, MUGRAPH_OP_SQRT, mean, -1)), 1, -1);
  return finish (c, g);
}

static inline bool build_lora (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  int x = tile_in (b, 0, -1, -1, 1), w = tile_in (b, 1, 1, -1, 0), a = tile_in (b, 2, -1, -1, 0),
      bb = tile_in (b, 3, 1, -1, -1);
  int xw = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w), -1);
  int xa = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, a), -1);
  tile_out (b, tile_op (b, MUGRAPH_OP_ADD, xw, tile_op (b, MUGRAPH_OP_MATMUL, xa, bb)), 1, -1);
  return finish (c, g);
}

/* The same, all three stored as [n, k]. */
static inline bool build_lora_turned (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  int x = tile_in (b, 0, -1, -1, 1), w = weights_in (b, 1, true),
      a = tile_op (b, MUGRAPH_OP_TRANSPOSE, tile_in (b, 2, -1, -1, 1), -1);
  int bb = tile_op (b, MUGRAPH_OP_TRANSPOSE, tile_in (b, 3, 0, -1, -1), -1);
  int xw = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w), -1);
  int xa = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, a), -1);
  tile_out (b, tile_op (b, MUGRAPH_OP_ADD, xw, tile_op (b, MUGRAPH_OP_MATMUL, xa, bb)), 1, -1);
  return finish (c, g);
}

/* (X | X A) (W over B), the concatenation inside the loop body as Mirage finds it. */
static inline bool build_lora_concat (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  int x = tile_in (b, 0, -1, -1, -1), w = tile_in (b, 1, 1, -1, -1), a = tile_in (b, 2, -1, -1, -1),
      bb = tile_in (b, 3, 1, -1, -1);
  int xa = tile_op (b, MUGRAPH_OP_MATMUL, x, a);
  int left = mugraph_block_op (b, MUGRAPH_OP_CONCAT, x, xa, 1),
      right = mugraph_block_op (b, MUGRAPH_OP_CONCAT, w, bb, 0);
  tile_out (b, tile_op (b, MUGRAPH_OP_MATMUL, left, right), 1, -1);
  return finish (c, g);
}

static inline bool gatedmlp (const graph_case *c, const mugraph *program, mugraph *g, bool turned1, bool turned2) {
  mugraph_block *b = start (c, program, g);
  int x = tile_in (b, 0, -1, -1, 1), w1 = weights_in (b, 1, turned1), w2 = weights_in (b, 2, turned2);
  int p = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w1), -1);
  int q = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w2), -1);
  tile_out (b, tile_op (b, MUGRAPH_OP_MUL, tile_op (b, MUGRAPH_OP_SILU, p, -1), q), 1, -1);
  return finish (c, g);
}

static inline bool build_gatedmlp (const graph_case *c, const mugraph *program, mugraph *g) {
  return gatedmlp (c, program, g, false, false);
}
static inline bool build_gatedmlp_turned (const graph_case *c, const mugraph *program, mugraph *g) {
  return gatedmlp (c, program, g, true, true);
}
static inline bool build_gatedmlp_mixed (const graph_case *c, const mugraph *program, mugraph *g) {
  return gatedmlp (c, program, g, false, true);
}

/* A layer: X W^T + C, activated, beside a residual. */
static inline bool build_layer (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  int x = tile_in (b, 0, -1, -1, 1), w = weights_in (b, 1, true), bias = tile_in (b, 2, 0, -1, -1),
      rest = tile_in (b, 3, 1, -1, -1);
  int sum = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w), -1);
  tile_out (b,
            tile_op (b, MUGRAPH_OP_ADD, tile_op (b, MUGRAPH_OP_SILU, tile_op (b, MUGRAPH_OP_ADD, sum, bias), -1), rest),
            1, -1);
  return finish (c, g);
}

/* Attention: grid x over heads, grid y over query rows, the loop over keys. norm: rms_norm over the last dimension of Q
 * and V. */
static inline bool attention (const graph_case *c, const mugraph *program, mugraph *g, bool norm) {
  mugraph_block *b = start (c, program, g);
  int q = tile_in (b, 0, 0, 1, -1), k = tile_in (b, 1, 0, -1, 2), v = tile_in (b, 2, 0, -1, 1);
  if (norm)
    q = mugraph_block_op (b, MUGRAPH_OP_RMS_NORM, q, -1, 2), v = mugraph_block_op (b, MUGRAPH_OP_RMS_NORM, v, -1, 2);
  int e = tile_op (b, MUGRAPH_OP_EXP, tile_op (b, MUGRAPH_OP_MATMUL, q, k), -1);
  int o = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, e, v), -1),
      s = tile_op (b, MUGRAPH_OP_ACCUM_SUM, e, -1);
  tile_out (b, tile_op (b, MUGRAPH_OP_DIV, o, s), 0, 1);
  return finish (c, g);
}
static inline bool build_attention (const graph_case *c, const mugraph *program, mugraph *g) {
  return attention (c, program, g, false);
}
static inline bool build_attention_norm (const graph_case *c, const mugraph *program, mugraph *g) {
  return attention (c, program, g, true);
}

/* The same with K, V stored as [keys, depth], [depth, keys] where `turned` says so, and what may stand around their
 * transposes. */
enum {
  TURNED_K = 1,
  TURNED_V = 2,
  TURNED_NORMS = 4,
  TURNED_SCALES = 8,
  TURNED_MAP_K = 16,
  TURNED_MAP_V = 128,
  TURNED_MAPS = TURNED_MAP_K | TURNED_MAP_V,
  TURNED_NORM_K = 32,
  TURNED_NORM_KT = 64
};
static inline bool attention_turned (const graph_case *c, const mugraph *program, mugraph *g, int turned) {
  mugraph_block *b = start (c, program, g);
  int q = tile_in (b, 0, 0, 1, -1), k = tile_in (b, 1, 0, -1, turned & TURNED_K ? 1 : 2),
      v = tile_in (b, 2, 0, -1, turned & TURNED_V ? 2 : 1);
  if (turned & TURNED_NORMS)
    q = mugraph_block_op (b, MUGRAPH_OP_RMS_NORM, q, -1, 2), v = mugraph_block_op (b, MUGRAPH_OP_RMS_NORM, v, -1, 2);
  if (turned & TURNED_SCALES) q = tile_op (b, MUGRAPH_OP_DIV, q, mugraph_block_const (b, 2));
  if (turned & TURNED_SCALES && !(turned & TURNED_NORM_KT))
    k = tile_op (b, MUGRAPH_OP_MUL, k, mugraph_block_const (b, 0.5));
  if (turned & TURNED_MAP_V) v = tile_op (b, MUGRAPH_OP_SILU, v, -1);
  if (turned & TURNED_NORM_K) k = mugraph_block_op (b, MUGRAPH_OP_RMS_NORM, k, -1, 2);
  if (turned & TURNED_K) k = tile_op (b, MUGRAPH_OP_TRANSPOSE, k, -1);
  if (turned & TURNED_NORM_KT) k = mugraph_block_op (b, MUGRAPH_OP_RMS_NORM, k, -1, 1);
  if (turned & TURNED_V) v = tile_op (b, MUGRAPH_OP_TRANSPOSE, v, -1);
  if (turned & TURNED_MAP_K) k = tile_op (b, MUGRAPH_OP_RELU, k, -1);
  if (turned & TURNED_SCALES) k = tile_op (b, MUGRAPH_OP_MUL, mugraph_block_const (b, 0.75), k);
  int s = tile_op (b, MUGRAPH_OP_MATMUL, q, k);
  if (turned & TURNED_SCALES) s = tile_op (b, MUGRAPH_OP_MUL, s, mugraph_block_const (b, 1.5));
  int e = tile_op (b, MUGRAPH_OP_EXP, s, -1);
  int o = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, e, v), -1),
      sum = tile_op (b, MUGRAPH_OP_ACCUM_SUM, e, -1);
  tile_out (b, tile_op (b, MUGRAPH_OP_DIV, o, sum), 0, 1);
  return finish (c, g);
}
static inline bool build_turned_k (const graph_case *c, const mugraph *program, mugraph *g) {
  return attention_turned (c, program, g, TURNED_K);
}
static inline bool build_turned_v (const graph_case *c, const mugraph *program, mugraph *g) {
  return attention_turned (c, program, g, TURNED_V);
}
static inline bool build_turned (const graph_case *c, const mugraph *program, mugraph *g) {
  return attention_turned (c, program, g, TURNED_K | TURNED_V);
}
static inline bool build_turned_norms (const graph_case *c, const mugraph *program, mugraph *g) {
  return attention_turned (c, program, g, TURNED_K | TURNED_NORMS);
}
static inline bool build_turned_norm_k (const graph_case *c, const mugraph *program, mugraph *g) {
  return attention_turned (c, program, g, TURNED_K | TURNED_NORMS | TURNED_NORM_K);
}
static inline bool build_turned_norm_map (const graph_case *c, const mugraph *program, mugraph *g) {
  return attention_turned (c, program, g, TURNED_K | TURNED_NORMS | TURNED_MAP_K);
}
static inline bool build_turned_norm_kt (const graph_case *c, const mugraph *program, mugraph *g) {
  return attention_turned (c, program, g, TURNED_K | TURNED_V | TURNED_NORM_KT | TURNED_SCALES);
}
static inline bool build_turned_scales (const graph_case *c, const mugraph *program, mugraph *g) {
  return attention_turned (c, program, g, TURNED_K | TURNED_SCALES);
}
static inline bool build_turned_maps (const graph_case *c, const mugraph *program, mugraph *g) {
  return attention_turned (c, program, g, TURNED_K | TURNED_V | TURNED_MAPS);
}

/* Keys split over grid y, partial outputs and sums side by side in the last dimension; a second kernel adds them up:
   graph-defined, or (combine false) pre-defined. */
static inline bool split_attention (const graph_case *c, const mugraph *program, mugraph *g, bool combine,
                                    bool turned) {
  mugraph_error e;
  mugraph_block *b = start (c, program, g);
  int q = tile_in (b, 0, 0, -1, -1),
      k = turned ? tile_op (b, MUGRAPH_OP_TRANSPOSE, tile_in (b, 1, 0, 1, 1), -1) : tile_in (b, 1, 0, 2, 2),
      v = tile_in (b, 2, 0, 1, 1);
  int x = tile_op (b, MUGRAPH_OP_EXP, tile_op (b, MUGRAPH_OP_MATMUL, q, k), -1);
  int o = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, v), -1),
      s = tile_op (b, MUGRAPH_OP_ACCUM_SUM, x, -1);
  tile_out (b, o, 0, 2);
  tile_out (b, s, 0, 2);
  int width = program->tensor[2].shape.dim[2];
  if (!mugraph_finish_custom (g, 0, &e)) return give_up (c->name, &e);
  int po = g->op[0].out[0], ps = g->op[0].out[1];
  if (combine) {
    mugraph_add_custom (g, 2, (const int[]){po, ps}, (const int32_t[]){c->grid[0], 4, 1}, 1);
    b = &g->block[1];
    b->sched.backend = (int16_t) c->backend;
    int to = mugraph_block_op (b, MUGRAPH_OP_SUM_TO, tile_in (b, 0, 0, 1, -1), -1, 2);
    b->op[to].width = width;
    int ts = mugraph_block_op (b, MUGRAPH_OP_SUM, tile_in (b, 1, 0, 1, -1), -1, 2);
    tile_out (b, tile_op (b, MUGRAPH_OP_DIV, to, ts), 0, 1);
    return finish (c, g);
  }
  int ts = mugraph_add_op (g, MUGRAPH_OP_SUM, 1, (const int[]){ps}, 2, &e);
  mugraph_op *to = &g->op[g->n_ops++];
  *to = g->op[g->n_ops - 2];
  to->kind = MUGRAPH_OP_SUM_TO, to->in[0] = (uint8_t) po, to->width = width, to->out[0] = g->n_tensors++;
  memset (&g->tensor[to->out[0]], 0, sizeof *g->tensor);
  g->tensor[to->out[0]].shape = g->tensor[po].shape;
  g->tensor[to->out[0]].shape.dim[2] = width;
  mugraph_add_op (g, MUGRAPH_OP_DIV, 2, (const int[]){to->out[0], ts}, -1, &e);
  return finish (c, g);
}
static inline bool build_split_attention (const graph_case *c, const mugraph *program, mugraph *g) {
  return split_attention (c, program, g, true, false);
}
static inline bool build_split_turned (const graph_case *c, const mugraph *program, mugraph *g) {
  return split_attention (c, program, g, true, true);
}
static inline bool build_split_attention_plain (const graph_case *c, const mugraph *program, mugraph *g) {
  return split_attention (c, program, g, false, false);
}

/* Accumulators of every kind over a loop along the rows or the columns of X. */
static inline bool build_accumulators (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  int x = tile_in (b, 0, 0, -1, 1), y = tile_in (b, 1, -1, -1, -1);
  int rms = tile_op (b, MUGRAPH_OP_ACCUM_RMS, x, -1), sum = tile_op (b, MUGRAPH_OP_ACCUM_SUM, x, -1),
      mean = tile_op (b, MUGRAPH_OP_ACCUM_MEAN, x, -1);
  int scaled = tile_op (b, MUGRAPH_OP_MUL, tile_op (b, MUGRAPH_OP_ADD, rms, mean), y);
  tile_out (b, tile_op (b, MUGRAPH_OP_ADD, scaled, sum), 0, -1);
  return finish (c, g);
}

/* sum_to by an accumulator: the loop walks the columns, width w stays. */
static inline bool build_accum_to (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  int x = tile_in (b, 0, 0, -1, 1);
  int s = tile_op (b, MUGRAPH_OP_ACCUM_SUM_TO, x, -1);
  b->op[s].width = program->tensor[program->output[0]].shape.dim[1];
  tile_out (b, s, 0, -1);
  return finish (c, g);
}

#define RMS(m, k, n, t) "input X[" m "," k "]: " t "\ninput W[" k "," n "]: " t "\noutput matmul(rms_norm(X, -1), W)\n"
#define RMS_T(m, k, n, t)                                                                                              \
  "input X[" m "," k "]: " t "\ninput W[" n "," k "]: " t "\noutput matmul(rms_norm(X, -1), transpose(W))\n"
#define MLP_T(m, k, n, t)                                                                                              \
  "input X[" m "," k "]: " t "\ninput V[" n "," k "]: " t "\ninput W[" n "," k "]: " t                                 \
  "\noutput silu(matmul(X, transpose(V))) * matmul(X, transpose(W))\n"
#define LORA_T(m, k, n, r, t)                                                                                          \
  "input X[" m "," k "]: " t "\ninput W[" n "," k "]: " t "\ninput A[" r "," k "]: " t "\ninput B[" n "," r "]: " t    \
  "\noutput matmul(X, transpose(W)) + matmul(matmul(X, transpose(A)), transpose(B))\n"
#define MLP_MIXED(m, k, n, t)                                                                                          \
  "input X[" m "," k "]: " t "\ninput V[" k "," n "]: " t "\ninput W[" n "," k "]: " t                                 \
  "\noutput silu(matmul(X, V)) * matmul(X, transpose(W))\n"
#define LAYER(m, k, n, t)                                                                                              \
  "input X[" m "," k "]: " t "\ninput W[" n "," k "]: " t "\ninput C[" n "]: " t "\ninput R[" m "," n "]: " t          \
  "\noutput silu(matmul(X, transpose(W)) + C) + R\n"
#define LORA(m, k, n, r, t)                                                                                            \
  "input X[" m "," k "]: " t "\ninput W[" k "," n "]: " t "\ninput A[" k "," r "]: " t "\ninput B[" r "," n "]: " t    \
  "\noutput matmul(X, W) + matmul(matmul(X, A), B)\n"
#define MLP(m, k, n, t)                                                                                                \
  "input X[" m "," k "]: " t "\ninput V[" k "," n "]: " t "\ninput W[" k "," n "]: " t                                 \
  "\noutput silu(matmul(X, V)) * matmul(X, W)\n"
#define ATT(h, m, d, n, t)                                                                                             \
  "input Q[" h "," m "," d "]: " t "\ninput K[" h "," d "," n "]: " t "\ninput V[" h "," n "," d "]: " t               \
  "\nE = exp(matmul(Q, K))\noutput matmul(E / sum(E, -1), V)\n"
/* K and V as [keys, depth] */
#define ATT_KV(h, m, d, n, t, scale)                                                                                   \
  "input Q[" h "," m "," d "]: " t "\ninput K[" h "," n "," d "]: " t "\ninput V[" h "," n "," d "]: " t               \
  "\noutput matmul(softmax(matmul(Q, transpose(K))" scale ", -1), V)\n"
#define QKN(h, m, d, n, t)                                                                                             \
  "input Q[" h "," m "," d "]: " t "\ninput K[" h "," d "," n "]: " t "\ninput V[" h "," n "," d "]: " t               \
  "\nE = exp(matmul(rms_norm(Q, -1), K))\noutput matmul(E / sum(E, -1), rms_norm(V, -1))\n"
#define NTR(m, n, t)                                                                                                   \
  "input X[" m "," n "]: " t "\ninput H[" m "," n "]: " t "\ninput A[" m "," n "]: " t                                 \
  "\noutput rms_norm(X + A * (rms_norm(H, -1) + X), -1)\n"
#define UNARY                                                                                                          \
  "input X[5,37]: f16\ninput Y[5,37]: f16\n"                                                                           \
  "A = exp(X) + square(Y) - sqrt(square(X)) + silu(Y)\nB = gelu(X) * relu(Y) + tanh(X) + sigmoid(Y)\n"                 \
  "C = log(square(X) + 1) + clamp(Y, -0.5, 0.75) + pow(square(X) + 0.5, Y)\noutput P = A / (square(B) + 1)\noutput Q " \
  "= -C + 2.5\n"
#define REDUCE                                                                                                         \
  "input X[6,10,36]: f16\n"                                                                                            \
  "output A = sum(X, 1)\noutput B = mean(X, 2)\noutput C = max(X, -1)\noutput D = sum_to(X, 2, 12)\noutput E = "       \
  "rms_norm(X, 1)\n"                                                                                                   \
  "output F = max(X, 1) + sum_to(X, 1, 5)\noutput G = sum(mean(square(X), 1), 2)\n"
#define LAYOUT                                                                                                         \
  "input X[3,7,20]: f16\ninput Y[3,20,9]: f16\n"                                                                       \
  "T = transpose(Y)\nC = concat(X, T, 1)\noutput A = concat(C, X * 2, 1)\noutput B = matmul(transpose(C), "            \
  "sqrt(square(C)) - 0.5)\noutput D = transpose(exp(Y))\n"
#define BROADCAST                                                                                                      \
  "input X[4,1,33]: f16\ninput Y[12,1]: f16\ninput Z[33]: bf16\ninput W[4,33,6]: f16\n"                                \
  "output A = X * Y + Z\noutput B = matmul(X + Y, W)\n"
#define SOFTMAX(t) "input X[b,70,300]: " t "\noutput softmax(X * 20, -1)\n"
#define FOUR                                                                                                           \
  "input A[2,3,17,40]: f16\ninput B[3,40,25]: f16\noutput matmul(A, B)\noutput sum(A, 0)\noutput rms_norm(A, 3)\n"
#define ACCUMS                                                                                                         \
  "input X[b,200]: f16\ninput Y[1]: f32\nM = mean(X, -1)\noutput (sqrt(mean(square(X), -1)) + M) * Y + sum(X, -1)\n"
#define TO "input X[b,384]: f16\noutput sum_to(X, -1, 32)\n"
#define MM(batch, m, k, n, t, u)                                                                                       \
  "input X[" batch m "," k "]: " t "\ninput W[" batch k "," n "]: " u "\noutput matmul(X, W)\n"
#define BIG                                                                                                            \
  "input X[200,512]: f16\ninput W[512,600]: f16\nY = matmul(X, W)\noutput rms_norm(silu(Y) * Y + exp(Y * 0.01), -1)\n"

static const graph_case graph_cases[] = {
    {.name = "rmsnorm 2x4096x6144 /96 x64",
     .program = RMS ("2*b", "4096", "6144", "f16"),
     .b = 1,
     .build = build_rmsnorm,
     .grid = {96},
     .loop = 64},
    {.name = "rmsnorm 32x4096x6144 /96 x64",
     .program = RMS ("2*b", "4096", "6144", "f16"),
     .b = 16,
     .build = build_rmsnorm,
     .grid = {96},
     .loop = 64},
    {.name = "rmsnorm ragged 5x100x77 /3 x7",
     .program = RMS ("b", "100", "77", "f16"),
     .b = 5,
     .build = build_rmsnorm,
     .grid = {3},
     .loop = 7},
    {.name = "rmsnorm ragged 70x1000x130 /4 x3",
     .program = RMS ("b", "1000", "130", "f16"),
     .b = 70,
     .build = build_rmsnorm,
     .grid = {4},
     .loop = 3},
    {.name = "rmsnorm bf16 16x512x256",
     .program = RMS ("b", "512", "256", "bf16"),
     .b = 16,
     .build = build_rmsnorm,
     .grid = {4},
     .loop = 8},
    {.name = "rmsnorm f32 16x512x256",
     .program = RMS ("b", "512", "256", "f32"),
     .b = 16,
     .build = build_rmsnorm,
     .grid = {4},
     .loop = 8},
    {.name = "rmsnorm by accum_mean, ragged",
     .program = RMS ("b", "333", "65", "f16"),
     .b = 9,
     .build = build_rmsnorm_mean,
     .grid = {2},
     .loop = 4},
    {.name = "lora 16x256x4096 r16 /64 x4",
     .program = LORA ("b", "256", "4096", "16", "f16"),
     .b = 16,
     .build = build_lora,
     .grid = {64},
     .loop = 4},
    {.name = "lora ragged 3x130x1000 r5 /7 x3",
     .program = LORA ("b", "130", "1000", "5", "f16"),
     .b = 3,
     .build = build_lora,
     .grid = {7},
     .loop = 3},
    {.name = "lora concat 8x256x4096 /64",
     .program = LORA ("b", "256", "4096", "16", "f16"),
     .b = 8,
     .build = build_lora_concat,
     .grid = {64},
     .loop = 1},
    {.name = "gatedmlp 8x4096x4096 /128 x64",
     .program = MLP ("b", "4096", "4096", "f16"),
     .b = 8,
     .build = build_gatedmlp,
     .grid = {128},
     .loop = 64},
    {.name = "gatedmlp ragged 31x300x150 /4 x5",
     .program = MLP ("b", "300", "150", "f16"),
     .b = 31,
     .build = build_gatedmlp,
     .grid = {4},
     .loop = 5},
    {.name = "ntrans 8x4096 /8",
     .program = NTR ("b", "4096", "f16"),
     .b = 8,
     .build = build_split,
     .grid = {8},
     .loop = 1,
     .maps = "0000"},
    {.name = "ntrans ragged 5x1000 /3",
     .program = NTR ("b", "1000", "f16"),
     .b = 5,
     .build = build_split,
     .grid = {3},
     .loop = 1,
     .maps = "0000"},
    {.name = "ntrans bf16 4x512 /4",
     .program = NTR ("b", "512", "bf16"),
     .b = 4,
     .build = build_split,
     .grid = {4},
     .loop = 1,
     .maps = "0000"},
    {.name = "gqa 2x256x64x4096 /2,4 x64",
     .program = ATT ("2*b", "256", "64", "4096", "f16"),
     .b = 1,
     .build = build_attention,
     .grid = {2, 4},
     .loop = 64},
    {.name = "gqa 16x256x64x4096 /16,4 x64",
     .program = ATT ("2*b", "256", "64", "4096", "f16"),
     .b = 8,
     .build = build_attention,
     .grid = {16, 4},
     .loop = 64},
    {.name = "gqa Q x 4",
     .program = ATT ("2*b", "256", "64", "1024", "f16"),
     .b = 1,
     .build = build_attention,
     .grid = {2, 4},
     .loop = 16,
     .scale = {4, 1, 1}},
    {.name = "gqa ragged 3x50x33x500 /3,2 x7",
     .program = ATT ("b", "50", "33", "500", "f16"),
     .b = 3,
     .build = build_attention,
     .grid = {3, 2},
     .loop = 7},
    {.name = "gqa bf16",
     .program = ATT ("b", "64", "64", "512", "bf16"),
     .b = 4,
     .build = build_attention,
     .grid = {4, 2},
     .loop = 8},
    {.name = "gqa whole, no loop",
     .program = ATT ("b", "40", "64", "300", "f16"),
     .b = 4,
     .build = build_split,
     .grid = {4},
     .loop = 1,
     .maps = "0000"},
    {.name = "gqa split 2x256x64x4096 /2,8 x8",
     .program = ATT ("2*b", "256", "64", "4096", "f16"),
     .b = 1,
     .build = build_split_attention,
     .grid = {2, 8},
     .loop = 8},
    {.name = "gqa split Q x 4",
     .program = ATT ("2*b", "64", "64", "1024", "f16"),
     .b = 1,
     .build = build_split_attention,
     .grid = {2, 4},
     .loop = 4,
     .scale = {4, 1, 1}},
    {.name = "gqa split ragged 2x70x64x900 /2,7 x3",
     .program = ATT ("b", "70", "64", "900", "f16"),
     .b = 2,
     .build = build_split_attention,
     .grid = {2, 7},
     .loop = 3},
    {.name = "gqa split, pre-defined combine",
     .program = ATT ("2*b", "64", "64", "1024", "f16"),
     .b = 1,
     .build = build_split_attention_plain,
     .grid = {2, 4},
     .loop = 4},
    {.name = "gqa K as [n, d] 16x128x64x1024 /16,1 x16",
     .program = ATT_KV ("2*b", "128", "64", "1024", "bf16", ""),
     .b = 8,
     .build = build_turned_k,
     .grid = {16, 1},
     .loop = 16},
    {.name = "gqa K as [n, d], scaled, 4x128x128x1000 /4,2 x16",
     .program = ATT_KV ("b", "128", "128", "1000", "f16", "/ 2 * 0.5 * 0.75 * 1.5"),
     .b = 4,
     .build = build_turned_scales,
     .grid = {4, 2},
     .loop = 16},
    {.name = "gqa K as [n, d] ragged 3x50x33x500 /3,2 x7",
     .program = ATT_KV ("b", "50", "33", "500", "f16", ""),
     .b = 3,
     .build = build_turned_k,
     .grid = {3, 2},
     .loop = 7},
    {.name = "gqa K as [n, d] split ragged 2x70x64x900 /2,7 x3",
     .program = ATT_KV ("b", "70", "64", "900", "f16", ""),
     .b = 2,
     .build = build_split_turned,
     .grid = {2, 7},
     .loop = 3},
    {.name = "gqa norms of Q, K, V, K as [n, d], 2x128x64x1024 /2,2 x16",
     .program = "input Q[2,128,64]: f16\ninput K[2,1024,64]: f16\ninput V[2,1024,64]: f16\n"
                "output matmul(softmax(matmul(rms_norm(Q, -1), transpose(rms_norm(K, -1))), -1), rms_norm(V, -1))\n",
     .build = build_turned_norm_k,
     .grid = {2, 2},
     .loop = 16},
    {.name = "qknorm 2x256x64x4096 /2,4 x64",
     .program = QKN ("2*b", "256", "64", "4096", "f16"),
     .b = 1,
     .build = build_attention_norm,
     .grid = {2, 4},
     .loop = 64},
    {.name = "qknorm ragged 3x50x33x500 /3,2 x7",
     .program = QKN ("b", "50", "33", "500", "f16"),
     .b = 3,
     .build = build_attention_norm,
     .grid = {3, 2},
     .loop = 7},
    {.name = "accumulators ragged /3 x7",
     .program = ACCUMS,
     .b = 10,
     .build = build_accumulators,
     .grid = {3},
     .loop = 7},
    {.name = "accum_sum_to /3 x6", .program = TO, .b = 10, .build = build_accum_to, .grid = {3}, .loop = 6},
    {.name = "unary block /2", .program = UNARY, .build = build_split, .grid = {2}, .loop = 1, .maps = "0000"},
    {.name = "unary block /5 over columns",
     .program = UNARY,
     .build = build_split,
     .grid = {5},
     .loop = 1,
     .maps = "1111"},
    {.name = "reductions block /4",
     .program = REDUCE,
     .build = build_split,
     .grid = {4},
     .loop = 1,
     .maps = "00000000"},
    {.name = "layout block /3", .program = LAYOUT, .build = build_split, .grid = {3}, .loop = 1, .maps = "00000"},
    {.name = "broadcast block /3",
     .program = BROADCAST,
     .build = build_split,
     .grid = {3},
     .loop = 1,
     .maps = "0--000"},
    {.name = "four dimensions block /2",
     .program = FOUR,
     .build = build_split,
     .grid = {2},
     .loop = 1,
     .maps = "2-222"},
    {.name = "softmax block /2",
     .program = SOFTMAX ("f16"),
     .b = 2,
     .build = build_split,
     .grid = {2},
     .loop = 1,
     .maps = "00"},
    {.name = "large tiles, one block", .program = BIG, .build = build_split, .grid = {1}, .loop = 1, .maps = "---"},
    {.name = "large tiles /3", .program = BIG, .build = build_split, .grid = {3}, .loop = 1, .maps = "0-0"},
    {.name = "plain rmsnorm", .program = RMS ("2*b", "4096", "6144", "f16"), .b = 8, .build = build_plain},
    {.name = "plain gqa", .program = ATT ("2*b", "256", "64", "4096", "f16"), .b = 1, .build = build_plain},
    {.name = "plain gqa Q x 4",
     .program = ATT ("2*b", "256", "64", "1024", "f16"),
     .b = 1,
     .build = build_plain,
     .scale = {4, 1, 1}},
    {.name = "plain qknorm", .program = QKN ("2*b", "256", "64", "512", "f16"), .b = 1, .build = build_plain},
    {.name = "plain lora odd", .program = LORA ("b", "130", "1001", "5", "f16"), .b = 3, .build = build_plain},
    {.name = "plain gatedmlp bf16", .program = MLP ("b", "300", "150", "bf16"), .b = 31, .build = build_plain},
    {.name = "plain ntrans", .program = NTR ("b", "4096", "f16"), .b = 16, .build = build_plain},
    {.name = "plain unary", .program = UNARY, .build = build_plain},
    {.name = "plain reductions", .program = REDUCE, .build = build_plain},
    {.name = "plain layout", .program = LAYOUT, .build = build_plain},
    {.name = "plain broadcast", .program = BROADCAST, .build = build_plain},
    {.name = "plain four dimensions", .program = FOUR, .build = build_plain},
    {.name = "plain softmax f32", .program = SOFTMAX ("f32"), .b = 3, .build = build_plain},
    {.name = "plain large", .program = BIG, .build = build_plain},
    /* both operands stream when rows begin at multiples of 16 bytes: ends that no tile divides, then rows that do not
     */
    {.name = "plain matmul 70x72x88", .program = MM ("3,", "70", "72", "88", "f16", "f16"), .build = build_plain},
    {.name = "plain matmul 1x1001x40", .program = MM ("", "1", "1001", "40", "f16", "f16"), .build = build_plain},
    {.name = "plain matmul 33x1x7", .program = MM ("", "33", "1", "7", "bf16", "bf16"), .build = build_plain},
    {.name = "plain matmul 70x100x44", .program = MM ("2,", "70", "100", "44", "f16", "f16"), .build = build_plain},
    {.name = "plain matmul 17x64x129", .program = MM ("", "17", "64", "129", "bf16", "bf16"), .build = build_plain},
    {.name = "plain matmul f16 by bf16", .program = MM ("", "20", "200", "136", "f16", "bf16"), .build = build_plain},
    {.name = "matmul 70x200x88 /3 rows",
     .program = MM ("", "70", "200", "88", "f16", "f16"),
     .build = build_split,
     .grid = {3},
     .loop = 1,
     .maps = "0-0",
     .backend = 1},
    {.name = "matmul 70x200x88 /11 columns",
     .program = MM ("", "70", "200", "88", "f16", "f16"),
     .build = build_split,
     .grid = {11},
     .loop = 1,
     .maps = "-11",
     .backend = 1},
    {.name = "matmul 70x200x88 /3 columns",
     .program = MM ("", "70", "200", "88", "bf16", "bf16"),
     .build = build_split,
     .grid = {3},
     .loop = 1,
     .maps = "-11",
     .backend = 1},
    {.name = "matmul 5 matrices /2",
     .program = MM ("5,", "40", "104", "72", "f16", "f16"),
     .build = build_split,
     .grid = {2},
     .loop = 1,
     .maps = "000",
     .backend = 1},
    {.name = "rmsnorm ragged 40x1000x200 /5 x8",
     .program = RMS ("b", "1000", "200", "f16"),
     .b = 40,
     .build = build_rmsnorm,
     .grid = {5},
     .loop = 8,
     .backend = 1},
    {.name = "rmsnorm ragged 40x1000x192 /12 x7",
     .program = RMS ("b", "1000", "192", "f16"),
     .b = 40,
     .build = build_rmsnorm,
     .grid = {12},
     .loop = 7,
     .backend = 1},
    /* tiles by wgmma: rows, columns, matrices that the grid splits, edges that no tile divides */
    {.name = "tiled matmul 500x264x248 /4 rows",
     .program = MM ("", "500", "264", "248", "f16", "f16"),
     .build = build_split,
     .grid = {4},
     .loop = 1,
     .maps = "0-0"},
    {.name = "tiled matmul 100x1000x1272 /10 columns",
     .program = MM ("", "100", "1000", "1272", "bf16", "bf16"),
     .build = build_split,
     .grid = {10},
     .loop = 1,
     .maps = "-11"},
    {.name = "tiled matmul 600 matrices",
     .program = MM ("600,", "70", "200", "88", "f16", "f16"),
     .build = build_split,
     .grid = {600},
     .loop = 1,
     .maps = "000"},
    {.name = "tiled gelu and bias",
     .program = "input X[300,520]: f16\ninput W[520,192]: f16\ninput C[192]: bf16\noutput gelu(matmul(X, W) + C) * "
                "mean(square(X), -1)\n",
     .build = build_split,
     .grid = {3},
     .loop = 1,
     .maps = "0--0"},
    /* weights stored as [n, k] */
    {.name = "linear rmsnorm 8x4096x6144 /128 x64",
     .program = RMS_T ("b", "4096", "6144", "f16"),
     .b = 8,
     .build = build_rmsnorm_turned,
     .grid = {128},
     .loop = 64},
    {.name = "linear rmsnorm ragged 40x211x103 /4 x3",
     .program = RMS_T ("b", "211", "103", "f16"),
     .b = 40,
     .build = build_rmsnorm_turned,
     .grid = {4},
     .loop = 3},
    {.name = "linear gatedmlp bf16 16x520x250 /8 x4",
     .program = MLP_T ("b", "520", "250", "bf16"),
     .b = 16,
     .build = build_gatedmlp_turned,
     .grid = {8},
     .loop = 4},
    {.name = "linear layer 5x512x203 /4 x8",
     .program = LAYER ("b", "512", "203", "f16"),
     .b = 5,
     .build = build_layer,
     .grid = {4},
     .loop = 8},
    {.name = "linear lora 8x256x4096 /64 x4",
     .program = LORA_T ("b", "256", "4096", "16", "f16"),
     .b = 8,
     .build = build_lora_turned,
     .grid = {64},
     .loop = 4},
    {.name = "linear layer 500x264x248 /4 rows",
     .program = LAYER ("b", "264", "248", "bf16"),
     .b = 500,
     .build = build_split,
     .grid = {4},
     .loop = 1,
     .maps = "0--00"},
    /* blocks of the grid without data */
    {.name = "silu 3x40 /5",
     .program = "input X[3,40]: f16\noutput silu(X)\n",
     .build = build_split,
     .grid = {5},
     .loop = 1,
     .maps = "00"},
    {.name = "silu 12x40 /5",
     .program = "input X[12,40]: f16\noutput rms_norm(silu(X), -1)\n",
     .build = build_split,
     .grid = {5},
     .loop = 1,
     .maps = "00"},
    {.name = "silu 1x2x40 /3",
     .program = "input X[1,2,40]: f16\noutput rms_norm(silu(X), -1)\n",
     .build = build_split,
     .grid = {3},
     .loop = 1,
     .maps = "11"},
    {.name = "silu 30x12 /5 over columns",
     .program = "input X[30,12]: f16\ninput Y[12]: f16\noutput silu(X) + Y\n",
     .build = build_split,
     .grid = {5},
     .loop = 1,
     .maps = "101"},
    /* blocks of the grid without a matrix */
    {.name = "matmul of 3 matrices /5",
     .program = MM ("3,", "40", "104", "72", "f16", "f16"),
     .build = build_split,
     .grid = {5},
     .loop = 1,
     .maps = "000"},
    {.name = "gqa of 3 matrices /8,2 x4",
     .program = ATT ("b", "64", "64", "256", "f16"),
     .b = 3,
     .build = build_attention,
     .grid = {8, 2},
     .loop = 4},
    /* more than 2^31 elements */
    {.name = "plain sum of 66000x33000",
     .program = "input X[66000,33000]: f16\noutput sum(silu(X), -1)\n",
     .build = build_plain},
    {.name = "sum of 66000x33000 /660",
     .program = "input X[66000,33000]: f16\noutput sum(silu(X), -1)\n",
     .build = build_split,
     .grid = {660},
     .loop = 1,
     .maps = "00"},
    {.name = "matmul 66000x33000x8 /516",
     .program = MM ("", "66000", "33000", "8", "f16", "f16"),
     .build = build_split,
     .grid = {516},
     .loop = 1,
     .maps = "0-0",
     .backend = 1},
};
enum { N_GRAPH_CASES = sizeof graph_cases / sizeof *graph_cases };

static inline bool build_case (const graph_case *c, mugraph *program, mugraph *candidate) {
  static _Thread_local mugraph_program parsed;
  mugraph_error e;
  mugraph_program_options options = {.batch = c->b};
  if (!mugraph_program_parse (c->program, strlen (c->program), c->name, &options, &parsed, &e)) {
    fprintf (stderr, "%s: %s\n", c->name, e.text);
    return false;
  }
  *program = parsed.graph;
  return c->build (c, program, candidate);
}

#endif
