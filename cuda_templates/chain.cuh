// Chained matmuls, O = f (A B1) B2 summed over a loop that walks columns of B1 and rows of B2: scores, exponentials and
// the result stay in registers. P, printed by emit_chain.c, has the shapes, the tiling and the elementwise parts:
//   type                 of A, B1 and B2, 16 bits wide
//   D, DV                the contracted extent of the first matmul, columns of the second
//   LOOP, RAGGED         the loop's extent in one block, and whether a tile of NT may be cut by its end
//   WM, WN, NT, S, ST    warpgroups along rows and along the loop, columns of B1 a tile, blocks that share the loop, stages
//   STABLE, PLAIN        exponentials are taken of exponent () minus a running maximum of the row; nothing else is multiplied or summed
//   STATS, DEGREE, degree (k, f)   sums along the row; the power of the row's scale that O and sum k carry, as a factor
//   fixed ()             values a row that do not change over the loop, and changes of A
//   exponent (s, fix)    in powers of 2; plain: linear in s and growing
//   element (s, e, fix, x)         the operand of the second matmul for score s and exponential e; adds to the sums x
//   A_MAP, FIXED         whether fixed () changes A; its results
//   B1_MAP, B1_NORM, b1 (x, b1_factor (mean square of the row)), and the same of B2   elementwise changes of B1 and B2, as stored
//   B1_TURNED, B2_TURNED what is stored is the transpose: a row is a column of B1 (B2)
//   B1_SCALE             B1 is changed by b1_factor alone, which goes to the columns of the scores instead
//   B2_SCALE             the same of B2, to the columns of the second matmul's left operand
//   finish (context, row, column, o, o of the next column, sums)      what follows the loop; writes the outputs
//
// A warpgroup owns 64 rows; WM of them stand along the rows, WN take turns at the tiles of the loop; the S blocks of a
// cluster share the loop. A thread holds rows g and g + 8 of its warp's 16 (g = lane / 4) and columns 2 t, 2 t + 1 of
// every 8 (t = lane % 4): the accumulator fragment of one matmul is the operand fragment of the next.
//
// A tile in shared memory: rows of 128 bytes (64 columns), the 16-byte unit u of row r at u ^ r % 8; a tile of more
// columns is several of those one after the other. It is what the copy engine writes, wgmma and ldmatrix read.

template <class P> struct chain_shape {
  static constexpr int groups = P::WM * P::WN, threads = 128 * groups;
  static constexpr bool b1_changed = P::B1_MAP && !P::B1_SCALE, b2_changed = P::B2_MAP && !P::B2_SCALE; // tiles, before they are multiplied
  static constexpr bool changed = b1_changed || b2_changed, scales = P::B1_SCALE || P::B2_SCALE, prepared = changed || scales;
  static constexpr int steps = (P::D + 15) / 16;                       // of the first contraction
  static constexpr int chunks = (P::DV + 7) / 8, blocks = (P::DV + 63) / 64; // 8, 64 columns of the result
  static constexpr int b1_chunk = P::B1_TURNED ? P::NT * 128 : steps * 2048, b2_chunk = P::B2_TURNED ? (P::DV + 15) / 16 * 2048 : P::NT * 128; // bytes, of 64 columns
  static constexpr int b1_bytes = (P::B1_TURNED ? (P::D + 63) / 64 : P::NT / 64) * b1_chunk, b2_bytes = (P::B2_TURNED ? P::NT / 64 : blocks) * b2_chunk;
  static constexpr int stage = b1_bytes + b2_bytes;
  static constexpr int a_bytes = (P::D + 63) / 64 * 8192;              // of 64 rows
  static constexpr int mine = (chunks + P::WN - 1) / P::WN;            // chunks that a warpgroup goes on with after the loop
  static constexpr int quads = (mine + 3) / 4;                         // of them, 16 bytes a thread each
  static constexpr int units = P::WN * quads * 4;                      // 16-byte units of a partial row
  static constexpr int row_bytes = units * 16 + 64;                    // rows g and g + 1 in other banks
  static constexpr int aux = P::WN + 1 + P::STATS;                     // beside it: scales, maximum, sums
  static constexpr int share = (P::WM * 64 + P::S - 1) / P::S;         // rows that a block of the cluster finishes
  static constexpr int cells = P::WN > 1 ? 4 * chunks + 2 + 2 * P::STATS : 0; // where the tiles were, when those are used up
  static constexpr int at_a = P::ST * stage, at_a_end = at_a + P::WM * a_bytes, cell_bytes = groups * cells * 512;
  static constexpr int at_partial = at_a_end > cell_bytes ? at_a_end : cell_bytes;
  static constexpr int at_aux = at_partial + (P::S > 1 ? P::S * share * row_bytes : 0);
  static constexpr int at_scales = (at_aux + (P::S > 1 ? P::S * share * aux * 4 : 0) + 15) / 16 * 16;
  // Column factors of every tile, where that is little: a place that is not used again needs no waiting for its readers.
  static constexpr int scale_bytes = P::NT * ((P::B1_SCALE ? 4 : 0) + (P::B2_SCALE ? 2 : 0)); // of a tile; B1's first
  static constexpr int tiles = ((P::LOOP + P::NT - 1) / P::NT + P::S - 1) / P::S, scaled = tiles * scale_bytes <= 8192 ? tiles : P::ST;
  static constexpr int at_barriers = (at_scales + scaled * scale_bytes + 7) / 8 * 8;
  static constexpr int bytes = at_barriers + 8 * (3 * P::ST + 1);
};

