/* Fitting the cost model: times that the model itself makes of other constants are explained again, also those that the
   fit has not seen. */
#include "cuda_templates/cost_fit.h"
#include "golden.h"
#include "mugraph/file/saved.h"

#include <math.h>

static mugraph_file file[6];
static cost_sample sample[2][200]; /* seen by the fit, and not */
static int n[2];
static const cuda_device *h100;

static int set_up (void **state) {
  static const char *const names[] = {"gated_mlp_bs16",       "gqa_bs8",        "lora_bs1",
                                      "norm_transformer_bs1", "qknorm_gqa_bs1", "rmsnorm_bs8"};
  mugraph_error e;
  (void) state;
  h100 = cuda_device_find ("h100");
  for (int i = 0; i < 6; i++) {
    char path[200];
    snprintf (path, sizeof path, GOLDEN_FOLDER "saved_mugraphs/%s.json", names[i]);
    if (!mugraph_file_load (path, &file[i], &e)) fail_msg ("%s", e.text);
    for (int k = 0; k < file[i].n; k++) {
      cost_sample s = {.graph = &file[i].saved[k].graph};
      int part = k % 3 == 2;
      assert_true (n[part] < 200 && cost_sample_plan (&s, h100));
      sample[part][n[part]++] = s;
    }
  }
  return 0;
}

static int tear_down (void **state) {
  (void) state;
  for (int part = 0; part < 2; part++)
    for (int i = 0; i < n[part]; i++) cost_sample_free (&sample[part][i]);
  for (int i = 0; i < 6; i++) mugraph_file_free (&file[i]);
  return 0;
}

/* What the samples would take on a device with these constants, as if it had been measured. */
static void measure_with (const cost_constants *c) {
  cuda_device d = *h100;
  d.cost = c;
  for (int part = 0; part < 2; part++) {
    cost_predict (sample[part], n[part], &d);
    for (int i = 0; i < n[part]; i++)
      sample[part][i].plain = sample[part][i].model_plain, sample[part][i].pdl = sample[part][i].model_pdl;
  }
}

static double error_with (int part, const cost_constants *c) {
  cuda_device d = *h100;
  d.cost = c;
  cost_predict (sample[part], n[part], &d);
  return cost_judge (sample[part], n[part]).error;
}

static void test_predicts_as_the_model (void **state) {
  (void) state;
  cost_predict (sample[0], n[0], h100);
  for (int i = 0; i < n[0]; i++) {
    double plain, pdl;
    cost_times (sample[0][i].graph, h100, &plain, &pdl);
    assert_true (plain == sample[0][i].model_plain && pdl == sample[0][i].model_pdl);
  }
}

static void test_judges (void **state) {
  (void) state;
  measure_with (h100->cost);
  cost_predict (sample[0], n[0], h100);
  cost_judgement j = cost_judge (sample[0], n[0]);
  assert_true (j.n == n[0] && j.rank == 1 && j.near_rank == 1 && j.error == 0 && j.correlation > 0.999);
  for (int i = 0; i < n[0]; i++) sample[0][i].plain = 1 / sample[0][i].plain, sample[0][i].pdl = 1 / sample[0][i].pdl;
  j = cost_judge (sample[0], n[0]); /* the other way round */
  assert_true (j.rank > n[0] / 2 && j.correlation < -0.999 && j.error > 1);
}

static void test_explains_other_constants (void **state) {
  (void) state;
  cost_constants truth = *h100->cost;
  truth.first_bytes *= 1.7, truth.loaded_latency *= 1.4, truth.pdl_shown *= 0.5, truth.pdl_place *= 0.85;
  truth.chain_fixed *= 1.5, truth.chain_alone *= 0.7, truth.stream_step *= 2, truth.rows_step *= 2.5;
  measure_with (&truth);
  double before = error_with (0, h100->cost), unseen_before = error_with (1, h100->cost);
  cost_constants fitted = cost_fit (sample[0], n[0], h100, 0);
  double after = error_with (0, &fitted), unseen_after = error_with (1, &fitted);
  print_message ("error of seen %.4f -> %.4f, of unseen %.4f -> %.4f\n", before, after, unseen_before, unseen_after);
  assert_true (before > 0.05 && after < 0.01 && after < before / 10);
  assert_true (unseen_before > 0.05 && unseen_after < unseen_before / 4);
  for (int r = 0; r < cost_n_constants; r++) {
    size_t at = cost_constant_table[r].offset;
    double by = cost_constant_get (&fitted, at) / cost_constant_get (h100->cost, at);
    assert_true (by > 0.99 / COST_FIT_RANGE && by < 1.01 * COST_FIT_RANGE);
    if (!cost_constant_table[r].fitted) assert_true (by == 1);
  }
  assert_true (fitted.mma_rate_predefined == h100->cost->mma_rate_predefined); /* no sample says anything about it */
  cost_constants again = cost_fit (sample[0], n[0], h100, 0);
  assert_memory_equal (&again, &fitted, sizeof fitted);
}

int main (void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test (test_predicts_as_the_model),
      cmocka_unit_test (test_judges),
      cmocka_unit_test (test_explains_other_constants),
  };
  return cmocka_run_group_tests (tests, set_up, tear_down);
}
