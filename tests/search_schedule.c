/* Schedules: every one runs and computes what the structure computes, the cheapest first, none cheaper left out. */
#include "cuda_templates/cost.h"
#include "mugraph/program/program.h"
#include "search/schedules/schedule.h"
#include "search/schedules/values.h"
#include "search_structures.h"
#include "verify/verify.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 16 };
static mugraph g;
static mugraph_error error;
static search_candidate found[MOST];
static const cuda_device *h100;

static int set_up (void **state) {
  (void) state;
  h100 = cuda_device_find ("h100");
  assert_non_null (h100);
  return 0;
}

static void ok (bool built) {
  if (!built) fail_msg ("%s", error.text);
}

static bool same_launch (const mugraph *a, const mugraph *b) {
  for (int i = 0; i < a->n_blocks; i++)
    if (memcmp (a->block[i].grid, b->block[i].grid, sizeof a->block[i].grid) || a->block[i].loop != b->block[i].loop ||
        memcmp (&a->block[i].sched, &b->block[i].sched, sizeof a->block[i].sched))
      return false;
  return true;
}

static int schedules (const cuda_device *d, int most) {
  uint64_t structure = mugraph_hash (&g, false), costed = 0;
  int n = schedule_structure (&g, d, 0, most, found, &costed);
  assert_true (n > 0 && n <= most && costed > 0 && costed <= 3000);
  for (int i = 0; i < n; i++) {
    mugraph again = found[i].graph;
    ok (mugraph_infer (&again, &error));
    assert_true (mugraph_equal (&again, &found[i].graph));
    assert_int_equal (found[i].structure, structure);
    assert_int_equal (found[i].rank, i);
    assert_true (isfinite (found[i].cost_us) && found[i].cost_us == cost_graph (&again, d));
    assert_true (!i || found[i].cost_us >= found[i - 1].cost_us);
    for (int k = 0; k < g.n_outputs; k++)
      assert_true (mugraph_same_shape (&again.tensor[again.output[k]].shape, &g.tensor[g.output[k]].shape));
    for (int j = 0; j < i; j++) assert_false (same_launch (&found[i].graph, &found[j].graph));
  }
  return n;
}

static void test_extents (void **state) {
  (void) state;
  static const int32_t sizes[] = {1, 2, 3, 16, 31, 47, 100, 256, 4096, 4099, 6144, 1 << 20};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    int32_t extent[VALUES_EXTENTS], size = sizes[s];
    int n = values_extents (size, 1, h100, extent);
    assert_true (n > 0 && n <= VALUES_EXTENTS && extent[0] == 1);
    for (int i = 0; i < n; i++) {
      assert_true (extent[i] >= 1 && extent[i] <= size && (!i || extent[i] > extent[i - 1]));
      int32_t tile = (size + extent[i] - 1) / extent[i];
      assert_true ((int64_t) tile * (extent[i] - 1) < size); /* no block without work */
    }
  }
  int32_t extent[VALUES_EXTENTS];
  bool waves = false;
  for (int i = 0, n = values_extents (6144, 1, h100, extent); i < n; i++) waves |= extent[i] == 128; /* 48 columns */
  assert_true (waves);
  waves = false;
  for (int i = 0, n = values_extents (10000, 1, h100, extent); i < n; i++) waves |= extent[i] == 125; /* 80 columns */
  assert_true (waves);
}

