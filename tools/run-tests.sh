#!/bin/sh
# Runs cmocka programs one after the other, shows their output, and ends with one line of totals. A program that crashes or
# runs too long counts as a failed test. Usage: run-tests.sh PROGRAM... ; the totals are also appended to $TOTALS if set.
set -u
passed=0 failed=0 skipped=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
number () { sed -n "s/^\[ *$1 *\] *\([0-9][0-9]*\) test(s).*/\1/p" "$log" | tail -n 1; }
for program; do
  echo "== $program"
  timeout "${TEST_SECONDS:-900}" "$program" >"$log" 2>&1 </dev/null
  status=$?
  cat "$log"
  p=$(number PASSED) f=$(number FAILED) s=$(number SKIPPED)
  if [ -z "$p" ] || { [ "$status" != 0 ] && [ "${f:-0}" = 0 ]; }; then
    echo "[  FAILED  ] $program ended with status $status"
    f=$((${f:-0} + 1))
  fi
  passed=$((passed + ${p:-0})) failed=$((failed + ${f:-0})) skipped=$((skipped + ${s:-0}))
done
if [ $((passed + failed)) = 0 ]; then
  echo "no test was run" >&2
  failed=1
fi
[ -z "${TOTALS-}" ] || echo "$passed $failed $skipped" >>"$TOTALS"
echo "[==========] $# test program(s) run."
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
