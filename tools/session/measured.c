#include "measured.h"
#include "cuda_templates/cost.h"
#include "cuda_templates/runtime/meter.h"
#include "cuda_templates/runtime/nvrtc.h"
#include "search/schedules/tune.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- records ---- */

double measured_score (const cJSON *record) {
  double plain = mugraph_record_number (record, "cold_us", INFINITY),
         pdl = mugraph_record_number (record, "cold_pdl_us", INFINITY);
  if (isfinite (plain)) return cost_score (plain, pdl);
  return mugraph_record_number (record, "best_us", INFINITY);
}

int measured_first (const mugraph_file *f, const char *gpu) {
  for (int i = 0; i < f->n; i++)
    if (isfinite (measured_score (cJSON_GetObjectItemCaseSensitive (f->saved[i].measured, gpu)))) return i;
  return -1;
}

const cJSON *measured_best (const mugraph_file *f) {
  const cJSON *best = NULL;
  for (int i = 0; i < f->n; i++)
    for (const cJSON *m = f->saved[i].measured ? f->saved[i].measured->child : NULL; m; m = m->next)
      if (measured_score (m) < measured_score (best)) best = m;
  return best;
}

static void set_time (cJSON *record, const char *what, int way, const char *unit, double us) {
  char name[40];
  snprintf (name, sizeof name, "%s%s%s", what, way == TUNE_PDL ? "_pdl" : "", unit);
  if (isfinite (us)) mugraph_record_set (record, name, us);
  else cJSON_DeleteItemFromObjectCaseSensitive (record, name);
}

static void set_times (cJSON *record, const tune_result *r) {
  for (int way = 0; way < TUNE_WAYS; way++) {
    set_time (record, "warm", way, "_us", r->warm[way]);
    set_time (record, "cold", way, "_us", r->cold[way]);
    set_time (record, "cold", way, "_spread_us", r->spread[way]);
  }
}

static void record_result (const measured_job *job, mugraph_saved *m, const tune_result *r) {
  cJSON *record = r->tried ? mugraph_saved_measure (m, job->gpu) : NULL;
  char date[20];
  time_t seconds = time (NULL);
  struct tm day;
  if (!record) return;
  if (job->timed) set_times (record, r);
  cJSON_DeleteItemFromObjectCaseSensitive (record, "correct");
  cJSON_AddBoolToObject (record, "correct", r->correct);
  mugraph_record_set (record, "rel_err", r->rel_err);
  if (job->timed) {
    cJSON_DeleteItemFromObjectCaseSensitive (record, "best_us"); /* of older versions: the lesser time */
    set_time (record, "score", TUNE_PLAIN, "_us", tune_score (r));
  }
  strftime (date, sizeof date, "%Y-%m-%d", gmtime_r (&seconds, &day));
  cJSON_DeleteItemFromObjectCaseSensitive (record, "date");
  cJSON_AddStringToObject (record, "date", date);
}

static void note_best (const tune_result *r, measured_result *to) {
  int way = r->cold[TUNE_PDL] < r->cold[TUNE_PLAIN] ? TUNE_PDL : TUNE_PLAIN;
  to->tried = r->tried;
  to->ran = r->ran;
  to->correct = r->correct;
  to->rel_err = r->rel_err;
  to->warm_us = r->warm[way];
  to->cold_us = r->cold[way];
  to->plain_us = r->cold[TUNE_PLAIN];
  to->pdl = way == TUNE_PDL;
}

/* ---- measuring ---- */

/* Of one run of tune_run. */
typedef struct {
  const measured_job *job;
  const mugraph_saved *saved; /* µGraph 0 of the run */
  int number;                 /* of it in notes */
  cuda_meter *meter;
} run;

/* Half-precision outputs carry 2^-11 each; bfloat16 ones 2^-8. */
static double tolerance (const mugraph *g) {
  bool coarse = false;
  for (int t = 0; t < g->n_inputs; t++) coarse |= g->tensor[t].shape.dtype == MUGRAPH_BF16;
  for (int k = 0; k < g->n_outputs; k++) coarse |= g->tensor[g->output[k]].shape.dtype == MUGRAPH_BF16;
  return coarse ? 1.6e-2 : 2e-3;
}

static void compile_both (void *user, int i) {
  const run *r = user;
  for (int way = 0; way < TUNE_WAYS; way++) /* whoever measures says what was wrong */
    cuda_compile_graph (&r->saved[i].graph, r->job->device, way == TUNE_PDL, NULL, NULL, NULL, NULL);
}

