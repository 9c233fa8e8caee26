/* µGraphs for people: indented text, one line, and a picture (Graphviz). Deterministic: equal graphs print equally. */
#ifndef MUGRAPH_PRINT_H
#define MUGRAPH_PRINT_H

#include "mugraph.h"
#include <stdio.h>

/* "f16 [2, 4096]" (dtype: with the type). Returns out. */
char *mugraph_shape_text (const mugraph_shape *, bool dtype, char *out, size_t size);

/* The name of a kernel tensor: its own, else that of the program output it is, else t<number>. Returns out. */
char *mugraph_tensor_name (const mugraph *, int tensor, char out[MUGRAPH_NAME]);

/* True when block operator i is elementwise, has one reader, and that reader is elementwise over the same tile in the
   same part of the loop: both belong to one thread graph, so its value never leaves the registers. */
bool mugraph_block_fuses (const mugraph_block *, int i);

/* The whole graph, every line indented: kernel operators, and in graph-defined kernels grid, loop, schedule, maps,
   tiles, and thread graphs as one expression a chain. generator: as in mugraph_sched_text. */
void mugraph_print (FILE *, const mugraph *, mugraph_name_of *generator, int indent);

/* One line: "graph 128x1x1 loop 64 (2 matmul, 2 accum, silu); mul". Returns out, cut off when it does not fit. */
char *mugraph_summary (const mugraph *, char *out, size_t size);

/* A Graphviz digraph: a cluster for each block graph, in it a dotted one for each thread graph. */
void mugraph_print_dot (FILE *, const mugraph *, const char *title);

/* One operator of a block graph in a line without shapes: "%7 = div (%5, %6)", "%2 = K, imap x:0, fmap 2",
   "O = %8, omap y:1". kernel: the operator of g that holds the block. Returns out. */
char *mugraph_block_op_text (const mugraph *g, const mugraph_op *kernel, int i, char *out, size_t size);

#endif
