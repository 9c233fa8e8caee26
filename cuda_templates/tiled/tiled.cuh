// Matmuls of many rows, kept in registers: P, printed by emit_tiled.c, is one block's view of its kernel and has
//   type                  of the operands, 16 bits wide
//   GROUPS, N             warpgroups that multiply, 64 rows each; columns of a tile, a multiple of 8
//   SUMS, STATS           [64 GROUPS, N] in registers; sums along the rows of left operands
//   FRAGMENTS             left operands that are multiplied from registers
//   VECTORS               single rows that left operands are computed with
//   SOURCES, INNER        products [64 GROUPS, INNER] that are left operands of a last step, CHAIN bytes (0: there is
//   none) STEPS, STAGES, STAGE  steps of 64 k of a tile, those in shared memory, bytes of one CLUSTER, TILES blocks
//   that share operands; tiles, in clusters of them REGS, LATE            registers of a thread that multiplies (0: as
//   launched); whether an operand comes from an earlier launch place (i, rank)       goes to a tile load (stage, step,
//   full, rank)   copies what a step multiplies, for all blocks of the cluster what this one brings of it load_last
//   (stage, full)          copies what the last step multiplies with the sources prefetch (lane)       asks for the
//   tensor maps begin (group)         reads values of this thread's rows that left operands are computed with early (g,
//   step)       reads what columns of a step need beside the tiles operands (l, y, g, stage, group, step)    left
//   operands of a step in registers, and what it adds to the sums of rows g and g + 8 of this
//                         warp's 16
//   multiply (d, f, l, stage, group)          d and the sources f += products of a step, issued
//   chain (d, a, rest, stage)        d += products of the last step, issued: sources as operands a, and what rounding
//   left of them finish (d, y, group)             what follows the loop; writes the outputs
//
// A tile in shared memory: rows of 128 bytes, the 16-byte unit u of row r at u ^ r % 8. Left operands are rows of 64 k.
// Right ones are rows of 64 columns, one for each k, further columns are further tiles; or, stored as [n, k], rows of
// 64 k as left ones.

template <int P, int N> MS_DEVICE void tiled_zero (float (&d)[P][N]) {
#pragma unroll
  for (int p = 0; p < P; p++)
#pragma unroll
    for (int i = 0; i < N; i++) d[p][i] = 0.0f;
}

// Sums of 64 rows as left operand fragments. Sums that become operands lose digits: in bfloats too many, so what
// rounding leaves is multiplied too.
template <class T> struct tiled_rounds { static constexpr bool coarsely = false; };
template <> struct tiled_rounds<ms_bf16> { static constexpr bool coarsely = true; };
template <class T> MS_DEVICE float tiled_rest (float x) { return x - ms_float (ms_round<T> (x)); }
template <class T, int S, int N, int K>
MS_DEVICE void tiled_operand (unsigned (&a)[S][K][4], unsigned (&rest)[S][K][4], const float (&f)[S][N]) {
#pragma unroll
  for (int s = 0; s < S; s++)
#pragma unroll
    for (int i = 0; i < K * 4; i++) {
      const bool there = 2 * i + 1 < N;
      const float low = there ? f[s][there ? 2 * i : 0] : 0.0f, high = there ? f[s][there ? 2 * i + 1 : 0] : 0.0f;
      a[s][i / 4][i % 4] = ms_pack<T> (low, high);
      rest[s][i / 4][i % 4] = tiled_rounds<T>::coarsely ? ms_pack<T> (tiled_rest<T> (low), tiled_rest<T> (high)) : 0;
    }
}

// Operand fragments of this warp's 16 rows of a left tile: columns 16 k + 8 (e / 2) + 2 t and the next one of row g + 8
// (e % 2).
MS_DEVICE void tiled_rows (unsigned (&a)[4][4], unsigned tile, int group) {
  const int lane = threadIdx.x & 31, r = (threadIdx.x >> 5 & 3) * 16 + (lane & 15);
#pragma unroll
  for (int k = 0; k < 4; k++) ms_warp_ldmatrix (a[k], ms_tile_at (tile + group * 8192, r, 2 * k + (lane >> 4)));
}

