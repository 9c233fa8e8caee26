#include "roofline.h"

#include <math.h>

enum { MAX_THREADS_SM = 2048, MAX_BLOCKS_SM = 32, MAX_REGISTERS = 255, GENERIC_K = 32 };

double roofline_norm (double a, double b, double degree) {
  double most = a > b ? a : b, least = a > b ? b : a;
  return most > 0 ? most * pow (1 + pow (least / most, degree), 1 / degree) : 0;
}

double roofline_overlap (const cost_constants *c, double a, double b) {
  return roofline_norm (a, b, c->overlap_degree);
}

/* ---- places ---- */

/* Blocks of one SM at a time. */
static int occupancy_of (const cuda_plan *p, const cuda_device *d) {
  int warps = (p->threads + 31) / 32;
  if (warps < 1 || warps > 32) return 0;
  int regs = p->compiled_regs, most = d->regs_sm / (256 * warps) * 8;
  if (most > MAX_REGISTERS) most = MAX_REGISTERS;
  regs = regs < 32 ? 32 : (regs + 7) / 8 * 8;
  if (regs > most && p->regs <= most) regs = most; /* it spills a few */
  int by_regs = d->regs_sm / (regs * 32 * warps), by_threads = MAX_THREADS_SM / (32 * warps);
  int by_smem = (int) (d->smem_sm / ((double) p->smem + d->cost->system_smem)), least = MAX_BLOCKS_SM;
  if (by_regs < least) least = by_regs;
  if (by_threads < least) least = by_threads;
  if (by_smem < least) least = by_smem;
  return least;
}

/* Clusters that run at once with `occupancy` blocks an SM. The blocks of one are on SMs of one GPC, and which SMs of a
   GPC work differs from chip to chip: these groups of SMs explain what clusters of 2 to 16 blocks an H100 of 132 SMs
   was seen to take. */
static int clusters_at_once (const cuda_device *d, int cluster, int occupancy) {
  static const int group[] = {18, 18, 16, 16, 16, 16, 16, 8, 2, 2, 2, 2};
  int n = 0;
  if (cluster < 2) return d->sms * occupancy;
  for (size_t i = 0; i < sizeof group / sizeof *group; i++) {
    int sms = group[i] * d->sms / 132;
    if (sms >= cluster) n += sms * occupancy / cluster;
  }
  return n;
}

bool roofline_places (cost_launch *l) {
  l->cluster = l->plan->cluster > 1 ? l->plan->cluster : 1;
  l->occupancy = occupancy_of (l->plan, l->device);
  if (!l->occupancy || l->plan->blocks < 1) return false;
  l->blocks = (double) l->plan->blocks;
  l->sms = l->cluster * clusters_at_once (l->device, l->cluster, 1);
  l->room = l->cluster * clusters_at_once (l->device, l->cluster, l->occupancy);
  l->waves = l->blocks / l->room;
  return l->sms >= 1;
}

/* ---- bytes ---- */

double roofline_tensor_bytes (const mugraph *g, int t) {
  return (double) mugraph_volume (&g->tensor[t].shape) * mugraph_dtype_bytes (cuda_plan_storage (g, t));
}

double roofline_warm_bytes (const mugraph *g, const mugraph_op *op, const cost_caches *caches) {
  double warm = 0;
  for (int i = 0; i < op->n_in; i++) {
    bool again = false;
    for (int k = 0; k < i; k++) again |= op->in[k] == op->in[i];
    if (!again && caches->warm[op->in[i]]) warm += roofline_tensor_bytes (g, op->in[i]);
  }
  return warm;
}

double roofline_misalignment (const cost_launch *l) {
  const mugraph_block *b = l->block;
  const cost_constants *c = l->constant;
  double bytes = 0, moved = 0;
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *o = &b->op[i];
    if (o->kind != MUGRAPH_OP_INPUT || !o->shape.n_dims) continue;
    int t = l->op->in[o->in[0]], last = o->shape.n_dims - 1;
    int64_t element = mugraph_dtype_bytes (cuda_plan_storage (l->graph, t)),
            full = l->graph->tensor[t].shape.dim[last] * element;
    int64_t run = o->split[last].axis >= 0 ? o->shape.dim[last] * (o->split[last].loop ? b->loop : 1) * element : full;
    int64_t grain = run | full; /* both decide where runs start */
    double size = roofline_tensor_bytes (l->graph, t);
    bytes += size;
    moved += size * (grain % 16                ? c->vectors_cut
                     : grain % 32              ? c->sectors_cut
                     : grain % 64 && run < 256 ? c->lines_cut
                                               : 1);
  }
  return bytes > 0 ? moved / bytes : 1;
}

int roofline_reductions (const mugraph_block *b, bool looped) {
  int n = 0;
  for (int i = 0; i < b->n_ops; i++) {
    mugraph_class c = mugraph_op_table[b->op[i].kind].klass;
    bool row = c == MUGRAPH_REDUCE || (c == MUGRAPH_ACCUM && b->op[i].kind != MUGRAPH_OP_ACCUM);
    n += row && looped == (c == MUGRAPH_REDUCE && !b->op[i].after_loop && b->loop > 1);
  }
  return n;
}

