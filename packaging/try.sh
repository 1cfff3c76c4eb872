#!/bin/bash
# packaging/try.sh DIST WHAT…    tries what release.sh made, each in a system of its own kind
#
# DIST is release.sh's folder. WHAT is one of the following, for amd64, or with :arm64 or :armhf at its end, where all but
# the API and the clients runs in an emulator.
#   glibc:SUITE    the plugin in that Debian's broker (bullseye, bookworm, trixie, sid)
#   musl:2.0       the plugin for musl in a broker that runs on musl (2.0, 2.1; see musl-brokers.sh)
#   deb:SUITE      the .deb: installed by apt, its example configuration used, upgraded, downgraded, and purged without a
#                  trace, but not from under a configuration that needs it
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

# decides WHERE ROOT LIBRARY COMMAND…: runs a broker whose root file system is ROOT.
decides() {
  local where=$1 root=$2 library=$3 protocol said
  shift 3
  local folder=$root/try seen=/try
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
  if [[ $1 == https ]]; then echo "plugin_opt_tls_ca_file $2/ca.pem"; fi
}

in_chroot() { # ROOT COMMAND…
  local root=$1
  shift
  chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"
}

built() { # ARCHITECTURE LIBC: the folder of what build.sh has made for it
  case $1 in amd64) echo "$dist/build/x86_64-$2" ;; arm64) echo "$dist/build/aarch64-$2" ;; armhf) echo "$dist/build/armv7-$2" ;; esac
}

# suite_root SUITE ARCHITECTURE: $root is a Debian of that suite with a broker, kept for the next run. Its certificate
# authorities are this machine's: to link them one by one takes an emulator minutes.
suite_root() {
  root=$cache/try-$2-$1
  emulate "$2"
  if [[ ! -d $root ]]; then
    debian_root "$root.new" "$1" --architectures="$2" --include=mosquitto
    mkdir -p "$root.new/etc/ssl/certs"
    cp /etc/ssl/certs/ca-certificates.crt "$root.new/etc/ssl/certs/"
    mv "$root.new" "$root"
  fi
}

try_glibc() { # SUITE ARCHITECTURE
  suite_root "$@"
  decides "glibc in $1 on $2" "$root" "$(built "$2" gnu)/libmosquitto_http_auth.so" chroot "$root" mosquitto
}

