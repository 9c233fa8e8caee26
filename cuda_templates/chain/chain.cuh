// Chained matmuls, O = f (A B1) B2 summed over a loop that walks columns of B1 and rows of B2: scores, exponentials and
// the result stay in registers. P, printed by emit_chain.c, has the shapes, the tiling and the elementwise parts:
//   type                 of A, B1 and B2, 16 bits wide
//   D, DV                the contracted extent of the first matmul, columns of the second
//   LOOP, RAGGED         the loop's extent in one block, and whether a tile of NT may be cut by its end
//   WM, WN, NT, S, ST    warpgroups along rows and along the loop, columns of B1 a tile, blocks that share the loop,
//   stages HELPER               1: one more warpgroup copies and prepares tiles; 0: the others do so while the matrix
//   units work STABLE, PLAIN        exponentials are taken of exponent () minus a running maximum of the row; nothing
//   else is multiplied or summed STATS, DEGREE, degree (k, f)   sums along the row; the power of the row's scale that O
//   and sum k carry, as a factor fixed ()             values a row that do not change over the loop, and changes of A
//   exponent (s, fix)    in powers of 2; plain: linear in s and growing
//   element (s, e, fix, x)         the operand of the second matmul for score s and exponential e; adds to the sums x
//   A_MAP, FIXED         whether fixed () changes A; its results
//   B1_MAP, B1_NORM, b1 (x, b1_factor (mean square of the row)), and the same of B2   elementwise changes of B1 and B2,
//   as stored B1_TURNED, B2_TURNED what is stored is the transpose: a row is a column of B1 (B2) B1_SCALE B1 is changed
//   by b1_factor alone, which goes to the columns of the scores instead B2_SCALE             the same of B2, to the
//   columns of the second matmul's left operand finish (context, row, column, o, o of the next column, sums)      what
//   follows the loop; writes the outputs
//
// A warpgroup owns 64 rows; WM of them stand along the rows, WN take turns at the tiles of the loop; the S blocks of a
// cluster share the loop. A thread holds rows g and g + 8 of its warp's 16 (g = lane / 4) and columns 2 t, 2 t + 1 of
// every 8 (t = lane % 4): the accumulator fragment of one matmul is the operand fragment of the next.
//
// A tile in shared memory: rows of 128 bytes (64 columns), the 16-byte unit u of row r at u ^ r % 8; a tile of more
// columns is several of those one after the other. It is what the copy engine writes, wgmma and ldmatrix read.

template <class P> struct chain_shape {
  static constexpr int groups = P::WM * P::WN, threads = 128 * groups; // helper aside
  static constexpr bool b1_changed = P::B1_MAP && !P::B1_SCALE,
                        b2_changed = P::B2_MAP && !P::B2_SCALE; // tiles, before they are multiplied
  static constexpr bool changed = b1_changed || b2_changed, scales = P::B1_SCALE || P::B2_SCALE,
                        prepared = changed || scales;
  static constexpr int steps = (P::D + 15) / 16;                             // of the first contraction
  static constexpr int chunks = (P::DV + 7) / 8, blocks = (P::DV + 63) / 64; // 8, 64 columns of the result
  static constexpr int b1_chunk = P::B1_TURNED ? P::NT * 128 : steps * 2048,
                       b2_chunk = P::B2_TURNED ? (P::DV + 15) / 16 * 2048 : P::NT * 128; // bytes, of 64 columns
  static constexpr int b1_bytes = (P::B1_TURNED ? (P::D + 63) / 64 : P::NT / 64) * b1_chunk,
                       b2_bytes = (P::B2_TURNED ? P::NT / 64 : blocks) * b2_chunk;
  static constexpr int stage = b1_bytes + b2_bytes;
  static constexpr int a_bytes = (P::D + 63) / 64 * 8192; // of 64 rows
  // A partial result of a row: units of 16 bytes, 4 for every 4 chunks, then its scale, its maximum and the sums.
  static constexpr int parts = P::WN * P::S, units = (chunks + 3) / 4 * 4, beside = (2 + P::STATS + 3) / 4,
                       row_bytes = (units + beside) * 16;
  static constexpr int share = (P::WM * 64 + P::S - 1) / P::S; // rows that a block of the cluster finishes
  static constexpr int at_a = P::ST * stage, at_a_end = at_a + P::WM * a_bytes;
  static constexpr int at_partial = P::S > 1 ? at_a_end : 0; // alone: where the tiles were, when those are used up
  static constexpr int at_partial_end = at_partial + (parts > 1 ? parts * share * row_bytes : 0);
  static constexpr int at_scales = at_partial_end > at_a_end ? at_partial_end : at_a_end;
  // Column factors of every tile, where that is little: a place that is not used again needs no waiting for its
  // readers.
  static constexpr int scale_bytes = P::NT * ((P::B1_SCALE ? 4 : 0) + (P::B2_SCALE ? 2 : 0)); // of a tile; B1's first
  static constexpr int tiles = ((P::LOOP + P::NT - 1) / P::NT + P::S - 1) / P::S,
                       scaled = tiles * scale_bytes <= 8192 ? tiles : P::ST;
  static constexpr int at_barriers = (at_scales + scaled * scale_bytes + 7) / 8 * 8;
  static constexpr int bytes = at_barriers + 8 * (3 * P::ST + 1);
};

// How large an exponential may become before the maximum is raised, which is dear, and how far below 1 (in powers of 2)
// the largest one then starts: far from overflow, and small enough ones lose nothing that counts.
template <class T> struct chain_range;
template <> struct chain_range<ms_f16> { static constexpr float high = 32768.0f, margin = 8.0f; };
template <> struct chain_range<ms_bf16> { static constexpr float high = 1.1529215e18f, margin = 0.0f; };
template <int degree> MS_DEVICE float chain_power (float x) {
  float y = 1.0f;
#pragma unroll
  for (int i = 0; i < degree; i++) y *= x;
  return y;
}

