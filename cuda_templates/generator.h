/* A code generator: what the planner, the cost model and the emitter ask of one. Each is a folder of this room with a
   row in generators.def; nothing else names them one by one. */
#ifndef CUDA_TEMPLATES_GENERATOR_H
#define CUDA_TEMPLATES_GENERATOR_H

#include "plan.h"

struct cost_launch;
struct cuda_emitter;

typedef struct {
  const char *name;
  const char *takes; /* what it is for, for people */

  /* Plans kernel operator k, a graph-defined kernel, for a device: fills the plan (all 0 before) but for its backend,
     and keeps what it found of the graph in it (cuda_plan_keep). False with the reason, which begins with the
     generator's name, where it cannot take the graph, or not with the schedule that the block asks for. */
  bool (*plan) (const mugraph *, int k, const cuda_device *, cuda_plan *, mugraph_error *);

  /* Says what kernels of this plan do otherwise than the roofline has it: roofline.h. */
  void (*cost) (struct cost_launch *);

  /* Prints kernel operator k as planned: emit/launches.h. */
  void (*emit) (struct cuda_emitter *, int k, const cuda_plan *);

  size_t mma_rate; /* offset in cost_constants: share of the matrix units' rate that it reaches */
  bool cuts_loop;  /* by itself: a block graph with and without a loop is one kernel to it */
  bool waits;      /* its kernels wait for the end of the launch before, whatever they read */
  bool copies;     /* it honours sched.copy */
} cuda_generator;

/* The generator of this number (sched.backend), generic for 0, the planner's choice; NULL where there is none. */
const cuda_generator *cuda_generator_of (int backend);

/* The functions of each: in its folder. */
#define GENERATOR(number, ID, name, ...)                                                                               \
  bool cuda_plan_##name (const mugraph *, int, const cuda_device *, cuda_plan *, mugraph_error *);                     \
  void cost_##name (struct cost_launch *);                                                                             \
  void cuda_emit_##name (struct cuda_emitter *, int, const cuda_plan *);
#include "generators.def"
#undef GENERATOR

#endif
