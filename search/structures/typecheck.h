/* The rules of meaning asked about a given µGraph. */
#ifndef SEARCH_TYPECHECK_H
#define SEARCH_TYPECHECK_H

#include "witness.h"

typedef struct {
  int kernel; /* index of the graph-defined kernel in the kernel graph, or -1 */
  int op;     /* index of the operator in its block, or in the kernel graph */
} typecheck_place;

/* Types every tile at the witness, as the enumeration would (tile.h). False, with the first operator that the rules
   forbid, or the first saver whose tile cannot be saved there. Extents above 1 split, those of 1 do not. The µGraph has
   the program's inputs in its order. True without memory. */
bool typecheck_graph (const witness *, const mugraph *, typecheck_place *);

#endif
