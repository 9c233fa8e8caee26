/* Plan of the stream generator: see plan_stream.h for the class and the roles.

   Parameters that it honours
   - grid: the extent of the axis that splits n gives the columns of a block, best a multiple of 8 and of the number of
   warp columns; pays: 32 to 128 (whole lines of device memory from 64 on), and a number of blocks (times split) just
   below a multiple of the SMs. Axes may also split rows, leading dimensions (tiles of size 1) and k.
   - loop: its range changes nothing (k is walked 16 rows a warp and step): one value is enough.
   - split 1, 2, 4, 8, 16: blocks of a cluster that share k. What it costs (0.3 us, asynchronous stores to the block
   that finishes) it saves on reading X where rows are many or all blocks are short; it pays most with programmatic
   dependent launch. Clusters above 2 leave SMs of a GPC over.
   - warps: a power of two times the warps along n; default up to 16, one for each 16 k at least.
   - tile_n: columns of one warp; default all columns of the block up to 64. warps / (columns / tile_n) warps share k.
   - stages 1 to 8: steps of weights in flight; default 2. Bytes in flight in an SM: warps * stages * 32 * tile_n *
   weights; 48 to 96 KB are best, more slows device memory down. Even numbers (of an even number of steps) read X 64
   bytes a request instead of 32: 5 % of the time at 16 rows, 12 % at 32.
   - copy: 1 weights into registers as above; 2 through a ring of shared memory (sm_90; X and weights as they are
   stored, rows of multiples of 16 bytes); default 1, where a weight is stored as [n, k] 2 if that fits. In a ring
   tile_n is 64, or 32 where pairs of products have the same left operand: good where that makes as many blocks as there
   are SMs without a cluster. stages 2 to 16 of 64 k; best are 6 MB in flight over all SMs, which is what device memory
   delivers in 2 us.
   - swap: 0 or 2. tile_m: 0. */
#include "plan_stream.h"
#include "cuda_templates/generator.h"
#include "mugraph/stable.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct {
  const mugraph *g;
  const mugraph_op *kernel;
  const mugraph_block *b;
  cuda_stream *s;
  const char *name; /* of the generator that asks */
  mugraph_error *e;
} matcher;

#define TEXT(i) (mugraph_op_table[c->b->op[i].kind].text)
#define FAIL(...) fail (c, __VA_ARGS__)

static bool fail (const matcher *, const char *format, ...) __attribute__ ((format (printf, 2, 3)));
static bool fail (const matcher *c, const char *format, ...) {
  char why[sizeof (mugraph_error) - 32];
  va_list list;
  va_start (list, format);
  vsnprintf (why, sizeof why, format, list);
  va_end (list);
  return mugraph_fail (c->e, "%s: %s", c->name, why);
}

static bool is_elementwise (const mugraph_op *o) { return mugraph_elementwise (o->kind); }

static bool is_flat (const mugraph_shape *s) {
  return mugraph_volume (s) == (int64_t) mugraph_rows (s) * mugraph_cols (s);
}

/* Dimension d (from the end: 1 columns, 2 rows) of tile i as data, chunk and axis. */
static cuda_stream_extent extent_of (const matcher *c, int i, int d) {
  const mugraph_op *o = &c->b->op[i];
  int at = o->shape.n_dims - d;
  if (at < 0) return (cuda_stream_extent){1, 1, -1, true};
  const mugraph_split *s = &o->split[at];
  if (!s->full) return (cuda_stream_extent){o->shape.dim[at], o->shape.dim[at], -1, true};
  if (s->axis < 0) return (cuda_stream_extent){s->full, s->full, -1, true};
  int32_t blocks = c->b->grid[s->axis], chunk = mugraph_ceil_div (s->full, blocks);
  return (cuda_stream_extent){s->full, chunk, s->axis, (int64_t) chunk * blocks == s->full};
}

static bool is_walked (const matcher *c, int i, int d) {
  const mugraph_op *o = &c->b->op[i];
  int at = o->shape.n_dims - d;
  return at >= 0 && o->split[at].full && o->split[at].loop;
}

/* Whether dimension d of tile i is `want`; a single element that nothing splits broadcasts. Walked: the loop has to
 * walk it. */
static bool agrees (const matcher *c, int i, int d, const cuda_stream_extent *want, bool walked) {
  cuda_stream_extent x = extent_of (c, i, d);
  if (x.full == 1 && x.axis < 0) return true;
  return x.full == want->full && x.chunk == want->chunk && (x.axis == want->axis || want->chunk == want->full) &&
         is_walked (c, i, d) == (walked && c->b->loop > 1);
}

int cuda_stream_weight (const mugraph_block *b, int i) {
  if (b->op[i].kind == MUGRAPH_OP_TRANSPOSE) i = b->op[i].in[0];
  return b->op[i].kind == MUGRAPH_OP_INPUT ? i : -1;
}

