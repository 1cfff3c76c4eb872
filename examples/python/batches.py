#!/usr/bin/env python3
"""An API that decides each topic itself, and many of them in one request: a message to a thousand
subscribers is one question. Usage: batches.py [PORT]"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PASSWORDS = {"ann": "green", "ben": "blue"}
TEAMS = {"ann": {"kitchen", "garden"}, "ben": {"garden"}}


def may_access(question):
    """teams/NAME/… is for the members of that team."""
    teams = TEAMS.get(question["username"], set())
    levels = question["topic"].split("/")
    return levels[0] == "teams" and len(levels) > 1 and levels[1] in teams


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/user":
            self.answer(PASSWORDS.get(question["username"]) == question["password"])
        elif self.path == "/acl":
            self.answer(may_access(question))
        elif self.path == "/acls":
            words = ["allow" if may_access(check) else "deny" for check in question["checks"]]
            self.answer(True, {"results": words})
        else:
            self.answer(False)

    def answer(self, allowed, body=None):
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(200 if allowed else 403)
        # Answers may be kept for five minutes, whatever the plugin's cache_ttl is.
        self.send_header("Cache-Control", "max-age=300")
        if content:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 8000), Api)
    print(f"listening on port {server.server_port}", flush=True)
    server.serve_forever()
