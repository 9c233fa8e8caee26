#include "cost.h"

#include <math.h>
#include <string.h>

/* What the device table does not hold. Times in seconds, bytes, shares. Most are fitted to the times of about 2000
   schedules on an H100 (least squares of their logarithms), within what they mean; `make bench-model` says how well
   they rank. */
static const double CORNER = 5; /* degree of the norm where one block's moving and computing overlap */
static const double FIRST_BYTES =
    0.435e-6; /* cold reads of 2 to 67 MB take this longer than bytes / bandwidth + launch */
static const double LOADED_LATENCY = 0.891e-6; /* of device memory near full bandwidth */
static const double L2_LATENCY = 0.6e-6;       /* of L2 under load */
static const double BARRIER = 0.0124e-6;       /* a reduction over the threads of a block, its barrier included */
static const double FIXED_SMEM = 1024;         /* shared memory that the system takes of each block */
static const double L2_SHARE = 0.8;            /* of L2 that one call may count on */
static const double TENSOR_L2 = 2.5;           /* tensor copies read L2 this much faster than loads do */
static const double SM_L2_SHARE = 1.65;        /* one SM reads L2 this much faster than an even share */
static const double SM_DRAM_SHARE = 1.3; /* and so much device memory: half of the SMs do not reach its bandwidth */

/* Loads without asynchronous copies: the generic generator. */
static const double LOAD_BYTES = 64;       /* bytes that a thread has in flight while it copies operands of a matmul */
static const double ELEMENT_BYTES = 6;     /* the same elsewhere: element after element */
static const double UNPIPELINED = 0.55e-6; /* load, store to shared memory, barrier, multiply, barrier: latency of L2 */

/* The stream generator. */
static const double EARLY = 0.22; /* of the time of the bytes that are in flight at the start of a launch */
static const double STREAM_STEP =
    0.153e-6; /* of the steps in flight when the last bytes have arrived, the work on one */
static const double NEIGHBOURS =
    0.75; /* of what is read again, what warps of other columns of a block do not find in the first cache */
static const double PARTIAL_SUMS = 3.79e-9; /* a byte of them that each thread leaves there */
static const double EXCHANGE = 3e-11; /* a byte of the partial sums of a block, to the other blocks of its cluster */
static const double RING_LATENCY =
    1.25e-6; /* of device memory to stages: a stage is asked for again when all of it has been used */
static const double RING_HIDDEN = 1.95e-6; /* start and end of a call that its neighbours hide */
static const double RING_CROWD = 1.5;      /* blocks an SM with which launches get into each other's way instead */
static const double RING_ROWS =
    0.12; /* of the time of device memory, at most, where rows are less than a line: blocks that share lines */
static const double RING_APART =
    6.3e6; /* ask for their parts further apart than L2 keeps them, the more the more bytes a launch */
static const double RING_TORN = 8.4e6; /* has in flight: none of it at the first, all at the second */
static const double RING_IDLE = 0.237; /* boxes with columns that are not the block's */
enum { RING_LINE = 64 };               /* columns of 128 bytes */
static const double NARROW = 1.04e-6;  /* loads of less than 16 bytes: a multiple of instructions that runs once each */

/* The rows generator. */
static const double ROWS_STEP = 1.4e-9;      /* an operator on one element of a thread */
static const double ROWS_WARP = 9.17e-9;     /* an exchange, each warp of it */
static const double ROWS_CLUSTER = 0.649e-6; /* one through remote shared memory: two barriers of a cluster */
static const double ROWS_TURN = 0.7e-6;      /* the next rows of a block, loaded when the last are done */
static const double ROWS_TAIL = 0.3e-6;      /* of that, after its first store */

/* The tiled generator. */
static const double SM_SMEM = 2.5e11;     /* bytes a second of an SM's shared memory: 128 a clock */
static const double TILED_FILL = 0.75e-6; /* what the first products wait for beside their bytes */
static const double TILED_TILE =
    0.35e-6; /* what follows the loop of a tile; its stores beside that are those of all blocks at a time */
