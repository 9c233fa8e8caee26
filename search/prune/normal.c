/* Normal forms and the arithmetic on them: see normal.h. */
#include "normal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- monomials ---- */

int term_compare (const void *x, const void *y) {
  const term *a = x, *b = y;
  if (a->product != b->product) return a->product < b->product ? -1 : 1;
  if (a->sum != b->sum) return a->sum < b->sum ? -1 : 1;
  return (a->mean > b->mean) - (a->mean < b->mean);
}

term *term_find (normal *n, const term *key) { return bsearch (key, n->t, n->n, sizeof *n->t, term_compare); }

bool term_multiply (expr_pool *pool, const term *a, const term *b, term *out) {
  int64_t product = product_multiply (pool, a->product, b->product);
  pool->sums_multiply |= a->sum > 1 && b->sum > 1;
  if (product < 0 || __builtin_mul_overflow (a->sum, b->sum, &out->sum) ||
      __builtin_mul_overflow (a->mean, b->mean, &out->mean) || __builtin_mul_overflow (a->count, b->count, &out->count))
    return false;
  out->product = (uint32_t) product;
  return true;
}

bool term_divide (expr_pool *pool, const term *a, const term *b, term *m) {
  if (a->sum % b->sum || a->mean % b->mean) return false;
  *m = (term){.sum = a->sum / b->sum, .mean = a->mean / b->mean, .count = 1};
  if (m->sum % m->mean) return false;
  int64_t product = product_divide (pool, a->product, b->product);
  if (product < 0) return false;
  m->product = (uint32_t) product;
  return true;
}

/* ---- interning ---- */

/* Adds the counts of neighbours that are equal otherwise. False when a count or the number of terms is too large. */
static bool merge_equal (bool loose, const term t[], uint32_t n, normal *key) {
  for (uint32_t i = 0; i < n; i++) {
    term *last = key->n ? &key->t[key->n - 1] : NULL;
    if (last && !term_compare (last, &t[i])) {
      uint64_t count = (uint64_t) last->count + t[i].count;
      if (count > UINT32_MAX) return false;
      last->count = loose ? 1 : (uint32_t) count;
    } else if (key->n == TERMS) return false;
    else key->t[key->n++] = t[i];
  }
  return true;
}

/* The same in every pool: made of the hashes of what a normal form consists of, not of its numbers. Odd, so never 0. */
static uint64_t hash_of (const expr_pool *pool, const normal *n) {
  uint64_t hash = 0;
  for (uint32_t k = 0; k < n->n; k++) {
    const term *t = &n->t[k];
    hash += intern_mix (intern_mix (pool->product_hash[t->product], t->count), intern_mix (t->sum, t->mean));
  }
  return intern_mix (hash, n->den == ONE ? 1 : pool->normal_hash[n->den]) | 1;
}

static expr_id intern (expr_pool *pool, const normal *key) {
  bool fresh;
  int64_t i = intern_key (&pool->normals, key, (uint32_t) (offsetof (normal, t) + key->n * sizeof *key->t), &fresh);
  if (i < 0) return EXPR_UNKNOWN;
  if (!fresh) return (expr_id) i;
  if (!intern_reserve ((void **) &pool->verdict, &pool->verdicts, (uint64_t) i + 1, 1)) return EXPR_UNKNOWN;
  pool->verdict[i] = 0;
  bool ok = intern_note_hash (&pool->normal_hash, &pool->normal_hashes, (uint32_t) i, hash_of (pool, key));
  return ok ? (expr_id) i : EXPR_UNKNOWN;
}

expr_id normal_intern (expr_pool *pool, expr_id den, term t[], uint32_t n) {
  if (pool->loose)
    for (uint32_t i = 0; i < n; i++) t[i].sum = t[i].mean = t[i].count = 1;
  qsort (t, n, sizeof *t, term_compare);
  normal key = {.den = den};
  return merge_equal (pool->loose, t, n, &key) ? intern (pool, &key) : EXPR_UNKNOWN;
}

bool normal_start (expr_pool *pool) {
  bool fresh;
  normal unknown = {.den = 0};
  term one = {.sum = 1, .mean = 1, .product = EMPTY, .count = 1};
  uint32_t size = offsetof (normal, t);
  bool ok = intern_key (&pool->normals, &unknown, size, &fresh) == EXPR_UNKNOWN &&
            intern_note_hash (&pool->normal_hash, &pool->normal_hashes, EXPR_UNKNOWN, 0) &&
            normal_intern (pool, ONE, &one, 1) == ONE;
  if (ok) pool->verdict[EXPR_UNKNOWN] = 1;
  return ok;
}

/* ---- arithmetic ---- */

void normal_load (const expr_pool *pool, expr_id e, normal *out) {
  memcpy (out, normal_at (pool, e), pool->normals.entry[e].size);
}

expr_id normal_numerator (expr_pool *pool, expr_id e) {
  normal n;
  normal_load (pool, e, &n);
  return n.den == ONE ? e : normal_intern (pool, ONE, n.t, n.n);
}

