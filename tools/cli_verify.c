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

/* What is to be said of one µGraph. */
typedef struct {
  int index;
  const mugraph *graph;
  const verify_report *report;
  bool reordered;              /* not equivalent, but with its inputs taken in another order */
  int in_file[MUGRAPH_INPUTS]; /* the input of the program that the file's k-th is */
  double error;                /* of a float64 counterexample; 0: none */
  char example[256];           /* the counterexample */
} finding;

/* taken[k]: the input of the program that the file's k-th was taken for. */
static finding look_into (const mugraph *program, const mugraph *g, int i, const int taken[], const verify_options *o,
                          const verify_report *r) {
  enum { DRAWS = 4 };
  const double tolerance = 1e-6; /* far above float64's rounding */
  int order[MUGRAPH_INPUTS];
  finding f = {.index = i, .graph = g, .report = r};
  for (int k = 0; k < program->n_inputs; k++) f.in_file[k] = taken[k];
  if (r->verdict == VERIFY_EQUIVALENT) return f;
  f.error = verify_counterexample (program, g, o->seed, DRAWS, tolerance, o->stop, f.example);
  f.reordered = r->verdict == VERIFY_DIFFERENT && find_order (program, g, o, order);
  for (int k = 0; f.reordered && k < program->n_inputs; k++) f.in_file[k] = order[taken[k]];
  return f;
}

/* Why it is not equivalent, on one line; empty when it is. */
static const char *reason_of (const finding *f, const mugraph *program, char *text, size_t size) {
  const verify_report *r = f->report;
  char names[600];
  size_t n = 0;
  *text = 0;
  if (r->verdict == VERIFY_EQUIVALENT) return text;
  n += (size_t) snprintf (
      text, size,
      "%s%s: ", f->error > 0 || r->verdict == VERIFY_DIFFERENT ? "not equivalent" : "not shown to be equivalent",
      f->reordered ? " as it stands" : "");
  if (f->error > 0 && strcmp (f->example, r->reason)) /* shapes that differ say it all */
    n += (size_t) snprintf (text + n, size - n, "float64 counterexample: %s; ", f->example);
  n += (size_t) snprintf (text + n, size - n, "%s%s", r->verdict == VERIFY_DIFFERENT ? "over finite fields, " : "",
                          r->reason);
  if (f->reordered)
    snprintf (text + n, size - n, "; equivalent with its inputs taken as %s",
              cli_order_text (program, f->in_file, ", ", names, sizeof names));
  return text;
}

static void print_finding (FILE *out, const finding *f, const mugraph *program, const char *reason, bool verbose) {
  const verify_report *r = f->report;
  char line[512], names[600];
  fprintf (out, "%3d  %-11s  %s\n", f->index, verdicts[r->verdict], mugraph_summary (f->graph, line, sizeof line));
  if (*reason) fprintf (out, "     %s\n", reason);
  if (f->reordered)
    fprintf (out, "     --inputs %s says so\n", cli_order_text (program, f->in_file, ",", names, sizeof names));
  if (verbose)
    fprintf (out, "     %d trials over Z_%u and Z_%u, wrong with probability < %.1e, %.2f s\n", r->trials, r->p, r->q,
             r->error_bound, r->seconds);
  fflush (out);
}

static cJSON *finding_json (const finding *f, const mugraph *program, const char *reason) {
  const verify_report *r = f->report;
  bool equivalent = r->verdict == VERIFY_EQUIVALENT;
  cJSON *item = cJSON_CreateObject ();
  cJSON_AddNumberToObject (item, "index", f->index);
  cJSON_AddBoolToObject (item, "equivalent", equivalent);
  cJSON_AddStringToObject (item, "reason", reason);
  cJSON_AddStringToObject (item, "verdict", verdicts[r->verdict]);
  if (equivalent || f->reordered) cJSON_AddItemToObject (item, "inputs", names_of (program, f->in_file));
  if (f->error > 0) cJSON_AddNumberToObject (item, "float64_error", f->error < 1e300 ? f->error : 1e300);
  cJSON_AddNumberToObject (item, "trials", r->trials);
  cJSON_AddNumberToObject (item, "error_bound", r->error_bound);
  cJSON_AddNumberToObject (item, "seconds", r->seconds);
  return item;
}

