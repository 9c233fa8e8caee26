/* Kernels of the rows generator: cuda_templates/rows/plan_rows.h says what they compute, rows.cuh has the pieces.

   A thread has `pieces` pieces of `piece` neighbouring elements of one row. All its loads are issued first, what the
   first pass needs last: they arrive together, and a warp that waits for one of them in the midst of the first exchange
   would hold up all. What only later passes need is widened before that exchange, whose latencies hide it. Each level
   of reductions is one pass over the elements and one exchange; what a pass has computed and a later one needs stays in
   registers. */
#include "cuda_templates/emit/kernel.h"
#include "cuda_templates/emit/launches.h"
#include "cuda_templates/generator.h"
#include "plan_rows.h"

#include <stdio.h>

typedef struct {
  cuda_emitter *e;
  const mugraph_block *b;
  const mugraph_op *kernel;
  const bool *stable; /* exponentials that subtract the row's maximum */
  cuda_rows s;
  int pass;                        /* being printed: levels 1 and up, then the stores; 0: none */
  int computed[MUGRAPH_BLOCK_OPS]; /* first pass that computes a value; 0: none does */
  bool kept[MUGRAPH_BLOCK_OPS];    /* computed by one pass and needed by a later one */
} printer;

#define P(...) cuda_print (&p->e->body, __VA_ARGS__)

static const cuda_tensor *input_of (const printer *p, int i) { return &p->e->tensor[p->kernel->in[p->b->op[i].in[0]]]; }
static bool is_input (const printer *p, int i) { return p->s.needed[i] && p->b->op[i].kind == MUGRAPH_OP_INPUT; }

/* Start of a row within the block's part of a tensor: rows are numbered over the leading dimensions of the widest tile.
 */
static void print_row (printer *p, const mugraph_op *o, const mugraph_shape *data) {
  if (mugraph_all_rows (&o->shape) == 1) return;
  for (int d = 0; d + 1 < o->shape.n_dims; d++)
    if (o->shape.dim[d] > 1) P (" + row%d * %lldLL", o->shape.n_dims - d, (long long) cuda_stride (data, d));
}

static void print_geometry (printer *p) {
  const cuda_rows *s = &p->s;
  P ("  // %d rows of %d: %d at a time, %d warps x %d blocks each, %d x %d elements a thread\n", s->rows, s->n,
     s->groups, s->row_warps, s->split, s->pieces, s->piece);
  P ("  constexpr int PIECES = %d, PIECE = %d, STRIDE = %d;\n", s->pieces, s->piece,
     s->piece * s->lanes * s->row_warps * s->split);
  P ("  const int lane = threadIdx.x %% %d;\n", s->lanes);
  cuda_print_place (&p->e->body, p->b, s->split);
  if (s->lanes < 32) P ("  constexpr int warp = 0;\n  const int group = threadIdx.x / %d;\n", s->lanes);
  else if (s->groups > 1)
    P ("  const int warp = threadIdx.x / 32 %% %d, group = threadIdx.x / %d;\n", s->row_warps, 32 * s->row_warps);
  else P ("  const int warp = threadIdx.x / 32;\n  constexpr int group = 0;\n");
  P ("  const int first = ((rank * %d + warp) * %d + lane) * PIECE;\n", s->row_warps, s->lanes);
  if (s->axis >= 0 && s->full % s->n)
    P ("  const int columns = min (%d, %d - (int) b%c * %d);\n", s->n, s->full, "xyz"[s->axis], s -> n);
  else P ("  constexpr int columns = %d;\n", s->n);
  if (s->levels && s->row_warps * s->split > 1)
    P ("  __shared__ __align__ (16) float buffer[%d];\n", s->levels * s->groups * s->widest * s->row_warps * s->split);
  for (int i = 0; i < p->b->n_ops; i++)
    if (is_input (p, i)) cuda_print_iterator (p->e, p->kernel, i);
    else if (p->b->op[i].kind == MUGRAPH_OP_OUTPUT) cuda_print_saver (p->e, p->kernel, i);
}

