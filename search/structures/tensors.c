/* The tensors of the kernel graph: see tensors.h. */
#include "tensors.h"
#include "turn.h"

#include <stdlib.h>
#include <string.h>

int tensors_add (enumeration *e, const tensor *t) {
  if (e->n_tensors >= SPACE_TENSORS) return budget_cut (&e->budget), -1;
  if (!budget_grow (&e->budget, &e->tensor, &e->tensor_capacity, e->n_tensors, sizeof *t)) return -1;
  e->tensor[e->n_tensors] = *t;
  return e->n_tensors++;
}

void tensors_add_producer (enumeration *e, int t, const producer *p) {
  tensor *x = &e->tensor[t];
  if (!budget_grow (&e->budget, &x->producer, &x->capacity, x->n_producers, sizeof *p)) return;
  x->producer[x->n_producers++] = *p;
}

int tensors_find (const enumeration *e, const mugraph_shape *s, const uint16_t label[MUGRAPH_DIMS], int moment,
                  const residue *v) {
  for (int t = 0; t < e->n_tensors; t++) {
    const tensor *x = &e->tensor[t];
    if (mugraph_same_shape (&x->shape, s) && !memcmp (x->label, label, sizeof x->label) && x->moment == moment &&
        !memcmp (x->value, v, (size_t) mugraph_volume (s) * sizeof *v))
      return t;
  }
  return -1;
}

bool tensors_is_whole (const tensor *x) {
  for (int d = 0; d < x->shape.n_dims; d++)
    if (x->label[d] & TILE_PARTS) return false;
  return true;
}

/* ---- expressions ---- */

static bool make_room (const enumeration *e, worker *w, int t) {
  if (t < w->capacity) return true;
  int more = e->tensor_capacity > t ? e->tensor_capacity : t + 1;
  exprs_value *expr = realloc (w->expr, (size_t) more * sizeof *expr);
  if (expr) w->expr = expr;
  bool *known = realloc (w->known, (size_t) more * sizeof *known);
  if (known) w->known = known;
  if (!expr || !known) return false;
  memset (known + w->capacity, 0, (size_t) (more - w->capacity) * sizeof *known);
  w->capacity = more;
  return true;
}

static exprs_value of_kernel (enumeration *e, worker *w, const derivation *d) {
  mugraph_op op = enumeration_op (e, d);
  exprs_value in[2];
  const mugraph_shape *shape[2];
  for (int k = 0; k < op.n_in; k++) in[k] = tensors_expr (e, w, d->in[k]), shape[k] = &e->tensor[d->in[k]].shape;
  return exprs_of_op (&w->exprs, &e->alphabet.letter[d->letter], &op, shape, in, 1, false);
}

static exprs_value of_tile (enumeration *e, worker *w, const space *s, const node *n, const exprs_value tile[]) {
  if (n->first < 0)
    return n->tensor >= 0 ? tensors_expr (e, w, n->tensor)
                          : exprs_of_constant (&w->exprs, e->alphabet.constant[n->constant]);
  const derivation *d = &s->derivation[n->first];
  mugraph_op op = enumeration_op (e, d);
  exprs_value in[2];
  const mugraph_shape *shape[2];
  for (int k = 0; k < op.n_in; k++) in[k] = tile[d->in[k]], shape[k] = &s->node[d->in[k]].type.shape;
  return exprs_of_op (&w->exprs, &e->alphabet.letter[d->letter], &op, shape, in, s->config.loop ? WITNESS_EXTENT : 1,
                      s->node[d->in[0]].type.loops);
}

/* Of the tile that a graph-defined kernel saves: from its leaves on, as first derivations read earlier nodes only. */
static exprs_value of_saved (enumeration *e, worker *w, const space *s, int saved) {
  exprs_value out = {.count = 1}, *tile = calloc ((size_t) saved + 1, sizeof *tile);
  for (int i = 0; tile && i <= saved; i++) tile[i] = of_tile (e, w, s, &s->node[i], tile);
  if (tile) out = tile[saved];
  free (tile);
  return out;
}

