/* Kernels of the tiled generator: cuda_templates/tiled/plan_tiled.h says what they compute, tiled.cuh has the loop and
   the order of things. Printed here: which tile a block goes to, its copies, its products, sums along rows of the
   operands, and what follows. */
#include "cuda_templates/emit/kernel.h"
#include "cuda_templates/emit/launches.h"
#include "cuda_templates/generator.h"
#include "plan_tiled.h"

#include <stdio.h>
#include <string.h>

typedef struct {
  cuda_emitter *e;
  const mugraph_block *b;
  const mugraph_op *kernel;
  cuda_tiled t;
  int k;
} printer;

#define P(...) cuda_print (&p->e->body, __VA_ARGS__)

static const mugraph_op *op_of (const printer *p, int i) { return &p->b->op[i]; }
static const cuda_tensor *data_of (const printer *p, int i) {
  return &p->e->tensor[p->kernel->in[op_of (p, i)->in[0]]];
}
static bool is_input (const printer *p, int i) { return op_of (p, i)->kind == MUGRAPH_OP_INPUT; }
static bool has (const printer *p, int i, int role) { return p->t.c.role[i] & role; }

static int find (const int list[], int n, int i) {
  for (int k = 0; k < n; k++)
    if (list[k] == i) return k;
  return -1;
}
enum { LEFT, RIGHT, NARROW, CHAIN };

/* Operands in the order of their maps: left, right, narrow, of chains. */
static int operands (const printer *p) { return p->t.n_left + p->t.n_right + p->t.n_narrow + p->t.n_chains; }
static int operand (const printer *p, int k, int *side) {
  const cuda_tiled *t = &p->t;
  *side = LEFT;
  if (k < t->n_left) return t->left[k];
  *side = RIGHT, k -= t->n_left;
  if (k < t->n_right) return t->right[k];
  *side = NARROW, k -= t->n_right;
  if (k < t->n_narrow) return t->narrow[k];
  *side = CHAIN;
  return cuda_stream_weight (p->b, op_of (p, t->chain[k - t->n_narrow])->in[1]);
}

/* Where an operand's tile lies in a stage. */
static int offset_of (const printer *p, int i, int side) {
  const cuda_tiled *t = &p->t;
  if (side == LEFT) return find (t->left, t->n_left, i) * t->left_bytes;
  int first = t->n_left * t->left_bytes;
  return side == RIGHT ? first + find (t->right, t->n_right, i) * t->right_bytes
                       : first + t->n_right * t->right_bytes + find (t->narrow, t->n_narrow, i) * t->narrow_bytes;
}
static bool is_shared (const printer *p, int side) { /* by the blocks of a cluster */
  return p->t.multicast > 1 && (side == LEFT ? !p->t.along_rows : side == RIGHT && p->t.along_rows);
}
static bool is_turned (const printer *p, int i, int side) { return side != LEFT && p->t.c.turned[i]; }
static int box_rows (const printer *p, int i, int side) {
  if (side != LEFT && side != NARROW && is_turned (p, i, side)) return 64 * p->t.chunks;
  return side == LEFT ? p->t.rows : side == CHAIN ? p->t.inner_k : CUDA_TILED_K;
}

/* Index of operator i among those of a role. */
static int rank_of (const printer *p, int i, int role) {
  int n = 0;
  for (int j = 0; j < i; j++) n += has (p, j, role);
  return n;
}

/* Valid positions of a dimension in the block. */
static void print_limit (printer *p, const char *name, const cuda_stream_extent *x) {
  if (x->even) P ("    constexpr int %s = %d;\n", name, x->chunk);
  else P ("    const int %s = min (%d, %d - (int) b%c * %d);\n", name, x->chunk, x->full, "xyz"[x->axis], x -> chunk);
  P ("    (void) %s;\n", name);
}
static void print_first (printer *p, const char *name, const cuda_stream_extent *x, const char *more) {
  P ("    const int %s = %s", name, more);
  if (x->axis >= 0 && p->b->grid[x->axis] > 1) P (" + (int) b%c * %d", "xyz"[x->axis], x -> chunk);
  P (";\n");
}

/* ---- the walk ---- */

