// The end of an emulated program: buffers, launches, files. What is printed behind the kernels (tests/all_emulate.c)
// are
//   static const emulate::buffer buffers[] and static const emulate::step steps[].
// Usage: PROGRAM FOLDER: reads FOLDER/in<i>, writes FOLDER/out<i>. $EMULATE_LATE, $EMULATE_SEED: see emulate.h.
#ifndef TESTS_EMULATE_RUN_H
#define TESTS_EMULATE_RUN_H

#include "emulate.h"

// Dynamic shared memory, under every name that kernels give it, in one section with their static arrays.
extern "C" {
alignas (1024) __attribute__ ((section ("ms_shared"), used)) unsigned char emulate_shared[236 << 10] = {1};
extern __attribute__ ((alias ("emulate_shared"))) unsigned char smem[];
extern __attribute__ ((alias ("emulate_shared"))) unsigned char stream_ring[];
extern __attribute__ ((alias ("emulate_shared"))) float4 stream_sums[];
}

namespace emulate {

enum role { INPUT, OUTPUT, TEMPORARY, ZERO };
struct buffer {
  role what;
  int index;
  size_t bytes;
};
struct argument {
  int buffer; // its address; or a map over it, where rank is not 0
  int element, rank;
  uint64_t dim[5], stride[5];
  uint32_t box[5];
  int swizzle;
};
struct step {
  const char *name;
  dim grid;
  unsigned threads, cluster;
  int shared;
  void (*call) (void **arguments);
  std::vector<argument> arguments;
};

template <class... A, size_t... I> void call_with (void (*kernel) (A...), void **a, std::index_sequence<I...>) {
  kernel (*(typename std::remove_const<typename std::remove_reference<A>::type>::type *) a[I]...);
}
template <class... A> void call (void (*kernel) (A...), void **a) {
  call_with (kernel, a, std::index_sequence_for<A...> ());
}

inline void *file (const char *folder, const char *kind, int index, void *data, size_t bytes, bool write) {
  char path[4096];
  snprintf (path, sizeof path, "%s/%s%d", folder, kind, index);
  FILE *f = fopen (path, write ? "wb" : "rb");
  if (!f || (write ? fwrite (data, 1, bytes, f) : fread (data, 1, bytes, f)) != bytes || fclose (f))
    perror (path), exit (2);
  return data;
}

template <size_t B, size_t S> int run_all (const char *folder, const buffer (&buffers)[B], const step (&steps)[S]) {
  std::vector<unsigned char *> at;
  for (const buffer &b : buffers) {
    void *p = nullptr;
    if (posix_memalign (&p, 256, b.bytes)) perror ("emulate: buffers"), exit (2);
    memset (p, b.what == ZERO ? 0 : 0xff, b.bytes);
    if (b.what == INPUT) file (folder, "in", b.index, p, b.bytes, false);
    at.push_back ((unsigned char *) p);
  }
  const char *late = getenv ("EMULATE_LATE"), *seed = getenv ("EMULATE_SEED");
  gpu.late = late && atoi (late), gpu.seed = seed ? (uint64_t) atoll (seed) : 1;
  for (const step &s : steps) {
    std::vector<void *> pointers (s.arguments.size ()), values;
    std::vector<map> maps (s.arguments.size ());
    for (size_t i = 0; i < s.arguments.size (); i++) {
      const argument &a = s.arguments[i];
      pointers[i] = at[(size_t) a.buffer];
      map &m = maps[i];
      m.address = at[(size_t) a.buffer], m.element = (uint32_t) a.element, m.rank = (uint32_t) a.rank;
      m.swizzle = (uint32_t) a.swizzle;
      for (int d = 0; d < 5; d++) m.dim[d] = (uint32_t) a.dim[d], m.box[d] = a.box[d], m.stride[d] = a.stride[d];
      if (a.rank) {
        ms_tensor_map *copy = new ms_tensor_map;
        memcpy (copy, &m, sizeof m);
        values.push_back (copy);
      } else values.push_back (&pointers[i]);
    }
    run ({s.name, s.grid, {s.threads, 1, 1}, {s.cluster, 1, 1}, s.shared, [&] { s.call (values.data ()); }});
  }
  for (size_t i = 0; i < B; i++)
    if (buffers[i].what == OUTPUT) file (folder, "out", buffers[i].index, at[i], buffers[i].bytes, true);
  return 0;
}

} // namespace emulate

#endif
