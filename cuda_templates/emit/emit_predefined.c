/* Pre-defined kernels: one operator of the kernel graph on whole tensors, any shape. Elementwise operators and those
   that move elements take one thread to a result, reductions a warp or a thread, matmul a block to a 64 x 64 (or 16 x
   64) piece. */
#include "emit_predefined.h"
#include "cuda_templates/generic/plan_generic.h"
#include "kernel.h"

#include <stdio.h>
#include <string.h>

typedef struct {
  cuda_emitter *e;
  cuda_text *text;
  const mugraph_op *op;
  const cuda_tensor *in[2], *out;
  int dim[2][4], result[4]; /* shapes, aligned at the right */
  int64_t stride[2][4], out_stride[4];
  int launch;
} generator;

static const char *const element[4] = {"c0", "c1", "c2", "c3"};

static int64_t volume (const int dim[4]) { return (int64_t) dim[0] * dim[1] * dim[2] * dim[3]; }
static int aligned_dim (const cuda_tensor *t, int d) { return d + 4 - t->shape.n_dims; }

static void open (generator *w, int64_t blocks, int threads, int smem, int k) {
  if (blocks > 1 << 20) blocks = 1 << 20; /* loops of stride gridDim below */
  w->launch = cuda_add_launch (w->e, blocks, threads, smem, "k%d_%s", k, mugraph_op_table[w->op->kind].text);
  for (int i = 0; i < w->op->n_in; i++) cuda_add_tensor (w->e, w->launch, w->op->in[i], false, "in%d", i);
  cuda_add_tensor (w->e, w->launch, w->op->out[0], true, "out0");
  cuda_open_kernel (w->e, w->launch);
  cuda_print (w->text, "  ms_wait_inputs ();\n  ms_launch_dependents ();\n");
}

/* Coordinates c0 .. c3 (those of size 1 are 0) of a linear index. */
static void print_coordinates (generator *w, const char *index, const int dim[4], const char *prefix) {
  int64_t below = 1;
  for (int d = 3; d >= 0; d--) {
    cuda_print (w->text, dim[d] > 1 ? "const int %s%d = (int) (" : "const int %s%d = (", prefix, d);
    cuda_print_coordinate (w->text, index, below, dim[d]);
    cuda_print (w->text, ");\n");
    below *= dim[d];
  }
}

/* The value of operand a at these coordinates, brought to the common maximum of its row. */
static void print_operand (generator *w, cuda_text *t, int a, const char *const at[4]) {
  const cuda_tensor *in = w->in[a];
  cuda_print (t, "ms_load (in%d + ", a);
  cuda_print_index (t, at, w->dim[a], w->stride[a]);
  cuda_print (t, ")");
  if (in->max_buffer < 0) return;
  int rows[4] = {w->dim[a][0], w->dim[a][1], w->dim[a][2], 1}, width = w->dim[a][3];
  int64_t stride[4];
  cuda_dense_strides (rows, stride);
  cuda_print (t, " * ms_row_factor (in%d_max + (", a);
  cuda_print_index (t, at, rows, stride);
  cuda_print (t, ")");
  if (in->splits > 1) cuda_print (t, " * %dLL", in->splits);
  cuda_print (t, ", %d, ", in->splits);
  cuda_print_coordinate (t, at[3], width / in->splits, width == 1);
  cuda_print (t, ", %d)", in->degree);
}

static void print_declared (generator *w, const char *name, int a, const char *const at[4]) {
  cuda_print (w->text, "const float %s = ", name);
  print_operand (w, w->text, a, at);
  cuda_print (w->text, ";\n");
}

static void print_result (generator *w, const char *const at[4], const char *value) {
  cuda_print (w->text, "ms_store (out0 + ");
  cuda_print_index (w->text, at, w->result, w->out_stride);
  cuda_print (w->text, ", %s);\n", value);
}

static void emit_elements (generator *w, int k) {
  int64_t n = volume (w->result);
  open (w, (n + 255) / 256, 256, 0, k);
  cuda_print (w->text, "  for (long long e = ms_thread (); e < %lldLL; e += ms_threads ()) {\n", (long long) n);
  print_coordinates (w, "e", w->result, "c");
  switch (w->op->kind) {
  case MUGRAPH_OP_TRANSPOSE: print_declared (w, "y", 0, (const char *const[4]){"c0", "c1", "c3", "c2"}); break;
  case MUGRAPH_OP_CONCAT: {
    int d = aligned_dim (w->out, w->op->dim), width = w->dim[0][d];
    const char *second[4];
    char moved[48];
    memcpy (second, element, sizeof second);
    snprintf (moved, sizeof moved, "(c%d - %d)", d, width);
    second[d] = moved;
    cuda_print (w->text, "const float y = c%d < %d ? ", d, width);
    print_operand (w, w->text, 0, element);
    cuda_print (w->text, " : ");
    print_operand (w, w->text, 1, second);
    cuda_print (w->text, ";\n");
    break;
  }
  default:
    if (w->op->n_in > 0) print_declared (w, "a", 0, element);
    if (w->op->n_in > 1) print_declared (w, "b", 1, element);
    cuda_print (w->text, "const float y = ");
    cuda_print_op (w->text, w->op, "a", "b");
    cuda_print (w->text, ";\n");
  }
  print_result (w, element, "y");
  cuda_print (w->text, "  }\n}\n");
}

