/* The space of one graph-defined kernel. */
#include "space.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { CHUNK = 1 << 14, TABLE = 2 * SPACE_NODES, POLL = 512 };

static residue *allocate (enumeration *e, space *s, size_t n) {
  if (!s->chunks || s->chunks->used + n > s->chunks->size) {
    size_t size = n > CHUNK ? n : CHUNK;
    if (!space_account (e, (double) (size * sizeof (residue)))) return NULL;
    chunk *c = malloc (sizeof *c + size * sizeof (residue));
    if (!c) return NULL;
    *c = (chunk){.next = s->chunks, .size = size};
    s->chunks = c;
  }
  residue *v = s->chunks->v + s->chunks->used;
  s->chunks->used += n;
  return v;
}

/* Gives the latest allocation back. */
static void release (space *s, residue *v, size_t n) {
  if (s->chunks && v + n == s->chunks->v + s->chunks->used) s->chunks->used -= n;
}

void space_drop_values (enumeration *e, space *s) {
  for (chunk *c = s->chunks, *next; c; c = next) {
    next = c->next;
    space_account (e, -(double) (c->size * sizeof (residue)));
    free (c);
  }
  s->chunks = NULL;
  for (int i = 0; i < s->n_nodes; i++) s->node[i].value = NULL;
}

void space_free (enumeration *e, space *s) {
  if (!s) return;
  space_drop_values (e, s);
  space_account (e, -(double) (s->node_capacity * sizeof (node) + s->derivation_capacity * sizeof (derivation)));
  free (s->node), free (s->derivation);
  free (s);
}

static bool grow (enumeration *e, void *array, int *capacity, int n, size_t size) {
  if (n < *capacity) return true;
  int more = *capacity ? 2 * *capacity : 64;
  void *moved = space_account (e, (double) ((size_t) (more - *capacity) * size))
                    ? realloc (*(void **) array, (size_t) more * size)
                    : NULL;
  if (!moved) return false;
  *(void **) array = moved;
  *capacity = more;
  return true;
}

static bool is_leaf (const node *n) { return n->tensor >= 0 || n->constant >= 0; }

static uint64_t hash_type (const tile_type *t) {
  struct {
    uint16_t label[MUGRAPH_DIMS];
    uint8_t n, after, loops, part_loop, part_axes, moment, zero[2];
  } key = {.n = t->shape.n_dims,
           .after = t->after,
           .loops = t->loops,
           .part_loop = t->part_loop,
           .part_axes = t->part_axes,
           .moment = t->moment};
  memcpy (key.label, t->label, sizeof key.label);
  return XXH3_64bits (&key, sizeof key);
}

static int64_t tile_volume (const tile_type *t) { return mugraph_volume (&t->shape) * (t->loops ? WITNESS_EXTENT : 1); }

static void hash_node (node *n) {
  uint64_t values = value_hash (n->value, tile_volume (&n->type));
  tile_type splits = {.shape = n->type.shape, .moment = n->type.moment, .part_axes = n->type.part_axes};
  memcpy (splits.label, n->type.label, sizeof splits.label);
  n->hash = values ^ hash_type (&n->type);
  n->value_hash = values ^ hash_type (&splits);
}

/* The node with these values, or the slot where it belongs. */
static int find (const worker *w, const space *s, uint64_t hash, uint32_t *slot) {
  uint32_t i = (uint32_t) hash & (TABLE - 1);
  for (; w->table[i]; i = (i + 1) & (TABLE - 1))
    if (s->node[w->table[i] - 1].hash == hash) return (int) w->table[i] - 1;
  *slot = i;
  return -1;
}

static int add_node (enumeration *e, worker *w, space *s, const node *n, uint32_t slot) {
  if (s->n_nodes >= SPACE_NODES) return space_cut (e), -1;
  if (!grow (e, &s->node, &s->node_capacity, s->n_nodes, sizeof (node))) return -1;
  s->node[s->n_nodes] = *n;
  w->table[slot] = (uint32_t) s->n_nodes + 1;
  return s->n_nodes++;
}

