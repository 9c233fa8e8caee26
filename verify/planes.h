/* A value is one or two planes of numbers. Over the fields: plane 0 holds residues mod p, plane 1 residues mod q.
   Float64: plane 0.

   Only planes that someone needs are computed: outputs need p, exp turns a need of p into one of q, keyed functions
   turn any need into one of p, everything else passes it on. An exponential has no plane q, nor has what is computed
   from it by arithmetic; needing that is what "no value over the fields" means. */
#ifndef VERIFY_PLANES_H
#define VERIFY_PLANES_H

#include "mugraph/mugraph.h"
#include "number.h"

typedef struct {
  void *plane[2];
} eval_value;

/* Sets of planes. */
enum { EVAL_P = 1, EVAL_Q = 2 };
#define FOR_PLANES(p, need)                                                                                            \
  for (int p = 0; p < 2; p++)                                                                                          \
    if ((need) >> p & 1)

typedef struct {
  const mugraph *graph;
  bool real;
  uint8_t tensor[MUGRAPH_TENSORS]; /* planes needed: EVAL_P | EVAL_Q */
  uint8_t tile[MUGRAPH_BLOCKS][MUGRAPH_BLOCK_OPS];
  int8_t last_use[MUGRAPH_TENSORS]; /* kernel operator; n_ops for outputs; -1 none */
} eval_plan;

/* Which planes of this graph are needed; the graph is one that mugraph_infer accepts, and outlives the plan. False when
   a needed one does not exist: reason then says where (it may be NULL). */
bool eval_plan_make (eval_plan *, const mugraph *, bool real, char reason[256]);

/* The numbers of plane p. */
const number *eval_number (const eval_plan *, int p);

/* Whether n elements at x are numbers of plane p: residues below the modulus; of float64 whatever was written at all
   (eval_take). For CHECK. */
bool eval_are_numbers (const eval_plan *, int p, int64_t n, const void *x);

#endif
