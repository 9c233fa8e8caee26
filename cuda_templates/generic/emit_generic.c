/* The generic generator: any block graph, as a sequence of block-wide steps between barriers. What is stored where, and
   when each operator runs, comes from cuda_templates/generic/plan_generic.c.

   Names in the emitted code: i4 the place of iterator 4's tile in device memory, t4 the stored tile of operator 4, s4
   its side table, x4 its value at the current element, c0 .. c3 the coordinates of that element in the tile (aligned at
   the right, missing dimensions 1), n0, n1, .. numbers of valid positions of ragged splits, bx, by, bz the block, l the
   iteration. */
#include "cuda_templates/emit/kernel.h"
#include "cuda_templates/emit/launches.h"
#include "cuda_templates/generator.h"
#include "plan_generic.h"

#include <stdio.h>
#include <string.h>

enum { NAME = 96, SPLITS = 4 * MUGRAPH_BLOCK_OPS };

typedef struct {
  char c[4][NAME];
} coordinates;

typedef struct {
  cuda_emitter *e;
  cuda_text *text;
  int k;
  const mugraph_op *kernel;
  const mugraph_block *block;
  cuda_generic d;
  struct {
    mugraph_split split;
    int tile;
  } ragged[SPLITS]; /* variables n<index> */
  int n_ragged;
  coordinates at; /* current element, for the walk's callbacks */
} generator;

static mugraph_class class_of (const mugraph_op *o) { return mugraph_op_table[o->kind].klass; }
static int64_t volume (const int dim[4]) { return (int64_t) dim[0] * dim[1] * dim[2] * dim[3]; }
static const cuda_tensor *tensor_of (const generator *w, int i) {
  return &w->e->tensor[w->kernel->in[w->block->op[i].in[0]]];
}

/* ---- ragged splits ---- */

static const mugraph_split *split_of (const generator *w, int i, int d) {
  const mugraph_op *o = &w->block->op[i];
  int own = d - (4 - o->shape.n_dims);
  return own < 0 ? NULL : &o->split[own];
}

static bool in_loop (const generator *w, const mugraph_split *s) { return s->loop && w->block->loop > 1; }

/* The variable that holds the number of valid positions of dimension d of tile i, or -1 when all are. */
static int valid_variable (generator *w, int i, int d) {
  if (!cuda_generic_ragged (w->block, i, d)) return -1;
  const mugraph_split *s = split_of (w, i, d);
  int n = 0;
  while (n < w->n_ragged && (w->ragged[n].tile != w->d.dim[i][d] || w->ragged[n].split.full != s->full ||
                             w->ragged[n].split.axis != s->axis || in_loop (w, &w->ragged[n].split) != in_loop (w, s)))
    n++;
  if (n == w->n_ragged) {
    w->ragged[n].split = *s;
    w->ragged[n].tile = w->d.dim[i][d];
    w->n_ragged++;
  }
  return n;
}

static const char *axis_name (int axis) {
  static const char *const names[] = {"bx", "by", "bz"};
  return axis < 0 ? "0" : names[axis];
}

/* What a grid axis covers of a split dimension. */
static int chunk_of (const generator *w, const mugraph_split *s) {
  return s->axis >= 0 ? (int) (((int64_t) s->full + w->block->grid[s->axis] - 1) / w->block->grid[s->axis]) : s->full;
}

static void print_valid (generator *w, bool loop) {
  for (int n = 0; n < w->n_ragged; n++) {
    const mugraph_split *s = &w->ragged[n].split;
    if (in_loop (w, s) != loop) continue;
    cuda_print (w->text, "  const int n%d = ms_valid (%d, %d, %s * %d, %s * %d, %d);\n", n, s->full, chunk_of (w, s),
                axis_name (s->axis), chunk_of (w, s), loop ? "l" : "0", w->ragged[n].tile, w->ragged[n].tile);
  }
}

/* "(c2 < n0 && c3 < n1)" over the ragged dimensions of tile i in the set dims; false: all are valid, nothing printed.
 */
static bool print_mask (generator *w, cuda_text *t, int i, const coordinates *at, unsigned dims) {
  bool any = false;
  for (int d = 0; d < 4; d++) {
    int n = dims >> d & 1 ? valid_variable (w, i, d) : -1;
    if (n < 0) continue;
    cuda_print (t, "%s%s < n%d", any ? " && " : "(", w->d.dim[i][d] == 1 ? "0" : at->c[d], n);
    any = true;
  }
  if (any) cuda_print (t, ")");
  return any;
}

/* ---- addresses ---- */

static void print_index (cuda_text *t, const coordinates *at, const int dim[4], const int64_t stride[4]) {
  cuda_print_index (t, (const char *const[]){at->c[0], at->c[1], at->c[2], at->c[3]}, dim, stride);
}

/* Strides of a kernel tensor, aligned at the right. */
static void tensor_strides (const mugraph_shape *s, int64_t stride[4]) {
  int dim[4];
  cuda_aligned (s, dim, stride);
}

static void print_dense (cuda_text *t, const coordinates *at, const int dim[4]) {
  int64_t stride[4];
  cuda_dense_strides (dim, stride);
  print_index (t, at, dim, stride);
}

/* First data index of dimension d of iterator i in this block and iteration, as an expression of long long; empty: 0.
 */
