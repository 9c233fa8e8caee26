/* Log lines: see log.h. */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

enum { LINE = 4096 };

int log_level;
static double started;

static double now (void) {
  struct timespec t;
  clock_gettime (CLOCK_MONOTONIC, &t);
  return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

void log_set_level (int level) {
  log_level = level;
  started = now ();
}

void log_line (const char *format, ...) {
  char text[LINE];
  va_list args;
  va_start (args, format);
  vsnprintf (text, sizeof text, format, args);
  va_end (args);
  fprintf (stderr, "msearch: %8.3f %s\n", now () - started, text); /* one call: stdio keeps it whole */
}
