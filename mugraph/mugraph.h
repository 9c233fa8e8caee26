/* µGraphs: programs on tensors at three levels of a GPU (Mirage, OSDI'25, section 2).

   A mugraph is a flat value: arrays of small structs with indices inside and no pointers. Copying, hashing and saving
   it are trivial. Its kernel graph has tensors in device memory; every operator is a pre-defined kernel (an operator of
   op.def) or a graph-defined kernel (MUGRAPH_OP_CUSTOM) whose block graph stands in block[op.block].

   An input program is a mugraph without graph-defined kernels.

   Conventions
   - Kernel graph: tensors 0 .. n_inputs-1 are the program's inputs; operators are in topological order and each
     operator's outputs are new tensors. output[] names the program's outputs.
   - Block graph: operator i produces tile i (same index); savers produce none. Operators are in topological order.
     What runs when is derived: an operator that reads an accumulator, directly or not, runs after the loop
     (after_loop); all others run once an iteration, though a tile that no looped input reaches is the same in each.
   - Shapes are row major, dim[0] outermost, at most MUGRAPH_DIMS of them. Reductions keep their dimension with size 1.
   - Broadcasting (elementwise, and the leading dimensions of matmul): shapes are aligned at the right; a missing
     leading dimension or a size of 1 broadcasts; nothing else does.
   - imap[g] of an input iterator: the data dimension that grid dimension g (0 x, 1 y, 2 z) splits, -1 replicate.
     fmap: the data dimension that the loop walks, -1: the same tile in every iteration.
     omap[g] of a saver: the data dimension along which the tiles of grid dimension g are concatenated, never -1 where
     grid[g] > 1 (blocks would write the same place).
   - Ragged splits. A dimension D split by grid extent G has chunks of ceil(D/G); a chunk split by loop range L has
     tiles of ceil(chunk/L). Tiles at the edge may be partly or wholly empty: tile index t of block i and iteration l
     holds data index i*chunk + l*tile + t, and is valid while that is below min(D, (i+1)*chunk) and l*tile + t < chunk.
     Invalid elements count as absent: reductions, contractions and accumulators skip them (a mean divides by the
     number of valid ones), savers do not write them. Elementwise operators keep them invalid.                     */
#ifndef MUGRAPH_MUGRAPH_H
#define MUGRAPH_MUGRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  MUGRAPH_DIMS = 4,        /* dimensions of a tensor */
  MUGRAPH_TENSORS = 128,   /* tensors of a kernel graph */
  MUGRAPH_KERNEL_OPS = 96, /* operators of a kernel graph */
  MUGRAPH_BLOCK_OPS = 64,  /* operators of a block graph, iterators and savers included */
  MUGRAPH_BLOCKS = 8,      /* graph-defined kernels of a µGraph */
  MUGRAPH_FANIN = 16,      /* inputs of one operator */
  MUGRAPH_FANOUT = 8,      /* outputs of one operator */
  MUGRAPH_INPUTS = 32,     /* inputs of a program */
  MUGRAPH_OUTPUTS = 16,    /* outputs of a program */
  MUGRAPH_NAME = 32        /* bytes of a tensor's name, the final 0 included */
};

/* The largest dimension, and the largest number of elements of one tensor, that anything accepts. */
#define MUGRAPH_MAX_DIM ((int64_t) 1 << 28)
#define MUGRAPH_MAX_VOLUME ((int64_t) 1 << 34)

typedef enum {
#define OP(id, ...) MUGRAPH_OP_##id,
#include "op.def"
#undef OP
  MUGRAPH_N_OPS
} mugraph_op_kind;

typedef enum {
  MUGRAPH_LEAF,   /* no input */
  MUGRAPH_SAVER,  /* writes a tile to device memory */
  MUGRAPH_CUSTOM, /* graph-defined kernel */
  MUGRAPH_MATMUL, /* contracts the last dimension of a with the last but one of b */
  MUGRAPH_UNARY,  /* elementwise */
  MUGRAPH_BINARY, /* elementwise with broadcasting */
  MUGRAPH_REDUCE, /* along op.dim */
  MUGRAPH_LAYOUT, /* moves elements */
  MUGRAPH_ACCUM   /* sums over the loop, some after a reduction of the last dimension */
} mugraph_class;

typedef enum { MUGRAPH_KERNEL_LEVEL = 1, MUGRAPH_BLOCK_LEVEL = 2 } mugraph_level;

