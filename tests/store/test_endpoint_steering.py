"""An operator's word about an endpoint: held and not dropped, tried again in order, dead letters brought back."""

import json
from dataclasses import replace
from typing import Any, cast

import pytest
from scene import LEASE_MS, Scene

from bridge.model import DeadReason, Decision, Delivery, DeliveryState, EndpointEffect, Event
from bridge.recovery import RECOVERABLE, choose
from bridge.store import Store
from bridge.store.reading.trips import as_delivery
from bridge.store.steering import Steering

DELIVERED = Decision(DeliveryState.DELIVERED, EndpointEffect.SUCCESS)
RETRY = Decision(DeliveryState.PENDING, EndpointEffect.FAILURE, retry_in_ms=3_600_000)
DEAD = Decision(DeliveryState.DEAD, EndpointEffect.FAILURE, reason=DeadReason.EXHAUSTED)
GONE = Decision(DeliveryState.DEAD, EndpointEffect.DISABLE_GONE, reason=DeadReason.GONE)
EXPIRED = Decision(DeliveryState.DEAD, EndpointEffect.FAILURE, reason=DeadReason.EXPIRED)
STATUSES = ("validating", "pending", "queued", "indexing", "ready")


@pytest.fixture
def steering(store: Store) -> Steering:
    """The verbs."""
    return Steering(store)


async def settle(scene: Scene, delivery: Delivery, decision: Decision) -> str:
    return await scene.store.outbox.settle(delivery, decision, json.dumps({"attempt": delivery.attempts + 1}))


async def some_events(scene: Scene, *words: str, **fields: object) -> list[Event]:
    """An endpoint, a task, and an event for each status."""
    await scene.endpoint("a", **fields)
    await scene.task()
    return [await scene.commit(word) for word in words]


async def known(store: Store, name: str = "a") -> dict[str, str]:
    """What is known of an endpoint."""
    raw: Any = await store.client.hgetall(store.keys.endpoint(name))
    return {field.decode(): value.decode() for field, value in raw.items()}


async def record(store: Store, event: Event) -> dict[str, Any]:
    text = await store.client.hget(store.keys.deliveries("a"), event.id)
    assert text is not None
    return as_delivery(text)


async def drain(scene: Scene, decision: Decision = DELIVERED) -> list[str]:
    """Claim and settle until nothing is due; the events' ids in the order of their claims."""
    seen: list[str] = []
    for _ in range(100):
        claimed = await scene.claim()
        if not claimed:
            return seen
        for delivery in claimed:
            seen.append(delivery.event_id)
            await settle(scene, delivery, decision)
    raise AssertionError("it never ends")


async def ids_of_dead(steering: Steering, since: int = 0) -> list[str]:
    letters = await steering.dead_letters("a", since)
    return list(choose(letters.found, RECOVERABLE).event_ids)


# -- disable, enable --


async def test_a_disabled_endpoint_is_held_and_takes_nothing(scene: Scene, steering: Steering) -> None:
    """P9: what was owed and what comes meanwhile is kept, for days, and nothing of it is claimed, retried or swept."""
    made = await some_events(scene, "validating", "pending")
    assert (await steering.disable("a", "receiver moves")).word == "done"
    fields = await known(scene.store)
    assert (fields["state"], fields["reason"], fields["by"]) == ("disabled", "receiver moves", "operator")
    made += [await scene.commit(word) for word in ("queued", "ready")]
    for _ in range(3):
        assert await scene.claim() == []
        scene.clock.advance(10 * 86_400_000)
        assert await scene.store.outbox.prune("a", delivered_ms=1, dead_ms=1) == 0
    assert {(await record(scene.store, event))["state"] for event in made} == {"pending"}


async def test_what_is_in_flight_when_it_is_disabled_settles(scene: Scene, steering: Steering) -> None:
    """It is attempted already: what came of it counts, and the next of its task waits for the enabling."""
    first, second = await some_events(scene, "pending", "ready")
    (delivery,) = await scene.claim()
    await steering.disable("a", "operator")
    assert await settle(scene, delivery, DELIVERED) == "ok"
    assert (await record(scene.store, first))["state"] == "delivered"
    assert await scene.claim() == []
    await steering.enable("a")
    assert await drain(scene) == [second.id]


