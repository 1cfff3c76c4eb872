#!/usr/bin/env python3
"""An API for clients whose password is a JSON Web Token: the answer to the login holds the token's
rules and its end. Usage: api.py PUBLIC-KEY [PORT]"""

import hmac
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt

AUDIENCE = "mqtt"
TOKEN = os.environ.get("API_TOKEN")


def login(username, token, key):
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=["ES256"],  # what the token itself says of its algorithm is not believed
            audience=AUDIENCE,
            options={"require": ["exp", "sub", "aud"]},
        )
    except jwt.InvalidTokenError:
        return {"result": "deny"}
    if claims["sub"] != username:
        return {"result": "deny"}
    end = int(claims["exp"])
    return {
        "result": "allow",
        "acl": claims.get("acl", []),
        # Then the same question is asked again, and the token is no longer valid.
        "expire_at": end,
        "ttl": max(0, min(60, end - int(time.time()))),
    }


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # connections that may wait; 5 are few when a broker starts


def is_a_broker(headers):
    """With API_TOKEN set, only those are answered who send it: http_header_Authorization Bearer …"""
    expected, given = f"Bearer {TOKEN}", headers.get("Authorization", "")
    return TOKEN is None or hmac.compare_digest(given.encode(), expected.encode())


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, body = 200, b""
        if not is_a_broker(self.headers):
            status = 401
        elif self.path != "/user":
            status = 404
        else:
            answer = login(question["username"], question["password"], self.server.key)
            body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *line):
        pass


if __name__ == "__main__":
    port = int(sys.argv[2]) if sys.argv[2:] else 8000
    server = Server(("127.0.0.1", port), Api)
    with open(sys.argv[1], "rb") as file:
        server.key = file.read()
    print(f"listening on port {server.server_port}", flush=True)
    server.serve_forever()
