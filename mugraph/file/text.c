#include "text.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

size_t mugraph_check_utf8 (const char *text, size_t len) {
  const unsigned char *s = (const unsigned char *) text;
  for (size_t i = 0; i < len;) {
    unsigned c = s[i];
    size_t n = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
    if (!n || i + n > len) return i;
    for (size_t k = 1; k < n; k++)
      if ((s[i + k] & 0xc0) != 0x80) return i;
    if ((c == 0xe0 && s[i + 1] < 0xa0) || (c == 0xed && s[i + 1] >= 0xa0) || (c == 0xf0 && s[i + 1] < 0x90) ||
        (c == 0xf4 && s[i + 1] >= 0x90))
      return i;
    i += n;
  }
  return len;
}

char *mugraph_read_text (const char *path, size_t limit, size_t *size, mugraph_error *e) {
  /* Nonblocking, so that a FIFO is refused and not waited for. */
  const int fd = open (path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat st;
  if (fd < 0 || fstat (fd, &st)) {
    mugraph_fail (e, "%s: cannot be read: %s", path, strerror (errno));
    if (fd >= 0) close (fd);
    return NULL;
  }
  char *text = NULL;
  if (S_ISDIR (st.st_mode)) mugraph_fail (e, "%s: is a directory, a file is needed", path);
  else if (!S_ISREG (st.st_mode)) mugraph_fail (e, "%s: is not a regular file", path);
  else if ((uint64_t) st.st_size > limit)
    mugraph_fail (e, "%s: %lld bytes are too many, at most %zu", path, (long long) st.st_size, limit);
  else if (!(text = malloc ((size_t) st.st_size + 1))) mugraph_fail (e, "%s: out of memory", path);
  size_t n = 0;
  while (text && n < (size_t) st.st_size) {
    const ssize_t k = read (fd, text + n, (size_t) st.st_size - n);
    if (k < 0 && errno == EINTR) continue;
    if (k < 0) {
      mugraph_fail (e, "%s: cannot be read: %s", path, strerror (errno));
      free (text);
      text = NULL;
    }
    if (k <= 0) break;
    n += (size_t) k;
  }
  close (fd);
  if (text) text[n] = 0, *size = n;
  return text;
}

/* A temporary file is FOLDER/.BASE.PID.N.tmp: unique among the threads of this process and among the processes of this
   machine. Its prefix and suffix tell whose it is. */
static bool temporary_owner (const char *name, long *pid) {
  const size_t n = strlen (name);
  if (name[0] != '.' || n < 8 || strcmp (name + n - 4, ".tmp")) return false;
  const char *dot = name + n - 4;
  unsigned long number;
  int used;
  do {
    if (--dot <= name) return false;
  } while (*dot != '.');
  const char *last = dot;
  do {
    if (--dot <= name) return false;
  } while (*dot != '.');
  if (sscanf (last, ".%lu.tmp%n", &number, &used) != 1 || last[used]) return false;
  return sscanf (dot, ".%ld.%n", pid, &used) == 1 && dot + used == last + 1 && *pid > 0;
}

/* Removes what killed writers left. A living process of the same number keeps its files; a folder shared between
   machines may hold files of a process elsewhere, so young ones stay too. */
static void remove_stale (const char *folder) {
  DIR *dir = opendir (folder);
  if (!dir) return;
  for (const struct dirent *d; (d = readdir (dir));) {
    long pid;
    struct stat st;
    if (!temporary_owner (d->d_name, &pid) || fstatat (dirfd (dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW)) continue;
    if (S_ISREG (st.st_mode) && kill ((pid_t) pid, 0) && errno == ESRCH && time (NULL) - st.st_mtime > 60)
      unlinkat (dirfd (dir), d->d_name, 0);
  }
  closedir (dir);
}

static bool write_all (int fd, const char *text, size_t size) {
  while (size) {
    const ssize_t k = write (fd, text, size);
    if (k < 0 && errno == EINTR) continue;
    if (k <= 0) return false;
    text += k, size -= (size_t) k;
  }
  return true;
}

/* A device, a FIFO or a socket is written to; a file renamed over it would take its place. */
static bool write_special (const char *path, const char *text, size_t size, mugraph_error *e) {
  const int fd = open (path, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* a FIFO without a reader is an error */
  bool ok = fd >= 0 && fcntl (fd, F_SETFL, 0) >= 0 && write_all (fd, text, size);
  if (!ok) mugraph_fail (e, "%s: cannot be written: %s", path, strerror (errno));
  if (fd >= 0) close (fd);
  return ok;
}

bool mugraph_write_text (const char *path, const char *text, size_t size, mugraph_error *e) {
  static atomic_uint counter;
  struct stat st;
  char target[PATH_MAX];
  if (!stat (path, &st) && S_ISDIR (st.st_mode)) return mugraph_fail (e, "%s: is a directory, cannot be written", path);
  if (!stat (path, &st) && !S_ISREG (st.st_mode)) return write_special (path, text, size, e);
  if (!lstat (path, &st) && S_ISLNK (st.st_mode) && realpath (path, target)) path = target; /* the link stays */
  const char *slash = strrchr (path, '/'), *base = slash ? slash + 1 : path;
  char folder[PATH_MAX], temporary[PATH_MAX];
  const int n = slash ? snprintf (folder, sizeof folder, "%.*s", (int) (slash - path) + 1, path)
                      : snprintf (folder, sizeof folder, "./");
  if (!*base || n >= (int) sizeof folder) return mugraph_fail (e, "%s: is no file name that can be written", path);

  remove_stale (folder);
  int fd;
  do { /* a killed process of our number may have left the name that comes first */
    if (snprintf (temporary, sizeof temporary, "%s.%.64s.%ld.%u.tmp", folder, base, (long) getpid (),
                  atomic_fetch_add (&counter, 1)) >= (int) sizeof temporary)
      return mugraph_fail (e, "%s: is too long a file name", path);
    fd = open (temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
  } while (fd < 0 && errno == EEXIST);
  if (fd < 0) return mugraph_fail (e, "%s: cannot be written: %s", path, strerror (errno));
  bool ok = write_all (fd, text, size) && !fsync (fd);
  if (close (fd)) ok = false;
  if (ok && rename (temporary, path)) ok = false;
  if (!ok) {
    mugraph_fail (e, "%s: cannot be written: %s", path, strerror (errno));
    unlink (temporary);
    return false;
  }
  /* The new name itself must survive a power cut; a folder that cannot be synced is no failure of ours. */
  const int dir = open (folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir >= 0) {
    (void) fsync (dir);
    close (dir);
  }
  return true;
}

char *mugraph_number_text (double x, int digits, char out[32]) {
  do snprintf (out, 32, "%.*g", digits, x);
  while (strtod (out, NULL) != x && digits++ < 17);
  return out;
}
