// Loads of device memory that stay where they are written: in their order, far ahead of their use, and behind
// ms_wait_inputs. That is why they are volatile. What is loaded comes first.

template <class T> MS_DEVICE unsigned ms_load_word (const T *p) {
  unsigned x;
  asm volatile("ld.global.u32 %0, [%1];" : "=r"(x) : "l"(p));
  return x;
}
// 1, 2, 4 or 8 words, aligned to their size (16 bytes for 8).
MS_DEVICE void ms_load_words (unsigned (&r)[1], const void *p) { r[0] = ms_load_word (p); }
MS_DEVICE void ms_load_words (unsigned (&r)[2], const void *p) {
  asm volatile("ld.global.v2.u32 {%0, %1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "l"(p));
}
MS_DEVICE void ms_load_words (unsigned (&r)[4], const void *p) {
  asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "l"(p));
}
MS_DEVICE void ms_load_words (unsigned (&r)[8], const void *p) {
  ms_load_words (*(unsigned (*)[4]) r, p), ms_load_words (*(unsigned (*)[4]) (r + 4), (const char *) p + 16);
}

// The same of what is read once, as weights: it leaves the first cache to the others.
#define MS_ONCE "ld.global.nc.L1::no_allocate.L2::128B"
MS_DEVICE void ms_load_words_once (unsigned (&r)[1], const void *p) {
  asm volatile(MS_ONCE ".u32 %0, [%1];" : "=r"(r[0]) : "l"(p));
}
MS_DEVICE void ms_load_words_once (unsigned (&r)[2], const void *p) {
  asm volatile(MS_ONCE ".v2.u32 {%0, %1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "l"(p));
}
MS_DEVICE void ms_load_words_once (unsigned (&r)[4], const void *p) {
  asm volatile(MS_ONCE ".v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "l"(p));
}
MS_DEVICE void ms_load_words_once (unsigned (&r)[8], const void *p) {
  ms_load_words_once (*(unsigned (*)[4]) r, p), ms_load_words_once (*(unsigned (*)[4]) (r + 4), (const char *) p + 16);
}

template <class T> MS_DEVICE unsigned ms_load_half (const T *p) {
  unsigned short x;
  asm volatile("ld.global.u16 %0, [%1];" : "=h"(x) : "l"(p));
  return x;
}

// What no launch writes while this one runs.
template <class T> MS_DEVICE unsigned ms_load_constant (const T *p) {
  unsigned x;
  asm volatile("ld.global.nc.b32 %0, [%1];" : "=r"(x) : "l"(p));
  return x;
}
// 16 bytes of that, or zeros, without a branch.
template <class T> MS_DEVICE void ms_load_constant_if (uint4 &v, const T *p, bool there) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %5, 0;\nmov.b32 %0, 0;\nmov.b32 %1, 0;\nmov.b32 %2, 0;\nmov.b32 %3, 0;\n"
      "@p ld.global.nc.v4.b32 {%0, %1, %2, %3}, [%4];\n}"
      : "=&r"(v.x), "=&r"(v.y), "=&r"(v.z), "=&r"(v.w)
      : "l"(p), "r"((int) there));
}