static const double TILED_CLUSTER = 1.0e-6; /* blocks of a cluster wait for each other's barriers */
static const double TILED_TAIL =
    0.512e-6; /* of a tile's stores and of the barriers before it, what stands between launches */
static const double TILED_L2 =
    2.5; /* tiles that neighbours read at the same time: requests for the same lines are joined */

/* Programmatic dependent launch. */
static const double PDL_TAIL = 0.05e-6; /* from the end of the launch before until it is seen */
static const double PDL_WARP = 0.2e-9;  /* starting a warp beside another kernel's */
static const double PDL_SHARE = 0.0385; /* of a block's time that shows even where calls overlap well */
static const double PDL_PLACE = 0.945;  /* of a block's time it holds its place against the next call */

/* Rate of the matrix units that each generator reaches of the dense rate: mma.sync against wgmma, staging through f32.
 */
static const double mma_efficiency[CUDA_N_GENERATORS] = {
    [CUDA_GENERATOR_AUTO] = 0.5,   [CUDA_GENERATOR_GENERIC] = 0.12, [CUDA_GENERATOR_STREAM] = 0.5,
    [CUDA_GENERATOR_CHAIN] = 0.85, [CUDA_GENERATOR_ROWS] = 0.5,     [CUDA_GENERATOR_TILED] = 1.12,
};
static const double PREDEFINED_MMA = 0.12; /* pre-defined matmuls go through the generic generator */

enum { MAX_THREADS_SM = 2048, MAX_BLOCKS_SM = 32, GENERIC_K = 32 };

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

/* Whether operator i is a matmul with a right operand from device memory. */
static bool has_weights (const mugraph_block *b, int i) {
  return b->op[i].kind == MUGRAPH_OP_MATMUL && b->op[peeled (b, b->op[i].in[1], false)].kind == MUGRAPH_OP_INPUT;
}

/* Registers of a thread of the stream generator, as compiled: the loop has the operands of a step beside the planner's
   count, 14 for each weight of 64 columns, half as many where the number of steps in flight is odd; without a loop
   there are none. */
static int stream_registers (const mugraph_block *b, const cuda_plan *p) {
  int weights = 0, warps = p->threads / 32, uneven = warps & (warps - 1) ? 4 : 0; /* indices: divisions */
  for (int i = 0; i < b->n_ops; i++) weights += has_weights (b, i);
  return p->iterations > p->sched.stages
             ? p->regs + weights * p->sched.tile_n * 14 / 64 / (p->sched.stages % 2 + 1) + uneven
             : p->regs;
}

