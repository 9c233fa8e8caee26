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
#define BLOCK(...) cuda_block (&p->e->body, __VA_ARGS__)
#define NAME CUDA_NAME

enum { PLACE = 160 };

static const cuda_tensor *input_of (const printer *p, int i) { return &p->e->tensor[p->kernel->in[p->b->op[i].in[0]]]; }
static bool is_input (const printer *p, int i) { return p->s.needed[i] && p->b->op[i].kind == MUGRAPH_OP_INPUT; }

/* Where a row begins within the block's part of a tensor, as " + row2 * 64LL": rows are numbered over the leading
   dimensions of the widest tile. Returns text. */
static const char *row_terms (const mugraph_op *o, const mugraph_shape *data, char text[PLACE]) {
  size_t n = 0;
  *text = 0;
  if (mugraph_all_rows (&o->shape) > 1)
    for (int d = 0; d + 1 < o->shape.n_dims; d++)
      if (o->shape.dim[d] > 1)
        n += (size_t) snprintf (text + n, PLACE - n, " + row%d * %lldLL", o->shape.n_dims - d,
                                (long long) cuda_stride (data, d));
  return text;
}

/* A thread's place: its lane among those of a row, its warp among those of a row, its row among those of the block at a
 * time. */
static void print_threads (printer *p) {
  const cuda_rows *s = &p->s;
  BLOCK ("const int lane = threadIdx.x % $lanes;\n", NAME ("lanes", s->lanes));
  cuda_print_place (&p->e->body, p->b, s->split);
  if (s->lanes < 32)
    BLOCK ("constexpr int warp = 0;\n"
           "const int group = threadIdx.x / $lanes;\n",
           NAME ("lanes", s->lanes));
  else if (s->groups > 1)
    BLOCK ("const int warp = threadIdx.x / 32 % $warps, group = threadIdx.x / $threads;\n",
           NAME ("warps", s->row_warps), NAME ("threads", 32 * s->row_warps));
  else
    P ("const int warp = threadIdx.x / 32;\n"
       "constexpr int group = 0;\n");
  BLOCK ("const int first = ((rank * $warps + warp) * $lanes + lane) * PIECE;\n", NAME ("warps", s->row_warps),
         NAME ("lanes", s->lanes));
}

static void print_geometry (printer *p) {
  const cuda_rows *s = &p->s;
  BLOCK (
      "// $rows rows of $n: $groups at a time, $warps warps x $split blocks each, $pieces x $piece elements a thread\n"
      "constexpr int PIECES = $pieces, PIECE = $piece, STRIDE = $stride;\n",
      NAME ("rows", s->rows), NAME ("n", s->n), NAME ("groups", s->groups), NAME ("warps", s->row_warps),
      NAME ("split", s->split), NAME ("pieces", s->pieces), NAME ("piece", s->piece),
      NAME ("stride", s->piece * s->lanes * s->row_warps * s->split));
  print_threads (p);
  if (s->axis >= 0 && s->full % s->n)
    BLOCK ("const int columns = min ($n, $full - (int) b$axis * $n);\n", NAME ("n", s->n), NAME ("full", s->full),
           NAME ("axis", cuda_axis (s->axis)));
  else BLOCK ("constexpr int columns = $n;\n", NAME ("n", s->n));
  if (s->levels && s->row_warps * s->split > 1)
    BLOCK ("__shared__ __align__ (16) float buffer[$n];\n",
           NAME ("n", s->levels * s->groups * s->widest * s->row_warps * s->split));
  for (int i = 0; i < p->b->n_ops; i++)
    if (is_input (p, i)) cuda_print_iterator (p->e, p->kernel, i);
    else if (p->b->op[i].kind == MUGRAPH_OP_OUTPUT) cuda_print_saver (p->e, p->kernel, i);
}

/* row<d>: index along the d-th dimension from the end (2 and up); live: inside of the data. */
static void print_row_index (printer *p) {
  const cuda_rows *s = &p->s;
  BLOCK ("const int row = $row;\n"
         "bool live = row < $rows;\n",
         NAME ("row", mugraph_ceil_div (s->rows, s->groups) > 1 ? "at * GROUPS + group" : "group"),
         NAME ("rows", s->rows));
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
      BLOCK ("live = live && row$d < $full - (int) b$axis * $n;\n", NAME ("d", w->shape.n_dims - d),
             NAME ("full", split->full), NAME ("axis", cuda_axis (split->axis)), NAME ("n", n));
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
      BLOCK ("live = live && (int) b$axis < $full;\n", NAME ("axis", cuda_axis (w->split[d].axis)),
             NAME ("full", w->split[d].full));
}

