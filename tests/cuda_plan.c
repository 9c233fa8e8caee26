/* Plans of the generic code generator on random graphs: everything fits, and what lives at the same time does not
 * overlap. */
#include "cuda_templates/generator.h"
#include "cuda_templates/generic/plan_generic.h"
#include "random_mugraph.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

enum { GRAPHS = 3000 };

/* Kernel operators of random graphs go to f. */
static int each_kernel (void (*f) (const mugraph *, int k)) {
  static mugraph g, scratch;
  int n = 0;
  for (int i = 0; i < GRAPHS; i++) {
    random_state = 77000 + (uint64_t) i;
    random_mugraph (&g, &scratch);
    for (int k = 0; k < g.n_ops; k++)
      if (g.op[k].kind == MUGRAPH_OP_CUSTOM) n++, f (&g, k);
  }
  return n;
}

/* What the generic generator found of a graph, whatever its schedule asks for. */
static bool found (const mugraph *g, int k, const char *device, cuda_generic *d, mugraph_error *e) {
  static cuda_plan p;
  memset (&p, 0, sizeof p);
  if (!cuda_plan_generic (g, k, cuda_device_find (device), &p, e)) return false;
  cuda_plan_found (&p, d, sizeof *d);
  return true;
}

static void check_memory (const mugraph *g, int k) {
  const cuda_device *device = cuda_device_find ("a100");
  cuda_generic d;
  mugraph_error e;
  if (!found (g, k, "a100", &d, &e)) {
    assert_non_null (strstr (e.text, "the tiles of one block take"));
    return;
  }
  assert_true (d.smem <= device->smem_block);
  for (int i = 0; i < d.n; i++) {
    if (!d.bytes[i]) continue;
    int64_t end = d.offset[i] + d.bytes[i];
    assert_true (d.offset[i] >= 0 && end <= (d.home[i] == CUDA_HOME_SHARED ? d.smem : d.workspace));
    assert_true (d.start[i] <= d.end[i]);
    for (int j = 0; j < i; j++) {
      if (!d.bytes[j] || d.home[i] != d.home[j] || d.end[i] < d.start[j] || d.end[j] < d.start[i]) continue;
      assert_true (end <= d.offset[j] || d.offset[j] + d.bytes[j] <= d.offset[i]);
    }
  }
}

/* Whoever reads a stored tile reads it while it lives; a reader's own operands are in memory or can be computed. */
static void check_readers (const mugraph *g, int k) {
  const mugraph_block *b = &g->block[g->op[k].block];
  cuda_generic d;
  if (!found (g, k, "h100", &d, NULL)) return;
  for (int i = 0; i < d.n; i++)
    for (int a = 0; a < b->op[i].n_in; a++) {
      int j = b->op[i].in[a];
      assert_true (d.phase[j] <= d.phase[i]);
      if (!d.stored[j]) continue;
      assert_true (d.start[j] <= cuda_generic_position (&d, i) && d.end[j] >= cuda_generic_position (&d, i));
    }
}

static void memory (void **state) {
  (void) state;
  assert_true (each_kernel (check_memory) > GRAPHS / 2);
}
static void readers (void **state) {
  (void) state;
  each_kernel (check_readers);
}

static void devices (void **state) {
  (void) state;
  assert_ptr_equal (cuda_device_find ("NVIDIA H100 80GB HBM3"), cuda_device_find ("h100"));
  assert_ptr_equal (cuda_device_find ("NVIDIA A100-SXM4-40GB"), cuda_device_find ("a100"));
  assert_null (cuda_device_find ("abacus"));
  for (int i = 0; i < cuda_n_devices; i++) {
    const cuda_device *d = &cuda_devices[i];
    assert_true (d->dram_bw > 1e11 && d->l2_bw > d->dram_bw && d->mma_f16 > d->fp32 && d->smem_block < d->smem_sm &&
                 d->launch_pdl <= d->launch);
  }
}

/* A graph of one kernel that doubles its input, and what is asked of plan.c about it. */
static void dispatch (void **state) {
  mugraph g;
  mugraph_error e;
  cuda_plan p;
  (void) state;
  mugraph_init (&g);
  int x = mugraph_add_input (&g, "X", mugraph_shape_of (MUGRAPH_F16, 2, (int32_t[]){8, 64}));
  int k = mugraph_add_custom (&g, 1, &x, (int32_t[]){4, 1, 1}, 1);
  mugraph_block *b = &g.block[0];
  int t = mugraph_block_input (b, 0, (int[]){1, -1, -1}, -1);
  mugraph_block_output (b, mugraph_block_op (b, MUGRAPH_OP_ADD, t, t, -1), (int[]){1, -1, -1});
  assert_true (mugraph_finish_custom (&g, k, &e));
  int y = mugraph_add_op (&g, MUGRAPH_OP_NEG, 1, (int[]){g.op[k].out[0]}, -1, &e);
  assert_true (mugraph_add_output (&g, y, "Y"));
  assert_true (mugraph_infer (&g, &e));
  assert_int_equal (cuda_plan_storage (&g, x), MUGRAPH_F16);
  assert_int_equal (cuda_plan_storage (&g, g.op[k].out[0]), MUGRAPH_F32); /* between kernels */
  assert_int_equal (cuda_plan_storage (&g, y), MUGRAPH_F16);
  assert_int_equal (cuda_plan_splits (&g, x), 0);
  assert_int_equal (cuda_plan_splits (&g, g.op[k].out[0]), 4);
  b->sched.backend = CUDA_GENERATOR_GENERIC;
  assert_true (cuda_plan_kernel (&g, k, cuda_device_find ("h100"), &p, &e));
  assert_int_equal (p.backend, CUDA_GENERATOR_GENERIC);
  assert_int_equal (p.blocks, 4);
  b->sched.backend = CUDA_GENERATOR_CHAIN; /* no matmul to chain */
  assert_false (cuda_plan_kernel (&g, k, cuda_device_find ("h100"), &p, &e));
  b->sched.backend = 15;
  assert_false (cuda_plan_kernel (&g, k, cuda_device_find ("h100"), &p, &e));
  b->sched.backend = CUDA_GENERATOR_AUTO;
  assert_true (cuda_plan_kernel (&g, k, cuda_device_find ("h100"), &p, &e));
  assert_int_not_equal (p.backend, CUDA_GENERATOR_AUTO);
  assert_false (cuda_plan_kernel (&g, 1, cuda_device_find ("h100"), &p, &e));
}

/* Schedules are shown with the generators' names. */
static void generators_in_schedules (void **state) {
  (void) state;
  for (int b = CUDA_GENERATOR_AUTO + 1; b < CUDA_N_GENERATORS; b++) {
    mugraph_sched s;
    char text[64];
    mugraph_sched_default (&s);
    s.backend = (int16_t) b;
    assert_string_equal (mugraph_sched_text (&s, cuda_generator_name, text, sizeof text), cuda_generator_text (b));
  }
}

int main (void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test (memory), cmocka_unit_test (readers), cmocka_unit_test (devices),
                                     cmocka_unit_test (dispatch), cmocka_unit_test (generators_in_schedules)};
  return cmocka_run_group_tests (tests, NULL, NULL);
}
