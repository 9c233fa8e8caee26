#include "reader.h"
#include "text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Appends the path of a place, root first. Recursion is as deep as the tree, which is limited. */
static size_t write_place (const mugraph_place *p, char *out, size_t size) {
  size_t n = 0;
  if (p->up) n = write_place (p->up, out, size);
  if (n >= size) return n;
  if (!p->up) return n + (size_t) snprintf (out + n, size - n, "%s: ", p->name);
  if (!p->name) return n + (size_t) snprintf (out + n, size - n, "[%d]", p->index);
  return n + (size_t) snprintf (out + n, size - n, "%s%s", p->up->up ? "." : "", p->name);
}

/* What strangers wrote may hold control characters; a message is one line. */
static void clean (char *text) {
  for (; *text; text++)
    if ((unsigned char) *text < 32 || *text == 127) *text = '?';
}

bool mugraph_fail_at (const mugraph_place *p, mugraph_error *e, const char *format, ...) {
  char path[256] = "", message[256];
  write_place (p, path, sizeof path);
  va_list list;
  va_start (list, format);
  vsnprintf (message, sizeof message, format, list);
  va_end (list);
  clean (path);
  clean (message);
  return mugraph_fail (e, "%s%s%s", path, p->up ? ": " : "", message);
}

/* cJSON recurses: nesting is measured before it sees the text. Returns the offset of the first bracket that is too
   deep, or -1. */
static long too_deep (const char *text, size_t size) {
  bool quoted = false;
  int depth = 0;
  for (size_t i = 0; i < size; i++) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') i++;
      else if (c == '"') quoted = false;
    } else if (c == '"') quoted = true;
    else if ((c == '[' || c == '{') && ++depth > MUGRAPH_FILE_DEPTH) return (long) i;
    else if ((c == ']' || c == '}') && depth) depth--;
  }
  return -1;
}

static bool fail_text (const char *name, const char *text, size_t offset, const char *what, mugraph_error *e) {
  size_t line = 1, column = 1;
  for (size_t i = 0; i < offset; i++) {
    if (text[i] == '\n') line++, column = 1;
    else column++;
  }
  return mugraph_fail (e, "%s:%zu:%zu: %s", name, line, column, what);
}

cJSON *mugraph_parse_json (const char *name, const char *text, size_t size, mugraph_error *e) {
  const long deep = too_deep (text, size);
  if (deep >= 0) {
    fail_text (name, text, (size_t) deep, "nested too deeply", e);
    return NULL;
  }
  const size_t bad = mugraph_check_utf8 (text, size);
  const char *nul = memchr (text, 0, size);
  if (bad < size || nul) {
    fail_text (name, text, bad < size ? bad : (size_t) (nul - text),
               bad < size ? "not JSON: the byte is not UTF-8 text" : "not JSON: a NUL byte", e);
    return NULL;
  }
  const char *end = NULL;
  cJSON *root = cJSON_ParseWithLengthOpts (text, size, &end, false);
  size_t at = end ? (size_t) (end - text) : 0;
  if (at > size) at = size;
  if (!root) {
    const bool short_text = at + 1 >= size;
    fail_text (name, text, at, short_text ? "not JSON: the text ends too early" : "not JSON: syntax error", e);
    return NULL;
  }
  while (at < size && strchr (" \t\r\n", text[at]) && text[at]) at++;
  if (at < size) {
    fail_text (name, text, at, "not JSON: more text after the end", e);
    cJSON_Delete (root);
    return NULL;
  }
  return root;
}

static const char *type_of (const cJSON *v) {
  if (!v) return "nothing";
  if (cJSON_IsBool (v)) return "a truth value";
  if (cJSON_IsNumber (v)) return "a number";
  if (cJSON_IsString (v)) return "a text";
  if (cJSON_IsArray (v)) return "an array";
  if (cJSON_IsObject (v)) return "an object";
  return "null";
}

static bool expect (bool ok, const cJSON *v, const mugraph_place *at, const char *what, mugraph_error *e) {
  return ok || mugraph_fail_at (at, e, v ? "must be %s, is %s" : "%s is missing", what, type_of (v));
}

