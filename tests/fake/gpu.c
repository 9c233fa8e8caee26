/* A GPU that does nothing, as a libcuda.so.1 and a libnvrtc in one, for tests of what stands above the driver. Memory
   is host memory, a "cubin" is the source itself, kernels leave everything as it was: outputs stay poisoned with NaN
   like the reference's, so every kernel is right. A launch takes a time that depends on its source and on how it is
   launched.

   FAKE_GPU_CRASH=N: the N-th module that a process loads goes astray when it runs, and the process can do nothing more.
   FAKE_GPU_KILL=N: that takes the process with it. FAKE_GPU_WRONG=N: it writes something else. Each happens once, as
   long as the file ./happened is there. */
#include "cuda_templates/runtime/cuda_api.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

enum { ILLEGAL_INSTRUCTION = 715, INVALID = 1, GUARD = 1024 };

typedef struct {
  int number;
  double us; /* of one launch of any of its kernels */
} module;

typedef struct {
  double us;
} graph;

static int lost, modules;
static bool capturing, wrong; /* wrong: what is downloaded next, guards aside */
static double now_us;
static graph recorded;

/* Whether this is to happen to module number n, and has not happened yet. */
static bool happens (const char *name, int n) {
  const char *value = getenv (name);
  if (!value || atoi (value) != n || !access ("happened", F_OK)) return false;
  FILE *f = fopen ("happened", "w");
  return f && !fclose (f);
}

#define CALL(name, ...)                                                                                                \
  int name (__VA_ARGS__);                                                                                              \
  int name (__VA_ARGS__)
