/* A session of the command line: filled from its options, shown while it runs and when it is done. */
#include "cli.h"

#include "cuda_templates/runtime/meter.h"
#include <string.h>
#include <unistd.h>

/* ---- while it runs ---- */

static void show_progress (void *user, const search_stats *stats, double seconds) {
  char a[40], b[40], c[40];
  (void) user;
  fprintf (stderr, "\r%7.1f s  %s states  %s pruned  %s valid\033[K", seconds, cli_count ((double) stats->states, a),
           cli_count ((double) stats->pruned, b), cli_count ((double) stats->valid, c));
  fflush (stderr);
}

/* The line of progress is there on a terminal, when something is said at all. */
static bool is_live (const cli *c) { return cli_text (c) && isatty (STDERR_FILENO); }

static void show_note (void *user, const char *text) {
  const cli *c = user;
  if (!cli_text (c)) return;
  if (is_live (c)) fputs ("\r\033[K", stderr);
  fprintf (cli_text (c), "%s\n", text);
}

/* ---- before ---- */

session *cli_session_new (const cli *c, mugraph_error *e) {
  session *s = session_new ();
  if (!s) return mugraph_fail (e, "out of memory"), NULL;
  session_options *o = &s->options;
  o->search = c->search;
  o->path = c->out;
  o->fresh = c->fresh;
  o->no_time = c->no_time;
  o->stop = &cli_stop;
  o->listener = (session_listener){show_note, (void *) c};
  if (is_live (c)) o->progress = show_progress;
  if (!c->no_gpu) cuda_isolate (); /* before the probe opens the driver */
  cli_probe (c, &s->facts);
  if (cli_device (c, &s->facts, &s->device, e)) return s;
  session_free (s);
  return NULL;
}

bool cli_session_scales (const cli *c, session *s, mugraph_error *e) {
  const mugraph *g = &s->program.graph;
  for (int k = 0; k < c->scale.n; k++) {
    int t = 0;
    while (t < g->n_inputs && strcmp (g->tensor[t].name, c->scale.of[k].name)) t++;
    if (t == g->n_inputs)
      return mugraph_fail (e, "--scale %s=...: %s has no input of that name", c->scale.of[k].name, s->program.name);
    s->options.scale[t] = c->scale.of[k].factor;
  }
  return true;
}

/* ---- after ---- */

static int status_of (const session *s) {
  if (s->interrupted) return 128 + (cli_stop ? cli_stop : 2);
  if (s->best < 0) return CLI_NOTHING;
  if (s->verified && s->verify.verdict != VERIFY_EQUIVALENT) return CLI_WRONG;
  if (s->gpu.ran && !s->gpu.correct) return CLI_WRONG;
  return CLI_DONE;
}

int cli_session_finish (const cli *c, session *s, bool good, mugraph_error *e) {
  if (is_live (c)) fputs ("\r\033[K", stderr);
  if (good || s->best >= 0) cli_report_text (c, s);
  return good && cli_write_json (c, cli_report_json (s), e) ? status_of (s) : CLI_BAD;
}
