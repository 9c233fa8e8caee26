/* msearch emit: a µGraph as a CUDA file, or compiled. */
#include "cli.h"

#include "cuda_templates/runtime/nvrtc.h"
#include <stdlib.h>
#include <string.h>

static bool write_cubin (const cli *c, const mugraph *g, const cuda_device *d, bool pdl, mugraph_error *e) {
  char *cubin = NULL, *log = NULL;
  size_t size = 0;
  bool ok = cuda_compile_graph (g, d, pdl, &cubin, &size, &log, e) && cli_write (c->out, cubin, size, e);
  if (log && *log && c->verbose) fputs (log, stderr);
  free (log);
  free (cubin);
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
  if (!cli_load_indexed (c, &f, e)) return CLI_BAD;
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
