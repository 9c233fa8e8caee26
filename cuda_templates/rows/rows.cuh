// The pieces of the rows generator: whole rows in registers. emit_rows.c prints the kernel around them. In the order of
// a kernel: loads of pieces of up to 16 bytes, partial sums and maxima of a thread, their exchange by shuffles and once
// through shared memory (of the cluster), stores.

// N neighbouring elements of a row, as stored.
template <class T, int N> struct rows_piece { unsigned r[(N * sizeof (T) + 3) / 4]; };

template <class T, int N> MS_DEVICE float rows_at (const rows_piece<T, N> &p, int i) {
  T x;
  x.bits = (unsigned short) (p.r[i / 2] >> i % 2 * 16);
  return ms_float (x);
}
template <int N> MS_DEVICE float rows_at (const rows_piece<float, N> &p, int i) { return __uint_as_float (p.r[i]); }

// Volatile: loads stay in their order, behind ms_wait_inputs and ahead of the first exchange.
template <class T, int N> MS_DEVICE void rows_load (rows_piece<T, N> &p, const T *from, bool valid) {
  constexpr int words = sizeof p.r / 4;
#pragma unroll
  for (int i = 0; i < words; i++) p.r[i] = 0;
  if (!valid) return;
  if constexpr (N * sizeof (T) == 2) p.r[0] = ms_load_half (from);
  else if constexpr (words % 4 == 0) {
#pragma unroll
    for (int i = 0; i < words; i += 4) ms_load_words (*(unsigned (*)[4]) (p.r + i), (const unsigned *) from + i);
  } else if constexpr (words == 2) ms_load_words (p.r, from);
  else p.r[0] = ms_load_word (from);
}

template <class T> MS_DEVICE unsigned rows_pack (float low, float high) { return ms_pack<T> (low, high); }
template <> MS_DEVICE unsigned rows_pack<float> (float low, float) { return __float_as_uint (low); }

template <class T, int N> MS_DEVICE void rows_store (T *to, const float (&x)[N]) {
  if (N == 1) {
    ms_store (to, x[0]);
    return;
  }
  constexpr int words = N * sizeof (T) / 4 ? N * sizeof (T) / 4 : 1;
  unsigned r[words];
#pragma unroll
  for (int i = 0; i < words; i++)
    r[i] = sizeof (T) == 4 ? __float_as_uint (x[i % N]) : rows_pack<T> (x[2 * i % N], x[(2 * i + 1) % N]);
  if (words % 4 == 0)
#pragma unroll
    for (int i = 0; i < words; i += 4)
      ((uint4 *) to)[i / 4] = make_uint4 (r[i], r[(i + 1) % words], r[(i + 2) % words], r[(i + 3) % words]);
  else if (words == 2) *(uint2 *) to = make_uint2 (r[0], r[words - 1]);
  else *(unsigned *) to = r[0];
}

template <bool maximum> MS_DEVICE float rows_join (float a, float b) { return maximum ? fmaxf (a, b) : a + b; }

// Partial sums (maxima where bit k of MAXIMA is set) of K values in N chains each.
template <unsigned MAXIMA, int K, int N> MS_DEVICE void rows_clear (float (&s)[K][N]) {
#pragma unroll
  for (int k = 0; k < K; k++)
#pragma unroll
    for (int c = 0; c < N; c++) s[k][c] = MAXIMA >> k & 1 ? -MS_INF : 0.0f;
}
template <unsigned MAXIMA, int K, int N> MS_DEVICE void rows_fold (float (&x)[K], float (&s)[K][N]) {
#pragma unroll
  for (int k = 0; k < K; k++) {
#pragma unroll
    for (int half = N / 2; half; half /= 2)
#pragma unroll
      for (int c = 0; c < half; c++)
        s[k][c] =
            MAXIMA >> k & 1 ? rows_join<true> (s[k][c], s[k][c + half]) : rows_join<false> (s[k][c], s[k][c + half]);
    x[k] = s[k][0];
  }
}

// Reduces K values of a row over LANES lanes of its WARPS warps in each of SPLIT blocks: sums, maxima where bit k of
// MAXIMA is set. buffer: K * WARPS * SPLIT floats of this row, 16-byte aligned, that no earlier exchange still reads,
// where that is more than one warp. Every thread of the block calls this.
template <int LANES, int WARPS, int SPLIT, int K, unsigned MAXIMA>
MS_DEVICE void rows_exchange (float (&x)[K], float *buffer, int warp, int rank) {
  constexpr int parts = WARPS * SPLIT;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int step = LANES / 2; step; step >>= 1)
#pragma unroll
    for (int k = 0; k < K; k++) {
      const float y = __shfl_xor_sync (0xffffffffu, x[k], step);
      x[k] = MAXIMA >> k & 1 ? rows_join<true> (x[k], y) : rows_join<false> (x[k], y);
    }
  if (parts == 1) return;
#if __CUDA_ARCH__ >= 900
  if (SPLIT > 1) {
#pragma unroll
    for (int k = 0; k < K; k++)
      if (lane < SPLIT)
        ms_cluster_store (ms_cluster_address (ms_shared_address (buffer + k * parts + rank * WARPS + warp), lane),
                          x[k]);
    ms_cluster_sync ();
  } else
#endif
  {
    if (lane == 0)
#pragma unroll
      for (int k = 0; k < K; k++) buffer[k * parts + warp] = x[k];
    __syncthreads ();
  }
#pragma unroll
  for (int k = 0; k < K; k++) {
    const bool maximum = MAXIMA >> k & 1;
    float y = maximum ? -MS_INF : 0.0f;
    if (parts % 4 == 0 && parts <= 16) {
#pragma unroll
      for (int i = 0; i < parts / 4; i++) {
        const float4 v = ((const float4 *) (buffer + k * parts))[i];
        const float four = maximum ? fmaxf (fmaxf (v.x, v.y), fmaxf (v.z, v.w)) : (v.x + v.y) + (v.z + v.w);
        y = i == 0 ? four : maximum ? fmaxf (y, four) : y + four;
      }
    } else if (parts <= 8) {
#pragma unroll
      for (int i = 0; i < parts; i++) y = maximum ? fmaxf (y, buffer[k * parts + i]) : y + buffer[k * parts + i];
    } else {
      for (int i = lane; i < parts; i += 32) y = maximum ? fmaxf (y, buffer[k * parts + i]) : y + buffer[k * parts + i];
#pragma unroll
      for (int step = 16; step; step >>= 1) {
        const float z = __shfl_xor_sync (0xffffffffu, y, step);
        y = maximum ? fmaxf (y, z) : y + z;
      }
    }
    x[k] = y;
  }
}
