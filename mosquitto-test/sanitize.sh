#!/bin/bash
# Looks for what tests alone do not show. Each takes minutes, so it is run on demand:
#
#   sanitize.sh threads   data races: the unit tests under ThreadSanitizer, the standard library
#                         built with it as well (needs a nightly compiler; adds rust-src to it)
#   sanitize.sh memory    wrong use of memory, and leaks: the suite's brokers under Valgrind's
#                         memcheck (2.1.2, for a newer Debian, under that Debian's, which is fetched).
#                         Tests may fail for being slow; what counts is that no report names the
#                         plugin.
#
# Names of tests after it restrict either, `memory ::on_2_1_2` takes one broker's; `memory ::` takes the
# whole suite, which lasts some hours (SANITIZE_SECONDS says how long it may).
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}

die() { echo "sanitize.sh: $*" >&2; exit 1; }

threads() {
  local toolchain=nightly host
  host=$(rustc +$toolchain -vV | sed -n 's/^host: //p') || die "install a nightly compiler first"
  rustup component add rust-src --toolchain $toolchain 2>/dev/null
  # Report every race, and fail. The last line of a run without any is cargo's own.
  TSAN_OPTIONS="halt_on_error=0 exitcode=66" RUSTFLAGS=-Zsanitizer=thread \
    CARGO_TARGET_DIR=$target/tsan cargo +$toolchain test --locked -Zbuild-std --target "$host" \
    --lib -- "$@"
}

# What the plugin does in a broker's life, and what of it has unsafe code or threads.
behaviours=(login:: access:: rules:: sighup:: lifecycle:: control:: fan_out:: https:: process::
  entrances:: material:: wills:: kept_sessions:: superuser:: revocation::)

memory() {
  local reports=$target/memcheck tests=() names=("${@:-${behaviours[@]}}")
  command -v valgrind >/dev/null || die "install valgrind and libc6-dbg first"
  ./mosquitto-test/get-brokers.sh --valgrind
  rm -rf "$reports"
  mkdir -p "$reports"
  # The library as cargo test builds it: not stripped, so that reports name its functions.
  cargo test -p mosquitto-test --locked --test suite --no-run
  mapfile -t tests < <(cargo test -q -p mosquitto-test --locked --test suite -- --list "${names[@]}" |
    sed -n 's/: test$//p')
  [[ ${#tests[@]} -gt 0 ]] || die "no such tests: ${names[*]}"
  SUITE_VALGRIND=$reports timeout "${SANITIZE_SECONDS:-3600}" cargo test -q -p mosquitto-test \
    --locked --test suite -- --test-threads 4 --exact "${tests[@]}" >"$reports/suite.log" 2>&1 || true
  grep -a '^test result' "$reports/suite.log" || echo "sanitize.sh: the tests did not end in time"
  # One file for each broker that ran; one in which nothing is reported is empty.
  local files=("$reports"/2.*)
  echo "sanitize.sh: ${#files[@]} brokers ran under Valgrind, ${#tests[@]} tests were asked for"
  [[ ${#files[@]} -ge $((${#tests[@]} / 2)) ]] || die "too few brokers ran; see $reports/suite.log"
  if grep -lE 'libmosquitto_http_auth|mosquitto_http_auth' "${files[@]}"; then
    die "these reports name the plugin"
  fi
  echo "sanitize.sh: no report names the plugin"
}

what=${1:-}
shift || true
case $what in
  threads | memory) "$what" "$@" ;;
  *) die "say threads or memory" ;;
esac
