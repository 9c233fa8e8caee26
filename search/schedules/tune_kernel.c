/* The schedules of one kernel: see tune_kernel.h. */
#include "tune_kernel.h"
#include "values.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum {
  SEEDS = 6,      /* coarse schedules that are refined */
  FAMILY = 2,     /* kept of those that differ in their depth only */
  ROUNDS = 8,     /* of refinement */
  SMALL_TILE = 8, /* of an axis that has more */
  MAX_BLOCKS = 1 << 16,
  MAX_GRID_YZ = 65535
};

/* ---- axes ---- */

static mugraph_block *block_of (tuner *t) { return &t->graph.block[t->graph.op[t->kernel].block]; }

/* What the axes of the kernel split, from its iterators: all that use an axis must agree. A saver that does not say
   where to put the tiles of an axis forbids more than one. */
static void find_axes (tuner *t) {
  const mugraph_block *b = block_of (t);
  const mugraph_op *kernel = &t->graph.op[t->kernel];
  bool fixed[3] = {false};
  memset (t->size, 0, sizeof t->size);
  for (int a = 0; a < 3; a++) t->leading[a] = true;
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *o = &b->op[i];
    for (int a = 0; a < 3; a++) {
      if (o->kind == MUGRAPH_OP_OUTPUT && o->map[a] < 0) fixed[a] = true;
      if (o->kind != MUGRAPH_OP_INPUT || o->map[a] < 0) continue;
      const mugraph_shape *data = &t->graph.tensor[kernel->in[o->in[0]]].shape;
      int32_t size = data->dim[o->map[a]];
      t->leading[a] &= o->map[a] < data->n_dims - 2;
      if (t->size[a] && t->size[a] != size) fixed[a] = true;
      t->size[a] = size;
    }
  }
  for (int a = 0; a < 3; a++)
    if (fixed[a]) t->size[a] = 0;
}

/* The elements that the loop walks in one block under the present grid; 0 where nothing is walked. */
static int32_t walked (const tuner *t, const int32_t grid[3]) {
  const mugraph_op *kernel = &t->graph.op[t->kernel];
  const mugraph_block *b = &t->graph.block[kernel->block];
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *o = &b->op[i];
    if (o->kind != MUGRAPH_OP_INPUT || o->fmap < 0) continue;
    int32_t size = t->graph.tensor[kernel->in[o->in[0]]].shape.dim[o->fmap];
    for (int a = 0; a < 3; a++)
      if (o->map[a] == o->fmap) size = (int32_t) mugraph_ceil_div (size, grid[a]);
    return size;
  }
  return 0;
}

/* False when this choice was tried before. */
static bool remember (tuner *t, const tune_choice *c) {
  uint64_t hash = XXH3_64bits (c->extent, sizeof c->extent) ^ XXH3_64bits_withSeed (&c->sched, sizeof c->sched, 1);
  hash |= 1;
  uint64_t mask = (uint64_t) t->seen_slots - 1, s = hash & mask;
  for (; t->seen[s]; s = (s + 1) & mask)
    if (t->seen[s] == hash) return false;
  t->seen[s] = hash, t->n_seen++;
  return true;
}

/* ---- plans ---- */

void tune_apply (mugraph_block *b, const tune_choice *c, mugraph_sched sched) {
  memcpy (b->grid, c->extent, sizeof b->grid);
  b->loop = c->extent[TUNE_LOOP];
  b->sched = sched;
}

uint64_t tune_hash_of_plan (const int32_t grid[3], const cuda_plan *p) {
  struct {
    int64_t grid[3], blocks, smem, threads, iterations, cluster;
    mugraph_sched sched;
  } key;
  memset (&key, 0, sizeof key); /* padding too */
  for (int a = 0; a < 3; a++) key.grid[a] = grid[a];
  key.blocks = p->blocks, key.smem = p->smem, key.threads = p->threads;
  key.iterations = p->iterations, key.cluster = p->cluster, key.sched = p->sched;
  return XXH3_64bits (&key, sizeof key);
}

