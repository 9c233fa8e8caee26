/* Kernels of the stream generator: cuda_templates/stream/plan_stream.h says what they compute, stream.cuh has the
   pieces.

   Outline of a kernel
     stages of weights and rows of X into registers (program inputs before the wait on the previous launch)
     for each step of 16 k: left and right expressions on the registers, matrix units, row statistics; next stage
     chained matmuls on the partial sums
     partial sums of the warps, then of the blocks of the cluster, meet in shared memory
     each block finishes its share of the elements and stores them
   With a ring, warps have different work in place of the first two lines: the copy engine's, the matrix units', row
   statistics.  */
#include "cuda_templates/emit/kernel.h"
#include "cuda_templates/emit/launches.h"
#include "cuda_templates/generator.h"
#include "plan_stream.h"

#include <stdio.h>
#include <string.h>

typedef struct {
  cuda_emitter *e;
  const mugraph_block *b;
  const mugraph_op *kernel;
  cuda_stream s;
  int groups;            /* of 8 rows */
  uint64_t done;         /* walk */
  char row[24], col[24]; /* of the current element, within the block: post; within the piece: left, right */
} printer;

#define P(...) cuda_print (&p->e->body, __VA_ARGS__)

static const mugraph_op *op_of (const printer *p, int i) { return &p->b->op[i]; }
static int tensor_of (const printer *p, int i) { return p->kernel->in[op_of (p, i)->in[0]]; }
static const cuda_tensor *data_of (const printer *p, int i) { return &p->e->tensor[tensor_of (p, i)]; }
static const char *type_of (const printer *p, int i) { return cuda_type (data_of (p, i)->dtype); }
static bool is_input (const printer *p, int i) { return op_of (p, i)->kind == MUGRAPH_OP_INPUT; }
static bool has (const printer *p, int i, int role) { return p->s.role[i] & role; }

/* Written by an earlier launch: read only after the wait. */
static bool is_late (const printer *p, int i) { return tensor_of (p, i) >= p->e->g->n_inputs; }

/* Stored as [n, k]. */
static bool is_turned (const printer *p, int i) { return p->s.turned[i]; }

/* Read again in every step of the loop over k. */
static bool is_streamed (const printer *p, int i) {
  const mugraph_shape *t = &op_of (p, i)->shape;
  return is_input (p, i) && ((has (p, i, CUDA_STREAM_LEFT) && mugraph_cols (t) > 1) ||
                             (has (p, i, CUDA_STREAM_RIGHT) && mugraph_rows (t) > 1));
}
/* A left or right tile that every step sees alike. */
static bool is_invariant (const printer *p, int i) {
  return is_input (p, i) && has (p, i, CUDA_STREAM_LEFT | CUDA_STREAM_RIGHT) && !is_streamed (p, i);
}

/* Elements between rows of a tile in its tensor; 0 for a single row. */
static long long row_stride (const printer *p, int i) {
  return mugraph_rows (&op_of (p, i)->shape) == 1 ? 0 : (long long) mugraph_cols (&data_of (p, i)->shape);
}

static int piece_of (const printer *p, int i) { return has (p, i, CUDA_STREAM_SOURCE) ? p->s.piece_inner : p->s.piece; }
static int pieces_of (const printer *p, int i) {
  return has (p, i, CUDA_STREAM_SOURCE) ? p->s.pieces_inner : p->s.pieces;
}

/* "limit" of a dimension: valid positions of the block. */
static void print_limit (printer *p, const char *name, const cuda_stream_extent *x) {
  if (x->even) P ("  constexpr int %s = %d;\n", name, x->chunk);
  else P ("  const int %s = min (%d, %d - (int) b%c * %d);\n", name, x->chunk, x->full, "xyz"[x->axis], x -> chunk);
}

static void print_geometry (printer *p) {
  const cuda_stream *s = &p->s;
  if (s->ring)
    P ("  // %d x %d of the result, k %d: %d blocks, %d steps of 64 k, %d of them in flight\n", s->m.chunk, s->n.chunk,
       s->k.chunk, s->split, s->steps, s->stages);
  else
    P ("  // %d x %d of the result, k %d: %d x %d warps x %d blocks, %d steps of 16 k, %d of them in flight\n",
       s->m.chunk, s->n.chunk, s->k.chunk, s->n_warps, s->k_warps, s->split, s->steps, s->stages);
  P ("  typedef %s T;\n", cuda_type (s->type));
  P ("  constexpr int M = %d, Q = %d, N = %d, STEPS = %d, STAGES = %d, U = %d;\n", p->groups, s->pieces, s->piece,
     s->steps, s->stages, s->quads);
  P ("  const int lane = threadIdx.x %% 32, warp = threadIdx.x / 32, g = lane / 4, t = lane %% 4;\n");
  cuda_print_place (&p->e->body, p->b, s->split);
  print_limit (p, "rows", &s->m);
  print_limit (p, "columns", &s->n);
  print_limit (p, "depth", &s->k);
  P ("  (void) g, (void) t, (void) depth, (void) rows;\n");
  if (s->ring) return;
  if (s->n_warps > 1) P ("  const int wn = warp %% %d, wk = warp / %d;\n", s->n_warps, s->n_warps);
  else P ("  constexpr int wn = 0;\n  const int wk = warp;\n");
  P ("  const int n0 = wn * %d + g * N, n1 = min (columns, wn * %d + %d); // columns n0 .. n1 of this lane\n",
     s->columns, s->columns, s->columns);
  P ("  const int k0 = rank * %d + (wk * 4 + t) * (4 * U);                  // its first k\n", s->part);
  P ("  (void) n0, (void) n1, (void) k0;\n");
}

static void print_savers (printer *p) {
  for (int i = 0; i < p->b->n_ops; i++)
    if (op_of (p, i)->kind == MUGRAPH_OP_OUTPUT) cuda_print_saver (p->e, p->kernel, i);
}

static void print_pointers (printer *p) {
  const cuda_stream *s = &p->s;
  for (int i = 0; i < p->b->n_ops; i++) {
    const mugraph_op *o = op_of (p, i);
    if (is_input (p, i) && p->s.role[i]) {
      const char *type = type_of (p, i);
      cuda_print_iterator (p->e, p->kernel, i);
      bool source = has (p, i, CUDA_STREAM_SOURCE);
      if (is_streamed (p, i) && has (p, i, CUDA_STREAM_RIGHT)) {
        const bool turned = is_turned (p, i);
        P (turned ? "  const %s *w%d = p%d + k0" : "  const %s *w%d = p%d + (long long) k0 * %lld", type, i, i,
           row_stride (p, i));
        if (mugraph_cols (&o->shape) > 1) P (source ? " + g * %d" : " + n0", s->piece_inner);
        if (turned) P (" * %lldLL", row_stride (p, i));
        P (";\n");
      } else if (is_streamed (p, i))
        P ("  const %s *x%d = p%d + (long long) g * %lld + k0;\n", type, i, i, row_stride (p, i));
    }
  }
  print_savers (p);
}

static const char *how (bool whole, bool even) {
  return !whole ? "STREAM_GATHER" : even ? "STREAM_ALWAYS" : "STREAM_GUARDED";
}

