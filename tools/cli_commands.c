/* list, show, verify, emit, import; and what all commands share. */
#include "cli.h"

#include "cuda_templates/runtime/nvrtc.h"
#include "mugraph/print.h"
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

FILE *cli_text (const cli *c) {
  bool taken = (c->json && !strcmp (c->json, "-")) || (c->out && !strcmp (c->out, "-"));
  return c->quiet ? NULL : taken ? stderr : stdout;
}

bool cli_write (const char *path, const char *text, size_t size, mugraph_error *e) {
  if (path && strcmp (path, "-")) return mugraph_write_text (path, text, size, e);
  return (fwrite (text, 1, size, stdout) == size && !fflush (stdout)) || mugraph_fail (e, "stdout cannot be written");
}

static bool check_output (const char *path, mugraph_error *e) {
  struct stat st;
  char folder[4096];
  const char *slash = path ? strrchr (path, '/') : NULL;
  if (!path || !strcmp (path, "-")) return true;
  snprintf (folder, sizeof folder, "%.*s", slash ? (int) (slash - path) + (slash == path) : 1, slash ? path : ".");
  if (!stat (path, &st)) {
    if (S_ISDIR (st.st_mode)) return mugraph_fail (e, "%s: is a directory, a file is needed", path);
    if (!S_ISREG (st.st_mode))
      return !access (path, W_OK) || mugraph_fail (e, "%s: cannot be written: %s", path, strerror (errno));
  }
  /* Files are replaced, so the folder must be writable. --out may be in one that a search makes. */
  if (!strcmp (folder, CLI_FOLDER) && access (folder, F_OK)) return true;
  return !access (folder, W_OK | X_OK) ||
         mugraph_fail (e, "%s: cannot be written: %s: %s", path, folder, strerror (errno));
}

bool cli_check_outputs (const cli *c, mugraph_error *e) {
  return check_output (c->out, e) && check_output (c->json, e);
}

bool cli_write_json (const cli *c, cJSON *o, mugraph_error *e) {
  char *text = c->json && o ? cJSON_PrintUnformatted (o) : NULL;
  cJSON_Delete (o);
  if (!c->json) return true;
  if (!text) return mugraph_fail (e, "--json %s: out of memory", c->json);
  size_t n = strlen (text);
  text[n] = '\n'; /* in place of the final 0 */
  bool ok = cli_write (c->json, text, n + 1, e);
  free (text);
  return ok;
}

void cli_probe (const cli *c, cuda_facts *f) {
  cuda_probe (f);
  if (!c->no_gpu || !f->gpu) return;
  f->gpu = false;
  snprintf (f->line, sizeof f->line,
            f->nvrtc ? "compiles (NVRTC %d.%d); its GPU is left alone (--no-gpu)"
                     : "writes CUDA source; its GPU is left alone (--no-gpu)",
            f->nvrtc_version / 1000, f->nvrtc_version % 1000 / 10);
}

bool cli_device (const cli *c, const cuda_facts *f, cuda_device *out, mugraph_error *e) {
  const cuda_device *d = NULL;
  bool here = f && f->gpu;
  int arch = c->arch ? c->arch : here ? f->arch : 90;
  for (int i = 0; c->device && i < cuda_n_devices; i++)
    if (!strcmp (c->device, cuda_devices[i].name)) d = &cuda_devices[i];
  if (c->device && !d) {
    char names[200] = "";
    for (int i = 0; i < cuda_n_devices; i++) {
      strcat (names, i ? ", " : "");
      strcat (names, cuda_devices[i].name);
    }
    return mugraph_fail (e, "unknown device '%.100s' (there are %s)", c->device, names);
  }
  if (!d && here) d = cuda_device_find (f->device);
  if (d && !c->device && c->arch && d->arch != c->arch) d = NULL;
  /* Else the first of the table's that has this compute capability, or the nearest below. */
  for (int i = 0; !c->device && i < cuda_n_devices && !(d && d->arch == arch); i++)
    if (cuda_devices[i].arch <= arch && (!d || cuda_devices[i].arch > d->arch)) d = &cuda_devices[i];
  if (!c->device && !c->arch && !here) d = cuda_device_find ("h100");
  *out = *d;
  if (c->arch || (here && !c->device)) out->arch = arch;
  return true;
}

