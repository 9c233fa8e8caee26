/* The msearch binary as its users meet it: what it prints where, its exit status, its files.  */
#include "cli_run.h"

#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>

/* Puts `to` in the place of the first `from` of the same length; false when there is none. */
static bool replace (char *text, const char *from, const char *to) {
  char *place = strstr (text, from);
  assert_int_equal (strlen (from), strlen (to));
  for (; place && *to; to++) *place++ = *to;
  return place != NULL;
}

/* ---- usage ---- */

static void test_help (void **state) {
  (void) state;
  assert_int_equal (RUN ("-h"), 0);
  must_have (out, "msearch WORKLOAD [-b N]");
  must_have (out, "msearch --file FILE");
  assert_string_equal (err, "");
  int brief = lines (out);
  assert_int_equal (RUN ("--help"), 0);
  assert_true (lines (out) > 2 * brief);
  assert_string_equal (err, "");
  /* every option of the tables, with range and default */
#define OPTION(name, type, def, low, high, in_key, argument, help) must_have (out, help);
#include "search/options.def"
#undef OPTION
#define CLI(field, letter, kind, low, high, argument, commands, help) must_have (out, help);
#include "tools/cli_options.def"
#undef CLI
  must_have (out, "--block-ops=N");
  must_have (out, "(1 to 64) [8]");
  must_have (out, "--no-gpu");
  assert_int_equal (RUN ("--version"), 0);
  assert_true (!strncmp (out, "msearch ", 8));
  must_have (out, "Z3 4.");
}

static void test_usage_errors (void **state) {
  (void) state;
  must_fail (RUN (NULL), "nothing to do");
  must_fail (RUN ("gqua"), "unknown workload 'gqua'; did you mean 'gqa'?");
  must_fail (RUN ("x.json"), "--file x.json");
  must_fail (RUN ("gqa", "lora"), "unexpected argument 'lora'");
  must_fail (RUN ("gqa", "--block-op=3"), "did you mean '--block-ops'?");
  must_fail (RUN ("gqa", "--frobnicate"), "unknown option '--frobnicate'");
  must_fail (RUN ("gqa", "-x"), "unknown option '-x'");
  must_fail (RUN ("gqa", "-b"), "option --batch needs a value");
  must_fail (RUN ("gqa", "-b", "eight"), "'eight' is not a whole number");
  must_fail (RUN ("gqa", "-b", "1.5"), "'1.5' is not a whole number");
  must_fail (RUN ("gqa", "-b0"), "0 is out of range (1 to 1048576)");
  must_fail (RUN ("gqa", "--batch=2147483648"), "out of range");
  must_fail (RUN ("lora", "-b", "1048576"), "GiB of memory are needed");
  must_fail (RUN ("rmsnorm", "-b", "8000"), "operations an evaluation");
  must_fail (RUN ("gqa\033[2J\xff"), "unknown workload 'gqa?[2J?'");
  must_fail (RUN ("gqa", "--top", "65"), "option --top: 65 is out of range (1 to 64)");
  must_fail (RUN ("gqa", "--budget=nan"), "is not a number");
  must_fail (RUN ("gqa", "--budget=0x10"), "is not a number");
  must_fail (RUN ("gqa", "--fresh=1"), "takes no value");
  must_fail (RUN ("gqa", "--dot"), "option --dot has no meaning for a search");
  must_fail (RUN ("gqa", "--device=tpu"), "unknown device 'tpu' (there are h100");
  must_fail (RUN ("gqa", "--shape", "Q"), "expected NAME=dims");
  must_fail (RUN ("gqa", "--shape=Q=2x0x64"), "size 1 is out of range");
  must_fail (RUN ("gqa", "--shape=Q=2x2147483648x64"), "size 1 is out of range");
  must_fail (RUN ("gqa", "--shape=Z=2"), "no input or dim of that name (it has Q, K, V)");
  must_fail (RUN ("rmsnorm", "--shape=X=2x64"), "inner sizes differ");
  must_fail (RUN ("gqa", "--scale=Q"), "expected NAME=number");
  must_fail (RUN ("gqa", "--scale=Z=4"), "no input of that name");
  must_fail (RUN ("gqa", "--program=x.mg"), "both the workload");
  must_fail (RUN ("gqa", "--file=x.json"), "both 'gqa' and --file");
  must_fail (RUN ("gqa", "--json=-", "--out=-"), "both want stdout");
  must_fail (RUN ("gqa", "--json=/nonexistent/x", "--no-gpu"), "/nonexistent/x: cannot be written");
  must_fail (RUN ("verify", "gqua"), "did you mean 'gqa'?");
  must_fail (RUN ("emit", "gqa"), "nothing is saved for gqa at b = 1");
  must_fail (RUN ("show"), "show needs");
  must_fail (RUN ("verify"), "verify needs");
  must_fail (RUN ("emit"), "emit needs");
  must_fail (RUN ("import", "x"), "a file to write");
  must_fail (RUN ("list", "x"), "unexpected argument");
  must_fail (RUN ("show", "gqa", "--dot", "--svg"), "choose one");
  assert_int_equal (lines (err), 1);
}

