/* Import of Mirage's files: every operator name, what the format leaves open, and what must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "edited.h"
#include "mugraph/file/load.h"
#include "mugraph/file/mirage.h"
#include "mugraph/file/reader.h"
#include "mugraph/file/text.h"

#define DATA "tests/data/mirage/"

static void load (const char *path, mugraph_file *f) {
  mugraph_error e = {""};
  if (!mugraph_mirage_load (path, f, &e)) fail_msg ("%s", e.text);
  assert_false (f->has_program);
  for (int i = 0; i < f->n; i++)
    if (!mugraph_infer (&f->saved[i].graph, &e)) fail_msg ("%s: graph %d: %s", path, i, e.text);
}

static void kinds_of (const mugraph_op op[], int n, const char *expected) {
  char text[1024] = "";
  for (int i = 0; i < n; i++) sprintf (text + strlen (text), "%s%s", i ? " " : "", mugraph_op_table[op[i].kind].text);
  assert_string_equal (text, expected);
}

static void every_operator (void **state) {
  (void) state;
  mugraph_file f;
  load (DATA "every_operator.json", &f);
  assert_int_equal (f.n, 2);
  const mugraph *g = &f.saved[0].graph;
  kinds_of (g->op, g->n_ops,
            "matmul exp square sqrt silu gelu relu clamp rms_norm add mul div pow sum mul sum_to sum sum");
  assert_true (g->op[7].c[0] == 0 && g->op[7].c[1] == 1); /* clamp */
  assert_int_equal (g->op[8].dim, 1);                     /* rms_norm: the last */
  assert_int_equal (g->op[13].dim, 1);
  assert_int_equal (g->op[15].width, 4); /* a kernel reduction to a width comes from the stated shape */
  assert_int_equal (g->op[16].dim, 0);
  assert_int_equal (g->op[17].dim, 2);
  assert_int_equal (g->tensor[2].shape.dtype, MUGRAPH_BF16);
  assert_int_equal (g->n_outputs, 3);

  g = &f.saved[1].graph;
  const mugraph_block *b = &g->block[0];
  kinds_of (
      b->op, b->n_ops,
      "input input input matmul exp square sqrt silu gelu relu clamp add mul div pow rms_norm concat concat sum sum "
      "sum_to sum_to accum accum_sum accum_mean accum_rms accum_sum_to accum accum accum add div mul add div mul "
      "output output");
  assert_int_equal (b->op[16].dim, 2);
  assert_int_equal (b->op[17].dim, 1);
  assert_int_equal (b->op[20].dim, 2);
  assert_int_equal (b->op[20].width, 4);
  assert_int_equal (b->op[21].dim, 1);
  assert_int_equal (b->op[26].width, 4);
  assert_int_equal (b->op[0].fmap, 2);
  assert_int_equal (b->op[2].in[0], 2); /* the third iterator walks the third input, though it is the first's tensor */
  assert_int_equal (g->op[0].in[2], g->op[0].in[0]);
  assert_int_equal (b->sched.warps, 4);
  mugraph_file_free (&f);
}

static void kernels_read_each_other (void **state) {
  (void) state;
  mugraph_file f;
  load (DATA "attention.json", &f);
  assert_int_equal (f.n, 2); /* with the same guids */
  assert_true (mugraph_equal (&f.saved[0].graph, &f.saved[1].graph));
  const mugraph *g = &f.saved[0].graph;
  assert_int_equal (g->n_blocks, 2);
  assert_int_equal (g->block[0].sched.warps, 3);
  assert_int_equal (g->block[0].op[0].fmap, -1);
  assert_int_equal (g->block[0].loop, 2);
  /* the file lists the kernel's outputs in another order than its savers: sums are 16 wide, products 32 */
  assert_int_equal (g->tensor[g->op[0].out[0]].shape.dim[2], 16);
  assert_int_equal (g->tensor[g->op[1].in[0]].shape.dim[2], 16);
  assert_int_equal (g->tensor[g->op[1].in[1]].shape.dim[2], 32);
  assert_int_equal (g->block[1].op[0].map[2], -1); /* a map of a grid dimension of 1 names no dimension of the tensor */
  assert_int_equal (g->block[1].op[4].width, 16);
  mugraph_file_free (&f);
}

