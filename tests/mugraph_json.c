/* The schema of saved µGraphs: what is written reads back, what is broken is refused with its place, and a file on disk
   is always whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utime.h>
#include <cmocka.h>

#include "edited.h"
#include "mugraph/file/graph_json.h"
#include "mugraph/file/load.h"
#include "mugraph/file/saved.h"
#include "random_mugraph.h"

/* ---- a small file of every construct ---- */

static const char *const base =
    "{\"schema\": \"msearch.mugraph/1\", \"name\": \"tiny\", \"stem\": \"tiny\", \"batch\": 2, \"key\": "
    "\"00000000000000ff\",\n"
    " \"program\": {\"inputs\": [{\"name\": \"X\", \"type\": \"f16\", \"dims\": [2, 64]}, {\"name\": \"W\", \"type\": "
    "\"f16\", \"dims\": [64, 32]}],\n"
    "  \"ops\": [{\"op\": \"matmul\", \"in\": [0, 1], \"out\": [2], \"dims\": [[2, 32]]}], \"outputs\": [{\"tensor\": "
    "2, \"name\": \"O\"}]},\n"
    " \"mugraphs\": [{\"cost_us\": 1.5, \"structure\": \"0123456789abcdef\", \"measured\": {\"GPU\": {\"warm_us\": "
    "2.25}},\n"
    "  \"inputs\": [{\"name\": \"X\", \"type\": \"f16\", \"dims\": [2, 64]}, {\"name\": \"W\", \"type\": \"f16\", "
    "\"dims\": [64, 32]}],\n"
    "  \"ops\": [{\"op\": \"graph\", \"in\": [0, 1], \"out\": [2], \"grid\": [4, 1, 1], \"loop\": 8, \"sched\": "
    "{\"warps\": 4}, \"block\": [\n"
    "    {\"op\": \"input\", \"from\": 0, \"imap\": [-1, -1, -1], \"fmap\": 1},\n"
    "    {\"op\": \"input\", \"from\": 1, \"imap\": [1, -1, -1], \"fmap\": 0, \"tile\": [8, 8]},\n"
    "    {\"op\": \"matmul\", \"in\": [0, 1]}, {\"op\": \"accum\", \"in\": [2]}, {\"op\": \"clamp\", \"in\": [3], "
    "\"low\": -1, \"high\": 1},\n"
    "    {\"op\": \"output\", \"in\": [4], \"omap\": [1, -1, -1]}]},\n"
    "   {\"op\": \"sum\", \"in\": [2], \"out\": [3], \"dim\": 1}, {\"op\": \"const\", \"out\": [4], \"value\": 0.5},\n"
    "   {\"op\": \"mul\", \"in\": [3, 4], \"out\": [5], \"names\": [\"scaled\"]}],\n"
    "  \"outputs\": [{\"tensor\": 5, \"name\": \"O\"}]}],\n"
    " \"verify\": {\"p\": 7, \"equivalent\": true}, \"search\": {\"seconds\": 0.1}}\n";

static void base_is_read (void **state) {
  (void) state;
  mugraph_file f;
  mugraph_error e = {""};
  if (!mugraph_file_parse ("tiny.json", base, strlen (base), &f, &e)) fail_msg ("%s", e.text);
  assert_string_equal (f.name, "tiny");
  assert_int_equal (f.batch, 2);
  assert_int_equal (f.key, 255);
  assert_true (f.has_program);
  assert_int_equal (f.n, 1);
  const mugraph *g = &f.saved[0].graph;
  assert_int_equal (g->n_ops, 4);
  assert_int_equal (g->block[0].op[2].shape.dim[1], 8);
  assert_int_equal (g->block[0].sched.warps, 4);
  assert_int_equal (g->block[0].sched.split, 1); /* left out: the default */
  assert_true (g->block[0].op[4].c[0] == -1);
  assert_string_equal (g->tensor[5].name, "scaled");
  assert_true (f.saved[0].cost_us == 1.5);
  assert_true (f.saved[0].structure == mugraph_hash (g, false));
  assert_true (mugraph_record_number (mugraph_saved_measure (&f.saved[0], "GPU"), "warm_us", 0) == 2.25);
  assert_true (mugraph_record_number (f.verify, "equivalent", 0) == 1);
  assert_true (mugraph_record_number (f.verify, "missing", -3) == -3);
  mugraph_file_free (&f);
}

