/* Configurations: which classes of dimensions the grid of a graph-defined kernel splits and which one its loop walks.
 */
#ifndef SEARCH_CONFIGS_H
#define SEARCH_CONFIGS_H

#include "enumeration.h"

typedef struct {
  tile_config *config; /* owned; counted by the budget */
  int n, capacity;
} configs;

/* All configurations over the tensors of layers below this one, appended to an empty list. */
void configs_list (enumeration *, int layer, configs *);

#endif
