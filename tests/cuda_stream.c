/* The stream generator: every role that plan_stream.h knows, every way of sharing k, ragged everything. */
#include "cuda_backend.h"

/* silu(X) * G against exp(W / 10) - 0.5, a bias and a residual behind it: expressions on every side. */
static bool build_sides (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  int x = tile_in (b, 0, -1, -1, 1), gain = tile_in (b, 1, -1, -1, 0), w = tile_in (b, 2, 1, -1, 0),
      bias = tile_in (b, 3, 0, -1, -1);
  int rest = tile_in (b, 4, 1, -1, -1);
  int left = tile_op (b, MUGRAPH_OP_MUL, tile_op (b, MUGRAPH_OP_SILU, x, -1), gain);
  int right = tile_op (b, MUGRAPH_OP_SUB,
                       tile_op (b, MUGRAPH_OP_EXP, tile_op (b, MUGRAPH_OP_MUL, w, mugraph_block_const (b, 0.1)), -1),
                       mugraph_block_const (b, 0.5));
  int sum = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, left, right), -1);
  int total = tile_op (b, MUGRAPH_OP_ACCUM_SUM, left, -1);
  tile_out (b,
            tile_op (b, MUGRAPH_OP_ADD,
                     tile_op (b, MUGRAPH_OP_ADD,
                              tile_op (b, MUGRAPH_OP_MUL, sum, tile_op (b, MUGRAPH_OP_SIGMOID, total, -1)), bias),
                     rest),
            1, -1);
  return finish (c, g);
}
#define SIDES(m, k, n)                                                                                                 \
  "input X[" m "," k "]: f16\ninput G[" k "]: f16\ninput W[" k "," n "]: f16\ninput C[" n "]: f16\ninput R[" m "," n   \
  "]: f16\n"                                                                                                           \
  "L = silu(X) * G\noutput matmul(L, exp(W * 0.1) - 0.5) * sigmoid(sum(L, -1)) + C + R\n"

/* Rows over grid y, leading dimension over grid x, columns over grid z. */
static bool build_batched (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  int x = mugraph_block_input (b, 0, (const int[]){0, 1, -1}, 2),
      w = mugraph_block_input (b, 1, (const int[]){0, -1, 2}, 1);
  int sum = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w), -1);
  int mean = tile_op (b, MUGRAPH_OP_ACCUM_MEAN, x, -1);
  mugraph_block_output (b, tile_op (b, MUGRAPH_OP_SUB, sum, mean), (const int[]){0, 1, 2});
  mugraph_block_output (b, tile_op (b, MUGRAPH_OP_RELU, sum, -1), (const int[]){0, 1, 2});
  return finish (c, g);
}
#define BATCHED                                                                                                        \
  "input X[3,11,200]: f16\ninput W[3,200,90]: f16\nY = matmul(X, W)\noutput A = Y - mean(X, -1)\noutput B = relu(Y)\n"

/* k over grid x, partial results side by side, added up by a pre-defined kernel; then a second stream kernel reads its
 * result. */
static bool build_split_k (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_error e;
  mugraph_block *b = start (c, program, g);
  int x = mugraph_block_input (b, 0, (const int[]){2, -1, -1}, 2),
      w = mugraph_block_input (b, 1, (const int[]){1, -1, -1}, 1);
  mugraph_block_output (b, tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w), -1),
                        (const int[]){0, -1, -1});
  if (!mugraph_finish_custom (g, 0, &e)) return give_up (c->name, &e);
  mugraph_add_op (g, MUGRAPH_OP_SUM, 1, (const int[]){g->op[0].out[0]}, 0, &e);
  return finish (c, g);
}
#define SPLIT_K "input X[1,7,1000]: f16\ninput W[1,1000,64]: f16\noutput matmul(X, W)\n"

/* The residual of a second kernel is what the first one wrote: it may not be read before the first has ended. */
static bool build_two (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_error e;
  mugraph_block *b = start (c, program, g);
  int x = tile_in (b, 0, -1, -1, 1), w = tile_in (b, 1, 1, -1, 0);
  tile_out (b,
            tile_op (b, MUGRAPH_OP_SILU, tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w), -1), -1),
            1, -1);
  if (!mugraph_finish_custom (g, 0, &e)) return give_up (c->name, &e);
  mugraph_add_custom (g, 3, (const int[]){0, 2, g->op[0].out[0]}, (const int32_t[]){c->grid[0], 1, 1}, c->loop);
  b = &g->block[1];
  x = tile_in (b, 0, -1, -1, 1), w = tile_in (b, 1, 1, -1, 0);
  int rest = tile_in (b, 2, 1, -1, -1);
  tile_out (b,
            tile_op (b, MUGRAPH_OP_ADD, tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w), -1), rest),
            1, -1);
  return finish (c, g);
}
#define TWO                                                                                                            \
  "input X[b,512]: f16\ninput V[512,384]: f16\ninput W[512,384]: f16\noutput silu(matmul(X, V)) + matmul(X, W)\n"

