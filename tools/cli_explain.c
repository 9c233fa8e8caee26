/* msearch explain: why a µGraph is not found, or not the first of its file: what the search makes of it, what each code
   generator says of it, and the terms of its cost beside those of the file's first. */
#include "cli.h"

#include "cuda_templates/cost.h"
#include "mugraph/file/load.h"
#include "mugraph/print.h"
#include "search/explain.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- which µGraph ---- */

typedef struct {
  char path[STORE_PATH];
  mugraph_file file; /* owned */
  int index;
  cuda_device device;
  bool has_program; /* the program that it should compute is known */
  mugraph_program program;
} subject;

static bool is_hash (const char *text) {
  size_t n = strlen (text);
  return n >= 4 && n <= 16 && strspn (text, "0123456789abcdef") == n && access (text, F_OK) &&
         !mugraph_workload_find (text);
}

static const char *hash_text (uint64_t hash, char text[17]) {
  snprintf (text, 17, "%016llx", (unsigned long long) hash);
  return text;
}

/* The first µGraph of the file whose structure begins with the prefix; -1: none. */
static int find_structure (const mugraph_file *f, const char *prefix) {
  char text[17];
  for (int i = 0; i < f->n; i++)
    if (!strncmp (hash_text (f->saved[i].structure, text), prefix, strlen (prefix))) return i;
  return -1;
}

/* Looks through the saved files. All µGraphs that the prefix names must be of one structure; the first one counts. */
static bool find_hash (const char *prefix, subject *s, mugraph_error *e) {
  char **path, first[17] = "", other[17] = "";
  int n = store_files (&path);
  for (int i = 0; i < n; i++) {
    mugraph_file f;
    int k = mugraph_file_load_any (path[i], &f, NULL) ? find_structure (&f, prefix) : -1;
    if (k < 0) {
      mugraph_file_free (&f);
    } else if (!*first) {
      s->file = f, s->index = k;
      snprintf (s->path, sizeof s->path, "%s", path[i]);
      hash_text (f.saved[k].structure, first);
    } else {
      if (strcmp (hash_text (f.saved[k].structure, other), first)) i = n;
      else *other = 0;
      mugraph_file_free (&f);
    }
  }
  store_files_free (n, path);
  if (*other) return mugraph_fail (e, "%s: begins several structures, %s and %s among them", prefix, first, other);
  return *first || mugraph_fail (e, "%s: no µGraph in " STORE_FOLDER "/ has a structure that begins so", prefix);
}

/* A file need not say what its µGraphs are for; then the search is not asked. */
static bool find_program (const cli *c, subject *s, mugraph_error *e) {
  int order[MUGRAPH_INPUTS];
  if (!c->program && !s->file.has_program && !cli_named_after (s->path)) return true;
  s->has_program = cli_file_program (c, s->path, &s->file, &s->program, order, e);
  return s->has_program;
}

static bool find_subject (const cli *c, subject *s, mugraph_error *e) {
  cuda_facts facts;
  if (is_hash (c->subject)) {
    if (c->index) return mugraph_fail (e, "--index has no meaning beside %s, which says which µGraph", c->subject);
    if (!find_hash (c->subject, s, e)) return false;
  } else {
    if (!cli_find_file (c, s->path, e) || !cli_load_indexed (c, &s->file, e)) return false;
    s->index = c->index;
  }
  if (!s->file.n) return mugraph_fail (e, "%s: holds no µGraph", s->path);
  cli_probe (c, &facts);
  return cli_device (c, &facts, &s->device, e) && find_program (c, s, e);
}

/* ---- its place in the file ---- */

