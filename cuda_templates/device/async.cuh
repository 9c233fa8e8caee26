// Asynchronous copies from device to shared memory, and the barriers that say when they have ended. One instruction a
// function, what is written first. Addresses of shared memory are those of ms_shared_address.

// ---- copies by a thread (sm_80) ----

// 16 bytes; the part beyond `valid` bytes is filled with zeros.
MS_DEVICE void ms_copy_async (unsigned to, const void *from, int valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(valid) : "memory");
}
MS_DEVICE void ms_copy_commit () { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int pending> MS_DEVICE void ms_copy_wait () {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// ---- fences (sm_90) ----

// Ordinary stores to shared memory become visible to the copy engine and to wgmma.
MS_DEVICE void ms_fence_async () { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// What earlier launches wrote becomes visible to the copy engine.
MS_DEVICE void ms_fence_async_all () { asm volatile("fence.proxy.async;" ::: "memory"); }

// ---- mbarriers of this block (sm_90) ----

// A phase ends after so many arrivals.
MS_DEVICE void ms_barrier_init (unsigned barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
// Initialised barriers become known to the other blocks of the cluster.
MS_DEVICE void ms_fence_barrier_init () { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
// And to the copy engine.
MS_DEVICE void ms_barrier_init_fence () {
  ms_fence_barrier_init ();
  ms_fence_async ();
}
MS_DEVICE void ms_barrier_arrive (unsigned barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
// Arrives, and lets the phase end only after so many more bytes have been written.
MS_DEVICE void ms_barrier_expect (unsigned barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
// Returns when the phase of this parity has ended.
MS_DEVICE void ms_barrier_wait (unsigned barrier, unsigned parity) {
  asm volatile(
      "{\n.reg .pred p;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@!p bra again;\n}" ::"r"(
          barrier),
      "r"(parity)
      : "memory");
}

// The same for a barrier that stores of other blocks of the cluster count on.
MS_DEVICE void ms_barrier_wait_cluster (unsigned barrier, unsigned parity) {
  unsigned done = 0;
  while (!done)
    asm volatile(
        "{\n.reg .pred p;\nmbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, "
        "1, 0, p;\n}"
        : "=r"(done)
        : "r"(barrier), "r"(parity)
        : "memory");
}

// ---- copies by the engine (sm_90): a box of a tensor map to shared memory, counted in bytes on a barrier ----

MS_DEVICE void ms_copy_box (unsigned to, const ms_tensor_map *map, int x, int y, int z, unsigned barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];" ::
          "r"(to),
      "l"(map), "r"(x), "r"(y), "r"(z), "r"(barrier)
      : "memory");
}
// The same, to the same place and counted on the same barrier in each block of the cluster that mask has.
MS_DEVICE void ms_cluster_copy_box (unsigned to, const ms_tensor_map *map, int x, int y, int z, unsigned barrier,
                                    int mask) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
               "[%1, {%2, %3, %4}], [%5], %6;" ::"r"(to),
               "l"(map), "r"(x), "r"(y), "r"(z), "r"(barrier), "h"((unsigned short) mask)
               : "memory");
}
// Asks for a map early: the first copy would wait for it.
MS_DEVICE void ms_prefetch_map (const ms_tensor_map *map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
