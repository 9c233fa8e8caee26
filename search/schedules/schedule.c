#include "schedule.h"
#include "cuda_templates/cost.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum {
  PLANS = 3000, /* asked of the planner for one structure, by default */
  SEEDS = 6,    /* coarse schedules of a kernel that are refined */
  BEAM = 6,     /* choices kept from kernel to kernel */
  KEPT = 64,    /* best schedules of one kernel */
  FAMILY = 2,   /* of those that differ in their depth only */
  ROUNDS = 8,   /* of refinement */
  AXES = 4,     /* grid x, y, z and the loop */
  LOOP = 3,
  SMALL_TILE = 8, /* of an axis that has more */
  MAX_BLOCKS = 1 << 16,
  MAX_GRID_YZ = 65535
};

/* ---- values worth trying ---- */

static const int32_t tiles[] = {1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024};

static int32_t ceil_div (int64_t a, int64_t b) { return (int32_t) ((a + b - 1) / b); }

/* The extent of tiles of this size. None is empty, and they are as even as may be: 100 in tiles of 48 are 3 of 34. */
static void add_extent (int32_t size, int64_t tile, int32_t extent[], int *n) {
  if (tile < 1 || *n == SCHEDULE_EXTENTS) return;
  int32_t e = tile >= size ? 1 : ceil_div (size, tile);
  int at = 0;
  while (at < *n && extent[at] < e) at++;
  if (at < *n && extent[at] == e) return;
  memmove (extent + at + 1, extent + at, (size_t) (*n - at) * sizeof *extent);
  extent[at] = e, ++*n;
}

int schedule_extents (int32_t size, int64_t others, const cuda_device *d, int32_t extent[SCHEDULE_EXTENTS]) {
  int n = 0;
  for (size_t i = 0; i < sizeof tiles / sizeof *tiles; i++) add_extent (size, tiles[i], extent, &n);
  add_extent (size, size, extent, &n);
  for (int waves = 1; waves <= 4 && others > 0; waves++) {
    int64_t blocks = (int64_t) waves * d->sms / others;
    if (blocks < 1) continue;
    int64_t tile = ceil_div (size, blocks);
    add_extent (size, tile, extent, &n);               /* fills the waves */
    add_extent (size, (tile + 7) / 8 * 8, extent, &n); /* in vectors of 16 bytes */
    add_extent (size, (tile + 15) / 16 * 16, extent, &n);
  }
  return n;
}

static const int16_t splits[] = {1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16}, warps[] = {0, 1, 2, 4, 8, 16, 32},
                     stages[] = {0, 1, 2, 3, 4, 6, 8};
static const int16_t swaps[] = {0, 1, 2}, tile_ms[] = {0, 16, 32, 64}, tile_ns[] = {0, 8, 16, 32, 64, 128};
static const int16_t multicasts[] = {0, 1, 2, 4}, copies[] = {0, 1, 2};
static const int16_t backends[] = {CUDA_GENERATOR_AUTO,  CUDA_GENERATOR_GENERIC, CUDA_GENERATOR_STREAM,
                                   CUDA_GENERATOR_CHAIN, CUDA_GENERATOR_ROWS,    CUDA_GENERATOR_TILED};

/* The launch parameters that are searched. pdl is left to who launches: the model sees it as a constant. */
static const struct {
  size_t offset;
  const int16_t *value;
  int n;
} parameters[] = {
#define PARAMETER(name, values)                                                                                        \
  { offsetof (mugraph_sched, name), values, sizeof values / sizeof *values }
    PARAMETER (backend, backends), PARAMETER (split, splits),         PARAMETER (warps, warps),
    PARAMETER (stages, stages),    PARAMETER (tile_n, tile_ns),       PARAMETER (swap, swaps),
    PARAMETER (tile_m, tile_ms),   PARAMETER (multicast, multicasts), PARAMETER (copy, copies),
#undef PARAMETER
};
enum { PARAMETERS = sizeof parameters / sizeof *parameters };

/* ---- one kernel ---- */

