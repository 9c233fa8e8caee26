/* Pre-defined kernels: operators of the kernel graph. */
#ifndef SEARCH_PREDEFINED_H
#define SEARCH_PREDEFINED_H

#include "enumeration.h"

/* Applies every letter that may be a kernel to all tensors of lower layers, in worker 0. last: only the program's
   outputs are kept. */
void predefined_try (enumeration *, int layer, bool last);

#endif
