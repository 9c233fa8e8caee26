/* The three-level interpreter: kernel graph, blocks over the grid, iterations of the loop, operators of a block. It
   walks shapes and indices only; numbers are what number.h says (a pair of residues or float64, planes.h). Thread
   graphs need no level of their own: elementwise chains mean the same however they are grouped. */
#ifndef VERIFY_EVAL_H
#define VERIFY_EVAL_H

#include "context.h"

/* Evaluates the plan's graph. inputs[i] holds the needed planes of input i; outputs[k] gets plane 0 (p or float64)
   written to memory of the caller. The arena keeps what was taken. Anything but EVAL_DONE: outputs are undefined. */
eval_status eval_run (const eval_plan *, const eval_options *, const eval_value inputs[], void *const outputs[],
                      eval_arena *);

#endif