/* At shapes small enough to evaluate: a schedule never changes what is computed. */
static void test_schedules_compute_the_same (void **state) {
  (void) state;
  for (int which = 0; which < 10; which++) {
    switch (which) {
    case 0: ok (build_rms_norm (&g, 2, 64, 96, 4, 4, &error)); break;
    case 1: ok (build_rms_norm (&g, 3, 50, 47, 1, 1, &error)); break;
    case 2: ok (build_gated (&g, 5, 48, 33, 3, 3, &error)); break;
    case 3: ok (build_low_rank (&g, 1, 40, 16, 100, 2, 2, &error)); break;
    case 4: ok (build_residual (&g, 7, 100, 7, &error)); break;
    case 5: ok (build_attention (&g, 2, 16, 8, 64, 2, 2, 2, &error)); break;
    case 6: ok (build_attention (&g, 3, 10, 8, 45, 1, 3, 1, &error)); break;
    case 7: ok (build_gated (&g, 64, 32, 32, 1, 2, &error)); break;
    case 8: ok (build_low_rank (&g, 16, 256, 16, 64, 2, 2, &error)); break;
    default: ok (build_residual (&g, 1, 1024, 1, &error));
    }
    uint64_t want[MUGRAPH_OUTPUTS], got[MUGRAPH_OUTPUTS];
    assert_true (verify_fingerprint (&g, 7, want));
    for (int i = 0, n = schedules (h100, MOST); i < n; i++) {
      assert_true (verify_fingerprint (&found[i].graph, 7, got));
      assert_int_equal (want[0], got[0]);
    }
  }
}

/* The extents of the parts are free: nothing but the model's reasons decides, and partial results grow with them. */
static void test_partial_results_grow (void **state) {
  (void) state;
  ok (build_attention (&g, 2, 256, 64, 4096, 1, 1, 1, &error));
  schedules (cuda_device_find ("a100"), 8); /* has no clusters that could share the loop */
  const mugraph *best = &found[0].graph;
  int32_t parts = best->block[0].grid[2];
  assert_true (parts > 4 && best->block[0].grid[0] * best->block[0].grid[1] * parts >= 64);
  const mugraph_shape *o = &best->tensor[best->op[0].out[0]].shape;
  assert_int_equal (o->dim[2], 64 * parts);
  assert_int_equal (best->tensor[best->op[0].out[1]].shape.dim[2], parts);
}

/* Against all combinations of tiles of one axis and the loop, launch parameters at their defaults. */
static void test_none_cheaper_is_missed (void **state) {
  (void) state;
  static const struct {
    int rows, inner, columns;
  } shapes[] = {{2, 4096, 6144},  {16, 4096, 6144}, {1, 1000, 3000},
                {31, 4096, 4096}, {64, 512, 512},   {128, 2048, 2048}};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    ok (build_rms_norm (&g, shapes[s].rows, shapes[s].inner, shapes[s].columns, 1, 1, &error));
    schedules (h100, 1);
    double best = found[0].cost_us, least = INFINITY;
    for (int x = 1; x <= shapes[s].columns; x = x < 16 ? x + 1 : x + x / 8)
      for (int loop = 1; loop <= shapes[s].inner; loop *= 2) {
        g.block[0].grid[0] = x, g.block[0].loop = loop;
        if (!mugraph_infer (&g, &error)) continue;
        double cost = cost_graph (&g, h100);
        if (cost < least) least = cost;
      }
    print_message ("rows %d inner %d columns %d: %.2f us, by all tiles %.2f\n", shapes[s].rows, shapes[s].inner,
                   shapes[s].columns, best, least);
    assert_true (best <= 1.03 * least);
    /* nor by one launch parameter alone */
    g = found[0].graph;
    const mugraph_sched sched = g.block[0].sched;
    assert_true (sched.backend && sched.warps && sched.stages); /* named, whatever defaults will be */
    for (int w = 1; w <= 32; w *= 2)
      for (int s2 = 1; s2 <= 8; s2 *= 2) {
        g.block[0].sched = sched, g.block[0].sched.warps = (int16_t) w;
        assert_true (cost_graph (&g, h100) >= best - 1e-9);
        g.block[0].sched = sched, g.block[0].sched.stages = (int16_t) s2;
        assert_true (cost_graph (&g, h100) >= best - 1e-9);
      }
  }
}

