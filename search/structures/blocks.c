/* Block graphs, read off backwards: one derivation for each node that is needed. See blocks.h. */
#include "blocks.h"

#include <string.h>

typedef struct {
  enumeration *e;
  const space *s;
  block_list *list;
  bool dominated[TILE_CLASS + 1]; /* classes that one more axis could split, see dominators */
  int n;                          /* needed nodes, leaves included */
  int n_ops;
  uint16_t node[SPACE_TILES];
  int32_t choice[SPACE_TILES]; /* derivation, -1: not chosen yet or a leaf */
} reading;

static int position (const reading *r, int i) {
  for (int k = 0; k < r->n; k++)
    if (r->node[k] == i) return k;
  return -1;
}

/* Whether a tile with the same values is there already: it would be computed or read twice. */
static bool repeats (const reading *r, const node *n) {
  for (int k = 0; k < r->n; k++)
    if (r->s->node[r->node[k]].value_hash == n->value_hash) return true;
  return false;
}

static int arity (const reading *r, const derivation *d) { return r->e->alphabet.letter[d->letter].op.n_in; }

/* Whether to is among what from is computed from by the choices so far. */
static bool reaches (const reading *r, int from, int to) {
  if (from == to) return true;
  int k = position (r, from);
  if (k < 0 || r->choice[k] < 0) return false;
  const derivation *d = &r->s->derivation[r->choice[k]];
  for (int j = 0; j < arity (r, d); j++)
    if (reaches (r, d->in[j], to)) return true;
  return false;
}

static void order (const reading *r, int i, bool done[], block_plan *p) {
  int k = position (r, i);
  if (done[k]) return;
  done[k] = true;
  if (r->choice[k] >= 0) {
    const derivation *d = &r->s->derivation[r->choice[k]];
    for (int j = 0; j < arity (r, d); j++) order (r, d->in[j], done, p);
  }
  p->node[p->n_tiles] = r->node[k];
  p->derivation[p->n_tiles++] = r->choice[k];
}

/* Partial sums of class c stand side by side in a leaf: its columns cannot be split as those of class c are. */
static bool has_parts_of (const node *n, int c) {
  for (int d = 0; d < MUGRAPH_DIMS; d++)
    if (n->type.label[d] & TILE_PARTS && (n->type.label[d] & TILE_CLASS) == c) return true;
  return false;
}

/* Whether the graph is a special case of one with one more axis. */
static bool special_case (const reading *r) {
  for (int c = 1; c <= r->e->w.n_classes; c++) {
    bool parts = false;
    for (int k = 0; k < r->n && r->dominated[c] && !parts; k++)
      parts = node_is_leaf (&r->s->node[r->node[k]]) && has_parts_of (&r->s->node[r->node[k]], c);
    if (r->dominated[c] && !parts) return true;
  }
  return false;
}

static void record (reading *r) {
  block_list *list = r->list;
  if (special_case (r)) return;
  bool newest = r->s->layer == 1; /* without a tensor of the layer below, a lower layer has this graph too */
  if (list->n_plans >= SPACE_LIST) {
    budget_cut (&r->e->budget);
    return;
  }
  if (!budget_grow (&r->e->budget, &list->plan, &list->capacity, list->n_plans, sizeof *list->plan)) return;
  block_plan *p = &list->plan[list->n_plans];
  memset (p, 0, sizeof *p);
  bool done[SPACE_TILES] = {false};
  for (int k = 0; k < r->n; k++) {
    const node *n = &r->s->node[r->node[k]];
    if (!node_is_leaf (n)) continue;
    if (n->tensor >= 0 && r->e->tensor[n->tensor].layer == r->s->layer - 1) newest = true;
    order (r, r->node[k], done, p);
  }
  p->n_leaves = p->n_tiles;
  for (int k = 0; k < list->n_saved; k++) order (r, list->saved[k], done, p);
  if (newest) list->n_plans++;
}

/* The latest node that still has no derivation, or -1. */
static int open_node (const reading *r) {
  int open = -1;
  for (int k = 0; k < r->n; k++)
    if (r->choice[k] < 0 && !node_is_leaf (&r->s->node[r->node[k]]) && (open < 0 || r->node[k] > r->node[open]))
      open = k;
  return open;
}

