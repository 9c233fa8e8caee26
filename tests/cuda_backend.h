/* Cases of one code generator: compiled for sm_80 and sm_90a where NVRTC is, and where a GPU is also run and compared
   with the float64 reference, with and without programmatic dependent launch. */
#ifndef TESTS_CUDA_BACKEND_H
#define TESTS_CUDA_BACKEND_H

#include "cuda_graphs.h"
#include "cuda_templates/cuda.h"
#include "cuda_templates/runtime/meter.h"
#include "cuda_templates/runtime/nvrtc.h"
#include "cuda_templates/runtime/probe.h"
#include "golden.h"

#include <xxhash.h>

typedef struct {
  graph_case graph;    /* graph.backend is ignored */
  mugraph_sched sched; /* 0: the planner's choice; split 0 means 1 */
} backend_case;

static inline bool build_backend_case (const backend_case *c, int backend, mugraph *program, mugraph *candidate) {
  if (!build_case (&c->graph, program, candidate)) return false;
  for (int i = 0; i < candidate->n_blocks; i++) {
    candidate->block[i].sched = c->sched;
    candidate->block[i].sched.backend = (int16_t) backend;
    if (!c->sched.split) candidate->block[i].sched.split = 1;
  }
  return true;
}

/* True when the case was checked as far as this machine can. */
static inline void check_backend_case (const backend_case *c, int backend, const char *device, bool pdl,
                                       const cuda_facts *facts) {
  const cuda_device *d = cuda_device_find (device);
  mugraph program, candidate;
  cuda_program p;
  mugraph_error e;
  char *cubin, *log;
  size_t size;
  assert_non_null (d);
  assert_true (build_backend_case (c, backend, &program, &candidate));
  for (int k = 0; k < candidate.n_ops; k++) {
    cuda_plan plan; /* emission may replace a schedule, the case may not */
    if (candidate.op[k].kind == MUGRAPH_OP_CUSTOM && !cuda_plan_kernel (&candidate, k, d, &plan, &e))
      fail_msg ("%s for sm_%d: %s", c->graph.name, d->arch, e.text);
  }
  if (!cuda_emit (&candidate, d, pdl, &p, &e)) fail_msg ("%s: %s", c->graph.name, e.text);
  if (!cuda_compile (p.source, d->arch, &cubin, &size, &log, &e))
    fail_msg ("%s for sm_%d: %s\n%s", c->graph.name, d->arch, e.text, log ? log : "");
  free (cubin);
  free (log);
  cuda_program_free (&p);
  if (!facts->gpu || facts->arch < d->arch) return; /* code for sm_80 is compiled for the GPU that is here */
  cuda_measurement m;
  double tolerance = cuda_plan_storage (&program, program.output[0]) == MUGRAPH_BF16 ? 6e-3 : 2e-3;
  if (!cuda_measure (&program, &candidate, d, pdl, 7, c->graph.scale[0] ? c->graph.scale : NULL, tolerance, false, &m,
                     &e))
    fail_msg ("%s: %s", c->graph.name, e.text);
  if (!m.correct) fail_msg ("%s (%s, pdl %d): relative error %g", c->graph.name, device, pdl, m.rel_err);
}

static inline void check_backend_cases (const backend_case *cases, size_t n, int backend) {
  cuda_facts facts;
  cuda_probe (&facts);
  if (!facts.nvrtc) {
    print_message ("skipped: %s\n", facts.line);
    return;
  }
  for (size_t i = 0; i < n; i++) {
    check_backend_case (&cases[i], backend, "h100", false, &facts);
    if (facts.gpu) check_backend_case (&cases[i], backend, "h100", true, &facts);
    if (cases[i].sched.split < 2 && cases[i].sched.copy < 2)
      check_backend_case (&cases[i], backend, "a100", false, &facts);
  }
}

/* What the planner makes of each kernel of a graph, and hashes of what is emitted, plain and with programmatic
   dependent launch, as lines of a golden file: every case, where golden kernels show the text of a few. */
static inline void print_golden_line (FILE *f, const char *name, const mugraph *candidate, const cuda_device *d) {
  mugraph_error e;
  fprintf (f, "%s, sm_%d:", name, d->arch);
  for (int k = 0; k < candidate->n_ops; k++) {
    static cuda_plan p;
    if (candidate->op[k].kind != MUGRAPH_OP_CUSTOM) continue;
    if (!cuda_plan_kernel (candidate, k, d, &p, &e)) fprintf (f, " refused (%s)", e.text);
    else
      fprintf (f,
               " %s, %lld x %d threads, cluster %d, %d steps, %d warps, %d stages, split %d, %lld + %lld bytes, %d "
               "registers, moves %.4g %.4g %.4g, computes %.4g %.4g %.4g;",
               cuda_generator_text (p.backend), (long long) p.blocks, p.threads, p.cluster, p.iterations, p.sched.warps,
               p.sched.stages, p.sched.split, (long long) p.smem, (long long) p.workspace, p.regs, p.dram_read,
               p.dram_write, p.l2_read, p.mma_flops, p.fp32_flops, p.sfu_ops);
  }
  for (int pdl = 0; pdl < 2; pdl++) {
    char *file = cuda_emit_file (candidate, d, pdl, NULL, &e), *text = file ? golden_includes (file) : NULL;
    if (file) fprintf (f, " %016llx", (unsigned long long) XXH3_64bits (text, strlen (text)));
    else fprintf (f, " not emitted: %s", e.text);
    free (file), free (text);
  }
  fprintf (f, "\n");
}

static inline void check_golden_cases (const backend_case *cases, size_t n, int backend, const char *name) {
  char *text;
  size_t size;
  FILE *f = open_memstream (&text, &size);
  assert_non_null (f);
  for (size_t i = 0; i < n; i++) {
    static mugraph program, candidate;
    assert_true (build_backend_case (&cases[i], backend, &program, &candidate));
    print_golden_line (f, cases[i].graph.name, &candidate, cuda_device_find ("h100"));
    print_golden_line (f, cases[i].graph.name, &candidate, cuda_device_find ("a100"));
  }
  assert_int_equal (fclose (f), 0);
  golden_check (name, text);
  free (text);
}

#endif
