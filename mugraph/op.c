/* The tables of operators (op.def) and of data types. */
#include "mugraph.h"

#include <string.h>

enum { K = MUGRAPH_KERNEL_LEVEL, B = MUGRAPH_BLOCK_LEVEL, V = -1 };

const mugraph_op_info mugraph_op_table[MUGRAPH_N_OPS] = {
#define OP(id, text, arity, levels, klass, shape, expr, field, real, cuda)                                             \
  [MUGRAPH_OP_##id] = {text, arity, levels, MUGRAPH_##klass, cuda},
#include "op.def"
#undef OP
};

int mugraph_op_find (const char *text) {
  for (int i = 0; i < MUGRAPH_N_OPS; i++)
    if (!strcmp (mugraph_op_table[i].text, text)) return i;
  return -1;
}

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
