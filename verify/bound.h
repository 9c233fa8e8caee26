/* How likely two different graphs agree at random inputs. */
#ifndef VERIFY_BOUND_H
#define VERIFY_BOUND_H

#include "mugraph/mugraph.h"

enum { VERIFY_DRAWS = 4 }; /* inputs drawn for one trial before divisions by zero make it unknown */

/* An upper bound of the probability that one trial passes although the outputs are different functions over the fields.
   The derivation stands in bound.c. */
double verify_bound (const mugraph *program, const mugraph *candidate);

#endif
