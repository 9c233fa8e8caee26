// The pieces of the generic generator and of the pre-defined matmul: ragged splits, and products of a block.
// emit_generic.c and emit_predefined.c print the kernels around them. ms_product takes elements one by one from
// anywhere; ms_streamed_product copies both operands from device memory itself.

// Number of valid positions of a tile: data extent `full` cut into chunks, this chunk starting at `begin`, this tile at
// begin + step (mugraph.h, ragged splits).
MS_DEVICE int ms_valid (int full, int chunk, int begin, int step, int tile) {
  const long long end = min ((long long) begin + chunk, (long long) full), n = end - begin - step;
  return n < 0 ? 0 : n < tile ? (int) n : tile;
}

// The maximum moves from `old` to `now`: by how much; exponentials computed before are scaled by ms_exp (move).
MS_DEVICE float ms_move (float old, float now) { return old == -MS_INF ? 0.0f : old - now; }

// ---- products ----
// One BM x BN piece of a product, BM = 16 WM MI, BN = 8 WN NI, is computed by WM x WN warps; the others of the block
// help to load. A warp holds d[MI][NI], fragments of m16n8.

template <int MI, int NI> MS_DEVICE void ms_clear (float (&d)[MI][NI][4]) {
#pragma unroll
  for (int i = 0; i < MI; i++)
#pragma unroll
    for (int j = 0; j < NI; j++)
#pragma unroll
      for (int r = 0; r < 4; r++) d[i][j][r] = 0.0f;
}

// f (row, column, value) for every element that this thread holds.
template <int WM, int WN, int MI, int NI, class F> MS_DEVICE void ms_each (const float (&d)[MI][NI][4], F f) {
  const int warp = threadIdx.x / 32, group = threadIdx.x % 32 / 4, lane = threadIdx.x % 4;
  if (warp >= WM * WN) return;
#pragma unroll
  for (int i = 0; i < MI; i++)
#pragma unroll
    for (int j = 0; j < NI; j++)
#pragma unroll
      for (int r = 0; r < 4; r++)
        f ((warp % WM * MI + i) * 16 + group + r / 2 * 8, (warp / WM * NI + j) * 8 + 2 * lane + r % 2, d[i][j][r]);
}

// Elements come one by one. T = ms_f16, ms_bf16: multiplied as they are. T = float: the matrix units see tf32, and the
// part of an element that tf32 drops is multiplied too where SPLIT_A, SPLIT_B say that there is one, so that the
// product is as good as in f32.
template <class T, int WM, int WN, int MI, int NI, bool SPLIT_A, bool SPLIT_B> struct ms_product {
  static constexpr int BM = 16 * WM * MI, BN = 8 * WN * NI, BK = 32, PITCH = BK + 8;
  float d[MI][NI][4];
  T *a, *b; // [BM][PITCH], [BN][PITCH]: b is transposed

  MS_DEVICE ms_product (void *shared) : a ((T *) shared), b ((T *) shared + BM * PITCH) { ms_clear (d); }
  MS_DEVICE void put_a (int row, int k, float x) { a[row * PITCH + k] = ms_round<T> (x); }
  MS_DEVICE void put_b (int k, int column, float x) { b[column * PITCH + k] = ms_round<T> (x); }

  MS_DEVICE void step () {
    const int warp = threadIdx.x / 32, group = threadIdx.x % 32 / 4, lane = threadIdx.x % 4;
    if (warp >= WM * WN) return;
    const T *pa = a + (warp % WM * 16 * MI + group) * PITCH, *pb = b + (warp / WM * 8 * NI + group) * PITCH;
#pragma unroll
    for (int k = 0; k < BK; k += 16) {
      unsigned fb[NI][2];
#pragma unroll
      for (int j = 0; j < NI; j++)
#pragma unroll
        for (int r = 0; r < 2; r++) fb[j][r] = *(const unsigned *) (pb + 8 * j * PITCH + k + 8 * r + 2 * lane);
#pragma unroll
      for (int i = 0; i < MI; i++) {
        unsigned fa[4];
#pragma unroll
        for (int r = 0; r < 4; r++)
          fa[r] = *(const unsigned *) (pa + (16 * i + r % 2 * 8) * PITCH + k + r / 2 * 8 + 2 * lane);
#pragma unroll
        for (int j = 0; j < NI; j++) ms_warp_mma<T> (d[i][j], fa, fb[j]);
      }
    }
  }

  template <class F> MS_DEVICE void each (F f) { ms_each<WM, WN> (d, f); }
};

// What tf32 keeps of x, and what it keeps of the rest.
MS_DEVICE void ms_split (float x, unsigned &high, unsigned &low) {
  high = ms_tf32 (x);
  const float h = __int_as_float ((int) high);
  low = ms_tf32 (fabsf (h) < MS_INF ? x - h : 0.0f);
}

template <int WM, int WN, int MI, int NI, bool SPLIT_A, bool SPLIT_B>
struct ms_product<float, WM, WN, MI, NI, SPLIT_A, SPLIT_B> {
  static constexpr int BM = 16 * WM * MI, BN = 8 * WN * NI, BK = 32, PITCH_A = BK + 4, PITCH_B = BN + 8;
  float d[MI][NI][4];
  float *a, *b; // [BM][PITCH_A], [BK][PITCH_B]

  MS_DEVICE ms_product (void *shared) : a ((float *) shared), b ((float *) shared + BM * PITCH_A) { ms_clear (d); }
  MS_DEVICE void put_a (int row, int k, float x) { a[row * PITCH_A + k] = x; }
  MS_DEVICE void put_b (int k, int column, float x) { b[k * PITCH_B + column] = x; }

