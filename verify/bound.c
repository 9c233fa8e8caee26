/* The error bound of one trial.

   Fix an output element in which program and candidate differ as expressions. Both are rational functions N/D in atoms:
   inputs and constants (uniform mod p), exponentials (uniform in the subgroup of order q of Z_p*), and values of keyed
   functions (uniform mod p, independent as long as their arguments differ). Write F = N1 D2 - N2 D1, a polynomial that
   is not zero, of total degree at most d = max (deg N1 + deg D2, deg N2 + deg D1), in c keyed atoms and others.

   1. No collisions (Schwartz-Zippel). Independent uniform values from sets of at least q elements (p, where there is no
   exponential) make F vanish with probability at most d / q.
   2. Collisions. Two keyed atoms are not independent when their different arguments happen to coincide mod p:
   probability at most e for each pair. Take an atom of F that is inside of no other one's argument: F = y^k G + lower
   powers of y. Unless y collides with one of the c others, y is independent of all that remains, and what counts is G,
   of degree at most d - k. So at most min (d, c) atoms are eliminated, and collisions contribute min (d, c) c e.
   3. e itself is the probability that the difference of two arguments, of degree at most a, vanishes: a / q without
   keyed functions inside of it; with l levels of them, a / q + min (a, c) c e', e' for l - 1 levels.
   4. Divisions by zero are drawn again, VERIFY_DRAWS times at most: the sum over the draws bounds the trial.
   Trials are independent, so the bound of t trials is the t-th power (verify_report.error_bound).

   Degrees are propagated through the graph: those of N and D, and along which dimensions D varies, since a sum of terms
   over one common denominator keeps it, and over n different ones takes their product. In the same way the number c of
   keyed evaluations behind one element: those of one operator that vary along a dimension are multiplied by its size
   when it is summed over. Where keyed values are divisors only (the root mean squares of norms), the atom is 1 / y, as
   uniform among the elements that are not 0 as y, and the quotient is a product.

   What is assumed, and where:
   - Exponentials at arguments that are different polynomials are independent atoms up to sums: exp (a + b) counts as a
   monomial of degree 2. This is a theorem where the arguments of the exponentials in one output element are linearly
   independent forms in fresh inputs (the scores of one row of an attention: Q_r K_j over all j, once Q_r is not 0). In
   general, relations with random coefficients between arguments make sparse polynomials, for which only 1 - 1/k for k
   terms is known (Mirage, OSDI'25, theorem 2).
   - Different over the fields means different as formal expressions; the integers that sums of equal terms and means
   bring in are far below p, but an integer combination that p divides would count as 0.
   - Hashes (field_hash) stand for random functions and generators. */
#include "bound.h"
#include "field.h"

#include <assert.h>
#include <string.h>

enum {
  ITERATION = 1 << 7, /* bit of vary: differs between iterations of the loop */
  SLOTS = 8
};

/* Keyed evaluations behind one element, of the operators that share a slot. vary as below. */
typedef struct {
  double count;
  uint8_t vary;
} source;

typedef struct {
  double num, den; /* degrees */
  double terms;    /* summands, as an argument of exp */
  source from[SLOTS];
  int depth;         /* of keyed functions inside of each other */
  uint8_t vary;      /* bit d: the denominator varies along dimension d, counted from the last */
  bool looped, pure; /* pure: the value of a keyed function itself */
} degree;

typedef struct {
  int n_keyed, depth;
  double num, den; /* largest degrees of an argument of a keyed function */
  bool exponentials;
  bool inverses; /* keyed values that divide are atoms of their own: allowed while mixed is false */
  bool mixed;    /* some keyed value is used otherwise than as a divisor */
} totals;

static const degree atom = {.num = 1, .terms = 1};

static double larger (double a, double b) { return a > b ? a : b; }
static double smaller (double a, double b) { return a < b ? a : b; }

/* Bits of the dimensions with more than one position. */
static uint8_t wide (const mugraph_shape *s) {
  uint8_t bits = 0;
  for (int d = 0; d < s->n_dims; d++)
    if (s->dim[d] > 1) bits |= (uint8_t) (1 << (s->n_dims - 1 - d));
  return bits;
}

