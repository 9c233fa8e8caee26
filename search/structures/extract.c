/* Reads the graphs off the spaces, backwards from the program's outputs, and checks them at the witness. */
#include "space.h"

#include <stdlib.h>
#include <string.h>

static bool grow (enumeration *e, void *array, int *capacity, int n, size_t size) {
  if (n < *capacity) return true;
  int more = *capacity ? 2 * *capacity : 16;
  void *moved = space_account (e, (double) ((size_t) (more - *capacity) * size))
                    ? realloc (*(void **) array, (size_t) more * size)
                    : NULL;
  if (!moved) return false;
  *(void **) array = moved;
  *capacity = more;
  return true;
}

static bool is_leaf (const node *n) { return n->tensor >= 0 || n->constant >= 0; }

/* ---- block graphs: one derivation for each node that is needed ---- */

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

static int arity (const reading *r, const derivation *d) { return r->e->alphabet[d->letter].op.n_in; }

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
      parts = is_leaf (&r->s->node[r->node[k]]) && has_parts_of (&r->s->node[r->node[k]], c);
    if (r->dominated[c] && !parts) return true;
  }
  return false;
}

static void emit (reading *r) {
  block_list *list = r->list;
  if (special_case (r)) return;
  bool newest = r->s->stage == 1; /* without a tensor of the stage below, a lower stage has this graph too */
  if (list->n_plans >= SPACE_LIST) {
    space_cut (r->e);
    return;
  }
  if (!grow (r->e, &list->plan, &list->capacity, list->n_plans, sizeof *list->plan)) return;
  block_plan *p = &list->plan[list->n_plans];
  memset (p, 0, sizeof *p);
  bool done[SPACE_TILES] = {false};
  for (int k = 0; k < r->n; k++) {
    const node *n = &r->s->node[r->node[k]];
    if (!is_leaf (n)) continue;
    if (n->tensor >= 0 && r->e->tensor[n->tensor].stage == r->s->stage - 1) newest = true;
    order (r, r->node[k], done, p);
  }
  p->n_leaves = p->n_tiles;
  for (int k = 0; k < list->n_saved; k++) order (r, list->saved[k], done, p);
  if (newest) list->n_plans++;
}

static void choose (reading *r) {
  int open = -1;
  for (int k = 0; k < r->n; k++)
    if (r->choice[k] < 0 && !is_leaf (&r->s->node[r->node[k]]) && (open < 0 || r->node[k] > r->node[open])) open = k;
  if (open < 0) {
    emit (r);
    return;
  }
  r->e->worker[0].stats.states++;
  int n = r->n, n_ops = r->n_ops;
  for (int32_t c = r->s->node[r->node[open]].first; c >= 0; c = r->s->derivation[c].next) {
    const derivation *d = &r->s->derivation[c];
    bool fits = true;
    for (int j = 0; j < arity (r, d) && fits; j++) {
      const node *in = &r->s->node[d->in[j]];
      if (reaches (r, d->in[j], r->node[open])) fits = false;
      else if (position (r, d->in[j]) < 0) {
        fits = r->n < SPACE_TILES && !repeats (r, in) && (is_leaf (in) || ++r->n_ops <= r->e->opt.block_ops);
        if (fits) {
          r->node[r->n] = d->in[j];
          r->choice[r->n++] = -1;
        }
      }
    }
    if (fits) {
      r->choice[open] = c;
      choose (r);
      r->choice[open] = -1;
    }
    r->n = n;
    r->n_ops = n_ops;
  }
}

/* The classes that all saved tiles have, unsplit, and that nothing in the program reduces: one more grid axis could
   split them, then the same graph with that axis stands elsewhere, and this one is its special case of extent 1 -
   unless it reads partial sums of that class, see special_case. False when there is such a class and no such leaf. */