static void print_place (printer *p) {
  const cuda_tiled *t = &p->t;
  const cuda_stream *c = &t->c;
  int m = t->tiles_m / (t->along_rows ? t->multicast : 1), n = t->tiles_n / (t->along_rows ? 1 : t->multicast);
  P ("  MS_DEVICE void place (unsigned i, unsigned rank) { // of %d x %d x %lld\n    (void) i, (void) rank;\n",
     t->tiles_m, t->tiles_n, (long long) t->others);
  if (t->others > 1) P ("    unsigned other = i / %d;\n    i %%= %d;\n", m * n, m * n);
  if (m * n > 1) {
    P ("    const unsigned band = i / %d, at = i %% %d, height = ", t->band * n, t->band * n);
    P (m % t->band ? "min (%d, %d - band * %d);\n" : "%d;\n", t->band, m, t->band);
    P ("    const unsigned m = band * %d + at %% height, n = at / height;\n    (void) m, (void) n;\n", t->band);
  } else P ("    const unsigned m = 0, n = 0;\n    (void) m, (void) n;\n");
  for (int g = 0; g < 3; g++) {
    if (p->b->grid[g] == 1) continue;
    bool rows = g == c->m.axis, spread = t->multicast > 1 && (rows ? t->along_rows : !t->along_rows);
    if (rows || g == c->n.axis) {
      P ("    b%c = %c", "xyz"[g], rows ? 'm' : 'n');
      P (spread ? " * %d + rank;\n" : ";\n", t->multicast);
    } else P ("    b%c = other %% %d, other /= %d;\n", "xyz"[g], p -> b -> grid[g], p -> b -> grid[g]);
  }
  P ("  }\n");
}

/* ---- the loop ---- */

static void print_copy (printer *p, int k, int chain) {
  const cuda_tiled *t = &p->t;
  int side, at = operand (p, k, &side);
  const mugraph_op *o = op_of (p, at);
  const mugraph_shape *data = &data_of (p, at)->shape;
  bool all = is_shared (p, side), turned = is_turned (p, at, side);
  int count = box_rows (p, at, side), part = all ? count / t->multicast : count;
  int offset = side == CHAIN ? chain * t->chain_bytes : offset_of (p, at, side);
  for (int chunk = 0; chunk < (side == LEFT || side == NARROW || turned ? 1 : t->chunks); chunk++) {
    P (all ? "    ms_cluster_copy_box (" : "    ms_copy_box (");
    P ("stage + %d", offset + chunk * count * 128);
    if (all) P (" + rank * %d", part * 128);
    P (", map%d, ", k);
    if (side == LEFT) P ("k, row");
    else if (turned) P (side == NARROW ? "k, 0" : side == CHAIN ? "0, column" : "k, column");
    else if (side == NARROW) P ("0, k");
    else P (side == CHAIN ? "column + %d, 0" : "column + %d, k", chunk * 64);
    if (all) P (" + rank * %d", part);
    P (", ");
    cuda_print_origin (&p->e->body, p->b, o, data, 0, data->n_dims - 2,
                       cuda_stride (data, data->n_dims - 3 < 0 ? 0 : data->n_dims - 3));
    P (", full");
    if (all) P (", %d", (1 << t->multicast) - 1);
    P (");\n");
  }
}

static void print_load (printer *p) {
  const cuda_tiled *t = &p->t;
  P ("  MS_DEVICE void load (unsigned stage, int step, unsigned full, int rank) const {\n    (void) rank;\n");
  print_first (p, "row", &t->c.m, "0");
  print_first (p, "column", &t->c.n, "0");
  print_first (p, "k", &t->c.k, "step * 64");
  P ("    (void) row, (void) column, (void) k;\n");
  for (int i = 0; i < operands (p) - t->n_chains; i++) print_copy (p, i, -1);
  P ("  }\n");
  if (!t->n_chains) return;
  P ("  MS_DEVICE void load_last (unsigned stage, unsigned full) const {\n");
  print_first (p, "column", &t->c.n, "0");
  for (int i = 0; i < t->n_chains; i++) print_copy (p, operands (p) - t->n_chains + i, i);
  P ("  }\n");
}

/* Whether steps of k end with the data. */
static bool is_even_k (const cuda_tiled *t) { return t->c.k.chunk % CUDA_TILED_K == 0 && t->c.k.even; }

/* An iterator that computed left operands and row statistics read beside the tiles: one row, one column, one value. */
static bool is_beside (const printer *p, int i) {
  return is_input (p, i) && has (p, i, CUDA_STREAM_LEFT) && find (p->t.left, p->t.n_left, i) < 0;
}

