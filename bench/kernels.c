/* bench/kernels: times saved µGraphs on the GPU of this machine, beside the speed of light and the peers.

     bench/kernels [-o DIR] [--date YYYY-MM-DD] [--peers FILE] FILE.json ...

   Every output is compared with a float64 reference before anything is timed; a wrong kernel has no time. Protocol: 40
   calls in one CUDA graph, replayed 30 times, median per call; warm on one input set, cold with input sets that exceed
   4x L2; plain, and with programmatic dependent launch (pdl).
   The speed of light of a case is the largest of three ceilings measured on this GPU in the same run: reading its inputs
   once, its matmul operations at the rate of back-to-back tensor instructions, and an empty kernel.
   Writes DIR/<gpu>-<date>.json and .md (default bench/results). Exit status: 0 all right, 1 some case wrong, 2 usage. */
#include "../cuda_templates/cuda.h"
#include "../mugraph/json.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CALLS = 40, REPLAYS = 30, CASES = 256 };
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
    "  for (int k = 0; k < 8; k++) v[k] = i + k * stride < n ? __ldcs (data + i + k * stride) : make_uint4 (0, 0, 0, 0);\n"
    "#pragma unroll\n"
    "  for (int k = 0; k < 8; k++) acc ^= v[k].x ^ v[k].y ^ v[k].z ^ v[k].w;\n"
    "  if (acc == 0x9e3779b9u) *out = acc;\n"
    "}\n";

static cuda_program probe (char *source, int blocks, int threads, int smem, bool pdl, int64_t bytes) {
  cuda_program p = {.source = source, .n_launches = 1, .n_buffers = 2};
  p.buffer[0] = (cuda_buffer){.role = CUDA_BUFFER_INPUT, .index = 0, .bytes = bytes, .name = "data"};
  p.buffer[1] = (cuda_buffer){.role = CUDA_BUFFER_OUTPUT, .index = 0, .bytes = 256, .name = "out"};
  p.launch[0] = (cuda_launch){.name = "probe", .grid = {blocks, 1, 1}, .block = threads, .cluster = {1, 1, 1}, .smem = smem,
                              .pdl = pdl, .n_args = 2};
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

/* Reading bytes once from cold memory, the best of several grids. */
static double ceiling_read (const mugraph_device *dev, int64_t bytes, bool pdl) {
  char source[sizeof read_source + 64];
  snprintf (source, sizeof source, "#define N %lldl\n%s", (long long) (bytes / 16), read_source);
  int sets = (int) (4 * dev->l2_bytes / (double) bytes) + 2;
  double best = INFINITY;
  for (int per_sm = 1; per_sm <= 8; per_sm *= 2) {
    cuda_program p = probe (source, dev->sms * per_sm, 256, 0, pdl, bytes);
    best = fmin (best, time_probe (&p, dev->arch, sets < 40 ? sets : 40));
  }
  return best;
}

static double ceiling_empty (const mugraph_device *dev, bool pdl) {
  char source[] = "extern \"C\" __global__ void probe (const void *, void *) {\n#if __CUDA_ARCH__ >= 900\n"
                  "  asm volatile (\"griddepcontrol.launch_dependents;\");\n#endif\n}\n";
  cuda_program p = probe (source, dev->sms, 128, 0, pdl, 256);
  return time_probe (&p, dev->arch, 1);
}

/* Tensor-core flop/s of back-to-back instructions on operands that stay put: wgmma m64n128k16 on sm_90a, mma.sync
   m16n8k16 before it. */
static double ceiling_matmul (const mugraph_device *dev) {
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
         "  for (int i = 0; i < %d; i++) {\n    asm volatile (\"wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {", LOOPS);
    for (int i = 0; i < 64; i++) PUT ("%s%%%d", i ? "," : "", i);
    PUT ("}, %%64, %%64, 1, 1, 1, 0, 0;\" : ");
    for (int i = 0; i < 64; i++) PUT ("%s\"+f\" (c[%d])", i ? "," : "", i);
    PUT (" : \"l\" (d));\n    if (i %% 8 == 7) asm volatile (\"wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;\" ::: \"memory\");\n"
         "  }\n  float t = 0;\n  for (int i = 0; i < 64; i++) t += c[i];\n");
    flops = 2.0 * 64 * 128 * 16 * LOOPS * (threads / 128);
  } else {
    PUT ("  float c[8][4] = {{0}};\n  unsigned a = 0x2c002c00u + threadIdx.x;\n  for (int i = 0; i < %d; i++)\n", LOOPS);
    PUT ("#pragma unroll\n    for (int j = 0; j < 8; j++)\n      asm volatile (\"mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
         "{%%0,%%1,%%2,%%3}, {%%4,%%4,%%4,%%4}, {%%4,%%4}, {%%0,%%1,%%2,%%3};\" : \"+f\" (c[j][0]), \"+f\" (c[j][1]), \"+f\" "
         "(c[j][2]), \"+f\" (c[j][3]) : \"r\" (a));\n  float t = 0;\n  for (int j = 0; j < 8; j++) t += c[j][0] + c[j][3];\n");
    flops = 2.0 * 16 * 8 * 16 * 8 * LOOPS * (threads / 32);
  }
  PUT ("  if (t == 1234567.0f) *out = t;\n}\n");
