/* The workload programs that the library carries (mugraph/program/workloads/, written by tools/embed.sh). */
#ifndef MUGRAPH_PROGRAM_WORKLOADS_H
#define MUGRAPH_PROGRAM_WORKLOADS_H

typedef struct {
  const char *name; /* base name of the file: "gqa.mg" */
  const char *text; /* the whole file */
} mugraph_workload_file;

extern const mugraph_workload_file mugraph_workload_files[]; /* sorted by name, ended by {NULL, NULL} */
extern const int mugraph_n_workload_files;

#endif