/* Weights are read one way. */
static bool match_weight (matcher *c, int iterator, int role, bool turned) {
  cuda_stream *s = c->s;
  const int known = s->role[iterator] & (CUDA_STREAM_RIGHT | CUDA_STREAM_SOURCE);
  if ((known || s->role[iterator] & CUDA_STREAM_CHAIN) && s->turned[iterator] != turned)
    return FAIL ("iterator %d is used as it is stored and transposed", iterator);
  if (known && known != role) return FAIL ("operator %d is a right operand of two widths", iterator);
  s->turned[iterator] = turned;
  return true;
}

/* An elementwise tree over iterators, all of one side. */
static bool match_side (matcher *c, int i, int role) {
  cuda_stream *s = c->s;
  const mugraph_op *o = &c->b->op[i];
  if (o->kind == MUGRAPH_OP_CONST) return true;
  const char *side = role == CUDA_STREAM_LEFT ? "left" : "right";
  const int weight = role & CUDA_STREAM_RIGHT ? cuda_stream_weight (c->b, i) : -1;
  if (weight >= 0 && !match_weight (c, weight, role, weight != i)) return false;
  int known = s->role[i] & (role | (role == CUDA_STREAM_LEFT ? 0 : CUDA_STREAM_RIGHT | CUDA_STREAM_SOURCE));
  if (known == role) return true;
  if (known) return FAIL ("operator %d is a right operand of two widths", i);
  s->role[i] |= (uint16_t) role;
  if (weight >= 0) s->role[weight] |= (uint16_t) role;
  if (!is_flat (&o->shape)) return FAIL ("operator %d has leading dimensions", i);
  if (o->kind == MUGRAPH_OP_INPUT || weight >= 0) {
    if (o->kind != MUGRAPH_OP_INPUT && (mugraph_rows (&o->shape) < 2 || mugraph_cols (&o->shape) < 2))
      return FAIL ("operator %d is the transpose of one row or column", i);
    const cuda_stream_extent inner = {s->inner, s->inner, -1, true};
    bool fits = role == CUDA_STREAM_LEFT ? agrees (c, i, 2, &s->m, false) && agrees (c, i, 1, &s->k, true)
                                         : agrees (c, i, 2, &s->k, true) &&
                                               agrees (c, i, 1, role & CUDA_STREAM_SOURCE ? &inner : &s->n, false);
    if (!fits) return FAIL ("iterator %d is split differently from the other %s operands", i, side);
    return true;
  }
  if (!is_elementwise (o)) return FAIL ("%s within a %s operand", TEXT (i), side);
  for (int k = 0; k < o->n_in; k++) {
    if (c->b->op[o->in[k]].kind == MUGRAPH_OP_TRANSPOSE) return FAIL ("%s within a computed operand", TEXT (o->in[k]));
    if (!match_side (c, o->in[k], role)) return false;
  }
  return true;
}

/* True for tiles that are linear in the partial sums over k. */
static bool is_linear (const matcher *c, int i) {
  const mugraph_op *o = &c->b->op[i];
  switch (o->kind) {
  case MUGRAPH_OP_MATMUL: return true;
  case MUGRAPH_OP_ACCUM:
  case MUGRAPH_OP_NEG: return is_linear (c, o->in[0]);
  case MUGRAPH_OP_ADD:
  case MUGRAPH_OP_SUB:
    return is_linear (c, o->in[0]) && is_linear (c, o->in[1]) &&
           mugraph_same_shape (&c->b->op[o->in[0]].shape, &c->b->op[o->in[1]].shape);
  default: return false;
  }
}

/* Finds the dimensions in the first product below tile i: the leftmost matmul. */
static int first_product (const matcher *c, int i) {
  const mugraph_op *o = &c->b->op[i];
  if (o->kind == MUGRAPH_OP_MATMUL && !is_linear (c, o->in[0])) return i;
  for (int k = 0; k < o->n_in; k++) {
    int found = first_product (c, o->in[k]);
    if (found >= 0) return found;
  }
  return -1;
}

