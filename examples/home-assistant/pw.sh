#!/bin/sh
# Hashes a password as mosquitto-go-auth's pw does: PBKDF2 with SHA-512. Usage: pw.sh PASSWORD
set -eu
salt=$(openssl rand -base64 16)
hex=$(printf '%s\n' "$salt" | openssl base64 -d | od -An -tx1 | tr -d ' \n')
hash=$(openssl kdf -binary -keylen 64 -kdfopt digest:SHA512 -kdfopt "pass:$1" -kdfopt "hexsalt:$hex" \
  -kdfopt iter:100000 PBKDF2 | openssl base64 -A)
printf 'PBKDF2$sha512$100000$%s$%s\n' "$salt" "$hash"
