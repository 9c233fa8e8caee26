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
#define BLOCK(...) cuda_block (&p->e->body, __VA_ARGS__)
#define NAME CUDA_NAME

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

/* Every element of A's fragments: a[k][e] holds columns `column` and the next one. */
static const char each_element[] = "#pragma unroll\n"
                                   "for (int k = 0; k < N; k++)\n"
                                   "#pragma unroll\n"
                                   "  for (int e = 0; e < 4; e++) {\n"
                                   "    const int column = k * 16 + (e >> 1) * 8 + 2 * (threadIdx.x & 3);\n"
                                   "    auto value = [&] (float x) {\n";

/* Operator i, a sum or mean along the rows of A: r<i>. */
static void print_row_sum (printer *p, int i) {
  const mugraph_op *o = &p->b->op[i];
  uint64_t done = 0;
  BLOCK ("float r$i[2] = {};\n", NAME ("i", i));
  P ("%s", each_element);
  walk (p, OF_A, o->in[0], &done);
  BLOCK ("  return v$value;\n"
         "};\n"
         "if (column < DEPTH) r$i[e & 1] += value (ms_low<type> (a[k][e]));\n"
         "if (column + 1 < DEPTH) r$i[e & 1] += value (ms_high<type> (a[k][e]));\n"
         "}\n",
         NAME ("value", o->in[0]), NAME ("i", i));
  for (int h = 0; h < 2; h++)
    BLOCK ("r$i[$h] = ms_quad_sum (r$i[$h])$mean;\n", NAME ("i", i), NAME ("h", h),
           NAME ("mean", o->kind == MUGRAPH_OP_MEAN ? " / DEPTH" : ""));
}

/* A's elements, where they are not multiplied as they are stored. */
static void print_a_map (printer *p) {
  uint64_t done = 0;
  P ("%s", each_element);
  walk (p, OF_A, p->c.a_map, &done);
  BLOCK ("  return v$value;\n"
         "};\n"
         "const float low = column < DEPTH ? value (ms_low<type> (a[k][e])) : 0.0f, high = column + 1 < DEPTH ? value "
         "(ms_high<type> (a[k][e])) : 0.0f;\n"
         "a[k][e] = ms_pack<type> (low, high);\n"
         "}\n",
         NAME ("value", p->c.a_map));
}

/* What the scores of a row are multiplied by. */
static void print_factor (printer *p) {
  const cuda_chain *c = &p->c;
  P ("fix[h][0] = ");
  print_number (p, c->plain ? LOG2E * c->slope : 1.0);
  for (int k = 0; k < c->n_factors; k++) {
    const mugraph_op *o = &p->b->op[c->factor[k]];
    if (o->kind == MUGRAPH_OP_RMS_NORM) {
      P (" * rsqrtf (squares[h] / DEPTH + ");
      print_number (p, o->c[0]);
      P (")");
    } else P (o->kind == MUGRAPH_OP_DIV ? " / v%d" : " * v%d", cuda_chain_factor (p->b, c->factor[k]));
  }
  P (";\n");
}

/* The values of rows g and g + 8 that do not change over the loop. */
static void print_row_values (printer *p) {
  const cuda_chain *c = &p->c;
  uint64_t done = 0;
  P ("#pragma unroll\n"
     "for (int h = 0; h < 2; h++) {\n");
  for (int k = 0; k < c->n_fixed; k++) {
    walk (p, OF_ROW, c->fixed[k], &done);
    BLOCK ("fix[h][$at] = v$value;\n", NAME ("at", fixed_at (p, c->fixed[k])), NAME ("value", c->fixed[k]));
  }
  for (int k = 0; k < c->n_factors; k++)
    if (p->b->op[c->factor[k]].kind != MUGRAPH_OP_RMS_NORM)
      walk (p, OF_ROW, cuda_chain_factor (p->b, c->factor[k]), &done);
  if (c->n_factors) print_factor (p);
  P ("}\n");
}

