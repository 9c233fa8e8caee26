/* Plan of the tiled generator: see plan_tiled.h.

   Parameters that it honours
   - grid: the extents of the axes that split m and n give the tile: up to 256 rows (a warpgroup for each 64) and 256
   columns. Pays: 128 x 256, 128 x 192, 192 x 192, and a number of tiles just below a multiple of the SMs. Other axes
   may split leading dimensions (tiles of size 1) and k.
   - loop: its range changes nothing (k is walked in steps of 64).
   - stages 2 to 16: steps of k in shared memory; default: as many as fit, up to 8.
   - multicast 1, 2, 4: blocks of a cluster. Default 2 where the tiles divide.
   - warps, tile_m, tile_n: what the tile asks for. split 1, swap 0 or 1. */
#include "plan_tiled.h"
#include "cuda_templates/generator.h"

#include <math.h>
#include <string.h>

#define FAIL(...) mugraph_fail (e, "tiled: " __VA_ARGS__)

enum { SHARED_PAD = 1024, PRODUCER_REGS = 40, MAX_GROUPS = 4, MAX_COLUMNS = 256, BARRIERS = 16 };

static bool is_elementwise (const mugraph_op *o) { return mugraph_elementwise (o->kind); }

static bool add (int list[CUDA_TILED_OPERANDS], int *n, int i) {
  for (int k = 0; k < *n; k++)
    if (list[k] == i) return true;
  if (*n == CUDA_TILED_OPERANDS) return false;
  list[(*n)++] = i;
  return true;
}

/* What an accumulator adds up. */
static int summand (const mugraph_block *b, int i, bool alone, bool *only) {
  while (b->op[i].kind == MUGRAPH_OP_ACCUM) {
    if (alone && mugraph_block_uses (b, i) > 1) *only = false;
    i = b->op[i].in[0];
  }
  if (alone && mugraph_block_uses (b, i) > 1) *only = false;
  return i;
}

static int index_of (const int list[], int n, int i) {
  for (int k = 0; k < n; k++)
    if (list[k] == i) return k;
  return -1;
}

int cuda_tiled_folded (const cuda_tiled *t, const mugraph_block *b, int i) {
  if (b->op[i].kind != MUGRAPH_OP_ADD || !(t->c.role[i] & CUDA_STREAM_LINEAR)) return -1;
  for (int k = 0; k < 2; k++) {
    bool only = true;
    int chain = index_of (t->chain, t->n_chains, summand (b, b->op[i].in[k], true, &only));
    int product = index_of (t->product, t->n_products, summand (b, b->op[i].in[1 - k], true, &only));
    if (chain >= 0 && product >= 0 && only) return chain;
  }
  return -1;
}

/* Chained matmuls: which products they are chained to, and the sums that they are added to. */
static bool match_chains (const mugraph_op *kernel, const mugraph *g, const mugraph_block *b, cuda_tiled *t,
                          mugraph_error *e) {
  t->sums = t->n_products;
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *o = &b->op[i];
    if (o->kind != MUGRAPH_OP_MATMUL || !(t->c.role[i] & CUDA_STREAM_LINEAR)) continue;
    bool only;
    if (index_of (t->source, t->n_sources, summand (b, o->in[0], false, &only)) < 0)
      return FAIL ("the left operand of chained matmul %d is computed", i);
    if (t->n_chains == CUDA_TILED_OPERANDS) return FAIL ("more than %d chained matmuls", CUDA_TILED_OPERANDS);
    const int weight = cuda_stream_weight (b, o->in[1]), tensor = kernel->in[b->op[weight].in[0]];
    if (t->n_chains && t->chains_turned != t->c.turned[weight])
      return FAIL ("right operands of chained matmuls are stored in two ways");
    t->chains_turned = t->c.turned[weight];
    if (cuda_plan_storage (g, tensor) != t->c.type || mugraph_cols (&g->tensor[tensor].shape) % 8)
      return FAIL ("operand %d is of another type or alignment", o->in[1]);
    t->chain[t->n_chains++] = i;
  }
  for (int c = 0; c < t->n_chains; c++) t->into[c] = -1;
  for (int i = 0; i < b->n_ops; i++) {
    int c = cuda_tiled_folded (t, b, i);
    for (int k = 0; k < 2 && c >= 0; k++) {
      bool only;
      int product = index_of (t->product, t->n_products, summand (b, b->op[i].in[k], false, &only));
      if (product >= 0) t->into[c] = product;
    }
  }
  for (int c = 0; c < t->n_chains; c++)
    if (t->into[c] < 0) t->into[c] = t->sums++;
  if (t->sums > CUDA_TILED_OPERANDS) return FAIL ("more than %d sums", CUDA_TILED_OPERANDS);
  t->inner = (int) mugraph_ceil_div (t->c.inner, 8) * 8;
  t->inner_k = (int) mugraph_ceil_div (t->c.inner, 16) * 16;
  return true;
}

