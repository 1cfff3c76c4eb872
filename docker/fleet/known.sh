#!/bin/sh
# alice, who is known to the fleet, is let in by each broker in turn; the password makes it the same question.
set -eu
for _ in 1 2 3 4 5 6; do
  mosquitto_pub -h haproxy -i alice -u alice -P wonderland -t garden/shed/temperature -m 21
done
