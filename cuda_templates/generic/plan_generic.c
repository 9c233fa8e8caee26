/* The generic plan. Chains of elementwise operators are computed by their readers; whatever is read more than once,
   reduced or multiplied is stored, in f32, in shared memory while there is room and in a workspace in device memory
   beyond that. */
#include "plan_generic.h"
#include "cuda_templates/generator.h"
#include "mugraph/stable.h"

#include <string.h>

enum { BK = 32, POSITIONS = 3 * MUGRAPH_BLOCK_OPS };

static const mugraph_block *block_of (const mugraph *g, int k) { return &g->block[g->op[k].block]; }
static mugraph_class class_of (const mugraph_op *o) { return mugraph_op_table[o->kind].klass; }

/* Norms too: a product with a table. */
static bool elementwise (const mugraph_op *o) {
  return mugraph_elementwise (o->kind) || mugraph_op_is (o->kind, MUGRAPH_NORM);
}

static int64_t volume (const int dim[4]) { return (int64_t) dim[0] * dim[1] * dim[2] * dim[3]; }

int cuda_generic_position (const cuda_generic *d, int i) { return MUGRAPH_BLOCK_OPS * d->phase[i] + i; }

int cuda_generic_dim (const mugraph_block *b, int i, int dim) { return dim + 4 - b->op[i].shape.n_dims; }

bool cuda_generic_ragged (const mugraph_block *b, int i, int d) {
  const mugraph_op *o = &b->op[i];
  int own = d - (4 - o->shape.n_dims);
  if (own < 0 || !o->split[own].full) return false;
  const mugraph_split *s = &o->split[own];
  int64_t covered = (int64_t) o->shape.dim[own] * (s->loop ? b->loop : 1) * (s->axis >= 0 ? b->grid[s->axis] : 1);
  return covered != s->full;
}

cuda_generic_mma cuda_generic_cut (int m, int n, int most) {
  int warps = 1;
  while (2 * warps <= most && warps < 8) warps *= 2;
  cuda_generic_mma x = {.bk = BK, .stages = 1, .type = MUGRAPH_F32};
  x.bm = m <= 16 ? 16 : m <= 32 ? 32 : 64;
  x.wm = x.bm == 16 || warps == 1 ? 1 : 2;
  x.wn = warps / x.wm;
  x.bn = n <= 32 && 8 * x.wn <= 32 ? 32 : 64;
  return x;
}

void cuda_generic_operands (cuda_generic_mma *x, mugraph_dtype a, mugraph_dtype b, bool streamed) {
  x->type = a == b ? a : MUGRAPH_F32;
  x->split_a = a == MUGRAPH_F32;
  x->split_b = b == MUGRAPH_F32;
  if (x->type == MUGRAPH_F32 || !streamed) return;
  x->bk = 2 * BK;
  x->stages = x->bm == 16 ? 4 : 3;
}

/* A and B of one step, rows padded against bank conflicts: halves [bm][bk + 8] and [bk][bn + 8] of each stage when
   streamed, else at most f32 [bm][bk + 4] and [bk][bn + 8]. */
int64_t cuda_generic_staging (const cuda_generic_mma *x) {
  if (x->stages > 1) return 2 * (int64_t) x->stages * (x->bm * (x->bk + 8) + x->bk * (x->bn + 8));
  return 4 * ((int64_t) x->bm * (x->bk + 4) + (int64_t) x->bk * (x->bn + 8));
}

/* f16, bf16 where a tile is read as it stands in memory; f32 for everything computed. */
static mugraph_dtype operand_type (const mugraph *g, int k, const cuda_generic *d, int i) {
  const mugraph_op *o = &block_of (g, k)->op[i];
  if (o->kind == MUGRAPH_OP_INPUT) return d->table[i] ? MUGRAPH_F32 : cuda_plan_storage (g, g->op[k].in[o->in[0]]);
  if (d->stored[i]) return MUGRAPH_F32;
  if (o->kind == MUGRAPH_OP_TRANSPOSE) return operand_type (g, k, d, o->in[0]);
  if (o->kind == MUGRAPH_OP_CONCAT && operand_type (g, k, d, o->in[0]) == operand_type (g, k, d, o->in[1]))
    return operand_type (g, k, d, o->in[0]);
  return MUGRAPH_F32;
}

