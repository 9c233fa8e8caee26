/* What is worth saying while something runs, a line at a time, for whoever shows it. */
#ifndef TOOLS_SESSION_NOTE_H
#define TOOLS_SESSION_NOTE_H

/* Called from the thread that runs the session; text is one line without its end, valid during the call. */
typedef struct {
  void (*show) (void *user, const char *text); /* NULL: nobody listens */
  void *user;
} session_listener;

void session_note (const session_listener *, const char *format, ...) __attribute__ ((format (printf, 2, 3)));

#endif
