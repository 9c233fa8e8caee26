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
static const double ROWS_TURN = 1.1e-6;     /* whole rows in registers: the next rows of a block, loaded when the last are done */
static const double UNPIPELINED = 0.55e-6;  /* load, store to shared memory, barrier, multiply, barrier: latency of L2 */
static const double FIXED_SMEM = 1024;      /* shared memory that the system takes of each block */
static const double L2_SHARE = 0.8;         /* of L2 that one call may count on */
static const double TENSOR_L2 = 1.25;       /* tensor copies read L2 this much faster than loads do */
static const double SM_L2_SHARE = 2.2;      /* one SM reads L2 at 64 bytes a clock, this much more than an even share */
static const double SM_DRAM_SHARE = 1.8;    /* the same of device memory: half of the SMs do not reach its bandwidth */
static const double BEST_FLIGHT = 96e3;     /* bytes in flight an SM: fewer do not hide the latency, more queue up */
static const double PDL_TAIL = 0.35e-6;     /* with pdl, from the end of the kernel before until its successor's is seen */
static const double PDL_BLOCK = 6e-9, PDL_WARP = 0.5e-9; /* starting one beside another kernel's */
static const double PDL_CLUSTER = 0.8e-6;   /* where blocks form clusters */
static const double PDL_SHARE = 0.07;       /* of a block's time that shows even where calls overlap well */
static const double PDL_PLACE = 0.93;       /* of a block's time it holds its place against the next call */
static const double PDL_ALONE = 1.15;       /* where only one fits an SM and SMs stay empty: they are taken out of turn */
static const double LOAD_BYTES = 64;        /* independent bytes that a thread loads ahead without asynchronous copies */

