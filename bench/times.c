/* bench/times: measures many schedules of many programs on the GPU of this machine: what the cost model is fitted to
   (make fit-cost) and judged by (make bench-model).

     bench/times [-o DIR] [--seconds N] [--sample N] [--quick] [NAME[:BATCH] ...]

   Of every program of the table below (with names: those only) it searches µGraphs, varies their schedules, takes a
   sample of N (default 24) that differ in generators, in schedule and in predicted time, compares each with a float64
   reference and times it cold, launched plainly and with programmatic dependent launch. Programs are marked `fit` or
   `judge`: the fit never sees those that judge it.

   Writes DIR/times-<device>/<program>_b<batch>.json (default bench/results): µGraphs with what they took, as any file
   of µGraphs, the part in its record of the search; and their summary, DIR/times-<device>.csv. Programs whose file is
   there are left out, so that a run that ended early is continued. --seconds: ends after so long (default 540) and
   keeps what it has. Every file is written under another name and renamed. Exit status: 0 all right, 1 some program
   failed, 2 usage, or no GPU. */
#include "cuda_templates/cuda.h"
#include "cuda_templates/emit/launches.h"
#include "cuda_templates/runtime/meter.h"
#include "cuda_templates/runtime/nvrtc.h"
#include "cuda_templates/runtime/probe.h"
#include "mugraph/file/saved.h"
#include "mugraph/file/text.h"
#include "mugraph/program/program.h"
#include "search/schedules/schedule.h"
#include "search/schedules/tune.h"
#include "timed.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum {
  STRUCTURES = 6, /* of a program whose schedules are searched */
  SCHEDULES = 64, /* of each */
  VARIED = 600,   /* attempts at a schedule that no search would choose */
  POOL = 2 * SCHEDULES + STRUCTURES * SCHEDULES + VARIED
};
static const double TOLERANCE = 2e-3,
                    DEAREST = 5; /* times the cheapest predicted score: beyond, nobody asks what it takes */

/* ---- the programs ---- */

typedef enum { FIT, JUDGE } part;
static const char *const part_text[] = {[FIT] = "fit", [JUDGE] = "judge"};

typedef struct {
  const char *name;
  int batch;
  part part;
  const char *text; /* NULL: the workload of that name */
} bench_program;

static const char linear[] = "input X[b, 4096]: f16\n"
                             "input W[4096, 4096]: f16\n"
                             "output O = relu(matmul(X, W))\n",
                  softmax[] = "input X[b, 8192]: f16\n"
                              "output O = softmax(X, -1)\n",
                  short_attention[] = "input Q[8*b, 64, 64]: f16\n"
                                      "input K[8*b, 64, 1024]: f16\n"
                                      "input V[8*b, 1024, 64]: f16\n"
                                      "E = exp(matmul(Q, K))\n"
                                      "output O = matmul(E / sum(E, -1), V)\n",
                  wide_attention[] = "input Q[4*b, 128, 128]: f16\n"
                                     "input K[4*b, 128, 2048]: f16\n"
                                     "input V[4*b, 2048, 128]: f16\n"
                                     "E = exp(matmul(Q, K))\n"
                                     "output O = matmul(E / sum(E, -1), V)\n",
                  small_mlp[] = "input X[b, 2048]: f16\n"
                                "input W1[2048, 5632]: f16\n"
                                "input W2[2048, 5632]: f16\n"
                                "output O = silu(matmul(X, W1)) * matmul(X, W2)\n",
                  norm_rows[] = "input X[b, 6144]: f16\n"
                                "input H[b, 6144]: f16\n"
                                "input G[6144]: f16\n"
                                "output O = rms_norm(X + H, -1) * G\n";