bool cli_check_size (const mugraph_program *p, mugraph_error *e) {
  const double most = 0x1p37, share = 0.25, GiB = 0x1p30; /* a minute or two on two cores */
  double bytes, work, memory = (double) sysconf (_SC_PHYS_PAGES) * (double) sysconf (_SC_PAGESIZE);
  verify_effort (&p->graph, &bytes, &work);
  if (bytes > share * memory)
    return mugraph_fail (e,
                         "%s: b = %d: too large to be verified here: %.1f GiB of memory are needed, it gets %.1f (a "
                         "smaller -b, or --shape)",
                         p->name, p->batch, bytes / GiB, share * memory / GiB);
  return work <= most || mugraph_fail (e,
                                       "%s: b = %d: too large to be verified: %.2g operations an evaluation, at most "
                                       "%.2g (a smaller -b, or --shape)",
                                       p->name, p->batch, work, most);
}

/* ---- a file's program, and its inputs' order ---- */

/* "H, X, alpha": the names that program gives to a file's inputs. */
static const char *order_text (const mugraph *program, const int order[], const char *separator, char *text,
                               size_t size) {
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
  order_text (program, order, ", ", names, sizeof names);
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
static const mugraph_workload *named_after (const char *path) {
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
               order_text (&p->graph, order, ", ", names, sizeof names));
    return true;
  }
  return false;
}

/* See cli_file_program; order[k] is the input of the program that the file's k-th became. */
static bool find_program (const cli *c, const char *path, mugraph_file *f, mugraph_program *p, int order[],
                          mugraph_error *e) {
  const mugraph_workload *w = c->program || f->has_program ? NULL : named_after (path);
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
  if (!cli_check_size (p, e)) return false;
  for (int i = 0; i < f->n; i++)
    if (f->saved[i].graph.n_inputs == p->graph.n_inputs) mugraph_reorder_inputs (&f->saved[i].graph, order);
  return true;
}

bool cli_file_program (const cli *c, const char *path, mugraph_file *f, mugraph_program *p, mugraph_error *e) {
  int order[MUGRAPH_INPUTS];
  return find_program (c, path, f, p, order, e);
}

/* ---- list ---- */

static int is_saved (const struct dirent *d) {
  size_t n = strlen (d->d_name);
  return d->d_name[0] != '.' && n > 5 && !strcmp (d->d_name + n - 5, ".json");
}

double cli_measured_score (const cJSON *record) {
  double plain = mugraph_record_number (record, "cold_us", INFINITY),
         pdl = mugraph_record_number (record, "cold_pdl_us", INFINITY);
  if (isfinite (plain)) return cost_score (plain, pdl);
  return mugraph_record_number (record, "best_us", INFINITY);
}

/* "6.90 us (3.58 with calls overlapping) on DEVICE"; an empty text when nothing was measured. */
static const char *measured_text (const cJSON *record, char *text, size_t size) {
  double plain = mugraph_record_number (record, "cold_us", mugraph_record_number (record, "best_us", INFINITY));
  double pdl = mugraph_record_number (record, "cold_pdl_us", INFINITY);
  *text = 0;
  if (!isfinite (plain)) return text;
  int n = snprintf (text, size, "%8.2f us", plain);
  if (isfinite (pdl)) n += snprintf (text + n, size - (size_t) n, " (%.2f with calls overlapping)", pdl);
  snprintf (text + n, size - (size_t) n, " on %s", record->string);
  return text;
}

