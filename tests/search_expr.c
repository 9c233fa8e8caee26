/* Abstract expressions: what the normal form identifies, what pruning must keep and what it must cut. */
#include "mugraph/program/program.h"
#include "search/prune/expr.h"
#include "search/prune/prune_z3.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- short hands ---- */

static expr_pool *pool;

static expr_id op (mugraph_op_kind kind, expr_id a, expr_id b, int64_t size) {
  expr_id in[2] = {a, b};
  expr_attr attr = {.size = size, .loop = 1};
  int arity = mugraph_op_table[kind].arity;
  return expr_of_op (pool, kind, arity, in, &attr);
}

static expr_id add (expr_id a, expr_id b) { return op (MUGRAPH_OP_ADD, a, b, 1); }
static expr_id sub (expr_id a, expr_id b) { return op (MUGRAPH_OP_SUB, a, b, 1); }
static expr_id mul (expr_id a, expr_id b) { return op (MUGRAPH_OP_MUL, a, b, 1); }
static expr_id div_ (expr_id a, expr_id b) { return op (MUGRAPH_OP_DIV, a, b, 1); }
static expr_id matmul (expr_id a, expr_id b, int64_t k) { return op (MUGRAPH_OP_MATMUL, a, b, k); }
static expr_id sum (expr_id a, int64_t n) { return op (MUGRAPH_OP_SUM, a, 0, n); }
static expr_id mean (expr_id a, int64_t n) { return op (MUGRAPH_OP_MEAN, a, 0, n); }
static expr_id rms_norm (expr_id a, int64_t n) { return op (MUGRAPH_OP_RMS_NORM, a, 0, n); }
static expr_id map (mugraph_op_kind kind, expr_id a) { return op (kind, a, 0, 1); }
static expr_id accum (mugraph_op_kind kind, expr_id a, int64_t size, int64_t loop) {
  return expr_of_op (pool, kind, 1, &a, &(expr_attr){.size = size, .loop = loop});
}

static expr_id x, y, z, w;

static void fresh (bool loose) {
  expr_pool_free (pool);
  pool = expr_pool_new (loose);
  assert_non_null (pool);
  x = expr_input (pool, 0), y = expr_input (pool, 1), z = expr_input (pool, 2), w = expr_input (pool, 3);
}

static int tear_down (void **state) {
  (void) state;
  expr_pool_free (pool);
  pool = NULL;
  return 0;
}

#define KEPT(e) keeps ((e), true, #e, __LINE__)
#define CUT(e) keeps ((e), false, #e, __LINE__)
static void keeps (expr_id e, bool expected, const char *what, int line) {
  if (expr_may_contribute (pool, e) == expected) return;
  char text[512];
  fail_msg ("line %d: %s = %s %s", line, what, expr_text (pool, e, text, sizeof text),
            expected ? "was pruned" : "was not pruned");
}

static void aim (expr_id target) { expr_set_targets (pool, 1, &target); }

/* ---- what is equal, what is not ---- */

static void test_equalities (void **state) {
  (void) state;
  fresh (false);
  expr_id e = map (MUGRAPH_OP_EXP, x), f = map (MUGRAPH_OP_EXP, y);
  assert_int_equal (add (x, y), add (y, x));
  assert_int_equal (add (add (x, y), z), add (x, add (y, z)));
  assert_int_equal (mul (add (x, y), z), add (mul (x, z), mul (z, y)));
  assert_int_equal (div_ (add (x, y), z), add (div_ (x, z), div_ (y, z)));
  assert_int_equal (div_ (div_ (x, y), z), div_ (x, mul (y, z)));
  assert_int_equal (div_ (x, div_ (y, z)), div_ (mul (x, z), y));
  assert_int_equal (add (div_ (x, y), div_ (w, z)), div_ (add (mul (x, z), mul (w, y)), mul (y, z)));
  assert_int_equal (add (div_ (x, y), add (w, div_ (z, y))), add (w, div_ (add (z, x), y)));
  assert_int_equal (add (div_ (x, y), div_ (z, mul (y, w))), div_ (add (z, mul (x, w)), mul (w, y)));
  assert_int_equal (div_ (div_ (w, add (x, y)), add (y, z)), div_ (w, mul (add (x, y), add (z, y))));
  assert_int_equal (map (MUGRAPH_OP_EXP, add (x, y)), mul (e, f));
  assert_int_equal (map (MUGRAPH_OP_SQUARE, e), map (MUGRAPH_OP_EXP, add (x, x)));
  assert_int_equal (map (MUGRAPH_OP_SQUARE, mul (x, y)), mul (mul (x, y), mul (x, y)));
  assert_int_equal (sum (sum (x, 4), 6), sum (x, 24));
  assert_int_equal (mean (mean (x, 4), 6), mean (x, 24));
  assert_int_equal (matmul (matmul (x, y, 4), z, 6), matmul (x, matmul (y, z, 6), 4));
  assert_int_equal (matmul (div_ (x, w), y, 8), div_ (matmul (x, y, 8), w));
  assert_int_equal (accum (MUGRAPH_OP_ACCUM, matmul (x, y, 4), 1, 2), matmul (x, y, 8));
  assert_int_equal (div_ (x, accum (MUGRAPH_OP_ACCUM_RMS, x, 4, 2)), rms_norm (x, 8));
  assert_int_equal (div_ (x, map (MUGRAPH_OP_SQRT, mean (map (MUGRAPH_OP_SQUARE, x), 8))), rms_norm (x, 8));
  assert_int_equal (accum (MUGRAPH_OP_ACCUM_MEAN, x, 4, 2), mean (x, 8));
  assert_int_equal (map (MUGRAPH_OP_TRANSPOSE, x), x);

  assert_int_not_equal (add (x, x), sum (x, 2));
  assert_int_not_equal (mean (x, 4), x);
  assert_int_not_equal (mean (sum (x, 4), 4), sum (x, 4));
  assert_int_not_equal (div_ (e, sum (e, 4)), div_ (x, sum (x, 4))); /* not cancelled */
  assert_int_not_equal (map (MUGRAPH_OP_SILU, x), map (MUGRAPH_OP_GELU, x));
  assert_int_not_equal (map (MUGRAPH_OP_EXP, sum (x, 2)), map (MUGRAPH_OP_EXP, sum (x, 4)));
  assert_int_not_equal (expr_constant (pool, 2), expr_constant (pool, 3));
  assert_int_equal (op (MUGRAPH_OP_POW, EXPR_UNKNOWN, x, 1), EXPR_UNKNOWN);
}

