/* cuda_emit: walks the kernel graph, gives every tensor a buffer and every operator its launches, and joins device
   templates and kernels into one source text. */
#include "emit.h"
#include "templates.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- growing text ---- */

static void print_list (cuda_text *t, const char *format, va_list list) {
  if (t->failed) return;
  va_list again;
  va_copy (again, list);
  int n = vsnprintf (NULL, 0, format, again);
  va_end (again);
  if (n < 0) {
    t->failed = true;
    return;
  }
  if (t->size + (size_t) n + 1 > t->room) {
    size_t room = 2 * (t->size + (size_t) n + 1);
    char *data = realloc (t->data, room);
    if (!data) {
      t->failed = true;
      return;
    }
    t->data = data, t->room = room;
  }
  vsnprintf (t->data + t->size, (size_t) n + 1, format, list);
  t->size += (size_t) n;
}

void cuda_print (cuda_text *t, const char *format, ...) {
  va_list list;
  va_start (list, format);
  print_list (t, format, list);
  va_end (list);
}

void cuda_print_indented (cuda_text *t, const char *code) {
  int depth = 1;
  bool open = false; /* the statement goes on in the next line */
  while (*code) {
    while (*code == ' ') code++;
    int n = (int) strcspn (code, "\n"), inner = depth;
    for (int i = 0; i < n && code[i] == '}'; i++) inner--;
    bool directive = *code == '#', comment = !strncmp (code, "//", 2);
    int indent = directive || !n ? 0 : 2 * (inner < 0 ? 0 : inner) + (open && inner == depth ? 4 : 0);
    cuda_print (t, "%*s%.*s\n", indent, "", n, code);
    for (int i = 0; i < n && !directive && strncmp (code + i, "//", 2); i++) {
      if (code[i] == '"')
        while (++i < n && code[i] != '"') i += code[i] == '\\';
      else depth += (code[i] == '{') - (code[i] == '}');
    }
    if (!directive && !comment) open = n && !strchr (";{}:,(", code[n - 1]);
    code += n + (code[n] == '\n');
  }
}

void cuda_text_free (cuda_text *t) {
  free (t->data);
  *t = (cuda_text){0};
}

/* ---- buffers, launches, arguments ---- */

/* What a generator's template builds on, beside common.cuh. */
static const struct {
  const char *name, *below[6];
} template_needs[] = {
    {"generic.cuh", {"mma.cuh", "async.cuh"}},
    {"stream.cuh", {"load.cuh", "mma.cuh", "async.cuh", "cluster.cuh"}},
    {"stream_ring.cuh", {"stream.cuh", "tile.cuh", "wgmma.cuh"}},
    {"chain.cuh", {"load.cuh", "mma.cuh", "async.cuh", "cluster.cuh", "tile.cuh", "wgmma.cuh"}},
    {"rows.cuh", {"load.cuh", "cluster.cuh"}},
    {"tiled.cuh", {"mma.cuh", "async.cuh", "cluster.cuh", "tile.cuh", "wgmma.cuh"}},
};

