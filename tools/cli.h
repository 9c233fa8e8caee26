/* The command line: options, commands, reports. Errors are one line (a program's source line and caret may follow) and
   exit status 2; see EXIT_ below. */
#ifndef TOOLS_CLI_H
#define TOOLS_CLI_H

#include "cuda_templates/cuda.h"
#include "cuda_templates/plan.h"
#include "cuda_templates/runtime/meter.h"
#include "cuda_templates/runtime/probe.h"
#include "mugraph/file/json.h"
#include "mugraph/program/program.h"
#include "search/search.h"
#include <stdio.h>

#ifndef MSEARCH_VERSION
#define MSEARCH_VERSION "unknown" /* the Makefile says */
#endif
#define CLI_FOLDER "saved_mugraphs"

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
  char command;        /* s search, f --file, l list, h show, v verify, e emit, i import */
  const char *subject; /* workload or file; NULL: none */
  /* the fields of options.def */
  int batch, arch, index;
  mugraph_program_options shape; /* overrides; its batch is filled in from -b */
  const char *program, *file, *inputs, *out, *json, *device;
  cli_scales scale;
  bool no_gpu, no_time, fresh, dot, svg, tiles, quiet, version;
  int verbose, help; /* help: 1 -h, 2 --help */
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

/* The program that a file's µGraphs should compute: --program's at the batch size that fits, else the file's own, else
   the workload that the file is named after. Puts the µGraphs' inputs in the program's order where --inputs or their
   shapes say that they are in another. */
bool cli_file_program (const cli *, const char *path, mugraph_file *, mugraph_program *, mugraph_error *);

/* Whether this machine can evaluate the program: without that nothing about it can be verified. */
bool cli_check_size (const mugraph_program *, mugraph_error *);

/* The commands; each returns the exit status, with e set when it is CLI_BAD. */
int cli_search (const cli *, mugraph_error *);
int cli_list (const cli *, mugraph_error *);
int cli_show (const cli *, mugraph_error *);
int cli_verify (const cli *, mugraph_error *);
int cli_emit (const cli *, mugraph_error *);
int cli_import (const cli *, mugraph_error *);

/* ---- one search or reuse, and its reports (cli_search.c fills it, cli_report.c shows it) ---- */

typedef struct {
  const cli *c;
  FILE *text; /* may be NULL */
  cuda_facts facts;
  cuda_device device;
  mugraph_program program; /* --file: the program in it, or --program's */
  char path[4096];         /* of the µGraphs */
  mugraph_file file;
  int best; /* index in file.saved; -1: none */
  bool cached, saved, kept, interrupted, rescheduled;
  verify_report verify; /* of the best */
  bool verified;
  int compiled; /* of the best: 1 it compiles, 0 not tried, -1 failed */
  double compile_seconds, tune_seconds;
  char compile_note[600];
  bool measured;     /* the best ran on this machine's GPU in this run */
  bool correct, pdl; /* its outputs are right; its better time is with programmatic dependent launch */
  double rel_err, warm_us, cold_us, plain_us; /* plain_us: cold, launched plainly */
  int model_rank;                             /* the model's rank of the best, from 0; -1: unknown */
  int near_rank;                              /* the first rank of any that is as good (COST_NEAR) */
  int n_measured, n_wrong;
  double start;      /* of the run, by tune_now */
  cuda_meter *meter; /* while something is measured */
  uint64_t distinct; /* structures among the saved */
} cli_session;

/* A name in the report, padded; to be followed by the rest of the line. */
void cli_label (FILE *, const char *label);
void cli_report_text (const cli_session *);
cJSON *cli_report_json (const cli_session *);
/* "12,345,678" */
char *cli_count (double, char buffer[40]);
/* "Q 16x256x64, K 16x64x4096 -> O 16x256x64" */
char *cli_signature (const mugraph *, char *buffer, size_t size);
/* ", backend 2 warps 16": what of the schedules is not the default */
char *cli_schedule (const mugraph *, char *buffer, size_t size);
int cli_kernels (const mugraph *);
/* cost_score of the cold times in a record of measurements, best_us in those of older versions; infinity: not timed. */
double cli_measured_score (const cJSON *record);

#endif
