/* Plan of the chain generator: see plan_chain.h for the class.

   Parameters that it honours
   - grid: axes may split the leading dimensions (all of them, down to 1), the rows of A, the columns of B2; the extent
   of the loop too where the outputs may be partial sums. Rows a block: up to 256; pays: 128 (64 where that leaves SMs
   idle; multiples of 64 are not padded), because every block of rows reads B1 and B2 again.
   - loop: not looked at; the extent that one block walks is cut into tiles of tile_n.
   - tile_n 64, 128: columns of B1 a step of one warpgroup. 64 pays: 4 warpgroups an SM alternate between matrix units
   and exponentials; 128 needs so many registers that 2 are left.
   - warps: 4 a warpgroup of 64 rows; beyond rows / 64 warpgroups the others take turns at the tiles. Default: 2
   warpgroups a block. An SM should hold 4. 16 warps pay where there are no more blocks than SMs. With pdl 8 warps pay
   too: blocks of two launches share an SM, and one's beginning and end hide behind the other's loop. A block that has
   the SM for itself gets one more warpgroup, a helper, which copies tiles and prepares them (norms, elementwise
     changes): rounds of four warpgroups take 1540 cycles in place of 1660, with norms of B2's rows 1910 in place of
   2180. Two blocks an SM leave no registers for it.
   - split 1 to 16: blocks of a cluster that share the loop; pays: until there are about as many blocks as SMs. Clusters
   of 4 fill 120 of an H100's 132 SMs at once, of 6 102, of 8 120, of 16 112: more blocks than that start a second wave.
   sm_80: 1 only.
   - stages: tiles in flight. Default: as many as leave room for blocks with 4 warpgroups in all on an SM (regs and smem
   of the plan say how many fit). More pay only in plain launches of 16 warps; 2 rounds of the warpgroups in turns are
   the least.
   - tile_m is 64 (mma.sync: 16). swap: nothing to choose.

   What an SM needs at least for a tile of 64 x 64 scores, 64 deep, 64 columns of B2: 256 cycles each of the matrix
   units, of the special function units and of a scheduler's issue slots. Measured: 385 with 4 warpgroups an SM, 254
   without exponentials, 289 without matmuls. Outside of the loop a block takes about 1 us until the first tile is
   there, .5 us for its maximum, 2 us to combine and write. Exponentials that outgrow the first tile's maximum by more
   than 2^23 (a half) repeat a tile: scores of a standard deviation of 32 cost 15 % more than of 8. The norm of B2's
   rows costs 10 %, that of B1's 20 %. Right operands stored as transposes cost nothing: K as [n, d] is 1 to 2 % faster
   than as [d, n]. */
#include "plan_chain.h"
#include "cuda_templates/generator.h"
#include "mugraph/stable.h"

#include <string.h>

#define FAIL(...) mugraph_fail (e, "chain: " __VA_ARGS__)

static int64_t heads_of (const mugraph_shape *s) { return mugraph_volume (s) / mugraph_cols (s) / mugraph_rows (s); }
static mugraph_class class_of (const mugraph_block *b, int i) { return mugraph_op_table[b->op[i].kind].klass; }
static bool is_elementwise (const mugraph_block *b, int i) {
  return class_of (b, i) == MUGRAPH_UNARY || class_of (b, i) == MUGRAPH_BINARY;
}
static bool is_const (const mugraph_block *b, int i) { return b->op[i].kind == MUGRAPH_OP_CONST; }
static bool is_loop_input (const mugraph_block *b, int i) {
  return b->op[i].kind == MUGRAPH_OP_INPUT && b->op[i].fmap >= 0 && b->loop > 1;
}

bool cuda_chain_is_row (const mugraph_block *b, int i) { return mugraph_cols (&b->op[i].shape) == 1; }

int cuda_chain_factor (const mugraph_block *b, int i) {
  const mugraph_op *o = &b->op[i];
  if (o->kind == MUGRAPH_OP_DIV) return o->in[1];
  return cuda_chain_is_row (b, o->in[1]) ? o->in[1] : o->in[0];
}

/* Elementwise operators and constants over iterator `leaf`, and nothing else. */
static bool is_map_of (const mugraph_block *b, int i, int leaf) {
  if (i == leaf || is_const (b, i)) return true;
  if (!is_elementwise (b, i)) return false;
  for (int k = 0; k < b->op[i].n_in; k++)
    if (!is_map_of (b, b->op[i].in[k], leaf)) return false;
  return true;
}

/* The only iterator below tile i, -1 where there are none or several. */
static void gather_iterators (const mugraph_block *b, int i, uint64_t *seen) {
  if (b->op[i].kind == MUGRAPH_OP_INPUT) *seen |= (uint64_t) 1 << i;
  else
    for (int k = 0; k < b->op[i].n_in; k++) gather_iterators (b, b->op[i].in[k], seen);
}
static int only_iterator (const mugraph_block *b, int i) {
  uint64_t seen = 0;
  gather_iterators (b, i, &seen);
  return seen && !(seen & (seen - 1)) ? __builtin_ctzll (seen) : -1;
}

