// device/wgmma.cuh on the CPU.

#define MS_SM90A

MS_DEVICE void ms_warps_sync (int name, int threads) {
  if (name) emulate::meet (emulate::me ().b->named[name], threads, "a named barrier", [] {});
  else __syncthreads ();
}
template <int n> MS_DEVICE void ms_warpgroup_registers_less () {}
template <int n> MS_DEVICE void ms_warpgroup_registers_more () {}
template <class T> MS_DEVICE void ms_keep (T &) {}

MS_DEVICE void ms_wgmma_fence () {}
MS_DEVICE void ms_wgmma_commit () { emulate::wgmma_commit (); }
template <int pending = 0> MS_DEVICE void ms_wgmma_wait () { emulate::wgmma_wait (pending); }

template <class T, int N> struct ms_wgmma {
  template <bool ROWS = false> static void first (float (&d)[N / 2], unsigned long long a, unsigned long long b) {
    emulate::wgmma (d, N, nullptr, a, b, {false, true, ROWS}, emulate_type<T>::wide);
  }
  template <bool ROWS = false> static void add (float (&d)[N / 2], unsigned long long a, unsigned long long b) {
    emulate::wgmma (d, N, nullptr, a, b, {true, true, ROWS}, emulate_type<T>::wide);
  }
  template <bool ROWS = false> static void add (float (&d)[N / 2], const unsigned (&a)[4], unsigned long long b) {
    emulate::wgmma (d, N, a, 0, b, {true, true, ROWS}, emulate_type<T>::wide);
  }
};
// Of the stream generator, printed as ms_wgmma is.
template <bool TURNED = false, class T, int R>
MS_DEVICE void stream_group_product (T, float (&d)[R], unsigned long long w, unsigned long long x) {
  emulate::wgmma (d, 2 * R, nullptr, w, x, {true, TURNED, true}, emulate_type<T>::wide);
}