/* Each row breaks the base in one place; the message must say where and what. */
static void broken_files_are_refused (void **state) {
  (void) state;
  static const struct {
    const char *from, *to, *error;
  } rows[] = {
      {"msearch.mugraph/1", "msearch.mugraph/2", "bad.json: schema: \"msearch.mugraph/2\" is not known"},
      {"\"schema\": \"msearch.mugraph/1\", ", "", "bad.json: schema: a text is missing"},
      {"\"batch\": 2", "\"batch\": -2", "batch: -2 is out of range"},
      {"\"batch\": 2", "\"batch\": 2.5", "batch: 2.5 is no integer"},
      {"\"batch\": 2", "\"batch\": 1e99", "no integer"},
      {"\"batch\": 2", "\"batch\": \"2\"", "batch: must be an integer, is a text"},
      {"00000000000000ff", "ff", "key: must be 16 hexadecimal digits"},
      {"\"stem\": \"tiny\"", "\"stm\": \"tiny\"", "unknown member \"stm\""},
      {"\"stem\": \"tiny\"", "\"st\\nem\": \"tiny\"", "unknown member \"st?em\""},
      {"\"stem\": \"tiny\"", "\"name\": \"tiny\"", "member \"name\" occurs twice"},
      {"\"name\": \"tiny\"", "\"name\": \"a\\nb\"", "name: has a control character"},
      {"[2, 64]", "[2, 0]", "program.inputs[0].dims[1]: 0 is out of range"},
      {"[2, 64]", "[2, 2147483648]", "program.inputs[0].dims[1]: 2147483648 is out of range"},
      {"[2, 64]", "[268435456, 268435456]", "elements"},
      {"[2, 64]", "[2, 65]", "matmul"},
      {"[2, 64]", "[]", "program.inputs[0].dims: 0 elements"},
      {"[2, 64]", "[1,1,1,1,1]", "program.inputs[0].dims: more than 4 elements"},
      {"\"f16\"", "\"f17\"", "program.inputs[0].type: unknown data type \"f17\""},
      {"{\"op\": \"matmul\", \"in\": [0, 1], \"out\": [2], \"dims\": [[2, 32]]}",
       "{\"op\": \"matmul\", \"in\": [0, 1], \"out\": [2], \"dims\": [[2, 33]]}",
       "program.ops[0].dims[0]: the operator's shape is [2, 32]"},
      {"\"op\": \"matmul\"", "\"op\": \"matmull\"", "program.ops[0].op: unknown operator \"matmull\""},
      {"\"op\": \"matmul\"", "\"op\": \"accum\"", "program.ops[0].op: accum is no operator of a kernel graph"},
      {"\"op\": \"matmul\"", "\"op\": \"exp\"", "program.ops[0].in: more than 1 elements"},
      {"\"in\": [0, 1]", "\"in\": [0]", "program.ops[0].in: 1 elements, at least 2"},
      {"\"in\": [0, 1]", "\"in\": [0, 2]", "program.ops[0].in[1]: tensor 2 is computed by nothing before"},
      {"\"in\": [0, 1]", "\"in\": [0, 128]", "program.ops[0].in[1]: 128 is out of range"},
      {"\"in\": [0, 1]", "\"in\": [0, -1]", "program.ops[0].in[1]: -1 is out of range"},
      {"\"in\": [0, 1]", "\"in\": [0, null]", "program.ops[0].in[1]: must be an integer, is null"},
      {"\"out\": [2], \"dims\"", "\"out\": [1], \"dims\"", "program.ops[0].out[0]: 1 is out of range"},
      {"\"out\": [2], \"dims\"", "\"out\": [3], \"dims\"", "tensor 2"},
      {"\"tensor\": 2", "\"tensor\": 7", "program.outputs[0].tensor: 7 is out of range"},
      {"\"outputs\": [{\"tensor\": 2, \"name\": \"O\"}]", "\"outputs\": []", "program.outputs: 0 elements"},
      {"\"cost_us\": 1.5", "\"cost_us\": true", "mugraphs[0].cost_us: must be a number, is a truth value"},
      {"\"GPU\": {\"warm_us\": 2.25}", "\"GPU\": 7", "mugraphs[0].measured.GPU: must be an object"},
      {"\"grid\": [4, 1, 1]", "\"grid\": [4, 1]", "mugraphs[0].ops[0].grid: 2 elements"},
      {"\"grid\": [4, 1, 1]", "\"grid\": [0, 1, 1]", "mugraphs[0].ops[0].grid[0]: 0 is out of range"},
      {"\"grid\": [4, 1, 1]", "\"grid\": [4, 2, 1]", "omap"},
      {"\"loop\": 8, ", "", "mugraphs[0].ops[0].loop: an integer is missing"},
      {"\"warps\": 4", "\"warps\": 33", "mugraphs[0].ops[0].sched.warps: 33 is out of range"},
      {"\"warps\": 4", "\"wraps\": 4", "mugraphs[0].ops[0].sched: unknown member \"wraps\""},
      {"\"from\": 1", "\"from\": 2", "mugraphs[0].ops[0].block[1].from: 2 is out of range"},
      {"\"imap\": [1, -1, -1]", "\"imap\": [2, -1, -1]", "mugraphs[0]"},
      {"\"imap\": [1, -1, -1]", "\"imap\": [-2, -1, -1]", "mugraphs[0].ops[0].block[1].imap[0]: -2 is out of range"},
      {"\"fmap\": 0", "\"fmap\": 4", "mugraphs[0].ops[0].block[1].fmap: 4 is out of range"},
      {"\"tile\": [8, 8]", "\"tile\": [8, 9]", "mugraphs[0].ops[0].block[1].tile: the operator's shape is [8, 8]"},
      {"{\"op\": \"matmul\", \"in\": [0, 1]}", "{\"op\": \"matmul\", \"in\": [0, 2]}",
       "mugraphs[0].ops[0].block[2].in[1]: 2 is out of range"},
      {"{\"op\": \"matmul\", \"in\": [0, 1]}", "{\"op\": \"matmul\", \"in\": [0, 1], \"fmap\": 1}",
       "matmul has no \"fmap\""},
      {"{\"op\": \"matmul\", \"in\": [0, 1]}", "{\"op\": \"matmul\", \"in\": [0, 1], \"value\": 1}",
       "matmul has no \"value\""},
      {"{\"op\": \"accum\", \"in\": [2]}", "{\"op\": \"square\", \"in\": [2]}", "saves a value of the loop"},
      {"\"low\": -1, ", "", "mugraphs[0].ops[0].block[4].low: a number is missing"},
      {"\"low\": -1", "\"low\": 1e999", "mugraphs[0].ops[0].block[4].low: too large for a double"},
      {"\"dim\": 1", "\"dim\": 4", "mugraphs[0].ops[1].dim: 4 is out of range"},
      {"\"dim\": 1", "\"dim\": 3", "mugraphs[0]"},
      {"[\"scaled\"]", "[\"scaled\", \"twice\"]", "mugraphs[0].ops[3].names: more than 1 elements"},
      {"[\"scaled\"]", "[\"a name of thirty-two bytes or more\"]",
       "mugraphs[0].ops[3].names[0]: 34 bytes are too long"},
      {"\"verify\": {\"p\": 7, \"equivalent\": true}", "\"verify\": 7", "verify: must be an object, is a number"},
      {"\"p\": 7", "\"p\": 7,,", "bad.json:14:21: not JSON: syntax error"},
      {"{\"seconds\": 0.1}}\n", "{\"seconds\": 0.1}} x", "more text after the end"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char *text = edited (base, rows[i].from, rows[i].to, 0);
    mugraph_file f;
    mugraph_error e = {""};
    if (mugraph_file_parse ("bad.json", text, strlen (text), &f, &e)) fail_msg ("accepted: %s", rows[i].to);
    if (!strstr (e.text, rows[i].error)) fail_msg ("'%s' expected for %s, got: %s", rows[i].error, rows[i].to, e.text);
    assert_int_equal (strncmp (e.text, "bad.json:", 9), 0);
    assert_null (strchr (e.text, '\n'));
    assert_int_equal (f.n, 0);
    assert_null (f.saved);
    free (text);
  }
}

static void deep_nesting_is_refused (void **state) {
  (void) state;
  enum { DEEP = 200000 };
  char *text = malloc (DEEP + 1);
  memset (text, '[', DEEP);
  text[DEEP] = 0;
  mugraph_file f;
  mugraph_error e = {""};
  assert_false (mugraph_file_parse ("deep.json", text, DEEP, &f, &e));
  assert_non_null (strstr (e.text, "deep.json:1:33: nested too deeply"));
  free (text);
}

static void every_truncation_is_refused (void **state) {
  (void) state;
  const size_t whole = strlen (base) - 1; /* the last byte is a newline */
  for (size_t n = 0; n < whole; n++) {
    char *text = malloc (n ? n : 1); /* exactly n bytes, so that a sanitizer sees a read too far */
    memcpy (text, base, n);
    mugraph_file f;
    mugraph_error e = {""};
    if (mugraph_file_parse ("cut.json", text, n, &f, &e)) fail_msg ("%zu of %zu bytes were accepted", n, whole);
    assert_true (*e.text);
    free (text);
  }
}

/* Whatever bytes change, the reader either refuses or returns a graph that inference accepts. */
static void mutated_text_is_never_trusted (void **state) {
  (void) state;
  const size_t n = strlen (base);
  char *text = malloc (n + 1);
  int accepted = 0;
  random_state = 5;
  for (int i = 0; i < 20000; i++) {
    memcpy (text, base, n + 1);
    for (int k = 0, m = 1 + random_below (3); k < m; k++)
      text[random_below ((int) n)] =
          random_chance (50) ? "0123456789-,[]{}\"e."[random_below (19)] : (char) random_below (256);
    mugraph_file f;
    mugraph_error e = {""};
    if (!mugraph_file_parse ("m.json", text, n, &f, &e)) {
      assert_true (*e.text);
      continue;
    }
    accepted++;
    for (int k = 0; k < f.n; k++) {
      if (!mugraph_infer (&f.saved[k].graph, &e)) fail_msg ("accepted but invalid: %s", e.text);
      for (int t = 0; t < f.saved[k].graph.n_tensors; t++) assert_true (f.saved[k].graph.tensor[t].shape.n_dims);
    }
    mugraph_file_free (&f);
  }
  assert_in_range (accepted, 20, 19000); /* the test would say nothing if all or none were */
  free (text);
}

/* ---- what is written reads back ---- */

static void random_graphs_round_trip (void **state) {
  (void) state;
  enum { GRAPHS = 2400 };
  mugraph *g = malloc (sizeof *g), *h = malloc (sizeof *h);
  int customs = 0, loops = 0, savers = 0, constants = 0, seen[MUGRAPH_N_OPS] = {0};
  for (int i = 0; i < GRAPHS; i++) {
    random_state = (uint64_t) i * 1000003 + 17;
    random_mugraph (g, h);
    mugraph_error e = {""};
    if (!mugraph_infer (g, &e)) fail_msg ("seed %d: the generator made an invalid graph: %s", i, e.text);
    for (int k = 0; k < g->n_ops; k++) seen[g->op[k].kind]++, constants += g->op[k].kind == MUGRAPH_OP_CONST;
    for (int k = 0; k < g->n_blocks; k++) {
      customs++;
      loops += g->block[k].loop > 1;
      for (int j = 0; j < g->block[k].n_ops; j++) seen[g->block[k].op[j].kind]++;
    }
    for (int k = 0; k < g->n_ops; k++) savers += g->op[k].n_out > 1;

    cJSON *tree = mugraph_to_json (g);
    if (!mugraph_from_json (tree, "tree", h, &e)) fail_msg ("seed %d: %s", i, e.text);
    if (!mugraph_equal (g, h)) fail_msg ("seed %d: differs after the tree", i);
    cJSON_Delete (tree);

    mugraph_file f, r;
    mugraph_file_init (&f);
    assert_non_null (mugraph_file_append (&f, g, random_chance (50) ? -1 : fabs (random_double ())));
    f.has_program = !g->n_blocks;
    f.program = *g;
    char *text = mugraph_file_print (&f);
    if (!mugraph_file_parse ("text", text, strlen (text), &r, &e)) fail_msg ("seed %d: %s\n%s", i, e.text, text);
    assert_int_equal (r.n, 1);
    if (!mugraph_equal (g, &r.saved[0].graph)) fail_msg ("seed %d: differs after the text:\n%s", i, text);
    assert_true (r.has_program == f.has_program && (!r.has_program || mugraph_equal (&r.program, g)));
    assert_true (r.saved[0].cost_us == f.saved[0].cost_us);
    char *again = mugraph_file_print (&r);
    assert_string_equal (text, again);
    free (text);
    free (again);
    mugraph_file_free (&f);
    mugraph_file_free (&r);
  }
  /* The property says something only if the generator reaches everything. */
  assert_true (customs > GRAPHS / 4 && loops > GRAPHS / 20 && savers > GRAPHS / 20 && constants > GRAPHS / 20);
  for (int kind = 0; kind < MUGRAPH_N_OPS; kind++)
    if (!seen[kind]) fail_msg ("no random graph has a %s", mugraph_op_table[kind].text);
  free (g);
  free (h);
}

static void records_round_trip (void **state) {
  (void) state;
  mugraph_file f, r;
  mugraph_error e = {""};
  assert_true (mugraph_file_parse ("tiny.json", base, strlen (base), &f, &e));
  cJSON *m = mugraph_saved_measure (&f.saved[0], "Device \"B\"");
  const double values[] = {0.1, 1.0 / 3, 5e-324, INFINITY, -INFINITY, 1e300, 123456789012345678.0, -0.5};
  char name[8];
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    snprintf (name, sizeof name, "v%zu", i);
    assert_true (mugraph_record_set (m, name, values[i]));
  }
  assert_true (mugraph_record_set (m, "nan", NAN));
  assert_true (mugraph_record_set (m, "v0", 0.2)); /* replaces */
  assert_ptr_equal (mugraph_saved_measure (&f.saved[0], "Device \"B\""), m);
  char *text = mugraph_file_print (&f);
  if (!mugraph_file_parse ("again", text, strlen (text), &r, &e)) fail_msg ("%s", e.text);
  const cJSON *n = mugraph_saved_measure (&r.saved[0], "Device \"B\"");
  assert_true (mugraph_record_number (n, "v0", 0) == 0.2);
  for (size_t i = 1; i < sizeof values / sizeof *values; i++) {
    snprintf (name, sizeof name, "v%zu", i);
    assert_true (mugraph_record_number (n, name, 0) == values[i]);
  }
  assert_true (isnan (mugraph_record_number (n, "nan", 0)));
  assert_true (mugraph_record_number (r.search, "seconds", 0) == 0.1);
  free (text);
  mugraph_file_free (&f);
  mugraph_file_free (&r);
}

