/* msearch WORKLOAD, msearch --file: look up or search, verify, compile, measure, save, report. */
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

static double now (void) {
  struct timespec t;
  clock_gettime (CLOCK_MONOTONIC, &t);
  return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
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
#include "../search/options.def"
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
#include "../search/options.def"
#undef OPTION
  return true;
}

/* Other bounds are another question: their results stand beside those of the default ones. */
static void result_path (cli_session *s, uint64_t key) {
  const mugraph_program *p = &s->program;
  if (s->c->out)
    snprintf (s->path, sizeof s->path, "%s", s->c->out);
  else if (default_bounds (s->c))
    snprintf (s->path, sizeof s->path, CLI_FOLDER "/%s_bs%d.json", p->stem, p->batch);
  else
    snprintf (s->path, sizeof s->path, CLI_FOLDER "/%s_bs%d-%08x.json", p->stem, p->batch, (unsigned) key);
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
  if (access (folder, W_OK | X_OK)) return mugraph_fail (e, "%s: cannot be written: %s: %s (--out FILE saves elsewhere)", path, folder, strerror (errno));
  return true;
}

static double measured_on (const mugraph_saved *m, const char *device, const char *what) {
  return mugraph_record_number (cJSON_GetObjectItemCaseSensitive (m->measured, device), what, INFINITY);
}

/* The fastest µGraph that was right on this machine's GPU; -1: none was measured there. */
static int fastest (const cli_session *s) {
  int best = -1;
  double least = INFINITY;
  for (int i = 0; s->facts.gpu && i < s->file.n; i++) {
    double us = measured_on (&s->file.saved[i], s->facts.device, "best_us");
    if (us < least) least = us, best = i;
  }
  return best;
}

/* Whether this search would be allowed to go on where the file's stopped. */
static bool cut_short (const cli_session *s) {
  const cJSON *r = s->file.search;
  double budget = mugraph_record_number (r, "budget", 0), memory = mugraph_record_number (r, "memory", 0), mine = s->c->search.budget;
  if (!r || mugraph_record_number (r, "finished", 1) != 0) return false;
  return mugraph_record_number (r, "interrupted", 0) != 0 || (budget > 0 && (!(mine > 0) || mine > budget)) ||
         (!(budget > 0) && s->c->search.memory > memory);
}

/* A file of an earlier search counts when it is for this program and these bounds, whatever it is called. */
static bool look_up (cli_session *s, uint64_t key) {
  mugraph_error e;
  if (s->c->fresh || !strcmp (s->path, "-") || access (s->path, F_OK)) return false;
  const char *why = NULL;
  if (!mugraph_file_load (s->path, &s->file, &e))
    why = e.text;
  else if (s->file.key != key || !s->file.has_program || !mugraph_equal (&s->file.program, &s->program.graph))
    why = "it is for another program, other shapes or other bounds";
  else if (!s->file.n)
    why = "it holds no µGraph";
  else if (cut_short (s))
    why = "its search was cut short";
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
  } else
    ok = mugraph_file_save (s->path, &s->file, e);
  s->saved = ok;
  return ok;
}

/* ---- the check at the real shape ---- */