typedef struct {
  int done, equivalent;
} tally;

/* Verifies all of the file, some at a time; a line and a record each. */
static tally verify_all (const cli *c, FILE *out, const mugraph_file *f, const mugraph *program, const int taken[],
                         cJSON *records) {
  enum { AT_ONCE = 8 };
  verify_options o;
  tally t = {0, 0};
  verify_options_default (&o);
  o.seed = (uint64_t) c->search.seed;
  o.trials = c->search.trials;
  o.threads = c->search.threads;
  o.stop = &cli_stop;
  for (int from = 0; from < f->n && !cli_stop; from += AT_ONCE) {
    verify_report r[AT_ONCE];
    const mugraph *g[AT_ONCE];
    int trials[AT_ONCE], n = f->n - from < AT_ONCE ? f->n - from : AT_ONCE;
    for (int i = 0; i < n; i++) g[i] = &f->saved[from + i].graph, trials[i] = o.trials;
    verify_equivalent_each (program, n, g, trials, &o, r);
    for (int i = 0; i < n; i++) {
      char reason[2000];
      if (r[i].unfinished) continue;
      finding found = look_into (program, g[i], from + i, taken, &o, &r[i]);
      reason_of (&found, program, reason, sizeof reason);
      if (out) print_finding (out, &found, program, reason, c->verbose);
      cJSON_AddItemToArray (records, finding_json (&found, program, reason));
      t.done++, t.equivalent += r[i].verdict == VERIFY_EQUIVALENT;
    }
  }
  return t;
}

/* Verifies and reports. Returns the exit status. */
static int verify_file (const cli *c, const char *path, const mugraph_file *f, const mugraph_program *p,
                        const int taken[], mugraph_error *e) {
  FILE *out = cli_text (c);
  char line[512];
  cJSON *root = cJSON_CreateObject ();
  cJSON_AddStringToObject (root, "schema", "msearch.verify/1");
  cJSON_AddStringToObject (root, "file", path);
  cJSON_AddStringToObject (root, "program", p->name);
  cJSON_AddNumberToObject (root, "batch", p->batch);
  if (out)
    fprintf (out, "program    %s, b = %d: %s\n", p->name, p->batch, cli_signature (&p->graph, line, sizeof line));
  tally t = verify_all (c, out, f, &p->graph, taken, cJSON_AddArrayToObject (root, "graphs"));
  cJSON_AddBoolToObject (root, "interrupted", cli_stop != 0);
  if (out && cli_stop)
    fprintf (out, "interrupted: %d of %d µGraphs verified, %d of them equivalent\n", t.done, f->n, t.equivalent);
  else if (out) fprintf (out, "%d of %d equivalent\n", t.equivalent, f->n);
  if (!cli_write_json (c, root, e)) return CLI_BAD;
  return cli_stop ? 128 + cli_stop : t.equivalent < f->n ? CLI_WRONG : CLI_DONE;
}

int cli_verify (const cli *c, mugraph_error *e) {
  mugraph_file f;
  mugraph_program *p = malloc (sizeof *p);
  int status = CLI_BAD, order[MUGRAPH_INPUTS];
  char path[STORE_PATH];
  mugraph_file_init (&f);
  if (!p) return mugraph_fail (e, "out of memory"), CLI_BAD;
  bool good = cli_find_file (c, path, e) && mugraph_file_load_any (path, &f, e) &&
              (f.n || mugraph_fail (e, "%s: holds no µGraph", path)) && cli_file_program (c, path, &f, p, order, e);
  if (good) status = verify_file (c, path, &f, p, order, e);
  mugraph_file_free (&f);
  free (p);
  return status;
}
