"""What counts as a change. Pure: the whole meaning of "changed", and of the answers that are not believed at once."""

import json
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, Protocol

from bridge.kinds import TASK, Kind
from bridge.model import STAGES, TERMINAL_HLS_STATUSES, TERMINAL_STATUSES, Change, Observation, Snapshot

DOUBT_MS = 1_000
"""A doubted reading is believed when a reading at least this much later says the same."""

TAKEN_BACK_MS = 60_000
"""What a row of upstream's list said is taken back when the task, read by id, has said something older for so long."""

SECOND = timedelta(seconds=1)
"""Where one time shows whole seconds and the other more, however it was cut, less than this between them is nothing."""

FUTURE_MS = 24 * 3_600_000
"""An `updated_at` further ahead of our clock than this is unknown, as an unreadable one: nothing was updated then."""

AHEAD_MS = 3_600_000
"""Clocks may differ by up to an hour. A known `updated_at` further ahead of ours makes an older reading doubtful, not
stale: a time in the wrong zone must not silence a task for hours."""

HLS_PATIENCE_MS = 24 * 3_600_000
"""How long after a terminal status a task is still watched because its HLS stream is not finished."""

GONE_ANSWERS = 3
"""How many answers in a row must say that a task does not exist …"""
GONE_MS = 60_000
"""… and over how long a time, before we believe it."""

DIGEST_KEPT = 16
"""So many characters of a digest a snapshot keeps: of the states that were announced, and of `system_metadata`."""

_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:?\d\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The reading says what the snapshot says."""


@dataclass(frozen=True, slots=True)
class Stale:
    """The reading is older than the snapshot (a lagging replica upstream): ignored."""


@dataclass(frozen=True, slots=True)
class Doubtful:
    """The reading is unlikely enough to ask again before telling anybody; `why` says it to a person."""

    fingerprint: str
    why: str
    lasting_ms: int = DOUBT_MS
    """It is believed when a reading so much later says the same."""


class Dated(Protocol):
    """What says when a task was updated, and how exactly it says so."""

    @property
    def updated_at(self) -> datetime | None: ...
    @property
    def updated_at_text(self) -> str | None: ...


Verdict = Change | Unchanged | Stale | Doubtful


def diff(
    snapshot: Snapshot | None,
    observation: Observation,
    *,
    doubt: str | None = None,
    doubted_at: int | None = None,
    now: int,
    kind: Kind = TASK,
) -> Verdict:
    """Compare a reading with the last committed one.

    `doubt` is the fingerprint of the reading before, if that was doubtful, and `doubted_at` when it was made
    (milliseconds, as `now`). Instants are compared, never their text: upstream writes the same one in several ways.
    """
    future = _is_ahead(observation.updated_at, FUTURE_MS, now)
    if future:
        observation = replace(observation, updated_at=None)
    older = snapshot is not None and order(observation, snapshot) < 0
    lasting, why = DOUBT_MS, ""
    if older and snapshot and not _is_ahead(snapshot.updated_at, AHEAD_MS, now):
        if not snapshot.from_list or observation.from_list:
            return Stale()
        if observation.status == snapshot.status:
            return Unchanged()
        lasting, why = TAKEN_BACK_MS, "it is older than what upstream's list said"
    changed = _changed_fields(snapshot, observation)
    if not changed:
        return Unchanged()
    if older:
        why = why or "it is older than what was known, whose time has not come yet"
    if why := why or _doubt(snapshot, observation, kind, future=future):
        fingerprint = digest_of(said(observation))
        agreed = doubt == fingerprint and doubted_at is not None and now - doubted_at >= lasting
        if not agreed:
            return Doubtful(fingerprint, why, lasting)
    return Change(observation=observation, previous=snapshot, changed=changed)


def order(one: Dated, other: Dated) -> int:
    """1 if `one` was updated after `other`, -1 if before, 0 if neither is sure.

    Not sure is also what is within a second where one side shows whole seconds and the other side more: upstream's list
    and its tasks may show the same instant differently.
    """
    if one.updated_at is None or other.updated_at is None:
        return 0
    apart = one.updated_at - other.updated_at
    if _is_coarse(one) != _is_coarse(other) and abs(apart) < SECOND:
        return 0
    return (apart > timedelta()) - (apart < timedelta())


def is_onward(known: str, seen: str) -> bool:
    """Whether a status comes after another one in a task's documented life; of what is not documented, nothing does."""
    later = len(STAGES) if seen in TERMINAL_STATUSES else STAGES.get(seen, -1)
    return known in STAGES and later > STAGES[known]


