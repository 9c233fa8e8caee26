#include "expr.h"
#include "prune_z3.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

/* Larger normal forms become EXPR_UNKNOWN: nothing that a search at the witness shape builds comes near. */
enum { TERMS = 256, PRODUCTS = 4096, FACTORS = 32, PRIMES = 16, NONE = -1 };

/* ---- interning: byte strings to consecutive numbers ---- */

typedef struct {
  uint64_t hash;
  uint32_t offset, size;
} entry;

typedef struct {
  uint32_t *slot; /* number + 1, 0 empty */
  uint32_t slots, n, n_entries, used, capacity;
  entry *entry;
  unsigned char *bytes; /* keys, 8-byte aligned; moves when it grows */
} table;

static bool reserve (void **array, uint32_t *capacity, uint64_t need, size_t size) {
  if (need <= *capacity) return true;
  uint64_t grown = *capacity ? 2 * (uint64_t) *capacity : 64;
  if (grown < need) grown = need;
  if (grown > UINT32_MAX) return false;
  void *moved = realloc (*array, grown * size);
  if (!moved) return false;
  *array = moved, *capacity = (uint32_t) grown;
  return true;
}

static bool rehash (table *t) {
  uint32_t slots = t->slots ? 2 * t->slots : 256;
  uint32_t *slot = calloc (slots, sizeof *slot);
  if (!slot) return false;
  for (uint32_t i = 0; i < t->n; i++) {
    uint32_t s = (uint32_t) t->entry[i].hash & (slots - 1);
    while (slot[s]) s = (s + 1) & (slots - 1);
    slot[s] = i + 1;
  }
  free (t->slot);
  t->slot = slot, t->slots = slots;
  return true;
}

/* The number of a key, new ones being appended: *fresh says so. NONE without memory. */
static int64_t intern (table *t, const void *key, uint32_t size, bool *fresh) {
  if (2 * (uint64_t) t->n >= t->slots && !rehash (t)) return NONE;
  uint64_t hash = XXH3_64bits (key, size);
  uint32_t s = (uint32_t) hash & (t->slots - 1);
  *fresh = false;
  for (; t->slot[s]; s = (s + 1) & (t->slots - 1)) {
    const entry *e = &t->entry[t->slot[s] - 1];
    if (e->hash == hash && e->size == size && (!size || !memcmp (t->bytes + e->offset, key, size)))
      return t->slot[s] - 1;
  }
  uint32_t padded = (size + 7) & ~7u;
  if (!reserve ((void **) &t->bytes, &t->capacity, (uint64_t) t->used + padded, 1) ||
      !reserve ((void **) &t->entry, &t->n_entries, (uint64_t) t->n + 1, sizeof *t->entry))
    return NONE;
  if (size) memcpy (t->bytes + t->used, key, size);
  t->entry[t->n] = (entry){.hash = hash, .offset = t->used, .size = size};
  t->used += padded;
  t->slot[s] = t->n + 1;
  *fresh = true;
  return t->n++;
}

static const void *key_of (const table *t, uint32_t i) { return t->bytes + t->entry[i].offset; }

static void free_table (table *t) { free (t->slot), free (t->entry), free (t->bytes); }

/* ---- the four kinds of things ---- */

enum { ATOM_SIGN, ATOM_INPUT, ATOM_CONSTANT, ATOM_EXP, ATOM_FUNCTION };

typedef struct {
  uint16_t type, kind; /* kind: of a function */
  uint32_t n_arg;
  expr_id arg[2];   /* EXP: a quotient with one monomial of count 1 above */
  uint64_t bits[2]; /* INPUT: index; CONSTANT, FUNCTION: bits of its constants; CONCAT: extents */
} atom;

typedef struct {
  uint32_t atom, exponent;
} factor; /* a product is an array of them, atoms ascending; the sign's exponent is 1 */

typedef struct {
  uint64_t sum, mean;
  uint32_t product, count;
} term;

/* A normal form's key: what stands below (an expression whose own den is ONE) and the terms above, ascending. */
typedef struct {
  expr_id den;
  uint32_t n;
  term t[TERMS];
} normal;

typedef struct {
  uint32_t kind;
  expr_id in[2];
  uint32_t n_in;
  int64_t size, loop;
  uint64_t c[2];
} call;

enum { ONE = 1 };   /* the expression 1 */
enum { SIGN = 0 };  /* the atom -1 */
enum { EMPTY = 0 }; /* the product of nothing */

/* Something to be reached: a target or an argument of an atom in one, or its reciprocal. */
typedef struct {
  expr_id num, den; /* both with den ONE */
} goal;

struct expr_pool {
  table atoms, products, normals, calls;
  uint64_t *atom_hash, *product_hash, *normal_hash; /* the same in every pool */
  uint32_t atom_hashes, product_hashes, normal_hashes;
  expr_id *result; /* of calls */
  uint32_t results;
  unsigned char *verdict; /* of normals: 0 not asked, 1 may contribute, 2 not */
  uint32_t verdicts;
  bool loose;
  bool product; /* sums are multiplied or summed again in them, so that a sum degree may be that of a product */
  bool open;    /* a target is unknown, so everything may contribute */
  int n_targets, n_goals;
  uint32_t goals;
  expr_id target[MUGRAPH_OUTPUTS];
  goal *goal;
  bool self_check;
  expr_memo *memo; /* shared; may be NULL */
  prune_z3 *z3;
  search_stats *stats, nowhere;
  uint64_t disagreements;
};

static bool note_hash (uint64_t **array, uint32_t *capacity, uint32_t i, uint64_t hash) {
  if (!reserve ((void **) array, capacity, (uint64_t) i + 1, sizeof **array)) return false;
  (*array)[i] = hash;
  return true;
}

static uint64_t mix (uint64_t a, uint64_t b) {
  uint64_t pair[2] = {a, b};
  return XXH3_64bits (pair, sizeof pair);
}

static int64_t intern_atom (expr_pool *pool, const atom *a) {
  bool fresh;
  int64_t i = intern (&pool->atoms, a, sizeof *a, &fresh);
  if (i < 0 || !fresh) return i;
  uint64_t hash = mix (a->type | (uint64_t) a->kind << 16, mix (a->bits[0], a->bits[1]));
  for (uint32_t k = 0; k < a->n_arg; k++) hash = mix (hash, pool->normal_hash[a->arg[k]]);
  return note_hash (&pool->atom_hash, &pool->atom_hashes, (uint32_t) i, hash) ? i : NONE;
}

static int64_t intern_product (expr_pool *pool, const factor f[], uint32_t n) {
  bool fresh;
  int64_t i = intern (&pool->products, f, n * (uint32_t) sizeof *f, &fresh);
  if (i < 0 || !fresh) return i;
  uint64_t hash = 0;
  for (uint32_t k = 0; k < n; k++) hash += mix (pool->atom_hash[f[k].atom], f[k].exponent);
  return note_hash (&pool->product_hash, &pool->product_hashes, (uint32_t) i, hash) ? i : NONE;
}

static uint32_t factors_of (const expr_pool *pool, uint32_t product, const factor **f) {
  *f = key_of (&pool->products, product);
  return pool->products.entry[product].size / (uint32_t) sizeof **f;
}

static const normal *normal_of (const expr_pool *pool, expr_id e) { return key_of (&pool->normals, e); }

static int compare_terms (const void *x, const void *y) {
  const term *a = x, *b = y;
  if (a->product != b->product) return a->product < b->product ? -1 : 1;
  if (a->sum != b->sum) return a->sum < b->sum ? -1 : 1;
  return (a->mean > b->mean) - (a->mean < b->mean);
}

