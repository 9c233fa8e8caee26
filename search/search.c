/* The search in its order: structures at the witness, schedules at the real shape, the choice, the final check. */
#include "search.h"
#include "log.h"
#include "mugraph/check.h"
#include "search/schedules/schedule.h"
#include "search/structures/budget.h"
#include "search/structures/enumerate.h"
#include "search/structures/fuse.h"
#include "select.h"

#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_KEPT = 64 }; /* the option top's */

/* Seconds until a search without --budget ends, where a kernel is known by rule and where not. */
static const double SOON = 10, LATE = 60;

typedef struct {
  search_context context;
  search_result *r;
} search;

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
  *c = (search_candidate){.graph = *s->context.program, .structure = mugraph_hash (s->context.program, false)};
  c->cost_us = cost_graph (&c->graph, s->context.device);
  append (s, c);
  free (c);
}

/* All schedules of the program as one kernel by rule. */
static void add_fused (search *s, const mugraph *fused) {
  int top = s->context.options->top, n = 0;
  search_candidate *c = calloc ((size_t) top, sizeof *c);
  if (c) n = schedule_structure (fused, s->context.device, 0, top, c, &s->r->stats.schedules);
  for (int i = 0; i < n; i++) append (s, &c[i]);
  if (n && !s->r->stats.structures) s->r->stats.structures = 1;
  free (c);
}

/* All schedules of the finalists. */
static void schedule_finalists (search *s, const enumeration *e, const select_rank rank[], int n) {
  size_t each = (size_t) s->context.options->top; /* of one structure */
  search_candidate *all = calloc ((size_t) n * each + 1, sizeof *all);
  int *found = calloc ((size_t) n + 1, sizeof *found);
  uint64_t costed = 0;
#pragma omp parallel num_threads(s->context.threads) reduction(+ : costed)
  {
    mugraph *g = malloc (sizeof *g);
#pragma omp for schedule(dynamic, 1)
    for (int i = 0; i < n; i++)
      if (all && found && g && enumeration_graph (e, rank[i].index, true, g, NULL))
        found[i] = schedule_structure (g, s->context.device, 0, (int) each, all + (size_t) i * each, &costed);
    free (g);
  }
  for (int i = 0; i < n && all && found; i++)
    for (int k = 0; k < found[i]; k++) append (s, &all[(size_t) i * each + (size_t) k]);
  s->r->stats.schedules += costed;
  free (all), free (found);
}

/* Ranks structures by a rough schedule each, then gives the best ones all schedules. */
static void schedule_all (search *s, const enumeration *e) {
  select_rank *rank = malloc (SELECT_RANKED * sizeof *rank);
  if (!rank) return;
  double start = budget_now ();
  int n = select_structures (&s->context, e, rank, &s->r->stats.schedules), best = select_finalists (rank, n);
  LOG (LOG_PASSES, "ranking: %d structures sketched, %d get all schedules, %.3f s", n, best, budget_now () - start);
  for (int i = 0; i < best; i++)
    LOG (LOG_DECISIONS, "finalist: structure %016" PRIx64 ", %.2f us by a rough schedule",
         enumeration_hash (e, rank[i].index), rank[i].cost_us);
  start = budget_now ();
  schedule_finalists (s, e, rank, best);
  LOG (LOG_PASSES, "schedules: %d candidates of %" PRIu64 " costed, %.3f s", s->r->n, s->r->stats.schedules,
       budget_now () - start);
  free (rank);
}

/* ---- the final check ---- */

/* Candidates that differ in launch parameters only share one check. */
typedef struct {
  int n, of[MOST_KEPT], trials[MOST_KEPT]; /* of: by candidate */
  const mugraph *graph[MOST_KEPT];
  verify_report report[MOST_KEPT];
} check_groups;

/* The best one gets all trials, the others one. */
static void group (const search_result *r, int trials, check_groups *c) {
  uint64_t hash[MOST_KEPT];
  c->n = 0;
  for (int i = 0; i < r->n; i++) {
    uint64_t h = mugraph_hash (&r->candidate[i].graph, true);
    int k = 0;
    while (k < c->n && hash[k] != h) k++;
    if (k == c->n) hash[k] = h, c->trials[k] = k ? 1 : trials, c->graph[c->n++] = &r->candidate[i].graph;
    c->of[i] = k;
  }
}

/* The verdict on what is the best one now, with as many trials as were asked for. False: not equivalent after all. */
static bool verify_best (search *s, const verify_report *own, const mugraph *g, verify_options v) {
  verify_report *report = &s->r->verify;
  *report = *own;
  if (own->verdict != VERIFY_EQUIVALENT || own->trials >= s->context.options->trials) return true;
  v.trials = s->context.options->trials;
  verify_equivalent (s->context.program, g, &v, report);
  if (report->unfinished) *report = *own;
  return report->verdict == VERIFY_EQUIVALENT;
}

static verify_options options_of_check (const search *s) {
  verify_options v;
  verify_options_default (&v);
  v.seed = (uint64_t) s->context.options->seed;
  v.threads = s->context.threads;
  v.stop = s->context.stop;
  if (v.stop && *v.stop) v.stop = NULL, v.time_limit = 1; /* interrupted before: there is a second for it */
  return v;
}

/* Drops what is not equivalent at its real shape. What an interruption leaves undecided stays, behind what is decided
   (the comparison takes them in this order); r->verify says so. */