/* Fit and judge take turns, and so do kinds of kernels: a run that ends early has some of all. */
static const bench_program programs[] = {
    {"rmsnorm", 1, FIT, NULL},
    {"qknorm", 1, JUDGE, NULL},
    {"gqa", 1, FIT, NULL},
    {"small_mlp", 4, JUDGE, small_mlp},
    {"gatedmlp", 16, FIT, NULL},
    {"ntrans", 8, JUDGE, NULL},
    {"ntrans", 1, FIT, NULL},
    {"lora", 8, JUDGE, NULL},
    {"lora", 1, FIT, NULL},
    {"wide_attention", 1, JUDGE, wide_attention},
    {"linear", 256, FIT, linear},
    {"rmsnorm", 256, JUDGE, NULL},
    {"gqa", 8, FIT, NULL},
    {"rmsnorm", 8, JUDGE, NULL},
    {"softmax", 256, FIT, softmax},
    {"norm_rows", 1024, JUDGE, norm_rows},
    {"rmsnorm", 16, FIT, NULL},
    {"gatedmlp", 1, JUDGE, NULL},
    {"linear", 4, FIT, linear},
    {"qknorm", 8, JUDGE, NULL},
    {"short_attention", 2, FIT, short_attention},
    {"lora", 16, FIT, NULL},
    {"ntrans", 64, FIT, NULL},
    {"gatedmlp", 8, FIT, NULL},
    {"lora", 512, FIT, NULL},
    {"gatedmlp", 512, JUDGE, NULL},
    {"softmax", 8, FIT, softmax},
    {"short_attention", 16, FIT, short_attention},
};
enum { PROGRAMS = sizeof programs / sizeof *programs };

typedef struct {
  const char *dir; /* of results */
  double deadline; /* by tune_now */
  int sample;
  cuda_effort effort;
  const char *gpu; /* the driver's name */
  const cuda_device *device;
} run_options;

static volatile int stop;
static void on_signal (int number) { stop = number; }

static bool time_is_up (const run_options *o) { return stop || tune_now () > o->deadline; }

static bool open_program (const bench_program *p, mugraph_program *out, mugraph_error *e) {
  mugraph_program_options options = {.batch = p->batch};
  memset (out, 0, sizeof *out);
  return p->text ? mugraph_program_parse (p->text, strlen (p->text), p->name, &options, out, e)
                 : mugraph_program_workload (p->name, &options, out, e);
}

/* ---- the pool of schedules ---- */

typedef struct {
  const mugraph *graph;
  double plain, pdl, score; /* predicted */
  uint64_t identity;        /* of the kernels that it becomes */
  int generators;           /* of its kernels, as a number */
  double shape[3];          /* log2 of warps, of stages and of blocks, summed over the kernels */
  bool taken;
} entry;

typedef struct {
  int n, room;
  entry *entry;
  mugraph *graph; /* `room` of them, owned */
} pool;

static bool open_pool (pool *p, int room) {
  *p = (pool){.room = room};
  p->entry = calloc ((size_t) room, sizeof *p->entry), p->graph = calloc ((size_t) room, sizeof *p->graph);
  return p->entry && p->graph;
}

static void close_pool (pool *p) { free (p->entry), free (p->graph); }

/* Names what the planner chose, where that is launched the same: what was measured then stays what it was though the
   planner's choice changes. */
static void pin (mugraph *g, uint64_t identity, const cuda_device *d) {
  for (int k = 0; k < g->n_ops; k++) {
    cuda_plan plan;
    if (g->op[k].kind != MUGRAPH_OP_CUSTOM || !cuda_plan_kernel (g, k, d, &plan, NULL)) continue;
    mugraph_sched *sched = &g->block[g->op[k].block].sched, before = *sched;
    *sched = plan.sched;
    if (schedule_identity (g, d, true) != identity) *sched = before;
  }
}

/* Adds a µGraph that can be launched, unless the same kernels are there already. */
static bool add (pool *p, const mugraph *g, const cuda_device *d) {
  entry x = {.identity = schedule_identity (g, d, true)};
  if (p->n == p->room) return false;
  for (int i = 0; i < p->n; i++)
    if (p->entry[i].identity == x.identity) return false;
  cost_times (g, d, &x.plain, &x.pdl);
  x.score = cost_score (x.plain, x.pdl);
  if (!isfinite (x.score)) return false;
  for (int k = 0; k < g->n_ops; k++) {
    cuda_plan plan;
    if (g->op[k].kind != MUGRAPH_OP_CUSTOM) continue;
    if (!cuda_plan_kernel (g, k, d, &plan, NULL)) return false;
    x.generators = x.generators * CUDA_N_GENERATORS + (int) plan.backend;
    x.shape[0] += log2 (plan.threads / 32.0), x.shape[1] += log2 (plan.sched.stages > 1 ? plan.sched.stages : 1);
    x.shape[2] += log2 ((double) plan.blocks);
  }
  p->graph[p->n] = *g, x.graph = &p->graph[p->n];
  pin (&p->graph[p->n], x.identity, d);
  p->entry[p->n++] = x;
  return true;
}