static bool match_linear (matcher *c, int i, bool source) {
  cuda_stream *s = c->s;
  const mugraph_op *o = &c->b->op[i];
  bool product = o->kind == MUGRAPH_OP_MATMUL && !is_linear (c, o->in[0]);
  uint16_t role = (uint16_t) ((product ? CUDA_STREAM_PRODUCT : CUDA_STREAM_LINEAR) | (source ? CUDA_STREAM_SOURCE : 0));
  if (s->role[i] & (CUDA_STREAM_PRODUCT | CUDA_STREAM_LINEAR)) {
    if (!!(s->role[i] & CUDA_STREAM_SOURCE) != source)
      return FAIL ("operator %d is used both as a result and as an operand", i);
    return true;
  }
  s->role[i] = role;
  if (!is_flat (&o->shape) || mugraph_rows (&o->shape) != s->m.chunk) return FAIL ("operator %d has other rows", i);
  if (product) {
    int a = o->in[0], b = o->in[1];
    const cuda_stream_extent n = extent_of (c, b, 1);
    if (source) {
      if (n.axis >= 0 || n.full > 64) return FAIL ("the inner dimension of chained matmuls is split or above 64");
      if (s->inner && s->inner != n.full) return FAIL ("chained matmuls have different inner dimensions");
      s->inner = n.full;
    } else if (!agrees (c, b, 1, &s->n, false) || n.full != s->n.full) return FAIL ("operator %d has other columns", i);
    if (!agrees (c, a, 1, &s->k, true) || !agrees (c, b, 2, &s->k, true) || extent_of (c, a, 1).full != s->k.full)
      return FAIL ("operator %d contracts another dimension", i);
    return match_side (c, a, CUDA_STREAM_LEFT) &&
           match_side (c, b, CUDA_STREAM_RIGHT | (source ? CUDA_STREAM_SOURCE : 0));
  }
  if (o->kind == MUGRAPH_OP_MATMUL) {
    int b = o->in[1], weight = cuda_stream_weight (c->b, b);
    if (source) return FAIL ("three chained matmuls");
    if (weight < 0 || !is_flat (&c->b->op[b].shape) || is_walked (c, b, 1) || is_walked (c, b, 2) ||
        extent_of (c, b, 2).axis >= 0 || !agrees (c, b, 1, &s->n, false) || extent_of (c, b, 1).full != s->n.full)
      return FAIL ("operand %d of a chained matmul is no invariant tile of the same columns", b);
    if (s->role[weight] && s->turned[weight] != (weight != b))
      return FAIL ("iterator %d is used as it is stored and transposed", weight);
    s->turned[weight] = weight != b;
    s->role[weight] |= CUDA_STREAM_CHAIN;
    return match_linear (c, o->in[0], true);
  }
  for (int k = 0; k < o->n_in; k++)
    if (!match_linear (c, o->in[k], source)) return false;
  return true;
}

/* Row statistics of a left tile. At loop range 1 reductions stand for accumulators. */
static bool is_row (const matcher *c, int i) {
  const mugraph_op *o = &c->b->op[i];
  if (mugraph_op_table[o->kind].klass == MUGRAPH_ACCUM && mugraph_op_reduces (o->kind)) return true;
  switch (o->kind) {
  case MUGRAPH_OP_ACCUM: return c->b->op[o->in[0]].kind == MUGRAPH_OP_SUM && is_row (c, o->in[0]);
  case MUGRAPH_OP_SUM: return o->dim == c->b->op[o->in[0]].shape.n_dims - 1;
  case MUGRAPH_OP_MEAN: return c->b->loop == 1 && o->dim == c->b->op[o->in[0]].shape.n_dims - 1;
  default: return false;
  }
}

static bool match_post (matcher *c, int i) {
  cuda_stream *s = c->s;
  const mugraph_op *o = &c->b->op[i];
  if (o->kind == MUGRAPH_OP_CONST) return true;
  if (is_linear (c, i)) {
    if (!match_linear (c, i, false)) return false;
    if (!(s->role[i] & CUDA_STREAM_ROOT)) s->n_roots++;
    s->role[i] |= CUDA_STREAM_ROOT;
    return true;
  }
  if (is_row (c, i)) {
    int x = o->in[0];
    if (o->kind == MUGRAPH_OP_ACCUM) x = c->b->op[x].in[0];
    if (!(s->role[i] & CUDA_STREAM_ROW)) s->n_rows++;
    s->role[i] |= CUDA_STREAM_ROW;
    if (!agrees (c, x, 2, &s->m, false) || mugraph_rows (&c->b->op[x].shape) != s->m.chunk ||
        extent_of (c, x, 1).full != s->k.full || !agrees (c, x, 1, &s->k, true))
      return FAIL ("%s reduces another dimension than the matmuls", TEXT (i));
    return match_side (c, x, CUDA_STREAM_LEFT);
  }
  if (s->role[i] & CUDA_STREAM_POST) return true;
  s->role[i] |= CUDA_STREAM_POST;
  if (!is_flat (&o->shape)) return FAIL ("operator %d has leading dimensions", i);
  if (o->kind == MUGRAPH_OP_INPUT) {
    if (!agrees (c, i, 2, &s->m, false) || !agrees (c, i, 1, &s->n, false))
      return FAIL ("iterator %d is split differently from the result", i);
    return true;
  }
  if (!is_elementwise (o)) return FAIL ("%s after the matmuls", TEXT (i));
  for (int k = 0; k < o->n_in; k++)
    if (!match_post (c, o->in[k])) return false;
  return true;
}

