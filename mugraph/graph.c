/* Building graphs, the operator table, identity. */
#include "mugraph.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

enum { K = MUGRAPH_KERNEL_LEVEL, B = MUGRAPH_BLOCK_LEVEL, V = -1 };

const mugraph_op_info mugraph_op_table[MUGRAPH_N_OPS] = {
#define OP(id, text, arity, levels, klass, shape, expr, field, real, cuda)                                             \
  [MUGRAPH_OP_##id] = {text, arity, levels, MUGRAPH_##klass, cuda},
#include "op.def"
#undef OP
};

int mugraph_op_find (const char *text) {
  for (int i = 0; i < MUGRAPH_N_OPS; i++)
    if (!strcmp (mugraph_op_table[i].text, text)) return i;
  return -1;
}

static const struct {
  const char *text;
  int bytes;
} dtypes[MUGRAPH_N_DTYPES] = {{"f16", 2}, {"bf16", 2}, {"f32", 4}};

const char *mugraph_dtype_text (mugraph_dtype t) { return dtypes[t].text; }
int mugraph_dtype_bytes (mugraph_dtype t) { return dtypes[t].bytes; }

int mugraph_dtype_find (const char *text) {
  for (int i = 0; i < MUGRAPH_N_DTYPES; i++)
    if (!strcmp (dtypes[i].text, text)) return i;
  return -1;
}

bool mugraph_fail (mugraph_error *e, const char *format, ...) {
  if (e) {
    va_list ap;
    va_start (ap, format);
    vsnprintf (e->text, sizeof e->text, format, ap);
    va_end (ap);
  }
  return false;
}

void mugraph_init (mugraph *g) { memset (g, 0, sizeof *g); }

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

static void name_copy (char to[MUGRAPH_NAME], const char *from) { snprintf (to, MUGRAPH_NAME, "%s", from ? from : ""); }

int mugraph_add_input (mugraph *g, const char *name, mugraph_shape s) {
  if (g->n_ops || g->n_inputs >= MUGRAPH_INPUTS) return -1;
  int t = g->n_tensors++;
  g->n_inputs++;
  g->tensor[t].shape = s;
  name_copy (g->tensor[t].name, name);
  return t;
}

static int append_kernel_op (mugraph *g, mugraph_op op, const mugraph_shape *out) {
  if (g->n_ops >= MUGRAPH_KERNEL_OPS || g->n_tensors >= MUGRAPH_TENSORS) return -1;
  int t = g->n_tensors++;
  op.n_out = 1;
  op.out[0] = (uint8_t) t;
  g->tensor[t].shape = *out;
  g->tensor[t].name[0] = 0;
  g->op[g->n_ops++] = op;
  return t;
}

static mugraph_op plain_op (mugraph_op_kind kind, int dim) {
  mugraph_op op = {.kind = (uint8_t) kind, .dim = (int8_t) dim, .block = -1, .map = {-1, -1, -1}, .fmap = -1};
  if (kind == MUGRAPH_OP_CLAMP) op.c[1] = 1;
  return op;
}

int mugraph_add_op (mugraph *g, mugraph_op_kind kind, int n_in, const int in[], int dim, mugraph_error *e) {
  mugraph_op op = plain_op (kind, dim);
  const mugraph_shape *shapes[MUGRAPH_FANIN];
  mugraph_shape out;
  if (n_in < 0 || n_in > MUGRAPH_FANIN)
    return mugraph_fail (e, "an operator takes at most %d inputs", MUGRAPH_FANIN), -1;
  op.n_in = (uint8_t) n_in;
  for (int i = 0; i < n_in; i++) {
    if (in[i] < 0 || in[i] >= g->n_tensors)
      return mugraph_fail (e, "%s: no tensor %d", mugraph_op_table[kind].text, in[i]), -1;
    op.in[i] = (uint8_t) in[i];
    shapes[i] = &g->tensor[in[i]].shape;
  }
  if (!mugraph_infer_op (&op, shapes, &out, e)) return -1;
  int t = append_kernel_op (g, op, &out);
  if (t < 0) mugraph_fail (e, "more than %d operators in one kernel graph", MUGRAPH_KERNEL_OPS);
  return t;
}

int mugraph_add_const (mugraph *g, double value, mugraph_error *e) {
  mugraph_op op = plain_op (MUGRAPH_OP_CONST, -1);
  op.c[0] = value;
  mugraph_shape s = mugraph_shape_of (MUGRAPH_F32, 1, (int32_t[]){1});
  int t = append_kernel_op (g, op, &s);
  if (t < 0) mugraph_fail (e, "more than %d operators in one kernel graph", MUGRAPH_KERNEL_OPS);
  return t;
}

bool mugraph_add_output (mugraph *g, int tensor, const char *name) {
  if (g->n_outputs >= MUGRAPH_OUTPUTS || tensor < 0 || tensor >= g->n_tensors) return false;
  name_copy (g->output_name[g->n_outputs], name);
  g->output[g->n_outputs++] = (uint8_t) tensor;
  return true;
}

void mugraph_reorder_inputs (mugraph *g, const int order[]) {
  mugraph_tensor input[MUGRAPH_INPUTS];
  memcpy (input, g->tensor, sizeof *input * (size_t) g->n_inputs);
  for (int k = 0; k < g->n_inputs; k++) g->tensor[order[k]] = input[k];
  for (int i = 0; i < g->n_ops; i++)
    for (int k = 0; k < g->op[i].n_in; k++)
      if (g->op[i].in[k] < g->n_inputs) g->op[i].in[k] = (uint8_t) order[g->op[i].in[k]];
  for (int k = 0; k < g->n_outputs; k++)
    if (g->output[k] < g->n_inputs) g->output[k] = (uint8_t) order[g->output[k]];
}

bool mugraph_next_order (int n, int order[]) {
  int i = n - 2, k = n - 1;
  while (i >= 0 && order[i] > order[i + 1]) i--;
  if (i < 0) return false;
  while (order[k] < order[i]) k--;
  int swap = order[i];
  order[i] = order[k];
  order[k] = swap;
  for (int low = i + 1, high = n - 1; low < high; low++, high--) {
    swap = order[low];
    order[low] = order[high];
    order[high] = swap;
  }
  return true;
}

int mugraph_add_custom (mugraph *g, int n_in, const int in[], const int32_t grid[3], int32_t loop) {
  if (g->n_ops >= MUGRAPH_KERNEL_OPS || g->n_blocks >= MUGRAPH_BLOCKS || n_in > MUGRAPH_FANIN) return -1;
  mugraph_op op = plain_op (MUGRAPH_OP_CUSTOM, -1);
  op.n_in = (uint8_t) n_in;
  for (int i = 0; i < n_in; i++) op.in[i] = (uint8_t) in[i];
  op.block = (int8_t) g->n_blocks;
  mugraph_block_init (&g->block[g->n_blocks++], grid, loop);
  g->op[g->n_ops] = op;
  return g->n_ops++;
}

void mugraph_sched_default (mugraph_sched *s) {
#define SCHED(name, def, low, high, help) s->name = def;
#include "sched.def"
#undef SCHED
}

void mugraph_block_init (mugraph_block *b, const int32_t grid[3], int32_t loop) {
  memset (b, 0, sizeof *b);
  memcpy (b->grid, grid, sizeof b->grid);
  b->loop = loop;
  mugraph_sched_default (&b->sched);
}

static int append_block_op (mugraph_block *b, mugraph_op op) {
  if (b->n_ops >= MUGRAPH_BLOCK_OPS) return -1;
  b->op[b->n_ops] = op;
  return b->n_ops++;
}

int mugraph_block_input (mugraph_block *b, int kernel_input, const int imap[3], int fmap) {
  mugraph_op op = plain_op (MUGRAPH_OP_INPUT, -1);
  op.in[0] = (uint8_t) kernel_input;
  for (int g = 0; g < 3; g++) op.map[g] = (int8_t) imap[g];
  op.fmap = (int8_t) fmap;
  return append_block_op (b, op);
}

int mugraph_block_op (mugraph_block *b, mugraph_op_kind kind, int a, int second, int dim) {
  mugraph_op op = plain_op (kind, dim);
  op.in[0] = (uint8_t) a;
  op.n_in = 1;
  if (second >= 0) {
    op.in[1] = (uint8_t) second;
    op.n_in = 2;
  }
  return append_block_op (b, op);
}

int mugraph_block_const (mugraph_block *b, double value) {
  mugraph_op op = plain_op (MUGRAPH_OP_CONST, -1);
  op.c[0] = value;
  return append_block_op (b, op);
}

int mugraph_block_output (mugraph_block *b, int tile, const int omap[3]) {
  mugraph_op op = plain_op (MUGRAPH_OP_OUTPUT, -1);
  op.in[0] = (uint8_t) tile;
  op.n_in = 1;
  for (int g = 0; g < 3; g++) op.map[g] = (int8_t) omap[g];
  return append_block_op (b, op);
}

int mugraph_block_uses (const mugraph_block *b, int i) {
  int n = 0;
  for (int j = i + 1; j < b->n_ops; j++)
    for (int k = 0; k < b->op[j].n_in; k++) n += b->op[j].in[k] == i;
  return n;
}

/* ---- identity ---- */

/* The canonical form of a graph is the set of values it computes: each value is hashed from its operator's attributes
   and its operands' hashes, so numbering does not enter; commutative operands are sorted; the graph is the sequence of
   its outputs' hashes. Values that nothing reads do not count. */

static uint64_t mix (uint64_t seed, uint64_t value) { return XXH3_64bits_withSeed (&value, sizeof value, seed); }

static bool commutes (int kind) { return kind == MUGRAPH_OP_ADD || kind == MUGRAPH_OP_MUL; }

static uint64_t hash_double (uint64_t h, double v) {
  uint64_t bits;
  memcpy (&bits, &v, sizeof bits);
  return mix (h, bits);
}

/* The attributes that mean something for this kind. Widths and map entries count as structure; extents do not. */
static uint64_t hash_op (const mugraph_op *op, const uint64_t in[], bool extents) {
  uint64_t h = mix (0x6d7567726170ull, op->kind);
  if (mugraph_op_table[op->kind].klass == MUGRAPH_REDUCE || op->kind == MUGRAPH_OP_CONCAT)
    h = mix (h, (uint8_t) op->dim);
  switch ((mugraph_op_kind) op->kind) {
  case MUGRAPH_OP_SUM_TO:
  case MUGRAPH_OP_ACCUM_SUM_TO:
    if (extents) h = mix (h, (uint32_t) op->width);
    break;
  case MUGRAPH_OP_CONST:
  case MUGRAPH_OP_RMS_NORM:
  case MUGRAPH_OP_ACCUM_RMS: h = hash_double (h, op->c[0]); break;
  case MUGRAPH_OP_CLAMP: h = hash_double (hash_double (h, op->c[0]), op->c[1]); break;
  default: break;
  }
  if (op->n_in == 2 && commutes (op->kind)) {
    h = mix (h, in[0] < in[1] ? in[0] : in[1]);
    return mix (h, in[0] < in[1] ? in[1] : in[0]);
  }
  for (int i = 0; i < op->n_in; i++) h = mix (h, in[i]);
  return h;
}

/* A grid dimension of extent 1 splits nothing: its map entries are left out. */
static uint64_t hash_map (uint64_t h, const mugraph_op *op, const int32_t grid[3]) {
  for (int g = 0; g < 3; g++) h = mix (h, grid[g] > 1 ? (uint8_t) op->map[g] : 0xff);
  return h;
}

/* Hashes what saver number k of a block graph writes, given hashes of the kernel operator's inputs. */
static void hash_block (const mugraph_block *b, const uint64_t in[], bool extents, uint64_t out[]) {
  uint64_t tile[MUGRAPH_BLOCK_OPS];
  uint64_t shape = mix (1, (b->grid[0] > 1) | (b->grid[1] > 1) << 1 | (b->grid[2] > 1) << 2 | (b->loop > 1) << 3);
  if (extents)
    shape = mix (mix (mix (mix (shape, (uint32_t) b->grid[0]), (uint32_t) b->grid[1]), (uint32_t) b->grid[2]),
                 (uint32_t) b->loop);
  int saved = 0;
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *op = &b->op[i];
    uint64_t operands[MUGRAPH_FANIN];
    for (int k = 0; k < op->n_in; k++) operands[k] = tile[op->in[k]];
    if (op->kind == MUGRAPH_OP_INPUT) {
      tile[i] = mix (hash_map (mix (shape, in[op->in[0]]), op, b->grid), b->loop > 1 ? (uint8_t) op->fmap : 0xff);
    } else {
      tile[i] = hash_op (op, operands, extents);
      if (op->kind == MUGRAPH_OP_OUTPUT) out[saved++] = hash_map (mix (shape, tile[i]), op, b->grid);
    }
  }
}

