/* Normal forms: quotients of sums of monomials, and the arithmetic on them. See expr.h for what they stand for.

   Functions that return an expr_id take EXPR_UNKNOWN for an operand and return it where a result is too large. */
#ifndef SEARCH_NORMAL_H
#define SEARCH_NORMAL_H

#include "atoms.h"

/* ---- monomials ---- */

/* For qsort and bsearch: by product, sum degree, mean degree; counts do not matter. */
int term_compare (const void *, const void *);
/* Where key stands in n, counts aside, or NULL. */
term *term_find (normal *n, const term *key);
/* a b; false when a number overflows. */
bool term_multiply (expr_pool *, const term *a, const term *b, term *out);
/* The monomial m with b m = a, counts aside; false when there is none. A multiplier that divides by a count has summed
   as many elements, so its mean degree divides its sum degree. */
bool term_divide (expr_pool *, const term *a, const term *b, term *m);
/* -t */
bool term_negate (expr_pool *, const term *t, term *out);

/* ---- normal forms ---- */

/* The pool's first normal forms, EXPR_UNKNOWN and ONE. False without memory. */
bool normal_start (expr_pool *);

/* Sorts the terms, adds up equal monomials and interns. t[n] is changed. */
expr_id normal_intern (expr_pool *, expr_id den, term t[], uint32_t n);
/* Valid until the next normal form is interned; normal_load makes a copy. */
static inline const normal *normal_at (const expr_pool *pool, expr_id e) { return intern_at (&pool->normals, e); }
void normal_load (const expr_pool *, expr_id, normal *out);

expr_id normal_of_atom (expr_pool *, const atom *, uint32_t exponent);
/* The numerator alone, as an expression. */
expr_id normal_numerator (expr_pool *, expr_id);
/* num / den, both without a denominator of their own. */
expr_id normal_quotient (expr_pool *, expr_id num, expr_id den);
expr_id normal_multiply (expr_pool *, expr_id a, expr_id b);
expr_id normal_invert (expr_pool *, expr_id);
expr_id normal_add (expr_pool *, expr_id a, expr_id b);
expr_id normal_negate (expr_pool *, expr_id);
/* S^sum A^mean e */
expr_id normal_scale (expr_pool *, expr_id e, int64_t sum, int64_t mean);
/* a / b by long division, both without a denominator; EXPR_UNKNOWN unless it comes out even with positive counts. bare:
   a sum over nothing (S^n alone) may be a factor. Otherwise it may not: 1 / sum (x) has no divisor 1 / x. */
expr_id normal_divide (expr_pool *, expr_id a, expr_id b, bool bare);
/* A monomial over something, without what stands both above and below: in a/c + b/d, which became (a d + b c) / (c d),
   the first term is a/c. Not for targets as such: exp (x) / sum (exp (x)) stays, as the two x are different elements.
 */
expr_id normal_lowest_terms (expr_pool *, expr_id);

/* Whether e is one concatenation alone; then *out is its atom, whose arguments are the pieces. */
bool normal_concatenation (const expr_pool *, expr_id e, atom *out);
/* The atom that e consists of, or NULL. */
const atom *normal_single_atom (const expr_pool *, expr_id e);

#endif