/* What is known to be good comes first: enough blocks to fill the device, none of them nearly empty. */
static void test_good_schedules_first (void **state) {
  (void) state;
  ok (build_rms_norm (&g, 2, 4096, 6144, 1, 1, &error));
  schedules (h100, 8);
  assert_true (found[0].cost_us > 16 && found[0].cost_us < 20);
  ok (build_gated (&g, 8, 4096, 4096, 1, 1, &error));
  schedules (h100, 8);
  assert_true (found[0].cost_us > 22 && found[0].cost_us < 27);
  for (int i = 0; i < 3; i++) {
    const mugraph_block *b = &found[i].graph.block[0];
    assert_true (b->grid[0] * b->sched.split >= 64);
  }
  ok (build_low_rank (&g, 8, 256, 16, 4096, 1, 1, &error));
  schedules (h100, 8);
  assert_true (found[0].cost_us > 1 && found[0].cost_us < 3.5);
  ok (build_residual (&g, 16, 4096, 1, &error));
  schedules (h100, 8);
  assert_true (found[0].graph.block[0].grid[0] >=
               8); /* a block for each row, or two side by side, and none after another */
}

/* What is best when calls follow each other closely need not be best alone: some of both are returned. */
static void test_plain_launches_too (void **state) {
  (void) state;
  ok (build_attention (&g, 16, 256, 64, 4096, 4, 1, 64, &error));
  int n = schedules (h100, 16), plain = 0;
  double least = INFINITY, least_plain = INFINITY;
  for (int i = 0; i < n; i++) {
    double us, pdl;
    cost_times (&found[i].graph, h100, &us, &pdl);
    plain += found[i].plain;
    if (us < least) least = us;
    if (found[i].plain && us < least_plain) least_plain = us;
  }
  assert_true (plain >= 1 && plain <= 8);
  assert_true (least_plain <= 1.001 * least);
  n = schedules (cuda_device_find ("a100"), 16); /* knows one way only */
  for (int i = 0; i < n; i++) assert_false (found[i].plain);
}

/* Weights of few rows go into registers or through shared memory: both are worth a place, where the device knows both.
 */
static void test_ways_of_copying (void **state) {
  (void) state;
  ok (build_gated (&g, 8, 4096, 4096, 64, 64, &error));
  int ways[3] = {0};
  for (int i = schedules (h100, MOST); i--;) ways[found[i].graph.block[0].sched.copy]++;
  assert_true (ways[1] > 0 && ways[2] > 0);
  memset (ways, 0, sizeof ways);
  for (int i = schedules (cuda_device_find ("a100"), MOST); i--;) ways[found[i].graph.block[0].sched.copy]++;
  assert_true (ways[1] > 0 && ways[2] == 0);
}

/* How a weight is stored is no reason for another kernel: the same structure, as fast, for few rows and for many. */
static void test_transposed_weights (void **state) {
  (void) state;
  static const char *const text[2] = {
      "input X[b,2048]: f16\ninput W[2048,3072]: f16\noutput matmul(rms_norm(X, -1), W)\n",
      "input X[b,2048]: f16\ninput W[3072,2048]: f16\noutput matmul(rms_norm(X, -1), transpose(W))\n"};
  mugraph_program *p = calloc (1, sizeof *p);
  assert_non_null (p);
  for (int rows = 8; rows <= 512; rows *= 64) {
    double us[2];
    for (int turned = 0; turned < 2; turned++) {
      mugraph_program_options options = {.batch = rows};
      search_options o;
      search_result r;
      ok (mugraph_program_parse (text[turned], strlen (text[turned]), "weights", &options, p, &error));
      search_options_default (&o);
      ok (search_run (&p->graph, &o, h100, NULL, NULL, NULL, &r, &error));
      assert_true (r.n > 0 && r.candidate[0].graph.n_ops == 1);
      assert_int_equal (r.candidate[0].graph.block[0].sched.backend,
                        rows == 8 ? CUDA_GENERATOR_STREAM : CUDA_GENERATOR_TILED);
      us[turned] = r.candidate[0].cost_us;
      search_result_free (&r);
    }
    if (us[1] > 1.05 * us[0])
      fail_msg ("%d rows: %g us, %g us where the weights are stored as [n, k]", rows, us[0], us[1]);
  }
  free (p);
}

