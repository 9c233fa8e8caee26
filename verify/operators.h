/* Operators that combine elements, and the face of all operators that mean the same at both levels. They take
   temporaries from the arena, which the caller gives back. */
#ifndef VERIFY_OPERATORS_H
#define VERIFY_OPERATORS_H

#include "context.h"

/* out = op (in[]), whatever op is but an iterator, a saver, an accumulator or a graph-defined kernel. False: the status
 * says why. */
bool eval_apply (eval_context *, const mugraph_op *, const eval_operand in[], eval_operand *out, uint8_t need);

/* out[o][i] = sum over r of x[o][r][i], for o < outer, r < n, i < inner; on_top: added to what out holds. */
void eval_sum (eval_context *, int64_t outer, int64_t n, int64_t inner, eval_value x, eval_value out, uint8_t need,
               bool on_top);

/* x[i] /= count for i < volume: a mean. The integers themselves are the field's elements. False: count is 0. */
bool eval_over_count (eval_context *, int64_t volume, int64_t count, eval_value x, uint8_t need);

/* The same of the squares of x. Plane p. */
bool eval_sum_squares (eval_context *, int64_t outer, int64_t n, int64_t inner, eval_value x, eval_value out,
                       bool on_top);

/* out = sqrt (x / count + epsilon), the one function behind every root mean square. x: plane p, is changed. */
bool eval_root_mean (eval_context *, int64_t volume, int64_t count, double epsilon, eval_value x, eval_value out,
                     uint8_t need);

#endif
