/* Classes of dimensions and their sizes: see witness.h. */
#include "witness.h"

#include <string.h>

enum { SLOTS = MUGRAPH_TENSORS * MUGRAPH_DIMS };

typedef struct {
  const mugraph *g;
  uint16_t parent[SLOTS]; /* union-find over (tensor, dimension) */
} partition;

static int find (partition *u, int x) {
  while (u->parent[x] != x) x = u->parent[x] = u->parent[u->parent[x]];
  return x;
}

/* Dimensions of size 1 belong to no class. */
static void join (partition *u, int t, int d, int t2, int d2) {
  if (d < 0 || d2 < 0 || u->g->tensor[t].shape.dim[d] == 1 || u->g->tensor[t2].shape.dim[d2] == 1) return;
  int a = find (u, t * MUGRAPH_DIMS + d), b = find (u, t2 * MUGRAPH_DIMS + d2);
  /* the smaller slot leads, so that classes come in the order of their first occurrence */
  if (a < b) u->parent[b] = (uint16_t) a;
  else u->parent[a] = (uint16_t) b;
}

/* Joins all dimensions of t and out aligned at the right, but the last skip ones and dimension except (of out). */
static void join_aligned (partition *u, int t, int out, int skip, int except) {
  int n = u->g->tensor[t].shape.n_dims, m = u->g->tensor[out].shape.n_dims;
  for (int d = 0; d < m - skip; d++)
    if (d != except) join (u, t, d - (m - n), out, d);
}

static void join_op (partition *u, const mugraph_op *op) {
  const mugraph *g = u->g;
  int out = op->out[0], a = op->in[0], b = op->in[1];
  int n = g->tensor[out].shape.n_dims;
  switch (mugraph_op_table[op->kind].klass) {
  case MUGRAPH_MATMUL: {
    int na = g->tensor[a].shape.n_dims, nb = g->tensor[b].shape.n_dims;
    join_aligned (u, a, out, 2, -1);
    join_aligned (u, b, out, 2, -1);
    join (u, a, na - 2, out, n - 2);
    join (u, b, nb - 1, out, n - 1);
    join (u, a, na - 1, b, nb - 2);
    break;
  }
  case MUGRAPH_UNARY:
  case MUGRAPH_BINARY:
    for (int k = 0; k < op->n_in; k++) join_aligned (u, op->in[k], out, 0, -1);
    break;
  case MUGRAPH_REDUCE: join_aligned (u, a, out, 0, mugraph_op_is (op->kind, MUGRAPH_NORM) ? -1 : op->dim); break;
  case MUGRAPH_LAYOUT:
    if (op->kind == MUGRAPH_OP_TRANSPOSE) {
      join_aligned (u, a, out, 2, -1);
      join (u, a, n - 2, out, n - 1);
      join (u, a, n - 1, out, n - 2);
    } else {
      join_aligned (u, a, out, 0, op->dim);
      join_aligned (u, b, out, 0, op->dim);
    }
    break;
  case MUGRAPH_LEAF:
  case MUGRAPH_SAVER:
  case MUGRAPH_CUSTOM:
  case MUGRAPH_ACCUM: break;
  }
}

static void add_relation (witness_relation list[16], int *n, int a, int b, int out) {
  for (int i = 0; i < *n; i++)
    if (list[i].a == a && list[i].b == b) return;
  if (*n < 16) list[(*n)++] = (witness_relation){(uint8_t) a, (uint8_t) b, (uint8_t) out};
}

/* Notes which classes an operator reduces, and which it relates. */
static void note_op (witness *w, const mugraph *g, const mugraph_op *op) {
  int a = op->in[0];
  int n = g->tensor[a].shape.n_dims;
  if (op->kind == MUGRAPH_OP_MATMUL) w->reduced[w->label[a][n - 1]] = true;
  if (mugraph_op_table[op->kind].klass == MUGRAPH_REDUCE) w->reduced[w->label[a][op->dim]] = true;
  if (op->kind == MUGRAPH_OP_CONCAT || op->kind == MUGRAPH_OP_SUM_TO) {
    bool concat = op->kind == MUGRAPH_OP_CONCAT;
    int x = w->label[a][op->dim], y = concat ? w->label[op->in[1]][op->dim] : 0, z = w->label[op->out[0]][op->dim];
    add_relation (concat ? w->concat : w->narrow, concat ? &w->n_concats : &w->n_narrows, x, y, z);
    w->reduced[x] = w->reduced[y] = w->reduced[z] = true;
    w->fixed[x] = w->fixed[y] = w->fixed[z] = true;
  }
}

