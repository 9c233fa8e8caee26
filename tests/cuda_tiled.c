/* The tiled generator: tiles of every height, several matmuls, epilogues of every kind, ragged everything. */
#include "cuda_backend.h"

/* Rows over grid y, columns over grid x. */
#define BOTH(b, input_x, input_w) int x = tile_in (b, input_x, -1, 0, 1), w = tile_in (b, input_w, 1, -1, 0)

static bool build_matmul (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  BOTH (b, 0, 1);
  tile_out (b, tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w), -1), 1, 0);
  return finish (c, g);
}

static bool build_norm (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  BOTH (b, 0, 1);
  int sum = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w), -1);
  tile_out (b, tile_op (b, MUGRAPH_OP_DIV, sum, tile_op (b, MUGRAPH_OP_ACCUM_RMS, x, -1)), 1, 0);
  return finish (c, g);
}

/* No loop, statistics spelt out. */
static bool build_norm_once (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  int x = tile_in (b, 0, -1, 0, -1), w = tile_in (b, 1, 1, -1, -1);
  int mean = mugraph_block_op (b, MUGRAPH_OP_MEAN, tile_op (b, MUGRAPH_OP_SQUARE, x, -1), -1, 1);
  tile_out (b,
            tile_op (b, MUGRAPH_OP_DIV, tile_op (b, MUGRAPH_OP_MATMUL, x, w), tile_op (b, MUGRAPH_OP_SQRT, mean, -1)),
            1, 0);
  return finish (c, g);
}

static bool build_mlp (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  BOTH (b, 0, 1);
  int w2 = tile_in (b, 2, 1, -1, 0);
  int p = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w), -1),
      q = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w2), -1);
  tile_out (b, tile_op (b, MUGRAPH_OP_MUL, tile_op (b, MUGRAPH_OP_SILU, p, -1), q), 1, 0);
  return finish (c, g);
}

/* gelu (X W + bias) * row + residual, and a second output: what it is without the residual. */
static bool build_epilogue (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  BOTH (b, 0, 1);
  int bias = tile_in (b, 2, 0, -1, -1), scale = tile_in (b, 3, -1, 0, -1), rest = tile_in (b, 4, 1, 0, -1);
  int sum = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w), -1);
  int y = tile_op (b, MUGRAPH_OP_MUL, tile_op (b, MUGRAPH_OP_GELU, tile_op (b, MUGRAPH_OP_ADD, sum, bias), -1), scale);
  tile_out (b, tile_op (b, MUGRAPH_OP_ADD, y, rest), 1, 0);
  tile_out (b, y, 1, 0);
  return finish (c, g);
}
#define EPILOGUE(m, k, n)                                                                                              \
  "input X[" m "," k "]: f16\ninput W[" k "," n "]: f16\ninput C[" n "]: f16\ninput S[" m ",1]: f32\ninput R[" m "," n \
  "]: f16\n"                                                                                                           \
  "Y = gelu(matmul(X, W) + C) * S\noutput Y + R\noutput Y\n"

/* Two left operands, a difference of sums, a mean over what is computed from both. */
static bool build_two_left (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  int x = tile_in (b, 0, -1, 0, 1), y = tile_in (b, 1, -1, 0, 1), v = tile_in (b, 2, 1, -1, 0),
      w = tile_in (b, 3, 1, -1, 0);
  int yw = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, y, w), -1),
      xv = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, v), -1);
  int mean = tile_op (
      b, MUGRAPH_OP_ACCUM_MEAN,
      tile_op (b, MUGRAPH_OP_EXP,
               tile_op (b, MUGRAPH_OP_MUL, x, tile_op (b, MUGRAPH_OP_MUL, y, mugraph_block_const (b, 0.25))), -1),
      -1);
  tile_out (b, tile_op (b, MUGRAPH_OP_MUL, tile_op (b, MUGRAPH_OP_SUB, xv, yw), mean), 1, 0);
  return finish (c, g);
}
#define TWO_LEFT(m, k, n, t)                                                                                           \
  "input X[" m "," k "]: " t "\ninput Y[" m "," k "]: " t "\ninput V[" k "," n "]: " t "\ninput W[" k "," n "]: " t    \
  "\n"                                                                                                                 \
  "output (matmul(X, V) - matmul(Y, W)) * mean(exp(X * (Y * 0.25)), -1)\n"

