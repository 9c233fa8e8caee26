/* Shapes and validity: the shape rules of op.def, iterators and savers, whole graphs.

   The functions here are the gate: whatever comes from a file or a search passes them before anything else reads it, so
   they check every index and size and assume nothing. */
#include "mugraph.h"

#include "check.h"

#include <string.h>

#define TEXT(op) (mugraph_op_table[(op)->kind].text)

static bool check_shape (const mugraph_shape *s, mugraph_error *e, const char *what) {
  if (s->n_dims < 1 || s->n_dims > MUGRAPH_DIMS)
    return mugraph_fail (e, "%s: %d dimensions, 1 to %d are supported", what, s->n_dims, MUGRAPH_DIMS);
  if (s->dtype >= MUGRAPH_N_DTYPES) return mugraph_fail (e, "%s: unknown data type %d", what, s->dtype);
  int64_t volume = 1;
  for (int d = 0; d < s->n_dims; d++) {
    if (s->dim[d] < 1 || s->dim[d] > MUGRAPH_MAX_DIM)
      return mugraph_fail (e, "%s: dimension %d is %d, 1 to %lld are supported", what, d, s->dim[d],
                           (long long) MUGRAPH_MAX_DIM);
    volume *= s->dim[d]; /* at most 2^34 * 2^28 before the check: no overflow */
    if (volume > MUGRAPH_MAX_VOLUME)
      return mugraph_fail (e, "%s: more than %lld elements", what, (long long) MUGRAPH_MAX_VOLUME);
  }
  return true;
}

/* dim of s aligned at the right, as if s had n dimensions: missing leading ones are 1. */
static int32_t aligned (const mugraph_shape *s, int n, int d) {
  int own = d - (n - s->n_dims);
  return own < 0 ? 1 : s->dim[own];
}

/* The wider of two types: f32 over bf16 and f16; f16 with bf16 is f32. */
static uint8_t join_dtype (uint8_t a, uint8_t b) { return a == b ? a : MUGRAPH_F32; }

/* A scalar constant takes part in any type. */
static bool is_scalar (const mugraph_shape *s) { return mugraph_volume (s) == 1; }

/* ---- the shape rules: names stand in op.def ---- */

typedef bool shape_rule (const mugraph_op *, const mugraph_shape *const in[], mugraph_shape *out, mugraph_error *);

static bool shape_none (const mugraph_op *op, const mugraph_shape *const in[], mugraph_shape *out, mugraph_error *e) {
  (void) in, (void) out;
  return mugraph_fail (e, "%s: has no shape of its own", TEXT (op));
}

static bool shape_constant (const mugraph_op *op, const mugraph_shape *const in[], mugraph_shape *out,
                            mugraph_error *e) {
  (void) op, (void) in, (void) e;
  *out = mugraph_shape_of (MUGRAPH_F32, 1, (int32_t[]){1});
  return true;
}

static bool shape_same (const mugraph_op *op, const mugraph_shape *const in[], mugraph_shape *out, mugraph_error *e) {
  (void) op, (void) e;
  *out = *in[0];
  return true;
}

static bool shape_broadcast (const mugraph_op *op, const mugraph_shape *const in[], mugraph_shape *out,
                             mugraph_error *e) {
  const mugraph_shape *a = in[0], *b = in[1];
  *out = a->n_dims >= b->n_dims ? *a : *b;
  out->dtype = is_scalar (b) && b->dtype == MUGRAPH_F32   ? a->dtype
               : is_scalar (a) && a->dtype == MUGRAPH_F32 ? b->dtype
                                                          : join_dtype (a->dtype, b->dtype);
  for (int d = 0, n = out->n_dims; d < n; d++) {
    int32_t x = aligned (a, n, d), y = aligned (b, n, d);
    if (x != y && x != 1 && y != 1)
      return mugraph_fail (
          e, "%s: dimension %d differs: %d and %d (only size 1 or a missing leading dimension broadcasts)", TEXT (op),
          d, x, y);
    out->dim[d] = x > y ? x : y;
  }
  return true;
}

