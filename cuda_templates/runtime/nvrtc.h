/* From CUDA source to a cubin, and from a µGraph. */
#ifndef CUDA_TEMPLATES_NVRTC_H
#define CUDA_TEMPLATES_NVRTC_H

#include "cuda_templates/plan.h"

/* Compiles to a cubin (owned by the caller) for sm_<arch> (90 means sm_90a). False with the compiler's log in *log
   (owned by the caller, may be NULL) and its first line in e. Cached on disk by the xxHash of source, arch and NVRTC
   version under $MSEARCH_CACHE, else $XDG_CACHE_HOME/msearch, else ~/.cache/msearch. Thread safe. */
bool cuda_compile (const char *source, int arch, char **cubin, size_t *size, char **log, mugraph_error *e);

/* The same for the code of a µGraph on a device. cubin and size may be NULL: only whether it compiles. */
bool cuda_compile_graph (const mugraph *, const cuda_device *, bool pdl, char **cubin, size_t *size, char **log,
                         mugraph_error *e);

#endif
