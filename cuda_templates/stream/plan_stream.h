/* The class of block graphs that the stream generator takes, taken apart: plan_stream.c fills it for the plan, and
   cuda_templates/stream/emit_stream.c prints the kernel from it.

   Matmuls of few rows X [m, k] against weights W [k, n]. Weights go from device memory into registers in pieces of up
   to 16 bytes and become the m16 operand of the matrix units (W^T), rows of X the n8 operand: padding is to 8 rows.
   Nothing passes through shared memory before the loop has ended, so warps never wait for each other in it. The loop
   over k is shared by `k_warps` warps of a block and `split` blocks of a cluster; their partial sums meet once, at the
   end.

   Or, where nothing is computed on either side, through a `ring` of stages in shared memory: the copy engine brings 64
   k of W and X a stage, a warpgroup multiplies them (wgmma, the same roles), four more warps take row statistics from
   them. No partial sums of warps meet, so that the tail is short, and blocks stay in step. A stage has 64 columns of
   each weight, or 32 (`stacked`): then two weights with the same left operand are the 64 rows of one product.

   Every tile has one of these roles:
     left     elementwise over tiles [m or 1, k or 1]: computed on X's operand registers
     right    elementwise over tiles [k or 1, n or 1]: computed on W's operand registers; or a transpose of [n, k]
     product  left times right, summed over k: partial sums in accumulator registers
     linear   sums and differences of products, and products times an invariant tile [r, n] ("chained"): they are
              linear in the partial sums too, so they are computed on them, before these meet
     row      sum, mean or root mean square along k of a left tile: added up beside the products, of the same registers
     post     elementwise over linear tiles, rows and invariant tiles [m or 1, n or 1], at each element of the result */
#ifndef CUDA_TEMPLATES_STREAM_PLAN_STREAM_H
#define CUDA_TEMPLATES_STREAM_PLAN_STREAM_H

#include "cuda_templates/plan.h"

/* One of the three dimensions: data extent, the part of it that a block has, the grid dimension that splits it (-1:
   none), whether every block has as much (else the last ones have less, or nothing). */
typedef struct {
  int32_t full, chunk;
  int8_t axis;
  bool even;
} cuda_stream_extent;

enum {
  CUDA_STREAM_LEFT = 1,
  CUDA_STREAM_RIGHT = 2,
  CUDA_STREAM_PRODUCT = 4,
  CUDA_STREAM_LINEAR = 8,  /* not a product itself: accumulator, sum, difference, negation, chained matmul */
  CUDA_STREAM_SOURCE = 16, /* beside PRODUCT or LINEAR: left operand of a chained matmul, kept row major; beside RIGHT:
                              has its columns */
  CUDA_STREAM_ROOT = 32,   /* beside PRODUCT or LINEAR: its partial sums are combined */
  CUDA_STREAM_ROW = 64,
  CUDA_STREAM_POST = 128,
  CUDA_STREAM_CHAIN = 256 /* right operand of a chained matmul: read once */
};

typedef struct {
  cuda_stream_extent m, n, k;
  uint16_t role[MUGRAPH_BLOCK_OPS]; /* CUDA_STREAM_ bits; 0: nothing needs it */
  bool turned[MUGRAPH_BLOCK_OPS];   /* iterators of weights that are stored as [n, k] */
  mugraph_dtype type;               /* of the operands of the matrix units: f16 or bf16 */
  int32_t inner;                    /* r of chained matmuls; 0: there is none */
  int n_roots, n_rows, n_weights;   /* weights: right tiles read anew in every step */
  int n_weights_inner;              /* those of them that have r columns */
  int n_streams;                    /* left tiles read anew in every step */
  /* the schedule */
  int split, warps, k_warps, n_warps, stages;
  int columns;       /* of a warp */
  int piece, pieces; /* columns of one load, loads along the columns of a warp: 8 lanes cover 8 piece pieces */
  int piece_inner, pieces_inner; /* the same over r */
  bool whole;                    /* columns are loaded as pieces; else one by one */
  bool whole_inner;
  int quads;    /* a lane has 4 quads consecutive k of each 16 quads: pieces of X of 8 or 16 bytes, single or double
                   sectors */
  bool whole_k; /* they are loaded at once */
  int steps;    /* of 16 k, of one warp */
  int part;     /* k of a block */
  bool even_k, even_n; /* no warp meets the end of a dimension */
  bool ring, stacked;
  int64_t stage_bytes, barriers; /* of the ring: of a stage; where the barriers are in shared memory */
  int reduced;                   /* k warps that leave partial sums in shared memory at the same time */
  int slots;                     /* 16-byte groups of partial sums of one root */
} cuda_stream;

/* Everything down to the schedule: extents, roles, types. name: of the generator that asks, for the reason. */
bool cuda_stream_classify (const mugraph *, int k, const char *name, cuda_stream *, mugraph_error *e);

/* The iterator that right operand i is, or is the transpose of; -1: it is computed. */
int cuda_stream_weight (const mugraph_block *, int i);

/* Where iterator i, a left or right operand, begins in a stage of the ring: weights first. */
int64_t cuda_stream_place (const cuda_stream *, const mugraph_block *, int i);

#endif