/* Matrices over grid z, rows over grid y, columns over grid x; one matrix of weights for all or one for each. */
static bool build_batch (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  bool own = program->tensor[1].shape.n_dims == 3;
  int x = mugraph_block_input (b, 0, (const int[]){-1, 1, 0}, 2),
      w = mugraph_block_input (b, 1, own ? (const int[]){2, -1, 0} : (const int[]){1, -1, -1}, own ? 1 : 0);
  int sum = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w), -1);
  mugraph_block_output (b, tile_op (b, MUGRAPH_OP_ADD, sum, tile_op (b, MUGRAPH_OP_ACCUM_SUM, x, -1)),
                        (const int[]){2, 1, 0});
  return finish (c, g);
}

/* k over grid z: partial results side by side, added up by a pre-defined kernel. */
static bool build_k (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_error e;
  mugraph_block *b = start (c, program, g);
  int x = mugraph_block_input (b, 0, (const int[]){-1, 1, 2}, 2),
      w = mugraph_block_input (b, 1, (const int[]){2, -1, 1}, 1);
  mugraph_block_output (b, tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w), -1),
                        (const int[]){2, 1, 0});
  if (!mugraph_finish_custom (g, 0, &e)) return give_up (c->name, &e);
  mugraph_add_op (g, MUGRAPH_OP_SUM, 1, (const int[]){g->op[0].out[0]}, 0, &e);
  return finish (c, g);
}

/* X W + (X A) B. */
static bool build_adapter (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  BOTH (b, 0, 1);
  int a = tile_in (b, 2, -1, -1, 0), v = tile_in (b, 3, 1, -1, -1);
  int xw = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w), -1),
      xa = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, a), -1);
  tile_out (b, tile_op (b, MUGRAPH_OP_ADD, xw, tile_op (b, MUGRAPH_OP_MATMUL, xa, v)), 1, 0);
  return finish (c, g);
}
/* The same, one accumulator over both, and a difference, which keeps sums of its own. */
static bool build_adapter_apart (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  BOTH (b, 0, 1);
  int a = tile_in (b, 2, -1, -1, 0), v = tile_in (b, 3, 1, -1, -1);
  int xw = tile_op (b, MUGRAPH_OP_MATMUL, x, w),
      xab = tile_op (b, MUGRAPH_OP_MATMUL, tile_op (b, MUGRAPH_OP_MATMUL, x, a), v);
  tile_out (b, tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_SUB, xab, xw), -1), 1, 0);
  return finish (c, g);
}

/* Left operands computed in registers: silu (X) * G * S with a row G and a column S, with statistics of the same;
 * another one is X itself. */
static bool build_prologue (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  BOTH (b, 0, 1);
  int gain = tile_in (b, 2, -1, -1, 0), scale = tile_in (b, 3, -1, 0, -1);
  int left = tile_op (b, MUGRAPH_OP_MUL, tile_op (b, MUGRAPH_OP_MUL, tile_op (b, MUGRAPH_OP_SILU, x, -1), gain), scale);
  int sum = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, left, w), -1),
      plain = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w), -1);
  int mean = tile_op (b, MUGRAPH_OP_ACCUM_MEAN, tile_op (b, MUGRAPH_OP_SQUARE, left, -1), -1);
  tile_out (
      b, tile_op (b, MUGRAPH_OP_ADD, tile_op (b, MUGRAPH_OP_DIV, sum, tile_op (b, MUGRAPH_OP_SQRT, mean, -1)), plain),
      1, 0);
  return finish (c, g);
}
#define PROLOGUE(m, k, n)                                                                                              \
  "input X[" m "," k "]: f16\ninput W[" k "," n "]: f16\ninput G[" k "]: f16\ninput S[" m ",1]: f32\n"                 \
  "L = silu(X) * G * S\noutput matmul(L, W) / sqrt(mean(square(L), -1)) + matmul(X, W)\n"
