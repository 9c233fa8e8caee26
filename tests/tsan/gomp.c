/* The part of GCC's OpenMP runtime that msearch uses, over POSIX threads, for `make tsan`.

   libgomp synchronises with futexes that ThreadSanitizer does not see, and libomp reuses the memory of tasks, so with
   either of them correct programs are reported. Here all that orders threads is a mutex, a condition variable, creation
   and join, which ThreadSanitizer knows exactly: every report is about the program, and no suppression is needed. Slow
   and simple; a construct that is missing here is a link error. */
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct task {
  void (*fn) (void *);
  void *data;
  struct task *next, *parent;
  int children; /* of this task, not finished; under the team's lock */
} task;

typedef struct {
  int count, arrived, generation;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  task *first, *last; /* tasks that wait for a thread */
  int running;        /* tasks that a thread executes */
  /* the loop or single that the team is in: number of the construct, and its next iteration */
  long construct, next, end, step, chunk;
  int left; /* threads that have left the current loop */
} team;

typedef struct {
  team *team;
  int number;
  task *current;
  long constructs; /* work-sharing constructs that this thread has met */
} self;

static __thread self me;
static pthread_mutex_t critical = PTHREAD_MUTEX_INITIALIZER;
static int threads_wanted;

/* ---- tasks ---- */

/* Runs one waiting task if there is one; the lock is held before and after. */
static bool run_one (team *t) {
  task *k = t->first;
  if (!k) return false;
  t->first = k->next;
  if (!t->first) t->last = NULL;
  t->running++;
  pthread_mutex_unlock (&t->lock);
  task *outer = me.current;
  me.current = k;
  k->fn (k->data);
  me.current = outer;
  pthread_mutex_lock (&t->lock);
  t->running--;
  while (k->children) /* a parent's memory may be used by its children until they end */
    if (!run_one (t)) pthread_cond_wait (&t->changed, &t->lock);
  if (k->parent) k->parent->children--;
  pthread_cond_broadcast (&t->changed);
  free (k);
  return true;
}

static void wait_children (team *t, task *k) {
  while (k->children)
    if (!run_one (t)) pthread_cond_wait (&t->changed, &t->lock);
}

/* All threads of the team meet; waiting ones execute tasks, and none leaves before all tasks are done. */
static void barrier (team *t) {
  pthread_mutex_lock (&t->lock);
  const int generation = t->generation;
  if (++t->arrived == t->count) {
    while (t->first || t->running)
      if (!run_one (t)) pthread_cond_wait (&t->changed, &t->lock);
    t->arrived = 0;
    t->generation++;
    pthread_cond_broadcast (&t->changed);
  }
  while (t->generation == generation)
    if (!run_one (t)) pthread_cond_wait (&t->changed, &t->lock);
  pthread_mutex_unlock (&t->lock);
}

void GOMP_barrier (void);
void GOMP_barrier (void) {
  if (me.team) barrier (me.team);
}

void GOMP_task (void (*) (void *), void *, void (*) (void *, void *), long, long, bool, unsigned, void **, int, void *);
void GOMP_task (void (*fn) (void *), void *data, void (*copy) (void *, void *), long size, long align, bool deferred,
                unsigned flags, void **depend, int priority, void *detach) {
  (void) flags, (void) depend, (void) priority, (void) detach;
  if (align < 16) align = 16;
  /* one block: the task, then its arguments at their alignment; fresh memory each time */
  const size_t head = (sizeof (task) + (size_t) align - 1) / (size_t) align * (size_t) align;
  const size_t bytes = (head + (size_t) size + (size_t) align - 1) / (size_t) align * (size_t) align;
  task *k = aligned_alloc ((size_t) align, bytes);
  if (!k) abort ();
  memset (k, 0, sizeof *k);
  k->fn = fn;
  k->data = (char *) k + head;
  if (copy) copy (k->data, data);
  else memcpy (k->data, data, (size_t) size);
  team *t = me.team;
  if (!t || !deferred) {
    task *outer = me.current;
    me.current = k;
    fn (k->data);
    if (t) {
      pthread_mutex_lock (&t->lock);
      wait_children (t, k);
      pthread_mutex_unlock (&t->lock);
    }
    me.current = outer;
    free (k);
    return;
  }
  pthread_mutex_lock (&t->lock);
  k->parent = me.current;
  if (k->parent) k->parent->children++;
  if (t->last) t->last->next = k;
  else t->first = k;
  t->last = k;
  pthread_cond_broadcast (&t->changed);
  pthread_mutex_unlock (&t->lock);
}

