/* Plan of the tiled generator: plan_tiled.c fills it, cuda_templates/tiled/emit_tiled.c prints the kernel from it.

   Matmuls of many rows, of the class of plan_stream.h: X [m, k] against W [k, n], both from device memory by tensor
   copies into a ring of `stages` steps of 64 k, multiplied by wgmma. One warp copies; `groups` warpgroups own 64 rows
   each of the tile that one block of the µGraph's grid has, all of its columns, and keep every product of the tile in
   registers. What follows the loop is computed on these registers. Chained matmuls (X A) B: X A is one more product, of
   few columns, whose registers become the left operand of a last step, with all of B's rows. Left operands that are
   computed elementwise become operands in registers too.

   The launch is persistent: as many blocks as the device holds at once walk over the grid, rows of tiles in bands that
   share what L2 holds. `multicast` blocks form a cluster: their tiles are side by side and the operand that they share
   is copied once, each block bringing its part of it to all of them. */
#ifndef CUDA_TEMPLATES_TILED_PLAN_TILED_H
#define CUDA_TEMPLATES_TILED_PLAN_TILED_H

#include "cuda_templates/stream/plan_stream.h"

enum { CUDA_TILED_K = 64, CUDA_TILED_OPERANDS = 4 };

typedef struct {
  cuda_stream c;                                 /* extents, roles, type; not its schedule */
  int n_left, left[CUDA_TILED_OPERANDS];         /* iterators of a stage: [rows, 64] */
  int n_computed, computed[CUDA_TILED_OPERANDS]; /* left operands that are elementwise over those: in registers */
  bool held[CUDA_TILED_OPERANDS]; /* left tiles that are operands in registers too: row statistics read them there
                                     anyway */
  int fragments;                  /* left operands in registers: those held, those computed */
  int n_vectors,
      vector[CUDA_TILED_OPERANDS]; /* iterators of the same expressions that are one row: read from device memory */
  int n_right, right[CUDA_TILED_OPERANDS]; /* [64, columns]; where c.turned is set [columns, 64], their transposes are
                                              multiplied */
  int n_products, product[CUDA_TILED_OPERANDS];
  int n_narrow, narrow[CUDA_TILED_OPERANDS];  /* right operands of chained matmuls: [64, inner], or the same */
  int n_sources, source[CUDA_TILED_OPERANDS]; /* their products, [rows, inner] */
  bool chains_turned;                         /* right operands of chains are stored as [columns, inner] */
  int n_chains, chain[CUDA_TILED_OPERANDS];   /* what those are multiplied with: matmuls after the loop */
  int into[CUDA_TILED_OPERANDS];              /* of a chain: the sums that it is added to */
  int sums;                  /* [rows, columns] in registers: products, and chains that are added to none */
  int inner, inner_k;        /* columns of sources, a multiple of 8; as depth of the last step, of 16 */
  int groups, rows, columns; /* consumer warpgroups; of a tile in shared memory and registers */
  int chunks;                /* of 64 columns */
  int steps, stages;
  int multicast;   /* blocks of a cluster */
  bool along_rows; /* its tiles are below each other and share the right operands; else beside each other, the left ones
                    */
  int tiles_m, tiles_n;  /* of one matrix */
  int64_t others;        /* matrices, and parts of k that grid axes split */
  int band;              /* rows of tiles that are walked together, in clusters */
  int clusters;          /* launched */
  int per_sm;            /* blocks of an SM that registers are left for */
  int launch_regs, regs; /* of a thread at launch; of a consumer after registers have moved to it (0: they do not) */
  int stage_bytes, left_bytes, right_bytes, narrow_bytes, chain_bytes; /* of a stage, of one operand's tile in it */
} cuda_tiled;

/* The chain whose result operator i adds to a product that nothing else reads: both are one accumulator. -1: not such a
 * sum. */
int cuda_tiled_folded (const cuda_tiled *, const mugraph_block *, int i);

/* Whether operator `from` is `to` or computed from it. */
bool cuda_tiled_reaches (const mugraph_block *, int from, int to);

#endif
