/* The search: structures at a small shape, schedules at the real one. README.md names the passes. */
#ifndef SEARCH_SEARCH_H
#define SEARCH_SEARCH_H

#include "cuda_templates/cost.h"
#include "mugraph/mugraph.h"
#include "verify/verify.h"

/* options.def rows: OPTION (name, type, default, low, high, in_key, argument, help), see that file. */
typedef struct {
#define OPTION(name, type, def, low, high, in_key, argument, help) type name;
#include "options.def"
#undef OPTION
} search_options;
void search_options_default (search_options *);

/* statistics.def rows: STAT (name, unit, help); counters of one worker, summed at the join. */
typedef struct {
#define STAT(name, unit, help) uint64_t name;
#include "statistics.def"
#undef STAT
} search_stats;

/* A verified µGraph with a schedule. */
typedef struct {
  mugraph graph;      /* real shape, grid, loop and schedule filled in */
  uint64_t structure; /* mugraph_hash without extents */
  double cost_us;     /* the model's score */
  bool plain;         /* chosen for its time when launched plainly, that is without pdl */
  int rank;           /* the model's, 0 first */
} search_candidate;

typedef struct {
  int n;                       /* candidates, cheapest first */
  search_candidate *candidate; /* owned */
  search_stats stats;
  double seconds; /* of the whole search, verification included */
  double peak_bytes;
  int threads;
  bool finished;        /* the bounds were fully explored */
  bool interrupted;     /* *stop was set */
  verify_report verify; /* of candidate[0] at its real shape */
} search_result;

/* Called about six times a second from one thread, only with copies. */
typedef void (*search_progress) (void *user, const search_stats *, double seconds);

/* Searches. stop may be set by a signal handler; the best so far is then kept. False only for errors; finding nothing
   is n == 0. */
bool search_run (const mugraph *program, const search_options *, const cuda_device *, const volatile int *stop,
                 search_progress, void *user, search_result *, mugraph_error *e);
void search_result_free (search_result *);

/* Schedules of one structure at the shapes of program, ranked by the model; up to max are kept. For a structure from a
   file too. Returns the number written to out. */
int search_schedules (const mugraph *structure, const cuda_device *, int max, search_candidate out[]);

#endif