/* Valid elements of a right tile's piece q in the row k + r. */
static void print_weight_valid (printer *p, bool inner) {
  const cuda_stream *s = &p->s;
  if (!s->even_k) P ("ahead + next + r >= depth ? 0 : ");
  if (inner) P ("%d - g * %d - q * %d", s->inner, s->piece_inner, 8 * s->piece_inner);
  else P ("n1 - n0 - q * 8 * N");
}

static bool even_inner (const cuda_stream *s) { return s->inner == 8 * s->piece_inner * s->pieces_inner; }

/* As rows of X, for each column of a lane. */
static void print_load_turned (printer *p, int i) {
  const cuda_stream *s = &p->s;
  const bool inner = has (p, i, CUDA_STREAM_SOURCE), even = inner ? even_inner (s) : s->even_n;
  const int piece = piece_of (p, i);
  P ("#pragma unroll\n      for (int q = 0; q < %d; q++)\n#pragma unroll\n        for (int j = 0; j < %d; j++)\n",
     pieces_of (p, i), piece);
  P ("          stream_load<%s, true> (x.w%d[q][j], w%d + (q * %d + j) * %lldLL + first, ",
     how (s->whole_k, s->even_k && even), i, i, 8 * piece, row_stride (p, i));
  if (!even) {
    if (inner) P ("(q * 8 + g) * %d + j >= %d ? 0 : ", piece, s->inner);
    else P ("n0 + q * %d + j >= n1 ? 0 : ", 8 * piece);
  }
  P (s->even_k ? "4 * U);\n" : "depth - ahead - first);\n");
}

/* One stage of weights, rows of X of U stages: declared, loaded. Step i of a warp has stage `at`, the remainder of i.
 */
static void print_stage (printer *p) {
  const cuda_stream *s = &p->s;
  P ("  struct {\n");
  for (int i = 0; i < p->b->n_ops; i++) {
    if (!is_streamed (p, i) || !has (p, i, CUDA_STREAM_RIGHT) || is_turned (p, i)) continue;
    if (mugraph_cols (&op_of (p, i)->shape) > 1)
      P ("    stream_piece<%s, %d> w%d[%d][4];\n", type_of (p, i), piece_of (p, i), i, pieces_of (p, i));
    else P ("    float w%d[4];\n", i);
  }
  P ("  } stage[STAGES];\n  struct {\n");
  for (int i = 0; i < p->b->n_ops; i++)
    if (is_streamed (p, i) && has (p, i, CUDA_STREAM_LEFT))
      P ("    stream_piece<%s, 4 * U> x%d[%s];\n", type_of (p, i), i,
         mugraph_rows (&op_of (p, i)->shape) > 1 ? "M" : "1");
    else if (is_streamed (p, i) && is_turned (p, i))
      P ("    stream_piece<%s, 4 * U> w%d[%d][%d];\n", type_of (p, i), i, pieces_of (p, i), piece_of (p, i));
  P ("  } left[STAGES / U];\n  int ahead = k0; // this lane's first k of the next round of loads\n");
  for (int late = 0; late < 2; late++) {
    bool any = false;
    for (int i = 0; i < p->b->n_ops; i++) any |= is_streamed (p, i) && is_late (p, i) == late;
    if (!any) continue;
    P ("  const auto load%s = [&] (int at) { // into this stage\n    auto &s = stage[at];\n    auto &x = left[at / "
       "U];\n    (void) s, (void) x;\n",
       late ? "_late" : "");
    P ("    const int first = at / U * %d, next = first + at %% U * 4;\n    (void) first, (void) next;\n    if (at %% "
       "U == U - 1) {\n",
       16 * s->quads * s->k_warps);
    for (int i = 0; i < p->b->n_ops; i++) {
      if (!is_streamed (p, i) || is_late (p, i) != late || !has (p, i, CUDA_STREAM_LEFT)) continue;
      bool full = mugraph_rows (&op_of (p, i)->shape) > 1;
      P ("#pragma unroll\n      for (int m = 0; m < %s; m++)\n", full ? "M" : "1");
      bool even = s->even_k && (!full || (s->m.chunk % 8 == 0 && s->m.even));
      P ("        stream_load<%s, false> (x.x%d[m], x%d + m * %lldLL + first, ", how (s->whole_k, even), i, i,
         8 * row_stride (p, i));
      if (full) P ("m * 8 + g >= rows ? 0 : ");
      P (s->even_k ? "4 * U);\n" : "depth - ahead - first);\n");
    }
    for (int i = 0; i < p->b->n_ops; i++)
      if (is_streamed (p, i) && is_late (p, i) == late && is_turned (p, i)) print_load_turned (p, i);
    P ("    }\n");
    for (int i = 0; i < p->b->n_ops; i++) {
      if (!is_streamed (p, i) || is_late (p, i) != late || !has (p, i, CUDA_STREAM_RIGHT) || is_turned (p, i)) continue;
      bool inner = has (p, i, CUDA_STREAM_SOURCE);
      long long stride = row_stride (p, i);
      if (mugraph_cols (&op_of (p, i)->shape) == 1) {
        P ("#pragma unroll\n    for (int r = 0; r < 4; r++) s.w%d[r] = %sms_load (w%d + (next + r) * %lldLL);\n", i,
           s->even_k ? "" : "ahead + next + r >= depth ? 0.0f : ", i, stride);
        continue;
      }
      P ("#pragma unroll\n    for (int r = 0; r < 4; r++)\n#pragma unroll\n      for (int q = 0; q < %d; q++)\n",
         pieces_of (p, i));
      bool even = s->even_k && (inner ? even_inner (s) : s->even_n);
      P ("        stream_load<%s, %s> (s.w%d[q][r], w%d + (next + r) * %lldLL + q * %d, ",
         how (inner ? s->whole_inner : s->whole, even), inner ? "false" : "true", i, i, stride, 8 * piece_of (p, i));
      print_weight_valid (p, inner);
      P (");\n");
    }
    P ("  };\n");
  }
  int turn = s->stages * 16 * s->k_warps; /* k from one round of all stages to the next */
  P ("  const auto advance = [&] {\n    ahead += %d;\n", turn);
  for (int i = 0; i < p->b->n_ops; i++) {
    if (!is_streamed (p, i)) continue;
    if (has (p, i, CUDA_STREAM_LEFT)) P ("    x%d += %d;\n", i, turn);
    if (has (p, i, CUDA_STREAM_RIGHT))
      P ("    w%d += %lldLL;\n", i, is_turned (p, i) ? turn : turn * row_stride (p, i));
  }
  P ("  };\n");
}

/* Tiles of the walk that exist on the left and right sides: what the stage or a loop invariant holds. */
static bool side_value (void *user, int i, cuda_text *t) {
  const printer *p = user;
  if (!is_input (p, i)) return false;
  const mugraph_shape *shape = &op_of (p, i)->shape;
  bool left = p->row[0] == 'm';
  if (left) {
    if (is_streamed (p, i))
      cuda_print (t, "stream_at (x.x%d[%s], 4 * u + %s)", i, mugraph_rows (shape) > 1 ? p->row : "0", p->col);
    else cuda_print (t, "c%d[%s]", i, mugraph_rows (shape) > 1 ? p->row : "0");
  } else if (!is_streamed (p, i)) cuda_print (t, mugraph_cols (shape) > 1 ? "c%d[q][%s]" : "c%d[0][0]", i, p->col);
  else if (mugraph_cols (shape) > 1) cuda_print (t, "stream_at (s.w%d[q][r], %s)", i, p->col);
  else cuda_print (t, "s.w%d[r]", i);
  return true;
}

