/* Explanations: see explain.h. */
#include "explain.h"
#include "search/schedules/schedule.h"
#include "search/structures/budget.h"
#include "search/structures/canonical.h"
#include "search/structures/enumerate.h"
#include "search/structures/fuse.h"
#include "search/structures/judge.h"
#include "search/structures/typecheck.h"
#include "select.h"

#include <math.h>
#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sets the outcome and its reason. */
__attribute__ ((format (printf, 3, 4))) static void conclude (explanation *x, explain_outcome outcome,
                                                              const char *format, ...) {
  va_list args;
  va_start (args, format);
  vsnprintf (x->reason, sizeof x->reason, format, args);
  va_end (args);
  x->outcome = outcome;
}

/* ---- do the two belong together ---- */

static bool same_interface (const mugraph *program, const mugraph *g, mugraph_error *e) {
  if (program->n_inputs != g->n_inputs || program->n_outputs != g->n_outputs)
    return mugraph_fail (e, "explain: the program has %d inputs and %d outputs, the µGraph %d and %d",
                         program->n_inputs, program->n_outputs, g->n_inputs, g->n_outputs);
  for (int t = 0; t < g->n_inputs; t++)
    if (!mugraph_same_shape (&program->tensor[t].shape, &g->tensor[t].shape))
      return mugraph_fail (e, "explain: input %d has other shapes in the program and in the µGraph", t);
  return true;
}

/* ---- bounds ---- */

static bool is_work (const mugraph_op *op) {
  mugraph_class klass = mugraph_op_table[op->kind].klass;
  return klass != MUGRAPH_LEAF && klass != MUGRAPH_SAVER;
}

static int count_work (const mugraph_op op[], int n) {
  int work = 0;
  for (int i = 0; i < n; i++) work += is_work (&op[i]);
  return work;
}

/* Whether a bound lets it pass; otherwise the bound is the answer. */
static bool within (explanation *x, const char *option, int needs, int has, const char *what) {
  if (needs <= has) return true;
  x->option = option, x->needs = needs, x->has = has;
  conclude (x, EXPLAIN_BOUND, "it has %d %s and the search allows %d", needs, what, has);
  return false;
}

static bool within_bounds (const mugraph *g, const search_options *o, explanation *x) {
  if (!within (x, "kernel_ops", count_work (g->op, g->n_ops), o->kernel_ops, "operators in the kernel graph") ||
      !within (x, "graphs", g->n_blocks, o->graphs, "graph-defined kernels"))
    return false;
  for (int b = 0; b < g->n_blocks; b++)
    if (!within (x, "block_ops", count_work (g->block[b].op, g->block[b].n_ops), o->block_ops,
                 "operators in one block graph"))
      return false;
  return true;
}

/* ---- operators and prunes ---- */

/* Names the operator that the answer is about. */
static const char *point_at (explanation *x, const mugraph *g, int kernel, int op) {
  const mugraph_op *o = kernel >= 0 ? &g->block[g->op[kernel].block].op[op] : &g->op[op];
  const char *name = mugraph_op_table[o->kind].text;
  x->kernel = kernel, x->op = op;
  if (kernel >= 0) snprintf (x->place, sizeof x->place, "operator %d (%s) of kernel %d", op, name, kernel);
  else snprintf (x->place, sizeof x->place, "kernel %d (%s)", op, name);
  return name;
}

static bool passes_judgement (const mugraph *program, const mugraph *g, const search_options *o, explanation *x,
                              bool *memory) {
  judgement *j = malloc (sizeof *j);
  *memory = j && judge_graph (program, g, o, j);
  bool stays = *memory && j->verdict == JUDGE_STAYS;
  if (*memory && !stays) {
    const char *name = point_at (x, g, j->kernel, j->op);
    snprintf (x->expression, sizeof x->expression, "%s", j->expression);
    snprintf (x->target, sizeof x->target, "%s", j->target);
    if (j->verdict == JUDGE_NO_LETTER)
      conclude (x, EXPLAIN_ALPHABET, "a search of this program uses no %s: %s", name, x->place);
    else if (j->verdict == JUDGE_USES_DIVISOR)
      conclude (x, EXPLAIN_LEFT_OUT, "%s multiplies or divides what the program only divides by", x->place);
    else if (j->divisor)
      conclude (x, EXPLAIN_PRUNED,
                "%s is pruned, as it divides by %.300s, which is a part of no divisor of the program", x->place,
                x->expression);
    else
      conclude (x, EXPLAIN_PRUNED, "%s is pruned, as its expression %.300s can be a part of no output of the program",
                x->place, x->expression);
  }
  free (j);
  return stays;
}

