/* From µGraph to CUDA source: the text, its launches and its buffers. What compiles, runs and times it stands in
   runtime/. */
#ifndef CUDA_TEMPLATES_CUDA_H
#define CUDA_TEMPLATES_CUDA_H

#include "mugraph/mugraph.h"
#include "plan.h"

enum { CUDA_LAUNCHES = 128, CUDA_BUFFERS = 160, CUDA_ARGS = 32 };

/* A device buffer that the launches of a µGraph use. */
typedef struct {
  enum {
    CUDA_BUFFER_INPUT,
    CUDA_BUFFER_OUTPUT,
    CUDA_BUFFER_TEMP,
    CUDA_BUFFER_ZERO
  } role;    /* ZERO: a temp that is
zeroed once at allocation and that every launch leaves zero (counters) */
  int index; /* INPUT, OUTPUT: position in the program */
  int64_t bytes;
  char name[48];
} cuda_buffer;

/* A kernel argument: the address of a buffer, or a TMA descriptor over one (passed by value, __grid_constant__). */
typedef struct {
  enum { CUDA_ARG_POINTER, CUDA_ARG_TENSOR_MAP } kind;
  int buffer;
  int dtype, rank;            /* TENSOR_MAP; dimension 0 is the innermost, as cuTensorMapEncodeTiled */
  uint64_t dim[5], stride[5]; /* elements; bytes (stride[0] unused) */
  uint32_t box[5];
  int swizzle; /* 0, 32, 64, 128 bytes */
} cuda_arg;

typedef struct {
  char name[64]; /* extern "C" symbol */
  int grid[3], block, cluster[3];
  int per_sm; /* blocks of an SM that the compiler leaves registers for; 0: 1 */
  int smem;   /* dynamic, bytes */
  bool pdl;   /* launched with programmatic stream serialization */
  int n_args;
  cuda_arg arg[CUDA_ARGS];
} cuda_launch;

typedef struct {
  char *source; /* whole CUDA source, device templates included; owned */
  int n_launches, n_buffers;
  cuda_launch launch[CUDA_LAUNCHES];
  cuda_buffer buffer[CUDA_BUFFERS];
} cuda_program;

/* Emits a µGraph for a device: every kernel operator becomes one or more launches. pdl: launches overlap the end of the
   one before (griddepcontrol). Reads cuda_plan_kernel for graph-defined kernels. */
bool cuda_emit (const mugraph *, const cuda_device *, bool pdl, cuda_program *, mugraph_error *e);
/* A float64 reference of an input program, naive, sharing no code with the above: what GPU outputs are compared with.
   Buffers are doubles; inputs too. */
bool cuda_emit_reference (const mugraph *program, cuda_program *, mugraph_error *e);
/* The text of a self-contained .cu with a host launch function: what `msearch emit` writes. comment may be NULL.
   Owned by the caller. */
char *cuda_emit_file (const mugraph *, const cuda_device *, bool pdl, const char *comment, mugraph_error *e);
void cuda_program_free (cuda_program *);
/* The buffer of input or output number index, or -1. */
int cuda_find_buffer (const cuda_program *, int role, int index);

#endif
