"""What somebody deleted of our own keys, on a real Redis: the sweep makes it anew, and what is owed stays owed."""

import json

import pytest
from model_store import read_state
from scene import Clock, Scene

from bridge.model import Decision, DeliveryState, EndpointEffect
from bridge.store import Store
from bridge.store.sweep import MEND_PAGE, Sweep

DELIVERED = Decision(DeliveryState.DELIVERED, EndpointEffect.SUCCESS)
LONG = 10**12
HOUR_MS = 3_600_000


def a_sweep(store: Store) -> Sweep:
    """One that forgets nothing."""
    return Sweep(store, delivered_ms=LONG, dead_ms=LONG, tasks_ms=LONG)


LOST = [
    ("ready",), ("queue:a",), ("endpoint:a",), ("registry",), ("leases:a",), ("registry", "endpoint:a"),
    ("ready", "queue:a", "leases:a", "endpoint:a", "registry"), ("turns:a",), ("turns:a", "queue:a", "leases:a"),
]  # fmt: skip


@pytest.mark.parametrize("lost", LOST, ids="+".join)
async def test_what_is_owed_stays_owed_when_somebody_deletes_a_key(
    scene: Scene, clock: Clock, lost: tuple[str, ...]
) -> None:
    """P2: one delivery in flight, one waiting behind it, one to be retried: all arrive, each once."""
    await scene.endpoint("a")
    for member in ("t1", "t2"):
        await scene.task(member)
    retried = await scene.commit("queued", member="t2", delay_ms=600_000)
    (delivery,) = await scene.claim()
    retry = Decision(DeliveryState.PENDING, EndpointEffect.FAILURE, retry_in_ms=5_000)
    await scene.store.outbox.settle(delivery, retry, "{}")
    made = [await scene.commit(status, delay_ms=0) for status in ("queued", "indexing")]
    (taken,) = await scene.claim()
    await scene.store.client.delete(*(f"bridge:{key}" for key in lost))
    sweep = a_sweep(scene.store)
    arrived: list[str] = []
    for _ in range(4):
        await sweep.page()
        await scene.intake.run()
        clock.advance(30_000)
        for delivery in await scene.claim():
            arrived.append(delivery.event_id)
            await scene.store.outbox.settle(delivery, DELIVERED, "{}")
    assert taken.event_id == made[0].id
    assert sorted(arrived) == sorted(event.id for event in (retried, *made))


async def test_what_an_older_version_put_in_line_goes_out(scene: Scene, clock: Clock) -> None:
    """P2, P4: there the line began with the one whose turn it was; what waits and what comes keep their order."""
    await scene.endpoint("a")
    await scene.task()
    made = [await scene.commit(status, delay_ms=0) for status in ("pending", "queued", "indexing")]
    turn = await scene.store.client.hget("bridge:turns:a", "t1") or b""
    await scene.store.client.delete("bridge:turns:a")
    await scene.store.client.lpush("bridge:line:a:t1", turn)
    made.append(await scene.commit("ready", delay_ms=0))
    sweep, arrived = a_sweep(scene.store), list[str]()
    for _ in range(8):
        await sweep.page()
        clock.advance(30_000)
        claimed = await scene.claim()
        arrived += [delivery.event_id for delivery in claimed]
        for delivery in claimed:
            await scene.store.outbox.settle(delivery, DELIVERED, "{}")
    assert arrived == [event.id for event in made]


@pytest.mark.parametrize("lost", [("registry",), ("registry", "ready"), ("ready",), ("leases:{name}", "queue:{name}")])
async def test_what_is_owed_to_a_callback_stays_owed(scene: Scene, clock: Clock, lost: tuple[str, ...]) -> None:
    """An implicit endpoint's URL is in no key of a client's once its task is over; it is kept in two of ours."""
    await scene.task(callback_url="http://127.0.0.1:9/cb")
    event = await scene.commit("ready", delay_ms=-1)
    await scene.store.client.delete("bridge:task:t1")
    (name,) = scene.store.registry.endpoints.by_name or await scene.store.client.hkeys("bridge:registry")
    name = name if isinstance(name, str) else name.decode()
    await scene.store.client.delete(*(f"bridge:{key}".format(name=name) for key in lost))
    await a_sweep(scene.store).page()
    clock.advance(30_000)
    assert [delivery.event_id for delivery in await scene.claim()] == [event.id]
    assert (await scene.store.registry.reload_endpoints()).by_name[name].url == "http://127.0.0.1:9/cb"