static void add_derivation (enumeration *e, space *s, int i, derivation d) {
  if (!grow (e, &s->derivation, &s->derivation_capacity, s->n_derivations, sizeof d)) return;
  node *n = &s->node[i];
  d.next = -1;
  s->derivation[s->n_derivations] = d;
  if (n->first < 0) n->first = s->n_derivations;
  else s->derivation[n->last].next = s->n_derivations;
  n->last = s->n_derivations++;
}

/* Values of one operator at all iterations of its result. */
static void evaluate (enumeration *e, const mugraph_op *op, const tile_type *const type[], const residue *const in[],
                      const tile_type *out_type, residue *out) {
  const mugraph_shape *shape[2] = {&type[0]->shape, op->n_in > 1 ? &type[1]->shape : NULL};
  if (mugraph_op_table[op->kind].klass == MUGRAPH_ACCUM) {
    value_accumulate (op, e->seed, WITNESS_EXTENT, shape[0], in[0], &out_type->shape, out);
    return;
  }
  int64_t step = mugraph_volume (&out_type->shape);
  for (int l = 0; l < (out_type->loops ? WITNESS_EXTENT : 1); l++) {
    const residue *at[2];
    for (int k = 0; k < op->n_in; k++) at[k] = in[k] + (type[k]->loops ? l * mugraph_volume (shape[k]) : 0);
    value_of_op (op, e->seed, shape, at, &out_type->shape, out + l * step);
  }
}

/* Any function of one argument and two constants outside of the theory will do. */
static expr_id root_mean_square (expr_pool *pool, expr_id x, int64_t size, double epsilon) {
  return expr_of_op (pool, MUGRAPH_OP_CLAMP, 1, &x, &(expr_attr){.size = 1, .loop = 1, .c = {(double) size, epsilon}});
}

expr_id space_root_expr (worker *w, const mugraph_op *op, const mugraph_shape *s, expr_id x) {
  return root_mean_square (w->pool[1], x, s->dim[op->dim], op->c[0]);
}

/* Whether the program has a root mean square of this. */
static bool root_is_wanted (worker *w, expr_id x) {
  for (int i = 0; i < w->n_roots; i++)
    if (expr_may_contribute (w->pool[0], root_mean_square (w->pool[0], x, w->root[i], 0))) return true;
  return false;
}

space_value space_expr (worker *w, const letter *x, const mugraph_op *op, const mugraph_shape *const shape[],
                        const space_value in[], int32_t loop, bool varies) {
  expr_attr attr = expr_attr_of (op, shape, loop, varies);
  int64_t size = attr.size * attr.loop;
  bool rms = op->kind == MUGRAPH_OP_RMS_NORM || op->kind == MUGRAPH_OP_ACCUM_RMS;
  if (op->kind == MUGRAPH_OP_SQUARE && x->moment && !root_is_wanted (w, in[0].expr[0]))
    return (space_value){.count = 0};
  space_value out = {.count = 1};
  if (x->moment && op->kind != MUGRAPH_OP_SQRT) {
    out = in[0];
    out.count = op->kind == MUGRAPH_OP_SQUARE ? 1 : (int32_t) (in[0].count * size);
    return out;
  }
  if (x->moment) size = in[0].count;
  for (int p = 0; p < w->n_pools; p++) {
    expr_id exprs[MUGRAPH_FANIN];
    for (int k = 0; k < op->n_in; k++) exprs[k] = in[k].expr[p];
    if (x->moment || rms) {
      expr_id root = root_mean_square (w->pool[p], exprs[0], size, rms ? op->c[0] : 0), pair[2] = {exprs[0], root};
      out.expr[p] = op->kind != MUGRAPH_OP_RMS_NORM
                        ? root
                        : expr_of_op (w->pool[p], MUGRAPH_OP_DIV, 2, pair, &(expr_attr){.size = 1, .loop = 1});
    } else out.expr[p] = expr_of_op (w->pool[p], op->kind, op->n_in, exprs, &attr);
  }
  return out;
}

