// The pieces of the stream generator: D[rows, columns] = X[rows, k] W[k, columns], few rows, weights straight from
// device memory into registers. emit_stream.c prints the kernel around them. In the order of a kernel: loads of pieces,
// products, chained products, then where the partial sums of warps and blocks meet.
//
// A warp takes 16 k in a step, U steps in a group of 16 U consecutive k. With g = lane / 4 and t = lane % 4, a lane
// holds
//   k        4 U t to 4 U t + 4 U - 1 of the group, four of them in each step
//   columns  g N to g N + N - 1 of each piece of 8 N columns
// W^T is the m16 operand of the matrix units, 8 rows of X are the n8 operand.
//
// Template parameters: T the type of the operands, N columns of a lane's piece, Q pieces of a warp, M groups of 8 rows;
// QI and NI are Q and N of the inner dimension of chained products.

// Elements N of a row that one lane loads at once.
template <class T, int N> struct stream_piece { unsigned r[(N + 1) / 2]; };
template <int N> struct stream_piece<float, N> { unsigned r[N]; };

template <class T, int N> MS_DEVICE float stream_at (const stream_piece<T, N> &p, int i) {
  T x;
  x.bits = (unsigned short) (p.r[i / 2] >> i % 2 * 16);
  return ms_float (x);
}
template <int N> MS_DEVICE float stream_at (const stream_piece<float, N> &p, int i) { return __uint_as_float (p.r[i]); }

// How a lane may load: element by element, as a piece where it is valid (else zeros), as a piece always.
enum { STREAM_GATHER, STREAM_GUARDED, STREAM_ALWAYS };

// The first `valid` of N elements of a row; nothing else is touched.
template <int how, bool once, class T, int N>
MS_DEVICE void stream_load (stream_piece<T, N> &p, const T *from, int valid) {
  if (how == STREAM_GATHER) {
#pragma unroll
    for (int i = 0; i < (int) (sizeof p / 4); i++)
      if (sizeof (T) == 4) {
        p.r[i] = 0;
        if (i < valid) p.r[i] = ms_load_word (from + i);
      } else {
        const unsigned low = 2 * i < valid ? ms_load_half (from + 2 * i) : 0,
                       high = 2 * i + 1 < valid ? ms_load_half (from + 2 * i + 1) : 0;
        p.r[i] = low | high << 16;
      }
  } else if (how == STREAM_ALWAYS || valid > 0) {
    if (once) ms_load_words_once (p.r, from);
    else ms_load_words (p.r, from);
  } else {
#pragma unroll
    for (int i = 0; i < (int) (sizeof p / 4); i++) p.r[i] = 0;
  }
}

// Four k of one column pair become the m16 x k16 operand: columns 2 v, 2 v + 1 of each lane's piece.
template <class T, int N> MS_DEVICE void stream_columns (unsigned (&a)[4], const stream_piece<T, N> (&w)[4], int v) {
  a[0] = __byte_perm (w[0].r[v], w[1].r[v], 0x5410);
  a[1] = __byte_perm (w[0].r[v], w[1].r[v], 0x7632);
  a[2] = __byte_perm (w[2].r[v], w[3].r[v], 0x5410);
  a[3] = __byte_perm (w[2].r[v], w[3].r[v], 0x7632);
}

// The same of four k of each column of a lane's, where these are what lies side by side.
template <class T> struct stream_run { unsigned r[2]; };
template <class T, int N> MS_DEVICE void stream_columns (unsigned (&a)[4], const stream_run<T> (&w)[N], int v) {
  a[0] = w[2 * v].r[0], a[1] = w[2 * v + 1].r[0], a[2] = w[2 * v].r[1], a[3] = w[2 * v + 1].r[1];
}

// d[q][v][m] = columns (q, g, 2 v) and (q, g, 2 v + 1) by rows 8 m + 2 t and 8 m + 2 t + 1: {c0 r0, c0 r1, c1 r0, c1
// r1}.
template <class T, int Q, int N, int M, class W>
MS_DEVICE void stream_product (float (&d)[Q][N / 2][M][4], const W &w, const unsigned (&x)[M][2]) {
#pragma unroll
  for (int q = 0; q < Q; q++)
#pragma unroll
    for (int v = 0; v < N / 2; v++) {
      unsigned a[4];
      stream_columns (a, w[q], v);
#pragma unroll
      for (int m = 0; m < M; m++) ms_warp_mma<T> (d[q][v][m], a, x[m]);
    }
}

