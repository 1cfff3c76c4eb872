#!/usr/bin/env python3
"""An API that decides each topic itself, and many of them in one request: a message to a thousand
subscribers is one question. Usage: batches.py [PORT]"""

import hmac
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PASSWORDS = {"ann": "green", "ben": "blue"}
TOKEN = os.environ.get("API_TOKEN")
TEAMS = {"ann": {"kitchen", "garden"}, "ben": {"garden"}}


def may_access(question):
    """teams/NAME/… is for the members of that team."""
    teams = TEAMS.get(question["username"], set())
    levels = question["topic"].split("/")
    return levels[0] == "teams" and len(levels) > 1 and levels[1] in teams


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
        if not is_a_broker(self.headers):
            self.answer(401)
        elif self.path == "/user":
            is_right = PASSWORDS.get(question["username"]) == question["password"]
            self.answer(200 if is_right else 403)
        elif self.path == "/acl":
            self.answer(200 if may_access(question) else 403)
        elif self.path == "/acls":
            words = ["allow" if may_access(check) else "deny" for check in question["checks"]]
            self.answer(200, {"results": words})
        else:
            self.answer(404)

    def answer(self, status, body=None):
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        if status in (200, 403):
            # Answers may be kept for five minutes, whatever the plugin's cache_ttl is.
            self.send_header("Cache-Control", "max-age=300")
        if content:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


if __name__ == "__main__":
    server = Server(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 8000), Api)
    print(f"listening on port {server.server_port}", flush=True)
    server.serve_forever()
