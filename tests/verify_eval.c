/* The interpreter over float64 against hand computations: every operator at both levels, accumulators, ragged splits,
 * running maxima. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <math.h>
#include <cmocka.h>

#include "verify/verify.h"
#include "verify_graphs.h"

enum { ROOM = 4096 };
static mugraph g;
static double in[4][ROOM], out[MUGRAPH_OUTPUTS][ROOM];

static void evaluate (bool stable) {
  const double *inputs[4];
  double *outputs[MUGRAPH_OUTPUTS];
  for (int i = 0; i < 4; i++) inputs[i] = in[i];
  for (int k = 0; k < g.n_outputs; k++) outputs[k] = out[k];
  mugraph_error e = {""};
  if (!verify_real (&g, inputs, outputs, stable, 1, &e)) fail_msg ("%s", e.text);
}

static void close_to (double x, double y, const char *what) {
  if (!(fabs (x - y) <= 1e-12 * (1 + fabs (y))) && !(isnan (x) && isnan (y)) && x != y)
    fail_msg ("%s: %.17g, expected %.17g", what, x, y);
}

static void end (int x) {
  mugraph_add_output (&g, x, "O");
  finish (&g);
}

/* Values that are harmless for every function: positive, not too large, all different. */
static double value (int i, int e) { return 0.25 + 0.37 * ((e * 7 + i * 3) % 11) + 0.01 * e; }
static void set_inputs (void) {
  for (int i = 0; i < g.n_inputs; i++)
    for (int e = 0; e < mugraph_volume (&g.tensor[i].shape); e++) in[i][e] = value (i, e);
}

static double unary_by_hand (int kind, double x) {
  switch (kind) {
  case MUGRAPH_OP_NEG: return -x;
  case MUGRAPH_OP_EXP: return exp (x);
  case MUGRAPH_OP_SQUARE: return x * x;
  case MUGRAPH_OP_SQRT: return sqrt (x);
  case MUGRAPH_OP_SILU: return x / (1 + exp (-x));
  case MUGRAPH_OP_GELU: return 0.5 * x * (1 + erf (x / sqrt (2)));
  case MUGRAPH_OP_RELU: return x > 0 ? x : 0;
  case MUGRAPH_OP_TANH: return tanh (x);
  case MUGRAPH_OP_SIGMOID: return 1 / (1 + exp (-x));
  case MUGRAPH_OP_LOG: return log (x);
  case MUGRAPH_OP_CLAMP: return x < 0.5 ? 0.5 : x > 2 ? 2 : x;
  default: fail_msg ("operator %s is not tried", mugraph_op_table[kind].text); return 0;
  }
}
static double binary_by_hand (int kind, double x, double y) {
  switch (kind) {
  case MUGRAPH_OP_ADD: return x + y;
  case MUGRAPH_OP_SUB: return x - y;
  case MUGRAPH_OP_MUL: return x * y;
  case MUGRAPH_OP_DIV: return x / y;
  case MUGRAPH_OP_POW: return pow (x, y);
  default: fail_msg ("operator %s is not tried", mugraph_op_table[kind].text); return 0;
  }
}

/* One operator over inputs of these shapes, in the kernel graph or in a block graph (one block, one iteration, or rows
   [dimension 0] split over the grid where split is set). */
