/* msearch WORKLOAD, msearch --file: look up or search, verify, compile, measure, save, report. */
#include "cli.h"

#include "cuda_templates/runtime/nvrtc.h"
#include "search/schedules/tune.h"
#include <errno.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

static bool runs_here (const cli_session *s) {
  /* A cubin runs on its own major version only, sm_90a on 9.0 only. */
  return s->facts.gpu && s->facts.nvrtc && s->facts.arch / 10 == s->device.arch / 10;
}

/* ---- where results are kept ---- */

/* The program and what the search was allowed to do: equal keys, equal results. */
static uint64_t cache_key (const cli *c, const mugraph *program) {
  char *text = NULL, *printed = mugraph_program_print (program);
  size_t size;
  uint64_t key = 0;
  FILE *out = printed ? open_memstream (&text, &size) : NULL;
  if (out) {
    fprintf (out, "%s\n%s", MUGRAPH_SCHEMA, printed);
#define OPTION(name, type, def, low, high, in_key, argument, help)                                                     \
  if (in_key) fprintf (out, "%s=%.17g\n", #name, (double) c->search.name);
#include "search/options.def"
#undef OPTION
    fclose (out);
    key = XXH3_64bits (text, size);
  }
  free (text);
  free (printed);
  return key ? key : 1;
}

static bool default_bounds (const cli *c) {
  search_options d;
  search_options_default (&d);
#define OPTION(name, type, def, low, high, in_key, argument, help)                                                     \
  if (in_key && c->search.name != d.name) return false;
#include "search/options.def"
#undef OPTION
  return true;
}

/* Other bounds are another question: their results stand beside those of the default ones. */
static void result_path (cli_session *s, uint64_t key) {
  const mugraph_program *p = &s->program;
  if (s->c->out) snprintf (s->path, sizeof s->path, "%s", s->c->out);
  else if (default_bounds (s->c)) snprintf (s->path, sizeof s->path, CLI_FOLDER "/%s_bs%d.json", p->stem, p->batch);
  else snprintf (s->path, sizeof s->path, CLI_FOLDER "/%s_bs%d-%08x.json", p->stem, p->batch, (unsigned) key);
}

/* Before time is spent on a search: can its result be written? */
static bool check_writable (const char *path, mugraph_error *e) {
  struct stat st;
  char folder[4096];
  const char *slash = strrchr (path, '/');
  if (!strcmp (path, "-")) return true;
  if (!stat (path, &st) && S_ISDIR (st.st_mode)) return mugraph_fail (e, "%s: is a directory, a file is needed", path);
  snprintf (folder, sizeof folder, "%.*s", slash ? (int) (slash - path) + (slash == path) : 1, slash ? path : ".");
  if (!strcmp (folder, CLI_FOLDER) && mkdir (folder, 0777) && errno != EEXIST)
    return mugraph_fail (e, "%s: cannot be made: %s (--out FILE saves elsewhere)", folder, strerror (errno));
  if (access (folder, W_OK | X_OK))
    return mugraph_fail (e, "%s: cannot be written: %s: %s (--out FILE saves elsewhere)", path, folder,
                         strerror (errno));
  return true;
}

/* The first of the file that was measured on this machine's GPU, in the order that tuning left; -1: none was. */
static int fastest (const cli_session *s) {
  for (int i = 0; s->facts.gpu && i < s->file.n; i++)
    if (isfinite (cli_measured_score (cJSON_GetObjectItemCaseSensitive (s->file.saved[i].measured, s->facts.device))))
      return i;
  return -1;
}

/* Whether this search would be allowed to go on where the file's stopped. */
static bool cut_short (const cli_session *s) {
  const cJSON *r = s->file.search;
  double budget = mugraph_record_number (r, "budget", 0), memory = mugraph_record_number (r, "memory", 0),
         mine = s->c->search.budget;
  if (!r || mugraph_record_number (r, "finished", 1) != 0) return false;
  return mugraph_record_number (r, "interrupted", 0) != 0 || (budget > 0 && (!(mine > 0) || mine > budget)) ||
         (!(budget > 0) && s->c->search.memory > memory);
}

/* A file of an earlier search counts when it is for this program and these bounds, whatever it is called. */
static bool look_up (cli_session *s, uint64_t key) {
  mugraph_error e;
  if (s->c->fresh || !strcmp (s->path, "-") || access (s->path, F_OK)) return false;
  const char *why = NULL;
  if (!mugraph_file_load (s->path, &s->file, &e)) why = e.text;
  else if (s->file.key != key || !s->file.has_program || !mugraph_equal (&s->file.program, &s->program.graph))
    why = "it is for another program, other shapes or other bounds";
  else if (!s->file.n) why = "it holds no µGraph";
  else if (cut_short (s)) why = "its search was cut short";
  if (!why) return true;
  if (s->text) fprintf (s->text, "not used: %s: %s\n", s->path, why);
  mugraph_file_free (&s->file);
  return false;
}

static bool save (cli_session *s, mugraph_error *e) {
  bool ok;
  if (!strcmp (s->path, "-")) {
    char *text = mugraph_file_print (&s->file);
    ok = text ? cli_write ("-", text, strlen (text), e) : mugraph_fail (e, "out of memory");
    free (text);
  } else ok = mugraph_file_save (s->path, &s->file, e);
  s->saved = ok;
  return ok;
}

/* ---- the check at the real shape ---- */

static void verify_best (cli_session *s, const volatile int *stop) {
  verify_options o;
  verify_options_default (&o);
  o.seed = (uint64_t) s->c->search.seed;
  o.trials = s->c->search.trials;
  o.threads = s->c->search.threads;
  o.stop = stop;
  verify_equivalent (&s->program.graph, &s->file.saved[s->best].graph, &o, &s->verify);
  s->verified = true;
  s->interrupted |= s->verify.unfinished;
}

static void record_verify (cli_session *s) {
  const verify_report *v = &s->verify;
  cJSON *o = cJSON_CreateObject ();
  cJSON_Delete (s->file.verify);
  s->file.verify = o;
  if (!o) return;
  cJSON_AddBoolToObject (o, "equivalent", v->verdict == VERIFY_EQUIVALENT);
  mugraph_record_set (o, "p", v->p);
  mugraph_record_set (o, "q", v->q);
  mugraph_record_set (o, "seed", s->c->search.seed);
  mugraph_record_set (o, "trials", v->trials);
  mugraph_record_set (o, "error_bound", v->error_bound);
  cJSON_AddBoolToObject (o, "real_shape", !v->sampled);
  mugraph_record_set (o, "seconds", v->seconds);
}

/* ---- the search ---- */

static void show_progress (void *user, const search_stats *stats, double seconds) {
  char a[40], b[40], c[40];
  (void) user;
  fprintf (stderr, "\r%7.1f s  %s states  %s pruned  %s valid\033[K", seconds, cli_count ((double) stats->states, a),
           cli_count ((double) stats->pruned, b), cli_count ((double) stats->valid, c));
  fflush (stderr);
}

static void record_search (cli_session *s, const search_result *r) {
  cJSON *o = cJSON_CreateObject ();
  const search_options *options = &s->c->search;
  s->file.search = o;
  if (!o) return;
  mugraph_record_set (o, "seconds", r->seconds);
  mugraph_record_set (o, "threads", r->threads);
#define STAT(name, unit, help) mugraph_record_set (o, #name, (double) r->stats.name);
#include "search/statistics.def"
#undef STAT
  cJSON_AddBoolToObject (o, "finished", r->finished);
  cJSON_AddBoolToObject (o, "interrupted", r->interrupted);
  mugraph_record_set (o, "peak_bytes", r->peak_bytes);
  cJSON_AddStringToObject (o, "device", s->device.name);
  mugraph_record_set (o, "arch", s->device.arch);
  cJSON_AddStringToObject (o, "version", MSEARCH_VERSION);
#define OPTION(name, type, def, low, high, in_key, argument, help)                                                     \
  if (!cJSON_HasObjectItem (o, #name)) mugraph_record_set (o, #name, (double) options->name);
#include "search/options.def"
#undef OPTION
}

static bool search (cli_session *s, uint64_t key, mugraph_error *e) {
  const cli *c = s->c;
  search_result r;
  bool live = s->text && isatty (STDERR_FILENO);
  search_options options = c->search;
  if (runs_here (s) && options.top < options.tune) options.top = options.tune;
  bool ok = search_run (&s->program.graph, &options, &s->device, &cli_stop, live ? show_progress : NULL, NULL, &r, e);
  if (live) fputs ("\r\033[K", stderr);
  if (!ok) return false;
  mugraph_file_init (&s->file);
  snprintf (s->file.name, sizeof s->file.name, "%s", s->program.name);
  snprintf (s->file.stem, sizeof s->file.stem, "%s", s->program.stem);
  s->file.batch = s->program.batch;
  s->file.key = key;
  s->file.has_program = true;
  s->file.program = s->program.graph;
  for (int i = 0; ok && i < r.n; i++)
    ok = mugraph_file_append (&s->file, &r.candidate[i].graph, r.candidate[i].cost_us) ||
         mugraph_fail (e, "out of memory");
  record_search (s, &r);
  s->interrupted = r.interrupted;
  s->verify = r.verify;
  /* The search falls back on the program itself, an operator a kernel. From bounds that were explored that is an
     answer; from a search that the user cut short it is none. */
  bool cut = r.interrupted || c->search.budget > 0;
  bool answer = r.n && (!cut || r.finished || r.stats.structures || r.candidate[0].graph.n_blocks);
  s->best = answer ? 0 : -1;
  s->verified = answer;
  search_result_free (&r);
  return ok;
}

/* Structures do not depend on the device, schedules do: those of a file made for another device are derived again. */
static bool schedule_again (cli_session *s, mugraph_error *e) {
  const cJSON *for_device = cJSON_GetObjectItemCaseSensitive (s->file.search, "device");
  int top = s->c->search.top, n = 0;
  if (!cJSON_IsString (for_device) || !strcmp (for_device->valuestring, s->device.name)) return true;
  search_candidate *all = calloc ((size_t) s->file.n * (size_t) top, sizeof *all);
  if (!all) return mugraph_fail (e, "out of memory");
  for (int i = 0; i < s->file.n; i++) {
    bool seen = false;
    for (int k = 0; k < i; k++) seen |= s->file.saved[k].structure == s->file.saved[i].structure;
    if (!seen) n += search_schedules (&s->file.saved[i].graph, &s->c->search, &s->device, top, all + n);
  }
  mugraph_file now_for = s->file;
  now_for.n = 0;
  now_for.saved = NULL;
  bool ok = true;
  for (int kept = 0; ok && kept < top && kept < n; kept++) {
    search_candidate *best = NULL;
    for (int i = 0; i < n; i++)
      if (all[i].cost_us >= 0 && (!best || all[i].cost_us < best->cost_us)) best = &all[i];
    if (!best) break;
    ok = mugraph_file_append (&now_for, &best->graph, best->cost_us) || mugraph_fail (e, "out of memory");
    best->cost_us = -1;
  }
  free (all);
  if (ok && now_for.n) {
    for (int i = 0; i < s->file.n; i++) cJSON_Delete (s->file.saved[i].measured);
    free (s->file.saved);
    s->file = now_for;
    s->rescheduled = true;
  }
  return ok;
}

/* ---- CUDA ---- */

static bool compile (const cli_session *s, const mugraph *g, bool pdl, mugraph_error *e) {
  cuda_program *p = calloc (1, sizeof *p);
  char *cubin = NULL;
  size_t size;
  bool ok = p && cuda_emit (g, &s->device, pdl, p, e);
  if (ok) {
    ok = cuda_compile (p->source, s->device.arch, &cubin, &size, NULL, e);
    cuda_program_free (p);
  }
  free (p);
  free (cubin);
  return ok;
}

/* The best only: says that its code is code. */
static void compile_best (cli_session *s) {
  mugraph_error e;
  double start = tune_now ();
  if (!s->facts.nvrtc) return;
  s->compiled = compile (s, &s->file.saved[s->best].graph, false, &e) ? 1 : -1;
  s->compile_seconds = tune_now () - start;
  if (s->compiled < 0) snprintf (s->compile_note, sizeof s->compile_note, "%s", e.text);
}

/* Half-precision outputs carry 2^-11 each; bfloat16 ones 2^-8. */
static double tolerance (const mugraph *g) {
  bool coarse = false;
  for (int t = 0; t < g->n_inputs; t++) coarse |= g->tensor[t].shape.dtype == MUGRAPH_BF16;
  for (int k = 0; k < g->n_outputs; k++) coarse |= g->tensor[g->output[k]].shape.dtype == MUGRAPH_BF16;
  return coarse ? 1.6e-2 : 2e-3;
}

static bool input_scales (const cli_session *s, double scale[MUGRAPH_INPUTS], mugraph_error *e) {
  const cli_scales *given = &s->c->scale;
  const mugraph *g = &s->program.graph;
  for (int t = 0; t < MUGRAPH_INPUTS; t++) scale[t] = 1;
  for (int k = 0; k < given->n; k++) {
    int t = 0;
    while (t < g->n_inputs && strcmp (g->tensor[t].name, given->of[k].name)) t++;
    if (t == g->n_inputs)
      return mugraph_fail (e, "--scale %s=...: %s has no input of that name", given->of[k].name, s->program.name);
    scale[t] = given->of[k].factor;
  }
  return true;
}

static void compile_both (void *user, int i) {
  const cli_session *s = user;
  mugraph_error e; /* whoever measures says what was wrong */
  for (int way = 0; way < TUNE_WAYS; way++) compile (s, &s->file.saved[i].graph, way == TUNE_PDL, &e);
}

static bool measure (void *user, int i, int way, tune_effort effort, tune_result *r) {
  static const cuda_effort efforts[] = {[TUNE_CHECK] = CUDA_CHECK, [TUNE_QUICK] = CUDA_QUICK, [TUNE_FULL] = CUDA_FULL};
  cli_session *s = user;
  cuda_measurement m;
  mugraph_error e;
  r->ran = cuda_meter_run (s->meter, &s->file.saved[i].graph, way == TUNE_PDL, tolerance (&s->program.graph),
                           efforts[effort], &m, &e);
  r->correct = r->ran && m.correct;
  if (r->ran && !(m.rel_err <= r->rel_err)) r->rel_err = m.rel_err;
  const char *how = way == TUNE_PDL ? " (pdl)" : "";
  if (!r->ran && s->text) fprintf (s->text, "µGraph %d%s: %s\n", i, how, e.text);
  if (r->ran && !m.correct && s->text)
    fprintf (s->text, "µGraph %d%s: WRONG on the GPU, relative error %.1e\n", i, how, m.rel_err);
  if (!r->ran) r->rel_err = INFINITY, r->lost = !cuda_usable ();
  if (!r->correct || effort == TUNE_CHECK) return r->correct;
  r->cold[way] = m.cold_us, r->spread[way] = m.cold_spread_us;
  if (effort == TUNE_FULL) r->warm[way] = m.warm_us;
  return true;
}

static void set_time (cJSON *record, const char *what, int way, const char *unit, double us) {
  char name[40];
  snprintf (name, sizeof name, "%s%s%s", what, way == TUNE_PDL ? "_pdl" : "", unit);
  if (isfinite (us)) mugraph_record_set (record, name, us);
  else cJSON_DeleteItemFromObjectCaseSensitive (record, name);
}

static void record_measured (cli_session *s, mugraph_saved *m, const tune_result *r) {
  cJSON *record = r->tried ? mugraph_saved_measure (m, s->facts.device) : NULL;
  char date[20];
  time_t seconds = time (NULL);
  struct tm day;
  if (!record) return;
  for (int way = 0; way < TUNE_WAYS && !s->c->no_time; way++) {
    set_time (record, "warm", way, "_us", r->warm[way]);
    set_time (record, "cold", way, "_us", r->cold[way]);
    set_time (record, "cold", way, "_spread_us", r->spread[way]);
  }
  cJSON_DeleteItemFromObjectCaseSensitive (record, "correct");
  cJSON_AddBoolToObject (record, "correct", r->correct);
  mugraph_record_set (record, "rel_err", r->rel_err);
  if (!s->c->no_time) {
    cJSON_DeleteItemFromObjectCaseSensitive (record, "best_us"); /* of older versions: the lesser time */
    set_time (record, "score", TUNE_PLAIN, "_us", tune_score (r));
  }
  strftime (date, sizeof date, "%Y-%m-%d", gmtime_r (&seconds, &day));
  cJSON_DeleteItemFromObjectCaseSensitive (record, "date");
  cJSON_AddStringToObject (record, "date", date);
}

/* What the reports say of the best: both its times. */
static void note (cli_session *s, const tune_result *r) {
  int way = r->cold[TUNE_PDL] < r->cold[TUNE_PLAIN] ? TUNE_PDL : TUNE_PLAIN;
  s->measured = r->ran;
  s->correct = r->correct;
  s->rel_err = r->rel_err;
  s->warm_us = r->warm[way];
  s->cold_us = r->cold[way];
  s->plain_us = r->cold[TUNE_PLAIN];
  s->pdl = way == TUNE_PDL;
  if (r->tried) s->compiled = r->ran ? 1 : -1;
}

/* Puts the file's µGraphs in the measured order and records the times. Wrong ones go unless all are. A search keeps the
   first --top ones. */
static void tune (cli_session *s) {
  int n = s->file.n, threads = s->c->search.threads > 0 ? s->c->search.threads : omp_get_max_threads ();
  double start = tune_now (), scale[MUGRAPH_INPUTS];
  mugraph_error e;
  tune_result *r = calloc ((size_t) n, sizeof *r);
  int *order = calloc ((size_t) n, sizeof *order);
  mugraph_saved *was = calloc ((size_t) n, sizeof *was);
  if (!r || !order || !was || !n || !input_scales (s, scale, &e)) goto done;
  if (s->text && n > 1)
    fprintf (s->text, "compiling and timing %d µGraph%s on %s\n", n, n == 1 ? "" : "s", s->facts.device);
  s->meter = cuda_meter_new (&s->program.graph, &s->device, (uint64_t) s->c->search.seed, scale, &e);
  if (!s->meter) {
    if (s->text) fprintf (s->text, "not timed: %s\n", e.text);
    goto done;
  }
  int keep = s->c->search.top;
  tune_job job = {.n = n,
                  .threads = threads,
                  .full = keep,
                  .timed = !s->c->no_time,
                  .stop = &cli_stop,
                  .user = s,
                  .compile = n > 1 ? compile_both : NULL,
                  .measure = measure};
  if (s->c->search.budget > 0) job.deadline = s->start + s->c->search.budget;
  s->n_measured = tune_run (&job, keep, r, order);
  cuda_meter_free (s->meter);
  s->meter = NULL;
  if (cli_stop) s->interrupted = true;
  memcpy (was, s->file.saved, (size_t) n * sizeof *was);
  for (int i = 0; i < n; i++) {
    s->file.saved[i] = was[order[i]];
    record_measured (s, &s->file.saved[i], &r[order[i]]);
    s->n_wrong += r[order[i]].tried && !r[order[i]].correct;
  }
  note (s, &r[order[0]]);
  if (s->measured && s->correct) {
    s->model_rank = s->near_rank = order[0];
    for (int i = 0; i < order[0]; i++)
      if (i < s->near_rank && tune_score (&r[i]) <= COST_NEAR * tune_score (&r[order[0]])) s->near_rank = i;
  }
  int left = n;
  for (; left > 1 && r[order[0]].correct && r[order[left - 1]].tried && !r[order[left - 1]].correct; left--)
    cJSON_Delete (s->file.saved[left - 1].measured);
  for (; left > keep && !s->cached; left--) cJSON_Delete (s->file.saved[left - 1].measured);
  s->file.n = left;
done:
  for (; !s->meter && !s->n_measured && !s->cached && s->file.n > s->c->search.top; s->file.n--)
    cJSON_Delete (s->file.saved[s->file.n - 1].measured);
  s->tune_seconds = tune_now () - start;
  free (r), free (order), free (was);
}

/* One of the file's once more. */
static void measure_again (cli_session *s, int i) {
  tune_result r;
  int order;
  double scale[MUGRAPH_INPUTS];
  mugraph_error e;
  mugraph_saved *all = s->file.saved;
  tune_job job = {.n = 1, .timed = !s->c->no_time, .full = 1, .stop = &cli_stop, .user = s, .measure = measure};
  if (!input_scales (s, scale, &e)) return;
  s->meter = cuda_meter_new (&s->program.graph, &s->device, (uint64_t) s->c->search.seed, scale, &e);
  if (!s->meter) {
    if (s->text) fprintf (s->text, "not timed: %s\n", e.text);
    return;
  }
  s->file.saved = all + i; /* µGraph 0 of the job */
  tune_run (&job, 0, &r, &order);
  s->file.saved = all;
  cuda_meter_free (s->meter);
  s->meter = NULL;
  record_measured (s, &all[i], &r);
  note (s, &r);
}

/* ---- the whole way ---- */

static int status_of (const cli_session *s) {
  if (s->interrupted) return 128 + (cli_stop ? cli_stop : 2);
  if (s->best < 0) return CLI_NOTHING;
  if (s->verified && s->verify.verdict != VERIFY_EQUIVALENT) return CLI_WRONG;
  if (s->measured && !s->correct) return CLI_WRONG;
  return CLI_DONE;
}

/* An unfinished search does not replace a finished one's result for the same question unless it is better, and
 * verified. */
static bool keep_existing (const cli_session *s) {
  if (!s->interrupted || s->cached || !strcmp (s->path, "-") || access (s->path, F_OK)) return false;
  mugraph_file old;
  bool keep = mugraph_file_load (s->path, &old, NULL);
  keep = keep && old.key == s->file.key && old.n && old.saved[0].cost_us >= 0 &&
         (s->verify.verdict != VERIFY_EQUIVALENT || old.saved[0].cost_us <= s->file.saved[0].cost_us);
  mugraph_file_free (&old);
  return keep;
}

/* The µGraph among those found now, behind them when it is not; NULL without room. */
static mugraph_saved *found_again (cli_session *s, const mugraph_saved *m) {
  for (int k = 0; k < s->file.n; k++)
    if (mugraph_equal (&s->file.saved[k].graph, &m->graph)) return &s->file.saved[k];
  return mugraph_file_append (&s->file, &m->graph, m->cost_us);
}

/* A new search replaces what an earlier one found, but not times of devices that this one did not time on. */
static void keep_measured (cli_session *s) {
  mugraph_file old;
  bool timed = s->measured && !s->c->no_time;
  if (s->cached || !strcmp (s->path, "-") || access (s->path, F_OK) || !mugraph_file_load (s->path, &old, NULL)) return;
  for (int i = 0; i < old.n && old.key == s->file.key; i++)
    for (cJSON *d = old.saved[i].measured ? old.saved[i].measured->child : NULL, *next; d; d = next) {
      next = d->next;
      mugraph_saved *m = timed && !strcmp (d->string, s->facts.device) ? NULL : found_again (s, &old.saved[i]);
      if (!m || (!m->measured && !(m->measured = cJSON_CreateObject ()))) continue;
      cJSON_DeleteItemFromObjectCaseSensitive (m->measured, d->string);
      cJSON_AddItemToObject (m->measured, d->string, cJSON_Duplicate (d, true));
    }
  mugraph_file_free (&old);
}

/* What was found for another device goes beside what the file has, which stays as it is. */
static bool add_to_file (cli_session *s, mugraph_error *e) {
  mugraph_file whole;
  if (!mugraph_file_load (s->path, &whole, e)) return false;
  mugraph_saved *m = mugraph_file_append (&whole, &s->file.saved[s->best].graph, s->file.saved[s->best].cost_us);
  if (!m) {
    mugraph_file_free (&whole);
    return mugraph_fail (e, "%s: holds too many µGraphs", s->path);
  }
  m->measured = s->file.saved[s->best].measured;
  s->file.saved[s->best].measured = NULL;
  mugraph_file_free (&s->file);
  s->file = whole;
  s->best = whole.n - 1;
  return true;
}

/* True when the file has something new to say. */
static bool generate (cli_session *s) {
  bool changed = false;
  if (runs_here (s) && !s->interrupted) {
    int known = s->cached ? fastest (s) : -1;
    if (known >= 0 || s->c->file) { /* measured before: its best once more */
      measure_again (s, s->best);
    } else {
      const uint64_t before = mugraph_hash (&s->file.saved[s->best].graph, true);
      tune (s);
      s->best = 0;
      changed = s->n_measured > 0;
      if (mugraph_hash (&s->file.saved[0].graph, true) != before)
        verify_best (s, NULL); /* quick, and what was timed is not to be lost */
    }
  } else if (!s->interrupted) compile_best (s);
  return changed;
}

static int finish (cli_session *s, mugraph_error *e) {
  s->interrupted |= cli_stop != 0;
  cli_report_text (s);
  return cli_write_json (s->c, cli_report_json (s), e) ? status_of (s) : CLI_BAD;
}

static int run_search (cli_session *s, mugraph_error *e) {
  const cli *c = s->c;
  size_t len = c->subject ? strlen (c->subject) : 0;
  if (len > 5 && !strcmp (c->subject + len - 5, ".json"))
    return mugraph_fail (e, "%s: a file of µGraphs is reused by --file %s", c->subject, c->subject), CLI_BAD;
  if (!(c->program ? mugraph_program_load (c->program, &c->shape, &s->program, e)
                   : mugraph_program_open (c->subject, &c->shape, &s->program, e)))
    return CLI_BAD;
  double scale[MUGRAPH_INPUTS];
  if (!input_scales (s, scale, e) || !cli_check_size (&s->program, e)) return CLI_BAD;
  uint64_t key = cache_key (c, &s->program.graph);
  result_path (s, key);
  if (!check_writable (s->path, e)) return CLI_BAD;
  if (s->text && c->batch && !s->program.uses_batch)
    fprintf (s->text, "note: %s does not use b; -b %d changes nothing\n", s->program.name, c->batch);
  s->cached = look_up (s, key);
  if (s->cached) {
    s->best = fastest (s);
    if (s->best < 0 && !schedule_again (s, e)) return CLI_BAD;
    if (s->best < 0) s->best = 0;
    verify_best (s, &cli_stop);
    if (s->verify.verdict == VERIFY_DIFFERENT || s->verify.verdict == VERIFY_UNSUPPORTED) {
      if (s->text)
        fprintf (s->text, "not used: %s: its best µGraph is not equivalent: %s\n", s->path, s->verify.reason);
      mugraph_file_free (&s->file);
      s->cached = s->verified = s->rescheduled = false;
      s->best = -1;
    }
  }
  if (!s->cached && !search (s, key, e)) return CLI_BAD;
  bool changed = s->best >= 0 && generate (s);
  if (s->best >= 0 && (!s->cached || changed) && (!s->measured || s->correct)) {
    if (!s->rescheduled) record_verify (s);
    s->kept = keep_existing (s);
    if (!s->kept && !s->rescheduled) keep_measured (s);
    if (!s->kept && !((!s->rescheduled || add_to_file (s, e)) && save (s, e))) {
      cli_report_text (s);
      return CLI_BAD;
    }
  }
  return finish (s, e);
}

static int run_file (cli_session *s, mugraph_error *e) {
  const cli *c = s->c;
  if (!mugraph_file_load_any (c->file, &s->file, e)) return CLI_BAD;
  snprintf (s->path, sizeof s->path, "%s", c->file);
  s->cached = true;
  if (!s->file.n) return mugraph_fail (e, "%s: holds no µGraph", c->file), CLI_BAD;
  if (!cli_file_program (c, c->file, &s->file, &s->program, e)) return CLI_BAD;
  double scale[MUGRAPH_INPUTS];
  if (!input_scales (s, scale, e)) return CLI_BAD;
  s->best = fastest (s);
  if (s->best < 0) s->best = 0;
  verify_best (s, &cli_stop);
  if (s->verify.verdict == VERIFY_EQUIVALENT) generate (s);
  return finish (s, e);
}

int cli_search (const cli *c, mugraph_error *e) {
  cli_session *s = calloc (1, sizeof *s);
  if (!s) return mugraph_fail (e, "out of memory"), CLI_BAD;
  s->c = c;
  s->start = tune_now ();
  s->text = cli_text (c);
  s->best = s->model_rank = -1;
  if (!c->no_gpu) cuda_isolate (); /* before the probe opens the driver */
  cli_probe (c, &s->facts);
  int status = CLI_BAD;
  if (cli_device (c, &s->facts, &s->device, e)) status = c->command == 'f' ? run_file (s, e) : run_search (s, e);
  mugraph_file_free (&s->file);
  free (s);
  return status;
}