/* ---- on disk ---- */

static char folder[] = "/tmp/msearch-json-XXXXXX";

static int make_folder (void **state) {
  (void) state;
  return !mkdtemp (folder);
}

static int count_files (bool remove_them) {
  int n = 0;
  char path[512];
  DIR *dir = opendir (folder);
  for (const struct dirent *d; (d = readdir (dir));) {
    if (!strcmp (d->d_name, ".") || !strcmp (d->d_name, "..")) continue;
    n++;
    snprintf (path, sizeof path, "%s/%s", folder, d->d_name);
    if (remove_them) unlink (path);
  }
  closedir (dir);
  return n;
}

static int remove_folder (void **state) {
  (void) state;
  count_files (true);
  return rmdir (folder);
}

/* A file of n copies of one graph, so that its content can be told from its length. */
static void fill (mugraph_file *f, int n) {
  mugraph_error e;
  assert_true (mugraph_file_parse ("tiny.json", base, strlen (base), f, &e));
  for (int i = 1; i < n; i++) {
    mugraph *g = malloc (sizeof *g);
    *g = f->saved[0].graph;
    assert_non_null (mugraph_file_append (f, g, i));
    free (g);
  }
}

static void save_and_load (void **state) {
  (void) state;
  char path[256];
  snprintf (path, sizeof path, "%s/a.json", folder);
  mugraph_file f, r;
  mugraph_error e = {""};
  fill (&f, 5);
  if (!mugraph_file_save (path, &f, &e)) fail_msg ("%s", e.text);
  assert_int_equal (count_files (false), 1);
  if (!mugraph_file_load (path, &r, &e)) fail_msg ("%s", e.text);
  assert_int_equal (r.n, 5);
  for (int i = 0; i < 5; i++) assert_true (mugraph_equal (&f.saved[i].graph, &r.saved[i].graph));
  mugraph_file_free (&r);
  if (!mugraph_file_load_any (path, &r, &e)) fail_msg ("%s", e.text);
  mugraph_file_free (&r);
  mugraph_file_free (&f);
  count_files (true);
}

