/* A block graph, tile by tile. Every block walks the loop and, in each iteration, the operators in order; then those
   that stand after the loop, which begin with accumulators being finished.

   Three levels of state: a kernel is what all its blocks share; a block is what one thread keeps from block to block
   (room for tiles); within it stands where it is (block of the grid, iteration). Blocks are independent, so threads
   take them as they come, each with an arena of its own. */
#include "block.h"
#include "boxes.h"
#include "elementwise.h"
#include "field.h"
#include "maxima.h"
#include "mugraph/check.h"
#include "mugraph/stable.h"
#include "operators.h"

#include <stdlib.h>
#include <string.h>

/* When an operator runs: sets of phases. */
enum { FIRST_ITERATION = 1, LATER_ITERATIONS = 2, AFTER_LOOP = 4 };

typedef struct {
  int index; /* kernel operator */
  const mugraph_op *op;
  const mugraph_block *graph;
  const uint8_t *need; /* planes of each tile */
  const eval_operand *in;
  const eval_value *out;
  const mugraph_shape *out_shape[MUGRAPH_FANOUT];
  eval_saved_maxima saved[MUGRAPH_FANOUT]; /* beside output k */
  uint8_t saver[MUGRAPH_BLOCK_OPS];        /* of a saver: which output */
  bool looped[MUGRAPH_BLOCK_OPS];          /* the tile differs between iterations */
  const bool *stable_exp;                  /* exponentials with running maxima; NULL: none */
  const int8_t *degree;                    /* of tiles, in these maxima */
  uint8_t when[MUGRAPH_BLOCK_OPS];         /* phases */
  bool ragged;
} kernel;

typedef struct {
  eval_operand tile[MUGRAPH_BLOCK_OPS];
  void *own[MUGRAPH_BLOCK_OPS][2]; /* room of each tile; tile.v, unless an iterator points into its tensor */
  int32_t valid[MUGRAPH_BLOCK_OPS][MUGRAPH_DIMS];
  int64_t count[MUGRAPH_BLOCK_OPS]; /* accumulators: elements per result */
  eval_maxima max;
  int32_t at[3]; /* of the grid */
  int32_t iteration;
  uint8_t phase;
} block;

static bool is_accumulator (const mugraph_op *op) { return mugraph_op_table[op->kind].klass == MUGRAPH_ACCUM; }

/* ---- iterators and savers ---- */

/* The data range that dimension d of tile i covers now. */
static void range_of (const kernel *k, const block *b, int i, int d, int32_t *first, int32_t *valid) {
  const mugraph_op *op = &k->graph->op[i];
  int axis = op->split[d].axis;
  mugraph_split_range (&op->split[d], op->shape.dim[d], k->graph->grid, k->graph->loop, axis < 0 ? 0 : b->at[axis],
                       b->iteration, first, valid);
}

static void set_valid (const kernel *k, block *b, int i) {
  const mugraph_shape *s = &k->graph->op[i].shape;
  int32_t first;
  bool full = true;
  for (int d = 0; d < s->n_dims; d++) {
    range_of (k, b, i, d, &first, &b->valid[i][d]);
    full &= b->valid[i][d] == s->dim[d];
  }
  b->tile[i].valid = full ? NULL : b->valid[i];
}

/* A tile that lies in its tensor as one piece is not copied; nothing writes to an iterator's tile. */
static void load (const eval_context *c, const kernel *k, block *b, int i) {
  const mugraph_shape *s = &k->graph->op[i].shape;
  const eval_operand *tensor = &k->in[k->graph->op[i].in[0]];
  int32_t first, extent[MUGRAPH_DIMS];
  int64_t from[MUGRAPH_DIMS], to[MUGRAPH_DIMS], offset = 0;
  bool full = true, empty = false, one_piece = true;
  eval_strides (tensor->shape, from);
  eval_strides (s, to);
  for (int d = 0; d < s->n_dims; d++) {
    range_of (k, b, i, d, &first, &extent[d]);
    offset += first * from[d];
    full &= extent[d] == s->dim[d];
    empty |= !extent[d];
    one_piece &= s->dim[d] == 1 || from[d] == to[d];
  }
  FOR_PLANES (p, k->need[i]) {
    size_t size = c->num[p]->size;
    void *source = eval_at (tensor->v.plane[p], offset, size);
    b->tile[i].v.plane[p] = full && one_piece ? source : b->own[i][p];
    if (full && one_piece) continue;
    if (!full) memset (b->own[i][p], 0, (size_t) mugraph_volume (s) * size);
    if (!empty) eval_copy_box (size, s->n_dims, extent, source, from, b->own[i][p], to);
  }
}

