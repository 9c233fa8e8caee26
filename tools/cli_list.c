/* msearch list: the workloads, and what is saved. */
#include "cli.h"
#include "mugraph/file/load.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

static int is_saved (const struct dirent *d) {
  size_t n = strlen (d->d_name);
  return d->d_name[0] != '.' && n > 5 && !strcmp (d->d_name + n - 5, ".json");
}

int cli_list (const cli *c, mugraph_error *e) {
  FILE *out = cli_text (c);
  cJSON *root = cJSON_CreateObject (), *workloads, *saved;
  struct dirent **entry = NULL;
  char title[200], line[512];
  cJSON_AddStringToObject (root, "schema", "msearch.list/1");
  workloads = cJSON_AddArrayToObject (root, "workloads");
  saved = cJSON_AddArrayToObject (root, "saved");
  mugraph_program *p = malloc (sizeof *p);
  for (int i = 0; p && i < mugraph_n_workloads; i++) {
    const mugraph_workload *w = &mugraph_workloads[i];
    mugraph_program_options o = {.batch = c->batch}; /* of --shape only what this workload has */
    for (int k = 0; k < c->shape.n_overrides; k++) o.override[o.n_overrides++] = c->shape.override[k];
    if (!mugraph_program_workload (w->name, &o, p, o.n_overrides ? NULL : e)) {
      if (!o.n_overrides) break;
      continue;
    }
    mugraph_workload_title (w, title, sizeof title);
    cli_signature (&p->graph, line, sizeof line);
    if (out) fprintf (out, "%-10s %s\n%-10s b = %d: %s\n", w->name, title, "", p->batch, line);
    if (out && w->alias) fprintf (out, "%-10s also called %s\n", "", w->alias);
    cJSON *item = cJSON_CreateObject ();
    cJSON_AddStringToObject (item, "name", w->name);
    cJSON_AddStringToObject (item, "title", title);
    cJSON_AddStringToObject (item, "stem", w->stem);
    cJSON_AddItemToArray (workloads, item);
  }
  int n = scandir (STORE_FOLDER, &entry, is_saved, versionsort);
  if (out && n > 0) fprintf (out, "\nin " STORE_FOLDER "/:\n");
  for (int i = 0; i < n; i++) {
    char path[600];
    mugraph_file f;
    mugraph_error why;
    snprintf (path, sizeof path, STORE_FOLDER "/%s", entry[i]->d_name);
    bool ok = mugraph_file_load_any (path, &f, &why);
    const cJSON *best = ok ? measured_best (&f) : NULL;
    if (out && !ok) fprintf (out, "  %-28s not readable: %s\n", entry[i]->d_name, why.text);
    else if (out && best)
      fprintf (out, "  %-28s %4d µGraphs, %s\n", entry[i]->d_name, f.n, cli_measured (best, line, sizeof line));
    else if (out && f.n && f.saved[0].cost_us >= 0)
      fprintf (out, "  %-28s %4d µGraphs, %8.2f us by the cost model\n", entry[i]->d_name, f.n, f.saved[0].cost_us);
    else if (out) fprintf (out, "  %-28s %4d µGraphs\n", entry[i]->d_name, f.n);
    if (ok) {
      cJSON *item = cJSON_CreateObject ();
      cJSON_AddStringToObject (item, "file", path);
      cJSON_AddStringToObject (item, "name", f.name);
      cJSON_AddNumberToObject (item, "batch", f.batch);
      cJSON_AddNumberToObject (item, "mugraphs", f.n);
      cJSON_AddItemToArray (saved, item);
      mugraph_file_free (&f);
    }
    free (entry[i]);
  }
  free (entry);
  free (p);
  return cli_write_json (c, root, e) ? CLI_DONE : CLI_BAD;
}
