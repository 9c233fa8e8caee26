#include "cost_constants.h"
#include "plan.h"

const cuda_device cuda_devices[] = {
#define DEVICE(name, match, arch, sms, smem, smem_sm, regs, dram, l2, l2_bytes, mma, fp32, sfu, launch, pdl)           \
  {#name, match,    arch, sms,  smem, smem_sm, regs, dram,                                                             \
   l2,    l2_bytes, mma,  fp32, sfu,  launch,  pdl,  &cost_constants_##name},
#include "device.def"
#undef DEVICE
};
const int cuda_n_devices = sizeof cuda_devices / sizeof *cuda_devices;

const cuda_device *cuda_device_find (const char *name) {
  for (int i = 0; i < cuda_n_devices; i++)
    if (!strcmp (name, cuda_devices[i].name) || strstr (name, cuda_devices[i].match)) return &cuda_devices[i];
  return NULL;
}
