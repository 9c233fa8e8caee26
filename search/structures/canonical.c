/* Canonical forms of structures: see canonical.h. */
#include "canonical.h"

#include <stdlib.h>

static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

void canonical_forget_loop (mugraph_block *b) {
  for (int i = 0; i < b->n_ops; i++) {
    mugraph_op *o = &b->op[i];
    for (int k = 0; k < o->n_in && o->kind != MUGRAPH_OP_INPUT; k++)
      while (b->op[o->in[k]].kind == MUGRAPH_OP_ACCUM) o->in[k] = b->op[o->in[k]].in[0];
    o->fmap = -1;
    if (o->kind == MUGRAPH_OP_ACCUM_SUM || o->kind == MUGRAPH_OP_ACCUM_MEAN) {
      o->dim = (int8_t) (b->op[o->in[0]].shape.n_dims - 1);
      o->kind = o->kind == MUGRAPH_OP_ACCUM_SUM ? MUGRAPH_OP_SUM : MUGRAPH_OP_MEAN;
    }
    if (o->kind == MUGRAPH_OP_ACCUM_SUM_TO) o->kind = MUGRAPH_OP_SUM_TO;
  }
  b->loop = 1;
}

static void permute_axes (mugraph_block *b, const int order[3]) {
  const mugraph_block was = *b;
  for (int a = 0; a < 3; a++) {
    b->grid[a] = was.grid[order[a]];
    for (int i = 0; i < b->n_ops; i++) b->op[i].map[a] = was.op[i].map[order[a]];
  }
}

/* The least hash over the orders of the axes of the blocks from this one on. */
static uint64_t least_hash (mugraph *g, int block) {
  if (block == g->n_blocks) return mugraph_hash (g, false);
  uint64_t least = UINT64_MAX;
  const mugraph_block was = g->block[block];
  for (int o = 0; o < 6; o++) {
    permute_axes (&g->block[block], orders[o]);
    uint64_t h = least_hash (g, block + 1);
    if (h < least) least = h;
    g->block[block] = was;
  }
  return least;
}

uint64_t canonical_hash (const mugraph *g, bool loops) {
  mugraph *copy = malloc (sizeof *copy);
  if (!copy) return 0;
  *copy = *g;
  for (int b = 0; b < copy->n_blocks; b++)
    if (!loops || copy->block[b].loop == 1) canonical_forget_loop (&copy->block[b]);
  uint64_t hash = least_hash (copy, 0);
  free (copy);
  return hash;
}

/* Sets the axes (bits 0 to 2) and the loop (bit 3) of a block to extent 1. False when one of them has it already. */
static bool narrow (mugraph_block *b, int mask) {
  for (int a = 0; a < 3; a++)
    if (mask >> a & 1) {
      if (b->grid[a] <= 1) return false;
      b->grid[a] = 1;
    }
  if (mask >> 3) {
    if (b->loop <= 1) return false;
    b->loop = 1;
  }
  return true;
}

static bool each (const mugraph *g, int block, canonical_visit visit, void *user) {
  if (block == g->n_blocks) return visit (user, g);
  mugraph *copy = malloc (sizeof *copy);
  bool found = false;
  for (int mask = 0; copy && mask < 16 && !found; mask++) {
    *copy = *g;
    if (narrow (&copy->block[block], mask)) found = each (copy, block + 1, visit, user);
  }
  free (copy);
  return found;
}

bool canonical_each_schedule (const mugraph *structure, canonical_visit visit, void *user) {
  return each (structure, 0, visit, user);
}
