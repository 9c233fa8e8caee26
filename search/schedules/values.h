/* The values of each parameter of a schedule that are worth trying. */
#ifndef SEARCH_VALUES_H
#define SEARCH_VALUES_H

#include "cuda_templates/cost.h"

#include <stddef.h>

/* Sizes of tiles, ascending. */
enum { VALUES_TILES = 16 };
extern const int32_t values_tile[VALUES_TILES];

/* Blocks of a cluster that share one loop, ascending from 1. */
enum { VALUES_SPLITS = 11 };
extern const int16_t values_split[VALUES_SPLITS];

/* The launch parameters that are searched, each with its values. pdl is none of them: it is left to who launches, and
   the model sees it as a constant. */
typedef struct {
  size_t offset; /* in mugraph_sched, of an int16_t */
  const int16_t *value;
  int n;
} values_parameter;
enum { VALUES_PARAMETERS = 9 };
extern const values_parameter values_of[VALUES_PARAMETERS];

int16_t values_get (const mugraph_sched *, const values_parameter *);
void values_set (mugraph_sched *, const values_parameter *, int16_t value);

/* a / b, rounded up. */

/* The extents worth trying for a dimension of `size` elements on a device, ascending, without duplicates: those of the
   usual tile sizes, of the full dimension, and those that make `others` times the extent a little less than whole
   waves. Writes at most VALUES_EXTENTS to extent[]; returns how many. */
enum { VALUES_EXTENTS = 48 };
int values_extents (int32_t size, int64_t others, const cuda_device *, int32_t extent[VALUES_EXTENTS]);

#endif
