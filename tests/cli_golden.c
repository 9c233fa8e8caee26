/* Golden reports: what show, --tiles, verify and list print, byte for byte, tests/golden/<file>.txt. Commands run in
   tests/golden/, on the µGraphs in its saved_mugraphs/. The binary is $MSEARCH, else the one in the folder above this
   test's. */
#include "golden.h"

#include <limits.h>
#include <sys/wait.h>

static char binary[PATH_MAX];

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
    char command[2 * PATH_MAX + 1000];
    snprintf (command, sizeof command, "{ cd " GOLDEN_FOLDER " && MSEARCH () { '%s' \"$@\"; } && { %s; }; } 2>&1",
              binary, reports[i][1]);
    FILE *p = popen (command, "r");
    assert_non_null (p);
    char *text = NULL;
    size_t size = 0, room = 0;
    for (int c; (c = fgetc (p)) != EOF;) {
      if (size + 1 >= room) assert_non_null (text = realloc (text, room = 2 * room + 1000));
      text[size++] = (char) c;
    }
    assert_true (WIFEXITED (pclose (p)));
    assert_true (size > 0);
    text[size] = 0;
    golden_check (reports[i][0], text);
    free (text);
  }
}

int main (int argc, char **argv) {
  const char *given = getenv ("MSEARCH"), *slash = strrchr (argv[0], '/');
  char path[PATH_MAX];
  if (given) snprintf (path, sizeof path, "%s", given);
  else snprintf (path, sizeof path, "%.*s/../msearch", slash ? (int) (slash - argv[0]) : 1, slash ? argv[0] : ".");
  if (!argc || !realpath (path, binary)) {
    fprintf (stderr, "no binary: %s\n", path);
    return 1;
  }
  const struct CMUnitTest tests[] = {cmocka_unit_test (golden_reports)};
  return cmocka_run_group_tests (tests, NULL, NULL);
}
