/* The pool, and the rules that give an operator's result its expression. */
#include "expr.h"
#include "normal.h"

#include <stdlib.h>
#include <string.h>

expr_pool *expr_pool_new (bool loose) {
  expr_pool *pool = calloc (1, sizeof *pool);
  if (!pool) return NULL;
  pool->loose = loose;
  pool->stats = &pool->nowhere;
  bool ok = atom_intern (pool, &(atom){.type = ATOM_SIGN}) == SIGN && product_intern (pool, NULL, 0) == EMPTY &&
            normal_start (pool);
  if (!ok) return expr_pool_free (pool), NULL;
  return pool;
}

void expr_pool_free (expr_pool *pool) {
  if (!pool) return;
  intern_free (&pool->atoms), intern_free (&pool->products), intern_free (&pool->normals), intern_free (&pool->calls);
  free (pool->atom_hash), free (pool->product_hash), free (pool->normal_hash);
  free (pool->result), free (pool->lost), free (pool->goal), free (pool->verdict);
  prune_z3_free (pool->z3);
  free (pool);
}

uint64_t expr_hash (const expr_pool *pool, expr_id e) { return pool->normal_hash[e]; }

void expr_configure (expr_pool *pool, bool self_check, search_stats *stats) {
  pool->self_check = self_check;
  pool->stats = stats ? stats : &pool->nowhere;
}

uint64_t expr_disagreements (const expr_pool *pool) { return pool->disagreements; }

/* ---- functions ---- */

/* e is an argument of a function whose atom does not hold it as it is: it will be a goal. False without memory. */
static bool note_lost (expr_pool *pool, expr_id e) {
  if (pool->n_lost && pool->lost[pool->n_lost - 1] == e) return true;
  if (!intern_reserve ((void **) &pool->lost, &pool->lost_room, (uint64_t) pool->n_lost + 1, sizeof *pool->lost))
    return false;
  pool->lost[pool->n_lost++] = e;
  return true;
}

/* exp (a + b) = exp (a) exp (b), exp (-a) = 1 / exp (a). Each exponent is in lowest terms, so that exp (a/c + b/d) is
   exp (a/c) exp (b/d). */
static expr_id exponential (expr_pool *pool, expr_id e) {
  if (!e) return EXPR_UNKNOWN;
  normal n;
  normal_load (pool, e, &n);
  expr_id above = ONE, below = ONE;
  for (uint32_t i = 0; i < n.n; i++) {
    term t = n.t[i];
    bool minus = product_has_sign (pool, t.product);
    if (minus && !term_negate (pool, &n.t[i], &t)) return EXPR_UNKNOWN;
    t.count = 1;
    expr_id whole = normal_intern (pool, n.den, &t, 1);
    atom a = {.type = ATOM_EXP, .n_arg = 1, .arg = {normal_lowest_terms (pool, whole)}};
    if (!a.arg[0]) return EXPR_UNKNOWN;
    if (a.arg[0] != whole && !note_lost (pool, e)) return EXPR_UNKNOWN;
    expr_id *side = minus ? &below : &above;
    *side = normal_multiply (pool, *side, normal_of_atom (pool, &a, n.t[i].count));
  }
  return normal_quotient (pool, above, below);
}

/* A sum without the terms that occur with both signs. They need not cancel, as they may be different elements, but two
   ways of writing one tensor leave the same sum. */
static expr_id without_pairs (expr_pool *pool, expr_id e) {
  normal n, m = {.n = 0};
  normal_load (pool, e, &n);
  for (uint32_t i = 0; i < n.n; i++) {
    term minus;
    if (!term_negate (pool, &n.t[i], &minus)) return EXPR_UNKNOWN;
    if (!term_find (&n, &minus)) m.t[m.n++] = n.t[i];
  }
  return m.n == n.n ? e : normal_intern (pool, n.den, m.t, m.n);
}

/* A function outside the theory: equal arguments give equal values, and nothing else is known. */
static expr_id function (expr_pool *pool, mugraph_op_kind kind, uint32_t n, const expr_id arg[],
                         const uint64_t bits[2]) {
  atom a = {.type = ATOM_FUNCTION, .kind = (uint16_t) kind, .n_arg = n, .bits = {bits[0], bits[1]}};
  for (uint32_t i = 0; i < n; i++) {
    if (!arg[i]) return EXPR_UNKNOWN;
    a.arg[i] = pool->loose ? without_pairs (pool, arg[i]) : arg[i];
    if (!a.arg[i]) return EXPR_UNKNOWN;
    if (a.arg[i] != arg[i] && !note_lost (pool, arg[i])) return EXPR_UNKNOWN;
  }
  return normal_of_atom (pool, &a, 1);
}