static void print_beside (printer *p) {
  const cuda_tiled *t = &p->t;
  P ("  MS_DEVICE void prefetch (int lane) const {\n");
  for (int i = 0; i < operands (p); i++) P ("    if (lane == %d) ms_prefetch_map (map%d);\n", i, i);
  P ("  }\n  MS_DEVICE void begin (int group) {\n    (void) group;\n");
  bool any = false;
  for (int i = 0; i < p->b->n_ops; i++) any |= is_beside (p, i) && mugraph_cols (&op_of (p, i)->shape) == 1;
  if (any) {
    P ("    const int row = group * 64 + (threadIdx.x >> 5 & 3) * 16 + (threadIdx.x >> 2 & 7);\n    (void) row;\n");
    print_limit (p, "rows", &t->c.m);
  }
  for (int i = 0; i < p->b->n_ops; i++) {
    const mugraph_op *o = op_of (p, i);
    if (!is_beside (p, i) || mugraph_cols (&o->shape) > 1) continue;
    P ("    for (int h = 0; h < 2; h++) m%d[h] = ", i);
    if (mugraph_rows (&o->shape) > 1) P ("row + 8 * h >= rows ? 0.0f : ");
    P ("ms_load (in%d", o->in[0]);
    cuda_print_begin (&p->e->body, p->b, o, &data_of (p, i)->shape, 0, MUGRAPH_DIMS, 1);
    if (mugraph_rows (&o->shape) > 1)
      P (" + (row + 8 * h) * %lldLL", (long long) mugraph_cols (&data_of (p, i)->shape));
    P (");\n");
  }
  P ("  }\n  MS_DEVICE void early (unsigned (&g)[VECTORS > 0 ? VECTORS : 1][4][2][2], int step) const {\n    (void) g, "
     "(void) step;\n");
  if (t->n_vectors) print_limit (p, "depth", &t->c.k);
  for (int v = 0; v < t->n_vectors; v++) {
    const mugraph_op *o = op_of (p, t->vector[v]);
    P ("#pragma unroll\n    for (int k = 0; k < 8; k++) {\n      const int at = step * 64 + k * 8 + 2 * (threadIdx.x & "
       "3);\n      g[%d][k / 2][k & 1][0] = g[%d][k / 2][k & 1][1] = 0;\n",
       v, v);
    P (is_even_k (t) ? "      tiled_bits (g[%d][k / 2][k & 1], in%d"
                     : "      if (at < depth) tiled_bits (g[%d][k / 2][k & 1], in%d",
       v, o->in[0]);
    cuda_print_begin (&p->e->body, p->b, o, &data_of (p, t->vector[v])->shape, 0, MUGRAPH_DIMS, 1);
    P (" + at);\n    }\n");
  }
  P ("  }\n");
}

static bool operand_value (void *user, int i, cuda_text *t) {
  const printer *p = user;
  if (!is_input (p, i)) return false;
  const mugraph_shape *s = &op_of (p, i)->shape;
  if (find (p->t.left, p->t.n_left, i) >= 0) cuda_print (t, "x%d", i);
  else if (mugraph_cols (s) > 1)
    cuda_print (t, "tiled_value<%s> (g[%d][k][e >> 1], c)", cuda_type (data_of (p, i)->dtype),
                find (p->t.vector, p->t.n_vectors, i));
  else cuda_print (t, "m%d[e & 1]", i);
  return true;
}

/* What row statistics sum: the operator whose elements are added, its square for a root mean square. */
static int row_source (const printer *p, int i) {
  const mugraph_op *o = op_of (p, i);
  return o->kind == MUGRAPH_OP_ACCUM ? op_of (p, o->in[0])->in[0] : o->in[0];
}

/* Where a left operand is among those in registers; -1: in shared memory only. */
static int fragment_of (const printer *p, int i) {
  const cuda_tiled *t = &p->t;
  int computed = find (t->computed, t->n_computed, i), n = t->n_computed;
  if (computed >= 0) return computed;
  for (int l = 0; l < t->n_left; l++) {
    if (t->held[l] && t->left[l] == i) return n;
    n += t->held[l];
  }
  return -1;
}

