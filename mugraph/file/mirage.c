#include "mirage.h"
#include "reader.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- names ---- */

enum { K = MUGRAPH_KERNEL_LEVEL, B = MUGRAPH_BLOCK_LEVEL, NONE = -1, LAST = -2 };

/* "kn_" or "tb_" + text + "_op". dim: the dimension that the name carries. A row of kind SUM becomes a SUM_TO where the
   stated result is wider than 1. */
static const struct {
  const char *text;
  mugraph_op_kind kind;
  int levels, dim;
} rows[] = {
    {"input", MUGRAPH_OP_INPUT, K | B, NONE},
    {"output", MUGRAPH_OP_OUTPUT, K | B, NONE},
    {"customized", MUGRAPH_OP_CUSTOM, K, NONE},
    {"matmul", MUGRAPH_OP_MATMUL, K | B, NONE},
    {"exp", MUGRAPH_OP_EXP, K | B, NONE},
    {"square", MUGRAPH_OP_SQUARE, K | B, NONE},
    {"sqrt", MUGRAPH_OP_SQRT, K | B, NONE},
    {"silu", MUGRAPH_OP_SILU, K | B, NONE},
    {"gelu", MUGRAPH_OP_GELU, K | B, NONE},
    {"relu", MUGRAPH_OP_RELU, K | B, NONE},
    {"sigmoid", MUGRAPH_OP_SIGMOID, K | B, NONE},
    {"log", MUGRAPH_OP_LOG, K | B, NONE},
    {"clamp", MUGRAPH_OP_CLAMP, K | B, NONE},
    {"add", MUGRAPH_OP_ADD, K | B, NONE},
    {"sub", MUGRAPH_OP_SUB, K | B, NONE},
    {"mul", MUGRAPH_OP_MUL, K | B, NONE},
    {"div", MUGRAPH_OP_DIV, K | B, NONE},
    {"pow", MUGRAPH_OP_POW, K | B, NONE},
    {"reduction_0", MUGRAPH_OP_SUM, K | B, 0},
    {"reduction_1", MUGRAPH_OP_SUM, K | B, 1},
    {"reduction_2", MUGRAPH_OP_SUM, K | B, 2},
    {"reduction_3", MUGRAPH_OP_SUM, K | B, 3},
    {"reduction_0_to_dimx", MUGRAPH_OP_SUM_TO, B, 0},
    {"reduction_1_to_dimx", MUGRAPH_OP_SUM_TO, B, 1},
    {"reduction_2_to_dimx", MUGRAPH_OP_SUM_TO, B, 2},
    {"reduction_3_to_dimx", MUGRAPH_OP_SUM_TO, B, 3},
    {"rms_norm", MUGRAPH_OP_RMS_NORM, K | B, LAST},
    {"concat_0", MUGRAPH_OP_CONCAT, K | B, 0},
    {"concat_1", MUGRAPH_OP_CONCAT, K | B, 1},
    {"concat_2", MUGRAPH_OP_CONCAT, K | B, 2},
    {"concat_3", MUGRAPH_OP_CONCAT, K | B, 3},
    {"forloop_accum_nored", MUGRAPH_OP_ACCUM, B, NONE},
    {"forloop_accum_no_red", MUGRAPH_OP_ACCUM, B, NONE},
    {"forloop_accum_red_ld_sum", MUGRAPH_OP_ACCUM_SUM, B, NONE},
    {"forloop_accum_red_ld_mean", MUGRAPH_OP_ACCUM_MEAN, B, NONE},
    {"forloop_accum_red_ld_rms", MUGRAPH_OP_ACCUM_RMS, B, NONE},
    {"forloop_accum_redtox_ld_sum", MUGRAPH_OP_ACCUM_SUM_TO, B, NONE},
    /* as earlier versions spelt them */
    {"accum_nored", MUGRAPH_OP_ACCUM, B, NONE},
    {"accum_red_ld_sum", MUGRAPH_OP_ACCUM_SUM, B, NONE},
    {"accum_red_ld_mean", MUGRAPH_OP_ACCUM_MEAN, B, NONE},
    {"accum_red_ld_rms", MUGRAPH_OP_ACCUM_RMS, B, NONE},
    {"accum_redtox_ld_sum", MUGRAPH_OP_ACCUM_SUM_TO, B, NONE},
};