static void test_concatenation (void **state) {
  (void) state;
  fresh (false);
  expr_attr cut = {.size = 6, .loop = 2};
  expr_id left[2] = {x, y}, right[2] = {z, w};
  expr_id a = expr_of_op (pool, MUGRAPH_OP_CONCAT, 2, left, &cut),
          b = expr_of_op (pool, MUGRAPH_OP_CONCAT, 2, right, &cut);
  expr_id target = add (matmul (x, z, 6), matmul (y, w, 2));
  assert_int_equal (matmul (a, b, 8), target);
  aim (target);
  KEPT (a), KEPT (b), KEPT (matmul (a, b, 8));
  expr_id wrong[2] = {x, map (MUGRAPH_OP_EXP, y)};
  CUT (expr_of_op (pool, MUGRAPH_OP_CONCAT, 2, wrong, &cut));
  CUT (map (MUGRAPH_OP_EXP, a));
}

/* ---- known partial tensors, right and wrong ---- */

static void test_attention (void **state) {
  (void) state;
  fresh (false);
  expr_id e = map (MUGRAPH_OP_EXP, matmul (x, y, 4));
  aim (matmul (div_ (e, sum (e, 6)), z, 6));
  KEPT (x), KEPT (y), KEPT (z);
  KEPT (matmul (x, y, 2)), KEPT (matmul (x, y, 4)), KEPT (e);
  KEPT (sum (e, 2)), KEPT (sum (e, 3)), KEPT (sum (e, 6));
  KEPT (matmul (e, z, 3)), KEPT (matmul (e, z, 6)), KEPT (div_ (z, sum (e, 6))), KEPT (div_ (e, sum (e, 6)));
  KEPT (div_ (matmul (e, z, 3), sum (e, 6)));
  CUT (map (MUGRAPH_OP_EXP, z)), CUT (mul (y, z)), CUT (matmul (x, y, 3)), CUT (matmul (x, y, 8));
  CUT (add (x, y)), CUT (map (MUGRAPH_OP_SQUARE, x)), CUT (map (MUGRAPH_OP_EXP, x));
  CUT (map (MUGRAPH_OP_EXP, matmul (x, y, 2))); /* exp of a partial sum */
  CUT (map (MUGRAPH_OP_SQUARE, e)), CUT (add (e, e)), CUT (map (MUGRAPH_OP_EXP, e));
  CUT (matmul (e, z, 4)), CUT (sum (e, 12)), CUT (div_ (e, sum (e, 3))), CUT (div_ (z, sum (e, 3))), CUT (div_ (z, e)),
      CUT (div_ (x, y));
  CUT (sum (sum (e, 6), 2)), CUT (map (MUGRAPH_OP_SQRT, e));
}

static void test_rms_norm_matmul (void **state) {
  (void) state;
  fresh (false);
  aim (matmul (rms_norm (x, 8), y, 8));
  expr_id square = map (MUGRAPH_OP_SQUARE, x);
  KEPT (square), KEPT (mean (square, 2)), KEPT (mean (square, 8)), KEPT (accum (MUGRAPH_OP_ACCUM_RMS, x, 4, 2));
  KEPT (matmul (x, y, 4)), KEPT (rms_norm (x, 8)), KEPT (div_ (y, accum (MUGRAPH_OP_ACCUM_RMS, x, 4, 2)));
  KEPT (div_ (matmul (x, y, 2), accum (MUGRAPH_OP_ACCUM_RMS, x, 1, 8)));
  CUT (add (x, y)), CUT (map (MUGRAPH_OP_SQUARE, y)), CUT (sum (square, 8)), CUT (map (MUGRAPH_OP_SQRT, square));
  CUT (map (MUGRAPH_OP_SQRT, mean (square, 4))), CUT (rms_norm (x, 4)), CUT (rms_norm (y, 8));
  CUT (div_ (square, accum (MUGRAPH_OP_ACCUM_RMS, x, 8, 1))), CUT (mul (square, y)), CUT (matmul (x, y, 16));
  CUT (mean (y, 8)), CUT (mean (matmul (x, y, 4), 2));
}

static void test_residual_step (void **state) {
  (void) state;
  fresh (false); /* X, H, alpha */
  expr_id norm = rms_norm (y, 8), inner = add (x, mul (z, add (norm, x)));
  aim (rms_norm (inner, 8));
  KEPT (mul (z, x)), KEPT (add (x, mul (z, x))), KEPT (add (norm, x)), KEPT (mul (z, norm)), KEPT (inner);
  KEPT (map (MUGRAPH_OP_SQUARE, inner)), KEPT (accum (MUGRAPH_OP_ACCUM_RMS, inner, 4, 2)), KEPT (mul (z, y));
  KEPT (map (MUGRAPH_OP_SQUARE, y)), KEPT (accum (MUGRAPH_OP_ACCUM_RMS, y, 8, 1)), KEPT (norm);
  CUT (rms_norm (x, 8)), CUT (rms_norm (z, 8)), CUT (map (MUGRAPH_OP_EXP, x)), CUT (div_ (x, y));
  CUT (div_ (inner, accum (MUGRAPH_OP_ACCUM_RMS, x, 8, 1))), CUT (add (add (x, x), add (x, mul (z, x))));
  CUT (rms_norm (add (x, norm), 8)), CUT (mul (inner, mul (inner, inner)));
}

