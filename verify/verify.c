#include "verify.h"
#include "bound.h"
#include "eval.h"
#include "field.h"

#include <math.h>
#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

void verify_options_default (verify_options *o) { *o = (verify_options){.seed = 0x6d73, .trials = 2, .stable = true}; }

static int threads_of (int threads) {
  if (omp_in_parallel ()) return 1;
  return threads > 0 ? threads : omp_get_max_threads ();
}

/* ---- inputs over the fields ---- */

static void draw_elements (uint64_t key, int64_t first, int64_t end, uint32_t *const plane[2]) {
  for (int64_t e = first; e < end; e++) {
    uint64_t h = field_hash (key, (uint64_t) e);
    if (plane[0]) plane[0][e] = field_draw_p (h);
    if (plane[1]) plane[1][e] = field_draw_q (h);
  }
}

/* Element e of input i depends on key, i and e only, so that graphs with the same inputs see the same values whatever
   planes they read. */
static bool draw_inputs (const mugraph *g, const uint8_t need[], const eval_options *run, eval_arena *arena,
                         eval_value inputs[]) {
  for (int i = 0; i < g->n_inputs; i++) {
    int64_t n = mugraph_volume (&g->tensor[i].shape);
    uint64_t k = field_hash (run->key, 0x1000 + (uint64_t) i);
    uint32_t *plane[2] = {NULL, NULL};
    for (int p = 0; p < 2; p++)
      if (need[i] >> p & 1 && !(plane[p] = eval_take (arena, (size_t) n * sizeof (uint32_t)))) return false;
    if (n < 1 << 16) draw_elements (k, 0, n, plane);
    else {
#pragma omp parallel for num_threads(run->threads)
      for (int64_t e = 0; e < n; e += 1 << 14)
        if (!run->stop || !*run->stop)
          draw_elements (k, e, n - e < 1 << 14 ? n : e + (1 << 14), plane); /* else nobody reads them */
    }
    inputs[i] = (eval_value){{plane[0], plane[1]}};
  }
  return true;
}

/* ---- equivalence ---- */

static void conclude (verify_report *r, verify_verdict verdict, const char *format, ...)
    __attribute__ ((format (printf, 3, 4)));
static void conclude (verify_report *r, verify_verdict verdict, const char *format, ...) {
  va_list ap;
  r->verdict = verdict;
  va_start (ap, format);
  vsnprintf (r->reason, sizeof r->reason, format, ap);
  va_end (ap);
}

static const char *shape_text (const mugraph_shape *s, char text[64]) {
  int n = snprintf (text, 64, "[");
  for (int d = 0; d < s->n_dims; d++) n += snprintf (text + n, 64 - (size_t) n, "%s%d", d ? ", " : "", s->dim[d]);
  snprintf (text + n, 64 - (size_t) n, "]");
  return text;
}

/* Of an element of a tensor: "[0, 17]". */
static const char *position_text (const mugraph_shape *s, int64_t element, char text[64]) {
  mugraph_shape at = *s;
  for (int d = s->n_dims; d--; element /= s->dim[d]) at.dim[d] = (int32_t) (element % s->dim[d]);
  return shape_text (&at, text);
}

/* Its name, else its number. */
static void output_name (const mugraph *g, int k, char name[MUGRAPH_NAME]) {
  if (g->output_name[k][0]) memcpy (name, g->output_name[k], MUGRAPH_NAME);
  else snprintf (name, MUGRAPH_NAME, "%d", k);
}