static void first_of (const generator *w, int i, int d, char out[NAME]) {
  const mugraph_split *s = split_of (w, i, d);
  char step[32] = "";
  out[0] = 0;
  if (!s || !s->full) return;
  if (in_loop (w, s)) snprintf (step, sizeof step, "%sl * %d", s->axis >= 0 ? " + " : "", w->d.dim[i][d]);
  if (s->axis >= 0 && chunk_of (w, s) == 1 && !*step) snprintf (out, NAME, "%s", axis_name (s->axis));
  else if (s->axis >= 0) snprintf (out, NAME, "(%s * %d%s)", axis_name (s->axis), chunk_of (w, s), step);
  else snprintf (out, NAME, "%s%s%s", *step ? "(" : "", step, *step ? ")" : "");
}

static void print_iterator (generator *w, int i) {
  const cuda_tensor *t = tensor_of (w, i);
  int64_t stride[4];
  tensor_strides (&t->shape, stride);
  cuda_print (w->text, "  const %s *i%d = in%d", cuda_type (t->dtype), i, w->block->op[i].in[0]);
  for (int d = 0; d < 4; d++) {
    char first[NAME];
    first_of (w, i, d, first);
    if (!*first) continue;
    cuda_print (w->text, " + (long long) %s", first);
    cuda_print_factor (w->text, stride[d]);
  }
  cuda_print (w->text, ";");
  cuda_print_comment (w->text, w->e->g, w->kernel, i);
}

static bool iterator_in_loop (const generator *w, int i) {
  return w->block->op[i].kind == MUGRAPH_OP_INPUT && w->block->loop > 1 && w->block->op[i].fmap >= 0;
}

static void print_iterators (generator *w, bool loop) {
  for (int i = 0; i < w->d.n; i++)
    if (w->block->op[i].kind == MUGRAPH_OP_INPUT && iterator_in_loop (w, i) == loop) print_iterator (w, i);
}

/* Index into a table with one row per position of the leading three dimensions of dim. */
static void print_row (cuda_text *t, const coordinates *at, const int dim[3]) {
  int own[4] = {dim[0], dim[1], dim[2], 1};
  print_dense (t, at, own);
}

/* Readable by address: everything that print_leaf knows. */
static bool is_leaf (const generator *w, int i) {
  const mugraph_op *o = &w->block->op[i];
  return w->d.stored[i] || o->kind == MUGRAPH_OP_INPUT || class_of (o) == MUGRAPH_LAYOUT;
}

static void print_leaf (generator *w, cuda_text *t, int i, const coordinates *at) {
  const mugraph_op *o = &w->block->op[i];
  if (w->d.stored[i]) {
    cuda_print (t, "ms_load (t%d + ", i);
    print_dense (t, at, w->d.dim[i]);
    cuda_print (t, ")");
  } else if (o->kind == MUGRAPH_OP_INPUT) {
    int64_t stride[4];
    tensor_strides (&tensor_of (w, i)->shape, stride);
    cuda_print (t, "(");
    bool masked = print_mask (w, t, i, at, 15);
    cuda_print (t, "%sms_load (i%d + ", masked ? " ? " : "", i);
    print_index (t, at, w->d.dim[i], stride);
    cuda_print (t, ")%s", masked ? " : 0.0f)" : ")");
    if (!w->d.table[i]) return;
    const cuda_tensor *tensor = tensor_of (w, i);
    char first[NAME];
    first_of (w, i, 3, first);
    cuda_print (t, " * s%d[(", i);
    print_row (t, at, w->d.dim[i]);
    cuda_print (t, ") * %d + (%s%s%s) / %d]", tensor->splits, first, *first ? " + " : "",
                w->d.dim[i][3] == 1 ? "0" : at->c[3], tensor->shape.dim[tensor->shape.n_dims - 1] / tensor->splits);
  } else if (o->kind == MUGRAPH_OP_TRANSPOSE) {
    coordinates swapped = *at;
    memcpy (swapped.c[2], at->c[3], NAME);
    memcpy (swapped.c[3], at->c[2], NAME);
    print_leaf (w, t, o->in[0], &swapped);
  } else {
    int d = cuda_generic_dim (w->block, i, o->dim), n = w->d.dim[o->in[0]][d];
    coordinates second = *at;
    snprintf (second.c[d], NAME, "(%.40s - %d)", at->c[d], n);
    cuda_print (t, "(%s < %d ? ", at->c[d], n);
    print_leaf (w, t, o->in[0], at);
    cuda_print (t, " : ");
    print_leaf (w, t, o->in[1], &second);
    cuda_print (t, ")");
  }
}

/* ---- values ---- */

static bool materialised (void *user, int i, cuda_text *t) {
  generator *w = user;
  if (!is_leaf (w, i)) return false;
  print_leaf (w, t, i, &w->at);
  return true;
}

static bool shift (void *user, int i, cuda_text *t) {
  generator *w = user;
  if (!w->d.stable.block_exp[w->kernel->block][i]) return false;
  cuda_print (t, "row_max[");
  print_row (t, &w->at, w->d.max_dim);
  cuda_print (t, "]");
  return true;
}

static void norm_rows (const generator *w, int i, int dim[4]) {
  memcpy (dim, w->d.dim[i], 4 * sizeof *dim);
  dim[cuda_generic_dim (w->block, i, w->block->op[i].dim)] = 1;
}

