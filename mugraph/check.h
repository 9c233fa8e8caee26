/* Asserts at the borders of passes. What a pass hands on is looked at once more, as a whole, in checking builds only
   (-DMSEARCH_CHECK, as `make checked`, `make asan` and `make tsan` have): there it may cost as much as the pass itself.
   Elsewhere nothing is left of them. Cheap conditions of single steps are plain asserts. */
#ifndef MUGRAPH_CHECK_H
#define MUGRAPH_CHECK_H

#include <assert.h>

#ifdef MSEARCH_CHECK
#define CHECK(condition) assert (condition)
#else
#define CHECK(condition) (0 ? (void) (condition) : (void) 0) /* compiled, never run */
#endif

#endif
