/* cuda_emit_reference: an input program in float64, one thread to a result, plain loops. It shares the text buffer with
   the emitter and nothing else, so that a mistake in one does not hide in the other. */
#include "launches.h"

#include <stdlib.h>
#include <string.h>

/* The value of an elementwise operator of operands a and b; for constants and bounds, p and q. */
static const char *const scalar[MUGRAPH_N_OPS] = {[MUGRAPH_OP_CONST] = "p",
                                                  [MUGRAPH_OP_NEG] = "-a",
                                                  [MUGRAPH_OP_EXP] = "exp (a)",
                                                  [MUGRAPH_OP_SQUARE] = "a * a",
                                                  [MUGRAPH_OP_SQRT] = "sqrt (a)",
                                                  [MUGRAPH_OP_SILU] = "a / (1.0 + exp (-a))",
                                                  [MUGRAPH_OP_GELU] = "0.5 * a * (1.0 + erf (a / sqrt (2.0)))",
                                                  [MUGRAPH_OP_RELU] = "a > 0.0 ? a : 0.0 * a",
                                                  [MUGRAPH_OP_TANH] = "tanh (a)",
                                                  [MUGRAPH_OP_SIGMOID] = "1.0 / (1.0 + exp (-a))",
                                                  [MUGRAPH_OP_LOG] = "log (a)",
                                                  [MUGRAPH_OP_CLAMP] = "a < p ? p : a > q ? q : a",
                                                  [MUGRAPH_OP_ADD] = "a + b",
                                                  [MUGRAPH_OP_SUB] = "a - b",
                                                  [MUGRAPH_OP_MUL] = "a * b",
                                                  [MUGRAPH_OP_DIV] = "a / b",
                                                  [MUGRAPH_OP_POW] = "pow (a, b)"};

/* "const long long NAME[4] = {..};": sizes with missing leading dimensions 1. */
static void print_sizes (cuda_text *t, const char *name, const mugraph_shape *s) {
  cuda_print (t, "  const long long %s[4] = {", name);
  for (int d = 0; d < 4; d++)
    cuda_print (t, "%s%d", d ? ", " : "", d < 4 - s->n_dims ? 1 : s->dim[d - (4 - s->n_dims)]);
  cuda_print (t, "};\n");
}

static const char helpers[] =
    "// Position of element i in an array of these sizes, and back; a size of 1 is read at 0 (broadcasting).\n"
    "__device__ void unravel (long long i, const long long *size, long long *at) {\n"
    "  for (int d = 3; d >= 0; d--) at[d] = i % size[d], i /= size[d];\n"
    "}\n"
    "__device__ long long ravel (const long long *at, const long long *size) {\n"
    "  long long i = 0;\n"
    "  for (int d = 0; d < 4; d++) i = i * size[d] + (size[d] == 1 ? 0 : at[d]);\n"
    "  return i;\n"
    "}\n";

static void print_body (cuda_text *t, const mugraph_op *o, int dim) {
  const char *along = "double s = 0.0;\n    for (long long r = 0; r < sa[D]; r++) ";
  switch ((mugraph_op_kind) o->kind) {
  case MUGRAPH_OP_MATMUL:
    cuda_print (
        t, "    double s = 0.0;\n    long long pa[4] = {at[0], at[1], at[2], 0}, pb[4] = {at[0], at[1], 0, at[3]};\n"
           "    for (long long r = 0; r < sa[3]; r++) pa[3] = pb[2] = r, s += in0[ravel (pa, sa)] * in1[ravel (pb, "
           "sb)];\n    y = s;\n");
    break;
  case MUGRAPH_OP_SUM:
  case MUGRAPH_OP_MEAN:
    cuda_print (t, "    const int D = %d;\n    %sat[D] = r, s += in0[ravel (at, sa)];\n    y = s%s;\n", dim, along,
                o->kind == MUGRAPH_OP_MEAN ? " / (double) sa[D]" : "");
    break;
  case MUGRAPH_OP_MAX:
    cuda_print (t,
                "    const int D = %d;\n    at[D] = 0;\n    y = in0[ravel (at, sa)];\n"
                "    for (long long r = 1; r < sa[D]; r++) at[D] = r, y = fmax (y, in0[ravel (at, sa)]);\n",
                dim);
    break;
  case MUGRAPH_OP_SUM_TO:
    cuda_print (t,
                "    const int D = %d;\n    const long long column = at[D];\n    double s = 0.0;\n"
                "    for (long long r = column; r < sa[D]; r += %d) at[D] = r, s += in0[ravel (at, sa)];\n    y = s;\n",
                dim, o->width);
    break;
  case MUGRAPH_OP_RMS_NORM:
    cuda_print (t,
                "    const int D = %d;\n    const double x = in0[i];\n    %sat[D] = r, s += in0[ravel (at, sa)] * "
                "in0[ravel (at, sa)];\n"
                "    y = x / sqrt (s / (double) sa[D] + %.17g);\n",
                dim, along, o->c[0]);
    break;
  case MUGRAPH_OP_TRANSPOSE:
    cuda_print (t, "    const long long pa[4] = {at[0], at[1], at[3], at[2]};\n    y = in0[ravel (pa, sa)];\n");
    break;
  case MUGRAPH_OP_CONCAT:
    cuda_print (t,
                "    const int D = %d;\n    if (at[D] < sa[D]) y = in0[ravel (at, sa)];\n    else at[D] -= sa[D], y = "
                "in1[ravel (at, sb)];\n",
                dim);
    break;
  default:
    cuda_print (t, "    const double p = %.17g, q = %.17g", o->c[0], o->c[1]);
    if (o->n_in > 0) cuda_print (t, ", a = in0[ravel (at, sa)]");
    if (o->n_in > 1) cuda_print (t, ", b = in1[ravel (at, sb)]");
    cuda_print (t, ";\n    (void) p, (void) q;\n    y = %s;\n", scalar[o->kind]);
  }
}