/* Whether the block with this request is launched as p says. */
static bool plans_the_same (tuner *t, mugraph_block *b, mugraph_sched request, const cuda_plan *p) {
  cuda_plan again, want = *p;
  mugraph_sched asked = b->sched;
  b->sched = request;
  bool same = cuda_plan_kernel (&t->graph, t->kernel, t->device, &again, NULL);
  b->sched = asked;
  memset (&want.sched, 0, sizeof want.sched), memset (&again.sched, 0, sizeof again.sched);
  return same && !memcmp (&want, &again, offsetof (cuda_plan, found));
}

/* Takes from a choice what its plan does not depend on, and names what the planner chose where it takes that back as a
   request: a saved schedule then stays what it was though defaults change. */
static void pin (tuner *t, mugraph_block *b, tune_choice *c, cuda_plan *p) {
  mugraph_sched defaults;
  mugraph_sched_default (&defaults);
  for (int i = 0; i < VALUES_PARAMETERS; i++) {
    const values_parameter *v = &values_of[i];
    int16_t usual = values_get (&defaults, v);
    mugraph_sched less = c->sched;
    values_set (&less, v, usual);
    if (values_get (&c->sched, v) != usual && plans_the_same (t, b, less, p)) c->sched = less;
  }
  b->sched = c->sched;
  cuda_plan_kernel (&t->graph, t->kernel, t->device, p, NULL);
  c->used = p->sched;
  if (!plans_the_same (t, b, c->used, p)) c->used = c->sched, c->used.backend = (int16_t) p->backend;
  c->plan = tune_hash_of_plan (c->extent, p);
}

/* ---- costs ---- */

/* Seconds that the next kernel takes to read partial results from L2: more of them, the more parts there are. */
static double reread (const tuner *t, const mugraph_shape out[], int n_out) {
  double bytes = 0;
  for (int i = 0; i < n_out; i++) bytes += 4 * (double) mugraph_volume (&out[i]);
  return bytes / t->device->l2_bw;
}

double tuner_judge (const tuner *t, double plain, double pdl) { return t->plain ? plain : cost_score (plain, pdl); }

static void cost_choice (const tuner *t, const cuda_plan *plan, double more, tune_choice *c) {
  cost_parts parts;
  cost_planned (&t->graph, t->kernel, plan, t->device, &t->caches, &parts);
  c->plain = parts.plain + more, c->pdl = parts.pdl + more;
  c->cost = tuner_judge (t, c->plain, c->pdl);
}

/* The same but for the depth of the pipeline, or for what the model does not see: parameters that a generator only
 * passes on. */
static bool of_a_family (const tune_choice *a, const tune_choice *b) {
  mugraph_sched x = a->used, y = b->used;
  x.stages = y.stages = 0;
  return !memcmp (a->extent, b->extent, sizeof a->extent) &&
         (!memcmp (&x, &y, sizeof x) || (a->plain == b->plain && a->pdl == b->pdl));
}

/* Files a choice among the best. One for each plan, few of a family. */
static void keep (tuner *t, const tune_choice *c) {
  int at = t->n_best, family = 0, last = TUNE_KEPT - 1;
  for (int i = 0; i < t->n_best; i++) {
    if (t->best[i].plan == c->plan) return;
    if (of_a_family (&t->best[i], c)) family++, last = i;
  }
  while (at && t->best[at - 1].cost > c->cost) at--;
  if (family < FAMILY)
    last = t->n_best < TUNE_KEPT ? t->n_best : TUNE_KEPT - 1; /* else the dearest of its family goes */
  if (at > last) return;
  memmove (t->best + at + 1, t->best + at, (size_t) (last - at) * sizeof *t->best);
  t->best[at] = *c;
  if (last == t->n_best) t->n_best++;
}

/* ---- one choice ---- */

/* Whether CUDA launches such a grid. */
static bool may_launch (const tune_choice *c) {
  int64_t blocks = 1;
  for (int a = 0; a < 3; a++) {
    if (c->extent[a] < 1 || (a && c->extent[a] > MAX_GRID_YZ)) return false;
    blocks *= c->extent[a];
  }
  return blocks <= MAX_BLOCKS;
}

