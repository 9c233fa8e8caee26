/* Random valid µGraphs on a GPU against the float64 interpreter of verify/. For people who work on the code generators.

   gpu_random [--backend N] [--pdl] [FIRST [COUNT]]      seeds FIRST .. FIRST + COUNT - 1

   Random graphs cancel, overflow and divide by zero at will, so the interpreter runs twice, once on inputs that are off
   by about a thousandth, and what that changes is no error of the kernels. Elements that are not finite in either run,
   or too large for a half, are not compared; nor are graphs with values between that are too large for a float, where
   the result is off. */
#include "cuda_templates/cuda.h"
#include "cuda_templates/runtime/launch.h"
#include "cuda_templates/runtime/nvrtc.h"
#include "cuda_templates/runtime/probe.h"
#include "random_mugraph.h"
#include "verify/verify.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

enum { VOLUME = 1 << 18 };

typedef struct {
  mugraph g, scratch;
} graphs;

static const cuda_device *device;
static bool pdl;
static int backend = 1, first = 1, count = 200;

/* False for graphs that would take too long. */
static bool make_graph (graphs *x, uint64_t seed) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the generator's state is a global */
  pthread_mutex_lock (&lock);
  random_state = seed;
  random_mugraph (&x->g, &x->scratch);
  pthread_mutex_unlock (&lock);
  int64_t most = 0;
  for (int t = 0; t < x->g.n_tensors; t++)
    if (most < mugraph_volume (&x->g.tensor[t].shape)) most = mugraph_volume (&x->g.tensor[t].shape);
  for (int b = 0; b < x->g.n_blocks; b++) {
    x->g.block[b].sched.backend = (int16_t) backend;
    for (int i = 0; i < x->g.block[b].n_ops; i++)
      if (most < mugraph_volume (&x->g.block[b].op[i].shape)) most = mugraph_volume (&x->g.block[b].op[i].shape);
  }
  return most <= VOLUME;
}

static void *compile_some (void *argument) {
  graphs *x = malloc (sizeof *x);
  for (int i; x && (i = atomic_fetch_add ((atomic_int *) argument, 1)) < count;) {
    cuda_program p;
    char *cubin;
    size_t size;
    if (!make_graph (x, (uint64_t) (first + i)) || !cuda_emit (&x->g, device, pdl, &p, NULL)) continue;
    cuda_compile (p.source, device->arch, &cubin, &size, NULL, NULL);
    free (cubin);
    cuda_program_free (&p);
  }
  free (x);
  return NULL;
}

static void compile_all (void) {
  enum { MOST = 64 };
  pthread_t thread[MOST];
  atomic_int next = 0;
  long n = sysconf (_SC_NPROCESSORS_ONLN), started = 0;
  while (started < (n > MOST ? MOST : n) && !pthread_create (&thread[started], NULL, compile_some, &next)) started++;
  for (int i = 0; i < started; i++) pthread_join (thread[i], NULL);
}

/* Of a double that is exactly a half: sign, 5 bits of exponent, 10 of mantissa. */
static uint16_t half_bits (double x) {
  uint16_t sign = signbit (x) ? 0x8000 : 0;
  int exponent;
  double m = frexp (fabs (x), &exponent); /* in [1/2, 1) */
  if (!isfinite (x)) return sign | (isnan (x) ? 0x7e00 : 0x7c00);
  if (m == 0 || exponent < -13)
    return sign | (uint16_t) ldexp (fabs (x), 24); /* 0 and below the normal numbers: multiples of 2^-24 */
  return sign | (uint16_t) ((exponent + 14) << 10 | ((int) ldexp (m, 11) - 1024));
}

static double half_value (uint16_t h) {
  int exponent = h >> 10 & 31, mantissa = h & 1023;
  double x = exponent == 31 ? (mantissa ? NAN : INFINITY)
             : exponent     ? ldexp (1024 + mantissa, exponent - 25)
                            : ldexp (mantissa, -24);
  return h >> 15 ? -x : x;
}