// The emitter prints these specialisations where no other source has them.
#define MS_WGMMA_f16_8
#define MS_WGMMA_f16_16
#define MS_WGMMA_f16_24
#define MS_WGMMA_f16_32
#define MS_WGMMA_f16_40
#define MS_WGMMA_f16_48
#define MS_WGMMA_f16_56
#define MS_WGMMA_f16_64
#define MS_WGMMA_f16_72
#define MS_WGMMA_f16_80
#define MS_WGMMA_f16_88
#define MS_WGMMA_f16_96
#define MS_WGMMA_f16_104
#define MS_WGMMA_f16_112
#define MS_WGMMA_f16_120
#define MS_WGMMA_f16_128
#define MS_WGMMA_f16_136
#define MS_WGMMA_f16_144
#define MS_WGMMA_f16_152
#define MS_WGMMA_f16_160
#define MS_WGMMA_f16_168
#define MS_WGMMA_f16_176
#define MS_WGMMA_f16_184
#define MS_WGMMA_f16_192
#define MS_WGMMA_f16_200
#define MS_WGMMA_f16_208
#define MS_WGMMA_f16_216
#define MS_WGMMA_f16_224
#define MS_WGMMA_f16_232
#define MS_WGMMA_f16_240
#define MS_WGMMA_f16_248
#define MS_WGMMA_f16_256
#define MS_WGMMA_bf16_8
#define MS_WGMMA_bf16_16
#define MS_WGMMA_bf16_24
#define MS_WGMMA_bf16_32
#define MS_WGMMA_bf16_40
#define MS_WGMMA_bf16_48
#define MS_WGMMA_bf16_56
#define MS_WGMMA_bf16_64
#define MS_WGMMA_bf16_72
#define MS_WGMMA_bf16_80
#define MS_WGMMA_bf16_88
#define MS_WGMMA_bf16_96
#define MS_WGMMA_bf16_104
#define MS_WGMMA_bf16_112
#define MS_WGMMA_bf16_120
#define MS_WGMMA_bf16_128
#define MS_WGMMA_bf16_136
#define MS_WGMMA_bf16_144
#define MS_WGMMA_bf16_152
#define MS_WGMMA_bf16_160
#define MS_WGMMA_bf16_168
#define MS_WGMMA_bf16_176
#define MS_WGMMA_bf16_184
#define MS_WGMMA_bf16_192
#define MS_WGMMA_bf16_200
#define MS_WGMMA_bf16_208
#define MS_WGMMA_bf16_216
#define MS_WGMMA_bf16_224
#define MS_WGMMA_bf16_232
#define MS_WGMMA_bf16_240
#define MS_WGMMA_bf16_248
#define MS_WGMMA_bf16_256
#define STREAM_PRODUCT_ms_f16_8
#define STREAM_PRODUCT_ms_f16_16
#define STREAM_PRODUCT_ms_f16_24
#define STREAM_PRODUCT_ms_f16_32
#define STREAM_PRODUCT_ms_f16_40
#define STREAM_PRODUCT_ms_f16_48
#define STREAM_PRODUCT_ms_f16_56
#define STREAM_PRODUCT_ms_f16_64
#define STREAM_PRODUCT_ms_f16_72
#define STREAM_PRODUCT_ms_f16_80
#define STREAM_PRODUCT_ms_f16_88
#define STREAM_PRODUCT_ms_f16_96
#define STREAM_PRODUCT_ms_f16_104
#define STREAM_PRODUCT_ms_f16_112
#define STREAM_PRODUCT_ms_f16_120
#define STREAM_PRODUCT_ms_f16_128
#define STREAM_PRODUCT_ms_f16_136
#define STREAM_PRODUCT_ms_f16_144
#define STREAM_PRODUCT_ms_f16_152
#define STREAM_PRODUCT_ms_f16_160
#define STREAM_PRODUCT_ms_f16_168
#define STREAM_PRODUCT_ms_f16_176
#define STREAM_PRODUCT_ms_f16_184
#define STREAM_PRODUCT_ms_f16_192
#define STREAM_PRODUCT_ms_f16_200
#define STREAM_PRODUCT_ms_f16_208
#define STREAM_PRODUCT_ms_f16_216
#define STREAM_PRODUCT_ms_f16_224
#define STREAM_PRODUCT_ms_f16_232
#define STREAM_PRODUCT_ms_f16_240
#define STREAM_PRODUCT_ms_f16_248
#define STREAM_PRODUCT_ms_f16_256
#define STREAM_PRODUCT_ms_bf16_8
#define STREAM_PRODUCT_ms_bf16_16
#define STREAM_PRODUCT_ms_bf16_24
#define STREAM_PRODUCT_ms_bf16_32
#define STREAM_PRODUCT_ms_bf16_40
#define STREAM_PRODUCT_ms_bf16_48
#define STREAM_PRODUCT_ms_bf16_56
#define STREAM_PRODUCT_ms_bf16_64
#define STREAM_PRODUCT_ms_bf16_72
#define STREAM_PRODUCT_ms_bf16_80
#define STREAM_PRODUCT_ms_bf16_88
#define STREAM_PRODUCT_ms_bf16_96
#define STREAM_PRODUCT_ms_bf16_104
#define STREAM_PRODUCT_ms_bf16_112
#define STREAM_PRODUCT_ms_bf16_120
#define STREAM_PRODUCT_ms_bf16_128
#define STREAM_PRODUCT_ms_bf16_136
#define STREAM_PRODUCT_ms_bf16_144
#define STREAM_PRODUCT_ms_bf16_152
#define STREAM_PRODUCT_ms_bf16_160
#define STREAM_PRODUCT_ms_bf16_168
#define STREAM_PRODUCT_ms_bf16_176
#define STREAM_PRODUCT_ms_bf16_184
#define STREAM_PRODUCT_ms_bf16_192
#define STREAM_PRODUCT_ms_bf16_200
#define STREAM_PRODUCT_ms_bf16_208
#define STREAM_PRODUCT_ms_bf16_216
#define STREAM_PRODUCT_ms_bf16_224
#define STREAM_PRODUCT_ms_bf16_232
#define STREAM_PRODUCT_ms_bf16_240
#define STREAM_PRODUCT_ms_bf16_248
#define STREAM_PRODUCT_ms_bf16_256
