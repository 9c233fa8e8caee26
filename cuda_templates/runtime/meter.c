#include "meter.h"
#include "isolate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct cuda_meter {
  measurer *here;           /* NULL: the question is put to another process */
  isolate_request question; /* all but the candidate */
};

bool cuda_isolate (void) { return isolate_start (); }

bool cuda_usable (void) { return isolate_running () || measurer_usable (); }

cuda_meter *cuda_meter_new (const mugraph *program, const cuda_device *device, uint64_t seed, const double *scale,
                            mugraph_error *e) {
  cuda_meter *m = calloc (1, sizeof *m);
  if (!m) return mugraph_fail (e, "out of memory"), NULL;
  if (!isolate_running ()) {
    m->here = measurer_new (program, device, seed, scale, e);
    if (m->here) return m;
    free (m);
    return NULL;
  }
  m->question.program = *program, m->question.device = *device, m->question.seed = seed;
  for (int i = 0; i < MUGRAPH_INPUTS; i++) m->question.scale[i] = scale ? scale[i] : 1;
  return m;
}

void cuda_meter_free (cuda_meter *m) {
  if (m) measurer_free (m->here);
  free (m);
}

bool cuda_meter_run (cuda_meter *m, const mugraph *candidate, bool pdl, double tolerance, cuda_effort effort,
                     cuda_measurement *r, mugraph_error *e) {
  isolate_reply reply;
  if (m->here) return measurer_run (m->here, candidate, pdl, tolerance, effort, r, e);
  memset (r, 0, sizeof *r);
  r->rel_err = INFINITY;
  m->question.candidate = *candidate;
  m->question.pdl = pdl, m->question.tolerance = tolerance, m->question.effort = effort;
  if (isolate_ask (&m->question, &reply) && reply.good) *r = reply.result;
  return reply.good || mugraph_fail (e, "%s", reply.error.text);
}

bool cuda_measure (const mugraph *program, const mugraph *candidate, const cuda_device *device, bool pdl, uint64_t seed,
                   const double *scale, double tolerance, bool want_time, cuda_measurement *r, mugraph_error *e) {
  memset (r, 0, sizeof *r);
  r->rel_err = INFINITY;
  cuda_meter *m = cuda_meter_new (program, device, seed, scale, e);
  bool good = m && cuda_meter_run (m, candidate, pdl, tolerance, want_time ? CUDA_FULL : CUDA_CHECK, r, e);
  cuda_meter_free (m);
  return good;
}