@pytest.mark.parametrize("ordering", ["first-attempt", "strict", "none"])
async def test_enabled_it_gets_all_at_once_in_order(scene: Scene, steering: Steering, ordering: str) -> None:
    """One that waits for a retry in an hour, and those behind it: all due now, by revision, in a new round."""
    (first,) = await some_events(scene, "validating", ordering=ordering)
    (delivery,) = await scene.claim()
    await settle(scene, delivery, RETRY)
    rest = [await scene.commit(word) for word in STATUSES[1:]]
    await steering.disable("a", "operator")
    scene.clock.advance(60_000)
    steered = await steering.enable("a")
    assert (steered.word, steered.before, steered.pending) == ("done", "disabled", 5)
    resumed = scene.clock.now
    (again, *_) = await scene.claim(1)
    assert (again.event_id, again.attempts, again.round_from, again.round_at) == (first.id, 1, 1, resumed)
    await settle(scene, again, DELIVERED)
    if ordering == "none":
        assert set(await drain(scene)) == {event.id for event in rest}
    else:
        assert await drain(scene) == [event.id for event in rest]


async def test_what_fails_after_the_hold_waits_by_its_own_schedule(scene: Scene, steering: Steering) -> None:
    """A new round begins once: neither the next batch nor another claim brings a retry forward."""
    await some_events(scene, "ready")
    await steering.disable("a", "operator")
    scene.clock.advance(1_000)
    await steering.enable("a")
    resumed = scene.clock.now
    (delivery,) = await scene.claim()
    await settle(scene, delivery, RETRY)
    scene.clock.advance(1_000)
    assert (await steering.enable("a")).word == "same"
    assert await scene.claim() == []
    scene.clock.advance(3_600_000)
    (again,) = await scene.claim()
    assert (again.attempts, again.round_from, again.round_at) == (1, 0, resumed)


async def seven_retries(scene: Scene) -> list[Event]:
    """Of seven tasks one event each, failed once and to be tried again in an hour, the newest one first."""
    await scene.endpoint("a")
    made = []
    for number in range(7):
        await scene.task(f"t{number}")
        made.append(await scene.commit("ready", member=f"t{number}"))
    for delivery in reversed(await scene.claim()):
        await settle(scene, delivery, RETRY)
        scene.clock.advance(1)
    return made


async def test_an_enabling_that_was_interrupted_is_still_a_hold(scene: Scene) -> None:
    """Killed between two batches, nothing has gone out; said again, all are due, the oldest first."""
    made = await seven_retries(scene)
    call = scene.store.scripts.call
    await call("steer_endpoint", "a", "disable", "x", "operator", 3)
    scene.clock.advance(1_000)
    assert (await call("steer_endpoint", "a", "enable", "one", "", 3))[0] == b"more"
    assert (await call("steer_endpoint", "a", "enable", "one", "", 3))[0] == b"more"
    assert (await known(scene.store))["state"] == "disabled"
    assert await scene.claim() == []
    words = [(await call("steer_endpoint", "a", "enable", "two", "", 3))[0] for _ in range(6)]
    assert words == [b"more", b"more", b"more", b"done", b"done", b"done"]
    assert await drain(scene) == [event.id for event in made]


async def test_what_a_new_definition_lets_go_the_sweep_makes_due(scene: Scene) -> None:
    """Active at once; batch after batch, without anybody who waits for it, no retry is waited for any more."""
    made = await seven_retries(scene)
    await scene.store.client.hset("bridge:endpoint:a", mapping={"state": "disabled", "reason": "gone"})
    scene.clock.advance(1_000)
    await scene.endpoint("a", events=["*"])
    assert await scene.claim() == []
    assert "resuming" in await known(scene.store)
    await scene.store.scripts.call("mend_endpoint", "a", 32, 1_000)
    assert "resuming" not in await known(scene.store)
    assert await drain(scene) == [event.id for event in made]


