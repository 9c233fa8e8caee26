/* Kernel graphs, read off backwards, and the check of each at the witness. See extract.h. */
#include "extract.h"
#include "blocks.h"
#include "build.h"
#include "mugraph/check.h"
#include "search/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- kernel graphs: who computes what is still needed ---- */

enum { NEEDS = 64 };

typedef struct {
  structure s;
  int graphs, n_need, n_made;
  int16_t need[NEEDS], made[NEEDS];
  uint8_t limit[NEEDS], made_layer[NEEDS]; /* the highest layer that may compute it; the one that does */
} partial;

/* A kernel of this layer reads t. */
static bool add_need (const enumeration *e, partial *p, int t, int layer) {
  const tensor *x = &e->tensor[t];
  if (x->input >= 0 || x->constant >= 0) return true;
  for (int k = 0; k < p->n_made; k++)
    if (p->made[k] == t) return p->made_layer[k] < layer;
  int k = 0;
  while (k < p->n_need && p->need[k] != t) k++;
  if (k == NEEDS || x->layer >= layer) return false;
  if (k == p->n_need) {
    p->need[p->n_need++] = (int16_t) t;
    p->limit[k] = (uint8_t) (layer - 1);
  } else if (p->limit[k] > layer - 1) p->limit[k] = (uint8_t) (layer - 1);
  return true;
}

static void made (partial *p, int t, int layer) {
  for (int k = 0; k < p->n_need; k++)
    if (p->need[k] == t) {
      p->need[k] = p->need[--p->n_need];
      p->limit[k] = p->limit[p->n_need];
      break;
    }
  p->made[p->n_made] = (int16_t) t;
  p->made_layer[p->n_made++] = (uint8_t) layer;
}

static void record (enumeration *e, const partial *p) {
  if (e->n_structures >= SPACE_CHOICES) {
    budget_cut (&e->budget);
    return;
  }
  if (!budget_grow (&e->budget, &e->structure, &e->structure_capacity, e->n_structures, sizeof *e->structure)) return;
  structure *s = &e->structure[e->n_structures++];
  *s = p->s;
  for (int i = 1; i < s->n_kernels; i++) /* by layer; kernels of one layer do not read each other */
    for (int j = i; j > 0 && s->kernel[j - 1].layer > s->kernel[j].layer; j--) {
      kernel_choice c = s->kernel[j];
      s->kernel[j] = s->kernel[j - 1];
      s->kernel[j - 1] = c;
    }
}

static void cover (enumeration *e, const partial *p);

/* Whether space k can save tensor t, and as which node. */
static bool is_saved_by (const tensor *t, int k, uint16_t *saver) {
  for (int i = 0; i < t->n_producers; i++)
    if (t->producer[i].space == k) return *saver = t->producer[i].node, true;
  return false;
}

/* What else is needed that the same kernel may save. */
typedef struct {
  int n;
  uint16_t node[NEEDS];
  int16_t tensor[NEEDS];
} others;

static void find_others (const enumeration *e, const partial *p, const producer *x, int t, others *o) {
  o->n = 0;
  for (int k = 0; k < p->n_need; k++) {
    if (p->need[k] == t || p->limit[k] < x->layer) continue;
    if (is_saved_by (&e->tensor[p->need[k]], x->space, &o->node[o->n])) o->tensor[o->n++] = p->need[k];
  }
  if (o->n > MUGRAPH_FANOUT - 1) o->n = MUGRAPH_FANOUT - 1;
}

/* Inserts a node into an ascending list. */
static void insert (uint16_t saved[], int *n, uint16_t saver) {
  int at = (*n)++;
  while (at > 0 && saved[at - 1] > saver) saved[at] = saved[at - 1], at--;
  saved[at] = saver;
}

/* Goes on with plan i of list l as a kernel of this layer; the tensors it makes are noted in p already. */
static void cover_by_plan (enumeration *e, const partial *p, int l, int i, int layer) {
  partial q = *p;
  const block_plan *plan = &e->list[l].plan[i];
  for (int k = 0; k < plan->n_leaves; k++) {
    int leaf = e->space[e->list[l].space]->node[plan->node[k]].tensor;
    if (leaf >= 0 && !add_need (e, &q, leaf, layer)) return;
  }
  q.s.kernel[q.s.n_kernels++] = (kernel_choice){.list = l, .index = i, .tensor = -1, .layer = (uint8_t) layer};
  cover (e, &q);
}

