#include "value.h"

#include "verify/field.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t value_hash (const residue *v, int64_t n) { return XXH3_64bits (v, (size_t) n * sizeof *v); }

void value_draw (uint64_t seed, int input, int64_t n, residue *out) {
  uint64_t key = field_hash (seed, 0x696e707574ull + (uint64_t) input);
  for (int64_t i = 0; i < n; i++) {
    uint64_t h = field_hash (key, (uint64_t) i);
    out[i] = (residue){field_draw_p (h), field_draw_q (h)};
  }
}

static uint32_t add_p (uint32_t a, uint32_t b) {
  uint32_t s = a + b; /* below 2^32, for p < 2^31 */
  return s >= FIELD_P ? s - FIELD_P : s;
}
static uint32_t add_q (uint32_t a, uint32_t b) {
  uint32_t s = a + b;
  return s >= FIELD_Q ? s - FIELD_Q : s;
}

static residue add (residue a, residue b) {
  return (residue){add_p (a.p, b.p), a.q == VALUE_NONE || b.q == VALUE_NONE ? VALUE_NONE : add_q (a.q, b.q)};
}
static residue mul (residue a, residue b) {
  return (residue){field_mul_p (a.p, b.p),
                   a.q == VALUE_NONE || b.q == VALUE_NONE ? VALUE_NONE : field_mul_q (a.q, b.q)};
}
static residue neg (residue a) {
  return (residue){a.p ? FIELD_P - a.p : 0, a.q == VALUE_NONE || !a.q ? a.q : FIELD_Q - a.q};
}
/* The inverse of 0 is taken for 0. One draw in 2^30 meets it, and then the equivalence check finds out. */
static residue invert (residue a) {
  return (residue){field_power (a.p, FIELD_P - 2, FIELD_P),
                   a.q == VALUE_NONE ? a.q : field_power (a.q, FIELD_Q - 2, FIELD_Q)};
}

enum { BATCH = 256 };

/* Inverses of n elements, one exponentiation each BATCH (Montgomery's trick: invert the product, peel off factors). */
static void invert_all (int64_t n, const residue *a, residue *out) {
  for (int64_t at = 0; at < n; at += BATCH) {
    int m = n - at < BATCH ? (int) (n - at) : BATCH;
    residue before[BATCH], product = {1, 1};
    for (int i = 0; i < m; i++) { /* zeros are left out of the product */
      residue v = a[at + i];
      before[i] = product;
      product.p = v.p ? field_mul_p (product.p, v.p) : product.p;
      product.q = v.q && v.q != VALUE_NONE ? field_mul_q (product.q, v.q) : product.q;
    }
    product = invert (product);
    for (int i = m - 1; i >= 0; i--) {
      residue v = a[at + i], *to = &out[at + i];
      to->p = v.p ? field_mul_p (product.p, before[i].p) : 0;
      if (v.p) product.p = field_mul_p (product.p, v.p);
      if (v.q == VALUE_NONE || !v.q) {
        to->q = v.q;
        continue;
      }
      to->q = field_mul_q (product.q, before[i].q);
      product.q = field_mul_q (product.q, v.q);
    }
  }
}

static residue whole (int64_t n) { return (residue){(uint32_t) (n % FIELD_P), (uint32_t) (n % FIELD_Q)}; }

static residue from_hash (uint64_t h) { return (residue){field_draw_p (h), field_draw_q (h)}; }

static uint64_t bits_of (double d) {
  uint64_t b;
  memcpy (&b, &d, sizeof b);
  return b;
}

static uint64_t key_of (const mugraph_op *op, int kind, uint64_t seed) {
  return field_hash (field_hash (field_hash (seed, (uint64_t) kind), bits_of (op->c[0])), bits_of (op->c[1]));
}

static residue keyed (uint64_t key, residue a) { return from_hash (field_hash (field_hash (key, a.p), a.q)); }

static residue unary (const mugraph_op *op, uint64_t key, residue a) {
  switch ((mugraph_op_kind) op->kind) {
  case MUGRAPH_OP_NEG: return neg (a);
  case MUGRAPH_OP_SQUARE: return mul (a, a);
  case MUGRAPH_OP_EXP:
    if (a.q != VALUE_NONE) return (residue){field_exp (a.q), VALUE_NONE};
    return keyed (key, a);
  default: return keyed (key, a);
  }
}