static void emit_op (cuda_emitter *e, int k) {
  const mugraph_op *o = &e->g->op[k];
  const mugraph_shape *out = &e->g->tensor[o->out[0]].shape;
  int64_t n = mugraph_volume (out), blocks = (n + 255) / 256;
  int l =
      cuda_add_launch (e, blocks < 1 << 20 ? blocks : 1 << 20, 256, 0, "ref%d_%s", k, mugraph_op_table[o->kind].text);
  for (int i = 0; i < o->n_in; i++) cuda_add_pointer (e, l, e->tensor[o->in[i]].buffer, "const double *in%d", i);
  cuda_add_pointer (e, l, e->tensor[o->out[0]].buffer, "double *out");
  cuda_open_kernel (e, l);
  print_sizes (&e->body, "so", out);
  for (int i = 0; i < o->n_in; i++) print_sizes (&e->body, i ? "sb" : "sa", &e->g->tensor[o->in[i]].shape);
  cuda_print (&e->body,
              "  for (long long i = (long long) blockIdx.x * 256 + threadIdx.x; i < %lldLL; i += (long long) gridDim.x "
              "* 256) {\n"
              "    long long at[4];\n    double y;\n    unravel (i, so, at);\n",
              (long long) n);
  print_body (&e->body, o, o->dim + 4 - (o->n_in ? e->g->tensor[o->in[0]].shape.n_dims : 4));
  cuda_print (&e->body, "    out[i] = y;\n  }\n}\n");
}

static void emit_output (cuda_emitter *e, int i) {
  int t = e->g->output[i];
  int64_t n = mugraph_volume (&e->g->tensor[t].shape), blocks = (n + 255) / 256;
  int to = cuda_add_buffer (e, CUDA_BUFFER_OUTPUT, i, 8 * n, "output");
  int l = cuda_add_launch (e, blocks < 1 << 20 ? blocks : 1 << 20, 256, 0, "ref_output%d", i);
  cuda_add_pointer (e, l, e->tensor[t].buffer, "const double *in0");
  cuda_add_pointer (e, l, to, "double *out");
  cuda_open_kernel (e, l);
  cuda_print (&e->body,
              "  for (long long i = (long long) blockIdx.x * 256 + threadIdx.x; i < %lldLL; i += (long long) gridDim.x "
              "* 256) out[i] = in0[i];\n}\n",
              (long long) n);
}

bool cuda_emit_reference (const mugraph *g, cuda_program *p, mugraph_error *error) {
  memset (p, 0, sizeof *p);
  for (int k = 0; k < g->n_ops; k++)
    if (g->op[k].kind == MUGRAPH_OP_CUSTOM)
      return mugraph_fail (error, "kernel operator %d: the reference takes programs without graph-defined kernels", k);
  cuda_emitter *e = calloc (1, sizeof *e);
  if (!e) return mugraph_fail (error, "out of memory while writing the CUDA source");
  e->g = g, e->program = p;
  cuda_print (&e->body, "%s", helpers);
  for (int t = 0; t < g->n_tensors; t++)
    e->tensor[t].buffer = cuda_add_buffer (e, t < g->n_inputs ? CUDA_BUFFER_INPUT : CUDA_BUFFER_TEMP, t,
                                           8 * mugraph_volume (&g->tensor[t].shape), "value");
  for (int k = 0; k < g->n_ops; k++) emit_op (e, k);
  for (int i = 0; i < g->n_outputs; i++) emit_output (e, i);
  bool done = !e->full && !e->body.failed;
  for (int i = 0; i < CUDA_LAUNCHES; i++) {
    done &= !e->params[i].failed;
    cuda_text_free (&e->params[i]);
  }
  if (done) p->source = e->body.data;
  else cuda_text_free (&e->body);
  free (e);
  return done || mugraph_fail (error, "the program is too large for a float64 reference");
}
