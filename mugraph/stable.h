/* Stable exponentials: which may be computed relative to a maximum that their row shares. The rules are in stable.c. */
#ifndef MUGRAPH_STABLE_H
#define MUGRAPH_STABLE_H

#include "mugraph.h"

/* Which exponentials may be computed as exp(x - m) with a shared maximum m. For a graph whose outputs are homogeneous
   of degree 0 in a scale that all elements of a row share, over every exponential of one class. */
typedef struct {
  /* kernel graph: operator i is an exponential computed with the maximum of its row (last dimension) */
  bool kernel_exp[MUGRAPH_KERNEL_OPS];
  /* block b, operator i: an exponential computed with a running row maximum */
  bool block_exp[MUGRAPH_BLOCKS][MUGRAPH_BLOCK_OPS];
  /* degree of each tile in the row scale of its block (0: independent, 1: proportional): accumulators of degree d are
     rescaled by exp(d * (m_old - m_new)) when the maximum moves */
  int8_t block_degree[MUGRAPH_BLOCKS][MUGRAPH_BLOCK_OPS];
  /* tensor t holds values of this degree: its producer also writes row maxima (one a row and block of the grid axis
     that is concatenated along its last dimension), and whoever reads it rescales to the common maximum of the row */
  int8_t tensor_degree[MUGRAPH_TENSORS];
  bool any;
} mugraph_stable;

/* Fills s. Where the outputs depend on the scale, the exponentials concerned stay raw (all fields 0). */
void mugraph_analyse_stable (const mugraph *, mugraph_stable *s);

/* Exponentials that stay raw, of the kernel graph and of all blocks: they overflow where stable ones do not. */
int mugraph_raw_exponentials (const mugraph *, const mugraph_stable *);

#endif