typedef struct {
  int32_t extent[AXES]; /* grid, loop */
  mugraph_sched sched;  /* 0: the planner's choice */
  mugraph_sched used;   /* what the planner made of it */
  uint64_t plan;        /* hash of what is launched: choices of one plan are one schedule */
  double plain, pdl;    /* seconds, of this kernel */
  double cost;          /* what it is chosen by */
} choice;

typedef struct {
  mugraph graph; /* every block as chosen so far */
  const cuda_device *device;
  int kernel;
  bool plain; /* chosen for the time when launched plainly; else by score */
  cost_caches caches;
  int32_t size[AXES]; /* elements that each axis splits; 0: unused or not to be changed */
  bool leading[AXES]; /* of matrices side by side, not of their rows or columns */
  choice *best;       /* KEPT, cheapest first */
  int n_best;
  uint64_t *seen; /* hashes of choices tried; open addressing */
  int n_seen, seen_slots;
  int plans, max_plans;
  double last; /* cost of the last choice tried */
} tuner;

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
      if (o->map[a] == o->fmap) size = ceil_div (size, grid[a]);
    return size;
  }
  return 0;
}

static bool remember (tuner *t, const choice *c) {
  uint64_t hash = XXH3_64bits (c->extent, sizeof c->extent) ^ XXH3_64bits_withSeed (&c->sched, sizeof c->sched, 1);
  hash |= 1;
  uint64_t mask = (uint64_t) t->seen_slots - 1, s = hash & mask;
  for (; t->seen[s]; s = (s + 1) & mask)
    if (t->seen[s] == hash) return false;
  t->seen[s] = hash, t->n_seen++;
  return true;
}

static void apply (mugraph_block *b, const choice *c, mugraph_sched sched) {
  memcpy (b->grid, c->extent, sizeof b->grid);
  b->loop = c->extent[LOOP];
  b->sched = sched;
}

static uint64_t hash_of_plan (const choice *c, const cuda_plan *p) {
  struct {
    int64_t grid[3], blocks, smem, threads, iterations, cluster;
    mugraph_sched sched;
  } key;
  memset (&key, 0, sizeof key); /* padding too */
  for (int a = 0; a < 3; a++) key.grid[a] = c->extent[a];
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
  return same && !memcmp (&want, &again, sizeof want);
}

/* Takes from a choice what its plan does not depend on, and names what the planner chose where it takes that back as a
   request: a saved schedule then stays what it was though defaults change. */
static void pin (tuner *t, mugraph_block *b, choice *c, cuda_plan *p) {
  mugraph_sched plain;
  mugraph_sched_default (&plain);
  for (int i = 0; i < PARAMETERS; i++) {
    mugraph_sched less = c->sched;
    size_t at = parameters[i].offset;
    memcpy ((char *) &less + at, (char *) &plain + at, sizeof (int16_t));
    if (!memcmp ((char *) &less + at, (char *) &c->sched + at, sizeof (int16_t)) || !plans_the_same (t, b, less, p))
      continue;
    c->sched = less;
  }
  b->sched = c->sched;
  cuda_plan_kernel (&t->graph, t->kernel, t->device, p, NULL);
  c->used = p->sched;
  if (!plans_the_same (t, b, c->used, p)) c->used = c->sched, c->used.backend = (int16_t) p->backend;
  c->plan = hash_of_plan (c, p);
}

/* Whoever reads partial results reads more of them, from L2. */
static double reread (const tuner *t, const mugraph_shape out[], int n_out) {
  double bytes = 0;
  for (int i = 0; i < n_out; i++) bytes += 4 * (double) mugraph_volume (&out[i]);
  return bytes / t->device->l2_bw;
}

static double judge (const tuner *t, double plain, double pdl) { return t->plain ? plain : cost_score (plain, pdl); }

static void cost_choice (const tuner *t, const cuda_plan *plan, double more, choice *c) {
  cost_parts parts;
  cost_planned (&t->graph, t->kernel, plan, t->device, &t->caches, &parts);
  c->plain = parts.plain + more, c->pdl = parts.pdl + more;
  c->cost = judge (t, c->plain, c->pdl);
}

/* The same but for the depth of the pipeline, or for what the model does not see: parameters that a generator only
 * passes on. */