static mugraph_op *one_operator (bool block, int split, mugraph_op_kind kind, int n, const mugraph_shape shape[],
                                 int dim) {
  mugraph_init (&g);
  int t[4];
  mugraph_op *op;
  for (int i = 0; i < n; i++) t[i] = mugraph_add_input (&g, "", shape[i]);
  if (!block) {
    mugraph_op plain = {.kind = (uint8_t) kind,
                        .n_in = (uint8_t) n,
                        .n_out = 1,
                        .dim = (int8_t) dim,
                        .block = -1,
                        .map = {-1, -1, -1},
                        .fmap = -1,
                        .width = 2,
                        .c = {0.5, 2}};
    for (int i = 0; i < n; i++) plain.in[i] = (uint8_t) t[i];
    plain.out[0] = (uint8_t) g.n_tensors++;
    g.op[g.n_ops++] = plain;
    end (plain.out[0]);
    return &g.op[0];
  }
  int kernel = mugraph_add_custom (&g, n, t, (int32_t[]){split, 1, 1}, 1), a[2] = {-1, -1};
  mugraph_block *b = block_of (&g, kernel);
  for (int i = 0; i < n; i++) a[i] = mugraph_block_input (b, i, IMAP (split > 1 ? 0 : -1, -1, -1), -1);
  int o = mugraph_block_op (b, kind, a[0], a[1], dim);
  op = &b->op[o];
  op->width = 2, op->c[0] = 0.5, op->c[1] = 2;
  mugraph_block_output (b, o, IMAP (split > 1 ? 0 : -1, -1, -1));
  finish_kernel (&g, kernel);
  end (g.op[kernel].out[0]);
  return op;
}

static mugraph_shape shape_of (int n, int a, int b, int c) {
  return mugraph_shape_of (MUGRAPH_F32, n, (int32_t[]){a, b, c});
}

/* level 0: kernel, 1: block, 2: two blocks of unequal size */
#define LEVELS for (int level = 0; level < 3; level++)

static void elementwise_operators (void **state) {
  (void) state;
  for (int kind = 0; kind < MUGRAPH_N_OPS; kind++) LEVELS {
      mugraph_class k = mugraph_op_table[kind].klass;
      if (k == MUGRAPH_UNARY) {
        one_operator (level, level, (mugraph_op_kind) kind, 1, (mugraph_shape[]){shape_of (2, 3, 4, 0)}, 0);
        set_inputs (), in[0][5] = -in[0][5] * (kind != MUGRAPH_OP_LOG && kind != MUGRAPH_OP_SQRT ? 1 : -1);
        evaluate (false);
        for (int e = 0; e < 12; e++) close_to (out[0][e], unary_by_hand (kind, in[0][e]), mugraph_op_table[kind].text);
      } else if (k == MUGRAPH_BINARY) {
        one_operator (level, level, (mugraph_op_kind) kind, 2,
                      (mugraph_shape[]){shape_of (3, 3, 1, 2), shape_of (3, 3, 4, 1)}, 0);
        set_inputs (), evaluate (false);
        for (int e = 0; e < 24; e++)
          close_to (out[0][e], binary_by_hand (kind, in[0][e / 8 * 2 + e % 2], in[1][e / 2]),
                    mugraph_op_table[kind].text);
      }
    }
}

static void broadcasting (void **state) {
  (void) state;
  /* every pattern of sizes 1 and n in three dimensions, with missing leading ones */
  for (int pattern = 0; pattern < 64; pattern++)
    for (int missing = 0; missing < 3; missing++) {
      int full[3] = {2, 3, 4}, a[3], b[3];
      for (int d = 0; d < 3; d++) a[d] = pattern >> d & 1 ? full[d] : 1, b[d] = pattern >> (d + 3) & 1 ? full[d] : 1;
      int n = 3 - missing;
      one_operator (
          false, 1, MUGRAPH_OP_SUB, 2,
          (mugraph_shape[]){shape_of (3, a[0], a[1], a[2]),
                            mugraph_shape_of (MUGRAPH_F32, n, (int32_t[]){b[missing], b[(missing + 1) % 3], b[2]})},
          0);
      for (int d = 0; d < missing; d++) b[d] = 1;
      set_inputs (), evaluate (false);
      const mugraph_shape *s = &g.tensor[g.output[0]].shape;
      int e = 0;
      for (int x = 0; x < s->dim[0]; x++)
        for (int y = 0; y < s->dim[1]; y++)
          for (int z = 0; z < s->dim[2]; z++, e++)
            close_to (out[0][e],
                      in[0][((a[0] > 1) * x * a[1] + (a[1] > 1) * y) * a[2] + (a[2] > 1) * z] -
                          in[1][((b[0] > 1) * x * b[1] + (b[1] > 1) * y) * b[2] + (b[2] > 1) * z],
                      "sub");
    }
}