static bool read_kind (const cJSON *o, const mugraph_place *at, int level, int *row, mugraph_error *e) {
  char text[64], expected[64];
  const mugraph_place name = {at, "op_type", 0};
  if (!mugraph_read_object (o, at, NULL, e) || !mugraph_name_member (o, at, "op_type", sizeof text, text, e))
    return false;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    snprintf (expected, sizeof expected, "%s_%s_op", level == K ? "kn" : "tb", rows[i].text);
    if ((rows[i].levels & level) && !strcmp (text, expected)) return *row = (int) i, true;
  }
  return mugraph_fail_at (&name, e, "unknown operator \"%s\"", text);
}

/* ---- tensors ---- */

typedef struct {
  int64_t guid;
  mugraph_shape shape; /* as stated */
} tensor;

static const struct {
  int64_t code;
  mugraph_dtype dtype;
} dtypes[] = {{940, MUGRAPH_BF16}, {941, MUGRAPH_F16}, {950, MUGRAPH_F32}};

static bool read_tensor (const cJSON *o, const mugraph_place *at, tensor *t, mugraph_error *e) {
  enum { STATED = 8 }; /* "dim" is as long as the writer's arrays were */
  int64_t code, n, dim[STATED];
  int listed;
  if (!mugraph_read_object (o, at, NULL, e) ||
      !mugraph_int_member (o, at, "guid", -((int64_t) 1 << 53), (int64_t) 1 << 53, &t->guid, e) ||
      !mugraph_int_member (o, at, "num_dims", 1, MUGRAPH_DIMS, &n, e) ||
      !mugraph_ints_member (o, at, "dim", (int) n, STATED, 0, MUGRAPH_MAX_DIM, &listed, dim, e) ||
      !mugraph_int_member (o, at, "data_type", 0, 9999, &code, e))
    return false;
  size_t i = 0;
  while (i < sizeof dtypes / sizeof *dtypes && dtypes[i].code != code) i++;
  if (i == sizeof dtypes / sizeof *dtypes)
    return mugraph_fail_at (&(mugraph_place){at, "data_type", 0}, e,
                            "data type %d is not supported (940 bfloat16, 941 float16, 950 float32)", (int) code);
  t->shape = (mugraph_shape){.n_dims = (uint8_t) n, .dtype = (uint8_t) dtypes[i].dtype};
  for (int d = 0; d < n; d++) {
    if (!dim[d]) return mugraph_fail_at (&(mugraph_place){at, "dim", 0}, e, "dimension %d is 0", d);
    t->shape.dim[d] = (int32_t) dim[d];
  }
  return true;
}

/* The tensors of an array member; between low and high of them. */
static bool read_tensors (const cJSON *o, const mugraph_place *up, const char *member, int low, int high, int *n,
                          tensor out[], mugraph_error *e) {
  const cJSON *list = mugraph_member (o, member);
  const mugraph_place at = {up, member, 0};
  if (!mugraph_read_array (list, &at, low, high, e)) return false;
  *n = 0;
  for (const cJSON *m = list->child; m; m = m->next, ++*n)
    if (!read_tensor (m, &(mugraph_place){&at, NULL, *n}, &out[*n], e)) return false;
  return true;
}

/* A tensor is named by its guid: the index of the one that an earlier operator made, with the shape stated there. */
static bool find (const tensor *wanted, const mugraph_place *at, const tensor known[], int n, int *index,
                  mugraph_error *e) {
  for (int i = 0; i < n; i++) {
    if (known[i].guid != wanted->guid || !known[i].shape.n_dims) continue;
    if (!mugraph_same_shape (&known[i].shape, &wanted->shape))
      return mugraph_fail_at (at, e, "tensor %lld has another shape where it is computed", (long long) wanted->guid);
    return *index = i, true;
  }
  return mugraph_fail_at (at, e, "tensor %lld is computed by no operator before this one", (long long) wanted->guid);
}

static bool unused_guid (const tensor *t, const mugraph_place *at, const tensor known[], int n, mugraph_error *e) {
  for (int i = 0; i < n; i++)
    if (known[i].shape.n_dims && known[i].guid == t->guid)
      return mugraph_fail_at (at, e, "tensor %lld is computed twice", (long long) t->guid);
  return true;
}

