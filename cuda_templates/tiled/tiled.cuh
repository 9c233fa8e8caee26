// The loop of the tiled generator: matmuls of many rows whose sums stay in registers. emit_tiled.c prints the parts
// that depend on the graph, P below, and calls tiled_run.
//
// Read from the end: tiled_run gives each warpgroup its role. The last one is the producer, of which one thread starts
// the copies of every step into a ring of stages in shared memory. The others are consumers: 64 rows each, multiplied
// by wgmma, and the epilogue P::finish.
//
// P, one block's view of its kernel, has
//   type                   of the operands, 16 bits wide
//   GROUPS, N              consumers; columns of a tile, a multiple of 8
//   SUMS, STATS            sums [64 GROUPS, N] in registers; sums along the rows of left operands
//   FRAGMENTS              left operands that are multiplied from registers
//   VECTORS                single rows that left operands are computed with
//   SOURCES, INNER, CHAIN  products [64 GROUPS, INNER] that are left operands of a last step; its bytes, 0: there is
//   none STEPS, STAGES, STAGE   steps of 64 k of a tile; stages of the ring; bytes of a stage CLUSTER, TILES blocks
//   that share operands; tiles, in clusters of them REGS                   registers of a consumer's thread, 0: as
//   launched LATE                   whether an operand comes from an earlier launch place (i, rank)        goes to tile
//   i load (stage, step, full, rank)
//                          copies what a step multiplies, for all blocks of the cluster what this one brings of it
//   load_last (stage, full)
//                          copies what the last step multiplies with the sources
//   prefetch (lane)        asks for the tensor maps
//   begin (group)          reads values of this thread's rows that left operands are computed with
//   early (g, step)        reads what columns of a step need beside the tiles
//   operands (l, y, g, stage, group, step)
//                          left operands of a step in registers, and what it adds to the sums of rows g and g + 8 of
//                          this warp's 16
//   multiply (d, f, l, stage, group)
//                          issues d and the sources f += products of a step
//   chain (d, a, rest, stage)
//                          issues d += products of the last step: sources as operands a, and what rounding left of them
//   finish (d, y, group)   what follows the loop; writes the outputs
//
// Tiles are those of tile.cuh. Left operands are rows of 64 k. Right ones are rows of 64 columns, one for each k,
// further columns in further panels; or, stored as [n, k], rows of 64 k as left ones.

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

// The ring of stages in shared memory as one role walks it: the stage that it is at, and the parity of the barriers'
// phase. Each stage has a barrier that says that it is full, and one that says that it is empty again.
template <class P> struct tiled_ring {
  unsigned base, full, empty, slot = 0, parity = 0;

  MS_DEVICE tiled_ring (unsigned base_)
      : base (base_), full (base_ + P::STAGES * P::STAGE), empty (full + 8 * P::STAGES) {}
  MS_DEVICE unsigned stage () const { return base + slot * P::STAGE; }
  MS_DEVICE unsigned is_full () const { return full + 8 * slot; }
  MS_DEVICE unsigned is_empty () const { return empty + 8 * slot; }
  MS_DEVICE void next () {
    if (++slot == P::STAGES) slot = 0, parity ^= 1;
  }
  MS_DEVICE void initialise () const { // by one thread
    for (int s = 0; s < P::STAGES; s++) {
      ms_barrier_init (full + 8 * s, 1);
      ms_barrier_init (empty + 8 * s, 4 * P::GROUPS * P::CLUSTER);
    }
    ms_barrier_init_fence ();
  }
};

// Producer, one thread: copies the stages of every tile of this block, each once it is empty.
template <class P>
MS_DEVICE void tiled_produce (P &p, tiled_ring<P> &ring, unsigned first, unsigned clusters, unsigned rank) {
  if (P::LATE) {
    ms_wait_inputs ();
    ms_fence_async_all ();
  }
  for (unsigned i = first; i < P::TILES; i += clusters) {
    p.place (i, rank);
#pragma unroll 1
    for (int step = 0; step < P::STEPS; step++) {
      ms_barrier_wait (ring.is_empty (), ring.parity ^ 1); // passes at once the first time around
      ms_barrier_expect (ring.is_full (), P::STAGE);
      p.load (ring.stage (), step, ring.is_full (), rank);
      ring.next ();
    }
    if constexpr (P::CHAIN > 0) {
      ms_barrier_wait (ring.is_empty (), ring.parity ^ 1);
      ms_barrier_expect (ring.is_full (), P::CHAIN);
      p.load_last (ring.stage (), ring.is_full ());
      ring.next ();
    }
  }
}