bool mugraph_read_object (const cJSON *v, const mugraph_place *at, const char *const names[], mugraph_error *e) {
  if (!expect (cJSON_IsObject (v), v, at, "an object", e)) return false;
  int n = 0;
  for (const cJSON *m = v->child; m; m = m->next) {
    int i = 0;
    if (++n > MUGRAPH_FILE_MEMBERS) return mugraph_fail_at (at, e, "more than %d members", MUGRAPH_FILE_MEMBERS);
    while (names && names[i] && strcmp (names[i], m->string)) i++;
    if (names && !names[i]) return mugraph_fail_at (at, e, "unknown member \"%.64s\"", m->string);
    if (mugraph_member (v, m->string) != m) return mugraph_fail_at (at, e, "member \"%s\" occurs twice", m->string);
  }
  return true;
}

bool mugraph_read_array (const cJSON *v, const mugraph_place *at, int low, int high, mugraph_error *e) {
  if (!expect (cJSON_IsArray (v), v, at, "an array", e)) return false;
  int n = 0;
  for (const cJSON *m = v->child; m && n <= high; m = m->next) n++;
  if (n > high) return mugraph_fail_at (at, e, "more than %d elements", high);
  return n >= low || mugraph_fail_at (at, e, "%d elements, at least %d are needed", n, low);
}

bool mugraph_read_int (const cJSON *v, const mugraph_place *at, int64_t low, int64_t high, int64_t *out,
                       mugraph_error *e) {
  if (!expect (cJSON_IsNumber (v), v, at, "an integer", e)) return false;
  const double x = v->valuedouble;
  if (!(fabs (x) <= 9007199254740992.0) || x != floor (x)) return mugraph_fail_at (at, e, "%.17g is no integer", x);
  if ((int64_t) x < low || (int64_t) x > high)
    return mugraph_fail_at (at, e, "%.0f is out of range, must be within %lld .. %lld", x, (long long) low,
                            (long long) high);
  *out = (int64_t) x;
  return true;
}

bool mugraph_read_real (const cJSON *v, const mugraph_place *at, double *out, mugraph_error *e) {
  if (cJSON_IsString (v)) {
    static const struct {
      const char *text;
      double value;
    } special[] = {{"inf", INFINITY}, {"-inf", -INFINITY}, {"nan", NAN}};
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
      if (!strcmp (v->valuestring, special[i].text)) return *out = special[i].value, true;
  }
  if (!expect (cJSON_IsNumber (v), v, at, "a number", e)) return false;
  if (!isfinite (v->valuedouble)) return mugraph_fail_at (at, e, "too large for a double");
  *out = v->valuedouble;
  return true;
}

bool mugraph_read_name (const cJSON *v, const mugraph_place *at, size_t size, char *out, mugraph_error *e) {
  if (!expect (cJSON_IsString (v), v, at, "a text", e)) return false;
  const size_t n = strlen (v->valuestring);
  if (n >= size) return mugraph_fail_at (at, e, "%zu bytes are too long, at most %zu", n, size - 1);
  for (size_t i = 0; i < n; i++)
    if ((unsigned char) v->valuestring[i] < 32 || v->valuestring[i] == 127)
      return mugraph_fail_at (at, e, "has a control character");
  memcpy (out, v->valuestring, n + 1);
  return true;
}

bool mugraph_int_member (const cJSON *o, const mugraph_place *at, const char *name, int64_t low, int64_t high,
                         int64_t *out, mugraph_error *e) {
  return mugraph_read_int (mugraph_member (o, name), &(mugraph_place){at, name, 0}, low, high, out, e);
}

bool mugraph_real_member (const cJSON *o, const mugraph_place *at, const char *name, double *out, mugraph_error *e) {
  return mugraph_read_real (mugraph_member (o, name), &(mugraph_place){at, name, 0}, out, e);
}

bool mugraph_name_member (const cJSON *o, const mugraph_place *at, const char *name, size_t size, char *out,
                          mugraph_error *e) {
  return mugraph_read_name (mugraph_member (o, name), &(mugraph_place){at, name, 0}, size, out, e);
}

bool mugraph_ints_member (const cJSON *o, const mugraph_place *up, const char *name, int low_n, int high_n, int64_t low,
                          int64_t high, int *n, int64_t out[], mugraph_error *e) {
  const cJSON *v = mugraph_member (o, name);
  const mugraph_place at = {up, name, 0};
  if (!mugraph_read_array (v, &at, low_n, high_n, e)) return false;
  int i = 0;
  for (const cJSON *m = v->child; m; m = m->next, i++)
    if (!mugraph_read_int (m, &(mugraph_place){&at, NULL, i}, low, high, &out[i], e)) return false;
  if (n) *n = i;
  return true;
}