static void explain_rank (FILE *out, const subject *s, cJSON *root) {
  const mugraph_saved *m = &s->file.saved[s->index], *first = s->file.saved;
  double us = cost_graph (&m->graph, &s->device);
  int rank = 1;
  char line[400], mine[200];
  for (int i = 0; i < s->file.n; i++) rank += cost_graph (&s->file.saved[i].graph, &s->device) < us;
  if (isfinite (us)) cJSON_AddNumberToObject (root, "model_rank", rank - 1);
  else cJSON_AddNullToObject (root, "model_rank");
  cJSON_AddNumberToObject (root, "mugraphs", s->file.n);
  if (!out) return;
  cli_label (out, "rank");
  if (isfinite (us)) fprintf (out, "%d of %d by the cost model of %s: %.2f us", rank, s->file.n, s->device.name, us);
  else fprintf (out, "none by the cost model of %s: it has no plan", s->device.name);
  if (s->index) fprintf (out, "; the file's first: %.2f us", cost_graph (&first->graph, &s->device));
  fputc ('\n', out);
  for (const cJSON *r = m->measured ? m->measured->child : NULL; r; r = r->next) {
    const cJSON *best = cJSON_GetObjectItemCaseSensitive (first->measured, r->string);
    if (!*cli_measured (r, mine, sizeof mine)) continue;
    cli_label (out, "measured");
    fprintf (out, "%s", mine + strspn (mine, " "));
    if (s->index && best && *cli_measured (best, line, sizeof line))
      fprintf (out, "; the file's first: %.*s", (int) (strstr (line, " on ") - line - (long) strspn (line, " ")),
               line + strspn (line, " "));
    fputc ('\n', out);
  }
}

/* ---- the search ---- */

static const char *const outcomes[] = {
    [EXPLAIN_FOUND] = "found",   [EXPLAIN_BOUND] = "bound",       [EXPLAIN_ALPHABET] = "alphabet",
    [EXPLAIN_PRUNED] = "pruned", [EXPLAIN_LEFT_OUT] = "left out", [EXPLAIN_UNFINISHED] = "unfinished"};

static void print_found (FILE *out, const explanation *x) {
  char line[400], hash[17];
  cli_label (out, "");
  fprintf (out, "%d structures found, %d ranked by the model%s\n", x->n_structures, x->n_ranked,
           x->n_ahead ? ", these first" : "");
  for (int i = 0; i < x->n_ahead; i++) {
    const explain_structure *a = &x->ahead[i];
    fprintf (out, "  %8d %10.2f us  %s  %s%s\n", a->place + 1, a->cost_us, hash_text (a->structure, hash),
             mugraph_summary (&a->graph, line, sizeof line), a->place == x->place_by_model ? ", this one" : "");
  }
}

static void print_search (FILE *out, const explanation *x) {
  cli_label (out, "search");
  fprintf (out, "%s\n", x->reason);
  if (x->outcome == EXPLAIN_PRUNED) {
    cli_label (out, "");
    fprintf (out, "the outputs are %s\n", x->target);
  }
  if (x->searched) print_found (out, x);
}

static cJSON *search_json (const explanation *x) {
  char hash[17];
  cJSON *o = cJSON_CreateObject (), *ahead;
  cJSON_AddStringToObject (o, "outcome", outcomes[x->outcome]);
  cJSON_AddStringToObject (o, "reason", x->reason);
  if (x->outcome == EXPLAIN_BOUND) {
    cJSON_AddStringToObject (o, "option", x->option);
    cJSON_AddNumberToObject (o, "needs", x->needs);
    cJSON_AddNumberToObject (o, "has", x->has);
  }
  if (x->outcome == EXPLAIN_ALPHABET || x->outcome == EXPLAIN_PRUNED) {
    cJSON_AddNumberToObject (o, "kernel", x->kernel);
    cJSON_AddNumberToObject (o, "op", x->op);
    cJSON_AddStringToObject (o, "place", x->place);
  }
  if (x->outcome == EXPLAIN_PRUNED) {
    cJSON_AddStringToObject (o, "expression", x->expression);
    cJSON_AddStringToObject (o, "target", x->target);
  }
  if (!x->searched) return o;
  cJSON_AddNumberToObject (o, "structures", x->n_structures);
  cJSON_AddNumberToObject (o, "ranked", x->n_ranked);
  if (x->outcome == EXPLAIN_FOUND) {
    cJSON_AddNumberToObject (o, "place_by_model", x->place_by_model);
    if (isfinite (x->best_us)) cJSON_AddNumberToObject (o, "best_us", x->best_us);
  }
  ahead = cJSON_AddArrayToObject (o, "ahead");
  for (int i = 0; i < x->n_ahead; i++) {
    cJSON *item = cJSON_CreateObject ();
    cJSON_AddNumberToObject (item, "place", x->ahead[i].place);
    cJSON_AddStringToObject (item, "structure", hash_text (x->ahead[i].structure, hash));
    cJSON_AddNumberToObject (item, "cost_us", x->ahead[i].cost_us);
    cJSON_AddItemToArray (ahead, item);
  }
  return o;
}