async def test_a_watched_tasks_callback_comes_back(scene: Scene) -> None:
    """Its hash and its place in the registry are gone: the sweep asks for the task again, which brings the callback."""
    await scene.task(callback_url="http://127.0.0.1:9/cb")
    (name,) = (await scene.store.registry.reload_endpoints()).by_name
    await scene.store.client.delete("bridge:registry", f"bridge:endpoint:{name}")
    await a_sweep(scene.store).page()
    await scene.intake.run()
    event = await scene.commit("queued")
    assert [(d.endpoint, d.event_id) for d in await scene.claim()] == [(name, event.id)]
    assert await scene.store.client.hget(f"bridge:endpoint:{name}", "watchers") == b"1"


async def test_a_line_of_an_endpoint_that_wants_no_order_any_more_is_let_go(scene: Scene) -> None:
    """Strict, with a failing head that is retried in an hour: under `none`, or `first-attempt`, its successor goes."""
    for name in ("a", "b"):
        await scene.endpoint(name, ordering="strict")
    await scene.task()
    made = [await scene.commit(status) for status in ("queued", "indexing")]
    retry = Decision(DeliveryState.PENDING, EndpointEffect.FAILURE, retry_in_ms=HOUR_MS)
    for delivery in await scene.claim():
        await scene.store.outbox.settle(delivery, retry, "{}")
    await scene.endpoint("a", ordering="none")
    await scene.endpoint("b", ordering="first-attempt")
    await a_sweep(scene.store).page()
    assert sorted((d.endpoint, d.event_id) for d in await scene.claim()) == [("a", made[1].id), ("b", made[1].id)]


async def test_what_a_removed_endpoint_is_owed_is_cancelled_without_its_hash(scene: Scene) -> None:
    """HDEL by its client, and its hash deleted before the bridge saw that: nothing stays pending for ever."""
    await scene.endpoint("a")
    await scene.task()
    made = [await scene.commit(status) for status in ("queued", "indexing")]
    await scene.store.client.hdel("bridge:endpoints", "a")
    await scene.store.client.delete("bridge:endpoint:a", "bridge:registry", "bridge:queue:a")
    sweep = a_sweep(scene.store)
    for _ in range(2):
        await sweep.page()
        await scene.intake.run()
    texts = await scene.store.client.hmget(scene.store.keys.deliveries("a"), [event.id for event in made])
    assert [json.loads(text or "{}")["state"] for text in texts] == ["cancelled", "cancelled"]


async def test_a_sound_store_is_left_as_it_is(scene: Scene) -> None:
    """A page over what is in order writes nothing but what it remembers of the clock."""
    await scene.endpoint("a")
    await scene.task(callback_url="http://127.0.0.1:9/cb")
    for status in ("queued", "indexing"):
        await scene.commit(status)
    await scene.claim(1)
    sweep = a_sweep(scene.store)
    await sweep.page()
    before = await read_state(scene.store.client)
    await sweep.page()
    assert await read_state(scene.store.client) == before


async def test_owed_deliveries_are_looked_at_a_page_at_a_time(scene: Scene) -> None:
    """However many records there are, a page reads a bounded number, and the pages come round."""
    client, keys = scene.store.client, scene.store.keys
    await scene.endpoint("a", ordering="none")
    record = json.dumps(
        {"task": "t", "type": "x", "revision": "1", "created": 1, "attempts": 0, "state": "pending"},
        separators=(",", ":"),
    )
    await client.hset(keys.deliveries("a"), mapping={f"evt_{number}": record for number in range(6_000)})
    sweep, queued = a_sweep(scene.store), [0]
    while queued[-1] < 6_000:
        await sweep.page()
        queued.append(await client.zcard(keys.queue("a")))
        assert 0 < queued[-1] - queued[-2] <= 2 * MEND_PAGE
