// A GPU for generated kernels on the CPU, for tests: a fibre a thread, blocks one after another, the blocks of a
// cluster together. It runs the sources that the emitter prints; the folder device/ of PTX wrappers is replaced by this
// folder's files of the same names, everything else is compiled as it stands.
//
// What it watches:
//   - every buffer of device memory is allocated by itself, so that the address sanitizer sees reads and writes beyond
//   it;
//     vector accesses at odd addresses are seen by the alignment sanitizer;
//   - shared memory is poisoned (NaN in every type) before each block, device memory that is written before the launch;
//   - asynchronous work (cp.async, tensor copies, wgmma) is done either as soon as it is asked for or as late as it may
//   be
//     (EMULATE_LATE=1): a missing wait, or a place used again too early, shows in one of the two;
//   - threads run in an order that EMULATE_SEED shuffles; a launch in which nothing moves any more is reported with
//   what each
//     warp waits for.
// It does not see: the timing of anything, memory order between proxies (fences do nothing), bank conflicts, registers.
#ifndef TESTS_EMULATE_EMULATE_H
#define TESTS_EMULATE_EMULATE_H

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

// ---- what nvcc and NVRTC know by themselves ----

#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __grid_constant__
#define __align__(n) __attribute__ ((aligned (n)))
#define __CUDA_ARCH__ EMULATE_ARCH

