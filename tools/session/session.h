/* One question from beginning to end: search for µGraphs of a program, or reuse those of a file; verify the best,
   compile it, compare and time it on the GPU, keep the result. Nothing here prints or knows of a command line: what is
   worth saying goes to the listener, what was found stands in the struct.

   A session is filled by its caller, run once, read, and freed:
     session *s = session_new ();
     s->options, s->facts, s->device, s->program (session_reuse: s->file too)
     session_search (s, &e) or session_reuse (s, &e)                                                              */
#ifndef TOOLS_SESSION_SESSION_H
#define TOOLS_SESSION_SESSION_H

#include "cuda_templates/runtime/probe.h"
#include "measured.h"
#include "store.h"

#ifndef MSEARCH_VERSION
#define MSEARCH_VERSION "unknown" /* the Makefile says */
#endif

typedef struct {
  search_options search;
  const char *path; /* where the result is kept; NULL: the store's own place; "-": nowhere, the caller takes s->file */
  bool fresh;       /* search even where an earlier result answers */
  bool no_time;     /* on the GPU, compare but do not time */
  double scale[MUGRAPH_INPUTS]; /* inputs are drawn from N(0,1) times these, by the program's inputs */
  const volatile int *stop;     /* may be NULL; set by a signal handler: stop and keep what there is */
  session_listener listener;
  search_progress progress; /* may be NULL */
  void *progress_user;
} session_options;

typedef struct {
  /* set by the caller before the run */
  session_options options;
  cuda_facts facts;   /* of this machine */
  cuda_device device; /* that costs and code are made for */
  mugraph_program program;
  char path[STORE_PATH]; /* of the µGraphs; session_search sets it */
  mugraph_file file;     /* owned */

  /* results */
  bool reuse;       /* session_reuse ran */
  int best;         /* index in file.saved; -1: none */
  bool cached;      /* the file was there before */
  bool saved, kept; /* written; an earlier result was better and stays */
  bool interrupted; /* *stop was set, or a deadline cut the search */
  bool rescheduled; /* the structures of the file were scheduled again for this device */
  bool verified;    /* verify is of the best */
  verify_report verify;
  int compiled; /* the best: 1 it compiles, 0 not tried, -1 failed */
  double compile_seconds;
  char compile_note[600]; /* why it failed */
  measured_result gpu;
  double start; /* of the run, by tune_now */
} session;

/* An empty session with the default options; NULL without memory. */
session *session_new (void);
void session_free (session *); /* or NULL */

/* Looks up an earlier result or searches, then verifies, compiles or measures, and saves. False only for errors, with
   what was done so far in s; finding nothing is s->best < 0, a wrong answer stands in s->verify and s->gpu. */
bool session_search (session *, mugraph_error *e);

/* The same for the µGraphs of s->file, which are neither searched for nor saved. */
bool session_reuse (session *, mugraph_error *e);

/* Whether this machine can evaluate the program: without that nothing about it can be verified. */
bool session_can_verify (const mugraph_program *, mugraph_error *e);

#endif
