#include "prune_z3.h"

#include <stddef.h>
#include <stdlib.h>
#include <z3.h>

struct prune_z3 {
  Z3_context context;
  Z3_solver solver;
};

/* Z3's resource units. Questions of the sizes asked here take thousands; this only bounds surprises. */
static const unsigned RESOURCE_LIMIT = 20u * 1000 * 1000;

static void ignore_error (Z3_context context, Z3_error_code code) { (void) context, (void) code; }

prune_z3 *prune_z3_new (void) {
  prune_z3 *z = calloc (1, sizeof *z);
  if (!z) return NULL;
  Z3_config config = Z3_mk_config ();
  z->context = Z3_mk_context (config);
  Z3_del_config (config);
  if (!z->context) return free (z), NULL;
  /* The default handler ends the process. */
  Z3_set_error_handler (z->context, ignore_error);
  z->solver = Z3_mk_solver_for_logic (z->context, Z3_mk_string_symbol (z->context, "QF_LIA"));
  if (!z->solver) return Z3_del_context (z->context), free (z), NULL;
  Z3_solver_inc_ref (z->context, z->solver);
  Z3_params params = Z3_mk_params (z->context);
  Z3_params_inc_ref (z->context, params);
  Z3_params_set_uint (z->context, params, Z3_mk_string_symbol (z->context, "rlimit"), RESOURCE_LIMIT);
  /* Z3 replaces the handler of SIGINT during a check. Of two checks at once, one would restore the other's handler. */
  Z3_params_set_bool (z->context, params, Z3_mk_string_symbol (z->context, "ctrl_c"), false);
  Z3_solver_set_params (z->context, z->solver, params);
  Z3_params_dec_ref (z->context, params);
  return z;
}

void prune_z3_free (prune_z3 *z) {
  if (!z) return;
  Z3_solver_dec_ref (z->context, z->solver);
  Z3_del_context (z->context);
  free (z);
}

/* ---- a question as a formula ---- */

typedef struct {
  Z3_context c;
  Z3_sort integer;
  Z3_ast *list; /* room for conjunctions and disjunctions, a stack */
  int n, room;
  bool failed;
  int symbol; /* of the next variable: from 0 in every way, as one way is enough and ways may share variables */
} writer;

static void push (writer *w, Z3_ast a) {
  if (w->n == w->room) {
    int room = w->room ? 2 * w->room : 256;
    Z3_ast *more = realloc (w->list, sizeof *more * (size_t) room);
    if (!more) {
      w->failed = true;
      return;
    }
    w->list = more, w->room = room;
  }
  w->list[w->n++] = a;
}

/* Replaces what was pushed since `from` by its conjunction or disjunction. */
static Z3_ast join (writer *w, int from, bool all) {
  int n = w->n - from;
  Z3_ast *list = w->list + from;
  w->n = from;
  if (n == 1) return list[0];
  if (!n) return all ? Z3_mk_true (w->c) : Z3_mk_false (w->c);
  return all ? Z3_mk_and (w->c, (unsigned) n, list) : Z3_mk_or (w->c, (unsigned) n, list);
}

static Z3_ast number (writer *w, int32_t x) { return Z3_mk_int (w->c, x, w->integer); }

/* Pushes the variables of a new multiplier. *known says what holds for them. Returns the place of the first one. */
static int add_multiplier (writer *w, const prune_part *q, Z3_ast *known) {
  int n = q->n_atoms + 2 * q->n_primes, at = w->n;
  for (int v = 0; v < n; v++) push (w, Z3_mk_const (w->c, Z3_mk_int_symbol (w->c, w->symbol++), w->integer));
  if (w->failed) return at;
  int from = w->n;
  Z3_ast zero = number (w, 0);
  for (int v = 0; v < n; v++) push (w, Z3_mk_ge (w->c, w->list[at + v], zero));
  for (int i = 0; i < q->n_primes; i++) {
    int sum = at + q->n_atoms + 2 * i;
    push (w, Z3_mk_ge (w->c, w->list[sum], w->list[sum + 1]));
    if (q->no_sum) push (w, Z3_mk_eq (w->c, w->list[sum], zero));
  }
  if (q->no_bare_sum && q->n_primes) {
    int choices = w->n;
    for (int v = 0; v < q->n_atoms; v++) push (w, Z3_mk_gt (w->c, w->list[at + v], zero));
    int sums = w->n;
    for (int i = 0; i < q->n_primes; i++) push (w, Z3_mk_eq (w->c, w->list[at + q->n_atoms + 2 * i], zero));
    push (w, join (w, sums, true));
    push (w, join (w, choices, false));
  }
  *known = join (w, from, true);
  return at;
}