space_value space_constant_expr (worker *w, double c) {
  space_value out = {.count = 1};
  for (int p = 0; p < w->n_pools; p++) out.expr[p] = expr_constant (w->pool[p], c);
  return out;
}

bool space_divides (const worker *w, const space_value *v) {
  return w->n_pools > 1 && expr_target (w->pool[1], v->expr[1]) >= 0;
}

bool space_may_stay (const enumeration *e, worker *w, const letter *x, const space_value *v, const expr_id divisor[2]) {
  if (!e->opt.prune) return true;
  if (v->count == 0 || !expr_may_contribute (w->pool[0], v->expr[0])) return false;
  return !(divisor && x->flat && w->n_pools > 1) || expr_may_contribute (w->pool[1], divisor[1]);
}

static bool is_scalar (const tile_type *t) {
  for (int d = 0; d < t->shape.n_dims; d++)
    if (t->label[d]) return false;
  return true;
}

bool space_turn (const enumeration *e, mugraph_op_kind kind, int n_in, const tile_type *const type[],
                 const uint8_t in[], bool part_loop, uint8_t *out) {
  bool used = false, top = true, one_place = !e->opt.all_transposes;
  for (int k = 0; k < n_in; k++) {
    used |= in[k] & SPACE_TURN_USED;
    top &= is_scalar (type[k]) || in[k] & SPACE_TURN_TOP;
  }
  *out = used ? SPACE_TURN_USED : 0;
  switch (mugraph_op_table[kind].klass) {
  case MUGRAPH_UNARY:
  case MUGRAPH_BINARY:
    if (used && top) *out |= SPACE_TURN_TOP;
    return true;
  case MUGRAPH_MATMUL:
    if (!used && !part_loop) *out |= SPACE_TURN_MAY;
    return !(one_place && used && top);
  case MUGRAPH_ACCUM:
    if (!used || kind != MUGRAPH_OP_ACCUM) *out |= SPACE_TURN_MAY;
    return true;
  case MUGRAPH_LAYOUT:
    if (kind != MUGRAPH_OP_TRANSPOSE) return true;
    *out = (uint8_t) (SPACE_TURN_USED | (used ? 0 : SPACE_TURN_TOP));
    return !one_place || in[0] & SPACE_TURN_MAY;
  default: return true;
  }
}

/* Whether a node's first derivation is a division. */
static bool quotient (const enumeration *e, const space *s, int i) {
  if (s->node[i].tensor >= 0) return e->tensor[s->node[i].tensor].quotient;
  return s->node[i].first >= 0 && e->alphabet[s->derivation[s->node[i].first].letter].op.kind == MUGRAPH_OP_DIV;
}

static space_value value_of (const node *n) { return (space_value){{n->expr[0], n->expr[1]}, n->count}; }

