/* What a search may use: time, memory, and the user's patience. Shared by its workers. */
#ifndef SEARCH_BUDGET_H
#define SEARCH_BUDGET_H

#include "search/search.h"

#include <omp.h>

typedef struct {
  /* set before the workers start, then only read */
  const volatile int *stop; /* may be NULL */
  double start, deadline;   /* seconds of CLOCK_MONOTONIC; deadline 0: none */
  double memory;            /* bytes */
  int n_threads;
  search_progress progress; /* called by worker 0 only; may be NULL */
  void *user;
  double next_report; /* worker 0's */
  /* SHARED, under the lock */
  omp_lock_t lock;
  search_stats *published; /* one a worker */
  double bytes, peak;      /* held now, and at most */
  bool halted;             /* stopped, out of time or out of memory */
  bool cut;                /* a fixed limit was met: not everything within the options' bounds was seen */
} budget;

/* Fills the fields that stand under the lock; the others are the caller's. False without memory; budget_end anyway. */
bool budget_start (budget *);
void budget_end (budget *);

/* Seconds of CLOCK_MONOTONIC. */
double budget_now (void);

/* Publishes the worker's counters, reports progress; true when the search is to end. */
bool budget_poll (budget *, int me, const search_stats *mine);

/* Says that a fixed limit was met. */
void budget_cut (budget *);

/* Counts memory (may be negative); false when the bound would be passed: then the search halts. */
bool budget_account (budget *, double bytes);

/* Room for element n of *array, whose elements have `size` bytes; it may move. Counts the memory. False without it. */
bool budget_grow (budget *, void *array, int *capacity, int n, size_t size);

/* to += from, counter by counter. */
void budget_add_stats (search_stats *to, const search_stats *from);

#endif
