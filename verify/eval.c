#include "eval.h"
#include "field.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- memory ---- */

struct eval_chunk {
  eval_chunk *next;
  size_t size;
};

void eval_arena_init (eval_arena *a, void *first, size_t size) {
  uintptr_t begin = ((uintptr_t) first + 63) & ~(uintptr_t) 63, end = (uintptr_t) first + size;
  *a = (eval_arena){(char *) begin, (char *) (first && end > begin ? end : begin), NULL};
}

void *eval_take (eval_arena *a, size_t bytes) {
  bytes = (bytes + 63) & ~(size_t) 63;
  if ((size_t) (a->end - a->at) < bytes) {
    size_t size = bytes + 64 > (size_t) 1 << 18 ? bytes + 64 : (size_t) 1 << 18;
    eval_chunk *c = aligned_alloc (64, size);
    if (!c) return NULL;
    c->next = a->chunks;
    c->size = size;
    a->chunks = c;
    a->at = (char *) c + 64;
    a->end = (char *) c + size;
  }
  void *p = a->at;
  a->at += bytes;
  return p;
}

void eval_arena_free (eval_arena *a) {
  for (eval_chunk *c = a->chunks, *next; c; c = next) {
    next = c->next;
    free (c);
  }
  a->chunks = NULL;
}

/* A large tensor, by itself: huge pages where the system has them, since touching fresh memory is not free. */
static void *take_large (size_t bytes) {
  enum { HUGE = 1 << 21 };
  if (bytes < 2 * HUGE) return malloc (bytes);
  bytes = (bytes + HUGE - 1) & ~(size_t) (HUGE - 1);
  void *p = aligned_alloc (HUGE, bytes);
#ifdef MADV_HUGEPAGE
  if (p) madvise (p, bytes, MADV_HUGEPAGE);
#endif
  return p;
}

/* ---- which planes are needed ---- */