#undef PUT
  cuda_program p = probe (source, dev->sms, threads, 32768, false, 256);
  return flops * dev->sms / (time_probe (&p, dev->arch, 1) * 1e-6);
}

/* ---- one case ---- */

typedef struct {
  char name[96];
  char stem[MUGRAPH_FILE_NAME];
  int batch;
  double bytes, flops;
  bool ok;
  mugraph_error error;
  cuda_measurement plain, pdl;
  double light_plain, light_pdl; /* microseconds */
  double peer;
  char peer_name[32];
} bench_case;

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

static void run_case (const char *path, const mugraph_device *dev, const char *peers, double matmul_rate, double empty,
                      double empty_pdl, bench_case *c) {
  mugraph_file file;
  memset (c, 0, sizeof *c);
  snprintf (c->name, sizeof c->name, "%s", path);
  if (!mugraph_file_load (path, &file, &c->error)) return;
  if (!file.has_program || !file.n) {
    mugraph_fail (&c->error, "%s: holds no program or no µGraph", path);
  } else {
    snprintf (c->name, sizeof c->name, "%s", file.name);
    snprintf (c->stem, sizeof c->stem, "%s", file.stem);
    c->batch = file.batch;
    count_work (&file.program, c);
    find_peer (peers, c);
    int64_t bytes = ((int64_t) c->bytes + 15) / 16 * 16;
    double math = c->flops / matmul_rate * 1e6;
    c->light_plain = fmax (fmax (ceiling_read (dev, bytes, false), math), empty);
    c->light_pdl = fmax (fmax (ceiling_read (dev, bytes, true), math), empty_pdl);
    const mugraph *g = &file.saved[0].graph;
    c->ok = cuda_measure (&file.program, g, dev, false, 1, NULL, TOLERANCE, true, &c->plain, &c->error) &&
            cuda_measure (&file.program, g, dev, true, 1, NULL, TOLERANCE, true, &c->pdl, &c->error) && c->plain.correct && c->pdl.correct;
  }
  mugraph_file_free (&file);
}

/* ---- reports ---- */