/* Strides of some order of the dimensions, without gaps; those of dimensions of size 1 mean nothing. */
static bool check_strides (const cJSON *o, const mugraph_place *at, const char *member, const mugraph_shape *s,
                           mugraph_error *e) {
  int64_t stride[MUGRAPH_DIMS];
  if (!mugraph_member (o, member)) return true;
  if (!mugraph_ints_member (o, at, member, s->n_dims, s->n_dims, 0, MUGRAPH_MAX_VOLUME, NULL, stride, e)) return false;
  bool placed[MUGRAPH_DIMS] = {false};
  int64_t next = 1;
  int left = 0;
  for (int d = 0; d < s->n_dims; d++) {
    placed[d] = s->dim[d] == 1;
    left += !placed[d];
  }
  for (bool found = true; found && left;) {
    found = false;
    for (int d = 0; d < s->n_dims && !found; d++)
      if (!placed[d] && stride[d] == next) {
        placed[d] = found = true;
        next *= s->dim[d];
        left--;
      }
  }
  return !left || mugraph_fail_at (&(mugraph_place){at, member, 0}, e, "are the strides of no order of the dimensions");
}

/* ---- operators ---- */

/* An operator with inputs and one output, of either level: everything but what its indices mean. dimx: the block
   graph's reduction_dimx, 0 for none. */
static bool read_op (const cJSON *o, const mugraph_place *at, int row, int64_t dimx, const tensor known[], int n_known,
                     mugraph_op *op, tensor *result, mugraph_error *e) {
  tensor in[MUGRAPH_FANIN];
  int n, n_out;
  mugraph_op_kind kind = rows[row].kind;
  const int arity = mugraph_op_table[kind].arity;
  if (!read_tensors (o, at, "input_tensors", arity, arity, &n, in, e) ||
      !read_tensors (o, at, "output_tensors", 1, 1, &n_out, result, e) || !unused_guid (result, at, known, n_known, e))
    return false;
  int dim = rows[row].dim;
  if (dim == LAST) dim = result->shape.n_dims - 1;
  if (dim >= result->shape.n_dims)
    return mugraph_fail_at (at, e, "%s: the tensor has %d dimensions", rows[row].text, result->shape.n_dims);
  int32_t width = 0;
  if (kind == MUGRAPH_OP_SUM && result->shape.dim[dim] > 1) {
    kind = MUGRAPH_OP_SUM_TO;
    width = result->shape.dim[dim];
  } else if (mugraph_op_has (kind, MUGRAPH_HAS_WIDTH))
    width = dimx ? (int32_t) dimx : result->shape.dim[dim >= 0 ? dim : result->shape.n_dims - 1];
  *op = mugraph_op_of (kind, dim);
  op->width = width;
  op->n_in = (uint8_t) n;
  for (int k = 0; k < n; k++) {
    int index;
    if (!find (&in[k], &(mugraph_place){&(mugraph_place){at, "input_tensors", 0}, NULL, k}, known, n_known, &index, e))
      return false;
    op->in[k] = (uint8_t) index;
  }
  return true;
}

/* What inference found against what the file states. */
static bool check_shape (const mugraph_shape *inferred, const mugraph_shape *stated, const char *text,
                         const mugraph_place *at, mugraph_error *e) {
  if (mugraph_same_shape (inferred, stated)) return true;
  char part[2][64];
  for (int i = 0; i < 2; i++) {
    const mugraph_shape *s = i ? stated : inferred;
    size_t n = 0;
    for (int d = 0; d < s->n_dims; d++)
      n += (size_t) snprintf (part[i] + n, sizeof part[i] - n, "%s%d", d ? ", " : "", s->dim[d]);
  }
  return mugraph_fail_at (at, e, "%s makes a tensor [%s], the file states [%s]", text, part[0], part[1]);
}

/* {"x":, "y":, "z":} */
static bool read_xyz (const cJSON *o, const mugraph_place *up, const char *member, int64_t low, int64_t high,
                      int64_t out[3], mugraph_error *e) {
  static const char *const names[] = {"x", "y", "z"};
  const cJSON *v = mugraph_member (o, member);
  const mugraph_place at = {up, member, 0};
  if (!mugraph_read_object (v, &at, NULL, e)) return false;
  for (int g = 0; g < 3; g++)
    if (!mugraph_int_member (v, &at, names[g], low, high, &out[g], e)) return false;
  return true;
}

/* A map of grid dimensions. Where the grid has one block the entry means nothing and may name any dimension. */
static bool read_map (const cJSON *o, const mugraph_place *at, const char *member, const int32_t grid[3], int n_dims,
                      int map[3], mugraph_error *e) {
  int64_t x[3];
  if (!read_xyz (o, at, member, -1, MUGRAPH_DIMS - 1, x, e)) return false;
  for (int g = 0; g < 3; g++) map[g] = grid[g] == 1 && x[g] >= n_dims ? -1 : (int) x[g];
  return true;
}

