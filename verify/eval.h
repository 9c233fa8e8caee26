/* The three-level interpreter: kernel graph, blocks over the grid, iterations of the loop, operators of a block. It
   walks shapes and indices only; numbers are what number.h says (a pair of residues or float64). Thread graphs need no
   level of their own: elementwise chains mean the same however they are grouped.

   A value is one or two planes. Over the fields: plane 0 mod p, plane 1 mod q. Float64: plane 0. Only planes that
   someone needs are computed (eval_plan): outputs need p, exp turns a need of p into one of q, keyed functions turn any
   need into one of p, everything else passes it on. An exponential has no plane q, nor has what is computed from it by
   arithmetic; needing that is what "no value over the fields" means. */
#ifndef VERIFY_EVAL_H
#define VERIFY_EVAL_H

#include "mugraph/mugraph.h"
#include "number.h"

/* Memory that is taken piece by piece and given back at once. */
typedef struct eval_chunk eval_chunk;
typedef struct {
  char *at, *end;
  eval_chunk *chunks; /* owned */
} eval_arena;

void eval_arena_init (eval_arena *, void *first, size_t size); /* first: caller's, used before anything is allocated */
void *eval_take (eval_arena *, size_t bytes);                  /* aligned to 64 bytes, not cleared; NULL: no memory */
void eval_arena_free (eval_arena *);

typedef struct {
  void *plane[2];
} eval_value;

typedef enum { EVAL_DONE, EVAL_ZERO /* division by zero */, EVAL_MEMORY, EVAL_TIME, EVAL_STOPPED } eval_status;

enum { EVAL_P = 1, EVAL_Q = 2 };

typedef struct {
  const mugraph *graph;
  bool real;
  uint8_t tensor[MUGRAPH_TENSORS]; /* planes needed: EVAL_P | EVAL_Q */
  uint8_t tile[MUGRAPH_BLOCKS][MUGRAPH_BLOCK_OPS];
  int8_t last_use[MUGRAPH_TENSORS]; /* kernel operator; n_ops for outputs; -1 none */
} eval_plan;

/* Which planes are needed. False when a needed one does not exist: reason then says where (it may be NULL). */
bool eval_plan_make (eval_plan *, const mugraph *, bool real, char reason[256]);

typedef struct {
  uint64_t key;                 /* of this trial: keyed functions, constants, drawn maxima. Fields only */
  int threads;                  /* >= 1 */
  const mugraph_stable *stable; /* NULL: exponentials are raw */
  double deadline;              /* omp_get_wtime's clock, 0: none */
  const volatile int *stop;     /* NULL: nobody; once set, the evaluation ends soon */
} eval_options;

/* Evaluates. inputs[i] holds the needed planes of input i; outputs[k] gets plane 0 (p or float64) written to memory of
   the caller. The arena keeps what was taken. */
eval_status eval_run (const eval_plan *, const eval_options *, const eval_value inputs[], void *const outputs[],
                      eval_arena *);

#endif
