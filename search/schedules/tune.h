/* Timing candidates on a GPU: which of them, how well, in what order. What compiles and measures is the caller's.

   Candidates come in the model's order. One thread takes a first look at each, launched plainly and with programmatic
   dependent launch (pdl), while the others compile what comes next. What is clearly slower than the best by its score
   (cost_score) is dropped, the others are timed by the full protocol, the fastest of each way of launching among them.
 */
#ifndef SEARCH_TUNE_H
#define SEARCH_TUNE_H

#include <stdbool.h>

typedef enum {
  TUNE_CHECK, /* only whether it is right */
  TUNE_QUICK, /* and a first look at its time */
  TUNE_FULL   /* and its time by the whole protocol */
} tune_effort;

enum { TUNE_PLAIN, TUNE_PDL, TUNE_WAYS };

/* Of one candidate. Microseconds, infinity where it was not timed. */
typedef struct {
  bool tried, ran, correct; /* correct: every way in which it was launched */
  bool full;                /* timed by the whole protocol */
  bool lost;                /* set by measure: nothing more will run in this process */
  double rel_err;           /* the largest */
  double warm[TUNE_WAYS], cold[TUNE_WAYS], spread[TUNE_WAYS]; /* spread: of the cold times */
} tune_result;

typedef struct {
  int n, threads;
  int full;                 /* at most so many get the full protocol, and the fastest of each way beside them */
  bool timed;               /* false: check only */
  double deadline;          /* by tune_now; 0: none. The first candidate is always measured */
  const volatile int *stop; /* may be NULL */
  void *user;
  /* Any thread. NULL: nothing to do ahead. */
  void (*compile) (void *user, int i);
  /* The calling thread. Sets warm, cold, spread of the way, rel_err to the largest of itself and this one's; false when
     it did not run or was wrong, then ran and correct say which. */
  bool (*measure) (void *user, int i, int way, tune_effort, tune_result *);
} tune_job;

/* Fills result[n] and order[n], a permutation: right ones first, by score, then those not tried, then the others;
   equals in the model's order. The fastest of each way are moved up to the last of the first `keep` places when they
   would stand behind them, as far as these are more than one (0: are not). Returns the number tried. */
int tune_run (const tune_job *, int keep, tune_result result[], int order[]);

/* The score of its cold times; infinity when it is not right. */
double tune_score (const tune_result *);

double tune_now (void); /* seconds, monotonic */

#endif