static void write_markdown (FILE *f, const bench_case cases[], int n, const char *gpu, const char *date, double matmul_rate) {
  fprintf (f, "%s, %s. Microseconds per call: `build/bench/kernels saved_mugraphs/*.json` (40 calls in one CUDA graph, 30 "
              "replays, median; every output compared with float64 first). pdl: programmatic dependent launch. light: the largest "
              "of reading the inputs once, the matmuls at %.0f TFLOP/s and an empty kernel, each measured in the same run (plain / pdl).\n\n", gpu, date, matmul_rate * 1e-12);
  fprintf (f, "| workload | b | rel. error | plain warm | plain cold | pdl warm | pdl cold | light | best peer, cold | speed-up |\n");
  fprintf (f, "|---|---|---|---|---|---|---|---|---|---|\n");
  double product = 0;
  int compared = 0;
  for (int i = 0; i < n; i++) {
    const bench_case *c = &cases[i];
    if (!c->ok) {
      fprintf (f, "| %s | %d | %s |\n", c->name, c->batch, c->plain.rel_err > TOLERANCE || c->pdl.rel_err > TOLERANCE ? "WRONG" : c->error.text);
      continue;
    }
    double best = fmin (c->plain.cold_us, c->pdl.cold_us);
    fprintf (f, "| %s | %d | %.1e | %.2f | %.2f | %.2f | **%.2f** | %.2f / %.2f |", c->name, c->batch, fmax (c->plain.rel_err, c->pdl.rel_err),
             c->plain.warm_us, c->plain.cold_us, c->pdl.warm_us, c->pdl.cold_us, c->light_plain, c->light_pdl);
    if (isfinite (c->peer)) {
      fprintf (f, " %.1f (%s) | %.2fx |\n", c->peer, c->peer_name, c->peer / best);
      product += log (c->peer / best);
      compared++;
    } else
      fprintf (f, " | |\n");
  }
  if (compared) fprintf (f, "\nGeometric mean of the speed-up over the best peer, %d cases: %.2fx.\n", compared, exp (product / compared));
}

static cJSON *measurement_json (const cuda_measurement *m, double light) {
  cJSON *o = cJSON_CreateObject ();
  cJSON_AddBoolToObject (o, "correct", m->correct);
  cJSON_AddNumberToObject (o, "rel_err", m->rel_err);
  cJSON_AddNumberToObject (o, "warm_us", m->warm_us);
  cJSON_AddNumberToObject (o, "warm_spread_us", m->warm_spread_us);
  cJSON_AddNumberToObject (o, "cold_us", m->cold_us);
  cJSON_AddNumberToObject (o, "cold_spread_us", m->cold_spread_us);
  cJSON_AddNumberToObject (o, "speed_of_light_us", light);
  return o;
}

