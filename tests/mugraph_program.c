/* The program language: grammar, messages and their places, printing, workloads, overrides, the batch size that fits.
 */
#include "mugraph/program/program.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static mugraph_program p, q;
static mugraph_error e;

static bool parse (const char *text, const mugraph_program_options *o) {
  e.text[0] = 0;
  return mugraph_program_parse (text, strlen (text), "t.mg", o, &p, &e);
}

static void must_parse (const char *text) {
  if (!parse (text, NULL)) fail_msg ("%s\n---\n%s", text, e.text);
}

/* Operators as a line: kind names in order, for programs where only these matter. */
static void check_ops (const char *program, const char *wanted) {
  char ops[1024] = "";
  must_parse (program);
  for (int i = 0; i < p.graph.n_ops; i++) {
    strcat (ops, i ? " " : "");
    strcat (ops, mugraph_op_table[p.graph.op[i].kind].text);
  }
  assert_string_equal (ops, wanted);
}

static const mugraph_shape *output_shape (int k) { return &p.graph.tensor[p.graph.output[k]].shape; }

static void check_shape (const mugraph_shape *s, const char *wanted) {
  char text[64];
  assert_string_equal (mugraph_dims_text (s, text, sizeof text), wanted);
}

#define XY "input X[4, 6]: f16\ninput Y[4, 6]: f16\n"

