/* Kernels of the chain generator: cuda_templates/chain/plan_chain.h says what they compute, chain.cuh how. Printed
   here: the parts that depend on the graph (struct k<i>_parts), the wgmma shapes in use, and a kernel that finds the
   block's operands. */
#include "cuda_templates/emit/kernel.h"
#include "cuda_templates/emit/launches.h"
#include "cuda_templates/generator.h"
#include "plan_chain.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct {
  cuda_emitter *e;
  const mugraph_block *b;
  const mugraph_op *kernel;
  const bool *stable;
  cuda_chain c;
  int k;
} printer;

#define P(...) cuda_print (&p->e->body, __VA_ARGS__)

static const double LOG2E = 1.4426950408889634;

static const cuda_tensor *data_of (const printer *p, int i) { return &p->e->tensor[p->kernel->in[p->b->op[i].in[0]]]; }
static bool is_stable_exp (const printer *p, int i) { return p->b->op[i].kind == MUGRAPH_OP_EXP && p->stable[i]; }
static int fixed_values (const printer *p) { return (p->c.n_factors > 0) + p->c.n_fixed; }
static int fixed_at (const printer *p, int i) {
  for (int k = 0; k < p->c.n_fixed; k++)
    if (p->c.fixed[k] == i) return (p->c.n_factors > 0) + k;
  return -1;
}
static void print_number (printer *p, double x) { cuda_print_number (&p->e->body, x); }

/* Iterators that row values or what follows the loop read: the context holds where the block's part of each begins. */
static void mark (const printer *p, int i, uint64_t *seen) {
  const mugraph_op *o = &p->b->op[i];
  if (*seen >> i & 1 || i == p->c.result || i == p->c.first) return;
  *seen |= (uint64_t) 1 << i;
  if (o->kind == MUGRAPH_OP_INPUT) return;
  for (int k = 0; k < p->c.n_sums; k++)
    if (p->c.sum[k] == i) return;
  for (int k = 0; k < o->n_in; k++) mark (p, o->in[k], seen);
}
static uint64_t row_values (const printer *p) {
  uint64_t seen = 0;
  for (int k = 0; k < p->c.n_fixed; k++) mark (p, p->c.fixed[k], &seen);
  for (int k = 0; k < p->c.n_factors; k++)
    if (p->b->op[p->c.factor[k]].kind != MUGRAPH_OP_RMS_NORM) mark (p, cuda_chain_factor (p->b, p->c.factor[k]), &seen);
  return seen;
}
static uint64_t context_iterators (const printer *p) {
  uint64_t seen = row_values (p), inputs = 0;
  for (int i = 0; i < p->b->n_ops; i++)
    if (p->b->op[i].kind == MUGRAPH_OP_OUTPUT) mark (p, p->b->op[i].in[0], &seen);
  for (int i = 0; i < p->b->n_ops; i++)
    if (seen >> i & 1 && p->b->op[i].kind == MUGRAPH_OP_INPUT && i != p->c.a) inputs |= (uint64_t) 1 << i;
  return inputs;
}

/* ---- elementwise parts ---- */

typedef struct {
  const printer *p;
  enum { OF_A, OF_B1, OF_B2, OF_ROW, OF_SCORE, OF_RESULT } where;
} place;

