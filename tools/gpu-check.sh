#!/bin/sh
# On a machine with a GPU: every workload at b = 1, 8, 16 (or CASES="gqa:8 lora:1") is run from its saved µGraph and compared
# with float64; then every kernel runs under compute-sanitizer (memcheck, racecheck). Works in a checkout and in an unpacked
# bundle. SANITIZER=no leaves the second part out, SANITIZER=PATH names the tool.
set -u
cd "$(dirname "$0")/.." || exit 2
msearch=${MSEARCH:-./msearch}
[ -x "$msearch" ] || { echo "gpu-check: no $msearch here: run make, or unpack a bundle" >&2; exit 2; }
cases=${CASES:-$(for w in gqa qknorm rmsnorm lora gatedmlp ntrans; do for b in 1 8 16; do echo "$w:$b"; done; done)}
stem () { # file names in saved_mugraphs/
  case $1 in qknorm) echo qknorm_gqa ;; gatedmlp) echo gated_mlp ;; ntrans) echo norm_transformer ;; *) echo "$1" ;; esac
}
member () { # a scalar of the "gpu" object of a result
  sed -n 's/.*"gpu":[[:space:]]*{\([^}]*\)}.*/\1/p' "$2" | tr ',' '\n' | sed -n "s/^[[:space:]]*\"$1\":[[:space:]]*//p" | tr -d '"'
}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
passed=0 failed=0
fail () {
  echo "FAILED  $1"
  failed=$((failed + 1))
}

# run NAME ARGUMENTS...: one run that must find a GPU and be right on it
run () {
  name=$1
  shift
  "$msearch" "$@" --json - >"$dir/raw" 2>"$dir/log"
  status=$?
  tr -d '\n' <"$dir/raw" >"$dir/out"
  if [ $status = 0 ] && [ "$(member available "$dir/out")" = true ] && [ "$(member correct "$dir/out")" = true ]; then
    echo "ok      $name: relative error $(member rel_err "$dir/out"), warm $(member warm_us "$dir/out") us, cold $(member cold_us "$dir/out") us"
    passed=$((passed + 1))
    return
  fi
  fail "$name: status $status of $msearch $*"
  tail -n 15 "$dir/log" | sed 's/^/        /'
  if [ "$(member available "$dir/out")" = false ]; then
    echo "gpu-check: no GPU was found here" >&2
    exit 2
  fi
}

for c in $cases; do
  workload=${c%:*} batch=${c#*:}
  file=saved_mugraphs/$(stem "$workload")_bs$batch.json
  if [ ! -f "$file" ]; then # searched for, and kept for the second part
    file=$dir/found-$workload-$batch.json
    run "$workload b=$batch" "$workload" -b "$batch" --out "$file"
  else
    run "$workload b=$batch" --file "$file"
  fi
  # large scores: exponentials that overflow half floats unless they are shifted
  case $workload in gqa | qknorm) run "$workload b=$batch, Q times 4" --file "$file" --scale Q=4 --no-time ;; esac
done

if [ "${SANITIZER-}" != no ]; then
  tool=${SANITIZER:-$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer /usr/local/cuda-*/bin/compute-sanitizer \
    /usr/local/cuda*/compute-sanitizer/compute-sanitizer 2>/dev/null | head -n 1)}
  if [ -z "$tool" ]; then
    fail "compute-sanitizer is not here; SANITIZER=PATH names it, SANITIZER=no leaves this part out"
  else
    for c in $cases; do
      workload=${c%:*} batch=${c#*:}
      file=saved_mugraphs/$(stem "$workload")_bs$batch.json
      [ -f "$file" ] || file=$dir/found-$workload-$batch.json
      for check in memcheck racecheck; do
        # one run and its comparison: timing would replay the kernel thousands of times
        if "$tool" --tool $check --error-exitcode 9 "$msearch" --file "$file" --no-time --json - >"$dir/out" 2>&1; then
          echo "ok      $check $workload b=$batch"
          passed=$((passed + 1))
        else
          fail "$check $workload b=$batch"
          grep -E '^=========' "$dir/out" | head -n 20
        fi
      done
    done
  fi
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
