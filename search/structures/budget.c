/* Time, memory and progress of a search: see budget.h. */
#include "budget.h"

#include <stdlib.h>
#include <time.h>

enum { FIRST_CAPACITY = 16 };
static const double REPORT_EVERY = 0.16; /* seconds */

double budget_now (void) {
  struct timespec t;
  clock_gettime (CLOCK_MONOTONIC, &t);
  return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

bool budget_start (budget *b) {
  omp_init_lock (&b->lock);
  b->bytes = b->peak = 0;
  b->halted = b->cut = false;
  b->published = calloc ((size_t) b->n_threads, sizeof *b->published);
  return b->published != NULL;
}

void budget_end (budget *b) {
  omp_destroy_lock (&b->lock);
  free (b->published);
}

void budget_cut (budget *b) {
  omp_set_lock (&b->lock);
  b->cut = true;
  omp_unset_lock (&b->lock);
}

bool budget_account (budget *b, double bytes) {
  omp_set_lock (&b->lock);
  bool ok = bytes <= 0 || b->bytes + bytes <= b->memory;
  if (ok) b->bytes += bytes;
  else b->halted = true;
  if (b->bytes > b->peak) b->peak = b->bytes;
  omp_unset_lock (&b->lock);
  return ok;
}

bool budget_grow (budget *b, void *array, int *capacity, int n, size_t size) {
  if (n < *capacity) return true;
  int more = *capacity ? 2 * *capacity : FIRST_CAPACITY;
  void *moved = budget_account (b, (double) ((size_t) (more - *capacity) * size))
                    ? realloc (*(void **) array, (size_t) more * size)
                    : NULL;
  if (!moved) return false;
  *(void **) array = moved;
  *capacity = more;
  return true;
}

void budget_add_stats (search_stats *to, const search_stats *from) {
#define STAT(name, unit, help) to->name += from->name;
#include "search/statistics.def"
#undef STAT
}

bool budget_poll (budget *b, int me, const search_stats *mine) {
  search_stats sum = {0};
  double t = budget_now ();
  bool report = false;
  omp_set_lock (&b->lock);
  b->published[me] = *mine;
  if ((b->stop && *b->stop) || (b->deadline > 0 && t > b->deadline)) b->halted = true;
  bool halted = b->halted;
  if (me == 0 && b->progress && t >= b->next_report) {
    report = true;
    for (int i = 0; i < b->n_threads; i++) budget_add_stats (&sum, &b->published[i]);
  }
  omp_unset_lock (&b->lock);
  if (report) {
    b->next_report = t + REPORT_EVERY;
    b->progress (b->user, &sum, t - b->start);
  }
  return halted;
}
