/* msearch: the command line. Parses, dispatches, and is the only place that ends the process. */
#include "cli.h"
#include "mugraph/file/text.h"
#include "search/log.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void stop (int number) { cli_stop = number; }

/* A file must not take the number of a standard stream that was closed: what is printed would go into it. Read-only, so
   that printing to it fails as before. A limit on file sizes is an error of the write, as a full disk is. */
static bool prepare_process (void) {
  for (int fd = 0; fd <= STDERR_FILENO; fd++)
    if (fcntl (fd, F_GETFD) < 0 && open ("/dev/null", fd ? O_RDONLY : O_WRONLY) != fd) return false;
  return signal (SIGXFSZ, SIG_IGN) != SIG_ERR;
}

/* The first signal asks a search or a verification to stop and keep what it has; the second has its usual effect. */
static void catch_signals (void) {
  struct sigaction a = {.sa_handler = stop, .sa_flags = (int) SA_RESETHAND};
  sigemptyset (&a.sa_mask);
  sigaction (SIGINT, &a, NULL);
  sigaction (SIGTERM, &a, NULL);
}

static int run (const cli *c, mugraph_error *e) {
  if (!cli_check_outputs (c, e)) return CLI_BAD;
  log_set_level (c->log);
  switch (c->command) {
  case 'l': return cli_list (c, e);
  case 'h': return cli_show (c, e);
  case 'v': catch_signals (); return cli_verify (c, e);
  case 'e': return cli_emit (c, e);
  case 'i': return cli_import (c, e);
  case 'x': catch_signals (); return cli_explain (c, e);
  case 'f': catch_signals (); return cli_file (c, e);
  default: catch_signals (); return cli_search (c, e);
  }
}

/* File names and arguments may hold anything; what reaches a terminal is UTF-8 without control characters. */
static void clean (char *text) {
  size_t len = strlen (text), bad;
  while ((bad = mugraph_check_utf8 (text, len)) < len) text[bad] = '?';
  for (; *text; text++)
    if (((unsigned char) *text < 32 && *text != '\n') || *text == 127) *text = '?';
}

int main (int argc, char **argv) {
  static cli c;
  mugraph_error e = {""};
  int status = CLI_BAD;
  if (!prepare_process ()) return CLI_BAD;
  if (cli_parse (argc, argv, &c, &e)) {
    if (c.help || c.version) {
      if (c.help) cli_help (stdout, c.help > 1);
      else cli_version (stdout);
      status = CLI_DONE;
    } else status = run (&c, &e);
  }
  if ((fflush (stdout) || ferror (stdout)) && status != CLI_BAD) {
    mugraph_fail (&e, "stdout cannot be written");
    status = CLI_BAD;
  }
  clean (e.text);
  if (status == CLI_BAD) fprintf (stderr, "msearch: error: %s\n", e.text);
  return status;
}