static void verify_best (cli_session *s) {
  verify_options o;
  verify_options_default (&o);
  o.seed = (uint64_t) s->c->search.seed;
  o.trials = s->c->search.trials;
  o.threads = s->c->search.threads;
  verify_equivalent (&s->program.graph, &s->file.saved[s->best].graph, &o, &s->verify);
  s->verified = true;
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
#include "../search/statistics.def"
#undef STAT
  cJSON_AddBoolToObject (o, "finished", r->finished);
  cJSON_AddBoolToObject (o, "interrupted", r->interrupted);
  mugraph_record_set (o, "peak_bytes", r->peak_bytes);
  cJSON_AddStringToObject (o, "device", s->device.name);
  mugraph_record_set (o, "arch", s->device.arch);
  cJSON_AddStringToObject (o, "version", MSEARCH_VERSION);
#define OPTION(name, type, def, low, high, in_key, argument, help)                                                     \
  if (!cJSON_HasObjectItem (o, #name)) mugraph_record_set (o, #name, (double) options->name);
#include "../search/options.def"
#undef OPTION
}

static bool search (cli_session *s, uint64_t key, mugraph_error *e) {
  const cli *c = s->c;
  search_result r;
  bool live = s->text && isatty (STDERR_FILENO);
  bool ok = search_run (&s->program.graph, &c->search, &s->device, &cli_stop, live ? show_progress : NULL, NULL, &r, e);
  if (live) fputs ("\r\033[K", stderr);
  if (!ok) return false;
  mugraph_file_init (&s->file);
  snprintf (s->file.name, sizeof s->file.name, "%s", s->program.name);
  snprintf (s->file.stem, sizeof s->file.stem, "%s", s->program.stem);
  s->file.batch = s->program.batch;
  s->file.key = key;
  s->file.has_program = true;
  s->file.program = s->program.graph;
  for (int i = 0; ok && i < r.n && i < c->search.top; i++)
    ok = mugraph_file_append (&s->file, &r.candidate[i].graph, r.candidate[i].cost_us) || mugraph_fail (e, "out of memory");
  record_search (s, &r);
  s->interrupted = r.interrupted;
  s->verify = r.verify;
  /* The search falls back on the program itself, an operator a kernel. From bounds that were explored that is an answer;
     from a search that was cut short it is none. */
  bool answer = r.n && (r.finished || r.stats.structures || r.candidate[0].graph.n_blocks);
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
  double start = now ();
  if (!s->facts.nvrtc) return;
  s->compiled = compile (s, &s->file.saved[s->best].graph, false, &e) ? 1 : -1;
  s->compile_seconds = now () - start;
  if (s->compiled < 0) snprintf (s->compile_note, sizeof s->compile_note, "%s", e.text);
}

/* Half-precision outputs carry 2^-11 each; bfloat16 ones 2^-8. */
static double tolerance (const mugraph *g) {
  bool coarse = false;
  for (int t = 0; t < g->n_inputs; t++) coarse |= g->tensor[t].shape.dtype == MUGRAPH_BF16;
  for (int k = 0; k < g->n_outputs; k++) coarse |= g->tensor[g->output[k]].shape.dtype == MUGRAPH_BF16;
  return coarse ? 1.6e-2 : 2e-3;
}

/* What one µGraph did on the GPU, plain and with programmatic dependent launch. */
typedef struct {
  bool ran, correct, pdl;
  double rel_err, us, warm_us, cold_us;
} outcome;

static bool input_scales (const cli_session *s, double scale[MUGRAPH_INPUTS], mugraph_error *e) {
  const cli_scales *given = &s->c->scale;
  const mugraph *g = &s->program.graph;
  for (int t = 0; t < MUGRAPH_INPUTS; t++) scale[t] = 1;
  for (int k = 0; k < given->n; k++) {
    int t = 0;
    while (t < g->n_inputs && strcmp (g->tensor[t].name, given->of[k].name)) t++;
    if (t == g->n_inputs) return mugraph_fail (e, "--scale %s=...: %s has no input of that name", given->of[k].name, s->program.name);
    scale[t] = given->of[k].factor;
  }
  return true;
}

static outcome measure (cli_session *s, int i) {
  const char *const suffix[2] = {"", "_pdl"};
  mugraph_saved *m = &s->file.saved[i];
  outcome o = {.us = INFINITY};
  char name[40];
  double scale[MUGRAPH_INPUTS];
  bool timed = !s->c->no_time;
  if (!input_scales (s, scale, NULL)) return o;
  cJSON *record = mugraph_saved_measure (m, s->facts.device);
  for (int pdl = 0; record && pdl < 2 && (!pdl || o.correct); pdl++) {
    cuda_measurement t;
    mugraph_error e;
    bool ran = cuda_measure (&s->program.graph, &m->graph, &s->device, pdl, (uint64_t) s->c->search.seed, scale,
                             tolerance (&s->program.graph), timed, &t, &e);
    if (!ran && s->text) fprintf (s->text, "µGraph %d%s: %s\n", i, pdl ? " (pdl)" : "", e.text);
    if (ran && !t.correct && s->text)
      fprintf (s->text, "µGraph %d%s: WRONG on the GPU, relative error %.1e\n", i, pdl ? " (pdl)" : "", t.rel_err);
    if (!pdl) o = (outcome){.ran = ran, .correct = ran && t.correct, .rel_err = ran ? t.rel_err : INFINITY, .us = INFINITY};
    if (!ran || !t.correct || !timed) continue;
    snprintf (name, sizeof name, "warm%s_us", suffix[pdl]);
    mugraph_record_set (record, name, t.warm_us);
    snprintf (name, sizeof name, "cold%s_us", suffix[pdl]);
    mugraph_record_set (record, name, t.cold_us);
    snprintf (name, sizeof name, "cold%s_spread_us", suffix[pdl]);
    mugraph_record_set (record, name, t.cold_spread_us);
    if (t.cold_us < o.us) o.us = o.cold_us = t.cold_us, o.warm_us = t.warm_us, o.pdl = pdl;
  }
  if (!record) return o;
  char date[20];
  time_t seconds = time (NULL);
  struct tm day;
  strftime (date, sizeof date, "%Y-%m-%d", gmtime_r (&seconds, &day));
  cJSON_DeleteItemFromObjectCaseSensitive (record, "correct");
  cJSON_AddBoolToObject (record, "correct", o.correct);
  mugraph_record_set (record, "rel_err", o.rel_err);
  if (o.correct && timed) mugraph_record_set (record, "best_us", o.us);
  cJSON_DeleteItemFromObjectCaseSensitive (record, "date");
  cJSON_AddStringToObject (record, "date", date);
  return o;
}

static void note (cli_session *s, const outcome *o) {
  s->measured = o->ran;
  s->correct = o->correct;
  s->rel_err = o->rel_err;
  s->warm_us = o->warm_us;
  s->cold_us = o->cold_us;
  s->pdl = o->pdl;
}

static bool runs_here (const cli_session *s) {
  /* A cubin runs on its own major version only, sm_90a on 9.0 only. */
  return s->facts.gpu && s->facts.nvrtc && s->facts.arch / 10 == s->device.arch / 10;
}

/* Compiles all in parallel (the disk cache keeps them), then runs one after the other. Puts the measured ones in order,
   fastest first, and drops those that are wrong unless all are. */
static void tune (cli_session *s) {
  int n = s->file.n;
  double start = now ();
  outcome *o = calloc ((size_t) n, sizeof *o);
  int *rank = calloc ((size_t) n, sizeof *rank);
  if (!o || !rank) n = 0;
  if (s->text && n) fprintf (s->text, "compiling and timing %d µGraph%s on %s\n", n, n == 1 ? "" : "s", s->facts.device);
#pragma omp parallel for schedule(dynamic, 1) num_threads(s->c->search.threads > 0 ? s->c->search.threads : omp_get_max_threads ())
  for (int i = 0; i < 2 * n; i++) {
    mugraph_error e;
    if (!cli_stop) compile (s, &s->file.saved[i / 2].graph, i % 2, &e);
  }
  for (int i = 0; i < n; i++) rank[i] = i;
  for (int i = 0; i < n && !cli_stop; i++) {
    o[i] = measure (s, i);
    s->n_measured++;
    s->n_wrong += !o[i].correct;
  }
  if (cli_stop) s->interrupted = true;
  for (int i = 1; i < n; i++) /* stable: the model's order decides between equals */
    for (int k = i; k > 0 && o[k].correct && (!o[k - 1].correct || o[k].us < o[k - 1].us); k--) { /* not timed: us is infinite */
      mugraph_saved saved = s->file.saved[k];
      outcome moved = o[k];
      int r = rank[k];
      s->file.saved[k] = s->file.saved[k - 1], s->file.saved[k - 1] = saved;
      o[k] = o[k - 1], o[k - 1] = moved;
      rank[k] = rank[k - 1], rank[k - 1] = r;
    }
  if (n) {
    note (s, &o[0]);
    s->model_rank = rank[0];
    s->compiled = o[0].ran ? 1 : -1;
  }
  if (n && o[0].correct)
    for (int i = n; i-- > 1;)
      if (o[i].ran && !o[i].correct) {
        cJSON_Delete (s->file.saved[i].measured);
        memmove (&s->file.saved[i], &s->file.saved[i + 1], (size_t) (--s->file.n - i) * sizeof *s->file.saved);
      }
  s->tune_seconds = now () - start;
  free (rank);
  free (o);
}

/* ---- the whole way ---- */

static int status_of (const cli_session *s) {
  if (s->interrupted) return 128 + (cli_stop ? cli_stop : 2);
  if (s->best < 0) return CLI_NOTHING;
  if (s->verified && s->verify.verdict != VERIFY_EQUIVALENT) return CLI_WRONG;
  if (s->measured && !s->correct) return CLI_WRONG;
  return CLI_DONE;
}

/* An unfinished search does not replace a finished one's result for the same question unless it is better. */
static bool keep_existing (const cli_session *s) {
  if (!s->interrupted || s->cached || !strcmp (s->path, "-") || access (s->path, F_OK)) return false;
  mugraph_file old;
  bool keep = mugraph_file_load (s->path, &old, NULL);
  keep = keep && old.key == s->file.key && old.n && old.saved[0].cost_us >= 0 && old.saved[0].cost_us <= s->file.saved[0].cost_us;
  mugraph_file_free (&old);
  return keep;
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
      outcome o = measure (s, s->best);
      note (s, &o);
      s->compiled = o.ran ? 1 : -1;
      s->model_rank = -1;
    } else {
      const uint64_t before = mugraph_hash (&s->file.saved[s->best].graph, true);
      tune (s);
      s->best = 0;
      changed = s->n_measured > 0;
      if (mugraph_hash (&s->file.saved[0].graph, true) != before) verify_best (s);
    }
  } else if (!s->interrupted)
    compile_best (s);
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
  if (!input_scales (s, scale, e)) return CLI_BAD;
  uint64_t key = cache_key (c, &s->program.graph);
  result_path (s, key);
  if (!check_writable (s->path, e)) return CLI_BAD;
  if (s->text && c->batch && !s->program.uses_batch) fprintf (s->text, "note: %s does not use b; -b %d changes nothing\n", s->program.name, c->batch);
  s->cached = look_up (s, key);
  if (s->cached) {
    s->best = fastest (s);
    if (s->best < 0 && !schedule_again (s, e)) return CLI_BAD;
    if (s->best < 0) s->best = 0;
    verify_best (s);
    if (s->verify.verdict == VERIFY_DIFFERENT || s->verify.verdict == VERIFY_UNSUPPORTED) {
      if (s->text) fprintf (s->text, "not used: %s: its best µGraph is not equivalent: %s\n", s->path, s->verify.reason);
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
  verify_best (s);
  if (s->verify.verdict == VERIFY_EQUIVALENT) generate (s);
  return finish (s, e);
}

int cli_search (const cli *c, mugraph_error *e) {
  cli_session *s = calloc (1, sizeof *s);
  if (!s) return mugraph_fail (e, "out of memory"), CLI_BAD;
  s->c = c;
  s->text = cli_text (c);
  s->best = s->model_rank = -1;
  cli_probe (c, &s->facts);
  int status = CLI_BAD;
  if (cli_device (c, &s->facts, &s->device, e)) status = c->command == 'f' ? run_file (s, e) : run_search (s, e);
  mugraph_file_free (&s->file);
  free (s);
  return status;
}
