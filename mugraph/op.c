/* The tables of operators (op.def), of their real attributes, and of data types. */
#include "mugraph.h"

#include <string.h>

/* What op.def calls by short names. Each of its columns has names of its own. */
enum { K = MUGRAPH_KERNEL_LEVEL, B = MUGRAPH_BLOCK_LEVEL, V = -1 };
enum {
  DIM = MUGRAPH_HAS_DIM,
  WIDTH = MUGRAPH_HAS_WIDTH,
  VALUE = MUGRAPH_HAS_VALUE,
  EPSILON = MUGRAPH_HAS_EPSILON,
  BOUNDS = MUGRAPH_HAS_LOW | MUGRAPH_HAS_HIGH
};
enum { NONE = 0, COMMUTES = MUGRAPH_COMMUTES, KEYED = MUGRAPH_KEYED, NORM = MUGRAPH_NORM };

const mugraph_op_info mugraph_op_table[MUGRAPH_N_OPS] = {
#define OP(id, text, arity, levels, klass, shape, attributes, statistic, unit, traits, field, real, cuda)              \
  [MUGRAPH_OP_##id] = {text,   arity, levels, MUGRAPH_##klass, attributes, MUGRAPH_OF_##statistic, MUGRAPH_ON_##unit,  \
                       traits, cuda},
#include "op.def"
#undef OP
};

int mugraph_op_find (const char *text) {
  for (int i = 0; i < MUGRAPH_N_OPS; i++)
    if (!strcmp (mugraph_op_table[i].text, text)) return i;
  return -1;
}

const mugraph_real mugraph_reals[MUGRAPH_REALS] = {
    {MUGRAPH_HAS_VALUE, "value", "the value", 0, 0, false},
    {MUGRAPH_HAS_EPSILON, "epsilon", "epsilon", 0, 0, true},
    {MUGRAPH_HAS_LOW, "low", "the low bound", 0, 0, false},
    {MUGRAPH_HAS_HIGH, "high", "the high bound", 1, 1, false},
};

mugraph_op mugraph_op_of (mugraph_op_kind kind, int dim) {
  mugraph_op op = {.kind = (uint8_t) kind, .dim = (int8_t) dim, .block = -1, .map = {-1, -1, -1}, .fmap = -1};
  for (int r = 0; r < MUGRAPH_REALS; r++)
    if (mugraph_op_has (kind, mugraph_reals[r].attribute)) op.c[mugraph_reals[r].index] = mugraph_reals[r].otherwise;
  return op;
}

/* ---- data types ---- */

static const struct {
  const char *text;
  int bytes;
} dtypes[MUGRAPH_N_DTYPES] = {{"f16", 2}, {"bf16", 2}, {"f32", 4}};

const char *mugraph_dtype_text (mugraph_dtype t) { return dtypes[t].text; }
int mugraph_dtype_bytes (mugraph_dtype t) { return dtypes[t].bytes; }

int mugraph_dtype_find (const char *text) {
  for (int i = 0; i < MUGRAPH_N_DTYPES; i++)
    if (!strcmp (dtypes[i].text, text)) return i;
  return -1;
}
