/* The driver: structures at the witness, schedules at the real shape, the final check. */
#include "search/schedules/schedule.h"
#include "search/structures/enumerate.h"
#include "search/structures/fuse.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
  SKETCH_PLANS = 96, /* plans that a structure gets to show what it is worth */
  RANKED = 2048,     /* structures that are sketched, those with the fewest kernels first */
  FINALISTS = 12     /* structures that get all schedules */
};

/* Seconds until a search without --budget ends, where a kernel is known by rule and where not. */
static const double SOON = 10, LATE = 60;

static double now (void) {
  struct timespec t;
  clock_gettime (CLOCK_MONOTONIC, &t);
  return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

typedef struct {
  const mugraph *program;
  const search_options *options;
  const cuda_device *device;
  const volatile int *stop;
  double deadline; /* 0: none */
  int threads;
  search_result *r;
} search;

static bool halted (const search *s) { return (s->stop && *s->stop) || (s->deadline > 0 && now () > s->deadline); }

static int operators_of (const mugraph *g) {
  int n = g->n_ops;
  for (int b = 0; b < g->n_blocks; b++) n += g->block[b].n_ops;
  return n;
}

/* Of equal costs, what says the same with fewer operators first. */
static int compare_candidates (const void *x, const void *y) {
  const search_candidate *a = x, *b = y;
  if (a->cost_us != b->cost_us) return a->cost_us < b->cost_us ? -1 : 1;
  int more = operators_of (&a->graph) - operators_of (&b->graph);
  if (more) return more;
  if (a->structure != b->structure) return a->structure < b->structure ? -1 : 1;
  return a->rank - b->rank;
}

static bool append (search *s, const search_candidate *c) {
  search_candidate *more = realloc (s->r->candidate, (size_t) (s->r->n + 1) * sizeof *more);
  if (!more) return false;
  s->r->candidate = more;
  more[s->r->n++] = *c;
  return true;
}

/* The program itself, each operator a pre-defined kernel: what there is when nothing else is found. */
static void add_program (search *s) {
  search_candidate *c = malloc (sizeof *c);
  if (!c) return;
  *c = (search_candidate){.graph = *s->program, .structure = mugraph_hash (s->program, false)};
  c->cost_us = cost_graph (&c->graph, s->device);
  append (s, c);
  free (c);
}

/* All schedules of the program as one kernel by rule. */
static void add_fused (search *s, const mugraph *fused) {
  int top = s->options->top, n = 0;
  search_candidate *c = calloc ((size_t) top, sizeof *c);
  if (c) n = schedule_structure (fused, s->device, 0, top, c, &s->r->stats.schedules);
  for (int i = 0; i < n; i++) append (s, &c[i]);
  if (n && !s->r->stats.structures) s->r->stats.structures = 1;
  free (c);
}

typedef struct {
  int index;
  double cost;
  uint64_t identity; /* of the kernels, launch parameters aside */
} ranked;

static int compare_ranked (const void *x, const void *y) {
  const ranked *a = x, *b = y;
  if (a->cost != b->cost) return a->cost < b->cost ? -1 : 1;
  return a->index - b->index; /* structures come in an order of their own, by kernels and hash */
}

/* Exponentials that stay raw overflow where those of the program need not. Over a finite field nothing shows it. */
static bool overflows (const mugraph *g) {
  static _Thread_local mugraph_stable stable;
  mugraph_analyse_stable (g, &stable);
  return mugraph_raw_exponentials (g, &stable) > 0;
}

/* Ranks structures by a rough schedule each, then gives the best ones all schedules. Of those that make the same
   kernels one is enough. */
static void schedule_all (search *s, const enumeration *e) {
  int n = enumeration_size (e) < RANKED ? enumeration_size (e) : RANKED;
  ranked *list = malloc ((size_t) (n + 1) * sizeof *list);
  uint64_t costed = 0;
  bool raw = overflows (s->program);
  if (!list) return;
#pragma omp parallel num_threads(s->threads) reduction(+ : costed)
  {
    search_candidate *c = malloc (sizeof *c);
    mugraph *g = malloc (sizeof *g);
#pragma omp for schedule(dynamic, 1)
    for (int i = 0; i < n; i++) {
      list[i] = (ranked){.index = i, .cost = INFINITY};
      if (!c || !g || halted (s) || !enumeration_graph (e, i, true, g, NULL) || (!raw && overflows (g))) continue;
      if (schedule_structure (g, s->device, SKETCH_PLANS, 1, c, &costed) > 0)
        list[i].cost = c->cost_us, list[i].identity = schedule_identity (&c->graph, s->device, false);
    }
    free (c), free (g);
  }
  qsort (list, (size_t) n, sizeof *list, compare_ranked);
  int finalists = 0;
  for (int i = 0; i < n && finalists < FINALISTS && isfinite (list[i].cost); i++) {
    bool twice = false;
    for (int k = 0; k < finalists && !twice; k++) twice = list[k].identity == list[i].identity;
    if (!twice) list[finalists++] = list[i];
  }
  int each = s->options->top; /* of one structure */
  search_candidate *all = calloc ((size_t) finalists * (size_t) each + 1, sizeof *all);
  int *found = calloc ((size_t) finalists + 1, sizeof *found);
#pragma omp parallel num_threads(s->threads) reduction(+ : costed)
  {
    mugraph *g = malloc (sizeof *g);
#pragma omp for schedule(dynamic, 1)
    for (int i = 0; i < finalists; i++)
      if (all && found && g && enumeration_graph (e, list[i].index, true, g, NULL))
        found[i] = schedule_structure (g, s->device, 0, each, all + (size_t) i * (size_t) each, &costed);
    free (g);
  }
  for (int i = 0; i < finalists && all && found; i++)
    for (int k = 0; k < found[i]; k++) append (s, &all[(size_t) i * (size_t) each + (size_t) k]);
  s->r->stats.schedules += costed;
  free (all), free (found), free (list);
}

typedef struct {
  uint64_t structure, kernels; /* schedule_identity without and with the schedules */
  uint64_t family;             /* the same with the depths of pipelines left to the planner */
} identity;

/* Times the cheapest: not worth a place for being different; not worth being timed. */
static const double MUCH_DEARER = 1.5, HOPELESS = 3;
static const double SAME_COST = 1e-3; /* the model cannot tell them apart */
enum { FAMILY = 2, TWINS = 2 }; /* how many are kept: of a family, as depths matter less than all else, and of twins */

/* Two structures with the same schedule that the model does not tell apart: to time all of them is to time one kernel
 * again and again. */
static bool are_twins (const search_candidate *a, const search_candidate *b) {
  if (a->structure == b->structure || a->graph.n_blocks != b->graph.n_blocks ||
      fabs (a->cost_us - b->cost_us) > SAME_COST * a->cost_us)
    return false;
  for (int i = 0; i < a->graph.n_blocks; i++) {
    const mugraph_block *x = &a->graph.block[i], *y = &b->graph.block[i];
    if (memcmp (x->grid, y->grid, sizeof x->grid) || memcmp (&x->sched, &y->sched, sizeof x->sched)) return false;
  }
  return true;
}

static void identify (const search *s, const mugraph *g, mugraph *room, identity *id) {
  id->structure = schedule_identity (g, s->device, false);
  id->kernels = schedule_identity (g, s->device, true);
  *room = *g;
  for (int b = 0; b < room->n_blocks; b++) room->block[b].sched.stages = 0;
  id->family = schedule_identity (room, s->device, true);
}

/* Marks what to keep, in the order of the list: no two of the same kernels, at most share of one structure, few of a
   family and of twins, none dearer than that. */
static int choose (const search_result *r, const identity id[], bool plain, int share, double dearest, int most,
                   bool keep[]) {
  int kept = 0;
  for (int i = 0; i < r->n && kept < most && r->candidate[i].cost_us <= dearest; i++) {
    int same = 0, family = 0, twins = 0;
    bool twice = keep[i] || (plain && !r->candidate[i].plain);
    for (int k = 0; k < r->n && !twice; k++) {
      if (!keep[k]) continue;
      same += id[k].structure == id[i].structure;
      family += id[k].family == id[i].family;
      twins += are_twins (&r->candidate[k], &r->candidate[i]);
      twice |= id[k].kernels == id[i].kernels;
    }
    if (!twice && twins < TWINS && (plain || (same < share && family < FAMILY))) keep[i] = true, kept++;
  }
  return kept;
}

/* At most top candidates that are worth it, no two of them the same kernels, at most half of them of one structure as
   long as there are others, a quarter of them chosen for their times when launched plainly. */
static void select_best (search *s) {
  search_result *r = s->r;
  identity *id = malloc ((size_t) (r->n + 1) * sizeof *id);
  if (!id) return;
  qsort (r->candidate, (size_t) r->n, sizeof *r->candidate, compare_candidates);
#pragma omp parallel num_threads(s->threads)
  {
    mugraph *room = malloc (sizeof *room);
#pragma omp for schedule(dynamic, 8)
    for (int i = 0; i < r->n; i++) {
      id[i] = (identity){.kernels = (uint64_t) i, .family = (uint64_t) i}; /* without memory: all differ */
      if (room) identify (s, &r->candidate[i].graph, room, &id[i]);
    }
    free (room);
  }
  int top = s->options->top, kept = 0;
  bool *keep = calloc ((size_t) r->n + 1, sizeof *keep);
  if (keep) {
    double least = r->n ? r->candidate[0].cost_us : 0, most = HOPELESS * least;
    int n = choose (r, id, false, top > 3 ? top / 2 : top, MUCH_DEARER * least, top - top / 4, keep);
    n += choose (r, id, false, top, most, top - top / 4 - n, keep);
    n += choose (r, id, true, top, most, top - n, keep);
    choose (r, id, false, top, most, top - n, keep);
  }
  for (int i = 0; keep && i < r->n; i++)
    if (keep[i]) r->candidate[kept++] = r->candidate[i];
  free (keep);
  r->n = kept;
  free (id);
}

/* Drops what is not equivalent at its real shape. Launch parameters change nothing that is computed, so one candidate
   of each grid and loop stands for all; the best one gets all trials, the others one. What an interruption leaves
   undecided stays, behind what is decided (the comparison takes them in this order); r->verify says so. Interrupted
   before, there is a second for it. */
static void verify_all (search *s) {
  search_result *r = s->r;
  verify_options v;
  verify_options_default (&v);
  v.seed = (uint64_t) s->options->seed;
  v.threads = s->threads;
  v.stop = s->stop;
  if (s->stop && *s->stop) v.stop = NULL, v.time_limit = 1;
  int n = 0, group[64], trials[64], kept = 0;
  const mugraph *graph[64];
  verify_report report[64];
  uint64_t hash[64];
  for (int i = 0; i < r->n; i++) {
    uint64_t h = mugraph_hash (&r->candidate[i].graph, true);
    int k = 0;
    while (k < n && hash[k] != h) k++;
    if (k == n) hash[n] = h, trials[n] = n ? 1 : s->options->trials, graph[n++] = &r->candidate[i].graph;
    group[i] = k;
  }
  verify_equivalent_each (s->program, n, graph, trials, &v, report);
  for (int i = 0; i < r->n; i++) {
    verify_report *own = &report[group[i]];
    if (own->unfinished && own->trials) own->verdict = VERIFY_EQUIVALENT, own->unfinished = false; /* in fewer trials */
    if (own->verdict != VERIFY_EQUIVALENT && !own->unfinished) continue;
    if (!kept) { /* of what is best now, as many trials as were asked for */
      r->verify = *own;
      if (own->verdict == VERIFY_EQUIVALENT && own->trials < s->options->trials) {
        v.trials = s->options->trials;
        verify_equivalent (s->program, &r->candidate[i].graph, &v, &r->verify);
        if (r->verify.unfinished) r->verify = *own;
        if (r->verify.verdict != VERIFY_EQUIVALENT) continue;
      }
    }
    r->stats.valid += own->verdict == VERIFY_EQUIVALENT;
    if (kept != i) r->candidate[kept] = r->candidate[i];
    r->candidate[kept].rank = kept;
    kept++;
  }
  r->n = kept;
}

/* Says why a program has no fingerprint. */
static void no_value (const mugraph *program, mugraph_error *e) {
  verify_options one;
  verify_report r;
  verify_options_default (&one);
  one.trials = 1;
  verify_equivalent (program, program, &one, &r);
  mugraph_fail (e, "search: nothing about the program could be verified over finite fields: %s",
                r.verdict == VERIFY_UNSUPPORTED ? r.reason
                : r.verdict == VERIFY_EQUIVALENT
                    ? "a division by zero at the first random input; another --seed draws others"
                    : "a division by zero at all random inputs; is some divisor always zero?");
}

bool search_run (const mugraph *program, const search_options *options, const cuda_device *device,
                 const volatile int *stop, search_progress progress, void *user, search_result *r, mugraph_error *e) {
  double start = now ();
  memset (r, 0, sizeof *r);
  uint64_t print[MUGRAPH_OUTPUTS];
  search s = {.program = program, .options = options, .device = device, .stop = stop, .r = r};
  s.threads = r->threads = options->threads > 0 ? options->threads : omp_get_num_procs ();
  witness *w = malloc (sizeof *w);
  if (!w) return mugraph_fail (e, "search: out of memory");
  mugraph *fused = malloc (sizeof *fused);
  bool fuses = false;
  mugraph_error why;
  if (witness_make (program, w, &why)) {
    if (!verify_fingerprint (&w->program, (uint64_t) options->seed, print)) {
      no_value (&w->program, e);
      free (w), free (fused);
      return false;
    }
    fuses = fused && options->graphs && fuse_program (program, w, fused, NULL);
    s.deadline = start + (options->budget > 0 ? options->budget : fuses ? SOON : LATE);
    enumeration *x = enumerate (program, w, options, r->threads, stop, s.deadline, progress, user);
    if (x) {
      r->stats = *enumeration_stats (x);
      r->finished = enumeration_finished (x);
      r->peak_bytes = enumeration_bytes (x);
      if (!(options->budget > 0)) s.deadline = 0; /* what was found gets its schedules */
      schedule_all (&s, x);
      enumeration_free (x);
    }
  }
  if (fuses) add_fused (&s, fused);
  free (w), free (fused);
  add_program (&s);
  select_best (&s);
  verify_all (&s);
  r->interrupted = stop && *stop;
  if (r->interrupted) r->finished = false;
  r->seconds = now () - start;
  return true;
}

void search_result_free (search_result *r) {
  free (r->candidate);
  memset (r, 0, sizeof *r);
}
