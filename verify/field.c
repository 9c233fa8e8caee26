#include "field.h"

#include <pthread.h>

uint32_t field_power_table[3][1024];

uint32_t field_power (uint32_t a, uint64_t n, uint32_t m) {
  uint64_t r = 1 % m, b = a % m;
  for (; n; n >>= 1) {
    if (n & 1) r = r * b % m;
    b = b * b % m;
  }
  return (uint32_t) r;
}

static void fill (void) {
  uint32_t base = FIELD_W; /* w^(2^(10 i)) */
  for (int i = 0; i < 3; i++) {
    uint32_t v = 1;
    for (int j = 0; j < 1024; j++) {
      field_power_table[i][j] = v;
      v = field_mul_p (v, base);
    }
    base = v;
  }
}

void field_setup (void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once (&once, fill);
}
