/* Import of the public Mirage format (mirage-project/mirage, branches up to early 2025): a file is a list of µGraphs,
   each a list of kernel operators with "op_type": "kn_..._op"; a kn_customized_op has a "bgraph" whose "operators" are
   "tb_..._op". Tensors are named by their guid, unique within one µGraph.

   What the format leaves open, and how it is read (its kernel and threadblock sources are the reference):
   - Reductions "to a size" (redtox, to_dimx, a kernel reduction whose stated result is wider than 1) add positions
     j, j + w, j + 2w, ... where w is the width of the result: reduction_dimx, or the stated one.
   - clamp's bounds are not written: 0 and 1, as its generated code has them.
   - Norms have no epsilon and go over the last dimension.
   - Strides, layouts and offsets in shared memory do not change the meaning. Strides are checked to be those of some
     order of the dimensions.
   - Threads of a block become its schedule's warps.
   Stated shapes must agree with the inferred ones. */
#ifndef MUGRAPH_MIRAGE_H
#define MUGRAPH_MIRAGE_H

#include "saved.h"

/* All µGraphs of the list, or none: on failure out is empty and e names file, µGraph and operator. The program that
   they stand for is not in the file: has_program stays false. */
bool mugraph_mirage_load (const char *path, mugraph_file *out, mugraph_error *e);
/* The same from a parsed text; name stands for the file in errors. */
bool mugraph_mirage_from_json (const cJSON *, const char *name, mugraph_file *out, mugraph_error *e);

#endif
