/* Stable exponentials: exp (x - m) with the maximum m of a row (mugraph_analyse_stable). Over the fields a maximum is
   any residue mod q, drawn at random. Maxima are numbers of eval_maximum_size bytes, a double or a residue. */
#ifndef VERIFY_MAXIMA_H
#define VERIFY_MAXIMA_H

#include "context.h"

/* The row maxima of the exponentials of one tensor, or of the tiles of one block. */
typedef struct {
  int64_t rows;
  bool started;   /* there are maxima already */
  uint64_t draws; /* fields: key of the next maximum */
  void *now, *next;
} eval_maxima;

size_t eval_maximum_size (const eval_context *);

/* Takes room for the maxima of that many rows from the arena. */
bool eval_take_maxima (eval_context *, eval_maxima *, int64_t rows);

/* Forgets the maxima, if any. where: number of the tensor or block in kernel operator `op`, for the key of draws. */
void eval_start_maxima (eval_maxima *, int op, int64_t where);

/* Sets next, when the exponential of x comes: at least the present maxima. */
void eval_raise_maxima (const eval_context *, eval_maxima *, const eval_operand *x);

/* Rows of x, which holds n elements a row and is of this degree in exp (-maximum), go from maxima now to maxima next.
 */
void eval_rescale (const eval_context *, const eval_maxima *, int degree, int64_t n, eval_value x);

/* next becomes now. */
void eval_accept_maxima (eval_maxima *);

/* out = exp (x - maxima now). Takes temporaries. */
bool eval_shifted_exp (eval_context *, const eval_maxima *, const eval_operand *x, eval_operand *out);

/* Maxima that the blocks of a kernel leave beside their partial results: [row of the tensor][block along its last
   dimension], that block having computed `width` elements of the row. */
typedef struct {
  void *data; /* NULL: none */
  int64_t blocks, width;
} eval_saved_maxima;

/* Brings the partial results of each row, each with the maximum of its block, to one maximum. op: the kernel operator.
 */
void eval_unify (const eval_context *, int op, int degree, const eval_saved_maxima *, const mugraph_shape *,
                 eval_value);

#endif