/* Sets c's cost: infinity where the planner refuses. out[n_out]: the shapes of the kernel's results, which the graph
   has already. Only what may be kept gets a schedule of its own, as it will be saved, which is as it is launched. */
static void plan_and_cost (tuner *t, mugraph_block *b, const mugraph_shape out[], int n_out, tune_choice *c) {
  cuda_plan plan;
  if (!cuda_plan_kernel (&t->graph, t->kernel, t->device, &plan, NULL)) return;
  double worst = t->n_best < TUNE_KEPT ? INFINITY : t->best[TUNE_KEPT - 1].cost, more = reread (t, out, n_out);
  cost_choice (t, &plan, more, c);
  if (c->cost >= worst) return;
  pin (t, b, c, &plan);
  cost_choice (t, &plan, more, c);
}

/* Sets c's cost under the shapes that its extents make; leaves the graph as it was, the block's choice aside. */
static void cost_in_graph (tuner *t, mugraph_block *b, tune_choice *c) {
  mugraph_shape in[MUGRAPH_FANIN], out[MUGRAPH_FANOUT], kept[MUGRAPH_FANOUT] = {{.n_dims = 0}};
  const mugraph_op *op = &t->graph.op[t->kernel];
  int n_out;
  c->cost = INFINITY;
  for (int i = 0; i < op->n_in; i++) in[i] = t->graph.tensor[op->in[i]].shape;
  if (!mugraph_infer_block (b, op->n_in, in, &n_out, out, NULL) || n_out != op->n_out) return;
  for (int i = 0; i < n_out; i++) {
    kept[i] = t->graph.tensor[op->out[i]].shape;
    out[i].dtype = kept[i].dtype;
    t->graph.tensor[op->out[i]].shape = out[i];
  }
  plan_and_cost (t, b, out, n_out, c);
  for (int i = 0; i < n_out; i++) t->graph.tensor[op->out[i]].shape = kept[i];
}

/* Costs a choice and files it. False once the budget is spent. */
static bool try_choice (tuner *t, tune_choice c) {
  if (t->plans >= t->max_plans || 2 * t->n_seen >= t->seen_slots) return false;
  if (!may_launch (&c)) return true;
  int32_t walks = walked (t, c.extent);
  if (walks && c.extent[TUNE_LOOP] > walks) c.extent[TUNE_LOOP] = walks;
  if (!remember (t, &c)) return true;
  t->plans++;
  mugraph_block *b = block_of (t), before = *b;
  tune_apply (b, &c, c.sched);
  cost_in_graph (t, b, &c);
  *b = before;
  t->last = c.cost;
  if (isfinite (c.cost)) keep (t, &c);
  return true;
}

/* ---- coarse extents ---- */

typedef struct {
  int32_t extent[3];
  int16_t split;
  float score;
} combination;

static int compare_combinations (const void *x, const void *y) {
  const combination *a = x, *b = y;
  if (a->score != b->score) return a->score < b->score ? -1 : 1;
  if (a->split != b->split) return a->split - b->split;
  return memcmp (a->extent, b->extent, sizeof a->extent); /* any order will do, as long as it is always the same */
}

/* How far a number of blocks is, in powers of two, from one and a half an SM. */
static double distance (const tuner *t, double blocks) { return fabs (log2 (blocks / (1.5 * t->device->sms))); }

/* The lower the better: near one or two blocks an SM, tiles that are not tiny, one matrix where there are several. */
static double score_extents (const tuner *t, const combination *c, double blocks) {
  float score = (float) distance (t, blocks);
  for (int a = 0; a < 3; a++) {
    if (!t->size[a]) continue;
    double tile = (double) t->size[a] / c->extent[a];
    score += t->leading[a] ? (float) log2 (tile) : t->size[a] >= SMALL_TILE && tile < SMALL_TILE;
  }
  return score;
}

/* The largest cluster that shares the loop where the blocks are too few; 1 where they are not. Larger clusters than
   pairs do not fill all SMs. */
static int16_t widest_split (const tuner *t, double blocks) {
  int16_t most = 1;
  for (int i = 0; i < VALUES_SPLITS; i++)
    if (blocks * values_split[i] <= (values_split[i] > 2 ? 0.93 : 1) * t->device->sms) most = values_split[i];
  return t->device->arch < 90 ? 1 : most;
}

