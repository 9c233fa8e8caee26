/* Fusion by rule: a program without matmuls as one graph-defined kernel, every operator a block operator. The grid
   splits dimensions along which nothing is reduced or joined. What the enumeration would find too, at once and for
   programs with more operators than its bounds allow; whether another structure is better is for the enumeration to
   say. */
#ifndef SEARCH_FUSE_H
#define SEARCH_FUSE_H

#include "witness.h"

/* False with the reason when the rule does not apply. Extents are as small as they can be, for search_schedules to
 * choose. */
bool fuse_program (const mugraph *program, const witness *, mugraph *out, mugraph_error *e);

#endif
