/* What a search or a reuse found: text for people, an object for programs. */
#include "cli.h"

#include "mugraph/print.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

void cli_label (FILE *out, const char *label) { fprintf (out, "%-10s ", label); }

char *cli_count (double n, char buffer[40]) {
  char digits[40];
  int len = snprintf (digits, sizeof digits, "%.0f", n), k = 0;
  if (len > 26) len = 26;
  for (int i = 0; i < len; i++) {
    if (i && digits[i - 1] != '-' && (len - i) % 3 == 0) buffer[k++] = ',';
    buffer[k++] = digits[i];
  }
  buffer[k] = 0;
  return buffer;
}

static size_t add_tensor (char *buffer, size_t n, size_t size, const char *separator, const char *name,
                          const mugraph_shape *s) {
  char dims[64];
  if (n >= size) return n;
  return n + (size_t) snprintf (buffer + n, size - n, "%s%s%s%s", separator, name, *name ? " " : "",
                                mugraph_dims_text (s, dims, sizeof dims));
}

char *cli_signature (const mugraph *g, char *buffer, size_t size) {
  size_t n = 0;
  buffer[0] = 0;
  for (int t = 0; t < g->n_inputs; t++)
    n = add_tensor (buffer, n, size, t ? ", " : "", g->tensor[t].name, &g->tensor[t].shape);
  for (int k = 0; k < g->n_outputs; k++)
    n = add_tensor (buffer, n, size, k ? ", " : " -> ", g->output_name[k], &g->tensor[g->output[k]].shape);
  return buffer;
}