/* Sums along the rows of A, changes of A's elements, values of the rows. */
static void print_fixed (printer *p) {
  const cuda_chain *c = &p->c;
  uint64_t seen = row_values (p);
  bool norm = false;
  for (int k = 0; k < c->n_factors; k++) norm |= p->b->op[c->factor[k]].kind == MUGRAPH_OP_RMS_NORM;
  BLOCK (
      "template <int N> MS_DEVICE static void fixed (float (&fix)[2][$values], unsigned (&a)[N][4], int row, int rows, "
      "const context &c) {\n"
      "  (void) fix, (void) a, (void) row, (void) rows, (void) c;\n",
      NAME ("values", fixed_values (p) ? fixed_values (p) : 1));
  for (int i = 0; i < p->b->n_ops; i++)
    if (seen >> i & 1 && (p->b->op[i].kind == MUGRAPH_OP_SUM || p->b->op[i].kind == MUGRAPH_OP_MEAN))
      print_row_sum (p, i);
  if (c->a_map != c->a) print_a_map (p);
  if (norm)
    P ("float squares[2];\n"
       "chain_squares<type> (a, squares);\n");
  if (fixed_values (p)) print_row_values (p);
  P ("}\n");
}

/* The exponent of a score, in powers of 2 (without exponentials: the score itself). */
static void print_exponent (printer *p) {
  const cuda_chain *c = &p->c;
  BLOCK ("MS_DEVICE static float exponent (float s, const float (&fix)[$fixed]) {\n"
         "  (void) fix;\n",
         NAME ("fixed", fixed_values (p) ? fixed_values (p) : 1));
  if (c->plain) {
    P ("return s * ");
    if (c->n_factors) P ("fix[0]");
    else print_number (p, LOG2E * c->slope);
    P (";\n");
  } else if (c->exponential >= 0) {
    uint64_t done = 0;
    int argument = p->b->op[c->exponential].in[0];
    walk (p, OF_SCORE, argument, &done);
    BLOCK ("return v$argument * 1.44269504f;\n", NAME ("argument", argument));
  } else P ("return s;\n");
  P ("}\n");
}

static void print_scores (printer *p) {
  const cuda_chain *c = &p->c;
  uint64_t done = 0;
  print_exponent (p);
  BLOCK ("MS_DEVICE static float element (float s, float e, const float (&fix)[$fixed], float (&x)[$sums]) {\n"
         "  (void) s, (void) e, (void) fix, (void) x;\n",
         NAME ("fixed", fixed_values (p) ? fixed_values (p) : 1), NAME ("sums", c->n_sums ? c->n_sums : 1));
  for (int k = 0; k < c->n_sums; k++) {
    walk (p, OF_SCORE, c->addend[k], &done);
    BLOCK (p->b->op[c->sum[k]].kind == MUGRAPH_OP_ACCUM_RMS ? "x[$k] += v$addend * v$addend;\n"
                                                            : "x[$k] += v$addend;\n",
           NAME ("k", k), NAME ("addend", c->addend[k]));
  }
  walk (p, OF_SCORE, c->operand, &done);
  BLOCK ("  return v$operand;\n"
         "}\n"
         "MS_DEVICE static float degree (int k, float f) {\n"
         "  (void) k;\n"
         "  return ",
         NAME ("operand", c->operand));
  for (int k = 0; k < c->n_sums; k++) P ("k == %d ? chain_power<%d> (f) : ", k, c->sum_degree[k]);
  P ("f;\n"
     "}\n");
}

static void print_maps (printer *p) {
  const cuda_chain *c = &p->c;
  const struct { int where, top, norm; } operand[] = {{OF_B1, c->b1_top, c->b1_norm}, {OF_B2, c->b2_top, c->b2_norm}};
  for (int k = 0; k < 2; k++) {
    uint64_t done = 0;
    cuda_text epsilon = {0};
    cuda_print_number (&epsilon, operand[k].norm >= 0 ? p->b->op[operand[k].norm].c[0] : 0.0);
    BLOCK ("MS_DEVICE static float b${k}_factor (float mean) { return rsqrtf (mean + $epsilon); }\n"
           "MS_DEVICE static float b$k (float x, float factor) {\n"
           "  (void) factor;\n",
           NAME ("k", k + 1), NAME ("epsilon", epsilon.data ? epsilon.data : ""));
    cuda_text_free (&epsilon);
    walk (p, operand[k].where, operand[k].top, &done);
    BLOCK ("  return v$top;\n"
           "}\n",
           NAME ("top", operand[k].top));
  }
}

