#!/bin/sh
# CONTRIBUTING.md says what a new generator and a new operator touch. Each NAME.patch here adds one by following that text; this
# applies it to a scratch copy of the tree, checks that it touches nothing else, builds, and runs NAME.sh there.
# Usage: run.sh [NAME...]; `make check-toys` runs all. Ends with a line of totals.
set -u
cd "$(dirname "$0")/../.." || exit 2
top=$PWD
[ $# -gt 0 ] || set -- $(cd tests/toys && ls ./*.patch | sed 's|^\./||; s|\.patch$||')
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0 failed=0
for toy; do
  copy=$scratch/$toy
  mkdir "$copy"
  # what was built travels with its times, so that only what the patch touches is built again
  tar -cf - --exclude=./.git --exclude='./build-*' --exclude=./dist . | tar -xf - -C "$copy"
  if (
    cd "$copy" || exit 1
    allowed=$(sed -n 's/^# touches: //p' "$top/tests/toys/$toy.sh")
    sed -n 's|^+++ b/||p; s|^--- a/||p' "$top/tests/toys/$toy.patch" | sort -u | while read -r file; do
      [ "$file" = /dev/null ] && continue
      case " $allowed " in *" $file "* | *" ${file%/*}/ "*) ;; *) echo "$toy.patch touches $file, which CONTRIBUTING.md does not name"; exit 1 ;; esac
    done || exit 1
    git apply --whitespace=nowarn "$top/tests/toys/$toy.patch" || exit 1
    make -j"$(nproc)" msearch >make.log 2>&1 || { grep -E 'error|undefined' make.log | head -20; exit 1; }
    sh "$top/tests/toys/$toy.sh"
  ); then passed=$((passed + 1)) && echo "ok      $toy"
  else failed=$((failed + 1)) && echo "FAILED  $toy"; fi
done
echo "$passed passed, $failed failed"
[ -z "${TOTALS-}" ] || echo "$passed $failed 0" >>"$TOTALS"
[ $failed = 0 ] && [ $passed -gt 0 ]