/* A value a row that the threads of the row can compute before the loop: from constants, iterators of one column, and
   sums along the rows of A. */
static bool is_row_value (const mugraph_block *b, const cuda_chain *c, int i) {
  const mugraph_op *o = &b->op[i];
  if (is_const (b, i)) return true;
  if (!cuda_chain_is_row (b, i)) return false;
  if (o->kind == MUGRAPH_OP_INPUT) return !is_loop_input (b, i) && heads_of (&o->shape) == 1;
  if (o->kind == MUGRAPH_OP_SUM || o->kind == MUGRAPH_OP_MEAN)
    return o->dim == o->shape.n_dims - 1 && mugraph_cols (&b->op[o->in[0]].shape) == c->d &&
           is_map_of (b, o->in[0], c->a);
  if (!is_elementwise (b, i)) return false;
  for (int k = 0; k < o->n_in; k++)
    if (!is_row_value (b, c, o->in[k])) return false;
  return true;
}

/* Peels what scales whole rows off operand A. */
static bool match_a (const mugraph_block *b, cuda_chain *c, mugraph_error *e) {
  uint64_t seen = 0;
  int i = b->op[c->first].in[0];
  c->a = -1;
  /* A is the iterator that is as wide as the contraction; other iterators may hold row values */
  gather_iterators (b, i, &seen);
  for (int k = 0; k < b->n_ops; k++)
    if (seen >> k & 1 && mugraph_cols (&b->op[k].shape) == c->d && mugraph_rows (&b->op[k].shape) == c->rows &&
        c->a < 0)
      c->a = k;
  if (c->a < 0) return FAIL ("no iterator holds the left operand of matmul %d", c->first);
  while (!is_map_of (b, i, c->a)) {
    const mugraph_op *o = &b->op[i];
    if (c->n_factors == CUDA_CHAIN_FACTORS) return FAIL ("more than %d factors of a row", CUDA_CHAIN_FACTORS);
    if (o->kind == MUGRAPH_OP_RMS_NORM && o->dim == o->shape.n_dims - 1 && is_map_of (b, o->in[0], c->a)) {
      c->factor[c->n_factors++] = i;
      i = o->in[0];
    } else if ((o->kind == MUGRAPH_OP_MUL || o->kind == MUGRAPH_OP_DIV) &&
               is_row_value (b, c, cuda_chain_factor (b, i))) {
      int f = cuda_chain_factor (b, i);
      c->factor[c->n_factors++] = i;
      i = o->in[0] == f ? o->in[1] : o->in[0];
    } else
      return FAIL ("operator %d (%s) of the left operand is neither elementwise nor a scale of its rows", i,
                   mugraph_op_table[o->kind].text);
  }
  /* Constants on top of A scale its rows too: exact where rounding them into A would not be. Not below a norm, which
   * undoes them. */
  bool norm = c->n_factors && b->op[c->factor[c->n_factors - 1]].kind == MUGRAPH_OP_RMS_NORM;
  while (!norm && i != c->a && (b->op[i].kind == MUGRAPH_OP_MUL || b->op[i].kind == MUGRAPH_OP_DIV) &&
         is_const (b, cuda_chain_factor (b, i)) && c->n_factors < CUDA_CHAIN_FACTORS) {
    int f = cuda_chain_factor (b, i);
    c->factor[c->n_factors++] = i;
    i = b->op[i].in[0] == f ? b->op[i].in[1] : b->op[i].in[0];
  }
  c->a_map = i;
  return true;
}

/* Peels transposes off the top of a right operand, and, for B1, constants: they scale the scores, exactly where
   rounding them into the operand would not be. */
static int peel (const mugraph_block *b, cuda_chain *c, int i, bool constants, bool *turned) {
  for (;;) {
    const mugraph_op *o = &b->op[i];
    int f;
    if (o->kind == MUGRAPH_OP_TRANSPOSE) {
      *turned = !*turned;
      i = o->in[0];
    } else if (constants && (o->kind == MUGRAPH_OP_MUL || o->kind == MUGRAPH_OP_DIV) &&
               is_const (b, f = cuda_chain_factor (b, i)) && c->n_factors < CUDA_CHAIN_FACTORS) {
      c->factor[c->n_factors++] = i;
      i = o->in[0] == f ? o->in[1] : o->in[0];
    } else return i;
  }
}

/* What operand `top` is an elementwise function of: the iterator, or a transpose of it; -1: neither. */
static int find_leaf (const mugraph_block *b, int top, int iterator, bool *turned) {
  for (int i = 0; iterator >= 0 && i < b->n_ops; i++) {
    int from = i, transposes = 0;
    for (; b->op[from].kind == MUGRAPH_OP_TRANSPOSE; transposes++) from = b->op[from].in[0];
    if (from != iterator || !is_map_of (b, top, i)) continue;
    *turned ^= transposes & 1;
    return i;
  }
  return -1;
}

