#!/bin/bash
# packaging/release.sh [DIST]    makes everything that is released, with its checksums, into DIST (default: dist/)
#
#   mosquitto-http-auth-VERSION-TARGET.tar.gz   library, command, manual pages, completions, documents and licences,
#                                               for each target of build.sh
#   mosquitto-http-auth-VERSION-TARGET.cdx.json all that is linked into them, as CycloneDX
#   mosquitto-http-auth_VERSION-1_ARCH.deb      for amd64, arm64 and armhf
#   mosquitto-http-auth-VERSION-1.ARCH.rpm      for x86_64, aarch64 and armv7hl
#   mosquitto-http-auth-VERSION-documents.tar.gz   the command's manual pages and completions by themselves
#   mosquitto-http-auth-VERSION.tar.gz          the source
#   SHA256SUMS
#
# All of it is made from the commit that is checked out, and bears that commit's time; README.md tells how far a second
# run comes to the same checksums. Needs root on a Debian with amd64 (see build.sh), some minutes and 4 GB in PACKAGING_CACHE.
#
#   TARGETS='x86_64-gnu …'   makes these targets only (x86_64-gnu must be among them: its command writes the documents)
#   PACKAGE_MAINTAINER, PACKAGE_HOMEPAGE   see package.sh
set -euo pipefail
# shellcheck source=packaging/common.sh
source "$(dirname "$0")/common.sh"

dist=$(realpath -m "${1:-$top/dist}")
read -ra targets <<<"${TARGETS:-${all_targets[*]}}"
name=mosquitto-http-auth
release=$name-$(version)
need lintian gzip tar git
need_tools
[[ -z $(git -C "$top" status --porcelain) ]] || die "the work tree has changes: commit them first"

rm -rf "$dist"
mkdir -p "$dist/build/documents"
for target in "${targets[@]}"; do
  "$top/packaging/build.sh" "$target" "$dist/build/$target"
done
for kind in man completions; do
  "$dist/build/x86_64-gnu/$name" generate "$kind" "$dist/build/documents"
done

# archive NAME FOLDER: FOLDER as NAME.tar.gz, with nothing in it that differs between two runs.
archive() {
  tar -c -C "${2%/*}" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
    --mode=u=rwX,go=rX "${2##*/}" | gzip -9n >"$dist/$1.tar.gz"
}

for target in "${targets[@]}"; do
  folder=$dist/build/$release-$target
  mkdir -p "$folder"
  "$top/packaging/documents.py" "$top" "$folder"
  cp "$top"/LICENSE-* "$dist/build/$target/"{libmosquitto_http_auth.so,"$name",THIRD-PARTY-LICENSES,sbom.cdx.json} "$folder/"
  sed -e 's|@PLUGIN@|/usr/lib/mosquitto/libmosquitto_http_auth.so|' -e 's|@DOC@/examples/||' -e 's|@DOC@/||' \
    "$top/packaging/http-auth.conf" >"$folder/http-auth.conf"
  cp -r "$dist/build/documents" "$folder/command"
  archive "$release-$target" "$folder"
  rm -rf "$folder"
  cp "$dist/build/$target/sbom.cdx.json" "$dist/$release-$target.cdx.json"
  if [[ $target == *-gnu ]]; then "$top/packaging/package.sh" "$target" "$dist/build/$target" "$dist"; fi
done
cp -r "$dist/build/documents" "$dist/build/$release-documents"
archive "$release-documents" "$dist/build/$release-documents"
rm -rf "$dist/build/$release-documents"
git -C "$top" archive --format=tar --prefix="$release/" HEAD | gzip -9n >"$dist/$release.tar.gz"

"$tools/bin/python" - "$dist"/*.cdx.json <<'END'
import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

for name in sys.argv[1:]:
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(Path(name).read_text())
    if error:
        sys.exit(f"{name} is not as CycloneDX wants it: {error}")
END
for deb in "$dist"/*.deb; do
  lintian --allow-root --fail-on error,warning "$deb" >&2 || die "lintian finds fault with ${deb##*/}"
done
(cd "$dist" && sha256sum "$release"* "${name}_"* >SHA256SUMS)
say "$dist:"
cat "$dist/SHA256SUMS"
