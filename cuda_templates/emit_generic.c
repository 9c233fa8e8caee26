#include "emit.h"

bool cuda_emit_generic (cuda_emitter *e, int k, const mugraph_plan *p, mugraph_error *error) {
  (void) e, (void) p;
  return mugraph_fail (error, "kernel operator %d: the generic backend emits nothing", k);
}
