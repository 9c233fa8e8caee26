/* The code generators: each emits kernel operator k as planned; its inputs' tensors are filled in, as are its outputs'.
 */
#ifndef CUDA_TEMPLATES_EMIT_EMIT_H
#define CUDA_TEMPLATES_EMIT_EMIT_H

#include "launches.h"

bool cuda_emit_generic (cuda_emitter *, int k, const cuda_plan *, mugraph_error *);
bool cuda_emit_stream (cuda_emitter *, int k, const cuda_plan *, mugraph_error *);
bool cuda_emit_chain (cuda_emitter *, int k, const cuda_plan *, mugraph_error *);
bool cuda_emit_rows (cuda_emitter *, int k, const cuda_plan *, mugraph_error *);
bool cuda_emit_tiled (cuda_emitter *, int k, const cuda_plan *, mugraph_error *);

#endif
