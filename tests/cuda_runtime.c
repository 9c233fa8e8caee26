/* The runtime as far as it goes without a GPU: what the machine can do, compiling, the cache on disk, clear errors. */
#include "cuda_graphs.h"
#include "cuda_templates/cuda.h"
#include "cuda_templates/runtime/launch.h"
#include "cuda_templates/runtime/meter.h"
#include "cuda_templates/runtime/nvrtc.h"
#include "cuda_templates/runtime/probe.h"

#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>
#include <cmocka.h>

static const char kernel[] = "extern \"C\" __global__ void k (float *x) { x[threadIdx.x] *= 2.0f; }\n";

static char cache[] = "/tmp/msearch_cache_XXXXXX";

static bool has_nvrtc (void) {
  cuda_facts f;
  cuda_probe (&f);
  if (!f.nvrtc) print_message ("skipped: %s\n", f.line);
  return f.nvrtc;
}

/* Runs f in a process of its own, where no library has been opened yet. */
static void in_child (void (*f) (void)) {
  fflush (NULL);
  pid_t child = fork ();
  if (!child) {
    f ();
    _exit (0);
  }
  int status = 1;
  assert_int_equal (waitpid (child, &status, 0), child);
  assert_int_equal (status, 0);
}

static void compile_without_nvrtc (void) {
  char *cubin;
  size_t size;
  mugraph_error e = {""};
  cuda_facts f;
  setenv ("MSEARCH_NVRTC", "/nonexistent/libnvrtc.so", 1);
  bool done = cuda_compile (kernel, 80, &cubin, &size, NULL, &e);
  cuda_probe (&f);
  if (done || cubin || !strstr (e.text, "/nonexistent/libnvrtc.so") || strchr (e.text, '\n') || f.nvrtc ||
      !strstr (f.line, "source only"))
    _exit (1);
}

/* First, before this process opens anything. */
static void missing_nvrtc_is_named (void **state) {
  (void) state;
  in_child (compile_without_nvrtc);
}

static void facts_agree (void **state) {
  cuda_facts f;
  (void) state;
  cuda_probe (&f);
  assert_true (strlen (f.line) > 0 && !strchr (f.line, '\n'));
  assert_true (!f.gpu || (f.driver && f.arch >= 50 && *f.device));
  assert_true (!f.nvrtc || f.nvrtc_version >= 12000);
  assert_int_equal (f.nvrtc, strstr (f.line, "compiles") != NULL);
}

static void errors_of_the_compiler (void **state) {
  char *cubin = NULL, *log = NULL;
  size_t size;
  mugraph_error e = {""};
  (void) state;
  if (!has_nvrtc ()) return;
  assert_false (cuda_compile ("__global__ void k () { nonsense; }\n", 80, &cubin, &size, &log, &e));
  assert_null (cubin);
  assert_non_null (log);
  assert_non_null (strstr (log, "nonsense"));
  assert_non_null (strstr (e.text, "nonsense"));
  assert_null (strchr (e.text, '\n'));
  free (log);
  assert_false (cuda_compile (kernel, 12, &cubin, &size, NULL, &e)); /* no such architecture */
  assert_null (strchr (e.text, '\n'));
}

/* The only entry of the cache. */
static void cache_entry (char path[4096]) {
  DIR *d = opendir (cache);
  int n = 0;
  assert_non_null (d);
  for (struct dirent *f; (f = readdir (d));) {
    if (f->d_name[0] == '.') continue;
    snprintf (path, 4096, "%s/%s", cache, f->d_name);
    assert_non_null (strstr (path, ".cubin"));
    n++;
  }
  closedir (d);
  assert_int_equal (n, 1);
}

static void write_entry (const char *path, const char *text, bool right_sum) {
  uint64_t sum = XXH3_64bits (text, strlen (text)) + !right_sum;
  FILE *f = fopen (path, "wb");
  assert_non_null (f);
  fwrite (&sum, sizeof sum, 1, f);
  fwrite (text, 1, strlen (text), f);
  fclose (f);
}