static void imported_graphs_are_saved_and_read (void **state) {
  (void) state;
  static const char *const paths[] = {DATA "every_operator.json", DATA "attention.json", DATA "small.json"};
  for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
    mugraph_file f, r;
    mugraph_error e = {""};
    if (!mugraph_file_load_any (paths[i], &f, &e)) fail_msg ("%s", e.text);
    char *text = mugraph_file_print (&f);
    if (!mugraph_file_parse ("again", text, strlen (text), &r, &e)) fail_msg ("%s", e.text);
    assert_int_equal (f.n, r.n);
    for (int k = 0; k < f.n; k++) assert_true (mugraph_equal (&f.saved[k].graph, &r.saved[k].graph));
    free (text);
    mugraph_file_free (&f);
    mugraph_file_free (&r);
    assert_false (mugraph_file_load (paths[i], &r, &e)); /* our own reader does not take it */
  }
}

static void broken_files_are_refused (void **state) {
  (void) state;
  static const struct {
    const char *from, *to;
    int nth;
    const char *error;
  } rows[] = {
      {"kn_square_op", "kn_cube_op", 0, "bad: [0][3].op_type: unknown operator \"kn_cube_op\""},
      {"kn_square_op", "tb_square_op", 0, "[0][3].op_type: unknown operator \"tb_square_op\""},
      {"kn_square_op", "kn_forloop_accum_nored_op", 0, "[0][3].op_type: unknown operator"},
      {"kn_square_op", "kn_cube_op", 1, "[1][3].op_type: unknown operator"}, /* only the second µGraph */
      {"tb_div_op", "tb_input_op", 0, "[0][2].bgraph.operators[5]"},
      {"tb_matmul_op", "tb_exp_op", 0, "[0][2].bgraph.operators[3].input_tensors: more than 1"},
      {"\"op_type\":\"tb_div_op\"", "\"op_tape\":\"tb_div_op\"", 0, "operators[5].op_type: a text is missing"},
      {"\"dim\":[2,64,0,0]", "\"dim\":[0,64,0,0]", 0, "[0][0].output_tensors[0].dim: dimension 0 is 0"},
      {"\"dim\":[2,64,0,0]", "\"dim\":[2147483648,64,0,0]", 0,
       "[0][0].output_tensors[0].dim[0]: 2147483648 is out of range"},
      {"\"dim\":[2,64,0,0]", "\"dim\":[2]", 0, "[0][0].output_tensors[0].dim: 1 elements, at least 2"},
      {"\"num_dims\":2", "\"num_dims\":5", 0, "[0][0].output_tensors[0].num_dims: 5 is out of range"},
      {"\"num_dims\":2", "\"num_dims\":0", 0, "num_dims: 0 is out of range"},
      {"\"data_type\":941", "\"data_type\":930", 0,
       "[0][0].output_tensors[0].data_type: data type 930 is not supported"},
      {"\"input_strides\":[64,1]", "\"input_strides\":[64,2]", 0, "[0][0].input_strides: are the strides of no order"},
      {"\"input_strides\":[64,1]", "\"input_strides\":[1]", 0, "[0][0].input_strides: 1 elements"},
      {"\"output_strides\":[32,1]", "\"output_strides\":[1,1]", 0, "[0][4].output_strides: are the strides"},
      /* tensors by guid; ...1 and ...2 are the inputs, ...3 the kernel's result, ...4 the square */
      {"10000002", "10000001", 0, "[0][1]: tensor 10000001 is computed twice"},
      {"\"guid\":10000003", "\"guid\":10000009", 2,
       "[0][3].input_tensors[0]: tensor 10000009 is computed by no operator before"},
      {"\"guid\":10000003", "\"guid\":10000004", 2, "[0][3]"}, /* the operator reads its own result: a cycle */
      {"\"guid\":10000004", "\"guid\":10000001", 0, "tensor 10000001 is computed twice"},
      {"\"guid\":20000003", "\"guid\":20000006", 1,
       "[0][2].bgraph.operators[5].input_tensors[1]: tensor 20000006"}, /* a cycle of one */
      {"\"guid\":20000004", "\"guid\":20000099", 1,
       "operators[4].input_tensors[0]: tensor 20000099 is computed by no operator"},
      {"\"guid\":20000002", "\"guid\":20000001", 0, "operators[1]: tensor 20000001 is computed twice"},
      {"\"guid\":10000001", "\"guid\":10000007", 1, "operators[0].dtensor: tensor 10000007 is no input of this kernel"},
      {"\"guid\":10000003", "\"guid\":10000008", 0,
       "operators[6].dtensor: tensor 10000008 is no output of this kernel"},
      {"\"guid\":10000001", "\"guid\":1e300", 0, "guid"},
      {"\"guid\":10000001", "\"guid\":\"10000001\"", 0, "[0][0].output_tensors[0].guid: must be an integer, is a text"},
      /* maps, extents and shapes that do not fit */
      {"\"forloop_dim\":0", "\"forloop_dim\":2", 0, "[0][2]: operator 1: fmap"},
      {"\"forloop_dim\":0", "\"forloop_dim\":-1", 0, "[0][2]: operator 3: matmul"},
      {"\"input_map\":{\"x\":1", "\"input_map\":{\"x\":5", 0, "operators[1].input_map.x: 5 is out of range"},
      {"\"input_map\":{\"x\":1", "\"input_map\":{\"x\":2", 0, "[0][2]: "},
      {"\"input_map\":{\"x\":1", "\"input_map\":{\"x\":-1", 0,
       "operators[1]: input makes a tensor [8, 32], the file states [8, 8]"},
      {"\"output_map\":{\"x\":1", "\"output_map\":{\"x\":-1", 0, "[0][2]: operator 6: omap"},
      {"\"output_map\":{\"x\":1", "\"output_map\":{\"x\":0", 0,
       "[0][2]: output makes a tensor [8, 8], the file states [2, 32]"},
      {"\"dim\":[2,1,0,0]", "\"dim\":[2,2,0,0]", 0,
       "operators[5].input_tensors[1]: tensor 20000003 has another shape where it is computed"},
      {"\"dim\":[2,8,0,0]", "\"dim\":[2,4,0,0]", 0, "operators[2].input_tensors[0]: tensor 20000001 has another shape"},
      {"\"forloop_range\":8", "\"forloop_range\":4", 0,
       "operators[0]: input makes a tensor [2, 16], the file states [2, 8]"},
      {"\"forloop_range\":8", "\"forloop_range\":0", 0, "[0][2].bgraph.forloop_range: 0 is out of range"},
      {"\"grid_dim\":{\"x\":4", "\"grid_dim\":{\"x\":0", 0, "[0][2].bgraph.grid_dim.x: 0 is out of range"},
      {"\"grid_dim\":{\"x\":4", "\"grid_dim\":{\"w\":4", 0, "[0][2].bgraph.grid_dim.x: an integer is missing"},
      {"\"block_dim\":{\"x\":128,\"y\":1", "\"block_dim\":{\"x\":128,\"y\":16", 0,
       "[0][2].bgraph: 2048 threads a block"},
      {"tb_forloop_accum_nored_op", "tb_square_op", 0, "[0][2]"}, /* then the division mixes loop and result */
      {"kn_output_op", "kn_exp_op", 0, "[0][4].output_tensors: 0 elements"},
      {"[[", "[7,[", 0, "[0]: must be an array, is a number"},
      {"[[", "[[],[", 0, "[0]: 0 elements"},
      {"]]", "],{}]", 0, "must be"},
  };
  size_t size;
  mugraph_error e = {""};
  char *text = mugraph_read_text (DATA "small.json", 1 << 20, &size, &e);
  if (!text) fail_msg ("%s", e.text);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char *bad = edited (text, rows[i].from, rows[i].to, rows[i].nth);
    cJSON *root = mugraph_parse_json ("bad", bad, strlen (bad), &e);
    mugraph_file f = {.n = 0};
    if (root) {
      if (mugraph_mirage_from_json (root, "bad", &f, &e)) fail_msg ("accepted: %s", rows[i].to);
      cJSON_Delete (root);
    }
    if (!strstr (e.text, rows[i].error))
      fail_msg ("row %zu: '%s' expected for %s, got: %s", i, rows[i].error, rows[i].to, e.text);
    assert_int_equal (strncmp (e.text, "bad:", 4), 0);
    assert_int_equal (f.n, 0);
    assert_null (f.saved);
    free (bad);
  }
  free (text);
}

