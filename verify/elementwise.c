/* An operator over one plane is a loop of number.h; what reads one plane and writes another (exp, keyed functions) is
   written here. Long loops are cut into pieces of STEP elements, which the threads share. */
#include "elementwise.h"
#include "boxes.h"
#include "field.h"

#include <string.h>

enum { STEP = 1 << 14 };

void eval_clear_invalid (eval_context *c, const eval_operand *out, uint8_t need) {
  if (out->valid) FOR_PLANES (p, need) eval_fill_outside (c->num[p], out->shape, out->valid, 0, out->v.plane[p]);
}

/* ---- constants and keys ---- */

static uint64_t double_bits (double v) {
  uint64_t bits;
  v += 0.0; /* one zero */
  memcpy (&bits, &v, sizeof bits);
  return bits;
}

uint64_t eval_key_of (const eval_context *c, int kind, const double constant[2]) {
  uint64_t h = field_hash (c->options->key, (uint64_t) kind + 1);
  if (mugraph_op_has (kind, MUGRAPH_HAS_LOW))
    h = field_hash (field_hash (h, double_bits (constant[0])), double_bits (constant[1]));
  return h;
}

void eval_constant (const eval_context *c, double value, uint8_t need, void *out[2]) {
  if (c->plan->real) {
    *(double *) out[0] = value;
    return;
  }
  uint64_t h = field_hash (field_hash (c->options->key, 0xc0), double_bits (value));
  uint32_t vp = field_draw_p (h), vq = field_draw_q (h);
  if (need & EVAL_P) *(uint32_t *) out[0] = vp ? vp : 1;
  if (need & EVAL_Q) *(uint32_t *) out[1] = vq ? vq : 1;
}

/* ---- one operand ---- */

typedef struct elementwise elementwise;
struct elementwise {
  void (*loop) (const elementwise *, int64_t first, int64_t n);
  const mugraph_op *op;
  const number *num; /* loop_plane */
  uint64_t key;      /* loop_keyed */
  int64_t n, step;
  const void *x;
  void *out[2]; /* loop_keyed: either may be NULL */
};

static void loop_plane (const elementwise *w, int64_t first, int64_t n) {
  w->num->unary[w->op->kind](w->op, n, eval_at (w->x, first, w->num->size), eval_at (w->out[0], first, w->num->size));
}

static void loop_exp (const elementwise *w, int64_t first, int64_t n) {
  const uint32_t *x = (const uint32_t *) w->x + first;
  uint32_t *out = (uint32_t *) w->out[0] + first;
  for (int64_t i = 0; i < n; i++) out[i] = field_exp (x[i]);
}

static void loop_keyed (const elementwise *w, int64_t first, int64_t n) {
  const uint32_t *x = w->x;
  uint32_t *p = w->out[0], *q = w->out[1];
  for (int64_t i = first; i < first + n; i++) {
    uint64_t h = field_hash (w->key, x[i]);
    if (p) p[i] = field_draw_p (h);
    if (q) q[i] = field_draw_q (h);
  }
}

static void elementwise_piece (const void *args, int64_t index) {
  const elementwise *w = args;
  int64_t first = index * w->step;
  w->loop (w, first, w->n - first < w->step ? w->n - first : w->step);
}

static void run (const eval_context *c, elementwise *w, int64_t n) {
  w->n = n;
  w->step = c->threads > 1 ? STEP : n;
  eval_share (c, (n + w->step - 1) / w->step, n, elementwise_piece, w);
}

/* out = f (x), by the residue mod p alone: equal arguments have equal residues mod p, whichever planes exist, so equal
   expressions get equal values; two different arguments share theirs with probability at most degree / p. */
static void apply_keyed (const eval_context *c, uint64_t key, int64_t n, const void *x, eval_value out, uint8_t need) {
  void *p = need & EVAL_P ? out.plane[0] : NULL, *q = need & EVAL_Q ? out.plane[1] : NULL;
  run (c, &(elementwise){.loop = loop_keyed, .key = key, .x = x, .out = {p, q}}, n);
}

void eval_unary (const eval_context *c, const mugraph_op *op, int64_t n, eval_value x, eval_value out, uint8_t need) {
  if (!c->plan->real && op->kind == MUGRAPH_OP_EXP)
    run (c, &(elementwise){.loop = loop_exp, .x = x.plane[1], .out = {out.plane[0]}}, n);
  else if (!c->plan->real && mugraph_op_is (op->kind, MUGRAPH_KEYED))
    apply_keyed (c, eval_key_of (c, op->kind, op->c), n, x.plane[0], out, need);
  else FOR_PLANES (p, need) {
      elementwise w = {.loop = loop_plane, .op = op, .num = c->num[p], .x = x.plane[p], .out = {out.plane[p]}};
      run (c, &w, n);
    }
}

/* ---- two operands, broadcast ---- */

/* The dimensions of a result, adjacent ones that both operands walk along alike merged into one. */
typedef struct {
  int n;
  int64_t dim[MUGRAPH_DIMS];
  bool a[MUGRAPH_DIMS], b[MUGRAPH_DIMS]; /* whether the operand walks along */
} pattern;

static pattern pattern_of (const mugraph_shape *o, const mugraph_shape *a, const mugraph_shape *b) {
  pattern p = {0};
  for (int d = 0; d < o->n_dims; d++) {
    if (o->dim[d] == 1) continue;
    int da = d - (o->n_dims - a->n_dims), db = d - (o->n_dims - b->n_dims);
    bool wa = da >= 0 && a->dim[da] != 1, wb = db >= 0 && b->dim[db] != 1;
    if (p.n && p.a[p.n - 1] == wa && p.b[p.n - 1] == wb) {
      p.dim[p.n - 1] *= o->dim[d];
      continue;
    }
    p.dim[p.n] = o->dim[d];
    p.a[p.n] = wa;
    p.b[p.n++] = wb;
  }
  if (!p.n) p = (pattern){1, {1}, {true}, {true}};
  return p;
}

