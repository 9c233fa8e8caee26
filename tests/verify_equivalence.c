/* Verdicts: rewritings that must pass, near misses that must not, what has no value, limits, fingerprints, bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <math.h>
#include <cmocka.h>

#include "verify/verify.h"
#include "verify_graphs.h"

static mugraph a, b;

static verify_report compare (bool stable) {
  verify_options o;
  verify_report r;
  verify_options_default (&o);
  o.stable = stable;
  verify_equivalent (&a, &b, &o, &r);
  return r;
}

static void same_ (int line) {
  for (int stable = 0; stable < 2; stable++) {
    verify_report r = compare (stable);
    if (r.verdict != VERIFY_EQUIVALENT) fail_msg ("line %d: %s", line, r.reason);
    assert_true (r.error_bound > 0 && r.error_bound < 1e-6);
    assert_int_equal (r.trials, 2);
  }
  uint64_t x[MUGRAPH_OUTPUTS], y[MUGRAPH_OUTPUTS], z[MUGRAPH_OUTPUTS];
  assert_true (verify_fingerprint (&a, 5, x) && verify_fingerprint (&b, 5, y) && verify_fingerprint (&a, 6, z));
  for (int k = 0; k < a.n_outputs; k++) {
    assert_true (x[k] == y[k]);
    assert_true (x[k] != z[k]);
  }
  char why[256];
  if (verify_counterexample (&a, &b, 9, 3, 1e-11, NULL, why) > 0) fail_msg ("line %d: %s", line, why);
}

static void differ_ (int line) {
  verify_report r = compare (false);
  if (r.verdict != VERIFY_DIFFERENT) fail_msg ("line %d: verdict %d %s", line, r.verdict, r.reason);
  assert_true (r.reason[0] != 0);
  assert_true (r.error_bound == 0);
  uint64_t x[MUGRAPH_OUTPUTS], y[MUGRAPH_OUTPUTS];
  assert_true (verify_fingerprint (&a, 5, x) && verify_fingerprint (&b, 5, y));
  assert_true (x[0] != y[0]);
}
#define same() same_ (__LINE__)
#define differ() differ_ (__LINE__)

/* Two graphs over the same inputs X[3,4], Y[3,4], W[4,5], R[3,1]. */
static void begin (void) {
  for (int i = 0; i < 2; i++) {
    mugraph *g = i ? &b : &a;
    mugraph_init (g);
    input2 (g, "X", 3, 4), input2 (g, "Y", 3, 4), input2 (g, "W", 4, 5), input2 (g, "R", 3, 1);
  }
}
enum { X, Y, W, R };
static void end (int x, int y) {
  mugraph_add_output (&a, x, "O"), mugraph_add_output (&b, y, "O");
  finish (&a), finish (&b);
}
#define A1(k, x) op1 (&a, OP_ (k), x, 1)
#define B1(k, x) op1 (&b, OP_ (k), x, 1)
#define A2(k, x, y) op2 (&a, OP_ (k), x, y)
#define B2(k, x, y) op2 (&b, OP_ (k), x, y)

static void rewritings_pass (void **state) {
  (void) state;
  begin (), end (A2 (MATMUL, A2 (DIV, X, R), W), B2 (DIV, B2 (MATMUL, X, W), R)), same ();
  begin (), end (A2 (MATMUL, A1 (RMS_NORM, X), W), B2 (DIV, B2 (MATMUL, X, W), B1 (SQRT, B1 (MEAN, B1 (SQUARE, X))))),
      same ();
  begin (), end (A2 (MATMUL, A2 (ADD, X, Y), W), B2 (ADD, B2 (MATMUL, Y, W), B2 (MATMUL, X, W))), same ();
  begin (), end (A2 (MUL, X, A2 (SUB, Y, R)), B2 (SUB, B2 (MUL, Y, X), B2 (MUL, R, X))), same ();
  begin (), end (A1 (EXP, A2 (ADD, X, Y)), B2 (MUL, B1 (EXP, Y), B1 (EXP, X))), same ();
  begin (), end (A2 (DIV, A1 (EXP, X), A1 (EXP, Y)), B1 (EXP, B2 (SUB, X, Y))), same ();
  begin (), end (A1 (EXP, A1 (NEG, X)), B2 (DIV, B2 (DIV, B1 (EXP, X), B1 (EXP, X)), B1 (EXP, X))), same ();
  begin (), end (A1 (SUM, A2 (MUL, X, R)), B2 (MUL, B1 (SUM, X), R)), same ();
  begin (), end (A1 (SILU, A2 (ADD, X, Y)), B1 (SILU, B2 (ADD, Y, X))), same ();
  begin (), end (A2 (POW, A2 (MUL, X, Y), R), B2 (POW, B2 (MUL, Y, X), R)), same ();
  begin (), end (A2 (ADD, X, constant_of (&a, 0.1)), B2 (ADD, constant_of (&b, 0.1), X)), same ();
  begin (), end (A1 (SQUARE, X), B2 (MUL, X, X)), same ();
  begin (), end (A1 (NEG, A2 (SUB, X, Y)), B2 (SUB, Y, X)), same ();
  begin (), end (A2 (DIV, A1 (MEAN, X), A1 (MEAN, Y)), B2 (DIV, B1 (SUM, X), B1 (SUM, Y))), same ();
  /* transposition: (X W)^T = W^T X^T, max does not care for the order */
  begin (), end (A1 (TRANSPOSE, A2 (MATMUL, X, W)), B2 (MATMUL, B1 (TRANSPOSE, W), B1 (TRANSPOSE, X))), same ();
  begin (), end (A1 (MAX, op2 (&a, OP_ (ADD), X, Y)), B1 (MAX, B2 (ADD, Y, X))), same ();
  /* keyed functions of exponentials have values in both fields again */
  begin (), end (A1 (EXP, A1 (SQRT, A1 (EXP, X))), B1 (EXP, B1 (SQRT, B1 (EXP, X)))), same ();
  /* keyed by the residue mod p alone: the same with and without an exponential that cancels */
  begin (), end (A1 (TANH, X), B1 (TANH, B2 (DIV, B2 (MUL, X, B1 (EXP, Y)), B1 (EXP, Y)))), same ();
}