/* Sorts, adds up equal monomials, interns. t has room for change. */
static expr_id intern_normal (expr_pool *pool, expr_id den, term t[], uint32_t n) {
  if (pool->loose)
    for (uint32_t i = 0; i < n; i++) t[i].sum = t[i].mean = t[i].count = 1;
  qsort (t, n, sizeof *t, compare_terms);
  normal key = {.den = den};
  for (uint32_t i = 0; i < n; i++) {
    term *last = key.n ? &key.t[key.n - 1] : NULL;
    if (last && !compare_terms (last, &t[i])) {
      uint64_t count = (uint64_t) last->count + t[i].count;
      if (count > UINT32_MAX) return EXPR_UNKNOWN;
      last->count = pool->loose ? 1 : (uint32_t) count;
    } else if (key.n == TERMS) return EXPR_UNKNOWN;
    else key.t[key.n++] = t[i];
  }
  bool fresh;
  int64_t i = intern (&pool->normals, &key, (uint32_t) (offsetof (normal, t) + key.n * sizeof *t), &fresh);
  if (i < 0) return EXPR_UNKNOWN;
  if (!fresh) return (expr_id) i;
  uint64_t hash = 0;
  for (uint32_t k = 0; k < key.n; k++)
    hash += mix (mix (pool->product_hash[key.t[k].product], key.t[k].count), mix (key.t[k].sum, key.t[k].mean));
  hash = mix (hash, den == ONE ? 1 : pool->normal_hash[den]);
  if (!reserve ((void **) &pool->verdict, &pool->verdicts, (uint64_t) i + 1, 1)) return EXPR_UNKNOWN;
  pool->verdict[i] = 0;
  return note_hash (&pool->normal_hash, &pool->normal_hashes, (uint32_t) i, hash | 1) ? (expr_id) i : EXPR_UNKNOWN;
}

expr_pool *expr_pool_new (bool loose) {
  expr_pool *pool = calloc (1, sizeof *pool);
  if (!pool) return NULL;
  pool->loose = loose;
  pool->stats = &pool->nowhere;
  bool fresh;
  term one = {.sum = 1, .mean = 1, .product = EMPTY, .count = 1};
  normal unknown = {.den = 0};
  bool ok = intern_atom (pool, &(atom){.type = ATOM_SIGN}) == SIGN && intern_product (pool, NULL, 0) == EMPTY &&
            intern (&pool->normals, &unknown, offsetof (normal, t), &fresh) == EXPR_UNKNOWN &&
            note_hash (&pool->normal_hash, &pool->normal_hashes, EXPR_UNKNOWN, 0) &&
            intern_normal (pool, ONE, &one, 1) == ONE;
  if (!ok) return expr_pool_free (pool), NULL;
  pool->verdict[EXPR_UNKNOWN] = 1;
  return pool;
}

void expr_pool_free (expr_pool *pool) {
  if (!pool) return;
  free_table (&pool->atoms), free_table (&pool->products), free_table (&pool->normals), free_table (&pool->calls);
  free (pool->atom_hash), free (pool->product_hash), free (pool->normal_hash);
  free (pool->result), free (pool->verdict), free (pool->goal);
  prune_z3_free (pool->z3);
  free (pool);
}

/* ---- products and monomials ---- */

static int64_t multiply_products (expr_pool *pool, uint32_t a, uint32_t b) {
  if (a == EMPTY || b == EMPTY) return a == EMPTY ? b : a;
  const factor *f, *g;
  uint32_t nf = factors_of (pool, a, &f), ng = factors_of (pool, b, &g), n = 0;
  factor out[2 * FACTORS];
  for (uint32_t i = 0, j = 0; i < nf || j < ng;) {
    factor next;
    if (j == ng || (i < nf && f[i].atom < g[j].atom)) next = f[i++];
    else if (i == nf || g[j].atom < f[i].atom) next = g[j++];
    else next = (factor){f[i].atom, f[i].exponent + g[j].exponent}, i++, j++;
    if (next.atom == SIGN && !(next.exponent &= 1)) continue;
    /* Loosely exp (x + x) is exp (x), so its square must be too. */
    if (pool->loose && ((const atom *) key_of (&pool->atoms, next.atom))->type == ATOM_EXP) next.exponent = 1;
    out[n++] = next;
  }
  return n > FACTORS ? NONE : intern_product (pool, out, n);
}

/* a / b, or NONE when b does not divide a. */
static int64_t divide_products (expr_pool *pool, uint32_t a, uint32_t b) {
  if (b == EMPTY) return a;
  const factor *f, *g;
  uint32_t nf = factors_of (pool, a, &f), ng = factors_of (pool, b, &g), n = 0, j = 0;
  factor out[FACTORS];
  for (uint32_t i = 0; i < nf; i++) {
    uint32_t exponent = f[i].exponent;
    if (j < ng && g[j].atom == f[i].atom) {
      if (g[j].exponent > exponent) return NONE;
      exponent -= g[j++].exponent;
    }
    if (exponent) out[n++] = (factor){f[i].atom, exponent};
  }
  return j < ng ? NONE : intern_product (pool, out, n);
}

static int64_t common_factor (expr_pool *pool, uint32_t a, uint32_t b) {
  const factor *f, *g;
  uint32_t nf = factors_of (pool, a, &f), ng = factors_of (pool, b, &g), n = 0;
  factor shared[FACTORS];
  for (uint32_t i = 0, j = 0; i < nf && j < ng;) {
    uint32_t x = f[i].atom, y = g[j].atom;
    if (x == y) shared[n++] = (factor){x, f[i].exponent < g[j].exponent ? f[i].exponent : g[j].exponent};
    i += x <= y, j += y <= x;
  }
  return intern_product (pool, shared, n);
}

static bool multiply_terms (expr_pool *pool, const term *a, const term *b, term *out) {
  int64_t product = multiply_products (pool, a->product, b->product);
  if (!pool->n_targets && a->sum > 1 && b->sum > 1) pool->product = true;
  if (product < 0 || __builtin_mul_overflow (a->sum, b->sum, &out->sum) ||
      __builtin_mul_overflow (a->mean, b->mean, &out->mean) || __builtin_mul_overflow (a->count, b->count, &out->count))
    return false;
  out->product = (uint32_t) product;
  return true;
}

/* The monomial m with b * m = a, counts aside. Who divides by a count has summed as many elements. */
static bool divide_terms (expr_pool *pool, const term *a, const term *b, term *m) {
  if (a->sum % b->sum || a->mean % b->mean) return false;
  *m = (term){.sum = a->sum / b->sum, .mean = a->mean / b->mean, .count = 1};
  if (m->sum % m->mean) return false;
  int64_t product = divide_products (pool, a->product, b->product);
  if (product < 0) return false;
  m->product = (uint32_t) product;
  return true;
}

/* ---- quotients ---- */

static void load (const expr_pool *pool, expr_id e, normal *out) {
  memcpy (out, normal_of (pool, e), pool->normals.entry[e].size);
}

/* The numerator alone, as an expression. */
static expr_id numerator (expr_pool *pool, expr_id e) {
  normal n;
  load (pool, e, &n);
  return n.den == ONE ? e : intern_normal (pool, ONE, n.t, n.n);
}

static expr_id quotient (expr_pool *pool, expr_id num, expr_id den) {
  if (!num || !den) return EXPR_UNKNOWN;
  normal n;
  load (pool, num, &n);
  assert (n.den == ONE);
  return intern_normal (pool, den, n.t, n.n);
}