enum { none, neg, square, add, sub, mul, divide, exponential };
#define RULE_none none
#define RULE_neg neg
#define RULE_square square
#define RULE_add add
#define RULE_sub sub
#define RULE_mul mul
#define RULE_div divide
#define RULE_exp exponential
static const uint8_t rule[MUGRAPH_N_OPS] = {
#define OP(id, text, arity, levels, klass, shape, attributes, statistic, unit, traits, field, real, cuda)              \
  [MUGRAPH_OP_##id] = RULE_##field,
#include "mugraph/op.def"
#undef OP
};

static bool is_keyed (int kind) { return mugraph_op_is (kind, MUGRAPH_KEYED); }

/* Planes that exist, from those of the operands. */
static uint8_t planes_of (int kind, uint8_t operands) {
  if (rule[kind] == exponential) return EVAL_P;
  return is_keyed (kind) ? EVAL_P | EVAL_Q : operands;
}

/* Planes of the operands that the planes `need` of the result are made from. */
static uint8_t planes_for (int kind, uint8_t need) {
  if (!need) return 0;
  if (rule[kind] == exponential) return EVAL_Q;
  if (is_keyed (kind)) return EVAL_P;
  return mugraph_op_is (kind, MUGRAPH_NORM) ? need | EVAL_P : need;
}

static bool missing (char reason[256], const char *where, int i, int kind) {
  if (reason)
    snprintf (
        reason, 256,
        "%s operator %d (%s): an exponential of something that depends on an exponential has no value over the fields",
        where, i, mugraph_op_table[kind].text);
  return false;
}

bool eval_plan_make (eval_plan *p, const mugraph *g, bool real, char reason[256]) {
  p->graph = g;
  p->real = real;
  memset (p->tensor, 0, g->n_tensors);
  memset (p->last_use, -1, g->n_tensors);
  for (int b = 0; b < g->n_blocks; b++) memset (p->tile[b], 0, g->block[b].n_ops);
  uint8_t has[MUGRAPH_TENSORS], tile_has[MUGRAPH_BLOCKS][MUGRAPH_BLOCK_OPS];
  for (int t = 0; t < g->n_inputs; t++) has[t] = EVAL_P | EVAL_Q;
  for (int i = 0; i < g->n_ops; i++) {
    const mugraph_op *op = &g->op[i];
    uint8_t operands = EVAL_P | EVAL_Q;
    for (int k = 0; k < op->n_in; k++) operands &= has[op->in[k]];
    if (op->kind != MUGRAPH_OP_CUSTOM) {
      has[op->out[0]] = planes_of (op->kind, operands);
      continue;
    }
    const mugraph_block *b = &g->block[op->block];
    uint8_t *th = tile_has[op->block];
    for (int j = 0, saved = 0; j < b->n_ops; j++) {
      const mugraph_op *o = &b->op[j];
      uint8_t of = EVAL_P | EVAL_Q;
      if (o->kind == MUGRAPH_OP_INPUT) of = has[op->in[o->in[0]]];
      for (int k = 0; k < o->n_in; k++) of &= th[o->in[k]];
      th[j] = planes_of (o->kind, of);
      if (o->kind == MUGRAPH_OP_OUTPUT) has[op->out[saved++]] = th[j];
    }
  }
  for (int k = 0; k < g->n_outputs; k++)
    p->tensor[g->output[k]] |= EVAL_P, p->last_use[g->output[k]] = (int8_t) g->n_ops;
  for (int i = g->n_ops; i--;) {
    const mugraph_op *op = &g->op[i];
    uint8_t need = 0;
    for (int k = 0; k < op->n_out; k++) need |= p->tensor[op->out[k]];
    if (!need) continue;
    for (int k = 0; k < op->n_in; k++)
      if (p->last_use[op->in[k]] < 0) p->last_use[op->in[k]] = (int8_t) i;
    if (op->kind != MUGRAPH_OP_CUSTOM) {
      uint8_t of = real ? EVAL_P : planes_for (op->kind, need);
      for (int k = 0; k < op->n_in; k++) {
        p->tensor[op->in[k]] |= of;
        if (!real && (of & ~has[op->in[k]])) return missing (reason, "kernel", i, op->kind);
      }
      continue;
    }
    const mugraph_block *b = &g->block[op->block];
    uint8_t *tile = p->tile[op->block];
    for (int j = b->n_ops, saved = op->n_out; j--;) {
      const mugraph_op *o = &b->op[j];
      if (o->kind == MUGRAPH_OP_OUTPUT) tile[j] = p->tensor[op->out[--saved]];
      uint8_t of = real ? (tile[j] ? EVAL_P : 0) : planes_for (o->kind, tile[j]);
      if (o->kind == MUGRAPH_OP_INPUT) p->tensor[op->in[o->in[0]]] |= of;
      for (int k = 0; k < o->n_in; k++) {
        tile[o->in[k]] |= of;
        if (!real && (of & ~tile_has[op->block][o->in[k]])) return missing (reason, "block", j, o->kind);
      }
    }
  }
  return true;
}

/* ---- one operator ---- */

typedef struct {
  const eval_plan *plan;
  const eval_options *options;
  const number *num[2];
  eval_arena *arena;
  int threads; /* of the operators of the kernel graph; 1 inside of blocks */
  bool in_block;
  eval_status status;
} context;

typedef struct {
  const mugraph_shape *shape;
  const int32_t *valid; /* positions of each dimension that hold data; NULL: all */
  eval_value v;
} operand;

static bool stopped (const context *c) { return c->options->stop && *c->options->stop; }

/* Whether to go on; the status says why not. */
static bool goes_on (context *c) {
  if (stopped (c)) c->status = EVAL_STOPPED;
  else if (c->options->deadline && omp_get_wtime () > c->options->deadline) c->status = EVAL_TIME;
  else return true;
  return false;
}

static void *take (context *c, size_t bytes) {
  void *p = eval_take (c->arena, bytes);
  if (!p) c->status = EVAL_MEMORY;
  return p;
}

/* Temporaries are given back after each operator; a chunk that was added meanwhile stays for the next. */
typedef struct {
  char *at, *end;
} mark;
static mark set_mark (const context *c) { return (mark){c->arena->at, c->arena->end}; }
static void release (context *c, mark m) {
  if (m.end == c->arena->end) c->arena->at = m.at;
  else if (c->arena->chunks) c->arena->at = (char *) c->arena->chunks + 64;
}

/* Pieces of one operator's work, by the threads where there is enough of it. Of an operator of the kernel graph none
   once the evaluation is to stop: the next operator, which might look up what is no number, is not begun then. */
typedef void piece (const void *args, int64_t index);
static void share (const context *c, int64_t pieces, int64_t elements, piece *f, const void *args) {
  if (c->threads == 1 || pieces == 1 || elements < 1 << 16)
    for (int64_t i = 0; i < pieces && (c->in_block || !stopped (c)); i++) f (args, i);
  else {
#pragma omp parallel for num_threads(c->threads) schedule(dynamic)
    for (int64_t i = 0; i < pieces; i++)
      if (c->in_block || !stopped (c)) f (args, i);
  }
}

#define FOR_PLANES(c, p, need)                                                                                         \
  for (int p = 0; p < 2; p++)                                                                                          \
    if ((need) >> p & 1)

static void *at (void *base, int64_t i, size_t size) { return (char *) base + i * (int64_t) size; }

/* Copies a box of elements between strided places (strides in elements, innermost last). */
static void copy_box (size_t size, int n, const int32_t dim[], const char *from, const int64_t sf[], char *to,
                      const int64_t st[]) {
  if (n == 0) {
    memcpy (to, from, size);
    return;
  }
  if (n == 1) {
    if (sf[0] == 1 && st[0] == 1) memcpy (to, from, size * (size_t) dim[0]);
    else if (size == 4)
      for (int32_t i = 0; i < dim[0]; i++)
        ((uint32_t *) (void *) to)[i * st[0]] = ((const uint32_t *) (const void *) from)[i * sf[0]];
    else
      for (int32_t i = 0; i < dim[0]; i++)
        ((double *) (void *) to)[i * st[0]] = ((const double *) (const void *) from)[i * sf[0]];
    return;
  }
  for (int32_t i = 0; i < dim[0]; i++)
    copy_box (size, n - 1, dim + 1, from + i * sf[0] * (int64_t) size, sf + 1, to + i * st[0] * (int64_t) size, st + 1);
}

static void strides_of (const mugraph_shape *s, int64_t stride[MUGRAPH_DIMS]) {
  int64_t v = 1;
  for (int d = s->n_dims; d--; v *= s->dim[d]) stride[d] = v;
}

/* Gives every invalid position the integer `value`. */
static void set_invalid (const number *num, const mugraph_shape *s, const int32_t valid[], int d, int64_t value,
                         char *at_) {
  int64_t inner = 1;
  for (int i = d + 1; i < s->n_dims; i++) inner *= s->dim[i];
  int64_t bytes = inner * (int64_t) num->size;
  if (valid[d] < s->dim[d]) num->fill ((s->dim[d] - valid[d]) * inner, value, at_ + valid[d] * bytes);
  bool deeper = false;
  for (int i = d + 1; i < s->n_dims; i++) deeper |= valid[i] < s->dim[i];
  if (deeper)
    for (int32_t i = 0; i < valid[d]; i++) set_invalid (num, s, valid, d + 1, value, at_ + i * bytes);
}

static void clear_invalid (context *c, const operand *o, uint8_t need) {
  if (o->valid) FOR_PLANES (c, p, need) set_invalid (c->num[p], o->shape, o->valid, 0, 0, o->v.plane[p]);
}

/* Elementwise with broadcasting: runs of one stride pattern, as long as adjacent dimensions share it. */
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

typedef struct {
  pattern p;
  number_binary *f;
  int64_t size, run, step; /* long runs are cut so that threads share them */
  const char *a, *b;
  char *out;
} broadcasting;

static void broadcast_piece (const void *args, int64_t index) {
  const broadcasting *w = args;
  const pattern *p = &w->p;
  int last = p->n - 1;
  int64_t pieces = (w->run + w->step - 1) / w->step, r = index / pieces, rest = r, begin = index % pieces * w->step;
  int64_t oa = p->a[last] ? begin : 0, ob = p->b[last] ? begin : 0, va = p->a[last] ? w->run : 1,
          vb = p->b[last] ? w->run : 1;
  for (int d = last; d--; rest /= p->dim[d]) {
    int64_t i = rest % p->dim[d];
    if (p->a[d]) oa += i * va, va *= p->dim[d];
    if (p->b[d]) ob += i * vb, vb *= p->dim[d];
  }
  w->f (w->run - begin < w->step ? w->run - begin : w->step, w->a + oa * w->size, p->a[last], w->b + ob * w->size,
        p->b[last], w->out + (r * w->run + begin) * w->size);
}

static void broadcast (context *c, number_binary *f, size_t size, const mugraph_shape *so, const mugraph_shape *sa,
                       const void *a, const mugraph_shape *sb, const void *b, void *out) {
  broadcasting w = {.p = pattern_of (so, sa, sb), .f = f, .size = (int64_t) size, .a = a, .b = b, .out = out};
  int64_t runs = 1;
  for (int d = 0; d < w.p.n - 1; d++) runs *= w.p.dim[d];
  w.run = w.p.dim[w.p.n - 1];
  w.step = c->threads > 1 && runs < 4 * c->threads && w.run > 1 << 14 ? 1 << 14 : w.run;
  share (c, runs * ((w.run + w.step - 1) / w.step), runs * w.run, broadcast_piece, &w);
}

/* ---- keyed functions ---- */

static uint64_t double_bits (double v) {
  uint64_t bits;
  v += 0.0; /* one zero */
  memcpy (&bits, &v, sizeof bits);
  return bits;
}

static uint64_t key_of (const context *c, int kind, const double constant[2]) {
  uint64_t h = field_hash (c->options->key, (uint64_t) kind + 1);
  if (mugraph_op_has (kind, MUGRAPH_HAS_LOW))
    h = field_hash (field_hash (h, double_bits (constant[0])), double_bits (constant[1]));
  return h;
}

/* One function of each element: exp from plane q to p, a keyed function, or a loop over one plane. */
typedef struct {
  const mugraph_op *op;
  const number *num; /* a loop of one plane */
  bool exponential;
  uint64_t key; /* keyed */
  int64_t n, step;
  const char *x;
  char *out[2]; /* keyed: either may be NULL */
} elementwise;

static void elementwise_piece (const void *args, int64_t index) {
  const elementwise *w = args;
  int64_t first = index * w->step, end = first + w->step < w->n ? first + w->step : w->n;
  if (w->num) {
    w->num->unary[w->op->kind](w->op, end - first, w->x + first * (int64_t) w->num->size,
                               w->out[0] + first * (int64_t) w->num->size);
    return;
  }
  const uint32_t *x = (const void *) w->x;
  uint32_t *p = (void *) w->out[0], *q = (void *) w->out[1];
  if (w->exponential)
    for (int64_t i = first; i < end; i++) p[i] = field_exp (x[i]);
  else
    for (int64_t i = first; i < end; i++) {
      uint64_t h = field_hash (w->key, x[i]);
      if (p) p[i] = field_draw_p (h);
      if (q) q[i] = field_draw_q (h);
    }
}

static void run_elementwise (const context *c, elementwise *w, int64_t n) {
  w->n = n;
  w->step = c->threads > 1 ? 1 << 14 : n;
  share (c, (n + w->step - 1) / w->step, n, elementwise_piece, w);
}

/* out = f (x), by the residue mod p alone: equal arguments have equal residues mod p, whichever planes exist, so equal
   expressions get equal values; two different arguments share theirs with probability at most degree / p. */
static void apply_keyed (const context *c, uint64_t key, int64_t n, const void *x, eval_value out, uint8_t need) {
  run_elementwise (c,
                   &(elementwise){.key = key,
                                  .x = x,
                                  .out = {need & EVAL_P ? out.plane[0] : NULL, need & EVAL_Q ? out.plane[1] : NULL}},
                   n);
}

static void unary (const context *c, const mugraph_op *op, int64_t n, eval_value x, eval_value out, uint8_t need) {
  if (!c->plan->real && rule[op->kind] == exponential)
    run_elementwise (c, &(elementwise){.exponential = true, .x = x.plane[1], .out = {out.plane[0]}}, n);
  else if (!c->plan->real && is_keyed (op->kind))
    apply_keyed (c, key_of (c, op->kind, op->c), n, x.plane[0], out, need);
  else FOR_PLANES (c, p, need)
  run_elementwise (c, &(elementwise){.op = op, .num = c->num[p], .x = x.plane[p], .out = {out.plane[p]}}, n);
}

/* A constant of the program: a random element that is not 0, keyed by its value. */
static void constant (const context *c, double value, uint8_t need, void *out[2]) {
  if (c->plan->real) {
    *(double *) out[0] = value;
    return;
  }
  uint64_t h = field_hash (field_hash (c->options->key, 0xc0), double_bits (value));
  uint32_t vp = field_draw_p (h), vq = field_draw_q (h);
  if (need & EVAL_P) *(uint32_t *) out[0] = vp ? vp : 1;
  if (need & EVAL_Q) *(uint32_t *) out[1] = vq ? vq : 1;
}

/* ---- classes of operators ---- */

static const mugraph_op square_op = {.kind = MUGRAPH_OP_SQUARE}, sqrt_op = {.kind = MUGRAPH_OP_SQRT},
                        div_op = {.kind = MUGRAPH_OP_DIV};

/* Room for a value of `volume` elements. */
static bool take_value (context *c, int64_t volume, uint8_t need, eval_value *v) {
  FOR_PLANES (c, p, need)
  if (!(v->plane[p] = take (c, (size_t) volume * c->num[p]->size))) return false;
  return true;
}

static bool divide_by (context *c, const operand *a, const operand *b, operand *out, uint8_t need) {
  int64_t n = mugraph_volume (b->shape);
  FOR_PLANES (c, p, need) {
    const number *num = c->num[p];
    const void *divisor = b->v.plane[p];
    if (b->valid || num->inverse) {
      void *copy = take (c, (size_t) n * num->size);
      if (!copy) return false;
      if (b->valid) { /* zeros that stand for nothing must not count as divisions by zero */
        memcpy (copy, divisor, (size_t) n * num->size);
        set_invalid (num, b->shape, b->valid, 0, 1, copy);
        divisor = copy;
      }
      if (num->inverse) {
        if (!num->inverse (n, divisor, copy)) {
          c->status = EVAL_ZERO;
          return false;
        }
        divisor = copy;
      }
    }
    broadcast (c, num->binary[num->inverse ? MUGRAPH_OP_MUL : MUGRAPH_OP_DIV], num->size, out->shape, a->shape,
               a->v.plane[p], b->shape, divisor, out->v.plane[p]);
  }
  return true;
}

static bool binary (context *c, const mugraph_op *op, const operand in[2], operand *out, uint8_t need) {
  const operand *a = &in[0], *b = &in[1];
  if (rule[op->kind] == divide) {
    if (!divide_by (c, a, b, out, need)) return false;
  } else if (is_keyed (op->kind) && !c->plan->real) {
    /* f (a, b) = h2 (h1 (a) + b) with two random functions */
    uint64_t key = key_of (c, op->kind, op->c);
    int64_t na = mugraph_volume (a->shape), no = mugraph_volume (out->shape);
    eval_value h = {{NULL, NULL}}, sum = {{NULL, NULL}};
    if (!take_value (c, na, EVAL_P, &h) || !take_value (c, no, EVAL_P, &sum)) return false;
    apply_keyed (c, key, na, a->v.plane[0], h, EVAL_P);
    broadcast (c, c->num[0]->binary[MUGRAPH_OP_ADD], 4, out->shape, a->shape, h.plane[0], b->shape, b->v.plane[0],
               sum.plane[0]);
    apply_keyed (c, field_mix (key), no, sum.plane[0], out->v, need);
  } else FOR_PLANES (c, p, need)
  broadcast (c, c->num[p]->binary[op->kind], c->num[p]->size, out->shape, a->shape, a->v.plane[p], b->shape,
             b->v.plane[p], out->v.plane[p]);
  clear_invalid (c, out, need);
  return true;
}

typedef struct {
  const mugraph_shape *sa, *sb, *so;
  const number *num;
  const context *c;
  int64_t m, n, k, rows; /* rows: of one piece */
  const char *a, *b;
  char *out;
} multiplication;

static void matmul_piece (const void *args, int64_t index) {
  const multiplication *w = args;
  int64_t pieces = (w->m + w->rows - 1) / w->rows, o = index / pieces, rest = o, first = index % pieces * w->rows;
  int64_t oa = 0, ob = 0, va = w->m * w->k, vb = w->k * w->n, size = (int64_t) w->num->size;
  for (int d = w->so->n_dims - 2; d--; rest /= w->so->dim[d]) {
    int da = d - (w->so->n_dims - w->sa->n_dims), db = d - (w->so->n_dims - w->sb->n_dims);
    int64_t i = rest % w->so->dim[d];
    if (da >= 0 && w->sa->dim[da] > 1) oa += i * va, va *= w->sa->dim[da];
    if (db >= 0 && w->sb->dim[db] > 1) ob += i * vb, vb *= w->sb->dim[db];
  }
  int64_t rows = w->m - first < w->rows ? w->m - first : w->rows;
  char *out = w->out + (o * w->m + first) * w->n * size;
  if (stopped (w->c))
    memset (out, 0, (size_t) (rows * w->n * size)); /* numbers, for what the block still does with them */
  else w->num->matmul (rows, w->n, w->k, w->a + (oa + first * w->k) * size, w->b + ob * size, out);
}

static void matmul (context *c, const operand in[2], operand *out, uint8_t need) {
  const mugraph_shape *s = out->shape;
  const int64_t
      most = 1 << 28,
      least = 64; /* products of a piece, a fraction of a second; rows that are worth packing the right operand for */
  multiplication w = {
      .c = c, .sa = in[0].shape, .sb = in[1].shape, .so = s, .m = s->dim[s->n_dims - 2], .n = s->dim[s->n_dims - 1]};
  w.k = in[0].shape->dim[in[0].shape->n_dims - 1];
  int64_t batch = mugraph_volume (s) / (w.m * w.n), few = 4 * c->threads;
  w.rows = c->threads > 1 && batch < few ? (w.m + few - 1) / few : w.m;
  if (w.rows > least && w.rows * w.n > most / w.k) w.rows = most / w.k / w.n < least ? least : most / w.k / w.n;
  FOR_PLANES (c, p, need) {
    w.num = c->num[p], w.a = in[0].v.plane[p], w.b = in[1].v.plane[p], w.out = out->v.plane[p];
    share (c, batch * ((w.m + w.rows - 1) / w.rows), batch * w.m * w.n * w.k, matmul_piece, &w);
  }
}

/* What lies before, in and behind a dimension. */
static void around (const mugraph_shape *s, int dim, int64_t *outer, int64_t *n, int64_t *inner) {
  *outer = *inner = 1;
  for (int d = 0; d < dim; d++) *outer *= s->dim[d];
  *n = s->dim[dim];
  for (int d = dim + 1; d < s->n_dims; d++) *inner *= s->dim[d];
}

typedef struct {
  const number *num;
  int64_t outer, n, inner, step;
  void *x, *out;
  bool on_top;
} summation;

static void sum_piece (const void *args, int64_t index) {
  const summation *w = args;
  int64_t first = index * w->step, count = w->outer - first < w->step ? w->outer - first : w->step;
  w->num->sum (count, w->n, w->inner, at (w->x, first * w->n * w->inner, w->num->size),
               at (w->out, first * w->inner, w->num->size), w->on_top);
}

static void sum (context *c, int64_t outer, int64_t n, int64_t inner, eval_value x, eval_value out, uint8_t need,
                 bool on_top) {
  FOR_PLANES (c, p, need) {
    summation w = {c->num[p],  outer,        n,     inner, (outer + 4 * c->threads - 1) / (4 * c->threads),
                   x.plane[p], out.plane[p], on_top};
    share (c, (outer + w.step - 1) / w.step, outer * n * inner, sum_piece, &w);
  }
}

/* x / count: a mean. The integers themselves are the field's elements. */
static bool over_count (context *c, int64_t volume, int64_t count, eval_value x, uint8_t need) {
  if (!count && !c->plan->real) {
    c->status = EVAL_ZERO;
    return false;
  }
  FOR_PLANES (c, p, need) c->num[p]->scale (volume, 1, count, x.plane[p]);
  return true;
}

/* out = sqrt (x / count + epsilon), the one function behind every root mean square. x: plane p, is changed. */
static bool root_mean (context *c, int64_t volume, int64_t count, double epsilon, eval_value x, eval_value out,
                       uint8_t need) {
  if (!over_count (c, volume, count, x, EVAL_P)) return false;
  if (epsilon != 0) {
    union {
      double d;
      uint32_t u;
    } element;
    constant (c, epsilon, EVAL_P, (void *[2]){&element, NULL});
    c->num[0]->binary[MUGRAPH_OP_ADD](volume, x.plane[0], 1, &element, 0, x.plane[0]);
  }
  unary (c, &sqrt_op, volume, x, out, need);
  return true;
}

/* max: over the fields a random function of the multiset of its arguments. What is no number is left out, as by fmax on
 * a GPU. */
static void maximum (context *c, int64_t outer, int64_t n, int64_t inner, int64_t valid, eval_value x, eval_value out,
                     uint8_t need) {
  uint64_t key = key_of (c, MUGRAPH_OP_MAX, NULL);
  for (int64_t o = 0; o < outer; o++)
    for (int64_t i = 0; i < inner; i++)
      if (c->plan->real) {
        const double *a = (const double *) x.plane[0] + o * n * inner + i;
        double v = -INFINITY;
        for (int64_t r = 0; r < valid; r++)
          if (a[r * inner] > v) v = a[r * inner];
        ((double *) out.plane[0])[o * inner + i] = v;
      } else {
        const uint32_t *a = (const uint32_t *) x.plane[0] + o * n * inner + i;
        uint64_t h = 0;
        for (int64_t r = 0; r < valid; r++) h += field_hash (key, a[r * inner]);
        h = field_hash (key, h ^ (h >> 32));
        if (need & EVAL_P) ((uint32_t *) out.plane[0])[o * inner + i] = field_draw_p (h);
        if (need & EVAL_Q) ((uint32_t *) out.plane[1])[o * inner + i] = field_draw_q (h);
      }
}

static bool reduce (context *c, const mugraph_op *op, const operand *in, operand *out, uint8_t need) {
  int64_t outer, n, inner, volume = mugraph_volume (out->shape);
  around (in->shape, op->dim, &outer, &n, &inner);
  int64_t count = in->valid ? in->valid[op->dim] : n;
  switch (op->kind) {
  case MUGRAPH_OP_SUM: sum (c, outer, n, inner, in->v, out->v, need, false); return true;
  case MUGRAPH_OP_SUM_TO: sum (c, outer, n / op->width, op->width * inner, in->v, out->v, need, false); return true;
  case MUGRAPH_OP_MEAN:
    sum (c, outer, n, inner, in->v, out->v, need, false);
    return over_count (c, volume, count, out->v, need);
  case MUGRAPH_OP_MAX:
    maximum (c, outer, n, inner, count, in->v, out->v, need);
    clear_invalid (c, out, need);
    return true;
  default: break;
  }
  /* rms_norm: x / sqrt (mean (x^2) + epsilon) */
  mugraph_shape small = *in->shape;
  small.dim[op->dim] = 1;
  eval_value squares = {{NULL, NULL}}, mean = {{NULL, NULL}};
  int32_t valid[MUGRAPH_DIMS];
  operand root = {.shape = &small, .valid = NULL};
  if (in->valid) {
    memcpy (valid, in->valid, sizeof valid);
    valid[op->dim] = 1;
    root.valid = valid;
  }
  int64_t few = outer * inner;
  if (!take_value (c, few * n, EVAL_P, &squares) || !take_value (c, few, EVAL_P, &mean) ||
      !take_value (c, few, need, &root.v))
    return false;
  unary (c, &square_op, few * n, in->v, squares, EVAL_P);
  sum (c, outer, n, inner, squares, mean, EVAL_P, false);
  return root_mean (c, few, count, op->c[0], mean, root.v, need) &&
         binary (c, &div_op, (operand[2]){*in, root}, out, need);
}

static void layout (context *c, const mugraph_op *op, const operand in[], operand *out, uint8_t need) {
  int64_t from[MUGRAPH_DIMS], to[MUGRAPH_DIMS];
  int n = out->shape->n_dims;
  FOR_PLANES (c, p, need) {
    size_t size = c->num[p]->size;
    strides_of (out->shape, to);
    if (op->kind == MUGRAPH_OP_TRANSPOSE) {
      strides_of (in->shape, from);
      int64_t last = from[n - 1];
      from[n - 1] = from[n - 2], from[n - 2] = last;
      copy_box (size, n, out->shape->dim, in->v.plane[p], from, out->v.plane[p], to);
      continue;
    }
    char *place = out->v.plane[p];
    for (int k = 0; k < 2; k++) {
      strides_of (in[k].shape, from);
      copy_box (size, n, in[k].shape->dim, in[k].v.plane[p], from, place, to);
      place += in[k].shape->dim[op->dim] * to[op->dim] * (int64_t) size;
    }
  }
}

/* Everything but iterators, savers, accumulators and graph-defined kernels. */
static bool apply (context *c, const mugraph_op *op, const operand in[], operand *out, uint8_t need) {
  mark m = set_mark (c);
  bool ok = true;
  switch (mugraph_op_table[op->kind].klass) {
  case MUGRAPH_LEAF: constant (c, op->c[0], need, out->v.plane); break;
  case MUGRAPH_MATMUL: matmul (c, in, out, need); break;
  case MUGRAPH_UNARY:
    unary (c, op, mugraph_volume (out->shape), in->v, out->v, need);
    clear_invalid (c, out, need);
    break;
  case MUGRAPH_BINARY: ok = binary (c, op, in, out, need); break;
  case MUGRAPH_REDUCE: ok = reduce (c, op, in, out, need); break;
  case MUGRAPH_LAYOUT: layout (c, op, in, out, need); break;
  case MUGRAPH_ACCUM:
  case MUGRAPH_SAVER:
  case MUGRAPH_CUSTOM: break;
  }
  release (c, m);
  return ok;
}

/* ---- stable exponentials ---- */

/* The row maxima of the exponentials of one kernel operator. Over the fields a maximum is any residue mod q. */
typedef struct {
  int64_t rows; /* of one tile (or tensor) */
  bool started;
  uint64_t draws; /* fields: key of the next maximum */
  double *real, *real_new;
  uint32_t *mod_q, *mod_q_new;
} maxima;

static bool take_maxima (context *c, maxima *m, int64_t rows) {
  size_t size = c->plan->real ? sizeof (double) : sizeof (uint32_t);
  void *a = take (c, (size_t) rows * size), *b = take (c, (size_t) rows * size);
  *m = (maxima){.rows = rows};
  if (c->plan->real) m->real = a, m->real_new = b;
  else m->mod_q = a, m->mod_q_new = b;
  return a && b;
}

/* x[r][0 .. n) *= exp (degree * (from[r] - to[r])) */
static void rescale_row (context *c, const maxima *m, int64_t r, const void *from, const void *to, int degree,
                         int64_t n, void *x) {
  (void) m;
  if (c->plan->real) {
    double a = ((const double *) from)[r], b = ((const double *) to)[r];
    if (a == b || a == -INFINITY) return; /* nothing yet: sums of nothing are 0 */
    double f = exp (degree * (a - b));
    c->num[0]->binary[MUGRAPH_OP_MUL](n, x, 1, &f, 0, x);
    return;
  }
  uint32_t by = field_sub_q (((const uint32_t *) from)[r], ((const uint32_t *) to)[r]);
  uint32_t times = (uint32_t) (degree < 0 ? (int64_t) FIELD_Q + degree : degree);
  uint32_t f = field_exp (field_mul_q (by, times));
  c->num[0]->binary[MUGRAPH_OP_MUL](n, x, 1, &f, 0, x);
}

/* The new maxima, when the exponential of x comes: at least the old ones. */
static void raise_maxima (context *c, maxima *m, const operand *x) {
  int64_t n = x->shape->dim[x->shape->n_dims - 1];
  int64_t valid = x->valid ? x->valid[x->shape->n_dims - 1] : n;
  for (int64_t r = 0; r < m->rows; r++)
    if (c->plan->real) {
      const double *row = (const double *) x->v.plane[0] + r * n;
      double v = m->started ? m->real[r] : -INFINITY;
      for (int64_t i = 0; i < valid; i++) v = row[i] > v ? row[i] : v;
      m->real_new[r] = v;
    } else m->mod_q_new[r] = field_draw_q (field_hash (c->options->key, m->draws++));
}

static void accept_maxima (maxima *m) {
  void *t = m->real;
  m->real = m->real_new, m->real_new = t;
  t = m->mod_q;
  m->mod_q = m->mod_q_new, m->mod_q_new = t;
  m->started = true;
}

/* exp (x - maximum of the row) */
static bool shifted_exp (context *c, const maxima *m, const operand *x, operand *out) {
  static const mugraph_op exp_op = {.kind = MUGRAPH_OP_EXP};
  int64_t n = x->shape->dim[x->shape->n_dims - 1];
  int p = c->plan->real ? 0 : 1;
  mark k = set_mark (c);
  eval_value t = {{NULL, NULL}};
  if (!take_value (c, m->rows * n, (uint8_t) (1 << p), &t)) return false;
  size_t size = c->num[p]->size;
  const char *max = c->plan->real ? (const char *) m->real : (const char *) m->mod_q;
  for (int64_t r = 0; r < m->rows; r++)
    c->num[p]->binary[MUGRAPH_OP_SUB](n, at (x->v.plane[p], r * n, size), 1, max + r * (int64_t) size, 0,
                                      at (t.plane[p], r * n, size));
  unary (c, &exp_op, m->rows * n, t, out->v, EVAL_P);
  clear_invalid (c, out, EVAL_P);
  release (c, k);
  return true;
}

static int64_t rows_of (const mugraph_shape *s) { return mugraph_volume (s) / s->dim[s->n_dims - 1]; }

static uint64_t draw_key (int op, int64_t where) {
  return field_mix ((uint64_t) op << 48 ^ (uint64_t) where ^ 0x6d6178ull << 24);
}

/* ---- a graph-defined kernel ---- */

/* Maxima that the blocks of a kernel leave beside their partial results: [row of the tensor][block along the last
   dimension]. */
typedef struct {
  void *data;
  int64_t blocks;
} saved_maxima;

typedef struct {
  int index; /* kernel operator */
  const mugraph_op *op;
  const mugraph_block *b;
  const operand *tensors; /* inputs of the operator */
  eval_value *out;
  const mugraph_shape *const *out_shape;
  bool ragged, moving; /* moving: the block has exponentials with running maxima */
  bool looped[MUGRAPH_BLOCK_OPS];
  saved_maxima *saved;
} kernel;

typedef struct {
  operand tile[MUGRAPH_BLOCK_OPS];
  void *own[MUGRAPH_BLOCK_OPS][2]; /* tile.v unless an iterator points into its tensor */
  int32_t valid[MUGRAPH_BLOCK_OPS][MUGRAPH_DIMS];
  int64_t count[MUGRAPH_BLOCK_OPS]; /* accumulators: elements per result */
  maxima max;
} block_state;

static void set_valid (const kernel *k, block_state *s, int i, const int32_t at_block[3], int l) {
  const mugraph_op *op = &k->b->op[i];
  int32_t first;
  bool full = true;
  for (int d = 0; d < op->shape.n_dims; d++) {
    int axis = op->split[d].axis;
    mugraph_split_range (&op->split[d], op->shape.dim[d], k->b->grid, k->b->loop, axis < 0 ? 0 : at_block[axis], l,
                         &first, &s->valid[i][d]);
    full &= s->valid[i][d] == op->shape.dim[d];
  }
  s->tile[i].valid = full ? NULL : s->valid[i];
}

static void load (context *c, const kernel *k, block_state *s, int i, const int32_t at_block[3], int l, uint8_t need) {
  const mugraph_op *op = &k->b->op[i];
  const operand *t = &k->tensors[op->in[0]];
  int32_t first, extent[MUGRAPH_DIMS];
  int64_t from[MUGRAPH_DIMS], to[MUGRAPH_DIMS], offset = 0;
  strides_of (t->shape, from);
  strides_of (&op->shape, to);
  bool full = true, slab = true;
  for (int d = 0; d < op->shape.n_dims; d++) {
    int axis = op->split[d].axis;
    mugraph_split_range (&op->split[d], op->shape.dim[d], k->b->grid, k->b->loop, axis < 0 ? 0 : at_block[axis], l,
                         &first, &extent[d]);
    offset += first * from[d];
    full &= extent[d] == op->shape.dim[d];
    slab &= op->shape.dim[d] == 1 || from[d] == to[d];
  }
  FOR_PLANES (c, p, need) {
    size_t size = c->num[p]->size;
    char *source = (char *) t->v.plane[p] + offset * (int64_t) size;
    if (full && slab) { /* contiguous in its tensor: no copy; nothing writes to an iterator's tile */
      s->tile[i].v.plane[p] = source;
      continue;
    }
    s->tile[i].v.plane[p] = s->own[i][p];
    if (!full) memset (s->own[i][p], 0, (size_t) mugraph_volume (&op->shape) * size);
    bool empty = false;
    for (int d = 0; d < op->shape.n_dims; d++) empty |= !extent[d];
    if (!empty) copy_box (size, op->shape.n_dims, extent, source, from, s->own[i][p], to);
  }
}

static bool accumulate (context *c, const kernel *k, block_state *s, int i, int l, uint8_t need) {
  const mugraph_op *op = &k->b->op[i];
  const operand *x = &s->tile[op->in[0]];
  eval_value out = s->tile[i].v;
  int64_t outer, n, inner;
  int last = x->shape->n_dims - 1;
  around (x->shape, last, &outer, &n, &inner);
  s->count[i] = (l ? s->count[i] : 0) + (x->valid ? x->valid[last] : n);
  bool ok = true;
  mark m = set_mark (c);
  switch (op->kind) {
  case MUGRAPH_OP_ACCUM:
    FOR_PLANES (c, p, need) {
      if (l) c->num[p]->binary[MUGRAPH_OP_ADD](outer * n, out.plane[p], 1, x->v.plane[p], 1, out.plane[p]);
      else memcpy (out.plane[p], x->v.plane[p], (size_t) (outer * n) * c->num[p]->size);
    }
    break;
  case MUGRAPH_OP_ACCUM_RMS: { /* sums in the first plane; the root comes after the loop */
    eval_value squares = {{NULL, NULL}};
    if ((ok = take_value (c, outer * n, EVAL_P, &squares))) {
      unary (c, &square_op, outer * n, x->v, squares, EVAL_P);
      sum (c, outer, n, 1, squares, (eval_value){{s->own[i][0], NULL}}, EVAL_P, l);
    }
    break;
  }
  case MUGRAPH_OP_ACCUM_SUM_TO: sum (c, outer, n / op->width, op->width, x->v, out, need, l); break;
  default: sum (c, outer, n, 1, x->v, out, need, l); break;
  }
  release (c, m);
  return ok;
}

static bool finish_accumulator (context *c, const kernel *k, block_state *s, int i, uint8_t need) {
  const mugraph_op *op = &k->b->op[i];
  int64_t volume = mugraph_volume (&op->shape);
  if (op->kind == MUGRAPH_OP_ACCUM_MEAN) return over_count (c, volume, s->count[i], s->tile[i].v, need);
  if (op->kind == MUGRAPH_OP_ACCUM_RMS) {
    if (!root_mean (c, volume, s->count[i], op->c[0], (eval_value){{s->own[i][0], NULL}}, s->tile[i].v, need))
      return false;
    clear_invalid (c, &s->tile[i], need);
  }
  return true;
}

/* Before exponential i: raises the maxima, and brings everything that was computed with the old ones to the new ones.
 */
static bool stable_exp (context *c, const kernel *k, block_state *s, int i) {
  const operand *x = &s->tile[k->b->op[i].in[0]];
  const int8_t *degree = c->options->stable->block_degree[k->op->block];
  maxima *m = &s->max;
  raise_maxima (c, m, x);
  for (int j = 0; m->started && j < k->b->n_ops; j++) {
    const mugraph_op *op = &k->b->op[j];
    bool stale = j > i && mugraph_op_table[op->kind].klass != MUGRAPH_ACCUM; /* will be computed anew, or not yet */
    if (!degree[j] || !c->plan->tile[k->op->block][j] || stale || op->kind == MUGRAPH_OP_OUTPUT) continue;
    if (mugraph_op_table[op->kind].klass == MUGRAPH_ACCUM && !s->count[j]) continue;
    int64_t n = op->shape.dim[op->shape.n_dims - 1];
    for (int64_t r = 0; r < m->rows; r++)
      rescale_row (c, m, r, c->plan->real ? (void *) m->real : m->mod_q,
                   c->plan->real ? (void *) m->real_new : m->mod_q_new, degree[j], n,
                   at (s->tile[j].v.plane[0], r * n, c->num[0]->size));
  }
  accept_maxima (m);
  return shifted_exp (c, m, x, &s->tile[i]);
}

/* Where the tile of a saver goes: element offset in its tensor, and the part that is valid. */
static int64_t place (const kernel *k, const block_state *s, int i, const mugraph_shape *whole,
                      const int32_t at_block[3], int32_t extent[]) {
  const mugraph_op *op = &k->b->op[i];
  const operand *x = &s->tile[op->in[0]];
  int64_t stride[MUGRAPH_DIMS], offset = 0;
  strides_of (whole, stride);
  for (int d = 0; d < whole->n_dims; d++) {
    int64_t first = 0;
    for (int g = 0; g < 3; g++)
      if (op->map[g] == d && k->b->grid[g] > 1) first = (int64_t) at_block[g] * x->shape->dim[d];
    int64_t room = whole->dim[d] - first;
    extent[d] = x->valid ? x->valid[d] : x->shape->dim[d];
    if (extent[d] > room) extent[d] = room < 0 ? 0 : (int32_t) room;
    offset += first * stride[d];
  }
  return offset;
}

static void save (context *c, const kernel *k, block_state *s, int i, int number_of_saver, const int32_t at_block[3],
                  uint8_t need) {
  const mugraph_op *op = &k->b->op[i];
  const operand *x = &s->tile[op->in[0]];
  const mugraph_shape *whole = k->out_shape[number_of_saver];
  int32_t extent[MUGRAPH_DIMS];
  int64_t from[MUGRAPH_DIMS], to[MUGRAPH_DIMS];
  int64_t offset = place (k, s, i, whole, at_block, extent);
  strides_of (x->shape, from);
  strides_of (whole, to);
  for (int d = 0; d < whole->n_dims; d++)
    if (!extent[d]) return;
  FOR_PLANES (c, p, need) {
    size_t size = c->num[p]->size;
    copy_box (size, whole->n_dims, extent, x->v.plane[p], from,
              (char *) k->out[number_of_saver].plane[p] + offset * (int64_t) size, to);
  }
  saved_maxima *m = &k->saved[number_of_saver];
  if (!m->data) return;
  /* the row maxima, at [row][block along the last dimension] */
  int last = whole->n_dims - 1, g = 0;
  while (g < 2 && !(op->map[g] == last && k->b->grid[g] > 1)) g++;
  int64_t tile_rows = rows_of (x->shape), row = offset / whole->dim[last];
  for (int64_t r = 0; r < tile_rows; r++) {
    int64_t place_r = 0, rest = r;
    bool inside = true;
    for (int d = last; d--; rest /= x->shape->dim[d]) {
      place_r += rest % x->shape->dim[d] * (to[d] / whole->dim[last]);
      inside &= rest % x->shape->dim[d] < extent[d];
    }
    if (!inside) continue;
    int64_t slot = (row + place_r) * m->blocks + at_block[g];
    if (c->plan->real) ((double *) m->data)[slot] = s->max.real[r];
    else ((uint32_t *) m->data)[slot] = s->max.mod_q[r];
  }
}

static bool run_block (context *c, const kernel *k, block_state *s, int64_t index) {
  const mugraph_block *b = k->b;
  const uint8_t *need = c->plan->tile[k->op->block];
  const bool *stable = k->moving ? c->options->stable->block_exp[k->op->block] : NULL;
  int32_t at_block[3] = {(int32_t) (index % b->grid[0]), (int32_t) (index / b->grid[0] % b->grid[1]),
                         (int32_t) (index / b->grid[0] / b->grid[1])};
  if (k->moving) s->max.started = false, s->max.draws = draw_key (k->index, index << 24);
  for (int i = 0; i < b->n_ops; i++) s->count[i] = 0;
  for (int l = 0; l < b->loop; l++) {
    if (stopped (c)) return goes_on (c);
    for (int i = 0; i < b->n_ops; i++) {
      const mugraph_op *op = &b->op[i];
      bool accumulator = mugraph_op_table[op->kind].klass == MUGRAPH_ACCUM;
      if (!need[i] || (op->after_loop && !accumulator) || (l && !k->looped[i] && !accumulator)) continue;
      if (k->ragged) set_valid (k, s, i, at_block, l);
      if (accumulator) {
        if (!accumulate (c, k, s, i, l, need[i])) return false;
      } else if (op->kind == MUGRAPH_OP_INPUT) load (c, k, s, i, at_block, l, need[i]);
      else if (stable && stable[i]) {
        if (!stable_exp (c, k, s, i)) return false;
      } else {
        operand in[2];
        for (int j = 0; j < op->n_in; j++) in[j] = s->tile[op->in[j]];
        if (!apply (c, op, in, &s->tile[i], need[i])) return false;
      }
    }
  }
  for (int i = 0, saver = 0; i < b->n_ops; i++) {
    const mugraph_op *op = &b->op[i];
    int number_of_saver = op->kind == MUGRAPH_OP_OUTPUT ? saver++ : 0;
    if (!need[i] || !op->after_loop) continue;
    if (k->ragged) set_valid (k, s, i, at_block, 0);
    if (mugraph_op_table[op->kind].klass == MUGRAPH_ACCUM) {
      if (!finish_accumulator (c, k, s, i, need[i])) return false;
    } else if (op->kind == MUGRAPH_OP_OUTPUT) save (c, k, s, i, number_of_saver, at_block, need[i]);
    else if (stable && stable[i]) {
      if (!stable_exp (c, k, s, i)) return false;
    } else {
      operand in[2];
      for (int j = 0; j < op->n_in; j++) in[j] = s->tile[op->in[j]];
      if (!apply (c, op, in, &s->tile[i], need[i])) return false;
    }
  }
  return true;
}

/* Rooms for the tiles of one thread. */
static bool prepare_block (context *c, const kernel *k, block_state *s) {
  const uint8_t *need = c->plan->tile[k->op->block];
  int64_t rows = 0;
  for (int i = 0; i < k->b->n_ops; i++) {
    const mugraph_op *op = &k->b->op[i];
    s->tile[i].shape = &op->shape;
    s->tile[i].valid = NULL;
    s->own[i][0] = s->own[i][1] = NULL;
    if (op->kind == MUGRAPH_OP_OUTPUT) continue;
    /* the sums of squares of an rms need plane p even where only the root's plane q is asked for */
    uint8_t planes = need[i] && op->kind == MUGRAPH_OP_ACCUM_RMS ? need[i] | EVAL_P : need[i];
    eval_value v = {{NULL, NULL}};
    if (!take_value (c, mugraph_volume (&op->shape), planes, &v)) return false;
    memcpy (s->own[i], v.plane, sizeof v.plane);
    s->tile[i].v = v;
    if (k->moving && c->options->stable->block_exp[k->op->block][i]) rows = rows_of (&op->shape);
  }
  return !k->moving || take_maxima (c, &s->max, rows);
}

/* Brings the partial results of a row, each with the maximum of its block, to one maximum. */
static bool unify (context *c, const kernel *k, int degree, int64_t width, const mugraph_shape *s,
                   const saved_maxima *m, eval_value v) {
  int64_t rows = rows_of (s), n = s->dim[s->n_dims - 1];
  mark before = set_mark (c);
  maxima common;
  if (!take_maxima (c, &common, 2)) return false;
  for (int64_t r = 0; r < rows; r++) {
    if (c->plan->real) {
      const double *row = (const double *) m->data + r * m->blocks;
      common.real[1] = -INFINITY;
      for (int64_t z = 0; z < m->blocks && z * width < n; z++)
        common.real[1] = row[z] > common.real[1] ? row[z] : common.real[1];
    } else common.mod_q[1] = field_draw_q (field_hash (c->options->key, draw_key (k->index, r) ^ 1));
    for (int64_t z = 0; z < m->blocks && z * width < n; z++) {
      int64_t count = n - z * width < width ? n - z * width : width;
      void *x = at (v.plane[0], r * n + z * width, c->num[0]->size);
      if (c->plan->real)
        common.real[0] = ((const double *) m->data)[r * m->blocks + z], common.real_new[0] = common.real[1];
      else common.mod_q[0] = ((const uint32_t *) m->data)[r * m->blocks + z], common.mod_q_new[0] = common.mod_q[1];
      rescale_row (c, &common, 0, c->plan->real ? (void *) common.real : common.mod_q,
                   c->plan->real ? (void *) common.real_new : common.mod_q_new, degree, count, x);
    }
  }
  release (c, before);
  return true;
}

static bool run_kernel (context *c, int index, const operand tensors[], eval_value out[]) {
  const mugraph *g = c->plan->graph;
  const mugraph_op *op = &g->op[index];
  const mugraph_block *b = &g->block[op->block];
  const mugraph_stable *stable = c->options->stable;
  const mugraph_shape *shapes[MUGRAPH_FANOUT];
  saved_maxima saved[MUGRAPH_FANOUT] = {{NULL, 0}};
  kernel k = {.index = index, .op = op, .b = b, .tensors = tensors, .out = out, .out_shape = shapes, .saved = saved};
  k.ragged = mugraph_block_ragged (b);
  for (int i = 0; i < b->n_ops; i++) {
    k.looped[i] = b->op[i].kind == MUGRAPH_OP_INPUT && b->op[i].fmap >= 0 && b->loop > 1;
    for (int j = 0; j < b->op[i].n_in; j++)
      k.looped[i] |= k.looped[b->op[i].in[j]] && !b->op[b->op[i].in[j]].after_loop;
    k.moving |= stable && stable->block_exp[op->block][i];
  }
  mark before = set_mark (c);
  int64_t width[MUGRAPH_FANOUT] = {0};
  for (int i = 0, n = 0; i < b->n_ops; i++) {
    if (b->op[i].kind != MUGRAPH_OP_OUTPUT) continue;
    const mugraph_shape *s = shapes[n] = &g->tensor[op->out[n]].shape;
    if (stable && stable->tensor_degree[op->out[n]] && c->plan->tensor[op->out[n]]) {
      const mugraph_op *x = &b->op[b->op[i].in[0]];
      int last = s->n_dims - 1;
      width[n] = x->shape.dim[last];
      saved[n].blocks = 1;
      for (int d = 0; d < 3; d++)
        if (b->op[i].map[d] == last) saved[n].blocks *= b->grid[d];
      if (!(saved[n].data = take (c, (size_t) (rows_of (s) * saved[n].blocks) * sizeof (double)))) return false;
    }
    n++;
  }
  int64_t blocks = (int64_t) b->grid[0] * b->grid[1] * b->grid[2];
  double work = 0; /* elements touched, roughly: few are not worth a team of threads */
  for (int i = 0; i < b->n_ops; i++)
    work += (double) mugraph_volume (&b->op[i].shape) * (double) blocks * (k.looped[i] ? b->loop : 1);
  bool ok = true;
  if (c->threads > 1 && blocks > 1 && work > 1 << 16) {
    eval_status status = EVAL_DONE;
#pragma omp parallel num_threads(c->threads)
    {
      eval_arena arena;
      eval_arena_init (&arena, NULL, 0);
      context mine = *c;
      mine.arena = &arena;
      mine.threads = 1, mine.in_block = true;
      block_state *s = malloc (sizeof *s);
      bool good = s && prepare_block (&mine, &k, s);
      if (!s) mine.status = EVAL_MEMORY;
#pragma omp for schedule(dynamic)
      for (int64_t i = 0; i < blocks; i++) {
        good = good && goes_on (&mine) && run_block (&mine, &k, s, i);
      }
      free (s);
      eval_arena_free (&arena);
      if (!good) {
#pragma omp critical(eval_status_of_blocks)
        status = mine.status;
      }
    }
    ok = status == EVAL_DONE;
    if (!ok) c->status = status;
  } else {
    block_state *s = take (c, sizeof *s);
    int threads = c->threads;
    c->threads = blocks > 1 ? 1 : threads, c->in_block = true;
    ok = s && prepare_block (c, &k, s);
    for (int64_t i = 0; ok && i < blocks; i++) {
      ok = (i & 63 || goes_on (c)) && run_block (c, &k, s, i);
    }
    c->threads = threads, c->in_block = false;
  }
  for (int n = 0; ok && n < op->n_out; n++)
    if (saved[n].data) ok = unify (c, &k, stable->tensor_degree[op->out[n]], width[n], shapes[n], &saved[n], out[n]);
  release (c, before);
  return ok;
}

/* ---- the kernel graph ---- */

eval_status eval_run (const eval_plan *plan, const eval_options *options, const eval_value inputs[],
                      void *const outputs[], eval_arena *arena) {
  const mugraph *g = plan->graph;
  field_setup ();
  context c = {.plan = plan, .options = options, .arena = arena, .threads = options->threads};
  c.num[0] = plan->real ? &number_real : &number_p;
  c.num[1] = plan->real ? NULL : &number_q;
  eval_value v[MUGRAPH_TENSORS];
  bool heap[MUGRAPH_TENSORS];
  memset (heap, 0, g->n_tensors);
  for (int t = 0; t < g->n_inputs; t++) v[t] = inputs[t];
  bool ok = true;
  for (int i = 0; ok && i < g->n_ops; i++) {
    const mugraph_op *op = &g->op[i];
    operand in[MUGRAPH_FANIN];
    eval_value out[MUGRAPH_FANOUT];
    bool wanted = false;
    for (int k = 0; k < op->n_out; k++) wanted |= plan->tensor[op->out[k]] != 0;
    if (!wanted) continue;
    if (!(ok = goes_on (&c))) break;
    for (int k = 0; k < op->n_in; k++) in[k] = (operand){&g->tensor[op->in[k]].shape, NULL, v[op->in[k]]};
    for (int k = 0; k < op->n_out; k++) {
      int t = op->out[k];
      int64_t n = mugraph_volume (&g->tensor[t].shape);
      v[t] = (eval_value){{NULL, NULL}};
      heap[t] = n >= 1 << 16; /* large tensors go when their last reader is done */
      for (int p = 0; p < 2 && ok; p++) {
        if (!(plan->tensor[t] >> p & 1)) continue;
        size_t bytes = (size_t) n * c.num[p]->size;
        v[t].plane[p] = heap[t] ? take_large (bytes) : eval_take (arena, bytes);
        if (!v[t].plane[p]) ok = false, c.status = EVAL_MEMORY;
      }
      out[k] = v[t];
    }
    if (ok && op->kind == MUGRAPH_OP_CUSTOM) ok = run_kernel (&c, i, in, out);
    else if (ok) {
      operand o = {&g->tensor[op->out[0]].shape, NULL, out[0]};
      if (options->stable && options->stable->kernel_exp[i]) {
        maxima m;
        mark k = set_mark (&c);
        ok = take_maxima (&c, &m, rows_of (in[0].shape));
        if (ok) {
          m.draws = draw_key (i, 0);
          raise_maxima (&c, &m, &in[0]);
          accept_maxima (&m);
          ok = shifted_exp (&c, &m, &in[0], &o);
        }
        release (&c, k);
      } else ok = apply (&c, op, in, &o, plan->tensor[op->out[0]]);
    }
    for (int t = g->n_inputs; t < g->n_tensors; t++)
      if (heap[t] && plan->last_use[t] == i) {
        free (v[t].plane[0]), free (v[t].plane[1]);
        heap[t] = false;
      }
  }
  for (int k = 0; ok && k < g->n_outputs; k++) {
    int t = g->output[k];
    memcpy (outputs[k], v[t].plane[0], (size_t) mugraph_volume (&g->tensor[t].shape) * c.num[0]->size);
  }
  for (int t = g->n_inputs; t < g->n_tensors; t++)
    if (heap[t]) free (v[t].plane[0]), free (v[t].plane[1]);
  if (stopped (&c)) return EVAL_STOPPED; /* what looks done may be zeros */
  return ok ? EVAL_DONE : c.status == EVAL_DONE ? EVAL_MEMORY : c.status;
}
