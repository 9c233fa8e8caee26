#include "cost.h"
#include "generator.h"
#include "roofline.h"

#include <math.h>
#include <string.h>

double cost_score (double plain, double pdl) { return pdl > 0 && isfinite (pdl) ? cbrt (plain * pdl * pdl) : plain; }

/* What is left in L2: outputs and inputs, when they fit together with what they displace. */
void cost_leave (const mugraph *g, int k, const cuda_device *d, cost_caches *caches) {
  const mugraph_op *op = &g->op[k];
  double bytes = 0, usable = d->cost->l2_usable * d->l2_bytes;
  for (int i = 0; i < op->n_out; i++) bytes += roofline_tensor_bytes (g, op->out[i]);
  bool outputs = bytes < usable;
  for (int i = 0; i < op->n_in; i++) bytes += roofline_tensor_bytes (g, op->in[i]);
  bool all = bytes < usable;
  if (!all) memset (caches, 0, sizeof *caches);
  for (int i = 0; i < op->n_in; i++) caches->warm[op->in[i]] |= all;
  for (int i = 0; i < op->n_out; i++) caches->warm[op->out[i]] = outputs;
}

/* ---- one graph-defined kernel ---- */

/* The work of a block, by the plan: the bytes that it has in flight, its steps, its exchanges. */
static void count_work (cost_launch *l) {
  const cuda_plan *p = l->plan;
  l->iterations = p->iterations > 1 ? p->iterations : 1, l->stages = p->sched.stages > 1 ? p->sched.stages : 1;
  if (l->stages > l->iterations) l->stages = l->iterations;
  l->exchanges = roofline_reductions (l->block, false);
  l->moved.flight = p->dram_read / (l->blocks * l->iterations) * l->stages;
  l->moved.latency = l->constant->loaded_latency;
  l->misaligned = roofline_misalignment (l);
  l->latency = l->constant->first_bytes + l->exchanges * l->constant->barrier;
}

/* Seconds of busy units. Matrix and special-function units overlap only as far as two blocks (or warpgroups)
   alternate. */
static void use_units (cost_launch *l, cost_parts *t) {
  const cuda_plan *p = l->plan;
  const cuda_device *d = l->device;
  const cost_constants *c = l->constant;
  double rate = cost_constant_get (c, cuda_generator_of (p->backend)->mma_rate);
  t->mma = p->mma_flops / (d->mma_f16 * rate), t->sfu = p->sfu_ops / d->sfu;
  t->fp32 = 2 * p->fp32_flops / d->fp32; /* counted one a result; half the rate of fused multiply-adds */
  l->compute =
      (t->mma > t->sfu ? t->mma + c->units_apart * t->sfu : t->sfu + c->units_apart * t->mma) + c->f32_apart * t->fp32;
}

/* Bytes of the launch. What several blocks read comes from L2 again as long as L2 holds it; else some of it comes from
   device memory. */
static void move_bytes (cost_launch *l, const cost_caches *caches, cost_parts *t) {
  const cuda_plan *p = l->plan;
  const cuda_device *d = l->device;
  cost_traffic *m = &l->moved;
  double usable = l->constant->l2_usable * d->l2_bytes, again = p->l2_read - p->dram_read;
  if (again < 0) again = 0;
  m->warm = roofline_warm_bytes (l->graph, l->op, caches);
  m->dram = p->dram_read > m->warm ? p->dram_read - m->warm : 0;
  double held = usable / (p->dram_read + 1);
  if (held < 1) m->dram += again * (1 - held) * l->constant->reread_missed;
  if (p->dram_write > usable) m->dram += p->dram_write;
  m->dram *= l->misaligned;
  m->l2 = ((p->dram_read + again * l->again) * l->misaligned + p->dram_write) / l->l2_speed;
  if (p->workspace) m->l2 += l->blocks * l->iterations * 2 * (double) p->workspace;
  if (m->flight > l->flight_most) m->flight = l->flight_most;
  t->dram = m->dram / d->dram_bw, t->l2 = m->l2 / d->l2_bw;
}

