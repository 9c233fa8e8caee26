/* bench/kernels: times the µGraphs of files, ours or Mirage's, on the GPU of this machine, beside the speed of light
   and the peers.

     bench/kernels [-o DIR] [--date YYYY-MM-DD] [--peers FILE] [--program PROGRAM] [--all] [--no-time] FILE.json ...

   Of each file the µGraph that is fastest by its own records on this GPU, plainly launched and with programmatic
   dependent launch (pdl) each for itself, the first one where there are no records; --all: every µGraph. A file that
   names no program (Mirage's) is taken to be for --program, else for the workload that its name begins with. Every
   output is compared with a float64 reference before anything is timed; a wrong kernel has no time. A µGraph that is
   wrong because it is not equivalent to the program is listed as such and is no failure. --no-time only compares.
   Protocol: 40 calls in one CUDA graph, replayed 30 times, median per call; warm on one input set, cold with input sets
   that exceed 4x L2, one for each call of the graph. The speed of light of a case is the largest of three ceilings
   measured on this GPU in the same run: reading its inputs once, its matmul operations at the rate of back-to-back
   tensor instructions, and an empty kernel. Writes DIR/<gpu>-<date>.json and .md (default bench/results; nothing with
   --no-time). Exit status: 0 all right, 1 some case wrong, 2 usage. */
#include "cuda_templates/cuda.h"
#include "cuda_templates/runtime/launch.h"
#include "cuda_templates/runtime/meter.h"
#include "cuda_templates/runtime/nvrtc.h"
#include "cuda_templates/runtime/probe.h"
#include "mugraph/file/load.h"
#include "mugraph/file/saved.h"
#include "mugraph/file/text.h"
#include "mugraph/program/program.h"
#include "verify/verify.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CALLS = 40, REPLAYS = 30 };
static const double TOLERANCE = 2e-3;

/* ---- ceilings ---- */

static const char read_source[] =
    "extern \"C\" __global__ void __launch_bounds__ (256) probe (const uint4 *data, unsigned *out) {\n"
    "#if __CUDA_ARCH__ >= 900\n"
    "  asm volatile (\"griddepcontrol.launch_dependents;\");\n"
    "#endif\n"
    "  const long n = N, stride = (long) gridDim.x * 256;\n"
    "  unsigned acc = 0;\n"
    "  long i = (long) blockIdx.x * 256 + threadIdx.x;\n"
    "  for (; i + 7 * stride < n; i += 8 * stride) {\n"
    "    uint4 v[8];\n"
    "#pragma unroll\n"
    "    for (int k = 0; k < 8; k++) v[k] = __ldcs (data + i + k * stride);\n"
    "#pragma unroll\n"
    "    for (int k = 0; k < 8; k++) acc ^= v[k].x ^ v[k].y ^ v[k].z ^ v[k].w;\n"
    "  }\n"
    "  uint4 v[8];\n"
    "#pragma unroll\n"
    "  for (int k = 0; k < 8; k++) v[k] = i + k * stride < n ? __ldcs (data + i + k * stride) : make_uint4 (0, 0, 0, "
    "0);\n"
    "#pragma unroll\n"
    "  for (int k = 0; k < 8; k++) acc ^= v[k].x ^ v[k].y ^ v[k].z ^ v[k].w;\n"
    "  if (acc == 0x9e3779b9u) *out = acc;\n"
    "}\n";

static cuda_program probe (char *source, int blocks, int threads, int smem, bool pdl, int64_t bytes) {
  cuda_program p = {.source = source, .n_launches = 1, .n_buffers = 2};
  p.buffer[0] = (cuda_buffer){.role = CUDA_BUFFER_INPUT, .index = 0, .bytes = bytes, .name = "data"};
  p.buffer[1] = (cuda_buffer){.role = CUDA_BUFFER_OUTPUT, .index = 0, .bytes = 256, .name = "out"};
  p.launch[0] = (cuda_launch){.name = "probe",
                              .grid = {blocks, 1, 1},
                              .block = threads,
                              .cluster = {1, 1, 1},
                              .smem = smem,
                              .pdl = pdl,
                              .n_args = 2};
  p.launch[0].arg[0] = (cuda_arg){.kind = CUDA_ARG_POINTER, .buffer = 0};
  p.launch[0].arg[1] = (cuda_arg){.kind = CUDA_ARG_POINTER, .buffer = 1};
  return p;
}

