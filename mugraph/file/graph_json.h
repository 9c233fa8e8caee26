/* One graph to and from JSON.

   GRAPH is {"inputs": [{"name", "type", "dims"}], "ops": [OP], "outputs": [{"tensor", "name"}]}
   OP of the kernel graph: {"op": "matmul", "in": [0, 1], "out": [2], "dims": [[2, 6144]]}, its attributes ("dim",
   "width" and those of mugraph_reals, where op.def says that it has them), and "names" (of the outputs) graph-defined
   kernel: {"op": "graph", "in", "out", "dims", "grid": [x, y, z], "loop": 32, "sched": {...}, "block": [OP]} OP of the
   block graph: {"op": "input", "from": 0, "imap": [1, -1, -1], "fmap": 0, "tile": [128, 24]},
     {"op": "matmul", "in": [0, 1], "tile": [2, 24]}, {"op": "output", "in": [5], "omap": [1, -1, -1], "tile": [2, 24]}
   "dims" and "tile" are for readers: derived, may be left out, but must agree with what mugraph_infer finds. Unknown
   members are errors: a misspelt one would change the meaning.                                                      */
#ifndef MUGRAPH_GRAPH_JSON_H
#define MUGRAPH_GRAPH_JSON_H

#include "json.h"
#include "reader.h"

/* One graph as a tree of its own. where is the path that errors begin with ("" for none). to_json: owned by the caller,
   NULL when memory runs out. from_json leaves g undefined on failure. */
cJSON *mugraph_to_json (const mugraph *);
bool mugraph_from_json (const cJSON *, const char *where, mugraph *g, mugraph_error *e);

/* The same as members of an object that has others too: those are the caller's to write and to check. */
void mugraph_put_graph (mugraph_writer *, cJSON *to, const mugraph *);
bool mugraph_read_graph (const cJSON *, const mugraph_place *, mugraph *g, mugraph_error *e);

#endif
