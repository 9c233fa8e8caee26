/* Each function goes dimension by dimension, outermost first, and calls itself for what lies inside. */
#include "boxes.h"

#include <string.h>

void eval_around (const mugraph_shape *s, int dim, int64_t *outer, int64_t *n, int64_t *inner) {
  *outer = *inner = 1;
  for (int d = 0; d < dim; d++) *outer *= s->dim[d];
  *n = s->dim[dim];
  for (int d = dim + 1; d < s->n_dims; d++) *inner *= s->dim[d];
}

static void copy_row (size_t size, int32_t n, const void *from, int64_t from_stride, void *to, int64_t to_stride) {
  if (from_stride == 1 && to_stride == 1) memcpy (to, from, size * (size_t) n);
  else if (size == 4)
    for (int32_t i = 0; i < n; i++) ((uint32_t *) to)[i * to_stride] = ((const uint32_t *) from)[i * from_stride];
  else
    for (int32_t i = 0; i < n; i++) ((double *) to)[i * to_stride] = ((const double *) from)[i * from_stride];
}

void eval_copy_box (size_t size, int n, const int32_t dim[], const void *from, const int64_t from_stride[], void *to,
                    const int64_t to_stride[]) {
  if (n == 0) memcpy (to, from, size);
  else if (n == 1) copy_row (size, dim[0], from, from_stride[0], to, to_stride[0]);
  else
    for (int32_t i = 0; i < dim[0]; i++)
      eval_copy_box (size, n - 1, dim + 1, eval_at (from, i * from_stride[0], size), from_stride + 1,
                     eval_at (to, i * to_stride[0], size), to_stride + 1);
}

static void fill_outside (const number *num, int n, const int32_t dim[], const int32_t valid[], int64_t value,
                          void *x) {
  int64_t inner = 1;
  bool deeper = false;
  for (int d = 1; d < n; d++) {
    inner *= dim[d];
    deeper |= valid[d] < dim[d];
  }
  if (valid[0] < dim[0]) num->fill ((dim[0] - valid[0]) * inner, value, eval_at (x, valid[0] * inner, num->size));
  for (int32_t i = 0; deeper && i < valid[0]; i++)
    fill_outside (num, n - 1, dim + 1, valid + 1, value, eval_at (x, i * inner, num->size));
}

void eval_fill_outside (const number *num, const mugraph_shape *s, const int32_t valid[], int64_t value, void *x) {
  fill_outside (num, s->n_dims, s->dim, valid, value, x);
}
