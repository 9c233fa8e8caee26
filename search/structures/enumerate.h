/* Enumeration of structures at the witness shape.

   The space of one graph-defined kernel, given the tensors it may read and a configuration (which classes of dimensions
   its grid axes split, which one its loop walks), is a set of tiles closed under the block operators. Tiles that hold
   the same values are one node; each way to compute it is a derivation of that node. So every partial result is
   visited once, whatever the number of graphs it occurs in, and the graphs are read off backwards from what is saved:
   one derivation a node, which makes each DAG appear exactly once and never with a tile that nothing uses. Tensors of
   the kernel graph are shared between configurations in the same way. Layer k holds the kernels that read tensors of
   layers below k; kernel_ops bounds the layers.

   What cuts a tile: its abstract expression (expr.h), and these rules of meaning, which hold with and without pruning:
   - a partial sum (over the loop, over a grid axis) only goes where sums may be moved through: sums, products with and
     quotients by whole values; whole and partial values do not add up;
   - a loop's partial sums end in an accumulator, a grid axis's are saved side by side along a free dimension and summed
     by a later kernel; an accumulator never adds up different positions of a tile;
   - reductions along a dimension that the loop walks are done by the accumulator, where there is one for them;
   - of graphs that differ by where transposes stand one is made (turn.h; option all_transposes: all). */
#ifndef SEARCH_ENUMERATE_H
#define SEARCH_ENUMERATE_H

#include "search/prune/expr.h"
#include "witness.h"

typedef struct enumeration enumeration;

/* Explores the bounds of the options. stop may be NULL; deadline in seconds of CLOCK_MONOTONIC, 0: none. progress is
   called by one thread. NULL without memory. */
enumeration *enumerate (const mugraph *program, const witness *, const search_options *, int threads,
                        const volatile int *stop, double deadline, search_progress, void *user);
void enumeration_free (enumeration *);

const search_stats *enumeration_stats (const enumeration *);
bool enumeration_finished (const enumeration *);
double enumeration_bytes (const enumeration *); /* the most that was held at once */

/* Structures found to be equivalent at the witness, in an order that does not depend on the number of threads. */
int enumeration_size (const enumeration *);
uint64_t enumeration_hash (const enumeration *, int i);

/* Writes structure i: with real, at the program's shapes, with extents as small as the structure allows, for
   search_schedules to choose; else as it was checked. False with the reason when it does not fit the real shapes. */
bool enumeration_graph (const enumeration *, int i, bool real, mugraph *, mugraph_error *e);

#endif
