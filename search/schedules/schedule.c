/* The schedules of a whole structure: a beam from kernel to kernel. See schedule.h. */
#include "schedule.h"
#include "cuda_templates/generator.h"
#include "search/structures/canonical.h"
#include "tune_kernel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum {
  PLANS = 3000, /* asked of the planner for one structure, by default */
  BEAM = 6      /* choices kept from kernel to kernel */
};

/* ---- partial schedules ---- */

typedef struct {
  double plain, pdl, cost;            /* of the kernels so far */
  tune_choice choice[MUGRAPH_BLOCKS]; /* by block */
  cost_caches caches;
} partial;

static int compare_partials (const void *x, const void *y) {
  const partial *a = x, *b = y;
  return (a->cost > b->cost) - (a->cost < b->cost);
}

static void add_kernel (const tuner *t, partial *p, double plain, double pdl) {
  p->plain += plain, p->pdl += pdl;
  p->cost = tuner_judge (t, p->plain, p->pdl);
}

/* Puts the choices of the kernels before upto into the tuner's graph and infers the shapes that follow. */
static bool place (tuner *t, const mugraph *structure, const partial *p, int upto) {
  t->graph = *structure;
  for (int k = 0; k < t->graph.n_ops; k++) {
    const mugraph_op *op = &t->graph.op[k];
    if (op->kind != MUGRAPH_OP_CUSTOM) continue;
    mugraph_block *b = &t->graph.block[op->block];
    if (k < upto) tune_apply (b, &p->choice[op->block], p->choice[op->block].used);
  }
  return mugraph_infer (&t->graph, NULL);
}