/* Sums of products are one accumulator: X V - (Y W + X W), halves of k in different matmuls. */
static bool build_sum (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  int x = tile_in (b, 0, -1, -1, 1), y = tile_in (b, 1, -1, -1, 1), v = tile_in (b, 2, 1, -1, 0),
      w = tile_in (b, 3, 1, -1, 0);
  int yw = tile_op (b, MUGRAPH_OP_ADD, tile_op (b, MUGRAPH_OP_MATMUL, y, w), tile_op (b, MUGRAPH_OP_MATMUL, x, w));
  int xv = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, v), -1);
  tile_out (b, tile_op (b, MUGRAPH_OP_SUB, xv, tile_op (b, MUGRAPH_OP_ACCUM, yw, -1)), 1, -1);
  return finish (c, g);
}
#define SUM2                                                                                                           \
  "input X[b,260]: bf16\ninput Y[b,260]: bf16\ninput V[260,96]: bf16\ninput W[260,96]: bf16\noutput matmul(X, V) - "   \
  "(matmul(Y, W) + matmul(X, W))\n"

/* One matrix, used as it is stored and transposed. */
static bool build_both_ways (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  int x = tile_in (b, 0, -1, -1, -1), w = tile_in (b, 1, -1, -1, -1), t = tile_op (b, MUGRAPH_OP_TRANSPOSE, w, -1);
  tile_out (b, tile_op (b, MUGRAPH_OP_ADD, tile_op (b, MUGRAPH_OP_MATMUL, x, w), tile_op (b, MUGRAPH_OP_MATMUL, x, t)),
            -1, -1);
  return finish (c, g);
}
#define BOTH_WAYS "input X[b,64]: f16\ninput W[64,64]: f16\noutput matmul(X, W) + matmul(X, transpose(W))\n"

/* The first product has the second weight. */
static bool build_gatedmlp_back (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  int x = tile_in (b, 0, -1, -1, 1), v = tile_in (b, 1, 1, -1, 0), w = tile_in (b, 2, 1, -1, 0);
  int p = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w), -1),
      q = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, v), -1);
  tile_out (b, tile_op (b, MUGRAPH_OP_MUL, tile_op (b, MUGRAPH_OP_SILU, p, -1), q), 1, -1);
  return finish (c, g);
}
#define MLP_BACK                                                                                                       \
  "input X[b,512]: f16\ninput V[512,256]: f16\ninput W[512,256]: f16\noutput silu(matmul(X, W)) * matmul(X, V)\n"

/* Dimensions that tensor copies can take. */
#define BATCHED8                                                                                                       \
  "input X[3,11,200]: f16\ninput W[3,200,96]: f16\nY = matmul(X, W)\noutput A = Y - mean(X, -1)\noutput B = relu(Y)\n"
#define SPLIT_K64 "input X[1,7,1016]: f16\ninput W[1,1016,64]: f16\noutput matmul(X, W)\n"
#define SUM8                                                                                                           \
  "input X[b,264]: bf16\ninput Y[b,264]: bf16\ninput V[264,96]: bf16\ninput W[264,96]: bf16\noutput matmul(X, V) - "   \
  "(matmul(Y, W) + matmul(X, W))\n"

