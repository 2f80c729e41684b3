"""A receiver of TwelveLabs' own webhooks, written to their documentation; Bridge's `--format twelvelabs` speaks to it.

    HOOK_SECRET=… python twelvelabs_receiver.py

HOOK_SECRET is the text that “Reveal Secret” shows. PORT (3000) is where it listens, on this machine only: put your TLS
proxy before it. HOOK_STATE (hooks.db) is what it remembers, in SQLite.
"""

import hashlib
import hmac
import json
import os
import sqlite3
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = os.environ["HOOK_SECRET"].encode()
STATE = os.environ.get("HOOK_STATE", "hooks.db")
TOLERANCE_SECONDS = 300
BODY_BYTES = 65_536


def why_not(header: str, body: bytes, now: float) -> str | None:
    """None if TwelveLabs, or Bridge in its place, sent us this about now; else what is wrong."""
    parts = dict(part.split("=", 1) for part in header.split(",") if "=" in part)
    timestamp, signature = parts.get("t", ""), parts.get("v1", "")
    if not (timestamp.isdecimal() and timestamp.isascii() and len(timestamp) <= 12):
        return "timestamp"
    if abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        return "timestamp"
    good = hmac.new(SECRET, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return None if hmac.compare_digest(good.encode(), signature.encode("latin-1")) else "signature"


def is_new(notification_id: str, now: float) -> bool:
    """Remember a notification; False if it is known: a retry repeats the id."""
    with closing(sqlite3.connect(STATE)) as db, db:
        return bool(db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (notification_id, int(now))).rowcount)


class Hook(BaseHTTPRequestHandler):
    """Answers 204 once the notification is remembered, and before anything is done about it."""

    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not (length.isdecimal() and int(length[:9]) <= BODY_BYTES):
            self.close_connection = True
            return self.answer(413)
        body = self.rfile.read(int(length))  # the raw bytes, before anything parses them
        now = time.time()
        if reason := why_not(self.headers.get("TL-Signature", ""), body, now):
            print("refused", reason, flush=True)
            return self.answer(401)
        notification = json.loads(body)
        verdict = "applied" if is_new(notification["id"], now) else "repeat"
        data = notification["data"]
        print(verdict, notification["type"], data["id"], data["status"], data["metadata"].get("duration"), flush=True)
        return self.answer(204)

    def answer(self, status: int) -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """What counts is printed above."""


if __name__ == "__main__":
    with closing(sqlite3.connect(STATE)) as database:
        database.execute("CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY, at INTEGER NOT NULL)")
    ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "3000"))), Hook).serve_forever()
