/* One evaluation as its operators see it: what was asked for, where memory comes from, who shares the work, and why it
   ends early. Each thread that computes blocks of its own has a context of its own. */
#ifndef VERIFY_CONTEXT_H
#define VERIFY_CONTEXT_H

#include "arena.h"
#include "mugraph/mugraph.h"
#include "mugraph/stable.h"
#include "planes.h"

typedef enum { EVAL_DONE, EVAL_ZERO /* division by zero */, EVAL_MEMORY, EVAL_TIME, EVAL_STOPPED } eval_status;

typedef struct {
  uint64_t key;                 /* of this trial: keyed functions, constants, drawn maxima. Fields only */
  int threads;                  /* >= 1 */
  const mugraph_stable *stable; /* NULL: exponentials are raw */
  double deadline;              /* omp_get_wtime's clock, 0: none */
  const volatile int *stop;     /* NULL: nobody; once set, the evaluation ends soon */
} eval_options;

typedef struct {
  const eval_plan *plan;
  const eval_options *options;
  const number *num[2]; /* of the planes */
  eval_arena *arena;
  int threads; /* that share an operator; 1 inside of blocks */
  bool in_block;
  eval_status status; /* why a function returned false */
} eval_context;

/* A tensor or a tile. */
typedef struct {
  const mugraph_shape *shape;
  const int32_t *valid; /* positions of each dimension that hold data, the others hold 0; NULL: all */
  eval_value v;
} eval_operand;

static inline bool eval_stopped (const eval_context *c) { return c->options->stop && *c->options->stop; }

/* Whether to go on; if not, the status says why. */
bool eval_goes_on (eval_context *);

/* Takes planes `need` of `volume` elements; the others stay as they are. */
bool eval_take_value (eval_context *, int64_t volume, uint8_t need, eval_value *);

/* Calls f (args, 0 .. pieces - 1), by all threads where `elements` are enough to be worth it. Outside of blocks no
   piece is begun once the evaluation is to stop, and what they would have written is undefined; nobody reads it then.
 */
typedef void eval_piece (const void *args, int64_t index);
void eval_share (const eval_context *, int64_t pieces, int64_t elements, eval_piece *f, const void *args);

/* Whether the planes `need` of x hold numbers, or the evaluation was stopped, so that nobody cares. For CHECK. */
bool eval_is_value (const eval_context *, const eval_operand *x, uint8_t need);

#endif