/* ---- one µGraph ---- */

typedef struct {
  mugraph *g;
  tensor known[MUGRAPH_TENSORS]; /* beside g->tensor */
} state;

/* Which input of the kernel operator an iterator walks: the one at its own position if the guid says so, else the first
   of that guid. */
static int which (const tensor *t, const tensor list[], int n, int position) {
  if (position < n && list[position].guid == t->guid) return position;
  for (int i = 0; i < n; i++)
    if (list[i].guid == t->guid) return i;
  return -1;
}

/* One operator of the block graph. made: stated tiles of the operators so far, savers without a shape. in, out: tensors
   of the kernel operator. saved[k]: the output that saver number k writes. */
static bool read_block_op (const cJSON *o, const mugraph_place *at, int64_t dimx, const tensor in[], int n_in,
                           const tensor out[], int n_out, mugraph_block *b, tensor made[], int *n_iterators,
                           int saved[], int *n_saved, mugraph_error *e) {
  const int i = b->n_ops;
  int row, n;
  tensor data, tile = {0, {{0}, 0, 0}};
  if (!read_kind (o, at, B, &row, e)) return false;
  const mugraph_op_kind kind = rows[row].kind;
  if (kind != MUGRAPH_OP_INPUT && kind != MUGRAPH_OP_OUTPUT) {
    if (!read_op (o, at, row, dimx, made, i, &b->op[i], &made[i], e)) return false;
    b->n_ops++;
    return true;
  }
  const mugraph_place data_at = {at, "dtensor", 0};
  if (!read_tensor (mugraph_member (o, "dtensor"), &data_at, &data, e)) return false;
  int map[3], index;
  if (kind == MUGRAPH_OP_INPUT) {
    int64_t fmap;
    if (!read_map (o, at, "input_map", b->grid, data.shape.n_dims, map, e) ||
        !mugraph_int_member (o, at, "forloop_dim", -1, MUGRAPH_DIMS - 1, &fmap, e) ||
        !read_tensors (o, at, "output_tensors", 1, 1, &n, &made[i], e) || !unused_guid (&made[i], at, made, i, e))
      return false;
    if (b->loop == 1 && fmap >= data.shape.n_dims) fmap = -1;
    index = which (&data, in, n_in, (*n_iterators)++);
    if (index < 0)
      return mugraph_fail_at (&data_at, e, "tensor %lld is no input of this kernel", (long long) data.guid);
    if (!mugraph_same_shape (&data.shape, &in[index].shape))
      return mugraph_fail_at (&data_at, e, "tensor %lld has another shape where it is computed", (long long) data.guid);
    mugraph_block_input (b, index, map, (int) fmap);
    return true;
  }
  if (!read_map (o, at, "output_map", b->grid, data.shape.n_dims, map, e) ||
      !read_tensors (o, at, "input_tensors", 1, 1, &n, &tile, e) ||
      !find (&tile, &(mugraph_place){at, "input_tensors", 0}, made, i, &index, e))
    return false;
  const int written = which (&data, out, n_out, *n_saved);
  if (written < 0)
    return mugraph_fail_at (&data_at, e, "tensor %lld is no output of this kernel", (long long) data.guid);
  if (!mugraph_same_shape (&data.shape, &out[written].shape))
    return mugraph_fail_at (&data_at, e, "tensor %lld has another shape among the kernel's outputs",
                            (long long) data.guid);
  if (*n_saved >= n_out) return mugraph_fail_at (at, e, "the kernel has %d outputs, this saver is one more", n_out);
  for (int k = 0; k < *n_saved; k++)
    if (saved[k] == written)
      return mugraph_fail_at (&data_at, e, "tensor %lld is written by two savers", (long long) data.guid);
  saved[(*n_saved)++] = written;
  made[i] = (tensor){0, {{0}, 0, 0}};
  mugraph_block_output (b, index, map);
  return true;
}

