/* The chain generator: attention with and without norms, clusters, warpgroups that share rows, edges that no tile
   divides, both instruction paths, linear chains, scales and epilogues. */
#include "cuda_backend.h"

#define PV(m, d, n, dv, t)                                                                                             \
  "input Q[h," m "," d "]: " t "\ninput K[h," d "," n "]: " t "\ninput V[h," n "," dv "]: " t "\n"
#define HEADS(h) "dim h = " h "\n"
#define SOFTMAX_V "E = exp(matmul(Q, K))\noutput matmul(E / sum(E, -1), V)\n"
#define NORMED "E = exp(matmul(rms_norm(Q, -1), K))\noutput matmul(E / sum(E, -1), rms_norm(V, -1))\n"

/* Grid x over heads, y over rows, the loop over columns of K. What stands between the matmuls and around them is
 * `variant`. */
enum { SILU, SCALED, STATS, LINEAR, ROW_SCALE, BIAS, RELU_K, SQUARED };

static int unary (mugraph_block *b, mugraph_op_kind kind, int a) { return tile_op (b, kind, a, -1); }

static bool build_variant (const graph_case *c, const mugraph *program, mugraph *g, int variant) {
  mugraph_block *b = start (c, program, g);
  int q = tile_in (b, 0, 0, 1, -1), k = tile_in (b, 1, 0, -1, 2), v = tile_in (b, 2, 0, -1, 1);
  int p, x, o, s;
  switch (variant) {
  case SILU: /* no exponential, no sum */
    o = tile_op (b, MUGRAPH_OP_ACCUM,
                 tile_op (b, MUGRAPH_OP_MATMUL, unary (b, MUGRAPH_OP_SILU, tile_op (b, MUGRAPH_OP_MATMUL, q, k)), v),
                 -1);
    break;
  case LINEAR: /* (Q K) V + sums of Q K along the rows */
    x = tile_op (b, MUGRAPH_OP_MATMUL, q, k);
    o = tile_op (b, MUGRAPH_OP_ADD, tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, v), -1),
                 tile_op (b, MUGRAPH_OP_ACCUM_SUM, x, -1));
    break;
  case SCALED: /* exp (Q K / 8) */
    p = unary (b, MUGRAPH_OP_EXP,
               tile_op (b, MUGRAPH_OP_MUL, tile_op (b, MUGRAPH_OP_MATMUL, q, k), mugraph_block_const (b, 0.125)));
    o = tile_op (b, MUGRAPH_OP_DIV, tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, p, v), -1),
                 tile_op (b, MUGRAPH_OP_ACCUM_SUM, p, -1));
    break;
  case STATS: /* exp (tanh (Q K) * 3), over the root of the sum of squares of the exponentials: degrees 1 and 2 */
    p = unary (b, MUGRAPH_OP_EXP,
               tile_op (b, MUGRAPH_OP_MUL, unary (b, MUGRAPH_OP_TANH, tile_op (b, MUGRAPH_OP_MATMUL, q, k)),
                        mugraph_block_const (b, 3)));
    s = tile_op (b, MUGRAPH_OP_ACCUM_SUM, unary (b, MUGRAPH_OP_SQUARE, p), -1);
    o = tile_op (b, MUGRAPH_OP_DIV, tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, p, v), -1),
                 unary (b, MUGRAPH_OP_SQRT, s));
    break;
  case ROW_SCALE: /* exp (0.2 Q R K - R), R a value of each row: not a positive multiple of the scores */
    s = tile_in (b, 3, 0, 1, -1);
    x = tile_op (b, MUGRAPH_OP_MUL, tile_op (b, MUGRAPH_OP_MUL, q, mugraph_block_const (b, 0.2)), s);
    p = unary (b, MUGRAPH_OP_EXP, tile_op (b, MUGRAPH_OP_SUB, tile_op (b, MUGRAPH_OP_MATMUL, x, k), s));
    o = tile_op (b, MUGRAPH_OP_DIV, tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, p, v), -1),
                 tile_op (b, MUGRAPH_OP_ACCUM_SUM, p, -1));
    break;
  case BIAS: /* softmax (Q K) V * R + Y, and the sum of the operand as another output */
    x = tile_op (b, MUGRAPH_OP_MATMUL, q, k);
    p = unary (b, MUGRAPH_OP_EXP, x);
    o = tile_op (b, MUGRAPH_OP_DIV, tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, p, v), -1),
                 tile_op (b, MUGRAPH_OP_ACCUM_SUM, p, -1));
    o = tile_op (b, MUGRAPH_OP_ADD, tile_op (b, MUGRAPH_OP_MUL, o, tile_in (b, 3, 0, 1, -1)), tile_in (b, 4, 0, 1, -1));
    tile_out (b, o, 0, 1);
    o = tile_op (b, MUGRAPH_OP_ACCUM_MEAN, x, -1);
    break;
  case RELU_K: /* relu (relu (Q) relu (K)) (V * V) */
    x = tile_op (b, MUGRAPH_OP_MATMUL, unary (b, MUGRAPH_OP_RELU, q), unary (b, MUGRAPH_OP_RELU, k));
    o = tile_op (b, MUGRAPH_OP_ACCUM,
                 tile_op (b, MUGRAPH_OP_MATMUL, unary (b, MUGRAPH_OP_RELU, x), unary (b, MUGRAPH_OP_SQUARE, v)), -1);
    break;
  case SQUARED: /* Q over the root of its sum of squares, spelt out; the loop of one turn */
    s = unary (b, MUGRAPH_OP_SQRT, mugraph_block_op (b, MUGRAPH_OP_SUM, unary (b, MUGRAPH_OP_SQUARE, q), -1, 2));
    p = unary (b, MUGRAPH_OP_EXP, tile_op (b, MUGRAPH_OP_MATMUL, tile_op (b, MUGRAPH_OP_DIV, q, s), k));
    o = tile_op (b, MUGRAPH_OP_DIV, tile_op (b, MUGRAPH_OP_MATMUL, p, v),
                 mugraph_block_op (b, MUGRAPH_OP_SUM, p, -1, 2));
    break;
  default: return false;
  }
  tile_out (b, o, 0, 1);
  return finish (c, g);
}
static bool build_silu (const graph_case *c, const mugraph *program, mugraph *g) {
  return build_variant (c, program, g, SILU);
}
static bool build_scaled (const graph_case *c, const mugraph *program, mugraph *g) {
  return build_variant (c, program, g, SCALED);
}
static bool build_stats (const graph_case *c, const mugraph *program, mugraph *g) {
  return build_variant (c, program, g, STATS);
}
static bool build_linear (const graph_case *c, const mugraph *program, mugraph *g) {
  return build_variant (c, program, g, LINEAR);
}
static bool build_row_scale (const graph_case *c, const mugraph *program, mugraph *g) {
  return build_variant (c, program, g, ROW_SCALE);
}
static bool build_bias (const graph_case *c, const mugraph *program, mugraph *g) {
  return build_variant (c, program, g, BIAS);
}
static bool build_relu (const graph_case *c, const mugraph *program, mugraph *g) {
  return build_variant (c, program, g, RELU_K);
}
static bool build_squared (const graph_case *c, const mugraph *program, mugraph *g) {
  return build_variant (c, program, g, SQUARED);
}

