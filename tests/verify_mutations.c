/* Breaks valid µGraphs of all workloads in many ways. No mutant that float64 tells from the program at other inputs may
   pass verification. VERIFY_MUTANTS and VERIFY_SEED in the environment change how many and which. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "verify/verify.h"
#include "verify_graphs.h"

static uint64_t state;
static uint64_t next (void) { /* xorshift64* */
  state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
  return state * 2685821657736338717ull;
}
static int below (int n) { return (int) (next () >> 33) % n; }

static const mugraph_op_kind unary[] = {OP_ (NEG),  OP_ (EXP),  OP_ (SQUARE), OP_ (SQRT),    OP_ (SILU),
                                        OP_ (GELU), OP_ (RELU), OP_ (TANH),   OP_ (SIGMOID), OP_ (CLAMP)},
                             binary[] = {OP_ (ADD), OP_ (SUB), OP_ (MUL), OP_ (DIV), OP_ (POW), OP_ (MATMUL)},
                             reduce[] = {OP_ (SUM), OP_ (MEAN), OP_ (MAX), OP_ (RMS_NORM), OP_ (SUM_TO)},
                             accum[] = {OP_ (ACCUM), OP_ (ACCUM_SUM), OP_ (ACCUM_MEAN), OP_ (ACCUM_RMS),
                                        OP_ (ACCUM_SUM_TO)};
#define PICK(a) a[below (sizeof a / sizeof *a)]

static void fix_constants (mugraph_op *op) {
  if (op->kind == MUGRAPH_OP_CLAMP && op->c[0] >= op->c[1]) op->c[0] = -0.5, op->c[1] = 0.5;
}

static void other_kind (mugraph_op *op) {
  switch (mugraph_op_table[op->kind].klass) {
  case MUGRAPH_UNARY: op->kind = (uint8_t) PICK (unary); break;
  case MUGRAPH_BINARY:
  case MUGRAPH_MATMUL: op->kind = (uint8_t) PICK (binary); break;
  case MUGRAPH_REDUCE: op->kind = (uint8_t) PICK (reduce); break;
  case MUGRAPH_ACCUM: op->kind = (uint8_t) PICK (accum); break;
  default: break;
  }
  if (!op->width) op->width = 1 + below (4);
  fix_constants (op);
}

/* Puts a new operator over x before operator i of a block graph, and lets operand k of the old i read it. */
static bool insert (mugraph_block *b, int i, int k, mugraph_op_kind kind) {
  if (b->n_ops == MUGRAPH_BLOCK_OPS || !b->op[i].n_in) return false;
  int x = b->op[i].in[k];
  memmove (&b->op[i + 1], &b->op[i], sizeof *b->op * (size_t) (b->n_ops - i));
  b->n_ops++;
  for (int j = i + 1; j < b->n_ops; j++)
    for (int n = 0; n < b->op[j].n_in; n++) b->op[j].in[n] += b->op[j].in[n] >= i;
  mugraph_op op = {.kind = (uint8_t) kind,
                   .n_in = 1,
                   .dim = (int8_t) below (3),
                   .block = -1,
                   .map = {-1, -1, -1},
                   .fmap = -1,
                   .width = 1 + below (4)};
  op.in[0] = (uint8_t) x;
  fix_constants (&op);
  b->op[i] = op;
  b->op[i + 1].in[k] = (uint8_t) i;
  return true;
}

