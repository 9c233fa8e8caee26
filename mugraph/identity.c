/* When two graphs are the same: the hash of a canonical form, and exact equality. */
#include "mugraph.h"

#include <string.h>
#include <xxhash.h>

/* ---- hash ---- */

/* The canonical form of a graph is the set of values it computes: each value is hashed from its operator's attributes
   and its operands' hashes, so numbering does not enter; commutative operands are sorted; the graph is the sequence of
   its outputs' hashes. Values that nothing reads do not count. */

static uint64_t mix (uint64_t seed, uint64_t value) { return XXH3_64bits_withSeed (&value, sizeof value, seed); }

static uint64_t hash_double (uint64_t h, double v) {
  uint64_t bits;
  memcpy (&bits, &v, sizeof bits);
  return mix (h, bits);
}

/* Widths and map entries count as structure; extents do not. */
static uint64_t hash_op (const mugraph_op *op, const uint64_t in[], bool extents) {
  uint64_t h = mix (0x6d7567726170ull, op->kind);
  if (mugraph_op_has (op->kind, MUGRAPH_HAS_DIM)) h = mix (h, (uint8_t) op->dim);
  if (mugraph_op_has (op->kind, MUGRAPH_HAS_WIDTH) && extents) h = mix (h, (uint32_t) op->width);
  for (int r = 0; r < MUGRAPH_REALS; r++)
    if (mugraph_op_has (op->kind, mugraph_reals[r].attribute)) h = hash_double (h, op->c[mugraph_reals[r].index]);
  if (mugraph_op_is (op->kind, MUGRAPH_COMMUTES)) {
    h = mix (h, in[0] < in[1] ? in[0] : in[1]);
    return mix (h, in[0] < in[1] ? in[1] : in[0]);
  }
  for (int i = 0; i < op->n_in; i++) h = mix (h, in[i]);
  return h;
}

/* A grid dimension of extent 1 splits nothing: its map entries are left out. */
static uint64_t hash_map (uint64_t h, const mugraph_op *op, const int32_t grid[3]) {
  for (int g = 0; g < 3; g++) h = mix (h, grid[g] > 1 ? (uint8_t) op->map[g] : 0xff);
  return h;
}

/* Hashes what saver number k of a block graph writes, given hashes of the kernel operator's inputs. */
static void hash_block (const mugraph_block *b, const uint64_t in[], bool extents, uint64_t out[]) {
  uint64_t tile[MUGRAPH_BLOCK_OPS];
  uint64_t shape = mix (1, (b->grid[0] > 1) | (b->grid[1] > 1) << 1 | (b->grid[2] > 1) << 2 | (b->loop > 1) << 3);
  if (extents)
    shape = mix (mix (mix (mix (shape, (uint32_t) b->grid[0]), (uint32_t) b->grid[1]), (uint32_t) b->grid[2]),
                 (uint32_t) b->loop);
  int saved = 0;
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *op = &b->op[i];
    uint64_t operands[MUGRAPH_FANIN];
    for (int k = 0; k < op->n_in; k++) operands[k] = tile[op->in[k]];
    if (op->kind == MUGRAPH_OP_INPUT) {
      tile[i] = mix (hash_map (mix (shape, in[op->in[0]]), op, b->grid), b->loop > 1 ? (uint8_t) op->fmap : 0xff);
    } else {
      tile[i] = hash_op (op, operands, extents);
      if (op->kind == MUGRAPH_OP_OUTPUT) out[saved++] = hash_map (mix (shape, tile[i]), op, b->grid);
    }
  }
}

uint64_t mugraph_hash (const mugraph *g, bool extents) {
  uint64_t value[MUGRAPH_TENSORS];
  for (int t = 0; t < g->n_inputs; t++) {
    value[t] = mix (2, (uint64_t) t);
    if (extents) {
      const mugraph_shape *s = &g->tensor[t].shape;
      value[t] = mix (value[t], s->dtype);
      for (int d = 0; d < s->n_dims; d++) value[t] = mix (value[t], (uint32_t) s->dim[d]);
    }
  }
  for (int i = 0; i < g->n_ops; i++) {
    const mugraph_op *op = &g->op[i];
    uint64_t operands[MUGRAPH_FANIN], out[MUGRAPH_BLOCK_OPS];
    for (int k = 0; k < op->n_in; k++) operands[k] = value[op->in[k]];
    if (op->kind == MUGRAPH_OP_CUSTOM) hash_block (&g->block[op->block], operands, extents, out);
    else out[0] = hash_op (op, operands, extents);
    for (int k = 0; k < op->n_out; k++) value[op->out[k]] = out[k];
  }
  uint64_t h = mix (3, g->n_inputs);
  for (int k = 0; k < g->n_outputs; k++) h = mix (h, value[g->output[k]]);
  return h;
}

/* ---- equality ---- */

bool mugraph_same_attributes (const mugraph_op *a, const mugraph_op *b) {
  return a->dim == b->dim && a->width == b->width && !memcmp (a->c, b->c, sizeof a->c);
}

static bool equal_op (const mugraph_op *a, const mugraph_op *b) {
  if (a->kind != b->kind || a->n_in != b->n_in || a->n_out != b->n_out || a->block != b->block || a->fmap != b->fmap ||
      !mugraph_same_attributes (a, b) || memcmp (a->map, b->map, sizeof a->map) || memcmp (a->out, b->out, a->n_out))
    return false;
  int n = a->kind == MUGRAPH_OP_INPUT ? 1 : a->n_in;
  return !memcmp (a->in, b->in, (size_t) n) && a->after_loop == b->after_loop &&
         mugraph_same_shape (&a->shape, &b->shape) && a->shape.dtype == b->shape.dtype;
}

static bool equal_block (const mugraph_block *a, const mugraph_block *b) {
  if (memcmp (a->grid, b->grid, sizeof a->grid) || a->loop != b->loop || a->n_ops != b->n_ops ||
      memcmp (&a->sched, &b->sched, sizeof a->sched))
    return false;
  for (int i = 0; i < a->n_ops; i++)
    if (!equal_op (&a->op[i], &b->op[i])) return false;
  return true;
}

bool mugraph_equal (const mugraph *a, const mugraph *b) {
  if (a->n_tensors != b->n_tensors || a->n_inputs != b->n_inputs || a->n_outputs != b->n_outputs ||
      a->n_ops != b->n_ops || a->n_blocks != b->n_blocks || memcmp (a->output, b->output, a->n_outputs))
    return false;
  for (int k = 0; k < a->n_outputs; k++)
    if (strcmp (a->output_name[k], b->output_name[k])) return false;
  for (int t = 0; t < a->n_tensors; t++)
    if (!mugraph_same_shape (&a->tensor[t].shape, &b->tensor[t].shape) ||
        a->tensor[t].shape.dtype != b->tensor[t].shape.dtype || strcmp (a->tensor[t].name, b->tensor[t].name))
      return false;
  for (int i = 0; i < a->n_ops; i++)
    if (!equal_op (&a->op[i], &b->op[i])) return false;
  for (int i = 0; i < a->n_blocks; i++)
    if (!equal_block (&a->block[i], &b->block[i])) return false;
  return true;
}