/* p + m = t */
static Z3_ast reaches (writer *w, const prune_part *q, int m, const int32_t *p, const int32_t *t) {
  int n = q->n_atoms + 2 * q->n_primes, from = w->n;
  for (int v = 0; v < n && !w->failed; v++) {
    Z3_ast side[2] = {number (w, p[v]), w->list[m + v]};
    push (w, Z3_mk_eq (w->c, p[v] ? Z3_mk_add (w->c, 2, side) : side[1], number (w, t[v])));
  }
  return join (w, from, true);
}

/* Whether the counts of p and t allow p to become t. */
static bool counts_fit (const prune_part *q, int p, int t) {
  if (q->relation == PRUNE_PART) return q->partial_count[p] <= q->goal_count[t];
  if (q->relation == PRUNE_FACTOR) return q->goal_count[t] % q->partial_count[p] == 0;
  return true;
}

/* Some pair of monomial `o` of the outer side and one of the inner side is related by the multiplier at m. */
static Z3_ast some_pair (writer *w, const prune_part *q, int m, int o) {
  int n = q->n_atoms + 2 * q->n_primes, choices = w->n;
  bool each_goal = q->relation == PRUNE_FACTOR;
  int inner = each_goal ? q->n_partial : q->n_goal;
  for (int i = 0; i < inner && !w->failed; i++) {
    int p = each_goal ? i : o, t = each_goal ? o : i;
    if (counts_fit (q, p, t)) push (w, reaches (w, q, m, q->partial + (ptrdiff_t) p * n, q->goal + (ptrdiff_t) t * n));
  }
  return join (w, choices, false);
}

/* Multipliers stay on the stack, each followed by what is known of it, below the conjuncts: PRUNE_PART has one for all
   monomials, the other relations have one for each of the outer side. */
static Z3_ast part (writer *w, const prune_part *q) {
  int width = q->n_atoms + 2 * q->n_primes + 1, first = w->n;
  int outer = q->relation == PRUNE_FACTOR ? q->n_goal : q->n_partial;
  int multipliers = q->relation == PRUNE_PART ? 1 : outer;
  for (int i = 0; i < multipliers; i++) {
    Z3_ast known;
    add_multiplier (w, q, &known);
    if (w->failed) return Z3_mk_false (w->c);
    push (w, known);
  }
  int conjuncts = w->n;
  for (int i = 0; i < multipliers; i++) push (w, w->list[first + i * width + width - 1]);
  for (int o = 0; o < outer && !w->failed; o++)
    push (w, some_pair (w, q, first + (multipliers > 1 ? o : 0) * width, o));
  Z3_ast all = join (w, conjuncts, true);
  w->n = first;
  return all;
}

prune_answer prune_z3_ask (prune_z3 *z, int n_ways, const prune_way way[]) {
  if (!z) return PRUNE_UNKNOWN;
  Z3_context c = z->context;
  writer w = {.c = c, .integer = Z3_mk_int_sort (c)};
  prune_answer answer = PRUNE_UNKNOWN;
  for (int i = 0; i < n_ways; i++) {
    int from = w.n;
    w.symbol = 0;
    for (int k = 0; k < way[i].n_parts && !w.failed; k++) push (&w, part (&w, &way[i].part[k]));
    Z3_ast all = join (&w, from, true);
    push (&w, all);
  }
  if (!w.failed) {
    Z3_solver_push (c, z->solver);
    Z3_solver_assert (c, z->solver, join (&w, 0, false));
    Z3_lbool result = Z3_solver_check (c, z->solver);
    if (Z3_get_error_code (c) == Z3_OK)
      answer = result == Z3_L_TRUE ? PRUNE_YES : result == Z3_L_FALSE ? PRUNE_NO : PRUNE_UNKNOWN;
    Z3_solver_pop (c, z->solver, 1);
  }
  free (w.list);
  return answer;
}