static bool same_but_depth (const mugraph *a, const mugraph *b) {
  for (int i = 0; i < a->n_blocks; i++) {
    mugraph_sched x = a->block[i].sched, y = b->block[i].sched;
    x.stages = y.stages = 0;
    if (memcmp (a->block[i].grid, b->block[i].grid, sizeof a->block[i].grid) || memcmp (&x, &y, sizeof x)) return false;
  }
  return true;
}

/* Places are for schedules that differ: two depths of a pipeline at most, for the score and for plain launches. */
static void test_few_of_a_family (void **state) {
  (void) state;
  ok (build_rms_norm (&g, 2, 4096, 6144, 1, 1, &error));
  int n = schedules (h100, MOST), plain[MOST] = {0}, score[MOST] = {0};
  assert_true (n > MOST / 2);
  for (int i = 0; i < n; i++)
    for (int k = 0; k < n; k++)
      if (same_but_depth (&found[i].graph, &found[k].graph)) (found[k].plain ? plain : score)[i]++;
  for (int i = 0; i < n; i++) assert_true (plain[i] <= 4 && score[i] <= 2);
}

/* What the search returns: none that is hopeless, of structures that the model cannot tell apart two at most. */
static void test_what_a_search_keeps (void **state) {
  (void) state;
  mugraph_program *p = calloc (1, sizeof *p);
  mugraph_program_options none = {.batch = 1};
  search_options o;
  search_result r;
  assert_non_null (p);
  ok (mugraph_program_workload ("ntrans", &none, p, &error));
  search_options_default (&o);
  o.top = 64;
  o.budget = 600; /* sanitizers are slow, and a search that time ends keeps fewer */
  ok (search_run (&p->graph, &o, h100, NULL, NULL, NULL, &r, &error));
  assert_true (r.n > 12 && r.n <= 64);
  for (int i = 0; i < r.n; i++) {
    int twins = 0;
    assert_true (r.candidate[i].cost_us <= 3 * r.candidate[0].cost_us && r.candidate[i].rank == i);
    for (int k = 0; k < r.n; k++) {
      const mugraph *a = &r.candidate[i].graph, *b = &r.candidate[k].graph;
      bool near = fabs (r.candidate[k].cost_us / r.candidate[i].cost_us - 1) < 1e-4;
      twins += near && a->n_blocks == b->n_blocks && r.candidate[k].structure != r.candidate[i].structure &&
               same_launch (a, b);
    }
    assert_true (twins < 2);
  }
  search_result_free (&r);
  free (p);
}

static void test_saved_schedules_are_tried (void **state) {
  (void) state;
  ok (build_attention (&g, 16, 256, 64, 4096, 2, 4, 16, &error));
  double given = cost_graph (&g, h100);
  schedules (h100, 4);
  assert_true (found[0].cost_us <= given);
  assert_int_equal (schedule_structure (&g, h100, 2, 1, found, NULL), 1); /* no time for any other */
  assert_true (found[0].cost_us == given);
  schedules (h100, 4);
  g = found[0].graph;
  double before = found[0].cost_us;
  schedules (h100, 4);
  assert_true (found[0].cost_us <= before * 1.001);
}

/* Axes that savers do not place, and dimensions of one element. */
static void test_fixed_axes (void **state) {
  (void) state;
  mugraph_init (&g);
  int in[1] = {input2 (&g, "X", 1, 512)};
  int op = mugraph_add_custom (&g, 1, in, (int32_t[]){1, 1, 1}, 4);
  mugraph_block *b = &g.block[g.op[op].block];
  int x = mugraph_block_input (b, 0, (int[]){0, 1, -1}, 1);
  mugraph_block_output (b, mugraph_block_op (b, MUGRAPH_OP_ACCUM_SUM, x, -1, -1), (int[]){0, -1, -1});
  ok (mugraph_finish_custom (&g, op, &error));
  assert_true (mugraph_add_output (&g, g.op[op].out[0], "O"));
  for (int i = 0, n = schedules (h100, 8); i < n; i++) {
    assert_int_equal (found[i].graph.block[0].grid[0], 1);
    assert_int_equal (found[i].graph.block[0].grid[1], 1); /* the blocks would overwrite each other */
  }
}

