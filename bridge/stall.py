"""When a task on its way has stood still for longer than its length explains. Pure: the time is an argument."""

from bridge.diff import DIGEST_KEPT, digest_of
from bridge.kinds import kind_of
from bridge.model import Change, Observation, Snapshot

WAITING = frozenset({"pending", "queued"})
"""Where a task waits for others, and nothing is done about it …"""
WAITING_FACTOR = 12
"""… so many times as long."""
LONGEST_SECONDS = 1e7
"""A longer video is nonsense."""


def stall(snapshot: Snapshot, seen: Observation, member: str, *, patience_ms: int, now: int) -> Change | None:
    """The change that there is none, if that is news: a stall is told once.

    It has stood still since we saw it move: by our clock alone, as times of upstream's in the wrong zone must not make
    a stall of every task. Indexing takes less than half of a video's length, so nothing is a stall that has not lasted
    as long as the video. `patience_ms` 0: nothing is.
    """
    since = snapshot.observed_at
    if not patience_ms or since is None or snapshot.gone or seen.status in kind_of(member).terminal:
        return None
    if seen.system_metadata is None and snapshot.system_metadata_digest:
        return None  # a row of a list, which does not say how long the video lasts
    patience = max(patience_ms, length_ms(seen)) * (WAITING_FACTOR if seen.status in WAITING else 1)
    if now - since < patience or digest(seen, member)[:DIGEST_KEPT] in snapshot.announced:
        return None
    return Change(seen, snapshot, ("stalled",), stalled_since=since)


def digest(seen: Observation, member: str) -> str:
    """What makes a stall this one: where, and since when. What else is known of the task may change meanwhile."""
    kind = kind_of(member)
    instant = seen.updated_at.timestamp() if kind.marker and seen.updated_at is not None else None
    return digest_of([member, kind.stalled, seen.status, instant])


def length_ms(seen: Observation) -> int:
    """How long the video lasts; 0 where that is not known."""
    duration = (seen.system_metadata or {}).get("duration")
    if not isinstance(duration, int | float) or not 0 < duration < LONGEST_SECONDS:
        return 0
    return int(duration * 1000)
