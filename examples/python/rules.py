#!/usr/bin/env python3
"""An API that is asked once per session: the answer to the login says what the client may do, until
when, and whether it may do everything. Usage: rules.py [PORT]"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USERS = {
    "ann": {"password": "green", "is_superuser": False},
    "root": {"password": "black", "is_superuser": True},
}

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


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = json.dumps(login(question["username"], question["password"])).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 8000), Api)
    print(f"listening on port {server.server_port}", flush=True)
    server.serve_forever()