static bool shape_matmul (const mugraph_op *op, const mugraph_shape *const in[], mugraph_shape *out, mugraph_error *e) {
  const mugraph_shape *a = in[0], *b = in[1];
  if (a->n_dims < 2 || b->n_dims < 2) return mugraph_fail (e, "%s: both inputs need at least 2 dimensions", TEXT (op));
  int32_t m = a->dim[a->n_dims - 2], k = a->dim[a->n_dims - 1], k2 = b->dim[b->n_dims - 2], n = b->dim[b->n_dims - 1];
  if (k != k2) return mugraph_fail (e, "%s: inner sizes differ: a is %dx%d, b is %dx%d", TEXT (op), m, k, k2, n);
  *out = a->n_dims >= b->n_dims ? *a : *b;
  out->dtype = join_dtype (a->dtype, b->dtype);
  int nd = out->n_dims;
  for (int d = 0; d < nd - 2; d++) {
    int32_t x = aligned (a, nd, d), y = aligned (b, nd, d);
    if (x != y && x != 1 && y != 1)
      return mugraph_fail (e, "%s: batch dimension %d differs: %d and %d", TEXT (op), d, x, y);
    out->dim[d] = x > y ? x : y;
  }
  out->dim[nd - 2] = m;
  out->dim[nd - 1] = n;
  return true;
}

static bool shape_reduce (const mugraph_op *op, const mugraph_shape *const in[], mugraph_shape *out, mugraph_error *e) {
  (void) e;
  *out = *in[0];
  out->dim[op->dim] = 1;
  return true;
}

static bool narrow (const mugraph_op *op, int dim, const mugraph_shape *s, mugraph_shape *out, mugraph_error *e) {
  if (op->width < 1 || s->dim[dim] % op->width)
    return mugraph_fail (e, "%s: width %d does not divide the dimension's %d", TEXT (op), op->width, s->dim[dim]);
  *out = *s;
  out->dim[dim] = op->width;
  return true;
}

static bool shape_reduce_to (const mugraph_op *op, const mugraph_shape *const in[], mugraph_shape *out,
                             mugraph_error *e) {
  return narrow (op, op->dim, in[0], out, e);
}

static bool shape_transpose (const mugraph_op *op, const mugraph_shape *const in[], mugraph_shape *out,
                             mugraph_error *e) {
  int n = in[0]->n_dims;
  if (n < 2) return mugraph_fail (e, "%s: needs at least 2 dimensions", TEXT (op));
  *out = *in[0];
  out->dim[n - 2] = in[0]->dim[n - 1];
  out->dim[n - 1] = in[0]->dim[n - 2];
  return true;
}

static bool shape_concat (const mugraph_op *op, const mugraph_shape *const in[], mugraph_shape *out, mugraph_error *e) {
  const mugraph_shape *a = in[0], *b = in[1];
  if (a->n_dims != b->n_dims)
    return mugraph_fail (e, "%s: inputs have %d and %d dimensions", TEXT (op), a->n_dims, b->n_dims);
  *out = *a;
  out->dtype = join_dtype (a->dtype, b->dtype);
  for (int d = 0; d < a->n_dims; d++)
    if (d == op->dim) out->dim[d] = a->dim[d] + b->dim[d];
    else if (a->dim[d] != b->dim[d])
      return mugraph_fail (e, "%s: dimension %d differs: %d and %d", TEXT (op), d, a->dim[d], b->dim[d]);
  return true;
}

static bool shape_accum_row (const mugraph_op *op, const mugraph_shape *const in[], mugraph_shape *out,
                             mugraph_error *e) {
  (void) op, (void) e;
  *out = *in[0];
  out->dim[out->n_dims - 1] = 1;
  return true;
}

static bool shape_accum_to (const mugraph_op *op, const mugraph_shape *const in[], mugraph_shape *out,
                            mugraph_error *e) {
  return narrow (op, in[0]->n_dims - 1, in[0], out, e);
}