static bool correspond (const mugraph *a, const mugraph *b, verify_report *r) {
  char x[64], y[64];
  if (a->n_inputs != b->n_inputs || a->n_outputs != b->n_outputs) {
    conclude (r, VERIFY_UNSUPPORTED, "the program has %d inputs and %d outputs, the candidate %d and %d", a->n_inputs,
              a->n_outputs, b->n_inputs, b->n_outputs);
    return false;
  }
  for (int i = 0; i < a->n_inputs; i++)
    if (!mugraph_same_shape (&a->tensor[i].shape, &b->tensor[i].shape)) {
      conclude (r, VERIFY_UNSUPPORTED, "input %d is %s in the program and %s in the candidate", i,
                shape_text (&a->tensor[i].shape, x), shape_text (&b->tensor[i].shape, y));
      return false;
    }
  for (int k = 0; k < a->n_outputs; k++)
    if (!mugraph_same_shape (&a->tensor[a->output[k]].shape, &b->tensor[b->output[k]].shape)) {
      conclude (r, VERIFY_UNSUPPORTED, "output %d is %s in the program and %s in the candidate", k,
                shape_text (&a->tensor[a->output[k]].shape, x), shape_text (&b->tensor[b->output[k]].shape, y));
      return false;
    }
  return true;
}

typedef struct {
  const mugraph *graph[2]; /* program, candidate */
  eval_plan plan[2];
  mugraph_stable stable;
  uint8_t need[MUGRAPH_INPUTS];
  void *out[2][MUGRAPH_OUTPUTS]; /* memory of take_outputs */
} comparison;

/* Whether some output of the candidate differs from the program's: r->reason says which. */
static bool tell_difference (const comparison *c, int trial, verify_report *r) {
  for (int k = 0; k < c->graph[0]->n_outputs; k++) {
    const mugraph_shape *s = &c->graph[0]->tensor[c->graph[0]->output[k]].shape;
    int64_t n = mugraph_volume (s), e = 0, others = 0;
    const uint32_t *a = c->out[0][k], *b = c->out[1][k];
    if (!memcmp (a, b, (size_t) n * sizeof *a)) continue;
    while (a[e] == b[e]) e++;
    for (int64_t j = e; j < n; j++) others += a[j] != b[j];
    char name[MUGRAPH_NAME], text[64];
    output_name (c->graph[0], k, name);
    conclude (r, VERIFY_DIFFERENT,
              "output %s differs at %lld of %lld elements, first at %s: %u and %u mod p (trial %d)", name,
              (long long) others, (long long) n, position_text (s, e, text), a[e], b[e], trial);
    return true;
  }
  return false;
}

/* One draw of the inputs. EVAL_DONE: *difference tells whether some output differs. */
static eval_status draw_once (comparison *c, const verify_options *o, eval_options *run, int trial, bool *different,
                              verify_report *r) {
  eval_arena arena;
  eval_value inputs[MUGRAPH_INPUTS];
  eval_arena_init (&arena, NULL, 0);
  eval_status status = EVAL_MEMORY;
  if (draw_inputs (c->graph[0], c->need, run, &arena, inputs)) {
    status = EVAL_DONE;
    for (int side = 0; side < 2 && status == EVAL_DONE; side++) {
      run->stable = side && o->stable && c->stable.any ? &c->stable : NULL;
      status = eval_run (&c->plan[side], run, inputs, c->out[side], &arena);
    }
  }
  eval_arena_free (&arena);
  *different = status == EVAL_DONE && tell_difference (c, trial, r);
  return status;
}

/* Why an evaluation has no result, other than by divisions by zero. */
static void conclude_unknown (verify_report *r, eval_status status, double time_limit, int trial) {
  if (status == EVAL_MEMORY) conclude (r, VERIFY_UNKNOWN, "not enough memory to evaluate the graphs");
  if (status == EVAL_TIME)
    conclude (r, VERIFY_UNKNOWN, "the time limit of %g s ran out in trial %d", time_limit, trial);
  if (status == EVAL_STOPPED) conclude (r, VERIFY_UNKNOWN, "interrupted");
  r->unfinished = status == EVAL_TIME || status == EVAL_STOPPED;
}

