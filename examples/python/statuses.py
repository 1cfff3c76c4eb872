#!/usr/bin/env python3
"""The smallest API: a status answers, 200 for yes and 403 for no. Usage: statuses.py [PORT]"""

import hmac
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PASSWORDS = {"ann": "green", "ben": "blue"}
TOKEN = os.environ.get("API_TOKEN")
READ, WRITE, SUBSCRIBE = 1, 2, 4


def may_log_in(username, password):
    return PASSWORDS.get(username) == password


def may_access(username, topic, acc):
    """Everybody reads what is public, and has topics of their own."""
    if topic.startswith("public/"):
        return acc in (READ, SUBSCRIBE)
    return topic.startswith(f"users/{username}/")


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # connections that may wait; 5 are few when a broker starts


def is_a_broker(headers):
    """With API_TOKEN set, only those are answered who send it: http_header_Authorization Bearer …"""
    expected, given = f"Bearer {TOKEN}", headers.get("Authorization", "")
    return TOKEN is None or hmac.compare_digest(given.encode(), expected.encode())


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open

    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not is_a_broker(self.headers):
            status = 401
        elif self.path == "/user":
            status = 200 if may_log_in(question["username"], question["password"]) else 403
        elif self.path == "/acl":
            allowed = may_access(question["username"], question["topic"], question["acc"])
            status = 200 if allowed else 403
        else:
            status = 404
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


if __name__ == "__main__":
    server = Server(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 8000), Api)
    print(f"listening on port {server.server_port}", flush=True)
    server.serve_forever()
