#include "probe.h"
#include "cuda_api.h"

#include <stdio.h>
#include <string.h>

void cuda_probe (cuda_facts *f) {
  mugraph_error why_nvrtc = {""}, why_gpu = {""};
  memset (f, 0, sizeof *f);
  const cuda_nvrtc *n = cuda_open_nvrtc (&why_nvrtc);
  const cuda_driver *d = cuda_open_driver (&why_gpu);
  f->driver_version = cuda_driver_version ();
  f->driver = f->driver_version > 0;
  f->nvrtc = n;
  f->gpu = d;
  if (n) f->nvrtc_version = n->number;
  if (d) {
    f->arch = d->arch;
    snprintf (f->device, sizeof f->device, "%s", d->name);
  }
  if (n && d)
    snprintf (f->line, sizeof f->line, "compiles (NVRTC %d.%d) and runs (%s)", n->number / 1000, n->number % 1000 / 10,
              d->name);
  else if (n)
    snprintf (f->line, sizeof f->line, "compiles (NVRTC %d.%d), does not run (%.160s)", n->number / 1000,
              n->number % 1000 / 10, why_gpu.text);
  else snprintf (f->line, sizeof f->line, "writes CUDA source only (%.180s)", why_nvrtc.text);
}
