/* The µGraphs of the public Mirage files (../shared/mirage_mugraphs, where they are: beside a checkout): is the
   structure of each one that is equivalent to its program among those that our enumeration finds at the same shapes?

   Structures are compared by mugraph_hash without extents, whatever axes of the grid are called and in whatever order
   the inputs come; a structure stands for all that schedules make of it, axes and loops of extent 1 included. Where
   that finds nothing, the same is asked as if no kernel had a loop.

   Found are all of rmsnorm (44), lora (4) and gatedmlp (32), 5 of gqa's 10 and 6 of ntrans' 9. The others are left out
   by rules of enumerate.h, each for a form that is found and cheaper by the model, which is checked:
   - gqa 0 to 4 accumulate exponentials of different columns in one tile of 64 columns and write that for a second
   kernel to add up. An accumulator never adds up different positions of a tile here; the sum of each tile, one column
   instead of 64, is what gqa 5 to 9 write.
   - ntrans 2, 5, 8 write a row and its root mean square for a division by a kernel of its own. Root mean squares do not
   leave the kernel here: they divide where they are computed (ntrans 0, 1, ...), or the whole norm is the second
   kernel. */
#include "mugraph/file/load.h"
#include "mugraph/file/saved.h"
#include "mugraph/print.h"
#include "mugraph/program/program.h"
#include "search/schedules/schedule.h"
#include "search/structures/canonical.h"
#include "search/structures/enumerate.h"
#include "verify/verify.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- one file ---- */

typedef struct {
  int n, room, structures;
  uint64_t *hash;
} set;

static void add (set *s, uint64_t h) {
  if (s->n == s->room) {
    s->room = s->room ? 2 * s->room : 1024;
    s->hash = realloc (s->hash, (size_t) s->room * sizeof *s->hash);
    assert_non_null (s->hash);
  }
  s->hash[s->n++] = h;
}

/* The structures that schedules make of one, with and without loops. */
typedef struct {
  set *with, *without;
} sets;

static bool add_both (void *user, const mugraph *g) {
  sets *s = user;
  add (s->with, canonical_hash (g, true));
  add (s->without, canonical_hash (g, false));
  return false;
}

static double cheapest_us (const mugraph *g) {
  static search_candidate c;
  const cuda_device *d = cuda_device_find ("h100");
  return schedule_structure (g, d, 300, 1, &c, NULL) ? c.cost_us : INFINITY;
}

/* Returns the time of the best schedule of one of the first structures, which have the fewest kernels. */
static double enumerate_all (const mugraph *program, set *with, set *without) {
  search_options options;
  search_options_default (&options);
  static witness w;
  mugraph_error e;
  if (!witness_make (program, &w, &e)) fail_msg ("%s", e.text);
  enumeration *x = enumerate (program, &w, &options, 2, NULL, 0, NULL, NULL);
  assert_non_null (x);
  assert_true (enumeration_finished (x));
  static mugraph g;
  with->structures = enumeration_size (x);
  for (int i = 0; i < with->structures; i++)
    if (enumeration_graph (x, i, false, &g, &e)) canonical_each_schedule (&g, add_both, &(sets){with, without});
  double best = INFINITY;
  for (int i = 0; i < 4 && i < with->structures; i++)
    if (enumeration_graph (x, i, true, &g, &e)) best = fmin (best, cheapest_us (&g));
  enumeration_free (x);
  return best;
}

static bool among (const uint64_t hash[], int n, uint64_t h) {
  for (int i = 0; i < n; i++)
    if (hash[i] == h) return true;
  return false;
}

typedef struct {
  const char *stem, *program;
  int graphs, equivalent, exact, looped; /* of a file; of those equivalent: found, found but for loops */
} expectation;

/* One µGraph of a file, its inputs in the order that is looked at. */
typedef struct {
  mugraph graph;
  int to[MUGRAPH_INPUTS];
  bool started, ended, same, found, near;
} candidate;

/* The next order in which the inputs have the program's shapes. The first one to have any says what the program is. */
static bool next_order (candidate *c, const mugraph *saved, const char *name, mugraph_program *program, bool *known) {
  static mugraph_program p;
  static const mugraph_program_options plain = {0};
  mugraph_error e;
  while (!c->ended) {
    if (c->started) c->ended = !mugraph_next_order (saved->n_inputs, c->to);
    else
      for (int t = 0; t < MUGRAPH_INPUTS; t++) c->to[t] = t;
    c->started = true;
    if (c->ended) break;
    mugraph_shape in[MUGRAPH_INPUTS];
    c->graph = *saved;
    mugraph_reorder_inputs (&c->graph, c->to);
    for (int t = 0; t < saved->n_inputs; t++) in[t] = c->graph.tensor[t].shape;
    bool fits = mugraph_program_fit (name, &plain, saved->n_inputs, in, &p, &e);
    for (int t = 0; fits && t < saved->n_inputs; t++) fits = mugraph_same_shape (&in[t], &p.graph.tensor[t].shape);
    if (!fits) continue;
    if (!*known) *program = p, *known = true;
    assert_true (mugraph_equal (&program->graph, &p.graph)); /* a file has one program */
    return true;
  }
  return false;
}