static residue binary (const mugraph_op *op, uint64_t key, residue a, residue b) {
  switch ((mugraph_op_kind) op->kind) {
  case MUGRAPH_OP_ADD: return add (a, b);
  case MUGRAPH_OP_SUB: return add (a, neg (b));
  case MUGRAPH_OP_MUL: return mul (a, b);
  default: return keyed (key, (residue){(uint32_t) field_hash (a.p, a.q), (uint32_t) field_hash (b.p, b.q)});
  }
}

/* Strides of s as if it had the n dimensions of a result, 0 where it broadcasts. */
static void strides (const mugraph_shape *s, int n, int64_t stride[MUGRAPH_DIMS]) {
  int64_t step = 1;
  for (int d = n - 1; d >= 0; d--) {
    int own = d - (n - s->n_dims);
    int32_t size = own < 0 ? 1 : s->dim[own];
    stride[d] = size == 1 ? 0 : step;
    step *= size;
  }
}

static void eval_binary (const mugraph_op *op, uint64_t seed, const mugraph_shape *const shape[],
                         const residue *const in[], const mugraph_shape *os, residue *out) {
  if (op->kind == MUGRAPH_OP_DIV) { /* times the inverses */
    int64_t size = mugraph_volume (shape[1]);
    residue few[BATCH], *inverse = size > BATCH ? malloc ((size_t) size * sizeof *inverse) : few;
    if (!inverse) return;
    invert_all (size, in[1], inverse);
    mugraph_op times = *op;
    times.kind = MUGRAPH_OP_MUL;
    eval_binary (&times, seed, shape, (const residue *[]){in[0], inverse}, os, out);
    if (inverse != few) free (inverse);
    return;
  }
  int n = os->n_dims;
  int64_t sa[MUGRAPH_DIMS], sb[MUGRAPH_DIMS];
  uint64_t key = key_of (op, op->kind, seed);
  strides (shape[0], n, sa);
  strides (shape[1], n, sb);
  int32_t at[MUGRAPH_DIMS] = {0};
  int64_t rows = mugraph_volume (os) / os->dim[n - 1];
  for (int64_t r = 0; r < rows; r++) {
    int64_t a = 0, b = 0;
    for (int d = 0; d < n - 1; d++) a += at[d] * sa[d], b += at[d] * sb[d];
    for (int32_t i = 0; i < os->dim[n - 1]; i++)
      *out++ = binary (op, key, in[0][a + i * sa[n - 1]], in[1][b + i * sb[n - 1]]);
    for (int d = n - 2; d >= 0 && ++at[d] == os->dim[d]; d--) at[d] = 0;
  }
}

static void matmul_plane (int m, int n, int k, const residue *a, const residue *b, residue *out) {
  for (int i = 0; i < m; i++)
    for (int j = 0; j < n; j++) {
      uint64_t p = 0, q = 0; /* products below 2^62 and 2^60: one addition before each reduction */
      bool none = a[i * k].q == VALUE_NONE || b[j].q == VALUE_NONE;
      for (int r = 0; r < k; r++) {
        residue x = a[i * k + r], y = b[r * n + j];
        p = p % FIELD_P + (uint64_t) x.p * y.p;
        if (!none) q = q % FIELD_Q + (uint64_t) x.q * y.q;
      }
      out[i * n + j] = (residue){(uint32_t) (p % FIELD_P), none ? VALUE_NONE : (uint32_t) (q % FIELD_Q)};
    }
}

static void eval_matmul (const mugraph_shape *const shape[], const residue *const in[], const mugraph_shape *os,
                         residue *out) {
  int n = os->n_dims, na = shape[0]->n_dims, nb = shape[1]->n_dims;
  int rows = os->dim[n - 2], cols = os->dim[n - 1], inner = shape[0]->dim[na - 1];
  mugraph_shape batch = *os, fa = *shape[0], fb = *shape[1];
  fa.n_dims = (uint8_t) (na - 2), fb.n_dims = (uint8_t) (nb - 2), batch.n_dims = (uint8_t) (n - 2);
  int64_t sa[MUGRAPH_DIMS], sb[MUGRAPH_DIMS];
  strides (&fa, n - 2, sa);
  strides (&fb, n - 2, sb);
  int32_t at[MUGRAPH_DIMS] = {0};
  for (int64_t count = mugraph_volume (&batch); count > 0; count--) {
    int64_t a = 0, b = 0;
    for (int d = 0; d < n - 2; d++) a += at[d] * sa[d], b += at[d] * sb[d];
    matmul_plane (rows, cols, inner, in[0] + a * rows * inner, in[1] + b * inner * cols, out);
    out += rows * cols;
    for (int d = n - 3; d >= 0 && ++at[d] == os->dim[d]; d--) at[d] = 0;
  }
}