// Sums of squares of rows g and g + 8.
template <class T, int N> MS_DEVICE void chain_squares (const unsigned (&a)[N][4], float (&y)[2]) {
  y[0] = y[1] = 0.0f;
#pragma unroll
  for (int k = 0; k < N; k++)
#pragma unroll
    for (int e = 0; e < 4; e++) {
      const float low = ms_low<T> (a[k][e]), high = ms_high<T> (a[k][e]);
      y[e & 1] += low * low + high * high;
    }
  y[0] = ms_quad_sum (y[0]);
  y[1] = ms_quad_sum (y[1]);
}

// Rows g and g + 8 of a warp's 16 as operand fragments. Rows beyond `rows` and columns beyond D are zero.
template <class P>
MS_DEVICE void chain_load_a (unsigned (&a)[chain_shape<P>::steps][4], const typename P::type *from, int row, int rows) {
  const int t = threadIdx.x & 3;
#pragma unroll
  for (int k = 0; k < chain_shape<P>::steps; k++)
#pragma unroll
    for (int e = 0; e < 4; e++) {
      const int r = row + (e & 1) * 8, c = k * 16 + (e >> 1) * 8 + 2 * t;
      const typename P::type *p = from + (long long) r * P::D + c;
      a[k][e] = 0;
      if (r < rows && c < P::D) {
        if constexpr (P::D % 2 == 0) a[k][e] = ms_load_constant (p);
        else a[k][e] = p[0].bits | (c + 1 < P::D ? (unsigned) p[1].bits << 16 : 0u);
      }
    }
}

// The same rows for wgmma: read by all warps but the one that starts the copies, and put into shared memory as tiles of
// 64 rows.
template <class P> MS_DEVICE void chain_rows (unsigned char *to, const typename P::type *from, int rows) {
  typedef chain_shape<P> L;
  constexpr int skipped = P::HELPER ? 0 : 32, threads = L::threads - skipped, units = L::steps * 2,
                total = P::WM * 64 * units, each = (total + threads - 1) / threads;
  uint4 v[each];
#pragma unroll
  for (int i = 0; i < each; i++) {
    const int e = i * threads + (int) threadIdx.x - skipped, r = e / units, u = e % units;
    const typename P::type *p = from + (long long) r * P::D + u * 8;
    const bool there = e < total && r < rows && u * 8 < P::D;
    if constexpr (P::D % 8 == 0) ms_load_constant_if (v[i], p, there);
    else {
      unsigned w[8];
#pragma unroll
      for (int j = 0; j < 8; j++) w[j] = there && u * 8 + j < P::D ? p[j].bits : 0;
      v[i] = make_uint4 (w[0] | w[1] << 16, w[2] | w[3] << 16, w[4] | w[5] << 16, w[6] | w[7] << 16);
    }
  }
#pragma unroll
  for (int i = 0; i < each; i++) {
    const int e = i * threads + (int) threadIdx.x - skipped, r = e / units, u = e % units;
    if (e < total) *(uint4 *) ms_tile_at (to, r, u, 8192, L::a_bytes) = v[i];
  }
}

