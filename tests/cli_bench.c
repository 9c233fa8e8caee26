/* bench/kernels where there is a GPU: which µGraphs of a file it takes, what its table says, what is a failure.
   bench/times: what it measures and keeps; bench/fit_cost: what it makes of that. The GPU is tests/fake/gpu.c, beside
   this program. */
#include "cli_run.h"
#include "mugraph/file/saved.h"

#define DEVICE "Pretended H100 0"
#define DATE "2000-01-02"

/* Runs a program of bench/ with these variables set, "saved/" and "data/" being links; leaves what it printed in out.
   Returns the exit status. */
static int run_bench (const char *variables, const char *program, const char *arguments) {
  char command[24000];
  snprintf (command, sizeof command,
            "rm -f happened; LD_LIBRARY_PATH='%s/fake' MSEARCH_NVRTC='%s/fake/libcuda.so.1' MSEARCH_CACHE=cache %s "
            "'%s/../bench/%s' %s 2>&1",
            here, here, variables, here, program, arguments);
  return shell (command);
}

static int run (const char *variables, const char *arguments) {
  char all[9000];
  snprintf (all, sizeof all, "-o . --date " DATE " --peers '%s/bench/peers.csv' %s", root, arguments);
  return run_bench (variables, "kernels", all);
}

/* lora, b = 1, with records: µGraph 2 is the fastest when launched plainly, 1 with pdl; 3 is faster and wrong. */
static void save_with_records (const char *path) {
  mugraph_file f;
  mugraph_error e;
  if (!mugraph_file_load ("saved/lora_bs1.json", &f, &e)) fail_msg ("%s", e.text);
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
  (void) state;
  save_with_records ("lora.json");
  assert_int_equal (run ("", "lora.json saved/gqa_bs8.json saved/gqa_bs1.json"), 0);
  must_have (out, "3 right, 0 wrong, 0 failed");
  must_have (out, "geometric mean of 3 cases");
  const char *text = read_file ("pretended-h100-0-" DATE ".md");
  assert_non_null (text);
  must_have (text, "| lora | 1 | 2, 1 |");
  must_have (text, "10.7 (eager)");
  const char *first = strstr (text, "| gqa | 1 |"), *second = strstr (text, "| gqa | 8 |");
  assert_true (first && second && first < second);
  cJSON *results = read_json ("pretended-h100-0-" DATE ".json");
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
  must_have (out, "µGraph 7 ");
  must_have (out, "0 wrong, 0 failed");
  assert_int_equal (run ("FAKE_GPU_WRONG=5", "--all --no-time saved/lora_bs1.json"), 1);
  must_have (out, "WRONG");
  must_have (out, "1 wrong, 0 failed");
}

static void bad_files (void **state) {
  (void) state;
  assert_int_equal (run ("", "nowhere.json saved/lora_bs1.json"), 1);
  must_have (out, "nowhere.json: ");
  must_have (out, "1 right, 0 wrong, 1 failed");
  assert_int_equal (run ("", "data/mirage/small.json"), 1);
  must_have (out, "--program=WORKLOAD");
  assert_int_equal (run ("", "--bogus x.json"), 2);
  assert_int_equal (run ("", "--all"), 2);
}

static int lines_of (const char *name) {
  const char *text = read_file (name);
  assert_non_null (text);
  return lines (text);
}

static void times_are_kept (void **state) {
  mugraph_file f;
  mugraph_error e;
  (void) state;
  assert_int_equal (run_bench ("", "times", "-o . --seconds 0.001"), 0); /* ends cleanly with nothing */
  must_have (out, "ended early");
  assert_int_equal (lines_of ("times-h100.csv"), 1);
  assert_int_equal (run_bench ("FAKE_GPU_WRONG=5", "times", "-o . --sample 3 --quick lora:1"), 0);
  must_have (out, "wrong, relative error");
  must_have (out, "2 measured, 1 failed");
  if (!mugraph_file_load ("times-h100/lora_b1.json", &f, &e)) fail_msg ("%s", e.text);
  assert_true (f.n == 2 && f.batch == 1 && f.has_program);
  assert_string_equal (cJSON_GetObjectItemCaseSensitive (f.search, "part")->valuestring, "fit");
  for (int i = 0; i < f.n; i++) {
    const cJSON *m = cJSON_GetObjectItemCaseSensitive (f.saved[i].measured, DEVICE);
    double plain = mugraph_record_number (m, "cold_us", -1), pdl = mugraph_record_number (m, "cold_pdl_us", -1);
    assert_true (pdl > 0 && pdl < plain);
  }
  mugraph_file_free (&f);
  assert_int_equal (lines_of ("times-h100.csv"), 3);
  must_have (read_file ("times-h100.csv"), "lora,1,fit,lora_b1.json,1,");
  assert_int_equal (run_bench ("", "times", "-o . --quick lora:1"), 0); /* is there already */
  assert_string_equal (out, "");
  assert_int_equal (lines_of ("times-h100.csv"), 3);
  assert_int_equal (run_bench ("", "times", "-o . nothing"), 2);
  must_have (out, "nothing is no option or program");
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
  snprintf (copy, sizeof copy, "cp '%s/cuda_templates/cost.def' new.def", root);
  assert_int_equal (system (copy), 0);
  assert_int_equal (run_bench ("", "fit_cost", "h200 times-h100/lora_b1.json"), 1);
  must_have (out, "no µGraph of a program marked fit was timed on h200");
  assert_int_equal (run_bench ("", "fit_cost", path), 0);
  must_have (out, "fit      1 programs,    2 schedules: error ");
  FILE *was = fopen (in_source ("cuda_templates/cost.def"), "r"), *is = fopen ("new.def", "r");
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

static int link_files (void **state) {
  char command[9000];
  if (set_up (state)) return -1;
  snprintf (command, sizeof command, "ln -s '%s/saved_mugraphs' saved && ln -s '%s/tests/data' data", root, root);
  return system (command);
}

int main (void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test (takes_the_fastest), cmocka_unit_test (all_of_a_file),
                                     cmocka_unit_test (bad_files), cmocka_unit_test (times_are_kept),
                                     cmocka_unit_test (fit_writes_a_column)};
  return cmocka_run_group_tests (tests, link_files, tear_down);
}