static void near_misses_do_not_pass (void **state) {
  (void) state;
  begin (), end (A2 (SUB, X, Y), B2 (SUB, Y, X)), differ ();
  begin (), end (A2 (DIV, X, Y), B2 (DIV, Y, X)), differ ();
  begin (), end (A1 (SUM, X), B1 (MEAN, X)), differ ();
  begin (), end (A1 (SILU, X), B1 (GELU, X)), differ ();
  begin (), end (A1 (EXP, A2 (MUL, X, Y)), B2 (MUL, B1 (EXP, X), B1 (EXP, Y))), differ ();
  begin (), end (A1 (SILU, A1 (SUM, X)), B1 (SUM, B1 (SILU, X))), differ ();
  begin (), end (A1 (SQRT, A1 (SUM, X)), B1 (SUM, B1 (SQRT, X))), differ ();
  begin (), end (A2 (MUL, X, constant_of (&a, 0.1)), B2 (MUL, X, constant_of (&b, 0.10000000001))), differ ();
  begin (), end (A1 (MAX, X), B1 (SUM, X)), differ ();
  begin (), end (A1 (MAX, X), op1 (&b, OP_ (MAX), B1 (RELU, X), 1)), differ ();
  begin (), end (A2 (POW, X, R), B2 (POW, B2 (ADD, X, R), R)), differ ();
  begin (), end (A2 (DIV, A1 (EXP, X), A1 (SUM, A1 (EXP, X))), B2 (DIV, B1 (EXP, X), B1 (SUM, X))), differ ();
  begin (), end (A1 (RMS_NORM, X), B1 (RMS_NORM, X)), same ();
  b.op[0].c[0] = 1e-6, finish (&b), differ ();
  a.op[0].c[0] = 1e-6, finish (&a), same ();
  /* epsilon spelled out */
  begin ();
  end (A1 (RMS_NORM, X), B2 (DIV, X, B1 (SQRT, B2 (ADD, B1 (MEAN, B1 (SQUARE, X)), constant_of (&b, 1e-5)))));
  a.op[0].c[0] = 1e-5, finish (&a), same ();
  /* clamp's bounds count */
  begin (), end (A1 (CLAMP, X), B1 (CLAMP, X)), same ();
  b.op[0].c[1] = 2, finish (&b), differ ();
}

static void what_has_no_value_is_unsupported (void **state) {
  (void) state;
  begin (), end (A1 (EXP, A1 (EXP, X)), B1 (EXP, B1 (EXP, X)));
  verify_report r = compare (false);
  assert_int_equal (r.verdict, VERIFY_UNSUPPORTED);
  assert_non_null (strstr (r.reason, "exp"));
  uint64_t out[MUGRAPH_OUTPUTS];
  assert_false (verify_fingerprint (&a, 1, out));
  begin (), end (A1 (EXP, X), B1 (SUM, X));
  r = compare (false);
  assert_int_equal (r.verdict, VERIFY_UNSUPPORTED);
  assert_non_null (strstr (r.reason, "output 0 is [3, 4]"));
  begin (), end (A2 (DIV, X, A2 (SUB, Y, Y)), B2 (DIV, X, B2 (SUB, Y, Y)));
  r = compare (false);
  assert_int_equal (r.verdict, VERIFY_UNKNOWN);
  assert_non_null (strstr (r.reason, "division by zero"));
  /* dead code does not matter */
  begin ();
  A1 (EXP, A1 (EXP, X));
  end (A2 (ADD, X, Y), B2 (ADD, Y, X)), same ();
}

