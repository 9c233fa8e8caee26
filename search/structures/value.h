/* Values of tiles at the witness: what tells two tiles of a search apart, and finds those that are the same function.

   An element is a residue mod p beside one mod q, as in verification (verify.h, "Fields"): exp maps the residue mod q
   to one mod p and leaves none mod q. Functions outside the theory are random functions. A false match has probability
   about volume / 2^30 and is caught by the equivalence check that every structure gets. */
#ifndef SEARCH_VALUE_H
#define SEARCH_VALUE_H

#include "mugraph/mugraph.h"

#include <stddef.h>

typedef struct {
  uint32_t p, q; /* q is VALUE_NONE in all elements of a tile or in none */
} residue;

#define VALUE_NONE UINT32_MAX

/* Random elements of input i. */
void value_draw (uint64_t seed, int input, int64_t n, residue *out);

/* One operator on one iteration's tiles; not INPUT, OUTPUT, CUSTOM or an accumulator. */
void value_of_op (const mugraph_op *, uint64_t seed, const mugraph_shape *const shape[], const residue *const in[],
                  const mugraph_shape *out_shape, residue *out);

/* An accumulator over loop tiles of its input, which stand one after the other. */
void value_accumulate (const mugraph_op *, uint64_t seed, int loop, const mugraph_shape *shape, const residue *in,
                       const mugraph_shape *out_shape, residue *out);

/* Copies the box of size tile that starts at first[] from a tensor, or (store) into it. */
void value_box (const mugraph_shape *tensor, const int32_t first[MUGRAPH_DIMS], const mugraph_shape *tile,
                residue *whole, residue *box, bool store);

uint64_t value_hash (const residue *, int64_t n);

#endif