/* Opens a loop over results, a warp or a thread to each, and computes the reduction `sum` of its row over dimension d.
   Leaves the loop body open, with `lane` and `lanes` for walking the row again. */
static void open_rows (generator *w, int k, int d, const int rows[4], int count, const char *first, const char *each,
                       bool maximum) {
  int64_t n = volume (rows);
  bool warp = d == 3 && count >= 32;
  const char *at[4];
  open (w, warp ? (n + 7) / 8 : (n + 255) / 256, 256, 0, k);
  cuda_print (w->text, "  const int lane = %s, lanes = %d;\n", warp ? "threadIdx.x % 32" : "0", warp ? 32 : 1);
  cuda_print (w->text, "  for (long long o = ms_thread () / lanes; o < %lldLL; o += ms_threads () / lanes) {\n",
              (long long) n);
  print_coordinates (w, "o", rows, "c");
  cuda_print (w->text, "float sum = %s;\nfor (int r = lane; r < %d; r += lanes) {\n", first, count);
  memcpy (at, element, sizeof at);
  char position[48];
  snprintf (position, sizeof position, rows[d] > 1 ? "(c%d + r * %d)" : "r", d, rows[d]);
  at[d] = position;
  print_declared (w, "x", 0, at);
  cuda_print (w->text, "%s\n}\n", each);
  if (warp) cuda_print (w->text, "sum = %s (sum);\n", maximum ? "ms_warp_max" : "ms_warp_sum");
}

static void emit_reduction (generator *w, int k) {
  int d = aligned_dim (w->in[0], w->op->dim), count = w->dim[0][d] / w->result[d];
  char value[48] = "sum";
  bool maximum = w->op->kind == MUGRAPH_OP_MAX;
  if (w->op->kind == MUGRAPH_OP_MEAN) snprintf (value, sizeof value, "sum / %d.0f", count);
  open_rows (w, k, d, w->result, count, maximum ? "-MS_INF" : "0.0f", maximum ? "sum = fmaxf (sum, x);" : "sum += x;",
             maximum);
  cuda_print (w->text, "if (lane == 0) ");
  print_result (w, element, value);
  cuda_print (w->text, "  }\n}\n");
}

/* rms_norm, and exponentials that subtract the maximum of their row: a reduction, then every element again. */
static void emit_rows (generator *w, int k) {
  bool norm = mugraph_op_is (w->op->kind, MUGRAPH_NORM);
  int d = norm ? aligned_dim (w->in[0], w->op->dim) : 3, rows[4];
  const char *at[4];
  memcpy (rows, w->result, sizeof rows);
  rows[d] = 1;
  open_rows (w, k, d, rows, w->result[d], norm ? "0.0f" : "-MS_INF", norm ? "sum += x * x;" : "sum = fmaxf (sum, x);",
             !norm);
  if (norm) {
    cuda_print (w->text, "const float scale = 1.0f / sqrtf (sum / %d.0f + ", w->result[d]);
    cuda_print_number (w->text, w->op->c[0]);
    cuda_print (w->text, ");\n");
  }
  cuda_print (w->text, "for (int r = lane; r < %d; r += lanes) {\n", w->result[d]);
  memcpy (at, element, sizeof at);
  at[d] = "r";
  print_declared (w, "x", 0, at);
  print_result (w, at, norm ? "x * scale" : "ms_exp (x - sum)");
  cuda_print (w->text, "}\n  }\n}\n");
}

static void print_staging (generator *w, int a, int rows, int columns, const char *row, const char *column,
                           const char *put) {
  cuda_print (w->text,
              "for (int e = threadIdx.x; e < %d; e += 128) {\nconst int r = e / %d, c = e %% %d, c2 = %s + r, c3 = %s "
              "+ c;\nproduct.%s (r, c, c2 < %d && c3 < %d ? ",
              rows * columns, columns, columns, row, column, put, w->dim[a][2], w->dim[a][3]);
  print_operand (w, w->text, a, element);
  cuda_print (w->text, " : 0.0f);\n}\n");
}

/* Rows begin at multiples of 16 bytes. */
static bool streams (const generator *w, int a) {
  return w->in[a]->dtype != MUGRAPH_F32 && w->in[a]->max_buffer < 0 &&
         (w->dim[a][3] % 8 == 0 || volume (w->dim[a]) == w->dim[a][3]);
}

static mugraph_dtype operand_type (const generator *w, int a) {
  return w->in[a]->max_buffer >= 0 ? MUGRAPH_F32 : w->in[a]->dtype;
}