// The operand of the second matmul from the scores of one tile, and what is summed along the rows. first: nothing has
// been accumulated yet; cut: only columns below `valid` exist; scales: column factors of the scores (B1_SCALE), then of
// the operand (SCALED), there after wait (). True when what is accumulated has to be multiplied by f.
template <class P, bool SCALED, class WAIT>
MS_DEVICE bool chain_operand (float (&s)[P::NT / 2], float (&f)[2], unsigned (&p)[P::NT / 16][4], float (&m)[2],
                              float (&sum)[2][P::STATS > 0 ? P::STATS : 1],
                              const float (&fix)[2][P::FIXED > 0 ? P::FIXED : 1], bool first, bool cut, int valid,
                              const unsigned char *scales, WAIT wait) {
  typedef typename P::type T;
  typedef chain_range<T> range;
  constexpr int NT = P::NT, STATS = P::STATS;
  const int t = threadIdx.x & 3;
  bool raised = false;
  if constexpr (P::B1_SCALE) {
    wait ();
#pragma unroll
    for (int c = 0; c < NT / 8; c += 2) {
      const float4 x = ((const float4 *) scales)[t * (NT / 16) + c / 2];
      s[4 * c] *= x.x, s[4 * c + 1] *= x.y, s[4 * c + 2] *= x.x, s[4 * c + 3] *= x.y;
      s[4 * c + 4] *= x.z, s[4 * c + 5] *= x.w, s[4 * c + 6] *= x.z, s[4 * c + 7] *= x.w;
    }
  }
  // Columns 8 c + 2 t and the next one, of rows g and g + 8.
  auto put = [&] (int c, const float (&v)[4]) {
#pragma unroll
    for (int h = 0; h < 2; h++) p[c / 2][c % 2 * 2 + h] = ms_pack<T> (v[2 * h], v[2 * h + 1]);
  };
  if constexpr (P::STABLE) {
    if (P::PLAIN && cut) {
#pragma unroll
      for (int c = 0; c < NT / 2; c++)
        if ((c >> 2) * 8 + 2 * t + (c & 1) >= valid) s[c] = -MS_INF;
    }
    // The exact maximum, and everything accumulated brought to it.
    auto raise = [&] () {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        float top = -1e30f;
#pragma unroll
        for (int c = 0; c < NT / 8; c++)
#pragma unroll
          for (int e = 0; e < 2; e++) {
            const float x = s[4 * c + 2 * h + e];
            if (P::PLAIN) top = c + e ? fmaxf (top, x) : x; // the argument grows with the score
            else if (!cut || c * 8 + 2 * t + e < valid) top = fmaxf (top, P::exponent (x, fix[h]));
          }
        top = P::PLAIN ? P::exponent (ms_quad_max (top), fix[h]) + range::margin : ms_quad_max (top);
        if (!(top > m[h])) top = m[h]; // not lowered
        const float x = ms_exp2 (m[h] - top);
        m[h] = top;
#pragma unroll
        for (int k = 0; k < STATS; k++) sum[h][k] *= P::degree (k, x);
        f[h] = chain_power<P::DEGREE> (x);
      }
      ms_keep (s); // or the products above would be kept for what follows, in registers that do not exist
      raised = true;
    };
    float x[2][STATS > 0 ? STATS : 1];
    // Whether an exponential came out large: then the maximum is raised. One that is a little too small does no harm.
    auto exponentials = [&] () {
      unsigned top2 = 0;
      float top = 0.0f;
#pragma unroll
      for (int k = 0; k < STATS; k++) x[0][k] = x[1][k] = 0.0f;
#pragma unroll
      for (int c = 0; c < NT / 8; c++) {
        float v[4];
#pragma unroll
        for (int e = 0; e < 4; e++) {
          const float y = ms_exp2 (P::exponent (s[4 * c + e], fix[e >> 1]) - m[e >> 1]);
          if (P::PLAIN || !cut || c * 8 + 2 * t + (e & 1) < valid) {
            v[e] = P::element (s[4 * c + e], y, fix[e >> 1], x[e >> 1]);
            if (!P::PLAIN) top = fmaxf (top, y);
          } else v[e] = 0.0f;
        }
        put (c, v);
        if (P::PLAIN && STATS == 0)
          top2 = ms_pair_max<T> (top2, ms_pair_max<T> (p[c / 2][c % 2 * 2], p[c / 2][c % 2 * 2 + 1]));
      }
      if (P::PLAIN)
        top =
            STATS > 0 ? fmaxf (x[0][0], x[1][0]) : fmaxf (ms_low<T> (top2), ms_high<T> (top2)); // none exceeds the sum
      return __any_sync (0xffffffffu, top > (P::PLAIN ? range::high : 256.0f));
    };
    if (first) raise ();
    const bool high = exponentials ();
    ms_keep (s);
    if (high) {
      raise ();
      exponentials ();
    }
#pragma unroll
    for (int h = 0; h < 2; h++)
#pragma unroll
      for (int k = 0; k < STATS; k++) sum[h][k] += x[h][k];
  } else {
#pragma unroll
    for (int c = 0; c < NT / 8; c++) {
      float v[4];
#pragma unroll
      for (int e = 0; e < 4; e++) {
        v[e] = 0.0f;
        if (!cut || c * 8 + 2 * t + (e & 1) < valid) v[e] = P::element (s[4 * c + e], 0.0f, fix[e >> 1], sum[e >> 1]);
      }
      put (c, v);
    }
  }
  if constexpr (SCALED) {
    if (!P::B1_SCALE) wait ();
#pragma unroll
    for (int i = 0; i < NT / 32; i++) {
      const uint4 y = ((const uint4 *) (scales + (P::B1_SCALE ? NT * 4 : 0)))[t * (NT / 32) + i];
      const unsigned scale[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
      for (int e = 0; e < 8; e++) p[2 * i + e / 4][e % 4] = ms_pair_multiply<T> (p[2 * i + e / 4][e % 4], scale[e / 2]);
    }
  }
  return raised;
}
template <class P> MS_DEVICE void chain_rescale (float (&o)[chain_shape<P>::chunks * 4], const float (&f)[2]) {
#pragma unroll
  for (int i = 0; i < chain_shape<P>::chunks * 4; i++) o[i] *= f[i >> 1 & 1];
}

// A tile changed in place, by `warps` warps: its elements become map (x, row, column, factor of the row); columns count
// from the first of the tile, CHUNK bytes hold 64 of them. With NORM, two threads have a row, of which factor () gets
// the mean square.
template <class T, int CHUNK, int BYTES, int COLUMNS, bool NORM, int warps, class FACTOR, class MAP>
MS_DEVICE void chain_map (unsigned char *tile, int warp, FACTOR factor, MAP map) {
  constexpr int blocks = BYTES / CHUNK;
  const int lane = threadIdx.x & 31, half = lane & 1;
  auto change = [&] (uint4 v, int r, int u, float f) {
    unsigned w[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int j = 0; j < 4; j++)
      w[j] = ms_pack<T> (map (ms_low<T> (w[j]), r, u * 8 + 2 * j, f), map (ms_high<T> (w[j]), r, u * 8 + 2 * j + 1, f));
    return make_uint4 (w[0], w[1], w[2], w[3]);
  };
  if constexpr (NORM) {
    for (int r = warp * 16 + (lane >> 1); r < CHUNK / 128; r += 16 * warps) {
      uint4 v[blocks][4];
      float sum = 0.0f;
      auto at = [&] (int c, int u) { return (uint4 *) ms_tile_at (tile + c * CHUNK, r, half * 4 + u); };
#pragma unroll
      for (int c = 0; c < blocks; c++)
#pragma unroll
        for (int u = 0; u < 4; u++) {
          v[c][u] = *at (c, u);
          const unsigned w[4] = {v[c][u].x, v[c][u].y, v[c][u].z, v[c][u].w};
#pragma unroll
          for (int j = 0; j < 4; j++) {
            const float low = ms_low<T> (w[j]), high = ms_high<T> (w[j]);
            sum += low * low + high * high;
          }
        }
      sum += __shfl_xor_sync (0xffffffffu, sum, 1);
      const float f = factor (sum / COLUMNS);
#pragma unroll
      for (int c = 0; c < blocks; c++)
#pragma unroll
        for (int u = 0; u < 4; u++) *at (c, u) = change (v[c][u], r, c * 8 + half * 4 + u, f);
    }
  } else
    for (int e = warp * 32 + lane; e < BYTES / 16; e += 32 * warps) {
      const int c = e / (CHUNK / 16), r = e % (CHUNK / 16) / 8;
      uint4 *at = (uint4 *) (tile + e * 16);
      *at = change (*at, r, c * 8 + (e & 7 ^ r & 7), 0.0f);
    }
}