/* By every graph-defined kernel of the producer's space that saves t, alone and with each set of the others. */
static void cover_by_graph (enumeration *e, const partial *p, const producer *x, int t) {
  others o;
  find_others (e, p, x, t, &o);
  if (p->n_made + MUGRAPH_FANOUT > NEEDS) return;
  for (unsigned set = 0; set < 1u << o.n; set++) {
    uint16_t saved[MUGRAPH_FANOUT] = {x->node};
    int n_saved = 1;
    partial q = *p;
    made (&q, t, x->layer);
    for (int k = 0; k < o.n; k++)
      if (set >> k & 1) {
        insert (saved, &n_saved, o.node[k]);
        made (&q, o.tensor[k], x->layer);
      }
    int l = blocks_list (e, x->space, n_saved, saved);
    if (l < 0) continue;
    q.graphs++;
    for (int i = 0; i < e->list[l].n_plans; i++) cover_by_plan (e, &q, l, i, x->layer);
  }
}

/* By producer i of t, a pre-defined kernel. */
static void cover_by_operator (enumeration *e, const partial *p, int t, int i) {
  const producer *x = &e->tensor[t].producer[i];
  partial q = *p;
  if (q.n_made >= NEEDS) return;
  made (&q, t, x->layer);
  for (int j = 0; j < e->alphabet.letter[x->op.letter].op.n_in; j++)
    if (!add_need (e, &q, x->op.in[j], x->layer)) return;
  q.s.kernel[q.s.n_kernels++] = (kernel_choice){.list = -1, .index = i, .tensor = (int16_t) t, .layer = x->layer};
  cover (e, &q);
}

/* Computes the latest tensor that is needed in every way; records the structure when nothing is needed any more. */
static void cover (enumeration *e, const partial *p) {
  e->worker[0].stats.states++;
  if (!p->n_need) {
    record (e, p);
    return;
  }
  if (p->s.n_kernels >= e->opt.kernel_ops || p->s.n_kernels >= SPACE_KERNELS || enumeration_poll (e, 0)) return;
  int k = 0;
  for (int i = 1; i < p->n_need; i++)
    if (p->need[i] > p->need[k]) k = i;
  int t = p->need[k], limit = p->limit[k];
  for (int i = 0; i < e->tensor[t].n_producers; i++) {
    producer x = e->tensor[t].producer[i];
    if (x.layer > limit) continue;
    if (x.space < 0) cover_by_operator (e, p, t, i);
    else if (p->graphs < e->opt.graphs) cover_by_graph (e, p, &x, t);
  }
}

/* ---- the check at the witness ---- */

static int compare_structures (const void *x, const void *y) {
  const structure *a = x, *b = y;
  if (a->n_kernels != b->n_kernels) return a->n_kernels - b->n_kernels;
  return (a->hash > b->hash) - (a->hash < b->hash);
}

/* The hash of a structure that is equivalent at the witness, or 0. g: room for its graph. */
static uint64_t check_one (enumeration *e, int me, const structure *s, mugraph *g) {
  uint64_t print[MUGRAPH_OUTPUTS];
  mugraph_error why;
  if (!build_structure (e, s, false, g, &why)) {
    LOG (LOG_DECISIONS, "structure dropped: it cannot be built: %s", why.text);
    return 0;
  }
  CHECK (mugraph_infer (g, NULL));
  e->worker[me].stats.checked++;
  uint64_t hash = mugraph_hash (g, false);
  if (!verify_fingerprint (g, e->seed, print) ||
      memcmp (print, e->fingerprint, (size_t) e->n_outputs * sizeof *print)) {
    LOG (LOG_DECISIONS, "structure %016" PRIx64 " dropped: it is not equivalent at the witness", hash);
    return 0;
  }
  LOG (LOG_DECISIONS, "structure %016" PRIx64 " found: %d kernels", hash, s->n_kernels);
  return hash;
}

/* Sorts, and leaves one of each hash; those with hash 0 go. */
static void drop_duplicates (enumeration *e, int n) {
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

static void check_all (enumeration *e) {
  int n = e->n_structures;
#pragma omp parallel num_threads(e->budget.n_threads)
  {
    int me = omp_get_thread_num ();
    mugraph *g = malloc (sizeof *g);
#pragma omp for schedule(dynamic, 16)
    for (int i = 0; i < n; i++)
      e->structure[i].hash = g && !enumeration_poll (e, me) ? check_one (e, me, &e->structure[i], g) : 0;
    free (g);
  }
  drop_duplicates (e, n);
}

void extract_structures (enumeration *e) {
  partial p = {.s = {.n_kernels = 0}};
  bool reached = true;
  for (int k = 0; k < e->n_outputs; k++) {
    const tensor *x = &e->tensor[e->output[k]];
    reached &= x->input >= 0 || x->constant >= 0 || x->n_producers > 0;
    reached &= add_need (e, &p, e->output[k], e->opt.kernel_ops + 1);
  }
  double start = budget_now ();
  if (reached) cover (e, &p);
  int read_off = e->n_structures;
  LOG (LOG_PASSES, "extraction: %d structures read off, %.3f s", read_off, budget_now () - start);
  start = budget_now ();
  check_all (e);
  LOG (LOG_PASSES, "witness check: %d of %d structures are equivalent, %.3f s", e->n_structures, read_off,
       budget_now () - start);
}
