/* Where transposes may stand. */
#ifndef SEARCH_TURN_H
#define SEARCH_TURN_H

#include "tile.h"

/* The rules leave one of the ways to say the same with transposes, by how a value is first made. Elementwise operators,
   sums and products of matrices have a counterpart that computes their transpose from transposed operands, so a
   transpose is only taken
   - of what the program gives, of an accumulator that has no counterpart,
   - of a product of matrices (its accumulator, where there is one) with no transpose below: transpose (a b) stands for
     transpose (b) transpose (a), which is not made; with transposes below, the counterpart has no more of them.
   What a graph-defined kernel saves is not transposed by others: that kernel saves the transpose. */
enum {
  TURN_MAY = 1,  /* may be transposed */
  TURN_USED = 2, /* a transpose is below */
  TURN_TOP = 4   /* elementwise over transposes of values that have none below */
};
/* The flags of an operator's result from those of its operands; false when the result is not to be made. part_loop: as
   tile_type, of the result. all: make graphs that differ only by where transposes stand (option all_transposes). */
bool turn_of_op (mugraph_op_kind, int n_in, const tile_type *const type[], const uint8_t in[], bool part_loop, bool all,
                 uint8_t *out);

#endif