static bool explain_search (const cli *c, FILE *out, const subject *s, cJSON *root, mugraph_error *e) {
  if (!s->has_program) {
    if (out) cli_label (out, "search"), fputs ("the program is not known: --program tells\n", out);
    cJSON_AddNullToObject (root, "search");
    return true;
  }
  explanation *x = malloc (sizeof *x);
  bool good =
      x ? explain_run (&s->program.graph, &s->file.saved[s->index].graph, &c->search, &s->device, &cli_stop, x, e)
        : mugraph_fail (e, "out of memory");
  if (good && out) print_search (out, x);
  if (good) cJSON_AddItemToObject (root, "search", search_json (x));
  free (x);
  return good;
}

/* ---- the generators ---- */

/* Asks a generator about kernel k: with the schedule that the µGraph has where it is the one in use, else with its own
   choice. us: by the model, infinity when no block fits an SM. False: it refuses, e says why. */
static bool ask_generator (const mugraph *g, int k, int generator, bool in_use, const cuda_device *d,
                           const cost_caches *caches, double *us, mugraph_error *e) {
  mugraph *asked = malloc (sizeof *asked);
  cuda_plan *plan = malloc (sizeof *plan);
  cost_parts parts;
  bool good = (asked && plan) || mugraph_fail (e, "out of memory");
  if (good) {
    mugraph_sched *sched = &asked->block[g->op[k].block].sched;
    *asked = *g;
    if (!in_use) mugraph_sched_default (sched);
    sched->backend = (int16_t) generator;
    good = cuda_plan_kernel (asked, k, d, plan, e);
  }
  if (good) *us = 1e6 * cost_planned (asked, k, plan, d, caches, &parts);
  free (plan);
  free (asked);
  return good;
}

/* "stream: no matmul" without the generator's own name. */
static const char *reason (int generator, const char *text) {
  const char *name = cuda_generator_text (generator);
  size_t n = strlen (name);
  return !strncmp (text, name, n) && !strncmp (text + n, ": ", 2) ? text + n + 2 : text;
}

/* One generator's line and record; used: the one that builds the kernel. */
static cJSON *explain_generator (FILE *out, const mugraph *g, int k, int generator, int used, const cuda_device *d,
                                 const cost_caches *caches) {
  mugraph_error e = {""};
  double us = INFINITY;
  bool takes = ask_generator (g, k, generator, generator == used, d, caches, &us, &e);
  cJSON *item = cJSON_CreateObject ();
  cJSON_AddNumberToObject (item, "kernel", k);
  cJSON_AddStringToObject (item, "generator", cuda_generator_text (generator));
  cJSON_AddBoolToObject (item, "takes", takes);
  cJSON_AddBoolToObject (item, "used", generator == used);
  if (!takes) cJSON_AddStringToObject (item, "reason", reason (generator, e.text));
  if (isfinite (us)) cJSON_AddNumberToObject (item, "cost_us", us);
  if (!out) return item;
  fprintf (out, "  %-8s ", cuda_generator_text (generator));
  if (!takes) fprintf (out, "refuses: %s\n", reason (generator, e.text));
  else if (!isfinite (us)) fputs ("takes it, but no block of it fits an SM\n", out);
  else fprintf (out, "%.2f us, %s\n", us, generator == used ? "in use" : "with a schedule of its own choice");
  return item;
}

