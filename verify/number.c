#include "number.h"
#include "field.h"

#include <math.h>

/* Sums stay in 64 bits: 2^31 * 2^28, the largest dimension, is below 2^63. */
#define NUM uint32_t
#define NAME(x) x##_p
#define ADD(a, b) (uint32_t) (((uint64_t) (a) + (b)) >= FIELD_P ? (a) + (b) -FIELD_P : (a) + (b))
#define SUB(a, b) ((a) >= (b) ? (a) - (b) : (a) + (FIELD_P - (b)))
#define MUL(a, b) field_mul_p (a, b)
#define INT(n) (uint32_t) ((n) % (int64_t) FIELD_P)
#define WIDE uint64_t
#define FOLD(w) (uint32_t) ((w) % FIELD_P)
#include "number.inc"

#define NUM uint32_t
#define NAME(x) x##_q
#define ADD(a, b) ((a) + (b) >= FIELD_Q ? (a) + (b) -FIELD_Q : (a) + (b))
#define SUB(a, b) ((a) >= (b) ? (a) - (b) : (a) + (FIELD_Q - (b)))
#define MUL(a, b) field_mul_q (a, b)
#define INT(n) (uint32_t) ((n) % (int64_t) FIELD_Q)
#define WIDE uint64_t
#define FOLD(w) (uint32_t) ((w) % FIELD_Q)
#include "number.inc"

#define NUM double
#define NAME(x) x##_real
#define ADD(a, b) ((a) + (b))
#define SUB(a, b) ((a) - (b))
#define MUL(a, b) ((a) * (b))
#define INT(n) (double) (n)
#define WIDE double
#define FOLD(w) (w)
#include "number.inc"

/* ---- the fields ---- */

/* Montgomery's trick: one power for the whole run. Runs of 64 keep the products in a small buffer. */
#define INVERSE(f, F)                                                                                                  \
  static bool inverse_##f (int64_t n, const void *pa, void *po) {                                                      \
    const uint32_t *a = pa;                                                                                            \
    uint32_t *o = po, before[64];                                                                                      \
    for (int64_t i = 0; i < n; i += 64) {                                                                              \
      int m = n - i < 64 ? (int) (n - i) : 64;                                                                         \
      uint32_t v = 1;                                                                                                  \
      for (int j = 0; j < m; j++) {                                                                                    \
        if (!a[i + j]) return false;                                                                                   \
        before[j] = v;                                                                                                 \
        v = field_mul_##f (v, a[i + j]);                                                                               \
      }                                                                                                                \
      v = field_power (v, F - 2, F);                                                                                   \
      for (int j = m; j--;) {                                                                                          \
        uint32_t x = a[i + j];                                                                                         \
        o[i + j] = field_mul_##f (v, before[j]);                                                                       \
        v = field_mul_##f (v, x);                                                                                      \
      }                                                                                                                \
    }                                                                                                                  \
    return true;                                                                                                       \
  }                                                                                                                    \
  static void scale_##f (int64_t n, int64_t num, int64_t den, void *po) {                                              \
    uint32_t *o = po;                                                                                                  \
    uint32_t c = field_mul_##f ((uint32_t) (num % F), field_power ((uint32_t) (den % F), F - 2, F));                   \
    for (int64_t i = 0; i < n; i++) o[i] = field_mul_##f (o[i], c);                                                    \
  }                                                                                                                    \
  static void matmul_##f (int64_t m, int64_t n, int64_t k, const void *a, const void *b, void *out) {                  \
    number_matmul_mod (F, m, n, k, a, b, out, NUMBER_BEST);                                                            \
  }
INVERSE (p, FIELD_P)
INVERSE (q, FIELD_Q)

/* op.def, column field. What is not a loop over one plane is NULL: exp leads from one field to the other, keyed
   functions read the residue mod p and make both, a quotient is the product with an inverse. */
#define UNARY_none(f) NULL
#define UNARY_neg(f) neg_##f
#define UNARY_square(f) square_##f
#define UNARY_exp(f) NULL
#define UNARY_keyed(f) NULL
#define UNARY_add(f) NULL
#define UNARY_sub(f) NULL
#define UNARY_mul(f) NULL
#define UNARY_div(f) NULL
#define BINARY_none(f) NULL
#define BINARY_neg(f) NULL
#define BINARY_square(f) NULL
#define BINARY_exp(f) NULL
#define BINARY_keyed(f) NULL
#define BINARY_add(f) add_##f
#define BINARY_sub(f) sub_##f
#define BINARY_mul(f) mul_##f
#define BINARY_div(f) NULL

