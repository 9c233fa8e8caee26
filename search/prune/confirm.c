/* Decisions as questions to Z3: see confirm.h. */
#include "confirm.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* ---- monomials as rows of exponents ---- */

enum { ATOMS = 64, PRIMES = 16, ROW = ATOMS + 2 * PRIMES };

/* A question of more comparisons of monomials takes Z3 longer than its answer is worth. None at a witness shape does.
 */
static const double MOST_WORK = 1 << 16;

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

/* The atoms and primes that the rows of one part have columns for. */
typedef struct {
  uint32_t id[ATOMS]; /* of atoms */
  uint64_t prime[PRIMES];
  int n_atoms, n_primes;
} columns;

/* The column of an atom, a new one where it is the first time; ATOMS when there are too many. */
static int column_of (columns *c, uint32_t atom_id) {
  int v = 0;
  while (v < c->n_atoms && c->id[v] != atom_id) v++;
  if (v < ATOMS && v == c->n_atoms) c->id[c->n_atoms++] = atom_id;
  return v;
}

static bool tabulate (const expr_pool *pool, const normal *n, columns *c, int32_t (*row)[ROW], uint32_t count[]) {
  for (uint32_t i = 0; i < n->n; i++) {
    const factor *f;
    uint32_t nf = product_factors (pool, n->t[i].product, &f);
    memset (row[i], 0, sizeof row[i]);
    for (uint32_t k = 0; k < nf; k++) {
      if (f[k].atom == SIGN) continue; /* only in loose pools, which compare signs aside */
      int v = column_of (c, f[k].atom);
      if (v == ATOMS) return false;
      row[i][v] = (int32_t) f[k].exponent;
    }
    if (!factorise (n->t[i].sum, row[i] + ATOMS, c->prime, &c->n_primes) ||
        !factorise (n->t[i].mean, row[i] + ATOMS + PRIMES, c->prime, &c->n_primes))
      return false;
    count[i] = n->t[i].count;
  }
  return true;
}

/* From rows with room for all columns to rows of those in use, sum and mean degrees in pairs. A packed row is never
   longer, so they shrink in place. Returns the width. */
static int pack (int32_t (*row)[ROW], uint32_t n, const columns *c) {
  int width = c->n_atoms + 2 * c->n_primes;
  for (uint32_t i = 0; i < n; i++) {
    int32_t full[ROW], *to = (int32_t *) row + (size_t) i * (size_t) width;
    memcpy (full, row[i], sizeof full);
    for (int v = 0; v < c->n_atoms; v++) *to++ = full[v];
    for (int v = 0; v < c->n_primes; v++) *to++ = full[ATOMS + v], *to++ = full[ATOMS + PRIMES + v];
  }
  return width;
}

/* ---- questions ---- */

/* The parts of one question and the memory that they point into. */
typedef struct {
  int n_ways, n_blocks;
  double work; /* comparisons of monomials */
  prune_way *way;
  void **block;
  bool failed; /* no memory, or more atoms or primes than there is room for */
} question;

static question new_question (int ways) {
  question q = {.way = calloc ((size_t) ways, sizeof *q.way),
                .block = calloc ((size_t) ways * PRUNE_PARTS, sizeof *q.block)};
  q.failed = !q.way || !q.block;
  return q;
}

static void add_part (expr_pool *pool, question *q, prune_relation relation, const normal *p, const normal *g) {
  uint32_t n = p->n + g->n;
  columns c = {.n_atoms = 0};
  q->work += (double) p->n * g->n;
  if (q->failed || q->work > MOST_WORK) return;
  int32_t (*row)[ROW] = malloc (n * (sizeof *row + sizeof (uint32_t)) + 1);
  uint32_t *count = row ? (uint32_t *) (row + n) : NULL;
  if (!row || !tabulate (pool, p, &c, row, count) || !tabulate (pool, g, &c, row + p->n, count + p->n)) {
    free (row);
    q->failed = true;
    return;
  }
  int width = pack (row, n, &c);
  q->block[q->n_blocks++] = row;
  prune_way *way = &q->way[q->n_ways];
  way->part[way->n_parts++] = (prune_part){.relation = relation,
                                           .n_atoms = c.n_atoms,
                                           .n_primes = c.n_primes,
                                           .n_partial = (int) p->n,
                                           .n_goal = (int) g->n,
                                           .partial = (int32_t *) row,
                                           .goal = (int32_t *) row + (size_t) p->n * (size_t) width,
                                           .partial_count = count,
                                           .goal_count = count + p->n};
}