/* row<d>: index along the d-th dimension from the end (2 and up); live: inside of the data. */
static void print_row_index (printer *p) {
  const cuda_rows *s = &p->s;
  P ("    const int row = %s;\n", mugraph_ceil_div (s->rows, s->groups) > 1 ? "at * GROUPS + group" : "group");
  P ("    bool live = row < %d;\n", s->rows);
  if (s->wide < 0) return;
  const mugraph_op *w = &p->b->op[s->wide];
  int64_t below = 1;
  for (int d = w->shape.n_dims - 2; d >= 0; d--) {
    int32_t n = w->shape.dim[d];
    if (n == 1) continue;
    P ("    const int row%d = ", w->shape.n_dims - d);
    cuda_print_coordinate (&p->e->body, "row", below, n);
    P (";\n");
    below *= n;
    const mugraph_split *split = &w->split[d];
    if (split->full && split->axis >= 0 && split->full % n)
      P ("    live = live && row%d < %d - (int) b%c * %d;\n", w->shape.n_dims - d, split->full, "xyz"[split->axis], n);
  }
}

/* A block whose rows are all beyond the end of a dimension of one row each. */
static void print_dead_blocks (printer *p) {
  const cuda_rows *s = &p->s;
  if (s->wide < 0) return;
  const mugraph_op *w = &p->b->op[s->wide];
  for (int d = 0; d + 1 < w->shape.n_dims; d++)
    if (w->shape.dim[d] == 1 && w->split[d].full && w->split[d].axis >= 0 &&
        w->split[d].full < p->b->grid[w->split[d].axis])
      P ("    live = live && (int) b%c < %d;\n", "xyz"[w->split[d].axis], w -> split[d].full);
}

static void print_loads (printer *p, int pass) {
  for (int i = 0; i < p->b->n_ops; i++) {
    if (!is_input (p, i) || p->computed[i] != pass) continue;
    const mugraph_op *o = &p->b->op[i];
    const cuda_tensor *data = input_of (p, i);
    if (mugraph_cols (&o->shape) == 1) {
      P ("    const float c%d = live ? ms_load (p%d", i, i);
      print_row (p, o, &data->shape);
      P (") : 0.0f;\n");
      continue;
    }
    P ("    rows_piece<%s, PIECE> d%d[PIECES];\n#pragma unroll\n    for (int e = 0; e < PIECES; e++) rows_load "
       "(d%d[e], p%d",
       cuda_type (data->dtype), i, i, i);
    print_row (p, o, &data->shape);
    P (" + first + e * STRIDE, %s);\n", p->s.even ? "live" : "live && first + e * STRIDE < columns");
  }
}

/* Whether the first pass leaves a floating-point copy of an input that only later passes use. */
static bool is_widened (const printer *p, int i) {
  return is_input (p, i) && mugraph_cols (&p->b->op[i].shape) > 1 && input_of (p, i)->dtype != MUGRAPH_F32 &&
         p->s.levels && p->computed[i] > 1;
}

static bool is_materialised (void *user, int i, cuda_text *t) {
  const printer *p = user;
  const mugraph_op *o = &p->b->op[i];
  if (o->kind == MUGRAPH_OP_INPUT)
    cuda_print (t, mugraph_cols (&o->shape) == 1 ? "c%d" : is_widened (p, i) ? "w%d[e][j]" : "rows_at (d%d[e], j)", i);
  else if (cuda_rows_reduces (p->b, i) && o->kind != MUGRAPH_OP_RMS_NORM) cuda_print (t, "r%d", i);
  else if (p->kept[i] && p->computed[i] < p->pass) cuda_print (t, "k%d[e][j]", i);
  else return false;
  return true;
}
static bool is_shifted (void *user, int i, cuda_text *t) {
  const printer *p = user;
  if (!p->stable[i]) return false;
  cuda_print (t, "shift");
  return true;
}
static bool own_value (void *user, int i, const char *a, const char *b, cuda_text *t) {
  const printer *p = user;
  (void) b;
  if (p->b->op[i].kind == MUGRAPH_OP_RMS_NORM) cuda_print (t, "%s * r%d", a, i);
  else if (p->b->op[i].kind == MUGRAPH_OP_ACCUM) cuda_print (t, "%s", a);
  else return false;
  return true;
}

