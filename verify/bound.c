/* The error bound of one trial.

   Fix an output element in which program and candidate differ as expressions. Both are rational functions N/D in atoms:
   inputs and constants (uniform mod p), exponentials (uniform in the subgroup of order q of Z_p*), and values of keyed
   functions (uniform mod p, independent as long as their arguments differ). Write F = N1 D2 - N2 D1, a polynomial that
   is not zero, of total degree at most d = max (deg N1 + deg D2, deg N2 + deg D1), in c keyed atoms and others.

   1. No collisions (Schwartz-Zippel). Independent uniform values from sets of at least q - 1 elements (p - 1 where
   there is no exponential; constants and divisors are not 0) make F vanish with probability at most d / (q - 1), which
   the following calls d / q.
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
   uniform among the elements that are not 0 as y, and the quotient is a product. Where one of them is used otherwise
   too, all quotients are fractions.

   What is assumed, and where:
   - Exponentials at arguments that are different polynomials are independent atoms up to sums: exp (a + b) counts as a
   monomial of degree 2; a sum along a dimension counts as one term, since no operator multiplies along a
   dimension. This is a theorem where the arguments of the exponentials in one output element are linearly
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

/* A keyed value that divides is the atom 1 / y where that is allowed, and the quotient a product with it. */
static degree quotient (const totals *t, degree a, const degree *b, const mugraph_shape *sb) {
  degree r = product (a, b);
  r.terms = a.terms;
  if (b->pure && t->inverses) return r;
  r.num = a.num + b->den;
  r.den = a.den + b->num;
  if (b->num > 0) r.vary |= wide (sb) | (b->looped ? ITERATION : 0);
  return r;
}

/* ---- the rules, an operator each ---- */

/* An operator where it is applied. */
typedef struct {
  totals *t;
  const mugraph_op *op;
  const degree *in;                  /* of an accumulator: summed over the loop already */
  const mugraph_shape *const *shape; /* of the inputs */
  const mugraph_shape *out;
} application;

static uint8_t bit_of (const mugraph_shape *s, int dim) { return (uint8_t) (1 << (s->n_dims - 1 - dim)); }

/* The dimension that a reduction or an accumulator reduces. */
static int reduced (const application *a) {
  return mugraph_op_table[a->op->kind].klass == MUGRAPH_ACCUM ? a->shape[0]->n_dims - 1 : a->op->dim;
}

/* x, which has the shape of the input, summed along that dimension. */
static degree sum_reduced (const application *a, degree x) {
  int dim = reduced (a);
  return sum_along (x, a->shape[0]->dim[dim], bit_of (a->shape[0], dim));
}

static degree rule_atom (const application *a) { return (void) a, atom; }

static degree rule_same (const application *a) { return a->in[0]; }

static degree rule_exp (const application *a) {
  degree r = a->in[0];
  a->t->exponentials = true;
  r.num = r.terms;
  r.den = 0;
  r.terms = 1;
  return r;
}

static degree rule_square (const application *a) { return product (a->in[0], &a->in[0]); }

static degree rule_keyed (const application *a) { return keyed_of (a->t, a->in[0], a->out); }

/* h2 (h1 (x) + y) */
static degree rule_pow (const application *a) {
  const degree *y = &a->in[1];
  degree sum = product (keyed_of (a->t, a->in[0], a->shape[0]), y);
  sum.num = larger (1 + y->den, y->num);
  return keyed_of (a->t, sum, a->out);
}

static degree rule_mul (const application *a) { return product (a->in[0], &a->in[1]); }

static degree rule_div (const application *a) { return quotient (a->t, a->in[0], &a->in[1], a->shape[1]); }

/* N1 / D1 + N2 / D2 = (N1 D2 + N2 D1) / (D1 D2) */
static degree rule_add (const application *a) {
  const degree *x = &a->in[0], *y = &a->in[1];
  degree r = product (*x, y);
  r.num = larger (x->num + y->den, y->num + x->den);
  r.terms = x->terms + y->terms;
  return r;
}

/* An element is of one or of the other. */
static degree rule_concat (const application *a) {
  const degree *x = &a->in[0], *y = &a->in[1];
  uint8_t bit = bit_of (a->shape[0], a->op->dim);
  degree r = product (*x, y);
  r.num = larger (x->num, y->num);
  r.den = larger (x->den, y->den);
  r.terms = larger (x->terms, y->terms);
  r.vary |= bit;
  for (int i = 0; i < SLOTS; i++) r.from[i].vary |= bit;
  return r;
}