static shape_rule *const rules[MUGRAPH_N_OPS] = {
#define OP(id, text, arity, levels, klass, shape, ...) [MUGRAPH_OP_##id] = shape_##shape,
#include "op.def"
#undef OP
};

static bool check_dim (const mugraph_op *op, const mugraph_shape *s, mugraph_error *e) {
  if (op->dim < 0 || op->dim >= s->n_dims)
    return mugraph_fail (e, "%s: no dimension %d in a tensor of %d dimensions", TEXT (op), op->dim, s->n_dims);
  return true;
}

static bool is_finite (double x) { return x - x == 0; }

static bool check_reals (const mugraph_op *op, mugraph_error *e) {
  if (mugraph_op_has (op->kind, MUGRAPH_HAS_VALUE) && !is_finite (op->c[0]))
    return mugraph_fail (e, "%s: the value is not finite", TEXT (op));
  if (mugraph_op_has (op->kind, MUGRAPH_HAS_EPSILON) && !(op->c[0] >= 0 && is_finite (op->c[0])))
    return mugraph_fail (e, "%s: epsilon must be 0 or more", TEXT (op));
  if (mugraph_op_has (op->kind, MUGRAPH_HAS_LOW) && !(op->c[0] <= op->c[1]))
    return mugraph_fail (e, "%s: the low bound is above the high one", TEXT (op));
  return true;
}

bool mugraph_infer_op (const mugraph_op *op, const mugraph_shape *const in[], mugraph_shape *out, mugraph_error *e) {
  if (op->kind >= MUGRAPH_N_OPS) return mugraph_fail (e, "unknown operator %d", op->kind);
  int arity = mugraph_op_table[op->kind].arity;
  if (arity >= 0 && op->n_in != arity)
    return mugraph_fail (e, "%s: takes %d inputs, has %d", TEXT (op), arity, op->n_in);
  if (mugraph_op_has (op->kind, MUGRAPH_HAS_DIM) && !check_dim (op, in[0], e)) return false;
  return rules[op->kind](op, in, out, e) && check_reals (op, e) && check_shape (out, e, TEXT (op));
}

/* ---- splits ---- */

bool mugraph_infer_iterator (const mugraph_op *op, const mugraph_shape *s, const int32_t grid[3], int32_t loop,
                             mugraph_shape *tile, mugraph_split split[MUGRAPH_DIMS], mugraph_error *e) {
  *tile = *s;
  for (int d = 0; d < MUGRAPH_DIMS; d++) split[d] = (mugraph_split){0, -1, 0};
  for (int g = 0; g < 3; g++) {
    const int d = op->map[g];
    const char axis = "xyz"[g];
    if (d == -1) continue;
    if (d < 0 || d >= s->n_dims)
      return mugraph_fail (e, "imap: grid dimension %c splits dimension %d of a tensor of %d dimensions", axis, d,
                           s->n_dims);
    if (grid[g] == 1) continue;
    if (split[d].axis >= 0) return mugraph_fail (e, "imap: two grid dimensions split dimension %d", d);
    split[d] = (mugraph_split){s->dim[d], (int8_t) g, 0};
    tile->dim[d] = mugraph_ceil_div (s->dim[d], grid[g]);
  }
  int d = op->fmap;
  if (d != -1) {
    if (d < 0 || d >= s->n_dims)
      return mugraph_fail (e, "fmap: the loop walks dimension %d of a tensor of %d dimensions", d, s->n_dims);
    if (loop > 1) {
      split[d].full = s->dim[d];
      split[d].loop = 1;
      tile->dim[d] = mugraph_ceil_div (tile->dim[d], loop);
    }
  }
  return true;
}