static void what_cannot_be_read_or_written (void **state) {
  (void) state;
  char path[256];
  mugraph_file f, r;
  mugraph_error e = {""};
  fill (&f, 1);
  assert_false (mugraph_file_load (folder, &r, &e));
  assert_non_null (strstr (e.text, "is a directory"));
  assert_false (mugraph_file_load ("/nonexistent/x.json", &r, &e));
  assert_non_null (strstr (e.text, "/nonexistent/x.json: cannot be read: No such file"));
  assert_false (mugraph_file_load ("/dev/null", &r, &e));
  assert_non_null (strstr (e.text, "not a regular file"));
  assert_false (mugraph_file_save (folder, &f, &e));
  assert_non_null (strstr (e.text, "is a directory"));
  assert_false (mugraph_file_save ("/nonexistent/x.json", &f, &e));
  assert_non_null (strstr (e.text, "/nonexistent/x.json: cannot be written: No such file"));
  snprintf (path, sizeof path, "%s/", folder);
  assert_false (mugraph_file_save (path, &f, &e));
  snprintf (path, sizeof path, "%s/huge.json", folder);
  FILE *huge = fopen (path, "w");
  assert_int_equal (ftruncate (fileno (huge), (off_t) MUGRAPH_FILE_BYTES + 1), 0);
  fclose (huge);
  assert_false (mugraph_file_load (path, &r, &e));
  assert_non_null (strstr (e.text, "bytes are too many"));
  mugraph_file_free (&f);
  count_files (true);
}