/* Microseconds of one launch of a probe, or infinity. */
static double time_probe (const cuda_program *p, int arch, int sets) {
  mugraph_error e;
  char *cubin = NULL, *log = NULL;
  size_t size;
  double median = INFINITY, spread;
  if (!cuda_compile (p->source, arch, &cubin, &size, &log, &e)) {
    fprintf (stderr, "bench/kernels: probe: %s\n%s\n", e.text, log ? log : "");
  } else {
    cuda_module *m = cuda_load (p, cubin, size, sets, &e);
    if (!m || !cuda_time (m, CALLS, REPLAYS, &median, &spread, &e)) {
      fprintf (stderr, "bench/kernels: probe: %s\n", e.text);
      median = INFINITY;
    }
    if (m) cuda_unload (m);
  }
  free (cubin);
  free (log);
  return median;
}

/* Reading bytes once from cold memory, the best of several grids: as many sets as the kernels have, more than 4x L2
 * together. */
static double ceiling_read (const cuda_device *dev, int64_t bytes, bool pdl) {
  char source[sizeof read_source + 64];
  double sets = fmin (CALLS * REPLAYS, fmax (CALLS, 4.0 * dev->l2_bytes / (double) bytes + 1));
  snprintf (source, sizeof source, "#define N %lldl\n%s", (long long) (bytes / 16), read_source);
  double best = INFINITY;
  for (int per_sm = 1; per_sm <= 8; per_sm *= 2) {
    cuda_program p = probe (source, dev->sms * per_sm, 256, 0, pdl, bytes);
    best = fmin (best, time_probe (&p, dev->arch, (int) sets));
  }
  return best;
}

static double ceiling_empty (const cuda_device *dev, bool pdl) {
  char source[] = "extern \"C\" __global__ void probe (const void *, void *) {\n#if __CUDA_ARCH__ >= 900\n"
                  "  asm volatile (\"griddepcontrol.launch_dependents;\");\n#endif\n}\n";
  cuda_program p = probe (source, dev->sms, 128, 0, pdl, 256);
  return time_probe (&p, dev->arch, 1);
}

/* Tensor-core flop/s of back-to-back instructions on operands that stay put: wgmma m64n128k16 on sm_90a, mma.sync
   m16n8k16 before it. */
static double ceiling_matmul (const cuda_device *dev) {
  enum { LOOPS = 4096 };
  static char source[16384];
  size_t n = 0;
  int threads = 256;
  double flops;
#define PUT(...) n += (size_t) snprintf (source + n, sizeof source - n, __VA_ARGS__)
  PUT ("extern \"C\" __global__ void __launch_bounds__ (256, 1) probe (const void *, float *out) {\n");
  if (dev->arch >= 90) {
    /* both operands: 16 KiB of shared memory in 128-byte swizzled rows, contents do not matter to the rate */
    PUT ("  extern __shared__ __align__ (1024) unsigned char smem[];\n"
         "  for (int i = threadIdx.x; i < 8192; i += 256) ((unsigned *) smem)[i] = 0x2c002c00u + i %% 977;\n"
         "  asm volatile (\"fence.proxy.async.shared::cta;\"); __syncthreads ();\n"
         "  unsigned s = (unsigned) __cvta_generic_to_shared (smem);\n"
         "  unsigned long long d = (unsigned long long) ((s & 0x3ffff) >> 4) | 1ull << 16 | 64ull << 32 | 1ull << 62;\n"
         "  float c[64] = {0};\n"
         "  asm volatile (\"wgmma.fence.sync.aligned;\" ::: \"memory\");\n"
         "  for (int i = 0; i < %d; i++) {\n    asm volatile (\"wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {",
         LOOPS);
    for (int i = 0; i < 64; i++) PUT ("%s%%%d", i ? "," : "", i);
    PUT ("}, %%64, %%64, 1, 1, 1, 0, 0;\" : ");
    for (int i = 0; i < 64; i++) PUT ("%s\"+f\" (c[%d])", i ? "," : "", i);
    PUT (" : \"l\" (d));\n    if (i %% 8 == 7) asm volatile (\"wgmma.commit_group.sync.aligned; "
         "wgmma.wait_group.sync.aligned 0;\" ::: \"memory\");\n"
         "  }\n  float t = 0;\n  for (int i = 0; i < 64; i++) t += c[i];\n");
    flops = 2.0 * 64 * 128 * 16 * LOOPS * (threads / 128);
  } else {
    PUT ("  float c[8][4] = {{0}};\n  unsigned a = 0x2c002c00u + threadIdx.x;\n  for (int i = 0; i < %d; i++)\n",
         LOOPS);
    PUT ("#pragma unroll\n    for (int j = 0; j < 8; j++)\n      asm volatile "
         "(\"mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
         "{%%0,%%1,%%2,%%3}, {%%4,%%4,%%4,%%4}, {%%4,%%4}, {%%0,%%1,%%2,%%3};\" : \"+f\" (c[j][0]), \"+f\" (c[j][1]), "
         "\"+f\" "
         "(c[j][2]), \"+f\" (c[j][3]) : \"r\" (a));\n  float t = 0;\n  for (int j = 0; j < 8; j++) t += c[j][0] + "
         "c[j][3];\n");
    flops = 2.0 * 16 * 8 * 16 * 8 * LOOPS * (threads / 32);
  }
  PUT ("  if (t == 1234567.0f) *out = t;\n}\n");
#undef PUT
  cuda_program p = probe (source, dev->sms, threads, 32768, false, 256);
  return flops * dev->sms / (time_probe (&p, dev->arch, 1) * 1e-6);
}

