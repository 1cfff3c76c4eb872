#!/bin/bash
# packaging/build.sh TARGET FOLDER    builds the plugin, and the command beside it, for other machines than this one
#
# TARGET is one of
#   x86_64-gnu     every Linux with glibc 2.28 or later (Debian 10, RHEL 8 and what came after them)
#   aarch64-gnu    the same on 64-bit ARM, a Raspberry Pi for example
#   armv7-gnu      the same on 32-bit ARM with hardware floating point (Debian's armhf)
#   x86_64-musl    Alpine, and the images that are made of it
#   aarch64-musl   the same on 64-bit ARM
#   armv7-musl     the same on 32-bit ARM
# The results are in FOLDER, with the licences of what was linked (THIRD-PARTY-LICENSES, and one SPDX expression in licence)
# and a list of it (sbom.cdx.json).
#
# What is built depends on the tracked files alone, not on this machine: the compiler is Debian 13's Rust in a root file
# system of its own, in which every path is always the same, and the linker is zig, which knows the symbols of each glibc.
# Needs root on a Debian with amd64; the first run takes some minutes and 2 GB in PACKAGING_CACHE.
set -euo pipefail
# shellcheck source=packaging/common.sh
source "$(dirname "$0")/common.sh"

floor=2.28
target=${1:?which target}
out=$(realpath -m "${2:?which folder for the results}")
root=$cache/build-root

make_root() {
  local packages=rustc,cargo,rust-src,libstd-rust-dev:arm64,libstd-rust-dev:armhf,gcc,libc6-dev,ca-certificates
  # mosquitto-dev has the plugin headers and libmosquitto-dev the ones they include: neither pulls the other.
  packages+=,libclang1-19,libclang-common-19-dev,mosquitto-dev,libmosquitto-dev
  debian_root "$root.new" trixie --architectures=amd64,arm64,armhf --include="$packages" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*'
  # The broker's headers by themselves: with the rest of /usr/include, glibc's would get into a build for musl.
  mkdir -p "$root.new"/{headers,src,cargo,target,tools}
  cp -r "$root.new"/usr/include/mosquitto*.h "$root.new/usr/include/mqtt_protocol.h" "$root.new/headers/"
  rm -rf "$root"
  mv "$root.new" "$root"
}

need_root
exec 8>"$cache/build.lock"
flock 8 # one source folder, so one build at a time
need_tools
[[ -d $root ]] || make_root

# This machine's certificate authorities, for cargo's downloads.
if [[ -e /etc/ssl/certs/ca-certificates.crt ]]; then cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"; fi
cp /etc/resolv.conf "$root/etc/"
find "$root/src" -mindepth 1 -delete
git -C "$top" ls-files -z | tar -c -C "$top" --null --files-from=- | tar -x --no-same-owner -C "$root/src"

flags=(--release --locked --target-dir /target)
settings=(HOME=/root CARGO_HOME=/cargo LC_ALL=C SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" MOSQUITTO_INCLUDE=/headers)
triple=$(rust_triple "$target") || die "unknown target $target: one of ${all_targets[*]}"
case $target in
  *-gnu) flags+=(--target "$triple.$floor") ;;
  # Debian has no standard library for musl, only its source, which a compiler builds that is told to be a nightly one.
  # The flag says that the broker brings the C library.
  *-musl)
    flags+=(--target "$triple" "-Zbuild-std=std,panic_unwind")
    settings+=(RUSTFLAGS='-C target-feature=-crt-static' RUSTC_BOOTSTRAP=1)
    ;;
esac

# in_root COMMAND…: in the root file system, as on a machine that has nothing else.
in_root() {
  # shellcheck disable=SC2016 # the inner shell expands
  unshare --mount bash -c '
    set -e
    root=$1; tools=$2; shift 2
    mount -t proc proc "$root/proc"
    # Not read-only: for 32-bit ARM cargo-zigbuild adds a header to zig that zig lacks.
    mount --bind "$tools" "$root/tools"
    exec nice -n 10 chroot "$root" "$@"' in_root "$root" "$tools" \
    /usr/bin/env -i PATH=/tools/bin:/usr/bin:/bin "${settings[@]}" bash -ec 'cd /src; exec "$@"' bash "$@"
}
zig=$(echo "$tools"/lib/python3*/site-packages/ziglang/zig)
settings+=(CARGO_ZIGBUILD_ZIG_PATH="/tools/${zig#"$tools"/}")

build() {
  in_root cargo-zigbuild zigbuild "${flags[@]}" "$@" >"$cache/build-$target.log" 2>&1 ||
    { tail -n 40 "$cache/build-$target.log" >&2; die "the build failed"; }
}

built=$root/target/$triple/release
build --lib
install -D -m 644 "$built/libmosquitto_http_auth.so" -t "$out"
# The command is built by itself: what it needs of a crate that both have does not get into the plugin.
build --package mosquitto-http-auth-cli
install -D -m 755 "$built/mosquitto-http-auth" -t "$out"

# All that was linked must be named with its licence.
in_root cargo metadata --format-version 1 --locked --filter-platform "$triple" --manifest-path cli/Cargo.toml >"$cache/metadata.json" 2>"$cache/metadata.log" ||
  { cat "$cache/metadata.log" >&2; die "cargo metadata failed"; }
"$top/packaging/third-party.py" "$cache/metadata.json" "$root" "$(dirname "$zig")" "$out/THIRD-PARTY-LICENSES" >"$out/licence"
"$top/packaging/sbom.py" "$cache/metadata.json" "$root/src/Cargo.lock" "$target" "$out"

for file in "$out"/{libmosquitto_http_auth.so,mosquitto-http-auth}; do
  libraries=$(readelf -d "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | tr '\n' ' ')
  newest=$(readelf --version-info "$file" | grep -oE 'GLIBC_[0-9.]+' | sort -uV | tail -n 1 || true)
  say "${file##*/} for $target: $(stat -c %s "$file") bytes, needs ${libraries% }${newest:+, symbols up to $newest}"
  [[ $target == *-musl || $(printf '%s\n' "$newest" "GLIBC_$floor" | sort -V | tail -n 1) == "GLIBC_$floor" ]] ||
    die "$file needs a newer glibc than $floor"
  [[ $target != *-musl || -z $newest ]] || die "$file needs glibc"
done
