"""Events of which nothing is owed, or nothing to some: why, by the filters of the endpoints in force."""

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bridge.audience import (
    CAME_LATER,
    WOULD_TAKE,
    Cause,
    Nobody,
    PassedOver,
    nobody,
    passed_over,
    way_to_catch_up,
    way_to_hear,
    way_to_tell,
)
from bridge.filters import index_of, takes
from bridge.kinds import Kind
from bridge.model import Endpoint
from bridge.packing import unpack
from bridge.store.reading.events import EventView
from bridge.store.reading.options import names_in, written_options
from bridge.store.reading.trips import HasClient, as_ms, as_record, ask
from bridge.store.records import as_text, endpoint_from_json
from bridge.wording import near_name

if TYPE_CHECKING:
    from redis.asyncio.client import Pipeline

ASKED = 5_000
"""The most endpoints that are looked at."""


@dataclass(frozen=True, slots=True)
class Untold:
    """Why nobody is owed an event, and what tells the task's state to whom it should concern."""

    why: str
    fix: str


@dataclass(frozen=True, slots=True)
class _Heard:
    """What a filter judges of an event, as `audience` asks for it, and whether its task is still watched."""

    words: Mapping[str, Any]
    watched: bool
    written: tuple[str, ...] = ()
    """The names of the task's options, as its client wrote them."""


async def untold(store: HasClient, events: Sequence[EventView], *, kept_ms: int) -> dict[str, Untold]:
    """Of events without deliveries those that are about a task, by id. `kept_ms`: for how long what was delivered is
    kept."""
    if not events:
        return {}
    endpoints = await _in_force(store)
    registered, oldest = await _registered(store, endpoints), await store.scripts.now() - kept_ms
    found = {}
    for event, heard in zip(events, await _heard(store, events), strict=True):
        later, forgotten = _later(registered, event), event.committed_at < oldest
        told = nobody(event.type, event.task, endpoints, later=later, forgotten=forgotten, **heard.words)
        if told is not None:
            found[event.event_id] = _with_way(told, event.task, heard, endpoints)
    return found


def _with_way(told: Nobody, task: str, heard: _Heard, endpoints: Mapping[str, Endpoint]) -> Untold:
    """That nobody is owed an event of a task, with what tells somebody."""
    if told.cause is Cause.FORGOTTEN:
        return Untold(told.why, "")
    if told.cause is Cause.LATER:
        return _caught_up(told.why, task, heard)
    if near := _meant(task, heard, endpoints):
        return Untold(f"{told.why}: did you mean {near[0]}?", near[1])
    return Untold(told.why, _way(task, heard, endpoints))


def _meant(task: str, heard: _Heard, endpoints: Mapping[str, Endpoint]) -> tuple[str, str] | None:
    """Of a task that names no endpoint that there is: which it may have meant, and the command that names those."""
    named, known = heard.words["named"] or (), [name for name in endpoints if not name.startswith("url:")]
    near = {name: one for name in named if (one := near_name(name, known))}
    if not near or any(name in known for name in named):
        return None
    from bridge.hints import task_rewriting

    meant = list(dict.fromkeys(near.get(name, name) for name in named))
    return ", ".join(dict.fromkeys(near.values())), task_rewriting(task, ("endpoints", *heard.written), meant)


def _way(task: str, heard: _Heard, endpoints: Mapping[str, Endpoint]) -> str:
    """How somebody hears of a task: of one that names only endpoints that there are not, another filter is no help."""
    named: Sequence[str] = heard.words["named"] or ()
    there = [name for name in named if name in endpoints]
    if there or not named:
        return way_to_tell(_again(task, heard), watched=heard.watched, named=there)
    from bridge.hints import ways_to_name

    return ways_to_name(named[0], task, heard.written, dict.fromkeys(named, False), watched=heard.watched)


def _caught_up(why: str, task: str, heard: _Heard) -> Untold:
    """Where all is well by now: of a task that is watched its next change is told, of another its present state."""
    if heard.watched:
        return Untold(f"{why}; the task's next change is told", "")
    return Untold(why, way_to_catch_up(task, _again(task, heard), watched=False))


def _again(task: str, heard: _Heard, *beside: str) -> str:
    """The command that registers a task as it was; `beside` those that it names, some that it did not."""
    from bridge.hints import task_rewriting

    named = [*(heard.words["named"] or ()), *beside]
    return task_rewriting(task, (*heard.written, *(["endpoints"] if named else [])), named)