static void print_streamed (generator *w, const cuda_generic_mma *x) {
  const char *const first[2][4] = {{"c0", "c1", "m0", "0"}, {"c0", "c1", "0", "n0"}};
  cuda_print (w->text, "ms_streamed_product<%s, %d, %d, %d, %d, %d> product (smem);\nproduct.run (",
              cuda_type (x->type), x->wm, x->wn, x->bm / x->wm / 16, x->bn / x->wn / 8, x->stages);
  for (int a = 0; a < 2; a++) {
    cuda_print (w->text, "in%d + ", a);
    cuda_print_index (w->text, first[a], w->dim[a], w->stride[a]);
    cuda_print (w->text, ", %lldLL, min (%d, %d - %s), ", (long long) w->stride[a][2], a ? x->bn : x->bm,
                a ? w->dim[1][3] : w->dim[0][2], a ? "n0" : "m0");
  }
  cuda_print (w->text, "%d);\n", w->dim[0][3]);
}

static void print_staged (generator *w, const cuda_generic_mma *x) {
  cuda_print (w->text,
              "ms_product<%s, %d, %d, %d, %d, %s, %s> product (smem);\nfor (int k0 = 0; k0 < %d; k0 += %d) {\n",
              cuda_type (x->type), x->wm, x->wn, x->bm / x->wm / 16, x->bn / x->wn / 8, x->split_a ? "true" : "false",
              x->split_b ? "true" : "false", w->dim[0][3], x->bk);
  print_staging (w, 0, x->bm, x->bk, "m0", "k0", "put_a");
  print_staging (w, 1, x->bk, x->bn, "k0", "n0", "put_b");
  cuda_print (w->text, "__syncthreads ();\nproduct.step ();\n__syncthreads ();\n}\n");
}

static void emit_matmul (generator *w, int k) {
  int m = w->result[2], n = w->result[3];
  cuda_generic_mma x = cuda_generic_cut (m, n, 4);
  cuda_generic_operands (&x, operand_type (w, 0), operand_type (w, 1), streams (w, 0) && streams (w, 1));
  int tiles_m = (m + x.bm - 1) / x.bm, tiles_n = (n + x.bn - 1) / x.bn;
  int64_t tiles = (int64_t) w->result[0] * w->result[1] * tiles_m * tiles_n;
  cuda_use_templates (w->e, "mma.cuh", "async.cuh", "generic.cuh");
  open (w, tiles, 128, (int) cuda_generic_staging (&x), k);
  cuda_print (w->text,
              "  extern __shared__ __align__ (128) unsigned char smem[];\n"
              "  for (long long tile = blockIdx.x; tile < %lldLL; tile += gridDim.x) {\n",
              (long long) tiles);
  cuda_print (w->text,
              "const int n0 = (int) (tile %% %d) * %d, m0 = (int) (tile / %d %% %d) * %d, c1 = (int) (tile / %d %% "
              "%d), c0 = (int) (tile / %lldLL);\n",
              tiles_n, x.bn, tiles_n, tiles_m, x.bm, tiles_n * tiles_m, w->result[1],
              (long long) tiles_n * tiles_m * w->result[1]);
  if (x.stages > 1) print_streamed (w, &x);
  else print_staged (w, &x);
  cuda_print (
      w->text,
      "product.each ([&] (int r, int c, float x) {\nconst int c2 = m0 + r, c3 = n0 + c;\nif (c2 < %d && c3 < %d) ", m,
      n);
  print_result (w, element, "x");
  cuda_print (w->text, "});\n  }\n}\n");
}

bool cuda_emit_predefined (cuda_emitter *e, int k, mugraph_error *error) {
  const mugraph_op *op = &e->g->op[k];
  generator w = {.e = e, .text = &e->body, .op = op, .out = &e->tensor[op->out[0]]};
  for (int i = 0; i < op->n_in && i < 2; i++) {
    w.in[i] = &e->tensor[op->in[i]];
    cuda_aligned (&w.in[i]->shape, w.dim[i], w.stride[i]);
  }
  cuda_aligned (&w.out->shape, w.result, w.out_stride);
  switch (mugraph_op_table[op->kind].klass) {
  case MUGRAPH_MATMUL: emit_matmul (&w, k); break;
  case MUGRAPH_REDUCE:
    if (mugraph_op_is (op->kind, MUGRAPH_NORM)) emit_rows (&w, k);
    else emit_reduction (&w, k);
    break;
  case MUGRAPH_UNARY:
  case MUGRAPH_BINARY:
  case MUGRAPH_LAYOUT:
  case MUGRAPH_LEAF:
    if (op->kind == MUGRAPH_OP_EXP && e->stable->kernel_exp[k]) emit_rows (&w, k);
    else emit_elements (&w, k);
    break;
  case MUGRAPH_SAVER:
  case MUGRAPH_CUSTOM:
  case MUGRAPH_ACCUM:
    return mugraph_fail (error, "kernel operator %d: %s is not a pre-defined kernel", k,
                         mugraph_op_table[op->kind].text);
  }
  return true;
}
