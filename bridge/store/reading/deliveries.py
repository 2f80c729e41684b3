"""Deliveries as a person asks about them: what is owed, what became of it, and every attempt."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from bridge.model import DeliveryState
from bridge.store.reading.standings import with_holds
from bridge.store.reading.trips import HasClient, as_delivery, as_ms, as_record, ask, names_with_deliveries, pieces
from bridge.store.records import as_text
from bridge.waiting import Hold

if TYPE_CHECKING:
    from redis.asyncio.client import Pipeline

OWED = 10_000
"""The most pending deliveries of one endpoint that a listing looks at."""
PAGE = 200


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """One event owed to one endpoint, and what became of it. Times are milliseconds."""

    event_id: str
    endpoint: str
    type: str
    task: str
    revision: int | None
    state: str
    reason: str | None
    attempts: int
    created_at: int | None
    ended_at: int | None
    next_at: int | None = None
    """When the next attempt is due; None when it has ended, is being made, or is held."""
    log: tuple[dict[str, Any], ...] = field(default=())
    """The latest attempts, oldest first."""
    hold: Hold | None = None
    """Why a pending one is not sent at the moment that its schedule names."""
    endpoint_error: str | None = None
    """While it is pending: what its endpoint's latest attempt came to, if that failed."""
    last_error: str | None = None
    """Of a dead or a pending one: what its own latest attempt came to, if that failed and is remembered."""
    endpoint_removed: bool = False
    """Its endpoint was removed: nothing goes there until one of that name is added."""
    endpoint_gone: bool = False
    """Its endpoint is disabled, as it answered 410."""

    @property
    def moved_at(self) -> int:
        """When it ended; while it is pending, when it was made."""
        return self.ended_at or self.created_at or 0


async def list_deliveries(
    store: HasClient,
    *,
    endpoint: str | None = None,
    state: str | None = None,
    task: str | None = None,
    limit: int = 50,
) -> list[DeliveryView]:
    """The deliveries that moved last, newest first: an ended one moved when it ended, a pending one when it was made.

    Of each endpoint's pending ones at most 10,000 are looked at, those that are due first.
    """
    names = [endpoint] if endpoint else await names_with_deliveries(store)
    found: list[DeliveryView] = []
    for name in names:
        if state in (None, DeliveryState.PENDING):
            found += [one for one in await _owed(store, name) if task in (None, one.task)]
        if state != DeliveryState.PENDING:
            found += await _ended(store, name, state, task, limit)
        found = heapq.nlargest(limit, found, key=lambda one: one.moved_at)
    return await with_holds(store, found)


async def find_deliveries(store: HasClient, event_id: str, endpoint: str | None = None) -> list[DeliveryView]:
    """Every delivery of one event, or the one to an endpoint, with the attempts that are still remembered."""
    names = [endpoint] if endpoint else await names_with_deliveries(store)
    texts = await ask(store, names, lambda pipe, name: pipe.hget(store.keys.deliveries(name), event_id))
    views = []
    for name, text in zip(names, texts, strict=True):
        if text is None:
            continue
        pipe = store.client.pipeline(transaction=False)
        pipe.lrange(store.keys.attempts(name, event_id), 0, -1)
        pipe.zscore(store.keys.queue(name), event_id)
        attempts, due = await pipe.execute()
        views.append(_view(name, event_id, as_delivery(text), as_ms(due), tuple(map(as_record, attempts))))
    return await with_holds(store, views)


async def deliveries_of(store: HasClient, event_ids: Sequence[str]) -> dict[str, list[DeliveryView]]:
    """For each event its deliveries, without their attempts."""
    found: dict[str, list[DeliveryView]] = {}
    names = await names_with_deliveries(store) if event_ids else []
    for piece in pieces(list(dict.fromkeys(event_ids))):
        replies = await ask(store, names, partial(_ask_for, store, piece))
        for name, texts in zip(names, replies, strict=True):
            for view in views_of(name, piece, texts, {}):
                found.setdefault(view.event_id, []).append(view)
    return found


Named = tuple[str, str]
"""A delivery, by the ids of its event and its endpoint."""


