/* What a search says of itself, one line each on stderr.

   Level 1: a line a pass, with its counts and seconds. 2: decisions: a structure found or dropped and why, a schedule
   chosen. 3: every result that is pruned, with its expression. Off (0) it costs one comparison where a line would be.
 */
#ifndef SEARCH_LOG_H
#define SEARCH_LOG_H

#include <stdbool.h>

enum { LOG_PASSES = 1, LOG_DECISIONS, LOG_PRUNES };

/* Set once, before a search starts, and only read then. Seconds are counted from here. */
void log_set_level (int level);
extern int log_level;

/* One line, whole even when several threads write; truncated at 4 KiB. */
__attribute__ ((format (printf, 1, 2))) void log_line (const char *format, ...);

/* The arguments are evaluated only when the level is on. */
#define LOG(level, ...) ((level) <= log_level ? log_line (__VA_ARGS__) : (void) 0)

#endif