/* ---- one case ---- */

typedef struct {
  const char *dir, *peers, *program, *gpu;
  const cuda_device *device;
  char date[16];
  bool all, time;
  double matmul_rate, empty, empty_pdl;
} bench_options;

typedef struct {
  char name[96];
  int batch;
  int index[2]; /* of the µGraphs in the file: plain, pdl */
  double bytes, flops;
  enum { OK, WRONG, FAILED, NOT_EQUIVALENT } state;
  mugraph_error error;
  cuda_measurement m[2]; /* plain, pdl */
  double light[2];       /* microseconds */
  double peer;           /* infinite: none */
  char peer_name[32];
} bench_case;

static const char *const state_text[] = {"ok", "WRONG", "FAILED", "differs"};

static double tensor_bytes (const mugraph_tensor *t) {
  return (double) mugraph_volume (&t->shape) * mugraph_dtype_bytes ((mugraph_dtype) t->shape.dtype);
}

static void count_work (const mugraph *program, bench_case *c) {
  for (int i = 0; i < program->n_inputs; i++) c->bytes += tensor_bytes (&program->tensor[i]);
  for (int i = 0; i < program->n_ops; i++) {
    const mugraph_op *op = &program->op[i];
    if (op->kind != MUGRAPH_OP_MATMUL) continue;
    const mugraph_shape *a = &program->tensor[op->in[0]].shape;
    c->flops += 2.0 * (double) mugraph_volume (&program->tensor[op->out[0]].shape) * a->dim[a->n_dims - 1];
  }
}

/* The fastest peer of a workload at a batch size, from the CSV. */
static void find_peer (const char *path, bench_case *c) {
  FILE *f = path ? fopen (path, "r") : NULL;
  char line[512], workload[64], peer[32];
  c->peer = INFINITY;
  while (f && fgets (line, sizeof line, f)) {
    int batch;
    double warm, cold;
    if (sscanf (line, "%63[^,],%d,%31[^,],%lf,%lf", workload, &batch, peer, &warm, &cold) != 5) continue;
    if (strcmp (workload, c->name) || batch != c->batch || cold >= c->peer) continue;
    c->peer = cold;
    snprintf (c->peer_name, sizeof c->peer_name, "%s", peer);
  }
  if (f) fclose (f);
}

/* The µGraph that is fastest in this mode by the records of this GPU. */
static int recorded_best (const mugraph_file *f, const char *gpu, bool pdl) {
  int best = 0;
  double least = INFINITY;
  for (int i = 0; i < f->n; i++) {
    const cJSON *r = cJSON_GetObjectItemCaseSensitive (f->saved[i].measured, gpu);
    double us = mugraph_record_number (r, pdl ? "cold_pdl_us" : "cold_us", INFINITY);
    if (us > 0 && us < least && mugraph_record_number (r, "correct", 1) != 0) best = i, least = us;
  }
  return best;
}

