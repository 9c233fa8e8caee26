/* The pruning question as linear integer arithmetic, for Z3 (QF_LIA).

   A monomial is a vector of exponents and a count. The parts of a question relate the monomials p of a partial result
   to the monomials t of a goal by multipliers m, vectors of exponents too:
   - PRUNE_PART: exists m >= 0 such that for all p there is a t with p + m = t and count (p) <= count (t)
   - PRUNE_SUPPORT: for all p exists m >= 0 such that there is a t with p + m = t
   - PRUNE_FACTOR: for all t exists m >= 0 such that there is a p with p + m = t and count (p) divides count (t)

   In each, m[sum_v] >= m[mean_v] for every prime v: a multiplier that divides by a count has summed as many elements.
   The question is whether there is a way to the goal, that is one of which all parts hold. */
#ifndef SEARCH_PRUNE_Z3_H
#define SEARCH_PRUNE_Z3_H

#include <stdbool.h>
#include <stdint.h>

typedef enum { PRUNE_PART, PRUNE_SUPPORT, PRUNE_FACTOR } prune_relation;

/* Row i of the monomials: exponent[i * (n_atoms + 2 * n_primes) ..]. Variables 0 .. n_atoms-1 are atoms, then come
   n_primes pairs (exponent in the sum degree, exponent in the mean degree). */
typedef struct {
  prune_relation relation;
  bool no_bare_sum; /* a multiplier with a sum degree has atoms too */
  bool no_sum;      /* multipliers have no sum degree */
  int n_atoms, n_primes;
  int n_partial, n_goal;
  const int32_t *partial, *goal;
  const uint32_t *partial_count, *goal_count; /* of PRUNE_SUPPORT: not read */
} prune_part;

enum { PRUNE_PARTS = 2 };
typedef struct {
  int n_parts;
  prune_part part[PRUNE_PARTS];
} prune_way;

typedef enum { PRUNE_NO, PRUNE_YES, PRUNE_UNKNOWN } prune_answer;

/* One solver for one thread; NULL when Z3 cannot be set up. */
typedef struct prune_z3 prune_z3;
prune_z3 *prune_z3_new (void);
void prune_z3_free (prune_z3 *);

/* PRUNE_UNKNOWN when z is NULL, at the resource limit, or on an error of Z3. */
prune_answer prune_z3_ask (prune_z3 *, int n_ways, const prune_way way[]);

#endif