static bool match_savers (matcher *c) {
  cuda_stream *s = c->s;
  int product = -1;
  for (int i = 0; i < c->b->n_ops && product < 0; i++)
    if (c->b->op[i].kind == MUGRAPH_OP_OUTPUT) product = first_product (c, i);
  if (product < 0) return FAIL ("no matmul reads iterators only");
  const mugraph_op *p = &c->b->op[product];
  s->m = extent_of (c, p->in[0], 2);
  s->k = extent_of (c, p->in[0], 1);
  s->n = (cuda_stream_extent){0, 0, -1, true};
  for (int i = 0; i < c->b->n_ops; i++) {
    const mugraph_op *o = &c->b->op[i];
    if (o->kind != MUGRAPH_OP_OUTPUT) continue;
    const cuda_stream_extent n = extent_of (c, o->in[0], 1);
    if (!s->n.full) s->n = n;
    if (mugraph_rows (&o->shape) != s->m.chunk || mugraph_cols (&o->shape) != s->n.chunk || n.full != s->n.full)
      return FAIL ("savers have different tiles");
  }
  if (s->k.chunk < 2 || s->n.chunk < 2) return FAIL ("tiles of one column or one k");
  if (is_walked (c, p->in[0], 1) != (c->b->loop > 1)) return FAIL ("the loop does not walk the contracted dimension");
  if (c->b->op[p->in[0]].shape.dim[c->b->op[p->in[0]].shape.n_dims - 1] < 2)
    return FAIL ("the loop walks single columns");
  for (int i = 0; i < c->b->n_ops; i++)
    if (c->b->op[i].kind == MUGRAPH_OP_OUTPUT && !match_post (c, c->b->op[i].in[0])) return false;
  return s->n_roots ? true : FAIL ("the result does not depend on a matmul");
}

/* How tiles that the loop reads anew are stored. */
static bool match_types (matcher *c) {
  cuda_stream *s = c->s;
  bool typed = false;
  for (int i = 0; i < c->b->n_ops; i++) {
    const mugraph_op *o = &c->b->op[i];
    if (o->kind != MUGRAPH_OP_INPUT || !(s->role[i] & (CUDA_STREAM_LEFT | CUDA_STREAM_RIGHT | CUDA_STREAM_CHAIN)))
      continue;
    mugraph_dtype t = cuda_plan_storage (c->g, c->kernel->in[o->in[0]]);
    int32_t rows = mugraph_rows (&o->shape), cols = mugraph_cols (&o->shape);
    bool weight = s->role[i] & CUDA_STREAM_CHAIN || (s->role[i] & CUDA_STREAM_RIGHT && rows > 1 && cols > 1);
    if (!weight) {
      s->n_streams += s->role[i] & CUDA_STREAM_LEFT && cols > 1;
      if (t == MUGRAPH_F32 && s->role[i] & CUDA_STREAM_LEFT && cols > 1 && rows > 1)
        return FAIL ("iterator %d holds f32, the matrix units take 16 bits", i);
      continue;
    }
    if (t == MUGRAPH_F32) return FAIL ("weights of iterator %d are f32, the matrix units take 16 bits", i);
    if (typed && t != s->type) return FAIL ("weights of different types");
    typed = true;
    s->type = t;
    if (!(s->role[i] & CUDA_STREAM_RIGHT)) continue;
    s->n_weights++;
    s->n_weights_inner += !!(s->role[i] & CUDA_STREAM_SOURCE);
  }
  return typed ? true : FAIL ("no weights");
}

/* The widest piece, then the fewest idle lanes: columns that one warp covers with `pieces` loads of 8 lanes. */
static void choose_piece (int32_t columns, int32_t alignment, int *piece, int *pieces, bool *whole) {
  *piece = 0;
  for (int v = 8; v >= 2; v /= 2) {
    if (alignment % v) continue;
    int n = mugraph_ceil_div (columns, 8 * v), waste = n * 8 * v - columns;
    if (v > 2 && 3 * waste > columns) continue;
    *piece = v, *pieces = n, *whole = true;
    return;
  }
  *piece = 2, *pieces = mugraph_ceil_div (columns, 16), *whole = alignment % 2 == 0;
}

static bool is_power_of_two (int x) { return x > 0 && !(x & (x - 1)); }

/* Registers a thread: accumulators, pieces in flight, X in flight, and what addressing takes. */
static int registers (const cuda_stream *s) {
  int groups = mugraph_ceil_div (s->m.chunk, 8), roots = 0, sources = 0;
  if (s->ring) {
    int products = 0;
    for (int i = 0; i < MUGRAPH_BLOCK_OPS; i++) products += !!(s->role[i] & CUDA_STREAM_PRODUCT);
    return 32 + (s->stacked ? products / 2 : products) * s->n_warps * groups * 4;
  }
  for (int i = 0; i < MUGRAPH_BLOCK_OPS; i++)
    if (s->role[i] & CUDA_STREAM_PRODUCT) (s->role[i] & CUDA_STREAM_SOURCE ? sources++ : roots++);
  int held = roots * s->pieces * s->piece * groups * 2 +
             sources * s->pieces_inner * s->piece_inner * 4 * mugraph_ceil_div (groups, 2);
  int stage = 2 * ((s->n_weights - s->n_weights_inner) * s->pieces * s->piece +
                   s->n_weights_inner * s->pieces_inner * s->piece_inner) +
              2 * s->n_streams * groups;
  int chained = s->inner ? s->pieces * s->piece * s->piece_inner * s->pieces_inner : 0;
  return held + s->stages * stage + (chained > 32 ? 0 : chained) + s->n_rows * groups + 10 + 2 * s->n_weights;
}

