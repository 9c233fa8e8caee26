#include "plan.h"

#include <string.h>

const mugraph_device mugraph_devices[] = {
#define DEVICE(name, match, arch, sms, smem, smem_sm, regs, dram, l2, l2_bytes, mma, fp32, sfu, launch, pdl)            \
  {#name, match, arch, sms, smem, smem_sm, regs, dram, l2, l2_bytes, mma, fp32, sfu, launch, pdl},
#include "device.def"
#undef DEVICE
};
const int mugraph_n_devices = sizeof mugraph_devices / sizeof *mugraph_devices;

const mugraph_device *mugraph_device_find (const char *name) {
  for (int i = 0; i < mugraph_n_devices; i++)
    if (!strcmp (name, mugraph_devices[i].name) || strstr (name, mugraph_devices[i].match)) return &mugraph_devices[i];
  return NULL;
}

typedef bool (*planner) (const mugraph *, int, const mugraph_device *, mugraph_plan *, mugraph_error *);

static const struct {
  const char *text;
  planner plan;
} backends[MUGRAPH_N_BACKENDS] = {
  [MUGRAPH_BACKEND_AUTO] = {"auto", NULL},
  [MUGRAPH_BACKEND_GENERIC] = {"generic", mugraph_plan_generic},
  [MUGRAPH_BACKEND_STREAM] = {"stream", mugraph_plan_stream},
  [MUGRAPH_BACKEND_CHAIN] = {"chain", mugraph_plan_chain},
  [MUGRAPH_BACKEND_ROWS] = {"rows", mugraph_plan_rows},
  [MUGRAPH_BACKEND_TILED] = {"tiled", mugraph_plan_tiled},
};

const char *mugraph_backend_text (mugraph_backend b) {
  return b < MUGRAPH_N_BACKENDS ? backends[b].text : "unknown";
}

const char *mugraph_copy_text (mugraph_copy c) {
  static const char *const text[] = {
    [MUGRAPH_COPY_NONE] = "nothing", [MUGRAPH_COPY_LOADS] = "loads", [MUGRAPH_COPY_ASYNC] = "cp.async",
    [MUGRAPH_COPY_TENSOR] = "TMA and mbarrier", [MUGRAPH_COPY_MULTICAST] = "TMA multicast in the cluster and mbarrier"};
  return (size_t) c < sizeof text / sizeof *text ? text[c] : "unknown";
}

static bool plan_with (mugraph_backend b, const mugraph *g, int k, const mugraph_device *d, mugraph_plan *p,
                       mugraph_error *e) {
  memset (p, 0, sizeof *p);
  if (!backends[b].plan (g, k, d, p, e)) return false;
  p->backend = b;
  p->sched.backend = b;
  if (b != MUGRAPH_BACKEND_STREAM) p->sched.copy = 0; /* not of their plans: who asks for it gets what others get */
  return true;
}

bool mugraph_plan_kernel (const mugraph *g, int k, const mugraph_device *d, mugraph_plan *p, mugraph_error *e) {
  static const mugraph_backend order[] = {MUGRAPH_BACKEND_STREAM, MUGRAPH_BACKEND_CHAIN, MUGRAPH_BACKEND_ROWS,
                                          MUGRAPH_BACKEND_TILED, MUGRAPH_BACKEND_GENERIC};
  if (k < 0 || k >= g->n_ops || g->op[k].kind != MUGRAPH_OP_CUSTOM)
    return mugraph_fail (e, "kernel operator %d is not a graph-defined kernel: nothing to plan", k);
  int wanted = g->block[g->op[k].block].sched.backend;
  if (wanted >= MUGRAPH_N_BACKENDS)
    return mugraph_fail (e, "kernel operator %d: backend %d is unknown (0 to %d)", k, wanted, MUGRAPH_N_BACKENDS - 1);
  if (wanted != MUGRAPH_BACKEND_AUTO) return plan_with ((mugraph_backend) wanted, g, k, d, p, e);
  for (size_t i = 0; i < sizeof order / sizeof *order; i++)
    if (plan_with (order[i], g, k, d, p, e)) return true;
  return false; /* the reason is generic's, which is tried last */
}

mugraph_dtype mugraph_plan_storage (const mugraph *g, int t) {
  if (t < g->n_inputs) return (mugraph_dtype) g->tensor[t].shape.dtype;
  for (int i = 0; i < g->n_outputs; i++)
    if (g->output[i] == t) return (mugraph_dtype) g->tensor[t].shape.dtype;
  return MUGRAPH_F32;
}

int mugraph_plan_splits (const mugraph *g, int t) {
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