static bool of_a_family (const choice *a, const choice *b) {
  mugraph_sched x = a->used, y = b->used;
  x.stages = y.stages = 0;
  return !memcmp (a->extent, b->extent, sizeof a->extent) &&
         (!memcmp (&x, &y, sizeof x) || (a->plain == b->plain && a->pdl == b->pdl));
}

/* Files a choice among the best. One for each plan, few of a family. */
static void keep (tuner *t, const choice *c) {
  int at = t->n_best, family = 0, last = KEPT - 1;
  for (int i = 0; i < t->n_best; i++) {
    if (t->best[i].plan == c->plan) return;
    if (of_a_family (&t->best[i], c)) family++, last = i;
  }
  while (at && t->best[at - 1].cost > c->cost) at--;
  if (family < FAMILY) last = t->n_best < KEPT ? t->n_best : KEPT - 1; /* else the dearest of its family goes */
  if (at > last) return;
  memmove (t->best + at + 1, t->best + at, (size_t) (last - at) * sizeof *t->best);
  t->best[at] = *c;
  if (last == t->n_best) t->n_best++;
}

/* Costs a choice and files it. False once the budget is spent. */
static bool try_choice (tuner *t, choice c) {
  if (t->plans >= t->max_plans || 2 * t->n_seen >= t->seen_slots) return false;
  int64_t blocks = 1;
  for (int a = 0; a < 3; a++) {
    if (c.extent[a] < 1 || (a && c.extent[a] > MAX_GRID_YZ)) return true;
    blocks *= c.extent[a];
  }
  int32_t walks = walked (t, c.extent);
  if (walks && c.extent[LOOP] > walks) c.extent[LOOP] = walks;
  if (blocks > MAX_BLOCKS || !remember (t, &c)) return true;
  t->plans++;
  mugraph_block *b = block_of (t), before = *b;
  cuda_plan plan;
  apply (b, &c, c.sched);
  mugraph_shape in[MUGRAPH_FANIN], out[MUGRAPH_FANOUT], kept[MUGRAPH_FANOUT] = {{.n_dims = 0}};
  const mugraph_op *op = &t->graph.op[t->kernel];
  int n_out;
  for (int i = 0; i < op->n_in; i++) in[i] = t->graph.tensor[op->in[i]].shape;
  c.cost = INFINITY;
  if (mugraph_infer_block (b, op->n_in, in, &n_out, out, NULL) && n_out == op->n_out) {
    for (int i = 0; i < n_out; i++) {
      kept[i] = t->graph.tensor[op->out[i]].shape;
      out[i].dtype = kept[i].dtype;
      t->graph.tensor[op->out[i]].shape = out[i];
    }
    if (cuda_plan_kernel (&t->graph, t->kernel, t->device, &plan, NULL)) {
      double worst = t->n_best < KEPT ? INFINITY : t->best[KEPT - 1].cost, more = reread (t, out, n_out);
      cost_choice (t, &plan, more, &c);
      if (c.cost < worst) { /* as it will be saved, which is as it is launched */
        pin (t, b, &c, &plan);
        cost_choice (t, &plan, more, &c);
      }
    }
    for (int i = 0; i < n_out; i++) t->graph.tensor[op->out[i]].shape = kept[i];
  }
  *b = before;
  t->last = c.cost;
  if (isfinite (c.cost)) keep (t, &c);
  return true;
}

typedef struct {
  int32_t extent[3];
  int16_t split;
  float score;
} combination;

static int compare_combinations (const void *x, const void *y) {
  const combination *a = x, *b = y;
  if (a->score != b->score) return a->score < b->score ? -1 : 1;
  if (a->split != b->split) return a->split - b->split;
  return memcmp (a->extent, b->extent, sizeof a->extent); /* the same order everywhere */
}

/* Combinations of coarse extents, the launch parameters left to the planner: those first that make one or two blocks an
   SM of tiles that are not tiny, and of one matrix where there are several. Where the tiles are too few, clusters that
   share the loop make up for it; with and without take turns. */
