#include "graph_json.h"
#include "mugraph/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- writing ---- */

static void put_dims (mugraph_writer *w, cJSON *to, const char *name, const mugraph_shape *s) {
  mugraph_put (w, to, name, cJSON_CreateIntArray (s->dim, s->n_dims));
}

static void put_bytes (mugraph_writer *w, cJSON *to, const char *name, const uint8_t x[], int n) {
  cJSON *a = mugraph_put (w, to, name, cJSON_CreateArray ());
  for (int i = 0; i < n; i++) mugraph_put_int (w, a, NULL, x[i]);
}

static void put_map (mugraph_writer *w, cJSON *to, const char *name, const int8_t map[3]) {
  cJSON *a = mugraph_put (w, to, name, cJSON_CreateArray ());
  for (int g = 0; g < 3; g++) mugraph_put_int (w, a, NULL, map[g]);
}

static void put_attributes (mugraph_writer *w, cJSON *o, const mugraph_op *op) {
  if (mugraph_op_has (op->kind, MUGRAPH_HAS_DIM) || op->dim != -1) mugraph_put_int (w, o, "dim", op->dim);
  if (mugraph_op_has (op->kind, MUGRAPH_HAS_WIDTH) || op->width) mugraph_put_int (w, o, "width", op->width);
  for (int r = 0; r < MUGRAPH_REALS; r++)
    if (mugraph_op_has (op->kind, mugraph_reals[r].attribute))
      mugraph_put_real (w, o, mugraph_reals[r].text, op->c[mugraph_reals[r].index]);
}

static void put_block (mugraph_writer *w, cJSON *o, const mugraph_block *b) {
  mugraph_sched plain;
  mugraph_sched_default (&plain);
  mugraph_put (w, o, "grid", cJSON_CreateIntArray (b->grid, 3));
  mugraph_put_int (w, o, "loop", b->loop);
  cJSON *sched = mugraph_put (w, o, "sched", cJSON_CreateObject ());
#define SCHED(name, def, low, high, ...)                                                                               \
  if (b->sched.name != plain.name) mugraph_put_int (w, sched, #name, b->sched.name);
#include "mugraph/sched.def"
#undef SCHED
  cJSON *ops = mugraph_put (w, o, "block", cJSON_CreateArray ());
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *op = &b->op[i];
    cJSON *p = mugraph_put (w, ops, NULL, cJSON_CreateObject ());
    mugraph_put_text (w, p, "op", mugraph_op_table[op->kind].text);
    if (op->kind == MUGRAPH_OP_INPUT) {
      mugraph_put_int (w, p, "from", op->in[0]);
      put_map (w, p, "imap", op->map);
      mugraph_put_int (w, p, "fmap", op->fmap);
    } else {
      if (op->n_in) put_bytes (w, p, "in", op->in, op->n_in);
      if (op->kind == MUGRAPH_OP_OUTPUT) put_map (w, p, "omap", op->map);
    }
    put_attributes (w, p, op);
    put_dims (w, p, "tile", &op->shape);
  }
}

/* Whether what was written reads back to an equal graph. */
static bool reads_back (const cJSON *o, const mugraph *g) {
  mugraph *again = malloc (sizeof *again);
  const bool same =
      !again || (mugraph_read_graph (o, &(mugraph_place){NULL, "", 0}, again, NULL) && mugraph_equal (again, g));
  free (again);
  return same;
}

