/* Pre-defined kernels: see predefined.h. */
#include "predefined.h"
#include "tensors.h"
#include "turn.h"

#include <stdlib.h>
#include <string.h>

/* One operator on tensors a and b (-1: unary), and what becomes of it. */
typedef struct {
  const letter *letter;
  mugraph_op op;
  int a, b;
  derivation derivation;
  tile_type in_type[2], type;
  tensor result; /* without values and producers */
} attempt;

static tile_type type_of (const tensor *x) {
  tile_type t = {.shape = x->shape, .moment = x->moment};
  memcpy (t.label, x->label, sizeof t.label);
  return t;
}

/* Whether some output of the program has these labels: only then is the last layer's result worth its evaluation. */
static bool may_be_output (const enumeration *e, const tile_type *t) {
  for (int i = 0; i < e->n_outputs; i++)
    if (!memcmp (e->tensor[e->output[i]].label, t->label, sizeof t->label)) return true;
  return false;
}

/* Whether the rules of meaning allow it: fills its types and flags. */
static bool has_meaning (enumeration *e, attempt *x) {
  const tensor *in[2] = {&e->tensor[x->a], x->b >= 0 ? &e->tensor[x->b] : NULL};
  const tile_type *types[2] = {&x->in_type[0], &x->in_type[1]};
  for (int k = 0; k < x->op.n_in; k++) x->in_type[k] = type_of (in[k]);
  if (x->op.kind == MUGRAPH_OP_DIV && x->letter->flat && (x->a == x->b || in[1]->quotient)) return false;
  if (!tile_of_op (&e->w, &x->op, x->letter->moment, types, &x->type, &x->derivation.width_class)) return false;
  const uint8_t turn[2] = {in[0]->turn, in[1] ? in[1]->turn : 0};
  return turn_of_op (x->op.kind, x->op.n_in, types, turn, false, e->opt.all_transposes, &x->result.turn);
}

/* Whether its expression lets it stay. */
static bool is_wanted (enumeration *e, const attempt *x) {
  worker *w = &e->worker[0];
  exprs_value in[2], result;
  const mugraph_shape *shape[2] = {&x->in_type[0].shape, &x->in_type[1].shape};
  for (int k = 0; k < x->op.n_in; k++) in[k] = tensors_expr (e, w, k ? x->b : x->a);
  exprs_verdict verdict = exprs_judge (&w->exprs, x->letter, &x->op, shape, in, 1, false, e->opt.prune, &result);
  w->stats.pruned += verdict == EXPRS_PRUNED;
  return verdict == EXPRS_STAYS;
}

/* The tensor with these values, a new one unless it is the last layer. Takes v. -1: none. */
static int file (enumeration *e, attempt *x, residue *v, bool last) {
  int t = tensors_find (e, &x->type.shape, x->type.label, x->type.moment, v);
  if (t >= 0) e->worker[0].stats.duplicates++;
  if (t >= 0 || last) return free (v), t;
  x->result.value = v;
  if ((t = tensors_add (e, &x->result)) < 0) return free (v), -1;
  budget_account (&e->budget, (double) ((size_t) mugraph_volume (&x->type.shape) * sizeof *v));
  return t;
}

static residue *evaluate (const enumeration *e, const attempt *x) {
  residue *v = malloc ((size_t) mugraph_volume (&x->type.shape) * sizeof *v);
  const mugraph_shape *shape[2] = {&x->in_type[0].shape, &x->in_type[1].shape};
  const residue *in[2] = {e->tensor[x->a].value, x->b >= 0 ? e->tensor[x->b].value : NULL};
  if (v) value_of_op (&x->op, e->seed, shape, in, &x->type.shape, v);
  return v;
}

static void try_kernel (enumeration *e, int l, int dim, int a, int b, int layer, bool last) {
  const letter *to = &e->alphabet.letter[l];
  attempt x = {.letter = to,
               .op = to->op,
               .a = a,
               .b = b,
               .derivation = {(uint8_t) l, (int8_t) dim, 0, {(uint16_t) a, (uint16_t) (b >= 0 ? b : 0)}, -1}};
  x.op.dim = (int8_t) dim;
  if (!has_meaning (e, &x)) return;
  e->worker[0].stats.states++;
  if (last && !may_be_output (e, &x.type)) return;
  if (!is_wanted (e, &x)) return;
  residue *v = evaluate (e, &x);
  if (!v) return;
  uint8_t graphs = e->tensor[a].graphs;
  if (b >= 0 && e->tensor[b].graphs > graphs) graphs = e->tensor[b].graphs;
  x.result.shape = x.type.shape;
  memcpy (x.result.label, x.type.label, sizeof x.result.label);
  x.result.quotient = x.op.kind == MUGRAPH_OP_DIV;
  x.result.layer = (uint8_t) layer, x.result.graphs = graphs;
  x.result.input = x.result.constant = -1;
  x.result.moment = x.type.moment;
  int t = file (e, &x, v, last);
  if (t < 0 || e->tensor[t].input >= 0 || e->tensor[t].constant >= 0 || t == a || t == b) return;
  tensor *y = &e->tensor[t];
  if (y->layer > layer) y->layer = (uint8_t) layer;
  if (y->graphs > graphs) y->graphs = graphs;
  tensors_add_producer (e, t, &(producer){.space = -1, .layer = (uint8_t) layer, .op = x.derivation});
}

/* Letters that the program has, and those that sum partial sums of this tensor. */
static bool may_be_kernel (const letter *l, const tensor *x) {
  const mugraph_op_info *info = &mugraph_op_table[l->op.kind];
  bool sums = info->klass == MUGRAPH_REDUCE && !tensors_is_whole (x) && !l->moment;
  return info->levels & MUGRAPH_KERNEL_LEVEL && (l->kernel || sums);
}

static void try_letter (enumeration *e, int l, int i, int layer, bool last) {
  const letter *x = &e->alphabet.letter[l];
  bool has_dim = alphabet_has_dim (x), commutes = alphabet_commutes (x);
  int dims = has_dim ? e->tensor[i].shape.n_dims : 1;
  if (x->op.n_in == 1) {
    for (int d = 0; d < dims; d++) try_kernel (e, l, has_dim ? d : -1, i, -1, layer, last);
    return;
  }
  for (int j = 0; j <= i; j++) {
    if (e->tensor[j].layer >= layer) continue;
    for (int d = 0; d < dims; d++) {
      try_kernel (e, l, has_dim ? d : -1, j, i, layer, last);
      if (!commutes && i != j) try_kernel (e, l, has_dim ? d : -1, i, j, layer, last);
    }
  }
}

void predefined_try (enumeration *e, int layer, bool last) {
  int n = e->n_tensors;
  for (int i = 0; i < n && !enumeration_poll (e, 0); i++) {
    if (e->tensor[i].layer >= layer) continue;
    for (int l = 0; l < e->alphabet.n_letters; l++)
      if (may_be_kernel (&e->alphabet.letter[l], &e->tensor[i])) try_letter (e, l, i, layer, last);
  }
}
