/* Matrix products of the interpreter's numbers.

   Residues: products of 31-bit numbers have 62 bits, so four of them and a 32-bit remainder fit 64 bits (16 products
   mod q, of 60 bits). A lane collects that many, then folds: high += low >> 32, low &= 2^32 - 1. The modulus enters
   once per element and block of the contraction: high * 2^32 + low. Both primes lie just below a power of two, p = 2^31
   - 69 and q = 2^30 - 35, so that 2^32 is 138 (140), and what lies above bit 31 (30) comes back times 69 (35).

   B is packed in panels of PANEL columns and up to DEPTH rows, which stay in the first-level cache while all rows of A
   pass by. */
#include "field.h"
#include "number.h"

#include <string.h>

enum {
  PANEL = 16,
  ROWS = 4,
  DEPTH = 512,
  SMALL = DEPTH /* products in all: the sums need no second block of the contraction */
};

/* bits, c: modulus = 2^bits - c */
#define BITS(modulus) ((modulus) == FIELD_P ? 31 : 30)
#define REST(modulus) (((uint32_t) 1 << BITS (modulus)) - (modulus))

/* (high * 2^32 + low) mod p or q, for high < 2^40 and low < 2^32: the sum is below 2^48, so the second line is below
   2 modulus. */
static inline uint32_t reduce (uint32_t modulus, uint64_t high, uint64_t low) {
  uint64_t c = REST (modulus), x = high * (c << (32 - BITS (modulus))) + low;
  x = (x >> BITS (modulus)) * c + (x & (((uint64_t) 1 << BITS (modulus)) - 1));
  return (uint32_t) (x >= modulus ? x - modulus : x);
}

/* out[ROWS][PANEL] = a[rows][k] panel[k][PANEL]; rows <= ROWS, those beyond are not written. */
typedef void micro_mod (uint32_t modulus, int rows, int64_t k, const uint32_t *a, int64_t lda, const uint32_t *panel,
                        uint32_t out[ROWS * PANEL]);
typedef void micro_real (int rows, int64_t k, const double *a, int64_t lda, const double *panel,
                         double out[ROWS * PANEL]);

static void mod_portable (uint32_t modulus, int rows, int64_t k, const uint32_t *a, int64_t lda, const uint32_t *panel,
                          uint32_t out[ROWS * PANEL]) {
  int64_t every = modulus == FIELD_P ? 4 : 16;
  for (int r = 0; r < rows; r++) {
    uint64_t low[PANEL] = {0}, high[PANEL] = {0};
    for (int64_t i = 0; i < k; i += every) {
      int64_t end = i + every < k ? i + every : k;
      for (int64_t j = i; j < end; j++)
        for (int c = 0; c < PANEL; c++) low[c] += (uint64_t) a[r * lda + j] * panel[j * PANEL + c];
      for (int c = 0; c < PANEL; c++) high[c] += low[c] >> 32, low[c] &= UINT32_MAX;
    }
    for (int c = 0; c < PANEL; c++) out[r * PANEL + c] = reduce (modulus, high[c], low[c]);
  }
}

static void real_portable (int rows, int64_t k, const double *a, int64_t lda, const double *panel,
                           double out[ROWS * PANEL]) {
  for (int r = 0; r < rows; r++) {
    double sum[PANEL] = {0};
    for (int64_t j = 0; j < k; j++)
      for (int c = 0; c < PANEL; c++) sum[c] += a[r * lda + j] * panel[j * PANEL + c];
    memcpy (out + r * PANEL, sum, sizeof sum);
  }
}

#if defined(__x86_64__)
#include <immintrin.h>

/* The accumulators must stay in registers: the loops over rows and vectors disappear. */
#if defined(__clang__)
#define UNROLL _Pragma ("unroll")
#else
#define UNROLL _Pragma ("GCC unroll 8")
#endif

/* The kernel for R rows, over vectors V of L 64-bit lanes. A multiplication reads the low halves of its lanes only, so
   a vector of 2 L residues serves twice, the second time shifted: its even columns, then its odd ones. */