/* An rms_norm along the rows of what iterator holds, of which operand `top` is an elementwise function; -1: none. */
static int find_norm (const mugraph_block *b, int top, int iterator, bool *turned) {
  for (int i = 0; iterator >= 0 && i < b->n_ops; i++) {
    const mugraph_op *o = &b->op[i];
    bool transposed = false;
    if (o->kind != MUGRAPH_OP_RMS_NORM || !is_map_of (b, top, i) ||
        find_leaf (b, o->in[0], iterator, &transposed) != o->in[0])
      continue;
    if (o->dim != o->shape.n_dims - 1 - transposed) continue;
    *turned ^= transposed;
    return i;
  }
  return -1;
}

static bool match_b (const mugraph_block *b, cuda_chain *c, mugraph_error *e) {
  c->b1_top = peel (b, c, b->op[c->first].in[1], true, &c->b1_turned);
  c->b2_top = peel (b, c, b->op[c->second].in[1], false, &c->b2_turned);
  c->b1 = only_iterator (b, c->b1_top);
  c->b2 = only_iterator (b, c->b2_top);
  c->b1_norm = find_norm (b, c->b1_top, c->b1, &c->b1_turned);
  c->b2_norm = find_norm (b, c->b2_top, c->b2, &c->b2_turned);
  c->b1_leaf = c->b1_norm >= 0 ? b->op[c->b1_norm].in[0] : find_leaf (b, c->b1_top, c->b1, &c->b1_turned);
  c->b2_leaf = c->b2_norm >= 0 ? b->op[c->b2_norm].in[0] : find_leaf (b, c->b2_top, c->b2, &c->b2_turned);
  if (c->b1_leaf < 0 || (c->b1_norm >= 0 && !c->b1_turned))
    return FAIL (
        "the right operand of matmul %d is not an elementwise function of one iterator or of the norm of its columns",
        c->first);
  if (c->b2_leaf < 0 || (c->b2_norm >= 0 && c->b2_turned))
    return FAIL (
        "the right operand of matmul %d is not an elementwise function of one iterator or of the norm of its rows",
        c->second);
  return true;
}

static void add_fixed (cuda_chain *c, int i) {
  for (int k = 0; k < c->n_fixed; k++)
    if (c->fixed[k] == i) return;
  if (c->n_fixed < CUDA_CHAIN_FIXED) c->fixed[c->n_fixed] = i;
  c->n_fixed++;
}

/* A tile that the scores determine element by element. */
static bool match_scores (const mugraph_block *b, cuda_chain *c, const bool stable[], int i, mugraph_error *e) {
  const mugraph_op *o = &b->op[i];
  if (i == c->first || is_const (b, i)) return true;
  if (cuda_chain_is_row (b, i) && is_row_value (b, c, i)) {
    add_fixed (c, i);
    return true;
  }
  if (!is_elementwise (b, i))
    return FAIL ("operator %d (%s) between the matmuls is not elementwise", i, mugraph_op_table[o->kind].text);
  if (stable[i]) {
    if (c->exponential >= 0 && b->op[c->exponential].in[0] != o->in[0])
      return FAIL ("exponentials of different arguments, operators %d and %d, share a maximum", c->exponential, i);
    if (c->exponential < 0) c->exponential = i;
  }
  for (int k = 0; k < o->n_in; k++)
    if (!match_scores (b, c, stable, o->in[k], e)) return false;
  return true;
}

static bool reaches (const mugraph_block *b, int i, int target) {
  if (i == target) return true;
  for (int k = 0; k < b->op[i].n_in && b->op[i].kind != MUGRAPH_OP_INPUT; k++)
    if (reaches (b, b->op[i].in[k], target)) return true;
  return false;
}

/* What is summed along the rows of the scores when operator i is such a sum over the whole loop; -1 otherwise. */
static int summed_by (const mugraph_block *b, const cuda_chain *c, int i) {
  const mugraph_op *o = &b->op[i];
  int x = -1;
  if (class_of (b, i) == MUGRAPH_ACCUM && mugraph_op_reduces (o->kind)) x = o->in[0];
  else if (o->kind == MUGRAPH_OP_ACCUM && b->op[o->in[0]].kind == MUGRAPH_OP_SUM) x = b->op[o->in[0]].in[0];
  else if ((o->kind == MUGRAPH_OP_SUM || o->kind == MUGRAPH_OP_MEAN) && b->loop == 1) x = o->in[0];
  if (x < 0 || !cuda_chain_is_row (b, i) || mugraph_cols (&b->op[x].shape) != mugraph_cols (&b->op[c->first].shape) ||
      !reaches (b, x, c->first))
    return -1;
  return x;
}