// Consumer, a warpgroup: 64 rows of a tile in registers.
template <class P> struct tiled_consumer {
  typedef typename P::type type;
  static constexpr int STATS = P::STATS > 0 ? P::STATS : 1, SOURCES = P::SOURCES > 0 ? P::SOURCES : 1,
                       VECTORS = P::VECTORS > 0 ? P::VECTORS : 1, FRAGMENTS = P::FRAGMENTS > 0 ? P::FRAGMENTS : 1;
  P &p;
  tiled_ring<P> &ring;
  int group, lane;
  float d[P::SUMS][P::N / 2], f[SOURCES][P::INNER / 2], y[STATS][2];
  unsigned stage, at, before; // the stage that is multiplied, its slot, that of the one before
  unsigned g[VECTORS][4][2][2];

  MS_DEVICE tiled_consumer (P &p_, tiled_ring<P> &ring_, int group_, int lane_)
      : p (p_), ring (ring_), group (group_), lane (lane_), stage (ring_.stage ()), at (ring_.slot), before (0) {
    tiled_zero (d), tiled_zero (f), tiled_zero (y);
    ms_keep (d);
    if (P::SOURCES > 0) ms_keep (f);
  }

  // A stage is empty again: said by every warp, in all blocks that copy into this one.
  MS_DEVICE void release (unsigned s) {
    __syncwarp ();
    if (P::CLUSTER == 1) {
      if (lane == 0) ms_barrier_arrive (ring.empty + 8 * s);
    } else if (lane < P::CLUSTER) ms_cluster_barrier_arrive (ms_cluster_address (ring.empty + 8 * s, lane));
  }

  // A step is issued with its operands in registers while the one before is still multiplied; those of the next one
  // follow.
  MS_DEVICE void step (unsigned (&now)[FRAGMENTS][4][4], unsigned (&next)[FRAGMENTS][4][4], int step) {
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
    ring.next ();
    if (more) {
      at = ring.slot, stage = ring.stage ();
      ms_barrier_wait (ring.is_full (), ring.parity);
      p.operands (next, y, g, stage, group, step + 1);
    }
  }

  MS_DEVICE void steps () {
    unsigned l[2][FRAGMENTS][4][4];
    p.early (g, 0);
    ms_barrier_wait (ring.is_full (), ring.parity);
    p.operands (l[0], y, g, stage, group, 0);
#pragma unroll 1
    for (int i = 0; i < P::STEPS; i += 2) {
      step (l[0], l[1], i);
      if (i + 1 < P::STEPS) step (l[1], l[0], i + 1);
    }
    ms_wgmma_wait<0> ();
    ms_keep (d);
    if (P::FRAGMENTS > 0) ms_keep (l[0]), ms_keep (l[1]);
    release (before);
  }

  // The last step, whose left operands are the sources.
  MS_DEVICE void chain () {
    unsigned a[SOURCES][(P::INNER + 15) / 16][4], rest[SOURCES][(P::INNER + 15) / 16][4];
    ms_keep (f);
    tiled_operand<type> (a, rest, f);
    ms_barrier_wait (ring.is_full (), ring.parity);
    ms_wgmma_fence ();
    p.chain (d, a, rest, ring.stage ());
    ms_wgmma_commit ();
    ms_wgmma_wait<0> ();
    ms_keep (d);
    release (ring.slot);
    ring.next ();
  }

  MS_DEVICE void sum_rows () {
#pragma unroll
    for (int k = 0; k < P::STATS; k++) y[k][0] = ms_quad_sum (y[k][0]), y[k][1] = ms_quad_sum (y[k][1]);
  }
};

template <class P>
MS_DEVICE void tiled_consume (P &p, tiled_ring<P> &ring, unsigned first, unsigned clusters, unsigned rank, int group,
                              int lane) {
  bool waited = P::LATE;
  if (P::LATE) ms_wait_inputs ();
  for (unsigned i = first; i < P::TILES; i += clusters) {
    p.place (i, rank);
    p.begin (group);
    tiled_consumer<P> tile (p, ring, group, lane);
    tile.steps ();
    if constexpr (P::CHAIN > 0) tile.chain ();
    tile.sum_rows ();
    if (!waited) ms_wait_inputs (); // before anything is written to device memory
    waited = true;
    p.finish (tile.d, tile.y, group);
  }
}

template <class P> MS_DEVICE void tiled_run (P &p, unsigned char *smem) {
  const int lane = threadIdx.x & 31, warp = __shfl_sync (0xffffffffu, threadIdx.x >> 5, 0), group = warp >> 2;
  tiled_ring<P> ring (ms_shared_address (smem));
  const unsigned rank = blockIdx.x % P::CLUSTER, first = blockIdx.x / P::CLUSTER, clusters = gridDim.x / P::CLUSTER;
  ms_launch_dependents ();
  if (warp == 4 * P::GROUPS) p.prefetch (lane);
  if (threadIdx.x == 0) ring.initialise ();
  if (P::CLUSTER > 1) ms_cluster_sync (); // nobody copies into a block whose barriers are not there
  else __syncthreads ();
  if (group == P::GROUPS) {
    if constexpr (P::REGS > 0) ms_warpgroup_registers_less<40> ();
    if (warp == 4 * P::GROUPS && lane == 0) tiled_produce (p, ring, first, clusters, rank);
    __syncwarp ();
  } else {
    if constexpr (P::REGS > 0) ms_warpgroup_registers_more<P::REGS> ();
    tiled_consume (p, ring, first, clusters, rank, group, lane);
  }
  if (P::CLUSTER > 1) ms_cluster_sync (); // others may still copy or arrive here
}
