/* Each element of a random input is a hash of key, input and element, so that nothing depends on the order of drawing.
 */
#include "inputs.h"
#include "field.h"
#include "verify.h"

#include <math.h>
#include <string.h>

/* ---- over the fields ---- */

static void draw_elements (uint64_t key, int64_t first, int64_t end, uint32_t *const plane[2]) {
  for (int64_t e = first; e < end; e++) {
    uint64_t h = field_hash (key, (uint64_t) e);
    if (plane[0]) plane[0][e] = field_draw_p (h);
    if (plane[1]) plane[1][e] = field_draw_q (h);
  }
}

bool verify_draw_inputs (const mugraph *g, const uint8_t need[], const eval_options *run, eval_arena *arena,
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

/* ---- float64 ---- */

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

void verify_draw_real (const mugraph_shape *s, uint64_t seed, double scale, const volatile int *stop, double *out) {
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

void verify_random_input (const mugraph_shape *s, uint64_t seed, double scale, double *out) {
  verify_draw_real (s, seed, scale, NULL, out);
}
