#!/bin/bash
# packaging/try.sh DIST WHAT…    tries what release.sh made, each in a system of its own kind
#
# DIST is release.sh's folder. WHAT is one of
#   glibc:SUITE    the plugin for x86-64 in that Debian's broker (bullseye, bookworm, trixie, sid)
#   arm64:SUITE    the plugin for 64-bit ARM in that Debian's broker, under an emulator
#   musl:2.0       the plugin for musl in a broker that runs on musl (2.0, 2.1; see musl-brokers.sh)
#   deb:SUITE      the .deb: installed by apt, its example configuration used, purged without a trace
#   rpm            the .rpm in an empty root file system: its files, and what it requires
#
# A broker is tried with an API behind http and one behind https: with clients that log in, publish, subscribe and
# receive (docker/check.sh), and against an API whose certificate it cannot verify. The API is the example API, built
# with this machine's cargo unless EXAMPLE_API names a program that is one already. Needs root on Debian 12; all traffic
# is on the loopback interface.
set -euo pipefail
# shellcheck source=packaging/common.sh
source "$(dirname "$0")/common.sh"

dist=$(realpath "${1:?which folder}")
shift
[[ $# -gt 0 ]] || die "what is to be tried? the head of $0 tells"
need_root
need socat openssl python3 mosquitto-clients
work=$(mktemp -d)
chmod 711 "$work" # a broker gives up root's rights
running=()
trap 'stop; rm -rf "$work"' EXIT

stop() { # everything that was started, or the last N
  local process
  while [[ ${#running[@]} -gt ${1:-0} ]]; do
    process=${running[-1]}
    unset 'running[-1]'
    kill "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
  done
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

wait_for_port() { # PORT PROCESS LOG
  local _
  for _ in {1..600}; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return 0; fi
    kill -0 "$2" 2>/dev/null || break
    sleep 0.1
  done
  cat "$3" >&2
  die "nothing listens on port $1"
}

# The example API on two ports: http as it is, and https by a certificate of an authority made for this run.
start_api() {
  local program=${EXAMPLE_API:-} built
  if [[ -z $program ]]; then
    built=$(cd "$top" && nice -n 10 cargo build --release --locked --package mosquitto-test --bin example-api \
      --message-format json-render-diagnostics)
    program=$(sed -n 's|.*"executable":"\([^"]*/example-api\)".*|\1|p' <<<"$built")
  fi
  http=$(free_port) https=$(free_port)
  "$program" --listen "127.0.0.1:$http" --users "$top/mosquitto-test/example/users.toml" >"$work/api.log" 2>&1 &
  running+=($!)
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=an authority for tests' \
    -keyout "$work/ca.key" -out "$work/ca.pem" 2>/dev/null
  openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout "$work/api.key" -out "$work/api.csr" 2>/dev/null
  openssl x509 -req -in "$work/api.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -CAcreateserial -days 2 -out "$work/api.crt" \
    -extfile <(echo 'subjectAltName=DNS:localhost') 2>/dev/null
  cat "$work/api.crt" "$work/api.key" >"$work/api.pem"
  socat "OPENSSL-LISTEN:$https,bind=127.0.0.1,reuseaddr,fork,nodelay,verify=0,cert=$work/api.pem" "TCP:127.0.0.1:$http,nodelay" 2>"$work/socat.log" &
  running+=($!)
  wait_for_port "$http" "${running[0]}" "$work/api.log"
  wait_for_port "$https" "${running[1]}" "$work/socat.log"
}

# start_broker CONFIGURATION COMMAND…: as COMMAND -c CONFIGURATION, on $port.
start_broker() {
  local configuration=$1
  shift
  "$@" -c "$configuration" -v >"$work/broker.log" 2>&1 &
  running+=($!)
  wait_for_port "$port" $! "$work/broker.log"
}

# The broker ends by itself when told to, and nothing in it panicked.
end_broker() {
  local process=${running[-1]} status=0
  unset 'running[-1]'
  kill "$process"
  wait "$process" || status=$?
  if [[ $status -ne 0 ]] || grep -qi panic "$work/broker.log"; then
    tail -n 30 "$work/broker.log" >&2
    die "the broker ended with $status"
  fi
}

expect_decisions() { # WHERE
  bash "$top/docker/check.sh" 127.0.0.1 "$port" >"$work/check.log" ||
    { cat "$work/check.log" "$work/broker.log" >&2; die "$1 decides wrongly"; }
  say "$1: $(tail -n 1 "$work/check.log")"
}

# decides WHERE ROOT LIBRARY COMMAND…: runs a broker that sees the folder ROOT/try as TRY (/try unless set), as the user
# RUN_AS (mosquitto unless set).
decides() {
  local where=$1 root=$2 library=$3 protocol said
  shift 3
  local folder=$root/try seen=${TRY:-/try}
  said=$("$@" -h 2>/dev/null || true) # the usage, which begins with the version
  where+=" (${said%%$'\n'*})"
  mkdir -p "$folder"
  chmod 755 "$folder"
  install -m 644 "$work/ca.pem" "$folder/ca.pem"
  install -m 644 "$library" "$folder/plugin.so"
  for protocol in http https; do
    port=$(free_port)
    configure "$protocol" "$seen" >"$folder/broker.conf"
    start_broker "$seen/broker.conf" "$@"
    expect_decisions "$where, an API behind $protocol"
    end_broker
  done
  # Without the authority's certificate nobody gets in, and nobody is told that the password is wrong.
  port=$(free_port)
  configure https "$seen" | grep -v tls_ca_file >"$folder/broker.conf"
  start_broker "$seen/broker.conf" "$@"
  said=$(mosquitto_pub -h 127.0.0.1 -p "$port" -u alice -P wonderland -t garden/login -n 2>&1 || true)
  [[ $said == *'connection was lost'* ]] || die "$where: an API that cannot be verified: $said"
  grep -q certificate "$work/broker.log" || { cat "$work/broker.log" >&2; die "$where: the log does not tell of the certificate"; }
  end_broker
  say "$where, an API that cannot be verified: nobody gets in"
  rm -rf "$folder"
}

# A busy machine or an emulator takes its time: whatever waits may do so for long.
configure() { # PROTOCOL FOLDER
  local host=127.0.0.1 api=$http
  if [[ $1 == https ]]; then host=localhost api=$https; fi
  cat <<END
listener $port 127.0.0.1
allow_anonymous false
plugin $2/plugin.so
plugin_opt_http_host $host
plugin_opt_http_port $api
plugin_opt_http_protocol $1
plugin_opt_http_user_route /user
plugin_opt_http_superuser_route /superuser
plugin_opt_http_acl_route /acl
plugin_opt_http_timeout_ms 20000
plugin_opt_http_connect_timeout_ms 20000
plugin_opt_max_block_ms 20000
plugin_opt_max_block_percent 100
plugin_opt_log_level debug
END
  if [[ -n ${RUN_AS:-} ]]; then echo "user $RUN_AS"; fi
  if [[ $1 == https ]]; then echo "plugin_opt_tls_ca_file $2/ca.pem"; fi
}

in_chroot() { # ROOT COMMAND…
  local root=$1
  shift
  chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"
}

# suite_root SUITE: $root is a Debian of that suite with a broker, kept for the next run.
suite_root() {
  root=$cache/try-$1
  [[ -d $root ]] || { debian_root "$root.new" "$1" --include=mosquitto,ca-certificates && mv "$root.new" "$root"; }
}

try_glibc() {
  suite_root "$1"
  decides "glibc in $1" "$root" \
    "$dist/build/x86_64-gnu/libmosquitto_http_auth.so" chroot "$root" mosquitto
}

try_musl() {
  local brokers=$cache/musl-brokers
  [[ -x $brokers/mosquitto-2.1 ]] || "$top/packaging/musl-brokers.sh" "$brokers"
  TRY=$work/musl/try decides "musl" "$work/musl" \
    "$dist/build/x86_64-musl/libmosquitto_http_auth.so" "$brokers/mosquitto-$1"
}

# The packages of another architecture are unpacked only: nothing in them could be run to configure them.
try_arm64() {
  need qemu-user-static
  root=$cache/try-arm64-$1
  if [[ ! -d $root ]]; then
    # Debian's base system makes this link before anything is unpacked.
    # shellcheck disable=SC2016 # mmdebstrap's shell expands
    debian_root "$root.new" "$1" --variant=extract --architectures=arm64 --include=mosquitto,ca-certificates \
      --setup-hook='mkdir -p "$1/usr/lib"; ln -s usr/lib "$1/lib"'
    mv "$root.new" "$root"
  fi
  # The emulator goes on to read the root file system, which is where only root can.
  RUN_AS=root TRY=$root/try decides "arm64 in $1" "$root" \
    "$dist/build/aarch64-gnu/libmosquitto_http_auth.so" qemu-aarch64-static -L "$root" "$root/usr/sbin/mosquitto"
}

# Every file but those that package managers and logs keep for themselves.
files() {
  find "$1" -xdev \( -path "$1/proc" -o -path "$1/var/lib/dpkg" -o -path "$1/var/lib/apt" -o -path "$1/var/cache" -o -path "$1/var/log" \) \
    -prune -o -printf '%P\n' | sort
}

try_deb() {
  local snippet=etc/mosquitto/conf.d/http-auth.conf deb
  deb=$(echo "$dist"/mosquitto-http-auth_*_amd64.deb)
  suite_root "$1"
  local fresh=$work/deb
  cp -a "$root" "$fresh"
  root=$fresh
  cp /etc/resolv.conf "$root/etc/"
  in_chroot "$root" mosquitto -h >/dev/null || true
  files "$root" >"$work/before"
  cp "$deb" "$root/package.deb"
  in_chroot "$root" apt-get -qq update
  in_chroot "$root" apt-get -qq install -y /package.deb >"$work/apt.log" 2>&1 || { cat "$work/apt.log" >&2; die "deb in $1: not installed"; }
  rm "$root/package.deb"
  in_chroot "$root" dpkg --verify mosquitto-http-auth
  in_chroot "$root" grep -q '^[^#]' "/$snippet" && die "deb in $1: the example is not commented out"

  # The example as it is, each line of it in effect; only the API is another.
  port=$(free_port)
  sed -i 's/^#\([a-z]\)/\1/' "$root/$snippet"
  sed -i -e "s/^listener .*/listener $port 127.0.0.1/" -e 's/^\(plugin_opt_http_host\) .*/\1 localhost/' \
    -e "s/^\(plugin_opt_http_port\) .*/\1 $https/" -e 's|\(_route\) /mqtt/|\1 /|' "$root/$snippet"
  printf '%s\n' 'plugin_opt_tls_ca_file /etc/mosquitto/ca.pem' 'plugin_opt_max_block_ms 10000' \
    'plugin_opt_max_block_percent 100' >>"$root/$snippet"
  cp "$work/ca.pem" "$root/etc/mosquitto/"
  echo 'Bearer a-token' >"$root/etc/mosquitto/http-auth.token"
  in_chroot "$root" mosquitto_passwd -b -c /etc/mosquitto/passwords local secret
  chmod 644 "$root/etc/mosquitto/passwords"
  mkdir -p "$root/run/mosquitto"
  in_chroot "$root" chown mosquitto /run/mosquitto
  in_chroot "$root" mosquitto-http-auth check /etc/mosquitto/mosquitto.conf >"$work/command.log" ||
    { cat "$work/command.log" >&2; die "deb in $1: the command finds fault with the example"; }
  echo wonderland | in_chroot "$root" mosquitto-http-auth login /etc/mosquitto/mosquitto.conf -u alice -P - >"$work/command.log" ||
    { cat "$work/command.log" >&2; die "deb in $1: the command does not see alice let in"; }
  start_broker /etc/mosquitto/mosquitto.conf chroot "$root" mosquitto
  expect_decisions "deb in $1, its example in use"
  mosquitto_pub -h 127.0.0.1 -p "$port" -u local -P secret -t any -n || die "deb in $1: the local user is not let in"
  end_broker

  rm -rf "$root"/etc/mosquitto/{ca.pem,http-auth.token,passwords} "$root"/run/mosquitto "$root"/var/lib/mosquitto/mosquitto.db
  in_chroot "$root" apt-get -qq purge -y mosquitto-http-auth >"$work/apt.log" 2>&1 || { cat "$work/apt.log" >&2; die "deb in $1: not purged"; }
  files "$root" >"$work/after"
  diff "$work/before" "$work/after" >&2 || die "deb in $1: a purge leaves or takes files"
  rm -rf "$root"
  say "deb in $1: installed, used, purged without a trace"
}

try_rpm() {
  need rpm
  local root=$work/rpm rpm
  rpm=$(echo "$dist"/mosquitto-http-auth-*.x86_64.rpm)
  mkdir "$root"
  rpm --root "$root" --initdb
  # An empty system has no broker: its absence is what stops the installation, and nothing else.
  if rpm --root "$root" -i "$rpm" 2>"$work/refused"; then die "rpm: it requires no broker"; fi
  grep -q 'mosquitto >= 2.0' "$work/refused" || { cat "$work/refused" >&2; die "rpm: refused for another reason"; }
  rpm --root "$root" -i --nodeps "$rpm"
  rpm --root "$root" -V --nodeps mosquitto-http-auth
  rpm --root "$root" -q --requires mosquitto-http-auth | sed 's/^/  requires /' >&2
  rpm --root "$root" -ql mosquitto-http-auth | sed 's/^/  /' >&2
  [[ $(rpm --root "$root" -qc mosquitto-http-auth) == /etc/mosquitto/conf.d/http-auth.conf ]] || die "rpm: the example is no configuration file"
  cmp "$root/usr/lib64/mosquitto/libmosquitto_http_auth.so" "$dist/build/x86_64-gnu/libmosquitto_http_auth.so"
  rpm --root "$root" -e mosquitto-http-auth
  [[ -z $(find "$root/usr/lib64" "$root/etc" "$root/usr/share/doc" -type f 2>/dev/null) ]] || die "rpm: an erasure leaves files"
  say "rpm: installed into an empty root and erased"
}

start_api
for what; do
  case $what in
    glibc:* | arm64:* | musl:* | deb:*) "try_${what%%:*}" "${what#*:}" ;;
    rpm) try_rpm ;;
    *) die "$what is nothing to try: the head of $0 tells" ;;
  esac
done
