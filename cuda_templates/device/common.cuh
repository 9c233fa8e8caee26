// Device side, shared by all generated kernels. Self-contained: NVRTC has no headers, so halves are plain bits here.
// Conventions: values are float in registers; memory holds ms_f16, ms_bf16 or float.

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

// Two floats rounded into one register, the first in the low half.
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

// The two values of a word.
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

// ---- matrix units: D = A B + D, fragments as in the PTX manual ----

// m16n8k16: a 4, b 2 registers of 16-bit pairs, d 4 floats.
template <class T> MS_DEVICE void ms_mma (float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
template <> MS_DEVICE void ms_mma<ms_f16> (float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
template <> MS_DEVICE void ms_mma<ms_bf16> (float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// m16n8k8 in tf32: 8 exponent bits, the 10 mantissa bits of a half; halves and bfloats pass through exactly.
MS_DEVICE unsigned ms_tf32 (float x) {
  unsigned y;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
  return y;
}
MS_DEVICE void ms_mma_tf32 (float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four 8x8 tiles of 16-bit elements from shared memory; lane l gives the address of row l % 8 of tile l / 8.
MS_DEVICE void ms_ldmatrix (unsigned (&r)[4], unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
MS_DEVICE void ms_ldmatrix_trans (unsigned (&r)[4], unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// ---- asynchronous copies (sm_80) ----

// 16 bytes; the part beyond `valid` bytes is filled with zeros.
MS_DEVICE void ms_copy_async (unsigned to, const void *from, int valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(valid) : "memory");
}
MS_DEVICE void ms_copy_commit () { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int pending> MS_DEVICE void ms_copy_wait () {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// ---- row maxima that travel beside a tensor (cuda_templates/plan.h) ----

// The factor that brings values of split s to the largest of their row's maxima.
MS_DEVICE float ms_row_factor (const float *maxima, int splits, int s, int degree) {
  float top = -MS_INF;
  for (int i = 0; i < splits; i++) top = fmaxf (top, maxima[i]);
  return top == -MS_INF ? 0.0f : ms_exp ((float) degree * (maxima[s] - top));
}
