"""Why an endpoint, or nobody, is owed an event: what it takes instead, and what tells the present state. Pure."""

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple

from bridge.filters import fits, matches, star_of
from bridge.kinds import ANALYSIS, FAMILIES
from bridge.model import Endpoint

SHOWN = 5
"""How many endpoints are told apart."""
EVERY_ENDED = "bridge task ls --status ended --limit 0 -o ids | bridge task add -"
WORDS = 5
"""How many patterns of each."""
WOULD_TAKE = "it would take it, and was changed later, or its delivery was forgotten"
"""Of an endpoint whose filter, as it is now, does not keep the event from it."""
CAME_LATER = "it was registered later than this event"
NAMES_OTHERS = "the task names others:"
"""Of an endpoint that the task does not name; those that it names follow."""
NO_SUCH = "and there is no such endpoint"
"""What follows the name of an endpoint that a task names, and that nobody registered."""
MOST = 100
"""How many of those that were passed over are told at all."""


class Cause(StrEnum):
    """Why nobody is owed an event."""

    FILTERS = "filters"
    """No endpoint takes its type, or none is there."""
    LATER = "later"
    """Somebody would take it by now."""
    FORGOTTEN = "forgotten"
    """What was delivered of it is no longer kept: there is nothing to do about it."""


class Nobody(NamedTuple):
    """Why nobody is owed an event, and that in one sentence."""

    cause: Cause
    why: str


@dataclass(frozen=True, slots=True)
class PassedOver:
    """An endpoint that is not owed an event of a task, and why, in words that follow its name."""

    endpoint: str
    why: str


def nobody(
    event_type: str,
    task: str,
    endpoints: Mapping[str, Endpoint],
    *,
    later: Collection[str] = (),
    named: Sequence[str] | None = None,
    forgotten: bool = False,
    index: str | None = None,
    metadata: Any = None,
) -> Nobody | None:
    """Why an event without deliveries has none. None for an event that is not about a task.

    `later` are those that were registered after it, whose filters kept nothing from them; `named` are the endpoints
    that the task's option `endpoints` names, None for all; `forgotten`: it is so old that what was delivered of it is
    no longer kept; `index` and `metadata` are the event's own.
    """
    if not event_type.startswith(FAMILIES):
        return None
    ours = {name: one for name, one in endpoints.items() if not name.startswith("url:")}
    asked = ours if named is None else {name: ours[name] for name in named if name in ours}
    if not ours:
        return Nobody(Cause.FILTERS, f"no endpoint takes {event_type}: none is registered")
    if not asked:
        absent = f"the task's `endpoints` names {_quoted(named or ())}, {NO_SUCH}"
        return Nobody(Cause.FILTERS, f"no endpoint takes {event_type}: {absent}")
    takers = [name for name, one in asked.items() if matches(one, event_type, task, index=index, metadata=metadata)]
    if takers and forgotten and not set(takers) <= set(later):
        kept = "is no longer kept (BRIDGE_RETENTION_DELIVERED_SECONDS)"
        return Nobody(Cause.FORGOTTEN, f"what became of {event_type} {kept}")
    if takers:
        came = "came later" if set(takers) <= set(later) else "was changed later, or its delivery was forgotten"
        return Nobody(Cause.LATER, f"nothing of {event_type} is owed: {_listed(takers)} would take it, and {came}")
    there = [(name, one) for name, one in asked.items() if name not in later]
    if not there:
        return Nobody(Cause.FILTERS, f"no endpoint takes {event_type}: none was registered then")
    told = [f"{name} takes {_instead(one, event_type, task, index)}" for name, one in there[:SHOWN]]
    more = [f"{len(there) - SHOWN} more"] if len(there) > SHOWN else []
    only = " of those that the task names" if named is not None else ""
    return Nobody(Cause.FILTERS, f"no endpoint{only} takes {event_type}: {', '.join([*told, *more])}")


