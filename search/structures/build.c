/* µGraphs of structures: see build.h. */
#include "build.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
  const enumeration *e;
  bool real;
  mugraph *g;
  int16_t *index; /* of tensors in the graph, -1: not there yet */
} building;

static int32_t width_of (const building *b, const derivation *d) {
  return d->width_class ? (b->real ? b->e->w.real : b->e->w.size)[d->width_class] : 0;
}

static int tensor_index (building *b, int t) {
  const tensor *x = &b->e->tensor[t];
  if (b->index[t] < 0 && x->constant >= 0)
    b->index[t] = (int16_t) mugraph_add_const (b->g, b->e->alphabet.constant[x->constant], NULL);
  return b->index[t];
}

static bool build_predefined (building *b, const kernel_choice *c, mugraph_error *err) {
  const derivation *d = &b->e->tensor[c->tensor].producer[c->index].op;
  mugraph_op op = b->e->alphabet.letter[d->letter].op;
  const mugraph_shape *shape[2];
  op.dim = d->dim;
  op.width = width_of (b, d);
  for (int k = 0; k < op.n_in; k++) {
    int t = tensor_index (b, d->in[k]);
    if (t < 0) return mugraph_fail (err, "search: no room for the kernel graph");
    op.in[k] = (uint8_t) t;
    shape[k] = &b->g->tensor[t].shape;
  }
  if (b->g->n_ops >= MUGRAPH_KERNEL_OPS || b->g->n_tensors >= MUGRAPH_TENSORS)
    return mugraph_fail (err, "search: no room for the kernel graph");
  mugraph_shape out;
  if (!mugraph_infer_op (&op, shape, &out, err)) return false;
  int t = b->g->n_tensors++;
  b->g->tensor[t].shape = out;
  op.n_out = 1;
  op.out[0] = (uint8_t) t;
  b->g->op[b->g->n_ops++] = op;
  b->index[c->tensor] = (int16_t) t;
  return true;
}

/* The smallest extent above 1 that divides a class's real size; the size itself where it is prime. */
static int32_t smallest_extent (const building *b, int c) {
  if (!b->real) return WITNESS_EXTENT;
  int32_t n = b->e->w.real[c];
  for (int32_t f = 2; f * f <= n; f++)
    if (n % f == 0) return f;
  return n > 1 ? n : 1;
}

/* One graph-defined kernel under construction. */
typedef struct {
  building *b;
  const block_list *list;
  const block_plan *plan;
  const space *s;
  int n_in, in[MUGRAPH_FANIN]; /* tensors of the graph */
  mugraph_block *block;
  int tile[SPACE_TILES]; /* operators of the block, by place in the plan */
} kernel;

/* The tensors that it reads, each once. */
static bool find_inputs (kernel *k, mugraph_error *err) {
  for (int i = 0; i < k->plan->n_leaves; i++) {
    const node *n = &k->s->node[k->plan->node[i]];
    if (n->tensor < 0) continue;
    int t = k->b->index[n->tensor], at = 0;
    while (at < k->n_in && k->in[at] != t) at++;
    if (at == MUGRAPH_FANIN) return mugraph_fail (err, "search: a kernel reads more than %d tensors", MUGRAPH_FANIN);
    if (at == k->n_in) k->in[k->n_in++] = t;
  }
  return true;
}

static int add_iterator (kernel *k, const node *n) {
  int imap[3] = {-1, -1, -1}, fmap = -1, i = 0;
  for (int d = 0; d < n->type.shape.n_dims; d++) {
    int a = ((n->type.label[d] & TILE_AXIS) >> TILE_AXIS_SHIFT) - 1;
    if (a >= 0) imap[a] = d;
    if (n->type.label[d] & TILE_LOOP) fmap = d;
  }
  while (k->in[i] != k->b->index[n->tensor]) i++;
  return mugraph_block_input (k->block, i, imap, fmap);
}

