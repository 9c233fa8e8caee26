/* The rows generator: every reduction, one and many levels, short and long rows, clusters, ragged rows and columns. */
#include "cuda_backend.h"

#define LEVELS                                                                                                         \
  "input X[b,n]: f16\ninput Y[n]: f16\ninput Z[b,1]: f32\nA = X - mean(X, -1)\nB = A / (sqrt(mean(square(A), -1)) + "  \
  "0.1)\n"                                                                                                             \
  "output O = B * Y + Z\noutput P = max(B, -1) + sum(X * Y, -1)\noutput Q = rms_norm(B * Y, -1)\n"
#define SOFT "input X[b,n]: f16\noutput softmax(X * 20, -1)\n"
#define DEEP "input X[3,5,7,n]: f16\ninput Y[n]: bf16\noutput rms_norm(X, -1) * Y\noutput max(X * Y, -1)\n"
#define WIDE "input X[b,n]: f32\ninput Y[b,n]: f16\noutput rms_norm(X * Y, -1)\noutput mean(X, -1)\n"

/* Norm and gain in two kernels: the second reads what the first wrote, in f32. */
static bool build_two (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_error e;
  mugraph_block *b = start (c, program, g);
  tile_out (b, mugraph_block_op (b, MUGRAPH_OP_RMS_NORM, tile_in (b, 0, 0, -1, -1), -1, 1), 0, -1);
  if (!mugraph_finish_custom (g, 0, &e)) return give_up (c->name, &e);
  mugraph_add_custom (g, 2, (const int[]){g->op[0].out[0], 1}, (const int32_t[]){c->grid[0], 1, 1}, 1);
  b = &g->block[1];
  int y = tile_op (b, MUGRAPH_OP_MUL, tile_in (b, 0, 0, -1, -1), tile_in (b, 1, -1, -1, -1));
  tile_out (b, y, 0, -1);
  return finish (c, g);
}
#define TWO "input X[b,640]: f16\ninput Y[640]: f16\noutput rms_norm(X, -1) * Y\n"

/* Accumulators at loop range 1 are reductions. */
static bool build_accumulated (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  int x = tile_in (b, 0, 0, -1, -1);
  int y =
      tile_op (b, MUGRAPH_OP_ADD, tile_op (b, MUGRAPH_OP_ACCUM_RMS, x, -1), tile_op (b, MUGRAPH_OP_ACCUM_MEAN, x, -1));
  int scaled = tile_op (b, MUGRAPH_OP_MUL, tile_op (b, MUGRAPH_OP_ACCUM, x, -1), y);
  tile_out (b, tile_op (b, MUGRAPH_OP_ADD, scaled, tile_op (b, MUGRAPH_OP_ACCUM_SUM, x, -1)), 0, -1);
  return finish (c, g);
}
#define ACCUMULATED "input X[b,200]: f16\noutput X * (sqrt(mean(square(X), -1)) + mean(X, -1)) + sum(X, -1)\n"