/* Values that exist already at a place. */
static bool is_there (void *user, int i, cuda_text *t) {
  const place *w = user;
  const printer *p = w->p;
  const cuda_chain *c = &p->c;
  const mugraph_op *o = &p->b->op[i];
  const mugraph_shape *s = o->kind == MUGRAPH_OP_INPUT ? &data_of (p, i)->shape : NULL;
  switch (w->where) {
  case OF_A:
    if (i == c->a) return cuda_print (t, "x"), true;
    return false;
  case OF_B1:
    if (i == c->b1_leaf) return cuda_print (t, "x"), true;
    if (i == c->b1_norm) return cuda_print (t, "x * factor"), true;
    return false;
  case OF_B2:
    if (i == c->b2_leaf) return cuda_print (t, "x"), true;
    if (i == c->b2_norm) return cuda_print (t, "x * factor"), true;
    return false;
  case OF_ROW:
    if (o->kind == MUGRAPH_OP_SUM || o->kind == MUGRAPH_OP_MEAN) return cuda_print (t, "r%d[h]", i), true;
    if (s) {
      if (mugraph_rows (&o->shape) == 1) cuda_print (t, "ms_load (c.in%d)", i);
      else
        cuda_print (t, "row + 8 * h < rows ? ms_load (c.in%d + (row + 8 * h) * %lldLL) : 0.0f", i,
                    (long long) cuda_stride (s, s->n_dims - 2));
      return true;
    }
    return false;
  case OF_SCORE:
    if (i == c->first) return cuda_print (t, c->n_factors ? "s * fix[0]" : "s"), true;
    if (is_stable_exp (p, i)) return cuda_print (t, "e"), true;
    if (fixed_at (p, i) >= 0) return cuda_print (t, "fix[%d]", fixed_at (p, i)), true;
    return false;
  case OF_RESULT:
    if (i == c->result) return cuda_print (t, "o"), true;
    for (int k = 0; k < c->n_sums; k++)
      if (c->sum[k] == i) {
        bool mean = o->kind == MUGRAPH_OP_ACCUM_MEAN || o->kind == MUGRAPH_OP_MEAN;
        if (o->kind == MUGRAPH_OP_ACCUM_RMS) {
          cuda_print (t, "sqrtf (sum[%d] / (float) c.length + ", k);
          cuda_print_number (t, o->c[0]);
          cuda_print (t, ")");
        } else cuda_print (t, mean ? "sum[%d] / (float) c.length" : "sum[%d]", k);
        return true;
      }
    if (s) {
      cuda_print (t, "ms_load (c.in%d", i);
      if (mugraph_rows (&o->shape) > 1) cuda_print (t, " + row * %lldLL", (long long) cuda_stride (s, s->n_dims - 2));
      cuda_print (t, mugraph_cols (&o->shape) > 1 ? " + column)" : ")");
      return true;
    }
    return false;
  }
  return false;
}

static void walk (printer *p, int where, int i, uint64_t *done) {
  place w = {p, where};
  cuda_walk walker = {.g = p->e->g, .kernel = p->kernel, .prefix = "v", .materialised = is_there, .user = &w};
  cuda_print_walk (&p->e->body, &walker, i, done);
}

/* Sums along the rows of A, changes of A's elements, values of the rows. */
static void print_fixed (printer *p) {
  const cuda_chain *c = &p->c;
  const mugraph_block *b = p->b;
  uint64_t seen = row_values (p);
  P ("  template <int N> MS_DEVICE static void fixed (float (&fix)[2][%d], unsigned (&a)[N][4], int row, int rows, "
     "const context &c) {\n",
     fixed_values (p) ? fixed_values (p) : 1);
  P ("    (void) fix, (void) a, (void) row, (void) rows, (void) c;\n");
  const char *each =
      "#pragma unroll\n    for (int k = 0; k < N; k++)\n#pragma unroll\n      for (int e = 0; e < 4; e++) {\n"
      "        const int column = k * 16 + (e >> 1) * 8 + 2 * (threadIdx.x & 3);\n";
  for (int i = 0; i < b->n_ops; i++) {
    const mugraph_op *o = &b->op[i];
    if (!(seen >> i & 1) || (o->kind != MUGRAPH_OP_SUM && o->kind != MUGRAPH_OP_MEAN)) continue;
    uint64_t done = 0;
    P ("    float r%d[2] = {};\n%s        auto value = [&] (float x) {\n", i, each);
    walk (p, OF_A, o->in[0], &done);
    P ("          return v%d;\n        };\n", o->in[0]);
    P ("        if (column < DEPTH) r%d[e & 1] += value (ms_low<type> (a[k][e]));\n", i);
    P ("        if (column + 1 < DEPTH) r%d[e & 1] += value (ms_high<type> (a[k][e]));\n      }\n", i);
    for (int h = 0; h < 2; h++)
      P ("    r%d[%d] = ms_quad_sum (r%d[%d])%s;\n", i, h, i, h, o->kind == MUGRAPH_OP_MEAN ? " / DEPTH" : "");
  }
  if (c->a_map != c->a) {
    uint64_t done = 0;
    P ("%s        auto value = [&] (float x) {\n", each);
    walk (p, OF_A, c->a_map, &done);
    P ("          return v%d;\n        };\n", c->a_map);
    P ("        const float low = column < DEPTH ? value (ms_low<type> (a[k][e])) : 0.0f, high = column + 1 < DEPTH ? "
       "value "
       "(ms_high<type> (a[k][e])) : 0.0f;\n");
    P ("        a[k][e] = ms_pack<type> (low, high);\n      }\n");
  }
  bool norm = false;
  for (int k = 0; k < c->n_factors; k++) norm |= b->op[c->factor[k]].kind == MUGRAPH_OP_RMS_NORM;
  if (norm) P ("    float squares[2];\n    chain_squares<type> (a, squares);\n");
  if (fixed_values (p)) {
    uint64_t done = 0;
    P ("#pragma unroll\n    for (int h = 0; h < 2; h++) {\n");
    for (int k = 0; k < c->n_fixed; k++) {
      walk (p, OF_ROW, c->fixed[k], &done);
      P ("      fix[h][%d] = v%d;\n", fixed_at (p, c->fixed[k]), c->fixed[k]);
    }
    for (int k = 0; k < c->n_factors; k++)
      if (b->op[c->factor[k]].kind != MUGRAPH_OP_RMS_NORM) walk (p, OF_ROW, cuda_chain_factor (b, c->factor[k]), &done);
    if (c->n_factors) {
      P ("      fix[h][0] = ");
      print_number (p, c->plain ? LOG2E * c->slope : 1.0);
      for (int k = 0; k < c->n_factors; k++) {
        const mugraph_op *o = &b->op[c->factor[k]];
        if (o->kind == MUGRAPH_OP_RMS_NORM) {
          P (" * rsqrtf (squares[h] / DEPTH + ");
          print_number (p, o->c[0]);
          P (")");
        } else P (o->kind == MUGRAPH_OP_DIV ? " / v%d" : " * v%d", cuda_chain_factor (b, c->factor[k]));
      }
      P (";\n");
    }
    P ("    }\n");
  }
  P ("  }\n");
}

