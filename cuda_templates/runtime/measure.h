/* Is a candidate right, and how fast? Measured in this process: after a kernel that goes astray (an illegal address or
   instruction) the driver runs nothing more in it. meter.h measures in a process that can be spared. */
#ifndef CUDA_TEMPLATES_MEASURE_H
#define CUDA_TEMPLATES_MEASURE_H

#include "cuda_templates/cuda.h"

typedef struct {
  bool correct;   /* rel_err is within the tolerance */
  double rel_err; /* the largest ||a - b|| / ||b|| over the outputs, b by the float64 reference */
  /* Microseconds a call, median and p90 - p10; 0: not timed. Cold: the input sets exceed 4x L2, and each call of a
     CUDA graph has its own. */
  double warm_us, cold_us, warm_spread_us, cold_spread_us;
} cuda_measurement;

/* Right or not; a first look at its cold time, enough to tell what is clearly slower; the whole protocol. */
typedef enum { CUDA_CHECK, CUDA_QUICK, CUDA_FULL } cuda_effort;

/* Measures many candidates of one program; the reference runs once. Inputs are drawn from N(0,1) times scale[i] (NULL:
   1). Keeps copies of all but the device, which must outlive it. One thread at a time. NULL with the reason. */
typedef struct measurer measurer;
measurer *measurer_new (const mugraph *program, const cuda_device *, uint64_t seed, const double *scale,
                        mugraph_error *e);
void measurer_free (measurer *); /* or NULL */

/* Compiles and runs a candidate, and times it when it is right. pdl: with programmatic dependent launch. False with the
   reason when it did not run; a wrong one did. */
bool measurer_run (measurer *, const mugraph *candidate, bool pdl, double tolerance, cuda_effort, cuda_measurement *,
                   mugraph_error *e);

/* False after a kernel went astray in this process. */
bool measurer_usable (void);

#endif