static void print_side (printer *p, int i, const char *row, const char *col, const char *result) {
  cuda_walk w = {.g = p->e->g, .kernel = p->kernel, .prefix = "e", .materialised = side_value, .user = p};
  snprintf (p->row, sizeof p->row, "%s", row);
  snprintf (p->col, sizeof p->col, "%s", col);
  uint64_t done = 0;
  cuda_print_walk (&p->e->body, &w, i, &done);
  P ("%s%s%d;\n", result, w.prefix, i);
}

/* Left operands as registers l<i>[M][2], right ones that are computed as pieces r<i>[..][4]. */
static void print_operand (printer *p, int i, bool left) {
  const cuda_stream *s = &p->s;
  const char *side = left ? "l" : "r";
  const int weight = left ? -1 : cuda_stream_weight (p->b, i);
  if (weight >= 0 && is_turned (p, weight)) {
    P ("    stream_run<T> r%d[%d][%d];\n#pragma unroll\n    for (int q = 0; q < %d; q++)\n#pragma unroll\n      for "
       "(int j = 0; j < %d; j++)",
       i, pieces_of (p, i), piece_of (p, i), pieces_of (p, i), piece_of (p, i));
    P (" r%d[q][j].r[0] = x.w%d[q][j].r[2 * u], r%d[q][j].r[1] = x.w%d[q][j].r[2 * u + 1];\n", i, weight, i, weight);
    return;
  }
  bool plain = is_streamed (p, i) &&
               (left ? data_of (p, i)->dtype == s->type && (mugraph_rows (&op_of (p, i)->shape) > 1 || p->groups == 1)
                     : mugraph_cols (&op_of (p, i)->shape) > 1);
  if (!left && plain) {
    P ("    auto &r%d = s.w%d;\n", i, i);
    return;
  }
  if (left && plain) {
    P ("    unsigned l%d[M][2];\n#pragma unroll\n    for (int m = 0; m < M; m++) l%d[m][0] = x.x%d[m].r[2 * u], "
       "l%d[m][1] = x.x%d[m].r[2 * u + 1];\n",
       i, i, i, i, i);
    return;
  }
  if (left) {
    P ("    unsigned %s%d[M][2];\n#pragma unroll\n    for (int m = 0; m < M; m++) {\n      float v[4];\n", side, i);
    P ("#pragma unroll\n      for (int j = 0; j < 4; j++) {\n");
    print_side (p, i, "m", "j", "v[j] = ");
    if (!s->even_k) P ("if (k + j >= depth) v[j] = 0.0f;\n");
    P ("      }\n      %s%d[m][0] = ms_pack<T> (v[0], v[1]), %s%d[m][1] = ms_pack<T> (v[2], v[3]);\n    }\n", side, i,
       side, i);
    return;
  }
  int piece = piece_of (p, i), pieces = pieces_of (p, i);
  P ("    stream_piece<T, %d> r%d[%d][4];\n", piece, i, pieces);
  P ("#pragma unroll\n    for (int q = 0; q < %d; q++)\n#pragma unroll\n      for (int r = 0; r < 4; r++)\n#pragma "
     "unroll\n        for (int j = 0; j < %d; j += 2) {\n",
     pieces, piece);
  P ("          float v[2];\n#pragma unroll\n          for (int h = 0; h < 2; h++) {\n");
  print_side (p, i, "r", "j + h", "v[h] = ");
  if (!s->even_k) P ("if (k + r >= depth) v[h] = 0.0f;\n");
  P ("          }\n          r%d[q][r].r[j / 2] = ms_pack<T> (v[0], v[1]);\n        }\n", i);
}

static void print_invariants (printer *p) {
  const cuda_stream *s = &p->s;
  for (int i = 0; i < p->b->n_ops; i++) {
    if (!is_invariant (p, i)) continue;
    const mugraph_shape *t = &op_of (p, i)->shape;
    if (has (p, i, CUDA_STREAM_LEFT) && mugraph_rows (t) > 1) {
      P ("  float c%d[M];\n#pragma unroll\n  for (int m = 0; m < M; m++) c%d[m] = m * 8 + g < rows ? ms_load (p%d + (m "
         "* 8 + g) * %lldLL) : 0.0f;\n",
         i, i, i, row_stride (p, i));
    } else if (has (p, i, CUDA_STREAM_LEFT)) P ("  const float c%d[1] = {ms_load (p%d)};\n", i, i);
    else if (mugraph_cols (t) > 1) {
      bool inner = has (p, i, CUDA_STREAM_SOURCE);
      int piece = piece_of (p, i), pieces = pieces_of (p, i);
      P ("  float c%d[%d][%d];\n#pragma unroll\n  for (int q = 0; q < %d; q++)\n#pragma unroll\n    for (int v = 0; v "
         "< %d; v++) {\n",
         i, pieces, piece, pieces, piece);
      if (inner)
        P ("      const int n = g * %d + q * %d + v;\n      c%d[q][v] = n < %d", piece, 8 * piece, i, s->inner);
      else P ("      const int n = n0 + q * %d + v;\n      c%d[q][v] = n < n1", 8 * piece, i);
      P (" ? ms_load (p%d + n) : 0.0f;\n    }\n", i);
    } else P ("  const float c%d[1][1] = {{ms_load (p%d)}};\n", i, i);
  }
}

/* Weights of chained matmuls: r rows, once. Early, unless they would crowd the registers of the loop. */
static void print_chained_weights (printer *p) {
  const cuda_stream *s = &p->s;
  for (int i = 0; i < p->b->n_ops; i++) {
    if (!has (p, i, CUDA_STREAM_CHAIN)) continue;
    P ("  stream_piece<T, N> b%d[%d][%d][Q][4];\n", i, s->pieces_inner, s->piece_inner / 2);
    P ("#pragma unroll\n  for (int qi = 0; qi < %d; qi++)\n#pragma unroll\n    for (int vi = 0; vi < %d; "
       "vi++)\n#pragma unroll\n      for (int r = 0; r < 4; r++) {\n",
       s->pieces_inner, s->piece_inner / 2);
    P ("        const int inner = stream_inner<%d> (qi, vi, t, r);\n", s->piece_inner);
    if (is_turned (p, i)) { /* one by one, pairs of columns in a register */
      P ("#pragma unroll\n        for (int q = 0; q < Q; q++)\n#pragma unroll\n          for (int v = 0; v < N / 2; "
         "v++) {\n            const int n = n0 + q * 8 * N + 2 * v;\n");
      P ("            const auto *at = p%d + n * %lldLL + inner;\n", i, row_stride (p, i));
      P ("            const unsigned low = inner < %d && n < n1 ? ms_load_half (at) : 0, high = inner < %d && n + "
         "1 < n1 ? ms_load_half (at + %lldLL) : 0;\n",
         s->inner, s->inner, row_stride (p, i));
      P ("            b%d[qi][vi][q][r].r[v] = low | high << 16;\n          }\n      }\n", i);
      continue;
    }
    P ("#pragma unroll\n        for (int q = 0; q < Q; q++)\n          stream_load<%s, false> (b%d[qi][vi][q][r], p%d "
       "+ inner * %lldLL + n0 + q * 8 * N, ",
       how (s->whole, s->even_n && even_inner (s)), i, i, row_stride (p, i));
    if (!even_inner (s)) P ("inner >= %d ? 0 : ", s->inner);
    P ("n1 - n0 - q * 8 * N);\n      }\n");
  }
}

