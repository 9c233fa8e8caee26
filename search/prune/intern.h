/* Hash-consing: byte strings become consecutive numbers, equal strings the same number. Arrays beside a table hold what
   else belongs to a number. */
#ifndef SEARCH_INTERN_H
#define SEARCH_INTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { INTERN_NONE = -1 };

typedef struct {
  uint64_t hash;
  uint32_t offset, size; /* of the key, in bytes */
} intern_entry;

/* Zeroed memory is an empty table. */
typedef struct {
  uint32_t *slot; /* number + 1, 0 empty */
  uint32_t slots, n, n_entries, used, capacity;
  intern_entry *entry;
  unsigned char *bytes; /* keys, 8-byte aligned; moves when it grows */
} intern_table;

void intern_free (intern_table *);

/* The number of a key, new ones being appended: *fresh says so. INTERN_NONE without memory. */
int64_t intern_key (intern_table *, const void *key, uint32_t size, bool *fresh);

/* The key with number i, valid until the next intern_key. */
static inline const void *intern_at (const intern_table *t, uint32_t i) { return t->bytes + t->entry[i].offset; }

/* Room for `need` elements of `size` bytes in *array, which may move; new ones are not set. False without memory. */
bool intern_reserve (void **array, uint32_t *capacity, uint64_t need, size_t size);

/* Writes hash to (*array)[i]. False without memory. */
bool intern_note_hash (uint64_t **array, uint32_t *capacity, uint32_t i, uint64_t hash);

/* A hash of two hashes; their order matters. */
uint64_t intern_mix (uint64_t a, uint64_t b);

#endif
