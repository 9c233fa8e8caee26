/* The fields and the loops over numbers: constants proved, small primes exhaustively, large ones against naive loops.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "verify/field.h"
#include "verify/number.h"

/* The loops of number.inc at a prime small enough to try everything. */
enum { SMALL = 83 };
#define NUM uint32_t
#define NAME(x) x##_small
#define ADD(a, b) ((a) + (b) >= SMALL ? (a) + (b) -SMALL : (a) + (b))
#define SUB(a, b) ((a) >= (b) ? (a) - (b) : (a) + (SMALL - (b)))
#define MUL(a, b) ((a) * (b) % SMALL)
#define INT(n) (uint32_t) ((n) % SMALL)
#define WIDE uint64_t
#define FOLD(w) (uint32_t) ((w) % SMALL)
#include "verify/number.inc"

static bool is_prime (uint64_t n) {
  if (n < 4) return n > 1;
  if (n % 2 == 0) return false;
  for (uint64_t d = 3; d * d <= n; d += 2)
    if (n % d == 0) return false;
  return true;
}

static void primes_are_the_largest (void **state) {
  (void) state;
  assert_true (is_prime (FIELD_Q) && is_prime (FIELD_P));
  assert_int_equal (FIELD_P, 2 * (uint64_t) FIELD_Q + 1);
  for (uint64_t q = FIELD_Q + 1; q < (uint64_t) 1 << 30; q++) assert_false (is_prime (q) && is_prime (2 * q + 1));
}

static void w_has_order_q (void **state) {
  (void) state;
  assert_int_not_equal (FIELD_W % FIELD_P, 1);
  assert_int_equal (field_power (FIELD_W, FIELD_Q, FIELD_P), 1); /* q is prime: nothing smaller divides it */
}

static void exp_turns_sums_into_products (void **state) {
  (void) state;
  field_setup ();
  for (uint64_t i = 0; i < 2000; i++) {
    uint32_t x = field_draw_q (field_mix (i)), y = field_draw_q (field_mix (~i));
    assert_int_equal (field_exp (x), field_power (FIELD_W, x, FIELD_P));
    assert_int_equal (field_mul_p (field_exp (x), field_exp (y)),
                      field_exp ((uint32_t) (((uint64_t) x + y) % FIELD_Q)));
  }
  assert_int_equal (field_exp (0), 1);
  assert_int_equal (field_mul_p (field_exp (FIELD_Q - 1), FIELD_W), 1);
}

static void small_prime_exhaustively (void **state) {
  (void) state;
  uint32_t all[SMALL], out[SMALL];
  for (uint32_t i = 0; i < SMALL; i++) all[i] = i;
  for (uint32_t x = 0; x < SMALL; x++) {
    add_small (SMALL, &x, 0, all, 1, out);
    for (uint32_t y = 0; y < SMALL; y++) assert_int_equal (out[y], (x + y) % SMALL);
    sub_small (SMALL, all, 1, &x, 0, out);
    for (uint32_t y = 0; y < SMALL; y++) assert_int_equal (out[y], (y + SMALL - x) % SMALL);
    sub_small (SMALL, &x, 0, all, 1, out);
    for (uint32_t y = 0; y < SMALL; y++) assert_int_equal (out[y], (x + SMALL - y) % SMALL);
    mul_small (SMALL, all, 1, &x, 0, out);
    for (uint32_t y = 0; y < SMALL; y++) assert_int_equal (out[y], x * y % SMALL);
    mul_small (1, &x, 0, &x, 0, out);
    square_small (NULL, 1, &x, out + 1);
    assert_int_equal (out[0], out[1]);
    neg_small (NULL, 1, &x, out);
    assert_int_equal ((out[0] + x) % SMALL, 0);
  }
  uint32_t sums[200];
  for (int outer = 1; outer < 4; outer++)
    for (int n = 1; n < 6; n++)
      for (int inner = 1; inner < 4; inner++) {
        for (int i = 0; i < outer * inner; i++) sums[i] = 5;
        sum_small (outer, n, inner, all, sums, true);
        for (int o = 0; o < outer; o++)
          for (int i = 0; i < inner; i++) {
            uint32_t want = 5;
            for (int r = 0; r < n; r++) want += all[(o * n + r) * inner + i];
            assert_int_equal (sums[o * inner + i], want % SMALL);
          }
      }
  fill_small (3, SMALL + 2, out);
  assert_int_equal (out[2], 2);
}