static void verify_all (search *s) {
  search_result *r = s->r;
  verify_options v = options_of_check (s);
  check_groups *c = malloc (sizeof *c);
  int kept = 0;
  if (!c) {
    r->n = 0; /* nothing unverified is handed out */
    return;
  }
  group (r, s->context.options->trials, c);
  verify_equivalent_each (s->context.program, c->n, c->graph, c->trials, &v, c->report);
  for (int i = 0; i < r->n; i++) {
    verify_report *own = &c->report[c->of[i]];
    search_candidate *x = &r->candidate[i];
    if (own->unfinished && own->trials) own->verdict = VERIFY_EQUIVALENT, own->unfinished = false; /* in fewer trials */
    bool good = own->verdict == VERIFY_EQUIVALENT || own->unfinished;
    if (good && !kept) good = verify_best (s, own, &x->graph, v);
    if (!good) {
      LOG (LOG_DECISIONS, "dropped: structure %016" PRIx64 " is not equivalent at its real shape", x->structure);
      continue;
    }
    r->stats.valid += own->verdict == VERIFY_EQUIVALENT;
    if (kept != i) r->candidate[kept] = *x;
    r->candidate[kept].rank = kept;
    kept++;
  }
  r->n = kept;
  free (c);
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

/* ---- the passes ---- */

/* Whether inference finds the shapes that a candidate has. */
static bool holds_together (const search_candidate *c) {
  mugraph *g = malloc (sizeof *g);
  bool ok = true;
  if (g) {
    *g = c->graph;
    ok = mugraph_infer (g, NULL) && mugraph_equal (g, &c->graph);
  }
  free (g);
  return ok;
}

/* Structures within the bounds of the options and their schedules; counters go to the result. */
static void enumerate_and_schedule (search *s, const witness *w, search_progress progress, void *user) {
  search_result *r = s->r;
  double start = budget_now ();
  enumeration *x = enumerate (s->context.program, w, s->context.options, r->threads, s->context.stop,
                              s->context.deadline, progress, user);
  if (!x) return;
  r->stats = *enumeration_stats (x);
  r->finished = enumeration_finished (x);
  r->peak_bytes = enumeration_bytes (x);
  LOG (LOG_PASSES, "structures: %" PRIu64 " states, %" PRIu64 " pruned, %" PRIu64 " checked, %d equivalent, %s, %.3f s",
       r->stats.states, r->stats.pruned, r->stats.checked, enumeration_size (x),
       r->finished ? "all bounds explored" : "not finished", budget_now () - start);
  if (!(s->context.options->budget > 0)) s->context.deadline = 0; /* what was found gets its schedules */
  schedule_all (s, x);
  enumeration_free (x);
}

/* Fills candidates from the enumeration and by rule. False, with the reason, when nothing could be verified. */
static bool find_candidates (search *s, witness *w, mugraph *fused, search_progress progress, void *user,
                             mugraph_error *e) {
  const mugraph *program = s->context.program;
  const search_options *o = s->context.options;
  uint64_t print[MUGRAPH_OUTPUTS];
  mugraph_error why;
  if (!witness_make (program, w, &why)) {
    LOG (LOG_PASSES, "witness: none: %s", why.text);
    return true;
  }
  if (!verify_fingerprint (&w->program, (uint64_t) o->seed, print)) return no_value (&w->program, e), false;
  bool fuses = o->graphs && fuse_program (program, w, fused, NULL);
  LOG (LOG_PASSES, "targets: %d outputs, %d classes of dimensions%s", program->n_outputs, w->n_classes,
       fuses ? ", one kernel by rule" : "");
  s->context.deadline = budget_now () + (o->budget > 0 ? o->budget : fuses ? SOON : LATE);
  enumerate_and_schedule (s, w, progress, user);
  if (fuses) add_fused (s, fused);
  return true;
}

static void choose_and_verify (search *s) {
  search_result *r = s->r;
  double start = budget_now ();
  int all = r->n;
  add_program (s);
  r->n = select_best (&s->context, r->candidate, r->n);
  LOG (LOG_PASSES, "selection: %d of %d candidates, %.3f s", r->n, all + 1, budget_now () - start);
  start = budget_now ();
  verify_all (s);
  LOG (LOG_PASSES, "verification: %d µGraphs are equivalent at the real shape, %.3f s", r->n, budget_now () - start);
  CHECK (r->n <= s->context.options->top);
  for (int i = 0; i < r->n; i++) CHECK (holds_together (&r->candidate[i]));
  for (int i = 0; i < r->n; i++)
    LOG (LOG_DECISIONS, "kept: %d, structure %016" PRIx64 ", %.2f us", i, r->candidate[i].structure,
         r->candidate[i].cost_us);
}

bool search_run (const mugraph *program, const search_options *options, const cuda_device *device,
                 const volatile int *stop, search_progress progress, void *user, search_result *r, mugraph_error *e) {
  double start = budget_now ();
  memset (r, 0, sizeof *r);
  r->threads = options->threads > 0 ? options->threads : omp_get_num_procs ();
  search s = {
      .context = {.program = program, .options = options, .device = device, .stop = stop, .threads = r->threads},
      .r = r};
  witness *w = malloc (sizeof *w);
  mugraph *fused = malloc (sizeof *fused);
  bool ok = w && fused ? find_candidates (&s, w, fused, progress, user, e) : mugraph_fail (e, "search: out of memory");
  free (w), free (fused);
  if (!ok) return false;
  choose_and_verify (&s);
  r->interrupted = stop && *stop;
  if (r->interrupted) r->finished = false;
  r->seconds = budget_now () - start;
  return true;
}

void search_result_free (search_result *r) {
  free (r->candidate);
  memset (r, 0, sizeof *r);
}