static bool mutate_block (mugraph_block *b) {
  int i = below (b->n_ops);
  mugraph_op *op = &b->op[i];
  switch (below (16)) {
  case 0: other_kind (op); return true;
  case 1: /* another operand */
    if (!op->n_in || !i) return false;
    op->in[below (op->n_in)] = (uint8_t) below (i);
    return true;
  case 2: /* swapped operands */
    if (op->n_in != 2) return false;
    uint8_t t = op->in[0];
    op->in[0] = op->in[1], op->in[1] = t;
    return true;
  case 3: /* left out: its readers read its operand */
    if (!op->n_in || op->kind == MUGRAPH_OP_OUTPUT) return false;
    for (int j = i + 1, x = op->in [below (op->n_in)]; j < b->n_ops; j++)
      for (int k = 0; k < b->op[j].n_in; k++)
        if (b->op[j].in[k] == i) b->op[j].in[k] = (uint8_t) x;
    return true;
  case 4:
  case 5:
    if (op->kind != MUGRAPH_OP_INPUT && op->kind != MUGRAPH_OP_OUTPUT) return false;
    op->map[below (3)] = (int8_t) (below (4) - 1);
    return true;
  case 6:
    if (op->kind != MUGRAPH_OP_INPUT) return false;
    op->fmap = (int8_t) (below (4) - 1);
    return true;
  case 7: b->loop += below (2) ? 1 : -1; return b->loop > 0;
  case 8: b->grid[below (3)] = 1 + below (4); return true;
  case 9: return op->n_in && insert (b, i, below (op->n_in), PICK (unary));
  case 10: return op->n_in && insert (b, i, below (op->n_in), PICK (reduce));
  case 11: return op->n_in && insert (b, i, below (op->n_in), below (2) ? PICK (accum) : MUGRAPH_OP_TRANSPOSE);
  case 12: op->dim = (int8_t) below (3); return true;
  case 13: op->width = 1 + below (4); return true;
  case 14: /* exchanged with its operand: silu of a partial sum instead of the sum's silu, a division moved, ... */
    if (!op->n_in || op->kind == MUGRAPH_OP_OUTPUT) return false;
    mugraph_op *x = &b->op[op->in[below (op->n_in)]];
    if (x->kind == MUGRAPH_OP_INPUT || x->n_in != op->n_in) return false;
    uint8_t kind = x->kind;
    x->kind = op->kind, op->kind = kind;
    return true;
  default:
    if (op->kind == MUGRAPH_OP_ACCUM_RMS || op->kind == MUGRAPH_OP_RMS_NORM || op->kind == MUGRAPH_OP_CONST) {
      op->c[0] += 0.25 * (1 + below (3));
      return true;
    }
    if (op->kind != MUGRAPH_OP_INPUT) return false;
    op->in[0] = (uint8_t) below (4);
    return true;
  }
}

static bool mutate_kernel (mugraph *g) {
  int i = below (g->n_ops);
  mugraph_op *op = &g->op[i];
  switch (below (5)) {
  case 0:
    if (op->kind == MUGRAPH_OP_CUSTOM) return false;
    other_kind (op);
    return true;
  case 1:
    if (!op->n_in) return false;
    op->in[below (op->n_in)] = (uint8_t) below (op->out[0]);
    return true;
  case 2:
    if (op->n_in < 2) return false;
    uint8_t t = op->in[0];
    op->in[0] = op->in[1], op->in[1] = t;
    return true;
  case 3: op->dim = (int8_t) below (3); return op->kind != MUGRAPH_OP_CUSTOM;
  default: g->output[0] = (uint8_t) below (g->n_tensors); return true;
  }
}

static void mutate (mugraph *g) {
  for (;;) {
    bool done = g->n_blocks && below (6) ? mutate_block (&g->block[below (g->n_blocks)]) : mutate_kernel (g);
    if (done && below (4)) return; /* a quarter get another one on top */
  }
}

enum { SUBJECTS = 14 };

/* Valid µGraphs at small shapes; sizes differ so that a mix-up shows, some do not divide. */
static void subject (int n, mugraph *p, mugraph *g) {
  switch (n) {
  case 0: rmsnorm_program (p, 3, 8, 6), rmsnorm_fused (g, 3, 8, 6, 2, 4); break;
  case 1: rmsnorm_program (p, 3, 7, 5), rmsnorm_fused (g, 3, 7, 5, 2, 3); break;
  case 2: rmsnorm_program (p, 4, 8, 4), rmsnorm_split (g, 4, 8, 4, 2, 2, 2); break;
  case 3: lora_program (p, 3, 8, 6, 2), lora_fused (g, 3, 8, 6, 2, 3, 2); break;
  case 4: lora_program (p, 4, 4, 4, 4), lora_concat (g, 4, 4, 4, 4, 2); break;
  case 5: gatedmlp_program (p, 3, 8, 6), gatedmlp_fused (g, 3, 8, 6, 2, 2); break;
  case 6: gatedmlp_program (p, 4, 4, 4), gatedmlp_fused (g, 4, 4, 4, 2, 3); break;
  case 7: ntrans_program (p, 4, 6), ntrans_fused (g, 4, 6, 2, true); break;
  case 8: ntrans_program (p, 5, 6), ntrans_fused (g, 5, 6, 3, false); break;
  case 9: attention_program (p, 2, 4, 3, 8, false), attention_fused (g, 2, 4, 3, 8, false, 2, 4); break;
  case 10: attention_program (p, 2, 5, 3, 7, false), attention_split (g, 2, 5, 3, 7, false, 2, 2, 2, true); break;
  case 11: attention_program (p, 2, 4, 4, 4, true), attention_fused (g, 2, 4, 4, 4, true, 2, 2); break;
  case 12: attention_program (p, 2, 4, 3, 8, true), attention_split (g, 2, 4, 3, 8, true, 2, 2, 2, true); break;
  default: attention_program (p, 2, 4, 3, 8, false), attention_split (g, 2, 4, 3, 8, false, 2, 2, 2, false); break;
  }
}

