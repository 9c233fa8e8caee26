#include "generator.h"
#include "cost_constants.h"

#include "mugraph/check.h"
#include <stddef.h>
#include <string.h>

static const cuda_generator generators[CUDA_N_GENERATORS] = {
#define GENERATOR(number, ID, name, mma_rate, ...)                                                                     \
  [number] = {#name,                                                                                                   \
              GENERATOR_TAKES (__VA_ARGS__),                                                                           \
              cuda_plan_##name,                                                                                        \
              cost_##name,                                                                                             \
              cuda_emit_##name,                                                                                        \
              offsetof (cost_constants, mma_rate),                                                                     \
              GENERATOR_FACTS (__VA_ARGS__)},
#define GENERATOR_TAKES(cuts_loop, waits, copies, takes) takes
#define GENERATOR_FACTS(cuts_loop, waits, copies, takes) cuts_loop, waits, copies
#include "generators.def"
#undef GENERATOR
};

/* The numbers in the order of preference. */
static const int preference[] = {
#define GENERATOR(number, ...) number,
#include "generators.def"
#undef GENERATOR
};

const cuda_generator *cuda_generator_of (int backend) {
  if (backend < 0 || backend >= CUDA_N_GENERATORS) return NULL;
  return &generators[backend == CUDA_GENERATOR_AUTO ? CUDA_GENERATOR_GENERIC : backend];
}

const char *cuda_generator_name (int backend) {
  const cuda_generator *generator = backend == CUDA_GENERATOR_AUTO ? NULL : cuda_generator_of (backend);
  return generator ? generator->name : NULL;
}

const char *cuda_generator_text (int backend) {
  const char *name = cuda_generator_name (backend);
  return name ? name : backend == CUDA_GENERATOR_AUTO ? "auto" : "unknown";
}

/* A plan that a device can launch. */
static bool is_sound (const cuda_plan *p, const cuda_device *d) {
  return p->threads > 0 && p->threads <= 1024 && p->blocks > 0 && p->cluster > 0 && p->cluster <= 16 && p->smem >= 0 &&
         p->smem <= d->smem_block && p->workspace >= 0 && p->regs >= 0 && p->iterations >= 0;
}

static bool plan_with (int backend, const mugraph *g, int k, const cuda_device *d, cuda_plan *p, mugraph_error *e) {
  memset (p, 0, sizeof *p);
  if (!generators[backend].plan (g, k, d, p, e)) return false;
  p->backend = backend;
  p->sched.backend = (int16_t) backend;
  if (!p->compiled_regs) p->compiled_regs = p->regs;
  if (!generators[backend].copies) p->sched.copy = 0; /* not of its plans: who asks for it gets what others get */
  CHECK (is_sound (p, d));
  return true;
}

bool cuda_plan_kernel (const mugraph *g, int k, const cuda_device *d, cuda_plan *p, mugraph_error *e) {
  if (k < 0 || k >= g->n_ops || g->op[k].kind != MUGRAPH_OP_CUSTOM)
    return mugraph_fail (e, "kernel operator %d is not a graph-defined kernel: nothing to plan", k);
  int wanted = g->block[g->op[k].block].sched.backend;
  if (wanted >= CUDA_N_GENERATORS)
    return mugraph_fail (e, "kernel operator %d: backend %d is unknown (0 to %d)", k, wanted, CUDA_N_GENERATORS - 1);
  if (wanted != CUDA_GENERATOR_AUTO) return plan_with (wanted, g, k, d, p, e);
  for (size_t i = 0; i < sizeof preference / sizeof *preference; i++)
    if (plan_with (preference[i], g, k, d, p, e)) return true;
  return false; /* the reason is that of the last, which takes anything that fits */
}
