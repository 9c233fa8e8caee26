/* Search speed: from scratch, default bounds, no GPU: states, states a second, seconds, peak memory of the process.

     make bench-search [ARGS="[-r RUNS] [-t THREADS] [PROGRAM[:BATCH] ...]"]      default: all workloads at b = 1, 8, 16

   Each run is a process of its own; rounds go over all cases, so that what slows the machine for a while slows all of
   them, and the medians are printed as a Markdown table. Exit status: 0, 1 when some search did not finish or found
   nothing, 2 usage. */
#include "mugraph/program/program.h"
#include "search/search.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CASES = 64, RUNS = 25 };

typedef struct {
  double seconds, states, pruned, z3_queries, structures, valid, peak; /* peak: bytes of the process, at most */
  int kernels, threads;
  bool finished;
} outcome;

typedef struct {
  char program[256];
  int batch;
  outcome run[RUNS];
} bench_case;

static double now (void) {
  struct timespec t;
  clock_gettime (CLOCK_MONOTONIC, &t);
  return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

static bool search_here (const bench_case *c, int threads, outcome *o) {
  mugraph_error e;
  mugraph_program_options shape = {.batch = c->batch};
  search_options options;
  search_result r;
  mugraph_program *p = malloc (sizeof *p);
  search_options_default (&options);
  options.threads = threads;
  double start = now ();
  if (!p || !mugraph_program_open (c->program, &shape, p, &e) ||
      !search_run (&p->graph, &options, cuda_device_find ("h100"), NULL, NULL, NULL, &r, &e)) {
    fprintf (stderr, "bench/search: %s\n", p ? e.text : "out of memory");
    return false;
  }
  *o = (outcome){.seconds = now () - start,
                 .states = (double) r.stats.states,
                 .pruned = (double) r.stats.pruned,
                 .z3_queries = (double) r.stats.z3_queries,
                 .structures = (double) r.stats.structures,
                 .valid = (double) r.stats.valid,
                 .kernels = r.n ? r.candidate[0].graph.n_ops : 0,
                 .threads = r.threads,
                 .finished = r.finished};
  search_result_free (&r);
  free (p);
  return true;
}

/* In a child, whose peak memory is its own. */
static bool run (const bench_case *c, int threads, outcome *o) {
  int pipe_of[2];
  struct rusage usage = {0};
  int status;
  if (pipe (pipe_of)) return false;
  pid_t child = fork ();
  if (child == 0) {
    bool good = search_here (c, threads, o) && write (pipe_of[1], o, sizeof *o) == (ssize_t) sizeof *o;
    _exit (!good);
  }
  close (pipe_of[1]);
  bool good = child > 0 && read (pipe_of[0], o, sizeof *o) == (ssize_t) sizeof *o;
  close (pipe_of[0]);
  good = child > 0 && wait4 (child, &status, 0, &usage) == child && !status && good;
  o->peak = 1024.0 * (double) usage.ru_maxrss;
  return good;
}

static int by_value (const void *x, const void *y) {
  double a = *(const double *) x, b = *(const double *) y;
  return (a > b) - (a < b);
}

static double median (const bench_case *c, int runs) {
  double s[RUNS] = {0};
  for (int i = 0; i < runs; i++) s[i] = c->run[i].seconds;
  qsort (s, (size_t) runs, sizeof *s, by_value);
  return (s[(runs - 1) / 2] + s[runs / 2]) / 2;
}

static int usage (const char *what) {
  fprintf (stderr, "bench/search: %s\nusage: bench/search [-r RUNS] [-t THREADS] [PROGRAM[:BATCH] ...]\n", what);
  return 2;
}

static bool add_case (bench_case cases[], int *n, const char *text, int batch) {
  if (*n == CASES || strlen (text) >= sizeof cases->program) return false;
  bench_case *c = &cases[(*n)++];
  strcpy (c->program, text);
  char *colon = strrchr (c->program, ':');
  if (colon) *colon = 0, batch = atoi (colon + 1);
  c->batch = batch;
  return batch > 0;
}

int main (int argc, char **argv) {
  static bench_case cases[CASES];
  int n = 0, runs = 5, threads = 0, bad = 0;
  for (int i = 1; i < argc; i++) {
    if (!strcmp (argv[i], "-r") && i + 1 < argc) runs = atoi (argv[++i]);
    else if (!strcmp (argv[i], "-t") && i + 1 < argc) threads = atoi (argv[++i]);
    else if (argv[i][0] == '-' || !add_case (cases, &n, argv[i], 1)) return usage (argv[i]);
  }
  if (runs < 1 || runs > RUNS || threads < 0) return usage ("1 to 25 runs, threads from 0 (all cores)");
  if (!n)
    for (int w = 0; w < mugraph_n_workloads; w++)
      for (int b = 0; b <= 16; b += 8) add_case (cases, &n, mugraph_workloads[w].name, b ? b : 1);
  for (int r = 0; r < runs; r++)
    for (int i = 0; i < n; i++)
      if (!run (&cases[i], threads, &cases[i].run[r])) return 1;
  printf ("Medians of %d runs on %d threads.\n\n", runs, cases[0].run[0].threads);
  printf ("| program | b | seconds | states | states/s | pruned | Z3 queries | structures | kernels of the best | peak "
          "MiB | finished |\n"
          "|---|---|---|---|---|---|---|---|---|---|---|\n");
  for (int i = 0; i < n; i++) {
    const outcome *o = &cases[i].run[0];
    double seconds = median (&cases[i], runs), peak = 0;
    bool finished = o->structures > 0;
    for (int r = 0; r < runs; r++) {
      if (peak < cases[i].run[r].peak) peak = cases[i].run[r].peak;
      finished &= cases[i].run[r].finished;
    }
    bad |= !finished;
    printf ("| %s | %d | %.2f | %.0f | %.0f | %.0f%% | %.0f | %.0f | %d | %.0f | %s |\n", cases[i].program,
            cases[i].batch, seconds, o->states, o->states / seconds, o->states > 0 ? 100 * o->pruned / o->states : 0,
            o->z3_queries, o->structures, o->kernels, peak / 1048576, finished ? "yes" : "NO");
  }
  return bad;
}
