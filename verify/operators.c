/* Products, reductions and layouts of whole tensors or tiles. Positions that hold no data hold 0, which sums and
   products skip by themselves; what turns 0 into something else clears them again. */
#include "operators.h"
#include "boxes.h"
#include "elementwise.h"
#include "field.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* ---- matrix products ---- */

enum {
  MOST_PRODUCTS = 1 << 28, /* of a piece: a fraction of a second */
  LEAST_ROWS = 64          /* of a piece, so that packing the right operand is worth it */
};

typedef struct {
  const eval_context *c;
  const mugraph_shape *sa, *sb, *so;
  const number *num;
  int64_t m, n, k, rows; /* rows: of one piece */
  const void *a, *b;
  void *out;
} multiplication;

/* Offsets of the matrices of a and b that make matrix number `index` of the result. */
static void matrices_of (const multiplication *w, int64_t index, int64_t *oa, int64_t *ob) {
  int64_t sa = w->m * w->k, sb = w->k * w->n;
  *oa = *ob = 0;
  for (int d = w->so->n_dims - 2; d--; index /= w->so->dim[d]) {
    int da = d - (w->so->n_dims - w->sa->n_dims), db = d - (w->so->n_dims - w->sb->n_dims);
    int64_t i = index % w->so->dim[d];
    if (da >= 0 && w->sa->dim[da] > 1) *oa += i * sa, sa *= w->sa->dim[da];
    if (db >= 0 && w->sb->dim[db] > 1) *ob += i * sb, sb *= w->sb->dim[db];
  }
}

static void matmul_piece (const void *args, int64_t index) {
  const multiplication *w = args;
  int64_t pieces = (w->m + w->rows - 1) / w->rows, matrix = index / pieces, first = index % pieces * w->rows, oa, ob;
  int64_t rows = w->m - first < w->rows ? w->m - first : w->rows;
  matrices_of (w, matrix, &oa, &ob);
  void *out = eval_at (w->out, (matrix * w->m + first) * w->n, w->num->size);
  if (eval_stopped (w->c)) w->num->fill (rows * w->n, 0, out); /* the block goes on with numbers */
  else
    w->num->matmul (rows, w->n, w->k, eval_at (w->a, oa + first * w->k, w->num->size), eval_at (w->b, ob, w->num->size),
                    out);
}

static int64_t rows_of_piece (const eval_context *c, const multiplication *w, int64_t batch) {
  int64_t few = 4 * c->threads, rows = c->threads > 1 && batch < few ? (w->m + few - 1) / few : w->m;
  if (rows <= LEAST_ROWS || rows * w->n <= MOST_PRODUCTS / w->k) return rows;
  int64_t most = MOST_PRODUCTS / w->k / w->n;
  return most < LEAST_ROWS ? LEAST_ROWS : most;
}

static void matmul (const eval_context *c, const eval_operand in[2], eval_operand *out, uint8_t need) {
  const mugraph_shape *s = out->shape;
  multiplication w = {.c = c,
                      .sa = in[0].shape,
                      .sb = in[1].shape,
                      .so = s,
                      .m = s->dim[s->n_dims - 2],
                      .n = eval_row (s),
                      .k = eval_row (in[0].shape)};
  int64_t batch = mugraph_volume (s) / (w.m * w.n);
  w.rows = rows_of_piece (c, &w, batch);
  FOR_PLANES (p, need) {
    w.num = c->num[p], w.a = in[0].v.plane[p], w.b = in[1].v.plane[p], w.out = out->v.plane[p];
    eval_share (c, batch * ((w.m + w.rows - 1) / w.rows), batch * w.m * w.n * w.k, matmul_piece, &w);
  }
}

/* ---- sums ---- */

typedef struct {
  const number *num;
  int64_t outer, n, inner, step;
  void *x, *out;
  bool on_top;
} summation;

static void sum_piece (const void *args, int64_t index) {
  const summation *w = args;
  int64_t first = index * w->step, count = w->outer - first < w->step ? w->outer - first : w->step;
  w->num->sum (count, w->n, w->inner, eval_at (w->x, first * w->n * w->inner, w->num->size),
               eval_at (w->out, first * w->inner, w->num->size), w->on_top);
}

