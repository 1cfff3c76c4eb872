# What the scripts in this folder share. It is sourced, not run:
#
#   PACKAGING_CACHE   keeps root file systems, crates and tools between runs (up to 8 GB);
#                     default: ~/.cache/mosquitto-http-auth-packaging
# shellcheck shell=bash

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${PACKAGING_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mosquitto-http-auth-packaging}
mkdir -p "$cache"
export LC_ALL=C

say() { echo "[${0##*/} +${SECONDS}s] $*" >&2; }
die() { say "$*"; exit 1; }

need_root() { [[ $(id -u) -eq 0 ]] || die "run this as root: it makes root file systems and enters them"; }

# Debian packages by name; only what is missing is installed. Another apt may hold the lock, or change the lists under ours.
need() {
  local package status missing=() try
  for package; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [[ $status == installed ]] || missing+=("$package")
  done
  [[ ${#missing[@]} -gt 0 ]] || return 0
  say "installing ${missing[*]}"
  for try in 1 2 3; do
    if { apt-get -qq -o DPkg::Lock::Timeout=300 update && DEBIAN_FRONTEND=noninteractive \
      apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}"; } >"$cache/apt.log" 2>&1; then
      return 0
    fi
    sleep "$try"
  done
  tail -n 20 "$cache/apt.log" >&2
  die "cannot install ${missing[*]}"
}

# zig, cargo-zigbuild and nfpm, in the versions that requirements.txt names.
need_tools() {
  need python3 python3-venv
  tools=$cache/tools
  if ! cmp -s "$top/packaging/requirements.txt" "$tools/requirements.txt"; then
    rm -rf "$tools"
    python3 -m venv "$tools"
    "$tools/bin/pip" -q install --requirement "$top/packaging/requirements.txt"
    cp "$top/packaging/requirements.txt" "$tools/"
    say "installed $(grep -v '^#' "$tools/requirements.txt" | tr '\n' ' ')"
  fi
}

# The Debian archive that this machine's own apt is set up to use.
mirror() {
  # shellcheck disable=SC2016 # apt's own placeholder
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | sed -n '1{s|/$||;p}'
}

# debian_root FOLDER SUITE [mmdebstrap's options]: a Debian of that suite. The archive of sid may be a frozen copy whose
# Release file has run out; its signature is checked all the same.
debian_root() {
  local folder=$1 suite=$2 try
  shift 2
  need mmdebstrap
  for try in 1 2; do
    rm -rf "$folder"
    # shellcheck disable=SC2016 # mmdebstrap's shell expands
    if mmdebstrap --quiet --variant=minbase --aptopt='Acquire::Check-Valid-Until "false"' \
      --aptopt='APT::Install-Recommends "false"' --dpkgopt='path-exclude=/usr/share/locale/*' \
      --customize-hook='echo "127.0.0.1 localhost" >"$1/etc/hosts"' "$@" "$suite" "$folder" "$(mirror)" >"$cache/mmdebstrap.log" 2>&1; then
      say "made a Debian $suite: $(du -sh "$folder" | cut -f1)"
      return 0
    fi
    sleep "$try"
  done
  tail -n 20 "$cache/mmdebstrap.log" >&2
  die "cannot make a Debian $suite"
}

# emulate ARCHITECTURE: programs for it (Debian's name) run here, also in containers, when this machine's kernel is told how.
emulate() {
  local name register=/proc/sys/fs/binfmt_misc/register
  case $1 in amd64) return ;; arm64) name=qemu-aarch64 ;; armhf) name=qemu-arm ;; *) die "unknown architecture $1" ;; esac
  need qemu-user-static arch-test
  [[ -e $register ]] || mount -t binfmt_misc binfmt_misc "${register%/*}"
  [[ -e ${register%/*}/$name ]] || cat "/usr/lib/binfmt.d/$name.conf" >"$register"
}

version() { sed -n 's/^version = "\(.*\)"$/\1/p' "$top/Cargo.toml" | head -n 1; }

# The time of what is built is the commit's.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$top" log -1 --format=%ct)}

# What is built, and the names of one target in the worlds that name it.
# shellcheck disable=SC2034 # the scripts that source this use it
all_targets=(x86_64-gnu aarch64-gnu armv7-gnu x86_64-musl aarch64-musl armv7-musl)
rust_triple() {
  case $1 in
    x86_64-gnu | aarch64-gnu | x86_64-musl | aarch64-musl) echo "${1%%-*}-unknown-linux-${1#*-}" ;;
    armv7-gnu | armv7-musl) echo "armv7-unknown-linux-${1#*-}eabihf" ;;
    *) return 1 ;;
  esac
}
triplet() { case $1 in x86_64-*) echo x86_64-linux-gnu ;; aarch64-*) echo aarch64-linux-gnu ;; armv7-*) echo arm-linux-gnueabihf ;; esac; }
deb_arch() { case $1 in x86_64-*) echo amd64 ;; aarch64-*) echo arm64 ;; armv7-*) echo armhf ;; esac; }
rpm_arch() { case $1 in armv7-*) echo armv7hl ;; *) echo "${1%%-*}" ;; esac; }
