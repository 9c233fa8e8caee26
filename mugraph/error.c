/* Errors from outside, one line each. */
#include "mugraph.h"

#include <stdarg.h>
#include <stdio.h>

bool mugraph_fail (mugraph_error *e, const char *format, ...) {
  if (e) {
    va_list ap;
    va_start (ap, format);
    vsnprintf (e->text, sizeof e->text, format, ap);
    va_end (ap);
  }
  return false;
}