exprs_value tensors_expr (enumeration *e, worker *w, int t) {
  if (!make_room (e, w, t)) return (exprs_value){.count = 1};
  const tensor *x = &e->tensor[t];
  if (w->known[t]) return w->expr[t];
  exprs_value v = {.count = 1};
  if (x->input >= 0) v = exprs_of_input (&w->exprs, x->input);
  else if (x->constant >= 0) v = exprs_of_constant (&w->exprs, e->alphabet.constant[x->constant]);
  else if (x->n_producers) {
    const producer *p = &x->producer[0];
    v = p->space >= 0 ? of_saved (e, w, e->space[p->space], p->node) : of_kernel (e, w, &p->op);
  }
  w->known[t] = true;
  return w->expr[t] = v;
}

/* ---- the first tensors ---- */

/* The values of all tensors of the program, in arrays of their own. */
static bool evaluate_program (enumeration *e, residue *value[MUGRAPH_TENSORS]) {
  const mugraph *g = &e->w.program;
  for (int t = 0; t < g->n_tensors; t++) {
    int64_t n = mugraph_volume (&g->tensor[t].shape);
    value[t] = malloc ((size_t) n * sizeof **value);
    if (!value[t] || !budget_account (&e->budget, (double) ((size_t) n * sizeof **value))) return false;
    if (t < g->n_inputs) value_draw (e->seed, t, n, value[t]);
  }
  for (int i = 0; i < g->n_ops; i++) {
    const mugraph_op *op = &g->op[i];
    const mugraph_shape *shape[MUGRAPH_FANIN];
    const residue *in[MUGRAPH_FANIN];
    for (int k = 0; k < op->n_in; k++) shape[k] = &g->tensor[op->in[k]].shape, in[k] = value[op->in[k]];
    value_of_op (op, e->seed, shape, in, &g->tensor[op->out[0]].shape, value[op->out[0]]);
  }
  return true;
}

/* Tensor t of the program, which takes its values; of outputs with equal values one stands for all. Returns its number
   or -1. */
static int add_of_program (enumeration *e, int t, bool output, residue *value[]) {
  tensor x = {.shape = e->w.program.tensor[t].shape,
              .input = (int16_t) (output ? -1 : t),
              .constant = -1,
              .output = output,
              .value = value[t],
              .turn = output ? 0 : TURN_MAY};
  if (output) x.layer = UINT8_MAX, x.graphs = UINT8_MAX; /* not made yet */
  for (int d = 0; d < MUGRAPH_DIMS; d++) x.label[d] = e->w.label[t][d];
  int found = output ? tensors_find (e, &x.shape, x.label, 0, x.value) : -1;
  if (found < 0 && (found = tensors_add (e, &x)) >= 0) value[t] = NULL;
  return found;
}

static bool add_inputs_and_outputs (enumeration *e, residue *value[]) {
  const mugraph *g = &e->w.program;
  int index[MUGRAPH_TENSORS];
  for (int t = 0; t < g->n_tensors; t++) index[t] = -1;
  for (int t = 0; t < g->n_inputs; t++)
    if ((index[t] = add_of_program (e, t, false, value)) < 0) return false;
  for (int i = 0; i < g->n_outputs; i++) {
    int t = g->output[i];
    if (index[t] < 0) index[t] = add_of_program (e, t, true, value);
    if (index[t] < 0) return false;
    e->output[e->n_outputs++] = (int16_t) index[t];
  }
  return true;
}

static bool add_constants (enumeration *e) {
  for (int i = 0; i < e->alphabet.n_constants; i++) {
    tensor x = {.shape = mugraph_shape_of (MUGRAPH_F32, 1, (int32_t[]){1}), .input = -1, .constant = (int16_t) i};
    mugraph_op op = {.kind = MUGRAPH_OP_CONST, .c = {e->alphabet.constant[i]}};
    if (!(x.value = malloc (sizeof *x.value))) return false;
    value_of_op (&op, e->seed, NULL, NULL, &x.shape, x.value);
    if (tensors_add (e, &x) < 0) return free (x.value), false;
  }
  return true;
}

bool tensors_start (enumeration *e) {
  residue *value[MUGRAPH_TENSORS] = {NULL};
  bool ok = evaluate_program (e, value) && add_inputs_and_outputs (e, value) && add_constants (e);
  for (int t = 0; t < MUGRAPH_TENSORS; t++) free (value[t]);
  return ok;
}
