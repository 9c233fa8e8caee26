/* Loading, running and timing emitted programs through the driver API.

   Every buffer lies between guard zones. Inputs exist once per set, in one allocation. Guards and everything that a
   launch is to write are filled with 0xff bytes, which is NaN in all data types: what is read before it was written, or
   from outside, shows in the result, and what is written outside shows in the guards. */
#include "launch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 1024, POISON = 0xff, ALIGN = 256 };

struct cuda_module {
  const cuda_driver *d;
  cu_module module;
  int sets, n_launches, n_buffers;
  cuda_launch launch[CUDA_LAUNCHES];
  cu_function function[CUDA_LAUNCHES];
  cuda_buffer buffer[CUDA_BUFFERS];
  cu_pointer base[CUDA_BUFFERS]; /* 0: not allocated */
  int64_t stride[CUDA_BUFFERS];  /* from one set to the next; 0 where all share the buffer */
  cu_tensor_map *map;            /* [set][launch with maps][argument], see map_index; NULL without TMA */
  int map_index[CUDA_LAUNCHES];  /* first map of the launch in a set, -1 none */
  int maps;                      /* of one set */
};

cu_pointer cuda_address (const cuda_module *m, int set, int buffer) {
  return m->base[buffer] + GUARD + (cu_pointer) set * (cu_pointer) m->stride[buffer];
}

static bool wait (const cuda_driver *d, const char *what, mugraph_error *e) {
  return cuda_check (d, d->stream_wait (d->stream), what, e);
}

static bool allocate (cuda_module *m, int i, mugraph_error *e) {
  const cuda_buffer *b = &m->buffer[i];
  int64_t slice = (b->bytes + 2 * GUARD + ALIGN - 1) / ALIGN * ALIGN, n = b->role == CUDA_BUFFER_INPUT ? m->sets : 1;
  char what[128];
  m->stride[i] = n > 1 ? slice : 0;
  snprintf (what, sizeof what, "%s: %lld bytes of device memory", b->name, (long long) (n * slice));
  if (!cuda_check (m->d, m->d->alloc (&m->base[i], (size_t) (n * slice)), what, e)) return false;
  if (!cuda_check (m->d, m->d->set_bytes (m->base[i], POISON, (size_t) (n * slice), m->d->stream), what, e))
    return false;
  return b->role != CUDA_BUFFER_ZERO ||
         cuda_check (m->d, m->d->set_bytes (cuda_address (m, 0, i), 0, (size_t) b->bytes, m->d->stream), what, e);
}

static bool load_function (cuda_module *m, int i, mugraph_error *e) {
  const cuda_launch *l = &m->launch[i];
  int cluster = l->cluster[0] * l->cluster[1] * l->cluster[2];
  if (!cuda_check (m->d, m->d->module_function (&m->function[i], m->module, l->name), l->name, e)) return false;
  if (l->smem > 48 * 1024 &&
      !cuda_check (m->d, m->d->function_set (m->function[i], CU_FUNCTION_MAX_DYNAMIC_SMEM, l->smem), l->name, e))
    return false;
  return cluster <= 8 ||
         cuda_check (m->d, m->d->function_set (m->function[i], CU_FUNCTION_NON_PORTABLE_CLUSTER, 1), l->name, e);
}

static bool encode_map (const cuda_module *m, int set, const cuda_arg *a, cu_tensor_map *map, const char *name,
                        mugraph_error *e) {
  static const int types[MUGRAPH_N_DTYPES] = {
      [MUGRAPH_F16] = CU_TENSOR_F16, [MUGRAPH_BF16] = CU_TENSOR_BF16, [MUGRAPH_F32] = CU_TENSOR_F32};
  static const uint32_t ones[5] = {1, 1, 1, 1, 1};
  int swizzle = a->swizzle == 128 ? 3 : a->swizzle == 64 ? 2 : a->swizzle == 32 ? 1 : 0;
  char what[128];
  if (!m->d->tensor_map)
    return mugraph_fail (e, "%s: the driver has no cuTensorMapEncodeTiled: too old, CUDA 12 or later is needed", name);
  snprintf (what, sizeof what, "%s: tensor map of %s", name, m->buffer[a->buffer].name);
  return cuda_check (m->d,
                     m->d->tensor_map (map, types[a->dtype], (unsigned) a->rank,
                                       (void *) (uintptr_t) cuda_address (m, set, a->buffer), a->dim, a->stride + 1,
                                       a->box, ones, 0, swizzle, CU_TENSOR_PROMOTE_128, 0),
                     what, e);
}