async def test_a_hold_that_ended_ahead_of_a_clock_set_back_renews_nothing_that_came_after(
    scene: Scene, steering: Steering
) -> None:
    """Its end moves back with everything else: what is made by the new clock has an ordinary first round."""
    (old,) = await some_events(scene, "indexing")
    await steering.disable("a", "operator")
    scene.clock.advance(1_000)
    await steering.enable("a")
    assert await drain(scene) == [old.id]
    await scene.store.scripts.call("follow_clock")
    scene.clock.advance(-3_600_000)
    await scene.store.scripts.call("follow_clock")
    scene.clock.advance(2_000)
    await scene.task("t2")
    await scene.commit("ready", member="t2")
    (delivery,) = await scene.claim()
    assert (delivery.round_from, delivery.round_at) == (0, None)


async def test_a_steering_whose_reply_was_lost_is_harmless_when_repeated(scene: Scene) -> None:
    """Somebody else has said the opposite meanwhile: the repeated word of before is not heard again."""
    await some_events(scene, "ready")
    call = scene.store.scripts.call
    await call("steer_endpoint", "a", "disable", "one", "operator", 10)
    await call("steer_endpoint", "a", "enable", "two", "", 10)
    assert (await call("steer_endpoint", "a", "disable", "one", "operator", 10))[0] == b"overruled"
    assert (await known(scene.store))["state"] == "active"
    assert (await call("steer_endpoint", "a", "enable", "two", "", 10))[0] == b"done"
    await call("steer_endpoint", "a", "disable", "three", "operator", 10)
    assert (await call("steer_endpoint", "a", "enable", "two", "", 10))[0] == b"overruled"
    assert (await call("steer_endpoint", "a", "disable", "three", "operator", 10))[0] == b"done"
    assert (await known(scene.store))["state"] == "disabled"


async def test_an_operators_hold_survives_a_new_definition(scene: Scene, steering: Steering) -> None:
    """What we disabled ourselves is active again once its definition is written anew; what an operator did is not."""
    await some_events(scene, "pending", "ready")
    (delivery,) = await scene.claim()
    assert await settle(scene, delivery, GONE) == "disabled"
    await scene.endpoint("a", events=["*"])
    assert (await known(scene.store))["state"] == "active"
    await steering.disable("a", "operator")
    await scene.endpoint("a", events=["index.task.*"])
    assert (await known(scene.store))["state"] == "disabled"
    assert await scene.claim() == []
    assert (await steering.enable("a")).reason == "operator"
    assert len(await drain(scene)) == 1
    assert "by" not in await known(scene.store)


async def test_an_operators_hold_takes_over_ours(scene: Scene, steering: Steering) -> None:
    """Disabled by a 410 and then by hand: since the 410, and until somebody enables it."""
    await some_events(scene, "ready")
    (delivery,) = await scene.claim()
    await settle(scene, delivery, GONE)
    since = (await known(scene.store))["disabled_at"]
    scene.clock.advance(1_000)
    steered = await steering.disable("a", "looking")
    assert (steered.word, steered.before, steered.reason) == ("done", "disabled", "gone")
    fields = await known(scene.store)
    assert (fields["reason"], fields["by"], fields["disabled_at"]) == ("looking", "operator", since)
    assert (await steering.disable("a", "looking")).word == "same"


@pytest.mark.parametrize("disabled_between", [False, True])
async def test_enabling_closes_a_breaker(scene: Scene, steering: Steering, disabled_between: bool) -> None:
    """Its failures are forgiven and what it holds is due, an hour before its probe; disabled, it is not even probed."""
    made = await seven_retries(scene)
    open_ = {"state": "held", "reason": "failing", "failures": 12, "probes": 1, "probe_at": scene.clock.now + 3_600_000}
    await scene.store.client.hset("bridge:endpoint:a", mapping=cast(Any, open_))
    if disabled_between:
        assert (await steering.disable("a", "operator")).before == "held"
        scene.clock.advance(7_200_000)
        assert await scene.claim() == []
    scene.clock.advance(1)
    assert (await steering.enable("a")).word == "done"
    fields = await known(scene.store)
    assert (fields["state"], fields["failures"], "probe_at" in fields, "reason" in fields) == (
        "active",
        "0",
        False,
        False,
    )
    assert await drain(scene) == [event.id for event in made]


