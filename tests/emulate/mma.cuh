// device/mma.cuh on the CPU.

template <class T> struct emulate_type;
template <> struct emulate_type<ms_f16> {
  static float wide (uint16_t x) { return emulate::from_half (x); }
};
template <> struct emulate_type<ms_bf16> {
  static float wide (uint16_t x) { return emulate::from_bfloat (x); }
};

template <class T> MS_DEVICE void ms_warp_mma (float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  emulate::mma (d, a, b, emulate_type<T>::wide);
}
// Rounded to the nearest, away from zero where two are as near.
MS_DEVICE unsigned ms_tf32 (float x) {
  const unsigned bits = __float_as_uint (x);
  return (bits & 0x7f800000) == 0x7f800000 ? bits : (bits + 0x1000) & 0xffffe000u;
}
MS_DEVICE void ms_warp_mma_tf32 (float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  emulate::mma_tf32 (d, a, b);
}
MS_DEVICE void ms_warp_ldmatrix (unsigned (&r)[4], unsigned address) { emulate::ldmatrix (r, 4, address, false); }
MS_DEVICE void ms_warp_ldmatrix_trans (unsigned (&r)[4], unsigned address) { emulate::ldmatrix (r, 4, address, true); }
MS_DEVICE void ms_warp_ldmatrix_trans (unsigned (&r)[2], unsigned address) { emulate::ldmatrix (r, 2, address, true); }