static bool is_derived (const witness *w, int c) {
  for (int i = 0; i < w->n_concats; i++)
    if (w->concat[i].out == c) return true;
  for (int i = 0; i < w->n_narrows; i++)
    if (w->narrow[i].a == c) return true;
  return false;
}

/* Reducible classes get the sizes 4, 12, 20, ..., as the grid and the loop may split them; parallel ones, which are
   split once only, 6, 10, 14, .... So no two sizes are the same, and no chunk of a parallel one is of size 1. */
static void choose_sizes (witness *w) {
  int odd = 1;
  w->size[0] = 1;
  for (int pass = 0; pass < 2; pass++, odd = 3)
    for (int c = 1; c <= w->n_classes; c++)
      if (w->reduced[c] == !pass && !is_derived (w, c)) {
        w->size[c] = odd * WITNESS_EXTENT * (pass ? 1 : WITNESS_EXTENT);
        odd += 2;
      }
  for (int round = 0; round < 16; round++) { /* a concatenation of concatenations takes a round for each */
    for (int i = 0; i < w->n_narrows; i++) w->size[w->narrow[i].a] = 2 * w->size[w->narrow[i].out];
    for (int i = 0; i < w->n_concats; i++)
      w->size[w->concat[i].out] = w->size[w->concat[i].a] + w->size[w->concat[i].b];
  }
}

/* Joins what the operators force to be equal. */
static bool join_all (partition *u, const mugraph *program, mugraph_error *e) {
  u->g = program;
  for (int i = 0; i < SLOTS; i++) u->parent[i] = (uint16_t) i;
  for (int i = 0; i < program->n_ops; i++) {
    if (program->op[i].kind == MUGRAPH_OP_CUSTOM)
      return mugraph_fail (e, "search: the program holds a graph-defined kernel; give it as plain operators");
    join_op (u, &program->op[i]);
  }
  return true;
}

/* Numbers the classes in the order of their first occurrence. */
static bool label_all (partition *u, witness *w, mugraph_error *e) {
  const mugraph *g = u->g;
  uint8_t class_of[SLOTS] = {0};
  w->real[0] = 1;
  for (int t = 0; t < g->n_tensors; t++)
    for (int d = 0; d < g->tensor[t].shape.n_dims; d++) {
      int root = find (u, t * MUGRAPH_DIMS + d);
      if (g->tensor[t].shape.dim[d] == 1) continue;
      if (!class_of[root]) {
        if (w->n_classes + 1 >= WITNESS_CLASSES)
          return mugraph_fail (e, "search: the program has more than %d independent dimensions", WITNESS_CLASSES - 1);
        class_of[root] = (uint8_t) ++w->n_classes;
        w->real[w->n_classes] = g->tensor[t].shape.dim[d];
      }
      w->label[t][d] = class_of[root];
    }
  return true;
}

static void note_paired (witness *w, int n_tensors) {
  for (int t = 0; t < n_tensors; t++)
    for (int d = 0; d < MUGRAPH_DIMS; d++)
      for (int d2 = d + 1; d2 < MUGRAPH_DIMS; d2++)
        if (w->label[t][d] && w->label[t][d] == w->label[t][d2]) w->paired[w->label[t][d]] = true;
}

/* The program at the sizes of its classes. */
static bool shrink (const mugraph *program, witness *w, mugraph_error *e) {
  w->program = *program;
  for (int t = 0; t < program->n_inputs; t++)
    for (int d = 0; d < program->tensor[t].shape.n_dims; d++)
      w->program.tensor[t].shape.dim[d] = w->size[w->label[t][d]];
  for (int i = 0; i < program->n_ops; i++)
    if (program->op[i].kind == MUGRAPH_OP_SUM_TO)
      w->program.op[i].width = w->size[w->label[program->op[i].out[0]][program->op[i].dim]];
  mugraph_error why;
  if (!mugraph_infer (&w->program, &why))
    return mugraph_fail (e, "search: no small shape keeps the program's relations: %s", why.text);
  for (int t = 0; t < program->n_tensors; t++)
    if (mugraph_volume (&w->program.tensor[t].shape) > WITNESS_VOLUME)
      return mugraph_fail (e, "search: the program has too many independent dimensions");
  return true;
}

bool witness_make (const mugraph *program, witness *w, mugraph_error *e) {
  partition u;
  memset (w, 0, sizeof *w);
  if (!join_all (&u, program, e) || !label_all (&u, w, e)) return false;
  for (int i = 0; i < program->n_ops; i++) note_op (w, program, &program->op[i]);
  note_paired (w, program->n_tensors);
  choose_sizes (w);
  return shrink (program, w, e);
}
