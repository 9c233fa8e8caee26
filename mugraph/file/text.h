/* Whole text files in and out, and numbers as text. */
#ifndef MUGRAPH_TEXT_H
#define MUGRAPH_TEXT_H

#include "mugraph/mugraph.h"

/* Reads a whole regular file of at most limit bytes, NUL-terminated; owned by the caller. NULL with the reason. */
char *mugraph_read_text (const char *path, size_t limit, size_t *size, mugraph_error *e);

/* First byte that is not part of well-formed UTF-8 (no overlong forms, no surrogates), or len. */
size_t mugraph_check_utf8 (const char *text, size_t len);

/* Writes a temporary file of a unique name in the same folder, syncs it and renames it over path: readers see the old
   file or the new one, also after a kill, and of two writers the last one wins. Missing folders are an error. The
   temporary file is removed on failure; those that killed writers left are removed by the next write into the folder.
   A link stays a link: what it names is written. A device or a FIFO is written straight. */
bool mugraph_write_text (const char *path, const char *text, size_t size, mugraph_error *e);

/* The shortest decimal of at least `digits` significant digits that reads back to the same finite number. Returns out.
 */
char *mugraph_number_text (double, int digits, char out[32]);

#endif
