/* Abstract expressions of what a search builds, as one worker sees them: the pools, and how roots of means of squares
   are treated. Shapes may be those of the witness or real ones, as long as all are of one kind. */
#ifndef SEARCH_EXPRS_H
#define SEARCH_EXPRS_H

#include "alphabet.h"
#include "search/prune/expr.h"

enum { EXPRS_POOLS = 2, EXPRS_ROOTS = 8 };

/* Belongs to one thread. The first pool's targets are the program's outputs; the second one's, its divisors (none: no
   second pool): as long as no divisor is a quotient, what one divides by is a part of a divisor of the program. */
typedef struct {
  int n_pools;
  expr_pool *pool[EXPRS_POOLS];
  int n_roots; /* sizes of the program's root mean squares */
  int64_t root[EXPRS_ROOTS];
} exprs;

/* The expression of a tile or tensor. Moments, which are on the way to a root mean square, keep the expression of what
   is squared and the number of elements averaged (0: there is no use for it); the root mean square that ends them, like
   that of an rms_norm, is an opaque function of the argument: expanded squares would make every product of two terms a
   part of the program. */
typedef struct {
  expr_id expr[EXPRS_POOLS];
  int32_t count;
} exprs_value;

/* The pools of a program, with its outputs and divisors as targets. memo[p] may be NULL; stats is the worker's. False
   without memory; exprs_end anyway. */
bool exprs_start (exprs *, const mugraph *program, bool self_check, expr_memo *const memo[EXPRS_POOLS], search_stats *);
void exprs_end (exprs *);

exprs_value exprs_of_input (const exprs *, int i);
exprs_value exprs_of_constant (const exprs *, double);

/* The expression of an operator's result. in[]: of its operands, shape[]: theirs; loop: the loop range; varies: the
   first operand differs between iterations. */
exprs_value exprs_of_op (exprs *, const letter *, const mugraph_op *, const mugraph_shape *const shape[],
                         const exprs_value in[], int32_t loop, bool varies);

typedef enum {
  EXPRS_STAYS,
  EXPRS_PRUNED,      /* it cannot become an output of the program, or divides by what is no part of a divisor */
  EXPRS_USES_DIVISOR /* it multiplies or divides what the program divides by, which a flat letter does not */
} exprs_verdict;

/* What becomes of an operator's result, whose expression is written to *out unless the verdict is EXPRS_USES_DIVISOR.
   The arguments are those of exprs_of_op. prune: false never says EXPRS_PRUNED. */
exprs_verdict exprs_judge (exprs *, const letter *, const mugraph_op *, const mugraph_shape *const shape[],
                           const exprs_value in[], int32_t loop, bool varies, bool prune, exprs_value *out);

/* Of a division that is pruned: whether only its divisor is why. */
bool exprs_divisor_is_why (exprs *, const exprs_value *result);

#endif
