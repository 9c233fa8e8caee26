/* Equivalence over the fields: trials of draws, each of which evaluates both graphs. */
#include "verify.h"
#include "bound.h"
#include "comparison.h"
#include "eval.h"
#include "field.h"
#include "inputs.h"
#include "mugraph/stable.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

void verify_options_default (verify_options *o) { *o = (verify_options){.seed = 0x6d73, .trials = 2, .stable = true}; }

/* ---- one comparison ---- */

typedef struct {
  const mugraph *graph[2]; /* program, candidate */
  eval_plan plan[2];
  mugraph_stable stable;
  uint8_t need[MUGRAPH_INPUTS];
  void *out[2][MUGRAPH_OUTPUTS]; /* memory of take_outputs */
} comparison;

/* Whether some output of the candidate differs from the program's: r->reason says which. */
static bool tell_difference (const comparison *c, int trial, verify_report *r) {
  for (int k = 0; k < c->graph[0]->n_outputs; k++) {
    const mugraph_shape *s = &c->graph[0]->tensor[c->graph[0]->output[k]].shape;
    int64_t n = mugraph_volume (s), e = 0, others = 0;
    const uint32_t *a = c->out[0][k], *b = c->out[1][k];
    if (!memcmp (a, b, (size_t) n * sizeof *a)) continue;
    while (a[e] == b[e]) e++;
    for (int64_t j = e; j < n; j++) others += a[j] != b[j];
    char name[MUGRAPH_NAME], text[64];
    verify_output_name (c->graph[0], k, name);
    verify_conclude (r, VERIFY_DIFFERENT,
                     "output %s differs at %lld of %lld elements, first at %s: %u and %u mod p (trial %d)", name,
                     (long long) others, (long long) n, verify_position_text (s, e, text), a[e], b[e], trial);
    return true;
  }
  return false;
}

/* One draw of the inputs. EVAL_DONE: *difference tells whether some output differs. */
static eval_status draw_once (comparison *c, const verify_options *o, eval_options *run, int trial, bool *different,
                              verify_report *r) {
  eval_arena arena;
  eval_value inputs[MUGRAPH_INPUTS];
  eval_arena_init (&arena, NULL, 0);
  eval_status status = EVAL_MEMORY;
  if (verify_draw_inputs (c->graph[0], c->need, run, &arena, inputs)) {
    status = EVAL_DONE;
    for (int side = 0; side < 2 && status == EVAL_DONE; side++) {
      run->stable = side && o->stable && c->stable.any ? &c->stable : NULL;
      status = eval_run (&c->plan[side], run, inputs, c->out[side], &arena);
    }
  }
  eval_arena_free (&arena);
  *different = status == EVAL_DONE && tell_difference (c, trial, r);
  return status;
}

/* Why an evaluation has no result, other than by divisions by zero. */
static void conclude_unknown (verify_report *r, eval_status status, double time_limit, int trial) {
  if (status == EVAL_MEMORY) verify_conclude (r, VERIFY_UNKNOWN, "not enough memory to evaluate the graphs");
  if (status == EVAL_TIME)
    verify_conclude (r, VERIFY_UNKNOWN, "the time limit of %g s ran out in trial %d", time_limit, trial);
  if (status == EVAL_STOPPED) verify_conclude (r, VERIFY_UNKNOWN, "interrupted");
  r->unfinished = status == EVAL_TIME || status == EVAL_STOPPED;
}

static eval_options evaluation_of (const verify_options *o, double begin) {
  return (eval_options){.threads = verify_threads (o->threads),
                        .deadline = o->time_limit > 0 ? begin + o->time_limit : 0,
                        .stop = o->stop};
}

static void compare (comparison *c, const verify_options *o, verify_report *r) {
  double begin = omp_get_wtime (), per_trial = verify_bound (c->graph[0], c->graph[1]);
  int trials = o->trials > 0 ? o->trials : 1;
  eval_options run = evaluation_of (o, begin);
  r->error_bound = 1;
  for (int trial = 0; trial < trials; trial++) {
    eval_status status = EVAL_ZERO;
    bool different = false;
    for (int draw = 0; draw < VERIFY_DRAWS && status == EVAL_ZERO; draw++) {
      run.key = field_hash (o->seed, (uint64_t) trial * VERIFY_DRAWS + (uint64_t) draw);
      status = draw_once (c, o, &run, trial, &different, r);
    }
    if (status == EVAL_ZERO)
      verify_conclude (r, VERIFY_UNKNOWN, "division by zero at each of %d random inputs (trial %d)", VERIFY_DRAWS,
                       trial);
    conclude_unknown (r, status, o->time_limit, trial);
    if (status != EVAL_DONE) return;
    r->trials++;
    r->error_bound *= per_trial;
    if (different) {
      r->error_bound = 0; /* a difference is a proof */
      return;
    }
  }
  r->verdict = VERIFY_EQUIVALENT;
}

static bool take_outputs (const mugraph *program, void *out[2][MUGRAPH_OUTPUTS]) {
  bool ok = true;
  for (int side = 0; side < 2; side++)
    for (int k = 0; k < program->n_outputs; k++)
      ok &= (out[side][k] = malloc ((size_t) mugraph_volume (&program->tensor[program->output[k]].shape) *
                                    sizeof (uint32_t))) != NULL;
  return ok;
}

static void free_outputs (void *out[2][MUGRAPH_OUTPUTS]) {
  for (int side = 0; side < 2; side++)
    for (int k = 0; k < MUGRAPH_OUTPUTS; k++) free (out[side][k]);
}

