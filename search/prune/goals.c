/* Goals: the targets and all that they are computed from inside of functions. And the decision: see expr.h. */
#include "confirm.h"
#include "mugraph/check.h"
#include "normal.h"

#include <limits.h>

/* ---- goals ---- */

static void add_goals (expr_pool *pool, expr_id e);

/* The arguments of the atoms in a sum. Those of a product of exps also as their sum: exp (a) exp (b) = exp (a + b).
   Where there is subtraction, exp (a) / exp (b) is one of those, and one sum for all is simplest. */
static void add_arguments (expr_pool *pool, expr_id e) {
  normal n;
  normal_load (pool, e, &n);
  expr_id exponent = EXPR_UNKNOWN;
  for (uint32_t i = 0; i < n.n; i++) {
    const factor *f;
    uint32_t nf = product_factors (pool, n.t[i].product, &f);
    if (!pool->loose) exponent = EXPR_UNKNOWN;
    for (uint32_t k = 0; k < nf; k++) {
      product_factors (pool, n.t[i].product, &f); /* products may have moved */
      uint32_t times = f[k].exponent;
      atom a = *atom_at (pool, f[k].atom);
      for (uint32_t j = 0; j < a.n_arg; j++) add_goals (pool, a.arg[j]);
      for (; a.type == ATOM_EXP && times; times--)
        exponent = exponent ? normal_add (pool, exponent, a.arg[0]) : a.arg[0];
    }
    if (!pool->loose && exponent) add_goals (pool, exponent);
  }
  if (exponent) add_goals (pool, exponent);
}

static void add_goal (expr_pool *pool, expr_id num, expr_id den) {
  for (int i = 0; i < pool->n_goals; i++)
    if (pool->goal[i].num == num && pool->goal[i].den == den) return;
  if (!intern_reserve ((void **) &pool->goal, &pool->goals, (uint64_t) pool->n_goals + 1, sizeof *pool->goal)) {
    pool->open = true;
    return;
  }
  pool->goal[pool->n_goals++] = (goal){num, den};
  add_arguments (pool, num);
}

/* A quotient, its reciprocal, and the same for each of its terms alone, also in lowest terms: in a / (b / c) + d =
   (a c + b d) / b the partial b / c is a part of neither the quotient nor its reciprocal, but of b / (a c). */
static void add_goals (expr_pool *pool, expr_id e) {
  expr_id num = e ? normal_numerator (pool, e) : EXPR_UNKNOWN;
  if (!num) {
    pool->open = true;
    return;
  }
  normal n;
  normal_load (pool, e, &n);
  add_goal (pool, num, n.den);
  if (n.den == ONE) return;
  add_goal (pool, n.den, num);
  if (pool->loose) add_arguments (pool, normal_multiply (pool, num, n.den));
  for (uint32_t i = 0; i < n.n; i++) {
    expr_id part = normal_intern (pool, n.den, &n.t[i], 1), parts[2] = {part, normal_lowest_terms (pool, part)};
    for (int k = 0; k < 2 && parts[k]; k++) {
      expr_id above = normal_numerator (pool, parts[k]), under = normal_at (pool, parts[k])->den;
      if (above) add_goal (pool, above, under), add_goal (pool, under, above);
    }
  }
}

void expr_set_targets (expr_pool *pool, int n, const expr_id target[]) {
  for (uint32_t i = 0; i < pool->n_lost; i++) add_goals (pool, pool->lost[i]);
  for (int i = 0; i < n; i++) add_goals (pool, pool->target[i] = target[i]);
  pool->n_targets = n;
  pool->goals_have_sums = pool->sums_multiply;
}

/* ---- the decision ---- */

/* Is there a monomial m such that m times p is a part of g? The choice for p's first monomial fixes m. */
static bool contained (expr_pool *pool, const normal *p, normal *g) {
  for (uint32_t t = 0; t < g->n; t++) {
    term m, product;
    if (g->t[t].count < p->t[0].count || !term_divide (pool, &g->t[t], &p->t[0], &m)) continue;
    bool all = true;
    for (uint32_t i = 1; i < p->n && all; i++) {
      const term *found = term_multiply (pool, &p->t[i], &m, &product) ? term_find (g, &product) : NULL;
      all = found && found->count >= p->t[i].count;
    }
    if (all) return true;
  }
  return false;
}

/* Comparisons of monomials that the direct way may take before Z3's search, which learns from conflicts, is the better.
 */
enum { DIRECT_WORK = 2048 };

