/* What tests of the command line share: they run a binary in a folder of their own and look at what it printed. The
   binary is $MSEARCH, else the one in the folder above the test's. */
#ifndef TESTS_CLI_RUN_H
#define TESTS_CLI_RUN_H

#include <cjson/cJSON.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX_ARGUMENTS = 30, OUTPUT_BYTES = 1 << 20, KILLED = 1000 };

static char binary[5000], root[4096], here[4096]; /* msearch; the repository; the folder of this test */
static char folder[] = "/tmp/msearch-cli-XXXXXX"; /* the tests' own, where they run */
static char out[OUTPUT_BYTES], err[OUTPUT_BYTES]; /* of the process that finished last */

/* ---- the folder and the binary ---- */

static inline int find_binary (void) {
  const char *given = getenv ("MSEARCH");
  char path[5000], full[4096];
  ssize_t n = readlink ("/proc/self/exe", here, sizeof here - 1);
  if (n < 0 || !getcwd (root, sizeof root)) return -1;
  here[n] = 0;
  *strrchr (here, '/') = 0;
  if (given) snprintf (path, sizeof path, "%s", given);
  else snprintf (path, sizeof path, "%s/../msearch", here);
  if (!realpath (path, full)) {
    fprintf (stderr, "no binary: %s\n", path);
    return -1;
  }
  snprintf (binary, sizeof binary, "%s", full);
  return 0;
}

static inline int set_up (void **state) {
  (void) state;
  return find_binary () || !mkdtemp (folder) || chdir (folder);
}

static inline int tear_down (void **state) {
  char command[100];
  (void) state;
  snprintf (command, sizeof command, "rm -rf %s", folder);
  return chdir ("/") || system (command);
}

static inline const char *in_source (const char *path) {
  static char full[5000];
  snprintf (full, sizeof full, "%s/%s", root, path);
  return full;
}

/* ---- running ---- */

typedef struct {
  pid_t pid;
  FILE *out, *err;
} process;

static inline process start (const char *const arguments[], const char *variable, const char *value) {
  char *argv[MAX_ARGUMENTS + 2] = {binary};
  process p = {0, tmpfile (), tmpfile ()};
  assert_true (p.out && p.err);
  for (int n = 0; arguments[n]; n++) {
    assert_true (n < MAX_ARGUMENTS);
    argv[n + 1] = (char *) arguments[n];
  }
  p.pid = fork ();
  assert_true (p.pid >= 0);
  if (p.pid) return p;
  dup2 (fileno (p.out), 1);
  dup2 (fileno (p.err), 2);
  if (variable) setenv (variable, value, 1);
  execv (binary, argv);
  _exit (99);
}

static inline void read_back (FILE *f, char text[OUTPUT_BYTES]) {
  rewind (f);
  text[fread (text, 1, OUTPUT_BYTES - 1, f)] = 0;
  fclose (f);
}

static inline int status_of (int waited) {
  return WIFEXITED (waited) ? WEXITSTATUS (waited) : KILLED + WTERMSIG (waited);
}

/* The exit status; KILLED + signal when it did not exit. */
static inline int finish (process p) {
  int status;
  while (waitpid (p.pid, &status, 0) < 0) assert_int_equal (errno, EINTR);
  read_back (p.out, out);
  read_back (p.err, err);
  return status_of (status);
}

#define START(...) start ((const char *const[]){__VA_ARGS__, NULL}, NULL, NULL)
#define RUN(...) finish (START (__VA_ARGS__))

/* A shell command whose stdout and stderr go to out; err is empty. Returns the exit status, as finish. */
static inline int shell (const char *command) {
  FILE *p = popen (command, "r");
  assert_non_null (p);
  size_t size = fread (out, 1, OUTPUT_BYTES - 1, p);
  out[size] = err[0] = 0;
  return status_of (pclose (p));
}

/* ---- files ---- */

static inline void write_file (const char *name, const char *text) {
  FILE *f = fopen (name, "w");
  assert_non_null (f);
  fputs (text, f);
  assert_int_equal (fclose (f), 0);
}

/* NULL: there is none. Valid until the next call. */
static inline char *read_file (const char *name) {
  static char text[OUTPUT_BYTES];
  FILE *f = fopen (name, "r");
  if (f) read_back (f, text);
  return f ? text : NULL;
}

/* Owned by the caller; NULL: no file, or no JSON. */
static inline cJSON *read_json (const char *name) {
  const char *text = read_file (name);
  return text ? cJSON_Parse (text) : NULL;
}

/* ---- what must be in them ---- */

static inline void must_have (const char *text, const char *part) {
  if (!strstr (text, part)) fail_msg ("no \"%s\" in:\n%s", part, text);
}

/* One line, said on stderr as an error; nothing on stdout. */
static inline void must_fail (int status, const char *what) {
  static const char prefix[] = "msearch: error: ";
  if (status != 2) fail_msg ("status %d, wanted 2 (%s):\n%s%s", status, what, out, err);
  if (out[0]) fail_msg ("stdout has: %s", out);
  if (strncmp (err, prefix, strlen (prefix))) fail_msg ("stderr has: %s", err);
  must_have (err, what);
}

static inline int lines (const char *text) {
  int n = 0;
  for (; *text; text++) n += *text == '\n';
  return n;
}

/* out holds exactly one JSON object. */
static inline cJSON *one_object (void) {
  const char *end;
  cJSON *o = cJSON_ParseWithOpts (out, &end, false);
  if (!o || !cJSON_IsObject (o)) fail_msg ("no object: %s", out);
  assert_int_equal (strspn (end, " \t\r\n"), strlen (end));
  return o;
}

/* The member at a path ("gpu.correct"); NULL: there is none. */
static inline const cJSON *member (const cJSON *o, const char *path) {
  char copy[100];
  snprintf (copy, sizeof copy, "%s", path);
  for (char *save = NULL, *name = strtok_r (copy, ".", &save); o && name; name = strtok_r (NULL, ".", &save))
    o = cJSON_GetObjectItemCaseSensitive (o, name);
  return o;
}

/* It must be there. */
static inline const cJSON *at (const cJSON *o, const char *path) {
  const cJSON *m = member (o, path);
  if (!m) fail_msg ("no member %s in: %s", path, out);
  return m;
}

#endif