static bool is_column (const printer *p, int saver) {
  return mugraph_cols (&p->b->op[saver].shape) == 1 && p->c.dv > 1;
}

/* How saver i stores its values of a column and the next one. */
static const char *store_of (const printer *p, int i, const cuda_tensor *out) {
  const mugraph_op *o = &p->b->op[i];
  int last = out->shape.n_dims - 1;
  bool split = false; /* columns may begin anywhere */
  for (int g = 0; g < 3; g++) split |= o->map[g] == last && p->b->grid[g] > 1 && o->shape.dim[last] % 2;
  if (is_column (p, i)) return "if (column == 0) ms_store (to, value (0, o0));\n";
  if (cuda_stride (&out->shape, last - 1) % 2 || split || p->c.dv % 2)
    return "if (column < c.columns) ms_store (to + column, value (column, o0));\n"
           "if (column + 1 < c.columns) ms_store (to + column + 1, value (column + 1, o1));\n";
  if (out->dtype == MUGRAPH_F32)
    return "if (column < c.columns) *(float2 *) (to + column) = make_float2 (value (column, o0), value (column + 1, "
           "o1));\n";
  return out->dtype == MUGRAPH_BF16 ? "if (column < c.columns) *(unsigned *) (to + column) = ms_pack<ms_bf16> (value "
                                      "(column, o0), value (column + 1, o1));\n"
                                    : "if (column < c.columns) *(unsigned *) (to + column) = ms_pack<ms_f16> (value "
                                      "(column, o0), value (column + 1, o1));\n";
}

/* What follows the loop, for two columns of one row. */
static void print_finish (printer *p) {
  BLOCK ("MS_DEVICE static void finish (const context &c, int row, int column, float o0, float o1, const float "
         "(&sum)[$sums]) {\n"
         "  (void) o0, (void) o1, (void) sum;\n",
         NAME ("sums", p->c.n_sums ? p->c.n_sums : 1));
  for (int i = 0, saver = 0; i < p->b->n_ops; i++) {
    if (p->b->op[i].kind != MUGRAPH_OP_OUTPUT) continue;
    const cuda_tensor *out = &p->e->tensor[p->kernel->out[saver]];
    uint64_t done = 0;
    P ("{\n"
       "  auto value = [&] (int column, float o) {\n"
       "    (void) column, (void) o;\n");
    walk (p, OF_RESULT, p->b->op[i].in[0], &done);
    BLOCK ("    return v$value;\n"
           "  };\n"
           "  $type *to = c.out$saver + row * ${stride}LL;\n"
           "$store"
           "}\n",
           NAME ("value", p->b->op[i].in[0]), NAME ("type", cuda_type (out->dtype)), NAME ("saver", saver),
           NAME ("stride", cuda_stride (&out->shape, out->shape.n_dims - 2)), NAME ("store", store_of (p, i, out)));
    saver++;
  }
  P ("}\n");
}

