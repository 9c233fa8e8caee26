#include "print.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

char *mugraph_shape_text (const mugraph_shape *s, bool dtype, char *out, size_t size) {
  size_t n = (size_t) snprintf (out, size, "%s[", dtype ? mugraph_dtype_text (s->dtype) : "");
  for (int d = 0; d < s->n_dims && n < size; d++)
    n += (size_t) snprintf (out + n, size - n, "%s%d", d ? ", " : "", s->dim[d]);
  if (n < size) snprintf (out + n, size - n, "]");
  return out;
}

char *mugraph_tensor_name (const mugraph *g, int t, char out[MUGRAPH_NAME]) {
  const char *name = g->tensor[t].name;
  for (int k = 0; !*name && k < g->n_outputs; k++)
    if (g->output[k] == t) name = g->output_name[k];
  if (*name) snprintf (out, MUGRAPH_NAME, "%s", name);
  else snprintf (out, MUGRAPH_NAME, "t%d", t);
  return out;
}

/* The only reader of operator i, or -1. */
static int only_reader (const mugraph_block *b, int i) {
  int reader = -1, n = 0;
  for (int j = i + 1; j < b->n_ops; j++)
    for (int k = 0; k < b->op[j].n_in; k++)
      if (b->op[j].in[k] == i) reader = j, n++;
  return n == 1 ? reader : -1;
}

bool mugraph_block_fuses (const mugraph_block *b, int i) {
  const int j = mugraph_elementwise (b->op[i].kind) ? only_reader (b, i) : -1;
  return j >= 0 && mugraph_elementwise (b->op[j].kind) && b->op[i].after_loop == b->op[j].after_loop &&
         mugraph_same_shape (&b->op[i].shape, &b->op[j].shape);
}

/* ---- text ---- */

/* A line under construction, so that what follows can be aligned. Cut off when it is very long. */
typedef struct {
  char text[1024];
  size_t n;
} line;

static void add (line *l, const char *format, ...) __attribute__ ((format (printf, 2, 3)));
static void add (line *l, const char *format, ...) {
  va_list list;
  va_start (list, format);
  const int n = vsnprintf (l->text + l->n, sizeof l->text - l->n, format, list);
  va_end (list);
  l->n = n < 0 ? l->n : l->n + (size_t) n < sizeof l->text ? l->n + (size_t) n : sizeof l->text - 1;
}

/* Blanks up to a column; continuation bytes of UTF-8 take no column. */
static void pad (line *l, int column) {
  int used = 0;
  for (size_t i = 0; i < l->n; i++) used += (l->text[i] & 0xc0) != 0x80;
  add (l, "%*s", used < column ? column - used : 1, "");
}

static void add_shape (line *l, const mugraph_shape *s, bool dtype) {
  char text[80];
  add (l, "%s", mugraph_shape_text (s, dtype, text, sizeof text));
}

/* The attributes of an operator that stand in its name's place: "sum dim 1", "sum_to dim 2 width 64". */
static void add_kind (line *l, const mugraph_op *op) {
  add (l, "%s", mugraph_op_table[op->kind].text);
  if (mugraph_op_has (op->kind, MUGRAPH_HAS_DIM)) add (l, " dim %d", op->dim);
  if (mugraph_op_has (op->kind, MUGRAPH_HAS_WIDTH)) add (l, " width %d", op->width);
  if (mugraph_op_has (op->kind, MUGRAPH_HAS_LOW)) add (l, " %.9g .. %.9g", op->c[0], op->c[1]);
  if (mugraph_op_has (op->kind, MUGRAPH_HAS_EPSILON) && op->c[0] != 0) add (l, " epsilon %.9g", op->c[0]);
}

static void add_map (line *l, const char *name, const int8_t map[3], const int32_t grid[3]) {
  add (l, "%s", name);
  bool any = false;
  for (int g = 0; g < 3; g++)
    if (map[g] >= 0 && grid[g] > 1) add (l, " %c:%d", "xyz"[g], map[g]), any = true;
  if (!any) add (l, " -");
}

static void add_tile (line *l, const mugraph_block *b, int i);

static void add_call (line *l, const mugraph_block *b, int i) {
  const mugraph_op *op = &b->op[i];
  add_kind (l, op);
  add (l, " (");
  for (int k = 0; k < op->n_in; k++) {
    if (k) add (l, ", ");
    add_tile (l, b, op->in[k]);
  }
  add (l, ")");
}

/* An operand: the tile's name; constants and the inner operators of a thread graph are written out. */
static void add_tile (line *l, const mugraph_block *b, int i) {
  if (b->op[i].kind == MUGRAPH_OP_CONST) add (l, "%.9g", b->op[i].c[0]);
  else if (mugraph_block_fuses (b, i)) add_call (l, b, i);
  else add (l, "%%%d", i);
}

