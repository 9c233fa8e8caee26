/* The cost model against measurements: how the model ranks what was timed.

     build/bench/model [-v] FILE.json ...

   For every saved file and every device it holds measurements of: the µGraphs timed, the best one's times launched
   plainly and with programmatic dependent launch and what the model says of them, its rank by the model (1 first; equal
   costs share the best rank), the best rank of any µGraph within 3 % of the measured best, and Spearman's rank
   correlation. "The best", ranks and correlation are by cost_score. -v lists every µGraph. Microseconds, cold. */
#include "mugraph/file/json.h"
#include "mugraph/print.h"
#include "search/search.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GOAL = 8 }; /* the measured best should be among the model's first */

typedef struct {
  int index;
  double model, model_plain, model_pdl, plain, pdl, best; /* model: now, as best: the score */
} timed;

static int by_best (const void *x, const void *y) {
  const timed *a = x, *b = y;
  return a->best != b->best ? (a->best > b->best) - (a->best < b->best) : a->index - b->index;
}

/* Ranks from 0 with ties at their mean: how many are smaller, and half of the others that are equal. */
static double rank_of (const timed t[], int n, int i, bool model) {
  double rank = 0;
  for (int k = 0; k < n; k++) {
    double a = model ? t[k].model : t[k].best, b = model ? t[i].model : t[i].best;
    rank += a < b ? 1 : k != i && a == b ? 0.5 : 0;
  }
  return rank;
}

static double correlation (const timed t[], int n) {
  double mean = (n - 1) / 2.0, xy = 0, xx = 0, yy = 0;
  for (int i = 0; i < n; i++) {
    double x = rank_of (t, n, i, true) - mean, y = rank_of (t, n, i, false) - mean;
    xy += x * y, xx += x * x, yy += y * y;
  }
  return xx > 0 && yy > 0 ? xy / sqrt (xx * yy) : 0;
}

static int model_rank (const timed t[], int n, int i) {
  int rank = 1;
  for (int k = 0; k < n; k++) rank += t[k].model < t[i].model;
  return rank;
}

static void list (const mugraph_file *file, const timed t[], int n) {
  for (int i = 0; i < n; i++) {
    const mugraph *g = &file->saved[t[i].index].graph;
    printf ("    %3d. (model %3d.)  score %7.2f, model %7.2f  plain %7.2f, model %7.2f  pdl %7.2f, model %7.2f ", i + 1,
            model_rank (t, n, i), t[i].best, t[i].model, t[i].plain, t[i].model_plain, t[i].pdl, t[i].model_pdl);
    for (int k = 0; k < g->n_ops; k++) {
      const mugraph_op *o = &g->op[k];
      if (o->kind != MUGRAPH_OP_CUSTOM) {
        printf (" | %s", mugraph_op_table[o->kind].text);
        continue;
      }
      const mugraph_block *b = &g->block[o->block];
      const mugraph_sched *s = &b->sched;
      printf (" | %dx%dx%d loop %d %s warps %d stages %d split %d tile %dx%d", b->grid[0], b->grid[1], b->grid[2],
              b->loop, cuda_generator_text ((cuda_generator) s->backend), s->warps, s->stages, s->split, s->tile_m,
              s->tile_n);
    }
    printf ("  %06llx\n", (unsigned long long) file->saved[t[i].index].structure >> 40);
  }
}

typedef struct {
  int files, exact, near; /* near: some µGraph within 3 % of the best is among the model's first */
} score;

static void judge (const mugraph_file *file, const char *gpu, const cuda_device *device, bool verbose, score *s) {
  timed *t = calloc ((size_t) file->n, sizeof *t);
  int n = 0, near = 1 << 30;
  for (int i = 0; t && i < file->n; i++) {
    const cJSON *m = cJSON_GetObjectItemCaseSensitive (file->saved[i].measured, gpu);
    timed x = {.index = i,
               .plain = mugraph_record_number (m, "cold_us", INFINITY),
               .pdl = mugraph_record_number (m, "cold_pdl_us", INFINITY)};
    x.best = cost_score (x.plain, x.pdl);
    cost_times (&file->saved[i].graph, device, &x.model_plain, &x.model_pdl);
    x.model = cost_score (x.model_plain, x.model_pdl);
    if (isfinite (x.best) && mugraph_record_number (m, "correct", 1) != 0) t[n++] = x;
  }
  if (n) qsort (t, (size_t) n, sizeof *t, by_best);
  for (int i = 0; i < n && t[i].best <= COST_NEAR * t[0].best; i++) {
    int r = model_rank (t, n, i);
    if (r < near) near = r;
  }
  int rank = n ? model_rank (t, n, 0) : 0;
  if (n)
    printf ("%-10s b=%-3d %-6s %3d timed  best: plain %6.2f pdl %6.2f  model %6.2f %6.2f  rank %3d  rank within 3%% "
            "%3d  correlation %5.2f\n",
            file->name, file->batch, device->name, n, t[0].plain, t[0].pdl, t[0].model_plain, t[0].model_pdl, rank,
            near, correlation (t, n));
  if (verbose) list (file, t, n);
  free (t);
  s->files += n > 0, s->exact += n && rank <= GOAL, s->near += n && near <= GOAL;
}

int main (int argc, char **argv) {
  bool verbose = argc > 1 && !strcmp (argv[1], "-v");
  int bad = 0;
  score total = {0};
  if (argc < 2 + verbose) {
    fprintf (stderr, "usage: bench/model [-v] FILE.json ...\n");
    return 2;
  }
  for (int i = 1 + verbose; i < argc; i++) {
    mugraph_file file;
    mugraph_error e;
    if (!mugraph_file_load (argv[i], &file, &e)) {
      fprintf (stderr, "bench/model: %s\n", e.text);
      bad++;
      continue;
    }
    /* every device that some µGraph was measured on, once */
    for (int k = 0; k < file.n; k++)
      for (const cJSON *m = file.saved[k].measured ? file.saved[k].measured->child : NULL; m; m = m->next) {
        bool seen = false;
        for (int j = 0; j < k && !seen; j++)
          seen = cJSON_GetObjectItemCaseSensitive (file.saved[j].measured, m->string) != NULL;
        const cuda_device *device = seen ? NULL : cuda_device_find (m->string);
        if (seen) continue;
        if (!device) {
          fprintf (stderr, "bench/model: %s: no device facts of \"%s\"\n", argv[i], m->string);
          continue;
        }
        judge (&file, m->string, device, verbose, &total);
      }
    mugraph_file_free (&file);
  }
  printf ("%d of %d: the measured best is among the model's first %d; %d of %d: one within 3 %% of it is\n",
          total.exact, total.files, GOAL, total.near, total.files);
  return bad ? 2 : 0;
}