static uint8_t swap_last_two (uint8_t v) { return (uint8_t) ((v & ~3) | (v & 1) << 1 | (v & 2) >> 1); }

static degree product (degree a, const degree *b) {
  a.num += b->num;
  a.den += b->den;
  a.terms *= b->terms;
  a.vary |= b->vary;
  a.looped |= b->looped;
  a.pure = false;
  if (b->depth > a.depth) a.depth = b->depth;
  for (int i = 0; i < SLOTS; i++) {
    a.from[i].count += b->from[i].count;
    a.from[i].vary |= b->from[i].vary;
  }
  return a;
}

/* Sums n terms along the dimension (or loop) of this bit. */
static degree sum_along (degree a, double n, uint8_t bit) {
  double different = a.vary & bit ? (n - 1) * a.den : 0;
  a.num += different;
  a.den += different;
  a.vary &= (uint8_t) ~bit;
  a.pure = false;
  for (int i = 0; i < SLOTS; i++)
    if (a.from[i].vary & bit) {
      a.from[i].count *= n;
      a.from[i].vary &= (uint8_t) ~bit;
    }
  return a;
}

/* A keyed function of a, whose values have this shape. */
static degree keyed_of (totals *t, degree a, const mugraph_shape *s) {
  int slot = t->n_keyed++ % SLOTS;
  t->num = larger (t->num, a.num);
  t->den = larger (t->den, a.den);
  a.num = a.terms = 1;
  a.den = 0;
  a.vary = 0;
  a.pure = true;
  a.from[slot].count += 1;
  a.from[slot].vary |= wide (s) | (a.looped ? ITERATION : 0);
  if (++a.depth > t->depth) t->depth = a.depth;
  return a;
}

static degree quotient (const totals *t, degree a, const degree *b, const mugraph_shape *sb) {
  double terms = a.terms;
  degree r = product (a, b);
  r.terms = terms;
  if (b->pure && t->inverses) return r;
  r.num = a.num + b->den;
  r.den = a.den + b->num;
  if (b->num > 0) r.vary |= wide (sb) | (b->looped ? ITERATION : 0);
  return r;
}

