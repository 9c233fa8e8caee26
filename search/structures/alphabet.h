/* The alphabet: which operators a search builds graphs of, and in which ways an operator is applied. */
#ifndef SEARCH_ALPHABET_H
#define SEARCH_ALPHABET_H

#include "mugraph/mugraph.h"

enum { ALPHABET_LETTERS = 64, ALPHABET_CONSTANTS = 32 };

typedef struct {
  mugraph_op op;   /* kind, n_in, c */
  bool kernel;     /* the program has it: also a pre-defined kernel */
  bool parts_only; /* sums of partial sums only */
  bool moment;     /* as a part of a root mean square */
  bool flat;       /* mul, div: no factor or numerator is a divisor of the program; nor is a divisor a quotient */
} letter;

typedef struct {
  int n_letters, n_constants;
  letter letter[ALPHABET_LETTERS];
  double constant[ALPHABET_CONSTANTS];
} alphabet;

/* The operators of a program, those that they can be computed by, and those that sum partial sums. False when there are
   more than fit; the alphabet is then what fits. */
bool alphabet_make (const mugraph *program, alphabet *);

/* Whether a letter is applied along a dimension; otherwise its op.dim is -1. */
bool alphabet_has_dim (const letter *);
/* Whether the order of its two operands does not matter, so that one order is enough. */
bool alphabet_commutes (const letter *);

#endif