/* ---- the search ---- */

/* What a µGraph is compared by: its canonical hash, and a cheap test before that. */
typedef struct {
  uint64_t hash, kinds;
  int n_blocks;
} wanted;

/* The same for a block graph with and without its loop. */
static uint64_t weight_of (mugraph_op_kind kind) {
  if (kind == MUGRAPH_OP_ACCUM_SUM) kind = MUGRAPH_OP_SUM;
  if (kind == MUGRAPH_OP_ACCUM_MEAN) kind = MUGRAPH_OP_MEAN;
  if (kind == MUGRAPH_OP_ACCUM_SUM_TO) kind = MUGRAPH_OP_SUM_TO;
  return kind == MUGRAPH_OP_ACCUM ? 0 : 0x9e3779b97f4a7c15ull * (uint64_t) (kind * kind + 1);
}

/* A sum over all operators, in whatever order. */
static uint64_t kinds_of (const mugraph *g) {
  uint64_t sum = 0;
  for (int k = 0; k < g->n_ops; k++)
    if (is_work (&g->op[k])) sum += weight_of (g->op[k].kind);
  for (int b = 0; b < g->n_blocks; b++)
    for (int i = 0; i < g->block[b].n_ops; i++)
      if (is_work (&g->block[b].op[i])) sum += weight_of (g->block[b].op[i].kind);
  return sum;
}

static bool is_wanted (void *user, const mugraph *g) {
  return canonical_hash (g, true) == ((const wanted *) user)->hash;
}

static bool stands_for (const mugraph *structure, wanted *w) {
  return structure->n_blocks == w->n_blocks && kinds_of (structure) == w->kinds &&
         canonical_each_schedule (structure, is_wanted, w);
}

/* The structure of the enumeration that stands for it, or -1. */
static int find_structure (const enumeration *e, wanted *w, mugraph *room) {
  for (int i = 0; i < enumeration_size (e); i++)
    if (enumeration_graph (e, i, false, room, NULL) && stands_for (room, w)) return i;
  return -1;
}

static double best_schedule_us (const mugraph *structure, const cuda_device *d) {
  search_candidate *c = malloc (sizeof *c);
  double us = c && schedule_structure (structure, d, 0, 1, c, NULL) > 0 ? c->cost_us : INFINITY;
  free (c);
  return us;
}

/* Ranks what was found and tells where `found` (-1: nothing) stands and what stands first. */
static void tell_rank (const search_context *s, const enumeration *e, int found, explanation *x) {
  select_rank *rank = malloc (SELECT_RANKED * sizeof *rank);
  int n = rank ? select_structures (s, e, rank, &x->stats.schedules) : 0;
  for (int i = 0; i < n && isfinite (rank[i].cost_us); i++) {
    x->n_ranked++;
    if (rank[i].index == found) x->place_by_model = i, x->rough_us = rank[i].cost_us;
    if (x->n_ahead == EXPLAIN_AHEAD || x->place_by_model >= 0) continue;
    explain_structure *a = &x->ahead[x->n_ahead++];
    *a = (explain_structure){.place = i, .structure = enumeration_hash (e, rank[i].index), .cost_us = rank[i].cost_us};
    enumeration_graph (e, rank[i].index, true, &a->graph, NULL);
  }
  free (rank);
}

static void conclude_found (explanation *x) {
  if (x->place_by_model < 0 && !isfinite (x->best_us))
    conclude (x, EXPLAIN_FOUND,
              "its structure is one of the %d found, but none of the schedules that were tried can be launched",
              x->n_structures);
  else if (x->place_by_model < 0)
    conclude (x, EXPLAIN_FOUND,
              "its structure is one of the %d found, %.2f us by its best schedule, but it is not ranked: %s",
              x->n_structures, x->best_us,
              x->n_structures > SELECT_RANKED ? "there are too many" : "exponentials overflow in it that need not");
  else if (!x->place_by_model)
    conclude (x, EXPLAIN_FOUND, "its structure is the best of %d by the model: %.2f us by its best schedule",
              x->n_ranked, x->best_us);
  else
    conclude (x, EXPLAIN_FOUND,
              "its structure is number %d of %d by the model: %.2f us by a rough schedule, %.2f the first",
              x->place_by_model + 1, x->n_ranked, x->rough_us, x->ahead[0].cost_us);
}