// Registers that an asynchronous instruction may be reading or writing: nothing moves across.
template <int N> MS_DEVICE void ms_keep (float (&r)[N]) {
#pragma unroll
  for (int i = 0; i < N; i++) asm volatile ("" : "+f"(r[i])::"memory");
}
template <int N> MS_DEVICE void ms_keep (unsigned (&r)[N]) {
#pragma unroll
  for (int i = 0; i < N; i++) asm volatile ("" : "+r"(r[i])::"memory");
}

template <class T> MS_DEVICE unsigned chain_max2 (unsigned a, unsigned b);
template <> MS_DEVICE unsigned chain_max2<ms_f16> (unsigned a, unsigned b) {
  unsigned y;
  asm ("max.f16x2 %0, %1, %2;" : "=r"(y) : "r"(a), "r"(b));
  return y;
}
template <> MS_DEVICE unsigned chain_max2<ms_bf16> (unsigned a, unsigned b) {
  unsigned y;
  asm ("max.bf16x2 %0, %1, %2;" : "=r"(y) : "r"(a), "r"(b));
  return y;
}
template <class T> MS_DEVICE unsigned chain_multiply2 (unsigned a, unsigned b);
template <> MS_DEVICE unsigned chain_multiply2<ms_f16> (unsigned a, unsigned b) {
  unsigned y;
  asm ("mul.f16x2 %0, %1, %2;" : "=r"(y) : "r"(a), "r"(b));
  return y;
}
template <> MS_DEVICE unsigned chain_multiply2<ms_bf16> (unsigned a, unsigned b) {
  unsigned y;
  asm ("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(y) : "r"(a), "r"(b), "r"(0x80008000u));
  return y;
}
// How large an exponential may become before the maximum is raised, which is dear, and how far below 1 (in powers of 2) the
// largest one then starts: far from overflow, and small enough ones lose nothing that counts.
template <class T> struct chain_range;
template <> struct chain_range<ms_f16> { static constexpr float high = 32768.0f, margin = 8.0f; };
template <> struct chain_range<ms_bf16> { static constexpr float high = 1.1529215e18f, margin = 0.0f; };
template <class T> MS_DEVICE float chain_low (unsigned x) { T y; y.bits = (unsigned short) x; return ms_float (y); }
template <class T> MS_DEVICE float chain_high (unsigned x) { T y; y.bits = (unsigned short) (x >> 16); return ms_float (y); }
MS_DEVICE float chain_quad_sum (float x) {
  x += __shfl_xor_sync (0xffffffffu, x, 1);
  return x + __shfl_xor_sync (0xffffffffu, x, 2);
}
MS_DEVICE float chain_quad_max (float x) {
  x = fmaxf (x, __shfl_xor_sync (0xffffffffu, x, 1));
  return fmaxf (x, __shfl_xor_sync (0xffffffffu, x, 2));
}
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
      const float low = chain_low<T> (a[k][e]), high = chain_high<T> (a[k][e]);
      y[e & 1] += low * low + high * high;
    }
  y[0] = chain_quad_sum (y[0]);
  y[1] = chain_quad_sum (y[1]);
}

// Rows g and g + 8 of a warp's 16 as operand fragments. Rows beyond `rows` and columns beyond D are zero.
template <class P> MS_DEVICE void chain_load_a (unsigned (&a)[chain_shape<P>::steps][4], const typename P::type *from, int row, int rows) {
  const int t = threadIdx.x & 3;
#pragma unroll
  for (int k = 0; k < chain_shape<P>::steps; k++)
#pragma unroll
    for (int e = 0; e < 4; e++) {
      const int r = row + (e & 1) * 8, c = k * 16 + (e >> 1) * 8 + 2 * t;
      const typename P::type *p = from + (long long) r * P::D + c;
      a[k][e] = 0;
      if (r < rows && c < P::D) {
        if constexpr (P::D % 2 == 0) asm volatile ("ld.global.nc.b32 %0, [%1];" : "=r"(a[k][e]) : "l"(p));
        else a[k][e] = p[0].bits | (c + 1 < P::D ? (unsigned) p[1].bits << 16 : 0u);
      }
    }
}

// The same rows for wgmma: read by all threads, and put into shared memory as tiles of 64 rows.
template <class P> struct chain_rows {
  typedef chain_shape<P> L;
  static constexpr int units = L::steps * 2, total = P::WM * 64 * units, each = (total + L::threads - 1) / L::threads;
  uint4 v[each];
  MS_DEVICE void load (const typename P::type *from, int rows) {
#pragma unroll
    for (int i = 0; i < each; i++) {
      const int e = i * L::threads + threadIdx.x, r = e / units, u = e % units;
      const typename P::type *p = from + (long long) r * P::D + u * 8;
      const bool there = e < total && r < rows && u * 8 < P::D;
      if constexpr (P::D % 8 == 0)
        asm volatile ("{\n.reg .pred p;\nsetp.ne.b32 p, %5, 0;\nmov.b32 %0, 0;\nmov.b32 %1, 0;\nmov.b32 %2, 0;\nmov.b32 %3, 0;\n"
                      "@p ld.global.nc.v4.b32 {%0, %1, %2, %3}, [%4];\n}"
                      : "=&r"(v[i].x), "=&r"(v[i].y), "=&r"(v[i].z), "=&r"(v[i].w) : "l"(p), "r"((int) there));
      else {
        unsigned w[8];
#pragma unroll
        for (int j = 0; j < 8; j++) w[j] = there && u * 8 + j < P::D ? p[j].bits : 0;
        v[i] = make_uint4 (w[0] | w[1] << 16, w[2] | w[3] << 16, w[4] | w[5] << 16, w[6] | w[7] << 16);
      }
    }
  }
  MS_DEVICE void store (unsigned char *to) const {
#pragma unroll
    for (int i = 0; i < each; i++) {
      const int e = i * L::threads + threadIdx.x, r = e / units, u = e % units;
      if (e < total) *(uint4 *) (to + r / 64 * L::a_bytes + u / 8 * 8192 + r % 64 * 128 + ((u & 7 ^ r & 7) << 4)) = v[i];
    }
  }
};

