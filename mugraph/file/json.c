#include "json.h"
#include "text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- building ---- */

cJSON *mugraph_put (mugraph_writer *w, cJSON *to, const char *name, cJSON *item) {
  const bool ok = to && item && (name ? cJSON_AddItemToObject (to, name, item) : cJSON_AddItemToArray (to, item));
  if (ok) return item;
  cJSON_Delete (item);
  w->failed = true;
  return NULL;
}

void mugraph_put_int (mugraph_writer *w, cJSON *to, const char *name, int64_t x) {
  mugraph_put (w, to, name, cJSON_CreateNumber ((double) x));
}

void mugraph_put_real (mugraph_writer *w, cJSON *to, const char *name, double x) {
  mugraph_put (w, to, name,
               isnan (x)   ? cJSON_CreateString ("nan")
               : isinf (x) ? cJSON_CreateString (x > 0 ? "inf" : "-inf")
                           : cJSON_CreateNumber (x));
}

void mugraph_put_text (mugraph_writer *w, cJSON *to, const char *name, const char *text) {
  mugraph_put (w, to, name, cJSON_CreateString (text));
}

cJSON *mugraph_finish_json (const mugraph_writer *w, cJSON *root) {
  if (!w->failed) return root;
  cJSON_Delete (root);
  return NULL;
}

/* ---- printing ---- */

/* cJSON compares with a tolerance before it decides how many digits to print: give every real that is no small integer
   the text that reads back. The tree is for printing only afterwards. */
static bool fix_digits (cJSON *v) {
  if (cJSON_IsNumber (v) && v->valuedouble != (double) v->valueint && isfinite (v->valuedouble)) {
    char text[32];
    if (!(v->valuestring = strdup (mugraph_number_text (v->valuedouble, 15, text)))) return false;
    v->type = cJSON_Raw | (v->type & ~0xff);
  }
  for (cJSON *m = v->child; m; m = m->next)
    if (!fix_digits (m)) return false;
  return true;
}

/* Values that fit a line stand on one; others are broken at their members. */
static bool print_value (FILE *out, const cJSON *v, int indent, int used) {
  enum { WIDTH = 120 };
  char *line = cJSON_PrintUnformatted (v);
  if (!line) return false;
  const bool list = (cJSON_IsArray (v) || cJSON_IsObject (v)) && v->child;
  bool ok = true;
  if (!list || indent + used + (int) strlen (line) <= WIDTH) fputs (line, out);
  else {
    fputs (cJSON_IsArray (v) ? "[\n" : "{\n", out);
    for (const cJSON *m = v->child; ok && m; m = m->next) {
      int key_used = 1;
      fprintf (out, "%*s", indent + 2, "");
      if (cJSON_IsObject (v)) {
        cJSON key = {.type = cJSON_String | cJSON_IsReference, .valuestring = m->string};
        char *quoted = cJSON_PrintUnformatted (&key);
        if ((ok = quoted != NULL)) key_used += fprintf (out, "%s: ", quoted);
        free (quoted);
      }
      ok = ok && print_value (out, m, indent + 2, key_used);
      fputs (m->next ? ",\n" : "\n", out);
    }
    fprintf (out, "%*s%s", indent, "", cJSON_IsArray (v) ? "]" : "}");
  }
  free (line);
  return ok;
}

char *mugraph_print_json (cJSON *root) {
  char *text = NULL;
  size_t size;
  FILE *out = root && fix_digits (root) ? open_memstream (&text, &size) : NULL;
  bool ok = out && print_value (out, root, 0, 0) && fputc ('\n', out) != EOF;
  if (out && fclose (out)) ok = false;
  cJSON_Delete (root);
  if (ok) return text;
  free (text);
  return NULL;
}
