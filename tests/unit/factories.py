"""Sentence-sized nouns: defaults, and keyword overrides."""

from datetime import UTC, datetime
from typing import Any

from bridge.model import Delivery, Endpoint, Observation, Outcome, Snapshot

START = 1_800_000_000_000


def instant(milliseconds: int) -> datetime:
    """An aware moment."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def an_observation(status: str = "indexing", at: int | None = START, **fields: Any) -> Observation:
    """A whole, believable reading of task t1, updated `at` (milliseconds)."""
    moment = None if at is None else instant(at)
    text = moment.isoformat(timespec="milliseconds") if moment else None
    defaults: dict[str, Any] = {
        "task_id": "t1",
        "status": status,
        "updated_at": moment,
        "updated_at_text": text,
        "hls_status": None,
        "system_metadata": None,
        "task": {"_id": "t1", "status": status, "updated_at": text},
    }
    return Observation(**{**defaults, **fields})


def a_snapshot(status: str = "indexing", at: int | None = START, **fields: Any) -> Snapshot:
    """What such a reading left behind."""
    moment = None if at is None else instant(at)
    defaults: dict[str, Any] = {
        "status": status,
        "updated_at": moment,
        "updated_at_text": moment.isoformat(timespec="milliseconds") if moment else None,
        "hls_status": None,
        "system_metadata_digest": None,
        "revision": 1,
        "event_id": "evt_1",
    }
    return Snapshot(**{**defaults, **fields})


def a_delivery(**fields: Any) -> Delivery:
    """A claimed delivery of a terminal event, never attempted."""
    defaults: dict[str, Any] = {
        "event_id": "evt_1",
        "endpoint": "a",
        "type": "index.task.ready",
        "task": "t1",
        "revision": 7,
        "created_at": START,
        "attempts": 0,
        "trigger": "schedule",
        "token": "x",
        "body": b"{}",
    }
    return Delivery(**{**defaults, **fields})


def an_endpoint(**fields: Any) -> Endpoint:
    """An endpoint that takes everything about index tasks."""
    return Endpoint(**{"name": "a", "url": "https://example.com/", **fields})


def an_answer(status_code: int, **fields: Any) -> Outcome:
    """An attempt that was answered."""
    return Outcome(status_code=status_code, **fields)
