/* cuda_measure: is a candidate right, and how fast? Inputs are drawn on the GPU in the candidate's own data types and widened
   for the float64 reference, so that both see the same numbers. */
#include "emit.h"
#include "launch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The protocol: calls of a CUDA graph, replays of it; the most input sets of a cold run. */
enum { CALLS = 40, REPLAYS = 30, MOST_SETS = CALLS * REPLAYS };

typedef struct {
  const cuda_driver *d;
  const mugraph *program, *candidate;
  uint64_t seed;
  const double *scale;
  cu_module helpers; /* reference.cuh */
  cu_function draw, widen;
} measurer;

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
  for (int i = 0; i < m->program->n_inputs; i++)
    for (int set = 0; set < sets; set++) {
      const mugraph_shape *s = &m->program->tensor[i].shape;
      cu_pointer address = cuda_address (to, set, cuda_find_buffer (p, CUDA_BUFFER_INPUT, i));
      long long n = mugraph_volume (s);
      unsigned long long seed = m->seed * 1000003 + (unsigned) (set * MUGRAPH_INPUTS + i);
      double scale = m->scale ? m->scale[i] : 1;
      int type = s->dtype;
      if (!cuda_launch_simple (m->d, m->draw, (n + 255) / 256, (void *[]){&address, &n, &seed, &scale, &type}, e)) return false;
    }
  return true;
}

static bool widen_inputs (const measurer *m, const cuda_program *from_program, const cuda_module *from, const cuda_program *to_program,
                          const cuda_module *to, mugraph_error *e) {
  for (int i = 0; i < m->program->n_inputs; i++) {
    cu_pointer source = cuda_address (from, 0, cuda_find_buffer (from_program, CUDA_BUFFER_INPUT, i));
    cu_pointer target = cuda_address (to, 0, cuda_find_buffer (to_program, CUDA_BUFFER_INPUT, i));
    long long n = mugraph_volume (&m->program->tensor[i].shape);
    int type = m->program->tensor[i].shape.dtype;
    if (!cuda_launch_simple (m->d, m->widen, (n + 255) / 256, (void *[]){&target, &source, &n, &type}, e)) return false;
  }
  return true;
}

static double half_value (uint16_t h) {
  int exponent = h >> 10 & 31, mantissa = h & 1023;
  double x = exponent == 31 ? (mantissa ? NAN : INFINITY) : exponent ? ldexp (1024 + mantissa, exponent - 25) : ldexp (mantissa, -24);
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
static double stored_value (double x, int dtype) { return dtype == MUGRAPH_F16 && fabs (x) >= 65520 ? copysign (INFINITY, x) : x; }

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

static bool compare_output (const measurer *m, int i, const cuda_program *p, cuda_module *module, const cuda_program *rp, cuda_module *reference,
                            double *error, mugraph_error *e) {
  const mugraph_shape *s = &m->program->tensor[m->program->output[i]].shape;
  int64_t n = mugraph_volume (s);
  int own = cuda_find_buffer (p, CUDA_BUFFER_OUTPUT, i), theirs = cuda_find_buffer (rp, CUDA_BUFFER_OUTPUT, i);
  int dtype = mugraph_plan_storage (m->candidate, m->candidate->output[i]);
  void *a = malloc ((size_t) p->buffer[own].bytes);
  double *b = malloc ((size_t) n * sizeof *b);
  bool good = a && b ? cuda_download (module, 0, own, a, p->buffer[own].bytes, e) && cuda_download (reference, 0, theirs, b, 8 * n, e)
                     : mugraph_fail (e, "out of memory");
  if (good) {
    double x = relative_error (a, dtype, b, n);
    if (*error < x) *error = x;
  }
  free (a);
  free (b);
  return good;
}

static bool same_interface (const mugraph *a, const mugraph *b) {
  if (a->n_inputs != b->n_inputs || a->n_outputs != b->n_outputs) return false;
  for (int i = 0; i < a->n_inputs; i++)
    if (!mugraph_same_shape (&a->tensor[i].shape, &b->tensor[i].shape) || a->tensor[i].shape.dtype != b->tensor[i].shape.dtype) return false;
  for (int i = 0; i < a->n_outputs; i++)
    if (mugraph_volume (&a->tensor[a->output[i]].shape) != mugraph_volume (&b->tensor[b->output[i]].shape)) return false;
  return true;
}

static int cold_sets (const measurer *m) {
  double bytes = 0;
  for (int i = 0; i < m->program->n_inputs; i++)
    bytes += (double) mugraph_volume (&m->program->tensor[i].shape) * mugraph_dtype_bytes ((mugraph_dtype) m->program->tensor[i].shape.dtype);
  double sets = floor (4.0 * m->d->l2_bytes / (bytes > 1 ? bytes : 1)) + 1;
  return sets > MOST_SETS ? MOST_SETS : sets < 2 ? 2 : (int) sets;
}

static bool check (const measurer *m, cuda_program *p, cuda_module *module, const mugraph_device *device, double *error, mugraph_error *e) {
  cuda_program rp;
  if (!cuda_emit_reference (m->program, &rp, e)) return false;
  cuda_module *reference = build (&rp, device->arch, 1, e);
  bool good = reference && draw_inputs (m, p, module, 1, e) && widen_inputs (m, p, module, &rp, reference, e) && cuda_run (reference, 0, e) &&
              cuda_run (module, 0, e);
  *error = 0;
  for (int i = 0; good && i < m->program->n_outputs; i++) good = compare_output (m, i, p, module, &rp, reference, error, e);
  cuda_unload (reference);
  cuda_program_free (&rp);
  return good;
}

static bool time_program (const measurer *m, cuda_program *p, cuda_module *module, const mugraph_device *device, cuda_measurement *r, mugraph_error *e) {
  int sets = cold_sets (m);
  if (!cuda_time (module, CALLS, REPLAYS, &r->warm_us, &r->warm_spread_us, e)) return false;
  cuda_module *cold = build (p, device->arch, sets, e);
  bool good = cold && draw_inputs (m, p, cold, sets, e) && cuda_time (cold, CALLS, REPLAYS, &r->cold_us, &r->cold_spread_us, e);
  cuda_unload (cold);
  return good;
}

bool cuda_measure (const mugraph *program, const mugraph *candidate, const mugraph_device *device, bool pdl, uint64_t seed, const double *scale,
                   double tolerance, bool want_time, cuda_measurement *r, mugraph_error *e) {
  cuda_program p = {0};
  memset (r, 0, sizeof *r);
  r->rel_err = INFINITY;
  measurer m = {.d = cuda_open_driver (e), .program = program, .candidate = candidate, .seed = seed, .scale = scale};
  if (!m.d) return false;
  if (!same_interface (program, candidate)) return mugraph_fail (e, "the candidate's inputs or outputs are not those of the program");
  cuda_module *module = NULL;
  bool good = load_helpers (&m, device->arch, e) && cuda_emit (candidate, device, pdl, &p, e) && (module = build (&p, device->arch, 1, e)) &&
              check (&m, &p, module, device, &r->rel_err, e);
  if (good) {
    r->correct = r->rel_err <= tolerance;
    if (want_time && r->correct) good = time_program (&m, &p, module, device, r, e);
  }
  cuda_unload (module);
  cuda_program_free (&p);
  if (m.helpers) m.d->module_unload (m.helpers);
  return good;
}
