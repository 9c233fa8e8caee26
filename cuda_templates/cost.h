/* The roofline cost model: what one call of a µGraph takes on a device.

   Two ways of launching are costed, plainly and with programmatic dependent launch (pdl), where the device has it;
   cost_score joins them. Plainly a call begins when the one before has ended: its time is the launch and what its last
   block takes. With pdl successive calls overlap, as far as they fit on the SMs beside each other: its time is that of
   the busiest resource, a block's place on an SM being one of them. A kernel that reads what another kernel of the same
   call has written waits for it either way.

   Blocks run in waves: as many as find a place (registers, shared memory, clusters within a GPC), then the rest, with
   the SMs to themselves. A wave takes as long as one of its blocks does, or as what all SMs share. A block's time is
   set by the bytes that it has in flight (Little's law), by what one SM draws, by the units that the blocks of its SM
   compete for, and by what does not overlap: first bytes, exchanges, partial sums. With pdl it is the sum of their
   times over the places that counts, for few blocks that take long leave room for other calls. The work itself (bytes,
   flops with padding, threads, shared memory) comes from cuda_plan_kernel, the rates from device.def, the constants
   from cost.def, where each is named and explained.

   cost.c goes through the terms in order; roofline.h has what all kernels share; <generator>/cost_<generator>.c says
   what only that generator's kernels cost; cost_fit.h fits the constants to measured times. */
#ifndef CUDA_TEMPLATES_COST_H
#define CUDA_TEMPLATES_COST_H

#include "plan.h"

/* Seconds. The totals are not their sum: what overlaps is not added. */
typedef struct {
  double launch;         /* an empty kernel, launched plainly */
  double dram, l2;       /* moving bytes, at full bandwidth */
  double mma, sfu, fp32; /* of units that are all busy */
  double latency;        /* of a block, what nothing hides: first bytes, barriers, unpipelined iterations, combines */
  double plain, pdl;     /* of a call, launched this way; pdl: infinity where the device has none */
  double total;          /* their cost_score */
  int occupancy;         /* blocks of one SM at a time */
  double waves;          /* blocks over what the device holds at a time; the last one may be partial */
} cost_parts;

/* Which tensors of the kernel graph are in L2 when a kernel starts: those just written, and inputs read before. */
typedef struct {
  bool warm[MUGRAPH_TENSORS];
} cost_caches;

/* The score of graph-defined kernel k given its plan; infinity where no block fits an SM. */
double cost_planned (const mugraph *, int k, const cuda_plan *, const cuda_device *, const cost_caches *, cost_parts *);

/* What kernel operator k leaves in L2. */
void cost_leave (const mugraph *, int k, const cuda_device *, cost_caches *);

/* Any kernel operator: plans graph-defined ones, with the roofline of the operation itself for pre-defined ones.
   Updates the caches with what the kernel leaves in L2. Infinity when it cannot be planned. */
double cost_kernel (const mugraph *, int k, const cuda_device *, cost_caches *, cost_parts *);

/* What µGraphs are compared by, everywhere: plain^(1/3) pdl^(2/3) of the cold times of a call, one by itself (launched
   plainly) and among others like it (programmatic dependent launch; infinity or 0: the device has none, then plain
   alone). A kernel in use has other kernels beside it: one that takes little of a full device, but long, is no better
   for its users than one that is quick alone and keeps the next from starting. */
double cost_score (double plain, double pdl);
#define COST_NEAR 1.03 /* times the best score: as good, as runs of one kernel differ by so much */

/* The roofline times of one call of a whole µGraph on a device, microseconds; infinity when some kernel cannot be
   planned. cost_graph: their score. */
void cost_times (const mugraph *, const cuda_device *, double *plain, double *pdl);
double cost_graph (const mugraph *, const cuda_device *);

#endif
