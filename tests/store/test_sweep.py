"""The slow comparison on a real Redis: what got out of step is put right, and retention keeps up."""

import json

import pytest
from scene import Clock, Scene

from bridge.model import Decision, DeliveryState, EndpointEffect
from bridge.store import Store
from bridge.store.sweep import ORPHAN_MS, Sweep

DELIVERED = Decision(DeliveryState.DELIVERED, EndpointEffect.SUCCESS)
LONG = 10**12


def a_sweep(store: Store, *, retention_ms: int = LONG) -> Sweep:
    """One that forgets what ended longer ago than this."""
    return Sweep(store, delivered_ms=retention_ms, dead_ms=retention_ms, tasks_ms=retention_ms)


async def deliver_all(scene: Scene) -> None:
    for delivery in await scene.claim(1_000):
        await scene.store.outbox.settle(delivery, DELIVERED, json.dumps({"attempt": 1}))


async def test_a_wrong_type_of_the_clients_key_stops_no_retention(scene: Scene, clock: Clock) -> None:
    """bridge:tasks is a string by accident: what ended long ago is forgotten all the same."""
    await scene.endpoint("a")
    await scene.task()
    await scene.commit("ready")
    await deliver_all(scene)
    await scene.store.client.set("bridge:tasks", "oops")
    clock.advance(10_000)
    await a_sweep(scene.store, retention_ms=5_000).page()
    assert not await scene.store.client.exists(scene.store.keys.deliveries("a"))


@pytest.mark.parametrize("command", [("SET", "x"), ("RPUSH", "x"), ("SADD", "x")])
async def test_options_that_are_no_hash_are_orphans_too(scene: Scene, clock: Clock, command: tuple[str, str]) -> None:
    """Whatever somebody wrote under bridge:task:<id>, without a member it goes after a day."""
    await scene.store.client.execute_command(command[0], "bridge:task:t1", command[1])  # type: ignore[no-untyped-call]
    sweep = a_sweep(scene.store)
    await sweep.page()
    assert await scene.store.client.exists("bridge:task:t1")
    clock.advance(ORPHAN_MS)
    await sweep.page()
    assert not await scene.store.client.exists("bridge:task:t1")


async def test_retention_keeps_up_with_a_busy_endpoint(scene: Scene, clock: Clock) -> None:
    """Three thousand deliveries that ended long ago are forgotten in one page, and no page forgets without bound."""
    client, keys = scene.store.client, scene.store.keys
    await scene.endpoint("a")
    ids = [f"evt_{number}" for number in range(13_000)]
    await client.hset(keys.deliveries("a"), mapping=dict.fromkeys(ids, '{"state":"delivered"}'))
    await client.zadd(keys.done("a"), dict.fromkeys(ids, clock.now))
    clock.advance(10_000)
    sweep = a_sweep(scene.store, retention_ms=5_000)
    forgotten = [await sweep.page() for _ in range(2)]
    assert forgotten == [10_000, 3_000]


async def test_an_endpoint_with_much_to_forget_keeps_no_other_waiting(scene: Scene, clock: Clock) -> None:
    """Each endpoint has its first batch in every page, whatever another one has."""
    client, keys = scene.store.client, scene.store.keys
    for name, number in (("a", 11_000), ("b", 300), ("c", 300)):
        await scene.endpoint(name)
        ids = [f"evt_{name}{one}" for one in range(number)]
        await client.hset(keys.deliveries(name), mapping=dict.fromkeys(ids, '{"state":"delivered"}'))
        await client.zadd(keys.done(name), dict.fromkeys(ids, clock.now))
    clock.advance(10_000)
    await a_sweep(scene.store, retention_ms=5_000).page()
    assert [await client.hlen(keys.deliveries(name)) for name in "bc"] == [0, 0]


async def test_ended_tasks_are_forgotten_batch_after_batch(scene: Scene, clock: Clock) -> None:
    """Two thousand ended tasks are forgotten in one page."""
    await scene.store.client.zadd(scene.store.keys.ended, {f"t{number}": clock.now for number in range(2_000)})
    clock.advance(10_000)
    await a_sweep(scene.store, retention_ms=5_000).page()
    assert await scene.store.client.zcard(scene.store.keys.ended) == 0


async def test_a_hash_that_was_an_orphan_before_has_its_whole_day_again(scene: Scene, clock: Clock) -> None:
    """Found without a member, then deleted by its client; written anew a day later, just before its ZADD."""
    client = scene.store.client
    sweep = a_sweep(scene.store)
    await client.hset("bridge:task:t1", "metadata", "1")
    await sweep.page()
    await client.delete("bridge:task:t1")
    clock.advance(ORPHAN_MS)
    await sweep.page()
    await client.hset("bridge:task:t1", "metadata", "2")
    await sweep.page()
    assert await client.hget("bridge:task:t1", "metadata") == b"2"


async def test_a_hash_has_a_day_from_when_it_lost_its_member_this_time(scene: Scene, clock: Clock) -> None:
    """An orphan once, then registered and taken back between two pages: the day counts from the latter."""
    client = scene.store.client
    sweep = a_sweep(scene.store)
    await client.hset("bridge:task:t1", "metadata", "1")
    await sweep.page()
    clock.advance(ORPHAN_MS - 1_000)
    await scene.task()
    await client.zrem("bridge:tasks", "t1")
    clock.advance(1_000)
    await sweep.page()
    assert await client.exists("bridge:task:t1")
    clock.advance(ORPHAN_MS)
    await sweep.page()
    assert not await client.exists("bridge:task:t1")
