/* Texts that several reports print. */
#include "cli.h"

#include "mugraph/print.h"
#include <math.h>
#include <string.h>

void cli_label (FILE *out, const char *label) { fprintf (out, "%-10s ", label); }

char *cli_count (double n, char buffer[40]) {
  char digits[40];
  int len = snprintf (digits, sizeof digits, "%.0f", n), k = 0;
  if (len > 26) len = 26;
  for (int i = 0; i < len; i++) {
    if (i && digits[i - 1] != '-' && (len - i) % 3 == 0) buffer[k++] = ',';
    buffer[k++] = digits[i];
  }
  buffer[k] = 0;
  return buffer;
}

static size_t add_tensor (char *buffer, size_t n, size_t size, const char *separator, const char *name,
                          const mugraph_shape *s) {
  char dims[64];
  if (n >= size) return n;
  return n + (size_t) snprintf (buffer + n, size - n, "%s%s%s%s", separator, name, *name ? " " : "",
                                mugraph_dims_text (s, dims, sizeof dims));
}

char *cli_signature (const mugraph *g, char *buffer, size_t size) {
  size_t n = 0;
  buffer[0] = 0;
  for (int t = 0; t < g->n_inputs; t++)
    n = add_tensor (buffer, n, size, t ? ", " : "", g->tensor[t].name, &g->tensor[t].shape);
  for (int k = 0; k < g->n_outputs; k++)
    n = add_tensor (buffer, n, size, k ? ", " : " -> ", g->output_name[k], &g->tensor[g->output[k]].shape);
  return buffer;
}

char *cli_schedule (const mugraph *g, char *buffer, size_t size) {
  char words[256];
  size_t n = 0;
  buffer[0] = 0;
  for (int b = 0; b < g->n_blocks && n < size; b++) {
    mugraph_sched_text (&g->block[b].sched, cuda_generator_name, words, sizeof words);
    if (*words) n += (size_t) snprintf (buffer + n, size - n, "%s%s", n ? "; " : ", ", words);
  }
  return buffer;
}

int cli_kernels (const mugraph *g) {
  int n = 0;
  for (int i = 0; i < g->n_ops; i++) n += g->op[i].kind != MUGRAPH_OP_CONST;
  return n;
}

/* "6.90 us (3.58 with calls overlapping) on DEVICE"; an empty text when nothing was measured. */
char *cli_measured (const cJSON *record, char *text, size_t size) {
  double plain = mugraph_record_number (record, "cold_us", mugraph_record_number (record, "best_us", INFINITY));
  double pdl = mugraph_record_number (record, "cold_pdl_us", INFINITY);
  *text = 0;
  if (!isfinite (plain)) return text;
  int n = snprintf (text, size, "%8.2f us", plain);
  if (isfinite (pdl)) n += snprintf (text + n, size - (size_t) n, " (%.2f with calls overlapping)", pdl);
  snprintf (text + n, size - (size_t) n, " on %s", record->string);
  return text;
}
