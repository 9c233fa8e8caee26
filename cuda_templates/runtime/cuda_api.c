#include "cuda_api.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool load_symbols (void *library, size_t n, const char *const names[], void *fields, mugraph_error *e) {
  for (size_t i = 0; i < n; i++) {
    void *symbol = dlsym (library, names[i]);
    if (!symbol) return mugraph_fail (e, "has no %s: too old, CUDA 12 or later is needed", names[i]);
    memcpy ((char *) fields + i * sizeof symbol, &symbol, sizeof symbol); /* function pointers are as wide: POSIX */
  }
  return true;
}

/* ---- NVRTC ---- */

static pthread_once_t nvrtc_once = PTHREAD_ONCE_INIT;
static cuda_nvrtc nvrtc;          /* written under nvrtc_once, then only read */
static mugraph_error nvrtc_error; /* the same; empty: open */

static bool take_nvrtc (const char *path) {
  static const char *const names[] = {
#define ENTRY(field, symbol, parameters) symbol,
      CUDA_NVRTC_ENTRIES
#undef ENTRY
  };
  mugraph_error why = {""};
  int major, minor;
  void *library = dlopen (path, RTLD_NOW | RTLD_LOCAL);
  if (!library) return false;
  if (!load_symbols (library, sizeof names / sizeof *names, names, &nvrtc, &why)) {
    mugraph_fail (&nvrtc_error, "libnvrtc: %s %s", path, why.text);
    return false;
  }
  if (nvrtc.version (&major, &minor)) return false;
  nvrtc.number = 1000 * major + 10 * minor;
  return true;
}

static bool take_nvrtc_in (const char *folder) {
  static const char *const names[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char path[4096];
    if (snprintf (path, sizeof path, "%s%s%s", folder, *folder ? "/" : "", names[i]) < (int) sizeof path &&
        take_nvrtc (path))
      return true;
  }
  return false;
}

static void open_nvrtc (void) {
  const char *named = getenv ("MSEARCH_NVRTC"), *home = getenv ("CUDA_HOME");
  char folder[4000];
  if (named && *named) {
    if (!take_nvrtc (named) && !nvrtc_error.text[0])
      mugraph_fail (&nvrtc_error, "libnvrtc: %s, named by MSEARCH_NVRTC, cannot be opened", named);
    else if (nvrtc.number) nvrtc_error.text[0] = 0;
    return;
  }
  bool found = false;
  if (home && *home && snprintf (folder, sizeof folder, "%s/lib64", home) < (int) sizeof folder)
    found = take_nvrtc_in (folder);
  found = found || take_nvrtc_in ("") || take_nvrtc_in ("/usr/local/cuda/lib64");
  if (found) nvrtc_error.text[0] = 0;
  else if (!nvrtc_error.text[0])
    mugraph_fail (&nvrtc_error,
                  "libnvrtc: not found; install the CUDA Toolkit or set MSEARCH_NVRTC to the library's path");
}

const cuda_nvrtc *cuda_open_nvrtc (mugraph_error *e) {
  pthread_once (&nvrtc_once, open_nvrtc);
  if (!nvrtc_error.text[0]) return &nvrtc;
  mugraph_fail (e, "%s", nvrtc_error.text);
  return NULL;
}

/* ---- the driver ---- */

static pthread_once_t driver_once = PTHREAD_ONCE_INIT;
static cuda_driver driver; /* written under driver_once, then only read */
static int driver_number;
static mugraph_error driver_error;

bool cuda_check (const cuda_driver *d, cu_result r, const char *what, mugraph_error *e) {
  const char *text = NULL;
  if (!r) return true;
  if (d->error_string (r, &text) || !text) text = "unknown error";
  return mugraph_fail (e, "%s: CUDA error %d: %s", what, r, text);
}

static bool open_gpu (mugraph_error *e) {
  static const char *const names[] = {
#define ENTRY(field, symbol, parameters) symbol,
      CUDA_DRIVER_ENTRIES
#undef ENTRY
  };
  cuda_driver *d = &driver;
  int count = 0, major = 0, minor = 0;
  mugraph_error why = {""};
  void *library = dlopen ("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) return mugraph_fail (e, "libcuda.so.1: not found; no NVIDIA driver on this machine");
  if (!load_symbols (library, sizeof names / sizeof *names, names, d, &why))
    return mugraph_fail (e, "libcuda.so.1 %s", why.text);
  void *symbol = dlsym (library, "cuTensorMapEncodeTiled");
  memcpy (&d->tensor_map, &symbol, sizeof symbol);
  d->driver_version (&driver_number);
  if (!cuda_check (d, d->init (0), "cuInit", e) || !cuda_check (d, d->device_count (&count), "cuDeviceGetCount", e))
    return false;
  if (!count) return mugraph_fail (e, "the driver sees no GPU");
  if (!cuda_check (d, d->device_get (&d->device, 0), "cuDeviceGet", e) ||
      !cuda_check (d, d->device_name (d->name, sizeof d->name, d->device), "cuDeviceGetName", e) ||
      !cuda_check (d, d->device_attribute (&major, CU_DEVICE_MAJOR, d->device), "cuDeviceGetAttribute", e) ||
      !cuda_check (d, d->device_attribute (&minor, CU_DEVICE_MINOR, d->device), "cuDeviceGetAttribute", e) ||
      !cuda_check (d, d->device_attribute (&d->sms, CU_DEVICE_SMS, d->device), "cuDeviceGetAttribute", e) ||
      !cuda_check (d, d->device_attribute (&d->l2_bytes, CU_DEVICE_L2, d->device), "cuDeviceGetAttribute", e) ||
      !cuda_check (d, d->context_retain (&d->context, d->device), "cuDevicePrimaryCtxRetain", e) ||
      !cuda_check (d, d->context_set (d->context), "cuCtxSetCurrent", e) ||
      !cuda_check (d, d->stream_create (&d->stream, CU_STREAM_NONBLOCKING), "cuStreamCreate", e))
    return false;
  d->arch = 10 * major + minor;
  return true;
}

static void open_driver (void) {
  if (open_gpu (&driver_error)) driver_error.text[0] = 0;
}

const cuda_driver *cuda_open_driver (mugraph_error *e) {
  pthread_once (&driver_once, open_driver);
  if (driver_error.text[0]) mugraph_fail (e, "%s", driver_error.text);
  else if (cuda_check (&driver, driver.context_set (driver.context), "cuCtxSetCurrent", e)) return &driver;
  return NULL;
}

int cuda_driver_version (void) {
  pthread_once (&driver_once, open_driver);
  return driver_number;
}