static void cache_on_disk (void **state) {
  char *cubin, path[4096];
  size_t size;
  mugraph_error e;
  (void) state;
  if (!has_nvrtc ()) return;
  assert_true (cuda_compile (kernel, 80, &cubin, &size, NULL, &e));
  assert_memory_equal (cubin, "\177ELF", 4);
  free (cubin);
  cache_entry (path);
  write_entry (path, "from the cache", true); /* used without a question */
  assert_true (cuda_compile (kernel, 80, &cubin, &size, NULL, &e));
  assert_int_equal (size, strlen ("from the cache"));
  assert_memory_equal (cubin, "from the cache", size);
  free (cubin);
  write_entry (path, "damaged", false); /* compiled again, and repaired */
  for (int i = 0; i < 2; i++) {
    assert_true (cuda_compile (kernel, 80, &cubin, &size, NULL, &e));
    assert_memory_equal (cubin, "\177ELF", 4);
    free (cubin);
  }
  assert_int_equal (truncate (path, 3), 0);
  assert_true (cuda_compile (kernel, 80, &cubin, &size, NULL, &e));
  assert_memory_equal (cubin, "\177ELF", 4);
  free (cubin);
  cache_entry (path); /* one entry still, no temporary files */
  unlink (path);
}

/* A cache that cannot be written costs nothing but time. */
static void unusable_cache (void **state) {
  char *cubin, file[] = "/tmp/msearch_file_XXXXXX";
  size_t size;
  mugraph_error e;
  (void) state;
  if (!has_nvrtc ()) return;
  close (mkstemp (file));
  setenv ("MSEARCH_CACHE", file, 1);
  assert_true (cuda_compile (kernel, 80, &cubin, &size, NULL, &e));
  free (cubin);
  setenv ("MSEARCH_CACHE", cache, 1);
  unlink (file);
}

static void *compile_many (void *argument) {
  long failed = 0;
  for (int i = 0; i < 4; i++) {
    char source[256], *cubin;
    size_t size;
    snprintf (source, sizeof source, "extern \"C\" __global__ void k%d (float *x) { x[threadIdx.x] += %d; }\n",
              (int) (intptr_t) argument % 2, i);
    failed += !cuda_compile (source, 80, &cubin, &size, NULL, NULL) || memcmp (cubin, "\177ELF", 4);
    free (cubin);
  }
  return (void *) failed;
}

static void threads_compile (void **state) {
  pthread_t thread[4];
  (void) state;
  if (!has_nvrtc ()) return;
  for (int i = 0; i < 4; i++)
    assert_int_equal (pthread_create (&thread[i], NULL, compile_many, (void *) (intptr_t) i), 0);
  for (int i = 0; i < 4; i++) {
    void *failed;
    pthread_join (thread[i], &failed);
    assert_null (failed);
  }
}

static void no_gpu_is_one_line (void **state) {
  cuda_facts f;
  mugraph_error e = {""};
  mugraph program, candidate;
  cuda_measurement m;
  (void) state;
  cuda_probe (&f);
  if (f.gpu) {
    print_message ("skipped: there is a GPU\n");
    return;
  }
  assert_true (build_case (&graph_cases[0], &program, &candidate));
  assert_false (cuda_measure (&program, &candidate, cuda_device_find ("h100"), false, 1, NULL, 2e-3, false, &m, &e));
  assert_true (*e.text && !strchr (e.text, '\n'));
  cuda_program p;
  assert_true (cuda_emit (&candidate, cuda_device_find ("h100"), false, &p, &e));
  e.text[0] = 0;
  assert_null (cuda_load (&p, "\177ELF", 4, 1, &e));
  assert_true (*e.text && !strchr (e.text, '\n'));
  cuda_program_free (&p);
}

static int set_up (void **state) {
  (void) state;
  if (!mkdtemp (cache)) return -1;
  return setenv ("MSEARCH_CACHE", cache, 1);
}

static int tear_down (void **state) {
  (void) state;
  char command[128];
  snprintf (command, sizeof command, "rm -r %s", cache);
  return system (command);
}

int main (void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test (missing_nvrtc_is_named), cmocka_unit_test (facts_agree),
                                     cmocka_unit_test (errors_of_the_compiler), cmocka_unit_test (cache_on_disk),
                                     cmocka_unit_test (unusable_cache),         cmocka_unit_test (threads_compile),
                                     cmocka_unit_test (no_gpu_is_one_line)};
  return cmocka_run_group_tests (tests, set_up, tear_down);
}
