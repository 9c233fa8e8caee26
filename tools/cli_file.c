/* msearch --file: reuse saved µGraphs: verify, compile, measure, report. */
#include "cli.h"
#include "mugraph/file/load.h"

static bool open_file (const cli *c, session *s, mugraph_error *e) {
  int order[MUGRAPH_INPUTS];
  if (!mugraph_file_load_any (c->file, &s->file, e)) return false;
  snprintf (s->path, sizeof s->path, "%s", c->file);
  if (!s->file.n) return mugraph_fail (e, "%s: holds no µGraph", c->file);
  return cli_file_program (c, c->file, &s->file, &s->program, order, e) && cli_session_scales (c, s, e);
}

int cli_file (const cli *c, mugraph_error *e) {
  session *s = cli_session_new (c, e);
  int status = CLI_BAD;
  if (s && open_file (c, s, e)) status = cli_session_finish (c, s, session_reuse (s, e), e);
  session_free (s);
  return status;
}
