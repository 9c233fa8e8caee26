/* The error bound of one trial.

   Fix an output element in which program and candidate differ as expressions. Both are rational functions N/D in atoms:
   inputs (uniform mod p), constants, exponentials (uniform in the subgroup of order q of Z_p*), and values of keyed
   functions (uniform mod p, independent when their arguments differ).

   1. Schwartz-Zippel. N1 D2 - N2 D1 is a polynomial that is not zero, of total degree at most
      max (deg N1 + deg D2, deg N2 + deg D1), in independent uniform variables from sets of at least q elements (p, when there is no
      exponential). It vanishes with probability at most degree / q.
   2. Collisions. Two keyed functions of the same kind at arguments that are different expressions count as independent unless
      the arguments coincide mod p, at most degree / p for each pair among the c evaluations that the element depends on:
      c (c - 1) / 2 * degree / p.
   3. Divisions by zero are drawn again, VERIFY_DRAWS times at most: the sum over the draws bounds the trial.
   Trials are independent, so the bound of t trials is the t-th power (verify_report.error_bound).

   Degrees are propagated through the graph: those of N and D, and along which dimensions D varies, since a sum of terms over
   one common denominator keeps it, and over n different ones takes their product. The count c of an element is the size of
   its expression tree in keyed evaluations, at most those of the whole graph.

   What is assumed, and where:
   - Exponentials at arguments that are different polynomials are independent atoms up to sums: exp (a + b) counts as a monomial of
     degree 2. This is a theorem where the arguments of the exponentials in one output element are linearly independent forms in fresh
     inputs (the scores of one row of an attention: Q_r K_j over all j, once Q_r is not 0). In general, relations with
     random coefficients between arguments make sparse polynomials, for which only 1 - 1/k for k terms is known
     (Mirage, OSDI'25, theorem 2).
   - Different over the fields means different as formal expressions; the integers that sums of equal terms and means bring in are far
     below p, but an integer combination that p divides would count as 0.
   - Hashes (field_hash) stand for random functions and generators. */
#include "bound.h"
#include "field.h"

#include <string.h>

enum { ITERATION = 1 << 7 }; /* bit of vary: differs between iterations of the loop */

typedef struct {
  double num, den;  /* degrees */
  double keyed;     /* evaluations of keyed functions in the expression of one element */
  double terms;     /* summands, as an argument of exp */
  uint8_t vary;     /* bit d: the denominator varies along dimension d, counted from the last */
  bool looped;
} degree;

typedef struct {
  double evaluations; /* of keyed functions in the whole graph */
  double argument;    /* largest degree (N + D) of an argument of theirs */
  double exponentials;
} totals;

static const degree atom = {.num = 1, .terms = 1};

static double larger (double a, double b) { return a > b ? a : b; }

/* Bits of the dimensions with more than one position. */
static uint8_t wide (const mugraph_shape *s) {
  uint8_t bits = 0;
  for (int d = 0; d < s->n_dims; d++)
    if (s->dim[d] > 1) bits |= (uint8_t) (1 << (s->n_dims - 1 - d));
  return bits;
}

static degree product (degree a, degree b) {
  return (degree){a.num + b.num, a.den + b.den, a.keyed + b.keyed, a.terms * b.terms, a.vary | b.vary, a.looped || b.looped};
}

/* The sum of n terms; different: their denominators differ in a factor of this degree. */
static degree sum_of (degree a, double n, double different) {
  a.num += (n - 1) * different;
  a.den += (n - 1) * different;
  a.keyed *= n;
  return a;
}

static degree sum_along (degree a, double n, uint8_t bit) {
  a = sum_of (a, n, a.vary & bit ? a.den : 0);
  a.vary &= (uint8_t) ~bit;
  return a;
}

/* A keyed function of n arguments like a, evaluated `times` times in the graph. */
static degree keyed_of (totals *t, degree a, double n, double times) {
  t->evaluations += n * times;
  t->argument = larger (t->argument, a.num + a.den);
  return (degree){.num = 1, .keyed = n * (a.keyed + 1), .terms = 1, .looped = a.looped};
}