static void test_files_that_are_not_there (void **state) {
  (void) state;
  must_fail (RUN ("--file", "nowhere.json"), "nowhere.json");
  must_fail (RUN ("verify", "nowhere.json"), "nowhere.json");
  must_fail (RUN ("show", "nowhere.json"), "nowhere.json");
  must_fail (RUN ("emit", "nowhere.json"), "nowhere.json");
  must_fail (RUN ("import", "nowhere.json", "-o", "x.json"), "nowhere.json");
  must_fail (RUN ("--program", "nowhere.mg"), "nowhere.mg");
  must_fail (RUN ("show", "/tmp"), "is a directory");
  must_fail (RUN ("--file", "/tmp"), "is a directory");
  must_fail (RUN ("--program", "/tmp"), "is a directory");
  must_fail (RUN ("ntrans", "--out", "/nonexistent/x.json"), "/nonexistent");
  must_fail (RUN ("ntrans", "--out", "/tmp"), "is a directory");
  must_fail (RUN ("import", in_source ("tests/data/mirage/small.json"), "-o", "/nonexistent/x.json"),
             "/nonexistent/x.json");
  assert_int_equal (lines (err), 1);
}

/* Each file of tests/bad is refused with the line that stands beside it. */
static void test_bad_files (void **state) {
  (void) state;
  DIR *d = opendir (in_source ("tests/bad"));
  int n = 0;
  assert_non_null (d);
  for (struct dirent *entry; (entry = readdir (d));) {
    char path[5000], expected[5300];
    size_t len = strlen (entry->d_name);
    bool program = len > 3 && !strcmp (entry->d_name + len - 3, ".mg");
    if (!program && !(len > 5 && !strcmp (entry->d_name + len - 5, ".json"))) continue;
    snprintf (path, sizeof path, "%s/tests/bad/%s", root, entry->d_name);
    snprintf (expected, sizeof expected, "%s.err", path);
    char *line = read_file (expected);
    if (!line) fail_msg ("%s is missing", expected);
    line[strcspn (line, "\n")] = 0;
    must_fail (RUN ("show", path), line);
    assert_true (program ? lines (err) <= 3 : lines (err) == 1);
    if (program) must_fail (RUN ("--program", path), line);
    else {
      must_fail (RUN ("verify", path, "--program", "gqa"), line);
      must_fail (RUN ("--file", path), line);
      must_fail (RUN ("import", path, "-o", "imported.json"), line);
      assert_int_equal (access ("imported.json", F_OK), -1);
    }
    n++;
  }
  closedir (d);
  assert_true (n > 15);
}

/* ---- list, show, import, verify, emit ---- */

#define SMALL                                                                                                          \
  "# the program of tests/data/mirage/small.json\n"                                                                    \
  "input X[2*b, 64]: f16\n"                                                                                            \
  "input W[64, 32]: f16\n"                                                                                             \
  "output O = square(matmul(rms_norm(X, -1), W))\n"
#define OTHER                                                                                                          \
  "input X[2*b, 64]: f16\n"                                                                                            \
  "input W[64, 32]: f16\n"                                                                                             \
  "output O = matmul(rms_norm(X, -1), W)\n"

static void test_list (void **state) {
  (void) state;
  assert_int_equal (RUN ("list"), 0);
  static const char *const names[] = {"gqa", "qknorm", "rmsnorm", "lora", "gatedmlp", "ntrans", "norm_transformer"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) must_have (out, names[i]);
  must_have (out, "Q 2x256x64, K 2x64x4096, V 2x4096x64 -> O 2x256x64");
  assert_int_equal (RUN ("list", "-b", "8", "--json", "-"), 0);
  must_have (err, "Q 16x256x64");
  cJSON *o = one_object ();
  assert_int_equal (cJSON_GetArraySize (at (o, "workloads")), 6);
  cJSON_Delete (o);
}

static void test_show (void **state) {
  (void) state;
  assert_int_equal (RUN ("show", "gqa"), 0);
  must_have (out, "input Q[2*b, 256, 64]: f16\n");
  assert_int_equal (RUN ("show", "gated_mlp", "-b", "8"), 0);
  must_have (out, "input X[8, 4096]: f16\n");
  assert_int_equal (RUN ("show", "gqa", "--shape", "Q=4x8x64", "--shape", "K=4x64x32", "--shape=V=4x32x64"), 0);
  must_have (out, "input Q[4, 8, 64]: f16\n");
  write_file ("small.mg", SMALL);
  assert_int_equal (RUN ("show", "small.mg", "-b4", "-o", "shown.mg"), 0);
  assert_string_equal (out, "");
  must_have (read_file ("shown.mg"), "input X[8, 64]: f16");
  assert_int_equal (RUN ("show", "small.mg", "--dot"), 0);
  assert_true (!strncmp (out, "digraph", 7));
  const char *file = in_source ("tests/data/mirage/small.json");
  assert_int_equal (RUN ("show", file), 0);
  must_have (out, "accum_rms");
  assert_int_equal (RUN ("show", file, "-i", "1", "--tiles", "--device", "a100"), 0);
  must_have (out, "kernel 0: graph");
  must_have (out, ", by loads, 1 deep\n");
  must_fail (RUN ("show", file, "-i", "2"), "has 2 µGraphs, no number 2");
  if (finish (START ("show", file, "--svg")) == 0) must_have (out, "</svg>");
  else must_fail (2, "Graphviz");
  const char *const arguments[] = {"show", file, "--svg", NULL};
  must_fail (finish (start (arguments, "PATH", "/nonexistent")), "Graphviz's `dot` cannot be run");
}

