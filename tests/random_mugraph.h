/* Random valid µGraphs for property tests: every graph passes mugraph_infer. Include after mugraph/mugraph.h. */
#ifndef TESTS_RANDOM_MUGRAPH_H
#define TESTS_RANDOM_MUGRAPH_H

#include <stdio.h>
#include <string.h>

static uint64_t random_state = 1;
static int32_t random_size = 4; /* last one drawn: equal sizes often, so that shapes fit together */

static uint32_t random_u32 (void) { /* splitmix64 */
  uint64_t z = random_state += 0x9e3779b97f4a7c15ull;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ z >> 27) * 0x94d049bb133111ebull;
  return (uint32_t) ((z ^ z >> 31) >> 32);
}
static int random_below (int n) { return (int) (random_u32 () % (uint32_t) n); }
static bool random_chance (int percent) { return random_below (100) < percent; }

/* Bits of a finite double: denormals, huge and ordinary values, both zeros. */
static double random_double (void) {
  const double special[] = {0, -0.0, 1, -1, 0.1, 1e-310, 1.7976931348623157e308, 4096, 1.0 / 3, 123456789.123456789};
  if (random_chance (50)) return special[random_below ((int) (sizeof special / sizeof *special))];
  for (;;) {
    const uint64_t bits = (uint64_t) random_u32 () << 32 | random_u32 ();
    double x;
    memcpy (&x, &bits, sizeof x);
    if (x - x == 0) return x;
  }
}

/* Printable characters, the ones that JSON and C escape among them, and two of more than one byte. */
static void random_name (char out[MUGRAPH_NAME]) {
  static const char *const wide[] = {"\xc3\xa9", "\xe2\x82\xac"};
  int n = 0, length = random_below (MUGRAPH_NAME);
  while (n < length) {
    if (n + 3 < MUGRAPH_NAME && random_chance (5)) n += sprintf (out + n, "%s", wide[random_below (2)]);
    else out[n++] = random_chance (10) ? "\"\\/{}[]:,*"[random_below (10)] : (char) (32 + random_below (95));
  }
  out[n < MUGRAPH_NAME ? n : MUGRAPH_NAME - 1] = 0;
}

static mugraph_shape random_shape (void) {
  static const int32_t sizes[] = {1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 17, 64, 100, 4096};
  mugraph_shape s = mugraph_shape_of ((mugraph_dtype) random_below (MUGRAPH_N_DTYPES), 1 + random_below (MUGRAPH_DIMS),
                                      (int32_t[]){1, 1, 1, 1});
  for (int d = 0; d < s.n_dims; d++) {
    if (random_chance (40)) random_size = sizes[random_below ((int) (sizeof sizes / sizeof *sizes))];
    s.dim[d] = d < 2 || random_size < 16 ? random_size : 2; /* far below MUGRAPH_MAX_VOLUME */
  }
  return s;
}

static int random_kind (int level) {
  for (;;) {
    const int kind = random_below (MUGRAPH_N_OPS);
    const mugraph_class c = mugraph_op_table[kind].klass;
    if ((mugraph_op_table[kind].levels & (unsigned) level) && c != MUGRAPH_LEAF && c != MUGRAPH_SAVER &&
        c != MUGRAPH_CUSTOM)
      return kind;
  }
}

static void random_attributes (mugraph_op *op, const mugraph_shape *in) {
  static const int32_t widths[] = {1, 2, 3, 4, 8, 16};
  if (op->kind == MUGRAPH_OP_SUM_TO || op->kind == MUGRAPH_OP_ACCUM_SUM_TO) op->width = widths[random_below (6)];
  if (op->kind == MUGRAPH_OP_RMS_NORM || op->kind == MUGRAPH_OP_ACCUM_RMS) op->c[0] = random_chance (50) ? 0 : 1e-5;
  if (op->kind == MUGRAPH_OP_CLAMP && random_chance (50))
    op->c[0] = -random_below (9) - 0.3, op->c[1] = random_below (9) + 0.7;
  const mugraph_class c = mugraph_op_table[op->kind].klass;
  if (c == MUGRAPH_REDUCE || op->kind == MUGRAPH_OP_CONCAT) op->dim = (int8_t) random_below (in->n_dims);
}

/* Tries to append one operator over random tensors; most tries fail on shapes. */
static void random_kernel_op (mugraph *g) {
  if (g->n_ops >= MUGRAPH_KERNEL_OPS || g->n_tensors >= MUGRAPH_TENSORS) return;
  if (random_chance (5)) {
    mugraph_add_const (g, random_double (), NULL);
    return;
  }
  const int kind = random_kind (MUGRAPH_KERNEL_LEVEL);
  mugraph_op op = {.kind = (uint8_t) kind, .dim = -1, .block = -1, .map = {-1, -1, -1}, .fmap = -1, .n_out = 1};
  const mugraph_shape *in[MUGRAPH_FANIN];
  if (kind == MUGRAPH_OP_CLAMP) op.c[1] = 1;
  op.n_in = (uint8_t) mugraph_op_table[kind].arity;
  for (int k = 0; k < op.n_in; k++) {
    op.in[k] = (uint8_t) random_below (g->n_tensors);
    in[k] = &g->tensor[op.in[k]].shape;
  }
  random_attributes (&op, in[0]);
  const int t = g->n_tensors;
  if (!mugraph_infer_op (&op, in, &g->tensor[t].shape, NULL)) return;
  op.out[0] = (uint8_t) t;
  g->tensor[t].name[0] = 0;
  if (random_chance (30)) random_name (g->tensor[t].name);
  g->n_tensors++;
  g->op[g->n_ops++] = op;
}

