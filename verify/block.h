/* A graph-defined kernel: its block graph, for every block of the grid. */
#ifndef VERIFY_BLOCK_H
#define VERIFY_BLOCK_H

#include "context.h"

/* Runs kernel operator `op` of the plan's graph on its input tensors; out: the planes needed of its output tensors, of
   which every element is written. Takes temporaries. False: the status says why. */
bool eval_run_block_graph (eval_context *, int op, const eval_operand in[], const eval_value out[]);

#endif
