#include "session.h"
#include "cuda_templates/runtime/nvrtc.h"
#include "search/schedules/tune.h"
#include "verify/verify.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

session *session_new (void) {
  session *s = calloc (1, sizeof *s);
  if (!s) return NULL;
  search_options_default (&s->options.search);
  for (int t = 0; t < MUGRAPH_INPUTS; t++) s->options.scale[t] = 1;
  mugraph_file_init (&s->file);
  s->best = s->gpu.model_rank = -1;
  s->start = tune_now ();
  return s;
}

void session_free (session *s) {
  if (s) mugraph_file_free (&s->file);
  free (s);
}

static bool stopped (const session *s) { return s->options.stop && *s->options.stop; }

static bool nowhere (const session *s) { return !strcmp (s->path, "-"); }

/* A cubin runs on its own major version only, sm_90a on 9.0 only. */
static bool runs_here (const session *s) {
  return s->facts.gpu && s->facts.nvrtc && s->facts.arch / 10 == s->device.arch / 10;
}

bool session_can_verify (const mugraph_program *p, mugraph_error *e) {
  const double most = 0x1p37, share = 0.25, GiB = 0x1p30; /* a minute or two on two cores */
  double bytes, work, memory = (double) sysconf (_SC_PHYS_PAGES) * (double) sysconf (_SC_PAGESIZE);
  verify_effort (&p->graph, &bytes, &work);
  if (bytes > share * memory)
    return mugraph_fail (e,
                         "%s: b = %d: too large to be verified here: %.1f GiB of memory are needed, it gets %.1f (a "
                         "smaller -b, or --shape)",
                         p->name, p->batch, bytes / GiB, share * memory / GiB);
  return work <= most || mugraph_fail (e,
                                       "%s: b = %d: too large to be verified: %.2g operations an evaluation, at most "
                                       "%.2g (a smaller -b, or --shape)",
                                       p->name, p->batch, work, most);
}

/* ---- verifying ---- */

static void verify_best (session *s, const volatile int *stop) {
  verify_options o;
  verify_options_default (&o);
  o.seed = (uint64_t) s->options.search.seed;
  o.trials = s->options.search.trials;
  o.threads = s->options.search.threads;
  o.stop = stop;
  verify_equivalent (&s->program.graph, &s->file.saved[s->best].graph, &o, &s->verify);
  s->verified = true;
  s->interrupted |= s->verify.unfinished;
}

static void record_verify (session *s) {
  const verify_report *v = &s->verify;
  cJSON *o = cJSON_CreateObject ();
  cJSON_Delete (s->file.verify);
  s->file.verify = o;
  if (!o) return;
  cJSON_AddBoolToObject (o, "equivalent", v->verdict == VERIFY_EQUIVALENT);
  mugraph_record_set (o, "p", v->p);
  mugraph_record_set (o, "q", v->q);
  mugraph_record_set (o, "seed", s->options.search.seed);
  mugraph_record_set (o, "trials", v->trials);
  mugraph_record_set (o, "error_bound", v->error_bound);
  cJSON_AddTrueToObject (o, "real_shape");
  mugraph_record_set (o, "seconds", v->seconds);
}

/* ---- searching ---- */

