/* Inputs are drawn on the GPU in the program's own data types and widened for the
   float64 reference, so that both see the same numbers. */
#include "measure.h"
#include "cuda_templates/cuda.h"
#include "cuda_templates/emit/templates.h"
#include "launch.h"
#include "nvrtc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The protocol: calls of a CUDA graph, replays of it; the most input sets of a cold run. A first look has fewer
 * replays. */
enum { CALLS = 40, REPLAYS = 30, QUICK_REPLAYS = 8, MOST_SETS = CALLS * REPLAYS };
static const double MOST_BYTES = 8e9; /* of the input sets of a cold run, where 4x L2 asks for less */

struct measurer {
  const cuda_driver *d;
  mugraph program;
  const cuda_device *device;
  uint64_t seed;
  double scale[MUGRAPH_INPUTS];
  cu_module helpers; /* reference.cuh */
  cu_function draw, widen;
  double *expected[MUGRAPH_OUTPUTS]; /* by the reference, once it has run */
};

static bool load_helpers (measurer *m, int arch, mugraph_error *e) {
  char *cubin;
  size_t size;
  if (!cuda_compile (cuda_template_text ("reference.cuh"), arch, &cubin, &size, NULL, e)) return false;
  bool good = cuda_check (m->d, m->d->module_load (&m->helpers, cubin), "loading the compiled kernels", e) &&
              cuda_check (m->d, m->d->module_function (&m->draw, m->helpers, "draw"), "draw", e) &&
              cuda_check (m->d, m->d->module_function (&m->widen, m->helpers, "widen"), "widen", e);
  free (cubin);
  return good;
}

static cuda_module *build (cuda_program *p, int arch, int sets, mugraph_error *e) {
  char *cubin;
  size_t size;
  if (!cuda_compile (p->source, arch, &cubin, &size, NULL, e)) return NULL;
  cuda_module *m = cuda_load (p, cubin, size, sets, e);
  free (cubin);
  return m;
}

static bool draw_inputs (const measurer *m, const cuda_program *p, const cuda_module *to, int sets, mugraph_error *e) {
  for (int i = 0; i < m->program.n_inputs; i++)
    for (int set = 0; set < sets; set++) {
      const mugraph_shape *s = &m->program.tensor[i].shape;
      cu_pointer address = cuda_address (to, set, cuda_find_buffer (p, CUDA_BUFFER_INPUT, i));
      long long n = mugraph_volume (s);
      unsigned long long seed = m->seed * 1000003 + (unsigned) (set * MUGRAPH_INPUTS + i);
      double scale = m->scale[i];
      int type = s->dtype;
      if (!cuda_launch_simple (m->d, m->draw, (n + 255) / 256, (void *[]){&address, &n, &seed, &scale, &type}, e))
        return false;
    }
  return true;
}

static bool widen_inputs (const measurer *m, const cuda_program *from_program, const cuda_module *from,
                          const cuda_program *to_program, const cuda_module *to, mugraph_error *e) {
  for (int i = 0; i < m->program.n_inputs; i++) {
    cu_pointer source = cuda_address (from, 0, cuda_find_buffer (from_program, CUDA_BUFFER_INPUT, i));
    cu_pointer target = cuda_address (to, 0, cuda_find_buffer (to_program, CUDA_BUFFER_INPUT, i));
    long long n = mugraph_volume (&m->program.tensor[i].shape);
    int type = m->program.tensor[i].shape.dtype;
    if (!cuda_launch_simple (m->d, m->widen, (n + 255) / 256, (void *[]){&target, &source, &n, &type}, e)) return false;
  }
  return true;
}

static double half_value (uint16_t h) {
  int exponent = h >> 10 & 31, mantissa = h & 1023;
  double x = exponent == 31 ? (mantissa ? NAN : INFINITY)
             : exponent     ? ldexp (1024 + mantissa, exponent - 25)
                            : ldexp (mantissa, -24);
  return h >> 15 ? -x : x;
}

