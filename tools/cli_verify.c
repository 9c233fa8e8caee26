/* msearch verify: which µGraphs of a file compute their program. */
#include "cli.h"

#include "mugraph/file/load.h"
#include "mugraph/print.h"
#include <stdlib.h>
#include <string.h>

static const char *const verdicts[] = {[VERIFY_EQUIVALENT] = "equivalent",
                                       [VERIFY_DIFFERENT] = "different",
                                       [VERIFY_UNSUPPORTED] = "unsupported",
                                       [VERIFY_UNKNOWN] = "unknown"};

/* Inputs correspond by position, and files of other tools do not name them. Where a µGraph differs, would it compute
   the program with its inputs taken in another order? order[k]: the program's input that its k-th would be. Of more
   than seven inputs the last seven change places. */
static bool find_order (const mugraph *program, const mugraph *g, const verify_options *o, int order[]) {
  enum { TRIED = 24, PERMUTED = 5040 };
  mugraph *other = malloc (sizeof *other);
  bool found = false;
  for (int t = 0; t < program->n_inputs; t++) order[t] = t;
  for (int n = 0, m = 0;
       other && !found && !cli_stop && n < TRIED && m < PERMUTED && mugraph_next_order (program->n_inputs, order);
       m++) {
    verify_report r;
    bool same = true;
    for (int t = 0; t < program->n_inputs; t++)
      same &= mugraph_same_shape (&g->tensor[t].shape, &program->tensor[order[t]].shape);
    if (!same) continue;
    *other = *g;
    mugraph_reorder_inputs (other, order);
    verify_equivalent (program, other, o, &r);
    found = r.verdict == VERIFY_EQUIVALENT;
    n++;
  }
  free (other);
  return found;
}

static cJSON *names_of (const mugraph *program, const int order[]) {
  cJSON *names = cJSON_CreateArray ();
  for (int k = 0; k < program->n_inputs; k++)
    cJSON_AddItemToArray (names, cJSON_CreateString (program->tensor[order[k]].name));
  return names;
}

/* One µGraph's line and record. taken[k]: the input of the program that the file's k-th was taken for. */
static cJSON *report_graph (const cli *c, FILE *out, const mugraph *program, const mugraph *g, int i, const int taken[],
                            const verify_options *o, const verify_report *r) {
  enum { DRAWS = 4 };
  const double tolerance = 1e-6; /* far above float64's rounding */
  char line[512], reason[2000] = "", example[256] = "", names[600];
  int order[MUGRAPH_INPUTS], in_file[MUGRAPH_INPUTS];
  double error = 0;
  bool equivalent = r->verdict == VERIFY_EQUIVALENT, other = false;
  for (int k = 0; k < program->n_inputs; k++) in_file[k] = taken[k];
  if (!equivalent) {
    size_t n = 0;
    error = verify_counterexample (program, g, o->seed, DRAWS, tolerance, o->stop, example);
    bool shown = error > 0 && strcmp (example, r->reason); /* shapes that differ say it all */
    if (r->verdict == VERIFY_DIFFERENT && (other = find_order (program, g, o, order)))
      for (int k = 0; k < program->n_inputs; k++) in_file[k] = order[taken[k]];
    n += (size_t) snprintf (
        reason, sizeof reason,
        "%s%s: ", error > 0 || r->verdict == VERIFY_DIFFERENT ? "not equivalent" : "not shown to be equivalent",
        other ? " as it stands" : "");
    if (shown) n += (size_t) snprintf (reason + n, sizeof reason - n, "float64 counterexample: %s; ", example);
    n += (size_t) snprintf (reason + n, sizeof reason - n, "%s%s",
                            r->verdict == VERIFY_DIFFERENT ? "over finite fields, " : "", r->reason);
    if (other)
      snprintf (reason + n, sizeof reason - n, "; equivalent with its inputs taken as %s",
                cli_order_text (program, in_file, ", ", names, sizeof names));
  }
  if (out) {
    fprintf (out, "%3d  %-11s  %s\n", i, verdicts[r->verdict], mugraph_summary (g, line, sizeof line));
    if (reason[0]) fprintf (out, "     %s\n", reason);
    if (other) fprintf (out, "     --inputs %s says so\n", cli_order_text (program, in_file, ",", names, sizeof names));
    if (c->verbose)
      fprintf (out, "     %d trials over Z_%u and Z_%u, wrong with probability < %.1e, %.2f s\n", r->trials, r->p, r->q,
               r->error_bound, r->seconds);
    fflush (out);
  }
  cJSON *item = cJSON_CreateObject ();
  cJSON_AddNumberToObject (item, "index", i);
  cJSON_AddBoolToObject (item, "equivalent", equivalent);
  cJSON_AddStringToObject (item, "reason", reason);
  cJSON_AddStringToObject (item, "verdict", verdicts[r->verdict]);
  if (equivalent || other) cJSON_AddItemToObject (item, "inputs", names_of (program, in_file));
  if (error > 0) cJSON_AddNumberToObject (item, "float64_error", error < 1e300 ? error : 1e300);
  cJSON_AddNumberToObject (item, "trials", r->trials);
  cJSON_AddNumberToObject (item, "error_bound", r->error_bound);
  cJSON_AddNumberToObject (item, "seconds", r->seconds);
  return item;
}