#define MOD_ROWS(R, V, L, ZERO, LOAD, STORE, SET1, SET64, ADD64, MUL32, SHIFT, SHIFTL, SHIFTN, AND, OR, SUB32, MIN32)  \
  {                                                                                                                    \
    V low[R][PANEL / L], high[R][PANEL / L], mask = SET64 (UINT32_MAX);                                                \
    V m = SET64 (modulus), c = SET64 (REST (modulus)), c32 = SET64 (REST (modulus) << (32 - BITS (modulus)));          \
    V below = SET64 ((1ll << BITS (modulus)) - 1);                                                                     \
    __m128i bits = _mm_cvtsi32_si128 (BITS (modulus));                                                                 \
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < PANEL / L; v++) low[r][v] = high[r][v] = ZERO;       \
    for (int64_t i = 0; i < k; i += every) {                                                                           \
      int64_t end = i + every < k ? i + every : k;                                                                     \
      for (int64_t j = i; j < end; j++) UNROLL for (int v = 0; v < PANEL / L; v += 2) {                                \
          V even = LOAD ((const void *) (panel + j * PANEL + v * L)), odd = SHIFT (even, 32);                          \
          UNROLL for (int r = 0; r < R; r++) {                                                                         \
            V x = SET1 ((int) a[r * lda + j]);                                                                         \
            low[r][v] = ADD64 (low[r][v], MUL32 (x, even));                                                            \
            low[r][v + 1] = ADD64 (low[r][v + 1], MUL32 (x, odd));                                                     \
          }                                                                                                            \
        }                                                                                                              \
      UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < PANEL / L; v++) {                                  \
        high[r][v] = ADD64 (high[r][v], SHIFT (low[r][v], 32));                                                        \
        low[r][v] = AND (low[r][v], mask);                                                                             \
      }                                                                                                                \
    }                                                                                                                  \
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < PANEL / L; v += 2) {                                 \
      V y[2]; /* reduce (), vector by vector */                                                                        \
      UNROLL for (int o = 0; o < 2; o++) {                                                                             \
        V h = high[r][v + o],                                                                                          \
          x = ADD64 (low[r][v + o], ADD64 (MUL32 (h, c32), SHIFTL (MUL32 (SHIFT (h, 32), c32), 32)));                  \
        x = ADD64 (MUL32 (SHIFTN (x, bits), c), AND (x, below));                                                       \
        y[o] = MIN32 (x, SUB32 (x, m));                                                                                \
      }                                                                                                                \
      STORE ((void *) (out + r * PANEL + v * L), OR (y[0], SHIFTL (y[1], 32)));                                        \
    }                                                                                                                  \
  }

#define MOD_KERNEL(name, features, ...)                                                                                \
  __attribute__ ((target (features))) static void name (uint32_t modulus, int rows, int64_t k, const uint32_t *a,      \
                                                        int64_t lda, const uint32_t *panel, uint32_t out[]) {          \
    int64_t every = modulus == FIELD_P ? 4 : 16;                                                                       \
    switch (rows) {                                                                                                    \
    case 1: MOD_ROWS (1, __VA_ARGS__) break;                                                                           \
    case 2: MOD_ROWS (2, __VA_ARGS__) break;                                                                           \
    case 3: MOD_ROWS (3, __VA_ARGS__) break;                                                                           \
    default: MOD_ROWS (4, __VA_ARGS__)                                                                                 \
    }                                                                                                                  \
  }

MOD_KERNEL (mod_avx512, "avx512f", __m512i, 8, _mm512_setzero_si512 (), _mm512_loadu_si512, _mm512_storeu_si512,
            _mm512_set1_epi32, _mm512_set1_epi64, _mm512_add_epi64, _mm512_mul_epu32, _mm512_srli_epi64,
            _mm512_slli_epi64, _mm512_srl_epi64, _mm512_and_si512, _mm512_or_si512, _mm512_sub_epi32, _mm512_min_epu32)
MOD_KERNEL (mod_avx2, "avx2", __m256i, 4, _mm256_setzero_si256 (), _mm256_loadu_si256, _mm256_storeu_si256,
            _mm256_set1_epi32, _mm256_set1_epi64x, _mm256_add_epi64, _mm256_mul_epu32, _mm256_srli_epi64,
            _mm256_slli_epi64, _mm256_srl_epi64, _mm256_and_si256, _mm256_or_si256, _mm256_sub_epi32, _mm256_min_epu32)

#define REAL_ROWS(R, V, L, ZERO, LOAD, SET1, FMA, STORE)                                                               \
  {                                                                                                                    \
    V sum[R][PANEL / L];                                                                                               \
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < PANEL / L; v++) sum[r][v] = ZERO;                    \
    for (int64_t j = 0; j < k; j++) UNROLL for (int v = 0; v < PANEL / L; v++) {                                       \
        V b = LOAD (panel + j * PANEL + v * L);                                                                        \
        UNROLL for (int r = 0; r < R; r++) sum[r][v] = FMA (SET1 (a[r * lda + j]), b, sum[r][v]);                      \
      }                                                                                                                \
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < PANEL / L; v++)                                      \
        STORE (out + r * PANEL + v * L, sum[r][v]);                                                                    \
  }

#define REAL_KERNEL(name, features, ...)                                                                               \
  __attribute__ ((target (features))) static void name (int rows, int64_t k, const double *a, int64_t lda,             \
                                                        const double *panel, double out[]) {                           \
    switch (rows) {                                                                                                    \
    case 1: REAL_ROWS (1, __VA_ARGS__) break;                                                                          \
    case 2: REAL_ROWS (2, __VA_ARGS__) break;                                                                          \
    case 3: REAL_ROWS (3, __VA_ARGS__) break;                                                                          \
    default: REAL_ROWS (4, __VA_ARGS__)                                                                                \
    }                                                                                                                  \
  }
