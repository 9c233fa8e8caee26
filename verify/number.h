/* Number types of the interpreter: residues mod p, residues mod q, float64. Each is a table of loops over runs of
   elements, made from one template (number.inc) and from the field and real columns of op.def. The interpreter holds a
   value as one or two planes of such numbers and never looks inside.

   Loops never see a mask: positions that are invalid (ragged splits) hold zeros, which sums and products skip by
   themselves. */
#ifndef VERIFY_NUMBER_H
#define VERIFY_NUMBER_H

#include "mugraph/mugraph.h"

/* out[i] = f (a[i * sa], b[i * sb]); strides are 0 or 1; out may be a or b where their stride is 1. */
typedef void number_binary (int64_t n, const void *a, int sa, const void *b, int sb, void *out);
typedef void number_unary (const mugraph_op *, int64_t n, const void *a, void *out);

typedef struct {
  size_t size;                          /* bytes of an element */
  number_unary *unary[MUGRAPH_N_OPS];   /* NULL: not a function of this plane alone (exp, keyed functions) */
  number_binary *binary[MUGRAPH_N_OPS]; /* DIV is NULL over fields: the inverse, then MUL */
  /* out = 1 / a; false when some a is 0. NULL: binary[DIV] divides. out may be a. */
  bool (*inverse) (int64_t n, const void *a, void *out);
  /* out[o][i] (+)= sum over r of a[o][r][i], for o < outer, r < n, i < inner. add: on top of what out holds. */
  void (*sum) (int64_t outer, int64_t n, int64_t inner, const void *a, void *out, bool add);
  /* out[i] *= num / den, den != 0 */
  void (*scale) (int64_t n, int64_t num, int64_t den, void *out);
  void (*fill) (int64_t n, int64_t value, void *out);
  /* out[m][n] = sum over k of a[m][k] b[k][n], rows contiguous */
  void (*matmul) (int64_t m, int64_t n, int64_t k, const void *a, const void *b, void *out);
} number;

extern const number number_p, number_q, number_real;

/* Matrix products (matmul.c). The best path that the processor has; tests name the others. */
typedef enum { NUMBER_BEST, NUMBER_PORTABLE, NUMBER_AVX2, NUMBER_AVX512 } number_path;
void number_matmul_mod (uint32_t modulus, int64_t m, int64_t n, int64_t k, const uint32_t *a, const uint32_t *b,
                        uint32_t *out, number_path);
void number_matmul_real (int64_t m, int64_t n, int64_t k, const double *a, const double *b, double *out, number_path);

#endif
