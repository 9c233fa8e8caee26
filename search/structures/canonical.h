/* Structures up to what says the same: the names of grid axes, axes and loops of one step. */
#ifndef SEARCH_CANONICAL_H
#define SEARCH_CANONICAL_H

#include "mugraph/mugraph.h"

/* Makes the block graph one whose loop has one iteration: accumulators become sums or go. */
void canonical_forget_loop (mugraph_block *);

/* The least mugraph_hash without extents over the orders of the grid axes of every block, loops of one iteration being
   forgotten. loops: false forgets all loops. Takes 6 ^ blocks hashes. 0 without memory. */
uint64_t canonical_hash (const mugraph *, bool loops);

/* Calls visit for each µGraph that schedules can make of a structure as far as it shows in canonical_hash: any of its
   grid axes and loops with extent 1. Stops when visit says true, and then says true. False too without memory. */
typedef bool (*canonical_visit) (void *user, const mugraph *);
bool canonical_each_schedule (const mugraph *structure, canonical_visit, void *user);

#endif