expr_id normal_quotient (expr_pool *pool, expr_id num, expr_id den) {
  if (!num || !den) return EXPR_UNKNOWN;
  normal n;
  normal_load (pool, num, &n);
  assert (n.den == ONE && normal_at (pool, den)->den == ONE);
  return normal_intern (pool, den, n.t, n.n);
}

expr_id normal_multiply (expr_pool *pool, expr_id a, expr_id b) {
  if (!a || !b) return EXPR_UNKNOWN;
  if (a == ONE || b == ONE) return a == ONE ? b : a;
  normal x, y;
  normal_load (pool, a, &x), normal_load (pool, b, &y);
  if (x.n * y.n > PRODUCTS) return EXPR_UNKNOWN;
  term t[PRODUCTS];
  uint32_t n = 0;
  for (uint32_t i = 0; i < x.n; i++)
    for (uint32_t j = 0; j < y.n; j++)
      if (!term_multiply (pool, &x.t[i], &y.t[j], &t[n++])) return EXPR_UNKNOWN;
  expr_id den = normal_multiply (pool, x.den, y.den);
  return den ? normal_intern (pool, den, t, n) : EXPR_UNKNOWN;
}

expr_id normal_invert (expr_pool *pool, expr_id e) {
  if (!e) return EXPR_UNKNOWN;
  normal n;
  normal_load (pool, e, &n);
  return normal_quotient (pool, n.den, normal_numerator (pool, e));
}

/* ---- division ---- */

