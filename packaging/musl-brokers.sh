#!/bin/bash
# packaging/musl-brokers.sh FOLDER [ARCHITECTURE]    makes FOLDER/mosquitto-2.0 and FOLDER/mosquitto-2.1, which run on musl
#
# ARCHITECTURE is Debian's name of it: amd64 (the default), arm64 or armhf. FOLDER/lib gets musl itself, from Debian.
# The brokers are Debian's sources of 2.0.21 (trixie) and 2.1.2 (sid), compiled by zig, without TLS, WebSockets and
# whatever else would want a library that Debian has for glibc only. That is enough to load a plugin and to decide.
# try.sh uses them, since no Alpine Linux can be had from Debian's archive. Needs root for apt-get alone.
set -euo pipefail
# shellcheck source=packaging/common.sh
source "$(dirname "$0")/common.sh"

out=$(realpath -m "${1:?which folder}")
arch=${2:-amd64}
case $arch in
  amd64) triple=x86_64-linux-musl loader=x86_64 ;;
  arm64) triple=aarch64-linux-musl loader=aarch64 ;;
  armhf) triple=arm-linux-musleabihf loader=armhf ;;
  *) die "unknown architecture $arch: amd64, arm64 or armhf" ;;
esac
need make dpkg-dev debian-archive-keyring
need_tools
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out" "$work"/apt/{lists,cache/archives}/partial
cd "$work"

options=(
  -o "Dir::Etc::SourceList=$work/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$work/apt/lists"
  -o "Dir::Cache=$work/apt/cache" -o APT::Sandbox::User=root -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none
)
echo "deb [arch=$arch signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(mirror) trixie main" >apt/sources.list
for suite in trixie sid; do
  echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(mirror) $suite main"
done >>apt/sources.list
# Only for this architecture is musl asked for.
options+=(-o "APT::Architectures::=$arch" -o Debug::NoLocking=1)
apt-get -qq "${options[@]}" update
apt-get -qq "${options[@]}" download "musl:$arch"
apt-get -qq "${options[@]}" source --download-only mosquitto/trixie mosquitto/sid cjson/sid >/dev/null

unpack() { mkdir "$2" && tar -x -f "$1" -C "$2" --strip-components=1; }
unpack mosquitto_2.0.*.orig.tar.gz 2.0
unpack mosquitto_2.1.*.orig.tar.gz 2.1
unpack cjson_*.orig.tar.gz cjson

dpkg-deb -x musl_*.deb musl
mkdir -p "$out/lib"
find musl -name libc.so -exec cp {} "$out/lib/ld-musl-$loader.so.1" ";"

# make calls a compiler by one word. zig's linker takes no list of the symbols that plugins may use: they get all.
cat >cc <<END
#!/bin/sh
for argument; do
  shift
  case \$argument in -Wl,--dynamic-list=*) argument=-rdynamic ;; esac
  set -- "\$@" "\$argument"
done
exec "$(echo "$tools"/lib/python3*/site-packages/ziglang/zig)" cc -target $triple -dynamic "\$@"
END
chmod 755 cc
compile() { # FOLDER TARGET [VARIABLE=VALUE…]
  local folder=$1 target=$2
  shift 2
  nice -n 10 make -s -j2 -C "$folder" CC="$work/cc" WITH_TLS=no WITH_TLS_PSK=no WITH_DOCS=no WITH_SYSTEMD=no \
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
./cc -O2 -fPIC -c cjson/cJSON.c -o cjson/cJSON.o
ar rcs cjson/libcjson.a cjson/cJSON.o
# Where it gets random bytes 2.1 asks for glibc by name; musl has the same function.
newer=(WITH_SQLITE=no WITH_HTTP_API=no WITH_EDITLINE=no WITH_GMOCK=no WITH_SHARED_LIBRARIES=no WITH_STATIC_LIBRARIES=yes
  "CFLAGS=-O2 -I$work/cjson/include -DHAVE_GETRANDOM -include sys/random.h" "LDFLAGS=-L$work/cjson")
compile 2.1/libcommon libmosquitto_common.a "${newer[@]}"
compile 2.1/src mosquitto "${newer[@]}"
cp 2.1/src/mosquitto "$out/mosquitto-2.1"

for broker in "$out"/mosquitto-2.*; do
  readelf -l "$broker" | grep -q "interpreter: /lib/ld-musl-$loader" || die "$broker is not a program for musl"
done
say "made brokers for musl on $arch"