static void test_gated (void **state) {
  (void) state;
  fresh (false);
  aim (mul (map (MUGRAPH_OP_SILU, matmul (x, y, 8)), matmul (x, z, 8)));
  KEPT (matmul (x, y, 4)), KEPT (matmul (x, z, 4)), KEPT (mul (map (MUGRAPH_OP_SILU, matmul (x, y, 8)), x));
  CUT (map (MUGRAPH_OP_SILU, matmul (x, y, 4))), CUT (map (MUGRAPH_OP_SILU, matmul (x, z, 8)));
  CUT (mul (y, z)), CUT (mul (x, x)), CUT (matmul (x, y, 16)), CUT (mul (matmul (x, y, 8), matmul (x, z, 8)));
}

static void test_factors_of_sums (void **state) {
  (void) state;
  fresh (false);
  aim (mul (add (x, y), z));
  KEPT (add (x, y)), KEPT (mul (x, z)), KEPT (x), CUT (add (x, z)), CUT (mul (x, y)), CUT (add (add (x, y), z));
  fresh (false);
  aim (map (MUGRAPH_OP_SQUARE, add (x, y)));
  KEPT (add (x, y)), KEPT (mul (x, y)), KEPT (add (mul (x, y), mul (x, y)));
  CUT (add (add (mul (x, y), mul (x, y)), mul (x, y))), CUT (add (add (x, x), add (y, y)));
  fresh (false); /* a reciprocal of sums */
  aim (div_ (add (x, y), add (z, w)));
  KEPT (div_ (add (w, z), add (y, x))), KEPT (add (z, w)), CUT (div_ (add (w, z), add (y, z))), CUT (add (x, z));
  fresh (false); /* the sum in an exponent */
  aim (map (MUGRAPH_OP_EXP, add (div_ (x, y), z)));
  KEPT (add (div_ (x, y), z)), KEPT (div_ (x, y)), KEPT (add (x, mul (y, z))), KEPT (map (MUGRAPH_OP_EXP, z));
  KEPT (map (MUGRAPH_OP_EXP, div_ (x, y))), CUT (add (x, z)), CUT (map (MUGRAPH_OP_EXP, x)), CUT (div_ (z, x));
  fresh (false); /* a fraction below the fraction bar */
  aim (add (w, div_ (x, add (w, div_ (y, z)))));
  KEPT (div_ (y, z)), KEPT (add (w, div_ (y, z))), KEPT (div_ (x, add (w, div_ (y, z))));
  KEPT (div_ (add (w, div_ (y, z)), x));
  CUT (div_ (x, y)), CUT (map (MUGRAPH_OP_EXP, x));
}

static void test_completion (void **state) {
  (void) state;
  fresh (false);
  expr_id target[2] = {matmul (x, y, 24), div_ (x, sum (y, 6))};
  expr_set_targets (pool, 2, target);
  assert_int_equal (expr_target (pool, accum (MUGRAPH_OP_ACCUM, matmul (x, y, 4), 1, 6)), 0);
  assert_int_equal (expr_target (pool, div_ (x, sum (sum (y, 2), 3))), 1);
  assert_int_equal (expr_target (pool, x), -1);
  assert_int_equal (expr_missing_sum (pool, matmul (x, y, 4), 0), 6);
  assert_int_equal (expr_missing_sum (pool, matmul (x, y, 24), 0), 1);
  assert_int_equal (expr_missing_sum (pool, matmul (x, y, 5), 0), 0);
  assert_int_equal (expr_missing_sum (pool, matmul (x, y, 48), 0), 0);
  assert_int_equal (expr_missing_sum (pool, matmul (x, z, 4), 0), 0);
  assert_int_equal (expr_missing_sum (pool, div_ (x, sum (y, 3)), 1), 0); /* what is summed below stays short */
}

static void test_subtraction (void **state) {
  (void) state;
  fresh (true);
  aim (map (MUGRAPH_OP_SQRT, sub (map (MUGRAPH_OP_SQUARE, x), map (MUGRAPH_OP_SQUARE, y))));
  KEPT (add (x, y)), KEPT (sub (y, x)), KEPT (mul (add (x, y), sub (x, y))), KEPT (map (MUGRAPH_OP_SQUARE, x));
  KEPT (map (MUGRAPH_OP_SQRT, mul (add (x, y), sub (x, y))));
  CUT (z), CUT (map (MUGRAPH_OP_EXP, x)), CUT (map (MUGRAPH_OP_SQRT, x)), CUT (mul (x, mul (x, x)));
  fresh (true); /* exp (x - m) / sum (exp (x - m)) */
  expr_id e = map (MUGRAPH_OP_EXP, sub (x, map (MUGRAPH_OP_MAX, x)));
  aim (div_ (e, sum (e, 4)));
  KEPT (map (MUGRAPH_OP_EXP, x)), KEPT (sub (x, map (MUGRAPH_OP_MAX, x))), KEPT (e), KEPT (sum (e, 2));
  KEPT (div_ (map (MUGRAPH_OP_EXP, x), sum (map (MUGRAPH_OP_EXP, x), 4)));
  CUT (map (MUGRAPH_OP_SQUARE, x)), CUT (map (MUGRAPH_OP_MAX, e));
}

static void test_hash_is_the_same_in_every_pool (void **state) {
  (void) state;
  fresh (false);
  expr_id a = matmul (rms_norm (x, 8), y, 8);
  uint64_t hash = expr_hash (pool, a);
  fresh (false);
  expr_id b = map (MUGRAPH_OP_EXP, w); /* other numbers for everything */
  b = add (b, mul (z, z));
  assert_int_equal (expr_hash (pool, div_ (matmul (y, x, 8), accum (MUGRAPH_OP_ACCUM_RMS, x, 4, 2))), hash);
  assert_true (expr_hash (pool, b) != hash);
}