static void test_import_and_verify (void **state) {
  (void) state;
  const char *file = in_source ("tests/data/mirage/small.json");
  write_file ("small.mg", SMALL);
  write_file ("other.mg", OTHER);
  must_fail (RUN ("verify", file), "--program=");
  assert_int_equal (RUN ("verify", file, "--program", "small.mg"), 0);
  must_have (out, "2 of 2 equivalent");
  must_have (out, "b = 1");
  assert_int_equal (RUN ("verify", file, "--program=small.mg", "--json", "-"), 0);
  cJSON *o = one_object ();
  assert_string_equal (at (o, "schema")->valuestring, "msearch.verify/1");
  assert_string_equal (at (o, "file")->valuestring, file);
  assert_string_equal (at (o, "program")->valuestring, "small");
  assert_int_equal (cJSON_GetArraySize (at (o, "graphs")), 2);
  for (int i = 0; i < 2; i++) {
    const cJSON *g = cJSON_GetArrayItem (at (o, "graphs"), i);
    assert_int_equal (at (g, "index")->valueint, i);
    assert_true (cJSON_IsTrue (at (g, "equivalent")));
    assert_true (cJSON_IsString (at (g, "reason")));
  }
  cJSON_Delete (o);
  /* another program: different, and float64 shows it */
  assert_int_equal (RUN ("verify", file, "-p", "other.mg", "--json", "-", "-q"), 1);
  assert_string_equal (err, "");
  o = one_object ();
  const cJSON *g = cJSON_GetArrayItem (at (o, "graphs"), 0);
  assert_true (cJSON_IsFalse (at (g, "equivalent")));
  must_have (at (g, "reason")->valuestring, "float64");
  cJSON_Delete (o);
  /* the same inputs in another order */
  write_file ("order.mg", "input A[4, 4]: f16\ninput B[4, 4]: f16\ninput C[4, 4]: f16\noutput matmul(A, exp(B)) - C\n");
  write_file ("ordered.mg",
              "input X[4, 4]: f16\ninput Y[4, 4]: f16\ninput Z[4, 4]: f16\noutput matmul(Y, exp(Z)) - X\n");
  assert_int_equal (RUN ("order.mg", "--no-gpu", "--out=order.json", "--graphs=0", "--kernel-ops=1"), 0);
  assert_int_equal (RUN ("verify", "order.json", "-p", "ordered.mg"), 1);
  must_have (out, "equivalent with its inputs taken as Y, Z, X");
  write_file ("ordered.mg",
              "input X[4, 4]: f16\ninput Y[4, 4]: f16\ninput Z[4, 4]: f16\noutput matmul(exp(Y), Z) - X\n");
  assert_int_equal (RUN ("verify", "order.json", "-p", "ordered.mg"), 1);
  assert_null (strstr (out, "taken as"));
  /* said which is which, it is equivalent, and stays so when imported */
  write_file ("ordered.mg",
              "input X[4, 4]: f16\ninput Y[4, 4]: f16\ninput Z[4, 4]: f16\noutput O = matmul(Y, exp(Z)) - X\n");
  assert_int_equal (RUN ("verify", "order.json", "-p", "ordered.mg", "--json=-"), 1);
  o = one_object ();
  g = cJSON_GetArrayItem (at (o, "graphs"), 0);
  must_have (at (g, "reason")->valuestring, "not equivalent as it stands: float64 counterexample: output O at [");
  must_have (at (g, "reason")->valuestring, ", the program's is ");
  must_have (at (g, "reason")->valuestring, "equivalent with its inputs taken as Y, Z, X");
  assert_string_equal (cJSON_GetArrayItem (at (g, "inputs"), 2)->valuestring, "X");
  cJSON_Delete (o);
  assert_int_equal (RUN ("verify", "order.json", "-p", "ordered.mg", "--inputs", "Y,Z,X"), 0);
  assert_int_equal (RUN ("verify", "order.json", "-p", "ordered.mg", "--inputs=Z,Y,X"), 1);
  must_have (out, "inputs taken as Y, Z, X");
  must_fail (RUN ("verify", "order.json", "-p", "ordered.mg", "--inputs", "Y,Z"),
             "names 2 inputs, the program has 3 (X, Y, Z)");
  must_fail (RUN ("verify", "order.json", "-p", "ordered.mg", "--inputs", "Y,Z,Y"), "'Y' is named twice");
  must_fail (RUN ("verify", "order.json", "-p", "ordered.mg", "--inputs", "Y,Z,W"), "no input 'W'");
  must_fail (RUN ("verify", "order.json", "-p", "ordered.mg", "--inputs", "Y,Z,"), "no input ''");
  assert_int_equal (RUN ("import", "order.json", "-p", "ordered.mg", "--inputs=Y,Z,X", "-o", "imported.json"), 0);
  assert_int_equal (RUN ("verify", "imported.json"), 0);
  assert_int_equal (unlink ("imported.json"), 0);
  /* shapes that fit in another order only */
  write_file ("swapped.mg",
              "input W[64, 32]: f16\ninput X[2*b, 64]: f16\noutput O = square(matmul(rms_norm(X, -1), W))\n");
  assert_int_equal (RUN ("verify", file, "-p", "swapped.mg"), 0);
  must_have (out, "taken as X, W: so their shapes fit");
  /* a file named after a workload is for it */
  write_file ("lora_bs2.mg",
              "input X[2, 256]: f16\ninput W[256, 4096]: f16\ninput A[256, 16]: f16\ninput B[16, 4096]: f16\n"
              "output O = matmul(X, W) + matmul(matmul(X, A), B)\n");
  assert_int_equal (RUN ("--program", "lora_bs2.mg", "--no-gpu", "--out=found.json", "--graphs=0", "--kernel-ops=4"),
                    0);
  cJSON *saved = cJSON_Parse (read_file ("found.json"));
  cJSON_DeleteItemFromObject (saved, "program");
  char *unnamed = cJSON_Print (saved);
  cJSON_Delete (saved);
  write_file ("lora_bs9.json", unnamed);
  write_file ("lara_bs9.json", unnamed);
  cJSON_free (unnamed);
  assert_int_equal (RUN ("verify", "lora_bs9.json"), 0);
  must_have (out, "lora_bs9.json: taken to be for lora, by its name");
  must_have (out, "lora, b = 2");
  must_fail (RUN ("verify", "lara_bs9.json"), "--program=");
  must_fail (RUN ("verify", "lora_bs9.json", "-b3"), "with -b 3");
  assert_int_equal (RUN ("import", "lora_bs9.json", "-o", "imported.json"), 0);
  must_have (out, " for lora\n");
  write_file ("gqa_bs9.json", read_file (file)); /* the name misleads */
  must_fail (RUN ("verify", "gqa_bs9.json"), "gqa: has 3 inputs, the file's graphs have 2");
  assert_int_equal (RUN ("import", "gqa_bs9.json", "-o", "imported.json"), 0);
  must_have (out, "imported.json: 2 µGraphs\n");
  assert_int_equal (unlink ("imported.json"), 0);
  /* programs that do not fit */
  must_fail (RUN ("verify", file, "-p", "gqa"), "has 3 inputs, the file's graphs have 2");
  must_fail (RUN ("verify", file, "-p", "rmsnorm"), "the file's is");
  must_fail (RUN ("verify", file, "-p", "small.mg", "-b", "2"), "with -b 2");
  must_fail (RUN ("verify", file, "-p", "small.mgg"), "unknown workload");
  /* imported, it knows its program, and its inputs have names */
  assert_int_equal (RUN ("import", file, "-o", "small.json", "-p", "small.mg"), 0);
  assert_int_equal (RUN ("verify", "small.json"), 0);
  must_have (out, "2 of 2 equivalent");
  assert_int_equal (RUN ("show", "small.json"), 0);
  must_have (out, "input X ");
  must_fail (RUN ("verify", "small.json", "-b", "3"), "is for b = 1");
  assert_int_equal (RUN ("--file", "small.json", "--no-gpu"), 0);
  must_have (out, "equivalent at the real shape");
  assert_int_equal (RUN ("import", file, "-o", "-"), 0);
  o = one_object ();
  assert_string_equal (at (o, "schema")->valuestring, "msearch.mugraph/1");
  cJSON_Delete (o);
  /* a file whose best µGraph was changed by hand */
  char *text = read_file ("small.json");
  assert_true (replace (text, "\"op\":\"div\"", "\"op\":\"mul\""));
  write_file ("broken.json", text);
  assert_int_equal (RUN ("--file", "broken.json", "--no-gpu", "--json", "-"), 1);
  must_have (err, "NOT EQUIVALENT");
  o = one_object ();
  assert_true (cJSON_IsFalse (at (o, "verify.equivalent")));
  cJSON_Delete (o);
  assert_int_equal (RUN ("verify", "broken.json"), 1);
  must_have (out, "1 of 2 equivalent");
}

