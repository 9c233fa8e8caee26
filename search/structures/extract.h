/* Reading graphs off the spaces, backwards from the program's outputs. */
#ifndef SEARCH_EXTRACT_H
#define SEARCH_EXTRACT_H

#include "enumeration.h"

/* Reads off all structures; fills e->structure with those that are equivalent at the witness, without duplicates, those
   with the fewest kernels first, then by hash. */
void extract_structures (enumeration *);

#endif