/* What an operator is told beside its inputs. The last four are reals and stand in mugraph_op.c. */
typedef enum {
  MUGRAPH_HAS_DIM = 1,     /* dim: the dimension that it goes along */
  MUGRAPH_HAS_WIDTH = 2,   /* width: the result's size in that dimension */
  MUGRAPH_HAS_VALUE = 4,   /* value of a constant */
  MUGRAPH_HAS_EPSILON = 8, /* epsilon under a root */
  MUGRAPH_HAS_LOW = 16,    /* lower bound */
  MUGRAPH_HAS_HIGH = 32    /* upper bound */
} mugraph_attribute;

/* What is computed of the elements that a reduction goes along; accumulators: of the last dimension, over the whole
   loop. With a width, of each residue class of positions. */
typedef enum { MUGRAPH_OF_NONE, MUGRAPH_OF_SUM, MUGRAPH_OF_MEAN, MUGRAPH_OF_RMS, MUGRAPH_OF_MAX } mugraph_statistic;

/* The unit of an SM that an operator keeps busy: fp32 pipes, special function unit, matrix units. */
typedef enum { MUGRAPH_ON_NONE, MUGRAPH_ON_FP32, MUGRAPH_ON_SFU, MUGRAPH_ON_MMA } mugraph_unit;

typedef enum {
  MUGRAPH_COMMUTES = 1, /* the order of its two inputs does not matter */
  MUGRAPH_KEYED = 2, /* outside of the theory: the verifier puts a random function in its place, keyed by operator and
                        attributes, and the search knows nothing about it */
  MUGRAPH_NORM = 4   /* divides its input by the statistic: the shape stays */
} mugraph_trait;

typedef struct {
  const char *text;
  int arity; /* -1: any number */
  unsigned levels;
  mugraph_class klass;
  unsigned attributes; /* of mugraph_attribute */
  mugraph_statistic statistic;
  mugraph_unit unit;
  unsigned traits; /* of mugraph_trait */
  const char *cuda;
} mugraph_op_info;

extern const mugraph_op_info mugraph_op_table[MUGRAPH_N_OPS];

/* The kind spelt text, or -1. */
int mugraph_op_find (const char *text);

static inline bool mugraph_op_has (int kind, mugraph_attribute a) { return mugraph_op_table[kind].attributes & a; }
static inline bool mugraph_op_is (int kind, mugraph_trait t) { return mugraph_op_table[kind].traits & t; }
static inline bool mugraph_elementwise (int kind) {
  return mugraph_op_table[kind].klass == MUGRAPH_UNARY || mugraph_op_table[kind].klass == MUGRAPH_BINARY;
}
/* Whether one value is left of a dimension: a statistic without a width. */
static inline bool mugraph_op_reduces (int kind) {
  return mugraph_op_table[kind].statistic && !mugraph_op_has (kind, MUGRAPH_HAS_WIDTH);
}

/* The real attributes, in the order in which programs and files have them. */
enum { MUGRAPH_REALS = 4 };
typedef struct {
  mugraph_attribute attribute;
  const char *text; /* in JSON, and in what a function takes */
  const char *what; /* in messages */
  int index;        /* of mugraph_op.c */
  double otherwise; /* its value when nobody says */
  bool optional;    /* a program need not say it */
} mugraph_real;

extern const mugraph_real mugraph_reals[MUGRAPH_REALS];

typedef enum { MUGRAPH_F16, MUGRAPH_BF16, MUGRAPH_F32, MUGRAPH_N_DTYPES } mugraph_dtype;
const char *mugraph_dtype_text (mugraph_dtype);
int mugraph_dtype_find (const char *text); /* or -1 */
int mugraph_dtype_bytes (mugraph_dtype);

typedef struct {
  int32_t dim[MUGRAPH_DIMS]; /* dim[n_dims ..] are 0 */
  uint8_t n_dims;
  uint8_t dtype; /* mugraph_dtype */
} mugraph_shape;

/* Where the positions of one dimension of a tile come from; meaningful for ragged splits, see the conventions. */
typedef struct {
  int32_t full; /* data extent D behind this dimension; 0: not split, every position is valid */
  int8_t axis;  /* grid dimension that splits it, -1 none */
  uint8_t loop; /* 1: the loop splits it too */
} mugraph_split;