/* Adds what a derivation of node `of` reads to what is needed. False when that makes a circle, repeats a tile or is too
   much. */
static bool need_operands (reading *r, const derivation *d, int of) {
  for (int j = 0; j < arity (r, d); j++) {
    const node *in = &r->s->node[d->in[j]];
    if (reaches (r, d->in[j], of)) return false;
    if (position (r, d->in[j]) >= 0) continue;
    if (r->n >= SPACE_TILES || repeats (r, in)) return false;
    if (!node_is_leaf (in) && ++r->n_ops > r->e->opt.block_ops) return false;
    r->node[r->n] = d->in[j];
    r->choice[r->n++] = -1;
  }
  return true;
}

/* Tries every derivation of an open node, and records the graph when none is open. */
static void choose (reading *r) {
  int open = open_node (r), n = r->n, n_ops = r->n_ops;
  if (open < 0) {
    record (r);
    return;
  }
  r->e->worker[0].stats.states++;
  for (int32_t c = r->s->node[r->node[open]].first; c >= 0; c = r->s->derivation[c].next) {
    if (need_operands (r, &r->s->derivation[c], r->node[open])) {
      r->choice[open] = c;
      choose (r);
      r->choice[open] = -1;
    }
    r->n = n, r->n_ops = n_ops;
  }
}

/* Whether all saved tiles have class c unsplit. */
static bool all_have (const space *s, int c, int n_saved, const uint16_t saved[]) {
  for (int k = 0; k < n_saved; k++) {
    bool has = false;
    for (int d = 0; d < MUGRAPH_DIMS; d++) has |= s->node[saved[k]].type.label[d] == c;
    if (!has) return false;
  }
  return true;
}

static bool some_leaf_has_parts_of (const space *s, int c) {
  for (int i = 0; i < s->n_nodes; i++)
    if (node_is_leaf (&s->node[i]) && has_parts_of (&s->node[i], c)) return true;
  return false;
}

/* The classes that all saved tiles have, unsplit, and that nothing in the program reduces. One more grid axis could
   split them; then the same graph with that axis stands elsewhere, and this one is its special case of extent 1, unless
   it reads partial sums of that class (see special_case). False when there is such a class and no such leaf. */
static bool dominators (const enumeration *e, const space *s, int n_saved, const uint16_t saved[],
                        bool dominated[TILE_CLASS + 1]) {
  if (s->config.n_axes == TILE_AXES) return true;
  for (int c = 1; c <= e->w.n_classes; c++) {
    if (e->w.reduced[c] || e->w.fixed[c] || e->w.paired[c]) continue;
    dominated[c] = all_have (s, c, n_saved, saved);
    if (dominated[c] && !some_leaf_has_parts_of (s, c)) return false;
  }
  return true;
}

int blocks_list (enumeration *e, int k, int n_saved, const uint16_t saved[]) {
  for (int i = 0; i < e->n_lists; i++) {
    const block_list *l = &e->list[i];
    if (l->space == k && l->n_saved == n_saved && !memcmp (l->saved, saved, (size_t) n_saved * sizeof *saved)) return i;
  }
  if (e->n_lists >= SPACE_LISTS) return budget_cut (&e->budget), -1;
  if (!budget_grow (&e->budget, &e->list, &e->list_capacity, e->n_lists, sizeof *e->list)) return -1;
  block_list *list = &e->list[e->n_lists];
  *list = (block_list){.space = k, .n_saved = (uint8_t) n_saved};
  memcpy (list->saved, saved, (size_t) n_saved * sizeof *saved);
  const space *s = e->space[k];
  reading r = {.e = e, .s = s, .list = list, .n = n_saved, .n_ops = n_saved};
  if (dominators (e, s, n_saved, saved, r.dominated)) {
    for (int i = 0; i < n_saved; i++) r.node[i] = saved[i], r.choice[i] = -1;
    if (n_saved <= e->opt.block_ops) choose (&r);
  }
  return e->n_lists++;
}