void eval_sum (eval_context *c, int64_t outer, int64_t n, int64_t inner, eval_value x, eval_value out, uint8_t need,
               bool on_top) {
  int64_t step = (outer + 4 * c->threads - 1) / (4 * c->threads);
  FOR_PLANES (p, need) {
    summation w = {c->num[p], outer, n, inner, step, x.plane[p], out.plane[p], on_top};
    eval_share (c, (outer + step - 1) / step, outer * n * inner, sum_piece, &w);
  }
}

bool eval_over_count (eval_context *c, int64_t volume, int64_t count, eval_value x, uint8_t need) {
  if (!count && !c->plan->real) {
    c->status = EVAL_ZERO;
    return false;
  }
  FOR_PLANES (p, need) c->num[p]->scale (volume, 1, count, x.plane[p]);
  return true;
}

bool eval_sum_squares (eval_context *c, int64_t outer, int64_t n, int64_t inner, eval_value x, eval_value out,
                       bool on_top) {
  static const mugraph_op square = {.kind = MUGRAPH_OP_SQUARE};
  eval_value squares = {{NULL, NULL}};
  if (!eval_take_value (c, outer * n * inner, EVAL_P, &squares)) return false;
  eval_unary (c, &square, outer * n * inner, x, squares, EVAL_P);
  eval_sum (c, outer, n, inner, squares, out, EVAL_P, on_top);
  return true;
}

bool eval_root_mean (eval_context *c, int64_t volume, int64_t count, double epsilon, eval_value x, eval_value out,
                     uint8_t need) {
  static const mugraph_op root = {.kind = MUGRAPH_OP_SQRT};
  if (!eval_over_count (c, volume, count, x, EVAL_P)) return false;
  if (epsilon != 0) {
    union {
      double real;
      uint32_t residue;
    } element;
    eval_constant (c, epsilon, EVAL_P, (void *[2]){&element, NULL});
    c->num[0]->binary[MUGRAPH_OP_ADD](volume, x.plane[0], 1, &element, 0, x.plane[0]);
  }
  eval_unary (c, &root, volume, x, out, need);
  return true;
}

/* ---- reductions along a dimension ---- */

/* The largest of n numbers, `stride` apart. What is no number is left out, as by fmax on a GPU. */
static double largest (int64_t n, int64_t stride, const double *a) {
  double v = -INFINITY;
  for (int64_t r = 0; r < n; r++)
    if (a[r * stride] > v) v = a[r * stride];
  return v;
}

/* Over the fields, max is a random function of the multiset of its arguments. */
static uint64_t hash_multiset (uint64_t key, int64_t n, int64_t stride, const uint32_t *a) {
  uint64_t h = 0;
  for (int64_t r = 0; r < n; r++) h += field_hash (key, a[r * stride]);
  return field_hash (key, h ^ (h >> 32));
}

static void maximum (eval_context *c, int64_t outer, int64_t n, int64_t inner, int64_t valid, eval_value x,
                     eval_value out, uint8_t need) {
  uint64_t key = eval_key_of (c, MUGRAPH_OP_MAX, NULL);
  for (int64_t j = 0; j < outer * inner; j++) {
    int64_t first = j / inner * n * inner + j % inner;
    if (c->plan->real) {
      ((double *) out.plane[0])[j] = largest (valid, inner, (const double *) x.plane[0] + first);
      continue;
    }
    uint64_t h = hash_multiset (key, valid, inner, (const uint32_t *) x.plane[0] + first);
    if (need & EVAL_P) ((uint32_t *) out.plane[0])[j] = field_draw_p (h);
    if (need & EVAL_Q) ((uint32_t *) out.plane[1])[j] = field_draw_q (h);
  }
}