def passed_over(
    event_type: str,
    task: str,
    endpoints: Mapping[str, Endpoint],
    *,
    owed: Container[str],
    later: Collection[str] = (),
    named: Sequence[str] | None = None,
    index: str | None = None,
    metadata: Any = None,
) -> list[PassedOver]:
    """Whom an event of a task is not owed to, by name, at most `MOST`; the other words are as in `nobody`.

    Of those that were registered `later` nothing is said, but where the task names them: they were not there to be
    passed over. Those that it names come first.
    """
    if not event_type.startswith(FAMILIES):
        return []

    def why(one: Endpoint) -> str:
        if named is not None and one.name not in named:
            return f"{NAMES_OTHERS} {_listed(named)}"
        if one.name in later:
            return CAME_LATER
        if matches(one, event_type, task, index=index, metadata=metadata):
            return WOULD_TAKE
        return f"it takes {_instead(one, event_type, task, index)}"

    meant = named or ()
    there = [
        one for name, one in endpoints.items() if not name.startswith("url:") and (name in meant or name not in later)
    ]
    left_out = sorted((one for one in there if one.name not in owed), key=lambda one: (one.name not in meant, one.name))
    return [PassedOver(one.name, why(one)) for one in left_out[:MOST]]


def way_to_hear(endpoint: str, again: str, *, watched: bool) -> str:
    """How this endpoint, which is there and did not take an event, hears of its task. `again`: the command that
    registers the task as it was."""
    if watched:
        return f"bridge endpoint set {endpoint} --events …  # it hears of the task's changes from then on"
    return f"bridge endpoint set {endpoint} --events … && {again}  # which tells the present state"


def way_to_catch_up(task: str, again: str, *, watched: bool) -> str:
    """How an endpoint that takes such events, and came later, hears of the task."""
    if watched:
        return f"bridge task show {task}  # it hears of the task's next change"
    return f"{again}  # which tells the present state"


def way_to_tell(again: str, *, watched: bool, named: Sequence[str] = ()) -> str:
    """How an endpoint hears of this task that was registered, or changed, later. `named`: those that the task names, of
    which there are some: of others none would hear."""
    if named:
        return way_to_hear(named[0] if len(named) == 1 else "NAME", again, watched=watched)
    if watched:
        return "bridge endpoint add NAME URL  # or set NAME --events …: it hears of the task's changes from then on"
    return f"bridge endpoint add NAME URL && {again}  # or first set NAME --events …; that tells the present state"


def never_told(endpoint: str, events: int, ended: Sequence[str], watched: Sequence[str]) -> list[str]:
    """Why a replay has nothing of events that an endpoint never was owed, and what tells it of their tasks."""
    if not events:
        return []
    had = f"{endpoint} has had no delivery of {events} event{'s' * (events != 1)} that fit{'s' * (events == 1)}"
    told = [f"! {had}: it came later, or its filter keeps them from it; what was never sent cannot be sent again."]
    if ended:
        way = f"bridge task add {' '.join(ended)}" if len(ended) <= SHOWN else EVERY_ENDED
        told.append(f"The present state of what has ended is told to those who miss it → {way}")
    if watched:
        told.append(
            f"Of what is watched ({_listed(watched)}) it hears at the next change; at once only if the task names it "
            f"beside all others who are to hear: `bridge task add ID --endpoint {endpoint},…`, which replaces the "
            "task's options."
        )
    return told


def _instead(one: Endpoint, event_type: str, task: str, index: str | None) -> str:
    """The part of its filter that keeps this event from it."""
    if not matches(_anywhere(one), event_type, task):
        return f"{_listed(one.events)}{_star(one, event_type)}"
    if not any(fits(pattern, task) for pattern in one.tasks):
        return f"the tasks {_listed(one.tasks)}"
    if index is not None and not any(fits(pattern, index) for pattern in one.indexes):
        return f"the indexes {_listed(one.indexes)}"
    return f"tasks with other metadata ({_listed(one.metadata)})"


def _star(one: Endpoint, event_type: str) -> str:
    """What a star of its filter stands for, where the event looks as if it were taken; in its format that is less."""
    if not any(fits(pattern, event_type) for pattern in one.events):
        return ""
    in_full = "" if event_type.startswith(ANALYSIS.family) else f"; name {event_type} in full"
    return f" (in the format {one.format} a star stands for {star_of(one.format)} alone{in_full})"


def _anywhere(one: Endpoint) -> Endpoint:
    """The same endpoint, whatever the task: its events alone decide."""
    return replace(one, tasks=("*",), indexes=("*",), metadata={})


def _quoted(names: Iterable[str]) -> str:
    return _listed(f"“{name}”" for name in names)


def _listed(words: Iterable[str]) -> str:
    listed = list(words)
    return ", ".join([*listed[:WORDS], *(["…"] if len(listed) > WORDS else [])])
