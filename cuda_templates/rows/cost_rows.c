#include "cuda_templates/generator.h"
#include "cuda_templates/roofline.h"
#include "plan_rows.h"

/* Exchanges of all warps of a block, of a cluster through remote shared memory; what the threads compute, which nothing
   overlaps; and turns, where a block has more rows than it holds at a time. */
void cost_rows (cost_launch *l) {
  const cost_constants *c = l->constant;
  const cuda_plan *p = l->plan;
  l->latency += l->exchanges * (c->rows_warp * p->threads / 32 + (l->cluster > 1 ? c->rows_cluster : 0)) +
                c->rows_step * p->fp32_flops / (l->blocks * p->threads);
  l->latency += (l->iterations - 1) * c->rows_turn;
  l->tail = (l->iterations - 1) * c->rows_tail;
}
