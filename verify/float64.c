/* Evaluation over float64, and the search for a counterexample by it. */
#include "comparison.h"
#include "eval.h"
#include "field.h"
#include "inputs.h"
#include "mugraph/stable.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- evaluation ---- */

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
  eval_options run = {.threads = verify_threads (threads), .stable = s->any ? s : NULL, .stop = stop};
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

/* ---- errors ---- */

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

/* ---- counterexamples ---- */

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
    if (in[i]) verify_draw_real (&program->tensor[i].shape, field_hash (seed, (uint64_t) i), 1, stop, in[i]);
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
  if (!verify_correspond (program, candidate, &r)) {
    memcpy (reason, r.reason, sizeof r.reason);
    return INFINITY;
  }
  if (!verify_affordable (program, candidate, &r)) {
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
    verify_output_name (program, at.output, name);
    snprintf (reason, 256,
              "output %s at %s is %.9g, the program's is %.9g (inputs from N(0,1), draw %d; relative error of the "
              "output %.3g)",
              name, verify_position_text (&program->tensor[program->output[at.output]].shape, at.element, position),
              at.value[1], at.value[0], draw, e);
    return e;
  }
  return 0;
}