// The operand of the second matmul from the scores of one tile, and what is summed along the rows. first: nothing has been
// accumulated yet; cut: only columns below `valid` exist; scales: factors of the columns of the scores (B1_SCALE), then those of the operand
// (SCALED). True when what is accumulated has to be multiplied by f.
template <class P, bool SCALED>
MS_DEVICE bool chain_operand (float (&s)[P::NT / 2], float (&f)[2], unsigned (&p)[P::NT / 16][4], float (&m)[2],
                              float (&sum)[2][P::STATS > 0 ? P::STATS : 1], const float (&fix)[2][P::FIXED > 0 ? P::FIXED : 1], bool first, bool cut, int valid,
                              const unsigned char *scales) {
  typedef typename P::type T;
  typedef chain_range<T> range;
  constexpr int NT = P::NT, STATS = P::STATS;
  const int t = threadIdx.x & 3;
  if constexpr (P::B1_SCALE) {
#pragma unroll
    for (int c = 0; c < NT / 8; c += 2) {
      const float4 x = ((const float4 *) scales)[t * (NT / 16) + c / 2];
      s[4 * c] *= x.x, s[4 * c + 1] *= x.y, s[4 * c + 2] *= x.x, s[4 * c + 3] *= x.y;
      s[4 * c + 4] *= x.z, s[4 * c + 5] *= x.w, s[4 * c + 6] *= x.z, s[4 * c + 7] *= x.w;
    }
  }
  unsigned scale[SCALED ? NT / 8 : 1];
  auto load_scales = [&] () {
    if constexpr (SCALED) {
#pragma unroll
      for (int i = 0; i < NT / 32; i++) {
        const uint4 x = ((const uint4 *) (scales + (P::B1_SCALE ? NT * 4 : 0)))[t * (NT / 32) + i];
        scale[4 * i] = x.x, scale[4 * i + 1] = x.y, scale[4 * i + 2] = x.z, scale[4 * i + 3] = x.w;
      }
    }
  };
  // Columns 8 c + 2 t and the next one, of rows g and g + 8.
  auto put = [&] (int c, const float (&v)[4]) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const unsigned x = ms_pack<T> (v[2 * h], v[2 * h + 1]);
      p[c / 2][c % 2 * 2 + h] = SCALED ? chain_multiply2<T> (x, scale[SCALED ? c : 0]) : x;
    }
  };
  if constexpr (P::STABLE) {
    if (P::PLAIN && cut) {
#pragma unroll
      for (int c = 0; c < NT / 2; c++) if ((c >> 2) * 8 + 2 * t + (c & 1) >= valid) s[c] = -MS_INF;
    }
    // The exact maximum, and everything accumulated brought to it.
    auto raise = [&] () {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        float top = -1e30f;
#pragma unroll
        for (int c = 0; c < NT / 8; c++)
#pragma unroll
          for (int e = 0; e < 2; e++)
            if (P::PLAIN || !cut || c * 8 + 2 * t + e < valid) top = fmaxf (top, P::exponent (s[4 * c + 2 * h + e], fix[h]));
        top = chain_quad_max (top) + (P::PLAIN ? range::margin : 0.0f);
        if (top < m[h]) top = m[h]; // not lowered
        const float x = ms_exp2 (m[h] - top);
        m[h] = top;
#pragma unroll
        for (int k = 0; k < STATS; k++) sum[h][k] *= P::degree (k, x);
        f[h] = chain_power<P::DEGREE> (x);
      }
      ms_keep (s); // or the products above would be kept for what follows, in registers that do not exist
    };
    float x[2][STATS > 0 ? STATS : 1];
    // Whether an exponential came out large: then the maximum is raised. One that is a little too small does no harm.
    auto exponentials = [&] () {
      unsigned top2 = 0;
      float top = 0.0f;
      load_scales ();
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
        if (P::PLAIN) top2 = chain_max2<T> (top2, chain_max2<T> (p[c / 2][c % 2 * 2], p[c / 2][c % 2 * 2 + 1]));
      }
      if (P::PLAIN) top = fmaxf (chain_low<T> (top2), chain_high<T> (top2));
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
    return first || high;
  } else {
    load_scales ();
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
    return false;
  }
}
template <class P> MS_DEVICE void chain_rescale (float (&o)[chain_shape<P>::chunks * 4], const float (&f)[2]) {
#pragma unroll
  for (int i = 0; i < chain_shape<P>::chunks * 4; i++) o[i] *= f[i >> 1 & 1];
}

