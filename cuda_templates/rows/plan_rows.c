/* Plan of the rows generator: see plan_rows.h for the class.

   Parameters that it honours
   - grid: axes may split any dimension; pays: one row a block while rows are fewer than the SMs, then 4 to 16 short
   rows a block.
   - warps (power of two): of a block; tile_n: columns that one warp owns, so that columns / tile_n warps share a row
   (power of two; default: the smallest with at most 16 elements a lane) and the other warps take other rows at the same
   time; no more than there are rows. Of rows shorter than 512 a warp takes several, each with as many lanes as leave
   them at most 16 elements.
   - split 1, 2, 4, 8, 16: blocks of a cluster that share a row; an exchange over the cluster costs about 0.7 us more
   than one within a block: only for rows that one block cannot hold.
   - loop 1 only. stages, swap, tile_m: nothing to choose. */
#include "plan_rows.h"
#include "cuda_templates/generator.h"
#include "mugraph/stable.h"

#include <string.h>

#define FAIL(...) mugraph_fail (e, "rows: " __VA_ARGS__)

static bool is_power_of_two (int x) { return x > 0 && !(x & (x - 1)); }

bool cuda_rows_reduces (const mugraph_block *b, int i) { return mugraph_op_reduces (b->op[i].kind); }

static void need (const mugraph_block *b, cuda_rows *s, int i) {
  if (s->needed[i]) return;
  s->needed[i] = true;
  for (int k = 0; k < b->op[i].n_in && b->op[i].kind != MUGRAPH_OP_INPUT; k++) need (b, s, b->op[i].in[k]);
}

/* Leading dimensions of every tile are all those of the widest one, or all 1. */
static bool match_shapes (const mugraph_block *b, cuda_rows *s, mugraph_error *e) {
  s->wide = -1;
  s->axis = -1;
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_shape *t = &b->op[i].shape;
    if (!s->needed[i]) continue;
    if (mugraph_all_rows (t) > (s->wide < 0 ? 1 : mugraph_all_rows (&b->op[s->wide].shape))) s->wide = i;
    if (mugraph_cols (t) > s->n) s->n = mugraph_cols (t);
  }
  s->rows = s->wide < 0 ? 1 : (int32_t) mugraph_all_rows (&b->op[s->wide].shape);
  s->full = s->n;
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *o = &b->op[i];
    const mugraph_shape *t = &o->shape, *w = s->wide < 0 ? NULL : &b->op[s->wide].shape;
    if (!s->needed[i]) continue;
    for (int d = 0; d < t->n_dims; d++) {
      const mugraph_split *p = &o->split[d];
      if (p->full && p->axis >= 0 && (int64_t) t->dim[d] * (b->grid[p->axis] - 1) >= p->full)
        return FAIL ("operator %d: some blocks have no part of it", i);
    }
    if (mugraph_cols (t) != 1 && mugraph_cols (t) != s->n)
      return FAIL ("operator %d has rows of %d, others of %d", i, mugraph_cols (t), s->n);
    if (mugraph_all_rows (t) != 1) {
      bool same = true; /* aligned at the right; missing leading dimensions only where the widest has 1 */
      for (int d = 1; d < MUGRAPH_DIMS; d++) {
        int32_t x = d < t->n_dims ? t->dim[t->n_dims - 1 - d] : 1, y = d < w->n_dims ? w->dim[w->n_dims - 1 - d] : 1;
        same &= x == y;
      }
      if (!same) return FAIL ("operator %d broadcasts only some of its leading dimensions", i);
    }
    const mugraph_split *c = &o->split[t->n_dims - 1];
    if (c->full && c->axis >= 0 && mugraph_cols (t) > 1) {
      if (s->axis >= 0 && (s->axis != c->axis || s->full != c->full))
        return FAIL ("operator %d is split along its rows by another grid dimension", i);
      s->axis = c->axis, s->full = c->full;
    }
  }
  return s->n > 1 ? true : FAIL ("rows of one element");
}

