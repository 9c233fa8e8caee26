/* The class of block graphs that the rows generator takes: no matmul, no loop; elementwise operators and reductions
   along the last dimension over tiles [rows or 1, n or 1]. Rows live in registers from their load to their store.
   Reductions that do not wait for each other share one exchange: their level is the number of exchanges before their
   result. */
#ifndef CUDA_TEMPLATES_ROWS_PLAN_ROWS_H
#define CUDA_TEMPLATES_ROWS_PLAN_ROWS_H

#include "cuda_templates/plan.h"

typedef struct {
  int32_t n;    /* elements of a row of the block */
  int32_t full; /* of a row of the data, where a grid dimension splits it */
  int8_t axis;  /* that grid dimension, or -1 */
  int32_t rows; /* rows of the block */
  int wide;     /* an operator whose tile has all rows: gives their shape and where they come from; -1: one row */
  bool needed[MUGRAPH_BLOCK_OPS];
  uint8_t level[MUGRAPH_BLOCK_OPS]; /* of reductions: 1 and up; 0: no reduction. Elementwise operators: exchanges they
                                       wait for */
  int levels, widest;               /* exchanges; results of the largest one */
  bool shifted;                     /* exponentials subtract the maximum of the row */
  uint8_t shift_level;              /* the exchange that finds it */
  /* the schedule */
  int split, row_warps,
      groups;           /* blocks of a cluster that share a row; warps of a block that do; rows at the same time */
  int lanes;            /* of a warp that share a row: 32, or fewer where one warp has several short rows */
  int piece, pieces;    /* elements of one load; loads of a thread and tensor */
  bool even, even_rows; /* no piece, no row beyond the end */
} cuda_rows;

/* True for operators that end in an exchange along the row. */
bool cuda_rows_reduces (const mugraph_block *, int i);

#endif
