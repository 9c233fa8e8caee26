/* Block graphs: all ways to compute a set of tiles of one space. */
#ifndef SEARCH_BLOCKS_H
#define SEARCH_BLOCKS_H

#include "enumeration.h"

/* The number (in e->list) of all graphs that save exactly these nodes of space k, ascending; read off once. -1: no
   room. */
int blocks_list (enumeration *, int k, int n_saved, const uint16_t saved[]);

#endif
