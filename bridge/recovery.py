"""Which dead letters come back, and by which command. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bridge.model import DeadReason

RECOVERABLE = (DeadReason.EXHAUSTED, DeadReason.GONE, DeadReason.BLOCKED, DeadReason.POISON)
"""What is brought back unless others are named: what was worth all attempts, and did not get through."""
NAMEABLE = tuple(one for one in DeadReason if one is not DeadReason.BODY_LOST)
"""The reasons that may be named: without a body there is nothing to send."""

LISTED_UNASKED, LISTED = 100, 100_000
"""How many deliveries `bridge delivery ls` names without --limit, and with it at most."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead delivery, as far as bringing it back asks."""

    event_id: str
    revision: int
    reason: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The dead letters of an endpoint, those that come back and those that stay."""

    event_ids: tuple[str, ...]
    """Those that come back, the oldest revision first."""
    wanted: Mapping[str, int]
    """How many of them died of each reason."""
    left: Mapping[str, int]
    """The same of those that stay dead."""


def choose(letters: Iterable[DeadLetter], reasons: Sequence[str]) -> Choice:
    """Take those that died of one of these reasons."""
    ordered = sorted(letters, key=lambda one: one.revision)
    taken = [one for one in ordered if one.reason in reasons]
    left = [one for one in ordered if one.reason not in reasons]
    return Choice(
        tuple(one.event_id for one in taken),
        Counter(one.reason for one in taken),
        Counter(one.reason for one in left),
    )


def command(endpoint: str, reasons: Iterable[str]) -> str:
    """What brings the dead letters of these reasons back; empty where nothing does."""
    named = [str(one) for one in NAMEABLE if one in set(reasons)]
    if not named:
        return ""
    if set(named) <= set(RECOVERABLE):
        return f"bridge endpoint recover {endpoint}"
    return f"bridge endpoint recover {endpoint} --reason {','.join(named)}"


def each_of(endpoint: str, state: str, count: int, verb: str, *, task: str = "") -> str:
    """What does this (`retry`, `cancel`) to each of the deliveries that an endpoint has in a state, so many; `task`: to
    those of this task."""
    only = f" --task {task}" if task else ""
    limit = f" --limit {min(count, LISTED)}" if count > LISTED_UNASKED else ""
    return f"bridge delivery ls --endpoint {endpoint}{only} --state {state}{limit} -o ids | bridge delivery {verb} -"


def dismissal(endpoint: str, dead: int) -> str:
    """What takes the dead letters of an endpoint, so many, off the list of what a person is to look at."""
    return each_of(endpoint, "dead", dead, "cancel")