/* Asks and frees the question. */
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

prune_answer confirm_part (expr_pool *pool, const normal *p, const normal *g) {
  question q = new_question (1);
  if (!q.failed) add_part (pool, &q, PRUNE_PART, p, g), q.n_ways++;
  return ask (pool, &q);
}

/* The monomials of e that cannot cancel, as the sum has none with the other sign. False without memory. */
static bool without_cancelling (expr_pool *pool, expr_id e, normal *out) {
  normal n;
  normal_load (pool, e, &n);
  *out = n, out->n = 0;
  for (uint32_t i = 0; i < n.n; i++) {
    term minus;
    if (!term_negate (pool, &n.t[i], &minus)) return false;
    if (!term_find (&n, &minus)) out->t[out->n++] = n.t[i];
  }
  return true;
}

static void append_terms (normal *n, const normal *more) {
  for (uint32_t i = 0; i < more->n && n->n < TERMS; i++) n->t[n->n++] = more->t[i];
}

/* The loose comparison of a quotient num / den with a goal, as the next way. */
static void add_loose_way (expr_pool *pool, question *q, expr_id num, expr_id den, goal to) {
  normal p, d, g, h;
  normal_load (pool, to.num, &g), normal_load (pool, to.den, &h);
  q->failed |= !without_cancelling (pool, num, &p);
  add_part (pool, q, PRUNE_SUPPORT, &p, &g);
  if (den == ONE || den == to.den) return;
  q->failed |= !without_cancelling (pool, den, &d) || g.n + h.n > TERMS;
  append_terms (&g, &h);
  add_part (pool, q, PRUNE_SUPPORT, &d, &g);
}

/* The exact comparison: the numerator may become the goal's and the denominator may stand below it. */
static void add_way (expr_pool *pool, question *q, expr_id num, expr_id den, goal to) {
  normal p, d, g, h;
  normal_load (pool, num, &p), normal_load (pool, to.num, &g);
  add_part (pool, q, PRUNE_PART, &p, &g);
  if (den == ONE || den == to.den) return;
  normal_load (pool, den, &d), normal_load (pool, to.den, &h);
  add_part (pool, q, d.n > 1 ? PRUNE_PART : PRUNE_FACTOR, &d, &h);
  if (q->failed) return;
  prune_part *below = &q->way[q->n_ways].part[1];
  below->no_bare_sum = d.n == 1 && !pool->goals_have_sums;
  below->no_sum = d.n == 1 && h.n == 1 && !pool->goals_have_sums && d.t[0].sum != 1;
}

/* Whether goal i asks nothing of an expression without denominator that an earlier goal does not ask. */
static bool repeats_numerator (const expr_pool *pool, int i) {
  for (int k = 0; k < i; k++)
    if (pool->goal[k].num == pool->goal[i].num) return true;
  return false;
}

prune_answer confirm_no_way (expr_pool *pool, expr_id e) {
  expr_id num = normal_numerator (pool, e), den = normal_at (pool, e)->den;
  question q = new_question (pool->n_goals + 1);
  for (int i = 0; i < pool->n_goals && !q.failed; i++) {
    if (den == ONE && repeats_numerator (pool, i)) continue;
    if (pool->loose) add_loose_way (pool, &q, num, den, pool->goal[i]);
    else add_way (pool, &q, num, den, pool->goal[i]);
    q.n_ways++;
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

/* Whether the hash is there. add: puts it there if there is room. */
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

bool confirm_known (const expr_pool *pool, expr_id e) { return look_up (pool->memo, pool->normal_hash[e], false); }
void confirm_remember (expr_pool *pool, expr_id e) { look_up (pool->memo, pool->normal_hash[e], true); }