/* Whether level `level` reduces operator i's operand. */
static bool is_reduced (const printer *p, int i, int level) {
  return p->s.needed[i] && cuda_rows_reduces (p->b, i) && p->s.level[i] == level;
}

/* Pass `pass` needs the value of operator i at each element. */
static void visit (printer *p, int i, int pass) {
  const mugraph_op *o = &p->b->op[i];
  bool leaf = o->kind == MUGRAPH_OP_INPUT || o->kind == MUGRAPH_OP_CONST ||
              (cuda_rows_reduces (p->b, i) && o->kind != MUGRAPH_OP_RMS_NORM);
  if (p->computed[i]) {
    p->kept[i] |= !leaf && mugraph_cols (&o->shape) > 1 && p->computed[i] < pass;
    return;
  }
  p->computed[i] = pass;
  if (!leaf)
    for (int k = 0; k < o->n_in; k++) visit (p, o->in[k], pass);
}

/* What each pass computes, and what it leaves to later ones. */
static void plan_passes (printer *p) {
  for (int pass = 1; pass <= p->s.levels; pass++)
    for (int i = 0; i < p->b->n_ops; i++)
      if (is_reduced (p, i, pass) || (p->s.needed[i] && p->s.shifted && p->s.shift_level == pass && p->stable[i]))
        visit (p, p->b->op[i].in[0], pass);
  for (int i = 0; i < p->b->n_ops; i++)
    if (p->b->op[i].kind == MUGRAPH_OP_OUTPUT) visit (p, p->b->op[i].in[0], p->s.levels + 1);
}

static void print_widened (printer *p) {
  for (int i = 0; i < p->b->n_ops; i++)
    if (is_widened (p, i))
      P ("    float w%d[PIECES][PIECE];\n#pragma unroll\n    for (int e = 0; e < PIECES; e++)\n#pragma unroll\n"
         "      for (int j = 0; j < PIECE; j++) w%d[e][j] = rows_at (d%d[e], j);\n",
         i, i, i);
}

static void print_kept (printer *p, uint64_t done) {
  for (int i = 0; i < p->b->n_ops; i++)
    if (p->kept[i] && p->computed[i] == p->pass && done >> i & 1) P ("          k%d[e][j] = v%d;\n", i, i);
}

