// Chained matmuls, O = f (A B1) B2 summed over a loop that walks columns of B1 and rows of B2: scores, exponentials and
// the result stay in registers. emit_chain.c prints P, the parts that depend on the graph, and calls chain_wgmma or
// chain_mma. Read these two first, at the end of the file; above them are, in this order, the operand of the second
// matmul, changes of B1 and B2, what follows the loop, and the roles of chain_wgmma.
//
// A warpgroup owns 64 rows; ROW_GROUPS of them stand along the rows, LOOP_GROUPS take turns at the tiles of the loop;
// the BLOCKS of a cluster share the loop. A thread holds rows g and g + 8 of its warp's 16 (g = lane / 4) and columns 2
// t and 2 t + 1 of every 8 (t = lane % 4): the accumulator fragment of one matmul is the operand fragment of the next.
// Tiles in shared memory are those of tile.cuh.
//
// P, printed by emit_chain.c, has
//   type                   of A, B1 and B2, 16 bits wide
//   DEPTH, WIDTH           the contracted extent of the first matmul; columns of the second
//   LOOP, RAGGED           the loop's extent in one block; whether a tile may be cut by its end
//   ROW_GROUPS, LOOP_GROUPS, BLOCKS
//                          as above
//   TILE, STAGES           columns of B1 in a tile; tiles in shared memory
//   HELPER                 1: one more warpgroup copies and prepares tiles; 0: the others do so while the matrix units
//   work STABLE, PLAIN          exponentials are taken of exponent () minus a running maximum of the row; nothing else
//   is
//                          multiplied or summed
//   STATS                  sums along the row
//   DEGREE, degree (k, f)  the power of the row's scale that O and sum k carry, as a factor
//   A_MAP, FIXED, fixed () whether fixed () changes A; the number of its results: values of a row that do not change
//   over
//                          the loop
//   exponent (s, fix)      in powers of 2; plain: linear in s and growing
//   element (s, e, fix, x) the operand of the second matmul for score s and exponential e; adds to the sums x
//   B1_TURNED, B2_TURNED   what is stored is the transpose: a row is a column of B1 (B2)
//   B1_MAP, b1 (x, factor) elementwise changes of B1, as stored; the same of B2
//   B1_NORM, b1_factor (mean)
//                          whether the factor is that of the mean square of the row; the same of B2
//   B1_SCALE               B1 is changed by b1_factor alone, which goes to the columns of the scores instead
//   B2_SCALE               the same of B2, to the columns of the second matmul's left operand
//   ALIGNED, B1_PITCH, B2_PITCH
//                          chain_mma: rows begin at multiples of 16 bytes; elements from a row to the next
//   finish (context, row, column, o, o of the next column, sums)
//                          what follows the loop; writes the outputs

// Sizes, and where things lie in shared memory (bytes): stages of B1 and B2, A, partial results, column factors,
// barriers.
template <class P> struct chain_shape {
  static constexpr int groups = P::ROW_GROUPS * P::LOOP_GROUPS, threads = 128 * groups;          // helper aside
  static constexpr int stats = P::STATS > 0 ? P::STATS : 1, fixed = P::FIXED > 0 ? P::FIXED : 1; // of arrays
  static constexpr bool b1_changed = P::B1_MAP && !P::B1_SCALE,
                        b2_changed = P::B2_MAP && !P::B2_SCALE; // tiles, before they are multiplied
  static constexpr bool changed = b1_changed || b2_changed, scales = P::B1_SCALE || P::B2_SCALE,
                        prepared = changed || scales;
  static constexpr int steps = (P::DEPTH + 15) / 16;                               // of the first contraction
  static constexpr int eights = (P::WIDTH + 7) / 8, panels = (P::WIDTH + 63) / 64; // of columns of the result
  static constexpr int b1_panel = P::B1_TURNED ? P::TILE * 128 : steps * 2048,
                       b2_panel = P::B2_TURNED ? (P::WIDTH + 15) / 16 * 2048 : P::TILE * 128;
  static constexpr int b1_bytes = (P::B1_TURNED ? (P::DEPTH + 63) / 64 : P::TILE / 64) * b1_panel,
                       b2_bytes = (P::B2_TURNED ? P::TILE / 64 : panels) * b2_panel;
  static constexpr int stage = b1_bytes + b2_bytes;
  static constexpr int a_panel = 8192, a_bytes = (P::DEPTH + 63) / 64 * a_panel; // of 64 rows
  // A partial result of a row: units of 16 bytes, 4 for every 4 eights, then its scale, its maximum and the sums.
  static constexpr int parts = P::LOOP_GROUPS * P::BLOCKS, units = (eights + 3) / 4 * 4,
                       beside = (2 + P::STATS + 3) / 4, row_bytes = (units + beside) * 16;
  static constexpr int share = (P::ROW_GROUPS * 64 + P::BLOCKS - 1) / P::BLOCKS; // rows that a block finishes
  static constexpr int at_a = P::STAGES * stage, at_a_end = at_a + P::ROW_GROUPS * a_bytes;
  static constexpr int at_partial = P::BLOCKS > 1 ? at_a_end : 0; // alone: where the tiles were, when those are used up
  static constexpr int at_partial_end = at_partial + (parts > 1 ? parts * share * row_bytes : 0);
  static constexpr int at_scales = at_partial_end > at_a_end ? at_partial_end : at_a_end;
  // Column factors of every tile, where that is little: a place that is not used again needs no waiting for its
  // readers.
  static constexpr int scale_bytes = P::TILE * ((P::B1_SCALE ? 4 : 0) + (P::B2_SCALE ? 2 : 0)); // of a tile; B1's first
  static constexpr int tiles = ((P::LOOP + P::TILE - 1) / P::TILE + P::BLOCKS - 1) / P::BLOCKS,
                       scaled = tiles * scale_bytes <= 8192 ? tiles : P::STAGES;
  static constexpr int at_barriers = (at_scales + scaled * scale_bytes + 7) / 8 * 8;
  static constexpr int bytes = at_barriers + 8 * (3 * P::STAGES + 1);
};