uint64_t mugraph_hash (const mugraph *g, bool extents) {
  uint64_t value[MUGRAPH_TENSORS];
  for (int t = 0; t < g->n_inputs; t++) {
    value[t] = mix (2, (uint64_t) t);
    if (extents) {
      const mugraph_shape *s = &g->tensor[t].shape;
      value[t] = mix (value[t], s->dtype);
      for (int d = 0; d < s->n_dims; d++) value[t] = mix (value[t], (uint32_t) s->dim[d]);
    }
  }
  for (int i = 0; i < g->n_ops; i++) {
    const mugraph_op *op = &g->op[i];
    uint64_t operands[MUGRAPH_FANIN], out[MUGRAPH_BLOCK_OPS];
    for (int k = 0; k < op->n_in; k++) operands[k] = value[op->in[k]];
    if (op->kind == MUGRAPH_OP_CUSTOM) hash_block (&g->block[op->block], operands, extents, out);
    else out[0] = hash_op (op, operands, extents);
    for (int k = 0; k < op->n_out; k++) value[op->out[k]] = out[k];
  }
  uint64_t h = mix (3, g->n_inputs);
  for (int k = 0; k < g->n_outputs; k++) h = mix (h, value[g->output[k]]);
  return h;
}

/* ---- equality ---- */

