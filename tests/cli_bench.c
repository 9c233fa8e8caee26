/* bench/kernels where there is a GPU: which µGraphs of a file it takes, what its table says, what is a failure.
   bench/times: what it measures and keeps; bench/fit_cost: what it makes of that. The GPU is tests/fake/gpu.c, beside
   this program. */
#include "mugraph/file/saved.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define DEVICE "Pretended H100 0"
#define DATE "2000-01-02"

static char here[4096], root[4096], folder[] = "/tmp/msearch-bench-XXXXXX", text[1 << 18];

static void read_text (const char *name) {
  char path[5000];
  snprintf (path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen (path, "r");
  assert_non_null (f);
  text[fread (text, 1, sizeof text - 1, f)] = 0;
  fclose (f);
}

/* Runs a program of bench/ in the folder with these variables set, "saved/" and "data/" being links; leaves what it
   printed in text. Returns the exit status. */
static int run_bench (const char *variables, const char *program, const char *arguments) {
  char command[24000];
  snprintf (command, sizeof command,
            "cd '%s' && rm -f happened && LD_LIBRARY_PATH='%s/fake' MSEARCH_NVRTC='%s/fake/libcuda.so.1' "
            "MSEARCH_CACHE=cache %s '%s/../bench/%s' %s >out.txt 2>&1",
            folder, here, here, variables, here, program, arguments);
  int status = system (command);
  read_text ("out.txt");
  return WEXITSTATUS (status);
}

static int run (const char *variables, const char *arguments) {
  char all[9000];
  snprintf (all, sizeof all, "-o . --date " DATE " --peers '%s/bench/peers.csv' %s", root, arguments);
  return run_bench (variables, "kernels", all);
}

static void must_contain (const char *part) {
  if (!strstr (text, part)) fail_msg ("'%s' is not in:\n%s", part, text);
}

/* lora, b = 1, with records: µGraph 2 is the fastest when launched plainly, 1 with pdl; 3 is faster and wrong. */
static void save_with_records (const char *path) {
  mugraph_file f;
  mugraph_error e;
  if (!mugraph_file_load ("saved_mugraphs/lora_bs1.json", &f, &e)) fail_msg ("%s", e.text);
  assert_true (f.n >= 4);
  for (int i = 0; i < 4; i++) {
    cJSON_Delete (f.saved[i].measured);
    f.saved[i].measured = NULL;
    cJSON *r = mugraph_saved_measure (&f.saved[i], DEVICE);
    assert_true (mugraph_record_set (r, "cold_us",
                                     i == 2   ? 4
                                     : i == 3 ? 1
                                              : 5) &&
                 mugraph_record_set (r, "cold_pdl_us",
                                     i == 1   ? 3
                                     : i == 3 ? 1
                                              : 6));
    cJSON_AddBoolToObject (r, "correct", i != 3);
  }
  if (!mugraph_file_save (path, &f, &e)) fail_msg ("%s", e.text);
  mugraph_file_free (&f);
}

static void takes_the_fastest (void **state) {
  char path[100];
  (void) state;
  snprintf (path, sizeof path, "%s/lora.json", folder);
  save_with_records (path);
  assert_int_equal (run ("", "lora.json saved/gqa_bs8.json saved/gqa_bs1.json"), 0);
  must_contain ("3 right, 0 wrong, 0 failed");
  must_contain ("geometric mean of 3 cases");
  read_text ("pretended-h100-0-" DATE ".md");
  must_contain ("| lora | 1 | 2, 1 |");
  must_contain ("10.7 (eager)");
  const char *first = strstr (text, "| gqa | 1 |"), *second = strstr (text, "| gqa | 8 |");
  assert_true (first && second && first < second);
  read_text ("pretended-h100-0-" DATE ".json");
  cJSON *results = cJSON_Parse (text);
  const cJSON *cases = cJSON_GetObjectItemCaseSensitive (results, "cases");
  assert_int_equal (cJSON_GetArraySize (cases), 3);
  const cJSON *lora = cJSON_GetArrayItem (cases, 2);
  assert_string_equal (cJSON_GetObjectItemCaseSensitive (lora, "state")->valuestring, "ok");
  assert_true (mugraph_record_number (cJSON_GetObjectItemCaseSensitive (lora, "plain"), "index", -1) == 2);
  assert_true (mugraph_record_number (cJSON_GetObjectItemCaseSensitive (lora, "pdl"), "index", -1) == 1);
  assert_true (mugraph_record_number (lora, "best_peer_cold_us", 0) == 10.7);
  cJSON_Delete (results);
}

static void all_of_a_file (void **state) {
  (void) state;
  assert_int_equal (run ("", "--all --no-time --peers /nonexistent saved/lora_bs1.json"), 0);
  must_contain ("µGraph 7 ");
  must_contain ("0 wrong, 0 failed");
  assert_int_equal (run ("FAKE_GPU_WRONG=5", "--all --no-time saved/lora_bs1.json"), 1);
  must_contain ("WRONG");
  must_contain ("1 wrong, 0 failed");
}

static void bad_files (void **state) {
  (void) state;
  assert_int_equal (run ("", "nowhere.json saved/lora_bs1.json"), 1);
  must_contain ("nowhere.json: ");
  must_contain ("1 right, 0 wrong, 1 failed");
  assert_int_equal (run ("", "data/mirage/small.json"), 1);
  must_contain ("--program=WORKLOAD");
  assert_int_equal (run ("", "--bogus x.json"), 2);
  assert_int_equal (run ("", "--all"), 2);
}

static int lines_of (const char *name) {
  int n = 0;
  read_text (name);
  for (const char *c = text; *c; c++) n += *c == '\n';
  return n;
}

static void times_are_kept (void **state) {
  char path[100];
  mugraph_file f;
  mugraph_error e;
  (void) state;
  assert_int_equal (run_bench ("", "times", "-o . --seconds 0.001"), 0); /* ends cleanly with nothing */
  must_contain ("ended early");
  assert_int_equal (lines_of ("times-h100.csv"), 1);
  assert_int_equal (run_bench ("FAKE_GPU_WRONG=5", "times", "-o . --sample 3 --quick lora:1"), 0);
  must_contain ("wrong, relative error");
  must_contain ("2 measured, 1 failed");
  snprintf (path, sizeof path, "%s/times-h100/lora_b1.json", folder);
  if (!mugraph_file_load (path, &f, &e)) fail_msg ("%s", e.text);
  assert_true (f.n == 2 && f.batch == 1 && f.has_program);
  assert_string_equal (cJSON_GetObjectItemCaseSensitive (f.search, "part")->valuestring, "fit");
  for (int i = 0; i < f.n; i++) {
    const cJSON *m = cJSON_GetObjectItemCaseSensitive (f.saved[i].measured, DEVICE);
    double plain = mugraph_record_number (m, "cold_us", -1), pdl = mugraph_record_number (m, "cold_pdl_us", -1);
    assert_true (pdl > 0 && pdl < plain);
  }
  mugraph_file_free (&f);
  assert_int_equal (lines_of ("times-h100.csv"), 3);
  must_contain ("lora,1,fit,lora_b1.json,1,");
  assert_int_equal (run_bench ("", "times", "-o . --quick lora:1"), 0); /* is there already */
  assert_string_equal (text, "");
  assert_int_equal (lines_of ("times-h100.csv"), 3);
  assert_int_equal (run_bench ("", "times", "-o . nothing"), 2);
  must_contain ("nothing is no option or program");
}

/* The columns of a row of cost.def. */
static int columns_of (const char *line, char name[64], double column[3]) {
  return sscanf (line, "COST (%63[^,], %lf, %lf, %lf,", name, &column[0], &column[1], &column[2]);
}

/* After times_are_kept. Only the device's column changes, and every other line stays. */
static void fit_writes_a_column (void **state) {
  char path[5000], line[2][1000], copy[9000], name[2][64];
  double column[2][3];
  int moved = 0, rows = 0;
  (void) state;
  snprintf (path, sizeof path, "--constants new.def --write h100 times-h100/lora_b1.json");
  assert_int_equal (run_bench ("", "fit_cost", path), 2); /* no such file */
  snprintf (copy, sizeof copy, "cp '%s/cuda_templates/cost.def' %s/new.def", root, folder);
  assert_int_equal (system (copy), 0);
  assert_int_equal (run_bench ("", "fit_cost", "h200 times-h100/lora_b1.json"), 1);
  must_contain ("no µGraph of a program marked fit was timed on h200");
  assert_int_equal (run_bench ("", "fit_cost", path), 0);
  must_contain ("fit      1 programs,    2 schedules: error ");
  snprintf (path, sizeof path, "%s/cuda_templates/cost.def", root);
  FILE *was = fopen (path, "r");
  snprintf (path, sizeof path, "%s/new.def", folder);
  FILE *is = fopen (path, "r");
  assert_true (was && is);
  while (fgets (line[0], sizeof line[0], was)) {
    assert_non_null (fgets (line[1], sizeof line[1], is));
    if (!strcmp (line[0], line[1])) continue;
    for (int i = 0; i < 2; i++) assert_int_equal (columns_of (line[i], name[i], column[i]), 4);
    assert_string_equal (name[0], name[1]);
    assert_true (column[0][1] == column[1][1] && column[0][2] == column[1][2] && column[0][0] != column[1][0]);
    assert_true (strstr (line[0], ", fitted, "));
    assert_string_equal (strstr (line[0], ", fitted, "), strstr (line[1], ", fitted, "));
    moved++;
  }
  while (fgets (line[1], sizeof line[1], is)) rows++;
  fclose (was), fclose (is);
  assert_true (moved > 0 && rows == 0);
}

static int set_up (void **state) {
  (void) state;
  ssize_t n = readlink ("/proc/self/exe", here, sizeof here - 1);
  char command[9000];
  if (n < 0 || !getcwd (root, sizeof root) || !mkdtemp (folder)) return -1;
  here[n] = 0;
  *strrchr (here, '/') = 0;
  snprintf (command, sizeof command, "ln -s '%s/saved_mugraphs' %s/saved && ln -s '%s/tests/data' %s/data", root,
            folder, root, folder);
  return system (command);
}

static int tear_down (void **state) {
  (void) state;
  char command[100];
  snprintf (command, sizeof command, "rm -rf '%s'", folder);
  return system (command);
}

int main (void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test (takes_the_fastest), cmocka_unit_test (all_of_a_file),
                                     cmocka_unit_test (bad_files), cmocka_unit_test (times_are_kept),
                                     cmocka_unit_test (fit_writes_a_column)};
  return cmocka_run_group_tests (tests, set_up, tear_down);
}