/* One operator of either level. */
typedef struct {
  uint8_t kind; /* mugraph_op_kind */
  uint8_t n_in, n_out;
  int8_t dim;                  /* the dimension, 0 outermost; -1 where op.def says no DIM */
  int8_t block;                /* CUSTOM: index into mugraph.block */
  int8_t map[3];               /* block INPUT: imap; block OUTPUT: omap */
  int8_t fmap;                 /* block INPUT */
  uint8_t after_loop;          /* block: derived by mugraph_infer */
  uint8_t in[MUGRAPH_FANIN];   /* kernel: tensors; block: operators. Block INPUT: in[0] is the index of the kernel
                                  operator's input that it iterates over, n_in is 0 */
  uint8_t out[MUGRAPH_FANOUT]; /* kernel: tensors. CUSTOM: out[k] is written by the k-th saver of the block graph */
  int32_t width;               /* of the result: column j sums j, j+width, ...; 0 where op.def says no WIDTH */
  double c[2];                 /* real attributes, see mugraph_reals */
  mugraph_shape shape;         /* block: the tile (of a saver: the tile saved). Derived by mugraph_infer */
  mugraph_split split[MUGRAPH_DIMS]; /* block: derived by mugraph_infer */
} mugraph_op;

typedef struct {
#define SCHED(name, def, low, high, ...) int16_t name;
#include "sched.def"
#undef SCHED
} mugraph_sched;

typedef struct {
  int32_t grid[3]; /* x, y, z; each >= 1 */
  int32_t loop;    /* forloop range, >= 1 */
  mugraph_sched sched;
  uint8_t n_ops;
  mugraph_op op[MUGRAPH_BLOCK_OPS];
} mugraph_block;

typedef struct {
  mugraph_shape shape;
  char name[MUGRAPH_NAME]; /* inputs and named values; may be empty */
} mugraph_tensor;

typedef struct {
  uint8_t n_tensors, n_inputs, n_outputs, n_ops, n_blocks;
  uint8_t output[MUGRAPH_OUTPUTS]; /* tensors */
  char output_name[MUGRAPH_OUTPUTS][MUGRAPH_NAME];
  mugraph_tensor tensor[MUGRAPH_TENSORS];
  mugraph_op op[MUGRAPH_KERNEL_OPS];
  mugraph_block block[MUGRAPH_BLOCKS];
} mugraph;

/* What went wrong outside of our control, in one line: what, where, what to do. */
typedef struct {
  char text[512];
} mugraph_error;

/* Formats into e (which may be NULL) and returns false. */
bool mugraph_fail (mugraph_error *e, const char *format, ...) __attribute__ ((format (printf, 2, 3)));

/* ---- shapes (shape.c) and schedules (sched.c) ---- */

mugraph_shape mugraph_shape_of (mugraph_dtype, int n_dims, const int32_t dim[]);
bool mugraph_same_shape (const mugraph_shape *, const mugraph_shape *); /* dims only */
int64_t mugraph_volume (const mugraph_shape *);                         /* elements */
/* Columns: the last dimension; rows: the last but one, 1 where there is none; all rows: elements over columns. n_dims
 * >= 1. */
static inline int32_t mugraph_cols (const mugraph_shape *s) { return s->dim[s->n_dims - 1]; }
static inline int32_t mugraph_rows (const mugraph_shape *s) { return s->n_dims > 1 ? s->dim[s->n_dims - 2] : 1; }
static inline int64_t mugraph_all_rows (const mugraph_shape *s) { return mugraph_volume (s) / mugraph_cols (s); }
/* How many parts of b elements a elements are; a >= 0, b > 0. */
static inline int64_t mugraph_ceil_div (int64_t a, int64_t b) { return (a + b - 1) / b; }
/* "16x4096" into buffer (64 bytes are enough). Returns buffer. */
char *mugraph_dims_text (const mugraph_shape *, char *buffer, size_t size);
void mugraph_sched_default (mugraph_sched *);
/* The name of what has this number, NULL where nothing has. */
typedef const char *mugraph_name_of (int number);
/* "chain, 16 warps, rows along m": what differs from the default, in words; empty when nothing does. generator names
   the code generators, which are above this room (cuda_generator_name); NULL: they are shown by number. Cut off when it
   does not fit. Returns out. */
char *mugraph_sched_text (const mugraph_sched *, mugraph_name_of *generator, char *out, size_t size);

/* ---- building (graph.c). The functions that append return the new index, or -1 when the graph is full. ---- */

void mugraph_init (mugraph *);

/* An operator of this kind without inputs, every attribute at its default. */
mugraph_op mugraph_op_of (mugraph_op_kind, int dim);