static degree rule_transpose (const application *a) {
  degree r = a->in[0];
  r.vary = swap_last_two (r.vary);
  for (int i = 0; i < SLOTS; i++) r.from[i].vary = swap_last_two (r.from[i].vary);
  return r;
}

/* Terms x_k y_k: dimension k is the last of x (bit 0) and the last but one of y (bit 1). */
static degree rule_matmul (const application *a) {
  const degree *x = &a->in[0], *y = &a->in[1];
  double k = a->shape[0]->dim[a->shape[0]->n_dims - 1];
  double different = (k - 1) * ((x->vary & 1 ? x->den : 0) + (y->vary & 2 ? y->den : 0));
  degree xs = sum_along (*x, k, 1), ys = sum_along (*y, k, 2), r = product (xs, &ys);
  r.num = x->num + y->num + different;
  r.den = x->den + y->den + different;
  return r;
}

static degree rule_sum (const application *a) { return sum_reduced (a, a->in[0]); }

/* What is left of the dimension still varies. */
static degree rule_sum_to (const application *a) {
  const degree *x = &a->in[0];
  int dim = reduced (a);
  degree r = sum_along (*x, (double) a->shape[0]->dim[dim] / a->op->width, bit_of (a->shape[0], dim));
  r.vary |= x->vary;
  for (int i = 0; i < SLOTS; i++) r.from[i].vary |= x->from[i].vary;
  return r;
}

/* A keyed value of each argument, and one of their sum. */
static degree rule_max (const application *a) {
  return keyed_of (a->t, sum_reduced (a, keyed_of (a->t, a->in[0], a->shape[0])), a->out);
}

/* The root of a mean square, whose squares are in[0]. */
static degree rule_accum_rms (const application *a) { return keyed_of (a->t, sum_reduced (a, a->in[0]), a->out); }

static degree rule_rms_norm (const application *a) {
  mugraph_shape small = *a->out;
  small.dim[a->op->dim] = 1;
  degree root = keyed_of (a->t, sum_reduced (a, product (a->in[0], &a->in[0])), &small);
  return quotient (a->t, a->in[0], &root, &small);
}

/* Keyed functions of one operand have no row. Means are sums: their divisor is a number. */
static degree (*const rule[MUGRAPH_N_OPS]) (const application *) = {
    [MUGRAPH_OP_CONST] = rule_atom,
    [MUGRAPH_OP_OUTPUT] = rule_same,
    [MUGRAPH_OP_MATMUL] = rule_matmul,
    [MUGRAPH_OP_NEG] = rule_same,
    [MUGRAPH_OP_EXP] = rule_exp,
    [MUGRAPH_OP_SQUARE] = rule_square,
    [MUGRAPH_OP_ADD] = rule_add,
    [MUGRAPH_OP_SUB] = rule_add,
    [MUGRAPH_OP_MUL] = rule_mul,
    [MUGRAPH_OP_DIV] = rule_div,
    [MUGRAPH_OP_POW] = rule_pow,
    [MUGRAPH_OP_SUM] = rule_sum,
    [MUGRAPH_OP_MEAN] = rule_sum,
    [MUGRAPH_OP_MAX] = rule_max,
    [MUGRAPH_OP_SUM_TO] = rule_sum_to,
    [MUGRAPH_OP_RMS_NORM] = rule_rms_norm,
    [MUGRAPH_OP_TRANSPOSE] = rule_transpose,
    [MUGRAPH_OP_CONCAT] = rule_concat,
    [MUGRAPH_OP_ACCUM] = rule_same,
    [MUGRAPH_OP_ACCUM_SUM] = rule_sum,
    [MUGRAPH_OP_ACCUM_MEAN] = rule_sum,
    [MUGRAPH_OP_ACCUM_RMS] = rule_accum_rms,
    [MUGRAPH_OP_ACCUM_SUM_TO] = rule_sum_to,
};

/* ---- graphs ---- */