static bool norm_value (void *user, int i, const char *a, const char *b, cuda_text *t) {
  generator *w = user;
  int dim[4];
  (void) b;
  if (!mugraph_op_is (w->block->op[i].kind, MUGRAPH_NORM)) return false;
  norm_rows (w, i, dim);
  cuda_print (t, "%s * s%d[", a, i);
  print_dense (t, &w->at, dim);
  cuda_print (t, "]");
  return true;
}

/* Declares x<i>, the value of operator i at these coordinates; computed: even where i is stored (it is being stored).
 */
static void print_value (generator *w, int i, const coordinates *at, bool computed) {
  cuda_walk walk = {w->e->g, w->kernel, "x", materialised, shift, norm_value, w};
  uint64_t done = 0;
  bool stored = w->d.stored[i];
  w->at = *at;
  if (computed) w->d.stored[i] = false;
  cuda_print_walk (w->text, &walk, i, &done);
  w->d.stored[i] = stored;
}

/* const int c0 = .., c1 = ..; from a linear index, named prefix0 .. prefix3. Dimensions of size 1 become "0". */
static void print_coordinates (generator *w, const char *index, const int dim[4], const char *prefix, coordinates *at) {
  int64_t below = 1;
  for (int d = 3; d >= 0; d--) {
    if (dim[d] == 1) {
      snprintf (at->c[d], NAME, "0");
      continue;
    }
    snprintf (at->c[d], NAME, "%s%d", prefix, d);
    bool outermost = true;
    for (int o = 0; o < d; o++) outermost &= dim[o] == 1;
    cuda_print (w->text, "const int %s = (int) (%s", at->c[d], index);
    if (below > 1) cuda_print (w->text, " / %lld", (long long) below);
    if (!outermost) cuda_print (w->text, " %% %d", dim[d]);
    cuda_print (w->text, ");\n");
    below *= dim[d];
  }
}

static const char *index_type (int64_t n) { return n > INT32_MAX / 2 ? "long long" : "int"; }

static void begin_elements (generator *w, const int dim[4], coordinates *at) {
  int64_t n = volume (dim);
  cuda_print (w->text, "  for (%s e = threadIdx.x; e < %lld; e += %d) {\n", index_type (n), (long long) n,
              w->d.threads);
  print_coordinates (w, "e", dim, "c", at);
}

static void barrier (generator *w) { cuda_print (w->text, "  __syncthreads ();\n"); }

/* ---- steps ---- */

static void step_store (generator *w, int i) {
  coordinates at;
  cuda_print_comment (w->text, w->e->g, w->kernel, i);
  begin_elements (w, w->d.dim[i], &at);
  print_value (w, i, &at, true);
  cuda_print (w->text, "ms_store (t%d + e, x%d);\n  }\n", i, i);
  barrier (w);
}

/* A reduction of the values of operator `from` over dimension `dim` (for sums to a width: over positions that are equal
   modulo the width), one warp or one thread to a result. first: the start value; each: a statement that takes x into
   sum; last: a statement for the lane that has the sum of result o. */
typedef struct {
  int from, dim, width;
  unsigned also;    /* further dimensions to reduce */
  bool masked_rows; /* skip results at invalid positions */
  const char *first, *each, *combine;
  char last[4 * NAME];
} reduction;

static void step_reduce (generator *w, const reduction *r) {
  const int *dim = w->d.dim[r->from];
  int out[4], in[4] = {1, 1, 1, 1}, count = r->width ? dim[r->dim] / r->width : dim[r->dim];
  coordinates at, inner;
  memcpy (out, dim, sizeof out);
  out[r->dim] = r->width ? r->width : 1;
  in[r->dim] = count;
  for (int d = 0; d < 4; d++)
    if (r->also >> d & 1) in[d] = dim[d], out[d] = 1;
  int64_t n = volume (out), m = volume (in);
  bool warp = m >= 32 && (r->dim == 3 || n < w->d.threads);
  const char *type = index_type (n > m ? n : m);
  cuda_print (w->text, "  for (%s o = threadIdx.x%s; o < %lld; o += %d) {\n", type, warp ? " / 32" : "", (long long) n,
              warp ? w->d.threads / 32 : w->d.threads);
  print_coordinates (w, "o", out, "c", &at);
  cuda_print (w->text, "float sum = %s;\n", r->first);
  cuda_print (w->text, "for (%s r = %s; r < %lld; r += %d) {\n", type, warp ? "threadIdx.x % 32" : "0", (long long) m,
              warp ? 32 : 1);
  print_coordinates (w, "r", in, "r", &inner);
  for (int d = 0; d < 4; d++) {
    if (in[d] == 1) continue;
    if (d == r->dim && r->width && r->width > 1) snprintf (at.c[d], NAME, "(c%d + r%d * %d)", d, d, r->width);
    else memcpy (at.c[d], inner.c[d], NAME);
  }
  cuda_text mask = {0};
  unsigned dims = r->masked_rows ? 15u : 1u << r->dim | r->also;
  if (print_mask (w, &mask, r->from, &at, dims))
    cuda_print (w->text, "if (!%s) continue;\n", mask.data ? mask.data : "(1)");
  if (mask.failed) w->text->failed = true;
  cuda_text_free (&mask);
  print_value (w, r->from, &at, false);
  cuda_print (w->text, "const float x = x%d;\n%s\n}\n", r->from, r->each);
  if (warp) cuda_print (w->text, "sum = %s (sum);\nif (threadIdx.x %% 32 == 0) ", r->combine);
  cuda_print (w->text, "{ %s }\n  }\n", r->last);
  barrier (w);
}