/* This thread's elements of the left tiles in a step, in the order of operand fragments; their values are x<tile>. */
static void print_operands (printer *p) {
  const cuda_tiled *t = &p->t;
  int root[MUGRAPH_BLOCK_OPS], n = 0;
  for (int i = 0; i < p->b->n_ops; i++)
    if (has (p, i, CUDA_STREAM_ROW)) root[n++] = row_source (p, i);
  for (int i = 0; i < t->n_computed; i++) root[n++] = t->computed[i];
  P ("  MS_DEVICE void operands (unsigned (&l)[FRAGMENTS > 0 ? FRAGMENTS : 1][4][4], float (&y)[STATS > 0 ? STATS : "
     "1][2], const unsigned (&g)[VECTORS > 0 ? VECTORS : 1][4][2][2],\n");
  P ("                           unsigned stage, int group, int step) const {\n    (void) l, (void) y, (void) g, "
     "(void) stage, (void) group, (void) step;\n");
  if (!n) {
    P ("  }\n");
    return;
  }
  print_limit (p, "depth", &t->c.k);
  bool used[CUDA_TILED_OPERANDS] = {false};
  for (int l = 0; l < t->n_left; l++) {
    for (int r = 0; r < n; r++) used[l] |= cuda_tiled_reaches (p->b, root[r], t->left[l]);
    if (!used[l]) continue;
    int fragment = fragment_of (p, t->left[l]);
    if (fragment >= 0) P ("    auto &a%d = l[%d];\n", t->left[l], fragment);
    else P ("    unsigned a%d[4][4];\n", t->left[l]);
    P ("    tiled_rows (a%d, stage + %d, group);\n", t->left[l], offset_of (p, t->left[l], LEFT));
  }
  P ("#pragma unroll\n    for (int k = 0; k < 4; k++)\n#pragma unroll\n      for (int e = 0; e < 4; e++) {\n");
  for (int i = 0; i < t->n_computed; i++) P ("        float h%d[2];\n", t->computed[i]);
  P ("#pragma unroll\n        for (int c = 0; c < 2; c++) {\n          const bool there = ");
  P (is_even_k (t) ? "true;\n" : "step * 64 + k * 16 + (e >> 1) * 8 + 2 * (threadIdx.x & 3) + c < depth;\n");
  for (int l = 0; l < t->n_left; l++)
    if (used[l])
      P ("          const float x%d = c ? ms_high<type> (a%d[k][e]) : ms_low<type> (a%d[k][e]);\n", t->left[l],
         t->left[l], t->left[l]);
  cuda_walk w = {.g = p->e->g, .kernel = p->kernel, .prefix = "v", .materialised = operand_value, .user = p};
  uint64_t done = 0;
  for (int i = 0; i < p->b->n_ops; i++) {
    if (!has (p, i, CUDA_STREAM_ROW)) continue;
    int x = row_source (p, i);
    cuda_print_walk (&p->e->body, &w, x, &done);
    P (op_of (p, i)->kind == MUGRAPH_OP_ACCUM_RMS ? "          if (there) y[%d][e & 1] += v%d * v%d;\n"
                                                  : "          if (there) y[%d][e & 1] += v%d;\n",
       rank_of (p, i, CUDA_STREAM_ROW), x, x);
  }
  for (int i = 0; i < t->n_computed; i++) {
    int x = t->computed[i];
    cuda_print_walk (&p->e->body, &w, x, &done);
    P ("          h%d[c] = there ? v%d : 0.0f;\n", x, x);
  }
  P ("        }\n");
  for (int i = 0; i < t->n_computed; i++)
    P ("        l[%d][k][e] = ms_pack<type> (h%d[0], h%d[1]);\n", i, t->computed[i], t->computed[i]);
  P ("      }\n  }\n");
}

/* "b + 512", "b" where the offset is 0. Returns text. */
static const char *address16 (char text[40], const char *base, int offset) {
  if (offset) snprintf (text, 40, "%s + %d", base, offset);
  else snprintf (text, 40, "%s", base);
  return text;
}

