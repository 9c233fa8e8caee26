/* Which exponentials may be computed as exp (x - m): homogeneity of the graph in scales shared by rows.

   A class is what shares one scale per row: an exponential of the kernel graph, or all exponentials of one
   graph-defined kernel together. A row is a position in all dimensions but the last. Replacing every exp (x) of a class
   by exp (x - m), m being any function of the row, multiplies each exponential by s = exp (-m) > 0. A value has degree
   d in the class when that multiplies it by s^d, with the s of its own row:

     exp of the class           1                       (its argument must have degree 0)
     -a, sums and accumulators, matmul with a as left operand and a right one of degree 0          d (a)
     a * b                      d (a) + d (b)           a / b   d (a) - d (b)        a^2   2 d (a)
     a + b, a - b, (a | b)      d (a), when d (a) = d (b)
     anything else              0, when all operands have degree 0

   where the result must have the rows of each operand of degree other than 0: no broadcasting along them, no
   transposition, no reduction over them, no loop over them. Any other use of a value of degree other than 0, two
   classes meeting in one operator, or a program output of degree other than 0 makes the class inadmissible: its
   exponentials stay raw, and the analysis runs again without it.

   Inside a graph-defined kernel m is the running maximum of the row in this block, so partial results have the maximum
   of their block. All savers of values of degree other than 0 must have the same omap: then a row of one such tensor is
   made by the same blocks as that row of any other. Where a grid dimension is concatenated along the last dimension,
   one row holds several blocks' results: tensor_degree is set, and once readers have rescaled to the largest of the
   row's maxima, the row has one scale, the same in all tensors of the class. Without such a grid dimension a row has
   one scale from the beginning, nobody has to know it, and tensor_degree is 0. The same holds for exponentials of the
   kernel graph.

   block_degree counts the block's own class only; in a block without exponentials of its own nothing moves. */
#include "stable.h"

#include <string.h>

enum { LARGEST_DEGREE = 16 };

typedef struct {
  int16_t of; /* class: its kernel operator, -1: degree 0 in all */
  int8_t degree;
} scale;

static const scale independent = {-1, 0};

typedef struct {
  const mugraph *g;
  mugraph_stable *s;
  bool active[MUGRAPH_KERNEL_OPS]; /* classes that are not inadmissible so far */
  bool failed;                     /* some class fell in this round */
  scale tensor[MUGRAPH_TENSORS];
} analysis;

static void give_up (analysis *a, scale x) {
  if (x.of < 0) return;
  a->active[x.of] = false;
  a->failed = true;
}

/* Same number of dimensions and same sizes in all but the last. */
static bool same_rows (const mugraph_shape *a, const mugraph_shape *b) {
  if (a->n_dims != b->n_dims) return false;
  for (int d = 0; d < a->n_dims - 1; d++)
    if (a->dim[d] != b->dim[d]) return false;
  return true;
}

/* The table above, for everything but exponentials, iterators and graph-defined kernels. */
static scale transfer (analysis *a, const mugraph_op *op, const scale in[], const mugraph_shape *const shape[],
                       const mugraph_shape *out) {
  const mugraph_statistic what = mugraph_op_table[op->kind].statistic;
  int of = -1, degree = 0;
  bool ok = true;
  for (int k = 0; k < op->n_in; k++) {
    if (in[k].of < 0) continue;
    if (of >= 0 && of != in[k].of) ok = false;
    of = in[k].of;
    if (!same_rows (shape[k], out)) ok = false;
  }
  if (of < 0) return independent;
  switch ((mugraph_op_kind) op->kind) {
  case MUGRAPH_OP_NEG:
  case MUGRAPH_OP_OUTPUT:
  case MUGRAPH_OP_ACCUM: degree = in[0].degree; break;
  case MUGRAPH_OP_SQUARE: degree = 2 * in[0].degree; break;
  case MUGRAPH_OP_MUL: degree = in[0].degree + in[1].degree; break;
  case MUGRAPH_OP_DIV: degree = in[0].degree - in[1].degree; break;
  case MUGRAPH_OP_ADD:
  case MUGRAPH_OP_SUB:
  case MUGRAPH_OP_CONCAT:
    ok &= in[0].degree == in[1].degree;
    degree = in[0].degree;
    break;
  case MUGRAPH_OP_MATMUL:
    ok &= in[1].of < 0;
    degree = in[0].degree;
    break;
  default: /* sums and means; anything else must have no scale */
    ok &= what == MUGRAPH_OF_SUM || what == MUGRAPH_OF_MEAN;
    degree = in[0].degree;
    break;
  }
  if (degree > LARGEST_DEGREE || degree < -LARGEST_DEGREE) ok = false;
  if (!ok) {
    for (int k = 0; k < op->n_in; k++) give_up (a, in[k]);
    return independent;
  }
  return degree ? (scale){(int16_t) of, (int8_t) degree} : independent;
}

