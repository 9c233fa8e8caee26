/* Random valid µGraphs, as odd as the checks let them be, become CUDA that NVRTC compiles; the generic code generator
   takes all of them. What they compute is compared on a GPU by tests/gpu_random.c. */
#include "cuda_templates/cuda.h"
#include "cuda_templates/runtime/nvrtc.h"
#include "cuda_templates/runtime/probe.h"
#include "random_mugraph.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

enum { GRAPHS = 24, EMITTED = 400 };

static void set_backend (mugraph *g, int backend) {
  for (int b = 0; b < g->n_blocks; b++) g->block[b].sched.backend = (int16_t) backend;
}

static void compiles (void **state) {
  cuda_facts f;
  (void) state;
  cuda_probe (&f);
  if (!f.nvrtc) {
    print_message ("skipped: %s\n", f.line);
    return;
  }
  for (int i = 0; i < GRAPHS; i++) {
    static mugraph g, scratch;
    cuda_program p;
    mugraph_error e;
    char *cubin, *log;
    size_t size;
    random_state = 1000 + (uint64_t) i;
    random_mugraph (&g, &scratch);
    set_backend (&g, i & 1);
    const cuda_device *d = cuda_device_find (i & 2 ? "a100" : "h100");
    if (!cuda_emit (&g, d, i & 1, &p, &e)) fail_msg ("graph %d: %s", i, e.text);
    if (!cuda_compile (p.source, d->arch, &cubin, &size, &log, &e)) {
      print_message ("%s\n%s\n", p.source, log ? log : "");
      fail_msg ("graph %d for sm_%d: %s", i, d->arch, e.text);
    }
    free (cubin);
    free (log);
    cuda_program_free (&p);
  }
}

/* Emission succeeds, and twice gives the same text: nothing is read that was not written. */
static void emission_is_reproducible (void **state) {
  int refused = 0;
  (void) state;
  for (int i = 0; i < EMITTED; i++) {
    static mugraph g, scratch;
    cuda_program p, q;
    mugraph_error e;
    random_state = 5000 + (uint64_t) i;
    random_mugraph (&g, &scratch);
    set_backend (&g, 1);
    if (!cuda_emit (&g, cuda_device_find ("h100"), false, &p, &e)) {
      if (!strstr (e.text, "the tiles of one block take")) fail_msg ("graph %d: %s", i, e.text);
      refused++;
      continue;
    }
    assert_true (cuda_emit (&g, cuda_device_find ("h100"), false, &q, &e));
    assert_string_equal (p.source, q.source);
    for (int k = 0; k < p.n_launches; k++) assert_true (p.launch[k].smem <= cuda_device_find ("h100")->smem_block);
    cuda_program_free (&p);
    cuda_program_free (&q);
  }
  assert_true (refused < EMITTED / 50); /* tiles of many gigabytes only */
}

int main (void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test (emission_is_reproducible), cmocka_unit_test (compiles)};
  return cmocka_run_group_tests (tests, NULL, NULL);
}
