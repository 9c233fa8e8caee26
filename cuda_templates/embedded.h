/* The device templates that the library carries (the .cuh files of this folder, written by tools/embed.sh). */
#ifndef CUDA_TEMPLATES_EMBEDDED_H
#define CUDA_TEMPLATES_EMBEDDED_H

typedef struct {
  const char *name; /* base name of the file: "mma.cuh" */
  const char *text; /* the whole file */
} cuda_embedded;

extern const cuda_embedded cuda_embedded_templates[]; /* sorted by name, ended by {NULL, NULL} */
extern const int cuda_n_embedded_templates;

#endif
