/* The tile program of a graph-defined kernel: which code generator handles it, where each tile lives, which warps own
   it, how it is copied, and what that costs. The cost model and the emitter read the same plan, so what is ranked is
   what is built. Printed by `msearch show FILE --tiles`. */
#ifndef CUDA_TEMPLATES_PLAN_H
#define CUDA_TEMPLATES_PLAN_H

#include "mugraph/mugraph.h"

#include <assert.h>
#include <string.h>

/* Device facts: rows of device.def. Bandwidths in bytes/s, rates in flop/s, times in seconds. */
typedef struct {
  const char *name;  /* --device spelling: a100, h100, h200 */
  const char *match; /* substring of the driver's device name */
  int arch;          /* 80, 90 */
  int sms;
  int smem_block, smem_sm; /* bytes: opt-in maximum of a block, total of an SM */
  int regs_sm;
  double dram_bw, l2_bw; /* measured streaming read, L2 read */
  double l2_bytes;
  double mma_f16, fp32, sfu;         /* dense f16 tensor rate, fp32 fma flop rate, exp/rsqrt per second */
  double launch, launch_pdl;         /* an empty kernel in a CUDA graph */
  const struct cost_constants *cost; /* what the cost model knows of it: cost.def */
} cuda_device;

extern const cuda_device cuda_devices[];
extern const int cuda_n_devices;
const cuda_device *cuda_device_find (const char *name); /* by --device spelling or driver name, or NULL */

typedef enum { CUDA_HOME_NONE, CUDA_HOME_REGISTERS, CUDA_HOME_SHARED, CUDA_HOME_DEVICE } cuda_home;

/* Code generators by their numbers in sched.backend, see generators.def. */
enum {
  CUDA_GENERATOR_AUTO, /* the planner's choice */
#define GENERATOR(number, ID, ...) CUDA_GENERATOR_##ID = number,
#include "generators.def"
#undef GENERATOR
  CUDA_N_GENERATORS = 1
#define GENERATOR(...) +1
#include "generators.def"
#undef GENERATOR
};

/* "chain"; "auto" for 0, "unknown" for what is no generator's number; cuda_generator_name: NULL for both. */
const char *cuda_generator_text (int backend);
const char *cuda_generator_name (int backend);

/* How a tile that an iterator brings comes from device memory. */
typedef enum {
  CUDA_COPY_NONE,     /* it does not, or is read where it is used */
  CUDA_COPY_LOADS,    /* loads of the threads */
  CUDA_COPY_ASYNC,    /* cp.async, by all threads */
  CUDA_COPY_TENSOR,   /* the tensor copy engine (TMA), counted on an mbarrier */
  CUDA_COPY_MULTICAST /* the same, once for all blocks of a cluster */
} cuda_copy;

const char *cuda_copy_text (cuda_copy);

typedef struct {
  cuda_home home;
  int64_t offset, bytes; /* shared: from the start of the dynamic shared memory; device: of the block's workspace */
  bool fused;            /* never materialised: its reader computes it on the fly (thread graph) */
  cuda_copy copy;        /* of an iterator */
  int depth;             /* tiles of it that are there or on their way */
} cuda_tile_plan;

enum { CUDA_FOUND_BYTES = 6144 };

typedef struct {
  int backend;         /* CUDA_GENERATOR_ */
  mugraph_sched sched; /* every 0 of the block's schedule replaced by what is used */
  int threads;         /* of a block */
  int cluster;         /* blocks of a cluster: along the split loop, or of tiles side by side; 1: none */
  int64_t blocks;      /* launched, split included; fewer than the grid has where they walk over it */
  int64_t smem;        /* dynamic shared memory of a block, bytes */
  int64_t workspace;   /* device memory of a block, bytes */
  int regs;            /* estimated registers a thread */
  int compiled_regs;   /* what the compiler is expected to make of them, where that is known to be another number */
  double dram_read, dram_write, l2_read; /* bytes of the whole launch */
  double mma_flops, fp32_flops, sfu_ops; /* of the whole launch, padding included */
  double smem_bytes;                     /* through shared memory, where that may be the bottleneck; 0: not counted */
  int iterations;                        /* of the loop in one block */
  cuda_tile_plan tile[MUGRAPH_BLOCK_OPS];
  /* Last, for comparisons of plans leave it out: what the generator's planner found of the graph, a struct of its own.
   */
  unsigned char found[CUDA_FOUND_BYTES];
} cuda_plan;

/* Keeps and gives back what a planner found: a copy of its generator's struct, of which cost and emitter of the same
   generator know the type. Nobody looks at the graph a second time. */
static inline void cuda_plan_keep (cuda_plan *p, const void *found, size_t size) {
  assert (size <= sizeof p->found);
  memcpy (p->found, found, size);
}
static inline void cuda_plan_found (const cuda_plan *p, void *found, size_t size) {
  assert (size <= sizeof p->found);
  memcpy (found, p->found, size);
}

/* How tensor t of the kernel graph is stored in device memory: program inputs and outputs in their declared type,
   everything in between in f32 (partial sums and unnormalised values overflow or lose half the digits of a half). */
mugraph_dtype cuda_plan_storage (const mugraph *, int t);

/* Row maxima that travel beside tensor t when mugraph_stable.tensor_degree[t] is not 0: f32 [rows, splits], rows being
   all dimensions of t but the last, and column c of t belonging to split c / (dim[last] / splits). Value [r, s] is the
   maximum that block s subtracted in row r; a reader multiplies column c by exp (degree * (max[r, s] - max over s)).
   splits is the extent of the grid axis that the saver concatenates along the last dimension, 1 where there is none.
   Returns splits; 0 when t is not the output of a graph-defined kernel. */
int cuda_plan_splits (const mugraph *, int t);

/* A grid axis with blocks that have no matrix, because it is longer than the leading dimension that it splits; -1:
   none. Kernels that find their matrix by their place in the grid, and do not ask whether there is one, refuse such
   grids. */
int cuda_plan_idle_axis (const mugraph_block *);

/* Plans kernel operator k (a CUSTOM) for a device. False with the reason when the chosen backend cannot take it or it
   does not fit; with sched.backend 0 generic is tried last and takes everything that passes mugraph_infer. */
bool cuda_plan_kernel (const mugraph *, int k, const cuda_device *, cuda_plan *, mugraph_error *e);

#endif