/* Operands come as they are stored, by tensor copies: rows begin at multiples of 16 bytes. */
static bool match_operands (const mugraph *g, const mugraph_op *kernel, const mugraph_block *b, cuda_tiled *t,
                            mugraph_error *e) {
  const cuda_stream *c = &t->c;
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *o = &b->op[i];
    if (c->role[i] & CUDA_STREAM_PRODUCT) {
      const bool narrow = c->role[i] & CUDA_STREAM_SOURCE;
      const int weight = cuda_stream_weight (b, o->in[1]);
      if (weight < 0) return FAIL ("right operand %d is computed", o->in[1]);
      if (!(b->op[o->in[0]].kind == MUGRAPH_OP_INPUT ? add (t->left, &t->n_left, o->in[0])
                                                     : add (t->computed, &t->n_computed, o->in[0])) ||
          !(narrow ? add (t->narrow, &t->n_narrow, weight) : add (t->right, &t->n_right, weight)) ||
          !(narrow ? add (t->source, &t->n_sources, i) : add (t->product, &t->n_products, i)))
        return FAIL ("more than %d matmuls or operands", CUDA_TILED_OPERANDS);
    } else if (c->role[i] & CUDA_STREAM_LEFT && o->kind == MUGRAPH_OP_INPUT && mugraph_cols (&o->shape) > 1) {
      const bool vector = mugraph_rows (&o->shape) == 1 && c->m.chunk > 1;
      if (!(vector ? add (t->vector, &t->n_vectors, i) : add (t->left, &t->n_left, i)))
        return FAIL ("more than %d operands", CUDA_TILED_OPERANDS);
    }
  }
  for (int i = 0; i < t->n_left + t->n_right + t->n_narrow; i++) {
    int at = i < t->n_left                ? t->left[i]
             : i < t->n_left + t->n_right ? t->right[i - t->n_left]
                                          : t->narrow[i - t->n_left - t->n_right];
    const mugraph_op *o = &b->op[at];
    int tensor = kernel->in[o->in[0]];
    if ((i < t->n_left ? mugraph_rows (&o->shape) == 1 && c->m.chunk > 1 : mugraph_rows (&o->shape) == 1) ||
        mugraph_cols (&o->shape) == 1)
      return FAIL ("iterator %d is one row or column", at);
    if (cuda_plan_storage (g, tensor) != c->type) return FAIL ("operands of different types");
    if (mugraph_cols (&g->tensor[tensor].shape) % 8)
      return FAIL ("rows of iterator %d do not begin at multiples of 16 bytes", at);
  }
  if (c->n.full % 8 || (c->n.axis >= 0 && c->n.chunk < c->n.full && c->n.chunk % 8))
    return FAIL ("tiles of %d columns do not begin at multiples of 16 bytes", c->n.chunk);
  if (c->k.axis >= 0 && c->k.chunk < c->k.full && c->k.chunk % CUDA_TILED_K)
    return FAIL ("the grid cuts k within a step of %d", CUDA_TILED_K);
  return match_chains (kernel, g, b, t, e);
}

/* Which blocks share what: tiles below each other the right operands, beside each other the left ones. The larger,
 * where both divide. */
static bool choose_cluster (cuda_tiled *t, int wanted, mugraph_error *e) {
  int most = wanted ? wanted : 2, left = t->n_left * t->left_bytes, right = t->n_right * t->right_bytes;
  if (most != 1 && most != 2 && most != 4) return FAIL ("multicast %d is not 1, 2 or 4", most);
  bool rows = t->tiles_m % most == 0, columns = t->tiles_n % most == 0;
  t->multicast = rows || columns ? most : 1;
  if (wanted > 1 && t->multicast == 1)
    return FAIL ("%d x %d tiles do not divide into clusters of %d", t->tiles_m, t->tiles_n, wanted);
  t->along_rows = rows && (!columns || right > left);
  return true;
}

/* Blocks of an SM that clusters reach: one lives in one GPC, whose SMs it rarely divides. Measured on an H100. */
static int reachable (const cuda_device *d, int cluster) { return cluster <= 2 ? d->sms : d->sms * 120 / 132; }

