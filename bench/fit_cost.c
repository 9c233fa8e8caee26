/* bench/fit_cost: fits a device's column of cuda_templates/cost.def to the times that bench/times kept.

     bench/fit_cost [--write] [--constants FILE] [--seconds N] DEVICE FILE.json ...

   Fits to the programs marked `fit`, from the column as it is compiled in, and prints every constant that moved by more
   than 1 %, then how far the model is off before and after, and how it ranks: on the programs that it was fitted to,
   and on those marked `judge`, which it has not seen. --write: writes the new column into FILE (default
   cuda_templates/cost.def), under another name first. --seconds: fits for so long at most (default: as long as it gets
   better). Exit status: 0 all right, 1 nothing to fit to, or worse on the judging programs, 2 usage or a bad file. */
#include "mugraph/file/text.h"
#include "timed.h"

#include <stdio.h>

typedef struct {
  const cuda_device *device;
  const char *constants;
  bool write;
  double seconds;
} fit_options;

/* ---- how good it is ---- */

enum { GOAL = 8 };

/* Mean error of the programs of a part, and how many have the measured best among the model's first. */
typedef struct {
  int programs, samples, first;
  double error;
} quality;

static quality quality_of (timed t[], int n, const char *part, const cuda_device *d) {
  quality q = {0};
  for (int i = 0; i < n; i++) {
    if (!t[i].n || !t[i].part || strcmp (t[i].part, part)) continue;
    cost_predict (t[i].sample, t[i].n, d);
    cost_judgement j = cost_judge (t[i].sample, t[i].n);
    q.programs++, q.samples += t[i].n, q.first += j.near_rank <= GOAL;
    q.error += t[i].n * j.error;
  }
  if (q.samples) q.error /= q.samples;
  return q;
}

static void print_quality (const char *part, quality before, quality after) {
  printf ("%-6s %3d programs, %4d schedules: error %.4fx -> %.4fx; one within 3 %% of the best among the model's first "
          "%d: %d -> %d\n",
          part, before.programs, before.samples, exp (before.error), exp (after.error), GOAL, before.first,
          after.first);
}

static void print_ranks (timed t[], int n, const cuda_device *before, const cuda_device *after) {
  for (int i = 0; i < n; i++) {
    if (!t[i].n || !t[i].part) continue;
    cost_predict (t[i].sample, t[i].n, before);
    cost_judgement was = cost_judge (t[i].sample, t[i].n);
    cost_predict (t[i].sample, t[i].n, after);
    cost_judgement is = cost_judge (t[i].sample, t[i].n);
    printf ("  %-5s %-16s b=%-4d %3d schedules: error %.3fx -> %.3fx, rank of the best %2d -> %2d\n", t[i].part,
            t[i].file.name, t[i].file.batch, t[i].n, exp (was.error), exp (is.error), was.rank, is.rank);
  }
}

/* ---- fitting ---- */

/* The samples of all programs of the fit, side by side; borrowed. */
static cost_sample *gather (const timed t[], int n, int *count) {
  int all = 0;
  for (int i = 0; i < n; i++) all += t[i].part && !strcmp (t[i].part, "fit") ? t[i].n : 0;
  cost_sample *s = calloc ((size_t) all + 1, sizeof *s);
  *count = 0;
  for (int i = 0; s && i < n; i++) {
    if (!t[i].part || strcmp (t[i].part, "fit")) continue;
    memcpy (s + *count, t[i].sample, (size_t) t[i].n * sizeof *s);
    *count += t[i].n;
  }
  return s;
}

static double value_of (const cost_constants *c, int row) {
  return cost_constant_get (c, cost_constant_table[row].offset);
}

static void print_constants (const cost_constants *before, const cost_constants *after) {
  for (int r = 0; r < cost_n_constants; r++) {
    double was = value_of (before, r), is = value_of (after, r);
    if (fabs (log (is / was)) > 0.01)
      printf ("  %-20s %10.4g -> %10.4g %-3s (x %.2f)\n", cost_constant_table[r].name, was, is,
              cost_constant_table[r].unit, is / was);
  }
}

/* ---- writing the column ---- */

/* Four digits with an exponent that is a multiple of three: "435e-9". */
static void number_text (double x, char *text, size_t size) {
  int exponent = x > 0 && (x < 1e-3 || x >= 1e6) ? 3 * (int) floor (log10 (x) / 3) : 0;
  if (exponent) snprintf (text, size, "%.4ge%d", x / pow (10, exponent), exponent);
  else snprintf (text, size, "%.4g", x);
}

/* The row that a line is of: "COST (name, ..."; -1: none. */
static int row_of (const char *line) {
  char name[64];
  if (sscanf (line, "COST (%63[a-z0-9_]", name) != 1) return -1;
  for (int r = 0; r < cost_n_constants; r++)
    if (!strcmp (cost_constant_table[r].name, name)) return r;
  return -1;
}