/* A gain behind the norm, as models have it: it goes to X's elements. */
static bool build_gain (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  BOTH (b, 0, 1);
  int gain = tile_in (b, 2, -1, -1, 0);
  int sum = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, tile_op (b, MUGRAPH_OP_MUL, x, gain), w), -1);
  tile_out (b, tile_op (b, MUGRAPH_OP_DIV, sum, tile_op (b, MUGRAPH_OP_ACCUM_RMS, x, -1)), 1, 0);
  return finish (c, g);
}
#define GAIN(m, k, n, t)                                                                                               \
  "input X[" m "," k "]: " t "\ninput W[" k "," n "]: " t "\ninput G[" k "]: " t                                       \
  "\noutput matmul(rms_norm(X, -1) * G, W)\n"

/* Weights stored as [n, k]: norm; gated, beside others that are not; adapter, B of which may be either; matrices. */
static bool build_norm_turned (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  int x = tile_in (b, 0, -1, 0, 1), w = weights_in (b, 1, true);
  int sum = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w), -1);
  tile_out (b, tile_op (b, MUGRAPH_OP_DIV, sum, tile_op (b, MUGRAPH_OP_ACCUM_RMS, x, -1)), 1, 0);
  return finish (c, g);
}
static bool build_mlp_turned (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  const bool both = program->tensor[1].shape.dim[0] != program->tensor[0].shape.dim[1];
  int x = tile_in (b, 0, -1, 0, 1), v = weights_in (b, 1, both), w = weights_in (b, 2, true);
  int p = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, v), -1),
      q = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w), -1);
  tile_out (b, tile_op (b, MUGRAPH_OP_MUL, tile_op (b, MUGRAPH_OP_SILU, p, -1), q), 1, 0);
  return finish (c, g);
}
static bool build_adapter_turned (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  int x = tile_in (b, 0, -1, 0, 1), w = weights_in (b, 1, true),
      a = tile_op (b, MUGRAPH_OP_TRANSPOSE, tile_in (b, 2, -1, -1, 1), -1);
  int v = program->tensor[3].shape.dim[0] == program->tensor[2].shape.dim[0]
              ? tile_in (b, 3, 1, -1, -1)
              : tile_op (b, MUGRAPH_OP_TRANSPOSE, tile_in (b, 3, 0, -1, -1), -1);
  int xw = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w), -1),
      xa = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, a), -1);
  tile_out (b, tile_op (b, MUGRAPH_OP_ADD, xw, tile_op (b, MUGRAPH_OP_MATMUL, xa, v)), 1, 0);
  return finish (c, g);
}
#define LORA_B(m, k, n, r, t)                                                                                          \
  "input X[" m "," k "]: " t "\ninput W[" n "," k "]: " t "\ninput A[" r "," k "]: " t "\ninput B[" r "," n "]: " t    \
  "\noutput matmul(X, transpose(W)) + matmul(matmul(X, transpose(A)), B)\n"
static bool build_batch_turned (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  int x = mugraph_block_input (b, 0, (const int[]){-1, 1, 0}, 2),
      w = tile_op (b, MUGRAPH_OP_TRANSPOSE, mugraph_block_input (b, 1, (const int[]){1, -1, 0}, 2), -1);
  mugraph_block_output (b, tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w), -1),
                        (const int[]){2, 1, 0});
  return finish (c, g);
}