/* Kernel k, a graph-defined one: all generators, in the order in which the planner prefers them. */
static void explain_kernel (FILE *out, const subject *s, int k, const cost_caches *caches, cJSON *list) {
  static const int generators[] = {
#define GENERATOR(number, ...) number,
#include "cuda_templates/generators.def"
#undef GENERATOR
  };
  const mugraph *g = &s->file.saved[s->index].graph;
  cuda_plan *plan = malloc (sizeof *plan);
  mugraph_error e = {"out of memory"};
  bool planned = plan && cuda_plan_kernel (g, k, &s->device, plan, &e);
  int used = planned ? (int) plan->backend : CUDA_GENERATOR_AUTO;
  if (out && planned) fputs ("graph-defined\n", out);
  else if (out) fprintf (out, "graph-defined, as it stands no plan for %s: %s\n", s->device.name, e.text);
  for (size_t i = 0; i < sizeof generators / sizeof *generators; i++)
    cJSON_AddItemToArray (list, explain_generator (out, g, k, generators[i], used, &s->device, caches));
  free (plan);
}

static void explain_generators (FILE *out, const subject *s, cJSON *list) {
  const mugraph *g = &s->file.saved[s->index].graph;
  cost_caches caches = {0};
  for (int k = 0; k < g->n_ops; k++) {
    if (g->op[k].kind == MUGRAPH_OP_CONST) continue;
    if (out) cli_label (out, "generators"), fprintf (out, "kernel %d, ", k);
    if (g->op[k].kind == MUGRAPH_OP_CUSTOM) explain_kernel (out, s, k, &caches, list);
    else if (out) fputs ("pre-defined: it has code of its own\n", out);
    cost_leave (g, k, &s->device, &caches);
  }
}

/* ---- the terms of the model ---- */

#define COST_PARTS                                                                                                     \
  PART (launch, 1e6, "us", "an empty kernel, launched plainly")                                                        \
  PART (dram, 1e6, "us", "device memory, at full bandwidth")                                                           \
  PART (l2, 1e6, "us", "L2, at full bandwidth")                                                                        \
  PART (mma, 1e6, "us", "matrix units, all busy")                                                                      \
  PART (sfu, 1e6, "us", "special-function units, all busy")                                                            \
  PART (fp32, 1e6, "us", "fp32 units, all busy")                                                                       \
  PART (latency, 1e6, "us", "of a block, what nothing hides")                                                          \
  PART (plain, 1e6, "us", "a call, launched plainly")                                                                  \
  PART (pdl, 1e6, "us", "a call, with programmatic dependent launch")                                                  \
  PART (total, 1e6, "us", "the score: plain^(1/3) pdl^(2/3)")                                                          \
  PART (waves, 1.0, "waves", "of blocks, the last one may be partial")                                                 \
  PART (occupancy, 1.0, "blocks", "of one SM at a time")

/* The kernels of a µGraph, in the order in which they run. */
typedef struct {
  int n, kernel[MUGRAPH_KERNEL_OPS];
  cost_parts parts[MUGRAPH_KERNEL_OPS];
} model_terms;

static model_terms terms_of (const mugraph *g, const cuda_device *d) {
  model_terms t = {0};
  cost_caches caches = {0};
  for (int k = 0; k < g->n_ops; k++) {
    if (g->op[k].kind == MUGRAPH_OP_CONST) continue;
    t.kernel[t.n] = k;
    t.parts[t.n] = (cost_parts){.plain = INFINITY, .pdl = INFINITY, .total = INFINITY}; /* should it have no plan */
    cost_kernel (g, k, d, &caches, &t.parts[t.n++]);
  }
  return t;
}

static void print_heads (FILE *out, const char *whose, const model_terms *t) {
  char head[40];
  for (int i = 0; i < t->n; i++) {
    if (t->n > 1) snprintf (head, sizeof head, "%s, k%d", whose, t->kernel[i]);
    fprintf (out, " %10s", t->n > 1 ? head : whose);
  }
}