static void test_emit (void **state) {
  (void) state;
  const char *file = in_source ("tests/data/mirage/small.json");
  assert_int_equal (RUN ("emit", file, "-o", "small.cu", "--arch", "80"), 0);
  must_have (read_file ("small.cu"), "__global__");
  assert_int_equal (RUN ("emit", file, "-i1", "--device", "a100"), 0);
  must_have (out, "__global__");
  must_fail (RUN ("emit", file, "-o", "/nonexistent/small.cu"), "/nonexistent/small.cu");
  const char *const arguments[] = {"emit", file, "-o", "small.cubin", NULL};
  /* what is no regular file is not replaced by one */
  struct stat st;
  assert_int_equal (mkfifo ("fifo", 0600), 0);
  must_fail (RUN ("emit", file, "-o", "fifo"), "fifo: cannot be written");
  assert_true (!lstat ("fifo", &st) && S_ISFIFO (st.st_mode));
  write_file ("target.cu", "");
  assert_int_equal (symlink ("target.cu", "link.cu"), 0);
  assert_int_equal (RUN ("emit", file, "-o", "link.cu"), 0);
  assert_true (!lstat ("link.cu", &st) && S_ISLNK (st.st_mode));
  must_have (read_file ("target.cu"), "__global__");
  must_fail (finish (start (arguments, "MSEARCH_NVRTC", "/nonexistent/libnvrtc.so")), "nvrtc");
  assert_int_equal (access ("small.cubin", F_OK), -1);
}