// B1 and B2 of one stage. Rows of B2 from `valid` on are zero.
template <class P, int warps> MS_DEVICE void chain_prepare (unsigned char *stage, int warp, int valid) {
  typedef typename P::type T;
  typedef chain_shape<P> L;
  if constexpr (L::b1_changed)
    chain_map<T, L::b1_chunk, L::b1_bytes, P::D, P::B1_NORM, warps> (
        stage, warp, P::b1_factor, [&] (float x, int, int, float f) { return P::b1 (x, f); });
  if constexpr (L::b2_changed)
    chain_map<T, L::b2_chunk, L::b2_bytes, P::DV, P::B2_NORM, warps> (
        stage + L::b1_bytes, warp, P::b2_factor, [&] (float x, int r, int column, float f) {
          return !P::RAGGED || (P::B2_TURNED ? column : r) < valid ? P::b2 (x, f) : 0.0f;
        });
}

// The norms of the rows of B1 of one stage, by `warps` warps: factors of the columns of the scores, as the threads of a
// row read them. They change exponents, so nothing is rounded: sums of squares are the diagonal of the tile times its
// transpose.
template <class P, int warps> MS_DEVICE void chain_b1_scales (unsigned tile, float *scales, int warp, int valid) {
  typedef typename P::type T;
  const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
#pragma unroll 1
  for (int r = warp * 16; r < P::NT; r += 16 * warps) {
    float low[4] = {}, high[4] = {}; // products of rows 0 to 7, and of 8 to 15
#pragma unroll 4
    for (int k = 0; k < (P::D + 15) / 16; k++) {
      const int row = r + (lane & 15), u = 2 * k + (lane >> 4);
      unsigned a[4];
      ms_warp_ldmatrix (a, ms_tile_at (tile, row, u, chain_shape<P>::b1_chunk));
      ms_warp_mma<T> (low, a, {a[0], a[2]});
      ms_warp_mma<T> (high, a, {a[1], a[3]});
    }
    if (g >> 1 == t) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const float sum = h ? g & 1 ? high[3] : high[2] : g & 1 ? low[1] : low[0];
        scales[((g >> 1) * (P::NT / 8) + r / 8 + h) * 2 + (g & 1)] =
            !P::RAGGED || r + g + 8 * h < valid ? P::b1_factor (sum / P::D) : 0.0f;
      }
    }
  }
}

// The norms of the rows of B2 of one stage, by `warps` warps: factors that go to the columns of the left operand.
// Squares are summed as 16-bit numbers, a few at a time. Where a mean is far from 1 those would overflow or lose
// digits, as would the factor: there the sum is taken anew and the factor's power of 2 stays in B2.
template <class P, int warps>
MS_DEVICE void chain_scales (unsigned char *stage, typename P::type *scales, int warp, int valid) {
  typedef typename P::type T;
  typedef chain_shape<P> L;
  constexpr int parts = 32 * warps < 2 * P::NT ? 1 : 2, units = 8 * L::blocks / parts; // threads a row, 16 bytes each
  const int thread = warp * 32 + (threadIdx.x & 31), part = thread % parts;
  for (int r = thread / parts; r < P::NT; r += 32 * warps / parts) {
    const bool present = !P::RAGGED || r < valid;
    auto unit = [&] (int u) {
      u += part * units;
      return (uint4 *) ms_tile_at (stage + L::b1_bytes, r, u, L::b2_chunk);
    };
    auto mean_of = [&] (float sum) {
      return (parts == 1 ? sum : sum + __shfl_xor_sync (0xffffffffu, sum, 1)) * (1.0f / P::DV);
    };
    float sum = 0.0f;
#pragma unroll 4
    for (int u = 0; u < units; u++) {
      const uint4 w = *unit (u);
      const unsigned x = ms_pair_fma<T> (
          w.w, w.w, ms_pair_fma<T> (w.z, w.z, ms_pair_fma<T> (w.y, w.y, ms_pair_multiply<T> (w.x, w.x))));
      sum += ms_low<T> (x) + ms_high<T> (x);
    }
    float mean = mean_of (sum), power = 1.0f;
    const bool far = present && !(mean > 0.015625f && mean < 64.0f);
    if (__any_sync (0xffffffffu, far)) {
      sum = 0.0f;
#pragma unroll 1
      for (int u = 0; u < units; u++) {
        const unsigned *w = (const unsigned *) unit (u);
        for (int j = 0; j < 4; j++) sum += ms_low<T> (w[j]) * ms_low<T> (w[j]) + ms_high<T> (w[j]) * ms_high<T> (w[j]);
      }
      mean = mean_of (sum);
      const float x = P::b2_factor (mean);
      if (far && x < MS_INF) {
        const int exponent = __float_as_int (x) & 0x7f800000;
#pragma unroll 1
        for (int u = 0; u < units; u++) {
          unsigned *w = (unsigned *) unit (u);
          for (int j = 0; j < 4; j++)
            w[j] = ms_pack<T> (ms_low<T> (w[j]) * __int_as_float (exponent),
                               ms_high<T> (w[j]) * __int_as_float (exponent));
        }
        ms_fence_async ();
        power = __int_as_float (0x7f000000 - exponent); // its inverse
      }
    }
    // As the threads of a row read them: columns 2 t, 2 t + 1 of every 8.
    if (part == 0)
      scales[((r % 8 >> 1) * (P::NT / 8) + r / 8) * 2 + (r & 1)] =
          ms_round<T> (present ? P::b2_factor (mean) * power : 0.0f);
  }
}

// The block's threads but those of the helper.
template <class P> MS_DEVICE void chain_sync () { ms_warps_sync (1, chain_shape<P>::threads); }