/* Where the tile of saver i goes: element offset in its tensor, and how much of the tile. */
static int64_t place_of (const kernel *k, const block *b, int i, const int64_t stride[], int32_t extent[]) {
  const mugraph_op *op = &k->graph->op[i];
  const mugraph_shape *whole = k->out_shape[k->saver[i]];
  const eval_operand *x = &b->tile[op->in[0]];
  int64_t offset = 0;
  for (int d = 0; d < whole->n_dims; d++) {
    int64_t first = 0;
    for (int g = 0; g < 3; g++)
      if (op->map[g] == d && k->graph->grid[g] > 1) first = (int64_t) b->at[g] * x->shape->dim[d];
    int64_t room = whole->dim[d] - first;
    extent[d] = x->valid ? x->valid[d] : x->shape->dim[d];
    if (extent[d] > room) extent[d] = room < 0 ? 0 : (int32_t) room;
    offset += first * stride[d];
  }
  return offset;
}

/* Writes the row maxima of the saved tile, whose place is offset, extent and stride. */
static void save_maxima (const eval_context *c, const kernel *k, const block *b, int i, int64_t offset,
                         const int32_t extent[], const int64_t stride[]) {
  const mugraph_op *op = &k->graph->op[i];
  const mugraph_shape *tile = b->tile[op->in[0]].shape;
  const eval_saved_maxima *saved = &k->saved[k->saver[i]];
  int last = tile->n_dims - 1, axis = 0;
  int64_t n = eval_row (k->out_shape[k->saver[i]]);
  while (axis < 2 && !(op->map[axis] == last && k->graph->grid[axis] > 1)) axis++;
  for (int64_t r = 0; r < eval_rows (tile); r++) {
    int64_t row = offset / n, rest = r;
    bool inside = true;
    for (int d = last; d--; rest /= tile->dim[d]) {
      row += rest % tile->dim[d] * (stride[d] / n);
      inside &= rest % tile->dim[d] < extent[d];
    }
    if (!inside) continue;
    size_t size = eval_maximum_size (c);
    memcpy (eval_at (saved->data, row * saved->blocks + b->at[axis], size), eval_at (b->max.now, r, size), size);
  }
}

static void save (const eval_context *c, const kernel *k, const block *b, int i) {
  const eval_operand *x = &b->tile[k->graph->op[i].in[0]];
  int output = k->saver[i];
  const mugraph_shape *whole = k->out_shape[output];
  int32_t extent[MUGRAPH_DIMS];
  int64_t from[MUGRAPH_DIMS], to[MUGRAPH_DIMS];
  eval_strides (x->shape, from);
  eval_strides (whole, to);
  int64_t offset = place_of (k, b, i, to, extent);
  for (int d = 0; d < whole->n_dims; d++)
    if (!extent[d]) return;
  FOR_PLANES (p, k->need[i]) {
    size_t size = c->num[p]->size;
    eval_copy_box (size, whole->n_dims, extent, x->v.plane[p], from, eval_at (k->out[output].plane[p], offset, size),
                   to);
  }
  if (k->saved[output].data) save_maxima (c, k, b, i, offset, extent, to);
}

/* ---- accumulators ---- */

