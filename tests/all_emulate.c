/* Generated kernels run on the CPU (tests/emulate/) and are compared with float64: every generator, sm_80 and sm_90a,
   asynchronous work as early and as late as it may be. Needs g++ and nothing of CUDA. */
#include "cuda_backend.h"
#include "verify/verify.h"

#include <math.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define FOLDERS                                                                                                        \
  "-Itests/emulate -Icuda_templates/device -Icuda_templates/generic -Icuda_templates/stream -Icuda_templates/chain "   \
  "-Icuda_templates/rows -Icuda_templates/tiled"
#define CXXFLAGS                                                                                                       \
  "-std=c++17 -O1 -w -fsanitize=address,alignment -fno-sanitize-recover=alignment -fno-strict-aliasing "               \
  "-fno-omit-frame-pointer"

static char scratch[] = "/tmp/msearch-emulate-XXXXXX";

/* ---- 16-bit numbers, of values that they hold exactly ---- */

static uint16_t half_bits (double x) {
  if (x == 0) return signbit (x) ? 0x8000 : 0;
  uint16_t sign = x < 0 ? 0x8000 : 0;
  int e;
  double m = frexp (fabs (x), &e); /* in [0.5, 1) */
  if (!isfinite (x)) return isnan (x) ? 0x7e00 : sign | 0x7c00;
  if (e < -13) return sign | (uint16_t) ldexp (m, e + 24);
  return sign | (uint16_t) ((e + 14) << 10) | (uint16_t) (ldexp (m, 11) - 1024);
}
static double half_value (uint16_t h) {
  int e = h >> 10 & 31, m = h & 1023;
  double x = e == 31 ? m ? NAN : INFINITY : e ? ldexp (1024 + m, e - 25) : ldexp (m, -24);
  return h >> 15 ? -x : x;
}
static void *packed (const mugraph_shape *s, const double *x, int64_t n) {
  int bytes = mugraph_dtype_bytes ((mugraph_dtype) s->dtype);
  char *to = malloc ((size_t) (n * bytes));
  assert_non_null (to);
  for (int64_t i = 0; i < n; i++) {
    float f = (float) x[i];
    uint32_t bits;
    memcpy (&bits, &f, 4);
    uint16_t half = s->dtype == MUGRAPH_F16 ? half_bits (x[i]) : (uint16_t) (bits >> 16);
    memcpy (to + i * bytes, s->dtype == MUGRAPH_F32 ? (void *) &f : (void *) &half, (size_t) bytes);
  }
  return to;
}
static void unpack (int dtype, const char *from, double *x, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    uint16_t h;
    float f;
    memcpy (&h, from + 2 * i, 2);
    uint32_t bits = (uint32_t) h << 16;
    if (dtype == MUGRAPH_F32) memcpy (&f, from + 4 * i, 4);
    else memcpy (&f, &bits, 4);
    x[i] = dtype == MUGRAPH_F16 ? half_value (h) : f;
  }
}

