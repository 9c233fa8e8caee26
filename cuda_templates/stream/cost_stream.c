#include "cuda_templates/generator.h"
#include "cuda_templates/roofline.h"
#include "plan_stream.h"

#include <math.h>

enum { LINE_COLUMNS = 64 }; /* of 128 bytes */

/* Whether operator i is a matmul with a right operand from device memory. */
static bool has_weights (const mugraph_block *b, int i) {
  return b->op[i].kind == MUGRAPH_OP_MATMUL && cuda_stream_weight (b, b->op[i].in[1]) >= 0;
}

/* Whether warps of a block have other columns of its first product. */
static bool has_neighbours (const cost_launch *l) {
  const mugraph_block *b = l->block;
  int i = 0;
  while (i < b->n_ops && !has_weights (b, i)) i++;
  return i < b->n_ops && b->op[i].shape.dim[b->op[i].shape.n_dims - 1] > l->plan->sched.tile_n;
}

/* Partial sums of a block, f32, rows padded to 8: bytes. */
static double partial_bytes (const mugraph_block *b) {
  double bytes = 0;
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *o = &b->op[i];
    if (!has_weights (b, i)) continue;
    int rows = o->shape.n_dims > 1 ? o->shape.dim[o->shape.n_dims - 2] : 1;
    bytes += 4.0 * (double) mugraph_volume (&o->shape) / rows * ((rows + 7) / 8 * 8);
  }
  return bytes;
}

/* Bytes of the widest load that every row of every tile is a multiple of. */
static int vector_bytes (const cost_launch *l) {
  int64_t grain = 16;
  for (int i = 0; i < l->block->n_ops; i++) {
    const mugraph_op *o = &l->block->op[i];
    if (o->kind != MUGRAPH_OP_INPUT || o->shape.n_dims < 2) continue;
    int t = l->op->in[o->in[0]], last = o->shape.n_dims - 1;
    int64_t element = mugraph_dtype_bytes (cuda_plan_storage (l->graph, t));
    grain |= l->graph->tensor[t].shape.dim[last] * element;
    if (o->split[last].axis >= 0) grain |= o->shape.dim[last] * element;
  }
  return (int) (grain & -grain);
}

/* Warps read a tile of their own of the columns: rows of it that are no whole lines of 128 bytes leave the rest to
   others, later. */
static double short_rows (const cost_launch *l) {
  const mugraph_block *b = l->block;
  const cost_constants *c = l->constant;
  double worst = 1;
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *o = &b->op[i];
    if (o->kind != MUGRAPH_OP_MATMUL || b->op[o->in[1]].kind != MUGRAPH_OP_INPUT) continue;
    const mugraph_op *w = &b->op[o->in[1]];
    int columns = w->shape.dim[w->shape.n_dims - 1];
    if (columns > l->plan->sched.tile_n) columns = l->plan->sched.tile_n;
    int bytes = columns * mugraph_dtype_bytes (cuda_plan_storage (l->graph, l->op->in[w->in[0]]));
    double more = bytes % 128 == 0 ? 1 : bytes % 32 == 0 && bytes > 32 ? c->stream_sectors : c->stream_sector;
    if (more > worst) worst = more;
  }
  return worst;
}

/* Boxes bring whole tiles; what of them is beyond the block's columns is another's, who asks for it at another time. */
static double idle_columns (const cost_launch *l, const cuda_stream *s) {
  int columns = s->n.chunk, tile = l->plan->sched.tile_n;
  double idle = (double) ((columns + tile - 1) / tile * tile) / columns - 1;
  return 1 + l->constant->ring_idle * idle * idle;
}

/* Weights through a ring of stages in shared memory: blocks keep in step, and calls hide what their neighbours begin
   and end with unless they are crowded. */
static void cost_ring (cost_launch *l, const cuda_stream *s) {
  const cost_constants *c = l->constant;
  l->misaligned *= idle_columns (l, s);
  l->moved.latency = c->ring_latency;
  l->l2_speed = c->tensor_copy_l2;
  l->hidden = l->blocks > c->ring_crowd * l->device->sms ? 0 : c->ring_hidden;
  double torn = (l->moved.flight * l->blocks - c->ring_apart) / c->ring_torn;
  if (s->n.chunk < LINE_COLUMNS) l->torn = c->ring_rows * fmin (fmax (torn, 0), 1);
}

/* Weights into registers: partial sums of warps meet in shared memory. */
static void cost_registers (cost_launch *l) {
  const cost_constants *c = l->constant;
  l->misaligned *= short_rows (l);
  l->latency += c->stream_step * l->stages + c->stream_partial * ((double) l->plan->smem / l->plan->threads);
}

void cost_stream (cost_launch *l) {
  const cost_constants *c = l->constant;
  const cuda_plan *p = l->plan;
  cuda_stream found;
  cuda_plan_found (p, &found, sizeof found);
  if (p->iterations > p->sched.stages) l->early = c->stream_early;
  if (has_neighbours (l)) l->again = c->stream_neighbours;
  if (found.ring) cost_ring (l, &found);
  else cost_registers (l);
  /* A cluster's exchange comes before a launch looks for the end of the one before. */
  if (l->cluster > 1) l->latency += c->stream_exchange * partial_bytes (l->block);
  l->latency += c->stream_narrow * (16 / vector_bytes (l) - 1);
}