static void reductions (void **state) {
  (void) state;
  for (int dim = 0; dim < 3; dim++) LEVELS {
      int n[3] = {3, 4, 6};
      if (level == 2 && dim == 0) continue; /* the split dimension */
      static const mugraph_op_kind kinds[] = {MUGRAPH_OP_SUM, MUGRAPH_OP_MEAN, MUGRAPH_OP_MAX, MUGRAPH_OP_RMS_NORM,
                                              MUGRAPH_OP_SUM_TO};
      for (int k = 0; k < 5; k++) {
        if (kinds[k] == MUGRAPH_OP_SUM_TO && dim == 0) continue; /* 2 does not divide 3 */
        one_operator (level, level, kinds[k], 1, (mugraph_shape[]){shape_of (3, 3, 4, 6)}, dim);
        set_inputs ();
        if (kinds[k] == MUGRAPH_OP_MAX) in[0][7] = NAN; /* left out, first in its row or not */
        evaluate (false);
        int inner = dim == 2 ? 1 : dim == 1 ? 6 : 24, outer = 72 / inner / n[dim];
        for (int o = 0; o < outer; o++)
          for (int i = 0; i < inner; i++) {
            double sum = 0, max = -INFINITY, squares = 0, to[2] = {0, 0};
            for (int r = 0; r < n[dim]; r++) {
              double x = in[0][(o * n[dim] + r) * inner + i];
              sum += x, squares += x * x, max = fmax (max, x), to[r % 2] += x;
            }
            const double *at = &out[0][o * inner + i];
            const char *text = mugraph_op_table[kinds[k]].text;
            switch (kinds[k]) {
            case MUGRAPH_OP_SUM: close_to (*at, sum, text); break;
            case MUGRAPH_OP_MEAN: close_to (*at, sum / n[dim], text); break;
            case MUGRAPH_OP_MAX: close_to (*at, max, text); break;
            case MUGRAPH_OP_RMS_NORM:
              for (int r = 0; r < n[dim]; r++)
                close_to (out[0][(o * n[dim] + r) * inner + i],
                          in[0][(o * n[dim] + r) * inner + i] / sqrt (squares / n[dim] + 0.5), text);
              break;
            default:
              for (int j = 0; j < 2; j++) close_to (out[0][(o * 2 + j) * inner + i], to[j], text);
            }
          }
      }
    }
}

