// What every generated kernel uses: types, conversions, elementwise operators, sums over lanes. NVRTC has no headers,
// so halves are plain bits here. README.md beside this file has the conventions of the folder.
//
// Values are float in registers; memory holds ms_f16, ms_bf16 or float. A word is 32 bits: one float, or a pair of
// 16-bit elements, the first in the low half.

#define MS_INF __int_as_float (0x7f800000)
#define MS_DEVICE __device__ __forceinline__

struct ms_f16 {
  unsigned short bits;
};
struct ms_bf16 {
  unsigned short bits;
};
struct __align__ (64) ms_tensor_map {
  unsigned long long opaque[16];
};

// ---- element access ----

MS_DEVICE float ms_float (float x) { return x; }
MS_DEVICE float ms_float (ms_f16 x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}
MS_DEVICE float ms_float (ms_bf16 x) { return __int_as_float ((int) x.bits << 16); }

template <class T> MS_DEVICE T ms_round (float x);
template <> MS_DEVICE float ms_round<float> (float x) { return x; }
template <> MS_DEVICE ms_f16 ms_round<ms_f16> (float x) {
  ms_f16 y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
template <> MS_DEVICE ms_bf16 ms_round<ms_bf16> (float x) {
  ms_bf16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}

template <class T> MS_DEVICE float ms_load (const T *p) { return ms_float (*p); }
template <class T> MS_DEVICE void ms_store (T *p, float x) { *p = ms_round<T> (x); }

// Two floats rounded into one word.
template <class T> MS_DEVICE unsigned ms_pack (float low, float high);
template <> MS_DEVICE unsigned ms_pack<ms_f16> (float low, float high) {
  unsigned y;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}
template <> MS_DEVICE unsigned ms_pack<ms_bf16> (float low, float high) {
  unsigned y;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}

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

template <class T> MS_DEVICE unsigned ms_pair_max (unsigned a, unsigned b);
template <> MS_DEVICE unsigned ms_pair_max<ms_f16> (unsigned a, unsigned b) {
  unsigned y;
  asm("max.f16x2 %0, %1, %2;" : "=r"(y) : "r"(a), "r"(b));
  return y;
}
template <> MS_DEVICE unsigned ms_pair_max<ms_bf16> (unsigned a, unsigned b) {
  unsigned y;
  asm("max.bf16x2 %0, %1, %2;" : "=r"(y) : "r"(a), "r"(b));
  return y;
}
template <class T> MS_DEVICE unsigned ms_pair_fma (unsigned a, unsigned b, unsigned c);
template <> MS_DEVICE unsigned ms_pair_fma<ms_f16> (unsigned a, unsigned b, unsigned c) {
  unsigned y;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(y) : "r"(a), "r"(b), "r"(c));
  return y;
}
template <> MS_DEVICE unsigned ms_pair_fma<ms_bf16> (unsigned a, unsigned b, unsigned c) {
  unsigned y;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(y) : "r"(a), "r"(b), "r"(c));
  return y;
}
// The addend is -0, which changes no product.
template <class T> MS_DEVICE unsigned ms_pair_multiply (unsigned a, unsigned b) {
  return ms_pair_fma<T> (a, b, 0x80008000u);
}

// ---- elementwise operators of op.def ----

MS_DEVICE float ms_exp2 (float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
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
MS_DEVICE float ms_sqrt (float x) {
  float y;
  asm("sqrt.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
MS_DEVICE float ms_sigmoid (float x) { return __fdividef (1.0f, 1.0f + ms_exp (-x)); }
MS_DEVICE float ms_silu (float x) { return x * ms_sigmoid (x); }
MS_DEVICE float ms_gelu (float x) { return 0.5f * x * (1.0f + erff (x * 0.70710678118654752f)); }

// ---- threads ----

MS_DEVICE long long ms_thread () { return (long long) blockIdx.x * blockDim.x + threadIdx.x; }
MS_DEVICE long long ms_threads () { return (long long) gridDim.x * blockDim.x; }

// Programmatic dependent launch: every thread waits before it touches what earlier launches write, or writes anything;
// program inputs may be read before. Without the launch attribute both do nothing.
MS_DEVICE void ms_wait_inputs () {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
MS_DEVICE void ms_launch_dependents () {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

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
