/* cuda_compile: NVRTC with a cache on disk. An entry is the checksum of the cubin, then the cubin; it is written to a
   temporary file and renamed, so that readers see all of it or nothing, and damaged entries are compiled again. */
#include "nvrtc.h"
#include "cuda_api.h"
#include "cuda_templates/cuda.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { PATH_BYTES = 4096 };

/* The folder of the cache, made if need be; false: no cache. */
static bool cache_folder (char path[PATH_BYTES]) {
  const char *own = getenv ("MSEARCH_CACHE"), *xdg = getenv ("XDG_CACHE_HOME"), *home = getenv ("HOME");
  int n = own && *own     ? snprintf (path, PATH_BYTES, "%s", own)
          : xdg && *xdg   ? snprintf (path, PATH_BYTES, "%s/msearch", xdg)
          : home && *home ? snprintf (path, PATH_BYTES, "%s/.cache/msearch", home)
                          : -1;
  if (n < 1 || n >= PATH_BYTES - 64) return false;
  for (char *p = path + 1;; p++) {
    if (*p && *p != '/') continue;
    char kept = *p;
    *p = 0;
    bool made = !mkdir (path, 0777) || errno == EEXIST;
    *p = kept;
    if (!kept) return made;
  }
}

static bool cache_path (const char *source, int arch, int version, char path[PATH_BYTES]) {
  char key[64];
  if (!cache_folder (path)) return false;
  XXH128_hash_t h = XXH3_128bits_withSeed (source, strlen (source), (XXH64_hash_t) arch << 32 | (unsigned) version);
  snprintf (key, sizeof key, "/%016llx%016llx.cubin", (unsigned long long) h.high64, (unsigned long long) h.low64);
  strcat (path, key);
  return true;
}

static bool cache_read (const char *path, char **cubin, size_t *size) {
  uint64_t sum;
  struct stat s;
  bool good = false;
  FILE *f = fopen (path, "rb");
  if (!f) return false;
  *cubin = NULL;
  if (!fstat (fileno (f), &s) && S_ISREG (s.st_mode) && s.st_size > (off_t) sizeof sum) {
    *size = (size_t) s.st_size - sizeof sum;
    *cubin = malloc (*size);
    good = *cubin && fread (&sum, sizeof sum, 1, f) == 1 && fread (*cubin, 1, *size, f) == *size &&
           XXH3_64bits (*cubin, *size) == sum;
  }
  fclose (f);
  if (good) return true;
  free (*cubin);
  *cubin = NULL;
  return false;
}

/* Best effort: a cache that cannot be written costs time and nothing else. */
static void cache_write (const char *path, const char *cubin, size_t size) {
  char temporary[PATH_BYTES + 16];
  uint64_t sum = XXH3_64bits (cubin, size);
  snprintf (temporary, sizeof temporary, "%s.XXXXXX", path);
  int fd = mkstemp (temporary);
  if (fd < 0) return;
  FILE *f = fdopen (fd, "wb");
  bool good = f && fwrite (&sum, sizeof sum, 1, f) == 1 && fwrite (cubin, 1, size, f) == size;
  if (f) good = !fclose (f) && good;
  else close (fd);
  if (!good || rename (temporary, path)) unlink (temporary);
}

static char *program_log (const cuda_nvrtc *n, nvrtc_program p) {
  size_t size = 0;
  char *text = NULL;
  if (!n->log_size (p, &size) && size > 1 && (text = malloc (size + 1))) {
    if (n->log (p, text)) text[0] = 0;
    text[size] = 0;
  }
  return text;
}

/* The first error of a log, for people; the whole log when it names none. */
static bool fail_with_log (const char *text, int arch, mugraph_error *e) {
  const char *line = text ? strstr (text, "error") : NULL;
  while (line && line > text && line[-1] != '\n') line--;
  if (!line) line = text ? text : "no log";
  return mugraph_fail (e, "NVRTC for sm_%d: %.*s", arch, (int) strcspn (line, "\n"), line);
}

static bool compile (const cuda_nvrtc *n, const char *source, int arch, char **cubin, size_t *size, char **log,
                     mugraph_error *e) {
  char target[48];
  snprintf (target, sizeof target, "--gpu-architecture=sm_%d%s", arch, arch == 90 ? "a" : "");
  const char *const options[] = {target, "--std=c++17"};
  nvrtc_program p = NULL;
  if (n->create (&p, source, "mugraph.cu", 0, NULL, NULL)) return mugraph_fail (e, "NVRTC: out of memory");
  int status = n->compile (p, sizeof options / sizeof *options, options);
  char *text = program_log (n, p);
  bool done = false;
  *cubin = NULL;
  if (status) fail_with_log (text, arch, e);
  else if (n->cubin_size (p, size) || !*size || !(*cubin = malloc (*size)) || n->cubin (p, *cubin))
    mugraph_fail (e, "NVRTC for sm_%d: no cubin", arch);
  else done = true;
  n->destroy (&p);
  if (!done) {
    free (*cubin);
    *cubin = NULL;
  }
  if (log) *log = text;
  else free (text);
  return done;
}

bool cuda_compile (const char *source, int arch, char **cubin, size_t *size, char **log, mugraph_error *e) {
  char path[PATH_BYTES];
  *cubin = NULL;
  if (log) *log = NULL;
  const cuda_nvrtc *n = cuda_open_nvrtc (e);
  if (!n) return false;
  bool cached = cache_path (source, arch, n->number, path);
  if (cached && cache_read (path, cubin, size)) return true;
  if (!compile (n, source, arch, cubin, size, log, e)) return false;
  if (cached) cache_write (path, *cubin, *size);
  return true;
}

bool cuda_compile_graph (const mugraph *g, const cuda_device *d, bool pdl, char **cubin, size_t *size, char **log,
                         mugraph_error *e) {
  cuda_program *p = calloc (1, sizeof *p);
  char *own = NULL;
  size_t own_size;
  bool good = p ? cuda_emit (g, d, pdl, p, e) : mugraph_fail (e, "out of memory");
  if (log) *log = NULL;
  if (cubin) *cubin = NULL;
  if (good) {
    good = cuda_compile (p->source, d->arch, cubin ? cubin : &own, size ? size : &own_size, log, e);
    cuda_program_free (p);
  }
  free (own);
  free (p);
  return good;
}
