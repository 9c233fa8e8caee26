/* Program graphs as text of the program language. */
#include "mugraph/file/text.h"
#include "program.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUM = 1, PRODUCT, SIGN, ATOM }; /* how tightly an expression binds */

typedef struct {
  const mugraph *g;
  FILE *out;
  int producer[MUGRAPH_TENSORS]; /* operator, -1: input */
  bool inlined[MUGRAPH_KERNEL_OPS];
  char name[MUGRAPH_TENSORS][MUGRAPH_NAME]; /* as printed */
  char output_name[MUGRAPH_OUTPUTS][MUGRAPH_NAME];
} printer;

static bool is_const (const printer *p, int op) { return op >= 0 && p->g->op[op].kind == MUGRAPH_OP_CONST; }

/* ---- which operators are written inside of their reader ---- */

static int readers (const mugraph *g, int tensor) {
  int n = 0;
  for (int i = 0; i < g->n_ops; i++)
    for (int k = 0; k < g->op[i].n_in; k++) n += g->op[i].in[k] == tensor;
  for (int k = 0; k < g->n_outputs; k++) n += g->output[k] == tensor;
  return n;
}

/* Whether output k is written as `output NAME = expr`. */
static bool defines (const printer *p, int k) {
  int op = p->producer[p->g->output[k]];
  return op >= 0 && p->inlined[op];
}

/* Appends operator i, after those that are written inside of it, to the order in which a parser would meet them. */
static void visit (const printer *p, int i, int order[], int *n) {
  for (int k = 0; k < p->g->op[i].n_in; k++) {
    int o = p->producer[p->g->op[i].in[k]];
    if (o >= 0 && p->inlined[o] && !is_const (p, o)) visit (p, o, order, n);
  }
  order[(*n)++] = i;
}

/* Inlines what has one reader and no name (or the name of the output that reads it), as far as the operators' order
   allows: the text must be met in the order of the graph. Constants are written where they are read. */
static void choose_inlined (printer *p) {
  const mugraph *g = p->g;
  for (int i = 0; i < g->n_ops; i++) {
    int t = g->op[i].out[0];
    bool by_output = false;
    for (int k = 0; k < g->n_outputs; k++)
      by_output |= g->output[k] == t && !strcmp (g->output_name[k], g->tensor[t].name);
    bool read_by_output = false;
    for (int k = 0; k < g->n_outputs; k++) read_by_output |= g->output[k] == t;
    p->inlined[i] = is_const (p, i) || (readers (g, t) == 1 &&
                                        (read_by_output ? by_output && g->tensor[t].name[0] : !g->tensor[t].name[0]));
  }
  for (;;) {
    int order[MUGRAPH_KERNEL_OPS], n = 0, next = 0, i = 0;
    for (int k = 0; k < g->n_ops; k++)
      if (!p->inlined[k]) visit (p, k, order, &n);
    for (int k = 0; k < g->n_outputs; k++)
      if (defines (p, k)) visit (p, p->producer[g->output[k]], order, &n);
    for (; i < n; i++, next++) {
      while (is_const (p, next)) next++;
      if (order[i] != next) break;
    }
    if (i == n) return;
    p->inlined[next] = false; /* it came too late: a line of its own */
  }
}

/* ---- names ---- */