void mugraph_put_graph (mugraph_writer *w, cJSON *to, const mugraph *g) {
  cJSON *inputs = mugraph_put (w, to, "inputs", cJSON_CreateArray ());
  for (int t = 0; t < g->n_inputs; t++) {
    cJSON *o = mugraph_put (w, inputs, NULL, cJSON_CreateObject ());
    mugraph_put_text (w, o, "name", g->tensor[t].name);
    mugraph_put_text (w, o, "type", mugraph_dtype_text (g->tensor[t].shape.dtype));
    put_dims (w, o, "dims", &g->tensor[t].shape);
  }
  cJSON *ops = mugraph_put (w, to, "ops", cJSON_CreateArray ());
  for (int i = 0; i < g->n_ops; i++) {
    const mugraph_op *op = &g->op[i];
    cJSON *o = mugraph_put (w, ops, NULL, cJSON_CreateObject ());
    mugraph_put_text (w, o, "op", mugraph_op_table[op->kind].text);
    if (op->n_in) put_bytes (w, o, "in", op->in, op->n_in);
    put_bytes (w, o, "out", op->out, op->n_out);
    put_attributes (w, o, op);
    cJSON *dims = mugraph_put (w, o, "dims", cJSON_CreateArray ());
    bool named = false;
    for (int k = 0; k < op->n_out; k++) {
      put_dims (w, dims, NULL, &g->tensor[op->out[k]].shape);
      named |= g->tensor[op->out[k]].name[0] != 0;
    }
    cJSON *names = named ? mugraph_put (w, o, "names", cJSON_CreateArray ()) : NULL;
    for (int k = 0; named && k < op->n_out; k++) mugraph_put_text (w, names, NULL, g->tensor[op->out[k]].name);
    if (op->kind == MUGRAPH_OP_CUSTOM) put_block (w, o, &g->block[op->block]);
  }
  cJSON *outputs = mugraph_put (w, to, "outputs", cJSON_CreateArray ());
  for (int k = 0; k < g->n_outputs; k++) {
    cJSON *o = mugraph_put (w, outputs, NULL, cJSON_CreateObject ());
    mugraph_put_int (w, o, "tensor", g->output[k]);
    mugraph_put_text (w, o, "name", g->output_name[k]);
  }
  CHECK (w->failed || reads_back (to, g));
}

/* ---- reading ---- */

static bool read_attributes (const cJSON *o, const mugraph_place *at, mugraph_op *op, mugraph_error *e) {
  int64_t x;
  if (mugraph_op_has (op->kind, MUGRAPH_HAS_DIM) || mugraph_member (o, "dim")) {
    if (!mugraph_int_member (o, at, "dim", -1, MUGRAPH_DIMS - 1, &x, e)) return false;
    op->dim = (int8_t) x;
  }
  if (mugraph_op_has (op->kind, MUGRAPH_HAS_WIDTH) || mugraph_member (o, "width")) {
    if (!mugraph_int_member (o, at, "width", 0, MUGRAPH_MAX_DIM, &x, e)) return false;
    op->width = (int32_t) x;
  }
  for (int r = 0; r < MUGRAPH_REALS; r++) {
    const mugraph_real *real = &mugraph_reals[r];
    if (mugraph_op_has (op->kind, real->attribute)) {
      if (!mugraph_real_member (o, at, real->text, &op->c[real->index], e)) return false;
    } else if (mugraph_member (o, real->text)) /* it would have no effect: the writer meant something else */
      return mugraph_fail_at (at, e, "%s has no \"%s\"", mugraph_op_table[op->kind].text, real->text);
  }
  return true;
}

/* The common beginning of an operator of either level: its kind, with every field at its plain value. */
static bool read_kind (const cJSON *o, const mugraph_place *at, mugraph_level level, mugraph_op *op, mugraph_error *e) {
  char text[32];
  if (!mugraph_name_member (o, at, "op", sizeof text, text, e)) return false;
  const int kind = mugraph_op_find (text);
  const mugraph_place name = {at, "op", 0};
  if (kind < 0) return mugraph_fail_at (&name, e, "unknown operator \"%s\"", text);
  if (!(mugraph_op_table[kind].levels & level) || (level == MUGRAPH_KERNEL_LEVEL && kind == MUGRAPH_OP_INPUT))
    return mugraph_fail_at (&name, e, "%s is no operator of a %s graph", text,
                            level == MUGRAPH_KERNEL_LEVEL ? "kernel" : "block");
  *op = mugraph_op_of ((mugraph_op_kind) kind, -1);
  return read_attributes (o, at, op, e);
}

/* "in": indices below limit; as many as the operator takes. */
static bool read_inputs (const cJSON *o, const mugraph_place *at, int limit, mugraph_op *op, mugraph_error *e) {
  const int arity = mugraph_op_table[op->kind].arity;
  int64_t in[MUGRAPH_FANIN];
  int n = 0;
  if (arity != 0 || mugraph_member (o, "in")) {
    if (!mugraph_ints_member (o, at, "in", arity < 0 ? 0 : arity, arity < 0 ? MUGRAPH_FANIN : arity, 0, limit - 1, &n,
                              in, e))
      return false;
  }
  op->n_in = (uint8_t) n;
  for (int k = 0; k < n; k++) op->in[k] = (uint8_t) in[k];
  return true;
}

