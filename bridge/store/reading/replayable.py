"""Deliveries that have ended, by when their events were committed: what a replay chooses from."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.filters import fits
from bridge.model import DeliveryState
from bridge.store.reading.deliveries import DeliveryView, records_of
from bridge.store.reading.trips import HasClient, names_with_deliveries
from bridge.store.records import as_text

PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Choice:
    """Which ended deliveries are meant. Moments are milliseconds, of the event's commit; None is no bound."""

    endpoints: Sequence[str] = ()
    tasks: frozenset[str] = frozenset()
    types: Sequence[str] = ()
    """Event types; one that ends in `*` is a prefix."""
    since: int | None = None
    until: int | None = None
    only_dead: bool = False

    def fits(self, one: DeliveryView) -> bool:
        """Whether this delivery is meant. One that an operator cancelled never is."""
        return (
            one.state not in {DeliveryState.PENDING, DeliveryState.CANCELLED}
            and (not self.only_dead or one.state == DeliveryState.DEAD)
            and self.takes(type_=one.type, task=one.task, made=one.created_at or 0)
        )

    def takes(self, *, type_: str, task: str, made: int) -> bool:
        """Whether an event of this type and task, committed then, is meant."""
        return (
            (not self.tasks or task in self.tasks)
            and (not self.types or any(fits(pattern, type_) for pattern in self.types))
            and (self.since is None or made >= self.since)
            and (self.until is None or made <= self.until)
        )


async def replayable(store: HasClient, choice: Choice) -> list[DeliveryView]:
    """The deliveries that are meant, oldest event first, so that each task's keep their order."""
    found: list[DeliveryView] = []
    for name in choice.endpoints or await names_with_deliveries(store):
        for key in (store.keys.dead(name), *(() if choice.only_dead else (store.keys.done(name),))):
            found += [one async for one in _ended(store, name, key, choice)]
    return sorted(found, key=lambda one: (one.created_at or 0, one.revision or 0, one.event_id, one.endpoint))


async def _ended(store: HasClient, name: str, key: str, choice: Choice) -> AsyncIterator[DeliveryView]:
    """Those of one list. What was committed since a moment has ended since then, too."""
    start = 0
    while True:
        since = "-inf" if choice.since is None else choice.since
        reply: Any = await store.client.zrangebyscore(key, since, "+inf", start=start, num=PAGE)
        if not reply:
            return
        start += len(reply)
        for one in await records_of(store, name, [as_text(event_id) for event_id in reply]):
            if choice.fits(one):
                yield one