/* Accumulator i sums what it reads in this iteration. A root mean square keeps sums of squares in its first plane. */
static bool accumulate (eval_context *c, const kernel *k, block *b, int i) {
  const mugraph_op *op = &k->graph->op[i];
  const eval_operand *x = &b->tile[op->in[0]];
  eval_value out = b->tile[i].v;
  int64_t rows = eval_rows (x->shape), n = eval_row (x->shape);
  bool on_top = b->iteration > 0;
  b->count[i] += x->valid ? x->valid[x->shape->n_dims - 1] : n;
  switch (op->kind) {
  case MUGRAPH_OP_ACCUM:
    FOR_PLANES (p, k->need[i]) {
      if (on_top) c->num[p]->binary[MUGRAPH_OP_ADD](rows * n, out.plane[p], 1, x->v.plane[p], 1, out.plane[p]);
      else memcpy (out.plane[p], x->v.plane[p], (size_t) (rows * n) * c->num[p]->size);
    }
    return true;
  case MUGRAPH_OP_ACCUM_RMS: return eval_sum_squares (c, rows, n, 1, x->v, (eval_value){{b->own[i][0], NULL}}, on_top);
  case MUGRAPH_OP_ACCUM_SUM_TO:
    eval_sum (c, rows, n / op->width, op->width, x->v, out, k->need[i], on_top);
    return true;
  default: eval_sum (c, rows, n, 1, x->v, out, k->need[i], on_top); return true;
  }
}

/* What comes after the loop: the division of a mean, the root of a root mean square. */
static bool finish_accumulator (eval_context *c, const kernel *k, block *b, int i) {
  const mugraph_op *op = &k->graph->op[i];
  int64_t volume = mugraph_volume (&op->shape);
  if (op->kind == MUGRAPH_OP_ACCUM_MEAN) return eval_over_count (c, volume, b->count[i], b->tile[i].v, k->need[i]);
  if (op->kind != MUGRAPH_OP_ACCUM_RMS) return true;
  eval_value squares = {{b->own[i][0], NULL}};
  if (!eval_root_mean (c, volume, b->count[i], op->c[0], squares, b->tile[i].v, k->need[i])) return false;
  eval_clear_invalid (c, &b->tile[i], k->need[i]);
  return true;
}

/* ---- operators ---- */

/* Whether tile j was computed with the maxima so far and is still read, when exponential i comes. Tiles from i on are
   computed after it, accumulators aside. */
static bool depends_on_maxima (const kernel *k, const block *b, int j, int i) {
  const mugraph_op *op = &k->graph->op[j];
  if (!k->degree[j] || !k->need[j] || op->kind == MUGRAPH_OP_OUTPUT) return false;
  return is_accumulator (op) ? b->count[j] > 0 : j < i;
}

/* Exponential i raises the maxima, and brings everything that was computed with the old ones to the new ones. */
static bool stable_exp (eval_context *c, const kernel *k, block *b, int i) {
  const eval_operand *x = &b->tile[k->graph->op[i].in[0]];
  eval_raise_maxima (c, &b->max, x);
  for (int j = 0; b->max.started && j < k->graph->n_ops; j++)
    if (depends_on_maxima (k, b, j, i))
      eval_rescale (c, &b->max, k->degree[j], eval_row (&k->graph->op[j].shape), b->tile[j].v);
  eval_accept_maxima (&b->max);
  return eval_shifted_exp (c, &b->max, x, &b->tile[i]);
}

static bool apply (eval_context *c, const kernel *k, block *b, int i) {
  const mugraph_op *op = &k->graph->op[i];
  eval_operand in[2];
  for (int j = 0; j < op->n_in; j++) in[j] = b->tile[op->in[j]];
  return eval_apply (c, op, in, &b->tile[i], k->need[i]);
}

static bool compute_tile (eval_context *c, const kernel *k, block *b, int i) {
  const mugraph_op *op = &k->graph->op[i];
  if (is_accumulator (op)) return b->phase == AFTER_LOOP ? finish_accumulator (c, k, b, i) : accumulate (c, k, b, i);
  if (op->kind == MUGRAPH_OP_INPUT) return load (c, k, b, i), true;
  if (op->kind == MUGRAPH_OP_OUTPUT) return save (c, k, b, i), true;
  return k->stable_exp && k->stable_exp[i] ? stable_exp (c, k, b, i) : apply (c, k, b, i);
}

/* Whether operator i has a tile in this phase: an output has none, an accumulator has one after the loop. */
static bool has_tile (const kernel *k, const block *b, int i) {
  const mugraph_op *op = &k->graph->op[i];
  return op->kind != MUGRAPH_OP_OUTPUT && (!is_accumulator (op) || b->phase == AFTER_LOOP);
}