static degree apply (totals *t, const mugraph_op *op, const degree in[], const mugraph_shape *const s[],
                     const mugraph_shape *out, int loop) {
  mugraph_class klass = mugraph_op_table[op->kind].klass;
  degree x = op->n_in ? in[0] : atom, r = x;
  int last = op->n_in ? s[0]->n_dims - 1 : 0, dim = klass == MUGRAPH_ACCUM ? last : op->dim;
  bool along = klass == MUGRAPH_REDUCE || klass == MUGRAPH_ACCUM;
  double n = along ? s[0]->dim[dim] : 1;
  uint8_t bit = along ? (uint8_t) (1 << (last - dim)) : 0;
  bool passes = klass == MUGRAPH_SAVER || op->kind == MUGRAPH_OP_TRANSPOSE;
  for (int k = 0; k < op->n_in; k++) t->mixed |= in[k].pure && !passes && !(op->kind == MUGRAPH_OP_DIV && k == 1);
  if (klass == MUGRAPH_ACCUM) {
    x = sum_along (op->kind == MUGRAPH_OP_ACCUM_RMS ? product (x, &x) : x, loop, ITERATION);
    x.looped = false;
  }
  switch ((mugraph_op_kind) op->kind) {
  case MUGRAPH_OP_INPUT:
  case MUGRAPH_OP_CONST:
  case MUGRAPH_OP_OUTPUT:
  case MUGRAPH_OP_CUSTOM:
  case MUGRAPH_N_OPS:
  case MUGRAPH_OP_NEG: break;
  case MUGRAPH_OP_EXP:
    t->exponentials = true;
    r.num = x.terms;
    r.den = 0;
    r.terms = 1;
    break;
  case MUGRAPH_OP_SQUARE: r = product (x, &x); break;
  case MUGRAPH_OP_POW: /* h2 (h1 (a) + b) */
    r = keyed_of (t, x, s[0]);
    r = product (r, &in[1]);
    r.num = larger (1 + in[1].den, in[1].num);
    r = keyed_of (t, r, out);
    break;
  case MUGRAPH_OP_MUL: r = product (x, &in[1]); break;
  case MUGRAPH_OP_DIV: r = quotient (t, x, &in[1], s[1]); break;
  case MUGRAPH_OP_ADD:
  case MUGRAPH_OP_SUB:
    r = product (x, &in[1]);
    r.num = larger (x.num + in[1].den, in[1].num + x.den);
    r.terms = x.terms + in[1].terms;
    break;
  case MUGRAPH_OP_CONCAT:
    r = product (x, &in[1]);
    r.num = larger (x.num, in[1].num);
    r.den = larger (x.den, in[1].den);
    r.terms = larger (x.terms, in[1].terms);
    r.vary |= (uint8_t) (1 << (last - op->dim));
    for (int i = 0; i < SLOTS; i++) r.from[i].vary |= (uint8_t) (1 << (last - op->dim));
    break;
  case MUGRAPH_OP_TRANSPOSE:
    r.vary = swap_last_two (x.vary);
    for (int i = 0; i < SLOTS; i++) r.from[i].vary = swap_last_two (x.from[i].vary);
    break;
  case MUGRAPH_OP_MATMUL: {
    /* terms a_k b_k: first b in the place of a's dimension k, so that one bit stands for it in both */
    degree y = in[1];
    double k = s[0]->dim[last], different = (k - 1) * ((x.vary & 1 ? x.den : 0) + (y.vary & 2 ? y.den : 0));
    degree xs = sum_along (x, k, 1), ys = sum_along (y, k, 2);
    r = product (xs, &ys);
    r.num = x.num + y.num + different;
    r.den = x.den + y.den + different;
    break;
  }
  case MUGRAPH_OP_SUM:
  case MUGRAPH_OP_MEAN:
  case MUGRAPH_OP_ACCUM_SUM:
  case MUGRAPH_OP_ACCUM_MEAN: r = sum_along (x, n, bit); break;
  case MUGRAPH_OP_ACCUM: r = x; break;
  case MUGRAPH_OP_SUM_TO:
  case MUGRAPH_OP_ACCUM_SUM_TO: /* what is left of the dimension still varies */
    r = sum_along (x, n / op->width, bit);
    r.vary |= x.vary;
    for (int i = 0; i < SLOTS; i++) r.from[i].vary |= x.from[i].vary;
    break;
  case MUGRAPH_OP_MAX: { /* a keyed value of each argument, and one of their sum */
    degree each = sum_along (keyed_of (t, x, s[0]), n, bit);
    r = keyed_of (t, each, out);
    break;
  }
  case MUGRAPH_OP_ACCUM_RMS: r = keyed_of (t, sum_along (x, n, bit), out); break;
  case MUGRAPH_OP_RMS_NORM: {
    mugraph_shape small = *out;
    small.dim[dim] = 1;
    degree root = keyed_of (t, sum_along (product (x, &x), n, bit), &small);
    r = quotient (t, x, &root, &small);
    break;
  }
  default:
    assert (mugraph_op_is (op->kind, MUGRAPH_KEYED) && op->n_in == 1);
    r = keyed_of (t, x, out);
    break;
  }
  r.vary = r.den > 0 ? r.vary & (wide (out) | ITERATION) : 0;
  for (int i = 0; i < SLOTS; i++) r.from[i].vary = r.from[i].count > 0 ? r.from[i].vary & (wide (out) | ITERATION) : 0;
  return r;
}

/* What a tile that loops over dimension `bit` varies along. */
static uint8_t into_loop (uint8_t vary, uint8_t bit, const mugraph_shape *tile) {
  return (uint8_t) ((vary & wide (tile)) | (vary & bit ? ITERATION : 0));
}

