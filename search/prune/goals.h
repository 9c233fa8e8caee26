/* Goals: the targets and all that they are computed from inside of functions. See expr.h for the decision. The
   functions of expr.h that set targets and ask about them are defined in goals.c. */
#ifndef SEARCH_GOALS_H
#define SEARCH_GOALS_H

#include "normal.h"

/* e is an argument of a function whose atom does not hold it as it is: it will be a goal. False without memory. */
bool goals_note_lost (expr_pool *, expr_id e);

#endif
