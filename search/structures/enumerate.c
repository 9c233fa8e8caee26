/* Layers of an enumeration: see enumerate.h. */
#include "enumerate.h"

#include "build.h"
#include "configs.h"
#include "extract.h"
#include "predefined.h"
#include "space.h"
#include "tensors.h"
#include "turn.h"

#include "mugraph/check.h"
#include "search/log.h"

#include <stdlib.h>
#include <string.h>

/* ---- a layer ---- */

/* What node i of a space makes when it is saved, without values. False when it cannot be saved. */
static bool describe_saved (const enumeration *e, const space *s, int i, int layer, tensor *out) {
  const node *n = &s->node[i];
  int8_t omap[TILE_AXES];
  *out = (tensor){.layer = (uint8_t) layer,
                  .graphs = UINT8_MAX,
                  .input = -1,
                  .constant = -1,
                  .moment = n->type.moment,
                  .quotient = e->alphabet.letter[s->derivation[n->first].letter].op.kind == MUGRAPH_OP_DIV,
                  .turn = n->turn & TURN_USED};
  return tile_saved (&e->w, &s->config, &n->type, &out->shape, out->label, omap);
}

/* The tensor with the values that saving node i makes, a new one if there is none; -1 without memory. */
static int tensor_of_saved (enumeration *e, const space *s, int i, tensor *y) {
  size_t bytes = (size_t) mugraph_volume (&y->shape) * sizeof *y->value;
  y->value = malloc (bytes);
  if (!y->value || !space_evaluate (e, &e->worker[0], s, i, &y->shape, y->value)) return free (y->value), -1;
  int t = tensors_find (e, &y->shape, y->label, y->moment, y->value);
  if (t >= 0) return free (y->value), t;
  if (budget_account (&e->budget, (double) bytes)) t = tensors_add (e, y);
  if (t < 0) free (y->value); /* else the tensor has it */
  return t;
}

static void merge_node (enumeration *e, int k, int i, int layer, bool last) {
  space *s = e->space[k];
  node *n = &s->node[i];
  tensor y;
  if (n->first < 0 || node_is_leaf (n) || !describe_saved (e, s, i, layer, &y)) return;
  if (n->saved < 0 && last) return;
  int t = n->saved < 0 ? tensor_of_saved (e, s, i, &y) : n->saved;
  if (t < 0 || e->tensor[t].input >= 0 || e->tensor[t].constant >= 0) return;
  n->saved = (int16_t) t;
  tensor *x = &e->tensor[t];
  if (x->layer > layer) x->layer = (uint8_t) layer;
  if (x->graphs > 1) x->graphs = 1; /* at least this graph-defined kernel comes before it */
  tensors_add_producer (e, t, &(producer){.space = k, .node = (uint16_t) i, .layer = (uint8_t) layer});
}

/* New tensors from what the spaces of this layer may save, in the order of the spaces. */
static void merge (enumeration *e, int from, int layer, bool last) {
  for (int k = from; k < e->n_spaces; k++) {
    for (int i = 0; i < e->space[k]->n_nodes && !enumeration_poll (e, 0); i++) merge_node (e, k, i, layer, last);
    space_drop_values (e, e->space[k]);
  }
}

static bool saves_something (const space *s) {
  for (int k = 0; k < s->n_nodes; k++)
    if (s->node[k].saved >= 0) return true;
  return false;
}

/* Frees the spaces from `from` on that are of no use. */
static void drop_spaces (enumeration *e, int from, bool last) {
  int kept = from;
  for (int i = from; i < e->n_spaces; i++) {
    space *s = e->space[i];
    if (s && (!last || saves_something (s))) e->space[kept++] = s;
    else space_free (e, s);
  }
  e->n_spaces = kept;
}

/* A place for a space of each configuration. */
static void add_spaces (enumeration *e, int n) {
  for (int i = 0; i < n; i++) {
    if (!budget_grow (&e->budget, &e->space, &e->space_capacity, e->n_spaces, sizeof *e->space)) return;
    e->space[e->n_spaces++] = NULL;
  }
}