/* ---- operators ---- */

static expr_id apply (expr_pool *, mugraph_op_kind, int n_in, const expr_id in[], const expr_attr *);

/* Concatenations are known piecewise: elementwise operators apply to each piece, and a matmul that contracts two of
   them over the same pieces is a sum of matmuls. Anything else mixes pieces in ways not followed here. */
static expr_id apply_to_pieces (expr_pool *pool, mugraph_op_kind kind, int n_in, const expr_id in[],
                                const expr_attr *attr) {
  atom a = {0}, b = {0};
  bool left = normal_concatenation (pool, in[0], &a), right = n_in > 1 && normal_concatenation (pool, in[1], &b);
  const atom *shape = left ? &a : &b;
  bool same = left && right && a.bits[0] == b.bits[0] && a.bits[1] == b.bits[1];
  expr_id piece[2];
  mugraph_class klass = mugraph_op_table[kind].klass;
  if (kind == MUGRAPH_OP_MATMUL) {
    if (!same || a.bits[0] + a.bits[1] != (uint64_t) attr->size) return EXPR_UNKNOWN;
    for (int k = 0; k < 2; k++)
      piece[k] = normal_scale (pool, normal_multiply (pool, a.arg[k], b.arg[k]), (int64_t) a.bits[k], 1);
    return normal_add (pool, piece[0], piece[1]);
  }
  if (klass != MUGRAPH_UNARY && klass != MUGRAPH_BINARY && kind != MUGRAPH_OP_ACCUM) return EXPR_UNKNOWN;
  if (left && right && !same) return EXPR_UNKNOWN;
  for (int k = 0; k < 2; k++) {
    expr_id operand[2] = {left ? a.arg[k] : in[0], right ? b.arg[k] : n_in > 1 ? in[1] : 0};
    piece[k] = apply (pool, kind, n_in, operand, attr);
  }
  return function (pool, MUGRAPH_OP_CONCAT, 2, piece, shape->bits);
}

static expr_id root_mean_square (expr_pool *pool, expr_id x, int64_t n, double epsilon) {
  expr_id mean = normal_scale (pool, normal_multiply (pool, x, x), n, n);
  if (epsilon != 0) mean = normal_add (pool, mean, expr_constant (pool, epsilon));
  return function (pool, MUGRAPH_OP_SQRT, 1, &mean, (uint64_t[2]){0});
}

/* A statistic of n elements alike. */
static expr_id statistic (expr_pool *pool, mugraph_op_kind kind, expr_id x, int64_t n, double epsilon) {
  switch (mugraph_op_table[kind].statistic) {
  case MUGRAPH_OF_SUM: return normal_scale (pool, x, n, 1);
  case MUGRAPH_OF_MEAN: return normal_scale (pool, x, n, n);
  case MUGRAPH_OF_RMS: return root_mean_square (pool, x, n, epsilon);
  case MUGRAPH_OF_MAX: {
    const atom *a = normal_single_atom (pool, x);
    if (a && a->type == ATOM_FUNCTION && a->kind == (uint16_t) kind) return x; /* max (max (x)) = max (x) */
    return function (pool, kind, 1, &x, (uint64_t[2]){0});
  }
  case MUGRAPH_OF_NONE: break;
  }
  return EXPR_UNKNOWN;
}