// A tile changed in place, by `warps` warps: its elements become map (x, row, column, factor of the row); columns count from the first of
// the tile, CHUNK bytes hold 64 of them. With NORM, two threads have a row, of which factor () gets the mean square.
template <class T, int CHUNK, int BYTES, int COLUMNS, bool NORM, int warps, class FACTOR, class MAP>
MS_DEVICE void chain_map (unsigned char *tile, int warp, FACTOR factor, MAP map) {
  constexpr int blocks = BYTES / CHUNK;
  const int lane = threadIdx.x & 31, half = lane & 1;
  auto change = [&] (uint4 v, int r, int u, float f) {
    unsigned w[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int j = 0; j < 4; j++) w[j] = ms_pack<T> (map (chain_low<T> (w[j]), r, u * 8 + 2 * j, f), map (chain_high<T> (w[j]), r, u * 8 + 2 * j + 1, f));
    return make_uint4 (w[0], w[1], w[2], w[3]);
  };
  if constexpr (NORM) {
    for (int r = warp * 16 + (lane >> 1); r < CHUNK / 128; r += 16 * warps) {
      uint4 v[blocks][4];
      float sum = 0.0f;
      auto at = [&] (int c, int u) { return (uint4 *) (tile + c * CHUNK + r * 128 + (((half * 4 + u) ^ (r & 7)) << 4)); };
#pragma unroll
      for (int c = 0; c < blocks; c++)
#pragma unroll
        for (int u = 0; u < 4; u++) {
          v[c][u] = *at (c, u);
          const unsigned w[4] = {v[c][u].x, v[c][u].y, v[c][u].z, v[c][u].w};
#pragma unroll
          for (int j = 0; j < 4; j++) {
            const float low = chain_low<T> (w[j]), high = chain_high<T> (w[j]);
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
    chain_map<T, L::b1_chunk, L::b1_bytes, P::D, P::B1_NORM, warps> (stage, warp, P::b1_factor, [&] (float x, int, int, float f) { return P::b1 (x, f); });
  if constexpr (L::b2_changed)
    chain_map<T, L::b2_chunk, L::b2_bytes, P::DV, P::B2_NORM, warps> (stage + L::b1_bytes, warp, P::b2_factor, [&] (float x, int r, int column, float f) {
      return !P::RAGGED || (P::B2_TURNED ? column : r) < valid ? P::b2 (x, f) : 0.0f;
    });
}

// Sums of squares of the rows of a tile, by `warps` warps: the diagonal of the tile times its transpose. done (row, place of the column
// that the row becomes among those of a thread, sum) by one thread each.
template <class T, int NT, int CHUNK, int COLUMNS, int warps, class DONE> MS_DEVICE void chain_row_squares (unsigned tile, int warp, DONE done) {
  const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  for (int r = warp * 16; r < NT; r += 16 * warps) {
    float low[4] = {}, high[4] = {}; // products of rows 0 to 7, and of 8 to 15
#pragma unroll
    for (int k = 0; k < (COLUMNS + 15) / 16; k++) {
      const int row = r + (lane & 15), u = 2 * k + (lane >> 4);
      unsigned a[4];
      ms_ldmatrix (a, tile + u / 8 * CHUNK + row * 128 + ((u & 7 ^ row & 7) << 4));
      ms_mma<T> (low, a, {a[0], a[2]});
      ms_mma<T> (high, a, {a[1], a[3]});
    }
    if (g >> 1 == t) {
#pragma unroll
      for (int h = 0; h < 2; h++)
        done (r + g + 8 * h, ((g >> 1) * (NT / 8) + r / 8 + h) * 2 + (g & 1), h ? g & 1 ? high[3] : high[2] : g & 1 ? low[1] : low[0]);
    }
  }
}

// The norms of the rows of B1 and B2 of one stage, as factors: see chain_operand. One of B2 that is far from 1 would cost digits or
// overflow there: its power of 2 stays in B2.
template <class P, int warps> MS_DEVICE void chain_scales (unsigned char *stage, unsigned address, unsigned char *scales, int warp, int valid) {
  typedef typename P::type T;
  typedef chain_shape<P> L;
  if constexpr (P::B1_SCALE)
    chain_row_squares<T, P::NT, L::b1_chunk, P::D, warps> (address, warp, [&] (int row, int at, float sum) {
      ((float *) scales)[at] = !P::RAGGED || row < valid ? P::b1_factor (sum / P::D) : 0.0f;
    });
  if constexpr (P::B2_SCALE)
    chain_row_squares<T, P::NT, L::b2_chunk, P::DV, warps> (address + L::b1_bytes, warp, [&] (int row, int at, float sum) {
      const bool present = !P::RAGGED || row < valid;
      float x = P::b2_factor (sum / P::DV);
      if (present && x < MS_INF && (x < 0.125f || x > 8.0f)) {
        const float power = __int_as_float (__float_as_int (x) & 0x7f800000);
        for (int u = 0; u < 8 * L::blocks; u++) {
          unsigned *w = (unsigned *) (stage + L::b1_bytes + u / 8 * P::NT * 128 + row * 128 + ((u & 7 ^ row & 7) << 4));
          for (int j = 0; j < 4; j++) w[j] = ms_pack<T> (chain_low<T> (w[j]) * power, chain_high<T> (w[j]) * power);
        }
        ms_fence_async ();
        x /= power;
      }
      ((T *) (scales + (P::B1_SCALE ? P::NT * 4 : 0)))[at] = ms_round<T> (present ? x : 0.0f);
    });
}

// sm_90a, and nvcc's pass over the host side. Under NVRTC, sm_90 always means sm_90a here.
#if !defined (__CUDA_ARCH__) || defined (__CUDA_ARCH_FEAT_SM90_ALL) || (defined (__CUDACC_RTC__) && __CUDA_ARCH__ >= 900)
// Brings together what the warpgroups of a block and the blocks of a cluster accumulated for the same rows, and finishes
// the rows. Partial results travel as halves beside a scale a row: every element keeps 11 bits.
template <class P>
MS_DEVICE void chain_gather (unsigned char *smem, unsigned base, unsigned gathered, float (&o)[chain_shape<P>::chunks * 4], float (&m)[2],
                             float (&sum)[2][P::STATS > 0 ? P::STATS : 1], int rows, int rank, const typename P::context &context) {
  typedef chain_shape<P> L;
  constexpr int WM = P::WM, WN = P::WN, S = P::S, STATS = P::STATS, mine = L::mine;
  const int tid = threadIdx.x, lane = tid & 31, g = lane >> 2, t = lane & 3;
  const int group = __shfl_sync (0xffffffffu, tid >> 7, 0), wm = group % WM, wn = group / WM;
  float f[mine * 4];
#pragma unroll
  for (int v = 0; v < mine * 4; v++) f[v] = v < L::chunks * 4 ? o[v] : 0.0f;
  if constexpr (WN > 1) { // warpgroup wn goes on with its share of the columns
    float *cells = (float *) smem + (tid & 127);
    __syncthreads (); // the tiles are used up
    auto cell = [&] (int w, int v) -> float & { return cells[((wm + WM * w) * L::cells + v) * 128]; };
#pragma unroll
    for (int v = 0; v < L::chunks * 4; v++) if (v / (mine * 4) != wn) cell (wn, v) = o[v];
#pragma unroll
    for (int h = 0; h < 2; h++) {
      cell (wn, L::chunks * 4 + h) = m[h];
#pragma unroll
      for (int k = 0; k < STATS; k++) cell (wn, L::chunks * 4 + 2 + 2 * k + h) = sum[h][k];
    }
    __syncthreads ();
    float top[2] = {m[0], m[1]}, factor[2] = {1.0f, 1.0f};
    if (P::STABLE) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
#pragma unroll
        for (int w = 0; w < WN; w++) top[h] = fmaxf (top[h], cell (w, L::chunks * 4 + h));
        factor[h] = ms_exp2 (m[h] - top[h]);
      }
    }
#pragma unroll
    for (int v = 0; v < mine * 4; v++) {
      f[v] = 0.0f;
#pragma unroll
      for (int w = 0; w < WN; w++) if (w == wn && w * mine * 4 + v < L::chunks * 4) f[v] = o[w * mine * 4 + v];
      f[v] *= chain_power<P::DEGREE> (factor[v >> 1 & 1]);
    }
#pragma unroll
    for (int h = 0; h < 2; h++)
#pragma unroll
      for (int k = 0; k < STATS; k++) sum[h][k] *= P::degree (k, factor[h]);
#pragma unroll
    for (int w = 0; w < WN; w++) if (w != wn) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        factor[h] = P::STABLE ? ms_exp2 (cell (w, L::chunks * 4 + h) - top[h]) : 1.0f;
#pragma unroll
        for (int k = 0; k < STATS; k++) sum[h][k] += P::degree (k, factor[h]) * cell (w, L::chunks * 4 + 2 + 2 * k + h);
      }
#pragma unroll
      for (int v = 0; v < mine * 4; v++)
        if (wn * mine * 4 + v < L::chunks * 4) f[v] += chain_power<P::DEGREE> (factor[v >> 1 & 1]) * cell (w, wn * mine * 4 + v);
    }
    m[0] = top[0], m[1] = top[1];
  }
  if constexpr (S == 1) {
    ms_wait_inputs (); // before anything is written to device memory
#pragma unroll
    for (int v = 0; v < mine * 2; v++) {
      const int h = v & 1, r = wm * 64 + (tid >> 5 & 3) * 16 + g + 8 * h, column = (wn * mine + v / 2) * 8 + 2 * t;
      if (r < rows && column < P::DV) P::finish (context, r, column, f[v / 2 * 4 + 2 * h], f[v / 2 * 4 + 2 * h + 1], sum[h]);
    }
    return;
  }
  ms_cluster_wait (); // the others have initialised their barriers
#pragma unroll
  for (int h = 0; h < 2; h++) {
    float scale = 0.0f;
#pragma unroll
    for (int c = 0; c < mine; c++) scale = fmaxf (scale, fmaxf (fabsf (f[4 * c + 2 * h]), fabsf (f[4 * c + 2 * h + 1])));
    scale = fmaxf (chain_quad_max (scale), 1e-30f);
    const float inverse = 1.0f / scale;
    const int row = wm * 64 + (tid >> 5 & 3) * 16 + g + 8 * h, owner = row / L::share, at = rank * L::share + row % L::share;
    const unsigned to = ms_cluster_address (base, owner), barrier = to + (gathered - base);
#pragma unroll
    for (int q = 0; q < L::quads; q++) {
      unsigned w[4];
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const int c = q * 4 + j;
        w[j] = c < mine ? ms_pack<ms_f16> (f[4 * (c < mine ? c : 0) + 2 * h] * inverse, f[4 * (c < mine ? c : 0) + 2 * h + 1] * inverse) : 0;
      }
      ms_send (to + L::at_partial + at * L::row_bytes + ((wn * L::quads + q) * 4 + t) * 16, barrier, w[0], w[1], w[2], w[3]);
    }
    const unsigned beside = to + L::at_aux + at * L::aux * 4;
    if (t == 0) ms_send (beside + 4 * wn, barrier, __float_as_int (scale));
    if (wn == 0) {
      if (t == 1) ms_send (beside + 4 * WN, barrier, __float_as_int (m[h]));
#pragma unroll
      for (int k = 0; k < STATS; k++) if (t == (k + 2) % 4) ms_send (beside + 4 * (WN + 1 + k), barrier, __float_as_int (sum[h][k]));
    }
  }
  ms_barrier_wait (gathered, 0);
  ms_wait_inputs (); // before anything is written to device memory

  const int first = rank * L::share, some = min (min (L::share, WM * 64 - first), rows - first);
  for (int e = tid; e < some * L::units; e += L::threads) {
    const int r = e / L::units, u = e % L::units, w = u / (L::quads * 4);
    float top = -MS_INF, acc[8] = {}, total[STATS > 0 ? STATS : 1] = {};
    const float *aux = (const float *) (smem + L::at_aux) + r * L::aux;
    if (P::STABLE)
#pragma unroll
      for (int k = 0; k < S; k++) top = fmaxf (top, aux[k * L::share * L::aux + WN]);
#pragma unroll
    for (int k = 0; k < S; k++) {
      const float *x = aux + k * L::share * L::aux;
      const float factor = P::STABLE ? ms_exp2 (x[WN] - top) : 1.0f, scale = x[w] * chain_power<P::DEGREE> (factor);
#pragma unroll
      for (int j = 0; j < STATS; j++) total[j] += x[WN + 1 + j] * P::degree (j, factor);
      const uint4 v = *(const uint4 *) (smem + L::at_partial + (k * L::share + r) * L::row_bytes + u * 16);
      const unsigned bits[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int j = 0; j < 4; j++) {
        acc[2 * j] += scale * chain_low<ms_f16> (bits[j]);
        acc[2 * j + 1] += scale * chain_high<ms_f16> (bits[j]);
      }
    }
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const int c = u / 4 % L::quads * 4 + j, column = (w * mine + c) * 8 + 2 * (u & 3);
      if (c < mine && column < P::DV) P::finish (context, first + r, column, acc[2 * j], acc[2 * j + 1], total);
    }
  }
}