/* The number of valid positions along dimension d of tile i, as an expression. */
static void count_valid (generator *w, int i, int d, char out[NAME]) {
  int n = valid_variable (w, i, d);
  if (n >= 0) snprintf (out, NAME, "(float) max (n%d, 1)", n);
  else snprintf (out, NAME, "%d.0f", w->d.dim[i][d]);
}

static void step_sum (generator *w, int i) {
  const mugraph_op *o = &w->block->op[i];
  int from = o->in[0];
  char n[NAME];
  reduction r = {.from = from,
                 .dim = cuda_generic_dim (w->block, i, o->dim),
                 .first = "0.0f",
                 .each = "sum += x;",
                 .combine = "ms_warp_sum"};
  count_valid (w, from, r.dim, n);
  switch ((mugraph_op_kind) o->kind) {
  case MUGRAPH_OP_MAX:
    r.first = "-MS_INF", r.each = "sum = fmaxf (sum, x);", r.combine = "ms_warp_max";
    snprintf (r.last, sizeof r.last, "t%d[o] = sum;", i);
    break;
  case MUGRAPH_OP_MEAN: snprintf (r.last, sizeof r.last, "t%d[o] = sum / (%s);", i, n); break;
  case MUGRAPH_OP_SUM_TO: r.width = o->width; /* fall through */
  default: snprintf (r.last, sizeof r.last, "t%d[o] = sum;", i);
  }
  cuda_print_comment (w->text, w->e->g, w->kernel, i);
  step_reduce (w, &r);
}

static void step_norm (generator *w, int i) {
  const mugraph_op *o = &w->block->op[i];
  char n[NAME];
  reduction r = {.from = o->in[0],
                 .dim = cuda_generic_dim (w->block, i, o->dim),
                 .first = "0.0f",
                 .each = "sum += x * x;",
                 .combine = "ms_warp_sum"};
  cuda_text epsilon = {0};
  count_valid (w, r.from, r.dim, n);
  cuda_print_number (&epsilon, o->c[0]);
  snprintf (r.last, sizeof r.last, "s%d[o] = 1.0f / sqrtf (sum / (%s) + %.60s);", i, n,
            epsilon.data ? epsilon.data : "0.0f");
  if (epsilon.failed) w->text->failed = true;
  cuda_text_free (&epsilon);
  cuda_print_comment (w->text, w->e->g, w->kernel, i);
  step_reduce (w, &r);
}

static bool counts (const mugraph_op *o) {
  const mugraph_statistic what = mugraph_op_table[o->kind].statistic;
  return class_of (o) == MUGRAPH_ACCUM && (what == MUGRAPH_OF_MEAN || what == MUGRAPH_OF_RMS);
}

static void step_accumulate (generator *w, int i) {
  const mugraph_op *o = &w->block->op[i];
  int from = o->in[0];
  if (w->d.direct[from] == i) return;
  cuda_print_comment (w->text, w->e->g, w->kernel, i);
  if (o->kind == MUGRAPH_OP_ACCUM) {
    coordinates at;
    cuda_text mask = {0};
    begin_elements (w, w->d.dim[i], &at);
    if (print_mask (w, &mask, from, &at, 15))
      cuda_print (w->text, "if (!%s) continue;\n", mask.data ? mask.data : "(1)");
    if (mask.failed) w->text->failed = true;
    cuda_text_free (&mask);
    print_value (w, from, &at, false);
    cuda_print (w->text, "t%d[e] += x%d;\n  }\n", i, from);
    barrier (w);
    return;
  }
  reduction r = {
      .from = from, .dim = 3, .masked_rows = true, .first = "0.0f", .each = "sum += x;", .combine = "ms_warp_sum"};
  if (o->kind == MUGRAPH_OP_ACCUM_RMS) r.each = "sum += x * x;";
  if (o->kind == MUGRAPH_OP_ACCUM_SUM_TO) r.width = o->width;
  snprintf (r.last, sizeof r.last, "t%d[o] += sum;", i);
  step_reduce (w, &r);
  if (!counts (o)) return;
  int n = valid_variable (w, from, 3);
  if (n >= 0) cuda_print (w->text, "  count%d += n%d;\n", i, n);
  else cuda_print (w->text, "  count%d += %d;\n", i, w->d.dim[from][3]);
}

/* The exponential i is about to be used: the maximum of its rows moves, and everything computed so far that is
   proportional to a power of exp (-max) moves with it. */
