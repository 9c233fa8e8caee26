/* The space of one graph-defined kernel: all tiles that it can compute under one configuration. */
#ifndef SEARCH_SPACE_H
#define SEARCH_SPACE_H

#include "enumeration.h"

/* Closes a space over the tensors of lower layers under the block operators. last: only the program's outputs count as
   saved, and no values are kept. NULL without memory. */
space *space_close (enumeration *, int me, const tile_config *, int layer, bool last);
void space_drop_values (enumeration *, space *);
void space_free (enumeration *, space *);

/* The whole tensor that saving node i makes, of this shape: evaluated block by block into out. */
bool space_evaluate (enumeration *, worker *, const space *, int i, const mugraph_shape *, residue *out);

#endif