/* Prints a line with the value of a column (0: the first after the name) replaced. */
static void print_row (FILE *out, const char *line, size_t length, int column, double value) {
  const char *at = line, *end = line + length;
  char text[40];
  for (int comma = 0; at < end && comma <= column; at++) comma += *at == ',';
  number_text (value, text, sizeof text);
  fprintf (out, "%.*s %s", (int) (at - line), line, text);
  at += strcspn (at, ",");
  fprintf (out, "%.*s", (int) (end - at), at);
}

static bool write_column (const fit_options *o, const cost_constants *before, const cost_constants *after,
                          mugraph_error *e) {
  size_t size;
  int rows = 0, column = (int) (o->device - cuda_devices); /* columns are in the order of device.def */
  char *text = mugraph_read_text (o->constants, 1 << 20, &size, e), *next = NULL;
  FILE *out = text ? open_memstream (&next, &size) : NULL;
  if (!out) return free (text), text ? mugraph_fail (e, "out of memory") : false;
  for (const char *line = text; *line;) {
    size_t length = strcspn (line, "\n") + 1;
    if (!line[length - 1]) length--;
    int row = row_of (line);
    if (row >= 0 && value_of (before, row) != value_of (after, row))
      print_row (out, line, length, column, value_of (after, row));
    else fwrite (line, 1, length, out);
    rows += row >= 0, line += length;
  }
  bool good = !fclose (out) || mugraph_fail (e, "out of memory");
  if (good && rows != cost_n_constants)
    good = mugraph_fail (e, "%s: has %d of the %d rows that this program was built with", o->constants, rows,
                         cost_n_constants);
  good = good && mugraph_write_text (o->constants, next, size, e);
  free (text), free (next);
  return good;
}

/* ---- the command line ---- */

static int usage (void) {
  fprintf (stderr, "usage: bench/fit_cost [--write] [--constants FILE] [--seconds N] DEVICE FILE.json ...\n");
  return 2;
}

/* The position of the first file, or -1. */
static int read_options (int argc, char **argv, fit_options *o) {
  int i = 1;
  for (; i < argc && argv[i][0] == '-'; i++) {
    if (!strcmp (argv[i], "--write")) o->write = true;
    else if (i + 1 < argc && !strcmp (argv[i], "--constants")) o->constants = argv[++i];
    else if (i + 1 < argc && !strcmp (argv[i], "--seconds")) o->seconds = atof (argv[++i]);
    else return -1;
  }
  o->device = i < argc ? cuda_device_find (argv[i]) : NULL;
  return o->device && i + 1 < argc ? i + 1 : -1;
}

/* Fits, reports, writes. */
static int fit (const fit_options *o, timed t[], int n) {
  mugraph_error e;
  int count;
  cost_sample *all = gather (t, n, &count);
  if (!all || !count) {
    fprintf (stderr, "bench/fit_cost: no µGraph of a program marked fit was timed on %s\n", o->device->name);
    free (all);
    return 1;
  }
  cost_constants fitted = cost_fit (all, count, o->device, o->seconds);
  cuda_device after = *o->device;
  after.cost = &fitted;
  free (all);
  print_constants (o->device->cost, &fitted);
  print_ranks (t, n, o->device, &after);
  quality judged = quality_of (t, n, "judge", o->device), judges = quality_of (t, n, "judge", &after);
  print_quality ("fit", quality_of (t, n, "fit", o->device), quality_of (t, n, "fit", &after));
  print_quality ("judge", judged, judges);
  if (o->write && !write_column (o, o->device->cost, &fitted, &e)) {
    fprintf (stderr, "bench/fit_cost: %s\n", e.text);
    return 2;
  }
  if (o->write) printf ("%s: the column of %s is new; build again\n", o->constants, o->device->name);
  return judges.error > judged.error;
}

int main (int argc, char **argv) {
  fit_options o = {.constants = "cuda_templates/cost.def"};
  int first = read_options (argc, argv, &o), n = 0;
  if (first < 0) return usage ();
  timed *t = calloc ((size_t) (argc - first), sizeof *t);
  bool good = t;
  mugraph_error e;
  for (int i = first; good && i < argc; i++, n += good) {
    good = mugraph_file_load (argv[i], &t[n].file, &e);
    if (good) timed_take (&t[n], o.device);
    else fprintf (stderr, "bench/fit_cost: %s\n", e.text);
  }
  int status = good ? fit (&o, t, n) : 2;
  for (int i = 0; i < n; i++) timed_drop (&t[i]), mugraph_file_free (&t[i].file);
  free (t);
  return status;
}