/* Index of a product among them; the one before it. */
static int pair_of (const printer *p, int i) {
  int n = 0;
  for (int j = 0; j < i; j++) n += has (p, j, CUDA_STREAM_PRODUCT);
  return n;
}
static int partner_of (const printer *p, int i) {
  do i--;
  while (!has (p, i, CUDA_STREAM_PRODUCT));
  return i;
}

/* Index of the product that accumulator i holds. */
static int product_of (const printer *p, int i) {
  while (!has (p, i, CUDA_STREAM_PRODUCT)) i = op_of (p, i)->in[0];
  return pair_of (p, i);
}

static void print_sums (printer *p, int i) {
  if (p->s.ring) P ("  float f%d[GROUPS][4 * M] = {};", i);
  else P ("  float f%d[Q][N / 2][M][4] = {};", i);
  cuda_print_comment (&p->e->body, p->e->g, p->kernel, i);
}

static void print_accumulators (printer *p) {
  const cuda_stream *s = &p->s;
  for (int i = 0; i < p->b->n_ops; i++) {
    if (has (p, i, CUDA_STREAM_PRODUCT)) {
      if (has (p, i, CUDA_STREAM_SOURCE)) {
        P ("  float f%d[(M + 1) / 2][%d][%d][2][4] = {};", i, s->pieces_inner, s->piece_inner / 2);
        cuda_print_comment (&p->e->body, p->e->g, p->kernel, i);
      } else if (!s->stacked || pair_of (p, i) % 2 == 0) print_sums (p, i);
      else {
        P ("  auto &f%d = f%d; // rows 32 to 63\n", i, partner_of (p, i));
        cuda_print_comment (&p->e->body, p->e->g, p->kernel, i);
      }
    }
    if (has (p, i, CUDA_STREAM_ROW)) {
      P ("  float y%d[%s] = {};", i, s->ring ? "PART" : "M");
      cuda_print_comment (&p->e->body, p->e->g, p->kernel, i);
    }
  }
}

static int row_source (const printer *p, int i) {
  const mugraph_op *o = op_of (p, i);
  return o->kind == MUGRAPH_OP_ACCUM ? op_of (p, o->in[0])->in[0] : o->in[0];
}

static void print_use (printer *p) {
  const cuda_stream *s = &p->s;
  P ("  const auto use = [&] (int i, int at) {\n    auto &s = stage[at];\n    auto &x = left[at / U];\n    const int u "
     "= at %% U, k = k0 + i / U * %d + u * 4;\n",
     16 * s->quads * s->k_warps);
  P ("    (void) s, (void) x, (void) k;\n");
  bool left[MUGRAPH_BLOCK_OPS] = {false}, right[MUGRAPH_BLOCK_OPS] = {false};
  for (int i = 0; i < p->b->n_ops; i++) {
    if (!has (p, i, CUDA_STREAM_PRODUCT)) continue;
    int a = op_of (p, i)->in[0], b = op_of (p, i)->in[1];
    if (!left[a]) print_operand (p, a, true);
    left[a] = true;
    if (!right[b]) print_operand (p, b, false);
    right[b] = true;
    P (has (p, i, CUDA_STREAM_SOURCE) ? "    stream_source<T, %d, %d, M> (f%d, r%d, l%d);\n"
                                      : "    stream_product<T, %d, %d, M> (f%d, r%d, l%d);\n",
       has (p, i, CUDA_STREAM_SOURCE) ? s->pieces_inner : s->pieces,
       has (p, i, CUDA_STREAM_SOURCE) ? s->piece_inner : s->piece, i, b, a);
  }
  for (int i = 0; i < p->b->n_ops; i++) {
    if (!has (p, i, CUDA_STREAM_ROW)) continue;
    P ("#pragma unroll\n    for (int m = 0; m < M; m++)\n#pragma unroll\n      for (int j = 0; j < 4; j++) {\n");
    print_side (p, row_source (p, i), "m", "j", "const float v = ");
    if (!s->even_k) P ("        if (k + j < depth)\n");
    P (op_of (p, i)->kind == MUGRAPH_OP_ACCUM_RMS ? "        y%d[m] += v * v;\n      }\n"
                                                  : "        y%d[m] += v;\n      }\n",
       i);
  }
  P ("  };\n");
}

static void print_loop (printer *p) {
  const cuda_stream *s = &p->s;
  bool early = false, late = false, other = false;
  for (int i = 0; i < p->b->n_ops; i++) {
    if (is_streamed (p, i)) *(is_late (p, i) ? &late : &early) = true;
    else if (is_input (p, i) && has (p, i, CUDA_STREAM_LEFT | CUDA_STREAM_RIGHT | CUDA_STREAM_CHAIN))
      other |= is_late (p, i);
  }
  const char *names[2] = {early ? "load" : NULL, late ? "load_late" : NULL};
  int chained = s->inner ? 2 * s->pieces * s->piece * s->pieces_inner * s->piece_inner / 2 : 0;
  bool wait = late || other;
  for (int l = 0; l < 2; l++) {
    if (l && wait) P ("  ms_wait_inputs ();\n");
    if (names[l]) P ("#pragma unroll\n  for (int i = 0; i < STAGES; i++) %s (i);\n", names[l]);
  }
  print_invariants (p);
  if (chained && chained <= 32) print_chained_weights (p);
  print_accumulators (p);
  print_use (p);
  if (s->steps == s->stages) P ("#pragma unroll\n  for (int i = 0; i < STEPS; i++) use (i, i);\n");
  else {
    /* The compiler may not know the number of steps: only then is each of them a piece of code of its own, whose loads
       stay ahead of the next step's use. In one piece they sink below it, and half of what should be in flight is not.
     */
    P ("  const int steps = STEPS + gridDim.y - 1; // the grid has one row\n  advance ();\n");
    P ("#pragma unroll 1\n  for (int i = 0; i < steps; i += STAGES) {\n#pragma unroll\n    for (int at = 0; at < "
       "STAGES; at++) {\n");
    P ("      if (i + at >= steps) break;\n      use (i + at, at);\n      if (i + at + STAGES < steps) {\n");
    for (int l = 0; l < 2; l++)
      if (names[l]) P ("        %s (at);\n", names[l]);
    P ("      }\n    }\n    advance ();\n  }\n");
  }
  if (chained > 32) print_chained_weights (p);
}

/* Linear tiles over partial sums: another name where nothing is computed. */
static void print_linear (printer *p) {
  const cuda_stream *s = &p->s;
  for (int i = 0; i < p->b->n_ops; i++) {
    if (!has (p, i, CUDA_STREAM_LINEAR)) continue;
    const mugraph_op *o = op_of (p, i);
    int a = o->in[0];
    bool source = has (p, i, CUDA_STREAM_SOURCE);
    if (o->kind == MUGRAPH_OP_ACCUM) {
      P ("  auto &f%d = f%d;\n", i, a);
      continue;
    }
    if (source) P ("  float f%d[(M + 1) / 2][%d][%d][2][4] = {};\n", i, s->pieces_inner, s->piece_inner / 2);
    else print_sums (p, i);
    if (o->kind == MUGRAPH_OP_MATMUL) {
      P ("  stream_chain<T, Q, N, M, %d, %d> (f%d, f%d, b%d);\n", s->pieces_inner, s->piece_inner, i, a,
         cuda_stream_weight (p->b, o->in[1]));
      continue;
    }
    P ("#pragma unroll\n  for (int i = 0; i < (int) (sizeof f%d / 4); i++) ((float *) f%d)[i] = ", i, i);
    if (o->kind == MUGRAPH_OP_NEG) P ("-((float *) f%d)[i];\n", a);
    else P ("((float *) f%d)[i] %c ((float *) f%d)[i];\n", a, o->kind == MUGRAPH_OP_ADD ? '+' : '-', o->in[1]);
  }
}

