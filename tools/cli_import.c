/* msearch import: Mirage's format to ours. */
#include "cli.h"
#include "mugraph/file/load.h"

#include <stdlib.h>
#include <string.h>

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
  int order[MUGRAPH_INPUTS];
  if (!p) return mugraph_fail (e, "out of memory"), CLI_BAD;
  if (!mugraph_file_load_any (c->subject, &f, e)) {
    free (p);
    return CLI_BAD;
  }
  bool ok = f.n || mugraph_fail (e, "%s: holds no µGraph", c->subject);
  bool told = c->program || c->inputs, guessed = !told && !f.has_program && cli_named_after (c->subject);
  bool known = ok && (told || guessed) && cli_file_program (c, c->subject, &f, p, order, told ? e : NULL);
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