/* The same as compiled: a loop has the operands of a step beside them, 14 for each weight of 64 columns, half as many
   where the number of steps in flight is odd, and divides for its indices where the number of warps is no power of two;
   where all steps are in flight there is no loop. */
static int compiled_registers (const cuda_stream *s, const mugraph_block *b) {
  int weights = 0;
  if (s->steps <= s->stages) return registers (s);
  for (int i = 0; i < b->n_ops; i++)
    weights += b->op[i].kind == MUGRAPH_OP_MATMUL && cuda_stream_weight (b, b->op[i].in[1]) >= 0;
  return registers (s) + weights * s->columns * 14 / 64 / (s->stages % 2 + 1) + (is_power_of_two (s->warps) ? 0 : 4);
}

/* Products with the same left operand side by side, in pairs, their weights in the same order and stored alike; nothing
   but accumulators between them and what follows. */
static bool are_pairs (const matcher *c, int products) {
  int left = -1, weight = -1;
  for (int i = 0; i < c->b->n_ops; i++) {
    const mugraph_op *o = &c->b->op[i];
    if (c->s->role[i] & CUDA_STREAM_LINEAR && o->kind != MUGRAPH_OP_ACCUM) return false;
    if (!(c->s->role[i] & CUDA_STREAM_PRODUCT)) continue;
    if (left >= 0 && o->in[0] != left) return false;
    left = o->in[0];
    int next = cuda_stream_weight (c->b, o->in[1]);
    if (next <= weight || (weight >= 0 && c->s->turned[next] != c->s->turned[weight])) return false;
    weight = next;
  }
  return products % 2 == 0 && c->s->n_weights == products;
}

static bool is_plain (const matcher *c, int i, int32_t rows) {
  const mugraph_op *o = &c->b->op[i];
  return o->kind == MUGRAPH_OP_INPUT && mugraph_rows (&o->shape) == rows && mugraph_cols (&o->shape) > 1 &&
         cuda_plan_storage (c->g, c->kernel->in[o->in[0]]) == c->s->type;
}

/* Whether there are weights stored as [n, k]; others. */
static bool has_weights (const matcher *c, bool turned) {
  for (int i = 0; i < c->b->n_ops; i++)
    if (c->b->op[i].kind == MUGRAPH_OP_INPUT && c->s->role[i] & CUDA_STREAM_RIGHT && c->s->turned[i] == turned)
      return true;
  return false;
}

static bool schedule_ring (matcher *c, const cuda_device *d) {
  cuda_stream *s = c->s;
  const mugraph_sched *w = &c->b->sched;
  int products = 0, groups = mugraph_ceil_div (s->m.chunk, 8);
  int64_t blocks = (int64_t) c->b->grid[0] * c->b->grid[1] * c->b->grid[2] * s->split;
  if (d->arch < 90) return FAIL ("tensor copies need sm_90");
  if (s->inner) return FAIL ("chained matmuls take their weights into registers");
  for (int i = 0; i < c->b->n_ops; i++) {
    const mugraph_op *o = &c->b->op[i];
    if (s->role[i] & CUDA_STREAM_LEFT && s->role[i] & CUDA_STREAM_RIGHT)
      return FAIL ("iterator %d is a left and a right operand", i);
    if (s->role[i] & CUDA_STREAM_LEFT && o->kind == MUGRAPH_OP_INPUT && !is_plain (c, i, s->m.chunk))
      return FAIL ("iterator %d is no tile that tensor copies could bring", i);
    if (!(s->role[i] & CUDA_STREAM_PRODUCT)) continue;
    products++;
    if (c->b->op[o->in[0]].kind != MUGRAPH_OP_INPUT || cuda_stream_weight (c->b, o->in[1]) < 0 ||
        mugraph_rows (&c->b->op[o->in[1]].shape) < 2)
      return FAIL ("operands that are computed, of operator %d, go through registers", i);
  }
  const bool straight = has_weights (c, false);
  if ((straight && s->n.full % 8) || s->k.full % 8)
    return FAIL ("rows of %d or %d bytes, tensor copies take multiples of 16", 2 * s->n.full, 2 * s->k.full);
  if (straight && s->n.axis >= 0 && s->n.chunk % 8)
    return FAIL ("tiles of %d columns, tensor copies begin at multiples of 16 bytes", s->n.chunk);
  if (s->n.full < 64 || s->k.full < 64 || (s->k.axis >= 0 && s->k.chunk % 64))
    return FAIL ("tiles that boxes of 64 x 64 do not fit");
  bool pairs = are_pairs (c, products);
  if (w->tile_n != 0 && w->tile_n != 64 && !(w->tile_n == 32 && pairs))
    return FAIL ("tile_n %d: 64, or 32 for pairs of products, where weights go through shared memory", w->tile_n);
  s->stacked = w->tile_n ? w->tile_n == 32 : pairs && s->n.chunk <= 32;
  s->warps = s->n_rows ? 9 : 5;
  if (w->warps && w->warps != s->warps)
    return FAIL ("warps %d: %d where weights go through shared memory", w->warps, s->warps);
  s->columns = s->stacked ? 32 : 64;
  s->k_warps = s->reduced = 1, s->piece = 2, s->pieces = s->columns / 16, s->quads = 1;
  s->n_warps = mugraph_ceil_div (s->n.chunk, s->columns);
  if ((s->stacked ? products / 2 : products) * s->n_warps * groups * 4 > 128)
    return FAIL ("%d columns of %d products are too many for a warpgroup", s->n.chunk, products);
  s->steps = mugraph_ceil_div (mugraph_ceil_div (s->k.chunk, 64), s->split);
  s->part = s->steps * 64;
  s->even_k = s->part * s->split == s->k.chunk && s->k.even;
  s->even_n = s->n_warps * s->columns == s->n.chunk && s->n.even;
  s->slots = s->n_warps * s->pieces * groups * 32;
  int64_t weights = (int64_t) s->n_weights * s->n_warps * s->columns * 128,
          resident = blocks < 2 * d->sms ? blocks : 2 * d->sms;
  s->stage_bytes = weights + (int64_t) s->n_streams * groups * 1024;
  s->stages = w->stages ? w->stages : (int) (2e-6 * d->dram_bw / (double) (resident * weights) + 0.5);
  if (s->stages > 16) s->stages = 16;
  if (s->stages < 2) s->stages = 2;
  return true;
}

