#include "saved.h"
#include "graph_json.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mugraph_file_init (mugraph_file *f) { memset (f, 0, sizeof *f); }

void mugraph_file_free (mugraph_file *f) {
  for (int i = 0; i < f->n; i++) cJSON_Delete (f->saved[i].measured);
  free (f->saved);
  cJSON_Delete (f->verify);
  cJSON_Delete (f->search);
  mugraph_file_init (f);
}

mugraph_saved *mugraph_file_append (mugraph_file *f, const mugraph *g, double cost_us) {
  if (f->n >= MUGRAPH_FILE_GRAPHS) return NULL;
  if (!(f->n & (f->n - 1))) { /* a power of two, or none: full */
    mugraph_saved *more = realloc (f->saved, (f->n ? 2 * (size_t) f->n : 1) * sizeof *more);
    if (!more) return NULL;
    f->saved = more;
  }
  mugraph_saved *s = &f->saved[f->n++];
  s->graph = *g;
  s->structure = mugraph_hash (g, false);
  s->cost_us = cost_us;
  s->measured = NULL;
  return s;
}

/* ---- reading ---- */

static bool read_hex (const cJSON *o, const mugraph_place *at, const char *name, uint64_t *out, mugraph_error *e) {
  char text[17], *end;
  if (!mugraph_name_member (o, at, name, sizeof text, text, e)) return false;
  *out = strtoull (text, &end, 16);
  return (strlen (text) == 16 && strspn (text, "0123456789abcdef") == 16 && !*end) ||
         mugraph_fail_at (&(mugraph_place){at, name, 0}, e, "must be 16 hexadecimal digits, is \"%s\"", text);
}

/* A record: an object of scalars, of arrays of them, and (devices) of further records; nothing here has meaning to us,
   it only has to be sane. */
static bool read_record (const cJSON *o, const mugraph_place *at, cJSON **out, mugraph_error *e) {
  if (!mugraph_read_object (o, at, NULL, e)) return false;
  *out = cJSON_Duplicate (o, true);
  return *out || mugraph_fail_at (at, e, "out of memory");
}

static bool read_measured (const cJSON *o, const mugraph_place *at, mugraph_saved *s, mugraph_error *e) {
  if (!mugraph_read_object (o, at, NULL, e)) return false;
  for (const cJSON *m = o->child; m; m = m->next)
    if (!mugraph_read_object (m, &(mugraph_place){at, m->string, 0}, NULL, e)) return false;
  return read_record (o, at, &s->measured, e);
}

static bool read_saved (const cJSON *o, const mugraph_place *at, mugraph *scratch, mugraph_file *f, mugraph_error *e) {
  static const char *const members[] = {"inputs", "ops", "outputs", "cost_us", "structure", "measured", NULL};
  double cost = -1;
  uint64_t structure;
  if (!mugraph_read_object (o, at, members, e) || !mugraph_read_graph (o, at, scratch, e)) return false;
  if (mugraph_member (o, "cost_us") && !mugraph_real_member (o, at, "cost_us", &cost, e)) return false;
  if (mugraph_member (o, "structure") && !read_hex (o, at, "structure", &structure, e)) return false;
  mugraph_saved *s = mugraph_file_append (f, scratch, cost);
  if (!s) return mugraph_fail_at (at, e, "out of memory");
  const cJSON *measured = mugraph_member (o, "measured");
  return !measured || read_measured (measured, &(mugraph_place){at, "measured", 0}, s, e);
}

static bool read_file (const cJSON *root, const mugraph_place *at, mugraph *scratch, mugraph_file *f,
                       mugraph_error *e) {
  static const char *const members[] = {"schema",  "name",     "stem",   "batch",  "key",
                                        "program", "mugraphs", "verify", "search", NULL};
  char schema[64];
  int64_t batch = 0;
  if (!mugraph_read_object (root, at, NULL, e) || !mugraph_name_member (root, at, "schema", sizeof schema, schema, e))
    return false;
  if (strcmp (schema, MUGRAPH_SCHEMA))
    return mugraph_fail_at (&(mugraph_place){at, "schema", 0}, e, "\"%s\" is not known, must be \"%s\"", schema,
                            MUGRAPH_SCHEMA);
  if (!mugraph_read_object (root, at, members, e)) return false;
  if (mugraph_member (root, "name") && !mugraph_name_member (root, at, "name", sizeof f->name, f->name, e))
    return false;
  if (mugraph_member (root, "stem") && !mugraph_name_member (root, at, "stem", sizeof f->stem, f->stem, e))
    return false;
  if (mugraph_member (root, "batch") && !mugraph_int_member (root, at, "batch", 0, INT32_MAX, &batch, e)) return false;
  f->batch = (int) batch;
  if (mugraph_member (root, "key") && !read_hex (root, at, "key", &f->key, e)) return false;

  const cJSON *program = mugraph_member (root, "program"), *list = mugraph_member (root, "mugraphs");
  if (program) {
    static const char *const graph_members[] = {"inputs", "ops", "outputs", NULL};
    const mugraph_place program_at = {at, "program", 0};
    if (!mugraph_read_object (program, &program_at, graph_members, e) ||
        !mugraph_read_graph (program, &program_at, &f->program, e))
      return false;
    if (f->program.n_blocks) return mugraph_fail_at (&program_at, e, "a program has no graph-defined kernels");
    f->has_program = true;
  }
  const mugraph_place list_at = {at, "mugraphs", 0};
  if (!mugraph_read_array (list, &list_at, 0, MUGRAPH_FILE_GRAPHS, e)) return false;
  int i = 0;
  for (const cJSON *m = list->child; m; m = m->next, i++)
    if (!read_saved (m, &(mugraph_place){&list_at, NULL, i}, scratch, f, e)) return false;

  const cJSON *verify = mugraph_member (root, "verify"), *search = mugraph_member (root, "search");
  return (!verify || read_record (verify, &(mugraph_place){at, "verify", 0}, &f->verify, e)) &&
         (!search || read_record (search, &(mugraph_place){at, "search", 0}, &f->search, e));
}

