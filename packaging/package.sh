#!/bin/bash
# packaging/package.sh TARGET BUILT OUT    makes the .deb and the .rpm of one target
#
# TARGET is x86_64-gnu, aarch64-gnu or armv7-gnu, BUILT is a folder with what build.sh made for it (and, in
# BUILT/../documents, the command's manual pages and completions), OUT is where the packages go. Needs no root but for what
# is missing.
#
#   PACKAGE_MAINTAINER   the name and address in the packages; default: nobody's, at a domain that cannot be
#   PACKAGE_HOMEPAGE     the project's page, likewise
set -euo pipefail
# shellcheck source=packaging/common.sh
source "$(dirname "$0")/common.sh"

name=mosquitto-http-auth
target=${1:?which target}
built=$(realpath "${2:?which folder has been built into}")
out=$(realpath -m "${3:?which folder for the packages}")
maintainer=${PACKAGE_MAINTAINER:-The mosquitto-http-auth maintainers <maintainers@mosquitto-http-auth.invalid>}
homepage=${PACKAGE_HOMEPAGE:-https://mosquitto-http-auth.invalid/}
documents=$built/../documents
need_tools
need binutils
mkdir -p "$out"
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

put() { # MODE FILE PATH
  install -D -m "$1" "$2" "$root$3"
}

# What both kinds of package have, each below its own places.
fill() { # LIBRARIES ZSH-COMPLETIONS
  local plugin=$1/mosquitto/libmosquitto_http_auth.so doc=/usr/share/doc/$name page
  put 644 "$built/libmosquitto_http_auth.so" "$plugin"
  put 755 "$built/$name" "/usr/bin/$name"
  for page in "$documents"/*.1; do
    gzip -9nc "$page" >"$stage/page"
    put 644 "$stage/page" "/usr/share/man/man1/${page##*/}.gz"
  done
  put 644 "$documents/$name.bash" "/usr/share/bash-completion/completions/$name"
  put 644 "$documents/$name.fish" "/usr/share/fish/vendor_completions.d/$name.fish"
  put 644 "$documents/_$name" "$2/_$name"
  "$top/packaging/documents.py" "$top" "$root$doc"
  # An example is all it is: below /etc, a file of the package's would outlive it there, and be asked about by upgrades.
  sed -e "s|@PLUGIN@|$plugin|" -e "s|@DOC@|$doc|" "$top/packaging/http-auth.conf" >"$stage/http-auth.conf"
  put 644 "$stage/http-auth.conf" "$doc/examples/http-auth.conf"
  put 644 "$built/sbom.cdx.json" "$doc/sbom.cdx.json"
}

# The package as nfpm is told of it: every file with its mode, and the commit's time.
describe() { # ARCHITECTURE LICENCE FORMAT
  local file moment summary='Mosquitto plugin that asks an HTTP API who may do what' paragraph='' lead=''
  # Debian's description begins with the summary and has a full stop for an empty line.
  if [[ $3 == deb ]]; then paragraph=. lead="  $summary"$'\n'; fi
  moment=$(date -u -d "@$SOURCE_DATE_EPOCH" +%FT%TZ)
  cat <<END
name: $name
arch: $1
platform: linux
version: $(version)
release: 1
section: net
priority: optional
maintainer: $maintainer
homepage: $homepage
license: $2
mtime: $moment
description: |-
$lead  With this plugin the MQTT broker Mosquitto asks an HTTP API who may connect,
  and who may publish, receive and subscribe to what. Answers are cached and
  refreshed before they expire, an API that is slow or down holds up the broker
  for a bounded time only, and one answer may carry the rules of a whole
  session. Clients that the API no longer lets in are disconnected.
  $paragraph
  Configurations of mosquitto-go-auth's and mosquitto-auth-plug's HTTP backends
  are understood. One library serves Mosquitto 2.0 and 2.1.
rpm:
  group: Applications/Internet
  summary: $summary
  buildhost: localhost
  compression: xz
scripts:
  preremove: $top/packaging/before-removal.sh
depends:
$(requirements "$3" | sed 's/.*/  - "&"/')
contents:
END
  while read -r file; do
    echo "  - {src: \"$root$file\", dst: \"$file\", file_info: {mode: 0$(stat -c %a "$root$file"), mtime: $moment}}"
  done < <(cd "$root" && find . -type f -printf '/%P\n' | sort)
}

