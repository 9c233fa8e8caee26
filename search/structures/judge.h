/* Judging a given µGraph by what cuts those of the enumeration. */
#ifndef SEARCH_JUDGE_H
#define SEARCH_JUDGE_H

#include "search/search.h"

typedef enum { JUDGE_STAYS, JUDGE_NO_LETTER, JUDGE_USES_DIVISOR, JUDGE_PRUNED } judge_verdict;

enum { JUDGE_TEXT = 1024 };

typedef struct {
  judge_verdict verdict;
  int kernel;   /* index of the graph-defined kernel in the kernel graph, or -1 */
  int op;       /* index of the operator in its block, or in the kernel graph */
  bool divisor; /* PRUNED: what it divides by is no divisor of the program; the expression is the divisor's */
  char expression[JUDGE_TEXT], target[JUDGE_TEXT]; /* PRUNED; targets are joined by " ; " */
} judgement;

/* The first operator, in the order of the µGraph, that the alphabet of the program lacks or whose result would be
   pruned. The µGraph has the program's inputs, in its order and shapes. It is judged with the smallest extents that its
   tiles allow. False without memory. */
bool judge_graph (const mugraph *program, const mugraph *, const search_options *, judgement *);

#endif