static void pack (void *to, int64_t i, double x, int dtype) {
  float f = (float) x;
  uint32_t bits;
  memcpy (&bits, &f, sizeof bits);
  if (dtype == MUGRAPH_F32) memcpy ((char *) to + 4 * i, &bits, 4);
  uint16_t half =
      dtype == MUGRAPH_F16 ? half_bits (x) : (uint16_t) (bits >> 16); /* drawn values are exact in their type */
  if (dtype != MUGRAPH_F32) memcpy ((char *) to + 2 * i, &half, 2);
}

static double unpack (const void *from, int64_t i, int dtype) {
  uint16_t half;
  uint32_t bits;
  float f;
  if (dtype == MUGRAPH_F32) {
    memcpy (&f, (const char *) from + 4 * i, 4);
    return (double) f;
  }
  memcpy (&half, (const char *) from + 2 * i, 2);
  if (dtype == MUGRAPH_F16) return half_value (half);
  bits = (uint32_t) half << 16;
  memcpy (&f, &bits, 4);
  return (double) f;
}

/* Compares output k; returns the error in units of what is allowed. */
static double compare (const mugraph *g, int k, const void *got, const double *want, const double *moved,
                       int64_t *compared) {
  int dtype = cuda_plan_storage (g, g->output[k]);
  double limit = dtype == MUGRAPH_F32    ? 1e30
                 : dtype == MUGRAPH_BF16 ? 1e30
                                         : 60000,
         tolerance = dtype == MUGRAPH_BF16 ? 6e-3 : 2e-3;
  double difference = 0, norm = 0, change = 0, tiny = dtype == MUGRAPH_F16 ? 1e-7 : 1e-30;
  int64_t n = mugraph_volume (&g->tensor[g->output[k]].shape), used = 0;
  for (int64_t i = 0; i < n; i++) {
    if (!(fabs (want[i]) < limit) || !(fabs (moved[i]) < limit)) continue;
    double x = unpack (got, i, dtype);
    if (!isfinite (x)) x = 3 * limit;
    difference += (x - want[i]) * (x - want[i]);
    norm += want[i] * want[i];
    change += (moved[i] - want[i]) * (moved[i] - want[i]);
    used++;
  }
  *compared += used;
  return sqrt (difference) / (tolerance * sqrt (norm) + 3 * sqrt (change) + tiny * sqrt ((double) used) + 1e-300);
}

typedef struct {
  double *in[MUGRAPH_INPUTS], *near[MUGRAPH_INPUTS], *want[MUGRAPH_OUTPUTS], *moved[MUGRAPH_OUTPUTS];
} values;

static bool draw (const mugraph *g, uint64_t seed, values *v) {
  memset (v, 0, sizeof *v);
  for (int i = 0; i < g->n_inputs; i++) {
    int64_t n = mugraph_volume (&g->tensor[i].shape);
    if (!(v->in[i] = malloc ((size_t) n * 8)) || !(v->near[i] = malloc ((size_t) n * 8))) return false;
    verify_random_input (&g->tensor[i].shape, seed * 64 + (uint64_t) i, 1, v->in[i]);
    verify_random_input (&g->tensor[i].shape, seed * 64 + 32 + (uint64_t) i, 1, v->near[i]);
    for (int64_t j = 0; j < n; j++) v->near[i][j] = v->in[i][j] * (1 + 1e-3 * v->near[i][j]);
  }
  for (int k = 0; k < g->n_outputs; k++) {
    int64_t n = mugraph_volume (&g->tensor[g->output[k]].shape);
    if (!(v->want[k] = malloc ((size_t) n * 8)) || !(v->moved[k] = malloc ((size_t) n * 8))) return false;
  }
  return verify_real (g, (const double *const *) v->in, v->want, true, 0, NULL) &&
         verify_real (g, (const double *const *) v->near, v->moved, true, 0, NULL);
}

static void drop (values *v) {
  for (int i = 0; i < MUGRAPH_INPUTS; i++) free (v->in[i]), free (v->near[i]);
  for (int k = 0; k < MUGRAPH_OUTPUTS; k++) free (v->want[k]), free (v->moved[k]);
}