// The four lanes of a row have 8 columns each of which, at j, are their own two: they change to all 8 of the j that is
// their own.
MS_DEVICE void tiled_gather (unsigned (&w)[4]) {
  const int t = threadIdx.x & 3;
#pragma unroll
  for (int bit = 1; bit < 4; bit *= 2)
#pragma unroll
    for (int j = 0; j < 4; j++) {
      if (j & bit) continue;
      const unsigned other = __shfl_xor_sync (0xffffffffu, t & bit ? w[j] : w[j + bit], bit);
      if (t & bit) w[j] = other;
      else w[j + bit] = other;
    }
}
template <class T> MS_DEVICE void tiled_pair (float (&v)[2], const T *p) {
  const unsigned x = *(const unsigned *) p;
  T low, high;
  low.bits = (unsigned short) x, high.bits = (unsigned short) (x >> 16);
  v[0] = ms_float (low), v[1] = ms_float (high);
}
MS_DEVICE void tiled_pair (float (&v)[2], const float *p) {
  const float2 x = *(const float2 *) p;
  v[0] = x.x, v[1] = x.y;
}
// Two neighbours as they are stored, to be converted where they are used.
template <class T> MS_DEVICE void tiled_bits (unsigned (&v)[2], const T *p) { v[0] = *(const unsigned *) p; }
MS_DEVICE void tiled_bits (unsigned (&v)[2], const float *p) {
  const uint2 x = *(const uint2 *) p;
  v[0] = x.x, v[1] = x.y;
}
template <class T> MS_DEVICE float tiled_value (const unsigned (&v)[2], int c) {
  T x;
  x.bits = (unsigned short) (v[0] >> 16 * c);
  return ms_float (x);
}
template <> MS_DEVICE float tiled_value<float> (const unsigned (&v)[2], int c) { return __uint_as_float (v[c]); }