char *mugraph_block_op_text (const mugraph *g, const mugraph_op *kernel, int i, char *out, size_t size) {
  const mugraph_block *b = &g->block[kernel->block];
  const mugraph_op *op = &b->op[i];
  char name[MUGRAPH_NAME];
  line l = {.n = 0};
  if (op->kind == MUGRAPH_OP_OUTPUT) {
    int saver = 0;
    for (int j = 0; j < i; j++) saver += b->op[j].kind == MUGRAPH_OP_OUTPUT;
    add (&l, "%s = %%%d", mugraph_tensor_name (g, kernel->out[saver], name), op->in[0]);
    add_map (&l, ", omap", op->map, b->grid);
  } else if (op->kind == MUGRAPH_OP_INPUT) {
    add (&l, "%%%d = %s", i, mugraph_tensor_name (g, kernel->in[op->in[0]], name));
    add_map (&l, ", imap", op->map, b->grid);
    if (op->fmap >= 0 && b->loop > 1) add (&l, ", fmap %d", op->fmap);
  } else {
    add (&l, "%%%d = ", i);
    add_kind (&l, op);
    for (int k = 0; k < op->n_in; k++) {
      const mugraph_op *in = &b->op[op->in[k]];
      add (&l, k ? ", " : " (");
      if (in->kind == MUGRAPH_OP_CONST) add (&l, "%.9g", in->c[0]);
      else add (&l, "%%%d", op->in[k]);
    }
    add (&l, ")");
  }
  snprintf (out, size, "%s", l.text);
  return out;
}

enum { SHAPE_COLUMN = 48, MAP_COLUMN = 64 };

static void print_block_op (FILE *out, const mugraph *g, const mugraph_op *kernel, int i, int indent) {
  const mugraph_block *b = &g->block[kernel->block];
  const mugraph_op *op = &b->op[i];
  char name[MUGRAPH_NAME];
  line l = {.n = 0};
  if (op->kind == MUGRAPH_OP_OUTPUT) {
    int k = 0;
    for (int j = 0; j < i; j++) k += b->op[j].kind == MUGRAPH_OP_OUTPUT;
    add (&l, "save %s = %%%d", mugraph_tensor_name (g, kernel->out[k], name), op->in[0]);
  } else if (op->kind == MUGRAPH_OP_INPUT)
    add (&l, "%%%d = %s", i, mugraph_tensor_name (g, kernel->in[op->in[0]], name));
  else {
    add (&l, "%%%d = ", i);
    add_call (&l, b, i);
  }
  pad (&l, SHAPE_COLUMN - indent);
  add_shape (&l, &op->shape, false);
  if (op->kind == MUGRAPH_OP_OUTPUT || op->kind == MUGRAPH_OP_INPUT) {
    pad (&l, MAP_COLUMN - indent);
    add_map (&l, op->kind == MUGRAPH_OP_INPUT ? "imap" : "omap", op->map, b->grid);
    if (op->kind == MUGRAPH_OP_INPUT && op->fmap >= 0 && b->loop > 1) add (&l, ", fmap %d", op->fmap);
  }
  fprintf (out, "%*s%s\n", indent, "", l.text);
}

/* True for what runs once an iteration; accumulators are fed there. */
static bool in_loop (const mugraph_op *op) {
  return !op->after_loop || mugraph_op_table[op->kind].klass == MUGRAPH_ACCUM;
}

static void print_block (FILE *out, const mugraph *g, const mugraph_op *kernel, mugraph_name_of *generator,
                         int indent) {
  const mugraph_block *b = &g->block[kernel->block];
  char sched[256];
  mugraph_sched_text (&b->sched, generator, sched, sizeof sched);
  fprintf (out, "%*sgrid %d x %d x %d, loop %d%s%s\n", indent, "", b->grid[0], b->grid[1], b->grid[2], b->loop,
           *sched ? ", " : "", sched);
  for (int after = 0; after < 2; after++) {
    bool any = false;
    for (int i = 0; i < b->n_ops; i++) {
      if (in_loop (&b->op[i]) == (after == 1) || b->op[i].kind == MUGRAPH_OP_CONST || mugraph_block_fuses (b, i))
        continue;
      if (!any)
        fprintf (out, "%*s%s:\n", indent, "",
                 b->loop == 1 ? after ? "then" : "once"
                 : after      ? "after the loop"
                              : "loop");
      any = true;
      print_block_op (out, g, kernel, i, indent + 2);
    }
  }
}

