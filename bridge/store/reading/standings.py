"""How endpoints stand towards what they are owed, and what that means for deliveries that wait."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.model import DeliveryState
from bridge.store.reading.trips import HasClient, as_ms, as_record, ask
from bridge.store.records import as_text
from bridge.waiting import GONE, Standing, error_of, hold_of

if TYPE_CHECKING:
    from redis.asyncio.client import Pipeline

    from bridge.store.reading.deliveries import DeliveryView

LEASES = 1_000
"""The most leases of an endpoint that are looked at: it has no more attempts at once."""
FIELDS = ("state", "reason", "probe_at", "paused_until", "last_failure", "kept", "by")


async def standings(store: HasClient, names: Sequence[str]) -> dict[str, Standing]:
    """How each of these endpoints stands."""
    replies = await ask(store, names, lambda pipe, name: pipe.hmget(store.keys.endpoint(name), FIELDS))
    found = {}
    for name, (state, reason, probe, paused, failure, kept, by) in zip(names, replies, strict=True):
        found[name] = Standing(
            as_text(state) or "removed",
            as_text(reason),
            as_ms(probe),
            as_ms(paused),
            error_of(as_record(failure)),
            kept=bool(kept),
            by=as_text(by),
        )
    return found


async def with_holds(store: HasClient, views: "Sequence[DeliveryView]") -> "list[DeliveryView]":
    """These deliveries; of the pending ones what holds them, or when they go out, and how their endpoint fails; of
    these and the dead ones what they failed by; of all whether their endpoint was removed, or disabled as gone."""
    known = await standings(store, sorted({view.endpoint for view in views}))
    pending = [view for view in views if view.state == DeliveryState.PENDING]
    dead = [view for view in views if view.state == DeliveryState.DEAD]
    judged = await _held(store, pending, known) | await _failed(store, dead)
    found = [judged.get((view.endpoint, view.event_id), view) for view in views]
    return [_standing(view, known[view.endpoint]) for view in found]


def _standing(view: "DeliveryView", standing: Standing) -> "DeliveryView":
    if standing.state == "removed":
        return replace(view, endpoint_removed=True)
    return replace(view, endpoint_gone=True) if standing.cause == GONE else view


Judged = dict[tuple[str, str], "DeliveryView"]
"""By endpoint and event."""


async def _held(store: HasClient, pending: "Sequence[DeliveryView]", known: dict[str, Standing]) -> Judged:
    def question(pipe: "Pipeline", view: "DeliveryView") -> None:
        pipe.zscore(store.keys.queue(view.endpoint), view.event_id)
        pipe.hget(store.keys.turns(view.endpoint), view.task)
        pipe.lpos(store.keys.line(view.endpoint, view.task), view.event_id)
        pipe.lindex(store.keys.attempts(view.endpoint, view.event_id), -1)

    replies = await ask(store, pending, question)
    claimed = {view.endpoint for view, due in zip(pending, replies[::4], strict=True) if due is None}
    leases, judged = await _leases(store, sorted(claimed)), {}
    for i, view in enumerate(pending):
        due, head, place, latest = replies[4 * i : 4 * i + 4]
        standing = known[view.endpoint]
        waits = due is None and place is not None and as_text(head) != view.event_id
        leased = leases.get((view.endpoint, view.event_id)) if due is None else None
        hold = hold_of(standing, as_text(head) if waits else None, leased)
        moment = None if due is None or hold else max(int(due), standing.paused_until_at or 0)
        judged[view.endpoint, view.event_id] = replace(
            view, next_at=moment, hold=hold, endpoint_error=standing.error or None, last_error=_failure(latest)
        )
    return judged


async def _leases(store: HasClient, names: Sequence[str]) -> dict[tuple[str, str], int]:
    """Until when which deliveries of these endpoints are leased, by endpoint and event."""
    now = await store.scripts.now() if names else 0

    def question(pipe: "Pipeline", name: str) -> None:
        key = store.keys.leases(name)
        pipe.zrange(key, f"({now}", "+inf", byscore=True, withscores=True, offset=0, num=LEASES)

    replies = await ask(store, names, question)
    return {
        (name, as_text(one).rpartition("/")[0]): int(until)
        for name, found in zip(names, replies, strict=True)
        for one, until in found
    }


async def _failed(store: HasClient, dead: "Sequence[DeliveryView]") -> Judged:
    def question(pipe: "Pipeline", view: "DeliveryView") -> None:
        pipe.lindex(store.keys.attempts(view.endpoint, view.event_id), -1)

    latest = await ask(store, dead, question)
    return {
        (view.endpoint, view.event_id): replace(view, last_error=_failure(one))
        for view, one in zip(dead, latest, strict=True)
    }


def _failure(latest: bytes | str | None) -> str | None:
    """What an attempt came to; None where there was none, or it was taken: what was delivered may be owed again."""
    attempt = as_record(latest)
    status = attempt.get("status_code")
    taken = isinstance(status, int) and 200 <= status < 300
    return None if taken else error_of(attempt) or None