/* Some tensor of the kernel graph has values that are finite but too large for a float, in which kernels compute. */
static bool beyond_float (const mugraph *g, const values *v) {
  mugraph *all = malloc (sizeof *all);
  bool found = false;
  for (int t = g->n_inputs; all && t < g->n_tensors && !found; t++) {
    int64_t n = mugraph_volume (&g->tensor[t].shape);
    double *value = malloc ((size_t) n * 8);
    *all = *g;
    all->n_outputs = 1;
    all->output[0] = (uint8_t) t;
    if (value && verify_real (all, (const double *const *) v->in, (double *const[]){value}, false, 0, NULL))
      for (int64_t i = 0; i < n; i++) found |= isfinite (value[i]) && fabs (value[i]) > 3e38;
    free (value);
  }
  free (all);
  return found;
}

static bool run_kernels (const mugraph *g, const values *v, double *worst, int64_t *compared, mugraph_error *e) {
  cuda_program p;
  char *cubin;
  size_t size;
  if (!cuda_emit (g, device, pdl, &p, e)) return false;
  cuda_module *m = NULL;
  bool good = cuda_compile (p.source, device->arch, &cubin, &size, NULL, e) && (m = cuda_load (&p, cubin, size, 1, e));
  for (int i = 0; good && i < g->n_inputs; i++) {
    int b = cuda_find_buffer (&p, CUDA_BUFFER_INPUT, i), dtype = g->tensor[i].shape.dtype;
    int64_t n = mugraph_volume (&g->tensor[i].shape);
    void *data = malloc ((size_t) p.buffer[b].bytes);
    for (int64_t j = 0; j < n; j++) pack (data, j, v->in[i][j], dtype);
    good = cuda_upload (m, 0, b, data, p.buffer[b].bytes, e);
    free (data);
  }
  good = good && cuda_run (m, 0, e);
  for (int k = 0; good && k < g->n_outputs; k++) {
    int b = cuda_find_buffer (&p, CUDA_BUFFER_OUTPUT, k);
    void *data = malloc ((size_t) p.buffer[b].bytes);
    good = cuda_download (m, 0, b, data, p.buffer[b].bytes, e);
    double error = good ? compare (g, k, data, v->want[k], v->moved[k], compared) : 0;
    if (!(error <= *worst)) *worst = error;
    free (data);
  }
  cuda_unload (m);
  free (cubin);
  cuda_program_free (&p);
  return good;
}

int main (int argc, char **argv) {
  cuda_facts facts;
  int at = 1, wrong = 0, run = 0, skipped = 0, beyond = 0;
  int64_t total = 0;
  for (; at < argc && argv[at][0] == '-'; at++)
    if (!strcmp (argv[at], "--pdl")) pdl = true;
    else if (!strcmp (argv[at], "--backend") && at + 1 < argc) backend = atoi (argv[++at]);
  if (at < argc) first = atoi (argv[at++]);
  if (at < argc) count = atoi (argv[at++]);
  cuda_probe (&facts);
  if (!facts.gpu || !facts.nvrtc) {
    fprintf (stderr, "gpu_random: %s\n", facts.line);
    return 2;
  }
  device = cuda_device_find (facts.device);
  if (!device) device = cuda_device_find (facts.arch >= 90 ? "h100" : "a100");
  compile_all ();
  graphs *x = malloc (sizeof *x);
  for (int i = 0; x && i < count; i++) {
    values v;
    mugraph_error e = {""};
    double worst = 0;
    int64_t compared = 0;
    if (!make_graph (x, (uint64_t) (first + i))) {
      skipped++;
      continue;
    }
    if (draw (&x->g, (uint64_t) (first + i), &v)) {
      run++;
      bool good = run_kernels (&x->g, &v, &worst, &compared, &e);
      total += compared;
      if (good && !(worst <= 1) && beyond_float (&x->g, &v)) beyond++;
      else if (!good || !(worst <= 1)) {
        wrong++;
        printf ("seed %d: %s (%.3g of what is allowed)\n", first + i, good ? "WRONG" : e.text, worst);
        fflush (stdout);
      }
    }
    drop (&v);
  }
  free (x);
  printf ("%d graphs, %d wrong, %d with values beyond a float's, %d skipped, %lld elements compared\n", run, wrong,
          beyond, skipped, (long long) total);
  return wrong != 0 || !run;
}