/* Whether rows of an iterator's tile can be copied 16 bytes at a time: all of them begin at multiples of 8 halves. */
static bool streams (const mugraph *g, int k, const cuda_generic *d, int i) {
  const mugraph_block *b = block_of (g, k);
  const mugraph_op *o = &b->op[i];
  if (o->kind != MUGRAPH_OP_INPUT || d->stored[i] || d->table[i]) return false;
  const mugraph_shape *s = &g->tensor[g->op[k].in[o->in[0]]].shape;
  int last = s->n_dims - 1;
  const mugraph_split *split = &o->split[last];
  bool looped = split->loop && b->loop > 1;
  int64_t chunk = split->axis >= 0 ? ((int64_t) split->full + b->grid[split->axis] - 1) / b->grid[split->axis] : 0;
  return (mugraph_volume (s) == s->dim[last] || s->dim[last] % 8 == 0) && chunk % 8 == 0 &&
         (!looped || o->shape.dim[last] % 8 == 0);
}

cuda_generic_mma cuda_generic_matmul (const mugraph *g, int k, const cuda_generic *d, int i) {
  const mugraph_op *o = &block_of (g, k)->op[i];
  int a = o->in[0], b = o->in[1];
  cuda_generic_mma x = cuda_generic_cut (d->dim[i][2], d->dim[i][3], d->threads / 32);
  cuda_generic_operands (&x, operand_type (g, k, d, a), operand_type (g, k, d, b),
                         streams (g, k, d, a) && streams (g, k, d, b));
  return x;
}

static void derive_shapes (const mugraph_block *b, cuda_generic *d) {
  d->n = b->n_ops;
  for (int i = 0; i < d->n; i++) {
    const mugraph_shape *s = &b->op[i].shape;
    /* of a saver, shape is the tile too */
    for (int c = 0; c < 4; c++) d->dim[i][c] = c < 4 - s->n_dims ? 1 : s->dim[c - (4 - s->n_dims)];
  }
}

static void derive_phases (const mugraph_block *b, cuda_generic *d) {
  bool looped[MUGRAPH_BLOCK_OPS];
  for (int i = 0; i < d->n; i++) {
    const mugraph_op *o = &b->op[i];
    looped[i] = o->kind == MUGRAPH_OP_INPUT && o->fmap >= 0;
    for (int k = 0; k < o->n_in; k++) looped[i] |= looped[o->in[k]];
    bool accumulator = class_of (o) == MUGRAPH_ACCUM;
    if (accumulator) looped[i] = false;
    d->phase[i] = accumulator     ? MUGRAPH_IN_LOOP
                  : o->after_loop ? MUGRAPH_AFTER_LOOP
                  : b->loop == 1  ? MUGRAPH_IN_LOOP
                  : looped[i]     ? MUGRAPH_IN_LOOP
                                  : MUGRAPH_AFTER_LOOP; /* lowered below when the loop reads it */
  }
  /* the same in every iteration: before the loop when something of the loop reads it */
  for (int i = d->n - 1; i >= 0; i--)
    for (int k = 0; k < b->op[i].n_in; k++) {
      int j = b->op[i].in[k];
      if (d->phase[i] != MUGRAPH_AFTER_LOOP && d->phase[j] == MUGRAPH_AFTER_LOOP) d->phase[j] = MUGRAPH_BEFORE_LOOP;
    }
}

