/* The inside of an enumeration: the types that its parts share. See enumerate.h for what it is, README.md for the
 * parts.
 */
#ifndef SEARCH_ENUMERATION_H
#define SEARCH_ENUMERATION_H

#include "alphabet.h"
#include "budget.h"
#include "enumerate.h"
#include "exprs.h"
#include "tile.h"
#include "value.h"

enum {
  SPACE_NODES = 1 << 14,   /* tiles of one configuration */
  SPACE_TENSORS = 1 << 14, /* tensors of all kernel graphs */
  SPACE_LISTS = 1 << 14,   /* sets of tiles that one kernel saves */
  SPACE_LIST = 1 << 12,    /* graphs that save one such set */
  SPACE_CHOICES = 1 << 18, /* structures to check */
  SPACE_KERNELS = 16,
  SPACE_TILES = 48 /* tiles of one block graph */
};

/* One way to compute a node from others; of a pre-defined kernel: a tensor from others. */
typedef struct {
  uint8_t letter;
  int8_t dim;
  uint8_t width_class;
  uint16_t in[2];
  int32_t next; /* derivation of the same node, -1: none */
} derivation;

typedef struct {
  tile_type type;
  int16_t tensor;      /* leaf: the tensor that it iterates over, or -1 */
  int16_t constant;    /* leaf: index of a constant, or -1 */
  int16_t saved;       /* the tensor that saving it makes, or -1 */
  uint8_t least_ops;   /* a lower bound of the operators that it takes */
  uint8_t turn;        /* see turn.h */
  exprs_value expr;    /* in the pools of the worker that closed the space */
  uint64_t hash;       /* of type and values */
  uint64_t value_hash; /* of splits and values: the same whether in the loop or after it */
  residue *value;      /* a tile for each iteration where it loops, else one; gone after the layer */
  int32_t first, last; /* derivations; the first one reads nodes with smaller numbers only */
} node;

typedef struct chunk {
  struct chunk *next;
  size_t used, size;
  residue v[];
} chunk;

typedef struct {
  tile_config config;
  uint8_t layer;
  int n_nodes, n_derivations, node_capacity, derivation_capacity;
  node *node;
  derivation *derivation;
  chunk *chunks;
} space;

typedef struct {
  int32_t space; /* -1: a pre-defined kernel, op */
  uint16_t node;
  uint8_t layer;
  derivation op;
} producer;

/* A tensor of the kernel graph. */
typedef struct {
  mugraph_shape shape;
  uint16_t label[MUGRAPH_DIMS];
  residue *value;
  uint8_t moment; /* see tile_type */
  int32_t count;
  uint64_t expr_hash;
  uint8_t layer;    /* of its first producer; 0: an input or a constant */
  uint8_t graphs;   /* graph-defined kernels before it, at least */
  bool output;      /* of the program */
  bool quotient;    /* its first producer divides */
  uint8_t turn;     /* see turn.h */
  int16_t input;    /* of the program, or -1 */
  int16_t constant; /* or -1 */
  int n_producers, capacity;
  producer *producer;
} tensor;

/* Only this worker touches its own. */
typedef struct {
  exprs exprs;
  search_stats stats;
  exprs_value *expr; /* of tensors, where known[] says so */
  bool *known;
  int capacity;
  uint32_t *table; /* hash table of the space at work: node + 1 */
  residue *scratch;
  size_t scratch_size;
} worker;

/* A graph that computes a set of tiles: operators in topological order, iterators first. */
typedef struct {
  uint8_t n_leaves, n_tiles; /* leaves included */
  uint16_t node[SPACE_TILES];
  int32_t derivation[SPACE_TILES]; /* -1 for leaves */
} block_plan;

typedef struct {
  int32_t space;
  uint8_t n_saved;
  uint16_t saved[MUGRAPH_FANOUT]; /* nodes */
  int n_plans, capacity;
  block_plan *plan;
} block_list;

/* One kernel of a structure: graph-defined (list, index of plan) or pre-defined (list -1, tensor, index of producer).
 */
typedef struct {
  int32_t list, index;
  int16_t tensor;
  uint8_t layer;
} kernel_choice;

typedef struct {
  uint64_t hash;
  uint8_t n_kernels;
  kernel_choice kernel[SPACE_KERNELS]; /* in the order of the graph */
} structure;

struct enumeration {
  witness w;
  mugraph real; /* the program */
  search_options opt;
  uint64_t seed;
  alphabet alphabet;
  int n_outputs;
  int16_t output[MUGRAPH_OUTPUTS]; /* tensors */
  uint64_t fingerprint[MUGRAPH_OUTPUTS];
  /* these grow between parallel phases only */
  int n_tensors, tensor_capacity, n_spaces, space_capacity, n_lists, list_capacity, n_structures, structure_capacity;
  tensor *tensor;
  space **space;
  block_list *list;
  structure *structure;
  worker *worker; /* one a thread: budget.n_threads */
  search_stats total;
  /* SHARED between workers */
  budget budget;
  expr_memo *memo[EXPRS_POOLS]; /* of the workers' pools; locks nothing. May be NULL */
};

static inline bool enumeration_poll (enumeration *e, int me) {
  return budget_poll (&e->budget, me, &e->worker[me].stats);
}

/* The operator that a derivation applies, at the witness. */
static inline mugraph_op enumeration_op (const enumeration *e, const derivation *d) {
  mugraph_op op = e->alphabet.letter[d->letter].op;
  op.dim = d->dim;
  op.width = d->width_class ? e->w.size[d->width_class] : 0;
  return op;
}

static inline bool node_is_leaf (const node *n) { return n->tensor >= 0 || n->constant >= 0; }

#endif
