#!/bin/sh
# Starts the broker that $BROKER names, with its name and address in the configuration.
set -eu
mkdir -p "/tmp/$BROKER"
address=$(getent hosts "$BROKER" | head -n 1 | cut -d ' ' -f 1)
sed -e "s/NAME/$BROKER/; s/ADDRESS/$address/" /fleet/mosquitto.conf >"/tmp/$BROKER/mosquitto.conf"
exec mosquitto -c "/tmp/$BROKER/mosquitto.conf"
