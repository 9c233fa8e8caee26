/* What a µGraph becomes: buffers, launches and their arguments, and the beginning of each kernel's text. */
#include "launches.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void use_template (cuda_emitter *e, const char *name) {
  for (int i = 0; i < CUDA_TEMPLATES; i++) {
    if (!e->template[i]) e->template[i] = name;
    if (!strcmp (e->template[i], name)) return;
  }
  e->full = true;
}

void cuda_use_template_list (cuda_emitter *e, const char *const *names) {
  while (*names) use_template (e, *names++);
}

int cuda_add_buffer (cuda_emitter *e, int role, int index, int64_t bytes, const char *name) {
  cuda_program *p = e->program;
  if (p->n_buffers == CUDA_BUFFERS) {
    e->full = true;
    return 0;
  }
  cuda_buffer *b = &p->buffer[p->n_buffers];
  *b = (cuda_buffer){.role = role, .index = index, .bytes = bytes};
  snprintf (b->name, sizeof b->name, "%s", name);
  return p->n_buffers++;
}

int cuda_add_launch (cuda_emitter *e, int64_t blocks, int threads, int64_t smem, const char *name, ...) {
  cuda_program *p = e->program;
  if (p->n_launches == CUDA_LAUNCHES || blocks < 1 || blocks > INT32_MAX || smem > INT32_MAX) {
    e->full = true;
    if (p->n_launches == CUDA_LAUNCHES) p->n_launches--;
  }
  int i = p->n_launches++;
  cuda_launch *l = &p->launch[i];
  *l = (cuda_launch){
      .grid = {(int) blocks, 1, 1}, .block = threads, .cluster = {1, 1, 1}, .smem = (int) smem, .pdl = e->pdl};
  va_list list;
  va_start (list, name);
  vsnprintf (l->name, sizeof l->name, name, list);
  va_end (list);
  cuda_text_free (&e->params[i]);
  return i;
}

static cuda_arg *add_arg (cuda_emitter *e, int launch) {
  cuda_launch *l = &e->program->launch[launch];
  if (l->n_args == CUDA_ARGS) {
    e->full = true;
    l->n_args--;
  }
  if (l->n_args) cuda_print (&e->params[launch], ", ");
  return &l->arg[l->n_args++];
}

void cuda_add_pointer (cuda_emitter *e, int launch, int buffer, const char *declaration, ...) {
  *add_arg (e, launch) = (cuda_arg){.kind = CUDA_ARG_POINTER, .buffer = buffer};
  va_list list;
  va_start (list, declaration);
  cuda_print_list (&e->params[launch], declaration, list);
  va_end (list);
}

const char *cuda_type (mugraph_dtype t) {
  static const char *const text[MUGRAPH_N_DTYPES] = {
      [MUGRAPH_F16] = "ms_f16", [MUGRAPH_BF16] = "ms_bf16", [MUGRAPH_F32] = "float"};
  assert (t < MUGRAPH_N_DTYPES);
  return text[t];
}

void cuda_add_tensor (cuda_emitter *e, int launch, int tensor, bool written, const char *name, ...) {
  const cuda_tensor *t = &e->tensor[tensor];
  const char *constness = written ? "" : "const ";
  const char *alias = written || e->program->buffer[t->buffer].role == CUDA_BUFFER_INPUT ? "__restrict__ " : "";
  char text[48];
  va_list list;
  va_start (list, name);
  vsnprintf (text, sizeof text, name, list);
  va_end (list);
  cuda_add_pointer (e, launch, t->buffer, "%s%s *%s%s", constness, cuda_type (t->dtype), alias, text);
  if (t->max_buffer >= 0) cuda_add_pointer (e, launch, t->max_buffer, "%sfloat *%s%s_max", constness, alias, text);
}

void cuda_add_tensor_map (cuda_emitter *e, int launch, const cuda_arg *arg, const char *name) {
  *add_arg (e, launch) = *arg;
  cuda_print (&e->params[launch], "const __grid_constant__ ms_tensor_map %s", name);
}

void cuda_open_kernel (cuda_emitter *e, int launch) {
  const cuda_launch *l = &e->program->launch[launch];
  int cluster = l->cluster[0] * l->cluster[1] * l->cluster[2];
  cuda_print (&e->body, "\nextern \"C\" __global__ void __launch_bounds__ (%d, %d) ", l->block,
              l->per_sm ? l->per_sm : 1);
  if (cluster > 1 && cluster <= 8)
    cuda_print (&e->body, "__cluster_dims__ (%d, %d, %d) ", l->cluster[0], l->cluster[1], l->cluster[2]);
  cuda_print (&e->body, "%s (%s) {\n", l->name, e->params[launch].data ? e->params[launch].data : "void");
}

void cuda_open_sm90a (cuda_emitter *e) { cuda_print (&e->body, "#ifdef MS_SM90A\n"); }
void cuda_close_sm90a (cuda_emitter *e) { cuda_print (&e->body, "#else\n  __trap ();\n#endif\n"); }

int cuda_find_buffer (const cuda_program *p, int role, int index) {
  for (int i = 0; i < p->n_buffers; i++)
    if ((int) p->buffer[i].role == role && p->buffer[i].index == index) return i;
  return -1;
}

void cuda_program_free (cuda_program *p) {
  free (p->source);
  memset (p, 0, sizeof *p);
}
