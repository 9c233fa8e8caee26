// The machine behind emulate.h: fibres and their scheduler, shared memory, asynchronous copies, matrix units.
#include "emulate.h"

#include <sys/mman.h>
#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace emulate {

machine gpu;

enum { STACK = 256 << 10 };

// ---- fibres ----

#ifdef __x86_64__
extern "C" void emulate_switch (void **from, void *to);
asm(R"(
.text
.globl emulate_switch
emulate_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
static void begin ();
static void prepare (thread &t) {
  void **top = (void **) (t.stack + STACK - 64);
  *--top = nullptr; // the return address of begin, which does not return
  *--top = (void *) begin;
  for (int i = 0; i < 6; i++) *--top = nullptr;
  t.stack_pointer = top;
}
static void enter (thread &t) { emulate_switch (&gpu.scheduler, t.stack_pointer); }
void leave () { emulate_switch (&me ().stack_pointer, gpu.scheduler); }
#else
static ucontext_t scheduler_context;
static void begin ();
static void prepare (thread &t) {
  ucontext_t *u = new ucontext_t;
  getcontext (u);
  u->uc_stack.ss_sp = t.stack, u->uc_stack.ss_size = STACK, u->uc_link = nullptr;
  makecontext (u, begin, 0);
  t.stack_pointer = u;
}
static void enter (thread &t) { swapcontext (&scheduler_context, (ucontext_t *) t.stack_pointer); }
void leave () { swapcontext ((ucontext_t *) me ().stack_pointer, &scheduler_context); }
#endif

// The end of a thread: those that wait for all threads of the block no longer wait for this one.
static void end_thread () {
  thread &t = me ();
  for (auto &group : t.copies)
    for (auto &copy : group) copy ();
  for (auto &copy : t.open_copies) copy ();
  t.done = true;
  gpu.moved++;
  meeting &m = t.b->whole;
  if (--t.b->alive && m.arrived == t.b->alive) m.arrived = 0, m.round++;
  if (--gpu.c->threads && gpu.c->arrived == gpu.c->threads) gpu.c->arrived = 0, gpu.c->round++;
}
static void begin () {
  gpu.kernel ();
  end_thread ();
  for (;;) leave ();
}

void give_up (const char *what) {
  const thread &t = me ();
  fprintf (stderr, "emulate: block (%u, %u, %u), thread %d: %s\n", t.b->at.x, t.b->at.y, t.b->at.z, t.index, what);
  exit (3);
}

// ---- scheduling ----

static uint64_t draw (uint64_t &state) {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return state;
}

static void make_resident (cluster &c, int rank) {
  if (c.resident == rank) return;
  const size_t size = shared_size ();
  if (c.resident >= 0) memcpy (c.blocks[(size_t) c.resident].shared.data (), __start_ms_shared, size);
  memcpy (__start_ms_shared, c.blocks[(size_t) rank].shared.data (), size);
  c.resident = rank;
}

[[noreturn]] static void report_standstill (const std::vector<thread> &threads) {
  fprintf (stderr, "emulate: nothing moves any more\n");
  std::map<std::string, int> waits;
  for (const thread &t : threads)
    if (!t.done) {
      char text[200];
      snprintf (text, sizeof text, "block (%u, %u, %u), warp %d: %s", t.b->at.x, t.b->at.y, t.b->at.z, t.index / 32,
                t.waits);
      waits[text]++;
    }
  for (const auto &w : waits) fprintf (stderr, "  %s (%d threads)\n", w.first.c_str (), w.second);
  exit (3);
}

// Runs the threads of one cluster to their ends: all of a block until it stands still, then the next block's.
static void run_threads (cluster &c, std::vector<thread> &threads, size_t per_block) {
  uint64_t state = gpu.seed * 0x9e3779b97f4a7c15u + 1;
  std::vector<size_t> order (per_block);
  for (size_t i = 0; i < per_block; i++) order[i] = i;
  if (gpu.seed)
    for (size_t i = per_block - 1; i > 0; i--) std::swap (order[i], order[draw (state) % (i + 1)]);
  size_t left = threads.size ();
  while (left) {
    const uint64_t before = gpu.moved;
    for (size_t b = 0; b < c.blocks.size (); b++) {
      for (uint64_t moved = gpu.moved - 1; moved != gpu.moved;) {
        moved = gpu.moved;
        for (size_t i : order) {
          thread &t = threads[b * per_block + i];
          if (t.done) continue;
          make_resident (c, (int) b);
          gpu.self = &t;
          enter (t);
          if (t.done) left--;
        }
      }
    }
    if (gpu.moved != before || !left) continue;
    if (c.late.empty ()) report_standstill (threads);
    // Nobody can go on: now the asynchronous work that is late arrives, the oldest or any other.
    const size_t i = draw (state) % c.late.size ();
    auto work = c.late[i];
    c.late.erase (c.late.begin () + (long) i);
    work ();
    gpu.moved++;
  }
  while (!c.late.empty ()) c.late.front () (), c.late.pop_front ();
}

static void run_cluster (const launch &l, const std::vector<dim> &places) {
  static std::vector<unsigned char *> stacks;
  const size_t n = l.block_size.x;
  cluster c;
  c.blocks.resize (places.size ());
  std::vector<thread> threads (n * places.size ());
  gpu.c = &c;
  c.threads = (int) threads.size ();
  while (stacks.size () < threads.size ()) {
    void *p = mmap (nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) perror ("emulate: stacks"), exit (3);
    stacks.push_back ((unsigned char *) p);
  }
  for (size_t b = 0; b < places.size (); b++) {
    block &k = c.blocks[b];
    k.at = places[b], k.rank = (int) b, k.alive = (int) n;
    k.shared.assign (shared_size (), 0xff); // NaN in every type
    k.warps.resize ((n + 31) / 32), k.groups.resize ((n + 127) / 128);
    for (size_t i = 0; i < n; i++) {
      thread &t = threads[b * n + i];
      t.b = &k, t.w = &k.warps[i / 32], t.g = &k.groups[i / 128], t.index = (int) i, t.lane = (int) i % 32;
      t.stack = stacks[b * n + i];
      prepare (t);
    }
  }
  run_threads (c, threads, n);
  gpu.c = nullptr;
}

void run (const launch &l) {
  gpu.grid = l.grid, gpu.block_size = l.block_size, gpu.kernel = l.kernel;
  std::vector<dim> places;
  for (unsigned z = 0; z < l.grid.z; z++)
    for (unsigned y = 0; y < l.grid.y; y++)
      for (unsigned x = 0; x < l.grid.x; x++) {
        places.push_back ({x, y, z});
        if (places.size () < l.cluster.x) continue;
        run_cluster (l, places);
        places.clear ();
      }
  if (!places.empty ()) {
    fprintf (stderr, "emulate: %s: the grid is not a multiple of the cluster\n", l.name);
    exit (3);
  }
}

void cluster_arrive () {
  cluster &c = *gpu.c;
  me ().cluster_round = c.round;
  if (++c.arrived == c.threads) c.arrived = 0, c.round++;
  gpu.moved++;
}
void cluster_wait () {
  wait_until ("the cluster", [] { return gpu.c->round != me ().cluster_round; });
}

// ---- warps ----

unsigned shuffle (unsigned value, int from) {
  warp &w = *me ().w;
  w.value[me ().lane][0] = value;
  meet (w.meet, 32, "a shuffle", [&] {
    for (int i = 0; i < 32; i++) w.value[i][1] = w.value[i][0];
  });
  return w.value[from & 31][1];
}
bool any (bool x) {
  warp &w = *me ().w;
  w.value[me ().lane][2] = x;
  meet (w.meet, 32, "a vote", [&] {
    unsigned all = 0;
    for (int i = 0; i < 32; i++) all |= w.value[i][2];
    for (int i = 0; i < 32; i++) w.value[i][3] = all;
  });
  return w.value[me ().lane][3];
}

// ---- mma.sync: fragments as in the PTX manual ----

struct fragments {
  float *d[32];
  const unsigned *a[32], *b[32];
};
template <class F> static void with_warp (float *d, const unsigned *a, const unsigned *b, F multiply) {
  static std::map<warp *, fragments> at;
  warp *w = me ().w;
  fragments &f = at[w];
  const int lane = me ().lane;
  f.d[lane] = d, f.a[lane] = a, f.b[lane] = b;
  meet (w->meet, 32, "mma", [&] { multiply (f); });
}

void mma (float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], widen wide) {
  with_warp (d, a, b, [wide] (fragments &f) {
    float left[16][16], right[16][8];
    for (int lane = 0; lane < 32; lane++)
      for (int r = 0; r < 4; r++)
        for (int h = 0; h < 2; h++) {
          const int row = lane / 4 + (r & 1) * 8, k = lane % 4 * 2 + (r >> 1) * 8 + h;
          left[row][k] = wide ((uint16_t) (f.a[lane][r] >> 16 * h));
          if (r < 2) right[lane % 4 * 2 + r * 8 + h][lane / 4] = wide ((uint16_t) (f.b[lane][r] >> 16 * h));
        }
    for (int lane = 0; lane < 32; lane++)
      for (int i = 0; i < 4; i++) {
        const int row = lane / 4 + (i >> 1) * 8, column = lane % 4 * 2 + (i & 1);
        double sum = f.d[lane][i];
        for (int k = 0; k < 16; k++) sum += (double) left[row][k] * right[k][column];
        f.d[lane][i] = (float) sum;
      }
  });
}
void mma_tf32 (float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  with_warp (d, a, b, [] (fragments &f) {
    float left[16][8], right[8][8];
    auto wide = [] (unsigned x) { return emulate_bits<float> (x & 0xffffe000u); };
    for (int lane = 0; lane < 32; lane++) {
      for (int r = 0; r < 4; r++) left[lane / 4 + (r & 1) * 8][lane % 4 + (r >> 1) * 4] = wide (f.a[lane][r]);
      for (int r = 0; r < 2; r++) right[lane % 4 + r * 4][lane / 4] = wide (f.b[lane][r]);
    }
    for (int lane = 0; lane < 32; lane++)
      for (int i = 0; i < 4; i++) {
        const int row = lane / 4 + (i >> 1) * 8, column = lane % 4 * 2 + (i & 1);
        double sum = f.d[lane][i];
        for (int k = 0; k < 8; k++) sum += (double) left[row][k] * right[k][column];
        f.d[lane][i] = (float) sum;
      }
  });
}
void ldmatrix (unsigned *r, int n, unsigned address, bool transposed) {
  warp &w = *me ().w;
  w.value[me ().lane][0] = address;
  meet (w.meet, 32, "ldmatrix", [&] {
    for (int i = 0; i < 32; i++) w.value[i][1] = w.value[i][0];
  });
  const int lane = me ().lane;
  for (int m = 0; m < n; m++) {
    uint16_t two[2];
    for (int h = 0; h < 2; h++) {
      const int row = transposed ? lane % 4 * 2 + h : lane / 4, column = transposed ? lane / 4 : lane % 4 * 2 + h;
      memcpy (&two[h], place (w.value[m * 8 + row][1], 16, 16) + 2 * column, 2);
    }
    r[m] = two[0] | (unsigned) two[1] << 16;
  }
  meet (w.meet, 32, "ldmatrix", [] {});
}