/* Index of operator i among those of a role. */
static int rank_of (const printer *p, int i, int role) {
  int n = 0;
  for (int j = 0; j < i; j++) n += has (p, j, role);
  return n;
}

/* Sums of the warps of a block, and their row statistics, in shared memory. */
static void print_warp_sums (printer *p) {
  const cuda_stream *s = &p->s;
  int rows = p->groups * 8;
  if (s->n_warps > 1) P ("  float4 *const mine = sums + wk * ROOTS * SLOTS + wn * (SLOTS / %d);\n", s->n_warps);
  else P ("  float4 *const mine = sums + wk * ROOTS * SLOTS;\n");
  for (int half = s->k_warps / 2; half >= s->reduced;
       half /= 2) { /* too many for shared memory: the upper half gives its sums to the lower */
    P ("  if (wk >= %d && wk < %d) {\n", half, 2 * half);
    for (int i = 0; i < p->b->n_ops; i++)
      if (has (p, i, CUDA_STREAM_ROOT))
        P ("    stream_put (mine + (%d * SLOTS - %d * ROOTS * SLOTS), f%d);\n", rank_of (p, i, CUDA_STREAM_ROOT), half,
           i);
    P ("  }\n  __syncthreads ();\n  if (wk < %d) {\n", half);
    for (int i = 0; i < p->b->n_ops; i++)
      if (has (p, i, CUDA_STREAM_ROOT))
        P ("    stream_add (f%d, mine + %d * SLOTS);\n", i, rank_of (p, i, CUDA_STREAM_ROOT));
    P ("  }\n  __syncthreads ();\n");
  }
  if (s->reduced < s->k_warps) P ("  if (wk < %d) {\n", s->reduced);
  for (int i = 0; i < p->b->n_ops; i++)
    if (has (p, i, CUDA_STREAM_ROOT))
      P ("  stream_put (mine + %d * SLOTS, f%d);\n", rank_of (p, i, CUDA_STREAM_ROOT), i);
  if (s->reduced < s->k_warps) P ("  }\n");
  for (int i = 0; i < p->b->n_ops; i++)
    if (has (p, i, CUDA_STREAM_ROW)) {
      int base = rank_of (p, i, CUDA_STREAM_ROW) * rows;
      P ("#pragma unroll\n  for (int m = 0; m < M; m++) {\n    const float v = ms_quad_sum (y%d[m]);\n"
         "    if (t == 0 && wn == 0) stats[(",
         i);
      if (base) P ("%d + ", base);
      P ("m * 8 + g) * %d + wk] = v;\n  }\n", s->k_warps);
    }
}

/* The same of a warpgroup; of the warps that take row statistics, eight lanes share a row. */
static void print_group_sums (printer *p) {
  const cuda_stream *s = &p->s;
  P ("  if (warp < 4) {\n");
  for (int i = 0; i < p->b->n_ops; i++) {
    if (!has (p, i, CUDA_STREAM_ROOT)) continue;
    if (s->stacked) P ("    if (warp / 2 == %d)\n", product_of (p, i) % 2);
    P ("#pragma unroll\n    for (int q = 0; q < GROUPS; q++) stream_put_group<M> (sums + %d * SLOTS + q * %d * M, "
       "f%d[q], %s);\n",
       rank_of (p, i, CUDA_STREAM_ROOT), 2 * s->columns, i, s->stacked ? "warp % 2" : "warp");
  }
  P ("  }\n");
  for (int i = 0; i < p->b->n_ops; i++)
    if (has (p, i, CUDA_STREAM_ROW))
      P ("  if (warp > 4) {\n#pragma unroll\n    for (int m = 0; m < PART; m++) {\n      const float v = ms_quad_sum "
         "(y%d[m]), all = v + __shfl_xor_sync (0xffffffffu, v, 4);\n"
         "      if (unit == 0 && row0 + m * 16 < 8 * M) stats[%d + row0 + m * 16] = all;\n    }\n  }\n",
         i, rank_of (p, i, CUDA_STREAM_ROW) * p->groups * 8);
}

static void print_combine (printer *p) {
  const cuda_stream *s = &p->s;
  int share = mugraph_ceil_div (s->slots, s->split), rows = p->groups * 8;
  P ("  constexpr int SLOTS = %d, SHARE = %d, ROOTS = %d; // groups of four sums: of a block, of one that finishes "
     "them\n",
     s->slots, share, s->n_roots);
  P ("  float4 *const sums = stream_sums; // [k warps][ROOTS][SLOTS]\n");
  if (s->split > 1) P ("  float4 *const parts = sums + %d * ROOTS * SLOTS; // [ROOTS][rank][SHARE]\n", s->reduced);
  if (s->n_rows) {
    P ("  float *const stats = (float *) (sums + (%d * SLOTS + %d * SHARE) * ROOTS); // [row tile][row][k warp]\n",
       s->reduced, s->split > 1 ? s->split : 0);
    if (s->split > 1)
      P ("  float *const stat_parts = stats + %d; // [row tile][row][rank]\n", s->n_rows * s->k_warps * rows);
  }
  if (s->ring) print_group_sums (p);
  else print_warp_sums (p);
  P ("  __syncthreads ();\n");
  if (s->split == 1) return;
  P ("  stream_meet ();\n");
  P ("#pragma unroll\n  for (int root = 0; root < ROOTS; root++)\n    for (unsigned i = threadIdx.x; i < SLOTS; i += "
     "blockDim.x)\n");
  P ("      stream_push (parts + (root * %d + rank) * SHARE + i %% SHARE, i / SHARE, &arrived, stream_sum<%d> (sums + "
     "root * SLOTS + stream_slot<N / 2, M> (i), ROOTS * SLOTS));\n",
     s->split, s->reduced);
  if (s->n_rows) {
    P ("  for (int i = threadIdx.x; i < %d; i += blockDim.x) {\n", s->n_rows * rows * s->split);
    P ("    const int to = i / %d, stat = i %% %d;\n", s->n_rows * rows, s->n_rows * rows);
    P ("    stream_push (stat_parts + stat * %d + rank, to, &arrived, stream_total<%d> (stats + stat * %d));\n  }\n",
       s->split, s->k_warps, s->k_warps);
  }
  P ("  stream_wait (&arrived);\n");
}

static bool post_value (void *user, int i, cuda_text *t) {
  const printer *p = user;
  if (has (p, i, CUDA_STREAM_ROOT)) cuda_print (t, "a%d[h + 2 * c]", i);
  else if (has (p, i, CUDA_STREAM_ROW)) cuda_print (t, "z%d", i);
  else if (is_input (p, i)) {
    const mugraph_shape *s = &op_of (p, i)->shape;
    cuda_print (t, "ms_load (p%d", i);
    if (mugraph_rows (s) > 1) cuda_print (t, " + row * %lldLL", row_stride (p, i));
    if (mugraph_cols (s) > 1) cuda_print (t, " + (column + c)");
    cuda_print (t, ")");
  } else return false;
  return true;
}

