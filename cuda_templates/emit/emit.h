/* The emitter's inside: what the code generators (emit_generic.c, emit_stream.c, emit_chain.c, emit_rows.c,
   emit_tiled.c) share. Everything here works on one cuda_emitter, which belongs to one call of cuda_emit: no global
   state. */
#ifndef CUDA_TEMPLATES_EMIT_H
#define CUDA_TEMPLATES_EMIT_H

#include "cuda_templates/cuda.h"

/* ---- growing text ---- */

typedef struct {
  char *data; /* owned; NULL while empty. 0-terminated */
  size_t size, room;
  bool failed; /* out of memory: later calls do nothing */
} cuda_text;

void cuda_print (cuda_text *, const char *format, ...) __attribute__ ((format (printf, 2, 3)));
void cuda_text_free (cuda_text *);

/* Appends the body of a function, its closing brace included, with every line indented by its depth in braces. */
void cuda_print_indented (cuda_text *, const char *code);

/* ---- one emission ---- */

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

typedef struct {
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

/* Puts a device template ("stream.cuh") in front of the kernels, once, and those that it builds on in front of it. */
void cuda_use_template (cuda_emitter *, const char *name);

/* The text of a device template. */
const char *cuda_template_text (const char *name);

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

/* ---- addresses ---- */

/* A tensor's dimensions and strides (elements) aligned at the right of four, missing dimensions 1. */
void cuda_aligned (const mugraph_shape *, int dim[4], int64_t stride[4]);
void cuda_dense_strides (const int dim[4], int64_t stride[4]);
int64_t cuda_stride (const mugraph_shape *, int d); /* of a dense tensor's dimension, elements */
/* Where this block's part of dimensions d0 up to d1 of a tensor begins, as " + (long long) bx * 64" terms; elements, or
   (int) counted in units for coordinates of tensor copies. o: the iterator or saver. */
void cuda_print_begin (cuda_text *, const mugraph_block *, const mugraph_op *o, const mugraph_shape *data, int d0,
                       int d1, int64_t unit);

/* An index expression from four coordinate expressions; dimensions of size 1 are left out, so they broadcast. */
void cuda_print_index (cuda_text *, const char *const at[4], const int dim[4], const int64_t stride[4]);

/* ---- expressions of thread graphs ---- */

/* A float literal. */
void cuda_print_number (cuda_text *, double);

/* Appends the op.def expression of an elementwise operator with $a, $b, $0, $1 replaced. */
void cuda_print_op (cuda_text *, const mugraph_op *, const char *a, const char *b);

typedef struct {
  const mugraph_block *block;
  const char *prefix; /* of the variables: operator i becomes float <prefix>i */
  /* Whether tile i exists somewhere (memory or registers) for this reader; then writes its value at the current
     element, right-aligned broadcasting included, as a float expression. Constants never reach it. */
  bool (*materialised) (void *user, int i, cuda_text *);
  /* The maximum that a stable exponential i subtracts at the current element, as an expression; false: raw. May be
   * NULL. */
  bool (*shift) (void *user, int i, cuda_text *);
  /* Operators whose value is not their op.def expression: writes it, given the variables of the operands. May be NULL.
   */
  bool (*value) (void *user, int i, const char *a, const char *b, cuda_text *);
  void *user;
} cuda_walk;

/* Prints declarations "const float <prefix>i = ...;\n" for tile i and every operator below it that is not materialised,
   operands first, each once (done: bit i, shared between calls at the same element, caller zeroes it first). All of
   them must be elementwise, constants, or known to value. */
void cuda_print_walk (cuda_text *, const cuda_walk *, int i, uint64_t *done);

/* The wgmma of m64 x n x k16 for wgmma.cuh: struct ms_wgmma<type, n>. n: a multiple of 8 up to 256. */
void cuda_print_wgmma (cuda_text *, mugraph_dtype, int n);

/* ---- generators: emit kernel operator k as planned; its inputs' tensors are filled in, as are its outputs'. ---- */

bool cuda_emit_generic (cuda_emitter *, int k, const cuda_plan *, mugraph_error *);
bool cuda_emit_stream (cuda_emitter *, int k, const cuda_plan *, mugraph_error *);
bool cuda_emit_chain (cuda_emitter *, int k, const cuda_plan *, mugraph_error *);
bool cuda_emit_rows (cuda_emitter *, int k, const cuda_plan *, mugraph_error *);
bool cuda_emit_tiled (cuda_emitter *, int k, const cuda_plan *, mugraph_error *);

/* A pre-defined kernel (emit_predefined.c). */
bool cuda_emit_predefined (cuda_emitter *, int k, mugraph_error *);

#endif
