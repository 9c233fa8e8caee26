/* Timing candidates: what is tried, what is timed in full, what order comes out. The GPU is a table of times. */
#include "search/schedules/tune.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { MOST = 64 };
typedef struct {
  double us[MOST][TUNE_WAYS];
  bool wrong[MOST], fails[MOST];
  int quick[MOST], full[MOST], checks[MOST], stop_after,
      crash; /* crash: number + 1 of the candidate that takes all with it */
  atomic_int compiled[MOST];
  volatile int stop;
  unsigned naps; /* microseconds a measurement takes */
} gpu;

static void compile (void *user, int i) {
  gpu *x = user;
  atomic_fetch_add (&x->compiled[i], 1);
}

static bool measure (void *user, int i, int way, tune_effort effort, tune_result *r) {
  gpu *x = user;
  if (x->naps) usleep (x->naps);
  (effort == TUNE_FULL ? x->full : effort == TUNE_QUICK ? x->quick : x->checks)[i]++;
  if (x->stop_after && !--x->stop_after) x->stop = 2;
  r->ran = !x->fails[i] && x->crash != i + 1;
  r->lost = x->crash == i + 1;
  r->correct = r->ran && !x->wrong[i];
  r->rel_err = fmax (r->rel_err, x->wrong[i] ? 0.5 : 1e-4);
  if (!r->correct) return false;
  if (effort == TUNE_CHECK) return true;
  r->cold[way] = x->us[i][way] * (effort == TUNE_QUICK && i % 2 ? 1.02 : 1); /* a first look is not exact */
  r->spread[way] = 0.1;
  if (effort == TUNE_FULL) r->warm[way] = 0.9 * x->us[i][way];
  return true;
}

static gpu x;
static tune_result result[MOST];
static int order[MOST];

static void set_times (int n, double first, double step) {
  memset (&x, 0, sizeof x);
  for (int i = 0; i < n; i++) x.us[i][TUNE_PLAIN] = 3 + first + step * i, x.us[i][TUNE_PDL] = first + step * i;
}

static tune_job job_of (int n, int threads) {
  return (tune_job){.n = n,
                    .threads = threads,
                    .full = 4,
                    .timed = true,
                    .stop = &x.stop,
                    .user = &x,
                    .compile = compile,
                    .measure = measure};
}

static void check_permutation (int n) {
  uint64_t seen = 0;
  for (int i = 0; i < n; i++) seen |= (uint64_t) 1 << order[i];
  assert_true (seen == (n == 64 ? UINT64_MAX : ((uint64_t) 1 << n) - 1));
}

static void test_fastest_first (void **state) {
  (void) state;
  for (int threads = 1; threads <= 4; threads++) {
    set_times (20, 40, -1); /* the model's last is the best */
    tune_job job = job_of (20, threads);
    assert_int_equal (tune_run (&job, 8, result, order), 20);
    check_permutation (20);
    assert_int_equal (order[0], 19);
    for (int i = 0; i < 20; i++) {
      assert_true (result[i].tried && result[i].correct && x.quick[i] == TUNE_WAYS);
      assert_int_equal (atomic_load (&x.compiled[i]), threads > 1 ? 1 : 0);
      assert_int_equal (x.full[i] > 0, i >= 16);
      assert_true (x.full[i] <= TUNE_WAYS && result[i].full == (i >= 16));
    }
    for (int i = 1; i < 4; i++) assert_true (tune_score (&result[order[i]]) >= tune_score (&result[order[i - 1]]));
    assert_true (result[19].cold[TUNE_PDL] == 21 &&
                 result[19].warm[TUNE_PDL] == 0.9 * 21); /* exact: the full protocol */
    assert_true (isinf (result[0].warm[0]));
  }
}

static void test_what_is_clearly_slower_is_dropped (void **state) {
  (void) state;
  set_times (6, 10, 0);
  for (int i = 2; i < 6; i++) x.us[i][0] = x.us[i][1] = 40;
  tune_job job = job_of (6, 2);
  tune_run (&job, 6, result, order);
  for (int i = 0; i < 6; i++) assert_int_equal (x.full[i] > 0, i < 2);
}

/* Fastest in one way of launching, and far behind by score: timed and kept, behind all that are better. */
static void test_fastest_of_each_way_are_kept (void **state) {
  (void) state;
  set_times (12, 10, 0.1);
  x.us[11][TUNE_PLAIN] = 11, x.us[11][TUNE_PDL] = 20;
  x.us[10][TUNE_PLAIN] = 30, x.us[10][TUNE_PDL] = 9;
  for (int keep = 1; keep <= 4; keep++) {
    tune_job job = job_of (12, 2);
    memset (x.full, 0, sizeof x.full);
    tune_run (&job, keep, result, order);
    check_permutation (12);
    assert_int_equal (order[0], 0);
    assert_true (result[10].full && result[11].full);
    int kept = 0;
    for (int i = 0; i < keep; i++) kept += order[i] == 10 || order[i] == 11;
    assert_int_equal (kept, keep > 2 ? 2 : keep - 1);
    if (keep == 4) assert_true (order[1] == 1 && order[2] == 10 && order[3] == 11);
  }
  tune_job job = job_of (12, 2);
  tune_run (&job, 0, result, order);
  assert_true (order[0] == 0 && order[1] == 1 && order[2] == 2 && order[3] < 10);
  /* already kept, and the other is not in its place */
  set_times (12, 10, 0.1);
  x.us[2][TUNE_PLAIN] = 12.9, x.us[11][TUNE_PDL] = 9, x.us[11][TUNE_PLAIN] = 30;
  tune_run (&job, 3, result, order);
  check_permutation (12);
  assert_true (order[0] == 0 && order[1] == 2 && order[2] == 11);
}

