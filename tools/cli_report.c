/* What a search or a reuse found: text for people, an object for programs. */
#include "cli.h"

#include "mugraph/print.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- text ---- */

static double number (const cJSON *record, const char *member) { return mugraph_record_number (record, member, 0); }

static void report_search (FILE *out, const cli *c, const session *s) {
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
  if (c->verbose) {
#define STAT(name, unit, help)                                                                                         \
  cli_label (out, "");                                                                                                 \
  fprintf (out, "%-12s %14s  %s\n", #name, cli_count (number (r, #name), a), help);
#include "search/statistics.def"
#undef STAT
  }
}

static void report_verify (FILE *out, const session *s) {
  const verify_report *v = &s->verify;
  if (!s->verified) return;
  cli_label (out, "verified");
  if (v->verdict == VERIFY_EQUIVALENT)
    fprintf (out,
             "equivalent at the real shape: %d trial%s over Z_%u and Z_%u, wrong with probability < %.1e (%.2f s)\n",
             v->trials, v->trials == 1 ? "" : "s", v->p, v->q, v->error_bound, v->seconds);
  else
    fprintf (out, "%s: %s\n", v->verdict == VERIFY_DIFFERENT ? "NOT EQUIVALENT" : "not shown to be equivalent",
             v->reason);
}

static void report_cuda (FILE *out, const session *s) {
  cli_label (out, "cuda");
  if (s->compiled > 0)
    fprintf (out, "compiled for sm_%d%s in %.2f s; ", s->device.arch, s->device.arch == 90 ? "a" : "",
             s->compile_seconds);
  else if (s->compiled < 0) fprintf (out, "NOT COMPILED: %s; ", s->compile_note);
  if (s->gpu.ran && s->gpu.correct && s->options.no_time)
    fprintf (out, "right on %s (relative error %.1e), not timed", s->facts.device, s->gpu.rel_err);
  else if (s->gpu.ran && s->gpu.correct) {
    fprintf (out, "right on %s (relative error %.1e): ", s->facts.device, s->gpu.rel_err);
    if (isfinite (s->gpu.warm_us))
      fprintf (out, "%.2f us warm, ", s->gpu.warm_us); /* an interrupted run may have had a first look only */
    fprintf (out, "%.2f us cold", s->gpu.cold_us);
    if (s->gpu.pdl)
      fprintf (out, ", calls overlapping (programmatic dependent launch); %.2f us cold by itself", s->gpu.plain_us);
  } else if (s->gpu.ran) fprintf (out, "WRONG on %s: relative error %.1e, not timed", s->facts.device, s->gpu.rel_err);
  else fprintf (out, "not run");
  fputc ('\n', out);
  if (s->gpu.n > 1) {
    cli_label (out, "");
    fprintf (out, "%d µGraphs compiled and run in %.1f s, %d wrong", s->gpu.n, s->gpu.seconds, s->gpu.n_wrong);
    if (s->gpu.model_rank >= 0) fprintf (out, "; the best is number %d of the cost model", s->gpu.model_rank + 1);
    if (s->gpu.model_rank >= 0 && s->gpu.near_rank < s->gpu.model_rank)
      fprintf (out, ", one within %.0f %% of it number %d", 100 * (COST_NEAR - 1), s->gpu.near_rank + 1);
    fputc ('\n', out);
  }
}

static void report_best (FILE *out, const cli *c, const session *s) {
  const mugraph_saved *m = &s->file.saved[s->best];
  cli_label (out, "best");
  fprintf (out, "%d kernel%s", cli_kernels (&m->graph), cli_kernels (&m->graph) == 1 ? "" : "s");
  if (m->cost_us >= 0) fprintf (out, ", %.2f us by the cost model of %s", m->cost_us, s->device.name);
  fputs ("\n", out);
  if (!m->graph.n_blocks && s->file.search && !s->reuse) {
    cli_label (out, "");
    fputs ("no graph-defined kernel was found: these are the program's own operators, one kernel each\n", out);
  }
  mugraph_print (out, &m->graph, cuda_generator_name, 2);
  for (int i = 0; c->verbose && i < s->file.n; i++) {
    char line[200];
    if (i == s->best) continue;
    cli_label (out, "");
    fprintf (out, "%3d  %8.2f us  %s", i, s->file.saved[i].cost_us,
             mugraph_summary (&s->file.saved[i].graph, line, sizeof line));
    fprintf (out, "%s\n", cli_schedule (&s->file.saved[i].graph, line, sizeof line));
  }
}

static void report_commands (FILE *out, const cli *c, const session *s) {
  bool reuse = s->reuse;
  char *search = reuse ? NULL : cli_command (c, true);
  if (s->saved || s->kept || s->cached) {
    cli_label (out, s->saved ? "saved" : "file");
    fprintf (out, "%s (%d µGraph%s)%s\n", s->path, s->file.n, s->file.n == 1 ? "" : "s",
             s->kept ? ": kept, its best is no worse" : "");
    cli_label (out, "reuse");
    fprintf (out, "%s --file %s\n", c->argv[0], s->path);
  }
  if (search) {
    cli_label (out, "run again");
    fprintf (out, "%s\n", search);
  }
  free (search);
}

void cli_report_text (const cli *c, const session *s) {
  FILE *out = cli_text (c);
  char line[512];
  if (!out) return;
  cli_label (out, "program");
  fprintf (out, "%s, b = %d: %s\n", s->program.name, s->program.batch,
           cli_signature (&s->program.graph, line, sizeof line));
  cli_label (out, "machine");
  fprintf (out, "%s\n", s->facts.line);
  if (s->cached) {
    cli_label (out, "cached");
    fprintf (out, "%s%s%s\n", s->path, s->reuse ? "" : ", found by an earlier search; --fresh searches anew",
             s->rescheduled ? "; scheduled again for this device" : "");
  }
  report_search (out, c, s);
  if (s->best < 0) {
    cli_label (out, "best");
    fprintf (out, "nothing found%s\n",
             s->interrupted ? " before the interruption"
                            : " within these bounds (see --budget, --memory, --block-ops)");
  } else {
    report_verify (out, s);
    report_best (out, c, s);
    report_cuda (out, s);
    report_commands (out, c, s);
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

static cJSON *verify_json (const session *s) {
  const verify_report *v = &s->verify;
  if (!s->verified) return cJSON_CreateNull ();
  cJSON *o = cJSON_CreateObject ();
  cJSON_AddBoolToObject (o, "equivalent", v->verdict == VERIFY_EQUIVALENT);
  cJSON_AddNumberToObject (o, "p", v->p);
  cJSON_AddNumberToObject (o, "q", v->q);
  cJSON_AddNumberToObject (o, "trials", v->trials);
  add_number (o, "error_bound", true, v->error_bound);
  cJSON_AddTrueToObject (o, "real_shape");
  cJSON_AddNumberToObject (o, "seconds", v->seconds);
  if (v->reason[0]) cJSON_AddStringToObject (o, "reason", v->reason);
  return o;
}

static cJSON *best_json (const session *s) {
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

static cJSON *gpu_json (const session *s) {
  cJSON *o = cJSON_CreateObject ();
  bool right = s->gpu.ran && s->gpu.correct && !s->options.no_time;
  cJSON_AddBoolToObject (o, "available", s->facts.gpu);
  add_text (o, "device", s->facts.gpu, s->facts.device);
  add_bool (o, "correct", s->gpu.ran, s->gpu.correct);
  add_number (o, "rel_err", s->gpu.ran, s->gpu.rel_err);
  add_number (o, "warm_us", right, s->gpu.warm_us);
  add_number (o, "cold_us", right, s->gpu.cold_us);
  add_number (o, "plain_cold_us", right, s->gpu.plain_us);
  add_bool (o, "pdl", right, s->gpu.pdl);
  add_number (o, "timed", s->gpu.n > 0, s->gpu.n);
  add_number (o, "wrong", s->gpu.n > 0, s->gpu.n_wrong);
  add_number (o, "model_rank", right && s->gpu.model_rank >= 0, s->gpu.model_rank);
  add_number (o, "near_rank", right && s->gpu.model_rank >= 0, s->gpu.near_rank);
  add_number (o, "tune_seconds", s->gpu.n > 0, s->gpu.seconds);
  add_bool (o, "nvrtc", true, s->facts.nvrtc);
  add_bool (o, "compiled", s->compiled != 0, s->compiled > 0);
  return o;
}

/* The record with its truth values as such. */
static cJSON *search_json (const session *s) {
  cJSON *o = s->file.search ? cJSON_Duplicate (s->file.search, true) : NULL;
  return o ? o : cJSON_CreateNull ();
}

cJSON *cli_report_json (const session *s) {
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