static bool dominators (const enumeration *e, const space *s, int n_saved, const uint16_t saved[],
                        bool dominated[TILE_CLASS + 1]) {
  if (s->config.n_axes == TILE_AXES) return true;
  for (int c = 1; c <= e->w.n_classes; c++) {
    if (e->w.reduced[c] || e->w.fixed[c] || e->w.paired[c]) continue;
    bool all = true, parts = false;
    for (int k = 0; k < n_saved; k++) {
      bool has = false;
      for (int d = 0; d < MUGRAPH_DIMS; d++) has |= s->node[saved[k]].type.label[d] == c; /* unsplit */
      all &= has;
    }
    for (int i = 0; i < s->n_nodes && all && !parts; i++)
      parts = is_leaf (&s->node[i]) && has_parts_of (&s->node[i], c);
    dominated[c] = all;
    if (all && !parts) return false;
  }
  return true;
}

/* All graphs that save exactly these tiles. -1: none. */
static int list_of (enumeration *e, int k, int n_saved, const uint16_t saved[]) {
  for (int i = 0; i < e->n_lists; i++) {
    const block_list *l = &e->list[i];
    if (l->space == k && l->n_saved == n_saved && !memcmp (l->saved, saved, (size_t) n_saved * sizeof *saved)) return i;
  }
  if (e->n_lists >= SPACE_LISTS) return space_cut (e), -1;
  if (!grow (e, &e->list, &e->list_capacity, e->n_lists, sizeof *e->list)) return -1;
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

/* ---- kernel graphs: who computes what is still needed ---- */

enum { NEEDS = 64 };

typedef struct {
  structure s;
  int graphs, n_need, n_made;
  int16_t need[NEEDS], made[NEEDS];
  uint8_t limit[NEEDS], made_stage[NEEDS]; /* the highest stage that may compute it; the one that does */
} partial;

/* A kernel of this stage reads t. */
static bool add_need (const enumeration *e, partial *p, int t, int stage) {
  const tensor *x = &e->tensor[t];
  if (x->input >= 0 || x->constant >= 0) return true;
  for (int k = 0; k < p->n_made; k++)
    if (p->made[k] == t) return p->made_stage[k] < stage;
  int k = 0;
  while (k < p->n_need && p->need[k] != t) k++;
  if (k == NEEDS || x->stage >= stage) return false;
  if (k == p->n_need) {
    p->need[p->n_need++] = (int16_t) t;
    p->limit[k] = (uint8_t) (stage - 1);
  } else if (p->limit[k] > stage - 1) p->limit[k] = (uint8_t) (stage - 1);
  return true;
}

static void made (partial *p, int t, int stage) {
  for (int k = 0; k < p->n_need; k++)
    if (p->need[k] == t) {
      p->need[k] = p->need[--p->n_need];
      p->limit[k] = p->limit[p->n_need];
      break;
    }
  p->made[p->n_made] = (int16_t) t;
  p->made_stage[p->n_made++] = (uint8_t) stage;
}

static void record (enumeration *e, const partial *p) {
  if (e->n_structures >= SPACE_CHOICES) {
    space_cut (e);
    return;
  }
  if (!grow (e, &e->structure, &e->structure_capacity, e->n_structures, sizeof *e->structure)) return;
  structure *s = &e->structure[e->n_structures++];
  *s = p->s;
  for (int i = 1; i < s->n_kernels; i++) /* by stage; kernels of one stage do not read each other */
    for (int j = i; j > 0 && s->kernel[j - 1].stage > s->kernel[j].stage; j--) {
      kernel_choice c = s->kernel[j];
      s->kernel[j] = s->kernel[j - 1];
      s->kernel[j - 1] = c;
    }
}

static void cover (enumeration *e, const partial *p);

static void cover_by_graph (enumeration *e, const partial *p, const producer *x, int t) {
  /* what else the same kernel may save */
  uint16_t other[NEEDS];
  int16_t other_tensor[NEEDS];
  int n = 0;
  for (int k = 0; k < p->n_need; k++) {
    const tensor *y = &e->tensor[p->need[k]];
    if (p->need[k] == t || p->limit[k] < x->stage) continue;
    for (int i = 0; i < y->n_producers; i++)
      if (y->producer[i].space == x->space) {
        other[n] = y->producer[i].node;
        other_tensor[n++] = p->need[k];
        break;
      }
  }
  if (n > MUGRAPH_FANOUT - 1) n = MUGRAPH_FANOUT - 1;
  for (unsigned set = 0; set < 1u << n; set++) {
    uint16_t saved[MUGRAPH_FANOUT] = {x->node};
    int n_saved = 1;
    partial q = *p;
    if (q.n_made + MUGRAPH_FANOUT > NEEDS) return;
    made (&q, t, x->stage);
    for (int k = 0; k < n; k++)
      if (set >> k & 1) {
        int at = n_saved++;
        while (at > 0 && saved[at - 1] > other[k]) saved[at] = saved[at - 1], at--;
        saved[at] = other[k];
        made (&q, other_tensor[k], x->stage);
      }
    int l = list_of (e, x->space, n_saved, saved);
    if (l < 0) continue;
    q.graphs++;
    for (int i = 0; i < e->list[l].n_plans; i++) {
      partial r = q;
      const block_plan *plan = &e->list[l].plan[i];
      bool ok = true;
      for (int k = 0; k < plan->n_leaves && ok; k++) {
        int leaf = e->space[x->space]->node[plan->node[k]].tensor;
        if (leaf >= 0) ok = add_need (e, &r, leaf, x->stage);
      }
      r.s.kernel[r.s.n_kernels++] = (kernel_choice){.list = l, .index = i, .tensor = -1, .stage = x->stage};
      if (ok) cover (e, &r);
    }
  }
}

static void cover (enumeration *e, const partial *p) {
  e->worker[0].stats.states++;
  if (!p->n_need) {
    record (e, p);
    return;
  }
  if (p->s.n_kernels >= e->opt.kernel_ops || p->s.n_kernels >= SPACE_KERNELS || space_poll (e, 0)) return;
  int k = 0;
  for (int i = 1; i < p->n_need; i++)
    if (p->need[i] > p->need[k]) k = i;
  int t = p->need[k], limit = p->limit[k];
  for (int i = 0; i < e->tensor[t].n_producers; i++) {
    producer x = e->tensor[t].producer[i];
    if (x.stage > limit) continue;
    if (x.space >= 0) {
      if (p->graphs < e->opt.graphs) cover_by_graph (e, p, &x, t);
      continue;
    }
    partial q = *p;
    if (q.n_made >= NEEDS) return;
    made (&q, t, x.stage);
    bool ok = true;
    for (int j = 0; j < e->alphabet[x.op.letter].op.n_in && ok; j++) ok = add_need (e, &q, x.op.in[j], x.stage);
    q.s.kernel[q.s.n_kernels++] = (kernel_choice){.list = -1, .index = i, .tensor = (int16_t) t, .stage = x.stage};
    if (ok) cover (e, &q);
  }
}

/* ---- graphs ---- */

typedef struct {
  const enumeration *e;
  bool real;
  mugraph *g;
  int16_t *index; /* of tensors in the graph, -1: not there yet */
} building;

static int32_t width_of (const building *b, const derivation *d) {
  return d->width_class ? (b->real ? b->e->w.real : b->e->w.size)[d->width_class] : 0;
}

static int tensor_index (building *b, int t) {
  const tensor *x = &b->e->tensor[t];
  if (b->index[t] < 0 && x->constant >= 0)
    b->index[t] = (int16_t) mugraph_add_const (b->g, b->e->constant[x->constant], NULL);
  return b->index[t];
}

static bool build_plain (building *b, const kernel_choice *c, mugraph_error *err) {
  const derivation *d = &b->e->tensor[c->tensor].producer[c->index].op;
  mugraph_op op = b->e->alphabet[d->letter].op;
  const mugraph_shape *shape[2];
  op.dim = d->dim;
  op.width = width_of (b, d);
  for (int k = 0; k < op.n_in; k++) {
    int t = tensor_index (b, d->in[k]);
    if (t < 0) return mugraph_fail (err, "search: no room for the kernel graph");
    op.in[k] = (uint8_t) t;
    shape[k] = &b->g->tensor[t].shape;
  }
  if (b->g->n_ops >= MUGRAPH_KERNEL_OPS || b->g->n_tensors >= MUGRAPH_TENSORS)
    return mugraph_fail (err, "search: no room for the kernel graph");
  mugraph_shape out;
  if (!mugraph_infer_op (&op, shape, &out, err)) return false;
  int t = b->g->n_tensors++;
  b->g->tensor[t].shape = out;
  op.n_out = 1;
  op.out[0] = (uint8_t) t;
  b->g->op[b->g->n_ops++] = op;
  b->index[c->tensor] = (int16_t) t;
  return true;
}

/* The smallest extent above 1 that divides a class's real size; the size itself where it is prime. */
static int32_t smallest_extent (const building *b, int c) {
  if (!b->real) return WITNESS_EXTENT;
  int32_t n = b->e->w.real[c];
  for (int32_t f = 2; f * f <= n; f++)
    if (n % f == 0) return f;
  return n > 1 ? n : 1;
}

static bool build_custom (building *b, const kernel_choice *c, mugraph_error *err) {
  const enumeration *e = b->e;
  const block_list *list = &e->list[c->list];
  const block_plan *plan = &list->plan[c->index];
  const space *s = e->space[list->space];
  int in[MUGRAPH_FANIN], n_in = 0, tile[SPACE_TILES];
  int32_t grid[3] = {1, 1, 1};
  for (int a = 0; a < s->config.n_axes; a++) grid[a] = smallest_extent (b, s->config.axis[a]);
  int32_t loop = !s->config.loop                     ? 1
                 : s->config.loop == TILE_LOOP_PARTS ? WITNESS_EXTENT
                                                     : smallest_extent (b, s->config.loop);
  for (int k = 0; k < plan->n_leaves; k++) { /* tensors that it reads, each once */
    const node *n = &s->node[plan->node[k]];
    if (n->tensor < 0) continue;
    int t = b->index[n->tensor], i = 0;
    while (i < n_in && in[i] != t) i++;
    if (i == MUGRAPH_FANIN) return mugraph_fail (err, "search: a kernel reads more than %d tensors", MUGRAPH_FANIN);
    if (i == n_in) in[n_in++] = t;
  }
  int custom = mugraph_add_custom (b->g, n_in, in, grid, loop);
  if (custom < 0) return mugraph_fail (err, "search: no room for the kernel graph");
  mugraph_block *block = &b->g->block[b->g->op[custom].block];
  for (int k = 0; k < plan->n_tiles; k++) {
    const node *n = &s->node[plan->node[k]];
    if (n->constant >= 0) {
      tile[k] = mugraph_block_const (block, e->constant[n->constant]);
    } else if (n->tensor >= 0) {
      int imap[3] = {-1, -1, -1}, fmap = -1, i = 0;
      for (int d = 0; d < n->type.shape.n_dims; d++) {
        int a = ((n->type.label[d] & TILE_AXIS) >> TILE_AXIS_SHIFT) - 1;
        if (a >= 0) imap[a] = d;
        if (n->type.label[d] & TILE_LOOP) fmap = d;
      }
      while (in[i] != b->index[n->tensor]) i++;
      tile[k] = mugraph_block_input (block, i, imap, fmap);
    } else {
      const derivation *d = &s->derivation[plan->derivation[k]];
      const mugraph_op *op = &e->alphabet[d->letter].op;
      int operand[2] = {-1, -1};
      for (int j = 0; j < op->n_in; j++)
        for (int i = 0; i < k; i++)
          if (plan->node[i] == d->in[j]) operand[j] = tile[i];
      tile[k] = mugraph_block_op (block, op->kind, operand[0], operand[1], d->dim);
      if (tile[k] >= 0) {
        memcpy (block->op[tile[k]].c, op->c, sizeof op->c);
        block->op[tile[k]].width = width_of (b, d);
      }
    }
    if (tile[k] < 0) return mugraph_fail (err, "search: no room for the block graph");
  }
  for (int k = 0; k < list->n_saved; k++) {
    mugraph_shape shape;
    uint16_t label[MUGRAPH_DIMS];
    int8_t omap[TILE_AXES];
    int at = 0;
    while (plan->node[at] != list->saved[k]) at++;
    tile_saved (&e->w, &s->config, &s->node[list->saved[k]].type, &shape, label, omap);
    if (mugraph_block_output (block, tile[at], (int[]){omap[0], omap[1], omap[2]}) < 0)
      return mugraph_fail (err, "search: no room for the block graph");
  }
  if (!mugraph_finish_custom (b->g, custom, err)) return false;
  for (int k = 0; k < list->n_saved; k++) b->index[s->node[list->saved[k]].saved] = b->g->op[custom].out[k];
  return true;
}

static bool build (const enumeration *e, const structure *s, bool real, const mugraph *program, mugraph *g,
                   mugraph_error *err) {
  building b = {.e = e, .real = real, .g = g, .index = malloc ((size_t) e->n_tensors * sizeof *b.index)};
  if (!b.index) return mugraph_fail (err, "search: out of memory");
  for (int t = 0; t < e->n_tensors; t++) b.index[t] = -1;
  mugraph_init (g);
  for (int t = 0; t < program->n_inputs; t++)
    b.index[t] = (int16_t) mugraph_add_input (g, program->tensor[t].name, program->tensor[t].shape);
  bool ok = true;
  for (int k = 0; k < s->n_kernels && ok; k++)
    ok = s->kernel[k].list >= 0 ? build_custom (&b, &s->kernel[k], err) : build_plain (&b, &s->kernel[k], err);
  for (int k = 0; k < e->n_outputs && ok; k++) {
    int t = tensor_index (&b, e->output[k]);
    ok = t >= 0 && mugraph_add_output (g, t, program->output_name[k]);
  }
  free (b.index);
  return ok && mugraph_infer (g, err);
}

bool enumeration_graph (const enumeration *e, int i, bool real, mugraph *g, mugraph_error *err) {
  return build (e, &e->structure[i], real, real ? &e->real : &e->w.program, g, err);
}

/* ---- the check at the witness ---- */

static int compare_structures (const void *x, const void *y) {
  const structure *a = x, *b = y;
  if (a->n_kernels != b->n_kernels) return a->n_kernels - b->n_kernels;
  return (a->hash > b->hash) - (a->hash < b->hash);
}

static void check (enumeration *e) {
  int n = e->n_structures;
#pragma omp parallel num_threads(e->n_threads)
  {
    int me = omp_get_thread_num ();
    mugraph *g = malloc (sizeof *g);
#pragma omp for schedule(dynamic, 16)
    for (int i = 0; i < n; i++) {
      structure *s = &e->structure[i];
      uint64_t print[MUGRAPH_OUTPUTS];
      s->hash = 0;
      if (!g || space_poll (e, me) || !build (e, s, false, &e->w.program, g, NULL)) continue;
      e->worker[me].stats.checked++;
      if (verify_fingerprint (g, e->seed, print) &&
          !memcmp (print, e->fingerprint, (size_t) e->n_outputs * sizeof *print))
        s->hash = mugraph_hash (g, false);
    }
    free (g);
  }
  int kept = 0;
  for (int i = 0; i < n; i++)
    if (e->structure[i].hash) e->structure[kept++] = e->structure[i];
  if (kept) qsort (e->structure, (size_t) kept, sizeof *e->structure, compare_structures);
  e->n_structures = 0;
  for (int i = 0; i < kept; i++)
    if (!e->n_structures || e->structure[e->n_structures - 1].hash != e->structure[i].hash)
      e->structure[e->n_structures++] = e->structure[i];
    else e->worker[0].stats.duplicates++;
}

void space_extract (enumeration *e) {
  partial p = {.s = {.n_kernels = 0}};
  bool reached = true;
  for (int k = 0; k < e->n_outputs; k++) {
    const tensor *x = &e->tensor[e->output[k]];
    reached &= x->input >= 0 || x->constant >= 0 || x->n_producers > 0;
    reached &= add_need (e, &p, e->output[k], e->opt.kernel_ops + 1);
  }
  if (reached) cover (e, &p);
  check (e);
}
