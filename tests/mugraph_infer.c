/* Shape inference, validity and identity of hand-built graphs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <string.h>
#include <cmocka.h>

#include "mugraph/mugraph.h"

static mugraph_shape f16 (int n, int a, int b, int c) {
  int32_t dim[] = {a, b, c};
  return mugraph_shape_of (MUGRAPH_F16, n, dim);
}

/* rms_norm(X) W as one graph-defined kernel: grid over W's columns, loop over the contraction. */
static void build_rmsnorm (mugraph *g, int rows, int k, int n, int grid, int loop) {
  mugraph_init (g);
  int in[] = {mugraph_add_input (g, "X", f16 (2, rows, k, 0)), mugraph_add_input (g, "W", f16 (2, k, n, 0))};
  int op = mugraph_add_custom (g, 2, in, (int32_t[]){grid, 1, 1}, loop);
  mugraph_block *b = &g->block[0];
  int x = mugraph_block_input (b, 0, (int[]){-1, -1, -1}, 1);
  int w = mugraph_block_input (b, 1, (int[]){1, -1, -1}, 0);
  int rms = mugraph_block_op (b, MUGRAPH_OP_ACCUM_RMS, x, -1, -1);
  int mm = mugraph_block_op (b, MUGRAPH_OP_MATMUL, x, w, -1);
  int acc = mugraph_block_op (b, MUGRAPH_OP_ACCUM, mm, -1, -1);
  int div = mugraph_block_op (b, MUGRAPH_OP_DIV, acc, rms, -1);
  mugraph_block_output (b, div, (int[]){1, -1, -1});
  mugraph_error e = {""};
  if (!mugraph_finish_custom (g, op, &e)) fail_msg ("%s", e.text);
  assert_true (mugraph_add_output (g, g->op[op].out[0], "O"));
  if (!mugraph_infer (g, &e)) fail_msg ("%s", e.text);
}

static void refuses (mugraph *g, const char *why) {
  mugraph_error e = {""};
  assert_false (mugraph_infer (g, &e));
  if (!strstr (e.text, why)) fail_msg ("expected '%s' in: %s", why, e.text);
}

static void shapes_of_rmsnorm (void **state) {
  (void) state;
  mugraph g;
  build_rmsnorm (&g, 2, 4096, 6144, 96, 32);
  const mugraph_block *b = &g.block[0];
  assert_int_equal (b->op[0].shape.dim[1], 128);
  assert_int_equal (b->op[1].shape.dim[0], 128);
  assert_int_equal (b->op[1].shape.dim[1], 64);
  assert_false (b->op[3].after_loop);
  assert_true (b->op[2].after_loop && b->op[5].after_loop);
  assert_int_equal (g.tensor[g.output[0]].shape.dim[0], 2);
  assert_int_equal (g.tensor[g.output[0]].shape.dim[1], 6144);
  assert_false (mugraph_block_ragged (b));
}

static void ragged_splits_keep_the_data_extent (void **state) {
  (void) state;
  mugraph g;
  build_rmsnorm (&g, 3, 100, 70, 4, 3); /* chunks of 18 columns, tiles of 34 */
  assert_true (mugraph_block_ragged (&g.block[0]));
  assert_int_equal (g.tensor[g.output[0]].shape.dim[1], 70);
  const mugraph_block *b = &g.block[0];
  int32_t first, valid, total = 0;
  for (int i = 0; i < 4; i++) {
    mugraph_split_range (&b->op[1].split[1], b->op[1].shape.dim[1], b->grid, b->loop, i, 0, &first, &valid);
    assert_int_equal (first, i * 18);
    total += valid;
  }
  assert_int_equal (total, 70);
  total = 0;
  for (int l = 0; l < 3; l++) {
    mugraph_split_range (&b->op[0].split[1], b->op[0].shape.dim[1], b->grid, b->loop, 0, l, &first, &valid);
    total += valid;
  }
  assert_int_equal (total, 100);
}

static void split_range_nests_loop_in_grid (void **state) {
  (void) state;
  mugraph_split s = {.full = 23, .axis = 1, .loop = 1};
  int32_t grid[3] = {1, 3, 1}, seen[23] = {0}; /* chunks of 8, tiles of 3 */
  for (int i = 0; i < 3; i++)
    for (int l = 0; l < 3; l++) {
      int32_t first, valid;
      mugraph_split_range (&s, 3, grid, 3, i, l, &first, &valid);
      for (int t = 0; t < valid; t++) seen[first + t]++;
    }
  for (int i = 0; i < 23; i++) assert_int_equal (seen[i], 1);
}