# The broker, and the C library: Debian names its package, RPM each version of each library's symbols.
requirements() { # FORMAT
  local file word words
  case $1 in
    deb) echo 'mosquitto (>= 2.0.11)'; echo 'libc6 (>= 2.28)' ;;
    rpm)
      echo 'mosquitto >= 2.0.11'
      # What a 64-bit system has beside a 32-bit one is marked so.
      if [[ $target != armv7-* ]]; then word='()(64bit)' words='(64bit)'; fi
      for file in "$root$libraries/mosquitto/"*.so "$root"/usr/bin/*; do
        readelf -d "$file" | sed -n "s/.*(NEEDED).*\[\(.*\)\]/\1${word:-}/p"
        readelf --version-info --wide "$file" | awk -v words="${words:-}" '/ File: / { for (i = 1; i < NF; i++) if ($i == "File:") library = $(i + 1) }
          / Name: GLIBC_/ && library { for (i = 1; i < NF; i++) if ($i == "Name:") print library "(" $(i + 1) ")" words }'
      done | sort -uV
      ;;
  esac
}

make_deb() {
  root=$stage/deb
  local doc=/usr/share/doc/$name
  fill "/usr/lib/$(triplet "$target")" /usr/share/zsh/vendor-completions
  # Debian wants all that is about rights in one file.
  local years
  years=$({ echo 2026; date -u -d "@$SOURCE_DATE_EPOCH" +%Y; } | uniq | paste -sd-)
  sed "s|@YEARS@|$years|" "$top/packaging/copyright" >"$stage/copyright"
  put 644 "$stage/copyright" "$doc/copyright"
  gzip -9nc "$built/THIRD-PARTY-LICENSES" >"$stage/third-party"
  put 644 "$stage/third-party" "$doc/THIRD-PARTY.gz"
  gzip -9nc "$top/CHANGELOG.md" >"$stage/changelog"
  put 644 "$stage/changelog" "$doc/changelog.gz"
  printf '%s (%s-1) unstable; urgency=medium\n\n  * Package of version %s.\n\n -- %s  %s\n' "$name" "$(version)" "$(version)" \
    "$maintainer" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$stage/changelog"
  put 644 "$stage/changelog" "$doc/changelog.Debian.gz"
  # A package that is not uploaded to Debian closes none of its bugs.
  echo "$name: initial-upload-closes-no-bugs" >"$stage/overrides"
  put 644 "$stage/overrides" "/usr/share/lintian/overrides/$name"
  describe "$(deb_arch "$target")" 'MIT OR Apache-2.0' deb >"$stage/deb.yaml"
  "$tools/bin/nfpm" package --config "$stage/deb.yaml" --packager deb --target "$out" >/dev/null
}

make_rpm() {
  local libraries=/usr/lib64
  if [[ $target == armv7-* ]]; then libraries=/usr/lib; fi
  root=$stage/rpm
  fill "$libraries" /usr/share/zsh/site-functions
  for file in LICENSE-MIT LICENSE-APACHE; do
    put 644 "$top/$file" "/usr/share/licenses/$name/$file"
  done
  put 644 "$built/THIRD-PARTY-LICENSES" "/usr/share/licenses/$name/THIRD-PARTY-LICENSES"
  describe "$(rpm_arch "$target")" "$(cat "$built/licence")" rpm >"$stage/rpm.yaml"
  "$tools/bin/nfpm" package --config "$stage/rpm.yaml" --packager rpm --target "$out" >/dev/null
}

make_deb
make_rpm
say "made the .deb and the .rpm of $target"