/* Rate of the matrix units that each generator reaches of the dense rate: mma.sync against wgmma, staging through f32. */
static const double mma_efficiency[MUGRAPH_N_BACKENDS] = {
    [MUGRAPH_BACKEND_AUTO] = 0.5,   [MUGRAPH_BACKEND_GENERIC] = 0.12, [MUGRAPH_BACKEND_STREAM] = 0.5,
    [MUGRAPH_BACKEND_CHAIN] = 0.85, [MUGRAPH_BACKEND_ROWS] = 0.5,
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

/* The same where the generator has warps read a tile of their own of the columns: rows of it that are no whole lines of 128
   bytes leave the rest to others, later. */
static double short_rows (const mugraph *g, const mugraph_op *op, const mugraph_block *b, const mugraph_plan *p) {
  if (p->backend != MUGRAPH_BACKEND_STREAM || p->sched.tile_n < 1) return 1;
  double worst = 1;
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *o = &b->op[i];
    if (o->kind != MUGRAPH_OP_MATMUL || b->op[o->in[1]].kind != MUGRAPH_OP_INPUT) continue;
    const mugraph_op *w = &b->op[o->in[1]];
    int columns = w->shape.dim[w->shape.n_dims - 1];
    if (columns > p->sched.tile_n) columns = p->sched.tile_n;
    int bytes = columns * mugraph_dtype_bytes (mugraph_plan_storage (g, op->in[w->in[0]]));
    double more = bytes % 128 == 0 ? 1 : bytes % 32 == 0 && bytes > 32 ? 1.05 : 1.15;
    if (more > worst) worst = more;
  }
  return worst;
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

/* ---- chained matmuls ---- */

/* Of the loop of chained matmuls, all times measured on an H100 with gqa and qknorm, tiles of 64 x 64 and matrices of 64 columns. */
static const double CHAIN_ALONE = 2.2;        /* a warpgroup alone takes this many times its share of the busy units */
static const double CHAIN_CORNER = 2.7;       /* degree of the norm that joins the two */
static const double CHAIN_FIXED = 1.5e-6, CHAIN_GROUP = 0.45e-6, CHAIN_CLUSTER = 0.05e-6; /* before and after the loop; a warpgroup, a block of a cluster */
static const double CHAIN_SHALLOW = 0.14e-6;  /* a tile that is requested when it is needed next */
static const double CHAIN_ROW_VALUES = 1.05;  /* rows of the left operand scaled by values that are computed for it, other than by a norm */
static const double CHAIN_PREPARE = 0.4e-6, CHAIN_PREPARE_WORK = 0.13e-6; /* a tile of 64 rows changed in place: by one warpgroup, of the SM's time */

/* A right operand without what costs nothing: transposes, constants that scale the first one's. */
static int peeled (const mugraph_block *b, int i, bool first) {
  for (;;) {
    const mugraph_op *o = &b->op[i];
    if (o->kind == MUGRAPH_OP_TRANSPOSE) i = o->in[0];
    else if (first && (o->kind == MUGRAPH_OP_MUL || o->kind == MUGRAPH_OP_DIV) && b->op[o->in[1]].kind == MUGRAPH_OP_CONST) i = o->in[0];
    else if (first && o->kind == MUGRAPH_OP_MUL && b->op[o->in[0]].kind == MUGRAPH_OP_CONST) i = o->in[1];
    else return i;
  }
}

/* Rows of the first matmul's result, whether its left operand is more than an iterator or its norm, and whether a right operand
   of any is changed before it is multiplied. */
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

/* A block's time when `resident` of its like share an SM; compute: of the whole launch, evenly spread. */
static double chain_block (const mugraph_block *b, const mugraph_plan *p, const mugraph_device *d, double compute, double resident) {
  int groups = p->threads / 128, rows, cluster = p->cluster > 1 ? p->cluster : 1;
  bool scaled = false, prepared = matmul_operands (b, &rows, &scaled);
  int along = (rows + 63) / 64; /* warpgroups that share the tiles, the others take other tiles */
  if (groups < 1) groups = 1;
  if (along > groups) along = groups;
  double iterations = p->iterations > 1 ? p->iterations : 1, tile = p->sched.tile_n > 0 ? p->sched.tile_n / 64.0 : 1;
  double share = compute * d->sms / ((double) p->blocks * groups * iterations) * (scaled ? CHAIN_ROW_VALUES : 1), alone = CHAIN_ALONE * share;
  double depth = p->sched.stages * along / (double) groups;
  if (depth < 2.5 && depth < iterations) alone += CHAIN_SHALLOW;
  if (prepared) alone += CHAIN_PREPARE * sqrt (tile / along), share += CHAIN_PREPARE_WORK * tile / along;
  double step = pow (pow (alone, CHAIN_CORNER) + pow (share * groups * resident, CHAIN_CORNER), 1 / CHAIN_CORNER);
  return CHAIN_FIXED + CHAIN_GROUP * groups + CHAIN_CLUSTER * cluster + iterations * step;
}

/* ---- one kernel ---- */

double search_score (double plain, double pdl) { return pdl > 0 && isfinite (pdl) ? cbrt (plain * pdl * pdl) : plain; }

/* What a launch moves, and how. */
typedef struct {
  double dram, warm, l2; /* bytes from device memory, of those read once from L2, of L2 with what is read again */
  double flight;         /* bytes that one block has in flight */
  bool streamed;
} traffic;

/* Seconds of device memory while `resident` blocks are at it on `sms` SMs: by bandwidth, by the bytes in flight (Little's law;
   more than the best number queue up), by what an SM draws. */
static double dram_time (const traffic *m, const mugraph_device *d, double resident, double sms) {
  double flight = m->flight * resident, rounds = flight > 0 ? (m->dram + m->warm) / flight : 0, least = m->dram / d->dram_bw;
  double wait = (m->dram * LOADED_LATENCY + m->warm * L2_LATENCY) / (m->dram + m->warm + 1), time = least;
  if (m->streamed && rounds > 1) time *= 1 + 0.015 * fabs (log2 (flight / (d->sms * BEST_FLIGHT)));
  time = overlap (time, rounds > 1 ? (rounds - 1) * wait : 0);
  return overlap (time, least * d->sms / (SM_DRAM_SHARE * sms));
}

static double l2_time (const traffic *m, const mugraph_device *d, double sms) {
  double narrow = SM_L2_SHARE * sms < d->sms ? d->sms / (SM_L2_SHARE * sms) : 1; /* few SMs cannot draw all of it */
  return m->l2 / d->l2_bw * narrow;
}

/* With pdl: what a call adds when calls follow each other. busy: of the units; block: of one block while its SM is full, serial: of
   that what calls do not share. */
static double with_pdl (const mugraph *g, const mugraph_op *op, const mugraph_plan *p, const mugraph_device *d, const cost_parts *t, const traffic *m, double busy,
                        double block, double serial) {
  if (d->arch < 90) return INFINITY;
  /* Waits for the end of the kernel before: one of the same call that it reads from, or because its generator has it so. */
  bool waits = p->backend == MUGRAPH_BACKEND_GENERIC || p->backend == MUGRAPH_BACKEND_AUTO;
  for (int i = 0; i < op->n_in; i++) waits |= op->in[i] >= g->n_inputs;
  if (waits) return d->launch_pdl + t->plain - t->launch;
  double started = d->launch_pdl + PDL_TAIL + (p->cluster > 1 ? PDL_CLUSTER : 0) + PDL_SHARE * block + serial + (double) p->blocks * (PDL_BLOCK + PDL_WARP * p->threads / 32), room = (double) p->blocks / t->waves;
  double moving = overlap (dram_time (m, d, room, d->sms), l2_time (m, d, d->sms));
  double place = p->backend == MUGRAPH_BACKEND_CHAIN && t->occupancy == 1 ? PDL_ALONE : PDL_PLACE;
  return overlap (overlap (started, overlap (moving, busy)), place * block * t->waves) + 0.01 * block; /* of equals the shorter */
}

double cost_planned (const mugraph *g, int k, const mugraph_plan *p, const mugraph_device *d, const cost_caches *caches,
                     cost_parts *parts) {
  const mugraph_op *op = &g->op[k];
  const mugraph_block *b = &g->block[op->block];
  cost_parts t = {.launch = d->launch, .total = INFINITY, .plain = INFINITY, .pdl = INFINITY};
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

  double misaligned = misalignment (g, op, b) * short_rows (g, op, b, p);
  double resident = blocks < room ? blocks : room, iterations = p->iterations > 1 ? p->iterations : 1, stages = p->sched.stages > 1 ? p->sched.stages : 1;
  if (stages > iterations) stages = iterations;
  traffic moved = {.dram = dram * misaligned, .warm = warm, .streamed = p->backend == MUGRAPH_BACKEND_STREAM};
  moved.flight = p->dram_read / (blocks * iterations) * stages;
  if (!pipelined && moved.flight > p->threads * LOAD_BYTES) moved.flight = p->threads * LOAD_BYTES;
  moved.l2 = (p->l2_read > p->dram_read ? p->l2_read : p->dram_read) * misaligned + written;
  if (p->backend == MUGRAPH_BACKEND_CHAIN) moved.l2 /= TENSOR_L2;
  if (p->workspace) moved.l2 += blocks * iterations * 2 * (double) p->workspace;
  t.dram = dram_time (&moved, d, resident, blocks < sms ? blocks : sms);
  t.l2 = l2_time (&moved, d, blocks);
  /* A last wave with few blocks keeps few bytes in flight; inside of one wave dram_time sees it. */
  double ragged = t.waves > 1 && ceil (t.waves) / t.waves > 1.02 ? 1 + 0.5 * (ceil (t.waves) / t.waves - 1) : 1;

  double mma = p->mma_flops / (d->mma_f16 * mma_efficiency[p->backend]), sfu = p->sfu_ops / d->sfu;
  double fp32 = 2 * p->fp32_flops / d->fp32; /* counted one a result; half the rate of fused multiply-adds */
  t.mma = mma * uneven, t.sfu = sfu * uneven, t.fp32 = fp32 * uneven;

  int exchanges = reductions_of (b, false);
  t.latency = FIRST_BYTES + exchanges * BARRIER;
  if (cluster > 1) t.latency += p->backend == MUGRAPH_BACKEND_ROWS ? exchanges * CLUSTER : CLUSTER;
  if (p->backend == MUGRAPH_BACKEND_STREAM) t.latency += COMBINE;
  if (p->backend == MUGRAPH_BACKEND_ROWS) t.latency += (iterations - 1) * ROWS_TURN;
  double turns = ceil (t.waves);
  if (p->backend == MUGRAPH_BACKEND_GENERIC || p->backend == MUGRAPH_BACKEND_AUTO) {
    double per_step = 2.0 * GENERIC_K * p->sched.tile_m * p->sched.tile_n * (p->threads / 32.0);
    double steps = per_step > 0 ? p->mma_flops / blocks / per_step : 0;
    if (steps < iterations) steps = iterations;
    t.latency += turns * (steps * UNPIPELINED + iterations * reductions_of (b, true) * BARRIER);
  } else
    t.latency += (turns - 1) * FIRST_BYTES / t.occupancy;

  /* Matrix and special-function units overlap only as far as two blocks (or warpgroups) alternate. */
  double most = mma > sfu ? mma : sfu, least = mma > sfu ? sfu : mma, compute = most + 0.3 * least + 0.3 * fp32;
  double moving = overlap (t.dram, t.l2), block, serial = 0;
  if (p->backend == MUGRAPH_BACKEND_CHAIN) {
    double beside = ceil (blocks / sms) < t.occupancy ? ceil (blocks / sms) : t.occupancy;
    t.plain = t.launch + FIRST_BYTES + exchanges * BARRIER + overlap (turns * chain_block (b, p, d, compute, beside), moving * ragged);
    block = FIRST_BYTES + chain_block (b, p, d, compute, t.occupancy);
  } else {
    t.plain = t.launch + t.latency + overlap (overlap (t.dram * ragged, t.l2), compute * uneven);
    block = (t.plain - t.launch) / (turns > 1 ? turns : 1);
    if (p->backend == MUGRAPH_BACKEND_ROWS) serial = 0.5 * compute * uneven + (iterations - 1) * ROWS_TURN;
  }
  t.pdl = with_pdl (g, op, p, d, &t, &moved, compute, block, serial);
  t.total = search_score (t.plain, t.pdl);
  *parts = t;
  return t.total;
}

static double cost_predefined (const mugraph *g, const mugraph_op *op, const mugraph_device *d,
                               const cost_caches *caches, cost_parts *parts) {
  cost_parts t = {.launch = d->launch, .latency = 2 * FIRST_BYTES, .occupancy = 1, .waves = 1}; /* two: waits for its inputs */
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
  t.plain = t.launch + t.latency + overlap (overlap (t.dram, t.l2), t.mma + t.sfu);
  t.pdl = d->arch >= 90 ? t.plain - t.launch + d->launch_pdl : INFINITY;
  t.total = search_score (t.plain, t.pdl);
  *parts = t;
  return t.total;
}

double cost_kernel (const mugraph *g, int k, const mugraph_device *d, cost_caches *caches, cost_parts *parts) {
  const mugraph_op *op = &g->op[k];
  if (op->kind == MUGRAPH_OP_CONST) return *parts = (cost_parts){0}, 0;
  double time;
  if (op->kind == MUGRAPH_OP_CUSTOM) {
    mugraph_plan plan;
    if (!mugraph_plan_kernel (g, k, d, &plan, NULL)) return *parts = (cost_parts){.total = INFINITY, .plain = INFINITY, .pdl = INFINITY}, INFINITY;
    time = cost_planned (g, k, &plan, d, caches, parts);
  } else
    time = cost_predefined (g, op, d, caches, parts);
  cost_leave (g, k, d, caches);
  return time;
}

void search_times (const mugraph *g, const mugraph_device *d, double *plain, double *pdl) {
  cost_caches caches = {{false}};
  cost_parts parts;
  *plain = *pdl = 0;
  for (int k = 0; k < g->n_ops; k++) {
    cost_kernel (g, k, d, &caches, &parts);
    *plain += 1e6 * parts.plain, *pdl += 1e6 * parts.pdl;
  }
}

double search_cost (const mugraph *g, const mugraph_device *d) {
  double plain, pdl;
  search_times (g, d, &plain, &pdl);
  return search_score (plain, pdl);
}
