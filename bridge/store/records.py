"""How what is kept stands in Redis, as text and back: endpoints, options, snapshots, watched tasks."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bridge.diff import DIGEST_KEPT, parse_instant
from bridge.model import V1, Endpoint, Ordering, PreviousSecret, Snapshot, WatchedTask, WatchOptions
from bridge.store.scripts import Argument

ALL = ("*",)
REVISIONS_BELOW = 10**14
"""A revision is a time in ms, or a little more: beyond the year 5138 it is nonsense, which no other gets ahead of."""
_OPTIONAL = ("concurrency", "rate", "schedule", "supersede", "handshake")
"""Kept only where they are set: a registry that was written before there were such reads the same."""


def endpoint_to_json(endpoint: Endpoint) -> str:
    """An endpoint as kept in `bridge:registry`."""
    names = ("url", "events", "tasks", "indexes", "metadata", "secrets", "format", "ordering", "headers")
    record = {name: getattr(endpoint, name) for name in names}
    if endpoint.previous_secrets:
        record["previous_secrets"] = [asdict(one) for one in endpoint.previous_secrets]
    if endpoint.signatures != (V1,):
        record["signatures"] = endpoint.signatures
    return json.dumps(
        record | {name: value for name in _OPTIONAL if (value := getattr(endpoint, name))}, sort_keys=True
    )


def endpoint_from_json(name: str, text: bytes | str) -> Endpoint:
    """The reverse of `endpoint_to_json`."""
    record = json.loads(text)
    lists = {key: tuple(record[key]) for key in ("events", "tasks", "secrets")}
    return Endpoint(
        name=name,
        url=record["url"],
        format=record["format"],
        ordering=Ordering(record["ordering"]),
        headers=record["headers"],
        previous_secrets=tuple(
            PreviousSecret(one["secret"], one["until"]) for one in record.get("previous_secrets", ())
        ),
        indexes=tuple(record.get("indexes", ALL)),
        metadata={field: tuple(words) for field, words in record.get("metadata", {}).items()},
        concurrency=record.get("concurrency"),
        rate=record.get("rate"),
        schedule=tuple(record.get("schedule", ())),
        supersede=record.get("supersede") is True,
        signatures=tuple(record.get("signatures", (V1,))),
        handshake=record.get("handshake") is True,
        **lists,
    )


def options_to_json(options: WatchOptions) -> str:
    """A task's options as kept beside its watch: those that it has."""
    named = {
        "metadata": options.metadata,
        "endpoints": options.endpoints,
        "callback": options.callback,
        "account": None if options.account == "default" else options.account,
        "expires_at": options.expires_at,
        "traceparent": options.traceparent,
    }
    return json.dumps({name: value for name, value in named.items() if value is not None})


def options_from_json(text: bytes | str | None) -> WatchOptions:
    """The reverse of `options_to_json`."""
    record: dict[str, Any] = json.loads(text) if text else {}
    names = record.get("endpoints")
    return WatchOptions(
        metadata=record.get("metadata"),
        endpoints=None if names is None else tuple(names),
        callback=record.get("callback"),
        expires_at=record.get("expires_at"),
        account=record.get("account", "default"),
        traceparent=record.get("traceparent"),
    )


def snapshot_from_fields(fields: Sequence[bytes | None]) -> Snapshot | None:
    """A snapshot from the values of its fields, in the order that `claim_tasks.lua` reads them."""
    status, updated, hls, digest, revision, event_id, announced, since, gone, listed, observed = (
        None if value is None else value.decode() for value in fields
    )
    if revision is None:
        return None
    if not 0 <= int(revision) < REVISIONS_BELOW:
        raise ValueError(revision)
    told = (announced or "").split() or _told_by(event_id or "")
    return Snapshot(
        status=status or "",
        updated_at=parse_instant(updated) if updated else None,
        updated_at_text=updated or None,
        hls_status=hls or None,
        system_metadata_digest=(digest or "")[:DIGEST_KEPT] or None,
        revision=int(revision),
        event_id=event_id or "",
        announced=tuple(told),
        terminal_since=int(since) if since else None,
        gone=gone == "1",
        from_list=listed == "1",
        observed_at=int(observed or revision),
    )


def _told_by(event_id: str) -> list[str]:
    """The digest of the state that an event tells, as its id says it of one that was never announced before."""
    return [event_id.removeprefix("evt_")[:DIGEST_KEPT]] if event_id else []


def snapshot_fields(snapshot: Snapshot, observed_at: int) -> list[Argument]:
    """Snapshots are kept for every task that ever was, so what another field says is left empty, as what is unknown."""
    told = list(snapshot.announced)
    return [
        "status", snapshot.status,
        "updated_at", snapshot.updated_at_text or "",
        "hls_status", snapshot.hls_status or "",
        "system_metadata_digest", snapshot.system_metadata_digest or "",
        "revision", snapshot.revision,
        "event_id", snapshot.event_id,
        "announced", "" if told == _told_by(snapshot.event_id) else " ".join(told),
        "terminal_since", or_empty(snapshot.terminal_since),
        "gone", "1" if snapshot.gone else "",
        "listed", "1" if snapshot.from_list else "",
        "observed_at", "" if observed_at == snapshot.revision else observed_at,
    ]  # fmt: skip


def watched_task(entry: Sequence[Any], token: str, *, behind_ms: int) -> WatchedTask:
    member, due, watch, snapshot = entry
    options, announce, faults, absences, absent_since, doubt, doubted_at, relied = watch
    return WatchedTask(
        member=member.decode(),
        token=token,
        options=options_from_json(options),
        snapshot=snapshot_from_fields(snapshot),
        announce=announce == b"1",
        faults=int(faults or 0),
        absences=int(absences or 0),
        absent_since=int(absent_since) if absent_since else None,
        doubt=doubt.decode() if doubt else None,
        doubted_at=int(doubted_at) if doubted_at else None,
        due_at=int(float(due)),
        behind_ms=behind_ms,
        relied_at=int(relied) if relied else None,
    )


def as_text(value: bytes | str | None) -> str:
    """What Redis replied, as text; empty for nothing."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else (value or "")


def as_bytes(value: object) -> bytes:
    """What Redis replied, raw."""
    return value if isinstance(value, bytes) else str(value).encode()


def or_empty(value: int | None) -> Argument:
    return "" if value is None else value