static void compare (comparison *c, const verify_options *o, verify_report *r) {
  double begin = omp_get_wtime (), per_trial = verify_bound (c->graph[0], c->graph[1]);
  int trials = o->trials > 0 ? o->trials : 1;
  eval_options run = {
      .threads = threads_of (o->threads), .deadline = o->time_limit > 0 ? begin + o->time_limit : 0, .stop = o->stop};
  r->error_bound = 1;
  for (int trial = 0; trial < trials; trial++) {
    eval_status status = EVAL_ZERO;
    bool different = false;
    for (int draw = 0; draw < VERIFY_DRAWS && status == EVAL_ZERO; draw++) {
      run.key = field_hash (o->seed, (uint64_t) trial * VERIFY_DRAWS + (uint64_t) draw);
      status = draw_once (c, o, &run, trial, &different, r);
    }
    if (status == EVAL_ZERO)
      conclude (r, VERIFY_UNKNOWN, "division by zero at each of %d random inputs (trial %d)", VERIFY_DRAWS, trial);
    conclude_unknown (r, status, o->time_limit, trial);
    if (status != EVAL_DONE) return;
    r->trials++;
    r->error_bound *= per_trial;
    if (different) {
      r->error_bound = 0; /* a difference is a proof */
      return;
    }
  }
  r->verdict = VERIFY_EQUIVALENT;
}

/* ---- what it takes ---- */

/* Products of a matmul, elements of anything else. */
static double work_of (const mugraph_op *op, const mugraph_shape *const in[], const mugraph_shape *out) {
  double n = (double) mugraph_volume (out);
  if (op->kind == MUGRAPH_OP_MATMUL) return n * in[0]->dim[in[0]->n_dims - 1];
  for (int k = 0; k < op->n_in; k++) n = fmax (n, (double) mugraph_volume (in[k]));
  return n;
}

static double work_of_block (const mugraph_block *b) {
  double blocks = (double) b->grid[0] * b->grid[1] * b->grid[2], work = 0;
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *op = &b->op[i];
    const mugraph_shape *in[MUGRAPH_FANIN] = {NULL};
    bool tiles = op->kind != MUGRAPH_OP_INPUT;
    for (int k = 0; tiles && k < op->n_in; k++) in[k] = &b->op[op->in[k]].shape;
    mugraph_op plain = *op;
    if (!tiles) plain.n_in = 0;
    work += work_of (&plain, in, &op->shape) * (op->after_loop ? 1 : b->loop);
  }
  return work * blocks;
}

void verify_effort (const mugraph *g, double *bytes, double *work) {
  eval_plan plan;
  double live = 0, size[MUGRAPH_TENSORS] = {0};
  *work = *bytes = 0;
  eval_plan_make (&plan, g, false, NULL);
  for (int t = 0; t < g->n_tensors; t++) {
    size[t] = (double) mugraph_volume (&g->tensor[t].shape) * ((plan.tensor[t] & 1) + (plan.tensor[t] >> 1 & 1)) *
              sizeof (uint32_t);
    if (t < g->n_inputs) live += size[t];
  }
  for (int k = 0; k < g->n_outputs; k++)
    live += 2 * (double) mugraph_volume (&g->tensor[g->output[k]].shape) * sizeof (uint32_t);
  for (int i = 0; i < g->n_ops; i++) {
    const mugraph_op *op = &g->op[i];
    const mugraph_shape *in[MUGRAPH_FANIN];
    for (int k = 0; k < op->n_in; k++) in[k] = &g->tensor[op->in[k]].shape;
    for (int k = 0; k < op->n_out; k++) live += size[op->out[k]];
    if (live > *bytes) *bytes = live;
    for (int t = g->n_inputs; t < g->n_tensors; t++)
      if (plan.last_use[t] == i) live -= size[t];
    *work += op->kind == MUGRAPH_OP_CUSTOM ? work_of_block (&g->block[op->block])
                                           : work_of (op, in, &g->tensor[op->out[0]].shape);
  }
}

/* A file may hold a µGraph that loops for years. Recomputing is normal, by some hundred times too. */
static bool affordable (const mugraph *program, const mugraph *candidate, verify_report *r) {
  const double recomputed = 1024, always = 0x1p34;
  double bytes, work[2];
  verify_effort (program, &bytes, &work[0]);
  verify_effort (candidate, &bytes, &work[1]);
  if (work[1] <= recomputed * work[0] + always) return true;
  conclude (r, VERIFY_UNKNOWN, "evaluating it takes %.2g operations where the program takes %.2g: not tried", work[1],
            work[0]);
  return false;
}