/* A graph-defined kernel; its outputs are out. */
static bool read_custom (state *s, const cJSON *o, const mugraph_place *at, mugraph_error *e) {
  mugraph *g = s->g;
  tensor in[MUGRAPH_FANIN], out[MUGRAPH_FANOUT], made[MUGRAPH_BLOCK_OPS];
  int n_in, n_out, index[MUGRAPH_FANIN], saved[MUGRAPH_FANOUT], n_iterators = 0, n_saved = 0;
  if (!read_tensors (o, at, "input_tensors", 1, MUGRAPH_FANIN, &n_in, in, e) ||
      !read_tensors (o, at, "output_tensors", 1, MUGRAPH_FANOUT, &n_out, out, e))
    return false;
  const mugraph_place in_at = {at, "input_tensors", 0}, block_at = {at, "bgraph", 0},
                      list = {&block_at, "operators", 0};
  for (int k = 0; k < n_in; k++)
    if (!find (&in[k], &(mugraph_place){&in_at, NULL, k}, s->known, g->n_tensors, &index[k], e)) return false;

  const cJSON *bgraph = mugraph_member (o, "bgraph");
  int64_t grid[3], threads[3], loop, dimx = 0;
  if (!mugraph_read_object (bgraph, &block_at, NULL, e) ||
      !read_xyz (bgraph, &block_at, "grid_dim", 1, INT32_MAX, grid, e) ||
      !read_xyz (bgraph, &block_at, "block_dim", 1, 1024, threads, e) ||
      !mugraph_int_member (bgraph, &block_at, "forloop_range", 1, INT32_MAX, &loop, e))
    return false;
  if (mugraph_member (bgraph, "reduction_dimx") &&
      !mugraph_int_member (bgraph, &block_at, "reduction_dimx", 0, MUGRAPH_MAX_DIM, &dimx, e))
    return false;
  const int64_t all = threads[0] * threads[1] * threads[2];
  if (all > 1024) return mugraph_fail_at (&block_at, e, "%lld threads a block, at most 1024", (long long) all);

  const int32_t extents[3] = {(int32_t) grid[0], (int32_t) grid[1], (int32_t) grid[2]};
  const int k = mugraph_add_custom (g, n_in, index, extents, (int32_t) loop);
  if (k < 0) return mugraph_fail_at (at, e, "more than %d graph-defined kernels", MUGRAPH_BLOCKS);
  mugraph_block *b = &g->block[g->op[k].block];
  b->sched.warps = (int16_t) ((all + 31) / 32);
  const cJSON *ops = mugraph_member (bgraph, "operators");
  if (!mugraph_read_array (ops, &list, 1, MUGRAPH_BLOCK_OPS, e)) return false;
  for (const cJSON *m = ops->child; m; m = m->next)
    if (!read_block_op (m, &(mugraph_place){&list, NULL, b->n_ops}, dimx, in, n_in, out, n_out, b, made, &n_iterators,
                        saved, &n_saved, e))
      return false;
  if (n_saved != n_out) return mugraph_fail_at (at, e, "%d outputs but %d savers", n_out, n_saved);

  mugraph_error why;
  if (!mugraph_finish_custom (g, k, &why)) return mugraph_fail_at (at, e, "%s", why.text);
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_place op_at = {&list, NULL, i};
    if (made[i].shape.n_dims &&
        !check_shape (&b->op[i].shape, &made[i].shape, mugraph_op_table[b->op[i].kind].text, &op_at, e))
      return false;
  }
  for (int i = 0; i < n_out; i++) {
    const int t = g->op[k].out[i];
    if (!check_shape (&g->tensor[t].shape, &out[saved[i]].shape, "output", at, e) ||
        !unused_guid (&out[saved[i]], at, s->known, t, e))
      return false;
    s->known[t] = out[saved[i]];
  }
  return true;
}

