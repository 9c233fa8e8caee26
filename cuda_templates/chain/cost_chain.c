#include "cuda_templates/generator.h"
#include "cuda_templates/roofline.h"
#include "plan_chain.h"

#include <math.h>

/* A right operand without what costs nothing: transposes, constants that scale the first one's. */
static int peeled (const mugraph_block *b, int i, bool first) {
  for (;;) {
    const mugraph_op *o = &b->op[i];
    if (o->kind == MUGRAPH_OP_TRANSPOSE) i = o->in[0];
    else if (first && (o->kind == MUGRAPH_OP_MUL || o->kind == MUGRAPH_OP_DIV) &&
             b->op[o->in[1]].kind == MUGRAPH_OP_CONST)
      i = o->in[0];
    else if (first && o->kind == MUGRAPH_OP_MUL && b->op[o->in[0]].kind == MUGRAPH_OP_CONST) i = o->in[1];
    else return i;
  }
}

/* Rows of the first matmul's result, whether its left operand is more than an iterator or its norm, and whether a right
   operand of any is changed before it is multiplied. */
static bool matmul_operands (const mugraph_block *b, int *rows, bool *scaled) {
  bool prepared = false;
  *rows = 0;
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *o = &b->op[i];
    if (o->kind != MUGRAPH_OP_MATMUL) continue;
    bool first = !*rows;
    if (first) {
      *rows = o->shape.n_dims > 1 ? o->shape.dim[o->shape.n_dims - 2] : 1;
      *scaled = b->op[o->in[0]].kind != MUGRAPH_OP_INPUT && b->op[o->in[0]].kind != MUGRAPH_OP_RMS_NORM;
    }
    prepared |= b->op[peeled (b, o->in[1], first)].kind != MUGRAPH_OP_INPUT;
  }
  return prepared;
}

/* Of the last matmul. */
static int result_columns (const mugraph_block *b) {
  int columns = 0;
  for (int i = 0; i < b->n_ops; i++)
    if (b->op[i].kind == MUGRAPH_OP_MATMUL) columns = b->op[i].shape.dim[b->op[i].shape.n_dims - 1];
  return columns;
}

/* A block's time when `beside` of its like share an SM. Warpgroups that share the rows of a tile share the tiles, the
   others take other tiles. A step of one takes what it does alone, or as long as the units are busy with those of all
   warpgroups of the SM. */
static double chain_block (const cost_launch *l, double beside) {
  const cost_constants *c = l->constant;
  const mugraph_block *b = l->block;
  const cuda_plan *p = l->plan;
  int groups = p->sched.warps > 3 ? p->sched.warps / 4 : p->threads / 128, rows;
  bool scaled = false, prepared = matmul_operands (b, &rows, &scaled);
  int along = (rows + 63) / 64;
  double own = p->threads > 128 * groups ? c->chain_helped : 1;
  if (groups < 1) groups = 1;
  if (along > groups) along = groups;
  double tile = p->sched.tile_n > 0 ? p->sched.tile_n / 64.0 : 1;
  double share =
             l->compute * l->device->sms / (l->blocks * groups * l->iterations) * (scaled ? c->chain_row_values : 1),
         alone = c->chain_alone * share, depth = p->sched.stages * along / (double) groups;
  if (depth < (prepared ? 3.5 : 2.5) && depth < l->iterations) alone += c->chain_shallow;
  if (prepared) {
    alone += own * c->chain_prepare * sqrt (tile / along);
    share += own * c->chain_prepare_work * tile / along;
  }
  alone += own * c->chain_step;
  double step = roofline_norm (alone, share * groups * beside, c->chain_corner), columns = result_columns (b) / 64.0;
  return c->chain_fixed + columns * (c->chain_group * groups + c->chain_cluster * l->cluster) + l->iterations * step;
}

void cost_chain (cost_launch *l) {
  l->l2_speed = l->constant->tensor_copy_l2;
  l->computing = chain_block;
}
