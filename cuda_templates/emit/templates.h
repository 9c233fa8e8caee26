/* The device templates that the library carries (the .cuh files of this folder, written by tools/embed.sh). */
#ifndef CUDA_TEMPLATES_EMIT_TEMPLATES_H
#define CUDA_TEMPLATES_EMIT_TEMPLATES_H

typedef struct {
  const char *name; /* base name of the file: "mma.cuh" */
  const char *text; /* the whole file */
} cuda_template_file;

extern const cuda_template_file cuda_template_files[]; /* sorted by name, ended by {NULL, NULL} */
extern const int cuda_n_template_files;

/* The text of a device template, by name. It must be there. */
const char *cuda_template_text (const char *name);

#endif