/* A monomial order for division: compatible with multiplication. */
static int compare_leading (const expr_pool *pool, const term *a, const term *b) {
  const factor *f, *g;
  uint32_t nf = product_factors (pool, a->product, &f), ng = product_factors (pool, b->product, &g);
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

/* Takes m times y away from x. Terms used up have count 0 and stay in place, so that the array remains sorted; *left
   counts those that remain. False when x has not as much. */
static bool take_away (expr_pool *pool, normal *x, const normal *y, const term *m, uint32_t *left) {
  for (uint32_t j = 0; j < y->n; j++) {
    term product, *found;
    if (!term_multiply (pool, &y->t[j], m, &product)) return false;
    if (!(found = term_find (x, &product)) || found->count < product.count) return false;
    if (!(found->count -= product.count)) --*left;
  }
  return true;
}

static const term *leading_left (const expr_pool *pool, const normal *x) {
  const term *top = NULL;
  for (uint32_t i = 0; i < x->n; i++)
    if (x->t[i].count && (!top || compare_leading (pool, &x->t[i], top) > 0)) top = &x->t[i];
  return top;
}

expr_id normal_divide (expr_pool *pool, expr_id a, expr_id b, bool bare) {
  if (!a || !b) return EXPR_UNKNOWN;
  if (b == ONE) return a;
  if (a == b) return ONE;
  normal x, y;
  normal_load (pool, a, &x), normal_load (pool, b, &y);
  if (!x.n || !y.n) return EXPR_UNKNOWN;
  term out[TERMS], head = *leading (pool, &y);
  uint32_t n = 0, left = x.n;
  while (left) {
    const term *top = leading_left (pool, &x);
    term m;
    if (!top || n == TERMS || !term_divide (pool, top, &head, &m) || top->count % head.count) return EXPR_UNKNOWN;
    if (m.product == EMPTY && m.sum != 1 && !bare) return EXPR_UNKNOWN;
    m.count = top->count / head.count;
    if (!take_away (pool, &x, &y, &m, &left)) return EXPR_UNKNOWN;
    out[n++] = m;
  }
  return normal_intern (pool, ONE, out, n);
}

/* Splits a sum into the product that all its terms share and the rest. */
static bool split_content (expr_pool *pool, expr_id e, uint32_t *content, expr_id *rest) {
  normal n;
  normal_load (pool, e, &n);
  int64_t shared = n.t[0].product;
  for (uint32_t i = 1; i < n.n && shared > 0; i++) shared = product_common (pool, (uint32_t) shared, n.t[i].product);
  for (uint32_t i = 0; i < n.n && shared >= 0; i++) {
    int64_t left = product_divide (pool, n.t[i].product, (uint32_t) shared);
    if (left < 0) return false;
    n.t[i].product = (uint32_t) left;
  }
  *content = (uint32_t) shared;
  return shared >= 0 && (*rest = normal_intern (pool, ONE, n.t, n.n));
}

/* The least common multiple of two denominators, or a larger common multiple. Common factors are looked for in the
   products that all terms share and, when the rests are equal, in the rest. */
static expr_id common_multiple (expr_pool *pool, expr_id a, expr_id b) {
  uint32_t x, y;
  expr_id rest, same;
  if (!split_content (pool, a, &x, &rest) || !split_content (pool, b, &y, &same)) return EXPR_UNKNOWN;
  int64_t product = product_common (pool, x, y);
  if (product < 0) return EXPR_UNKNOWN;
  term t = {.sum = 1, .mean = 1, .product = (uint32_t) product, .count = 1};
  expr_id shared = normal_intern (pool, ONE, &t, 1);
  if (rest == same) shared = normal_multiply (pool, shared, rest);
  /* a sum without its atoms is no factor: then the product of both */
  expr_id less = normal_divide (pool, a, shared, false) ? normal_divide (pool, b, shared, false) : EXPR_UNKNOWN;
  return normal_multiply (pool, a, less ? less : b);
}

expr_id normal_add (expr_pool *pool, expr_id a, expr_id b) {
  if (!a || !b) return EXPR_UNKNOWN;
  expr_id x = normal_at (pool, a)->den, y = normal_at (pool, b)->den, den = x;
  if (x != y) {
    if (normal_divide (pool, y, x, false)) den = y;
    else if (!normal_divide (pool, x, y, false)) den = common_multiple (pool, x, y);
    if (!den) return EXPR_UNKNOWN;
    a = normal_multiply (pool, normal_numerator (pool, a), normal_divide (pool, den, x, false));
    b = normal_multiply (pool, normal_numerator (pool, b), normal_divide (pool, den, y, false));
    if (!a || !b) return EXPR_UNKNOWN;
  }
  term t[2 * TERMS];
  const normal *m = normal_at (pool, a), *n = normal_at (pool, b);
  memcpy (t, m->t, m->n * sizeof *t);
  memcpy (t + m->n, n->t, n->n * sizeof *t);
  return normal_intern (pool, den, t, m->n + n->n);
}

expr_id normal_scale (expr_pool *pool, expr_id e, int64_t sum, int64_t mean) {
  if (!e || sum < 1) return EXPR_UNKNOWN;
  if (sum == 1 && mean == 1) return e;
  normal n;
  normal_load (pool, e, &n);
  for (uint32_t i = 0; i < n.n; i++) {
    pool->sums_multiply |= n.t[i].sum > 1 && sum > 1;
    if (__builtin_mul_overflow (n.t[i].sum, (uint64_t) sum, &n.t[i].sum) ||
        __builtin_mul_overflow (n.t[i].mean, (uint64_t) mean, &n.t[i].mean))
      return EXPR_UNKNOWN;
  }
  return normal_intern (pool, n.den, n.t, n.n);
}

expr_id normal_of_atom (expr_pool *pool, const atom *a, uint32_t exponent) {
  int64_t i = atom_intern (pool, a);
  if (i < 0) return EXPR_UNKNOWN;
  factor f = {(uint32_t) i, exponent};
  int64_t product = product_intern (pool, &f, 1);
  if (product < 0) return EXPR_UNKNOWN;
  term t = {.sum = 1, .mean = 1, .product = (uint32_t) product, .count = 1};
  return normal_intern (pool, ONE, &t, 1);
}

expr_id normal_negate (expr_pool *pool, expr_id e) {
  return normal_multiply (pool, e, normal_of_atom (pool, &(atom){.type = ATOM_SIGN}, 1));
}

bool term_negate (expr_pool *pool, const term *t, term *out) {
  factor sign = {SIGN, 1};
  int64_t minus = product_intern (pool, &sign, 1);
  return minus >= 0 &&
         term_multiply (pool, t, &(term){.sum = 1, .mean = 1, .product = (uint32_t) minus, .count = 1}, out);
}

expr_id normal_lowest_terms (expr_pool *pool, expr_id e) {
  if (!e) return EXPR_UNKNOWN;
  normal n, d;
  normal_load (pool, e, &n), normal_load (pool, n.den, &d);
  int64_t shared = n.t[0].product;
  for (uint32_t i = 0; i < d.n && shared > 0; i++) shared = product_common (pool, (uint32_t) shared, d.t[i].product);
  if (shared <= 0) return e; /* none, or no memory */
  for (uint32_t i = 0; i <= d.n; i++) {
    term *t = i < d.n ? &d.t[i] : &n.t[0];
    int64_t rest = product_divide (pool, t->product, (uint32_t) shared);
    if (rest < 0) return e;
    t->product = (uint32_t) rest;
  }
  expr_id den = normal_intern (pool, ONE, d.t, d.n);
  return den ? normal_intern (pool, den, n.t, 1) : EXPR_UNKNOWN;
}

const atom *normal_single_atom (const expr_pool *pool, expr_id e) {
  const normal *n = normal_at (pool, e);
  const factor *f;
  if (!e || n->n != 1 || n->den != ONE || n->t[0].sum != 1 || n->t[0].mean != 1 || n->t[0].count != 1) return NULL;
  if (product_factors (pool, n->t[0].product, &f) != 1 || f->exponent != 1) return NULL;
  return atom_at (pool, f->atom);
}

bool normal_concatenation (const expr_pool *pool, expr_id e, atom *out) {
  const atom *a = normal_single_atom (pool, e);
  if (!a || a->type != ATOM_FUNCTION || a->kind != MUGRAPH_OP_CONCAT) return false;
  *out = *a;
  return true;
}
