/* What this machine can do with CUDA source. */
#ifndef CUDA_TEMPLATES_PROBE_H
#define CUDA_TEMPLATES_PROBE_H

#include <stdbool.h>

typedef struct {
  bool nvrtc, driver, gpu;
  int nvrtc_version;  /* 1000 major + 10 minor; 0: no NVRTC */
  int driver_version; /* the same; 0: no driver */
  int arch;           /* compute capability of the first GPU, 90 for 9.0; 0: no GPU */
  char device[128];   /* the driver's name of it */
  char line[256];     /* for people: "compiles (NVRTC 13.0) and runs (NVIDIA H100 80GB HBM3)" */
} cuda_facts;

/* Opens NVRTC and the driver. Whatever is missing is a fact, not an error. */
void cuda_probe (cuda_facts *);

#endif