static bool explore_layer (enumeration *e, int layer, bool last) {
  double start = budget_now ();
  configs list = {.n = 0};
  configs_list (e, layer, &list);
  int from = e->n_spaces;
  add_spaces (e, list.n);
  int n = e->n_spaces - from;
#pragma omp parallel for schedule(dynamic, 1) num_threads(e->budget.n_threads)
  for (int i = 0; i < n; i++) {
    int me = omp_get_thread_num ();
    if (!enumeration_poll (e, me)) e->space[from + i] = space_close (e, me, &list.config[i], layer, last);
  }
  free (list.config);
  drop_spaces (e, from, last);
  predefined_try (e, layer, last);
  merge (e, from, layer, last);
  LOG (LOG_PASSES, "layer %d: %d configurations, %d tensors in all, %.3f s", layer, n, e->n_tensors,
       budget_now () - start);
  return !e->budget.halted;
}

/* ---- the enumeration ---- */

static bool start_workers (enumeration *e) {
  e->worker = calloc ((size_t) e->budget.n_threads, sizeof *e->worker);
  for (int p = 0; p < EXPRS_POOLS; p++) e->memo[p] = expr_memo_new ();
  for (int i = 0; e->worker && i < e->budget.n_threads; i++) {
    worker *w = &e->worker[i];
    w->table = malloc (2 * SPACE_NODES * sizeof *w->table);
    if (!w->table || !exprs_start (&w->exprs, &e->w.program, e->opt.self_check, e->memo, &w->stats)) return false;
  }
  return e->worker != NULL;
}

static bool start (enumeration *e) {
  if (!budget_start (&e->budget) || !start_workers (e)) return false;
  if (!alphabet_make (&e->w.program, &e->alphabet)) budget_cut (&e->budget);
  return verify_fingerprint (&e->w.program, e->seed, e->fingerprint) && tensors_start (e);
}

enumeration *enumerate (const mugraph *program, const witness *w, const search_options *opt, int threads,
                        const volatile int *stop, double deadline, search_progress progress, void *user) {
  enumeration *e = calloc (1, sizeof *e);
  if (!e) return NULL;
  e->w = *w;
  e->real = *program;
  e->opt = *opt;
  e->seed = (uint64_t) opt->seed;
  e->budget = (budget){.stop = stop,
                       .start = budget_now (),
                       .deadline = deadline,
                       .memory = 1048576.0 * opt->memory,
                       .n_threads = threads < 1 ? 1 : threads,
                       .progress = progress,
                       .user = user};
  if (!start (e)) return enumeration_free (e), NULL;
  for (int layer = 1; layer <= opt->kernel_ops; layer++)
    if (!explore_layer (e, layer, layer == opt->kernel_ops)) break;
  extract_structures (e);
  for (int i = 0; i < e->budget.n_threads; i++) budget_add_stats (&e->total, &e->worker[i].stats);
  e->total.structures = (uint64_t) e->n_structures;
  CHECK (e->total.pruned + e->total.z3_denied <= e->total.states && e->total.structures <= e->total.checked);
  return e;
}

void enumeration_free (enumeration *e) {
  if (!e) return;
  for (int i = 0; i < e->n_spaces; i++) space_free (e, e->space[i]);
  for (int t = 0; t < e->n_tensors; t++) free (e->tensor[t].value), free (e->tensor[t].producer);
  for (int i = 0; i < e->n_lists; i++) free (e->list[i].plan);
  for (int i = 0; e->worker && i < e->budget.n_threads; i++) {
    worker *w = &e->worker[i];
    exprs_end (&w->exprs);
    free (w->expr), free (w->known), free (w->table), free (w->scratch);
  }
  for (int p = 0; p < EXPRS_POOLS; p++) expr_memo_free (e->memo[p]);
  free (e->worker), free (e->tensor), free (e->space), free (e->list), free (e->structure);
  budget_end (&e->budget);
  free (e);
}

const search_stats *enumeration_stats (const enumeration *e) { return &e->total; }
bool enumeration_finished (const enumeration *e) { return !e->budget.halted && !e->budget.cut; }
double enumeration_bytes (const enumeration *e) { return e->budget.peak; }
int enumeration_size (const enumeration *e) { return e->n_structures; }
uint64_t enumeration_hash (const enumeration *e, int i) { return e->structure[i].hash; }

bool enumeration_graph (const enumeration *e, int i, bool real, mugraph *g, mugraph_error *err) {
  bool ok = build_structure (e, &e->structure[i], real, g, err);
  CHECK (!ok || mugraph_hash (g, false) == e->structure[i].hash);
  return ok;
}
