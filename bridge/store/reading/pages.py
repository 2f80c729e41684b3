"""Listings a page at a time, so that a page costs the same whatever there is; a cursor says where the next begins."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bridge.errors import InvalidInput
from bridge.model import DeliveryState
from bridge.packing import unpack
from bridge.store.reading.deliveries import DeliveryView, views_of
from bridge.store.reading.standings import with_holds
from bridge.store.reading.tasks import TaskView, find_tasks
from bridge.store.reading.trips import HasClient, ask, names_with_deliveries
from bridge.store.records import as_text

if TYPE_CHECKING:
    from redis.asyncio.client import Pipeline

T = TypeVar("T")

PER_PAGE, MOST = 50, 200
TASK_STATES = ("watched", "ended", "waiting")
LOOKED_AT = 2_000
"""The most entries that one page looks at for those that fit; the next page goes on."""
STEPS = 8
"""Where few may fit, so many pages' worth is read at a time."""
FEWEST = 8
"""Of each of many sets so many entries are read at a time."""
HOUR_MS = 3_600_000
HOURS = 24


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a listing: after the entry of this score, in this key, of this name."""

    score: int
    key: str
    name: str

    def __str__(self) -> str:
        return f"{self.score} {self.key} {self.name}"

    @classmethod
    def of(cls, text: str) -> "Place":
        """Read a cursor. InvalidInput for what is none."""
        score, _, rest = text.partition(" ")
        key, _, name = rest.rpartition(" ")
        if not score.removeprefix("-").isdigit() or len(score) > 15 or not key or not name or not text.isprintable():
            raise InvalidInput("this is no place in the listing", fix="begin at its first page")
        return cls(int(score), key, name)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some entries, and the cursor of the next page; empty when there is none."""

    rows: Sequence[T]
    after: str


async def page_of_deliveries(
    store: HasClient,
    *,
    endpoint: str | None = None,
    state: str | None = None,
    task: str | None = None,
    after: str = "",
    limit: int = 50,
) -> Page[DeliveryView]:
    """Deliveries that ended, the latest first; with `state` pending, those that wait for an attempt, the soonest first.

    Not among the pending: what is being attempted, and what waits for its turn behind another one of its task.
    """
    names = [endpoint] if endpoint else await names_with_deliveries(store)
    keys = [f"{kind}:{name}" for name in names for kind in _kinds(state)]
    place = Place.of(after) if after else None
    found: list[DeliveryView] = []
    step = limit if task is None and state in (None, DeliveryState.PENDING, DeliveryState.DEAD) else STEPS * limit
    looked, ended = 0, False
    while looked < LOOKED_AT and len(found) < limit and not ended:
        entries, ended = await _next(store, keys, place, step, rising=state == DeliveryState.PENDING)
        views = await _views(store, entries)
        for entry, view in zip(entries, views, strict=True):
            place, looked = entry, looked + 1
            if view and task in (None, view.task) and state in (None, view.state):
                found.append(view)
            if len(found) == limit:
                ended = ended and entry == entries[-1]
                break
    return Page(await with_holds(store, found), "" if ended or not place else str(place))


def _kinds(state: str | None) -> tuple[str, ...]:
    if state == DeliveryState.PENDING:
        return ("queue",)
    if state == DeliveryState.DEAD:
        return ("dead",)
    return ("dead", "done") if state is None else ("done",)


