#!/usr/bin/env python3
"""Prints a token for a user. Usage: issue.py USERNAME SECONDS ['ACTION TOPIC'...]

The issuer's keys are issuer.key and issuer.pub in this folder; they are made if they are missing."""

import os
import sys
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec


def make_keys():
    key = ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    with open(os.open("issuer.key", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(private)
    with open("issuer.pub", "wb") as file:
        file.write(public)


if __name__ == "__main__":
    if not os.path.exists("issuer.key"):
        make_keys()
    with open("issuer.key", "rb") as file:
        key = file.read()
    username, seconds, *rules = sys.argv[1:]
    acl = [dict(zip(("action", "topic"), rule.split(" ", 1)), permission="allow") for rule in rules]
    end = int(time.time()) + int(seconds)
    claims = {"sub": username, "aud": "mqtt", "exp": end, "acl": acl}
    print(jwt.encode(claims, key, algorithm="ES256"))
