/* The two prime fields of verification and the random functions over them (verify.h, "Fields").

   Residues are uint32_t, always reduced. P and Q are compile-time constants, so that the compiler turns every % into a
   multiplication. */
#ifndef VERIFY_FIELD_H
#define VERIFY_FIELD_H

#include <stdbool.h>
#include <stdint.h>

#define FIELD_Q 1073741789u        /* prime, the largest below 2^30 for which 2q + 1 is prime too */
#define FIELD_P (2 * FIELD_Q + 1u) /* 2147483579, prime */
#define FIELD_W 4u                 /* of order q mod p: a square, and not 1 */

/* Finaliser of splitmix64 (Steele, Lea, Flood 2014): a bijection of 64-bit words that spreads every bit. */
static inline uint64_t field_mix (uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

/* Two rounds with the key in between: the random function behind inputs, keyed operators and drawn maxima. */
static inline uint64_t field_hash (uint64_t key, uint64_t x) {
  return field_mix (field_mix (x + key) ^ (key >> 32 | key << 32));
}

/* Residues of a hash value: each residue has probability 1/p (1/q) up to 2^-32. Disjoint bits would leave too few, so
   the second residue is drawn from another round. */
static inline uint32_t field_draw_p (uint64_t h) { return (uint32_t) (((unsigned __int128) h * FIELD_P) >> 64); }
static inline uint32_t field_draw_q (uint64_t h) {
  return (uint32_t) (((unsigned __int128) field_mix (h + 0x9e3779b97f4a7c15ull) * FIELD_Q) >> 64);
}

static inline uint32_t field_mul_p (uint32_t a, uint32_t b) { return (uint32_t) ((uint64_t) a * b % FIELD_P); }
static inline uint32_t field_mul_q (uint32_t a, uint32_t b) { return (uint32_t) ((uint64_t) a * b % FIELD_Q); }
static inline uint32_t field_sub_q (uint32_t a, uint32_t b) { return a >= b ? a - b : a + FIELD_Q - b; }

/* a^n mod m for a, m < 2^32. */
uint32_t field_power (uint32_t a, uint64_t n, uint32_t m);

/* w^x mod p for x < q. Three look-ups in tables that a first call fills (field_setup; thread safe). */
extern uint32_t field_power_table[3][1024];
void field_setup (void);
static inline uint32_t field_exp (uint32_t x) {
  uint32_t low = field_mul_p (field_power_table[0][x & 1023], field_power_table[1][x >> 10 & 1023]);
  return field_mul_p (low, field_power_table[2][x >> 20]);
}

#endif