/* A tile after the loop: elementwise on the result, the sums, constants and iterators. */
static bool match_after (const mugraph_block *b, cuda_chain *c, int i, mugraph_error *e) {
  const mugraph_op *o = &b->op[i];
  if (i == c->result || is_const (b, i)) return true;
  for (int k = 0; k < c->n_sums; k++)
    if (c->sum[k] == i) return true;
  int x = summed_by (b, c, i);
  if (x >= 0) {
    if (c->n_sums == CUDA_CHAIN_SUMS) return FAIL ("more than %d sums along the rows", CUDA_CHAIN_SUMS);
    c->sum[c->n_sums] = i;
    c->addend[c->n_sums++] = x;
    return true;
  }
  if (o->kind == MUGRAPH_OP_INPUT) {
    int32_t m = mugraph_rows (&o->shape), n = mugraph_cols (&o->shape);
    if (is_loop_input (b, i) || heads_of (&o->shape) != 1 || (m != 1 && m != c->rows) || (n != 1 && n != c->dv))
      return FAIL ("iterator %d does not fit the result", i);
    return true;
  }
  if (!is_elementwise (b, i))
    return FAIL ("operator %d (%s) after the loop is not elementwise", i, mugraph_op_table[o->kind].text);
  for (int k = 0; k < o->n_in; k++)
    if (!match_after (b, c, o->in[k], e)) return false;
  return true;
}

/* Whether the exponential's argument is a positive multiple of the scores and nothing else is multiplied or summed. */
static void match_plain (const mugraph_block *b, cuda_chain *c) {
  c->slope = 1;
  if (c->exponential < 0) return;
  int argument = b->op[c->exponential].in[0], i = argument;
  while (i != c->first) {
    const mugraph_op *o = &b->op[i];
    if (o->kind != MUGRAPH_OP_MUL && o->kind != MUGRAPH_OP_DIV) return;
    int f = cuda_chain_factor (b, i);
    if (!is_const (b, f) || f == c->first) return;
    c->slope = o->kind == MUGRAPH_OP_DIV ? c->slope / b->op[f].c[0] : c->slope * b->op[f].c[0];
    i = o->in[0] == f ? o->in[1] : o->in[0];
  }
  double sign = c->slope;
  for (int k = 0; k < c->n_factors; k++) { /* of the row values only constants and norms have a known sign */
    int f = c->factor[k];
    if (b->op[f].kind == MUGRAPH_OP_RMS_NORM) continue;
    if (!is_const (b, cuda_chain_factor (b, f))) return;
    sign *= b->op[cuda_chain_factor (b, f)].c[0] < 0 ? -1 : 1;
  }
  if (!(sign > 0)) return;
  const mugraph_op *p = &b->op[c->operand];
  if (p->kind != MUGRAPH_OP_EXP || p->in[0] != argument) return;
  for (int k = 0; k < c->n_sums; k++) {
    const mugraph_op *x = &b->op[c->addend[k]];
    if (x->kind != MUGRAPH_OP_EXP || x->in[0] != argument || b->op[c->sum[k]].kind == MUGRAPH_OP_ACCUM_RMS) return;
  }
  c->plain = true;
}

/* The two matmuls, the second one's left operand made of the first one's result; the extents of the block. */
static bool match_matmuls (const mugraph_block *b, cuda_chain *c, mugraph_error *e) {
  int n = 0, matmul[2];
  for (int i = 0; i < b->n_ops; i++)
    if (b->op[i].kind == MUGRAPH_OP_MATMUL) {
      if (n == 2) return FAIL ("more than two matmuls");
      matmul[n++] = i;
    }
  if (n < 2) return FAIL ("%d matmuls, two are chained", n);
  c->first = matmul[0], c->second = matmul[1];
  c->operand = b->op[c->second].in[0];
  const mugraph_shape *s = &b->op[c->first].shape, *o = &b->op[c->second].shape;
  c->rows = mugraph_rows (s), c->d = mugraph_cols (&b->op[b->op[c->first].in[0]].shape), c->dv = mugraph_cols (o);
  if (mugraph_cols (s) == 1) return FAIL ("tiles of one column");
  if (heads_of (s) != 1 || heads_of (o) != 1 || s->n_dims < 2)
    return FAIL ("a block has several matrices; split the leading dimensions over the grid");
  if (!reaches (b, c->operand, c->first) || reaches (b, b->op[c->second].in[1], c->first))
    return FAIL ("the second matmul's left operand is not made of the first");
  return true;
}