/* ---- searching ---- */

static int files_in (const char *path) {
  DIR *d = opendir (path);
  int n = 0;
  if (!d) return 0;
  for (struct dirent *entry; (entry = readdir (d));) n += entry->d_name[0] != '.' || strlen (entry->d_name) > 2;
  closedir (d);
  return n;
}

static void check_result (const cJSON *o, const char *workload, int batch, bool cached) {
  static const char *const numbers[] = {"search.seconds",    "search.threads",    "search.states",      "search.pruned",
                                        "search.z3_queries", "search.structures", "search.valid",       "verify.p",
                                        "verify.q",          "verify.trials",     "verify.error_bound", "best.kernels",
                                        "best.cost_us"};
  assert_string_equal (at (o, "schema")->valuestring, "msearch.result/1");
  assert_string_equal (at (o, "workload")->valuestring, workload);
  assert_int_equal (at (o, "batch")->valueint, batch);
  if (cJSON_IsTrue (at (o, "cached")) != cached) fail_msg ("cached is not %d: %s\n%s", cached, out, err);
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
    if (!cJSON_IsNumber (at (o, numbers[i]))) fail_msg ("%s is no number: %s", numbers[i], out);
  assert_true (cJSON_IsTrue (at (o, "search.finished")));
  assert_true (cJSON_IsTrue (at (o, "verify.equivalent")));
  assert_true (cJSON_IsTrue (at (o, "verify.real_shape")));
  assert_true (at (o, "search.states")->valuedouble > 0);
  assert_true (at (o, "search.valid")->valuedouble > 0);
  assert_true (at (o, "verify.error_bound")->valuedouble < 1e-6);
  assert_true (cJSON_IsString (at (o, "best.file")) && cJSON_IsString (at (o, "best.hash")));
  assert_true (cJSON_IsFalse (at (o, "gpu.available")));
}

/* One search of the small program, as JSON. */
#define SEARCH(...) RUN ("--program", "tiny.mg", "--no-gpu", "--json", "-", __VA_ARGS__)
#define TINY "input X[2*b, 64]: f16\ninput W[64, 32]: f16\noutput O = matmul(rms_norm(X, -1), W)\n"

static void test_search (void **state) {
  (void) state;
  write_file ("tiny.mg", TINY);
  assert_int_equal (SEARCH ("-b", "4"), 0);
  cJSON *o = one_object ();
  check_result (o, "tiny", 4, false);
  assert_string_equal (at (o, "best.file")->valuestring, "saved_mugraphs/tiny_bs4.json");
  char hash[40];
  snprintf (hash, sizeof hash, "%s", at (o, "best.hash")->valuestring);
  cJSON_Delete (o);
  static const char *const said[] = {"search ",   " s on ",  "states",  "pruned", "Z3 queries",
                                     "structure", "valid",   "best ",   "grid",   "saved_mugraphs/tiny_bs4.json",
                                     "--file",    "--fresh", "verified"};
  for (size_t i = 0; i < sizeof said / sizeof *said; i++) must_have (err, said[i]);
  /* found again, and the same */
  assert_int_equal (SEARCH ("-b", "4"), 0);
  must_have (err, "earlier search");
  o = one_object ();
  check_result (o, "tiny", 4, true);
  assert_string_equal (at (o, "best.hash")->valuestring, hash);
  cJSON_Delete (o);
  assert_int_equal (RUN ("--file", "saved_mugraphs/tiny_bs4.json", "--no-gpu"), 0);
  assert_int_equal (RUN ("verify", "saved_mugraphs/tiny_bs4.json"), 0);
  assert_int_equal (RUN ("list"), 0);
  must_have (out, "tiny_bs4.json");
  /* but not when told otherwise, or when the question differs */
  assert_int_equal (SEARCH ("-b", "4", "--fresh"), 0);
  o = one_object ();
  check_result (o, "tiny", 4, false);
  cJSON_Delete (o);
  assert_int_equal (files_in ("saved_mugraphs"), 1);
  assert_int_equal (SEARCH ("-b", "4", "--shape", "X=3x64"), 0);
  o = one_object ();
  check_result (o, "tiny", 4, false);
  assert_string_not_equal (at (o, "best.file")->valuestring, "saved_mugraphs/tiny_bs4.json");
  cJSON_Delete (o);
  assert_int_equal (SEARCH ("-b", "4", "--block-ops", "11"), 0);
  o = one_object ();
  check_result (o, "tiny", 4, false);
  assert_string_not_equal (at (o, "best.file")->valuestring, "saved_mugraphs/tiny_bs4.json");
  cJSON_Delete (o);
  assert_int_equal (files_in ("saved_mugraphs"), 3);
  write_file ("tiny.mg", "input X[2*b, 64]: f16\ninput W[64, 48]: f16\noutput O = matmul(rms_norm(X, -1), W)\n");
  assert_int_equal (SEARCH ("-b", "4"), 0);
  must_have (err, "not used: saved_mugraphs/tiny_bs4.json");
  o = one_object ();
  check_result (o, "tiny", 4, false);
  cJSON_Delete (o);
  /* a file that is damaged */
  write_file ("saved_mugraphs/tiny_bs4.json", "{\"schema\": \"msearch.mug");
  assert_int_equal (SEARCH ("-b", "4"), 0);
  o = one_object ();
  check_result (o, "tiny", 4, false);
  cJSON_Delete (o);
  /* quiet, elsewhere, JSON into a file */
  assert_int_equal (RUN ("--program=tiny.mg", "-q", "--no-gpu", "--out=here.json", "--json=result.json"), 0);
  assert_string_equal (out, "");
  assert_string_equal (err, "");
  must_have (read_file ("here.json"), "msearch.mugraph/1");
  must_have (read_file ("result.json"), "msearch.result/1");
}