/* Operator i, here and now. */
static bool run_operator (eval_context *c, const kernel *k, block *b, int i) {
  eval_mark before = eval_set_mark (c->arena);
  if (k->ragged) set_valid (k, b, i);
  if (!compute_tile (c, k, b, i)) return false;
  eval_release (c->arena, before);
  CHECK (!has_tile (k, b, i) || eval_is_value (c, &b->tile[i], k->need[i]));
  return true;
}

/* ---- blocks ---- */

/* The operators of one phase. */
static bool run_phase (eval_context *c, const kernel *k, block *b, uint8_t phase) {
  b->phase = phase;
  for (int i = 0; i < k->graph->n_ops; i++)
    if ((k->when[i] & phase) && !run_operator (c, k, b, i)) return false;
  return true;
}

static bool run_block (eval_context *c, const kernel *k, block *b, int64_t index) {
  const mugraph_block *g = k->graph;
  b->at[0] = (int32_t) (index % g->grid[0]);
  b->at[1] = (int32_t) (index / g->grid[0] % g->grid[1]);
  b->at[2] = (int32_t) (index / g->grid[0] / g->grid[1]);
  if (k->stable_exp) eval_start_maxima (&b->max, k->index, index << 24);
  memset (b->count, 0, sizeof b->count[0] * g->n_ops);
  for (b->iteration = 0; b->iteration < g->loop; b->iteration++) {
    if (eval_stopped (c)) return eval_goes_on (c);
    if (!run_phase (c, k, b, b->iteration ? LATER_ITERATIONS : FIRST_ITERATION)) return false;
  }
  b->iteration = 0;
  return run_phase (c, k, b, AFTER_LOOP);
}

/* Room for the tiles of one thread. */
static bool prepare_block (eval_context *c, const kernel *k, block *b) {
  int64_t rows = 0;
  for (int i = 0; i < k->graph->n_ops; i++) {
    const mugraph_op *op = &k->graph->op[i];
    b->tile[i] = (eval_operand){.shape = &op->shape};
    memset (b->own[i], 0, sizeof b->own[i]);
    if (op->kind == MUGRAPH_OP_OUTPUT) continue;
    /* the sums of squares of an rms need plane p even where only the root's plane q is asked for */
    uint8_t planes = k->need[i] && op->kind == MUGRAPH_OP_ACCUM_RMS ? k->need[i] | EVAL_P : k->need[i];
    if (!eval_take_value (c, mugraph_volume (&op->shape), planes, &b->tile[i].v)) return false;
    memcpy (b->own[i], b->tile[i].v.plane, sizeof b->own[i]);
    if (k->stable_exp && k->stable_exp[i]) rows = eval_rows (&op->shape);
  }
  return !k->stable_exp || eval_take_maxima (c, &b->max, rows);
}

/* ---- the kernel ---- */

static void find_looped (kernel *k) {
  const mugraph_block *b = k->graph;
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *op = &b->op[i];
    k->looped[i] = op->kind == MUGRAPH_OP_INPUT && op->fmap >= 0 && b->loop > 1;
    for (int j = 0; j < op->n_in; j++) k->looped[i] |= k->looped[op->in[j]] && !b->op[op->in[j]].after_loop;
  }
}

/* What no looped input reaches is the same in each iteration, but is summed in each. */
static uint8_t phases_of (const kernel *k, int i) {
  const mugraph_op *op = &k->graph->op[i];
  if (!k->need[i]) return 0;
  if (is_accumulator (op)) return FIRST_ITERATION | LATER_ITERATIONS | AFTER_LOOP;
  if (op->after_loop) return AFTER_LOOP;
  return k->looped[i] ? FIRST_ITERATION | LATER_ITERATIONS : FIRST_ITERATION;
}

/* Room for the maxima beside output n, whose saver is i. */
static bool take_saved_maxima (eval_context *c, kernel *k, int i, int n) {
  const mugraph_op *op = &k->graph->op[i];
  const mugraph_shape *s = k->out_shape[n];
  eval_saved_maxima *saved = &k->saved[n];
  int last = s->n_dims - 1;
  saved->width = k->graph->op[op->in[0]].shape.dim[last];
  saved->blocks = 1;
  for (int d = 0; d < 3; d++)
    if (op->map[d] == last) saved->blocks *= k->graph->grid[d];
  saved->data = eval_take (c->arena, (size_t) (eval_rows (s) * saved->blocks) * eval_maximum_size (c));
  if (!saved->data) c->status = EVAL_MEMORY;
  return saved->data != NULL;
}

