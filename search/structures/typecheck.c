/* The rules of meaning asked about a given µGraph: see typecheck.h. */
#include "typecheck.h"
#include "canonical.h"
#include "tile.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
  const witness *w;
  const mugraph *g;
  tile_type tensor[MUGRAPH_TENSORS]; /* without splits */
  /* of the kernel at work */
  const mugraph_block *block;
  tile_config config;
  int axis[3]; /* the configuration's number of each grid axis, or -1 */
} checker;

/* Splits dimension d of a tile. */
static void split (tile_type *t, int d, uint16_t flag) {
  t->label[d] |= flag;
  t->shape.dim[d] /= WITNESS_EXTENT;
}

/* The tile of an iterator; notes in the configuration what it splits. */
static tile_type type_of_iterator (checker *c, const mugraph_op *op, const tile_type *tensor) {
  tile_type t = *tensor;
  for (int a = 0; a < 3; a++) {
    int d = op->map[a];
    if (d < 0 || c->axis[a] < 0 || !tensor->label[d]) continue;
    c->config.axis[c->axis[a]] = (uint8_t) tensor->label[d];
    split (&t, d, (uint16_t) ((c->axis[a] + 1) << TILE_AXIS_SHIFT));
  }
  int d = op->fmap;
  if (d < 0 || c->block->loop <= 1 || !tensor->label[d]) return t;
  c->config.loop = tensor->label[d] & TILE_PARTS ? TILE_LOOP_PARTS : (uint8_t) tensor->label[d];
  split (&t, d, TILE_LOOP);
  t.loops = 1;
  return t;
}

/* The rules know moments apart from other squares and means: the operator is tried as either. */
static bool type_of_op (const checker *c, const mugraph_op *op, const tile_type *const in[], tile_type *out) {
  uint8_t width_class;
  mugraph_op copy = *op;
  if (op->kind == MUGRAPH_OP_CONST) {
    *out = (tile_type){.shape = mugraph_shape_of (MUGRAPH_F32, 1, (int32_t[]){1})};
    return true;
  }
  return op->n_in <= 2 && (tile_of_op (c->w, &copy, false, in, out, &width_class) ||
                           tile_of_op (c->w, &copy, true, in, out, &width_class));
}

/* The tensor that a saver makes; false when the rules save the tile elsewhere or not at all. */
static bool type_of_saved (const checker *c, const mugraph_op *op, const tile_type *tile, tile_type *out) {
  int8_t omap[TILE_AXES];
  *out = (tile_type){.moment = tile->moment};
  if (!tile_saved (c->w, &c->config, tile, &out->shape, out->label, omap)) return false;
  for (int a = 0; a < 3; a++)
    if (c->axis[a] >= 0 && omap[c->axis[a]] != op->map[a]) return false;
  return true;
}

/* Returns the first operator of the block that is forbidden, or -1. */
static int check_block (checker *c, const mugraph_op *kernel) {
  tile_type tile[MUGRAPH_BLOCK_OPS];
  const mugraph_block *b = c->block = &c->g->block[kernel->block];
  c->config = (tile_config){.n_axes = 0};
  for (int a = 0; a < 3; a++) c->axis[a] = b->grid[a] > 1 ? c->config.n_axes++ : -1;
  for (int i = 0, saved = 0; i < b->n_ops; i++) {
    const mugraph_op *op = &b->op[i];
    const tile_type *in[MUGRAPH_FANIN] = {NULL};
    bool ok = true;
    for (int k = 0; k < op->n_in && op->kind != MUGRAPH_OP_INPUT; k++) in[k] = &tile[op->in[k]];
    if (op->kind == MUGRAPH_OP_INPUT) tile[i] = type_of_iterator (c, op, &c->tensor[kernel->in[op->in[0]]]);
    else if (op->kind == MUGRAPH_OP_OUTPUT) ok = type_of_saved (c, op, in[0], &c->tensor[kernel->out[saved++]]);
    else ok = type_of_op (c, op, in, &tile[i]);
    if (!ok) return i;
  }
  return -1;
}

static bool check_kernel (checker *c, int k, typecheck_place *place) {
  const mugraph_op *op = &c->g->op[k];
  const tile_type *in[MUGRAPH_FANIN] = {NULL};
  *place = (typecheck_place){.kernel = -1, .op = k};
  if (op->kind == MUGRAPH_OP_CUSTOM) {
    int at = check_block (c, op);
    if (at >= 0) *place = (typecheck_place){.kernel = k, .op = at};
    return at < 0;
  }
  for (int i = 0; i < op->n_in; i++) in[i] = &c->tensor[op->in[i]];
  return type_of_op (c, op, in, &c->tensor[op->out[0]]);
}

bool typecheck_graph (const witness *w, const mugraph *g, typecheck_place *place) {
  checker *c = calloc (1, sizeof *c);
  mugraph *copy = malloc (sizeof *copy); /* loops of one iteration are none */
  bool ok = true;
  if (c && copy) {
    *copy = *g;
    for (int b = 0; b < copy->n_blocks; b++)
      if (copy->block[b].loop == 1) canonical_forget_loop (&copy->block[b]);
    c->w = w, c->g = copy;
    for (int t = 0; t < g->n_inputs; t++) {
      c->tensor[t].shape = w->program.tensor[t].shape;
      for (int d = 0; d < MUGRAPH_DIMS; d++) c->tensor[t].label[d] = w->label[t][d];
    }
    for (int k = 0; k < copy->n_ops && ok; k++) ok = check_kernel (c, k, place);
  }
  free (c), free (copy);
  return ok;
}
