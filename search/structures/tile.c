#include "tile.h"

#include <string.h>

static int axis_of (uint16_t label) { return (label & TILE_AXIS) >> TILE_AXIS_SHIFT; } /* 1 + axis, 0 none */

static bool has (const tile_type *t, uint16_t flag) {
  for (int d = 0; d < t->shape.n_dims; d++)
    if (t->label[d] & flag) return true;
  return false;
}

static uint16_t aligned (const tile_type *t, int n, int d) {
  int own = d - (n - t->shape.n_dims);
  return own < 0 ? 0 : t->label[own];
}

/* Labels of an elementwise result, or of the batch dimensions of a matmul: dimensions 0 .. n - skip - 1. */
static bool broadcast (const tile_type *a, const tile_type *b, int n, int skip, tile_type *out) {
  for (int d = 0; d < n - skip; d++) {
    uint16_t x = aligned (a, n, d), y = aligned (b, n, d);
    if (x && y && x != y) return false;
    out->label[d] = x ? x : y;
  }
  return true;
}

/* Whether a b may be made: what a partial sum is multiplied with has to be whole, and the same in each part. */
static bool may_multiply (const tile_type *a, const tile_type *b) {
  if (a->part_axes & b->part_axes) return false;
  return !(a->part_loop && b->loops) && !(b->part_loop && a->loops);
}

static bool type_binary (const mugraph_op *op, const tile_type *a, const tile_type *b, tile_type *out) {
  int n = a->shape.n_dims > b->shape.n_dims ? a->shape.n_dims : b->shape.n_dims;
  out->part_loop = a->part_loop | b->part_loop;
  out->part_axes = a->part_axes | b->part_axes;
  switch ((mugraph_op_kind) op->kind) {
  case MUGRAPH_OP_ADD:
  case MUGRAPH_OP_SUB:
    if (a->part_loop != b->part_loop || a->part_axes != b->part_axes) return false;
    break;
  case MUGRAPH_OP_MUL:
    if (!may_multiply (a, b)) return false;
    break;
  case MUGRAPH_OP_DIV:
    if (b->part_loop || b->part_axes || !may_multiply (a, b)) return false;
    break;
  default:
    if (out->part_loop || out->part_axes) return false;
  }
  return broadcast (a, b, n, 0, out);
}

static bool type_matmul (const tile_type *a, const tile_type *b, tile_type *out) {
  int na = a->shape.n_dims, nb = b->shape.n_dims, n = na > nb ? na : nb;
  if (na < 2 || nb < 2 || a->label[na - 1] != b->label[nb - 2]) return false;
  if (!may_multiply (a, b) || !broadcast (a, b, n, 2, out)) return false;
  uint16_t inner = a->label[na - 1];
  out->label[n - 2] = a->label[na - 2];
  out->label[n - 1] = b->label[nb - 1];
  out->part_loop = a->part_loop | b->part_loop;
  out->part_axes = a->part_axes | b->part_axes;
  if (inner & TILE_LOOP) {
    if (out->part_loop) return false;
    out->part_loop = 1;
  }
  if (axis_of (inner)) {
    unsigned bit = 1u << (axis_of (inner) - 1);
    if (out->part_axes & bit) return false;
    out->part_axes |= (uint8_t) bit;
  }
  return true;
}

/* Notes what a sum or mean along a dimension leaves partial. */
static bool reduce_parts (uint16_t label, tile_type *out) {
  if (axis_of (label)) {
    unsigned bit = 1u << (axis_of (label) - 1);
    if (out->part_axes & bit) return false;
    out->part_axes |= (uint8_t) bit;
  }
  return true;
}

static bool type_reduce (const witness *w, mugraph_op *op, const tile_type *a, tile_type *out, uint8_t *width_class) {
  int d = op->dim, kind = op->kind;
  uint16_t label = a->label[d];
  bool last = d == a->shape.n_dims - 1;
  memcpy (out->label, a->label, sizeof out->label);
  out->part_loop = a->part_loop;
  out->part_axes = a->part_axes;
  if (!label) return false; /* one element: nothing to reduce */
  if (label & TILE_PARTS) {
    if (label & TILE_LOOP) return false;
    uint8_t base = label & TILE_CLASS;
    if (base ? kind != MUGRAPH_OP_SUM_TO : kind != MUGRAPH_OP_SUM && kind != MUGRAPH_OP_MEAN) return false;
    out->label[d] = base;
    *width_class = base;
    op->width = w->size[base];
    return true;
  }
  if (!w->reduced[label & TILE_CLASS]) return false;
  switch (kind) {
  case MUGRAPH_OP_SUM:
    out->label[d] = 0;
    if (label & TILE_LOOP) {
      if (last || a->part_loop) return false; /* an accumulator does that */
      out->part_loop = 1;
    }
    return reduce_parts (label, out);
  case MUGRAPH_OP_MEAN: out->label[d] = 0; return !(label & TILE_LOOP) && reduce_parts (label, out);
  case MUGRAPH_OP_SUM_TO:
    if (label & (TILE_LOOP | TILE_AXIS)) return false;
    for (int i = 0; i < w->n_narrows; i++)
      if (w->narrow[i].a == label) {
        out->label[d] = *width_class = w->narrow[i].out;
        op->width = w->size[w->narrow[i].out];
        return true;
      }
    return false;
  case MUGRAPH_OP_MAX: out->label[d] = 0; /* fall through */
  default: return !(label & (TILE_LOOP | TILE_AXIS)) && !a->part_loop && !a->part_axes;
  }
}

