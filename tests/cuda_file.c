/* What `msearch emit` writes is a file that nvcc alone builds, with and without its main function. */
#include "cuda_graphs.h"
#include "cuda_templates/cuda.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

static const char *find_nvcc (void) {
  static const char *const paths[] = {"/usr/local/cuda/bin/nvcc", "/usr/bin/nvcc"};
  for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
    if (!access (paths[i], X_OK)) return paths[i];
  return NULL;
}

static const graph_case *find_case (const char *name) {
  for (int i = 0; i < N_GRAPH_CASES; i++)
    if (!strcmp (graph_cases[i].name, name)) return &graph_cases[i];
  fail_msg ("no case %s", name);
  return NULL;
}

/* Returns nvcc's exit status. */
static int compile_text (const char *text, const char *arch, const char *more) {
  char path[] = "/tmp/msearch_file_XXXXXX.cu", command[512];
  int fd = mkstemps (path, 3);
  assert_true (fd >= 0);
  assert_int_equal (write (fd, text, strlen (text)), (int) strlen (text));
  close (fd);
  snprintf (command, sizeof command, "%s -std=c++17 -Werror all-warnings -arch=%s %s -c -o /dev/null %s", find_nvcc (),
            arch, more, path);
  int status = system (command);
  unlink (path);
  return status;
}

/* unit: of the text, by the generator that was meant. copy: of the schedule, 2 for weights by tensor copies. */
static void check_file (const char *name, int backend, int copy, const char *unit, const char *device,
                        const char *arch) {
  mugraph program, candidate;
  mugraph_error e;
  assert_true (build_case (find_case (name), &program, &candidate));
  candidate.block[0].sched.backend = backend;
  candidate.block[0].sched.copy = (int16_t) copy;
  char *text = cuda_emit_file (&candidate, cuda_device_find (device), true, "measured: 1.00 us\nsecond line", &e);
  if (!text) fail_msg ("%s: %s", name, e.text);
  assert_non_null (strstr (text, "\n// measured: 1.00 us\n// second line\n"));
  assert_non_null (strstr (text, "extern \"C\" cudaError_t msearch_launch ("));
  assert_non_null (strstr (text, unit));
  if (!find_nvcc ()) print_message ("skipped: no nvcc\n");
  else {
    assert_int_equal (compile_text (text, arch, "-DMSEARCH_MAIN"), 0);
    assert_int_equal (compile_text (text, arch, ""), 0);
    char *broken = malloc (strlen (text) + 32); /* the check can fail */
    sprintf (broken, "%s\nint broken = nowhere;\n", text);
    assert_int_not_equal (compile_text (broken, arch, "2>/dev/null"), 0);
    free (broken);
  }
  free (text);
}

static void hopper (void **state) {
  (void) state;
  check_file ("rmsnorm 2x4096x6144 /96 x64", CUDA_GENERATOR_STREAM, 1, "k0_stream", "h100", "sm_90a");
  check_file ("rmsnorm 2x4096x6144 /96 x64", CUDA_GENERATOR_STREAM, 2, "stream_ring", "h100",
              "sm_90a"); /* wgmma, as in the next ones */
  check_file ("tiled gelu and bias", CUDA_GENERATOR_TILED, 0, "k0_tiled", "h100", "sm_90a");
  check_file ("gqa 2x256x64x4096 /2,4 x64", CUDA_GENERATOR_CHAIN, 0, "k0_chain", "h100", "sm_90a");
  check_file ("gqa split 2x256x64x4096 /2,8 x8", CUDA_GENERATOR_AUTO, 0, "k0_generic", "h100", "sm_90a");
  check_file ("ntrans 8x4096 /8", CUDA_GENERATOR_ROWS, 0, "k0_rows", "h100", "sm_90a");
}
static void ampere (void **state) {
  (void) state;
  check_file ("large tiles, one block", CUDA_GENERATOR_AUTO, 0, "k0_", "a100", "sm_80");
}

int main (void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test (hopper), cmocka_unit_test (ampere)};
  return cmocka_run_group_tests (tests, NULL, NULL);
}