/* A quotient by a root mean square is a product with its reciprocal, which costs less than the root. */
static bool post_quotient (void *user, int i, const char *a, const char *b, cuda_text *t) {
  const printer *p = user;
  const mugraph_op *o = op_of (p, i);
  (void) b;
  if (o->kind != MUGRAPH_OP_DIV || !has (p, o->in[1], CUDA_STREAM_ROW) ||
      op_of (p, o->in[1])->kind != MUGRAPH_OP_ACCUM_RMS)
    return false;
  cuda_print (t, "%s * over%d", a, o->in[1]);
  return true;
}

static void print_finish (printer *p) {
  const cuda_stream *s = &p->s;
  int rows = p->groups * 8;
  cuda_walk w = {
      .g = p->e->g, .kernel = p->kernel, .prefix = "e", .materialised = post_value, .value = post_quotient, .user = p};
  P ("  ms_wait_inputs (); // nothing before this writes, or reads what earlier launches write, unless it has waited "
     "by itself\n");
  P ("  for (unsigned i = threadIdx.x; i < SHARE; i += blockDim.x) {\n");
  P (s->split > 1 ? "    const unsigned slot = rank * SHARE + i;\n    if (slot >= SLOTS) break;\n"
                  : "    const unsigned slot = i;\n");
  P ("    const int v = slot %% (N / 2), group = slot / (N / 2) %% 8, below = slot / (4 * N) %% 4, m = slot / (16 * N) "
     "%% M, q = slot / (16 * N * M) %% Q;\n");
  P ("    const int first = q * 8 * N + group * N + 2 * v, column = slot / (16 * N * M * Q) * %d + first, inside = min "
     "(columns - column, %d - first);\n",
     s->columns, s->columns);
  P ("    if (inside <= 0 || m * 8 + below * 2 >= rows) continue;\n");
  for (int i = 0; i < p->b->n_ops; i++) {
    if (!has (p, i, CUDA_STREAM_ROOT)) continue;
    int root = rank_of (p, i, CUDA_STREAM_ROOT);
    if (s->split > 1)
      P ("    const float4 s%d = stream_sum<%d> (parts + %d * SHARE + i, SHARE);\n", i, s->split, root * s->split);
    else
      P ("    const float4 s%d = stream_sum<%d> (sums + %d * SLOTS + stream_slot<N / 2, M> (slot), ROOTS * SLOTS);\n",
         i, s->reduced, root);
    P ("    const float a%d[4] = {s%d.x, s%d.y, s%d.z, s%d.w};\n", i, i, i, i, i);
  }
  P ("#pragma unroll\n    for (int h = 0; h < 2; h++) {\n      const int row = m * 8 + below * 2 + h;\n      if (row "
     ">= rows) break;\n");
  for (int i = 0; i < p->b->n_ops; i++) {
    if (!has (p, i, CUDA_STREAM_ROW)) continue;
    int stat = rank_of (p, i, CUDA_STREAM_ROW), parts = s->split > 1 ? s->split : s->k_warps;
    P ("      float z%d = stream_total<%d> (%s + (%d + row) * %d);\n", i, parts, s->split > 1 ? "stat_parts" : "stats",
       stat * rows, parts);
    const mugraph_op *o = op_of (p, i);
    bool rms = o->kind == MUGRAPH_OP_ACCUM_RMS;
    if (rms || o->kind == MUGRAPH_OP_ACCUM_MEAN || o->kind == MUGRAPH_OP_MEAN)
      P ("      z%d *= 1.0f / (float) depth;\n", i);
    if (rms) {
      P ("      z%d += ", i);
      cuda_print_number (&p->e->body, o->c[0]);
      P (";\n      const float over%d = rsqrtf (z%d);\n      z%d = ms_sqrt (z%d);\n      (void) over%d;\n", i, i, i, i,
         i);
    }
  }
  int savers = 0;
  for (int i = 0; i < p->b->n_ops; i++)
    if (op_of (p, i)->kind == MUGRAPH_OP_OUTPUT) P ("      float v%d[2];\n", savers++);
  bool even = s->even_n && s->n.chunk % 2 == 0;
  P ("#pragma unroll\n      for (int c = 0; c < 2; c++) {\n");
  if (!even) P ("        if (c >= inside) break;\n");
  p->done = 0;
  for (int i = 0, n = 0; i < p->b->n_ops; i++) {
    if (op_of (p, i)->kind != MUGRAPH_OP_OUTPUT) continue;
    cuda_print_walk (&p->e->body, &w, op_of (p, i)->in[0], &p->done);
    P ("        v%d[c] = e%d;\n", n++, op_of (p, i)->in[0]);
  }
  P ("      }\n");
  for (int i = 0, n = 0; i < p->b->n_ops; i++) {
    if (op_of (p, i)->kind != MUGRAPH_OP_OUTPUT) continue;
    const cuda_tensor *out = &p->e->tensor[p->kernel->out[n]];
    int width = mugraph_cols (&out->shape);
    bool pair = width % 2 == 0 && s->columns % 2 == 0 && s->n.chunk % 2 == 0;
    P ("      stream_store<%s> (o%d + row * %dLL + column, v%d[0], v%d[1], inside);\n", pair ? "true" : "false", i,
       width, n, n);
    n++;
  }
  P ("    }\n  }\n");
}

/* Who finishes is told how much will come. */
static void print_expect (printer *p) {
  const cuda_stream *s = &p->s;
  int share = mugraph_ceil_div (s->slots, s->split);
  P ("  stream_expect (&arrived, %d * (%d * max (0, min (%d, %d - rank * %d)) + %d));\n", s->split, 16 * s->n_roots,
     share, s->slots, share, 4 * s->n_rows * p->groups * 8);
}

/* ---- a ring of shared memory ---- */

/* What the copy engine brings: weights and rows of X. */
static bool is_copied (const printer *p, int i) {
  return is_input (p, i) && has (p, i, CUDA_STREAM_LEFT | CUDA_STREAM_RIGHT);
}
static int64_t place_of (const printer *p, int i) { return cuda_stream_place (&p->s, p->b, i); }

/* Of the box of a weight stored as [n, k]: columns of the result, those of this block only where one box has them all.
   What it leaves of the tile unwritten reaches columns that nobody stores. */
static int turned_rows (const printer *p) { return p->s.n_warps == 1 ? p->s.n.chunk : p->s.columns; }

/* Bytes that arrive for a stage. */
static int64_t arriving_bytes (const printer *p) {
  int64_t bytes = p->s.stage_bytes;
  for (int i = 0; i < p->b->n_ops; i++)
    if (is_turned (p, i)) bytes -= 128ll * p->s.n_warps * (p->s.columns - turned_rows (p));
  return bytes;
}

/* d += W^T X^T for 64 rows of W^T, 16 k and 8 M rows of X, both in shared memory, columns of W (TURNED: k too) and k of
 * X contiguous. */
