#!/bin/bash
# Installs what building and testing need on a Debian 12 that has Rust and nothing else. Only what is
# missing is installed; where nothing is, this says nothing and needs no root.
#
#   mosquitto-test/install.sh [--demo]       (--demo: only what building and get-brokers.sh need)
set -euo pipefail

# bindgen reads Mosquitto's headers with libclang, and cc compiles the shim; get-brokers.sh checks
# what it fetches against the archive's keyring.
packages=(clang libclang-dev gcc libc6-dev mosquitto-dev libmosquitto-dev ca-certificates
  debian-archive-keyring)
tests=yes
if [[ ${1:-} == --demo ]]; then tests=; fi
if [[ $tests ]]; then
  # A test turns a broker's clock back, and some of the example APIs are Python. One of the clients is
  # Java.
  packages+=(libfaketime python3 python3-venv default-jdk-headless libmqtt-client-java)
  # Others are JavaScript. Debian's Node.js 18 will do, and so will a newer one from elsewhere, beside
  # which Debian's npm cannot be installed.
  if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    packages+=(nodejs npm)
  fi
fi

say() { echo "install: $*" >&2; }

if ! command -v cargo >/dev/null; then
  say "cargo is missing: install Rust 1.85 or newer first, with rustup (Debian 12 has an older one)"
  exit 1
fi
if ! command -v apt-get >/dev/null; then
  say "this is no Debian: install the likes of ${packages[*]} yourself"
  exit 1
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $status == installed ]] || missing+=("$package")
done
# nginx is unpacked into .nginx: installed, it would serve the machine's port 80 from now on.
nginx=$(cd "$(dirname "$0")/.." && pwd)/.nginx
unpack_nginx() {
  local work
  work=$(mktemp -d)
  (cd "$work" && apt-get -qq -o APT::Sandbox::User= download nginx >/dev/null) &&
    dpkg-deb -x "$work"/nginx_*.deb "$nginx"
  rm -rf "$work"
  [[ -x $nginx/usr/sbin/nginx ]]
}
wants_nginx() { [[ $tests && ! -x $nginx/usr/sbin/nginx ]]; }
if [[ ${#missing[@]} -eq 0 ]] && ! wants_nginx; then exit 0; fi

as_root=()
if [[ $(id -u) -ne 0 ]]; then
  if command -v sudo >/dev/null; then
    as_root=(sudo)
  elif [[ ${#missing[@]} -gt 0 ]]; then
    say "as root, run: apt-get install ${missing[*]}"
    exit 1
  fi
fi

apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" >/dev/null; }

if [[ ${#missing[@]} -gt 0 ]]; then
  say "installing ${missing[*]}"
  apt update
  apt install -y --no-install-recommends "${missing[@]}"
fi
if wants_nginx; then
  say "unpacking nginx"
  # Without apt's lists there is nothing to download from.
  unpack_nginx || { apt update && unpack_nginx; } || { say "apt has no nginx"; exit 1; }
fi