async def test_an_endpoint_that_is_not_there_is_said(scene: Scene, steering: Steering) -> None:
    """Nothing is made of it."""
    assert (await steering.disable("nobody", "operator")).word == "missing"
    assert (await steering.enable("nobody")).word == "missing"
    assert (await steering.recover("nobody", ["evt_1"])).removed
    assert not await scene.store.client.exists("bridge:endpoint:nobody")


# -- recover --


async def test_dead_letters_come_back_in_order(scene: Scene, steering: Steering) -> None:
    """Attempt numbers go on, the schedule begins anew; what had expired, or ended before `since`, stays dead."""
    made = await some_events(scene, *STATUSES)
    (old,) = await scene.claim()
    await settle(scene, old, DEAD)
    (expired,) = await scene.claim()
    await settle(scene, expired, EXPIRED)
    scene.clock.advance(1)
    since = scene.clock.now
    for _ in range(3):
        (delivery,) = await scene.claim()
        await settle(scene, delivery, DEAD)
    assert await ids_of_dead(steering, since) == [event.id for event in made[2:]]
    assert await ids_of_dead(steering) == [made[0].id, *(event.id for event in made[2:])]
    scene.clock.advance(86_400_000)
    came = await steering.recover("a", await ids_of_dead(steering, since))
    assert (came.recovered, came.lost, came.removed) == (3, 0, False)
    seen = []
    for _ in range(3):  # one at a time, the next when the one before has been attempted
        (delivery,) = await scene.claim()
        seen.append(delivery)
        await settle(scene, delivery, RETRY)
    assert [one.event_id for one in seen] == [event.id for event in made[2:]]
    assert {(one.trigger, one.attempts, one.round_from, one.round_at) for one in seen} == {
        ("recover", 1, 1, scene.clock.now)
    }
    dead: Any = await scene.store.client.zrange("bridge:dead:a", 0, -1)
    assert {one.decode() for one in dead} == {made[0].id, made[1].id}


@pytest.mark.parametrize("ordering", ["first-attempt", "strict", "none"])
async def test_a_recovery_that_was_interrupted_goes_on(
    scene: Scene, steering: Steering, monkeypatch: pytest.MonkeyPatch, ordering: str
) -> None:
    """Killed between batches, the rest is dead still; said again, each comes back once, and all go out in order."""
    made = await some_events(scene, *STATUSES, ordering=ordering)
    while claimed := await scene.claim():
        for delivery in claimed:
            await settle(scene, delivery, DEAD)
    await steering.disable("a", "operator")
    ids = await ids_of_dead(steering)
    assert ids == [event.id for event in made]
    await scene.store.scripts.call("recover_deliveries", "a", "asking", 2_000, *ids[:2])
    assert await ids_of_dead(steering) == ids[2:]
    monkeypatch.setattr("bridge.store.steering.BATCH", 1)
    told: list[int] = []
    came = await steering.recover("a", ids, done=told.append)
    assert (came.recovered, came.lost, told) == (3, 0, [1] * 5)
    assert await scene.claim() == []
    await steering.enable("a")
    assert await drain(scene) == ids


async def test_a_recovery_whose_reply_was_lost_is_harmless_when_repeated(scene: Scene) -> None:
    """It counts what it had brought back, and brings nothing back twice, be it dead again meanwhile."""
    (event,) = await some_events(scene, "ready")
    await drain(scene, DEAD)
    call = scene.store.scripts.call
    first = await call("recover_deliveries", "a", "asking", 2_000, event.id)
    assert await call("recover_deliveries", "a", "asking", 2_000, event.id) == first
    assert await drain(scene, DEAD) == [event.id]
    assert await call("recover_deliveries", "a", "asking", 2_000, event.id) == first
    assert await scene.claim() == []
    assert (await record(scene.store, event))["state"] == "dead"


