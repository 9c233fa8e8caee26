/* What kernels of several generators need: addresses, and the forms of the matrix instruction. */
#ifndef CUDA_TEMPLATES_EMIT_KERNEL_H
#define CUDA_TEMPLATES_EMIT_KERNEL_H

#include "launches.h"
#include "walk.h"

/* "x", "y", "z": grid axis 0, 1, 2. */
const char *cuda_axis (int axis);

/* A tensor's dimensions and strides (elements) aligned at the right of four, missing dimensions 1. */
void cuda_aligned (const mugraph_shape *, int dim[4], int64_t stride[4]);
void cuda_dense_strides (const int dim[4], int64_t stride[4]);
int64_t cuda_stride (const mugraph_shape *, int d); /* of a dense tensor's dimension, elements */
/* Where this block's part of dimensions d0 up to d1 of a tensor begins, as " + (long long) bx * 64" terms; elements, or
   (int) counted in units for coordinates of tensor copies. o: the iterator or saver. */
void cuda_print_begin (cuda_text *, const mugraph_block *, const mugraph_op *o, const mugraph_shape *data, int d0,
                       int d1, int64_t unit);
/* The same as an expression by itself: 0 where nothing is split. */
void cuda_print_origin (cuda_text *, const mugraph_block *, const mugraph_op *o, const mugraph_shape *data, int d0,
                        int d1, int64_t unit);

/* Declares rank, this block's place among the `split` ones that share a place of the grid, and its place bx, by, bz. */
void cuda_print_place (cuda_text *, const mugraph_block *, int split);
/* Declares p<i>, where this block's part of iterator i begins, or o<i>, of saver i, with the operator as a comment. */
void cuda_print_iterator (cuda_emitter *, const mugraph_op *kernel, int i);
void cuda_print_saver (cuda_emitter *, const mugraph_op *kernel, int i);

/* "index / below % size" without what does nothing: the coordinate of a dimension of this size in a linear index,
   `below` elements to a step of it. Size 0: the outermost dimension, which needs no remainder. */
void cuda_print_coordinate (cuda_text *, const char *index, int64_t below, int64_t size);
/* " * factor", nothing where that is 1. */
void cuda_print_factor (cuda_text *, int64_t factor);
/* An index expression from four coordinate expressions; dimensions of size 1 are left out, so they broadcast. */
void cuda_print_index (cuda_text *, const char *const at[4], const int dim[4], const int64_t stride[4]);

/* The wgmma of m64 x n x k16 for wgmma.cuh: struct ms_wgmma<type, n>. n: a multiple of 8 up to 256. */
void cuda_print_wgmma (cuda_text *, mugraph_dtype, int n);

#endif