/* A sequence that is the same everywhere (splitmix64): below n. */
static int draw (uint64_t *state, int n) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u, z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return (int) ((z ^ z >> 31) % (uint64_t) n);
}

/* Changes one thing about the schedule of one kernel. False where there is nothing to change, or it cannot be. */
static bool vary (mugraph *g, uint64_t *state) {
  static const int16_t power[] = {0, 1, 2, 4, 8, 16}, columns[] = {0, 8, 16, 32, 64, 128};
  int k = draw (state, g->n_ops);
  if (g->op[k].kind != MUGRAPH_OP_CUSTOM) return false;
  mugraph_block *b = &g->block[g->op[k].block];
  int32_t *extent[] = {&b->grid[0], &b->grid[1], &b->grid[2], &b->loop};
  int what = draw (state, 10);
  if (what < 4) {
    if (*extent[what] == 1) return false;
    *extent[what] = draw (state, 2) ? *extent[what] * 2 : (*extent[what] + 1) / 2;
  } else if (what == 4) {
    mugraph_sched_default (&b->sched);
    b->sched.backend = (int16_t) draw (state, CUDA_N_GENERATORS);
  } else if (what == 5) b->sched.warps = power[draw (state, 6)];
  else if (what == 6) b->sched.stages = (int16_t) draw (state, 12);
  else if (what == 7) b->sched.split = power[1 + draw (state, 5)];
  else if (what == 8) b->sched.tile_n = columns[draw (state, 6)];
  else b->sched.copy = (int16_t) draw (state, 3);
  return mugraph_infer (g, NULL);
}

/* Schedules that no search would keep: the model must be right about those too, or it would not know that they are
   bad. */
static void add_varied (pool *p, const cuda_device *d) {
  uint64_t state = 1;
  int first = p->n;
  mugraph *g = malloc (sizeof *g);
  for (int i = 0; g && first && i < VARIED; i++) {
    *g = p->graph[draw (&state, draw (&state, 2) ? p->n : first)];
    bool changed = vary (g, &state);
    if (changed && draw (&state, 2)) changed = vary (g, &state);
    if (changed) add (p, g, d);
  }
  free (g);
}

/* What a search finds, more schedules of the structures among it, and variations of all. */
static bool fill_pool (pool *p, const mugraph *program, const cuda_device *d, mugraph_error *e) {
  search_options options;
  search_result r;
  search_candidate *more = malloc (SCHEDULES * sizeof *more);
  uint64_t seen[STRUCTURES];
  int structures = 0;
  search_options_default (&options);
  options.top = SCHEDULES, options.budget = 20;
  bool good = more && open_pool (p, POOL) ? search_run (program, &options, d, &stop, NULL, NULL, &r, e)
                                          : mugraph_fail (e, "out of memory");
  for (int i = 0; good && i < r.n; i++) add (p, &r.candidate[i].graph, d);
  for (int i = 0; good && i < r.n && structures < STRUCTURES; i++) {
    bool known = false;
    for (int k = 0; k < structures; k++) known |= seen[k] == r.candidate[i].structure;
    if (known) continue;
    seen[structures++] = r.candidate[i].structure;
    int n = search_schedules (&r.candidate[i].graph, d, SCHEDULES, more);
    for (int k = 0; k < n; k++) add (p, &more[k].graph, d);
  }
  if (good) search_result_free (&r), add_varied (p, d);
  free (more);
  return good && (p->n || mugraph_fail (e, "nothing was found"));
}

/* ---- the sample ---- */

static int by_score (const void *x, const void *y) {
  const entry *a = x, *b = y;
  return a->score != b->score ? (a->score > b->score) - (a->score < b->score)
                              : (a->identity > b->identity) - (a->identity < b->identity);
}

/* How unlike two schedules are. */
static double distance (const entry *a, const entry *b) {
  double far = fabs (log2 (a->plain / b->plain)) + 2 * (a->generators != b->generators);
  if (a->pdl > 0 && isfinite (a->pdl)) far += fabs (log2 (a->pdl / b->pdl));
  for (int i = 0; i < 3; i++) far += 0.2 * fabs (a->shape[i] - b->shape[i]);
  return far;
}

