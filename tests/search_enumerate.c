/* Structures: pruning loses none of those that exhaustive enumeration finds within small bounds, threads change nothing, and the
   workloads fuse into the kernels that they should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mugraph/program.h"
#include "search/enumerate.h"
#include "search/fuse.h"

/* Bounds that are explored without pruning in well under a second; what each has to find at least. */
static const struct {
  const char *text;
  int block_ops, kernel_ops, at_least;
} small[] = {
    {"input X[4, 8]: f16\noutput exp(X) / sum(exp(X), -1)\n", 4, 1, 1},
    {"input X[4, 6]: f16\ninput W[6, 10]: f16\noutput matmul(rms_norm(X, -1), W)\n", 4, 1, 2},
    {"input X[4, 6]: f16\ninput A[6, 10]: f16\ninput B[6, 10]: f16\noutput matmul(X, A) + matmul(X, B)\n", 4, 1, 4},
    {"input X[4, 6]: f16\ninput Y[4, 6]: f16\noutput silu(X) * Y + X\n", 3, 1, 1},
    {"input X[4, 6]: f16\noutput X / sqrt(sum(square(X), -1))\n", 4, 1, 1},
    {"input X[4, 6]: f16\ninput A[6, 10]: f16\noutput matmul(X, A)\n", 2, 2, 3},
    {"input X[4, 6]: f16\noutput exp(X) + X\n", 2, 2, 3},
    {"input X[4, 6]: f16\ninput A[6, 10]: f16\ninput B[10, 14]: f16\noutput matmul(matmul(X, A), B)\n", 3, 1, 1},
    {"input X[4, 6]: bf16\ninput Y[4, 6]: bf16\noutput A = X * Y\noutput S = sum(X * Y, -1)\n", 3, 1, 1},
};

static void open_text (const char *text, mugraph_program *p) {
  mugraph_error e;
  if (!mugraph_program_parse (text, strlen (text), "test", NULL, p, &e)) fail_msg ("%s", e.text);
}

static enumeration *explore (const mugraph *program, int block_ops, int kernel_ops, bool prune, int threads) {
  static witness w;
  mugraph_error e;
  search_options o;
  search_options_default (&o);
  o.block_ops = block_ops, o.kernel_ops = kernel_ops, o.prune = prune;
  if (!witness_make (program, &w, &e)) fail_msg ("%s", e.text);
  enumeration *x = enumerate (program, &w, &o, threads, NULL, 0, NULL, NULL);
  assert_non_null (x);
  assert_true (enumeration_finished (x));
  return x;
}

static bool has (const enumeration *x, uint64_t hash) {
  for (int i = 0; i < enumeration_size (x); i++)
    if (enumeration_hash (x, i) == hash) return true;
  return false;
}

static void test_pruning_loses_nothing (void **state) {
  (void) state;
  mugraph_program *p = malloc (sizeof *p);
  uint64_t states[2] = {0};
  assert_non_null (p);
  for (size_t i = 0; i < sizeof small / sizeof *small; i++) {
    open_text (small[i].text, p);
    enumeration *all = explore (&p->graph, small[i].block_ops, small[i].kernel_ops, false, 2);
    enumeration *pruned = explore (&p->graph, small[i].block_ops, small[i].kernel_ops, true, 2);
    for (int k = 0; k < enumeration_size (all); k++)
      if (!has (pruned, enumeration_hash (all, k))) fail_msg ("program %zu: structure %d is lost by pruning", i, k);
    for (int k = 0; k < enumeration_size (pruned); k++)
      if (!has (all, enumeration_hash (pruned, k))) fail_msg ("program %zu: structure %d is found only with pruning", i, k);
    if (enumeration_size (all) < small[i].at_least) fail_msg ("program %zu: %d structures", i, enumeration_size (all));
    states[0] += enumeration_stats (all)->states, states[1] += enumeration_stats (pruned)->states;
    assert_int_equal (enumeration_stats (all)->pruned, 0);
    enumeration_free (all), enumeration_free (pruned);
  }
  assert_true (10 * states[1] < states[0]); /* or it is no pruning */
  free (p);
}

