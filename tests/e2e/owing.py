"""Real tasks, events and deliveries in the Redis of a test, made by the verbs that workers use."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import TypeVar

from bridge import diff, events
from bridge.guard import Policy
from bridge.model import Change, Decision, Delivery, DeliveryState, EndpointEffect, Observation
from bridge.store import Store
from bridge.store.intake import Intake

T = TypeVar("T")
DEAD = Decision(DeliveryState.DEAD, EndpointEffect.FAILURE)
DELIVERED = Decision(DeliveryState.DELIVERED, EndpointEffect.SUCCESS)
POLICY = Policy(allow_networks=[ip_network("127.0.0.0/8")], allow_http=True)


def with_store(url: str, work: Callable[[Store], Awaitable[T]]) -> T:
    """Do something with an open store."""

    async def run() -> T:
        async with Store.open(url) as store:
            return await work(store)

    return asyncio.run(run())


def take_in(url: str) -> None:
    """One round of intake, as a worker makes it."""

    async def work(store: Store) -> None:
        await Intake(store, POLICY, has_default_secret=True).run()

    with_store(url, work)


def announce(url: str, task: str, *statuses: str, ends: bool = False) -> list[str]:
    """Register a task and commit a change for each status, watching it no longer if it `ends`; the events' ids."""

    async def work(store: Store) -> list[str]:
        await store.client.zadd("bridge:tasks", {task: 0})
        await Intake(store, POLICY, has_default_secret=True).run()
        made = []
        for status in statuses:
            claim = await store.registry.claim_tasks(100, lease_ms=20_000)
            watched = next(one for one in claim.tasks if one.member == task)
            moment = datetime.fromtimestamp(claim.now / 1000, UTC)
            seen = Observation(task, status, moment, moment.isoformat(), None, None, {"_id": task, "status": status})
            change = diff.diff(watched.snapshot, seen, now=claim.now)
            assert isinstance(change, Change)
            event = events.event_from(change, task, now=claim.now)
            after = events.snapshot_after(change, event)
            assert await store.registry.commit(watched, event, after, delay_ms=-1 if ends else 0) == "ok"
            made.append(event.id)
        return made

    return with_store(url, work)


def claim(url: str) -> list[Delivery]:
    """Lease what is due."""

    async def work(store: Store) -> list[Delivery]:
        return (await store.outbox.claim(100, lease_ms=25_000)).deliveries

    return with_store(url, work)


def settle(url: str, decision: Decision) -> list[str]:
    """Claim what is due and end it all like this; replies the events' ids."""

    async def work(store: Store) -> list[str]:
        claimed = (await store.outbox.claim(100, lease_ms=25_000)).deliveries
        for delivery in claimed:
            assert await store.outbox.settle(delivery, decision, '{"attempt": 1, "at": 1}') in {
                "ok",
                "held",
                "disabled",
            }
        return [delivery.event_id for delivery in claimed]

    return with_store(url, work)


def deliver_all(url: str) -> list[str]:
    """Deliver whatever is due, until nothing is; replies the events' ids in the order in which they went out."""
    sent: list[str] = []
    while gone := settle(url, DELIVERED):
        sent += gone
    return sent


def settle_as(url: str, decision: Decision, attempt: str) -> None:
    """Claim what is due and end it all like this, with this attempt in its log."""

    async def work(store: Store) -> None:
        for delivery in (await store.outbox.claim(100, lease_ms=25_000)).deliveries:
            await store.outbox.settle(delivery, decision, attempt)

    with_store(url, work)


def tell_again(url: str, task: str) -> str:
    """Claim a task that was registered again, and announce its present state, as a poller does; the script's word."""

    async def work(store: Store) -> str:
        await store.registry.reload_endpoints()
        (watched,) = (await store.registry.claim_tasks(1, lease_ms=20_000)).tasks
        assert (watched.member, watched.announce) == (task, True)
        assert watched.snapshot
        return await store.registry.announce(watched, watched.snapshot.event_id, delay_ms=0)

    return with_store(url, work)