static void layouts_and_products (void **state) {
  (void) state;
  LEVELS {
    one_operator (level, level, MUGRAPH_OP_TRANSPOSE, 1, (mugraph_shape[]){shape_of (3, 3, 4, 6)}, 0);
    set_inputs (), evaluate (false);
    for (int e = 0; e < 72; e++) close_to (out[0][e / 24 * 24 + e % 6 * 4 + e % 24 / 6], in[0][e], "transpose");
    for (int dim = 0; dim < 3; dim++) {
      if (level == 2 && dim == 0) continue;
      int a[3] = {3, 4, 2}, b[3] = {3, 4, 2};
      b[dim] = 5;
      one_operator (level, level, MUGRAPH_OP_CONCAT, 2,
                    (mugraph_shape[]){shape_of (3, a[0], a[1], a[2]), shape_of (3, b[0], b[1], b[2])}, dim);
      set_inputs (), evaluate (false);
      int o[3] = {3, 4, 2}, e = 0;
      o[dim] += 5;
      for (int x = 0; x < o[0]; x++)
        for (int y = 0; y < o[1]; y++)
          for (int z = 0; z < o[2]; z++, e++) {
            int at[3] = {x, y, z}, second = at[dim] >= a[dim];
            if (second) at[dim] -= a[dim];
            const int *s = second ? b : a;
            close_to (out[0][e], in[second][(at[0] * s[1] + at[1]) * s[2] + at[2]], "concat");
          }
    }
    one_operator (level, level, MUGRAPH_OP_MATMUL, 2, (mugraph_shape[]){shape_of (3, 3, 2, 4), shape_of (3, 3, 4, 5)},
                  0);
    set_inputs (), evaluate (false);
    for (int e = 0; e < 30; e++) {
      double want = 0;
      for (int k = 0; k < 4; k++) want += in[0][e / 5 * 4 + k] * in[1][e / 10 * 20 + k * 5 + e % 5];
      close_to (out[0][e], want, "matmul");
    }
  }
  /* leading dimensions broadcast on either side */
  one_operator (false, 1, MUGRAPH_OP_MATMUL, 2, (mugraph_shape[]){shape_of (2, 2, 4, 0), shape_of (3, 3, 4, 5)}, 0);
  set_inputs (), evaluate (false);
  for (int e = 0; e < 30; e++) {
    double want = 0;
    for (int k = 0; k < 4; k++) want += in[0][e / 5 % 2 * 4 + k] * in[1][e / 10 * 20 + k * 5 + e % 5];
    close_to (out[0][e], want, "matmul, a broadcast");
  }
  one_operator (false, 1, MUGRAPH_OP_MATMUL, 2, (mugraph_shape[]){shape_of (3, 3, 2, 4), shape_of (3, 1, 4, 5)}, 0);
  set_inputs (), evaluate (false);
  for (int e = 0; e < 30; e++) {
    double want = 0;
    for (int k = 0; k < 4; k++) want += in[0][e / 5 * 4 + k] * in[1][k * 5 + e % 5];
    close_to (out[0][e], want, "matmul, b broadcast");
  }
}

/* X[3, n]: rows over x, columns over y and the loop; everything an accumulator can be. */
static void accumulators (void **state) {
  (void) state;
  for (int n = 4; n <= 24; n++)
    for (int grid = 1; grid < 4; grid++)
      for (int loop = 1; loop < 5; loop++) {
        mugraph_init (&g);
        input2 (&g, "X", 3, n);
        int kernel = mugraph_add_custom (&g, 1, (int[]){0}, (int32_t[]){2, grid, 1}, loop);
        mugraph_block *b = block_of (&g, kernel);
        int x = mugraph_block_input (b, 0, IMAP (0, 1, -1), 1), o[6];
        o[0] = mugraph_block_op (b, OP_ (ACCUM_SUM), x, -1, -1);
        o[1] = mugraph_block_op (b, OP_ (ACCUM_MEAN), x, -1, -1);
        o[2] = mugraph_block_op (b, OP_ (ACCUM_RMS), x, -1, -1);
        o[3] = mugraph_block_op (b, OP_ (ACCUM), x, -1, -1);
        o[3] = mugraph_block_op (b, OP_ (SUM), o[3], -1, 1);
        o[4] = mugraph_block_op (
            b, OP_ (ACCUM), mugraph_block_op (b, OP_ (SUM), mugraph_block_op (b, OP_ (EXP), x, -1, -1), -1, 1), -1, -1);
        o[5] = mugraph_block_op (
            b, OP_ (ACCUM), mugraph_block_op (b, OP_ (MAX), mugraph_block_op (b, OP_ (NEG), x, -1, -1), -1, 1), -1, -1);
        b->op[o[2]].c[0] = 0.125;
        for (int k = 0; k < 6; k++) mugraph_block_output (b, o[k], IMAP (0, 1, -1));
        finish_kernel (&g, kernel);
        for (int k = 0; k < 6; k++) mugraph_add_output (&g, g.op[kernel].out[k], "");
        finish (&g);
        set_inputs (), evaluate (false);
        int chunk = (n + grid - 1) / grid, tile = (chunk + loop - 1) / loop;
        for (int r = 0; r < 3; r++)
          for (int c = 0; c < grid; c++) {
            double sum = 0, squares = 0, exps = 0, maxima = 0;
            int count = 0;
            for (int l = 0; l < loop; l++) {
              double max = -INFINITY;
              for (int t = 0; t < tile; t++) {
                int at = c * chunk + l * tile + t;
                if (l * tile + t >= chunk || at >= n) continue;
                double v = in[0][r * n + at];
                sum += v, squares += v * v, exps += exp (v), max = fmax (max, -v), count++;
              }
              maxima += max;
            }
            int e = r * grid + c;
            close_to (out[0][e], sum, "accum_sum");
            close_to (out[3][e], sum, "accum");
            close_to (out[4][e], exps, "sums of exp");
            if (isfinite (maxima)) close_to (out[5][e], maxima, "max of a ragged tile");
            if (count) close_to (out[1][e], sum / count, "accum_mean");
            if (count) close_to (out[2][e], sqrt (squares / count + 0.125), "accum_rms");
          }
      }
}

