#!/bin/bash
# Fetches everything that the tests run against: brokers, clients, and what the example APIs need.
set -euo pipefail
cd "$(dirname "$0")/.."

# These three wait for downloads, each for its own.
./mosquitto-test/get-brokers.sh &
brokers=$!
./mosquitto-test/clients.sh &
clients=$!
./mosquitto-test/examples.sh
wait "$brokers"
wait "$clients"
