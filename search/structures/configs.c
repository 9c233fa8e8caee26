/* Configurations of graph-defined kernels: see configs.h. */
#include "configs.h"
#include "tensors.h"

static bool has_class (const tensor *t, int c) {
  for (int d = 0; d < MUGRAPH_DIMS; d++)
    if (t->label[d] == c) return true;
  return false;
}

/* Whether some tensor that may be read has dimensions of this class. */
static bool is_read (const enumeration *e, int layer, int c) {
  for (int t = 0; t < e->n_tensors; t++)
    if (e->tensor[t].layer < layer && has_class (&e->tensor[t], c)) return true;
  return false;
}

static bool parts_are_read (const enumeration *e, int layer) {
  for (int t = 0; t < e->n_tensors; t++)
    if (e->tensor[t].layer < layer && !tensors_is_whole (&e->tensor[t])) return true;
  return false;
}

/* loop: a class, TILE_LOOP_PARTS or 0 for none. */
static bool may_walk (const enumeration *e, int layer, int loop) {
  if (!loop) return true;
  if (loop == TILE_LOOP_PARTS) return parts_are_read (e, layer);
  return loop <= e->w.n_classes && e->w.reduced[loop] && !e->w.fixed[loop] && is_read (e, layer, loop);
}

/* All sets of at most TILE_AXES classes that hold c's and others from `from` on, with each class that the loop may
 * walk.
 */
static void add (enumeration *e, configs *list, int layer, tile_config c, int from) {
  for (int loop = 0; loop <= TILE_LOOP_PARTS; loop++) {
    if (!may_walk (e, layer, loop)) continue;
    if (!budget_grow (&e->budget, &list->config, &list->capacity, list->n, sizeof c)) return;
    list->config[list->n] = c;
    list->config[list->n++].loop = (uint8_t) loop;
  }
  if (c.n_axes == TILE_AXES) return;
  for (int k = from; k <= e->w.n_classes; k++) {
    if (e->w.fixed[k] || !is_read (e, layer, k)) continue;
    tile_config more = c;
    more.axis[more.n_axes++] = (uint8_t) k;
    add (e, list, layer, more, k + 1);
  }
}

void configs_list (enumeration *e, int layer, configs *list) { add (e, list, layer, (tile_config){.n_axes = 0}, 1); }