/* ---- random expressions and their rewrites: nothing that leads to the target may be pruned ---- */

typedef struct {
  int kind, a, b; /* operands: nodes */
  int64_t size, loop;
} node;

enum { NODES = 512 };
static node tree[NODES];
static int n_nodes;
static uint64_t random_state;

static uint32_t draw (uint32_t n) {
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t) ((random_state >> 33) % n);
}

static int make (int kind, int a, int b, int64_t size, int64_t loop) {
  if (n_nodes == NODES) return 0;
  tree[n_nodes] = (node){kind, a, b, size, loop};
  return n_nodes++;
}

static int grow (int depth, bool signs) {
  static const int sizes[] = {2, 4, 6, 12};
  static const int unary[] = {MUGRAPH_OP_EXP, MUGRAPH_OP_SQUARE, MUGRAPH_OP_SQRT, MUGRAPH_OP_SILU, MUGRAPH_OP_RELU};
  int size = sizes[draw (4)];
  if (depth <= 0 || draw (8) == 0) return make (MUGRAPH_OP_INPUT, (int) draw (4), 0, 1, 1);
  switch (draw (11)) {
  case 0:
  case 1:
    return make (signs && draw (2) ? MUGRAPH_OP_SUB : MUGRAPH_OP_ADD, grow (depth - 1, signs), grow (depth - 1, signs),
                 1, 1);
  case 2:
  case 3: return make (MUGRAPH_OP_MUL, grow (depth - 1, signs), grow (depth - 1, signs), 1, 1);
  case 4: return make (MUGRAPH_OP_DIV, grow (depth - 1, signs), grow (depth - 2, signs), 1, 1);
  case 5:
  case 6: return make (MUGRAPH_OP_MATMUL, grow (depth - 1, signs), grow (depth - 2, signs), size, 1);
  case 7: return make (MUGRAPH_OP_SUM, grow (depth - 1, signs), 0, size, 1);
  case 8: return make (draw (2) ? MUGRAPH_OP_MEAN : MUGRAPH_OP_RMS_NORM, grow (depth - 2, signs), 0, size, 1);
  default: return make (unary[draw (5)], grow (depth - 1, signs), 0, 1, 1);
  }
}

static bool has_quotient (int i) {
  node n = tree[i];
  if (n.kind == MUGRAPH_OP_INPUT) return false;
  return n.kind == MUGRAPH_OP_DIV || has_quotient (n.a) || (mugraph_op_table[n.kind].arity > 1 && has_quotient (n.b));
}

/* a/c + b/d as one quotient: for different inputs c, d and no quotients further in, lest it multiply by what it then
   divides by, which no normal form here undoes. */
static bool joinable (node a, node b) {
  return a.kind == MUGRAPH_OP_DIV && b.kind == MUGRAPH_OP_DIV && tree[a.b].kind == MUGRAPH_OP_INPUT &&
         tree[b.b].kind == MUGRAPH_OP_INPUT && tree[a.b].a != tree[b.b].a && !has_quotient (a.a) && !has_quotient (b.a);
}

/* One rewrite at node i where its rule fits; the result replaces it. Every rule is an identity of real functions when
   all elements of an input are alike, which `value` checks. */