static void step_maximum (generator *w, int i) {
  const int8_t *degree = w->d.stable.block_degree[w->kernel->block];
  int from = w->block->op[i].in[0], position = cuda_generic_position (&w->d, i);
  reduction r = {.from = from, .dim = 3, .first = "-MS_INF", .each = "sum = fmaxf (sum, x);", .combine = "ms_warp_max"};
  for (int d = 0; d < 3; d++)
    if (w->d.max_dim[d] != w->d.dim[from][d]) r.also |= 1u << d;
  snprintf (
      r.last, sizeof r.last,
      "const float old = row_max[o], now = fmaxf (old, sum); row_max[o] = now; row_move[o] = ms_move (old, now);");
  cuda_print (w->text, "  // maximum of x%d\n", from);
  step_reduce (w, &r);
  for (int j = 0; j < w->d.n; j++) {
    if (!w->d.stored[j] || !degree[j] || w->d.start[j] >= position || w->d.end[j] < position) continue;
    int power =
        degree[j] * (w->block->op[j].kind == MUGRAPH_OP_ACCUM_RMS && w->d.phase[i] != MUGRAPH_AFTER_LOOP ? 2 : 1);
    coordinates at;
    begin_elements (w, w->d.dim[j], &at);
    cuda_print (w->text, "const float move = row_move[");
    print_row (w->text, &at, w->d.max_dim);
    cuda_print (w->text, "];\nif (move != 0.0f) t%d[e] *= ms_exp (move", j);
    if (power != 1) cuda_print (w->text, " * %d.0f", power);
    cuda_print (w->text, ");\n  }\n");
  }
  barrier (w);
}

/* Memory runs along the rows of the tile (the last but one dimension). */
static bool column_major (const generator *w, int i) {
  return w->block->op[i].kind == MUGRAPH_OP_TRANSPOSE && !w->d.stored[i] ? !column_major (w, w->block->op[i].in[0])
                                                                         : false;
}

/* Loads rows x columns of operand i from (row, column) on into the product's shared memory: value 0 outside, and
   from place n<k_limit> of the contracted dimension on (-1: no such limit), which either operand lacks. */
static void print_operand (generator *w, int i, int rows, int columns, const char *row, const char *column,
                           const char *put, int k_limit) {
  const int *dim = w->d.dim[i];
  bool swapped = column_major (w, i);
  bool is_a = !strcmp (put, "put_a");
  coordinates at = {{"b0", "b1", "c2", "c3"}};
  cuda_print (w->text, "for (int e = threadIdx.x; e < %d; e += %d) {\n", rows * columns, w->d.threads);
  if (swapped) cuda_print (w->text, "const int r = e %% %d, c = e / %d;\n", rows, rows);
  else cuda_print (w->text, "const int r = e / %d, c = e %% %d;\n", columns, columns);
  cuda_print (w->text, "const int c2 = %s + r, c3 = %s + c;\nfloat x = 0.0f;\nif (c2 < %d && c3 < %d", row, column,
              dim[2], dim[3]);
  if (k_limit >= 0) cuda_print (w->text, " && %s < n%d", is_a ? "c3" : "c2", k_limit);
  cuda_print (w->text, ") {\n");
  print_value (w, i, &at, false);
  cuda_print (w->text, "x = x%d;\n}\nproduct.%s (r, c, x);\n}\n", i, put);
}

/* min (tile size, valid - from): how many rows or columns of this piece there are; none where the matrix itself is
 * invalid. */
static void print_left (generator *w, int i, int d, const coordinates *at, int piece) {
  int n = valid_variable (w, i, d);
  bool masked = print_mask (w, w->text, i, at, 3);
  if (n >= 0)
    cuda_print (w->text, "%smin (%d, n%d - %s)%s", masked ? " ? " : "", piece, n, at->c[d], masked ? " : 0" : "");
  else
    cuda_print (w->text, "%smin (%d, %d - %s)%s", masked ? " ? " : "", piece, w->d.dim[i][d], at->c[d],
                masked ? " : 0" : "");
}

/* Address of an iterator's row and its pitch. */
static void print_rows (generator *w, int i, const coordinates *at) {
  int64_t stride[4];
  tensor_strides (&tensor_of (w, i)->shape, stride);
  cuda_print (w->text, "i%d + ", i);
  print_index (w->text, at, w->d.dim[i], stride);
  cuda_print (w->text, ", %lldLL, ", (long long) stride[2]);
}

static void print_streamed (generator *w, const mugraph_op *o, const cuda_generic_mma *x, int k, int k_limit) {
  coordinates a = {{"b0", "b1", "from_m", "0"}}, b = {{"b0", "b1", "0", "from_n"}};
  cuda_print (w->text, "ms_streamed_product<%s, %d, %d, %d, %d, %d> product (smem);\nproduct.run (",
              cuda_type (x->type), x->wm, x->wn, x->bm / x->wm / 16, x->bn / x->wn / 8, x->stages);
  print_rows (w, o->in[0], &a);
  print_left (w, o->in[0], 2, &a, x->bm);
  cuda_print (w->text, ", ");
  print_rows (w, o->in[1], &b);
  print_left (w, o->in[1], 3, &b, x->bn);
  if (k_limit >= 0) cuda_print (w->text, ", n%d);\n", k_limit);
  else cuda_print (w->text, ", %d);\n", k);
}