static bool take_outputs (const mugraph *program, void *out[2][MUGRAPH_OUTPUTS]) {
  bool ok = true;
  for (int side = 0; side < 2; side++)
    for (int k = 0; k < program->n_outputs; k++)
      ok &= (out[side][k] = malloc ((size_t) mugraph_volume (&program->tensor[program->output[k]].shape) *
                                    sizeof (uint32_t))) != NULL;
  return ok;
}

static void free_outputs (void *out[2][MUGRAPH_OUTPUTS]) {
  for (int side = 0; side < 2; side++)
    for (int k = 0; k < MUGRAPH_OUTPUTS; k++) free (out[side][k]);
}

/* Everything that a comparison needs but outputs, or NULL with the reason in r. */
static comparison *prepare (const mugraph *program, const mugraph *candidate, const verify_options *options,
                            verify_report *r) {
  *r = (verify_report){.verdict = VERIFY_UNKNOWN, .p = FIELD_P, .q = FIELD_Q, .error_bound = 1};
  comparison *c = calloc (1, sizeof *c);
  char why[256];
  bool ok = c != NULL;
  if (!ok) conclude (r, VERIFY_UNKNOWN, "not enough memory to compare the graphs");
  if (ok) {
    c->graph[0] = program;
    c->graph[1] = candidate;
    ok = correspond (program, candidate, r) && affordable (program, candidate, r);
  }
  for (int side = 0; ok && side < 2; side++) {
    ok = eval_plan_make (&c->plan[side], c->graph[side], false, why);
    if (!ok) conclude (r, VERIFY_UNSUPPORTED, "%s, %.240s", side ? "candidate" : "program", why);
    for (int i = 0; i < program->n_inputs; i++) c->need[i] |= c->plan[side].tensor[i];
  }
  if (ok && options->stable) mugraph_analyse_stable (candidate, &c->stable);
  if (ok) return c;
  free (c);
  return NULL;
}

void verify_equivalent (const mugraph *program, const mugraph *candidate, const verify_options *options,
                        verify_report *r) {
  double begin = omp_get_wtime ();
  comparison *c = prepare (program, candidate, options, r);
  if (c && take_outputs (program, c->out)) compare (c, options, r);
  else if (c) conclude (r, VERIFY_UNKNOWN, "not enough memory for the outputs");
  if (c) free_outputs (c->out);
  free (c);
  r->seconds = omp_get_wtime () - begin;
}

/* One trial of all candidates that are still equal, on one draw, the program evaluated once. */
static eval_status trial_of_all (int n, comparison *const c[], const uint8_t need[], const verify_options *o,
                                 eval_options *run, int trial, const int trials[], verify_report r[]) {
  eval_arena arena;
  eval_value inputs[MUGRAPH_INPUTS];
  int first = 0;
  while (first < n && !c[first]) first++;
  if (first == n) return EVAL_DONE;
  eval_arena_init (&arena, NULL, 0);
  run->key = field_hash (o->seed, (uint64_t) trial * VERIFY_DRAWS);
  run->stable = NULL;
  eval_status status = EVAL_MEMORY;
  if (draw_inputs (c[first]->graph[0], need, run, &arena, inputs))
    status = eval_run (&c[first]->plan[0], run, inputs, c[first]->out[0], &arena);
  for (int i = first; status == EVAL_DONE && i < n; i++) {
    if (!c[i] || trial >= trials[i] || r[i].verdict == VERIFY_DIFFERENT) continue;
    double begin = omp_get_wtime ();
    eval_arena own;
    eval_arena_init (&own, NULL, 0);
    run->stable = o->stable && c[i]->stable.any ? &c[i]->stable : NULL;
    status = eval_run (&c[i]->plan[1], run, inputs, c[i]->out[1], &own);
    eval_arena_free (&own);
    if (status == EVAL_DONE && tell_difference (c[i], trial, &r[i])) r[i].error_bound = 0;
    r[i].trials += status == EVAL_DONE;
    r[i].seconds += omp_get_wtime () - begin;
  }
  eval_arena_free (&arena);
  return status;
}

