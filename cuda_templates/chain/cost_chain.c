#include "cuda_templates/generator.h"
#include "cuda_templates/roofline.h"
#include "plan_chain.h"

#include <math.h>

/* Whether values that are computed for it, other than a norm, scale the rows of the left operand. */
static bool is_scaled (const mugraph_block *b, const cuda_chain *c) {
  int left = b->op[b->op[c->first].in[0]].kind;
  return left != MUGRAPH_OP_INPUT && left != MUGRAPH_OP_RMS_NORM;
}

/* Whether a right operand is changed in shared memory before it is multiplied. */
static bool is_prepared (const mugraph_block *b, const cuda_chain *c) {
  return b->op[c->b1_top].kind != MUGRAPH_OP_INPUT || b->op[c->b2_top].kind != MUGRAPH_OP_INPUT;
}

/* A block's time when `beside` of its like share an SM. Warpgroups that share the rows of a tile share the tiles, the
   others take other tiles. A step of one takes what it does alone, or as long as the units are busy with those of all
   warpgroups of the SM. */
static double chain_block (const cost_launch *l, double beside) {
  const cost_constants *c = l->constant;
  const cuda_plan *p = l->plan;
  cuda_chain found;
  cuda_plan_found (p, &found, sizeof found);
  bool prepared = is_prepared (l->block, &found);
  int groups = p->sched.warps / 4, along = found.wm < groups ? found.wm : groups;
  double own = p->threads > 128 * groups ? c->chain_helped : 1, tile = p->sched.tile_n / 64.0;
  double share = l->compute * l->device->sms / (l->blocks * groups * l->iterations) *
                 (is_scaled (l->block, &found) ? c->chain_row_values : 1);
  double alone = c->chain_alone * share, depth = p->sched.stages * along / (double) groups;
  if (depth < (prepared ? 3.5 : 2.5) && depth < l->iterations) alone += c->chain_shallow;
  if (prepared) {
    alone += own * c->chain_prepare * sqrt (tile / along);
    share += own * c->chain_prepare_work * tile / along;
  }
  alone += own * c->chain_step;
  double step = roofline_norm (alone, share * groups * beside, c->chain_corner), columns = found.dv / 64.0;
  return c->chain_fixed + columns * (c->chain_group * groups + c->chain_cluster * l->cluster) + l->iterations * step;
}

void cost_chain (cost_launch *l) {
  l->l2_speed = l->constant->tensor_copy_l2;
  l->computing = chain_block;
}