static void print_loads (printer *p, int pass) {
  for (int i = 0; i < p->b->n_ops; i++) {
    if (!is_input (p, i) || p->computed[i] != pass) continue;
    const mugraph_op *o = &p->b->op[i];
    const cuda_tensor *data = input_of (p, i);
    char place[PLACE];
    row_terms (o, &data->shape, place);
    if (mugraph_cols (&o->shape) == 1)
      BLOCK ("const float c$i = live ? ms_load (p$i$row) : 0.0f;\n", NAME ("i", i), NAME ("row", place));
    else
      BLOCK ("rows_piece<$type, PIECE> d$i[PIECES];\n"
             "#pragma unroll\n"
             "for (int e = 0; e < PIECES; e++) rows_load (d$i[e], p$i$row + first + e * STRIDE, $valid);\n",
             NAME ("type", cuda_type (data->dtype)), NAME ("i", i), NAME ("row", place),
             NAME ("valid", p->s.even ? "live" : "live && first + e * STRIDE < columns"));
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
      BLOCK ("float w$i[PIECES][PIECE];\n"
             "#pragma unroll\n"
             "for (int e = 0; e < PIECES; e++)\n"
             "#pragma unroll\n"
             "  for (int j = 0; j < PIECE; j++) w$i[e][j] = rows_at (d$i[e], j);\n",
             NAME ("i", i));
}

static void print_kept (printer *p, uint64_t done) {
  for (int i = 0; i < p->b->n_ops; i++)
    if (p->kept[i] && p->computed[i] == p->pass && done >> i & 1) P ("          k%d[e][j] = v%d;\n", i, i);
}

/* What one level adds up: its reductions, each at a place of the sums, and the maximum that exponentials subtract. */
typedef struct {
  int level, n;
  int at[MUGRAPH_BLOCK_OPS];
  int shift_at;    /* -1: none of this level */
  unsigned maxima; /* bits: places that are maxima, not sums */
  int chains;      /* independent sums of a place: no addition waits for the last one */
} sums;

static sums sums_of (const printer *p, int level) {
  sums x = {.level = level, .shift_at = -1, .chains = p->s.piece < 4 ? p->s.piece : 4};
  for (int i = 0; i < p->b->n_ops; i++) {
    if (!is_reduced (p, i, level)) continue;
    if (p->b->op[i].kind == MUGRAPH_OP_MAX) x.maxima |= 1u << x.n;
    x.at[i] = x.n++;
  }
  if (p->s.shifted && p->s.shift_level == level) x.maxima |= 1u << x.n, x.shift_at = x.n++;
  return x;
}

static cuda_walk walk_of (printer *p) {
  return (cuda_walk){.g = p->e->g,
                     .kernel = p->kernel,
                     .prefix = "v",
                     .materialised = is_materialised,
                     .shift = is_shifted,
                     .value = own_value,
                     .user = p};
}

/* Adds what operator i reduces, the value v<a>, at one element. */
static void print_addition (printer *p, const sums *x, int i, int a) {
  bool maximum = p->b->op[i].kind == MUGRAPH_OP_MAX,
       squares = mugraph_op_table[p->b->op[i].kind].statistic == MUGRAPH_OF_RMS;
  BLOCK (maximum   ? "s$level[$at][c] = fmaxf (s$level[$at][c], v$a);\n"
         : squares ? "s$level[$at][c] += v$a * v$a;\n"
                   : "s$level[$at][c] += v$a;\n",
         NAME ("level", x->level), NAME ("at", x->at[i]), NAME ("a", a));
}

/* The pass over the elements. */
static void print_pass (printer *p, const sums *x) {
  cuda_walk w = walk_of (p);
  uint64_t done = 0;
  P ("#pragma unroll\n"
     "for (int e = 0; e < PIECES; e++)\n");
  if (!p->s.even) P ("if (first + e * STRIDE < columns)\n");
  P ("#pragma unroll\n"
     "for (int j = 0; j < PIECE; j++) {\n");
  if (x->chains > 1) BLOCK ("const int c = j % $chains;\n", NAME ("chains", x->chains));
  else P ("constexpr int c = 0;\n");
  for (int i = 0; i < p->b->n_ops; i++) {
    int a = p->b->op[i].in[0];
    bool shifts = x->shift_at >= 0 && p->stable[i], reduces = is_reduced (p, i, x->level);
    if (!p->s.needed[i] || (!shifts && !reduces)) continue;
    cuda_print_walk (&p->e->body, &w, a, &done);
    if (shifts)
      BLOCK ("s$level[$at][c] = fmaxf (s$level[$at][c], v$a);\n", NAME ("level", x->level), NAME ("at", x->shift_at),
             NAME ("a", a));
    if (reduces) print_addition (p, x, i, a);
  }
  print_kept (p, done);
  P ("}\n");
}

/* The exchange of all threads of a row, through `buffer` where they are more than a warp. */
static void print_exchange (printer *p, const sums *x) {
  const cuda_rows *s = &p->s;
  char place[PLACE] = "(float *) 0";
  if (s->row_warps * s->split > 1) {
    int before = (x->level - 1) * s->groups, words = s->widest * s->row_warps * s->split;
    if (before) snprintf (place, sizeof place, "buffer + (%d + group) * %d", before, words);
    else snprintf (place, sizeof place, "buffer + group * %d", words);
  }
  BLOCK ("rows_exchange<$lanes, $warps, $split, $n, ${maxima}u> (x$level, $place, warp, rank);\n",
         NAME ("lanes", s->lanes), NAME ("warps", s->row_warps), NAME ("split", s->split), NAME ("n", x->n),
         NAME ("maxima", x->maxima), NAME ("level", x->level), NAME ("place", place));
}

/* What a reduction is, of what was exchanged. */
static void print_reduced (printer *p, const sums *x, int i) {
  const mugraph_op *o = &p->b->op[i];
  bool rms = mugraph_op_table[o->kind].statistic == MUGRAPH_OF_RMS;
  bool mean = rms || mugraph_op_table[o->kind].statistic == MUGRAPH_OF_MEAN;
  cuda_text epsilon = {0};
  if (rms) cuda_print_number (&epsilon, o->c[0]);
  BLOCK (rms    ? "const float r$i = $root (x$level[$at] * (1.0f / (float) columns) + $epsilon);"
         : mean ? "const float r$i = x$level[$at] * (1.0f / (float) columns);$root$epsilon"
                : "const float r$i = x$level[$at];$root$epsilon",
         NAME ("i", i), NAME ("level", x->level), NAME ("at", x->at[i]),
         NAME ("root", !rms                             ? ""
                       : o->kind == MUGRAPH_OP_RMS_NORM ? "rsqrtf"
                                                        : "ms_sqrt"),
         NAME ("epsilon", rms ? epsilon.data : ""));
  cuda_print_comment (&p->e->body, p->e->g, p->kernel, i);
  cuda_text_free (&epsilon);
}

/* One pass over the elements, one exchange: all reductions of a level. */
static void print_level (printer *p, int level) {
  const sums x = sums_of (p, level);
  BLOCK ("float s$level[$n][$chains];\n"
         "rows_clear<${maxima}u> (s$level);\n",
         NAME ("level", level), NAME ("n", x.n), NAME ("chains", x.chains), NAME ("maxima", x.maxima));
  for (int i = 0; i < p->b->n_ops; i++)
    if (p->kept[i] && p->computed[i] == level) BLOCK ("float k$i[PIECES][PIECE];\n", NAME ("i", i));
  print_pass (p, &x);
  BLOCK ("float x$level[$n];\n"
         "rows_fold<${maxima}u> (x$level, s$level);\n",
         NAME ("level", level), NAME ("n", x.n), NAME ("maxima", x.maxima));
  if (level == 1) print_widened (p);
  print_exchange (p, &x);
  for (int i = 0; i < p->b->n_ops; i++)
    if (is_reduced (p, i, level)) print_reduced (p, &x, i);
  if (x.shift_at >= 0) BLOCK ("const float shift = x$level[$at];\n", NAME ("level", level), NAME ("at", x.shift_at));
}

/* A tile of one column: one thread of the row stores it. */
static void print_store_row (printer *p, int i, const char *once, const char *place) {
  cuda_walk w = walk_of (p);
  uint64_t done = 0;
  int value = p->b->op[i].in[0];
  BLOCK ("if (live$once && rank == 0 && warp == 0 && lane == 0) {\n", NAME ("once", once));
  cuda_print_walk (&p->e->body, &w, value, &done);
  BLOCK ("ms_store (o$i$row, v$value);\n"
         "}\n",
         NAME ("i", i), NAME ("row", place), NAME ("value", value));
}

static void print_store_pieces (printer *p, int i, const char *once, const char *place) {
  cuda_walk w = walk_of (p);
  uint64_t done = 0;
  int value = p->b->op[i].in[0];
  P ("#pragma unroll\n"
     "for (int e = 0; e < PIECES; e++) {\n"
     "  float y[PIECE];\n"
     "#pragma unroll\n"
     "  for (int j = 0; j < PIECE; j++) {\n");
  cuda_print_walk (&p->e->body, &w, value, &done);
  BLOCK ("    y[j] = v$value;\n"
         "  }\n"
         "  if (live$once$valid) rows_store (o$i$row + first + e * STRIDE, y);\n"
         "}\n",
         NAME ("value", value), NAME ("once", once),
         NAME ("valid", p->s.even ? "" : " && first + e * STRIDE < columns"), NAME ("i", i), NAME ("row", place));
}

static void print_stores (printer *p) {
  for (int i = 0, saver = 0; i < p->b->n_ops; i++) {
    const mugraph_op *o = &p->b->op[i];
    char place[PLACE];
    if (o->kind != MUGRAPH_OP_OUTPUT) continue;
    row_terms (o, &p->e->tensor[p->kernel->out[saver++]].shape, place);
    const char *once = mugraph_all_rows (&o->shape) == 1 && p->s.rows > 1 ? " && row == 0" : "";
    if (mugraph_cols (&o->shape) == 1) print_store_row (p, i, once, place);
    else print_store_pieces (p, i, once, place);
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
  if (turns > 1)
    BLOCK ("constexpr int GROUPS = $groups;\n"
           "for (int at = 0; at < $turns; at++) {\n",
           NAME ("groups", s->groups), NAME ("turns", turns));
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