/* The disk fills up in the middle: the old file stays, the temporary one goes. */
static void failed_write_leaves_the_old_file (void **state) {
  (void) state;
  char path[256];
  snprintf (path, sizeof path, "%s/b.json", folder);
  mugraph_file small, large, r;
  mugraph_error e = {""};
  fill (&small, 1);
  fill (&large, 40);
  assert_true (mugraph_file_save (path, &small, &e));
  const pid_t child = fork ();
  if (!child) {
    signal (SIGXFSZ, SIG_IGN);
    setrlimit (RLIMIT_FSIZE, &(struct rlimit){8192, 8192});
    _exit (mugraph_file_save (path, &large, &e) ? 1 : strstr (e.text, "b.json: cannot be written") ? 0 : 2);
  }
  int status;
  waitpid (child, &status, 0);
  assert_int_equal (status, 0);
  assert_int_equal (count_files (false), 1);
  assert_true (mugraph_file_load (path, &r, &e));
  assert_int_equal (r.n, 1);
  mugraph_file_free (&r);
  mugraph_file_free (&small);
  mugraph_file_free (&large);
  count_files (true);
}

/* Two writers at once, each killed at a random moment again and again: a reader always finds one of the two files. */
static void killed_and_competing_writers (void **state) {
  (void) state;
  enum { ROUNDS = 40 };
  char path[256];
  snprintf (path, sizeof path, "%s/c.json", folder);
  mugraph_file f[2], r;
  mugraph_error e = {""};
  fill (&f[0], 3);
  fill (&f[1], 30);
  assert_true (mugraph_file_save (path, &f[0], &e));
  random_state = 99;
  for (int round = 0; round < ROUNDS; round++) {
    pid_t child[2];
    for (int w = 0; w < 2; w++)
      if (!(child[w] = fork ()))
        for (;;)
          if (!mugraph_file_save (path, &f[w], &e)) _exit (1);
    for (int k = 0; k < 5; k++) {
      usleep ((useconds_t) random_below (2000));
      if (!mugraph_file_load (path, &r, &e)) fail_msg ("%s", e.text);
      assert_true (r.n == 3 || r.n == 30);
      mugraph_file_free (&r);
    }
    for (int w = 0; w < 2; w++) {
      int status;
      kill (child[w], SIGKILL);
      waitpid (child[w], &status, 0);
      assert_true (WIFSIGNALED (status)); /* no writer failed */
    }
    if (!mugraph_file_load (path, &r, &e)) fail_msg ("after the kill: %s", e.text);
    mugraph_file_free (&r);
  }
  /* What they left is removed by the next save once it is old; a stranger's file is not touched. */
  char name[600];
  DIR *dir = opendir (folder);
  for (const struct dirent *d; (d = readdir (dir));) {
    snprintf (name, sizeof name, "%s/%s", folder, d->d_name);
    if (strstr (d->d_name, ".tmp")) utime (name, &(struct utimbuf){1000000000, 1000000000});
  }
  closedir (dir);
  snprintf (name, sizeof name, "%s/.notes.tmp", folder);
  fclose (fopen (name, "w"));
  utime (name, &(struct utimbuf){1000000000, 1000000000});
  assert_true (mugraph_file_save (path, &f[0], &e));
  assert_int_equal (count_files (false), 2);
  mugraph_file_free (&f[0]);
  mugraph_file_free (&f[1]);
  count_files (true);
}

int main (void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test (base_is_read),
      cmocka_unit_test (broken_files_are_refused),
      cmocka_unit_test (deep_nesting_is_refused),
      cmocka_unit_test (every_truncation_is_refused),
      cmocka_unit_test (mutated_text_is_never_trusted),
      cmocka_unit_test (random_graphs_round_trip),
      cmocka_unit_test (records_round_trip),
      cmocka_unit_test (save_and_load),
      cmocka_unit_test (what_cannot_be_read_or_written),
      cmocka_unit_test (failed_write_leaves_the_old_file),
      cmocka_unit_test (killed_and_competing_writers),
  };
  return cmocka_run_group_tests_name ("mugraph_json", tests, make_folder, remove_folder);
}
