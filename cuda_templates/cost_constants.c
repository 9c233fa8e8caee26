#include "cost_constants.h"

const cost_constants cost_constants_h100 = {
#define COST(name, h100, h200, a100, source, unit, sentence) .name = h100,
#include "cost.def"
#undef COST
};

const cost_constants cost_constants_h200 = {
#define COST(name, h100, h200, a100, source, unit, sentence) .name = h200,
#include "cost.def"
#undef COST
};

const cost_constants cost_constants_a100 = {
#define COST(name, h100, h200, a100, source, unit, sentence) .name = a100,
#include "cost.def"
#undef COST
};

enum { known, measured, fitted }; /* sources */

const cost_constant cost_constant_table[] = {
#define COST(name, h100, h200, a100, source, unit, sentence)                                                           \
  {#name, unit, sentence, offsetof (cost_constants, name), source == fitted},
#include "cost.def"
#undef COST
};
const int cost_n_constants = sizeof cost_constant_table / sizeof *cost_constant_table;