static expr_id apply (expr_pool *pool, mugraph_op_kind kind, int n_in, const expr_id in[], const expr_attr *attr) {
  uint64_t bits[2] = {0};
  int64_t n;
  for (int i = 0; i < n_in; i++) {
    atom piece;
    if (!in[i]) return EXPR_UNKNOWN;
    mugraph_class klass = mugraph_op_table[kind].klass;
    bool layout = klass == MUGRAPH_LAYOUT || klass == MUGRAPH_LEAF || klass == MUGRAPH_SAVER;
    if (!layout && normal_concatenation (pool, in[i], &piece)) return apply_to_pieces (pool, kind, n_in, in, attr);
  }
  if (__builtin_mul_overflow (attr->size, attr->loop, &n)) return EXPR_UNKNOWN;
  switch (kind) {
  case MUGRAPH_OP_CONST: return expr_constant (pool, attr->c[0]);
  case MUGRAPH_OP_INPUT:
  case MUGRAPH_OP_OUTPUT:
  case MUGRAPH_OP_TRANSPOSE: return in[0];
  case MUGRAPH_OP_MATMUL: return normal_scale (pool, normal_multiply (pool, in[0], in[1]), attr->size, 1);
  case MUGRAPH_OP_NEG: return normal_negate (pool, in[0]);
  case MUGRAPH_OP_EXP: return exponential (pool, in[0]);
  case MUGRAPH_OP_SQUARE: return normal_multiply (pool, in[0], in[0]);
  case MUGRAPH_OP_ADD: return normal_add (pool, in[0], in[1]);
  case MUGRAPH_OP_SUB: return normal_add (pool, in[0], normal_negate (pool, in[1]));
  case MUGRAPH_OP_MUL: return normal_multiply (pool, in[0], in[1]);
  case MUGRAPH_OP_DIV: return normal_multiply (pool, in[0], normal_invert (pool, in[1]));
  case MUGRAPH_OP_ACCUM: return normal_scale (pool, in[0], n, 1);
  case MUGRAPH_OP_CONCAT:
    if (n_in != 2) return EXPR_UNKNOWN;
    bits[0] = (uint64_t) attr->size, bits[1] = (uint64_t) attr->loop;
    return function (pool, kind, 2, in, bits);
  default: break;
  }
  if (mugraph_op_table[kind].statistic) {
    expr_id of = statistic (pool, kind, in[0], n, attr->c[0]);
    return mugraph_op_is (kind, MUGRAPH_NORM) ? normal_multiply (pool, in[0], normal_invert (pool, of)) : of;
  }
  if (!mugraph_op_is (kind, MUGRAPH_KEYED)) return EXPR_UNKNOWN;
  if (mugraph_op_has (kind, MUGRAPH_HAS_LOW)) memcpy (bits, attr->c, sizeof bits);
  return function (pool, kind, (uint32_t) n_in, in, bits);
}

/* What a result is memoised by. */
typedef struct {
  uint32_t kind;
  expr_id in[2];
  uint32_t n_in;
  int64_t size, loop;
  uint64_t c[2];
} call;

expr_id expr_of_op (expr_pool *pool, mugraph_op_kind kind, int n_in, const expr_id in[], const expr_attr *attr) {
  call key = {.kind = kind, .n_in = (uint32_t) n_in, .size = attr->size, .loop = attr->loop};
  if (n_in > 2) return EXPR_UNKNOWN;
  for (int i = 0; i < n_in; i++) key.in[i] = in[i];
  memcpy (key.c, attr->c, sizeof key.c);
  bool fresh;
  int64_t i = intern_key (&pool->calls, &key, sizeof key, &fresh);
  if (i < 0) return apply (pool, kind, n_in, in, attr);
  if (fresh) {
    if (!intern_reserve ((void **) &pool->result, &pool->results, (uint64_t) i + 1, sizeof *pool->result))
      return EXPR_UNKNOWN; /* and the failed reallocation makes every later one fail alike */
    pool->result[i] = EXPR_UNKNOWN;
    pool->result[i] = apply (pool, kind, n_in, in, attr);
  }
  return pool->result[i];
}

expr_id expr_opaque_root (expr_pool *pool, expr_id x, int64_t size, double epsilon) {
  double c[2] = {(double) size, epsilon};
  uint64_t bits[2];
  atom pieces;
  if (x && normal_concatenation (pool, x, &pieces)) {
    expr_id piece[2];
    for (int k = 0; k < 2; k++) piece[k] = expr_opaque_root (pool, pieces.arg[k], size, epsilon);
    return function (pool, MUGRAPH_OP_CONCAT, 2, piece, pieces.bits);
  }
  memcpy (bits, c, sizeof bits);
  return function (pool, MUGRAPH_OP_ACCUM_RMS, 1, &x, bits);
}

expr_id expr_input (expr_pool *pool, int i) {
  return normal_of_atom (pool, &(atom){.type = ATOM_INPUT, .bits = {(uint64_t) i}}, 1);
}

expr_id expr_constant (expr_pool *pool, double value) {
  atom a = {.type = ATOM_CONSTANT};
  memcpy (&a.bits[0], &value, sizeof value);
  return normal_of_atom (pool, &a, 1);
}
