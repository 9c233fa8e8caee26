// Types, and the instructions of one thread that CUDA C++ has no name for. NVRTC has no headers, so halves are plain
// bits here. One instruction a function.

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

// ---- conversions ----

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

// ---- special functions ----

MS_DEVICE float ms_exp2 (float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
MS_DEVICE float ms_sqrt (float x) {
  float y;
  asm("sqrt.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

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

// Two words as one, the first in the low half.
MS_DEVICE unsigned long long ms_word_pair (unsigned low, unsigned high) {
  unsigned long long y;
  asm("mov.b64 %0, {%1, %2};" : "=l"(y) : "r"(low), "r"(high));
  return y;
}
