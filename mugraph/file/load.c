#include "load.h"
#include "mirage.h"
#include "reader.h"
#include "text.h"

#include <stdlib.h>

bool mugraph_file_load_any (const char *path, mugraph_file *out, mugraph_error *e) {
  size_t size;
  mugraph_file_init (out);
  char *text = mugraph_read_text (path, MUGRAPH_FILE_BYTES, &size, e);
  cJSON *root = text ? mugraph_parse_json (path, text, size, e) : NULL;
  const bool ok = root && (cJSON_IsArray (root) ? mugraph_mirage_from_json (root, path, out, e)
                                                : mugraph_file_from_json (root, path, out, e));
  cJSON_Delete (root);
  free (text);
  return ok;
}
