/* The workload programs that the library carries (mugraph/workloads/, written by tools/embed.sh). */
#ifndef MUGRAPH_EMBEDDED_H
#define MUGRAPH_EMBEDDED_H

typedef struct {
  const char *name; /* base name of the file: "gqa.mg" */
  const char *text; /* the whole file */
} mugraph_embedded;

extern const mugraph_embedded mugraph_embedded_workloads[]; /* sorted by name, ended by {NULL, NULL} */
extern const int mugraph_n_embedded_workloads;

#endif
