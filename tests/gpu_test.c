/* Runs the µGraphs of tests/cuda_graphs.h on a GPU and compares each with the float64 reference of its program. For
   people who work on the code generators, and for `make gpu-check`.

   gpu_test [--backend N] [--device NAME] [--pdl] [--time] [--list] [PART OF A NAME]...

   --device a100: the code that is generated for sm_80, compiled for the GPU of this machine. */
#include "cuda_graphs.h"
#include "cuda_templates/cuda.h"
#include "cuda_templates/runtime/meter.h"
#include "cuda_templates/runtime/nvrtc.h"
#include "cuda_templates/runtime/probe.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct {
  bool pdl, time;
  int backend; /* -1: as the case says */
  int arch;    /* of this machine's GPU */
  int n_parts;
  char **part;
  const cuda_device *device;
} options;

static bool wanted (const options *o, const graph_case *c) {
  for (int i = 0; i < o->n_parts; i++)
    if (strstr (c->name, o->part[i])) return true;
  return !o->n_parts;
}

static bool build (const options *o, const graph_case *c, mugraph *program, mugraph *candidate) {
  if (!build_case (c, program, candidate)) return false;
  for (int b = 0; o->backend >= 0 && b < candidate->n_blocks; b++)
    candidate->block[b].sched.backend = (int16_t) o->backend;
  return true;
}

/* What is compiled in parallel here is found in the disk cache later. */
typedef struct {
  const options *o;
  atomic_int *next;
} worker;

static void compile_and_drop (cuda_program *p, int arch) {
  char *cubin = NULL;
  size_t size;
  cuda_compile (p->source, arch, &cubin, &size, NULL, NULL);
  free (cubin);
  cuda_program_free (p);
}

static void *compile_cases (void *argument) {
  const worker *w = argument;
  mugraph *program = malloc (2 * sizeof *program);
  for (int i; program && (i = atomic_fetch_add (w->next, 1)) < N_GRAPH_CASES;) {
    cuda_program p;
    if (!wanted (w->o, &graph_cases[i]) || !build (w->o, &graph_cases[i], program, program + 1)) continue;
    if (cuda_emit (program + 1, w->o->device, w->o->pdl, &p, NULL)) compile_and_drop (&p, w->o->arch);
    if (cuda_emit_reference (program, &p, NULL)) compile_and_drop (&p, w->o->arch);
  }
  free (program);
  return NULL;
}

static void compile_all (const options *o) {
  enum { MOST = 64 };
  pthread_t thread[MOST];
  atomic_int next = 0;
  worker w = {o, &next};
  long n = sysconf (_SC_NPROCESSORS_ONLN);
  int started = 0;
  for (; started < (n > MOST ? MOST : (int) n); started++)
    if (pthread_create (&thread[started], NULL, compile_cases, &w)) break;
  for (int i = 0; i < started; i++) pthread_join (thread[i], NULL);
}

/* Generators of the graph's kernels, one letter each; - a pre-defined kernel. */
static void backends (const options *o, const mugraph *g, char text[MUGRAPH_KERNEL_OPS + 1]) {
  int n = 0;
  for (int k = 0; k < g->n_ops; k++) {
    cuda_plan p;
    text[n] = '-';
    if (g->op[k].kind == MUGRAPH_OP_CUSTOM)
      text[n] = cuda_plan_kernel (g, k, o->device, &p, NULL) ? *cuda_generator_text (p.backend) : '?';
    n++;
  }
  text[n] = 0;
}

static double tolerance (const mugraph *program) {
  double t = 1e-5;
  for (int i = 0; i < program->n_outputs; i++) {
    int dtype = program->tensor[program->output[i]].shape.dtype;
    double own = dtype == MUGRAPH_F16 ? 2e-3 : dtype == MUGRAPH_BF16 ? 6e-3 : 1e-5;
    if (t < own) t = own;
  }
  return t;
}

static bool run_case (const options *o, const graph_case *c) {
  static mugraph program, candidate;
  char kinds[MUGRAPH_KERNEL_OPS + 1];
  double scale[MUGRAPH_INPUTS];
  cuda_measurement m = {0};
  mugraph_error e;
  if (!build (o, c, &program, &candidate)) return false;
  for (int i = 0; i < MUGRAPH_INPUTS; i++) scale[i] = i < 4 && c->scale[i] != 0 ? c->scale[i] : 1;
  backends (o, &candidate, kinds);
  bool done = cuda_measure (&program, &candidate, o->device, o->pdl, 1, scale, tolerance (&program), o->time, &m, &e);
  bool good = done && m.correct;
  printf ("%-44s %-6s %-5s", c->name, kinds, good ? "ok" : "WRONG");
  if (done) printf (" %9.2e", m.rel_err);
  else printf (" %s", e.text);
  if (done && o->time) printf (" %9.2f %9.2f", m.warm_us, m.cold_us);
  printf ("\n");
  fflush (stdout);
  return good;
}

int main (int argc, char **argv) {
  options o = {.backend = -1};
  cuda_facts facts;
  for (int i = 1; i < argc; i++)
    if (!strcmp (argv[i], "--pdl")) o.pdl = true;
    else if (!strcmp (argv[i], "--time")) o.time = true;
    else if (!strcmp (argv[i], "--backend") && i + 1 < argc) o.backend = atoi (argv[++i]);
    else if (!strcmp (argv[i], "--device") && i + 1 < argc) o.device = cuda_device_find (argv[++i]);
    else if (!strcmp (argv[i], "--list")) {
      for (int c = 0; c < N_GRAPH_CASES; c++) puts (graph_cases[c].name);
      return 0;
    } else {
      o.part = argv + i;
      o.n_parts = argc - i;
      break;
    }
  cuda_probe (&facts);
  if (!facts.gpu || !facts.nvrtc) {
    fprintf (stderr, "gpu_test: %s\n", facts.line);
    return 2;
  }
  if (!o.device) o.device = cuda_device_find (facts.device);
  if (!o.device) o.device = cuda_device_find (facts.arch >= 90 ? "h100" : "a100");
  o.arch = facts.arch;
  printf ("%s, kernels for %s%s\n%-44s %-6s %-5s %9s%s\n", facts.line, o.device->name, o.pdl ? ", pdl" : "", "case",
          "by", "", "rel_err", o.time ? "   warm us   cold us" : "");
  compile_all (&o);
  int wrong = 0, run = 0;
  for (int i = 0; i < N_GRAPH_CASES; i++)
    if (wanted (&o, &graph_cases[i])) run++, wrong += !run_case (&o, &graph_cases[i]);
  printf ("%d cases, %d wrong\n", run, wrong);
  return wrong || !run;
}