/* All was explored and nothing stands for it: which rule of meaning it breaks, if it is one of a single operator. */
static void conclude_left_out (const witness *w, const mugraph *g, explanation *x) {
  typecheck_place p;
  if (typecheck_graph (w, g, &p)) {
    conclude (
        x, EXPLAIN_LEFT_OUT,
        "no structure of the %d found stands for it: it computes something twice or in vain, or another form of it "
        "stands for both (search/structures/enumerate.h)",
        x->n_structures);
    return;
  }
  point_at (x, g, p.kernel, p.op);
  conclude (x, EXPLAIN_LEFT_OUT,
            "no structure of the %d found stands for it: a rule of meaning forbids %s (search/structures/enumerate.h)",
            x->n_structures, x->place);
}

static void look_among (const search_context *s, const enumeration *e, const witness *w, const mugraph *g, wanted *want,
                        mugraph *room, explanation *x) {
  int found = find_structure (e, want, room);
  x->searched = true;
  x->stats = *enumeration_stats (e);
  x->n_structures = enumeration_size (e);
  tell_rank (s, e, found, x);
  if (found >= 0) {
    x->stands_for = enumeration_hash (e, found);
    if (enumeration_graph (e, found, true, room, NULL)) x->best_us = best_schedule_us (room, s->device);
    conclude_found (x);
  } else if (enumeration_finished (e)) conclude_left_out (w, g, x);
  else
    conclude (x, EXPLAIN_UNFINISHED, "it is not among the %d structures found before the search ended",
              x->n_structures);
}

/* Whether the one kernel by rule is it. */
static bool is_by_rule (const search_context *s, const witness *w, wanted *want, mugraph *room, explanation *x) {
  if (!s->options->graphs || !fuse_program (s->program, w, room, NULL) || !stands_for (room, want)) return false;
  x->rule = true;
  x->stands_for = mugraph_hash (room, false);
  x->best_us = best_schedule_us (room, s->device);
  conclude (x, EXPLAIN_FOUND, "it is the one kernel that the search makes by rule: %.2f us by its best schedule",
            x->best_us);
  return true;
}

static bool search_for (const search_context *s, const mugraph *g, explanation *x, mugraph_error *e) {
  static const double seconds = 60;
  wanted want = {.hash = canonical_hash (g, true), .kinds = kinds_of (g), .n_blocks = g->n_blocks};
  witness *w = malloc (sizeof *w);
  mugraph *room = malloc (sizeof *room);
  bool ok = w && room && want.hash ? witness_make (s->program, w, e) : mugraph_fail (e, "explain: out of memory");
  if (ok && !is_by_rule (s, w, &want, room, x)) {
    double limit = s->options->budget > 0 ? s->options->budget : seconds;
    enumeration *all = enumerate (s->program, w, s->options, s->threads, s->stop, budget_now () + limit, NULL, NULL);
    if (all) look_among (s, all, w, g, &want, room, x);
    else ok = mugraph_fail (e, "explain: nothing of the program could be evaluated over finite fields");
    enumeration_free (all);
  }
  free (w), free (room);
  return ok;
}

bool explain_run (const mugraph *program, const mugraph *g, const search_options *options, const cuda_device *device,
                  const volatile int *stop, explanation *x, mugraph_error *e) {
  memset (x, 0, sizeof *x);
  x->kernel = x->op = x->place_by_model = -1;
  x->rough_us = x->best_us = INFINITY;
  if (!same_interface (program, g, e)) return false;
  x->structure = mugraph_hash (g, false);
  x->cost_us = cost_graph (g, device);
  if (!within_bounds (g, options, x)) return true;
  bool memory;
  if (!passes_judgement (program, g, options, x, &memory)) return memory || mugraph_fail (e, "explain: out of memory");
  search_context s = {.program = program,
                      .options = options,
                      .device = device,
                      .stop = stop,
                      .threads = options->threads > 0 ? options->threads : omp_get_num_procs ()};
  return search_for (&s, g, x, e);
}