static const backend_case cases[] = {
    {{.name = "rmsnorm 2 rows",
      .program = RMS ("b", "4096", "6144", "f16"),
      .b = 2,
      .build = build_rmsnorm,
      .grid = {96},
      .loop = 64},
     {0}},
    {{.name = "rmsnorm 32 rows",
      .program = RMS ("b", "4096", "6144", "f16"),
      .b = 32,
      .build = build_rmsnorm,
      .grid = {96},
      .loop = 64},
     {.stages = 2}},
    {{.name = "rmsnorm 48 columns",
      .program = RMS ("b", "4096", "6144", "f16"),
      .b = 5,
      .build = build_rmsnorm,
      .grid = {128},
      .loop = 8},
     {.stages = 3}},
    {{.name = "rmsnorm cluster of 2",
      .program = RMS ("b", "4096", "6144", "f16"),
      .b = 16,
      .build = build_rmsnorm,
      .grid = {64},
      .loop = 64},
     {.split = 2, .warps = 16, .tile_n = 48}},
    {{.name = "rmsnorm cluster of 8",
      .program = RMS ("b", "4096", "6144", "f16"),
      .b = 31,
      .build = build_rmsnorm,
      .grid = {32},
      .loop = 64},
     {.split = 8, .warps = 8, .tile_n = 96}},
    {{.name = "rmsnorm cluster of 16",
      .program = RMS ("b", "2048", "512", "f16"),
      .b = 3,
      .build = build_rmsnorm,
      .grid = {4},
      .loop = 2},
     {.split = 16}},
    {{.name = "rmsnorm one row",
      .program = RMS ("b", "1024", "1000", "f16"),
      .b = 1,
      .build = build_rmsnorm,
      .grid = {10},
      .loop = 4},
     {0}},
    {{.name = "rmsnorm 64 rows",
      .program = RMS ("b", "512", "256", "f16"),
      .b = 64,
      .build = build_rmsnorm,
      .grid = {4},
      .loop = 4},
     {0}},
    {{.name = "rmsnorm odd",
      .program = RMS ("b", "101", "77", "f16"),
      .b = 5,
      .build = build_rmsnorm,
      .grid = {3},
      .loop = 7},
     {0}},
    {{.name = "rmsnorm odd, cluster of 4",
      .program = RMS ("b", "1001", "77", "f16"),
      .b = 9,
      .build = build_rmsnorm,
      .grid = {3},
      .loop = 7},
     {.split = 4}},
    {{.name = "rmsnorm one column block",
      .program = RMS ("b", "130", "130", "f16"),
      .b = 17,
      .build = build_rmsnorm,
      .grid = {1},
      .loop = 3},
     {.stages = 4}},
    {{.name = "rmsnorm, the last block is empty",
      .program = RMS ("b", "128", "96", "f16"),
      .b = 5,
      .build = build_rmsnorm,
      .grid = {13},
      .loop = 2},
     {0}},
    {{.name = "rmsnorm bf16",
      .program = RMS ("b", "512", "256", "bf16"),
      .b = 40,
      .build = build_rmsnorm,
      .grid = {4},
      .loop = 8},
     {.warps = 4}},
    {{.name = "rmsnorm by means",
      .program = RMS ("b", "333", "65", "f16"),
      .b = 9,
      .build = build_rmsnorm_mean,
      .grid = {2},
      .loop = 4},
     {.warps = 6, .tile_n = 16}},
    {{.name = "rmsnorm eight columns a warp",
      .program = RMS ("b", "256", "64", "f16"),
      .b = 2,
      .build = build_rmsnorm,
      .grid = {2},
      .loop = 1},
     {.warps = 8, .tile_n = 8}},
    {{.name = "rmsnorm partial sums in turns",
      .program = RMS ("b", "4096", "512", "f16"),
      .b = 64,
      .build = build_rmsnorm,
      .grid = {4},
      .loop = 4},
     {.warps = 16, .tile_n = 32, .stages = 1}},
    {{.name = "rmsnorm pairs of steps, ragged",
      .program = RMS ("b", "1000", "200", "f16"),
      .b = 5,
      .build = build_rmsnorm,
      .grid = {3},
      .loop = 5},
     {.warps = 4, .stages = 4}},
    {{.name = "rmsnorm pairs of steps, ragged, cluster of 2",
      .program = RMS ("b", "648", "130", "bf16"),
      .b = 31,
      .build = build_rmsnorm,
      .grid = {2},
      .loop = 2},
     {.split = 2, .warps = 4, .stages = 2}},
    {{.name = "rmsnorm narrow pieces",
      .program = RMS ("b", "512", "100", "f16"),
      .b = 20,
      .build = build_rmsnorm,
      .grid = {5},
      .loop = 2},
     {.warps = 2, .stages = 2}},
    {{.name = "ring",
      .program = RMS ("b", "4096", "6144", "f16"),
      .b = 2,
      .build = build_rmsnorm,
      .grid = {96},
      .loop = 64},
     {.copy = 2}},
    {{.name = "ring, 32 rows",
      .program = RMS ("b", "4096", "6144", "f16"),
      .b = 32,
      .build = build_rmsnorm,
      .grid = {96},
      .loop = 64},
     {.copy = 2, .stages = 8}},
    {{.name = "ring, cluster of 2",
      .program = RMS ("b", "4096", "6144", "f16"),
      .b = 31,
      .build = build_rmsnorm,
      .grid = {48},
      .loop = 64},
     {.copy = 2, .split = 2, .stages = 4}},
    {{.name = "ring, cluster of 4, ragged",
      .program = RMS ("b", "1000", "200", "f16"),
      .b = 5,
      .build = build_rmsnorm,
      .grid = {5},
      .loop = 5},
     {.copy = 2, .split = 4}},
    {{.name = "ring, ragged, one row",
      .program = RMS ("b", "328", "136", "bf16"),
      .b = 1,
      .build = build_rmsnorm,
      .grid = {1},
      .loop = 2},
     {.copy = 2, .stages = 3}},
    {{.name = "ring, empty ranks",
      .program = RMS ("b", "72", "80", "f16"),
      .b = 9,
      .build = build_rmsnorm,
      .grid = {2},
      .loop = 2},
     {.copy = 2, .split = 4}},
    {{.name = "ring, 64 rows",
      .program = RMS ("b", "512", "256", "bf16"),
      .b = 64,
      .build = build_rmsnorm,
      .grid = {4},
      .loop = 4},
     {.copy = 2, .stages = 12}},
    {{.name = "ring, by means",
      .program = RMS ("b", "344", "80", "f16"),
      .b = 20,
      .build = build_rmsnorm_mean,
      .grid = {2},
      .loop = 4},
     {.copy = 2}},
    {{.name = "ring, pairs",
      .program = MLP ("b", "4096", "4096", "f16"),
      .b = 8,
      .build = build_gatedmlp,
      .grid = {128},
      .loop = 64},
     {.copy = 2}},
    {{.name = "ring, pairs, ragged",
      .program = MLP ("b", "304", "168", "f16"),
      .b = 31,
      .build = build_gatedmlp,
      .grid = {3},
      .loop = 5},
     {.copy = 2, .tile_n = 32}},
    {{.name = "ring, pairs, cluster of 2",
      .program = MLP ("b", "520", "264", "bf16"),
      .b = 3,
      .build = build_gatedmlp,
      .grid = {3},
      .loop = 5},
     {.copy = 2, .tile_n = 32, .split = 2}},
    {{.name = "ring, two weights, cluster of 2",
      .program = MLP ("b", "4096", "4096", "f16"),
      .b = 16,
      .build = build_gatedmlp,
      .grid = {64},
      .loop = 64},
     {.copy = 2, .split = 2}},
    {{.name = "ring, batched", .program = BATCHED8, .build = build_batched, .grid = {3, 2, 4}, .loop = 5}, {.copy = 2}},
    {{.name = "ring, k over the grid in boxes", .program = SPLIT_K64, .build = build_split_k, .grid = {16}, .loop = 2},
     {.copy = 2, .split = 2}},
    {{.name = "ring, two kernels", .program = TWO, .b = 6, .build = build_two, .grid = {6}, .loop = 4}, {.copy = 2}},
    {{.name = "ring, sums of products", .program = SUM8, .b = 10, .build = build_sum, .grid = {3}, .loop = 5},
     {.copy = 2}},
    {{.name = "[n, k]",
      .program = RMS_T ("b", "4096", "6144", "f16"),
      .b = 8,
      .build = build_rmsnorm_turned,
      .grid = {96},
      .loop = 64},
     {.copy = 2}},
    {{.name = "[n, k], ragged, bf16",
      .program = RMS_T ("b", "328", "101", "bf16"),
      .b = 3,
      .build = build_rmsnorm_turned,
      .grid = {3},
      .loop = 5},
     {.copy = 2, .stages = 2}},
    {{.name = "[n, k], 128 columns, cluster of 4",
      .program = RMS_T ("b", "1000", "500", "f16"),
      .b = 31,
      .build = build_rmsnorm_turned,
      .grid = {4},
      .loop = 8},
     {.copy = 2, .split = 4}},
    {{.name = "[n, k], empty ranks",
      .program = RMS_T ("b", "72", "90", "f16"),
      .b = 64,
      .build = build_rmsnorm_turned,
      .grid = {2},
      .loop = 2},
     {.copy = 2, .split = 4}},
    {{.name = "[n, k], pairs",
      .program = MLP_T ("b", "4096", "4096", "f16"),
      .b = 8,
      .build = build_gatedmlp_turned,
      .grid = {128},
      .loop = 64},
     {.copy = 2}},
    {{.name = "[n, k], pairs, ragged, cluster of 2",
      .program = MLP_T ("b", "520", "231", "bf16"),
      .b = 20,
      .build = build_gatedmlp_turned,
      .grid = {3},
      .loop = 5},
     {.copy = 2, .tile_n = 32, .split = 2}},
    {{.name = "[n, k] beside [k, n]",
      .program = MLP_MIXED ("b", "264", "200", "f16"),
      .b = 9,
      .build = build_gatedmlp_mixed,
      .grid = {5},
      .loop = 4},
     {.copy = 2}},
    {{.name = "[n, k], layer",
      .program = LAYER ("b", "512", "203", "f16"),
      .b = 5,
      .build = build_layer,
      .grid = {4},
      .loop = 8},
     {.copy = 2}},
    {{.name = "[n, k] in registers",
      .program = RMS_T ("b", "4096", "6144", "f16"),
      .b = 8,
      .build = build_rmsnorm_turned,
      .grid = {128},
      .loop = 64},
     {.copy = 1}},
    {{.name = "[n, k] in registers, ragged, bf16, cluster of 2",
      .program = RMS_T ("b", "648", "130", "bf16"),
      .b = 31,
      .build = build_rmsnorm_turned,
      .grid = {2},
      .loop = 2},
     {.copy = 1, .split = 2, .warps = 4, .stages = 2}},
    {{.name = "[n, k] in registers, odd",
      .program = RMS_T ("b", "211", "103", "f16"),
      .b = 5,
      .build = build_rmsnorm_turned,
      .grid = {4},
      .loop = 3},
     {0}},
    {{.name = "[n, k] in registers, k of 4",
      .program = RMS_T ("b", "500", "77", "f16"),
      .b = 17,
      .build = build_rmsnorm_turned,
      .grid = {3},
      .loop = 5},
     {.warps = 4, .stages = 3}},
    {{.name = "[n, k] in registers, two weights",
      .program = MLP_T ("b", "512", "250", "f16"),
      .b = 9,
      .build = build_gatedmlp_turned,
      .grid = {8},
      .loop = 4},
     {.copy = 1}},
    {{.name = "[n, k] beside [k, n] in registers",
      .program = MLP_MIXED ("b", "300", "150", "f16"),
      .b = 31,
      .build = build_gatedmlp_mixed,
      .grid = {4},
      .loop = 5},
     {0}},
    {{.name = "[n, k], lora",
      .program = LORA_T ("b", "256", "4096", "16", "f16"),
      .b = 8,
      .build = build_lora_turned,
      .grid = {64},
      .loop = 4},
     {0}},
    {{.name = "[n, k], lora, bf16, cluster of 2",
      .program = LORA_T ("b", "264", "320", "40", "bf16"),
      .b = 20,
      .build = build_lora_turned,
      .grid = {5},
      .loop = 3},
     {.split = 2, .warps = 2}},
    {{.name = "[n, k], lora, odd",
      .program = LORA_T ("b", "130", "1001", "5", "f16"),
      .b = 3,
      .build = build_lora_turned,
      .grid = {7},
      .loop = 3},
     {0}},
    {{.name = "[n, k], lora, r of 8",
      .program = LORA_T ("b", "136", "1000", "8", "f16"),
      .b = 40,
      .build = build_lora_turned,
      .grid = {9},
      .loop = 1},
     {.warps = 2, .stages = 2}},
    {{.name = "ring, pairs in another order",
      .program = MLP_BACK,
      .b = 8,
      .build = build_gatedmlp_back,
      .grid = {8},
      .loop = 4},
     {.copy = 2}},
    {{.name = "[n, k], two matrices",
      .program = "input X[2,11,200]: f16\ninput W[2,90,200]: f16\noutput matmul(X, transpose(W))\n",
      .build = build_split,
      .grid = {2},
      .loop = 1,
      .maps = "000"},
     {.copy = 2}},
    {{.name = "gatedmlp",
      .program = MLP ("b", "4096", "4096", "f16"),
      .b = 8,
      .build = build_gatedmlp,
      .grid = {128},
      .loop = 64},
     {0}},
    {{.name = "gatedmlp cluster of 2",
      .program = MLP ("b", "4096", "4096", "f16"),
      .b = 16,
      .build = build_gatedmlp,
      .grid = {64},
      .loop = 64},
     {.split = 2}},
    {{.name = "gatedmlp ragged",
      .program = MLP ("b", "300", "150", "f16"),
      .b = 31,
      .build = build_gatedmlp,
      .grid = {4},
      .loop = 5},
     {0}},
    {{.name = "lora",
      .program = LORA ("b", "256", "4096", "16", "f16"),
      .b = 16,
      .build = build_lora,
      .grid = {64},
      .loop = 4},
     {0}},
    {{.name = "lora one row",
      .program = LORA ("b", "256", "4096", "16", "f16"),
      .b = 1,
      .build = build_lora,
      .grid = {128},
      .loop = 1},
     {.warps = 8}},
    {{.name = "lora cluster of 2, two warp columns",
      .program = LORA ("b", "256", "4096", "16", "f16"),
      .b = 8,
      .build = build_lora,
      .grid = {32},
      .loop = 2},
     {.split = 2, .tile_n = 64, .warps = 4}},
    {{.name = "lora ragged",
      .program = LORA ("b", "130", "1000", "5", "f16"),
      .b = 3,
      .build = build_lora,
      .grid = {7},
      .loop = 3},
     {0}},
    {{.name = "lora inner 24",
      .program = LORA ("b", "256", "512", "24", "f16"),
      .b = 20,
      .build = build_lora,
      .grid = {8},
      .loop = 4},
     {.warps = 4}},
    {{.name = "lora inner 64",
      .program = LORA ("b", "512", "512", "64", "bf16"),
      .b = 9,
      .build = build_lora,
      .grid = {8},
      .loop = 4},
     {.warps = 4}},
    {{.name = "lora inner 8, k ragged",
      .program = LORA ("b", "136", "1000", "8", "f16"),
      .b = 2,
      .build = build_lora,
      .grid = {9},
      .loop = 1},
     {.warps = 2, .stages = 2}},
    {{.name = "lora inner 40, cluster of 4",
      .program = LORA ("b", "264", "320", "40", "bf16"),
      .b = 31,
      .build = build_lora,
      .grid = {5},
      .loop = 3},
     {.split = 4, .warps = 2}},
    {{.name = "lora inner 16 beside two warp columns",
      .program = LORA ("b", "512", "256", "16", "f16"),
      .b = 64,
      .build = build_lora,
      .grid = {4},
      .loop = 4},
     {.tile_n = 32, .warps = 8, .stages = 1}},
    {{.name = "sides", .program = SIDES ("b", "512", "320"), .b = 12, .build = build_sides, .grid = {5}, .loop = 4},
     {0}},
    {{.name = "sides odd", .program = SIDES ("b", "211", "103"), .b = 3, .build = build_sides, .grid = {4}, .loop = 3},
     {.warps = 4}},
    {{.name = "batched", .program = BATCHED, .build = build_batched, .grid = {3, 2, 4}, .loop = 5}, {0}},
    {{.name = "batched one row a block", .program = BATCHED, .build = build_batched, .grid = {3, 11, 2}, .loop = 2},
     {.split = 2}},
    {{.name = "k over the grid", .program = SPLIT_K, .build = build_split_k, .grid = {5}, .loop = 4}, {0}},
    {{.name = "k over the grid, ragged", .program = SPLIT_K, .build = build_split_k, .grid = {7}, .loop = 3},
     {.split = 2}},
    {{.name = "two kernels", .program = TWO, .b = 6, .build = build_two, .grid = {6}, .loop = 4}, {0}},
    {{.name = "sums of products", .program = SUM2, .b = 10, .build = build_sum, .grid = {3}, .loop = 5}, {0}},
};

