/* Inside of the runtime: what measure.c needs of a loaded program beside cuda.h. */
#ifndef CUDA_TEMPLATES_LAUNCH_H
#define CUDA_TEMPLATES_LAUNCH_H

#include "cuda_api.h"
#include "cuda_templates/cuda.h"

/* Address of a buffer; of an input: in this set. */
cu_pointer cuda_address (const cuda_module *, int set, int buffer);

/* One kernel on the driver's stream, with n_blocks x 256 threads, waited for. */
bool cuda_launch_simple (const cuda_driver *, cu_function, int64_t n_blocks, void *parameters[], mugraph_error *e);

#endif