/* The program, its name and batch size; the file's own, or --program's, or that of the workload in its name
 * ("dir/gqa_bs8.json"). */
static bool find_program (const bench_options *o, const char *path, const mugraph_file *f, mugraph_program *p,
                          mugraph_error *e) {
  const char *base = strrchr (path, '/') ? strrchr (path, '/') + 1 : path;
  const char *end = strstr (base, "_bs");
  char stem[MUGRAPH_PROGRAM_NAME];
  if (!f->n) return mugraph_fail (e, "%s: holds no µGraph", path);
  if (f->has_program && !o->program) {
    memset (p, 0, sizeof *p);
    p->graph = f->program;
    p->batch = f->batch;
    snprintf (p->name, sizeof p->name, "%s", *f->name ? f->name : base);
    return true;
  }
  snprintf (stem, sizeof stem, "%.*s", (int) (end ? end - base : (int) strcspn (base, ".")), base);
  if (!o->program && !mugraph_workload_find (stem))
    return mugraph_fail (
        e, "%s: does not say which program its µGraphs are for: --program=WORKLOAD or --program=FILE.mg", path);
  mugraph_shape in[MUGRAPH_INPUTS];
  for (int t = 0; t < f->saved[0].graph.n_inputs; t++) in[t] = f->saved[0].graph.tensor[t].shape;
  return mugraph_program_fit (o->program ? o->program : stem, NULL, f->saved[0].graph.n_inputs, in, p, e);
}

/* What compiles in parallel here is found in the disk cache later. */
static void compile_all (const bench_options *o, const mugraph_file *f) {
#pragma omp parallel for schedule(dynamic)
  for (int i = 0; i < f->n; i++) {
    cuda_program *p = calloc (1, sizeof *p);
    char *cubin = NULL;
    size_t size;
    if (p && cuda_emit (&f->saved[i].graph, o->device, false, p, NULL)) {
      cuda_compile (p->source, o->device->arch, &cubin, &size, NULL, NULL);
      cuda_program_free (p);
    }
    free (cubin);
    free (p);
  }
}

static bool equivalent (const mugraph *program, const mugraph *g) {
  verify_options o;
  verify_report r;
  verify_options_default (&o);
  verify_equivalent (program, g, &o, &r);
  return r.verdict != VERIFY_DIFFERENT;
}

static void run_case (const bench_options *o, cuda_meter *meter, const mugraph *program, const mugraph_file *f,
                      bench_case *c) {
  bool done = true;
  for (int pdl = 0; pdl < 2 && done; pdl++)
    done = cuda_meter_run (meter, &f->saved[c->index[pdl]].graph, pdl, TOLERANCE, o->time ? CUDA_FULL : CUDA_CHECK,
                           &c->m[pdl], &c->error);
  if (!done) c->state = FAILED;
  else if (!c->m[0].correct || !c->m[1].correct)
    c->state =
        equivalent (program, &f->saved[c->index[!c->m[1].correct && c->m[0].correct]].graph) ? WRONG : NOT_EQUIVALENT;
  if (c->state == NOT_EQUIVALENT)
    mugraph_fail (&c->error,
                  "not equivalent to the program (or its inputs are in another order: msearch import --inputs)");
}

static void print_case (const bench_options *o, const bench_case *c) {
  char index[32] = "";
  if (c->index[0] == c->index[1]) snprintf (index, sizeof index, "%d", c->index[0]);
  else snprintf (index, sizeof index, "%d/%d", c->index[0], c->index[1]);
  printf ("%-10s b=%-3d µGraph %-5s %-7s err %.1e", c->name, c->batch, index, state_text[c->state],
          fmax (c->m[0].rel_err, c->m[1].rel_err));
  if (o->time && c->state == OK)
    printf ("  plain %7.2f / %7.2f  pdl %7.2f / %7.2f  light %6.2f / %6.2f", c->m[0].warm_us, c->m[0].cold_us,
            c->m[1].warm_us, c->m[1].cold_us, c->light[0], c->light[1]);
  if (o->time && isfinite (c->peer)) printf ("  peer %6.1f", c->peer);
  printf ("%s%s\n", c->error.text[0] ? "  " : "", c->error.text);
  fflush (stdout);
}