/* Whether the kernel after this one, of the next call after the last, waits for its end before it lets its own
   successor begin: then there is only this one kernel at work. The planner's choice is not known before its turn. */
static bool before_waiting (const cost_launch *l) {
  const mugraph *g = l->graph;
  int k = (int) (l->op - g->op);
  do k = (k + 1) % g->n_ops;
  while (g->op[k].kind == MUGRAPH_OP_CONST);
  if (&g->op[k] == l->op) return false;
  if (g->op[k].kind != MUGRAPH_OP_CUSTOM) return true;
  const cuda_generator *next = cuda_generator_of (g->block[g->op[k].block].sched.backend);
  return next && next->waits; /* a file may ask for a generator that there is not */
}

/* Whether it waits for the end of the kernel before: one of the same call that it reads from, or because its generator
   has it so. */
static bool waits (const cost_launch *l) {
  bool wait = cuda_generator_of (l->plan->backend)->waits || before_waiting (l);
  for (int i = 0; i < l->op->n_in; i++) wait |= l->op->in[i] >= l->graph->n_inputs;
  return wait;
}

/* Seconds with programmatic dependent launch. */
static double launched_pdl (const cost_launch *l, const cost_parts *t) {
  if (l->device->arch < 90) return INFINITY;
  double alone = l->device->launch_pdl + t->plain - t->launch;
  return waits (l) ? alone : fmax (roofline_overlapping (l), alone - l->hidden + l->torn * t->dram);
}

double cost_planned (const mugraph *g, int k, const cuda_plan *p, const cuda_device *d, const cost_caches *caches,
                     cost_parts *parts) {
  const mugraph_op *op = &g->op[k];
  cost_parts t = {.launch = d->launch, .total = INFINITY, .plain = INFINITY, .pdl = INFINITY};
  cost_launch l = {.graph = g,
                   .op = op,
                   .block = &g->block[op->block],
                   .plan = p,
                   .device = d,
                   .constant = d->cost,
                   .again = 1,
                   .l2_speed = 1,
                   .flight_most = INFINITY,
                   .fill = 1,
                   .hidden = INFINITY,
                   .computing = roofline_computing};
  *parts = t;
  if (!roofline_places (&l)) return INFINITY;
  count_work (&l);
  use_units (&l, &t);
  cuda_generator_of (p->backend)->cost (&l);
  move_bytes (&l, caches, &t);
  t.occupancy = l.occupancy, t.waves = l.waves, t.latency = l.latency;
  t.plain = roofline_alone (&l);
  t.pdl = launched_pdl (&l, &t);
  t.total = cost_score (t.plain, t.pdl);
  *parts = t;
  return t.total;
}

/* ---- kernels and whole µGraphs ---- */

double cost_kernel (const mugraph *g, int k, const cuda_device *d, cost_caches *caches, cost_parts *parts) {
  const mugraph_op *op = &g->op[k];
  if (op->kind == MUGRAPH_OP_CONST) return *parts = (cost_parts){0}, 0;
  if (op->kind == MUGRAPH_OP_CUSTOM) {
    cuda_plan plan;
    if (!cuda_plan_kernel (g, k, d, &plan, NULL))
      return *parts = (cost_parts){.total = INFINITY, .plain = INFINITY, .pdl = INFINITY}, INFINITY;
    cost_planned (g, k, &plan, d, caches, parts);
  } else {
    *parts = roofline_predefined (g, op, d, caches);
    parts->total = cost_score (parts->plain, parts->pdl);
  }
  cost_leave (g, k, d, caches);
  return parts->total;
}

void cost_times (const mugraph *g, const cuda_device *d, double *plain, double *pdl) {
  cost_caches caches = {{false}};
  cost_parts parts;
  *plain = *pdl = 0;
  for (int k = 0; k < g->n_ops; k++) {
    cost_kernel (g, k, d, &caches, &parts);
    *plain += 1e6 * parts.plain, *pdl += 1e6 * parts.pdl;
  }
}

double cost_graph (const mugraph *g, const cuda_device *d) {
  double plain, pdl;
  cost_times (g, d, &plain, &pdl);
  return cost_score (plain, pdl);
}
