#!/bin/bash
# Fetches the Mosquitto brokers that the tests run against, side by side, without installing anything:
#
#   mosquitto-test/get-brokers.sh [--demo=VERSION | --demo-fleet=VERSION | --valgrind] [DIR]
#
# fills DIR (the repository's .brokers, unless another is named): DIR/2.0.11, DIR/2.0.21 and DIR/2.1.2 with the packages of Debian bookworm, bookworm-backports
# and sid. DIR/VERSION/bin has mosquitto and its companions, each started with its release's own libc,
# so that all three run on one Debian 12 (amd64). Needs no root; what is there already is left alone.
# DIR/redis and DIR/valkey get the servers of bookworm and bookworm-backports, for brokers that share answers;
# with --demo only the broker of that version is fetched, and with --demo-fleet that one and DIR/valkey.
# With --valgrind, DIR/valgrind gets the Valgrind of sid, which knows the C library of 2.1.2.
set -euo pipefail
shopt -s nullglob
export LC_ALL=C

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
triplet=x86_64-linux-gnu
only='' redis=yes valkey=yes valgrind=
case ${1:-} in
  --demo=*) only=${1#*=} redis='' valkey=''; shift ;;
  --demo-fleet=*) only=${1#*=} redis=''; shift ;;
  --valgrind) valgrind=yes; shift ;;
esac
brokers=${1:-$(dirname "$(readlink -f "$0")")/../.brokers}
mkdir -p "$brokers"
brokers=$(cd "$brokers" && pwd)
trap 'rm -rf "$brokers"/.fetch-*' EXIT

say() { echo "get-brokers: $*" >&2; }

# The mirror that this machine's apt uses, whichever way its sources are written.
find_mirror() {
  # shellcheck disable=SC2016 # apt's own placeholder
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    grep -v -e security -e '^file:' | sed 's|/$||' | head -n 1 || true
}

# An apt of its own in $1: private lists, and a dpkg status that says nothing is installed, so that
# every package needed is fetched, the C library included. No hooks: containers' empty the cache.
private_apt() {
  local home=$1 tool=$2
  shift 2
  "$tool" -qq -c "$home/apt.conf" -o Dir::Etc::SourceList="$home/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
    -o Dir::State="$home/state" -o Dir::State::Status="$home/status" -o Dir::Cache="$home/cache" \
    -o Dir::Log=/dev/null -o Acquire::Languages=none -o Acquire::Retries=3 -o Acquire::Check-Valid-Until=false \
    -o APT::Sandbox::User= -o APT::Install-Recommends=false -o APT::Architecture=amd64 "$@"
}

# A mirror in the middle of its update fails once; a second try is enough or nothing is.
twice() { "$@" || { say "trying again: ${*:3:3}"; "$@"; }; }

# Makes a folder to fetch $1 in, with an apt of its own for the suites $2, and says where it is.
workplace() {
  local work suite
  work=$(mktemp -d "$brokers/.fetch-$1.XXXXXX")
  mkdir -p "$work"/apt/{state/lists,cache/archives}/partial "$work"/tree/{root,bin}
  : > "$work/apt/status"
  echo '#clear APT::Update::Post-Invoke; #clear DPkg::Post-Invoke;' > "$work/apt/apt.conf"
  for suite in $2; do
    echo "deb [signed-by=$keyring] $mirror $suite main"
  done > "$work/apt/sources.list"
  twice private_apt "$work/apt" apt-get update >&2
  echo "$work"
}

# fetch NAME VERSION-PREFIX 'SUITE…' [PACKAGE…]
fetch() {
  local name=$1 prefix=$2 suites=$3 target=$brokers/$1 work version deb
  shift 3
  [[ -e $target/.ok ]] && { say "$name is there"; return; }
  work=$(workplace "$name" "$suites")
  version=$(private_apt "$work/apt" apt-cache madison mosquitto |
    awk -v prefix="$prefix" 'index($3, prefix) == 1 { print $3; exit }')
  [[ -n $version ]] || { say "the mirror has no mosquitto $prefix* in $suites"; return 1; }
  twice private_apt "$work/apt" apt-get -y --download-only install \
    "mosquitto=$version" "mosquitto-clients=$version" "libmosquitto1=$version" "$@" >/dev/null
  for deb in "$work"/apt/cache/archives/{mosquitto,lib,zlib1g}*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x --no-same-owner --keep-directory-symlink -C "$work/tree/root" \
      --exclude='./usr/share/*'
  done
  wrap "$work/tree" mosquitto
  rm -rf "$target"
  mv "$work/tree" "$target"
  touch "$target/.ok"
  say "$name: $version"
}