static degree quotient (degree a, degree b, const mugraph_shape *sb) {
  uint8_t vary = a.vary | b.vary | (b.num > 0 ? wide (sb) | (b.looped ? ITERATION : 0) : 0);
  return (degree){a.num + b.den, a.den + b.num, a.keyed + b.keyed, a.terms, vary, a.looped || b.looped};
}

/* times: how often the operator runs (blocks and iterations). */
static degree apply (totals *t, const mugraph_op *op, const degree in[], const mugraph_shape *const s[], const mugraph_shape *out, int loop,
                     double times) {
  degree x = op->n_in ? in[0] : atom, r = x;
  double elements = (double) mugraph_volume (out) * times;
  int dim = op->n_in ? op->dim : 0, last = op->n_in ? s[0]->n_dims - 1 : 0;
  if (mugraph_op_table[op->kind].klass == MUGRAPH_ACCUM) dim = last;
  bool along = mugraph_op_table[op->kind].klass == MUGRAPH_REDUCE || mugraph_op_table[op->kind].klass == MUGRAPH_ACCUM;
  double n = along && dim >= 0 && dim <= last ? s[0]->dim[dim] : 1;
  uint8_t bit = along ? (uint8_t) (1 << (last - dim)) : 0;
  if (mugraph_op_table[op->kind].klass == MUGRAPH_ACCUM) {
    degree loops = op->kind == MUGRAPH_OP_ACCUM_RMS ? product (x, x) : x;
    x = sum_along (loops, loop, ITERATION);
    x.looped = false;
  }
  switch ((mugraph_op_kind) op->kind) {
  case MUGRAPH_OP_INPUT:
  case MUGRAPH_OP_CONST:
  case MUGRAPH_OP_OUTPUT:
  case MUGRAPH_OP_CUSTOM:
  case MUGRAPH_OP_NEG: break;
  case MUGRAPH_OP_EXP:
    t->exponentials += elements;
    r = (degree){.num = x.terms, .keyed = x.keyed, .terms = 1, .looped = x.looped};
    break;
  case MUGRAPH_OP_SQUARE: r = product (x, x); break;
  case MUGRAPH_OP_SQRT:
  case MUGRAPH_OP_SILU:
  case MUGRAPH_OP_GELU:
  case MUGRAPH_OP_RELU:
  case MUGRAPH_OP_TANH:
  case MUGRAPH_OP_SIGMOID:
  case MUGRAPH_OP_LOG:
  case MUGRAPH_OP_CLAMP: r = keyed_of (t, x, 1, elements); break;
  case MUGRAPH_OP_POW: r = keyed_of (t, product (x, in[1]), 2, elements); break;
  case MUGRAPH_OP_MUL: r = product (x, in[1]); break;
  case MUGRAPH_OP_DIV: r = quotient (x, in[1], s[1]); break;
  case MUGRAPH_OP_ADD:
  case MUGRAPH_OP_SUB:
    r = product (x, in[1]);
    r.num = larger (x.num + in[1].den, in[1].num + x.den);
    r.terms = x.terms + in[1].terms;
    break;
  case MUGRAPH_OP_CONCAT:
    r.num = larger (x.num, in[1].num);
    r.den = larger (x.den, in[1].den);
    r.keyed = larger (x.keyed, in[1].keyed);
    r.terms = larger (x.terms, in[1].terms);
    r.vary |= in[1].vary | (uint8_t) (1 << (last - op->dim));
    r.looped |= in[1].looped;
    break;
  case MUGRAPH_OP_TRANSPOSE: r.vary = (uint8_t) ((x.vary & ~3) | (x.vary & 1) << 1 | (x.vary & 2) >> 1); break;
  case MUGRAPH_OP_MATMUL: {
    degree y = in[1];
    double different = (x.vary & 1 ? x.den : 0) + (y.vary & 2 ? y.den : 0);
    x.vary &= (uint8_t) ~1;
    y.vary &= (uint8_t) ~2;
    r = sum_of (product (x, y), s[0]->dim[last], different);
    break;
  }
  case MUGRAPH_OP_SUM:
  case MUGRAPH_OP_MEAN:
  case MUGRAPH_OP_ACCUM_SUM:
  case MUGRAPH_OP_ACCUM_MEAN: r = sum_along (x, n, bit); break;
  case MUGRAPH_OP_ACCUM: r = x; break;
  case MUGRAPH_OP_SUM_TO:
  case MUGRAPH_OP_ACCUM_SUM_TO: {
    uint8_t vary = x.vary;
    r = sum_along (x, n / op->width, bit);
    r.vary = vary;
    break;
  }
  case MUGRAPH_OP_MAX: r = keyed_of (t, x, n, elements); break;
  case MUGRAPH_OP_ACCUM_RMS: r = keyed_of (t, sum_along (x, n, bit), 1, elements); break;
  case MUGRAPH_OP_RMS_NORM: {
    mugraph_shape small = *out;
    small.dim[dim] = 1;
    degree root = keyed_of (t, sum_along (product (x, x), n, bit), 1, elements / n);
    r = quotient (x, root, &small);
    break;
  }
  case MUGRAPH_N_OPS: break;
  }
  r.vary &= wide (out) | ITERATION;
  if (r.den == 0) r.vary = 0;
  if (r.keyed > t->evaluations) r.keyed = t->evaluations;
  return r;
}

