/* The constants of the cost model, one set a device: the columns of cost.def. A device carries its own (cuda_device,
   member cost), so whoever wants to cost with others, as the fit does, copies a device and changes the pointer. */
#ifndef CUDA_TEMPLATES_COST_CONSTANTS_H
#define CUDA_TEMPLATES_COST_CONSTANTS_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct cost_constants {
#define COST(name, h100, h200, a100, source, unit, sentence) double name;
#include "cost.def"
#undef COST
} cost_constants;

/* The constant at an offset. */
static inline double cost_constant_get (const cost_constants *c, size_t offset) {
  double value;
  memcpy (&value, (const char *) c + offset, sizeof value);
  return value;
}
static inline void cost_constant_set (cost_constants *c, size_t offset, double value) {
  memcpy ((char *) c + offset, &value, sizeof value);
}

/* The column of each device of device.def. */
extern const cost_constants cost_constants_h100, cost_constants_h200, cost_constants_a100;

/* The rows, in the order of the table. */
typedef struct {
  const char *name, *unit, *sentence;
  size_t offset; /* of the double in cost_constants */
  bool fitted;   /* to measured times; else it is known or measured by itself */
} cost_constant;
extern const cost_constant cost_constant_table[];
extern const int cost_n_constants;

#endif