static expr_id multiply (expr_pool *pool, expr_id a, expr_id b) {
  if (!a || !b) return EXPR_UNKNOWN;
  if (a == ONE || b == ONE) return a == ONE ? b : a;
  normal x, y;
  load (pool, a, &x), load (pool, b, &y);
  if (x.n * y.n > PRODUCTS) return EXPR_UNKNOWN;
  term t[PRODUCTS];
  uint32_t n = 0;
  for (uint32_t i = 0; i < x.n; i++)
    for (uint32_t j = 0; j < y.n; j++)
      if (!multiply_terms (pool, &x.t[i], &y.t[j], &t[n++])) return EXPR_UNKNOWN;
  expr_id den = multiply (pool, x.den, y.den);
  return den ? intern_normal (pool, den, t, n) : EXPR_UNKNOWN;
}

static expr_id invert (expr_pool *pool, expr_id e) {
  if (!e) return EXPR_UNKNOWN;
  normal n;
  load (pool, e, &n);
  return quotient (pool, n.den, numerator (pool, e));
}

/* A monomial order for division: compatible with multiplication. */
static int compare_leading (const expr_pool *pool, const term *a, const term *b) {
  const factor *f, *g;
  uint32_t nf = factors_of (pool, a->product, &f), ng = factors_of (pool, b->product, &g);
  for (uint32_t i = 0; i < nf || i < ng; i++) {
    if (i == nf || (i < ng && g[i].atom < f[i].atom)) return -1;
    if (i == ng || f[i].atom < g[i].atom) return 1;
    if (f[i].exponent != g[i].exponent) return f[i].exponent < g[i].exponent ? -1 : 1;
  }
  if (a->sum != b->sum) return a->sum < b->sum ? -1 : 1;
  return (a->mean > b->mean) - (a->mean < b->mean);
}

static const term *leading (const expr_pool *pool, const normal *n) {
  const term *best = &n->t[0];
  for (uint32_t i = 1; i < n->n; i++)
    if (compare_leading (pool, &n->t[i], best) > 0) best = &n->t[i];
  return best;
}

static term *find_term (normal *n, const term *key) { return bsearch (key, n->t, n->n, sizeof *n->t, compare_terms); }

/* a / b by long division, both without den; EXPR_UNKNOWN unless it comes out even with positive counts. Unless bare, a
   sum over nothing (S^n alone) is no factor: 1 / sum (x) has no divisor 1 / x. */
static expr_id divide_exactly (expr_pool *pool, expr_id a, expr_id b, bool bare) {
  if (!a || !b) return EXPR_UNKNOWN;
  if (b == ONE) return a;
  if (a == b) return ONE;
  normal x, y;
  load (pool, a, &x), load (pool, b, &y);
  if (!x.n || !y.n) return EXPR_UNKNOWN;
  term out[TERMS], head = *leading (pool, &y);
  uint32_t n = 0, left = x.n;
  while (left) {
    /* terms used up have count 0 and stay in place, so that the array remains sorted */
    const term *top = NULL;
    for (uint32_t i = 0; i < x.n; i++)
      if (x.t[i].count && (!top || compare_leading (pool, &x.t[i], top) > 0)) top = &x.t[i];
    term m;
    if (!top || n == TERMS || !divide_terms (pool, top, &head, &m) || top->count % head.count) return EXPR_UNKNOWN;
    if (m.product == EMPTY && m.sum != 1 && !bare) return EXPR_UNKNOWN;
    m.count = top->count / head.count;
    for (uint32_t j = 0; j < y.n; j++) {
      term product, *found;
      if (!multiply_terms (pool, &y.t[j], &m, &product)) return EXPR_UNKNOWN;
      if (!(found = find_term (&x, &product)) || found->count < product.count) return EXPR_UNKNOWN;
      if (!(found->count -= product.count)) left--;
    }
    out[n++] = m;
  }
  return intern_normal (pool, ONE, out, n);
}

/* Splits a sum into the product that all its terms share and the rest. */
static bool split_content (expr_pool *pool, expr_id e, uint32_t *content, expr_id *rest) {
  normal n;
  load (pool, e, &n);
  int64_t shared = n.t[0].product;
  for (uint32_t i = 1; i < n.n && shared > 0; i++) shared = common_factor (pool, (uint32_t) shared, n.t[i].product);
  for (uint32_t i = 0; i < n.n && shared >= 0; i++) {
    int64_t left = divide_products (pool, n.t[i].product, (uint32_t) shared);
    if (left < 0) return false;
    n.t[i].product = (uint32_t) left;
  }
  *content = (uint32_t) shared;
  return shared >= 0 && (*rest = intern_normal (pool, ONE, n.t, n.n));
}

/* The least common multiple of two dens as far as it is easily seen; never less than a common multiple. What both have
   in common is looked for in products that all terms share and, when they are equal, in what is left. */
static expr_id common_multiple (expr_pool *pool, expr_id a, expr_id b) {
  uint32_t x, y;
  expr_id rest, same;
  if (!split_content (pool, a, &x, &rest) || !split_content (pool, b, &y, &same)) return EXPR_UNKNOWN;
  int64_t product = common_factor (pool, x, y);
  if (product < 0) return EXPR_UNKNOWN;
  term t = {.sum = 1, .mean = 1, .product = (uint32_t) product, .count = 1};
  expr_id shared = intern_normal (pool, ONE, &t, 1);
  if (rest == same) shared = multiply (pool, shared, rest);
  /* a sum without its atoms is no factor; then the plain product */
  expr_id less = divide_exactly (pool, a, shared, false) ? divide_exactly (pool, b, shared, false) : EXPR_UNKNOWN;
  return multiply (pool, a, less ? less : b);
}

static expr_id add (expr_pool *pool, expr_id a, expr_id b) {
  if (!a || !b) return EXPR_UNKNOWN;
  expr_id x = normal_of (pool, a)->den, y = normal_of (pool, b)->den, den = x;
  if (x != y) {
    if (divide_exactly (pool, y, x, false)) den = y;
    else if (!divide_exactly (pool, x, y, false)) den = common_multiple (pool, x, y);
    if (!den) return EXPR_UNKNOWN;
    a = multiply (pool, numerator (pool, a), divide_exactly (pool, den, x, false));
    b = multiply (pool, numerator (pool, b), divide_exactly (pool, den, y, false));
    if (!a || !b) return EXPR_UNKNOWN;
  }
  term t[2 * TERMS];
  const normal *m = normal_of (pool, a), *n = normal_of (pool, b);
  memcpy (t, m->t, m->n * sizeof *t);
  memcpy (t + m->n, n->t, n->n * sizeof *t);
  return intern_normal (pool, den, t, m->n + n->n);
}

/* S^sum A^mean e */
static expr_id scale (expr_pool *pool, expr_id e, int64_t sum, int64_t mean) {
  if (!e || sum < 1) return EXPR_UNKNOWN;
  if (sum == 1 && mean == 1) return e;
  normal n;
  load (pool, e, &n);
  for (uint32_t i = 0; i < n.n; i++) {
    if (!pool->n_targets && n.t[i].sum > 1 && sum > 1) pool->product = true;
    if (__builtin_mul_overflow (n.t[i].sum, (uint64_t) sum, &n.t[i].sum) ||
        __builtin_mul_overflow (n.t[i].mean, (uint64_t) mean, &n.t[i].mean))
      return EXPR_UNKNOWN;
  }
  return intern_normal (pool, n.den, n.t, n.n);
}

static expr_id power_of_atom (expr_pool *pool, const atom *a, uint32_t exponent) {
  int64_t i = intern_atom (pool, a);
  if (i < 0) return EXPR_UNKNOWN;
  factor f = {(uint32_t) i, exponent};
  int64_t product = intern_product (pool, &f, 1);
  if (product < 0) return EXPR_UNKNOWN;
  term t = {.sum = 1, .mean = 1, .product = (uint32_t) product, .count = 1};
  return intern_normal (pool, ONE, &t, 1);
}