static void print_value (FILE *out, double x) {
  if (isfinite (x)) fprintf (out, " %10.2f", x);
  else fprintf (out, " %10s", "-");
}

static void print_terms (FILE *out, const model_terms *mine, const model_terms *first) {
  cli_label (out, "model");
  fputs ("        ", out);
  print_heads (out, "this", mine);
  if (first) print_heads (out, "the first", first);
  fputc ('\n', out);
#define PART(name, scale, unit, help)                                                                                  \
  fprintf (out, "  %-16s ", #name);                                                                                    \
  for (int i = 0; i < mine->n; i++) print_value (out, scale * mine->parts[i].name);                                    \
  for (int i = 0; first && i < first->n; i++) print_value (out, scale * first->parts[i].name);                         \
  fprintf (out, "  %-6s  %s\n", unit, help);
  COST_PARTS
#undef PART
}

static cJSON *terms_json (const model_terms *t) {
  cJSON *list = cJSON_CreateArray ();
  for (int i = 0; i < t->n; i++) {
    cJSON *item = cJSON_CreateObject ();
    cJSON_AddNumberToObject (item, "kernel", t->kernel[i]);
#define PART(name, scale, unit, help)                                                                                  \
  if (isfinite ((double) t->parts[i].name))                                                                            \
    cJSON_AddNumberToObject (item, scale > 1 ? #name "_us" : #name, scale * t->parts[i].name);                         \
  else cJSON_AddNullToObject (item, scale > 1 ? #name "_us" : #name);
    COST_PARTS
#undef PART
    cJSON_AddItemToArray (list, item);
  }
  return list;
}

static void explain_model (FILE *out, const subject *s, cJSON *root) {
  model_terms mine = terms_of (&s->file.saved[s->index].graph, &s->device),
              first = terms_of (&s->file.saved[0].graph, &s->device);
  if (out) print_terms (out, &mine, s->index ? &first : NULL);
  cJSON_AddItemToObject (root, "model", terms_json (&mine));
  if (s->index) cJSON_AddItemToObject (root, "model_of_first", terms_json (&first));
}

/* ---- the command ---- */

static bool explain (const cli *c, const subject *s, cJSON *root, mugraph_error *e) {
  FILE *out = cli_text (c);
  const mugraph_saved *m = &s->file.saved[s->index];
  char hash[17], line[400];
  cJSON_AddStringToObject (root, "schema", "msearch.explain/1");
  cJSON_AddStringToObject (root, "file", s->path);
  cJSON_AddNumberToObject (root, "index", s->index);
  cJSON_AddStringToObject (root, "structure", hash_text (m->structure, hash));
  cJSON_AddStringToObject (root, "device", s->device.name);
  if (out) {
    cli_label (out, "file");
    fprintf (out, "%s, number %d, structure %s\n", s->path, s->index, hash);
    cli_label (out, "graph");
    fputs (mugraph_summary (&m->graph, line, sizeof line), out);
    fprintf (out, "%s\n", cli_schedule (&m->graph, line, sizeof line));
  }
  explain_rank (out, s, root);
  if (!explain_search (c, out, s, root, e)) return false;
  explain_generators (out, s, cJSON_AddArrayToObject (root, "generators"));
  explain_model (out, s, root);
  return true;
}

int cli_explain (const cli *c, mugraph_error *e) {
  subject *s = calloc (1, sizeof *s);
  int status = CLI_BAD;
  if (!s) return mugraph_fail (e, "out of memory"), CLI_BAD;
  if (find_subject (c, s, e)) {
    cJSON *root = cJSON_CreateObject ();
    bool good = explain (c, s, root, e);
    if (!good) cJSON_Delete (root);
    else if (cli_write_json (c, root, e)) status = cli_stop ? 128 + cli_stop : CLI_DONE;
  }
  mugraph_file_free (&s->file);
  free (s);
  return status;
}
