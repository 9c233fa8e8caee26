/* The file that a command is about, the program that its µGraphs should compute, and the order of its inputs. */
#include "cli.h"
#include "mugraph/file/load.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the file ---- */

/* The file that a command is about: a workload stands for the file that its search saved. */
bool cli_find_file (const cli *c, char path[STORE_PATH], mugraph_error *e) {
  const mugraph_workload *w = access (c->subject, F_OK) ? mugraph_workload_find (c->subject) : NULL;
  int b = c->batch ? c->batch : 1;
  mugraph_program_options none = {0};
  mugraph_program *p = NULL;
  if (w) {
    store_path_of_workload (w, b, path);
    return !access (path, F_OK) ||
           mugraph_fail (e, "%s: nothing is saved for %s at b = %d: search first, msearch %s -b %d", path, w->name, b,
                         w->name, b);
  }
  /* A word that is no file and looks like no path is a workload misspelt. */
  if (!strpbrk (c->subject, "/.") && access (c->subject, F_OK)) return mugraph_program_open (c->subject, &none, p, e);
  return snprintf (path, STORE_PATH, "%s", c->subject) < STORE_PATH ||
         mugraph_fail (e, "%.100s...: is too long a file name", c->subject);
}

/* Loads a file of either format and checks --index. */
bool cli_load_indexed (const cli *c, mugraph_file *f, mugraph_error *e) {
  char path[STORE_PATH];
  if (!cli_find_file (c, path, e) || !mugraph_file_load_any (path, f, e)) return false;
  if (c->index < f->n || (!f->n && !c->index)) return true;
  mugraph_fail (e, "%s: has %d µGraphs, no number %d", path, f->n, c->index);
  mugraph_file_free (f);
  return false;
}

/* ---- its program, and the inputs' order ---- */

/* "H, X, alpha": the names that program gives to a file's inputs. */
const char *cli_order_text (const mugraph *program, const int order[], const char *separator, char *text, size_t size) {
  size_t n = 0;
  for (int k = 0; k < program->n_inputs && n < size; k++)
    n += (size_t) snprintf (text + n, size - n, "%s%s", k ? separator : "", program->tensor[order[k]].name);
  return text;
}

/* --inputs=H,X,alpha: each of the program's inputs once, in the order of the file's. */
static bool read_order (const char *text, const mugraph *program, int order[], mugraph_error *e) {
  char names[600];
  bool seen[MUGRAPH_INPUTS] = {false};
  int n = 0;
  for (int t = 0; t < program->n_inputs; t++) order[t] = t;
  cli_order_text (program, order, ", ", names, sizeof names);
  for (const char *c = text;; c++) {
    size_t len = strcspn (c, ",");
    int t = 0;
    while (t < program->n_inputs &&
           (strlen (program->tensor[t].name) != len || strncmp (program->tensor[t].name, c, len)))
      t++;
    if (t == program->n_inputs)
      return mugraph_fail (e, "--inputs: the program has no input '%.*s' (it has %s)", (int) (len < 100 ? len : 100), c,
                           names);
    if (seen[t]) return mugraph_fail (e, "--inputs: '%s' is named twice", program->tensor[t].name);
    seen[t] = true;
    order[n++] = t;
    c += len;
    if (!*c) break;
  }
  return n == program->n_inputs ||
         mugraph_fail (e, "--inputs names %d inputs, the program has %d (%s)", n, program->n_inputs, names);
}

/* The workload that a file's name stands for: "dir/gated_mlp_bs8.json" is gatedmlp; NULL: none. */
const mugraph_workload *cli_named_after (const char *path) {
  const char *base = strrchr (path, '/') ? strrchr (path, '/') + 1 : path;
  char stem[64];
  size_t len = strcspn (base, ".");
  for (size_t i = 0; i < len; i++)
    if (!strncmp (base + i, "_bs", 3) && base[i + 3] >= '0' && base[i + 3] <= '9') len = i;
  if (len >= sizeof stem) return NULL;
  snprintf (stem, sizeof stem, "%.*s", (int) len, base);
  return mugraph_workload_find (stem);
}

