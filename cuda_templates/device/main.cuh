// ---- the program of -DMSEARCH_MAIN ----
// Runs the kernels on random inputs: first values, sums and the time of a call.
static void check (cudaError_t status, const char *what) {
  if (status == cudaSuccess) return;
  fprintf (stderr, "%s: %s\n", what, cudaGetErrorString (status));
  exit (1);
}
// Sum of twelve uniform numbers: nearly N(0,1).
template <class T> __global__ void fill (T *to, long long n, unsigned seed) {
  for (long long i = ms_thread (); i < n; i += ms_threads ()) {
    unsigned x = seed * 747796405u + (unsigned) i * 2891336453u + 1;
    float sum = -6.0f;
    for (int k = 0; k < 12; k++) {
      x ^= x << 13, x ^= x >> 17, x ^= x << 5;
      sum += (float) x * 2.3283064365386963e-10f;
    }
    ms_store (to + i, sum);
  }
}
template <class T> __global__ void widen (float *to, const T *from, long long n) {
  for (long long i = ms_thread (); i < n; i += ms_threads ()) to[i] = ms_load (from + i);
}
template <class T> static void *input (long long n, unsigned seed) {
  T *p;
  check (cudaMalloc (&p, n * sizeof (T)), "cudaMalloc");
  fill<T><<<1024, 256>>> (p, n, seed);
  return p;
}
template <class T> static void show (const char *name, const void *p, long long n) {
  float *wide, *host = (float *) malloc (n * sizeof (float));
  double sum = 0;
  check (cudaMalloc (&wide, n * sizeof (float)), "cudaMalloc");
  widen<T><<<1024, 256>>> (wide, (const T *) p, n);
  check (cudaMemcpy (host, wide, n * sizeof (float), cudaMemcpyDeviceToHost), "cudaMemcpy");
  for (long long i = 0; i < n; i++) sum += host[i];
  printf ("%s: %lld elements, sum %g, first", name, n, sum);
  for (long long i = 0; i < n && i < 4; i++) printf (" %g", host[i]);
  printf ("\n");
  cudaFree (wide);
  free (host);
}