void verify_equivalent_each (const mugraph *program, int n, const mugraph *const candidate[], const int trials[],
                             const verify_options *options, verify_report r[]) {
  double begin = omp_get_wtime ();
  comparison **c = calloc ((size_t) n + 1, sizeof *c);
  uint8_t need[MUGRAPH_INPUTS] = {0};
  void *out[2][MUGRAPH_OUTPUTS] = {{NULL}}; /* of all: one after the other */
  int most = 0;
  bool ok = c != NULL && take_outputs (program, out);
  eval_options run = {.threads = threads_of (options->threads),
                      .deadline = options->time_limit > 0 ? begin + options->time_limit : 0,
                      .stop = options->stop};
  eval_status status = EVAL_DONE;
  for (int i = 0; ok && i < n; i++) {
    if (!(c[i] = prepare (program, candidate[i], options, &r[i]))) continue;
    memcpy (c[i]->out, out, sizeof out);
    for (int k = 0; k < program->n_inputs; k++) need[k] |= c[i]->need[k];
    if (trials[i] > most) most = trials[i];
  }
  for (int trial = 0; ok && trial < most && status == EVAL_DONE; trial++)
    status = trial_of_all (n, c, need, options, &run, trial, trials, r);
  bool ended = status == EVAL_TIME || status == EVAL_STOPPED; /* for good; else: */
  for (int i = 0; i < n; i++) {
    if (!ok || (status != EVAL_DONE && !ended)) { /* some draw was unlucky, or memory is short: one by one */
      verify_options own = *options;
      own.trials = trials[i];
      verify_equivalent (program, candidate[i], &own, &r[i]);
    } else if (c[i] && r[i].verdict != VERIFY_DIFFERENT) {
      double per_trial = verify_bound (program, candidate[i]);
      r[i].error_bound = 1;
      for (int t = 0; t < r[i].trials; t++) r[i].error_bound *= per_trial;
      if (r[i].trials >= trials[i]) r[i].verdict = VERIFY_EQUIVALENT;
      else conclude_unknown (&r[i], status, options->time_limit, r[i].trials);
    }
    if (c) free (c[i]);
  }
  free_outputs (out);
  free (c);
}

/* ---- fingerprints ---- */

bool verify_fingerprint (const mugraph *g, uint64_t seed, uint64_t out[MUGRAPH_OUTPUTS]) {
  _Alignas(64) char room[1 << 16]; /* witness shapes fit: nothing is allocated */
  eval_plan plan;
  eval_arena arena;
  eval_value inputs[MUGRAPH_INPUTS];
  void *values[MUGRAPH_OUTPUTS];
  if (!eval_plan_make (&plan, g, false, NULL)) return false;
  eval_arena_init (&arena, room, sizeof room);
  eval_options run = {.key = field_hash (seed, 0), .threads = 1};
  bool ok = draw_inputs (g, plan.tensor, &run, &arena, inputs);
  for (int k = 0; ok && k < g->n_outputs; k++)
    ok = (values[k] =
              eval_take (&arena, (size_t) mugraph_volume (&g->tensor[g->output[k]].shape) * sizeof (uint32_t))) != NULL;
  ok = ok && eval_run (&plan, &run, inputs, values, &arena) == EVAL_DONE;
  for (int k = 0; ok && k < g->n_outputs; k++) {
    const mugraph_shape *s = &g->tensor[g->output[k]].shape;
    uint64_t seed_of = 0;
    for (int d = 0; d < s->n_dims; d++) seed_of = field_hash (seed_of + 1, (uint64_t) s->dim[d]);
    out[k] = XXH3_64bits_withSeed (values[k], (size_t) mugraph_volume (s) * sizeof (uint32_t), seed_of);
  }
  eval_arena_free (&arena);
  return ok;
}

/* ---- float64 ---- */

