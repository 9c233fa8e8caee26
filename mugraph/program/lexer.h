/* The lexer of the program language: one token of look-ahead, and errors that show the place. */
#ifndef MUGRAPH_LEXER_H
#define MUGRAPH_LEXER_H

#include "mugraph/mugraph.h"

enum { TOKEN_END = 256, TOKEN_LINE, TOKEN_NAME, TOKEN_NUMBER }; /* below 256: the character itself */

typedef struct {
  int kind;
  size_t at, len; /* in the text */
} token;

typedef struct {
  const char *text, *file;
  size_t len, pos; /* pos: where the next token is looked for */
  token tok;       /* the current token */
  int brackets;    /* open ones: inside, a line goes on */
  bool failed, bad_utf8;
  mugraph_error *e;
} lexer;

/* Looks at the text as a whole (UTF-8, no NUL) and reads the first token. */
bool lexer_start (lexer *);
/* Reads the next token into tok. */
bool lexer_advance (lexer *);
/* The same when the current token is of this kind; else an error that says what was wanted. */
bool lexer_expect (lexer *, int kind, const char *wanted);

/* The error of an offset: `file:line:column: what`, the source line, and a caret. The first one wins. All return
   false. */
bool lexer_fail (lexer *, size_t at, const char *format, ...) __attribute__ ((format (printf, 3, 4)));
bool lexer_unexpected (lexer *, const char *wanted);

int lexer_line (const lexer *, size_t at);                     /* 1 for the first */
const char *lexer_token_text (const lexer *, char buffer[40]); /* the current token, for messages */
bool lexer_at_word (const lexer *, const char *word);          /* the current token is this word */
char lexer_next_char (const lexer *);                          /* behind the token and blanks; 0 at the end */
bool lexer_at_lone_name (const lexer *);                       /* the rest of the line is one name */

bool lexer_starts_name (char);
bool lexer_is_name (char); /* inside of a name */
bool lexer_is_digit (char);

#endif
