/* Elementwise expressions: thread graphs become one variable an operator. */
#ifndef CUDA_TEMPLATES_EMIT_WALK_H
#define CUDA_TEMPLATES_EMIT_WALK_H

#include "emit_text.h"
#include "mugraph/mugraph.h"

/* A float literal. */
void cuda_print_number (cuda_text *, double);

/* Appends the op.def expression of an elementwise operator with $a, $b, $0, $1 replaced. */
void cuda_print_op (cuda_text *, const mugraph_op *, const char *a, const char *b);

/* Ends a line of code with the operator that it stands for as a comment. */
void cuda_print_comment (cuda_text *, const mugraph *, const mugraph_op *kernel, int i);

typedef struct {
  const mugraph *g;
  const mugraph_op *kernel; /* the operator of g that holds the block */
  const char *prefix;       /* of the variables: operator i becomes float <prefix>i */
  /* Whether tile i exists somewhere (memory or registers) for this reader; then writes its value at the current
     element, right-aligned broadcasting included, as a float expression. Constants never reach it. */
  bool (*materialised) (void *user, int i, cuda_text *);
  /* The maximum that a stable exponential i subtracts at the current element, as an expression; false: raw. May be
   * NULL. */
  bool (*shift) (void *user, int i, cuda_text *);
  /* Operators whose value is not their op.def expression: writes it, given the variables of the operands. May be NULL.
   */
  bool (*value) (void *user, int i, const char *a, const char *b, cuda_text *);
  void *user;
} cuda_walk;

/* Prints declarations "const float <prefix>i = ...;\n" for tile i and every operator below it that is not materialised,
   operands first, each once (done: bit i, shared between calls at the same element, caller zeroes it first). All of
   them must be elementwise, constants, or known to value. */
void cuda_print_walk (cuda_text *, const cuda_walk *, int i, uint64_t *done);

#endif
