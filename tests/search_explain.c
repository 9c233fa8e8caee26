/* Explanations of µGraphs: each outcome on the smallest program that has it. */
#include "mugraph/program/program.h"
#include "search/explain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static explanation x;
static mugraph_program program;
static search_options options;

static void open_text (const char *text) {
  mugraph_error e = {0};
  char path[] = "/tmp/search_explain_XXXXXX";
  int file = mkstemp (path);
  assert_true (file >= 0);
  FILE *f = fdopen (file, "w");
  fputs (text, f);
  fclose (f);
  bool ok = mugraph_program_open (path, &(mugraph_program_options){.batch = 1}, &program, &e);
  remove (path);
  if (!ok) fail_msg ("%s", e.text);
  search_options_default (&options);
  options.threads = 2;
}

static void open_program (void) {
  open_text ("input X[64, 256]: f16\ninput Y[64, 256]: f16\ninput Z[64, 256]: f16\noutput O = X * Y + Z\n");
}

/* One graph-defined kernel that reads X, Y, Z; rows over x. */
static mugraph_block *start (mugraph *g, int tile[3]) {
  int in[3];
  mugraph_init (g);
  for (int t = 0; t < 3; t++)
    in[t] = mugraph_add_input (g, program.graph.tensor[t].name, program.graph.tensor[t].shape);
  int kernel = mugraph_add_custom (g, 3, in, (int32_t[]){64, 1, 1}, 1);
  mugraph_block *b = &g->block[g->op[kernel].block];
  for (int t = 0; t < 3; t++) tile[t] = mugraph_block_input (b, t, (int[]){0, -1, -1}, -1);
  return b;
}

static void finish (mugraph *g, mugraph_block *b, int tile) {
  mugraph_error e;
  mugraph_block_output (b, tile, (int[]){0, -1, -1});
  if (!mugraph_finish_custom (g, 0, &e) || !mugraph_add_output (g, g->op[0].out[0], "O") || !mugraph_infer (g, &e))
    fail_msg ("%s", e.text);
}

static int op (mugraph_block *b, int kind, int a, int c) {
  return mugraph_block_op (b, (mugraph_op_kind) kind, a, c, -1);
}

static void explain (const mugraph *g) {
  mugraph_error e;
  if (!explain_run (&program.graph, g, &options, cuda_device_find ("h100"), NULL, &x, &e)) fail_msg ("%s", e.text);
}

static void test_found (void **state) {
  (void) state;
  static mugraph g;
  int t[3];
  open_program ();
  mugraph_block *b = start (&g, t);
  finish (&g, b, op (b, MUGRAPH_OP_ADD, op (b, MUGRAPH_OP_MUL, t[0], t[1]), t[2]));
  explain (&g);
  assert_int_equal (x.outcome, EXPLAIN_FOUND);
  assert_true (x.rule && x.best_us > 0 && x.best_us < 100 && x.cost_us >= x.best_us);
}

/* Two kernels where the enumeration has them, behind the one by rule. */
static void test_rank (void **state) {
  (void) state;
  static mugraph g;
  mugraph_error e;
  int in[3];
  open_program ();
  mugraph_init (&g);
  for (int t = 0; t < 3; t++)
    in[t] = mugraph_add_input (&g, program.graph.tensor[t].name, program.graph.tensor[t].shape);
  int product = mugraph_add_op (&g, MUGRAPH_OP_MUL, 2, in, -1, &e);
  int sum = mugraph_add_op (&g, MUGRAPH_OP_ADD, 2, (int[]){product, in[2]}, -1, &e);
  mugraph_add_output (&g, sum, "O");
  assert_true (mugraph_infer (&g, &e));
  explain (&g);
  assert_int_equal (x.outcome, EXPLAIN_FOUND);
  assert_true (!x.rule && x.searched && x.place_by_model > 0 && x.n_ahead > 0);
  assert_true (x.ahead[0].place == 0 && x.ahead[0].cost_us <= x.rough_us && x.stands_for == x.structure);
  assert_int_equal (x.ahead[0].graph.n_ops, 1);
}

