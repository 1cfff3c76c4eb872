#!/bin/sh
# A Valkey for the brokers alone: by TLS, with a user who can do what they do and no more, and nothing on disk.
# The default user may only say that the server is there, for the health check.
set -eu
password=$(cat /secrets/redis.password)
cat >/tmp/users.acl <<END
user default on nopass resetchannels -@all +ping
user mqtt on >$password resetchannels ~{mha1:* -@all +ping +hello +auth +select +client|setname +role +mget +pttl +set +xadd +xread +xrange +hset +hgetall +hdel
END
chmod 600 /tmp/users.acl
exec valkey-server --bind 0.0.0.0 --port 0 --tls-port 6380 --tls-cert-file /secrets/valkey.pem \
  --tls-key-file /secrets/valkey.key --tls-ca-cert-file /secrets/ca.pem --tls-auth-clients no \
  --aclfile /tmp/users.acl --save '' --maxmemory 256mb --maxmemory-policy volatile-ttl