// The same with X as the m16 operand, for results that are themselves a left operand: d[m][q][v][c] = rows 16 m + g and
// 16 m + g + 8 by columns 8 q N + 2 t N + 2 v + c and N later: {r0 c0, r0 c0 + N, r1 c0, r1 c0 + N}.
template <class T, int Q, int N, int M, class W>
MS_DEVICE void stream_source (float (&d)[(M + 1) / 2][Q][N / 2][2][4], const W &w, const unsigned (&x)[M][2]) {
#pragma unroll
  for (int q = 0; q < Q; q++)
#pragma unroll
    for (int v = 0; v < N / 2; v++) {
      unsigned b[4];
      stream_columns (b, w[q], v);
      const unsigned even[2] = {b[0], b[2]}, odd[2] = {b[1], b[3]};
#pragma unroll
      for (int m = 0; m < (M + 1) / 2; m++) {
        const int other = 2 * m + 1 < M ? 2 * m + 1 : 2 * m;
        const unsigned a[4] = {x[2 * m][0], x[other][0], x[2 * m][1], x[other][1]};
        ms_warp_mma<T> (d[m][q][v][0], a, even);
        ms_warp_mma<T> (d[m][q][v][1], a, odd);
      }
    }
}

// Row of the chained operand that lane t holds as its e-th of step (q, v): what stream_source left in that lane.
template <int N> MS_DEVICE int stream_inner (int q, int v, int t, int e) {
  return 8 * q * N + (2 * t + e / 2) * N + 2 * v + e % 2;
}

// Sums that become operands again lose digits: in bfloats too many, so what rounding leaves is multiplied too.
template <class T> struct stream_rounds { static constexpr bool coarsely = false; };
template <> struct stream_rounds<ms_bf16> { static constexpr bool coarsely = true; };
template <class T> MS_DEVICE float stream_rest (float x) { return x - ms_float (ms_round<T> (x)); }

// d += source times b, both over this warp's partial sums.
template <class T, int Q, int N, int M, int QI, int NI>
MS_DEVICE void stream_chain (float (&d)[Q][N / 2][M][4], const float (&s)[(M + 1) / 2][QI][NI / 2][2][4],
                             const stream_piece<T, N> (&b)[QI][NI / 2][Q][4]) {
#pragma unroll
  for (int qi = 0; qi < QI; qi++)
#pragma unroll
    for (int vi = 0; vi < NI / 2; vi++) {
      unsigned x[M][2];
#pragma unroll
      for (int m = 0; m < M; m++) {
        const float (&even)[4] = s[m / 2][qi][vi][0], (&odd)[4] = s[m / 2][qi][vi][1];
        x[m][0] = ms_pack<T> (even[m % 2 * 2], odd[m % 2 * 2]);
        x[m][1] = ms_pack<T> (even[m % 2 * 2 + 1], odd[m % 2 * 2 + 1]);
      }
      stream_product<T, Q, N, M> (d, b[qi][vi], x);
      if (!stream_rounds<T>::coarsely) continue;
#pragma unroll
      for (int m = 0; m < M; m++)
#pragma unroll
        for (int h = 0; h < 2; h++)
          x[m][h] = ms_pack<T> (stream_rest<T> (s[m / 2][qi][vi][0][m % 2 * 2 + h]),
                                stream_rest<T> (s[m / 2][qi][vi][1][m % 2 * 2 + h]));
      stream_product<T, Q, N, M> (d, b[qi][vi], x);
    }
}

// ---- where partial sums meet ----

// Four sums (two columns, two rows) are a slot. A warp writes those of one (q, v, m) side by side; they are finished in
// another order, v first, then g, so that the lanes of a warp store neighbouring columns. Lanes are permuted so that
// neither meets bank conflicts.
MS_DEVICE int stream_lane (int v, int V, int lane) { return lane ^ (V * (lane / 8) & 3) ^ v; }

// Where the i-th slot to be finished is: i = (((q M + m) 4 + t) 8 + g) V + v, q across the warps along n too.
template <int V, int M> MS_DEVICE int stream_slot (unsigned i) {
  const int v = i % V, g = i / V % 8, t = i / (8 * V) % 4, m = i / (32 * V) % M, q = i / (32 * V * M);
  return ((q * V + v) * M + m) * 32 + stream_lane (v, V, 4 * g + t);
}