@pytest.mark.parametrize("ordering", ["first-attempt", "strict"])
async def test_never_attempted_ones_return_to_their_places_in_a_line(
    scene: Scene, steering: Steering, ordering: str
) -> None:
    """P4: poison was never attempted, so it goes before what came later; one whose body is lost stays."""
    made = await some_events(scene, *STATUSES[:4], ordering=ordering)
    while len(await ids_of_dead(steering)) < 4:
        assert await scene.claim()
        scene.clock.advance(LEASE_MS + 1)
        await scene.claim(0)
    await steering.disable("a", "operator")
    made.append(await scene.commit("ready"))
    await scene.store.client.hdel(scene.store.keys.event(made[2].id), "body")
    came = await steering.recover("a", await ids_of_dead(steering))
    assert (came.recovered, came.lost) == (3, 1)
    await steering.enable("a")
    assert await drain(scene) == [made[index].id for index in (0, 1, 3, 4)]
    assert await ids_of_dead(steering) == [made[2].id]


async def test_a_step_of_a_recovery_is_bounded(
    scene: Scene, steering: Steering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has looked at enough of the lines says how far it came, and the next one goes on from there."""
    made = await some_events(scene, *STATUSES, ordering="strict")
    await drain(scene, DEAD)
    ids = [event.id for event in made]
    monkeypatch.setattr("bridge.store.steering.LOOKED", 1)
    told: list[int] = []
    assert (await steering.recover("a", list(reversed(ids)), done=told.append)).recovered == 5
    assert sum(told) == 5
    assert len(told) > 2
    assert await drain(scene) == ids


# -- written anew --


async def test_a_definition_is_written_only_over_the_one_that_was_read(scene: Scene, steering: Steering) -> None:
    """Compare and set: of two writers one hears that it was overtaken; a repeated word is heard as done."""
    await scene.store.client.hset("bridge:endpoints", "a", "one")
    assert await steering.rewrite("a", "one", "two")
    assert await steering.rewrite("a", "one", "two")
    assert not await steering.rewrite("a", "one", "three")
    assert await scene.store.client.hget("bridge:endpoints", "a") == b"two"
    assert not await steering.rewrite("b", "one", "two")


async def test_enabled_what_was_attempted_takes_its_turn_before_what_was_not(scene: Scene, steering: Steering) -> None:
    """Two of one task wait, the first attempted and the second at the head of its line: one after the other, once."""
    first, second = await some_events(scene, *STATUSES[:2])
    (delivery,) = await scene.claim()
    await settle(scene, delivery, RETRY)
    await steering.disable("a", "operator")
    for _ in range(2):  # said again, it stays as it is
        assert (await steering.enable("a")).word in {"done", "same"}
        await steering.disable("a", "operator")
    await steering.enable("a")
    for event in (first, second):
        (delivery,) = await scene.claim()
        assert delivery.event_id == event.id
        await settle(scene, delivery, DELIVERED)
    assert await scene.claim() == []


async def test_enabled_what_was_attempted_follows_what_is_on_its_way(scene: Scene, steering: Steering) -> None:
    """A later one of its task is in flight, and cannot be called back: it goes right after that, before the rest."""
    first, *_ = await some_events(scene, *STATUSES[:3])
    (delivery,) = await scene.claim()
    await settle(scene, delivery, RETRY)
    (on_its_way,) = await scene.claim()
    await steering.disable("a", "operator")
    await steering.enable("a")
    assert await scene.claim() == []
    await settle(scene, on_its_way, DELIVERED)
    assert (await drain(scene))[0] == first.id


async def test_enabled_twice_each_has_one_turn(scene: Scene, steering: Steering) -> None:
    """Three that were attempted wait in line to be sent again; two fail again, and the endpoint is held again."""
    soon = replace(RETRY, retry_in_ms=1_000)
    events = await some_events(scene, *STATUSES[:3])

    async def hold_and_let_go() -> None:
        scene.clock.advance(10_000)
        await steering.disable("a", "operator")
        await steering.enable("a")

    for _ in events:
        (delivery,) = await scene.claim(1)
        await settle(scene, delivery, RETRY)
    await hold_and_let_go()
    for _ in events[:2]:
        (delivery,) = await scene.claim(1)
        await settle(scene, delivery, soon)
        scene.clock.advance(5_000)
    await hold_and_let_go()
    client: Any = scene.store.client
    line = [await client.hget("bridge:turns:a", "t1"), *await client.lrange("bridge:line:a:t1", 0, -1)]
    assert [event_id.decode() for event_id in line] == [event.id for event in events]
    assert await drain(scene) == [event.id for event in events]
