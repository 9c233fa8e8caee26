/* The cost model against measurements: how the model ranks what was timed, and how far it is off.

     build/bench/model [-v] FILE.json ...

   For every saved file and every device it holds measurements of: the µGraphs timed, the best one's times launched
   plainly and with programmatic dependent launch and what the model says of them, its rank by the model (1 first; equal
   costs share the best rank), the best rank of any µGraph within 3 % of the measured best, Spearman's rank correlation
   and the mean error of all, as a factor. "The best", ranks and correlation are by cost_score. The sums at the end keep
   apart the programs that the model's constants were fitted to, those that judge it, and files that do not say
   (bench/times marks its own). -v lists every µGraph. Microseconds, cold. */
#include "timed.h"

#include <stdio.h>

enum { GOAL = 8 }; /* the measured best should be among the model's first */

typedef enum { FIT, JUDGE, OTHER, PARTS } part;
static const char *const part_text[] = {[FIT] = "fitted to", [JUDGE] = "judging", [OTHER] = "other"};

typedef struct {
  int files, exact, near, samples; /* near: some µGraph within 3 % of the best is among the model's first */
  double error;                    /* sum over the samples */
} sums;

static part part_of (const timed *t) {
  return !t->part ? OTHER : !strcmp (t->part, "fit") ? FIT : !strcmp (t->part, "judge") ? JUDGE : OTHER;
}

static int by_measured (const void *x, const void *y) {
  const cost_sample *a = *(cost_sample *const *) x, *b = *(cost_sample *const *) y;
  double one = cost_score (a->plain, a->pdl), other = cost_score (b->plain, b->pdl);
  return one != other ? (one > other) - (one < other) : (a > b) - (a < b);
}

/* Every sample, the measured best first. */
static void list (const timed *t, const cuda_device *device) {
  const cost_sample **order = calloc ((size_t) t->n + 1, sizeof *order);
  for (int i = 0; order && i < t->n; i++) order[i] = &t->sample[i];
  if (order) qsort (order, (size_t) t->n, sizeof *order, by_measured);
  for (int i = 0; order && i < t->n; i++) {
    const cost_sample *s = order[i];
    int at = (int) (s - t->sample);
    printf ("    %3d. (model %3d.)  score %7.2f, model %7.2f  plain %7.2f, model %7.2f  pdl %7.2f, model %7.2f  ",
            i + 1, cost_model_rank (t->sample, t->n, at), cost_score (s->plain, s->pdl),
            cost_score (s->model_plain, s->model_pdl), s->plain, s->model_plain, s->pdl, s->model_pdl);
    timed_schedule (stdout, s->graph, device);
    printf ("  %06llx\n", (unsigned long long) t->file.saved[t->index[at]].structure >> 40);
  }
  free (order);
}

static void judge (timed *t, const cuda_device *device, bool verbose, sums total[PARTS]) {
  if (!timed_take (t, device) || !t->n) {
    timed_drop (t);
    return;
  }
  cost_predict (t->sample, t->n, device);
  cost_judgement j = cost_judge (t->sample, t->n);
  const cost_sample *best = &t->sample[j.best];
  printf ("%-15s b=%-4d %-6s %-5s %3d timed  best: plain %6.2f pdl %6.2f  model %6.2f %6.2f  rank %3d  rank within 3%% "
          "%3d  correlation %5.2f  error %.3fx\n",
          t->file.name, t->file.batch, device->name, t->part ? t->part : "", t->n, best->plain, best->pdl,
          best->model_plain, best->model_pdl, j.rank, j.near_rank, j.correlation, exp (j.error));
  if (verbose) list (t, device);
  sums *s = &total[part_of (t)];
  s->files++, s->exact += j.rank <= GOAL, s->near += j.near_rank <= GOAL;
  s->samples += t->n, s->error += t->n * j.error;
  timed_drop (t);
}

int main (int argc, char **argv) {
  bool verbose = argc > 1 && !strcmp (argv[1], "-v");
  int bad = 0;
  sums total[PARTS] = {{0}};
  if (argc < 2 + verbose) {
    fprintf (stderr, "usage: bench/model [-v] FILE.json ...\n");
    return 2;
  }
  for (int i = 1 + verbose; i < argc; i++) {
    timed t = {.n = 0};
    mugraph_error e;
    if (!mugraph_file_load (argv[i], &t.file, &e)) {
      fprintf (stderr, "bench/model: %s\n", e.text);
      bad++;
      continue;
    }
    for (int d = 0; d < cuda_n_devices; d++) judge (&t, &cuda_devices[d], verbose, total);
    mugraph_file_free (&t.file);
  }
  for (int p = 0; p < PARTS; p++)
    if (total[p].files)
      printf ("%s: %d of %d: the measured best is among the model's first %d; %d of %d: one within 3 %% of it is; "
              "mean error of %d times %.3fx\n",
              part_text[p], total[p].exact, total[p].files, GOAL, total[p].near, total[p].files, total[p].samples,
              exp (total[p].error / total[p].samples));
  return bad ? 2 : 0;
}