try_musl() { # SERIES ARCHITECTURE
  local brokers=$cache/musl-brokers-$2 root=$work/musl
  emulate "$2"
  [[ -x $brokers/mosquitto-2.1 ]] || "$top/packaging/musl-brokers.sh" "$brokers" "$2"
  rm -rf "$root"
  mkdir -p "$root"/{lib,etc/ssl/certs,tmp}
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  cp "$brokers"/lib/* "$root/lib/"
  cp "$brokers/mosquitto-$1" "$root/mosquitto"
  echo mosquitto:x:1883:1883::/:/none >"$root/etc/passwd"
  echo mosquitto:x:1883: >"$root/etc/group"
  echo 127.0.0.1 localhost >"$root/etc/hosts"
  decides "musl on $2" "$root" "$(built "$2" musl)/libmosquitto_http_auth.so" chroot "$root" /mosquitto
}

# Every file but those that package managers and logs keep for themselves.
files() {
  find "$1" -xdev \( -path "$1/proc" -o -path "$1/var/lib/dpkg" -o -path "$1/var/lib/apt" -o -path "$1/var/cache" -o -path "$1/var/log" \) \
    -prune -o -printf '%P\n' | sort
}

apt_in() { # COMMAND…: in $root, with nobody there to answer a question
  in_chroot "$root" apt-get -qq -o Dpkg::Use-Pty=0 "$@" >"$work/apt.log" 2>&1 </dev/null
}
expect_apt() { apt_in "$@" || { cat "$work/apt.log" >&2; die "$where: apt-get $* fails"; }; }

# A broker of the configuration in $root starts.
expect_start() {
  start_broker /etc/mosquitto/mosquitto.conf chroot "$root" mosquitto
  end_broker
}

try_deb() { # SUITE ARCHITECTURE
  local snippet=etc/mosquitto/conf.d/http-auth.conf deb where="deb in $1 on $2" fresh=$work/deb example
  deb=$(echo "$dist"/mosquitto-http-auth_*_"$2".deb)
  [[ -z $(dpkg-deb --info "$deb" conffiles 2>/dev/null) ]] || die "$where: upgrades may ask about its configuration"
  suite_root "$@"
  cp -a "$root" "$fresh"
  root=$fresh
  cp /etc/resolv.conf "$root/etc/"
  in_chroot "$root" mosquitto -h >/dev/null || true
  files "$root" >"$work/before"
  cp "$deb" "$root/package.deb"
  # The same package, as a later version.
  dpkg-deb --raw-extract "$deb" "$work/later"
  sed -i 's/^Version: .*/&.1/' "$work/later/DEBIAN/control"
  dpkg-deb --root-owner-group --build "$work/later" "$root/later.deb" >/dev/null
  rm -rf "$work/later"
  apt_in update
  expect_apt install -y /package.deb
  in_chroot "$root" dpkg --verify mosquitto-http-auth
  [[ ! -e $root/$snippet ]] || die "$where: the package configures a broker"
  example=$root/usr/share/doc/mosquitto-http-auth/examples
  grep -q '^[^#]' "$example/http-auth.conf" && die "$where: the example is not commented out"
  cp "$example/http-auth.conf" "$root/$snippet"

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
    { cat "$work/command.log" >&2; die "$where: the command finds fault with the example"; }
  echo wonderland | in_chroot "$root" mosquitto-http-auth login /etc/mosquitto/mosquitto.conf -u alice -P - >"$work/command.log" ||
    { cat "$work/command.log" >&2; die "$where: the command does not see alice let in"; }
  start_broker /etc/mosquitto/mosquitto.conf chroot "$root" mosquitto
  expect_decisions "$where, its example in use"
  mosquitto_pub -h 127.0.0.1 -p "$port" -u local -P secret -t any -n || die "$where: the local user is not let in"
  end_broker

  # Upgraded and downgraded, the configuration stays what it is. The library may not go from under it, unless the broker goes.
  cp "$root/$snippet" "$work/snippet"
  expect_apt install -y /later.deb
  expect_start
  expect_apt install -y --allow-downgrades /package.deb
  expect_start
  cmp "$root/$snippet" "$work/snippet" || die "$where: an upgrade changes the configuration"
  cp -a "$root" "$work/without"
  if apt_in remove -y mosquitto-http-auth; then die "$where: removed from under a configuration that needs it"; fi
  grep -q "stays: the broker would not start" "$work/apt.log" || { cat "$work/apt.log" >&2; die "$where: not removed for another reason"; }
  expect_start
  root=$work/without
  expect_apt remove -y mosquitto
  [[ ! -e $root/usr/bin/mosquitto-http-auth ]] || die "$where: it stays when the broker goes"
  rm -rf "$root"
  root=$fresh
  sed -i 's/^plugin/#&/' "$root/$snippet"
  expect_apt purge -y mosquitto-http-auth
  expect_start

  rm -rf "${root:?}/$snippet" "$root"/{package,later}.deb "$root"/etc/mosquitto/{ca.pem,http-auth.token,passwords} "$root"/run/mosquitto \
    "$root"/var/lib/mosquitto/mosquitto.db
  files "$root" >"$work/after"
  diff "$work/before" "$work/after" >&2 || die "$where: a purge leaves or takes files"
  rm -rf "$root"
  say "$where: installed, used, upgraded, downgraded, kept while it is needed, purged without a trace"
}

try_rpm() { # ARCHITECTURE
  need rpm
  local root=$work/rpm rpm libraries=lib64 target
  case $1 in amd64) target=x86_64 ;; arm64) target=aarch64 ;; armhf) target=armv7hl libraries=lib ;; esac
  rpm=$(echo "$dist"/mosquitto-http-auth-*."$target".rpm)
  rm -rf "$root"
  mkdir "$root"
  rpm --root "$root" --initdb
  # An empty system has no broker: its absence is what stops the installation, and nothing else.
  if rpm --root "$root" -i --ignorearch "$rpm" 2>"$work/refused"; then die "rpm for $target: it requires no broker"; fi
  grep -q 'mosquitto >= 2.0' "$work/refused" || { cat "$work/refused" >&2; die "rpm for $target: refused for another reason"; }
  # The scripts would want a shell in there.
  rpm --root "$root" -i --nodeps --ignorearch --noscripts "$rpm"
  rpm --root "$root" -V --nodeps mosquitto-http-auth
  rpm --root "$root" -q --requires mosquitto-http-auth | sed 's/^/  requires /' >&2
  [[ -z $(rpm --root "$root" -qc mosquitto-http-auth) ]] || die "rpm for $target: upgrades may ask about its configuration"
  rpm --root "$root" -q --scripts mosquitto-http-auth | grep -q 'stays: the broker' || die "rpm for $target: no script before its removal"
  cmp "$root/usr/$libraries/mosquitto/libmosquitto_http_auth.so" "$(built "$1" gnu)/libmosquitto_http_auth.so"
  rpm --root "$root" -e --noscripts mosquitto-http-auth
  [[ -z $(find "$root/usr/$libraries" "$root/etc" "$root/usr/share/doc" -type f 2>/dev/null) ]] || die "rpm for $target: an erasure leaves files"
  say "rpm for $target: installed into an empty root and erased"
}

start_api
for what; do
  arch=amd64
  case $what in *:amd64 | *:arm64 | *:armhf) arch=${what##*:} what=${what%:*} ;; esac
  case $what in
    glibc:* | musl:* | deb:*) "try_${what%%:*}" "${what#*:}" "$arch" ;;
    rpm) try_rpm "$arch" ;;
    *) die "$what is nothing to try: the head of $0 tells" ;;
  esac
done
