"""A receiver in FastAPI: verifies, drops repeats, keeps the highest revision of each task.

    pip install fastapi uvicorn standardwebhooks
    HOOK_SECRET=whsec_… uvicorn fastapi_receiver:app --port 3000

HOOK_STATE (hooks.db) is what it remembers, in SQLite; several processes may share it.
"""

import json
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

STATE = os.environ.get("HOOK_STATE", "hooks.db")
BODY_BYTES = 65_536
KEEP_SECONDS = 30 * 86_400  # an event is tried for four days, and may be replayed after that

SCHEMA = """
CREATE TABLE IF NOT EXISTS seen (event_id TEXT PRIMARY KEY, at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS tasks (task_id TEXT PRIMARY KEY, revision INTEGER NOT NULL, status TEXT);
"""

webhook = Webhook(os.environ["HOOK_SECRET"])


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    with closing(sqlite3.connect(STATE)) as db:
        db.executescript(SCHEMA)
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/hook")
async def hook(request: Request) -> Response:
    """Answers 204 once the event is remembered, and before anything is done about it."""
    body = b""  # the raw bytes: a Pydantic model as parameter would have parsed what has to be verified first
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES:
            return Response(status_code=413)
    try:
        webhook.verify(body, dict(request.headers))
    except (WebhookVerificationError, ValueError) as error:  # ValueError: a header that holds no signature at all
        print("refused", str(error) if isinstance(error, WebhookVerificationError) else "signature", flush=True)
        return Response(status_code=401)
    event = json.loads(body)
    verdict = await run_in_threadpool(take, request.headers["webhook-id"], event)
    about = [event["data"][one] for one in ("task_id", "revision") if one in event["data"]]
    print(verdict, event["type"], *about, flush=True)
    return Response(status_code=204)


def take(event_id: str, event: Mapping[str, Any]) -> str:
    """Remember the event and what it says, both or neither. What takes long goes into a queue, in this transaction."""
    data, now = event["data"], int(time.time())
    with closing(sqlite3.connect(STATE)) as db, db:
        db.execute("DELETE FROM seen WHERE at < ?", (now - KEEP_SECONDS,))
        if not db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (event_id, now)).rowcount:
            return "repeat"
        if "task_id" not in data:
            return "ignored"  # a type that we do not know: there will be more of them
        newer = db.execute(
            "INSERT INTO tasks VALUES (?, ?, ?) ON CONFLICT (task_id) DO UPDATE SET"
            " revision = excluded.revision, status = excluded.status WHERE excluded.revision > revision",
            (data["task_id"], data["revision"], data["status"]),
        )
        return "applied" if newer.rowcount else "older"