static bool read_kernel_op (state *s, const cJSON *o, const mugraph_place *at, int row, mugraph_error *e) {
  mugraph *g = s->g;
  tensor result;
  int n, index;
  mugraph_error why;
  if (rows[row].kind == MUGRAPH_OP_CUSTOM) return read_custom (s, o, at, e);
  if (rows[row].kind == MUGRAPH_OP_OUTPUT) {
    char name[MUGRAPH_NAME];
    snprintf (name, sizeof name, "O%d", g->n_outputs);
    if (!read_tensors (o, at, "input_tensors", 1, 1, &n, &result, e) ||
        !find (&result, &(mugraph_place){at, "input_tensors", 0}, s->known, g->n_tensors, &index, e) ||
        !check_strides (o, at, "output_strides", &result.shape, e))
      return false;
    return mugraph_add_output (g, index, name) || mugraph_fail_at (at, e, "more than %d outputs", MUGRAPH_OUTPUTS);
  }
  if (g->n_ops >= MUGRAPH_KERNEL_OPS || g->n_tensors >= MUGRAPH_TENSORS)
    return mugraph_fail_at (at, e, "more than %d kernel operators", MUGRAPH_KERNEL_OPS);
  mugraph_op *op = &g->op[g->n_ops];
  const int t = g->n_tensors;
  if (!read_op (o, at, row, 0, s->known, t, op, &result, e)) return false;
  const mugraph_shape *in[MUGRAPH_FANIN];
  for (int k = 0; k < op->n_in; k++) in[k] = &g->tensor[op->in[k]].shape;
  if (!mugraph_infer_op (op, in, &g->tensor[t].shape, &why)) return mugraph_fail_at (at, e, "%s", why.text);
  if (!check_shape (&g->tensor[t].shape, &result.shape, rows[row].text, at, e)) return false;
  op->n_out = 1;
  op->out[0] = (uint8_t) t;
  s->known[t] = result;
  g->n_ops++, g->n_tensors++;
  return true;
}

static bool read_input (state *s, const cJSON *o, const mugraph_place *at, mugraph_error *e) {
  mugraph *g = s->g;
  tensor data;
  int n;
  char name[MUGRAPH_NAME];
  snprintf (name, sizeof name, "I%d", g->n_inputs);
  if (!read_tensors (o, at, "output_tensors", 1, 1, &n, &data, e) ||
      !check_strides (o, at, "input_strides", &data.shape, e) || !unused_guid (&data, at, s->known, g->n_tensors, e))
    return false;
  if (g->n_inputs >= MUGRAPH_INPUTS) return mugraph_fail_at (at, e, "more than %d inputs", MUGRAPH_INPUTS);
  s->known[mugraph_add_input (g, name, data.shape)] = data;
  return true;
}

static bool read_graph (state *s, const cJSON *ops, const mugraph_place *at, mugraph_error *e) {
  if (!mugraph_read_array (ops, at, 1, MUGRAPH_TENSORS + MUGRAPH_OUTPUTS, e)) return false;
  mugraph_init (s->g);
  memset (s->known, 0, sizeof s->known);
  for (int inputs = 1; inputs >= 0; inputs--) { /* our inputs precede every operator */
    int j = 0, row;
    for (const cJSON *m = ops->child; m; m = m->next, j++) {
      const mugraph_place op_at = {at, NULL, j};
      if (!read_kind (m, &op_at, K, &row, e)) return false;
      if ((rows[row].kind == MUGRAPH_OP_INPUT) != inputs) continue;
      if (inputs ? !read_input (s, m, &op_at, e) : !read_kernel_op (s, m, &op_at, row, e)) return false;
    }
  }
  if (!s->g->n_outputs) return mugraph_fail_at (at, e, "has no kn_output_op");
  mugraph_error why;
  return mugraph_infer (s->g, &why) || mugraph_fail_at (at, e, "%s", why.text);
}

/* ---- files ---- */

bool mugraph_mirage_from_json (const cJSON *root, const char *name, mugraph_file *out, mugraph_error *e) {
  const mugraph_place file = {NULL, name, 0};
  mugraph_file_init (out);
  if (!mugraph_read_array (root, &file, 1, MUGRAPH_FILE_GRAPHS, e)) return false;
  state s = {malloc (sizeof *s.g), {{0, {{0}, 0, 0}}}};
  bool ok = s.g || mugraph_fail (e, "%s: out of memory", name);
  int i = 0;
  for (const cJSON *m = root->child; ok && m; m = m->next, i++) {
    ok = read_graph (&s, m, &(mugraph_place){&file, NULL, i}, e);
    if (ok && !mugraph_file_append (out, s.g, -1)) ok = mugraph_fail (e, "%s: out of memory", name);
  }
  free (s.g);
  if (!ok) mugraph_file_free (out);
  return ok;
}

bool mugraph_mirage_load (const char *path, mugraph_file *out, mugraph_error *e) {
  size_t size;
  mugraph_file_init (out);
  char *text = mugraph_read_text (path, MUGRAPH_FILE_BYTES, &size, e);
  cJSON *root = text ? mugraph_parse_json (path, text, size, e) : NULL;
  const bool ok = root && mugraph_mirage_from_json (root, path, out, e);
  cJSON_Delete (root);
  free (text);
  return ok;
}