int cli_verify (const cli *c, mugraph_error *e) {
  enum { AT_ONCE = 8 };
  mugraph_file f;
  FILE *out = cli_text (c);
  mugraph_program *p = malloc (sizeof *p);
  int status = CLI_DONE, equivalent = 0, done = 0, order[MUGRAPH_INPUTS];
  char path[4096];
  if (!p) return mugraph_fail (e, "out of memory"), CLI_BAD;
  if (!cli_find_file (c, path, e) || !mugraph_file_load_any (path, &f, e)) {
    free (p);
    return CLI_BAD;
  }
  if (!f.n) mugraph_fail (e, "%s: holds no µGraph", path);
  if (!f.n || !cli_file_program (c, path, &f, p, order, e)) {
    mugraph_file_free (&f);
    free (p);
    return CLI_BAD;
  }
  char line[512];
  verify_options o;
  verify_options_default (&o);
  o.seed = (uint64_t) c->search.seed;
  o.trials = c->search.trials;
  o.threads = c->search.threads;
  o.stop = &cli_stop;
  cJSON *root = cJSON_CreateObject ();
  cJSON_AddStringToObject (root, "schema", "msearch.verify/1");
  cJSON_AddStringToObject (root, "file", path);
  cJSON_AddStringToObject (root, "program", p->name);
  cJSON_AddNumberToObject (root, "batch", p->batch);
  cJSON *graphs = cJSON_AddArrayToObject (root, "graphs");
  if (out)
    fprintf (out, "program    %s, b = %d: %s\n", p->name, p->batch, cli_signature (&p->graph, line, sizeof line));
  for (int from = 0; from < f.n && !cli_stop; from += AT_ONCE) {
    verify_report r[AT_ONCE];
    const mugraph *g[AT_ONCE];
    int trials[AT_ONCE], n = f.n - from < AT_ONCE ? f.n - from : AT_ONCE;
    for (int i = 0; i < n; i++) g[i] = &f.saved[from + i].graph, trials[i] = o.trials;
    verify_equivalent_each (&p->graph, n, g, trials, &o, r);
    for (int i = 0; i < n; i++) {
      if (r[i].unfinished) continue;
      done++, equivalent += r[i].verdict == VERIFY_EQUIVALENT;
      cJSON_AddItemToArray (graphs, report_graph (c, out, &p->graph, g[i], from + i, order, &o, &r[i]));
    }
  }
  if (equivalent < f.n) status = CLI_WRONG;
  if (cli_stop) status = 128 + cli_stop;
  cJSON_AddBoolToObject (root, "interrupted", cli_stop != 0);
  if (out && cli_stop)
    fprintf (out, "interrupted: %d of %d µGraphs verified, %d of them equivalent\n", done, f.n, equivalent);
  else if (out) fprintf (out, "%d of %d equivalent\n", equivalent, f.n);
  mugraph_file_free (&f);
  free (p);
  return cli_write_json (c, root, e) ? status : CLI_BAD;
}