/* What iterators bring: one matrix each, the loop and the grid walking both right operands along the same n. */
static bool match_iterators (const mugraph *g, const mugraph_op *kernel, const mugraph_block *b, cuda_chain *c,
                             mugraph_error *e) {
  const int iterators[] = {c->a, c->b1, c->b2};
  for (int i = 0; i < 3; i++)
    if (heads_of (&b->op[iterators[i]].shape) != 1) return FAIL ("iterator %d brings several matrices", iterators[i]);
  int idle = cuda_plan_idle_axis (b);
  if (idle >= 0) return FAIL ("grid %c has blocks without a matrix", "xyz"[idle]);
  const mugraph_op *a = &b->op[c->a], *b1 = &b->op[c->b1], *b2 = &b->op[c->b2];
  if (is_loop_input (b, c->a)) return FAIL ("the loop walks the left operand");
  if (b1->shape.n_dims < 2 || b2->shape.n_dims < 2 || a->shape.n_dims < 2) return FAIL ("operands are matrices");
  int n1 = b1->shape.n_dims - 1 - c->b1_turned, d1 = b1->shape.n_dims - 2 + c->b1_turned,
      n2 = b2->shape.n_dims - 2 + c->b2_turned;
  if (b->loop > 1 && (b1->fmap != n1 || b2->fmap != n2))
    return FAIL ("the loop does not walk the columns of the first right operand and the rows of the second");
  if (a->split[a->shape.n_dims - 1].full || b1->split[d1].full) return FAIL ("the first contraction is split");
  const mugraph_split *w1 = &b1->split[n1], *w2 = &b2->split[n2];
  const mugraph_shape *t1 = &g->tensor[kernel->in[b1->in[0]]].shape, *t2 = &g->tensor[kernel->in[b2->in[0]]].shape;
  c->n_full = t1->dim[n1];
  c->n_axis = w1->full ? w1->axis : -1;
  if (t2->dim[n2] != c->n_full || (w2->full ? w2->axis : -1) != c->n_axis)
    return FAIL ("the right operands are split differently");
  c->n = (int32_t) mugraph_ceil_div (c->n_full, c->n_axis >= 0 ? b->grid[c->n_axis] : 1);
  return true;
}

/* O: the accumulator of the second matmul, or that itself where there is no loop. */
static bool match_result (const mugraph_block *b, cuda_chain *c, mugraph_error *e) {
  c->result = -1;
  for (int i = 0; i < b->n_ops; i++)
    for (int j = 0; j < b->op[i].n_in && b->op[i].kind != MUGRAPH_OP_INPUT; j++)
      if (b->op[i].in[j] == c->second) {
        if (b->op[i].kind == MUGRAPH_OP_ACCUM && (c->result < 0 || c->result == i)) c->result = i;
        else if (b->loop == 1 && b->op[i].kind != MUGRAPH_OP_ACCUM && (c->result < 0 || c->result == c->second))
          c->result = c->second;
        else return FAIL ("the second matmul is used before it is accumulated");
      }
  return c->result >= 0 ? true : FAIL ("the second matmul is not accumulated");
}

/* How O and the sums grow with the exponentials of their row; nothing that travels with row maxima comes or goes. */
static bool match_degrees (const mugraph_op *kernel, const mugraph_block *b, const mugraph_stable *stable,
                           cuda_chain *c, mugraph_error *e) {
  const int8_t *degree = stable->block_degree[kernel->block];
  for (int i = 0; i < kernel->n_out; i++)
    if (stable->tensor_degree[kernel->out[i]]) return FAIL ("output %d travels with row maxima", i);
  for (int i = 0; i < kernel->n_in; i++)
    if (stable->tensor_degree[kernel->in[i]]) return FAIL ("input %d travels with row maxima", i);
  if (c->exponential < 0) return true;
  c->degree = degree[c->result];
  if (degree[c->operand] < 0 || degree[c->operand] > 1)
    return FAIL ("the left operand of the second matmul grows with degree %d of the exponentials", degree[c->operand]);
  if (c->degree < 0) return FAIL ("the result shrinks with the exponentials");
  for (int i = 0; i < c->n_sums; i++) {
    c->sum_degree[i] = degree[c->sum[i]];
    if (b->op[c->sum[i]].kind == MUGRAPH_OP_ACCUM_RMS) c->sum_degree[i] *= 2; /* squares are summed */
    if (c->sum_degree[i] < 0 || c->sum_degree[i] > 4)
      return FAIL ("sum %d has degree %d in the exponentials", c->sum[i], c->sum_degree[i]);
  }
  return true;
}

static bool match_roles (const mugraph *g, int k, const mugraph_stable *stable, cuda_chain *c, mugraph_error *e) {
  const mugraph_op *kernel = &g->op[k];
  const mugraph_block *b = &g->block[kernel->block];
  const bool *stabilised = stable->block_exp[kernel->block];
  if (!match_matmuls (b, c, e) || !match_a (b, c, e) || !match_b (b, c, e) || !match_iterators (g, kernel, b, c, e) ||
      !match_result (b, c, e))
    return false;
  c->exponential = -1;
  for (int i = 0; i < b->n_ops; i++)
    if (b->op[i].kind == MUGRAPH_OP_OUTPUT && !match_after (b, c, b->op[i].in[0], e)) return false;
  if (!match_scores (b, c, stabilised, c->operand, e)) return false;
  for (int i = 0; i < c->n_sums; i++)
    if (!match_scores (b, c, stabilised, c->addend[i], e)) return false;
  if (c->n_fixed > CUDA_CHAIN_FIXED - 1)
    return FAIL ("more than %d values a row between the matmuls", CUDA_CHAIN_FIXED - 1);
  if (!match_degrees (kernel, b, stable, c, e)) return false;
  match_plain (b, c);
  return true;
}