/* Everything that a comparison needs but outputs, or NULL with the reason in r. */
static comparison *prepare (const mugraph *program, const mugraph *candidate, const verify_options *options,
                            verify_report *r) {
  *r = (verify_report){.verdict = VERIFY_UNKNOWN, .p = FIELD_P, .q = FIELD_Q, .error_bound = 1};
  comparison *c = calloc (1, sizeof *c);
  char why[256];
  bool ok = c != NULL;
  if (!ok) verify_conclude (r, VERIFY_UNKNOWN, "not enough memory to compare the graphs");
  if (ok) {
    c->graph[0] = program;
    c->graph[1] = candidate;
    ok = verify_correspond (program, candidate, r) && verify_affordable (program, candidate, r);
  }
  for (int side = 0; ok && side < 2; side++) {
    ok = eval_plan_make (&c->plan[side], c->graph[side], false, why);
    if (!ok) verify_conclude (r, VERIFY_UNSUPPORTED, "%s, %.240s", side ? "candidate" : "program", why);
    for (int i = 0; i < program->n_inputs; i++) c->need[i] |= c->plan[side].tensor[i];
  }
  if (ok && options->stable) mugraph_analyse_stable (candidate, &c->stable);
  if (ok) return c;
  free (c);
  return NULL;
}

void verify_equivalent (const mugraph *program, const mugraph *candidate, const verify_options *options,
                        verify_report *r) {
  double begin = omp_get_wtime ();
  comparison *c = prepare (program, candidate, options, r);
  if (c && take_outputs (program, c->out)) compare (c, options, r);
  else if (c) verify_conclude (r, VERIFY_UNKNOWN, "not enough memory for the outputs");
  if (c) free_outputs (c->out);
  free (c);
  r->seconds = omp_get_wtime () - begin;
}

/* ---- many candidates of one program ---- */

/* One trial of all candidates that are still equal, on one draw, the program evaluated once. */
static eval_status trial_of_all (int n, comparison *const c[], const uint8_t need[], const verify_options *o,
                                 eval_options *run, int trial, const int trials[], verify_report r[]) {
  eval_arena arena;
  eval_value inputs[MUGRAPH_INPUTS];
  int first = 0;
  while (first < n && !c[first]) first++;
  if (first == n) return EVAL_DONE;
  eval_arena_init (&arena, NULL, 0);
  run->key = field_hash (o->seed, (uint64_t) trial * VERIFY_DRAWS);
  run->stable = NULL;
  eval_status status = EVAL_MEMORY;
  if (verify_draw_inputs (c[first]->graph[0], need, run, &arena, inputs))
    status = eval_run (&c[first]->plan[0], run, inputs, c[first]->out[0], &arena);
  for (int i = first; status == EVAL_DONE && i < n; i++) {
    if (!c[i] || trial >= trials[i] || r[i].verdict == VERIFY_DIFFERENT) continue;
    double begin = omp_get_wtime ();
    eval_arena own;
    eval_arena_init (&own, NULL, 0);
    run->stable = o->stable && c[i]->stable.any ? &c[i]->stable : NULL;
    status = eval_run (&c[i]->plan[1], run, inputs, c[i]->out[1], &own);
    eval_arena_free (&own);
    if (status == EVAL_DONE && tell_difference (c[i], trial, &r[i])) r[i].error_bound = 0;
    r[i].trials += status == EVAL_DONE;
    r[i].seconds += omp_get_wtime () - begin;
  }
  eval_arena_free (&arena);
  return status;
}

/* The report of a candidate that was equal in all its trials so far, of which `trials` were asked for. */
static void conclude_equal (const comparison *c, eval_status status, double time_limit, int trials, verify_report *r) {
  double per_trial = verify_bound (c->graph[0], c->graph[1]);
  r->error_bound = 1;
  for (int t = 0; t < r->trials; t++) r->error_bound *= per_trial;
  if (r->trials >= trials) r->verdict = VERIFY_EQUIVALENT;
  else conclude_unknown (r, status, time_limit, r->trials);
}

void verify_equivalent_each (const mugraph *program, int n, const mugraph *const candidate[], const int trials[],
                             const verify_options *options, verify_report r[]) {
  double begin = omp_get_wtime ();
  comparison **c = calloc ((size_t) n + 1, sizeof *c);
  uint8_t need[MUGRAPH_INPUTS] = {0};
  void *out[2][MUGRAPH_OUTPUTS] = {{NULL}}; /* of all: one after the other */
  int most = 0;
  bool ok = c != NULL && take_outputs (program, out);
  eval_options run = evaluation_of (options, begin);
  eval_status status = EVAL_DONE;
  for (int i = 0; ok && i < n; i++) {
    if (!(c[i] = prepare (program, candidate[i], options, &r[i]))) continue;
    memcpy (c[i]->out, out, sizeof out);
    for (int k = 0; k < program->n_inputs; k++) need[k] |= c[i]->need[k];
    if (trials[i] > most) most = trials[i];
  }
  for (int trial = 0; ok && trial < most && status == EVAL_DONE; trial++)
    status = trial_of_all (n, c, need, options, &run, trial, trials, r);
  bool ended = status == EVAL_TIME || status == EVAL_STOPPED; /* for good; else: */
  for (int i = 0; i < n; i++) {
    if (!ok || (status != EVAL_DONE && !ended)) { /* some draw was unlucky, or memory is short: one by one */
      verify_options own = *options;
      own.trials = trials[i];
      verify_equivalent (program, candidate[i], &own, &r[i]);
    } else if (c[i] && r[i].verdict != VERIFY_DIFFERENT)
      conclude_equal (c[i], status, options->time_limit, trials[i], &r[i]);
    if (c) free (c[i]);
  }
  free_outputs (out);
  free (c);
}