void mugraph_print (FILE *out, const mugraph *g, mugraph_name_of *generator, int indent) {
  char name[MUGRAPH_NAME];
  for (int t = 0; t < g->n_inputs; t++) {
    line l = {.n = 0};
    add (&l, "input %s", mugraph_tensor_name (g, t, name));
    pad (&l, SHAPE_COLUMN - indent);
    add_shape (&l, &g->tensor[t].shape, true);
    fprintf (out, "%*s%s\n", indent, "", l.text);
  }
  for (int i = 0; i < g->n_ops; i++) {
    const mugraph_op *op = &g->op[i];
    line l = {.n = 0};
    for (int k = 0; k < op->n_out; k++) add (&l, "%s%s", k ? ", " : "", mugraph_tensor_name (g, op->out[k], name));
    add (&l, " = ");
    if (op->kind == MUGRAPH_OP_CONST) add (&l, "%.9g", op->c[0]);
    else {
      add_kind (&l, op);
      add (&l, " (");
      for (int k = 0; k < op->n_in; k++) add (&l, "%s%s", k ? ", " : "", mugraph_tensor_name (g, op->in[k], name));
      add (&l, ")");
    }
    pad (&l, SHAPE_COLUMN - indent);
    for (int k = 0; k < op->n_out; k++) {
      if (k) add (&l, ", ");
      add_shape (&l, &g->tensor[op->out[k]].shape, true);
    }
    fprintf (out, "%*s%s\n", indent, "", l.text);
    if (op->kind == MUGRAPH_OP_CUSTOM) print_block (out, g, op, generator, indent + 2);
  }
  fprintf (out, "%*soutput", indent, "");
  for (int k = 0; k < g->n_outputs; k++) {
    mugraph_tensor_name (g, g->output[k], name);
    fprintf (out, "%s%s", k ? ", " : " ", name);
    if (*g->output_name[k] && strcmp (g->output_name[k], name)) fprintf (out, " as %s", g->output_name[k]);
  }
  fprintf (out, "\n");
}

char *mugraph_summary (const mugraph *g, char *out, size_t size) {
  line l = {.n = 0};
  l.text[0] = 0;
  bool first = true;
  for (int i = 0; i < g->n_ops; i++) {
    const mugraph_op *op = &g->op[i];
    if (op->kind == MUGRAPH_OP_CONST) continue;
    add (&l, "%s%s", first ? "" : "; ", mugraph_op_table[op->kind].text);
    first = false;
    if (op->kind != MUGRAPH_OP_CUSTOM) continue;
    const mugraph_block *b = &g->block[op->block];
    add (&l, " %dx%dx%d loop %d (", b->grid[0], b->grid[1], b->grid[2], b->loop);
    bool none = true;
    for (int kind = 0; kind < MUGRAPH_N_OPS; kind++) {
      int n = 0;
      for (int j = 0; j < b->n_ops; j++) n += b->op[j].kind == kind;
      if (!n || kind == MUGRAPH_OP_INPUT || kind == MUGRAPH_OP_OUTPUT || kind == MUGRAPH_OP_CONST) continue;
      add (&l, "%s", none ? "" : ", ");
      if (n > 1) add (&l, "%d ", n);
      add (&l, "%s", mugraph_op_table[kind].text);
      none = false;
    }
    add (&l, ")");
  }
  snprintf (out, size, "%s", first ? "no kernel" : l.text);
  return out;
}

/* ---- Graphviz ---- */

static void dot_text (FILE *out, const char *text) {
  for (; *text; text++) {
    if (*text == '"' || *text == '\\') fputc ('\\', out);
    fputc (*text, out);
  }
}

/* Where the value of a kernel tensor comes from, as a node name. */
static void dot_source (const mugraph *g, int t, char out[32]) {
  snprintf (out, 32, "in%d", t);
  for (int i = 0; i < g->n_ops; i++)
    for (int k = 0; k < g->op[i].n_out; k++) {
      if (g->op[i].out[k] != t) continue;
      if (g->op[i].kind != MUGRAPH_OP_CUSTOM) {
        snprintf (out, 32, "op%d", i);
        return;
      }
      const mugraph_block *b = &g->block[g->op[i].block];
      for (int j = 0, saver = 0; j < b->n_ops; j++)
        if (b->op[j].kind == MUGRAPH_OP_OUTPUT && saver++ == k) snprintf (out, 32, "op%d_%d", i, j);
    }
}

static void dot_edge (FILE *out, const mugraph *g, int t, const char *to) {
  char from[32], name[MUGRAPH_NAME], shape[80];
  dot_source (g, t, from);
  fprintf (out, "  %s -> %s [label=\"", from, to);
  dot_text (out, mugraph_tensor_name (g, t, name));
  fprintf (out, " %s\"];\n", mugraph_shape_text (&g->tensor[t].shape, false, shape, sizeof shape));
}