def gone(snapshot: Snapshot | None) -> Change | Unchanged:
    """What a confirmed absence means: one change, and none if it was announced before."""
    if snapshot and snapshot.gone:
        return Unchanged()
    return Change(observation=None, previous=snapshot, changed=("gone",))


def is_gone(absences: int, absent_since: int, now: int) -> bool:
    """Whether this many answers in a row, the first at `absent_since`, are enough to believe that a task is gone."""
    return absences >= GONE_ANSWERS and now - absent_since >= GONE_MS


def is_finished(status: str, hls_status: str | None, terminal_since: int | None, now: int, kind: Kind = TASK) -> bool:
    """Whether nothing more is to come of a task: its status is terminal and its HLS stream is settled or given up."""
    if status not in kind.terminal:
        return False
    if hls_status is None or hls_status in TERMINAL_HLS_STATUSES:
        return True
    return terminal_since is not None and now - terminal_since >= HLS_PATIENCE_MS


def parse_instant(text: str) -> datetime | None:
    """Read an RFC 3339 timestamp with 0-9 fraction digits and any offset; None if it is not one.

    Digits beyond the microsecond are dropped: upstream documents seconds and shows milliseconds.
    """
    if not _INSTANT.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text.upper().replace(" ", "T"))
    except ValueError:
        return None


def digest_of(value: object) -> str:
    """A short, stable digest of a JSON value, whatever the order of its keys: 32 hex digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16).hexdigest()


def metadata_digest(observation: Observation) -> str | None:
    """The digest by which `system_metadata` is compared; None when the answer did not carry it."""
    return None if observation.system_metadata is None else digest_of(observation.system_metadata)


def metadata_mark(observation: Observation) -> str | None:
    """So much of that digest as a snapshot keeps."""
    digest = metadata_digest(observation)
    return digest and digest[:DIGEST_KEPT]


def said(observation: Observation) -> list[Any]:
    """What a reading says in its watched fields, as it is compared: an instant whatever its spelling, None for unknown.

    An unreadable `updated_at` is unknown, so that one that differs in each reading neither ends agreement nor makes
    another event of the same change.
    """
    moment = observation.updated_at
    instant = None if moment is None else moment.timestamp()
    return [observation.status, instant, observation.hls_status, metadata_digest(observation)]


def _is_coarse(one: Dated) -> bool:
    return "." not in (one.updated_at_text or ".")


def _is_backward(known: Snapshot, seen: Observation) -> bool:
    """Whether neither the time, as exactly as it is shown, nor the status tells that this comes after what is known."""
    unsure = order(seen, known) == 0 and seen.updated_at != known.updated_at and known.updated_at is not None
    return unsure and not is_onward(known.status, seen.status)


def _is_ahead(instant: datetime | None, ms: int, now: int) -> bool:
    return instant is not None and instant.timestamp() * 1000 > now + ms


def _changed_fields(snapshot: Snapshot | None, observation: Observation) -> tuple[str, ...]:
    """The watched fields that differ. A field that the answer left out is unknown, not changed."""
    readings = (
        ("status", snapshot and snapshot.status, observation.status),
        ("updated_at", snapshot and snapshot.updated_at, observation.updated_at),
        ("hls.status", snapshot and snapshot.hls_status, observation.hls_status),
        ("system_metadata", snapshot and snapshot.system_metadata_digest, metadata_mark(observation)),
    )
    changed = tuple(name for name, known, observed in readings if observed is not None and observed != known)
    if changed == ("updated_at",) and snapshot and snapshot.updated_at and order(observation, snapshot) == 0:
        changed = ()  # the same instant, shown in another way
    return ("gone", *changed) if snapshot and snapshot.gone else changed


def _doubt(snapshot: Snapshot | None, observation: Observation, kind: Kind, *, future: bool) -> str:
    """Why a reading with news is not believed at once; empty if it is."""
    if observation.task_id is None:
        return f"it has no {kind.id_field}"
    if observation.updated_at is None and kind.marker:
        return f"its {kind.marker} is {'more than a day ahead' if future else 'missing or unreadable'}"
    if snapshot and observation.status == snapshot.status:
        return ""
    if snapshot and _is_backward(snapshot, observation):
        return f"within a second of “{snapshot.status}”, and maybe before it"
    if observation.status not in kind.statuses:
        return f"the status “{observation.status}” is not known"
    if snapshot and snapshot.status in kind.terminal and not snapshot.gone:
        return f"“{snapshot.status}” is an end, and now it says “{observation.status}”"
    return ""
