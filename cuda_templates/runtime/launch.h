/* Compiled programs on the GPU: loading, running, timing. Buffers are numbered as in the cuda_program; inputs exist
   once per set. Every function fails with the driver's text in e. */
#ifndef CUDA_TEMPLATES_LAUNCH_H
#define CUDA_TEMPLATES_LAUNCH_H

#include "cuda_api.h"
#include "cuda_templates/cuda.h"

/* Loaded on the GPU with its buffers allocated, guard zones around each. */
typedef struct cuda_module cuda_module;

/* Copies what it needs of program and cubin. NULL with the reason; unload may be given NULL. */
cuda_module *cuda_load (const cuda_program *, const char *cubin, size_t size, int input_sets, mugraph_error *e);
void cuda_unload (cuda_module *);

bool cuda_upload (cuda_module *, int set, int buffer, const void *data, int64_t bytes, mugraph_error *e);
bool cuda_download (cuda_module *, int set, int buffer, void *data, int64_t bytes, mugraph_error *e);

/* Poisons temps, outputs and guard zones, runs once, synchronises, and checks the guards. */
bool cuda_run (cuda_module *, int set, mugraph_error *e);

/* CUDA graph of `calls` calls, rotating over the input sets, replayed `replays` times: microseconds a call, median over
   replays and their spread (p90 - p10). */
bool cuda_time (cuda_module *, int calls, int replays, double *median_us, double *spread_us, mugraph_error *e);

/* Address of a buffer; of an input: in this set. */
cu_pointer cuda_address (const cuda_module *, int set, int buffer);

/* One kernel on the driver's stream, with n_blocks x 256 threads, waited for. */
bool cuda_launch_simple (const cuda_driver *, cu_function, int64_t n_blocks, void *parameters[], mugraph_error *e);

#endif