static double element_value (const void *data, int64_t i, int dtype) {
  if (dtype == MUGRAPH_F32) return (double) ((const float *) data)[i];
  uint16_t bits = ((const uint16_t *) data)[i];
  if (dtype == MUGRAPH_F16) return half_value (bits);
  uint32_t wide = (uint32_t) bits << 16;
  float x;
  memcpy (&x, &wide, sizeof x);
  return (double) x;
}

/* What the value becomes when it is stored: beyond the largest finite number, infinity. */
static double stored_value (double x, int dtype) {
  return dtype == MUGRAPH_F16 && fabs (x) >= 65520 ? copysign (INFINITY, x) : x;
}

/* ||a - b|| / ||b||, where both are infinite alike they agree; infinity when only one is finite. */
static double relative_error (const void *a, int dtype, const double *b, int64_t n) {
  double difference = 0, norm = 0;
  for (int64_t i = 0; i < n; i++) {
    double x = element_value (a, i, dtype), y = stored_value (b[i], dtype);
    if (x == y || (isnan (x) && isnan (y))) {
      norm += isfinite (y) ? y * y : 0;
      continue;
    }
    if (!isfinite (x) || !isfinite (y)) return INFINITY;
    difference += (x - y) * (x - y);
    norm += y * y;
  }
  return difference == 0 ? 0 : norm == 0 ? INFINITY : sqrt (difference / norm);
}

static bool compare_output (const measurer *m, const mugraph *candidate, int i, const cuda_program *p,
                            cuda_module *module, double *error, mugraph_error *e) {
  int64_t n = mugraph_volume (&m->program.tensor[m->program.output[i]].shape);
  int own = cuda_find_buffer (p, CUDA_BUFFER_OUTPUT, i), dtype = cuda_plan_storage (candidate, candidate->output[i]);
  void *a = malloc ((size_t) p->buffer[own].bytes);
  bool good = a ? cuda_download (module, 0, own, a, p->buffer[own].bytes, e) : mugraph_fail (e, "out of memory");
  if (good) {
    double x = relative_error (a, dtype, m->expected[i], n);
    if (*error < x) *error = x;
  }
  free (a);
  return good;
}

static bool same_interface (const mugraph *a, const mugraph *b) {
  if (a->n_inputs != b->n_inputs || a->n_outputs != b->n_outputs) return false;
  for (int i = 0; i < a->n_inputs; i++)
    if (!mugraph_same_shape (&a->tensor[i].shape, &b->tensor[i].shape) ||
        a->tensor[i].shape.dtype != b->tensor[i].shape.dtype)
      return false;
  for (int i = 0; i < a->n_outputs; i++)
    if (mugraph_volume (&a->tensor[a->output[i]].shape) != mugraph_volume (&b->tensor[b->output[i]].shape))
      return false;
  return true;
}

/* More than 4x L2 together, and one for each call of a graph: calls that overlap (programmatic dependent launch) are
   several at a time, and would find in L2 what another is reading just now if the sets came round sooner. */
static int cold_sets (const measurer *m) {
  double bytes = 0;
  for (int i = 0; i < m->program.n_inputs; i++)
    bytes += (double) mugraph_volume (&m->program.tensor[i].shape) *
             mugraph_dtype_bytes ((mugraph_dtype) m->program.tensor[i].shape.dtype);
  double sets = floor (4.0 * m->d->l2_bytes / (bytes > 1 ? bytes : 1)) + 1;
  double own = fmin (CALLS, floor (MOST_BYTES / (bytes > 1 ? bytes : 1)));
  sets = fmax (sets, own);
  return sets > MOST_SETS ? MOST_SETS : sets < 2 ? 2 : (int) sets;
}

