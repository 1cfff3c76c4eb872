#!/bin/bash
# Shows the plugin at work on this machine: a real Mosquitto, an example API, and each request between
# them. What this needs is installed, fetched or built first; no more than that.
#
#   mosquitto-test/demo.sh [USERS.toml]        (USERS.toml: users of your own, as in example/users.toml)
#
#   BROKER=2.0.11|2.0.21|2.1.2   the broker, 2.1.2 unless said otherwise
#   DEMO_FLEET=1                 three brokers that share answers by a Valkey, instead of one
#   DEMO_ONCE=1                  end after the steps, with a status that says whether all came out right
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
"$here/install.sh" --demo
needed=--demo
if [[ ${DEMO_FLEET:-} == 1 ]]; then needed=--demo-fleet; fi
# An unknown version is not fetched: the demo says which are known.
"$here/get-brokers.sh" "$needed=${BROKER:-2.1.2}" 2> >(grep -v ' is there$' >&2)

# One build for both, so that what they share is compiled once. Cargo knows best where it put the demo.
built=$(cargo build --release --manifest-path "$here/../Cargo.toml" \
  --package mosquitto-http-auth --package mosquitto-test --lib --bin demo \
  --message-format json-render-diagnostics)
demo=$(sed -n 's|.*"executable":"\([^"]*/demo\)".*|\1|p' <<< "$built")

# The demo takes this script's place, so signals and the exit status are its own.
exec "$demo" "$@"
