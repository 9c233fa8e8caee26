#include "plan.h"
#include "cost_constants.h"

#include <string.h>

const cuda_device cuda_devices[] = {
#define DEVICE(name, match, arch, sms, smem, smem_sm, regs, dram, l2, l2_bytes, mma, fp32, sfu, launch, pdl)           \
  {#name, match,    arch, sms,  smem, smem_sm, regs, dram,                                                             \
   l2,    l2_bytes, mma,  fp32, sfu,  launch,  pdl,  &cost_constants_##name},
#include "device.def"
#undef DEVICE
};
const int cuda_n_devices = sizeof cuda_devices / sizeof *cuda_devices;

const cuda_device *cuda_device_find (const char *name) {
  for (int i = 0; i < cuda_n_devices; i++)
    if (!strcmp (name, cuda_devices[i].name) || strstr (name, cuda_devices[i].match)) return &cuda_devices[i];
  return NULL;
}

typedef bool (*planner) (const mugraph *, int, const cuda_device *, cuda_plan *, mugraph_error *);

static const struct {
  const char *text;
  planner plan;
} backends[CUDA_N_GENERATORS] = {
    [CUDA_GENERATOR_AUTO] = {"auto", NULL},
    [CUDA_GENERATOR_GENERIC] = {"generic", cuda_plan_generic},
    [CUDA_GENERATOR_STREAM] = {"stream", cuda_plan_stream},
    [CUDA_GENERATOR_CHAIN] = {"chain", cuda_plan_chain},
    [CUDA_GENERATOR_ROWS] = {"rows", cuda_plan_rows},
    [CUDA_GENERATOR_TILED] = {"tiled", cuda_plan_tiled},
};

const char *cuda_generator_text (cuda_generator b) { return b < CUDA_N_GENERATORS ? backends[b].text : "unknown"; }

const char *cuda_copy_text (cuda_copy c) {
  static const char *const text[] = {[CUDA_COPY_NONE] = "nothing",
                                     [CUDA_COPY_LOADS] = "loads",
                                     [CUDA_COPY_ASYNC] = "cp.async",
                                     [CUDA_COPY_TENSOR] = "TMA and mbarrier",
                                     [CUDA_COPY_MULTICAST] = "TMA multicast in the cluster and mbarrier"};
  return (size_t) c < sizeof text / sizeof *text ? text[c] : "unknown";
}

static bool plan_with (cuda_generator b, const mugraph *g, int k, const cuda_device *d, cuda_plan *p,
                       mugraph_error *e) {
  memset (p, 0, sizeof *p);
  if (!backends[b].plan (g, k, d, p, e)) return false;
  p->backend = b;
  p->sched.backend = b;
  if (!p->compiled_regs) p->compiled_regs = p->regs;
  if (b != CUDA_GENERATOR_STREAM) p->sched.copy = 0; /* not of their plans: who asks for it gets what others get */
  return true;
}

bool cuda_plan_kernel (const mugraph *g, int k, const cuda_device *d, cuda_plan *p, mugraph_error *e) {
  static const cuda_generator order[] = {CUDA_GENERATOR_STREAM, CUDA_GENERATOR_CHAIN, CUDA_GENERATOR_ROWS,
                                         CUDA_GENERATOR_TILED, CUDA_GENERATOR_GENERIC};
  if (k < 0 || k >= g->n_ops || g->op[k].kind != MUGRAPH_OP_CUSTOM)
    return mugraph_fail (e, "kernel operator %d is not a graph-defined kernel: nothing to plan", k);
  int wanted = g->block[g->op[k].block].sched.backend;
  if (wanted >= CUDA_N_GENERATORS)
    return mugraph_fail (e, "kernel operator %d: backend %d is unknown (0 to %d)", k, wanted, CUDA_N_GENERATORS - 1);
  if (wanted != CUDA_GENERATOR_AUTO) return plan_with ((cuda_generator) wanted, g, k, d, p, e);
  for (size_t i = 0; i < sizeof order / sizeof *order; i++)
    if (plan_with (order[i], g, k, d, p, e)) return true;
  return false; /* the reason is generic's, which is tried last */
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
