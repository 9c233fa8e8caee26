#!/bin/sh
# What the compiler makes of golden kernels: a line a file with the hash of its code. Two runs, before and after a rewording of
# emitted code or of device templates, must print the same. Usage: cubins.sh [tests/golden/*.cu] >before
# Needs nvcc (NVCC=PATH). INCLUDE: folder of the device templates, cuda_templates by default.
set -eu
[ $# -gt 0 ] || set -- tests/golden/*.cu
nvcc=${NVCC:-nvcc}
command -v "$nvcc" >/dev/null || { echo "cubins: no nvcc here; say NVCC=PATH" >&2; exit 2; }
include=$(for folder in "${INCLUDE:-cuda_templates}"/*/; do printf ' -I%s' "$folder"; done)
export nvcc include
# shellcheck disable=SC2016 # expanded by the inner shell
printf '%s\0' "$@" | xargs -0 -P "$(nproc)" -n 1 sh -c '
  arch=$(sed -n "s/.*-arch=\(sm_[0-9a]*\).*/\1/p" "$0" | head -n 1)
  cubin=$(mktemp)
  if $nvcc -cubin -O3 -std=c++17 -arch=$arch $include -o "$cubin" "$0"; then echo "$(sha256sum <"$cubin" | cut -c 1-16) ${0##*/}"
  else echo "FAILED $0"; fi
  rm -f "$cubin"' | sort -k 2