static void try_coarse (tuner *t, const choice *start, int budget) {
  static const int32_t loops[] = {64, 256, 16, 1 << 28};
  int32_t value[3][SCHEDULE_EXTENTS];
  int n[3], count = 0, limit = t->plans + budget;
  for (int a = 0; a < 3; a++) {
    n[a] = t->size[a] ? schedule_extents (t->size[a], 0, t->device, value[a]) : 1;
    if (!t->size[a]) value[a][0] = start->extent[a];
  }
  combination *all = malloc (2 * (size_t) n[0] * (size_t) n[1] * (size_t) n[2] * sizeof *all);
  if (!all) return;
  for (int x = 0; x < n[0]; x++)
    for (int y = 0; y < n[1]; y++)
      for (int z = 0; z < n[2]; z++) {
        combination c = {.extent = {value[0][x], value[1][y], value[2][z]}};
        double blocks = (double) c.extent[0] * c.extent[1] * c.extent[2];
        c.score = (float) fabs (log2 (blocks / (1.5 * t->device->sms)));
        for (int a = 0; a < 3; a++) {
          if (!t->size[a]) continue;
          double tile = (double) t->size[a] / c.extent[a];
          c.score += t->leading[a] ? (float) log2 (tile) : t->size[a] >= SMALL_TILE && tile < SMALL_TILE;
        }
        c.split = 1;
        all[count++] = c;
        int most = 1;
        for (size_t i = 0; i < sizeof splits / sizeof *splits; i++)
          if (blocks * splits[i] <= (splits[i] > 2 ? 0.93 : 1) * t->device->sms)
            most = splits[i]; /* larger clusters do not fill all SMs */
        if (most == 1 || t->device->arch < 90) continue;
        c.score += (float) (0.3 + fabs (log2 (blocks * most / (1.5 * t->device->sms))) -
                            fabs (log2 (blocks / (1.5 * t->device->sms))));
        c.split = (int16_t) most;
        all[count++] = c;
      }
  qsort (all, (size_t) count, sizeof *all, compare_combinations);
  for (int i = 0, rank[2] = {0, 0}; i < count; i++) all[i].score = (float) rank[all[i].split > 1]++;
  qsort (all, (size_t) count, sizeof *all, compare_combinations);
  for (int i = 0; i < count && t->plans < limit; i++) {
    choice c = *start;
    memcpy (c.extent, all[i].extent, sizeof all[i].extent);
    c.sched.split = all[i].split;
    int32_t walks = walked (t, c.extent);
    size_t tried = !walks ? 1 : i < count / 4 ? sizeof loops / sizeof *loops : 2;
    for (size_t l = 0; l < tried && t->plans < limit; l++) {
      c.extent[LOOP] = walks ? ceil_div (walks, loops[l] < walks ? loops[l] : walks) : start->extent[LOOP];
      double before = t->last;
      try_choice (t, c);
      if (l == 1 && t->last == before) break; /* a generator that cuts the loop itself */
    }
  }
  free (all);
}

/* Every parameter of a choice to each of its values, and each extent together with the split of its loop. */
static bool try_neighbours (tuner *t, const choice *from) {
  choice c;
  for (int p = 0; p < PARAMETERS; p++)
    for (int v = 0; v < parameters[p].n; v++) {
      c = *from;
      memcpy ((char *) &c.sched + parameters[p].offset, &parameters[p].value[v], sizeof (int16_t));
      if (parameters[p].offset == offsetof (mugraph_sched, copy))
        c.sched.warps = c.sched.stages = c.sched.tile_n = 0; /* another way has others */
      if (!try_choice (t, c)) return false;
    }
  for (int a = 0; a < 3; a++) {
    if (!t->size[a]) continue;
    int32_t value[SCHEDULE_EXTENTS];
    int64_t others = from->sched.split > 1 ? from->sched.split : 1;
    for (int o = 0; o < 3; o++)
      if (o != a) others *= from->extent[o];
    int n = schedule_extents (t->size[a], others, t->device, value);
    for (int v = 0; v < n; v++) {
      if (value[v] > 8 * from->extent[a] || from->extent[a] > 8 * value[v]) continue;
      c = *from;
      c.extent[a] = value[v];
      if (!try_choice (t, c)) return false;
      /* as many blocks as before, by sharing the loop */
      c.sched.split = (int16_t) (from->sched.split * from->extent[a] / value[v]);
      for (int s = 0; s < (int) (sizeof splits / sizeof *splits); s++)
        if (c.sched.split == splits[s] && c.sched.split != from->sched.split && !try_choice (t, c)) return false;
    }
  }
  int32_t walks = walked (t, from->extent);
  for (size_t i = 0; walks && i < sizeof tiles / sizeof *tiles; i++) {
    if (tiles[i] < 16) continue;
    c = *from;
    c.extent[LOOP] = ceil_div (walks, tiles[i] < walks ? tiles[i] : walks);
    if (!try_choice (t, c)) return false;
  }
  return true;
}

