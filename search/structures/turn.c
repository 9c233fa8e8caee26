/* Where transposes may stand: see turn.h. */
#include "turn.h"

static bool is_scalar (const tile_type *t) {
  for (int d = 0; d < t->shape.n_dims; d++)
    if (t->label[d]) return false;
  return true;
}

bool turn_of_op (mugraph_op_kind kind, int n_in, const tile_type *const type[], const uint8_t in[], bool part_loop,
                 bool all, uint8_t *out) {
  bool used = false, top = true, one_place = !all;
  for (int k = 0; k < n_in; k++) {
    used |= in[k] & TURN_USED;
    top &= is_scalar (type[k]) || in[k] & TURN_TOP;
  }
  *out = used ? TURN_USED : 0;
  switch (mugraph_op_table[kind].klass) {
  case MUGRAPH_UNARY:
  case MUGRAPH_BINARY:
    if (used && top) *out |= TURN_TOP;
    return true;
  case MUGRAPH_MATMUL:
    if (!used && !part_loop) *out |= TURN_MAY;
    return !(one_place && used && top);
  case MUGRAPH_ACCUM:
    if (!used || kind != MUGRAPH_OP_ACCUM) *out |= TURN_MAY;
    return true;
  case MUGRAPH_LAYOUT:
    if (kind != MUGRAPH_OP_TRANSPOSE) return true;
    *out = (uint8_t) (TURN_USED | (used ? 0 : TURN_TOP));
    return !one_place || in[0] & TURN_MAY;
  default: return true;
  }
}