/* How often reader r reads each element of its operand number k. */
static int64_t reads (const mugraph_block *b, const cuda_generic *d, int r, int k) {
  const mugraph_op *o = &b->op[r];
  if (o->kind == MUGRAPH_OP_MATMUL) {
    cuda_generic_mma x = cuda_generic_cut (d->dim[r][2], d->dim[r][3], d->threads / 32);
    return k == 0 ? (d->dim[r][3] + x.bn - 1) / x.bn : (d->dim[r][2] + x.bm - 1) / x.bm;
  }
  int64_t own = volume (d->dim[o->in[k]]), result = volume (d->dim[r]);
  return elementwise (o) && result > own ? result / own : 1;
}

/* Which tiles exist in memory. Readers stand behind what they read, so one pass in order decides. */
static void derive_stored (const mugraph *g, int k, cuda_generic *d, bool hoist) {
  const mugraph_block *b = block_of (g, k);
  int readers[MUGRAPH_BLOCK_OPS] = {0}, reader[MUGRAPH_BLOCK_OPS] = {0};
  int64_t read[MUGRAPH_BLOCK_OPS] = {0};
  bool crosses[MUGRAPH_BLOCK_OPS] = {false}; /* read in a later phase: computed once, not once an iteration */
  bool view[MUGRAPH_BLOCK_OPS] = {false};    /* read by address: by a transpose or a concatenation */
  bool only_matmul[MUGRAPH_BLOCK_OPS];
  memset (only_matmul, true, sizeof only_matmul);
  for (int i = 0; i < d->n; i++)
    for (int a = 0; a < b->op[i].n_in; a++) {
      int j = b->op[i].in[a];
      readers[j]++;
      reader[j] = i;
      read[j] += reads (b, d, i, a);
      crosses[j] |= d->phase[j] == MUGRAPH_BEFORE_LOOP && d->phase[i] == MUGRAPH_IN_LOOP;
      view[j] |= class_of (&b->op[i]) == MUGRAPH_LAYOUT;
      only_matmul[j] &= b->op[i].kind == MUGRAPH_OP_MATMUL;
    }
  for (int i = 0; i < d->n; i++) {
    const mugraph_op *o = &b->op[i];
    d->stored[i] = d->table[i] = false;
    d->direct[i] = -1;
    switch (class_of (o)) {
    case MUGRAPH_LEAF:
      if (o->kind == MUGRAPH_OP_CONST) {
        d->stored[i] = view[i];
        break;
      }
      d->table[i] = d->stable.tensor_degree[g->op[k].in[o->in[0]]] && cuda_plan_splits (g, g->op[k].in[o->in[0]]);
      d->stored[i] = hoist && crosses[i] && !d->table[i] && !(only_matmul[i] && streams (g, k, d, i));
      break;
    case MUGRAPH_SAVER:
    case MUGRAPH_CUSTOM: break;
    case MUGRAPH_MATMUL:
      if (readers[i] == 1 && b->op[reader[i]].kind == MUGRAPH_OP_ACCUM && d->phase[i] == MUGRAPH_IN_LOOP)
        d->direct[i] = reader[i];
      else d->stored[i] = true;
      break;
    case MUGRAPH_UNARY:
    case MUGRAPH_BINARY: d->stored[i] = readers[i] > 1 || read[i] > 1 || crosses[i] || view[i]; break;
    case MUGRAPH_REDUCE:
      if (mugraph_op_is (o->kind, MUGRAPH_NORM)) {
        d->table[i] = true; /* a product with the table: cheap enough to repeat, but cannot be read by address */
        d->stored[i] = view[i];
      } else d->stored[i] = true;
      break;
    case MUGRAPH_LAYOUT:
      /* A view of what it moves, which is stored, an input or a transpose: see view[]. A view of a concatenation would
         double with every level. */
      d->stored[i] = o->kind == MUGRAPH_OP_CONCAT && view[i];
      break;
    case MUGRAPH_ACCUM: d->stored[i] = true; break;
    }
  }
}