/* The entry that is farthest from all taken; -1: there is none within DEAREST of the cheapest. */
static int farthest (const pool *p) {
  int best = -1;
  double most = -1;
  for (int i = 0; i < p->n; i++) {
    double least = INFINITY;
    if (p->entry[i].taken || p->entry[i].score > DEAREST * p->entry[0].score) continue;
    for (int k = 0; k < p->n; k++)
      if (p->entry[k].taken) least = fmin (least, distance (&p->entry[i], &p->entry[k]));
    if (least > most) most = least, best = i;
  }
  return best;
}

/* Every third is the next of the model's first ones, the others are each as unlike those before as there is. Returns
   how many. */
static int take_sample (pool *p, int want, int index[]) {
  int n = 0;
  qsort (p->entry, (size_t) p->n, sizeof *p->entry, by_score);
  for (int first = 0; n < want && n < p->n; n++) {
    while (first < p->n && p->entry[first].taken) first++;
    int i = n % 3 ? farthest (p) : first;
    if (i < 0 || i >= p->n) break;
    p->entry[i].taken = true, index[n] = i;
  }
  return n;
}

/* ---- measuring ---- */

/* In parallel, ahead: what is compiled here is found in the compiler's cache when it is measured. */
static void compile_sample (const run_options *o, const pool *p, const int index[], int n) {
#pragma omp parallel for schedule(dynamic)
  for (int i = 0; i < 2 * n; i++) {
    cuda_program *c = time_is_up (o) ? NULL : calloc (1, sizeof *c);
    char *cubin = NULL;
    size_t size;
    if (c && cuda_emit (p->entry[index[i / 2]].graph, o->device, i % 2, c, NULL)) {
      cuda_compile (c->source, o->device->arch, &cubin, &size, NULL, NULL);
      cuda_program_free (c);
    }
    free (cubin), free (c);
  }
}

/* Both ways of launching; appended to the file when both are right. */
static bool measure (const run_options *o, cuda_meter *meter, const entry *x, mugraph_file *f, mugraph_error *e) {
  cuda_measurement m[2];
  for (int pdl = 0; pdl < 2; pdl++) {
    if (!cuda_meter_run (meter, x->graph, pdl, TOLERANCE, o->effort, &m[pdl], e)) return false;
    if (!m[pdl].correct) return mugraph_fail (e, "wrong, relative error %.1e", m[pdl].rel_err);
  }
  char date[20];
  time_t now = time (NULL);
  strftime (date, sizeof date, "%Y-%m-%d", gmtime (&now));
  mugraph_saved *s = mugraph_file_append (f, x->graph, x->score);
  cJSON *record = s ? mugraph_saved_measure (s, o->gpu) : NULL;
  if (!record) return mugraph_fail (e, "out of memory");
  cJSON_AddBoolToObject (record, "correct", true);
  cJSON_AddStringToObject (record, "date", date);
  return mugraph_record_set (record, "rel_err", fmax (m[0].rel_err, m[1].rel_err)) &&
         mugraph_record_set (record, "cold_us", m[0].cold_us) &&
         mugraph_record_set (record, "cold_pdl_us", m[1].cold_us) &&
         mugraph_record_set (record, "cold_spread_us", m[0].cold_spread_us) &&
         mugraph_record_set (record, "cold_pdl_spread_us", m[1].cold_spread_us);
}

static bool describe_file (const bench_program *b, const mugraph_program *p, mugraph_file *f) {
  mugraph_file_init (f);
  snprintf (f->name, sizeof f->name, "%s", b->name);
  f->batch = b->batch, f->has_program = true, f->program = p->graph;
  f->search = cJSON_CreateObject ();
  return f->search && cJSON_AddStringToObject (f->search, "part", part_text[b->part]);
}

