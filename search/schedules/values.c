/* Values worth trying: see values.h. */
#include "values.h"

#include <string.h>

const int32_t values_tile[VALUES_TILES] = {1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024};

/* The extent of tiles of this size. None is empty, and they are as even as may be: 100 in tiles of 48 are 3 of 34. */
static void add_extent (int32_t size, int64_t tile, int32_t extent[], int *n) {
  if (tile < 1 || *n == VALUES_EXTENTS) return;
  int32_t e = tile >= size ? 1 : (int32_t) mugraph_ceil_div (size, tile);
  int at = 0;
  while (at < *n && extent[at] < e) at++;
  if (at < *n && extent[at] == e) return;
  memmove (extent + at + 1, extent + at, (size_t) (*n - at) * sizeof *extent);
  extent[at] = e, ++*n;
}

int values_extents (int32_t size, int64_t others, const cuda_device *d, int32_t extent[VALUES_EXTENTS]) {
  int n = 0;
  for (size_t i = 0; i < VALUES_TILES; i++) add_extent (size, values_tile[i], extent, &n);
  add_extent (size, size, extent, &n);
  for (int waves = 1; waves <= 4 && others > 0; waves++) {
    int64_t blocks = (int64_t) waves * d->sms / others;
    if (blocks < 1) continue;
    int64_t tile = (int32_t) mugraph_ceil_div (size, blocks);
    add_extent (size, tile, extent, &n);               /* fills the waves */
    add_extent (size, (tile + 7) / 8 * 8, extent, &n); /* in vectors of 16 bytes */
    add_extent (size, (tile + 15) / 16 * 16, extent, &n);
  }
  return n;
}

const int16_t values_split[VALUES_SPLITS] = {1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16};

static const int16_t warps[] = {0, 1, 2, 4, 8, 16, 32}, stages[] = {0, 1, 2, 3, 4, 6, 8};
static const int16_t swaps[] = {0, 1, 2}, tile_ms[] = {0, 16, 32, 64}, tile_ns[] = {0, 8, 16, 32, 64, 128};
static const int16_t multicasts[] = {0, 1, 2, 4}, copies[] = {0, 1, 2};
static const int16_t backends[] = {
#define GENERATOR(number, ...) [number] = number,
#include "cuda_templates/generators.def"
#undef GENERATOR
};

const values_parameter values_of[VALUES_PARAMETERS] = {
#define PARAMETER(name, values)                                                                                        \
  { offsetof (mugraph_sched, name), values, sizeof values / sizeof *values }
    PARAMETER (backend, backends), PARAMETER (split, values_split),   PARAMETER (warps, warps),
    PARAMETER (stages, stages),    PARAMETER (tile_n, tile_ns),       PARAMETER (swap, swaps),
    PARAMETER (tile_m, tile_ms),   PARAMETER (multicast, multicasts), PARAMETER (copy, copies),
#undef PARAMETER
};

int16_t values_get (const mugraph_sched *s, const values_parameter *p) {
  int16_t value;
  memcpy (&value, (const char *) s + p->offset, sizeof value);
  return value;
}

void values_set (mugraph_sched *s, const values_parameter *p, int16_t value) {
  memcpy ((char *) s + p->offset, &value, sizeof value);
}
