// device/async.cuh on the CPU.

MS_DEVICE void ms_copy_async (unsigned to, const void *from, int valid) {
  if (valid < 0 || valid > 16 || ((uintptr_t) from & 15)) emulate::give_up ("cp.async of an odd size or address");
  to = emulate::absolute (to);
  auto copy = [=] {
    unsigned char *p = emulate::place (to, 16, 16);
    for (int i = 0; i < 16; i++) p[i] = i < valid ? ((const unsigned char *) from)[i] : 0;
  };
  if (emulate::gpu.late) emulate::me ().open_copies.push_back (copy);
  else copy ();
}
MS_DEVICE void ms_copy_commit () {
  emulate::thread &t = emulate::me ();
  t.copies.push_back (std::move (t.open_copies));
  t.open_copies.clear ();
}
template <int pending> MS_DEVICE void ms_copy_wait () {
  emulate::thread &t = emulate::me ();
  while ((int) t.copies.size () > pending) {
    for (auto &copy : t.copies.front ()) copy ();
    t.copies.erase (t.copies.begin ());
  }
}

MS_DEVICE void ms_fence_async () {}
MS_DEVICE void ms_fence_async_all () {}

MS_DEVICE void ms_barrier_init (unsigned barrier, int arrivals) { emulate::barrier_init (barrier, arrivals); }
MS_DEVICE void ms_fence_barrier_init () {}
MS_DEVICE void ms_barrier_init_fence () {}
MS_DEVICE void ms_barrier_arrive (unsigned barrier) { emulate::barrier_arrive (barrier, 0); }
MS_DEVICE void ms_barrier_expect (unsigned barrier, int bytes) { emulate::barrier_arrive (barrier, bytes); }
MS_DEVICE void ms_barrier_wait (unsigned barrier, unsigned parity) { emulate::barrier_wait (barrier, parity); }
MS_DEVICE void ms_barrier_wait_cluster (unsigned barrier, unsigned parity) { emulate::barrier_wait (barrier, parity); }

MS_DEVICE void ms_copy_box (unsigned to, const ms_tensor_map *map, int x, int y, int z, unsigned barrier) {
  emulate::map m;
  memcpy (&m, map, sizeof m);
  to = emulate::absolute (to), barrier = emulate::absolute (barrier);
  emulate::later ([=] { emulate::copy_box (to, m, x, y, z, barrier); });
}
MS_DEVICE void ms_cluster_copy_box (unsigned to, const ms_tensor_map *map, int x, int y, int z, unsigned barrier,
                                    int mask) {
  emulate::map m;
  memcpy (&m, map, sizeof m);
  const unsigned own = (1u << emulate::RANK) - 1;
  for (int rank = 0; rank < 16; rank++)
    if (mask >> rank & 1) {
      const unsigned there = (unsigned) (rank + 1) << emulate::RANK;
      emulate::later ([=] { emulate::copy_box ((to & own) | there, m, x, y, z, (barrier & own) | there); });
    }
}
MS_DEVICE void ms_prefetch_map (const ms_tensor_map *) {}
