/* Judging a given µGraph: see judge.h. */
#include "judge.h"
#include "exprs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the smallest extents ---- */

static int32_t smallest_divisor (int32_t n) {
  for (int32_t f = 2; f <= n / f; f++)
    if (n % f == 0) return f;
  return n;
}

/* The elements that an axis (3: the loop, after the grid) of the kernel splits, from its iterators; 1: none. */
static int32_t elements_of (const mugraph *g, const mugraph_op *kernel, int axis) {
  const mugraph_block *b = &g->block[kernel->block];
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *o = &b->op[i];
    int d = axis < 3 ? o->map[axis] : o->fmap;
    if (o->kind != MUGRAPH_OP_INPUT || d < 0) continue;
    int32_t size = g->tensor[kernel->in[o->in[0]]].shape.dim[d];
    for (int a = 0; axis == 3 && a < 3; a++)
      if (o->map[a] == d) size /= b->grid[a];
    return size;
  }
  return 1;
}

/* Extents above 1 become the smallest ones, kernel by kernel, as the extents of one change the shapes that others read.
   False, with the graph as it was, when the tiles do not allow it. */
static bool make_small (mugraph *g) {
  mugraph *was = malloc (sizeof *was);
  bool ok = was != NULL;
  if (ok) *was = *g;
  for (int k = 0; ok && k < g->n_ops; k++) {
    if (g->op[k].kind != MUGRAPH_OP_CUSTOM) continue;
    mugraph_block *b = &g->block[g->op[k].block];
    for (int a = 0; a < 3; a++)
      if (b->grid[a] > 1) b->grid[a] = smallest_divisor (elements_of (g, &g->op[k], a));
    if (b->loop > 1) b->loop = smallest_divisor (elements_of (g, &g->op[k], 3));
    ok = mugraph_infer (g, NULL);
  }
  if (was && !ok) *g = *was;
  free (was);
  return ok;
}

/* ---- letters ---- */

/* Marks squares and means that only make a root mean square: a sqrt of means of squares. */
static void mark_moments (const mugraph_op op[], int n, bool moment[]) {
  memset (moment, 0, (size_t) n * sizeof *moment);
  for (int i = 0; i < n; i++) {
    if (op[i].kind != MUGRAPH_OP_SQRT) continue;
    int at = op[i].in[0], means = 0;
    while (op[at].kind == MUGRAPH_OP_MEAN || op[at].kind == MUGRAPH_OP_ACCUM_MEAN) at = op[at].in[0], means++;
    if (!means || op[at].kind != MUGRAPH_OP_SQUARE) continue;
    moment[i] = moment[at] = true;
    for (int m = op[i].in[0]; m != at; m = op[m].in[0]) moment[m] = true;
  }
}

static const letter *find_letter (const alphabet *a, const mugraph_op *op, bool moment) {
  for (int i = 0; i < a->n_letters; i++) {
    const letter *l = &a->letter[i];
    if (l->op.kind == op->kind && l->op.c[0] == op->c[0] && l->op.c[1] == op->c[1] && l->moment == moment) return l;
  }
  return NULL;
}

/* ---- judging ---- */

typedef struct {
  const mugraph *g;
  alphabet alphabet;
  exprs exprs;
  bool prune;
  judgement *out;
  exprs_value value[MUGRAPH_TENSORS];
} judge;

static void tell (judge *j, int pool, expr_id e) {
  char one[JUDGE_TEXT];
  size_t used = 0;
  expr_text (j->exprs.pool[pool], e, j->out->expression, JUDGE_TEXT);
  j->out->target[0] = 0;
  for (int t = 0; expr_target_at (j->exprs.pool[pool], t) && used < JUDGE_TEXT; t++) {
    expr_text (j->exprs.pool[pool], expr_target_at (j->exprs.pool[pool], t), one, sizeof one);
    used += (size_t) snprintf (j->out->target + used, JUDGE_TEXT - used, "%s%s", t ? " ; " : "", one);
  }
}

static void tell_pruned (judge *j, const exprs_value in[], const exprs_value *result) {
  j->out->verdict = JUDGE_PRUNED;
  j->out->divisor = exprs_divisor_is_why (&j->exprs, result);
  if (j->out->divisor) tell (j, 1, in[1].expr[1]);
  else tell (j, 0, result->count ? result->expr[0] : in[0].expr[0]);
}