static void narrowing_adds_columns_a_width_apart (void **state) {
  (void) state;
  mugraph_init (&g);
  input2 (&g, "X", 2, 24);
  int kernel = mugraph_add_custom (&g, 1, (int[]){0}, (int32_t[]){1, 1, 1}, 2);
  mugraph_block *b = block_of (&g, kernel);
  int x = mugraph_block_input (b, 0, IMAP (-1, -1, -1), 1), s = mugraph_block_op (b, OP_ (ACCUM_SUM_TO), x, -1, -1);
  b->op[s].width = 4;
  mugraph_block_output (b, s, IMAP (-1, -1, -1));
  finish_kernel (&g, kernel);
  end (g.op[kernel].out[0]);
  set_inputs (), evaluate (false);
  for (int e = 0; e < 8; e++) {
    double want = 0;
    for (int k = 0; k < 6; k++) want += in[0][e / 4 * 24 + e % 4 + 4 * k];
    close_to (out[0][e], want, "accum_sum_to");
  }
}

static void maps_place_tiles (void **state) {
  (void) state;
  /* X[4, 6] split both ways and written transposed: block (x, y) goes to (y, x) */
  mugraph_init (&g);
  input2 (&g, "X", 4, 6);
  int kernel = mugraph_add_custom (&g, 1, (int[]){0}, (int32_t[]){2, 3, 1}, 1);
  mugraph_block *b = block_of (&g, kernel);
  int x = mugraph_block_input (b, 0, IMAP (0, 1, -1), -1);
  mugraph_block_output (b, mugraph_block_op (b, OP_ (TRANSPOSE), x, -1, -1), IMAP (1, 0, -1));
  mugraph_block_output (b, x, IMAP (1, 0, -1));
  finish_kernel (&g, kernel);
  mugraph_add_output (&g, g.op[kernel].out[0], ""), mugraph_add_output (&g, g.op[kernel].out[1], "");
  finish (&g);
  set_inputs (), evaluate (false);
  for (int r = 0; r < 4; r++)
    for (int c = 0; c < 6; c++) {
      close_to (out[0][c * 4 + r], in[0][r * 6 + c], "omap of a transposed tile");
      close_to (out[1][(c / 2 * 2 + r % 2) * 4 + r / 2 * 2 + c % 2], in[0][r * 6 + c], "omap of a tile");
    }
}