static void workloads_at_ragged_shapes (void **state) {
  (void) state;
  rmsnorm_program (&a, 5, 23, 13), rmsnorm_fused (&b, 5, 23, 13, 4, 3), same ();
  rmsnorm_fused (&b, 5, 23, 13, 5, 7), same (); /* some tiles are empty */
  rmsnorm_split (&b, 5, 23, 13, 2, 3, 2), same ();
  lora_program (&a, 5, 11, 9, 3), lora_fused (&b, 5, 11, 9, 3, 4, 3), same ();
  gatedmlp_program (&a, 2, 9, 7), gatedmlp_fused (&b, 2, 9, 7, 3, 4), same ();
  ntrans_program (&a, 7, 5), ntrans_fused (&b, 7, 5, 3, true), same ();
  attention_program (&a, 2, 5, 3, 11, true), attention_fused (&b, 2, 5, 3, 11, true, 2, 3), same ();
  attention_split (&b, 2, 5, 3, 11, true, 2, 3, 2, true), same ();
  attention_split (&b, 2, 5, 3, 11, true, 2, 5, 2, false), same (); /* chunks of 3: the last block has nothing */
}

static void threads_agree (void **state) {
  (void) state;
  attention_program (&a, 4, 64, 16, 256, false), attention_split (&b, 4, 64, 16, 256, false, 4, 2, 4, true);
  verify_options o;
  verify_report r;
  verify_options_default (&o);
  for (o.threads = 1; o.threads <= 3; o.threads++) {
    verify_equivalent (&a, &b, &o, &r);
    assert_int_equal (r.verdict, VERIFY_EQUIVALENT);
  }
  b.block[0].op[3].in[0] = 1, b.block[0].op[3].in[1] = 0; /* K Q: shapes do not fit */
  assert_false (mugraph_infer (&b, NULL));
}

static void time_limit_is_unknown (void **state) {
  (void) state;
  attention_program (&a, 4, 64, 16, 256, false), attention_fused (&b, 4, 64, 16, 256, false, 4, 4);
  verify_options o;
  verify_report r;
  verify_options_default (&o);
  o.time_limit = 1e-9;
  verify_equivalent (&a, &b, &o, &r);
  assert_int_equal (r.verdict, VERIFY_UNKNOWN);
  assert_non_null (strstr (r.reason, "time limit"));
  assert_true (r.error_bound == 1);
}

static void a_stop_is_unknown (void **state) {
  (void) state;
  const volatile int stop = 1;
  char why[256];
  attention_program (&a, 4, 64, 16, 256, false), attention_fused (&b, 4, 64, 16, 256, false, 4, 4);
  verify_options o;
  verify_report r[2];
  verify_options_default (&o);
  o.stop = &stop;
  verify_equivalent (&a, &b, &o, r);
  verify_equivalent_each (&a, 1, (const mugraph *const[]){&b}, (const int[]){2}, &o, r + 1);
  for (int i = 0; i < 2; i++) {
    assert_int_equal (r[i].verdict, VERIFY_UNKNOWN);
    assert_true (r[i].unfinished && r[i].trials == 0);
    assert_string_equal (r[i].reason, "interrupted");
  }
  assert_true (verify_counterexample (&a, &b, 1, 1, 0, &stop, why) == 0);
  assert_string_equal (why, "interrupted");
}

static void counterexamples_are_found (void **state) {
  (void) state;
  char why[256];
  begin (), end (A1 (SUM, X), B1 (MEAN, X));
  double e = verify_counterexample (&a, &b, 1, 3, 1e-6, NULL, why);
  assert_true (fabs (e - 0.75) < 1e-9);
  assert_non_null (strstr (why, " at [0, 0] is "));
  assert_non_null (strstr (why, ", the program's is "));
  assert_true (verify_counterexample (&a, &a, 1, 3, 1e-12, NULL, why) == 0);
}