static bool evaluate_real (const mugraph *g, const double *const inputs[], double *const outputs[], bool stable,
                           int threads, const volatile int *stop, mugraph_error *e) {
  eval_plan plan;
  eval_value values[MUGRAPH_INPUTS];
  void *out[MUGRAPH_OUTPUTS];
  mugraph_stable *s = calloc (1, sizeof *s);
  if (!s) return mugraph_fail (e, "float64 evaluation: not enough memory");
  eval_plan_make (&plan, g, true, NULL);
  if (stable) mugraph_analyse_stable (g, s);
  for (int i = 0; i < g->n_inputs; i++) values[i] = (eval_value){{(void *) (uintptr_t) inputs[i], NULL}};
  for (int k = 0; k < g->n_outputs; k++) out[k] = outputs[k];
  eval_options run = {.threads = threads_of (threads), .stable = s->any ? s : NULL, .stop = stop};
  eval_arena arena;
  eval_arena_init (&arena, NULL, 0);
  eval_status status = eval_run (&plan, &run, values, out, &arena);
  eval_arena_free (&arena);
  free (s);
  return status == EVAL_DONE ||
         mugraph_fail (e, "float64 evaluation: %s", status == EVAL_STOPPED ? "interrupted" : "not enough memory");
}

bool verify_real (const mugraph *g, const double *const inputs[], double *const outputs[], bool stable, int threads,
                  mugraph_error *e) {
  return evaluate_real (g, inputs, outputs, stable, threads, NULL, e);
}

/* Rounds to the nearest number with `bits` bits of fraction and exponents from `lowest` on, ties to even. */
static double round_to (double x, int bits, int lowest) {
  if (fabs (x) < ldexp (1, lowest)) { /* subnormal: a fixed unit */
    double unit = ldexp (1.5, 52 + lowest - bits);
    return x + unit - unit;
  }
  uint64_t u, shift = 52 - (uint64_t) bits;
  memcpy (&u, &x, sizeof u);
  u += ((uint64_t) 1 << (shift - 1)) - 1 + (u >> shift & 1);
  u &= ~(((uint64_t) 1 << shift) - 1);
  memcpy (&x, &u, sizeof u);
  return x;
}

static void random_input (const mugraph_shape *s, uint64_t seed, double scale, const volatile int *stop, double *out) {
  static const struct {
    int bits, lowest;
    double largest;
  } format[MUGRAPH_N_DTYPES] = {{10, -14, 65504}, {7, -126, 0x1.fep127}, {23, -126, 0x1.fffffep127}};
  int64_t n = mugraph_volume (s);
  double largest = format[s->dtype].largest;
  for (int64_t i = 0; i < n && !(stop && *stop); i += 2) { /* Box-Muller: two at a time */
    double u = ((double) (field_hash (seed, (uint64_t) i) >> 11) + 1) * 0x1p-53,
           v = (double) (field_hash (seed, (uint64_t) i + 1) >> 11) * 0x1p-53;
    double radius = sqrt (-2 * log (u)) * scale;
    for (int k = 0; k < 2 && i + k < n; k++) {
      double x = radius * (k ? sin (2 * M_PI * v) : cos (2 * M_PI * v));
      x = round_to (x, format[s->dtype].bits, format[s->dtype].lowest);
      out[i + k] = x > largest ? largest : x < -largest ? -largest : x;
    }
  }
}

double verify_relative_error (const double *a, const double *b, int64_t n) {
  double largest = 0, difference = 0, norm = 0;
  for (int64_t i = 0; i < n; i++) { /* scaled, so that squares neither overflow nor vanish */
    if (!isfinite (b[i])) continue;
    if (!isfinite (a[i])) return INFINITY;
    largest = fmax (largest, fmax (fabs (a[i]), fabs (b[i])));
  }
  for (int64_t i = 0; i < n; i++) {
    if (!isfinite (b[i])) {
      if (isnan (b[i]) ? !isnan (a[i]) : a[i] != b[i]) return INFINITY; /* the same infinity or NaN, or it differs */
      continue;
    }
    double d = largest > 0 ? a[i] / largest - b[i] / largest : 0, y = largest > 0 ? b[i] / largest : 0;
    difference += d * d;
    norm += y * y;
  }
  if (difference == 0) return 0;
  return norm > 0 ? sqrt (difference / norm) : INFINITY;
}