/* Measures a sample of the pool into the file; what fails is said and left out. */
static bool measure_sample (const run_options *o, const mugraph *program, pool *p, mugraph_file *f, mugraph_error *e) {
  int *index = calloc ((size_t) o->sample, sizeof *index), wrong = 0;
  cuda_meter *meter = index ? cuda_meter_new (program, o->device, 1, NULL, e) : NULL;
  int n = meter ? take_sample (p, o->sample, index) : 0;
  compile_sample (o, p, index, n);
  for (int i = 0; i < n && !time_is_up (o); i++) {
    mugraph_error why;
    if (measure (o, meter, &p->entry[index[i]], f, &why)) continue;
    wrong++;
    fprintf (stderr, "bench/times: %s b=%d: %s\n", f->name, f->batch, why.text);
    if (!cuda_usable ()) break;
  }
  if (meter) printf ("%-16s b=%-4d %4d schedules, %2d measured, %d failed\n", f->name, f->batch, p->n, f->n, wrong);
  fflush (stdout);
  cuda_meter_free (meter);
  free (index);
  return meter != NULL;
}

static void path_of (const run_options *o, const bench_program *b, char *path, size_t size) {
  snprintf (path, size, "%s/times-%s/%s_b%d.json", o->dir, o->device->name, b->name, b->batch);
}

static bool run_program (const run_options *o, const bench_program *b, mugraph_error *e) {
  mugraph_program *p = calloc (1, sizeof *p);
  mugraph_file f;
  pool all = {0};
  char path[600];
  path_of (o, b, path, sizeof path);
  mugraph_file_init (&f);
  bool good = p ? open_program (b, p, e) && describe_file (b, p, &f) : mugraph_fail (e, "out of memory");
  good = good && fill_pool (&all, &p->graph, o->device, e) && measure_sample (o, &p->graph, &all, &f, e) &&
         (!f.n || mugraph_file_save (path, &f, e));
  mugraph_file_free (&f);
  close_pool (&all);
  free (p);
  return good;
}

/* ---- the summary ---- */

static void write_rows (FILE *out, const run_options *o, const bench_program *b) {
  mugraph_file f;
  char path[600];
  path_of (o, b, path, sizeof path);
  if (!mugraph_file_load (path, &f, NULL)) return;
  for (int i = 0; i < f.n; i++) {
    const cJSON *m = cJSON_GetObjectItemCaseSensitive (f.saved[i].measured, o->gpu);
    fprintf (out, "%s,%d,%s,%s_b%d.json,%d,\"", b->name, b->batch, part_text[b->part], b->name, b->batch, i);
    timed_schedule (out, &f.saved[i].graph, o->device);
    fprintf (out, "\",%.3f,%.3f\n", mugraph_record_number (m, "cold_us", INFINITY),
             mugraph_record_number (m, "cold_pdl_us", INFINITY));
  }
  mugraph_file_free (&f);
}

/* Of all files that are there. */
static bool write_summary (const run_options *o, mugraph_error *e) {
  char path[600], *text = NULL;
  size_t size;
  FILE *f = open_memstream (&text, &size);
  if (!f) return mugraph_fail (e, "out of memory");
  fprintf (f, "program,batch,part,file,index,schedule,plain_us,pdl_us\n");
  for (int i = 0; i < PROGRAMS; i++) write_rows (f, o, &programs[i]);
  bool good = !fclose (f) || mugraph_fail (e, "out of memory");
  snprintf (path, sizeof path, "%s/times-%s.csv", o->dir, o->device->name);
  good = good && mugraph_write_text (path, text, size, e);
  free (text);
  return good;
}

/* ---- the command line ---- */

/* bad: the argument that is wrong; NULL: asked for. */
static int usage (const char *bad) {
  FILE *to = bad ? stderr : stdout;
  if (bad) fprintf (to, "bench/times: %s is no option or program, or lacks its value\n", bad);
  fprintf (to,
           "usage: bench/times [-o DIR] [--seconds N] [--sample N] [--quick] [NAME[:BATCH] ...]\n"
           "Measures schedules of the programs below (with names: those only) on this machine's GPU, cold, launched "
           "plainly and with pdl,\n"
           "and writes DIR/times-<device>/<program>_b<batch>.json and DIR/times-<device>.csv. Programs whose file "
           "is there are left out:\n"
           "a run that ended early is continued by the same command.\n"
           "  -o DIR       of the results (bench/results)\n"
           "  --seconds N  end after so long, with what there is (540)\n"
           "  --sample N   schedules of a program (24)\n"
           "  --quick      8 replays instead of 30\n"
           "programs:");
  for (int i = 0; i < PROGRAMS; i++)
    fprintf (to, "%s%s b=%d (%s)", i ? ", " : " ", programs[i].name, programs[i].batch, part_text[programs[i].part]);
  fprintf (to, "\n");
  return bad ? 2 : 0;
}