/* Fills best for the kernel under the graph's present shapes. */
static void tune (tuner *t, int budget) {
  choice start = {.cost = INFINITY};
  const mugraph_block *b = block_of (t);
  memcpy (start.extent, b->grid, sizeof b->grid);
  start.extent[LOOP] = b->loop;
  start.sched = b->sched;
  t->n_best = t->n_seen = 0;
  memset (t->seen, 0, (size_t) t->seen_slots * sizeof *t->seen);
  int from = t->plans, limit = t->max_plans;
  if (t->max_plans > from + budget) t->max_plans = from + budget;
  find_axes (t);
  try_choice (t, start); /* as the structure came */
  int16_t pdl = start.sched.pdl;
  mugraph_sched_default (&start.sched);
  start.sched.pdl = pdl;
  try_coarse (t, &start, budget / 2);
  bool more = t->n_best > 0;
  for (int round = 0; round < ROUNDS && more; round++) {
    choice seed[SEEDS];
    int n = 0;
    for (int i = 0; i < t->n_best && n < (round ? 2 : SEEDS); i++) {
      bool alike = false; /* seeds differ in their grid */
      for (int k = 0; k < n && !round; k++) alike |= !memcmp (seed[k].extent, t->best[i].extent, sizeof b->grid);
      if (!alike) seed[n++] = t->best[i];
    }
    for (int i = 0; i < n && more; i++) more = try_neighbours (t, &seed[i]);
  }
  t->max_plans = limit;
}

/* ---- the whole graph: a beam from kernel to kernel ---- */

typedef struct {
  double plain, pdl, cost;       /* of the kernels so far */
  choice choice[MUGRAPH_BLOCKS]; /* by block */
  cost_caches caches;
} partial;

static int compare_partials (const void *x, const void *y) {
  const partial *a = x, *b = y;
  return (a->cost > b->cost) - (a->cost < b->cost);
}

static void add_kernel (const tuner *t, partial *p, double plain, double pdl) {
  p->plain += plain, p->pdl += pdl;
  p->cost = judge (t, p->plain, p->pdl);
}

/* Puts the choices of the kernels before upto into the tuner's graph and infers the shapes that follow. */
static bool place (tuner *t, const mugraph *structure, const partial *p, int upto) {
  t->graph = *structure;
  for (int k = 0; k < t->graph.n_ops; k++) {
    const mugraph_op *op = &t->graph.op[k];
    if (op->kind != MUGRAPH_OP_CUSTOM) continue;
    mugraph_block *b = &t->graph.block[op->block];
    if (k < upto) apply (b, &p->choice[op->block], p->choice[op->block].used);
  }
  return mugraph_infer (&t->graph, NULL);
}

/* Kernels that read the same shapes are tuned once. */
typedef struct {
  mugraph_shape in[MUGRAPH_FANIN];
  int n_best;
  choice *best;
} tuned;

static bool same_inputs (const tuner *t, const tuned *known) {
  const mugraph_op *op = &t->graph.op[t->kernel];
  for (int i = 0; i < op->n_in; i++)
    if (!mugraph_same_shape (&known->in[i], &t->graph.tensor[op->in[i]].shape)) return false;
  return true;
}

