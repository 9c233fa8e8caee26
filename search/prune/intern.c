#include "intern.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

bool intern_reserve (void **array, uint32_t *capacity, uint64_t need, size_t size) {
  if (need <= *capacity) return true;
  uint64_t grown = *capacity ? 2 * (uint64_t) *capacity : 64;
  if (grown < need) grown = need;
  if (grown > UINT32_MAX) return false;
  void *moved = realloc (*array, grown * size);
  if (!moved) return false;
  *array = moved, *capacity = (uint32_t) grown;
  return true;
}

static bool rehash (intern_table *t) {
  uint32_t slots = t->slots ? 2 * t->slots : 256;
  uint32_t *slot = calloc (slots, sizeof *slot);
  if (!slot) return false;
  for (uint32_t i = 0; i < t->n; i++) {
    uint32_t s = (uint32_t) t->entry[i].hash & (slots - 1);
    while (slot[s]) s = (s + 1) & (slots - 1);
    slot[s] = i + 1;
  }
  free (t->slot);
  t->slot = slot, t->slots = slots;
  return true;
}

int64_t intern_key (intern_table *t, const void *key, uint32_t size, bool *fresh) {
  if (2 * (uint64_t) t->n >= t->slots && !rehash (t)) return INTERN_NONE;
  uint64_t hash = XXH3_64bits (key, size);
  uint32_t s = (uint32_t) hash & (t->slots - 1);
  *fresh = false;
  for (; t->slot[s]; s = (s + 1) & (t->slots - 1)) {
    const intern_entry *e = &t->entry[t->slot[s] - 1];
    if (e->hash == hash && e->size == size && (!size || !memcmp (t->bytes + e->offset, key, size)))
      return t->slot[s] - 1;
  }
  uint32_t padded = (size + 7) & ~7u;
  if (!intern_reserve ((void **) &t->bytes, &t->capacity, (uint64_t) t->used + padded, 1) ||
      !intern_reserve ((void **) &t->entry, &t->n_entries, (uint64_t) t->n + 1, sizeof *t->entry))
    return INTERN_NONE;
  if (size) memcpy (t->bytes + t->used, key, size);
  t->entry[t->n] = (intern_entry){.hash = hash, .offset = t->used, .size = size};
  t->used += padded;
  t->slot[s] = t->n + 1;
  *fresh = true;
  return t->n++;
}

void intern_free (intern_table *t) { free (t->slot), free (t->entry), free (t->bytes); }

bool intern_note_hash (uint64_t **array, uint32_t *capacity, uint32_t i, uint64_t hash) {
  if (!intern_reserve ((void **) array, capacity, (uint64_t) i + 1, sizeof **array)) return false;
  (*array)[i] = hash;
  return true;
}

uint64_t intern_mix (uint64_t a, uint64_t b) {
  uint64_t pair[2] = {a, b};
  return XXH3_64bits (pair, sizeof pair);
}