static bool type_accum (const witness *w, mugraph_op *op, const tile_type *a, tile_type *out, uint8_t *width_class) {
  int last = a->shape.n_dims - 1;
  if (a->after || !a->loops) return false;
  memcpy (out->label, a->label, sizeof out->label);
  out->part_axes = a->part_axes;
  for (int d = 0; d < last; d++)
    if (a->label[d] & TILE_LOOP) return false;
  uint16_t label = a->label[last];
  if (op->kind == MUGRAPH_OP_ACCUM) return a->part_loop && !(label & TILE_LOOP);
  if (a->part_loop || !(label & TILE_LOOP)) return false;
  uint8_t base = label & TILE_CLASS;
  switch ((mugraph_op_kind) op->kind) {
  case MUGRAPH_OP_ACCUM_SUM_TO:
    if (!(label & TILE_PARTS) || !base) return false;
    out->label[last] = *width_class = base;
    op->width = w->size[base];
    return true;
  case MUGRAPH_OP_ACCUM_RMS:
    out->label[last] = 0;
    return !(label & (TILE_PARTS | TILE_AXIS)) && !a->part_axes && w->reduced[base];
  default:
    if (label & TILE_PARTS ? base != 0 : !w->reduced[base]) return false;
    out->label[last] = 0;
    return reduce_parts (label, out);
  }
}

static bool type_layout (const witness *w, const mugraph_op *op, const tile_type *a, const tile_type *b,
                         tile_type *out) {
  int n = a->shape.n_dims;
  memcpy (out->label, a->label, sizeof out->label);
  out->part_loop = a->part_loop;
  out->part_axes = a->part_axes;
  if (op->kind == MUGRAPH_OP_TRANSPOSE) {
    if (n < 2 || (!a->label[n - 1] && !a->label[n - 2])) return false;
    out->label[n - 1] = a->label[n - 2];
    out->label[n - 2] = a->label[n - 1];
    return true;
  }
  if (n != b->shape.n_dims || op->dim >= n || a->part_loop != b->part_loop || a->part_axes != b->part_axes)
    return false;
  for (int d = 0; d < n; d++)
    if (d != op->dim && a->label[d] != b->label[d]) return false;
  uint16_t x = a->label[op->dim], y = b->label[op->dim];
  if ((x | y) & (TILE_AXIS | TILE_LOOP)) return false;
  for (int i = 0; i < w->n_concats; i++)
    if (w->concat[i].a == x && w->concat[i].b == y) {
      out->label[op->dim] = w->concat[i].out;
      return true;
    }
  return false;
}

/* A moment is square (x), then means of it, then their root. Nothing else reads what stands in between. */
static bool type_moment (const mugraph_op *op, bool moment, const tile_type *a, const tile_type *b, tile_type *out) {
  if (!moment) return !a->moment && !(b && b->moment);
  bool square = op->kind == MUGRAPH_OP_SQUARE, root = op->kind == MUGRAPH_OP_SQRT;
  out->moment = square ? 1 : root ? 0 : 2;
  return square ? !a->moment : root ? a->moment == 2 : a->moment != 0;
}

