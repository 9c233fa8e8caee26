/* What all commands share: where output goes, the device, the signal to stop. */
#include "cli.h"
#include "mugraph/file/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

volatile int cli_stop;

FILE *cli_text (const cli *c) {
  bool taken = (c->json && !strcmp (c->json, "-")) || (c->out && !strcmp (c->out, "-"));
  return c->quiet ? NULL : taken ? stderr : stdout;
}

bool cli_write (const char *path, const char *text, size_t size, mugraph_error *e) {
  if (path && strcmp (path, "-")) return mugraph_write_text (path, text, size, e);
  return (fwrite (text, 1, size, stdout) == size && !fflush (stdout)) || mugraph_fail (e, "stdout cannot be written");
}

static bool check_output (const char *path, mugraph_error *e) {
  return !path || !strcmp (path, "-") || store_can_write (path, e);
}

bool cli_check_outputs (const cli *c, mugraph_error *e) {
  return check_output (c->out, e) && check_output (c->json, e);
}

bool cli_write_json (const cli *c, cJSON *o, mugraph_error *e) {
  char *text = c->json && o ? cJSON_PrintUnformatted (o) : NULL;
  cJSON_Delete (o);
  if (!c->json) return true;
  if (!text) return mugraph_fail (e, "--json %s: out of memory", c->json);
  size_t n = strlen (text);
  text[n] = '\n'; /* in place of the final 0 */
  bool ok = cli_write (c->json, text, n + 1, e);
  free (text);
  return ok;
}

void cli_probe (const cli *c, cuda_facts *f) {
  cuda_probe (f);
  if (!c->no_gpu || !f->gpu) return;
  f->gpu = false;
  snprintf (f->line, sizeof f->line,
            f->nvrtc ? "compiles (NVRTC %d.%d); its GPU is left alone (--no-gpu)"
                     : "writes CUDA source; its GPU is left alone (--no-gpu)",
            f->nvrtc_version / 1000, f->nvrtc_version % 1000 / 10);
}

bool cli_device (const cli *c, const cuda_facts *f, cuda_device *out, mugraph_error *e) {
  const cuda_device *d = NULL;
  bool here = f && f->gpu;
  int arch = c->arch ? c->arch : here ? f->arch : 90;
  for (int i = 0; c->device && i < cuda_n_devices; i++)
    if (!strcmp (c->device, cuda_devices[i].name)) d = &cuda_devices[i];
  if (c->device && !d) {
    char names[200] = "";
    for (int i = 0; i < cuda_n_devices; i++) {
      strcat (names, i ? ", " : "");
      strcat (names, cuda_devices[i].name);
    }
    return mugraph_fail (e, "unknown device '%.100s' (there are %s)", c->device, names);
  }
  if (!d && here) d = cuda_device_find (f->device);
  if (d && !c->device && c->arch && d->arch != c->arch) d = NULL;
  /* Else the first of the table's that has this compute capability, or the nearest below. */
  for (int i = 0; !c->device && i < cuda_n_devices && !(d && d->arch == arch); i++)
    if (cuda_devices[i].arch <= arch && (!d || cuda_devices[i].arch > d->arch)) d = &cuda_devices[i];
  if (!c->device && !c->arch && !here) d = cuda_device_find ("h100");
  *out = *d;
  if (c->arch || (here && !c->device)) out->arch = arch;
  return true;
}
