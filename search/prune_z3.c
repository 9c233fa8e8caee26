#include "prune_z3.h"

#include <stdlib.h>
#include <z3.h>

struct prune_z3 {
  Z3_context context;
  Z3_solver solver;
};

/* Far above what a question of the sizes asked here takes (thousands); only a bound on surprises. */
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

prune_answer prune_z3_ask (prune_z3 *z, const prune_question *q) {
  if (!z) return PRUNE_UNKNOWN;
  Z3_context c = z->context;
  int n = q->n_atoms + 2 * q->n_primes;
  Z3_ast *multiplier = malloc (sizeof *multiplier * (size_t) (n + 1));
  Z3_ast *equal = malloc (sizeof *equal * (size_t) (n + 1));
  Z3_ast *choice = malloc (sizeof *choice * (size_t) (q->n_goal + 1));
  prune_answer answer = PRUNE_UNKNOWN;
  if (!multiplier || !equal || !choice) goto done;

  Z3_solver_reset (c, z->solver);
  Z3_sort integer = Z3_mk_int_sort (c);
  Z3_ast zero = Z3_mk_int (c, 0, integer);
  for (int v = 0; v < n; v++) {
    multiplier[v] = Z3_mk_const (c, Z3_mk_int_symbol (c, v), integer);
    Z3_solver_assert (c, z->solver, Z3_mk_ge (c, multiplier[v], zero));
  }
  for (int i = 0; i < q->n_primes; i++) {
    int sum = q->n_atoms + 2 * i;
    Z3_solver_assert (c, z->solver, Z3_mk_ge (c, multiplier[sum], multiplier[sum + 1]));
  }
  for (int p = 0; p < q->n_partial; p++) {
    unsigned choices = 0;
    for (int t = 0; t < q->n_goal; t++) {
      if (q->partial_count[p] > q->goal_count[t]) continue;
      for (int v = 0; v < n; v++) {
        Z3_ast side[2] = {Z3_mk_int (c, q->partial[p * n + v], integer), multiplier[v]};
        equal[v] = Z3_mk_eq (c, Z3_mk_add (c, 2, side), Z3_mk_int (c, q->goal[t * n + v], integer));
      }
      choice[choices++] = n ? Z3_mk_and (c, (unsigned) n, equal) : Z3_mk_true (c);
    }
    Z3_solver_assert (c, z->solver, choices ? Z3_mk_or (c, choices, choice) : Z3_mk_false (c));
  }
  Z3_lbool result = Z3_solver_check (c, z->solver);
  if (Z3_get_error_code (c) == Z3_OK) answer = result == Z3_L_TRUE    ? PRUNE_YES
                                               : result == Z3_L_FALSE ? PRUNE_NO
                                                                      : PRUNE_UNKNOWN;
  Z3_solver_reset (c, z->solver);
done:
  free (multiplier), free (equal), free (choice);
  return answer;
}
