/* Which exponentials may be shifted by a row maximum. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mugraph/stable.h"
#include "verify_graphs.h"

static mugraph g;
static mugraph_stable s;

static int exponentials (void) { /* stable ones */
  int n = 0;
  mugraph_analyse_stable (&g, &s);
  for (int i = 0; i < MUGRAPH_KERNEL_OPS; i++) n += s.kernel_exp[i];
  for (int b = 0; b < MUGRAPH_BLOCKS; b++)
    for (int i = 0; i < MUGRAPH_BLOCK_OPS; i++) n += s.block_exp[b][i];
  assert_int_equal (s.any, n > 0);
  return n;
}

/* All fields are 0 where nothing is stable. */
static void assert_raw (void) {
  static const mugraph_stable zero;
  assert_int_equal (exponentials (), 0);
  assert_memory_equal (&s, &zero, sizeof s);
}

static void begin (void) {
  mugraph_init (&g);
  input2 (&g, "X", 3, 4), input2 (&g, "Y", 3, 4), input2 (&g, "W", 4, 5), input2 (&g, "Z", 4, 3);
}
static void end (int x) {
  mugraph_add_output (&g, x, "O");
  finish (&g);
}
#define OP1(k, x) op1 (&g, OP_ (k), x, 1)
#define OP2(k, x, y) op2 (&g, OP_ (k), x, y)
enum { X, Y, W, Z };

static void softmax_is_stable (void **state) {
  (void) state;
  begin ();
  int e = OP1 (EXP, X);
  end (OP2 (DIV, e, OP1 (SUM, e)));
  assert_int_equal (exponentials (), 1);
  assert_true (s.kernel_exp[0]);
  for (int t = 0; t < g.n_tensors; t++)
    assert_int_equal (s.tensor_degree[t], 0); /* one scale a row: nobody has to know it */
  begin (), e = OP1 (EXP, X);
  end (OP2 (DIV, OP2 (MATMUL, e, W), OP1 (MEAN, e)));
  assert_int_equal (exponentials (), 1);
  /* tanh of something of degree 0; two independent classes; squares */
  begin (), e = OP1 (EXP, X);
  int f = OP1 (EXP, Y);
  end (OP2 (ADD, OP1 (TANH, OP2 (DIV, e, OP1 (SUM, e))), OP2 (DIV, OP1 (SQUARE, f), OP2 (MUL, f, OP1 (SUM, f)))));
  assert_int_equal (exponentials (), 2);
  /* e / sum e - e / sum e */
  begin (), e = OP1 (EXP, X);
  end (OP2 (SUB, OP2 (DIV, e, OP1 (SUM, e)), OP2 (DIV, OP2 (ADD, e, e), OP1 (SUM, OP1 (NEG, e)))));
  assert_int_equal (exponentials (), 1);
}

