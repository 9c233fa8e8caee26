/* msearch list: the workloads, and what is saved. */
#include "cli.h"
#include "mugraph/file/load.h"

#include <stdlib.h>
#include <string.h>

/* One workload's lines and record. False only for errors; --shape may be one that this workload does not have. */
static bool list_workload (const cli *c, FILE *out, const mugraph_workload *w, mugraph_program *p, cJSON *list,
                           mugraph_error *e) {
  char title[200], line[512];
  mugraph_program_options o = {.batch = c->batch};
  for (int k = 0; k < c->shape.n_overrides; k++) o.override[o.n_overrides++] = c->shape.override[k];
  if (!mugraph_program_workload (w->name, &o, p, o.n_overrides ? NULL : e)) return o.n_overrides;
  mugraph_workload_title (w, title, sizeof title);
  cli_signature (&p->graph, line, sizeof line);
  if (out) fprintf (out, "%-10s %s\n%-10s b = %d: %s\n", w->name, title, "", p->batch, line);
  if (out && w->alias) fprintf (out, "%-10s also called %s\n", "", w->alias);
  cJSON *item = cJSON_CreateObject ();
  cJSON_AddStringToObject (item, "name", w->name);
  cJSON_AddStringToObject (item, "title", title);
  cJSON_AddStringToObject (item, "stem", w->stem);
  cJSON_AddItemToArray (list, item);
  return true;
}

/* One saved file's line and record; what cannot be read has a line only. */
static void list_file (FILE *out, const char *path, cJSON *list) {
  const char *name = path + strlen (STORE_FOLDER) + 1;
  char line[512];
  mugraph_file f;
  mugraph_error why;
  if (!mugraph_file_load_any (path, &f, &why)) {
    if (out) fprintf (out, "  %-28s not readable: %s\n", name, why.text);
    return;
  }
  const cJSON *best = measured_best (&f);
  if (out && best) fprintf (out, "  %-28s %4d µGraphs, %s\n", name, f.n, cli_measured (best, line, sizeof line));
  else if (out && f.n && f.saved[0].cost_us >= 0)
    fprintf (out, "  %-28s %4d µGraphs, %8.2f us by the cost model\n", name, f.n, f.saved[0].cost_us);
  else if (out) fprintf (out, "  %-28s %4d µGraphs\n", name, f.n);
  cJSON *item = cJSON_CreateObject ();
  cJSON_AddStringToObject (item, "file", path);
  cJSON_AddStringToObject (item, "name", f.name);
  cJSON_AddNumberToObject (item, "batch", f.batch);
  cJSON_AddNumberToObject (item, "mugraphs", f.n);
  cJSON_AddItemToArray (list, item);
  mugraph_file_free (&f);
}

int cli_list (const cli *c, mugraph_error *e) {
  FILE *out = cli_text (c);
  cJSON *root = cJSON_CreateObject (), *workloads, *saved;
  char **path;
  cJSON_AddStringToObject (root, "schema", "msearch.list/1");
  workloads = cJSON_AddArrayToObject (root, "workloads");
  saved = cJSON_AddArrayToObject (root, "saved");
  mugraph_program *p = malloc (sizeof *p);
  for (int i = 0; p && i < mugraph_n_workloads; i++)
    if (!list_workload (c, out, &mugraph_workloads[i], p, workloads, e)) break;
  int n = store_files (&path);
  if (out && n > 0) fprintf (out, "\nin " STORE_FOLDER "/:\n");
  for (int i = 0; i < n; i++) list_file (out, path[i], saved);
  store_files_free (n, path);
  free (p);
  return cli_write_json (c, root, e) ? CLI_DONE : CLI_BAD;
}