static bool equal_op (const mugraph_op *a, const mugraph_op *b) {
  if (a->kind != b->kind || a->n_in != b->n_in || a->n_out != b->n_out || a->dim != b->dim || a->block != b->block ||
      a->fmap != b->fmap || a->width != b->width || memcmp (a->map, b->map, sizeof a->map))
    return false;
  if (memcmp (a->c, b->c, sizeof a->c) || memcmp (a->out, b->out, a->n_out)) return false;
  int n = a->kind == MUGRAPH_OP_INPUT ? 1 : a->n_in;
  return !memcmp (a->in, b->in, (size_t) n) && a->after_loop == b->after_loop &&
         mugraph_same_shape (&a->shape, &b->shape) && a->shape.dtype == b->shape.dtype;
}

static bool equal_block (const mugraph_block *a, const mugraph_block *b) {
  if (memcmp (a->grid, b->grid, sizeof a->grid) || a->loop != b->loop || a->n_ops != b->n_ops ||
      memcmp (&a->sched, &b->sched, sizeof a->sched))
    return false;
  for (int i = 0; i < a->n_ops; i++)
    if (!equal_op (&a->op[i], &b->op[i])) return false;
  return true;
}

bool mugraph_equal (const mugraph *a, const mugraph *b) {
  if (a->n_tensors != b->n_tensors || a->n_inputs != b->n_inputs || a->n_outputs != b->n_outputs ||
      a->n_ops != b->n_ops || a->n_blocks != b->n_blocks || memcmp (a->output, b->output, a->n_outputs))
    return false;
  for (int k = 0; k < a->n_outputs; k++)
    if (strcmp (a->output_name[k], b->output_name[k])) return false;
  for (int t = 0; t < a->n_tensors; t++)
    if (!mugraph_same_shape (&a->tensor[t].shape, &b->tensor[t].shape) ||
        a->tensor[t].shape.dtype != b->tensor[t].shape.dtype || strcmp (a->tensor[t].name, b->tensor[t].name))
      return false;
  for (int i = 0; i < a->n_ops; i++)
    if (!equal_op (&a->op[i], &b->op[i])) return false;
  for (int i = 0; i < a->n_blocks; i++)
    if (!equal_block (&a->block[i], &b->block[i])) return false;
  return true;
}
