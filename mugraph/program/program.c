/* Reading programs: lines, one function a grammar rule (quoted above it), and the graph that they make. */
#include "mugraph/check.h"
#include "parser.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- lines ---- */

/* 'dim' NAME '=' size */
static bool parse_dim_line (parser *p) {
  char name[MUGRAPH_NAME];
  size_value v;
  size_t name_at = p->l.tok.at;
  if (!parser_new_name (p, name) || !lexer_advance (&p->l) || !lexer_expect (&p->l, '=', "'='")) return false;
  size_t at = p->l.tok.at;
  if (!parser_size (p, &v)) return false;
  const mugraph_override *o = parser_override (p, name);
  if (o && o->n_dims != 1) return lexer_fail (&p->l, name_at, "'%s' is one size, --shape gives it %d", name, o->n_dims);
  if (o) v = (size_value){o->dim[0], false, NULL};
  if (!parser_check_size (p, at, v.n)) return false;
  symbol *s = parser_define (p, name, SYMBOL_SIZE, name_at);
  s->size = v.n;
  s->by_batch = v.by_batch;
  return true;
}

/* 'input' NAME '[' size, ... ']' ':' TYPE */
static bool parse_input_line (parser *p) {
  char name[MUGRAPH_NAME], type[MUGRAPH_NAME];
  size_t name_at = p->l.tok.at;
  int n = 0;
  int32_t dim[MUGRAPH_DIMS];
  if (!parser_new_name (p, name)) return false;
  if (p->g.n_inputs >= MUGRAPH_INPUTS) return lexer_fail (&p->l, name_at, "more than %d inputs", MUGRAPH_INPUTS);
  if (p->g.n_ops) return lexer_fail (&p->l, name_at, "inputs come before the first operator");
  if (!lexer_advance (&p->l) || !lexer_expect (&p->l, '[', "'['")) return false;
  const mugraph_override *o = parser_override (p, name);
  do {
    size_value v;
    size_t at = p->l.tok.at;
    if (n == MUGRAPH_DIMS) return lexer_fail (&p->l, at, "more than %d dimensions", MUGRAPH_DIMS);
    if (!parser_size (p, &v)) return false;
    /* An override may disagree with the numbers of the program and with what b makes of them; a named size was given
       so that several inputs agree. */
    if (o && n < o->n_dims && v.named && !v.by_batch && v.n != o->dim[n])
      return lexer_fail (
          &p->l, at,
          "--shape makes dimension %d of '%s' %d, but '%s' is %lld (line %d); --shape %s=%d changes it everywhere", n,
          name, o->dim[n], v.named->name, (long long) v.named->size, v.named->line, v.named->name, o->dim[n]);
    if (!o && !parser_check_size (p, at, v.n)) return false;
    dim[n++] = (int32_t) v.n;
  } while (p->l.tok.kind == ',' && lexer_advance (&p->l));
  if (p->l.failed || !lexer_expect (&p->l, ']', "',' or ']'") ||
      !lexer_expect (&p->l, ':', "':' and a type (f16, bf16 or f32)"))
    return false;
  size_t type_at = p->l.tok.at;
  if (!parser_name (p, type, "a type (f16, bf16 or f32)")) return false;
  int dtype = mugraph_dtype_find (type);
  if (dtype < 0) return lexer_fail (&p->l, type_at, "unknown type '%s' (f16, bf16 or f32)", type);
  if (!lexer_advance (&p->l)) return false;
  mugraph_shape s = o ? mugraph_shape_of (dtype, o->n_dims, o->dim) : mugraph_shape_of (dtype, n, dim);
  double volume = 1;
  for (int d = 0; d < s.n_dims; d++) volume *= s.dim[d];
  if (volume > (double) MUGRAPH_MAX_VOLUME)
    return lexer_fail (&p->l, name_at, "'%s' has more than %lld elements", name, (long long) MUGRAPH_MAX_VOLUME);
  int t = mugraph_add_input (&p->g, name, s);
  parser_define (p, name, SYMBOL_TENSOR, name_at)->tensor = t;
  return true;
}