static bool schedule (matcher *c, const cuda_device *d) {
  cuda_stream *s = c->s;
  const mugraph_sched *w = &c->b->sched;
  s->split = w->split;
  const bool turned = has_weights (c, true);
  s->ring = w->copy == 2;
  if (w->swap == 1) return FAIL ("rows of the tile along m are not supported: swap 0 or 2");
  if (w->tile_m) return FAIL ("tile_m %d is not supported: 0", w->tile_m);
  if (!is_power_of_two (s->split)) return FAIL ("split %d is no power of two", s->split);
  if (s->split > 1 && d->arch < 90) return FAIL ("split %d needs clusters (sm_90)", s->split);
  if (s->m.chunk > 64) return FAIL ("%d rows of a block, 64 are supported", s->m.chunk);
  if (!w->copy && turned) {
    cuda_stream tried = *s;
    matcher other = {c->g, c->kernel, c->b, &tried, c->name, NULL};
    tried.ring = true;
    if (schedule_ring (&other, d)) {
      *s = tried;
      return true;
    }
  }
  if (s->ring) return schedule_ring (c, d);
  int32_t nt = s->n.chunk, alignment = (int32_t) (s->n.axis < 0 ? s->n.full : (s->n.full | nt));
  if (s->inner) choose_piece (s->inner, s->inner, &s->piece_inner, &s->pieces_inner, &s->whole_inner);
  s->n_warps = mugraph_ceil_div (nt, w->tile_n ? w->tile_n : 64);
  s->columns = w->tile_n ? w->tile_n : mugraph_ceil_div (mugraph_ceil_div (nt, s->n_warps), 8) * 8;
  if (s->columns % 2) return FAIL ("tile_n %d is odd", s->columns);
  choose_piece (s->columns, alignment | s->columns, &s->piece, &s->pieces, &s->whole);
  int32_t steps = mugraph_ceil_div (s->k.chunk, 16);
  s->warps = w->warps;
  if (!s->warps)
    for (s->warps = s->n_warps; 2 * s->warps <= 16 && 2 * s->warps / s->n_warps * s->split <= steps;) s->warps *= 2;
  for (;; s->warps /= 2) {
    s->k_warps = s->warps / s->n_warps;
    if (s->warps > 32 || !s->k_warps || s->k_warps * s->n_warps != s->warps || !is_power_of_two (s->k_warps))
      return FAIL ("%d warps do not share %d groups of columns", s->warps, s->n_warps);
    s->steps = mugraph_ceil_div (steps, s->split * s->k_warps);
    s->stages = w->stages ? w->stages : 2;
    if (s->stages > s->steps) s->stages = s->steps;
    s->part = s->steps * s->k_warps * 16;
    int room = d->regs_sm / (32 * s->warps);
    if (room > 255) room = 255;
    while (registers (s) > room && s->stages > 1 && !w->stages) s->stages--;
    if (registers (s) <= room) break;
    if (w->warps && registers (s) <= room + 2 + 2 * s->n_weights)
      break; /* asked for: it spills a few, and the estimate says so */
    if (w->warps || s->k_warps == 1)
      return FAIL ("about %d registers a thread, %d warps leave %d", registers (s), s->warps, room);
  }
  s->even_k = s->steps * s->split * s->k_warps * 16 == s->k.chunk && s->k.even;
  s->even_n = s->pieces * 8 * s->piece == s->columns && s->n_warps * s->columns == nt && s->n.even;
  s->quads = s->k.full % 8 == 0 && s->k.chunk % 8 == 0 && s->steps % 2 == 0 && s->stages % 2 == 0 ? 2 : 1;
  s->whole_k = s->k.full % 4 == 0 && s->k.chunk % 4 == 0;
  int groups = mugraph_ceil_div (s->m.chunk, 8);
  s->slots = s->n_warps * s->pieces * (s->piece / 2) * groups * 32;
  return true;
}

