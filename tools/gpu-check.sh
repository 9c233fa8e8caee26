#!/bin/sh
# On a machine with a GPU, in a checkout or in an unpacked bundle: outputs are compared with float64, inputs drawn from N(0,1).
#   1  every µGraph that is saved, and for attention also with Q times 4
#   2  SHAPES=yes: all workloads searched from scratch at other batch sizes and shapes, also such that no tile divides
#   3  FILES="a.json ...": every µGraph of these files, ours or Mirage's, that is equivalent to its program
#   4  the first µGraph of every saved file under compute-sanitizer, memcheck and racecheck
# CASES="gqa:8 lora:1" leaves 1 and 4 to some (default: all workloads at b = 1, 8, 16). SANITIZER=no leaves out 4, SANITIZER=PATH
# names the tool; only generated kernels are watched, not the float64 reference. JOBS: runs side by side (default 8 at most).
set -u
cd "$(dirname "$0")/.." || exit 2
msearch=${MSEARCH:-./msearch}
kernels=${KERNELS:-$(ls bench/kernels build/bench/kernels 2>/dev/null | head -n 1)}
[ -x "$msearch" ] || { echo "gpu-check: no $msearch here: run make, or unpack a bundle" >&2; exit 2; }

member () { # a scalar of the "gpu" object of a result
  sed -n 's/.*"gpu":[[:space:]]*{\([^}]*\)}.*/\1/p' "$2" | tr ',' '\n' | sed -n "s/^[[:space:]]*\"$1\":[[:space:]]*//p" | tr -d '"'
}

# One task: a line KIND;NAME;ARGUMENTS. Prints "ok ..." or "FAILED ..." with the end of what was said.
if [ "${1-}" = --task ]; then
  kind=${2%%;*} rest=${2#*;}
  name=${rest%%;*} arguments=${rest#*;}
  out=$(mktemp) log=$(mktemp)
  trap 'rm -f "$out" "$log"' EXIT
  said=
  case $kind in
  run) # must find a GPU and be right on it
    # shellcheck disable=SC2086 # arguments are words
    "$msearch" $arguments --no-time --json - >"$out" 2>"$log"
    status=$?
    tr -d '\n' <"$out" >"$log.line" && mv "$log.line" "$out"
    [ $status != 0 ] || [ "$(member available "$out")" != true ] || [ "$(member correct "$out")" != true ] ||
      said="ok      $name: relative error $(member rel_err "$out")"
    [ "$(member available "$out")" != false ] || echo "no GPU was found here" >>"$log" ;;
  files)
    "$kernels" --all --no-time "$arguments" >"$log" 2>&1
    status=$?
    [ $status != 0 ] || said="ok      $name: $(tail -n 1 "$log")" ;;
  memcheck | racecheck)
    # one run and its comparison: timing would replay the kernel thousands of times
    "$TOOL" --tool "$kind" --kernel-name regex='^(k[0-9]|copy_)' --error-exitcode 9 "$msearch" --file "$arguments" --no-time --json - >"$log" 2>&1
    status=$?
    [ $status != 0 ] || ! grep -q 'ERROR SUMMARY: 0 errors\|RACECHECK SUMMARY: 0 hazards' "$log" || said="ok      $name" ;;
  esac
  [ -n "$said" ] || said="FAILED  $name: status $status of $kind $arguments
$(grep '^=========' "$log" | head -n 20 | sed 's/^/        /')
$(grep -v '^=========\|^{' "$log" | tail -n 6 | sed 's/^/        /')"
  echo "$said"
  exit 0
fi

cases=${CASES:-$(for w in gqa qknorm rmsnorm lora gatedmlp ntrans; do for b in 1 8 16; do echo "$w:$b"; done; done)}
stem () { # file names in saved_mugraphs/
  case $1 in qknorm) echo qknorm_gqa ;; gatedmlp) echo gated_mlp ;; ntrans) echo norm_transformer ;; *) echo "$1" ;; esac
}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cores=$(nproc 2>/dev/null || echo 1)
jobs=${JOBS:-$((cores < 8 ? cores : 8))}

