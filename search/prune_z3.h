/* The subexpression question as linear integer arithmetic, for Z3 (QF_LIA).

   A monomial is a vector of exponents and a count. Given partial monomials p and goal monomials t, is there a multiplier
   m, one vector for all of them, such that every p + m is some t of at least p's count?
     exists m >= 0:  and_p or_t (p + m = t and count (p) <= count (t)),   m[sum_v] >= m[mean_v] for every prime v
   The last condition says that who divides by a count has summed as many elements. */
#ifndef SEARCH_PRUNE_Z3_H
#define SEARCH_PRUNE_Z3_H

#include <stdint.h>

/* Row i of the monomials: exponent[i * n_variables ..]. Variables 0 .. n_atoms-1 are atoms, then come n_primes pairs
   (exponent in the sum degree, exponent in the mean degree). */
typedef struct {
  int n_atoms, n_primes;
  int n_partial, n_goal;
  const int32_t *partial, *goal;
  const uint32_t *partial_count, *goal_count;
} prune_question;

typedef enum { PRUNE_NO, PRUNE_YES, PRUNE_UNKNOWN } prune_answer;

/* One solver for one thread; NULL when Z3 cannot be set up. */
typedef struct prune_z3 prune_z3;
prune_z3 *prune_z3_new (void);
void prune_z3_free (prune_z3 *);

/* PRUNE_UNKNOWN when z is NULL, at the resource limit, or on an error of Z3. */
prune_answer prune_z3_ask (prune_z3 *, const prune_question *);

#endif
