#!/bin/bash
# packaging/reproduce.sh [TARGET…]    makes a release twice, each time from nothing, and compares the two byte by byte
#
# The second is made from a clone in another folder, with nothing of the first one's but the tools. The targets are those of
# build.sh (default: all; x86_64-gnu must be among them). Takes as long as two first builds; needs what release.sh needs.
set -euo pipefail
# shellcheck source=packaging/common.sh
source "$(dirname "$0")/common.sh"

[[ $# -eq 0 ]] || export TARGETS="$*"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for nth in first second; do
  git clone --quiet --no-hardlinks "$top" "$work/$nth-folder"
  # What has been compiled, but neither the compiler nor the crates' sources.
  rm -rf "$cache/build-root/target"
  mkdir -p "$cache/build-root/target"
  "$work/$nth-folder/packaging/release.sh" "$work/$nth" >/dev/null
done
rm -rf "$work"/{first,second}/build
diff -r "$work/first" "$work/second" || die "the two releases differ"
say "two releases of $(git -C "$top" rev-parse --short HEAD) are the same, byte by byte:"
cat "$work/first/SHA256SUMS"