/* The second kernel adds what the first one left in f32, and multiplies what it wrote as an output. */
static bool build_chain (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_error e;
  mugraph_block *b = start (c, program, g);
  BOTH (b, 0, 1);
  int sum = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w), -1);
  tile_out (b, tile_op (b, MUGRAPH_OP_SILU, sum, -1), 1, 0);
  tile_out (b, sum, 1, 0);
  if (!mugraph_finish_custom (g, 0, &e)) return give_up (c->name, &e);
  int first = g->op[0].out[0], rest = g->op[0].out[1];
  mugraph_add_custom (g, 3, (const int[]){first, 1, rest}, (const int32_t[]){c->grid[0], c->grid[1], 1}, c->loop);
  b = &g->block[1];
  int x2 = tile_in (b, 0, -1, 0, 1), w2 = tile_in (b, 1, 1, -1, 0), r = tile_in (b, 2, 1, 0, -1);
  tile_out (b,
            tile_op (b, MUGRAPH_OP_ADD, tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x2, w2), -1), r),
            1, 0);
  if (!mugraph_finish_custom (g, 1, &e)) return give_up (c->name, &e);
  mugraph_add_output (g, first, "");
  mugraph_add_output (g, g->op[1].out[0], "");
  return mugraph_infer (g, &e) || give_up (c->name, &e);
}

