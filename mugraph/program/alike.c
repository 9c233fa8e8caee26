/* Names that are alike, for "did you mean". */
#include "program.h"

#include <ctype.h>
#include <string.h>

static int edits (const char *a, const char *b) {
  int m = (int) strlen (a), n = (int) strlen (b), row[65];
  if (m > 64 || n > 64) return 64;
  for (int j = 0; j <= n; j++) row[j] = j;
  for (int i = 1; i <= m; i++) {
    int diagonal = row[0];
    row[0] = i;
    for (int j = 1; j <= n; j++) {
      int change = diagonal + (tolower ((unsigned char) a[i - 1]) != tolower ((unsigned char) b[j - 1]));
      diagonal = row[j];
      int shift = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
      row[j] = change < shift ? change : shift;
    }
  }
  return row[n];
}

const char *mugraph_most_like (const char *word, const char *next (const void *, int), const void *user) {
  const char *best = NULL;
  int least = (int) strlen (word) / 3 + 1;
  if (strlen (word) > MUGRAPH_PROGRAM_NAME) return NULL; /* like no name */
  for (int i = 0;; i++) {
    const char *entry = next (user, i);
    if (!entry) return best;
    int d = edits (word, entry);
    if (d <= least && d < (int) strlen (word) && (!best || d < least)) best = entry, least = d;
  }
}