/* A saved µGraph that does not compute the program is not trusted, whatever its key says. */
static void test_search_does_not_trust (void **state) {
  (void) state;
  write_file ("tiny.mg", TINY);
  assert_int_equal (SEARCH ("-b", "2"), 0);
  char *text = read_file ("saved_mugraphs/tiny_bs2.json"), *graphs = strstr (text, "\"mugraphs\"");
  assert_non_null (graphs);
  assert_true (replace (graphs, "\"op\":\"div\"", "\"op\":\"add\"") ||
               replace (graphs, "\"op\":\"mul\"", "\"op\":\"add\"") ||
               replace (graphs, "\"op\":\"rms_norm\"", "\"op\":\"softplus\""));
  write_file ("saved_mugraphs/tiny_bs2.json", text);
  assert_int_equal (SEARCH ("-b", "2"), 0);
  must_have (err, "not equivalent");
  cJSON *o = one_object ();
  check_result (o, "tiny", 2, false);
  cJSON_Delete (o);
}

/* A new search without a GPU leaves what was measured on one. */
static void test_measured_stays (void **state) {
  (void) state;
  write_file ("tiny.mg", TINY);
  assert_int_equal (SEARCH ("-b", "6"), 0);
  cJSON *file = cJSON_Parse (read_file ("saved_mugraphs/tiny_bs6.json")),
        *graphs = cJSON_GetObjectItem (file, "mugraphs");
  cJSON *last = cJSON_GetArrayItem (graphs, cJSON_GetArraySize (graphs) - 1),
        *record = cJSON_AddObjectToObject (cJSON_AddObjectToObject (last, "measured"), "SomeGPU");
  cJSON_AddNumberToObject (record, "best_us", 1.25);
  /* and with a schedule that the search does not come to */
  cJSON *sched = cJSON_GetObjectItem (cJSON_GetArrayItem (cJSON_GetObjectItem (last, "ops"), 0), "sched");
  assert_non_null (sched);
  cJSON_DeleteItemFromObject (sched, "stages");
  cJSON_AddNumberToObject (sched, "stages", 7);
  char *text = cJSON_Print (file);
  write_file ("saved_mugraphs/tiny_bs6.json", text);
  cJSON_free (text), cJSON_Delete (file);
  for (int run = 0; run < 2; run++) assert_int_equal (SEARCH ("-b", "6", "--fresh"), 0);
  const char *kept = strstr (read_file ("saved_mugraphs/tiny_bs6.json"), "SomeGPU");
  assert_non_null (kept);
  assert_null (strstr (kept + 1, "SomeGPU"));
  assert_int_equal (RUN ("verify", "saved_mugraphs/tiny_bs6.json"), 0);
}

/* Attention that takes its exponentials twice, in two kernels, has no common maximum: it overflows, which no
 * fingerprint shows. */
static void test_exponentials_do_not_overflow (void **state) {
  (void) state;
  assert_int_equal (RUN ("gqa", "-b", "16", "--fresh", "--no-gpu", "-q", "--top=64", "--out=attention.json"), 0);
  cJSON *file = cJSON_Parse (read_file ("attention.json")), *graph, *op, *inner;
  int graphs = 0;
  cJSON_ArrayForEach (graph, cJSON_GetObjectItem (file, "mugraphs")) {
    int exponentials = 0;
    cJSON_ArrayForEach (op, cJSON_GetObjectItem (graph, "ops")) {
      exponentials += !strcmp (cJSON_GetObjectItem (op, "op")->valuestring, "exp");
      cJSON_ArrayForEach (inner, cJSON_GetObjectItem (op, "block")) exponentials +=
          !strcmp (cJSON_GetObjectItem (inner, "op")->valuestring, "exp");
    }
    assert_int_equal (exponentials, 1);
    graphs++;
  }
  assert_true (graphs > 50);
  cJSON_Delete (file);
}