/* NAME '=' expr. A tensor keeps its first name. */
static bool parse_definition (parser *p, value *v) {
  char name[MUGRAPH_NAME];
  size_t name_at = p->l.tok.at;
  if (!parser_new_name (p, name) || !lexer_advance (&p->l) || !lexer_expect (&p->l, '=', "'='")) return false;
  bool alias = lexer_at_lone_name (&p->l);
  if (!parser_expr (p, v)) return false;
  symbol *s = parser_define (p, name, v->is_number ? SYMBOL_NUMBER : SYMBOL_TENSOR, name_at);
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
  size_t at = p->l.tok.at;
  value v;
  if (g->n_outputs >= MUGRAPH_OUTPUTS) return lexer_fail (&p->l, at, "more than %d outputs", MUGRAPH_OUTPUTS);
  if (p->l.tok.kind == TOKEN_NAME && lexer_next_char (&p->l) == '=') {
    if (!parser_name (p, name, "a name") || !parse_definition (p, &v)) return false;
  } else {
    if (lexer_at_lone_name (&p->l) && !parser_name (p, name, "a name")) return false;
    if (!parser_expr (p, &v)) return false;
  }
  if (v.is_number) return lexer_fail (&p->l, at, "an output must be a tensor, this is the number %g", v.number);
  if (!name[0]) {
    for (int k = g->n_outputs; !name[0] || parser_find (p, name); k++) snprintf (name, sizeof name, "out%d", k);
    if (p->n_symbols >= PARSER_SYMBOLS) return lexer_fail (&p->l, at, "more than %d names", PARSER_SYMBOLS);
    parser_define (p, name, SYMBOL_TENSOR, at)->tensor = v.tensor;
    if (!g->tensor[v.tensor].name[0]) memcpy (g->tensor[v.tensor].name, name, sizeof name);
  }
  for (int k = 0; k < g->n_outputs; k++)
    if (!strcmp (g->output_name[k], name)) return lexer_fail (&p->l, at, "'%s' is an output already", name);
  mugraph_add_output (g, v.tensor, name);
  return true;
}

static bool parse_line (parser *p) {
  if (lexer_at_word (&p->l, "dim")) return lexer_advance (&p->l) && parse_dim_line (p);
  if (lexer_at_word (&p->l, "input")) return lexer_advance (&p->l) && parse_input_line (p);
  if (lexer_at_word (&p->l, "output")) return lexer_advance (&p->l) && parse_output_line (p);
  value v;
  if (p->l.tok.kind == TOKEN_NAME && lexer_next_char (&p->l) != '=') {
    char buffer[40];
    return lexer_fail (&p->l, p->l.tok.at, "expected `input`, `dim`, `output` or `NAME = ...`, found %s",
                       lexer_token_text (&p->l, buffer));
  }
  return p->l.tok.kind == TOKEN_NAME ? parse_definition (p, &v)
                                     : lexer_unexpected (&p->l, "`input`, `dim`, `output` or `NAME = ...`");
}

/* program: line* */
static bool parse_lines (parser *p) {
  if (!lexer_start (&p->l)) return false;
  while (p->l.tok.kind != TOKEN_END) {
    if (p->l.tok.kind != TOKEN_LINE && !parse_line (p)) return false;
    if (p->l.tok.kind != TOKEN_END && !lexer_expect (&p->l, TOKEN_LINE, "the end of the line")) return false;
  }
  if (!p->g.n_outputs) return lexer_fail (&p->l, p->l.len, "no output: the program needs a line `output NAME = expr`");
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
    return mugraph_fail (e, "%s: --shape %s=...: the program has no input or dim of that name (it has %s)%s", p->l.file,
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
    name[i] = lexer_is_name (base[i]) || base[i] == '-' || (base[i] == '.' && i) ? base[i] : '_';
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
  *p = (parser){.l = {.text = text, .file = filename, .len = len, .e = e}, .options = options};
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
    CHECK (ok); /* each operator was inferred when it was met */
  }
  free (p);
  return ok;
}
