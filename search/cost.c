#include "cost.h"
#include "search.h"

#include <math.h>
#include <string.h>

/* What the device table does not hold. Times in seconds, measured on an H100 unless said otherwise. */
static const double FIRST_BYTES = 0.55e-6;  /* cold reads of 2 to 67 MB take this longer than bytes / bandwidth + launch */
static const double LOADED_LATENCY = 1.0e-6; /* of device memory near full bandwidth: 24 KB in flight an SM saturate it */
static const double L2_LATENCY = 0.6e-6;    /* of L2 under load */
static const double BARRIER = 0.08e-6;      /* a reduction over the threads of a block, its barrier included */
static const double COMBINE = 0.25e-6;      /* partial sums of the warps, through shared memory */
static const double CLUSTER = 0.5e-6;       /* two barriers of a cluster and remote shared memory between them */
static const double UNPIPELINED = 0.55e-6;  /* load, store to shared memory, barrier, multiply, barrier: latency of L2 */
static const double FIXED_SMEM = 1024;      /* shared memory that the system takes of each block */
static const double L2_SHARE = 0.8;         /* of L2 that one call may count on */
static const double SM_L2_SHARE = 2.2;      /* one SM reads L2 at 64 bytes a clock, this much more than an even share */
static const double SM_DRAM_SHARE = 1.8;    /* the same of device memory: half of the SMs do not reach its bandwidth */
static const double LOAD_BYTES = 64;        /* independent bytes that a thread loads ahead without asynchronous copies */

/* Rate of the matrix units that each generator reaches of the dense rate: mma.sync against wgmma, staging through f32. */
static const double mma_efficiency[MUGRAPH_N_BACKENDS] = {
    [MUGRAPH_BACKEND_AUTO] = 0.5,   [MUGRAPH_BACKEND_GENERIC] = 0.12, [MUGRAPH_BACKEND_STREAM] = 0.5,
    [MUGRAPH_BACKEND_CHAIN] = 0.62, [MUGRAPH_BACKEND_ROWS] = 0.5,
};
static const double PREDEFINED_MMA = 0.12; /* pre-defined matmuls go through the generic generator */

enum { MAX_THREADS_SM = 2048, MAX_BLOCKS_SM = 32, GENERIC_K = 32 };

static int occupancy_of (const mugraph_plan *p, const mugraph_device *d) {
  int warps = (p->threads + 31) / 32;
  if (warps < 1 || warps > 32) return 0;
  int regs = p->regs < 32 ? 32 : (p->regs + 7) / 8 * 8;
  int by_regs = d->regs_sm / (regs * 32 * warps), by_threads = MAX_THREADS_SM / (32 * warps);
  int by_smem = (int) (d->smem_sm / ((double) p->smem + FIXED_SMEM)), least = MAX_BLOCKS_SM;
  if (by_regs < least) least = by_regs;
  if (by_threads < least) least = by_threads;
  if (by_smem < least) least = by_smem;
  return least;
}

/* SMs that clusters can fill at once: a cluster lives in one GPC, whose SMs it rarely divides. Measured on an H100 (132 SMs)
   with one block an SM; other sizes and devices in proportion. */
static int usable_sms (const mugraph_device *d, int cluster) {
  static const struct {
    int cluster, sms;
  } fits[] = {{2, 132}, {4, 120}, {7, 102}, {8, 120}, {16, 112}};
  for (size_t i = 0; i < sizeof fits / sizeof *fits; i++)
    if (cluster <= fits[i].cluster) return d->sms * fits[i].sms / 132;
  return d->sms / 2;
}

/* The larger of two times that overlap, rounded at the corner where each waits for the other (a norm of degree 6). */
static double overlap (double a, double b) {
  double most = a > b ? a : b, least = a > b ? b : a;
  return most > 0 ? most * pow (1 + pow (least / most, 6), 1.0 / 6) : 0;
}

static double tensor_bytes (const mugraph *g, int t) {
  return (double) mugraph_volume (&g->tensor[t].shape) * mugraph_dtype_bytes (mugraph_plan_storage (g, t));
}

/* Bytes of the operator's inputs that are in L2 already. */
static double warm_bytes (const mugraph *g, const mugraph_op *op, const cost_caches *caches) {
  double warm = 0;
  for (int i = 0; i < op->n_in; i++) {
    bool again = false;
    for (int k = 0; k < i; k++) again |= op->in[k] == op->in[i];
    if (!again && caches->warm[op->in[i]]) warm += tensor_bytes (g, op->in[i]);
  }
  return warm;
}

/* Bytes moved for each byte used, and narrower loads, where the runs of consecutive bytes that blocks read do not start and
   end at sectors of 32 bytes or vectors of 16: mean over the inputs, by size. */
