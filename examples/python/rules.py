#!/usr/bin/env python3
"""An API that is asked once per session: the answer to the login says what the client may do, until
when, and whether it may do everything. Usage: rules.py [PORT]"""

import hmac
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USERS = {
    "ann": {"password": "green", "is_superuser": False},
    "root": {"password": "black", "is_superuser": True},
}

TOKEN = os.environ.get("API_TOKEN")

# The first rule that matches decides; what none matches is denied.
RULES = [
    {"permission": "deny", "action": "all", "topic": "users/${username}/locked/#"},
    {"permission": "allow", "action": "all", "topic": "users/${username}/#"},
    {"permission": "allow", "action": "publish", "topic": "devices/${clientid}/up/#"},
    {"permission": "allow", "action": "subscribe", "topic": "devices/${clientid}/down/#"},
    {"permission": "allow", "action": "subscribe", "topic": "public/#", "qos": [0, 1]},
]


def login(username, password):
    user = USERS.get(username)
    if user is None or user["password"] != password:
        return {"result": "deny"}
    return {
        "result": "allow",
        "is_superuser": user["is_superuser"],
        "acl": RULES,
        # In an hour the client is asked about again, and stays if the answer is yes.
        "expire_at": int(time.time()) + 3600,
        # For a minute the same login is let in without a question.
        "ttl": 60,
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
        status, answer = 200, b""
        if not is_a_broker(self.headers):
            status = 401
        elif self.path != "/user":
            status = 404
        else:
            answer = json.dumps(login(question["username"], question["password"])).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


if __name__ == "__main__":
    server = Server(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 8000), Api)
    print(f"listening on port {server.server_port}", flush=True)
    server.serve_forever()
