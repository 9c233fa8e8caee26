/* Schedules: the table sched.def. */
#include "mugraph.h"

void mugraph_sched_default (mugraph_sched *s) {
#define SCHED(name, def, low, high, help) s->name = def;
#include "sched.def"
#undef SCHED
}