void verify_random_input (const mugraph_shape *s, uint64_t seed, double scale, double *out) {
  random_input (s, seed, scale, NULL, out);
}

typedef struct {
  int output;
  int64_t element;
  double value[2]; /* the program's, the candidate's */
} example;

/* Where two outputs are farthest apart: at a number that is finite on one side only, else at the largest difference. */
static void farthest (const double *a, const double *b, int64_t n, int output, example *at) {
  double most = -1;
  for (int64_t i = 0; i < n; i++) {
    bool equal = a[i] == b[i] || (isnan (a[i]) && isnan (b[i]));
    double d = equal ? 0 : fabs (a[i] - b[i]);
    if (!isfinite (d)) d = INFINITY;
    if (d > most) most = d, *at = (example){output, i, {a[i], b[i]}};
  }
}

/* Evaluates both sides at one draw; the largest relative error over the outputs and where they differ, or -1 without
   memory or when stopped. */
static double disagreement (const mugraph *program, const mugraph *candidate, uint64_t seed, const volatile int *stop,
                            example *where) {
  double *in[MUGRAPH_INPUTS] = {NULL}, *out[2][MUGRAPH_OUTPUTS] = {{NULL}}, worst = 0;
  bool ok = true;
  for (int i = 0; i < program->n_inputs; i++) {
    in[i] = malloc ((size_t) mugraph_volume (&program->tensor[i].shape) * sizeof (double));
    if (in[i]) random_input (&program->tensor[i].shape, field_hash (seed, (uint64_t) i), 1, stop, in[i]);
    ok &= in[i] != NULL;
  }
  for (int side = 0; side < 2; side++)
    for (int k = 0; k < program->n_outputs; k++)
      ok &= (out[side][k] = malloc ((size_t) mugraph_volume (&program->tensor[program->output[k]].shape) *
                                    sizeof (double))) != NULL;
  ok = ok && evaluate_real (program, (const double *const *) in, out[0], true, 0, stop, NULL) &&
       evaluate_real (candidate, (const double *const *) in, out[1], true, 0, stop, NULL);
  for (int k = 0; ok && k < program->n_outputs; k++) {
    int64_t n = mugraph_volume (&program->tensor[program->output[k]].shape);
    double e = verify_relative_error (out[1][k], out[0][k], n);
    if (e > worst) worst = e, farthest (out[0][k], out[1][k], n, k, where);
  }
  for (int i = 0; i < program->n_inputs; i++) free (in[i]);
  for (int k = 0; k < program->n_outputs; k++) free (out[0][k]), free (out[1][k]);
  return ok ? worst : -1;
}

double verify_counterexample (const mugraph *program, const mugraph *candidate, uint64_t seed, int draws,
                              double tolerance, const volatile int *stop, char reason[256]) {
  verify_report r = {.verdict = VERIFY_UNKNOWN};
  reason[0] = 0;
  if (!correspond (program, candidate, &r)) {
    memcpy (reason, r.reason, sizeof r.reason);
    return INFINITY;
  }
  if (!affordable (program, candidate, &r)) {
    memcpy (reason, r.reason, sizeof r.reason);
    return 0;
  }
  for (int draw = 0; draw < draws; draw++) {
    example at = {0};
    double e = disagreement (program, candidate, field_hash (seed, (uint64_t) draw), stop, &at);
    if (e < 0) {
      snprintf (reason, 256, stop && *stop ? "interrupted" : "not enough memory for a float64 evaluation");
      return 0;
    }
    if (!(e > tolerance)) continue;
    char position[64], name[MUGRAPH_NAME];
    output_name (program, at.output, name);
    snprintf (reason, 256,
              "output %s at %s is %.9g, the program's is %.9g (inputs from N(0,1), draw %d; relative error of the "
              "output %.3g)",
              name, position_text (&program->tensor[program->output[at.output]].shape, at.element, position),
              at.value[1], at.value[0], draw, e);
    return e;
  }
  return 0;
}
