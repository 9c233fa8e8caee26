/* The alphabet of a search: see alphabet.h. */
#include "alphabet.h"

#include <stdlib.h>
#include <string.h>

/* Block operators that an operator of the program brings along, beside itself. */
static const struct {
  uint8_t kind, brings[7];
} companions[] = {
    {MUGRAPH_OP_RMS_NORM,
     {MUGRAPH_OP_ACCUM_RMS, MUGRAPH_OP_DIV, MUGRAPH_OP_SQUARE, MUGRAPH_OP_MEAN, MUGRAPH_OP_ACCUM_MEAN,
      MUGRAPH_OP_SQRT}},
    {MUGRAPH_OP_MEAN, {MUGRAPH_OP_ACCUM_MEAN}},
    {MUGRAPH_OP_SUM, {MUGRAPH_OP_ACCUM_SUM}},
};
/* What sums partial sums, whatever the program. */
static const uint8_t summers[] = {MUGRAPH_OP_ACCUM, MUGRAPH_OP_SUM, MUGRAPH_OP_SUM_TO, MUGRAPH_OP_ACCUM_SUM,
                                  MUGRAPH_OP_ACCUM_SUM_TO};

/* False when there is no room. A letter that is there already gets the wider use of both. */
static bool add_letter (alphabet *a, int kind, const double c[2], bool kernel, bool parts_only, bool moment) {
  for (int i = 0; i < a->n_letters; i++) {
    letter *l = &a->letter[i];
    if (l->op.kind != kind || l->op.c[0] != c[0] || l->op.c[1] != c[1] || l->moment != moment) continue;
    l->kernel |= kernel;
    l->parts_only &= parts_only;
    return true;
  }
  if (a->n_letters == ALPHABET_LETTERS) return false;
  a->letter[a->n_letters++] = (letter){.op = {.kind = (uint8_t) kind,
                                              .n_in = (uint8_t) mugraph_op_table[kind].arity,
                                              .dim = -1,
                                              .block = -1,
                                              .map = {-1, -1, -1},
                                              .fmap = -1,
                                              .c = {c[0], c[1]}},
                                       .kernel = kernel,
                                       .parts_only = parts_only,
                                       .moment = moment};
  return true;
}

static int compare_letters (const void *x, const void *y) {
  const letter *a = x, *b = y;
  if (a->op.kind != b->op.kind) return a->op.kind - b->op.kind;
  return a->moment != b->moment ? a->moment - b->moment : memcmp (a->op.c, b->op.c, sizeof a->op.c);
}

/* Whether the divisor of a division is a quotient, or is multiplied or divided elsewhere: then graphs may do so too. */
static bool divisor_is_used (const mugraph *g, int divisor) {
  for (int i = 0; i < g->n_ops; i++) {
    const mugraph_op *op = &g->op[i];
    if (op->out[0] == divisor && op->kind == MUGRAPH_OP_DIV) return true;
    if ((op->kind == MUGRAPH_OP_DIV || op->kind == MUGRAPH_OP_MUL) && op->in[0] == divisor) return true;
    if (op->kind == MUGRAPH_OP_MUL && op->in[1] == divisor) return true;
  }
  return false;
}

static void add_constant (alphabet *a, double c) {
  for (int k = 0; k < a->n_constants; k++)
    if (a->constant[k] == c) return;
  if (a->n_constants < ALPHABET_CONSTANTS) a->constant[a->n_constants++] = c;
}

/* What an operator of the program can be computed by. */
static bool add_companions (alphabet *a, const mugraph_op *op) {
  static const double none[2] = {0, 0};
  bool ok = true;
  for (size_t k = 0; k < sizeof companions / sizeof *companions; k++) {
    if (companions[k].kind != op->kind) continue;
    for (const uint8_t *b = companions[k].brings; *b; b++)
      if (!mugraph_op_is (op->kind, MUGRAPH_NORM) || *b == MUGRAPH_OP_DIV)
        ok &= add_letter (a, *b, none, false, false, false);
      else if (mugraph_op_has (*b, MUGRAPH_HAS_EPSILON)) ok &= add_letter (a, *b, op->c, false, false, false);
      else if (op->c[0] ==
               0) /* an epsilon stands inside of the root, where squares, means and a sqrt have no place for it */
        ok &= add_letter (a, *b, none, false, false, true);
  }
  return ok;
}

bool alphabet_make (const mugraph *program, alphabet *a) {
  static const double none[2] = {0, 0};
  bool nested = false, ok = true;
  a->n_letters = a->n_constants = 0;
  for (int i = 0; i < program->n_ops; i++) {
    const mugraph_op *op = &program->op[i];
    if (op->kind == MUGRAPH_OP_CONST) {
      add_constant (a, op->c[0]);
      continue;
    }
    ok &= add_letter (a, op->kind, op->c, true, false, false);
    if (op->kind == MUGRAPH_OP_DIV) nested |= divisor_is_used (program, op->in[1]);
    ok &= add_companions (a, op);
  }
  for (size_t k = 0; k < sizeof summers; k++)
    ok &= add_letter (a, summers[k], none, false, summers[k] != MUGRAPH_OP_ACCUM, false);
  for (int i = 0; i < a->n_letters; i++) {
    int kind = a->letter[i].op.kind;
    a->letter[i].flat = (kind == MUGRAPH_OP_DIV || kind == MUGRAPH_OP_MUL) && !nested;
  }
  qsort (a->letter, (size_t) a->n_letters, sizeof *a->letter, compare_letters);
  return ok;
}

bool alphabet_has_dim (const letter *l) { return mugraph_op_has (l->op.kind, MUGRAPH_HAS_DIM); }

bool alphabet_commutes (const letter *l) { return mugraph_op_is (l->op.kind, MUGRAPH_COMMUTES); }