static mugraph program[SUBJECTS], valid[SUBJECTS], mutant;

static int build_subjects (void **unused) {
  (void) unused;
  for (int n = 0; n < SUBJECTS; n++) subject (n, &program[n], &valid[n]);
  return 0;
}

static void no_distinguishable_mutant_passes (void **unused) {
  (void) unused;
  int wanted = getenv ("VERIFY_MUTANTS") ? atoi (getenv ("VERIFY_MUTANTS")) : 14000, passed = 0, rejected = 0,
      unsupported = 0, unknown = 0, cautious = 0;
  state = getenv ("VERIFY_SEED") ? (uint64_t) atoll (getenv ("VERIFY_SEED")) | 1 : 88172645463325252ull;
  verify_options o;
  verify_options_default (&o);
  o.threads = 1;
  o.trials = 1;
  uint64_t hash[SUBJECTS];
  for (int i = 0; i < SUBJECTS; i++) hash[i] = mugraph_hash (&valid[i], true);
  for (int n = 0; n < wanted;) {
    int i = n % SUBJECTS;
    mutant = valid[i];
    mutate (&mutant);
    if (!mugraph_infer (&mutant, NULL) || mugraph_hash (&mutant, true) == hash[i]) continue;
    n++;
    verify_report r;
    char why[256];
    o.seed = next ();
    o.stable = n & 1;
    verify_equivalent (&program[i], &mutant, &o, &r);
    passed += r.verdict == VERIFY_EQUIVALENT, rejected += r.verdict == VERIFY_DIFFERENT;
    unsupported += r.verdict == VERIFY_UNSUPPORTED, unknown += r.verdict == VERIFY_UNKNOWN;
    /* whatever the mutant computes: shifting its stable exponentials by arbitrary maxima does not change it */
    verify_report shifted = {.verdict = VERIFY_UNKNOWN};
    if (r.verdict == VERIFY_DIFFERENT && mutant.n_inputs) {
      o.stable = true;
      verify_equivalent (&mutant, &mutant, &o, &shifted);
      if (shifted.verdict == VERIFY_DIFFERENT)
        fail_msg ("mutant %d of subject %d is not stable: %s", n, i, shifted.reason);
    }
    if (r.verdict == VERIFY_DIFFERENT && n % 16 == 0)
      cautious += verify_counterexample (&program[i], &mutant, next (), 1, 1e-9, NULL, why) == 0;
    if (r.verdict != VERIFY_EQUIVALENT) continue;
    double e = verify_counterexample (&program[i], &mutant, next (), 1, 1e-6, NULL, why);
    if (e > 0) fail_msg ("mutant %d of subject %d passes, but %s", n, i, why);
  }
  print_message ("%d mutants: %d equivalent, %d different, %d without correspondence or value, %d unknown; of every "
                 "16th different one float64 cannot tell %d\n",
                 wanted, passed, rejected, unsupported, unknown, cautious);
  assert_true (passed > wanted / 50); /* some mutations are harmless: the check above ran */
  assert_true (rejected > wanted / 2);
}

static void unmutated_subjects_pass (void **unused) {
  (void) unused;
  for (int n = 0; n < SUBJECTS; n++) {
    verify_options o;
    verify_report r;
    char why[256];
    verify_options_default (&o);
    for (int stable = 0; stable < 2; stable++) {
      o.stable = stable;
      verify_equivalent (&program[n], &valid[n], &o, &r);
      if (r.verdict != VERIFY_EQUIVALENT) fail_msg ("subject %d: %s", n, r.reason);
    }
    if (verify_counterexample (&program[n], &valid[n], 3, 2, 1e-12, NULL, why) > 0) fail_msg ("subject %d: %s", n, why);
  }
}

int main (void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test (unmutated_subjects_pass),
                                     cmocka_unit_test (no_distinguishable_mutant_passes)};
  return cmocka_run_group_tests_name ("verify_mutations", tests, build_subjects, NULL);
}
