/* Structures: pruning loses none of those that exhaustive enumeration finds within small bounds, threads change
   nothing, and the workloads fuse into the kernels that they should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "mugraph/program/program.h"
#include "search/structures/enumerate.h"
#include "search/structures/fuse.h"

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

static bool everywhere; /* transposes, for the next exploration */

static enumeration *explore (const mugraph *program, int block_ops, int kernel_ops, bool prune, int threads) {
  static witness w;
  mugraph_error e;
  search_options o;
  search_options_default (&o);
  o.block_ops = block_ops, o.kernel_ops = kernel_ops, o.prune = prune, o.all_transposes = everywhere;
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
      if (!has (all, enumeration_hash (pruned, k)))
        fail_msg ("program %zu: structure %d is found only with pruning", i, k);
    if (enumeration_size (all) < small[i].at_least) fail_msg ("program %zu: %d structures", i, enumeration_size (all));
    states[0] += enumeration_stats (all)->states, states[1] += enumeration_stats (pruned)->states;
    assert_int_equal (enumeration_stats (all)->pruned, 0);
    enumeration_free (all), enumeration_free (pruned);
  }
  assert_true (10 * states[1] < states[0]); /* or it is no pruning */
  free (p);
}

/* ---- transposes: of the graphs that differ by where they stand, one is kept ---- */

static const struct {
  const char *text;
  bool prune;          /* without the rule too */
  int block_ops, more; /* without the rule; what the one form may take on top */
} turned[] = {
    {"input X[4, 6]: f16\ninput W[10, 6]: f16\noutput matmul(X, transpose(W))\n", false, 4, 1},
    {"input X[4, 6]: f16\ninput W[6, 10]: f16\noutput transpose(matmul(X, W))\n", false, 4, 1},
    {"input X[4, 6]: f16\ninput W[10, 6]: f16\noutput transpose(matmul(X, transpose(W)))\n", false, 4, 1},
    {"input X[6, 4]: f16\ninput W[10, 6]: f16\noutput exp(matmul(transpose(X), transpose(W)))\n", false, 4, 1},
    {"input Q[4, 6]: f16\ninput K[10, 6]: f16\ninput V[10, 14]: f16\noutput matmul(exp(matmul(Q, transpose(K))), V)\n",
     true, 12, 2},
    {"input Q[4, 6]: f16\ninput K[6, 10]: f16\ninput V[14, 10]: f16\noutput matmul(exp(matmul(Q, K)), transpose(V))\n",
     true, 12, 2},
    {"input X[4, 6]: f16\noutput transpose(exp(X) / sum(exp(X), -1))\n", false, 4, 2},
    {"input X[4, 6]: f16\ninput Y[6, 4]: f16\noutput transpose(X) * Y + silu(Y)\n", true, 8, 0},
    {"input X[4, 6]: f16\ninput W[10, 6]: f16\noutput matmul(rms_norm(X, -1), transpose(W))\n", true, 12, 1},
    {"input Q[4, 6]: f16\ninput K[10, 6]: f16\ninput V[10, 14]: f16\noutput matmul(softmax(matmul(Q, transpose(K)) * "
     "0.125, -1), V)\n",
     true, 12, 2},
    {"input Q[4, 6]: f16\ninput K[10, 6]: f16\ninput V[14, 10]: f16\noutput transpose(matmul(exp(matmul(Q, "
     "transpose(K))), transpose(V)))\n",
     true, 8, 2},
};

/* Tile i, or its transpose, with transposes on iterators alone: the same for all graphs that differ by where transposes
 * stand. */
static int turn (const mugraph_block *b, mugraph_block *to, int (*done)[2], int i, bool flip) {
  const mugraph_op *o = &b->op[i];
  int n = o->shape.n_dims, dim = o->dim, a, c = -1, r;
  bool accum_sum = o->kind == MUGRAPH_OP_ACCUM_SUM;
  if (flip && (n < 2 || (o->shape.dim[n - 1] == 1 && o->shape.dim[n - 2] == 1))) flip = false;
  if (done[i][flip] >= 0) return done[i][flip];
  switch (mugraph_op_table[o->kind].klass) {
  case MUGRAPH_LEAF:
    if (flip) r = mugraph_block_op (to, MUGRAPH_OP_TRANSPOSE, turn (b, to, done, i, false), -1, -1);
    else if (o->kind == MUGRAPH_OP_CONST) r = mugraph_block_const (to, o->c[0]);
    else r = mugraph_block_input (to, o->in[0], (int[]){o->map[0], o->map[1], o->map[2]}, o->fmap);
    return done[i][flip] = r;
  case MUGRAPH_MATMUL:
    a = turn (b, to, done, o->in[flip], flip), c = turn (b, to, done, o->in[!flip], flip);
    return done[i][flip] = mugraph_block_op (to, MUGRAPH_OP_MATMUL, a, c, -1);
  case MUGRAPH_REDUCE:
    if (flip && dim >= n - 2) dim = 2 * n - 3 - dim;
    break;
  default: break;
  }
  if (o->kind == MUGRAPH_OP_TRANSPOSE) return done[i][flip] = turn (b, to, done, o->in[0], !flip);
  a = turn (b, to, done, o->in[0], flip);
  if (o->n_in > 1) c = turn (b, to, done, o->in[1], flip);
  if (accum_sum) { /* its counterpart sums along rows: one form for both */
    a = mugraph_block_op (to, MUGRAPH_OP_SUM, a, -1, flip ? n - 2 : n - 1);
    return done[i][flip] = mugraph_block_op (to, MUGRAPH_OP_ACCUM, a, -1, -1);
  }
  if (flip && mugraph_op_table[o->kind].klass == MUGRAPH_ACCUM && o->kind != MUGRAPH_OP_ACCUM) { /* none */
    a = turn (b, to, done, i, false);
    return done[i][flip] = mugraph_block_op (to, MUGRAPH_OP_TRANSPOSE, a, -1, -1);
  }
  r = mugraph_block_op (to, (mugraph_op_kind) o->kind, a, c, dim);
  memcpy (to->op[r].c, o->c, sizeof o->c);
  to->op[r].width = o->width;
  return done[i][flip] = r;
}

