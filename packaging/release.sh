#!/bin/bash
# packaging/release.sh [DIST]    makes everything that is released, with its checksums, into DIST (default: dist/)
#
#   mosquitto-http-auth-VERSION-TARGET.tar.gz   library, command, manual pages, completions, documents and licences,
#                                               for x86_64-gnu, aarch64-gnu (glibc 2.28 or later) and x86_64-musl
#   mosquitto-http-auth_VERSION-1_ARCH.deb      for amd64 and arm64
#   mosquitto-http-auth-VERSION-1.ARCH.rpm      for x86_64 and aarch64
#   mosquitto-http-auth-VERSION-documents.tar.gz   the command's manual pages and completions by themselves
#   mosquitto-http-auth-VERSION.tar.gz          the source
#   SHA256SUMS
#
# All of it is made from the commit that is checked out, and bears that commit's time; README.md tells how far a second
# run comes to the same checksums. Needs root on a Debian with amd64 (see build.sh), some minutes and 4 GB in PACKAGING_CACHE.
#
#   TARGETS='x86_64-gnu …'   makes these targets only (x86_64-gnu must be among them: its command writes the documents)
set -euo pipefail
# shellcheck source=packaging/common.sh
source "$(dirname "$0")/common.sh"

dist=$(realpath -m "${1:-$top/dist}")
read -ra targets <<<"${TARGETS:-x86_64-gnu aarch64-gnu x86_64-musl}"
name=mosquitto-http-auth
release=$name-$(version)
need lintian gzip tar git
[[ -z $(git -C "$top" status --porcelain) ]] || die "the work tree has changes: commit them first"

rm -rf "$dist"
mkdir -p "$dist/build/documents"
for target in "${targets[@]}"; do
  "$top/packaging/build.sh" "$target" "$dist/build/$target"
done
if [[ -e $dist/build/x86_64-gnu/$name ]]; then
  "$dist/build/x86_64-gnu/$name" generate man "$dist/build/documents"
  "$dist/build/x86_64-gnu/$name" generate completions "$dist/build/documents"
fi

# archive NAME FOLDER: FOLDER as NAME.tar.gz, with nothing in it that differs between two runs.
archive() {
  tar -c -C "${2%/*}" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
    --mode=u=rwX,go=rX "${2##*/}" | gzip -9n >"$dist/$1.tar.gz"
}

for target in "${targets[@]}"; do
  folder=$dist/build/$release-$target
  mkdir -p "$folder"
  git -C "$top" archive HEAD README.md SECURITY.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE docs examples/python | tar -x -C "$folder"
  cp "$dist/build/$target/"{libmosquitto_http_auth.so,THIRD-PARTY-LICENSES} "$folder/"
  sed -e 's|@PLUGIN@|/usr/lib/mosquitto/libmosquitto_http_auth.so|' -e "s|@DOC@|.|" "$top/packaging/http-auth.conf" >"$folder/http-auth.conf"
  if [[ -e $dist/build/$target/$name ]]; then
    cp "$dist/build/$target/$name" "$folder/"
    cp -r "$dist/build/documents" "$folder/command"
  fi
  archive "$release-$target" "$folder"
  rm -rf "$folder"
  if [[ $target == *-gnu ]]; then "$top/packaging/package.sh" "$target" "$dist/build/$target" "$dist"; fi
done
if [[ -e $dist/build/documents/$name.1 ]]; then
  cp -r "$dist/build/documents" "$dist/build/$release-documents"
  archive "$release-documents" "$dist/build/$release-documents"
  rm -rf "$dist/build/$release-documents"
fi
git -C "$top" archive --format=tar --prefix="$release/" HEAD | gzip -9n >"$dist/$release.tar.gz"

for deb in "$dist"/*.deb; do
  lintian --allow-root --fail-on error,warning "$deb" >&2 || die "lintian finds fault with ${deb##*/}"
done
(cd "$dist" && sha256sum "$release"* "${name}_"* >SHA256SUMS)
say "$dist:"
cat "$dist/SHA256SUMS"