bool cuda_tiled_reaches (const mugraph_block *b, int from, int to) {
  const mugraph_op *o = &b->op[from];
  if (from == to) return true;
  for (int k = 0; k < o->n_in && o->kind != MUGRAPH_OP_INPUT; k++)
    if (cuda_tiled_reaches (b, o->in[k], to)) return true;
  return false;
}

/* Tiles that row statistics or computed operands bring to registers are multiplied from there: shared memory, which is
   as busy as the matrix units, is read once. */
static void hold_tiles (const mugraph_block *b, cuda_tiled *t, bool hold) {
  t->fragments = t->n_computed;
  for (int l = 0; l < t->n_left; l++) {
    bool multiplied = false, read = false;
    for (int i = 0; i < t->n_products + t->n_sources; i++)
      multiplied |= b->op[i < t->n_products ? t->product[i] : t->source[i - t->n_products]].in[0] == t->left[l];
    for (int i = 0; i < b->n_ops; i++) read |= t->c.role[i] & CUDA_STREAM_ROW && cuda_tiled_reaches (b, i, t->left[l]);
    for (int i = 0; i < t->n_computed; i++) read |= cuda_tiled_reaches (b, t->computed[i], t->left[l]);
    t->held[l] = hold && multiplied && read;
    t->fragments += t->held[l];
  }
}

/* Registers of a thread that keeps all products: what they take, operands of two steps, tiles of one, what addressing
   and the epilogue do. */
static int registers (const cuda_tiled *t) {
  int tiles = 0;
  for (int l = 0; l < t->n_left; l++) tiles += !t->held[l] && (t->n_computed || t->c.n_rows);
  return t->sums * t->columns / 2 + t->n_sources * t->inner / 2 + 36 + 32 * t->fragments + 16 * (t->n_vectors + tiles) +
         2 * t->c.n_rows;
}

static bool schedule (const mugraph_block *b, const cuda_device *d, cuda_tiled *t, mugraph_error *e) {
  const cuda_stream *c = &t->c;
  const mugraph_sched *w = &b->sched;
  if (d->arch < 90) return FAIL ("sm_%d has neither wgmma nor tensor copies", d->arch);
  if (w->split != 1) return FAIL ("split %d is not supported: 1", w->split);
  if (w->swap == 2) return FAIL ("columns of the tile along m are not supported: swap 0 or 1");
  t->groups = (int) mugraph_ceil_div (c->m.chunk, 64);
  t->columns = (int) mugraph_ceil_div (c->n.chunk, 8) * 8;
  if (t->groups > MAX_GROUPS || t->columns > MAX_COLUMNS)
    return FAIL ("tiles of %d x %d, at most %d x %d are supported", c->m.chunk, c->n.chunk, 64 * MAX_GROUPS,
                 MAX_COLUMNS);
  if (w->warps && w->warps != 4 * t->groups + 4)
    return FAIL ("%d warps, tiles of %d rows take %d", w->warps, c->m.chunk, 4 * t->groups + 4);
  if (w->tile_m && w->tile_m != 64) return FAIL ("tile_m %d is not 64", w->tile_m);
  if (w->tile_n && w->tile_n != t->columns)
    return FAIL ("tile_n %d, tiles of %d columns are not cut further", w->tile_n, c->n.chunk);
  t->rows = 64 * t->groups;
  t->chunks = (int) mugraph_ceil_div (t->columns, 64);
  t->steps = (int) mugraph_ceil_div (c->k.chunk, CUDA_TILED_K);
  t->left_bytes = t->rows * 128;
  t->right_bytes = t->chunks * 64 * 128;
  t->narrow_bytes = CUDA_TILED_K * 128;
  t->chain_bytes = t->chunks * (t->chains_turned ? 64 : t->inner_k) * 128;
  t->stage_bytes = t->n_left * t->left_bytes + t->n_right * t->right_bytes + t->n_narrow * t->narrow_bytes;
  if (t->n_chains * t->chain_bytes > t->stage_bytes)
    return FAIL ("operands of %d chained matmuls do not fit a stage", t->n_chains);

  t->tiles_m = c->m.axis >= 0 ? b->grid[c->m.axis] : 1;
  t->tiles_n = c->n.axis >= 0 ? b->grid[c->n.axis] : 1;
  if (c->m.axis >= 0 && c->m.axis == c->n.axis) return FAIL ("one axis of the grid splits rows and columns");
  t->others = (int64_t) b->grid[0] * b->grid[1] * b->grid[2] / t->tiles_m / t->tiles_n;
  if (!choose_cluster (t, w->multicast, e)) return false;

  /* Two blocks an SM where both fit: one multiplies while the other begins or ends. */
  const int room = (d->smem_block - SHARED_PAD) / (t->stage_bytes + BARRIERS),
            half = (d->smem_sm / 2 - 1024 - SHARED_PAD) / (t->stage_bytes + BARRIERS);
  t->stages = w->stages ? w->stages : t->groups == 1 && half >= 3 ? half : room;
  if (!w->stages && t->stages > 8) t->stages = 8;
  if (t->stages < 2 || t->stages > room)
    return FAIL ("%d stages of %d bytes, %d fit and 2 are needed", t->stages, t->stage_bytes, room);
  t->per_sm = t->groups == 1 && t->stages <= half ? 2 : 1;
  const int threads = 128 * t->groups + 128;
  t->launch_regs = d->regs_sm / (threads * t->per_sm) / 8 * 8;
  if (t->launch_regs > 248) t->launch_regs = 248; /* enough for all */
  else {
    t->regs = (t->launch_regs * threads - PRODUCER_REGS * 128) / (128 * t->groups) / 8 * 8;
    if (t->regs > 240) t->regs = 240;
  }
  int most = t->regs ? t->regs : t->launch_regs;
  hold_tiles (b, t, true);
  if (registers (t) > most) hold_tiles (b, t, false);
  if (registers (t) > most)
    return FAIL ("about %d registers a thread, %d warps leave %d", registers (t), threads / 32, most);

  const int64_t wide = (int64_t) t->tiles_m * t->tiles_n * t->others / t->multicast,
                held = (int64_t) reachable (d, t->multicast) * t->per_sm / t->multicast;
  t->clusters = (int) (wide < held ? wide : held);
  /* Tiles that are walked at the same time read the fewest bytes where they form a square. */
  const int tall = t->tiles_m / (t->along_rows ? t->multicast : 1);
  int band = (int) (sqrt ((double) held * t->multicast * t->columns * t->n_right / ((double) t->rows * t->n_left)) /
                        (t->along_rows ? t->multicast : 1) +
                    0.5);
  if (band < 1) band = 1;
  t->band = (int) mugraph_ceil_div (tall, mugraph_ceil_div (tall, band));
  return true;
}