/* Appends the cases of a file; returns how many there are now, -1 when memory runs out. */
static int run_file (const bench_options *o, const char *path, bench_case **cases, int n) {
  mugraph_file f;
  mugraph_program *p = calloc (1, sizeof *p);
  bench_case first = {.peer = INFINITY};
  bool good = p && mugraph_file_load_any (path, &f, &first.error);
  bool known = good && find_program (o, path, &f, p, &first.error);
  cuda_meter *meter = NULL;
  int rows = known && o->all ? f.n : 1;
  snprintf (first.name, sizeof first.name, "%s", known ? p->name : path);
  if (known) {
    first.batch = p->batch;
    count_work (&p->graph, &first);
    if (strstr (o->gpu, "H100")) find_peer (o->peers, &first);
    int64_t bytes = ((int64_t) first.bytes + 15) / 16 * 16;
    for (int pdl = 0; pdl < 2; pdl++) {
      if (o->time)
        first.light[pdl] = fmax (fmax (ceiling_read (o->device, bytes, pdl), first.flops / o->matmul_rate * 1e6),
                                 pdl ? o->empty_pdl : o->empty);
      first.index[pdl] = recorded_best (&f, o->gpu, pdl);
    }
    if (o->all) compile_all (o, &f);
    meter = cuda_meter_new (&p->graph, o->device, 1, NULL, &first.error);
  }
  bench_case *more = realloc (*cases, sizeof *more * (size_t) (n + rows));
  if (more) *cases = more;
  for (int i = 0; more && i < rows; i++) {
    bench_case *c = &more[n + i];
    *c = first;
    if (o->all) c->index[0] = c->index[1] = i;
    if (meter) run_case (o, meter, &p->graph, &f, c);
    else c->state = FAILED;
    print_case (o, c);
  }
  cuda_meter_free (meter);
  if (good) mugraph_file_free (&f);
  free (p);
  return more ? n + rows : -1;
}

/* ---- reports ---- */

static int by_workload (const void *x, const void *y) {
  const bench_case *a = x, *b = y;
  int order = strcmp (a->name, b->name);
  if (!order) order = (a->batch > b->batch) - (a->batch < b->batch);
  return order ? order : (a->index[0] > b->index[0]) - (a->index[0] < b->index[0]);
}

/* Geometric mean of the best peer's time over ours, cold: modes 1 plain, 2 pdl, 3 the better of both. */
static double mean_speedup (const bench_case cases[], int n, int modes, int *compared) {
  double product = 0;
  *compared = 0;
  for (int i = 0; i < n; i++) {
    const bench_case *c = &cases[i];
    if (c->state != OK || !isfinite (c->peer)) continue;
    product += log (c->peer / fmin (modes & 1 ? c->m[0].cold_us : INFINITY, modes & 2 ? c->m[1].cold_us : INFINITY));
    ++*compared;
  }
  return *compared ? exp (product / *compared) : 0;
}

/* "speed-up over the best peer, geometric mean of 18 cases: 2.31x (plain 1.70x, pdl 2.30x)" */
static void write_mean (FILE *f, const bench_case cases[], int n) {
  int compared;
  double best = mean_speedup (cases, n, 3, &compared);
  if (compared)
    fprintf (f, "speed-up over the best peer, geometric mean of %d cases: %.2fx (plain %.2fx, pdl %.2fx)\n", compared,
             best, mean_speedup (cases, n, 1, &compared), mean_speedup (cases, n, 2, &compared));
}

