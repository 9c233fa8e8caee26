/* The space of one graph-defined kernel: see space.h. */
#include "space.h"
#include "tensors.h"
#include "turn.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { CHUNK = 1 << 14, TABLE = 2 * SPACE_NODES, POLL = 512 };

/* ---- memory ---- */

static residue *allocate (enumeration *e, space *s, size_t n) {
  if (!s->chunks || s->chunks->used + n > s->chunks->size) {
    size_t size = n > CHUNK ? n : CHUNK;
    if (!budget_account (&e->budget, (double) (size * sizeof (residue)))) return NULL;
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
    budget_account (&e->budget, -(double) (c->size * sizeof (residue)));
    free (c);
  }
  s->chunks = NULL;
  for (int i = 0; i < s->n_nodes; i++) s->node[i].value = NULL;
}

void space_free (enumeration *e, space *s) {
  if (!s) return;
  space_drop_values (e, s);
  budget_account (&e->budget,
                  -(double) (s->node_capacity * sizeof (node) + s->derivation_capacity * sizeof (derivation)));
  free (s->node), free (s->derivation);
  free (s);
}

/* ---- nodes ---- */

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
  if (s->n_nodes >= SPACE_NODES) return budget_cut (&e->budget), -1;
  if (!budget_grow (&e->budget, &s->node, &s->node_capacity, s->n_nodes, sizeof (node))) return -1;
  s->node[s->n_nodes] = *n;
  w->table[slot] = (uint32_t) s->n_nodes + 1;
  return s->n_nodes++;
}

static void add_derivation (enumeration *e, space *s, int i, derivation d) {
  if (!budget_grow (&e->budget, &s->derivation, &s->derivation_capacity, s->n_derivations, sizeof d)) return;
  node *n = &s->node[i];
  d.next = -1;
  s->derivation[s->n_derivations] = d;
  if (n->first < 0) n->first = s->n_derivations;
  else s->derivation[n->last].next = s->n_derivations;
  n->last = s->n_derivations++;
}

/* ---- values ---- */

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

static void evaluate_constant (const enumeration *e, const node *n, residue *out) {
  mugraph_op op = {.kind = MUGRAPH_OP_CONST, .c = {e->alphabet.constant[n->constant]}};
  value_of_op (&op, e->seed, NULL, NULL, &n->type.shape, out);
}

/* ---- leaves ---- */

static void add_leaf (enumeration *e, worker *w, space *s, node *n) {
  static const int origin[TILE_AXES] = {0};
  n->saved = -1, n->first = n->last = -1;
  n->value = allocate (e, s, (size_t) tile_volume (&n->type));
  if (!n->value) return;
  if (n->tensor >= 0) {
    load_tile (e, n, origin, n->value);
    n->expr = tensors_expr (e, w, n->tensor);
    n->type.moment = e->tensor[n->tensor].moment;
    n->turn = e->tensor[n->tensor].turn;
  } else {
    evaluate_constant (e, n, n->value);
    n->expr = exprs_of_constant (&w->exprs, e->alphabet.constant[n->constant]);
  }
  hash_node (n);
  uint32_t slot = 0;
  if (find (w, s, n->hash, &slot) < 0) add_node (e, w, s, n, slot);
}

/* The tiles of one tensor: dimensions of a class that stands twice in it may also be left whole. */
static void add_tiles (enumeration *e, worker *w, space *s, int t) {
  const tensor *x = &e->tensor[t];
  unsigned paired = 0;
  for (int d = 0; d < x->shape.n_dims; d++)
    if (e->w.paired[x->label[d] & TILE_CLASS]) paired |= 1u << d;
  for (unsigned whole = 0; whole < 1u << MUGRAPH_DIMS; whole++) {
    if (whole & ~paired) continue;
    node n = {.tensor = (int16_t) t, .constant = -1};
    if (tile_of_tensor (&s->config, &x->shape, x->label, whole, &n.type)) add_leaf (e, w, s, &n);
  }
}

static void add_leaves (enumeration *e, worker *w, space *s) {
  for (int t = 0; t < e->n_tensors; t++) {
    const tensor *x = &e->tensor[t];
    if (x->layer < s->layer && x->constant < 0 && x->graphs < e->opt.graphs) add_tiles (e, w, s, t);
  }
  for (int i = 0; i < e->alphabet.n_constants; i++) {
    node n = {.tensor = -1, .constant = (int16_t) i};
    n.type.shape = mugraph_shape_of (MUGRAPH_F32, 1, (int32_t[]){1});
    add_leaf (e, w, s, &n);
  }
}

/* ---- operators ---- */