static void print_multiply (printer *p) {
  char place[40];
  const cuda_tiled *t = &p->t;
  P ("  MS_DEVICE static void multiply (float (&d)[SUMS][N / 2], float (&f)[SOURCES > 0 ? SOURCES : 1][INNER / 2], "
     "const unsigned (&l)[FRAGMENTS > 0 ? FRAGMENTS : 1][4][4],\n");
  P ("                                  unsigned stage, int group) {\n");
  P ("    const unsigned a = ms_tile_address16 (stage + group * 8192), b = ms_tile_address16 (stage);\n    (void) a, "
     "(void) "
     "f, (void) l;\n#pragma unroll\n    for (int k = 0; k < 4; k++) {\n");
  for (int i = 0; i < t->n_products + t->n_sources; i++) {
    const bool narrow = i >= t->n_products;
    const mugraph_op *o = op_of (p, narrow ? t->source[i - t->n_products] : t->product[i]);
    const int right = cuda_stream_weight (p->b, o->in[1]), side = narrow ? NARROW : RIGHT;
    const bool turned = is_turned (p, right, side);
    P (narrow ? "      ms_wgmma<type, INNER>::add%s (f[%d], " : "      ms_wgmma<type, N>::add%s (d[%d], ",
       turned ? "<true>" : "", narrow ? i - t->n_products : i);
    int fragment = fragment_of (p, o->in[0]);
    if (fragment >= 0) P ("l[%d][k]", fragment);
    else P ("ms_tile_descriptor (%s + k * 2, 16)", address16 (place, "a", offset_of (p, o->in[0], LEFT) / 16));
    P (turned ? ", ms_tile_descriptor (%s + k * 2, 16));" : ", ms_tile_descriptor (%s + k * 128, 8192));",
       address16 (place, "b", offset_of (p, right, side) / 16));
    cuda_print_comment (&p->e->body, p->e->g, p->kernel, narrow ? t->source[i - t->n_products] : t->product[i]);
  }
  P ("    }\n  }\n");
  if (!t->n_chains) return;
  P ("  MS_DEVICE static void chain (float (&d)[SUMS][N / 2], const unsigned (&a)[SOURCES][%d][4], const unsigned "
     "(&rest)[SOURCES][%d][4], unsigned stage) {\n",
     t->inner_k / 16, t->inner_k / 16);
  P ("    const unsigned b = ms_tile_address16 (stage);\n    (void) rest;\n#pragma unroll\n    for (int k = 0; k < %d; "
     "k++) {\n",
     t->inner_k / 16);
  for (int coarse = 0; coarse < (t->c.type == MUGRAPH_BF16 ? 2 : 1); coarse++)
    for (int i = 0; i < t->n_chains; i++) {
      int from = op_of (p, t->chain[i])->in[0];
      while (op_of (p, from)->kind == MUGRAPH_OP_ACCUM) from = op_of (p, from)->in[0];
      P (t->chains_turned
             ? "      ms_wgmma<type, N>::add<true> (d[%d], %s[%d][k], ms_tile_descriptor (%s + k * 2, 16));"
             : "      ms_wgmma<type, N>::add (d[%d], %s[%d][k], ms_tile_descriptor (%s + k * 128, %d));",
         t->into[i], coarse ? "rest" : "a", find (t->source, t->n_sources, from),
         address16 (place, "b", i * t->chain_bytes / 16), t->inner_k * 128);
      cuda_print_comment (&p->e->body, p->e->g, p->kernel, t->chain[i]);
    }
  P ("    }\n  }\n");
}

/* ---- what follows the loop ---- */

static bool post_value (void *user, int i, cuda_text *t) {
  const printer *p = user;
  const mugraph_shape *s = &op_of (p, i)->shape;
  int sum = find (p->t.product, p->t.n_products, i), chain = find (p->t.chain, p->t.n_chains, i),
      folded = cuda_tiled_folded (&p->t, p->b, i);
  if (folded >= 0) sum = p->t.into[folded];
  else if (chain >= 0) sum = p->t.into[chain];
  if (sum >= 0) cuda_print (t, "d[%d][at + c]", sum);
  else if (has (p, i, CUDA_STREAM_ROW)) cuda_print (t, "z%d[h]", i);
  else if (is_input (p, i)) {
    if (mugraph_cols (s) > 1) cuda_print (t, "i%d[c]", i);
    else cuda_print (t, mugraph_rows (s) > 1 ? "i%d[h]" : "i%d", i);
  } else return false;
  return true;
}

/* Products are complete sums here; a quotient by a root mean square is a product with its reciprocal, which costs less
 * than the root. */
static bool post_known (void *user, int i, const char *a, const char *b, cuda_text *t) {
  const printer *p = user;
  const mugraph_op *o = op_of (p, i);
  (void) b;
  if (o->kind == MUGRAPH_OP_ACCUM) cuda_print (t, "%s", a);
  else if (o->kind == MUGRAPH_OP_DIV && has (p, o->in[1], CUDA_STREAM_ROW) &&
           op_of (p, o->in[1])->kind == MUGRAPH_OP_ACCUM_RMS)
    cuda_print (t, "%s * over%d[h]", a, o->in[1]);
  else return false;
  return true;
}

