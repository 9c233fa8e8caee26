/* Reading programs: a lexer with one token of look-ahead, one function per grammar rule of program.h (quoted above
   each), and operators appended to the graph as they are met. */
#include "program.h"
#include "mugraph/file/text.h"
#include "workloads.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { MAX_SYMBOLS = 512, MAX_NESTING = 256, MAX_ARGUMENTS = 4 };

typedef enum { TOKEN_END = 256, TOKEN_LINE, TOKEN_NAME, TOKEN_NUMBER } token_kind; /* below 256: the character itself */

typedef struct {
  int kind;
  size_t at, len;
} token;

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
  const char *text, *file;
  size_t len, pos; /* pos: where the next token is looked for */
  token tok;       /* the current token */
  int brackets;    /* open ones: inside, a line goes on */
  int depth;       /* of recursion */
  bool failed, bad_utf8;
  mugraph_error *e;
  const mugraph_program_options *options;
  bool overridden[MUGRAPH_INPUTS]; /* this override found its name */
  bool uses_batch;
  int n_symbols;
  symbol symbol[MAX_SYMBOLS];
  mugraph g; /* with everything, also what no output needs */
} parser;

/* What an expression is. */
typedef struct {
  bool is_number;
  double number;
  int tensor;
  size_t at;
} value;

/* ---- errors ---- */

static int line_of (const parser *p, size_t at) {
  int line = 1;
  for (size_t i = 0; i < at; i++) line += p->text[i] == '\n';
  return line;
}

static bool continues (char c) { return ((unsigned char) c & 0xc0) == 0x80; } /* inside of a UTF-8 sequence */

/* The first error wins. Sizes are such that all of it fits into mugraph_error. */
__attribute__ ((format (printf, 3, 4))) static bool fail_at (parser *p, size_t at, const char *format, ...) {
  enum { FILE_NAME = 100, SOURCE = 90, BEFORE = 60 };
  if (p->failed) return false;
  p->failed = true;
  char what[180];
  va_list ap;
  va_start (ap, format);
  vsnprintf (what, sizeof what, format, ap);
  va_end (ap);
  size_t begin = at, end = at;
  while (begin > 0 && p->text[begin - 1] != '\n') begin--;
  while (end < p->len && p->text[end] != '\n') end++;
  int column = 1;
  for (size_t i = begin; i < at; i++) column += !continues (p->text[i]);
  if (at - begin > BEFORE)
    for (begin = at - BEFORE; begin < at && continues (p->text[begin]);) begin++;
  char source[SOURCE + 1], blank[SOURCE + 1];
  int n = 0, pad = 0;
  for (size_t i = begin; i < end && n < SOURCE; i++) {
    unsigned char c = (unsigned char) p->text[i];
    bool bad = p->bad_utf8 && i >= at && c >= 0x80; /* up to `at` the text was well-formed */
    if (c >= 0xc0 && !bad && n + 4 > SOURCE) break; /* no half character */
    source[n++] = c == '\t' || c == '\r' ? ' ' : bad || c < 0x20 || c == 0x7f ? '?' : (char) c;
    if (i < at && !continues (p->text[i])) blank[pad++] = ' ';
  }
  while (n > 0 && source[n - 1] == ' ') n--;
  source[n] = blank[pad] = 0;
  size_t file_len = strlen (p->file), skip = file_len > FILE_NAME ? file_len - FILE_NAME : 0;
  return mugraph_fail (p->e, "%s%s:%d:%d: %s\n  %s\n  %s^", skip ? "..." : "", p->file + skip, line_of (p, at), column,
                       what, source, blank);
}

/* ---- names that are alike ---- */

static int edits (const char *a, const char *b) {
  int m = (int) strlen (a), n = (int) strlen (b), row[65];
  if (m > 64 || n > 64) return 64;
  for (int j = 0; j <= n; j++) row[j] = j;
  for (int i = 1; i <= m; i++) {
    int diagonal = row[0];
    row[0] = i;
    for (int j = 1; j <= n; j++) {
      int change = diagonal + (tolower ((unsigned char) a[i - 1]) != tolower ((unsigned char) b[j - 1]));
      diagonal = row[j];
      int shift = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
      row[j] = change < shift ? change : shift;
    }
  }
  return row[n];
}

const char *mugraph_most_like (const char *word, const char *next (const void *, int), const void *user) {
  const char *best = NULL;
  int least = (int) strlen (word) / 3 + 1;
  if (strlen (word) > MUGRAPH_PROGRAM_NAME) return NULL; /* like no name */
  for (int i = 0;; i++) {
    const char *entry = next (user, i);
    if (!entry) return best;
    int d = edits (word, entry);
    if (d <= least && d < (int) strlen (word) && (!best || d < least)) best = entry, least = d;
  }
}

/* ---- tokens ---- */

