#include "emit.h"

bool cuda_emit_predefined (cuda_emitter *e, int k, mugraph_error *error) {
  (void) e;
  return mugraph_fail (error, "kernel operator %d: no pre-defined kernel", k);
}