static void apply_block (totals *t, const mugraph *g, const mugraph_op *kernel, degree tensor[]) {
  const mugraph_block *b = &g->block[kernel->block];
  degree tile[MUGRAPH_BLOCK_OPS];
  for (int i = 0, saved = 0; i < b->n_ops; i++) {
    const mugraph_op *op = &b->op[i];
    int last = op->shape.n_dims - 1;
    if (op->kind == MUGRAPH_OP_INPUT) {
      degree *x = &tile[i];
      *x = tensor[kernel->in[op->in[0]]];
      x->looped = op->fmap >= 0 && b->loop > 1;
      uint8_t bit = x->looped ? (uint8_t) (1 << (last - op->fmap)) : 0;
      x->vary = into_loop (x->vary, bit, &op->shape);
      for (int k = 0; k < SLOTS; k++) x->from[k].vary = into_loop (x->from[k].vary, bit, &op->shape);
      continue;
    }
    degree in[2];
    const mugraph_shape *s[2];
    for (int k = 0; k < op->n_in; k++) {
      in[k] = tile[op->in[k]];
      s[k] = &b->op[op->in[k]].shape;
    }
    tile[i] = apply (t, op, in, s, &op->shape, b->loop);
    if (op->kind != MUGRAPH_OP_OUTPUT) continue;
    degree *out = &tensor[kernel->out[saved++]];
    *out = tile[i];
    out->looped = false;
    for (int d = 0; d < 3; d++) { /* blocks differ */
      if (b->grid[d] == 1) continue;
      uint8_t bit = (uint8_t) (1 << (last - op->map[d]));
      if (out->den > 0) out->vary |= bit;
      for (int k = 0; k < SLOTS; k++)
        if (out->from[k].count > 0) out->from[k].vary |= bit;
    }
  }
}

static void degrees_of (const mugraph *g, totals *t, degree tensor[]) {
  for (int i = 0; i < g->n_inputs; i++) tensor[i] = atom;
  for (int i = 0; i < g->n_ops; i++) {
    const mugraph_op *op = &g->op[i];
    degree in[2];
    const mugraph_shape *s[2];
    if (op->kind == MUGRAPH_OP_CUSTOM) {
      apply_block (t, g, op, tensor);
      continue;
    }
    for (int k = 0; k < op->n_in; k++) {
      in[k] = tensor[op->in[k]];
      s[k] = &g->tensor[op->in[k]].shape;
    }
    tensor[op->out[0]] = apply (t, op, in, s, &g->tensor[op->out[0]].shape, 1);
  }
  for (int k = 0; k < g->n_outputs; k++) t->mixed |= tensor[g->output[k]].pure;
}

/* Probability that a difference of degree d, of expressions with c keyed evaluations of that depth in them, vanishes;
   a: degree of the difference of two of their arguments. */
static double vanishes (double d, double c, int depth, double a, double set) {
  return d / set + (depth && c > 1 ? smaller (d, c) * c * vanishes (a, c, depth - 1, a, set) : 0);
}

double verify_bound (const mugraph *program, const mugraph *candidate) {
  degree x[2][MUGRAPH_TENSORS];
  totals t = {.inverses = true};
  degrees_of (program, &t, x[0]);
  degrees_of (candidate, &t, x[1]);
  if (t.mixed) {
    t = (totals){.inverses = false};
    degrees_of (program, &t, x[0]);
    degrees_of (candidate, &t, x[1]);
  }
  double worst = 0, set = t.exponentials ? FIELD_Q - 1 : FIELD_P - 1;
  for (int k = 0; k < program->n_outputs && k < candidate->n_outputs; k++) {
    const degree *a = &x[0][program->output[k]], *b = &x[1][candidate->output[k]];
    double c = 0;
    for (int i = 0; i < SLOTS; i++) c += a->from[i].count + b->from[i].count;
    worst = larger (worst, vanishes (larger (a->num + b->den, b->num + a->den), c, t.depth, t.num + t.den, set));
  }
  worst *= VERIFY_DRAWS;
  return worst < 1 ? worst : 1;
}
