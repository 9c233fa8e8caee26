/* Boxes of elements in row-major tensors: strides, copies, and the invalid positions of ragged tiles. Strides are in
   elements, sizes of elements in bytes (4 or 8). */
#ifndef VERIFY_BOXES_H
#define VERIFY_BOXES_H

#include "mugraph/mugraph.h"
#include "number.h"

static inline void eval_strides (const mugraph_shape *s, int64_t stride[MUGRAPH_DIMS]) {
  int64_t v = 1;
  for (int d = s->n_dims; d--; v *= s->dim[d]) stride[d] = v;
}

/* Elements of a row, which is the last dimension, and how many rows there are. */
static inline int64_t eval_row (const mugraph_shape *s) { return s->dim[s->n_dims - 1]; }
static inline int64_t eval_rows (const mugraph_shape *s) { return mugraph_volume (s) / eval_row (s); }

/* What lies before, in and behind a dimension. */
void eval_around (const mugraph_shape *, int dim, int64_t *outer, int64_t *n, int64_t *inner);

/* Copies a box of dim[0] x .. x dim[n - 1] elements between strided places, strides innermost last. */
void eval_copy_box (size_t size, int n, const int32_t dim[], const void *from, const int64_t from_stride[], void *to,
                    const int64_t to_stride[]);

/* Gives the integer `value` to every position of x outside of the box of valid[0] x .. x valid[n_dims - 1]. */
void eval_fill_outside (const number *, const mugraph_shape *, const int32_t valid[], int64_t value, void *x);

static inline void *eval_at (const void *base, int64_t i, size_t size) {
  return (char *) (uintptr_t) base + i * (int64_t) size;
}

#endif
