#include "context.h"

#include <omp.h>

bool eval_goes_on (eval_context *c) {
  if (eval_stopped (c)) c->status = EVAL_STOPPED;
  else if (c->options->deadline && omp_get_wtime () > c->options->deadline) c->status = EVAL_TIME;
  else return true;
  return false;
}

bool eval_take_value (eval_context *c, int64_t volume, uint8_t need, eval_value *v) {
  FOR_PLANES (p, need) {
    v->plane[p] = eval_take (c->arena, (size_t) volume * c->num[p]->size);
    if (v->plane[p]) continue;
    c->status = EVAL_MEMORY;
    return false;
  }
  return true;
}

/* A block does not stop half-way: its operators look up what they read. */
static bool begins (const eval_context *c) { return c->in_block || !eval_stopped (c); }

void eval_share (const eval_context *c, int64_t pieces, int64_t elements, eval_piece *f, const void *args) {
  if (c->threads == 1 || pieces == 1 || elements < 1 << 16)
    for (int64_t i = 0; i < pieces && begins (c); i++) f (args, i);
  else {
#pragma omp parallel for num_threads(c->threads) schedule(dynamic)
    for (int64_t i = 0; i < pieces; i++)
      if (begins (c)) f (args, i);
  }
}

bool eval_is_value (const eval_context *c, const eval_operand *x, uint8_t need) {
  FOR_PLANES (p, need)
  if (!eval_are_numbers (c->plan, p, mugraph_volume (x->shape), x->v.plane[p]) && !eval_stopped (c)) return false;
  return true;
}
