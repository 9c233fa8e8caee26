/* Pre-defined kernels. */
#ifndef CUDA_TEMPLATES_EMIT_EMIT_PREDEFINED_H
#define CUDA_TEMPLATES_EMIT_EMIT_PREDEFINED_H

#include "launches.h"

/* Emits kernel operator k, which is no CUSTOM. Its inputs' tensors are filled in, as are its outputs'. */
bool cuda_emit_predefined (cuda_emitter *, int k, mugraph_error *);

#endif