struct uint2 {
  unsigned x, y;
} __align__ (8);
struct uint4 {
  unsigned x, y, z, w;
} __align__ (16);
struct float2 {
  float x, y;
} __align__ (8);
struct float4 {
  float x, y, z, w;
} __align__ (16);
inline uint2 make_uint2 (unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4 (unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2 (float x, float y) { return {x, y}; }
inline float4 make_float4 (float x, float y, float z, float w) { return {x, y, z, w}; }

template <class To, class From> inline To emulate_bits (From x) {
  static_assert (sizeof (To) == sizeof (From), "bits");
  To y;
  memcpy (&y, &x, sizeof y);
  return y;
}
inline float __int_as_float (int x) { return emulate_bits<float> (x); }
inline float __uint_as_float (unsigned x) { return emulate_bits<float> (x); }
inline int __float_as_int (float x) { return emulate_bits<int> (x); }
inline unsigned __float_as_uint (float x) { return emulate_bits<unsigned> (x); }
// As the hardware does it: no quotient for divisors above 2^126.
inline float __fdividef (float a, float b) {
  return fabsf (b) > 8.507059e37f && fabsf (b) <= 3.4e38f ? a * 0.0f : a / b;
}
inline float rsqrtf (float x) { return 1.0f / sqrtf (x); }
inline float fmaxf_ (float a, float b) { return a != a ? b : b != b ? a : a > b ? a : b; }
inline int min (int a, int b) { return a < b ? a : b; }
inline int max (int a, int b) { return a > b ? a : b; }
inline unsigned min (unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max (unsigned a, unsigned b) { return a > b ? a : b; }
inline long long min (long long a, long long b) { return a < b ? a : b; }
inline long long max (long long a, long long b) { return a > b ? a : b; }
inline unsigned __byte_perm (unsigned a, unsigned b, unsigned selector) {
  const uint64_t both = (uint64_t) b << 32 | a;
  unsigned y = 0;
  for (int i = 0; i < 4; i++) y |= (unsigned) (both >> (selector >> 4 * i & 7) * 8 & 0xff) << 8 * i;
  return y;
}

// ---- halves ----

namespace emulate {

inline float from_half (uint16_t h) {
  _Float16 x;
  memcpy (&x, &h, 2);
  return (float) x;
}
inline uint16_t to_half (float x) {
  const _Float16 y = (_Float16) x;
  uint16_t h;
  memcpy (&h, &y, 2);
  return h;
}
inline float from_bfloat (uint16_t h) { return emulate_bits<float> ((uint32_t) h << 16); }
inline uint16_t to_bfloat (float x) {
  uint32_t b = emulate_bits<uint32_t> (x);
  if (x != x) return 0x7fff;
  return (uint16_t) ((b + 0x7fff + (b >> 16 & 1)) >> 16);
}

// ---- threads ----

struct dim {
  unsigned x, y, z;
};

struct thread;
struct block;

// Where so many threads meet: the last one to come does the work, then all go on.
struct meeting {
  int arrived = 0;
  unsigned round = 0;
};

struct warpgroup {
  meeting meet;
  std::vector<std::vector<std::function<void ()>>> committed; // groups in order
  std::vector<std::function<void ()>> open;
};

struct warp {
  meeting meet;
  unsigned value[32][4];
};

struct barrier {
  int expected = 0, pending = 0; // arrivals
  long long bytes = 0;           // transactions
  unsigned phase = 0;            // parity of the phase that is under way
};

struct block {
  dim at;
  int rank = 0;                         // in its cluster
  std::vector<unsigned char> shared;    // while another block of the cluster runs
  std::map<unsigned, barrier> barriers; // by address in shared memory
  meeting named[16], whole;
  std::vector<warp> warps;
  std::vector<warpgroup> groups;
  int alive = 0;
};

struct cluster {
  std::vector<block> blocks;
  std::deque<std::function<void ()>> late; // asynchronous copies that nobody has had to wait for yet
  int arrived = 0;                         // at the cluster's barrier
  unsigned round = 0;
  int resident = -1; // the block whose shared memory is in place
  int threads = 0;
};

struct thread {
  void *stack_pointer = nullptr;
  unsigned char *stack = nullptr;
  block *b = nullptr;
  warp *w = nullptr;
  warpgroup *g = nullptr;
  int index = 0, lane = 0;
  bool done = false;
  const char *waits = "";
  unsigned cluster_round = 0;
  std::vector<std::vector<std::function<void ()>>> copies; // cp.async groups
  std::vector<std::function<void ()>> open_copies;
};

struct machine {
  dim grid, block_size;
  bool late = false;
  uint64_t seed = 1;
  cluster *c = nullptr;
  thread *self = nullptr;
  void *scheduler = nullptr;
  uint64_t moved = 0; // grows whenever something happens that others may wait for
  std::function<void ()> kernel;
};
extern machine gpu;
extern "C" unsigned char emulate_shared[];                        // dynamic shared memory of the block that runs
extern "C" unsigned char __start_ms_shared[], __stop_ms_shared[]; // with it the kernels' static arrays

inline thread &me () { return *gpu.self; }
void leave (); // lets others run
[[noreturn]] void give_up (const char *what);

// Waits until condition () holds.
template <class F> inline void wait_until (const char *what, F condition) {
  me ().waits = what;
  while (!condition ()) leave ();
  me ().waits = "";
}

template <class F> inline void meet (meeting &m, int n, const char *what, F last) {
  if (++m.arrived == n) {
    m.arrived = 0;
    last ();
    m.round++;
    gpu.moved++;
    return;
  }
  const unsigned round = m.round;
  wait_until (what, [&] { return m.round != round; });
}

// ---- shared memory: 32-bit addresses; the upper 8 bits are the rank in the cluster plus 1, or 0 for the own block
// ----

enum { OWN = 0, RANK = 24 };
inline size_t shared_size () { return (size_t) (__stop_ms_shared - __start_ms_shared); }
inline unsigned shared_address (const void *p) {
  const unsigned char *at = (const unsigned char *) p;
  if (at < __start_ms_shared || at >= __stop_ms_shared)
    give_up ("the shared address of something that is not in shared memory");
  return (unsigned) (at - emulate_shared);
}
inline block &block_of (unsigned address) {
  const unsigned rank = address >> RANK;
  if (!rank) return *me ().b;
  if (rank > gpu.c->blocks.size ()) give_up ("an address of a block beyond the cluster");
  return gpu.c->blocks[rank - 1];
}
// The same place, said so that other blocks and asynchronous work find it.
inline unsigned absolute (unsigned address) {
  return address >> RANK ? address : address | (unsigned) (me ().b->rank + 1) << RANK;
}
// n bytes there.
inline unsigned char *place (unsigned address, size_t n, size_t alignment) {
  block &b = block_of (address);
  const unsigned offset = address & ((1u << RANK) - 1);
  if (offset + n > (size_t) (__stop_ms_shared - emulate_shared)) give_up ("an access beyond shared memory");
  if (offset % alignment) give_up ("a misaligned access to shared memory");
  if (&b == &gpu.c->blocks[(size_t) gpu.c->resident]) return emulate_shared + offset;
  return b.shared.data () + (emulate_shared - __start_ms_shared) + offset;
}

// ---- mbarriers ----

inline barrier &barrier_at (unsigned address, const char *what) {
  block &b = block_of (address);
  auto found = b.barriers.find (address & ((1u << RANK) - 1));
  if (found == b.barriers.end ()) give_up (what);
  return found->second;
}
inline void barrier_check (barrier &b) {
  gpu.moved++;
  if (b.pending || b.bytes) return;
  b.phase ^= 1;
  b.pending = b.expected;
}
inline void barrier_init (unsigned address, int arrivals) {
  if (address % 8) give_up ("a misaligned mbarrier");
  block_of (address).barriers[address & ((1u << RANK) - 1)] = {arrivals, arrivals, 0, 0};
}
inline void barrier_arrive (unsigned address, int bytes) {
  barrier &b = barrier_at (address, "an arrival at an mbarrier that was not initialised");
  if (!b.pending) give_up ("more arrivals at an mbarrier than it expects");
  b.bytes += bytes, b.pending--;
  barrier_check (b);
}
inline void barrier_complete (unsigned address, int bytes) {
  barrier &b = barrier_at (address, "bytes counted on an mbarrier that was not initialised");
  b.bytes -= bytes;
  barrier_check (b);
}
inline void barrier_wait (unsigned address, unsigned parity) {
  barrier &b = barrier_at (address, "a wait for an mbarrier that was not initialised");
  wait_until ("an mbarrier", [&] { return b.phase != (parity & 1); });
}

void cluster_arrive ();
void cluster_wait ();

// Asynchronous work that an mbarrier counts.
template <class F> inline void later (F work) {
  if (gpu.late) gpu.c->late.push_back (work);
  else work ();
}

// ---- tensor maps ----

struct map {
  unsigned char *address;
  uint32_t element, rank;
  uint32_t dim[5], box[5];
  uint64_t stride[5]; // bytes; stride[0] is the element
  uint32_t swizzle;   // bytes
};
static_assert (sizeof (map) <= 128, "a tensor map");

// The box at (x, y, z) to shared memory; what is outside of the tensor is zero.
void copy_box (unsigned to, const map &m, int x, int y, int z, unsigned barrier);

// ---- matrix units ----

typedef float (*widen) (uint16_t);
void mma (float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], widen);
void mma_tf32 (float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
void ldmatrix (unsigned *r, int n, unsigned address, bool transposed);
// d (64 x n) = a b (+ d): a by descriptor, or a_registers. a_rows, b_rows: 16 k of a row of a, of a column of b, are
// side by side.
struct wgmma_form {
  bool add, a_rows, b_rows;
};
void wgmma (float *d, int n, const unsigned *a_registers, uint64_t a, uint64_t b, wgmma_form, widen);
void wgmma_commit ();
void wgmma_wait (int pending);

unsigned shuffle (unsigned value, int from); // from: a lane
bool any (bool);

// ---- launches ----

struct launch {
  const char *name;
  dim grid, block_size, cluster;
  int shared;
  std::function<void ()> kernel; // of one thread
};
void run (const launch &);

} // namespace emulate

#define threadIdx (emulate::dim{(unsigned) emulate::me ().index, 0, 0})
#define blockIdx (emulate::me ().b->at)
#define blockDim (emulate::gpu.block_size)
#define gridDim (emulate::gpu.grid)

inline unsigned __cvta_generic_to_shared (const void *p) { return emulate::shared_address (p); }
inline void __syncthreads () {
  emulate::meet (emulate::me ().b->whole, emulate::me ().b->alive, "__syncthreads", [] {});
}
inline void __syncwarp () {
  emulate::meet (emulate::me ().w->meet, 32, "__syncwarp", [] {});
}
template <class T> inline T __shfl_sync (unsigned, T x, int lane) {
  return emulate_bits<T> (emulate::shuffle (emulate_bits<unsigned> (x), lane & 31));
}
template <class T> inline T __shfl_xor_sync (unsigned, T x, int mask, int = 32) {
  return emulate_bits<T> (emulate::shuffle (emulate_bits<unsigned> (x), emulate::me ().lane ^ mask));
}
inline bool __any_sync (unsigned, bool x) { return emulate::any (x); }

#endif
