// device/load.cuh on the CPU. The sanitizers see addresses beyond a buffer and addresses that are not aligned.

template <int N> struct emulate_words { unsigned r[N]; } __attribute__ ((aligned (N > 4 ? 16 : 4 * N)));
template <int N> MS_DEVICE void ms_load_words (unsigned (&r)[N], const void *p) {
  const emulate_words<N> w = *(const emulate_words<N> *) p;
  for (int i = 0; i < N; i++) r[i] = w.r[i];
}
template <int N> MS_DEVICE void ms_load_words_once (unsigned (&r)[N], const void *p) { ms_load_words (r, p); }
MS_DEVICE unsigned ms_load_word (const void *p) { return *(const unsigned *) p; }
MS_DEVICE unsigned ms_load_half (const void *p) { return *(const unsigned short *) p; }
MS_DEVICE unsigned ms_load_constant (const void *p) { return *(const unsigned *) p; }
MS_DEVICE void ms_load_constant_if (uint4 &v, const void *p, bool there) {
  if (there) v = *(const uint4 *) p;
  else v = {0, 0, 0, 0};
}