/* A tensor as [outer][n][inner] around dimension dim. */
typedef struct {
  int64_t outer, n, inner;
} around;

static around split_at (const mugraph_shape *s, int dim) {
  around x = {1, s->dim[dim], 1};
  for (int d = 0; d < dim; d++) x.outer *= s->dim[d];
  for (int d = dim + 1; d < s->n_dims; d++) x.inner *= s->dim[d];
  return x;
}

/* out[o][j][i] (+)= sum of f (in[o][r][i]) over r = j mod width. */
static void sum_to (const mugraph_shape *s, int dim, int64_t width, bool squares, const residue *in, residue *out,
                    bool more) {
  around x = split_at (s, dim);
  for (int64_t o = 0; o < x.outer; o++)
    for (int64_t j = 0; j < width; j++)
      for (int64_t i = 0; i < x.inner; i++) {
        residue *to = &out[(o * width + j) * x.inner + i], sum = more ? *to : (residue){0, 0};
        for (int64_t r = j; r < x.n; r += width) {
          residue v = in[(o * x.n + r) * x.inner + i];
          sum = add (sum, squares ? mul (v, v) : v);
        }
        *to = sum;
      }
}

static void scale (int64_t n, residue factor, residue *out) {
  for (int64_t i = 0; i < n; i++) out[i] = mul (out[i], factor);
}

/* sqrt (sum / count + epsilon), as a random function of the mean: equal to sqrt of a mean where epsilon is 0. */
static residue root_of_mean (const mugraph_op *op, uint64_t seed, residue sum, residue inverse_count) {
  residue mean = mul (sum, inverse_count);
  if (op->c[0] != 0) mean = add (mean, from_hash (field_hash (seed, bits_of (op->c[0]))));
  mugraph_op root = {.kind = MUGRAPH_OP_SQRT};
  return keyed (key_of (&root, MUGRAPH_OP_SQRT, seed), mean);
}

static void eval_reduce (const mugraph_op *op, uint64_t seed, const mugraph_shape *s, const residue *in, residue *out) {
  around x = split_at (s, op->dim);
  residue per;
  switch ((mugraph_op_kind) op->kind) {
  case MUGRAPH_OP_SUM: sum_to (s, op->dim, 1, false, in, out, false); break;
  case MUGRAPH_OP_MEAN:
    sum_to (s, op->dim, 1, false, in, out, false);
    scale (x.outer * x.inner, invert (whole (x.n)), out);
    break;
  case MUGRAPH_OP_SUM_TO: sum_to (s, op->dim, op->width, false, in, out, false); break;
  case MUGRAPH_OP_RMS_NORM:
    per = invert (whole (x.n));
    for (int64_t o = 0; o < x.outer; o++)
      for (int64_t i = 0; i < x.inner; i++) {
        residue sum = {0, 0}, inverse;
        for (int64_t r = 0; r < x.n; r++) {
          residue v = in[(o * x.n + r) * x.inner + i];
          sum = add (sum, mul (v, v));
        }
        inverse = invert (root_of_mean (op, seed, sum, per));
        for (int64_t r = 0; r < x.n; r++)
          out[(o * x.n + r) * x.inner + i] = mul (in[(o * x.n + r) * x.inner + i], inverse);
      }
    break;
  default: /* max: a symmetric random function of the elements */
    for (int64_t o = 0; o < x.outer; o++)
      for (int64_t i = 0; i < x.inner; i++) {
        uint64_t h = 0, key = key_of (op, op->kind, seed);
        for (int64_t r = 0; r < x.n; r++) {
          residue v = in[(o * x.n + r) * x.inner + i];
          h += field_hash (field_hash (key, v.p), v.q);
        }
        out[o * x.inner + i] = from_hash (field_mix (h));
      }
  }
}

