/* What files hold becomes CUDA that NVRTC compiles for sm_80 and sm_90a: µGraphs that the search found and that other
   projects published, each by the generator that the planner chooses for the device and with the schedule it was saved
   with. Of each file the first one, all of them with ALL=1; FILES="a.json ..." names other files. What they compute is
   compared on a GPU: build/bench/kernels --all --no-time FILE.json ... */
#include "cuda_templates/cuda.h"
#include "cuda_templates/runtime/nvrtc.h"
#include "cuda_templates/runtime/probe.h"
#include "mugraph/file/load.h"
#include "mugraph/file/saved.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static bool compiles (const mugraph *g, const cuda_device *d, bool pdl, mugraph_error *e) {
  cuda_program *p = calloc (1, sizeof *p);
  char *cubin = NULL;
  size_t size = 0;
  bool good = p && cuda_emit (g, d, pdl, p, e);
  for (int i = 0; good && i < p->n_launches; i++)
    if (p->launch[i].smem > d->smem_block)
      good = mugraph_fail (e, "%s needs %d bytes of shared memory", p->launch[i].name, p->launch[i].smem);
  good = good && cuda_compile (p->source, d->arch, &cubin, &size, NULL, e);
  free (cubin);
  if (p) cuda_program_free (p);
  free (p);
  return good;
}

/* Returns how many µGraphs were compiled. */
static int check_file (const char *path, bool all) {
  static const char *const devices[] = {"a100", "h100"};
  mugraph_file f;
  mugraph_error e;
  int failed = 0;
  if (!mugraph_file_load_any (path, &f, &e)) fail_msg ("%s", e.text);
  int n = all || !f.n ? f.n : 1;
#pragma omp parallel for schedule(dynamic) reduction(+ : failed)
  for (int i = 0; i < 2 * n; i++) {
    const cuda_device *d = cuda_device_find (devices[i % 2]);
    mugraph_error why = {""};
    if (compiles (&f.saved[i / 2].graph, d, i / 2 % 2, &why)) continue;
    print_message ("%s: µGraph %d for sm_%d: %s\n", path, i / 2, d->arch, why.text);
    failed++;
  }
  mugraph_file_free (&f);
  if (failed) fail_msg ("%s: %d of %d do not compile", path, failed, 2 * n);
  return n;
}

static void check_pattern (const char *pattern, bool needed) {
  const char *all = getenv ("ALL");
  glob_t found;
  int n = 0, files = 0;
  if (!glob (pattern, 0, NULL, &found))
    for (; files < (int) found.gl_pathc; files++) n += check_file (found.gl_pathv[files], all && *all);
  globfree (&found);
  print_message ("%s: %d µGraphs of %d files\n", pattern, n, files);
  if (needed && !n) fail_msg ("%s: no µGraph", pattern);
}

static bool has_nvrtc (void) {
  cuda_facts f;
  cuda_probe (&f);
  if (!f.nvrtc) print_message ("skipped: %s\n", f.line);
  return f.nvrtc;
}

static void saved (void **state) {
  (void) state;
  if (has_nvrtc ()) check_pattern ("saved_mugraphs/*.json", true);
}

static void mirage (void **state) {
  (void) state;
  if (!has_nvrtc ()) return;
  check_pattern ("tests/data/mirage/*.json", true);
  check_pattern ("../shared/mirage_mugraphs/*.json", false); /* where they are: not part of the project */
}

static void named (void **state) {
  (void) state;
  char *list = getenv ("FILES") ? strdup (getenv ("FILES")) : NULL;
  for (char *name = list ? strtok (list, " ") : NULL; name && has_nvrtc (); name = strtok (NULL, " "))
    check_pattern (name, true);
  free (list);
}

int main (void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test (saved), cmocka_unit_test (mirage), cmocka_unit_test (named)};
  return cmocka_run_group_tests (tests, NULL, NULL);
}
