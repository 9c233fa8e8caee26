/* Saved µGraphs: where the result of a search is kept, when it answers a later one, and how a new result joins what
   the file has. Paths are relative to the working folder; those of files are at most STORE_PATH bytes. */
#ifndef TOOLS_SESSION_STORE_H
#define TOOLS_SESSION_STORE_H

#include "mugraph/file/saved.h"
#include "mugraph/program/program.h"
#include "search/search.h"

#define STORE_FOLDER "saved_mugraphs"
enum { STORE_PATH = 4096 };

/* The program and what the search was allowed to do: equal keys, equal results. Never 0. */
uint64_t store_key (const mugraph *program, const search_options *);

/* STORE_FOLDER/STEM_bsN.json. Other bounds than the default ones are another question: their results stand beside those
   of the default ones, told apart by the key. */
void store_path (const mugraph_program *, const search_options *, char path[STORE_PATH]);

/* The file of a workload at the default bounds. */
void store_path_of_workload (const mugraph_workload *, int batch, char path[STORE_PATH]);

/* The paths of all files in STORE_FOLDER, sorted. Returns how many; owned by the caller, to be freed by
   store_files_free. */
int store_files (char ***path);
void store_files_free (int n, char **path);

/* Whether a file can be written or replaced there, asked before time is spent on what goes there. A missing
   STORE_FOLDER is no obstacle. */
bool store_can_write (const char *path, mugraph_error *e);

/* Makes STORE_FOLDER if the path is in it. */
bool store_make_folder (const char *path, mugraph_error *e);

/* Loads an earlier result when it answers this question: same key, same program, and a search that was not cut short
   where this one would go on. False: e says why it is of no use, with an empty text where there is no file; out is
   empty then. */
bool store_look_up (const char *path, uint64_t key, const mugraph *program, const search_options *, mugraph_file *out,
                    mugraph_error *e);

/* Whether the result at path answers the same question with a best µGraph no more expensive (cost_us). */
bool store_has_better (const char *path, uint64_t key, double cost_us);

/* Gives a new result the times of earlier ones, and the µGraphs that they are of. except: a device whose times are not
   taken, as they were measured again; NULL: none. */
void store_keep_times (const char *path, mugraph_file *now, const char *except);

/* Adds µGraph *best of now to the file at path, which otherwise stays as it is, and puts that in the place of now.
 *best becomes its index there. False: nothing is changed. */
bool store_add (const char *path, mugraph_file *now, int *best, mugraph_error *e);

#endif
