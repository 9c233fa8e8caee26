/* Schedules: the grid extents, loop range and launch parameters of a structure, chosen by the cost model.

   Each graph-defined kernel is a search of its own: tiles of every used grid axis and of the loop coarsely, then, from
   the best few, every parameter to all of its values in turn until nothing gets better. Kernels follow each other in
   topological order: the extents of one change the shapes that later ones read (partial results grow with the grid), so
   a beam of choices is kept from kernel to kernel. What a schedule costs is asked of the planner and the cost model;
   what the planner refuses does not exist.

   On devices that have programmatic dependent launch a quarter of what is returned is chosen for its time when launched
   plainly, as not every caller launches one call after the other. */
#ifndef SEARCH_SCHEDULE_H
#define SEARCH_SCHEDULE_H

#include "search/search.h"

/* As search_schedules, with a bound on plans asked for (0: the default) and the number asked added to *costed (may be
   NULL). The schedule that the structure comes with is among those tried; candidates carry the structure's hash. */
int schedule_structure (const mugraph *structure, const cuda_device *, int max_plans, int max, search_candidate out[],
                        uint64_t *costed);

/* What becomes of a µGraph on a device: equal for µGraphs of which the generators make the same kernels. Generators
   that cut the loop by themselves make one kernel of a block graph with and without a loop; requests that the planner
   resolves to the same plan are one schedule. schedules: false for the structure only. */
uint64_t schedule_identity (const mugraph *, const cuda_device *, bool schedules);

#endif
