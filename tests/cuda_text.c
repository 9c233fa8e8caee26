/* Blocks of code with names, and the indentation that braces ask for. */
#include "cuda_templates/emit/emit_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

/* The text is what is expected; it is freed. */
static void expect (cuda_text *t, const char *expected) {
  assert_false (t->failed);
  assert_string_equal (t->data, expected);
  cuda_text_free (t);
  assert_null (t->data);
}

static void indents (const char *code, const char *expected) {
  cuda_text t = {0};
  cuda_print_indented (&t, code);
  expect (&t, expected);
}

static void names_are_replaced (void **state) {
  (void) state;
  cuda_text t = {0};
  const char *type = "float";
  cuda_block (&t, "$type x$n[$n], ${type}4 *y_${n}_0;\n", CUDA_NAME ("type", type), CUDA_NAME ("n", 3));
  expect (&t, "float x3[3], float4 *y_3_0;\n");
  cuda_block (&t, "$a $ab\n", CUDA_NAME ("a", 1), CUDA_NAME ("ab", -(1ll << 40)));
  expect (&t, "1 -1099511627776\n");
  cuda_block (&t, "no newline: $x", CUDA_NAME ("x", "x % 2"));
  expect (&t, "no newline: x % 2");
}

static void blocks_nest (void **state) {
  (void) state;
  cuda_text body = {0}, t = {0};
  cuda_block (&body, "x += $step;\ny += $step;", CUDA_NAME ("step", 2));
  cuda_block (&t, "for (int i = 0; i < $n; i++) {\n  $body\n}\n", CUDA_NAME ("n", 4), CUDA_NAME ("body", body.data));
  cuda_text_free (&body);
  cuda_text indented = {0};
  cuda_print_indented (&indented, t.data);
  cuda_text_free (&t);
  expect (&indented, "for (int i = 0; i < 4; i++) {\n  x += 2;\n  y += 2;\n}\n");
  /* A value is text: a $ in it names nothing. */
  cuda_block (&t, "$a\n", CUDA_NAME ("a", "$b"));
  expect (&t, "$b\n");
}

static void empty_lines_vanish (void **state) {
  (void) state;
  cuda_text t = {0};
  cuda_block (&t, "{\n  $none\n\n  a$none;\n  $none;\n$none\n}\n", CUDA_NAME ("none", ""));
  expect (&t, "{\n\n  a;\n  ;\n}\n");
}

static void braces_indent (void **state) {
  (void) state;
  indents ("void f () {\n      if (a) {\nb;\n} else {\nc;\n}\n}\n",
           "void f () {\n  if (a) {\n    b;\n  } else {\n    c;\n  }\n}\n");
  indents ("{\nprint (\"{\"); // {\na;\n}\n", "{\n  print (\"{\"); // {\n  a;\n}\n");
  indents ("{\n\n  a;\n}", "{\n\n  a;\n}\n");
}

static void statements_indent (void **state) {
  (void) state;
  indents ("{\n#pragma unroll\nfor (;;)\nif (a)\nb (c,\nd);\ne;\n}\n",
           "{\n#pragma unroll\n  for (;;)\n    if (a)\n      b (c,\n          d);\n  e;\n}\n");
}

static void unknown_name (void) {
  cuda_text t = {0};
  cuda_block (&t, "$known $unknown\n", CUDA_NAME ("known", 1));
}
static void longer_name (void) {
  cuda_text t = {0};
  cuda_block (&t, "$known $knowns\n", CUDA_NAME ("known", 1));
}
static void unused_name (void) {
  cuda_text t = {0};
  cuda_block (&t, "$known\n", CUDA_NAME ("known", 1), CUDA_NAME ("unused", 2));
}
static void brace_too_many (void) {
  cuda_text t = {0};
  cuda_print_indented (&t, "{\n}\n}\n");
}
static void all_right (void) {
  cuda_text t = {0};
  cuda_block (&t, "$known\n", CUDA_NAME ("known", 1));
  cuda_print_indented (&t, "{\n}\n");
  cuda_text_free (&t);
}

/* Whether a process of its own that calls f is ended by an assertion. */
static bool aborts (void (*f) (void)) {
  pid_t child = fork ();
  assert_true (child >= 0);
  if (!child) {
    setrlimit (RLIMIT_CORE, &(struct rlimit){0});
    signal (SIGABRT, SIG_DFL);
    dup2 (open ("/dev/null", O_WRONLY), STDERR_FILENO);
    f ();
    _exit (0);
  }
  int status = 0;
  assert_int_equal (waitpid (child, &status, 0), child);
  return WIFSIGNALED (status) && WTERMSIG (status) == SIGABRT;
}

static void mistakes_abort (void **state) {
  (void) state;
  assert_false (aborts (all_right));
  assert_true (aborts (unknown_name));
  assert_true (aborts (longer_name));
  assert_true (aborts (unused_name));
  assert_true (aborts (brace_too_many));
}

int main (void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test (names_are_replaced), cmocka_unit_test (blocks_nest),
      cmocka_unit_test (empty_lines_vanish), cmocka_unit_test (braces_indent),
      cmocka_unit_test (statements_indent),  cmocka_unit_test (mistakes_abort),
  };
  return cmocka_run_group_tests (tests, NULL, NULL);
}
