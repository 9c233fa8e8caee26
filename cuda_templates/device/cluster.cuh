// Blocks of a cluster (sm_90): addresses in each other's shared memory, the barrier that all of them share, stores.
// `rank` is a block's place in its cluster.

// An address of this block's shared memory as that of the same place in block `rank`.
MS_DEVICE unsigned ms_cluster_address (unsigned address, int rank) {
  unsigned there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
  return there;
}

// ---- the cluster's barrier, for all threads of its blocks ----

MS_DEVICE void ms_cluster_arrive () { asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory"); }
// What this thread has stored before is seen after the wait.
MS_DEVICE void ms_cluster_arrive_release () { asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory"); }
MS_DEVICE void ms_cluster_wait () { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
MS_DEVICE void ms_cluster_sync () {
  ms_cluster_arrive_release ();
  ms_cluster_wait ();
}

// ---- stores to other blocks, at addresses from ms_cluster_address ----

MS_DEVICE void ms_cluster_store (unsigned to, float x) {
  asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(to), "f"(x) : "memory");
}
// Arrives at a barrier of another block.
MS_DEVICE void ms_cluster_barrier_arrive (unsigned barrier) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(barrier) : "memory");
}
// Asynchronous stores, counted in bytes on a barrier of the block that they go to.
MS_DEVICE void ms_cluster_send (unsigned to, unsigned barrier, unsigned a) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %2, [%1];" ::"r"(to), "r"(barrier),
               "r"(a)
               : "memory");
}
MS_DEVICE void ms_cluster_send (unsigned to, unsigned barrier, unsigned a, unsigned b) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%0], {%2, %3}, [%1];" ::"r"(to),
               "r"(barrier), "r"(a), "r"(b)
               : "memory");
}
MS_DEVICE void ms_cluster_send (unsigned to, unsigned barrier, unsigned a, unsigned b, unsigned c, unsigned d) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%2, %3, %4, %5}, [%1];" ::"r"(to),
               "r"(barrier), "r"(a), "r"(b), "r"(c), "r"(d)
               : "memory");
}
