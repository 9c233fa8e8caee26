/* Abstract expressions and the pruning decision.

   The abstract expression of a tensor says what its elements are made of and forgets which element is which: all
   elements of input X are the one symbol x, and a sum over n elements only multiplies a sum degree by n. Expressions
   are kept in a normal form, a quotient of two sums of monomials count * S^n * A^m * atom1^e1 * atom2^e2 * ... with n
   the number of elements summed, m the product of the counts that means divided by, and atoms that are inputs,
   constants, exp of a monomial, or sqrt, silu, max, ... of a normal form. Quotients are not cancelled: exp(x) /
   sum(exp(x)) is not 1, for the two x are different elements. exp(a + b) is exp(a) exp(b). Normal forms are interned,
   so that equal ids mean equal normal forms; commutativity, associativity, distributivity and the rules of sums,
   products and quotients are thereby built in.

   A partial tensor may stay when the normal form of some target is reached from it: it occurs, times a multiplier and
   plus a remainder, in a target's numerator or denominator or (the same, recursively) in an argument of one of its
   atoms.

   The decision is made directly, by comparing monomials, in a few microseconds. Nothing is pruned on that word alone.
   Z3 is asked once of every normal form that is to be pruned whether there is a way from it to any goal, in linear
   integer arithmetic (prune_z3.h), which it decides in about half a millisecond. A normal form is pruned if Z3 says
   that there is none. What it does not answer within its limits, or denies, stays (z3_unknown, z3_denied: 0 in all that
   was ever seen), so results do not depend on its version. If a quotient's numerator cannot reach a target, no divisor
   makes it reach one, so quotients of one numerator share its question. The six workloads ask 50 (rmsnorm) to 1,000
   (ntrans, qknorm) such questions for up to 220,000 prunings. A "yes" needs no confirmation, as keeping too much costs
   time only; --self-check asks about those too.

   A pool belongs to one thread; ids of different pools do not compare, hashes do. */
#ifndef SEARCH_EXPR_H
#define SEARCH_EXPR_H

#include "search/search.h"

typedef uint32_t expr_id;
enum { EXPR_UNKNOWN = 0 }; /* the expression of anything we have no rule for: it is never pruned */

typedef struct expr_pool expr_pool;

/* An empty pool, or NULL without memory. loose: forget sums and counts too, see expr_loose. */
expr_pool *expr_pool_new (bool loose);
void expr_pool_free (expr_pool *);

/* True for programs whose tensors must be compared without sums and counts: with subtraction terms may cancel, and a
   reduction over something that does not vary along the reduced dimension is a multiplication. */
bool expr_loose (const mugraph *program);

expr_id expr_input (expr_pool *, int i); /* program input i */
expr_id expr_constant (expr_pool *, double value);

/* What an operator's abstract rule needs beside its inputs; fields without meaning for a kind are ignored. */
typedef struct {
  int64_t size; /* elements that each result is a sum (mean) of: matmul: the contracted extent; sum, mean, rms_norm,
                   accum_sum, accum_mean, accum_rms: extent of the (tile's) reduced dimension; sum_to, accum_sum_to:
                   extent / width. Otherwise 1 */
  int64_t loop; /* accumulators: loop range, or 1 when the tile is the same in every iteration. Otherwise 1 */
  double c[2];  /* as mugraph_op.c */
} expr_attr;

/* The expression of an operator's result: inputs and constants have functions of their own, iterators, savers and
   transposes are the expression of what they read (kind INPUT with one input, OUTPUT, TRANSPOSE). The answer is
   memoised by (kind, inputs, attributes): one hash look-up when seen before. */
expr_id expr_of_op (expr_pool *, mugraph_op_kind, int n_in, const expr_id in[], const expr_attr *);

/* The root mean square of x over `size` elements, with epsilon, as a function of x about which nothing else is known
   (expr_of_op's is the sqrt of a mean of squares). Printed as rms (x). */
expr_id expr_opaque_root (expr_pool *, expr_id x, int64_t size, double epsilon);

/* The attributes from an operator and its input shapes. varies: the (first) input differs between iterations. */
expr_attr expr_attr_of (const mugraph_op *, const mugraph_shape *const in[], int32_t loop, bool varies);

/* Every tensor of a whole µGraph, graph-defined kernels included. tile may be NULL; else tile[b][i] gets operator i of
   block b. */
void expr_of_graph (expr_pool *, const mugraph *, expr_id tensor[MUGRAPH_TENSORS], expr_id (*tile)[MUGRAPH_BLOCK_OPS]);

/* The expressions to be reached. Once per pool, before the questions below. */
void expr_set_targets (expr_pool *, int n, const expr_id target[]);

/* False when no target can be computed from this tensor, which Z3 has confirmed: it may be pruned. Memoised by id. */
bool expr_may_contribute (expr_pool *, expr_id partial);

/* The target that equals this expression, or -1: a candidate for completion. */
int expr_target (const expr_pool *, expr_id);

/* Target t, or EXPR_UNKNOWN beyond the last one. */
expr_id expr_target_at (const expr_pool *, int t);

/* How many elements are still to be summed to make this expression target t: 1 when equal, 0 when no sum makes it so.
 */
int64_t expr_missing_sum (expr_pool *, expr_id, int t);

/* The same in every pool that was given the same inputs; 0 for EXPR_UNKNOWN. */
uint64_t expr_hash (const expr_pool *, expr_id);

/* "q*k^2*S64 / ..." for people; truncated to fit. Inputs are called x0, x1, ... Returns text. */
char *expr_text (const expr_pool *, expr_id, char *text, size_t size);

/* What Z3 confirmed, shared by the pools of several threads that were given the same inputs and have the same targets.
 */
typedef struct expr_memo expr_memo;
expr_memo *expr_memo_new (void); /* NULL without memory */
void expr_memo_free (expr_memo *);
void expr_share (expr_pool *, expr_memo *); /* not owned; NULL: nothing is shared */

/* self_check: every single comparison is also asked of Z3, those that keep a tensor too; a difference counts in
   expr_disagreements, as do prunings that Z3 denies. stats (may be NULL) gets memo_hits and the z3_ counters. */
void expr_configure (expr_pool *, bool self_check, search_stats *);
uint64_t expr_disagreements (const expr_pool *);

#endif
