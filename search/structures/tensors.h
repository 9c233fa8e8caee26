/* The tensors of the kernel graph: what is read, what is to be reached, and what kernels were found to make. */
#ifndef SEARCH_TENSORS_H
#define SEARCH_TENSORS_H

#include "enumeration.h"

/* Inputs, constants, and the outputs as what is to be reached. False without memory. */
bool tensors_start (enumeration *);

/* Appends a tensor; the values become its own. -1 when there is no room. */
int tensors_add (enumeration *, const tensor *);
void tensors_add_producer (enumeration *, int t, const producer *);

/* The known tensor with this type and value, or -1. */
int tensors_find (const enumeration *, const mugraph_shape *, const uint16_t label[MUGRAPH_DIMS], int moment,
                  const residue *);

/* Whether no dimension holds partial sums side by side. */
bool tensors_is_whole (const tensor *);

/* The expression of tensor t in the worker's pools, by its first producer; computed once. */
exprs_value tensors_expr (enumeration *, worker *, int t);

#endif
