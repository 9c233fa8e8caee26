/* Sessions as a library has them: no command line, nothing printed. A search without a GPU, its file found again, kept
   apart for other bounds; reuse of a file; what the store says of files that do not answer. */
#include "mugraph/file/load.h"
#include "tools/session/session.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/msearch-session-XXXXXX", heard[10000];

/* Collects what the listener is told. */
static void listen_to (void *user, const char *text) {
  size_t n = strlen (heard);
  (void) user;
  assert_null (strchr (text, '\n'));
  snprintf (heard + n, sizeof heard - n, "%s\n", text);
}

/* A small program and no GPU. */
static session *new_session (void) {
  static const char text[] = "input X[4, 64]: f16\ninput W[64, 32]: f16\noutput O = matmul(X, W) / sum(X, 1)\n";
  mugraph_error e;
  session *s = session_new ();
  assert_non_null (s);
  if (!mugraph_program_parse (text, strlen (text), "small.mg", NULL, &s->program, &e)) fail_msg ("%s", e.text);
  s->device = *cuda_device_find ("h100");
  s->options.search.threads = 2;
  s->options.listener.show = listen_to;
  heard[0] = 0;
  return s;
}

static void search (session *s) {
  mugraph_error e;
  if (!session_search (s, &e)) fail_msg ("%s", e.text);
}

static void searched_once (void **state) {
  (void) state;
  session *first = new_session (), *again = new_session ();
  search (first);
  assert_true (first->best == 0 && first->saved && !first->cached && !first->interrupted);
  assert_true (first->verified && first->verify.verdict == VERIFY_EQUIVALENT);
  assert_true (!first->gpu.tried && first->gpu.model_rank == -1);
  assert_int_equal (strncmp (first->path, STORE_FOLDER "/", strlen (STORE_FOLDER) + 1), 0);
  assert_int_equal (access (first->path, F_OK), 0);
  search (again);
  assert_true (again->cached && !again->saved && again->best == 0);
  assert_string_equal (again->path, first->path);
  assert_true (mugraph_equal (&again->file.saved[0].graph, &first->file.saved[0].graph));
  assert_string_equal (heard, "");
  session_free (first);
  session_free (again);
}

/* Other bounds are another question; a file that answers another one is said to be of no use and replaced. */
static void other_bounds (void **state) {
  (void) state;
  session *usual = new_session (), *other = new_session (), *third = new_session ();
  search (usual);
  other->options.search.block_ops = 7;
  search (other);
  assert_true (!other->cached && strcmp (other->path, usual->path));
  third->options.search.block_ops = 7;
  third->options.path = usual->path;
  heard[0] = 0;
  search (third);
  assert_true (!third->cached && third->saved);
  assert_non_null (strstr (heard, "it is for another program, other shapes or other bounds"));
  session_free (usual);
  session_free (other);
  session_free (third);
}

/* Nowhere: nothing is written, the caller has the file. */
static void kept_by_the_caller (void **state) {
  (void) state;
  session *s = new_session ();
  s->options.path = "-";
  search (s);
  assert_true (s->saved && s->file.n > 0 && access ("-", F_OK));
  session_free (s);
}

static void reused (void **state) {
  mugraph_error e;
  (void) state;
  session *found = new_session (), *s = new_session ();
  search (found);
  assert_false (session_reuse (s, &e)); /* no file */
  assert_non_null (strstr (e.text, "holds no µGraph"));
  if (!mugraph_file_load_any (found->path, &s->file, &e)) fail_msg ("%s", e.text);
  if (!session_reuse (s, &e)) fail_msg ("%s", e.text);
  assert_true (s->reuse && s->best == 0 && !s->saved && s->verify.verdict == VERIFY_EQUIVALENT);
  session_free (found);
  session_free (s);
}

/* A stop that is set already: what was found so far does not replace a better result. */
static void stopped (void **state) {
  int stop = 1;
  mugraph_file before, after;
  mugraph_error e;
  (void) state;
  session *found = new_session (), *s = new_session ();
  search (found);
  if (!mugraph_file_load (found->path, &before, &e)) fail_msg ("%s", e.text);
  s->options.fresh = true;
  s->options.stop = &stop;
  search (s);
  assert_true (s->interrupted);
  if (!mugraph_file_load (found->path, &after, &e)) fail_msg ("%s", e.text);
  assert_true (after.n == before.n && mugraph_equal (&after.saved[0].graph, &before.saved[0].graph));
  mugraph_file_free (&before);
  mugraph_file_free (&after);
  session_free (found);
  session_free (s);
}

/* Times stay with the µGraphs that they are of, but for those of the device that was measured again. */
static void times_stay (void **state) {
  mugraph_file now;
  mugraph_error e;
  (void) state;
  session *s = new_session ();
  search (s);
  assert_true (mugraph_record_set (mugraph_saved_measure (&s->file.saved[0], "A"), "cold_us", 8));
  assert_true (mugraph_record_set (mugraph_saved_measure (&s->file.saved[0], "A"), "cold_pdl_us", 1));
  assert_true (mugraph_record_set (mugraph_saved_measure (&s->file.saved[0], "B"), "cold_us", 5));
  if (!mugraph_file_save (s->path, &s->file, &e)) fail_msg ("%s", e.text);
  if (!mugraph_file_load (s->path, &now, &e)) fail_msg ("%s", e.text);
  cJSON_Delete (now.saved[0].measured);
  now.saved[0].measured = NULL;
  store_keep_times (s->path, &now, "B");
  assert_true (measured_first (&now, "A") == 0 && measured_first (&now, "B") == -1);
  assert_true (fabs (measured_score (measured_best (&now)) - 2) < 1e-9); /* 8^(1/3) 1^(2/3) */
  assert_true (isinf (measured_score (NULL)));
  mugraph_file_free (&now);
  session_free (s);
}

static void places (void **state) {
  mugraph_error e;
  char **path;
  (void) state;
  assert_true (store_can_write ("new.json", &e) && store_can_write ("/dev/null", &e));
  assert_false (store_can_write ("/", &e));
  assert_non_null (strstr (e.text, "is a directory"));
  assert_false (store_can_write ("nowhere/new.json", &e));
  assert_non_null (strstr (e.text, "cannot be written"));
  int n = store_files (&path);
  assert_true (n >= 2); /* of other_bounds */
  for (int i = 1; i < n; i++) assert_true (strcmp (path[i - 1], path[i]) != 0);
  store_files_free (n, path);
}

static int set_up (void **state) {
  (void) state;
  return !mkdtemp (folder) || chdir (folder);
}

static int tear_down (void **state) {
  char command[100];
  (void) state;
  snprintf (command, sizeof command, "rm -rf %s", folder);
  return chdir ("/") || system (command);
}

int main (void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test (searched_once), cmocka_unit_test (other_bounds), cmocka_unit_test (kept_by_the_caller),
      cmocka_unit_test (reused),        cmocka_unit_test (stopped),      cmocka_unit_test (times_stay),
      cmocka_unit_test (places)};
  return cmocka_run_group_tests (tests, set_up, tear_down);
}