static void derive_bytes (const mugraph *g, int k, cuda_generic *d) {
  const mugraph_block *b = block_of (g, k);
  for (int i = 0; i < d->n; i++) {
    const mugraph_op *o = &b->op[i];
    d->bytes[i] = 0;
    if (d->stored[i]) {
      int element = 4;
      if (o->kind == MUGRAPH_OP_INPUT) element = mugraph_dtype_bytes (cuda_plan_storage (g, g->op[k].in[o->in[0]]));
      d->bytes[i] = element * volume (d->dim[i]);
    }
    if (d->table[i] && mugraph_op_is (o->kind, MUGRAPH_NORM)) /* behind the tile, where that is stored too */
      d->bytes[i] += 4 * volume (d->dim[i]) / d->dim[i][cuda_generic_dim (b, i, o->dim)];
    else if (d->table[i])
      d->bytes[i] = 4 * volume (d->dim[i]) / d->dim[i][3] * cuda_plan_splits (g, g->op[k].in[o->in[0]]);
  }
}

/* Marks what is read in memory when operator i is computed from its operands: reaches down through what is not stored.
 */
static void touch (const mugraph_block *b, cuda_generic *d, int i, int position, uint64_t *seen) {
  if (*seen >> i & 1) return;
  *seen |= (uint64_t) 1 << i;
  if (d->end[i] < position) d->end[i] = position;
  if (d->stored[i]) return;
  for (int k = 0; k < b->op[i].n_in; k++) touch (b, d, b->op[i].in[k], position, seen);
}

static void derive_lifetimes (const mugraph_block *b, cuda_generic *d) {
  enum { LOOP_END = 2 * MUGRAPH_BLOCK_OPS - 1 };
  for (int i = 0; i < d->n; i++) {
    d->start[i] = class_of (&b->op[i]) == MUGRAPH_ACCUM ? 0 : cuda_generic_position (d, i);
    d->end[i] = cuda_generic_position (d, i);
  }
  for (int i = 0; i < d->n;
       i++) { /* everything counts as running at its own place: fused operators run later, with their reader */
    uint64_t seen = 0;
    for (int k = 0; k < b->op[i].n_in; k++) touch (b, d, b->op[i].in[k], cuda_generic_position (d, i), &seen);
  }
  for (int i = 0; i < d->n; i++) {
    if (class_of (&b->op[i]) == MUGRAPH_ACCUM && d->end[i] < LOOP_END) d->end[i] = LOOP_END;
    if (d->phase[i] == MUGRAPH_BEFORE_LOOP && d->end[i] >= MUGRAPH_BLOCK_OPS && d->end[i] < LOOP_END)
      d->end[i] = LOOP_END;
  }
}

/* Rows of the running maximum: the leading dimensions of the exponentials that subtract it, and a dimension collapses
   to one maximum for all (as good a scale, if less sharp) where tiles that are scaled by it do not have it. */
static void derive_running_max (const mugraph *g, int k, cuda_generic *d) {
  const mugraph_block *b = block_of (g, k);
  const bool *exponential = d->stable.block_exp[g->op[k].block];
  const int8_t *degree = d->stable.block_degree[g->op[k].block];
  d->running_max = false;
  for (int i = 0; i < d->n; i++) {
    if (!exponential[i]) continue;
    for (int c = 0; c < 3; c++)
      if (!d->running_max) d->max_dim[c] = d->dim[i][c];
      else if (d->max_dim[c] != d->dim[i][c]) d->max_dim[c] = 1;
    d->running_max = true;
  }
  if (!d->running_max) return;
  for (int i = 0; i < d->n; i++)
    for (int c = 0; c < 3; c++)
      if (degree[i] && b->op[i].kind != MUGRAPH_OP_INPUT && d->dim[i][c] != d->max_dim[c]) d->max_dim[c] = 1;
}

static int64_t align (int64_t x) { return (x + 127) & ~(int64_t) 127; }

