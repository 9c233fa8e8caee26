/* The batch size at which a program has the input shapes of a file. */
#include "program.h"

#include <stdio.h>
#include <stdlib.h>

static bool fits (const mugraph *g, int n, const mugraph_shape in[]) {
  if (g->n_inputs != n) return false;
  for (int i = 0; i < n; i++)
    if (!mugraph_same_shape (&g->tensor[i].shape, &in[i])) return false;
  return true;
}

/* The batch size that a size linear in b points at, from the sizes at two batch sizes; 0: none. */
static int guess_batch (const mugraph_program *low, const mugraph_program *high, int n, const mugraph_shape in[]) {
  for (int i = 0; i < n && i < low->graph.n_inputs; i++) {
    const mugraph_shape *a = &low->graph.tensor[i].shape, *b = &high->graph.tensor[i].shape;
    for (int d = 0; d < a->n_dims && d < in[i].n_dims; d++) {
      int64_t rise = (int64_t) b->dim[d] - a->dim[d], run = high->batch - low->batch;
      if (!rise) continue;
      int64_t guess = low->batch + (in[i].dim[d] - (int64_t) a->dim[d]) * run / rise;
      return guess >= 1 && guess <= MUGRAPH_PROGRAM_BATCH ? (int) guess : 0;
    }
  }
  return 0;
}

static bool misfit (const char *source, const mugraph_program *p, int n, const mugraph_shape in[], bool fixed,
                    mugraph_error *e) {
  const mugraph *g = &p->graph;
  char ours[64], theirs[64], how[64] = "";
  if (p->uses_batch)
    snprintf (how, sizeof how, fixed ? " with -b %d" : " at b=%d, and no other batch size fits", p->batch);
  if (g->n_inputs != n)
    return mugraph_fail (e, "%.100s: has %d inputs, the file's graphs have %d", source, g->n_inputs, n);
  for (int i = 0; i < n; i++)
    if (!mugraph_same_shape (&g->tensor[i].shape, &in[i]))
      return mugraph_fail (e, "%.100s: input %d (%s) is %s%s; the file's is %s (--shape and -b change the program's)",
                           source, i, g->tensor[i].name, mugraph_dims_text (&g->tensor[i].shape, ours, sizeof ours),
                           how, mugraph_dims_text (&in[i], theirs, sizeof theirs));
  return false;
}

bool mugraph_program_fit (const char *source, const mugraph_program_options *given, int n, const mugraph_shape in[],
                          mugraph_program *out, mugraph_error *e) {
  enum { TRIED = 1024 };
  mugraph_program_options options = given ? *given : (mugraph_program_options){0};
  if (options.batch)
    return mugraph_program_open (source, &options, out, e) &&
           (fits (&out->graph, n, in) || misfit (source, out, n, in, true, e));
  /* Sizes are mostly linear in b: two batch sizes at which the program is valid show the one that fits. */
  mugraph_program *low = malloc (sizeof *low);
  mugraph_error first;
  bool any = false, found = false;
  int guess = 0;
  if (!low) return mugraph_fail (e, "%.100s: out of memory", source);
  for (options.batch = 1; options.batch <= TRIED && !found; options.batch *= 2) {
    bool ok = mugraph_program_open (source, &options, out, options.batch == 1 ? &first : NULL);
    found = ok && fits (&out->graph, n, in);
    if (!ok || found) continue;
    if (!any) {
      *low = *out;
      any = true;
      if (!low->uses_batch) break;
    } else if ((guess = guess_batch (low, out, n, in))) break;
  }
  if (!found && any && guess) {
    options.batch = guess;
    found = mugraph_program_open (source, &options, out, NULL) && fits (&out->graph, n, in);
  }
  /* Otherwise (b / 8, b * b): one by one. */
  if (!found && (!any || low->uses_batch))
    for (options.batch = 1; options.batch <= TRIED && !found; options.batch++)
      found = mugraph_program_open (source, &options, out, NULL) && fits (&out->graph, n, in);
  if (!found && any) misfit (source, low, n, in, false, e);
  if (!found && !any && e) *e = first;
  free (low);
  return found;
}
