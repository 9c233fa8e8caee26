#include "tune.h"
#include "search/search.h"

#include <math.h>
#include <omp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

static const double CLEARLY_SLOWER = 1.5; /* times the best; a first look is right within a few percent */

double tune_now (void) {
  struct timespec t;
  clock_gettime (CLOCK_MONOTONIC, &t);
  return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

double tune_score (const tune_result *r) {
  return r->correct ? cost_score (r->cold[TUNE_PLAIN], r->cold[TUNE_PDL]) : INFINITY;
}

static bool stopped (const tune_job *job) { return job->stop && *job->stop; }
static bool late (const tune_job *job) { return stopped (job) || (job->deadline > 0 && tune_now () > job->deadline); }

static void measure (const tune_job *job, int i, tune_effort effort, tune_result *r) {
  r->tried = r->ran = r->correct = true;
  for (int way = 0; way < TUNE_WAYS; way++)
    if (!job->measure (job->user, i, way, effort, r)) return;
  r->full = effort == TUNE_FULL;
}

/* Takes a first look at each candidate while other threads compile those to come. Returns how many it looked at. */
static int look (const tune_job *job, tune_effort effort, tune_result result[], bool *lost) {
  atomic_int *ready = calloc ((size_t) job->n + 1, sizeof *ready), next = 0;
  int tried = 0;
#pragma omp parallel num_threads(job->compile &&ready && job->threads > 1 ? job->threads : 1)
  {
    if (omp_get_thread_num ())
      for (int i; (i = atomic_fetch_add (&next, 1)) < job->n;) {
        if (!late (job)) job->compile (job->user, i);
        atomic_store (&ready[i], 1);
      }
    else
      for (int i = 0; i < job->n && !*lost && !(tried ? late (job) : stopped (job)); i++, tried++) {
        while (omp_get_num_threads () > 1 && !atomic_load (&ready[i]))
          nanosleep (&(struct timespec){.tv_nsec = 200000}, NULL);
        measure (job, i, effort, &result[i]);
        *lost = result[i].lost;
      }
    if (!omp_get_thread_num ()) atomic_store (&next, job->n); /* nothing more is needed */
  }
  free (ready);
  return tried;
}

/* Insertion sort by time: stable. way TUNE_WAYS: by score. */
static double time_of (const tune_result *r, int way) {
  return way == TUNE_WAYS ? tune_score (r) : r->correct ? r->cold[way] : INFINITY;
}

static void sort (int n, const tune_result result[], int way, int order[]) {
  for (int i = 1; i < n; i++)
    for (int k = i; k > 0 && time_of (&result[order[k]], way) < time_of (&result[order[k - 1]], way); k--) {
      int moved = order[k];
      order[k] = order[k - 1], order[k - 1] = moved;
    }
}

/* Those within reach of the best, by score and of each way, by the whole protocol; the best one even when it is late.
 */
static void time_fully (const tune_job *job, tune_result result[], int order[]) {
  static const int ways[] = {TUNE_WAYS, TUNE_PLAIN, TUNE_PDL};
  for (int w = 0; w < 3; w++) {
    sort (job->n, result, ways[w], order);
    double best = time_of (&result[order[0]], ways[w]);
    for (int i = 0, most = w ? 2 : job->full; i < job->n && i < most; i++) {
      tune_result *r = &result[order[i]];
      if (!(time_of (r, ways[w]) <= CLEARLY_SLOWER * best) || !isfinite (best) || (i || w ? late (job) : stopped (job)))
        break;
      if (!r->full) measure (job, order[i], TUNE_FULL, r);
      if (r->lost) return;
    }
  }
}

/* 0 right, 1 not tried, 2 wrong */
static int kind_of (const tune_result *r) { return r->tried ? r->correct ? 0 : 2 : 1; }

/* A first look does not stand before a time of the whole protocol that it merely seems to beat. */
static bool before (const tune_result *a, const tune_result *b) {
  int ka = kind_of (a), kb = kind_of (b);
  if (ka != kb) return ka < kb;
  if (a->full != b->full) return a->full;
  return tune_score (a) < tune_score (b);
}

static void move (int order[], int from, int to) {
  for (int step = from < to ? 1 : -1; from != to; from += step) {
    int moved = order[from];
    order[from] = order[from + step], order[from + step] = moved;
  }
}

/* The fastest of each way are among the first `keep`, in place of the last ones that are neither. */
static void keep_fastest (int n, int keep, const tune_result result[], int order[]) {
  int fastest[TUNE_WAYS];
  for (int way = 0; way < TUNE_WAYS; way++) {
    fastest[way] = order[0];
    for (int i = 1; i < n; i++)
      if (time_of (&result[order[i]], way) < time_of (&result[fastest[way]], way)) fastest[way] = order[i];
  }
  for (int i = keep; i < n; i++) {
    if (order[i] != fastest[TUNE_PLAIN] && order[i] != fastest[TUNE_PDL]) continue;
    int place = keep - 1;
    while (place > 0 && (order[place] == fastest[TUNE_PLAIN] || order[place] == fastest[TUNE_PDL])) place--;
    if (place <= 0) return; /* the best stays the first */
    move (order, place, keep - 1), move (order, i, keep - 1);
  }
}

int tune_run (const tune_job *job, int keep, tune_result result[], int order[]) {
  for (int i = 0; i < job->n; i++) {
    result[i] = (tune_result){.rel_err = 0};
    for (int way = 0; way < TUNE_WAYS; way++)
      result[i].warm[way] = result[i].cold[way] = result[i].spread[way] = INFINITY;
    order[i] = i;
  }
  bool lost = false;
  int tried = look (job, !job->timed ? TUNE_CHECK : job->n > 1 ? TUNE_QUICK : TUNE_FULL, result, &lost);
  if (job->timed && job->n > 1 && !lost) time_fully (job, result, order);
  for (int i = 0; i < job->n; i++) order[i] = i;
  for (int i = 1; i < job->n; i++)
    for (int k = i; k > 0 && before (&result[order[k]], &result[order[k - 1]]); k--) {
      int moved = order[k];
      order[k] = order[k - 1], order[k - 1] = moved;
    }
  if (keep > 0 && job->n > keep) keep_fastest (job->n, keep, result, order);
  return tried;
}