void mugraph_split_range (const mugraph_split *s, int32_t tile, const int32_t grid[3], int32_t loop, int32_t i,
                          int32_t l, int32_t *first, int32_t *valid) {
  if (!s->full) {
    *first = 0;
    *valid = tile;
    return;
  }
  int32_t chunk = s->axis >= 0 ? mugraph_ceil_div (s->full, grid[s->axis]) : s->full;
  int64_t begin = s->axis >= 0 ? (int64_t) i * chunk : 0;
  int64_t end = begin + chunk < s->full ? begin + chunk : s->full;
  if (s->loop && loop > 1) begin += (int64_t) l * tile;
  int64_t n = end - begin;
  *first = (int32_t) (begin < s->full ? begin : s->full);
  *valid = (int32_t) (n < 0 ? 0 : n < tile ? n : tile);
}

static bool ragged_split (const mugraph_split *s, int32_t tile, const int32_t grid[3], int32_t loop) {
  if (!s->full) return false;
  return (int64_t) tile * (s->loop ? loop : 1) * (s->axis >= 0 ? grid[s->axis] : 1) != s->full;
}

bool mugraph_block_ragged (const mugraph_block *b) {
  for (int i = 0; i < b->n_ops; i++)
    for (int d = 0; d < b->op[i].shape.n_dims; d++)
      if (ragged_split (&b->op[i].split[d], b->op[i].shape.dim[d], b->grid, b->loop)) return true;
  return false;
}

static bool same_split (const mugraph_split *a, const mugraph_split *b) {
  return a->full == b->full && a->axis == b->axis && a->loop == b->loop;
}

/* Where the positions of an elementwise result's dimension come from: both operands must agree where it matters, that
   is where one of them is ragged. */
static bool join_split (const mugraph_op *op, const mugraph_block *b, int32_t n, const mugraph_split *x, int32_t nx,
                        const mugraph_split *y, int32_t ny, mugraph_split *out, mugraph_error *e) {
  if (nx == 1 && n != 1) x = y;
  if (ny == 1 && n != 1) y = x;
  *out = x->full ? *x : *y;
  if (same_split (x, y)) return true;
  if (ragged_split (x, n, b->grid, b->loop) || ragged_split (y, n, b->grid, b->loop))
    return mugraph_fail (e, "%s: operands are split unevenly in different ways", TEXT (op));
  return true;
}

static const mugraph_split unsplit = {0, -1, 0};

static const mugraph_split *aligned_split (const mugraph_op *op, int n, int d) {
  int own = d - (n - op->shape.n_dims);
  return own < 0 ? &unsplit : &op->split[own];
}

