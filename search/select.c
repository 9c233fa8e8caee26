/* Ranking and choosing: see select.h. */
#include "select.h"
#include "mugraph/stable.h"
#include "search/schedules/schedule.h"
#include "search/structures/budget.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
  SKETCH_PLANS = 96, /* plans that a structure gets to show what it is worth */
  FINALISTS = 12     /* structures that get all schedules */
};

bool select_halted (const search_context *s) {
  return (s->stop && *s->stop) || (s->deadline > 0 && budget_now () > s->deadline);
}

/* ---- structures ---- */

static int compare_ranks (const void *x, const void *y) {
  const select_rank *a = x, *b = y;
  if (a->cost_us != b->cost_us) return a->cost_us < b->cost_us ? -1 : 1;
  return a->index - b->index; /* structures come in an order of their own, by kernels and hash */
}

/* Whether exponentials overflow: those that stay raw do where those of the program need not. Over a finite field
   nothing shows it. */
static bool overflows (const mugraph *g) {
  static _Thread_local mugraph_stable stable;
  mugraph_analyse_stable (g, &stable);
  return mugraph_raw_exponentials (g, &stable) > 0;
}

int select_structures (const search_context *s, const enumeration *e, select_rank rank[], uint64_t *costed) {
  int n = enumeration_size (e) < SELECT_RANKED ? enumeration_size (e) : SELECT_RANKED;
  bool may_overflow = overflows (s->program);
  uint64_t plans = 0;
#pragma omp parallel num_threads(s->threads) reduction(+ : plans)
  {
    search_candidate *c = malloc (sizeof *c);
    mugraph *g = malloc (sizeof *g);
#pragma omp for schedule(dynamic, 1)
    for (int i = 0; i < n; i++) {
      rank[i] = (select_rank){.index = i, .cost_us = INFINITY};
      if (!c || !g || select_halted (s) || !enumeration_graph (e, i, true, g, NULL)) continue;
      if (!may_overflow && overflows (g)) continue;
      if (schedule_structure (g, s->device, SKETCH_PLANS, 1, c, &plans) > 0)
        rank[i].cost_us = c->cost_us, rank[i].identity = schedule_identity (&c->graph, s->device, false);
    }
    free (c), free (g);
  }
  *costed += plans;
  qsort (rank, (size_t) n, sizeof *rank, compare_ranks);
  return n;
}

int select_finalists (select_rank rank[], int n) {
  int finalists = 0;
  for (int i = 0; i < n && finalists < FINALISTS && isfinite (rank[i].cost_us); i++) {
    bool twice = false;
    for (int k = 0; k < finalists && !twice; k++) twice = rank[k].identity == rank[i].identity;
    if (!twice) rank[finalists++] = rank[i];
  }
  return finalists;
}

/* ---- candidates ---- */

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

static void identify (const search_context *s, const mugraph *g, mugraph *room, identity *id) {
  id->structure = schedule_identity (g, s->device, false);
  id->kernels = schedule_identity (g, s->device, true);
  *room = *g;
  for (int b = 0; b < room->n_blocks; b++) room->block[b].sched.stages = 0;
  id->family = schedule_identity (room, s->device, true);
}

typedef struct {
  int n;
  const search_candidate *candidate; /* in the order of cost */
  const identity *id;
  bool *keep;
} selection;

typedef struct {
  bool plain;     /* only those chosen for their time when launched plainly, of whatever structure and family */
  int share;      /* at most so many of one structure */
  double dearest; /* microseconds */
  int most;       /* to be kept */
} wish;

/* Whether candidate i may be kept beside those that are: no two have the same kernels, few are twins, and unless plain
   ones are asked for few are of one structure or family. */
static bool may_keep (const selection *s, const wish *w, int i) {
  const search_candidate *c = &s->candidate[i];
  int same = 0, family = 0, twins = 0;
  if (s->keep[i] || (w->plain && !c->plain)) return false;
  for (int k = 0; k < s->n; k++) {
    if (!s->keep[k]) continue;
    if (s->id[k].kernels == s->id[i].kernels) return false;
    same += s->id[k].structure == s->id[i].structure;
    family += s->id[k].family == s->id[i].family;
    twins += are_twins (&s->candidate[k], c);
  }
  return twins < TWINS && (w->plain || (same < w->share && family < FAMILY));
}

/* Marks what a wish adds to what is kept, in the order of cost. Returns how many. */
static int choose (selection *s, wish w) {
  int kept = 0;
  for (int i = 0; i < s->n && kept < w.most && s->candidate[i].cost_us <= w.dearest; i++)
    if (may_keep (s, &w, i)) s->keep[i] = true, kept++;
  return kept;
}

/* First different structures that are nearly as cheap, then more of the same, then those for plain launches. */
static void choose_all (selection *s, int top) {
  double least = s->n ? s->candidate[0].cost_us : 0, most = HOPELESS * least;
  int for_score = top - top / 4;
  int n = choose (s, (wish){false, top > 3 ? top / 2 : top, MUCH_DEARER * least, for_score});
  n += choose (s, (wish){false, top, most, for_score - n});
  n += choose (s, (wish){true, top, most, top - n});
  choose (s, (wish){false, top, most, top - n});
}

static void identify_all (const search_context *s, const search_candidate candidate[], int n, identity id[]) {
#pragma omp parallel num_threads(s->threads)
  {
    mugraph *room = malloc (sizeof *room);
#pragma omp for schedule(dynamic, 8)
    for (int i = 0; i < n; i++) {
      id[i] = (identity){.kernels = (uint64_t) i, .family = (uint64_t) i}; /* without memory: all differ */
      if (room) identify (s, &candidate[i].graph, room, &id[i]);
    }
    free (room);
  }
}

int select_best (const search_context *s, search_candidate candidate[], int n) {
  identity *id = malloc ((size_t) (n + 1) * sizeof *id);
  bool *keep = calloc ((size_t) n + 1, sizeof *keep);
  int kept = 0;
  if (id && keep) {
    qsort (candidate, (size_t) n, sizeof *candidate, compare_candidates);
    identify_all (s, candidate, n, id);
    selection all = {.n = n, .candidate = candidate, .id = id, .keep = keep};
    choose_all (&all, s->options->top);
    for (int i = 0; i < n; i++)
      if (keep[i]) candidate[kept++] = candidate[i];
  } else kept = n < s->options->top ? n : s->options->top;
  free (id), free (keep);
  return kept;
}