static void what_depends_on_the_scale_is_raw (void **state) {
  (void) state;
  int e;
  begin (), end (OP1 (EXP, X)), assert_raw ();
  begin (), e = OP1 (EXP, X), end (OP2 (DIV, e, OP2 (ADD, OP1 (SUM, e), constant_of (&g, 1)))), assert_raw ();
  begin (), e = OP1 (EXP, X), end (OP1 (TANH, e)), assert_raw ();
  begin (), e = OP1 (EXP, X), end (OP2 (DIV, OP1 (SQRT, e), OP1 (SQRT, OP1 (SUM, e)))), assert_raw ();
  begin (), e = OP1 (EXP, X), end (OP2 (DIV, e, op1 (&g, OP_ (SUM), e, 0))), assert_raw ();  /* over the rows */
  begin (), e = OP1 (EXP, X), end (OP2 (DIV, OP1 (SQUARE, e), OP1 (SUM, e))), assert_raw (); /* degree 1 */
  begin (), e = OP1 (EXP, X), end (OP2 (DIV, e, OP1 (SUM, OP1 (EXP, Y)))), assert_raw ();    /* two scales */
  begin (), e = OP1 (EXP, W), end (OP2 (MATMUL, X, OP2 (DIV, e, OP1 (SUM, e)))), assert_int_equal (exponentials (), 1);
  begin (), e = OP1 (EXP, W), end (OP2 (DIV, OP2 (MATMUL, X, e), OP1 (SUM, OP2 (MATMUL, X, e)))),
            assert_raw (); /* right operand */
  int square = (begin (), OP2 (MATMUL, X, Z)),
      right; /* 3 x 3: rows of the right operand look like rows of the product */
  e = OP1 (EXP, Y), right = OP2 (MATMUL, square, e);
  end (OP2 (DIV, right, OP1 (SUM, right))), assert_raw ();
  begin (), e = OP1 (EXP, Z), end (OP2 (DIV, OP1 (TRANSPOSE, e), OP1 (TRANSPOSE, OP1 (SUM, e)))), assert_raw ();
  /* the argument depends on a scale: the inner one is raw, the outer one is not concerned */
  begin (), e = OP1 (EXP, OP1 (EXP, X)), end (OP2 (DIV, e, OP1 (SUM, e)));
  assert_int_equal (exponentials (), 1);
  assert_true (!s.kernel_exp[0] && s.kernel_exp[1]);
  assert_int_equal (mugraph_raw_exponentials (&g, &s), 1);
  /* raw and stable side by side */
  begin ();
  e = OP1 (EXP, X);
  end (OP2 (ADD, OP2 (DIV, e, OP1 (SUM, e)), OP1 (EXP, Y)));
  assert_int_equal (exponentials (), 1);
  assert_true (s.kernel_exp[0]);
}

static void attention_in_one_kernel (void **state) {
  (void) state;
  for (int norm = 0; norm < 2; norm++) {
    attention_fused (&g, 2, 4, 3, 8, norm, 2, 4);
    assert_int_equal (exponentials (), 1);
    const mugraph_block *b = &g.block[0];
    for (int i = 0; i < b->n_ops; i++) {
      int kind = b->op[i].kind, d = s.block_degree[0][i];
      if (kind == MUGRAPH_OP_EXP) assert_true (s.block_exp[0][i] && d == 1);
      if (kind == MUGRAPH_OP_ACCUM || kind == MUGRAPH_OP_ACCUM_SUM) assert_int_equal (d, 1);
      if (kind == MUGRAPH_OP_INPUT || kind == MUGRAPH_OP_OUTPUT) assert_int_equal (d, 0);
    }
    assert_int_equal (mugraph_raw_exponentials (&g, &s), 0);
    memset (s.block_exp, 0, sizeof s.block_exp);
    assert_int_equal (mugraph_raw_exponentials (&g, &s), 1);
    assert_int_equal (s.tensor_degree[g.output[0]], 0);
    attention_program (&g, 2, 4, 3, 8, norm);
    assert_int_equal (exponentials (), 1);
  }
}

static void attention_split_over_keys (void **state) {
  (void) state;
  for (int combine = 0; combine < 2; combine++) {
    attention_split (&g, 2, 4, 3, 8, false, 2, 2, 2, combine);
    assert_int_equal (exponentials (), 1);
    assert_int_equal (s.tensor_degree[g.op[0].out[0]], 1);
    assert_int_equal (s.tensor_degree[g.op[0].out[1]], 1);
    assert_int_equal (s.tensor_degree[g.output[0]], 0);
    for (int i = 0; i < g.block[1].n_ops; i++) assert_int_equal (s.block_degree[1][i], 0); /* nothing moves there */
  }
  /* without a split a row has one scale */
  attention_split (&g, 2, 4, 3, 8, false, 2, 1, 2, true);
  assert_int_equal (exponentials (), 1);
  assert_int_equal (s.tensor_degree[g.op[0].out[0]], 0);
  /* savers with different maps: the rows of one are not those of the other */
  attention_split (&g, 2, 4, 3, 8, false, 1, 2, 2, true);
  mugraph good = g;
  assert_int_equal (exponentials (), 1);
  for (int i = 0; i < g.block[0].n_ops; i++)
    if (g.block[0].op[i].kind == MUGRAPH_OP_OUTPUT) {
      g = good;
      g.block[0].op[i].map[2] = 1; /* concatenated along the rows */
      if (mugraph_infer (&g, NULL)) assert_raw ();
    }
  /* an output before the division */
  g = good;
  mugraph_add_output (&g, g.op[0].out[1], "L");
  finish (&g);
  assert_raw ();
}

