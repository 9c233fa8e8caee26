// device/cluster.cuh on the CPU.

MS_DEVICE unsigned ms_cluster_address (unsigned address, int rank) {
  return (address & ((1u << emulate::RANK) - 1)) | (unsigned) (rank + 1) << emulate::RANK;
}
MS_DEVICE void ms_cluster_arrive () { emulate::cluster_arrive (); }
MS_DEVICE void ms_cluster_arrive_release () { emulate::cluster_arrive (); }
MS_DEVICE void ms_cluster_wait () { emulate::cluster_wait (); }
MS_DEVICE void ms_cluster_sync () {
  emulate::cluster_arrive ();
  emulate::cluster_wait ();
}
MS_DEVICE void ms_cluster_store (unsigned to, float x) { memcpy (emulate::place (to, 4, 4), &x, 4); }
MS_DEVICE void ms_cluster_barrier_arrive (unsigned barrier) { emulate::barrier_arrive (barrier, 0); }
template <int N> MS_DEVICE void emulate_send (unsigned to, unsigned barrier, const unsigned (&x)[N]) {
  std::vector<unsigned> words (x, x + N);
  to = emulate::absolute (to), barrier = emulate::absolute (barrier);
  emulate::later ([=] {
    memcpy (emulate::place (to, 4 * N, 4 * N), words.data (), 4 * N);
    emulate::barrier_complete (barrier, 4 * N);
  });
}
MS_DEVICE void ms_cluster_send (unsigned to, unsigned barrier, unsigned a) { emulate_send (to, barrier, {a}); }
MS_DEVICE void ms_cluster_send (unsigned to, unsigned barrier, unsigned a, unsigned b) {
  emulate_send (to, barrier, {a, b});
}
MS_DEVICE void ms_cluster_send (unsigned to, unsigned barrier, unsigned a, unsigned b, unsigned c, unsigned d) {
  emulate_send (to, barrier, {a, b, c, d});
}