static const backend_case cases[] = {
    {{.name = "ntrans 1",
      .program = NTR ("b", "4096", "f16"),
      .b = 1,
      .build = build_split,
      .grid = {1},
      .loop = 1,
      .maps = "0000"},
     {0}},
    {{.name = "ntrans 16",
      .program = NTR ("b", "4096", "f16"),
      .b = 16,
      .build = build_split,
      .grid = {16},
      .loop = 1,
      .maps = "0000"},
     {0}},
    {{.name = "ntrans 16 rows in 4 blocks",
      .program = NTR ("b", "4096", "f16"),
      .b = 16,
      .build = build_split,
      .grid = {4},
      .loop = 1,
      .maps = "0000"},
     {0}},
    {{.name = "ntrans cluster of 4",
      .program = NTR ("b", "4096", "f16"),
      .b = 5,
      .build = build_split,
      .grid = {5},
      .loop = 1,
      .maps = "0000"},
     {.split = 4, .warps = 4}},
    {{.name = "ntrans cluster of 16, rows in turns",
      .program = NTR ("b", "8192", "f16"),
      .b = 5,
      .build = build_split,
      .grid = {2},
      .loop = 1,
      .maps = "0000"},
     {.split = 16, .warps = 2}},
    {{.name = "ntrans ragged",
      .program = NTR ("b", "1000", "f16"),
      .b = 5,
      .build = build_split,
      .grid = {3},
      .loop = 1,
      .maps = "0000"},
     {0}},
    {{.name = "ntrans odd",
      .program = NTR ("b", "1237", "f16"),
      .b = 31,
      .build = build_split,
      .grid = {7},
      .loop = 1,
      .maps = "0000"},
     {.warps = 4}},
    {{.name = "ntrans odd, cluster of 2",
      .program = NTR ("b", "4099", "bf16"),
      .b = 3,
      .build = build_split,
      .grid = {3},
      .loop = 1,
      .maps = "0000"},
     {.split = 2}},
    {{.name = "ntrans 32 warps",
      .program = NTR ("b", "16384", "f16"),
      .b = 2,
      .build = build_split,
      .grid = {2},
      .loop = 1,
      .maps = "0000"},
     {.warps = 32}},
    {{.name = "ntrans more warps than rows",
      .program = NTR ("b", "2048", "bf16"),
      .b = 3,
      .build = build_split,
      .grid = {3},
      .loop = 1,
      .maps = "0000"},
     {.warps = 16, .tile_n = 512}},
    {{.name = "levels",
      .program = "dim n = 768\n" LEVELS,
      .b = 20,
      .build = build_split,
      .grid = {5},
      .loop = 1,
      .maps = "0-0000"},
     {0}},
    {{.name = "levels odd",
      .program = "dim n = 333\n" LEVELS,
      .b = 11,
      .build = build_split,
      .grid = {4},
      .loop = 1,
      .maps = "0-0000"},
     {.warps = 2}},
    {{.name = "softmax",
      .program = "dim n = 1000\n" SOFT,
      .b = 12,
      .build = build_split,
      .grid = {4},
      .loop = 1,
      .maps = "00"},
     {0}},
    {{.name = "softmax cluster of 2",
      .program = "dim n = 5001\n" SOFT,
      .b = 3,
      .build = build_split,
      .grid = {3},
      .loop = 1,
      .maps = "00"},
     {.split = 2}},
    {{.name = "four dimensions",
      .program = "dim n = 96\n" DEEP,
      .build = build_split,
      .grid = {2},
      .loop = 1,
      .maps = "2-22"},
     {0}},
    {{.name = "four dimensions, outermost",
      .program = "dim n = 40\n" DEEP,
      .build = build_split,
      .grid = {2},
      .loop = 1,
      .maps = "0-00"},
     {0}},
    {{.name = "f32 beside f16",
      .program = "dim n = 516\n" WIDE,
      .b = 9,
      .build = build_split,
      .grid = {9},
      .loop = 1,
      .maps = "0000"},
     {0}},
    {{.name = "short rows",
      .program = "dim n = 64\n" LEVELS,
      .b = 100,
      .build = build_split,
      .grid = {3},
      .loop = 1,
      .maps = "0-0000"},
     {0}},
    {{.name = "short odd rows",
      .program = "dim n = 37\n" LEVELS,
      .b = 71,
      .build = build_split,
      .grid = {2},
      .loop = 1,
      .maps = "0-0000"},
     {.warps = 4}},
    {{.name = "rows of 8",
      .program = "dim n = 8\n" SOFT,
      .b = 1000,
      .build = build_split,
      .grid = {7},
      .loop = 1,
      .maps = "00"},
     {0}},
    {{.name = "rows of 200, 2 warps",
      .program = "dim n = 200\n" WIDE,
      .b = 33,
      .build = build_split,
      .grid = {2},
      .loop = 1,
      .maps = "0000"},
     {.warps = 2}},
    {{.name = "columns over the grid", .program = UNARY, .build = build_split, .grid = {5}, .loop = 1, .maps = "1111"},
     {0}},
    {{.name = "unary", .program = UNARY, .build = build_split, .grid = {2}, .loop = 1, .maps = "0000"}, {0}},
    {{.name = "two kernels", .program = TWO, .b = 7, .build = build_two, .grid = {7}, .loop = 1}, {0}},
    {{.name = "accumulators without a loop",
      .program = ACCUMULATED,
      .b = 10,
      .build = build_accumulated,
      .grid = {3},
      .loop = 1},
     {0}},
};

static void golden (void **state) {
  (void) state;
  check_golden_cases (cases, sizeof cases / sizeof *cases, CUDA_GENERATOR_ROWS, "rows.txt");
}

static void generated (void **state) {
  (void) state;
  check_backend_cases (cases, sizeof cases / sizeof *cases, CUDA_GENERATOR_ROWS);
}

/* Warps beyond the rows would have nothing to do: both schedules are one. */
static void idle_warps (void **state) {
  (void) state;
  cuda_plan plan[2];
  for (int i = 0; i < 2; i++) {
    const backend_case c = {{.name = "idle warps",
                             .program = NTR ("b", "4096", "f16"),
                             .b = 8,
                             .build = build_split,
                             .grid = {8},
                             .loop = 1,
                             .maps = "0000"},
                            {.warps = (int16_t) (8 << i), .tile_n = 512}};
    mugraph program, candidate;
    mugraph_error e;
    assert_true (build_backend_case (&c, CUDA_GENERATOR_ROWS, &program, &candidate));
    assert_true (cuda_plan_kernel (&candidate, 0, cuda_device_find ("h100"), &plan[i], &e));
    assert_int_equal (plan[i].threads, 256);
  }
  assert_memory_equal (&plan[0].sched, &plan[1].sched, sizeof plan[0].sched);
}

/* Rows of 128 take eight lanes each, and the schedule that is reported asks for the same again. */
static void short_rows (void **state) {
  (void) state;
  const backend_case c = {{.name = "short rows",
                           .program = NTR ("b", "128", "f16"),
                           .b = 640,
                           .build = build_split,
                           .grid = {10},
                           .loop = 1,
                           .maps = "0000"},
                          {0}};
  mugraph program, candidate;
  mugraph_error e;
  cuda_plan plan, again;
  assert_true (build_backend_case (&c, CUDA_GENERATOR_ROWS, &program, &candidate));
  assert_true (cuda_plan_kernel (&candidate, 0, cuda_device_find ("h100"), &plan, &e));
  assert_int_equal (plan.threads, 256);
  assert_int_equal (plan.iterations, 2); /* 64 rows, 32 at a time */
  candidate.block[0].sched = plan.sched;
  candidate.block[0].sched.backend = CUDA_GENERATOR_ROWS;
  assert_true (cuda_plan_kernel (&candidate, 0, cuda_device_find ("h100"), &again, &e));
  assert_int_equal (again.threads, plan.threads);
  assert_int_equal (again.iterations, plan.iterations);
}

int main (void) {
  golden_filter ();
  const struct CMUnitTest tests[] = {cmocka_unit_test (golden), cmocka_unit_test (generated),
                                     cmocka_unit_test (idle_warps), cmocka_unit_test (short_rows)};
  return cmocka_run_group_tests (tests, NULL, NULL);
}