static void write_markdown (FILE *f, const bench_options *o, const bench_case cases[], int n) {
  fprintf (f,
           "%s, %s: `build/bench/kernels%s saved_mugraphs/*.json`. Microseconds a call, warm / cold: 40 calls in one "
           "CUDA graph, 30 "
           "replays, median; every output is compared with float64 first. pdl: programmatic dependent launch. light: "
           "the largest "
           "of reading the inputs once, the matmuls at %.0f TFLOP/s and an empty kernel (%.2f / %.2f us), each "
           "measured in the same run "
           "(plain / pdl). of light: the part of the speed of light that the faster cold time reaches. Peers: cold, "
           "the better of what bench/peers.csv "
           "lists.\n\n",
           o->gpu, o->date, o->all ? " --all" : "", o->matmul_rate * 1e-12, o->empty, o->empty_pdl);
  fprintf (
      f,
      "| workload | b | µGraph (plain, pdl) | rel. error | plain | pdl | light | of light | best peer | speed-up |\n");
  fprintf (f, "|---|---|---|---|---|---|---|---|---|---|\n");
  for (int i = 0; i < n; i++) {
    const bench_case *c = &cases[i];
    fprintf (f, "| %s | %d | %d, %d |", c->name, c->batch, c->index[0], c->index[1]);
    if (c->state != OK) {
      fprintf (f, " %s %s |||||||\n", state_text[c->state], c->error.text);
      continue;
    }
    bool pdl = c->m[1].cold_us < c->m[0].cold_us;
    fprintf (f, " %.1e | %.2f / %s%.2f%s | %.2f / %s%.2f%s | %.2f / %.2f | %.0f %% |",
             fmax (c->m[0].rel_err, c->m[1].rel_err), c->m[0].warm_us, pdl ? "" : "**", c->m[0].cold_us,
             pdl ? "" : "**", c->m[1].warm_us, pdl ? "**" : "", c->m[1].cold_us, pdl ? "**" : "", c->light[0],
             c->light[1], 100 * c->light[pdl] / c->m[pdl].cold_us);
    if (isfinite (c->peer)) fprintf (f, " %.1f (%s) | %.2fx |\n", c->peer, c->peer_name, c->peer / c->m[pdl].cold_us);
    else fprintf (f, " | |\n");
  }
  fprintf (f, "\n");
  write_mean (f, cases, n);
}

static cJSON *measurement_json (const cuda_measurement *m, double light, int index) {
  cJSON *o = cJSON_CreateObject ();
  cJSON_AddNumberToObject (o, "index", index);
  cJSON_AddBoolToObject (o, "correct", m->correct);
  cJSON_AddNumberToObject (o, "rel_err", m->rel_err);
  cJSON_AddNumberToObject (o, "warm_us", m->warm_us);
  cJSON_AddNumberToObject (o, "warm_spread_us", m->warm_spread_us);
  cJSON_AddNumberToObject (o, "cold_us", m->cold_us);
  cJSON_AddNumberToObject (o, "cold_spread_us", m->cold_spread_us);
  cJSON_AddNumberToObject (o, "speed_of_light_us", light);
  return o;
}

static char *write_json (const bench_options *b, const bench_case cases[], int n) {
  cJSON *root = cJSON_CreateObject (), *list = cJSON_CreateArray ();
  int compared;
  cJSON_AddStringToObject (root, "schema", "msearch.bench/1");
  cJSON_AddStringToObject (root, "device", b->gpu);
  cJSON_AddStringToObject (root, "date", b->date);
  cJSON_AddNumberToObject (root, "matmul_flops", b->matmul_rate);
  cJSON_AddNumberToObject (root, "empty_us", b->empty);
  cJSON_AddNumberToObject (root, "empty_pdl_us", b->empty_pdl);
  cJSON_AddNumberToObject (root, "speed_up", mean_speedup (cases, n, 3, &compared));
  cJSON_AddNumberToObject (root, "compared", compared);
  for (int i = 0; i < n; i++) {
    const bench_case *c = &cases[i];
    cJSON *o = cJSON_CreateObject ();
    cJSON_AddStringToObject (o, "workload", c->name);
    cJSON_AddNumberToObject (o, "batch", c->batch);
    cJSON_AddStringToObject (o, "state", state_text[c->state]);
    cJSON_AddNumberToObject (o, "bytes_in", c->bytes);
    cJSON_AddNumberToObject (o, "matmul_flops", c->flops);
    if (c->error.text[0]) cJSON_AddStringToObject (o, "error", c->error.text);
    cJSON_AddItemToObject (o, "plain", measurement_json (&c->m[0], c->light[0], c->index[0]));
    cJSON_AddItemToObject (o, "pdl", measurement_json (&c->m[1], c->light[1], c->index[1]));
    if (isfinite (c->peer)) {
      cJSON_AddStringToObject (o, "best_peer", c->peer_name);
      cJSON_AddNumberToObject (o, "best_peer_cold_us", c->peer);
    }
    cJSON_AddItemToArray (list, o);
  }
  cJSON_AddItemToObject (root, "cases", list);
  char *text = cJSON_Print (root);
  cJSON_Delete (root);
  return text;
}

