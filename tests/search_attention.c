/* Attention as people write it, K and V stored as they come, scales in any place: one kernel by the chain generator
 * comes first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cuda_templates/plan.h"
#include "mugraph/program/program.h"
#include "search/search.h"

#define QKV(t) "input Q[16, 128, 64]: " t "\ninput K[16, 1024, 64]: " t "\ninput V[16, 1024, 64]: " t "\n"
static const struct {
  const char *text;
  int structures; /* at most */
} programs[] = {
    {QKV ("bf16") "output matmul(softmax(matmul(Q, transpose(K)) * 0.125, -1), V)\n", 300},
    {QKV ("f16") "output matmul(softmax(matmul(Q * 0.125, transpose(K)), -1), V)\n", 300},
    {QKV ("f16") "output matmul(softmax(matmul(Q, transpose(K * 0.125)), -1), V)\n", 300},
    {QKV ("f16") "E = exp(matmul(Q, transpose(K)) / 8)\noutput matmul(E, V) / sum(E, -1)\n", 300},
    {QKV ("f16") "output matmul(softmax(transpose(matmul(K, transpose(Q))), -1), V)\n", 100},
    {QKV ("f16") "output matmul(softmax(matmul(rms_norm(Q, -1), transpose(K)), -1), rms_norm(V, -1))\n", 1000},
    {QKV ("f16") "output matmul(softmax(matmul(rms_norm(Q, -1), transpose(rms_norm(K, -1))), -1), V)\n", 2500},
    {QKV ("bf16") "output matmul(silu(matmul(Q, transpose(K))), V)\n", 100},
    {"input Q[16, 128, 64]: f16\ninput K[16, 1024, 64]: f16\ninput V[16, 64, 1024]: f16\noutput "
     "matmul(softmax(matmul(Q, transpose(K)), -1), transpose(V))\n",
     100},
};

static void test_one_kernel (void **state) {
  static const char *const devices[] = {"h100", "a100"}; /* the third for the second: clusters are not what it takes */
  (void) state;
  mugraph_program *p = malloc (sizeof *p);
  search_options o;
  mugraph_error e;
  assert_non_null (p);
  search_options_default (&o);
  o.top = 4;
  for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
    search_result r;
    cuda_plan plan;
    const cuda_device *d = cuda_device_find (devices[i == 2]);
    if (!mugraph_program_parse (programs[i].text, strlen (programs[i].text), "test", NULL, p, &e))
      fail_msg ("%s", e.text);
    assert_true (search_run (&p->graph, &o, d, NULL, NULL, NULL, &r, &e));
    assert_true (r.finished && r.n > 0);
    const mugraph *best = &r.candidate[0].graph;
    if (best->n_ops != 1 || best->op[0].kind != MUGRAPH_OP_CUSTOM) fail_msg ("program %zu: %d kernels", i, best->n_ops);
    assert_true (cuda_plan_kernel (best, 0, d, &plan, &e));
    if (plan.backend != CUDA_GENERATOR_CHAIN)
      fail_msg ("program %zu by the %s generator", i, cuda_generator_text (plan.backend));
    if ((int) r.stats.structures > programs[i].structures)
      fail_msg ("program %zu: %d structures", i, (int) r.stats.structures);
    assert_int_equal (r.verify.verdict, VERIFY_EQUIVALENT);
    search_result_free (&r);
  }
  free (p);
}

int main (void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test (test_one_kernel)};
  return cmocka_run_group_tests (tests, NULL, NULL);
}