/* Runs the reference on the inputs of set 0 of a loaded candidate and keeps its outputs. */
static bool find_expected (measurer *m, const cuda_program *p, const cuda_module *module, mugraph_error *e) {
  cuda_program rp;
  if (!cuda_emit_reference (&m->program, &rp, e)) return false;
  cuda_module *reference = build (&rp, m->d->arch, 1, e);
  bool good = reference && widen_inputs (m, p, module, &rp, reference, e) && cuda_run (reference, 0, e);
  for (int i = 0; good && i < m->program.n_outputs; i++) {
    int64_t bytes = 8 * mugraph_volume (&m->program.tensor[m->program.output[i]].shape);
    double *x = malloc ((size_t) bytes);
    good = x ? cuda_download (reference, 0, cuda_find_buffer (&rp, CUDA_BUFFER_OUTPUT, i), x, bytes, e)
             : mugraph_fail (e, "out of memory");
    m->expected[i] = x;
  }
  for (int i = 0; !good && i < m->program.n_outputs; i++) free (m->expected[i]), m->expected[i] = NULL;
  cuda_unload (reference);
  cuda_program_free (&rp);
  return good;
}

/* Inputs are drawn already. */
static bool check (measurer *m, const mugraph *candidate, const cuda_program *p, cuda_module *module, double *error,
                   mugraph_error *e) {
  bool good = (m->expected[0] || find_expected (m, p, module, e)) && cuda_run (module, 0, e);
  *error = 0;
  for (int i = 0; good && i < m->program.n_outputs; i++) good = compare_output (m, candidate, i, p, module, error, e);
  return good;
}

/* warm: the module's own set of inputs; cold: another module, of many. */
static bool time_both (const measurer *m, cuda_program *p, cuda_module *module, cuda_measurement *r, mugraph_error *e) {
  int sets = cold_sets (m);
  if (!cuda_time (module, CALLS, REPLAYS, &r->warm_us, &r->warm_spread_us, e)) return false;
  cuda_module *cold = build (p, m->d->arch, sets, e);
  bool good =
      cold && draw_inputs (m, p, cold, sets, e) && cuda_time (cold, CALLS, REPLAYS, &r->cold_us, &r->cold_spread_us, e);
  cuda_unload (cold);
  return good;
}

bool measurer_usable (void) {
  const cuda_driver *d = cuda_open_driver (NULL);
  return d && !d->context_wait ();
}

measurer *measurer_new (const mugraph *program, const cuda_device *device, uint64_t seed, const double *scale,
                        mugraph_error *e) {
  const cuda_driver *d = cuda_open_driver (e);
  if (!d) return NULL;
  measurer *m = calloc (1, sizeof *m);
  if (!m) return mugraph_fail (e, "out of memory"), NULL;
  m->d = d, m->program = *program, m->device = device, m->seed = seed;
  for (int i = 0; i < MUGRAPH_INPUTS; i++) m->scale[i] = scale ? scale[i] : 1;
  if (load_helpers (m, m->d->arch, e)) return m;
  measurer_free (m);
  return NULL;
}

void measurer_free (measurer *m) {
  if (!m) return;
  if (m->helpers) m->d->module_unload (m->helpers);
  for (int i = 0; i < MUGRAPH_OUTPUTS; i++) free (m->expected[i]);
  free (m);
}

bool measurer_run (measurer *m, const mugraph *candidate, bool pdl, double tolerance, cuda_effort effort,
                   cuda_measurement *r, mugraph_error *e) {
  cuda_program p = {0};
  memset (r, 0, sizeof *r);
  r->rel_err = INFINITY;
  if (!same_interface (&m->program, candidate))
    return mugraph_fail (e, "the candidate's inputs or outputs are not those of the program");
  cuda_module *module = NULL;
  int sets = effort == CUDA_QUICK ? cold_sets (m) : 1; /* a first look makes do with one module */
  bool good = cuda_emit (candidate, m->device, pdl, &p, e) && (module = build (&p, m->d->arch, sets, e)) &&
              draw_inputs (m, &p, module, sets, e) && check (m, candidate, &p, module, &r->rel_err, e);
  r->correct = good && r->rel_err <= tolerance;
  if (r->correct && effort == CUDA_QUICK)
    good = cuda_time (module, CALLS, QUICK_REPLAYS, &r->cold_us, &r->cold_spread_us, e);
  if (r->correct && effort == CUDA_FULL) good = time_both (m, &p, module, r, e);
  cuda_unload (module);
  cuda_program_free (&p);
  return good;
}
