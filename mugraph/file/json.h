/* Building and printing cJSON trees: one sticky flag instead of a check at each member, and numbers that read back. */
#ifndef MUGRAPH_JSON_H
#define MUGRAPH_JSON_H

#include "mugraph/mugraph.h"
#include <cjson/cJSON.h>

/* Every mugraph_put_ goes through one of these. failed: memory ran out, the tree lacks something. */
typedef struct {
  bool failed;
} mugraph_writer;

/* Adds item, which becomes to's own, as member `name` of an object or (name NULL) as the last element of an array.
   Returns it; NULL when it could not be added, and then it is freed. */
cJSON *mugraph_put (mugraph_writer *, cJSON *to, const char *name, cJSON *item);
void mugraph_put_int (mugraph_writer *, cJSON *to, const char *name, int64_t x);
/* Non-finite numbers become "inf", "-inf", "nan". */
void mugraph_put_real (mugraph_writer *, cJSON *to, const char *name, double x);
void mugraph_put_text (mugraph_writer *, cJSON *to, const char *name, const char *text);

/* The finished tree; NULL, and all of it freed, when something failed. */
cJSON *mugraph_finish_json (const mugraph_writer *, cJSON *root);

/* The tree as text, ended by a newline: values that fit a line stand on one, others are broken at their members; reals
   have as many digits as they need. Takes the tree. Owned by the caller (free); NULL when memory runs out. */
char *mugraph_print_json (cJSON *root);

#endif