/* Splits of an operator's result from those of its operands. */
static bool infer_splits (mugraph_block *b, mugraph_op *op, mugraph_error *e) {
  const mugraph_op *x = op->n_in > 0 ? &b->op[op->in[0]] : NULL, *y = op->n_in > 1 ? &b->op[op->in[1]] : NULL;
  int n = op->shape.n_dims;
  for (int d = 0; d < MUGRAPH_DIMS; d++) op->split[d] = unsplit;
  switch (mugraph_op_table[op->kind].klass) {
  case MUGRAPH_LEAF:
  case MUGRAPH_CUSTOM: break;
  case MUGRAPH_SAVER:
  case MUGRAPH_UNARY: memcpy (op->split, x->split, sizeof op->split); break;
  case MUGRAPH_BINARY:
    for (int d = 0; d < n; d++)
      if (!join_split (op, b, op->shape.dim[d], aligned_split (x, n, d), aligned (&x->shape, n, d),
                       aligned_split (y, n, d), aligned (&y->shape, n, d), &op->split[d], e))
        return false;
    break;
  case MUGRAPH_MATMUL: {
    int nx = x->shape.n_dims, ny = y->shape.n_dims;
    mugraph_split inner;
    for (int d = 0; d < n - 2; d++)
      if (!join_split (op, b, op->shape.dim[d], aligned_split (x, n, d), aligned (&x->shape, n, d),
                       aligned_split (y, n, d), aligned (&y->shape, n, d), &op->split[d], e))
        return false;
    if (!join_split (op, b, x->shape.dim[nx - 1], &x->split[nx - 1], x->shape.dim[nx - 1], &y->split[ny - 2],
                     y->shape.dim[ny - 2], &inner, e))
      return false;
    op->split[n - 2] = x->split[nx - 2];
    op->split[n - 1] = y->split[ny - 1];
    break;
  }
  case MUGRAPH_REDUCE:
    memcpy (op->split, x->split, sizeof op->split);
    if (mugraph_op_has (op->kind, MUGRAPH_HAS_WIDTH) &&
        ragged_split (&x->split[op->dim], x->shape.dim[op->dim], b->grid, b->loop))
      return mugraph_fail (e, "%s: the dimension is split unevenly", TEXT (op));
    if (!mugraph_op_is (op->kind, MUGRAPH_NORM)) op->split[op->dim] = unsplit;
    break;
  case MUGRAPH_LAYOUT:
    memcpy (op->split, x->split, sizeof op->split);
    if (op->kind == MUGRAPH_OP_TRANSPOSE) {
      op->split[n - 2] = x->split[n - 1];
      op->split[n - 1] = x->split[n - 2];
    } else {
      for (int d = 0; d < n; d++)
        if (d == op->dim) {
          if (ragged_split (&x->split[d], x->shape.dim[d], b->grid, b->loop) ||
              ragged_split (&y->split[d], y->shape.dim[d], b->grid, b->loop))
            return mugraph_fail (e, "%s: the dimension is split unevenly", TEXT (op));
          op->split[d] = unsplit;
        } else if (!join_split (op, b, op->shape.dim[d], &x->split[d], op->shape.dim[d], &y->split[d], op->shape.dim[d],
                                &op->split[d], e))
          return false;
    }
    break;
  case MUGRAPH_ACCUM:
    /* what the loop walked is summed over: positions no longer stand for single data elements */
    for (int d = 0; d < n; d++) op->split[d] = x->split[d].loop && b->loop > 1 ? unsplit : x->split[d];
    if (mugraph_op_has (op->kind, MUGRAPH_HAS_WIDTH) &&
        ragged_split (&x->split[n - 1], x->shape.dim[n - 1], b->grid, b->loop))
      return mugraph_fail (e, "%s: the dimension is split unevenly", TEXT (op));
    if (mugraph_op_table[op->kind].statistic) op->split[n - 1] = unsplit;
    break;
  }
  return true;
}

/* ---- block graphs ---- */

/* What a saver writes: the tiles of all blocks, concatenated as omap says. Two blocks never write the same place. */
static bool infer_saver (const mugraph_block *b, mugraph_op *op, mugraph_shape *out, mugraph_error *e) {
  const mugraph_op *x = &b->op[op->in[0]];
  *out = op->shape = x->shape;
  memcpy (op->split, x->split, sizeof op->split);
  bool used[MUGRAPH_DIMS] = {false};
  for (int g = 0; g < 3; g++) {
    const int d = op->map[g];
    const char axis = "xyz"[g];
    if (d < -1 || d >= out->n_dims)
      return mugraph_fail (e, "omap: grid dimension %c writes dimension %d of a tile of %d dimensions", axis, d,
                           out->n_dims);
    if (b->grid[g] == 1) continue;
    if (d < 0)
      return mugraph_fail (
          e, "omap: grid dimension %c has %d blocks but no dimension to write: they would write the same place", axis,
          b->grid[g]);
    if (used[d]) return mugraph_fail (e, "omap: two grid dimensions write dimension %d", d);
    used[d] = true;
  }
  for (int d = 0; d < out->n_dims; d++) {
    const mugraph_split *s = &x->split[d];
    bool ragged = ragged_split (s, x->shape.dim[d], b->grid, b->loop);
    if (!used[d]) {
      if (ragged)
        return mugraph_fail (
            e, "omap: dimension %d is split unevenly but not written by the grid dimension that splits it", d);
      continue;
    }
    int g = op->map[0] == d && b->grid[0] > 1 ? 0 : op->map[1] == d && b->grid[1] > 1 ? 1 : 2;
    if (ragged && s->axis != g)
      return mugraph_fail (e, "omap: dimension %d is split unevenly by another grid dimension", d);
    int64_t size = ragged ? s->full : (int64_t) out->dim[d] * b->grid[g];
    if (size > MUGRAPH_MAX_DIM)
      return mugraph_fail (e, "omap: dimension %d would have %lld elements", d, (long long) size);
    out->dim[d] = (int32_t) size;
  }
  return check_shape (out, e, "output");
}

