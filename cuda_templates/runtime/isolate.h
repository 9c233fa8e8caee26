/* Measuring in a process of its own: after a kernel that goes astray (an illegal address or instruction) the driver
   runs nothing more in the process that launched it, so such a process must be one that can be spared.

   isolate_start forks a guardian, a copy of this process from before it used the driver or had threads. It keeps one
   worker, which answers requests until a kernel takes its context with it; the next request then finds a new worker.
   All talk is of flat structs over one socket; when this process ends, so do they. */
#ifndef CUDA_TEMPLATES_ISOLATE_H
#define CUDA_TEMPLATES_ISOLATE_H

#include "measure.h"

/* Everything that one measurement depends on. */
typedef struct {
  mugraph program, candidate;
  cuda_device device; /* its texts do not travel */
  uint64_t seed;
  double scale[MUGRAPH_INPUTS], tolerance;
  bool pdl;
  cuda_effort effort;
} isolate_request;

typedef struct {
  bool good;
  cuda_measurement result;
  mugraph_error error;
} isolate_reply;

/* False: no guardian is to be had. True at once where there is one. */
bool isolate_start (void);

/* Whether requests can be made: in the process that called isolate_start, as long as its guardian lives. */
bool isolate_running (void);

/* Waits for the reply. False with the reason in reply->error when the guardian is gone; a request that fails is a reply
   that is not good. */
bool isolate_ask (const isolate_request *, isolate_reply *);

#endif