static int occupancy_of (const mugraph_block *b, const cuda_plan *p, const cuda_device *d) {
  int warps = (p->threads + 31) / 32;
  if (warps < 1 || warps > 32) return 0;
  int regs = p->backend == CUDA_GENERATOR_STREAM ? stream_registers (b, p) : p->regs,
      most = d->regs_sm / (256 * warps) * 8;
  if (most > 255) most = 255;
  regs = regs < 32 ? 32 : (regs + 7) / 8 * 8;
  if (regs > most && p->regs <= most) regs = most; /* it spills a few */
  int by_regs = d->regs_sm / (regs * 32 * warps), by_threads = MAX_THREADS_SM / (32 * warps);
  int by_smem = (int) (d->smem_sm / ((double) p->smem + FIXED_SMEM)), least = MAX_BLOCKS_SM;
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

/* The larger of two times that overlap, rounded at the corner where each waits for the other: a norm. */
static double norm (double a, double b, double degree) {
  double most = a > b ? a : b, least = a > b ? b : a;
  return most > 0 ? most * pow (1 + pow (least / most, degree), 1 / degree) : 0;
}
static double overlap (double a, double b) { return norm (a, b, 6); }

static double tensor_bytes (const mugraph *g, int t) {
  return (double) mugraph_volume (&g->tensor[t].shape) * mugraph_dtype_bytes (cuda_plan_storage (g, t));
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

/* Bytes moved for each byte used, and narrower loads, where the runs of consecutive bytes that blocks read do not start
   and end at sectors of 32 bytes or vectors of 16: mean over the inputs, by size. */
static double misalignment (const mugraph *g, const mugraph_op *op, const mugraph_block *b) {
  double bytes = 0, moved = 0;
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *o = &b->op[i];
    if (o->kind != MUGRAPH_OP_INPUT || !o->shape.n_dims) continue;
    int t = op->in[o->in[0]], last = o->shape.n_dims - 1;
    int64_t element = mugraph_dtype_bytes (cuda_plan_storage (g, t)), full = g->tensor[t].shape.dim[last] * element;
    int64_t run = o->split[last].axis >= 0 ? o->shape.dim[last] * (o->split[last].loop ? b->loop : 1) * element : full;
    int64_t grain = run | full; /* both decide where runs start */
    double size = tensor_bytes (g, t);
    bytes += size;
    moved += size * (grain % 16 ? 1.3 : grain % 32 ? 1.1 : grain % 64 && run < 256 ? 1.02 : 1);
  }
  return bytes > 0 ? moved / bytes : 1;
}

/* Stream generator, operands through shared memory by tensor copies. */
static bool through_ring (const cuda_plan *p) { return p->backend == CUDA_GENERATOR_STREAM && p->sched.copy == 2; }

/* The same where the generator has warps read a tile of their own of the columns: rows of it that are no whole lines of
   128 bytes leave the rest to others, later. */
static double short_rows (const mugraph *g, const mugraph_op *op, const mugraph_block *b, const cuda_plan *p) {
  if (p->backend != CUDA_GENERATOR_STREAM || p->sched.tile_n < 1 || through_ring (p))
    return 1; /* of a ring, blocks keep in step */
  double worst = 1;
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *o = &b->op[i];
    if (o->kind != MUGRAPH_OP_MATMUL || b->op[o->in[1]].kind != MUGRAPH_OP_INPUT) continue;
    const mugraph_op *w = &b->op[o->in[1]];
    int columns = w->shape.dim[w->shape.n_dims - 1];
    if (columns > p->sched.tile_n) columns = p->sched.tile_n;
    int bytes = columns * mugraph_dtype_bytes (cuda_plan_storage (g, op->in[w->in[0]]));
    double more = bytes % 128 == 0 ? 1 : bytes % 32 == 0 && bytes > 32 ? 1.05 : 1.15;
    if (more > worst) worst = more;
  }
  return worst;
}

/* Bytes of the widest load that every row of every tile is a multiple of. */
static int vector_bytes (const mugraph *g, const mugraph_op *op, const mugraph_block *b) {
  int64_t grain = 16;
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *o = &b->op[i];
    if (o->kind != MUGRAPH_OP_INPUT || o->shape.n_dims < 2) continue;
    int t = op->in[o->in[0]], last = o->shape.n_dims - 1;
    int64_t element = mugraph_dtype_bytes (cuda_plan_storage (g, t));
    grain |= g->tensor[t].shape.dim[last] * element;
    if (o->split[last].axis >= 0) grain |= o->shape.dim[last] * element;
  }
  return (int) (grain & -grain);
}

/* Columns of the matmuls with weights in a block. */
static int weight_columns (const mugraph_block *b) {
  for (int i = 0; i < b->n_ops; i++)
    if (has_weights (b, i)) return b->op[i].shape.dim[b->op[i].shape.n_dims - 1];
  return 1;
}

/* Ring: boxes bring whole tiles; what of them is beyond the block's columns is another's, who asks for it at another
 * time. */
static double idle_columns (const mugraph_block *b, const cuda_plan *p) {
  int columns = weight_columns (b), tile = p->sched.tile_n > 0 ? p->sched.tile_n : 64;
  double idle = (double) ((columns + tile - 1) / tile * tile) / columns - 1;
  return 1 + RING_IDLE * idle * idle;
}

/* Partial sums of a block, f32, rows padded to 8. */
static double partial_bytes (const mugraph_block *b) {
  double bytes = 0;
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *o = &b->op[i];
    if (!has_weights (b, i)) continue;
    int rows = o->shape.n_dims > 1 ? o->shape.dim[o->shape.n_dims - 2] : 1;
    bytes += 4.0 * (double) mugraph_volume (&o->shape) / rows * ((rows + 7) / 8 * 8);
  }
  return bytes;
}

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