/* The operator's result; false when it is not to be made. */
static bool judge_op (judge *j, const mugraph_op *op, bool moment, const mugraph_shape *const shape[],
                      const exprs_value in[], int32_t loop, bool varies, exprs_value *result) {
  const letter *l = find_letter (&j->alphabet, op, moment);
  if (!l && moment) l = find_letter (&j->alphabet, op, false);
  if (!l) return j->out->verdict = JUDGE_NO_LETTER, false;
  switch (exprs_judge (&j->exprs, l, op, shape, in, loop, varies, j->prune, result)) {
  case EXPRS_STAYS: return true;
  case EXPRS_USES_DIVISOR: return j->out->verdict = JUDGE_USES_DIVISOR, false;
  case EXPRS_PRUNED: tell_pruned (j, in, result);
  }
  return false;
}

static bool judge_block (judge *j, const mugraph_op *kernel) {
  const mugraph_block *b = &j->g->block[kernel->block];
  exprs_value tile[MUGRAPH_BLOCK_OPS];
  bool varies[MUGRAPH_BLOCK_OPS], moment[MUGRAPH_BLOCK_OPS];
  mark_moments (b->op, b->n_ops, moment);
  for (int i = 0, saved = 0; i < b->n_ops; i++) {
    const mugraph_op *op = &b->op[i];
    const mugraph_shape *shape[MUGRAPH_FANIN];
    exprs_value in[MUGRAPH_FANIN];
    varies[i] = op->kind == MUGRAPH_OP_INPUT && op->fmap >= 0 && b->loop > 1;
    for (int k = 0; k < op->n_in && op->kind != MUGRAPH_OP_INPUT; k++) {
      shape[k] = &b->op[op->in[k]].shape, in[k] = tile[op->in[k]];
      varies[i] |= varies[op->in[k]];
    }
    j->out->op = i;
    if (op->kind == MUGRAPH_OP_INPUT) tile[i] = j->value[kernel->in[op->in[0]]];
    else if (op->kind == MUGRAPH_OP_CONST) tile[i] = exprs_of_constant (&j->exprs, op->c[0]);
    else if (op->kind == MUGRAPH_OP_OUTPUT) tile[i] = j->value[kernel->out[saved++]] = in[0];
    else if (!judge_op (j, op, moment[i], shape, in, b->loop, varies[i], &tile[i])) return false;
    if (mugraph_op_table[op->kind].klass == MUGRAPH_ACCUM) varies[i] = false;
  }
  return true;
}

static bool judge_kernel (judge *j, int k) {
  const mugraph_op *op = &j->g->op[k];
  const mugraph_shape *shape[MUGRAPH_FANIN];
  exprs_value in[MUGRAPH_FANIN];
  j->out->kernel = op->kind == MUGRAPH_OP_CUSTOM ? k : -1;
  j->out->op = k;
  if (op->kind == MUGRAPH_OP_CUSTOM) return judge_block (j, op);
  for (int i = 0; i < op->n_in; i++) shape[i] = &j->g->tensor[op->in[i]].shape, in[i] = j->value[op->in[i]];
  if (op->kind != MUGRAPH_OP_CONST) return judge_op (j, op, false, shape, in, 1, false, &j->value[op->out[0]]);
  j->value[op->out[0]] = exprs_of_constant (&j->exprs, op->c[0]);
  return true;
}

bool judge_graph (const mugraph *program, const mugraph *g, const search_options *options, judgement *out) {
  judge *j = calloc (1, sizeof *j);
  mugraph *small = malloc (sizeof *small);
  search_stats stats = {0};
  bool ok = j && small;
  if (ok) {
    *small = *g;
    make_small (small);
    *out = (judgement){.verdict = JUDGE_STAYS};
    j->g = small, j->out = out, j->prune = options->prune;
    alphabet_make (program, &j->alphabet);
    ok = exprs_start (&j->exprs, program, false, NULL, &stats);
  }
  if (ok) {
    bool stays = true;
    for (int t = 0; t < g->n_inputs; t++) j->value[t] = exprs_of_input (&j->exprs, t);
    for (int k = 0; k < g->n_ops && stays; k++) stays = judge_kernel (j, k);
  }
  if (j) exprs_end (&j->exprs);
  free (j), free (small);
  return ok;
}