static void bad_graphs_are_refused (void **state) {
  (void) state;
  mugraph g;
  build_rmsnorm (&g, 2, 64, 64, 2, 2);
  mugraph good = g;
  g.block[0].op[6].map[0] = -1, refuses (&g, "would write the same place");
  g = good, g.block[0].op[6].in[0] = 3, refuses (&g, "saves a value of the loop");
  g = good, g.block[0].op[5].in[0] = 3, refuses (&g, "mixes a value of the loop");
  g = good, g.block[0].op[4].in[0] = 2, refuses (&g, "reads the result of an accumulator");
  g = good, g.block[0].op[3].in[1] = 5, refuses (&g, "does not stand before it");
  g = good, g.block[0].op[1].map[0] = 2, refuses (&g, "imap");
  g = good, g.block[0].op[1].fmap = 1, refuses (&g, "inner sizes differ");
  g = good, g.block[0].op[0].in[0] = 7, refuses (&g, "iterates over input 7");
  g = good, g.block[0].loop = 0, refuses (&g, "forloop range");
  g = good, g.block[0].grid[1] = 0, refuses (&g, "grid dimension y");
  g = good, g.tensor[0].shape.dim[1] = 0, refuses (&g, "dimension 1 is 0");
  g = good, g.output[0] = 9, refuses (&g, "nothing computes tensor 9");
  g = good, g.op[0].in[0] = 2, refuses (&g, "which nothing before it computes");
  g = good, g.op[0].kind = 99, refuses (&g, "unknown kind 99");
  g = good, g.n_outputs = 0, refuses (&g, "no output");
  g = good, g.block[0].sched.split = 99, refuses (&g, "split is 99");
  assert_true (mugraph_infer (&good, NULL));
}

static void broadcasting_is_only_of_size_1 (void **state) {
  (void) state;
  mugraph g;
  mugraph_error e;
  mugraph_init (&g);
  int a = mugraph_add_input (&g, "a", f16 (3, 4, 6, 8)), b = mugraph_add_input (&g, "b", f16 (2, 6, 1, 0));
  int c = mugraph_add_input (&g, "c", f16 (2, 3, 8, 0));
  int t = mugraph_add_op (&g, MUGRAPH_OP_MUL, 2, (int[]){b, a}, -1, &e);
  assert_true (t >= 0);
  assert_true (mugraph_same_shape (&g.tensor[t].shape, &g.tensor[a].shape));
  assert_int_equal (mugraph_add_op (&g, MUGRAPH_OP_ADD, 2, (int[]){a, c}, -1, &e), -1);
  assert_non_null (strstr (e.text, "dimension 1 differs: 6 and 3"));
  assert_int_equal (mugraph_add_op (&g, MUGRAPH_OP_MATMUL, 2, (int[]){a, c}, -1, &e), -1);
  assert_non_null (strstr (e.text, "inner sizes differ: a is 6x8, b is 3x8"));
  assert_int_equal (mugraph_add_op (&g, MUGRAPH_OP_SUM, 1, (int[]){a}, 3, &e), -1);
}

static void hash_ignores_numbering_and_sees_edges (void **state) {
  (void) state;
  mugraph g, h;
  build_rmsnorm (&g, 2, 64, 64, 2, 2);
  h = g;
  /* the same block graph with matmul and rms exchanged */
  mugraph_block *b = &h.block[0];
  mugraph_op rms = b->op[2];
  b->op[2] = b->op[3], b->op[3] = rms;
  b->op[4].in[0] = 2, b->op[5].in[1] = 3;
  assert_true (mugraph_infer (&h, NULL));
  assert_false (mugraph_equal (&g, &h));
  assert_true (mugraph_hash (&g, true) == mugraph_hash (&h, true));
  h.block[0].op[5].in[0] = 3, h.block[0].op[5].in[1] = 4;
  assert_true (mugraph_hash (&g, true) != mugraph_hash (&h, true));
  mugraph big;
  build_rmsnorm (&big, 2, 64, 64, 4, 8);
  assert_true (mugraph_hash (&g, false) == mugraph_hash (&big, false));
  assert_true (mugraph_hash (&g, true) != mugraph_hash (&big, true));
}

static void full_graphs_say_so (void **state) {
  (void) state;
  mugraph g;
  mugraph_error e = {""};
  mugraph_init (&g);
  int t = mugraph_add_input (&g, "a", f16 (2, 4, 6, 0)), last = t, n = 0;
  while ((t = mugraph_add_op (&g, MUGRAPH_OP_RELU, 1, &last, -1, &e)) >= 0) last = t, n++;
  assert_int_equal (n, MUGRAPH_KERNEL_OPS);
  assert_non_null (strstr (e.text, "more than"));
}

int main (void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test (shapes_of_rmsnorm),
      cmocka_unit_test (ragged_splits_keep_the_data_extent),
      cmocka_unit_test (split_range_nests_loop_in_grid),
      cmocka_unit_test (bad_graphs_are_refused),
      cmocka_unit_test (broadcasting_is_only_of_size_1),
      cmocka_unit_test (hash_ignores_numbering_and_sees_edges),
      cmocka_unit_test (full_graphs_say_so),
  };
  return cmocka_run_group_tests_name ("mugraph_infer", tests, NULL, NULL);
}
