"""A receiver in Python's standard library: verifies, drops repeats, keeps the highest revision of each task.

    HOOK_SECRET=whsec_… python stdlib_receiver.py

PORT (3000) is where it listens, on this machine only: put your TLS proxy before it. HOOK_STATE (hooks.db) is what it
remembers, in SQLite.
"""

import base64
import hashlib
import hmac
import json
import os
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = base64.b64decode(os.environ["HOOK_SECRET"].removeprefix("whsec_"))
STATE = os.environ.get("HOOK_STATE", "hooks.db")
PATH = "/hook"
TOLERANCE_SECONDS = 300
BODY_BYTES = 65_536
KEEP_SECONDS = 30 * 86_400  # an event is tried for four days, and may be replayed after that

SCHEMA = """
CREATE TABLE IF NOT EXISTS seen (event_id TEXT PRIMARY KEY, at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS tasks (task_id TEXT PRIMARY KEY, revision INTEGER NOT NULL, status TEXT);
"""


def why_not(headers: Message, body: bytes, now: float) -> str | None:
    """None if we were sent this, about now; else what is wrong."""
    event_id, timestamp, signatures = (headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if not (timestamp.isdecimal() and timestamp.isascii() and len(timestamp) <= 12):
        return "timestamp"
    if abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        return "timestamp"
    signed = f"{event_id}.{timestamp}.".encode("latin-1") + body
    good = b"v1," + base64.b64encode(hmac.digest(KEY, signed, hashlib.sha256))
    # While a secret is rotated there are two signatures; ours is one of them.
    if not any(hmac.compare_digest(good, one.encode("latin-1")) for one in signatures.split()):
        return "signature"
    return None


def take(event_id: str, event: Mapping[str, Any], now: float) -> str:
    """Remember the event and what it says, both or neither. What takes long goes into a queue, in this transaction."""
    data = event["data"]
    with closing(sqlite3.connect(STATE)) as db, db:
        db.execute("DELETE FROM seen WHERE at < ?", (int(now) - KEEP_SECONDS,))
        if not db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (event_id, int(now))).rowcount:
            return "repeat"
        if "task_id" not in data:
            return "ignored"  # a type that we do not know: there will be more of them
        newer = db.execute(
            "INSERT INTO tasks VALUES (?, ?, ?) ON CONFLICT (task_id) DO UPDATE SET"
            " revision = excluded.revision, status = excluded.status WHERE excluded.revision > revision",
            (data["task_id"], data["revision"], data["status"]),
        )
        return "applied" if newer.rowcount else "older"


class Hook(BaseHTTPRequestHandler):
    """Answers 204 once the event is remembered, and before anything is done about it."""

    protocol_version = "HTTP/1.1"  # connections are kept
    timeout = 60

    def do_POST(self) -> None:
        if self.path.partition("?")[0] != PATH:
            print("refused", "path", json.dumps(self.path), flush=True)
            return self.answer(404)
        length = self.headers.get("content-length", "")
        if not (length.isdecimal() and int(length[:9]) <= BODY_BYTES):
            return self.answer(413)
        body = self.rfile.read(int(length))  # the raw bytes, before anything parses them
        now = time.time()
        if reason := why_not(self.headers, body, now):
            print("refused", reason, flush=True)
            return self.answer(401)
        event = json.loads(body)
        verdict = take(self.headers["webhook-id"], event, now)
        about = [event["data"][one] for one in ("task_id", "revision") if one in event["data"]]
        print(verdict, event["type"], *about, flush=True)
        return self.answer(204)

    def answer(self, status: int) -> None:
        self.send_response(status)
        if status in (404, 413):
            self.send_header("connection", "close")  # the body is not read
        if status != 204:
            self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """What counts is printed above."""


if __name__ == "__main__":
    with closing(sqlite3.connect(STATE)) as database:
        database.executescript(SCHEMA)
    ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "3000"))), Hook).serve_forever()
