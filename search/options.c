#include "search.h"

void search_options_default (search_options *o) {
#define OPTION(name, type, def, low, high, in_key, argument, help) o->name = def;
#include "options.def"
#undef OPTION
}
