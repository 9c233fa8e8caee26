/* Measuring many candidates of one program, in this process or in another: the face of measure.h and isolate.h. */
#ifndef CUDA_TEMPLATES_METER_H
#define CUDA_TEMPLATES_METER_H

#include "measure.h"

/* From now on meters measure in another process, so that a kernel that goes astray is one wrong candidate and nothing
   else. To be called before anything uses the driver or starts a thread; false: it is not to be had, everything runs in
   this process. */
bool cuda_isolate (void);

/* False when nothing more can be measured: a kernel went astray in this process. */
bool cuda_usable (void);

/* Inputs are drawn from N(0,1) times scale[i] (NULL: 1). Keeps copies of all but the device, which must outlive it. One
   thread at a time. NULL with the reason; free may be given NULL. */
typedef struct cuda_meter cuda_meter;
cuda_meter *cuda_meter_new (const mugraph *program, const cuda_device *, uint64_t seed, const double *scale,
                            mugraph_error *e);
void cuda_meter_free (cuda_meter *);

/* As measurer_run. */
bool cuda_meter_run (cuda_meter *, const mugraph *candidate, bool pdl, double tolerance, cuda_effort,
                     cuda_measurement *, mugraph_error *e);

/* One candidate by a meter of its own: by the whole protocol, or (want_time false) checked only. */
bool cuda_measure (const mugraph *program, const mugraph *candidate, const cuda_device *, bool pdl, uint64_t seed,
                   const double *scale, double tolerance, bool want_time, cuda_measurement *, mugraph_error *e);

#endif
