"""What can be watched, a row for each kind: all that differs between upstream's resources. Pure.

A member of `bridge:tasks` is `<kind>:<path>`, or an id alone for an index task.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

from bridge.model import KNOWN_STATUSES, TERMINAL_STATUSES


@dataclass(frozen=True, slots=True)
class Kind:
    """One of upstream's resources that has a status."""

    name: str
    """Before the colon of a member; empty where the member is the id alone."""
    what: str
    """What a person calls one, with its article."""
    parts: tuple[str, ...]
    """What the path of a member names, in order; the last is the thing's own id."""
    retrieve: str
    """Where one is read, below the base URL, with the parts in braces."""
    family: str
    """How its event types begin."""
    statuses: frozenset[str]
    """What is documented. The set is open, so another word is doubted, not refused."""
    terminal: frozenset[str]
    """Those that it does not leave."""
    stages: tuple[str, ...]
    """On its way to an end, as far as a person wants to see them."""
    listing: str | None = None
    """Where they are listed; None where there is no list that helps."""
    id_field: str = "_id"
    marker: str | None = "updated_at"
    """The field that moves with each change; None where there is none, so that an old answer cannot be told."""
    hls: tuple[str, ...] = ("hls", "status")
    """Where the state of its stream stands; empty where it has none."""
    metadata: tuple[str, ...] = ("system_metadata",)
    """Where what was measured of the video stands; empty where it does not."""
    missing: tuple[str, ...] = ("resource_not_exist",)
    """How the error codes begin that say, with a 400, what a 404 says: there is no such id."""

    @property
    def gone(self) -> str:
        """The type of the event that upstream does not know it any more."""
        return self.family + "gone"

    @property
    def updated(self) -> str:
        """The type of the event that something else than its status changed."""
        return self.family + "updated"

    @property
    def stalled(self) -> str:
        """The type of the event that it has stood still for longer than its length explains."""
        return self.family + "stalled"

    @property
    def shape(self) -> str:
        """What a member looks like, for a person."""
        path = "/".join(part.upper() for part in self.parts)
        return f"{self.name}:{path}" if self.name else path

    def named(self, member: str) -> dict[str, str] | None:
        """The parts that a member of this kind names; None if it is not one."""
        words = (member.partition(":")[2] if self.name else member).split("/")
        if len(words) != len(self.parts) or not all(map(_PART.fullmatch, words)):
            return None
        return dict(zip(self.parts, words, strict=True))


_PART = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
ID_CHARACTERS = 200
"""A longer id is longer than a member may be."""

TASK = Kind(
    name="",
    what="an index task",
    parts=("id",),
    retrieve="/tasks/{id}",
    listing="/tasks",
    family="index.task.",
    statuses=KNOWN_STATUSES,
    terminal=TERMINAL_STATUSES,
    stages=("validating", "pending", "queued", "indexing"),
)
"""A video indexing task."""

ASSET = Kind(
    name="asset",
    what="an indexed asset",
    parts=("index", "id"),
    retrieve="/indexes/{index}/indexed-assets/{id}",
    listing="/indexes/{index}/indexed-assets",
    family="index.asset.",
    statuses=frozenset({"pending", "queued", "validating", "indexing", "ready", "failed"}),
    terminal=frozenset({"ready", "failed"}),
    stages=("pending", "queued", "validating", "indexing"),
)
"""An asset on its way into an index: what upstream names as the successor of index tasks."""

ANALYSIS = Kind(
    name="analyze",
    what="an analysis",
    parts=("id",),
    retrieve="/analyze/tasks/{id}",
    family="analyze.task.",
    statuses=frozenset({"queued", "pending", "processing", "ready", "failed", "canceled"}),
    terminal=frozenset({"ready", "failed", "canceled"}),
    stages=("queued", "pending", "processing"),
    id_field="task_id",
    marker=None,
    hls=(),
    metadata=("video_source", "system_metadata"),
)
"""An asynchronous analysis of a video."""

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in (TASK, ASSET, ANALYSIS)}
STATUSES = frozenset(status for kind in KINDS.values() for status in kind.statuses)
"""Every status that is documented, of whatever kind."""
FAMILIES = tuple(kind.family for kind in KINDS.values())
"""How the types of events about tasks begin."""


def is_id(value: object) -> TypeGuard[str]:
    """Whether this is an id that a member can name."""
    return isinstance(value, str) and len(value) <= ID_CHARACTERS and bool(_PART.fullmatch(value))


def find_kind(member: str) -> Kind | None:
    """The kind of a member; None for one that this version does not know."""
    name, colon, _ = member.partition(":")
    return KINDS.get(name if colon else "")


def kind_of(member: str) -> Kind:
    """The kind of a member as far as it matters to a reader: what nobody knows passes for an index task."""
    return find_kind(member) or TASK


def family_of(event_type: str) -> Kind | None:
    """The kind that an event type tells of; None for what tells of no task."""
    return next((kind for kind in KINDS.values() if event_type.startswith(kind.family)), None)


def index_in(member: str) -> str | None:
    """The index that a member names; None for a kind that does not name one."""
    return (kind_of(member).named(member) or {}).get("index")