template <class P>
MS_DEVICE void chain_wgmma (unsigned char *smem, const typename P::type *a, int rows, const ms_tensor_map *b1, int z1, const ms_tensor_map *b2, int z2,
                            int column, int start, int length, int rank, const typename P::context &context) {
  typedef chain_shape<P> L;
  typedef typename P::type T;
  constexpr int NT = P::NT, ST = P::ST, WM = P::WM, WN = P::WN, S = P::S, STATS = P::STATS;
  // Rounds after which a tile is refilled (later, if enough are in flight: nobody waits for the others), and before which it is prepared.
  constexpr int lag = L::prepared || ST < 4 * WN ? 0 : 1, ahead = L::changed ? WM + 1 : WM;
  const int tid = threadIdx.x, lane = tid & 31;
  const int warp = __shfl_sync (0xffffffffu, tid >> 5, 0), group = warp >> 2, wm = WN > 1 ? group % WM : group, wn = WN > 1 ? group / WM : 0;
  const int row = wm * 64 + (warp & 3) * 16 + (lane >> 2);
  const unsigned base = __shfl_sync (0xffffffffu, ms_shared_address (smem), 0);
  const unsigned full = base + L::at_barriers, empty = full + 8 * ST, ready = empty + 8 * ST, gathered = ready + 8 * ST;
  const int all = (length + NT - 1) / NT, first = (int) ((long long) all * rank / S), tiles = (int) ((long long) all * (rank + 1) / S) - first;
  constexpr bool alone = WM == 1 && L::scales && !L::changed; // nobody else uses the tiles of a warpgroup: its own barrier does
  const bool leader = (tid & 127) == 0;

  auto copy = [&] (int i) {
    const int slot = i % ST, x = start + (first + i) * NT;
    const unsigned to = base + slot * L::stage, barrier = full + 8 * slot;
    ms_barrier_expect (barrier, L::stage);
#pragma unroll
    for (int c = 0; c < L::b1_bytes / L::b1_chunk; c++) ms_copy_box (to + c * L::b1_chunk, b1, c * 64 + (P::B1_TURNED ? 0 : x), P::B1_TURNED ? x : 0, z1, barrier);
#pragma unroll
    for (int c = 0; c < L::b2_bytes / L::b2_chunk; c++)
      ms_copy_box (to + L::b1_bytes + c * L::b2_chunk, b2, c * 64 + (P::B2_TURNED ? x : column), P::B2_TURNED ? column : x, z2, barrier);
  };
  ms_launch_dependents ();
  {
    chain_rows<P> held;
    held.load (a, rows); // requested before the copies of B1 and B2, which would queue in front
    if (tid == 0) {
      const int received = min (L::share, WM * 64 - rank * L::share);
      for (int s = 0; s < ST; s++) {
        ms_barrier_init (full + 8 * s, 1);
        ms_barrier_init (empty + 8 * s, WM * 4);
        ms_barrier_init (ready + 8 * s, 128);
      }
      ms_barrier_init (gathered, 1);
      ms_barrier_init_fence ();
      if (S == 1) {}
      else if (received > 0) ms_barrier_expect (gathered, S * received * (L::units * 16 + 4 * L::aux));
      else ms_barrier_arrive (gathered);
      for (int i = 0; i < ST && i < tiles; i++) copy (i);
    }
    __syncwarp ();
    held.store (smem + L::at_a);
    ms_fence_async ();
  }
  __syncthreads ();
  if (S > 1) ms_cluster_arrive ();

  float fix[2][P::FIXED > 0 ? P::FIXED : 1]; // per-row values that do not change over the loop
  const unsigned a_tile = base + L::at_a + wm * L::a_bytes;
  if constexpr (P::A_MAP || P::FIXED) {
    unsigned q[L::steps][4];
#pragma unroll
    for (int k = 0; k < L::steps; k++) {
      const int r = (warp & 3) * 16 + (lane & 15), u = 2 * k + (lane >> 4);
      ms_ldmatrix (q[k], a_tile + u / 8 * 8192 + r * 128 + ((u & 7 ^ r & 7) << 4));
    }
    P::fixed (fix, q, row, rows, context);
    if constexpr (P::A_MAP) { // warpgroups in turns at the tiles share the rows
      __syncthreads ();
#pragma unroll
      for (int k = 0; k < L::steps; k++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
          const int r = (warp & 3) * 16 + (lane >> 2) + (e & 1) * 8, u = 2 * k + (e >> 1);
          if (wn == 0) *(unsigned *) (smem + L::at_a + wm * L::a_bytes + u / 8 * 8192 + r * 128 + ((u & 7 ^ r & 7) << 4) + 4 * (lane & 3)) = q[k][e];
        }
      ms_fence_async ();
      __syncthreads ();
    }
  }

  // Tile i made ready by one of the warpgroups that use it: rows of B2, or elements of B1, changed in place, or the norms of the rows.
  auto prepare = [&] (int i) {
    if constexpr (L::prepared) {
      const int slot = i % ST, valid = length - (first + i) * NT;
      ms_barrier_wait (full + 8 * slot, i / ST & 1);
      if constexpr (L::scales) chain_scales<P, 4> (smem + slot * L::stage, base + slot * L::stage, smem + L::at_scales + i % L::scaled * L::scale_bytes, warp & 3, valid);
      if constexpr (L::changed) {
        chain_prepare<P, 4> (smem + slot * L::stage, warp & 3, valid);
        ms_fence_async ();
      }
      if (!alone) ms_barrier_arrive (ready + 8 * slot); // every thread for what it wrote itself
      __syncwarp ();
    }
  };
  const unsigned arrived = L::changed ? ready : full;
  if (L::prepared)
    for (int r = wm; r < ahead; r += WM) if (wn + r * WN < tiles) prepare (wn + r * WN);

  float s[NT / 2], o[L::chunks * 4], m[2] = {-1e30f, -1e30f}, sum[2][STATS > 0 ? STATS : 1] = {};
  unsigned p[NT / 16][4], slot = wn, parity = 0;
#pragma unroll
  for (int i = 0; i < L::chunks * 4; i++) o[i] = 0.0f;
  ms_keep (o);
  auto scores = [&] () {
    const unsigned to = (a_tile & 0x3ffff) >> 4, d = (base + slot * L::stage & 0x3ffff) >> 4;
    auto left = [&] (int k) { return ms_columns (to + k / 4 * 512 + k % 4 * 2, 16); };
    auto right = [&] (int k) { return P::B1_TURNED ? ms_columns (d + k / 4 * (L::b1_chunk >> 4) + k % 4 * 2, 16) : ms_columns (d + k * 128, L::b1_chunk); };
    ms_wgmma_fence ();
    ms_wgmma<T, NT>::template first<P::B1_TURNED> (s, left (0), right (0));
#pragma unroll
    for (int k = 1; k < L::steps; k++) ms_wgmma<T, NT>::template add<P::B1_TURNED> (s, left (k), right (k));
    ms_wgmma_commit ();
  };
  auto operand = [&] (int i, float (&f)[2], bool begin) {
    const int valid = length - (first + i) * NT; // columns of B1 in this tile
    if (alone) ms_barrier_warpgroup (1 + group);
    else if (L::scales) ms_barrier_wait (ready + 8 * slot, parity);
    return chain_operand<P, P::B2_SCALE> (s, f, p, m, sum, fix, begin, P::RAGGED && valid < NT, valid, smem + L::at_scales + i % L::scaled * L::scale_bytes);
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
    const unsigned now = slot, d = (base + slot * L::stage + L::b1_bytes & 0x3ffff) >> 4;
    slot += WN;
    if (slot >= ST) slot -= ST, parity ^= 1;
    ms_wgmma_fence ();
#pragma unroll
    for (int k = 0; k < NT / 16; k++)
      ms_wgmma<T, L::chunks * 8>::template add<P::B2_TURNED> (o, p[k], P::B2_TURNED ? ms_columns (d + k / 4 * (L::b2_chunk >> 4) + k % 4 * 2, 16) : ms_columns (d + k * 128, L::b2_chunk));
    ms_wgmma_commit ();
    if (more) {
      ms_barrier_wait (arrived + 8 * slot, parity);
      scores ();
    }
    const bool prepares = L::prepared && (r + ahead) % WM == wm && i + ahead * WN < tiles;
    if (!L::changed && prepares) prepare (i + ahead * WN); // meanwhile
    ms_wgmma_wait ();
    ms_keep (s);
    ms_keep (o);
#pragma unroll
    for (int k = 0; k < NT / 16; k++) ms_keep (p[k]);
    if (lane == 0) ms_barrier_arrive (empty + 8 * now);
    if (leader && r >= lag && r % WM == wm) {
      const int j = i - lag * WN;
      if (j + ST < tiles) {
        ms_barrier_wait (empty + 8 * (j % ST), j / ST & 1);
        copy (j + ST);
      }
    }
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
    for (int k = 0; k < STATS; k++) sum[h][k] = chain_quad_sum (sum[h][k]);

  chain_gather<P> (smem, base, gathered, o, m, sum, rows, rank, context);
}
#else // nvcc -arch=sm_90a also makes code for compute_90, which has no wgmma
template <class P, class... ARGUMENTS> MS_DEVICE void chain_wgmma (ARGUMENTS...) { __trap (); }
#endif

// The same with mma.sync and no cluster: every warp owns 16 rows, the block's warps read the same tiles. Takes tensors
// that the copy engine does not, and runs on sm_80.
template <class P>
MS_DEVICE void chain_mma (unsigned char *smem, const typename P::type *a, int rows, const typename P::type *b1, const typename P::type *b2, int length,
                          const typename P::context &context) {
  typedef chain_shape<P> L;
  typedef typename P::type T;
  constexpr int NT = P::NT, ST = P::ST;
  const int tid = threadIdx.x, lane = tid & 31, t = lane & 3, row = (tid >> 5) * 16 + (lane >> 2);
  const unsigned base = ms_shared_address (smem);
  const int tiles = (length + NT - 1) / NT;
  ms_launch_dependents ();

  auto unit = [&] (unsigned offset, const T *from, long long at, int present) { // 8 elements, those from `present` on are zero
    present = present < 0 ? 0 : present > 8 ? 8 : present;
    if constexpr (P::ALIGNED) ms_copy_async (base + offset, present ? from + at : from, 2 * present);
    else {
      unsigned w[4];
#pragma unroll
      for (int j = 0; j < 4; j++)
        w[j] = (2 * j < present ? (unsigned) from[at + 2 * j].bits : 0u) | (2 * j + 1 < present ? (unsigned) from[at + 2 * j + 1].bits << 16 : 0u);
      *(uint4 *) (smem + offset) = make_uint4 (w[0], w[1], w[2], w[3]);
    }
  };
  auto copy = [&] (int i) {
    const int to = i % ST * L::stage, x = i * NT;
    // One tile of what is stored: rows from row0 on, columns from column0 on.
    auto tile = [&] (int at, int bytes, int chunk, const T *from, long long pitch, int row0, int n_rows, int column0, int columns) {
      const int units = bytes / chunk * 8;
      for (int e = tid; e < bytes / 16; e += 128 * P::WM) {
        const int r = e / units, u = e % units;
        unit (at + u / 8 * chunk + r * 128 + ((u & 7 ^ r & 7) << 4), from, (row0 + r) * pitch + column0 + u * 8, row0 + r < n_rows ? columns - column0 - u * 8 : 0);
      }
    };
    if (P::B1_TURNED) tile (to, L::b1_bytes, L::b1_chunk, b1, P::B1_PITCH, x, length, 0, P::D);
    else tile (to, L::b1_bytes, L::b1_chunk, b1, P::B1_PITCH, 0, P::D, x, length);
    if (P::B2_TURNED) tile (to + L::b1_bytes, L::b2_bytes, L::b2_chunk, b2, P::B2_PITCH, 0, P::DV, x, length);
    else tile (to + L::b1_bytes, L::b2_bytes, L::b2_chunk, b2, P::B2_PITCH, x, length, 0, P::DV);
  };
  // Operand fragments of 16 rows from k and the 16 columns from 16 n of a matrix; turned: its transpose is stored.
  auto fragment = [&] (unsigned (&b)[4], unsigned tile, int chunk, bool turned, int k, int n) {
    const int r = turned ? n * 16 + (lane & 7) + (lane >> 4) * 8 : k + (lane & 15), u = turned ? k / 8 + (lane >> 3 & 1) : 2 * n + (lane >> 4);
    const unsigned at = tile + u / 8 * chunk + r * 128 + ((u & 7 ^ r & 7) << 4);
    if (turned) ms_ldmatrix (b, at);
    else ms_ldmatrix_trans (b, at);
  };
  auto multiply = [&] (float *d, const unsigned (&x)[4], unsigned low, unsigned high) {
    const unsigned y[2] = {low, high};
    float c[4] = {d[0], d[1], d[2], d[3]};
    ms_mma<T> (c, x, y);
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
      if constexpr (L::scales) chain_scales<P, 4 * P::WM> (smem + i % ST * L::stage, base + i % ST * L::stage, smem + ST * L::stage, tid >> 5, valid);
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
    if (chain_operand<P, false> (s, f, p, m, sum, fix, i == 0, P::RAGGED && valid < NT, valid, smem + ST * L::stage)) chain_rescale<P> (o, f);
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
    for (int k = 0; k < P::STATS; k++) sum[h][k] = chain_quad_sum (sum[h][k]);
#pragma unroll
    for (int c = 0; c < L::chunks; c++)
      if (row + 8 * h < rows && c * 8 + 2 * t < P::DV) P::finish (context, row + 8 * h, c * 8 + 2 * t, o[4 * c + 2 * h], o[4 * c + 2 * h + 1], sum[h]);
  }
}
