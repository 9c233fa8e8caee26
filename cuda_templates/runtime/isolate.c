#include "isolate.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
  NOBODY_ASKS = 0,
  REPLIED = 113, /* exit status of a worker; any other: it died of a request */
  PATIENCE = 300 /* seconds for one measurement; a kernel may wait for ever */
};

static int line = -1; /* to the guardian */

static bool move (int to, void *data, size_t size, bool out) {
  for (char *p = data; size;) {
    ssize_t n = out ? send (to, p, size, MSG_NOSIGNAL) : recv (to, p, size, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    p += n, size -= (size_t) n;
  }
  return true;
}

/* ---- the worker ---- */

static bool same_question (const isolate_request *a, const isolate_request *b) {
  return a->seed == b->seed && !memcmp (a->scale, b->scale, sizeof a->scale) && a->device.arch == b->device.arch &&
         mugraph_equal (&a->program, &b->program);
}

/* Answers until the line closes or the context is lost; never returns. */
static void work (int socket) {
  isolate_request *now = calloc (1, sizeof *now), *last = calloc (1, sizeof *last);
  measurer *meter = NULL;
  isolate_reply reply;
  while (now && last && move (socket, now, sizeof *now, false)) {
    memset (&reply, 0, sizeof reply);
    alarm (PATIENCE);
    now->device.name = now->device.match = "";
    if (!meter || !same_question (now, last)) {
      measurer_free (meter);
      *last = *now;
      meter = measurer_new (&last->program, &last->device, last->seed, last->scale, &reply.error);
    }
    reply.good = meter && measurer_run (meter, &now->candidate, now->pdl, now->tolerance, now->effort, &reply.result,
                                        &reply.error);
    bool lost = !reply.good && !measurer_usable ();
    alarm (0);
    if (!move (socket, &reply, sizeof reply, true)) break;
    if (lost) _exit (REPLIED);
  }
  _exit (NOBODY_ASKS);
}

/* ---- the guardian ---- */

static void guard (int socket) {
  signal (SIGINT, SIG_IGN); /* the terminal sends it to all; whoever asks says when to end */
  for (;;) {
    /* A worker is made when there is something to do, or nobody left. */
    int status;
    char first;
    while (recv (socket, &first, 1, MSG_PEEK) < 0)
      if (errno != EINTR) _exit (1);
    pid_t worker = fork ();
    if (!worker) work (socket);
    if (worker < 0) _exit (1);
    while (waitpid (worker, &status, 0) < 0)
      if (errno != EINTR) _exit (1);
    if (WIFEXITED (status) && WEXITSTATUS (status) == NOBODY_ASKS) _exit (0);
    if (WIFEXITED (status) && WEXITSTATUS (status) == REPLIED) continue;
    isolate_reply reply;
    memset (&reply, 0, sizeof reply);
    if (WIFSIGNALED (status))
      mugraph_fail (&reply.error, "the process that ran it died: %s", strsignal (WTERMSIG (status)));
    else mugraph_fail (&reply.error, "the process that ran it ended with status %d", WEXITSTATUS (status));
    if (!move (socket, &reply, sizeof reply, true)) _exit (1);
  }
}

bool isolate_start (void) {
  int pair[2];
  if (line >= 0) return true;
  if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) return false;
  pid_t guardian = fork ();
  if (!guardian) {
    close (pair[0]);
    guard (pair[1]);
  }
  close (pair[1]);
  if (guardian < 0) return close (pair[0]), false;
  line = pair[0];
  return true;
}

bool isolate_running (void) { return line >= 0; }

bool isolate_ask (const isolate_request *q, isolate_reply *r) {
  if (line >= 0 && move (line, (void *) q, sizeof *q, true) && move (line, r, sizeof *r, false)) return true;
  if (line >= 0) close (line);
  line = -1;
  memset (r, 0, sizeof *r);
  return mugraph_fail (&r->error, "the process that runs kernels is gone");
}