/* One pass over the elements, one exchange: all reductions of a level. */
static void print_level (printer *p, int level) {
  const cuda_rows *s = &p->s;
  cuda_walk w = {.g = p->e->g,
                 .kernel = p->kernel,
                 .prefix = "v",
                 .materialised = is_materialised,
                 .shift = is_shifted,
                 .value = own_value,
                 .user = p};
  int n = 0;
  unsigned maxima = 0;
  bool shift = s->shifted && s->shift_level == level;
  int at[MUGRAPH_BLOCK_OPS];
  for (int i = 0; i < p->b->n_ops; i++) {
    if (!is_reduced (p, i, level)) continue;
    if (p->b->op[i].kind == MUGRAPH_OP_MAX) maxima |= 1u << n;
    at[i] = n++;
  }
  int shift_at = n;
  if (shift) maxima |= 1u << n++;
  int chains = s->piece < 4 ? s->piece : 4; /* independent sums: no addition waits for the last one */
  P ("    float s%d[%d][%d];\n    rows_clear<%uu> (s%d);\n", level, n, chains, maxima, level);
  for (int i = 0; i < p->b->n_ops; i++)
    if (p->kept[i] && p->computed[i] == level) P ("    float k%d[PIECES][PIECE];\n", i);
  P ("#pragma unroll\n    for (int e = 0; e < PIECES; e++)\n");
  if (!s->even) P ("      if (first + e * STRIDE < columns)\n");
  P ("#pragma unroll\n        for (int j = 0; j < PIECE; j++) {\n");
  if (chains > 1) P ("          const int c = j %% %d;\n", chains);
  else P ("          constexpr int c = 0;\n");
  uint64_t done = 0;
  for (int i = 0; i < p->b->n_ops; i++) {
    if (!s->needed[i]) continue;
    if (shift && p->stable[i]) {
      int a = p->b->op[i].in[0];
      cuda_print_walk (&p->e->body, &w, a, &done);
      P ("          s%d[%d][c] = fmaxf (s%d[%d][c], v%d);\n", level, shift_at, level, shift_at, a);
    }
    if (!is_reduced (p, i, level)) continue;
    int a = p->b->op[i].in[0];
    cuda_print_walk (&p->e->body, &w, a, &done);
    switch (p->b->op[i].kind) {
    case MUGRAPH_OP_MAX: P ("          s%d[%d][c] = fmaxf (s%d[%d][c], v%d);\n", level, at[i], level, at[i], a); break;
    case MUGRAPH_OP_RMS_NORM:
    case MUGRAPH_OP_ACCUM_RMS: P ("          s%d[%d][c] += v%d * v%d;\n", level, at[i], a, a); break;
    default: P ("          s%d[%d][c] += v%d;\n", level, at[i], a);
    }
  }
  print_kept (p, done);
  P ("        }\n    float x%d[%d];\n    rows_fold<%uu> (x%d, s%d);\n", level, n, maxima, level, level);
  if (level == 1) print_widened (p);
  P ("    rows_exchange<%d, %d, %d, %d, %uu> (x%d, ", s->lanes, s->row_warps, s->split, n, maxima, level);
  if (s->row_warps * s->split > 1) {
    P ("buffer + ");
    if (level > 1) P ("(%d + group)", (level - 1) * s->groups);
    else P ("group");
    P (" * %d, warp, rank);\n", s->widest * s->row_warps * s->split);
  } else P ("(float *) 0, warp, rank);\n");
  for (int i = 0; i < p->b->n_ops; i++) {
    if (!is_reduced (p, i, level)) continue;
    const mugraph_op *o = &p->b->op[i];
    bool rms = mugraph_op_table[o->kind].statistic == MUGRAPH_OF_RMS;
    bool mean = rms || o->kind == MUGRAPH_OP_MEAN || o->kind == MUGRAPH_OP_ACCUM_MEAN;
    P ("    const float r%d = %sx%d[%d]%s", i,
       o->kind == MUGRAPH_OP_RMS_NORM ? "rsqrtf ("
       : rms                          ? "ms_sqrt ("
                                      : "",
       level, at[i], mean ? " * (1.0f / (float) columns)" : "");
    if (rms) {
      P (" + ");
      cuda_print_number (&p->e->body, o->c[0]);
      P (")");
    }
    P (";");
    cuda_print_comment (&p->e->body, p->e->g, p->kernel, i);
  }
  if (shift) P ("    const float shift = x%d[%d];\n", level, shift_at);
}