static bool prepare_kernel (eval_context *c, kernel *k) {
  const mugraph *g = c->plan->graph;
  const mugraph_stable *stable = c->options->stable;
  k->ragged = mugraph_block_ragged (k->graph);
  find_looped (k);
  for (int i = 0; i < k->graph->n_ops; i++) k->when[i] = phases_of (k, i);
  for (int i = 0, n = 0; i < k->graph->n_ops; i++) {
    if (stable && stable->block_exp[k->op->block][i]) {
      k->stable_exp = stable->block_exp[k->op->block];
      k->degree = stable->block_degree[k->op->block];
    }
    if (k->graph->op[i].kind != MUGRAPH_OP_OUTPUT) continue;
    int t = k->op->out[n];
    k->saver[i] = (uint8_t) n;
    k->out_shape[n] = &g->tensor[t].shape;
    if (stable && stable->tensor_degree[t] && c->plan->tensor[t] && !take_saved_maxima (c, k, i, n)) return false;
    n++;
  }
  return true;
}

static int64_t blocks_of (const mugraph_block *b) { return (int64_t) b->grid[0] * b->grid[1] * b->grid[2]; }

/* Elements touched, roughly. */
static double work_of (const kernel *k) {
  double work = 0;
  for (int i = 0; i < k->graph->n_ops; i++)
    work += (double) mugraph_volume (&k->graph->op[i].shape) * (k->looped[i] ? k->graph->loop : 1);
  return work * (double) blocks_of (k->graph);
}

static bool run_blocks_in_parallel (eval_context *c, const kernel *k) {
  eval_status status = EVAL_DONE;
#pragma omp parallel num_threads(c->threads)
  {
    eval_arena arena;
    eval_arena_init (&arena, NULL, 0);
    eval_context mine = *c;
    mine.arena = &arena;
    mine.threads = 1, mine.in_block = true;
    block *b = eval_take (&arena, sizeof *b);
    bool good = b && prepare_block (&mine, k, b);
    if (!b) mine.status = EVAL_MEMORY;
#pragma omp for schedule(dynamic)
    for (int64_t i = 0; i < blocks_of (k->graph); i++) {
      good = good && eval_goes_on (&mine) && run_block (&mine, k, b, i);
    }
    eval_arena_free (&arena);
    if (!good) {
#pragma omp critical(eval_status_of_blocks)
      status = mine.status;
    }
  }
  c->status = status;
  return status == EVAL_DONE;
}

/* One block after the other; the operators of an only block are shared by the threads. */
static bool run_blocks_in_order (eval_context *c, const kernel *k) {
  int64_t blocks = blocks_of (k->graph);
  eval_context mine = *c;
  mine.threads = blocks > 1 ? 1 : c->threads, mine.in_block = true;
  block *b = eval_take (mine.arena, sizeof *b);
  if (!b) mine.status = EVAL_MEMORY;
  bool ok = b && prepare_block (&mine, k, b);
  for (int64_t i = 0; ok && i < blocks; i++) ok = (i & 63 || eval_goes_on (&mine)) && run_block (&mine, k, b, i);
  c->status = mine.status;
  return ok;
}

bool eval_run_block_graph (eval_context *c, int index, const eval_operand in[], const eval_value out[]) {
  const mugraph_op *op = &c->plan->graph->op[index];
  kernel k = {.index = index,
              .op = op,
              .graph = &c->plan->graph->block[op->block],
              .need = c->plan->tile[op->block],
              .in = in,
              .out = out};
  const double few = 1 << 16; /* elements that are not worth a team of threads */
  if (!prepare_kernel (c, &k)) return false;
  bool parallel = c->threads > 1 && blocks_of (k.graph) > 1 && work_of (&k) > few;
  if (!(parallel ? run_blocks_in_parallel (c, &k) : run_blocks_in_order (c, &k))) return false;
  for (int n = 0; n < op->n_out; n++)
    if (k.saved[n].data)
      eval_unify (c, index, c->options->stable->tensor_degree[op->out[n]], &k.saved[n], k.out_shape[n], out[n]);
  return true;
}