static void test_wrong_ones_come_last (void **state) {
  (void) state;
  set_times (5, 10, 1);
  x.wrong[0] = true, x.fails[1] = true;
  tune_job job = job_of (5, 1);
  assert_int_equal (tune_run (&job, 5, result, order), 5);
  assert_int_equal (order[0], 2);
  assert_true (!result[0].correct && result[0].ran && !result[1].ran && result[0].rel_err == 0.5);
  assert_true (order[3] + order[4] == 1);
  assert_int_equal (x.full[0] + x.full[1], 0);
  for (int i = 0; i < 5; i++) x.wrong[i] = true;
  assert_int_equal (tune_run (&job, 5, result, order), 5);
  check_permutation (5);
  assert_true (isinf (tune_score (&result[order[0]])));
}

static void test_limits (void **state) {
  (void) state;
  set_times (40, 10, 0.01);
  x.naps = 2000;
  tune_job job = job_of (40, 2);
  job.deadline = tune_now () + 0.03;
  int tried = tune_run (&job, 8, result, order);
  assert_true (tried >= 1 && tried < 40);
  assert_true (result[order[0]].full); /* the best of those, late as it is */
  for (int i = tried; i < 40; i++) assert_false (result[i].tried);
  job.deadline = tune_now () - 1;
  assert_int_equal (tune_run (&job, 8, result, order), 1);
  assert_true (order[0] == 0 && result[0].full);
  set_times (40, 10, 0.01);
  x.stop_after = 5;
  job.deadline = 0;
  assert_int_equal (tune_run (&job, 8, result, order), 3); /* the third was under way */
  assert_true (!result[order[0]].full && result[order[0]].correct);
}

/* After a crash nothing is believed of what would come later, and what was seen before stays. */
static void test_crash (void **state) {
  (void) state;
  for (int threads = 1; threads <= 3; threads++) {
    set_times (10, 20, -1);
    x.crash = 5;
    tune_job job = job_of (10, threads);
    assert_int_equal (tune_run (&job, 8, result, order), 5);
    check_permutation (10);
    assert_true (order[0] == 3 && order[3] == 0 && order[9] == 4);
    for (int i = 0; i < 10; i++)
      assert_true (result[i].tried == (i < 5) && !x.full[i] && (result[i].correct == (i < 4)));
  }
}

static void test_one_and_none (void **state) {
  (void) state;
  set_times (2, 10, 1);
  tune_job job = job_of (1, 4);
  assert_int_equal (tune_run (&job, 8, result, order), 1);
  assert_true (x.full[0] == TUNE_WAYS && !x.quick[0]); /* nothing to compare with */
  job.n = 0;
  assert_int_equal (tune_run (&job, 8, result, order), 0);
  set_times (3, 10, -1);
  job = job_of (3, 2);
  job.timed = false;
  assert_int_equal (tune_run (&job, 8, result, order), 3);
  for (int i = 0; i < 3; i++)
    assert_true (order[i] == i && result[i].correct && x.checks[i] == TUNE_WAYS && !x.quick[i] && !x.full[i]);
}

/* What is fast only while other calls run beside it does not come first, nor what keeps the next call waiting. */
static void test_good_both_ways (void **state) {
  (void) state;
  static const double us[4][TUNE_WAYS] = {{60, 1}, {9, 2}, {6, 5}, {30, 1.3}}; /* scores 3.9, 3.3, 5.3, 3.7 */
  static const int want[] = {1, 3, 0, 2};
  memset (&x, 0, sizeof x);
  memcpy (x.us, us, sizeof us);
  tune_job job = job_of (4, 1);
  job.n = 4;
  tune_run (&job, 4, result, order);
  for (int i = 0; i < 4; i++) assert_int_equal (order[i], want[i]);
  for (int i = 0; i < 4; i++)
    assert_true (fabs (tune_score (&result[i]) - cbrt (us[i][0] * us[i][1] * us[i][1])) <
                 0.05 * tune_score (&result[i]));
  for (int i = 0; i < 4; i++) x.us[i][TUNE_PDL] = INFINITY; /* a device that has no such launch: the plain times */
  tune_run (&job, 4, result, order);
  assert_true (order[0] == 2 && order[1] == 1 && order[2] == 3 && order[3] == 0);
}

int main (void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test (test_good_both_ways),
      cmocka_unit_test (test_fastest_first),
      cmocka_unit_test (test_what_is_clearly_slower_is_dropped),
      cmocka_unit_test (test_fastest_of_each_way_are_kept),
      cmocka_unit_test (test_wrong_ones_come_last),
      cmocka_unit_test (test_limits),
      cmocka_unit_test (test_crash),
      cmocka_unit_test (test_one_and_none),
  };
  return cmocka_run_group_tests (tests, NULL, NULL);
}