/* Grid y over the columns of V. */
static bool build_columns (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  int q = tile_in (b, 0, 0, -1, -1), k = tile_in (b, 1, 0, -1, 2), v = tile_in (b, 2, 0, 2, 1);
  int p = unary (b, MUGRAPH_OP_EXP, tile_op (b, MUGRAPH_OP_MATMUL, q, k));
  int o = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, p, v), -1);
  tile_out (b, tile_op (b, MUGRAPH_OP_DIV, o, tile_op (b, MUGRAPH_OP_ACCUM_SUM, p, -1)), 0, 2);
  return finish (c, g);
}
/* K as [n, d], no loop: what a search finds, too. */
static bool build_turned_whole (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  int q = tile_in (b, 0, 0, 1, -1), k = tile_in (b, 1, 0, -1, -1), v = tile_in (b, 2, 0, -1, -1);
  int s = tile_op (b, MUGRAPH_OP_MATMUL, q,
                   tile_op (b, MUGRAPH_OP_MUL, mugraph_block_const (b, 0.125), unary (b, MUGRAPH_OP_TRANSPOSE, k)));
  int p = unary (b, MUGRAPH_OP_EXP, s);
  tile_out (
      b,
      tile_op (b, MUGRAPH_OP_DIV, tile_op (b, MUGRAPH_OP_MATMUL, p, v), mugraph_block_op (b, MUGRAPH_OP_SUM, p, -1, 2)),
      0, 1);
  return finish (c, g);
}
/* Without leading dimensions; grid x over the rows. */
static bool build_flat (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  int q = tile_in (b, 0, 0, -1, -1), k = tile_in (b, 1, -1, -1, 1), v = tile_in (b, 2, -1, -1, 0);
  int p = unary (b, MUGRAPH_OP_GELU, tile_op (b, MUGRAPH_OP_MATMUL, q, k));
  tile_out (b, tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, p, v), -1), 0, -1);
  return finish (c, g);
}
#define QKV(m, d, k, v, t) "input Q[h," m "," d "]: " t "\ninput K[h," k "]: " t "\ninput V[h," v "]: " t "\n"
#define TURNED_PROGRAM(q, k, v) "E = exp(matmul(" q ", " k "))\noutput matmul(E / sum(E, -1), " v ")\n"
#define GQA(h, m, n) HEADS (h) PV (m, "64", n, "64", "f16") SOFTMAX_V
static const backend_case cases[] = {
    {{.name = "gqa 2x256x4096, 64 rows, split 8",
      .program = GQA ("2", "256", "4096"),
      .build = build_attention,
      .grid = {2, 4},
      .loop = 64},
     {.split = 8}},
    {{.name = "gqa 2x256x4096, 128 rows, split 16",
      .program = GQA ("2", "256", "4096"),
      .build = build_attention,
      .grid = {2, 2},
      .loop = 64},
     {.split = 16}},
    {{.name = "gqa 8x256x4096, 256 rows, split 4",
      .program = GQA ("8", "256", "4096"),
      .build = build_attention,
      .grid = {8, 1},
      .loop = 64},
     {.split = 4}},
    {{.name = "gqa 3x256x4096, 128 rows, tile 128, split 2",
      .program = GQA ("3", "256", "4096"),
      .build = build_attention,
      .grid = {3, 2},
      .loop = 32},
     {.split = 2, .tile_n = 128}},
    {{.name = "gqa Q x 4, split 5",
      .program = GQA ("2", "192", "2048"),
      .build = build_attention,
      .grid = {2, 1},
      .loop = 16,
      .scale = {4, 1, 1}},
     {.split = 5}},
    {{.name = "gqa few stages",
      .program = GQA ("2", "256", "4096"),
      .build = build_attention,
      .grid = {2, 1},
      .loop = 64},
     {.stages = 3}},
    {{.name = "gqa few stages, 4 in turns",
      .program = GQA ("2", "64", "8192"),
      .build = build_attention,
      .grid = {2, 1},
      .loop = 64},
     {.stages = 8, .warps = 16, .split = 2}},
    {{.name = "gqa two blocks an SM",
      .program = GQA ("32", "256", "4096"),
      .build = build_attention,
      .grid = {32, 2},
      .loop = 64},
     {.split = 2, .stages = 4}},
    {{.name = "gqa ragged", .program = GQA ("2", "50", "1000"), .build = build_attention, .grid = {2, 1}, .loop = 7},
     {.split = 2}},
    {{.name = "gqa ragged rows",
      .program = GQA ("2", "150", "200"),
      .build = build_attention,
      .grid = {2, 4},
      .loop = 3},
     {0}},
    {{.name = "gqa odd length", .program = GQA ("2", "70", "333"), .build = build_attention, .grid = {2, 1}, .loop = 3},
     {0}},
    {{.name = "gqa d 40, dv 72",
      .program = HEADS ("3") PV ("100", "40", "512", "72", "f16") SOFTMAX_V,
      .build = build_attention,
      .grid = {3, 1},
      .loop = 4},
     {.split = 3}},
    {{.name = "gqa d 33, dv 17",
      .program = HEADS ("3") PV ("100", "33", "500", "17", "f16") SOFTMAX_V,
      .build = build_attention,
      .grid = {3, 1},
      .loop = 4},
     {0}},
    {{.name = "gqa d 128",
      .program = HEADS ("3") PV ("128", "128", "1024", "128", "f16") SOFTMAX_V,
      .build = build_attention,
      .grid = {3, 1},
      .loop = 4},
     {.split = 4}},
    {{.name = "gqa d 192, 64 rows",
      .program = HEADS ("2") PV ("128", "192", "512", "192", "f16") SOFTMAX_V,
      .build = build_attention,
      .grid = {2, 2},
      .loop = 4},
     {.split = 2}},
    {{.name = "gqa bf16, Q x 4",
      .program = HEADS ("2") PV ("192", "64", "2048", "64", "bf16") SOFTMAX_V,
      .build = build_attention,
      .grid = {2, 1},
      .loop = 16,
      .scale = {4, 1, 1}},
     {.split = 2}},
    {{.name = "gqa bf16",
      .program = HEADS ("4") PV ("64", "64", "512", "64", "bf16") SOFTMAX_V,
      .build = build_attention,
      .grid = {4, 1},
      .loop = 8},
     {.split = 2}},
    {{.name = "qknorm, 256 rows, split 4",
      .program = HEADS ("2") PV ("256", "64", "4096", "64", "f16") NORMED,
      .build = build_attention_norm,
      .grid = {2, 1},
      .loop = 64},
     {.split = 4}},
    {{.name = "qknorm, 64 rows, split 8",
      .program = HEADS ("2") PV ("256", "64", "4096", "64", "f16") NORMED,
      .build = build_attention_norm,
      .grid = {2, 4},
      .loop = 64},
     {.split = 8}},
    {{.name = "qknorm ragged",
      .program = HEADS ("2") PV ("50", "48", "1000", "96", "f16") NORMED,
      .build = build_attention_norm,
      .grid = {2, 1},
      .loop = 7},
     {0}},
    {{.name = "qknorm of small values, 4 in turns",
      .program = HEADS ("2") PV ("64", "64", "2048", "64", "f16") NORMED,
      .build = build_attention_norm,
      .grid = {2, 1},
      .loop = 32,
      .scale = {1, 1, 1e-3}},
     {.split = 2, .warps = 16}},
    {{.name = "qknorm of large values",
      .program = HEADS ("2") PV ("128", "64", "1000", "72", "f16") NORMED,
      .build = build_attention_norm,
      .grid = {2, 1},
      .loop = 8,
      .scale = {1, 1, 500}},
     {.split = 2, .stages = 3}},
    {{.name = "qknorm bf16, 256 rows",
      .program = HEADS ("2") PV ("256", "64", "2048", "64", "bf16") NORMED,
      .build = build_attention_norm,
      .grid = {2, 1},
      .loop = 32},
     {.split = 4, .stages = 6}},
    {{.name = "qknorm odd",
      .program = HEADS ("2") PV ("50", "33", "333", "31", "f16") NORMED,
      .build = build_attention_norm,
      .grid = {2, 1},
      .loop = 7},
     {0}},
    {{.name = "silu",
      .program = HEADS ("2") PV ("100", "64", "1000", "64", "f16") "output matmul(silu(matmul(Q, K)), V)\n",
      .build = build_silu,
      .grid = {2, 1},
      .loop = 5},
     {.split = 3}},
    {{.name = "linear",
      .program =
          HEADS ("2") PV ("256", "64", "512", "64", "f16") "X = matmul(Q, K)\noutput matmul(X, V) + sum(X, -1)\n",
      .build = build_linear,
      .grid = {2, 2},
      .loop = 4},
     {.split = 2}},
    {{.name = "scaled",
      .program = HEADS ("2")
          PV ("130", "64", "512", "64", "f16") "E = exp(matmul(Q, K) * 0.125)\noutput matmul(E / sum(E, -1), V)\n",
      .build = build_scaled,
      .grid = {2, 2},
      .loop = 4},
     {0}},
    {{.name = "degree 2",
      .program =
          HEADS ("2") PV ("64", "64", "504", "64",
                          "f16") "E = exp(tanh(matmul(Q, K)) * 3)\noutput matmul(E, V) / sqrt(sum(square(E), -1))\n",
      .build = build_stats,
      .grid = {2, 1},
      .loop = 4},
     {.split = 2}},
    {{.name = "row scale",
      .program = HEADS ("2")
          PV ("100", "64", "512", "64",
              "f16") "input R[h,100,1]: f32\nE = exp(matmul(Q * 0.2 * R, K) - R)\noutput matmul(E / sum(E, -1), V)\n",
      .build = build_row_scale,
      .grid = {2, 2},
      .loop = 4},
     {.split = 2}},
    {{.name = "bias, two outputs",
      .program = HEADS ("2")
          PV ("100", "64", "512", "64", "f16") "input R[h,100,1]: f32\ninput Y[h,100,64]: f16\nX = matmul(Q, K)\nE = "
                                               "exp(X)\noutput matmul(E / sum(E, -1), V) * R + Y\noutput mean(X, -1)\n",
      .build = build_bias,
      .grid = {2, 2},
      .loop = 4},
     {.split = 2}},
    {{.name = "maps of all operands",
      .program = HEADS ("2")
          PV ("128", "64", "1000", "64", "f16") "output matmul(relu(matmul(relu(Q), relu(K))), square(V))\n",
      .build = build_relu,
      .grid = {2, 1},
      .loop = 4},
     {0}},
    {{.name = "maps of all operands, 4 in turns",
      .program =
          HEADS ("2") PV ("64", "64", "4096", "64", "f16") "output matmul(relu(matmul(relu(Q), relu(K))), square(V))\n",
      .build = build_relu,
      .grid = {2, 1},
      .loop = 4},
     {.warps = 16, .stages = 8, .split = 2}},
    {{.name = "norm spelt out, no loop",
      .program =
          HEADS ("2") PV ("64", "40", "320", "64",
                          "f16") "E = exp(matmul(Q / sqrt(sum(square(Q), -1)), K))\noutput matmul(E / sum(E, -1), V)\n",
      .build = build_squared,
      .grid = {2, 2},
      .loop = 1},
     {.split = 2}},
    {{.name = "whole groups of columns over the grid",
      .program = HEADS ("2") PV ("64", "64", "512", "168", "f16") SOFTMAX_V,
      .build = build_columns,
      .grid = {2, 3},
      .loop = 4},
     {.split = 2}},
    {{.name = "gqa dv 56",
      .program = HEADS ("2") PV ("64", "64", "512", "56", "f16") SOFTMAX_V,
      .build = build_attention,
      .grid = {2, 1},
      .loop = 4},
     {.split = 2}},
    {{.name = "no leading dimensions",
      .program =
          "input Q[200,64]: f16\ninput K[64,1024]: f16\ninput V[1024,64]: f16\noutput matmul(gelu(matmul(Q, K)), V)\n",
      .build = build_flat,
      .grid = {2},
      .loop = 8},
     {.split = 2}},
    {{.name = "columns over the grid",
      .program = HEADS ("2") PV ("64", "64", "512", "160", "f16") SOFTMAX_V,
      .build = build_columns,
      .grid = {2, 3},
      .loop = 4},
     {0}},
    /* K stored as [n, d], V as [dv, n] */
    {{.name = "K turned, split 4",
      .program = HEADS ("4") QKV ("128", "64", "2048,64", "2048,64", "f16") TURNED_PROGRAM ("Q", "transpose(K)", "V"),
      .build = build_turned_k,
      .grid = {4, 1},
      .loop = 32,
      .scale = {4, 1, 1}},
     {.split = 4}},
    {{.name = "K turned, bf16, two blocks an SM",
      .program = HEADS ("32") QKV ("256", "64", "4096,64", "4096,64", "bf16") TURNED_PROGRAM ("Q", "transpose(K)", "V"),
      .build = build_turned_k,
      .grid = {32, 2},
      .loop = 64},
     {.split = 2, .stages = 4}},
    {{.name = "K turned, tile 128, d 128, 4 in turns",
      .program = HEADS ("3") QKV ("64", "128", "1536,128", "1536,40", "f16") TURNED_PROGRAM ("Q", "transpose(K)", "V"),
      .build = build_turned_k,
      .grid = {3, 1},
      .loop = 8},
     {.split = 2, .tile_n = 128, .warps = 8}},
    {{.name = "K turned, d 40, dv 72, odd length",
      .program = HEADS ("3") QKV ("100", "40", "333,40", "333,72", "f16") TURNED_PROGRAM ("Q", "transpose(K)", "V"),
      .build = build_turned_k,
      .grid = {3, 1},
      .loop = 4},
     {.split = 3}},
    {{.name = "K turned, no loop",
      .program =
          HEADS ("4") QKV ("128", "64", "1024,64", "1024,64", "bf16") TURNED_PROGRAM ("Q * 0.125", "transpose(K)", "V"),
      .build = build_turned_whole,
      .grid = {4, 2},
      .loop = 1},
     {.split = 2}},
    {{.name = "K turned, d 192",
      .program = HEADS ("2") QKV ("128", "192", "512,192", "512,64", "bf16") TURNED_PROGRAM ("Q", "transpose(K)", "V"),
      .build = build_turned_k,
      .grid = {2, 2},
      .loop = 4},
     {.split = 2}},
    {{.name = "K turned, d 128, dv 256",
      .program = HEADS ("2") QKV ("64", "128", "500,128", "500,256", "f16") TURNED_PROGRAM ("Q", "transpose(K)", "V"),
      .build = build_turned_k,
      .grid = {2, 1},
      .loop = 4},
     {0}},
    {{.name = "K turned, d 33, dv 17",
      .program = HEADS ("3") QKV ("100", "33", "500,33", "500,17", "f16") TURNED_PROGRAM ("Q", "transpose(K)", "V"),
      .build = build_turned_k,
      .grid = {3, 1},
      .loop = 4},
     {0}},
    {{.name = "K turned, d 16",
      .program = HEADS ("3") QKV ("80", "16", "200,16", "200,24", "bf16") TURNED_PROGRAM ("Q", "transpose(K)", "V"),
      .build = build_turned_k,
      .grid = {3, 1},
      .loop = 4},
     {0}},
    {{.name = "K turned, scales on all sides",
      .program = HEADS ("3") QKV ("128", "64", "1000,64", "1000,64", "bf16")
          TURNED_PROGRAM ("Q / 2 * 0.5 * 0.75 * 1.5", "transpose(K)", "V"),
      .build = build_turned_scales,
      .grid = {3, 1},
      .loop = 8},
     {0}},
    {{.name = "K turned, norms",
      .program = HEADS ("2") QKV ("256", "64", "2048,64", "2048,64", "f16")
          TURNED_PROGRAM ("rms_norm(Q, -1)", "transpose(K)", "rms_norm(V, -1)"),
      .build = build_turned_norms,
      .grid = {2, 4},
      .loop = 32},
     {.split = 4}},
    {{.name = "K turned, norms of all rows",
      .program = HEADS ("2") QKV ("256", "64", "2048,64", "2048,64", "f16")
          TURNED_PROGRAM ("rms_norm(Q, -1)", "transpose(rms_norm(K, -1))", "rms_norm(V, -1)"),
      .build = build_turned_norm_k,
      .grid = {2, 4},
      .loop = 32,
      .scale = {1, 20, 1}},
     {.split = 4}},
    {{.name = "K turned, norms of all rows, d 72, odd",
      .program = HEADS ("2") QKV ("128", "72", "333,72", "333,40", "bf16")
          TURNED_PROGRAM ("rms_norm(Q, -1)", "transpose(rms_norm(K, -1))", "rms_norm(V, -1)"),
      .build = build_turned_norm_k,
      .grid = {2, 1},
      .loop = 7},
     {0}},
    {{.name = "qknorm d 128, few stages, a helper",
      .program = HEADS ("64") PV ("128", "128", "2048", "128", "f16") NORMED,
      .build = build_attention_norm,
      .grid = {64, 1},
      .loop = 8},
     {.split = 2}},
    {{.name = "K turned, norms of all rows, d 128, a helper",
      .program = HEADS ("64") QKV ("128", "128", "2048,128", "2048,128", "f16")
          TURNED_PROGRAM ("rms_norm(Q, -1)", "transpose(rms_norm(K, -1))", "rms_norm(V, -1)"),
      .build = build_turned_norm_k,
      .grid = {64, 1},
      .loop = 8},
     {.split = 2}},
    {{.name = "K turned, changed, norm of V",
      .program = HEADS ("2") QKV ("128", "64", "1000,64", "1000,64", "f16")
          TURNED_PROGRAM ("rms_norm(Q, -1)", "relu(transpose(K))", "rms_norm(V, -1)"),
      .build = build_turned_norm_map,
      .grid = {2, 2},
      .loop = 8},
     {.split = 2}},
    {{.name = "K turned, norms of all rows, one stage's factors",
      .program = HEADS ("2") QKV ("128", "64", "8192,64", "8192,64", "f16")
          TURNED_PROGRAM ("rms_norm(Q, -1)", "transpose(rms_norm(K, -1))", "rms_norm(V, -1)"),
      .build = build_turned_norm_k,
      .grid = {2, 1},
      .loop = 8},
     {.stages = 4}},
    {{.name = "both turned, norm of K's columns, scales",
      .program = HEADS ("2") QKV ("64", "40", "1000,40", "64,1000", "f16")
          TURNED_PROGRAM ("Q / 2 * 0.75 * 1.5", "rms_norm(transpose(K), 1)", "transpose(V)"),
      .build = build_turned_norm_kt,
      .grid = {2, 1},
      .loop = 5},
     {.split = 2}},
    {{.name = "K turned, norms, odd",
      .program = HEADS ("2") QKV ("50", "33", "333,33", "333,31", "f16")
          TURNED_PROGRAM ("rms_norm(Q, -1)", "transpose(K)", "rms_norm(V, -1)"),
      .build = build_turned_norms,
      .grid = {2, 1},
      .loop = 7},
     {0}},
    {{.name = "V turned",
      .program = HEADS ("3") QKV ("128", "64", "64,1000", "64,1000", "f16") TURNED_PROGRAM ("Q", "K", "transpose(V)"),
      .build = build_turned_v,
      .grid = {3, 1},
      .loop = 8},
     {.split = 2}},
    {{.name = "V turned, dv 136, tile 128",
      .program = HEADS ("3") QKV ("64", "64", "64,1024", "136,1024", "bf16") TURNED_PROGRAM ("Q", "K", "transpose(V)"),
      .build = build_turned_v,
      .grid = {3, 1},
      .loop = 8},
     {.split = 2, .tile_n = 128}},
    {{.name = "both turned",
      .program = HEADS ("2") QKV ("128", "72", "1000,72", "56,1000", "f16")
          TURNED_PROGRAM ("Q", "transpose(K)", "transpose(V)"),
      .build = build_turned,
      .grid = {2, 2},
      .loop = 8},
     {0}},
    {{.name = "both turned, odd",
      .program =
          HEADS ("2") QKV ("70", "20", "333,20", "9,333", "f16") TURNED_PROGRAM ("Q", "transpose(K)", "transpose(V)"),
      .build = build_turned,
      .grid = {2, 1},
      .loop = 3},
     {0}},
    {{.name = "both turned, maps",
      .program = HEADS ("2") QKV ("128", "64", "1000,64", "72,1000", "f16")
          TURNED_PROGRAM ("Q", "relu(transpose(K))", "transpose(silu(V))"),
      .build = build_turned_maps,
      .grid = {2, 2},
      .loop = 8},
     {0}},
};