/* Grid, loop range and schedule. */
static bool check_launch (const mugraph_block *b, mugraph_error *e) {
  int64_t blocks = 1;
  for (int g = 0; g < 3; g++) {
    const int32_t extent = b->grid[g];
    const char axis = "xyz"[g];
    if (extent < 1 || extent > (g ? 65535 : INT32_MAX))
      return mugraph_fail (e, "grid dimension %c is %d", axis, extent);
    blocks *= extent;
    if (blocks > (int64_t) 1 << 31) return mugraph_fail (e, "the grid has more than 2^31 blocks");
  }
  if (b->loop < 1 || b->loop > 1 << 24)
    return mugraph_fail (e, "the forloop range is %d, 1 to 2^24 are supported", b->loop);
  if (b->n_ops > MUGRAPH_BLOCK_OPS)
    return mugraph_fail (e, "more than %d operators in a block graph", MUGRAPH_BLOCK_OPS);
#define SCHED(name, def, low, high, ...)                                                                               \
  if (b->sched.name < low || b->sched.name > high)                                                                     \
    return mugraph_fail (e, "schedule: " #name " is %d, %d to %d are supported", b->sched.name, low, high);
#include "sched.def"
#undef SCHED
  return true;
}

/* Kind, number and order of the operands of operator i, before anything of them is read. */
static bool check_block_op (const mugraph_block *b, int i, mugraph_error *e) {
  const mugraph_op *op = &b->op[i];
  if (op->kind >= MUGRAPH_N_OPS) return mugraph_fail (e, "unknown kind %d", op->kind);
  const mugraph_op_info *info = &mugraph_op_table[op->kind];
  if (!(info->levels & MUGRAPH_BLOCK_LEVEL)) return mugraph_fail (e, "%s is not a block operator", info->text);
  if (op->n_in != info->arity) return mugraph_fail (e, "%s takes %d inputs, has %d", info->text, info->arity, op->n_in);
  if (op->n_out) return mugraph_fail (e, "block operators have no kernel tensors");
  for (int k = 0; k < op->n_in; k++) {
    const int j = op->in[k];
    if (j >= i) return mugraph_fail (e, "%s reads operator %d, which does not stand before it", info->text, j);
    if (b->op[j].kind == MUGRAPH_OP_OUTPUT) return mugraph_fail (e, "%s reads a saver", info->text);
  }
  return true;
}

/* Whether operator i runs after the loop (after_loop), and whether its tile may differ from one iteration to the next:
   looped[i], from those of its operands. */
static bool infer_phase (mugraph_block *b, int i, bool looped[], mugraph_error *e) {
  mugraph_op *op = &b->op[i];
  bool after = false, loops = op->kind == MUGRAPH_OP_INPUT && op->fmap >= 0 && b->loop > 1;
  for (int k = 0; k < op->n_in; k++) {
    after |= b->op[op->in[k]].after_loop;
    loops |= looped[op->in[k]];
  }
  if (mugraph_op_table[op->kind].klass == MUGRAPH_ACCUM) {
    if (after) return mugraph_fail (e, "%s reads the result of an accumulator", TEXT (op));
    after = true;
    loops = false;
  }
  if (after && loops && b->loop > 1)
    return mugraph_fail (e, "%s mixes a value of the loop with the result of an accumulator", TEXT (op));
  if (op->kind == MUGRAPH_OP_OUTPUT && loops && b->loop > 1)
    return mugraph_fail (e, "saves a value of the loop; accumulate it first");
  op->after_loop = after || op->kind == MUGRAPH_OP_OUTPUT;
  looped[i] = loops;
  return true;
}

/* The tile of operator i and where it comes from; of a saver, also the next of the kernel's outputs. */
static bool infer_tile (mugraph_block *b, int i, int n_in, const mugraph_shape in[], int *n_out, mugraph_shape out[],
                        mugraph_error *e) {
  mugraph_op *op = &b->op[i];
  if (op->kind == MUGRAPH_OP_INPUT) {
    if (op->in[0] >= n_in) return mugraph_fail (e, "iterates over input %d, the kernel has %d", op->in[0], n_in);
    return mugraph_infer_iterator (op, &in[op->in[0]], b->grid, b->loop, &op->shape, op->split, e);
  }
  if (op->kind == MUGRAPH_OP_OUTPUT) return infer_saver (b, op, &out[(*n_out)++], e);
  const mugraph_shape *shapes[MUGRAPH_FANIN];
  for (int k = 0; k < op->n_in; k++) shapes[k] = &b->op[op->in[k]].shape;
  return mugraph_infer_op (op, shapes, &op->shape, e) && infer_splits (b, op, e);
}

bool mugraph_infer_block (mugraph_block *b, int n_in, const mugraph_shape in[], int *n_out, mugraph_shape out[],
                          mugraph_error *e) {
  bool looped[MUGRAPH_BLOCK_OPS];
  mugraph_error buffer = {""}, *why = e ? &buffer : NULL; /* nothing is formatted for those who do not ask */
  *n_out = 0;
  if (!check_launch (b, e)) return false;
  for (int i = 0; i < b->n_ops; i++) {
    if (b->op[i].kind == MUGRAPH_OP_OUTPUT && *n_out >= MUGRAPH_FANOUT)
      return mugraph_fail (e, "more than %d savers in a block graph", MUGRAPH_FANOUT);
    if (!check_block_op (b, i, why) || !infer_phase (b, i, looped, why) ||
        !infer_tile (b, i, n_in, in, n_out, out, why))
      return mugraph_fail (e, "operator %d: %s", i, buffer.text);
  }
  if (!*n_out) return mugraph_fail (e, "the block graph saves nothing");
  return true;
}

/* ---- whole graphs ---- */

static bool infer_kernel_op (mugraph *g, mugraph_op *op, bool defined[], mugraph_error *e) {
  if (op->kind >= MUGRAPH_N_OPS) return mugraph_fail (e, "unknown kind %d", op->kind);
  const mugraph_op_info *info = &mugraph_op_table[op->kind];
  if (!(info->levels & MUGRAPH_KERNEL_LEVEL) || op->kind == MUGRAPH_OP_INPUT)
    return mugraph_fail (e, "%s is not a kernel operator", info->text);
  if (op->n_in > MUGRAPH_FANIN || op->n_out > MUGRAPH_FANOUT)
    return mugraph_fail (e, "%s: too many inputs or outputs", info->text);
  mugraph_shape in[MUGRAPH_FANIN], out[MUGRAPH_FANOUT];
  const mugraph_shape *pointers[MUGRAPH_FANIN];
  for (int k = 0; k < op->n_in; k++) {
    if (op->in[k] >= g->n_tensors || !defined[op->in[k]])
      return mugraph_fail (e, "%s reads tensor %d, which nothing before it computes", info->text, op->in[k]);
    in[k] = g->tensor[op->in[k]].shape;
    pointers[k] = &in[k];
  }
  int n_out = 1;
  if (op->kind == MUGRAPH_OP_CUSTOM) {
    if (op->block < 0 || op->block >= g->n_blocks) return mugraph_fail (e, "no block graph %d", op->block);
    if (!mugraph_infer_block (&g->block[op->block], op->n_in, in, &n_out, out, e)) return false;
  } else if (!mugraph_infer_op (op, pointers, out, e)) return false;
  if (op->n_out != n_out)
    return mugraph_fail (e, "%s: has %d outputs, the graph writes %d", info->text, op->n_out, n_out);
  for (int k = 0; k < n_out; k++) {
    int t = op->out[k];
    if (t < g->n_inputs || t >= g->n_tensors || defined[t])
      return mugraph_fail (e, "%s writes tensor %d, which is not free", info->text, t);
    defined[t] = true;
    g->tensor[t].shape = out[k];
  }
  return true;
}

static bool infer_graph (mugraph *g, mugraph_error *e) {
  bool defined[MUGRAPH_TENSORS] = {false}, owned[MUGRAPH_BLOCKS] = {false};
  mugraph_error why;
  if (g->n_tensors > MUGRAPH_TENSORS || g->n_inputs > MUGRAPH_INPUTS || g->n_inputs > g->n_tensors ||
      g->n_outputs > MUGRAPH_OUTPUTS || g->n_ops > MUGRAPH_KERNEL_OPS || g->n_blocks > MUGRAPH_BLOCKS)
    return mugraph_fail (e, "the graph is larger than the limits");
  for (int t = 0; t < g->n_inputs; t++) {
    if (!check_shape (&g->tensor[t].shape, &why, "shape")) return mugraph_fail (e, "input %d: %s", t, why.text);
    defined[t] = true;
  }
  for (int i = 0; i < g->n_ops; i++) {
    mugraph_op *op = &g->op[i];
    if (!infer_kernel_op (g, op, defined, &why)) return mugraph_fail (e, "kernel operator %d: %s", i, why.text);
    if (op->kind == MUGRAPH_OP_CUSTOM) {
      if (owned[op->block])
        return mugraph_fail (e, "kernel operator %d: block graph %d belongs to another operator", i, op->block);
      owned[op->block] = true;
    }
  }
  if (!g->n_outputs) return mugraph_fail (e, "the graph has no output");
  for (int k = 0; k < g->n_outputs; k++)
    if (g->output[k] >= g->n_tensors || !defined[g->output[k]])
      return mugraph_fail (e, "output %d: nothing computes tensor %d", k, g->output[k]);
  for (int t = 0; t < g->n_tensors; t++)
    if (!defined[t]) return mugraph_fail (e, "tensor %d: nothing computes it", t);
  for (int i = 0; i < g->n_blocks; i++)
    if (!owned[i]) return mugraph_fail (e, "block graph %d belongs to no operator", i);
  return true;
}

/* What everybody below relies on: operands stand before their readers, tiles have shapes, the loop's part comes before
   what runs after it, and a kernel has an output for each of its savers. */
static bool is_sound (const mugraph *g) {
  for (int t = 0; t < g->n_tensors; t++)
    if (!check_shape (&g->tensor[t].shape, NULL, "")) return false;
  for (int k = 0; k < g->n_ops; k++) {
    const mugraph_op *kernel = &g->op[k];
    int savers = 0;
    for (int i = 0; i < kernel->n_in; i++)
      for (int o = 0; o < kernel->n_out; o++)
        if (kernel->in[i] == kernel->out[o]) return false;
    if (kernel->kind != MUGRAPH_OP_CUSTOM) continue;
    const mugraph_block *b = &g->block[kernel->block];
    for (int i = 0; i < b->n_ops; i++) {
      const mugraph_op *op = &b->op[i];
      if (!check_shape (&op->shape, NULL, "")) return false;
      for (int j = 0; j < op->n_in; j++)
        if (op->in[j] >= i || b->op[op->in[j]].after_loop > op->after_loop) return false;
      savers += op->kind == MUGRAPH_OP_OUTPUT;
    }
    if (savers != kernel->n_out) return false;
  }
  return true;
}

bool mugraph_infer (mugraph *g, mugraph_error *e) {
  const bool ok = infer_graph (g, e);
  CHECK (!ok || is_sound (g));
  return ok;
}