/* Kernels that read the same shapes are tuned once. */
typedef struct {
  mugraph_shape in[MUGRAPH_FANIN];
  int n_best;
  tune_choice *best;
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

/* ---- what becomes of a µGraph ---- */

uint64_t schedule_identity (const mugraph *g, const cuda_device *d, bool schedules) {
  mugraph *looped = malloc (sizeof *looped); /* with the loops that the launch has */
  uint64_t plans = 0;
  if (!looped) return 0;
  *looped = *g;
  for (int k = 0; k < g->n_ops; k++) {
    cuda_plan p;
    if (g->op[k].kind != MUGRAPH_OP_CUSTOM || !cuda_plan_kernel (g, k, d, &p, NULL)) continue;
    if (cuda_generator_of (p.backend)->cuts_loop) canonical_forget_loop (&looped->block[g->op[k].block]);
    uint64_t own = tune_hash_of_plan (g->block[g->op[k].block].grid, &p);
    plans = XXH3_64bits_withSeed (&own, sizeof own, plans);
  }
  uint64_t structure = mugraph_hash (looped, schedules);
  free (looped);
  return schedules ? structure ^ plans : structure;
}

/* ---- the beam ---- */

typedef struct {
  const mugraph *structure;
  tuner *tuner;
  int width, n, n_next, n_known;
  partial *beam, *next;
  tuned *known;      /* of the kernel at work */
  tune_choice *best; /* theirs, TUNE_KEPT each */
  int to_tune;       /* graph-defined kernels still to come */
} beam;

static bool beam_start (beam *b, const mugraph *structure, const cuda_device *d, bool plain, int max_plans, int max) {
  size_t width = (size_t) (max > BEAM ? max : BEAM);
  *b = (beam){.structure = structure, .width = (int) width, .n = 1};
  for (int k = 0; k < structure->n_ops; k++) b->to_tune += structure->op[k].kind == MUGRAPH_OP_CUSTOM;
  b->tuner = tuner_new (d, plain, max_plans);
  b->beam = calloc (width, sizeof *b->beam), b->next = calloc (width * TUNE_KEPT, sizeof *b->next);
  b->known = calloc (width, sizeof *b->known);
  b->best = malloc (width * TUNE_KEPT * sizeof *b->best);
  return b->tuner && b->beam && b->next && b->known && b->best;
}

static void beam_end (beam *b) {
  tuner_free (b->tuner);
  free (b->beam), free (b->next), free (b->known), free (b->best);
}

/* A pre-defined kernel has no schedule: partial i with its cost. */
static void add_predefined (beam *b, int i) {
  tuner *t = b->tuner;
  partial *p = &b->next[b->n_next];
  cost_parts parts;
  *p = b->beam[i];
  cost_kernel (&t->graph, t->kernel, t->device, &p->caches, &parts);
  add_kernel (t, p, parts.plain, parts.pdl);
  b->n_next += isfinite (p->cost);
}

/* The schedules of the tuner's kernel under its graph's shapes, tuned when they are new. The beam's first gets more
   plans than the others. */
static const tuned *tune_once (beam *b, int i, int budget) {
  tuner *t = b->tuner;
  int at = 0;
  while (at < b->n_known && !same_inputs (t, &b->known[at])) at++;
  if (at < b->n_known) return &b->known[at];
  const mugraph_op *op = &t->graph.op[t->kernel];
  t->caches = b->beam[i].caches;
  tuner_run (t, i ? budget / (2 * b->width) : budget / (b->n > 1 ? 2 : 1));
  tuned *k = &b->known[b->n_known++];
  *k = (tuned){.n_best = t->n_best, .best = b->best + (size_t) at * TUNE_KEPT};
  memcpy (k->best, t->best, (size_t) t->n_best * sizeof *t->best);
  for (int a = 0; a < op->n_in; a++) k->in[a] = t->graph.tensor[op->in[a]].shape;
  return k;
}

/* Partial i with each schedule of a graph-defined kernel. */
static void add_tuned (beam *b, int i, int budget) {
  tuner *t = b->tuner;
  const tuned *k = tune_once (b, i, budget);
  for (int c = 0; c < k->n_best; c++) {
    partial *p = &b->next[b->n_next++];
    *p = b->beam[i];
    p->choice[b->structure->op[t->kernel].block] = k->best[c];
    add_kernel (t, p, k->best[c].plain, k->best[c].pdl);
    cost_leave (&t->graph, t->kernel, t->device, &p->caches);
  }
}

/* From partials before kernel k to those with it. */
static void advance (beam *b, int k) {
  tuner *t = b->tuner;
  bool custom = b->structure->op[k].kind == MUGRAPH_OP_CUSTOM;
  int budget = custom ? (t->max_plans - t->plans) / b->to_tune-- : 0;
  b->n_next = b->n_known = 0;
  for (int i = 0; i < b->n; i++) {
    t->kernel = k;
    if (!place (t, b->structure, &b->beam[i], k)) continue;
    if (custom) add_tuned (b, i, budget);
    else add_predefined (b, i);
  }
  qsort (b->next, (size_t) b->n_next, sizeof *b->next, compare_partials);
  b->n = select_beam (b->structure, k, b->next, b->n_next, b->beam, b->width);
}

/* The µGraphs of the beam, the cheapest first. */
static int write_out (beam *b, int max, search_candidate out[]) {
  tuner *t = b->tuner;
  uint64_t structure = mugraph_hash (b->structure, false);
  int written = 0;
  for (int i = 0; i < b->n && written < max; i++) {
    if (!place (t, b->structure, &b->beam[i], b->structure->n_ops)) continue;
    double cost = cost_graph (&t->graph, t->device);
    if (!isfinite (cost)) continue;
    int at = written++;
    for (; at && out[at - 1].cost_us > cost; at--) out[at] = out[at - 1];
    out[at] = (search_candidate){.graph = t->graph, .structure = structure, .cost_us = cost, .plain = t->plain};
  }
  return written;
}

/* Schedules chosen by their time when launched plainly, or by score. */
static int schedule_for (const mugraph *structure, const cuda_device *d, bool plain, int max_plans, int max,
                         search_candidate out[], uint64_t *costed) {
  beam b;
  int written = 0;
  if (max <= 0) return 0;
  if (beam_start (&b, structure, d, plain, max_plans, max)) {
    for (int k = 0; k < structure->n_ops && b.n; k++) advance (&b, k);
    written = write_out (&b, max, out);
    if (costed) *costed += (uint64_t) b.tuner->plans;
  }
  beam_end (&b);
  return written;
}

/* ---- both ways of launching ---- */

/* Drops of the `more` candidates after the first n those that are among these. Returns how many there are. */
static int drop_twins (search_candidate out[], int n, int more) {
  for (int i = n, last = n + more; i < last; i++) {
    bool twice = false;
    for (int k = 0; k < n && !twice; k++)
      if (mugraph_equal (&out[k].graph, &out[i].graph)) out[k].plain = twice = true;
    if (!twice) out[n++] = out[i];
  }
  return n;
}

/* Insertion sort by cost: stable. */
static void sort_and_rank (search_candidate out[], int n) {
  for (int i = 1; i < n; i++)
    for (int k = i; k > 0 && out[k].cost_us < out[k - 1].cost_us; k--) {
      search_candidate moved = out[k];
      out[k] = out[k - 1], out[k - 1] = moved;
    }
  for (int i = 0; i < n; i++) out[i].rank = i;
}

int schedule_structure (const mugraph *structure, const cuda_device *d, int max_plans, int max, search_candidate out[],
                        uint64_t *costed) {
  if (max_plans <= 0) max_plans = PLANS;
  int for_plain = d->arch >= 90 ? max / 4 : 0, plans = for_plain ? max_plans * 2 / 3 : max_plans;
  int n = schedule_for (structure, d, false, plans, max - for_plain, out, costed);
  int more = for_plain && n ? schedule_for (structure, d, true, max_plans - plans, for_plain, out + n, costed) : 0;
  n = drop_twins (out, n, more);
  sort_and_rank (out, n);
  return n;
}

int search_schedules (const mugraph *structure, const cuda_device *d, int max, search_candidate out[]) {
  return schedule_structure (structure, d, 0, max, out, NULL);
}