static bool same_before (const mugraph *g, int k, const partial *a, const partial *b) {
  for (int i = 0; i < k; i++)
    if (g->op[i].kind == MUGRAPH_OP_CUSTOM && a->choice[g->op[i].block].plan != b->choice[g->op[i].block].plan)
      return false;
  return true;
}

/* The cheapest of next, sorted, into the beam, with few that differ in kernel k only: variants of a cheap last kernel
   must not crowd out other choices for a dear first one. */
static int select_beam (const mugraph *g, int k, const partial next[], int n_next, partial beam[], int width) {
  int n = 0;
  bool first = true;
  for (int i = 0; i < k; i++) first &= g->op[i].kind != MUGRAPH_OP_CUSTOM;
  for (int i = 0; i < n_next && n < width; i++) {
    int alike = 0;
    for (int j = 0; j < n && !first; j++) alike += same_before (g, k, &beam[j], &next[i]);
    if (alike <= width / 4) beam[n++] = next[i];
  }
  return n;
}

/* The block graph as if its loop had one iteration. */
static void forget_loop (mugraph_block *b) {
  for (int i = 0; i < b->n_ops; i++) {
    mugraph_op *o = &b->op[i];
    for (int k = 0; k < o->n_in && o->kind != MUGRAPH_OP_INPUT; k++)
      while (b->op[o->in[k]].kind == MUGRAPH_OP_ACCUM) o->in[k] = b->op[o->in[k]].in[0];
    if (o->kind == MUGRAPH_OP_INPUT) o->fmap = -1;
    if (o->kind == MUGRAPH_OP_ACCUM_SUM || o->kind == MUGRAPH_OP_ACCUM_MEAN) {
      o->kind = o->kind == MUGRAPH_OP_ACCUM_SUM ? MUGRAPH_OP_SUM : MUGRAPH_OP_MEAN;
      o->dim = (int8_t) (o->shape.n_dims - 1);
    }
    if (o->kind == MUGRAPH_OP_ACCUM_SUM_TO) o->kind = MUGRAPH_OP_SUM_TO;
  }
  b->loop = 1;
}

uint64_t schedule_identity (const mugraph *g, const cuda_device *d, bool schedules) {
  mugraph *plain = malloc (sizeof *plain);
  uint64_t hash = 0;
  if (!plain) return 0;
  *plain = *g;
  for (int k = 0; k < g->n_ops; k++) {
    cuda_plan p;
    if (g->op[k].kind != MUGRAPH_OP_CUSTOM || !cuda_plan_kernel (g, k, d, &p, NULL)) continue;
    if (p.backend == CUDA_GENERATOR_STREAM || p.backend == CUDA_GENERATOR_CHAIN || p.backend == CUDA_GENERATOR_TILED)
      forget_loop (&plain->block[g->op[k].block]);
    choice c = {.cost = 0};
    memcpy (c.extent, g->block[g->op[k].block].grid, 3 * sizeof *c.extent);
    hash = XXH3_64bits_withSeed (&(uint64_t[]){hash_of_plan (&c, &p)}, sizeof hash, hash);
  }
  uint64_t structure = mugraph_hash (plain, schedules);
  free (plain);
  return schedules ? structure ^ hash : structure;
}

