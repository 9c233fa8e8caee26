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

/* op.def, column field: loops over one plane. NULL for what is none: exp leads from one field to the other, a quotient
   is the product with an inverse, keyed functions read the residue mod p and make both. The class says how many
   operands the loop has. */
#define none_p NULL
#define none_q NULL
#define exp_p NULL
#define exp_q NULL
#define div_p NULL
#define div_q NULL
#define UNARY_LEAF(f) NULL
#define UNARY_SAVER(f) NULL
#define UNARY_CUSTOM(f) NULL
#define UNARY_MATMUL(f) NULL
#define UNARY_UNARY(f) f
#define UNARY_BINARY(f) NULL
#define UNARY_REDUCE(f) NULL
#define UNARY_LAYOUT(f) NULL
#define UNARY_ACCUM(f) NULL
#define BINARY_LEAF(f) NULL
#define BINARY_SAVER(f) NULL
#define BINARY_CUSTOM(f) NULL
#define BINARY_MATMUL(f) NULL
#define BINARY_UNARY(f) NULL
#define BINARY_BINARY(f) f
#define BINARY_REDUCE(f) NULL
#define BINARY_LAYOUT(f) NULL
#define BINARY_ACCUM(f) NULL

const number number_p = {
    .size = 4,
    .unary =
        {
#define OP(id, text, arity, levels, klass, shape, attributes, statistic, unit, traits, field, real, cuda)              \
  [MUGRAPH_OP_##id] = UNARY_##klass (field##_p),
#include "mugraph/op.def"
#undef OP
        },
    .binary =
        {
#define OP(id, text, arity, levels, klass, shape, attributes, statistic, unit, traits, field, real, cuda)              \
  [MUGRAPH_OP_##id] = BINARY_##klass (field##_p),
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
#define OP(id, text, arity, levels, klass, shape, attributes, statistic, unit, traits, field, real, cuda)              \
  [MUGRAPH_OP_##id] = UNARY_##klass (field##_q),
#include "mugraph/op.def"
#undef OP
        },
    .binary =
        {
#define OP(id, text, arity, levels, klass, shape, attributes, statistic, unit, traits, field, real, cuda)              \
  [MUGRAPH_OP_##id] = BINARY_##klass (field##_q),
#include "mugraph/op.def"
#undef OP
        },
    .inverse = inverse_q,
    .sum = sum_q,
    .scale = scale_q,
    .fill = fill_q,
    .matmul = matmul_q,
};

/* ---- float64: op.def, column real. x and y are the operands, c the constants op->c ---- */

#define none_real NULL

#define REAL1(name, expression)                                                                                        \
  static void name##_real (const mugraph_op *op, int64_t n, const void *pa, void *po) {                                \
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

#define REAL2(name, expression)                                                                                        \
  static void name##_real (int64_t n, const void *pa, int sa, const void *pb, int sb, void *po) {                      \
    const double *a = pa, *b = pb;                                                                                     \
    double *o = po;                                                                                                    \
    for (int64_t i = 0; i < n; i++) {                                                                                  \
      double x = a[i * sa], y = b[i * sb];                                                                             \
      o[i] = expression;                                                                                               \
    }                                                                                                                  \
  }
REAL2 (div, x / y)
REAL2 (pow, pow (x, y))

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
#define OP(id, text, arity, levels, klass, shape, attributes, statistic, unit, traits, field, real, cuda)              \
  [MUGRAPH_OP_##id] = UNARY_##klass (real##_real),
#include "mugraph/op.def"
#undef OP
        },
    .binary =
        {
#define OP(id, text, arity, levels, klass, shape, attributes, statistic, unit, traits, field, real, cuda)              \
  [MUGRAPH_OP_##id] = BINARY_##klass (real##_real),
#include "mugraph/op.def"
#undef OP
        },
    .sum = sum_real,
    .scale = scale_real,
    .fill = fill_real,
    .matmul = matmul_real,
};
