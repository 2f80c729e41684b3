"""Deliveries that have ended, by when their events were committed: what a replay chooses from."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bridge.filters import fits
from bridge.model import DeliveryState
from bridge.store.reading.deliveries import DeliveryView, records_of
from bridge.store.reading.trips import HasClient, ask, names_with_deliveries
from bridge.store.records import as_text

if TYPE_CHECKING:
    from redis.asyncio.client import Pipeline

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

    @property
    def says_which(self) -> bool:
        """Whether it leaves anything out that is kept, but by an end."""
        return bool(self.endpoints or self.tasks or self.types or self.only_dead or self.since is not None)

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


async def ended_in(store: HasClient, choice: Choice) -> int:
    """How many deliveries have to be looked at to find those that are meant."""
    names = choice.endpoints or await names_with_deliveries(store)
    since = "-inf" if choice.since is None else choice.since

    def question(pipe: "Pipeline", name: str) -> None:
        for key in _lists(store, name, choice):
            pipe.zcount(key, since, "+inf")

    return sum(map(int, await ask(store, names, question)))


async def replayable(store: HasClient, choice: Choice) -> list[DeliveryView]:
    """The deliveries that are meant, oldest event first, so that each task's keep their order."""
    found: list[DeliveryView] = []
    for name in choice.endpoints or await names_with_deliveries(store):
        for key in _lists(store, name, choice):
            found += [one async for one in _ended(store, name, key, choice)]
    return sorted(found, key=turn_of)


def turn_of(one: DeliveryView) -> tuple[int, int, str, str]:
    """What a replay goes by: no two deliveries have the same."""
    return one.created_at or 0, one.revision or 0, one.event_id, one.endpoint


def _lists(store: HasClient, name: str, choice: Choice) -> list[str]:
    """Where an endpoint's deliveries that have ended stand, as far as they may be meant."""
    return [store.keys.dead(name), *([] if choice.only_dead else [store.keys.done(name)])]


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