static const cJSON *best_measured (const mugraph_file *f) {
  const cJSON *best = NULL;
  for (int i = 0; i < f->n; i++)
    for (const cJSON *m = f->saved[i].measured ? f->saved[i].measured->child : NULL; m; m = m->next)
      if (cli_measured_score (m) < cli_measured_score (best)) best = m;
  return best;
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
  int n = scandir (CLI_FOLDER, &entry, is_saved, versionsort);
  if (out && n > 0) fprintf (out, "\nin " CLI_FOLDER "/:\n");
  for (int i = 0; i < n; i++) {
    char path[600];
    mugraph_file f;
    mugraph_error why;
    snprintf (path, sizeof path, CLI_FOLDER "/%s", entry[i]->d_name);
    bool ok = mugraph_file_load_any (path, &f, &why);
    const cJSON *best = ok ? best_measured (&f) : NULL;
    if (out && !ok) fprintf (out, "  %-28s not readable: %s\n", entry[i]->d_name, why.text);
    else if (out && best)
      fprintf (out, "  %-28s %4d µGraphs, %s\n", entry[i]->d_name, f.n, measured_text (best, line, sizeof line));
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

/* ---- show ---- */

/* Runs Graphviz from a temporary file to memory. Owned by the caller; NULL with the reason. */
static char *draw (const char *dot, size_t size, size_t *drawn, mugraph_error *e) {
  FILE *in = tmpfile (), *out = tmpfile ();
  char *const argv[] = {"dot", "-Tsvg", NULL};
  char *svg = NULL;
  posix_spawn_file_actions_t actions;
  pid_t pid;
  int status = -1, failed = 0;
  if (in && out && fwrite (dot, 1, size, in) == size && !fflush (in)) {
    rewind (in);
    posix_spawn_file_actions_init (&actions);
    posix_spawn_file_actions_adddup2 (&actions, fileno (in), STDIN_FILENO);
    posix_spawn_file_actions_adddup2 (&actions, fileno (out), STDOUT_FILENO);
    failed = posix_spawnp (&pid, "dot", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy (&actions);
    if (failed)
      mugraph_fail (e, "Graphviz's `dot` cannot be run: %s (apt-get install graphviz; --dot needs no Graphviz)",
                    strerror (failed));
    else
      while (waitpid (pid, &status, 0) < 0 && errno == EINTR) continue;
  } else mugraph_fail (e, "no temporary file: %s", strerror (errno)), failed = 1;
  long n = !failed && WIFEXITED (status) && !WEXITSTATUS (status) && !fseek (out, 0, SEEK_END) ? ftell (out) : -1;
  if (!failed && n <= 0) mugraph_fail (e, "Graphviz's `dot` failed (--dot writes what it was given)");
  if (n > 0 && (svg = malloc ((size_t) n))) {
    rewind (out);
    *drawn = fread (svg, 1, (size_t) n, out);
  }
  if (in) fclose (in);
  if (out) fclose (out);
  return svg;
}

static void print_tiles (FILE *out, const mugraph *g, const cuda_device *d) {
  static const char *const homes[] = {[CUDA_HOME_NONE] = "-",
                                      [CUDA_HOME_REGISTERS] = "registers",
                                      [CUDA_HOME_SHARED] = "shared",
                                      [CUDA_HOME_DEVICE] = "device"};
  cuda_plan *p = malloc (sizeof *p);
  for (int k = 0; p && k < g->n_ops; k++) {
    mugraph_error e;
    char dims[100];
    if (g->op[k].kind == MUGRAPH_OP_CONST) continue;
    fprintf (out, "kernel %d: %s", k, mugraph_op_table[g->op[k].kind].text);
    if (g->op[k].kind != MUGRAPH_OP_CUSTOM) {
      fputs (", pre-defined\n", out);
      continue;
    }
    const mugraph_block *b = &g->block[g->op[k].block];
    if (!cuda_plan_kernel (g, k, d, p, &e)) {
      fprintf (out, ", no plan for %s: %s\n", d->name, e.text);
      continue;
    }
    fprintf (out, ", %s generator\n", cuda_generator_text (p->backend));
    fprintf (out,
             "  grid %dx%dx%d, %lld blocks of %d threads, cluster %d, %d iterations, %lld bytes of shared memory, %lld "
             "of workspace a block, about %d registers a thread\n",
             b->grid[0], b->grid[1], b->grid[2], (long long) p->blocks, p->threads, p->cluster, p->iterations,
             (long long) p->smem, (long long) p->workspace, p->regs);
    fputs ("  schedule", out);
#define SCHED(name, def, low, high, help) fprintf (out, " %s=%d", #name, p->sched.name);
#include "mugraph/sched.def"
#undef SCHED
    fprintf (out,
             "\n  moves %.3g MB from device memory (%.3g MB from L2), %.3g MB to it; %.3g mma, %.3g fp32, %.3g special "
             "operations\n",
             p->dram_read / 1e6, p->l2_read / 1e6, p->dram_write / 1e6, p->mma_flops, p->fp32_flops, p->sfu_ops);
    for (int i = 0; i < b->n_ops; i++) {
      const cuda_tile_plan *t = &p->tile[i];
      fprintf (out, "  %3d %-12s %-16s %-9s", i, mugraph_op_table[b->op[i].kind].text,
               mugraph_dims_text (&b->op[i].shape, dims, sizeof dims),
               t->fused                                          ? "fused"
               : (size_t) t->home < sizeof homes / sizeof *homes ? homes[t->home]
                                                                 : "?");
      if (!t->fused && t->home != CUDA_HOME_NONE)
        fprintf (out, " %lld bytes at %lld", (long long) t->bytes, (long long) t->offset);
      if (t->copy) fprintf (out, ", by %s, %d deep", cuda_copy_text (t->copy), t->depth);
      fprintf (out, "%s\n", b->op[i].after_loop ? ", after the loop" : "");
    }
  }
  free (p);
}

static void print_records (FILE *out, const mugraph_file *f) {
  const cJSON *records[] = {f->search, f->verify};
  const char *const names[] = {"search", "verified"};
  for (int k = 0; k < 2; k++) {
    if (!records[k]) continue;
    cli_label (out, names[k]);
    const char *separator = "";
    for (const cJSON *m = records[k]->child; m; m = m->next) {
      char *text = cJSON_IsNumber (m) ? NULL : cJSON_PrintUnformatted (m);
      fprintf (out, "%s%s ", separator, m->string);
      if (text) fputs (text, out);
      else
        fprintf (out, m->valuedouble < 1e15 && m->valuedouble == (double) m->valueint ? "%.0f" : "%.4g",
                 m->valuedouble);
      separator = ", ";
      free (text);
    }
    fputc ('\n', out);
  }
}

static void print_file (FILE *out, const mugraph_file *f, const cli *c) {
  char line[512];
  if (f->has_program) {
    cli_label (out, "program");
    fprintf (out, "%s, b = %d: %s\n", *f->name ? f->name : "?", f->batch,
             cli_signature (&f->program, line, sizeof line));
  }
  print_records (out, f);
  for (int i = 0; i < f->n; i++) {
    const mugraph_saved *m = &f->saved[i];
    fprintf (out, "%3d ", i);
    if (m->cost_us >= 0) fprintf (out, "%8.2f us by the model, ", m->cost_us);
    for (const cJSON *d = m->measured ? m->measured->child : NULL; d; d = d->next) {
      if (*measured_text (d, line, sizeof line)) fprintf (out, "%s, ", line);
    }
    fputs (mugraph_summary (&m->graph, line, sizeof line), out);
    fprintf (out, "%s\n", cli_schedule (&m->graph, line, sizeof line));
  }
  if (f->n) {
    fprintf (out, "\nµGraph %d:\n", c->index);
    mugraph_print (out, &f->saved[c->index].graph, 2);
  }
}

/* The file that a command is about: a workload stands for the file that its search saved. */
static bool find_file (const cli *c, char path[4096], mugraph_error *e) {
  const mugraph_workload *w = access (c->subject, F_OK) ? mugraph_workload_find (c->subject) : NULL;
  int b = c->batch ? c->batch : 1;
  mugraph_program_options none = {0};
  mugraph_program *p = NULL;
  if (w) {
    snprintf (path, 4096, CLI_FOLDER "/%s_bs%d.json", w->stem, b);
    return !access (path, F_OK) ||
           mugraph_fail (e, "%s: nothing is saved for %s at b = %d: search first, msearch %s -b %d", path, w->name, b,
                         w->name, b);
  }
  /* A word that is no file and looks like no path is a workload misspelt. */
  if (!strpbrk (c->subject, "/.") && access (c->subject, F_OK)) return mugraph_program_open (c->subject, &none, p, e);
  return snprintf (path, 4096, "%s", c->subject) < 4096 ||
         mugraph_fail (e, "%.100s...: is too long a file name", c->subject);
}

/* Loads a file of either format and checks --index. */
static bool load_indexed (const cli *c, mugraph_file *f, mugraph_error *e) {
  char path[4096];
  if (!find_file (c, path, e) || !mugraph_file_load_any (path, f, e)) return false;
  if (c->index < f->n || (!f->n && !c->index)) return true;
  mugraph_fail (e, "%s: has %d µGraphs, no number %d", path, f->n, c->index);
  mugraph_file_free (f);
  return false;
}

static bool is_program (const char *subject) {
  size_t n = strlen (subject);
  return mugraph_workload_find (subject) || (n > 3 && !strcmp (subject + n - 3, ".mg"));
}

static bool show_graph (FILE *out, const mugraph *g, const char *title, const cli *c, mugraph_error *e) {
  if (c->tiles) {
    cuda_facts facts;
    cuda_device device;
    cli_probe (c, &facts);
    if (!cli_device (c, &facts, &device, e)) return false;
    print_tiles (out, g, &device);
  } else mugraph_print_dot (out, g, title);
  return true;
}

int cli_show (const cli *c, mugraph_error *e) {
  mugraph_file f;
  mugraph_program *p = malloc (sizeof *p);
  char *text = NULL, *svg = NULL;
  size_t size = 0, drawn = 0;
  bool program = is_program (c->subject), picture = c->dot || c->svg || c->tiles;
  mugraph_file_init (&f);
  FILE *out = p ? open_memstream (&text, &size) : NULL;
  bool ok = out || mugraph_fail (e, "out of memory");
  if (ok) ok = program ? mugraph_program_open (c->subject, &c->shape, p, e) : load_indexed (c, &f, e);
  if (ok && picture && !program && !f.n) ok = mugraph_fail (e, "%s: holds no µGraph", c->subject);
  if (ok && picture)
    ok = show_graph (out, program ? &p->graph : &f.saved[c->index].graph,
                     program   ? p->name
                     : *f.name ? f.name
                               : c->subject,
                     c, e);
  else if (ok && program) {
    const mugraph_workload *w = mugraph_workload_find (c->subject);
    if (w && !c->batch && !c->shape.n_overrides) fputs (mugraph_workload_text (w), out);
    else { /* with its sizes worked out */ char *printed = mugraph_program_print (&p->graph);
      fprintf (out, "# %s, b = %d\n%s", p->name, p->batch, printed ? printed : "");
      free (printed);
    }
  } else if (ok) print_file (out, &f, c);
  if (out) fclose (out);
  if (ok && c->svg) ok = (svg = draw (text, size, &drawn, e)) != NULL;
  if (ok && !c->quiet) ok = cli_write (c->out, svg ? svg : text, svg ? drawn : size, e);
  free (svg);
  free (text);
  free (p);
  mugraph_file_free (&f);
  return ok ? CLI_DONE : CLI_BAD;
}

/* ---- verify ---- */

static const char *const verdicts[] = {[VERIFY_EQUIVALENT] = "equivalent",
                                       [VERIFY_DIFFERENT] = "different",
                                       [VERIFY_UNSUPPORTED] = "unsupported",
                                       [VERIFY_UNKNOWN] = "unknown"};

/* Inputs correspond by position, and files of other tools do not name them. Where a µGraph differs, would it compute
   the program with its inputs taken in another order? order[k]: the program's input that its k-th would be. Of more
   than seven inputs the last seven change places. */
static bool find_order (const mugraph *program, const mugraph *g, const verify_options *o, int order[]) {
  enum { TRIED = 24, PERMUTED = 5040 };
  mugraph *other = malloc (sizeof *other);
  bool found = false;
  for (int t = 0; t < program->n_inputs; t++) order[t] = t;
  for (int n = 0, m = 0;
       other && !found && !cli_stop && n < TRIED && m < PERMUTED && mugraph_next_order (program->n_inputs, order);
       m++) {
    verify_report r;
    bool same = true;
    for (int t = 0; t < program->n_inputs; t++)
      same &= mugraph_same_shape (&g->tensor[t].shape, &program->tensor[order[t]].shape);
    if (!same) continue;
    *other = *g;
    mugraph_reorder_inputs (other, order);
    verify_equivalent (program, other, o, &r);
    found = r.verdict == VERIFY_EQUIVALENT;
    n++;
  }
  free (other);
  return found;
}

static cJSON *names_of (const mugraph *program, const int order[]) {
  cJSON *names = cJSON_CreateArray ();
  for (int k = 0; k < program->n_inputs; k++)
    cJSON_AddItemToArray (names, cJSON_CreateString (program->tensor[order[k]].name));
  return names;
}

/* One µGraph's line and record. taken[k]: the input of the program that the file's k-th was taken for. */
static cJSON *report_graph (const cli *c, FILE *out, const mugraph *program, const mugraph *g, int i, const int taken[],
                            const verify_options *o, const verify_report *r) {
  enum { DRAWS = 4 };
  const double tolerance = 1e-6; /* far above float64's rounding */
  char line[512], reason[2000] = "", example[256] = "", names[600];
  int order[MUGRAPH_INPUTS], in_file[MUGRAPH_INPUTS];
  double error = 0;
  bool equivalent = r->verdict == VERIFY_EQUIVALENT, other = false;
  for (int k = 0; k < program->n_inputs; k++) in_file[k] = taken[k];
  if (!equivalent) {
    size_t n = 0;
    error = verify_counterexample (program, g, o->seed, DRAWS, tolerance, o->stop, example);
    bool shown = error > 0 && strcmp (example, r->reason); /* shapes that differ say it all */
    if (r->verdict == VERIFY_DIFFERENT && (other = find_order (program, g, o, order)))
      for (int k = 0; k < program->n_inputs; k++) in_file[k] = order[taken[k]];
    n += (size_t) snprintf (
        reason, sizeof reason,
        "%s%s: ", error > 0 || r->verdict == VERIFY_DIFFERENT ? "not equivalent" : "not shown to be equivalent",
        other ? " as it stands" : "");
    if (shown) n += (size_t) snprintf (reason + n, sizeof reason - n, "float64 counterexample: %s; ", example);
    n += (size_t) snprintf (reason + n, sizeof reason - n, "%s%s",
                            r->verdict == VERIFY_DIFFERENT ? "over finite fields, " : "", r->reason);
    if (other)
      snprintf (reason + n, sizeof reason - n, "; equivalent with its inputs taken as %s",
                order_text (program, in_file, ", ", names, sizeof names));
  }
  if (out) {
    fprintf (out, "%3d  %-11s  %s\n", i, verdicts[r->verdict], mugraph_summary (g, line, sizeof line));
    if (reason[0]) fprintf (out, "     %s\n", reason);
    if (other) fprintf (out, "     --inputs %s says so\n", order_text (program, in_file, ",", names, sizeof names));
    if (c->verbose)
      fprintf (out, "     %d trials over Z_%u and Z_%u, wrong with probability < %.1e, %.2f s\n", r->trials, r->p, r->q,
               r->error_bound, r->seconds);
    fflush (out);
  }
  cJSON *item = cJSON_CreateObject ();
  cJSON_AddNumberToObject (item, "index", i);
  cJSON_AddBoolToObject (item, "equivalent", equivalent);
  cJSON_AddStringToObject (item, "reason", reason);
  cJSON_AddStringToObject (item, "verdict", verdicts[r->verdict]);
  if (equivalent || other) cJSON_AddItemToObject (item, "inputs", names_of (program, in_file));
  if (error > 0) cJSON_AddNumberToObject (item, "float64_error", error < 1e300 ? error : 1e300);
  cJSON_AddNumberToObject (item, "trials", r->trials);
  cJSON_AddNumberToObject (item, "error_bound", r->error_bound);
  cJSON_AddNumberToObject (item, "seconds", r->seconds);
  return item;
}

int cli_verify (const cli *c, mugraph_error *e) {
  enum { AT_ONCE = 8 };
  mugraph_file f;
  FILE *out = cli_text (c);
  mugraph_program *p = malloc (sizeof *p);
  int status = CLI_DONE, equivalent = 0, done = 0, order[MUGRAPH_INPUTS];
  char path[4096];
  if (!p) return mugraph_fail (e, "out of memory"), CLI_BAD;
  if (!find_file (c, path, e) || !mugraph_file_load_any (path, &f, e)) {
    free (p);
    return CLI_BAD;
  }
  if (!f.n) mugraph_fail (e, "%s: holds no µGraph", path);
  if (!f.n || !find_program (c, path, &f, p, order, e)) {
    mugraph_file_free (&f);
    free (p);
    return CLI_BAD;
  }
  char line[512];
  verify_options o;
  verify_options_default (&o);
  o.seed = (uint64_t) c->search.seed;
  o.trials = c->search.trials;
  o.threads = c->search.threads;
  o.stop = &cli_stop;
  cJSON *root = cJSON_CreateObject ();
  cJSON_AddStringToObject (root, "schema", "msearch.verify/1");
  cJSON_AddStringToObject (root, "file", path);
  cJSON_AddStringToObject (root, "program", p->name);
  cJSON_AddNumberToObject (root, "batch", p->batch);
  cJSON *graphs = cJSON_AddArrayToObject (root, "graphs");
  if (out)
    fprintf (out, "program    %s, b = %d: %s\n", p->name, p->batch, cli_signature (&p->graph, line, sizeof line));
  for (int from = 0; from < f.n && !cli_stop; from += AT_ONCE) {
    verify_report r[AT_ONCE];
    const mugraph *g[AT_ONCE];
    int trials[AT_ONCE], n = f.n - from < AT_ONCE ? f.n - from : AT_ONCE;
    for (int i = 0; i < n; i++) g[i] = &f.saved[from + i].graph, trials[i] = o.trials;
    verify_equivalent_each (&p->graph, n, g, trials, &o, r);
    for (int i = 0; i < n; i++) {
      if (r[i].unfinished) continue;
      done++, equivalent += r[i].verdict == VERIFY_EQUIVALENT;
      cJSON_AddItemToArray (graphs, report_graph (c, out, &p->graph, g[i], from + i, order, &o, &r[i]));
    }
  }
  if (equivalent < f.n) status = CLI_WRONG;
  if (cli_stop) status = 128 + cli_stop;
  cJSON_AddBoolToObject (root, "interrupted", cli_stop != 0);
  if (out && cli_stop)
    fprintf (out, "interrupted: %d of %d µGraphs verified, %d of them equivalent\n", done, f.n, equivalent);
  else if (out) fprintf (out, "%d of %d equivalent\n", equivalent, f.n);
  mugraph_file_free (&f);
  free (p);
  return cli_write_json (c, root, e) ? status : CLI_BAD;
}

/* ---- emit ---- */

static bool write_cubin (const cli *c, const mugraph *g, const cuda_device *d, bool pdl, mugraph_error *e) {
  cuda_program *p = calloc (1, sizeof *p);
  char *cubin = NULL, *log = NULL;
  size_t size = 0;
  bool ok = p ? cuda_emit (g, d, pdl, p, e) : mugraph_fail (e, "out of memory");
  if (ok) {
    ok = cuda_compile (p->source, d->arch, &cubin, &size, &log, e) && cli_write (c->out, cubin, size, e);
    cuda_program_free (p);
  }
  if (log && *log && c->verbose) fputs (log, stderr);
  free (log);
  free (cubin);
  free (p);
  return ok;
}

static void describe (const cli *c, const mugraph_file *f, const cuda_device *d, bool pdl, char *text, size_t size) {
  const mugraph_saved *m = &f->saved[c->index];
  char line[512];
  size_t n = (size_t) snprintf (text, size, "%s, b = %d: %s\nmsearch %s for %s (sm_%d)%s",
                                *f->name ? f->name : c->subject, f->batch, cli_signature (&m->graph, line, sizeof line),
                                MSEARCH_VERSION, d->name, d->arch, pdl ? ", programmatic dependent launch" : "");
  if (m->cost_us >= 0 && n < size)
    n += (size_t) snprintf (text + n, size - n, "; %.2f us by the cost model", m->cost_us);
  for (const cJSON *r = m->measured ? m->measured->child : NULL; r && n < size; r = r->next) {
    double warm = mugraph_record_number (r, pdl ? "warm_pdl_us" : "warm_us", 0),
           cold = mugraph_record_number (r, pdl ? "cold_pdl_us" : "cold_us", 0);
    if (cold > 0)
      n += (size_t) snprintf (text + n, size - n, "\nmeasured on %s: %.2f us a call, cold%s", r->string, cold,
                              pdl ? ", programmatic dependent launch" : "");
    if (cold > 0 && warm > 0 && n < size) n += (size_t) snprintf (text + n, size - n, "; %.2f us warm", warm);
    double alone = mugraph_record_number (r, "cold_us", 0);
    if (pdl && alone > 0 && n < size) n += (size_t) snprintf (text + n, size - n, "; %.2f us cold without it", alone);
  }
}

int cli_emit (const cli *c, mugraph_error *e) {
  mugraph_file f;
  cuda_device d;
  cuda_facts facts;
  char comment[2048];
  if (!load_indexed (c, &f, e)) return CLI_BAD;
  cli_probe (c, &facts);
  bool ok = (f.n || mugraph_fail (e, "%s: holds no µGraph", c->subject)) && cli_device (c, &facts, &d, e);
  if (ok) {
    const mugraph_saved *m = &f.saved[c->index];
    bool pdl = false;
    for (const cJSON *r = m->measured ? m->measured->child : NULL; r; r = r->next)
      pdl |= mugraph_record_number (r, "cold_pdl_us", 1e300) < mugraph_record_number (r, "cold_us", 1e300);
    size_t n = c->out ? strlen (c->out) : 0;
    if (n > 6 && !strcmp (c->out + n - 6, ".cubin")) ok = write_cubin (c, &m->graph, &d, pdl, e);
    else {
      describe (c, &f, &d, pdl, comment, sizeof comment);
      char *text = cuda_emit_file (&m->graph, &d, pdl, comment, e);
      ok = text && cli_write (c->out, text, strlen (text), e);
      free (text);
    }
  }
  if (ok && c->out && strcmp (c->out, "-") && !c->quiet)
    printf ("%s: µGraph %d of %s for sm_%d\n", c->out, c->index, c->subject, d.arch);
  mugraph_file_free (&f);
  return ok ? CLI_DONE : CLI_BAD;
}

/* ---- import ---- */

/* Inputs and outputs correspond by position; Mirage's have no names. */
static void take_names (mugraph *g, const mugraph *program) {
  for (int t = 0; t < g->n_inputs && t < program->n_inputs; t++)
    memcpy (g->tensor[t].name, program->tensor[t].name, MUGRAPH_NAME);
  for (int k = 0; k < g->n_outputs && k < program->n_outputs; k++)
    memcpy (g->output_name[k], program->output_name[k], MUGRAPH_NAME);
}

int cli_import (const cli *c, mugraph_error *e) {
  mugraph_file f;
  mugraph_program *p = malloc (sizeof *p);
  if (!p) return mugraph_fail (e, "out of memory"), CLI_BAD;
  if (!mugraph_file_load_any (c->subject, &f, e)) {
    free (p);
    return CLI_BAD;
  }
  bool ok = f.n || mugraph_fail (e, "%s: holds no µGraph", c->subject);
  bool told = c->program || c->inputs, guessed = !told && !f.has_program && named_after (c->subject);
  bool known = ok && (told || guessed) && cli_file_program (c, c->subject, &f, p, told ? e : NULL);
  if (told && !known) ok = false; /* a name that misleads is no error: the format changes all the same */
  if (known) {
    f.has_program = true;
    f.program = p->graph;
    f.batch = p->batch;
    f.key = 0;
    snprintf (f.name, sizeof f.name, "%s", p->name);
    snprintf (f.stem, sizeof f.stem, "%s", p->stem);
    for (int i = 0; i < f.n; i++) take_names (&f.saved[i].graph, &p->graph);
  }
  if (ok && (c->device || c->arch)) { /* what they would cost */
    cuda_device d;
    ok = cli_device (c, NULL, &d, e);
    for (int i = 0; ok && i < f.n; i++) f.saved[i].cost_us = cost_graph (&f.saved[i].graph, &d);
  }
  char *text = ok ? mugraph_file_print (&f) : NULL;
  if (ok && !text) ok = mugraph_fail (e, "out of memory");
  ok = ok && cli_write (c->out, text, strlen (text), e);
  FILE *out = cli_text (c);
  if (ok && out)
    fprintf (out, "%s: %d µGraph%s%s%s\n", c->out, f.n, f.n == 1 ? "" : "s", f.has_program ? " for " : "",
             f.has_program ? f.name : "");
  free (text);
  free (p);
  mugraph_file_free (&f);
  return ok ? CLI_DONE : CLI_BAD;
}
