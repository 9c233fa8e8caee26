/* Golden reports: what show, --tiles, verify and list print, byte for byte, tests/golden/<file>.txt. Commands run in
   tests/golden/, on the µGraphs in its saved_mugraphs/. */
#include "cli_run.h"
#include "golden.h"

/* MSEARCH stands for the binary. A line of two is what is to be run. */
static const char *const reports[][2] = {
    {"show_workloads.txt", "for w in gqa qknorm rmsnorm lora gatedmlp ntrans; do MSEARCH show $w -b 3 --no-gpu; done"},
    {"show.txt", "for f in saved_mugraphs/*.json; do MSEARCH show $f --no-gpu; done"},
    {"show_dot.txt", "MSEARCH show saved_mugraphs/gqa_bs8.json --dot --no-gpu"},
    {"tiles.txt",
     "for f in saved_mugraphs/*.json; do for d in h100 a100; do MSEARCH show $f -d $d --tiles --no-gpu; done; done"},
    {"tiles_others.txt", "for f in saved_mugraphs/*.json; do for i in 1 3 5 7; do MSEARCH show $f -i $i -d h100 "
                         "--tiles --no-gpu; done; done"},
    {"verify.txt", "for f in saved_mugraphs/rmsnorm_bs8.json saved_mugraphs/norm_transformer_bs1.json "
                   "../data/mirage/*.json; do MSEARCH verify $f; done"},
    {"list.txt", "MSEARCH list -b 2; MSEARCH list -v"},
};

static void golden_reports (void **state) {
  (void) state;
  for (size_t i = 0; i < sizeof reports / sizeof *reports; i++) {
    char command[12000];
    snprintf (command, sizeof command, "{ cd " GOLDEN_FOLDER " && MSEARCH () { '%s' \"$@\"; } && { %s; }; } 2>&1",
              binary, reports[i][1]);
    assert_true (shell (command) < KILLED && *out && strlen (out) < OUTPUT_BYTES - 1);
    golden_check (reports[i][0], out);
  }
}

int main (void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test (golden_reports)};
  return find_binary () || cmocka_run_group_tests (tests, NULL, NULL);
}