bool tile_of_op (const witness *w, mugraph_op *op, bool moment, const tile_type *const in[], tile_type *out,
                 uint8_t *width_class) {
  const tile_type *a = in[0], *b = in[1];
  mugraph_class klass = mugraph_op_table[op->kind].klass;
  bool parts = has (a, TILE_PARTS) || (op->n_in > 1 && has (b, TILE_PARTS));
  *out = (tile_type){.after = a->after, .loops = a->loops};
  *width_class = 0;
  if (op->n_in > 1) out->after |= b->after, out->loops |= b->loops;
  if (out->after && out->loops) return false;
  if (!type_moment (op, moment, a, op->n_in > 1 ? b : NULL, out)) return false;
  if (parts && klass != MUGRAPH_REDUCE && klass != MUGRAPH_ACCUM) return false;
  switch (klass) {
  case MUGRAPH_UNARY:
    if ((a->part_loop || a->part_axes) && op->kind != MUGRAPH_OP_NEG) return false;
    memcpy (out->label, a->label, sizeof out->label);
    out->part_loop = a->part_loop, out->part_axes = a->part_axes;
    break;
  case MUGRAPH_BINARY:
    if (!type_binary (op, a, b, out)) return false;
    break;
  case MUGRAPH_MATMUL:
    if (!type_matmul (a, b, out)) return false;
    break;
  case MUGRAPH_REDUCE:
    if (op->dim >= a->shape.n_dims || !type_reduce (w, op, a, out, width_class)) return false;
    if (parts && !(a->label[op->dim] & TILE_PARTS)) return false; /* parts are summed before all else */
    break;
  case MUGRAPH_LAYOUT:
    if (!type_layout (w, op, a, b, out)) return false;
    break;
  case MUGRAPH_ACCUM:
    if (!type_accum (w, op, a, out, width_class)) return false;
    if (parts && !(a->label[a->shape.n_dims - 1] & TILE_PARTS)) return false;
    out->after = 1, out->loops = 0, out->part_loop = 0;
    break;
  case MUGRAPH_LEAF:
  case MUGRAPH_SAVER:
  case MUGRAPH_CUSTOM: return false;
  }
  const mugraph_shape *shapes[2] = {&a->shape, op->n_in > 1 ? &b->shape : NULL};
  return mugraph_infer_op (op, shapes, &out->shape, NULL);
}

bool tile_of_tensor (const tile_config *c, const mugraph_shape *s, const uint16_t label[MUGRAPH_DIMS], unsigned whole,
                     tile_type *out) {
  unsigned used = 0;
  *out = (tile_type){.shape = *s};
  memcpy (out->label, label, sizeof out->label);
  for (int d = 0; d < s->n_dims; d++) {
    uint16_t l = label[d];
    bool parts = l & TILE_PARTS;
    int split = 0;
    for (int a = 0; a < c->n_axes && !parts; a++)
      if (l && c->axis[a] == l) split = a + 1;
    bool loop = l && (parts ? c->loop == TILE_LOOP_PARTS : c->loop == l);
    if (whole >> d & 1) {
      if (!split && !loop) return false; /* nothing is split anyway */
      continue;
    }
    if (split) {
      if (used >> split & 1) return false;
      used |= 1u << split;
      out->label[d] |= (uint16_t) (split << TILE_AXIS_SHIFT);
      out->shape.dim[d] /= WITNESS_EXTENT;
    }
    if (loop) {
      if (used & 1) return false;
      used |= 1;
      out->label[d] |= TILE_LOOP;
      out->shape.dim[d] /= WITNESS_EXTENT;
      out->loops = 1;
    }
  }
  return true;
}

bool tile_saved (const witness *w, const tile_config *c, const tile_type *t, mugraph_shape *s,
                 uint16_t label[MUGRAPH_DIMS], int8_t omap[TILE_AXES]) {
  if (t->loops || t->part_loop || (c->loop && !t->after)) return false;
  *s = t->shape;
  bool taken[MUGRAPH_DIMS] = {false};
  int parts = 0;
  for (int a = 0; a < TILE_AXES; a++) omap[a] = -1;
  for (int d = 0; d < MUGRAPH_DIMS; d++) {
    label[d] = d < s->n_dims ? t->label[d] : 0;
    if (label[d] & (TILE_PARTS | TILE_LOOP)) return false;
    int a = axis_of (label[d]) - 1;
    if (a < 0) continue;
    if (omap[a] >= 0) return false;
    omap[a] = (int8_t) d;
    taken[d] = true;
    s->dim[d] = w->size[label[d] & TILE_CLASS];
    label[d] &= TILE_CLASS;
  }
  for (int a = 0; a < c->n_axes; a++) {
    bool part = t->part_axes >> a & 1;
    if (part == (omap[a] >= 0)) return false; /* all blocks have the same, or it is both split and summed */
    if (!part) continue;
    int d = s->n_dims - 1;
    while (d >= 0 && taken[d]) d--;
    if (d < 0 || parts++) return false;
    omap[a] = (int8_t) d;
    taken[d] = true;
    label[d] |= TILE_PARTS;
    s->dim[d] *= WITNESS_EXTENT;
  }
  return true;
}