static void test_nothing_found (void **state) {
  (void) state;
  assert_int_equal (
      RUN ("gqa", "-b", "8", "--fresh", "--no-gpu", "--budget=0.001", "--out=nothing.json", "--json", "-"), 3);
  cJSON *o = one_object ();
  assert_true (cJSON_IsNull (at (o, "best")));
  cJSON_Delete (o);
  must_have (err, "nothing found");
  assert_int_equal (access ("nothing.json", F_OK), -1);
  /* Bounds that allow no graph-defined kernel leave the program's own operators. */
  write_file ("tiny.mg", TINY);
  assert_int_equal (SEARCH ("--graphs=0"), 0);
  must_have (err, "no graph-defined kernel was found");
  o = one_object ();
  assert_int_equal (at (o, "best.kernels")->valueint, 2);
  cJSON_Delete (o);
}

static void test_two_at_once (void **state) {
  (void) state;
  write_file ("tiny.mg", TINY);
  process p[3];
  for (int i = 0; i < 3; i++)
    p[i] = START ("--program", "tiny.mg", "-b", "16", "--fresh", "--no-gpu", "-q", "--threads", "1");
  for (int i = 0; i < 3; i++) assert_int_equal (finish (p[i]), 0);
  assert_int_equal (RUN ("verify", "saved_mugraphs/tiny_bs16.json"), 0);
}

/* The largest bounds, without pruning: no machine explores them in the time these tests give it. */
enum {
#define OPTION(name, type, def, low, high, in_key, argument, help) HIGH_##name = (int) (high),
#include "search/options.def"
#undef OPTION
};
static process start_endless (const char *more, const char *path) {
  char block[40], kernel[40], graphs[40];
  snprintf (block, sizeof block, "--block-ops=%d", HIGH_block_ops);
  snprintf (kernel, sizeof kernel, "--kernel-ops=%d", HIGH_kernel_ops);
  snprintf (graphs, sizeof graphs, "--graphs=%d", HIGH_graphs);
  return START ("gqa", "-b", "8", "--fresh", "--no-gpu", "--no-prune", block, kernel, graphs, "--json", "-", "--out",
                path, more);
}

static void test_interrupt (void **state) {
  (void) state;
  process p = start_endless (NULL, "interrupted.json");
  usleep (1500000);
  assert_int_equal (kill (p.pid, SIGINT), 0);
  assert_int_equal (finish (p), 130);
  must_have (err, "interrupted");
  cJSON *o = one_object ();
  assert_true (cJSON_IsFalse (at (o, "search.finished")));
  assert_true (cJSON_IsTrue (at (o, "interrupted")));
  bool found = !cJSON_IsNull (at (o, "best"));
  cJSON_Delete (o);
  assert_int_equal (access ("interrupted.json", F_OK) == 0, found);
  if (found) assert_int_equal (RUN ("show", "interrupted.json"), 0);
}

static int run_in_shell (const char *format) {
  char command[12000];
  snprintf (command, sizeof command, format, binary);
  int status = system (command);
  return WIFEXITED (status) ? WEXITSTATUS (status) : KILLED;
}

/* A full disk, streams that are closed: nothing half written, nothing printed into a file. */
static void test_no_room (void **state) {
  (void) state;
  write_file ("tiny.mg", TINY);
  assert_int_equal (mkdir ("room", 0700), 0);
  /* before dash's ulimit of blocks: 512 bytes each */
  assert_int_equal (run_in_shell ("ulimit -f 2; %s --program tiny.mg --no-gpu --fresh -q --out room/x.json 2>room.err"),
                    2);
  must_have (read_file ("room.err"), "room/x.json: cannot be written: File too large");
  assert_int_equal (files_in ("room"), 0);
  assert_int_equal (run_in_shell ("%s list >/dev/full 2>room.err"), 2);
  must_have (read_file ("room.err"), "stdout cannot be written");
  assert_int_equal (run_in_shell ("%s list >&- 2>room.err"), 2);
  assert_int_equal (
      run_in_shell ("%s --program tiny.mg --no-gpu --fresh --out room/x.json --json - <&- >room.json 2>&-"), 0);
  assert_int_equal (run_in_shell ("%s verify room/x.json >&- 2>&-"), 2);
  assert_int_equal (RUN ("verify", "room/x.json"), 0);
  cJSON *o = cJSON_Parse (read_file ("room.json"));
  assert_true (cJSON_IsObject (o));
  cJSON_Delete (o);
  /* nobody reads: what was found is saved all the same */
  assert_int_equal (unlink ("room/x.json"), 0);
  run_in_shell ("%s --program tiny.mg --no-gpu --fresh --out room/x.json 2>&1 | true");
  assert_int_equal (RUN ("verify", "room/x.json"), 0);
  assert_int_equal (files_in ("room"), 1);
}

/* At any time, and while Z3 is at work too: stopped, or done before. */
static void test_interrupt_anywhere (void **state) {
  static const char *const when[] = {"search.finished", "interrupted"};
  (void) state;
  for (int i = 0; i < 8; i++) {
    process p = START ("gqa", "-b", "8", "--fresh", "--no-gpu", "--json", "-", "--out", "stopped.json");
    usleep ((useconds_t) (50000 + 250000 * i));
    assert_int_equal (kill (p.pid, SIGINT), 0);
    int status = finish (p);
    if (status == KILLED + SIGINT && i == 0) continue; /* before its handler was there */
    if (status != 130 && status != 0) fail_msg ("status %d:\n%s", status, err);
    cJSON *o = one_object ();
    assert_true (cJSON_IsTrue (at (o, when[status == 130])));
    cJSON_Delete (o);
  }
}

