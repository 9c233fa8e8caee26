/* What the parts of the parser share: names.c, sizes.c, functions.c, expressions.c and, above them, program.c. */
#ifndef MUGRAPH_PARSER_H
#define MUGRAPH_PARSER_H

#include "lexer.h"
#include "program.h"

enum { PARSER_SYMBOLS = 512, PARSER_NESTING = 256, PARSER_ARGUMENTS = 4 };

typedef enum { SYMBOL_SIZE, SYMBOL_NUMBER, SYMBOL_TENSOR } symbol_kind;

typedef struct {
  char name[MUGRAPH_NAME];
  symbol_kind kind;
  int line;      /* where it was defined, 0: built in */
  int64_t size;  /* SIZE */
  bool by_batch; /* SIZE: depends on b */
  double number; /* NUMBER */
  int tensor;    /* TENSOR */
} symbol;

typedef struct {
  lexer l;
  int depth; /* of recursion */
  const mugraph_program_options *options;
  bool overridden[MUGRAPH_INPUTS]; /* this override found its name */
  bool uses_batch;
  int n_symbols;
  symbol symbol[PARSER_SYMBOLS];
  mugraph g; /* with everything, also what no output needs */
} parser;

/* What an expression is. */
typedef struct {
  bool is_number;
  double number;
  int tensor;
  size_t at;
} value;

/* A size, see program.h. */
typedef struct {
  int64_t n;
  bool by_batch;
  const symbol *named; /* some `dim` in it, or NULL */
} size_value;

/* ---- names (names.c) ---- */

bool parser_enter (parser *); /* one level deeper; whoever enters leaves by depth-- */
symbol *parser_find (parser *, const char *name);
bool parser_name (parser *, char name[MUGRAPH_NAME], const char *wanted); /* the current token as a name */
bool parser_new_name (parser *, char name[MUGRAPH_NAME]);                 /* as the name of something new */
symbol *parser_define (parser *, const char *name, symbol_kind, size_t at);
bool parser_unknown_name (parser *, size_t at, const char *name); /* an error: returns false */
const mugraph_override *parser_override (parser *, const char *name);

/* ---- sizes (sizes.c) ---- */

bool parser_size (parser *, size_value *);
bool parser_check_size (parser *, size_t at, int64_t n);

/* ---- operators and functions (functions.c) ---- */

/* An elementwise operator on n values; numbers are computed at once. */
bool parser_apply (parser *, size_t at, mugraph_op_kind, int n, value in[], value *out);
bool parser_is_function (const char *name);
bool parser_unknown_function (parser *, size_t at, const char *name);       /* an error: returns false */
bool parser_takes (parser *, size_t at, const char *name, int n_arguments); /* else an error */
bool parser_call (parser *, size_t at, const char *name, value arg[], int n, value *out);

/* ---- expressions (expressions.c) ---- */

bool parser_expr (parser *, value *);

#endif