/* ---- the schedule ---- */

enum { WARPGROUP_ROWS = 64, MAX_GROUPS = 4, MAX_STAGES = 32, FIXED_REGS = 30, HELPER_REGS = 32, BLOCK_SMEM = 1024 };

/* Scores, the operand that they become, the result; mma.sync: A too. */
static int regs_of (const cuda_chain *c) {
  return (int) (c->nt / 2 + c->nt / 4 + mugraph_ceil_div (c->dv, 8) * 4 +
                (c->wgmma ? 4 : mugraph_ceil_div (c->d, 16) * 4)) +
         (c->b2_scale ? c->nt / 8 : 0) + FIXED_REGS;
}
/* At the launch of a block with a helper that has an SM for itself, and what the helper leaves to the other warpgroups:
 * chain.cuh. */
static int launched_regs (int groups) { return (groups > 1 ? 65536 / (128 * (groups + 1)) : 240) / 8 * 8; }
static int helped_regs (int groups) { return (launched_regs (groups) * (groups + 1) - HELPER_REGS) / groups / 8 * 8; }
static int most_regs (int groups) { return groups > 3 ? 128 : groups == 3 ? 168 : 255; }

/* Shared memory as struct chain_shape of chain.cuh lays it out. */
static int64_t b1_bytes (const cuda_chain *c) {
  return c->b1_turned ? (int64_t) c->nt * 128 * mugraph_ceil_div (c->d, 64) : mugraph_ceil_div (c->d, 16) * 32 * c->nt;
}
static int64_t b2_bytes (const cuda_chain *c) {
  return c->b2_turned ? mugraph_ceil_div (c->dv, 16) * 32 * c->nt
                      : (int64_t) c->nt * 128 * mugraph_ceil_div (c->dv, 64);
}
static int64_t stage_bytes (const cuda_chain *c) { return b1_bytes (c) + b2_bytes (c); }
static int64_t smem_of (const cuda_chain *c) {
  int64_t tiles = c->stages * stage_bytes (c);
  int64_t scale_bytes = c->nt * ((c->b1_scale ? 4 : 0) + (c->b2_scale ? 2 : 0));
  if (!c->wgmma) return tiles + scale_bytes;
  tiles += c->wm * mugraph_ceil_div (c->d, 64) * 8192;
  /* partial results of rows: halves, a scale, a maximum, sums; in a cluster beside the tiles, which others still use */
  int64_t row = 16 * (mugraph_ceil_div (c->dv, 32) * 4 + mugraph_ceil_div (2 + c->n_sums, 4)), parts = c->wn * c->split;
  int64_t partial = parts > 1 ? parts * mugraph_ceil_div (c->wm * WARPGROUP_ROWS, c->split) * row : 0;
  int64_t end = c->split > 1 ? tiles + partial : partial > tiles ? partial : tiles;
  int64_t scaled = mugraph_ceil_div (mugraph_ceil_div (c->n, c->nt), c->split);
  if (scaled * scale_bytes > 8192) scaled = c->stages;
  return end + scaled * scale_bytes + 8 * (3 * c->stages + 1);
}

/* Most stages, a multiple of the warpgroups in turns, that leave room for so many blocks an SM. */
static int stages_that_fit (cuda_chain *c, const cuda_device *d, int blocks) {
  int64_t room = d->smem_sm / blocks - BLOCK_SMEM;
  if (room > d->smem_block) room = d->smem_block;
  for (c->stages = MAX_STAGES / c->wn * c->wn; c->stages > 0 && smem_of (c) > room; c->stages -= c->wn) {
  }
  return c->stages;
}

