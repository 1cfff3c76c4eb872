#!/usr/bin/env python3
"""An API that knows who is connected (GET /clients), and prints what it is asked and told, with the trace
by which that is found in the broker's log. Usage: events.py [PORT]"""

import hmac
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

PASSWORDS = {"ann": "green", "ben": "blue"}
TOKEN = os.environ.get("API_TOKEN")

# The clients that are connected, by their identifiers. With several brokers, have each say which it is
# (plugin_opt_http_header_X-Broker berlin), and keep a table for each.
connected = {}
lock = Lock()


def may_log_in(username, password):
    return PASSWORDS.get(username) == password


def may_access(username, topic):
    """Everybody has topics of their own."""
    return topic.startswith(f"users/{username}/")


def take(event):
    """Notes an event. They come in order, and one that comes twice changes nothing in the end."""
    reason = f" ({event['reason']})" if event["reason"] else ""
    print(f"{event['at']:.3f} {event['event']} {event['clientid']!r} of {event['username']!r}{reason}", flush=True)
    with lock:
        if event["event"] == "connected":
            connected[event["clientid"]] = event
        elif event["event"] == "disconnected":
            connected.pop(event["clientid"], None)


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
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not is_a_broker(self.headers):
            return self.answer(401)
        if self.path == "/events":
            for event in body["events"]:
                take(event)
            return self.answer(204)
        if self.path == "/user":
            about, allowed = "login", may_log_in(body["username"], body["password"])
        elif self.path == "/acl":
            about = f"acc {body['acc']} on {body['topic']!r}"
            allowed = may_access(body["username"], body["topic"])
        else:
            return self.answer(404)
        status = 200 if allowed else 403
        print(f"{status} {body['username']!r} {about} trace={trace_id(self.headers)}", flush=True)
        self.answer(status)

    def do_GET(self):
        if not is_a_broker(self.headers):
            return self.answer(401)
        if self.path != "/clients":
            return self.answer(404)
        with lock:
            clients = sorted(connected.values(), key=lambda event: event["clientid"])
        self.answer(200, json.dumps({"clients": clients}).encode())

    def answer(self, status, body=b""):
        self.send_response(status)
        if body:
            self.send_header("Content-Type", "application/json")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """What is worth a line has one already."""


if __name__ == "__main__":
    server = Server(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 8000), Api)
    print(f"listening on port {server.server_port}", flush=True)
    server.serve_forever()