static void print_scores (printer *p) {
  const cuda_chain *c = &p->c;
  const mugraph_block *b = p->b;
  int fixed = fixed_values (p) ? fixed_values (p) : 1, sums = c->n_sums ? c->n_sums : 1;
  P ("  MS_DEVICE static float exponent (float s, const float (&fix)[%d]) {\n    (void) fix;\n", fixed);
  if (c->plain) {
    P ("    return s * ");
    if (c->n_factors) P ("fix[0]");
    else print_number (p, LOG2E * c->slope);
    P (";\n");
  } else if (c->exponential >= 0) {
    uint64_t done = 0;
    walk (p, OF_SCORE, b->op[c->exponential].in[0], &done);
    P ("    return v%d * 1.44269504f;\n", b->op[c->exponential].in[0]);
  } else P ("    return s;\n");
  P ("  }\n  MS_DEVICE static float element (float s, float e, const float (&fix)[%d], float (&x)[%d]) {\n    (void) "
     "s, (void) e, (void) fix, (void) x;\n",
     fixed, sums);
  uint64_t done = 0;
  for (int k = 0; k < c->n_sums; k++) {
    walk (p, OF_SCORE, c->addend[k], &done);
    P (b->op[c->sum[k]].kind == MUGRAPH_OP_ACCUM_RMS ? "    x[%d] += v%d * v%d;\n" : "    x[%d] += v%d;\n", k,
       c->addend[k], c->addend[k]);
  }
  walk (p, OF_SCORE, c->operand, &done);
  P ("    return v%d;\n  }\n", c->operand);
  P ("  MS_DEVICE static float degree (int k, float f) {\n    (void) k;\n    return ");
  for (int k = 0; k < c->n_sums; k++) P ("k == %d ? chain_power<%d> (f) : ", k, c->sum_degree[k]);
  P ("f;\n  }\n");
}

static void print_maps (printer *p) {
  const cuda_chain *c = &p->c;
  const struct { int where, top, norm; } operand[] = {{OF_B1, c->b1_top, c->b1_norm}, {OF_B2, c->b2_top, c->b2_norm}};
  for (int k = 0; k < 2; k++) {
    uint64_t done = 0;
    P ("  MS_DEVICE static float b%d_factor (float mean) { return rsqrtf (mean + ", k + 1);
    print_number (p, operand[k].norm >= 0 ? p->b->op[operand[k].norm].c[0] : 0.0);
    P ("); }\n  MS_DEVICE static float b%d (float x, float factor) {\n    (void) factor;\n", k + 1);
    walk (p, operand[k].where, operand[k].top, &done);
    P ("    return v%d;\n  }\n", operand[k].top);
  }
}