/* Of an iterator, in one stage of the ring: 64 k. */
static int64_t copied_bytes (const cuda_stream *s, int i) {
  return s->role[i] & CUDA_STREAM_RIGHT ? (int64_t) s->n_warps * s->columns * 128
                                        : mugraph_ceil_div (s->m.chunk, 8) * 1024;
}

int64_t cuda_stream_place (const cuda_stream *s, const mugraph_block *b, int i) {
  int weights = 0, lefts = 0;
  for (int k = 0; k < i; k++) {
    if (b->op[k].kind != MUGRAPH_OP_INPUT) continue;
    weights += !!(s->role[k] & CUDA_STREAM_RIGHT), lefts += !!(s->role[k] & CUDA_STREAM_LEFT);
  }
  if (s->role[i] & CUDA_STREAM_LEFT) return s->stage_bytes - (s->n_streams - lefts) * copied_bytes (s, i);
  return s->stacked ? weights / 2 * 2 * copied_bytes (s, i) + weights % 2 * 4096
                    : weights * copied_bytes (s, i); /* two weights take turns */
}

static int64_t shared_bytes (cuda_stream *s) {
  int64_t groups = mugraph_ceil_div (s->m.chunk, 8);
  int64_t sums = 16ll * s->n_roots * s->slots, share = 16ll * s->n_roots * mugraph_ceil_div (s->slots, s->split);
  int64_t bytes = s->reduced * sums + (s->split > 1 ? s->split * share + 16 : 0) +
                  4 * s->n_rows * groups * 8 * (s->k_warps + (s->split > 1 ? s->split : 0));
  if (!s->ring) return bytes;
  s->barriers = (s->stages * s->stage_bytes + bytes + 7) / 8 * 8;
  return s->barriers + 16 * s->stages + 8;
}

static bool classify (matcher *c, int k) {
  const mugraph *g = c->g;
  mugraph_stable stable;
  mugraph_analyse_stable (g, &stable);
  for (int i = 0; i < c->b->n_ops; i++)
    if (stable.block_exp[g->op[k].block][i]) return FAIL ("operator %d is an exponential with a running maximum", i);
  for (int i = 0; i < c->kernel->n_in; i++)
    if (stable.tensor_degree[c->kernel->in[i]]) return FAIL ("input %d travels with row maxima", i);
  for (int i = 0; i < c->kernel->n_out; i++)
    if (stable.tensor_degree[c->kernel->out[i]]) return FAIL ("output %d travels with row maxima", i);
  int idle = cuda_plan_idle_axis (c->b);
  if (idle >= 0) return FAIL ("grid %c has blocks without a matrix", "xyz"[idle]);
  return match_savers (c) && match_types (c);
}

bool cuda_stream_classify (const mugraph *g, int k, const char *name, cuda_stream *s, mugraph_error *e) {
  memset (s, 0, sizeof *s);
  matcher match = {g, &g->op[k], &g->block[g->op[k].block], s, name, e};
  return classify (&match, k);
}

static bool match (const mugraph *g, int k, const cuda_device *d, cuda_stream *s, mugraph_error *e) {
  memset (s, 0, sizeof *s);
  matcher match = {g, &g->op[k], &g->block[g->op[k].block], s, "stream", e}, *c = &match;
  if (!classify (c, k) || !schedule (c, d)) return false;
  for (s->reduced = s->k_warps; shared_bytes (s) > d->smem_block && s->reduced > 1;) s->reduced /= 2;
  while (s->ring && !c->b->sched.stages && s->stages > 2 && shared_bytes (s) > d->smem_block) s->stages--;
  if (shared_bytes (s) > d->smem_block)
    return FAIL ("%lld bytes of shared memory, a block has %d", (long long) shared_bytes (s), d->smem_block);
  return true;
}

