#!/usr/bin/env python3
"""The smallest API: a status answers, 200 for yes and 403 for no. Usage: statuses.py [PORT]"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PASSWORDS = {"ann": "green", "ben": "blue"}
READ, WRITE, SUBSCRIBE = 1, 2, 4


def may_log_in(username, password):
    return PASSWORDS.get(username) == password


def may_access(username, topic, acc):
    """Everybody reads what is public, and has topics of their own."""
    if topic.startswith("public/"):
        return acc in (READ, SUBSCRIBE)
    return topic.startswith(f"users/{username}/")


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open

    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/user":
            allowed = may_log_in(question["username"], question["password"])
        elif self.path == "/acl":
            allowed = may_access(question["username"], question["topic"], question["acc"])
        else:
            allowed = False
        self.send_response(200 if allowed else 403)
        self.send_header("Content-Length", "0")
        self.end_headers()


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 8000), Api)
    print(f"listening on port {server.server_port}", flush=True)
    server.serve_forever()