// ---- wgmma ----

// An element of an operand in shared memory, in 16 k: of a row (of a; a column of b) and k. along: k runs along the
// rows of memory, which have 128, 64 or 32 bytes, as the swizzle says; else k counts those rows.
static uint16_t operand (uint64_t descriptor, int row, int k, bool along) {
  const unsigned mode = (unsigned) (descriptor >> 62), bytes = mode ? 256u >> mode : 0;
  if (!mode) give_up ("a wgmma descriptor without a swizzle");
  const unsigned start = (unsigned) (descriptor & 0x3fff) << 4, panel = (unsigned) (descriptor >> 16 & 0x3fff) << 4,
                 group = (unsigned) (descriptor >> 32 & 0x3fff) << 4;
  const unsigned major = (unsigned) (along ? row : k), minor = (unsigned) (along ? k : row) * 2;
  unsigned at = start + major / 8 * group + major % 8 * bytes + minor / bytes * panel + minor % bytes;
  at ^= (at >> 7 & (bytes / 16 - 1)) << 4;
  uint16_t x;
  memcpy (&x, place (at, 2, 2), 2);
  return x;
}

struct wgmma_threads {
  float *d[128];
  unsigned a[128][4];
};

static void multiply (const wgmma_threads &t, int n, bool registers, uint64_t a, uint64_t b, wgmma_form form,
                      widen wide) {
  std::vector<float> left (64 * 16), right (16 * (size_t) n);
  for (int k = 0; k < 16; k++)
    for (int j = 0; j < n; j++) right[(size_t) (k * n + j)] = wide (operand (b, j, k, form.b_rows));
  if (registers)
    for (int i = 0; i < 128; i++)
      for (int r = 0; r < 4; r++)
        for (int h = 0; h < 2; h++) {
          const int lane = i % 32, row = i / 32 * 16 + lane / 4 + (r & 1) * 8, k = lane % 4 * 2 + (r >> 1) * 8 + h;
          left[(size_t) (row * 16 + k)] = wide ((uint16_t) (t.a[i][r] >> 16 * h));
        }
  else
    for (int row = 0; row < 64; row++)
      for (int k = 0; k < 16; k++) left[(size_t) (row * 16 + k)] = wide (operand (a, row, k, form.a_rows));
  for (int i = 0; i < 128; i++)
    for (int e = 0; e < n / 2; e++) {
      const int lane = i % 32, row = i / 32 * 16 + lane / 4 + (e >> 1 & 1) * 8,
                column = e / 4 * 8 + lane % 4 * 2 + (e & 1);
      double sum = form.add ? (double) t.d[i][e] : 0.0;
      for (int k = 0; k < 16; k++) sum += (double) left[(size_t) (row * 16 + k)] * right[(size_t) (k * n + column)];
      t.d[i][e] = (float) sum;
    }
}

