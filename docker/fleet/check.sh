#!/bin/bash
# Proves, from a container beside them, that three brokers behind HAProxy decide as the example's users say, as one.
set -euo pipefail
fail() { echo "FAILED  $*"; exit 1; }

bash /check.sh haproxy 1883 alone
conf=/tmp/mosquitto.conf
sed -e 's/NAME/check/; s/ADDRESS/127.0.0.1/' /fleet/mosquitto.conf >"$conf"
status=$(mosquitto-http-auth fleet status "$conf") || fail "no fleet: $status"
for broker in b1 b2 b3; do
  [[ $status == *$broker* ]] || fail "$broker is not in the fleet: $status"
done
echo "$status"
said=$(mosquitto-http-auth fleet invalidate "$conf" -u alice) || fail "not all have heard: $said"
echo "ok      $said"
for _ in 1 2 3 4 5 6; do
  # From an address that is not HAProxy's, which the API must be told.
  mosquitto_pub -h haproxy -A "${CLIENT_ADDRESS:-0.0.0.0}" -i "seen-$RANDOM" -u alice -P wonderland \
    -t garden/shed/temperature -m 21 || fail "alice is not let in"
done
echo "ok      alice is let in by all"