static expr_id negate (expr_pool *pool, expr_id e) {
  return multiply (pool, e, power_of_atom (pool, &(atom){.type = ATOM_SIGN}, 1));
}

static bool has_sign (const expr_pool *pool, uint32_t product) {
  const factor *f;
  return factors_of (pool, product, &f) && f[0].atom == SIGN;
}

/* -t */
static bool flip_sign (expr_pool *pool, const term *t, term *out) {
  factor sign = {SIGN, 1};
  int64_t minus = intern_product (pool, &sign, 1);
  return minus >= 0 &&
         multiply_terms (pool, t, &(term){.sum = 1, .mean = 1, .product = (uint32_t) minus, .count = 1}, out);
}

static void add_goals (expr_pool *pool, expr_id e);

/* A monomial over something, without what stands above and below: in a/c + b/d, which became (a d + b c) / (c d), the
   first term is a/c. Not for targets as such: exp (x) / sum (exp (x)) stays, for the two x are different elements. */
static expr_id lowest_terms (expr_pool *pool, expr_id e) {
  if (!e) return EXPR_UNKNOWN;
  normal n, d;
  load (pool, e, &n), load (pool, n.den, &d);
  int64_t shared = n.t[0].product;
  for (uint32_t i = 0; i < d.n && shared > 0; i++) shared = common_factor (pool, (uint32_t) shared, d.t[i].product);
  if (shared <= 0) return e; /* none, or no memory */
  for (uint32_t i = 0; i <= d.n; i++) {
    term *t = i < d.n ? &d.t[i] : &n.t[0];
    int64_t rest = divide_products (pool, t->product, (uint32_t) shared);
    if (rest < 0) return e;
    t->product = (uint32_t) rest;
  }
  expr_id den = intern_normal (pool, ONE, d.t, d.n);
  return den ? intern_normal (pool, den, n.t, 1) : EXPR_UNKNOWN;
}

/* exp (a + b) = exp (a) exp (b), exp (-a) = 1 / exp (a). Each exponent is in lowest terms, so that exp (a/c + b/d) is
   exp (a/c) exp (b/d). */
static expr_id exponential (expr_pool *pool, expr_id e) {
  if (!e) return EXPR_UNKNOWN;
  normal n;
  load (pool, e, &n);
  expr_id above = ONE, below = ONE;
  for (uint32_t i = 0; i < n.n; i++) {
    term t = n.t[i];
    bool minus = has_sign (pool, t.product);
    if (minus && !flip_sign (pool, &n.t[i], &t)) return EXPR_UNKNOWN;
    t.count = 1;
    expr_id whole = intern_normal (pool, n.den, &t, 1);
    atom a = {.type = ATOM_EXP, .n_arg = 1, .arg = {lowest_terms (pool, whole)}};
    if (!a.arg[0]) return EXPR_UNKNOWN;
    if (a.arg[0] != whole && !pool->n_targets) add_goals (pool, e);
    expr_id *side = minus ? &below : &above;
    *side = multiply (pool, *side, power_of_atom (pool, &a, n.t[i].count));
  }
  return quotient (pool, above, below);
}

/* What is left of a sum when terms that differ only in sign cancel; they need not, for they may be different elements,
   but two ways of writing one tensor leave the same. */
static expr_id without_pairs (expr_pool *pool, expr_id e) {
  normal n, m = {.n = 0};
  load (pool, e, &n);
  for (uint32_t i = 0; i < n.n; i++) {
    term minus;
    if (!flip_sign (pool, &n.t[i], &minus)) return EXPR_UNKNOWN;
    if (!find_term (&n, &minus)) m.t[m.n++] = n.t[i];
  }
  return m.n == n.n ? e : intern_normal (pool, n.den, m.t, m.n);
}

/* A function outside the theory: equal arguments give equal values, and nothing else is known. */
static expr_id function (expr_pool *pool, mugraph_op_kind kind, uint32_t n, const expr_id arg[],
                         const uint64_t bits[2]) {
  atom a = {.type = ATOM_FUNCTION, .kind = (uint16_t) kind, .n_arg = n, .bits = {bits[0], bits[1]}};
  for (uint32_t i = 0; i < n; i++) {
    if (!arg[i]) return EXPR_UNKNOWN;
    a.arg[i] = pool->loose ? without_pairs (pool, arg[i]) : arg[i];
    if (!a.arg[i]) return EXPR_UNKNOWN;
    /* The atom no longer tells what its argument consists of. */
    if (a.arg[i] != arg[i] && !pool->n_targets) add_goals (pool, arg[i]);
  }
  return power_of_atom (pool, &a, 1);
}

/* The atom that makes up e alone, or NULL. */
static const atom *single_atom (const expr_pool *pool, expr_id e) {
  const normal *n = normal_of (pool, e);
  const factor *f;
  if (!e || n->n != 1 || n->den != ONE || n->t[0].sum != 1 || n->t[0].mean != 1 || n->t[0].count != 1) return NULL;
  if (factors_of (pool, n->t[0].product, &f) != 1 || f->exponent != 1) return NULL;
  return key_of (&pool->atoms, f->atom);
}

static bool concatenation (const expr_pool *pool, expr_id e, atom *out) {
  const atom *a = single_atom (pool, e);
  if (!a || a->type != ATOM_FUNCTION || a->kind != MUGRAPH_OP_CONCAT) return false;
  *out = *a;
  return true;
}

/* ---- operators ---- */

static expr_id apply (expr_pool *, mugraph_op_kind, int n_in, const expr_id in[], const expr_attr *);

/* Concatenations are known piecewise: elementwise operators apply to each piece, and a matmul that contracts two of
   them over the same pieces is a sum of matmuls. Anything else mixes pieces in ways not followed here. */