/* The program at -b, else at some batch size at which it is valid: its inputs' names do not depend on it. */
static bool open_at_any (const cli *c, const char *source, mugraph_program *p, mugraph_error *e) {
  mugraph_program_options o = c->shape;
  if (mugraph_program_open (source, &o, p, e)) return true;
  for (o.batch = 2; !c->batch && o.batch <= 1024; o.batch *= 2)
    if (mugraph_program_open (source, &o, p, NULL)) return true;
  return false;
}

/* source at the batch size that fits the file's inputs: as they stand or as --inputs says; where their shapes fit in
   another order only, that is taken. order[k]: which input of the program the file's k-th is. */
static bool fit (const cli *c, const char *source, const mugraph *g, int order[], mugraph_program *p,
                 mugraph_error *e) {
  enum { FEW = 4 };
  mugraph_shape in[MUGRAPH_INPUTS];
  int n = g->n_inputs;
  if (c->inputs && (!open_at_any (c, source, p, e) || !read_order (c->inputs, &p->graph, order, e))) return false;
  if (c->inputs && p->graph.n_inputs != n)
    return mugraph_fail (e, "%s: has %d inputs, the file's graphs have %d", source, p->graph.n_inputs, n);
  for (int k = 0; k < n; k++) in[order[k]] = g->tensor[k].shape;
  if (mugraph_program_fit (source, &c->shape, n, in, p, e)) return true;
  if (c->inputs || n > FEW || !open_at_any (c, source, p, NULL)) return false;
  while (mugraph_next_order (n, order)) {
    for (int k = 0; k < n; k++) in[order[k]] = g->tensor[k].shape;
    if (!mugraph_program_fit (source, &c->shape, n, in, p, NULL)) continue;
    char names[600];
    if (cli_text (c))
      fprintf (cli_text (c), "inputs     taken as %s: so their shapes fit\n",
               cli_order_text (&p->graph, order, ", ", names, sizeof names));
    return true;
  }
  return false;
}

bool cli_file_program (const cli *c, const char *path, mugraph_file *f, mugraph_program *p, int order[],
                       mugraph_error *e) {
  const mugraph_workload *w = c->program || f->has_program ? NULL : cli_named_after (path);
  const char *source = c->program ? c->program : w ? w->name : NULL;
  for (int k = 0; k < MUGRAPH_INPUTS; k++) order[k] = k;
  if (source) {
    if (!fit (c, source, &f->saved[0].graph, order, p, e)) return false;
    if (w && cli_text (c))
      fprintf (cli_text (c), "%s: taken to be for %s, by its name (--program says otherwise)\n", path, w->name);
  } else {
    if (!f->has_program)
      return mugraph_fail (
          e, "%s: does not say which program its µGraphs are for: --program=WORKLOAD or --program=FILE.mg", path);
    if (c->shape.n_overrides)
      return mugraph_fail (e, "--shape needs --program: the shapes of a file's own program are fixed");
    if (c->batch && f->batch && c->batch != f->batch)
      return mugraph_fail (e, "%s: is for b = %d, not for -b %d", path, f->batch, c->batch);
    memset (p, 0, sizeof *p);
    p->graph = f->program;
    snprintf (p->name, sizeof p->name, "%.*s", (int) sizeof p->name - 1, *f->name ? f->name : path);
    snprintf (p->stem, sizeof p->stem, "%s", f->stem);
    p->batch = f->batch ? f->batch : 1;
    if (c->inputs && !read_order (c->inputs, &p->graph, order, e)) return false;
  }
  if (!session_can_verify (p, e)) return false;
  for (int i = 0; i < f->n; i++)
    if (f->saved[i].graph.n_inputs == p->graph.n_inputs) mugraph_reorder_inputs (&f->saved[i].graph, order);
  return true;
}