/* What chain.cuh has to know of the shapes and of the schedule. */
static void print_constants (printer *p) {
  const cuda_chain *c = &p->c;
  bool ragged = c->n % c->nt || (c->n_axis >= 0 && c->n_full % c->n);
  BLOCK (
      "static constexpr int DEPTH = $depth, WIDTH = $width, LOOP = $loop, TILE = $tile, STAGES = $stages;\n"
      "static constexpr int ROW_GROUPS = $row_groups, LOOP_GROUPS = $loop_groups, BLOCKS = $blocks, HELPER = $helper;\n"
      "static constexpr int STATS = $stats, FIXED = $fixed, DEGREE = $degree;\n"
      "static constexpr bool RAGGED = $ragged, STABLE = $stable, PLAIN = $plain, A_MAP = $a_map, B1_MAP = $b1_map, "
      "B2_MAP "
      "= $b2_map, B2_NORM = $b2_norm, B2_SCALE = $b2_scale;\n"
      "static constexpr bool B1_TURNED = $b1_turned, B2_TURNED = $b2_turned, B1_NORM = $b1_norm, B1_SCALE = "
      "$b1_scale;\n",
      NAME ("depth", c->d), NAME ("width", c->dv), NAME ("loop", c->n), NAME ("tile", c->nt),
      NAME ("stages", c->stages), NAME ("row_groups", c->wm), NAME ("loop_groups", c->wn), NAME ("blocks", c->split),
      NAME ("helper", c->helper), NAME ("stats", c->n_sums), NAME ("fixed", fixed_values (p)),
      NAME ("degree", c->exponential >= 0 ? c->degree : 0), NAME ("ragged", ragged),
      NAME ("stable", c->exponential >= 0), NAME ("plain", c->plain), NAME ("a_map", c->a_map != c->a),
      NAME ("b1_map", c->b1_top != c->b1_leaf), NAME ("b2_map", c->b2_top != c->b2_leaf),
      NAME ("b2_norm", c->b2_norm >= 0), NAME ("b2_scale", c->b2_scale), NAME ("b1_turned", c->b1_turned),
      NAME ("b2_turned", c->b2_turned), NAME ("b1_norm", c->b1_norm >= 0), NAME ("b1_scale", c->b1_scale));
  if (c->wgmma) return;
  BLOCK ("static constexpr bool ALIGNED = $aligned;\n"
         "static constexpr long long B1_PITCH = $b1, B2_PITCH = $b2;\n",
         NAME ("aligned", c->aligned), NAME ("b1", mugraph_cols (&data_of (p, c->b1)->shape)),
         NAME ("b2", mugraph_cols (&data_of (p, c->b2)->shape)));
}

static void print_parts (printer *p) {
  const cuda_chain *c = &p->c;
  uint64_t inputs = context_iterators (p);
  BLOCK ("\n"
         "// $rows rows, $depth deep, over $n columns; $width columns of the result\n",
         NAME ("rows", c->rows), NAME ("depth", c->d), NAME ("n", c->n), NAME ("width", c->dv));
  for (int i = 0; i < p->b->n_ops; i++) cuda_print_comment (&p->e->body, p->e->g, p->kernel, i);
  BLOCK ("struct k${k}_parts {\n"
         "  typedef $type type;\n"
         "  struct context {\n"
         "    int length, columns;\n",
         NAME ("k", p->k), NAME ("type", cuda_type (c->dtype)));
  for (int i = 0; i < p->b->n_ops; i++)
    if (inputs >> i & 1)
      BLOCK ("const $type *in$i;\n", NAME ("type", cuda_type (data_of (p, i)->dtype)), NAME ("i", i));
  for (int k = 0; k < p->kernel->n_out; k++)
    BLOCK ("$type *out$k;\n", NAME ("type", cuda_type (p->e->tensor[p->kernel->out[k]].dtype)), NAME ("k", k));
  P ("};\n");
  print_constants (p);
  print_fixed (p);
  print_scores (p);
  print_maps (p);
  print_finish (p);
  P ("};\n");
}

/* ---- the kernel ---- */

/* How much of a dimension this block has. */
static void print_limit (printer *p, const char *name, int axis, int32_t part, int32_t full) {
  if (axis < 0 || full % part == 0) BLOCK ("const int $name = $part;\n", NAME ("name", name), NAME ("part", part));
  else
    BLOCK ("const int $name = max (0, min ($part, $full - (int) b$axis * $part));\n", NAME ("name", name),
           NAME ("part", part), NAME ("full", full), NAME ("axis", cuda_axis (axis)));
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