static double misalignment (const mugraph *g, const mugraph_op *op, const mugraph_block *b) {
  double bytes = 0, moved = 0;
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *o = &b->op[i];
    if (o->kind != MUGRAPH_OP_INPUT || !o->shape.n_dims) continue;
    int t = op->in[o->in[0]], last = o->shape.n_dims - 1;
    int64_t element = mugraph_dtype_bytes (mugraph_plan_storage (g, t)), full = g->tensor[t].shape.dim[last] * element;
    int64_t run = o->split[last].axis >= 0 ? o->shape.dim[last] * (o->split[last].loop ? b->loop : 1) * element : full;
    int64_t grain = run | full; /* both decide where runs start */
    double size = tensor_bytes (g, t);
    bytes += size;
    moved += size * (grain % 16 ? 1.3 : grain % 32 ? 1.1 : grain % 64 && run < 256 ? 1.02 : 1);
  }
  return bytes > 0 ? moved / bytes : 1;
}

/* What is left in L2: outputs and inputs, when they fit together with what they displace. */
void cost_leave (const mugraph *g, int k, const mugraph_device *d, cost_caches *caches) {
  const mugraph_op *op = &g->op[k];
  double bytes = 0;
  for (int i = 0; i < op->n_out; i++) bytes += tensor_bytes (g, op->out[i]);
  bool outputs = bytes < L2_SHARE * d->l2_bytes;
  for (int i = 0; i < op->n_in; i++) bytes += tensor_bytes (g, op->in[i]);
  bool all = bytes < L2_SHARE * d->l2_bytes;
  if (!all) memset (caches, 0, sizeof *caches);
  for (int i = 0; i < op->n_in; i++) caches->warm[op->in[i]] |= all;
  for (int i = 0; i < op->n_out; i++) caches->warm[op->out[i]] = outputs;
}

/* Barriers that the block graph itself asks for: each reduction of a tile, after or outside of the loop. */
static int reductions_of (const mugraph_block *b, bool looped) {
  int n = 0;
  for (int i = 0; i < b->n_ops; i++) {
    mugraph_class c = mugraph_op_table[b->op[i].kind].klass;
    bool row = c == MUGRAPH_REDUCE || (c == MUGRAPH_ACCUM && b->op[i].kind != MUGRAPH_OP_ACCUM);
    n += row && looped == (c == MUGRAPH_REDUCE && !b->op[i].after_loop && b->loop > 1);
  }
  return n;
}

double cost_planned (const mugraph *g, int k, const mugraph_plan *p, const mugraph_device *d, const cost_caches *caches,
                     cost_parts *parts) {
  const mugraph_op *op = &g->op[k];
  const mugraph_block *b = &g->block[op->block];
  cost_parts t = {.launch = p->sched.pdl ? d->launch_pdl : d->launch, .total = INFINITY};
  *parts = t;
  int cluster = p->cluster > 1 ? p->cluster : 1, sms = usable_sms (d, cluster);
  t.occupancy = occupancy_of (p, d);
  if (!t.occupancy || p->blocks < 1) return INFINITY;
  double blocks = (double) p->blocks, room = (double) sms * t.occupancy;
  t.waves = blocks / room;
  double busiest = ceil (blocks / sms), share = busiest * sms / blocks; /* of the busiest SM against an even share */
  /* many small blocks even out: an SM takes the next one as soon as it is free */
  double uneven = busiest <= t.occupancy ? share : 1 + (share - 1) * 0.7;
  uneven *= (double) d->sms / sms;

  bool pipelined = p->backend == MUGRAPH_BACKEND_STREAM || p->backend == MUGRAPH_BACKEND_CHAIN;
  double warm = warm_bytes (g, op, caches), dram = p->dram_read - warm, written = p->dram_write;
  if (dram < 0) dram = 0;
  /* What several blocks read comes from L2 again as long as L2 holds it; else some of it comes from device memory. */
  double again = p->l2_read - p->dram_read, held = L2_SHARE * d->l2_bytes / (p->dram_read + 1);
  if (again > 0 && held < 1) dram += again * (1 - held) * 0.25;
  if (written > L2_SHARE * d->l2_bytes) dram += written;

  double misaligned = misalignment (g, op, b);
  dram *= misaligned;
  double resident = blocks < room ? blocks : room;
  double iterations = p->iterations > 1 ? p->iterations : 1, stages = p->sched.stages > 1 ? p->sched.stages : 1;
  if (stages > iterations) stages = iterations;
  double step = p->dram_read / (blocks * iterations), flight = step * stages;
  if (!pipelined && flight > p->threads * LOAD_BYTES) flight = p->threads * LOAD_BYTES;
  flight *= resident;
  double rounds = flight > 0 ? (dram + warm) / flight : 0;
  double wait = (dram * LOADED_LATENCY + warm * L2_LATENCY) / (dram + warm + 1);
  t.dram = overlap (dram / d->dram_bw, rounds > 1 ? (rounds - 1) * wait : 0);
  t.dram = overlap (t.dram, dram / d->dram_bw * d->sms / (SM_DRAM_SHARE * (blocks < sms ? blocks : sms)));
  /* A last wave with few blocks keeps few bytes in flight; inside of one wave the count above sees it. */
  if (t.waves > 1) t.dram *= ceil (t.waves) / t.waves > 1.02 ? 1 + 0.5 * (ceil (t.waves) / t.waves - 1) : 1;
  double l2 = p->l2_read > p->dram_read ? p->l2_read : p->dram_read;
  double narrow = SM_L2_SHARE * blocks < sms ? sms / (SM_L2_SHARE * blocks) : 1; /* few SMs cannot draw all of it */
  t.l2 = (l2 * misaligned + written) / d->l2_bw * narrow;

  t.mma = p->mma_flops / (d->mma_f16 * mma_efficiency[p->backend]) * uneven;
  t.sfu = p->sfu_ops / d->sfu * uneven;
  t.fp32 = 2 * p->fp32_flops / d->fp32 * uneven; /* counted one a result; half the rate of fused multiply-adds */

  int exchanges = reductions_of (b, false);
  t.latency = FIRST_BYTES + exchanges * BARRIER;
  if (cluster > 1) t.latency += p->backend == MUGRAPH_BACKEND_ROWS ? exchanges * CLUSTER : CLUSTER;
  if (p->backend == MUGRAPH_BACKEND_STREAM) t.latency += COMBINE;
  double turns = ceil (t.waves);
  if (p->backend == MUGRAPH_BACKEND_GENERIC || p->backend == MUGRAPH_BACKEND_AUTO) {
    double per_step = 2.0 * GENERIC_K * p->sched.tile_m * p->sched.tile_n * (p->threads / 32.0);
    double steps = per_step > 0 ? p->mma_flops / blocks / per_step : 0;
    if (steps < iterations) steps = iterations;
    t.latency += turns * (steps * UNPIPELINED + iterations * reductions_of (b, true) * BARRIER);
    if (p->workspace) t.l2 += blocks * iterations * 2 * (double) p->workspace / d->l2_bw;
  } else
    t.latency += (turns - 1) * FIRST_BYTES / t.occupancy;

  /* Matrix and special-function units overlap only as far as two blocks (or warpgroups) alternate. */
  double most = t.mma > t.sfu ? t.mma : t.sfu, least = t.mma > t.sfu ? t.sfu : t.mma;
  double compute = most + 0.4 * least + 0.6 * t.fp32;
  t.total = t.launch + t.latency + overlap (overlap (t.dram, t.l2), compute);
  *parts = t;
  return t.total;
}

