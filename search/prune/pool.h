/* The inside of an expression pool, for the files of this folder only. Everything that an expression is made of is
   interned: atoms, products of atoms, normal forms; so are the calls of operators, with their results.

   Nothing here depends on what is to be reached, the goals aside: building expressions only notes what goals will need
   to know (lost, sums_multiply), and expr_set_targets reads it. */
#ifndef SEARCH_POOL_H
#define SEARCH_POOL_H

#include "expr.h"
#include "intern.h"
#include "prune_z3.h"

/* Larger normal forms become EXPR_UNKNOWN: nothing that a search at the witness shape builds comes near. */
enum { TERMS = 256, PRODUCTS = 4096, FACTORS = 32 };

typedef enum { ATOM_SIGN, ATOM_INPUT, ATOM_CONSTANT, ATOM_EXP, ATOM_FUNCTION } atom_type;

typedef struct {
  uint16_t type, kind; /* atom_type; kind of a function, as mugraph_op_kind */
  uint32_t n_arg;
  expr_id arg[2];   /* EXP: a quotient with one monomial of count 1 above */
  uint64_t bits[2]; /* INPUT: index; CONSTANT, FUNCTION: bits of its constants; CONCAT: extents */
} atom;

typedef struct {
  uint32_t atom, exponent;
} factor; /* a product is an array of them, atoms ascending; the sign's exponent is 1 */

typedef struct {
  uint64_t sum, mean;
  uint32_t product, count;
} term; /* the monomial count * S^sum * A^mean * product */

/* A normal form's key: the denominator (an expression whose own den is ONE) and the terms of the numerator, ascending.
 */
typedef struct {
  expr_id den;
  uint32_t n;
  term t[TERMS];
} normal;

enum { ONE = 1 };   /* the expression 1 */
enum { SIGN = 0 };  /* the atom -1 */
enum { EMPTY = 0 }; /* the product of nothing */

/* Something to be reached: a target or an argument of an atom in one, or its reciprocal. */
typedef struct {
  expr_id num, den; /* both with den ONE */
} goal;

struct expr_pool {
  bool loose;
  intern_table atoms, products, normals, calls;
  uint64_t *atom_hash, *product_hash, *normal_hash; /* the same in every pool */
  uint32_t atom_hashes, product_hashes, normal_hashes;
  expr_id *result; /* of calls */
  uint32_t results;

  /* notes for expr_set_targets */
  expr_id *lost; /* arguments of functions that an atom no longer holds as they were given */
  uint32_t n_lost, lost_room;
  bool sums_multiply; /* some sum was multiplied with another one or summed again */

  /* goals */
  bool open;            /* a target is unknown, so everything may contribute */
  bool goals_have_sums; /* sums_multiply when the targets were set: a sum degree may be that of a product */
  int n_targets, n_goals;
  uint32_t goals;
  expr_id target[MUGRAPH_OUTPUTS];
  goal *goal;
  unsigned char *verdict; /* of normals: 0 not asked, 1 may contribute, 2 not */
  uint32_t verdicts;

  /* the second opinion */
  bool self_check;
  expr_memo *memo; /* shared; may be NULL */
  prune_z3 *z3;    /* made when first asked */
  uint64_t disagreements;
  search_stats *stats, nowhere;
};

#endif
