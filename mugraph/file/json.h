/* Saved µGraphs: one versioned JSON schema, "msearch.mugraph/1", read and written with cJSON.

   {"schema": "msearch.mugraph/1", "name": "rmsnorm", "stem": "rmsnorm", "batch": 1, "key": "0123456789abcdef",
    "program": GRAPH,                                    absent when no program is known (imported files)
    "mugraphs": [GRAPH with "cost_us", "structure", "measured": {device: {...}}, ...],    cheapest first
    "verify": {...}, "search": {...}}                    records, objects of scalars; absent when there are none

   GRAPH is {"inputs": [{"name", "type", "dims"}], "ops": [OP], "outputs": [{"tensor", "name"}]}
   OP of the kernel graph: {"op": "matmul", "in": [0, 1], "out": [2], "dims": [[2, 6144]]} and, where they mean
     something, "dim", "width", "value", "epsilon", "low", "high", "names" (of the outputs)
   graph-defined kernel: {"op": "graph", "in", "out", "dims", "grid": [x, y, z], "loop": 32, "sched": {...}, "block":
   [OP]} OP of the block graph: {"op": "input", "from": 0, "imap": [1, -1, -1], "fmap": 0, "tile": [128, 24]},
     {"op": "matmul", "in": [0, 1], "tile": [2, 24]}, {"op": "output", "in": [5], "omap": [1, -1, -1], "tile": [2, 24]}
   "dims" and "tile" are for readers: derived, may be left out, but must agree with what mugraph_infer finds. Unknown
   members are errors in graphs (a misspelt one would change the meaning) and kept as they are in records.

   Numbers round trip: a real is written with as many digits as it needs; non-finite ones as "inf", "-inf", "nan".
   Reading trusts nothing: types, ranges, sizes, names, indices, order, depth (see the limits) are checked, and
   mugraph_infer has passed every graph that is returned. Errors name file and place, as a JSON path
   (mugraphs[0].ops[3].in[1]) or line and column.                                                                   */
#ifndef MUGRAPH_JSON_H
#define MUGRAPH_JSON_H

#include "mugraph/mugraph.h"
#include <cjson/cJSON.h>

#define MUGRAPH_SCHEMA "msearch.mugraph/1"

enum {
  MUGRAPH_FILE_BYTES = 64 << 20, /* largest file that is read */
  MUGRAPH_FILE_DEPTH = 32,       /* deepest nesting */
  MUGRAPH_FILE_MEMBERS = 512,    /* members of one object */
  MUGRAPH_FILE_GRAPHS = 4096,    /* µGraphs of one file */
  MUGRAPH_FILE_NAME = 64
};

/* One µGraph of a file. */
typedef struct {
  mugraph graph;
  uint64_t structure; /* mugraph_hash without extents; computed on reading and writing, whatever is set here */
  double cost_us;     /* the model's, microseconds; negative: unknown */
  cJSON *measured;    /* owned, NULL or an object: device name -> object of scalars, e.g. {"correct": true,
                         "rel_err": 3e-4, "warm_us": 17.2, "cold_us": 18.9, "date": "2026-11-21"} */
} mugraph_saved;

typedef struct {
  char name[MUGRAPH_FILE_NAME]; /* workload or program file; may be empty */
  char stem[MUGRAPH_FILE_NAME]; /* of the file's name; may be empty */
  int batch;                    /* 0: unknown */
  uint64_t key;                 /* cache key; 0: none */
  bool has_program;
  mugraph program;
  int n;                  /* µGraphs */
  mugraph_saved *saved;   /* owned, n of them */
  cJSON *verify, *search; /* owned, NULL or an object */
} mugraph_file;

/* An empty file: no program, no µGraphs, no records. Every mugraph_file starts here, or from a load. */
void mugraph_file_init (mugraph_file *);
void mugraph_file_free (mugraph_file *); /* leaves an empty file */

/* Appends a copy of a µGraph; returns its record (valid until the next append), or NULL when the file is full or memory
   runs out. */
mugraph_saved *mugraph_file_append (mugraph_file *, const mugraph *, double cost_us);

/* Reads a file of our schema, or (load_any) of either format: an array at the top is Mirage's (mirage.h). On failure
   out is empty and e names file and place. */
bool mugraph_file_load (const char *path, mugraph_file *out, mugraph_error *e);
bool mugraph_file_load_any (const char *path, mugraph_file *out, mugraph_error *e);

/* Writes a temporary file of a unique name in the same folder, syncs it and renames it over path: readers see the old
   file or the new one, also after a kill, and of two writers the last one wins. Missing folders are an error. The
   temporary file is removed on failure; those that killed writers left are removed by the next save into the folder. */
bool mugraph_file_save (const char *path, const mugraph_file *, mugraph_error *e);

/* The same from and to memory. name stands for the file in errors. */
bool mugraph_file_parse (const char *name, const char *text, size_t size, mugraph_file *out, mugraph_error *e);
char *mugraph_file_print (const mugraph_file *); /* owned by the caller (free); NULL when memory runs out */

/* One graph. where is the path that errors begin with ("" for none). to_json: owned by the caller, NULL when memory
   runs out. from_json leaves g undefined on failure. */
cJSON *mugraph_to_json (const mugraph *);
bool mugraph_from_json (const cJSON *, const char *where, mugraph *g, mugraph_error *e);

/* The record of the µGraph measured on a device: created when missing, NULL when memory runs out. Fill with cJSON_Add*.
 */
cJSON *mugraph_saved_measure (mugraph_saved *, const char *device);

/* A number or a truth value of a record, or the default when the record or the member is missing or of another type.
   Not-a-number and infinities written by mugraph_record_set read back. */
double mugraph_record_number (const cJSON *record, const char *member, double otherwise);
/* Adds or replaces a number. False when memory runs out. */
bool mugraph_record_set (cJSON *record, const char *member, double value);

/* Reads a whole regular file of at most limit bytes, NUL-terminated; owned by the caller. NULL with the reason. */
char *mugraph_read_text (const char *path, size_t limit, size_t *size, mugraph_error *e);
/* First byte that is not part of well-formed UTF-8 (no overlong forms, no surrogates), or len. */
size_t mugraph_check_utf8 (const char *text, size_t len);
/* Writes text to path as mugraph_file_save does; through a link, to what it names; to a device or a FIFO, straight. */
bool mugraph_write_text (const char *path, const char *text, size_t size, mugraph_error *e);

#endif
