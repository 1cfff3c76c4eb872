#!/bin/bash
# packaging/test.sh [DIST]    tries everything that release.sh has made (default: in dist/), which takes the better part of an hour
#
# Every binary in real brokers of its architecture and C library, every package, and the images. What is not amd64 runs in
# an emulator. Needs root on Debian 12, this machine's cargo for the example API, and some 10 GB for what it keeps
# (PACKAGING_CACHE, DOCKER_TEST_CACHE).
#
#   IMAGES=no    leaves the images out, which need a Docker engine that can be started here
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
dist=$(realpath "${1:-$top/dist}")
cd "$top"

if [[ -z ${EXAMPLE_API:-} ]]; then
  nice -n 10 cargo build --locked --package mosquitto-test --bin example-api
  export EXAMPLE_API=$top/target/debug/example-api
fi
packaging/try.sh "$dist" glibc:{bullseye,bookworm,trixie,sid} musl:{2.0,2.1} deb:{bullseye,bookworm,trixie,sid} rpm
for arch in arm64 armhf; do
  packaging/try.sh "$dist" {glibc:bookworm,glibc:trixie,musl:2.0,musl:2.1,deb:bookworm,deb:trixie,rpm}:$arch
done
if [[ ${IMAGES:-yes} == yes ]]; then
  docker/images.sh "$dist" {trixie,forky,alpine,eclipse}:amd64 {trixie,alpine}:{arm64,armhf}
fi
