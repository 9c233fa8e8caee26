/* What checking builds look at between operators is itself looked at: each border refuses what it is there for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "verify/arena.h"
#include "verify/boxes.h"
#include "verify/context.h"
#include "verify/field.h"
#include "verify/planes.h"
#include "verify_graphs.h"

#include <cmocka.h>

static void residues_are_below_the_modulus (void **state) {
  (void) state;
  eval_plan fields = {.real = false}, real = {.real = true};
  uint32_t x[4] = {0, FIELD_Q - 1, FIELD_Q, FIELD_P - 1};
  assert_true (eval_are_numbers (&fields, 0, 4, x));
  assert_true (eval_are_numbers (&fields, 1, 2, x));
  assert_false (eval_are_numbers (&fields, 1, 3, x));
  x[1] = FIELD_P;
  assert_false (eval_are_numbers (&fields, 0, 4, x));
  double y[2] = {-1e300, 0};
  assert_true (eval_are_numbers (&real, 0, 2, y));
  memset (&y[1], 0xff, sizeof y[1]);
  assert_false (eval_are_numbers (&real, 0, 2, y));
}

/* A plane that nobody needs is not looked at; values of an evaluation that was stopped are not either. */
static void values_are_checked_by_planes (void **state) {
  (void) state;
  volatile int stop = 0;
  eval_plan plan = {.real = false};
  eval_options options = {.stop = &stop};
  eval_context c = {.plan = &plan, .options = &options};
  mugraph_shape s = mugraph_shape_of (MUGRAPH_F16, 1, (int32_t[]){2});
  uint32_t p[2] = {1, 2}, q[2] = {3, FIELD_Q};
  eval_operand x = {.shape = &s, .v = {{p, q}}};
  assert_true (eval_is_value (&c, &x, EVAL_P));
  assert_false (eval_is_value (&c, &x, EVAL_P | EVAL_Q));
  stop = 1;
  assert_true (eval_is_value (&c, &x, EVAL_P | EVAL_Q));
}

static void arenas_go_back_to_marks (void **state) {
  (void) state;
  _Alignas(64) char first[1024];
  eval_arena a;
  eval_arena_init (&a, first, sizeof first);
  char *kept = eval_take (&a, 100);
  assert_ptr_equal (kept, first);
  assert_int_equal (a.live, 128); /* a multiple of the alignment */
  memset (kept, 7, 100);
  for (size_t size = 64; size <= (size_t) 1 << 20; size *= 2) { /* in the first room, in a chunk, in larger ones */
    eval_mark mark = eval_set_mark (&a);
    char *x = eval_take (&a, size), *y = eval_take (&a, size);
    assert_non_null (x);
    assert_non_null (y);
    assert_int_equal ((uintptr_t) x % 64, 0);
    assert_true (x + size <= y || y + size <= x);
    memset (x, 1, size), memset (y, 2, size);
    assert_int_equal (x[size - 1], 1);
    assert_int_equal (a.live, 128 + 2 * size);
    eval_release (&a, mark);
    assert_int_equal (a.live, 128);
    char *again = eval_take (&a, 64);
    assert_true (again == x || again == y); /* the room is given out again */
    eval_release (&a, mark);
  }
  for (int i = 0; i < 100; i++) assert_int_equal (kept[i], 7);
  eval_arena_free (&a);
  assert_int_equal (a.live, 0);
}

static void boxes_are_copied_and_filled_outside (void **state) {
  (void) state;
  mugraph_shape whole = mugraph_shape_of (MUGRAPH_F32, 3, (int32_t[]){3, 4, 5});
  mugraph_shape tile = mugraph_shape_of (MUGRAPH_F32, 3, (int32_t[]){2, 3, 4});
  double from[60], to[24];
  int64_t sf[MUGRAPH_DIMS], st[MUGRAPH_DIMS], outer, n, inner;
  int32_t valid[3] = {2, 2, 3};
  for (int i = 0; i < 60; i++) from[i] = i;
  for (int i = 0; i < 24; i++) to[i] = -1;
  eval_strides (&whole, sf);
  eval_strides (&tile, st);
  eval_copy_box (sizeof (double), 3, valid, from, sf, to, st);
  eval_fill_outside (&number_real, &tile, valid, 9, to);
  for (int x = 0; x < 2; x++)
    for (int y = 0; y < 3; y++)
      for (int z = 0; z < 4; z++) assert_true (to[(x * 3 + y) * 4 + z] == (y < 2 && z < 3 ? x * 20 + y * 5 + z : 9));
  eval_around (&whole, 1, &outer, &n, &inner);
  assert_true (outer == 3 && n == 4 && inner == 5);
}

int main (void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test (residues_are_below_the_modulus),
      cmocka_unit_test (values_are_checked_by_planes),
      cmocka_unit_test (arenas_go_back_to_marks),
      cmocka_unit_test (boxes_are_copied_and_filled_outside),
  };
  return cmocka_run_group_tests_name ("verify_borders", tests, NULL, NULL);
}