/* Appends these extents to all, without and with clusters. Returns how many there are. */
static int add_combinations (const tuner *t, const int32_t extent[3], combination all[], int n) {
  combination c = {.extent = {extent[0], extent[1], extent[2]}, .split = 1};
  double blocks = (double) c.extent[0] * c.extent[1] * c.extent[2];
  c.score = (float) score_extents (t, &c, blocks);
  all[n++] = c;
  c.split = widest_split (t, blocks);
  if (c.split == 1) return n;
  c.score += (float) (0.3 + distance (t, blocks * c.split) - distance (t, blocks));
  all[n++] = c;
  return n;
}

/* All combinations of coarse extents, the best first, those with and without clusters taking turns. The caller frees
   them. NULL without memory. */
static combination *list_combinations (const tuner *t, const tune_choice *start, int *count) {
  int32_t value[3][VALUES_EXTENTS];
  int n[3];
  for (int a = 0; a < 3; a++) {
    n[a] = t->size[a] ? values_extents (t->size[a], 0, t->device, value[a]) : 1;
    if (!t->size[a]) value[a][0] = start->extent[a];
  }
  combination *all = malloc (2 * (size_t) n[0] * (size_t) n[1] * (size_t) n[2] * sizeof *all);
  *count = 0;
  for (int x = 0; all && x < n[0]; x++)
    for (int y = 0; y < n[1]; y++)
      for (int z = 0; z < n[2]; z++)
        *count = add_combinations (t, (int32_t[]){value[0][x], value[1][y], value[2][z]}, all, *count);
  if (!all) return NULL;
  qsort (all, (size_t) *count, sizeof *all, compare_combinations);
  for (int i = 0, rank[2] = {0, 0}; i < *count; i++) all[i].score = (float) rank[all[i].split > 1]++;
  qsort (all, (size_t) *count, sizeof *all, compare_combinations);
  return all;
}

/* One combination with several extents of the loop, the launch parameters left to the planner. */
static void try_combination (tuner *t, const tune_choice *start, const combination *all, bool promising, int limit) {
  static const int32_t loops[] = {64, 256, 16, 1 << 28};
  tune_choice c = *start;
  memcpy (c.extent, all->extent, sizeof all->extent);
  c.sched.split = all->split;
  int32_t walks = walked (t, c.extent);
  size_t tried = !walks ? 1 : promising ? sizeof loops / sizeof *loops : 2;
  for (size_t l = 0; l < tried && t->plans < limit; l++) {
    c.extent[TUNE_LOOP] =
        walks ? (int32_t) mugraph_ceil_div (walks, loops[l] < walks ? loops[l] : walks) : start->extent[TUNE_LOOP];
    double before = t->last;
    try_choice (t, c);
    if (l == 1 && t->last == before) break; /* its generator cuts the loop by itself */
  }
}

static void try_coarse (tuner *t, const tune_choice *start, int budget) {
  int count, limit = t->plans + budget;
  combination *all = list_combinations (t, start, &count);
  for (int i = 0; all && i < count && t->plans < limit; i++) try_combination (t, start, &all[i], i < count / 4, limit);
  free (all);
}

/* ---- refinement ---- */

/* Every launch parameter to each of its values. False once the budget is spent, as those below. */
static bool try_parameters (tuner *t, const tune_choice *from) {
  for (int p = 0; p < VALUES_PARAMETERS; p++)
    for (int v = 0; v < values_of[p].n; v++) {
      tune_choice c = *from;
      values_set (&c.sched, &values_of[p], values_of[p].value[v]);
      if (values_of[p].offset == offsetof (mugraph_sched, copy))
        c.sched.warps = c.sched.stages = c.sched.tile_n = 0; /* another way has others */
      if (!try_choice (t, c)) return false;
    }
  return true;
}

/* Another extent of grid axis a; and the same with as many blocks as before, by sharing the loop. */
static bool try_extent (tuner *t, const tune_choice *from, int a, int32_t extent) {
  tune_choice c = *from;
  c.extent[a] = extent;
  if (!try_choice (t, c)) return false;
  c.sched.split = (int16_t) (from->sched.split * from->extent[a] / extent);
  for (int s = 0; s < VALUES_SPLITS; s++)
    if (c.sched.split == values_split[s] && c.sched.split != from->sched.split && !try_choice (t, c)) return false;
  return true;
}

