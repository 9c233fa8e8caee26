/* What every comparison of two graphs begins and ends with: whether they can be compared, and the texts of reports. */
#ifndef VERIFY_COMPARISON_H
#define VERIFY_COMPARISON_H

#include "verify.h"

/* Threads for one evaluation: as asked for (0: all), one inside of a parallel region. */
int verify_threads (int threads);

/* Sets verdict and reason. */
void verify_conclude (verify_report *, verify_verdict, const char *format, ...) __attribute__ ((format (printf, 3, 4)));

/* The position of an element of a tensor: "[0, 17]". Returns text. */
const char *verify_position_text (const mugraph_shape *, int64_t element, char text[64]);

/* The name of output k, else its number. */
void verify_output_name (const mugraph *, int k, char name[MUGRAPH_NAME]);

/* Whether inputs and outputs have the same shapes; if not, the report says which do not. */
bool verify_correspond (const mugraph *program, const mugraph *candidate, verify_report *);

/* Whether evaluating the candidate takes no more than the program deserves; if not, the report says how much. A file
   may hold a µGraph that loops for years, while recomputing some hundred times is normal. */
bool verify_affordable (const mugraph *program, const mugraph *candidate, verify_report *);

#endif