static bool encode_maps (cuda_module *m, mugraph_error *e) {
  for (int i = 0; i < m->n_launches; i++) {
    m->map_index[i] = m->maps;
    for (int a = 0; a < m->launch[i].n_args; a++) m->maps += m->launch[i].arg[a].kind == CUDA_ARG_TENSOR_MAP;
  }
  if (!m->maps) return true;
  m->map = aligned_alloc (64, (size_t) m->sets * (size_t) m->maps * sizeof *m->map);
  if (!m->map) return mugraph_fail (e, "out of memory");
  for (int set = 0; set < m->sets; set++)
    for (int i = 0, n = set * m->maps; i < m->n_launches; i++)
      for (int a = 0; a < m->launch[i].n_args; a++)
        if (m->launch[i].arg[a].kind == CUDA_ARG_TENSOR_MAP &&
            !encode_map (m, set, &m->launch[i].arg[a], &m->map[n++], m->launch[i].name, e))
          return false;
  return true;
}

cuda_module *cuda_load (const cuda_program *p, const char *cubin, size_t size, int input_sets, mugraph_error *e) {
  const cuda_driver *d = cuda_open_driver (e);
  (void) size; /* the image is an ELF file and knows its own */
  if (!d) return NULL;
  cuda_module *m = calloc (1, sizeof *m);
  if (!m) {
    mugraph_fail (e, "out of memory");
    return NULL;
  }
  m->d = d;
  m->sets = input_sets < 1 ? 1 : input_sets;
  m->n_launches = p->n_launches;
  m->n_buffers = p->n_buffers;
  memcpy (m->launch, p->launch, sizeof m->launch);
  memcpy (m->buffer, p->buffer, sizeof m->buffer);
  bool good = cuda_check (d, d->module_load (&m->module, cubin), "loading the compiled kernels", e);
  for (int i = 0; good && i < m->n_launches; i++) good = load_function (m, i, e);
  for (int i = 0; good && i < m->n_buffers; i++) good = allocate (m, i, e);
  if (good && encode_maps (m, e)) return m;
  cuda_unload (m);
  return NULL;
}

void cuda_unload (cuda_module *m) {
  if (!m) return;
  if (m->d->context_set (m->d->context)) return;
  m->d->stream_wait (m->d->stream);
  for (int i = 0; i < m->n_buffers; i++)
    if (m->base[i]) m->d->free (m->base[i]);
  if (m->module) m->d->module_unload (m->module);
  free (m->map);
  free (m);
}

static bool check_range (const cuda_module *m, int set, int buffer, int64_t bytes, mugraph_error *e) {
  if (set < 0 || set >= m->sets || buffer < 0 || buffer >= m->n_buffers || bytes < 0 || bytes > m->buffer[buffer].bytes)
    return mugraph_fail (e, "buffer %d of set %d: no %lld bytes there", buffer, set, (long long) bytes);
  return cuda_check (m->d, m->d->context_set (m->d->context), "cuCtxSetCurrent", e);
}

bool cuda_upload (cuda_module *m, int set, int buffer, const void *data, int64_t bytes, mugraph_error *e) {
  return check_range (m, set, buffer, bytes, e) &&
         cuda_check (m->d, m->d->upload (cuda_address (m, set, buffer), data, (size_t) bytes, m->d->stream),
                     m->buffer[buffer].name, e) &&
         wait (m->d, m->buffer[buffer].name, e);
}

bool cuda_download (cuda_module *m, int set, int buffer, void *data, int64_t bytes, mugraph_error *e) {
  return check_range (m, set, buffer, bytes, e) &&
         cuda_check (m->d, m->d->download (data, cuda_address (m, set, buffer), (size_t) bytes, m->d->stream),
                     m->buffer[buffer].name, e) &&
         wait (m->d, m->buffer[buffer].name, e);
}

/* ---- launching ---- */