/* Whether operator op reads a keyed value, its input k, otherwise than as a divisor. */
static bool mixes (const mugraph_op *op, const degree in[], int k) {
  bool passes = mugraph_op_table[op->kind].klass == MUGRAPH_SAVER || op->kind == MUGRAPH_OP_TRANSPOSE;
  return in[k].pure && !passes && !(op->kind == MUGRAPH_OP_DIV && k == 1);
}

/* What an accumulator sums, summed over the loop. */
static degree over_loop (const mugraph_op *op, const degree *x, int loop) {
  degree r = sum_along (op->kind == MUGRAPH_OP_ACCUM_RMS ? product (*x, x) : *x, loop, ITERATION);
  r.looped = false;
  return r;
}

static degree apply (totals *t, const mugraph_op *op, const degree in[], const mugraph_shape *const s[],
                     const mugraph_shape *out, int loop) {
  application a = {t, op, in, s, out};
  degree summed;
  for (int k = 0; k < op->n_in; k++) t->mixed |= mixes (op, in, k);
  if (mugraph_op_table[op->kind].klass == MUGRAPH_ACCUM) {
    summed = over_loop (op, &in[0], loop);
    a.in = &summed;
  }
  assert (rule[op->kind] || (mugraph_op_is (op->kind, MUGRAPH_KEYED) && op->n_in == 1));
  degree r = rule[op->kind] ? rule[op->kind](&a) : rule_keyed (&a);
  r.vary = r.den > 0 ? r.vary & (wide (out) | ITERATION) : 0;
  for (int i = 0; i < SLOTS; i++) r.from[i].vary = r.from[i].count > 0 ? r.from[i].vary & (wide (out) | ITERATION) : 0;
  return r;
}

/* What a tile that loops over dimension `bit` varies along. */
static uint8_t into_loop (uint8_t vary, uint8_t bit, const mugraph_shape *tile) {
  return (uint8_t) ((vary & wide (tile)) | (vary & bit ? ITERATION : 0));
}

static degree tile_of_iterator (const mugraph_op *op, degree tensor, int loop) {
  tensor.looped = op->fmap >= 0 && loop > 1;
  uint8_t bit = tensor.looped ? bit_of (&op->shape, op->fmap) : 0;
  tensor.vary = into_loop (tensor.vary, bit, &op->shape);
  for (int i = 0; i < SLOTS; i++) tensor.from[i].vary = into_loop (tensor.from[i].vary, bit, &op->shape);
  return tensor;
}

/* The tensor varies along what the grid splits, since blocks differ. */
static degree tensor_of_saver (const mugraph_op *op, degree tile, const int32_t grid[3]) {
  tile.looped = false;
  for (int g = 0; g < 3; g++) {
    if (grid[g] == 1) continue;
    uint8_t bit = bit_of (&op->shape, op->map[g]);
    if (tile.den > 0) tile.vary |= bit;
    for (int i = 0; i < SLOTS; i++)
      if (tile.from[i].count > 0) tile.from[i].vary |= bit;
  }
  return tile;
}

static void apply_block (totals *t, const mugraph *g, const mugraph_op *kernel, degree tensor[]) {
  const mugraph_block *b = &g->block[kernel->block];
  degree tile[MUGRAPH_BLOCK_OPS], in[2];
  const mugraph_shape *s[2];
  for (int i = 0, saver = 0; i < b->n_ops; i++) {
    const mugraph_op *op = &b->op[i];
    if (op->kind == MUGRAPH_OP_INPUT) {
      tile[i] = tile_of_iterator (op, tensor[kernel->in[op->in[0]]], b->loop);
      continue;
    }
    for (int k = 0; k < op->n_in; k++) {
      in[k] = tile[op->in[k]];
      s[k] = &b->op[op->in[k]].shape;
    }
    tile[i] = apply (t, op, in, s, &op->shape, b->loop);
    if (op->kind == MUGRAPH_OP_OUTPUT) tensor[kernel->out[saver++]] = tensor_of_saver (op, tile[i], b->grid);
  }
}

static void degrees_of (const mugraph *g, totals *t, degree tensor[]) {
  degree in[2];
  const mugraph_shape *s[2];
  for (int i = 0; i < g->n_inputs; i++) tensor[i] = atom;
  for (int i = 0; i < g->n_ops; i++) {
    const mugraph_op *op = &g->op[i];
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
