"""How an event is written for a subscriber. Pure.

What `standard` makes is stored, once, and shared by all endpoints. Every other format is made from those bytes and the
event's id alone, so that each attempt sends, and signs, the same bytes again.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from bridge import cloudevents
from bridge.errors import BridgeError
from bridge.model import Change, Notice, NoticeKind

BODY_BYTES = 65_536
"""The largest body that is sent; an upstream object that does not fit is left out, and the body says so."""

STANDARD, TWELVELABS = "standard", "twelvelabs"
CLOUDEVENTS, CLOUDEVENTS_BINARY = "cloudevents", "cloudevents-binary"
CONTENT_TYPES = {
    STANDARD: "application/json",
    TWELVELABS: "application/json",
    CLOUDEVENTS: cloudevents.CONTENT_TYPE,
    CLOUDEVENTS_BINARY: cloudevents.DATA_CONTENT_TYPE,
}
"""The formats an endpoint may choose, and the content type of each."""

WILDCARD_TYPES: Mapping[str, frozenset[str]] = {TWELVELABS: frozenset({"index.task.ready", "index.task.failed"})}
"""What the patterns with a star stand for where the receivers were written for these types and know no others."""


class Unwritable(BridgeError):
    """An event cannot be written in the format of its endpoint."""


def standard(event_type: str, task: str, revision: int, observed_at: int, change: Change, metadata: Any) -> bytes:
    """The body in Standard Webhooks' shape: type, timestamp, data.

    A task that is gone and was never there, as after a misspelt id, is told by `never_seen`; of one that has stalled,
    `stalled_since` says since when it has stood still.

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
    if change.stalled_since is not None:
        data["stalled_since"] = rfc3339(change.stalled_since)
    envelope = {"type": event_type, "timestamp": rfc3339(observed_at), "data": data}
    body = _encode(envelope)
    if len(body) > BODY_BYTES:
        data["task"], data["task_omitted"] = None, True
        body = _encode(envelope)
    return body


def notice(event_type: str, at: int, data: Mapping[str, Any]) -> bytes:
    """The body of an event that is about the bridge and not about a task, in the same shape; `at` in milliseconds."""
    return _encode({"type": event_type, "timestamp": rfc3339(at), "data": data})


class Message(NamedTuple):
    """An event as it is sent: its body, and what its format says in headers instead, the content type apart."""

    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


def rendered(form: str, event_id: str, stored: bytes) -> Message:
    """What an attempt sends, from the body that is stored.

    Raises Unwritable for a format that this version does not know, and for stored bytes that are no event.
    """
    if form not in CONTENT_TYPES:
        raise unknown(form)
    if form == STANDARD:
        if stored[:1] != b"{":
            raise _no_event(event_id, form)
        return Message(stored)
    try:
        event = json.loads(stored)
        if form == TWELVELABS:
            return Message(_encode(_twelvelabs(event_id, event)))
        return _cloudevent(event_id, event, binary=form == CLOUDEVENTS_BINARY)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise _no_event(event_id, form) from None


def _no_event(event_id: str, form: str) -> Unwritable:
    return Unwritable(
        f"the stored body of {event_id} is no event, so it cannot be written in the format {form}",
        fix="somebody wrote over bridge:event:<id>: cancel the delivery",
    )


def unknown(form: str) -> Unwritable:
    """The refusal of a format that this version does not know: a newer one registered the endpoint."""
    return Unwritable(
        f"this worker does not know the format “{form[:64]}”",
        fix="run the same version of the bridge everywhere; what is owed waits",
    )


def _twelvelabs(event_id: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """The envelope of TwelveLabs' own webhooks: its fields, in their order, and none beside them.

    The id is the event's, so that a retry and a replay repeat it. Neither the models nor the tags are in what is
    polled: both lists are empty. TwelveLabs has no word for a task that is gone; its status is `gone` then.
    Source: docs.twelvelabs.io, "Response schema" of the webhooks.
    """
    data, stamp = event["data"], event["timestamp"]
    task = data["task"]
    metadata = task.get("system_metadata") if task else None
    return {
        "id": "whe_" + event_id.removeprefix("evt_"),
        "created_at": stamp.removesuffix("Z") + "000Z",  # microseconds, as there
        "type": event["type"],
        "data": {
            "id": data["task_id"],
            "metadata": metadata if isinstance(metadata, dict) else {},
            "status": data["status"] if task or data.get("task_omitted") else "gone",
            "models": [],
            "tags": [],
        },
    }


def _cloudevent(event_id: str, event: Mapping[str, Any], *, binary: bool) -> Message:
    """The event in CloudEvents 1.0: structured, all in one JSON object, or binary, the data alone in the body.

    What would be too long in the structured mode is left out of both, so that both say the same; in the binary mode
    that keeps body and headers together below what intermediaries have to pass on, too.
    """
    attributes, data = cloudevents.attributes(event_id, event), event["data"]
    whole = _encode({**attributes, "data": data})
    if len(whole) > BODY_BYTES:
        data = {**data, "task": None, "task_omitted": True}
        whole = _encode({**attributes, "data": data})
    return Message(_encode(data), cloudevents.headers(attributes)) if binary else Message(whole)


def endpoint_notice(event_type: str, notice: Notice, url: str | None) -> bytes:
    """The body of a notice about an endpoint, in the same shape. `url` as it may be shown."""
    lasted = notice.at - notice.failing_since
    window = notice.window_ms
    ends = {NoticeKind.DISABLED: notice.at, NoticeKind.FAILING: notice.failing_since + window}.get(notice.kind)
    data: dict[str, Any] = {
        "endpoint": notice.endpoint,
        "url": url,
        "reason": notice.reason or str(notice.kind),
        "failures": notice.failures,
        "failing_since": rfc3339(notice.failing_since),
        "share": round(lasted / window, 3) if window else None,
        "percent": notice.percent,
        "status_code": notice.status_code,
        "fault": notice.fault,
        "disabled_at": None if ends is None else rfc3339(ends),
    }
    return _encode({"type": event_type, "timestamp": rfc3339(notice.at), "data": data})


def rfc3339(milliseconds: int) -> str:
    """An instant as `2026-11-01T10:00:07.950Z`."""
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


def _encode(envelope: Mapping[str, Any]) -> bytes:
    return json.dumps(envelope, separators=(",", ":"), allow_nan=False).encode("ascii")