/* A block graph of one kernel over X[6, 8]: rows split by x, columns by the loop or not at all. */
static mugraph_block *begin_block (int loop, int *x, int *kernel) {
  mugraph_init (&g);
  input2 (&g, "X", 6, 8);
  *kernel = mugraph_add_custom (&g, 1, (int[]){0}, (int32_t[]){2, 1, 1}, loop);
  mugraph_block *b = block_of (&g, *kernel);
  *x = mugraph_block_input (b, 0, IMAP (0, -1, -1), 1);
  return b;
}
static void end_block (mugraph_block *b, int kernel, int tile) {
  mugraph_block_output (b, tile, IMAP (0, -1, -1));
  finish_kernel (&g, kernel);
  end (g.op[kernel].out[0]);
}
#define TILE(k, a, c) mugraph_block_op (b, OP_ (k), a, c, 1)

static void several_exponentials_share_a_maximum (void **state) {
  (void) state;
  int x, kernel;
  mugraph_block *b = begin_block (4, &x, &kernel);
  int e = TILE (EXP, x, -1), f = TILE (EXP, TILE (NEG, x, -1), -1);
  end_block (b, kernel, TILE (DIV, TILE (ACCUM_SUM, e, -1), TILE (ACCUM_SUM, f, -1)));
  assert_int_equal (exponentials (), 2);
  /* one of them depends on the scale: all are raw */
  b = begin_block (4, &x, &kernel);
  e = TILE (EXP, x, -1), f = TILE (EXP, TILE (NEG, x, -1), -1);
  end_block (
      b, kernel,
      TILE (ADD, TILE (DIV, TILE (ACCUM, e, -1), TILE (ACCUM_SUM, e, -1)), TILE (TANH, TILE (ACCUM_SUM, f, -1), -1)));
  assert_raw ();
  /* one in the loop, one after it */
  b = begin_block (4, &x, &kernel);
  e = TILE (EXP, x, -1), f = TILE (EXP, TILE (ACCUM, x, -1), -1);
  end_block (b, kernel,
             TILE (ADD, TILE (DIV, f, TILE (SUM, f, -1)), TILE (DIV, TILE (ACCUM, e, -1), TILE (ACCUM_SUM, e, -1))));
  assert_raw ();
  /* one depends on the other, through something of degree 0 */
  b = begin_block (1, &x, &kernel);
  e = TILE (EXP, x, -1), f = TILE (EXP, TILE (DIV, e, TILE (SUM, e, -1)), -1);
  end_block (b, kernel, TILE (DIV, f, TILE (SUM, f, -1)));
  assert_raw ();
  /* different rows */
  b = begin_block (1, &x, &kernel);
  int r = mugraph_block_op (b, OP_ (SUM), x, -1, 0);
  e = TILE (EXP, x, -1), f = TILE (EXP, r, -1);
  end_block (b, kernel, TILE (ADD, TILE (DIV, e, TILE (SUM, e, -1)), TILE (DIV, f, TILE (SUM, f, -1))));
  assert_raw ();
}

static void accumulated_root_mean_square_is_raw (void **state) {
  (void) state;
  int x, kernel;
  mugraph_block *b = begin_block (4, &x, &kernel);
  int e = TILE (EXP, x, -1);
  end_block (b, kernel, TILE (DIV, TILE (ACCUM, e, -1), TILE (ACCUM_RMS, e, -1)));
  assert_raw ();
}

static void loop_over_rows_is_raw (void **state) {
  (void) state;
  int kernel;
  mugraph_init (&g);
  input2 (&g, "X", 6, 8);
  kernel = mugraph_add_custom (&g, 1, (int[]){0}, (int32_t[]){1, 1, 1}, 3);
  mugraph_block *b = block_of (&g, kernel);
  int x = mugraph_block_input (b, 0, IMAP (-1, -1, -1), 0), e = TILE (EXP, x, -1);
  end_block (b, kernel, TILE (ACCUM, TILE (DIV, e, TILE (SUM, e, -1)), -1));
  assert_raw ();
}