const number number_p = {
    .size = 4,
    .unary =
        {
#define OP(id, text, arity, levels, klass, shape, expr, field, real, cuda) [MUGRAPH_OP_##id] = UNARY_##field (p),
#include "mugraph/op.def"
#undef OP
        },
    .binary =
        {
#define OP(id, text, arity, levels, klass, shape, expr, field, real, cuda) [MUGRAPH_OP_##id] = BINARY_##field (p),
#include "mugraph/op.def"
#undef OP
        },
    .inverse = inverse_p,
    .sum = sum_p,
    .scale = scale_p,
    .fill = fill_p,
    .matmul = matmul_p,
};

const number number_q = {
    .size = 4,
    .unary =
        {
#define OP(id, text, arity, levels, klass, shape, expr, field, real, cuda) [MUGRAPH_OP_##id] = UNARY_##field (q),
#include "mugraph/op.def"
#undef OP
        },
    .binary =
        {
#define OP(id, text, arity, levels, klass, shape, expr, field, real, cuda) [MUGRAPH_OP_##id] = BINARY_##field (q),
#include "mugraph/op.def"
#undef OP
        },
    .inverse = inverse_q,
    .sum = sum_q,
    .scale = scale_q,
    .fill = fill_q,
    .matmul = matmul_q,
};

/* ---- float64: op.def, column real. $a is x, $b is y, the constants are op->c ---- */

#define REAL1(name, expression)                                                                                        \
  static void real1_##name (const mugraph_op *op, int64_t n, const void *pa, void *po) {                               \
    const double *a = pa, *c = op->c;                                                                                  \
    double *o = po;                                                                                                    \
    (void) c;                                                                                                          \
    for (int64_t i = 0; i < n; i++) {                                                                                  \
      double x = a[i];                                                                                                 \
      o[i] = expression;                                                                                               \
    }                                                                                                                  \
  }
REAL1 (exp, exp (x))
REAL1 (sqrt, sqrt (x))
REAL1 (silu, x / (1 + exp (-x)))
REAL1 (gelu, x / 2 * (1 + erf (x * M_SQRT1_2)))
REAL1 (relu, x > 0 || x != x ? x : 0)
REAL1 (tanh, tanh (x))
REAL1 (sigmoid, 1 / (1 + exp (-x)))
REAL1 (log, log (x))
REAL1 (clamp, fmin (fmax (x, c[0]), c[1]))
#define real1_neg neg_real
#define real1_square square_real
#define real1_none NULL
#define real1_add NULL
#define real1_sub NULL
#define real1_mul NULL
#define real1_div NULL
#define real1_pow NULL

#define REAL2(name, expression)                                                                                        \
  static void real2_##name (int64_t n, const void *pa, int sa, const void *pb, int sb, void *po) {                     \
    const double *a = pa, *b = pb;                                                                                     \
    double *o = po;                                                                                                    \
    for (int64_t i = 0; i < n; i++) {                                                                                  \
      double x = a[i * sa], y = b[i * sb];                                                                             \
      o[i] = expression;                                                                                               \
    }                                                                                                                  \
  }
REAL2 (div, x / y)
REAL2 (pow, pow (x, y))
#define real2_add add_real
#define real2_sub sub_real
#define real2_mul mul_real
#define real2_none NULL
#define real2_neg NULL
#define real2_exp NULL
#define real2_square NULL
#define real2_sqrt NULL
#define real2_silu NULL
#define real2_gelu NULL
#define real2_relu NULL
#define real2_tanh NULL
#define real2_sigmoid NULL
#define real2_log NULL
#define real2_clamp NULL

static void scale_real (int64_t n, int64_t num, int64_t den, void *po) {
  double *o = po, c = (double) num / (double) den;
  for (int64_t i = 0; i < n; i++) o[i] *= c;
}

static void matmul_real (int64_t m, int64_t n, int64_t k, const void *a, const void *b, void *out) {
  number_matmul_real (m, n, k, a, b, out, NUMBER_BEST);
}

const number number_real = {
    .size = 8,
    .unary =
        {
#define OP(id, text, arity, levels, klass, shape, expr, field, real, cuda) [MUGRAPH_OP_##id] = real1_##real,
#include "mugraph/op.def"
#undef OP
        },
    .binary =
        {
#define OP(id, text, arity, levels, klass, shape, expr, field, real, cuda) [MUGRAPH_OP_##id] = real2_##real,
#include "mugraph/op.def"
#undef OP
        },
    .sum = sum_real,
    .scale = scale_real,
    .fill = fill_real,
    .matmul = matmul_real,
};
