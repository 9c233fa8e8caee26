#include "plan.h"

bool mugraph_plan_chain (const mugraph *g, int k, const mugraph_device *d, mugraph_plan *p, mugraph_error *e) {
  (void) g, (void) d, (void) p;
  return mugraph_fail (e, "kernel operator %d: the chain backend does not take it", k);
}