static void test_every_device (void **state) {
  (void) state;
  for (int d = 0; d < cuda_n_devices; d++) {
    ok (build_rms_norm (&g, 16, 4096, 6144, 16, 64, &error));
    schedules (&cuda_devices[d], 4);
    if (cuda_devices[d].arch < 90) assert_int_equal (found[0].graph.block[0].sched.split, 1);
  }
}

static void test_budget (void **state) {
  (void) state;
  ok (build_attention (&g, 16, 256, 64, 4096, 2, 4, 16, &error));
  uint64_t costed = 0;
  int n = schedule_structure (&g, h100, 100, 4, found, &costed);
  assert_true (n > 0 && costed <= 100);
  assert_int_equal (schedule_structure (&g, h100, 0, 0, found, &costed), 0);
}

/* What makes the same kernels is the same; every launch parameter that counts tells apart. */
static void test_identity (void **state) {
  (void) state;
  ok (build_rms_norm (&g, 2, 4096, 6144, 96, 64, &error));
  g.block[0].sched.backend = CUDA_GENERATOR_STREAM;
  uint64_t one = schedule_identity (&g, h100, true), structure = schedule_identity (&g, h100, false);
  ok (build_rms_norm (&g, 2, 4096, 6144, 96, 32, &error)); /* the stream generator cuts the loop by itself */
  g.block[0].sched.backend = CUDA_GENERATOR_STREAM;
  assert_true (schedule_identity (&g, h100, true) == one);
  cuda_plan p;
  ok (cuda_plan_kernel (&g, 0, h100, &p, &error));
  g.block[0].sched.warps = p.sched.warps; /* the planner's own choice */
  assert_true (schedule_identity (&g, h100, true) == one);
  g.block[0].sched.warps = p.sched.warps == 8 ? 16 : 8;
  ok (cuda_plan_kernel (&g, 0, h100, &p, &error));
  assert_true (schedule_identity (&g, h100, true) != one && schedule_identity (&g, h100, false) == structure);
  ok (build_rms_norm (&g, 2, 4096, 6144, 64, 64, &error));
  g.block[0].sched.backend = CUDA_GENERATOR_STREAM;
  assert_true (schedule_identity (&g, h100, true) != one && schedule_identity (&g, h100, false) == structure);
  /* the generic generator does as the loop says */
  ok (build_rms_norm (&g, 2, 4096, 6144, 96, 64, &error));
  g.block[0].sched.backend = CUDA_GENERATOR_GENERIC;
  one = schedule_identity (&g, h100, true);
  ok (build_rms_norm (&g, 2, 4096, 6144, 96, 32, &error));
  g.block[0].sched.backend = CUDA_GENERATOR_GENERIC;
  assert_true (schedule_identity (&g, h100, true) != one);
}

int main (void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test (test_extents),
      cmocka_unit_test (test_schedules_compute_the_same),
      cmocka_unit_test (test_partial_results_grow),
      cmocka_unit_test (test_none_cheaper_is_missed),
      cmocka_unit_test (test_good_schedules_first),
      cmocka_unit_test (test_saved_schedules_are_tried),
      cmocka_unit_test (test_fixed_axes),
      cmocka_unit_test (test_every_device),
      cmocka_unit_test (test_budget),
      cmocka_unit_test (test_identity),
      cmocka_unit_test (test_plain_launches_too),
      cmocka_unit_test (test_ways_of_copying),
      cmocka_unit_test (test_transposed_weights),
      cmocka_unit_test (test_few_of_a_family),
      cmocka_unit_test (test_what_a_search_keeps),
  };
  return cmocka_run_group_tests (tests, set_up, NULL);
}