/* The operator at this place of the plan, whose operands stand before it. */
static int add_operator (kernel *k, int place) {
  const derivation *d = &k->s->derivation[k->plan->derivation[place]];
  const mugraph_op *op = &k->b->e->alphabet.letter[d->letter].op;
  int operand[2] = {-1, -1};
  for (int j = 0; j < op->n_in; j++)
    for (int i = 0; i < place; i++)
      if (k->plan->node[i] == d->in[j]) operand[j] = k->tile[i];
  int at = mugraph_block_op (k->block, op->kind, operand[0], operand[1], d->dim);
  if (at < 0) return at;
  memcpy (k->block->op[at].c, op->c, sizeof op->c);
  k->block->op[at].width = width_of (k->b, d);
  return at;
}

static bool add_tiles (kernel *k) {
  for (int i = 0; i < k->plan->n_tiles; i++) {
    const node *n = &k->s->node[k->plan->node[i]];
    k->tile[i] = n->constant >= 0 ? mugraph_block_const (k->block, k->b->e->alphabet.constant[n->constant])
                 : n->tensor >= 0 ? add_iterator (k, n)
                                  : add_operator (k, i);
    if (k->tile[i] < 0) return false;
  }
  return true;
}

static bool add_savers (kernel *k) {
  for (int i = 0; i < k->list->n_saved; i++) {
    mugraph_shape shape;
    uint16_t label[MUGRAPH_DIMS];
    int8_t omap[TILE_AXES];
    int at = 0;
    while (k->plan->node[at] != k->list->saved[i]) at++;
    tile_saved (&k->b->e->w, &k->s->config, &k->s->node[k->list->saved[i]].type, &shape, label, omap);
    if (mugraph_block_output (k->block, k->tile[at], (int[]){omap[0], omap[1], omap[2]}) < 0) return false;
  }
  return true;
}

static int32_t loop_of (const building *b, const tile_config *c) {
  if (!c->loop) return 1;
  return c->loop == TILE_LOOP_PARTS ? WITNESS_EXTENT : smallest_extent (b, c->loop);
}

static bool build_custom (building *b, const kernel_choice *c, mugraph_error *err) {
  const block_list *list = &b->e->list[c->list];
  const space *s = b->e->space[list->space];
  kernel k = {.b = b, .list = list, .plan = &list->plan[c->index], .s = s};
  int32_t grid[3] = {1, 1, 1};
  for (int a = 0; a < s->config.n_axes; a++) grid[a] = smallest_extent (b, s->config.axis[a]);
  if (!find_inputs (&k, err)) return false;
  int custom = mugraph_add_custom (b->g, k.n_in, k.in, grid, loop_of (b, &s->config));
  if (custom < 0) return mugraph_fail (err, "search: no room for the kernel graph");
  k.block = &b->g->block[b->g->op[custom].block];
  if (!add_tiles (&k) || !add_savers (&k)) return mugraph_fail (err, "search: no room for the block graph");
  if (!mugraph_finish_custom (b->g, custom, err)) return false;
  for (int i = 0; i < list->n_saved; i++) b->index[s->node[list->saved[i]].saved] = b->g->op[custom].out[i];
  return true;
}

bool build_structure (const enumeration *e, const structure *s, bool real, mugraph *g, mugraph_error *err) {
  const mugraph *program = real ? &e->real : &e->w.program;
  building b = {.e = e, .real = real, .g = g, .index = malloc ((size_t) e->n_tensors * sizeof *b.index)};
  if (!b.index) return mugraph_fail (err, "search: out of memory");
  for (int t = 0; t < e->n_tensors; t++) b.index[t] = -1;
  mugraph_init (g);
  for (int t = 0; t < program->n_inputs; t++)
    b.index[t] = (int16_t) mugraph_add_input (g, program->tensor[t].name, program->tensor[t].shape);
  bool ok = true;
  for (int k = 0; k < s->n_kernels && ok; k++)
    ok = s->kernel[k].list >= 0 ? build_custom (&b, &s->kernel[k], err) : build_predefined (&b, &s->kernel[k], err);
  for (int k = 0; k < e->n_outputs && ok; k++) {
    int t = tensor_index (&b, e->output[k]);
    ok = t >= 0 && mugraph_add_output (g, t, program->output_name[k]);
  }
  free (b.index);
  return ok && mugraph_infer (g, err);
}