static bool choose (const mugraph_sched *s, const cuda_device *d, cuda_chain *c, mugraph_error *e) {
  c->wm = (int) mugraph_ceil_div (c->rows, WARPGROUP_ROWS);
  c->nt = s->tile_n ? s->tile_n : 64;
  c->split = s->split > 1 ? s->split : 1;
  if (c->nt != 64 && c->nt != 128) return FAIL ("tile_n is %d, 64 and 128 are possible", c->nt);
  if (s->tile_m && s->tile_m != (c->wgmma ? 64 : 16))
    return FAIL ("tile_m is %d, a %s owns %d rows", s->tile_m, c->wgmma ? "warpgroup" : "warp", c->wgmma ? 64 : 16);
  if (c->d > 256 || c->dv > 256) return FAIL ("matrices of %d and %d columns, at most 256 fit", c->d, c->dv);
  int groups = MAX_GROUPS;
  while (groups && regs_of (c) > most_regs (groups)) groups = groups == 3 ? 2 : groups - 1;
  if (c->wm > MAX_GROUPS || c->wm > groups)
    return FAIL ("%d rows a block do not fit into registers, %d do", c->rows, groups * WARPGROUP_ROWS);
  int64_t tiles = mugraph_ceil_div (c->n, c->nt), mine = mugraph_ceil_div (tiles, c->split);
  if (c->split > 1 && !c->wgmma)
    return FAIL ("split is %d; clusters need sm_90 and rows at multiples of 16 bytes", c->split);
  if (c->split > tiles) return FAIL ("split is %d, the loop has %lld tiles", c->split, (long long) tiles);
  int most = c->wgmma ? groups / c->wm : 1;
  /* Two warpgroups a block leave room for a second block, of the next launch too, whose beginning fills the end of the
   * first. */
  c->wn = s->warps ? s->warps / (4 * c->wm) : c->wm < 2 && most > 1 ? 2 : 1;
  if (!s->warps && c->wn > mine) c->wn = (int) mine;
  if (c->wn < 1 || c->wn > most || (s->warps && s->warps != 4 * c->wm * c->wn))
    return FAIL ("%d warps; multiples of %d up to %d are possible", s->warps, 4 * c->wm, 4 * c->wm * most);
  if (!c->wgmma) {
    c->stages = 0;
    int64_t fits = (d->smem_block - smem_of (c)) / stage_bytes (c);
    c->stages = s->stages ? s->stages : fits < 3 ? (int) fits : 3;
    if (c->stages < 2 || c->stages > fits) return FAIL ("%d stages; 2 to %lld fit", c->stages, (long long) fits);
  } else {
    /* All tiles in flight, or so many that one is refilled before it is needed: see chain_wgmma. */
    bool changed = (c->b1_top != c->b1_leaf && !c->b1_scale) || (c->b2_top != c->b2_leaf && !c->b2_scale);
    for (;; c->wn--) {
      int more = (regs_of (c) <= most_regs (MAX_GROUPS) ? MAX_GROUPS : groups) / (c->wm * c->wn),
          whole = (int) (mugraph_ceil_div (mine, c->wn) * c->wn);
      int alone = stages_that_fit (c, d, 1), together = more > 1 ? stages_that_fit (c, d, more) : 0;
      int least = (changed && c->wm > 1 ? c->wm + 1 : 2) * c->wn;
      if (least > whole) least = whole;
      c->stages = s->stages ? (int) mugraph_ceil_div (s->stages, c->wn) * c->wn
                  : together >= whole || (together >= least && together >= 4) ? together
                                                                              : alone;
      if (c->stages > whole) c->stages = whole;
      c->per_sm = more > 1 && c->stages <= together ? more : 1;
      if (c->stages >= least && c->stages <= alone) break;
      if (s->warps || c->wn == 1) return FAIL ("%d stages; %d to %d fit", c->stages, least, alone);
    }
  }
  c->smem = smem_of (c);
  c->helper =
      c->wgmma && c->per_sm == 1 && helped_regs (c->wm * c->wn) >= regs_of (c) - (c->b2_scale ? c->nt / 8 : 0) - 2;
  return true;
}

/* Whether the rows of every block's part of a right operand start at multiples of 16 bytes. */
static bool starts_aligned (const mugraph *g, const mugraph_op *kernel, const mugraph_block *b, int i) {
  const mugraph_op *o = &b->op[i];
  const mugraph_shape *t = &g->tensor[kernel->in[o->in[0]]].shape;
  const mugraph_split *last = &o->split[t->n_dims - 1];
  int32_t columns = mugraph_cols (t);
  return columns % 8 == 0 &&
         (!last->full || last->axis < 0 || mugraph_ceil_div (columns, b->grid[last->axis]) % 8 == 0);
}

static bool match (const mugraph *g, int k, const cuda_device *d, cuda_chain *c, mugraph_error *e) {
  const mugraph_op *kernel = &g->op[k];
  const mugraph_block *b = &g->block[kernel->block];
  static _Thread_local mugraph_stable stable;
  memset (c, 0, sizeof *c);
  int matmuls = 0;
  for (int i = 0; i < b->n_ops; i++) matmuls += b->op[i].kind == MUGRAPH_OP_MATMUL;
  if (matmuls != 2) return FAIL ("%d matmuls, two are chained", matmuls);
  mugraph_analyse_stable (g, &stable);
  if (!match_roles (g, k, &stable, c, e)) return false;
  const int operands[] = {c->a, c->b1, c->b2};
  for (int i = 0; i < 3; i++) {
    mugraph_dtype t = cuda_plan_storage (g, kernel->in[b->op[operands[i]].in[0]]);
    if (t == MUGRAPH_F32 || (i && t != c->dtype))
      return FAIL ("operands are stored as %s; f16 or bf16 is needed, the same for all", mugraph_dtype_text (t));
    c->dtype = t;
  }
  const mugraph_op *b2 = &b->op[c->b2];
  const mugraph_shape *t2 = &g->tensor[kernel->in[b2->in[0]]].shape;
  c->aligned = starts_aligned (g, kernel, b, c->b1) && starts_aligned (g, kernel, b, c->b2);
  c->wgmma =
      d->arch >= 90 && c->aligned; /* what a tensor map asks for; the copies trap on columns that start elsewhere */
  if (c->b2_norm >= 0 && c->dv != mugraph_cols (t2)) return FAIL ("the norm of split rows");
  c->b1_scale = c->b1_norm >= 0 && c->b1_top == c->b1_norm;
  c->b2_scale = c->wgmma && c->b2_norm >= 0 && c->b2_top == c->b2_norm;
  return choose (&b->sched, d, c, e);
}