/* A program input: must precede every operator. Returns its tensor. */
int mugraph_add_input (mugraph *, const char *name, mugraph_shape);

/* An operator of the kernel graph with one output. dim is ignored where it means nothing. Returns the output's tensor.
   Shapes are inferred at once; on a mismatch returns -1 with the reason in e. */
int mugraph_add_op (mugraph *, mugraph_op_kind, int n_in, const int in[], int dim, mugraph_error *e);
int mugraph_add_const (mugraph *, double value, mugraph_error *e); /* shape [1], f32 */
bool mugraph_add_output (mugraph *, int tensor, const char *name);

/* Input k becomes input order[k], a permutation. */
void mugraph_reorder_inputs (mugraph *, const int order[]);
/* The next permutation in lexicographic order; false, and as it was, after the last. */
bool mugraph_next_order (int n, int order[]);

/* A graph-defined kernel: reads the tensors in[], has an empty block graph with this grid and loop. Returns the index
   of the kernel operator. Fill block[op.block] with the mugraph_block_ functions, then call mugraph_finish_custom,
   which infers the block graph and gives the operator its output tensors (op.out). */
int mugraph_add_custom (mugraph *, int n_in, const int in[], const int32_t grid[3], int32_t loop);
bool mugraph_finish_custom (mugraph *, int op, mugraph_error *e);

void mugraph_block_init (mugraph_block *, const int32_t grid[3], int32_t loop);
int mugraph_block_input (mugraph_block *, int kernel_input, const int imap[3], int fmap);
int mugraph_block_op (mugraph_block *, mugraph_op_kind, int a, int b, int dim); /* b, dim: -1 where absent */
int mugraph_block_const (mugraph_block *, double value);
int mugraph_block_output (mugraph_block *, int tile, const int omap[3]);

/* ---- inference and validity (infer.c) ---- */

/* The result shape of one operator at given input shapes: the shape rule of op.def. in has n_in shapes. For levels
   other than block, accumulators are errors. out may alias nothing. */
bool mugraph_infer_op (const mugraph_op *, const mugraph_shape *const in[], mugraph_shape *out, mugraph_error *e);

/* The tile of an input iterator over data of shape s, and where it comes from. */
bool mugraph_infer_iterator (const mugraph_op *, const mugraph_shape *s, const int32_t grid[3], int32_t loop,
                             mugraph_shape *tile, mugraph_split split[MUGRAPH_DIMS], mugraph_error *e);

/* Infers everything in one block graph: tiles, splits, after_loop; checks order, arity, levels, maps, that accumulators
   and loop values are not mixed up (an operator may not read a loop value together with an accumulator's result; savers
   read after-loop tiles, or any tile when loop is 1). in: shapes of the kernel operator's inputs; out: n_out shapes
   of what the savers write, in order (n_out is set). */
bool mugraph_infer_block (mugraph_block *, int n_in, const mugraph_shape in[], int *n_out, mugraph_shape out[],
                          mugraph_error *e);

/* Checks the whole graph and derives every shape below the inputs' again, in place: after reading a graph, after
   changing a grid, a loop range or an input shape. Any µGraph that passes may be given to every other function. */
bool mugraph_infer (mugraph *, mugraph_error *e);

/* The data range that a split dimension of a tile covers in block index i of its axis and iteration l:
   first data index, and number of valid positions (0 .. tile). */
void mugraph_split_range (const mugraph_split *, int32_t tile, const int32_t grid[3], int32_t loop, int32_t i,
                          int32_t l, int32_t *first, int32_t *valid);

/* True when some tile of the block graph is ragged, so that the masks of the conventions matter. */
bool mugraph_block_ragged (const mugraph_block *);

/* Whether operators use this tile in / after the loop; for planners. Number of readers of operator i. */
int mugraph_block_uses (const mugraph_block *, int i);

/* ---- identity (identity.c) ---- */

/* xxHash of the graph's canonical form: names, derived fields and schedules left out; equal for graphs that are the
   same up to the numbering of operators and the order of the inputs of commutative ones. extents: also grid and loop.
 */
uint64_t mugraph_hash (const mugraph *, bool extents);

/* Whether two operators are told the same beside their inputs; bits count, so -0 differs from 0. */
bool mugraph_same_attributes (const mugraph_op *, const mugraph_op *);

/* Exact equality of everything but padding, names included: what is written reads back. */
bool mugraph_equal (const mugraph *, const mugraph *);

#endif
