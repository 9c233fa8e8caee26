#include "comparison.h"

#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int verify_threads (int threads) {
  if (omp_in_parallel ()) return 1;
  return threads > 0 ? threads : omp_get_max_threads ();
}

void verify_conclude (verify_report *r, verify_verdict verdict, const char *format, ...) {
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

const char *verify_position_text (const mugraph_shape *s, int64_t element, char text[64]) {
  mugraph_shape at = *s;
  for (int d = s->n_dims; d--; element /= s->dim[d]) at.dim[d] = (int32_t) (element % s->dim[d]);
  return shape_text (&at, text);
}

void verify_output_name (const mugraph *g, int k, char name[MUGRAPH_NAME]) {
  if (g->output_name[k][0]) memcpy (name, g->output_name[k], MUGRAPH_NAME);
  else snprintf (name, MUGRAPH_NAME, "%d", k);
}

bool verify_correspond (const mugraph *a, const mugraph *b, verify_report *r) {
  char x[64], y[64];
  if (a->n_inputs != b->n_inputs || a->n_outputs != b->n_outputs) {
    verify_conclude (r, VERIFY_UNSUPPORTED, "the program has %d inputs and %d outputs, the candidate %d and %d",
                     a->n_inputs, a->n_outputs, b->n_inputs, b->n_outputs);
    return false;
  }
  for (int i = 0; i < a->n_inputs; i++)
    if (!mugraph_same_shape (&a->tensor[i].shape, &b->tensor[i].shape)) {
      verify_conclude (r, VERIFY_UNSUPPORTED, "input %d is %s in the program and %s in the candidate", i,
                       shape_text (&a->tensor[i].shape, x), shape_text (&b->tensor[i].shape, y));
      return false;
    }
  for (int k = 0; k < a->n_outputs; k++)
    if (!mugraph_same_shape (&a->tensor[a->output[k]].shape, &b->tensor[b->output[k]].shape)) {
      verify_conclude (r, VERIFY_UNSUPPORTED, "output %d is %s in the program and %s in the candidate", k,
                       shape_text (&a->tensor[a->output[k]].shape, x), shape_text (&b->tensor[b->output[k]].shape, y));
      return false;
    }
  return true;
}

bool verify_affordable (const mugraph *program, const mugraph *candidate, verify_report *r) {
  const double recomputed = 1024, always = 0x1p34;
  double bytes, work[2];
  verify_effort (program, &bytes, &work[0]);
  verify_effort (candidate, &bytes, &work[1]);
  if (work[1] <= recomputed * work[0] + always) return true;
  verify_conclude (r, VERIFY_UNKNOWN, "evaluating it takes %.2g operations where the program takes %.2g: not tried",
                   work[1], work[0]);
  return false;
}
