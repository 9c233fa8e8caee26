/* Saved µGraphs: one versioned JSON schema, "msearch.mugraph/1", read and written with cJSON.

   {"schema": "msearch.mugraph/1", "name": "rmsnorm", "stem": "rmsnorm", "batch": 1, "key": "0123456789abcdef",
    "program": GRAPH,                                    absent when no program is known (imported files)
    "mugraphs": [GRAPH with "cost_us", "structure", "measured": {device: {...}}, ...],    cheapest first
    "verify": {...}, "search": {...}}                    records, objects of scalars; absent when there are none

   GRAPH is what graph_json.h says. Unknown members are errors in graphs and kept as they are in records.

   Numbers round trip: a real is written with as many digits as it needs; non-finite ones as "inf", "-inf", "nan".
   Reading trusts nothing: types, ranges, sizes, names, indices, order, depth (see the limits) are checked, and
   mugraph_infer has passed every graph that is returned. Errors name file and place, as a JSON path
   (mugraphs[0].ops[3].in[1]) or line and column.                                                                   */
#ifndef MUGRAPH_SAVED_H
#define MUGRAPH_SAVED_H

#include "mugraph/mugraph.h"
#include <cjson/cJSON.h>

#define MUGRAPH_SCHEMA "msearch.mugraph/1"

enum {
  MUGRAPH_FILE_BYTES = 64 << 20, /* largest file that is read */
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

/* Reads a file of this schema. On failure out is empty and e names file and place. */
bool mugraph_file_load (const char *path, mugraph_file *out, mugraph_error *e);

/* Writes as mugraph_write_text does: all or nothing. */
bool mugraph_file_save (const char *path, const mugraph_file *, mugraph_error *e);

/* The same from and to memory. name stands for the file in errors. */
bool mugraph_file_parse (const char *name, const char *text, size_t size, mugraph_file *out, mugraph_error *e);
bool mugraph_file_from_json (const cJSON *, const char *name, mugraph_file *out, mugraph_error *e);
char *mugraph_file_print (const mugraph_file *); /* owned by the caller (free); NULL when memory runs out */

/* The record of the µGraph measured on a device: created when missing, NULL when memory runs out. Fill with cJSON_Add*.
 */
cJSON *mugraph_saved_measure (mugraph_saved *, const char *device);

/* A number or a truth value of a record, or the default when the record or the member is missing or of another type.
   Not-a-number and infinities written by mugraph_record_set read back. */
double mugraph_record_number (const cJSON *record, const char *member, double otherwise);
/* Adds or replaces a number. False when memory runs out. */
bool mugraph_record_set (cJSON *record, const char *member, double value);

#endif
