/* msearch show: a µGraph or a program as text, as a picture, or as the tile program of its kernels. */
#include "cli.h"

#include "mugraph/print.h"
#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

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

static void print_tile (FILE *out, int i, const mugraph_op *o, const cuda_tile_plan *t) {
  static const char *const homes[] = {[CUDA_HOME_NONE] = "-",
                                      [CUDA_HOME_REGISTERS] = "registers",
                                      [CUDA_HOME_SHARED] = "shared",
                                      [CUDA_HOME_DEVICE] = "device"};
  char dims[100];
  fprintf (out, "  %3d %-12s %-16s %-9s", i, mugraph_op_table[o->kind].text,
           mugraph_dims_text (&o->shape, dims, sizeof dims), t->fused ? "fused" : homes[t->home]);
  if (!t->fused && t->home != CUDA_HOME_NONE)
    fprintf (out, " %lld bytes at %lld", (long long) t->bytes, (long long) t->offset);
  if (t->copy) fprintf (out, ", by %s, %d deep", cuda_copy_text (t->copy), t->depth);
  fprintf (out, "%s\n", o->after_loop ? ", after the loop" : "");
}

static void print_plan (FILE *out, const mugraph_block *b, const cuda_plan *p) {
  char words[256];
  fprintf (out, ", %s generator\n", cuda_generator_text (p->backend));
  fprintf (out,
           "  grid %dx%dx%d, %lld blocks of %d threads, cluster %d, %d iterations, %lld bytes of shared memory, %lld "
           "of workspace a block, about %d registers a thread\n",
           b->grid[0], b->grid[1], b->grid[2], (long long) p->blocks, p->threads, p->cluster, p->iterations,
           (long long) p->smem, (long long) p->workspace, p->regs);
  fprintf (out, "  schedule %s\n", mugraph_sched_text (&p->sched, cuda_generator_name, words, sizeof words));
  fprintf (out,
           "  moves %.3g MB from device memory (%.3g MB from L2), %.3g MB to it; %.3g mma, %.3g fp32, %.3g special "
           "operations\n",
           p->dram_read / 1e6, p->l2_read / 1e6, p->dram_write / 1e6, p->mma_flops, p->fp32_flops, p->sfu_ops);
  for (int i = 0; i < b->n_ops; i++) print_tile (out, i, &b->op[i], &p->tile[i]);
}

static void print_tiles (FILE *out, const mugraph *g, const cuda_device *d) {
  cuda_plan *p = malloc (sizeof *p);
  for (int k = 0; p && k < g->n_ops; k++) {
    mugraph_error e;
    if (g->op[k].kind == MUGRAPH_OP_CONST) continue;
    fprintf (out, "kernel %d: %s", k, mugraph_op_table[g->op[k].kind].text);
    if (g->op[k].kind != MUGRAPH_OP_CUSTOM) fputs (", pre-defined\n", out);
    else if (cuda_plan_kernel (g, k, d, p, &e)) print_plan (out, &g->block[g->op[k].block], p);
    else fprintf (out, ", no plan for %s: %s\n", d->name, e.text);
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
      if (*cli_measured (d, line, sizeof line)) fprintf (out, "%s, ", line);
    }
    fputs (mugraph_summary (&m->graph, line, sizeof line), out);
    fprintf (out, "%s\n", cli_schedule (&m->graph, line, sizeof line));
  }
  if (f->n) {
    fprintf (out, "\nµGraph %d:\n", c->index);
    mugraph_print (out, &f->saved[c->index].graph, cuda_generator_name, 2);
  }
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

/* A workload as it is written, unless it is asked for at other sizes. */
static void print_program (FILE *out, const mugraph_program *p, const cli *c) {
  const mugraph_workload *w = mugraph_workload_find (c->subject);
  if (w && !c->batch && !c->shape.n_overrides) {
    fputs (mugraph_workload_text (w), out);
    return;
  }
  char *printed = mugraph_program_print (&p->graph);
  fprintf (out, "# %s, b = %d\n%s", p->name, p->batch, printed ? printed : "");
  free (printed);
}

static bool show_program (FILE *out, const cli *c, bool picture, mugraph_error *e) {
  mugraph_program *p = malloc (sizeof *p);
  bool ok = p ? mugraph_program_open (c->subject, &c->shape, p, e) : mugraph_fail (e, "out of memory");
  if (ok && picture) ok = show_graph (out, &p->graph, p->name, c, e);
  else if (ok) print_program (out, p, c);
  free (p);
  return ok;
}

static bool show_file (FILE *out, const cli *c, bool picture, mugraph_error *e) {
  mugraph_file f;
  mugraph_file_init (&f);
  bool ok = cli_load_indexed (c, &f, e);
  if (ok && picture)
    ok = f.n ? show_graph (out, &f.saved[c->index].graph, *f.name ? f.name : c->subject, c, e)
             : mugraph_fail (e, "%s: holds no µGraph", c->subject);
  else if (ok) print_file (out, &f, c);
  mugraph_file_free (&f);
  return ok;
}

int cli_show (const cli *c, mugraph_error *e) {
  char *text = NULL, *svg = NULL;
  size_t size = 0, drawn = 0;
  bool picture = c->dot || c->svg || c->tiles;
  FILE *out = open_memstream (&text, &size);
  if (!out) return mugraph_fail (e, "out of memory"), CLI_BAD;
  bool ok = is_program (c->subject) ? show_program (out, c, picture, e) : show_file (out, c, picture, e);
  fclose (out);
  if (ok && c->svg) ok = (svg = draw (text, size, &drawn, e)) != NULL;
  if (ok && !c->quiet) ok = cli_write (c->out, svg ? svg : text, svg ? drawn : size, e);
  free (svg);
  free (text);
  return ok ? CLI_DONE : CLI_BAD;
}