static void golden (void **state) {
  (void) state;
  check_golden_cases (cases, sizeof cases / sizeof *cases, CUDA_GENERATOR_CHAIN, "chain.txt");
}

static void generated (void **state) {
  (void) state;
  check_backend_cases (cases, sizeof cases / sizeof *cases, CUDA_GENERATOR_CHAIN);
}

/* What the planner makes of a schedule on an H100: 0 stages, it refuses. */
static void plans (void **state) {
  static const struct {
    const char *m, *d, *n, *dv;
    int grid[2];
    mugraph_sched sched;
    int warps, stages, per_sm;
  } rows[] = {
      {"256", "64", "4096", "64", {32, 2}, {.split = 2}, 8, 4, 2}, /* two blocks an SM */
      {"256", "64", "4096", "64", {32, 2}, {.split = 2, .warps = 16}, 16, 10, 1},
      {"256", "64", "4096", "64", {32, 2}, {.split = 2, .stages = 6}, 8, 6, 1},
      {"256", "64", "4096", "64", {32, 4}, {.split = 2}, 8, 4, 2},  /* two warpgroups in turns */
      {"256", "64", "4096", "64", {32, 4}, {.split = 16}, 8, 4, 2}, /* all tiles in flight */
      {"256", "64", "4096", "64", {32, 1}, {.split = 4}, 16, 9, 1},
      {"256", "64", "4096", "64", {32, 2}, {.split = 2, .stages = 1}, 0, 0, 0},
      {"256", "64", "4096", "64", {32, 2}, {.split = 2, .stages = 16}, 0, 0, 0}, /* more than fit */
      {"256", "64", "4096", "64", {32, 2}, {.split = 2, .warps = 12}, 0, 0, 0},  /* not a multiple of 64 rows */
      {"256", "64", "512", "64", {32, 2}, {.split = 9}, 0, 0, 0},                /* more blocks than tiles */
      {"256", "64", "4095", "64", {32, 2}, {.split = 2}, 0, 0, 0},               /* no tensor copies, so no cluster */
      {"320", "64", "4096", "64", {32, 1}, {.split = 2}, 0, 0, 0},               /* five warpgroups */
      {"256", "64", "4096", "64", {33, 2}, {.split = 2}, 0, 0, 0},               /* a block without a matrix */
      {"256", "64", "4096", "64", {64, 2}, {.split = 2}, 0, 0, 0},
      {"256", "64", "4096", "264", {32, 2}, {.split = 2}, 0, 0, 0},
  };
  const cuda_device *d = cuda_device_find ("h100");
  (void) state;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    static mugraph program, g;
    mugraph_error e;
    cuda_plan p;
    char text[400];
    snprintf (text, sizeof text,
              HEADS ("32") "input Q[h,%s,%s]: f16\ninput K[h,%s,%s]: f16\ninput V[h,%s,%s]: f16\n" SOFTMAX_V, rows[i].m,
              rows[i].d, rows[i].d, rows[i].n, rows[i].n, rows[i].dv);
    backend_case c = {{.name = "plan",
                       .program = text,
                       .build = build_attention,
                       .grid = {rows[i].grid[0], rows[i].grid[1]},
                       .loop = 8},
                      rows[i].sched};
    assert_true (build_backend_case (&c, CUDA_GENERATOR_CHAIN, &program, &g));
    bool good = cuda_plan_kernel (&g, 0, d, &p, &e);
    if (good != (rows[i].stages > 0)) fail_msg ("row %zu: %s", i, good ? "planned" : e.text);
    if (!good) continue;
    assert_int_equal (p.sched.warps, rows[i].warps);
    assert_int_equal (p.sched.stages, rows[i].stages);
    assert_int_equal (p.threads, 32 * rows[i].warps +
                                     (rows[i].per_sm == 1 ? 128 : 0)); /* a helper where the SM is for one block */
    assert_int_equal (p.blocks, rows[i].grid[0] * rows[i].grid[1] * rows[i].sched.split);
    assert_true (p.smem <= d->smem_block);
    int by_smem = (int) (d->smem_sm / (p.smem + 1024)), by_regs = d->regs_sm / ((p.regs + 7) / 8 * 8 * p.threads);
    assert_int_equal (by_smem < by_regs ? by_smem : by_regs, rows[i].per_sm);
  }
}

int main (void) {
  golden_filter ();
  const struct CMUnitTest tests[] = {cmocka_unit_test (plans), cmocka_unit_test (golden), cmocka_unit_test (generated)};
  return cmocka_run_group_tests (tests, NULL, NULL);
}
