/* The few types and entry points of the CUDA driver API and of NVRTC that we use, declared by ourselves so that no CUDA
   header is needed to build, and opened at run time. Sources: cuda.h and nvrtc.h of CUDA 12 and 13 (the layouts below
   have been the same since 11.8). */
#ifndef CUDA_TEMPLATES_CUDA_API_H
#define CUDA_TEMPLATES_CUDA_API_H

#include "mugraph/mugraph.h"

typedef int cu_result; /* 0: success */
typedef int cu_device;
typedef struct cu_context_ *cu_context;
typedef struct cu_module_ *cu_module;
typedef struct cu_function_ *cu_function;
typedef struct cu_stream_ *cu_stream;
typedef struct cu_event_ *cu_event;
typedef struct cu_graph_ *cu_graph;
typedef struct cu_graph_exec_ *cu_graph_exec;
typedef unsigned long long cu_pointer;

typedef struct {
  _Alignas(64) uint64_t opaque[16];
} cu_tensor_map;

typedef struct {
  int id;
  char pad[4];
  union {
    char room[64];
    struct {
      unsigned x, y, z;
    } cluster;
    int programmatic;
  } value;
} cu_launch_attribute;

typedef struct {
  unsigned grid[3], block[3], smem;
  cu_stream stream;
  cu_launch_attribute *attribute;
  unsigned n_attributes;
} cu_launch_config;

enum {
  CU_LAUNCH_CLUSTER = 4,
  CU_LAUNCH_PROGRAMMATIC = 6,
  CU_FUNCTION_LOCAL_BYTES = 3,
  CU_FUNCTION_REGISTERS = 4,
  CU_FUNCTION_MAX_DYNAMIC_SMEM = 8,
  CU_FUNCTION_NON_PORTABLE_CLUSTER = 14,
  CU_DEVICE_SMS = 16,
  CU_DEVICE_L2 = 38,
  CU_DEVICE_MAJOR = 75,
  CU_DEVICE_MINOR = 76,
  CU_DEVICE_SMEM_OPTIN = 97,
  CU_STREAM_NONBLOCKING = 1,
  CU_CAPTURE_THREAD_LOCAL = 1,
  CU_TENSOR_F16 = 6,
  CU_TENSOR_F32 = 7,
  CU_TENSOR_BF16 = 9,
  CU_TENSOR_PROMOTE_128 = 2
};

/* ENTRY (field, symbol, parameters) */
#define CUDA_DRIVER_ENTRIES                                                                                            \
  ENTRY (init, "cuInit", (unsigned) )                                                                                  \
  ENTRY (driver_version, "cuDriverGetVersion", (int *) )                                                               \
  ENTRY (error_string, "cuGetErrorString", (cu_result, const char **) )                                                \
  ENTRY (device_count, "cuDeviceGetCount", (int *) )                                                                   \
  ENTRY (device_get, "cuDeviceGet", (cu_device *, int) )                                                               \
  ENTRY (device_name, "cuDeviceGetName", (char *, int, cu_device))                                                     \
  ENTRY (device_attribute, "cuDeviceGetAttribute", (int *, int, cu_device))                                            \
  ENTRY (context_retain, "cuDevicePrimaryCtxRetain", (cu_context *, cu_device))                                        \
  ENTRY (context_set, "cuCtxSetCurrent", (cu_context))                                                                 \
  ENTRY (memory_info, "cuMemGetInfo_v2", (size_t *, size_t *) )                                                        \
  ENTRY (alloc, "cuMemAlloc_v2", (cu_pointer *, size_t))                                                               \
  ENTRY (free, "cuMemFree_v2", (cu_pointer))                                                                           \
  ENTRY (upload, "cuMemcpyHtoDAsync_v2", (cu_pointer, const void *, size_t, cu_stream))                                \
  ENTRY (download, "cuMemcpyDtoHAsync_v2", (void *, cu_pointer, size_t, cu_stream))                                    \
  ENTRY (set_bytes, "cuMemsetD8Async", (cu_pointer, unsigned char, size_t, cu_stream))                                 \
  ENTRY (stream_create, "cuStreamCreate", (cu_stream *, unsigned) )                                                    \
  ENTRY (stream_wait, "cuStreamSynchronize", (cu_stream))                                                              \
  ENTRY (context_wait, "cuCtxSynchronize", (void) )                                                                    \
  ENTRY (capture_begin, "cuStreamBeginCapture_v2", (cu_stream, int) )                                                  \
  ENTRY (capture_end, "cuStreamEndCapture", (cu_stream, cu_graph *) )                                                  \
  ENTRY (graph_instantiate, "cuGraphInstantiateWithFlags", (cu_graph_exec *, cu_graph, unsigned long long) )           \
  ENTRY (graph_launch, "cuGraphLaunch", (cu_graph_exec, cu_stream))                                                    \
  ENTRY (graph_destroy, "cuGraphDestroy", (cu_graph))                                                                  \
  ENTRY (graph_exec_destroy, "cuGraphExecDestroy", (cu_graph_exec))                                                    \
  ENTRY (event_create, "cuEventCreate", (cu_event *, unsigned) )                                                       \
  ENTRY (event_destroy, "cuEventDestroy_v2", (cu_event))                                                               \
  ENTRY (event_record, "cuEventRecord", (cu_event, cu_stream))                                                         \
  ENTRY (event_wait, "cuEventSynchronize", (cu_event))                                                                 \
  ENTRY (event_elapsed, "cuEventElapsedTime", (float *, cu_event, cu_event))                                           \
  ENTRY (module_load, "cuModuleLoadData", (cu_module *, const void *) )                                                \
  ENTRY (module_unload, "cuModuleUnload", (cu_module))                                                                 \
  ENTRY (module_function, "cuModuleGetFunction", (cu_function *, cu_module, const char *) )                            \
  ENTRY (function_set, "cuFuncSetAttribute", (cu_function, int, int) )                                                 \
  ENTRY (launch, "cuLaunchKernelEx", (const cu_launch_config *, cu_function, void **, void **) )

