#include "plan.h"

const char *cuda_copy_text (cuda_copy c) {
  static const char *const text[] = {[CUDA_COPY_NONE] = "nothing",
                                     [CUDA_COPY_LOADS] = "loads",
                                     [CUDA_COPY_ASYNC] = "cp.async",
                                     [CUDA_COPY_TENSOR] = "TMA and mbarrier",
                                     [CUDA_COPY_MULTICAST] = "TMA multicast in the cluster and mbarrier"};
  return (size_t) c < sizeof text / sizeof *text ? text[c] : "unknown";
}

mugraph_dtype cuda_plan_storage (const mugraph *g, int t) {
  if (t < g->n_inputs) return (mugraph_dtype) g->tensor[t].shape.dtype;
  for (int i = 0; i < g->n_outputs; i++)
    if (g->output[i] == t) return (mugraph_dtype) g->tensor[t].shape.dtype;
  return MUGRAPH_F32;
}

int cuda_plan_splits (const mugraph *g, int t) {
  for (int k = 0; k < g->n_ops; k++) {
    const mugraph_op *o = &g->op[k];
    if (o->kind != MUGRAPH_OP_CUSTOM) continue;
    const mugraph_block *b = &g->block[o->block];
    for (int i = 0, saver = 0; i < b->n_ops; i++) {
      if (b->op[i].kind != MUGRAPH_OP_OUTPUT) continue;
      if (o->out[saver++] != t) continue;
      for (int axis = 0; axis < 3; axis++)
        if (b->grid[axis] > 1 && b->op[i].map[axis] == g->tensor[t].shape.n_dims - 1) return b->grid[axis];
      return 1;
    }
  }
  return 0;
}

int cuda_plan_idle_axis (const mugraph_block *b) {
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *o = &b->op[i];
    if (o->kind != MUGRAPH_OP_INPUT) continue;
    for (int d = 0; d < o->shape.n_dims - 2; d++) {
      const mugraph_split *split = &o->split[d];
      if (split->full && split->axis >= 0 && split->full <= (b->grid[split->axis] - 1) * o->shape.dim[d])
        return split->axis;
    }
  }
  return -1;
}
