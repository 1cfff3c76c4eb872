#!/bin/bash
# Proves that the suite can fail: builds the plugin with a defect put in, runs the tests that must
# notice, and fails unless each of them does. The defective copies live in target/mutant only.
set -euo pipefail
cd "$(dirname "$0")/.."

mutant=$PWD/target/mutant
brokers=(on_2_0_11 on_2_0_21 on_2_1_2)

die() { echo "mutation.sh: $*" >&2; exit 1; }

# A copy of the plugin in which a sed script changes so many lines of one file.
build() { # FILE LINES SED-SCRIPT
  rm -rf "$mutant/source"
  mkdir -p "$mutant/source"
  cp -r Cargo.toml Cargo.lock build.rs wrapper.h src benches "$mutant/source"
  # A workspace of its own, without the members that stay behind.
  sed -i '/^members = /d; /^default-members = /d' "$mutant/source/Cargo.toml"
  sed -i "$3" "$mutant/source/$1"
  [[ $(diff "$1" "$mutant/source/$1" | grep -c '^>') -eq $2 ]] || die "$1 is no longer what '$3' expects"
  CARGO_TARGET_DIR=$mutant/target cargo build --quiet --lib --manifest-path "$mutant/source/Cargo.toml"
}

# Runs these tests, all of which must fail.
expect_failures() { # WHAT TEST...
  local what=$1 log=$mutant/suite.log test
  shift
  if MOSQUITTO_HTTP_AUTH_SO=$mutant/target/debug/libmosquitto_http_auth.so \
    cargo test --quiet --workspace --locked --test suite -- --format pretty --exact "$@" >"$log" 2>&1; then
    die "the suite passes with $what"
  fi
  for test in "$@"; do
    grep -q "^test $test \.\.\. FAILED" "$log" || die "$test does not notice $what (see $log)"
  done
  echo "mutation.sh: with $what $# of $# tests fail, as they must"
}

on_every_broker() {
  local test broker
  for test in "$@"; do
    for broker in "${brokers[@]}"; do echo "$test::$broker"; done
  done
}

build src/policy.rs 2 \
  's/\(Verdict::Allow => \)Decision::Allow/\1Decision::Deny/
   s/\(Verdict::Deny => \)Decision::Deny/\1Decision::Allow/'
mapfile -t tests < <(on_every_broker \
  login::a_right_password_logs_in \
  login::a_wrong_password_is_refused_in_the_words_of_the_protocol \
  access::what_is_allowed_is_delivered \
  access::a_denied_publish_is_dropped_and_the_publisher_stays)
expect_failures "inverted decisions" "${tests[@]}"

build src/login/attempts.rs 1 's/\*newest == generation/*newest >= generation/'
expect_failures "verdicts that count for any attempt" \
  delayed_login::a_yes_for_one_who_left_does_not_admit_another
