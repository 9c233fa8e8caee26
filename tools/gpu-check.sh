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
  sed -n 's/.*"gpu":[ ]*{\([^}]*\)}.*/\1/p' "$2" | tr ',' '\n' | sed -n "s/^[ ]*\"$1\":[ ]*//p" | tr -d '"'
}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
passed=0 failed=0
fail () {
  echo "FAILED  $1"
  failed=$((failed + 1))
}

for c in $cases; do
  workload=${c%:*} batch=${c#*:}
  file=saved_mugraphs/$(stem "$workload")_bs$batch.json
  out=$dir/$workload-$batch.json
  if [ -f "$file" ]; then set -- --file "$file"; else set -- "$workload" -b "$batch" --out "$dir/found-$workload-$batch.json"; fi
  "$msearch" "$@" --json - >"$out" 2>"$dir/log"
  status=$?
  tr -d '\n' <"$out" >"$out.line"
  if [ "$status" = 0 ] && [ "$(member available "$out.line")" = true ] && [ "$(member correct "$out.line")" = true ]; then
    echo "ok      $workload b=$batch: relative error $(member rel_err "$out.line"), warm $(member warm_us "$out.line") us, cold $(member cold_us "$out.line") us"
    passed=$((passed + 1))
  else
    fail "$workload b=$batch: status $status, $*"
    sed 's/^/        /' "$dir/log" | tail -n 15
    if [ "$(member available "$out.line")" = false ]; then
      echo "gpu-check: no GPU was found here" >&2
      exit 2
    fi
  fi
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