static char *write_json (const bench_case cases[], int n, const char *gpu, const char *date, double matmul_rate, double empty, double empty_pdl) {
  cJSON *root = cJSON_CreateObject (), *list = cJSON_CreateArray ();
  cJSON_AddStringToObject (root, "schema", "msearch.bench/1");
  cJSON_AddStringToObject (root, "device", gpu);
  cJSON_AddStringToObject (root, "date", date);
  cJSON_AddStringToObject (root, "command", "build/bench/kernels saved_mugraphs/*.json");
  cJSON_AddNumberToObject (root, "matmul_flops", matmul_rate);
  cJSON_AddNumberToObject (root, "empty_us", empty);
  cJSON_AddNumberToObject (root, "empty_pdl_us", empty_pdl);
  for (int i = 0; i < n; i++) {
    const bench_case *c = &cases[i];
    cJSON *o = cJSON_CreateObject ();
    cJSON_AddStringToObject (o, "workload", c->name);
    cJSON_AddNumberToObject (o, "batch", c->batch);
    cJSON_AddNumberToObject (o, "bytes_in", c->bytes);
    cJSON_AddNumberToObject (o, "matmul_flops", c->flops);
    if (c->error.text[0]) cJSON_AddStringToObject (o, "error", c->error.text);
    cJSON_AddItemToObject (o, "plain", measurement_json (&c->plain, c->light_plain));
    cJSON_AddItemToObject (o, "pdl", measurement_json (&c->pdl, c->light_pdl));
    if (isfinite (c->peer) && c->peer > 0) {
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

static int usage (const char *what) {
  fprintf (stderr, "bench/kernels: %s\nusage: bench/kernels [-o DIR] [--date YYYY-MM-DD] [--peers FILE] FILE.json ...\n", what);
  return 2;
}

int main (int argc, char **argv) {
  const char *dir = "bench/results", *peers = "bench/peers.csv", *files[CASES];
  char date[16];
  int n = 0;
  time_t now = time (NULL);
  strftime (date, sizeof date, "%Y-%m-%d", localtime (&now));
  for (int i = 1; i < argc; i++) {
    const char *value = i + 1 < argc ? argv[i + 1] : NULL;
    if (!strcmp (argv[i], "-o") && value) dir = argv[++i];
    else if (!strcmp (argv[i], "--date") && value) snprintf (date, sizeof date, "%s", argv[++i]);
    else if (!strcmp (argv[i], "--peers") && value) peers = argv[++i];
    else if (argv[i][0] == '-') return usage (argv[i]);
    else if (n < CASES) files[n++] = argv[i];
  }
  if (!n) return usage ("no file given");

  cuda_facts facts;
  cuda_probe (&facts);
  if (!facts.gpu || !facts.nvrtc) {
    fprintf (stderr, "bench/kernels: needs a GPU and NVRTC: %s\n", facts.line);
    return 2;
  }
  const mugraph_device *dev = mugraph_device_find (facts.device);
  if (!dev) dev = mugraph_device_find (facts.arch >= 90 ? "h100" : "a100");

  double empty = ceiling_empty (dev, false), empty_pdl = ceiling_empty (dev, true), rate = ceiling_matmul (dev);
  printf ("%s: %.0f TFLOP/s of tensor instructions, empty kernel %.2f us plain, %.2f us pdl\n", facts.device, rate * 1e-12, empty, empty_pdl);
  bench_case *cases = calloc ((size_t) n, sizeof *cases);
  if (!cases) return usage ("out of memory");
  int wrong = 0;
  for (int i = 0; i < n; i++) {
    bench_case *c = &cases[i];
    run_case (files[i], dev, strstr (facts.device, "H100") ? peers : NULL, rate, empty, empty_pdl, c);
    wrong += !c->ok;
    printf ("%-10s b=%-3d %-5s err %.1e  plain %7.2f / %7.2f  pdl %7.2f / %7.2f  light %6.2f / %6.2f  peer %6.1f  %s\n", c->name, c->batch,
            c->ok ? "ok" : "WRONG", fmax (c->plain.rel_err, c->pdl.rel_err), c->plain.warm_us, c->plain.cold_us, c->pdl.warm_us,
            c->pdl.cold_us, c->light_plain, c->light_pdl, c->peer, c->error.text);
    fflush (stdout);
  }

  char gpu[128], path[512];
  snprintf (gpu, sizeof gpu, "%s", facts.device);
  for (char *p = gpu; *p; p++) *p = isalnum ((unsigned char) *p) ? (char) tolower ((unsigned char) *p) : '-';
  snprintf (path, sizeof path, "%s/%s-%s.md", dir, gpu, date);
  FILE *f = fopen (path, "w");
  mugraph_error e;
  if (!f) {
    fprintf (stderr, "bench/kernels: %s: cannot be written\n", path);
    return 2;
  }
  write_markdown (f, cases, n, facts.device, date, rate);
  fclose (f);
  snprintf (path, sizeof path, "%s/%s-%s.json", dir, gpu, date);
  char *text = write_json (cases, n, facts.device, date, rate, empty, empty_pdl);
  bool saved = text && mugraph_write_text (path, text, strlen (text), &e);
  if (!saved) fprintf (stderr, "bench/kernels: %s\n", text ? e.text : "out of memory");
  free (text);
  free (cases);
  return !saved ? 2 : wrong ? 1 : 0;
}
