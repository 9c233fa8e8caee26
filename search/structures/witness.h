/* The witness: the program at shapes so small that a partial graph can be evaluated in microseconds.

   Dimensions that the program's own operators force to be equal (the contracted dimensions of a matmul, operands of an
   elementwise operator, ...) form a class. Each class gets a size of its own at the witness, whatever its real size;
   dimensions of size 1 stay 1 and belong to no class. Every grid extent and loop range is WITNESS_EXTENT there, so a
   class that may be split by the grid and walked by the loop has a multiple of WITNESS_EXTENT squared. */
#ifndef SEARCH_WITNESS_H
#define SEARCH_WITNESS_H

#include "mugraph/mugraph.h"

enum {
  WITNESS_EXTENT = 2,
  WITNESS_CLASSES = 48,    /* a program with more is searched without splitting the rest */
  WITNESS_VOLUME = 1 << 20 /* elements of the largest tensor of a witness */
};

/* A class that is the concatenation of two others, or one summed down to another. */
typedef struct {
  uint8_t a, b, out;
} witness_relation;

typedef struct {
  int n_classes;                 /* classes are 1 .. n_classes; 0 stands for a dimension of size 1 */
  int32_t size[WITNESS_CLASSES]; /* at the witness */
  int32_t real[WITNESS_CLASSES]; /* in the program */
  bool reduced[WITNESS_CLASSES]; /* contracted, reduced or concatenated somewhere: not parallel throughout */
  bool fixed[WITNESS_CLASSES];   /* part of a relation: neither the grid nor the loop may split it */
  bool paired[WITNESS_CLASSES];  /* some tensor has it in two dimensions */
  int n_concats, n_narrows;
  witness_relation concat[16], narrow[16];      /* narrow: a summed down to out */
  mugraph program;                              /* at the witness shape */
  uint8_t label[MUGRAPH_TENSORS][MUGRAPH_DIMS]; /* class of each dimension of each tensor of the program */
} witness;

/* The witness of a program (a graph without graph-defined kernels). False with the reason when it has none. */
bool witness_make (const mugraph *program, witness *, mugraph_error *e);

#endif
