/* Expressions for people. */
#include "expr.h"
#include "normal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct {
  char *text;
  size_t size, used;
} writer;

__attribute__ ((format (printf, 2, 3))) static void print (writer *w, const char *format, ...) {
  va_list args;
  va_start (args, format);
  int n =
      vsnprintf (w->used < w->size ? w->text + w->used : NULL, w->used < w->size ? w->size - w->used : 0, format, args);
  va_end (args);
  if (n > 0) w->used += (size_t) n;
}

static void print_normal (writer *, const expr_pool *, expr_id);

static const char *name_of (const atom *a) {
  if (a->type == ATOM_EXP) return "exp";
  return a->kind == MUGRAPH_OP_ACCUM_RMS ? "rms" : mugraph_op_table[a->kind].text; /* see expr_opaque_root */
}

static void print_atom (writer *w, const expr_pool *pool, uint32_t i) {
  const atom *a = atom_at (pool, i);
  double value;
  memcpy (&value, &a->bits[0], sizeof value);
  if (a->type == ATOM_SIGN) print (w, "-1");
  if (a->type == ATOM_INPUT) print (w, "x%" PRIu64, a->bits[0]);
  if (a->type == ATOM_CONSTANT) print (w, "%g", value);
  if (!a->n_arg) return;
  print (w, "%s(", name_of (a));
  for (uint32_t k = 0; k < a->n_arg; k++) print (w, k ? ", " : ""), print_normal (w, pool, a->arg[k]);
  print (w, ")");
}

static void print_normal (writer *w, const expr_pool *pool, expr_id e) {
  if (!e) {
    print (w, "?");
    return;
  }
  if (w->used >= w->size) return;
  const normal *n = normal_at (pool, e);
  if (n->den != ONE) print (w, "(");
  for (uint32_t i = 0; i < n->n; i++) {
    const factor *f;
    uint32_t nf = product_factors (pool, n->t[i].product, &f);
    const char *times = "";
    print (w, i ? " + " : "");
    if (n->t[i].count != 1 || (!nf && n->t[i].sum == 1 && n->t[i].mean == 1))
      print (w, "%" PRIu32, n->t[i].count), times = "*";
    if (n->t[i].sum != 1) print (w, "%sS%" PRIu64, times, n->t[i].sum), times = "*";
    if (n->t[i].mean != 1) print (w, "%sA%" PRIu64, times, n->t[i].mean), times = "*";
    for (uint32_t k = 0; k < nf; k++, times = "*") {
      print (w, "%s", times), print_atom (w, pool, f[k].atom);
      if (f[k].exponent > 1) print (w, "^%" PRIu32, f[k].exponent);
    }
  }
  if (n->den != ONE) print (w, ") / ("), print_normal (w, pool, n->den), print (w, ")");
}

char *expr_text (const expr_pool *pool, expr_id e, char *text, size_t size) {
  writer w = {text, size, 0};
  if (size) text[0] = 0;
  print_normal (&w, pool, e);
  return text;
}