static bool launch_one (const cuda_module *m, int set, int i, mugraph_error *e) {
  const cuda_launch *l = &m->launch[i];
  cu_pointer pointer[CUDA_ARGS];
  void *parameter[CUDA_ARGS];
  cu_launch_attribute attribute[2];
  cu_launch_config c = {.smem = (unsigned) l->smem, .stream = m->d->stream, .attribute = attribute};
  cu_tensor_map *map = m->map ? m->map + (size_t) set * (size_t) m->maps + m->map_index[i] : NULL;
  memset (attribute, 0, sizeof attribute);
  for (int a = 0; a < l->n_args; a++)
    if (l->arg[a].kind == CUDA_ARG_TENSOR_MAP) parameter[a] = map++;
    else {
      pointer[a] = cuda_address (m, set, l->arg[a].buffer);
      parameter[a] = &pointer[a];
    }
  for (int g = 0; g < 3; g++) c.grid[g] = (unsigned) l->grid[g], c.block[g] = g ? 1 : (unsigned) l->block;
  if (l->cluster[0] * l->cluster[1] * l->cluster[2] > 1) {
    cu_launch_attribute *x = &attribute[c.n_attributes++];
    x->id = CU_LAUNCH_CLUSTER;
    x->value.cluster.x = (unsigned) l->cluster[0], x->value.cluster.y = (unsigned) l->cluster[1],
    x->value.cluster.z = (unsigned) l->cluster[2];
  }
  if (l->pdl && m->d->arch >= 90) {
    attribute[c.n_attributes].id = CU_LAUNCH_PROGRAMMATIC;
    attribute[c.n_attributes++].value.programmatic = 1;
  }
  return cuda_check (m->d, m->d->launch (&c, m->function[i], parameter, NULL), l->name, e);
}

static bool launch_all (const cuda_module *m, int set, mugraph_error *e) {
  for (int i = 0; i < m->n_launches; i++)
    if (!launch_one (m, set, i, e)) return false;
  return true;
}

bool cuda_launch_simple (const cuda_driver *d, cu_function f, int64_t n_blocks, void *parameters[], mugraph_error *e) {
  cu_launch_config c = {
      .grid = {(unsigned) (n_blocks < 65535 ? n_blocks : 65535), 1, 1}, .block = {256, 1, 1}, .stream = d->stream};
  return cuda_check (d, d->launch (&c, f, parameters, NULL), "launch", e) && wait (d, "kernel", e);
}

static bool poison (const cuda_module *m, mugraph_error *e) {
  for (int i = 0; i < m->n_buffers; i++) {
    const cuda_buffer *b = &m->buffer[i];
    if ((b->role == CUDA_BUFFER_TEMP || b->role == CUDA_BUFFER_OUTPUT) &&
        !cuda_check (m->d, m->d->set_bytes (cuda_address (m, 0, i), POISON, (size_t) b->bytes, m->d->stream), b->name,
                     e))
      return false;
  }
  return wait (m->d, "cuMemsetD8Async", e);
}

static bool all_bytes (const unsigned char *p, int64_t n, unsigned char value) {
  for (int64_t i = 0; i < n; i++)
    if (p[i] != value) return false;
  return true;
}

static bool check_guards (const cuda_module *m, int set, mugraph_error *e) {
  unsigned char guard[GUARD];
  for (int i = 0; i < m->n_buffers; i++) {
    const cuda_buffer *b = &m->buffer[i];
    cu_pointer p = cuda_address (m, set, i);
    for (int side = 0; side < 2; side++) {
      if (!cuda_check (m->d, m->d->download (guard, side ? p + (cu_pointer) b->bytes : p - GUARD, GUARD, m->d->stream),
                       b->name, e) ||
          !wait (m->d, b->name, e))
        return false;
      if (!all_bytes (guard, GUARD, POISON))
        return mugraph_fail (e, "%s: a kernel wrote %s the buffer", b->name, side ? "beyond" : "before");
    }
    if (b->role != CUDA_BUFFER_ZERO) continue;
    unsigned char *text = malloc ((size_t) b->bytes);
    bool good = text && cuda_check (m->d, m->d->download (text, p, (size_t) b->bytes, m->d->stream), b->name, e) &&
                wait (m->d, b->name, e);
    bool zero = good && all_bytes (text, b->bytes, 0);
    free (text);
    if (!good) return false;
    if (!zero) return mugraph_fail (e, "%s: the kernels leave the counters different from zero", b->name);
  }
  return true;
}

