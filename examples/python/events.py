#!/usr/bin/env python3
"""An API that prints by which trace each question is found in the broker's log. Usage: events.py [PORT]"""

import hmac
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PASSWORDS = {"ann": "green", "ben": "blue"}
TOKEN = os.environ.get("API_TOKEN")


def may_log_in(username, password):
    return PASSWORDS.get(username) == password


def may_access(username, topic):
    """Everybody has topics of their own."""
    return topic.startswith(f"users/{username}/")


def trace_id(headers):
    """The second part of `traceparent` (W3C Trace Context), which http_trace true sends."""
    parts = headers.get("traceparent", "").split("-")
    return parts[1] if len(parts) == 4 else "none"


def is_a_broker(headers):
    """With API_TOKEN set, only those are answered who send it: http_header_Authorization Bearer …"""
    expected, given = f"Bearer {TOKEN}", headers.get("Authorization", "")
    return TOKEN is None or hmac.compare_digest(given.encode(), expected.encode())


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # connections that may wait; 5 are few when a broker starts


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open

    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        about = self.path
        if not is_a_broker(self.headers):
            status = 401
        elif self.path == "/user":
            about = "login"
            status = 200 if may_log_in(question["username"], question["password"]) else 403
        elif self.path == "/acl":
            about = f"acc {question['acc']} on {question['topic']!r}"
            status = 200 if may_access(question["username"], question["topic"]) else 403
        else:
            status = 404
        print(f"{status} {question.get('username')!r} {about} trace={trace_id(self.headers)}", flush=True)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Each request has its line already."""


if __name__ == "__main__":
    server = Server(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 8000), Api)
    print(f"listening on port {server.server_port}", flush=True)
    server.serve_forever()