static void dot_block_node (FILE *out, const mugraph_block *b, int i, int j, const char *indent) {
  const mugraph_op *op = &b->op[j];
  line l = {.n = 0};
  if (op->kind == MUGRAPH_OP_CONST) add (&l, "%.9g", op->c[0]);
  else add_kind (&l, op);
  if (op->kind == MUGRAPH_OP_INPUT || op->kind == MUGRAPH_OP_OUTPUT) {
    add (&l, "\\n");
    add_map (&l, op->kind == MUGRAPH_OP_INPUT ? "imap" : "omap", op->map, b->grid);
    if (op->kind == MUGRAPH_OP_INPUT && op->fmap >= 0 && b->loop > 1) add (&l, ", fmap %d", op->fmap);
  }
  add (&l, "\\n");
  add_shape (&l, &op->shape, false);
  static const struct {
    mugraph_class klass;
    const char *style;
  } styles[] = {{MUGRAPH_LEAF, "shape=invhouse"}, {MUGRAPH_SAVER, "shape=house"}, {MUGRAPH_ACCUM, "peripheries=2"}};
  const char *style = "shape=box";
  for (size_t k = 0; k < sizeof styles / sizeof *styles; k++)
    if (styles[k].klass == mugraph_op_table[op->kind].klass) style = styles[k].style;
  fprintf (out, "%sop%d_%d [%s, label=\"%s\"%s];\n", indent, i, j, style, l.text,
           op->after_loop && mugraph_op_table[op->kind].klass != MUGRAPH_ACCUM ? ", style=filled" : "");
}

static void dot_block (FILE *out, const mugraph_block *b, int i) {
  int root[MUGRAPH_BLOCK_OPS] = {0}; /* the last operator of the thread graph that an operator belongs to */
  for (int j = b->n_ops - 1; j >= 0; j--) root[j] = mugraph_block_fuses (b, j) ? root[only_reader (b, j)] : j;
  fprintf (out, "  subgraph cluster_%d {\n    label=\"grid %d x %d x %d, loop %d\";\n    style=rounded;\n", i,
           b->grid[0], b->grid[1], b->grid[2], b->loop);
  for (int r = 0; r < b->n_ops; r++) {
    int members = 0;
    for (int j = 0; j <= r; j++) members += root[j] == r;
    if (members > 1)
      fprintf (out, "    subgraph cluster_%d_%d {\n      label=\"thread graph\";\n      style=dotted;\n", i, r);
    for (int j = 0; j <= r; j++)
      if (root[j] == r) dot_block_node (out, b, i, j, members > 1 ? "      " : "    ");
    if (members > 1) fprintf (out, "    }\n");
  }
  for (int j = 0; j < b->n_ops; j++)
    for (int k = 0; k < b->op[j].n_in; k++) fprintf (out, "    op%d_%d -> op%d_%d;\n", i, b->op[j].in[k], i, j);
  fprintf (out, "  }\n");
}

void mugraph_print_dot (FILE *out, const mugraph *g, const char *title) {
  char name[MUGRAPH_NAME], to[32];
  fprintf (out, "digraph {\n  label=\"");
  dot_text (out, title);
  fprintf (out, "\";\n  labelloc=t;\n  node [fontname=\"sans-serif\", fontsize=11, shape=box, fillcolor=\"gray92\"];\n"
                "  edge [fontname=\"sans-serif\", fontsize=9];\n");
  for (int t = 0; t < g->n_inputs; t++) {
    fprintf (out, "  in%d [shape=plaintext, label=\"", t);
    dot_text (out, mugraph_tensor_name (g, t, name));
    fprintf (out, "\"];\n");
  }
  for (int i = 0; i < g->n_ops; i++) {
    const mugraph_op *op = &g->op[i];
    if (op->kind == MUGRAPH_OP_CUSTOM) {
      const mugraph_block *b = &g->block[op->block];
      dot_block (out, b, i);
      for (int j = 0; j < b->n_ops; j++) {
        if (b->op[j].kind != MUGRAPH_OP_INPUT) continue;
        snprintf (to, sizeof to, "op%d_%d", i, j);
        dot_edge (out, g, op->in[b->op[j].in[0]], to);
      }
      continue;
    }
    line l = {.n = 0};
    if (op->kind == MUGRAPH_OP_CONST) add (&l, "%.9g", op->c[0]);
    else add_kind (&l, op);
    fprintf (out, "  op%d [label=\"%s\"];\n", i, l.text);
    snprintf (to, sizeof to, "op%d", i);
    for (int k = 0; k < op->n_in; k++) dot_edge (out, g, op->in[k], to);
  }
  for (int k = 0; k < g->n_outputs; k++) {
    mugraph_tensor_name (g, g->output[k], name);
    fprintf (out, "  out%d [shape=plaintext, label=\"", k);
    dot_text (out, *g->output_name[k] ? g->output_name[k] : name);
    fprintf (out, "\"];\n");
    snprintf (to, sizeof to, "out%d", k);
    dot_edge (out, g, g->output[k], to);
  }
  fprintf (out, "}\n");
}
