/* Shapes by themselves. */
#include "mugraph.h"

#include <stdio.h>

mugraph_shape mugraph_shape_of (mugraph_dtype dtype, int n_dims, const int32_t dim[]) {
  mugraph_shape s = {.n_dims = (uint8_t) n_dims, .dtype = (uint8_t) dtype};
  for (int d = 0; d < n_dims && d < MUGRAPH_DIMS; d++) s.dim[d] = dim[d];
  return s;
}

bool mugraph_same_shape (const mugraph_shape *a, const mugraph_shape *b) {
  if (a->n_dims != b->n_dims) return false;
  for (int d = 0; d < a->n_dims; d++)
    if (a->dim[d] != b->dim[d]) return false;
  return true;
}

int64_t mugraph_volume (const mugraph_shape *s) {
  int64_t v = 1;
  for (int d = 0; d < s->n_dims; d++) v *= s->dim[d];
  return v;
}

char *mugraph_dims_text (const mugraph_shape *s, char *buffer, size_t size) {
  size_t n = 0;
  buffer[0] = 0;
  for (int d = 0; d < s->n_dims && n < size; d++)
    n += (size_t) snprintf (buffer + n, size - n, d ? "x%d" : "%d", s->dim[d]);
  return buffer;
}