static void check_field (const number *f, uint64_t m) {
  enum { N = 300 };
  uint32_t a[N], b[N], out[N],
      edge[] = {0, 1, 2, (uint32_t) (m - 2), (uint32_t) (m - 1), (uint32_t) (m / 2), (uint32_t) (m / 2 + 1)};
  for (int i = 0; i < N; i++) {
    a[i] = i < 49 ? edge[i / 7] : (uint32_t) (field_mix ((uint64_t) i) % m);
    b[i] = i < 49 ? edge[i % 7] : (uint32_t) (field_mix ((uint64_t) i + 1000) % m);
  }
  f->binary[MUGRAPH_OP_ADD](N, a, 1, b, 1, out);
  for (int i = 0; i < N; i++) assert_int_equal (out[i], ((uint64_t) a[i] + b[i]) % m);
  f->binary[MUGRAPH_OP_SUB](N, a, 1, b, 1, out);
  for (int i = 0; i < N; i++) assert_int_equal (out[i], ((uint64_t) a[i] + m - b[i]) % m);
  f->binary[MUGRAPH_OP_MUL](N, a, 1, b, 1, out);
  for (int i = 0; i < N; i++) assert_int_equal (out[i], (uint64_t) a[i] * b[i] % m);
  assert_false (f->inverse (N, a, out)); /* it holds zeros */
  for (int i = 0; i < N; i++) a[i] += !a[i];
  assert_true (f->inverse (N, a, out));
  for (int i = 0; i < N; i++) assert_int_equal ((uint64_t) a[i] * out[i] % m, 1);
  memcpy (out, a, sizeof a);
  f->scale (N, 3, 7, out);
  for (int i = 0; i < N; i++) assert_int_equal ((uint64_t) out[i] * 7 % m, (uint64_t) a[i] * 3 % m);
}

static void large_primes_against_naive (void **state) {
  (void) state;
  check_field (&number_p, FIELD_P);
  check_field (&number_q, FIELD_Q);
}

static void products_against_naive (void **state) {
  (void) state;
  static const int shapes[][3] = {{1, 1, 1},     {2, 3, 4},    {3, 5, 700},  {4, 16, 64}, {5, 17, 13},
                                  {7, 33, 1030}, {1, 40, 513}, {6, 15, 512}, {9, 64, 5}};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
    for (int full = 0; full < 2; full++) /* full: all elements are the largest, the worst for lazy sums */
      for (int which = 0; which < 2; which++) {
        int m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
        uint64_t mod = which ? FIELD_Q : FIELD_P;
        uint32_t *a = malloc (sizeof *a * (size_t) (m * k)), *b = malloc (sizeof *b * (size_t) (k * n)),
                 *fast = malloc (sizeof *fast * (size_t) (m * n));
        double *x = malloc (sizeof *x * (size_t) (m * k)), *y = malloc (sizeof *y * (size_t) (k * n)),
               *z = malloc (sizeof *z * (size_t) (m * n));
        for (int i = 0; i < m * k; i++)
          a[i] = full ? (uint32_t) (mod - 1) : (uint32_t) (field_mix ((uint64_t) i) % mod), x[i] = a[i] / 1e9 - 1;
        for (int i = 0; i < k * n; i++)
          b[i] = full ? (uint32_t) (mod - 1) : (uint32_t) (field_mix ((uint64_t) i + 77) % mod), y[i] = b[i] / 1e9 - 1;
        for (int path = NUMBER_BEST; path <= NUMBER_AVX512; path++) {
          number_matmul_mod ((uint32_t) mod, m, n, k, a, b, fast, (number_path) path);
          number_matmul_real (m, n, k, x, y, z, (number_path) path);
          for (int i = 0; i < m; i++)
            for (int j = 0; j < n; j++) {
              uint64_t want = 0;
              double real = 0;
              for (int r = 0; r < k; r++) {
                want = (want + (uint64_t) a[i * k + r] * b[r * n + j] % mod) % mod;
                real += x[i * k + r] * y[r * n + j];
              }
              assert_int_equal (fast[i * n + j], want);
              assert_true (fabs (z[i * n + j] - real) <= 1e-11 * (1 + fabs (real)));
            }
        }
        free (a), free (b), free (fast), free (x), free (y), free (z);
      }
}

static void draws_are_spread (void **state) {
  (void) state;
  int low[2] = {0}, n = 100000;
  double mean[2] = {0};
  for (int i = 0; i < n; i++) {
    uint64_t h = field_hash (1, (uint64_t) i);
    uint32_t p = field_draw_p (h), q = field_draw_q (h);
    assert_true (p < FIELD_P && q < FIELD_Q);
    mean[0] += (double) p / FIELD_P / n, mean[1] += (double) q / FIELD_Q / n;
    low[0] += p & 1, low[1] += q & 1;
  }
  for (int f = 0; f < 2; f++) {
    assert_true (fabs (mean[f] - 0.5) < 0.005); /* 5 sigma */
    assert_true (abs (low[f] - n / 2) < 800);
  }
}

int main (void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test (primes_are_the_largest),
      cmocka_unit_test (w_has_order_q),
      cmocka_unit_test (exp_turns_sums_into_products),
      cmocka_unit_test (small_prime_exhaustively),
      cmocka_unit_test (large_primes_against_naive),
      cmocka_unit_test (products_against_naive),
      cmocka_unit_test (draws_are_spread),
  };
  return cmocka_run_group_tests_name ("verify_field", tests, NULL, NULL);
}