static void what_the_format_does_not_need_may_differ (void **state) {
  (void) state;
  static const struct {
    const char *from, *to;
  } rows[] = {
      {"\"input_strides\":[64,1]", "\"input_strides\":[1,2]"},
      {"\"input_strides\":[64,1],", ""},
      {"\"smem_offset\":64", "\"smem_offset\":-1"},
      {"\"layout\":\"DmemRowMajor\"", "\"layout\":\"DmemColumnMajor\""},
      {"\"after_accum\":true", "\"after_accum\":false"},
      {"\"graph_level\":\"thread_block_graph\",", ""},
      {"\"reduction_dimx\":8,", ""},
      {"\"dim\":[2,64,0,0]", "\"dim\":[2,64]"},
      {"tb_forloop_accum_nored_op", "tb_forloop_accum_no_red_op"},
  };
  size_t size;
  mugraph_error e = {""};
  mugraph_file plain, f;
  load (DATA "small.json", &plain);
  char *text = mugraph_read_text (DATA "small.json", 1 << 20, &size, &e);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char *other = edited (text, rows[i].from, rows[i].to, 0);
    cJSON *root = mugraph_parse_json ("other", other, strlen (other), &e);
    if (!root || !mugraph_mirage_from_json (root, "other", &f, &e)) fail_msg ("%s: %s", rows[i].to, e.text);
    assert_true (mugraph_equal (&plain.saved[0].graph, &f.saved[0].graph));
    mugraph_file_free (&f);
    cJSON_Delete (root);
    free (other);
  }
  mugraph_file_free (&plain);
  free (text);
}

