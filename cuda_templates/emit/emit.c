/* cuda_emit: walks the kernel graph, gives every tensor a buffer and every operator its launches, and joins device
   templates and kernels into one source text. */
#include "cuda_templates/generator.h"
#include "emit_predefined.h"
#include "launches.h"
#include "mugraph/stable.h"
#include "templates.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t bytes_of (const cuda_tensor *t) { return mugraph_volume (&t->shape) * mugraph_dtype_bytes (t->dtype); }

static void place_tensor (cuda_emitter *e, int t, int role, int index, const char *fallback) {
  // cppcheck-suppress negativeIndex ; outputs have a position
  const char *own = role == CUDA_BUFFER_OUTPUT && index >= 0 && e->g->output_name[index][0] ? e->g->output_name[index]
                                                                                            : e->g->tensor[t].name;
  cuda_tensor *c = &e->tensor[t];
  char name[48];
  if (*own) snprintf (name, sizeof name, "%.*s", MUGRAPH_NAME, own);
  else snprintf (name, sizeof name, "%s%d", fallback, role == CUDA_BUFFER_TEMP ? t : index);
  c->buffer = cuda_add_buffer (e, role, index, bytes_of (c), name);
}

static void place_tensors (cuda_emitter *e) {
  const mugraph *g = e->g;
  for (int t = 0; t < g->n_tensors; t++)
    e->tensor[t] =
        (cuda_tensor){.buffer = -1, .dtype = cuda_plan_storage (g, t), .shape = g->tensor[t].shape, .max_buffer = -1};
  for (int t = 0; t < g->n_inputs; t++) place_tensor (e, t, CUDA_BUFFER_INPUT, t, "input");
  for (int i = 0; i < g->n_outputs; i++)
    if (e->tensor[g->output[i]].buffer < 0) place_tensor (e, g->output[i], CUDA_BUFFER_OUTPUT, i, "output");
  for (int t = g->n_inputs; t < g->n_tensors; t++) {
    cuda_tensor *c = &e->tensor[t];
    if (c->buffer < 0) place_tensor (e, t, CUDA_BUFFER_TEMP, -1, "tensor");
    int splits = cuda_plan_splits (g, t);
    if (!splits || !e->stable->tensor_degree[t]) continue;
    char name[48];
    int64_t rows = mugraph_volume (&c->shape) / c->shape.dim[c->shape.n_dims - 1];
    snprintf (name, sizeof name, "tensor%d_max", t);
    c->splits = splits;
    c->degree = e->stable->tensor_degree[t];
    c->max_buffer = cuda_add_buffer (e, CUDA_BUFFER_TEMP, -1, rows * splits * 4, name);
  }
}

/* An output that is an input, or that was already written as another output. */
static void copy_outputs (cuda_emitter *e) {
  for (int i = 0; i < e->g->n_outputs; i++) {
    int t = e->g->output[i];
    const cuda_buffer *b = &e->program->buffer[e->tensor[t].buffer];
    if (b->role == CUDA_BUFFER_OUTPUT && b->index == i) continue;
    char name[48];
    snprintf (name, sizeof name, "output%d", i);
    int copy = cuda_add_buffer (e, CUDA_BUFFER_OUTPUT, i, bytes_of (&e->tensor[t]), name);
    int64_t n = mugraph_volume (&e->tensor[t].shape), blocks = (n + 1023) / 1024;
    int l = cuda_add_launch (e, blocks < 65536 ? blocks : 65536, 256, 0, "copy_output%d", i);
    cuda_add_tensor (e, l, t, false, "in0");
    cuda_add_pointer (e, l, copy, "%s *__restrict__ out0", cuda_type (e->tensor[t].dtype));
    cuda_open_kernel (e, l);
    cuda_print (&e->body,
                "  ms_wait_inputs ();\n  ms_launch_dependents ();\n"
                "  for (long long i = ms_thread (); i < %lldLL; i += ms_threads ()) out0[i] = in0[i];\n}\n",
                (long long) n);
  }
}

/* As the schedule says. One that was found for another device and does not fit this one gives way to what the planner
   chooses: with the same generator if that takes the graph here, else with any. */
static bool plan_kernel (cuda_emitter *e, int k, cuda_plan *plan, mugraph_error *error) {
  if (cuda_plan_kernel (e->g, k, e->device, plan, error)) return true;
  mugraph_sched request, *s = &e->own->block[e->g->op[k].block].sched;
  mugraph_sched_default (&request);
  request.backend = s->backend;
  if (!memcmp (s, &request, sizeof request)) return false;
  *s = request;
  if (cuda_plan_kernel (e->own, k, e->device, plan, NULL)) return true;
  s->backend = CUDA_GENERATOR_AUTO;
  return cuda_plan_kernel (e->own, k, e->device, plan, error);
}

static bool emit_kernels (cuda_emitter *e, mugraph_error *error) {
  for (int k = 0; k < e->g->n_ops; k++) {
    if (e->g->op[k].kind != MUGRAPH_OP_CUSTOM) {
      if (!cuda_emit_predefined (e, k, error)) return false;
      continue;
    }
    cuda_plan plan;
    if (!plan_kernel (e, k, &plan, error)) return false;
    cuda_generator_of (plan.backend)->emit (e, k, &plan);
  }
  copy_outputs (e);
  return true;
}

static bool join_source (cuda_emitter *e, mugraph_error *error) {
  cuda_text source = {0};
  cuda_print (&source, "%s\n%s", cuda_template_text ("scalar.cuh"), cuda_template_text ("common.cuh"));
  for (int i = 0; i < CUDA_TEMPLATES && e->template[i]; i++)
    cuda_print (&source, "\n%s", cuda_template_text (e->template[i]));
  cuda_print_indented (&source, e->body.data ? e->body.data : "");
  bool failed = source.failed || e->body.failed;
  for (int i = 0; i < e->program->n_launches; i++) failed |= e->params[i].failed;
  if (failed) {
    cuda_text_free (&source);
    return mugraph_fail (error, "out of memory while writing the CUDA source");
  }
  e->program->source = source.data;
  return true;
}

bool cuda_emit (const mugraph *g, const cuda_device *device, bool pdl, cuda_program *program, mugraph_error *error) {
  memset (program, 0, sizeof *program);
  cuda_emitter *e = calloc (1, sizeof *e);
  mugraph_stable *stable = malloc (sizeof *stable);
  mugraph *own = malloc (sizeof *own);
  bool done = false;
  if (!e || !stable || !own) mugraph_fail (error, "out of memory while writing the CUDA source");
  else {
    *own = *g;
    mugraph_analyse_stable (own, stable);
    e->g = e->own = own, e->device = device, e->stable = stable, e->pdl = pdl, e->program = program;
    place_tensors (e);
    done = emit_kernels (e, error);
    if (done && e->full)
      done = mugraph_fail (error,
                           "the graph needs more than %d launches, %d buffers, %d arguments of a kernel or 2^31 blocks",
                           CUDA_LAUNCHES, CUDA_BUFFERS, CUDA_ARGS);
    done = done && join_source (e, error);
    cuda_text_free (&e->body);
    for (int i = 0; i < CUDA_LAUNCHES; i++) cuda_text_free (&e->params[i]);
  }
  free (own);
  free (stable);
  free (e);
  if (!done) cuda_program_free (program);
  return done;
}