static void eval_layout (const mugraph_op *op, const mugraph_shape *const shape[], const residue *const in[],
                         const mugraph_shape *os, residue *out) {
  if (op->kind == MUGRAPH_OP_TRANSPOSE) {
    int n = os->n_dims;
    int64_t rows = os->dim[n - 2], cols = os->dim[n - 1], planes = mugraph_volume (os) / (rows * cols);
    for (int64_t b = 0; b < planes; b++)
      for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) out[(b * rows + i) * cols + j] = in[0][(b * cols + j) * rows + i];
    return;
  }
  around a = split_at (shape[0], op->dim), b = split_at (shape[1], op->dim);
  bool none = in[0]->q == VALUE_NONE || in[1]->q == VALUE_NONE;
  residue *to = out;
  for (int64_t o = 0; o < a.outer; o++) {
    memcpy (to, in[0] + o * a.n * a.inner, (size_t) (a.n * a.inner) * sizeof *out);
    to += a.n * a.inner;
    memcpy (to, in[1] + o * b.n * b.inner, (size_t) (b.n * b.inner) * sizeof *out);
    to += b.n * b.inner;
  }
  if (none)
    for (residue *v = out; v < to; v++) v->q = VALUE_NONE;
}

void value_of_op (const mugraph_op *op, uint64_t seed, const mugraph_shape *const shape[], const residue *const in[],
                  const mugraph_shape *os, residue *out) {
  int64_t n = mugraph_volume (os);
  switch (mugraph_op_table[op->kind].klass) {
  case MUGRAPH_LEAF: *out = from_hash (field_hash (field_hash (seed, 0x636f6e7374ull), bits_of (op->c[0]))); break;
  case MUGRAPH_MATMUL: eval_matmul (shape, in, os, out); break;
  case MUGRAPH_UNARY: {
    uint64_t key = key_of (op, op->kind, seed);
    for (int64_t i = 0; i < n; i++) out[i] = unary (op, key, in[0][i]);
    break;
  }
  case MUGRAPH_BINARY: eval_binary (op, seed, shape, in, os, out); break;
  case MUGRAPH_REDUCE: eval_reduce (op, seed, shape[0], in[0], out); break;
  case MUGRAPH_LAYOUT: eval_layout (op, shape, in, os, out); break;
  case MUGRAPH_SAVER:
  case MUGRAPH_CUSTOM:
  case MUGRAPH_ACCUM: break;
  }
}

void value_accumulate (const mugraph_op *op, uint64_t seed, int loop, const mugraph_shape *s, const residue *in,
                       const mugraph_shape *os, residue *out) {
  int64_t n = mugraph_volume (s), m = mugraph_volume (os);
  int last = s->n_dims - 1;
  int64_t width = os->dim[last];
  mugraph_statistic what = mugraph_op_table[op->kind].statistic;
  for (int l = 0; l < loop; l++, in += n) sum_to (s, last, width, what == MUGRAPH_OF_RMS, in, out, l > 0);
  residue per = {1, 1};
  if (what == MUGRAPH_OF_MEAN || what == MUGRAPH_OF_RMS) per = invert (whole ((int64_t) s->dim[last] * loop));
  if (what == MUGRAPH_OF_MEAN) scale (m, per, out);
  if (what == MUGRAPH_OF_RMS)
    for (int64_t i = 0; i < m; i++) out[i] = root_of_mean (op, seed, out[i], per);
}

void value_box (const mugraph_shape *tensor, const int32_t first[MUGRAPH_DIMS], const mugraph_shape *tile,
                residue *whole_tensor, residue *box, bool store) {
  int n = tensor->n_dims;
  int32_t at[MUGRAPH_DIMS] = {0};
  int32_t run = tile->dim[n - 1];
  for (int64_t rows = mugraph_volume (tile) / run; rows > 0; rows--, box += run) {
    int64_t offset = 0;
    for (int d = 0; d < n; d++) offset = offset * tensor->dim[d] + first[d] + at[d];
    if (store) memcpy (whole_tensor + offset, box, (size_t) run * sizeof *box);
    else memcpy (box, whole_tensor + offset, (size_t) run * sizeof *box);
    for (int d = n - 2; d >= 0 && ++at[d] == tile->dim[d]; d--) at[d] = 0;
  }
}