static void test_threads_change_nothing (void **state) {
  (void) state;
  mugraph_program *p = malloc (sizeof *p);
  mugraph *a = malloc (sizeof *a), *b = malloc (sizeof *b);
  mugraph_error e;
  assert_true (p && a && b);
  for (int w = 0; w < mugraph_n_workloads; w++) {
    assert_true (mugraph_program_workload (mugraph_workloads[w].name, NULL, p, &e));
    enumeration *one = explore (&p->graph, 8, 2, true, 1), *three = explore (&p->graph, 8, 2, true, 3);
    assert_int_equal (enumeration_size (one), enumeration_size (three));
    assert_int_equal (enumeration_stats (one)->states, enumeration_stats (three)->states);
    for (int k = 0; k < enumeration_size (one); k++) {
      assert_int_equal (enumeration_hash (one, k), enumeration_hash (three, k));
      assert_true (enumeration_graph (one, k, false, a, &e) && enumeration_graph (three, k, false, b, &e));
      assert_true (mugraph_equal (a, b));
    }
    enumeration_free (one), enumeration_free (three);
  }
  free (p), free (a), free (b);
}

/* Default bounds: each workload has a structure that is one graph-defined kernel, and every structure computes the program. */
static void test_workloads_fuse (void **state) {
  (void) state;
  mugraph_program *p = malloc (sizeof *p);
  mugraph *g = malloc (sizeof *g);
  witness *w = malloc (sizeof *w);
  mugraph_error e;
  search_options o;
  assert_true (p && g && w);
  search_options_default (&o);
  for (int i = 0; i < mugraph_n_workloads; i++) {
    uint64_t want[MUGRAPH_OUTPUTS], got[MUGRAPH_OUTPUTS];
    assert_true (mugraph_program_workload (mugraph_workloads[i].name, NULL, p, &e));
    assert_true (witness_make (&p->graph, w, &e));
    enumeration *x = explore (&p->graph, o.block_ops, o.kernel_ops, true, 2);
    bool fused = false;
    assert_true (verify_fingerprint (&w->program, 77, want)); /* not the seed of the search */
    for (int k = 0; k < enumeration_size (x); k++) {
      if (!enumeration_graph (x, k, false, g, &e)) fail_msg ("%s: %s", mugraph_workloads[i].name, e.text);
      fused |= g->n_ops == 1 && g->op[0].kind == MUGRAPH_OP_CUSTOM;
      assert_true (verify_fingerprint (g, 77, got));
      assert_memory_equal (want, got, (size_t) g->n_outputs * sizeof *want);
    }
    if (!fused) fail_msg ("%s: no structure of one kernel", mugraph_workloads[i].name);
    assert_true (enumeration_bytes (x) < 1024.0 * 1024 * 1024);
    enumeration_free (x);
  }
  free (p), free (g), free (w);
}

/* Programs that fuse by rule, and some that do not. */
static void test_fusion_by_rule (void **state) {
  (void) state;
  static const struct {
    const char *text;
    bool fuses;
    int axes; /* that the grid splits */
  } cases[] = {
      {"input X[16, 768]: f16\nD = X - mean(X, -1)\noutput D / sqrt(mean(square(D), -1) + 0.5)\n", true, 1},
      {"input X[6, 10]: f32\noutput A = (2 * X + 3) / 4 - 0.5\noutput B = exp(X)\n", true, 2},
      {"input X[4, 6, 10]: f16\ninput Y[10]: f16\noutput transpose(relu(X * Y))\n", true, 3},
      {"input X[4, 6]: f16\ninput Y[4, 3]: f16\noutput sum(concat(X, Y, 1), 0)\n", true, 0},
      {"input X[4, 6]: f16\ninput W[6, 10]: f16\noutput exp(matmul(X, W))\n", false, 0},
  };
  mugraph_program *p = malloc (sizeof *p);
  mugraph *g = malloc (sizeof *g);
  witness *w = malloc (sizeof *w);
  assert_true (p && g && w);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    mugraph_error e;
    uint64_t want[MUGRAPH_OUTPUTS], got[MUGRAPH_OUTPUTS];
    open_text (cases[i].text, p);
    assert_true (witness_make (&p->graph, w, &e));
    if (fuse_program (&p->graph, w, g, &e) != cases[i].fuses) fail_msg ("program %zu: %s", i, cases[i].fuses ? e.text : "fuses");
    if (!cases[i].fuses) continue;
    assert_int_equal (g->n_ops, 1);
    int axes = 0;
    for (int a = 0; a < 3; a++) axes += g->block[0].grid[a] > 1;
    assert_int_equal (axes, cases[i].axes);
    assert_true (verify_fingerprint (&p->graph, 5, want) && verify_fingerprint (g, 5, got));
    assert_memory_equal (want, got, (size_t) p->graph.n_outputs * sizeof *want);
  }
  free (p), free (g), free (w);
}

int main (void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test (test_pruning_loses_nothing),
      cmocka_unit_test (test_threads_change_nothing),
      cmocka_unit_test (test_workloads_fuse),
      cmocka_unit_test (test_fusion_by_rule),
  };
  return cmocka_run_group_tests (tests, NULL, NULL);
}