void GOMP_taskwait (void);
void GOMP_taskwait (void) {
  if (!me.team || !me.current) return;
  pthread_mutex_lock (&me.team->lock);
  wait_children (me.team, me.current);
  pthread_mutex_unlock (&me.team->lock);
}

void GOMP_taskyield (void);
void GOMP_taskyield (void) {}
/* A group waits for descendants too: run_one returns from a task only after its children, so children are enough. */
void GOMP_taskgroup_start (void);
void GOMP_taskgroup_start (void) {}
void GOMP_taskgroup_end (void);
void GOMP_taskgroup_end (void) { GOMP_taskwait (); }

/* ---- teams ---- */

typedef struct {
  team *team;
  int number;
  void (*fn) (void *);
  void *data;
} start;

static void *work (void *argument) {
  const start *s = argument;
  const self outer = me;
  task implicit;
  memset (&implicit, 0, sizeof implicit);
  /* cppcheck-suppress uninitvar ; a team has a first thread */
  me = (self){.team = s->team, .number = s->number, .current = &implicit};
  s->fn (s->data);
  barrier (s->team);
  me = outer;
  return NULL;
}

static int wanted (unsigned count) {
  if (count) return (int) count;
  if (me.team) return 1; /* no nested teams unless asked for */
  if (threads_wanted) return threads_wanted;
  const char *text = getenv ("OMP_NUM_THREADS");
  const int n = text ? atoi (text) : (int) sysconf (_SC_NPROCESSORS_ONLN);
  return n < 1 ? 1 : n;
}

static void run_team (void (*fn) (void *), void *data, unsigned count, const team *loop) {
  enum { MOST = 64 };
  int n = wanted (count);
  if (n > MOST) n = MOST;
  team t;
  memset (&t, 0, sizeof t);
  if (loop) t = *loop;
  t.count = n;
  pthread_mutex_init (&t.lock, NULL);
  pthread_cond_init (&t.changed, NULL);
  start s[MOST];
  pthread_t thread[MOST];
  for (int i = 0; i < n; i++) s[i] = (start){&t, i, fn, data};
  for (int i = 1; i < n; i++)
    if (pthread_create (&thread[i], NULL, work, &s[i])) abort ();
  work (&s[0]);
  for (int i = 1; i < n; i++) pthread_join (thread[i], NULL);
  pthread_cond_destroy (&t.changed);
  pthread_mutex_destroy (&t.lock);
}

void GOMP_parallel (void (*) (void *), void *, unsigned, unsigned);
void GOMP_parallel (void (*fn) (void *), void *data, unsigned count, unsigned flags) {
  (void) flags;
  run_team (fn, data, count, NULL);
}

/* ---- work sharing ---- */

/* The first thread to meet a construct opens it; a construct is over when every thread has passed it. */
static bool enter (team *t, long from, long to, long step, long chunk) {
  pthread_mutex_lock (&t->lock);
  me.constructs++;
  while (t->construct < me.constructs - 1) pthread_cond_wait (&t->changed, &t->lock);
  const bool opens = t->construct == me.constructs - 1 && !t->left;
  if (opens) {
    t->next = from, t->end = to, t->step = step, t->chunk = chunk < 1 ? 1 : chunk;
    t->left = t->count;
  }
  pthread_mutex_unlock (&t->lock);
  return opens;
}

static void leave (team *t) {
  pthread_mutex_lock (&t->lock);
  if (!--t->left) {
    t->construct++;
    pthread_cond_broadcast (&t->changed);
  }
  pthread_mutex_unlock (&t->lock);
}

static bool take (team *t, long *from, long *to) {
  pthread_mutex_lock (&t->lock);
  const bool any = t->step > 0 ? t->next < t->end : t->next > t->end;
  if (any) {
    *from = t->next;
    t->next += t->step * t->chunk;
    if (t->step > 0 ? t->next > t->end : t->next < t->end) t->next = t->end;
    *to = t->next;
  }
  pthread_mutex_unlock (&t->lock);
  return any;
}

bool GOMP_single_start (void);
bool GOMP_single_start (void) {
  if (!me.team) return true;
  const bool mine = enter (me.team, 0, 0, 1, 1);
  leave (me.team);
  return mine;
}