static bool match (const mugraph *g, int k, const cuda_device *d, cuda_tiled *t, mugraph_error *e) {
  const mugraph_op *kernel = &g->op[k];
  const mugraph_block *b = &g->block[kernel->block];
  memset (t, 0, sizeof *t);
  return cuda_stream_classify (g, k, "tiled", &t->c, e) && match_operands (g, kernel, b, t, e) && schedule (b, d, t, e);
}

static int64_t shared_bytes (const cuda_tiled *t) { return (int64_t) t->stages * (t->stage_bytes + BARRIERS); }

/* Times that a step reads left tiles from shared memory: once into registers, or for every matmul. */
static int left_reads (const mugraph_block *b, const cuda_tiled *t) {
  int n = 0;
  for (int l = 0; l < t->n_left; l++) {
    bool read = false;
    for (int i = 0; i < b->n_ops; i++) read |= t->c.role[i] & CUDA_STREAM_ROW && cuda_tiled_reaches (b, i, t->left[l]);
    for (int i = 0; i < t->n_computed; i++) read |= cuda_tiled_reaches (b, t->computed[i], t->left[l]);
    n += read;
    for (int i = 0; i < t->n_products + t->n_sources && !t->held[l]; i++)
      n += b->op[i < t->n_products ? t->product[i] : t->source[i - t->n_products]].in[0] == t->left[l];
  }
  return n;
}

