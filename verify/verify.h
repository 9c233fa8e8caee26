/* Verification: are two µGraphs the same function? By evaluation at random inputs over finite fields (Mirage, OSDI'25,
   section 5), and numerically over float64. One three-level interpreter serves both number types.

   Fields. p = 2q + 1 with p, q prime, p < 2^31, q < 2^30. An element is a pair (residue mod p, residue mod q).
   exp maps its argument's residue mod q to w^x mod p, with w of order q; its result has no residue mod q, so an
   exponential of something that depends on an exponential has no value: such graphs are reported as unsupported, never
   given some number. Functions outside the theory (class keyed in op.def) are random functions keyed by operator,
   constants and the trial's key: equal arguments give equal values. Constants of the program are fixed random non-zero
   elements keyed by their value's bits; sizes (the n of a mean) are the integers themselves. */
#ifndef VERIFY_VERIFY_H
#define VERIFY_VERIFY_H

#include "mugraph/mugraph.h"

typedef struct {
  uint64_t seed;
  int trials;               /* >= 1 */
  int threads;              /* 0: all */
  bool stable;              /* also draw the maxima of stable exponentials at random (stable.h) */
  double time_limit;        /* seconds, 0: none. When it runs out: VERIFY_UNKNOWN */
  const volatile int *stop; /* NULL: nobody. Once it is set: VERIFY_UNKNOWN, within a second or so */
} verify_options;

typedef enum {
  VERIFY_EQUIVALENT,  /* all outputs agreed in all trials */
  VERIFY_DIFFERENT,   /* some output differed: a proof of difference over the fields */
  VERIFY_UNSUPPORTED, /* no value over the fields (exp of exp, ...), or shapes of inputs/outputs do not correspond */
  VERIFY_UNKNOWN      /* divisions by zero in every draw, or out of time */
} verify_verdict;

typedef struct {
  verify_verdict verdict;
  uint32_t p, q;
  int trials;         /* carried out */
  double error_bound; /* probability that two different functions pass these trials, an upper bound */
  bool unfinished;    /* VERIFY_UNKNOWN because of the time limit or of stop */
  char reason[256];   /* for people: which output, element, trial; empty when equivalent */
  double seconds;
} verify_report;

void verify_options_default (verify_options *);

/* Compares two graphs whose inputs correspond by position (same shapes) and outputs too. */
void verify_equivalent (const mugraph *program, const mugraph *candidate, const verify_options *, verify_report *);

/* The same for n candidates of one program, trials[i] trials of candidate i: each draw, and the program's value there,
   is made once for all of them. Out of time, or stopped: what was found until then stays, equivalent are those with all
   their trials. */
void verify_equivalent_each (const mugraph *program, int n, const mugraph *const candidate[], const int trials[],
                             const verify_options *, verify_report report[]);

/* What evaluating a graph once takes: memory for the tensors of the kernel graph at its peak, inputs and outputs
   included, and operations, roughly (products of matmuls, elements of the rest). A comparison with a graph that takes
   very many more than the program is not made: VERIFY_UNKNOWN. */
void verify_effort (const mugraph *, double *bytes, double *work);

/* The 64-bit fingerprint of every output of a graph at the inputs drawn from seed; equal for equivalent graphs.
   For the search: many candidates against one program at the witness shape. False when there is no value. */
bool verify_fingerprint (const mugraph *, uint64_t seed, uint64_t out[MUGRAPH_OUTPUTS]);

/* float64 evaluation. inputs[i] has mugraph_volume elements of input i; outputs[k] is filled likewise by caller-owned
   memory. stable: exponentials with a shared row maximum as generated code computes them. False with a reason when
   memory runs out. */
bool verify_real (const mugraph *, const double *const inputs[], double *const outputs[], bool stable, int threads,
                  mugraph_error *e);

/* Inputs ~ N(0,1) times scale, rounded to the input's dtype, from a seed: the generator every check uses. */
void verify_random_input (const mugraph_shape *, uint64_t seed, double scale, double *out);

/* ||a - b|| / ||b||; infinity when a holds NaN or infinity where b does not, or b is all zero and a is not. */
double verify_relative_error (const double *a, const double *b, int64_t n);

/* Looks for a float64 counterexample of equivalence: draws inputs until the relative error of some output is above
   tolerance. Returns it and describes it in reason (which output and element, the two values), or 0 when none was
   found. Where inputs or outputs do not correspond: infinity, and reason says so. stop: as in verify_options. */
double verify_counterexample (const mugraph *program, const mugraph *candidate, uint64_t seed, int draws,
                              double tolerance, const volatile int *stop, char reason[256]);

#endif