static bool write_bytes (const char *folder, const char *name, const void *data, size_t size) {
  char path[400];
  snprintf (path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen (path, "wb");
  return f && fwrite (data, 1, size, f) == size && !fclose (f);
}
static void *read_bytes (const char *folder, const char *name, size_t size) {
  char path[400];
  snprintf (path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen (path, "rb");
  char *data = calloc (1, size + 1);
  if (f && data && fread (data, 1, size, f) != size) free (data), data = NULL;
  if (f) fclose (f);
  return f ? data : (free (data), NULL);
}

/* ---- the source: what is emitted, and a table of its buffers and launches ---- */

static void print_kernels (FILE *f, const char *source) {
  char *text = golden_includes (source);
  for (const char *at = text, *next; *at; at = next) {
    next = strstr (at, "extern __shared__");
    if (!next) {
      fputs (at, f);
      break;
    }
    fprintf (f, "%.*sextern", (int) (next - at), at);
    next += strlen ("extern __shared__");
  }
  free (text);
}

static void print_arguments (FILE *f, const cuda_launch *l) {
  for (int i = 0; i < l->n_args; i++) {
    const cuda_arg *a = &l->arg[i];
    if (a->kind == CUDA_ARG_POINTER) {
      fprintf (f, "{%d, 0, 0, {}, {}, {}, 0}, ", a->buffer);
      continue;
    }
    fprintf (f, "{%d, %d, %d, {", a->buffer, mugraph_dtype_bytes ((mugraph_dtype) a->dtype), a->rank);
    for (int d = 0; d < a->rank; d++) fprintf (f, "%llu, ", (unsigned long long) a->dim[d]);
    fprintf (f, "}, {");
    for (int d = 0; d < a->rank; d++) fprintf (f, "%llu, ", (unsigned long long) a->stride[d]);
    fprintf (f, "}, {");
    for (int d = 0; d < a->rank; d++) fprintf (f, "%u, ", a->box[d]);
    fprintf (f, "}, %d}, ", a->swizzle);
  }
}

static bool print_source (const char *folder, const cuda_program *p) {
  static const char *const roles[] = {[CUDA_BUFFER_INPUT] = "INPUT",
                                      [CUDA_BUFFER_OUTPUT] = "OUTPUT",
                                      [CUDA_BUFFER_TEMP] = "TEMPORARY",
                                      [CUDA_BUFFER_ZERO] = "ZERO"};
  char path[400];
  snprintf (path, sizeof path, "%s/kernel.cc", folder);
  FILE *f = fopen (path, "w");
  if (!f) return false;
  fprintf (f, "#include \"emulate.h\"\n#define __shared__ static __attribute__ ((section (\"ms_shared\")))\n");
  print_kernels (f, p->source);
  fprintf (f, "\n#include \"run.h\"\nusing namespace emulate;\nstatic const buffer buffers[] = {\n");
  for (int i = 0; i < p->n_buffers; i++)
    fprintf (f, "  {%s, %d, %lld},\n", roles[p->buffer[i].role], p->buffer[i].index, (long long) p->buffer[i].bytes);
  fprintf (f, "};\nstatic const step steps[] = {\n");
  for (int i = 0; i < p->n_launches; i++) {
    const cuda_launch *l = &p->launch[i];
    fprintf (f, "  {\"%s\", {%d, %d, %d}, %d, %d, %d, [] (void **a) { call (%s, a); }, {", l->name, l->grid[0],
             l->grid[1], l->grid[2], l->block, l->cluster[0] * l->cluster[1] * l->cluster[2], l->smem, l->name);
    print_arguments (f, l);
    fprintf (f, "}},\n");
  }
  fprintf (f, "};\nint main (int, char **argv) { return run_all (argv[1], buffers, steps); }\n");
  return !fclose (f);
}

/* ---- faults put in on purpose ---- */

typedef struct {
  const char *folder, *file, *line, *instead; /* of a device template: the first occurrence of line is replaced */
  const char *name;                           /* part of the name of the case that meets it */
} broken;

/* Beside kernel.cc, where it is found before the template itself. */
static bool break_template (const char *folder, const broken *b) {
  char path[400];
  snprintf (path, sizeof path, "cuda_templates/%s/%s", b->folder, b->file);
  char *text = golden_read (path), *at = text ? strstr (text, b->line) : NULL;
  if (!at) return fprintf (stderr, "%s has no \"%s\"\n", path, b->line), free (text), false;
  snprintf (path, sizeof path, "%s/%s", folder, b->file);
  FILE *f = fopen (path, "wb");
  if (f) fprintf (f, "%.*s%s%s", (int) (at - text), text, b->instead, at + strlen (b->line));
  free (text);
  return f && !fclose (f);
}

/* ---- one case ---- */

typedef struct {
  const backend_case *c;
  int generator;
  const char *device;
  bool pdl;
  const broken *broken; /* a template with a fault; NULL: none */
  char said[2000];      /* what is wrong; empty: nothing */
} task;

static int shell (task *t, const char *folder, const char *what, const char *format, ...) {
  char command[3000], logged[3200], path[400];
  va_list list;
  va_start (list, format);
  vsnprintf (command, sizeof command, format, list);
  va_end (list);
  snprintf (logged, sizeof logged, "{ %s; } >%s/log 2>&1", command, folder);
  int status = system (logged);
  if (!status) return 0;
  snprintf (path, sizeof path, "%s/log", folder);
  FILE *f = fopen (path, "r");
  size_t n = (size_t) snprintf (t->said, sizeof t->said, "%s: ", what);
  if (f) n += fread (t->said + n, 1, sizeof t->said - 1 - n, f), fclose (f);
  t->said[n] = 0;
  return 1;
}

static bool compare (task *t, const char *folder, const mugraph *program, double *const wanted[], const char *how) {
  for (int i = 0; i < program->n_outputs; i++) {
    char name[30];
    int64_t n = mugraph_volume (&program->tensor[program->output[i]].shape);
    int dtype = cuda_plan_storage (program, program->output[i]);
    snprintf (name, sizeof name, "out%d", i);
    char *bytes = read_bytes (folder, name, (size_t) (n * mugraph_dtype_bytes ((mugraph_dtype) dtype)));
    if (!bytes) return snprintf (t->said, sizeof t->said, "%s: no output %d", how, i), false;
    double *x = malloc ((size_t) n * sizeof *x);
    assert_non_null (x);
    unpack (dtype, bytes, x, n);
    double e = verify_relative_error (x, wanted[i], n), most = dtype == MUGRAPH_BF16 ? 8e-3 : 2e-3;
    free (bytes), free (x);
    if (!(e <= most)) return snprintf (t->said, sizeof t->said, "%s: relative error %g of output %d", how, e, i), false;
  }
  return true;
}

/* The case's program, and its µGraph as a source in the folder. */
static bool print_task (task *t, const char *folder, mugraph *program, mugraph *candidate, cuda_program *p) {
  mugraph_error e = {""};
  const cuda_device *d = cuda_device_find (t->device);
  bool built = build_backend_case (t->c, t->generator, program, candidate);
  for (int k = 0; built && k < candidate->n_ops; k++) { /* emission may replace a schedule, the case may not */
    cuda_plan plan;
    built = candidate->op[k].kind != MUGRAPH_OP_CUSTOM || cuda_plan_kernel (candidate, k, d, &plan, &e);
  }
  if (built && cuda_emit (candidate, d, t->pdl, p, &e) && print_source (folder, p) &&
      (!t->broken || break_template (folder, t->broken)))
    return true;
  snprintf (t->said, sizeof t->said, "not emitted: %s", e.text);
  return false;
}

static bool compile_task (task *t, const char *folder) {
  return !shell (t, folder, "g++",
                 "${CXX:-g++} " CXXFLAGS " -DEMULATE_ARCH=%d " FOLDERS " -o %s/run %s/kernel.cc %s/emulate.o",
                 cuda_device_find (t->device)->arch * 10, folder, folder, scratch);
}

static void compare_task (task *t, const char *folder, const mugraph *program) {
  double *in[MUGRAPH_INPUTS], *wanted[MUGRAPH_OUTPUTS];
  mugraph_error e = {""};
  for (int i = 0; i < program->n_inputs; i++) {
    char name[30];
    int64_t n = mugraph_volume (&program->tensor[i].shape);
    in[i] = malloc ((size_t) n * sizeof *in[i]);
    verify_random_input (&program->tensor[i].shape, 17 + (uint64_t) i,
                         t->c->graph.scale[i < 4 ? i : 0] > 0 && i < 4 ? t->c->graph.scale[i] : 1, in[i]);
    void *data = packed (&program->tensor[i].shape, in[i], n);
    snprintf (name, sizeof name, "in%d", i);
    write_bytes (folder, name, data,
                 (size_t) (n * mugraph_dtype_bytes ((mugraph_dtype) program->tensor[i].shape.dtype)));
    free (data);
  }
  for (int i = 0; i < program->n_outputs; i++)
    wanted[i] = malloc ((size_t) mugraph_volume (&program->tensor[program->output[i]].shape) * sizeof *wanted[i]);
  verify_real (program, (const double *const *) in, wanted, false, 1, &e);
  for (int late = 0; late < 2 && !t->said[0]; late++) {
    const char *how = late ? "asynchronous work late" : "asynchronous work early";
    if (!shell (t, folder, how,
                "EMULATE_LATE=%d EMULATE_SEED=%d ASAN_OPTIONS=detect_stack_use_after_return=0:detect_leaks=0 timeout "
                "120 %s/run %s",
                late, late + 1, folder, folder))
      compare (t, folder, program, wanted, how);
  }
  for (int i = 0; i < program->n_inputs; i++) free (in[i]);
  for (int i = 0; i < program->n_outputs; i++) free (wanted[i]);
}

static void run_task (task *t, const char *folder) {
  mugraph *program = malloc (sizeof *program), *candidate = malloc (sizeof *candidate);
  cuda_program *p = calloc (1, sizeof *p);
  mkdir (folder, 0700);
  if (print_task (t, folder, program, candidate, p) && compile_task (t, folder)) compare_task (t, folder, program);
  cuda_program_free (p);
  free (p), free (program), free (candidate);
}

#define SOFT "input X[b,2501]: f16\noutput softmax(X * 20, -1)\n"
/* Rows over grid y, columns over grid x. */
static bool build_tiles (const graph_case *c, const mugraph *program, mugraph *g) {
  mugraph_block *b = start (c, program, g);
  int x = tile_in (b, 0, -1, 0, 1), w = tile_in (b, 1, 1, -1, 0);
  int sum = tile_op (b, MUGRAPH_OP_ACCUM, tile_op (b, MUGRAPH_OP_MATMUL, x, w), -1);
  tile_out (b, tile_op (b, MUGRAPH_OP_DIV, sum, tile_op (b, MUGRAPH_OP_ACCUM_RMS, x, -1)), 1, 0);
  return finish (c, g);
}

/* Loops go around their rings more than once: places are used again. */
static const struct {
  int generator, first_arch;
  backend_case c;
} cases[] = {
#define CASE(generator, arch, title, text, batch, builder, x, y, range, where, ...)                                    \
  {                                                                                                                    \
    CUDA_GENERATOR_##generator, arch, {                                                                                \
      {.name = title, .program = text, .b = batch, .build = builder, .grid = {x, y}, .loop = range, .maps = where},    \
          __VA_ARGS__                                                                                                  \
    }                                                                                                                  \
  }
    CASE (GENERIC, 80, "generic: attention, norms, ragged", QKN ("b", "20", "33", "50", "f16"), 2, build_attention_norm,
          2, 2, 3, NULL, {0}),
    CASE (GENERIC, 80, "generic: keys over the grid, pre-defined combine", ATT ("2*b", "16", "16", "64", "bf16"), 1,
          build_split_attention_plain, 2, 4, 2, NULL, {0}),
    CASE (GENERIC, 80, "generic: operands that stream", MM ("", "70", "520", "88", "f16", "f16"), 1, build_split, 2, 1,
          1, "0-0", {.stages = 3}),
    CASE (STREAM, 80, "stream: rmsnorm", RMS ("b", "1024", "64", "f16"), 5, build_rmsnorm, 2, 1, 4, NULL, {.warps = 4}),
    CASE (STREAM, 80, "stream: rmsnorm, split", RMS ("b", "1024", "64", "bf16"), 8, build_rmsnorm, 2, 1, 4, NULL,
          {.split = 2}),
    CASE (STREAM, 90, "stream: ring", RMS ("b", "1024", "128", "f16"), 16, build_rmsnorm, 2, 1, 16, NULL,
          {.copy = 2, .stages = 3}),
    CASE (STREAM, 80, "stream: lora, ragged", LORA ("b", "130", "100", "5", "f16"), 3, build_lora, 3, 1, 3, NULL, {0}),
    CASE (CHAIN, 80, "chain: attention", ATT ("2*b", "64", "64", "512", "f16"), 1, build_attention, 2, 1, 8, NULL,
          {.stages = 2, .warps = 4}),
    CASE (CHAIN, 80, "chain: norms of Q and V, ragged", QKN ("b", "50", "40", "360", "bf16"), 1, build_attention_norm,
          1, 2, 6, NULL, {.stages = 2}),
    CASE (CHAIN, 90, "chain: split over a cluster", ATT ("b", "64", "64", "768", "f16"), 1, build_attention, 1, 1, 12,
          NULL, {.split = 2, .warps = 8}),
    CASE (CHAIN, 80, "chain: K as [n, d]", ATT_KV ("b", "64", "64", "512", "f16", ""), 1, build_turned_k, 1, 1, 8, NULL,
          {.stages = 3}),
    CASE (ROWS, 80, "rows: two norms in turn", NTR ("b", "2048", "f16"), 5, build_split, 2, 1, 1, "0000", {.warps = 4}),
    CASE (ROWS, 80, "rows: softmax of odd rows, clusters", SOFT, 3, build_split, 3, 1, 1, "00",
          {.split = 2, .warps = 4}),
    CASE (TILED, 90, "tiled: rmsnorm, left shared", RMS ("b", "512", "512", "f16"), 192, build_tiles, 2, 2, 8, NULL,
          {.multicast = 2, .stages = 3}),
#undef CASE
};
enum { N = sizeof cases / sizeof *cases };

/* Runs all, a core each. */
static void run_tasks (task tasks[], int n, int first) {
#pragma omp parallel for schedule(dynamic, 1)
  for (int i = 0; i < n; i++) {
    char folder[200];
    snprintf (folder, sizeof folder, "%s/%d", scratch, first + i);
    run_task (&tasks[i], folder);
  }
}

static int set_up (void **state) {
  char command[600];
  (void) state;
  snprintf (command, sizeof command,
            "${CXX:-g++} " CXXFLAGS " -DEMULATE_ARCH=900 " FOLDERS " -c tests/emulate/emulate.cc -o %s/emulate.o",
            scratch);
  return system (command);
}

static void kernels (void **state) {
  (void) state;
  static task tasks[2 * N];
  int n = 0, wrong = 0;
  const char *only = getenv ("EMULATE_CASE");
  for (size_t i = 0; i < N; i++)
    for (int hopper = 0; hopper < 2; hopper++) {
      if ((hopper ? 90 : 80) < cases[i].first_arch || (!hopper && cases[i].c.sched.split > 1)) continue;
      if (only && !strstr (cases[i].c.graph.name, only)) continue;
      tasks[n++] =
          (task){.c = &cases[i].c, .generator = cases[i].generator, .device = hopper ? "h100" : "a100", .pdl = hopper};
    }
  run_tasks (tasks, n, 0);
  for (int i = 0; i < n; i++)
    if (tasks[i].said[0])
      wrong++, print_message ("%s (%s): %s\n", tasks[i].c->graph.name, tasks[i].device, tasks[i].said);
  assert_int_equal (wrong, 0);
}

/* Waits left out, waits for too little, places used too early, swizzles that differ: each must be seen. */
static const broken faults[] = {
    {"generic", "generic.cuh", "ms_copy_wait<STAGES - 2> ();", "ms_copy_wait<STAGES - 1> ();", "operands that stream"},
    {"generic", "generic.cuh", "__syncthreads (); // stage i is there", "// stage i is there", "operands that stream"},
    {"chain", "chain.cuh", "ms_copy_wait<P::STAGES - 2> ();", "", "chain: attention (a100)"},
    {"chain", "chain.cuh", "__syncthreads (); // tile i is there", "// tile i is there", "chain: attention (a100)"},
    {"chain", "chain.cuh", "    ms_wgmma_wait ();\n", "", "chain: attention (h100)"},
    {"chain", "chain.cuh", "      ms_barrier_wait (arrived + 8 * slot, parity);", "      ;", "chain: attention (h100)"},
    {"chain", "chain.cuh", "if (P::BLOCKS > 1) ms_barrier_wait (gathered, 0);", "", "split over a cluster"},
    {"chain", "chain.cuh", "if (P::BLOCKS > 1) ms_cluster_wait ();", "", "split over a cluster"},
    {"tiled", "tiled.cuh", "      ms_barrier_wait (ring.is_empty (), ring.parity ^ 1); // passes", "      // passes",
     "tiled"},
    {"tiled", "tiled.cuh", "    ms_wgmma_wait<0> ();", "", "tiled"},
    {"tiled", "tiled.cuh", "if (P::CLUSTER > 1) ms_cluster_sync (); // nobody", "// nobody", "tiled"},
    {"rows", "rows.cuh", "    __syncthreads ();", "    ;", "two norms"},
    {"rows", "rows.cuh", "    ms_cluster_sync ();", "    ;", "clusters"},
    {"stream", "stream.cuh", "ms_barrier_wait_cluster (ms_shared_address (barrier), 0);", "(void) barrier;",
     "rmsnorm, split"},
    {"device", "tile.cuh", "(u & 7 ^ row & 7) << 4", "(u & 7) << 4", "chain: attention (h100)"},
    {"device", "common.cuh",
     "lane = 16; lane; lane >>= 1) x += ", "lane = 8; lane; lane >>= 1) x += ", "generic: attention"},
};
enum { FAULTS = sizeof faults / sizeof *faults };

static void faults_are_found (void **state) {
  (void) state;
  static task tasks[2 * N * FAULTS];
  static const broken *of[2 * N * FAULTS];
  bool found[FAULTS] = {false};
  int n = 0, missed = 0;
  for (size_t f = 0; f < FAULTS; f++)
    for (size_t i = 0; i < N; i++)
      for (int hopper = 0; hopper < 2; hopper++) {
        char name[200];
        snprintf (name, sizeof name, "%s (%s)", cases[i].c.graph.name, hopper ? "h100" : "a100");
        if ((hopper ? 90 : 80) < cases[i].first_arch || (!hopper && cases[i].c.sched.split > 1)) continue;
        if (!strstr (name, faults[f].name)) continue;
        of[n] = &faults[f];
        tasks[n++] = (task){.c = &cases[i].c,
                            .generator = cases[i].generator,
                            .device = hopper ? "h100" : "a100",
                            .pdl = hopper,
                            .broken = &faults[f]};
      }
  run_tasks (tasks, n, 1000);
  for (int i = 0; i < n; i++) {
    bool compiled = strncmp (tasks[i].said, "g++", 3) && strncmp (tasks[i].said, "not emitted", 11);
    if (!compiled) fail_msg ("%s: %s", of[i]->line, tasks[i].said);
    found[of[i] - faults] |= tasks[i].said[0] != 0;
  }
  for (size_t f = 0; f < FAULTS; f++)
    if (!found[f]) missed++, print_message ("not found: %s without \"%s\"\n", faults[f].file, faults[f].line);
  assert_int_equal (missed, 0);
}

int main (void) {
  if (!mkdtemp (scratch)) return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test (kernels), cmocka_unit_test (faults_are_found)};
  int failed = cmocka_run_group_tests (tests, set_up, NULL);
  char command[100];
  snprintf (command, sizeof command, "rm -rf %s", scratch);
  if (!getenv ("EMULATE_KEEP") && system (command)) failed++;
  return failed;
}