template <class P> MS_DEVICE void tiled_run (P &p, unsigned char *smem) {
  typedef typename P::type type;
  constexpr int STAGES = P::STAGES, CLUSTER = P::CLUSTER, STATS = P::STATS > 0 ? P::STATS : 1,
                SOURCES = P::SOURCES > 0 ? P::SOURCES : 1, VECTORS = P::VECTORS > 0 ? P::VECTORS : 1,
                FRAGMENTS = P::FRAGMENTS > 0 ? P::FRAGMENTS : 1;
  const int lane = threadIdx.x & 31, warp = __shfl_sync (0xffffffffu, threadIdx.x >> 5, 0), group = warp >> 2;
  const unsigned base = ms_shared_address (smem), full = base + STAGES * P::STAGE, empty = full + 8 * STAGES;
  const unsigned rank = blockIdx.x % CLUSTER, first = blockIdx.x / CLUSTER, clusters = gridDim.x / CLUSTER;
  ms_launch_dependents ();
  if (warp == 4 * P::GROUPS) p.prefetch (lane);
  if (threadIdx.x == 0) {
    for (int s = 0; s < STAGES; s++) {
      ms_barrier_init (full + 8 * s, 1);
      ms_barrier_init (empty + 8 * s, 4 * P::GROUPS * CLUSTER);
    }
    ms_barrier_init_fence ();
  }
  if (CLUSTER > 1) ms_cluster_sync (); // nobody copies into a block whose barriers are not there
  else __syncthreads ();
  unsigned slot = 0, parity = 0;
  if (group == P::GROUPS) {
    if constexpr (P::REGS > 0) ms_warpgroup_registers_less<40> ();
    if (warp == 4 * P::GROUPS && lane == 0) {
      if (P::LATE) {
        ms_wait_inputs ();
        ms_fence_async_all ();
      }
      for (unsigned i = first; i < P::TILES; i += clusters) {
        p.place (i, rank);
#pragma unroll 1
        for (int step = 0; step < P::STEPS; step++) {
          ms_barrier_wait (empty + 8 * slot, parity ^ 1); // passes at once the first time around
          ms_barrier_expect (full + 8 * slot, P::STAGE);
          p.load (base + slot * P::STAGE, step, full + 8 * slot, rank);
          if (++slot == STAGES) slot = 0, parity ^= 1;
        }
        if constexpr (P::CHAIN > 0) {
          ms_barrier_wait (empty + 8 * slot, parity ^ 1);
          ms_barrier_expect (full + 8 * slot, P::CHAIN);
          p.load_last (base + slot * P::STAGE, full + 8 * slot);
          if (++slot == STAGES) slot = 0, parity ^= 1;
        }
      }
    }
    __syncwarp ();
  } else {
    if constexpr (P::REGS > 0) ms_warpgroup_registers_more<P::REGS> ();
    bool waited = P::LATE;
    if (P::LATE) ms_wait_inputs ();
    for (unsigned i = first; i < P::TILES; i += clusters) {
      p.place (i, rank);
      p.begin (group);
      float d[P::SUMS][P::N / 2], f[SOURCES][P::INNER / 2], y[STATS][2];
      tiled_zero (d), tiled_zero (f), tiled_zero (y);
      auto release = [&] (unsigned s) { // by every warp, in all blocks that copy into this one
        __syncwarp ();
        if (CLUSTER == 1) {
          if (lane == 0) ms_barrier_arrive (empty + 8 * s);
        } else if (lane < CLUSTER) ms_cluster_barrier_arrive (ms_cluster_address (empty + 8 * s, lane));
      };
      ms_keep (d);
      if (P::SOURCES > 0) ms_keep (f);
      // A step is issued with its operands in registers while the one before is still multiplied; those of the next one
      // follow.
      unsigned l[2][FRAGMENTS][4][4], stage = base + slot * P::STAGE, at = slot, before = 0;
      unsigned g[VECTORS][4][2][2];
      p.early (g, 0);
      ms_barrier_wait (full + 8 * slot, parity);
      p.operands (l[0], y, g, stage, group, 0);
      auto turn = [&] (unsigned (&now)[FRAGMENTS][4][4], unsigned (&next)[FRAGMENTS][4][4], int step) {
        const bool more = step + 1 < P::STEPS;
        ms_wgmma_fence ();
        p.multiply (d, f, now, stage, group);
        ms_wgmma_commit ();
        if (more) p.early (g, step + 1);
        if (step > 0) {
          ms_wgmma_wait<1> (); // the step before has been multiplied
          if (P::FRAGMENTS > 0) ms_keep (next);
          release (before);
        }
        before = at;
        if (++slot == STAGES) slot = 0, parity ^= 1;
        if (more) {
          at = slot, stage = base + slot * P::STAGE;
          ms_barrier_wait (full + 8 * slot, parity);
          p.operands (next, y, g, stage, group, step + 1);
        }
      };
#pragma unroll 1
      for (int step = 0; step < P::STEPS; step += 2) {
        turn (l[0], l[1], step);
        if (step + 1 < P::STEPS) turn (l[1], l[0], step + 1);
      }
      ms_wgmma_wait<0> ();
      ms_keep (d);
      if (P::FRAGMENTS > 0) ms_keep (l[0]), ms_keep (l[1]);
      release (before);
      if constexpr (P::CHAIN > 0) {
        unsigned a[SOURCES][(P::INNER + 15) / 16][4], rest[SOURCES][(P::INNER + 15) / 16][4];
        ms_keep (f);
        tiled_operand<type> (a, rest, f);
        ms_barrier_wait (full + 8 * slot, parity);
        ms_wgmma_fence ();
        p.chain (d, a, rest, base + slot * P::STAGE);
        ms_wgmma_commit ();
        ms_wgmma_wait<0> ();
        ms_keep (d);
        release (slot);
        if (++slot == STAGES) slot = 0, parity ^= 1;
      }
#pragma unroll
      for (int k = 0; k < P::STATS; k++) y[k][0] = ms_quad_sum (y[k][0]), y[k][1] = ms_quad_sum (y[k][1]);
      if (!waited) ms_wait_inputs (); // before anything is written to device memory
      waited = true;
      p.finish (d, y, group);
    }
  }
  if (CLUSTER > 1) ms_cluster_sync (); // others may still copy or arrive here
}
