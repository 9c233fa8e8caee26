/* Options: one table, from search/options.def and tools/cli_options.def, for parser, help and defaults. */
#include "cli.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <z3.h>

typedef enum { KIND_FLAG, KIND_COUNT, KIND_INT, KIND_REAL, KIND_TEXT, KIND_SHAPE, KIND_SCALE, KIND_HELP } option_kind;

typedef struct {
  const char *name;
  char letter;
  option_kind kind;
  size_t offset; /* in struct cli */
  double def, low, high;
  const char *argument, *commands, *help;
} option;

static const option options[] = {
#define CLI(field, letter, kind, low, high, argument, commands, help)                                                  \
  {#field, letter, KIND_##kind, offsetof (cli, field), 0, low, high, argument, commands, help},
#include "cli_options.def"
#undef CLI
#define OPTION(name, type, def, low, high, in_key, argument, help)                                                     \
  {#name,                                                                                                              \
   0,                                                                                                                  \
   _Generic((type) 0, int                                                                                              \
            : KIND_INT, double                                                                                         \
            : KIND_REAL),                                                                                              \
   offsetof (cli, search.name),                                                                                        \
   def,                                                                                                                \
   low,                                                                                                                \
   high,                                                                                                               \
   argument,                                                                                                           \
   NULL,                                                                                                               \
   help},
#include "search/options.def"
#undef OPTION
};
enum { N_OPTIONS = sizeof options / sizeof *options };

static const struct {
  const char *name;
  char letter;
} commands[] = {{"list", 'l'}, {"show", 'h'}, {"verify", 'v'}, {"emit", 'e'}, {"import", 'i'}, {"explain", 'x'}};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

/* ---- help ---- */

static void print_option (FILE *out, const option *o) {
  char left[64], name[40];
  int n = 0;
  for (; o->name[n]; n++) name[n] = o->name[n] == '_' ? '-' : o->name[n];
  name[n] = 0;
  n = o->letter ? snprintf (left, sizeof left, "  -%c, --%s", o->letter, name)
                : snprintf (left, sizeof left, "      --%s", name);
  if (o->argument[0]) snprintf (left + n, sizeof left - (size_t) n, "%s%s", "=", o->argument);
  fprintf (out, "%-25s %s", left, o->help);
  if (o->high > 0) fprintf (out, " (%.10g to %.10g)", o->low, o->high);
  if (!o->commands) fprintf (out, " [%g]", o->def); /* the rows of this folder tell theirs in words */
  fputc ('\n', out);
}

static const char usage[] =
    "msearch finds fast GPU kernels for tensor programs and proves that they compute the same.\n"
    "\n"
    "  msearch WORKLOAD [-b N]               search, verify, generate, (time,) save in " STORE_FOLDER "/\n"
    "  msearch --program FILE.mg [-b N]      the same for a program of your own\n"
    "  msearch --file FILE                   reuse saved µGraphs: verify, generate, (time)\n"
    "  msearch list                          the workloads, and what is saved\n"
    "  msearch show FILE|WORKLOAD|FILE.mg    a µGraph or a program as text [--dot, --svg, --tiles]\n"
    "  msearch verify FILE [--program P]     which µGraphs of a file (ours or Mirage's) are equivalent to their "
    "program\n"
    "  msearch emit FILE -o OUT.cu           self-contained CUDA (-o OUT.cubin: compiled)\n"
    "  msearch import MIRAGE.json -o FILE    Mirage's format to ours\n"
    "  msearch explain FILE -i N             why a µGraph is not found, or not the first (HASH: by its structure)\n";

void cli_help (FILE *out, bool full) {
  fputs (usage, out);
  if (!full) {
    fputs ("\nmsearch --help lists the options.\n", out);
    return;
  }
  fputs ("\nWorkloads:", out);
  for (int i = 0; i < mugraph_n_workloads; i++) fprintf (out, "%s %s", i ? "," : "", mugraph_workloads[i].name);
  fputs ("\n\nOptions (--name=value or --name value):\n", out);
  for (int i = 0; i < N_OPTIONS; i++) {
    if (i && !options[i].commands && options[i - 1].commands)
      fputs ("\nThe search (range) [default]; for B, --name and --no-name stand for 1 and 0:\n", out);
    print_option (out, &options[i]);
  }
  fputs ("\nDevices:", out);
  for (int i = 0; i < cuda_n_devices; i++) fprintf (out, "%s %s", i ? "," : "", cuda_devices[i].name);
  fputs ("\n\nExit status: 0 done, 1 not equivalent or wrong on the GPU, 2 bad usage or input, 3 nothing found, 130 "
         "interrupted.\n"
         "Environment: MSEARCH_CACHE (folder of compiled kernels), MSEARCH_NVRTC (path of libnvrtc).\n",
         out);
}

void cli_version (FILE *out) {
  unsigned major, minor, build, revision;
  Z3_get_version (&major, &minor, &build, &revision);
  fprintf (out, "msearch %s (%s, Z3 %u.%u.%u, cJSON %s)\n", MSEARCH_VERSION,
#ifdef __clang__
           "clang " __clang_version__,
#else
           "gcc " __VERSION__,
#endif
           major, minor, build, cJSON_Version ());
}

/* ---- parsing ---- */

static bool same_name (const char *name, const char *text, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (!name[i] || (name[i] == '_' ? '-' : name[i]) != (text[i] == '_' ? '-' : text[i])) return false;
  return !name[len];
}

static const char *next_option (const void *user, int i) {
  (void) user;
  return i < N_OPTIONS ? options[i].name : NULL;
}

/* Names in messages have - where the table has _. */
static const char *dashed (const char *name, char buffer[64]) {
  snprintf (buffer, 64, "%s", name);
  for (char *c = buffer; *c; c++)
    if (*c == '_') *c = '-';
  return buffer;
}

static bool unknown_option (const char *text, size_t len, mugraph_error *e) {
  char word[64], like_name[64];
  snprintf (word, sizeof word, "%.*s", (int) (len < 60 ? len : 60), text);
  for (char *c = word; *c; c++)
    if (*c == '-') *c = '_';
  const char *like = mugraph_most_like (word, next_option, NULL);
  if (like)
    return mugraph_fail (e, "unknown option '--%.*s'; did you mean '--%s'?", (int) (len < 200 ? len : 200), text,
                         dashed (like, like_name));
  return mugraph_fail (e, "unknown option '--%.*s' (msearch --help lists them)", (int) (len < 200 ? len : 200), text);
}

static bool set_number (const option *o, cli *c, const char *name, const char *value, mugraph_error *e) {
  char *end;
  errno = 0;
  double x = strtod (value, &end);
  bool decimal = value[strspn (value, "0123456789+-.eE")] == 0; /* no hex, inf, nan */
  if (!*value || *end || !decimal || isspace ((unsigned char) *value) || (o->kind == KIND_INT && x != floor (x)))
    return mugraph_fail (e, "option --%s: '%.100s' is not a %snumber", name, value,
                         o->kind == KIND_INT ? "whole " : "");
  if (!(x >= o->low && x <= o->high))
    return mugraph_fail (e, "option --%s: %.100s is out of range (%.10g to %.10g)", name, value, o->low, o->high);
  void *field = (char *) c + o->offset;
  if (o->kind == KIND_INT) *(int *) field = (int) x;
  else *(double *) field = x;
  return true;
}

static bool add_scale (cli_scales *s, const char *text, mugraph_error *e) {
  const char *equals = strchr (text, '=');
  size_t len = equals ? (size_t) (equals - text) : 0;
  char *end;
  double x = equals ? strtod (equals + 1, &end) : 0;
  if (!len || len >= MUGRAPH_NAME || !equals[1] || *end || !isfinite (x))
    return mugraph_fail (e, "option --scale: '%.100s': expected NAME=number, for example Q=4", text);
  if (s->n == MUGRAPH_INPUTS) return mugraph_fail (e, "option --scale: more than %d", MUGRAPH_INPUTS);
  snprintf (s->of[s->n].name, MUGRAPH_NAME, "%.*s", (int) len, text);
  s->of[s->n++].factor = x;
  return true;
}

/* value: "" where the option takes none. */
static bool set (const option *o, cli *c, bool letter, const char *value, mugraph_error *e) {
  void *field = (char *) c + o->offset;
  char name[64];
  dashed (o->name, name);
  switch (o->kind) {
  case KIND_FLAG: *(bool *) field = true; return true;
  case KIND_COUNT: ++*(int *) field; return true;
  case KIND_HELP: *(int *) field = letter ? 1 : 2; return true;
  case KIND_INT:
  case KIND_REAL: return set_number (o, c, name, value, e);
  case KIND_TEXT:
    if (!*value) return mugraph_fail (e, "option --%s: the value is empty", name);
    *(const char **) field = value;
    return true;
  case KIND_SHAPE: return mugraph_program_override (value, field, e);
  case KIND_SCALE: return add_scale (field, value, e);
  }
  return false;
}

static bool takes_value (const option *o) {
  return o->kind != KIND_FLAG && o->kind != KIND_COUNT && o->kind != KIND_HELP;
}

/* 0 or 1, for which --name and --no-name stand too. */
static bool is_switch (const option *o) { return !strcmp (o->argument, "B"); }

static bool missing_value (const option *o, mugraph_error *e) {
  char name[64];
  return mugraph_fail (e, "option --%s needs a value: --%s=%s", dashed (o->name, name), name, o->argument);
}

static bool is_bit (const char *text) { return text && (!strcmp (text, "0") || !strcmp (text, "1")); }

/* --name, --name=value, --name value, --no-name; argv[*i] is it. */
static bool parse_long (cli *c, int *i, bool given[], mugraph_error *e) {
  const char *text = c->argv[*i] + 2, *value = strchr (text, '=');
  size_t len = value ? (size_t) (value - text) : strlen (text);
  if (value) value++;
  for (int k = 0; k < N_OPTIONS; k++) {
    const option *o = &options[k];
    bool negated = is_switch (o) && len > 3 && !strncmp (text, "no-", 3) && same_name (o->name, text + 3, len - 3);
    if (!negated && !same_name (o->name, text, len)) continue;
    given[k] = true;
    if (value && (negated || !takes_value (o)))
      return mugraph_fail (e, "option --%.*s takes no value", (int) len, text);
    if (negated) value = "0";
    if (is_switch (o) && !value) value = is_bit (c->argv[*i + 1]) ? c->argv[++*i] : "1";
    if (takes_value (o) && !value) {
      if (!c->argv[*i + 1]) return missing_value (o, e);
      value = c->argv[++*i];
    }
    return set (o, c, false, value ? value : "", e);
  }
  return unknown_option (text, len, e);
}

/* -q, -qv, -b8, -b 8 */
static bool parse_short (cli *c, int *i, bool given[], mugraph_error *e) {
  for (const char *letter = c->argv[*i] + 1; *letter; letter++) {
    int k = 0;
    while (k < N_OPTIONS && options[k].letter != *letter) k++;
    if (k == N_OPTIONS) return mugraph_fail (e, "unknown option '-%c' (msearch --help lists them)", *letter);
    const option *o = &options[k];
    given[k] = true;
    if (!takes_value (o)) {
      if (!set (o, c, true, "", e)) return false;
      continue;
    }
    const char *value = letter[1] ? letter + 1 + (letter[1] == '=') : c->argv[*i + 1] ? c->argv[++*i] : NULL;
    return value ? set (o, c, true, value, e) : missing_value (o, e);
  }
  return true;
}

static bool add_argument (cli *c, const char *text, mugraph_error *e) {
  if (!c->command) {
    for (int k = 0; k < N_COMMANDS; k++)
      if (!strcmp (text, commands[k].name)) c->command = commands[k].letter;
    if (c->command) return true;
    c->command = 's';
  }
  if (c->subject || c->command == 'l') return mugraph_fail (e, "unexpected argument '%.100s'", text);
  c->subject = text;
  return true;
}

static bool check_use (const cli *c, const bool given[], mugraph_error *e) {
  static const char *const needs[] = {['h'] = "show needs a file, a workload or a program: msearch show FILE|WORKLOAD",
                                      ['v'] = "verify needs a file: msearch verify FILE",
                                      ['e'] = "emit needs a file: msearch emit FILE -o OUT.cu",
                                      ['i'] = "import needs a file: msearch import MIRAGE.json -o FILE",
                                      ['x'] = "explain needs a file or a structure: msearch explain FILE -i N"};
  const char *command = c->command == 's' ? "a search" : "--file";
  for (int k = 0; k < N_COMMANDS; k++)
    if (commands[k].letter == c->command) command = commands[k].name;
  for (int k = 0; k < N_OPTIONS; k++) {
    char name[64];
    if (given[k] && options[k].commands && !strchr (options[k].commands, c->command))
      return mugraph_fail (e, "option --%s has no meaning for %s", dashed (options[k].name, name), command);
  }
  if (c->command == 's' && c->subject && c->program)
    return mugraph_fail (e, "both the workload '%.100s' and --program: one of them is searched", c->subject);
  if (c->command == 'f' && c->subject) return mugraph_fail (e, "both '%.100s' and --file: one of them", c->subject);
  if (strchr ("hveix", c->command) && !c->subject) return mugraph_fail (e, "%s", needs[(int) c->command]);
  if (c->command == 'i' && !c->out) return mugraph_fail (e, "import needs a file to write: -o FILE (-: stdout)");
  if (c->out && c->json && !strcmp (c->out, "-") && !strcmp (c->json, "-"))
    return mugraph_fail (e, "--out - and --json - both want stdout: give one of them a file");
  if (c->dot + c->svg + c->tiles > 1)
    return mugraph_fail (e, "--dot, --svg and --tiles are three different outputs: choose one");
  return true;
}

bool cli_parse (int argc, char **argv, cli *c, mugraph_error *e) {
  bool given[N_OPTIONS] = {false}, only_arguments = false;
  memset (c, 0, sizeof *c);
  c->argc = argc;
  c->argv = argv;
  search_options_default (&c->search);
  for (int i = 1; i < argc; i++) {
    const char *text = argv[i];
    bool ok;
    if (only_arguments || text[0] != '-' || !text[1]) ok = add_argument (c, text, e);
    else if (!strcmp (text, "--")) ok = only_arguments = true;
    else ok = text[1] == '-' ? parse_long (c, &i, given, e) : parse_short (c, &i, given, e);
    if (!ok) return false;
  }
  c->shape.batch = c->batch;
  if (c->help || c->version) return true;
  if (c->file && (!c->command || c->command == 's')) c->command = 'f';
  if (c->program && !c->command) c->command = 's';
  if (!c->command) return mugraph_fail (e, "nothing to do: name a workload (msearch list) or see msearch --help");
  return check_use (c, given, e);
}

/* ---- what the command was ---- */

static void quote (FILE *out, const char *text) {
  bool plain = *text;
  for (const char *c = text; *c; c++) plain &= isalnum ((unsigned char) *c) || strchr ("_-+=./,:@%", *c);
  if (plain) {
    fputs (text, out);
    return;
  }
  fputc ('\'', out);
  for (const char *c = text; *c; c++) fputs (*c == '\'' ? "'\\''" : (char[]){*c, 0}, out);
  fputc ('\'', out);
}

char *cli_command (const cli *c, bool fresh) {
  char *text = NULL;
  size_t size;
  FILE *out = open_memstream (&text, &size);
  if (!out) return NULL;
  for (int i = 0; i < c->argc; i++) {
    if (i && !strcmp (c->argv[i], "--fresh")) continue;
    if (i) fputc (' ', out);
    quote (out, c->argv[i]);
  }
  if (fresh) fputs (" --fresh", out);
  fclose (out);
  return text;
}