static bool is_column (const printer *p, int saver) {
  return mugraph_cols (&p->b->op[saver].shape) == 1 && p->c.dv > 1;
}

/* What follows the loop, for two columns of one row. */
static void print_finish (printer *p) {
  const cuda_chain *c = &p->c;
  P ("  MS_DEVICE static void finish (const context &c, int row, int column, float o0, float o1, const float "
     "(&sum)[%d]) {\n    (void) o0, (void) o1, (void) sum;\n",
     c->n_sums ? c->n_sums : 1);
  for (int i = 0, saver = 0; i < p->b->n_ops; i++) {
    const mugraph_op *op = &p->b->op[i];
    if (op->kind != MUGRAPH_OP_OUTPUT) continue;
    const cuda_tensor *out = &p->e->tensor[p->kernel->out[saver]];
    int last = out->shape.n_dims - 1;
    long long row = cuda_stride (&out->shape, last - 1);
    bool split = false; /* columns may begin anywhere */
    for (int g = 0; g < 3; g++) split |= op->map[g] == last && p->b->grid[g] > 1 && op->shape.dim[last] % 2;
    uint64_t done = 0;
    P ("    {\n      auto value = [&] (int column, float o) {\n        (void) column, (void) o;\n");
    walk (p, OF_RESULT, op->in[0], &done);
    P ("        return v%d;\n      };\n      %s *to = c.out%d + row * %lldLL;\n", op->in[0], cuda_type (out->dtype),
       saver, row);
    if (is_column (p, i)) P ("      if (column == 0) ms_store (to, value (0, o0));\n    }\n");
    else if (row % 2 || split || c->dv % 2)
      P ("      if (column < c.columns) ms_store (to + column, value (column, o0));\n"
         "      if (column + 1 < c.columns) ms_store (to + column + 1, value (column + 1, o1));\n    }\n");
    else if (out->dtype == MUGRAPH_F32)
      P ("      if (column < c.columns) *(float2 *) (to + column) = make_float2 (value (column, o0), value (column + "
         "1, o1));\n    }\n");
    else
      P ("      if (column < c.columns) *(unsigned *) (to + column) = ms_pack<%s> (value (column, o0), value (column + "
         "1, o1));\n    }\n",
         cuda_type (out->dtype));
    saver++;
  }
  P ("  }\n");
}

static void print_parts (printer *p) {
  const cuda_chain *c = &p->c;
  const mugraph_block *b = p->b;
  uint64_t inputs = context_iterators (p);
  bool ragged = c->n % c->nt || (c->n_axis >= 0 && c->n_full % c->n);
  P ("\n// %d rows, %d deep, over %d columns; %d columns of the result\n", c->rows, c->d, c->n, c->dv);
  for (int i = 0; i < b->n_ops; i++) cuda_print_comment (&p->e->body, p->e->g, p->kernel, i);
  P ("struct k%d_parts {\n  typedef %s type;\n  struct context {\n    int length, columns;\n", p->k,
     cuda_type (c->dtype));
  for (int i = 0; i < b->n_ops; i++)
    if (inputs >> i & 1) P ("    const %s *in%d;\n", cuda_type (data_of (p, i)->dtype), i);
  for (int k = 0; k < p->kernel->n_out; k++)
    P ("    %s *out%d;\n", cuda_type (p->e->tensor[p->kernel->out[k]].dtype), k);
  P ("  };\n  static constexpr int DEPTH = %d, WIDTH = %d, LOOP = %d, TILE = %d, STAGES = %d;\n  static constexpr int "
     "ROW_GROUPS "
     "= %d, LOOP_GROUPS = %d, BLOCKS = %d, HELPER = %d;\n",
     c->d, c->dv, c->n, c->nt, c->stages, c->wm, c->wn, c->split, c->helper);
  P ("  static constexpr int STATS = %d, FIXED = %d, DEGREE = %d;\n", c->n_sums, fixed_values (p),
     c->exponential >= 0 ? c->degree : 0);
  P ("  static constexpr bool RAGGED = %d, STABLE = %d, PLAIN = %d, A_MAP = %d, B1_MAP = %d, B2_MAP = %d, B2_NORM = "
     "%d, B2_SCALE = %d;\n",
     ragged, c->exponential >= 0, c->plain, c->a_map != c->a, c->b1_top != c->b1_leaf, c->b2_top != c->b2_leaf,
     c->b2_norm >= 0, c->b2_scale);
  P ("  static constexpr bool B1_TURNED = %d, B2_TURNED = %d, B1_NORM = %d, B1_SCALE = %d;\n", c->b1_turned,
     c->b2_turned, c->b1_norm >= 0, c->b1_scale);
  if (!c->wgmma) {
    const mugraph_shape *b1 = &data_of (p, c->b1)->shape, *b2 = &data_of (p, c->b2)->shape;
    P ("  static constexpr bool ALIGNED = %d;\n  static constexpr long long B1_PITCH = %d, B2_PITCH = %d;\n",
       c->aligned, mugraph_cols (b1), mugraph_cols (b2));
  }
  print_fixed (p);
  print_scores (p);
  print_maps (p);
  print_finish (p);
  P ("};\n");
}

