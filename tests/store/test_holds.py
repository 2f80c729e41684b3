"""What is told of deliveries that wait: when they go out, or what holds them, and how their endpoint fails."""

import json

import pytest
from scene import LEASE_MS, Scene

from bridge.model import Decision, DeliveryState, EndpointEffect
from bridge.store.reading.deliveries import DeliveryView, deliveries_of, find_deliveries, list_deliveries
from bridge.store.reading.endpoints import find_endpoint
from bridge.store.reading.standings import with_holds
from bridge.store.steering import Steering
from bridge.waiting import Hold, Holder

RETRY = Decision(DeliveryState.PENDING, EndpointEffect.FAILURE, retry_in_ms=9_000, probe_in_ms=240_000)
DELIVERED = Decision(DeliveryState.DELIVERED, EndpointEffect.SUCCESS)
REFUSED = json.dumps({"attempt": 1, "status_code": 401, "excerpt": "who are you?"})


@pytest.fixture
async def scene(scene: Scene) -> Scene:
    """An endpoint, and a task."""
    await scene.endpoint("a")
    await scene.task("t1")
    return scene


async def settle(scene: Scene, decision: Decision, attempt: str = REFUSED) -> None:
    (delivery,) = await scene.claim()
    await scene.store.outbox.settle(delivery, decision, attempt)


async def seen(scene: Scene, event_id: str) -> DeliveryView:
    """One delivery: as it is listed, as it is shown, and as its task shows it, which are the same."""
    (shown,) = await find_deliveries(scene.store, event_id, "a")
    (listed,) = [one for one in await list_deliveries(scene.store) if one.event_id == event_id]
    (of_task,) = await with_holds(scene.store, (await deliveries_of(scene.store, [event_id]))[event_id])
    told = {(one.hold, one.next_at, one.endpoint_error) for one in (shown, listed, of_task)}
    assert len(told) == 1, told
    return shown


async def test_who_waits_for_another_says_for_whom(scene: Scene) -> None:
    """The head is under way, says so and waits for nobody; its successor waits for it until it has had its first
    attempt."""
    first, second = [await scene.commit(word) for word in ("queued", "indexing")]
    assert (await seen(scene, second.id)).hold == Hold(Holder.LINE, behind=first.id)
    (delivery,) = await scene.claim()
    head = await seen(scene, first.id)
    assert (head.hold, head.next_at) == (Hold(Holder.ATTEMPT, again_at=scene.clock.now + LEASE_MS), None)
    assert (await seen(scene, second.id)).hold == Hold(Holder.LINE, behind=first.id)
    await scene.store.outbox.settle(delivery, RETRY, REFUSED)
    assert (await seen(scene, second.id)).hold is None
    head = await seen(scene, first.id)
    assert (head.hold, head.next_at, head.endpoint_error) == (None, scene.clock.now + 9_000, "HTTP 401")


async def test_one_whose_worker_was_lost_is_being_attempted_no_longer(scene: Scene) -> None:
    """Once its lease has ended nobody does; nor is a probe hidden by the breaker that it asks for."""
    event = await scene.commit("queued")
    await scene.claim()
    await scene.store.client.hset("bridge:endpoint:a", "state", "held")
    assert (await seen(scene, event.id)).hold == Hold(Holder.ATTEMPT, again_at=scene.clock.now + LEASE_MS)
    scene.clock.now += LEASE_MS
    assert (await seen(scene, event.id)).hold == Hold(Holder.BREAKER)


async def test_what_a_disabled_endpoint_is_owed_has_no_next_time(scene: Scene) -> None:
    """Nothing will be sent then; enabled again, it has one."""
    event = await scene.commit("queued")
    await settle(scene, RETRY)
    steering = Steering(scene.store)
    await steering.disable("a", "it moves")
    view = await seen(scene, event.id)
    assert (view.hold, view.next_at) == (Hold(Holder.DISABLED, "it moves", by_operator=True), None)
    await steering.enable("a")
    assert (await seen(scene, event.id)).hold is None


async def test_an_open_breaker_says_when_it_probes(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """And how its endpoint fails, until a success."""
    monkeypatch.setattr("bridge.store.outbox.FAILURES_BEFORE_OPEN", 1)
    monkeypatch.setattr("bridge.store.outbox.OPEN_AFTER_MS", 0)
    event = await scene.commit("queued")
    await settle(scene, RETRY)
    view = await seen(scene, event.id)
    assert view.hold == Hold(Holder.BREAKER, "failing", probe_at=scene.clock.now + 240_000)
    assert (view.next_at, view.endpoint_error) == (None, "HTTP 401")
    scene.clock.advance(240_000)
    await settle(scene, DELIVERED, "{}")
    assert (await seen(scene, event.id)).endpoint_error is None
    endpoint = await find_endpoint(scene.store, "a")
    assert endpoint is not None
    assert endpoint.last_error is None


async def test_a_rest_that_an_endpoint_asked_for_is_in_the_next_time(scene: Scene) -> None:
    """Retry-After: not before, whatever the schedule says."""
    event = await scene.commit("queued")
    await settle(scene, Decision(DeliveryState.PENDING, EndpointEffect.FAILURE, retry_in_ms=9_000, pause_ms=60_000))
    assert (await seen(scene, event.id)).next_at == scene.clock.now + 60_000


async def test_the_last_error_is_kept_without_the_answer(scene: Scene) -> None:
    """In short; each failure replaces it. What was answered stays with the attempt, and goes with it."""
    await scene.commit("queued")
    await settle(scene, RETRY)
    scene.clock.advance(9_000)
    fault = {"fault": "timeout", "detail": "no answer within 15 s", "excerpt": "x"}
    await settle(scene, RETRY, json.dumps(fault))
    endpoint = await find_endpoint(scene.store, "a")
    assert endpoint is not None
    assert endpoint.last_error == "timeout: no answer within 15 s"
    kept = await scene.store.client.hget("bridge:endpoint:a", "last_failure")
    assert json.loads(kept or "") == {"fault": "timeout", "detail": "no answer within 15 s"}