void wgmma (float *d, int n, const unsigned *a_registers, uint64_t a, uint64_t b, wgmma_form form, widen wide) {
  static std::map<warpgroup *, std::shared_ptr<wgmma_threads>> gathering;
  warpgroup *g = me ().g;
  std::shared_ptr<wgmma_threads> &t = gathering[g];
  if (!t) t = std::make_shared<wgmma_threads> ();
  const int i = me ().index % 128;
  t->d[i] = d;
  if (a_registers) memcpy (t->a[i], a_registers, sizeof t->a[i]);
  meet (g->meet, 128, "wgmma", [&] {
    std::shared_ptr<wgmma_threads> all = t;
    t.reset ();
    const bool registers = a_registers != nullptr;
    auto work = [=] { multiply (*all, n, registers, a, b, form, wide); };
    if (gpu.late) g->open.push_back (work);
    else work ();
  });
}
void wgmma_commit () {
  warpgroup *g = me ().g;
  meet (g->meet, 128, "the end of a group of wgmma", [&] {
    g->committed.push_back (std::move (g->open));
    g->open.clear ();
  });
}
void wgmma_wait (int pending) {
  warpgroup *g = me ().g;
  meet (g->meet, 128, "wgmma", [&] {
    while ((int) g->committed.size () > pending) {
      for (auto &work : g->committed.front ()) work ();
      g->committed.erase (g->committed.begin ());
    }
  });
}

