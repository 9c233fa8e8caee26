/* Times of a GPU: tuning the µGraphs of a file, and the records that stay with them (mugraph/file/saved.h, "measured").
   Microseconds; infinity: not timed. */
#ifndef TOOLS_SESSION_MEASURED_H
#define TOOLS_SESSION_MEASURED_H

#include "cuda_templates/plan.h"
#include "mugraph/file/saved.h"
#include "note.h"

typedef struct {
  const mugraph *program;    /* what the µGraphs are compared with */
  const cuda_device *device; /* that code is made for */
  const char *gpu;           /* the driver's name of it: the records' */
  const double *scale;       /* of the inputs drawn from N(0,1), one each */
  uint64_t seed;
  int threads;              /* that compile */
  int keep;                 /* so many µGraphs get the whole protocol */
  bool timed;               /* false: compared with float64 only */
  double deadline;          /* by tune_now; 0: none */
  const volatile int *stop; /* may be NULL */
  session_listener listener;
} measured_job;

/* What is to be said of the best, and of all. */
typedef struct {
  bool tried, ran;   /* ran: on this machine's GPU in this run */
  bool correct, pdl; /* pdl: its better time is with programmatic dependent launch */
  double rel_err, warm_us, cold_us;
  double plain_us; /* cold, launched plainly */
  int model_rank;  /* the model's rank of the best, from 0; -1: unknown */
  int near_rank;   /* the first rank of any that is as good (COST_NEAR) */
  int n, n_wrong;  /* µGraphs tried; those of them that did not run or were wrong */
  double seconds;
} measured_result;

/* Puts the file's µGraphs in the measured order and records their times. Wrong ones go unless all are. cut: only the
   first `keep` ones stay, the model's where nothing can be measured. False: nothing was measured, the listener was told
   why. */
bool measured_tune (const measured_job *, mugraph_file *, bool cut, measured_result *);

/* One µGraph; number stands for it in notes. False: it was not measured, the listener was told why. */
bool measured_again (const measured_job *, mugraph_saved *, int number, measured_result *);

/* cost_score of the cold times in a record, best_us in those of older versions. */
double measured_score (const cJSON *record);

/* The first of the file that was timed on this GPU, in the order that tuning left; -1: none was. */
int measured_first (const mugraph_file *, const char *gpu);

/* The record with the best score among all µGraphs and devices; NULL: none was timed. */
const cJSON *measured_best (const mugraph_file *);

#endif