static expr_id apply_to_pieces (expr_pool *pool, mugraph_op_kind kind, int n_in, const expr_id in[],
                                const expr_attr *attr) {
  atom a = {0}, b = {0};
  bool left = concatenation (pool, in[0], &a), right = n_in > 1 && concatenation (pool, in[1], &b);
  const atom *shape = left ? &a : &b;
  bool same = left && right && a.bits[0] == b.bits[0] && a.bits[1] == b.bits[1];
  expr_id piece[2];
  mugraph_class klass = mugraph_op_table[kind].klass;
  if (kind == MUGRAPH_OP_MATMUL) {
    if (!same || a.bits[0] + a.bits[1] != (uint64_t) attr->size) return EXPR_UNKNOWN;
    for (int k = 0; k < 2; k++) piece[k] = scale (pool, multiply (pool, a.arg[k], b.arg[k]), (int64_t) a.bits[k], 1);
    return add (pool, piece[0], piece[1]);
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
  expr_id mean = scale (pool, multiply (pool, x, x), n, n);
  if (epsilon != 0) mean = add (pool, mean, expr_constant (pool, epsilon));
  return function (pool, MUGRAPH_OP_SQRT, 1, &mean, (uint64_t[2]){0});
}

static expr_id apply (expr_pool *pool, mugraph_op_kind kind, int n_in, const expr_id in[], const expr_attr *attr) {
  uint64_t bits[2] = {0};
  int64_t n;
  for (int i = 0; i < n_in; i++) {
    atom piece;
    if (!in[i]) return EXPR_UNKNOWN;
    bool layout = mugraph_op_table[kind].klass == MUGRAPH_LAYOUT || mugraph_op_table[kind].klass == MUGRAPH_LEAF ||
                  mugraph_op_table[kind].klass == MUGRAPH_SAVER;
    if (!layout && concatenation (pool, in[i], &piece)) return apply_to_pieces (pool, kind, n_in, in, attr);
  }
  if (__builtin_mul_overflow (attr->size, attr->loop, &n)) return EXPR_UNKNOWN;
  switch (kind) {
  case MUGRAPH_OP_CONST: return expr_constant (pool, attr->c[0]);
  case MUGRAPH_OP_INPUT:
  case MUGRAPH_OP_OUTPUT:
  case MUGRAPH_OP_TRANSPOSE: return in[0];
  case MUGRAPH_OP_MATMUL: return scale (pool, multiply (pool, in[0], in[1]), attr->size, 1);
  case MUGRAPH_OP_NEG: return negate (pool, in[0]);
  case MUGRAPH_OP_EXP: return exponential (pool, in[0]);
  case MUGRAPH_OP_SQUARE: return multiply (pool, in[0], in[0]);
  case MUGRAPH_OP_ADD: return add (pool, in[0], in[1]);
  case MUGRAPH_OP_SUB: return add (pool, in[0], negate (pool, in[1]));
  case MUGRAPH_OP_MUL: return multiply (pool, in[0], in[1]);
  case MUGRAPH_OP_DIV: return multiply (pool, in[0], invert (pool, in[1]));
  case MUGRAPH_OP_SUM:
  case MUGRAPH_OP_SUM_TO:
  case MUGRAPH_OP_ACCUM:
  case MUGRAPH_OP_ACCUM_SUM:
  case MUGRAPH_OP_ACCUM_SUM_TO: return scale (pool, in[0], n, 1);
  case MUGRAPH_OP_MEAN:
  case MUGRAPH_OP_ACCUM_MEAN: return scale (pool, in[0], n, n);
  case MUGRAPH_OP_RMS_NORM: return multiply (pool, in[0], invert (pool, root_mean_square (pool, in[0], n, attr->c[0])));
  case MUGRAPH_OP_ACCUM_RMS: return root_mean_square (pool, in[0], n, attr->c[0]);
  case MUGRAPH_OP_MAX: {
    const atom *a = single_atom (pool, in[0]);
    if (a && a->type == ATOM_FUNCTION && a->kind == MUGRAPH_OP_MAX) return in[0]; /* max (max (x)) = max (x) */
    return function (pool, kind, 1, in, bits);
  }
  case MUGRAPH_OP_CONCAT:
    if (n_in != 2) return EXPR_UNKNOWN;
    bits[0] = (uint64_t) attr->size, bits[1] = (uint64_t) attr->loop;
    return function (pool, kind, 2, in, bits);
  case MUGRAPH_OP_CLAMP: memcpy (bits, attr->c, sizeof bits); /* fall through */
  case MUGRAPH_OP_SQRT:
  case MUGRAPH_OP_SILU:
  case MUGRAPH_OP_GELU:
  case MUGRAPH_OP_RELU:
  case MUGRAPH_OP_TANH:
  case MUGRAPH_OP_SIGMOID:
  case MUGRAPH_OP_LOG:
  case MUGRAPH_OP_POW: return function (pool, kind, (uint32_t) n_in, in, bits);
  case MUGRAPH_OP_CUSTOM:
  case MUGRAPH_N_OPS: break;
  }
  return EXPR_UNKNOWN;
}

expr_id expr_of_op (expr_pool *pool, mugraph_op_kind kind, int n_in, const expr_id in[], const expr_attr *attr) {
  call key = {.kind = kind, .n_in = (uint32_t) n_in, .size = attr->size, .loop = attr->loop};
  if (n_in > 2) return EXPR_UNKNOWN;
  for (int i = 0; i < n_in; i++) key.in[i] = in[i];
  memcpy (key.c, attr->c, sizeof key.c);
  bool fresh;
  int64_t i = intern (&pool->calls, &key, sizeof key, &fresh);
  if (i < 0) return apply (pool, kind, n_in, in, attr);
  if (fresh) {
    if (!reserve ((void **) &pool->result, &pool->results, (uint64_t) i + 1, sizeof *pool->result))
      return EXPR_UNKNOWN; /* and the failed reallocation makes every later one fail alike */
    pool->result[i] = EXPR_UNKNOWN;
    pool->result[i] = apply (pool, kind, n_in, in, attr);
  }
  return pool->result[i];
}

expr_id expr_input (expr_pool *pool, int i) {
  return power_of_atom (pool, &(atom){.type = ATOM_INPUT, .bits = {(uint64_t) i}}, 1);
}

expr_id expr_constant (expr_pool *pool, double value) {
  atom a = {.type = ATOM_CONSTANT};
  memcpy (&a.bits[0], &value, sizeof value);
  return power_of_atom (pool, &a, 1);
}

expr_attr expr_attr_of (const mugraph_op *op, const mugraph_shape *const in[], int32_t loop, bool varies) {
  expr_attr attr = {.size = 1, .loop = 1, .c = {op->c[0], op->c[1]}};
  const mugraph_shape *s = op->n_in ? in[0] : NULL;
  int32_t last = s && s->n_dims ? s->dim[s->n_dims - 1] : 1;
  bool accumulates = mugraph_op_table[op->kind].klass == MUGRAPH_ACCUM;
  if (accumulates && varies) attr.loop = loop;
  switch (op->kind) {
  case MUGRAPH_OP_SUM:
  case MUGRAPH_OP_MEAN:
  case MUGRAPH_OP_RMS_NORM: attr.size = s->dim[op->dim]; break;
  case MUGRAPH_OP_MATMUL:
  case MUGRAPH_OP_ACCUM_SUM:
  case MUGRAPH_OP_ACCUM_MEAN:
  case MUGRAPH_OP_ACCUM_RMS: attr.size = last; break;
  case MUGRAPH_OP_SUM_TO: last = s->dim[op->dim]; /* fall through */
  case MUGRAPH_OP_ACCUM_SUM_TO: attr.size = op->width > 0 ? last / op->width : 1; break;
  case MUGRAPH_OP_CONCAT: attr.size = s->dim[op->dim], attr.loop = in[1]->dim[op->dim]; break;
  default: break;
  }
  return attr;
}

static void block_of_graph (expr_pool *pool, const mugraph_block *block, const expr_id in[], expr_id tile[]) {
  bool varies[MUGRAPH_BLOCK_OPS];
  for (int i = 0; i < block->n_ops; i++) {
    const mugraph_op *op = &block->op[i];
    if (op->kind == MUGRAPH_OP_INPUT) {
      tile[i] = in[op->in[0]];
      varies[i] = op->fmap >= 0 && block->loop > 1;
      continue;
    }
    const mugraph_shape *shape[MUGRAPH_FANIN];
    expr_id operand[MUGRAPH_FANIN];
    bool any = false;
    for (int k = 0; k < op->n_in; k++) {
      shape[k] = &block->op[op->in[k]].shape;
      operand[k] = tile[op->in[k]];
      any |= varies[op->in[k]];
    }
    expr_attr attr = expr_attr_of (op, shape, block->loop, any);
    tile[i] = expr_of_op (pool, (mugraph_op_kind) op->kind, op->n_in, operand, &attr);
    varies[i] = any && mugraph_op_table[op->kind].klass != MUGRAPH_ACCUM;
  }
}

void expr_of_graph (expr_pool *pool, const mugraph *g, expr_id tensor[MUGRAPH_TENSORS],
                    expr_id (*tile)[MUGRAPH_BLOCK_OPS]) {
  for (int i = 0; i < g->n_inputs; i++) tensor[i] = expr_input (pool, i);
  for (int k = 0; k < g->n_ops; k++) {
    const mugraph_op *op = &g->op[k];
    const mugraph_shape *shape[MUGRAPH_FANIN];
    expr_id operand[MUGRAPH_FANIN];
    for (int i = 0; i < op->n_in; i++) shape[i] = &g->tensor[op->in[i]].shape, operand[i] = tensor[op->in[i]];
    if (op->kind == MUGRAPH_OP_CUSTOM) {
      const mugraph_block *block = &g->block[op->block];
      expr_id own[MUGRAPH_BLOCK_OPS], *t = tile ? tile[op->block] : own;
      block_of_graph (pool, block, operand, t);
      for (int i = 0, out = 0; i < block->n_ops; i++)
        if (block->op[i].kind == MUGRAPH_OP_OUTPUT) tensor[op->out[out++]] = t[i];
    } else {
      expr_attr attr = expr_attr_of (op, shape, 1, false);
      tensor[op->out[0]] = expr_of_op (pool, (mugraph_op_kind) op->kind, op->n_in, operand, &attr);
    }
  }
}

/* ---- which programs need the loose comparison ---- */

/* Whether tensor t, as a sum, may have a term that does not vary along dimension d, counted from the last one (0). */
static bool constant_along (const mugraph *g, const int producer[], int t, int d) {
  const mugraph_shape *s = &g->tensor[t].shape;
  if (d >= s->n_dims || s->dim[s->n_dims - 1 - d] == 1) return true;
  if (producer[t] < 0) return false;
  const mugraph_op *op = &g->op[producer[t]];
  int a = op->in[0], b = op->n_in > 1 ? op->in[1] : a;
  switch (op->kind) {
  case MUGRAPH_OP_ADD:
  case MUGRAPH_OP_SUB: return constant_along (g, producer, a, d) || constant_along (g, producer, b, d);
  case MUGRAPH_OP_MUL:
  case MUGRAPH_OP_DIV: return constant_along (g, producer, a, d) && constant_along (g, producer, b, d);
  case MUGRAPH_OP_MATMUL:
    if (d == 0) return constant_along (g, producer, b, 0);
    if (d == 1) return constant_along (g, producer, a, 1);
    return constant_along (g, producer, a, d) && constant_along (g, producer, b, d);
  case MUGRAPH_OP_TRANSPOSE: return constant_along (g, producer, a, d < 2 ? 1 - d : d);
  case MUGRAPH_OP_CONCAT: return constant_along (g, producer, a, d) || constant_along (g, producer, b, d);
  case MUGRAPH_OP_NEG:
  case MUGRAPH_OP_SQUARE:
  case MUGRAPH_OP_RMS_NORM:
  case MUGRAPH_OP_SUM:
  case MUGRAPH_OP_MEAN: return constant_along (g, producer, a, d);
  default: return false;
  }
}

bool expr_loose (const mugraph *g) {
  int producer[MUGRAPH_TENSORS];
  for (int t = 0; t < g->n_tensors; t++) producer[t] = -1;
  for (int k = 0; k < g->n_ops; k++)
    for (int i = 0; i < g->op[k].n_out; i++) producer[g->op[k].out[i]] = k;
  for (int k = 0; k < g->n_ops; k++) {
    const mugraph_op *op = &g->op[k];
    int a = op->in[0], dims = g->tensor[a].shape.n_dims, dim = dims - 1 - op->dim;
    switch (op->kind) {
    case MUGRAPH_OP_NEG:
    case MUGRAPH_OP_SUB: return true;
    case MUGRAPH_OP_MATMUL:
      if (constant_along (g, producer, a, 0) && constant_along (g, producer, op->in[1], 1)) return true;
      break;
    case MUGRAPH_OP_SUM_TO: dim = 0; /* fall through */
    case MUGRAPH_OP_SUM:
    case MUGRAPH_OP_MEAN:
    case MUGRAPH_OP_RMS_NORM:
      if (g->tensor[a].shape.dim[dims - 1 - dim] > 1 && constant_along (g, producer, a, dim)) return true;
      break;
    default: break;
    }
  }
  return false;
}

/* ---- the decision ---- */

/* The arguments of the atoms in a sum. Those of a product of exps also as their sum: exp (a) exp (b) = exp (a + b).
   Where there is subtraction, exp (a) / exp (b) is one of those, and one sum for all is simplest. */
static void add_arguments (expr_pool *pool, expr_id e) {
  normal n;
  load (pool, e, &n);
  expr_id exponent = EXPR_UNKNOWN;
  for (uint32_t i = 0; i < n.n; i++) {
    const factor *f;
    uint32_t nf = factors_of (pool, n.t[i].product, &f);
    if (!pool->loose) exponent = EXPR_UNKNOWN;
    for (uint32_t k = 0; k < nf; k++) {
      factors_of (pool, n.t[i].product, &f); /* products may have moved */
      uint32_t times = f[k].exponent;
      atom a = *(const atom *) key_of (&pool->atoms, f[k].atom);
      for (uint32_t j = 0; j < a.n_arg; j++) add_goals (pool, a.arg[j]);
      for (; a.type == ATOM_EXP && times; times--) exponent = exponent ? add (pool, exponent, a.arg[0]) : a.arg[0];
    }
    if (!pool->loose && exponent) add_goals (pool, exponent);
  }
  if (exponent) add_goals (pool, exponent);
}

static void add_goal (expr_pool *pool, expr_id num, expr_id den) {
  for (int i = 0; i < pool->n_goals; i++)
    if (pool->goal[i].num == num && pool->goal[i].den == den) return;
  if (!reserve ((void **) &pool->goal, &pool->goals, (uint64_t) pool->n_goals + 1, sizeof *pool->goal)) {
    pool->open = true;
    return;
  }
  pool->goal[pool->n_goals++] = (goal){num, den};
  add_arguments (pool, num);
}

/* A quotient, its reciprocal, and the same for each of its terms alone, also in lowest terms: in a / (b / c) + d =
   (a c + b d) / b the partial b / c is a part of neither the quotient nor its reciprocal, but of b / (a c). */
static void add_goals (expr_pool *pool, expr_id e) {
  expr_id num = e ? numerator (pool, e) : EXPR_UNKNOWN;
  if (!num) {
    pool->open = true;
    return;
  }
  normal n;
  load (pool, e, &n);
  add_goal (pool, num, n.den);
  if (n.den == ONE) return;
  add_goal (pool, n.den, num);
  if (pool->loose) add_arguments (pool, multiply (pool, num, n.den));
  for (uint32_t i = 0; i < n.n; i++) {
    expr_id part = intern_normal (pool, n.den, &n.t[i], 1), parts[2] = {part, lowest_terms (pool, part)};
    for (int k = 0; k < 2 && parts[k]; k++) {
      expr_id above = numerator (pool, parts[k]), under = normal_of (pool, parts[k])->den;
      if (above) add_goal (pool, above, under), add_goal (pool, under, above);
    }
  }
}

void expr_set_targets (expr_pool *pool, int n, const expr_id target[]) {
  for (int i = 0; i < n; i++) add_goals (pool, pool->target[i] = target[i]);
  pool->n_targets = n;
}

/* Is there a monomial m such that m times p is a part of g? The choice for p's first monomial fixes m. */
static bool contained (expr_pool *pool, const normal *p, normal *g) {
  for (uint32_t t = 0; t < g->n; t++) {
    term m, product;
    if (g->t[t].count < p->t[0].count || !divide_terms (pool, &g->t[t], &p->t[0], &m)) continue;
    bool all = true;
    for (uint32_t i = 1; i < p->n && all; i++) {
      const term *found = multiply_terms (pool, &p->t[i], &m, &product) ? find_term (g, &product) : NULL;
      all = found && found->count >= p->t[i].count;
    }
    if (all) return true;
  }
  return false;
}

/* Appends the exponents of n's primes to those known; false when they are too many or too large. */
static bool factorise (uint64_t n, int32_t exponent[], uint64_t prime[], int *n_primes) {
  for (uint64_t d = 2; n > 1; d = d * d > n ? n : d + 1) {
    if (n % d) continue;
    if (d > 1 << 20) return false;
    int k = 0;
    while (k < *n_primes && prime[k] != d) k++;
    if (k == PRIMES) return false;
    if (k == *n_primes) prime[(*n_primes)++] = d;
    for (; n % d == 0; n /= d) exponent[k]++;
  }
  return true;
}

/* ---- the same questions to Z3 ---- */

enum { ATOMS = 64, ROW = ATOMS + 2 * PRIMES };

/* The parts of one question and the memory that they point into. */
typedef struct {
  int n_ways, n_blocks;
  double work; /* comparisons of monomials */
  prune_way *way;
  void **block;
  bool failed; /* no memory, or more atoms or primes than there is room for */
} question;

/* Beyond it a question takes Z3 longer than what it prunes is worth; also of no use at any witness shape. */
static const double MOST_WORK = 1 << 16;

static bool tabulate (const expr_pool *pool, const normal *n, uint32_t atoms[], int *n_atoms, uint64_t prime[],
                      int *n_primes, int32_t (*row)[ROW], uint32_t count[]) {
  for (uint32_t i = 0; i < n->n; i++) {
    const factor *f;
    uint32_t nf = factors_of (pool, n->t[i].product, &f);
    memset (row[i], 0, sizeof row[i]);
    for (uint32_t k = 0; k < nf; k++) {
      int v = 0;
      if (f[k].atom == SIGN) continue; /* only in loose pools, which compare signs aside */
      while (v < *n_atoms && atoms[v] != f[k].atom) v++;
      if (v == ATOMS) return false;
      if (v == *n_atoms) atoms[(*n_atoms)++] = f[k].atom;
      row[i][v] = (int32_t) f[k].exponent;
    }
    if (!factorise (n->t[i].sum, row[i] + ATOMS, prime, n_primes) ||
        !factorise (n->t[i].mean, row[i] + ATOMS + PRIMES, prime, n_primes))
      return false;
    count[i] = n->t[i].count;
  }
  return true;
}

static void add_part (expr_pool *pool, question *q, prune_relation relation, const normal *p, const normal *g) {
  prune_way *way = &q->way[q->n_ways];
  prune_part *part = &way->part[way->n_parts];
  uint32_t n = p->n + g->n, atoms[ATOMS];
  uint64_t prime[PRIMES];
  int n_atoms = 0, n_primes = 0;
  q->work += (double) p->n * g->n;
  if (q->failed || q->work > MOST_WORK) return;
  int32_t (*row)[ROW] = malloc (n * (sizeof *row + sizeof (uint32_t)) + 1);
  uint32_t *count = row ? (uint32_t *) (row + n) : NULL;
  if (!row || !tabulate (pool, p, atoms, &n_atoms, prime, &n_primes, row, count) ||
      !tabulate (pool, g, atoms, &n_atoms, prime, &n_primes, row + p->n, count + p->n)) {
    free (row);
    q->failed = true;
    return;
  }
  int32_t *packed = (int32_t *) row; /* shrinks in place: a packed row is never longer */
  int width = n_atoms + 2 * n_primes;
  for (uint32_t i = 0; i < n; i++) {
    int32_t full[ROW], *to = packed + (size_t) i * (size_t) width;
    memcpy (full, row[i], sizeof full);
    for (int v = 0; v < n_atoms; v++) *to++ = full[v];
    for (int v = 0; v < n_primes; v++) *to++ = full[ATOMS + v], *to++ = full[ATOMS + PRIMES + v];
  }
  q->block[q->n_blocks++] = row;
  *part = (prune_part){.relation = relation,
                       .n_atoms = n_atoms,
                       .n_primes = n_primes,
                       .n_partial = (int) p->n,
                       .n_goal = (int) g->n,
                       .partial = packed,
                       .goal = packed + (size_t) p->n * (size_t) width,
                       .partial_count = count,
                       .goal_count = count + p->n};
  way->n_parts++;
}

static question new_question (int ways) {
  question q = {.way = calloc ((size_t) ways, sizeof *q.way),
                .block = calloc ((size_t) ways * PRUNE_PARTS, sizeof *q.block)};
  q.failed = !q.way || !q.block;
  return q;
}

static prune_answer ask (expr_pool *pool, question *q) {
  prune_answer answer = PRUNE_UNKNOWN;
  pool->stats->z3_queries++;
  if (!q->failed && q->work <= MOST_WORK && (pool->z3 || (pool->z3 = prune_z3_new ())))
    answer = prune_z3_ask (pool->z3, q->n_ways, q->way);
  if (answer == PRUNE_UNKNOWN) pool->stats->z3_unknown++;
  for (int i = 0; i < q->n_blocks; i++) free (q->block[i]);
  free (q->way), free (q->block);
  return answer;
}

static prune_answer ask_part (expr_pool *pool, const normal *p, const normal *g) {
  question q = new_question (1);
  if (!q.failed) add_part (pool, &q, PRUNE_PART, p, g), q.n_ways++;
  return ask (pool, &q);
}

/* Comparisons of monomials that the direct way may take before Z3's search, which learns from conflicts, is the better.
 */
enum { DIRECT_WORK = 2048 };

static bool part_of (expr_pool *pool, expr_id partial, expr_id whole) {
  normal p, g;
  load (pool, partial, &p), load (pool, whole, &g);
  if (p.n > g.n) return false;
  bool direct = p.n * g.n <= DIRECT_WORK, yes = direct && contained (pool, &p, &g);
  if (direct && !pool->self_check) return yes;
  prune_answer answer = ask_part (pool, &p, &g);
  if (!direct) return answer != PRUNE_NO;
  if (answer != PRUNE_UNKNOWN && (answer == PRUNE_YES) != yes) pool->disagreements++;
  return yes;
}

/* Loosely: every monomial of p, signs aside, divides one of a or b. Those that may cancel need not. */
static bool support_of (expr_pool *pool, expr_id partial, expr_id a, expr_id b) {
  normal p, whole[2];
  load (pool, partial, &p), load (pool, a, &whole[0]), load (pool, b, &whole[1]);
  for (uint32_t i = 0; i < p.n; i++) {
    term minus;
    if (!flip_sign (pool, &p.t[i], &minus)) return true;
    bool found = find_term (&p, &minus) != NULL;
    int64_t product = has_sign (pool, p.t[i].product) ? minus.product : p.t[i].product;
    for (int w = 0; w < 2 && !found; w++)
      for (uint32_t t = 0; t < whole[w].n && !found; t++)
        found = divide_products (pool, whole[w].t[t].product, (uint32_t) product) != NONE;
    if (!found) return false;
  }
  return true;
}

/* Whether one may divide by den on the way to something over whole. */
static bool below (expr_pool *pool, expr_id den, expr_id whole) {
  expr_id rest = divide_exactly (pool, whole, den, pool->product);
  if (!rest || pool->product) return rest;
  const term *d = normal_of (pool, den)->t, *r = normal_of (pool, rest)->t;
  /* S6 x y below is no S3 x times S2 y unless the targets multiply sums. */
  return d->sum == 1 || r->sum == 1;
}

static bool decide (expr_pool *pool, expr_id e) {
  expr_id num = numerator (pool, e), den = normal_of (pool, e)->den;
  if (!num) return true;
  for (int i = 0; i < pool->n_goals; i++) {
    goal g = pool->goal[i];
    if (pool->loose ? !support_of (pool, num, g.num, g.num) : !part_of (pool, num, g.num)) continue;
    if (den == ONE || den == g.den) return true;
    if (!pool->loose && below (pool, den, g.den)) return true;
    if (pool->loose && support_of (pool, den, g.num, g.den)) return true;
  }
  return false;
}

/* Those monomials, signs aside, that cannot cancel. False: it is not known which. */
static bool without_cancelling (expr_pool *pool, expr_id e, normal *out) {
  normal n;
  load (pool, e, &n);
  *out = n, out->n = 0;
  for (uint32_t i = 0; i < n.n; i++) {
    term minus;
    if (!flip_sign (pool, &n.t[i], &minus)) return false;
    if (!find_term (&n, &minus)) out->t[out->n++] = n.t[i];
  }
  return true;
}

static void append_terms (normal *n, const normal *more) {
  for (uint32_t i = 0; i < more->n && n->n < TERMS; i++) n->t[n->n++] = more->t[i];
}

/* The whole decision as one question, for what was decided to be pruned: a way for each goal, whose parts say that the
   numerator may become the goal's and the denominator stand below it. A denominator of several monomials is only
   asked to be a part of the goal's, which the long division of below implies: what that alone refuses stays. */
static prune_answer ask_whole (expr_pool *pool, expr_id e) {
  expr_id num = numerator (pool, e), den = normal_of (pool, e)->den;
  normal p, d, g, h;
  question q = new_question (pool->n_goals + 1);
  for (int i = 0; i < pool->n_goals && !q.failed; i++, q.n_ways++) {
    goal to = pool->goal[i];
    bool known = false; /* goals that differ below only */
    for (int k = 0; k < i && den == ONE && !known; k++) known = pool->goal[k].num == to.num;
    if (known) {
      q.n_ways--;
      continue;
    }
    load (pool, to.num, &g), load (pool, to.den, &h);
    if (pool->loose) {
      q.failed |= !without_cancelling (pool, num, &p);
      add_part (pool, &q, PRUNE_SUPPORT, &p, &g);
      if (den == ONE || den == to.den) continue;
      q.failed |= !without_cancelling (pool, den, &d) || g.n + h.n > TERMS;
      append_terms (&g, &h);
      add_part (pool, &q, PRUNE_SUPPORT, &d, &g);
      continue;
    }
    load (pool, num, &p), load (pool, den, &d);
    add_part (pool, &q, PRUNE_PART, &p, &g);
    if (den == ONE || den == to.den) continue;
    add_part (pool, &q, d.n > 1 ? PRUNE_PART : PRUNE_FACTOR, &d, &h);
    prune_part *below_it = &q.way[q.n_ways].part[1];
    below_it->no_bare_sum = d.n == 1 && !pool->product;
    below_it->no_sum = d.n == 1 && h.n == 1 && !pool->product && d.t[0].sum != 1;
  }
  return ask (pool, &q);
}

/* ---- what Z3 confirmed, by hash: open addressing, filled to a half and never emptied ---- */

enum { MEMO_SLOTS = 1 << 16 };
struct expr_memo {
  atomic_uint n;
  _Atomic uint64_t slot[MEMO_SLOTS]; /* 0 empty; hashes are odd */
};

expr_memo *expr_memo_new (void) { return calloc (1, sizeof (expr_memo)); }
void expr_memo_free (expr_memo *m) { free (m); }
void expr_share (expr_pool *pool, expr_memo *m) { pool->memo = m; }

/* Whether the hash is there; it is added when told so. */
static bool look_up (expr_memo *m, uint64_t hash, bool add) {
  if (!m || (add && atomic_load (&m->n) >= MEMO_SLOTS / 2)) return false;
  for (uint32_t s = (uint32_t) (hash >> 1) % MEMO_SLOTS;; s = (s + 1) % MEMO_SLOTS) {
    uint64_t there = atomic_load (&m->slot[s]);
    if (!there && add && atomic_compare_exchange_strong (&m->slot[s], &there, hash)) {
      atomic_fetch_add (&m->n, 1);
      return true;
    }
    if (there == hash || !there) return there == hash;
  }
}

/* Nothing is pruned on our own word alone: what Z3 does not confirm stays. Whose numerator leads nowhere whatever is
   below leads nowhere: that is asked once for all quotients of this numerator. */
static bool confirmed (expr_pool *pool, expr_id e) {
  expr_id num = numerator (pool, e);
  if (num && num != e && !expr_may_contribute (pool, num)) return true;
  if (look_up (pool->memo, expr_hash (pool, e), false)) return true;
  prune_answer answer = ask_whole (pool, e);
  if (answer == PRUNE_YES) pool->disagreements++, pool->stats->z3_denied++;
  if (answer == PRUNE_NO) look_up (pool->memo, expr_hash (pool, e), true);
  return answer == PRUNE_NO;
}

bool expr_may_contribute (expr_pool *pool, expr_id e) {
  if (pool->open || !e) return true;
  if (pool->verdict[e]) {
    pool->stats->memo_hits++;
    return pool->verdict[e] == 1;
  }
  atom pieces;
  bool yes = concatenation (pool, e, &pieces)
                 ? expr_may_contribute (pool, pieces.arg[0]) && expr_may_contribute (pool, pieces.arg[1])
                 : decide (pool, e) || !confirmed (pool, e);
  pool->verdict[e] = yes ? 1 : 2;
  return yes;
}

int expr_target (const expr_pool *pool, expr_id e) {
  for (int i = 0; e && i < pool->n_targets; i++)
    if (pool->target[i] == e) return i;
  return -1;
}

int64_t expr_missing_sum (expr_pool *pool, expr_id e, int t) {
  expr_id target = pool->target[t];
  if (!e || !target) return 0;
  if (e == target) return 1;
  normal a, b;
  load (pool, e, &a), load (pool, target, &b);
  if (a.n != b.n || a.den != b.den) return 0;
  uint64_t ratio = b.t[0].sum / a.t[0].sum;
  if (!ratio || ratio > INT64_MAX) return 0;
  return scale (pool, e, (int64_t) ratio, 1) == target ? (int64_t) ratio : 0;
}

uint64_t expr_hash (const expr_pool *pool, expr_id e) { return pool->normal_hash[e]; }

void expr_configure (expr_pool *pool, bool self_check, search_stats *stats) {
  pool->self_check = self_check;
  pool->stats = stats ? stats : &pool->nowhere;
}

uint64_t expr_disagreements (const expr_pool *pool) { return pool->disagreements; }

/* ---- text ---- */

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

static void print_atom (writer *w, const expr_pool *pool, uint32_t i) {
  const atom *a = key_of (&pool->atoms, i);
  double value;
  memcpy (&value, &a->bits[0], sizeof value);
  if (a->type == ATOM_SIGN) print (w, "-1");
  if (a->type == ATOM_INPUT) print (w, "x%" PRIu64, a->bits[0]);
  if (a->type == ATOM_CONSTANT) print (w, "%g", value);
  if (!a->n_arg) return;
  print (w, "%s(", a->type == ATOM_EXP ? "exp" : mugraph_op_table[a->kind].text);
  for (uint32_t k = 0; k < a->n_arg; k++) print (w, k ? ", " : ""), print_normal (w, pool, a->arg[k]);
  print (w, ")");
}

static void print_normal (writer *w, const expr_pool *pool, expr_id e) {
  if (!e) {
    print (w, "?");
    return;
  }
  if (w->used >= w->size) return;
  const normal *n = normal_of (pool, e);
  if (n->den != ONE) print (w, "(");
  for (uint32_t i = 0; i < n->n; i++) {
    const factor *f;
    uint32_t nf = factors_of (pool, n->t[i].product, &f);
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
