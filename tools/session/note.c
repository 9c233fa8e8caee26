#include "note.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

void session_note (const session_listener *l, const char *format, ...) {
  char text[5000];
  va_list arguments;
  if (!l || !l->show) return;
  va_start (arguments, format);
  vsnprintf (text, sizeof text, format, arguments);
  va_end (arguments);
  l->show (l->user, text);
}