# Fetches redis or valkey, which is $1, from the suites $2.
fetch_redis() {
  local name=$1 suites=$2 target=$brokers/$1 work deb
  [[ -e $target/.ok ]] && { say "$name is there"; return; }
  work=$(workplace "$name" "$suites")
  twice private_apt "$work/apt" apt-get -y --download-only install "$name-server" "$name-tools" >/dev/null
  for deb in "$work"/apt/cache/archives/{"$name"-,lib,zlib1g}*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x --no-same-owner --keep-directory-symlink -C "$work/tree/root" \
      --exclude='./usr/share/*'
  done
  wrap "$work/tree" "$name"
  rm -rf "$target"
  mv "$work/tree" "$target"
  touch "$target/.ok"
  say "$name: $("$target/bin/$name-server" --version)"
}

# Puts a starter into $1/bin for each of the programs in $1/root whose names begin with $2.
wrap() {
  local root=$1/root libraries program
  # Some packages leave the links of their libraries' short names to ldconfig.
  for libraries in "$root"/{usr/,}lib/$triplet; do
    if [[ -d $libraries ]]; then /sbin/ldconfig -n "$libraries"; fi
  done
  for program in "$root"/usr/{sbin,bin}/"$2"*; do
    cat > "$1/bin/${program##*/}" <<END
#!/bin/sh
root=\$(dirname "\$(readlink -f "\$0")")/../root
loader=\$root/lib64/ld-linux-x86-64.so.2
[ -e "\$loader" ] || loader=\$root/usr/lib64/ld-linux-x86-64.so.2
exec "\$loader" --library-path "\$root/usr/lib/$triplet:\$root/lib/$triplet" \\
  --argv0 ${program##*/} "\$root${program#"$root"}" "\$@"
END
    chmod +x "$1/bin/${program##*/}"
  done
}

# Fetches sid's Valgrind, and puts the symbols of 2.1.2's C library where any Valgrind looks for them.
fetch_valgrind() {
  local target=$brokers/valgrind libraries=$brokers/2.1.2/root/usr/lib/$triplet work deb library id symbols
  [[ -e $target/.ok && -e $libraries/.debug ]] && { say "valgrind is there"; return; }
  work=$(workplace valgrind sid)
  twice private_apt "$work/apt" apt-get -y --download-only install valgrind libc6-dbg >/dev/null
  for deb in "$work"/apt/cache/archives/{valgrind,libc6-dbg}_*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x --no-same-owner -C "$work/tree/root" --exclude='./usr/share/*'
  done
  mkdir -p "$work/tree/symbols"
  for library in ld-linux-x86-64.so.2 libc.so.6; do
    id=$(readelf -n "$libraries/$library" | sed -n 's/.*Build ID: //p')
    symbols=$work/tree/root/usr/lib/debug/.build-id/${id:0:2}/${id:2}.debug
    [[ -e $symbols ]] || { say "sid has another C library by now: remove $brokers/2.1.2"; return 1; }
    mv "$symbols" "$work/tree/symbols/"
  done
  rm -rf "$libraries/.debug" "$target" "$work/tree/root/usr/lib/debug"
  mv "$work/tree/symbols" "$libraries/.debug"
  mv "$work/tree" "$target"
  touch "$target/.ok"
  say "valgrind: $(VALGRIND_LIB=$target/root/usr/libexec/valgrind "$target/root/usr/bin/valgrind.bin" --version)"
}

[[ $(dpkg --print-architecture) == amd64 ]] || { say "only amd64 is supported"; exit 1; }
mirror=$(find_mirror)
if [[ -z $mirror ]]; then
  twice apt-get -qq update || say "apt-get update failed (it needs root)"
  mirror=$(find_mirror)
fi
[[ -n $mirror ]] || { say "apt on this machine names no Debian mirror"; exit 1; }

wants() { [[ -z $only || $only == "$1" ]]; }
if wants 2.0.11; then fetch 2.0.11 2.0.11- 'bookworm'; fi
if wants 2.0.21; then fetch 2.0.21 2.0.21- 'bookworm bookworm-backports'; fi
# Without a named provider apt picks systemd for the package's sysusers dependency.
if wants 2.1.2; then fetch 2.1.2 2.1.2- 'sid' systemd-standalone-sysusers; fi
[[ -z $redis ]] || fetch_redis redis 'bookworm'
[[ -z $valkey ]] || fetch_redis valkey 'bookworm bookworm-backports'
[[ -z $valgrind ]] || fetch_valgrind
