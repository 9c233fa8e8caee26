/* µGraphs of structures. */
#ifndef SEARCH_BUILD_H
#define SEARCH_BUILD_H

#include "enumeration.h"

/* Writes a structure as a µGraph: real, at the program's shapes with the smallest extents; else at the witness. False
   with the reason (err may be NULL) when it does not fit. */
bool build_structure (const enumeration *, const structure *, bool real, mugraph *, mugraph_error *err);

#endif