static void print_group_product (printer *p) {
  const char *type = cuda_type (p->s.type);
  int rows = 8 * p->groups, r = rows / 2;
  P ("\n#ifndef STREAM_PRODUCT_%s_%d\n#define STREAM_PRODUCT_%s_%d\n", type, rows, type, rows);
  P ("template <bool TURNED = false> MS_DEVICE void stream_group_product (%s, float (&d)[%d], unsigned long long w, "
     "unsigned long long x) {\n",
     type, r);
  P ("  asm volatile (\"wgmma.mma_async.sync.aligned.m64n%dk16.f32.%s.%s {", rows, type + 3, type + 3);
  for (int i = 0; i < r; i++) P ("%s%%%d", i ? ", " : "", i);
  P ("}, %%%d, %%%d, 1, 1, 1, %%%d, 0;\"\n                : ", r, r + 1, r + 2);
  for (int i = 0; i < r; i++) P ("%s\"+f\" (d[%d])", i ? ", " : "", i);
  P ("\n                : \"l\" (w), \"l\" (x), \"n\" ((int) !TURNED));\n}\n#endif\n");
}

static void add_map (printer *p, int launch, int i) {
  const cuda_tensor *t = data_of (p, i);
  uint64_t cols = (uint64_t) mugraph_cols (&t->shape), rows = (uint64_t) mugraph_rows (&t->shape);
  bool left = has (p, i, CUDA_STREAM_LEFT), turned = is_turned (p, i), narrow = !left && !turned && p->s.stacked;
  uint32_t box = left ? (uint32_t) p->groups * 8 : turned ? (uint32_t) turned_rows (p) : 64; /* rows */
  cuda_arg map = {.kind = CUDA_ARG_TENSOR_MAP,
                  .buffer = t->buffer,
                  .dtype = t->dtype,
                  .rank = 3,
                  .dim = {cols, rows, (uint64_t) mugraph_volume (&t->shape) / cols / rows},
                  .stride = {0, cols * 2, cols * rows * 2},
                  .box = {narrow ? 32 : 64, box, 1},
                  .swizzle = narrow ? 64 : 128};
  char name[24];
  snprintf (name, sizeof name, "map%d", i);
  cuda_add_tensor_map (p->e, launch, &map, name);
}

static void print_copies (printer *p, bool late) {
  const cuda_stream *s = &p->s;
  P ("  const auto copy%s = [&] (int i, int s) {\n    const unsigned to = ring + s * STAGE, done = full + 8 * s;\n    "
     "const int k = rank * %d + i * 64;\n",
     late ? "_late" : "", s->part);
  if (!late) P ("    ms_barrier_expect (done, %lld);\n", (long long) arriving_bytes (p));
  for (int turn = 0; turn < 2 * p->b->n_ops; turn++) { /* weights first: they come from farther */
    int i = turn % p->b->n_ops;
    bool left = turn >= p->b->n_ops, along_k = left || is_turned (p, i);
    const char *column = left ? "0" : s->stacked ? "q * 32" : "q * 64";
    if (!is_copied (p, i) || is_late (p, i) != late || has (p, i, CUDA_STREAM_LEFT) != left) continue;
    const mugraph_op *o = op_of (p, i);
    const mugraph_shape *data = &data_of (p, i)->shape;
    int n = data->n_dims;
    if (!left) P ("#pragma unroll\n    for (int q = 0; q < GROUPS; q++)\n  ");
    P ("    ms_copy_box (to + %lld%s, &map%d, %s", (long long) place_of (p, i), left ? "" : " + q * 8192", i,
       along_k ? "k" : column);
    cuda_print_begin (&p->e->body, p->b, o, data, n - 1, n, 1);
    P (", %s", along_k ? column : "k");
    cuda_print_begin (&p->e->body, p->b, o, data, n - 2, n - 1, n < 2 ? 1 : cuda_stride (data, n - 2));
    P (", ");
    cuda_print_origin (&p->e->body, p->b, o, data, 0, n - 2, (int64_t) mugraph_rows (data) * mugraph_cols (data));
    P (", done);\n");
  }
  P ("    (void) to, (void) done, (void) k;\n  };\n");
}

#define BLOCK(...) cuda_block (&p->e->body, __VA_ARGS__)

/* What every thread of a ring's kernel knows, and the copies as functions of the step and its stage. */
static void print_ring_places (printer *p, bool late) {
  const cuda_stream *s = &p->s;
  BLOCK ("constexpr int GROUPS = $groups, STAGE = $stage_bytes, PART = (M + 1) / 2; // of columns; bytes; rows of X of "
         "a thread\n"
         "float4 *const stream_sums = (float4 *) (stream_ring + STAGES * STAGE);\n"
         "const unsigned ring = ms_shared_address (stream_ring), full = ring + $barriers, empty = full + 8 * STAGES;\n"
         "const int steps = max (0, min (STEPS, (depth - rank * $part + 63) / 64));\n"
         "const int unit = threadIdx.x % 8, row0 = threadIdx.x / 8 % 16;\n"
         "(void) unit, (void) row0;\n",
         CUDA_NAME ("groups", s->n_warps), CUDA_NAME ("stage_bytes", s->stage_bytes),
         CUDA_NAME ("barriers", s->barriers), CUDA_NAME ("part", s->part));
  for (int i = 0; i < p->b->n_ops; i++) {
    if (!is_input (p, i) || !p->s.role[i] || (is_copied (p, i) && !has (p, i, CUDA_STREAM_POST))) continue;
    cuda_print_iterator (p->e, p->kernel, i);
  }
  print_savers (p);
  print_copies (p, false);
  if (late) print_copies (p, true);
}

/* Barriers and the first copies, by one thread. */
static void print_ring_start (printer *p, bool late) {
  const cuda_stream *s = &p->s;
  P ("if (threadIdx.x == 0) {\n");
  for (int i = 0; i < p->b->n_ops; i++)
    if (is_copied (p, i)) P ("ms_prefetch_map (&map%d);\n", i);
  BLOCK ("}\n"
         "if (threadIdx.x == 128) {\n"
         "  for (int i = 0; i < STAGES; i++) ms_barrier_init (full + 8 * i, 1), ms_barrier_init (empty + 8 * i, "
         "$readers);\n"
         "  ms_barrier_init_fence ();\n"
         "  for (int i = 0; i < STAGES && i < steps; i++) copy (i, i);\n"
         "  $wait\n"
         "  $late\n"
         "}\n",
         CUDA_NAME ("readers", s->n_rows ? 8 : 4), CUDA_NAME ("wait", late ? "ms_wait_inputs ();" : ""),
         CUDA_NAME ("late", late ? "for (int i = 0; i < STAGES && i < steps; i++) copy_late (i, i);" : ""));
  if (s->split > 1) {
    BLOCK ("unsigned long long &arrived = *(unsigned long long *) (stream_ring + $at);\n",
           CUDA_NAME ("at", s->barriers + 16 * s->stages));
    print_expect (p);
  } else P ("__syncthreads ();\n");
}