static void test_bounds (void **state) {
  (void) state;
  static mugraph g;
  int t[3];
  open_program ();
  mugraph_block *b = start (&g, t);
  finish (&g, b, op (b, MUGRAPH_OP_ADD, op (b, MUGRAPH_OP_MUL, t[0], t[1]), t[2]));
  options.block_ops = 1;
  explain (&g);
  assert_int_equal (x.outcome, EXPLAIN_BOUND);
  assert_string_equal (x.option, "block_ops");
  assert_true (x.needs == 2 && x.has == 1);
  options.block_ops = 12, options.graphs = 0;
  explain (&g);
  assert_string_equal (x.option, "graphs");
}

static void test_pruned (void **state) {
  (void) state;
  static mugraph g;
  int t[3];
  open_program ();
  mugraph_block *b = start (&g, t);
  finish (&g, b, op (b, MUGRAPH_OP_MUL, op (b, MUGRAPH_OP_ADD, t[0], t[2]), t[1]));
  explain (&g);
  assert_int_equal (x.outcome, EXPLAIN_PRUNED);
  assert_true (x.kernel == 0 && x.op == 3);
  assert_string_equal (x.expression, "x0 + x2");
  assert_string_equal (x.target, "x2 + x0*x1");
  assert_string_equal (x.place, "operator 3 (add) of kernel 0");
}

static void test_alphabet (void **state) {
  (void) state;
  static mugraph g;
  int t[3];
  open_program ();
  mugraph_block *b = start (&g, t);
  finish (&g, b, op (b, MUGRAPH_OP_EXP, op (b, MUGRAPH_OP_MUL, t[0], t[1]), -1));
  explain (&g);
  assert_int_equal (x.outcome, EXPLAIN_ALPHABET);
  assert_true (x.kernel == 0 && x.op == 4);
}

/* A product that is computed twice: no block graph computes the same tile twice. */
static void test_left_out (void **state) {
  (void) state;
  static mugraph g;
  int t[3];
  open_program ();
  mugraph_block *b = start (&g, t);
  int sum = op (b, MUGRAPH_OP_ADD, op (b, MUGRAPH_OP_MUL, t[0], t[1]), t[2]);
  mugraph_block_output (b, op (b, MUGRAPH_OP_MUL, t[0], t[1]), (int[]){0, -1, -1});
  finish (&g, b, sum);
  explain (&g);
  assert_int_equal (x.outcome, EXPLAIN_LEFT_OUT);
  assert_true (x.searched && x.n_structures > 0 && x.n_ahead > 0);
}

/* exp (X) is accumulated over blocks of 16 columns and summed after the loop: right, but an accumulator never adds up
   different positions of a tile in what a search makes. */
static void test_forbidden (void **state) {
  (void) state;
  static mugraph g;
  open_text ("input X[64, 256]: f16\noutput O = sum(exp(X), 1)\n");
  mugraph_init (&g);
  int in = mugraph_add_input (&g, "X", program.graph.tensor[0].shape);
  mugraph_block *b = &g.block[g.op[mugraph_add_custom (&g, 1, &in, (int32_t[]){64, 1, 1}, 16)].block];
  int tile = mugraph_block_input (b, 0, (int[]){0, -1, -1}, 1);
  int columns = op (b, MUGRAPH_OP_ACCUM, op (b, MUGRAPH_OP_EXP, tile, -1), -1);
  finish (&g, b, mugraph_block_op (b, MUGRAPH_OP_SUM, columns, -1, 1));
  explain (&g);
  assert_int_equal (x.outcome, EXPLAIN_LEFT_OUT);
  assert_true (x.kernel == 0 && x.op == columns);
  assert_non_null (strstr (x.reason, "forbids operator 2 (accum) of kernel 0"));
}

static void test_other_program (void **state) {
  (void) state;
  static mugraph g;
  mugraph_error e;
  open_program ();
  mugraph_init (&g);
  assert_false (explain_run (&program.graph, &g, &options, cuda_device_find ("h100"), NULL, &x, &e));
  assert_non_null (strstr (e.text, "inputs"));
}

int main (void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test (test_found),     cmocka_unit_test (test_rank),          cmocka_unit_test (test_bounds),
      cmocka_unit_test (test_pruned),    cmocka_unit_test (test_alphabet),      cmocka_unit_test (test_left_out),
      cmocka_unit_test (test_forbidden), cmocka_unit_test (test_other_program),
  };
  return cmocka_run_group_tests (tests, NULL, NULL);
}