/* ---- what it costs ---- */

static double bytes_of (const mugraph *g, int t) {
  return (double) mugraph_volume (&g->tensor[t].shape) * mugraph_dtype_bytes (cuda_plan_storage (g, t));
}

static void place (cuda_plan *p, int i, cuda_home home, int64_t offset, int64_t bytes) {
  p->tile[i] = (cuda_tile_plan){.home = home, .offset = offset, .bytes = bytes};
}

static void place_tiles (const mugraph_block *b, const cuda_chain *c, cuda_plan *p) {
  for (int i = 0; i < b->n_ops; i++) p->tile[i].fused = true;
  place (p, c->a, CUDA_HOME_REGISTERS, 0, 0);
  place (p, c->b1, CUDA_HOME_SHARED, 0, b1_bytes (c));
  place (p, c->b2, CUDA_HOME_SHARED, b1_bytes (c), b2_bytes (c));
  p->tile[c->a].copy = CUDA_COPY_LOADS, p->tile[c->a].depth = 1;
  p->tile[c->b1].copy = p->tile[c->b2].copy = c->wgmma ? CUDA_COPY_TENSOR : CUDA_COPY_ASYNC;
  p->tile[c->b1].depth = p->tile[c->b2].depth = c->stages;
  place (p, c->first, CUDA_HOME_REGISTERS, 0, 0);
  place (p, c->operand, CUDA_HOME_REGISTERS, 0, 0);
  place (p, c->result, CUDA_HOME_REGISTERS, 0, 0);
  for (int i = 0; i < c->n_sums; i++) place (p, c->sum[i], CUDA_HOME_REGISTERS, 0, 0);
}

bool cuda_plan_chain (const mugraph *g, int k, const cuda_device *d, cuda_plan *p, mugraph_error *e) {
  const mugraph_op *kernel = &g->op[k];
  const mugraph_block *b = &g->block[kernel->block];
  cuda_chain c;
  if (!match (g, k, d, &c, e)) return false;
  cuda_plan_keep (p, &c, sizeof c);
  int64_t grid = (int64_t) b->grid[0] * b->grid[1] * b->grid[2], tiles = mugraph_ceil_div (c.n, c.nt);
  p->sched = b->sched;
  p->sched.warps = (int16_t) (4 * c.wm * c.wn);
  p->sched.stages = (int16_t) c.stages;
  p->sched.split = (int16_t) c.split;
  p->sched.swap = 1;
  p->sched.tile_m = c.wgmma ? WARPGROUP_ROWS : 16;
  p->sched.tile_n = (int16_t) c.nt;
  p->threads = 128 * (c.wm * c.wn + c.helper);
  p->cluster = c.split;
  p->blocks = grid * c.split;
  p->smem = c.smem;
  p->regs = regs_of (&c);
  if (p->regs > most_regs (c.wm * c.wn)) p->regs = most_regs (c.wm * c.wn);
  if (c.helper) p->regs = launched_regs (c.wm * c.wn);
  for (int i = 0; i < kernel->n_in; i++) {
    bool again = false;
    for (int j = 0; j < i; j++) again |= kernel->in[j] == kernel->in[i];
    if (!again) p->dram_read += bytes_of (g, kernel->in[i]);
  }
  for (int i = 0; i < kernel->n_out; i++) p->dram_write += bytes_of (g, kernel->out[i]);
  double padded = (double) grid * c.wm * WARPGROUP_ROWS * tiles * c.nt;
  p->l2_read = (double) grid * (c.split * 2.0 * c.rows * c.d + 2.0 * c.n * (c.d + c.dv));
  p->mma_flops = 2 * padded * (mugraph_ceil_div (c.d, 16) * 16 + mugraph_ceil_div (c.dv, 8) * 8);
  int special = 0, other = 4; /* conversion, row sum, maximum, scale */
  for (int i = c.first; i < b->n_ops; i++)
    if (is_elementwise (b, i) && mugraph_cols (&b->op[i].shape) == mugraph_cols (&b->op[c.first].shape) &&
        !b->op[i].after_loop) {
      bool sfu = mugraph_op_table[b->op[i].kind].unit == MUGRAPH_ON_SFU;
      special += sfu, other += !sfu;
    }
  p->sfu_ops = padded * special;
  p->fp32_flops = padded * other;
  p->iterations = (int) mugraph_ceil_div (mugraph_ceil_div (tiles, c.split), c.wn);
  place_tiles (b, &c, p);
  return true;
}
