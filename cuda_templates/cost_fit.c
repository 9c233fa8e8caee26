#include "cost_fit.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

bool cost_sample_plan (cost_sample *s, const cuda_device *d) {
  const mugraph *g = s->graph;
  s->plan = calloc ((size_t) g->n_ops, sizeof *s->plan);
  for (int k = 0; s->plan && k < g->n_ops; k++)
    if (g->op[k].kind == MUGRAPH_OP_CUSTOM && !cuda_plan_kernel (g, k, d, &s->plan[k], NULL)) cost_sample_free (s);
  return s->plan;
}

void cost_sample_free (cost_sample *s) {
  free (s->plan);
  s->plan = NULL;
}

/* As cost_times, with the plans that are there. */
static void predict (cost_sample *s, const cuda_device *d) {
  const mugraph *g = s->graph;
  cost_caches caches = {{false}};
  cost_parts parts;
  s->model_plain = s->model_pdl = 0;
  for (int k = 0; k < g->n_ops; k++) {
    if (g->op[k].kind == MUGRAPH_OP_CUSTOM) {
      cost_planned (g, k, &s->plan[k], d, &caches, &parts);
      cost_leave (g, k, d, &caches);
    } else cost_kernel (g, k, d, &caches, &parts);
    s->model_plain += 1e6 * parts.plain, s->model_pdl += 1e6 * parts.pdl;
  }
}

void cost_predict (cost_sample s[], int n, const cuda_device *d) {
  for (int i = 0; i < n; i++) predict (&s[i], d);
}

/* ---- judging ---- */

static double measured_score (const cost_sample *s) { return cost_score (s->plain, s->pdl); }
static double model_score (const cost_sample *s) { return cost_score (s->model_plain, s->model_pdl); }

/* Positions from 0 with ties at their mean: how many are smaller, and half of the others that are equal. */
static double position (const cost_sample s[], int n, int i, double score (const cost_sample *)) {
  double at = 0, own = score (&s[i]);
  for (int k = 0; k < n; k++) at += score (&s[k]) < own ? 1 : k != i && score (&s[k]) == own ? 0.5 : 0;
  return at;
}

static double correlation (const cost_sample s[], int n) {
  double mean = (n - 1) / 2.0, xy = 0, xx = 0, yy = 0;
  for (int i = 0; i < n; i++) {
    double x = position (s, n, i, model_score) - mean, y = position (s, n, i, measured_score) - mean;
    xy += x * y, xx += x * x, yy += y * y;
  }
  return xx > 0 && yy > 0 ? xy / sqrt (xx * yy) : 0;
}

int cost_model_rank (const cost_sample s[], int n, int i) {
  int rank = 1;
  for (int k = 0; k < n; k++) rank += model_score (&s[k]) < model_score (&s[i]);
  return rank;
}

/* log (model / measured) of each way of launching that was timed; returns how many. */
static int errors_of (const cost_sample *s, double error[2]) {
  int n = 0;
  if (isfinite (s->plain)) error[n++] = log (s->model_plain / s->plain);
  if (isfinite (s->pdl) && isfinite (s->model_pdl)) error[n++] = log (s->model_pdl / s->pdl);
  return n;
}

cost_judgement cost_judge (const cost_sample s[], int n) {
  cost_judgement j = {.n = n, .near_rank = n};
  double error[2];
  int timed = 0;
  for (int i = 0; i < n; i++) {
    int ways = errors_of (&s[i], error);
    for (int w = 0; w < ways; w++) j.error += fabs (error[w]);
    timed += ways;
    if (measured_score (&s[i]) < measured_score (&s[j.best])) j.best = i;
  }
  if (!n) return j;
  j.error /= timed ? timed : 1;
  for (int i = 0; i < n; i++) {
    int rank = cost_model_rank (s, n, i);
    if (measured_score (&s[i]) <= COST_NEAR * measured_score (&s[j.best]) && rank < j.near_rank) j.near_rank = rank;
  }
  j.rank = cost_model_rank (s, n, j.best);
  j.correlation = correlation (s, n);
  return j;
}

/* ---- fitting ---- */

static const double STAY = 1e-4, /* of the square of log (constant / start), against the mean square of errors */
    FIRST_STEP = 0.2, LAST_STEP = 0.004; /* of the logarithm of a constant */

typedef struct {
  cost_sample *sample;
  int n;
  cuda_device device; /* its constants are those below */
  cost_constants constant, start;
} fit;

/* What is to be least: the mean square of the errors, and that constants stay where they are. */
static double loss_of (fit *f) {
  double square = 0, error[2], moved = 0;
  int timed = 0;
  cost_predict (f->sample, f->n, &f->device);
  for (int i = 0; i < f->n; i++) {
    int ways = errors_of (&f->sample[i], error);
    for (int w = 0; w < ways; w++) square += error[w] * error[w];
    timed += ways;
  }
  for (int r = 0; r < cost_n_constants; r++) {
    size_t at = cost_constant_table[r].offset;
    double by = log (cost_constant_get (&f->constant, at) / cost_constant_get (&f->start, at));
    moved += by * by;
  }
  return (timed ? square / timed : 0) + STAY * moved;
}

/* Moves one constant by a factor, within its range. True when the loss is less then; else it is moved back. */
static bool try_move (fit *f, int row, double factor, double *loss) {
  size_t at = cost_constant_table[row].offset;
  double before = cost_constant_get (&f->constant, at), start = cost_constant_get (&f->start, at),
         after = fmin (fmax (before * factor, start / COST_FIT_RANGE), start * COST_FIT_RANGE);
  cost_constant_set (&f->constant, at, after);
  double next = after == before ? INFINITY : loss_of (f);
  if (next < *loss) return *loss = next, true;
  cost_constant_set (&f->constant, at, before);
  return false;
}

static double seconds_now (void) {
  struct timespec t;
  clock_gettime (CLOCK_MONOTONIC, &t);
  return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

/* Coordinate descent: one constant after the other, each with a step of its own, which grows where it helps and halves
   where neither direction does. */
cost_constants cost_fit (cost_sample s[], int n, const cuda_device *d, double seconds) {
  fit f = {.sample = s, .n = n, .device = *d, .constant = *d->cost, .start = *d->cost};
  double step[sizeof (cost_constants) / sizeof (double)], widest = FIRST_STEP, began = seconds_now ();
  f.device.cost = &f.constant;
  double loss = loss_of (&f);
  for (int r = 0; r < cost_n_constants; r++) step[r] = cost_constant_table[r].fitted ? FIRST_STEP : 0;
  while (widest > LAST_STEP) {
    widest = 0;
    for (int r = 0; r < cost_n_constants; r++) {
      if (fabs (step[r]) <= LAST_STEP) continue;
      if (seconds > 0 && seconds_now () - began > seconds) break;
      if (try_move (&f, r, exp (step[r]), &loss)) step[r] *= 1.5;
      else if (try_move (&f, r, exp (-step[r]), &loss)) step[r] *= -1;
      else step[r] /= 2;
      widest = fmax (widest, fabs (step[r]));
    }
  }
  cost_predict (s, n, &f.device);
  return f.constant;
}