/* Whether a node's first derivation is a division. */
static bool is_quotient (const enumeration *e, const space *s, int i) {
  if (s->node[i].tensor >= 0) return e->tensor[s->node[i].tensor].quotient;
  if (s->node[i].first < 0) return false;
  return e->alphabet.letter[s->derivation[s->node[i].first].letter].op.kind == MUGRAPH_OP_DIV;
}

/* One operator on nodes a and b (-1: unary), and the node that it makes. */
typedef struct {
  const letter *letter;
  mugraph_op op;
  int a, b;
  const tile_type *type[2]; /* of the operands */
  derivation derivation;
  node result;
} attempt;

/* Whether the rules of meaning allow it: fills the result's type and flags. */
static bool has_meaning (const enumeration *e, const space *s, attempt *x) {
  const node *a = &s->node[x->a], *b = x->b >= 0 ? &s->node[x->b] : NULL;
  if (x->letter->parts_only && x->op.dim >= 0 && !(a->type.label[x->op.dim] & TILE_PARTS)) return false;
  if (x->letter->flat && x->op.kind == MUGRAPH_OP_DIV && (x->a == x->b || is_quotient (e, s, x->b))) return false;
  if (!tile_of_op (&e->w, &x->op, x->letter->moment, x->type, &x->result.type, &x->derivation.width_class))
    return false;
  const uint8_t turn[2] = {a->turn, b ? b->turn : 0};
  return turn_of_op (x->op.kind, x->op.n_in, x->type, turn, x->result.type.part_loop, e->opt.all_transposes,
                     &x->result.turn);
}

/* Whether its expression, which is filled, lets it stay. */
static bool is_wanted (const enumeration *e, worker *w, const space *s, attempt *x) {
  exprs_value in[2] = {s->node[x->a].expr};
  if (x->b >= 0) in[1] = s->node[x->b].expr;
  const mugraph_shape *shape[2] = {&x->type[0]->shape, x->b >= 0 ? &x->type[1]->shape : NULL};
  exprs_verdict verdict = exprs_judge (&w->exprs, x->letter, &x->op, shape, in, s->config.loop ? WITNESS_EXTENT : 1,
                                       x->type[0]->loops, e->opt.prune, &x->result.expr);
  w->stats.pruned += verdict == EXPRS_PRUNED;
  return verdict == EXPRS_STAYS;
}

/* Evaluates the result and files it as a node, or as one more derivation of the node that it equals. */
static void file (enumeration *e, worker *w, space *s, attempt *x) {
  node *n = &x->result;
  size_t volume = (size_t) tile_volume (&n->type);
  if (!(n->value = allocate (e, s, volume))) return;
  const residue *in[2] = {s->node[x->a].value, x->b >= 0 ? s->node[x->b].value : NULL};
  evaluate (e, &x->op, x->type, in, &n->type, n->value);
  hash_node (n);
  uint32_t slot = 0;
  int i = find (w, s, n->hash, &slot);
  if (i >= 0) {
    w->stats.duplicates++;
    release (s, n->value, volume);
  } else if ((i = add_node (e, w, s, n, slot)) < 0) return;
  if (i != x->a && i != x->b && !node_is_leaf (&s->node[i])) add_derivation (e, s, i, x->derivation);
}

static void try_op (enumeration *e, worker *w, space *s, int l, int dim, int a, int b) {
  const letter *to = &e->alphabet.letter[l];
  attempt x = {.letter = to,
               .op = to->op,
               .a = a,
               .b = b,
               .type = {&s->node[a].type, b >= 0 ? &s->node[b].type : NULL},
               .derivation = {(uint8_t) l, (int8_t) dim, 0, {(uint16_t) a, (uint16_t) (b >= 0 ? b : 0)}, -1},
               .result = {.tensor = -1, .constant = -1, .saved = -1, .first = -1, .last = -1}};
  x.op.dim = (int8_t) dim;
  if (!has_meaning (e, s, &x)) return;
  w->stats.states++;
  uint8_t below = s->node[a].least_ops;
  if (b >= 0 && s->node[b].least_ops > below) below = s->node[b].least_ops;
  x.result.least_ops = (uint8_t) (below + 1);
  if (is_wanted (e, w, s, &x)) file (e, w, s, &x);
}

/* A letter on node i, and on all pairs of it with itself and earlier ones. */
static void try_letter (enumeration *e, worker *w, space *s, int l, int i) {
  const letter *x = &e->alphabet.letter[l];
  bool has_dim = alphabet_has_dim (x), commutes = alphabet_commutes (x);
  int dims = has_dim ? s->node[i].type.shape.n_dims : 1;
  if (x->op.n_in == 1) {
    for (int d = 0; d < dims; d++) try_op (e, w, s, l, has_dim ? d : -1, i, -1);
    return;
  }
  for (int j = 0; j <= i; j++)
    for (int d = 0; d < dims; d++) {
      try_op (e, w, s, l, has_dim ? d : -1, j, i);
      if (!commutes && i != j) try_op (e, w, s, l, has_dim ? d : -1, i, j);
    }
}

