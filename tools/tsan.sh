#!/bin/sh
# Searches of several threads with an msearch built under ThreadSanitizer (make tsan). Usage: tsan.sh MSEARCH
# Any report fails: there are no suppressions (tests/tsan/gomp.c says why none is needed).
set -eu
msearch=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export TSAN_OPTIONS="halt_on_error=1 exitcode=66 second_deadlock_stack=1"
passed=0
for workload in rmsnorm lora gqa; do
  echo "== tsan: $workload"
  status=0
  "$msearch" $workload -b 1 --fresh --no-gpu --threads 4 --budget "${TSAN_SECONDS:-60}" --out "$dir/$workload.json" >"$dir/log" 2>&1 || status=$?
  if grep -q 'ThreadSanitizer' "$dir/log" || [ "$status" = 66 ]; then
    cat "$dir/log"
    exit 1
  fi
  # 3: nothing found within the budget; slow as it is here, that is no race
  if [ "$status" != 0 ] && [ "$status" != 3 ]; then
    cat "$dir/log"
    echo "tsan: $workload ended with status $status" >&2
    exit 1
  fi
  passed=$((passed + 1))
done
echo "$passed passed, 0 failed (parallel searches under ThreadSanitizer)"