static void print_stores (printer *p) {
  cuda_walk w = {.g = p->e->g,
                 .kernel = p->kernel,
                 .prefix = "v",
                 .materialised = is_materialised,
                 .shift = is_shifted,
                 .value = own_value,
                 .user = p};
  for (int i = 0, saver = 0; i < p->b->n_ops; i++) {
    const mugraph_op *o = &p->b->op[i];
    if (o->kind != MUGRAPH_OP_OUTPUT) continue;
    const cuda_tensor *out = &p->e->tensor[p->kernel->out[saver++]];
    bool once = mugraph_all_rows (&o->shape) == 1 && p->s.rows > 1;
    uint64_t done = 0;
    if (mugraph_cols (&o->shape) == 1) {
      P ("    if (live%s && rank == 0 && warp == 0 && lane == 0) {\n", once ? " && row == 0" : "");
      cuda_print_walk (&p->e->body, &w, o->in[0], &done);
      P ("      ms_store (o%d", i);
      print_row (p, o, &out->shape);
      P (", v%d);\n    }\n", o->in[0]);
      continue;
    }
    P ("#pragma unroll\n    for (int e = 0; e < PIECES; e++) {\n      float y[PIECE];\n#pragma unroll\n      for (int "
       "j = 0; j < PIECE; j++) {\n");
    cuda_print_walk (&p->e->body, &w, o->in[0], &done);
    P ("        y[j] = v%d;\n      }\n      if (live%s%s) rows_store (o%d", o->in[0], once ? " && row == 0" : "",
       p->s.even ? "" : " && first + e * STRIDE < columns", i);
    print_row (p, o, &out->shape);
    P (" + first + e * STRIDE, y);\n    }\n");
  }
}

void cuda_emit_rows (cuda_emitter *e, int k, const cuda_plan *plan) {
  const mugraph_op *kernel = &e->g->op[k];
  printer state = {.e = e,
                   .b = &e->g->block[kernel->block],
                   .kernel = kernel,
                   .stable = e->stable->block_exp[kernel->block]},
          *p = &state;
  cuda_plan_found (plan, &p->s, sizeof p->s);
  const cuda_rows *s = &p->s;
  cuda_use_templates (e, "load.cuh", "cluster.cuh", "rows.cuh");
  int l = cuda_add_launch (e, plan->blocks, plan->threads, 0, "k%d_rows", k);
  e->program->launch[l].cluster[0] = plan->cluster;
  plan_passes (p);
  bool late = false;
  for (int i = 0; i < kernel->n_in; i++) {
    int tensor = kernel->in[i];
    if (tensor < e->g->n_inputs) cuda_add_tensor (e, l, tensor, false, "in%d", i);
    else
      cuda_add_pointer (e, l, e->tensor[tensor].buffer, "const %s *in%d", cuda_type (e->tensor[tensor].dtype),
                        i); /* no read before the wait */
    late |= tensor >= e->g->n_inputs;
  }
  for (int i = 0; i < kernel->n_out; i++) cuda_add_tensor (e, l, kernel->out[i], true, "out%d", i);
  cuda_open_kernel (e, l);
  P ("  ms_launch_dependents ();\n");
  if (s->split > 1) P ("  ms_cluster_arrive_release ();\n");
  print_geometry (p);
  if (late) P ("  ms_wait_inputs ();\n");
  int turns = mugraph_ceil_div (s->rows, s->groups);
  if (turns > 1) P ("  constexpr int GROUPS = %d;\n  for (int at = 0; at < %d; at++) {\n", s->groups, turns);
  else P ("  {\n");
  print_row_index (p);
  print_dead_blocks (p);
  for (int pass = s->levels + 1; pass >= 1; pass--) print_loads (p, pass);
  if (s->split > 1)
    P (turns > 1 ? "    if (at == 0) ms_cluster_wait ();\n"
                 : "    ms_cluster_wait ();\n"); /* the others' shared memory is theirs */
  for (p->pass = 1; p->pass <= s->levels; p->pass++) print_level (p, p->pass);
  if (!late) P ("    ms_wait_inputs ();\n");
  print_stores (p);
  if (turns > 1 && s->levels && s->split > 1) P ("    ms_cluster_sync ();\n"); /* buffers again */
  else if (turns > 1 && s->levels && s->row_warps > 1) P ("    __syncthreads ();\n");
  P ("  }\n}\n");
}