CALL (cuInit, unsigned flags) { return (int) flags; }
CALL (cuDriverGetVersion, int *v) { return *v = 13000, 0; }
CALL (cuGetErrorString, int r, const char **text) {
  return *text = r == ILLEGAL_INSTRUCTION ? "an illegal instruction was encountered" : "error", 0;
}
CALL (cuDeviceGetCount, int *n) { return *n = 1, 0; }
CALL (cuDeviceGet, cu_device *d, int i) { return *d = i, 0; }
CALL (cuDeviceGetName, char *name, int size, cu_device d) {
  return snprintf (name, (size_t) size, "Pretended H100 %d", d), 0;
}
CALL (cuDeviceGetAttribute, int *value, int what, cu_device d) {
  *value = what == CU_DEVICE_MAJOR   ? 9
           : what == CU_DEVICE_MINOR ? 0
           : what == CU_DEVICE_SMS   ? 132
           : what == CU_DEVICE_L2    ? 1 << 16
                                     : d;
  return 0;
}
CALL (cuDevicePrimaryCtxRetain, cu_context *c, cu_device d) { return *c = (cu_context) (&lost + d), 0; }
CALL (cuCtxSetCurrent, cu_context c) { return c ? 0 : INVALID; }
CALL (cuMemGetInfo_v2, size_t *available, size_t *all) { return *available = *all = (size_t) 1 << 32, lost; }
CALL (cuMemAlloc_v2, cu_pointer *p, size_t n) {
  if (lost) return lost;
  return *p = (cu_pointer) (uintptr_t) malloc (n), *p ? 0 : 2;
}
CALL (cuMemFree_v2, cu_pointer p) { return free ((void *) (uintptr_t) p), lost; }
CALL (cuMemcpyHtoDAsync_v2, cu_pointer to, const void *from, size_t n, cu_stream s) {
  return memcpy ((void *) (uintptr_t) to, from, n), s ? lost : INVALID;
}
CALL (cuMemcpyDtoHAsync_v2, void *to, cu_pointer from, size_t n, cu_stream s) {
  memcpy (to, (const void *) (uintptr_t) from, n);
  if (wrong && n != GUARD) memset (to, 0, 2), wrong = false;
  return s ? lost : INVALID;
}
CALL (cuMemsetD8Async, cu_pointer p, unsigned char value, size_t n, cu_stream s) {
  return memset ((void *) (uintptr_t) p, value, n), s ? lost : INVALID;
}
CALL (cuStreamCreate, cu_stream *s, unsigned flags) { return *s = (cu_stream) &modules, (void) flags, lost; }
CALL (cuStreamSynchronize, cu_stream s) { return s ? lost : INVALID; }
CALL (cuCtxSynchronize, void) { return lost; }
CALL (cuStreamBeginCapture_v2, cu_stream s, int mode) {
  recorded = (graph){0}, capturing = true;
  return s || mode ? lost : INVALID;
}
CALL (cuStreamEndCapture, cu_stream s, cu_graph *g) {
  graph *made = malloc (sizeof *made);
  *made = recorded, capturing = false, *g = (cu_graph) made;
  return s ? lost : INVALID;
}
CALL (cuGraphInstantiateWithFlags, cu_graph_exec *e, cu_graph g, unsigned long long flags) {
  graph *made = malloc (sizeof *made);
  *made = *(graph *) g, *e = (cu_graph_exec) made;
  return flags ? INVALID : lost;
}
CALL (cuGraphLaunch, cu_graph_exec e, cu_stream s) { return now_us += ((graph *) e)->us, s ? lost : INVALID; }
CALL (cuGraphDestroy, cu_graph g) { return free (g), 0; }
CALL (cuGraphExecDestroy, cu_graph_exec e) { return free (e), 0; }
CALL (cuEventCreate, cu_event *e, unsigned flags) {
  double *made = malloc (sizeof *made);
  *e = (cu_event) made;
  return flags ? INVALID : lost;
}
CALL (cuEventDestroy_v2, cu_event e) { return free (e), 0; }
CALL (cuEventRecord, cu_event e, cu_stream s) { return *(double *) e = now_us, s ? lost : INVALID; }
CALL (cuEventSynchronize, cu_event e) { return e ? lost : INVALID; }
CALL (cuEventElapsedTime, float *ms, cu_event a, cu_event b) {
  return *ms = (float) (1e-3 * (*(double *) b - *(double *) a)), lost;
}
CALL (cuModuleLoadData, cu_module *m, const void *image) {
  if (lost) return lost;
  module *made = malloc (sizeof *made);
  made->number = ++modules;
  made->us = 5 + (double) (XXH3_64bits (image, strlen (image)) % 1000) / 500;
  *m = (cu_module) made;
  return 0;
}
CALL (cuModuleUnload, cu_module m) { return free (m), lost; }
CALL (cuModuleGetFunction, cu_function *f, cu_module m, const char *name) {
  return *f = (cu_function) m, *name ? lost : INVALID;
}
CALL (cuFuncSetAttribute, cu_function f, int what, int value) { return f && what && value ? lost : INVALID; }
CALL (cuLaunchKernelEx, const cu_launch_config *c, cu_function f, void **parameter, void **extra) {
  const module *m = (const module *) f;
  bool pdl = false;
  for (unsigned i = 0; i < c->n_attributes; i++) pdl |= c->attribute[i].id == CU_LAUNCH_PROGRAMMATIC;
  if (capturing) recorded.us += m->us * (pdl ? 0.8 : 1);
  else if (happens ("FAKE_GPU_WRONG", m->number)) wrong = true;
  else if (happens ("FAKE_GPU_CRASH", m->number)) return lost = ILLEGAL_INSTRUCTION, 0; /* seen by who waits */
  else if (happens ("FAKE_GPU_KILL", m->number)) raise (SIGSEGV);
  return extra || !parameter ? INVALID : lost;
}
CALL (cuTensorMapEncodeTiled, void *map) { return memset (map, 0, sizeof (cu_tensor_map)), 0; }

/* ---- NVRTC: a program is a copy of its source ---- */

CALL (nvrtcVersion, int *major, int *minor) { return *major = 13, *minor = 0, 0; }
CALL (nvrtcCreateProgram, nvrtc_program *p, const char *source) { return *p = (nvrtc_program) strdup (source), 0; }
CALL (nvrtcDestroyProgram, nvrtc_program *p) { return free (*p), *p = NULL, 0; }
CALL (nvrtcCompileProgram, nvrtc_program p) { return p ? 0 : INVALID; }
CALL (nvrtcGetCUBINSize, nvrtc_program p, size_t *n) { return *n = strlen ((const char *) p) + 1, 0; }
CALL (nvrtcGetCUBIN, nvrtc_program p, char *to) { return strcpy (to, (const char *) p), 0; }
CALL (nvrtcGetProgramLogSize, nvrtc_program p, size_t *n) { return *n = p ? 1 : 0, 0; }
CALL (nvrtcGetProgramLog, nvrtc_program p, char *to) { return *to = 0, p ? 0 : INVALID; }