bool cuda_plan_tiled (const mugraph *g, int k, const cuda_device *d, cuda_plan *p, mugraph_error *e) {
  cuda_tiled t;
  if (!match (g, k, d, &t, e)) return false;
  cuda_plan_keep (p, &t, sizeof t);
  const mugraph_op *kernel = &g->op[k];
  const mugraph_block *b = &g->block[kernel->block];
  p->sched = b->sched;
  p->sched.warps = (int16_t) (4 * t.groups + 4);
  p->sched.stages = (int16_t) t.stages;
  p->sched.split = 1;
  p->sched.swap = 1;
  p->sched.tile_m = 64;
  p->sched.tile_n = (int16_t) t.columns;
  p->sched.multicast = (int16_t) t.multicast;
  p->threads = 128 * t.groups + 128;
  p->cluster = t.multicast;
  p->blocks = (int64_t) t.clusters * t.multicast;
  p->smem = shared_bytes (&t);
  p->regs = t.launch_regs;
  const int64_t grid = (int64_t) t.tiles_m * t.tiles_n * t.others, rounds = mugraph_ceil_div (grid, p->blocks);
  p->iterations = (int) (rounds * t.steps);
  /* blocks whose last tile there is not wait for those that have one */
  p->mma_flops = 2.0 * (double) (rounds * p->blocks) * t.rows *
                 ((double) (t.n_products * t.columns + t.n_sources * t.inner) * t.steps * CUDA_TILED_K +
                  t.n_chains * t.columns * t.inner_k);
  p->fp32_flops = (double) t.c.n_rows * (double) grid * t.rows * t.steps *
                  CUDA_TILED_K; /* row statistics, by every block for itself */
  /* Copies write a stage; each warpgroup reads its rows of left tiles and all of right ones, for every matmul anew. */
  const double right = (t.n_products * t.columns + t.n_sources * t.inner) * 128.0, left = 8192.0 * left_reads (b, &t);
  p->smem_bytes = (double) (rounds * p->blocks) * t.steps * (t.stage_bytes + t.groups * (right + left));
  bool seen[MUGRAPH_FANIN] = {false};
  int64_t at = 0; /* of operands, in the first stage */
  for (int side = 0; side < 3; side++)
    for (int i = 0; i < (side == 0 ? t.n_left : side == 1 ? t.n_right : t.n_narrow); i++) {
      cuda_tile_plan *tile = &p->tile[side == 0 ? t.left[i] : side == 1 ? t.right[i] : t.narrow[i]];
      tile->home = CUDA_HOME_SHARED;
      tile->bytes = side == 0 ? t.left_bytes : side == 1 ? t.right_bytes : t.narrow_bytes;
      tile->offset = at;
      at += tile->bytes;
      bool shared = side == 0 ? !t.along_rows : side == 1 && t.along_rows; /* by the blocks of a cluster */
      tile->copy = shared && t.multicast > 1 ? CUDA_COPY_MULTICAST : CUDA_COPY_TENSOR;
      tile->depth = t.stages;
      p->l2_read += (side == 2 ? (double) CUDA_TILED_K * t.c.inner * 2 : (double) tile->bytes) * t.steps *
                    (double) grid / (shared ? t.multicast : 1);
    }
  for (int i = 0; i < t.n_chains; i++) {
    cuda_tile_plan *tile = &p->tile[cuda_stream_weight (b, b->op[t.chain[i]].in[1])];
    tile->home = CUDA_HOME_SHARED; /* of a step of its own, the last */
    tile->bytes = t.chain_bytes;
    tile->offset = (int64_t) i * t.chain_bytes;
    tile->copy = CUDA_COPY_TENSOR, tile->depth = 1;
    p->l2_read += (double) tile->bytes * (double) grid;
  }
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *o = &b->op[i];
    cuda_tile_plan *tile = &p->tile[i];
    double elements = (double) mugraph_volume (&o->shape) * (double) grid;
    if (o->kind == MUGRAPH_OP_INPUT) {
      const int tensor = kernel->in[o->in[0]], element = mugraph_dtype_bytes (cuda_plan_storage (g, tensor));
      if (!seen[o->in[0]]) p->dram_read += (double) mugraph_volume (&g->tensor[tensor].shape) * element;
      seen[o->in[0]] = true;
      if (tile->home == CUDA_HOME_SHARED) continue; /* an operand */
      tile->home = CUDA_HOME_DEVICE;                /* read where it is used */
      tile->bytes = mugraph_volume (&o->shape) * element;
      p->l2_read += elements * element;
      continue;
    }
    tile->bytes = mugraph_volume (&o->shape) * 4;
    tile->home = o->kind == MUGRAPH_OP_OUTPUT ? CUDA_HOME_DEVICE : CUDA_HOME_REGISTERS;
    tile->fused = o->kind != MUGRAPH_OP_OUTPUT && !(t.c.role[i] & (CUDA_STREAM_PRODUCT | CUDA_STREAM_ROW));
    if (!is_elementwise (o)) continue;
    double times = elements * (o->after_loop ? 1 : b->loop);
    p->fp32_flops += times;
    if (mugraph_op_table[o->kind].unit == MUGRAPH_ON_SFU) p->sfu_ops += times;
  }
  for (int i = 0; i < kernel->n_out; i++)
    p->dram_write += (double) mugraph_volume (&g->tensor[kernel->out[i]].shape) *
                     mugraph_dtype_bytes (cuda_plan_storage (g, kernel->out[i]));
  return true;
}