bool mugraph_file_from_json (const cJSON *root, const char *name, mugraph_file *out, mugraph_error *e) {
  mugraph_file_init (out);
  mugraph *scratch = malloc (sizeof *scratch);
  const mugraph_place at = {NULL, name, 0};
  const bool ok = scratch ? read_file (root, &at, scratch, out, e) : mugraph_fail (e, "%s: out of memory", name);
  free (scratch);
  if (!ok) mugraph_file_free (out);
  return ok;
}

bool mugraph_file_parse (const char *name, const char *text, size_t size, mugraph_file *out, mugraph_error *e) {
  mugraph_file_init (out);
  cJSON *root = mugraph_parse_json (name, text, size, e);
  const bool ok = root && mugraph_file_from_json (root, name, out, e);
  cJSON_Delete (root);
  return ok;
}

bool mugraph_file_load (const char *path, mugraph_file *out, mugraph_error *e) {
  size_t size;
  mugraph_file_init (out);
  char *text = mugraph_read_text (path, MUGRAPH_FILE_BYTES, &size, e);
  const bool ok = text && mugraph_file_parse (path, text, size, out, e);
  free (text);
  return ok;
}

/* ---- writing ---- */

static void put_hex (mugraph_writer *w, cJSON *to, const char *name, uint64_t x) {
  char text[17];
  snprintf (text, sizeof text, "%016llx", (unsigned long long) x);
  mugraph_put_text (w, to, name, text);
}

static cJSON *file_to_json (const mugraph_file *f) {
  mugraph_writer w = {false};
  cJSON *root = cJSON_CreateObject ();
  mugraph_put_text (&w, root, "schema", MUGRAPH_SCHEMA);
  if (*f->name) mugraph_put_text (&w, root, "name", f->name);
  if (*f->stem) mugraph_put_text (&w, root, "stem", f->stem);
  if (f->batch) mugraph_put_int (&w, root, "batch", f->batch);
  if (f->key) put_hex (&w, root, "key", f->key);
  if (f->has_program) {
    cJSON *program = mugraph_put (&w, root, "program", cJSON_CreateObject ());
    mugraph_put_graph (&w, program, &f->program);
  }
  cJSON *list = mugraph_put (&w, root, "mugraphs", cJSON_CreateArray ());
  for (int i = 0; i < f->n; i++) {
    const mugraph_saved *s = &f->saved[i];
    cJSON *o = mugraph_put (&w, list, NULL, cJSON_CreateObject ());
    if (!(s->cost_us < 0)) mugraph_put_real (&w, o, "cost_us", s->cost_us);
    put_hex (&w, o, "structure", mugraph_hash (&s->graph, false));
    if (s->measured) mugraph_put (&w, o, "measured", cJSON_Duplicate (s->measured, true));
    mugraph_put_graph (&w, o, &s->graph);
  }
  if (f->verify) mugraph_put (&w, root, "verify", cJSON_Duplicate (f->verify, true));
  if (f->search) mugraph_put (&w, root, "search", cJSON_Duplicate (f->search, true));
  return mugraph_finish_json (&w, root);
}

char *mugraph_file_print (const mugraph_file *f) { return mugraph_print_json (file_to_json (f)); }

bool mugraph_file_save (const char *path, const mugraph_file *f, mugraph_error *e) {
  char *text = mugraph_file_print (f);
  if (!text) return mugraph_fail (e, "%s: cannot be written: out of memory", path);
  const bool ok = mugraph_write_text (path, text, strlen (text), e);
  free (text);
  return ok;
}

/* ---- records ---- */

cJSON *mugraph_saved_measure (mugraph_saved *s, const char *device) {
  if (!s->measured) s->measured = cJSON_CreateObject ();
  if (!s->measured) return NULL;
  cJSON *o = cJSON_GetObjectItemCaseSensitive (s->measured, device);
  return o ? o : cJSON_AddObjectToObject (s->measured, device);
}

double mugraph_record_number (const cJSON *record, const char *member, double otherwise) {
  const cJSON *v = mugraph_member (record, member);
  const mugraph_place at = {NULL, "record", 0};
  double x;
  if (cJSON_IsBool (v)) return cJSON_IsTrue (v);
  return v && mugraph_read_real (v, &at, &x, NULL) ? x : otherwise;
}

bool mugraph_record_set (cJSON *record, const char *member, double value) {
  mugraph_writer w = {false};
  cJSON_DeleteItemFromObjectCaseSensitive (record, member);
  mugraph_put_real (&w, record, member, value);
  return !w.failed;
}