static void test_operators (void **state) {
  (void) state;
  static const struct {
    const char *expr, *ops, *shape;
  } rows[] = {
      {"X + Y", "add", "4x6"},
      {"X - Y", "sub", "4x6"},
      {"X * Y", "mul", "4x6"},
      {"X / Y", "div", "4x6"},
      {"-X", "neg", "4x6"},
      {"neg(X)", "neg", "4x6"},
      {"exp(X)", "exp", "4x6"},
      {"square(X)", "square", "4x6"},
      {"sqrt(X)", "sqrt", "4x6"},
      {"silu(X)", "silu", "4x6"},
      {"gelu(X)", "gelu", "4x6"},
      {"relu(X)", "relu", "4x6"},
      {"tanh(X)", "tanh", "4x6"},
      {"sigmoid(X)", "sigmoid", "4x6"},
      {"log(X)", "log", "4x6"},
      {"clamp(X, -1, 2)", "clamp", "4x6"},
      {"pow(X, Y)", "pow", "4x6"},
      {"pow(X, 3)", "const pow", "4x6"},
      {"sum(X, 0)", "sum", "1x6"},
      {"sum(X, -1)", "sum", "4x1"},
      {"mean(X, 1)", "mean", "4x1"},
      {"max(X, -2)", "max", "1x6"},
      {"sum_to(X, 1, 2)", "sum_to", "4x2"},
      {"rms_norm(X, -1)", "rms_norm", "4x6"},
      {"softmax(X, -1)", "exp sum div", "4x6"},
      {"transpose(X)", "transpose", "6x4"},
      {"concat(X, Y, 1)", "concat", "4x12"},
      {"concat(X, Y, -2)", "concat", "8x6"},
      {"matmul(X, transpose(Y))", "transpose matmul", "4x4"},
      {"(X)", "", "4x6"},
      {"X + sum(X, 0)", "sum add", "4x6"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char text[256];
    snprintf (text, sizeof text, XY "output %s\n", rows[i].expr);
    check_ops (text, rows[i].ops);
    check_shape (output_shape (0), rows[i].shape);
  }
}

/* Precedence and associativity, seen in which operator reads which. */
static void test_precedence (void **state) {
  (void) state;
  static const struct {
    const char *a, *b;
    bool same;
  } rows[] = {
      {"X + Y * X", "X + (Y * X)", true},   {"X + Y * X", "(X + Y) * X", false},
      {"X - Y - X", "(X - Y) - X", true},   {"X - Y - X", "X - (Y - X)", false},
      {"X / Y / X", "(X / Y) / X", true},   {"X / Y / X", "X / (Y / X)", false},
      {"X / Y * X", "(X / Y) * X", true},   {"-X * Y", "(-X) * Y", true},
      {"-X * Y", "-(X * Y)", false},        {"--X", "-(-X)", true},
      {"X - -Y", "X - (-Y)", true},         {"X * -Y", "X * (-Y)", true},
      {"2 * 3 * X", "6 * X", true},         {"X * 2 * 3", "X * 6", false},
      {"X * (1 / 4)", "X * 0.25", true},    {"X * -2", "X * (0 - 2)", true},
      {"X / sqrt(64)", "X / 8", true},      {"X * exp(0)", "X * 1", true},
      {"X * pow(2, -3)", "X * .125", true}, {"X * square(3)", "X * 9.0", true},
      {"X * 1e2", "X * 100", true},         {"X * 1.5E-1", "X * 0.15", true},
      {"X * log(1)", "X * 0", true},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char text[256];
    snprintf (text, sizeof text, XY "output %s", rows[i].a);
    must_parse (text);
    q = p;
    snprintf (text, sizeof text, XY "output %s", rows[i].b);
    must_parse (text);
    if (mugraph_equal (&p.graph, &q.graph) != rows[i].same) fail_msg ("%s against %s", rows[i].a, rows[i].b);
  }
}

static void test_attributes (void **state) {
  (void) state;
  must_parse (XY "output rms_norm(X, -1, 1e-5)\noutput clamp(Y, -0.5, 2)\noutput sum_to(X, 1, 3)\noutput X * 0.5");
  assert_int_equal (p.graph.op[0].dim, 1);
  assert_true (p.graph.op[0].c[0] == 1e-5);
  assert_true (p.graph.op[1].c[0] == -0.5 && p.graph.op[1].c[1] == 2);
  assert_int_equal (p.graph.op[2].width, 3);
  assert_int_equal (p.graph.op[3].kind, MUGRAPH_OP_CONST);
  assert_true (p.graph.op[3].c[0] == 0.5);
  must_parse (XY "output rms_norm(X, 0)");
  assert_true (p.graph.op[0].c[0] == 0 && p.graph.op[0].dim == 0);
}

static void test_common_subexpressions (void **state) {
  (void) state;
  check_ops (XY "output exp(X) / sum(exp(X), -1)", "exp sum div");
  check_ops (XY "output exp(X) + exp(Y)", "exp exp add");
  check_ops (XY "output X * 2 + Y * 2", "const mul mul add");
  check_ops (XY "output X * 2 + Y * 3", "const mul const mul add");
  check_ops (XY "output rms_norm(X, 1) + rms_norm(X, 1, 1e-5)", "rms_norm rms_norm add");
  check_ops (XY "output sum(X, 0) + sum(X, -2)", "sum add");
  check_ops (XY "output clamp(X, 0, 1) + clamp(X, 0, 2)", "clamp clamp add");
  check_ops (XY "unused = exp(X)\nalso = unused * 2\noutput X * 2", "const mul");
}

static void test_lines (void **state) {
  (void) state;
  must_parse ("\xef\xbb\xbf# byte order mark, comment: \xc3\xa9\r\n\r\n"
              "dim N = (4 + 2) * 8 / 2 - 4 # 20\n"
              "dim M = 7/2\n"
              "  input X [ 2*b , N ] : bf16 # spaces\n"
              "input s[1]: f32\n"
              "input T[M, 1, N, b]: f32\n"
              "c = 1 / N\n"
              "sum = sum(X,\n      -1) # a function's name may be a value's\n"
              "output Y = sum * c + s\n"
              "output X\n"
              "output Z = Y\n"
              "output (\nexp(X)\n)\n"
              "output max(T, 2)");
  check_shape (&p.graph.tensor[0].shape, "2x20");
  check_shape (&p.graph.tensor[2].shape, "3x1x20x1");
  assert_int_equal (p.graph.tensor[0].shape.dtype, MUGRAPH_BF16);
  assert_int_equal (p.graph.n_outputs, 5);
  assert_string_equal (p.graph.output_name[0], "Y");
  assert_string_equal (p.graph.output_name[1], "X");
  assert_string_equal (p.graph.output_name[2], "Z");
  assert_string_equal (p.graph.output_name[3], "out3");
  assert_int_equal (p.graph.output[0], p.graph.output[2]);
  assert_int_equal (p.graph.output[1], 0);
  assert_true (p.uses_batch);
  check_shape (output_shape (0), "2x1");
  must_parse ("input X[4]: f16\noutput X * b");
  assert_true (p.uses_batch);
  must_parse ("input X[4]: f16\noutput out1 = exp(X)\noutput X + 1\n");
  assert_false (p.uses_batch);
  assert_string_equal (p.graph.output_name[1], "out2"); /* out1 is taken */
}

/* Every message, with its place. */
static void test_errors (void **state) {
  (void) state;
  static const struct {
    const char *text, *place, *what;
  } rows[] = {
      {"", "1:1", "no output"},
      {"input X[4]: f16\n", "2:1", "no output"},
      {"input X[4]: f16\noutput Z", "2:8", "unknown name 'Z'"},
      {"input Weight[4]: f16\noutput weight", "2:8", "did you mean 'Weight'"},
      {"input X[4]: f16\noutput exq(X)", "2:8", "unknown function 'exq'; did you mean 'exp'"},
      {"input X[4]: f16\noutput accum(X)", "2:8", "unknown function 'accum'"},
      {"input X[4]: f16\noutput graph(X)", "2:8", "unknown function 'graph'"},
      {"input X[4]: f16\noutput exp", "2:8", "'exp' is a function"},
      {"input X[4]: f16\ninput X[5]: f16\noutput X", "2:7", "'X' is defined already, in line 1"},
      {"input X[4]: f16\nX = X * 2\noutput X", "2:1", "'X' is defined already"},
      {"dim b = 4\n", "1:5", "'b' is the batch size"},
      {"input dim[4]: f16\n", "1:7", "'dim' is a word of the language"},
      {"input X[0]: f16\n", "1:9", "a size of 0 is out of range"},
      {"input X[-4]: f16\n", "1:9", "a size of -4 is out of range"},
      {"input X[2147483648]: f16\n", "1:9", "a size of 2147483648 is out of range"},
      {"input X[268435457]: f16\n", "1:9", "a size of 268435457 is out of range"},
      {"input X[99999999999999999999]: f16\n", "1:9", "too large"},
      {"input X[4000000000 * 4000000000]: f16\n", "1:20", "too large"},
      {"input X[268435456, 268435456]: f16\n", "1:7", "more than"},
      {"input X[4 / 0]: f16\n", "1:11", "division by zero"},
      {"input X[4.5]: f16\n", "1:9", "whole numbers"},
      {"input X[N]: f16\n", "1:9", "unknown name 'N'"},
      {"input X[4]: f16\ninput Y[X]: f16\n", "2:9", "'X' is not a size"},
      {"input X[1, 2, 3, 4, 5]: f16\n", "1:21", "more than 4 dimensions"},
      {"input X[]: f16\n", "1:9", "expected a size, found ']'"},
      {"input X: f16\n", "1:8", "expected '[', found ':'"},
      {"input X[4]\noutput X", "1:11", "expected ':' and a type"},
      {"input X[4]: f17\n", "1:13", "unknown type 'f17'"},
      {"input X[4: f16\n", "1:10", "expected ',' or ']', found ':'"},
      {"input X[4]: f16 f16\n", "1:17", "expected the end of the line, found 'f16'"},
      {"input 4X[4]: f16\n", "1:7", "malformed number"},
      {"input X[4]: f16\nY = exp(X)\ninput Z[4]: f16\noutput Y", "3:7", "inputs come before"},
      {"input X[4]: f16\noutput X +", "2:11", "expected an expression, found the end of the file"},
      {"input X[4]: f16\noutput X + * 2\n", "2:12", "expected an expression, found '*'"},
      {"input X[4]: f16\noutput (X\n", "3:1", "expected ')', found the end of the file"},
      {"input X[4]: f16\noutput X)\n", "2:9", "expected the end of the line, found ')'"},
      {"input X[4]: f16\noutput exp(X, X)\n", "2:8", "exp takes (x)"},
      {"input X[4]: f16\noutput sum(X)\n", "2:8", "sum takes (x, d)"},
      {"input X[4]: f16\noutput rms_norm(X, 0, 1, 1)\n", "2:8", "rms_norm takes (x, d[, epsilon])"},
      {"input X[4]: f16\noutput clamp(X, 0)\n", "2:8", "clamp takes (x, low, high)"},
      {"input X[4]: f16\noutput exp(X,)\n", "2:14", "expected another argument"},
      {"input X[4]: f16\noutput exp(X X)\n", "2:14", "expected ',' or ')'"},
      {"input X[4]: f16\noutput exp()\n", "2:8", "exp takes (x)"},
      {"input X[4]: f16\noutput sum(X, 1)\n", "2:15", "no dimension 1 in a tensor of 1 dimension"},
      {"input X[4]: f16\noutput sum(X, -2)\n", "2:15", "no dimension -2"},
      {"input X[4]: f16\noutput sum(X, 0.5)\n", "2:15", "no dimension 0.5"},
      {"input X[4]: f16\noutput sum(X, X)\n", "2:15", "the dimension must be a number"},
      {"input X[4]: f16\noutput clamp(X, X, 1)\n", "2:17", "the low bound must be a number"},
      {"input X[4]: f16\noutput clamp(X, 2, 1)\n", "2:8", "clamp"},
      {"input X[4]: f16\noutput rms_norm(X, 0, -1)\n", "2:8", "epsilon"},
      {"input X[4]: f16\noutput sum_to(X, 0, 3)\n", "2:8", "width 3"},
      {"input X[4]: f16\noutput sum_to(X, 0, 0)\n", "2:21", "a width of 0"},
      {"input X[4]: f16\noutput sum(3, 0)\n", "2:12", "sum takes a tensor here"},
      {"input X[4]: f16\noutput softmax(3, 0)\n", "2:16", "softmax takes a tensor"},
      {"input X[4]: f16\noutput X * silu(2)\n", "2:12", "silu takes a tensor"},
      {"input X[4]: f16\noutput 3\n", "2:8", "an output must be a tensor"},
      {"input X[4]: f16\noutput X * (1 / 0)\n", "2:15", "not a finite number"},
      {"input X[4]: f16\noutput X * 1e999\n", "2:12", "not a finite number"},
      {"input X[4]: f16\noutput X * sqrt(-1)\n", "2:12", "not a finite number"},
      {"input X[4]: f16\noutput X\noutput X", "3:8", "'X' is an output already"},
      {"input X[4, 6]: f16\ninput Y[4, 6]: f16\noutput X + matmul(X, Y)\n", "3:12", "inner sizes differ"},
      {"input X[4]: f16\ninput Y[6]: f16\noutput X * Y\n", "3:10", "dimension 0 differs: 4 and 6"},
      {"input X[4]: f16\noutput transpose(X)\n", "2:8", "at least 2 dimensions"},
      {"input X[4]: f16\noutput X ? 2\n", "2:10", "unexpected character '?'"},
      {"input X[4]: f16\noutput X * \xce\xb1\n", "2:12", "unexpected character '\xce\xb1'"},
      {"input X[4]: f16\n# \xc3\xa9\xc3\xa9 \xff\noutput X", "2:6", "byte 0xff is not UTF-8"},
      {"input X[4]: f16\noutput X \x01\n", "2:10", "control character 0x01"},
      {"X Y\n", "1:1", "expected `input`, `dim`, `output` or `NAME = ...`, found 'X'"},
      {"= 3\n", "1:1", "expected `input`"},
      {"input X[4]: f16\nabcdefghijklmnopqrstuvwxyz0123456 = X\n", "2:1", "longer than 31 characters"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char wanted[128];
    if (parse (rows[i].text, NULL)) fail_msg ("accepted: %s", rows[i].text);
    snprintf (wanted, sizeof wanted, "t.mg:%s: ", rows[i].place);
    if (strncmp (e.text, wanted, strlen (wanted)) || !strstr (e.text, rows[i].what))
      fail_msg ("%s\nwanted %s%s\nsaid %s", rows[i].text, wanted, rows[i].what, e.text);
  }
}

static void test_caret (void **state) {
  (void) state;
  assert_false (parse ("input X[4]: f16\n\toutput X * \xc3\xa9\n", NULL));
  assert_string_equal (e.text, "t.mg:2:13: unexpected character '\xc3\xa9'\n   output X * \xc3\xa9\n              ^");
  /* A long line is cut so that the place is still seen, and all fits into the message. */
  char text[4096] = "input X[4]: f16\noutput X";
  for (int i = 0; i < 60; i++) strcat (text, " + X");
  strcat (text, " + Z");
  for (int i = 0; i < 60; i++) strcat (text, " + X");
  assert_false (parse (text, NULL));
  const char *source = strchr (e.text, '\n') + 1, *caret = strchr (source, '\n') + 1;
  assert_int_equal (caret[strlen (caret) - 1], '^');
  assert_int_equal (source[strlen (caret) - 1], 'Z');
  assert_true (strlen (e.text) < sizeof e.text - 1);
  /* A file name that is too long keeps its end. */
  char name[400];
  memset (name, 'a', sizeof name);
  strcpy (name + 390, "/end.mg");
  assert_false (mugraph_program_parse (text, strlen (text), name, NULL, &p, &e));
  assert_non_null (strstr (e.text, "/end.mg:2:"));
  assert_int_equal (e.text[strlen (e.text) - 1], '^');
}

static void test_limits (void **state) {
  (void) state;
  enum { SIZE = MUGRAPH_PROGRAM_BYTES + 2 };
  char *text = malloc (SIZE), *end;
  /* operators: 96 fit, 97 do not */
  for (int n = MUGRAPH_KERNEL_OPS; n <= MUGRAPH_KERNEL_OPS + 1; n++) {
    end = text + sprintf (text, "input X[4]: f16\nY0 = exp(X)\n");
    for (int i = 1; i < n; i++) end += sprintf (end, "Y%d = exp(Y%d)\n", i, i - 1);
    sprintf (end, "output Y%d\n", n - 1);
    assert_int_equal (parse (text, NULL), n == MUGRAPH_KERNEL_OPS);
    if (n > MUGRAPH_KERNEL_OPS) assert_non_null (strstr (e.text, "t.mg:98:7: more than 96 operators"));
  }
  /* inputs */
  for (int n = MUGRAPH_INPUTS; n <= MUGRAPH_INPUTS + 1; n++) {
    end = text;
    for (int i = 0; i < n; i++) end += sprintf (end, "input X%d[4]: f16\n", i);
    sprintf (end, "output X0\n");
    assert_int_equal (parse (text, NULL), n == MUGRAPH_INPUTS);
    if (n > MUGRAPH_INPUTS) assert_non_null (strstr (e.text, "t.mg:33:7: more than 32 inputs"));
  }
  /* outputs */
  for (int n = MUGRAPH_OUTPUTS; n <= MUGRAPH_OUTPUTS + 1; n++) {
    end = text + sprintf (text, "input X[4]: f16\n");
    for (int i = 0; i < n; i++) end += sprintf (end, "output X + %d\n", i);
    assert_int_equal (parse (text, NULL), n == MUGRAPH_OUTPUTS);
    if (n > MUGRAPH_OUTPUTS) assert_non_null (strstr (e.text, "more than 16 outputs"));
  }
  /* names */
  end = text + sprintf (text, "input X[4]: f16\n");
  for (int i = 0; i < 2000; i++) end += sprintf (end, "c%d = %d\n", i, i);
  assert_false (parse (text, NULL));
  assert_non_null (strstr (e.text, "more than 512 names"));
  /* nesting of every kind of recursion */
  static const char *const open[] = {"(", "-", "exp(", "X + (", "sum(X, "};
  for (size_t k = 0; k < sizeof open / sizeof *open; k++) {
    end = text + sprintf (text, "input X[4]: f16\noutput ");
    while (end < text + 900000) end += sprintf (end, "%s", open[k]);
    assert_false (parse (text, NULL));
    assert_non_null (strstr (e.text, "nested deeper than 256 levels"));
  }
  end = text + sprintf (text, "input X[");
  while (end < text + 900000) end += sprintf (end, "-(");
  assert_false (parse (text, NULL));
  assert_non_null (strstr (e.text, "nested deeper"));
  /* size, and bytes that no text has */
  memset (text, '#', SIZE);
  assert_false (mugraph_program_parse (text, SIZE, "t.mg", NULL, &p, &e));
  assert_non_null (strstr (e.text, "larger than 1048576 bytes"));
  assert_false (mugraph_program_parse ("input\0X", 7, "t.mg", NULL, &p, &e));
  assert_non_null (strstr (e.text, "t.mg:1:6: a NUL byte"));
  assert_false (mugraph_program_parse ("a = 1\n\xf0\x9f\x98", 9, "t.mg", NULL, &p, &e));
  assert_non_null (strstr (e.text, "t.mg:2:1: byte 0xf0 is not UTF-8"));
  assert_false (parse ("output X", &(mugraph_program_options){.batch = -1}));
  assert_false (parse ("output X", &(mugraph_program_options){.batch = MUGRAPH_PROGRAM_BATCH + 1}));
  free (text);
}

/* ---- printing ---- */

static void check_round_trip (const mugraph *g) {
  char *text = mugraph_program_print (g);
  assert_non_null (text);
  if (!mugraph_program_parse (text, strlen (text), "printed", NULL, &q, &e)) fail_msg ("%s\n---\n%s", text, e.text);
  if (!mugraph_equal (g, &q.graph)) fail_msg ("reads back to another graph:\n%s", text);
  free (text);
}

static void test_print (void **state) {
  (void) state;
  must_parse (XY "Z = (X - (Y - X)) / 2 / (X * Y) * -(X + Y)\noutput softmax(Z, -1)\noutput Z");
  char *text = mugraph_program_print (&p.graph);
  assert_string_equal (
      text, XY "Z = (X - (Y - X)) / 2 / (X * Y) * -(X + Y)\n_0 = exp(Z)\noutput out0 = _0 / sum(_0, 1)\noutput Z\n");
  free (text);
  mugraph_init (&p.graph);
  int in = mugraph_add_input (&p.graph, "X", mugraph_shape_of (MUGRAPH_F16, 1, (int32_t[]){8}));
  assert_int_equal (mugraph_add_custom (&p.graph, 1, &in, (int32_t[]){1, 1, 1}, 1), 0);
  assert_null (mugraph_program_print (&p.graph));
}

static uint64_t random_state = 1;
static int draw (int n) {
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  return (int) ((random_state >> 33) % (uint64_t) n);
}

/* A random expression over the names that exist; every shape is 4x4, so all operators fit. */
static void random_expr (char *out, size_t size, int depth, int names) {
  static const char *const form[] = {"%s + %s",
                                     "%s - %s",
                                     "%s * %s",
                                     "%s / %s",
                                     "(%s)",
                                     "-%s",
                                     "exp(%s)",
                                     "silu(%s)",
                                     "matmul(%s, %s)",
                                     "rms_norm(%s, -1)",
                                     "rms_norm(%s, 0, 1e-6)",
                                     "clamp(%s, -2, 0.1)",
                                     "(%s + %s) * %s",
                                     "%s - (%s - %s)",
                                     "transpose(%s)",
                                     "%s * 0.3",
                                     "3 - %s",
                                     "softmax(%s, -1)",
                                     "pow(%s, %s)",
                                     "concat(%s, %s, 0)"};
  char sub[3][2048];
  if (!depth || !draw (4)) {
    snprintf (out, size, "v%d", draw (names));
    return;
  }
  for (int i = 0; i < 3; i++) random_expr (sub[i], sizeof sub[i] / 8, depth - 1, names);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
  snprintf (out, size, form[draw (sizeof form / sizeof *form)], sub[0], sub[1], sub[2]);
#pragma GCC diagnostic pop
}

static void test_print_random (void **state) {
  (void) state;
  int accepted = 0;
  for (int n = 0; n < 3000; n++) {
    char text[32768] = "input v0[4, 4]: f16\ninput v1[4, 4]: bf16\n", *end = text + strlen (text), expr[2048];
    int names = 2, lines = 1 + draw (5);
    for (int i = 0; i < lines; i++) {
      random_expr (expr, sizeof expr, 3, names);
      bool last = i == lines - 1;
      if (last || !draw (4))
        end += draw (2) ? sprintf (end, "output v%d = %s\n", names++, expr) : sprintf (end, "output %s\n", expr);
      else end += sprintf (end, "v%d = %s\n", names++, expr);
    }
    if (!parse (text, NULL)) continue; /* shapes that do not fit together, too many operators */
    accepted++;
    check_round_trip (&p.graph);
  }
  assert_true (accepted > 1000);
}

/* ---- workloads, overrides, batch sizes ---- */

static void check_inputs (const char *shapes) {
  char all[256] = "", one[64];
  for (int i = 0; i < p.graph.n_inputs; i++) {
    strcat (all, i ? " " : "");
    strcat (all, mugraph_dims_text (&p.graph.tensor[i].shape, one, sizeof one));
    assert_int_equal (p.graph.tensor[i].shape.dtype, MUGRAPH_F16);
  }
  assert_string_equal (all, shapes);
}

static void test_workloads (void **state) {
  (void) state;
  static const struct {
    const char *name, *alias, *stem;
    int batch;
    const char *inputs, *output;
  } rows[] = {
      {"gqa", "gqa", "gqa", 1, "2x256x64 2x64x4096 2x4096x64", "2x256x64"},
      {"gqa", "gqa", "gqa", 16, "32x256x64 32x64x4096 32x4096x64", "32x256x64"},
      {"qknorm", "qknorm_gqa", "qknorm_gqa", 8, "16x256x64 16x64x4096 16x4096x64", "16x256x64"},
      {"rmsnorm", "rmsnorm", "rmsnorm", 1, "2x4096 4096x6144", "2x6144"},
      {"rmsnorm", "rmsnorm", "rmsnorm", 16, "32x4096 4096x6144", "32x6144"},
      {"lora", "lora", "lora", 8, "8x256 256x4096 256x16 16x4096", "8x4096"},
      {"gatedmlp", "gated_mlp", "gated_mlp", 1, "1x4096 4096x4096 4096x4096", "1x4096"},
      {"ntrans", "norm_transformer", "norm_transformer", 16, "16x4096 16x4096 16x4096", "16x4096"},
  };
  assert_int_equal (mugraph_n_workloads, 6);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    mugraph_program_options o = {.batch = rows[i].batch};
    assert_true (mugraph_program_workload (rows[i].alias, &o, &p, &e));
    assert_string_equal (p.name, rows[i].name);
    assert_string_equal (p.stem, rows[i].stem);
    assert_int_equal (p.batch, rows[i].batch);
    assert_true (p.uses_batch);
    check_inputs (rows[i].inputs);
    check_shape (output_shape (0), rows[i].output);
    check_round_trip (&p.graph);
  }
  for (int i = 0; i < mugraph_n_workloads; i++) {
    char title[100];
    assert_true (mugraph_program_open (mugraph_workloads[i].name, NULL, &p, &e));
    assert_true (strlen (mugraph_workload_title (&mugraph_workloads[i], title, sizeof title)) > 10);
    assert_null (strchr (title, '\n'));
  }
  assert_false (mugraph_program_open ("rmsnorn", NULL, &p, &e));
  assert_non_null (strstr (e.text, "did you mean 'rmsnorm'"));
}

static void test_workload_operators (void **state) {
  (void) state;
  static const struct {
    const char *name, *ops;
  } rows[] = {{"gqa", "matmul exp sum div matmul"},   {"qknorm", "rms_norm matmul exp sum div rms_norm matmul"},
              {"rmsnorm", "rms_norm matmul"},         {"lora", "matmul matmul matmul add"},
              {"gatedmlp", "matmul silu matmul mul"}, {"ntrans", "rms_norm add mul add rms_norm"}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    check_ops (mugraph_workload_text (mugraph_workload_find (rows[i].name)), rows[i].ops);
}

static void test_overrides (void **state) {
  (void) state;
  mugraph_program_options o = {.batch = 3};
  assert_true (mugraph_program_override ("X=16x128", &o, &e));
  assert_true (mugraph_program_override ("W=128,512", &o, &e));
  assert_true (mugraph_program_open ("rmsnorm", &o, &p, &e));
  check_inputs ("16x128 128x512");
  check_shape (output_shape (0), "16x512");
  assert_string_equal (p.stem, "rmsnorm-X_16x128-W_128x512");
  static const struct {
    const char *text, *what;
  } bad[] = {
      {"", "expected NAME=dims"},
      {"X", "expected NAME=dims"},
      {"=4", "expected NAME=dims"},
      {"X=", "expected a size"},
      {"X=4x", "expected a size"},
      {"X=4xx4", "expected a size"},
      {"X=0", "size 0 is out of range"},
      {"X=4x2147483648", "size 1 is out of range"},
      {"X=1x1x1x1x1", "more than 4"},
      {"X=4;4", "expected 'x' or ','"},
      {"X=-4", "expected a size"},
      {"X=16x128", "X has one already"},
      {"4X=3", "expected NAME=dims"},
      {"X =3", "expected NAME=dims"},
      {"X=99999999999999999999999", "out of range"},
      {"abcdefghijklmnopqrstuvwxyz0123456=3", "longer than 31"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_false (mugraph_program_override (bad[i].text, &o, &e));
    if (!strstr (e.text, bad[i].what)) fail_msg ("%s: %s", bad[i].text, e.text);
  }
  assert_int_equal (o.n_overrides, 2);
  mugraph_program_options unknown = {.n_overrides = 0}, clash = unknown, size = unknown;
  assert_true (mugraph_program_override ("Y=4", &unknown, &e));
  assert_false (mugraph_program_open ("rmsnorm", &unknown, &p, &e));
  assert_non_null (
      strstr (e.text, "rmsnorm.mg: --shape Y=...: the program has no input or dim of that name (it has X, W)"));
  /* shapes that no longer fit together */
  assert_true (mugraph_program_override ("X=4x128", &clash, &e));
  assert_false (mugraph_program_open ("rmsnorm", &clash, &p, &e));
  assert_non_null (strstr (e.text, "inner sizes differ"));
  /* a named size */
  static const char *const named = "dim N = 64\ninput X[b, N]: f16\ninput W[N, 2*N]: f16\noutput matmul(X, W)";
  assert_false (parse (named, &clash));
  assert_non_null (strstr (e.text, "t.mg:2:12: --shape makes dimension 1 of 'X' 128, but 'N' is 64 (line 1)"));
  assert_true (mugraph_program_override ("N=16", &size, &e));
  assert_true (parse (named, &size));
  check_inputs ("1x16 16x32");
  assert_true (mugraph_program_override ("X=7x16", &size, &e));
  assert_true (parse (named, &size));
  check_inputs ("7x16 16x32");
}

static void fit (const char *text, const char *shapes, int given, int wanted, const char *what) {
  char path[] = "/tmp/msearch-fit-XXXXXX.mg";
  int fd = mkstemps (path, 3);
  FILE *f = fdopen (fd, "w");
  assert_non_null (f);
  fputs (text, f);
  fclose (f);
  mugraph_program_options o = {.batch = given}, s = {.n_overrides = 0};
  mugraph_shape in[MUGRAPH_INPUTS];
  char copy[256];
  int n = 0;
  strcpy (copy, shapes);
  for (char *word = strtok (copy, " "); word; word = strtok (NULL, " "), n++) {
    char one[100];
    snprintf (one, sizeof one, "i%d=%s", n, word);
    assert_true (mugraph_program_override (one, &s, &e));
    in[n] = mugraph_shape_of (MUGRAPH_F16, s.override[n].n_dims, s.override[n].dim);
  }
  bool ok = mugraph_program_fit (path, &o, n, in, &p, &e);
  remove (path);
  if (ok != (wanted > 0)) fail_msg ("%s with %s: %s", text, shapes, ok ? "accepted" : e.text);
  if (ok) assert_int_equal (p.batch, wanted);
  else if (!strstr (e.text, what)) fail_msg ("%s", e.text);
}

static void test_fit (void **state) {
  (void) state;
  static const char *const linear = "input X[2*b + 4, 8]: f16\ninput W[8, 4]: f16\noutput matmul(X, W)";
  fit (linear, "6x8 8x4", 0, 1, "");
  fit (linear, "20x8 8x4", 0, 8, "");
  fit (linear, "20x8 8x4", 8, 8, "");
  fit (linear, "1048580x8 8x4", 0, 524288, "");
  fit (linear, "20x8 8x4", 7, 0, "input 0 (X) is 18x8 with -b 7; the file's is 20x8");
  fit (linear, "21x8 8x4", 0, 0, "no other batch size fits; the file's is 21x8");
  fit (linear, "20x8 8x5", 0, 0, "input");
  fit (linear, "20x8", 0, 0, "has 2 inputs, the file's graphs have 1");
  fit ("input X[b/8, 8]: f16\noutput X", "3x8", 0, 24, "");
  fit ("input X[b*b, 8]: f16\noutput X", "169x8", 0, 13, "");
  fit ("input X[4, 8]: f16\noutput X", "4x8", 0, 1, "");
  fit ("input X[4, 8]: f16\noutput X", "5x8", 0, 0, "input 0 (X) is 4x8; the file's is 5x8");
  fit ("input X[4, 8]: f16\noutput Y", "4x8", 0, 0, ":2:8: unknown name 'Y'");
}

static void test_files (void **state) {
  (void) state;
  assert_false (mugraph_program_open ("/nonexistent/x.mg", NULL, &p, &e));
  assert_non_null (strstr (e.text, "/nonexistent/x.mg"));
  assert_false (mugraph_program_load ("/tmp", NULL, &p, &e));
  assert_non_null (strstr (e.text, "/tmp"));
  /* A file that bears a workload's name shares its results only if it is the same program. */
  char folder[] = "/tmp/msearch-program-XXXXXX", path[100];
  assert_non_null (mkdtemp (folder));
  snprintf (path, sizeof path, "%s/gqa.mg", folder);
  const char *text = mugraph_workload_text (mugraph_workload_find ("gqa"));
  for (int other = 0; other < 2; other++) {
    FILE *f = fopen (path, "w");
    assert_non_null (f);
    fprintf (f, "%s%s", text, other ? "output E\n" : "");
    fclose (f);
    assert_true (mugraph_program_load (path, NULL, &p, &e));
    assert_string_equal (p.name, "gqa");
    assert_int_equal (strcmp (p.stem, "gqa") == 0, !other);
  }
  remove (path);
  snprintf (path, sizeof path, "%s/my net.v2.mg", folder);
  FILE *f = fopen (path, "w");
  assert_non_null (f);
  fputs ("input X[4]: f16\noutput exp(X)\n", f);
  fclose (f);
  assert_true (mugraph_program_load (path, NULL, &p, &e));
  assert_string_equal (p.stem, "my_net.v2");
  remove (path);
  rmdir (folder);
}

int main (void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test (test_operators),  cmocka_unit_test (test_precedence),
      cmocka_unit_test (test_attributes), cmocka_unit_test (test_common_subexpressions),
      cmocka_unit_test (test_lines),      cmocka_unit_test (test_errors),
      cmocka_unit_test (test_caret),      cmocka_unit_test (test_limits),
      cmocka_unit_test (test_print),      cmocka_unit_test (test_print_random),
      cmocka_unit_test (test_workloads),  cmocka_unit_test (test_workload_operators),
      cmocka_unit_test (test_overrides),  cmocka_unit_test (test_fit),
      cmocka_unit_test (test_files),
  };
  return cmocka_run_group_tests (tests, NULL, NULL);
}
