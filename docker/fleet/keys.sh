#!/bin/sh
# Makes the secrets that the brokers and Valkey share, once. All of them run as user 1000.
set -eu
umask 077
cd /secrets
[ ! -e made ] || exit 0
mosquitto-http-auth fleet key >fleet.key
openssl rand -hex 24 >redis.password
ec() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 "$@" 2>/dev/null; }
ec -x509 -subj '/CN=the fleet' -addext 'keyUsage=critical,keyCertSign' -keyout ca.key -out ca.pem
ec -subj /CN=valkey -keyout valkey.key -out valkey.csr
printf 'subjectAltName=DNS:valkey\nbasicConstraints=critical,CA:FALSE\n' >valkey.ext
openssl x509 -req -in valkey.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -extfile valkey.ext -out valkey.pem \
  2>/dev/null
rm ca.key valkey.csr valkey.ext
touch made
chown -R 1000:1000 .