/* Tries one operator on nodes a and b (-1: unary). */
static void try_op (enumeration *e, worker *w, space *s, int l, int dim, int a, int b) {
  const letter *x = &e->alphabet[l];
  mugraph_op op = x->op;
  op.dim = (int8_t) dim;
  const tile_type *type[2] = {&s->node[a].type, b >= 0 ? &s->node[b].type : NULL};
  node n = {.tensor = -1, .constant = -1, .saved = -1, .first = -1, .last = -1};
  uint8_t width_class;
  if (x->parts_only && dim >= 0 && !(type[0]->label[dim] & TILE_PARTS)) return;
  if (x->flat && op.kind == MUGRAPH_OP_DIV && (a == b || quotient (e, s, b))) return;
  if (!tile_of_op (&e->w, &op, x->moment, type, &n.type, &width_class)) return;
  const uint8_t turn[2] = {s->node[a].turn, b >= 0 ? s->node[b].turn : 0};
  if (!space_turn (e, op.kind, op.n_in, type, turn, n.type.part_loop, &n.turn)) return;
  w->stats.states++;
  n.least_ops = s->node[a].least_ops;
  if (b >= 0 && s->node[b].least_ops > n.least_ops) n.least_ops = s->node[b].least_ops;
  n.least_ops++;
  space_value values[2] = {value_of (&s->node[a])};
  if (b >= 0) values[1] = value_of (&s->node[b]);
  if (x->flat && (space_divides (w, &values[0]) || (op.kind == MUGRAPH_OP_MUL && space_divides (w, &values[1]))))
    return;
  const mugraph_shape *shapes[2] = {&type[0]->shape, b >= 0 ? &type[1]->shape : NULL};
  space_value value = space_expr (w, x, &op, shapes, values, s->config.loop ? WITNESS_EXTENT : 1, type[0]->loops);
  memcpy (n.expr, value.expr, sizeof n.expr);
  n.count = value.count;
  if (!space_may_stay (e, w, x, &value, op.kind == MUGRAPH_OP_DIV ? values[1].expr : NULL)) {
    w->stats.pruned++;
    return;
  }
  int64_t volume = tile_volume (&n.type);
  n.value = allocate (e, s, (size_t) volume);
  if (!n.value) return;
  const residue *in[2] = {s->node[a].value, b >= 0 ? s->node[b].value : NULL};
  evaluate (e, &op, type, in, &n.type, n.value);
  hash_node (&n);
  n.expr_hash = expr_hash (w->pool[0], n.expr[0]);
  uint32_t slot = 0;
  int i = find (w, s, n.hash, &slot);
  if (i >= 0) {
    w->stats.duplicates++;
    release (s, n.value, (size_t) volume);
  } else if ((i = add_node (e, w, s, &n, slot)) < 0) return;
  if (i != a && i != b && !is_leaf (&s->node[i]))
    add_derivation (
        e, s, i, (derivation){(uint8_t) l, (int8_t) dim, width_class, {(uint16_t) a, (uint16_t) (b >= 0 ? b : 0)}, -1});
}

/* Where the box of a tile starts in its tensor: block at[], iteration l. */
static void box_start (const tile_type *t, const int at[TILE_AXES], int l, const mugraph_shape *whole,
                       int32_t first[MUGRAPH_DIMS]) {
  for (int d = 0; d < t->shape.n_dims; d++) {
    int a = ((t->label[d] & TILE_AXIS) >> TILE_AXIS_SHIFT) - 1;
    first[d] = a >= 0 ? at[a] * (whole->dim[d] / WITNESS_EXTENT) : 0;
    if (t->label[d] & TILE_LOOP) first[d] += l * t->shape.dim[d];
  }
}

static void load_tile (enumeration *e, const node *n, const int at[TILE_AXES], residue *out) {
  tensor *t = &e->tensor[n->tensor];
  int64_t step = mugraph_volume (&n->type.shape);
  for (int l = 0; l < (n->type.loops ? WITNESS_EXTENT : 1); l++) {
    int32_t first[MUGRAPH_DIMS];
    box_start (&n->type, at, l, &t->shape, first);
    value_box (&t->shape, first, &n->type.shape, t->value, out + l * step, false);
  }
}