static void print_row_values (printer *p) {
  for (int i = 0; i < p->b->n_ops; i++) {
    if (!has (p, i, CUDA_STREAM_ROW)) continue;
    const mugraph_op *o = op_of (p, i);
    bool rms = o->kind == MUGRAPH_OP_ACCUM_RMS, mean = o->kind == MUGRAPH_OP_ACCUM_MEAN || o->kind == MUGRAPH_OP_MEAN;
    P ("    float z%d[2]%s", i, rms ? ", over" : "");
    if (rms) P ("%d[2]", i);
    P (";");
    cuda_print_comment (&p->e->body, p->e->g, p->kernel, i);
    P ("#pragma unroll\n    for (int h = 0; h < 2; h++) {\n      z%d[h] = y[%d][h]", i,
       rank_of (p, i, CUDA_STREAM_ROW));
    P (rms || mean ? " * (1.0f / (float) depth)" : "");
    if (rms) {
      P (" + ");
      cuda_print_number (&p->e->body, o->c[0]);
      P (";\n      over%d[h] = rsqrtf (z%d[h]);\n      z%d[h] = ms_sqrt (z%d[h])", i, i, i, i);
    }
    P (";\n    }\n");
    if (rms) P ("    (void) z%d, (void) over%d;\n", i, i);
  }
}

/* Inputs of the epilogue: where the block's part begins; values of rows and single ones at once. */
static void print_inputs (printer *p) {
  for (int i = 0; i < p->b->n_ops; i++) {
    if (!is_input (p, i) || !has (p, i, CUDA_STREAM_POST)) continue;
    const mugraph_op *o = op_of (p, i);
    const mugraph_shape *data = &data_of (p, i)->shape;
    cuda_print_iterator (p->e, p->kernel, i);
    if (mugraph_cols (&o->shape) > 1) continue;
    if (mugraph_rows (&o->shape) == 1) P ("    const float i%d = ms_load (p%d);\n", i, i);
    else
      P ("    float i%d[2];\n#pragma unroll\n    for (int h = 0; h < 2; h++) i%d[h] = row + 8 * h < rows ? ms_load "
         "(p%d + (row + 8 * h) * %lldLL) : 0.0f;\n",
         i, i, i, (long long) mugraph_cols (data));
  }
}

static const char *where_inside (bool even_rows, bool even_columns) {
  return even_rows      ? even_columns ? "true" : "inside"
         : even_columns ? "row + 8 * h < rows"
                        : "inside && row + 8 * h < rows";
}