/* What is left in L2: outputs and inputs, when they fit together with what they displace. */
void cost_leave (const mugraph *g, int k, const cuda_device *d, cost_caches *caches) {
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

/* Fitted to attention of several shapes; a step is a tile of 64 rows and tile_n columns, of one warpgroup. */
static const double CHAIN_STEP = 0.0557e-6; /* its barriers and what else its size does not change */
static const double CHAIN_ALONE = 1.82;     /* a warpgroup alone takes this many times its share of the busy units */
static const double CHAIN_CORNER = 3.37; /* degree of the norm that joins that with what all warpgroups of an SM take */
static const double CHAIN_HELPED = 0.797;          /* of that and of preparations, where a warpgroup more helps */
static const double CHAIN_SHALLOW = 0.179e-6;      /* a tile that is requested when it is needed next */
static const double CHAIN_PREPARE = 0.0457e-6;     /* a tile of 64 rows that is changed in place, by one warpgroup */
static const double CHAIN_PREPARE_WORK = 0.124e-6; /* of the SM's time */
static const double CHAIN_ROW_VALUES =
    1.48; /* rows of the left operand scaled by values that are computed for it, other than by a norm */
static const double CHAIN_FIXED = 2.27e-6;     /* before and after the loop */
static const double CHAIN_GROUP = 0.0797e-6;   /* to combine results of 64 columns: a warpgroup */
static const double CHAIN_CLUSTER = 0.0693e-6; /* a block of a cluster */

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

/* A block's time when `resident` of its like share an SM; compute: of the whole launch, evenly spread. */
static double chain_block (const mugraph_block *b, const cuda_plan *p, const cuda_device *d, double compute,
                           double resident) {
  int groups = p->sched.warps > 3 ? p->sched.warps / 4 : p->threads / 128, rows,
      cluster = p->cluster > 1 ? p->cluster : 1;
  bool scaled = false, prepared = matmul_operands (b, &rows, &scaled);
  int along = (rows + 63) / 64; /* warpgroups that share the tiles, the others take other tiles */
  double own = p->threads > 128 * groups ? CHAIN_HELPED : 1;
  if (groups < 1) groups = 1;
  if (along > groups) along = groups;
  double iterations = p->iterations > 1 ? p->iterations : 1, tile = p->sched.tile_n > 0 ? p->sched.tile_n / 64.0 : 1;
  double share = compute * d->sms / ((double) p->blocks * groups * iterations) * (scaled ? CHAIN_ROW_VALUES : 1),
         alone = CHAIN_ALONE * share;
  double depth = p->sched.stages * along / (double) groups;
  if (depth < (prepared ? 3.5 : 2.5) && depth < iterations) alone += CHAIN_SHALLOW;
  if (prepared) alone += own * CHAIN_PREPARE * sqrt (tile / along), share += own * CHAIN_PREPARE_WORK * tile / along;
  alone += own * CHAIN_STEP;
  double step = norm (alone, share * groups * resident, CHAIN_CORNER), columns = result_columns (b) / 64.0;
  return CHAIN_FIXED + columns * (CHAIN_GROUP * groups + CHAIN_CLUSTER * cluster) + iterations * step;
}

/* ---- one kernel ---- */

double cost_score (double plain, double pdl) { return pdl > 0 && isfinite (pdl) ? cbrt (plain * pdl * pdl) : plain; }

/* What a launch moves, and how. */
typedef struct {
  double blocks;
  double dram, warm, l2;  /* bytes from device memory, of those read once from L2, of L2 with what is read again */
  double flight, latency; /* bytes that one block has in flight, and for how long where they come from device memory */
} traffic;

/* Seconds of what all SMs share, for a part of the launch. */
static double shared_time (const traffic *m, const cuda_device *d, double part) {
  return part * overlap (m->dram / d->dram_bw, m->l2 / d->l2_bw);
}

/* Seconds of one block with `beside` blocks on its SM and the memory to themselves: the bytes it has in flight
   (Little's law), what an SM draws. */
static double block_time (const traffic *m, const cuda_device *d, double beside) {
  double bytes = (m->dram + m->warm) / m->blocks, rounds = m->flight > 0 ? bytes / m->flight : 0;
  double wait = (m->dram * m->latency + m->warm * L2_LATENCY) / (m->dram + m->warm + 1);
  double drawn = beside * d->sms / (m->blocks * d->l2_bw) * overlap (m->dram / SM_DRAM_SHARE, m->l2 / SM_L2_SHARE);
  return overlap (rounds > 1 ? (rounds - 1) * wait : 0, drawn);
}

/* Whether the kernel after this one, of the next call after the last, waits for its end before it lets its own
   successor begin: then there is only this one kernel at work. */
static bool before_waiting (const mugraph *g, const mugraph_op *op) {
  int k = (int) (op - g->op);
  do k = (k + 1) % g->n_ops;
  while (g->op[k].kind == MUGRAPH_OP_CONST);
  if (&g->op[k] == op) return false;
  int backend = g->op[k].kind == MUGRAPH_OP_CUSTOM ? g->block[g->op[k].block].sched.backend : CUDA_GENERATOR_GENERIC;
  return backend == CUDA_GENERATOR_GENERIC ||
         backend == CUDA_GENERATOR_AUTO; /* the planner's choice: not known before its turn */
}

/* A launch, as blocks that share SMs and memory. */
typedef struct {
  const mugraph_block *block;
  const cuda_plan *plan;
  const cuda_device *device;
  traffic moved;
  double compute; /* seconds of the units, evenly spread */
  double latency; /* of a block, beside its moving and computing */
  double fill;    /* mean of the blocks' work, of that of the busiest: some walk over fewer tiles */
  double tail;    /* of that after it has seen the end of the launch before, where launches overlap */
} launch;

/* One block's time with `beside` blocks on its SM. */
static double pace (const launch *l, double beside) {
  double moving = block_time (&l->moved, l->device, beside);
  if (l->plan->backend == CUDA_GENERATOR_CHAIN)
    return norm (moving, chain_block (l->block, l->plan, l->device, l->compute, beside), CORNER);
  return norm (moving, beside * l->compute * l->device->sms / l->moved.blocks, CORNER);
}

/* Blocks in waves; sms, room: blocks that find a place on an SM of their own, and any. */
static double launched_plainly (const launch *l, const cost_parts *t, double sms, double room) {
  const traffic *m = &l->moved;
  double full = floor (t->waves), rest = m->blocks - full * room, beside = ceil (rest / sms),
         time = t->launch + l->latency;
  if (beside > t->occupancy) beside = t->occupancy;
  time += full * norm (pace (l, t->occupancy), shared_time (m, l->device, room / m->blocks), CORNER);
  if (rest > 0) time += norm (pace (l, beside), shared_time (m, l->device, rest / m->blocks), CORNER);
  if (t->waves > 1) time += (ceil (t->waves) - 1) * l->latency / t->occupancy;
  /* All start at once: what they ask for ahead stands in the way of what each needs first, where they do not need all
   * of it first. */
  double early = m->flight * (m->blocks < room ? m->blocks : room);
  if (l->plan->backend == CUDA_GENERATOR_STREAM && l->plan->iterations > l->plan->sched.stages)
    time += EARLY * (early < m->dram ? early : m->dram) / l->device->dram_bw;
  return time;
}

/* What a call adds when calls follow each other: the busiest of what they share, places on SMs among it, or what they
 * do not. */
static double launched_overlapping (const launch *l, const cost_parts *t) {
  const cuda_plan *p = l->plan;
  double block = (l->latency + pace (l, t->occupancy)) * l->fill,
         started = l->device->launch_pdl + PDL_TAIL + l->tail + PDL_SHARE * block;
  started += PDL_WARP * l->moved.blocks * p->threads / 32;
  return overlap (overlap (started, overlap (shared_time (&l->moved, l->device, 1), l->compute * l->fill)),
                  PDL_PLACE * block * t->waves);
}

double cost_planned (const mugraph *g, int k, const cuda_plan *p, const cuda_device *d, const cost_caches *caches,
                     cost_parts *parts) {
  const mugraph_op *op = &g->op[k];
  const mugraph_block *b = &g->block[op->block];
  cost_parts t = {.launch = d->launch, .total = INFINITY, .plain = INFINITY, .pdl = INFINITY};
  *parts = t;
  int cluster = p->cluster > 1 ? p->cluster : 1;
  t.occupancy = occupancy_of (b, p, d);
  if (!t.occupancy || p->blocks < 1) return INFINITY;
  double blocks = (double) p->blocks, sms = cluster * clusters_at_once (d, cluster, 1),
         room = cluster * clusters_at_once (d, cluster, t.occupancy);
  if (sms < 1) return INFINITY;
  t.waves = blocks / room;

  double warm = warm_bytes (g, op, caches), dram = p->dram_read - warm, written = p->dram_write;
  if (dram < 0) dram = 0;
  /* What several blocks read comes from L2 again as long as L2 holds it; else some of it comes from device memory. */
  double again = p->l2_read - p->dram_read, held = L2_SHARE * d->l2_bytes / (p->dram_read + 1);
  if (again > 0 && held < 1) dram += again * (1 - held) * 0.25;
  if (written > L2_SHARE * d->l2_bytes) dram += written;

  bool generic = p->backend == CUDA_GENERATOR_GENERIC || p->backend == CUDA_GENERATOR_AUTO;
  double misaligned = misalignment (g, op, b) * short_rows (g, op, b, p) * (through_ring (p) ? idle_columns (b, p) : 1);
  double iterations = p->iterations > 1 ? p->iterations : 1, stages = p->sched.stages > 1 ? p->sched.stages : 1;
  if (stages > iterations) stages = iterations;
  launch l = {.block = b,
              .plan = p,
              .device = d,
              .fill = 1,
              .moved = {.blocks = blocks,
                        .dram = dram * misaligned,
                        .warm = warm,
                        .latency = through_ring (p) ? RING_LATENCY : LOADED_LATENCY}};
  traffic *moved = &l.moved;
  moved->flight = p->dram_read / (blocks * iterations) * stages;
  double loaded = p->threads * (p->mma_flops > 0 ? LOAD_BYTES : ELEMENT_BYTES);
  if (generic && moved->flight > loaded) moved->flight = loaded;
  /* The warps of a block that have columns beside each other find some of each other's lines in the first cache. */
  bool beside = p->backend == CUDA_GENERATOR_STREAM && p->sched.tile_n > 0 && weight_columns (b) > p->sched.tile_n;
  moved->l2 = (p->dram_read + (again > 0 ? again * (beside ? NEIGHBOURS : 1) : 0)) * misaligned + written;
  if (p->backend == CUDA_GENERATOR_CHAIN || p->backend == CUDA_GENERATOR_TILED || through_ring (p))
    moved->l2 /= TENSOR_L2;
  if (p->backend == CUDA_GENERATOR_TILED) moved->l2 /= TILED_L2;
  if (p->workspace) moved->l2 += blocks * iterations * 2 * (double) p->workspace;
  t.dram = moved->dram / d->dram_bw, t.l2 = moved->l2 / d->l2_bw;

  t.mma = p->mma_flops / (d->mma_f16 * mma_efficiency[p->backend]), t.sfu = p->sfu_ops / d->sfu;
  t.fp32 = 2 * p->fp32_flops / d->fp32; /* counted one a result; half the rate of fused multiply-adds */
  /* Matrix and special-function units overlap only as far as two blocks (or warpgroups) alternate. */
  l.compute = (t.mma > t.sfu ? t.mma + 0.3 * t.sfu : t.sfu + 0.3 * t.mma) + 0.3 * t.fp32;

  int exchanges = reductions_of (b, false);
  l.latency = FIRST_BYTES + exchanges * BARRIER;
  if (p->backend == CUDA_GENERATOR_STREAM) {
    bool ring = through_ring (p);
    double partial = ring ? 0 : (double) p->smem / p->threads;
    double exchange =
        cluster > 1 ? EXCHANGE * partial_bytes (b) : 0; /* before it looks for the end of the launch before */
    l.latency += (ring ? 0 : STREAM_STEP * stages) + PARTIAL_SUMS * partial + exchange;
    l.latency += NARROW * (16 / vector_bytes (g, op, b) - 1);
  } else if (p->backend == CUDA_GENERATOR_ROWS) {
    l.latency += exchanges * (ROWS_WARP * p->threads / 32 + (cluster > 1 ? ROWS_CLUSTER : 0)) +
                 ROWS_STEP * p->fp32_flops / (blocks * p->threads);
    l.latency += (iterations - 1) * ROWS_TURN, l.tail = (iterations - 1) * ROWS_TAIL;
  } else if (p->backend == CUDA_GENERATOR_TILED) {
    double tiles = (double) b->grid[0] * b->grid[1] * b->grid[2], rounds = ceil (tiles / blocks);
    l.latency += TILED_FILL + TILED_TILE * rounds + written / d->dram_bw + (cluster > 1 ? TILED_CLUSTER : 0);
    l.tail = TILED_TAIL + (cluster > 1 ? TILED_CLUSTER : 0), l.fill = tiles / (rounds * blocks);
    l.compute = overlap (l.compute, p->smem_bytes / (SM_SMEM * d->sms));
  } else if (generic) {
    double per_step = 2.0 * GENERIC_K * p->sched.tile_m * p->sched.tile_n * (p->threads / 32.0);
    double steps = per_step > 0 ? p->mma_flops / blocks / per_step : 0;
    if (steps < iterations) steps = iterations;
    double least = longest_contraction (b) / GENERIC_K;
    if (steps < least) steps = least;
    l.latency += steps * UNPIPELINED + iterations * reductions_of (b, true) * BARRIER;
  }
  t.latency = l.latency;
  t.plain = launched_plainly (&l, &t, sms, room);
  if (d->arch >= 90) {
    /* It waits for the end of the kernel before: one of the same call that it reads from, or because its generator has
     * it so. */
    bool waits = generic || before_waiting (g, op);
    for (int i = 0; i < op->n_in; i++) waits |= op->in[i] >= g->n_inputs;
    if (waits) t.pdl = d->launch_pdl + t.plain - t.launch;
    else t.pdl = launched_overlapping (&l, &t);
    if (!waits && through_ring (p)) {
      double hidden = blocks > RING_CROWD * d->sms ? 0 : RING_HIDDEN,
             torn = (moved->flight * blocks - RING_APART) / (RING_TORN - RING_APART);
      double rows = weight_columns (b) < RING_LINE ? RING_ROWS * t.dram * fmin (fmax (torn, 0), 1) : 0;
      t.pdl = fmax (t.pdl, d->launch_pdl + t.plain - t.launch - hidden + rows);
    }
  }
  t.total = cost_score (t.plain, t.pdl);
  *parts = t;
  return t.total;
}

static double cost_predefined (const mugraph *g, const mugraph_op *op, const cuda_device *d, const cost_caches *caches,
                               cost_parts *parts) {
  cost_parts t = {
      .launch = d->launch, .latency = 2 * FIRST_BYTES, .occupancy = 1, .waves = 1}; /* two: waits for its inputs */
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
  } else t.sfu = elements / d->sfu;
  t.plain = t.launch + t.latency + overlap (overlap (t.dram, t.l2), t.mma + t.sfu);
  t.pdl = d->arch >= 90 ? t.plain - t.launch + d->launch_pdl : INFINITY;
  t.total = cost_score (t.plain, t.pdl);
  *parts = t;
  return t.total;
}

double cost_kernel (const mugraph *g, int k, const cuda_device *d, cost_caches *caches, cost_parts *parts) {
  const mugraph_op *op = &g->op[k];
  if (op->kind == MUGRAPH_OP_CONST) return *parts = (cost_parts){0}, 0;
  double time;
  if (op->kind == MUGRAPH_OP_CUSTOM) {
    cuda_plan plan;
    if (!cuda_plan_kernel (g, k, d, &plan, NULL))
      return *parts = (cost_parts){.total = INFINITY, .plain = INFINITY, .pdl = INFINITY}, INFINITY;
    time = cost_planned (g, k, &plan, d, caches, parts);
  } else time = cost_predefined (g, op, d, caches, parts);
  cost_leave (g, k, d, caches);
  return time;
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
