/* What the cost of every kernel is made of: the places that blocks find, the bytes that they move, how blocks in waves
   and calls in a row overlap. A generator's cost_<generator>.c says on top of it what only its kernels cost. */
#ifndef CUDA_TEMPLATES_ROOFLINE_H
#define CUDA_TEMPLATES_ROOFLINE_H

#include "cost.h"
#include "cost_constants.h"

/* What a launch moves, and how. */
typedef struct {
  double dram, warm, l2;  /* bytes from device memory; read once, but from L2; of L2 with what is read again */
  double flight, latency; /* bytes that one block has in flight, and for how long where they come from device memory */
} cost_traffic;

typedef struct cost_launch cost_launch;

/* A launch of one graph-defined kernel, as blocks that share SMs and memory. Times in seconds. */
struct cost_launch {
  const mugraph *graph;
  const mugraph_op *op;
  const mugraph_block *block;
  const cuda_plan *plan;
  const cuda_device *device;
  const cost_constants *constant; /* of the device */
  /* places */
  double blocks;
  int cluster;      /* blocks of a cluster, 1: none */
  int occupancy;    /* blocks of one SM at a time */
  double sms, room; /* blocks that find a place on an SM of their own, and any */
  double waves;     /* blocks over room */
  /* work, by the plan */
  double iterations, stages; /* of the loop of a block, and of those in flight */
  int exchanges;             /* reductions over a block outside of the loop */
  double compute;            /* of the units, evenly spread over the device */
  double latency;            /* of a block, beside its moving and computing */
  cost_traffic moved;
  /* what a generator's kernels do otherwise; before that, as stated */
  double misaligned;  /* bytes moved for each byte used: where rows begin and end */
  double again;       /* share of what is read again that reaches L2: 1 */
  double l2_speed;    /* of its reads of L2, against loads: 1 */
  double flight_most; /* bytes that one block has in flight at most: infinite */
  double early;       /* share that shows of the time of the bytes in flight at the start of a launch: 0 */
  double fill;        /* mean of the blocks' work, of that of the busiest: 1 */
  double tail;        /* of a call, after it has seen the end of the one before: 0 */
  double hidden;      /* of a call, hidden by its neighbours at most: infinite */
  double torn;        /* share of device memory's time that neighbours waste: 0 */
  /* Seconds of computing of one block with `beside` blocks on its SM: roofline_computing. */
  double (*computing) (const cost_launch *, double beside);
};

/* The larger of two times that overlap, rounded at the corner where each waits for the other: a norm. */
double roofline_norm (double a, double b, double degree);
double roofline_overlap (const cost_constants *, double a, double b);

double roofline_tensor_bytes (const mugraph *, int t);
/* Bytes of the operator's inputs that are in L2 already. */
double roofline_warm_bytes (const mugraph *, const mugraph_op *, const cost_caches *);
/* See cost_launch.misaligned: mean over the inputs, by size. */
double roofline_misalignment (const cost_launch *);
/* Barriers that the block graph itself asks for: each reduction of a tile, in the loop or outside of it. */
int roofline_reductions (const mugraph_block *, bool looped);

/* Sets the launch's places from its plan; false where no block finds one. */
bool roofline_places (cost_launch *);

/* As many blocks share the units evenly. */
double roofline_computing (const cost_launch *, double beside);

/* Seconds of a call, when it has the device to itself, and what it adds when calls follow each other: the busiest of
   what they share, places on SMs among it, or what they do not. */
double roofline_alone (const cost_launch *);
double roofline_overlapping (const cost_launch *);

/* A pre-defined kernel: the operation itself, in a kernel of the generic generator. total is left to the
   caller. */
cost_parts roofline_predefined (const mugraph *, const mugraph_op *, const cuda_device *, const cost_caches *);

#endif