static int schedule_for (const mugraph *structure, const cuda_device *d, bool plain, int max_plans, int max,
                         search_candidate out[], uint64_t *costed) {
  int kernels = 0, width = max > BEAM ? max : BEAM, n = 1, written = 0;
  if (max <= 0) return 0;
  for (int k = 0; k < structure->n_ops; k++) kernels += structure->op[k].kind == MUGRAPH_OP_CUSTOM;
  tuner *t = calloc (1, sizeof *t);
  partial *beam = calloc ((size_t) width, sizeof *beam), *next = calloc ((size_t) width * KEPT, sizeof *next);
  tuned *known = calloc ((size_t) width, sizeof *known);
  choice *best = malloc ((size_t) width * KEPT * sizeof *best);
  int slots = 256;
  while (slots < 4 * max_plans) slots *= 2;
  if (t) t->seen = calloc ((size_t) slots, sizeof *t->seen), t->best = malloc ((KEPT + 1) * sizeof *t->best);
  if (!t || !beam || !next || !known || !best || !t->seen || !t->best) goto done;
  t->device = d, t->max_plans = max_plans, t->seen_slots = slots, t->plain = plain;

  for (int k = 0, done = 0; k < structure->n_ops && n; k++) {
    const mugraph_op *op = &structure->op[k];
    int n_next = 0, n_known = 0, budget = 0;
    if (op->kind == MUGRAPH_OP_CUSTOM) budget = (max_plans - t->plans) / (kernels - done++);
    for (int i = 0; i < n; i++) {
      cost_parts parts;
      t->kernel = k;
      if (!place (t, structure, &beam[i], k)) continue;
      if (op->kind != MUGRAPH_OP_CUSTOM) {
        next[n_next] = beam[i];
        cost_kernel (&t->graph, k, d, &next[n_next].caches, &parts);
        add_kernel (t, &next[n_next], parts.plain, parts.pdl);
        n_next += isfinite (next[n_next].cost);
        continue;
      }
      int at = 0;
      while (at < n_known && !same_inputs (t, &known[at])) at++;
      if (at == n_known) {
        t->caches = beam[i].caches;
        tune (t, i ? budget / (2 * width) : budget / (n > 1 ? 2 : 1));
        known[at] = (tuned){.n_best = t->n_best, .best = best + at * KEPT};
        memcpy (known[at].best, t->best, (size_t) t->n_best * sizeof *t->best);
        for (int a = 0; a < op->n_in; a++) known[at].in[a] = t->graph.tensor[op->in[a]].shape;
        n_known++;
      }
      for (int c = 0; c < known[at].n_best; c++) {
        partial *p = &next[n_next++];
        *p = beam[i];
        p->choice[op->block] = known[at].best[c];
        add_kernel (t, p, known[at].best[c].plain, known[at].best[c].pdl);
        cost_leave (&t->graph, k, d, &p->caches);
      }
    }
    qsort (next, (size_t) n_next, sizeof *next, compare_partials);
    n = select_beam (structure, k, next, n_next, beam, width);
  }

  for (int i = 0; i < n && written < max; i++) {
    if (!place (t, structure, &beam[i], structure->n_ops)) continue;
    double cost = cost_graph (&t->graph, d);
    if (!isfinite (cost)) continue;
    int at = written++;
    for (; at && out[at - 1].cost_us > cost; at--) out[at] = out[at - 1];
    out[at] = (search_candidate){
        .graph = t->graph, .structure = mugraph_hash (structure, false), .cost_us = cost, .plain = plain};
  }
  if (costed) *costed += (uint64_t) t->plans;
done:
  if (t) free (t->seen), free (t->best);
  free (t), free (beam), free (next), free (known), free (best);
  return written;
}

int schedule_structure (const mugraph *structure, const cuda_device *d, int max_plans, int max, search_candidate out[],
                        uint64_t *costed) {
  if (max_plans <= 0) max_plans = PLANS;
  int for_plain = d->arch >= 90 ? max / 4 : 0, plans = for_plain ? max_plans * 2 / 3 : max_plans;
  int n = schedule_for (structure, d, false, plans, max - for_plain, out, costed);
  int more = for_plain && n ? schedule_for (structure, d, true, max_plans - plans, for_plain, out + n, costed) : 0;
  for (int i = n, last = n + more; i < last; i++) {
    bool twice = false;
    for (int k = 0; k < n && !twice; k++)
      if (mugraph_equal (&out[k].graph, &out[i].graph)) out[k].plain = twice = true;
    if (!twice) out[n++] = out[i];
  }
  for (int i = 1; i < n; i++)
    for (int k = i; k > 0 && out[k].cost_us < out[k - 1].cost_us; k--) {
      search_candidate moved = out[k];
      out[k] = out[k - 1], out[k - 1] = moved;
    }
  for (int i = 0; i < n; i++) out[i].rank = i;
  return n;
}

int search_schedules (const mugraph *structure, const search_options *options, const cuda_device *d, int max,
                      search_candidate out[]) {
  (void) options; /* nothing of a schedule depends on them yet */
  return schedule_structure (structure, d, 0, max, out, NULL);
}
