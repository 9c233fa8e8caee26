/* Memory of one evaluation. Pieces are taken one after the other, given back down to a mark, and freed all at once. An
   arena belongs to one thread. */
#ifndef VERIFY_ARENA_H
#define VERIFY_ARENA_H

#include <assert.h>
#include <stddef.h>

typedef struct eval_chunk eval_chunk;
typedef struct {
  char *at, *end;
  eval_chunk *chunks; /* owned, the newest first */
  size_t live;        /* bytes taken and not given back */
} eval_arena;

typedef struct {
  char *at, *end;
  size_t live;
} eval_mark;

/* first: `size` bytes of the caller's, used before anything is allocated; NULL: none. */
void eval_arena_init (eval_arena *, void *first, size_t size);
void eval_arena_free (eval_arena *);

/* A piece aligned to 64 bytes. It is not cleared; checking builds fill it with bytes of 0xff, which no residue and no
   number of an evaluation is made of, so that a result that nobody wrote is found. NULL: no memory. */
void *eval_take (eval_arena *, size_t bytes);

/* Everything that was taken since the mark is given back by eval_release. A chunk that was added meanwhile stays. */
static inline eval_mark eval_set_mark (const eval_arena *a) { return (eval_mark){a->at, a->end, a->live}; }
void eval_rewind_chunk (eval_arena *); /* to the beginning of the newest chunk */
static inline void eval_release (eval_arena *a, eval_mark m) {
  assert (m.live <= a->live);
  if (m.end == a->end) a->at = m.at;
  else eval_rewind_chunk (a); /* all of the newest chunk was taken after the mark */
  a->live = m.live;
}

/* A piece by itself, in huge pages where the system has them, since touching fresh memory is not free. The caller frees
   it with free (). */
void *eval_take_large (size_t bytes);

#endif
