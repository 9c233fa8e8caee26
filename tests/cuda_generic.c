/* Every case of cuda_graphs.h compiles with NVRTC for sm_80 and sm_90a, by the backend that the planner chooses and by
   the generic one. What the kernels compute is checked on a GPU: make gpu-check. */
#include "cuda_backend.h"

static bool has_nvrtc (void) {
  cuda_facts f;
  cuda_probe (&f);
  if (!f.nvrtc) print_message ("skipped: %s\n", f.line);
  return f.nvrtc;
}

static void use_backend (mugraph *g, int backend) {
  for (int b = 0; b < g->n_blocks; b++) g->block[b].sched.backend = (int16_t) backend;
}

static void check_program (const char *name, const cuda_program *p) {
  assert_true (p->n_launches > 0);
  for (int i = 0; i < p->n_launches; i++) {
    const cuda_launch *l = &p->launch[i];
    assert_true (l->grid[0] > 0 && l->block > 0 && l->block <= 1024 && l->block % 32 == 0);
    for (int a = 0; a < l->n_args; a++) assert_true (l->arg[a].buffer >= 0 && l->arg[a].buffer < p->n_buffers);
    if (!strstr (p->source, l->name)) fail_msg ("%s: no kernel %s", name, l->name);
  }
}

static void compile_for (const char *device, int backend) {
  const cuda_device *d = cuda_device_find (device);
  assert_non_null (d);
  for (int i = 0; i < N_GRAPH_CASES; i++) {
    mugraph program, candidate;
    cuda_program p;
    mugraph_error e;
    char *cubin, *log;
    size_t size;
    assert_true (build_case (&graph_cases[i], &program, &candidate));
    if (backend && !candidate.n_blocks) continue;
    use_backend (&candidate, backend);
    if (!cuda_emit (&candidate, d, i & 1, &p, &e)) fail_msg ("%s: %s", graph_cases[i].name, e.text);
    check_program (graph_cases[i].name, &p);
    if (!cuda_compile (p.source, d->arch, &cubin, &size, &log, &e)) {
      print_message ("%s\n%s\n", p.source, log ? log : "");
      fail_msg ("%s for sm_%d: %s", graph_cases[i].name, d->arch, e.text);
    }
    assert_memory_equal (cubin, "\177ELF", 4);
    free (cubin);
    free (log);
    cuda_program_free (&p);
  }
}

static void generic_80 (void **state) {
  (void) state;
  if (has_nvrtc ()) compile_for ("a100", CUDA_GENERATOR_GENERIC);
}
static void generic_90 (void **state) {
  (void) state;
  if (has_nvrtc ()) compile_for ("h100", CUDA_GENERATOR_GENERIC);
}
static void chosen_80 (void **state) {
  (void) state;
  if (has_nvrtc ()) compile_for ("a100", CUDA_GENERATOR_AUTO);
}
static void chosen_90 (void **state) {
  (void) state;
  if (has_nvrtc ()) compile_for ("h100", CUDA_GENERATOR_AUTO);
}

/* The float64 references compile too, and so do the kernels that draw inputs. */
static void references (void **state) {
  (void) state;
  if (!has_nvrtc ()) return;
  for (int i = 0; i < N_GRAPH_CASES; i++) {
    mugraph program, candidate;
    cuda_program p;
    mugraph_error e;
    char *cubin;
    size_t size;
    assert_true (build_case (&graph_cases[i], &program, &candidate));
    if (!cuda_emit_reference (&program, &p, &e)) fail_msg ("%s: %s", graph_cases[i].name, e.text);
    check_program (graph_cases[i].name, &p);
    if (!cuda_compile (p.source, 80, &cubin, &size, NULL, &e)) fail_msg ("%s: %s", graph_cases[i].name, e.text);
    free (cubin);
    cuda_program_free (&p);
  }
  for (const cuda_template_file *t = cuda_template_files; t->name; t++) {
    mugraph_error e;
    char *cubin;
    size_t size;
    if (strcmp (t->name, "reference.cuh")) continue;
    if (!cuda_compile (t->text, 80, &cubin, &size, NULL, &e)) fail_msg ("%s: %s", t->name, e.text);
    free (cubin);
  }
}

static void golden (void **state) {
  char *text;
  size_t size;
  FILE *f = open_memstream (&text, &size);
  (void) state;
  assert_non_null (f);
  for (int i = 0; i < N_GRAPH_CASES; i++)
    for (int way = 0; way < 4; way++) {
      static mugraph program, candidate;
      assert_true (build_case (&graph_cases[i], &program, &candidate));
      if (way > 1 && !candidate.n_blocks) continue;
      if (way > 1) use_backend (&candidate, CUDA_GENERATOR_GENERIC);
      print_golden_line (f, graph_cases[i].name, &candidate, cuda_device_find (way & 1 ? "a100" : "h100"));
    }
  assert_int_equal (fclose (f), 0);
  golden_check ("generic.txt", text);
  free (text);
}

int main (void) {
  golden_filter ();
  const struct CMUnitTest tests[] = {cmocka_unit_test (golden),     cmocka_unit_test (generic_80),
                                     cmocka_unit_test (generic_90), cmocka_unit_test (chosen_80),
                                     cmocka_unit_test (chosen_90),  cmocka_unit_test (references)};
  return cmocka_run_group_tests (tests, NULL, NULL);
}
