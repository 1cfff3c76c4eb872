#!/bin/bash
# Proves that the suite can fail: builds the plugin with its decisions inverted, runs the tests of
# logins and ACL checks against it, and fails unless those fail that must. The inverted copy lives
# in target/mutant only.
set -euo pipefail
cd "$(dirname "$0")/.."

mutant=$PWD/target/mutant
rm -rf "$mutant/source"
mkdir -p "$mutant/source"
cp -r Cargo.toml Cargo.lock build.rs wrapper.h src "$mutant/source"

# A workspace of its own, without the members that stay behind.
sed -i '/^members = /d; /^default-members = /d' "$mutant/source/Cargo.toml"
policy=$mutant/source/src/policy.rs
sed -i 's/\(Ok(Answer::Allow), .* => \)Decision::Allow/\1Decision::Deny/; s/\(Ok(Answer::Deny), .* => \)Decision::Deny/\1Decision::Allow/' "$policy"
if [[ $(diff src/policy.rs "$policy" | grep -c '^>') -ne 2 ]]; then
  echo "mutation.sh: src/policy.rs no longer has the two lines that are inverted here" >&2
  exit 1
fi
CARGO_TARGET_DIR=$mutant/target cargo build --quiet --lib --manifest-path "$mutant/source/Cargo.toml"

log=$mutant/suite.log
if MOSQUITTO_HTTP_AUTH_SO=$mutant/target/debug/libmosquitto_http_auth.so \
  cargo test --quiet -p mosquitto-test --locked --test suite -- --format pretty \
  login::a_ access::a_denied access::what_is_allowed >"$log" 2>&1; then
  echo "mutation.sh: the suite passes with inverted decisions" >&2
  exit 1
fi
for behaviour in login::a_right_password_logs_in login::a_wrong_password_is_refused_in_the_words_of_the_protocol \
  access::what_is_allowed_is_delivered access::a_denied_publish_is_dropped_and_the_publisher_stays; do
  for broker in on_2_0_11 on_2_0_21 on_2_1_2; do
    grep -q "^test $behaviour::$broker \.\.\. FAILED" "$log" || {
      echo "mutation.sh: $behaviour::$broker does not notice inverted decisions (see $log)" >&2
      exit 1
    }
  done
done
echo "mutation.sh: with inverted decisions $(grep -c '\.\.\. FAILED$' "$log") tests fail, as they must"
