/* The expressions of whole graphs, and what programs need the loose comparison. */
#include "expr.h"

expr_attr expr_attr_of (const mugraph_op *op, const mugraph_shape *const in[], int32_t loop, bool varies) {
  expr_attr attr = {.size = 1, .loop = 1, .c = {op->c[0], op->c[1]}};
  const mugraph_shape *s = op->n_in ? in[0] : NULL;
  const mugraph_op_info *info = &mugraph_op_table[op->kind];
  const mugraph_statistic what = info->statistic;
  const int dim = !s ? -1 : mugraph_op_has (op->kind, MUGRAPH_HAS_DIM) ? op->dim : s->n_dims - 1;
  if (info->klass == MUGRAPH_ACCUM && varies) attr.loop = loop;
  if (op->kind == MUGRAPH_OP_CONCAT) attr.size = s->dim[dim], attr.loop = in[1]->dim[dim];
  else if (mugraph_op_has (op->kind, MUGRAPH_HAS_WIDTH)) attr.size = op->width > 0 ? s->dim[dim] / op->width : 1;
  else if (op->kind == MUGRAPH_OP_MATMUL || (what && what != MUGRAPH_OF_MAX)) attr.size = s->dim[dim];
  return attr;
}

static void block_of_graph (expr_pool *pool, const mugraph_block *block, const expr_id in[], expr_id tile[]) {
  bool varies[MUGRAPH_BLOCK_OPS];
  for (int i = 0; i < block->n_ops; i++) {
    const mugraph_op *op = &block->op[i];
    if (op->kind == MUGRAPH_OP_INPUT) {
      tile[i] = in[op->in[0]];
      varies[i] = op->fmap >= 0 && block->loop > 1;
      continue;
    }
    const mugraph_shape *shape[MUGRAPH_FANIN];
    expr_id operand[MUGRAPH_FANIN];
    bool any = false;
    for (int k = 0; k < op->n_in; k++) {
      shape[k] = &block->op[op->in[k]].shape;
      operand[k] = tile[op->in[k]];
      any |= varies[op->in[k]];
    }
    expr_attr attr = expr_attr_of (op, shape, block->loop, any);
    tile[i] = expr_of_op (pool, (mugraph_op_kind) op->kind, op->n_in, operand, &attr);
    varies[i] = any && mugraph_op_table[op->kind].klass != MUGRAPH_ACCUM;
  }
}

void expr_of_graph (expr_pool *pool, const mugraph *g, expr_id tensor[MUGRAPH_TENSORS],
                    expr_id (*tile)[MUGRAPH_BLOCK_OPS]) {
  for (int i = 0; i < g->n_inputs; i++) tensor[i] = expr_input (pool, i);
  for (int k = 0; k < g->n_ops; k++) {
    const mugraph_op *op = &g->op[k];
    const mugraph_shape *shape[MUGRAPH_FANIN];
    expr_id operand[MUGRAPH_FANIN];
    for (int i = 0; i < op->n_in; i++) shape[i] = &g->tensor[op->in[i]].shape, operand[i] = tensor[op->in[i]];
    if (op->kind == MUGRAPH_OP_CUSTOM) {
      const mugraph_block *block = &g->block[op->block];
      expr_id own[MUGRAPH_BLOCK_OPS], *t = tile ? tile[op->block] : own;
      block_of_graph (pool, block, operand, t);
      for (int i = 0, out = 0; i < block->n_ops; i++)
        if (block->op[i].kind == MUGRAPH_OP_OUTPUT) tensor[op->out[out++]] = t[i];
    } else {
      expr_attr attr = expr_attr_of (op, shape, 1, false);
      tensor[op->out[0]] = expr_of_op (pool, (mugraph_op_kind) op->kind, op->n_in, operand, &attr);
    }
  }
}

/* ---- which programs need the loose comparison ---- */

/* Reductions that are sums of (powers of) their elements. */
static bool sums_elements (const mugraph_op *op) {
  const mugraph_op_info *info = &mugraph_op_table[op->kind];
  return info->klass == MUGRAPH_REDUCE && info->statistic != MUGRAPH_OF_MAX;
}

/* Whether tensor t, as a sum, may have a term that does not vary along dimension d, counted from the last one (0). */
static bool constant_along (const mugraph *g, const int producer[], int t, int d) {
  const mugraph_shape *s = &g->tensor[t].shape;
  if (d >= s->n_dims || s->dim[s->n_dims - 1 - d] == 1) return true;
  if (producer[t] < 0) return false;
  const mugraph_op *op = &g->op[producer[t]];
  int a = op->in[0], b = op->n_in > 1 ? op->in[1] : a;
  switch (op->kind) {
  case MUGRAPH_OP_ADD:
  case MUGRAPH_OP_SUB: return constant_along (g, producer, a, d) || constant_along (g, producer, b, d);
  case MUGRAPH_OP_MUL:
  case MUGRAPH_OP_DIV: return constant_along (g, producer, a, d) && constant_along (g, producer, b, d);
  case MUGRAPH_OP_MATMUL:
    if (d == 0) return constant_along (g, producer, b, 0);
    if (d == 1) return constant_along (g, producer, a, 1);
    return constant_along (g, producer, a, d) && constant_along (g, producer, b, d);
  case MUGRAPH_OP_TRANSPOSE: return constant_along (g, producer, a, d < 2 ? 1 - d : d);
  case MUGRAPH_OP_CONCAT: return constant_along (g, producer, a, d) || constant_along (g, producer, b, d);
  case MUGRAPH_OP_NEG:
  case MUGRAPH_OP_SQUARE: return constant_along (g, producer, a, d);
  default:
    return sums_elements (op) && !mugraph_op_has (op->kind, MUGRAPH_HAS_WIDTH) && constant_along (g, producer, a, d);
  }
}

bool expr_loose (const mugraph *g) {
  int producer[MUGRAPH_TENSORS];
  for (int t = 0; t < g->n_tensors; t++) producer[t] = -1;
  for (int k = 0; k < g->n_ops; k++)
    for (int i = 0; i < g->op[k].n_out; i++) producer[g->op[k].out[i]] = k;
  for (int k = 0; k < g->n_ops; k++) {
    const mugraph_op *op = &g->op[k];
    int a = op->in[0], dims = g->tensor[a].shape.n_dims, dim = dims - 1 - op->dim;
    switch (op->kind) {
    case MUGRAPH_OP_NEG:
    case MUGRAPH_OP_SUB: return true;
    case MUGRAPH_OP_MATMUL:
      if (constant_along (g, producer, a, 0) && constant_along (g, producer, op->in[1], 1)) return true;
      break;
    default:
      if (!sums_elements (op)) break;
      if (mugraph_op_has (op->kind, MUGRAPH_HAS_WIDTH)) dim = 0;
      if (g->tensor[a].shape.dim[dims - 1 - dim] > 1 && constant_along (g, producer, a, dim)) return true;
    }
  }
  return false;
}