static void add_leaf (enumeration *e, worker *w, space *s, node *n) {
  static const int origin[TILE_AXES] = {0};
  space_value v;
  n->saved = -1, n->first = n->last = -1;
  n->value = allocate (e, s, (size_t) tile_volume (&n->type));
  if (!n->value) return;
  if (n->tensor >= 0) {
    load_tile (e, n, origin, n->value);
    v = space_tensor_expr (e, w, n->tensor);
    n->type.moment = e->tensor[n->tensor].moment;
    n->turn = e->tensor[n->tensor].turn;
  } else {
    mugraph_op op = {.kind = MUGRAPH_OP_CONST, .c = {e->constant[n->constant]}};
    value_of_op (&op, e->seed, NULL, NULL, &n->type.shape, n->value);
    v = space_constant_expr (w, e->constant[n->constant]);
  }
  memcpy (n->expr, v.expr, sizeof n->expr);
  n->count = v.count;
  n->expr_hash = expr_hash (w->pool[0], n->expr[0]);
  hash_node (n);
  uint32_t slot = 0;
  if (find (w, s, n->hash, &slot) < 0) add_node (e, w, s, n, slot);
}

static void add_leaves (enumeration *e, worker *w, space *s) {
  for (int t = 0; t < e->n_tensors; t++) {
    const tensor *x = &e->tensor[t];
    if (x->stage >= s->stage || x->constant >= 0 || x->graphs >= e->opt.graphs) continue;
    unsigned paired = 0;
    for (int d = 0; d < x->shape.n_dims; d++)
      if (e->w.paired[x->label[d] & TILE_CLASS]) paired |= 1u << d;
    for (unsigned whole = 0; whole < 1u << MUGRAPH_DIMS; whole++) {
      if (whole & ~paired) continue;
      node n = {.tensor = (int16_t) t, .constant = -1};
      if (tile_of_tensor (&s->config, &x->shape, x->label, whole, &n.type)) add_leaf (e, w, s, &n);
    }
  }
  for (int i = 0; i < e->n_constants; i++) {
    node n = {.tensor = -1, .constant = (int16_t) i};
    n.type.shape = mugraph_shape_of (MUGRAPH_F32, 1, (int32_t[]){1});
    add_leaf (e, w, s, &n);
  }
}

/* Which known tensor saving this node makes, judged by its block at the origin; -1: none. */
static int saved_tensor (enumeration *e, const space *s, const node *n, bool last) {
  mugraph_shape shape;
  uint16_t label[MUGRAPH_DIMS];
  int8_t omap[TILE_AXES];
  if (!tile_saved (&e->w, &s->config, &n->type, &shape, label, omap)) return -1;
  int64_t volume = mugraph_volume (&n->type.shape);
  residue *box = NULL;
  for (int t = 0; t < e->n_tensors; t++) {
    const tensor *x = &e->tensor[t];
    if ((last && !x->output) || x->input >= 0 || x->constant >= 0 || !mugraph_same_shape (&x->shape, &shape) ||
        memcmp (x->label, label, sizeof label) || x->moment != n->type.moment)
      continue;
    int32_t first[MUGRAPH_DIMS] = {0};
    if (!box && !(box = malloc ((size_t) volume * sizeof *box))) return -1;
    value_box (&x->shape, first, &n->type.shape, x->value, box, false);
    if (!memcmp (box, n->value, (size_t) volume * sizeof *box)) {
      free (box);
      return t;
    }
  }
  free (box);
  return -1;
}