static void print_staged (generator *w, const mugraph_op *o, const cuda_generic_mma *x, int k, int k_limit) {
  cuda_print (w->text, "ms_product<%s, %d, %d, %d, %d, %s, %s> product (smem);\n", cuda_type (x->type), x->wm, x->wn,
              x->bm / x->wm / 16, x->bn / x->wn / 8, x->split_a ? "true" : "false", x->split_b ? "true" : "false");
  cuda_print (w->text, "for (int from_k = 0; from_k < %d; from_k += %d) {\n", k, x->bk);
  print_operand (w, o->in[0], x->bm, x->bk, "from_m", "from_k", "put_a", k_limit);
  print_operand (w, o->in[1], x->bk, x->bn, "from_k", "from_n", "put_b", k_limit);
  cuda_print (w->text, "__syncthreads ();\nproduct.step ();\n__syncthreads ();\n}\n");
}

static void step_matmul (generator *w, int i) {
  const mugraph_op *o = &w->block->op[i];
  int a = o->in[0], b = o->in[1], target = w->d.direct[i] >= 0 ? w->d.direct[i] : i, k = w->d.dim[a][3];
  cuda_generic_mma x = cuda_generic_matmul (w->e->g, w->k, &w->d, i);
  const int *dim = w->d.dim[i];
  int tiles_m = (dim[2] + x.bm - 1) / x.bm, tiles_n = (dim[3] + x.bn - 1) / x.bn, k_limit = valid_variable (w, a, 3);
  if (k_limit < 0) k_limit = valid_variable (w, b, 2);
  int64_t tiles = (int64_t) dim[0] * dim[1] * tiles_m * tiles_n;
  cuda_print_comment (w->text, w->e->g, w->kernel, i);
  if (target != i) cuda_print_comment (w->text, w->e->g, w->kernel, target);
  cuda_print (w->text, "  for (int tile = 0; tile < %lld; tile++) {\n", (long long) tiles);
  const struct {
    const char *name;
    int64_t below, size;
    int step;
  } places[] = {{"from_n", 1, tiles_n, x.bn},
                {"from_m", tiles_n, tiles_m, x.bm},
                {"b1", tiles_n * tiles_m, dim[1], 1},
                {"b0", tiles_n * tiles_m * dim[1], dim[0] > 1 ? 0 : 1, 1}};
  for (int d = 0; d < 4; d++) {
    cuda_print (w->text, "const int %s = ", places[d].name);
    cuda_print_coordinate (w->text, "tile", places[d].below, places[d].size);
    if (places[d].size != 1) cuda_print_factor (w->text, places[d].step);
    cuda_print (w->text, ";\n");
  }
  if (x.stages > 1) print_streamed (w, o, &x, k, k_limit);
  else print_staged (w, o, &x, k, k_limit);
  coordinates at = {{"b0", "b1", "(from_m + r)", "(from_n + c)"}};
  cuda_print (w->text, "product.each ([&] (int r, int c, float x) {\nif (from_m + r < %d && from_n + c < %d", dim[2],
              dim[3]);
  if (target != i) {
    cuda_print (w->text, " && ");
    if (!print_mask (w, w->text, i, &at, 15)) cuda_print (w->text, "true");
  }
  cuda_print (w->text, ") t%d[", target);
  print_dense (w->text, &at, dim);
  cuda_print (w->text, "] %s x;\n});\n  }\n", target == i ? "=" : "+=");
  barrier (w);
}

/* Factors that bring the values of an input to the largest maximum of its row. */
static void step_factors (generator *w, int i) {
  const cuda_tensor *t = tensor_of (w, i);
  int rows[4] = {w->d.dim[i][0], w->d.dim[i][1], w->d.dim[i][2], 1};
  int64_t stride[4];
  coordinates at;
  cuda_text mask = {0};
  tensor_strides (&t->shape, stride);
  int64_t width = t->shape.dim[t->shape.n_dims - 1];
  begin_elements (w, rows, &at);
  if (print_mask (w, &mask, i, &at, 7)) cuda_print (w->text, "if (!%s) continue;\n", mask.data ? mask.data : "(1)");
  if (mask.failed) w->text->failed = true;
  cuda_text_free (&mask);
  cuda_print (w->text, "const float *maxima = in%d_max + (0LL", w->block->op[i].in[0]);
  for (int d = 0; d < 3; d++) {
    char first[NAME];
    first_of (w, i, d, first);
    if (*first || rows[d] > 1)
      cuda_print (w->text, " + (long long) (%s%s%s) * %lld", first, *first ? " + " : "", rows[d] > 1 ? at.c[d] : "0",
                  (long long) (stride[d] / width));
  }
  cuda_print (w->text, ") * %d;\nfloat top = -MS_INF;\nfor (int s = 0; s < %d; s++) top = fmaxf (top, maxima[s]);\n",
              t->splits, t->splits);
  cuda_print (w->text,
              "for (int s = 0; s < %d; s++) s%d[(int) e * %d + s] = top == -MS_INF ? 0.0f : ms_exp (%d.0f * (maxima[s] "
              "- top));\n  }\n",
              t->splits, i, t->splits, t->degree);
  barrier (w);
}

static int saver_index (const generator *w, int i) {
  int n = 0;
  for (int j = 0; j < i; j++) n += w->block->op[j].kind == MUGRAPH_OP_OUTPUT;
  return n;
}

/* Data index of the tile's first element along dimension d of a saver, as an expression. */
static void saved_first (const generator *w, int i, int d, char out[NAME]) {
  const mugraph_op *o = &w->block->op[i];
  out[0] = 0;
  for (int g = 0; g < 3; g++)
    if (w->block->grid[g] > 1 && cuda_generic_dim (w->block, i, o->map[g]) == d)
      snprintf (out, NAME, w->d.dim[i][d] > 1 ? "%s * %d" : "%s", axis_name (g), w->d.dim[i][d]);
}

