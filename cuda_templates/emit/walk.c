/* Elementwise expressions: thread graphs become one variable an operator. */
#include "walk.h"
#include "mugraph/print.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void cuda_print_number (cuda_text *t, double x) {
  float f = (float) x;
  if (isinf (f)) {
    cuda_print (t, f > 0 ? "MS_INF" : "-MS_INF");
    return;
  }
  char digits[40];
  snprintf (digits, sizeof digits, "%.9g", (double) f);
  cuda_print (t, strpbrk (digits, ".e") ? "%sf" : "%s.0f", digits);
}

void cuda_print_op (cuda_text *t, const mugraph_op *o, const char *a, const char *b) {
  for (const char *p = mugraph_op_table[o->kind].cuda; *p; p++)
    if (*p != '$') cuda_print (t, "%c", *p);
    else switch (*++p) {
      case 'a': cuda_print (t, "%s", a); break;
      case 'b': cuda_print (t, "%s", b); break;
      default: cuda_print_number (t, o->c[*p - '0']);
      }
}

void cuda_print_comment (cuda_text *t, const mugraph *g, const mugraph_op *kernel, int i) {
  char text[256];
  cuda_print (t, " // %s\n", mugraph_block_op_text (g, kernel, i, text, sizeof text));
}

void cuda_print_walk (cuda_text *t, const cuda_walk *w, int i, uint64_t *done) {
  if (*done >> i & 1) return;
  *done |= (uint64_t) 1 << i;
  const mugraph_op *o = &w->g->block[w->kernel->block].op[i];
  cuda_text value = {0}, shift = {0};
  char a[48] = "", b[48] = "";
  bool computed = false;
  if (o->kind == MUGRAPH_OP_CONST) cuda_print_number (&value, o->c[0]);
  else if (!w->materialised (w->user, i, &value)) {
    computed = true;
    for (int k = 0; k < o->n_in; k++) {
      cuda_print_walk (t, w, o->in[k], done);
      snprintf (k ? b : a, sizeof a, "%s%d", w->prefix, o->in[k]);
    }
    if (w->value && w->value (w->user, i, a, b, &value))
      ;
    else if (o->kind == MUGRAPH_OP_EXP && w->shift && w->shift (w->user, i, &shift))
      cuda_print (&value, "ms_exp (%s - %s)", a, shift.data);
    else cuda_print_op (&value, o, a, b);
  }
  cuda_print (t, "const float %s%d = %s;", w->prefix, i, value.data ? value.data : "0.0f");
  if (computed) cuda_print_comment (t, w->g, w->kernel, i);
  else cuda_print (t, "\n");
  if (value.failed || shift.failed) t->failed = true;
  cuda_text_free (&value);
  cuda_text_free (&shift);
}
