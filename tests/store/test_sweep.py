"""The slow comparison on a real Redis: what got out of step is put right, and retention keeps up."""

import json

import pytest
from scene import Clock, Scene

from bridge.model import Decision, DeliveryState, EndpointEffect, Postponement
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


@pytest.mark.parametrize("back_ms", [500, 60_000, 3_600_000])
async def test_a_revision_grows_though_redis_forgot_one_and_its_clock_went_back(
    scene: Scene, clock: Clock, back_ms: int
) -> None:
    """Whoever applies the highest revision has to end with the truth: before a sweep sees the jump, and after."""
    sweep, revisions = a_sweep(scene.store), []
    await scene.task()
    await sweep.page()
    for status in ("queued", "indexing", "ready"):
        clock.advance(1_000)
        await scene.store.client.zadd("bridge:watch", {"t1": 0})
        revisions.append((await scene.commit(status)).revision)
        await scene.store.client.delete("bridge:snapshot:t1")  # what a Redis that was set back has forgotten
        clock.advance(-back_ms)
        if status == "indexing":
            await sweep.page()
    assert revisions == sorted(set(revisions))


async def test_a_forged_record_of_the_clock_makes_no_revision_that_cannot_be_outdone(scene: Scene) -> None:
    """What nobody can have waited for is ignored."""
    await scene.task()
    await scene.store.client.hset("bridge:meta", mapping={"clock": 10**17, "clock_behind": "x"})
    assert (await scene.commit("queued")).revision < 10**14


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


HOUR_MS = 3_600_000


async def test_a_clock_that_jumps_back_stalls_nothing(scene: Scene, clock: Clock) -> None:
    """Redis' clock goes back an hour: reads, retries, leases and rests come when they would have come."""
    sweep = a_sweep(scene.store)
    await scene.endpoint("a", ordering="none")
    await scene.endpoint("b", ordering="none")
    await scene.task()
    await scene.commit("queued", delay_ms=5_000)
    taken = {delivery.endpoint: delivery for delivery in await scene.claim()}
    rest = Decision(DeliveryState.PENDING, EndpointEffect.FAILURE, retry_in_ms=20_000, pause_ms=20_000)
    await scene.store.outbox.settle(taken["b"], rest, "{}")
    await scene.store.registry.pause_account(10)
    await sweep.page()
    clock.advance(-HOUR_MS + 1_000)
    await sweep.page()
    clock.advance(10_000)
    assert [task.member for task in (await scene.store.registry.claim_tasks(10, lease_ms=20_000)).tasks] == ["t1"]
    assert await scene.claim() == []
    clock.advance(15_000)
    assert sorted(delivery.endpoint for delivery in await scene.claim()) == ["a", "b"]


async def test_a_clock_that_jumps_back_frees_the_request_budget_in_time(scene: Scene, clock: Clock) -> None:
    """Grants of the old clock's minute count for a minute, and not until the clock is there again."""
    sweep = a_sweep(scene.store)
    for number in range(2):
        await scene.task(f"t{number}")
    assert len((await scene.store.registry.claim_tasks(10, lease_ms=1_000, per_minute=2)).tasks) == 2
    await sweep.page()
    clock.advance(-HOUR_MS)
    await sweep.page()
    clock.advance(30_000)
    assert (await scene.store.registry.claim_tasks(10, lease_ms=1_000, per_minute=2)).tasks == []
    clock.advance(40_000)
    assert len((await scene.store.registry.claim_tasks(10, lease_ms=1_000, per_minute=2)).tasks) == 2


async def test_a_clock_that_jumps_back_frees_what_the_list_spent_in_time(scene: Scene, clock: Clock) -> None:
    """A page is noted beside the other grants: it counts for a minute too, and the jump is made good once."""
    sweep, listings = a_sweep(scene.store), scene.store.listings
    await scene.task()
    await scene.commit("queued", delay_ms=600_000)
    due = clock.now
    assert [await listings.grant(per_minute=1), await listings.grant(per_minute=1) > 0] == [0, True]
    await sweep.page()
    clock.advance(-HOUR_MS)
    for _ in range(3):
        await sweep.page()
    assert await scene.store.client.zscore(scene.store.keys.watch, "t1") == due - HOUR_MS
    clock.advance(30_000)
    assert await listings.grant(per_minute=1) > 0
    clock.advance(40_000)
    assert await listings.grant(per_minute=1) == 0