static const backend_case cases[] = {
    {{.name = "128 x 128 x 256",
      .program = MM ("", "128", "256", "128", "f16", "f16"),
      .build = build_matmul,
      .grid = {1, 1},
      .loop = 4},
     {.multicast = 1}},
    {{.name = "one warpgroup, 64 x 64",
      .program = MM ("", "64", "64", "64", "f16", "f16"),
      .build = build_matmul,
      .grid = {1, 1},
      .loop = 1},
     {.multicast = 1}},
    {{.name = "512 x 512 x 512",
      .program = MM ("", "512", "512", "512", "f16", "f16"),
      .build = build_matmul,
      .grid = {2, 4},
      .loop = 8},
     {.multicast = 1}},
    {{.name = "512 x 512 x 512, left shared",
      .program = MM ("", "512", "512", "512", "f16", "f16"),
      .build = build_matmul,
      .grid = {4, 3},
      .loop = 8},
     {.multicast = 2}},
    {{.name = "512 x 512 x 528, right shared",
      .program = MM ("", "512", "512", "528", "f16", "f16"),
      .build = build_matmul,
      .grid = {3, 4},
      .loop = 8},
     {.multicast = 2}},
    {{.name = "left shared by 4",
      .program = MM ("", "512", "520", "768", "bf16", "bf16"),
      .build = build_matmul,
      .grid = {4, 3},
      .loop = 8},
     {.multicast = 4}},
    {{.name = "right shared by 4, few stages",
      .program = MM ("", "512", "520", "768", "f16", "f16"),
      .build = build_matmul,
      .grid = {3, 4},
      .loop = 8},
     {.multicast = 4, .stages = 2}},
    {{.name = "many tiles",
      .program = MM ("", "2048", "320", "2048", "f16", "f16"),
      .build = build_matmul,
      .grid = {16, 32},
      .loop = 5},
     {.multicast = 1}},
    {{.name = "many tiles in clusters",
      .program = MM ("", "2048", "320", "2048", "f16", "f16"),
      .build = build_matmul,
      .grid = {16, 32},
      .loop = 5},
     {.multicast = 2, .stages = 3}},
    {{.name = "three warpgroups, ragged",
      .program = MM ("", "300", "200", "1000", "f16", "f16"),
      .build = build_matmul,
      .grid = {5, 2},
      .loop = 3},
     {0}},
    {{.name = "four warpgroups",
      .program = MM ("", "500", "1000", "360", "bf16", "bf16"),
      .build = build_matmul,
      .grid = {3, 2},
      .loop = 16},
     {0}},
    {{.name = "one warpgroup, two blocks an SM, ragged",
      .program = MM ("", "1000", "488", "1272", "f16", "f16"),
      .build = build_matmul,
      .grid = {10, 25},
      .loop = 8},
     {0}},
    {{.name = "blocks without data",
      .program = MM ("", "6", "64", "64", "f16", "f16"),
      .build = build_matmul,
      .grid = {9, 4},
      .loop = 1},
     {0}},
    {{.name = "norm 1024 x 4096 x 6144",
      .program = RMS ("2*b", "4096", "6144", "f16"),
      .b = 512,
      .build = build_norm,
      .grid = {32, 8},
      .loop = 64},
     {0}},
    {{.name = "norm, 256 columns, plain",
      .program = RMS ("2*b", "4096", "6144", "f16"),
      .b = 512,
      .build = build_norm,
      .grid = {24, 8},
      .loop = 64},
     {.multicast = 1}},
    {{.name = "norm, ragged",
      .program = RMS ("b", "1000", "1144", "f16"),
      .b = 333,
      .build = build_norm,
      .grid = {9, 3},
      .loop = 5},
     {0}},
    {{.name = "norm, four warpgroups",
      .program = RMS ("b", "512", "512", "bf16"),
      .b = 512,
      .build = build_norm,
      .grid = {8, 2},
      .loop = 8},
     {0}},
    {{.name = "norm spelt out, no loop",
      .program = RMS ("b", "328", "208", "f16"),
      .b = 200,
      .build = build_norm_once,
      .grid = {2, 2},
      .loop = 1},
     {0}},
    {{.name = "gated 256",
      .program = MLP ("b", "4096", "4096", "f16"),
      .b = 256,
      .build = build_mlp,
      .grid = {32, 2},
      .loop = 64},
     {0}},
    {{.name = "gated ragged",
      .program = MLP ("b", "328", "480", "bf16"),
      .b = 150,
      .build = build_mlp,
      .grid = {4, 3},
      .loop = 64},
     {0}},
    {{.name = "epilogue",
      .program = EPILOGUE ("512", "512", "1024"),
      .build = build_epilogue,
      .grid = {4, 4},
      .loop = 8},
     {0}},
    {{.name = "epilogue, ragged",
      .program = EPILOGUE ("333", "136", "696"),
      .build = build_epilogue,
      .grid = {3, 3},
      .loop = 3},
     {0}},
    {{.name = "two left operands",
      .program = TWO_LEFT ("256", "200", "384", "f16"),
      .build = build_two_left,
      .grid = {4, 2},
      .loop = 4},
     {0}},
    {{.name = "matrices, weights for each",
      .program = "input X[3,200,200]: f16\ninput W[3,200,336]: f16\noutput matmul(X, W) + sum(X, -1)\n",
      .build = build_batch,
      .grid = {2, 2, 3},
      .loop = 4},
     {0}},
    {{.name = "matrices, the same weights",
      .program = "input X[3,200,200]: f16\ninput W[200,336]: f16\noutput matmul(X, W) + sum(X, -1)\n",
      .build = build_batch,
      .grid = {2, 2, 3},
      .loop = 4},
     {.multicast = 1}},
    {{.name = "k over the grid",
      .program = "input X[1,256,632]: f16\ninput W[1,632,256]: f16\noutput matmul(X, W)\n",
      .build = build_k,
      .grid = {2, 2, 10},
      .loop = 1},
     {0}},
    {{.name = "adapter",
      .program = LORA ("b", "256", "4096", "16", "f16"),
      .b = 512,
      .build = build_adapter,
      .grid = {32, 4},
      .loop = 4},
     {0}},
    {{.name = "adapter of 40, right shared",
      .program = LORA ("b", "264", "1024", "40", "f16"),
      .b = 500,
      .build = build_adapter,
      .grid = {8, 4},
      .loop = 4},
     {.multicast = 4}},
    {{.name = "adapter of 64, bf16, left shared",
      .program = LORA ("b", "256", "384", "64", "bf16"),
      .b = 500,
      .build = build_adapter,
      .grid = {4, 3},
      .loop = 4},
     {.multicast = 2}},
    {{.name = "adapter of 24 apart",
      .program = "input X[b,264]: f16\ninput W[264,960]: f16\ninput A[264,24]: f16\ninput B[24,960]: f16\noutput "
                 "matmul(matmul(X, A), B) - matmul(X, W)\n",
      .b = 300,
      .build = build_adapter_apart,
      .grid = {8, 3},
      .loop = 2},
     {0}},
    {{.name = "computed left operand",
      .program = PROLOGUE ("300", "200", "704"),
      .build = build_prologue,
      .grid = {8, 3},
      .loop = 4},
     {0}},
    {{.name = "computed left operand, right shared",
      .program = PROLOGUE ("512", "512", "384"),
      .build = build_prologue,
      .grid = {3, 4},
      .loop = 1},
     {.multicast = 2}},
    {{.name = "gain",
      .program = GAIN ("2*b", "4096", "6144", "f16"),
      .b = 512,
      .build = build_gain,
      .grid = {32, 8},
      .loop = 64},
     {0}},
    {{.name = "gain bf16, ragged",
      .program = GAIN ("b", "200", "200", "bf16"),
      .b = 150,
      .build = build_gain,
      .grid = {1, 2},
      .loop = 3},
     {0}},
    {{.name = "[n, k], norm 1024 x 4096 x 6144",
      .program = RMS_T ("2*b", "4096", "6144", "f16"),
      .b = 512,
      .build = build_norm_turned,
      .grid = {32, 8},
      .loop = 64},
     {0}},
    {{.name = "[n, k], ragged, left shared",
      .program = RMS_T ("b", "1000", "1200", "bf16"),
      .b = 333,
      .build = build_norm_turned,
      .grid = {10, 3},
      .loop = 5},
     {.multicast = 2}},
    {{.name = "[n, k], right shared by 4",
      .program = RMS_T ("b", "520", "768", "f16"),
      .b = 512,
      .build = build_norm_turned,
      .grid = {3, 4},
      .loop = 8},
     {.multicast = 4}},
    {{.name = "[n, k], gated, ragged",
      .program = MLP_T ("b", "328", "480", "bf16"),
      .b = 150,
      .build = build_mlp_turned,
      .grid = {4, 3},
      .loop = 8},
     {0}},
    {{.name = "[n, k] beside [k, n]",
      .program = MLP_MIXED ("b", "328", "480", "f16"),
      .b = 150,
      .build = build_mlp_turned,
      .grid = {6, 2},
      .loop = 8},
     {.multicast = 2}},
    {{.name = "[n, k], adapter of 24",
      .program = LORA_B ("b", "264", "960", "24", "f16"),
      .b = 300,
      .build = build_adapter_turned,
      .grid = {8, 3},
      .loop = 4},
     {0}},
    {{.name = "[n, k], adapter of 40, bf16",
      .program = LORA_T ("b", "264", "960", "40", "bf16"),
      .b = 300,
      .build = build_adapter_turned,
      .grid = {8, 3},
      .loop = 4},
     {0}},
    {{.name = "[n, k], adapter of 16",
      .program = LORA_T ("b", "256", "4096", "16", "f16"),
      .b = 512,
      .build = build_adapter_turned,
      .grid = {32, 4},
      .loop = 4},
     {.multicast = 2}},
    {{.name = "[n, k], matrices",
      .program = "input X[3,200,200]: f16\ninput W[3,336,200]: f16\noutput matmul(X, transpose(W))\n",
      .build = build_batch_turned,
      .grid = {2, 2, 3},
      .loop = 4},
     {0}},
    {{.name = "two kernels",
      .program = "input X[256,512]: f16\ninput W[512,512]: f16\nY = matmul(X, W)\nZ = silu(Y)\noutput Z\noutput "
                 "matmul(Z, W) + Y\n",
      .build = build_chain,
      .grid = {4, 2},
      .loop = 8},
     {0}},
};