/* First fit, largest first, of everything whose home it is; returns the end. */
static int64_t place (cuda_generic *d, cuda_home home, int64_t base) {
  bool placed[MUGRAPH_BLOCK_OPS] = {false};
  int64_t top = base;
  for (;;) {
    int next = -1;
    for (int i = 0; i < d->n; i++)
      if (d->home[i] == home && !placed[i] && (next < 0 || d->bytes[i] > d->bytes[next])) next = i;
    if (next < 0) return top;
    int64_t at = base;
    for (bool moved = true; moved;) {
      moved = false;
      for (int i = 0; i < d->n; i++) {
        if (!placed[i] || d->home[i] != home || d->end[i] < d->start[next] || d->end[next] < d->start[i]) continue;
        int64_t end = d->offset[i] + align (d->bytes[i]);
        if (at < end && d->offset[i] < at + align (d->bytes[next])) at = end, moved = true;
      }
    }
    d->offset[next] = at;
    placed[next] = true;
    if (top < at + align (d->bytes[next])) top = at + align (d->bytes[next]);
  }
}

static bool derive_homes (const mugraph *g, int k, cuda_generic *d, int64_t limit, bool spill) {
  const mugraph_block *b = block_of (g, k);
  int64_t base = 0;
  for (int i = 0; i < d->n; i++) {
    d->home[i] = d->bytes[i] ? CUDA_HOME_SHARED : CUDA_HOME_NONE;
    if (b->op[i].kind != MUGRAPH_OP_MATMUL) continue;
    cuda_generic_mma x = cuda_generic_matmul (g, k, d, i);
    if (base < cuda_generic_staging (&x)) base = cuda_generic_staging (&x);
  }
  base = align (base);
  if (d->running_max) {
    while (8 * (int64_t) d->max_dim[0] * d->max_dim[1] * d->max_dim[2] > limit / 4) /* too many rows: share maxima */
      d->max_dim[d->max_dim[0] > 1 ? 0 : d->max_dim[1] > 1 ? 1 : 2] = 1;
    int64_t bytes = align (4 * (int64_t) d->max_dim[0] * d->max_dim[1] * d->max_dim[2]);
    d->max_offset = base;
    d->move_offset = base + bytes;
    base += 2 * bytes;
  }
  for (;;) {
    int largest = -1;
    d->smem = place (d, CUDA_HOME_SHARED, base);
    if (d->smem <= limit) break;
    if (!spill) return false;
    for (int i = 0; i < d->n; i++)
      if (d->home[i] == CUDA_HOME_SHARED && (largest < 0 || d->bytes[i] > d->bytes[largest])) largest = i;
    d->home[largest] = CUDA_HOME_DEVICE;
  }
  d->workspace = place (d, CUDA_HOME_DEVICE, 0);
  return true;
}

static int choose_threads (const mugraph_block *b, const cuda_generic *d) {
  int64_t most = 0;
  if (b->sched.warps) return 32 * b->sched.warps;
  for (int i = 0; i < d->n; i++)
    if (most < volume (d->dim[i])) most = volume (d->dim[i]);
  return most <= 1024 ? 64 : most <= 8192 ? 128 : 256;
}

static bool derive (const mugraph *g, int k, const cuda_device *device, cuda_generic *d, mugraph_error *e) {
  const mugraph_block *b = block_of (g, k);
  memset (d, 0, sizeof *d);
  mugraph_analyse_stable (g, &d->stable);
  derive_shapes (b, d);
  derive_phases (b, d);
  d->threads = choose_threads (b, d);
  derive_running_max (g, k, d);
  for (int hoist = 1; hoist >= 0; hoist--) {
    derive_stored (g, k, d, hoist);
    derive_bytes (g, k, d);
    derive_lifetimes (b, d);
    if (derive_homes (g, k, d, device->smem_block, !hoist)) break;
  }
  if (d->workspace > (int64_t) 1 << 34)
    return mugraph_fail (
        e, "kernel operator %d: the tiles of one block take %lld bytes; use a larger grid or forloop range", k,
        (long long) d->workspace);
  return true;
}

