/* Elementwise operators over whole tensors or tiles, of either kind of number. */
#ifndef VERIFY_ELEMENTWISE_H
#define VERIFY_ELEMENTWISE_H

#include "context.h"

/* The key of an operator's random functions: of trial, operator and the constants of a clamp (constant may be NULL for
   others). */
uint64_t eval_key_of (const eval_context *, int kind, const double constant[2]);

/* A constant of the program, written to one element of each plane in `need`: the number itself, or over the fields a
   random element that is not 0, keyed by the number. */
void eval_constant (const eval_context *, double value, uint8_t need, void *out[2]);

/* out[i] = op (x[i]) for i < n. */
void eval_unary (const eval_context *, const mugraph_op *, int64_t n, eval_value x, eval_value out, uint8_t need);

/* out = in[0] op in[1], broadcast as mugraph.h says. Takes temporaries. False: division by zero, no memory. */
bool eval_binary (eval_context *, const mugraph_op *, const eval_operand in[2], eval_operand *out, uint8_t need);

/* Gives 0 to the positions of out that hold no data. */
void eval_clear_invalid (eval_context *, const eval_operand *out, uint8_t need);

#endif
