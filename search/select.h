/* What is worth keeping: structures ranked by a rough schedule each, and of all schedules found those that are worth
   being timed. */
#ifndef SEARCH_SELECT_H
#define SEARCH_SELECT_H

#include "search/search.h"
#include "search/structures/enumerate.h"

/* What all parts of one search know. */
typedef struct {
  const mugraph *program;
  const search_options *options;
  const cuda_device *device;
  const volatile int *stop; /* may be NULL */
  double deadline;          /* seconds of CLOCK_MONOTONIC; 0: none */
  int threads;
} search_context;

/* Whether it was stopped or is out of time. */
bool select_halted (const search_context *);

typedef struct {
  int index;         /* of the structure in the enumeration */
  double cost_us;    /* of its best rough schedule; infinity: none, or exponentials overflow that need not */
  uint64_t identity; /* of its kernels, launch parameters aside (schedule_identity) */
} select_rank;

enum { SELECT_RANKED = 2048 }; /* structures that are sketched, those with the fewest kernels first */

/* Ranks the enumeration's structures, cheapest first, into rank[SELECT_RANKED]. *costed counts schedules. Returns how
   many; those that the deadline left unseen stand last, at infinity. */
int select_structures (const search_context *, const enumeration *, select_rank rank[], uint64_t *costed);

/* Of the ranked the best few, of those that make the same kernels one only, to the front. Returns how many. */
int select_finalists (select_rank rank[], int n);

/* Orders candidates by cost and leaves those worth it: at most options->top, no two of them the same kernels, at most
   half of them of one structure as long as there are others, a quarter of them chosen for their times when launched
   plainly. Returns how many. */
int select_best (const search_context *, search_candidate candidate[], int n);

#endif