static int rewrite (int i, bool signs) {
  node n = tree[i];
  if (n.kind == MUGRAPH_OP_INPUT) return i;
  node a = tree[n.a], b = tree[n.b];
  int m;
  switch (n.kind) {
  case MUGRAPH_OP_SUB: m = make (MUGRAPH_OP_NEG, n.b, 0, 1, 1); return make (MUGRAPH_OP_ADD, n.a, m, 1, 1);
  case MUGRAPH_OP_ADD:
    if (draw (2)) return make (MUGRAPH_OP_ADD, n.b, n.a, 1, 1);
    if (a.kind == MUGRAPH_OP_ADD) {
      m = make (MUGRAPH_OP_ADD, a.b, n.b, 1, 1);
      return make (MUGRAPH_OP_ADD, a.a, m, 1, 1);
    }
    if (joinable (a, b)) { /* a/c + b/d = (a d + b c) / (c d) */
      int p = make (MUGRAPH_OP_MUL, a.a, b.b, 1, 1), q = make (MUGRAPH_OP_MUL, b.a, a.b, 1, 1);
      m = make (MUGRAPH_OP_ADD, p, q, 1, 1);
      return make (MUGRAPH_OP_DIV, m, make (MUGRAPH_OP_MUL, a.b, b.b, 1, 1), 1, 1);
    }
    return i;
  case MUGRAPH_OP_MUL:
    if (draw (3) == 0) return make (MUGRAPH_OP_MUL, n.b, n.a, 1, 1);
    if (a.kind == MUGRAPH_OP_ADD || a.kind == MUGRAPH_OP_SUB) {
      int p = make (MUGRAPH_OP_MUL, a.a, n.b, 1, 1), q = make (MUGRAPH_OP_MUL, a.b, n.b, 1, 1);
      return make (a.kind, p, q, 1, 1);
    }
    if (a.kind == MUGRAPH_OP_DIV) {
      m = make (MUGRAPH_OP_MUL, a.a, n.b, 1, 1);
      return make (MUGRAPH_OP_DIV, m, a.b, 1, 1);
    }
    if (a.kind == MUGRAPH_OP_SUM) {
      m = make (MUGRAPH_OP_MUL, a.a, n.b, 1, 1);
      return make (MUGRAPH_OP_SUM, m, 0, a.size, 1);
    }
    if (a.kind == MUGRAPH_OP_MUL) {
      m = make (MUGRAPH_OP_MUL, a.b, n.b, 1, 1);
      return make (MUGRAPH_OP_MUL, a.a, m, 1, 1);
    }
    return i;
  case MUGRAPH_OP_DIV:
    if (a.kind == MUGRAPH_OP_ADD || a.kind == MUGRAPH_OP_SUB) {
      int p = make (MUGRAPH_OP_DIV, a.a, n.b, 1, 1), q = make (MUGRAPH_OP_DIV, a.b, n.b, 1, 1);
      return make (a.kind, p, q, 1, 1);
    }
    if (b.kind == MUGRAPH_OP_MUL) {
      m = make (MUGRAPH_OP_DIV, n.a, b.a, 1, 1);
      return make (MUGRAPH_OP_DIV, m, b.b, 1, 1);
    }
    if (b.kind == MUGRAPH_OP_DIV) {
      m = make (MUGRAPH_OP_MUL, n.a, b.b, 1, 1);
      return make (MUGRAPH_OP_DIV, m, b.a, 1, 1);
    }
    if (a.kind == MUGRAPH_OP_MATMUL || a.kind == MUGRAPH_OP_MUL) {
      m = make (MUGRAPH_OP_DIV, a.a, n.b, 1, 1);
      return make (a.kind, m, a.b, a.size, 1);
    }
    if (a.kind == MUGRAPH_OP_SUM || a.kind == MUGRAPH_OP_MEAN) {
      m = make (MUGRAPH_OP_DIV, a.a, n.b, 1, 1);
      return make (a.kind, m, 0, a.size, 1);
    }
    return i;
  case MUGRAPH_OP_MATMUL:
    if (draw (3) == 0 && n.size % 2 == 0) { /* half of it in each of two iterations */
      m = make (MUGRAPH_OP_MATMUL, n.a, n.b, n.size / 2, 1);
      return make (MUGRAPH_OP_ACCUM, m, 0, 1, 2);
    }
    if (a.kind == MUGRAPH_OP_ADD || a.kind == MUGRAPH_OP_SUB) {
      int p = make (MUGRAPH_OP_MATMUL, a.a, n.b, n.size, 1), q = make (MUGRAPH_OP_MATMUL, a.b, n.b, n.size, 1);
      return make (a.kind, p, q, 1, 1);
    }
    if (a.kind == MUGRAPH_OP_DIV) {
      m = make (MUGRAPH_OP_MATMUL, a.a, n.b, n.size, 1);
      return make (MUGRAPH_OP_DIV, m, a.b, 1, 1);
    }
    if (a.kind == MUGRAPH_OP_MATMUL) {
      m = make (MUGRAPH_OP_MATMUL, a.b, n.b, n.size, 1);
      return make (MUGRAPH_OP_MATMUL, a.a, m, a.size, 1);
    }
    m = make (MUGRAPH_OP_MUL, n.a, n.b, 1, 1);
    return make (MUGRAPH_OP_SUM, m, 0, n.size, 1);
  case MUGRAPH_OP_SUM:
  case MUGRAPH_OP_MEAN:
    if (draw (2) && n.size % 2 == 0) {
      m = make (n.kind, n.a, 0, n.size / 2, 1);
      return make (n.kind == MUGRAPH_OP_MEAN ? MUGRAPH_OP_ACCUM_MEAN : MUGRAPH_OP_ACCUM, m, 0, 1, 2);
    }
    if (a.kind == MUGRAPH_OP_ADD || a.kind == MUGRAPH_OP_SUB) {
      int p = make (n.kind, a.a, 0, n.size, 1), q = make (n.kind, a.b, 0, n.size, 1);
      return make (a.kind, p, q, 1, 1);
    }
    if (a.kind == MUGRAPH_OP_MUL || a.kind == MUGRAPH_OP_DIV) {
      m = make (n.kind, a.a, 0, n.size, 1);
      return make (a.kind, m, a.b, 1, 1);
    }
    return i;
  case MUGRAPH_OP_RMS_NORM:
    m = make (MUGRAPH_OP_ACCUM_RMS, n.a, 0, n.size / 2, 2);
    if (draw (2)) {
      m = make (MUGRAPH_OP_SQUARE, n.a, 0, 1, 1);
      m = make (MUGRAPH_OP_MEAN, m, 0, n.size, 1);
      m = make (MUGRAPH_OP_SQRT, m, 0, 1, 1);
    }
    return make (MUGRAPH_OP_DIV, n.a, m, 1, 1);
  case MUGRAPH_OP_SQUARE:
    if (signs && (a.kind == MUGRAPH_OP_SUB || a.kind == MUGRAPH_OP_ADD)) return make (MUGRAPH_OP_MUL, n.a, n.a, 1, 1);
    if (a.kind == MUGRAPH_OP_MUL || a.kind == MUGRAPH_OP_DIV) {
      int p = make (MUGRAPH_OP_SQUARE, a.a, 0, 1, 1), q = make (MUGRAPH_OP_SQUARE, a.b, 0, 1, 1);
      return make (a.kind, p, q, 1, 1);
    }
    return make (MUGRAPH_OP_MUL, n.a, n.a, 1, 1);
  case MUGRAPH_OP_EXP:
    if (a.kind == MUGRAPH_OP_ADD || a.kind == MUGRAPH_OP_SUB) {
      int p = make (MUGRAPH_OP_EXP, a.a, 0, 1, 1), q = make (MUGRAPH_OP_EXP, a.b, 0, 1, 1);
      return make (a.kind == MUGRAPH_OP_ADD ? MUGRAPH_OP_MUL : MUGRAPH_OP_DIV, p, q, 1, 1);
    }
    return i;
  default: return i;
  }
}

/* A copy in which about one node in two is rewritten, bottom up. */
static int rewritten (int i, bool signs) {
  node n = tree[i];
  if (n.kind == MUGRAPH_OP_INPUT) return i;
  int a = rewritten (n.a, signs), b = mugraph_op_table[n.kind].arity > 1 ? rewritten (n.b, signs) : 0;
  int copy = make (n.kind, a, b, n.size, n.loop);
  return draw (2) ? rewrite (copy, signs) : copy;
}