/* Four warps multiply what has arrived. */
static void print_ring_products (printer *p) {
  const cuda_stream *s = &p->s;
  P ("if (warp < 4) {\n"
     "#pragma unroll 1\n"
     "  for (int i = 0, s = 0, turn = 0; i < steps; i++) {\n"
     "    const unsigned at = ring + s * STAGE;\n"
     "    ms_barrier_wait (full + 8 * s, turn);\n"
     "    ms_wgmma_fence ();\n"
     "#pragma unroll\n"
     "    for (int k = 0; k < 4; k++)\n"
     "#pragma unroll\n"
     "      for (int q = 0; q < GROUPS; q++) {\n");
  for (int i = 0; i < p->b->n_ops; i++) {
    if (!has (p, i, CUDA_STREAM_PRODUCT) || (s->stacked && pair_of (p, i) % 2)) continue;
    const int w = cuda_stream_weight (p->b, op_of (p, i)->in[1]);
    const bool turned = is_turned (p, w);
    BLOCK ("stream_group_product$turned (T (), f$i[q], stream_operand$pair (at + $weight + q * 8192 + k * $step), "
           "stream_operand (at + $rows + k * 32));\n",
           CUDA_NAME ("turned", turned ? "<true>" : ""), CUDA_NAME ("i", i),
           CUDA_NAME ("pair", s->stacked && !turned ? "_pair" : ""), CUDA_NAME ("weight", place_of (p, w)),
           CUDA_NAME ("step", turned       ? 32
                              : s->stacked ? 1024
                                           : 2048),
           CUDA_NAME ("rows", place_of (p, op_of (p, i)->in[0])));
  }
  P ("      }\n"
     "    ms_wgmma_commit ();\n"
     "    ms_wgmma_wait ();\n"
     "    if (lane == 0) ms_barrier_arrive (empty + 8 * s);\n"
     "    if (++s == STAGES) s = 0, turn ^= 1;\n"
     "  }\n");
  for (int i = 0; i < p->b->n_ops; i++)
    if (has (p, i, CUDA_STREAM_PRODUCT)) P ("  ms_keep (f%d);\n", i);
}

/* One lane of a fifth warp copies what comes after the first stages. */
static void print_ring_copies (printer *p, bool late) {
  BLOCK ("} else if (warp == 4) {\n"
         "  if (lane == 0) {\n"
         "    for (int i = STAGES, s = 0, turn = 0; i < steps; i++) {\n"
         "      // not before: calls that stream side by side disturb each other\n"
         "      if (i == steps - STAGES / 2) ms_launch_dependents ();\n"
         "      ms_barrier_wait (empty + 8 * s, turn);\n"
         "      copy (i, s);\n"
         "      $late\n"
         "      if (++s == STAGES) s = 0, turn ^= 1;\n"
         "    }\n"
         "    ms_launch_dependents ();\n"
         "  }\n",
         CUDA_NAME ("late", late ? "copy_late (i, s);" : ""));
}

/* Four more warps take sums along the rows of X, where there are any. */
static void print_ring_rows (printer *p) {
  BLOCK ("} else {\n"
         "#pragma unroll 1\n"
         "  for (int i = 0, s = 0, turn = 0; i < steps; i++) {\n"
         "    const int k = rank * $part + i * 64 + unit * 8;\n"
         "    constexpr int u = 0;\n"
         "    (void) k, (void) u;\n"
         "    ms_barrier_wait (full + 8 * s, turn);\n"
         "    struct {\n",
         CUDA_NAME ("part", p->s.part));
  for (int i = 0; i < p->b->n_ops; i++)
    if (is_copied (p, i) && has (p, i, CUDA_STREAM_LEFT)) P ("stream_piece<T, 8> x%d[PART];\n", i);
  P ("    } x;\n"
     "#pragma unroll\n"
     "    for (int m = 0; m < PART; m++) {\n"
     "      if (row0 + m * 16 >= 8 * M) break;\n");
  for (int i = 0; i < p->b->n_ops; i++)
    if (is_copied (p, i) && has (p, i, CUDA_STREAM_LEFT))
      BLOCK ("stream_read_tile (x.x$i[m], stream_ring + s * STAGE + $place, row0 + m * 16, unit);\n",
             CUDA_NAME ("i", i), CUDA_NAME ("place", place_of (p, i)));
  for (int i = 0; i < p->b->n_ops; i++) {
    if (!has (p, i, CUDA_STREAM_ROW)) continue;
    P ("#pragma unroll\n"
       "for (int j = 0; j < 8; j++) {\n");
    print_side (p, row_source (p, i), "m", "j", "const float v = ");
    if (!p->s.even_k) P ("if (k + j < depth) ");
    P (op_of (p, i)->kind == MUGRAPH_OP_ACCUM_RMS ? "y%d[m] += v * v;\n}\n" : "y%d[m] += v;\n}\n", i);
  }
  P ("    }\n"
     "    __syncwarp ();\n"
     "    if (lane == 0) ms_barrier_arrive (empty + 8 * s);\n"
     "    if (++s == STAGES) s = 0, turn ^= 1;\n"
     "  }\n");
}

static void print_ring (printer *p) {
  bool late = false;
  for (int i = 0; i < p->b->n_ops; i++) late |= is_copied (p, i) && is_late (p, i);
  print_ring_places (p, late);
  print_ring_start (p, late);
  print_accumulators (p);
  print_ring_products (p);
  print_ring_copies (p, late);
  if (p->s.n_rows) print_ring_rows (p);
  P ("}\n");
}

void cuda_emit_stream (cuda_emitter *e, int k, const cuda_plan *plan) {
  printer state = {.e = e, .b = &e->g->block[e->g->op[k].block], .kernel = &e->g->op[k]}, *p = &state;
  cuda_plan_found (plan, &p->s, sizeof p->s);
  p->groups = mugraph_ceil_div (p->s.m.chunk, 8);
  cuda_use_templates (e, "load.cuh", "mma.cuh", "async.cuh", "cluster.cuh", "stream.cuh");
  if (p->s.ring) cuda_use_templates (e, "tile.cuh", "wgmma.cuh", "stream_ring.cuh");
  if (p->s.ring) print_group_product (p);
  int l = cuda_add_launch (e, plan->blocks, plan->threads, plan->smem, "k%d_stream", k);
  e->program->launch[l].cluster[0] = plan->cluster;
  for (int i = 0; i < p->kernel->n_in; i++) {
    int tensor = p->kernel->in[i];
    if (tensor < e->g->n_inputs) cuda_add_tensor (e, l, tensor, false, "in%d", i);
    else
      cuda_add_pointer (e, l, e->tensor[tensor].buffer, "const %s *in%d", cuda_type (e->tensor[tensor].dtype),
                        i); /* no read before the wait */
  }
  for (int i = 0; i < p->kernel->n_out; i++) cuda_add_tensor (e, l, p->kernel->out[i], true, "out%d", i);
  for (int i = 0; i < p->b->n_ops; i++)
    if (p->s.ring && is_copied (p, i)) add_map (p, l, i);
  cuda_open_kernel (e, l);
  if (!p->s.ring) P ("  ms_launch_dependents ();\n");
  if (p->s.ring) cuda_open_sm90a (e);
  P (p->s.ring ? "  extern __shared__ __align__ (1024) unsigned char stream_ring[];\n"
               : "  extern __shared__ float4 stream_sums[];\n");
  print_geometry (p);
  if (p->s.ring) print_ring (p);
  else {
    if (p->s.split > 1) P ("  __shared__ unsigned long long arrived;\n"), print_expect (p);
    print_pointers (p);
    print_stage (p);
    print_loop (p);
  }
  print_linear (p);
  print_combine (p);
  print_finish (p);
  if (p->s.ring) cuda_close_sm90a (e);
  P ("}\n");
}
