/* Stages and configurations: the tensors of the kernel graph and who computes them. */
#include "enumerate.h"

#include "space.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Block operators that an operator of the program brings along, beside itself. */
static const struct {
  uint8_t kind, brings[7];
} companions[] = {
    {MUGRAPH_OP_RMS_NORM,
     {MUGRAPH_OP_ACCUM_RMS, MUGRAPH_OP_DIV, MUGRAPH_OP_SQUARE, MUGRAPH_OP_MEAN, MUGRAPH_OP_ACCUM_MEAN,
      MUGRAPH_OP_SQRT}},
    {MUGRAPH_OP_MEAN, {MUGRAPH_OP_ACCUM_MEAN}},
    {MUGRAPH_OP_SUM, {MUGRAPH_OP_ACCUM_SUM}},
};
/* What sums partial sums, whatever the program. */
static const uint8_t summers[] = {MUGRAPH_OP_ACCUM, MUGRAPH_OP_SUM, MUGRAPH_OP_SUM_TO, MUGRAPH_OP_ACCUM_SUM,
                                  MUGRAPH_OP_ACCUM_SUM_TO};

static double now (void) {
  struct timespec t;
  clock_gettime (CLOCK_MONOTONIC, &t);
  return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

void space_cut (enumeration *e) {
  omp_set_lock (&e->lock);
  e->cut = true;
  omp_unset_lock (&e->lock);
}

bool space_account (enumeration *e, double bytes) {
  omp_set_lock (&e->lock);
  bool ok = bytes <= 0 || e->bytes + bytes <= 1048576.0 * e->opt.memory;
  if (ok) e->bytes += bytes;
  else e->halted = true;
  if (e->bytes > e->peak) e->peak = e->bytes;
  omp_unset_lock (&e->lock);
  return ok;
}

static void add_stats (search_stats *to, const search_stats *from) {
#define STAT(name, unit, help) to->name += from->name;
#include "search/statistics.def"
#undef STAT
}

bool space_poll (enumeration *e, int me) {
  search_stats sum = {0};
  double t = now ();
  bool report = false;
  omp_set_lock (&e->lock);
  e->published[me] = e->worker[me].stats;
  if ((e->stop && *e->stop) || (e->deadline > 0 && t > e->deadline)) e->halted = true;
  bool halted = e->halted;
  if (me == 0 && e->progress && t >= e->next_report) {
    report = true;
    for (int i = 0; i < e->n_threads; i++) add_stats (&sum, &e->published[i]);
  }
  omp_unset_lock (&e->lock);
  if (report) {
    e->next_report = t + 0.16;
    e->progress (e->user, &sum, t - e->start);
  }
  return halted;
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

/* ---- the alphabet ---- */

static void add_letter (enumeration *e, int kind, const double c[2], bool kernel, bool parts_only, bool moment) {
  for (int i = 0; i < e->n_letters; i++) {
    letter *l = &e->alphabet[i];
    if (l->op.kind != kind || l->op.c[0] != c[0] || l->op.c[1] != c[1] || l->moment != moment) continue;
    l->kernel |= kernel;
    l->parts_only &= parts_only;
    return;
  }
  if (e->n_letters == SPACE_LETTERS) {
    space_cut (e);
    return;
  }
  e->alphabet[e->n_letters++] = (letter){.op = {.kind = (uint8_t) kind,
                                                .n_in = (uint8_t) mugraph_op_table[kind].arity,
                                                .dim = -1,
                                                .block = -1,
                                                .map = {-1, -1, -1},
                                                .fmap = -1,
                                                .c = {c[0], c[1]}},
                                         .kernel = kernel,
                                         .parts_only = parts_only,
                                         .moment = moment};
}

static int compare_letters (const void *x, const void *y) {
  const letter *a = x, *b = y;
  if (a->op.kind != b->op.kind) return a->op.kind - b->op.kind;
  return a->moment != b->moment ? a->moment - b->moment : memcmp (a->op.c, b->op.c, sizeof a->op.c);
}

/* Whether the program divides by a quotient, or multiplies by or divides what it divides by: then graphs may too. */
static bool divisor_is_used (const mugraph *g, int divisor) {
  for (int i = 0; i < g->n_ops; i++) {
    const mugraph_op *op = &g->op[i];
    if (op->out[0] == divisor && op->kind == MUGRAPH_OP_DIV) return true;
    if ((op->kind == MUGRAPH_OP_DIV || op->kind == MUGRAPH_OP_MUL) && op->in[0] == divisor) return true;
    if (op->kind == MUGRAPH_OP_MUL && op->in[1] == divisor) return true;
  }
  return false;
}

static void make_alphabet (enumeration *e) {
  static const double none[2] = {0, 0};
  bool nested = false;
  for (int i = 0; i < e->w.program.n_ops; i++) {
    const mugraph_op *op = &e->w.program.op[i];
    if (op->kind == MUGRAPH_OP_CONST) {
      bool known = false;
      for (int k = 0; k < e->n_constants; k++) known |= e->constant[k] == op->c[0];
      if (!known && e->n_constants < SPACE_CONSTANTS) e->constant[e->n_constants++] = op->c[0];
      continue;
    }
    add_letter (e, op->kind, op->c, true, false, false);
    if (op->kind == MUGRAPH_OP_DIV) nested |= divisor_is_used (&e->w.program, op->in[1]);
    for (size_t k = 0; k < sizeof companions / sizeof *companions; k++) {
      if (companions[k].kind != op->kind) continue;
      for (const uint8_t *b = companions[k].brings; *b; b++)
        if (op->kind != MUGRAPH_OP_RMS_NORM || *b == MUGRAPH_OP_DIV) add_letter (e, *b, none, false, false, false);
        else if (*b == MUGRAPH_OP_ACCUM_RMS) add_letter (e, *b, op->c, false, false, false);
        else if (op->c[0] == 0) add_letter (e, *b, none, false, false, true); /* an epsilon stands inside of the root */
    }
  }
  for (size_t k = 0; k < sizeof summers; k++)
    add_letter (e, summers[k], none, false, summers[k] != MUGRAPH_OP_ACCUM, false);
  for (int i = 0; i < e->n_letters; i++) {
    int kind = e->alphabet[i].op.kind;
    e->alphabet[i].flat = (kind == MUGRAPH_OP_DIV || kind == MUGRAPH_OP_MUL) && !nested;
  }
  qsort (e->alphabet, (size_t) e->n_letters, sizeof *e->alphabet, compare_letters);
}

/* ---- tensors ---- */

/* Appends a tensor; the values become its own. -1 when there is no room. */
static int add_tensor (enumeration *e, const tensor *t) {
  if (e->n_tensors >= SPACE_TENSORS) return space_cut (e), -1;
  if (!grow (e, &e->tensor, &e->tensor_capacity, e->n_tensors, sizeof *t)) return -1;
  e->tensor[e->n_tensors] = *t;
  return e->n_tensors++;
}

static void add_producer (enumeration *e, int t, const producer *p) {
  tensor *x = &e->tensor[t];
  if (!grow (e, &x->producer, &x->capacity, x->n_producers, sizeof *p)) return;
  x->producer[x->n_producers++] = *p;
}

/* The known tensor with this type and value, or -1. */
static int find_tensor (const enumeration *e, const mugraph_shape *s, const uint16_t label[MUGRAPH_DIMS], int moment,
                        const residue *v) {
  for (int t = 0; t < e->n_tensors; t++) {
    const tensor *x = &e->tensor[t];
    if (mugraph_same_shape (&x->shape, s) && !memcmp (x->label, label, sizeof x->label) && x->moment == moment &&
        !memcmp (x->value, v, (size_t) mugraph_volume (s) * sizeof *v))
      return t;
  }
  return -1;
}

space_value space_tensor_expr (enumeration *e, worker *w, int t) {
  if (t >= w->capacity) {
    int more = e->tensor_capacity > t ? e->tensor_capacity : t + 1;
    expr_id (*expr)[2] = realloc (w->expr, (size_t) more * sizeof *expr);
    if (expr) w->expr = expr;
    bool *known = realloc (w->known, (size_t) more * sizeof *known);
    if (known) w->known = known;
    if (!expr || !known) return (space_value){.count = 1};
    memset (known + w->capacity, 0, (size_t) (more - w->capacity) * sizeof *known);
    w->capacity = more;
  }
  const tensor *x = &e->tensor[t];
  if (w->known[t]) return (space_value){{w->expr[t][0], w->expr[t][1]}, x->count};
  space_value v = {.count = 1};
  if (x->input >= 0) {
    for (int p = 0; p < w->n_pools; p++) v.expr[p] = expr_input (w->pool[p], x->input);
  } else if (x->constant >= 0) {
    v = space_constant_expr (w, e->constant[x->constant]);
  } else if (x->n_producers) {
    const producer *p = &x->producer[0];
    const space *s = p->space >= 0 ? e->space[p->space] : NULL;
    int n = s ? p->node + 1 : 1;
    space_value *tile = calloc ((size_t) n, sizeof *tile);
    for (int i = 0; tile && i < n; i++) { /* first derivations read earlier nodes only */
      const node *k = s ? &s->node[i] : NULL;
      const derivation *d = k ? (k->first >= 0 ? &s->derivation[k->first] : NULL) : &p->op;
      if (!d) {
        tile[i] =
            k->tensor >= 0 ? space_tensor_expr (e, w, k->tensor) : space_constant_expr (w, e->constant[k->constant]);
        continue;
      }
      mugraph_op op = e->alphabet[d->letter].op;
      op.dim = d->dim;
      op.width = d->width_class ? e->w.size[d->width_class] : 0;
      space_value in[2];
      const mugraph_shape *shape[2];
      for (int j = 0; j < op.n_in; j++) {
        in[j] = s ? tile[d->in[j]] : space_tensor_expr (e, w, d->in[j]);
        shape[j] = s ? &s->node[d->in[j]].type.shape : &e->tensor[d->in[j]].shape;
      }
      tile[i] = space_expr (w, &e->alphabet[d->letter], &op, shape, in, s && s->config.loop ? WITNESS_EXTENT : 1,
                            s && s->node[d->in[0]].type.loops);
    }
    if (tile) v = tile[n - 1];
    free (tile);
  }
  memcpy (w->expr[t], v.expr, sizeof v.expr);
  w->known[t] = true;
  return v;
}

/* The program's own expressions, by the rules of space_expr. */
static void program_exprs (enumeration *e, worker *w, space_value value[MUGRAPH_TENSORS]) {
  const mugraph *g = &e->w.program;
  for (int t = 0; t < g->n_inputs; t++) {
    value[t] = (space_value){.count = 1};
    for (int p = 0; p < w->n_pools; p++) value[t].expr[p] = expr_input (w->pool[p], t);
  }
  for (int i = 0; i < g->n_ops; i++) {
    const mugraph_op *op = &g->op[i];
    const mugraph_shape *shape[MUGRAPH_FANIN];
    space_value in[MUGRAPH_FANIN];
    for (int k = 0; k < op->n_in; k++) shape[k] = &g->tensor[op->in[k]].shape, in[k] = value[op->in[k]];
    if (op->kind == MUGRAPH_OP_RMS_NORM && w->n_roots < 8) w->root[w->n_roots++] = shape[0]->dim[op->dim];
    value[op->out[0]] = op->kind == MUGRAPH_OP_CONST
                            ? space_constant_expr (w, op->c[0])
                            : space_expr (w, &(letter){.moment = false}, op, shape, in, 1, false);
  }
}

static bool make_pools (enumeration *e, worker *w) {
  const mugraph *g = &e->w.program;
  bool loose = expr_loose (g);
  int divisors = 0;
  for (int i = 0; i < g->n_ops; i++)
    divisors += g->op[i].kind == MUGRAPH_OP_DIV || g->op[i].kind == MUGRAPH_OP_RMS_NORM;
  /* where terms may cancel, quotients come in other ways too: exp (a - b) */
  for (int p = 0; p < (divisors && divisors <= MUGRAPH_OUTPUTS && !loose ? 2 : 1); p++) {
    if (!(w->pool[p] = expr_pool_new (loose))) return false;
    w->n_pools = p + 1;
    expr_configure (w->pool[p], e->opt.self_check, &w->stats);
    expr_share (w->pool[p], e->memo[p]);
  }
  space_value value[MUGRAPH_TENSORS];
  expr_id target[MUGRAPH_OUTPUTS];
  program_exprs (e, w, value);
  for (int k = 0; k < g->n_outputs; k++) target[k] = value[g->output[k]].expr[0];
  expr_set_targets (w->pool[0], g->n_outputs, target);
  if (w->n_pools == 1) return true;
  divisors = 0;
  for (int i = 0; i < g->n_ops; i++)
    if (g->op[i].kind == MUGRAPH_OP_DIV) target[divisors++] = value[g->op[i].in[1]].expr[1];
    else if (g->op[i].kind == MUGRAPH_OP_RMS_NORM)
      target[divisors++] =
          space_root_expr (w, &g->op[i], &g->tensor[g->op[i].in[0]].shape, value[g->op[i].in[0]].expr[1]);
  expr_set_targets (w->pool[1], divisors, target);
  return true;
}

/* Inputs, constants, and the outputs as what is to be reached. */
static bool seed_tensors (enumeration *e) {
  const mugraph *g = &e->w.program;
  const int n_tensors = g->n_tensors;
  residue *value[MUGRAPH_TENSORS] = {NULL};
  bool ok = true;
  for (int t = 0; t < n_tensors; t++) {
    int64_t n = mugraph_volume (&g->tensor[t].shape);
    value[t] = malloc ((size_t) n * sizeof **value);
    ok &= value[t] != NULL && space_account (e, (double) ((size_t) n * sizeof **value));
    if (ok && t < g->n_inputs) value_draw (e->seed, t, n, value[t]);
  }
  for (int i = 0; ok && i < g->n_ops; i++) {
    const mugraph_op *op = &g->op[i];
    const mugraph_shape *shape[MUGRAPH_FANIN];
    const residue *in[MUGRAPH_FANIN];
    for (int k = 0; k < op->n_in; k++) shape[k] = &g->tensor[op->in[k]].shape, in[k] = value[op->in[k]];
    value_of_op (op, e->seed, shape, in, &g->tensor[op->out[0]].shape, value[op->out[0]]);
  }
  int index[MUGRAPH_TENSORS];
  for (int t = 0; t < n_tensors; t++) index[t] = -1;
  for (int pass = 0; ok && pass < 2; pass++)
    for (int i = 0; i < (pass ? g->n_outputs : g->n_inputs); i++) {
      int t = pass ? g->output[i] : i;
      tensor x = {.shape = g->tensor[t].shape,
                  .input = (int16_t) (pass ? -1 : t),
                  .constant = -1,
                  .output = pass,
                  .value = value[t],
                  .turn = pass ? 0 : SPACE_TURN_MAY};
      if (pass) x.stage = UINT8_MAX, x.graphs = UINT8_MAX; /* not made yet */
      for (int d = 0; d < MUGRAPH_DIMS; d++) x.label[d] = e->w.label[t][d];
      if (index[t] < 0) {
        int found = pass ? find_tensor (e, &x.shape, x.label, 0, x.value) : -1;
        if (found < 0 && (found = add_tensor (e, &x)) >= 0) value[t] = NULL;
        index[t] = found;
      }
      ok &= index[t] >= 0;
      if (pass) e->output[e->n_outputs++] = (int16_t) index[t];
    }
  for (int i = 0; ok && i < e->n_constants; i++) {
    tensor x = {.shape = mugraph_shape_of (MUGRAPH_F32, 1, (int32_t[]){1}), .input = -1, .constant = (int16_t) i};
    mugraph_op op = {.kind = MUGRAPH_OP_CONST, .c = {e->constant[i]}};
    x.value = malloc (sizeof *x.value);
    if (x.value) value_of_op (&op, e->seed, NULL, NULL, &x.shape, x.value);
    ok = x.value && add_tensor (e, &x) >= 0;
    if (!ok) free (x.value);
  }
  for (int t = 0; t < n_tensors; t++) free (value[t]);
  return ok;
}

/* ---- pre-defined kernels ---- */

static bool plain (const tensor *x) {
  for (int d = 0; d < x->shape.n_dims; d++)
    if (x->label[d] & TILE_PARTS) return false;
  return true;
}

/* One pre-defined kernel on tensors a and b (-1: unary). */
static void try_kernel (enumeration *e, int l, int dim, int a, int b, int stage, bool last) {
  worker *w = &e->worker[0];
  const tensor *x[2] = {&e->tensor[a], b >= 0 ? &e->tensor[b] : NULL};
  tile_type type[2], out;
  const tile_type *types[2] = {&type[0], &type[1]};
  mugraph_op op = e->alphabet[l].op;
  uint8_t width_class;
  op.dim = (int8_t) dim;
  for (int k = 0; k < op.n_in; k++) {
    type[k] = (tile_type){.shape = x[k]->shape};
    memcpy (type[k].label, x[k]->label, sizeof type[k].label);
    type[k].moment = x[k]->moment;
  }
  if (op.kind == MUGRAPH_OP_DIV && e->alphabet[l].flat && (a == b || x[1]->quotient)) return;
  if (!tile_of_op (&e->w, &op, e->alphabet[l].moment, types, &out, &width_class)) return;
  uint8_t turn;
  if (!space_turn (e, op.kind, op.n_in, types, (const uint8_t[2]){x[0]->turn, b >= 0 ? x[1]->turn : 0}, false, &turn))
    return;
  w->stats.states++;
  if (last) { /* only the program's outputs are worth the evaluation */
    bool fits = false;
    for (int i = 0; i < e->n_outputs; i++) fits |= !memcmp (e->tensor[e->output[i]].label, out.label, sizeof out.label);
    if (!fits) return;
  }
  space_value in[2];
  const mugraph_shape *shape[2] = {&type[0].shape, &type[1].shape};
  for (int k = 0; k < op.n_in; k++) in[k] = space_tensor_expr (e, w, k ? b : a);
  if (e->alphabet[l].flat && (space_divides (w, &in[0]) || (op.kind == MUGRAPH_OP_MUL && space_divides (w, &in[1]))))
    return;
  space_value result = space_expr (w, &e->alphabet[l], &op, shape, in, 1, false);
  if (!space_may_stay (e, w, &e->alphabet[l], &result, op.kind == MUGRAPH_OP_DIV ? in[1].expr : NULL)) {
    w->stats.pruned++;
    return;
  }
  residue *v = malloc ((size_t) mugraph_volume (&out.shape) * sizeof *v);
  if (!v) return;
  const residue *values[2] = {x[0]->value, b >= 0 ? x[1]->value : NULL};
  value_of_op (&op, e->seed, shape, values, &out.shape, v);
  uint8_t graphs = x[0]->graphs;
  if (b >= 0 && x[1]->graphs > graphs) graphs = x[1]->graphs;
  int t = find_tensor (e, &out.shape, out.label, out.moment, v);
  if (t >= 0) {
    w->stats.duplicates++;
    free (v);
  } else if (last) {
    free (v);
    return;
  } else {
    tensor y = {.shape = out.shape,
                .value = v,
                .expr_hash = expr_hash (w->pool[0], result.expr[0]),
                .quotient = op.kind == MUGRAPH_OP_DIV,
                .stage = (uint8_t) stage,
                .graphs = graphs,
                .input = -1,
                .constant = -1,
                .moment = out.moment,
                .count = result.count,
                .turn = turn};
    memcpy (y.label, out.label, sizeof y.label);
    if ((t = add_tensor (e, &y)) < 0) {
      free (v);
      return;
    }
    space_account (e, (double) ((size_t) mugraph_volume (&out.shape) * sizeof *v));
  }
  tensor *y = &e->tensor[t];
  if (y->input >= 0 || y->constant >= 0 || t == a || t == b) return;
  if (y->stage > stage) y->stage = (uint8_t) stage;
  if (y->graphs > graphs) y->graphs = graphs;
  add_producer (
      e, t,
      &(producer){.space = -1,
                  .stage = (uint8_t) stage,
                  .op = {(uint8_t) l, (int8_t) dim, width_class, {(uint16_t) a, (uint16_t) (b >= 0 ? b : 0)}, -1}});
}

/* All pre-defined kernels on tensors of lower stages. */
static void try_kernels (enumeration *e, int stage, bool last) {
  int n = e->n_tensors;
  for (int i = 0; i < n && !space_poll (e, 0); i++) {
    if (e->tensor[i].stage >= stage) continue;
    for (int l = 0; l < e->n_letters; l++) {
      mugraph_op_kind kind = e->alphabet[l].op.kind;
      mugraph_class klass = mugraph_op_table[kind].klass;
      bool sums = klass == MUGRAPH_REDUCE && !plain (&e->tensor[i]) && !e->alphabet[l].moment;
      if (!(mugraph_op_table[kind].levels & MUGRAPH_KERNEL_LEVEL) || (!e->alphabet[l].kernel && !sums)) continue;
      if (e->alphabet[l].op.n_in == 1) {
        int dims = klass == MUGRAPH_REDUCE ? e->tensor[i].shape.n_dims : 1;
        for (int d = 0; d < dims; d++) try_kernel (e, l, klass == MUGRAPH_REDUCE ? d : -1, i, -1, stage, last);
        continue;
      }
      bool symmetric = kind == MUGRAPH_OP_ADD || kind == MUGRAPH_OP_MUL;
      int dims = kind == MUGRAPH_OP_CONCAT ? e->tensor[i].shape.n_dims : 1;
      for (int j = 0; j <= i; j++) {
        if (e->tensor[j].stage >= stage) continue;
        for (int d = 0; d < dims; d++) {
          int dim = kind == MUGRAPH_OP_CONCAT ? d : -1;
          try_kernel (e, l, dim, j, i, stage, last);
          if (!symmetric && i != j) try_kernel (e, l, dim, i, j, stage, last);
        }
      }
    }
  }
}

/* ---- configurations ---- */

typedef struct {
  tile_config *config;
  int n, capacity;
} configs;

static bool is_leaf_class (const enumeration *e, int stage, int c) {
  for (int t = 0; t < e->n_tensors; t++)
    for (int d = 0; d < MUGRAPH_DIMS; d++)
      if (e->tensor[t].stage < stage && e->tensor[t].label[d] == c) return true;
  return false;
}

static bool has_parts (const enumeration *e, int stage) {
  for (int t = 0; t < e->n_tensors; t++)
    if (e->tensor[t].stage < stage && !plain (&e->tensor[t])) return true;
  return false;
}

/* All sets of at most TILE_AXES classes, with each class that the loop may walk. */
static void add_configs (enumeration *e, configs *list, int stage, tile_config c, int from) {
  for (int loop = 0; loop <= TILE_LOOP_PARTS; loop++) {
    if (loop && loop < TILE_LOOP_PARTS &&
        (loop > e->w.n_classes || !e->w.reduced[loop] || e->w.fixed[loop] || !is_leaf_class (e, stage, loop)))
      continue;
    if (loop == TILE_LOOP_PARTS && !has_parts (e, stage)) continue;
    if (!grow (e, &list->config, &list->capacity, list->n, sizeof c)) return;
    list->config[list->n] = c;
    list->config[list->n++].loop = (uint8_t) loop;
  }
  if (c.n_axes == TILE_AXES) return;
  for (int k = from; k <= e->w.n_classes; k++) {
    if (e->w.fixed[k] || !is_leaf_class (e, stage, k)) continue;
    tile_config more = c;
    more.axis[more.n_axes++] = (uint8_t) k;
    add_configs (e, list, stage, more, k + 1);
  }
}

/* ---- stages ---- */

/* New tensors from what the spaces of this stage may save, in the order of the spaces. */
static void merge (enumeration *e, int from, int stage, bool last) {
  for (int k = from; k < e->n_spaces; k++) {
    space *s = e->space[k];
    for (int i = 0; i < s->n_nodes && !space_poll (e, 0); i++) {
      node *n = &s->node[i];
      if (n->first < 0 || n->tensor >= 0 || n->constant >= 0) continue;
      tensor y = {.stage = (uint8_t) stage,
                  .input = -1,
                  .constant = -1,
                  .expr_hash = n->expr_hash,
                  .moment = n->type.moment,
                  .count = n->count,
                  .turn = n->turn & SPACE_TURN_USED};
      y.quotient = e->alphabet[s->derivation[n->first].letter].op.kind == MUGRAPH_OP_DIV;
      int8_t omap[TILE_AXES];
      if (!tile_saved (&e->w, &s->config, &n->type, &y.shape, y.label, omap)) continue;
      if (n->saved < 0 && last) continue;
      int t = n->saved;
      if (t < 0) {
        int64_t volume = mugraph_volume (&y.shape);
        y.value = malloc ((size_t) volume * sizeof *y.value);
        if (!y.value || !space_evaluate (e, &e->worker[0], s, i, &y.shape, y.value)) {
          free (y.value);
          continue;
        }
        t = find_tensor (e, &y.shape, y.label, y.moment, y.value);
        y.graphs = UINT8_MAX;
        int known = t;
        if (t < 0 && space_account (e, (double) ((size_t) volume * sizeof *y.value))) t = add_tensor (e, &y);
        if (t < 0 || t == known) free (y.value); /* else the tensor has it */
      }
      if (t < 0 || e->tensor[t].input >= 0 || e->tensor[t].constant >= 0) continue;
      n->saved = (int16_t) t;
      if (e->tensor[t].stage > stage) e->tensor[t].stage = (uint8_t) stage;
      /* graphs before it: one more than before what it reads, at least */
      uint8_t graphs = 1;
      if (e->tensor[t].graphs > graphs) e->tensor[t].graphs = graphs;
      add_producer (e, t, &(producer){.space = k, .node = (uint16_t) i, .stage = (uint8_t) stage});
    }
    space_drop_values (e, s);
  }
}

static bool explore_stage (enumeration *e, int stage, bool last) {
  configs list = {0};
  add_configs (e, &list, stage, (tile_config){0}, 1);
  int from = e->n_spaces;
  for (int i = 0; i < list.n; i++) {
    if (!grow (e, &e->space, &e->space_capacity, e->n_spaces, sizeof *e->space)) break;
    e->space[e->n_spaces++] = NULL;
  }
  int n = e->n_spaces - from;
#pragma omp parallel for schedule(dynamic, 1) num_threads(e->n_threads)
  for (int i = 0; i < n; i++) {
    int me = omp_get_thread_num ();
    if (!space_poll (e, me)) e->space[from + i] = space_close (e, me, &list.config[i], stage, last);
  }
  free (list.config);
  int kept = from;
  for (int i = from; i < e->n_spaces; i++) {
    space *s = e->space[i];
    bool useful = s != NULL;
    if (s && last) {
      useful = false;
      for (int k = 0; k < s->n_nodes; k++) useful |= s->node[k].saved >= 0;
    }
    if (useful) e->space[kept++] = s;
    else space_free (e, s);
  }
  e->n_spaces = kept;
  try_kernels (e, stage, last);
  merge (e, from, stage, last);
  return !e->halted;
}

enumeration *enumerate (const mugraph *program, const witness *w, const search_options *opt, int threads,
                        const volatile int *stop, double deadline, search_progress progress, void *user) {
  enumeration *e = calloc (1, sizeof *e);
  if (!e) return NULL;
  e->w = *w;
  e->real = *program;
  e->opt = *opt;
  e->seed = (uint64_t) opt->seed;
  e->stop = stop;
  e->start = now ();
  e->deadline = deadline;
  e->progress = progress;
  e->user = user;
  e->n_threads = threads < 1 ? 1 : threads;
  omp_init_lock (&e->lock);
  e->worker = calloc ((size_t) e->n_threads, sizeof *e->worker);
  e->published = calloc ((size_t) e->n_threads, sizeof *e->published);
  bool ok = e->worker && e->published;
  for (int p = 0; p < 2; p++) e->memo[p] = expr_memo_new ();
  for (int i = 0; ok && i < e->n_threads; i++) {
    worker *x = &e->worker[i];
    x->table = malloc (2 * SPACE_NODES * sizeof *x->table);
    ok = x->table && make_pools (e, x);
  }
  if (ok) make_alphabet (e);
  ok = ok && verify_fingerprint (&e->w.program, e->seed, e->fingerprint) && seed_tensors (e);
  if (!ok) return enumeration_free (e), NULL;
  for (int stage = 1; stage <= opt->kernel_ops; stage++)
    if (!explore_stage (e, stage, stage == opt->kernel_ops)) break;
  space_extract (e);
  for (int i = 0; i < e->n_threads; i++) add_stats (&e->total, &e->worker[i].stats);
  e->total.structures = (uint64_t) e->n_structures;
  return e;
}

void enumeration_free (enumeration *e) {
  if (!e) return;
  for (int i = 0; i < e->n_spaces; i++) space_free (e, e->space[i]);
  for (int t = 0; t < e->n_tensors; t++) free (e->tensor[t].value), free (e->tensor[t].producer);
  for (int i = 0; i < e->n_lists; i++) free (e->list[i].plan);
  for (int i = 0; e->worker && i < e->n_threads; i++) {
    worker *w = &e->worker[i];
    for (int p = 0; p < w->n_pools; p++) expr_pool_free (w->pool[p]);
    free (w->expr), free (w->known), free (w->table), free (w->scratch);
  }
  for (int p = 0; p < 2; p++) expr_memo_free (e->memo[p]);
  free (e->worker), free (e->published), free (e->tensor), free (e->space), free (e->list), free (e->structure);
  omp_destroy_lock (&e->lock);
  free (e);
}

const search_stats *enumeration_stats (const enumeration *e) { return &e->total; }
bool enumeration_finished (const enumeration *e) { return !e->halted && !e->cut; }
double enumeration_bytes (const enumeration *e) { return e->peak; }
int enumeration_size (const enumeration *e) { return e->n_structures; }
uint64_t enumeration_hash (const enumeration *e, int i) { return e->structure[i].hash; }
