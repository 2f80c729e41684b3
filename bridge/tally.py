"""What is counted, and under which names: the fields of `bridge:stats` and of an endpoint's own counters. Pure.

A label is one of a bounded set: upstream's words that nobody documents are `other`. A histogram is a field for each of
its buckets (how many fell between this bound and the one below), and one for the sum in milliseconds.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from bridge.events import ENDPOINT_TYPES
from bridge.kinds import KINDS
from bridge.model import Decision, Delivery, DeliveryState, Event, Fault, Outcome, Snapshot

Tally = Mapping[str, int]
"""How much each counter grows."""

EVENTS, POLLS, REQUESTS, ATTEMPTS = "events:", "polls:", "requests:", "attempt:"
"""What stands before a label."""
SHARED = "url:*"
"""The label that the endpoints of all callback URLs share."""

STATUSES = frozenset(word for kind in KINDS.values() for word in kind.statuses)
"""Those that are documented, of every kind."""
EVENT_TYPES = frozenset(
    {
        *(kind.family + word for kind in KINDS.values() for word in kind.statuses),
        *(kind_type for kind in KINDS.values() for kind_type in (kind.updated, kind.gone, kind.stalled)),
        *ENDPOINT_TYPES,
    }
)
OTHER = "other"
SUCCESS, HTTP_ERROR = "success", "http_error"
ATTEMPT_OUTCOMES = (SUCCESS, HTTP_ERROR, *Fault)
RESULTS = tuple(state for state in DeliveryState if state is not DeliveryState.PENDING)
POLL_OUTCOMES = (
    "changed", "unchanged", "announced", "doubted", "stale", "gone", "refused", "bad_watch", "forbidden", "credential",
    "throttled", "transient",
)  # fmt: skip
CODE_CLASSES = ("2xx", "3xx", "4xx", "429", "5xx", "none")
"""Of upstream's answers: 429 is a class of its own, and `none` is no answer."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """A distribution of times. `bounds` are the upper ends of its buckets, in seconds; the last one has none."""

    name: str
    bounds: tuple[float, ...]

    @property
    def total(self) -> str:
        """The field with the sum, in milliseconds."""
        return f"{self.name}:ms"

    def bucket(self, index: int) -> str:
        """The field of one bucket; the index after the last bound is the bucket without one."""
        return f"{self.name}:{self.bounds[index] if index < len(self.bounds) else 'inf'}"

    def of(self, milliseconds: float) -> dict[str, int]:
        """What one observation adds."""
        spent = max(0.0, milliseconds)
        return {self.bucket(bisect_left(self.bounds, spent / 1000)): 1, self.total: round(spent)}


DETECTION = Histogram("detection", (0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 3_600))
"""From upstream's `updated_at` to our observation, of a change of a task that was known before."""
DURATION = Histogram("duration", (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30))
"""Of one attempt."""
END_TO_END = Histogram("end_to_end", (0.05, 0.1, 0.25, 0.5, 1, 5, 30, 60, 300, 1_800, 7_200, 21_600, 86_400))
"""From the commit of an event to its delivery, of what no operator asked to be sent again."""


def as_words(tally: Tally | None) -> str:
    """As the scripts take it: `<name> <by> <name> <by> …`."""
    return " ".join(f"{name} {by}" for name, by in tally.items()) if tally else ""


def of_event(event_type: str) -> dict[str, int]:
    """One more event of this type."""
    return {EVENTS + (event_type if event_type in EVENT_TYPES else OTHER): 1}


def of_commit(event: Event, before: Snapshot | None, after: Snapshot) -> dict[str, int]:
    """One committed change. How late it was seen, the first sight of a task does not tell."""
    tally = of_event(event.type)
    if before and after.updated_at and after.updated_at != before.updated_at and not after.gone:
        tally |= DETECTION.of(event.observed_at - after.updated_at.timestamp() * 1000)
    return tally


def of_attempt(delivery: Delivery, outcome: Outcome, decision: Decision, *, now: int) -> dict[str, int]:
    """One attempt that ended `now` (ms)."""
    tally = DURATION.of(outcome.timing.total_ms)
    if decision.state is DeliveryState.DELIVERED and delivery.round_at is None:
        tally |= END_TO_END.of(now - delivery.created_at)
    return tally


def attempt_word(outcome: Outcome) -> str:
    """The field of an endpoint's counters for such an attempt."""
    if outcome.status_code is None:
        return ATTEMPTS + (outcome.fault or Fault.PROTOCOL)
    return ATTEMPTS + (SUCCESS if 200 <= outcome.status_code < 300 else HTTP_ERROR)


def request_word(status_code: int | None) -> str:
    """The counter of upstream's answers with such a status code; None is no answer."""
    label = "429" if status_code == 429 else f"{status_code // 100}xx" if status_code else "none"
    return REQUESTS + (label if label in CODE_CLASSES else OTHER)


def taken_from(tallies: Counter[str]) -> dict[str, int]:
    """Take what was counted, and begin anew."""
    taken = dict(tallies)
    tallies.clear()
    return taken
