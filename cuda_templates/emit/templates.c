#include "templates.h"

#include <assert.h>
#include <string.h>

const char *cuda_template_text (const char *name) {
  for (const cuda_template_file *t = cuda_template_files; t->name; t++)
    if (!strcmp (t->name, name)) return t->text;
  assert (!"a template of this folder");
  return "";
}
