#include "store.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

/* ---- keys and paths ---- */

uint64_t store_key (const mugraph *program, const search_options *o) {
  char *text = NULL, *printed = mugraph_program_print (program);
  size_t size;
  uint64_t key = 0;
  FILE *out = printed ? open_memstream (&text, &size) : NULL;
  if (out) {
    fprintf (out, "%s\n%s", MUGRAPH_SCHEMA, printed);
#define OPTION(name, type, def, low, high, in_key, argument, help)                                                     \
  if (in_key) fprintf (out, "%s=%.17g\n", #name, (double) o->name);
#include "search/options.def"
#undef OPTION
    fclose (out);
    key = XXH3_64bits (text, size);
  }
  free (text);
  free (printed);
  return key ? key : 1;
}

static bool default_bounds (const search_options *o) {
  search_options d;
  search_options_default (&d);
#define OPTION(name, type, def, low, high, in_key, argument, help)                                                     \
  if (in_key && o->name != d.name) return false;
#include "search/options.def"
#undef OPTION
  return true;
}

void store_path (const mugraph_program *p, const search_options *o, char path[STORE_PATH]) {
  if (default_bounds (o)) snprintf (path, STORE_PATH, STORE_FOLDER "/%s_bs%d.json", p->stem, p->batch);
  else
    snprintf (path, STORE_PATH, STORE_FOLDER "/%s_bs%d-%08x.json", p->stem, p->batch,
              (unsigned) store_key (&p->graph, o));
}

void store_path_of_workload (const mugraph_workload *w, int batch, char path[STORE_PATH]) {
  snprintf (path, STORE_PATH, STORE_FOLDER "/%s_bs%d.json", w->stem, batch);
}

static int is_saved (const struct dirent *d) {
  size_t n = strlen (d->d_name);
  return d->d_name[0] != '.' && n > 5 && !strcmp (d->d_name + n - 5, ".json");
}

int store_files (char ***path) {
  struct dirent **entry = NULL;
  int n = scandir (STORE_FOLDER, &entry, is_saved, versionsort), kept = 0;
  *path = n > 0 ? calloc ((size_t) n, sizeof **path) : NULL;
  for (int i = 0; i < n; i++) {
    if (*path && asprintf (*path + kept, STORE_FOLDER "/%s", entry[i]->d_name) >= 0) kept++;
    free (entry[i]);
  }
  free (entry);
  return kept;
}

void store_files_free (int n, char **path) {
  for (int i = 0; i < n; i++) free (path[i]);
  free (path);
}

/* ---- writing ---- */

static const char *folder_of (const char *path, char folder[STORE_PATH]) {
  const char *slash = strrchr (path, '/');
  snprintf (folder, STORE_PATH, "%.*s", slash ? (int) (slash - path) + (slash == path) : 1, slash ? path : ".");
  return folder;
}

bool store_can_write (const char *path, mugraph_error *e) {
  struct stat st;
  char folder[STORE_PATH];
  folder_of (path, folder);
  if (!stat (path, &st)) {
    if (S_ISDIR (st.st_mode)) return mugraph_fail (e, "%s: is a directory, a file is needed", path);
    if (!S_ISREG (st.st_mode))
      return !access (path, W_OK) || mugraph_fail (e, "%s: cannot be written: %s", path, strerror (errno));
  }
  if (!strcmp (folder, STORE_FOLDER) && access (folder, F_OK)) return true;
  return !access (folder, W_OK | X_OK) || /* files are replaced, so the folder must be writable */
         mugraph_fail (e, "%s: cannot be written: %s: %s", path, folder, strerror (errno));
}

bool store_make_folder (const char *path, mugraph_error *e) {
  char folder[STORE_PATH];
  if (strcmp (folder_of (path, folder), STORE_FOLDER) || !mkdir (folder, 0777) || errno == EEXIST) return true;
  return mugraph_fail (e, "%s: cannot be made: %s", folder, strerror (errno));
}

/* ---- earlier results ---- */

/* Whether a search with these options would be allowed to go on where the recorded one stopped. */
static bool cut_short (const cJSON *r, const search_options *o) {
  double budget = mugraph_record_number (r, "budget", 0), memory = mugraph_record_number (r, "memory", 0);
  if (!r || mugraph_record_number (r, "finished", 1) != 0) return false;
  return mugraph_record_number (r, "interrupted", 0) != 0 || (budget > 0 && (!(o->budget > 0) || o->budget > budget)) ||
         (!(budget > 0) && o->memory > memory);
}

bool store_look_up (const char *path, uint64_t key, const mugraph *program, const search_options *o, mugraph_file *out,
                    mugraph_error *e) {
  mugraph_file_init (out);
  if (access (path, F_OK)) return mugraph_fail (e, "%s", "");
  if (!mugraph_file_load (path, out, e)) return false;
  if (out->key != key || !out->has_program || !mugraph_equal (&out->program, program))
    mugraph_fail (e, "it is for another program, other shapes or other bounds");
  else if (!out->n) mugraph_fail (e, "it holds no µGraph");
  else if (cut_short (out->search, o)) mugraph_fail (e, "its search was cut short");
  else return true;
  mugraph_file_free (out);
  return false;
}

bool store_has_better (const char *path, uint64_t key, double cost_us) {
  mugraph_file old;
  if (access (path, F_OK)) return false;
  bool better = mugraph_file_load (path, &old, NULL) && old.key == key && old.n && old.saved[0].cost_us >= 0 &&
                old.saved[0].cost_us <= cost_us;
  mugraph_file_free (&old);
  return better;
}

/* The µGraph among those found now, behind them when it is not; NULL without room. */
static mugraph_saved *found_again (mugraph_file *now, const mugraph_saved *m) {
  for (int k = 0; k < now->n; k++)
    if (mugraph_equal (&now->saved[k].graph, &m->graph)) return &now->saved[k];
  return mugraph_file_append (now, &m->graph, m->cost_us);
}

static void keep_times_of (const mugraph_saved *old, mugraph_file *now, const char *except) {
  for (const cJSON *d = old->measured ? old->measured->child : NULL; d; d = d->next) {
    mugraph_saved *m = except && !strcmp (d->string, except) ? NULL : found_again (now, old);
    if (!m || (!m->measured && !(m->measured = cJSON_CreateObject ()))) continue;
    cJSON_DeleteItemFromObjectCaseSensitive (m->measured, d->string);
    cJSON_AddItemToObject (m->measured, d->string, cJSON_Duplicate (d, true));
  }
}

void store_keep_times (const char *path, mugraph_file *now, const char *except) {
  mugraph_file old;
  if (access (path, F_OK) || !mugraph_file_load (path, &old, NULL)) return;
  for (int i = 0; i < old.n && old.key == now->key; i++) keep_times_of (&old.saved[i], now, except);
  mugraph_file_free (&old);
}

bool store_add (const char *path, mugraph_file *now, int *best, mugraph_error *e) {
  mugraph_file whole;
  if (!mugraph_file_load (path, &whole, e)) return false;
  mugraph_saved *added = &now->saved[*best], *m = mugraph_file_append (&whole, &added->graph, added->cost_us);
  if (!m) {
    mugraph_file_free (&whole);
    return mugraph_fail (e, "%s: holds too many µGraphs", path);
  }
  m->measured = added->measured;
  added->measured = NULL;
  mugraph_file_free (now);
  *now = whole;
  *best = whole.n - 1;
  return true;
}
