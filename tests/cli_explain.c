/* msearch explain: what the search and the generators say, the terms of the model, hashes, bad input. And --log. */
#include "cli_run.h"

/* The record of a generator about kernel 0. */
static const cJSON *generator (const cJSON *o, const char *name) {
  const cJSON *g;
  cJSON_ArrayForEach (g, at (o, "generators")) if (!strcmp (at (g, "generator")->valuestring, name)) return g;
  fail_msg ("no generator %s in: %s", name, out);
  return NULL;
}

static void test_generators (void **state) {
  (void) state;
  assert_int_equal (RUN ("explain", "saved_mugraphs/gqa_bs8.json", "-i", "1", "-d", "h100", "--no-gpu", "--json", "-"),
                    0);
  must_have (err, "graph-defined\n");
  must_have (err, "refuses: a loop of 64 iterations\n");
  cJSON *o = one_object ();
  assert_string_equal (at (o, "schema")->valuestring, "msearch.explain/1");
  assert_true (cJSON_IsTrue (at (generator (o, "chain"), "used")) &&
               cJSON_IsTrue (at (generator (o, "chain"), "takes")));
  assert_true (cJSON_IsTrue (at (generator (o, "generic"), "takes")) &&
               cJSON_IsFalse (at (generator (o, "generic"), "used")));
  assert_true (at (generator (o, "generic"), "cost_us")->valuedouble >
               at (generator (o, "chain"), "cost_us")->valuedouble);
  assert_true (cJSON_IsFalse (at (generator (o, "rows"), "takes")) && !member (generator (o, "rows"), "cost_us"));
  assert_string_equal (at (generator (o, "rows"), "reason")->valuestring, "a loop of 64 iterations");
  /* the terms are those of the score, and the generator's cost is it */
  const cJSON *mine = cJSON_GetArrayItem (at (o, "model"), 0);
  assert_true (at (mine, "total_us")->valuedouble == at (generator (o, "chain"), "cost_us")->valuedouble);
  assert_true (at (mine, "dram_us")->valuedouble > 0 && at (mine, "waves")->valuedouble > 0);
  assert_int_equal (cJSON_GetArraySize (at (o, "model_of_first")), 1);
  cJSON_Delete (o);
}

/* A µGraph that the search finds, one that a bound leaves out, and one whose last division is not the program's. */
static void test_search (void **state) {
  (void) state;
  assert_int_equal (RUN ("explain", "saved_mugraphs/gqa_bs8.json", "-d", "h100", "--no-gpu", "--json", "-"), 0);
  cJSON *o = one_object ();
  assert_string_equal (at (o, "search.outcome")->valuestring, "found");
  assert_true (at (o, "search.structures")->valuedouble > 10 && at (o, "search.place_by_model")->valuedouble == 0);
  assert_true (at (o, "search.best_us")->valuedouble > 0);
  cJSON_Delete (o);
  assert_int_equal (RUN ("explain", "saved_mugraphs/gqa_bs8.json", "--block-ops=4", "--no-gpu", "--json", "-"), 0);
  must_have (err, "it has 6 operators in one block graph and the search allows 4");
  o = one_object ();
  assert_string_equal (at (o, "search.outcome")->valuestring, "bound");
  assert_string_equal (at (o, "search.option")->valuestring, "block_ops");
  assert_true (at (o, "search.needs")->valuedouble == 6 && at (o, "search.has")->valuedouble == 4);
  cJSON_Delete (o);
  write_file ("other.mg", "input Q[16, 256, 64]: f16\ninput K[16, 64, 4096]: f16\ninput V[16, 4096, 64]: f16\n"
                          "S = matmul(Q, K)\noutput O = matmul(exp(S), V) / sum(sqrt(S), 2)\n");
  assert_int_equal (RUN ("explain", "saved_mugraphs/gqa_bs8.json", "-p", "other.mg", "--no-gpu", "--json", "-"), 0);
  must_have (err, "operator 8 (div) of kernel 0 is pruned");
  o = one_object ();
  assert_string_equal (at (o, "search.outcome")->valuestring, "pruned");
  assert_true (at (o, "search.op")->valuedouble == 8);
  must_have (at (o, "search.target")->valuestring, "sqrt");
  assert_null (strstr (at (o, "search.expression")->valuestring, "sqrt"));
  assert_null (member (o, "search.structures")); /* nothing was searched for */
  cJSON_Delete (o);
}

