"""Progress that is out of date: an endpoint that asks for it is not told any more, once it knows what came later."""

import json
from dataclasses import replace

import pytest
from scene import LEASE_MS, Clock, Scene

from bridge.model import DeadReason, Decision, Delivery, DeliveryState, EndpointEffect, Event
from bridge.store.reading.deliveries import list_deliveries
from bridge.store.reading.endpoints import find_endpoint
from bridge.store.steering import Steering
from bridge.store.sweep import Sweep

DELIVERED = Decision(DeliveryState.DELIVERED, EndpointEffect.SUCCESS)
RETRY = Decision(DeliveryState.PENDING, EndpointEffect.FAILURE, retry_in_ms=5_000)
DEAD = Decision(DeliveryState.DEAD, EndpointEffect.FAILURE, reason=DeadReason.EXHAUSTED)


async def settle(scene: Scene, delivery: Delivery, decision: Decision) -> str:
    return await scene.store.outbox.settle(delivery, decision, json.dumps({"attempt": delivery.attempts + 1}))


async def states(scene: Scene, *made: Event) -> list[tuple[str, str | None]]:
    found = {one.event_id: (str(one.state), one.reason) for one in await list_deliveries(scene.store)}
    return [found[event.id] for event in made]


async def one_task(scene: Scene, *words: str, **fields: object) -> list[Event]:
    """An endpoint, a task, and an event for each status."""
    await scene.endpoint("a", **{"supersede": True, **fields})
    await scene.task()
    return [await scene.commit(word) for word in words]


async def overtake(scene: Scene, *decisions: Decision) -> None:
    """Claim and settle one after the other, each as decided."""
    for decision in decisions:
        (delivery,) = await scene.claim()
        assert await settle(scene, delivery, decision) == "ok"


async def test_progress_that_waits_ends_once_a_later_event_was_delivered(scene: Scene, clock: Clock) -> None:
    """It is due, and instead of an attempt it is superseded; its reason names what stands for it."""
    first, second = await one_task(scene, "queued", "indexing")
    await overtake(scene, RETRY, DELIVERED)
    clock.advance(5_000)
    assert await scene.claim() == []
    assert await states(scene, first, second) == [("superseded", second.id), ("delivered", None)]


async def test_nobody_is_superseded_who_did_not_ask(scene: Scene, clock: Clock) -> None:
    """Off by default."""
    first, _ = await one_task(scene, "queued", "indexing", supersede=False)
    await overtake(scene, RETRY, DELIVERED)
    clock.advance(5_000)
    assert [one.event_id for one in await scene.claim()] == [first.id]
    assert await scene.store.client.exists("bridge:latest:a") == 0


async def test_a_tasks_end_and_what_follows_it_is_never_superseded(scene: Scene, clock: Clock) -> None:
    """`ready` waits for its retry, and so does news after it; the latest arrives; both are sent all the same."""
    await one_task(scene, "ready")
    clock.advance(1_000)
    end = (await scene.claim())[0]
    await settle(scene, end, RETRY)
    later = await scene.commit("ready")
    last = await scene.commit("ready")
    assert {later.type, last.type} == {"index.task.updated"}
    await overtake(scene, RETRY, DELIVERED)
    clock.advance(5_000)
    assert {one.event_id for one in await scene.claim()} == {end.event_id, later.id}


async def test_an_end_supersedes_the_progress_before_it_but_not_that_of_another_task(
    scene: Scene, clock: Clock
) -> None:
    """It is one task's, at one endpoint."""
    await scene.endpoint("a", supersede=True)
    await scene.endpoint("b", supersede=True)
    for member, delay_ms in (("t2", -1), ("t1", 1)):
        await scene.task(member)
        await scene.commit("indexing", member=member, delay_ms=delay_ms)
    for delivery in await scene.claim():
        await settle(scene, delivery, RETRY)
    clock.advance(1)
    end = await scene.commit("ready", member="t1")
    for delivery in await scene.claim():
        assert delivery.event_id == end.id
        await settle(scene, delivery, DELIVERED if delivery.endpoint == "a" else RETRY)
    clock.advance(5_000)
    again = {(one.endpoint, one.task, one.type) for one in await scene.claim()}
    assert again == {("a", "t2", "index.task.indexing"), ("b", "t1", "index.task.indexing"),
                     ("b", "t2", "index.task.indexing"), ("b", "t1", "index.task.ready")}  # fmt: skip


async def test_what_is_on_its_way_is_not_called_back(scene: Scene) -> None:
    """Delivered after all, it is delivered; failed, it is not tried again."""
    first, second, third = await one_task(scene, "pending", "queued", "indexing", ordering="none")
    deliveries = {one.event_id: one for one in await scene.claim()}
    await settle(scene, deliveries[third.id], DELIVERED)
    assert await settle(scene, deliveries[first.id], DELIVERED) == "ok"
    assert await settle(scene, deliveries[second.id], RETRY) == "ok"
    assert await states(scene, first, second) == [("delivered", None), ("superseded", third.id)]
    assert await scene.store.client.hget("bridge:latest:a", "t1") == f"{third.revision} {third.id}".encode()


