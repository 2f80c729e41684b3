"""From a change to an event: its type, its identity, its bytes. Pure."""

import json
import re
from typing import Any

from bridge import formats, stall
from bridge.diff import DIGEST_KEPT, digest_of, metadata_mark, said
from bridge.kinds import TASK, Kind, family_of, kind_of
from bridge.model import Change, Event, Notice, NoticeKind, Snapshot

IMPOSTOR_PREFIX = "status."
"""Before a status that would read as a type of ours, or as a documented status that it is not."""

ENDPOINT_PREFIX = "bridge.endpoint."
"""How the types of events about endpoints begin; such an event goes to those that ask for it by this name."""
ENDPOINT_TYPES = tuple(ENDPOINT_PREFIX + kind for kind in NoticeKind)
ENDPOINT_MEMBER = "endpoint:"
"""What stands before the endpoint's name where other events have a task's member; no task can be called so."""

ANNOUNCED = 32
"""How many different announced states of a task are remembered, to tell a return to one from a repetition."""

_NOT_A_WORD = re.compile(r"[^a-z0-9_]+")


def event_from(change: Change, task: str, *, now: int, metadata: Any = None, behind_ms: int = 0) -> Event:
    """Make the event of a change observed at `now` (milliseconds), on a clock that is behind where it has been.

    The id is a digest of what changed, so that the same change makes the same id even after Redis lost its last second
    and we find it again. A state that was announced before is news all the same; the revision that it follows goes into
    the digest then, which is its own and, unlike the clock, found again too.
    """
    event_type = type_of(change, kind_of(task))
    previous = change.previous
    revision = max(previous.revision + 1 if previous else 1, now + behind_ms)
    digest = _digest(change, task, event_type)
    returned = previous is not None and digest[:DIGEST_KEPT] in previous.announced
    identity = digest_of([digest, previous.revision]) if previous and returned else digest
    return Event(
        id=f"evt_{identity}",
        type=event_type,
        task=task,
        revision=revision,
        observed_at=now,
        digest=digest[:DIGEST_KEPT],
        body=formats.standard(event_type, task, revision, now, change, metadata),
    )


def event_of(notice: Notice, url: str | None) -> Event:
    """Make the event of a notice about an endpoint; `url` as it may be shown. The same notice makes the same id."""
    event_type = ENDPOINT_PREFIX + notice.kind
    digest = digest_of([event_type, notice.endpoint, notice.revision])
    return Event(
        id=f"evt_{digest}",
        type=event_type,
        task=ENDPOINT_MEMBER + notice.endpoint,
        revision=notice.revision,
        observed_at=notice.at,
        digest=digest[:DIGEST_KEPT],
        body=formats.endpoint_notice(event_type, notice, url),
    )


def snapshot_after(change: Change, event: Event) -> Snapshot:
    """What is known of the task once the event is committed. What the reading left out stays as it was known."""
    seen, previous, terminal = change.observation, change.previous, kind_of(event.task).terminal
    others = (digest for digest in (previous.announced if previous else ()) if digest != event.digest)
    announced = (*others, event.digest)[-ANNOUNCED:]
    status = seen.status if seen else (previous.status if previous else "")
    was_terminal = previous is not None and previous.status in terminal
    since = (previous.terminal_since if previous and was_terminal else None) or event.observed_at
    hls_status = seen.hls_status if seen else None
    digest = metadata_mark(seen) if seen else None
    keep = seen is None or seen.updated_at is None
    return Snapshot(
        status=status,
        updated_at=(previous.updated_at if previous else None) if keep or not seen else seen.updated_at,
        updated_at_text=(previous.updated_at_text if previous else None) if keep or not seen else seen.updated_at_text,
        hls_status=hls_status if hls_status is not None else (previous.hls_status if previous else None),
        system_metadata_digest=digest or (previous.system_metadata_digest if previous else None),
        revision=event.revision,
        event_id=event.id,
        announced=announced,
        terminal_since=since if status in terminal else None,
        gone=seen is None,
        from_list=seen is not None and seen.from_list,
        observed_at=event.observed_at,
    )


def type_of(change: Change, kind: Kind = TASK) -> str:
    """`index.task.<status>` when the status is news, `index.task.updated` when something else is, `index.task.gone`, or
    `index.task.stalled` when nothing is for too long; of another kind its own family stands before that.

    A filter must get what it names: upstream's own `gone` or `updated`, and a `ready?` that lost its question mark on
    the way into a type, are `index.task.status.<word>`, which no other status makes.
    """
    if change.observation is None:
        return kind.gone
    if change.stalled_since is not None:
        return kind.stalled
    if not {"status", "gone"} & set(change.changed):
        return kind.updated
    lower = change.observation.status.lower()
    word = _NOT_A_WORD.sub("_", lower).strip("_") or "unknown"
    event_type = kind.family + word
    if event_type in {kind.gone, kind.updated, kind.stalled} or (word in kind.statuses and word != lower):
        return kind.family + IMPOSTOR_PREFIX + word
    return event_type


def is_terminal(event_type: str) -> bool:
    """Whether an event's type tells a task's end."""
    kind = family_of(event_type)
    return kind is not None and (event_type == kind.gone or event_type.removeprefix(kind.family) in kind.terminal)


def is_lasting(event_type: str, body: bytes) -> bool:
    """Whether an event stays worth telling: a task's end, news after it, news of an endpoint: no later one replaces it.

    `body` is the event's own; it is looked into only for `updated`, whose type does not tell the status.
    """
    kind = family_of(event_type)
    if kind is None or event_type != kind.updated:
        return is_terminal(event_type) or event_type.startswith(ENDPOINT_PREFIX)
    try:
        status = json.loads(body)["data"]["status"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return False
    return isinstance(status, str) and status in kind.terminal


def _digest(change: Change, task: str, event_type: str) -> str:
    if change.observation is not None and change.stalled_since is not None:
        return stall.digest(change.observation, task)
    if change.observation is not None:
        return digest_of([task, event_type, *said(change.observation)])
    known = change.previous
    instant = known.updated_at.timestamp() if known and known.updated_at else None
    return digest_of([task, event_type, known and known.status, instant])