/* The position of the first NAME; -1 with the argument that is wrong. */
static int read_options (int argc, char **argv, run_options *o, double *seconds, const char **bad) {
  int i = 1;
  for (; i < argc && argv[i][0] == '-'; i++) {
    const char *value = i + 1 < argc ? argv[i + 1] : NULL;
    *bad = argv[i];
    if (!strcmp (argv[i], "--quick")) o->effort = CUDA_QUICK;
    else if (value && !strcmp (argv[i], "-o")) o->dir = argv[++i];
    else if (value && !strcmp (argv[i], "--seconds") && atof (value) > 0) *seconds = atof (argv[++i]);
    else if (value && !strcmp (argv[i], "--sample") && atoi (value) > 0) o->sample = atoi (argv[++i]);
    else return -1;
  }
  return i;
}

/* "gqa" or "gqa:8" */
static bool is_named (const bench_program *b, const char *name) {
  size_t n = strcspn (name, ":");
  return n == strlen (b->name) && !strncmp (name, b->name, n) && (!name[n] || atoi (name + n + 1) == b->batch);
}

static bool wanted (const bench_program *b, char **names, int n) {
  for (int i = 0; i < n; i++)
    if (is_named (b, names[i])) return true;
  return !n;
}

/* The first name that is of no program, or NULL. */
static const char *unknown (char **names, int n) {
  for (int i = 0; i < n; i++) {
    bool known = false;
    for (int k = 0; k < PROGRAMS; k++) known |= is_named (&programs[k], names[i]);
    if (!known) return names[i];
  }
  return NULL;
}

static bool make_folders (const run_options *o, mugraph_error *e) {
  char path[600];
  snprintf (path, sizeof path, "%s/times-%s", o->dir, o->device->name);
  mkdir (o->dir, 0777);
  if (mkdir (path, 0777) && errno != EEXIST) return mugraph_fail (e, "%s: %s", path, strerror (errno));
  return true;
}

/* Runs what has no file yet; returns how many failed. */
static int run_all (const run_options *o, char **names, int n_names) {
  int failed = 0;
  mugraph_error e;
  for (int i = 0; i < PROGRAMS && !time_is_up (o) && cuda_usable (); i++) {
    char path[600];
    struct stat there;
    path_of (o, &programs[i], path, sizeof path);
    if (!wanted (&programs[i], names, n_names) || !stat (path, &there)) continue;
    bool good = run_program (o, &programs[i], &e) && write_summary (o, &e);
    if (!good) fprintf (stderr, "bench/times: %s b=%d: %s\n", programs[i].name, programs[i].batch, e.text);
    failed += !good;
  }
  return failed;
}

int main (int argc, char **argv) {
  run_options o = {.dir = "bench/results", .sample = 24, .effort = CUDA_FULL};
  double seconds = 540, start = tune_now ();
  mugraph_error e;
  if (argc > 1 && !strcmp (argv[1], "--help")) return usage (NULL);
  const char *bad = NULL;
  int first = read_options (argc, argv, &o, &seconds, &bad);
  if (first >= 0) bad = unknown (argv + first, argc - first);
  if (bad) return usage (bad);
  cuda_isolate ();
  cuda_facts facts;
  cuda_probe (&facts);
  if (!facts.gpu || !facts.nvrtc) {
    fprintf (stderr, "bench/times: needs a GPU and NVRTC: %s\n", facts.line);
    return 2;
  }
  o.gpu = facts.device, o.device = cuda_device_find (facts.device), o.deadline = start + seconds;
  if (!o.device) {
    fprintf (stderr, "bench/times: %s is not in the table of devices\n", facts.device);
    return 2;
  }
  signal (SIGINT, on_signal), signal (SIGTERM, on_signal);
  bool good = make_folders (&o, &e);
  int failed = good ? run_all (&o, argv + first, argc - first) : 0;
  good = good && write_summary (&o, &e);
  if (!good) fprintf (stderr, "bench/times: %s\n", e.text);
  if (time_is_up (&o)) printf ("ended early: the same command measures the rest\n");
  return !good ? 2 : failed > 0;
}
