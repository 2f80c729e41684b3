"""Events as the stream lists them: a page after a cursor, and a follower that never blocks longer than the socket."""

import re
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any

from bridge.errors import InvalidInput, NotFound
from bridge.packing import unpack
from bridge.store.reading.trips import HasClient, as_ms, check_cancelled
from bridge.store.records import as_text

PAGE = 1_000
BLOCK_MS = 1_000
"""How long one read waits; well below the socket's own limit of five seconds."""
FOLLOWED = 200
LOOKED_AT = 10_000
"""The most events that one page looks at for those that fit; the next page goes on."""


@dataclass(frozen=True, slots=True)
class EventView:
    """An entry of the stream. `cursor` is its place there; go on from it with `after`."""

    cursor: str
    event_id: str
    type: str
    task: str
    revision: int
    committed_at: int
    """Milliseconds, by Redis' clock."""


@dataclass(frozen=True, slots=True)
class KeptEvent:
    """An event as it is kept while a delivery, or its task being in that state, needs it."""

    event_id: str
    type: str
    task: str
    revision: int
    body: bytes = field(repr=False)
    """What an endpoint of the format `standard` is sent."""


Fits = Callable[[EventView], bool]
_CURSOR = re.compile(r"\d{1,19}(-\d{1,19})?", re.ASCII)


def fitting(task: str | None, pattern: str | None) -> Fits:
    """Whether an event is of this task and type; a type that ends in * is a prefix, as in endpoints' filters."""

    def fits(one: EventView) -> bool:
        if task not in (None, one.task):
            return False
        if pattern is None:
            return True
        return one.type.startswith(pattern[:-1]) if pattern.endswith("*") else one.type == pattern

    return fits


async def place_of(store: HasClient, after: str) -> str:
    """A place in the stream, from a cursor or an event's id. Raises InvalidInput for what is neither."""
    if after.startswith("evt_"):
        return await cursor_of(store, after)
    if not _CURSOR.fullmatch(after):
        fix = "`bridge event ls` shows both in every row"
        raise InvalidInput(f"“{after}” is neither an event id nor a cursor", fix=fix)
    return after if "-" in after else f"{after}-0"


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events, oldest first."""

    rows: list[EventView]
    after: str
    """The place to go on from, now or when there is more."""
    more: bool
    """Whether there is more already."""


async def page_of_events(store: HasClient, after: str | None, fits: Fits, limit: int) -> EventPage:
    """The next events after a cursor that fit, or without one the latest. A page looks at so many events at most."""
    if after is None:
        end = await last_cursor(store)  # before they are read: what comes in between is on this page, or on the next
        rows = await latest_events(store, fits, limit, depth=LOOKED_AT)
        return EventPage(rows, rows[-1].cursor if rows else end, more=False)
    found: list[EventView] = []
    for _ in range(0, LOOKED_AT, PAGE):
        entries: Any = await store.client.xrange(store.keys.events, f"({after}", "+", count=PAGE)
        for number, entry in enumerate(entries, 1):
            view = _view(*entry)
            after = view.cursor
            found += [view] if fits(view) else []
            if len(found) == limit:
                return EventPage(found, after, more=number < len(entries) or len(entries) == PAGE)
        if len(entries) < PAGE:
            return EventPage(found, after, more=False)
    return EventPage(found, after, more=True)


async def events_after(store: HasClient, cursor: str, fits: Fits, limit: int) -> list[EventView]:
    """The next events after a cursor that fit, oldest first."""
    found: list[EventView] = []
    while len(found) < limit:
        entries: Any = await store.client.xrange(store.keys.events, f"({cursor}", "+", count=PAGE)
        if not entries:
            break
        views = [_view(*entry) for entry in entries]
        cursor = views[-1].cursor
        found += [view for view in views if fits(view)]
    return found[:limit]


async def latest_events(
    store: HasClient, fits: Fits, limit: int, *, until: int | None = None, depth: int | None = None
) -> list[EventView]:
    """The latest events that fit, oldest first; committed `until` a moment (ms), among about `depth` of them."""
    found: list[EventView] = []
    end = "+" if until is None else str(until)
    looked = 0
    while len(found) < limit and (depth is None or looked < depth):
        entries: Any = await store.client.xrevrange(store.keys.events, end, "-", count=PAGE)
        if not entries:
            break
        views = [_view(*entry) for entry in entries]
        end = f"({views[-1].cursor}"
        looked += len(views)
        found += [view for view in views if fits(view)]
    return found[:limit][::-1]


async def last_cursor(store: HasClient) -> str:
    """The place after which everything is new."""
    entries: Any = await store.client.xrevrange(store.keys.events, "+", "-", count=1)
    return as_text(entries[0][0]) if entries else "0-0"


async def cursor_of(store: HasClient, event_id: str) -> str:
    """Where in the stream an event stands. NotFound if it does not stand there any more."""
    found = await latest_events(store, lambda event: event.event_id == event_id, 1)
    if not found:
        raise NotFound(
            f"the stream does not hold {event_id} (any more)",
            fix="`bridge event ls` shows what it holds; the first column is the cursor",
        )
    return found[0].cursor


async def kept_event(store: HasClient, event_id: str) -> KeptEvent | None:
    """An event and its body; None once nobody needs that any more."""
    asked = ["type", "task", "revision", "body"]
    reply: Any = await store.client.hmget(store.keys.event(event_id), asked)
    event_type, task, revision, body = reply
    if not body:
        return None
    return KeptEvent(event_id, as_text(event_type), as_text(task), as_ms(revision) or 0, unpack(body))


async def follow(store: HasClient, cursor: str, *, deadline: float | None = None) -> AsyncGenerator[list[EventView]]:
    """What comes after a cursor, as it comes: a list at least once a second, empty when nothing did.

    Ends at `deadline` (monotonic seconds), so that nobody has to cancel a read.
    """
    while (left := BLOCK_MS if deadline is None else int((deadline - time.monotonic()) * 1000)) > 0:
        reply = await store.client.xread({store.keys.events: cursor}, count=FOLLOWED, block=min(left, BLOCK_MS))
        check_cancelled()
        entries = [entry for page in _pages(reply) for entry in page]
        views = [_view(*entry) for entry in entries]
        cursor = views[-1].cursor if views else cursor
        yield views


def _pages(reply: Any) -> list[Any]:
    """RESP3 replies a map, RESP2 a list of pairs; a page may itself be a list of one."""
    pages = list(reply.values()) if isinstance(reply, dict) else [page for _, page in reply or []]
    return [part for page in pages for part in (page if page and isinstance(page[0], list) else [page])]


def _view(cursor: bytes | str, fields: dict[bytes, bytes]) -> EventView:
    known = {as_text(name): as_text(value) for name, value in fields.items()}
    place = as_text(cursor)
    return EventView(
        cursor=place,
        event_id=known.get("id", ""),
        type=known.get("type", ""),
        task=known.get("task", ""),
        revision=int(known["revision"]) if known.get("revision", "").isdigit() else 0,
        committed_at=int(place.partition("-")[0]),
    )
