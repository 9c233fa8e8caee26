/* The search for schedules of one graph-defined kernel: coarse extents first, then from the best few every parameter to
   all of its values in turn until nothing gets better. */
#ifndef SEARCH_TUNE_KERNEL_H
#define SEARCH_TUNE_KERNEL_H

#include "cuda_templates/cost.h"
#include "mugraph/mugraph.h"

enum { TUNE_KEPT = 64, TUNE_AXES = 4, TUNE_LOOP = 3 };

/* A schedule of one kernel. */
typedef struct {
  int32_t extent[TUNE_AXES]; /* grid x, y, z; the loop */
  mugraph_sched sched;       /* 0: the planner's choice */
  mugraph_sched used;        /* what the planner made of it */
  uint64_t plan;             /* hash of what is launched: choices of one plan are one schedule */
  double plain, pdl;         /* seconds, of this kernel, launched plainly and with pdl */
  double cost;               /* what it is chosen by */
} tune_choice;

/* Belongs to one thread. The caller sets what stands first. */
typedef struct {
  mugraph graph; /* every block as chosen so far */
  const cuda_device *device;
  int kernel; /* index of the operator that is tuned */
  bool plain; /* chosen for the time when launched plainly; else by score */
  cost_caches caches;
  int plans, max_plans; /* asked of the planner so far, and at most */

  /* of the kernel at work */
  int32_t size[TUNE_AXES]; /* elements that each axis splits; 0: unused or not to be changed */
  bool leading[TUNE_AXES]; /* of matrices side by side, not of their rows or columns */
  tune_choice *best;       /* TUNE_KEPT, cheapest first */
  int n_best;
  uint64_t *seen; /* hashes of choices tried; open addressing */
  int n_seen, seen_slots;
  double last; /* cost of the last choice tried */
} tuner;

/* A tuner that may ask for so many plans, or NULL without memory. */
tuner *tuner_new (const cuda_device *, bool plain, int max_plans);
void tuner_free (tuner *);

/* Fills best for the kernel under the graph's present shapes, with at most `budget` more plans. */
void tuner_run (tuner *, int budget);

/* What kernels are chosen by: seconds of both ways of launching to one number. */
double tuner_judge (const tuner *, double plain, double pdl);

/* Gives a block the choice's extents and this schedule, one of its two. */
void tune_apply (mugraph_block *, const tune_choice *, mugraph_sched);

/* The hash of what is launched under these grid extents. */
uint64_t tune_hash_of_plan (const int32_t grid[3], const cuda_plan *);

#endif
