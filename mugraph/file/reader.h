/* Checked reading of a cJSON tree that somebody else wrote: every step tests type and range, and failures name the
   place as a JSON path. Shared by the readers of our schema (graph_json.c, saved.c) and of Mirage's (mirage.c). */
#ifndef MUGRAPH_READER_H
#define MUGRAPH_READER_H

#include "mugraph/mugraph.h"
#include <cjson/cJSON.h>

enum {
  MUGRAPH_FILE_DEPTH = 32,   /* deepest nesting */
  MUGRAPH_FILE_MEMBERS = 512 /* members of one object */
};

/* A place in the tree: a chain on the stack from the value up to the root. The root's name is the file's; else name is
   a member's name, or NULL for element index of an array. */
typedef struct mugraph_place {
  const struct mugraph_place *up;
  const char *name;
  int index;
} mugraph_place;

/* e = "FILE: PATH: message"; returns false. */
bool mugraph_fail_at (const mugraph_place *, mugraph_error *e, const char *format, ...)
    __attribute__ ((format (printf, 3, 4)));

/* Parses size bytes; name is the file's in errors, which give line and column. Nesting is limited. Owned by the caller.
 */
cJSON *mugraph_parse_json (const char *name, const char *text, size_t size, mugraph_error *e);

/* The value must be an object all whose members are among names (NULL: any), each at most once, and few. names ends
 * with NULL. */
bool mugraph_read_object (const cJSON *, const mugraph_place *, const char *const names[], mugraph_error *e);
/* The value must be an array of low to high elements. */
bool mugraph_read_array (const cJSON *, const mugraph_place *, int low, int high, mugraph_error *e);
/* An integer within [low, high]. */
bool mugraph_read_int (const cJSON *, const mugraph_place *, int64_t low, int64_t high, int64_t *out, mugraph_error *e);
/* A number, or "inf", "-inf", "nan". */
bool mugraph_read_real (const cJSON *, const mugraph_place *, double *out, mugraph_error *e);
/* A text of less than size bytes without control characters, copied to out. */
bool mugraph_read_name (const cJSON *, const mugraph_place *, size_t size, char *out, mugraph_error *e);

/* The same for a member of an object; a missing one is an error. */
bool mugraph_int_member (const cJSON *, const mugraph_place *, const char *name, int64_t low, int64_t high,
                         int64_t *out, mugraph_error *e);
bool mugraph_real_member (const cJSON *, const mugraph_place *, const char *name, double *out, mugraph_error *e);
bool mugraph_name_member (const cJSON *, const mugraph_place *, const char *name, size_t size, char *out,
                          mugraph_error *e);
/* An array of low_n to high_n integers, each within [low, high]; its length in *n (may be NULL when low_n == high_n).
 */
bool mugraph_ints_member (const cJSON *, const mugraph_place *, const char *name, int low_n, int high_n, int64_t low,
                          int64_t high, int *n, int64_t out[], mugraph_error *e);

static inline const cJSON *mugraph_member (const cJSON *object, const char *name) {
  return cJSON_GetObjectItemCaseSensitive (object, name);
}

#endif