  MS_DEVICE void step () {
    const int warp = threadIdx.x / 32, group = threadIdx.x % 32 / 4, lane = threadIdx.x % 4;
    if (warp >= WM * WN) return;
    const float *pa = a + (warp % WM * 16 * MI + group) * PITCH_A + lane,
                *pb = b + lane * PITCH_B + warp / WM * 8 * NI + group;
#pragma unroll
    for (int k = 0; k < BK; k += 8) {
      unsigned high_b[NI][2], low_b[NI][2];
#pragma unroll
      for (int j = 0; j < NI; j++)
#pragma unroll
        for (int r = 0; r < 2; r++) ms_split (pb[(k + 4 * r) * PITCH_B + 8 * j], high_b[j][r], low_b[j][r]);
#pragma unroll
      for (int i = 0; i < MI; i++) {
        unsigned high_a[4], low_a[4];
#pragma unroll
        for (int r = 0; r < 4; r++) ms_split (pa[(16 * i + r % 2 * 8) * PITCH_A + k + r / 2 * 4], high_a[r], low_a[r]);
#pragma unroll
        for (int j = 0; j < NI; j++) {
          if (SPLIT_A) ms_warp_mma_tf32 (d[i][j], low_a, high_b[j]);
          if (SPLIT_B) ms_warp_mma_tf32 (d[i][j], high_a, low_b[j]);
          ms_warp_mma_tf32 (d[i][j], high_a, high_b[j]);
        }
      }
    }
  }

  template <class F> MS_DEVICE void each (F f) { ms_each<WM, WN> (d, f); }
};

// Both operands stand in device memory, rows beginning at multiples of 16 bytes: they stream through STAGES buffers.
template <class T, int WM, int WN, int MI, int NI, int STAGES> struct ms_streamed_product {
  static constexpr int BM = 16 * WM * MI, BN = 8 * WN * NI, BK = 64, PITCH_A = BK + 8, PITCH_B = BN + 8;
  static constexpr int STAGE = 2 * (BM * PITCH_A + BK * PITCH_B); // bytes: a [BM][PITCH_A], b [BK][PITCH_B]
  float d[MI][NI][4];
  unsigned shared;

  MS_DEVICE ms_streamed_product (void *memory) : shared (ms_shared_address (memory)) { ms_clear (d); }

  // Columns of b and k's of both beyond `columns` and `k`, and rows of a beyond `rows`, become zeros.
  MS_DEVICE void load (int stage, const T *a, long long pitch_a, int rows, const T *b, long long pitch_b, int columns,
                       int k) {
    const unsigned to_a = shared + stage * STAGE, to_b = to_a + 2 * BM * PITCH_A;
    for (int e = threadIdx.x; e < BM * BK / 8; e += blockDim.x) {
      const int r = e / (BK / 8), c = e % (BK / 8) * 8, n = r < rows ? max (0, min (8, k - c)) : 0;
      ms_copy_async (to_a + 2 * (r * PITCH_A + c), n ? a + r * pitch_a + c : a, 2 * n);
    }
    for (int e = threadIdx.x; e < BK * BN / 8; e += blockDim.x) {
      const int r = e / (BN / 8), c = e % (BN / 8) * 8, n = r < k ? max (0, min (8, columns - c)) : 0;
      ms_copy_async (to_b + 2 * (r * PITCH_B + c), n ? b + r * pitch_b + c : b, 2 * n);
    }
  }

  MS_DEVICE void step (int stage) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (warp >= WM * WN) return;
    const unsigned from_a = shared + stage * STAGE + 2 * ((warp % WM * 16 * MI + lane % 16) * PITCH_A + lane / 16 * 8);
    const unsigned from_b = shared + stage * STAGE + 2 * (BM * PITCH_A + lane % 16 * PITCH_B + warp / WM * 8 * NI);
#pragma unroll
    for (int k = 0; k < BK; k += 16) {
      unsigned fb[NI][2];
#pragma unroll
      for (int j = 0; j < NI; j++) ms_warp_ldmatrix_trans (fb[j], from_b + 2 * (k * PITCH_B + 8 * j));
#pragma unroll
      for (int i = 0; i < MI; i++) {
        unsigned fa[4];
        ms_warp_ldmatrix (fa, from_a + 2 * (16 * i * PITCH_A + k));
#pragma unroll
        for (int j = 0; j < NI; j++) ms_warp_mma<T> (d[i][j], fa, fb[j]);
      }
    }
  }

  MS_DEVICE void run (const T *a, long long pitch_a, int rows, const T *b, long long pitch_b, int columns, int k) {
    const int steps = (k + BK - 1) / BK;
    for (int i = 0; i < STAGES - 1; i++) {
      if (i < steps) load (i, a + i * BK, pitch_a, rows, b + i * BK * pitch_b, pitch_b, columns, k - i * BK);
      ms_copy_commit ();
    }
    for (int i = 0; i < steps; i++) {
      const int next = i + STAGES - 1;
      ms_copy_wait<STAGES - 2> ();
      __syncthreads (); // stage i is there, and nobody reads the stage before it any more
      if (next < steps)
        load (next % STAGES, a + next * BK, pitch_a, rows, b + next * BK * pitch_b, pitch_b, columns, k - next * BK);
      ms_copy_commit ();
      step (i % STAGES);
    }
    ms_copy_wait<0> ();
    __syncthreads ();
  }

  template <class F> MS_DEVICE void each (F f) { ms_each<WM, WN> (d, f); }
};