/* The extents of grid axis a that are not far from the present one. */
static bool try_axis (tuner *t, const tune_choice *from, int a) {
  int32_t value[VALUES_EXTENTS];
  int64_t others = from->sched.split > 1 ? from->sched.split : 1;
  for (int o = 0; o < 3; o++)
    if (o != a) others *= from->extent[o];
  int n = values_extents (t->size[a], others, t->device, value);
  for (int v = 0; v < n; v++) {
    if (value[v] > 8 * from->extent[a] || from->extent[a] > 8 * value[v]) continue;
    if (!try_extent (t, from, a, value[v])) return false;
  }
  return true;
}

static bool try_loops (tuner *t, const tune_choice *from) {
  int32_t walks = walked (t, from->extent);
  for (int i = 0; walks && i < VALUES_TILES; i++) {
    if (values_tile[i] < 16) continue;
    tune_choice c = *from;
    c.extent[TUNE_LOOP] = (int32_t) mugraph_ceil_div (walks, values_tile[i] < walks ? values_tile[i] : walks);
    if (!try_choice (t, c)) return false;
  }
  return true;
}

static bool try_neighbours (tuner *t, const tune_choice *from) {
  if (!try_parameters (t, from)) return false;
  for (int a = 0; a < 3; a++)
    if (t->size[a] && !try_axis (t, from, a)) return false;
  return try_loops (t, from);
}

/* Of the best choices so far those to refine: in the first round several that differ in their grid. */
static int choose_seeds (const tuner *t, bool first, tune_choice seed[SEEDS]) {
  int n = 0;
  for (int i = 0; i < t->n_best && n < (first ? SEEDS : 2); i++) {
    bool alike = false;
    for (int k = 0; k < n && first; k++)
      alike |= !memcmp (seed[k].extent, t->best[i].extent, 3 * sizeof *seed[k].extent);
    if (!alike) seed[n++] = t->best[i];
  }
  return n;
}

static void refine (tuner *t) {
  bool more = t->n_best > 0;
  for (int round = 0; round < ROUNDS && more; round++) {
    tune_choice seed[SEEDS];
    int n = choose_seeds (t, !round, seed);
    for (int i = 0; i < n && more; i++) more = try_neighbours (t, &seed[i]);
  }
}

/* ---- the kernel ---- */

void tuner_run (tuner *t, int budget) {
  tune_choice start = {.cost = INFINITY};
  const mugraph_block *b = block_of (t);
  memcpy (start.extent, b->grid, sizeof b->grid);
  start.extent[TUNE_LOOP] = b->loop;
  start.sched = b->sched;
  t->n_best = t->n_seen = 0;
  memset (t->seen, 0, (size_t) t->seen_slots * sizeof *t->seen);
  int limit = t->max_plans;
  if (t->max_plans > t->plans + budget) t->max_plans = t->plans + budget;
  find_axes (t);
  try_choice (t, start); /* as the structure came */
  int16_t pdl = start.sched.pdl;
  mugraph_sched_default (&start.sched);
  start.sched.pdl = pdl;
  try_coarse (t, &start, budget / 2);
  refine (t);
  t->max_plans = limit;
}

tuner *tuner_new (const cuda_device *d, bool plain, int max_plans) {
  tuner *t = calloc (1, sizeof *t);
  if (!t) return NULL;
  t->device = d, t->max_plans = max_plans, t->plain = plain;
  t->seen_slots = 256;
  while (t->seen_slots < 4 * max_plans) t->seen_slots *= 2;
  t->seen = calloc ((size_t) t->seen_slots, sizeof *t->seen);
  t->best = malloc ((TUNE_KEPT + 1) * sizeof *t->best);
  if (!t->seen || !t->best) return tuner_free (t), NULL;
  return t;
}

void tuner_free (tuner *t) {
  if (t) free (t->seen), free (t->best);
  free (t);
}