template <int Q, int V, int M> MS_DEVICE void stream_put (float4 *to, const float (&d)[Q][V][M][4]) {
#pragma unroll
  for (int q = 0; q < Q; q++)
#pragma unroll
    for (int v = 0; v < V; v++)
#pragma unroll
      for (int m = 0; m < M; m++)
        to[((q * V + v) * M + m) * 32 + stream_lane (v, V, threadIdx.x % 32)] =
            make_float4 (d[q][v][m][0], d[q][v][m][1], d[q][v][m][2], d[q][v][m][3]);
}
template <int Q, int V, int M> MS_DEVICE void stream_add (float (&d)[Q][V][M][4], const float4 *from) {
#pragma unroll
  for (int q = 0; q < Q; q++)
#pragma unroll
    for (int v = 0; v < V; v++)
#pragma unroll
      for (int m = 0; m < M; m++) {
        const float4 x = from[((q * V + v) * M + m) * 32 + stream_lane (v, V, threadIdx.x % 32)];
        d[q][v][m][0] += x.x, d[q][v][m][1] += x.y, d[q][v][m][2] += x.z, d[q][v][m][3] += x.w;
      }
}

// Sum of n groups of partial sums, `stride` apart.
template <int n> MS_DEVICE float4 stream_sum (const float4 *p, int stride) {
  float4 s = p[0];
#pragma unroll
  for (int i = 1; i < n; i++) {
    const float4 x = p[i * stride];
    s.x += x.x, s.y += x.y, s.z += x.z, s.w += x.w;
  }
  return s;
}
// Sum of n floats side by side, aligned like four of them where n is a multiple of four.
template <int n> MS_DEVICE float stream_total (const float *p) {
  if (n % 4) {
    float s = p[0];
#pragma unroll
    for (int i = 1; i < n; i++) s += p[i];
    return s;
  }
  float4 s = *(const float4 *) p;
#pragma unroll
  for (int i = 1; i < n / 4; i++) {
    const float4 x = ((const float4 *) p)[i];
    s.x += x.x, s.y += x.y, s.z += x.z, s.w += x.w;
  }
  return (s.x + s.y) + (s.z + s.w);
}

// Sums travel to the block that finishes them by asynchronous stores, which count their bytes on that block's barrier:
// no fence of all memory, no second barrier of the cluster. A block waits for what it is sent, so none ends while
// others still write to it.
MS_DEVICE void stream_expect (unsigned long long *barrier, int bytes) {
  const unsigned address = ms_shared_address (barrier);
  if (threadIdx.x == 0) {
    ms_barrier_init (address, 1);
    ms_fence_barrier_init ();
  }
  __syncthreads (); // one thread's own order would do; racecheck asks for more
  if (threadIdx.x == 0) ms_barrier_expect (address, bytes);
  ms_cluster_arrive ();
}
MS_DEVICE void stream_meet () { ms_cluster_wait (); } // all barriers are there
MS_DEVICE void stream_wait (unsigned long long *barrier) { ms_barrier_wait_cluster (ms_shared_address (barrier), 0); }
MS_DEVICE unsigned stream_remote (const void *p, int rank) { return ms_cluster_address (ms_shared_address (p), rank); }
MS_DEVICE void stream_push (float4 *to, int rank, unsigned long long *barrier, float4 x) {
  ms_cluster_send (stream_remote (to, rank), stream_remote (barrier, rank), __float_as_uint (x.x),
                   __float_as_uint (x.y), __float_as_uint (x.z), __float_as_uint (x.w));
}
MS_DEVICE void stream_push (float *to, int rank, unsigned long long *barrier, float x) {
  ms_cluster_send (stream_remote (to, rank), stream_remote (barrier, rank), __float_as_uint (x));
}

// Two neighbouring columns; n of them are inside.
template <bool pair, class T> MS_DEVICE void stream_store (T *to, float a, float b, int n) {
  if (n <= 0) return;
  if (pair && sizeof (T) == 2) *(unsigned *) to = ms_pack<T> (a, b);
  else {
    ms_store (to, a);
    if (n > 1) ms_store (to + 1, b);
  }
}
template <bool pair> MS_DEVICE void stream_store (float *to, float a, float b, int n) {
  if (n > 0) to[0] = a;
  if (n > 1) to[1] = b;
}