/* Without a program the search is not asked; with one of other shapes there is no answer. */
static void test_program (void **state) {
  (void) state;
  write_file ("small.mg", "input X[2, 4]: f16\noutput O = exp(X)\n");
  assert_int_equal (RUN ("explain", in_source ("tests/data/mirage/small.json"), "--no-gpu", "--json", "-"), 0);
  must_have (err, "the program is not known");
  cJSON *o = one_object ();
  assert_true (cJSON_IsNull (at (o, "search")));
  cJSON_Delete (o);
  must_fail (RUN ("explain", "saved_mugraphs/gqa_bs8.json", "-p", "small.mg"), "small.mg");
}

/* A line a pass, on stderr; more at higher levels. */
static void test_log (void **state) {
  (void) state;
  assert_int_equal (RUN ("lora", "--no-gpu", "--fresh", "-o", "x.json", "--log", "1", "-q"), 0);
  must_have (err, " structures: ");
  must_have (err, " verification: ");
  assert_null (strstr (err, " kept: "));
  int passes = lines (err);
  assert_int_equal (RUN ("lora", "--no-gpu", "--fresh", "-o", "x.json", "--log=2", "-q"), 0);
  must_have (err, " kept: 0, structure ");
  assert_true (lines (err) > passes);
  must_fail (RUN ("lora", "--log", "4"), "option --log: 4 is out of range (1 to 3)");
  assert_int_equal (RUN ("--help"), 0);
  must_have (out, "--log=LEVEL");
}

/* The first of a file is beside no other; without programmatic dependent launch its time is not known. */
static void test_first (void **state) {
  (void) state;
  assert_int_equal (RUN ("explain", "saved_mugraphs/gqa_bs8.json", "-d", "a100", "--no-gpu", "--block-ops=4"), 0);
  assert_null (strstr (out, "the file's first"));
  must_have (out, "none by the cost model of a100: it has no plan"); /* as it stands, in a schedule for an H100 */
  must_have (out, "graph-defined, as it stands no plan for a100: chain: ");
  assert_int_equal (
      RUN ("explain", "saved_mugraphs/gqa_bs8.json", "-d", "a100", "--no-gpu", "-q", "--block-ops=4", "--json", "-"),
      0);
  cJSON *o = one_object ();
  assert_null (member (o, "model_of_first"));
  assert_true (cJSON_IsNull (at (o, "model_rank")));
  assert_true (cJSON_IsNull (at (cJSON_GetArrayItem (at (o, "model"), 0), "pdl_us")));
  assert_string_equal (err, "");
  cJSON_Delete (o);
}

/* By its structure, as far as that is told. */
static void test_hash (void **state) {
  char hash[17], wanted[100];
  (void) state;
  assert_int_equal (RUN ("explain", "saved_mugraphs/lora_bs8.json", "--json", "-"), 0);
  cJSON *o = one_object ();
  snprintf (hash, sizeof hash, "%s", at (o, "structure")->valuestring);
  cJSON_Delete (o);
  assert_int_equal (strlen (hash), 16);
  hash[12] = 0;
  assert_int_equal (RUN ("explain", hash), 0);
  snprintf (wanted, sizeof wanted, "structure %s", hash);
  must_have (out, wanted);
  must_fail (RUN ("explain", hash, "-i", "1"), "--index has no meaning");
  memcpy (hash, "0000", 4);
  must_fail (RUN ("explain", hash), "no µGraph in saved_mugraphs/ has a structure that begins so");
}

static void test_bad_input (void **state) {
  (void) state;
  must_fail (RUN ("explain"), "explain needs a file or a structure");
  must_fail (RUN ("explain", "nowhere.json"), "nowhere.json");
  must_fail (RUN ("explain", "lorra"), "did you mean 'lora'?");
  must_fail (RUN ("explain", "saved_mugraphs/gqa_bs8.json", "-i", "99"), "has 8 µGraphs, no number 99");
  must_fail (RUN ("explain", "saved_mugraphs/gqa_bs8.json", "--out", "x"), "option --out has no meaning for explain");
  must_fail (RUN ("explain", "saved_mugraphs/gqa_bs8.json", "-d", "b100"), "unknown device 'b100'");
}

static int link_files (void **state) {
  char command[9000];
  if (set_up (state)) return -1;
  snprintf (command, sizeof command, "ln -s '%s/saved_mugraphs' saved_mugraphs", root);
  return system (command);
}

int main (void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test (test_generators), cmocka_unit_test (test_first),
                                     cmocka_unit_test (test_search),     cmocka_unit_test (test_program),
                                     cmocka_unit_test (test_log),        cmocka_unit_test (test_hash),
                                     cmocka_unit_test (test_bad_input)};
  return cmocka_run_group_tests (tests, link_files, tear_down);
}