static bool measure (void *user, int i, int way, tune_effort effort, tune_result *r) {
  static const cuda_effort efforts[] = {[TUNE_CHECK] = CUDA_CHECK, [TUNE_QUICK] = CUDA_QUICK, [TUNE_FULL] = CUDA_FULL};
  const run *now = user;
  const char *how = way == TUNE_PDL ? " (pdl)" : "";
  cuda_measurement m;
  mugraph_error e;
  r->ran = cuda_meter_run (now->meter, &now->saved[i].graph, way == TUNE_PDL, tolerance (now->job->program),
                           efforts[effort], &m, &e);
  r->correct = r->ran && m.correct;
  if (r->ran && !(m.rel_err <= r->rel_err)) r->rel_err = m.rel_err;
  if (!r->ran) session_note (&now->job->listener, "µGraph %d%s: %s", now->number + i, how, e.text);
  else if (!m.correct)
    session_note (&now->job->listener, "µGraph %d%s: WRONG on the GPU, relative error %.1e", now->number + i, how,
                  m.rel_err);
  if (!r->ran) r->rel_err = INFINITY, r->lost = !cuda_usable ();
  if (!r->correct || effort == TUNE_CHECK) return r->correct;
  r->cold[way] = m.cold_us, r->spread[way] = m.cold_spread_us;
  if (effort == TUNE_FULL) r->warm[way] = m.warm_us;
  return true;
}

/* Measures n µGraphs; see tune_run for result and order. The number tried, -1: the GPU is not to be had. */
static int measure_all (const measured_job *job, const mugraph_saved saved[], int n, int number, int keep,
                        tune_result result[], int order[]) {
  mugraph_error e;
  run r = {job, saved, number, cuda_meter_new (job->program, job->device, job->seed, job->scale, &e)};
  tune_job todo = {.n = n,
                   .threads = job->threads,
                   .full = keep > 0 ? keep : 1,
                   .timed = job->timed,
                   .deadline = job->deadline,
                   .stop = job->stop,
                   .user = &r,
                   .compile = n > 1 ? compile_both : NULL,
                   .measure = measure};
  if (!r.meter) {
    session_note (&job->listener, "not timed: %s", e.text);
    return -1;
  }
  int tried = tune_run (&todo, keep, result, order);
  cuda_meter_free (r.meter);
  return tried;
}

bool measured_again (const measured_job *job, mugraph_saved *m, int number, measured_result *to) {
  tune_result r;
  int order;
  if (measure_all (job, m, 1, number, 0, &r, &order) < 0) return false;
  record_result (job, m, &r);
  note_best (&r, to);
  return true;
}

/* ---- tuning ---- */

/* The model's rank of the best, and the first rank of any as good. */
static void rank (const tune_result result[], int best, measured_result *to) {
  to->model_rank = to->near_rank = best;
  for (int i = best - 1; i >= 0; i--)
    if (tune_score (&result[i]) <= COST_NEAR * tune_score (&result[best])) to->near_rank = i;
}

static void drop_last (mugraph_file *f) { cJSON_Delete (f->saved[--f->n].measured); }

/* Puts the µGraphs in their measured order, with their records. */
static void reorder (const measured_job *job, mugraph_file *f, const mugraph_saved was[], const tune_result result[],
                     const int order[], measured_result *to) {
  for (int i = 0; i < f->n; i++) {
    const tune_result *r = &result[order[i]];
    f->saved[i] = was[order[i]];
    record_result (job, &f->saved[i], r);
    to->n_wrong += r->tried && !r->correct;
  }
}

/* Wrong ones stand last. */
static void drop_wrong (mugraph_file *f, const tune_result result[], const int order[]) {
  while (f->n > 1 && result[order[0]].correct && result[order[f->n - 1]].tried && !result[order[f->n - 1]].correct)
    drop_last (f);
}

bool measured_tune (const measured_job *job, mugraph_file *f, bool cut, measured_result *to) {
  int n = f->n, tried = -1;
  double start = tune_now ();
  tune_result *result = calloc ((size_t) n + 1, sizeof *result);
  int *order = calloc ((size_t) n + 1, sizeof *order);
  mugraph_saved *was = calloc ((size_t) n + 1, sizeof *was);
  if (result && order && was && n) {
    if (n > 1) session_note (&job->listener, "compiling and timing %d µGraphs on %s", n, job->gpu);
    memcpy (was, f->saved, (size_t) n * sizeof *was);
    tried = measure_all (job, was, n, 0, job->keep, result, order);
  }
  if (tried >= 0) {
    to->n = tried;
    reorder (job, f, was, result, order, to);
    note_best (&result[order[0]], to);
    if (to->ran && to->correct) rank (result, order[0], to);
    drop_wrong (f, result, order);
  }
  while (cut && f->n > job->keep) drop_last (f);
  to->seconds = tune_now () - start;
  free (result), free (order), free (was);
  return tried >= 0;
}
