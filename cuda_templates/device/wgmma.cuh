// A warpgroup's matrix instructions (sm_90a): asynchronous products of 64 rows, right operands in shared memory, and
// the registers that they want. Operands in shared memory are given by descriptors (tile.cuh).

// Kernels that use them trap elsewhere: nvcc -arch=sm_90a also makes code for compute_90, which has no wgmma. Under
// NVRTC, sm_90 always means sm_90a here.
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL) || (defined(__CUDACC_RTC__) && __CUDA_ARCH__ >= 900)
#define MS_SM90A
#endif

// ---- threads ----

// A barrier of so many threads, whole warps of a block; the name 0 is that of __syncthreads ().
MS_DEVICE void ms_warps_sync (int name, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(name), "r"(threads) : "memory");
}

// A warpgroup gives registers up; another waits until it has so many a thread.
template <int n> MS_DEVICE void ms_warpgroup_registers_less () {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(n));
}
template <int n> MS_DEVICE void ms_warpgroup_registers_more () {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(n));
}

// ---- products ----

// Registers that an asynchronous instruction may be reading or writing: nothing moves across.
template <int N> MS_DEVICE void ms_keep (float (&r)[N]) {
#pragma unroll
  for (int i = 0; i < N; i++) asm volatile("" : "+f"(r[i])::"memory");
}
template <int N> MS_DEVICE void ms_keep (unsigned (&r)[N]) {
#pragma unroll
  for (int i = 0; i < N; i++) asm volatile("" : "+r"(r[i])::"memory");
}
template <class T, int M, int N> MS_DEVICE void ms_keep (T (&r)[M][N]) {
#pragma unroll
  for (int i = 0; i < M; i++) ms_keep (r[i]);
}

MS_DEVICE void ms_wgmma_fence () { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
MS_DEVICE void ms_wgmma_commit () { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int pending = 0> MS_DEVICE void ms_wgmma_wait () {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}
// m64nNk16: d (64 x N, f32) = a b (first) or a b + d (add); a: fragments of 64 rows or a descriptor, b: a descriptor.
// ROWS: each column of b has its 16 k side by side, as the rows of a always have. Printed for the N in use.
template <class T, int N> struct ms_wgmma;
