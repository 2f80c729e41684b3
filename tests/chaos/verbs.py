"""The verbs that carry the product, each with the moment before it, for whatever may befall it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network

from scene import LEASE_MS, Clock, Scene

from bridge import events
from bridge.consent import Consent, Word, consenting
from bridge.guard import Policy
from bridge.model import Decision, DeliveryState, EndpointEffect, Notice, Postponement
from bridge.store import Store
from bridge.store.intake import Intake

Call = Callable[[], Awaitable[object]]
Verb = Callable[[Scene], Awaitable[Call]]
"""Sets the moment, and gives the call."""


@asynccontextmanager
async def a_scene(url: str) -> AsyncIterator[Scene]:
    """A store with a clock of the test's own; the same words as in the store's tests."""
    clock = Clock()
    policy = Policy(allow_networks=[ip_network("127.0.0.0/8")], allow_http=True)
    async with Store.open(url, clock=clock) as store:
        yield Scene(store, clock, Intake(store, policy, has_default_secret=True))


async def admit_tasks(scene: Scene) -> Call:
    """A task was asked for; taking it in."""
    await scene.endpoint("a")
    await scene.store.client.zadd("bridge:tasks", {"t1": 0})
    return lambda: scene.intake.run(endpoints=False)


async def claim_tasks(scene: Scene) -> Call:
    """Two tasks are due; leasing one."""
    await scene.task("t1")
    await scene.task("t2")
    return lambda: scene.store.registry.claim_tasks(1, lease_ms=20_000)


async def commit(scene: Scene) -> Call:
    """A task was read; committing what changed, for two endpoints."""
    await scene.endpoint("a")
    await scene.endpoint("b")
    await scene.store.registry.reload_endpoints()
    await scene.task("t1")
    task = await scene.claim_task()
    change, event = scene.change(task, "indexing")
    return lambda: scene.store.registry.commit(task, event, events.snapshot_after(change, event), delay_ms=5_000)


async def postpone(scene: Scene) -> Call:
    """A task was read and has not changed; giving it back."""
    await scene.task("t1")
    task = await scene.claim_task()
    return lambda: scene.store.registry.postpone(task, Postponement(5_000, faults=1, error="HTTP 503"))


async def claim_deliveries(scene: Scene) -> Call:
    """Two deliveries are due at two endpoints; leasing them."""
    await scene.endpoint("a")
    await scene.endpoint("b")
    await scene.task("t1")
    await scene.commit("indexing")
    return lambda: scene.store.outbox.claim(100, lease_ms=LEASE_MS)


async def settle(scene: Scene) -> Call:
    """A delivery was attempted and another of its task waits; settling the first."""
    await scene.endpoint("a")
    await scene.task("t1")
    await scene.commit("indexing")
    await scene.commit("ready")
    (delivery,) = await scene.claim()
    decision = Decision(DeliveryState.DELIVERED, EndpointEffect.SUCCESS)
    return lambda: scene.store.outbox.settle(delivery, decision, '{"attempt":1}')


WINDOW_MS = 100_000
FAILED = Decision(DeliveryState.PENDING, EndpointEffect.FAILURE, retry_in_ms=0, window_ms=WINDOW_MS)


async def fails(scene: Scene) -> Call:
    """A delivery fails when its endpoint's failure window is over; settling it warns thrice, and disables."""
    await scene.endpoint("a")
    await scene.endpoint("b", events=["bridge.endpoint.*"])
    await scene.task("t1")
    await scene.commit("ready")
    (first,) = await scene.claim()
    await scene.store.outbox.settle(first, FAILED, '{"attempt":1}')
    scene.clock.advance(WINDOW_MS)
    (second,) = await scene.claim()
    return lambda: scene.store.outbox.settle(second, FAILED, '{"attempt":2,"status_code":503}')


async def tell(scene: Scene) -> Call:
    """Notices about an endpoint wait, and another one wants to hear of it; telling the oldest."""
    await (await fails(scene))()
    notice = (await scene.store.notices.waiting()).notices[0]
    assert isinstance(notice, Notice)
    endpoints = await scene.store.registry.reload_endpoints()
    event, hearers = events.event_of(notice, None), endpoints.hearers(notice)
    return lambda: scene.store.notices.tell(notice, event, hearers, endpoints.version)


async def consents(scene: Scene) -> Call:
    """An event waits for the consent of its receiver, who was asked; keeping what it said."""
    await scene.endpoint("a", handshake="required")
    await scene.task("t1")
    await scene.commit("ready")
    (one,) = (await scene.store.handshakes.claim(1, lease_ms=LEASE_MS)).unconfirmed
    asked = consenting("http://127.0.0.1:9/a")
    return lambda: scene.store.handshakes.settle(one, asked, Consent(Word.GRANTED, per_minute=60))


SCRIPTS: dict[Verb, str] = {
    admit_tasks: "admit_tasks",
    claim_tasks: "claim_tasks",
    commit: "commit",
    postpone: "postpone_task",
    claim_deliveries: "claim_deliveries",
    settle: "settle",
    fails: "settle",
    tell: "tell",
    consents: "settle_handshake",
}
"""The script that each one runs."""
VERBS = tuple(SCRIPTS)
