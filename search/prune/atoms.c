/* Atoms and products of atoms: see atoms.h. */
#include "atoms.h"

int64_t atom_intern (expr_pool *pool, const atom *a) {
  bool fresh;
  int64_t i = intern_key (&pool->atoms, a, sizeof *a, &fresh);
  if (i < 0 || !fresh) return i;
  uint64_t hash = intern_mix (a->type | (uint64_t) a->kind << 16, intern_mix (a->bits[0], a->bits[1]));
  for (uint32_t k = 0; k < a->n_arg; k++) hash = intern_mix (hash, pool->normal_hash[a->arg[k]]);
  return intern_note_hash (&pool->atom_hash, &pool->atom_hashes, (uint32_t) i, hash) ? i : INTERN_NONE;
}

int64_t product_intern (expr_pool *pool, const factor f[], uint32_t n) {
  bool fresh;
  int64_t i = intern_key (&pool->products, f, n * (uint32_t) sizeof *f, &fresh);
  if (i < 0 || !fresh) return i;
  uint64_t hash = 0;
  for (uint32_t k = 0; k < n; k++) hash += intern_mix (pool->atom_hash[f[k].atom], f[k].exponent);
  return intern_note_hash (&pool->product_hash, &pool->product_hashes, (uint32_t) i, hash) ? i : INTERN_NONE;
}

int64_t product_multiply (expr_pool *pool, uint32_t a, uint32_t b) {
  if (a == EMPTY || b == EMPTY) return a == EMPTY ? b : a;
  const factor *f, *g;
  uint32_t nf = product_factors (pool, a, &f), ng = product_factors (pool, b, &g), n = 0;
  factor out[2 * FACTORS];
  for (uint32_t i = 0, j = 0; i < nf || j < ng;) {
    factor next;
    if (j == ng || (i < nf && f[i].atom < g[j].atom)) next = f[i++];
    else if (i == nf || g[j].atom < f[i].atom) next = g[j++];
    else next = (factor){f[i].atom, f[i].exponent + g[j].exponent}, i++, j++;
    if (next.atom == SIGN && !(next.exponent &= 1)) continue;
    /* Loosely exp (x + x) is exp (x), so its square must be too. */
    if (pool->loose && atom_at (pool, next.atom)->type == ATOM_EXP) next.exponent = 1;
    out[n++] = next;
  }
  return n > FACTORS ? INTERN_NONE : product_intern (pool, out, n);
}

int64_t product_divide (expr_pool *pool, uint32_t a, uint32_t b) {
  if (b == EMPTY) return a;
  const factor *f, *g;
  uint32_t nf = product_factors (pool, a, &f), ng = product_factors (pool, b, &g), n = 0, j = 0;
  factor out[FACTORS];
  for (uint32_t i = 0; i < nf; i++) {
    uint32_t exponent = f[i].exponent;
    if (j < ng && g[j].atom == f[i].atom) {
      if (g[j].exponent > exponent) return INTERN_NONE;
      exponent -= g[j++].exponent;
    }
    if (exponent) out[n++] = (factor){f[i].atom, exponent};
  }
  return j < ng ? INTERN_NONE : product_intern (pool, out, n);
}

int64_t product_common (expr_pool *pool, uint32_t a, uint32_t b) {
  const factor *f, *g;
  uint32_t nf = product_factors (pool, a, &f), ng = product_factors (pool, b, &g), n = 0;
  factor shared[FACTORS];
  for (uint32_t i = 0, j = 0; i < nf && j < ng;) {
    uint32_t x = f[i].atom, y = g[j].atom;
    if (x == y) shared[n++] = (factor){x, f[i].exponent < g[j].exponent ? f[i].exponent : g[j].exponent};
    i += x <= y, j += y <= x;
  }
  return product_intern (pool, shared, n);
}

bool product_has_sign (const expr_pool *pool, uint32_t product) {
  const factor *f;
  return product_factors (pool, product, &f) && f[0].atom == SIGN;
}
