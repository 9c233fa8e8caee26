/* Random inputs. */
#ifndef VERIFY_INPUTS_H
#define VERIFY_INPUTS_H

#include "eval.h"

/* Draws the planes need[i] of each input i of the graph from the options' key; they are taken from the arena. Element e
   of input i depends on key, i and e only, so that graphs with the same inputs see the same values whatever planes they
   read. False: no memory. Once options->stop is set what is left is undefined, and nobody may read it. */
bool verify_draw_inputs (const mugraph *, const uint8_t need[], const eval_options *, eval_arena *,
                         eval_value inputs[]);

/* verify_random_input (verify.h), that ends early once *stop is set (NULL: nobody). */
void verify_draw_real (const mugraph_shape *, uint64_t seed, double scale, const volatile int *stop, double *out);

#endif
