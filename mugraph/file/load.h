/* Reading a file of either format. */
#ifndef MUGRAPH_LOAD_H
#define MUGRAPH_LOAD_H

#include "saved.h"

/* Reads a file of our schema or of Mirage's: an array at the top is Mirage's (mirage.h). On failure out is empty and e
   names file and place. */
bool mugraph_file_load_any (const char *path, mugraph_file *out, mugraph_error *e);

#endif