typedef struct nvrtc_program_ *nvrtc_program;

#define CUDA_NVRTC_ENTRIES                                                                                             \
  ENTRY (version, "nvrtcVersion", (int *, int *) )                                                                     \
  ENTRY (create, "nvrtcCreateProgram",                                                                                 \
         (nvrtc_program *, const char *, const char *, int, const char *const *, const char *const *) )                \
  ENTRY (destroy, "nvrtcDestroyProgram", (nvrtc_program *) )                                                           \
  ENTRY (compile, "nvrtcCompileProgram", (nvrtc_program, int, const char *const *) )                                   \
  ENTRY (cubin_size, "nvrtcGetCUBINSize", (nvrtc_program, size_t *) )                                                  \
  ENTRY (cubin, "nvrtcGetCUBIN", (nvrtc_program, char *) )                                                             \
  ENTRY (log_size, "nvrtcGetProgramLogSize", (nvrtc_program, size_t *) )                                               \
  ENTRY (log, "nvrtcGetProgramLog", (nvrtc_program, char *) )

typedef struct {
#define ENTRY(field, symbol, parameters) int (*field) parameters;
  CUDA_DRIVER_ENTRIES
#undef ENTRY
  /* absent from drivers before 12; NULL then */
  cu_result (*tensor_map) (cu_tensor_map *, int type, unsigned rank, void *address, const uint64_t *dim,
                           const uint64_t *stride, const uint32_t *box, const uint32_t *element_stride, int interleave,
                           int swizzle, int promotion, int fill);
  cu_device device;   /* the first GPU */
  cu_context context; /* its primary context, retained for the life of the process */
  cu_stream stream;   /* the only one: where work goes to several streams by turns, all small kernels become slower for
                         good (H100: 2.0 to 2.4 us) */
  char name[128];
  int arch, sms, l2_bytes;
} cuda_driver;

typedef struct {
#define ENTRY(field, symbol, parameters) int (*field) parameters;
  CUDA_NVRTC_ENTRIES
#undef ENTRY
  int number; /* 1000 major + 10 minor */
} cuda_nvrtc;

/* Opened once, at the first call, from any thread. NULL with the reason in e when there is none. */
const cuda_nvrtc *cuda_open_nvrtc (mugraph_error *e);
/* With a GPU; sets its context for the calling thread. */
const cuda_driver *cuda_open_driver (mugraph_error *e);
/* The driver's version even where it has no GPU; 0: no driver. */
int cuda_driver_version (void);

/* False with "what: driver's text" when r is an error. */
bool cuda_check (const cuda_driver *, cu_result r, const char *what, mugraph_error *e);

#endif