# The tasks of standard input, side by side.
parallel () {
  tr '\n' '\0' | xargs -0 -r -P "$1" -n 1 sh "tools/${0##*/}" --task | tee -a "$dir/results"
}

file_of () { # of a case: as shipped, else where a search leaves it
  file=saved_mugraphs/$(stem "${1%:*}")_bs${1#*:}.json
  [ -f "$file" ] && echo "$file" || echo "$dir/${1%:*}-${1#*:}.json"
}

saved () {
  for c in $cases; do
    file=$(file_of "$c") name="${c%:*} b=${c#*:}"
    [ -f "$file" ] && how="--file $file" || how="${c%:*} -b ${c#*:} --out $file"
    echo "run;$name;$how"
    # large scores: exponentials that overflow half floats unless they are shifted
    case $c in gqa:* | qknorm:*) echo "run;$name, Q times 4;$how --scale Q=4" ;; esac
  done
}

shapes () {
  threads=$(((cores + jobs - 1) / jobs))
  search () { echo "run;$1;${1%%:*}${1#*:} --fresh --threads $threads --trials 1 --out $dir/$(echo "$1" | tr -c 'A-Za-z0-9=\n' _).json"; }
  for b in 64 31 5 3 2; do # the longest first
    for w in gqa qknorm gatedmlp rmsnorm lora ntrans; do search "$w: -b $b"; done
  done
  for w in gqa qknorm; do
    # heads, queries, head dimension, keys
    for s in "1 1 64 4096" "3 100 64 1000" "7 17 64 4095" "5 256 128 512" "2 48 80 777" "4 33 33 333" "1 300 64 20000" "12 64 16 64" "2 5 200 9"; do
      set -- $s
      search "$w: --shape Q=$1x$2x$3 --shape K=$1x$3x$4 --shape V=$1x$4x$3"
    done
    search "$w: -b 3 --scale Q=4"
  done
  for s in "7 1000 333" "1 4096 6144" "1 4095 6145" "100 130 72" "3 20000 40" "64 4096 8" "300 512 1024" "2 8 16"; do
    set -- $s
    search "rmsnorm: --shape X=$1x$2 --shape W=$2x$3"
    search "gatedmlp: --shape X=$1x$2 --shape W1=$2x$3 --shape W2=$2x$3"
  done
  for s in "3 130 1001 5" "1 256 4096 2" "17 1000 120 64" "64 64 64 64" "200 300 400 17" "8 4096 4096 16"; do
    set -- $s
    search "lora: --shape X=$1x$2 --shape W=$2x$3 --shape A=$2x$4 --shape B=$4x$3"
  done
  for s in 5x1000 3x4097 1x100000 1000x64 300x1 129x30000; do search "ntrans: --shape X=$s --shape H=$s --shape alpha=$s"; done
}

saved | parallel "$jobs"
if grep -q 'no GPU was found here' "$dir/results"; then exit 2; fi
[ "${SHAPES-}" != yes ] || shapes | parallel "$jobs"
for f in ${FILES-}; do echo "files;${f##*/};$f"; done | parallel 1

if [ "${SANITIZER-}" != no ]; then
  TOOL=${SANITIZER:-$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer /usr/local/cuda-*/bin/compute-sanitizer \
    /usr/local/cuda*/compute-sanitizer/compute-sanitizer 2>/dev/null | head -n 1)}
  export TOOL
  if [ -z "$TOOL" ]; then
    echo "FAILED  compute-sanitizer is not here; SANITIZER=PATH names it, SANITIZER=no leaves this part out" | tee -a "$dir/results"
  else
    for c in $cases; do
      for check in memcheck racecheck; do echo "$check;$check ${c%:*} b=${c#*:};$(file_of "$c")"; done
    done | parallel "$jobs"
  fi
fi
echo "$(grep -c '^ok' "$dir/results") passed, $(grep -c '^FAILED' "$dir/results") failed"
grep -q '^ok' "$dir/results" && ! grep -q '^FAILED' "$dir/results"