static double value (int i) {
  static const double inputs[4] = {0.31, 0.57, 0.83, 1.19};
  node n = tree[i];
  if (n.kind == MUGRAPH_OP_INPUT) return inputs[n.a];
  double a = value (n.a), b = mugraph_op_table[n.kind].arity > 1 ? value (n.b) : 0;
  switch (n.kind) {
  case MUGRAPH_OP_ADD: return a + b;
  case MUGRAPH_OP_SUB: return a - b;
  case MUGRAPH_OP_NEG: return -a;
  case MUGRAPH_OP_MUL: return a * b;
  case MUGRAPH_OP_DIV: return a / b;
  case MUGRAPH_OP_MATMUL: return (double) n.size * a * b;
  case MUGRAPH_OP_SUM: return (double) n.size * a;
  case MUGRAPH_OP_ACCUM: return (double) n.loop * a;
  case MUGRAPH_OP_RMS_NORM: return a / fabs (a);
  case MUGRAPH_OP_ACCUM_RMS: return fabs (a);
  case MUGRAPH_OP_SQUARE: return a * a;
  case MUGRAPH_OP_EXP: return exp (a);
  case MUGRAPH_OP_SQRT: return sqrt (fabs (a));
  case MUGRAPH_OP_SILU: return a / (1 + exp (-a));
  case MUGRAPH_OP_RELU: return a > 0 ? a : 0;
  default: return a; /* means */
  }
}

static expr_id id[NODES];

static expr_id express (int i) {
  node n = tree[i];
  if (n.kind == MUGRAPH_OP_INPUT) return id[i] = expr_input (pool, n.a);
  expr_id in[2] = {express (n.a), mugraph_op_table[n.kind].arity > 1 ? express (n.b) : 0};
  return id[i] = expr_of_op (pool, (mugraph_op_kind) n.kind, mugraph_op_table[n.kind].arity, in,
                             &(expr_attr){.size = n.size, .loop = n.loop});
}

static int print_tree (int i, char *out, size_t size) {
  node n = tree[i];
  if (n.kind == MUGRAPH_OP_INPUT) return snprintf (out, size, "x%d", n.a);
  char a[900], b[900] = "";
  print_tree (n.a, a, sizeof a);
  if (mugraph_op_table[n.kind].arity > 1) print_tree (n.b, b, sizeof b);
  return snprintf (out, size, "%s(%.400s%s%.400s; %d)", mugraph_op_table[n.kind].text, a, *b ? ", " : "", b,
                   (int) (n.size * n.loop));
}

static int kept, kept_trees, equal, compared, off;

static void check_kept (int i, int root) {
  kept++;
  if (!expr_may_contribute (pool, id[i])) {
    char a[900], b[900];
    print_tree (i, a, sizeof a), print_tree (root, b, sizeof b);
    fail_msg ("pruned %s\n  which leads to %s", a, b);
  }
  if (tree[i].kind == MUGRAPH_OP_INPUT) return;
  check_kept (tree[i].a, root);
  if (mugraph_op_table[tree[i].kind].arity > 1) check_kept (tree[i].b, root);
}

static void no_rewrite_is_pruned (bool signs, int trees, bool self_check) {
  search_stats stats = {0};
  kept = kept_trees = equal = compared = off = 0;
  for (int t = 0; t < trees; t++) {
    fresh (signs);
    expr_configure (pool, self_check, &stats);
    random_state = (uint64_t) t * 7919 + 5 + signs;
    n_nodes = 0;
    int root = grow (4, signs);
    expr_id target = express (root);
    aim (target);
    if (target == EXPR_UNKNOWN) continue;
    kept_trees++;
    for (int k = 0, last = root, first = n_nodes; k < 6; k++) {
      if (k % 3 == 0) n_nodes = first, last = root; /* up to three rewrites on top of each other */
      int now = rewritten (last, signs);
      if (n_nodes == NODES) break;
      double v = value (root), u = value (now);
      if (isfinite (v) && isfinite (u) && fabs (v) < 1e30) off += fabs (u - v) > 1e-6 * fabs (v) + 1e-9;
      expr_id e = express (now);
      equal += e == target, compared++;
      check_kept (now, root);
      last = now;
    }
    assert_int_equal (expr_disagreements (pool), 0);
  }
  print_message ("%d partial tensors kept; %d of %d rewrites have the target's normal form\n", kept, equal, compared);
  assert_true (kept_trees > trees / 2);
  assert_true (off <= (signs ? compared / 100 : 0)); /* differences of what is equal leave only rounding errors */
  if (!signs) assert_true (equal > 0.95 * compared);
  if (self_check) assert_true (stats.z3_queries > 100 && stats.z3_unknown == 0);
}

static void test_rewrites_are_kept (void **state) { (void) state, no_rewrite_is_pruned (false, 20000, false); }
static void test_signed_rewrites_are_kept (void **state) { (void) state, no_rewrite_is_pruned (true, 20000, false); }
static void test_rewrites_are_kept_by_z3 (void **state) { (void) state, no_rewrite_is_pruned (false, 60, true); }

/* ---- strength: of all tensors of one and two operators over a program's inputs, how many are cut ---- */

typedef struct {
  mugraph_shape shape;
  expr_id e;
} tensor;

