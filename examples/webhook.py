"""Receives signed webhooks: WEBHOOK_SECRET=whsec_… python3 webhook.py 9000"""
import base64
import hashlib
import hmac
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
seen = set()  # of a real receiver: a table in its database


def is_ours(headers, body):
    """Whether pingbox signed this body, in the last five minutes (Standard Webhooks)."""
    name, sent = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not sent.isdecimal() or abs(time.time() - int(sent)) > 300:
        return False
    digest = hmac.digest(KEY, f"{name}.{sent}.".encode() + body, hashlib.sha256)
    wanted = b"v1," + base64.b64encode(digest)
    # While a secret is exchanged there are two signatures, with a space between.
    given = headers.get("webhook-signature", "").encode().split(b" ")
    return any([hmac.compare_digest(wanted, one) for one in given])


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))  # as it came, before anything parses it
        if not is_ours(self.headers, body):
            return self.reply(401)
        name = self.headers["webhook-id"]
        if name not in seen:  # the same message may come more than once
            seen.add(name)
            event = json.loads(body)
            print(event["type"], event["data"]["id"], (event["data"]["answer"] or {}).get("text"), flush=True)
        self.reply(204)

    def reply(self, status):
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