@pytest.mark.parametrize(
    "wrong", [{"nonsense": "1"}, {"99999999999": "1"}, {"{now}": "x"}, {"{now} list": "nan"}, None]
)
async def test_nonsense_among_the_grants_stops_neither_sweep_nor_reading(
    scene: Scene, clock: Clock, wrong: dict[str, str] | None
) -> None:
    """Somebody wrote over what was spent: what cannot be read is nothing spent, and the clock is followed."""
    client, key, sweep = scene.store.client, "bridge:spent:default", a_sweep(scene.store)
    await scene.task()
    if wrong is None:
        await client.set(key, "x")
    else:
        now = str(clock.now // 1000)
        await client.hset(key, mapping={name.format(now=now): value for name, value in wrong.items()})
    first = await scene.store.registry.claim_tasks(10, lease_ms=1_000, per_minute=1)
    clock.advance(63_000)  # what is ahead of the clock was spent just now, for all that is known
    later = await scene.store.registry.claim_tasks(10, lease_ms=1_000, per_minute=1)
    assert [*first.tasks, *later.tasks]
    await sweep.page()
    clock.advance(-HOUR_MS)
    await sweep.page()


async def test_what_was_doubted_by_the_old_clock_is_believed_soon(scene: Scene, clock: Clock) -> None:
    """A moment of doubt that lies ahead becomes now: it only has to be a second old."""
    await scene.task()
    task = await scene.claim_task()
    await scene.store.registry.postpone(
        task, Postponement(1_000, absent_since=clock.now, doubt="x", doubted_at=clock.now)
    )
    sweep = a_sweep(scene.store)
    await sweep.page()
    clock.advance(-HOUR_MS)
    await sweep.page()
    clock.advance(5_000)
    task = await scene.claim_task()
    assert clock.now - 6_000 < (task.doubted_at or 0) <= clock.now
    assert clock.now - 6_000 < (task.absent_since or 0) <= clock.now


@pytest.mark.parametrize("jump_ms", [1_000, -1_500, HOUR_MS])
async def test_a_clock_that_only_wavers_moves_nothing(scene: Scene, clock: Clock, jump_ms: int) -> None:
    """Two seconds back are no jump, and forward is what clocks do."""
    await scene.task()
    await scene.commit("queued", delay_ms=60_000)
    sweep = a_sweep(scene.store)
    await sweep.page()
    due = await scene.store.client.zscore(scene.store.keys.watch, "t1")
    clock.advance(jump_ms)
    await sweep.page()
    assert await scene.store.client.zscore(scene.store.keys.watch, "t1") == due


async def test_a_jump_is_made_good_once(scene: Scene, clock: Clock) -> None:
    """The pages after it, and those of other workers, find the clock going on."""
    await scene.task()
    await scene.commit("queued", delay_ms=600_000)
    await a_sweep(scene.store).page()
    due = clock.now
    clock.advance(-HOUR_MS)
    for _ in range(3):
        await a_sweep(scene.store).page()
    assert await scene.store.client.zscore(scene.store.keys.watch, "t1") == due - HOUR_MS
    assert await scene.store.client.hget(scene.store.keys.stats, "clock_jumps") == b"1"


@pytest.mark.parametrize("nonsense", ['{"state": "pending"', '["pending"]', '"pending"', '{"state": "pending"}'])
async def test_an_unreadable_record_stops_no_sweep_and_is_put_aside(scene: Scene, nonsense: str) -> None:
    """P10: the record of one delivery was overwritten; the page goes on for everybody, and this one ends, said why."""
    client, keys = scene.store.client, scene.store.keys
    await scene.endpoint("a")
    await scene.endpoint("b")
    await scene.task()
    event = await scene.commit("ready")
    await client.hset(keys.deliveries("a"), event.id, nonsense)
    await client.delete(keys.queue("a"), keys.queue("b"))
    await a_sweep(scene.store).page()
    assert [delivery.endpoint for delivery in await scene.claim()] == ["b"]
    assert json.loads(await client.hget(keys.deliveries("a"), event.id) or "")["reason"] == "unreadable"
    assert await client.hexists(keys.rejected, f"delivery:a:{event.id}")


async def test_an_unreadable_head_does_not_hold_up_its_line(scene: Scene) -> None:
    """The later states of its task are delivered, though their place in the queue was lost with it."""
    client, keys = scene.store.client, scene.store.keys
    await scene.endpoint("a", ordering="strict")
    await scene.task()
    first = await scene.commit("indexing")
    second = await scene.commit("ready")
    await client.hset(keys.deliveries("a"), first.id, '{"state": "pending"')
    await client.delete(keys.queue("a"))
    await a_sweep(scene.store).page()
    assert [delivery.event_id for delivery in await scene.claim()] == [second.id]