/* A derived shape that the file states: kept until inference has run, then compared. */
static bool agree (const cJSON *dims, const mugraph_place *at, const mugraph_shape *s, mugraph_error *e) {
  if (!mugraph_read_array (dims, at, 0, MUGRAPH_DIMS, e)) return false;
  bool same = cJSON_GetArraySize (dims) == s->n_dims;
  int d = 0;
  for (const cJSON *m = dims->child; m; m = m->next, d++) {
    int64_t x;
    if (!mugraph_read_int (m, &(mugraph_place){at, NULL, d}, 0, MUGRAPH_MAX_DIM, &x, e)) return false;
    same = same && x == s->dim[d];
  }
  if (same) return true;
  char text[64] = "";
  size_t n = 0;
  for (d = 0; d < s->n_dims; d++) n += (size_t) snprintf (text + n, sizeof text - n, "%s%d", d ? ", " : "", s->dim[d]);
  return mugraph_fail_at (at, e, "the operator's shape is [%s]", text);
}

static bool read_map (const cJSON *o, const mugraph_place *at, const char *name, int8_t map[3], mugraph_error *e) {
  int64_t x[3];
  if (!mugraph_ints_member (o, at, name, 3, 3, -1, MUGRAPH_DIMS - 1, NULL, x, e)) return false;
  for (int g = 0; g < 3; g++) map[g] = (int8_t) x[g];
  return true;
}

