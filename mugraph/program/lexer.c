#include "lexer.h"
#include "mugraph/file/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- errors ---- */

int lexer_line (const lexer *l, size_t at) {
  int line = 1;
  for (size_t i = 0; i < at; i++) line += l->text[i] == '\n';
  return line;
}

static bool continues (char c) { return ((unsigned char) c & 0xc0) == 0x80; } /* inside of a UTF-8 sequence */

/* The first error wins. Sizes are such that all of it fits into mugraph_error. */
__attribute__ ((format (printf, 3, 4))) bool lexer_fail (lexer *l, size_t at, const char *format, ...) {
  enum { FILE_NAME = 100, SOURCE = 90, BEFORE = 60 };
  if (l->failed) return false;
  l->failed = true;
  char what[180];
  va_list ap;
  va_start (ap, format);
  vsnprintf (what, sizeof what, format, ap);
  va_end (ap);
  size_t begin = at, end = at;
  while (begin > 0 && l->text[begin - 1] != '\n') begin--;
  while (end < l->len && l->text[end] != '\n') end++;
  int column = 1;
  for (size_t i = begin; i < at; i++) column += !continues (l->text[i]);
  if (at - begin > BEFORE)
    for (begin = at - BEFORE; begin < at && continues (l->text[begin]);) begin++;
  char source[SOURCE + 1], blank[SOURCE + 1];
  int n = 0, pad = 0;
  for (size_t i = begin; i < end && n < SOURCE; i++) {
    unsigned char c = (unsigned char) l->text[i];
    bool bad = l->bad_utf8 && i >= at && c >= 0x80; /* up to `at` the text was well-formed */
    if (c >= 0xc0 && !bad && n + 4 > SOURCE) break; /* no half character */
    source[n++] = c == '\t' || c == '\r' ? ' ' : bad || c < 0x20 || c == 0x7f ? '?' : (char) c;
    if (i < at && !continues (l->text[i])) blank[pad++] = ' ';
  }
  while (n > 0 && source[n - 1] == ' ') n--;
  source[n] = blank[pad] = 0;
  size_t file_len = strlen (l->file), skip = file_len > FILE_NAME ? file_len - FILE_NAME : 0;
  return mugraph_fail (l->e, "%s%s:%d:%d: %s\n  %s\n  %s^", skip ? "..." : "", l->file + skip, lexer_line (l, at),
                       column, what, source, blank);
}

/* ---- tokens ---- */

bool lexer_starts_name (char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool lexer_is_digit (char c) { return c >= '0' && c <= '9'; }
bool lexer_is_name (char c) { return lexer_starts_name (c) || lexer_is_digit (c); }

static char look (const lexer *l, size_t at) { return at < l->len ? l->text[at] : 0; }

static size_t scan_number (const lexer *l, size_t at) {
  while (lexer_is_digit (look (l, at))) at++;
  if (look (l, at) == '.')
    for (at++; lexer_is_digit (look (l, at));) at++;
  if (look (l, at) == 'e' || look (l, at) == 'E') {
    size_t digits = at + 1;
    if (look (l, digits) == '+' || look (l, digits) == '-') digits++;
    if (lexer_is_digit (look (l, digits)))
      for (at = digits; lexer_is_digit (look (l, at));) at++;
  }
  return at;
}

/* Reads the next token into l->tok. */
bool lexer_advance (lexer *l) {
  for (;; l->pos++) {
    char c = look (l, l->pos);
    if (c == '#')
      while (l->pos < l->len && l->text[l->pos] != '\n') l->pos++;
    if (l->pos >= l->len) {
      l->tok = (token){TOKEN_END, l->len, 0};
      return true;
    }
    c = l->text[l->pos];
    if (c != ' ' && c != '\t' && c != '\r' && !(c == '\n' && l->brackets)) break;
  }
  size_t at = l->pos, end = at + 1;
  char c = l->text[at];
  int kind = (unsigned char) c;
  if (c == '\n') kind = TOKEN_LINE;
  else if (lexer_starts_name (c)) {
    kind = TOKEN_NAME;
    while (lexer_is_name (look (l, end))) end++;
  } else if (lexer_is_digit (c) || (c == '.' && lexer_is_digit (look (l, at + 1)))) {
    kind = TOKEN_NUMBER;
    end = scan_number (l, at);
    if (lexer_is_name (look (l, end))) return lexer_fail (l, at, "malformed number");
  } else if (c == '(' || c == '[') l->brackets++;
  else if (c == ')' || c == ']') l->brackets -= l->brackets > 0;
  else if (!strchr ("+-*/,=:", c)) {
    while (continues (look (l, end))) end++;
    if ((unsigned char) c < 0x20 || c == 0x7f)
      return lexer_fail (l, at, "unexpected control character 0x%02x", (unsigned char) c);
    return lexer_fail (l, at, "unexpected character '%.*s'", (int) (end - at), l->text + at);
  }
  l->tok = (token){kind, at, end - at};
  l->pos = end;
  return true;
}

bool lexer_start (lexer *l) {
  const char *nul = memchr (l->text, 0, l->len);
  if (nul) return lexer_fail (l, (size_t) (nul - l->text), "a NUL byte: this is not a text file");
  const size_t bad = mugraph_check_utf8 (l->text, l->len);
  if (bad < l->len) {
    l->bad_utf8 = true;
    return lexer_fail (l, bad, "byte 0x%02x is not UTF-8 text", (unsigned char) l->text[bad]);
  }
  if (l->len >= 3 && !memcmp (l->text, "\xef\xbb\xbf", 3)) l->pos = 3;
  return lexer_advance (l);
}

const char *lexer_token_text (const lexer *l, char buffer[40]) {
  if (l->tok.kind == TOKEN_END) return "the end of the file";
  if (l->tok.kind == TOKEN_LINE) return "the end of the line";
  snprintf (buffer, 40, l->tok.len > 30 ? "'%.*s...'" : "'%.*s'", l->tok.len > 30 ? 30 : (int) l->tok.len,
            l->text + l->tok.at);
  return buffer;
}

bool lexer_unexpected (lexer *l, const char *wanted) {
  char buffer[40];
  return lexer_fail (l, l->tok.at, "expected %s, found %s", wanted, lexer_token_text (l, buffer));
}

bool lexer_expect (lexer *l, int kind, const char *wanted) {
  return l->tok.kind == kind ? lexer_advance (l) : lexer_unexpected (l, wanted);
}

bool lexer_at_word (const lexer *l, const char *word) {
  return l->tok.kind == TOKEN_NAME && l->tok.len == strlen (word) && !memcmp (l->text + l->tok.at, word, l->tok.len);
}

/* The next character after blanks; 0 at the end of the file. */
char lexer_next_char (const lexer *l) {
  size_t i = l->pos;
  while (look (l, i) == ' ' || look (l, i) == '\t' || look (l, i) == '\r') i++;
  return look (l, i);
}

/* Whether the rest of the line is one name. */
bool lexer_at_lone_name (const lexer *l) {
  return l->tok.kind == TOKEN_NAME &&
         (!lexer_next_char (l) || lexer_next_char (l) == '\n' || lexer_next_char (l) == '#');
}