static double cost_predefined (const mugraph *g, const mugraph_op *op, const mugraph_device *d,
                               const cost_caches *caches, cost_parts *parts) {
  cost_parts t = {.launch = d->launch, .latency = FIRST_BYTES, .occupancy = 1, .waves = 1};
  double out = 0, in = 0;
  for (int i = 0; i < op->n_out; i++) out += tensor_bytes (g, op->out[i]);
  for (int i = 0; i < op->n_in; i++) in += tensor_bytes (g, op->in[i]);
  double warm = warm_bytes (g, op, caches), elements = (double) mugraph_volume (&g->tensor[op->out[0]].shape);
  t.dram = (in > warm ? in - warm : 0) / d->dram_bw + (out > L2_SHARE * d->l2_bytes ? out / d->dram_bw : 0);
  t.l2 = (in + out) / d->l2_bw;
  if (op->kind == MUGRAPH_OP_MATMUL) {
    const mugraph_shape *a = &g->tensor[op->in[0]].shape;
    double depth = a->dim[a->n_dims - 1];
    t.mma = 2 * elements * depth / (d->mma_f16 * PREDEFINED_MMA);
    t.latency += depth / GENERIC_K * UNPIPELINED; /* no split of the contraction */
  } else
    t.sfu = elements / d->sfu;
  t.total = t.launch + t.latency + overlap (overlap (t.dram, t.l2), t.mma + t.sfu);
  *parts = t;
  return t.total;
}

double cost_kernel (const mugraph *g, int k, const mugraph_device *d, cost_caches *caches, cost_parts *parts) {
  const mugraph_op *op = &g->op[k];
  if (op->kind == MUGRAPH_OP_CONST) return *parts = (cost_parts){0}, 0;
  double time;
  if (op->kind == MUGRAPH_OP_CUSTOM) {
    mugraph_plan plan;
    if (!mugraph_plan_kernel (g, k, d, &plan, NULL)) return *parts = (cost_parts){.total = INFINITY}, INFINITY;
    time = cost_planned (g, k, &plan, d, caches, parts);
  } else
    time = cost_predefined (g, op, d, caches, parts);
  cost_leave (g, k, d, caches);
  return time;
}

double search_cost (const mugraph *g, const mugraph_device *d) {
  cost_caches caches = {{false}};
  cost_parts parts;
  double sum = 0;
  for (int k = 0; k < g->n_ops; k++) sum += cost_kernel (g, k, d, &caches, &parts);
  return 1e6 * sum;
}