async def test_the_lease_of_one_who_died_ends_superseded_too(scene: Scene, clock: Clock) -> None:
    """Nobody knows what came of the attempt; nothing more has to."""
    first, second = await one_task(scene, "queued", "indexing", ordering="none")
    later = next(one for one in await scene.claim() if one.event_id == second.id)
    await settle(scene, later, DELIVERED)
    clock.advance(LEASE_MS)
    assert await scene.claim() == []
    assert await states(scene, first) == [("superseded", second.id)]


async def test_a_dead_letter_is_no_delivery(scene: Scene, clock: Clock) -> None:
    """What came later did not arrive: the earlier one is owed still."""
    first, _ = await one_task(scene, "queued", "indexing")
    await overtake(scene, RETRY, DEAD)
    clock.advance(5_000)
    assert [one.event_id for one in await scene.claim()] == [first.id]


async def test_strict_order_is_as_it_was(scene: Scene, clock: Clock) -> None:
    """Nothing later is sent before the earlier one has ended."""
    first, second = await one_task(scene, "queued", "indexing", ordering="strict")
    await overtake(scene, RETRY)
    assert await scene.claim() == []
    clock.advance(5_000)
    await overtake(scene, DELIVERED, DELIVERED)
    assert await states(scene, first, second) == [("delivered", None)] * 2


async def test_an_operator_sends_it_all_the_same(scene: Scene, clock: Clock) -> None:
    """By force; then it is tried like any other. To recover brings none back."""
    first, _ = await one_task(scene, "queued", "indexing")
    await overtake(scene, RETRY, DELIVERED)
    clock.advance(5_000)
    assert await scene.claim() == []
    assert (await scene.store.outbox.retry(first.id, "a")).word == "superseded"
    steering = Steering(scene.store)
    assert (await steering.recover("a", [first.id])).recovered == 0
    assert (await scene.store.outbox.retry(first.id, "a", force=True)).word == "revived"
    await overtake(scene, RETRY)
    clock.advance(5_000)
    await overtake(scene, DELIVERED)
    assert await states(scene, first) == [("delivered", None)]


async def test_a_recovered_dead_letter_is_sent_whatever_was_delivered_since(scene: Scene) -> None:
    """Somebody asked for it by name."""
    first, _ = await one_task(scene, "queued", "indexing")
    await overtake(scene, DEAD, DELIVERED)
    assert (await Steering(scene.store).recover("a", [first.id])).recovered == 1
    assert [one.event_id for one in await scene.claim()] == [first.id]


async def test_a_note_goes_with_the_delivery_that_it_names(scene: Scene, clock: Clock) -> None:
    """Retention bounds the notes; to ask for it no longer, or to take the endpoint back, drops them at once."""
    await one_task(scene, "queued", "indexing")
    await overtake(scene, DELIVERED, DELIVERED)
    assert await scene.store.client.hlen("bridge:latest:a") == 1
    sweep = Sweep(scene.store, delivered_ms=60_000, dead_ms=60_000, tasks_ms=120_000)
    clock.advance(61_000)
    await sweep.page()
    assert await scene.store.client.exists("bridge:latest:a", "bridge:deliveries:a") == 0
    for change in ({"supersede": False}, None):
        await scene.endpoint("a", supersede=True)
        await scene.commit("pending")
        await overtake(scene, DELIVERED)
        assert await scene.store.client.hlen("bridge:latest:a") == 1
        if change is None:
            await scene.store.client.hdel("bridge:endpoints", "a")
            await scene.intake.run()
        else:
            await scene.endpoint("a", **change)
        assert await scene.store.client.exists("bridge:latest:a") == 0


async def test_what_is_superseded_spends_nothing_of_a_rate(scene: Scene, clock: Clock) -> None:
    """The one attempt that is allowed now goes to what is news."""
    await one_task(scene, "pending", "queued", "indexing", rate="1/m")
    later = replace(RETRY, retry_in_ms=180_000)
    for decision in (later, later, DELIVERED):
        await overtake(scene, decision)
        clock.advance(60_000)
    clock.advance(120_000)
    news = await scene.commit("ready")
    found = [one.event_id for _ in range(3) for one in await scene.claim()]
    assert found == [news.id]


@pytest.mark.parametrize("nonsense", ["", "x", "7", "9999999999999 ", "evt 7 9", "9999999999999 evt_0"])
async def test_a_note_that_somebody_wrote_over_supersedes_nothing(scene: Scene, clock: Clock, nonsense: str) -> None:
    """Then it is sent, which is what is owed."""
    first, _ = await one_task(scene, "queued", "indexing")
    await overtake(scene, RETRY, DELIVERED)
    await scene.store.client.hset("bridge:latest:a", "t1", nonsense)
    clock.advance(5_000)
    assert [one.event_id for one in await scene.claim()] == [first.id]


async def test_a_note_of_another_type_stops_nobody(scene: Scene, clock: Clock) -> None:
    """Neither a claim nor a settlement."""
    first, _ = await one_task(scene, "queued", "indexing")
    await scene.store.client.set("bridge:latest:a", "x")
    await overtake(scene, RETRY, DELIVERED)
    clock.advance(5_000)
    assert [one.event_id for one in await scene.claim()] == [first.id]


async def test_it_is_shown(scene: Scene) -> None:
    """In `endpoint show`."""
    await scene.endpoint("a", supersede=True)
    await scene.endpoint("b")
    shown = [await find_endpoint(scene.store, name) for name in ("a", "b")]
    assert [one and one.supersede for one in shown] == [True, False]