// What a thread keeps of its two rows over the loop, beside the result; the arrays are those of the function that
// loops.
template <class P> struct chain_rows {
  float (&fix)[2][chain_shape<P>::fixed]; // values that do not change
  float (&top)[2];                        // maxima that exponents are taken against
  float (&sum)[2][chain_shape<P>::stats];
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

// ---- A ----

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

// Rows g and g + 8 of a warp's 16 as operand fragments. Rows beyond `rows` and columns beyond DEPTH are zero.
template <class P>
MS_DEVICE void chain_load_a (unsigned (&a)[chain_shape<P>::steps][4], const typename P::type *from, int row, int rows) {
  const int t = threadIdx.x & 3;
#pragma unroll
  for (int k = 0; k < chain_shape<P>::steps; k++)
#pragma unroll
    for (int e = 0; e < 4; e++) {
      const int r = row + (e & 1) * 8, c = k * 16 + (e >> 1) * 8 + 2 * t;
      const typename P::type *p = from + (long long) r * P::DEPTH + c;
      a[k][e] = 0;
      if (r < rows && c < P::DEPTH) {
        if constexpr (P::DEPTH % 2 == 0) a[k][e] = ms_load_constant (p);
        else a[k][e] = p[0].bits | (c + 1 < P::DEPTH ? (unsigned) p[1].bits << 16 : 0u);
      }
    }
}

// The same rows for wgmma: read by all warps but the one that starts the copies, and put into shared memory as tiles of
// 64 rows.
template <class P> MS_DEVICE void chain_store_a (unsigned char *to, const typename P::type *from, int rows) {
  typedef chain_shape<P> L;
  constexpr int skipped = P::HELPER ? 0 : 32, threads = L::threads - skipped, units = L::steps * 2,
                total = P::ROW_GROUPS * 64 * units, each = (total + threads - 1) / threads;
  uint4 v[each];
#pragma unroll
  for (int i = 0; i < each; i++) {
    const int e = i * threads + (int) threadIdx.x - skipped, r = e / units, u = e % units;
    const typename P::type *p = from + (long long) r * P::DEPTH + u * 8;
    const bool there = e < total && r < rows && u * 8 < P::DEPTH;
    if constexpr (P::DEPTH % 8 == 0) ms_load_constant_if (v[i], p, there);
    else {
      unsigned w[8];
#pragma unroll
      for (int j = 0; j < 8; j++) w[j] = there && u * 8 + j < P::DEPTH ? p[j].bits : 0;
      v[i] = make_uint4 (w[0] | w[1] << 16, w[2] | w[3] << 16, w[4] | w[5] << 16, w[6] | w[7] << 16);
    }
  }
#pragma unroll
  for (int i = 0; i < each; i++) {
    const int e = i * threads + (int) threadIdx.x - skipped, r = e / units, u = e % units;
    if (e < total) *(uint4 *) ms_tile_at (to, r, u, L::a_panel, L::a_bytes) = v[i];
  }
}

// ---- the operand of the second matmul, from the scores of one tile ----

// cut: only columns below `valid` exist. Elements 4 c + 2 h and the next one of the scores are columns 8 c + 2 t and
// 8 c + 2 t + 1 of row g + 8 h.

template <class P> MS_DEVICE void chain_scale_scores (float (&s)[P::TILE / 2], const float *scales) {
  const int t = threadIdx.x & 3;
#pragma unroll
  for (int c = 0; c < P::TILE / 8; c += 2) {
    const float4 x = ((const float4 *) scales)[t * (P::TILE / 16) + c / 2];
    s[4 * c] *= x.x, s[4 * c + 1] *= x.y, s[4 * c + 2] *= x.x, s[4 * c + 3] *= x.y;
    s[4 * c + 4] *= x.z, s[4 * c + 5] *= x.w, s[4 * c + 6] *= x.z, s[4 * c + 7] *= x.w;
  }
}
template <class P> MS_DEVICE void chain_scale_operand (unsigned (&p)[P::TILE / 16][4], const typename P::type *scales) {
  const int t = threadIdx.x & 3;
#pragma unroll
  for (int i = 0; i < P::TILE / 32; i++) {
    const uint4 y = ((const uint4 *) scales)[t * (P::TILE / 32) + i];
    const unsigned scale[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
    for (int e = 0; e < 8; e++)
      p[2 * i + e / 4][e % 4] = ms_pair_multiply<typename P::type> (p[2 * i + e / 4][e % 4], scale[e / 2]);
  }
}

// Columns 8 c + 2 t and 8 c + 2 t + 1 of both rows, rounded.
template <class P> MS_DEVICE void chain_put (unsigned (&p)[P::TILE / 16][4], int c, const float (&v)[4]) {
#pragma unroll
  for (int h = 0; h < 2; h++) p[c / 2][c % 2 * 2 + h] = ms_pack<typename P::type> (v[2 * h], v[2 * h + 1]);
}

// Raises maxima to those of this tile and brings the sums to them; f: what the result has to be multiplied by.
template <class P>
MS_DEVICE void chain_raise (float (&f)[2], chain_rows<P> &rows, float (&s)[P::TILE / 2], bool cut, int valid) {
  const int t = threadIdx.x & 3;
#pragma unroll
  for (int h = 0; h < 2; h++) {
    float top = -1e30f;
#pragma unroll
    for (int c = 0; c < P::TILE / 8; c++)
#pragma unroll
      for (int e = 0; e < 2; e++) {
        const float x = s[4 * c + 2 * h + e];
        if (P::PLAIN) top = c + e ? fmaxf (top, x) : x; // the argument grows with the score
        else if (!cut || c * 8 + 2 * t + e < valid) top = fmaxf (top, P::exponent (x, rows.fix[h]));
      }
    top = P::PLAIN ? P::exponent (ms_quad_max (top), rows.fix[h]) + chain_range<typename P::type>::margin
                   : ms_quad_max (top);
    if (!(top > rows.top[h])) top = rows.top[h]; // not lowered
    const float x = ms_exp2 (rows.top[h] - top);
    rows.top[h] = top;
#pragma unroll
    for (int k = 0; k < P::STATS; k++) rows.sum[h][k] *= P::degree (k, x);
    f[h] = chain_power<P::DEGREE> (x);
  }
  ms_keep (s); // or the products above would be kept for what follows, in registers that do not exist
}

// The operand p and what the tile adds to the sums, x. True when an exponential came out large: then the maximum has to
// be raised. One that is a little too small does no harm.
template <class P>
MS_DEVICE bool chain_exponentials (unsigned (&p)[P::TILE / 16][4], float (&x)[2][chain_shape<P>::stats],
                                   const chain_rows<P> &rows, const float (&s)[P::TILE / 2], bool cut, int valid) {
  typedef typename P::type T;
  const int t = threadIdx.x & 3;
  unsigned top_pair = 0;
  float top = 0.0f;
#pragma unroll
  for (int k = 0; k < P::STATS; k++) x[0][k] = x[1][k] = 0.0f;
#pragma unroll
  for (int c = 0; c < P::TILE / 8; c++) {
    float v[4];
#pragma unroll
    for (int e = 0; e < 4; e++) {
      const float y = ms_exp2 (P::exponent (s[4 * c + e], rows.fix[e >> 1]) - rows.top[e >> 1]);
      if (P::PLAIN || !cut || c * 8 + 2 * t + (e & 1) < valid) {
        v[e] = P::element (s[4 * c + e], y, rows.fix[e >> 1], x[e >> 1]);
        if (!P::PLAIN) top = fmaxf (top, y);
      } else v[e] = 0.0f;
    }
    chain_put<P> (p, c, v);
    if (P::PLAIN && P::STATS == 0)
      top_pair = ms_pair_max<T> (top_pair, ms_pair_max<T> (p[c / 2][c % 2 * 2], p[c / 2][c % 2 * 2 + 1]));
  }
  if (P::PLAIN) // no exponential exceeds the sum
    top = P::STATS > 0 ? fmaxf (x[0][0], x[1][0]) : fmaxf (ms_low<T> (top_pair), ms_high<T> (top_pair));
  return __any_sync (0xffffffffu, top > (P::PLAIN ? chain_range<T>::high : 256.0f));
}

// The operand with exponentials below a running maximum. first: nothing has been accumulated yet. True when it was
// raised.
template <class P>
MS_DEVICE bool chain_stable (unsigned (&p)[P::TILE / 16][4], float (&f)[2], chain_rows<P> &rows,
                             float (&s)[P::TILE / 2], bool first, bool cut, int valid) {
  const int t = threadIdx.x & 3;
  if (P::PLAIN && cut) {
#pragma unroll
    for (int c = 0; c < P::TILE / 2; c++)
      if ((c >> 2) * 8 + 2 * t + (c & 1) >= valid) s[c] = -MS_INF;
  }
  float x[2][chain_shape<P>::stats];
  if (first) chain_raise<P> (f, rows, s, cut, valid);
  const bool high = chain_exponentials<P> (p, x, rows, s, cut, valid);
  ms_keep (s);
  if (high) {
    chain_raise<P> (f, rows, s, cut, valid);
    chain_exponentials<P> (p, x, rows, s, cut, valid);
  }
#pragma unroll
  for (int h = 0; h < 2; h++)
#pragma unroll
    for (int k = 0; k < P::STATS; k++) rows.sum[h][k] += x[h][k];
  return first || high;
}

// The operand without.
template <class P>
MS_DEVICE void chain_elements (unsigned (&p)[P::TILE / 16][4], chain_rows<P> &rows, const float (&s)[P::TILE / 2],
                               bool cut, int valid) {
  const int t = threadIdx.x & 3;
#pragma unroll
  for (int c = 0; c < P::TILE / 8; c++) {
    float v[4];
#pragma unroll
    for (int e = 0; e < 4; e++) {
      v[e] = 0.0f;
      if (!cut || c * 8 + 2 * t + (e & 1) < valid)
        v[e] = P::element (s[4 * c + e], 0.0f, rows.fix[e >> 1], rows.sum[e >> 1]);
    }
    chain_put<P> (p, c, v);
  }
}

// scales: column factors of the scores (B1_SCALE), then of the operand (SCALED), there after wait (). True when what is
// accumulated has to be multiplied by f.
template <class P, bool SCALED, class WAIT>
MS_DEVICE bool chain_operand (unsigned (&p)[P::TILE / 16][4], float (&f)[2], chain_rows<P> &rows,
                              float (&s)[P::TILE / 2], bool first, bool cut, int valid, const unsigned char *scales,
                              WAIT wait) {
  bool raised = false;
  if constexpr (P::B1_SCALE) {
    wait ();
    chain_scale_scores<P> (s, (const float *) scales);
  }
  if constexpr (P::STABLE) raised = chain_stable<P> (p, f, rows, s, first, cut, valid);
  else chain_elements<P> (p, rows, s, cut, valid);
  if constexpr (SCALED) {
    if (!P::B1_SCALE) wait ();
    chain_scale_operand<P> (p, (const typename P::type *) (scales + (P::B1_SCALE ? P::TILE * 4 : 0)));
  }
  return raised;
}
template <class P> MS_DEVICE void chain_rescale (float (&o)[chain_shape<P>::eights * 4], const float (&f)[2]) {
#pragma unroll
  for (int i = 0; i < chain_shape<P>::eights * 4; i++) o[i] *= f[i >> 1 & 1];
}

// ---- changes of B1 and B2 in shared memory ----

// A tile changed in place, by `warps` warps: its elements become map (x, row, column, factor of the row); columns count
// from the first of the tile, PANEL bytes hold 64 of them. With NORM, two threads have a row, of which factor () gets
// the mean square.
template <class T, int PANEL, int BYTES, int COLUMNS, bool NORM, int warps, class FACTOR, class MAP>
MS_DEVICE void chain_map (unsigned char *tile, int warp, FACTOR factor, MAP map) {
  constexpr int blocks = BYTES / PANEL;
  const int lane = threadIdx.x & 31, half = lane & 1;
  auto change = [&] (uint4 v, int r, int u, float f) {
    unsigned w[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int j = 0; j < 4; j++)
      w[j] = ms_pack<T> (map (ms_low<T> (w[j]), r, u * 8 + 2 * j, f), map (ms_high<T> (w[j]), r, u * 8 + 2 * j + 1, f));
    return make_uint4 (w[0], w[1], w[2], w[3]);
  };
  if constexpr (NORM) {
    for (int r = warp * 16 + (lane >> 1); r < PANEL / 128; r += 16 * warps) {
      uint4 v[blocks][4];
      float sum = 0.0f;
      auto at = [&] (int c, int u) { return (uint4 *) ms_tile_at (tile + c * PANEL, r, half * 4 + u); };
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
      const int c = e / (PANEL / 16), r = e % (PANEL / 16) / 8;
      uint4 *at = (uint4 *) (tile + e * 16);
      *at = change (*at, r, c * 8 + (e & 7 ^ r & 7), 0.0f);
    }
}

// B1 and B2 of one stage. Rows of B2 from `valid` on are zero.
template <class P, int warps> MS_DEVICE void chain_prepare (unsigned char *stage, int warp, int valid) {
  typedef typename P::type T;
  typedef chain_shape<P> L;
  if constexpr (L::b1_changed)
    chain_map<T, L::b1_panel, L::b1_bytes, P::DEPTH, P::B1_NORM, warps> (
        stage, warp, P::b1_factor, [&] (float x, int, int, float f) { return P::b1 (x, f); });
  if constexpr (L::b2_changed)
    chain_map<T, L::b2_panel, L::b2_bytes, P::WIDTH, P::B2_NORM, warps> (
        stage + L::b1_bytes, warp, P::b2_factor, [&] (float x, int r, int column, float f) {
          return !P::RAGGED || (P::B2_TURNED ? column : r) < valid ? P::b2 (x, f) : 0.0f;
        });
}

// The norms of the rows of B1 of one stage, by `warps` warps: factors of the columns of the scores, as the threads of a
// row read them. They change exponents, so nothing is rounded: sums of squares are the diagonal of the tile times its
// transpose.
template <class P, int warps> MS_DEVICE void chain_b1_scales (float *scales, unsigned tile, int warp, int valid) {
  typedef typename P::type T;
  const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
#pragma unroll 1
  for (int r = warp * 16; r < P::TILE; r += 16 * warps) {
    float low[4] = {}, high[4] = {}; // products of rows 0 to 7, and of 8 to 15
#pragma unroll 4
    for (int k = 0; k < (P::DEPTH + 15) / 16; k++) {
      const int row = r + (lane & 15), u = 2 * k + (lane >> 4);
      unsigned a[4];
      ms_warp_ldmatrix (a, ms_tile_at (tile, row, u, chain_shape<P>::b1_panel));
      ms_warp_mma<T> (low, a, {a[0], a[2]});
      ms_warp_mma<T> (high, a, {a[1], a[3]});
    }
    if (g >> 1 == t) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const float sum = h ? g & 1 ? high[3] : high[2] : g & 1 ? low[1] : low[0];
        scales[((g >> 1) * (P::TILE / 8) + r / 8 + h) * 2 + (g & 1)] =
            !P::RAGGED || r + g + 8 * h < valid ? P::b1_factor (sum / P::DEPTH) : 0.0f;
      }
    }
  }
}

// The norms of the rows of B2 of one stage, by `warps` warps: factors that go to the columns of the left operand.
// Squares are summed as 16-bit numbers, a few at a time. Where a mean is far from 1 those would overflow or lose
// digits, as would the factor: there the sum is taken anew and the factor's power of 2 stays in B2.
template <class P, int warps>
MS_DEVICE void chain_b2_scales (typename P::type *scales, unsigned char *stage, int warp, int valid) {
  typedef typename P::type T;
  typedef chain_shape<P> L;
  constexpr int parts = 32 * warps < 2 * P::TILE ? 1 : 2, units = 8 * L::panels / parts; // threads a row, 16 bytes each
  const int thread = warp * 32 + (threadIdx.x & 31), part = thread % parts;
  for (int r = thread / parts; r < P::TILE; r += 32 * warps / parts) {
    const bool present = !P::RAGGED || r < valid;
    auto unit = [&] (int u) {
      u += part * units;
      return (uint4 *) ms_tile_at (stage + L::b1_bytes, r, u, L::b2_panel);
    };
    auto mean_of = [&] (float sum) {
      return (parts == 1 ? sum : sum + __shfl_xor_sync (0xffffffffu, sum, 1)) * (1.0f / P::WIDTH);
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
      scales[((r % 8 >> 1) * (P::TILE / 8) + r / 8) * 2 + (r & 1)] =
          ms_round<T> (present ? P::b2_factor (mean) * power : 0.0f);
  }
}

// ---- what follows the loop ----

// A thread's two rows of the result of one warpgroup.
template <class P>
MS_DEVICE void chain_finish (const float (&o)[chain_shape<P>::eights * 4], const chain_rows<P> &state, int row,
                             int rows, const typename P::context &context) {
  const int t = threadIdx.x & 3;
#pragma unroll
  for (int h = 0; h < 2; h++)
#pragma unroll
    for (int c = 0; c < chain_shape<P>::eights; c++)
      if (row + 8 * h < rows && c * 8 + 2 * t < P::WIDTH)
        P::finish (context, row + 8 * h, c * 8 + 2 * t, o[4 * c + 2 * h], o[4 * c + 2 * h + 1], state.sum[h]);
}

// One row of a thread's partial result goes to the block that finishes it: halves beside a scale a row, so that every
// element keeps 11 bits. part: which of the partial results of the row it is.
template <class P>
MS_DEVICE void chain_send_row (unsigned char *smem, unsigned base, unsigned gathered,
                               const float (&o)[chain_shape<P>::eights * 4], const chain_rows<P> &state, int h, int row,
                               int part, int rank) {
  typedef chain_shape<P> L;
  const int t = threadIdx.x & 3;
  float scale = 0.0f;
#pragma unroll
  for (int c = 0; c < L::eights; c++)
    scale = fmaxf (scale, fmaxf (fabsf (o[4 * c + 2 * h]), fabsf (o[4 * c + 2 * h + 1])));
  scale = fmaxf (ms_quad_max (scale), 1e-30f);
  const float inverse = ms_div (1.0f, scale);
  const int r = row + 8 * h, at = L::at_partial + (part * L::share + r % L::share) * L::row_bytes;
  const bool mine = P::BLOCKS == 1 || r / L::share == rank;
  const unsigned to = P::BLOCKS > 1 ? ms_cluster_address (base, r / L::share) : base;
  auto put = [&] (int unit, const unsigned (&w)[4]) {
    if (!mine) ms_cluster_send (to + at + unit * 16, to + (gathered - base), w[0], w[1], w[2], w[3]);
    else *(uint4 *) (smem + at + unit * 16) = make_uint4 (w[0], w[1], w[2], w[3]);
  };
#pragma unroll
  for (int u = 0; u < L::units; u += 4) {
    unsigned w[4] = {};
#pragma unroll
    for (int j = 0; j < 4; j++)
      if (u + j < L::eights)
        w[j] = ms_pack<ms_f16> (o[4 * (u + j) + 2 * h] * inverse, o[4 * (u + j) + 2 * h + 1] * inverse);
    put (u + t, w);
  }
#pragma unroll
  for (int u = 0; u < L::beside; u++) {
    unsigned w[4] = {};
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const int i = 4 * u + j;
      if (i < 2 + P::STATS)
        w[j] = __float_as_int (i == 0 ? scale : i == 1 ? state.top[h] : state.sum[h][i > 2 ? i - 2 : 0]);
    }
    if (t == u) put (L::units + u, w);
  }
}

// Combiner: adds the partial results of the rows that this block finishes, 8 columns a thread, and finishes them.
template <class P>
MS_DEVICE void chain_combine (const unsigned char *smem, int rows, int rank, const typename P::context &context) {
  typedef chain_shape<P> L;
  const int first = rank * L::share, some = min (min (L::share, P::ROW_GROUPS * 64 - first), rows - first);
  for (int e = threadIdx.x; e < some * L::units; e += L::threads) {
    const int r = e / L::units, u = e % L::units;
    const unsigned char *from = smem + L::at_partial + r * L::row_bytes;
    auto beside = [&] (int part, int i) { // 0 the scale, 1 the maximum, then the sums
      return ((const float *) (from + part * L::share * L::row_bytes + L::units * 16))[i];
    };
    float top = -MS_INF, acc[8] = {}, total[L::stats] = {};
    if (P::STABLE)
#pragma unroll 8
      for (int part = 0; part < L::parts; part++) top = fmaxf (top, beside (part, 1));
#pragma unroll 8
    for (int part = 0; part < L::parts; part++) {
      const float factor = P::STABLE ? ms_exp2 (beside (part, 1) - top) : 1.0f,
                  scale = beside (part, 0) * chain_power<P::DEGREE> (factor);
#pragma unroll
      for (int j = 0; j < P::STATS; j++) total[j] += beside (part, 2 + j) * P::degree (j, factor);
      const uint4 v = *(const uint4 *) (from + part * L::share * L::row_bytes + u * 16);
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
      if (column < P::WIDTH) P::finish (context, first + r, column, acc[2 * j], acc[2 * j + 1], total);
    }
  }
}

// The block's threads but those of the helper.
template <class P> MS_DEVICE void chain_sync () { ms_warps_sync (1, chain_shape<P>::threads); }

// Epilogue: brings together what the warpgroups of a block and the blocks of a cluster accumulated for the same rows.
template <class P>
MS_DEVICE void chain_gather (unsigned char *smem, unsigned base, unsigned gathered,
                             const float (&o)[chain_shape<P>::eights * 4], const chain_rows<P> &state, int rows,
                             int rank, const typename P::context &context) {
  const int tid = threadIdx.x, group = __shfl_sync (0xffffffffu, tid >> 7, 0);
  const int row = group % P::ROW_GROUPS * 64 + (tid >> 5 & 3) * 16 + (tid >> 2 & 7),
            part = rank * P::LOOP_GROUPS + group / P::ROW_GROUPS;
  if constexpr (chain_shape<P>::parts == 1) {
    ms_wait_inputs (); // before anything is written to device memory
    chain_finish<P> (o, state, row, rows, context);
    return;
  }
  if (P::BLOCKS > 1) ms_cluster_wait (); // the others have initialised their barriers
  else chain_sync<P> ();                 // the tiles are used up
#pragma unroll
  for (int h = 0; h < 2; h++) chain_send_row<P> (smem, base, gathered, o, state, h, row, part, rank);
  chain_sync<P> ();
  if (P::BLOCKS > 1) ms_barrier_wait (gathered, 0);
  ms_wait_inputs (); // before anything is written to device memory
  chain_combine<P> (smem, rows, rank, context);
}

// ---- chain_wgmma: roles of the warps ----

// What all roles share: the ring of STAGES tiles, its barriers, the tiles of the loop that are this block's. Barriers
// of stage s: full (copied), empty (used up by all warps of ROW_GROUPS), ready (prepared).
template <class P> struct chain_block {
  typedef chain_shape<P> L;
  typedef typename P::type T;
  // Nobody else uses the tiles of a warpgroup: its own barrier of warps does instead of `ready`.
  static constexpr bool alone = !P::HELPER && P::ROW_GROUPS == 1 && L::scales && !L::changed;
  // With a helper few tiles first: what is needed soon does not share the memory with what is needed late.
  static constexpr int early = P::HELPER && 2 * P::LOOP_GROUPS < P::STAGES ? 2 * P::LOOP_GROUPS : P::STAGES;

  unsigned char *smem;
  unsigned base;
  const ms_tensor_map *b1, *b2;
  int z1, z2, column, start, length, rank; // coordinates of the block's part of B1 and B2
  int lane, warp, group, row_group, loop_group;
  unsigned full, empty, ready, gathered;
  int first, tiles;

  MS_DEVICE void place () {
    const int tid = threadIdx.x;
    lane = tid & 31;
    warp = __shfl_sync (0xffffffffu, tid >> 5, 0), group = warp >> 2;
    row_group = P::LOOP_GROUPS > 1 ? group % P::ROW_GROUPS : group;
    loop_group = P::LOOP_GROUPS > 1 ? group / P::ROW_GROUPS : 0;
    base = __shfl_sync (0xffffffffu, ms_shared_address (smem), 0);
    full = base + L::at_barriers, empty = full + 8 * P::STAGES, ready = empty + 8 * P::STAGES;
    gathered = ready + 8 * P::STAGES;
    const int all = (length + P::TILE - 1) / P::TILE;
    first = (int) ((long long) all * rank / P::BLOCKS);
    tiles = (int) ((long long) all * (rank + 1) / P::BLOCKS) - first;
  }

  // Columns of B1 in tile i, TILE or more where it is whole.
  MS_DEVICE int valid (int i) const { return length - (first + i) * P::TILE; }
  MS_DEVICE unsigned char *scales (int i) const { return smem + L::at_scales + i % L::scaled * L::scale_bytes; }

  MS_DEVICE void copy (int i) const {
    const int slot = i % P::STAGES, x = start + (first + i) * P::TILE;
    const unsigned to = base + slot * L::stage, barrier = full + 8 * slot;
    ms_barrier_expect (barrier, L::stage);
#pragma unroll
    for (int c = 0; c < L::b1_bytes / L::b1_panel; c++)
      ms_copy_box (to + c * L::b1_panel, b1, c * 64 + (P::B1_TURNED ? 0 : x), P::B1_TURNED ? x : 0, z1, barrier);
#pragma unroll
    for (int c = 0; c < L::b2_bytes / L::b2_panel; c++)
      ms_copy_box (to + L::b1_bytes + c * L::b2_panel, b2, c * 64 + (P::B2_TURNED ? x : column),
                   P::B2_TURNED ? column : x, z2, barrier);
  }
  MS_DEVICE void refill (int i) const { // tile i, once the one before it in its place is used up
    if (i >= P::STAGES) ms_barrier_wait (empty + 8 * (i % P::STAGES), i / P::STAGES - 1 & 1);
    copy (i);
  }

  // One thread: barriers, and the first copies, which are under way while other warps fetch A.
  MS_DEVICE void begin () const {
    ms_prefetch_map (b1);
    ms_prefetch_map (b2);
    const int received = min (L::share, P::ROW_GROUPS * 64 - rank * L::share);
    for (int s = 0; s < P::STAGES; s++) {
      ms_barrier_init (full + 8 * s, 1);
      ms_barrier_init (empty + 8 * s, P::ROW_GROUPS * 4);
      ms_barrier_init (ready + 8 * s, P::HELPER ? 32 : 128);
    }
    ms_barrier_init (gathered, 1);
    ms_barrier_init_fence ();
    if (P::BLOCKS == 1) {
    } else if (received > 0) ms_barrier_expect (gathered, (L::parts - P::LOOP_GROUPS) * received * L::row_bytes);
    else ms_barrier_arrive (gathered);
    for (int i = 0; i < early && i < tiles; i++) copy (i);
  }

  // Converter: tile i made ready by one warp of the helper, or by one of the warpgroups that use it: elements changed
  // in place, or norms of the rows.
  MS_DEVICE void prepare (int i) const {
    if constexpr (L::prepared) {
      constexpr int warps = P::HELPER ? 1 : 4;
      const int slot = i % P::STAGES, columns = valid (i), at = P::HELPER ? 0 : warp & 3;
      ms_barrier_wait (full + 8 * slot, i / P::STAGES & 1);
      unsigned char *to = scales (i);
      if constexpr (P::B1_SCALE) chain_b1_scales<P, warps> ((float *) to, base + slot * L::stage, at, columns);
      if constexpr (P::B2_SCALE)
        chain_b2_scales<P, warps> ((T *) (to + (P::B1_SCALE ? P::TILE * 4 : 0)), smem + slot * L::stage, at, columns);
      if constexpr (L::changed) {
        chain_prepare<P, warps> (smem + slot * L::stage, at, columns);
        ms_fence_async ();
      }
      if (!alone) ms_barrier_arrive (ready + 8 * slot); // every thread for what it wrote itself
      __syncwarp ();
    }
  }

  // Helper, a warpgroup: one thread is the producer, the other three warps are converters.
  MS_DEVICE void help () const {
    if ((warp & 3) == 0 && lane == 0 && early < tiles) {
      ms_barrier_wait (full, 0);
      for (int i = early; i < tiles; i++) refill (i);
    }
    // The warps take turns, but each waits for every tile: copies may end out of order, and a barrier tells a phase
    // from the next one only.
    for (int i = 0; warp & 3 && i < tiles && L::prepared; i++)
      if (i % 3 == (warp & 3) - 1) prepare (i);
      else ms_barrier_wait (full + 8 * (i % P::STAGES), i / P::STAGES & 1);
  }
};

// Consumer, a warpgroup: 64 rows of the result.
template <class P> struct chain_consumer {
  typedef chain_shape<P> L;
  typedef typename P::type T;
  // Without a helper: rounds after which a tile is refilled, later if enough are in flight; rounds before which one is
  // prepared.
  static constexpr int lag = L::changed || P::STAGES < 4 * P::LOOP_GROUPS ? 0 : 1,
                       ahead = L::changed ? P::ROW_GROUPS + 1 : 1;

  const chain_block<P> &block;
  const unsigned a_tile, arrived;
  chain_rows<P> rows;
  // References: as members, the registers would get another order, which costs 1 %.
  float (&s)[P::TILE / 2], (&o)[L::eights * 4];   // scores, result
  unsigned (&p)[P::TILE / 16][4], &slot, &parity; // operand; the stage that the tile is in, and its phase

  // Values of the rows, and changes of A.
  MS_DEVICE void read_rows (int row, int n_rows, const typename P::context &context) {
    if constexpr (P::A_MAP || P::FIXED) {
      const int lane = block.lane, row0 = (block.warp & 3) * 16;
      unsigned q[L::steps][4];
#pragma unroll
      for (int k = 0; k < L::steps; k++)
        ms_warp_ldmatrix (q[k], ms_tile_at (a_tile, row0 + (lane & 15), 2 * k + (lane >> 4), L::a_panel));
      P::fixed (rows.fix, q, row, n_rows, context);
      if constexpr (P::A_MAP) { // warpgroups in turns at the tiles share the rows
        unsigned char *const to = block.smem + L::at_a + block.row_group * L::a_bytes;
        chain_sync<P> ();
#pragma unroll
        for (int k = 0; k < L::steps; k++)
#pragma unroll
          for (int e = 0; e < 4; e++)
            if (block.loop_group == 0)
              *(unsigned *) (ms_tile_at (to, row0 + (lane >> 2) + (e & 1) * 8, 2 * k + (e >> 1), L::a_panel) +
                             4 * (lane & 3)) = q[k][e];
        ms_fence_async ();
        chain_sync<P> ();
      }
    }
  }

  MS_DEVICE void issue_scores () {
    const unsigned to = ms_tile_address16 (a_tile), from = ms_tile_address16 (block.base + slot * L::stage);
    auto left = [&] (int k) { return ms_tile_descriptor (to + k / 4 * 512 + k % 4 * 2, 16); };
    auto right = [&] (int k) {
      return P::B1_TURNED ? ms_tile_descriptor (from + k / 4 * (L::b1_panel >> 4) + k % 4 * 2, 16)
                          : ms_tile_descriptor (from + k * 128, L::b1_panel);
    };
    ms_wgmma_fence ();
    ms_wgmma<T, P::TILE>::template first<P::B1_TURNED> (s, left (0), right (0));
#pragma unroll
    for (int k = 1; k < L::steps; k++) ms_wgmma<T, P::TILE>::template add<P::B1_TURNED> (s, left (k), right (k));
    ms_wgmma_commit ();
  }

  MS_DEVICE void issue_result () {
    const unsigned from = ms_tile_address16 (block.base + slot * L::stage + L::b1_bytes);
    ms_wgmma_fence ();
#pragma unroll
    for (int k = 0; k < P::TILE / 16; k++)
      ms_wgmma<T, L::eights * 8>::template add<P::B2_TURNED> (
          o, p[k],
          P::B2_TURNED ? ms_tile_descriptor (from + k / 4 * (L::b2_panel >> 4) + k % 4 * 2, 16)
                       : ms_tile_descriptor (from + k * 128, L::b2_panel));
    ms_wgmma_commit ();
  }

  // The operand of tile i, whose scores are there.
  MS_DEVICE bool operand (float (&f)[2], int i, bool begin) {
    const int valid = block.valid (i);
    auto wait = [&] () {
      if (block.alone) ms_warps_sync (2 + block.group, 128);
      else ms_barrier_wait (block.ready + 8 * slot, parity);
    };
    return chain_operand<P, P::B2_SCALE> (p, f, rows, s, begin, P::RAGGED && valid < P::TILE, valid, block.scales (i),
                                          wait);
  }

  MS_DEVICE void begin () {
    if (L::prepared && !P::HELPER)
      for (int r = block.row_group; r < ahead; r += P::ROW_GROUPS)
        if (block.loop_group + r * P::LOOP_GROUPS < block.tiles) block.prepare (block.loop_group + r * P::LOOP_GROUPS);
#pragma unroll
    for (int i = 0; i < L::eights * 4; i++) o[i] = 0.0f;
    ms_keep (o);
    if (block.loop_group < block.tiles) {
      float f[2];
      ms_barrier_wait (arrived + 8 * slot, 0);
      issue_scores ();
      ms_wgmma_wait ();
      ms_keep (s);
      operand (f, block.loop_group, true);
    }
  }

  // Round r: the result of tile i, scores and operand of the next one. While the matrix units work, a tile is refilled
  // and one is prepared.
  MS_DEVICE void round (int i, int r) {
    const int next = i + P::LOOP_GROUPS, refilled = i - lag * P::LOOP_GROUPS + P::STAGES,
              prepared = i + ahead * P::LOOP_GROUPS;
    const bool more = next < block.tiles;
    const unsigned now = slot;
    issue_result ();
    slot += P::LOOP_GROUPS;
    if (slot >= P::STAGES) slot -= P::STAGES, parity ^= 1;
    if (more) {
      ms_barrier_wait (arrived + 8 * slot, parity);
      issue_scores ();
    }
    const bool refills = !P::HELPER && (threadIdx.x & 127) == 0 && r >= lag && r % P::ROW_GROUPS == block.row_group &&
                         refilled < block.tiles;
    const bool prepares =
        L::prepared && !P::HELPER && (r + ahead) % P::ROW_GROUPS == block.row_group && prepared < block.tiles;
    if (lag && refills) block.refill (refilled);
    __syncwarp ();
    if (!L::changed && prepares) block.prepare (prepared);
    ms_wgmma_wait ();
    ms_keep (s);
    ms_keep (o);
#pragma unroll
    for (int k = 0; k < P::TILE / 16; k++) ms_keep (p[k]);
    if (block.lane == 0) ms_barrier_arrive (block.empty + 8 * now);
    if (!lag && refills) block.refill (refilled);
    __syncwarp ();
    if (L::changed && prepares) block.prepare (prepared);
    if (more) {
      float f[2];
      if (operand (f, next, false)) chain_rescale<P> (o, f);
    }
  }

  MS_DEVICE void loop () {
    begin ();
#pragma unroll 1
    for (int i = block.loop_group, r = 0; i < block.tiles; i += P::LOOP_GROUPS, r++) round (i, r);
#pragma unroll
    for (int h = 0; h < 2; h++)
#pragma unroll
      for (int k = 0; k < P::STATS; k++) rows.sum[h][k] = ms_quad_sum (rows.sum[h][k]);
  }
};

template <class P>
MS_DEVICE void chain_wgmma (unsigned char *smem, const typename P::type *a, int rows, const ms_tensor_map *b1, int z1,
                            const ms_tensor_map *b2, int z2, int column, int start, int length, int rank,
                            const typename P::context &context) {
  typedef chain_shape<P> L;
  chain_block<P> block = {smem, 0, b1, b2, z1, z2, column, start, length, rank};
  block.place ();
  const int row = block.row_group * 64 + (block.warp & 3) * 16 + (block.lane >> 2);
  ms_launch_dependents ();
  if (block.warp == P::HELPER * 4 * L::groups) {
    if (block.lane == 0) block.begin ();
    __syncwarp ();
  } else if (!P::HELPER || block.group < L::groups) {
    chain_store_a<P> (smem + L::at_a, a, rows);
    ms_fence_async ();
  }
  __syncthreads ();
  if (P::BLOCKS > 1) ms_cluster_arrive ();
  if constexpr (P::HELPER) { // most registers go to the others
    constexpr int launched = 65536 / (L::threads + 128) / 8 * 8,
                  left = (launched * (L::threads + 128) - 32 * 128) / L::threads / 8 * 8;
    if (block.group == L::groups) {
      ms_warpgroup_registers_less<32> ();
      block.help ();
      return;
    }
    ms_warpgroup_registers_more<(left < 240 ? left : 240)> ();
  }
  float fix[2][L::fixed];
  float s[P::TILE / 2], o[L::eights * 4], top[2] = {-1e30f, -1e30f}, sum[2][L::stats] = {};
  unsigned p[P::TILE / 16][4], slot = block.loop_group, parity = 0;
  chain_consumer<P> consumer = {block,
                                block.base + L::at_a + block.row_group * L::a_bytes,
                                L::changed ? block.ready : block.full,
                                {fix, top, sum},
                                s,
                                o,
                                p,
                                slot,
                                parity};
  consumer.read_rows (row, rows, context);
  consumer.loop ();
  chain_gather<P> (smem, block.base, block.gathered, consumer.o, consumer.rows, rows, rank, context);
}

// ---- chain_mma: the same with mma.sync and no cluster ----

// Every warp owns 16 rows, the block's warps read the same tiles. Takes tensors that the copy engine does not, and runs
// on sm_80.
template <class P> struct chain_portable {
  typedef chain_shape<P> L;
  typedef typename P::type T;
  unsigned char *smem;
  unsigned base;
  const T *b1, *b2;
  int length;

  // 8 elements, those from `present` on are zero.
  MS_DEVICE void copy_unit (unsigned offset, const T *from, long long at, int present) const {
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
  }
  // One tile of what is stored: rows from row0 on, columns from column0 on.
  MS_DEVICE void copy_tile (int to, int bytes, int panel, const T *from, long long pitch, int row0, int rows,
                            int column0, int columns) const {
    const int units = bytes / panel * 8;
    for (int e = threadIdx.x; e < bytes / 16; e += 128 * P::ROW_GROUPS) {
      const int r = e / units, u = e % units;
      copy_unit (ms_tile_at (to, r, u, panel), from, (row0 + r) * pitch + column0 + u * 8,
                 row0 + r < rows ? columns - column0 - u * 8 : 0);
    }
  }
  MS_DEVICE void copy (int i) const {
    const int to = i % P::STAGES * L::stage, x = i * P::TILE;
    if (P::B1_TURNED) copy_tile (to, L::b1_bytes, L::b1_panel, b1, P::B1_PITCH, x, length, 0, P::DEPTH);
    else copy_tile (to, L::b1_bytes, L::b1_panel, b1, P::B1_PITCH, 0, P::DEPTH, x, length);
    if (P::B2_TURNED) copy_tile (to + L::b1_bytes, L::b2_bytes, L::b2_panel, b2, P::B2_PITCH, 0, P::WIDTH, x, length);
    else copy_tile (to + L::b1_bytes, L::b2_bytes, L::b2_panel, b2, P::B2_PITCH, x, length, 0, P::WIDTH);
  }

  // Operand fragments of 16 rows from k and the 16 columns from 16 n of a matrix; turned: its transpose is stored.
  MS_DEVICE static void fragment (unsigned (&b)[4], unsigned tile, int panel, bool turned, int k, int n) {
    const int lane = threadIdx.x & 31, r = turned ? n * 16 + (lane & 7) + (lane >> 4) * 8 : k + (lane & 15),
              u = turned ? k / 8 + (lane >> 3 & 1) : 2 * n + (lane >> 4);
    const unsigned at = ms_tile_at (tile, r, u, panel);
    if (turned) ms_warp_ldmatrix (b, at);
    else ms_warp_ldmatrix_trans (b, at);
  }
  MS_DEVICE static void multiply (float *d, const unsigned (&x)[4], unsigned low, unsigned high) {
    const unsigned y[2] = {low, high};
    float c[4] = {d[0], d[1], d[2], d[3]};
    ms_warp_mma<T> (c, x, y);
    d[0] = c[0], d[1] = c[1], d[2] = c[2], d[3] = c[3];
  }
  MS_DEVICE static void scores (float (&s)[P::TILE / 2], const unsigned (&q)[L::steps][4], unsigned tile) {
#pragma unroll
    for (int c = 0; c < P::TILE / 2; c++) s[c] = 0.0f;
#pragma unroll
    for (int k = 0; k < L::steps; k++)
#pragma unroll
      for (int n = 0; n < P::TILE / 16; n++) {
        unsigned b[4];
        fragment (b, tile, L::b1_panel, P::B1_TURNED, k * 16, n);
        multiply (s + 8 * n, q[k], b[0], b[1]);
        multiply (s + 8 * n + 4, q[k], b[2], b[3]);
      }
  }
  MS_DEVICE static void result (float (&o)[L::eights * 4], const unsigned (&p)[P::TILE / 16][4], unsigned tile) {
#pragma unroll
    for (int k = 0; k < P::TILE / 16; k++)
#pragma unroll
      for (int n = 0; n < (L::eights + 1) / 2; n++) {
        unsigned b[4];
        fragment (b, tile, L::b2_panel, P::B2_TURNED, k * 16, n);
        multiply (o + 8 * n, p[k], b[0], b[1]);
        if (2 * n + 1 < L::eights) multiply (o + 8 * n + 4, p[k], b[2], b[3]);
      }
  }

  // Tile i, which has been copied: scores, operand, result.
  MS_DEVICE void step (float (&o)[L::eights * 4], chain_rows<P> &rows, const unsigned (&q)[L::steps][4], int i) const {
    const int valid = length - i * P::TILE, at = i % P::STAGES * L::stage;
    unsigned char *const scales = smem + P::STAGES * L::stage;
    if constexpr (L::prepared) {
      constexpr int warps = 4 * P::ROW_GROUPS;
      const int warp = threadIdx.x >> 5;
      if constexpr (P::B1_SCALE) chain_b1_scales<P, warps> ((float *) scales, base + at, warp, valid);
      if constexpr (L::changed) chain_prepare<P, warps> (smem + at, warp, valid);
      __syncthreads ();
    }
    float s[P::TILE / 2], f[2];
    unsigned p[P::TILE / 16][4];
    scores (s, q, base + at);
    if (chain_operand<P, false> (p, f, rows, s, i == 0, P::RAGGED && valid < P::TILE, valid, scales, [] () {}))
      chain_rescale<P> (o, f);
    result (o, p, base + at + L::b1_bytes);
  }
};

template <class P>
MS_DEVICE void chain_mma (unsigned char *smem, const typename P::type *a, int rows, const typename P::type *b1,
                          const typename P::type *b2, int length, const typename P::context &context) {
  typedef chain_shape<P> L;
  const chain_portable<P> block = {smem, ms_shared_address (smem), b1, b2, length};
  const int lane = threadIdx.x & 31, row = (threadIdx.x >> 5) * 16 + (lane >> 2);
  const int tiles = (length + P::TILE - 1) / P::TILE;
  ms_launch_dependents ();
#pragma unroll
  for (int i = 0; i < P::STAGES - 1; i++) {
    if (i < tiles) block.copy (i);
    ms_copy_commit ();
  }
  unsigned q[L::steps][4];
  float fix[2][L::fixed];
  float o[L::eights * 4], top[2] = {-1e30f, -1e30f}, sum[2][L::stats] = {};
  chain_rows<P> state = {fix, top, sum};
  chain_load_a<P> (q, a, row, rows);
  P::fixed (state.fix, q, row, rows, context);
#pragma unroll
  for (int i = 0; i < L::eights * 4; i++) o[i] = 0.0f;
#pragma unroll 1
  for (int i = 0; i < tiles; i++) {
    ms_copy_wait<P::STAGES - 2> ();
    __syncthreads (); // tile i is there, and everybody is done with tile i - 1
    if (i + P::STAGES - 1 < tiles) block.copy (i + P::STAGES - 1);
    ms_copy_commit ();
    block.step (o, state, q, i);
  }
  ms_copy_wait<0> ();
  ms_wait_inputs (); // before anything is written to device memory
#pragma unroll
  for (int h = 0; h < 2; h++)
#pragma unroll
    for (int k = 0; k < P::STATS; k++) state.sum[h][k] = ms_quad_sum (state.sum[h][k]);
  chain_finish<P> (o, state, row, rows, context);
}
