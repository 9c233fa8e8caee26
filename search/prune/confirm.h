/* The second opinion: decisions of goals.c as questions to Z3, and the memo of what it confirmed. */
#ifndef SEARCH_CONFIRM_H
#define SEARCH_CONFIRM_H

#include "normal.h"

/* Whether partial times some monomial is a part of whole. */
prune_answer confirm_part (expr_pool *, const normal *partial, const normal *whole);

/* Whether there is a way from e to any goal. Weaker than the decision in one place: a denominator of several monomials
   is only asked to be a part of the goal's, which the decision's long division implies. What that alone refuses stays.
 */
prune_answer confirm_no_way (expr_pool *, expr_id e);

/* Whether Z3 has confirmed, in any pool that shares the memo, that this expression leads to no goal. */
bool confirm_known (const expr_pool *, expr_id);
void confirm_remember (expr_pool *, expr_id);

#endif