static void golden (void **state) {
  (void) state;
  check_golden_cases (cases, sizeof cases / sizeof *cases, CUDA_GENERATOR_TILED, "tiled.txt");
}

static void generated (void **state) {
  (void) state;
  cuda_facts facts;
  cuda_probe (&facts);
  if (!facts.nvrtc) {
    print_message ("skipped: %s\n", facts.line);
    return;
  }
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (int pdl = 0; pdl < (facts.gpu ? 2 : 1); pdl++)
      check_backend_case (&cases[i], CUDA_GENERATOR_TILED, "h100", pdl, &facts);
}

static bool plan_matmul (const char *m, const char *k, const char *n, int grid_n, int grid_m, mugraph_sched sched,
                         const char *device, cuda_plan *p, mugraph_error *e) {
  static mugraph program, g;
  char text[200];
  snprintf (text, sizeof text, "input X[%s,%s]: f16\ninput W[%s,%s]: f16\noutput matmul(X, W)\n", m, k, k, n);
  backend_case c = {{.name = "plan", .program = text, .build = build_matmul, .grid = {grid_n, grid_m}, .loop = 8},
                    sched};
  assert_true (build_backend_case (&c, sched.backend ? sched.backend : CUDA_GENERATOR_TILED, &program, &g));
  return cuda_plan_kernel (&g, 0, cuda_device_find (device), p, e);
}