static bool is_valid_name (const char *s) {
  static const char *const taken[] = {"", "b", "input", "output", "dim"};
  for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
    if (!strcmp (s, taken[i])) return false;
  for (const char *c = s; *c; c++)
    if (!(*c == '_' || (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (c > s && *c >= '0' && *c <= '9')))
      return false;
  return true;
}

static bool is_used (const printer *p, const char *name) {
  for (int t = 0; t < p->g->n_tensors; t++)
    if (!strcmp (p->name[t], name)) return true;
  for (int k = 0; k < p->g->n_outputs; k++)
    if (!strcmp (p->output_name[k], name)) return true;
  return false;
}

static void make_name (printer *p, char name[MUGRAPH_NAME], const char *prefix) {
  char fresh[MUGRAPH_NAME];
  int k = 0;
  do snprintf (fresh, sizeof fresh, "%s%d", prefix, k++);
  while (is_used (p, fresh));
  memcpy (name, fresh, sizeof fresh);
}

/* Keeps the names that the language can say; a line needs one that the parser forgets (an underscore) otherwise. */
static void choose_names (printer *p) {
  const mugraph *g = p->g;
  for (int t = 0; t < g->n_tensors; t++) {
    const char *name = g->tensor[t].name;
    if (is_valid_name (name) && (t < g->n_inputs || name[0] != '_') && !is_used (p, name)) strcpy (p->name[t], name);
  }
  for (int k = 0; k < g->n_outputs; k++) {
    const char *name = g->output_name[k];
    bool own = !strcmp (p->name[g->output[k]], name);
    if (is_valid_name (name) && (own || !is_used (p, name))) strcpy (p->output_name[k], name);
  }
  for (int t = 0; t < g->n_tensors; t++) {
    int op = p->producer[t];
    if (!p->name[t][0] && (op < 0 || !p->inlined[op])) make_name (p, p->name[t], op < 0 ? "in" : "_");
  }
  for (int k = 0; k < g->n_outputs; k++)
    if (!p->output_name[k][0]) {
      if (defines (p, k) && p->name[g->output[k]][0]) strcpy (p->output_name[k], p->name[g->output[k]]);
      else make_name (p, p->output_name[k], "out");
    }
}

/* ---- expressions ---- */

static void print_number (FILE *out, double x) {
  char text[32];
  fputs (mugraph_number_text (x, 1, text), out);
}

static void print_op (const printer *p, int i, int level);

static void print_tensor (const printer *p, int t, int level) {
  int op = p->producer[t];
  if (op >= 0 && p->inlined[op]) print_op (p, op, level);
  else fputs (p->name[t], p->out);
}

static void print_call (const printer *p, const mugraph_op *op) {
  fprintf (p->out, "%s(", mugraph_op_table[op->kind].text);
  for (int k = 0; k < op->n_in; k++) {
    if (k) fputs (", ", p->out);
    print_tensor (p, op->in[k], SUM);
  }
  if (mugraph_op_has (op->kind, MUGRAPH_HAS_DIM)) fprintf (p->out, ", %d", op->dim);
  if (mugraph_op_has (op->kind, MUGRAPH_HAS_WIDTH)) fprintf (p->out, ", %d", op->width);
  for (int r = 0; r < MUGRAPH_REALS; r++) {
    const mugraph_real *real = &mugraph_reals[r];
    const double x = op->c[real->index];
    if (!mugraph_op_has (op->kind, real->attribute) || (real->optional && x == real->otherwise)) continue;
    fputs (", ", p->out);
    print_number (p->out, x);
  }
  fputc (')', p->out);
}

/* An operator in a place that needs an expression of at least this level. Binary operators bind to the left. */
static void print_op (const printer *p, int i, int level) {
  const mugraph_op *op = &p->g->op[i];
  static const struct {
    const char *text;
    int level;
  } infix[MUGRAPH_N_OPS] = {[MUGRAPH_OP_ADD] = {" + ", SUM},
                            [MUGRAPH_OP_SUB] = {" - ", SUM},
                            [MUGRAPH_OP_MUL] = {" * ", PRODUCT},
                            [MUGRAPH_OP_DIV] = {" / ", PRODUCT},
                            [MUGRAPH_OP_NEG] = {"-", SIGN}};
  if (op->kind == MUGRAPH_OP_CONST) {
    print_number (p->out, op->c[0]);
    return;
  }
  int own = infix[op->kind].text ? infix[op->kind].level : ATOM;
  if (own < level) fputc ('(', p->out);
  if (!infix[op->kind].text) print_call (p, op);
  else {
    if (op->n_in == 2) print_tensor (p, op->in[0], own);
    fputs (infix[op->kind].text, p->out);
    print_tensor (p, op->in[op->n_in - 1], op->n_in == 2 ? own + 1 : own);
  }
  if (own < level) fputc (')', p->out);
}

char *mugraph_program_print (const mugraph *g) {
  for (int i = 0; i < g->n_ops; i++)
    if (g->op[i].kind == MUGRAPH_OP_CUSTOM) return NULL;
  char *text = NULL;
  size_t size;
  printer *p = calloc (1, sizeof *p);
  FILE *out = p ? open_memstream (&text, &size) : NULL;
  if (!out) {
    free (p);
    return NULL;
  }
  p->g = g;
  p->out = out;
  memset (p->producer, -1, sizeof p->producer);
  for (int i = 0; i < g->n_ops; i++) p->producer[g->op[i].out[0]] = i;
  choose_inlined (p);
  choose_names (p);
  for (int t = 0; t < g->n_inputs; t++) {
    fprintf (out, "input %s[", p->name[t]);
    for (int d = 0; d < g->tensor[t].shape.n_dims; d++) fprintf (out, d ? ", %d" : "%d", g->tensor[t].shape.dim[d]);
    fprintf (out, "]: %s\n", mugraph_dtype_text (g->tensor[t].shape.dtype));
  }
  for (int i = 0; i < g->n_ops; i++) {
    if (p->inlined[i]) continue;
    fprintf (out, "%s = ", p->name[g->op[i].out[0]]);
    print_op (p, i, SUM);
    fputc ('\n', out);
  }
  for (int k = 0; k < g->n_outputs; k++) {
    int t = g->output[k];
    fprintf (out, "output %s", p->output_name[k]);
    if (defines (p, k)) {
      fputs (" = ", out);
      print_op (p, p->producer[t], SUM);
    } else if (strcmp (p->output_name[k], p->name[t])) fprintf (out, " = %s", p->name[t]);
    fputc ('\n', out);
  }
  bool bad = ferror (out);
  bad |= fclose (out) != 0;
  free (p);
  if (!bad) return text;
  free (text);
  return NULL;
}