static bool match_operators (const mugraph_block *b, const bool stable_exp[], cuda_rows *s, mugraph_error *e) {
  bool after_exp[MUGRAPH_BLOCK_OPS] = {false};
  int width[MUGRAPH_BLOCK_OPS + 1] = {0};
  for (int pass = 0; pass < 2; pass++) { /* the second knows the level of the maximum */
    for (int i = 0; i < b->n_ops; i++) {
      const mugraph_op *o = &b->op[i];
      mugraph_class c = mugraph_op_table[o->kind].klass;
      if (!s->needed[i] || c == MUGRAPH_LEAF) continue;
      uint8_t level = 0;
      for (int k = 0; k < o->n_in; k++) {
        if (s->level[o->in[k]] > level) level = s->level[o->in[k]];
        after_exp[i] |= after_exp[o->in[k]];
      }
      if (stable_exp[i]) {
        if (after_exp[i]) return FAIL ("operator %d is an exponential of an exponential, both with a maximum", i);
        after_exp[i] = s->shifted = true;
        if (level + 1 > s->shift_level) s->shift_level = level + 1;
        if (pass) level = s->shift_level;
      }
      if (cuda_rows_reduces (b, i)) {
        if ((c == MUGRAPH_REDUCE ? o->dim : o->shape.n_dims - 1) != b->op[o->in[0]].shape.n_dims - 1)
          return FAIL ("operator %d reduces another dimension than the last", i);
        if (mugraph_cols (&b->op[o->in[0]].shape) == 1) return FAIL ("operator %d reduces single elements", i);
        level++;
      } else if (c != MUGRAPH_UNARY && c != MUGRAPH_BINARY && c != MUGRAPH_SAVER && o->kind != MUGRAPH_OP_ACCUM)
        return FAIL ("%s is not elementwise and no reduction", mugraph_op_table[o->kind].text);
      s->level[i] = level;
    }
    memset (after_exp, 0, sizeof after_exp);
  }
  for (int i = 0; i < b->n_ops; i++) {
    if (!s->needed[i]) continue;
    if (cuda_rows_reduces (b, i)) width[s->level[i]]++;
    if (s->level[i] > s->levels) s->levels = s->level[i];
  }
  if (s->shifted) width[s->shift_level]++;
  for (int l = 1; l <= s->levels; l++)
    if (width[l] > s->widest) s->widest = width[l];
  return true;
}

/* Rows as stored, in f32 between the passes, and addresses. */
static int registers (const mugraph *g, const mugraph_op *kernel, const mugraph_block *b, const cuda_rows *s) {
  int bytes = s->levels > 1 ? 4 : 0;
  for (int i = 0; i < b->n_ops; i++)
    if (s->needed[i] && b->op[i].kind == MUGRAPH_OP_INPUT && mugraph_cols (&b->op[i].shape) > 1)
      bytes += mugraph_dtype_bytes (cuda_plan_storage (g, kernel->in[b->op[i].in[0]]));
  return bytes * s->pieces * s->piece / 4 + 24;
}

static bool schedule (const mugraph *g, const mugraph_op *kernel, const mugraph_block *b, const cuda_device *d,
                      cuda_rows *s, mugraph_error *e) {
  const mugraph_sched *w = &b->sched;
  s->split = w->split;
  if (!is_power_of_two (s->split)) return FAIL ("split %d is no power of two", s->split);
  if (s->split > 1 && d->arch < 90) return FAIL ("split %d needs clusters (sm_90)", s->split);
  if (w->tile_m) return FAIL ("tile_m %d is not supported: 0", w->tile_m);
  for (s->piece = 8; s->piece > 1 && (s->n % s->piece || s->full % s->piece);) s->piece /= 2;
  int32_t part = mugraph_ceil_div (s->n, s->split);
  s->row_warps = 1;
  if (w->tile_n) {
    s->row_warps = mugraph_ceil_div (part, w->tile_n);
    if (!is_power_of_two (s->row_warps))
      return FAIL ("tile_n %d: %d warps would share a row, no power of two", w->tile_n, s->row_warps);
  } else
    while (s->row_warps < (w->warps ? w->warps : 32) && s->row_warps * 32 * 16 < part) s->row_warps *= 2;
  s->lanes = 32;
  while (s->row_warps * s->split == 1 && s->lanes > 1 && s->lanes / 2 * 16 >= s->n && s->rows >= 64 / s->lanes)
    s->lanes /= 2;
  int warps = w->warps, rows = 32 / s->lanes; /* of a warp */
  if (!warps)
    for (warps = s->row_warps; warps < 8 && warps / s->row_warps * rows < s->rows;) warps *= 2;
  if (warps > 32 || warps % s->row_warps) return FAIL ("%d warps, %d share a row", warps, s->row_warps);
  while (warps > s->row_warps && warps / s->row_warps * rows / 2 >= s->rows) warps /= 2; /* none without a row */
  s->groups = warps / s->row_warps * rows;
  s->pieces = mugraph_ceil_div (s->n, s->piece * s->lanes * s->row_warps * s->split);
  s->even = s->pieces * s->piece * s->lanes * s->row_warps * s->split == s->n && s->full % s->n == 0;
  int room = d->regs_sm / (32 * warps);
  if (room > 255) room = 255;
  if (registers (g, kernel, b, s) > room)
    return FAIL ("about %d registers a thread, %d warps leave %d", registers (g, kernel, b, s), warps, room);
  return true;
}