/* What is launched: tiles, blocks that walk over them, clusters; 0 blocks: refused, with the reason. */
static void plans (void **state) {
  static const struct {
    const char *m, *k, *n;
    int grid[2];
    mugraph_sched sched;
    int blocks, warps, cluster, stages, rounds;
    const char *why;
  } rows[] = {
      {"2048", "2048", "2048", {8, 16}, {.multicast = 1}, 128, 12, 1, 4, 1, ""},
      {"2048", "2048", "2048", {8, 16}, {.multicast = 2, .stages = 3}, 128, 12, 2, 3, 1, ""},
      {"2048", "2048", "2048", {16, 16}, {.multicast = 1}, 132, 12, 1, 7, 2, ""}, /* the last round has few */
      {"4096", "2048", "4096", {16, 32}, {.multicast = 2}, 132, 12, 2, 4, 4, ""},
      {"4096", "2048", "4096", {16, 32}, {.multicast = 4}, 120, 12, 4, 4, 5, ""}, /* larger clusters do not fill all SMs
                                                                                   */
      {"2048", "2048", "2048", {16, 32}, {.multicast = 1}, 264, 8, 1, 4, 2, ""},  /* two blocks an SM */
      {"2048", "2048", "2048", {16, 32}, {.multicast = 1, .stages = 6}, 132, 8, 1, 6, 4, ""},
      {"2048", "2048", "2048", {7, 16}, {0}, 0, 0, 0, 0, 0, "16 bytes"},
      {"2048", "2048", "2044", {1, 16}, {0}, 0, 0, 0, 0, 0, "16 bytes"},
      {"2048", "2044", "2048", {8, 16}, {0}, 0, 0, 0, 0, 0, "16 bytes"},
      {"2048", "2048", "2048", {4, 16}, {0}, 0, 0, 0, 0, 0, "128 x 512"},
      {"2048", "2048", "2048", {16, 4}, {0}, 0, 0, 0, 0, 0, "512 x 128"},
      {"2048", "2048", "2048", {8, 8}, {0}, 0, 0, 0, 0, 0, "registers"},
      {"2048", "2048", "2048", {8, 16}, {.split = 2}, 0, 0, 0, 0, 0, "split"},
      {"2048", "2048", "2048", {8, 16}, {.warps = 8}, 0, 0, 0, 0, 0, "warps"},
      {"2048", "2048", "2048", {8, 16}, {.stages = 5}, 0, 0, 0, 0, 0, "4 fit"},
      {"2048", "2048", "2048", {8, 16}, {.multicast = 3}, 0, 0, 0, 0, 0, "multicast"},
      {"1920", "2048", "1680", {7, 15}, {.multicast = 2}, 0, 0, 0, 0, 0, "clusters"},
  };
  const cuda_device *d = cuda_device_find ("h100");
  (void) state;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    cuda_plan p;
    mugraph_error e = {""};
    bool good =
        plan_matmul (rows[i].m, rows[i].k, rows[i].n, rows[i].grid[0], rows[i].grid[1], rows[i].sched, "h100", &p, &e);
    if (good != (rows[i].blocks > 0)) fail_msg ("row %zu: %s", i, good ? "planned" : e.text);
    if (!good && !strstr (e.text, rows[i].why)) fail_msg ("row %zu: %s", i, e.text);
    if (!good) continue;
    assert_int_equal (p.blocks, rows[i].blocks);
    assert_int_equal (p.sched.warps, rows[i].warps);
    assert_int_equal (p.threads, 32 * rows[i].warps);
    assert_int_equal (p.cluster, rows[i].cluster);
    assert_int_equal (p.sched.multicast, rows[i].cluster);
    assert_int_equal (p.sched.stages, rows[i].stages);
    assert_int_equal (p.iterations, rows[i].rounds * 2048 / 64);
    int copied[2] = {0, 0}; /* by the tensor copy engine for one block, for all of a cluster */
    for (int t = 0; t < MUGRAPH_BLOCK_OPS; t++) {
      if (!p.tile[t].copy) continue;
      assert_true (p.tile[t].copy == CUDA_COPY_TENSOR || p.tile[t].copy == CUDA_COPY_MULTICAST);
      assert_int_equal (p.tile[t].depth, rows[i].stages);
      copied[p.tile[t].copy == CUDA_COPY_MULTICAST]++;
    }
    assert_int_equal (copied[1], rows[i].cluster > 1);
    assert_int_equal (copied[0] + copied[1], 2);
    assert_true (p.smem <= d->smem_block);
    assert_true (p.regs * p.threads <= d->regs_sm);
  }
}

