#include "cuda_templates/generator.h"
#include "cuda_templates/roofline.h"
#include "plan_generic.h"

#include <math.h>

enum { STEP_K = 32 }; /* elements of a sum that one step of a matmul takes */

/* Elements of the longest sum of products of a tile. */
static double longest_contraction (const mugraph_block *b) {
  int longest = 0;
  for (int i = 0; i < b->n_ops; i++) {
    if (b->op[i].kind != MUGRAPH_OP_MATMUL) continue;
    const mugraph_shape *a = &b->op[b->op[i].in[0]].shape;
    if (a->dim[a->n_dims - 1] > longest) longest = a->dim[a->n_dims - 1];
  }
  return longest;
}

/* Steps of one block, which nothing pipelines: those of its multiplications, of each iteration one at least, and those
   that its longest sum takes one after the other. */
static double steps_of (const cost_launch *l) {
  const cuda_plan *p = l->plan;
  double per_step = 2.0 * STEP_K * p->sched.tile_m * p->sched.tile_n * (p->threads / 32.0);
  double steps = per_step > 0 ? p->mma_flops / l->blocks / per_step : 0;
  return fmax (fmax (steps, l->iterations), longest_contraction (l->block) / STEP_K);
}

void cost_generic (cost_launch *l) {
  const cost_constants *c = l->constant;
  l->flight_most = l->plan->threads * (l->plan->mma_flops > 0 ? c->generic_load : c->generic_element);
  l->latency += steps_of (l) * c->generic_step + l->iterations * roofline_reductions (l->block, true) * c->barrier;
}