static bool part_of (expr_pool *pool, expr_id partial, expr_id whole) {
  normal p, g;
  normal_load (pool, partial, &p), normal_load (pool, whole, &g);
  if (p.n > g.n) return false;
  bool direct = p.n * g.n <= DIRECT_WORK, yes = direct && contained (pool, &p, &g);
  if (direct && !pool->self_check) return yes;
  prune_answer answer = confirm_part (pool, &p, &g);
  if (!direct) return answer != PRUNE_NO;
  if (answer != PRUNE_UNKNOWN && (answer == PRUNE_YES) != yes) pool->disagreements++;
  return yes;
}

/* The loose comparison: every monomial of p divides one of a or b, signs aside. Monomials that may cancel need not. */
static bool support_of (expr_pool *pool, expr_id partial, expr_id a, expr_id b) {
  normal p, whole[2];
  normal_load (pool, partial, &p), normal_load (pool, a, &whole[0]), normal_load (pool, b, &whole[1]);
  for (uint32_t i = 0; i < p.n; i++) {
    term minus;
    if (!term_negate (pool, &p.t[i], &minus)) return true;
    bool found = term_find (&p, &minus) != NULL;
    int64_t product = product_has_sign (pool, p.t[i].product) ? minus.product : p.t[i].product;
    for (int w = 0; w < 2 && !found; w++)
      for (uint32_t t = 0; t < whole[w].n && !found; t++)
        found = product_divide (pool, whole[w].t[t].product, (uint32_t) product) != INTERN_NONE;
    if (!found) return false;
  }
  return true;
}

/* Whether a division by den may come before the quotient with denominator `whole` is complete. */
static bool may_stand_below (expr_pool *pool, expr_id den, expr_id whole) {
  expr_id rest = normal_divide (pool, whole, den, pool->goals_have_sums);
  if (!rest || pool->goals_have_sums) return rest;
  const term *d = normal_at (pool, den)->t, *r = normal_at (pool, rest)->t;
  /* unless the targets multiply sums, a divisor S6 x y is not made of the divisors S3 x and S2 y */
  return d->sum == 1 || r->sum == 1;
}

static bool decide (expr_pool *pool, expr_id e) {
  expr_id num = normal_numerator (pool, e), den = normal_at (pool, e)->den;
  if (!num) return true;
  for (int i = 0; i < pool->n_goals; i++) {
    goal g = pool->goal[i];
    if (pool->loose ? !support_of (pool, num, g.num, g.num) : !part_of (pool, num, g.num)) continue;
    if (den == ONE || den == g.den) return true;
    if (!pool->loose && may_stand_below (pool, den, g.den)) return true;
    if (pool->loose && support_of (pool, den, g.num, g.den)) return true;
  }
  return false;
}

/* Nothing is pruned without Z3's word: what it does not confirm stays. If a quotient's numerator cannot reach a target,
   no divisor makes it reach one, so all quotients of one numerator share its question. */
static bool confirmed (expr_pool *pool, expr_id e) {
  expr_id num = normal_numerator (pool, e);
  if (num && num != e && !expr_may_contribute (pool, num)) {
    CHECK (confirm_no_way (pool, e) != PRUNE_YES);
    return true;
  }
  if (confirm_known (pool, e)) return true;
  prune_answer answer = confirm_no_way (pool, e);
  if (answer == PRUNE_YES) pool->disagreements++, pool->stats->z3_denied++;
  if (answer == PRUNE_NO) confirm_remember (pool, e);
  return answer == PRUNE_NO;
}

bool expr_may_contribute (expr_pool *pool, expr_id e) {
  if (pool->open || !e) return true;
  if (pool->verdict[e]) {
    pool->stats->memo_hits++;
    return pool->verdict[e] == 1;
  }
  atom pieces;
  bool yes = normal_concatenation (pool, e, &pieces)
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

expr_id expr_target_at (const expr_pool *pool, int t) { return t < pool->n_targets ? pool->target[t] : EXPR_UNKNOWN; }

int64_t expr_missing_sum (expr_pool *pool, expr_id e, int t) {
  expr_id target = pool->target[t];
  if (!e || !target) return 0;
  if (e == target) return 1;
  normal a, b;
  normal_load (pool, e, &a), normal_load (pool, target, &b);
  if (a.n != b.n || a.den != b.den) return 0;
  uint64_t ratio = b.t[0].sum / a.t[0].sum;
  if (!ratio || ratio > INT64_MAX) return 0;
  return normal_scale (pool, e, (int64_t) ratio, 1) == target ? (int64_t) ratio : 0;
}