/* ---- the kernel ---- */

static void print_limit (printer *p, const char *name, int axis, int32_t part, int32_t full) {
  if (axis < 0 || full % part == 0) P ("  const int %s = %d;\n", name, part);
  else P ("  const int %s = max (0, min (%d, %d - (int) b%c * %d));\n", name, part, full, "xyz"[axis], part);
}

static cuda_arg map_over (const cuda_tensor *t, uint32_t box_rows) {
  const mugraph_shape *s = &t->shape;
  uint64_t cols = (uint64_t) mugraph_cols (s), rows = (uint64_t) mugraph_rows (s);
  return (cuda_arg){.kind = CUDA_ARG_TENSOR_MAP,
                    .buffer = t->buffer,
                    .dtype = t->dtype,
                    .rank = 3,
                    .dim = {cols, rows, (uint64_t) mugraph_volume (s) / cols / rows},
                    .stride = {0, cols * 2, cols * rows * 2},
                    .box = {64, box_rows, 1},
                    .swizzle = 128};
}

static void print_kernel (printer *p, int launch) {
  const cuda_chain *c = &p->c;
  const mugraph_block *b = p->b;
  const int32_t *grid = b->grid;
  const mugraph_op *a = &b->op[c->a], *b1 = &b->op[c->b1], *b2 = &b->op[c->b2];
  const mugraph_shape *sa = &data_of (p, c->a)->shape, *s1 = &data_of (p, c->b1)->shape,
                      *s2 = &data_of (p, c->b2)->shape;
  int la = sa->n_dims, l1 = s1->n_dims, l2 = s2->n_dims;
  int n1 = l1 - 1 - c->b1_turned, v2 = l2 - 1 - c->b2_turned; /* dimensions of the loop in B1, of the columns in B2 */
  bool waits = false;                                         /* whether an earlier launch computes an input */
  for (int i = 0; i < p->kernel->n_in; i++) waits |= p->kernel->in[i] >= p->e->g->n_inputs;
  cuda_open_kernel (p->e, launch);
  if (c->wgmma) cuda_open_sm90a (p->e);
  P ("  extern __shared__ __align__ (1024) unsigned char smem[];\n");
  if (c->wgmma)
    P ("  static_assert (chain_shape<k%d_parts>::bytes == %lld, \"the layout of shared memory that was planned\");\n",
       p->k, (long long) c->smem);
  P ("  const unsigned block = ");
  cuda_print_coordinate (&p->e->body, "blockIdx.x", c->split, 0);
  P (";\n  (void) block;\n");
  long long before = 1; /* blocks that read the same B1 and B2 are neighbours */
  for (int apart = 0; apart < 2; apart++)
    for (int g = 0; g < 3; g++) {
      if (grid[g] == 1 || (b1->map[g] >= 0 || b2->map[g] >= 0) != apart) continue;
      P ("  const unsigned b%c = ", "xyz"[g]);
      cuda_print_coordinate (&p->e->body, "block", before, grid[g]);
      P (";\n");
      before *= grid[g];
    }
  const mugraph_split *rows = &a->split[la - 2], *columns = &b2->split[v2];
  print_limit (p, "rows", rows->full ? rows->axis : -1, c->rows, sa->dim[la - 2]);
  print_limit (p, "columns", columns->full ? columns->axis : -1, c->dv, s2->dim[v2]);
  print_limit (p, "length", c->n_axis, c->n, c->n_full);
  P ("  const k%d_parts::context c = {length, columns", p->k);
  uint64_t inputs = context_iterators (p);
  for (int i = 0; i < b->n_ops; i++)
    if (inputs >> i & 1) {
      P (", in%d", b->op[i].in[0]);
      cuda_print_begin (&p->e->body, p->b, &b->op[i], &data_of (p, i)->shape, 0, MUGRAPH_DIMS, 1);
    }
  for (int i = 0, saver = 0; i < b->n_ops; i++)
    if (b->op[i].kind == MUGRAPH_OP_OUTPUT) {
      P (", out%d", saver);
      cuda_print_begin (&p->e->body, p->b, &b->op[i], &p->e->tensor[p->kernel->out[saver]].shape, 0, MUGRAPH_DIMS, 1);
      saver++;
    }
  P ("};\n");
  if (waits) P ("  ms_wait_inputs ();\n");
  P ("  chain_%s<k%d_parts> (smem, in%d", c->wgmma ? "wgmma" : "mma", p->k, a->in[0]);
  cuda_print_begin (&p->e->body, p->b, a, sa, 0, MUGRAPH_DIMS, 1);
  P (", rows, ");
  if (c->wgmma) {
    P ("&map1, ");
    cuda_print_origin (&p->e->body, p->b, b1, s1, 0, l1 - 2, cuda_stride (s1, l1 - 3 < 0 ? 0 : l1 - 3));
    P (", &map2, ");
    cuda_print_origin (&p->e->body, p->b, b2, s2, 0, l2 - 2, cuda_stride (s2, l2 - 3 < 0 ? 0 : l2 - 3));
    P (", ");
    cuda_print_origin (&p->e->body, p->b, b2, s2, v2, v2 + 1, cuda_stride (s2, v2));
    P (", ");
    cuda_print_origin (&p->e->body, p->b, b1, s1, n1, n1 + 1, cuda_stride (s1, n1));
    P (", length, ");
    cuda_print_coordinate (&p->e->body, "blockIdx.x", 1, c->split);
    P (", c);\n");
    cuda_close_sm90a (p->e);
  } else {
    P ("in%d", b1->in[0]);
    cuda_print_begin (&p->e->body, p->b, b1, s1, 0, MUGRAPH_DIMS, 1);
    P (", in%d", b2->in[0]);
    cuda_print_begin (&p->e->body, p->b, b2, s2, 0, MUGRAPH_DIMS, 1);
    P (", length, c);\n");
  }
  P ("}\n");
}

