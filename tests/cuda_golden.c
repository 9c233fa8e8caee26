/* Golden kernels: what each generator prints for a few graphs, byte for byte,
 * tests/golden/<generator>_<case>_<arch>_<type>_<launch>.cu. */
#include "cuda_backend.h"

static bool build_norm_tiles (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  int x = tile_in (b, 0, -1, 0, 1), w = tile_in (b, 1, 1, -1, 0);
  int sum = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w), -1);
  tile_out (b, tile_op (b, MUGRAPH_OP_DIV, sum, tile_op (b, MUGRAPH_OP_ACCUM_RMS, x, -1)), 1, 0);
  return finish (c, g);
}
static bool build_epilogue_tiles (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  int x = tile_in (b, 0, -1, 0, 1), w = tile_in (b, 1, 1, -1, 0), bias = tile_in (b, 2, 0, -1, -1),
      rest = tile_in (b, 3, 1, 0, -1);
  int sum = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w), -1);
  tile_out (b,
            tile_op (b, MUGRAPH_OP_ADD, tile_op (b, MUGRAPH_OP_GELU, tile_op (b, MUGRAPH_OP_ADD, sum, bias), -1), rest),
            1, 0);
  return finish (c, g);
}
#define EPILOGUE                                                                                                       \
  "input X[333,136]: TYPE\ninput W[136,696]: TYPE\ninput C[696]: TYPE\ninput R[333,696]: TYPE\noutput gelu(matmul(X, " \
  "W) + C) + R\n"
#define SOFT "input X[b,5001]: TYPE\noutput softmax(X * 20, -1)\n"

/* TYPE stands for the type of the data. */
static const struct {
  const char *file;
  int backend, first_arch;
  backend_case c;
} cases[] = {
    {"generic_attention",
     CUDA_GENERATOR_GENERIC,
     80,
     {{.name = "attention, norms, ragged",
       .program = QKN ("b", "50", "33", "500", "TYPE"),
       .b = 3,
       .build = build_attention_norm,
       .grid = {3, 2},
       .loop = 7},
      {0}}},
    {"generic_split",
     CUDA_GENERATOR_GENERIC,
     80,
     {{.name = "keys over the grid, pre-defined combine",
       .program = ATT ("2*b", "64", "64", "1024", "TYPE"),
       .b = 1,
       .build = build_split_attention_plain,
       .grid = {2, 4},
       .loop = 4},
      {0}}},
    {"stream_rmsnorm",
     CUDA_GENERATOR_STREAM,
     80,
     {{.name = "rmsnorm, split",
       .program = RMS ("b", "4096", "6144", "TYPE"),
       .b = 16,
       .build = build_rmsnorm,
       .grid = {96},
       .loop = 64},
      {.split = 2}}},
    {"stream_ring",
     CUDA_GENERATOR_STREAM,
     90,
     {{.name = "rmsnorm, ring",
       .program = RMS ("b", "4096", "6144", "TYPE"),
       .b = 16,
       .build = build_rmsnorm,
       .grid = {96},
       .loop = 64},
      {.copy = 2}}},
    {"stream_lora",
     CUDA_GENERATOR_STREAM,
     80,
     {{.name = "lora, ragged",
       .program = LORA ("b", "130", "1000", "5", "TYPE"),
       .b = 3,
       .build = build_lora,
       .grid = {7},
       .loop = 3},
      {0}}},
    {"chain_attention",
     CUDA_GENERATOR_CHAIN,
     80,
     {{.name = "attention",
       .program = ATT ("2*b", "256", "64", "4096", "TYPE"),
       .b = 1,
       .build = build_attention,
       .grid = {2, 4},
       .loop = 64},
      {0}}},
    {"chain_norms",
     CUDA_GENERATOR_CHAIN,
     80,
     {{.name = "norms of Q and V, ragged",
       .program = QKN ("b", "50", "40", "504", "TYPE"),
       .b = 3,
       .build = build_attention_norm,
       .grid = {3, 2},
       .loop = 7},
      {0}}},
    {"rows_ntrans",
     CUDA_GENERATOR_ROWS,
     80,
     {{.name = "two norms in turn",
       .program = NTR ("b", "4096", "TYPE"),
       .b = 16,
       .build = build_split,
       .grid = {4},
       .loop = 1,
       .maps = "0000"},
      {0}}},
    {"rows_softmax",
     CUDA_GENERATOR_ROWS,
     80,
     {{.name = "softmax of odd rows in clusters",
       .program = SOFT,
       .b = 3,
       .build = build_split,
       .grid = {3},
       .loop = 1,
       .maps = "00"},
      {.split = 2}}},
    {"tiled_rmsnorm",
     CUDA_GENERATOR_TILED,
     90,
     {{.name = "rmsnorm of many rows",
       .program = RMS ("2*b", "4096", "6144", "TYPE"),
       .b = 512,
       .build = build_norm_tiles,
       .grid = {32, 8},
       .loop = 64},
      {0}}},
    {"tiled_epilogue",
     CUDA_GENERATOR_TILED,
     90,
     {{.name = "bias, gelu, residual, ragged",
       .program = EPILOGUE,
       .build = build_epilogue_tiles,
       .grid = {3, 3},
       .loop = 3},
      {0}}},
};

static char *with_type (const char *program, const char *type) {
  char *text = calloc (strlen (program) + 1, 2);
  assert_non_null (text);
  for (const char *at; (at = strstr (program, "TYPE")); program = at + 4) {
    strncat (text, program, (size_t) (at - program));
    strcat (text, type);
  }
  return strcat (text, program);
}

static void golden_kernels (void **state) {
  (void) state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (int way = 0; way < 4; way++) {
      bool pdl = way & 1;
      const cuda_device *d = cuda_device_find (way & 2 ? "h100" : "a100");
      const char *type = pdl ? "bf16" : "f16";
      if (d->arch < cases[i].first_arch) continue;
      static mugraph program, candidate;
      mugraph_error e;
      backend_case c = cases[i].c;
      char *text = with_type (c.graph.program, type), name[200];
      c.graph.program = text;
      assert_true (build_backend_case (&c, cases[i].backend, &program, &candidate));
      char *file = cuda_emit_file (&candidate, d, pdl, c.graph.name, &e);
      if (!file) fail_msg ("%s: %s", c.graph.name, e.text);
      char *golden = golden_includes (file);
      snprintf (name, sizeof name, "%s_sm%d_%s_%s.cu", cases[i].file, d->arch, type, pdl ? "pdl" : "plain");
      golden_check (name, golden);
      free (golden), free (file), free (text);
    }
}

int main (void) {
  golden_filter ();
  const struct CMUnitTest tests[] = {cmocka_unit_test (golden_kernels)};
  return cmocka_run_group_tests (tests, NULL, NULL);
}