/* DIR/<gpu>-<date>.md and .json */
static bool write_results (const bench_options *o, const bench_case cases[], int n, mugraph_error *e) {
  char gpu[128], path[600];
  snprintf (gpu, sizeof gpu, "%s", o->gpu);
  for (char *p = gpu; *p; p++) *p = isalnum ((unsigned char) *p) ? (char) tolower ((unsigned char) *p) : '-';
  snprintf (path, sizeof path, "%s/%s-%s.md", o->dir, gpu, o->date);
  FILE *f = fopen (path, "w");
  if (!f) return mugraph_fail (e, "%s: cannot be written", path);
  write_markdown (f, o, cases, n);
  if (fclose (f)) return mugraph_fail (e, "%s: cannot be written", path);
  snprintf (path, sizeof path, "%s/%s-%s.json", o->dir, gpu, o->date);
  char *text = write_json (o, cases, n);
  bool saved = text ? mugraph_write_text (path, text, strlen (text), e) : mugraph_fail (e, "out of memory");
  free (text);
  return saved;
}

static int usage (const char *what) {
  fprintf (stderr,
           "bench/kernels: %s\nusage: bench/kernels [-o DIR] [--date YYYY-MM-DD] [--peers FILE] [--program PROGRAM] "
           "[--all] [--no-time] FILE.json ...\n",
           what);
  return 2;
}

/* Returns the first file's position in argv, or -1 with the argument that is none. */
static int read_options (int argc, char **argv, bench_options *o, const char **bad) {
  int i = 1;
  for (; i < argc && argv[i][0] == '-'; i++) {
    const char *value = i + 1 < argc ? argv[i + 1] : NULL;
    *bad = argv[i];
    if (!strcmp (argv[i], "--all")) o->all = true;
    else if (!strcmp (argv[i], "--no-time")) o->time = false;
    else if (value && !strcmp (argv[i], "-o")) o->dir = argv[++i];
    else if (value && !strcmp (argv[i], "--peers")) o->peers = argv[++i];
    else if (value && !strcmp (argv[i], "--program")) o->program = argv[++i];
    else if (value && !strcmp (argv[i], "--date")) snprintf (o->date, sizeof o->date, "%s", argv[++i]);
    else return -1;
  }
  *bad = "no file given";
  return i < argc ? i : -1;
}

int main (int argc, char **argv) {
  bench_options o = {.dir = "bench/results", .peers = "bench/peers.csv", .time = true};
  const char *bad;
  mugraph_error e;
  time_t now = time (NULL);
  strftime (o.date, sizeof o.date, "%Y-%m-%d", localtime (&now));
  int first = read_options (argc, argv, &o, &bad);
  if (first < 0) return usage (bad);

  cuda_facts facts;
  cuda_probe (&facts);
  if (!facts.gpu || !facts.nvrtc) {
    fprintf (stderr, "bench/kernels: needs a GPU and NVRTC: %s\n", facts.line);
    return 2;
  }
  o.gpu = facts.device;
  o.device = cuda_device_find (facts.device);
  if (!o.device) o.device = cuda_device_find (facts.arch >= 90 ? "h100" : "a100");
  if (o.time) {
    o.empty = ceiling_empty (o.device, false), o.empty_pdl = ceiling_empty (o.device, true),
    o.matmul_rate = ceiling_matmul (o.device);
    printf ("%s: %.0f TFLOP/s of tensor instructions, empty kernel %.2f us plain, %.2f us pdl\n", o.gpu,
            o.matmul_rate * 1e-12, o.empty, o.empty_pdl);
  }
  bench_case *cases = NULL;
  int n = 0, count[4] = {0};
  for (int i = first; i < argc && n >= 0; i++) n = run_file (&o, argv[i], &cases, n);
  if (n < 0) return usage ("out of memory");
  for (int i = 0; i < n; i++) count[cases[i].state]++;
  if (n) qsort (cases, (size_t) n, sizeof *cases, by_workload);
  if (o.time) write_mean (stdout, cases, n);
  printf ("%d right, %d wrong, %d failed, %d not equivalent to their program\n", count[OK], count[WRONG], count[FAILED],
          count[NOT_EQUIVALENT]);
  bool saved = !o.time || write_results (&o, cases, n, &e);
  if (!saved) fprintf (stderr, "bench/kernels: %s\n", e.text);
  free (cases);
  return !saved ? 2 : count[WRONG] || count[FAILED];
}