static int extend (tensor t[], int n, int from, int limit) {
  static const mugraph_op_kind kinds[] = {MUGRAPH_OP_MATMUL, MUGRAPH_OP_EXP,     MUGRAPH_OP_SQUARE, MUGRAPH_OP_SQRT,
                                          MUGRAPH_OP_SILU,   MUGRAPH_OP_ADD,     MUGRAPH_OP_MUL,    MUGRAPH_OP_DIV,
                                          MUGRAPH_OP_SUM,    MUGRAPH_OP_RMS_NORM};
  int out = n;
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
    for (int i = 0; i < n; i++)
      for (int j = 0; j < (mugraph_op_table[kinds[k]].arity > 1 ? n : 1); j++) {
        bool binary = mugraph_op_table[kinds[k]].arity > 1;
        bool commutes = kinds[k] == MUGRAPH_OP_ADD || kinds[k] == MUGRAPH_OP_MUL;
        if ((i < from && (!binary || j < from)) || (commutes && j < i)) continue;
        mugraph_op o = {.kind = (uint8_t) kinds[k], .n_in = binary ? 2 : 1, .n_out = 1};
        o.dim = (int8_t) (t[i].shape.n_dims - 1);
        const mugraph_shape *shapes[2] = {&t[i].shape, &t[j].shape};
        mugraph_shape shape;
        if (!mugraph_infer_op (&o, shapes, &shape, NULL) || out == limit) continue;
        expr_id in[2] = {t[i].e, t[j].e};
        expr_attr attr = expr_attr_of (&o, shapes, 1, false);
        t[out++] = (tensor){shape, expr_of_op (pool, kinds[k], o.n_in, in, &attr)};
      }
  return out;
}

static double share_cut (const char *workload, int n_dims, int32_t dims[][3], int n_inputs) {
  mugraph_program_options options = {.batch = 1, .n_overrides = n_inputs};
  mugraph_program program, full;
  mugraph_error error;
  assert_true (mugraph_program_workload (workload, NULL, &full, &error));
  for (int i = 0; i < n_inputs; i++) {
    strcpy (options.override[i].name, full.graph.tensor[i].name);
    options.override[i].n_dims = n_dims;
    memcpy (options.override[i].dim, dims[i], sizeof dims[i]);
  }
  if (!mugraph_program_workload (workload, &options, &program, &error)) fail_msg ("%s", error.text);
  const mugraph *g = &program.graph;
  fresh (expr_loose (g));
  expr_id all[MUGRAPH_TENSORS], target[MUGRAPH_OUTPUTS];
  expr_of_graph (pool, g, all, NULL);
  for (int i = 0; i < g->n_outputs; i++) target[i] = all[g->output[i]];
  expr_set_targets (pool, g->n_outputs, target);
  for (int i = 0; i < g->n_tensors; i++) KEPT (all[i]);
  enum { LIMIT = 1 << 16 };
  tensor *t = malloc (LIMIT * sizeof *t);
  assert_non_null (t);
  for (int i = 0; i < g->n_inputs; i++) t[i] = (tensor){g->tensor[i].shape, all[i]};
  int one = extend (t, g->n_inputs, 0, LIMIT), two = extend (t, one, g->n_inputs, LIMIT), cut = 0;
  for (int i = g->n_inputs; i < two; i++) cut += !expr_may_contribute (pool, t[i].e);
  free (t);
  double share = (double) cut / (two - g->n_inputs);
  print_message ("%-9s %5d tensors of one or two operators, %.1f %% cut\n", workload, two - g->n_inputs, 100 * share);
  return share;
}

static void test_strength (void **state) {
  (void) state;
  assert_true (share_cut ("gqa", 3, (int32_t[][3]){{2, 8, 4}, {2, 4, 6}, {2, 6, 4}}, 3) > 0.9);
  assert_true (share_cut ("qknorm", 3, (int32_t[][3]){{2, 8, 4}, {2, 4, 6}, {2, 6, 4}}, 3) > 0.85);
  assert_true (share_cut ("rmsnorm", 2, (int32_t[][3]){{4, 6}, {6, 8}}, 2) > 0.75);
  assert_true (share_cut ("lora", 2, (int32_t[][3]){{4, 6}, {6, 8}, {6, 10}, {10, 8}}, 4) > 0.8);
  assert_true (share_cut ("gatedmlp", 2, (int32_t[][3]){{4, 6}, {6, 8}, {6, 8}}, 3) > 0.8);
  assert_true (share_cut ("ntrans", 2, (int32_t[][3]){{4, 6}, {4, 6}, {4, 6}}, 3) > 0.6);
}

static prune_answer ask_one (prune_z3 *solver, const prune_part *part) {
  prune_way way = {.n_parts = 1, .part = {*part}};
  return prune_z3_ask (solver, 1, &way);
}

static void test_z3_alone (void **state) {
  (void) state;
  prune_z3 *solver = prune_z3_new ();
  assert_non_null (solver);
  /* variables a, b, (2-exponents of sum and mean); partial a + b, goals 2 a b s^4 + a^2 + b b */
  int32_t partial[] = {1, 0, 0, 0, 0, 1, 0, 0}, goal[] = {1, 1, 2, 0, 2, 0, 2, 0, 0, 2, 0, 0};
  uint32_t one[] = {1, 1}, counts[] = {2, 1, 1};
  prune_part q = {PRUNE_PART, false, false, 2, 1, 2, 3, partial, goal, one, counts};
  assert_int_equal (ask_one (solver, &q), PRUNE_YES); /* times a s^4 */
  q.no_sum = true;
  assert_int_equal (ask_one (solver, &q), PRUNE_NO);
  q.no_sum = false;
  prune_way both = {.n_parts = 2, .part = {q, q}}, either[2] = {both, both};
  goal[2] = 1;
  assert_int_equal (ask_one (solver, &q), PRUNE_NO); /* the two need different sums now */
  q.relation = PRUNE_SUPPORT;
  assert_int_equal (ask_one (solver, &q), PRUNE_YES); /* which they may have */
  goal[2] = 2, one[1] = 3, q.relation = PRUNE_PART;
  assert_int_equal (ask_one (solver, &q), PRUNE_NO); /* three times b */
  one[1] = 1, goal[3] = goal[7] = 3;
  assert_int_equal (ask_one (solver, &q), PRUNE_NO); /* divided by more than was summed */
  assert_int_equal (prune_z3_ask (NULL, 1, &both), PRUNE_UNKNOWN);
  assert_int_equal (prune_z3_ask (solver, 0, &both), PRUNE_NO); /* no way at all */

  /* b s^4 + a b s^2: b is a factor; of multipliers that are sums alone only where they are allowed */
  int32_t b[] = {0, 1, 0, 0}, sum[] = {0, 1, 2, 0, 1, 1, 1, 0};
  uint32_t two[] = {2, 1};
  prune_part f = {PRUNE_FACTOR, false, false, 2, 1, 1, 2, b, sum, one, two};
  assert_int_equal (ask_one (solver, &f), PRUNE_YES);
  f.no_bare_sum = true;
  assert_int_equal (ask_one (solver, &f), PRUNE_NO);
  f.no_bare_sum = false, f.partial_count = two;
  assert_int_equal (ask_one (solver, &f), PRUNE_NO); /* 2 b is a factor of the first only */

  /* all parts of a way, some way of a question */
  either[0].part[0] = q, either[0].part[1] = f, either[1].n_parts = 1, either[1].part[0] = f;
  assert_int_equal (prune_z3_ask (solver, 2, either), PRUNE_NO);
  either[1].part[0].partial_count = one;
  assert_int_equal (prune_z3_ask (solver, 2, either), PRUNE_YES);
  either[1] = either[0], either[1].part[1].partial_count = one;
  assert_int_equal (prune_z3_ask (solver, 2, either), PRUNE_NO);
  prune_z3_free (solver);
}

