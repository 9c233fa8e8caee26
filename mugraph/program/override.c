/* `--shape NAME=dims`. */
#include "lexer.h"
#include "program.h"

#include <string.h>

bool mugraph_program_override (const char *text, mugraph_program_options *options, mugraph_error *e) {
  const char *equals = strchr (text, '='), *c = text;
  mugraph_override o = {.n_dims = 0};
  while (lexer_is_name (*c)) c++;
  size_t len = (size_t) (c - text);
  if (!equals || c != equals || !len || !lexer_starts_name (text[0]))
    return mugraph_fail (e, "shape '%.100s': expected NAME=dims, for example X=16x4096", text);
  if (len >= MUGRAPH_NAME)
    return mugraph_fail (e, "shape '%.100s': the name is longer than %d characters", text, MUGRAPH_NAME - 1);
  memcpy (o.name, text, len);
  for (c++;; c++) {
    int64_t n = 0;
    if (!lexer_is_digit (*c)) return mugraph_fail (e, "shape '%.100s': expected a size at '%.20s'", text, c);
    if (o.n_dims == MUGRAPH_DIMS)
      return mugraph_fail (e, "shape '%.100s': more than %d dimensions", text, MUGRAPH_DIMS);
    for (; lexer_is_digit (*c); c++) n = n > MUGRAPH_MAX_DIM ? n : n * 10 + (*c - '0');
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
