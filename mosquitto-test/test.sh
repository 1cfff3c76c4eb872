#!/bin/bash
# Passes all tests, on a machine that may lack everything but Rust: installs what is missing,
# fetches the brokers, checks that the suite notices a plugin that decides wrongly, runs every test.
set -euo pipefail
cd "$(dirname "$0")/.."

./mosquitto-test/install.sh
./mosquitto-test/fetch.sh
./mosquitto-test/mutation.sh
# A test in a broker waits most of the time, so that three of them share a core.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((3 * $(nproc)))}
cargo test --workspace --locked
