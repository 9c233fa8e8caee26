/* A value of degree d holds exp (d (x - m)) up to factors without m, so going from maximum m to maximum m' multiplies
   it by exp (d (m - m')). */
#include "maxima.h"
#include "boxes.h"
#include "elementwise.h"
#include "field.h"

#include <math.h>

static uint64_t draw_key (int op, int64_t where) {
  return field_mix ((uint64_t) op << 48 ^ (uint64_t) where ^ 0x6d6178ull << 24);
}

size_t eval_maximum_size (const eval_context *c) { return c->plan->real ? sizeof (double) : sizeof (uint32_t); }

bool eval_take_maxima (eval_context *c, eval_maxima *m, int64_t rows) {
  size_t bytes = (size_t) rows * eval_maximum_size (c);
  *m = (eval_maxima){.rows = rows, .now = eval_take (c->arena, bytes), .next = eval_take (c->arena, bytes)};
  if (m->now && m->next) return true;
  c->status = EVAL_MEMORY;
  return false;
}

void eval_start_maxima (eval_maxima *m, int op, int64_t where) {
  m->started = false;
  m->draws = draw_key (op, where);
}

void eval_raise_maxima (const eval_context *c, eval_maxima *m, const eval_operand *x) {
  int64_t n = eval_row (x->shape), valid = x->valid ? x->valid[x->shape->n_dims - 1] : n;
  for (int64_t r = 0; r < m->rows; r++) {
    if (!c->plan->real) {
      ((uint32_t *) m->next)[r] = field_draw_q (field_hash (c->options->key, m->draws++));
      continue;
    }
    const double *row = (const double *) x->v.plane[0] + r * n;
    double v = m->started ? ((double *) m->now)[r] : -INFINITY;
    for (int64_t i = 0; i < valid; i++) v = row[i] > v ? row[i] : v;
    ((double *) m->next)[r] = v;
  }
}

void eval_accept_maxima (eval_maxima *m) {
  void *now = m->now;
  m->now = m->next;
  m->next = now;
  m->started = true;
}

/* x[0 .. n) *= exp (degree * (from - to)), for two maxima. */
static void rescale (const eval_context *c, const void *from, const void *to, int degree, int64_t n, void *x) {
  union {
    double real;
    uint32_t residue;
  } factor;
  if (c->plan->real) {
    double a = *(const double *) from, b = *(const double *) to;
    if (a == b || a == -INFINITY) return; /* nothing was summed yet: 0 stays 0 */
    factor.real = exp (degree * (a - b));
  } else {
    uint32_t by = field_sub_q (*(const uint32_t *) from, *(const uint32_t *) to);
    uint32_t times = (uint32_t) (degree < 0 ? (int64_t) FIELD_Q + degree : degree);
    factor.residue = field_exp (field_mul_q (by, times));
  }
  c->num[0]->binary[MUGRAPH_OP_MUL](n, x, 1, &factor, 0, x);
}

void eval_rescale (const eval_context *c, const eval_maxima *m, int degree, int64_t n, eval_value x) {
  size_t size = eval_maximum_size (c);
  for (int64_t r = 0; r < m->rows; r++)
    rescale (c, eval_at (m->now, r, size), eval_at (m->next, r, size), degree, n,
             eval_at (x.plane[0], r * n, c->num[0]->size));
}

bool eval_shifted_exp (eval_context *c, const eval_maxima *m, const eval_operand *x, eval_operand *out) {
  static const mugraph_op exponential = {.kind = MUGRAPH_OP_EXP};
  int64_t n = eval_row (x->shape);
  int p = c->plan->real ? 0 : 1; /* the plane of arguments */
  const number *num = c->num[p];
  eval_value shifted = {{NULL, NULL}};
  if (!eval_take_value (c, m->rows * n, (uint8_t) (1 << p), &shifted)) return false;
  for (int64_t r = 0; r < m->rows; r++)
    num->binary[MUGRAPH_OP_SUB](n, eval_at (x->v.plane[p], r * n, num->size), 1,
                                eval_at (m->now, r, eval_maximum_size (c)), 0,
                                eval_at (shifted.plane[p], r * n, num->size));
  eval_unary (c, &exponential, m->rows * n, shifted, out->v, EVAL_P);
  eval_clear_invalid (c, out, EVAL_P);
  return true;
}

/* The common maximum of row r of a tensor of partial results; the first `blocks` blocks have elements there. */
static void common_maximum (const eval_context *c, int op, const eval_saved_maxima *saved, int64_t r, int64_t blocks,
                            void *common) {
  if (!c->plan->real) {
    *(uint32_t *) common = field_draw_q (field_hash (c->options->key, draw_key (op, r) ^ 1));
    return;
  }
  const double *row = (const double *) saved->data + r * saved->blocks;
  double v = -INFINITY;
  for (int64_t z = 0; z < blocks; z++) v = row[z] > v ? row[z] : v;
  *(double *) common = v;
}

void eval_unify (const eval_context *c, int op, int degree, const eval_saved_maxima *saved, const mugraph_shape *s,
                 eval_value v) {
  int64_t rows = eval_rows (s), n = eval_row (s), blocks = (n + saved->width - 1) / saved->width;
  if (blocks > saved->blocks) blocks = saved->blocks;
  for (int64_t r = 0; r < rows; r++) {
    double room; /* of a double or a residue */
    void *common = &room;
    common_maximum (c, op, saved, r, blocks, common);
    for (int64_t z = 0; z < blocks; z++) {
      int64_t first = z * saved->width, count = n - first < saved->width ? n - first : saved->width;
      rescale (c, eval_at (saved->data, r * saved->blocks + z, eval_maximum_size (c)), common, degree, count,
               eval_at (v.plane[0], r * n + first, c->num[0]->size));
    }
  }
}
