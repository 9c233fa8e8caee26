/* Inside of the enumeration: see enumerate.h for what it is. space.c closes the space of one graph-defined kernel,
   enumerate.c holds the tensors of the kernel graph and goes through stages and configurations, extract.c reads the
   graphs off. */
#ifndef SEARCH_SPACE_H
#define SEARCH_SPACE_H

#include "enumerate.h"
#include "tile.h"
#include "value.h"

#include <omp.h>

enum {
  SPACE_NODES = 1 << 14, /* tiles of one configuration */
  SPACE_LETTERS = 64,
  SPACE_CONSTANTS = 32,
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
  int16_t tensor;    /* leaf: the tensor that it iterates over, or -1 */
  int16_t constant;  /* leaf: index of a constant, or -1 */
  int16_t saved;     /* the tensor that saving it makes, or -1 */
  uint8_t least_ops; /* a lower bound of the operators that it takes */
  uint8_t turn;      /* see space_turn */
  int32_t count;     /* moment: elements that the mean is over */
  expr_id expr[2];   /* in the pools of the worker that closed the space; of a moment: what is squared */
  uint64_t expr_hash;
  uint64_t hash;       /* of type and values */
  uint64_t value_hash; /* of splits and values: the same whether in the loop or after it */
  residue *value;      /* a tile for each iteration where it loops, else one; gone after the stage */
  int32_t first, last; /* derivations; the first one reads nodes with smaller numbers only */
} node;

typedef struct chunk {
  struct chunk *next;
  size_t used, size;
  residue v[];
} chunk;

typedef struct {
  tile_config config;
  uint8_t stage;
  int n_nodes, n_derivations, node_capacity, derivation_capacity;
  node *node;
  derivation *derivation;
  chunk *chunks;
} space;

typedef struct {
  int32_t space; /* -1: a pre-defined kernel, op */
  uint16_t node;
  uint8_t stage;
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
  uint8_t stage;    /* of its first producer; 0: an input or a constant */
  uint8_t graphs;   /* graph-defined kernels before it, at least */
  bool output;      /* of the program */
  bool quotient;    /* its first producer divides */
  uint8_t turn;     /* see space_turn */
  int16_t input;    /* of the program, or -1 */
  int16_t constant; /* or -1 */
  int n_producers, capacity;
  producer *producer;
} tensor;

typedef struct {
  mugraph_op op;   /* kind, n_in, c */
  bool kernel;     /* the program has it: also a pre-defined kernel */
  bool parts_only; /* sums of partial sums only */
  bool moment;     /* as a part of a root mean square */
  bool flat;       /* mul, div: no factor or numerator is a divisor of the program; nor is a divisor a quotient */
} letter;

/* Only this worker touches its own. */
typedef struct {
  /* the first pool's targets are the program's outputs; the second one's, its divisors (none: no second pool): as long
     as no divisor is a quotient, what one divides by is a part of a divisor of the program */
  int n_pools;
  expr_pool *pool[2];
  int n_roots; /* sizes of the program's root mean squares */
  int64_t root[8];
  search_stats stats;
  expr_id (*expr)[2]; /* of tensors, where known[] says so */
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
  uint8_t stage;
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
  int n_letters, n_constants;
  letter alphabet[SPACE_LETTERS];
  double constant[SPACE_CONSTANTS];
  int n_outputs;
  int16_t output[MUGRAPH_OUTPUTS]; /* tensors */
  uint64_t fingerprint[MUGRAPH_OUTPUTS];
  /* these grow between parallel phases only */
  int n_tensors, tensor_capacity, n_spaces, space_capacity, n_lists, list_capacity, n_structures, structure_capacity;
  tensor *tensor;
  space **space;
  block_list *list;
  structure *structure;
  int n_threads;
  worker *worker;
  const volatile int *stop;
  double start, deadline, next_report;
  search_progress progress; /* called by the master only */
  void *user;
  search_stats total;
  /* SHARED between workers, under the lock */
  omp_lock_t lock;
  search_stats *published; /* one a worker */
  expr_memo *memo[2];      /* of the workers' pools; locks nothing. May be NULL */
  double bytes, peak;
  bool halted; /* stopped, out of time or out of memory */
  bool cut;    /* a limit of this file was met: not everything within the options' bounds was seen */
};

/* Says that a limit was met. */
void space_cut (enumeration *);

/* Publishes the worker's counters, reports progress; true when the search is to end. */
bool space_poll (enumeration *, int me);

/* Counts memory (may be negative); false when the bound would be passed: then the search halts. */
bool space_account (enumeration *, double bytes);

/* The expression of an operator's result. Moments keep the expression of what is squared and the number of elements
   averaged (0: there is no use for it); the root mean square that ends them, like that of an rms_norm, is an opaque
   function of the argument: expanded squares would make every product of two terms a part of the program. */
typedef struct {
  expr_id expr[2]; /* in the worker's pools */
  int32_t count;
} space_value;
space_value space_expr (worker *, const letter *, const mugraph_op *, const mugraph_shape *const shape[],
                        const space_value in[], int32_t loop, bool varies);

/* The expression of a tensor. */
space_value space_tensor_expr (enumeration *, worker *, int t);
space_value space_constant_expr (worker *, double);

/* The root mean square that an rms_norm of x (shape s) divides by, in the second pool. */
expr_id space_root_expr (worker *, const mugraph_op *, const mugraph_shape *s, expr_id x);

/* Whether this is what the program divides by somewhere. */
bool space_divides (const worker *, const space_value *);

/* One of the ways to say the same with transposes, by how a value is first made. Elementwise operators, sums and
   products of matrices have a counterpart that computes their transpose from transposed operands, so a transpose is
   only taken
   - of what the program gives, of an accumulator that has no counterpart,
   - of a product of matrices (its accumulator, where there is one) with no transpose below: transpose (a b) stands for
     transpose (b) transpose (a), which is not made; with transposes below, the counterpart has no more of them.
   What a graph-defined kernel saves is not transposed by others: that kernel saves the transpose. */
enum {
  SPACE_TURN_MAY = 1,  /* may be transposed */
  SPACE_TURN_USED = 2, /* a transpose is below */
  SPACE_TURN_TOP = 4   /* elementwise over transposes of values that have none below */
};
/* The flags of an operator's result from those of its operands; false when that is not to be made. */
bool space_turn (const enumeration *, mugraph_op_kind, int n_in, const tile_type *const type[], const uint8_t in[],
                 bool part_loop, uint8_t *out);

/* Whether pruning lets a result stay. divisor: of a division, or NULL. */
bool space_may_stay (const enumeration *, worker *, const letter *, const space_value *, const expr_id divisor[2]);

/* Closes a space over the tensors of lower stages. last: only the program's outputs count as saved. */
space *space_close (enumeration *, int me, const tile_config *, int stage, bool last);
void space_drop_values (enumeration *, space *);
void space_free (enumeration *, space *);

/* The whole tensor that saving node i makes: n residues, evaluated block by block into out. */
bool space_evaluate (enumeration *, worker *, const space *, int i, const mugraph_shape *, residue *out);

/* Reads off all structures; fills e->structure with those that are equivalent at the witness. */
void space_extract (enumeration *);

#endif