/* Whether the exponentials of a block graph can share one running maximum: same rows, none looped over, all in the same
   phase (in every iteration, in the first only, after the loop), none depending on another. */
static bool one_maximum (const mugraph_block *b) {
  const mugraph_op *first = NULL;
  bool looped[MUGRAPH_BLOCK_OPS], below[MUGRAPH_BLOCK_OPS], first_looped = false;
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *op = &b->op[i];
    looped[i] = op->kind == MUGRAPH_OP_INPUT && op->fmap >= 0 && b->loop > 1;
    below[i] = false;
    for (int k = 0; k < op->n_in; k++) {
      looped[i] |= looped[op->in[k]] && !op->after_loop;
      below[i] |= below[op->in[k]];
    }
    if (op->kind != MUGRAPH_OP_EXP) continue;
    if (below[i]) return false;
    below[i] = true;
    for (int d = 0; d < op->shape.n_dims - 1; d++)
      if (op->split[d].loop && b->loop > 1) return false;
    if (!first) {
      first = op;
      first_looped = looped[i];
    } else if (!same_rows (&first->shape, &op->shape) || first->after_loop != op->after_loop ||
               first_looped != looped[i])
      return false;
  }
  return true;
}

static bool same_map (const mugraph_block *b, const int8_t x[3], const int8_t y[3]) {
  for (int g = 0; g < 3; g++)
    if (b->grid[g] > 1 && x[g] != y[g]) return false;
  return true;
}

/* An iterator over a value whose rows have a scale: the rows of the tile must be rows of the tensor in every
   iteration, the same ones for all such iterators of the class. rows[g]: the row dimension that grid dimension g
   splits, -1 none. */
static bool iterate_rows (const mugraph_block *b, const mugraph_op *op, int last, int8_t rows[3], bool seen) {
  if (b->loop > 1 && op->fmap >= 0 && op->fmap < last) return false;
  int8_t own[3];
  for (int g = 0; g < 3; g++) own[g] = b->grid[g] > 1 && op->map[g] < last ? op->map[g] : -1;
  if (seen) return !memcmp (rows, own, 3);
  memcpy (rows, own, 3);
  return true;
}