static void print_finish (printer *p) {
  const cuda_tiled *t = &p->t;
  const cuda_stream *c = &t->c;
  const bool even_columns = c->n.chunk == t->columns && c->n.even, even_rows = c->m.chunk == t->rows && c->m.even;
  P ("  MS_DEVICE void finish (const float (&d)[SUMS][N / 2], const float (&y)[STATS > 0 ? STATS : 1][2], int group) "
     "const {\n");
  P ("    const int t = threadIdx.x & 3, row = group * 64 + (threadIdx.x >> 5 & 3) * 16 + (threadIdx.x >> 2 & 7);\n    "
     "(void) y;\n");
  print_limit (p, "rows", &c->m);
  print_limit (p, "columns", &c->n);
  print_limit (p, "depth", &c->k);
  for (int i = 0; i < p->b->n_ops; i++)
    if (op_of (p, i)->kind == MUGRAPH_OP_OUTPUT) cuda_print_saver (p->e, p->kernel, i);
  print_row_values (p);
  print_inputs (p);
  P ("#pragma unroll\n    for (int q = 0; q < (N + 31) / 32; q++) {\n");
  for (int i = 0, saver = 0; i < p->b->n_ops; i++)
    if (op_of (p, i)->kind == MUGRAPH_OP_OUTPUT && p->e->tensor[p->kernel->out[saver++]].dtype != MUGRAPH_F32)
      P ("      unsigned w%d[2][4] = {};\n", i);
  P ("#pragma unroll\n      for (int j = 0; j < 4; j++) {\n        if (q * 4 + j >= N / 8) break;\n        const int "
     "column = (q * 4 + j) * 8 + 2 * t;\n        (void) column;\n");
  if (!even_columns) P ("        const bool inside = (q * 4 + j) * 8 < columns;\n        (void) inside;\n");
  for (int i = 0; i < p->b->n_ops; i++)
    if (is_input (p, i) && has (p, i, CUDA_STREAM_POST) && mugraph_cols (&op_of (p, i)->shape) > 1 &&
        mugraph_rows (&op_of (p, i)->shape) == 1)
      P ("        float i%d[2] = {};\n        if (%s) tiled_pair (i%d, p%d + column);\n", i,
         even_columns ? "true" : "inside", i, i);
  P ("#pragma unroll\n        for (int h = 0; h < 2; h++) {\n          const int at = (q * 4 + j) * 4 + 2 * h;\n");
  for (int i = 0; i < p->b->n_ops; i++)
    if (is_input (p, i) && has (p, i, CUDA_STREAM_POST) && mugraph_cols (&op_of (p, i)->shape) > 1 &&
        mugraph_rows (&op_of (p, i)->shape) > 1)
      P ("          float i%d[2] = {};\n          if (%s) tiled_pair (i%d, p%d + (row + 8 * h) * %lldLL + column);\n",
         i, where_inside (even_rows, even_columns), i, i, (long long) mugraph_cols (&data_of (p, i)->shape));
  for (int i = 0; i < p->b->n_ops; i++)
    if (op_of (p, i)->kind == MUGRAPH_OP_OUTPUT) P ("          float s%d[2];\n", i);
  P ("#pragma unroll\n          for (int c = 0; c < 2; c++) {\n");
  cuda_walk w = {
      .g = p->e->g, .kernel = p->kernel, .prefix = "v", .materialised = post_value, .value = post_known, .user = p};
  uint64_t done = 0;
  for (int i = 0; i < p->b->n_ops; i++) {
    if (op_of (p, i)->kind != MUGRAPH_OP_OUTPUT) continue;
    cuda_print_walk (&p->e->body, &w, op_of (p, i)->in[0], &done);
    P ("            s%d[c] = v%d;\n", i, op_of (p, i)->in[0]);
  }
  P ("          }\n");
  for (int i = 0, saver = 0; i < p->b->n_ops; i++) {
    if (op_of (p, i)->kind != MUGRAPH_OP_OUTPUT) continue;
    const cuda_tensor *out = &p->e->tensor[p->kernel->out[saver++]];
    if (out->dtype != MUGRAPH_F32)
      P ("          w%d[h][j] = ms_pack<%s> (s%d[0], s%d[1]);\n", i, cuda_type (out->dtype), i, i);
    else
      P ("          if (%s) *(float2 *) (o%d + (row + 8 * h) * %lldLL + column) = make_float2 (s%d[0], s%d[1]);\n",
         where_inside (even_rows, even_columns), i, (long long) mugraph_cols (&out->shape), i, i);
  }
  P ("        }\n      }\n");
  for (int i = 0, saver = 0; i < p->b->n_ops; i++) {
    if (op_of (p, i)->kind != MUGRAPH_OP_OUTPUT) continue;
    const cuda_tensor *out = &p->e->tensor[p->kernel->out[saver++]];
    if (out->dtype == MUGRAPH_F32) continue;
    P ("#pragma unroll\n      for (int h = 0; h < 2; h++) {\n        tiled_gather (w%d[h]);\n        const bool inside "
       "= q * 32 + t * 8 < columns;\n        (void) inside;\n",
       i);
    P ("        if (%s) *(uint4 *) (o%d + (row + 8 * h) * %lldLL + q * 32 + t * 8) = make_uint4 (w%d[h][0], w%d[h][1], "
       "w%d[h][2], w%d[h][3]);\n      }\n",
       where_inside (even_rows, even_columns && t->columns % 32 == 0), i, (long long) mugraph_cols (&out->shape), i, i,
       i, i);
  }
  P ("    }\n  }\n");
}

static cuda_arg map_over (const printer *p, int k) {
  int side, at = operand (p, k, &side);
  const cuda_tensor *t = data_of (p, at);
  const mugraph_shape *s = &t->shape;
  uint64_t cols = (uint64_t) mugraph_cols (s), rows = (uint64_t) mugraph_rows (s);
  int box = box_rows (p, at, side);
  if (is_shared (p, side)) box /= p->t.multicast;
  return (cuda_arg){.kind = CUDA_ARG_TENSOR_MAP,
                    .buffer = t->buffer,
                    .dtype = t->dtype,
                    .rank = 3,
                    .dim = {cols, rows, (uint64_t) mugraph_volume (s) / cols / rows},
                    .stride = {0, cols * 2, cols * rows * 2},
                    .box = {64, (uint32_t) box, 1},
                    .swizzle = 128};
}

