/* The command line: options, commands, reports. Errors are one line (a program's source line and caret may follow) and
   exit status 2; see EXIT_ below. */
#ifndef TOOLS_CLI_H
#define TOOLS_CLI_H

#include "cuda_templates/cuda.h"
#include "mugraph/program/program.h"
#include "session/session.h"
#include <stdio.h>

enum { CLI_DONE = 0, CLI_WRONG = 1, CLI_BAD = 2, CLI_NOTHING = 3, CLI_INTERRUPTED = 130 };

/* --scale NAME=X */
typedef struct {
  int n;
  struct {
    char name[MUGRAPH_NAME];
    double factor;
  } of[MUGRAPH_INPUTS];
} cli_scales;

typedef struct {
  char **argv; /* for the command that runs it again */
  int argc;
  char command;        /* s search, f --file, l list, h show, v verify, e emit, i import, x explain */
  const char *subject; /* workload or file; NULL: none */
  /* the fields of options.def */
  int batch, arch, index;
  mugraph_program_options shape; /* overrides; its batch is filled in from -b */
  const char *program, *file, *inputs, *out, *json, *device;
  cli_scales scale;
  bool no_gpu, no_time, fresh, dot, svg, tiles, quiet, version;
  int verbose, log, help; /* help: 1 -h, 2 --help */
  search_options search;
} cli;

/* Set by the first SIGINT or SIGTERM; the second one kills. */
extern volatile int cli_stop;

bool cli_parse (int argc, char **argv, cli *, mugraph_error *);
void cli_help (FILE *, bool full);
void cli_version (FILE *);

/* "gqa -b 8 --fresh": the command line, quoted for a shell, with --fresh exactly if fresh. Owned by the caller. */
char *cli_command (const cli *, bool fresh);

/* Where what is for people goes: stdout, or stderr when stdout carries JSON or a file; NULL: nowhere (--quiet). */
FILE *cli_text (const cli *);

/* Writes to path, "-" or NULL: stdout. */
bool cli_write (const char *path, const char *text, size_t size, mugraph_error *);

/* Whether --out and --json can be written, asked before time is spent on what goes there. */
bool cli_check_outputs (const cli *, mugraph_error *);

/* Writes a JSON object to --json, if that was given. Deletes it. */
bool cli_write_json (const cli *, cJSON *, mugraph_error *);

/* The device that costs and code are made for; facts as cuda_probe found them (NULL: not asked). */
bool cli_device (const cli *, const cuda_facts *, cuda_device *, mugraph_error *);

/* What this machine can do, with --no-gpu taken into account. */
void cli_probe (const cli *, cuda_facts *);

/* The file that a command is about: a workload stands for the file that its search saved. */
bool cli_find_file (const cli *, char path[STORE_PATH], mugraph_error *e);
/* Loads it, of either format, and checks --index. On failure the file is empty. */
bool cli_load_indexed (const cli *, mugraph_file *, mugraph_error *e);

/* The workload that a file's name stands for: "dir/gated_mlp_bs8.json" is gatedmlp; NULL: none. */
const mugraph_workload *cli_named_after (const char *path);

/* The program that a file's µGraphs should compute: --program's at the batch size that fits, else the file's own, else
   the workload that the file is named after. Puts the µGraphs' inputs in the program's order where --inputs or their
   shapes say that they are in another: order[k] is the input of the program that the file's k-th became. */
bool cli_file_program (const cli *, const char *path, mugraph_file *, mugraph_program *, int order[], mugraph_error *);
/* "H, X, alpha": the names that the program gives to a file's inputs. Returns text. */
const char *cli_order_text (const mugraph *program, const int order[], const char *separator, char *text, size_t size);

/* The commands; each returns the exit status, with e set when it is CLI_BAD. */
int cli_search (const cli *, mugraph_error *);
int cli_file (const cli *, mugraph_error *);
int cli_list (const cli *, mugraph_error *);
int cli_show (const cli *, mugraph_error *);
int cli_verify (const cli *, mugraph_error *);
int cli_emit (const cli *, mugraph_error *);
int cli_import (const cli *, mugraph_error *);
int cli_explain (const cli *, mugraph_error *);

/* ---- a session of the command line: cli_search and cli_file run it between these two ---- */

/* With the options and the device of the command line; program and file are left to the caller, who frees it. */
session *cli_session_new (const cli *, mugraph_error *);
/* --scale, whose names are the program's. */
bool cli_session_scales (const cli *, session *, mugraph_error *);
/* Reports; good: the run ended well, else e says why not. Returns the exit status. */
int cli_session_finish (const cli *, session *, bool good, mugraph_error *e);

void cli_report_text (const cli *, const session *);
cJSON *cli_report_json (const session *); /* owned by the caller */

/* ---- texts of several reports; those with a buffer return it ---- */

/* A name in the report, padded; to be followed by the rest of the line. */
void cli_label (FILE *, const char *label);
/* "12,345,678" */
char *cli_count (double, char buffer[40]);
/* "Q 16x256x64, K 16x64x4096 -> O 16x256x64" */
char *cli_signature (const mugraph *, char *buffer, size_t size);
/* ", stream, 16 warps; chain, 8 warps": what of the schedules of its kernels is not the default */
char *cli_schedule (const mugraph *, char *buffer, size_t size);
/* "6.90 us (3.58 with calls overlapping) on DEVICE"; an empty text when nothing was measured. */
char *cli_measured (const cJSON *record, char *buffer, size_t size);
int cli_kernels (const mugraph *);

#endif
