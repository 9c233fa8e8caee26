#!/bin/sh
# Installs what is missing to build msearch and more. Usage: setup.sh [demo|check|ci]
#   demo   to build and run it
#   check  and to run its tests (make check)
#   ci     and for sanitizers, analyzers, fuzzing and plots (.ci/run)
# Looks for the things themselves, not for packages, so hand-built ones count. Debian and Ubuntu: as root it installs;
# otherwise it prints the one line to run and exits 2.
set -eu
want=${1:-demo}
case $want in demo | check | ci) ;; *)
  echo "usage: $0 [demo|check|ci]" >&2
  exit 2
  ;;
esac

header () { command -v gcc >/dev/null && echo "#include <$1>" | gcc -E -x c - >/dev/null 2>&1; }
headers () { command -v gcc >/dev/null && printf '#include <setjmp.h>\n#include <stdarg.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <%s>\n' "$1" | gcc -E -x c - >/dev/null 2>&1; }
program () { command -v "$1" >/dev/null; }
clang_links () { # a runtime that only some packages of clang bring
  program clang || return 1
  dir=$(mktemp -d)
  echo "$2" >"$dir/a.c"
  clang $1 "$dir/a.c" -o "$dir/a" >/dev/null 2>&1 && status=0 || status=1
  rm -rf "$dir"
  return $status
}

missing=
need () { # need PACKAGE[/ALTERNATIVE] probe...
  package=$1
  shift
  "$@" || missing="$missing $package"
}

need gcc program gcc
need make program make
need libc6-dev header stdio.h
need libz3-dev header z3.h
need libxxhash-dev header xxhash.h
need libcjson-dev header cjson/cJSON.h
if [ "$want" != demo ]; then
  need libcmocka-dev headers cmocka.h
  need graphviz program dot
  need g++ program g++ # kernels on the CPU
fi
if [ "$want" = ci ]; then
  need clang program clang
  need clang-tidy program clang-tidy
  need clang-format program clang-format
  need git program git
  need cppcheck program cppcheck
  need gnuplot-nox program gnuplot
  need libomp-dev clang_links -fopenmp 'int main (void) { return 0; }'
  version=$(clang -dumpversion 2>/dev/null | cut -d. -f1 || echo)
  need "libclang-rt-${version:-14}-dev/libclang-rt-dev/libclang-common-${version:-14}-dev" \
    clang_links -fsanitize=fuzzer,address 'int LLVMFuzzerTestOneInput (const char *d, unsigned long n) { return !d && n; }'
fi
[ -n "$missing" ] || exit 0

if ! program apt-get; then
  echo "setup: missing:$missing (names of Debian packages); install them with this system's package manager" >&2
  exit 2
fi
resolve () { # the first alternative of each name that apt knows
  for entry in $missing; do
    chosen=
    for name in $(echo "$entry" | tr / ' '); do
      [ -n "$chosen" ] || ! apt-cache show "$name" >/dev/null 2>&1 || chosen=$name
    done
    printf ' %s' "${chosen:-${entry%%/*}}"
  done
}
if [ "$(id -u)" != 0 ]; then
  echo "setup: packages are missing; run: sudo apt-get install -y$(resolve)" >&2
  exit 2
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >/dev/null || echo "setup: apt-get update failed, trying with the old lists" >&2
packages=$(resolve)
echo "setup: installing$packages"
# shellcheck disable=SC2086 # a list of names
apt-get install -y -q --no-install-recommends $packages
case $packages in *clang*) [ "$want" != ci ] || [ -n "${SETUP_AGAIN-}" ] || SETUP_AGAIN=1 exec "$0" ci ;; esac
