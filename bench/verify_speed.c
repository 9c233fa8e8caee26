/* Real-shape checks of the six workloads: seconds for each, on the threads given (default 1).
     make bench-verify [ARGS="threads batch"]                                                   */
#include <time.h>

#include "tests/verify_graphs.h"
#include "verify/verify.h"

static mugraph program, candidate;
static int threads = 1;
static bool good = true;

static void check (const char *name) {
  verify_options o;
  verify_report r;
  verify_options_default (&o);
  o.threads = threads;
  clock_t begin = clock ();
  verify_equivalent (&program, &candidate, &o, &r);
  double cpu = (double) (clock () - begin) /
               CLOCKS_PER_SEC; /* of all threads: what the machine's other work does not slow down */
  good &= r.verdict == VERIFY_EQUIVALENT;
  printf ("%-24s %8.3f s  (cpu %.3f s)  %d trials  error bound %.1e  %s %s\n", name, r.seconds, cpu, r.trials,
          r.error_bound, r.verdict == VERIFY_EQUIVALENT ? "equivalent" : "NOT equivalent", r.reason);
  fflush (stdout);
}

/* Witness shapes: how many fingerprints a second. */
static void fingerprints (const char *name) {
  uint64_t out[MUGRAPH_OUTPUTS];
  clock_t begin = clock (), end; /* of this thread: there is no other */
  int n = 0;
  do {
    for (int i = 0; i < 100; i++) good &= verify_fingerprint (&candidate, (uint64_t) i, out);
    n += 100;
  } while ((end = clock ()) < begin + CLOCKS_PER_SEC * 3 / 10);
  printf ("%-24s %8.0f fingerprints a second of CPU\n", name, n * (double) CLOCKS_PER_SEC / (double) (end - begin));
}

int main (int argc, char **argv) {
  int b = 16;
  if (argc > 1) threads = atoi (argv[1]);
  if (argc > 2) b = atoi (argv[2]);
  if (threads < 1 || b < 1) return fprintf (stderr, "usage: bench-verify [threads [batch]]\n"), 2;
  printf ("b=%d, %d threads; whole check: inputs, program and candidate, all trials\n", b, threads);
  rmsnorm_program (&program, 2 * b, 4096, 6144), rmsnorm_fused (&candidate, 2 * b, 4096, 6144, 96, 64),
      check ("rmsnorm");
  gatedmlp_program (&program, b, 4096, 4096), gatedmlp_fused (&candidate, b, 4096, 4096, 128, 64), check ("gatedmlp");
  lora_program (&program, b, 256, 4096, 16), lora_fused (&candidate, b, 256, 4096, 16, 64, 4), check ("lora");
  ntrans_program (&program, b, 4096), ntrans_fused (&candidate, b, 4096, b, false), check ("ntrans");
  attention_program (&program, 2 * b, 256, 64, 4096, false);
  attention_fused (&candidate, 2 * b, 256, 64, 4096, false, 4, 64), check ("gqa, one kernel");
  attention_split (&candidate, 2 * b, 256, 64, 4096, false, 4, 4, 16, true), check ("gqa, split in 4");
  attention_program (&program, 2 * b, 256, 64, 4096, true);
  attention_fused (&candidate, 2 * b, 256, 64, 4096, true, 4, 64), check ("qknorm, one kernel");
  attention_split (&candidate, 2 * b, 256, 64, 4096, true, 4, 4, 16, true), check ("qknorm, split in 4");
  rmsnorm_fused (&candidate, 3, 4, 6, 2, 2), fingerprints ("rmsnorm, witness");
  gatedmlp_fused (&candidate, 3, 4, 6, 2, 2), fingerprints ("gatedmlp, witness");
  attention_split (&candidate, 2, 4, 3, 8, false, 2, 2, 2, true), fingerprints ("gqa split, witness");
  return !good;
}