static void record_search (session *s, const search_result *r) {
  cJSON *o = cJSON_CreateObject ();
  const search_options *options = &s->options.search;
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

static void begin_file (session *s, uint64_t key) {
  mugraph_file_init (&s->file);
  snprintf (s->file.name, sizeof s->file.name, "%s", s->program.name);
  snprintf (s->file.stem, sizeof s->file.stem, "%s", s->program.stem);
  s->file.batch = s->program.batch;
  s->file.key = key;
  s->file.has_program = true;
  s->file.program = s->program.graph;
}

/* The search falls back on the program itself, an operator a kernel. From bounds that were explored that is an answer;
   from a search that was cut short it is none. */
static bool is_answer (const session *s, const search_result *r) {
  bool cut = r->interrupted || s->options.search.budget > 0;
  return r->n && (!cut || r->finished || r->stats.structures || r->candidate[0].graph.n_blocks);
}

static bool search (session *s, uint64_t key, mugraph_error *e) {
  search_result r;
  search_options options = s->options.search;
  if (runs_here (s) && options.top < options.tune) options.top = options.tune;
  if (!search_run (&s->program.graph, &options, &s->device, s->options.stop, s->options.progress,
                   s->options.progress_user, &r, e))
    return false;
  bool ok = true;
  begin_file (s, key);
  for (int i = 0; ok && i < r.n; i++)
    ok = mugraph_file_append (&s->file, &r.candidate[i].graph, r.candidate[i].cost_us) ||
         mugraph_fail (e, "out of memory");
  record_search (s, &r);
  s->interrupted = r.interrupted;
  s->verify = r.verify;
  s->verified = is_answer (s, &r);
  s->best = s->verified ? 0 : -1;
  search_result_free (&r);
  return ok;
}

/* ---- scheduling an earlier result again ---- */

/* Schedules of every structure of the file for this device. all: room for `top` of each. */
static int schedules_of_file (const session *s, int top, search_candidate all[]) {
  const mugraph_file *f = &s->file;
  int n = 0;
  for (int i = 0; i < f->n; i++) {
    bool seen = false;
    for (int k = 0; k < i; k++) seen |= f->saved[k].structure == f->saved[i].structure;
    if (!seen) n += search_schedules (&f->saved[i].graph, &s->device, top, all + n);
  }
  return n;
}

/* Appends the cheapest `top` of them, cheapest first; marks them by a negative cost. */
static bool append_cheapest (mugraph_file *f, int top, int n, search_candidate all[], mugraph_error *e) {
  while (f->n < top) {
    search_candidate *best = NULL;
    for (int i = 0; i < n; i++)
      if (all[i].cost_us >= 0 && (!best || all[i].cost_us < best->cost_us)) best = &all[i];
    if (!best) break;
    if (!mugraph_file_append (f, &best->graph, best->cost_us)) return mugraph_fail (e, "out of memory");
    best->cost_us = -1;
  }
  return true;
}

/* Structures do not depend on the device, schedules do: those of a file made for another device are derived again. */
static bool schedule_again (session *s, mugraph_error *e) {
  const cJSON *for_device = cJSON_GetObjectItemCaseSensitive (s->file.search, "device");
  int top = s->options.search.top;
  if (!cJSON_IsString (for_device) || !strcmp (for_device->valuestring, s->device.name)) return true;
  search_candidate *all = calloc ((size_t) s->file.n * (size_t) top, sizeof *all);
  if (!all) return mugraph_fail (e, "out of memory");
  mugraph_file now = s->file;
  now.n = 0;
  now.saved = NULL;
  bool ok = append_cheapest (&now, top, schedules_of_file (s, top, all), all, e);
  free (all);
  if (!ok || !now.n) {
    free (now.saved);
    return ok;
  }
  for (int i = 0; i < s->file.n; i++) cJSON_Delete (s->file.saved[i].measured);
  free (s->file.saved);
  s->file = now;
  s->rescheduled = true;
  return true;
}

/* ---- compiling and measuring ---- */

/* The best only: says that its code is code. */
static void compile_best (session *s) {
  mugraph_error e;
  double start = tune_now ();
  if (!s->facts.nvrtc) return;
  bool good = cuda_compile_graph (&s->file.saved[s->best].graph, &s->device, false, NULL, NULL, NULL, &e);
  s->compiled = good ? 1 : -1;
  s->compile_seconds = tune_now () - start;
  if (!good) snprintf (s->compile_note, sizeof s->compile_note, "%s", e.text);
}

static measured_job job_of (const session *s) {
  const search_options *o = &s->options.search;
  measured_job job = {.program = &s->program.graph,
                      .device = &s->device,
                      .gpu = s->facts.device,
                      .scale = s->options.scale,
                      .seed = (uint64_t) o->seed,
                      .threads = o->threads > 0 ? o->threads : omp_get_max_threads (),
                      .keep = o->top,
                      .timed = !s->options.no_time,
                      .stop = s->options.stop,
                      .listener = s->options.listener};
  if (o->budget > 0) job.deadline = s->start + o->budget;
  return job;
}

/* Measures all of the file, or (again) its best once more. */
static void measure (session *s, bool again) {
  measured_job job = job_of (s);
  if (again) measured_again (&job, &s->file.saved[s->best], s->best, &s->gpu);
  else measured_tune (&job, &s->file, !s->cached, &s->gpu);
  if (s->gpu.tried) s->compiled = s->gpu.ran ? 1 : -1;
}

/* Code of the best, and its times where there is a GPU. True when the file has something new to say. */
static bool generate (session *s) {
  if (s->interrupted) return false;
  if (!runs_here (s)) {
    compile_best (s);
    return false;
  }
  bool timed_before = s->cached && measured_first (&s->file, s->facts.device) >= 0;
  if (timed_before || s->reuse) {
    measure (s, true);
    return false;
  }
  const uint64_t before = mugraph_hash (&s->file.saved[s->best].graph, true);
  measure (s, false);
  s->interrupted |= stopped (s);
  s->best = 0;
  if (mugraph_hash (&s->file.saved[0].graph, true) != before)
    verify_best (s, NULL); /* quick, and what was timed is not to be lost */
  return s->gpu.n > 0;
}

/* ---- an earlier result ---- */

static int fastest (const session *s) { return s->facts.gpu ? measured_first (&s->file, s->facts.device) : -1; }

static void forget_file (session *s) {
  mugraph_file_free (&s->file);
  s->cached = s->verified = s->rescheduled = false;
  s->best = -1;
}

/* Takes what an earlier search found, if it answers the question and its best is still equivalent. */
static bool look_up (session *s, uint64_t key, mugraph_error *e) {
  mugraph_error why;
  if (s->options.fresh || nowhere (s)) return true;
  s->cached = store_look_up (s->path, key, &s->program.graph, &s->options.search, &s->file, &why);
  if (!s->cached) {
    if (*why.text) session_note (&s->options.listener, "not used: %s: %s", s->path, why.text);
    return true;
  }
  s->best = fastest (s);
  if (s->best < 0 && !schedule_again (s, e)) return false;
  if (s->best < 0) s->best = 0;
  verify_best (s, s->options.stop);
  if (s->verify.verdict != VERIFY_DIFFERENT && s->verify.verdict != VERIFY_UNSUPPORTED) return true;
  session_note (&s->options.listener, "not used: %s: its best µGraph is not equivalent: %s", s->path, s->verify.reason);
  forget_file (s);
  return true;
}

/* ---- keeping the result ---- */

/* An unfinished search does not replace a finished one's result for the same question unless it is better, and
   verified. */
static bool keep_existing (const session *s) {
  if (!s->interrupted || s->cached || nowhere (s)) return false;
  double cost = s->verify.verdict == VERIFY_EQUIVALENT ? s->file.saved[0].cost_us : INFINITY;
  return store_has_better (s->path, s->file.key, cost);
}

/* A new search replaces what an earlier one found, but not times of devices that this one did not time on. What was
   scheduled for another device goes beside what the file has. */
static bool keep (session *s, mugraph_error *e) {
  if (!s->rescheduled) record_verify (s);
  s->kept = keep_existing (s);
  if (s->kept) return true;
  if (s->rescheduled) {
    if (!store_add (s->path, &s->file, &s->best, e)) return false;
  } else if (!s->cached && !nowhere (s))
    store_keep_times (s->path, &s->file, s->gpu.ran && !s->options.no_time ? s->facts.device : NULL);
  s->saved = nowhere (s) || mugraph_file_save (s->path, &s->file, e);
  return s->saved;
}

/* ---- the whole way ---- */

static bool choose_path (session *s, mugraph_error *e) {
  if (s->options.path) snprintf (s->path, sizeof s->path, "%s", s->options.path);
  else store_path (&s->program, &s->options.search, s->path);
  return nowhere (s) || (store_make_folder (s->path, e) && store_can_write (s->path, e));
}

bool session_search (session *s, mugraph_error *e) {
  if (!session_can_verify (&s->program, e) || !choose_path (s, e)) return false;
  uint64_t key = store_key (&s->program.graph, &s->options.search);
  if (!look_up (s, key, e) || (!s->cached && !search (s, key, e))) return false;
  bool changed = s->best >= 0 && generate (s);
  bool worth_keeping = s->best >= 0 && (!s->cached || changed) && (!s->gpu.ran || s->gpu.correct);
  bool good = !worth_keeping || keep (s, e);
  s->interrupted |= stopped (s);
  return good;
}

bool session_reuse (session *s, mugraph_error *e) {
  if (!s->file.n) return mugraph_fail (e, "%s: holds no µGraph", s->path);
  s->reuse = s->cached = true;
  s->best = fastest (s);
  if (s->best < 0) s->best = 0;
  verify_best (s, s->options.stop);
  if (s->verify.verdict == VERIFY_EQUIVALENT) generate (s);
  s->interrupted |= stopped (s);
  return true;
}
