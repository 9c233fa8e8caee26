/* What the generic code generator derives about a block graph: the planner takes offsets and costs from it, the emitter
   (cuda_templates/generic/emit_generic.c) the order and the place of everything. */
#ifndef CUDA_TEMPLATES_GENERIC_PLAN_GENERIC_H
#define CUDA_TEMPLATES_GENERIC_PLAN_GENERIC_H

#include "cuda_templates/plan.h"
#include "mugraph/stable.h"

typedef enum { MUGRAPH_BEFORE_LOOP, MUGRAPH_IN_LOOP, MUGRAPH_AFTER_LOOP } mugraph_phase;

/* How a matmul is cut: a block computes bm x bn of the result at a time over steps of bk, by wm x wn warps. Operands
   are multiplied in `type`: f16 or bf16 as they stand in memory; f32 for everything computed, as tf32 with what that
   drops of a computed operand (split) multiplied too. stages > 1: both operands stream from device memory by
   asynchronous copies. */
typedef struct {
  int bm, bn, bk, wm, wn, stages;
  mugraph_dtype type;
  bool split_a, split_b;
} cuda_generic_mma;

/* The cut for an m x n result with this many warps; type f32, one stage. */
cuda_generic_mma cuda_generic_cut (int m, int n, int warps);
/* Multiplies operands of these types, streamed where that is possible. */
void cuda_generic_operands (cuda_generic_mma *, mugraph_dtype a, mugraph_dtype b, bool streamed);
int64_t cuda_generic_staging (const cuda_generic_mma *); /* bytes of shared memory */

typedef struct {
  mugraph_stable stable;
  int n;                            /* operators */
  int dim[MUGRAPH_BLOCK_OPS][4];    /* tile shapes, aligned at the right, missing dimensions 1 */
  uint8_t phase[MUGRAPH_BLOCK_OPS]; /* mugraph_phase in which operator i runs; an accumulator: in the loop */
  bool stored[MUGRAPH_BLOCK_OPS];   /* the tile exists in memory; else its readers compute it (or load it: INPUT) */
  bool table[MUGRAPH_BLOCK_OPS];    /* a side table exists: RMS_NORM: 1/rms of each row; INPUT that carries row
                                       maxima: factors [rows, splits] */
  int direct[MUGRAPH_BLOCK_OPS];    /* MATMUL: the accumulator it adds to without being stored, or -1 */
  int64_t bytes[MUGRAPH_BLOCK_OPS]; /* of the stored tile and of the table behind it */
  cuda_home home[MUGRAPH_BLOCK_OPS];
  int64_t offset[MUGRAPH_BLOCK_OPS]; /* from the start of shared memory, or of the block's workspace */
  int start[MUGRAPH_BLOCK_OPS], end[MUGRAPH_BLOCK_OPS]; /* lifetime in positions, see cuda_generic_position */
  bool running_max;                                     /* some exponential subtracts a running row maximum */
  int max_dim[3];                                       /* rows of that maximum: leading three dimensions */
  int64_t max_offset, move_offset; /* f32 arrays in shared memory: the maximum; its last move (old - new) */
  int threads;
  int64_t smem, workspace;
} cuda_generic;

int cuda_generic_position (const cuda_generic *, int i); /* 64 * phase + i */
cuda_generic_mma cuda_generic_matmul (const mugraph *, int k, const cuda_generic *, int i);

/* op.dim of operator i's tile in the aligned shape. */
int cuda_generic_dim (const mugraph_block *, int i, int dim);

/* Positions of dimension d (aligned) of tile i may be invalid. */
bool cuda_generic_ragged (const mugraph_block *, int i, int d);

#endif
