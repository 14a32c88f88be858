#!/usr/bin/env python3
"""A model server in fifty lines, for docs/routing.md: V2 over REST, standard library only.

usage: python3 samples/routing/server.py [PORT]      (prints the address it listens on)

triage       AMOUNT -> a tensor called SMALL or one called LARGE, never both: that is the decision
quick-check  SMALL -> RISK by a rule of thumb
full-check   LARGE -> RISK by a longer look
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LIMIT = 1000


def triage(amount):
    return "SMALL" if amount < LIMIT else "LARGE", amount


def quick_check(amount):
    return "RISK", amount / (10 * LIMIT)


def full_check(amount):
    return "RISK", min(1, 0.25 + amount / (50 * LIMIT))


MODELS = {"triage": triage, "quick-check": quick_check, "full-check": full_check}


class V2(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer leaves in one piece

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        parts = self.path.strip("/").split("/")
        known = parts == ["v2", "health", "ready"] or (parts[:2] == ["v2", "models"] and parts[2] in MODELS)
        self.answer(200 if known else 404, {} if known else {"error": "there is nothing here"})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        model = self.path.split("/")[3]
        name, value = MODELS[model](body["inputs"][0]["data"][0])
        self.answer(200, {"model_name": model, "outputs": [{"name": name, "datatype": "FP32", "shape": [1], "data": [value]}]})

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8085), V2)
print("ready rest=127.0.0.1:%d" % server.server_port, flush=True)
server.serve_forever()