// Brings together what the warpgroups of a block and the blocks of a cluster accumulated for the same rows, and
// finishes the rows. Partial results travel as halves beside a scale a row: every element keeps 11 bits.
template <class P>
MS_DEVICE void chain_gather (unsigned char *smem, unsigned base, unsigned gathered,
                             const float (&o)[chain_shape<P>::chunks * 4], const float (&m)[2],
                             const float (&sum)[2][P::STATS > 0 ? P::STATS : 1], int rows, int rank,
                             const typename P::context &context) {
  typedef chain_shape<P> L;
  constexpr int WM = P::WM, WN = P::WN, S = P::S, STATS = P::STATS, chunks = L::chunks;
  const int tid = threadIdx.x, t = tid & 3, group = __shfl_sync (0xffffffffu, tid >> 7, 0);
  const int row = group % WM * 64 + (tid >> 5 & 3) * 16 + (tid >> 2 & 7), part = rank * WN + group / WM;
  if constexpr (L::parts == 1) {
    ms_wait_inputs (); // before anything is written to device memory
#pragma unroll
    for (int c = 0; c < chunks; c++)
#pragma unroll
      for (int h = 0; h < 2; h++)
        if (row + 8 * h < rows && c * 8 + 2 * t < P::DV)
          P::finish (context, row + 8 * h, c * 8 + 2 * t, o[4 * c + 2 * h], o[4 * c + 2 * h + 1], sum[h]);
    return;
  }
  if (S > 1) ms_cluster_wait (); // the others have initialised their barriers
  else chain_sync<P> ();         // the tiles are used up
#pragma unroll
  for (int h = 0; h < 2; h++) {
    float scale = 0.0f;
#pragma unroll
    for (int c = 0; c < chunks; c++)
      scale = fmaxf (scale, fmaxf (fabsf (o[4 * c + 2 * h]), fabsf (o[4 * c + 2 * h + 1])));
    scale = fmaxf (ms_quad_max (scale), 1e-30f);
    const float inverse = ms_div (1.0f, scale);
    const int r = row + 8 * h, at = L::at_partial + (part * L::share + r % L::share) * L::row_bytes;
    const bool mine = S == 1 || r / L::share == rank;
    const unsigned to = S > 1 ? ms_cluster_address (base, r / L::share) : base;
    auto put = [&] (int unit, const unsigned (&w)[4]) {
      if (!mine) ms_cluster_send (to + at + unit * 16, to + (gathered - base), w[0], w[1], w[2], w[3]);
      else *(uint4 *) (smem + at + unit * 16) = make_uint4 (w[0], w[1], w[2], w[3]);
    };
#pragma unroll
    for (int u = 0; u < L::units; u += 4) {
      unsigned w[4] = {};
#pragma unroll
      for (int j = 0; j < 4; j++)
        if (u + j < chunks)
          w[j] = ms_pack<ms_f16> (o[4 * (u + j) + 2 * h] * inverse, o[4 * (u + j) + 2 * h + 1] * inverse);
      put (u + t, w);
    }
#pragma unroll
    for (int u = 0; u < L::beside; u++) {
      unsigned w[4] = {};
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const int i = 4 * u + j;
        if (i < 2 + STATS) w[j] = __float_as_int (i == 0 ? scale : i == 1 ? m[h] : sum[h][i > 2 ? i - 2 : 0]);
      }
      if (t == u) put (L::units + u, w);
    }
  }
  chain_sync<P> ();
  if (S > 1) ms_barrier_wait (gathered, 0);
  ms_wait_inputs (); // before anything is written to device memory

  const int first = rank * L::share, some = min (min (L::share, WM * 64 - first), rows - first);
  for (int e = tid; e < some * L::units; e += L::threads) {
    const int r = e / L::units, u = e % L::units;
    const unsigned char *from = smem + L::at_partial + r * L::row_bytes;
    auto beside = [&] (int k, int i) {
      return ((const float *) (from + k * L::share * L::row_bytes + L::units * 16))[i];
    };
    float top = -MS_INF, acc[8] = {}, total[STATS > 0 ? STATS : 1] = {};
    if (P::STABLE)
#pragma unroll 8
      for (int k = 0; k < L::parts; k++) top = fmaxf (top, beside (k, 1));
#pragma unroll 8
    for (int k = 0; k < L::parts; k++) {
      const float factor = P::STABLE ? ms_exp2 (beside (k, 1) - top) : 1.0f,
                  scale = beside (k, 0) * chain_power<P::DEGREE> (factor);
#pragma unroll
      for (int j = 0; j < STATS; j++) total[j] += beside (k, 2 + j) * P::degree (j, factor);
      const uint4 v = *(const uint4 *) (from + k * L::share * L::row_bytes + u * 16);
      const unsigned bits[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int j = 0; j < 4; j++) {
        acc[2 * j] += scale * ms_low<ms_f16> (bits[j]);
        acc[2 * j + 1] += scale * ms_high<ms_f16> (bits[j]);
      }
    }
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const int column = (u / 4 * 4 + j) * 8 + 2 * (u & 3);
      if (column < P::DV) P::finish (context, first + r, column, acc[2 * j], acc[2 * j + 1], total);
    }
  }
}