static void print_saved_index (generator *w, int i, const coordinates *at, const int64_t stride[4], int dims) {
  bool any = false;
  for (int d = 0; d < dims; d++) {
    char first[NAME];
    const char *within = w->d.dim[i][d] > 1 ? at->c[d] : "";
    saved_first (w, i, d, first);
    if (!*first && !*within) continue;
    cuda_print (w->text, "%s(long long) (%s%s%s)", any ? " + " : "", first, *first && *within ? " + " : "", within);
    cuda_print_factor (w->text, stride[d]);
    any = true;
  }
  if (!any) cuda_print (w->text, "0");
}

static void step_save (generator *w, int i) {
  int from = w->block->op[i].in[0], n = saver_index (w, i);
  const cuda_tensor *t = &w->e->tensor[w->kernel->out[n]];
  int64_t stride[4];
  coordinates at;
  cuda_text mask = {0};
  tensor_strides (&t->shape, stride);
  cuda_print_comment (w->text, w->e->g, w->kernel, i);
  begin_elements (w, w->d.dim[i], &at);
  if (print_mask (w, &mask, i, &at, 15)) cuda_print (w->text, "if (!%s) continue;\n", mask.data ? mask.data : "(1)");
  cuda_text_free (&mask);
  print_value (w, from, &at, false);
  cuda_print (w->text, "ms_store (out%d + (", n);
  print_saved_index (w, i, &at, stride, 4);
  cuda_print (w->text, "), x%d);\n  }\n", from);
  if (t->max_buffer < 0) return;
  /* the maxima of this block's rows: [rows, splits], the split being the axis that is concatenated along the last
   * dimension */
  int rows[4] = {w->d.dim[i][0], w->d.dim[i][1], w->d.dim[i][2], 1}, axis = -1, last = t->shape.n_dims - 1;
  int64_t width = t->shape.dim[last], row_stride[4];
  for (int g = 2; g >= 0; g--)
    if (w->block->grid[g] > 1 && w->block->op[i].map[g] == last) axis = g;
  for (int d = 0; d < 4; d++) row_stride[d] = stride[d] / width * t->splits;
  begin_elements (w, rows, &at);
  if (print_mask (w, &mask, i, &at, 7)) cuda_print (w->text, "if (!%s) continue;\n", mask.data ? mask.data : "(1)");
  if (mask.failed) w->text->failed = true;
  cuda_text_free (&mask);
  cuda_print (w->text, "out%d_max[", n);
  print_saved_index (w, i, &at, row_stride, 3);
  if (t->splits > 1) cuda_print (w->text, " + %s", axis_name (axis));
  cuda_print (w->text, "] = ");
  if (w->d.running_max) {
    cuda_print (w->text, "row_max[");
    print_row (w->text, &at, w->d.max_dim);
    cuda_print (w->text, "];\n  }\n");
  } else cuda_print (w->text, "0.0f;\n  }\n");
}

static void step (generator *w, int i) {
  const mugraph_op *o = &w->block->op[i];
  if (o->kind == MUGRAPH_OP_EXP && w->d.stable.block_exp[w->kernel->block][i]) step_maximum (w, i);
  switch (class_of (o)) {
  case MUGRAPH_LEAF:
    if (w->d.table[i]) step_factors (w, i);
    break;
  case MUGRAPH_SAVER: step_save (w, i); return;
  case MUGRAPH_CUSTOM: return;
  case MUGRAPH_MATMUL: step_matmul (w, i); return;
  case MUGRAPH_ACCUM: step_accumulate (w, i); return;
  case MUGRAPH_REDUCE:
    if (o->kind != MUGRAPH_OP_RMS_NORM) {
      step_sum (w, i);
      return;
    }
    step_norm (w, i);
    break;
  case MUGRAPH_UNARY:
  case MUGRAPH_BINARY:
  case MUGRAPH_LAYOUT: break;
  }
  if (w->d.stored[i]) step_store (w, i);
}

static void steps (generator *w, mugraph_phase phase) {
  for (int i = 0; i < w->d.n; i++)
    if (w->d.phase[i] == phase) step (w, i);
}

/* ---- the kernel ---- */

static void print_places (generator *w) {
  for (int i = 0; i < w->d.n; i++) {
    if (!w->d.bytes[i]) continue;
    const char *type =
        w->block->op[i].kind == MUGRAPH_OP_INPUT && w->d.stored[i] ? cuda_type (tensor_of (w, i)->dtype) : "float";
    const char *memory = w->d.home[i] == CUDA_HOME_SHARED ? "smem" : "work";
    int64_t tile = w->d.stored[i] ? 4 * volume (w->d.dim[i]) : 0;
    if (w->d.stored[i])
      cuda_print (w->text, "  %s *t%d = (%s *) (%s + %lld);\n", type, i, type, memory, (long long) w->d.offset[i]);
    if (w->d.table[i])
      cuda_print (w->text, "  float *s%d = (float *) (%s + %lld);\n", i, memory, (long long) (w->d.offset[i] + tile));
  }
  if (!w->d.running_max) return;
  cuda_print (w->text, "  float *row_max = (float *) (smem + %lld), *row_move = (float *) (smem + %lld);\n",
              (long long) w->d.max_offset, (long long) w->d.move_offset);
}

