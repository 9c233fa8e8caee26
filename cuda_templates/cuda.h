/* From µGraph to running CUDA: source text, NVRTC, launch, comparison, timing. libnvrtc and libcuda are opened at run
   time, no CUDA header is needed to build (cuda_api.h declares the few types by itself). */
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

/* What this machine can do, in one line for people ("compiles (NVRTC 13.0) and runs (NVIDIA H100 80GB HBM3)"). */
typedef struct {
  bool nvrtc, driver, gpu;
  int nvrtc_version, driver_version, arch;
  char device[128];
  char line[256];
} cuda_facts;
void cuda_probe (cuda_facts *);

/* Compiles to a cubin (owned by the caller) for sm_<arch> (90 means sm_90a). False with the compiler's log in *log
   (owned by the caller, may be NULL) and its first line in e. Cached on disk by the xxHash of source, arch and NVRTC
   version under $MSEARCH_CACHE, else $XDG_CACHE_HOME/msearch, else ~/.cache/msearch. Thread safe. */
bool cuda_compile (const char *source, int arch, char **cubin, size_t *size, char **log, mugraph_error *e);

/* Loaded on the GPU with its buffers allocated, guard zones around each. */
typedef struct cuda_module cuda_module;
cuda_module *cuda_load (const cuda_program *, const char *cubin, size_t size, int input_sets, mugraph_error *e);
void cuda_unload (cuda_module *);
bool cuda_upload (cuda_module *, int set, int buffer, const void *data, int64_t bytes, mugraph_error *e);
bool cuda_download (cuda_module *, int set, int buffer, void *data, int64_t bytes, mugraph_error *e);
/* Poisons temps, outputs and guard zones, runs once, synchronises, and checks the guards. */
bool cuda_run (cuda_module *, int set, mugraph_error *e);
/* CUDA graph of `calls` calls, rotating over the input sets, replayed `replays` times: microseconds a call, median over
   replays and their spread (p90 - p10). */
bool cuda_time (cuda_module *, int calls, int replays, double *median_us, double *spread_us, mugraph_error *e);

/* The whole check of a candidate: draws inputs ~ N(0,1) (input i scaled by scale[i], NULL: 1) on the device's
   buffers, runs reference and candidate, and returns the largest relative error ||a-b||/||b|| over the outputs. Times
   it warm and cold (input sets exceed 4x L2, one for each call of a graph) when want_time and the error is at most
   tolerance. */
typedef struct {
  bool correct;
  double rel_err;
  double warm_us, cold_us, warm_spread_us, cold_spread_us;
} cuda_measurement;
bool cuda_measure (const mugraph *program, const mugraph *candidate, const cuda_device *, bool pdl, uint64_t seed,
                   const double *scale, double tolerance, bool want_time, cuda_measurement *, mugraph_error *e);

/* The same for many candidates of one program: the float64 reference runs once. Owns copies of all but device.
   CUDA_QUICK leaves the warm times at 0 and replays less: good for telling what is clearly slower. One thread at a
   time. */
typedef enum { CUDA_CHECK, CUDA_QUICK, CUDA_FULL } cuda_effort;
typedef struct cuda_meter cuda_meter;
cuda_meter *cuda_meter_new (const mugraph *program, const cuda_device *, uint64_t seed, const double *scale,
                            mugraph_error *e);
bool cuda_meter_run (cuda_meter *, const mugraph *candidate, bool pdl, double tolerance, cuda_effort,
                     cuda_measurement *, mugraph_error *e);
void cuda_meter_free (cuda_meter *);

/* False after a kernel went astray (an illegal address or instruction): the driver runs nothing more in this process.
 */
bool cuda_usable (void);

/* From now on meters measure in another process, so that such a kernel is one wrong candidate and nothing else. To be
   called before anything uses the driver or starts a thread; false: it is not to be had, everything runs in this
   process. */
bool cuda_isolate (void);

#endif
