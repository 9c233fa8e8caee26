/* What one call of cuda_emit works on, and what it adds to its program: buffers, launches and their arguments. A
   cuda_emitter belongs to that call: there is no global state. */
#ifndef CUDA_TEMPLATES_EMIT_LAUNCHES_H
#define CUDA_TEMPLATES_EMIT_LAUNCHES_H

#include "cuda_templates/cuda.h"
#include "emit_text.h"
#include "mugraph/stable.h"

enum { CUDA_TEMPLATES = 16 };

/* Tensor t of the kernel graph in device memory. */
typedef struct {
  int buffer;          /* index into program->buffer; -1 before its producer was emitted (never seen by a generator) */
  mugraph_dtype dtype; /* as stored: cuda_plan_storage */
  mugraph_shape shape; /* row major, dense */
  int max_buffer;      /* row maxima, see cuda_plan_splits; -1: none */
  int splits;          /* of max_buffer */
  int degree;          /* mugraph_stable.tensor_degree where max_buffer >= 0, else 0 */
} cuda_tensor;

typedef struct cuda_emitter {
  const mugraph *g;
  mugraph *own; /* g, with schedules that fit the device */
  const cuda_device *device;
  const mugraph_stable *stable;
  bool pdl;
  cuda_program *program;                /* buffers and launches are added here */
  cuda_text body;                       /* kernels so far */
  const char *template[CUDA_TEMPLATES]; /* device templates used beside common.cuh, in order of first use */
  cuda_tensor tensor[MUGRAPH_TENSORS];
  cuda_text params[CUDA_LAUNCHES]; /* declared parameters of each launch */
  bool full;                       /* a table of program overflowed: reported by cuda_emit */
} cuda_emitter;

/* Puts device templates in front of the kernels, each once, in this order. A generator names its own last and all that
   it builds on before it, beside common.cuh:   cuda_use_templates (e, "load.cuh", "cluster.cuh", "rows.cuh");   */
#define cuda_use_templates(e, ...) cuda_use_template_list (e, (const char *const[]){__VA_ARGS__, NULL})
void cuda_use_template_list (cuda_emitter *, const char *const *names); /* ends with NULL */

int cuda_add_buffer (cuda_emitter *, int role, int index, int64_t bytes, const char *name);

/* A launch: grid, cluster 1, block, smem, pdl as given by e->pdl. name becomes the symbol: use cuda_add_launch (e,
   "k%d_stream", k). Returns its index (a valid scratch one when full). Then add its arguments, then cuda_open_kernel.
 */
int cuda_add_launch (cuda_emitter *, int64_t blocks, int threads, int64_t smem, const char *name, ...)
    __attribute__ ((format (printf, 5, 6)));

/* Appends an argument: declaration is the C parameter, as "const ms_f16 *__restrict__ in0". */
void cuda_add_pointer (cuda_emitter *, int launch, int buffer, const char *declaration, ...)
    __attribute__ ((format (printf, 4, 5)));
/* The same for a tensor: type, const and row maxima are added: in0 becomes "const ms_f16 *__restrict__ in0" and, where
   the tensor has row maxima, "const float *in0_max". What an earlier launch writes is not __restrict__ when read: with
   programmatic dependent launch it changes while this kernel already runs. */
void cuda_add_tensor (cuda_emitter *, int launch, int tensor, bool written, const char *name, ...)
    __attribute__ ((format (printf, 5, 6)));
/* A TMA descriptor: declared "const __grid_constant__ ms_tensor_map NAME". */
void cuda_add_tensor_map (cuda_emitter *, int launch, const cuda_arg *, const char *name);

/* Prints   extern "C" __global__ void __launch_bounds__ (threads, 1) [__cluster_dims__] NAME (parameters) {   */
void cuda_open_kernel (cuda_emitter *, int launch);
/* Around the body of a kernel that needs sm_90a: MS_SM90A of wgmma.cuh. Elsewhere it traps. */
void cuda_open_sm90a (cuda_emitter *);
void cuda_close_sm90a (cuda_emitter *);

/* "ms_f16", "ms_bf16", "float" (common.cuh); all convert by ms_load (pointer) and ms_store (pointer, float). */
const char *cuda_type (mugraph_dtype);

#endif