bool cuda_plan_stream (const mugraph *g, int k, const cuda_device *d, cuda_plan *p, mugraph_error *e) {
  cuda_stream s;
  if (!match (g, k, d, &s, e)) return false;
  cuda_plan_keep (p, &s, sizeof s);
  const mugraph_op *kernel = &g->op[k];
  const mugraph_block *b = &g->block[kernel->block];
  p->sched = b->sched;
  p->sched.warps = (int16_t) s.warps;
  p->sched.stages = (int16_t) s.stages;
  p->sched.split = (int16_t) s.split;
  p->sched.swap = 2;
  p->sched.tile_n = (int16_t) s.columns;
  p->sched.copy = s.ring ? 2 : 1;
  p->threads = 32 * s.warps;
  p->cluster = s.split;
  int64_t grid = (int64_t) b->grid[0] * b->grid[1] * b->grid[2];
  p->blocks = grid * s.split;
  p->smem = shared_bytes (&s);
  p->regs = registers (&s);
  p->compiled_regs = compiled_registers (&s, b);
  p->iterations = s.steps;
  double rows = 8.0 * mugraph_ceil_div (s.m.chunk, 8), columns = (double) s.n_warps * s.pieces * 8 * s.piece;
  double depth = (s.ring ? 64.0 : 16.0) * s.steps * s.split * s.k_warps;
  bool seen[MUGRAPH_FANIN] = {false};
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *o = &b->op[i];
    cuda_tile_plan *t = &p->tile[i];
    t->bytes = mugraph_volume (&o->shape) * 4;
    t->home = CUDA_HOME_REGISTERS;
    if (o->kind == MUGRAPH_OP_OUTPUT) {
      t->home = CUDA_HOME_DEVICE;
      continue;
    }
    t->fused = !(s.role[i] & (CUDA_STREAM_ROOT | CUDA_STREAM_ROW)) && o->kind != MUGRAPH_OP_INPUT;
    if (s.role[i] & (CUDA_STREAM_ROOT | CUDA_STREAM_ROW)) t->home = CUDA_HOME_SHARED; /* partial sums meet there */
    const bool operand = o->kind == MUGRAPH_OP_INPUT && s.role[i] & (CUDA_STREAM_LEFT | CUDA_STREAM_RIGHT);
    if (o->kind == MUGRAPH_OP_INPUT)
      t->copy = operand && s.ring ? CUDA_COPY_TENSOR : CUDA_COPY_LOADS, t->depth = operand ? s.stages : 1;
    if (s.ring && operand) {
      t->home = CUDA_HOME_SHARED;
      t->bytes = s.stages * copied_bytes (&s, i), t->offset = cuda_stream_place (&s, b, i); /* in the first stage */
    }
    if (s.role[i] & CUDA_STREAM_PRODUCT) {
      bool source = s.role[i] & CUDA_STREAM_SOURCE;
      double wide = source ? 8.0 * s.piece_inner * s.pieces_inner * s.n_warps : columns;
      p->mma_flops += 2 * (double) grid * (source ? 16.0 * mugraph_ceil_div (s.m.chunk, 16) : rows) * wide * depth;
    } else if (o->kind == MUGRAPH_OP_MATMUL)
      p->mma_flops += 2 * (double) grid * rows * columns * 8 * s.piece_inner * s.pieces_inner * s.k_warps * s.split;
    if (o->kind == MUGRAPH_OP_INPUT) {
      const mugraph_shape *data = &g->tensor[kernel->in[o->in[0]]].shape;
      double element = mugraph_dtype_bytes (cuda_plan_storage (g, kernel->in[o->in[0]]));
      double tiles = (double) mugraph_volume (&o->shape) * element * (double) grid;
      double again = s.role[i] & CUDA_STREAM_CHAIN                         ? (double) s.k_warps * s.split
                     : s.role[i] & (CUDA_STREAM_LEFT | CUDA_STREAM_SOURCE) ? (s.ring ? 1 : s.n_warps)
                                                                           : 1;
      /* requests for single sectors of 32 bytes take as long as those for two */
      if (s.role[i] & CUDA_STREAM_LEFT && mugraph_cols (&o->shape) > 1 && s.quads == 1 && !s.ring) again *= 2;
      if (s.role[i] & CUDA_STREAM_RIGHT && s.turned[i] && !s.ring) again *= 2; /* at most 64 bytes of a row */
      if (s.role[i] & CUDA_STREAM_RIGHT && !s.turned[i] && s.role[i] & CUDA_STREAM_SOURCE && s.inner * element < 64)
        again *= 2;
      p->l2_read += tiles * (o->fmap >= 0 ? b->loop : 1) * again;
      if (!seen[o->in[0]]) p->dram_read += (double) mugraph_volume (data) * element;
      seen[o->in[0]] = true;
    } else if (s.role[i] & (CUDA_STREAM_LEFT | CUDA_STREAM_RIGHT | CUDA_STREAM_POST) && is_elementwise (o)) {
      double times = (double) mugraph_volume (&o->shape) * (double) grid * (o->after_loop ? 1 : b->loop);
      p->fp32_flops += times;
      if (mugraph_op_table[o->kind].unit == MUGRAPH_ON_SFU) p->sfu_ops += times;
    }
  }
  for (int i = 0; i < kernel->n_out; i++)
    p->dram_write += (double) mugraph_volume (&g->tensor[kernel->out[i]].shape) *
                     mugraph_dtype_bytes (cuda_plan_storage (g, kernel->out[i]));
  return true;
}