template <class P>
MS_DEVICE void chain_wgmma (unsigned char *smem, const typename P::type *a, int rows, const ms_tensor_map *b1, int z1,
                            const ms_tensor_map *b2, int z2, int column, int start, int length, int rank,
                            const typename P::context &context) {
  typedef chain_shape<P> L;
  typedef typename P::type T;
  constexpr int NT = P::NT, ST = P::ST, WM = P::WM, WN = P::WN, S = P::S, STATS = P::STATS, HELPER = P::HELPER;
  // Without a helper: rounds after which a tile is refilled, later if enough are in flight; rounds before which one is
  // prepared.
  constexpr int lag = L::changed || ST < 4 * WN ? 0 : 1, ahead = L::changed ? WM + 1 : 1;
  const int tid = threadIdx.x, lane = tid & 31;
  const int warp = __shfl_sync (0xffffffffu, tid >> 5, 0), group = warp >> 2, wm = WN > 1 ? group % WM : group,
            wn = WN > 1 ? group / WM : 0;
  const int row = wm * 64 + (warp & 3) * 16 + (lane >> 2);
  const unsigned base = __shfl_sync (0xffffffffu, ms_shared_address (smem), 0);
  const unsigned full = base + L::at_barriers, empty = full + 8 * ST, ready = empty + 8 * ST, gathered = ready + 8 * ST;
  const int all = (length + NT - 1) / NT, first = (int) ((long long) all * rank / S),
            tiles = (int) ((long long) all * (rank + 1) / S) - first;
  constexpr bool alone =
      !HELPER && WM == 1 && L::scales && !L::changed; // nobody else uses the tiles of a warpgroup: its own barrier does
  const bool leader = (tid & 127) == 0;

  auto copy = [&] (int i) {
    const int slot = i % ST, x = start + (first + i) * NT;
    const unsigned to = base + slot * L::stage, barrier = full + 8 * slot;
    ms_barrier_expect (barrier, L::stage);
#pragma unroll
    for (int c = 0; c < L::b1_bytes / L::b1_chunk; c++)
      ms_copy_box (to + c * L::b1_chunk, b1, c * 64 + (P::B1_TURNED ? 0 : x), P::B1_TURNED ? x : 0, z1, barrier);
#pragma unroll
    for (int c = 0; c < L::b2_bytes / L::b2_chunk; c++)
      ms_copy_box (to + L::b1_bytes + c * L::b2_chunk, b2, c * 64 + (P::B2_TURNED ? x : column),
                   P::B2_TURNED ? column : x, z2, barrier);
  };
  ms_launch_dependents ();
  // With a helper few tiles first: what is needed soon does not share the memory with what is needed late.
  constexpr int early = HELPER && 2 * WN < ST ? 2 * WN : ST;
  if (warp == HELPER * 4 * L::groups) { // copies are under way while other warps fetch A
    if (lane == 0) {
      ms_prefetch_map (b1);
      ms_prefetch_map (b2);
      const int received = min (L::share, WM * 64 - rank * L::share);
      for (int s = 0; s < ST; s++) {
        ms_barrier_init (full + 8 * s, 1);
        ms_barrier_init (empty + 8 * s, WM * 4);
        ms_barrier_init (ready + 8 * s, HELPER ? 32 : 128);
      }
      ms_barrier_init (gathered, 1);
      ms_barrier_init_fence ();
      if (S == 1) {
      } else if (received > 0) ms_barrier_expect (gathered, (L::parts - WN) * received * L::row_bytes);
      else ms_barrier_arrive (gathered);
      for (int i = 0; i < early && i < tiles; i++) copy (i);
    }
    __syncwarp ();
  } else if (!HELPER || group < L::groups) {
    chain_rows<P> (smem + L::at_a, a, rows);
    ms_fence_async ();
  }
  __syncthreads ();
  if (S > 1) ms_cluster_arrive ();

  // Tile i made ready by one warp of the helper, or by one of the warpgroups that use it: elements changed in place, or
  // norms of the rows of B2.
  auto prepare = [&] (int i) {
    if constexpr (L::prepared) {
      constexpr int warps = HELPER ? 1 : 4;
      const int slot = i % ST, valid = length - (first + i) * NT, at = HELPER ? 0 : warp & 3;
      ms_barrier_wait (full + 8 * slot, i / ST & 1);
      unsigned char *scales = smem + L::at_scales + i % L::scaled * L::scale_bytes;
      if constexpr (P::B1_SCALE) chain_b1_scales<P, warps> (base + slot * L::stage, (float *) scales, at, valid);
      if constexpr (P::B2_SCALE)
        chain_scales<P, warps> (smem + slot * L::stage, (T *) (scales + (P::B1_SCALE ? NT * 4 : 0)), at, valid);
      if constexpr (L::changed) {
        chain_prepare<P, warps> (smem + slot * L::stage, at, valid);
        ms_fence_async ();
      }
      if (!alone) ms_barrier_arrive (ready + 8 * slot); // every thread for what it wrote itself
      __syncwarp ();
    }
  };
  auto refill = [&] (int i) { // tile i, once the one before it in its place is used up
    if (i >= ST) ms_barrier_wait (empty + 8 * (i % ST), i / ST - 1 & 1);
    copy (i);
  };
  if constexpr (HELPER) { // most registers go to the others
    constexpr int launched = 65536 / (L::threads + 128) / 8 * 8,
                  left = (launched * (L::threads + 128) - 32 * 128) / L::threads / 8 * 8;
    if (group == L::groups) {
      ms_warpgroup_registers_less<32> ();
      if ((warp & 3) == 0 && lane == 0 && early < tiles) {
        ms_barrier_wait (full, 0);
        for (int i = early; i < tiles; i++) refill (i);
      }
      // The warps take turns, but each waits for every tile: copies may end out of order, and a barrier tells a phase
      // from the next one only.
      for (int i = 0; warp & 3 && i < tiles && L::prepared; i++)
        if (i % 3 == (warp & 3) - 1) prepare (i);
        else ms_barrier_wait (full + 8 * (i % ST), i / ST & 1);
      return;
    }
    ms_warpgroup_registers_more < left<240 ? left : 240> ();
  }

  float fix[2][P::FIXED > 0 ? P::FIXED : 1]; // per-row values that do not change over the loop
  const unsigned a_tile = base + L::at_a + wm * L::a_bytes;
  if constexpr (P::A_MAP || P::FIXED) {
    unsigned q[L::steps][4];
#pragma unroll
    for (int k = 0; k < L::steps; k++) {
      const int r = (warp & 3) * 16 + (lane & 15), u = 2 * k + (lane >> 4);
      ms_warp_ldmatrix (q[k], ms_tile_at (a_tile, r, u, 8192));
    }
    P::fixed (fix, q, row, rows, context);
    if constexpr (P::A_MAP) { // warpgroups in turns at the tiles share the rows
      chain_sync<P> ();
#pragma unroll
      for (int k = 0; k < L::steps; k++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
          const int r = (warp & 3) * 16 + (lane >> 2) + (e & 1) * 8, u = 2 * k + (e >> 1);
          if (wn == 0)
            *(unsigned *) (ms_tile_at (smem + L::at_a + wm * L::a_bytes, r, u, 8192) + 4 * (lane & 3)) = q[k][e];
        }
      ms_fence_async ();
      chain_sync<P> ();
    }
  }

  const unsigned arrived = L::changed ? ready : full;
  if (L::prepared && !HELPER)
    for (int r = wm; r < ahead; r += WM)
      if (wn + r * WN < tiles) prepare (wn + r * WN);

  float s[NT / 2], o[L::chunks * 4], m[2] = {-1e30f, -1e30f}, sum[2][STATS > 0 ? STATS : 1] = {};
  unsigned p[NT / 16][4], slot = wn, parity = 0;
#pragma unroll
  for (int i = 0; i < L::chunks * 4; i++) o[i] = 0.0f;
  ms_keep (o);
  auto scores = [&] () {
    const unsigned to = ms_tile_address16 (a_tile), d = ms_tile_address16 (base + slot * L::stage);
    auto left = [&] (int k) { return ms_tile_descriptor (to + k / 4 * 512 + k % 4 * 2, 16); };
    auto right = [&] (int k) {
      return P::B1_TURNED ? ms_tile_descriptor (d + k / 4 * (L::b1_chunk >> 4) + k % 4 * 2, 16)
                          : ms_tile_descriptor (d + k * 128, L::b1_chunk);
    };
    ms_wgmma_fence ();
    ms_wgmma<T, NT>::template first<P::B1_TURNED> (s, left (0), right (0));
#pragma unroll
    for (int k = 1; k < L::steps; k++) ms_wgmma<T, NT>::template add<P::B1_TURNED> (s, left (k), right (k));
    ms_wgmma_commit ();
  };
  auto operand = [&] (int i, float (&f)[2], bool begin) {
    const int valid = length - (first + i) * NT; // columns of B1 in this tile
    auto wait = [&] () {
      if (alone) ms_warps_sync (2 + group, 128);
      else ms_barrier_wait (ready + 8 * slot, parity);
    };
    return chain_operand<P, P::B2_SCALE> (s, f, p, m, sum, fix, begin, P::RAGGED && valid < NT, valid,
                                          smem + L::at_scales + i % L::scaled * L::scale_bytes, wait);
  };
  if (wn < tiles) {
    float f[2];
    ms_barrier_wait (arrived + 8 * slot, 0);
    scores ();
    ms_wgmma_wait ();
    ms_keep (s);
    operand (wn, f, true);
  }
#pragma unroll 1
  for (int i = wn, r = 0; i < tiles; i += WN, r++) { // the result of tile i, scores and operand of the next one
    const bool more = i + WN < tiles;
    const unsigned now = slot, d = ms_tile_address16 (base + slot * L::stage + L::b1_bytes);
    slot += WN;
    if (slot >= ST) slot -= ST, parity ^= 1;
    ms_wgmma_fence ();
#pragma unroll
    for (int k = 0; k < NT / 16; k++)
      ms_wgmma<T, L::chunks * 8>::template add<P::B2_TURNED> (
          o, p[k],
          P::B2_TURNED ? ms_tile_descriptor (d + k / 4 * (L::b2_chunk >> 4) + k % 4 * 2, 16)
                       : ms_tile_descriptor (d + k * 128, L::b2_chunk));
    ms_wgmma_commit ();
    if (more) {
      ms_barrier_wait (arrived + 8 * slot, parity);
      scores ();
    }
    const bool refills = !HELPER && leader && r >= lag && r % WM == wm && i - lag * WN + ST < tiles;
    const bool prepares = L::prepared && !HELPER && (r + ahead) % WM == wm && i + ahead * WN < tiles;
    if (lag && refills) refill (i - lag * WN + ST); // while the matrix units work
    __syncwarp ();
    if (!L::changed && prepares) prepare (i + ahead * WN);
    ms_wgmma_wait ();
    ms_keep (s);
    ms_keep (o);
#pragma unroll
    for (int k = 0; k < NT / 16; k++) ms_keep (p[k]);
    if (lane == 0) ms_barrier_arrive (empty + 8 * now);
    if (!lag && refills) refill (i + ST);
    __syncwarp ();
    if (L::changed && prepares) prepare (i + ahead * WN);
    if (more) {
      float f[2];
      if (operand (i + WN, f, false)) chain_rescale<P> (o, f);
    }
  }
#pragma unroll
  for (int h = 0; h < 2; h++)
#pragma unroll
    for (int k = 0; k < STATS; k++) sum[h][k] = ms_quad_sum (sum[h][k]);

  chain_gather<P> (smem, base, gathered, o, m, sum, rows, rank, context);
}

