/* The built-in workloads, and programs by name: a workload or a file, and what the results of each are called. */
#include "mugraph/file/text.h"
#include "program.h"
#include "workloads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

const mugraph_workload mugraph_workloads[] = {
    {"gqa", NULL, "gqa"},   {"qknorm", "qknorm_gqa", "qknorm_gqa"}, {"rmsnorm", NULL, "rmsnorm"},
    {"lora", NULL, "lora"}, {"gatedmlp", "gated_mlp", "gated_mlp"}, {"ntrans", "norm_transformer", "norm_transformer"},
};
const int mugraph_n_workloads = sizeof mugraph_workloads / sizeof *mugraph_workloads;

const mugraph_workload *mugraph_workload_find (const char *name) {
  for (int i = 0; i < mugraph_n_workloads; i++) {
    const mugraph_workload *w = &mugraph_workloads[i];
    if (!strcmp (name, w->name) || (w->alias && !strcmp (name, w->alias))) return w;
  }
  return NULL;
}

const char *mugraph_workload_text (const mugraph_workload *w) {
  size_t len = strlen (w->name);
  for (int i = 0; i < mugraph_n_workload_files; i++) {
    const mugraph_workload_file *m = &mugraph_workload_files[i];
    if (!strncmp (m->name, w->name, len) && !strcmp (m->name + len, ".mg")) return m->text;
  }
  return "";
}

const char *mugraph_workload_title (const mugraph_workload *w, char *buffer, size_t size) {
  const char *text = mugraph_workload_text (w);
  text += strspn (text, "# ");
  snprintf (buffer, size, "%.*s", (int) strcspn (text, "\n"), text);
  return buffer;
}

static const char *next_workload (const void *user, int i) {
  (void) user;
  if (i < mugraph_n_workloads) return mugraph_workloads[i].name;
  if (i < 2 * mugraph_n_workloads)
    return mugraph_workloads[i - mugraph_n_workloads].alias ? mugraph_workloads[i - mugraph_n_workloads].alias : "";
  return NULL;
}

static bool unknown_workload (const char *name, mugraph_error *e) {
  char names[200] = "";
  size_t n = 0;
  for (int i = 0; i < mugraph_n_workloads; i++)
    n += (size_t) snprintf (names + n, sizeof names - n, "%s%s", i ? ", " : "", mugraph_workloads[i].name);
  const char *like = mugraph_most_like (name, next_workload, NULL);
  return mugraph_fail (e, "unknown workload '%.100s'%s%s%s (there are %s; --program FILE.mg takes your own)", name,
                       like ? "; did you mean '" : "", like ? like : "", like ? "'?" : "", names);
}

/* ---- opening: a workload or a file ---- */

/* Results of other shapes, and of programs that only have a workload's name, must not pass for the workload's. */
static void make_stem (mugraph_program *out, const char *stem, const mugraph_program_options *options, bool hash) {
  char text[512];
  int n = snprintf (text, sizeof text, "%s", stem);
  for (int i = 0; options && i < options->n_overrides; i++) {
    const mugraph_override *o = &options->override[i];
    n += snprintf (text + n, sizeof text - (size_t) n, "-%s_", o->name);
    for (int d = 0; d < o->n_dims; d++) n += snprintf (text + n, sizeof text - (size_t) n, d ? "x%d" : "%d", o->dim[d]);
    if ((hash |= n > 40)) break;
  }
  if (hash) {
    char *program = mugraph_program_print (&out->graph);
    uint64_t h = program ? XXH3_64bits (program, strlen (program)) : 0;
    snprintf (text + (n > 40 ? 40 : n), 20, "-%08x", (unsigned) h);
    free (program);
  }
  snprintf (out->stem, sizeof out->stem, "%.*s", (int) sizeof out->stem - 1, text);
}

bool mugraph_program_workload (const char *name, const mugraph_program_options *options, mugraph_program *out,
                               mugraph_error *e) {
  const mugraph_workload *w = mugraph_workload_find (name);
  if (!w) return unknown_workload (name, e);
  const char *text = mugraph_workload_text (w);
  char file[MUGRAPH_PROGRAM_NAME];
  snprintf (file, sizeof file, "%s.mg", w->name);
  if (!mugraph_program_parse (text, strlen (text), file, options, out, e)) return false;
  make_stem (out, w->stem, options, false);
  return true;
}

/* A file that is a workload under its own name counts as that workload. */
static bool name_file (mugraph_program *out, const mugraph_program_options *options) {
  const mugraph_workload *w = mugraph_workload_find (out->name);
  mugraph_program *builtin = w ? malloc (sizeof *builtin) : NULL;
  bool same = builtin && mugraph_program_workload (w->name, options, builtin, NULL) &&
              mugraph_equal (&builtin->graph, &out->graph);
  if (same) snprintf (out->stem, sizeof out->stem, "%s", builtin->stem);
  else make_stem (out, out->name, options, w != NULL);
  free (builtin);
  return true;
}

bool mugraph_program_load (const char *path, const mugraph_program_options *options, mugraph_program *out,
                           mugraph_error *e) {
  size_t len;
  char *text = mugraph_read_text (path, MUGRAPH_PROGRAM_BYTES, &len, e);
  bool ok = text && mugraph_program_parse (text, len, path, options, out, e) && name_file (out, options);
  free (text);
  return ok;
}

bool mugraph_program_open (const char *source, const mugraph_program_options *options, mugraph_program *out,
                           mugraph_error *e) {
  if (mugraph_workload_find (source)) return mugraph_program_workload (source, options, out, e);
  size_t len = strlen (source);
  bool file = strchr (source, '/') || (len > 3 && !strcmp (source + len - 3, ".mg"));
  return file ? mugraph_program_load (source, options, out, e) : unknown_workload (source, e);
}