static void golden (void **state) {
  (void) state;
  check_golden_cases (cases, sizeof cases / sizeof *cases, CUDA_GENERATOR_STREAM, "stream.txt");
}

static void generated (void **state) {
  (void) state;
  check_backend_cases (cases, sizeof cases / sizeof *cases, CUDA_GENERATOR_STREAM);
}

/* k is walked in registers: how the block graph cuts it for its loop changes neither the plan nor the kernel. */
static void loop_range (void **state) {
  (void) state;
  char *first = NULL;
  mugraph_sched used = {0};
  for (int loop = 4; loop <= 64; loop *= 4) {
    const backend_case c = {{.name = "loop range",
                             .program = RMS ("b", "4096", "6144", "f16"),
                             .b = 5,
                             .build = build_rmsnorm,
                             .grid = {96},
                             .loop = loop},
                            {0}};
    mugraph program, candidate;
    cuda_plan plan;
    cuda_program p;
    mugraph_error e;
    assert_true (build_backend_case (&c, CUDA_GENERATOR_STREAM, &program, &candidate));
    assert_true (cuda_plan_kernel (&candidate, 0, cuda_device_find ("h100"), &plan, &e));
    assert_true (cuda_emit (&candidate, cuda_device_find ("h100"), true, &p, &e));
    if (first) {
      assert_memory_equal (&used, &plan.sched, sizeof used);
      assert_string_equal (first, p.source);
    } else {
      used = plan.sched;
      first = strdup (p.source);
    }
    cuda_program_free (&p);
  }
  free (first);
}

