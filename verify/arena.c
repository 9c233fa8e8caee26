/* An arena is a list of chunks, of which only the newest is taken from. A mark is a place in the chunk that was the
   newest one then. */
#include "arena.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGNMENT = 64, CHUNK = 1 << 18, HUGE_PAGE = 1 << 21 };

struct eval_chunk {
  _Alignas(ALIGNMENT) eval_chunk *next;
};

static size_t round_up (size_t bytes, size_t unit) { return (bytes + unit - 1) & ~(unit - 1); }

static void *spoil (void *p, size_t bytes) {
#ifdef MSEARCH_CHECK
  if (p) memset (p, 0xff, bytes);
#endif
  return (void) bytes, p;
}

void eval_arena_init (eval_arena *a, void *first, size_t size) {
  char *begin = first, *end = first ? begin + size : NULL;
  if (first) begin += round_up ((uintptr_t) first, ALIGNMENT) - (uintptr_t) first;
  *a = (eval_arena){.at = begin, .end = end > begin ? end : begin};
}

void eval_arena_free (eval_arena *a) {
  for (eval_chunk *c = a->chunks, *next; c; c = next) {
    next = c->next;
    free (c);
  }
  *a = (eval_arena){0};
}

static bool add_chunk (eval_arena *a, size_t bytes) {
  size_t size = bytes + sizeof (eval_chunk) > CHUNK ? bytes + sizeof (eval_chunk) : CHUNK;
  eval_chunk *c = aligned_alloc (ALIGNMENT, size);
  if (!c) return false;
  c->next = a->chunks;
  a->chunks = c;
  a->at = (char *) (c + 1);
  a->end = (char *) c + size;
  return true;
}

void *eval_take (eval_arena *a, size_t bytes) {
  bytes = round_up (bytes, ALIGNMENT);
  if ((size_t) (a->end - a->at) < bytes && !add_chunk (a, bytes)) return NULL;
  void *p = a->at;
  a->at += bytes;
  a->live += bytes;
  return spoil (p, bytes);
}

void eval_rewind_chunk (eval_arena *a) {
  if (a->chunks) a->at = (char *) (a->chunks + 1);
}

void *eval_take_large (size_t bytes) {
  if (bytes < 2 * HUGE_PAGE) return spoil (malloc (bytes), bytes);
  bytes = round_up (bytes, HUGE_PAGE);
  void *p = aligned_alloc (HUGE_PAGE, bytes);
#ifdef MADV_HUGEPAGE
  if (p) madvise (p, bytes, MADV_HUGEPAGE);
#endif
  return spoil (p, bytes);
}