static void count_work (const mugraph *g, int k, const cuda_generic *d, cuda_plan *p) {
  const mugraph_block *b = block_of (g, k);
  double blocks = (double) p->blocks;
  for (int i = 0; i < d->n; i++) {
    const mugraph_op *o = &b->op[i];
    double runs = blocks * (d->phase[i] == MUGRAPH_IN_LOOP ? b->loop : 1), elements = (double) volume (d->dim[i]);
    if (o->kind == MUGRAPH_OP_MATMUL) {
      cuda_generic_mma x = cuda_generic_matmul (g, k, d, i);
      double m = (d->dim[i][2] + x.bm - 1) / x.bm * x.bm, n = (d->dim[i][3] + x.bn - 1) / x.bn * x.bn;
      const mugraph_shape *a = &b->op[o->in[0]].shape;
      p->mma_flops += 2 * runs * d->dim[i][0] * d->dim[i][1] * m * n * a->dim[a->n_dims - 1];
    } else if (o->kind == MUGRAPH_OP_INPUT)
      p->l2_read += (d->stored[i] ? blocks : runs) * elements *
                    mugraph_dtype_bytes (cuda_plan_storage (g, g->op[k].in[o->in[0]]));
    else if (class_of (o) == MUGRAPH_UNARY && mugraph_op_table[o->kind].unit == MUGRAPH_ON_SFU)
      p->sfu_ops += runs * elements; /* quotients count below: the cost model was fitted so */
    else p->fp32_flops += runs * elements;
  }
  for (int i = 0; i < g->op[k].n_in; i++) {
    int t = g->op[k].in[i];
    p->dram_read += (double) mugraph_volume (&g->tensor[t].shape) * mugraph_dtype_bytes (cuda_plan_storage (g, t));
  }
  for (int i = 0; i < g->op[k].n_out; i++) {
    int t = g->op[k].out[i];
    p->dram_write += (double) mugraph_volume (&g->tensor[t].shape) * mugraph_dtype_bytes (cuda_plan_storage (g, t));
  }
}

bool cuda_plan_generic (const mugraph *g, int k, const cuda_device *device, cuda_plan *p, mugraph_error *e) {
  cuda_generic d;
  const mugraph_block *b = block_of (g, k);
  if (!derive (g, k, device, &d, e)) return false;
  cuda_plan_keep (p, &d, sizeof d);
  p->sched = b->sched;
  p->sched.warps = (int16_t) (d.threads / 32);
  p->sched.stages = 1; /* raised below by a matmul that streams */
  p->sched.split = 1;
  p->sched.swap = 1;
  p->threads = d.threads;
  p->cluster = 1;
  p->blocks = (int64_t) b->grid[0] * b->grid[1] * b->grid[2];
  p->smem = d.smem;
  p->workspace = d.workspace;
  p->regs = 128;
  p->iterations = b->loop;
  for (int i = 0; i < d.n; i++) {
    cuda_tile_plan *t = &p->tile[i];
    t->home = d.home[i];
    t->offset = d.offset[i];
    t->bytes = d.bytes[i];
    t->fused = !d.stored[i] && b->op[i].kind != MUGRAPH_OP_INPUT && b->op[i].kind != MUGRAPH_OP_OUTPUT;
    if (b->op[i].kind == MUGRAPH_OP_INPUT && !d.stored[i]) t->home = CUDA_HOME_DEVICE;
    else if (b->op[i].kind == MUGRAPH_OP_INPUT) t->copy = CUDA_COPY_LOADS, t->depth = 1;
    if (p->sched.tile_m == 0 && b->op[i].kind == MUGRAPH_OP_MATMUL) {
      cuda_generic_mma x = cuda_generic_matmul (g, k, &d, i);
      p->sched.tile_m = (int16_t) (x.bm / x.wm);
      p->sched.tile_n = (int16_t) (x.bn / x.wn);
      p->sched.stages = (int16_t) x.stages;
    }
  }
  count_work (g, k, &d, p);
  return true;
}
