// Hopper's asynchronous units (sm_90a): wgmma, the tensor copy engine, mbarriers, clusters. One instruction a function.

// Kernels that use them trap elsewhere: nvcc -arch=sm_90a also makes code for compute_90, which has no wgmma. Under
// NVRTC, sm_90 always means sm_90a here.
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL) || (defined(__CUDACC_RTC__) && __CUDA_ARCH__ >= 900)
#define MS_SM90A
#endif

// ---- mbarriers; addresses are in the shared window ----

MS_DEVICE void ms_barrier_init (unsigned barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
// Makes initialised barriers known to the copy engine and to the other blocks of the cluster.
MS_DEVICE void ms_barrier_init_fence () {
  asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async.shared::cta;" ::: "memory");
}
MS_DEVICE void ms_barrier_arrive (unsigned barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
MS_DEVICE void ms_barrier_expect (unsigned barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
MS_DEVICE void ms_barrier_wait (unsigned barrier, unsigned parity) {
  asm volatile(
      "{\n.reg .pred p;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@!p bra again;\n}" ::"r"(
          barrier),
      "r"(parity)
      : "memory");
}

// A barrier of so many threads, whole warps; 0 is __syncthreads ().
MS_DEVICE void ms_barrier_named (int name, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(name), "r"(threads) : "memory");
}

// ---- tensor copies: a box of a tensor map to shared memory, counted on a barrier ----

MS_DEVICE void ms_copy_box (unsigned to, const ms_tensor_map *map, int x, int y, int z, unsigned barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];" ::
          "r"(to),
      "l"(map), "r"(x), "r"(y), "r"(z), "r"(barrier)
      : "memory");
}
// Asks for a map early: the first copy would wait for it.
MS_DEVICE void ms_prefetch_map (const ms_tensor_map *map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
// Ordinary stores to shared memory become visible to the copy engine and to wgmma.
MS_DEVICE void ms_fence_async () { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// ---- registers: a warpgroup gives some up, another waits until it has so many a thread ----

template <int n> MS_DEVICE void ms_registers_less () { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(n)); }
template <int n> MS_DEVICE void ms_registers_more () { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(n)); }

// ---- clusters ----

MS_DEVICE unsigned ms_cluster_address (unsigned address, int rank) {
  unsigned there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
  return there;
}
MS_DEVICE void ms_cluster_arrive () { asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory"); }
MS_DEVICE void ms_cluster_wait () { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
// Stores to a block of the cluster, counted on a barrier of that block.
MS_DEVICE void ms_send (unsigned to, unsigned barrier, unsigned a) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %2, [%1];" ::"r"(to), "r"(barrier),
               "r"(a)
               : "memory");
}
MS_DEVICE void ms_send (unsigned to, unsigned barrier, unsigned a, unsigned b) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%0], {%2, %3}, [%1];" ::"r"(to),
               "r"(barrier), "r"(a), "r"(b)
               : "memory");
}
MS_DEVICE void ms_send (unsigned to, unsigned barrier, unsigned a, unsigned b, unsigned c, unsigned d) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%2, %3, %4, %5}, [%1];" ::"r"(to),
               "r"(barrier), "r"(a), "r"(b), "r"(c), "r"(d)
               : "memory");
}

// ---- wgmma ----

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
// Descriptor of a B operand whose columns (N) are contiguous: 64 columns a row of 128 bytes, rows swizzled by 128
// bytes, 8 rows a group of 1024 bytes, chunk bytes from one 64 columns to the next.
MS_DEVICE unsigned long long ms_columns (unsigned address16, int chunk) {
  unsigned long long d;
  asm("mov.b64 %0, {%1, %2};"
      : "=l"(d)
      : "r"(address16 | (unsigned) (chunk >> 4) << 16), "r"(0x40000000u | 1024u >> 4));
  return d;
}
// Where the contracted dimension (K) is contiguous, as in a always and with ROWS in b too, the descriptor has the same
// form: 64 of K a row of 128 bytes, a row for each of M or N, 16 of K 32 bytes further on; chunk has no meaning: 16.
// m64nNk16: d (64 x N, f32) = a b (first) or a b + d (add); a: fragments of 64 rows or a descriptor, b: a descriptor.
// Printed for the N in use.
template <class T, int N> struct ms_wgmma;