/* What a cluster shares comes from L2 once; the products are those of all rounds. */
static void costs (void **state) {
  cuda_plan one, two;
  mugraph_error e;
  (void) state;
  assert_true (plan_matmul ("2048", "2048", "2048", 8, 16, (mugraph_sched){.multicast = 1}, "h100", &one, &e));
  assert_true (plan_matmul ("2048", "2048", "2048", 8, 16, (mugraph_sched){.multicast = 2}, "h100", &two, &e));
  assert_true (one.l2_read == 128 * 2048 * 2.0 * (128 + 256) && two.l2_read == 128 * 2048 * 2.0 * (128 + 128));
  assert_true (one.dram_read == 2 * 2048 * 2048 * 2.0 && one.dram_write == 2048 * 2048 * 2.0);
  assert_true (one.mma_flops == 2.0 * 2048 * 2048 * 2048);
  assert_true (one.smem_bytes ==
               128 * 32.0 * ((128 + 256) * 128 + 2 * (256 * 128 + 64 * 128))); /* copied; read by both warpgroups */
  assert_true (two.smem_bytes == one.smem_bytes);
  assert_true (plan_matmul ("2048", "2048", "2048", 16, 16, (mugraph_sched){.multicast = 1}, "h100", &one, &e));
  assert_true (one.mma_flops == 2.0 * 2048 * 264 * 128 * 128);
}

/* Devices without wgmma have other generators for the same block graph. */
static void other_devices (void **state) {
  cuda_plan p;
  mugraph_error e;
  (void) state;
  assert_false (plan_matmul ("2048", "2048", "2048", 8, 16, (mugraph_sched){0}, "a100", &p, &e));
  assert_non_null (strstr (e.text, "sm_80"));
  assert_true (
      plan_matmul ("2048", "2048", "2048", 8, 16, (mugraph_sched){.backend = CUDA_GENERATOR_GENERIC}, "a100", &p, &e));
}

int main (void) {
  golden_filter ();
  const struct CMUnitTest tests[] = {cmocka_unit_test (plans), cmocka_unit_test (costs),
                                     cmocka_unit_test (other_devices), cmocka_unit_test (golden),
                                     cmocka_unit_test (generated)};
  return cmocka_run_group_tests (tests, NULL, NULL);
}