/* ---- the closure ---- */

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

static void close (enumeration *e, int me, space *s) {
  worker *w = &e->worker[me];
  uint64_t polled = w->stats.states;
  for (int i = 0; i < s->n_nodes; i++) {
    if (s->node[i].least_ops >= e->opt.block_ops) break; /* least_ops never falls along the array */
    for (int l = 0; l < e->alphabet.n_letters; l++) try_letter (e, w, s, l, i);
    if (w->stats.states - polled < POLL) continue;
    polled = w->stats.states;
    if (enumeration_poll (e, me)) break;
  }
}

space *space_close (enumeration *e, int me, const tile_config *config, int layer, bool last) {
  worker *w = &e->worker[me];
  space *s = calloc (1, sizeof *s);
  if (!s) return NULL;
  s->config = *config;
  s->layer = (uint8_t) layer;
  memset (w->table, 0, TABLE * sizeof *w->table);
  add_leaves (e, w, s);
  close (e, me, s);
  for (int i = 0; i < s->n_nodes; i++)
    if (s->node[i].first >= 0) s->node[i].saved = (int16_t) saved_tensor (e, s, &s->node[i], last);
  if (last) space_drop_values (e, s); /* nothing new is to be told apart */
  return s;
}

/* ---- whole tensors ---- */

/* Marks the nodes that node i is computed from by first derivations. Returns the residues that their tiles hold. */
static size_t mark_needed (const enumeration *e, const space *s, int i, bool needed[]) {
  size_t total = 0;
  needed[i] = true;
  for (int k = i; k >= 0; k--) {
    if (!needed[k]) continue;
    total += (size_t) tile_volume (&s->node[k].type);
    if (s->node[k].first < 0) continue;
    const derivation *d = &s->derivation[s->node[k].first];
    for (int j = 0; j < e->alphabet.letter[d->letter].op.n_in; j++) needed[d->in[j]] = true;
  }
  return total;
}

static bool reserve_scratch (worker *w, size_t total) {
  if (total > w->scratch_size) {
    free (w->scratch);
    w->scratch = malloc (total * sizeof *w->scratch);
    w->scratch_size = w->scratch ? total : 0;
  }
  return w->scratch != NULL;
}

/* The tile of node k in the block at[]. */
static void evaluate_node (enumeration *e, const space *s, int k, const int at[TILE_AXES], residue *const value[]) {
  const node *n = &s->node[k];
  if (n->tensor >= 0) load_tile (e, n, at, value[k]);
  else if (n->constant >= 0) evaluate_constant (e, n, value[k]);
  else {
    const derivation *d = &s->derivation[n->first];
    mugraph_op op = enumeration_op (e, d);
    const tile_type *type[2] = {&s->node[d->in[0]].type, &s->node[d->in[1]].type};
    const residue *in[2] = {value[d->in[0]], value[d->in[1]]};
    evaluate (e, &op, type, in, &n->type, value[k]);
  }
}

/* Writes the tile of node i in the block at[] to where it is saved. */
static bool store (const enumeration *e, const space *s, int i, const int at[TILE_AXES], const mugraph_shape *shape,
                   residue *out, residue *tile) {
  const tile_type *t = &s->node[i].type;
  mugraph_shape saved;
  uint16_t label[MUGRAPH_DIMS];
  int8_t omap[TILE_AXES];
  int32_t first[MUGRAPH_DIMS] = {0};
  if (!tile_saved (&e->w, &s->config, t, &saved, label, omap)) return false;
  for (int a = 0; a < s->config.n_axes; a++) first[omap[a]] = at[a] * t->shape.dim[omap[a]];
  value_box (shape, first, &t->shape, out, tile, true);
  return true;
}

bool space_evaluate (enumeration *e, worker *w, const space *s, int i, const mugraph_shape *shape, residue *out) {
  bool *needed = calloc ((size_t) i + 1, sizeof *needed);
  residue **value = calloc ((size_t) i + 1, sizeof *value);
  bool ok = needed && value && reserve_scratch (w, mark_needed (e, s, i, needed));
  for (int b = 0; ok && b < 1 << s->config.n_axes; b++) {
    int at[TILE_AXES] = {b & 1, b >> 1 & 1, b >> 2 & 1};
    residue *free_at = w->scratch;
    for (int k = 0; k <= i; k++) {
      if (!needed[k]) continue;
      value[k] = free_at;
      free_at += tile_volume (&s->node[k].type);
      evaluate_node (e, s, k, at, value);
    }
    ok = store (e, s, i, at, shape, out, value[i]);
  }
  free (needed), free (value);
  return ok;
}