static void apply_block (totals *t, const mugraph *g, const mugraph_op *kernel, degree tensor[]) {
  const mugraph_block *b = &g->block[kernel->block];
  degree tile[MUGRAPH_BLOCK_OPS];
  double blocks = (double) b->grid[0] * b->grid[1] * b->grid[2];
  for (int i = 0, saved = 0; i < b->n_ops; i++) {
    const mugraph_op *op = &b->op[i];
    if (op->kind == MUGRAPH_OP_INPUT) {
      tile[i] = tensor[kernel->in[op->in[0]]];
      tile[i].looped = op->fmap >= 0 && b->loop > 1;
      if (tile[i].looped && tile[i].vary >> (op->shape.n_dims - 1 - op->fmap) & 1) tile[i].vary |= ITERATION;
      tile[i].vary &= wide (&op->shape) | ITERATION;
      continue;
    }
    degree in[2];
    const mugraph_shape *s[2];
    for (int k = 0; k < op->n_in; k++) {
      in[k] = tile[op->in[k]];
      s[k] = &b->op[op->in[k]].shape;
    }
    tile[i] = apply (t, op, in, s, &op->shape, b->loop, blocks * b->loop);
    if (op->kind != MUGRAPH_OP_OUTPUT) continue;
    degree *out = &tensor[kernel->out[saved++]];
    *out = tile[i];
    out->looped = false;
    for (int d = 0; d < 3; d++)
      if (b->grid[d] > 1 && out->den > 0) out->vary |= (uint8_t) (1 << (op->shape.n_dims - 1 - op->map[d]));
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
    tensor[op->out[0]] = apply (t, op, in, s, &g->tensor[op->out[0]].shape, 1, 1);
  }
}

double verify_bound (const mugraph *program, const mugraph *candidate) {
  totals t[2] = {{0, 0, 0}, {0, 0, 0}};
  degree a[MUGRAPH_TENSORS], b[MUGRAPH_TENSORS];
  degrees_of (program, &t[0], a);
  degrees_of (candidate, &t[1], b);
  double worst = 0, variables = t[0].exponentials + t[1].exponentials > 0 ? FIELD_Q : FIELD_P;
  for (int k = 0; k < program->n_outputs && k < candidate->n_outputs; k++) {
    degree x = a[program->output[k]], y = b[candidate->output[k]];
    double c = x.keyed + y.keyed;
    double one = larger (x.num + y.den, y.num + x.den) / variables +
                 c * (c > 1 ? c - 1 : 0) / 2 * 2 * larger (t[0].argument, t[1].argument) / FIELD_P;
    worst = larger (worst, one);
  }
  worst *= VERIFY_DRAWS;
  return worst < 1 ? worst : 1;
}