/* Even steps in even stages read X in pairs; what does not is charged for it. */
static void sector_requests (void **state) {
  (void) state;
  double read[2];
  for (int odd = 0; odd < 2; odd++) {
    const backend_case c = {{.name = "sectors",
                             .program = RMS ("b", "4096", "6144", "f16"),
                             .b = 32,
                             .build = build_rmsnorm,
                             .grid = {96},
                             .loop = 64},
                            {.warps = 16, .stages = (int16_t) (2 - odd)}};
    mugraph program, candidate;
    cuda_plan plan;
    mugraph_error e;
    assert_true (build_backend_case (&c, CUDA_GENERATOR_STREAM, &program, &candidate));
    assert_true (cuda_plan_kernel (&candidate, 0, cuda_device_find ("h100"), &plan, &e));
    read[odd] = plan.l2_read;
    assert_true (plan.regs <= 128);
  }
  assert_true (read[1] - read[0] == 96 * 32 * 4096 * 2.0);
}

/* What goes through a ring of shared memory and what does not, each with its reason. */
static void rings (void **state) {
  (void) state;
  static const struct {
    backend_case c;
    const char *reason; /* NULL: it fits */
    int warps, tile_n;
  } ring[] = {
      {{{.name = "rows",
         .program = RMS ("b", "4096", "6144", "f16"),
         .b = 8,
         .build = build_rmsnorm,
         .grid = {96},
         .loop = 64},
        {.copy = 2}},
       NULL,
       9,
       64},
      {{{.name = "pairs",
         .program = MLP ("b", "4096", "4096", "f16"),
         .b = 8,
         .build = build_gatedmlp,
         .grid = {128},
         .loop = 64},
        {.copy = 2}},
       NULL,
       5,
       32},
      {{{.name = "two weights",
         .program = MLP ("b", "4096", "4096", "f16"),
         .b = 8,
         .build = build_gatedmlp,
         .grid = {64},
         .loop = 64},
        {.copy = 2}},
       NULL,
       5,
       64},
      {{{.name = "sums of products", .program = SUM8, .b = 10, .build = build_sum, .grid = {3}, .loop = 5},
        {.copy = 2, .tile_n = 32}},
       "tile_n 32",
       0,
       0},
      {{{.name = "warps",
         .program = RMS ("b", "512", "512", "f16"),
         .b = 8,
         .build = build_rmsnorm,
         .grid = {8},
         .loop = 4},
        {.copy = 2, .warps = 8}},
       "warps 8: 9",
       0,
       0},
      {{{.name = "[n, k], any columns",
         .program = RMS_T ("b", "512", "509", "f16"),
         .b = 8,
         .build = build_rmsnorm_turned,
         .grid = {8},
         .loop = 4},
        {0}},
       NULL,
       9,
       64},
      {{{.name = "[n, k], pairs",
         .program = MLP_T ("b", "512", "250", "f16"),
         .b = 8,
         .build = build_gatedmlp_turned,
         .grid = {8},
         .loop = 4},
        {0}},
       NULL,
       5,
       32},
      {{{.name = "[n, k] beside [k, n]",
         .program = MLP_MIXED ("b", "512", "256", "f16"),
         .b = 8,
         .build = build_gatedmlp_mixed,
         .grid = {8},
         .loop = 4},
        {0}},
       NULL,
       5,
       64},
      {{{.name = "[n, k] beside [k, n], odd tiles",
         .program = MLP_MIXED ("b", "512", "264", "f16"),
         .b = 8,
         .build = build_gatedmlp_mixed,
         .grid = {8},
         .loop = 4},
        {.copy = 2}},
       "tiles of 33 columns",
       0,
       0},
      {{{.name = "[n, k], odd k",
         .program = RMS_T ("b", "500", "512", "f16"),
         .b = 8,
         .build = build_rmsnorm_turned,
         .grid = {8},
         .loop = 4},
        {.copy = 2}},
       "multiples of 16",
       0,
       0},
      {{{.name = "both ways", .program = BOTH_WAYS, .b = 8, .build = build_both_ways, .grid = {1}, .loop = 1}, {0}},
       "as it is stored and transposed",
       0,
       0},
      {{{.name = "pairs in another order",
         .program = MLP_BACK,
         .b = 8,
         .build = build_gatedmlp_back,
         .grid = {8},
         .loop = 4},
        {.copy = 2}},
       NULL,
       5,
       64},
      {{{.name = "odd columns",
         .program = RMS ("b", "512", "509", "f16"),
         .b = 8,
         .build = build_rmsnorm,
         .grid = {8},
         .loop = 4},
        {.copy = 2}},
       "multiples of 16",
       0,
       0},
      {{{.name = "odd tiles",
         .program = RMS ("b", "512", "520", "f16"),
         .b = 8,
         .build = build_rmsnorm,
         .grid = {8},
         .loop = 4},
        {.copy = 2}},
       "tiles of 65 columns",
       0,
       0},
      {{{.name = "small",
         .program = RMS ("b", "512", "56", "f16"),
         .b = 8,
         .build = build_rmsnorm,
         .grid = {1},
         .loop = 4},
        {.copy = 2}},
       "64 x 64",
       0,
       0},
      {{{.name = "computed",
         .program = SIDES ("b", "512", "320"),
         .b = 12,
         .build = build_sides,
         .grid = {5},
         .loop = 4},
        {.copy = 2}},
       "no tile that tensor copies",
       0,
       0},
      {{{.name = "chained",
         .program = LORA ("b", "256", "4096", "16", "f16"),
         .b = 16,
         .build = build_lora,
         .grid = {64},
         .loop = 4},
        {.copy = 2}},
       "chained",
       0,
       0},
      {{{.name = "deep",
         .program = RMS ("b", "512", "512", "f16"),
         .b = 64,
         .build = build_rmsnorm,
         .grid = {4},
         .loop = 4},
        {.copy = 2, .stages = 16}},
       "bytes of shared memory",
       0,
       0},
  };
  for (size_t i = 0; i < sizeof ring / sizeof *ring; i++) {
    mugraph program, candidate;
    cuda_plan plan;
    mugraph_error e;
    assert_true (build_backend_case (&ring[i].c, CUDA_GENERATOR_STREAM, &program, &candidate));
    bool fits = cuda_plan_kernel (&candidate, 0, cuda_device_find ("h100"), &plan, &e);
    if (ring[i].reason) {
      if (fits || !strstr (e.text, ring[i].reason))
        fail_msg ("%s: %s", ring[i].c.graph.name, fits ? "it fits" : e.text);
      continue;
    }
    if (!fits) fail_msg ("%s: %s", ring[i].c.graph.name, e.text);
    assert_int_equal (plan.sched.copy, 2);
    assert_int_equal (plan.sched.warps, ring[i].warps);
    assert_int_equal (plan.sched.tile_n, ring[i].tile_n);
    candidate.block[0].sched = plan.sched; /* what was chosen is a request for the same */
    cuda_plan again;
    assert_true (cuda_plan_kernel (&candidate, 0, cuda_device_find ("h100"), &again, &e));
    assert_memory_equal (&plan, &again, sizeof plan);
    assert_false (cuda_plan_kernel (&candidate, 0, cuda_device_find ("a100"), &plan, &e));
    assert_non_null (strstr (e.text, "sm_90"));
  }
}

int main (void) {
  golden_filter ();
  const struct CMUnitTest tests[] = {cmocka_unit_test (golden), cmocka_unit_test (generated),
                                     cmocka_unit_test (loop_range), cmocka_unit_test (sector_requests),
                                     cmocka_unit_test (rings)};
  return cmocka_run_group_tests (tests, NULL, NULL);
}