static void savers_of_a_class_have_one_map (void **state) {
  (void) state;
  for (int same = 0; same < 2; same++) {
    mugraph_init (&g);
    input2 (&g, "X", 2, 8);
    int kernel = mugraph_add_custom (&g, 1, (int[]){0}, (int32_t[]){2, 2, 1}, 1);
    mugraph_block *b = block_of (&g, kernel);
    int e = TILE (EXP, mugraph_block_input (b, 0, IMAP (1, -1, -1), -1), -1), l = TILE (SUM, e, -1);
    mugraph_block_output (b, e, IMAP (1, 0, -1));
    mugraph_block_output (b, l, same ? IMAP (1, 0, -1) : IMAP (0, 1, -1)); /* shapes agree, rows do not */
    finish_kernel (&g, kernel);
    end (OP2 (DIV, g.op[kernel].out[0], OP1 (SUM, g.op[kernel].out[1])));
    assert_int_equal (exponentials (), same);
  }
}

/* exp in the kernel graph, the rest in a graph-defined kernel whose blocks split rows or columns. */
static void scale_enters_a_kernel (void **state) {
  (void) state;
  static const struct {
    int imap, fmap, omap, stable;
  } cases[] = {{0, 1, 0, 1}, {0, -1, 0, 1}, {-1, 1, 1, 1}, {0, 0, 0, 0}, {-1, 1, 0, 0}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    mugraph_init (&g);
    input2 (&g, "X", 8, 8);
    int e = op1 (&g, OP_ (EXP), 0, -1), kernel = mugraph_add_custom (&g, 1, &e, (int32_t[]){2, 1, 1}, 2);
    mugraph_block *b = block_of (&g, kernel);
    int x = mugraph_block_input (b, 0, IMAP (cases[i].imap, -1, -1), cases[i].fmap);
    int sum = TILE (ACCUM_SUM, x, -1);
    mugraph_block_output (b, sum, IMAP (cases[i].omap, -1, -1));
    finish_kernel (&g, kernel);
    int out = g.op[kernel].out[0];
    end (op2 (&g, OP_ (DIV), out, op1 (&g, OP_ (SUM), out, 1)));
    if (exponentials () != cases[i].stable) fail_msg ("case %zu", i);
  }
}

/* Rows of one tensor split by x, those of another not: equal sizes do not make equal rows. */
static void iterators_of_a_class_have_one_map (void **state) {
  (void) state;
  for (int same = 0; same < 2; same++) {
    mugraph_init (&g);
    input3 (&g, "X", 2, 2, 4);
    int e = op1 (&g, OP_ (EXP), 0, -1), kernel = mugraph_add_custom (&g, 1, &e, (int32_t[]){2, 2, 1}, 1);
    mugraph_block *b = block_of (&g, kernel);
    int x = mugraph_block_input (b, 0, IMAP (0, 1, -1), -1),
        y = mugraph_block_input (b, 0, same ? IMAP (0, 1, -1) : IMAP (1, 0, -1), -1);
    mugraph_block_output (b, mugraph_block_op (b, OP_ (DIV), x, mugraph_block_op (b, OP_ (SUM), y, -1, 2), -1),
                          IMAP (0, 1, -1));
    finish_kernel (&g, kernel);
    end (g.op[kernel].out[0]);
    assert_int_equal (exponentials (), same);
  }
}

int main (void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test (softmax_is_stable),
      cmocka_unit_test (what_depends_on_the_scale_is_raw),
      cmocka_unit_test (attention_in_one_kernel),
      cmocka_unit_test (attention_split_over_keys),
      cmocka_unit_test (several_exponentials_share_a_maximum),
      cmocka_unit_test (accumulated_root_mean_square_is_raw),
      cmocka_unit_test (loop_over_rows_is_raw),
      cmocka_unit_test (savers_of_a_class_have_one_map),
      cmocka_unit_test (iterators_of_a_class_have_one_map),
      cmocka_unit_test (scale_enters_a_kernel),
  };
  return cmocka_run_group_tests_name ("mugraph_stable", tests, NULL, NULL);
}
