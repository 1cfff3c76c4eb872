#!/usr/bin/env python3
"""Stands in for Home Assistant's Supervisor, as far as /auth goes. Usage: supervisor.py [PORT]"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl

# Users of Home Assistant.
PASSWORDS = {"ann": "green", "ben": "blue"}
TOKEN = os.environ["SUPERVISOR_TOKEN"]


class Server(ThreadingHTTPServer):
    request_queue_size = 128


class Supervisor(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def login(self, body):
        """As the Supervisor's own api/auth.py: JSON or a form, by just this media type."""
        read = {"application/json": json.loads, "application/x-www-form-urlencoded": lambda text: dict(parse_qsl(text))}
        fields = read.get(self.headers["Content-Type"], lambda text: {})(body)
        username = fields.get("username") or fields.get("user")
        return username is not None and PASSWORDS.get(username) == fields.get("password")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.headers.get("X-Supervisor-Token") != TOKEN:
            status, answer = 401, {}
        elif self.path != "/auth":
            status, answer = 404, {}
        elif self.login(body):
            status, answer = 200, {"result": "ok", "data": {}}
        else:
            status, answer = 401, {"result": "error", "message": "Unauthorized"}
        answer = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


if __name__ == "__main__":
    server = Server(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 8000), Supervisor)
    print(f"listening on port {server.server_port}", flush=True)
    server.serve_forever()
