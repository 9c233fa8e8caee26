// What every generated kernel uses on top of scalar.cuh: elements in memory, elementwise operators, sums over lanes.
// README.md beside this file has the conventions of the folder.
//
// Values are float in registers; memory holds ms_f16, ms_bf16 or float. A word is 32 bits: one float, or a pair of
// 16-bit elements, the first in the low half.

// ---- element access ----

template <class T> MS_DEVICE float ms_load (const T *p) { return ms_float (*p); }
template <class T> MS_DEVICE void ms_store (T *p, float x) { *p = ms_round<T> (x); }

template <class T> MS_DEVICE float ms_low (unsigned x) {
  T y;
  y.bits = (unsigned short) x;
  return ms_float (y);
}
template <class T> MS_DEVICE float ms_high (unsigned x) {
  T y;
  y.bits = (unsigned short) (x >> 16);
  return ms_float (y);
}

// ---- pairs: 16-bit elements, two a word ----

// The addend is -0, which changes no product.
template <class T> MS_DEVICE unsigned ms_pair_multiply (unsigned a, unsigned b) {
  return ms_pair_fma<T> (a, b, 0x80008000u);
}

// ---- elementwise operators of op.def ----

// The product is split so that the error stays near 2^-22 for large arguments too.
MS_DEVICE float ms_exp (float x) {
  const float high = x * 1.4426950408889634f;
  const float low = fmaf (x, 1.4426950408889634f, -high) + x * 1.9259629911266175e-8f;
  const float y = ms_exp2 (high);
  return fabsf (low) < 1.0f ? y * fmaf (low, 0.6931471805599453f, 1.0f) : y;
}
MS_DEVICE float ms_square (float x) { return x * x; }
// __fdividef gives 0 for divisors above 2^126: both are scaled there. No branch, error 2 ulp.
MS_DEVICE float ms_div (float a, float b) {
  const float s = fabsf (b) < 8.5e37f ? 1.0f : 0.25f;
  return __fdividef (a * s, b * s);
}
MS_DEVICE float ms_sigmoid (float x) { return __fdividef (1.0f, 1.0f + ms_exp (-x)); }
MS_DEVICE float ms_silu (float x) { return x * ms_sigmoid (x); }
MS_DEVICE float ms_gelu (float x) { return 0.5f * x * (1.0f + erff (x * 0.70710678118654752f)); }

// ---- threads ----

MS_DEVICE long long ms_thread () { return (long long) blockIdx.x * blockDim.x + threadIdx.x; }
MS_DEVICE long long ms_threads () { return (long long) gridDim.x * blockDim.x; }

MS_DEVICE unsigned ms_shared_address (const void *p) { return (unsigned) __cvta_generic_to_shared (p); }

MS_DEVICE float ms_warp_sum (float x) {
  for (int lane = 16; lane; lane >>= 1) x += __shfl_xor_sync (0xffffffffu, x, lane);
  return x;
}
MS_DEVICE float ms_warp_max (float x) {
  for (int lane = 16; lane; lane >>= 1) x = fmaxf (x, __shfl_xor_sync (0xffffffffu, x, lane));
  return x;
}
// Of four neighbours, which hold what belongs to one row of a fragment.
MS_DEVICE float ms_quad_sum (float x) {
  x += __shfl_xor_sync (0xffffffffu, x, 1);
  return x + __shfl_xor_sync (0xffffffffu, x, 2);
}
MS_DEVICE float ms_quad_max (float x) {
  x = fmaxf (x, __shfl_xor_sync (0xffffffffu, x, 1));
  return fmaxf (x, __shfl_xor_sync (0xffffffffu, x, 2));
}

// ---- row maxima that travel beside a tensor (cuda_templates/plan.h) ----

// The factor that brings values of split s to the largest of their row's maxima.
MS_DEVICE float ms_row_factor (const float *maxima, int splits, int s, int degree) {
  float top = -MS_INF;
  for (int i = 0; i < splits; i++) top = fmaxf (top, maxima[i]);
  return top == -MS_INF ? 0.0f : ms_exp ((float) degree * (maxima[s] - top));
}
