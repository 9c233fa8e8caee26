// device/scalar.cuh on the CPU.

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

MS_DEVICE float ms_float (float x) { return x; }
MS_DEVICE float ms_float (ms_f16 x) { return emulate::from_half (x.bits); }
MS_DEVICE float ms_float (ms_bf16 x) { return emulate::from_bfloat (x.bits); }

template <class T> MS_DEVICE T ms_round (float x);
template <> MS_DEVICE float ms_round<float> (float x) { return x; }
template <> MS_DEVICE ms_f16 ms_round<ms_f16> (float x) { return {emulate::to_half (x)}; }
template <> MS_DEVICE ms_bf16 ms_round<ms_bf16> (float x) { return {emulate::to_bfloat (x)}; }

template <class T> MS_DEVICE unsigned ms_pack (float low, float high) {
  return ms_round<T> (low).bits | (unsigned) ms_round<T> (high).bits << 16;
}

template <class T, class F> MS_DEVICE unsigned emulate_pairs (F f) {
  return ms_round<T> (f (0)).bits | (unsigned) ms_round<T> (f (16)).bits << 16;
}
template <class T> MS_DEVICE float emulate_half_of (unsigned x, int shift) {
  T y;
  y.bits = (unsigned short) (x >> shift);
  return ms_float (y);
}
template <class T> MS_DEVICE unsigned ms_pair_max (unsigned a, unsigned b) {
  return emulate_pairs<T> ([&] (int h) { return fmaxf (emulate_half_of<T> (a, h), emulate_half_of<T> (b, h)); });
}
template <class T> MS_DEVICE unsigned ms_pair_fma (unsigned a, unsigned b, unsigned c) {
  return emulate_pairs<T> (
      [&] (int h) { return fmaf (emulate_half_of<T> (a, h), emulate_half_of<T> (b, h), emulate_half_of<T> (c, h)); });
}

// Results and arguments below the smallest normal number are zero, as .ftz says.
MS_DEVICE float emulate_flush (float x) { return fabsf (x) < 1.17549435e-38f ? copysignf (0.0f, x) : x; }
MS_DEVICE float ms_exp2 (float x) { return emulate_flush (exp2f (emulate_flush (x))); }
MS_DEVICE float ms_sqrt (float x) { return sqrtf (x); }

MS_DEVICE void ms_wait_inputs () {}
MS_DEVICE void ms_launch_dependents () {}
MS_DEVICE unsigned long long ms_word_pair (unsigned low, unsigned high) {
  return low | (unsigned long long) high << 32;
}