char *cli_schedule (const mugraph *g, char *buffer, size_t size) {
  mugraph_sched d;
  size_t n = 0;
  buffer[0] = 0;
  mugraph_sched_default (&d);
  for (int b = 0; b < g->n_blocks; b++) {
    const mugraph_sched *s = &g->block[b].sched;
    if (b && n < size) n += (size_t) snprintf (buffer + n, size - n, ";");
#define SCHED(name, def, low, high, help)                                                                              \
  if (s->name != d.name && n < size)                                                                                   \
    n += (size_t) snprintf (buffer + n, size - n, "%s %s %d", n ? "" : ",", #name, s->name);
#include "mugraph/sched.def"
#undef SCHED
  }
  return buffer;
}

int cli_kernels (const mugraph *g) {
  int n = 0;
  for (int i = 0; i < g->n_ops; i++) n += g->op[i].kind != MUGRAPH_OP_CONST;
  return n;
}

/* ---- text ---- */

static double number (const cJSON *record, const char *member) { return mugraph_record_number (record, member, 0); }

static void report_search (FILE *out, const cli_session *s) {
  const cJSON *r = s->file.search;
  char a[40], b[40];
  if (!r) return;
  double seconds = number (r, "seconds"), states = number (r, "states"), threads = number (r, "threads");
  const char *how = number (r, "finished") != 0      ? "bounds fully explored"
                    : number (r, "interrupted") != 0 ? "interrupted"
                    : number (r, "budget") > 0       ? "stopped by --budget"
                    : number (r, "peak_bytes") < 0.9 * 1048576 * number (r, "memory")
                        ? "stopped for its time (--budget gives more)"
                        : "stopped by --memory";
  cli_label (out, "search");
  fprintf (out, "%.*f s on %.0f thread%s, %s", seconds < 10 ? 3 : 1, seconds, threads, threads == 1 ? "" : "s", how);
  if (number (r, "peak_bytes") > 0) fprintf (out, ", %.0f MiB at most", ceil (number (r, "peak_bytes") / 1048576));
  fputc ('\n', out);
  cli_label (out, "states");
  fprintf (out, "%s", cli_count (states, a));
  if (seconds > 0) fprintf (out, " (%s per second)", cli_count (states / seconds, b));
  fprintf (out, ", %s pruned", cli_count (number (r, "pruned"), a));
  if (states > 0) fprintf (out, " (%.1f%%)", 100 * number (r, "pruned") / states);
  fprintf (out, ", %s Z3 queries\n", cli_count (number (r, "z3_queries"), b));
  cli_label (out, "found");
  fprintf (out, "%s structure%s, %s valid µGraph%s\n", cli_count (number (r, "structures"), a),
           number (r, "structures") == 1 ? "" : "s", cli_count (number (r, "valid"), b),
           number (r, "valid") == 1 ? "" : "s");
  if (s->c->verbose) {
#define STAT(name, unit, help)                                                                                         \
  cli_label (out, "");                                                                                                 \
  fprintf (out, "%-12s %14s  %s\n", #name, cli_count (number (r, #name), a), help);
#include "search/statistics.def"
#undef STAT
  }
}

static void report_verify (FILE *out, const cli_session *s) {
  const verify_report *v = &s->verify;
  if (!s->verified) return;
  cli_label (out, "verified");
  if (v->verdict == VERIFY_EQUIVALENT)
    fprintf (
        out, "equivalent at the real shape%s: %d trial%s over Z_%u and Z_%u, wrong with probability < %.1e (%.2f s)\n",
        v->sampled ? " (sampled)" : "", v->trials, v->trials == 1 ? "" : "s", v->p, v->q, v->error_bound, v->seconds);
  else
    fprintf (out, "%s: %s\n", v->verdict == VERIFY_DIFFERENT ? "NOT EQUIVALENT" : "not shown to be equivalent",
             v->reason);
}

static void report_cuda (FILE *out, const cli_session *s) {
  cli_label (out, "cuda");
  if (s->compiled > 0)
    fprintf (out, "compiled for sm_%d%s in %.2f s; ", s->device.arch, s->device.arch == 90 ? "a" : "",
             s->compile_seconds);
  else if (s->compiled < 0) fprintf (out, "NOT COMPILED: %s; ", s->compile_note);
  if (s->measured && s->correct && s->c->no_time)
    fprintf (out, "right on %s (relative error %.1e), not timed", s->facts.device, s->rel_err);
  else if (s->measured && s->correct) {
    fprintf (out, "right on %s (relative error %.1e): ", s->facts.device, s->rel_err);
    if (isfinite (s->warm_us))
      fprintf (out, "%.2f us warm, ", s->warm_us); /* an interrupted run may have had a first look only */
    fprintf (out, "%.2f us cold", s->cold_us);
    if (s->pdl)
      fprintf (out, ", calls overlapping (programmatic dependent launch); %.2f us cold by itself", s->plain_us);
  } else if (s->measured) fprintf (out, "WRONG on %s: relative error %.1e, not timed", s->facts.device, s->rel_err);
  else fprintf (out, "not run");
  fputc ('\n', out);
  if (s->n_measured > 1) {
    cli_label (out, "");
    fprintf (out, "%d µGraphs compiled and run in %.1f s, %d wrong", s->n_measured, s->tune_seconds, s->n_wrong);
    if (s->model_rank >= 0) fprintf (out, "; the best is number %d of the cost model", s->model_rank + 1);
    if (s->model_rank >= 0 && s->near_rank < s->model_rank)
      fprintf (out, ", one within %.0f %% of it number %d", 100 * (COST_NEAR - 1), s->near_rank + 1);
    fputc ('\n', out);
  }
}

static void report_best (FILE *out, const cli_session *s) {
  const mugraph_saved *m = &s->file.saved[s->best];
  cli_label (out, "best");
  fprintf (out, "%d kernel%s", cli_kernels (&m->graph), cli_kernels (&m->graph) == 1 ? "" : "s");
  if (m->cost_us >= 0) fprintf (out, ", %.2f us by the cost model of %s", m->cost_us, s->device.name);
  fputs ("\n", out);
  if (!m->graph.n_blocks && s->file.search && !s->c->file) {
    cli_label (out, "");
    fputs ("no graph-defined kernel was found: these are the program's own operators, one kernel each\n", out);
  }
  mugraph_print (out, &m->graph, 2);
  for (int i = 0; s->c->verbose && i < s->file.n; i++) {
    char line[200];
    if (i == s->best) continue;
    cli_label (out, "");
    fprintf (out, "%3d  %8.2f us  %s", i, s->file.saved[i].cost_us,
             mugraph_summary (&s->file.saved[i].graph, line, sizeof line));
    fprintf (out, "%s\n", cli_schedule (&s->file.saved[i].graph, line, sizeof line));
  }
}

static void report_commands (FILE *out, const cli_session *s) {
  bool reuse = s->c->file != NULL;
  char *search = reuse ? NULL : cli_command (s->c, true);
  if (s->saved || s->kept || s->cached) {
    cli_label (out, s->saved ? "saved" : "file");
    fprintf (out, "%s (%d µGraph%s)%s\n", s->path, s->file.n, s->file.n == 1 ? "" : "s",
             s->kept ? ": kept, its best is no worse" : "");
    cli_label (out, "reuse");
    fprintf (out, "%s --file %s\n", s->c->argv[0], s->path);
  }
  if (search) {
    cli_label (out, "run again");
    fprintf (out, "%s\n", search);
  }
  free (search);
}

void cli_report_text (const cli_session *s) {
  FILE *out = s->text;
  char line[512];
  if (!out) return;
  cli_label (out, "program");
  fprintf (out, "%s, b = %d: %s\n", s->program.name, s->program.batch,
           cli_signature (&s->program.graph, line, sizeof line));
  cli_label (out, "machine");
  fprintf (out, "%s\n", s->facts.line);
  if (s->cached) {
    cli_label (out, "cached");
    fprintf (out, "%s%s%s\n", s->path, s->c->file ? "" : ", found by an earlier search; --fresh searches anew",
             s->rescheduled ? "; scheduled again for this device" : "");
  }
  report_search (out, s);
  if (s->best < 0) {
    cli_label (out, "best");
    fprintf (out, "nothing found%s\n",
             s->interrupted ? " before the interruption"
                            : " within these bounds (see --budget, --memory, --block-ops)");
  } else {
    report_verify (out, s);
    report_best (out, s);
    report_cuda (out, s);
    report_commands (out, s);
  }
  if (s->interrupted) {
    cli_label (out, "interrupted");
    fprintf (out, "%s\n",
             s->best < 0             ? "nothing to keep"
             : !s->verify.unfinished ? "the best so far is kept"
             : s->cached || s->kept  ? "the file stays as it was"
                                     : "what was found is kept; it is not verified yet, reuse does that first");
  }
  fflush (out);
}

/* ---- JSON ---- */

static void add_number (cJSON *o, const char *name, bool known, double x) {
  if (known && isfinite (x)) cJSON_AddNumberToObject (o, name, x);
  else cJSON_AddNullToObject (o, name);
}

static void add_bool (cJSON *o, const char *name, bool known, bool x) {
  if (known) cJSON_AddBoolToObject (o, name, x);
  else cJSON_AddNullToObject (o, name);
}

static void add_text (cJSON *o, const char *name, bool known, const char *text) {
  if (known) cJSON_AddStringToObject (o, name, text);
  else cJSON_AddNullToObject (o, name);
}

static cJSON *verify_json (const cli_session *s) {
  const verify_report *v = &s->verify;
  if (!s->verified) return cJSON_CreateNull ();
  cJSON *o = cJSON_CreateObject ();
  cJSON_AddBoolToObject (o, "equivalent", v->verdict == VERIFY_EQUIVALENT);
  cJSON_AddNumberToObject (o, "p", v->p);
  cJSON_AddNumberToObject (o, "q", v->q);
  cJSON_AddNumberToObject (o, "trials", v->trials);
  add_number (o, "error_bound", true, v->error_bound);
  cJSON_AddBoolToObject (o, "real_shape", !v->sampled);
  cJSON_AddNumberToObject (o, "seconds", v->seconds);
  if (v->reason[0]) cJSON_AddStringToObject (o, "reason", v->reason);
  return o;
}

static cJSON *best_json (const cli_session *s) {
  if (s->best < 0) return cJSON_CreateNull ();
  const mugraph_saved *m = &s->file.saved[s->best];
  char hash[20], line[400];
  cJSON *o = cJSON_CreateObject ();
  snprintf (hash, sizeof hash, "%016llx", (unsigned long long) mugraph_hash (&m->graph, true));
  cJSON_AddNumberToObject (o, "kernels", cli_kernels (&m->graph));
  add_number (o, "cost_us", m->cost_us >= 0, m->cost_us);
  add_text (o, "file", s->saved || s->kept || s->cached, s->path);
  cJSON_AddStringToObject (o, "hash", hash);
  cJSON_AddStringToObject (o, "device", s->device.name);
  cJSON_AddStringToObject (o, "summary", mugraph_summary (&m->graph, line, sizeof line));
  return o;
}

static cJSON *gpu_json (const cli_session *s) {
  cJSON *o = cJSON_CreateObject ();
  bool right = s->measured && s->correct && !s->c->no_time;
  cJSON_AddBoolToObject (o, "available", s->facts.gpu);
  add_text (o, "device", s->facts.gpu, s->facts.device);
  add_bool (o, "correct", s->measured, s->correct);
  add_number (o, "rel_err", s->measured, s->rel_err);
  add_number (o, "warm_us", right, s->warm_us);
  add_number (o, "cold_us", right, s->cold_us);
  add_number (o, "plain_cold_us", right, s->plain_us);
  add_bool (o, "pdl", right, s->pdl);
  add_number (o, "timed", s->n_measured > 0, s->n_measured);
  add_number (o, "wrong", s->n_measured > 0, s->n_wrong);
  add_number (o, "model_rank", right && s->model_rank >= 0, s->model_rank);
  add_number (o, "near_rank", right && s->model_rank >= 0, s->near_rank);
  add_number (o, "tune_seconds", s->n_measured > 0, s->tune_seconds);
  add_bool (o, "nvrtc", true, s->facts.nvrtc);
  add_bool (o, "compiled", s->compiled != 0, s->compiled > 0);
  return o;
}

/* The record with its truth values as such. */
static cJSON *search_json (const cli_session *s) {
  cJSON *o = s->file.search ? cJSON_Duplicate (s->file.search, true) : NULL;
  return o ? o : cJSON_CreateNull ();
}

cJSON *cli_report_json (const cli_session *s) {
  cJSON *root = cJSON_CreateObject ();
  cJSON_AddStringToObject (root, "schema", "msearch.result/1");
  cJSON_AddStringToObject (root, "workload", s->program.name);
  cJSON_AddNumberToObject (root, "batch", s->program.batch);
  cJSON_AddBoolToObject (root, "cached", s->cached);
  cJSON_AddItemToObject (root, "search", search_json (s));
  cJSON_AddItemToObject (root, "verify", verify_json (s));
  cJSON_AddItemToObject (root, "best", best_json (s));
  cJSON_AddItemToObject (root, "gpu", gpu_json (s));
  cJSON_AddBoolToObject (root, "interrupted", s->interrupted);
  return root;
}