async def not_owed(
    store: HasClient, events: Sequence[EventView], owed: Mapping[str, Container[str]]
) -> dict[str, list[PassedOver]]:
    """Of events that somebody is owed (`owed`: event id → endpoints), the endpoints that are not, by id."""
    some = [event for event in events if event.event_id in owed]
    endpoints = await _in_force(store) if some else {}
    registered = await _registered(store, endpoints)

    def passed(event: EventView, heard: _Heard) -> list[PassedOver]:
        later, ours = _later(registered, event), owed[event.event_id]
        return passed_over(event.type, event.task, endpoints, owed=ours, later=later, **heard.words)

    heard = await _heard(store, some)
    return {event.event_id: passed(event, one) for event, one in zip(some, heard, strict=True)}


async def unheard_by(store: HasClient, events: Sequence[EventView], name: str) -> Untold | None:
    """Why one endpoint is not owed an event that others are; None where it is not in force, or there is no event."""
    one = (await _in_force(store)).get(name)
    if one is None or not events:
        return None
    (event,), (heard,) = events, await _heard(store, events)
    found = passed_over(event.type, event.task, {name: one}, owed=(), **heard.words)
    if found and found[0].why == WOULD_TAKE and _later(await _registered(store, [name]), event):
        way = way_to_catch_up(event.task, _again(event.task, heard), watched=heard.watched)
        return Untold(CAME_LATER, way)
    named = heard.words["named"]
    if named is not None and name not in named:
        return next((Untold(each.why, _again(event.task, heard, name)) for each in found), None)
    way = way_to_hear(name, _again(event.task, heard), watched=heard.watched)
    return next((Untold(each.why, way) for each in found), None)


async def _registered(store: HasClient, names: Iterable[str]) -> dict[str, int]:
    """Since when endpoints are registered (ms); those of which that is not known are left out."""
    names = list(names)
    moments = await ask(store, names, lambda pipe, name: pipe.hget(store.keys.endpoint(name), "registered_at"))
    known = {name: as_ms(moment) for name, moment in zip(names, moments, strict=True)}
    return {name: moment for name, moment in known.items() if moment}


def _later(registered: Mapping[str, int], event: EventView) -> list[str]:
    """The endpoints that were registered after an event."""
    return [name for name, moment in registered.items() if moment > event.committed_at]


async def _heard(store: HasClient, events: Sequence[EventView]) -> list[_Heard]:
    def question(pipe: "Pipeline", event: EventView) -> None:
        pipe.hget(store.keys.event(event.event_id), "body")
        pipe.hget(store.keys.watching(event.task), "options")
        pipe.hget(store.keys.task(event.task), "endpoints")
        pipe.zscore(store.keys.watch, event.task)

    replies, options_of = await ask(store, events, question), await written_options(store, [one.task for one in events])
    found = []
    for i in range(len(events)):
        kept, options, written, due = replies[4 * i : 4 * i + 4]
        body = unpack(kept) if kept else None
        words = {"named": _named(options, written), "index": index_of(body), "metadata": _metadata(body, options)}
        found.append(_Heard(words, due is not None, options_of[i]))
    return found


async def takers(store: HasClient, kind: Kind, named: Sequence[str] = ()) -> list[str] | None:
    """The endpoints, of those named or of all, that take some event of a kind; None if there is none to ask.

    Those that were written and are not in force yet are left out.
    """
    endpoints = {name: one for name, one in (await _in_force(store)).items() if not name.startswith("url:")}
    asked = {name: one for name, one in endpoints.items() if not named or name in named}
    if not asked:
        return None
    types = [kind.gone, kind.updated, kind.stalled, *(kind.family + status for status in kind.statuses)]
    return [name for name, one in asked.items() if any(takes(one, event_type) for event_type in types)]


async def _in_force(store: HasClient) -> dict[str, Endpoint]:
    found: dict[str, Endpoint] = {}
    async for raw, text in store.client.hscan_iter(store.keys.registry, count=500):
        if len(found) >= ASKED:
            break
        try:
            found[as_text(raw)] = endpoint_from_json(as_text(raw), text)
        except (ValueError, LookupError, TypeError, AttributeError):
            continue  # somebody wrote over it: the sweep's to mend, and no taker until then
    return found


def _named(options: bytes | None, written: bytes | None) -> list[str] | None:
    """The endpoints that the task names: as it is watched, or once it has ended as its client wrote it."""
    known = as_record(options)
    if options is not None:
        names = known.get("endpoints")
        return [str(one) for one in names] if isinstance(names, list) else None
    return names_in(written) if as_text(written).replace(",", " ").strip() else None


def _metadata(body: bytes | None, options: bytes | None) -> Any:
    try:
        return json.loads(body or b"")["data"].get("metadata")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return as_record(options).get("metadata")