void cuda_emit_chain (cuda_emitter *e, int k, const cuda_plan *plan) {
  const mugraph_op *kernel = &e->g->op[k];
  printer printing = {.e = e,
                      .b = &e->g->block[kernel->block],
                      .kernel = kernel,
                      .stable = e->stable->block_exp[kernel->block],
                      .k = k},
          *p = &printing;
  cuda_plan_found (plan, &p->c, sizeof p->c);
  const cuda_chain *c = &p->c;
  cuda_use_templates (e, "load.cuh", "mma.cuh", "async.cuh", "cluster.cuh", "tile.cuh", "wgmma.cuh", "chain.cuh");
  if (c->wgmma) {
    cuda_print_wgmma (&e->body, c->dtype, c->nt);
    cuda_print_wgmma (&e->body, c->dtype, mugraph_ceil_div (c->dv, 8) * 8);
  }
  print_parts (p);
  int launch = cuda_add_launch (e, plan->blocks, plan->threads, plan->smem, "k%d_chain", k);
  e->program->launch[launch].cluster[0] = plan->cluster;
  e->program->launch[launch].per_sm = c->per_sm;
  for (int i = 0; i < kernel->n_in; i++) cuda_add_tensor (e, launch, kernel->in[i], false, "in%d", i);
  for (int i = 0; i < kernel->n_out; i++) cuda_add_tensor (e, launch, kernel->out[i], true, "out%d", i);
  if (c->wgmma) {
    cuda_arg map1 = map_over (data_of (p, c->b1), (uint32_t) (c->b1_turned ? c->nt : mugraph_ceil_div (c->d, 16) * 16));
    cuda_arg map2 =
        map_over (data_of (p, c->b2), (uint32_t) (c->b2_turned ? mugraph_ceil_div (c->dv, 16) * 16 : c->nt));
    cuda_add_tensor_map (e, launch, &map1, "map1");
    cuda_add_tensor_map (e, launch, &map2, "map2");
  }
  print_kernel (p, launch);
}
