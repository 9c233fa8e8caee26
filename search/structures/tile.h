/* Types of tiles: which class of dimensions each dimension holds, what the grid and the loop have split off it, and
   which sums are still partial. The rules of meaning of enumerate.h are the typing rules of the operators. */
#ifndef SEARCH_TILE_H
#define SEARCH_TILE_H

#include "witness.h"

enum {
  TILE_AXES = 3,
  TILE_CLASS = 0xff, /* class of a dimension; 0: size 1 */
  TILE_AXIS = 0x300, /* 1 + the grid axis that splits it, shifted by TILE_AXIS_SHIFT; 0: none */
  TILE_AXIS_SHIFT = 8,
  TILE_LOOP = 0x400,           /* the loop walks it */
  TILE_PARTS = 0x800,          /* partial sums of a tensor with this class stand side by side, still to be summed */
  TILE_LOOP_PARTS = TILE_CLASS /* as the class that a loop walks: dimensions with TILE_PARTS */
};

typedef struct {
  mugraph_shape shape; /* at the witness */
  uint16_t label[MUGRAPH_DIMS];
  uint8_t after;     /* reads an accumulator */
  uint8_t loops;     /* differs between iterations */
  uint8_t part_loop; /* a partial sum of each iteration: to be accumulated */
  uint8_t part_axes; /* bit a: a partial sum over what grid axis a has split */
  uint8_t moment;    /* on the way to a root mean square: 1 squares, 2 means of squares; else 0 */
} tile_type;

/* What a configuration fixes for a graph-defined kernel. */
typedef struct {
  uint8_t n_axes;
  uint8_t axis[TILE_AXES]; /* classes, ascending */
  uint8_t loop;            /* class, TILE_LOOP_PARTS or 0: no loop */
} tile_config;

/* The result of an operator of a block graph (of a kernel graph: tiles without splits), or false when the rules forbid
   it. op: kind, dim and n_in are read; width is set, and *width_class, the class that a sum narrows to. moment: square,
   mean or sqrt as a part of a root mean square, and of nothing else. */
bool tile_of_op (const witness *, mugraph_op *op, bool moment, const tile_type *const in[], tile_type *out,
                 uint8_t *width_class);

/* The tile that an iterator makes of a tensor, one bit of whole a dimension: leave it whole although the configuration
   splits its class. False when two dimensions would be split by one axis or nothing is left to choose. */
bool tile_of_tensor (const tile_config *, const mugraph_shape *, const uint16_t label[MUGRAPH_DIMS], unsigned whole,
                     tile_type *out);

/* The tensor that a saver makes of a tile, and its omap. False when the tile cannot be saved. */
bool tile_saved (const witness *, const tile_config *, const tile_type *, mugraph_shape *, uint16_t label[MUGRAPH_DIMS],
                 int8_t omap[TILE_AXES]);

#endif