static void values_that_do_not_loop_count_each_iteration (void **state) {
  (void) state;
  mugraph_init (&g);
  input2 (&g, "X", 2, 3), input2 (&g, "Y", 2, 6);
  int kernel = mugraph_add_custom (&g, 2, (int[]){0, 1}, (int32_t[]){1, 1, 1}, 2);
  mugraph_block *b = block_of (&g, kernel);
  int x = mugraph_block_input (b, 0, IMAP (-1, -1, -1), -1), y = mugraph_block_input (b, 1, IMAP (-1, -1, -1), 1);
  int e = mugraph_block_op (b, OP_ (EXP), x, -1, -1);
  int acc = mugraph_block_op (b, OP_ (ACCUM), mugraph_block_op (b, OP_ (MUL), e, y, -1), -1, -1),
      twice = mugraph_block_op (b, OP_ (ACCUM), e, -1, -1);
  mugraph_block_output (b, mugraph_block_op (b, OP_ (ADD), acc, mugraph_block_op (b, OP_ (MUL), twice, e, -1), -1),
                        IMAP (-1, -1, -1));
  finish_kernel (&g, kernel);
  end (g.op[kernel].out[0]);
  set_inputs (), evaluate (false);
  for (int i = 0; i < 6; i++) {
    double v = exp (in[0][i]);
    close_to (out[0][i], v * (in[1][i / 3 * 6 + i % 3] + in[1][i / 3 * 6 + 3 + i % 3]) + 2 * v * v, "invariant tiles");
  }
}

/* Scores in the hundreds: raw exponentials overflow, shifted ones do not. */
static void running_maxima_keep_attention_finite (void **state) {
  (void) state;
  enum { B = 2, M = 3, D = 4, N = 17 };
  for (int form = 0; form < 5; form++) {
    switch (form) {
    case 0: attention_program (&g, B, M, D, N, false); break;
    case 1: attention_fused (&g, B, M, D, N, false, 2, 3); break;
    case 2: attention_fused (&g, B, M, D, N, false, 1, 1); break;
    case 3:
      attention_split (&g, B, M, D, N, false, 2, 6, 2, true);
      break; /* chunks of 3: the last block's are partly empty */
    default: attention_split (&g, B, M, D, N, false, 2, 3, 4, false); break;
    }
    for (int i = 0; i < 3; i++) verify_random_input (&g.tensor[i].shape, (uint64_t) i + 1, i < 2 ? 25 : 1, in[i]);
    evaluate (true);
    for (int b = 0; b < B; b++)
      for (int m = 0; m < M; m++) {
        double score[N], max = -INFINITY, sum = 0;
        for (int n = 0; n < N; n++) {
          score[n] = 0;
          for (int d = 0; d < D; d++) score[n] += in[0][(b * M + m) * D + d] * in[1][(b * D + d) * N + n];
          max = fmax (max, score[n]);
        }
        assert_true (max > 800 || b || m);
        for (int n = 0; n < N; n++) sum += exp (score[n] - max);
        for (int d = 0; d < D; d++) {
          double want = 0;
          for (int n = 0; n < N; n++) want += exp (score[n] - max) / sum * in[2][(b * N + n) * D + d];
          close_to (out[0][(b * M + m) * D + d], want, "attention");
        }
      }
  }
}

static void threads_give_the_same_numbers (void **state) {
  (void) state;
  static double x[2][3][1 << 18], o[2][1 << 16];
  for (int threads = 1; threads < 3; threads++) {
    attention_split (&g, 4, 32, 16, 512, true, 2, 4, 2, true);
    const double *inputs[3];
    for (int i = 0; i < 3; i++) {
      verify_random_input (&g.tensor[i].shape, (uint64_t) i, 1, x[threads - 1][i]);
      inputs[i] = x[threads - 1][i];
    }
    assert_true (verify_real (&g, inputs, (double *[]){o[threads - 1]}, true, threads, NULL));
  }
  assert_memory_equal (o[0], o[1], sizeof (double) * 4 * 32 * 16);
}

int main (void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test (elementwise_operators),
      cmocka_unit_test (broadcasting),
      cmocka_unit_test (reductions),
      cmocka_unit_test (layouts_and_products),
      cmocka_unit_test (accumulators),
      cmocka_unit_test (narrowing_adds_columns_a_width_apart),
      cmocka_unit_test (maps_place_tiles),
      cmocka_unit_test (values_that_do_not_loop_count_each_iteration),
      cmocka_unit_test (running_maxima_keep_attention_finite),
      cmocka_unit_test (threads_give_the_same_numbers),
  };
  return cmocka_run_group_tests_name ("verify_eval", tests, NULL, NULL);
}
