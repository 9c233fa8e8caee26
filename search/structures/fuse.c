#include "fuse.h"

enum { AXES = 3 };

/* The dimension of tensor t that belongs to class k, or -1. */
static int dimension_of (const mugraph *g, const witness *w, int t, int k) {
  for (int d = 0; d < g->tensor[t].shape.n_dims; d++)
    if (w->label[t][d] == k) return d;
  return -1;
}

static bool splits (const mugraph *g, const witness *w, int k) {
  if (!k || w->reduced[k] || w->fixed[k] || w->paired[k]) return false;
  for (int i = 0; i < g->n_outputs; i++)
    if (dimension_of (g, w, g->output[i], k) < 0) return false;
  return true;
}

/* Up to three classes that the grid splits, outer dimensions of the first output first. */
static int choose_axes (const mugraph *g, const witness *w, int axis[AXES]) {
  int n = 0, t = g->output[0];
  for (int d = 0; d < g->tensor[t].shape.n_dims && n < AXES; d++)
    if (splits (g, w, w->label[t][d])) axis[n++] = w->label[t][d];
  return n;
}

static int32_t smallest_divisor (int32_t n) {
  for (int32_t f = 2; f <= n / f; f++)
    if (n % f == 0) return f;
  return n;
}

static void map_of (const mugraph *g, const witness *w, int t, int n_axes, const int axis[AXES], int map[AXES]) {
  for (int a = 0; a < AXES; a++) map[a] = a < n_axes ? dimension_of (g, w, t, axis[a]) : -1;
}

static bool fill (const mugraph *g, const witness *w, int n_axes, const int axis[AXES], mugraph_block *b,
                  mugraph_error *e) {
  int tile[MUGRAPH_TENSORS], map[AXES];
  for (int t = 0; t < g->n_inputs; t++) {
    map_of (g, w, t, n_axes, axis, map);
    if ((tile[t] = mugraph_block_input (b, t, map, -1)) < 0)
      return mugraph_fail (e, "fusion: no room for the block graph");
  }
  for (int i = 0; i < g->n_ops; i++) {
    const mugraph_op *o = &g->op[i];
    int at = o->kind == MUGRAPH_OP_CONST ? mugraph_block_const (b, o->c[0])
                                         : mugraph_block_op (b, (mugraph_op_kind) o->kind, tile[o->in[0]],
                                                             o->n_in > 1 ? tile[o->in[1]] : -1, o->dim);
    if (at < 0) return mugraph_fail (e, "fusion: no room for the block graph");
    b->op[at].width = o->width;
    for (int c = 0; c < 2; c++) b->op[at].c[c] = o->c[c];
    tile[o->out[0]] = at;
  }
  for (int i = 0; i < g->n_outputs; i++) {
    map_of (g, w, g->output[i], n_axes, axis, map);
    if (mugraph_block_output (b, tile[g->output[i]], map) < 0)
      return mugraph_fail (e, "fusion: no room for the block graph");
  }
  return true;
}

bool fuse_program (const mugraph *program, const witness *w, mugraph *out, mugraph_error *e) {
  int in[MUGRAPH_FANIN], axis[AXES];
  int32_t grid[AXES] = {1, 1, 1};
  if (program->n_inputs > MUGRAPH_FANIN || program->n_outputs > MUGRAPH_FANOUT)
    return mugraph_fail (e, "fusion: too many inputs or outputs for one kernel");
  for (int i = 0; i < program->n_ops; i++) {
    const mugraph_op_info *info = &mugraph_op_table[program->op[i].kind];
    if (program->op[i].kind == MUGRAPH_OP_MATMUL || !(info->levels & MUGRAPH_BLOCK_LEVEL))
      return mugraph_fail (e, "fusion: %s is not fused by rule", info->text);
  }
  for (int i = 0; i < program->n_outputs; i++)
    if (program->output[i] < program->n_inputs) return mugraph_fail (e, "fusion: an output is an input");
  int n_axes = choose_axes (program, w, axis);
  for (int a = 0; a < n_axes; a++) grid[a] = smallest_divisor (w->real[axis[a]]);
  mugraph_init (out);
  for (int t = 0; t < program->n_inputs; t++)
    in[t] = mugraph_add_input (out, program->tensor[t].name, program->tensor[t].shape);
  int kernel = mugraph_add_custom (out, program->n_inputs, in, grid, 1);
  if (kernel < 0) return mugraph_fail (e, "fusion: no room for the kernel graph");
  if (!fill (program, w, n_axes, axis, &out->block[out->op[kernel].block], e) ||
      !mugraph_finish_custom (out, kernel, e))
    return false;
  for (int i = 0; i < program->n_outputs; i++)
    if (!mugraph_add_output (out, out->op[kernel].out[i], program->output_name[i]))
      return mugraph_fail (e, "fusion: no room for the outputs");
  return mugraph_infer (out, e);
}
