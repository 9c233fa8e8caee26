/* What kernels of several generators begin with: addresses, and the forms of the matrix instruction in use. */
#include "kernel.h"

#include <string.h>

void cuda_dense_strides (const int dim[4], int64_t stride[4]) {
  stride[3] = 1;
  for (int d = 2; d >= 0; d--) stride[d] = stride[d + 1] * dim[d + 1];
}

int64_t cuda_stride (const mugraph_shape *s, int d) {
  int64_t n = 1;
  for (int i = d + 1; i < s->n_dims; i++) n *= s->dim[i];
  return n;
}

const char *cuda_axis (int axis) {
  static const char *const text[] = {"x", "y", "z"};
  return text[axis];
}

void cuda_print_begin (cuda_text *t, const mugraph_block *b, const mugraph_op *o, const mugraph_shape *data, int d0,
                       int d1, int64_t unit) {
  for (int g = 0; g < 3; g++) {
    int d = o->map[g];
    if (d < d0 || d >= d1 || b->grid[g] == 1) continue;
    int64_t chunk = o->kind == MUGRAPH_OP_INPUT ? (data->dim[d] + b->grid[g] - 1) / b->grid[g] : o->shape.dim[d];
    cuda_print (t, unit == 1 ? " + (long long) b%c" : " + (int) b%c", "xyz"[g]);
    cuda_print_factor (t, chunk * cuda_stride (data, d) / unit);
  }
}

void cuda_print_origin (cuda_text *t, const mugraph_block *b, const mugraph_op *o, const mugraph_shape *data, int d0,
                        int d1, int64_t unit) {
  cuda_text terms = {0};
  cuda_print_begin (&terms, b, o, data, d0, d1, unit);
  cuda_print (t, "%s", terms.size ? terms.data + strlen (" + ") : "0");
  t->failed |= terms.failed;
  cuda_text_free (&terms);
}

void cuda_print_factor (cuda_text *t, int64_t factor) {
  if (factor != 1) cuda_print (t, " * %lld", (long long) factor);
}

void cuda_print_coordinate (cuda_text *t, const char *index, int64_t below, int64_t size) {
  if (size == 1) {
    cuda_print (t, "0");
    return;
  }
  cuda_print (t, "%s", index);
  if (below > 1) cuda_print (t, " / %lld", (long long) below);
  if (size) cuda_print (t, " %% %lld", (long long) size);
}

void cuda_print_place (cuda_text *t, const mugraph_block *b, int split) {
  const bool y = b->grid[1] > 1, z = b->grid[2] > 1; /* the last dimension needs no remainder */
  int64_t below = 1;
  if (split > 1)
    cuda_print (t, "const int rank = blockIdx.x %% %d;\nconst unsigned block = blockIdx.x / %d;\n", split, split);
  else cuda_print (t, "constexpr int rank = 0;\nconst unsigned block = blockIdx.x;\n");
  for (int g = 0; g < 3; g++) {
    if (b->grid[g] == 1) continue;
    cuda_print (t, "const unsigned b%c = ", "xyz"[g]);
    cuda_print_coordinate (t, "block", below, (g == 0 ? y || z : g == 1 && z) ? b->grid[g] : 0);
    cuda_print (t, ";\n");
    below *= b->grid[g];
  }
  cuda_print (t, "(void) block;\n");
}

void cuda_print_iterator (cuda_emitter *e, const mugraph_op *kernel, int i) {
  const mugraph_block *b = &e->g->block[kernel->block];
  const cuda_tensor *data = &e->tensor[kernel->in[b->op[i].in[0]]];
  cuda_print (&e->body, "const %s *const p%d = in%d", cuda_type (data->dtype), i, b->op[i].in[0]);
  cuda_print_begin (&e->body, b, &b->op[i], &data->shape, 0, MUGRAPH_DIMS, 1);
  cuda_print (&e->body, ";");
  cuda_print_comment (&e->body, e->g, kernel, i);
}

void cuda_print_saver (cuda_emitter *e, const mugraph_op *kernel, int i) {
  const mugraph_block *b = &e->g->block[kernel->block];
  int saver = 0;
  for (int j = 0; j < i; j++) saver += b->op[j].kind == MUGRAPH_OP_OUTPUT;
  const cuda_tensor *out = &e->tensor[kernel->out[saver]];
  cuda_print (&e->body, "%s *const o%d = out%d", cuda_type (out->dtype), i, saver);
  cuda_print_begin (&e->body, b, &b->op[i], &out->shape, 0, MUGRAPH_DIMS, 1);
  cuda_print (&e->body, ";");
  cuda_print_comment (&e->body, e->g, kernel, i);
}

void cuda_aligned (const mugraph_shape *s, int dim[4], int64_t stride[4]) {
  for (int d = 0; d < 4; d++) dim[d] = d < 4 - s->n_dims ? 1 : s->dim[d - (4 - s->n_dims)];
  cuda_dense_strides (dim, stride);
}

void cuda_print_index (cuda_text *t, const char *const at[4], const int dim[4], const int64_t stride[4]) {
  bool any = false, wide = false;
  for (int d = 0; d < 4; d++) wide |= (int64_t) dim[d] * stride[d] > INT32_MAX;
  for (int d = 0; d < 4; d++) {
    if (dim[d] == 1 || !strcmp (at[d], "0")) continue;
    cuda_print (t, "%s%s%s", any ? " + " : "", wide ? "(long long) " : "", at[d]);
    cuda_print_factor (t, stride[d]);
    any = true;
  }
  if (!any) cuda_print (t, "0");
}

void cuda_print_wgmma (cuda_text *t, mugraph_dtype dtype, int n) {
  const char *type = dtype == MUGRAPH_BF16 ? "bf16" : "f16";
  int r = n / 2;
  cuda_print (t, "\n#ifndef MS_WGMMA_%s_%d\n#define MS_WGMMA_%s_%d\ntemplate <> struct ms_wgmma<ms_%s, %d> {\n", type,
              n, type, n, type, n);
  for (int form = 0; form < 3; form++) { /* the left operand by descriptor, with and without d; in registers */
    bool add = form > 0, registers = form == 2;
    cuda_print (
        t, "  template <bool ROWS = false> MS_DEVICE static void %s (float (&d)[%d], %s, unsigned long long b) {\n",
        add ? "add" : "first", r, registers ? "const unsigned (&a)[4]" : "unsigned long long a");
    cuda_print (t, "    asm volatile (\"wgmma.mma_async.sync.aligned.m64n%dk16.f32.%s.%s {", n, type, type);
    for (int i = 0; i < r; i++) cuda_print (t, "%s%%%d", i ? ", " : "", i);
    if (registers)
      cuda_print (t, "}, {%%%d, %%%d, %%%d, %%%d}, %%%d, %d, 1, 1, %%%d;\"\n                  : ", r, r + 1, r + 2,
                  r + 3, r + 4, add, r + 5);
    else cuda_print (t, "}, %%%d, %%%d, %d, 1, 1, 0, %%%d;\"\n                  : ", r, r + 1, add, r + 2);
    for (int i = 0; i < r; i++) cuda_print (t, "%s\"%sf\" (d[%d])", i ? ", " : "", add ? "+" : "=", i);
    cuda_print (t, "\n                  : %s, \"l\" (b), \"n\" ((int) !ROWS));\n  }\n",
                registers ? "\"r\" (a[0]), \"r\" (a[1]), \"r\" (a[2]), \"r\" (a[3])" : "\"l\" (a)");
  }
  cuda_print (t, "};\n#endif\n");
}
