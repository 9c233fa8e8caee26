/* µGraphs as text, one line and Graphviz. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdlib.h>
#include <cmocka.h>

#include "mugraph/file/mirage.h"
#include "mugraph/print.h"
#include "random_mugraph.h"

static char *text_of (const mugraph *g, int indent, const char *dot_title) {
  char *text;
  size_t size;
  FILE *out = open_memstream (&text, &size);
  if (dot_title) mugraph_print_dot (out, g, dot_title);
  else mugraph_print (out, g, NULL, indent);
  fclose (out);
  return text;
}

static void rmsnorm_as_text (void **state) {
  (void) state;
  mugraph_file f;
  mugraph_error e = {""};
  if (!mugraph_mirage_load ("tests/data/mirage/small.json", &f, &e)) fail_msg ("%s", e.text);
  char *text = text_of (&f.saved[0].graph, 2, NULL);
  assert_string_equal (text, "  input I0                                      f16[2, 64]\n"
                             "  input I1                                      f16[64, 32]\n"
                             "  t2 = graph (I0, I1)                           f16[2, 32]\n"
                             "    grid 4 x 1 x 1, loop 8, 4 warps\n"
                             "    loop:\n"
                             "      %0 = I0                                   [2, 8]          imap -, fmap 1\n"
                             "      %1 = I1                                   [8, 8]          imap x:1, fmap 0\n"
                             "      %2 = accum_rms (%0)                       [2, 1]\n"
                             "      %3 = matmul (%0, %1)                      [2, 8]\n"
                             "      %4 = accum (%3)                           [2, 8]\n"
                             "    after the loop:\n"
                             "      %5 = div (%4, %2)                         [2, 8]\n"
                             "      save t2 = %5                              [2, 8]          omap x:1\n"
                             "  O0 = square (t2)                              f16[2, 32]\n"
                             "  output O0\n");
  free (text);
  char line[128], cut[16];
  assert_string_equal (mugraph_summary (&f.saved[0].graph, line, sizeof line),
                       "graph 4x1x1 loop 8 (matmul, div, accum, accum_rms); square");
  assert_string_equal (mugraph_summary (&f.saved[0].graph, cut, sizeof cut), "graph 4x1x1 loo");
  mugraph_file_free (&f);
}

/* A chain of elementwise operators is one expression; an operator that two others read stands alone. */
static void thread_graphs_are_chains (void **state) {
  (void) state;
  mugraph *g = malloc (sizeof *g);
  mugraph_error e = {""};
  mugraph_init (g);
  const int x = mugraph_add_input (g, "X", mugraph_shape_of (MUGRAPH_BF16, 2, (int32_t[]){8, 16}));
  const int k = mugraph_add_custom (g, 1, &x, (int32_t[]){2, 1, 1}, 1);
  mugraph_block *b = &g->block[0];
  const int tile = mugraph_block_input (b, 0, (int[]){0, -1, -1}, -1);
  const int root = mugraph_block_op (b, MUGRAPH_OP_SQRT, tile, -1, -1);
  const int half = mugraph_block_const (b, 0.5);
  const int mul = mugraph_block_op (b, MUGRAPH_OP_MUL, root, half, -1);
  const int add = mugraph_block_op (b, MUGRAPH_OP_ADD, mul, root, -1);
  const int sum = mugraph_block_op (b, MUGRAPH_OP_SUM, add, -1, 1);
  const int wide = mugraph_block_op (b, MUGRAPH_OP_EXP, sum, -1, -1); /* another shape than its reader */
  const int div = mugraph_block_op (b, MUGRAPH_OP_DIV, add, wide, -1);
  mugraph_block_output (b, div, (int[]){0, -1, -1});
  if (!mugraph_finish_custom (g, k, &e)) fail_msg ("%s", e.text);
  mugraph_add_output (g, g->op[k].out[0], "Y");
  const bool fuses[] = {false, false, false, true, false, false, false, false};
  for (int i = 0; i < 8; i++) assert_int_equal (mugraph_block_fuses (b, i), fuses[i]);
  char *text = text_of (g, 0, NULL);
  assert_non_null (strstr (text, "%1 = sqrt (%0)"));
  assert_non_null (strstr (text, "%4 = add (mul (%1, 0.5), %1)"));
  assert_non_null (strstr (text, "%5 = sum dim 1 (%4)"));
  assert_non_null (strstr (text, "%7 = div (%4, %6)"));
  assert_non_null (strstr (text, "save Y = %7"));
  assert_null (strstr (text, "%3 ="));
  free (text);
  text = text_of (g, 0, "a \"title\" \\");
  assert_non_null (strstr (text, "label=\"a \\\"title\\\" \\\\\""));
  assert_non_null (strstr (text, "thread graph"));
  assert_non_null (strstr (text, "subgraph cluster_0 {"));
  assert_non_null (strstr (text, "in0 -> op0_0"));
  assert_non_null (strstr (text, "op0_8 -> out0"));
  free (text);
  free (g);
}

