/* Schedules: the table sched.def. */
#include "mugraph.h"

#include <stdio.h>
#include <string.h>

void mugraph_sched_default (mugraph_sched *s) {
#define SCHED(name, def, ...) s->name = def;
#include "sched.def"
#undef SCHED
}

/* One value in the words of its row. A value without a word of its own is a number. */
static void value_text (const char *name, const char *words, int value, mugraph_name_of *generator, char *out,
                        size_t size) {
  const char *number = strchr (words, '#');
  if (number) {
    const int n = snprintf (out, size, "%.*s%d%s", (int) (number - words), words, value, number + 1);
    if (value == 1 && n > 1 && n < (int) size && out[n - 1] == 's') out[n - 1] = 0; /* 1 warp */
    return;
  }
  if (*words == '@') words = generator ? generator (value) : NULL;
  else
    for (int i = 0; i < value && words; i++) words = strchr (words, '|') ? strchr (words, '|') + 1 : NULL;
  if (words && *words && *words != '|') snprintf (out, size, "%.*s", (int) strcspn (words, "|"), words);
  else snprintf (out, size, "%s %d", name, value);
}

char *mugraph_sched_text (const mugraph_sched *s, mugraph_name_of *generator, char *out, size_t size) {
  char word[64];
  size_t n = 0;
  *out = 0;
#define SCHED(name, def, low, high, words, help)                                                                       \
  if (s->name != def && n < size) {                                                                                    \
    value_text (#name, words, s->name, generator, word, sizeof word);                                                  \
    n += (size_t) snprintf (out + n, size - n, "%s%s", n ? ", " : "", word);                                           \
  }
#include "sched.def"
#undef SCHED
  return out;
}