static void analyse_block (analysis *a, int index) {
  const mugraph_op *kernel = &a->g->op[index];
  const mugraph_block *b = &a->g->block[kernel->block];
  scale tile[MUGRAPH_BLOCK_OPS];
  int8_t rows[MUGRAPH_KERNEL_OPS][3]; /* of imported classes */
  bool seen[MUGRAPH_KERNEL_OPS] = {false};
  const int8_t *omap = NULL; /* of the savers of the block's own class */
  for (int i = 0, saved = 0; i < b->n_ops; i++) {
    const mugraph_op *op = &b->op[i];
    scale in[MUGRAPH_FANIN];
    const mugraph_shape *shape[MUGRAPH_FANIN];
    for (int k = 0; k < op->n_in; k++) {
      in[k] = tile[op->in[k]];
      shape[k] = &b->op[op->in[k]].shape;
    }
    if (op->kind == MUGRAPH_OP_INPUT) {
      tile[i] = a->tensor[kernel->in[op->in[0]]];
      int of = tile[i].of;
      if (of >= 0 && !iterate_rows (b, op, op->shape.n_dims - 1, rows[of], seen[of])) give_up (a, tile[i]);
      if (of >= 0) seen[of] = true;
    } else if (op->kind == MUGRAPH_OP_EXP) {
      give_up (a, in[0]);
      tile[i] = a->active[index] ? (scale){(int16_t) index, 1} : independent;
      a->s->block_exp[kernel->block][i] = a->active[index];
    } else if (op->kind == MUGRAPH_OP_OUTPUT) {
      scale x = in[0];
      int last = op->shape.n_dims - 1, t = kernel->out[saved++];
      a->tensor[t] = tile[i] = x;
      if (x.of == index) {
        if (omap && !same_map (b, omap, op->map)) give_up (a, x);
        omap = op->map;
        for (int g = 0; g < 3; g++)
          if (b->grid[g] > 1 && op->map[g] == last) a->s->tensor_degree[t] = x.degree;
      } else if (x.of >= 0)
        for (int g = 0; g < 3; g++)
          if (b->grid[g] > 1 && op->map[g] != (rows[x.of][g] < 0 ? last : rows[x.of][g])) give_up (a, x);
    } else tile[i] = transfer (a, op, in, shape, &op->shape);
    if (tile[i].of == index) a->s->block_degree[kernel->block][i] = tile[i].degree;
  }
}

static void analyse_once (analysis *a) {
  const mugraph *g = a->g;
  memset (a->s, 0, sizeof *a->s);
  a->failed = false;
  for (int t = 0; t < g->n_inputs; t++) a->tensor[t] = independent;
  for (int i = 0; i < g->n_ops; i++) {
    const mugraph_op *op = &g->op[i];
    scale in[MUGRAPH_FANIN];
    const mugraph_shape *shape[MUGRAPH_FANIN];
    if (op->kind == MUGRAPH_OP_CUSTOM) {
      analyse_block (a, i);
      continue;
    }
    for (int k = 0; k < op->n_in; k++) {
      in[k] = a->tensor[op->in[k]];
      shape[k] = &g->tensor[op->in[k]].shape;
    }
    if (op->kind == MUGRAPH_OP_EXP) {
      give_up (a, in[0]);
      a->tensor[op->out[0]] = a->active[i] ? (scale){(int16_t) i, 1} : independent;
      a->s->kernel_exp[i] = a->active[i];
    } else a->tensor[op->out[0]] = transfer (a, op, in, shape, &g->tensor[op->out[0]].shape);
  }
  for (int k = 0; k < g->n_outputs; k++) give_up (a, a->tensor[g->output[k]]);
}

void mugraph_analyse_stable (const mugraph *g, mugraph_stable *s) {
  analysis a = {.g = g, .s = s};
  for (int i = 0; i < g->n_ops; i++) {
    const mugraph_op *op = &g->op[i];
    if (op->kind == MUGRAPH_OP_EXP) a.active[i] = true;
    if (op->kind != MUGRAPH_OP_CUSTOM) continue;
    const mugraph_block *b = &g->block[op->block];
    for (int j = 0; j < b->n_ops; j++) a.active[i] |= b->op[j].kind == MUGRAPH_OP_EXP;
    a.active[i] = a.active[i] && one_maximum (b);
  }
  do analyse_once (&a);
  while (a.failed); /* each round drops a class */
  for (int i = 0; i < g->n_ops; i++) s->any |= a.active[i];
}

int mugraph_raw_exponentials (const mugraph *g, const mugraph_stable *s) {
  int n = 0;
  for (int i = 0; i < g->n_ops; i++) n += g->op[i].kind == MUGRAPH_OP_EXP && !s->kernel_exp[i];
  for (int b = 0; b < g->n_blocks; b++)
    for (int i = 0; i < g->block[b].n_ops; i++) n += g->block[b].op[i].kind == MUGRAPH_OP_EXP && !s->block_exp[b][i];
  return n;
}