/* ---- time ---- */

/* Seconds of what all SMs share, for a part of the launch. */
static double shared_time (const cost_launch *l, double part) {
  return part * roofline_overlap (l->constant, l->moved.dram / l->device->dram_bw, l->moved.l2 / l->device->l2_bw);
}

/* Seconds that one block moves bytes with `beside` blocks on its SM and the memory to themselves: the bytes that it has
   in flight (Little's law), what an SM draws. */
static double moving (const cost_launch *l, double beside) {
  const cost_traffic *m = &l->moved;
  const cost_constants *c = l->constant;
  double bytes = (m->dram + m->warm) / l->blocks, rounds = m->flight > 0 ? bytes / m->flight : 0;
  double wait = (m->dram * m->latency + m->warm * c->l2_latency) / (m->dram + m->warm + 1);
  double drawn = beside * l->device->sms / (l->blocks * l->device->l2_bw) *
                 roofline_overlap (c, m->dram / c->sm_dram, m->l2 / c->sm_l2);
  return roofline_overlap (c, rounds > 1 ? (rounds - 1) * wait : 0, drawn);
}

double roofline_computing (const cost_launch *l, double beside) {
  return beside * l->compute * l->device->sms / l->blocks;
}

/* One block's time with `beside` blocks on its SM. */
static double pace (const cost_launch *l, double beside) {
  return roofline_norm (moving (l, beside), l->computing (l, beside), l->constant->corner_degree);
}

/* Full waves, then the rest, whose blocks have the SMs to themselves. All start at once: what they ask for ahead stands
   in the way of what each needs first, where they do not need all of it first. */
double roofline_alone (const cost_launch *l) {
  const cost_traffic *m = &l->moved;
  double degree = l->constant->corner_degree, full = floor (l->waves), rest = l->blocks - full * l->room,
         beside = ceil (rest / l->sms), time = l->device->launch + l->latency;
  if (beside > l->occupancy) beside = l->occupancy;
  time += full * roofline_norm (pace (l, l->occupancy), shared_time (l, l->room / l->blocks), degree);
  if (rest > 0) time += roofline_norm (pace (l, beside), shared_time (l, rest / l->blocks), degree);
  if (l->waves > 1) time += (ceil (l->waves) - 1) * l->latency / l->occupancy;
  double ahead = m->flight * (l->blocks < l->room ? l->blocks : l->room);
  return time + l->early * (ahead < m->dram ? ahead : m->dram) / l->device->dram_bw;
}

double roofline_overlapping (const cost_launch *l) {
  const cost_constants *c = l->constant;
  double block = (l->latency + pace (l, l->occupancy)) * l->fill,
         started = l->device->launch_pdl + c->pdl_tail + l->tail + c->pdl_shown * block;
  started += c->pdl_warp * l->blocks * l->plan->threads / 32;
  double shared = roofline_overlap (c, shared_time (l, 1), l->compute * l->fill);
  return roofline_overlap (c, roofline_overlap (c, started, shared), c->pdl_place * block * l->waves);
}

/* ---- pre-defined kernels ---- */

cost_parts roofline_predefined (const mugraph *g, const mugraph_op *op, const cuda_device *d,
                                const cost_caches *caches) {
  const cost_constants *c = d->cost;
  cost_parts t = {.launch = d->launch, .occupancy = 1, .waves = 1};
  t.latency = 2 * c->first_bytes; /* two: it waits for its inputs */
  double out = 0, in = 0;
  for (int i = 0; i < op->n_out; i++) out += roofline_tensor_bytes (g, op->out[i]);
  for (int i = 0; i < op->n_in; i++) in += roofline_tensor_bytes (g, op->in[i]);
  double warm = roofline_warm_bytes (g, op, caches), elements = (double) mugraph_volume (&g->tensor[op->out[0]].shape);
  t.dram = (in > warm ? in - warm : 0) / d->dram_bw + (out > c->l2_usable * d->l2_bytes ? out / d->dram_bw : 0);
  t.l2 = (in + out) / d->l2_bw;
  if (op->kind == MUGRAPH_OP_MATMUL) {
    const mugraph_shape *a = &g->tensor[op->in[0]].shape;
    double depth = a->dim[a->n_dims - 1];
    t.mma = 2 * elements * depth / (d->mma_f16 * c->mma_rate_predefined);
    t.latency += depth / GENERIC_K * c->generic_step; /* no split of the contraction */
  } else t.sfu = elements / d->sfu;
  t.plain = t.launch + t.latency + roofline_overlap (c, roofline_overlap (c, t.dram, t.l2), t.mma + t.sfu);
  t.pdl = d->arch >= 90 ? t.plain - t.launch + d->launch_pdl : INFINITY;
  return t;
}
