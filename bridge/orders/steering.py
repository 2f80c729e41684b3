"""An endpoint as a whole: held, let go, its dead letters brought back; by a deadline, as much as time permits."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from bridge.errors import Conflict
from bridge.orders.definitions import absent
from bridge.wording import safe

if TYPE_CHECKING:
    from bridge.doctor.work import OwedFacts
    from bridge.store import Store
    from bridge.store.steering import Steered

UNCONFIRMED = "unconfirmed"
MORE = "more"
Bar = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Shows how far something has come: what it is called, and how much of it there is."""


@contextmanager
def unseen(_: str, __: int) -> Iterator[Callable[[int], None]]:
    """The bar of who looks at none."""
    yield lambda _: None


class Enabled(NamedTuple):
    """What came of letting an endpoint go."""

    steered: "Steered"
    owed: "OwedFacts"
    """What it is owed then, and what stays dead."""

    @property
    def state(self) -> str:
        """Its state then."""
        if self.steered.word == MORE:
            return self.steered.before
        return "disabled" if self.steered.word == UNCONFIRMED else "active"


class Recovery(NamedTuple):
    """What came of bringing dead letters back."""

    row: dict[str, Any]
    left: dict[str, int]
    """How many of each reason stay dead, as they were not asked for."""
    owed: "OwedFacts"
    on_from: int
    """Where there is more to do: since when (ms) it has to be looked for; 0 for ever."""
    reason: str
    """Why it was held or disabled before."""


async def disable(store: "Store", name: str, reason: str | None) -> "Steered":
    """Hold it. Without a reason, that of an operator's hold which stands is kept. Raises NotFound or Conflict."""
    from bridge.rejection import redacted
    from bridge.store.steering import Steering

    why = "" if reason is None else redacted(safe(reason.strip())) or "operator"
    steered = await Steering(store).disable(name, why)
    await _check(store, name, steered)
    return steered


async def enable(store: "Store", name: str, *, bar: Bar = unseen, deadline: float | None = None) -> Enabled:
    """Let it go, until the `deadline` (monotonic seconds). Raises NotFound or Conflict."""
    from bridge.store.reading.checkup import owed_facts
    from bridge.store.reading.endpoints import find_endpoint
    from bridge.store.steering import Steering

    view = await find_endpoint(store, name)
    with bar("Enabling", view.pending if view else 0) as advance:
        steered = await Steering(store).enable(name, moved=advance, deadline=deadline)
    await _check(store, name, steered, cut_short=deadline is not None)
    (owed,) = await owed_facts(store, {}, [name])
    return Enabled(steered, owed)


async def recover(
    store: "Store",
    name: str,
    since: int,
    reasons: Sequence[str],
    *,
    dry: bool,
    most: int | None = None,
    bar: Bar = unseen,
    deadline: float | None = None,
) -> Recovery:
    """Count dead letters since a moment (ms), about `most` of them, bring them back, and then enable the endpoint.

    Raises NotFound or Conflict.
    """
    from bridge.recovery import choose
    from bridge.store.reading.checkup import owed_facts
    from bridge.store.reading.endpoints import find_endpoint
    from bridge.store.steering import RECOVERED, Recovered, Steering

    steering = Steering(store)
    view = await find_endpoint(store, name)
    if view is None or view.state not in {"active", "held", "disabled"}:
        raise await absent(store, name)
    letters = await steering.dead_letters(name, since, most=most or RECOVERED)
    choice = choose(letters.found, reasons)
    came, state, waits = Recovered(), view.state, False
    if not dry:
        with bar("Recovering", len(choice.event_ids)) as advance:
            came = await steering.recover(name, choice.event_ids, done=advance, deadline=deadline)
        if came.removed:
            raise await absent(store, name)
        unfinished = came.left or (letters.more and most)
        if state != "active" and not unfinished:  # last, so that all of it goes out in order
            enabled = await enable(store, name, bar=bar, deadline=deadline)
            state, waits = enabled.state, enabled.steered.word == MORE
    (owed,) = await owed_facts(store, {}, [name])
    row = {
        "endpoint": name,
        "state": state,
        "was": view.state,
        "dead": len(choice.event_ids),
        "reasons": dict(choice.wanted),
        "recovered": came.recovered,
        "lost": came.lost,
        "dry_run": dry,
        "more": letters.more or came.left > 0 or waits,
    }
    on_from = letters.reached if letters.more and not came.left else since
    return Recovery(row, dict(choice.left), owed, on_from, view.reason or "")


def kept_back(owed: "OwedFacts") -> list[str]:
    """What is to be said of an endpoint that is let go and yet gets nothing."""
    from bridge.waiting import REFUSED

    return [REFUSED] if owed.kept else []


async def _check(store: "Store", name: str, steered: "Steered", *, cut_short: bool = False) -> None:
    """Raise what a person has to hear instead of a success."""
    if steered.word == "missing":
        raise await absent(store, name)
    if steered.word not in {"done", "same", UNCONFIRMED, *((MORE,) if cut_short else ())}:
        raise Conflict(
            f"somebody else steers “{safe(name)}” at the same time",
            fix=f"bridge endpoint show {name}, then say it again",
        )