/* Which of the candidates are equivalent, each in its next order of inputs: the program is evaluated once for all.
   False: none has one left. */
static bool look_on (candidate c[], const mugraph_file *f, const char *name, mugraph_program *program, set *with,
                     set *without, double *best) {
  const mugraph **graph = calloc ((size_t) f->n, sizeof *graph);
  verify_report *report = calloc ((size_t) f->n, sizeof *report);
  int *trials = calloc ((size_t) f->n, sizeof *trials), *at = calloc ((size_t) f->n, sizeof *at), n = 0;
  bool known = with->n > 0;
  assert_true (graph && report && trials && at);
  for (int i = 0; i < f->n; i++)
    if (!c[i].found && next_order (&c[i], &f->saved[i].graph, name, program, &known))
      at[n] = i, trials[n] = 1, graph[n++] = &c[i].graph;
  if (n && !with->n) *best = enumerate_all (&program->graph, with, without);
  verify_options v;
  verify_options_default (&v);
  verify_equivalent_each (&program->graph, n, graph, trials, &v, report);
  for (int k = 0; k < n; k++) {
    candidate *x = &c[at[k]];
    if (report[k].verdict != VERIFY_EQUIVALENT) continue;
    x->same = true;
    x->found |= among (with->hash, with->n, canonical_hash (&x->graph, true));
    x->near |= among (without->hash, without->n, canonical_hash (&x->graph, false));
  }
  free (graph), free (report), free (trials), free (at);
  return n > 0;
}

static void check_file (const expectation *want) {
  static mugraph_file f;
  static mugraph_program p;
  mugraph_error e;
  char path[200], line[300];
  snprintf (path, sizeof path, "../shared/mirage_mugraphs/%s.json", want->stem);
  if (!mugraph_file_load_any (path, &f, &e)) fail_msg ("%s", e.text);
  assert_int_equal (f.n, want->graphs);
  set with = {0}, without = {0};
  int right = 0, exact = 0, looped = 0;
  double best = INFINITY;
  candidate *c = calloc ((size_t) f.n, sizeof *c);
  assert_non_null (c);
  while (look_on (c, &f, want->program, &p, &with, &without, &best)) {
  }
  for (int i = 0; i < f.n; i++) {
    right += c[i].same, exact += c[i].found, looped += c[i].same && !c[i].found && c[i].near;
    if (c[i].same && !c[i].found) {
      double us = cheapest_us (&f.saved[i].graph);
      print_message ("%s %d: %s: %s: %.1f us by the model, %.1f of what is found\n", want->stem, i,
                     c[i].near ? "found but for its loops" : "not found",
                     mugraph_summary (&f.saved[i].graph, line, sizeof line), us, best);
      assert_true (best < us);
    }
  }
  print_message ("%s: %d µGraphs, %d equivalent, %d found, %d but for loops; of %d structures\n", want->stem, f.n,
                 right, exact, looped, with.structures);
  free (with.hash), free (without.hash), free (c);
  mugraph_file_free (&f);
  assert_int_equal (right, want->equivalent);
  assert_int_equal (exact, want->exact);
  assert_int_equal (looped, want->looped);
}

static void test_public_files (void **state) {
  (void) state;
  static const expectation files[] = {
      {"rmsnorm_bs1", "rmsnorm", 18, 18, 18, 0},
      {"rmsnorm_bs16", "rmsnorm", 26, 26, 26, 0},
      {"lora_bs1", "lora", 4, 4, 4, 0},
      {"gqa_bs8", "gqa", 10, 10, 5, 0},
      {"norm_transformer_bs8", "ntrans", 9, 9, 6, 0},
      {"gated_mlp_bs1", "gatedmlp", 32, 32, 32, 0},
  };
  DIR *dir = opendir ("../shared/mirage_mugraphs");
  if (!dir) {
    print_message ("no ../shared/mirage_mugraphs here: skipped\n");
    skip ();
  }
  closedir (dir);
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) check_file (&files[i]);
}

int main (void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test (test_public_files)};
  return cmocka_run_group_tests (tests, NULL, NULL);
}