/* Every pruning is confirmed: as many questions as normal forms cut, once each, whoever asks. */
static void test_prunings_are_confirmed (void **state) {
  (void) state;
  search_stats stats = {0};
  expr_memo *memo = expr_memo_new ();
  assert_non_null (memo);
  for (int round = 0; round < 2; round++) {
    fresh (false);
    expr_configure (pool, false, &stats);
    expr_share (pool, memo);
    aim (mul (x, add (y, z)));
    KEPT (x), KEPT (add (y, z));
    assert_int_equal (stats.z3_queries, round ? 3 : 0);
    CUT (w), CUT (mul (x, x)), CUT (map (MUGRAPH_OP_EXP, x)), CUT (w);
    assert_int_equal (stats.z3_queries, 3);
  }
  assert_true (stats.z3_unknown == 0 && stats.z3_denied == 0 && stats.memo_hits == 2);
  assert_int_equal (expr_disagreements (pool), 0);
  expr_memo_free (memo);
  expr_share (pool, NULL);
  CUT (mul (w, x));
  assert_int_equal (stats.z3_queries, 4);
}

/* What is too large to be kept in normal form, or unknown, is never pruned. */
static void test_unknown_is_kept (void **state) {
  (void) state;
  fresh (false);
  aim (x);
  expr_id big = add (add (x, y), add (z, w));
  for (int i = 0; i < 6; i++) big = mul (big, big);
  assert_int_equal (big, EXPR_UNKNOWN);
  KEPT (big), KEPT (add (big, x)), CUT (y);
  fresh (false);
  aim (EXPR_UNKNOWN);
  KEPT (x), KEPT (map (MUGRAPH_OP_EXP, y));
}

static void test_loose_programs (void **state) {
  (void) state;
  static const struct {
    const char *text;
    bool loose;
  } programs[] = {
      {"input X[4, 6]: f16\ninput Y[4, 1]: f16\noutput mean(X + Y, -1)\n", true},
      {"input X[4, 6]: f16\ninput Y[4, 1]: f16\noutput mean(X * Y, -1)\n", false},
      {"input X[4, 6]: f16\ninput Y[4, 6]: f16\noutput mean(X + Y, -1)\n", false},
      {"input X[4, 6]: f16\ninput Y[4, 6]: f16\noutput X - Y\n", true},
      {"input X[4, 6]: f16\noutput rms_norm(X / sum(X, -1), -1)\n", false},
      {"input X[4, 6]: f16\noutput sum(square(X + sum(X, -1)), -1)\n", true},
      {"input X[4, 6]: f16\ninput W[6, 4]: f16\noutput matmul(X + sum(X, -1), W)\n", false},
  };
  for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
    mugraph_program p;
    mugraph_error e;
    if (!mugraph_program_parse (programs[i].text, strlen (programs[i].text), "text", NULL, &p, &e))
      fail_msg ("%s", e.text);
    if (expr_loose (&p.graph) != programs[i].loose) fail_msg ("%s", programs[i].text);
  }
}

int main (void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown (test_equalities, tear_down),
      cmocka_unit_test_teardown (test_concatenation, tear_down),
      cmocka_unit_test_teardown (test_attention, tear_down),
      cmocka_unit_test_teardown (test_rms_norm_matmul, tear_down),
      cmocka_unit_test_teardown (test_residual_step, tear_down),
      cmocka_unit_test_teardown (test_gated, tear_down),
      cmocka_unit_test_teardown (test_factors_of_sums, tear_down),
      cmocka_unit_test_teardown (test_completion, tear_down),
      cmocka_unit_test_teardown (test_subtraction, tear_down),
      cmocka_unit_test_teardown (test_hash_is_the_same_in_every_pool, tear_down),
      cmocka_unit_test_teardown (test_rewrites_are_kept, tear_down),
      cmocka_unit_test_teardown (test_signed_rewrites_are_kept, tear_down),
      cmocka_unit_test_teardown (test_rewrites_are_kept_by_z3, tear_down),
      cmocka_unit_test_teardown (test_strength, tear_down),
      cmocka_unit_test (test_z3_alone),
      cmocka_unit_test_teardown (test_prunings_are_confirmed, tear_down),
      cmocka_unit_test_teardown (test_unknown_is_kept, tear_down),
      cmocka_unit_test (test_loose_programs),
  };
  return cmocka_run_group_tests (tests, NULL, NULL);
}