static void print_start_values (generator *w) {
  if (w->d.running_max)
    cuda_print (w->text, "  for (int e = threadIdx.x; e < %d; e += %d) row_max[e] = -MS_INF;\n",
                w->d.max_dim[0] * w->d.max_dim[1] * w->d.max_dim[2], w->d.threads);
  for (int i = 0; i < w->d.n; i++) {
    const mugraph_op *o = &w->block->op[i];
    if (class_of (o) != MUGRAPH_ACCUM) continue;
    int64_t n = volume (w->d.dim[i]);
    cuda_print (w->text, "  for (%s e = threadIdx.x; e < %lld; e += %d) t%d[e] = 0.0f;\n", index_type (n),
                (long long) n, w->d.threads, i);
    if (counts (o)) cuda_print (w->text, "  long long count%d = 0;\n", i);
  }
  barrier (w);
}

static void finish_accumulators (generator *w) {
  for (int i = 0; i < w->d.n; i++) {
    const mugraph_op *o = &w->block->op[i];
    if (!counts (o)) continue;
    int64_t n = volume (w->d.dim[i]);
    cuda_print (w->text, "  for (%s e = threadIdx.x; e < %lld; e += %d) t%d[e] = ", index_type (n), (long long) n,
                w->d.threads, i);
    if (o->kind == MUGRAPH_OP_ACCUM_RMS) {
      cuda_print (w->text, "sqrtf (t%d[e] / (float) max (count%d, 1LL) + ", i, i);
      cuda_print_number (w->text, o->c[0]);
      cuda_print (w->text, ");\n");
    } else cuda_print (w->text, "t%d[e] / (float) max (count%d, 1LL);\n", i, i);
    barrier (w);
  }
}

/* Asks for every mask once, so that all variables are known before the first line that needs them. */
static void collect_ragged (generator *w) {
  for (int i = 0; i < w->d.n; i++)
    for (int d = 0; d < 4; d++) valid_variable (w, i, d);
}

static void print_kernel (generator *w, int64_t blocks, int64_t launched) {
  const int32_t *grid = w->block->grid;
  cuda_print (
      w->text,
      "  extern __shared__ __align__ (128) unsigned char smem[];\n  ms_wait_inputs ();\n  ms_launch_dependents ();\n");
  if (launched < blocks)
    cuda_print (w->text, "  for (int block = blockIdx.x; block < %lld; block += gridDim.x) {\n", (long long) blocks);
  else cuda_print (w->text, "  const int block = blockIdx.x;\n");
  cuda_print (
      w->text,
      "  const int bx = block %% %d, by = block / %d %% %d, bz = block / %lld;\n  (void) bx, (void) by, (void) bz;\n",
      grid[0], grid[0], grid[1], (long long) grid[0] * grid[1]);
  if (w->d.workspace)
    cuda_print (w->text, "  unsigned char *work = workspace + (long long) blockIdx.x * %lldLL;\n",
                (long long) w->d.workspace);
  print_places (w);
  print_valid (w, false);
  print_iterators (w, false);
  print_start_values (w);
  steps (w, MUGRAPH_BEFORE_LOOP);
  if (w->block->loop > 1) cuda_print (w->text, "  for (int l = 0; l < %d; l++) {\n", w->block->loop);
  if (w->block->loop > 1) print_valid (w, true);
  print_iterators (w, true);
  steps (w, MUGRAPH_IN_LOOP);
  if (w->block->loop > 1) cuda_print (w->text, "  }\n");
  finish_accumulators (w);
  steps (w, MUGRAPH_AFTER_LOOP);
  if (launched < blocks) cuda_print (w->text, "  __syncthreads ();\n  }\n");
  cuda_print (w->text, "}\n");
}

void cuda_emit_generic (cuda_emitter *e, int k, const cuda_plan *plan) {
  generator w = {.e = e, .text = &e->body, .k = k, .kernel = &e->g->op[k], .block = &e->g->block[e->g->op[k].block]};
  cuda_plan_found (plan, &w.d, sizeof w.d);
  int64_t launched = plan->blocks;
  if (w.d.workspace && launched > 2 * e->device->sms) launched = 2 * e->device->sms;
  int l = cuda_add_launch (e, launched, w.d.threads, w.d.smem, "k%d_generic", k);
  for (int i = 0; i < w.kernel->n_in; i++) cuda_add_tensor (e, l, w.kernel->in[i], false, "in%d", i);
  for (int i = 0; i < w.kernel->n_out; i++) cuda_add_tensor (e, l, w.kernel->out[i], true, "out%d", i);
  if (w.d.workspace) {
    char name[32];
    snprintf (name, sizeof name, "workspace%d", k);
    cuda_add_pointer (e, l, cuda_add_buffer (e, CUDA_BUFFER_TEMP, -1, launched * w.d.workspace, name),
                      "unsigned char *workspace");
  }
  cuda_use_templates (e, "mma.cuh", "async.cuh", "generic.cuh");
  collect_ragged (&w);
  cuda_open_kernel (e, l);
  print_kernel (&w, plan->blocks, launched);
}
