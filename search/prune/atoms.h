/* Atoms and products of atoms. Products are numbered; INTERN_NONE stands for "no memory" or "too many factors". */
#ifndef SEARCH_ATOMS_H
#define SEARCH_ATOMS_H

#include "pool.h"

int64_t atom_intern (expr_pool *, const atom *);
static inline const atom *atom_at (const expr_pool *pool, uint32_t i) { return intern_at (&pool->atoms, i); }

/* f: n factors, atoms ascending. */
int64_t product_intern (expr_pool *, const factor f[], uint32_t n);

/* The factors of a product, valid until the next product is interned. Returns how many. */
static inline uint32_t product_factors (const expr_pool *pool, uint32_t product, const factor **f) {
  *f = intern_at (&pool->products, product);
  return pool->products.entry[product].size / (uint32_t) sizeof **f;
}

int64_t product_multiply (expr_pool *, uint32_t a, uint32_t b);
int64_t product_divide (expr_pool *, uint32_t a, uint32_t b); /* INTERN_NONE too when b does not divide a */
int64_t product_common (expr_pool *, uint32_t a, uint32_t b); /* the greatest common divisor */
bool product_has_sign (const expr_pool *, uint32_t product);

#endif