static void what_would_take_years_is_not_tried (void **state) {
  (void) state;
  char why[256];
  double bytes, work;
  mugraph_init (&a);
  input2 (&a, "X", 64, 32);
  mugraph_add_output (&a, op1 (&a, OP_ (EXP), 0, -1), "Y");
  finish (&a);
  verify_effort (&a, &bytes, &work);
  assert_true (bytes >= 3 * 64 * 32 * 4 && bytes <= 6 * 64 * 32 * 4);
  assert_true (work == 64 * 32);
  for (int once = 1; once >= 0; once--) {
    int loop = once ? 1 : 1 << 24;
    mugraph_init (&b);
    input2 (&b, "X", 64, 32);
    int k = mugraph_add_custom (&b, 1, (int[]){0}, (int32_t[]){1, 1, 1}, loop);
    int x = mugraph_block_input (block_of (&b, k), 0, IMAP (-1, -1, -1), -1);
    int sum = mugraph_block_op (block_of (&b, k), OP_ (ACCUM),
                                mugraph_block_op (block_of (&b, k), OP_ (EXP), x, -1, -1), -1, -1);
    mugraph_block_output (block_of (&b, k), sum, IMAP (-1, -1, -1));
    finish_kernel (&b, k);
    mugraph_add_output (&b, b.op[k].out[0], "Y");
    finish (&b);
    verify_report r = compare (true);
    assert_int_equal (r.verdict, once ? VERIFY_EQUIVALENT : VERIFY_UNKNOWN);
  }
  assert_true (verify_counterexample (&a, &b, 1, 1, 1e-6, NULL, why) == 0);
  assert_non_null (strstr (why, "not tried"));
}

static void relative_errors (void **state) {
  (void) state;
  double x[] = {3, 4}, y[] = {3, 4.5}, zero[] = {0, 0}, bad[] = {NAN, 4}, inf[] = {INFINITY, 4},
         huge[] = {3e300, 4e300}, huge2[] = {3e300, 4.5e300};
  assert_true (verify_relative_error (x, x, 2) == 0);
  assert_true (fabs (verify_relative_error (y, x, 2) - 0.1) < 1e-12);
  assert_true (fabs (verify_relative_error (huge2, huge, 2) - 0.1) < 1e-12);
  assert_true (verify_relative_error (zero, zero, 2) == 0);
  assert_true (isinf (verify_relative_error (x, zero, 2)));
  assert_true (verify_relative_error (zero, x, 2) == 1);
  assert_true (isinf (verify_relative_error (bad, x, 2)));
  assert_true (isinf (verify_relative_error (x, bad, 2)));
  assert_true (verify_relative_error (bad, bad, 2) == 0);
  assert_true (verify_relative_error (inf, inf, 2) == 0);
  assert_true (isinf (verify_relative_error (bad, inf, 2)));
}

static void random_inputs_are_normal_and_rounded (void **state) {
  (void) state;
  enum { N = 40000 };
  static double x[N];
  static const int bits[] = {10, 7, 23};
  for (int t = 0; t < MUGRAPH_N_DTYPES; t++) {
    mugraph_shape s = mugraph_shape_of ((mugraph_dtype) t, 1, (int32_t[]){N});
    double mean = 0, square = 0;
    verify_random_input (&s, 11, 2, x);
    for (int i = 0; i < N; i++) {
      int exponent;
      double m = ldexp (frexp (x[i], &exponent), bits[t] + 1);
      if (fabs (x[i]) > 0.001) assert_true (m == floor (m)); /* bits + 1 significant ones */
      mean += x[i] / N, square += x[i] * x[i] / N;
    }
    assert_true (fabs (mean) < 0.05);
    assert_true (fabs (square - 4) < 0.15);
  }
}

static void bound_grows_with_the_shape (void **state) {
  (void) state;
  verify_options o;
  verify_report small, large;
  verify_options_default (&o);
  o.trials = 1;
  attention_program (&a, 2, 2, 3, 8, true), attention_fused (&b, 2, 2, 3, 8, true, 2, 2);
  verify_equivalent (&a, &b, &o, &small);
  attention_program (&a, 2, 2, 3, 512, true), attention_fused (&b, 2, 2, 3, 512, true, 2, 2);
  verify_equivalent (&a, &b, &o, &large);
  assert_true (small.error_bound > 1e-9 && 32 * small.error_bound < large.error_bound && large.error_bound < 1e-3);
  o.trials = 3;
  verify_equivalent (&a, &b, &o, &small);
  assert_true (fabs (small.error_bound / pow (large.error_bound, 3) - 1) < 1e-9);
}

int main (void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test (rewritings_pass),
      cmocka_unit_test (near_misses_do_not_pass),
      cmocka_unit_test (what_has_no_value_is_unsupported),
      cmocka_unit_test (workloads_at_ragged_shapes),
      cmocka_unit_test (threads_agree),
      cmocka_unit_test (time_limit_is_unknown),
      cmocka_unit_test (a_stop_is_unknown),
      cmocka_unit_test (counterexamples_are_found),
      cmocka_unit_test (what_would_take_years_is_not_tried),
      cmocka_unit_test (relative_errors),
      cmocka_unit_test (random_inputs_are_normal_and_rounded),
      cmocka_unit_test (bound_grows_with_the_shape),
  };
  return cmocka_run_group_tests_name ("verify_equivalence", tests, NULL, NULL);
}