/* Tries to append a graph-defined kernel; scratch is restored when it does not pass inference. */
static void random_custom (mugraph *g, mugraph *scratch) {
  static const int32_t extents[] = {1, 1, 2, 3, 4, 5, 8};
  if (g->n_ops >= MUGRAPH_KERNEL_OPS || g->n_blocks >= MUGRAPH_BLOCKS) return;
  *scratch = *g;
  int in[4], n = 1 + random_below (4);
  for (int k = 0; k < n; k++) in[k] = random_below (g->n_tensors);
  const int32_t grid[3] = {extents[random_below (7)], random_chance (30) ? extents[random_below (7)] : 1,
                           random_chance (15) ? extents[random_below (7)] : 1};
  const int k = mugraph_add_custom (g, n, in, grid, random_chance (50) ? 1 : extents[random_below (7)]);
  mugraph_block *b = &g->block[g->op[k].block];
  mugraph_split split[MUGRAPH_DIMS];
#define SCHED(name, def, low, high, ...)                                                                               \
  if (random_chance (30)) b->sched.name = (int16_t) ((low) + random_below ((high) - (low) + 1));
#include "mugraph/sched.def"
#undef SCHED
  const int iterators = n + random_below (2);
  for (int i = 0; i < iterators; i++) {
    const int from = i < n ? i : random_below (n);
    const mugraph_shape *s = &g->tensor[in[from]].shape;
    int imap[3];
    for (int j = 0; j < 3; j++) imap[j] = random_below (s->n_dims + 1) - 1;
    const int t = mugraph_block_input (b, from, imap, random_below (s->n_dims + 1) - 1);
    if (!mugraph_infer_iterator (&b->op[t], s, b->grid, b->loop, &b->op[t].shape, split, NULL)) goto fail;
  }
  for (int tries = 0, want = random_below (10); tries < 60 && b->n_ops < iterators + want; tries++) {
    if (random_chance (3)) {
      mugraph_block_const (b, random_double ());
      b->op[b->n_ops - 1].shape = mugraph_shape_of (MUGRAPH_F32, 1, (int32_t[]){1});
      continue;
    }
    const int kind = random_kind (MUGRAPH_BLOCK_LEVEL), arity = mugraph_op_table[kind].arity;
    const int x = random_below (b->n_ops), y = arity > 1 ? random_below (b->n_ops) : -1;
    const mugraph_shape *shapes[2] = {&b->op[x].shape, y < 0 ? NULL : &b->op[y].shape};
    const int t = mugraph_block_op (b, (mugraph_op_kind) kind, x, y, -1);
    random_attributes (&b->op[t], shapes[0]);
    if (!mugraph_infer_op (&b->op[t], shapes, &b->op[t].shape, NULL)) b->n_ops--;
  }
  for (int i = 0, savers = 1 + random_below (2); i < savers; i++) {
    int t = random_below (b->n_ops), omap[3];
    while (b->op[t].kind == MUGRAPH_OP_OUTPUT) t = random_below (b->n_ops);
    if (b->loop > 1 && random_chance (80)) {
      const mugraph_shape s = b->op[t].shape;
      t = mugraph_block_op (b, MUGRAPH_OP_ACCUM, t, -1, -1);
      b->op[t].shape = s;
    }
    for (int j = 0; j < 3; j++) omap[j] = random_below (b->op[t].shape.n_dims + 1) - 1;
    mugraph_block_output (b, t, omap);
  }
  if (mugraph_finish_custom (g, k, NULL)) return;
fail:
  *g = *scratch;
}

static void random_mugraph (mugraph *g, mugraph *scratch) {
  mugraph_init (g);
  random_size = 4; /* the same graph from the same random_state */
  for (int i = 0, n = 1 + random_below (4); i < n; i++) {
    char name[MUGRAPH_NAME];
    random_name (name);
    mugraph_add_input (g, name, random_shape ());
  }
  for (int i = 0, n = random_below (40); i < n; i++) {
    if (random_chance (35)) random_custom (g, scratch);
    else random_kernel_op (g);
  }
  for (int i = 0, n = 1 + random_below (3); i < n; i++) {
    char name[MUGRAPH_NAME];
    random_name (name);
    mugraph_add_output (g, random_below (g->n_tensors), name);
  }
}

#endif