bool cuda_run (cuda_module *m, int set, mugraph_error *e) {
  return check_range (m, set, 0, 0, e) && poison (m, e) && launch_all (m, set, e) &&
         cuda_check (m->d, m->d->stream_wait (m->d->stream), "running the kernels", e) && check_guards (m, set, e);
}

/* ---- timing ---- */

static int by_value (const void *a, const void *b) {
  double x = *(const double *) a, y = *(const double *) b;
  return (x > y) - (x < y);
}

static bool capture (cuda_module *m, int calls, int first, cu_graph_exec *exec, mugraph_error *e) {
  cu_graph graph = NULL;
  *exec = NULL;
  if (!cuda_check (m->d, m->d->capture_begin (m->d->stream, CU_CAPTURE_THREAD_LOCAL), "capturing a CUDA graph", e))
    return false;
  bool good = true;
  for (int i = 0; good && i < calls; i++) good = launch_all (m, (first + i) % m->sets, e);
  cu_result r = m->d->capture_end (m->d->stream, &graph); /* also after a failed launch */
  good = good && cuda_check (m->d, r, "capturing a CUDA graph", e) &&
         cuda_check (m->d, m->d->graph_instantiate (exec, graph, 0), "instantiating a CUDA graph", e);
  if (graph) m->d->graph_destroy (graph);
  return good;
}

static bool replay (const cuda_module *m, cu_graph_exec exec, cu_event begin, cu_event end, float *ms,
                    mugraph_error *e) {
  return cuda_check (m->d, m->d->event_record (begin, m->d->stream), "cuEventRecord", e) &&
         cuda_check (m->d, m->d->graph_launch (exec, m->d->stream), "cuGraphLaunch", e) &&
         cuda_check (m->d, m->d->event_record (end, m->d->stream), "cuEventRecord", e) &&
         cuda_check (m->d, m->d->event_wait (end), "replaying the CUDA graph", e) &&
         cuda_check (m->d, m->d->event_elapsed (ms, begin, end), "cuEventElapsedTime", e);
}

enum { GRAPHS = 30 };

/* More sets than calls: several graphs of as many calls, replayed in turn, so that all sets are used. */
bool cuda_time (cuda_module *m, int calls, int replays, double *median_us, double *spread_us, mugraph_error *e) {
  cu_graph_exec exec[GRAPHS] = {NULL};
  cu_event begin = NULL, end = NULL;
  double *us = malloc (sizeof *us * (size_t) replays);
  int graphs = (m->sets + calls - 1) / calls;
  if (graphs > GRAPHS) graphs = GRAPHS;
  bool good = us ? check_range (m, 0, 0, 0, e) : mugraph_fail (e, "out of memory");
  good = good && cuda_check (m->d, m->d->event_create (&begin, 0), "cuEventCreate", e) &&
         cuda_check (m->d, m->d->event_create (&end, 0), "cuEventCreate", e);
  for (int i = 0; good && i < 2; i++)
    good = launch_all (m, 0, e); /* code and constants are loaded by the first launch */
  good = good && cuda_check (m->d, m->d->stream_wait (m->d->stream), "running the kernels", e);
  for (int i = 0; good && i < graphs; i++) good = capture (m, calls, i * calls, &exec[i], e);
  for (int i = -graphs; good && i < replays; i++) { /* once each to warm up */
    float ms = 0;
    good = replay (m, exec[(i + graphs) % graphs], begin, end, &ms, e);
    if (i >= 0) us[i] = 1000.0 * (double) ms / calls;
  }
  if (good) {
    qsort (us, (size_t) replays, sizeof *us, by_value);
    *median_us = replays % 2 ? us[replays / 2] : (us[replays / 2 - 1] + us[replays / 2]) / 2;
    if (spread_us) *spread_us = us[(replays - 1) * 9 / 10] - us[(replays - 1) / 10];
  }
  for (int i = 0; i < graphs; i++)
    if (exec[i]) m->d->graph_exec_destroy (exec[i]);
  if (begin) m->d->event_destroy (begin);
  if (end) m->d->event_destroy (end);
  free (us);
  return good;
}
