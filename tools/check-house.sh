#!/bin/sh
# The rules of the house, checked on the sources and on what was built from them (first argument, default build):
#   arrows     a file includes files of its own room and of rooms below it only
#   circles    no source needs, directly or not, one that needs it (symbols of the object files)
#   names      no two sources or headers of one name
#   functions  none over 80 lines, tables and tests aside
# A line a finding; exit status 1 when there is one.
set -u
build=${1:-build}
cd "$(dirname "$0")/.." || exit 2
found=$(mktemp) list=$(mktemp) edges=$(mktemp)
trap 'rm -f "$found" "$list" "$edges"' EXIT
git ls-files 2>/dev/null >"$list"
[ -s "$list" ] || find mugraph verify cuda_templates search tools bench tests -type f >"$list"
sources=$(grep -E '^(mugraph|verify|cuda_templates|search|tools|bench)/.*\.(c|h)$' "$list")

# shellcheck disable=SC2086 # a list of files
awk '
  function room(path) { return path ~ /^cuda_templates\/runtime\// ? "runtime" : path ~ /^tools\/session\// ? "session" : substr(path, 1, index(path, "/") - 1) }
  BEGIN {
    below["mugraph"] = " mugraph "
    below["verify"] = " verify mugraph "
    below["cuda_templates"] = " cuda_templates mugraph "
    below["runtime"] = " runtime cuda_templates mugraph "
    below["search"] = " search cuda_templates verify mugraph "
    below["session"] = " session search runtime cuda_templates verify mugraph "
    below["tools"] = below["bench"] = " tools bench session search runtime cuda_templates verify mugraph "
  }
  /^#include "/ {
    split($0, part, "\"")
    if (part[2] !~ /\//) next # of the same folder
    to = room(part[2])
    if (part[2] ~ /^tests\//) { if (FILENAME !~ /^bench\//) print "arrows: " FILENAME " includes " part[2] }
    else if (!index(below[room(FILENAME)], " " to " ")) print "arrows: " FILENAME " includes " part[2] ", which is above it"
  }' $sources >>"$found"

# shellcheck disable=SC2086
printf '%s\n' $sources | sed 's|.*/||' | sort | uniq -d | sed 's/^/names: two files are called /' >>"$found"

# shellcheck disable=SC2086
awk '
  FNR == 1 { start = 0 }
  /^[A-Za-z_].*[^;]$/ && !/=/ && !/^(template.* )?(typedef|struct|enum|union|#)/ { start = FNR }
  /^}/ { if (start && FNR - start + 1 > 80) print "functions: " FILENAME ":" start " has " FNR - start + 1 " lines"; start = 0 }
  /^[})].*;$/ { start = 0 }
  /^  (template.* )?MS_DEVICE .*[^;}]$/ { start = FNR } # of a struct
  /^  }$/ && FILENAME ~ /cuh$/ { if (start && FNR - start + 1 > 80) print "functions: " FILENAME ":" start " has " FNR - start + 1 " lines" }' $(grep -E '^(mugraph|verify|cuda_templates|search|tools|bench)/.*\.(c|h|cuh)$' "$list") >>"$found"

if [ -d "$build" ]; then
  objects=$(printf '%s\n' $sources | sed -n 's|\.c$|.o|p' | sed "s|^|$build/|")
  present=
  for o in $objects; do [ -f "$o" ] && present="$present $o"; done
  # shellcheck disable=SC2086
  nm -A $present 2>/dev/null | awk '
    { split($1, at, ":"); file = at[1]; kind = $(NF - 1); symbol = $NF }
    kind ~ /^[TDBRC]$/ { defined[symbol] = file }
    kind == "U" { needs[++n] = file; what[n] = symbol }
    END { for (i = 1; i <= n; i++) if (what[i] in defined && defined[what[i]] != needs[i]) print needs[i], defined[what[i]] }' | sort -u >"$edges"
  tsort "$edges" 2>&1 >/dev/null | sed "s|tsort: ||; s|^$edges: ||; s|^|circles: |" >>"$found"
fi
cat "$found"
[ ! -s "$found" ] && echo "house: arrows, circles, names, functions: nothing to say"