/* A run is the innermost dimension of the pattern. */
typedef struct {
  pattern p;
  number_binary *f;
  size_t size;
  int64_t run, step; /* long runs are cut so that threads share them */
  const void *a, *b;
  void *out;
} broadcasting;

static void broadcast_piece (const void *args, int64_t index) {
  const broadcasting *w = args;
  const pattern *p = &w->p;
  int last = p->n - 1;
  int64_t pieces = (w->run + w->step - 1) / w->step, r = index / pieces, rest = r, begin = index % pieces * w->step;
  int64_t oa = p->a[last] ? begin : 0, ob = p->b[last] ? begin : 0; /* offsets and strides of the operands */
  int64_t sa = p->a[last] ? w->run : 1, sb = p->b[last] ? w->run : 1;
  for (int d = last; d--; rest /= p->dim[d]) {
    int64_t i = rest % p->dim[d];
    if (p->a[d]) oa += i * sa, sa *= p->dim[d];
    if (p->b[d]) ob += i * sb, sb *= p->dim[d];
  }
  w->f (w->run - begin < w->step ? w->run - begin : w->step, eval_at (w->a, oa, w->size), p->a[last],
        eval_at (w->b, ob, w->size), p->b[last], eval_at (w->out, r * w->run + begin, w->size));
}

static void broadcast (const eval_context *c, number_binary *f, size_t size, const mugraph_shape *so,
                       const mugraph_shape *sa, const void *a, const mugraph_shape *sb, const void *b, void *out) {
  broadcasting w = {.p = pattern_of (so, sa, sb), .f = f, .size = size, .a = a, .b = b, .out = out};
  int64_t runs = 1;
  for (int d = 0; d < w.p.n - 1; d++) runs *= w.p.dim[d];
  w.run = w.p.dim[w.p.n - 1];
  w.step = c->threads > 1 && runs < 4 * c->threads && w.run > STEP ? STEP : w.run;
  eval_share (c, runs * ((w.run + w.step - 1) / w.step), runs * w.run, broadcast_piece, &w);
}

/* What a plane is multiplied with (where the numbers have inverses) or divided by: b or a changed copy of it. Positions
   that hold no data must not count as divisions by zero, so they get 1. NULL: the status says why. */
static const void *divisor_of (eval_context *c, int p, const eval_operand *b) {
  const number *num = c->num[p];
  int64_t n = mugraph_volume (b->shape);
  const void *divisor = b->v.plane[p];
  eval_value copy = {{NULL, NULL}};
  if (!b->valid && !num->inverse) return divisor;
  if (!eval_take_value (c, n, (uint8_t) (1 << p), &copy)) return NULL;
  if (b->valid) {
    memcpy (copy.plane[p], divisor, (size_t) n * num->size);
    eval_fill_outside (num, b->shape, b->valid, 1, copy.plane[p]);
    divisor = copy.plane[p];
  }
  if (!num->inverse || num->inverse (n, divisor, copy.plane[p])) return copy.plane[p];
  c->status = EVAL_ZERO;
  return NULL;
}

static bool divide (eval_context *c, const eval_operand *a, const eval_operand *b, eval_operand *out, uint8_t need) {
  FOR_PLANES (p, need) {
    const number *num = c->num[p];
    const void *divisor = divisor_of (c, p, b);
    if (!divisor) return false;
    broadcast (c, num->binary[num->inverse ? MUGRAPH_OP_MUL : MUGRAPH_OP_DIV], num->size, out->shape, a->shape,
               a->v.plane[p], b->shape, divisor, out->v.plane[p]);
  }
  return true;
}

/* f (a, b) = h2 (h1 (a) + b) with two random functions. */
static bool binary_keyed (eval_context *c, const mugraph_op *op, const eval_operand in[2], eval_operand *out,
                          uint8_t need) {
  const eval_operand *a = &in[0], *b = &in[1];
  const number *num = c->num[0];
  uint64_t key = eval_key_of (c, op->kind, op->c);
  int64_t na = mugraph_volume (a->shape), no = mugraph_volume (out->shape);
  eval_value h = {{NULL, NULL}}, sum = {{NULL, NULL}};
  if (!eval_take_value (c, na, EVAL_P, &h) || !eval_take_value (c, no, EVAL_P, &sum)) return false;
  apply_keyed (c, key, na, a->v.plane[0], h, EVAL_P);
  broadcast (c, num->binary[MUGRAPH_OP_ADD], num->size, out->shape, a->shape, h.plane[0], b->shape, b->v.plane[0],
             sum.plane[0]);
  apply_keyed (c, field_mix (key), no, sum.plane[0], out->v, need);
  return true;
}

bool eval_binary (eval_context *c, const mugraph_op *op, const eval_operand in[2], eval_operand *out, uint8_t need) {
  const eval_operand *a = &in[0], *b = &in[1];
  bool ok = true;
  if (op->kind == MUGRAPH_OP_DIV) ok = divide (c, a, b, out, need);
  else if (mugraph_op_is (op->kind, MUGRAPH_KEYED) && !c->plan->real) ok = binary_keyed (c, op, in, out, need);
  else FOR_PLANES (p, need)
  broadcast (c, c->num[p]->binary[op->kind], c->num[p]->size, out->shape, a->shape, a->v.plane[p], b->shape,
             b->v.plane[p], out->v.plane[p]);
  if (ok) eval_clear_invalid (c, out, need);
  return ok;
}
