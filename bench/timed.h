/* Files of µGraphs with measured times as samples of the cost model, for the programs that judge and fit it. */
#ifndef BENCH_TIMED_H
#define BENCH_TIMED_H

#include "cuda_templates/cost_fit.h"
#include "mugraph/file/saved.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The µGraphs of a file that were timed on a device, and right. */
typedef struct {
  mugraph_file file;
  const char *part; /* "fit" or "judge"; NULL: it does not say */
  int n;
  cost_sample *sample; /* owned */
  int *index;          /* owned: of each sample in the file */
} timed;

/* The record of a µGraph on a device, which is named as its driver names it; NULL: none. */
static inline const cJSON *timed_record (const mugraph_saved *s, const cuda_device *d) {
  for (const cJSON *m = s->measured ? s->measured->child : NULL; m; m = m->next)
    if (cuda_device_find (m->string) == d) return m;
  return NULL;
}

/* Takes the samples of a device from t->file, which is loaded already. False when memory runs out. */
static inline bool timed_take (timed *t, const cuda_device *d) {
  const cJSON *part = cJSON_GetObjectItemCaseSensitive (t->file.search, "part");
  t->part = cJSON_IsString (part) ? part->valuestring : NULL;
  t->n = 0;
  t->sample = calloc ((size_t) t->file.n + 1, sizeof *t->sample);
  t->index = calloc ((size_t) t->file.n + 1, sizeof *t->index);
  for (int i = 0; t->sample && t->index && i < t->file.n; i++) {
    const cJSON *m = timed_record (&t->file.saved[i], d);
    cost_sample s = {.graph = &t->file.saved[i].graph,
                     .plain = mugraph_record_number (m, "cold_us", INFINITY),
                     .pdl = mugraph_record_number (m, "cold_pdl_us", INFINITY)};
    if (!isfinite (cost_score (s.plain, s.pdl)) || mugraph_record_number (m, "correct", 1) == 0) continue;
    if (!cost_sample_plan (&s, d)) continue;
    t->sample[t->n] = s, t->index[t->n++] = i;
  }
  return t->sample && t->index;
}

/* Gives the samples back, not the file. */
static inline void timed_drop (timed *t) {
  for (int i = 0; i < t->n; i++) cost_sample_free (&t->sample[i]);
  free (t->sample), free (t->index);
  t->sample = NULL, t->index = NULL, t->n = 0;
}

/* "96x1x1 loop 64, stream, 8 warps, 4 stages", as planned, a kernel after the other. */
static inline void timed_schedule (FILE *f, const mugraph *g, const cuda_device *d) {
  const char *between = "";
  for (int k = 0; k < g->n_ops; k++, between = " | ") {
    const mugraph_op *o = &g->op[k];
    char words[200];
    cuda_plan plan;
    if (o->kind != MUGRAPH_OP_CUSTOM || !cuda_plan_kernel (g, k, d, &plan, NULL)) {
      fprintf (f, "%s%s", between, mugraph_op_table[o->kind].text);
      continue;
    }
    const mugraph_block *b = &g->block[o->block];
    fprintf (f, "%s%dx%dx%d loop %d, %s", between, b->grid[0], b->grid[1], b->grid[2], b->loop,
             mugraph_sched_text (&plan.sched, cuda_generator_name, words, sizeof words));
  }
}

#endif
