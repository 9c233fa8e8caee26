#!/bin/sh
# Packs a relocatable bundle. Usage: dist.sh MSEARCH VERSION -> dist/msearch-VERSION-x86_64-linux.tar.gz
# The binary carries DT_RPATH $ORIGIN/lib, which also serves the libraries' own libraries. Everything that it loads is inside
# but the C library: a system runs the bundle whose glibc is at least as new as the one it was built on.
set -eu
msearch=$1 version=$2
name=msearch-$version-x86_64-linux
root=dist/$name
rm -rf "$root" "dist/$name.tar.gz"
mkdir -p "$root/lib" "$root/licenses" "$root/tools" "$root/bench"
cp "$msearch" "$root/msearch"
strip "$root/msearch"
cp -r saved_mugraphs LICENSE README.md "$root/"
cp tools/gpu-check.sh "$root/tools/"
cp -r bench/* "$root/bench/"
rm -f "$root"/bench/*.[ch]
for program in kernels times; do
  cp "${msearch%/*}/bench/$program" "$root/bench/"
  strip "$root/bench/$program"
done

ldd "$msearch" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | while read -r lib; do
  case ${lib##*/} in
  libc.so* | libm.so* | libdl.so* | libpthread.so* | librt.so* | ld-linux*) continue ;;
  esac
  cp -L "$lib" "$root/lib/${lib##*/}"
  # the terms of what is passed on
  owner=$(dpkg -S "$(readlink -f "$lib")" 2>/dev/null || dpkg -S "$lib" 2>/dev/null || dpkg -S "${lib#/usr}" 2>/dev/null || echo :)
  owner=${owner%%:*}
  if [ -n "$owner" ] && [ -r "/usr/share/doc/$owner/copyright" ]; then cp -L "/usr/share/doc/$owner/copyright" "$root/licenses/$owner"; fi
done

# It must start with nothing but what is inside.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cp -r "$root" "$dir/moved"
if LD_LIBRARY_PATH='' ldd "$dir/moved/msearch" | grep -v "$dir/moved/lib/" |
  grep -E 'not found|libz3|libcjson|libxxhash|libgomp|libstdc|libgcc'; then
  echo "dist: the bundle does not load its own libraries" >&2
  exit 1
fi
(cd / && "$dir/moved/msearch" --version)
tar -C dist --owner=0 --group=0 --sort=name -czf "dist/$name.tar.gz" "$name"
rm -rf "$root"
echo "dist/$name.tar.gz: $(du -h "dist/$name.tar.gz" | cut -f 1), needs glibc $(objdump -T "$dir/moved/msearch" "$dir"/moved/lib/* |
  grep -o 'GLIBC_[0-9.]*' | sort -t. -k1,1 -k2,2n -u | tail -n 1 | cut -d_ -f2) or newer"