void cuda_use_template (cuda_emitter *e, const char *name) {
  for (size_t i = 0; i < sizeof template_needs / sizeof *template_needs; i++)
    for (int k = 0; k < 6 && template_needs[i].below[k] && !strcmp (template_needs[i].name, name); k++)
      cuda_use_template (e, template_needs[i].below[k]);
  for (int i = 0; i < CUDA_TEMPLATES; i++) {
    if (!e->template[i]) e->template[i] = name;
    if (!strcmp (e->template[i], name)) return;
  }
  e->full = true;
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
  print_list (&e->params[launch], declaration, list);
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

/* ---- addresses ---- */

void cuda_dense_strides (const int dim[4], int64_t stride[4]) {
  stride[3] = 1;
  for (int d = 2; d >= 0; d--) stride[d] = stride[d + 1] * dim[d + 1];
}

int64_t cuda_stride (const mugraph_shape *s, int d) {
  int64_t n = 1;
  for (int i = d + 1; i < s->n_dims; i++) n *= s->dim[i];
  return n;
}

void cuda_print_begin (cuda_text *t, const mugraph_block *b, const mugraph_op *o, const mugraph_shape *data, int d0,
                       int d1, int64_t unit) {
  for (int g = 0; g < 3; g++) {
    int d = o->map[g];
    if (d < d0 || d >= d1 || b->grid[g] == 1) continue;
    int64_t chunk = o->kind == MUGRAPH_OP_INPUT ? (data->dim[d] + b->grid[g] - 1) / b->grid[g] : o->shape.dim[d];
    cuda_print (t, unit == 1 ? " + (long long) b%c * %lld" : " + (int) b%c * %lld", "xyz"[g],
                (long long) (chunk * cuda_stride (data, d) / unit));
  }
}

void cuda_aligned (const mugraph_shape *s, int dim[4], int64_t stride[4]) {
  for (int d = 0; d < 4; d++) dim[d] = d < 4 - s->n_dims ? 1 : s->dim[d - (4 - s->n_dims)];
  cuda_dense_strides (dim, stride);
}

void cuda_print_index (cuda_text *t, const char *const at[4], const int dim[4], const int64_t stride[4]) {
  bool any = false, wide = false;
  for (int d = 0; d < 4; d++) wide |= (int64_t) dim[d] * stride[d] > INT32_MAX;
  for (int d = 0; d < 4; d++) {
    if (dim[d] == 1) continue;
    cuda_print (t, "%s%s%s", any ? " + " : "", wide ? "(long long) " : "", at[d]);
    if (stride[d] != 1) cuda_print (t, " * %lld", (long long) stride[d]);
    any = true;
  }
  if (!any) cuda_print (t, "0");
}

/* ---- expressions of thread graphs ---- */

void cuda_print_number (cuda_text *t, double x) {
  float f = (float) x;
  if (isinf (f)) {
    cuda_print (t, f > 0 ? "MS_INF" : "-MS_INF");
    return;
  }
  char digits[40];
  snprintf (digits, sizeof digits, "%.9g", (double) f);
  cuda_print (t, strpbrk (digits, ".e") ? "%sf" : "%s.0f", digits);
}

void cuda_print_op (cuda_text *t, const mugraph_op *o, const char *a, const char *b) {
  for (const char *p = mugraph_op_table[o->kind].cuda; *p; p++)
    if (*p != '$') cuda_print (t, "%c", *p);
    else switch (*++p) {
      case 'a': cuda_print (t, "%s", a); break;
      case 'b': cuda_print (t, "%s", b); break;
      default: cuda_print_number (t, o->c[*p - '0']);
      }
}

void cuda_print_walk (cuda_text *t, const cuda_walk *w, int i, uint64_t *done) {
  if (*done >> i & 1) return;
  *done |= (uint64_t) 1 << i;
  const mugraph_op *o = &w->block->op[i];
  cuda_text value = {0}, shift = {0};
  char a[48] = "", b[48] = "";
  if (o->kind == MUGRAPH_OP_CONST) cuda_print_number (&value, o->c[0]);
  else if (!w->materialised (w->user, i, &value)) {
    for (int k = 0; k < o->n_in; k++) {
      cuda_print_walk (t, w, o->in[k], done);
      snprintf (k ? b : a, sizeof a, "%s%d", w->prefix, o->in[k]);
    }
    if (w->value && w->value (w->user, i, a, b, &value))
      ;
    else if (o->kind == MUGRAPH_OP_EXP && w->shift && w->shift (w->user, i, &shift))
      cuda_print (&value, "ms_exp (%s - %s)", a, shift.data);
    else cuda_print_op (&value, o, a, b);
  }
  cuda_print (t, "const float %s%d = %s;\n", w->prefix, i, value.data ? value.data : "0.0f");
  if (value.failed || shift.failed) t->failed = true;
  cuda_text_free (&value);
  cuda_text_free (&shift);
}

void cuda_print_wgmma (cuda_text *t, mugraph_dtype dtype, int n) {
  const char *type = dtype == MUGRAPH_BF16 ? "bf16" : "f16";
  int r = n / 2;
  cuda_print (t, "\n#ifndef MS_WGMMA_%s_%d\n#define MS_WGMMA_%s_%d\ntemplate <> struct ms_wgmma<ms_%s, %d> {\n", type,
              n, type, n, type, n);
  for (int form = 0; form < 3; form++) { /* the left operand by descriptor, with and without d; in registers */
    bool add = form > 0, registers = form == 2;
    cuda_print (
        t, "  template <bool ROWS = false> MS_DEVICE static void %s (float (&d)[%d], %s, unsigned long long b) {\n",
        add ? "add" : "first", r, registers ? "const unsigned (&a)[4]" : "unsigned long long a");
    cuda_print (t, "    asm volatile (\"wgmma.mma_async.sync.aligned.m64n%dk16.f32.%s.%s {", n, type, type);
    for (int i = 0; i < r; i++) cuda_print (t, "%s%%%d", i ? ", " : "", i);
    if (registers)
      cuda_print (t, "}, {%%%d, %%%d, %%%d, %%%d}, %%%d, %d, 1, 1, %%%d;\"\n                  : ", r, r + 1, r + 2,
                  r + 3, r + 4, add, r + 5);
    else cuda_print (t, "}, %%%d, %%%d, %d, 1, 1, 0, %%%d;\"\n                  : ", r, r + 1, add, r + 2);
    for (int i = 0; i < r; i++) cuda_print (t, "%s\"%sf\" (d[%d])", i ? ", " : "", add ? "+" : "=", i);
    cuda_print (t, "\n                  : %s, \"l\" (b), \"n\" ((int) !ROWS));\n  }\n",
                registers ? "\"r\" (a[0]), \"r\" (a[1]), \"r\" (a[2]), \"r\" (a[3])" : "\"l\" (a)");
  }
  cuda_print (t, "};\n#endif\n");
}

/* ---- the kernel graph ---- */

static bool (*const generators[CUDA_N_GENERATORS]) (cuda_emitter *, int, const cuda_plan *, mugraph_error *) = {
    [CUDA_GENERATOR_GENERIC] = cuda_emit_generic, [CUDA_GENERATOR_STREAM] = cuda_emit_stream,
    [CUDA_GENERATOR_CHAIN] = cuda_emit_chain,     [CUDA_GENERATOR_ROWS] = cuda_emit_rows,
    [CUDA_GENERATOR_TILED] = cuda_emit_tiled,
};

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
    if (!generators[plan.backend](e, k, &plan, error)) return false;
  }
  copy_outputs (e);
  return true;
}

const char *cuda_template_text (const char *name) {
  for (const cuda_template_file *t = cuda_template_files; t->name; t++)
    if (!strcmp (t->name, name)) return t->text;
  assert (!"a template of this folder");
  return "";
}

int cuda_find_buffer (const cuda_program *p, int role, int index) {
  for (int i = 0; i < p->n_buffers; i++)
    if ((int) p->buffer[i].role == role && p->buffer[i].index == index) return i;
  return -1;
}

static bool join_source (cuda_emitter *e, mugraph_error *error) {
  cuda_text source = {0};
  cuda_print (&source, "%s", cuda_template_text ("common.cuh"));
  for (int i = 0; i < CUDA_TEMPLATES && e->template[i]; i++)
    cuda_print (&source, "\n%s", cuda_template_text (e->template[i]));
  cuda_print (&source, "%s", e->body.data ? e->body.data : "");
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

void cuda_program_free (cuda_program *p) {
  free (p->source);
  memset (p, 0, sizeof *p);
}
