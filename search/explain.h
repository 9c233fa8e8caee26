/* Why a µGraph is not what a search finds, or not first: the bound of the options that cuts it, the operator that no
   search of this program uses, the partial result that is pruned with its expression; or, when its structure is found,
   its rank by the model and what is ahead of it. */
#ifndef SEARCH_EXPLAIN_H
#define SEARCH_EXPLAIN_H

#include "search/search.h"

typedef enum {
  EXPLAIN_FOUND,     /* its structure is among those that the search finds */
  EXPLAIN_BOUND,     /* a bound of the options cuts it: option, needs, has */
  EXPLAIN_ALPHABET,  /* it has an operator that a search of this program does not use: op, place */
  EXPLAIN_PRUNED,    /* a partial result cannot become an output by its expression: op, place, expression, target */
  EXPLAIN_LEFT_OUT,  /* within bounds and not pruned: a rule of meaning (structures/enumerate.h) leaves it out */
  EXPLAIN_UNFINISHED /* not among what was found before the search ended */
} explain_outcome;

enum { EXPLAIN_TEXT = 1024, EXPLAIN_AHEAD = 8 };

/* A structure that the search finds, at its place by the model. */
typedef struct {
  int place;          /* 0: the cheapest */
  uint64_t structure; /* as search_candidate */
  double cost_us;     /* of a rough schedule */
  mugraph graph;      /* at the program's shapes, with the smallest extents */
} explain_structure;

typedef struct {
  explain_outcome outcome;
  char reason[EXPLAIN_TEXT]; /* the answer in one or two sentences */
  uint64_t structure;        /* of the µGraph: as search_candidate */
  double cost_us;            /* the model's, of the µGraph as it stands; infinity when it cannot be launched */

  const char *option; /* BOUND: its field name; else NULL */
  int needs, has;

  /* ALPHABET, PRUNED, LEFT_OUT if it is one operator's fault: the operator, in the kernel graph or (kernel >= 0) in
   * that graph-defined kernel's block */
  int kernel;                    /* index of the operator in the kernel graph, or -1 */
  int op;                        /* index in the block or in the kernel graph; -1: no operator to be named */
  char place[128];               /* the same in words */
  char expression[EXPLAIN_TEXT]; /* PRUNED: of the result that is pruned (of a division, maybe of its divisor) */
  char target[EXPLAIN_TEXT];     /* PRUNED: what it should become a part of, one or several, joined by " ; " */

  /* FOUND, LEFT_OUT, UNFINISHED: what the search finds */
  bool searched;      /* these are filled */
  bool rule;          /* FOUND: as the one kernel by rule (structures/fuse.h), not by enumeration */
  int n_structures;   /* found, and equivalent at the witness */
  int n_ranked;       /* of them sketched for the ranking */
  int place_by_model; /* FOUND: among the ranked, 0 first; -1: not ranked, as it overflows or has no schedule */
  double rough_us;    /* FOUND: by a rough schedule, as the ranking sees it */
  double best_us;     /* FOUND: by its best schedule; infinity: none */
  uint64_t
      stands_for; /* FOUND: the structure that stands for it (another hash when axes or loops of extent 1 differ) */
  int n_ahead;    /* of the ranked, the first ones, which are ahead of it unless it is among them */
  explain_structure ahead[EXPLAIN_AHEAD];
  search_stats stats;
} explanation;

/* Explains a µGraph whose inputs are those of the program, in its order and with its shapes, and which computes the
   same (not checked here). Bounds, operators and prunes are looked at first, in this order, and cost nothing; only a
   µGraph that passes them is searched for, within the options' bounds and budget. out is about 2 MB: put it on the
   heap. False, with the reason, when the two do not belong together or without memory. */
bool explain_run (const mugraph *program, const mugraph *, const search_options *, const cuda_device *,
                  const volatile int *stop, explanation *out, mugraph_error *e);

#endif
