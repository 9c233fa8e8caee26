// The stream generator with weights in a ring of shared memory: the copy engine brings them, a warpgroup multiplies by
// wgmma, other warps take row statistics. emit_stream.c prints the loop of each role; here is what they share.
//
// X, W of 64 columns, and W stored as [n, k] are tiles of tile.cuh. W of 32 columns has rows of 64 bytes, unit u of row
// r at u ^ r / 2 % 4; two such tiles 4096 bytes apart are one operand.

MS_DEVICE unsigned long long stream_operand (unsigned address) { return ms_matrix_descriptor (address, 16, 1024, 1); }
MS_DEVICE unsigned long long stream_operand_pair (unsigned address) {
  return ms_matrix_descriptor (address, 4096, 512, 2);
}
// Eight k of a row of X.
template <class T>
MS_DEVICE void stream_read_tile (stream_piece<T, 8> &p, const unsigned char *tile, int row, int unit) {
  const uint4 x = *(const uint4 *) (ms_tile_at (tile, row, unit));
  p.r[0] = x.x, p.r[1] = x.y, p.r[2] = x.z, p.r[3] = x.w;
}

// Sums of a warpgroup: 64 columns by 8 M rows; warp w has columns 16 w + g and 8 later. Neighbouring groups of lanes
// change halves: two neighbouring columns a lane, in the slots of pieces of 2.
template <int M> MS_DEVICE void stream_put_group (float4 *to, const float (&d)[4 * M], int w) {
  const int lane = threadIdx.x % 32, g = lane / 4, odd = g % 2;
#pragma unroll
  for (int m = 0; m < M; m++) {
    const float a = __shfl_xor_sync (0xffffffffu, odd ? d[4 * m] : d[4 * m + 2], 4),
                b = __shfl_xor_sync (0xffffffffu, odd ? d[4 * m + 1] : d[4 * m + 3], 4);
    to[(w * M + m) * 32 + stream_lane (0, 1, (odd * 4 + g / 2) * 4 + lane % 4)] =
        odd ? make_float4 (a, b, d[4 * m + 2], d[4 * m + 3]) : make_float4 (d[4 * m], d[4 * m + 1], a, b);
  }
}
