/* The program language (files end in .mg) and the built-in workloads.

   A program is a list of lines; `#` starts a comment, a line goes on inside of brackets.

     dim NAME = SIZE               a named size; b, the batch size, is one from the start
     input NAME[SIZE, ...]: TYPE   one to four dimensions, outermost first; TYPE is f16, bf16 or f32
     NAME = expr
     output NAME = expr            or: output expr

     size: expr of whole numbers and named sizes with + - * / (rounds towards zero) and parentheses
     expr: term (('+' | '-') term)*
     term: sign (('*' | '/') sign)*
     sign: '-' sign | atom
     atom: number | NAME | '(' expr ')' | function '(' expr, ... ')'

   Functions are the kernel level operators of op.def under their text, and softmax:
     matmul(a, b)        last two dimensions; leading ones are batch
     sum(x, d)  mean(x, d)  max(x, d)  sum_to(x, d, width)  softmax(x, d)  rms_norm(x, d[, epsilon])
                         d: dimension, 0 outermost, negative from the end; reductions keep it with size 1
     exp square sqrt log silu gelu relu tanh sigmoid neg (x)   clamp(x, low, high)   pow(a, b)
     transpose(x)        last two dimensions      concat(a, b, d)

   Broadcasting: shapes are aligned at the right; size 1 or a missing leading dimension broadcasts, nothing else does.
   Operations on numbers only are done at once; a number beside a tensor is a constant of the program. A named size in
   an expr is its number. Identical subexpressions are one operator; what no output depends on is left out. Names that
   start with an underscore are not kept in the graph. softmax(x, d) is exp(x) / sum(exp(x), d).                    */
#ifndef MUGRAPH_PROGRAM_H
#define MUGRAPH_PROGRAM_H

#include "mugraph/mugraph.h"

enum { MUGRAPH_PROGRAM_BYTES = 1 << 20, MUGRAPH_PROGRAM_NAME = 64, MUGRAPH_PROGRAM_BATCH = 1 << 20 };

/* `--shape NAME=dims`: another shape for an input, or one size for a `dim`. */
typedef struct {
  char name[MUGRAPH_NAME];
  int n_dims;
  int32_t dim[MUGRAPH_DIMS];
} mugraph_override;

typedef struct {
  int batch; /* b; 0: 1 */
  int n_overrides;
  mugraph_override override[MUGRAPH_INPUTS];
} mugraph_program_options;

typedef struct {
  mugraph graph;
  char name[MUGRAPH_PROGRAM_NAME]; /* workload's name, or the file's base name without .mg */
  char stem[MUGRAPH_PROGRAM_NAME]; /* of the file in saved_mugraphs/: tells apart whatever is not a plain workload */
  int batch;
  bool uses_batch; /* b occurs in it */
} mugraph_program;

typedef struct {
  const char *name, *alias; /* alias may be NULL */
  const char *stem;
} mugraph_workload;

extern const mugraph_workload mugraph_workloads[];
extern const int mugraph_n_workloads;
const mugraph_workload *mugraph_workload_find (const char *name_or_alias);                /* or NULL */
const char *mugraph_workload_text (const mugraph_workload *);                             /* the embedded .mg file */
const char *mugraph_workload_title (const mugraph_workload *, char *buffer, size_t size); /* its first comment */

/* Reads `X=16x4096` or `X=16,4096` and appends it to the options. */
bool mugraph_program_override (const char *text, mugraph_program_options *, mugraph_error *e);

/* Text of len bytes (any bytes) into a program. filename stands in errors, `file:line:col: what` followed by the source
   line and a caret on lines of their own; the first line says all. Options may be NULL. On failure out is undefined. */
bool mugraph_program_parse (const char *text, size_t len, const char *filename, const mugraph_program_options *,
                            mugraph_program *out, mugraph_error *e);
bool mugraph_program_load (const char *path, const mugraph_program_options *, mugraph_program *out, mugraph_error *e);
bool mugraph_program_workload (const char *name_or_alias, const mugraph_program_options *, mugraph_program *out,
                               mugraph_error *e);
/* source: a workload's name or alias, else the path of a program file. */
bool mugraph_program_open (const char *source, const mugraph_program_options *, mugraph_program *out, mugraph_error *e);

/* Opens source at the batch size at which its inputs have these shapes, by position; at options->batch only, if that is
   not 0. The smallest such batch size wins. */
bool mugraph_program_fit (const char *source, const mugraph_program_options *, int n_inputs, const mugraph_shape in[],
                          mugraph_program *out, mugraph_error *e);

/* A program graph as text of the language; what mugraph_program_parse made reads back to an equal graph. Owned by the
   caller (free); NULL for a graph with graph-defined kernels, or when memory runs out. */
char *mugraph_program_print (const mugraph *);

/* The entry of a list that is most like word (few edits), or NULL when none is: for "did you mean". next (user, i)
   returns the i-th entry, NULL after the last. */
const char *mugraph_most_like (const char *word, const char *next (const void *user, int i), const void *user);

#endif