// ---- tensor copies ----

void copy_box (unsigned to, const map &m, int x, int y, int z, unsigned bar) {
  const int at[3] = {x, y, z};
  const unsigned row = m.box[0] * m.element;
  if (to % 128 || (m.swizzle && row > m.swizzle)) give_up ("a box that does not fit its swizzle or alignment");
  unsigned o = to;
  for (uint32_t k = 0; k < (m.rank > 2 ? m.box[2] : 1); k++)
    for (uint32_t j = 0; j < (m.rank > 1 ? m.box[1] : 1); j++)
      for (uint32_t i = 0; i < m.box[0]; i++, o += m.element) {
        const long long index[3] = {at[0] + (long long) i, at[1] + (long long) j, at[2] + (long long) k};
        bool inside = true;
        uint64_t offset = 0;
        for (uint32_t d = 0; d < m.rank && d < 3; d++) {
          inside &= index[d] >= 0 && index[d] < (long long) m.dim[d];
          offset += (uint64_t) index[d] * (d ? m.stride[d] : m.element);
        }
        const unsigned low = o & ((1u << RANK) - 1),
                       swizzled = m.swizzle ? low ^ (low >> 7 & (m.swizzle / 16 - 1)) << 4 : low;
        unsigned char *p = place ((o & ~((1u << RANK) - 1)) | swizzled, m.element, m.element);
        if (inside) memcpy (p, m.address + offset, m.element);
        else memset (p, 0, m.element);
      }
  barrier_complete (bar, (int) (o - to));
}

} // namespace emulate
