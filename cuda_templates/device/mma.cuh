// A warp's matrix instructions (sm_80): D = A B + D, and the loads of their operands from shared memory. Fragments as
// in the PTX manual: with g = lane / 4 and t = lane % 4, the lane holds
//   a[0], a[1]   rows g, g + 8 at columns 2 t, 2 t + 1       a[2], a[3]   the same 8 columns further
//   b[0]         rows 2 t, 2 t + 1 of column g               b[1]         the same 8 rows further
//   d[0], d[1]   row g at columns 2 t, 2 t + 1               d[2], d[3]   row g + 8
// so that d of one product, rounded, is a of the next.

// m16n8k16: a 4, b 2 registers of 16-bit pairs, d 4 floats.
template <class T> MS_DEVICE void ms_warp_mma (float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
template <> MS_DEVICE void ms_warp_mma<ms_f16> (float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
template <> MS_DEVICE void ms_warp_mma<ms_bf16> (float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
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
MS_DEVICE void ms_warp_mma_tf32 (float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four 8x8 tiles of 16-bit elements from shared memory; lane l gives the address of row l % 8 of tile l / 8.
MS_DEVICE void ms_warp_ldmatrix (unsigned (&r)[4], unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
MS_DEVICE void ms_warp_ldmatrix_trans (unsigned (&r)[4], unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
// Two of them: lanes 0 to 15 give the addresses.
MS_DEVICE void ms_warp_ldmatrix_trans (unsigned (&r)[2], unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(address)
               : "memory");
}
