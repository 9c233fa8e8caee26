// ---- host side of an emitted file ----
#include <cuda_runtime.h>
#include <stdio.h>
#include <stdlib.h>

#define MS_TRY(call)                                                                                                   \
  do {                                                                                                                 \
    const cudaError_t status = (call);                                                                                 \
    if (status != cudaSuccess) return status;                                                                          \
  } while (0)

// One launch. cluster: blocks of a cluster, 1 none; pdl: may start before the launch in front of it has ended.
static cudaError_t ms_launch (const void *kernel, dim3 grid, int block, dim3 cluster, int smem, bool pdl,
                              void **arguments, cudaStream_t stream) {
  const unsigned blocks = cluster.x * cluster.y * cluster.z;
  cudaLaunchAttribute attribute[2];
  cudaLaunchConfig_t config = {};
  if (smem > 48 * 1024) MS_TRY (cudaFuncSetAttribute (kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, smem));
  if (blocks > 8) MS_TRY (cudaFuncSetAttribute (kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1));
  config.gridDim = grid, config.blockDim = dim3 (block), config.dynamicSmemBytes = smem, config.stream = stream,
  config.attrs = attribute;
  if (blocks > 1) {
    attribute[config.numAttrs].id = cudaLaunchAttributeClusterDimension;
    attribute[config.numAttrs].val.clusterDim.x = cluster.x;
    attribute[config.numAttrs].val.clusterDim.y = cluster.y;
    attribute[config.numAttrs++].val.clusterDim.z = cluster.z;
  }
  if (pdl) {
    attribute[config.numAttrs].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute[config.numAttrs++].val.programmaticStreamSerializationAllowed = 1;
  }
  return cudaLaunchKernelExC (&config, kernel, arguments);
}

// A TMA descriptor; the driver's encoder is found through the runtime, so that nothing but nvcc is needed to build.
[[maybe_unused]] static cudaError_t ms_encode (ms_tensor_map *map, int type, unsigned rank, const void *address,
                                               const unsigned long long *dim, const unsigned long long *stride,
                                               const unsigned *box, int swizzle) {
  typedef int encoder (ms_tensor_map *, int, unsigned, const void *, const unsigned long long *,
                       const unsigned long long *, const unsigned *, const unsigned *, int, int, int, int);
  static const unsigned ones[5] = {1, 1, 1, 1, 1};
  void *entry = NULL;
  cudaDriverEntryPointQueryResult found;
#if CUDART_VERSION >= 12050
  MS_TRY (cudaGetDriverEntryPointByVersion ("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &found));
#else
  MS_TRY (cudaGetDriverEntryPoint ("cuTensorMapEncodeTiled", &entry, cudaEnableDefault, &found));
#endif
  if (found != cudaDriverEntryPointSuccess) return cudaErrorNotSupported;
  return ((encoder *) entry) (map, type, rank, address, dim, stride, box, ones, 0, swizzle, 2, 0)
             ? cudaErrorInvalidValue
             : cudaSuccess;
}
