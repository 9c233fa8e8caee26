/* The rules of the house can fail: an arrow that goes up does not link, and tools/check-house.sh finds what breaks a
   rule in a scratch copy. That the tree itself breaks none is `make check-house`. Run from the top of the source tree.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char build[4096], scratch[] = "/tmp/msearch-house-XXXXXX";

/* The exit status of a shell command; what it says goes to scratch/log. */
static int shell (const char *format, ...) {
  char command[3 * 4096], logged[4 * 4096];
  va_list list;
  va_start (list, format);
  vsnprintf (command, sizeof command, format, list);
  va_end (list);
  snprintf (logged, sizeof logged, "{ %s; } >%s/log 2>&1", command, scratch);
  int status = system (logged);
  return WIFEXITED (status) ? WEXITSTATUS (status) : 1000;
}

static bool log_has (const char *text) {
  char command[4096];
  snprintf (command, sizeof command, "grep -qF -- '%s' %s/log", text, scratch);
  return system (command) == 0;
}

/* Whether a program that calls this function links with these libraries. */
static bool links (const char *function, const char *libraries) {
  char path[200];
  snprintf (path, sizeof path, "%s/call.c", scratch);
  FILE *f = fopen (path, "w");
  assert_non_null (f);
  fprintf (f, "void %s (void);\nint main (void) { return (%s (), 0); }\n", function, function);
  assert_int_equal (fclose (f), 0);
  return shell ("cd %s && ${CC:-cc} -fopenmp %s -o %s/call %s -lz3 -lcjson -lxxhash -ldl -lm -lpthread", build, path,
                scratch, libraries) == 0;
}

#define MUGRAPH "libmugraph.a"
#define VERIFY "libverify.a " MUGRAPH
#define CUDA "libcuda_templates.a " MUGRAPH
#define RUNTIME "libruntime.a " CUDA
#define SEARCH "libsearch.a libcuda_templates.a " VERIFY

static void arrows_that_go_up_do_not_link (void **state) {
  static const struct {
    const char *function, *down, *up;
  } arrows[] = {
      {"verify_equivalent", VERIFY, MUGRAPH}, {"cuda_plan_kernel", CUDA, MUGRAPH}, {"cuda_plan_kernel", CUDA, VERIFY},
      {"verify_equivalent", VERIFY, CUDA},    {"cuda_compile", RUNTIME, CUDA},     {"cuda_compile", RUNTIME, SEARCH},
      {"search_run", SEARCH, VERIFY},         {"search_run", SEARCH, RUNTIME},
  };
  (void) state;
  for (size_t i = 0; i < sizeof arrows / sizeof *arrows; i++) {
    if (!links (arrows[i].function, arrows[i].down))
      fail_msg ("%s does not link with %s", arrows[i].function, arrows[i].down);
    if (links (arrows[i].function, arrows[i].up)) fail_msg ("%s links with %s", arrows[i].function, arrows[i].up);
    if (!log_has ("undefined reference to"))
      fail_msg ("%s with %s fails for another reason", arrows[i].function, arrows[i].up);
  }
}

/* tools/check-house.sh in a scratch copy in which one thing was changed. */
static void broken_rules_are_found (void **state) {
  static const struct {
    const char *change, *finding;
  } breaks[] = {
      {"echo '#include \"search/search.h\"' >>mugraph/graph.c", "arrows: mugraph/graph.c includes search/search.h"},
      {"echo '#include \"cuda_templates/runtime/launch.h\"' >>search/search.c", "arrows: search/search.c includes"},
      {"echo '#include \"tools/cli.h\"' >>search/search.c", "arrows: search/search.c includes"},
      {"cp mugraph/graph.c verify/graph.c", "names: two files are called graph.c"},
      {"{ echo 'int f (void) {'; yes ';' | head -n 90; echo '}'; } >>mugraph/graph.c", "functions: mugraph/graph.c:"},
      {"mkdir -p b/mugraph && printf 'void g (void); void f (void) { g (); }' | ${CC:-cc} -x c -c - -o "
       "b/mugraph/graph.o"
       " && printf 'void f (void); void g (void) { f (); }' | ${CC:-cc} -x c -c - -o b/mugraph/infer.o",
       "circles: b/mugraph/graph.o"},
  };
  (void) state;
  for (size_t i = 0; i < sizeof breaks / sizeof *breaks; i++) {
    assert_int_equal (
        shell ("rm -rf %s/copy && mkdir %s/copy && cp -r mugraph verify cuda_templates search tools bench %s/copy",
               scratch, scratch, scratch),
        0);
    shell ("cd %s/copy && tools/check-house.sh b", scratch);
    if (log_has (breaks[i].finding)) fail_msg ("found before anything was changed: %s", breaks[i].finding);
    if (shell ("cd %s/copy && %s", scratch, breaks[i].change)) fail_msg ("cannot be done: %s", breaks[i].change);
    if (!shell ("cd %s/copy && tools/check-house.sh b", scratch)) fail_msg ("not found: %s", breaks[i].finding);
    if (!log_has (breaks[i].finding)) fail_msg ("not said: %s", breaks[i].finding);
  }
}

int main (int argc, char **argv) {
  char *slash = strrchr (argv[0], '/'), path[4096];
  snprintf (path, sizeof path, "%.*s/..", slash ? (int) (slash - argv[0]) : 1, slash ? argv[0] : ".");
  if (!argc || !realpath (path, build) || !mkdtemp (scratch)) return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test (arrows_that_go_up_do_not_link),
                                     cmocka_unit_test (broken_rules_are_found)};
  int failed = cmocka_run_group_tests (tests, NULL, NULL);
  char command[300];
  snprintf (command, sizeof command, "rm -rf %s", scratch);
  if (system (command)) failed++;
  return failed;
}