async def _next(
    store: HasClient, keys: Sequence[str], place: Place | None, limit: int, *, rising: bool
) -> tuple[list[Place], bool]:
    """The next entries of all these sets together, and whether there are no more.

    In order by score, then by key, then as Redis has them. Of each of many sets only a few are read, and what comes
    after the first set that may have more is left for the next time.
    """
    starts = await _starts(store, keys, place, rising=rising)
    few = min(limit, max(FEWEST, 2 * limit // max(1, len(keys))))

    def question(pipe: "Pipeline", pair: tuple[str, int]) -> None:
        key, start = pair
        pipe.zrange(store.keys(key), start, start + few - 1, desc=not rising, withscores=True)

    replies: list[Any] = await ask(store, list(zip(keys, starts, strict=True)), question)
    sign = 1 if rising else -1
    lists = [
        [(sign * int(score), key, index, as_text(name)) for index, (name, score) in enumerate(reply)]
        for key, reply in zip(keys, replies, strict=True)
    ]
    sure = min((entries[-1] for entries in lists if len(entries) == few), default=None)
    merged: Iterator[tuple[int, str, int, str]] = heapq.merge(*lists)
    known = [entry for entry in merged if sure is None or entry <= sure]
    chosen = [Place(sign * score, key, name) for score, key, _, name in known[:limit]]
    return chosen, sure is None and len(known) <= limit


async def _starts(store: HasClient, keys: Sequence[str], place: Place | None, *, rising: bool) -> list[int]:
    """At which index each of the sets goes on."""
    if place is None:
        return [0] * len(keys)

    def question(pipe: "Pipeline", key: str) -> None:
        shown = key < place.key  # of those with the same score, these sets' entries came before
        if rising:
            pipe.zcount(store.keys(key), "-inf", place.score if shown else f"({place.score}")
        else:
            pipe.zcount(store.keys(key), place.score if shown else f"({place.score}", "+inf")

    counts = list(map(int, await ask(store, keys, question)))
    if place.key in keys:
        own = store.keys(place.key)
        rank = await (store.client.zrank(own, place.name) if rising else store.client.zrevrank(own, place.name))
        if isinstance(rank, int):
            counts[keys.index(place.key)] = max(counts[keys.index(place.key)], rank + 1)
    return counts


async def _views(store: HasClient, entries: Sequence[Place]) -> list[DeliveryView | None]:
    by_endpoint: dict[str, list[Place]] = {}
    for entry in entries:
        by_endpoint.setdefault(entry.key.partition(":")[2], []).append(entry)
    found: dict[tuple[str, str], DeliveryView] = {}

    def question(pipe: "Pipeline", name: str) -> None:
        pipe.hmget(store.keys.deliveries(name), [one.name for one in by_endpoint[name]])

    texts = await ask(store, list(by_endpoint), question)
    for (name, theirs), records in zip(by_endpoint.items(), texts, strict=True):
        due: dict[str, int | None] = {one.name: one.score for one in theirs if one.key.startswith("queue:")}
        for view in views_of(name, [one.name for one in theirs], records, due):
            found[name, view.event_id] = view
    return [found.get((entry.key.partition(":")[2], entry.name)) for entry in entries]


async def page_of_tasks(
    store: HasClient, *, state: str = "watched", status: str | None = None, start: int = 0, limit: int = 50
) -> Page[TaskView]:
    """Tasks that are watched, by when they are due; that ended, the latest first; or that wait to be taken in."""
    found: list[TaskView] = []
    for _ in range(max(1, LOOKED_AT // limit)):
        members = await _members(store, state, start, limit)
        for view in await find_tasks(store, members):
            start += 1
            if status in (None, view.status):
                found.append(view)
            if len(found) == limit:
                return Page(found, str(start))
        if len(members) < limit:
            return Page(found, "")
    return Page(found, str(start))


async def _members(store: HasClient, state: str, start: int, limit: int) -> list[str]:
    client, keys = store.client, store.keys
    if state == "waiting":
        reply: Any = await client.zrangebyscore(keys.tasks, "-inf", "(+inf", start=start, num=limit)
    elif state == "ended":
        reply = await client.zrange(keys.ended, start, start + limit - 1, desc=True)
    else:
        reply = await client.zrange(keys.watch, start, start + limit - 1)
    return [as_text(one) for one in reply]


@dataclass(frozen=True, slots=True)
class Hours:
    """What an endpoint's deliveries came to in each of the last 24 hours, the oldest first."""

    ended: tuple[int, ...]
    """Ended well: delivered, superseded or cancelled."""
    dead: tuple[int, ...]


async def hours_of(store: HasClient, names: Sequence[str]) -> dict[str, Hours]:
    """The last 24 hours of each of these endpoints."""
    now = await store.scripts.now()
    edges = [now - HOUR_MS * hour for hour in range(HOURS, -1, -1)]

    def question(pipe: "Pipeline", name: str) -> None:
        for key in (store.keys.done(name), store.keys.dead(name)):
            for low, high in pairwise(edges):
                pipe.zcount(key, f"({low}", high)

    replies = list(map(int, await ask(store, names, question)))
    found = {}
    for i, name in enumerate(names):
        ours = replies[i * 2 * HOURS : (i + 1) * 2 * HOURS]
        found[name] = Hours(tuple(ours[:HOURS]), tuple(ours[HOURS:]))
    return found


async def body_of(store: HasClient, event_id: str) -> bytes | None:
    """The bytes of an event, as long as a delivery needs them."""
    body: Any = await store.client.hget(store.keys.event(event_id), "body")
    return unpack(body) if isinstance(body, bytes) else None