#define LOOP(name)                                                                                                     \
  bool GOMP_loop_##name##_start (long, long, long, long, long *, long *);                                              \
  bool GOMP_loop_##name##_start (long from, long to, long step, long chunk, long *a, long *b) {                        \
    enter (me.team, from, to, step, chunk);                                                                            \
    return take (me.team, a, b);                                                                                       \
  }                                                                                                                    \
  bool GOMP_loop_##name##_next (long *, long *);                                                                       \
  bool GOMP_loop_##name##_next (long *a, long *b) { return take (me.team, a, b); }                                     \
  void GOMP_parallel_loop_##name (void (*) (void *), void *, unsigned, long, long, long, long, unsigned);              \
  void GOMP_parallel_loop_##name (void (*fn) (void *), void *data, unsigned count, long from, long to, long step,      \
                                  long chunk, unsigned flags) {                                                        \
    (void) flags;                                                                                                      \
    run_team (fn, data, count,                                                                                         \
              &(team){.construct = -1,                                                                                 \
                      .next = from,                                                                                    \
                      .end = to,                                                                                       \
                      .step = step,                                                                                    \
                      .chunk = chunk < 1 ? 1 : chunk,                                                                  \
                      .left = wanted (count)});                                                                        \
  }
LOOP (dynamic)
LOOP (nonmonotonic_dynamic)
LOOP (guided)
LOOP (nonmonotonic_guided)

void GOMP_loop_end_nowait (void);
void GOMP_loop_end_nowait (void) { leave (me.team); }
void GOMP_loop_end (void);
void GOMP_loop_end (void) {
  leave (me.team);
  barrier (me.team);
}

/* ---- locks ---- */

void GOMP_critical_start (void);
void GOMP_critical_start (void) { pthread_mutex_lock (&critical); }
void GOMP_critical_end (void);
void GOMP_critical_end (void) { pthread_mutex_unlock (&critical); }

/* The compiler gives each name a zeroed pointer. */
void GOMP_critical_name_start (void **);
void GOMP_critical_name_start (void **name) {
  pthread_mutex_lock (&critical);
  if (!*name) {
    *name = malloc (sizeof (pthread_mutex_t));
    if (!*name) abort ();
    pthread_mutex_init (*name, NULL);
  }
  pthread_mutex_t *lock = *name;
  pthread_mutex_unlock (&critical);
  pthread_mutex_lock (lock);
}
void GOMP_critical_name_end (void **);
void GOMP_critical_name_end (void **name) {
  pthread_mutex_lock (&critical);
  pthread_mutex_t *lock = *name;
  pthread_mutex_unlock (&critical);
  pthread_mutex_unlock (lock);
}
void GOMP_atomic_start (void);
void GOMP_atomic_start (void) { pthread_mutex_lock (&critical); }
void GOMP_atomic_end (void);
void GOMP_atomic_end (void) { pthread_mutex_unlock (&critical); }

/* ---- omp.h ---- */

int omp_get_thread_num (void);
int omp_get_thread_num (void) { return me.number; }
int omp_get_num_threads (void);
int omp_get_num_threads (void) { return me.team ? me.team->count : 1; }
int omp_get_max_threads (void);
int omp_get_max_threads (void) { return wanted (0); }
int omp_get_num_procs (void);
int omp_get_num_procs (void) { return (int) sysconf (_SC_NPROCESSORS_ONLN); }
int omp_in_parallel (void);
int omp_in_parallel (void) { return me.team && me.team->count > 1; }
void omp_set_num_threads (int);
void omp_set_num_threads (int n) { threads_wanted = n; }
double omp_get_wtime (void);
double omp_get_wtime (void) {
  struct timespec t;
  clock_gettime (CLOCK_MONOTONIC, &t);
  return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}
/* omp_lock_t is four bytes in libgomp's header: a spin lock whose order ThreadSanitizer knows from the atomics. */
void omp_init_lock (int *);
void omp_init_lock (int *l) { __atomic_store_n (l, 0, __ATOMIC_RELEASE); }
void omp_destroy_lock (int *);
void omp_destroy_lock (int *l) { (void) l; }
void omp_set_lock (int *);
void omp_set_lock (int *l) {
  while (__atomic_exchange_n (l, 1, __ATOMIC_ACQ_REL)) usleep (10);
}
void omp_unset_lock (int *);
void omp_unset_lock (int *l) { __atomic_store_n (l, 0, __ATOMIC_RELEASE); }