static void every_truncation_is_refused (void **state) {
  (void) state;
  size_t size;
  mugraph_error e = {""};
  char *text = mugraph_read_text (DATA "small.json", 1 << 20, &size, &e);
  for (size_t n = 0; n < size - 1; n++)
    if (mugraph_parse_json ("cut", text, n, &e)) fail_msg ("%zu of %zu bytes were accepted", n, size);
  free (text);
}

/* The real files, where they are: beside a checkout. */
static void public_files (void **state) {
  (void) state;
  static const struct {
    const char *stem;
    int graphs;
    const char *block; /* of the first µGraph */
  } rows[] = {
      {"gqa_bs8", 10, "input input input matmul exp accum matmul accum output output"},
      {"rmsnorm_bs1", 18, "input input accum_rms matmul accum div output"},
      {"rmsnorm_bs16", 26, "input input accum_rms matmul accum div output"},
      {"lora_bs1", 4, "input input input input matmul matmul matmul add accum output"},
      {"gated_mlp_bs1", 32, "input input input matmul matmul accum accum silu output output"},
      {"norm_transformer_bs8", 9, "input input input rms_norm add mul add rms_norm accum output"},
  };
  DIR *dir = opendir ("../shared/mirage_mugraphs");
  if (!dir) {
    print_message ("no ../shared/mirage_mugraphs here: skipped\n");
    skip ();
  }
  closedir (dir);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char path[128];
    snprintf (path, sizeof path, "../shared/mirage_mugraphs/%s.json", rows[i].stem);
    mugraph_file f;
    load (path, &f);
    assert_int_equal (f.n, rows[i].graphs);
    const mugraph_block *b = &f.saved[0].graph.block[0];
    kinds_of (b->op, b->n_ops, rows[i].block);
    assert_int_equal (b->sched.warps, 4);
    if (i == 0) {
      const mugraph *g = &f.saved[0].graph;
      assert_int_equal (g->block[1].op[3].kind, MUGRAPH_OP_ACCUM_SUM_TO);
      assert_int_equal (g->block[1].op[3].width, 64);
      assert_memory_equal (g->block[0].grid, ((int32_t[]){16, 16, 4}), sizeof g->block[0].grid);
    }
    mugraph_file_free (&f);
  }
}

int main (void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test (every_operator),
      cmocka_unit_test (kernels_read_each_other),
      cmocka_unit_test (imported_graphs_are_saved_and_read),
      cmocka_unit_test (broken_files_are_refused),
      cmocka_unit_test (what_the_format_does_not_need_may_differ),
      cmocka_unit_test (every_truncation_is_refused),
      cmocka_unit_test (public_files),
  };
  return cmocka_run_group_tests_name ("mugraph_mirage", tests, NULL, NULL);
}