static bool is_name_start (char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
static bool is_digit (char c) { return c >= '0' && c <= '9'; }
static bool is_name (char c) { return is_name_start (c) || is_digit (c); }

static char look (const parser *p, size_t at) { return at < p->len ? p->text[at] : 0; }

static size_t scan_number (const parser *p, size_t at) {
  while (is_digit (look (p, at))) at++;
  if (look (p, at) == '.')
    for (at++; is_digit (look (p, at));) at++;
  if (look (p, at) == 'e' || look (p, at) == 'E') {
    size_t digits = at + 1;
    if (look (p, digits) == '+' || look (p, digits) == '-') digits++;
    if (is_digit (look (p, digits)))
      for (at = digits; is_digit (look (p, at));) at++;
  }
  return at;
}

/* Reads the next token into p->tok. */
static bool advance (parser *p) {
  for (;; p->pos++) {
    char c = look (p, p->pos);
    if (c == '#')
      while (p->pos < p->len && p->text[p->pos] != '\n') p->pos++;
    if (p->pos >= p->len) {
      p->tok = (token){TOKEN_END, p->len, 0};
      return true;
    }
    c = p->text[p->pos];
    if (c != ' ' && c != '\t' && c != '\r' && !(c == '\n' && p->brackets)) break;
  }
  size_t at = p->pos, end = at + 1;
  char c = p->text[at];
  int kind = (unsigned char) c;
  if (c == '\n') kind = TOKEN_LINE;
  else if (is_name_start (c)) {
    kind = TOKEN_NAME;
    while (is_name (look (p, end))) end++;
  } else if (is_digit (c) || (c == '.' && is_digit (look (p, at + 1)))) {
    kind = TOKEN_NUMBER;
    end = scan_number (p, at);
    if (is_name (look (p, end))) return fail_at (p, at, "malformed number");
  } else if (c == '(' || c == '[') p->brackets++;
  else if (c == ')' || c == ']') p->brackets -= p->brackets > 0;
  else if (!strchr ("+-*/,=:", c)) {
    while (continues (look (p, end))) end++;
    if ((unsigned char) c < 0x20 || c == 0x7f)
      return fail_at (p, at, "unexpected control character 0x%02x", (unsigned char) c);
    return fail_at (p, at, "unexpected character '%.*s'", (int) (end - at), p->text + at);
  }
  p->tok = (token){kind, at, end - at};
  p->pos = end;
  return true;
}

static const char *token_text (const parser *p, char buffer[40]) {
  if (p->tok.kind == TOKEN_END) return "the end of the file";
  if (p->tok.kind == TOKEN_LINE) return "the end of the line";
  snprintf (buffer, 40, p->tok.len > 30 ? "'%.*s...'" : "'%.*s'", p->tok.len > 30 ? 30 : (int) p->tok.len,
            p->text + p->tok.at);
  return buffer;
}

static bool unexpected (parser *p, const char *wanted) {
  char buffer[40];
  return fail_at (p, p->tok.at, "expected %s, found %s", wanted, token_text (p, buffer));
}

static bool expect (parser *p, int kind, const char *wanted) {
  return p->tok.kind == kind ? advance (p) : unexpected (p, wanted);
}

static bool token_is (const parser *p, const char *word) {
  return p->tok.kind == TOKEN_NAME && p->tok.len == strlen (word) && !memcmp (p->text + p->tok.at, word, p->tok.len);
}

static bool enter (parser *p) {
  return ++p->depth <= MAX_NESTING || fail_at (p, p->tok.at, "nested deeper than %d levels", MAX_NESTING);
}

/* ---- names ---- */

static symbol *find_symbol (parser *p, const char *name) {
  for (int i = 0; i < p->n_symbols; i++)
    if (!strcmp (p->symbol[i].name, name)) return &p->symbol[i];
  return NULL;
}

/* The current token as a name. */
static bool read_name (parser *p, char name[MUGRAPH_NAME], const char *wanted) {
  if (p->tok.kind != TOKEN_NAME) return unexpected (p, wanted);
  if (p->tok.len >= MUGRAPH_NAME)
    return fail_at (p, p->tok.at, "this name is longer than %d characters", MUGRAPH_NAME - 1);
  memcpy (name, p->text + p->tok.at, p->tok.len);
  name[p->tok.len] = 0;
  return true;
}

/* The current token as the name of something new. */
static bool read_new_name (parser *p, char name[MUGRAPH_NAME]) {
  if (!read_name (p, name, "a name")) return false;
  if (!strcmp (name, "input") || !strcmp (name, "output") || !strcmp (name, "dim"))
    return fail_at (p, p->tok.at, "'%s' is a word of the language and cannot be a name", name);
  const symbol *s = find_symbol (p, name);
  if (s && !s->line) return fail_at (p, p->tok.at, "'%s' is the batch size and cannot be defined", name);
  if (s) return fail_at (p, p->tok.at, "'%s' is defined already, in line %d", name, s->line);
  if (p->n_symbols >= MAX_SYMBOLS) return fail_at (p, p->tok.at, "more than %d names", MAX_SYMBOLS);
  return true;
}

static symbol *define (parser *p, const char *name, symbol_kind kind, size_t at) {
  symbol *s = &p->symbol[p->n_symbols++];
  *s = (symbol){.kind = kind, .line = line_of (p, at), .tensor = -1};
  snprintf (s->name, sizeof s->name, "%s", name);
  return s;
}

static const char *next_symbol (const void *user, int i) {
  const parser *p = user;
  return i < p->n_symbols ? p->symbol[i].name : NULL;
}

static bool unknown_name (parser *p, size_t at, const char *name) {
  const char *like = mugraph_most_like (name, next_symbol, p);
  return fail_at (p, at, "unknown name '%s'%s%s%s", name, like ? "; did you mean '" : "", like ? like : "",
                  like ? "'?" : "");
}

static const mugraph_override *find_override (parser *p, const char *name) {
  for (int i = 0; p->options && i < p->options->n_overrides; i++)
    if (!strcmp (p->options->override[i].name, name)) {
      p->overridden[i] = true;
      return &p->options->override[i];
    }
  return NULL;
}

/* ---- sizes ---- */

typedef struct {
  int64_t n;
  bool by_batch;
  const symbol *named; /* some `dim` in it, or NULL */
} size_value;

static bool parse_size (parser *p, size_value *v);

/* number | NAME | '-' atom | '(' size ')' */
static bool parse_size_atom (parser *p, size_value *v) {
  if (!enter (p)) return false;
  size_t at = p->tok.at;
  *v = (size_value){0, false, NULL};
  if (p->tok.kind == TOKEN_NUMBER) {
    for (size_t i = 0; i < p->tok.len; i++) {
      char c = p->text[at + i];
      if (!is_digit (c)) return fail_at (p, at, "sizes are whole numbers");
      if (__builtin_mul_overflow (v->n, 10, &v->n) || __builtin_add_overflow (v->n, c - '0', &v->n))
        return fail_at (p, at, "this size is too large");
    }
    if (!advance (p)) return false;
  } else if (p->tok.kind == TOKEN_NAME) {
    char name[MUGRAPH_NAME];
    if (!read_name (p, name, "a size")) return false;
    const symbol *s = find_symbol (p, name);
    if (!s) return unknown_name (p, at, name);
    if (s->kind != SYMBOL_SIZE) return fail_at (p, at, "'%s' is not a size; `dim %s = ...` would make one", name, name);
    *v = (size_value){s->size, s->by_batch, s->line ? s : NULL};
    p->uses_batch |= s->by_batch;
    if (!advance (p)) return false;
  } else if (p->tok.kind == '-') {
    if (!advance (p) || !parse_size_atom (p, v)) return false;
    if (__builtin_sub_overflow (0, v->n, &v->n)) return fail_at (p, at, "this size is too large");
  } else if (p->tok.kind == '(') {
    if (!advance (p) || !parse_size (p, v) || !expect (p, ')', "')'")) return false;
  } else return unexpected (p, "a size");
  p->depth--;
  return true;
}

static bool combine_sizes (parser *p, size_t at, int op, size_value *a, const size_value *b) {
  bool overflow = false;
  if (op == '/' && !b->n) return fail_at (p, at, "division by zero");
  switch (op) {
  case '+': overflow = __builtin_add_overflow (a->n, b->n, &a->n); break;
  case '-': overflow = __builtin_sub_overflow (a->n, b->n, &a->n); break;
  case '*': overflow = __builtin_mul_overflow (a->n, b->n, &a->n); break;
  default:
    if (b->n == -1) overflow = __builtin_sub_overflow (0, a->n, &a->n);
    else a->n /= b->n;
  }
  a->by_batch |= b->by_batch;
  if (!a->named) a->named = b->named;
  return !overflow || fail_at (p, at, "this size is too large");
}

/* size: product (('+' | '-') product)*, product: atom (('*' | '/') atom)* */
static bool parse_size_level (parser *p, size_value *v, bool product) {
  if (!(product ? parse_size_atom (p, v) : parse_size_level (p, v, true))) return false;
  while (product ? p->tok.kind == '*' || p->tok.kind == '/' : p->tok.kind == '+' || p->tok.kind == '-') {
    int op = p->tok.kind;
    size_t at = p->tok.at;
    size_value w;
    if (!advance (p) || !(product ? parse_size_atom (p, &w) : parse_size_level (p, &w, true))) return false;
    if (!combine_sizes (p, at, op, v, &w)) return false;
  }
  return true;
}

static bool parse_size (parser *p, size_value *v) { return parse_size_level (p, v, false); }

static bool check_size (parser *p, size_t at, int64_t n) {
  return (n >= 1 && n <= MUGRAPH_MAX_DIM) ||
         fail_at (p, at, "a size of %lld is out of range (1 to %lld)", (long long) n, (long long) MUGRAPH_MAX_DIM);
}

/* ---- operators ---- */

/* The same operator on the same tensors is the same tensor. */
static int find_op (const mugraph *g, const mugraph_op *op) {
  for (int i = 0; i < g->n_ops; i++) {
    const mugraph_op *o = &g->op[i];
    if (o->kind == op->kind && o->n_in == op->n_in && !memcmp (o->in, op->in, sizeof o->in) &&
        mugraph_same_attributes (o, op))
      return o->out[0];
  }
  return -1;
}

/* Appends op, whose attributes are set, on these tensors; false with a message at `at`. */
static bool append (parser *p, size_t at, mugraph_op op, int n_in, const int in[], value *out) {
  mugraph *g = &p->g;
  const mugraph_shape *shapes[MUGRAPH_FANIN];
  mugraph_shape shape;
  mugraph_error e;
  op.n_in = (uint8_t) n_in;
  for (int i = 0; i < n_in; i++) {
    op.in[i] = (uint8_t) in[i];
    shapes[i] = &g->tensor[in[i]].shape;
  }
  *out = (value){.tensor = find_op (g, &op), .at = at};
  if (out->tensor >= 0) return true;
  if (!mugraph_infer_op (&op, shapes, &shape, &e)) return fail_at (p, at, "%s", e.text);
  if (g->n_ops >= MUGRAPH_KERNEL_OPS || g->n_tensors >= MUGRAPH_TENSORS)
    return fail_at (p, at, "more than %d operators in one program", MUGRAPH_KERNEL_OPS);
  out->tensor = g->n_tensors++;
  op.n_out = 1;
  op.out[0] = (uint8_t) out->tensor;
  g->tensor[out->tensor].shape = shape;
  g->tensor[out->tensor].name[0] = 0;
  g->op[g->n_ops++] = op;
  return true;
}

/* A number as an operand. */
static bool make_tensor (parser *p, value *v) {
  if (!v->is_number) return true;
  mugraph_op op = mugraph_op_of (MUGRAPH_OP_CONST, -1);
  op.c[0] = v->number;
  return append (p, v->at, op, 0, NULL, v);
}

/* Operations on numbers; the functions that people write to get a constant. */
static bool fold (parser *p, size_t at, mugraph_op_kind kind, double a, double b, value *out) {
  double r;
  switch (kind) {
  case MUGRAPH_OP_NEG: r = -a; break;
  case MUGRAPH_OP_EXP: r = exp (a); break;
  case MUGRAPH_OP_SQUARE: r = a * a; break;
  case MUGRAPH_OP_SQRT: r = sqrt (a); break;
  case MUGRAPH_OP_LOG: r = log (a); break;
  case MUGRAPH_OP_ADD: r = a + b; break;
  case MUGRAPH_OP_SUB: r = a - b; break;
  case MUGRAPH_OP_MUL: r = a * b; break;
  case MUGRAPH_OP_DIV: r = a / b; break;
  case MUGRAPH_OP_POW: r = pow (a, b); break;
  default: return fail_at (p, at, "%s takes a tensor, not a number", mugraph_op_table[kind].text);
  }
  if (!isfinite (r)) return fail_at (p, at, "this constant is not a finite number");
  *out = (value){.is_number = true, .number = r, .at = at};
  return true;
}

/* An elementwise operator on one or two values. */
static bool apply (parser *p, size_t at, mugraph_op op, int n, value in[], value *out) {
  if (in[0].is_number && (n == 1 || in[1].is_number)) return fold (p, at, op.kind, in[0].number, in[n - 1].number, out);
  int tensor[2];
  for (int i = 0; i < n; i++) {
    if (!make_tensor (p, &in[i])) return false;
    tensor[i] = in[i].tensor;
  }
  return append (p, at, op, n, tensor, out);
}

static bool apply_kind (parser *p, size_t at, mugraph_op_kind kind, int n, value in[], value *out) {
  return apply (p, at, mugraph_op_of (kind, -1), n, in, out);
}

/* ---- functions ---- */

/* Whether programs can call an operator. */
static bool is_function (int kind) {
  if (kind < 0 || !(mugraph_op_table[kind].levels & MUGRAPH_KERNEL_LEVEL)) return false;
  const mugraph_class c = mugraph_op_table[kind].klass;
  return c == MUGRAPH_MATMUL || c == MUGRAPH_UNARY || c == MUGRAPH_BINARY || c == MUGRAPH_REDUCE || c == MUGRAPH_LAYOUT;
}

/* What a function takes: its operands, then its attributes. */
typedef struct {
  int least, most; /* arguments */
  char text[64];   /* as messages show it; [ ] encloses what may be left out */
} signature;

static signature signature_of (mugraph_op_kind kind) {
  signature s = {.least = mugraph_op_table[kind].arity};
  size_t n = (size_t) snprintf (s.text, sizeof s.text, s.least == 1 ? "x" : "a, b");
  static const char *const sizes[] = {"d", "width"};
  for (int i = 0; i < 2; i++)
    if (mugraph_op_has (kind, i ? MUGRAPH_HAS_WIDTH : MUGRAPH_HAS_DIM))
      n += (size_t) snprintf (s.text + n, sizeof s.text - n, ", %s", sizes[i]), s.least++;
  s.most = s.least;
  for (int r = 0; r < MUGRAPH_REALS; r++) {
    const mugraph_real *real = &mugraph_reals[r];
    if (!mugraph_op_has (kind, real->attribute)) continue;
    n += (size_t) snprintf (s.text + n, sizeof s.text - n, real->optional ? "[, %s]" : ", %s", real->text);
    s.most++, s.least += !real->optional;
  }
  return s;
}

static const char *next_function (const void *user, int i) {
  (void) user;
  return i < MUGRAPH_N_OPS ? is_function (i) ? mugraph_op_table[i].text : "" : i == MUGRAPH_N_OPS ? "softmax" : NULL;
}

static bool want_number (parser *p, const value *v, const char *what) {
  return v->is_number || fail_at (p, v->at, "%s must be a number", what);
}

/* A dimension of tensor x; negative ones count from the end. */
static bool want_dim (parser *p, const value *v, int x, int8_t *dim) {
  int n = p->g.tensor[x].shape.n_dims;
  if (!want_number (p, v, "the dimension")) return false;
  double d = v->number < 0 ? v->number + n : v->number;
  if (!(d >= 0 && d < n) || d != floor (d))
    return fail_at (p, v->at, "no dimension %g in a tensor of %d dimension%s (%d to %d)", v->number, n,
                    n == 1 ? "" : "s", -n, n - 1);
  *dim = (int8_t) d;
  return true;
}

static bool want_width (parser *p, const value *v, int32_t *width) {
  if (!want_number (p, v, "the width")) return false;
  if (!(v->number >= 1 && v->number <= (double) MUGRAPH_MAX_DIM) || v->number != floor (v->number))
    return fail_at (p, v->at, "a width of %g is no size", v->number);
  *width = (int32_t) v->number;
  return true;
}

static bool call_softmax (parser *p, size_t at, value arg[], value *out) {
  value e, s;
  mugraph_op sum = mugraph_op_of (MUGRAPH_OP_SUM, -1);
  if (arg[0].is_number) return fail_at (p, arg[0].at, "softmax takes a tensor, not a number");
  if (!want_dim (p, &arg[1], arg[0].tensor, &sum.dim)) return false;
  if (!apply_kind (p, at, MUGRAPH_OP_EXP, 1, arg, &e) || !append (p, at, sum, 1, &e.tensor, &s)) return false;
  return apply_kind (p, at, MUGRAPH_OP_DIV, 2, (value[]){e, s}, out);
}

/* The arguments behind the operands, in the order of signature_of. tensor: the first operand. */
static bool want_attributes (parser *p, int n, const value arg[], int tensor, mugraph_op *op) {
  int k = 0;
  if (mugraph_op_has (op->kind, MUGRAPH_HAS_DIM) && !want_dim (p, &arg[k++], tensor, &op->dim)) return false;
  if (mugraph_op_has (op->kind, MUGRAPH_HAS_WIDTH) && !want_width (p, &arg[k++], &op->width)) return false;
  for (int r = 0; r < MUGRAPH_REALS && k < n; r++) {
    if (!mugraph_op_has (op->kind, mugraph_reals[r].attribute)) continue;
    if (!want_number (p, &arg[k], mugraph_reals[r].what)) return false;
    op->c[mugraph_reals[r].index] = arg[k++].number;
  }
  return true;
}

static bool call_operator (parser *p, size_t at, mugraph_op_kind kind, int n, value arg[], value *out) {
  mugraph_op op = mugraph_op_of (kind, -1);
  const int arity = mugraph_op_table[kind].arity;
  if (mugraph_elementwise (kind))
    return want_attributes (p, n - arity, arg + arity, -1, &op) && apply (p, at, op, arity, arg, out);
  int tensor[2];
  for (int i = 0; i < arity; i++) {
    if (arg[i].is_number)
      return fail_at (p, arg[i].at, "%s takes a tensor here, not a number", mugraph_op_table[kind].text);
    tensor[i] = arg[i].tensor;
  }
  return want_attributes (p, n - arity, arg + arity, tensor[0], &op) && append (p, at, op, arity, tensor, out);
}

static bool parse_expr (parser *p, value *v);

/* function '(' expr, ... ')'; the current token is '(' */
static bool parse_call (parser *p, size_t at, const char *name, value *v) {
  int kind = mugraph_op_find (name), n = 0;
  bool softmax = !strcmp (name, "softmax");
  if (!softmax && !is_function (kind)) {
    const char *like = mugraph_most_like (name, next_function, NULL);
    return fail_at (p, at, "unknown function '%s'%s%s%s", name, like ? "; did you mean '" : "", like ? like : "",
                    like ? "'?" : "");
  }
  value arg[MAX_ARGUMENTS];
  if (!advance (p)) return false;
  while (p->tok.kind != ')') {
    if (n == MAX_ARGUMENTS) break;
    if (!parse_expr (p, &arg[n++])) return false;
    if (p->tok.kind == ',') {
      if (!advance (p)) return false;
      if (p->tok.kind == ')') return unexpected (p, "another argument");
    } else if (p->tok.kind != ')') return unexpected (p, "',' or ')'");
  }
  const signature takes = softmax ? (signature){2, 2, "x, d"} : signature_of ((mugraph_op_kind) kind);
  if (n < takes.least || n > takes.most) return fail_at (p, at, "%s takes (%s)", name, takes.text);
  if (!expect (p, ')', "')'")) return false;
  return softmax ? call_softmax (p, at, arg, v) : call_operator (p, at, (mugraph_op_kind) kind, n, arg, v);
}

/* ---- expressions ---- */

/* atom: number | NAME | '(' expr ')' | function '(' expr, ... ')' */
static bool parse_atom (parser *p, value *v) {
  size_t at = p->tok.at;
  *v = (value){.tensor = -1, .at = at};
  if (p->tok.kind == TOKEN_NUMBER) {
    char digits[64];
    if (p->tok.len >= sizeof digits)
      return fail_at (p, at, "a number of more than %d characters", (int) sizeof digits - 1);
    memcpy (digits, p->text + at, p->tok.len);
    digits[p->tok.len] = 0;
    v->is_number = true;
    v->number = strtod (digits, NULL);
    if (!isfinite (v->number)) return fail_at (p, at, "this constant is not a finite number");
    return advance (p);
  }
  if (p->tok.kind == TOKEN_NAME) {
    char name[MUGRAPH_NAME];
    if (!read_name (p, name, "a name") || !advance (p)) return false;
    if (p->tok.kind == '(') return parse_call (p, at, name, v);
    const symbol *s = find_symbol (p, name);
    if (!s) {
      if (is_function (mugraph_op_find (name)) || !strcmp (name, "softmax"))
        return fail_at (p, at, "'%s' is a function: write %s(...)", name, name);
      return unknown_name (p, at, name);
    }
    v->is_number = s->kind != SYMBOL_TENSOR;
    v->number = s->kind == SYMBOL_SIZE ? (double) s->size : s->number;
    v->tensor = s->tensor;
    p->uses_batch |= s->kind == SYMBOL_SIZE && s->by_batch;
    return true;
  }
  if (p->tok.kind != '(') return unexpected (p, "an expression");
  return advance (p) && parse_expr (p, v) && expect (p, ')', "')'");
}

/* sign: '-' sign | atom */
static bool parse_sign (parser *p, value *v) {
  if (!enter (p)) return false;
  size_t at = p->tok.at;
  bool ok;
  if (p->tok.kind == '-') {
    value x;
    ok = advance (p) && parse_sign (p, &x) && apply_kind (p, at, MUGRAPH_OP_NEG, 1, &x, v);
  } else ok = parse_atom (p, v);
  p->depth--;
  return ok;
}

/* term: sign (('*' | '/') sign)* */
static bool parse_term (parser *p, value *v) {
  if (!parse_sign (p, v)) return false;
  while (p->tok.kind == '*' || p->tok.kind == '/') {
    mugraph_op_kind kind = p->tok.kind == '*' ? MUGRAPH_OP_MUL : MUGRAPH_OP_DIV;
    size_t at = p->tok.at;
    value in[2] = {*v};
    if (!advance (p) || !parse_sign (p, &in[1]) || !apply_kind (p, at, kind, 2, in, v)) return false;
  }
  return true;
}

/* expr: term (('+' | '-') term)* */
static bool parse_expr (parser *p, value *v) {
  if (!parse_term (p, v)) return false;
  while (p->tok.kind == '+' || p->tok.kind == '-') {
    mugraph_op_kind kind = p->tok.kind == '+' ? MUGRAPH_OP_ADD : MUGRAPH_OP_SUB;
    size_t at = p->tok.at;
    value in[2] = {*v};
    if (!advance (p) || !parse_term (p, &in[1]) || !apply_kind (p, at, kind, 2, in, v)) return false;
  }
  return true;
}

/* ---- lines ---- */

/* 'dim' NAME '=' size */
static bool parse_dim_line (parser *p) {
  char name[MUGRAPH_NAME];
  size_value v;
  size_t name_at = p->tok.at;
  if (!read_new_name (p, name) || !advance (p) || !expect (p, '=', "'='")) return false;
  size_t at = p->tok.at;
  if (!parse_size (p, &v)) return false;
  const mugraph_override *o = find_override (p, name);
  if (o && o->n_dims != 1) return fail_at (p, name_at, "'%s' is one size, --shape gives it %d", name, o->n_dims);
  if (o) v = (size_value){o->dim[0], false, NULL};
  if (!check_size (p, at, v.n)) return false;
  symbol *s = define (p, name, SYMBOL_SIZE, name_at);
  s->size = v.n;
  s->by_batch = v.by_batch;
  return true;
}

/* 'input' NAME '[' size, ... ']' ':' TYPE */
static bool parse_input_line (parser *p) {
  char name[MUGRAPH_NAME], type[MUGRAPH_NAME];
  size_t name_at = p->tok.at;
  int n = 0;
  int32_t dim[MUGRAPH_DIMS];
  if (!read_new_name (p, name)) return false;
  if (p->g.n_inputs >= MUGRAPH_INPUTS) return fail_at (p, name_at, "more than %d inputs", MUGRAPH_INPUTS);
  if (p->g.n_ops) return fail_at (p, name_at, "inputs come before the first operator");
  if (!advance (p) || !expect (p, '[', "'['")) return false;
  const mugraph_override *o = find_override (p, name);
  do {
    size_value v;
    size_t at = p->tok.at;
    if (n == MUGRAPH_DIMS) return fail_at (p, at, "more than %d dimensions", MUGRAPH_DIMS);
    if (!parse_size (p, &v)) return false;
    /* An override may disagree with the numbers of the program and with what b makes of them; a named size was given
       so that several inputs agree. */
    if (o && n < o->n_dims && v.named && !v.by_batch && v.n != o->dim[n])
      return fail_at (
          p, at,
          "--shape makes dimension %d of '%s' %d, but '%s' is %lld (line %d); --shape %s=%d changes it everywhere", n,
          name, o->dim[n], v.named->name, (long long) v.named->size, v.named->line, v.named->name, o->dim[n]);
    if (!o && !check_size (p, at, v.n)) return false;
    dim[n++] = (int32_t) v.n;
  } while (p->tok.kind == ',' && advance (p));
  if (p->failed || !expect (p, ']', "',' or ']'") || !expect (p, ':', "':' and a type (f16, bf16 or f32)"))
    return false;
  size_t type_at = p->tok.at;
  if (!read_name (p, type, "a type (f16, bf16 or f32)")) return false;
  int dtype = mugraph_dtype_find (type);
  if (dtype < 0) return fail_at (p, type_at, "unknown type '%s' (f16, bf16 or f32)", type);
  if (!advance (p)) return false;
  mugraph_shape s = o ? mugraph_shape_of (dtype, o->n_dims, o->dim) : mugraph_shape_of (dtype, n, dim);
  double volume = 1;
  for (int d = 0; d < s.n_dims; d++) volume *= s.dim[d];
  if (volume > (double) MUGRAPH_MAX_VOLUME)
    return fail_at (p, name_at, "'%s' has more than %lld elements", name, (long long) MUGRAPH_MAX_VOLUME);
  int t = mugraph_add_input (&p->g, name, s);
  define (p, name, SYMBOL_TENSOR, name_at)->tensor = t;
  return true;
}

/* The next character after blanks; 0 at the end of the file. */
static char next_char (const parser *p) {
  size_t i = p->pos;
  while (look (p, i) == ' ' || look (p, i) == '\t' || look (p, i) == '\r') i++;
  return look (p, i);
}

/* Whether the rest of the line is one name. */
static bool is_lone_name (const parser *p) {
  return p->tok.kind == TOKEN_NAME && (!next_char (p) || next_char (p) == '\n' || next_char (p) == '#');
}

/* NAME '=' expr. A tensor keeps its first name. */
static bool parse_definition (parser *p, value *v) {
  char name[MUGRAPH_NAME];
  size_t name_at = p->tok.at;
  if (!read_new_name (p, name) || !advance (p) || !expect (p, '=', "'='")) return false;
  bool alias = is_lone_name (p);
  if (!parse_expr (p, v)) return false;
  symbol *s = define (p, name, v->is_number ? SYMBOL_NUMBER : SYMBOL_TENSOR, name_at);
  s->number = v->number;
  s->tensor = v->tensor;
  if (v->is_number || alias || name[0] == '_' || p->g.tensor[v->tensor].name[0]) return true;
  memcpy (p->g.tensor[v->tensor].name, name, sizeof name);
  return true;
}

/* 'output' NAME '=' expr | 'output' expr. An expression that is no name makes an output called out0, out1, ... */
static bool parse_output_line (parser *p) {
  mugraph *g = &p->g;
  char name[MUGRAPH_NAME] = "";
  size_t at = p->tok.at;
  value v;
  if (g->n_outputs >= MUGRAPH_OUTPUTS) return fail_at (p, at, "more than %d outputs", MUGRAPH_OUTPUTS);
  if (p->tok.kind == TOKEN_NAME && next_char (p) == '=') {
    if (!read_name (p, name, "a name") || !parse_definition (p, &v)) return false;
  } else {
    if (is_lone_name (p) && !read_name (p, name, "a name")) return false;
    if (!parse_expr (p, &v)) return false;
  }
  if (v.is_number) return fail_at (p, at, "an output must be a tensor, this is the number %g", v.number);
  if (!name[0]) {
    for (int k = g->n_outputs; !name[0] || find_symbol (p, name); k++) snprintf (name, sizeof name, "out%d", k);
    if (p->n_symbols >= MAX_SYMBOLS) return fail_at (p, at, "more than %d names", MAX_SYMBOLS);
    define (p, name, SYMBOL_TENSOR, at)->tensor = v.tensor;
    if (!g->tensor[v.tensor].name[0]) memcpy (g->tensor[v.tensor].name, name, sizeof name);
  }
  for (int k = 0; k < g->n_outputs; k++)
    if (!strcmp (g->output_name[k], name)) return fail_at (p, at, "'%s' is an output already", name);
  mugraph_add_output (g, v.tensor, name);
  return true;
}

static bool parse_line (parser *p) {
  if (token_is (p, "dim")) return advance (p) && parse_dim_line (p);
  if (token_is (p, "input")) return advance (p) && parse_input_line (p);
  if (token_is (p, "output")) return advance (p) && parse_output_line (p);
  value v;
  if (p->tok.kind == TOKEN_NAME && next_char (p) != '=') {
    char buffer[40];
    return fail_at (p, p->tok.at, "expected `input`, `dim`, `output` or `NAME = ...`, found %s",
                    token_text (p, buffer));
  }
  return p->tok.kind == TOKEN_NAME ? parse_definition (p, &v)
                                   : unexpected (p, "`input`, `dim`, `output` or `NAME = ...`");
}

static bool parse_lines (parser *p) {
  for (const char *nul = memchr (p->text, 0, p->len); nul;)
    return fail_at (p, (size_t) (nul - p->text), "a NUL byte: this is not a text file");
  size_t bad = mugraph_check_utf8 (p->text, p->len);
  if (bad < p->len) {
    p->bad_utf8 = true;
    return fail_at (p, bad, "byte 0x%02x is not UTF-8 text", (unsigned char) p->text[bad]);
  }
  if (p->len >= 3 && !memcmp (p->text, "\xef\xbb\xbf", 3)) p->pos = 3;
  if (!advance (p)) return false;
  while (p->tok.kind != TOKEN_END) {
    if (p->tok.kind != TOKEN_LINE && !parse_line (p)) return false;
    if (p->tok.kind != TOKEN_END && !expect (p, TOKEN_LINE, "the end of the line")) return false;
  }
  if (!p->g.n_outputs) return fail_at (p, p->len, "no output: the program needs a line `output NAME = expr`");
  return true;
}

/* ---- from what was written to the program's graph ---- */

/* Leaves out what no output depends on, and puts constants right before their first reader, so that a printed program
   reads back to the same graph. */
static void compact (const mugraph *from, mugraph *to) {
  bool live[MUGRAPH_TENSORS] = {false};
  int map[MUGRAPH_TENSORS];
  memset (map, -1, sizeof map);
  for (int k = 0; k < from->n_outputs; k++) live[from->output[k]] = true;
  for (int i = from->n_ops; i-- > 0;)
    for (int k = 0; live[from->op[i].out[0]] && k < from->op[i].n_in; k++) live[from->op[i].in[k]] = true;
  mugraph_init (to);
  for (int t = 0; t < from->n_inputs; t++) map[t] = mugraph_add_input (to, from->tensor[t].name, from->tensor[t].shape);
  int producer[MUGRAPH_TENSORS];
  memset (producer, -1, sizeof producer);
  for (int i = 0; i < from->n_ops; i++) producer[from->op[i].out[0]] = i;
  for (int i = 0; i < from->n_ops; i++) {
    if (!live[from->op[i].out[0]] || from->op[i].kind == MUGRAPH_OP_CONST) continue;
    for (int k = 0; k <= from->op[i].n_in; k++) { /* constants among the operands, then the operator */
      bool self = k == from->op[i].n_in;
      int o = self ? i : producer[from->op[i].in[k]];
      if (o < 0 || (!self && (from->op[o].kind != MUGRAPH_OP_CONST || map[from->op[o].out[0]] >= 0))) continue;
      mugraph_op op = from->op[o];
      for (int j = 0; j < op.n_in; j++) op.in[j] = (uint8_t) map[op.in[j]];
      int t = map[op.out[0]] = to->n_tensors++;
      to->tensor[t] = from->tensor[op.out[0]];
      op.out[0] = (uint8_t) t;
      to->op[to->n_ops++] = op;
    }
  }
  for (int k = 0; k < from->n_outputs; k++) mugraph_add_output (to, map[from->output[k]], from->output_name[k]);
}

static bool check_overrides (const parser *p, const mugraph_program_options *options, mugraph_error *e) {
  for (int i = 0; options && i < options->n_overrides; i++) {
    if (p->overridden[i]) continue;
    char names[300] = "";
    size_t n = 0;
    for (int k = 0; k < p->n_symbols; k++) {
      const symbol *s = &p->symbol[k];
      bool input =
          s->kind == SYMBOL_TENSOR && s->tensor < p->g.n_inputs && !strcmp (s->name, p->g.tensor[s->tensor].name);
      if ((input || (s->kind == SYMBOL_SIZE && s->line)) && n < sizeof names)
        n += (size_t) snprintf (names + n, sizeof names - n, "%s%s", n ? ", " : "", s->name);
    }
    return mugraph_fail (e, "%s: --shape %s=...: the program has no input or dim of that name (it has %s)%s", p->file,
                         options->override[i].name, n ? names : "none",
                         !strcmp (options->override[i].name, "b") ? "; b is given by -b" : "");
  }
  return true;
}

/* The base name of a path without its extension .mg, made of characters that are safe in a file name. */
static void name_after (const char *path, char name[MUGRAPH_PROGRAM_NAME]) {
  const char *base = strrchr (path, '/') ? strrchr (path, '/') + 1 : path;
  size_t len = strlen (base);
  if (len > 3 && !strcmp (base + len - 3, ".mg")) len -= 3;
  if (len > 32) len = 32;
  for (size_t i = 0; i < len; i++)
    name[i] = is_name (base[i]) || base[i] == '-' || (base[i] == '.' && i) ? base[i] : '_';
  name[len] = 0;
  if (!len) strcpy (name, "program");
}

bool mugraph_program_parse (const char *text, size_t len, const char *filename, const mugraph_program_options *options,
                            mugraph_program *out, mugraph_error *e) {
  if (len > MUGRAPH_PROGRAM_BYTES)
    return mugraph_fail (e, "%.400s: larger than %d bytes, too large for a program", filename, MUGRAPH_PROGRAM_BYTES);
  int batch = options && options->batch ? options->batch : 1;
  if (batch < 1 || batch > MUGRAPH_PROGRAM_BATCH)
    return mugraph_fail (e, "batch size %d is out of range (1 to %d)", batch, MUGRAPH_PROGRAM_BATCH);
  parser *p = calloc (1, sizeof *p);
  if (!p) return mugraph_fail (e, "%.400s: out of memory", filename);
  *p = (parser){.text = text, .file = filename, .len = len, .e = e, .options = options};
  p->symbol[p->n_symbols++] = (symbol){.name = "b", .kind = SYMBOL_SIZE, .size = batch, .by_batch = true, .tensor = -1};
  bool ok = parse_lines (p) && check_overrides (p, options, e);
  if (ok) {
    memset (out, 0, sizeof *out);
    compact (&p->g, &out->graph);
    name_after (filename, out->name);
    snprintf (out->stem, sizeof out->stem, "%s", out->name);
    out->batch = batch;
    out->uses_batch = p->uses_batch;
    ok = mugraph_infer (&out->graph, e);
  }
  free (p);
  return ok;
}

/* ---- overrides ---- */

bool mugraph_program_override (const char *text, mugraph_program_options *options, mugraph_error *e) {
  const char *equals = strchr (text, '='), *c = text;
  mugraph_override o = {.n_dims = 0};
  while (is_name (*c)) c++;
  size_t len = (size_t) (c - text);
  if (!equals || c != equals || !len || !is_name_start (text[0]))
    return mugraph_fail (e, "shape '%.100s': expected NAME=dims, for example X=16x4096", text);
  if (len >= MUGRAPH_NAME)
    return mugraph_fail (e, "shape '%.100s': the name is longer than %d characters", text, MUGRAPH_NAME - 1);
  memcpy (o.name, text, len);
  for (c++;; c++) {
    int64_t n = 0;
    if (!is_digit (*c)) return mugraph_fail (e, "shape '%.100s': expected a size at '%.20s'", text, c);
    if (o.n_dims == MUGRAPH_DIMS)
      return mugraph_fail (e, "shape '%.100s': more than %d dimensions", text, MUGRAPH_DIMS);
    for (; is_digit (*c); c++) n = n > MUGRAPH_MAX_DIM ? n : n * 10 + (*c - '0');
    if (n < 1 || n > MUGRAPH_MAX_DIM)
      return mugraph_fail (e, "shape '%.100s': size %d is out of range (1 to %lld)", text, o.n_dims,
                           (long long) MUGRAPH_MAX_DIM);
    o.dim[o.n_dims++] = (int32_t) n;
    if (!*c) break;
    if (*c != 'x' && *c != ',') return mugraph_fail (e, "shape '%.100s': expected 'x' or ',' at '%.20s'", text, c);
  }
  for (int i = 0; i < options->n_overrides; i++)
    if (!strcmp (options->override[i].name, o.name))
      return mugraph_fail (e, "shape '%.100s': %s has one already", text, o.name);
  if (options->n_overrides == MUGRAPH_INPUTS)
    return mugraph_fail (e, "shape '%.100s': more than %d shapes", text, MUGRAPH_INPUTS);
  options->override[options->n_overrides++] = o;
  return true;
}

/* ---- workloads and files ---- */

const mugraph_workload mugraph_workloads[] = {
    {"gqa", NULL, "gqa"},   {"qknorm", "qknorm_gqa", "qknorm_gqa"}, {"rmsnorm", NULL, "rmsnorm"},
    {"lora", NULL, "lora"}, {"gatedmlp", "gated_mlp", "gated_mlp"}, {"ntrans", "norm_transformer", "norm_transformer"},
};
const int mugraph_n_workloads = sizeof mugraph_workloads / sizeof *mugraph_workloads;

const mugraph_workload *mugraph_workload_find (const char *name) {
  for (int i = 0; i < mugraph_n_workloads; i++) {
    const mugraph_workload *w = &mugraph_workloads[i];
    if (!strcmp (name, w->name) || (w->alias && !strcmp (name, w->alias))) return w;
  }
  return NULL;
}

const char *mugraph_workload_text (const mugraph_workload *w) {
  size_t len = strlen (w->name);
  for (int i = 0; i < mugraph_n_workload_files; i++) {
    const mugraph_workload_file *m = &mugraph_workload_files[i];
    if (!strncmp (m->name, w->name, len) && !strcmp (m->name + len, ".mg")) return m->text;
  }
  return "";
}

const char *mugraph_workload_title (const mugraph_workload *w, char *buffer, size_t size) {
  const char *text = mugraph_workload_text (w);
  text += strspn (text, "# ");
  snprintf (buffer, size, "%.*s", (int) strcspn (text, "\n"), text);
  return buffer;
}

static const char *next_workload (const void *user, int i) {
  (void) user;
  if (i < mugraph_n_workloads) return mugraph_workloads[i].name;
  if (i < 2 * mugraph_n_workloads)
    return mugraph_workloads[i - mugraph_n_workloads].alias ? mugraph_workloads[i - mugraph_n_workloads].alias : "";
  return NULL;
}

static bool unknown_workload (const char *name, mugraph_error *e) {
  char names[200] = "";
  size_t n = 0;
  for (int i = 0; i < mugraph_n_workloads; i++)
    n += (size_t) snprintf (names + n, sizeof names - n, "%s%s", i ? ", " : "", mugraph_workloads[i].name);
  const char *like = mugraph_most_like (name, next_workload, NULL);
  return mugraph_fail (e, "unknown workload '%.100s'%s%s%s (there are %s; --program FILE.mg takes your own)", name,
                       like ? "; did you mean '" : "", like ? like : "", like ? "'?" : "", names);
}

/* ---- opening ---- */

/* Results of other shapes, and of programs that only have a workload's name, must not pass for the workload's. */
static void make_stem (mugraph_program *out, const char *stem, const mugraph_program_options *options, bool hash) {
  char text[512];
  int n = snprintf (text, sizeof text, "%s", stem);
  for (int i = 0; options && i < options->n_overrides; i++) {
    const mugraph_override *o = &options->override[i];
    n += snprintf (text + n, sizeof text - (size_t) n, "-%s_", o->name);
    for (int d = 0; d < o->n_dims; d++) n += snprintf (text + n, sizeof text - (size_t) n, d ? "x%d" : "%d", o->dim[d]);
    if ((hash |= n > 40)) break;
  }
  if (hash) {
    char *program = mugraph_program_print (&out->graph);
    uint64_t h = program ? XXH3_64bits (program, strlen (program)) : 0;
    snprintf (text + (n > 40 ? 40 : n), 20, "-%08x", (unsigned) h);
    free (program);
  }
  snprintf (out->stem, sizeof out->stem, "%.*s", (int) sizeof out->stem - 1, text);
}

bool mugraph_program_workload (const char *name, const mugraph_program_options *options, mugraph_program *out,
                               mugraph_error *e) {
  const mugraph_workload *w = mugraph_workload_find (name);
  if (!w) return unknown_workload (name, e);
  const char *text = mugraph_workload_text (w);
  char file[MUGRAPH_PROGRAM_NAME];
  snprintf (file, sizeof file, "%s.mg", w->name);
  if (!mugraph_program_parse (text, strlen (text), file, options, out, e)) return false;
  make_stem (out, w->stem, options, false);
  return true;
}

/* A file that is a workload under its own name counts as that workload. */
static bool name_file (mugraph_program *out, const mugraph_program_options *options) {
  const mugraph_workload *w = mugraph_workload_find (out->name);
  mugraph_program *builtin = w ? malloc (sizeof *builtin) : NULL;
  bool same = builtin && mugraph_program_workload (w->name, options, builtin, NULL) &&
              mugraph_equal (&builtin->graph, &out->graph);
  if (same) snprintf (out->stem, sizeof out->stem, "%s", builtin->stem);
  else make_stem (out, out->name, options, w != NULL);
  free (builtin);
  return true;
}

bool mugraph_program_load (const char *path, const mugraph_program_options *options, mugraph_program *out,
                           mugraph_error *e) {
  size_t len;
  char *text = mugraph_read_text (path, MUGRAPH_PROGRAM_BYTES, &len, e);
  bool ok = text && mugraph_program_parse (text, len, path, options, out, e) && name_file (out, options);
  free (text);
  return ok;
}

bool mugraph_program_open (const char *source, const mugraph_program_options *options, mugraph_program *out,
                           mugraph_error *e) {
  if (mugraph_workload_find (source)) return mugraph_program_workload (source, options, out, e);
  size_t len = strlen (source);
  bool file = strchr (source, '/') || (len > 3 && !strcmp (source + len - 3, ".mg"));
  return file ? mugraph_program_load (source, options, out, e) : unknown_workload (source, e);
}

/* ---- the batch size that fits ---- */

static bool fits (const mugraph *g, int n, const mugraph_shape in[]) {
  if (g->n_inputs != n) return false;
  for (int i = 0; i < n; i++)
    if (!mugraph_same_shape (&g->tensor[i].shape, &in[i])) return false;
  return true;
}

/* The batch size that a size linear in b points at, from the sizes at two batch sizes; 0: none. */
static int guess_batch (const mugraph_program *low, const mugraph_program *high, int n, const mugraph_shape in[]) {
  for (int i = 0; i < n && i < low->graph.n_inputs; i++) {
    const mugraph_shape *a = &low->graph.tensor[i].shape, *b = &high->graph.tensor[i].shape;
    for (int d = 0; d < a->n_dims && d < in[i].n_dims; d++) {
      int64_t rise = (int64_t) b->dim[d] - a->dim[d], run = high->batch - low->batch;
      if (!rise) continue;
      int64_t guess = low->batch + (in[i].dim[d] - (int64_t) a->dim[d]) * run / rise;
      return guess >= 1 && guess <= MUGRAPH_PROGRAM_BATCH ? (int) guess : 0;
    }
  }
  return 0;
}

static bool misfit (const char *source, const mugraph_program *p, int n, const mugraph_shape in[], bool fixed,
                    mugraph_error *e) {
  const mugraph *g = &p->graph;
  char ours[64], theirs[64], how[64] = "";
  if (p->uses_batch)
    snprintf (how, sizeof how, fixed ? " with -b %d" : " at b=%d, and no other batch size fits", p->batch);
  if (g->n_inputs != n)
    return mugraph_fail (e, "%.100s: has %d inputs, the file's graphs have %d", source, g->n_inputs, n);
  for (int i = 0; i < n; i++)
    if (!mugraph_same_shape (&g->tensor[i].shape, &in[i]))
      return mugraph_fail (e, "%.100s: input %d (%s) is %s%s; the file's is %s (--shape and -b change the program's)",
                           source, i, g->tensor[i].name, mugraph_dims_text (&g->tensor[i].shape, ours, sizeof ours),
                           how, mugraph_dims_text (&in[i], theirs, sizeof theirs));
  return false;
}

bool mugraph_program_fit (const char *source, const mugraph_program_options *given, int n, const mugraph_shape in[],
                          mugraph_program *out, mugraph_error *e) {
  enum { TRIED = 1024 };
  mugraph_program_options options = given ? *given : (mugraph_program_options){0};
  if (options.batch)
    return mugraph_program_open (source, &options, out, e) &&
           (fits (&out->graph, n, in) || misfit (source, out, n, in, true, e));
  /* Sizes are mostly linear in b: two batch sizes at which the program is valid show the one that fits. */
  mugraph_program *low = malloc (sizeof *low);
  mugraph_error first;
  bool any = false, found = false;
  int guess = 0;
  if (!low) return mugraph_fail (e, "%.100s: out of memory", source);
  for (options.batch = 1; options.batch <= TRIED && !found; options.batch *= 2) {
    bool ok = mugraph_program_open (source, &options, out, options.batch == 1 ? &first : NULL);
    found = ok && fits (&out->graph, n, in);
    if (!ok || found) continue;
    if (!any) {
      *low = *out;
      any = true;
      if (!low->uses_batch) break;
    } else if ((guess = guess_batch (low, out, n, in))) break;
  }
  if (!found && any && guess) {
    options.batch = guess;
    found = mugraph_program_open (source, &options, out, NULL) && fits (&out->graph, n, in);
  }
  /* Otherwise (b / 8, b * b): one by one. */
  if (!found && (!any || low->uses_batch))
    for (options.batch = 1; options.batch <= TRIED && !found; options.batch++)
      found = mugraph_program_open (source, &options, out, NULL) && fits (&out->graph, n, in);
  if (!found && any) misfit (source, low, n, in, false, e);
  if (!found && !any && e) *e = first;
  free (low);
  return found;
}