async def in_lines(store: HasClient, named: Sequence[Named]) -> list[list[Named]]:
    """Deliveries as they are to be asked for: those of one task at one endpoint together, by revision. Of what is asked
    for first the first may be gone before the second comes."""
    records = map(
        as_delivery, await ask(store, named, lambda pipe, one: pipe.hget(store.keys.deliveries(one[1]), one[0]))
    )
    lines: dict[tuple[str, str], list[tuple[int, Named]]] = {}
    for one, record in zip(named, records, strict=True):
        line = lines.setdefault((one[1], str(record.get("task"))), [])
        line.append((as_ms(record.get("revision")) or 0, one))
    return [[one for _, one in sorted(line)] for line in lines.values()]


def _ask_for(store: HasClient, event_ids: Sequence[str], pipe: "Pipeline", name: str) -> None:
    pipe.hmget(store.keys.deliveries(name), list(event_ids))


async def _ended(store: HasClient, name: str, state: str | None, task: str | None, limit: int) -> list[DeliveryView]:
    """The latest ended ones of an endpoint that fit, at most `limit` of each of its two lists."""
    keys = [store.keys.dead(name)] if state in (None, DeliveryState.DEAD) else []
    keys += [store.keys.done(name)] if state != DeliveryState.DEAD else []
    found: list[DeliveryView] = []
    for key in keys:
        fitting: list[DeliveryView] = []
        start = 0
        while len(fitting) < limit:
            reply: Any = await store.client.zrange(key, start, start + PAGE - 1, desc=True)
            ids = [as_text(one) for one in reply]
            if not ids:
                break
            start += len(ids)
            views = await records_of(store, name, ids)
            fitting += [view for view in views if state in (None, view.state) and task in (None, view.task)]
        found += fitting[:limit]
    return found


async def _owed(store: HasClient, name: str) -> list[DeliveryView]:
    """The pending ones: due or to be due, under way, and those that wait in a task's line behind one of these."""
    pipe = store.client.pipeline(transaction=False)
    pipe.zrange(store.keys.queue(name), 0, OWED - 1, withscores=True)
    pipe.zrange(store.keys.leases(name), 0, OWED - 1)
    queue, leases = await pipe.execute()
    due = {as_text(one): as_ms(score) for one, score in queue}
    heads = [*due, *(as_text(one).rpartition("/")[0] for one in leases)]
    views = await records_of(store, name, heads, due)
    lines = await ask(
        store,
        sorted({view.task for view in views}),
        lambda pipe, task: pipe.lrange(store.keys.line(name, task), 0, OWED - 1),
    )
    behind = dict.fromkeys(as_text(one) for line in lines for one in line)
    views += await records_of(store, name, [one for one in behind if one not in set(heads)])
    return [view for view in views if view.state == DeliveryState.PENDING][:OWED]


async def records_of(
    store: HasClient, name: str, event_ids: Sequence[str], due: dict[str, int | None] | None = None
) -> list[DeliveryView]:
    texts: list[Any] = []
    for piece in pieces(event_ids):
        texts += await store.client.hmget(store.keys.deliveries(name), list(piece))
    return list(views_of(name, event_ids, texts, due or {}))


def views_of(
    name: str, event_ids: Sequence[str], texts: Sequence[bytes | None], due: dict[str, int | None]
) -> Iterator[DeliveryView]:
    """Deliveries of one endpoint from their records; of those in its queue, when they are `due`."""
    for event_id, text in zip(event_ids, texts, strict=True):
        if text is not None:
            yield _view(name, event_id, as_delivery(text), due.get(event_id))


def _view(
    name: str, event_id: str, record: dict[str, Any], due: int | None, log: tuple[dict[str, Any], ...] = ()
) -> DeliveryView:
    return DeliveryView(
        event_id=event_id,
        endpoint=name,
        type=str(record.get("type", "")),
        task=str(record.get("task", "")),
        revision=as_ms(record.get("revision")),
        state=str(record.get("state", "")),
        reason=str(record["reason"]) if record.get("reason") else None,
        attempts=as_ms(record.get("attempts")) or 0,
        created_at=as_ms(record.get("created")),
        ended_at=as_ms(record.get("ended")),
        next_at=due,
        log=log,
    )
