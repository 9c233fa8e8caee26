/* The class of block graphs that the chain generator takes: two chained matmuls, the first one's result only ever in
   registers.

     S = A B1            A [m, d] stays, the loop walks the columns of B1 [d, n]
     P, X_k = f (S)      elementwise, with constants and values of the row; at most one kind of stabilised exponential
     O = sum of P B2     over the loop, which walks the rows of B2 [n, dv]
     x_k = sums of X_k along the row
     outputs             elementwise on O [m, dv] and x_k [m, 1]

   A may be normalised or scaled by row (folded into S), B2 normalised by row, all three changed elementwise. B1 and B2
   may be transposes of what is stored ([n, d] and [dv, n]): the matrix units take both, nothing is moved. B1 as [n, d]
   may be normalised by row. What the parameters of a schedule mean, and which values pay: plan_chain.c. */
#ifndef CUDA_TEMPLATES_CHAIN_PLAN_CHAIN_H
#define CUDA_TEMPLATES_CHAIN_PLAN_CHAIN_H

#include "cuda_templates/plan.h"

enum { CUDA_CHAIN_SUMS = 4, CUDA_CHAIN_FACTORS = 8, CUDA_CHAIN_FIXED = 8 };

typedef struct {
  /* operators of the block graph; -1: absent */
  int first, second;         /* the matmuls */
  int a, b1, b2;             /* iterators */
  int a_map;                 /* A before its factors: an elementwise operator on iterator a, or a itself */
  int b1_top, b2_top;        /* the operands as multiplied, without transposes and constants that scale B1 */
  int b1_leaf, b2_leaf;      /* what they are elementwise functions of: the iterators, or transposes of them */
  bool b1_turned, b2_turned; /* transposes of what is stored */
  int b1_norm, b2_norm;      /* an rms_norm along the rows of what is stored, below b1_top, b2_top */
  bool b1_scale, b2_scale; /* it is all that happens to the operand: its factors go to the columns of S, of P (wgmma) */
  int operand;             /* P */
  int result;              /* O: the accumulator, or the second matmul where there is no loop */
  int exponential;         /* stabilised; the first of those with the same argument */
  int n_sums, sum[CUDA_CHAIN_SUMS], addend[CUDA_CHAIN_SUMS]; /* x_k and X_k (of accum_rms: squared on top) */
  int degree, sum_degree[CUDA_CHAIN_SUMS];                   /* of O and x_k in the row's scale */
  /* A B1 = a_map b1_top times these: rms_norm of a_map, or the other operand of mul or div (div: divided by) */
  int n_factors, factor[CUDA_CHAIN_FACTORS];
  bool plain;   /* P and every X_k is the exponential itself, its argument a positive multiple of S */
  double slope; /* plain: constants of that multiple, the factors aside */
  int n_fixed, fixed[CUDA_CHAIN_FIXED]; /* row values that f reads */
  int32_t rows, d, dv, n;               /* of a block: m, d, dv; extent of the loop */
  int32_t n_full;                       /* of the data */
  int8_t n_axis;                        /* the grid dimension that splits n, -1 none */
  mugraph_dtype dtype;
  bool aligned; /* the rows of a block's parts of B1 and B2 start at multiples of 16 bytes */
  /* the schedule */
  bool wgmma; /* and tensor copies, where the device and the rows' lengths allow; else mma.sync */
  int wm, wn, nt, split, stages;
  int per_sm;  /* blocks of an SM that registers are kept for */
  bool helper; /* one more warpgroup, for copies and what is done to tiles; it needs an SM for the block alone */
  int64_t smem;
} cuda_chain;

/* Rows of the factor of operator i that multiplies or divides: see cuda_chain.factor. The operand that is the factor.
 */
int cuda_chain_factor (const mugraph_block *, int i);
/* True when tile i has one value a row (or one at all). */
bool cuda_chain_is_row (const mugraph_block *, int i);

#endif