// The same with mma.sync and no cluster: every warp owns 16 rows, the block's warps read the same tiles. Takes tensors
// that the copy engine does not, and runs on sm_80.
template <class P>
MS_DEVICE void chain_mma (unsigned char *smem, const typename P::type *a, int rows, const typename P::type *b1,
                          const typename P::type *b2, int length, const typename P::context &context) {
  typedef chain_shape<P> L;
  typedef typename P::type T;
  constexpr int NT = P::NT, ST = P::ST;
  const int tid = threadIdx.x, lane = tid & 31, t = lane & 3, row = (tid >> 5) * 16 + (lane >> 2);
  const unsigned base = ms_shared_address (smem);
  const int tiles = (length + NT - 1) / NT;
  ms_launch_dependents ();

  auto unit = [&] (unsigned offset, const T *from, long long at,
                   int present) { // 8 elements, those from `present` on are zero
    present = present < 0 ? 0 : present > 8 ? 8 : present;
    if constexpr (P::ALIGNED) ms_copy_async (base + offset, present ? from + at : from, 2 * present);
    else {
      unsigned w[4];
#pragma unroll
      for (int j = 0; j < 4; j++)
        w[j] = (2 * j < present ? (unsigned) from[at + 2 * j].bits : 0u) |
               (2 * j + 1 < present ? (unsigned) from[at + 2 * j + 1].bits << 16 : 0u);
      *(uint4 *) (smem + offset) = make_uint4 (w[0], w[1], w[2], w[3]);
    }
  };
  auto copy = [&] (int i) {
    const int to = i % ST * L::stage, x = i * NT;
    // One tile of what is stored: rows from row0 on, columns from column0 on.
    auto tile = [&] (int at, int bytes, int chunk, const T *from, long long pitch, int row0, int n_rows, int column0,
                     int columns) {
      const int units = bytes / chunk * 8;
      for (int e = tid; e < bytes / 16; e += 128 * P::WM) {
        const int r = e / units, u = e % units;
        unit (ms_tile_at (at, r, u, chunk), from, (row0 + r) * pitch + column0 + u * 8,
              row0 + r < n_rows ? columns - column0 - u * 8 : 0);
      }
    };
    if (P::B1_TURNED) tile (to, L::b1_bytes, L::b1_chunk, b1, P::B1_PITCH, x, length, 0, P::D);
    else tile (to, L::b1_bytes, L::b1_chunk, b1, P::B1_PITCH, 0, P::D, x, length);
    if (P::B2_TURNED) tile (to + L::b1_bytes, L::b2_bytes, L::b2_chunk, b2, P::B2_PITCH, 0, P::DV, x, length);
    else tile (to + L::b1_bytes, L::b2_bytes, L::b2_chunk, b2, P::B2_PITCH, x, length, 0, P::DV);
  };
  // Operand fragments of 16 rows from k and the 16 columns from 16 n of a matrix; turned: its transpose is stored.
  auto fragment = [&] (unsigned (&b)[4], unsigned tile, int chunk, bool turned, int k, int n) {
    const int r = turned ? n * 16 + (lane & 7) + (lane >> 4) * 8 : k + (lane & 15),
              u = turned ? k / 8 + (lane >> 3 & 1) : 2 * n + (lane >> 4);
    const unsigned at = ms_tile_at (tile, r, u, chunk);
    if (turned) ms_warp_ldmatrix (b, at);
    else ms_warp_ldmatrix_trans (b, at);
  };
  auto multiply = [&] (float *d, const unsigned (&x)[4], unsigned low, unsigned high) {
    const unsigned y[2] = {low, high};
    float c[4] = {d[0], d[1], d[2], d[3]};
    ms_warp_mma<T> (c, x, y);
    d[0] = c[0], d[1] = c[1], d[2] = c[2], d[3] = c[3];
  };

#pragma unroll
  for (int i = 0; i < ST - 1; i++) {
    if (i < tiles) copy (i);
    ms_copy_commit ();
  }
  unsigned q[L::steps][4];
  chain_load_a<P> (q, a, row, rows);
  float fix[2][P::FIXED > 0 ? P::FIXED : 1];
  P::fixed (fix, q, row, rows, context);
  float o[L::chunks * 4], m[2] = {-1e30f, -1e30f}, sum[2][P::STATS > 0 ? P::STATS : 1] = {};
#pragma unroll
  for (int i = 0; i < L::chunks * 4; i++) o[i] = 0.0f;
#pragma unroll 1
  for (int i = 0; i < tiles; i++) {
    ms_copy_wait<ST - 2> ();
    __syncthreads (); // tile i is there, and everybody is done with tile i - 1
    if (i + ST - 1 < tiles) copy (i + ST - 1);
    ms_copy_commit ();
    const int valid = length - i * NT;
    if constexpr (L::prepared) {
      if constexpr (P::B1_SCALE)
        chain_b1_scales<P, 4 * P::WM> (base + i % ST * L::stage, (float *) (smem + ST * L::stage), tid >> 5, valid);
      if constexpr (L::changed) chain_prepare<P, 4 * P::WM> (smem + i % ST * L::stage, tid >> 5, valid);
      __syncthreads ();
    }
    const unsigned tile1 = base + i % ST * L::stage, tile2 = tile1 + L::b1_bytes;
    float s[NT / 2];
#pragma unroll
    for (int c = 0; c < NT / 2; c++) s[c] = 0.0f;
#pragma unroll
    for (int k = 0; k < L::steps; k++)
#pragma unroll
      for (int n = 0; n < NT / 16; n++) {
        unsigned b[4];
        fragment (b, tile1, L::b1_chunk, P::B1_TURNED, k * 16, n);
        multiply (s + 8 * n, q[k], b[0], b[1]);
        multiply (s + 8 * n + 4, q[k], b[2], b[3]);
      }
    unsigned p[NT / 16][4];
    float f[2];
    if (chain_operand<P, false> (s, f, p, m, sum, fix, i == 0, P::RAGGED && valid < NT, valid, smem + ST * L::stage,
                                 [] () {}))
      chain_rescale<P> (o, f);
#pragma unroll
    for (int k = 0; k < NT / 16; k++)
#pragma unroll
      for (int n = 0; n < (L::chunks + 1) / 2; n++) {
        unsigned b[4];
        fragment (b, tile2, L::b2_chunk, P::B2_TURNED, k * 16, n);
        multiply (o + 8 * n, p[k], b[0], b[1]);
        if (2 * n + 1 < L::chunks) multiply (o + 8 * n + 4, p[k], b[2], b[3]);
      }
  }
  ms_copy_wait<0> ();
  ms_wait_inputs (); // before anything is written to device memory
#pragma unroll
  for (int h = 0; h < 2; h++) {
#pragma unroll
    for (int k = 0; k < P::STATS; k++) sum[h][k] = ms_quad_sum (sum[h][k]);
#pragma unroll
    for (int c = 0; c < L::chunks; c++)
      if (row + 8 * h < rows && c * 8 + 2 * t < P::DV)
        P::finish (context, row + 8 * h, c * 8 + 2 * t, o[4 * c + 2 * h], o[4 * c + 2 * h + 1], sum[h]);
  }
}