space *space_close (enumeration *e, int me, const tile_config *config, int stage, bool last) {
  worker *w = &e->worker[me];
  space *s = calloc (1, sizeof *s);
  if (!s) return NULL;
  s->config = *config;
  s->stage = (uint8_t) stage;
  memset (w->table, 0, TABLE * sizeof *w->table);
  add_leaves (e, w, s);
  uint64_t polled = w->stats.states;
  for (int i = 0; i < s->n_nodes; i++) {
    if (s->node[i].least_ops >= e->opt.block_ops) break; /* least_ops never falls along the array */
    for (int l = 0; l < e->n_letters; l++) {
      int kind = e->alphabet[l].op.kind;
      mugraph_class klass = mugraph_op_table[kind].klass;
      if (e->alphabet[l].op.n_in == 1) {
        int dims = klass == MUGRAPH_REDUCE ? s->node[i].type.shape.n_dims : 1;
        for (int d = 0; d < dims; d++) try_op (e, w, s, l, klass == MUGRAPH_REDUCE ? d : -1, i, -1);
        continue;
      }
      bool symmetric = kind == MUGRAPH_OP_ADD || kind == MUGRAPH_OP_MUL;
      int dims = kind == MUGRAPH_OP_CONCAT ? s->node[i].type.shape.n_dims : 1;
      for (int j = 0; j <= i; j++)
        for (int d = 0; d < dims; d++) {
          int dim = kind == MUGRAPH_OP_CONCAT ? d : -1;
          try_op (e, w, s, l, dim, j, i);
          if (!symmetric && i != j) try_op (e, w, s, l, dim, i, j);
        }
    }
    if (w->stats.states - polled >= POLL) {
      polled = w->stats.states;
      if (space_poll (e, me)) break;
    }
  }
  for (int i = 0; i < s->n_nodes; i++)
    if (s->node[i].first >= 0) s->node[i].saved = (int16_t) saved_tensor (e, s, &s->node[i], last);
  if (last) space_drop_values (e, s); /* nothing new is to be told apart */
  return s;
}

bool space_evaluate (enumeration *e, worker *w, const space *s, int i, const mugraph_shape *shape, residue *out) {
  bool *needed = calloc ((size_t) i + 1, sizeof *needed);
  residue **value = calloc ((size_t) i + 1, sizeof *value);
  size_t total = 0;
  bool ok = needed && value;
  if (ok) {
    needed[i] = true;
    for (int k = i; k >= 0; k--) {
      if (!needed[k]) continue;
      total += (size_t) tile_volume (&s->node[k].type);
      if (s->node[k].first < 0) continue;
      const derivation *d = &s->derivation[s->node[k].first];
      for (int j = 0; j < e->alphabet[d->letter].op.n_in; j++) needed[d->in[j]] = true;
    }
    if (total > w->scratch_size) {
      free (w->scratch);
      w->scratch = malloc (total * sizeof *w->scratch);
      w->scratch_size = w->scratch ? total : 0;
    }
    ok = w->scratch != NULL;
  }
  int blocks = 1 << s->config.n_axes;
  for (int b = 0; ok && b < blocks; b++) {
    int at[TILE_AXES] = {b & 1, b >> 1 & 1, b >> 2 & 1};
    residue *free_at = w->scratch;
    for (int k = 0; k <= i; k++) {
      const node *n = &s->node[k];
      if (!needed[k]) continue;
      value[k] = free_at;
      free_at += tile_volume (&n->type);
      if (n->tensor >= 0) {
        load_tile (e, n, at, value[k]);
      } else if (n->constant >= 0) {
        mugraph_op op = {.kind = MUGRAPH_OP_CONST, .c = {e->constant[n->constant]}};
        value_of_op (&op, e->seed, NULL, NULL, &n->type.shape, value[k]);
      } else {
        const derivation *d = &s->derivation[n->first];
        mugraph_op op = e->alphabet[d->letter].op;
        op.dim = d->dim;
        op.width = d->width_class ? e->w.size[d->width_class] : 0;
        const tile_type *type[2] = {&s->node[d->in[0]].type, &s->node[d->in[1]].type};
        const residue *in[2] = {value[d->in[0]], value[d->in[1]]};
        evaluate (e, &op, type, in, &n->type, value[k]);
      }
    }
    const tile_type *t = &s->node[i].type;
    mugraph_shape saved;
    uint16_t label[MUGRAPH_DIMS];
    int8_t omap[TILE_AXES];
    int32_t first[MUGRAPH_DIMS] = {0};
    ok = tile_saved (&e->w, &s->config, t, &saved, label, omap);
    for (int a = 0; ok && a < s->config.n_axes; a++) first[omap[a]] = at[a] * t->shape.dim[omap[a]];
    if (ok) value_box (shape, first, &t->shape, out, value[i], true);
  }
  free (needed), free (value);
  return ok;
}
