/* Texts that are broken in one place. */
#ifndef TESTS_EDITED_H
#define TESTS_EDITED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* text with occurrence number nth (from 0) of one part replaced. Owned by the caller. */
static char *edited (const char *text, const char *from, const char *to, int nth) {
  const char *at = strstr (text, from);
  while (at && nth--) at = strstr (at + 1, from);
  if (!at) fail_msg ("no '%s' in the text", from);
  char *out = malloc (strlen (text) + strlen (to) + 1);
  sprintf (out, "%.*s%s%s", (int) (at - text), text, to, at + strlen (from));
  return out;
}

#endif