/* x / sqrt (mean (x^2) + epsilon) */
static bool rms_norm (eval_context *c, const mugraph_op *op, const eval_operand *in, eval_operand *out, uint8_t need) {
  static const mugraph_op quotient = {.kind = MUGRAPH_OP_DIV};
  int64_t outer, n, inner;
  eval_around (in->shape, op->dim, &outer, &n, &inner);
  mugraph_shape small = *in->shape;
  small.dim[op->dim] = 1;
  int32_t valid[MUGRAPH_DIMS];
  eval_operand root = {.shape = &small};
  if (in->valid) {
    memcpy (valid, in->valid, sizeof valid);
    valid[op->dim] = 1;
    root.valid = valid;
  }
  eval_value mean = {{NULL, NULL}};
  return eval_take_value (c, outer * inner, EVAL_P, &mean) && eval_take_value (c, outer * inner, need, &root.v) &&
         eval_sum_squares (c, outer, n, inner, in->v, mean, false) &&
         eval_root_mean (c, outer * inner, in->valid ? in->valid[op->dim] : n, op->c[0], mean, root.v, need) &&
         eval_binary (c, &quotient, (eval_operand[2]){*in, root}, out, need);
}

static bool reduce (eval_context *c, const mugraph_op *op, const eval_operand *in, eval_operand *out, uint8_t need) {
  int64_t outer, n, inner;
  eval_around (in->shape, op->dim, &outer, &n, &inner);
  int64_t count = in->valid ? in->valid[op->dim] : n;
  switch (op->kind) {
  case MUGRAPH_OP_SUM: eval_sum (c, outer, n, inner, in->v, out->v, need, false); return true;
  case MUGRAPH_OP_SUM_TO:
    eval_sum (c, outer, n / op->width, op->width * inner, in->v, out->v, need, false);
    return true;
  case MUGRAPH_OP_MEAN:
    eval_sum (c, outer, n, inner, in->v, out->v, need, false);
    return eval_over_count (c, mugraph_volume (out->shape), count, out->v, need);
  case MUGRAPH_OP_MAX:
    maximum (c, outer, n, inner, count, in->v, out->v, need);
    eval_clear_invalid (c, out, need);
    return true;
  default: return rms_norm (c, op, in, out, need);
  }
}

/* ---- layouts ---- */

static void transpose (size_t size, const eval_operand *in, const eval_operand *out, int p) {
  int64_t from[MUGRAPH_DIMS], to[MUGRAPH_DIMS];
  int n = out->shape->n_dims;
  eval_strides (in->shape, from);
  eval_strides (out->shape, to);
  int64_t last = from[n - 1];
  from[n - 1] = from[n - 2], from[n - 2] = last;
  eval_copy_box (size, n, out->shape->dim, in->v.plane[p], from, out->v.plane[p], to);
}

static void concat (size_t size, int dim, const eval_operand in[2], const eval_operand *out, int p) {
  int64_t from[MUGRAPH_DIMS], to[MUGRAPH_DIMS], offset = 0;
  eval_strides (out->shape, to);
  for (int k = 0; k < 2; k++) {
    eval_strides (in[k].shape, from);
    eval_copy_box (size, out->shape->n_dims, in[k].shape->dim, in[k].v.plane[p], from,
                   eval_at (out->v.plane[p], offset, size), to);
    offset += in[k].shape->dim[dim] * to[dim];
  }
}

static void layout (eval_context *c, const mugraph_op *op, const eval_operand in[], eval_operand *out, uint8_t need) {
  FOR_PLANES (p, need) {
    if (op->kind == MUGRAPH_OP_TRANSPOSE) transpose (c->num[p]->size, in, out, p);
    else concat (c->num[p]->size, op->dim, in, out, p);
  }
}

/* ---- any operator ---- */

bool eval_apply (eval_context *c, const mugraph_op *op, const eval_operand in[], eval_operand *out, uint8_t need) {
  bool ok = true;
  switch (mugraph_op_table[op->kind].klass) {
  case MUGRAPH_LEAF: eval_constant (c, op->c[0], need, out->v.plane); break;
  case MUGRAPH_MATMUL: matmul (c, in, out, need); break;
  case MUGRAPH_UNARY:
    eval_unary (c, op, mugraph_volume (out->shape), in->v, out->v, need);
    eval_clear_invalid (c, out, need);
    break;
  case MUGRAPH_BINARY: ok = eval_binary (c, op, in, out, need); break;
  case MUGRAPH_REDUCE: ok = reduce (c, op, in, out, need); break;
  case MUGRAPH_LAYOUT: layout (c, op, in, out, need); break;
  case MUGRAPH_ACCUM:
  case MUGRAPH_SAVER:
  case MUGRAPH_CUSTOM: assert (false && "runs at one level only"); break;
  }
  return ok;
}
