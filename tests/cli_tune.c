/* Searching where there is a GPU: what is timed, in which order it is kept, what is said of it. The GPU is
   tests/fake/gpu.c, beside this program. */
#include "cli_run.h"

#include <math.h>

static cJSON *result, *file;

/* Runs a search with --out and --json, with these variables set; leaves what it printed in out. Returns the exit
 * status. */
static int run (const char *variables, const char *arguments) {
  char command[24000];
  cJSON_Delete (result), cJSON_Delete (file);
  result = file = NULL;
  unlink ("happened");
  snprintf (command, sizeof command,
            "LD_LIBRARY_PATH='%s/fake' MSEARCH_NVRTC='%s/fake/libcuda.so.1' MSEARCH_CACHE=cache %s '%s' %s "
            "--json result.json 2>&1",
            here, here, variables, binary, arguments);
  int status = shell (command);
  result = read_json ("result.json");
  file = read_json ("file.json");
  return status;
}

#define SEARCH                                                                                                         \
  "lora -b 2 --shape X=4x64 --shape W=64x256 --shape A=64x16 --shape B=16x256 --fresh -o file.json --threads 2 "

static double number (const cJSON *o, const char *path) {
  const cJSON *x = member (o, path);
  if (!cJSON_IsNumber (x)) fail_msg ("%s is no number\n%s", path, out);
  return x->valuedouble;
}
static int graphs (void) { return cJSON_GetArraySize (at (file, "mugraphs")); }
static double measured (int i, const char *what) {
  char path[100];
  snprintf (path, sizeof path, "measured.Pretended H100 0.%s", what);
  return number (cJSON_GetArrayItem (at (file, "mugraphs"), i), path);
}

static bool same (double a, double b) { return a > b - 1e-9 && a < b + 1e-9; }

static void test_timed_in_order (void **state) {
  (void) state;
  assert_int_equal (run ("", SEARCH "--tune 12 --top 4"), 0);
  assert_true (cJSON_IsTrue (at (result, "gpu.available")) && cJSON_IsTrue (at (result, "gpu.correct")));
  assert_int_equal (number (result, "gpu.timed"), 12);
  assert_int_equal (number (result, "gpu.wrong"), 0);
  assert_true (number (result, "gpu.near_rank") >= 0 &&
               number (result, "gpu.near_rank") <= number (result, "gpu.model_rank"));
  assert_true (number (result, "gpu.tune_seconds") > 0 && number (result, "gpu.model_rank") >= 0 &&
               number (result, "gpu.model_rank") < 12);
  assert_int_equal (graphs (), 4);
  for (int i = 0; i < 4; i++) { /* all by the whole protocol, fastest first: with pdl a launch takes 0.8 of its time */
    double plain = measured (i, "cold_us"), pdl = measured (i, "cold_pdl_us");
    assert_true (pdl > 0.79 * plain && pdl < 0.81 * plain &&
                 same (measured (i, "score_us"), cbrt (plain * pdl * pdl)) && measured (i, "warm_us") > 0);
    assert_true (!i || measured (i, "score_us") >= measured (i - 1, "score_us") - 1e-9);
  }
  assert_true (same (number (result, "gpu.cold_us"), measured (0, "cold_pdl_us")) &&
               cJSON_IsTrue (at (result, "gpu.pdl")));
  assert_non_null (strstr (out, "12 µGraphs compiled and run in"));
  /* found again and not tuned again */
  assert_int_equal (run ("", "lora -b 2 --shape X=4x64 --shape W=64x256 --shape A=64x16 --shape B=16x256 -o file.json"),
                    0);
  assert_true (cJSON_IsTrue (at (result, "cached")) &&
               same (number (result, "gpu.cold_us"), measured (0, "cold_pdl_us")));
  assert_true (cJSON_IsNull (at (result, "gpu.timed")));
}

/* Modules are loaded in this order: helpers, the first candidate, the reference, the first candidate with pdl, the
 * second, ... */
static void test_crash_and_error (void **state) {
  (void) state;
  assert_int_equal (run ("FAKE_GPU_CRASH=5", SEARCH "--tune 6 --top 6"), 0);
  assert_int_equal (number (result, "gpu.timed"), 6);
  assert_int_equal (number (result, "gpu.wrong"), 1);
  assert_non_null (strstr (out, "µGraph 1: running the kernels: CUDA error 715: an illegal instruction"));
  assert_null (strstr (out, "µGraph 2"));
  assert_int_equal (graphs (), 5);
  assert_int_equal (run ("FAKE_GPU_WRONG=5", SEARCH "--tune 6 --top 6"), 0);
  assert_non_null (strstr (out, "µGraph 1: WRONG on the GPU"));
  assert_true (number (result, "gpu.wrong") == 1 && graphs () == 5);
  /* worse: the whole process ends */
  assert_int_equal (run ("FAKE_GPU_KILL=5", SEARCH "--tune 6 --top 6"), 0);
  assert_non_null (
      strstr (out, "µGraph 1: the process that ran it ")); /* died, or ended: a sanitizer catches the signal */
  assert_null (strstr (out, "µGraph 2"));
  assert_true (number (result, "gpu.timed") == 6 && number (result, "gpu.wrong") == 1 && graphs () == 5);
  /* the only one is wrong: exit status 1, and no time is believed */
  assert_int_equal (run ("FAKE_GPU_WRONG=2", SEARCH "--tune 1 --top 1"), 1);
  assert_true (cJSON_IsFalse (at (result, "gpu.correct")) && cJSON_IsNull (at (result, "gpu.cold_us")));
}

static void test_without_times (void **state) {
  (void) state;
  assert_int_equal (run ("", SEARCH "--tune 3 --top 2"), 0);
  double us = measured (0, "score_us");
  assert_int_equal (run ("", SEARCH "--tune 3 --top 2 --no-time"),
                    0); /* without times of its own, those of before stay */
  bool stays = false;
  for (int i = 0; i < graphs (); i++) {
    const cJSON *timed = member (cJSON_GetArrayItem (at (file, "mugraphs"), i), "measured.Pretended H100 0.score_us");
    stays |= timed && timed->valuedouble == us;
  }
  assert_true (stays);
  remove ("file.json");
  assert_int_equal (run ("", SEARCH "--tune 3 --top 2 --no-time"), 0);
  assert_true (number (result, "gpu.timed") == 3 && graphs () == 2 && cJSON_IsNull (at (result, "gpu.cold_us")));
  assert_int_equal (run ("", SEARCH "--tune 12 --top 2 --no-gpu"), 0);
  assert_true (cJSON_IsFalse (at (result, "gpu.available")) && graphs () == 2 &&
               cJSON_IsNull (at (result, "gpu.timed")));
}

static int clean_up (void **state) {
  cJSON_Delete (result), cJSON_Delete (file);
  return tear_down (state);
}

int main (void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test (test_timed_in_order),
      cmocka_unit_test (test_crash_and_error),
      cmocka_unit_test (test_without_times),
  };
  return cmocka_run_group_tests (tests, set_up, clean_up);
}
