#!/bin/bash
# packaging/musl-brokers.sh FOLDER    makes FOLDER/mosquitto-2.0 and FOLDER/mosquitto-2.1: brokers that run on musl
#
# They are Debian's sources of 2.0.21 (trixie) and 2.1.2 (sid), compiled with musl-gcc, without TLS, WebSockets and
# whatever else would want a library that Debian has for glibc only. That is enough to load a plugin and to decide.
# try.sh uses them, since no Alpine Linux can be had from Debian's archive. Needs root for apt-get alone.
set -euo pipefail
# shellcheck source=packaging/common.sh
source "$(dirname "$0")/common.sh"

out=$(realpath -m "${1:?which folder}")
need gcc make musl-tools dpkg-dev debian-archive-keyring
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out" "$work"/apt/{lists,cache/archives}/partial
cd "$work"

options=(
  -o "Dir::Etc::SourceList=$work/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$work/apt/lists"
  -o "Dir::Cache=$work/apt/cache" -o APT::Sandbox::User=root -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none
)
for suite in trixie sid; do
  echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(mirror) $suite main"
done >apt/sources.list
apt-get -qq "${options[@]}" update
apt-get -qq "${options[@]}" source --download-only mosquitto/trixie mosquitto/sid cjson/sid >/dev/null

unpack() { mkdir "$2" && tar -x -f "$1" -C "$2" --strip-components=1; }
unpack mosquitto_2.0.*.orig.tar.gz 2.0
unpack mosquitto_2.1.*.orig.tar.gz 2.1
unpack cjson_*.orig.tar.gz cjson

compile() { # FOLDER TARGET [VARIABLE=VALUE…]
  local folder=$1 target=$2
  shift 2
  nice -n 10 make -s -j2 -C "$folder" CC=musl-gcc WITH_TLS=no WITH_TLS_PSK=no WITH_DOCS=no WITH_SYSTEMD=no \
    WITH_WEBSOCKETS=no WITH_STRIP=no "$@" "$target" >make.log 2>&1 || { tail -n 20 make.log >&2; die "cannot compile $target"; }
}

# Without TLS 2.0.21 reads members of a listener that are not there: the check that uses them is left out as they are.
awk '/Check for missing TLS cafile/ { print "#ifdef WITH_TLS"; inside = 1 }
  inside && /^\treturn MOSQ_ERR_SUCCESS;/ { print "#endif"; inside = 0 }
  { print }' 2.0/src/conf.c >conf.c
mv conf.c 2.0/src/conf.c
compile 2.0/src mosquitto WITH_CJSON=no WITH_WRAP=no WITH_DLT=no
cp 2.0/src/mosquitto "$out/mosquitto-2.0"

mkdir -p cjson/include/cjson
cp cjson/cJSON.h cjson/include/cjson/
cp cjson/cJSON.h cjson/include/
musl-gcc -O2 -fPIC -c cjson/cJSON.c -o cjson/cJSON.o
ar rcs cjson/libcjson.a cjson/cJSON.o
# Where it gets random bytes 2.1 asks for glibc by name; musl has the same function.
newer=(WITH_SQLITE=no WITH_HTTP_API=no WITH_EDITLINE=no WITH_GMOCK=no WITH_SHARED_LIBRARIES=no WITH_STATIC_LIBRARIES=yes
  "CFLAGS=-O2 -I$work/cjson/include -DHAVE_GETRANDOM -include sys/random.h" "LDFLAGS=-L$work/cjson")
compile 2.1/libcommon libmosquitto_common.a "${newer[@]}"
compile 2.1/src mosquitto "${newer[@]}"
cp 2.1/src/mosquitto "$out/mosquitto-2.1"

for broker in "$out"/mosquitto-2.*; do
  readelf -l "$broker" | grep -q 'interpreter: /lib/ld-musl' || die "$broker is not a program for musl"
  # It prints its usage and ends with 3.
  usage=$("$broker" -h 2>/dev/null || true)
  say "${broker##*/}: ${usage%%$'\n'*}"
done