static bool match (const mugraph *g, int k, const cuda_device *d, cuda_rows *s, mugraph_error *e) {
  const mugraph_op *kernel = &g->op[k];
  const mugraph_block *b = &g->block[kernel->block];
  memset (s, 0, sizeof *s);
  if (b->loop != 1) return FAIL ("a loop of %d iterations", b->loop);
  mugraph_stable stable;
  mugraph_analyse_stable (g, &stable);
  for (int i = 0; i < kernel->n_in; i++)
    if (stable.tensor_degree[kernel->in[i]]) return FAIL ("input %d travels with row maxima", i);
  for (int i = 0; i < kernel->n_out; i++)
    if (stable.tensor_degree[kernel->out[i]]) return FAIL ("output %d travels with row maxima", i);
  for (int i = 0; i < b->n_ops; i++)
    if (b->op[i].kind == MUGRAPH_OP_OUTPUT) need (b, s, i);
  if (!match_operators (b, stable.block_exp[kernel->block], s, e) || !match_shapes (b, s, e) ||
      !schedule (g, kernel, b, d, s, e))
    return false;
  s->even_rows = s->rows % s->groups == 0;
  for (int i = 0; i < b->n_ops; i++)
    for (int dim = 0; dim + 1 < b->op[i].shape.n_dims; dim++) {
      const mugraph_split *p = &b->op[i].split[dim];
      if (s->needed[i] && p->full && p->axis >= 0 && p->full % b->op[i].shape.dim[dim]) s->even_rows = false;
    }
  return true;
}

bool cuda_plan_rows (const mugraph *g, int k, const cuda_device *d, cuda_plan *p, mugraph_error *e) {
  cuda_rows s;
  if (!match (g, k, d, &s, e)) return false;
  cuda_plan_keep (p, &s, sizeof s);
  const mugraph_op *kernel = &g->op[k];
  const mugraph_block *b = &g->block[kernel->block];
  p->sched = b->sched;
  p->sched.warps = (int16_t) (s.row_warps * s.groups * s.lanes / 32);
  p->sched.tile_n = (int16_t) (s.pieces * s.piece * s.lanes > INT16_MAX ? 0 : s.pieces * s.piece * s.lanes);
  p->threads = 32 * p->sched.warps;
  p->cluster = s.split;
  double grid = (double) b->grid[0] * b->grid[1] * b->grid[2];
  p->blocks = (int64_t) grid * s.split;
  p->smem = 0; /* a few static words for the exchanges */
  p->regs = registers (g, kernel, b, &s);
  p->iterations = mugraph_ceil_div (s.rows, s.groups);
  bool seen[MUGRAPH_FANIN] = {false};
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *o = &b->op[i];
    mugraph_class c = mugraph_op_table[o->kind].klass;
    p->tile[i].bytes = mugraph_volume (&o->shape) * 4;
    p->tile[i].home = o->kind == MUGRAPH_OP_OUTPUT ? CUDA_HOME_DEVICE : CUDA_HOME_REGISTERS;
    p->tile[i].fused = c == MUGRAPH_UNARY || c == MUGRAPH_BINARY;
    if (!s.needed[i]) continue;
    if (o->kind == MUGRAPH_OP_INPUT) p->tile[i].copy = CUDA_COPY_LOADS, p->tile[i].depth = 1;
    double times = grid * (double) mugraph_volume (&b->op[o->n_in && o->kind != MUGRAPH_OP_INPUT ? o->in[0] : i].shape);
    if (o->kind == MUGRAPH_OP_INPUT) {
      const mugraph_shape *data = &g->tensor[kernel->in[o->in[0]]].shape;
      double element = mugraph_dtype_bytes (cuda_plan_storage (g, kernel->in[o->in[0]]));
      p->l2_read += grid * (double) mugraph_volume (&o->shape) * element;
      if (!seen[o->in[0]]) p->dram_read += (double) mugraph_volume (data) * element;
      seen[o->in[0]] = true;
    } else if (c != MUGRAPH_LEAF && c != MUGRAPH_SAVER) {
      p->fp32_flops += (c == MUGRAPH_BINARY ? grid * (double) mugraph_volume (&o->shape) : times) *
                       (mugraph_op_is (o->kind, MUGRAPH_NORM) ? 3 : 1);
      if (mugraph_op_table[o->kind].unit == MUGRAPH_ON_SFU) p->sfu_ops += grid * (double) mugraph_volume (&o->shape);
    }
  }
  for (int i = 0; i < kernel->n_out; i++)
    p->dram_write += (double) mugraph_volume (&g->tensor[kernel->out[i]].shape) *
                     mugraph_dtype_bytes (cuda_plan_storage (g, kernel->out[i]));
  return true;
}
