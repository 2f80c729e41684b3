"""How an event is written for a subscriber. Pure; the bytes made here are what is stored, signed and sent."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from bridge.model import Change

BODY_BYTES = 65_536
"""The largest body that is sent; an upstream object that does not fit is left out, and the body says so."""

CONTENT_TYPES = {"standard": "application/json"}
"""The formats an endpoint may choose, and the content type of each."""


def standard(event_type: str, task: str, revision: int, observed_at: int, change: Change, metadata: Any) -> bytes:
    """The body in Standard Webhooks' shape: type, timestamp, data.

    A task that is gone and was never there, as after a misspelt id, is told by `never_seen`.

    Non-ASCII text is escaped, so that a receiver with any idea of character sets reads, and verifies, the same bytes.
    """
    seen, previous = change.observation, change.previous
    known = previous if seen is None else None
    data: dict[str, Any] = {
        "task_id": task,
        "status": seen.status if seen else (known.status if known else None),
        "updated_at": seen.updated_at_text if seen else (known.updated_at_text if known else None),
        "revision": revision,
        "changed": list(change.changed),
        "previous": {"status": previous.status or None, "updated_at": previous.updated_at_text} if previous else None,
        "task": seen.task if seen else None,
        "metadata": metadata,
    }
    if seen is None and previous is None:
        data["never_seen"] = True
    envelope = {"type": event_type, "timestamp": rfc3339(observed_at), "data": data}
    body = _encode(envelope)
    if len(body) > BODY_BYTES:
        data["task"], data["task_omitted"] = None, True
        body = _encode(envelope)
    return body


def notice(event_type: str, at: int, data: Mapping[str, Any]) -> bytes:
    """The body of an event that is about the bridge and not about a task, in the same shape; `at` in milliseconds."""
    return _encode({"type": event_type, "timestamp": rfc3339(at), "data": data})


def rfc3339(milliseconds: int) -> str:
    """An instant as `2026-11-01T10:00:07.950Z`."""
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


def _encode(envelope: Mapping[str, Any]) -> bytes:
    return json.dumps(envelope, separators=(",", ":"), allow_nan=False).encode("ascii")