static void wait_a_second_for (process p) {
  for (int ms = 0; ms < 2500; ms += 10, usleep (10000)) { /* sanitizers and other tests slow it down */
    siginfo_t info = {0};
    assert_int_equal (waitid (P_PID, (id_t) p.pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
    if (info.si_pid) return;
  }
  kill (p.pid, SIGKILL);
  finish (p);
  fail_msg ("it goes on: %s%s", out, err);
}

/* In the midst of a comparison that takes minutes: what is known by then is said, nothing is lost. */
static void test_interrupt_verification (void **state) {
  (void) state;
  write_file ("large.mg", "input A[2048,2048]: f16\ninput B[2048,2048]: f16\noutput matmul (A, B)\n");
  assert_int_equal (RUN ("--program", "large.mg", "--graphs=0", "--no-gpu", "-q", "--trials=1", "--out=large.json"), 0);
  process p = START ("verify", "large.json", "--trials=64", "--json", "-");
  usleep (300000);
  assert_int_equal (kill (p.pid, SIGINT), 0);
  wait_a_second_for (p);
  assert_int_equal (finish (p), 130);
  must_have (err, "interrupted: 0 of 1 µGraphs verified");
  cJSON *o = one_object ();
  assert_true (cJSON_IsTrue (at (o, "interrupted")));
  assert_int_equal (cJSON_GetArraySize (at (o, "graphs")), 0);
  cJSON_Delete (o);

  p = START ("--file", "large.json", "--trials=64", "--no-gpu", "--json", "-");
  usleep (300000);
  assert_int_equal (kill (p.pid, SIGINT), 0);
  wait_a_second_for (p);
  assert_int_equal (finish (p), 130);
  must_have (err, "not shown to be equivalent: interrupted");

  p = START ("--program", "large.mg", "--graphs=0", "--no-gpu", "--trials=64", "--json", "-", "--out=found.json");
  usleep (700000);
  assert_int_equal (kill (p.pid, SIGINT), 0);
  wait_a_second_for (p);
  assert_int_equal (finish (p), 130);
  assert_int_equal (RUN ("show", "found.json"), 0);
}

/* Nothing has a value: which of the two reasons it is. */
static void test_no_value (void **state) {
  (void) state;
  write_file ("novalue.mg", "input X[4,64]: f16\noutput X / (X - X)\n");
  must_fail (RUN ("--program", "novalue.mg", "--no-gpu"), "is some divisor always zero?");
  write_file ("novalue.mg", "input X[4,64]: f16\noutput exp (exp (X))\n");
  must_fail (RUN ("--program", "novalue.mg", "--no-gpu"), "depends on an exponential");
}

/* What a budget cut short is used by those who allow no more, and searched again by others. */
static void test_budget (void **state) {
  (void) state;
  int status = finish (start_endless ("--budget=0.5", "budget.json"));
  assert_true (status == 0 || status == 3);
  cJSON *o = one_object ();
  assert_true (cJSON_IsFalse (at (o, "search.finished")));
  cJSON_Delete (o);
  write_file ("tiny.mg", TINY);
  assert_int_equal (SEARCH ("-b", "5"), 0);
  cJSON *file = cJSON_Parse (read_file ("saved_mugraphs/tiny_bs5.json")),
        *record = cJSON_GetObjectItem (file, "search");
  cJSON_ReplaceItemInObject (record, "finished", cJSON_CreateFalse ());
  cJSON_ReplaceItemInObject (record, "budget", cJSON_CreateNumber (5));
  char *text = cJSON_Print (file);
  cJSON_Delete (file);
  write_file ("saved_mugraphs/tiny_bs5.json", text);
  cJSON_free (text);
  assert_int_equal (SEARCH ("-b", "5", "--budget=4"), 0);
  o = one_object ();
  assert_true (cJSON_IsTrue (at (o, "cached")));
  cJSON_Delete (o);
  assert_int_equal (SEARCH ("-b", "5"), 0);
  must_have (err, "cut short");
  o = one_object ();
  check_result (o, "tiny", 5, false);
  cJSON_Delete (o);
}

int main (void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test (test_help),
      cmocka_unit_test (test_usage_errors),
      cmocka_unit_test (test_files_that_are_not_there),
      cmocka_unit_test (test_bad_files),
      cmocka_unit_test (test_list),
      cmocka_unit_test (test_show),
      cmocka_unit_test (test_import_and_verify),
      cmocka_unit_test (test_emit),
      cmocka_unit_test (test_search),
      cmocka_unit_test (test_search_does_not_trust),
      cmocka_unit_test (test_measured_stays),
      cmocka_unit_test (test_exponentials_do_not_overflow),
      cmocka_unit_test (test_nothing_found),
      cmocka_unit_test (test_two_at_once),
      cmocka_unit_test (test_interrupt),
      cmocka_unit_test (test_interrupt_anywhere),
      cmocka_unit_test (test_interrupt_verification),
      cmocka_unit_test (test_no_value),
      cmocka_unit_test (test_no_room),
      cmocka_unit_test (test_budget),
  };
  return cmocka_run_group_tests (tests, set_up, tear_down);
}