static bool read_sched (const cJSON *v, const mugraph_place *at, mugraph_sched *s, mugraph_error *e) {
  static const char *const names[] = {
#define SCHED(name, def, low, high, ...) #name,
#include "mugraph/sched.def"
#undef SCHED
      NULL};
  mugraph_sched_default (s);
  if (!v) return true;
  if (!mugraph_read_object (v, at, names, e)) return false;
#define SCHED(name, def, low, high, ...)                                                                               \
  if (mugraph_member (v, #name)) {                                                                                     \
    int64_t x;                                                                                                         \
    if (!mugraph_int_member (v, at, #name, low, high, &x, e)) return false;                                            \
    s->name = (int16_t) x;                                                                                             \
  }
#include "mugraph/sched.def"
#undef SCHED
  return true;
}

static bool read_block_op (const cJSON *o, const mugraph_place *at, int i, int n_kernel_inputs, mugraph_op *op,
                           mugraph_error *e) {
  static const char *const names[] = {"op",   "in",    "from",  "imap",    "fmap", "omap", "dim",
                                      "tile", "width", "value", "epsilon", "low",  "high", NULL};
  static const struct {
    const char *member;
    mugraph_op_kind kind;
  } own[] = {
      {"from", MUGRAPH_OP_INPUT}, {"imap", MUGRAPH_OP_INPUT}, {"fmap", MUGRAPH_OP_INPUT}, {"omap", MUGRAPH_OP_OUTPUT}};
  if (!mugraph_read_object (o, at, names, e) || !read_kind (o, at, MUGRAPH_BLOCK_LEVEL, op, e)) return false;
  for (size_t k = 0; k < sizeof own / sizeof *own; k++)
    if (mugraph_member (o, own[k].member) && own[k].kind != op->kind)
      return mugraph_fail_at (at, e, "%s has no \"%s\"", mugraph_op_table[op->kind].text, own[k].member);
  if (op->kind == MUGRAPH_OP_INPUT) {
    int64_t from, fmap;
    if (mugraph_member (o, "in")) return mugraph_fail_at (at, e, "input has no \"in\", it has \"from\"");
    if (!mugraph_int_member (o, at, "from", 0, n_kernel_inputs - 1, &from, e) ||
        !read_map (o, at, "imap", op->map, e) || !mugraph_int_member (o, at, "fmap", -1, MUGRAPH_DIMS - 1, &fmap, e))
      return false;
    op->in[0] = (uint8_t) from;
    op->fmap = (int8_t) fmap;
    return true;
  }
  if (op->kind == MUGRAPH_OP_OUTPUT && !read_map (o, at, "omap", op->map, e)) return false;
  return read_inputs (o, at, i, op, e);
}

static bool read_block (const cJSON *o, const mugraph_place *at, int n_kernel_inputs, mugraph_block *b,
                        mugraph_error *e) {
  int64_t grid[3], loop;
  const cJSON *ops = mugraph_member (o, "block");
  const mugraph_place list = {at, "block", 0};
  if (!mugraph_ints_member (o, at, "grid", 3, 3, 1, INT32_MAX, NULL, grid, e) ||
      !mugraph_int_member (o, at, "loop", 1, INT32_MAX, &loop, e) ||
      !mugraph_read_array (ops, &list, 1, MUGRAPH_BLOCK_OPS, e))
    return false;
  mugraph_block_init (b, (int32_t[3]){(int32_t) grid[0], (int32_t) grid[1], (int32_t) grid[2]}, (int32_t) loop);
  if (!read_sched (mugraph_member (o, "sched"), &(mugraph_place){at, "sched", 0}, &b->sched, e)) return false;
  int i = 0;
  for (const cJSON *m = ops->child; m; m = m->next, i++)
    if (!read_block_op (m, &(mugraph_place){&list, NULL, i}, i, n_kernel_inputs, &b->op[i], e)) return false;
  b->n_ops = (uint8_t) i;
  return true;
}

/* defined: tensors that the inputs and the operators before this one compute. */
static bool read_kernel_op (const cJSON *o, const mugraph_place *at, bool defined[], mugraph *g, mugraph_error *e) {
  static const char *const plain[] = {"op",    "in",    "out",     "dims", "names", "dim",
                                      "width", "value", "epsilon", "low",  "high",  NULL};
  static const char *const custom[] = {"op",   "in",   "out",   "dims",  "names", "dim",
                                       "grid", "loop", "sched", "block", NULL};
  mugraph_op *op = &g->op[g->n_ops];
  if (!mugraph_read_object (o, at, NULL, e) || !read_kind (o, at, MUGRAPH_KERNEL_LEVEL, op, e) ||
      !mugraph_read_object (o, at, op->kind == MUGRAPH_OP_CUSTOM ? custom : plain, e) ||
      !read_inputs (o, at, MUGRAPH_TENSORS, op, e))
    return false;
  const mugraph_place in_at = {at, "in", 0}, out_at = {at, "out", 0};
  for (int k = 0; k < op->n_in; k++) {
    const mugraph_place tensor_at = {&in_at, NULL, k};
    if (!defined[op->in[k]])
      return mugraph_fail_at (&tensor_at, e, "tensor %d is computed by nothing before this operator", op->in[k]);
  }
  int64_t out[MUGRAPH_FANOUT];
  int n;
  const int most = op->kind == MUGRAPH_OP_CUSTOM ? MUGRAPH_FANOUT : 1;
  if (!mugraph_ints_member (o, at, "out", 1, most, g->n_inputs, MUGRAPH_TENSORS - 1, &n, out, e)) return false;
  op->n_out = (uint8_t) n;
  const cJSON *names = mugraph_member (o, "names");
  const mugraph_place list = {at, "names", 0};
  if (names && !mugraph_read_array (names, &list, n, n, e)) return false;
  const cJSON *name = names ? names->child : NULL;
  for (int k = 0; k < n; k++) {
    const mugraph_place tensor_at = {&out_at, NULL, k};
    if (defined[out[k]]) return mugraph_fail_at (&tensor_at, e, "tensor %d is computed twice", (int) out[k]);
    defined[out[k]] = true;
    op->out[k] = (uint8_t) out[k];
    if (g->n_tensors <= out[k]) g->n_tensors = (uint8_t) (out[k] + 1);
    if (name && !mugraph_read_name (name, &(mugraph_place){&list, NULL, k}, MUGRAPH_NAME, g->tensor[out[k]].name, e))
      return false;
    if (name) name = name->next;
  }
  if (op->kind == MUGRAPH_OP_CUSTOM) {
    if (g->n_blocks >= MUGRAPH_BLOCKS)
      return mugraph_fail_at (at, e, "more than %d graph-defined kernels", MUGRAPH_BLOCKS);
    op->block = (int8_t) g->n_blocks;
    if (!read_block (o, at, op->n_in, &g->block[g->n_blocks++], e)) return false;
  }
  g->n_ops++;
  return true;
}

static bool read_input (const cJSON *o, const mugraph_place *at, mugraph *g, mugraph_error *e) {
  static const char *const members[] = {"name", "type", "dims", NULL};
  char type[16];
  int64_t dim[MUGRAPH_DIMS];
  int n;
  mugraph_tensor *t = &g->tensor[g->n_tensors];
  if (!mugraph_read_object (o, at, members, e) || !mugraph_name_member (o, at, "name", MUGRAPH_NAME, t->name, e) ||
      !mugraph_name_member (o, at, "type", sizeof type, type, e) ||
      !mugraph_ints_member (o, at, "dims", 1, MUGRAPH_DIMS, 1, MUGRAPH_MAX_DIM, &n, dim, e))
    return false;
  const int dtype = mugraph_dtype_find (type);
  if (dtype < 0) return mugraph_fail_at (&(mugraph_place){at, "type", 0}, e, "unknown data type \"%s\"", type);
  t->shape = (mugraph_shape){.n_dims = (uint8_t) n, .dtype = (uint8_t) dtype};
  for (int d = 0; d < n; d++) t->shape.dim[d] = (int32_t) dim[d];
  g->n_inputs++, g->n_tensors++;
  return true;
}

static bool read_output (const cJSON *o, const mugraph_place *at, mugraph *g, mugraph_error *e) {
  static const char *const members[] = {"tensor", "name", NULL};
  int64_t t;
  if (!mugraph_read_object (o, at, members, e) || !mugraph_int_member (o, at, "tensor", 0, g->n_tensors - 1, &t, e) ||
      !mugraph_name_member (o, at, "name", MUGRAPH_NAME, g->output_name[g->n_outputs], e))
    return false;
  g->output[g->n_outputs++] = (uint8_t) t;
  return true;
}

/* The shapes that the file states beside what inference found. */
static bool check_stated (const cJSON *ops, const mugraph_place *list, const mugraph *g, mugraph_error *e) {
  int i = 0;
  for (const cJSON *o = ops->child; o; o = o->next, i++) {
    const mugraph_op *op = &g->op[i];
    const mugraph_place at = {list, NULL, i}, dims_at = {&at, "dims", 0}, block_at = {&at, "block", 0};
    const cJSON *dims = mugraph_member (o, "dims");
    if (dims && !mugraph_read_array (dims, &dims_at, op->n_out, op->n_out, e)) return false;
    int k = 0;
    for (const cJSON *d = dims ? dims->child : NULL; d; d = d->next, k++)
      if (!agree (d, &(mugraph_place){&dims_at, NULL, k}, &g->tensor[op->out[k]].shape, e)) return false;
    if (op->kind != MUGRAPH_OP_CUSTOM) continue;
    k = 0;
    for (const cJSON *b = mugraph_member (o, "block")->child; b; b = b->next, k++) {
      const cJSON *tile = mugraph_member (b, "tile");
      const mugraph_place op_at = {&block_at, NULL, k}, tile_at = {&op_at, "tile", 0};
      if (tile && !agree (tile, &tile_at, &g->block[op->block].op[k].shape, e)) return false;
    }
  }
  return true;
}

bool mugraph_read_graph (const cJSON *o, const mugraph_place *at, mugraph *g, mugraph_error *e) {
  const mugraph_place in = {at, "inputs", 0}, list = {at, "ops", 0}, out = {at, "outputs", 0};
  const cJSON *inputs = mugraph_member (o, "inputs"), *ops = mugraph_member (o, "ops"),
              *outputs = mugraph_member (o, "outputs");
  bool defined[MUGRAPH_TENSORS] = {false};
  mugraph_error why;
  mugraph_init (g);
  if (!mugraph_read_array (inputs, &in, 0, MUGRAPH_INPUTS, e) ||
      !mugraph_read_array (ops, &list, 0, MUGRAPH_KERNEL_OPS, e) ||
      !mugraph_read_array (outputs, &out, 1, MUGRAPH_OUTPUTS, e))
    return false;
  int i = 0;
  for (const cJSON *m = inputs->child; m; m = m->next, i++) {
    if (!read_input (m, &(mugraph_place){&in, NULL, i}, g, e)) return false;
    defined[i] = true;
  }
  i = 0;
  for (const cJSON *m = ops->child; m; m = m->next, i++)
    if (!read_kernel_op (m, &(mugraph_place){&list, NULL, i}, defined, g, e)) return false;
  i = 0;
  for (const cJSON *m = outputs->child; m; m = m->next, i++)
    if (!read_output (m, &(mugraph_place){&out, NULL, i}, g, e)) return false;
  if (!mugraph_infer (g, &why)) return mugraph_fail_at (at, e, "%s", why.text);
  return check_stated (ops, &list, g, e);
}

/* ---- a tree of its own ---- */

cJSON *mugraph_to_json (const mugraph *g) {
  mugraph_writer w = {!g};
  cJSON *root = cJSON_CreateObject ();
  if (root && g) mugraph_put_graph (&w, root, g);
  return mugraph_finish_json (&w, root);
}

bool mugraph_from_json (const cJSON *v, const char *where, mugraph *g, mugraph_error *e) {
  static const char *const members[] = {"inputs", "ops", "outputs", NULL};
  const mugraph_place root = {NULL, *where ? where : "graph", 0};
  return mugraph_read_object (v, &root, members, e) && mugraph_read_graph (v, &root, g, e);
}