/* Any graph prints, equally each time, with at least a line for every kernel operator; Graphviz reads the picture. */
static void random_graphs_print (void **state) {
  (void) state;
  mugraph *g = malloc (sizeof *g), *scratch = malloc (sizeof *scratch);
  const bool graphviz = !system ("dot -V 2>/dev/null");
  if (!graphviz) print_message ("no Graphviz here: its part is skipped\n");
  for (int i = 0; i < 300; i++) {
    random_state = (uint64_t) i * 7919 + 3;
    random_mugraph (g, scratch);
    char *text = text_of (g, 0, NULL), *again = text_of (g, 0, NULL), *dot = text_of (g, 0, "random");
    assert_string_equal (text, again);
    int lines = 0, braces = 0;
    for (const char *p = text; *p; p++) lines += *p == '\n';
    assert_true (lines >= g->n_inputs + g->n_ops + 1);
    for (int k = 0; k < g->n_ops; k++)
      if (g->op[k].kind != MUGRAPH_OP_CONST) assert_non_null (strstr (text, mugraph_op_table[g->op[k].kind].text));
    bool quoted = false;
    for (const char *p = dot; *p; p++) {
      if (*p == '\\') p++;
      else if (*p == '"') quoted = !quoted;
      else if (!quoted) braces += (*p == '{') - (*p == '}');
    }
    assert_false (quoted);
    assert_int_equal (braces, 0);
    if (graphviz && i < 20) {
      FILE *pipe = popen ("dot -Tdot >/dev/null 2>&1", "w");
      fputs (dot, pipe);
      if (pclose (pipe)) fail_msg ("seed %d: Graphviz refuses the picture", i);
    }
    free (text);
    free (again);
    free (dot);
  }
  free (g);
  free (scratch);
}

static const char *generator (int number) { return number == 2 ? "stream" : number == 3 ? "chain" : NULL; }

/* Every value in its field's words, and what is cut off. */
static void schedules_in_words (void **state) {
  (void) state;
  static const struct {
    mugraph_sched sched;
    const char *text;
  } cases[] = {
      {{.split = 1}, ""},
      {{.backend = 3, .warps = 16, .split = 1, .swap = 1}, "chain, 16 warps, rows along m"},
      {{.backend = 2, .warps = 1, .stages = 1, .split = 2, .swap = 2, .copy = 2, .pdl = 1},
       "stream, 1 warp, 1 stage, split 2, columns along m, tensor copies, pdl"},
      {{.backend = 15, .split = 1, .copy = 1, .tile_n = 64, .multicast = 4},
       "backend 15, tile_n 64, multicast 4, register copies"},
  };
  char text[256], little[8];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    assert_string_equal (mugraph_sched_text (&cases[i].sched, generator, text, sizeof text), cases[i].text);
  assert_string_equal (mugraph_sched_text (&cases[1].sched, generator, little, sizeof little), "chain, ");
  assert_string_equal (mugraph_sched_text (&cases[1].sched, NULL, text, sizeof text),
                       "backend 3, 16 warps, rows along m");
}

int main (void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test (rmsnorm_as_text),
      cmocka_unit_test (thread_graphs_are_chains),
      cmocka_unit_test (random_graphs_print),
      cmocka_unit_test (schedules_in_words),
  };
  return cmocka_run_group_tests_name ("mugraph_print", tests, NULL, NULL);
}
