#include "cuda_templates/generator.h"
#include "cuda_templates/roofline.h"
#include "plan_tiled.h"

#include <math.h>

/* Blocks walk over the tiles of the grid in rounds; the last round may be partial. Shared memory may be busier than the
   matrix units. */
void cost_tiled (cost_launch *l) {
  const cost_constants *c = l->constant;
  const mugraph_block *b = l->block;
  double tiles = (double) b->grid[0] * b->grid[1] * b->grid[2], rounds = ceil (tiles / l->blocks),
         cluster = l->cluster > 1 ? c->tiled_cluster : 0;
  l->l2_speed = c->tensor_copy_l2 * c->tiled_l2;
  l->latency += c->tiled_fill + c->tiled_tile * rounds + l->plan->dram_write / l->device->dram_bw + cluster;
  l->tail = c->tiled_tail + cluster;
  l->fill = tiles / (rounds * l->blocks);
  l->compute = roofline_overlap (c, l->compute, l->plan->smem_bytes / (c->tiled_smem * l->device->sms));
}
