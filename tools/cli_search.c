/* msearch WORKLOAD: look up or search, verify, compile, measure, save, report. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

static bool open_program (const cli *c, mugraph_program *p, mugraph_error *e) {
  size_t len = c->subject ? strlen (c->subject) : 0;
  if (len > 5 && !strcmp (c->subject + len - 5, ".json"))
    return mugraph_fail (e, "%s: a file of µGraphs is reused by --file %s", c->subject, c->subject);
  return c->program ? mugraph_program_load (c->program, &c->shape, p, e)
                    : mugraph_program_open (c->subject, &c->shape, p, e);
}

/* Whether the result can be kept in its usual place; --out has been checked already. */
static bool check_place (const cli *c, const session *s, mugraph_error *e) {
  char path[STORE_PATH];
  mugraph_error why;
  if (c->out) return true;
  store_path (&s->program, &c->search, path);
  return (store_make_folder (path, &why) && store_can_write (path, &why)) ||
         mugraph_fail (e, "%s (--out FILE saves elsewhere)", why.text);
}

/* --out -: the file goes to stdout when the session is done. */
static bool write_file (session *s, mugraph_error *e) {
  if (!s->saved || strcmp (s->path, "-")) return true;
  char *text = mugraph_file_print (&s->file);
  s->saved = text ? cli_write ("-", text, strlen (text), e) : mugraph_fail (e, "out of memory");
  free (text);
  return s->saved;
}

int cli_search (const cli *c, mugraph_error *e) {
  session *s = cli_session_new (c, e);
  int status = CLI_BAD;
  if (s && open_program (c, &s->program, e) && cli_session_scales (c, s, e) && session_can_verify (&s->program, e) &&
      check_place (c, s, e)) {
    if (cli_text (c) && c->batch && !s->program.uses_batch)
      fprintf (cli_text (c), "note: %s does not use b; -b %d changes nothing\n", s->program.name, c->batch);
    bool good = session_search (s, e) && write_file (s, e);
    status = cli_session_finish (c, s, good, e);
  }
  session_free (s);
  return status;
}