/* Of a graph of one graph-defined kernel; 0: of another, or of one that multiplies the same matrices twice, turned and
 * not. */
static uint64_t turned_hash (const mugraph *g, int matmuls) {
  static mugraph h;
  mugraph_error e;
  int done[MUGRAPH_BLOCK_OPS][2], in[MUGRAPH_FANIN];
  if (g->n_ops != 1 || g->op[0].kind != MUGRAPH_OP_CUSTOM) return 0;
  const mugraph_block *b = &g->block[g->op[0].block];
  memset (done, -1, sizeof done);
  mugraph_init (&h);
  for (int t = 0; t < g->n_inputs; t++) mugraph_add_input (&h, g->tensor[t].name, g->tensor[t].shape);
  for (int k = 0; k < g->op[0].n_in; k++) in[k] = g->op[0].in[k];
  mugraph_block *to = &h.block[h.op[mugraph_add_custom (&h, g->op[0].n_in, in, b->grid, b->loop)].block];
  for (int i = 0; i < b->n_ops; i++)
    if (b->op[i].kind == MUGRAPH_OP_OUTPUT)
      mugraph_block_output (to, turn (b, to, done, b->op[i].in[0], false),
                            (int[]){b->op[i].map[0], b->op[i].map[1], b->op[i].map[2]});
  for (int i = 0; i < to->n_ops; i++) matmuls -= to->op[i].kind == MUGRAPH_OP_MATMUL;
  if (matmuls < 0) return 0;
  if (!mugraph_finish_custom (&h, 0, &e)) fail_msg ("%s", e.text);
  for (int k = 0; k < g->n_outputs; k++) mugraph_add_output (&h, h.op[0].out[k], "O");
  if (!mugraph_infer (&h, &e)) fail_msg ("%s", e.text);
  return mugraph_hash (&h, false);
}

static void test_transposes_have_one_place (void **state) {
  (void) state;
  mugraph_program *p = malloc (sizeof *p);
  mugraph *g = malloc (sizeof *g);
  mugraph_error e;
  assert_true (p && g);
  for (size_t i = 0; i < sizeof turned / sizeof *turned; i++) {
    open_text (turned[i].text, p);
    everywhere = true;
    enumeration *all = explore (&p->graph, turned[i].block_ops, 1, turned[i].prune, 2);
    everywhere = false;
    enumeration *one = explore (&p->graph, turned[i].block_ops + turned[i].more, 1, true, 2);
    int n = enumeration_size (one), compared = 0, matmuls = 0;
    for (int k = 0; k < p->graph.n_ops; k++) matmuls += p->graph.op[k].kind == MUGRAPH_OP_MATMUL;
    uint64_t *kept = calloc ((size_t) n + 1, sizeof *kept);
    assert_non_null (kept);
    for (int k = 0; k < n; k++) {
      assert_true (enumeration_graph (one, k, false, g, &e));
      kept[k] = turned_hash (g, matmuls);
      for (int j = 0; j < k; j++)
        if (kept[k] && kept[j] == kept[k])
          fail_msg ("program %zu: structures %d and %d differ by transposes alone", i, j, k);
    }
    for (int k = 0; k < enumeration_size (all); k++) {
      assert_true (enumeration_graph (all, k, false, g, &e));
      uint64_t h = turned_hash (g, matmuls);
      bool found = !h;
      compared += h != 0;
      for (int j = 0; j < n && !found; j++) found = kept[j] == h;
      if (!found) fail_msg ("program %zu: structure %d is lost", i, k);
    }
    if (compared <= n)
      fail_msg ("program %zu: %d forms of %d structures", i, n, compared); /* or nothing was left out */
    free (kept), enumeration_free (all), enumeration_free (one);
  }
  free (p), free (g);
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

/* Default bounds: each workload has a structure that is one graph-defined kernel, and every structure computes the
 * program. */
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
    if (fuse_program (&p->graph, w, g, &e) != cases[i].fuses)
      fail_msg ("program %zu: %s", i, cases[i].fuses ? e.text : "fuses");
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
      cmocka_unit_test (test_pruning_loses_nothing),  cmocka_unit_test (test_transposes_have_one_place),
      cmocka_unit_test (test_threads_change_nothing), cmocka_unit_test (test_workloads_fuse),
      cmocka_unit_test (test_fusion_by_rule),
  };
  return cmocka_run_group_tests (tests, NULL, NULL);
}