static void print_parts (printer *p) {
  const cuda_tiled *t = &p->t;
  bool late = false;
  for (int i = 0; i < p->b->n_ops; i++)
    late |= is_beside (p, i) && p->kernel->in[op_of (p, i)->in[0]] >= p->e->g->n_inputs;
  for (int i = 0, side; i < operands (p); i++)
    late |= p->kernel->in[op_of (p, operand (p, i, &side))->in[0]] >= p->e->g->n_inputs;
  P ("\n// %d x %d of the result a tile, %d deep\nstruct k%d_parts {\n", t->c.m.chunk, t->c.n.chunk, t->c.k.chunk,
     p->k);
  P ("typedef %s type;\n", cuda_type (t->c.type));
  P ("  static constexpr int GROUPS = %d, N = %d, SUMS = %d, STATS = %d, STEPS = %d, STAGES = %d, STAGE = %d, CLUSTER "
     "= %d, REGS = %d;\n",
     t->groups, t->columns, t->sums, t->c.n_rows, t->steps, t->stages, t->stage_bytes, t->multicast, t->regs);
  P ("  static constexpr int FRAGMENTS = %d, VECTORS = %d, SOURCES = %d, INNER = %d, CHAIN = %d;\n", t->fragments,
     t->n_vectors, t->n_sources, t->n_sources ? t->inner : 8, t->n_chains * t->chain_bytes);
  P ("  static constexpr unsigned TILES = %lld;\n  static constexpr bool LATE = %d;\n",
     (long long) t->tiles_m * t->tiles_n * (long long) t->others / t->multicast, late);
  for (int i = 0; i < operands (p); i++) P ("  const ms_tensor_map *map%d;\n", i);
  for (int i = 0; i < p->kernel->n_in; i++)
    P ("  const %s *in%d;\n", cuda_type (p->e->tensor[p->kernel->in[i]].dtype), i);
  for (int i = 0; i < p->kernel->n_out; i++) P ("  %s *out%d;\n", cuda_type (p->e->tensor[p->kernel->out[i]].dtype), i);
  P ("  unsigned bx, by, bz;\n");
  for (int i = 0; i < p->b->n_ops; i++)
    if (is_beside (p, i) && mugraph_cols (&op_of (p, i)->shape) == 1) P ("  float m%d[2];\n", i);
  print_place (p);
  print_load (p);
  print_beside (p);
  print_operands (p);
  print_multiply (p);
  print_finish (p);
  P ("};\n");
}

void cuda_emit_tiled (cuda_emitter *e, int k, const cuda_plan *plan) {
  const mugraph_op *kernel = &e->g->op[k];
  printer printing = {.e = e, .b = &e->g->block[kernel->block], .kernel = kernel, .k = k}, *p = &printing;
  cuda_plan_found (plan, &p->t, sizeof p->t);
  const cuda_tiled *t = &p->t;
  cuda_use_templates (e, "mma.cuh", "async.cuh", "cluster.cuh", "tile.cuh", "wgmma.cuh", "tiled.cuh");
  cuda_print_wgmma (&e->body, t->c.type, t->columns);
  if (t->n_sources && t->inner != t->columns) cuda_print_wgmma (&e->body, t->c.type, t->inner);
  print_parts (p);
  int launch = cuda_add_launch (e, plan->blocks, plan->threads, plan->smem, "k%d_tiled", k);
  e->program->launch[launch].cluster[0] = plan->cluster;
  e->program->launch[launch].per_sm = t->per_sm;
  for (int i = 0; i < kernel->n_in; i++) cuda_add_tensor (e, launch, kernel->in[i], false, "in%d", i);
  for (int i = 0; i < kernel->n_out; i++) cuda_add_tensor (e, launch, kernel->out[i], true, "out%d", i);
  for (int i = 0; i < operands (p); i++) {
    char name[16];
    cuda_arg map = map_over (p, i);
    snprintf (name, sizeof name, "map%d", i);
    cuda_add_tensor_map (e, launch, &map, name);
  }
  cuda_open_kernel (e, launch);
  cuda_open_sm90a (e);
  P ("  extern __shared__ __align__ (1024) unsigned char smem[];\n  k%d_parts p = {", k);
  for (int i = 0; i < operands (p); i++) P ("&map%d, ", i);
  for (int i = 0; i < kernel->n_in; i++) P ("in%d, ", i);
  for (int i = 0; i < kernel->n_out; i++) P ("out%d, ", i);
  P ("0, 0, 0};\n  tiled_run (p, smem);\n");
  cuda_close_sm90a (e);
  P ("}\n");
}