REAL_KERNEL (real_avx512, "avx512f", __m512d, 8, _mm512_setzero_pd (), _mm512_loadu_pd, _mm512_set1_pd, _mm512_fmadd_pd,
             _mm512_storeu_pd)
REAL_KERNEL (real_avx2, "avx2,fma", __m256d, 4, _mm256_setzero_pd (), _mm256_loadu_pd, _mm256_set1_pd, _mm256_fmadd_pd,
             _mm256_storeu_pd)

static micro_mod *choose_mod (number_path path) {
  if (path == NUMBER_PORTABLE) return mod_portable;
  if (path != NUMBER_AVX2 && __builtin_cpu_supports ("avx512f")) return mod_avx512;
  return __builtin_cpu_supports ("avx2") ? mod_avx2 : mod_portable;
}
static micro_real *choose_real (number_path path) {
  if (path == NUMBER_PORTABLE) return real_portable;
  if (path != NUMBER_AVX2 && __builtin_cpu_supports ("avx512f")) return real_avx512;
  return __builtin_cpu_supports ("avx2") && __builtin_cpu_supports ("fma") ? real_avx2 : real_portable;
}
#else
static micro_mod *choose_mod (number_path path) { return (void) path, mod_portable; }
static micro_real *choose_real (number_path path) { return (void) path, real_portable; }
#endif

/* Loops around the kernels, the same for every number type T: RUN calls the kernel for `rows` rows, ADD merges blocks
   of the contraction. */
#define BLOCKED(T, RUN, ADD)                                                                                           \
  for (int64_t k0 = 0; k0 < k; k0 += DEPTH) {                                                                          \
    int64_t depth = k - k0 < DEPTH ? k - k0 : DEPTH;                                                                   \
    for (int64_t n0 = 0; n0 < n; n0 += PANEL) {                                                                        \
      int width = n - n0 < PANEL ? (int) (n - n0) : PANEL;                                                             \
      _Alignas(64) T panel[DEPTH * PANEL], tile[ROWS * PANEL];                                                         \
      for (int64_t j = 0; j < depth; j++) {                                                                            \
        if (width == PANEL) {                                                                                          \
          memcpy (panel + j * PANEL, b + (k0 + j) * n + n0, sizeof (T) * PANEL); /* of a known size: no call */        \
          continue;                                                                                                    \
        }                                                                                                              \
        memcpy (panel + j * PANEL, b + (k0 + j) * n + n0, sizeof (T) * (size_t) width);                                \
        memset (panel + j * PANEL + width, 0, sizeof (T) * (size_t) (PANEL - width));                                  \
      }                                                                                                                \
      for (int64_t m0 = 0; m0 < m; m0 += ROWS) {                                                                       \
        int rows = m - m0 < ROWS ? (int) (m - m0) : ROWS;                                                              \
        RUN;                                                                                                           \
        for (int r = 0; r < rows; r++) {                                                                               \
          T *o = out + (m0 + r) * n + n0;                                                                              \
          for (int c = 0; c < width; c++) o[c] = k0 ? ADD (o[c], tile[r * PANEL + c]) : tile[r * PANEL + c];           \
        }                                                                                                              \
      }                                                                                                                \
    }                                                                                                                  \
  }

/* Products that are not worth packing, such as those of witness shapes. */
static void small_mod (uint32_t modulus, int64_t m, int64_t n, int64_t k, const uint32_t *a, const uint32_t *b,
                       uint32_t *out) {
  int every = modulus == FIELD_P ? 4 : 16;
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) {
      uint64_t low = 0, high = 0;
      for (int64_t r = 0; r < k; r++) {
        if (r % every == 0) high += low >> 32, low &= UINT32_MAX;
        low += (uint64_t) a[i * k + r] * b[r * n + j];
      }
      out[i * n + j] = reduce (modulus, high + (low >> 32), low & UINT32_MAX);
    }
}

void number_matmul_mod (uint32_t modulus, int64_t m, int64_t n, int64_t k, const uint32_t *a, const uint32_t *b,
                        uint32_t *out, number_path path) {
  if (path == NUMBER_BEST && m * n * k <= SMALL) {
    small_mod (modulus, m, n, k, a, b, out);
    return;
  }
  micro_mod *micro = choose_mod (path);
#define ADD_MOD(x, y) ((uint64_t) (x) + (y) >= modulus ? (x) + (y) -modulus : (x) + (y))
  BLOCKED (uint32_t, micro (modulus, rows, depth, a + m0 * k + k0, k, panel, tile), ADD_MOD)
}

void number_matmul_real (int64_t m, int64_t n, int64_t k, const double *a, const double *b, double *out,
                         number_path path) {
  micro_real *micro = choose_real (path);
#define ADD_REAL(x, y) ((x) + (y))
  BLOCKED (double, micro (rows, depth, a + m0 * k + k0, k, panel, tile), ADD_REAL)
}
