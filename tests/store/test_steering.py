"""An operator's word about a delivery, and what cannot be sent: retried, cancelled, poison, lost, unreadable."""

import json
from typing import Any

import pytest
from scene import LEASE_MS, Clock, Scene

from bridge.model import DeadReason, Decision, Delivery, DeliveryState, EndpointEffect, Event, Outcome
from bridge.schedule import RetryPolicy, decide
from bridge.store import Store
from bridge.store.outbox import CLAIMS_BEFORE_POISON
from bridge.store.reading.deliveries import list_deliveries
from bridge.store.reading.trips import as_delivery

DELIVERED = Decision(DeliveryState.DELIVERED, EndpointEffect.SUCCESS)
RETRY = Decision(DeliveryState.PENDING, EndpointEffect.FAILURE, retry_in_ms=3_600_000)
DEAD = Decision(DeliveryState.DEAD, EndpointEffect.FAILURE, reason=DeadReason.EXHAUSTED)
NONSENSE = [b"oops", b"", b"[]", b"7", b"null", b"{}", b'{"task":5}', b"\xff\xfe", b"{" * 2000,
            b'{"task":"t1","type":"x","revision":"7","created":1,"attempts":NaN,"state":"pending"}',
            b'{"task":"t1","type":"x","revision":"0x7","created":1,"attempts":0,"state":"pending"}',
            b'{"task":"t1","type":"x","revision":"7","created":{},"attempts":0,"state":"pending"}']  # fmt: skip


async def settle(scene: Scene, delivery: Delivery, decision: Decision) -> str:
    return await scene.store.outbox.settle(delivery, decision, json.dumps({"attempt": delivery.attempts + 1}))


async def record(store: Store, event: Event, endpoint: str = "a") -> dict[str, Any]:
    text = await store.client.hget(store.keys.deliveries(endpoint), event.id)
    assert text is not None
    return as_delivery(text)


async def one_task(scene: Scene, *words: str, **fields: object) -> list[Event]:
    """An endpoint, a task, and an event for each status."""
    await scene.endpoint("a", **fields)
    await scene.task()
    return [await scene.commit(word) for word in words]


async def die(scene: Scene) -> Delivery:
    """Claim the one due delivery, and end it as a dead letter."""
    (delivery,) = await scene.claim()
    assert await settle(scene, delivery, DEAD) == "ok"
    return delivery


async def leftovers(store: Store, event: Event) -> set[str]:
    """The sets of endpoint `a` that hold this event's delivery."""
    keys = {"queue:a", "dead:a", "done:a"}
    return {key for key in keys if await store.client.zscore(f"bridge:{key}", event.id) is not None}


# -- retry --


async def test_a_waiting_delivery_becomes_due_at_an_operators_word(scene: Scene) -> None:
    """Its next attempt is now, and says that it was asked for by hand; the ones after that are the schedule's again."""
    (event,) = await one_task(scene, "indexing")
    (delivery,) = await scene.claim()
    await settle(scene, delivery, RETRY)
    assert await scene.claim() == []
    asked = await scene.store.outbox.retry(event.id, "a")
    assert (asked.word, asked.endpoint_state) == ("due", "active")
    (again,) = await scene.claim()
    assert (again.attempts, again.trigger, again.round_from) == (1, "manual", 0)
    await settle(scene, again, RETRY)
    scene.clock.advance(3_600_000)
    assert [one.trigger for one in await scene.claim()] == ["schedule"]


@pytest.mark.parametrize("ordering", ["first-attempt", "strict", "none"])
async def test_whoever_settles_after_a_retry_of_what_he_had_comes_too_late(scene: Scene, ordering: str) -> None:
    """His lease had ended and was still there: a delivered delivery must not be due, nor fail, once more."""
    (event,) = await one_task(scene, "indexing", ordering=ordering)
    (late,) = await scene.claim()
    scene.clock.advance(LEASE_MS + 1)
    assert (await scene.store.outbox.retry(event.id, "a")).word == "due"
    assert await settle(scene, late, DELIVERED) == "stale"
    (again,) = await scene.claim()
    assert await settle(scene, again, DELIVERED) == "ok"
    assert (await record(scene.store, event))["state"] == "delivered"
    assert await leftovers(scene.store, event) == {"done:a"}


async def test_what_is_in_flight_is_left_alone(scene: Scene) -> None:
    """A leased delivery is being attempted already: no second claim, and its owner settles."""
    (event,) = await one_task(scene, "indexing")
    (delivery,) = await scene.claim()
    assert (await scene.store.outbox.retry(event.id, "a")).word == "leased"
    assert await scene.store.outbox.cancel(event.id, "a") == "leased"
    assert await scene.claim() == []
    assert await settle(scene, delivery, DELIVERED) == "ok"


async def test_a_dead_letter_is_owed_again_with_a_schedule_of_its_own(scene: Scene) -> None:
    """Attempt numbers go on, the schedule and the expiry begin anew, and it is out of the dead letters."""
    (event,) = await one_task(scene, "indexing")
    await die(scene)
    scene.clock.advance(7 * 86_400_000)
    assert (await scene.store.outbox.retry(event.id, "a")).word == "revived"
    assert await leftovers(scene.store, event) == {"queue:a"}
    (again,) = await scene.claim()
    assert (again.event_id, again.body, again.trigger) == (event.id, event.body, "manual")
    assert (again.attempts, again.round_from, again.round_at) == (1, 1, scene.clock.now)
    follows = decide(again, Outcome(status_code=500), RetryPolicy(), now=scene.clock.now, jitter=0)
    assert (follows.state, follows.retry_in_ms) == (DeliveryState.PENDING, 5_000)
    await settle(scene, again, DELIVERED)
    log = await scene.store.client.lrange(scene.store.keys.attempts("a", event.id), 0, -1)
    assert [json.loads(entry)["attempt"] for entry in log] == [1, 2]


async def test_a_revived_delivery_keeps_its_body_from_retention(scene: Scene, clock: Clock) -> None:
    """While it is owed again nothing of it is pruned, and once it has ended nothing of it stays."""
    (old, _) = await one_task(scene, "pending", "queued")
    await die(scene)
    await die(scene)
    assert (await scene.store.outbox.retry(old.id, "a")).word == "revived"
    clock.advance(86_400_000)
    assert await scene.store.outbox.prune("a", delivered_ms=1, dead_ms=1) == 1
    (again,) = await scene.claim()
    assert again.body == old.body
    await settle(scene, again, DELIVERED)
    clock.advance(86_400_000)
    assert await scene.store.outbox.prune("a", delivered_ms=1, dead_ms=1) == 1
    assert not await scene.store.client.exists(scene.store.keys.event(old.id))


async def test_a_retry_whose_reply_was_lost_is_harmless_when_repeated(scene: Scene) -> None:
    """Even after the delivery was attempted and delivered in between: the same asking never sends it again."""
    (event,) = await one_task(scene, "indexing")
    await die(scene)
    scripts = scene.store.scripts
    first = await scripts.call("retry_delivery", "a", event.id, "asking", 1)
    before = await record(scene.store, event)
    assert await scripts.call("retry_delivery", "a", event.id, "asking", 1) == first
    assert await record(scene.store, event) == before
    (again,) = await scene.claim()
    await settle(scene, again, DELIVERED)
    await scripts.call("retry_delivery", "a", event.id, "asking", 1)
    assert await scene.claim() == []
    assert (await record(scene.store, event))["state"] == "delivered"


async def test_what_was_delivered_is_sent_again_only_by_force(scene: Scene) -> None:
    """A receiver has it: sending it again is a decision of its own. The id stays the same."""
    (event,) = await one_task(scene, "indexing")
    (delivery,) = await scene.claim()
    await settle(scene, delivery, DELIVERED)
    assert (await scene.store.outbox.retry(event.id, "a")).word == "delivered"
    assert await scene.claim() == []
    assert (await scene.store.outbox.retry(event.id, "a", force=True)).word == "revived"
    assert await leftovers(scene.store, event) == {"queue:a"}
    (again,) = await scene.claim()
    assert (again.event_id, again.attempts, again.round_from) == (event.id, 1, 1)


async def test_a_retry_says_where_nothing_can_follow(scene: Scene) -> None:
    """No such delivery, no endpoint, no body; what is held or rests is owed again, and that is said."""
    (event,) = await one_task(scene, "indexing")
    outbox, client = scene.store.outbox, scene.store.client
    assert (await outbox.retry("evt_none", "a")).word == (await outbox.retry(event.id, "b")).word == "missing"
    (delivery,) = await scene.claim()
    await settle(scene, delivery, Decision(DeliveryState.DEAD, EndpointEffect.DISABLE_GONE, reason=DeadReason.GONE))
    asked = await outbox.retry(event.id, "a")
    assert (asked.word, asked.endpoint_state) == ("revived", "disabled")
    assert await scene.claim() == []
    await scene.endpoint("a", events=["*"])
    (again,) = await scene.claim()
    await settle(scene, again, Decision(DeliveryState.DEAD, EndpointEffect.FAILURE, pause_ms=60_000))
    assert (await outbox.retry(event.id, "a")).rests_until_at == scene.clock.now + 60_000
    assert await scene.claim() == []
    assert await outbox.cancel(event.id, "a") == "cancelled"
    body = await client.hget(scene.store.keys.event(event.id), "body")
    await client.hdel(scene.store.keys.event(event.id), "body")
    assert (await outbox.retry(event.id, "a")).word == "body-lost"
    await client.hset(scene.store.keys.event(event.id), "body", body or b"")
    await client.hdel("bridge:endpoints", "a")
    await scene.intake.run()
    assert (await outbox.retry(event.id, "a")).word == "removed"
    assert (await record(scene.store, event))["state"] == "cancelled"


async def test_a_delivery_behind_another_of_its_task_keeps_its_place(scene: Scene) -> None:
    """P4: asking for the second one first changes nothing, and the reply names the one that goes first."""
    first, second = await one_task(scene, "pending", "queued")
    asked = await scene.store.outbox.retry(second.id, "a")
    assert (asked.word, asked.first) == ("behind", first.id)
    assert [one.event_id for one in await scene.claim()] == [first.id]


@pytest.mark.parametrize("died", [False, True], ids=["waiting", "dead"])
async def test_what_was_attempted_goes_out_by_revision_whatever_was_asked_for_first(scene: Scene, died: bool) -> None:
    """Three that failed, the latest asked for first: each waits for the one before, as what was held does."""
    made = await one_task(scene, "pending", "queued", "indexing")
    for _ in made:
        (delivery,) = await scene.claim()
        await settle(scene, delivery, DEAD if died else RETRY)
    for event in made[::-1]:
        assert (await scene.store.outbox.retry(event.id, "a")).word == ("revived" if died else "due")
    sent = []
    for _ in made:
        (delivery,) = await scene.claim()
        assert (delivery.trigger, await scene.claim()) == ("manual", [])
        sent.append(delivery.event_id)
        await settle(scene, delivery, RETRY)
    assert sent == [event.id for event in made]


async def test_one_that_waits_for_its_next_attempt_is_due_alone(scene: Scene) -> None:
    """Those beside it, before it or after it, keep the moments of their schedules."""
    made = await one_task(scene, "pending", "queued", "indexing")
    for _ in made:
        (delivery,) = await scene.claim()
        await settle(scene, delivery, RETRY)
    assert (await scene.store.outbox.retry(made[1].id, "a")).word == "due"
    (delivery,) = await scene.claim()
    assert delivery.event_id == made[1].id
    await settle(scene, delivery, RETRY)
    scene.clock.advance(3_600_000)
    assert {one.event_id for one in await scene.claim()} == {event.id for event in made}


@pytest.mark.parametrize("ordering", ["first-attempt", "strict"])
async def test_one_that_was_never_attempted_returns_to_its_place_in_the_line(scene: Scene, ordering: str) -> None:
    """P4: cancelled and retried before its turn, first attempts still go out in revision order."""
    made = await one_task(scene, "validating", "pending", "queued", "indexing", ordering=ordering)
    outbox = scene.store.outbox
    for index in (0, 2):
        assert await outbox.cancel(made[index].id, "a") == "cancelled"
        assert (await outbox.retry(made[index].id, "a")).word == "revived"
    seen = []
    for _ in made:
        (delivery,) = await scene.claim()
        seen.append(delivery.event_id)
        await settle(scene, delivery, DELIVERED)
    assert seen == [event.id for event in made]
    assert await scene.claim() == []


async def test_one_that_comes_back_while_a_later_one_is_in_flight_goes_right_after_it(scene: Scene) -> None:
    """What is on its way cannot be called back; the rest keep their order behind."""
    first, second, third = await one_task(scene, "pending", "queued", "indexing")
    await scene.store.outbox.cancel(first.id, "a")
    (flying,) = await scene.claim()
    assert flying.event_id == second.id
    assert (await scene.store.outbox.retry(first.id, "a")).word == "revived"
    assert await scene.claim() == []
    await settle(scene, flying, DELIVERED)
    seen = []
    for _ in range(2):
        (delivery,) = await scene.claim()
        seen.append(delivery.event_id)
        await settle(scene, delivery, DELIVERED)
    assert seen == [first.id, third.id]


async def test_a_strict_dead_letter_goes_before_what_waits(scene: Scene, clock: Clock) -> None:
    """`strict`: the later one, which waits for its retry, lets the revived earlier one go first."""
    first, second = await one_task(scene, "pending", "queued", ordering="strict")
    await die(scene)
    (later,) = await scene.claim()
    await settle(scene, later, RETRY)
    assert (await scene.store.outbox.retry(first.id, "a")).word == "revived"
    clock.advance(3_600_000)
    (delivery,) = await scene.claim()
    assert delivery.event_id == first.id
    await settle(scene, delivery, DELIVERED)
    assert [one.event_id for one in await scene.claim()] == [second.id]


# -- cancel --


async def test_a_cancelled_delivery_makes_way_for_its_successor(scene: Scene) -> None:
    """From the head of the line, and out of its middle; said again, it is the same."""
    first, second, third = await one_task(scene, "pending", "queued", "indexing")
    outbox = scene.store.outbox
    assert [await outbox.cancel(second.id, "a") for _ in range(2)] == ["cancelled"] * 2
    assert await outbox.cancel(first.id, "a") == "cancelled"
    assert [one.event_id for one in await scene.claim()] == [third.id]
    assert (await record(scene.store, first))["reason"] == "operator"
    assert await leftovers(scene.store, first) == await leftovers(scene.store, second) == {"done:a"}
    stats = await scene.store.client.hgetall(scene.store.keys.stats)
    assert stats[b"cancelled"] == b"2"
    assert await outbox.cancel("evt_none", "a") == "missing"


async def test_what_was_delivered_cannot_be_cancelled(scene: Scene) -> None:
    """It is delivered, and stays so."""
    (first,) = await one_task(scene, "pending")
    (delivery,) = await scene.claim()
    await settle(scene, delivery, DELIVERED)
    assert await scene.store.outbox.cancel(first.id, "a") == "delivered"


async def test_a_cancelled_dead_letter_is_dead_no_more(scene: Scene) -> None:
    """Nobody is asked to look at it again, its endpoint removed or not; until then it can still be retried."""
    first, second = await one_task(scene, "pending", "queued")
    await die(scene)
    await die(scene)
    outbox = scene.store.outbox
    assert [await outbox.cancel(first.id, "a") for _ in range(2)] == ["cancelled"] * 2
    assert await leftovers(scene.store, first) == {"done:a"}
    assert (await outbox.retry(first.id, "a")).word == "revived"
    await scene.store.client.hdel("bridge:endpoints", "a")
    await scene.intake.run()
    assert await outbox.cancel(second.id, "a") == "cancelled"
    assert await leftovers(scene.store, second) == {"done:a"}


async def test_a_lease_that_ended_can_be_cancelled_and_its_owner_is_stale(scene: Scene, clock: Clock) -> None:
    """Whoever held it is believed to be dead; should it come back, it changes nothing."""
    first, second = await one_task(scene, "pending", "queued")
    (late,) = await scene.claim()
    clock.advance(LEASE_MS)
    assert await scene.store.outbox.cancel(first.id, "a") == "cancelled"
    assert await settle(scene, late, DELIVERED) == "stale"
    assert [one.event_id for one in await scene.claim()] == [second.id]


# -- what cannot be sent --


@pytest.mark.parametrize("ordering", ["first-attempt", "strict"])
async def test_poison_is_put_aside_seen_and_can_be_revived(scene: Scene, clock: Clock, ordering: str) -> None:
    """Twenty claims and no settle: dead with that reason, its successor goes on, and a retry counts from nothing."""
    poison, later = await one_task(scene, "pending", "queued", ordering=ordering)
    for _ in range(CLAIMS_BEFORE_POISON):
        for delivery in await scene.claim():
            if delivery.event_id == later.id:
                await settle(scene, delivery, RETRY)
        clock.advance(LEASE_MS)
    after = await scene.claim()
    assert [one.event_id for one in after] == ([later.id] if ordering == "strict" else [])
    (view,) = await list_deliveries(scene.store, state="dead")
    assert (view.event_id, view.reason, view.attempts) == (poison.id, "poison", 0)
    for delivery in after:
        await settle(scene, delivery, RETRY)
    assert (await scene.store.outbox.retry(poison.id, "a")).word == "revived"
    for _ in range(CLAIMS_BEFORE_POISON - 1):
        assert [one.event_id for one in await scene.claim()] == [poison.id]
        clock.advance(LEASE_MS)
    (again,) = await scene.claim()
    assert await settle(scene, again, DELIVERED) == "ok"
    assert (await record(scene.store, poison))["state"] == "delivered"


@pytest.mark.parametrize("loss", ["event", "body", "empty", "type"])
async def test_an_event_without_a_body_is_never_posted(scene: Scene, loss: str) -> None:
    """Its delivery is dead with that reason, the ones beside it and behind it are claimed."""
    lost, later = await one_task(scene, "pending", "queued")
    key, client = scene.store.keys.event(lost.id), scene.store.client
    if loss == "body":
        await client.hdel(key, "body")
    elif loss == "empty":
        await client.hset(key, "body", "")
    else:
        await client.delete(key)
    if loss == "type":
        await client.set(key, "oops")
    assert await scene.claim() == []
    assert [one.event_id for one in await scene.claim()] == [later.id]
    found = await record(scene.store, lost)
    assert (found["state"], found["reason"]) == ("dead", DeadReason.BODY_LOST)
    assert (await scene.store.outbox.retry(lost.id, "a")).word == "body-lost"


@pytest.mark.parametrize("text", NONSENSE)
async def test_a_record_that_is_nonsense_costs_nobody_else_a_lease(scene: Scene, text: bytes) -> None:
    """P10: it is a dead letter, said in bridge:rejected with its fix, which works; the others are claimed at once."""
    await scene.endpoint("b")
    bad, later = await one_task(scene, "pending", "queued")
    await scene.store.client.hset(scene.store.keys.deliveries("a"), bad.id, text)
    assert [(one.endpoint, one.event_id) for one in await scene.claim()] == [("b", bad.id)]
    (beside,) = await scene.claim()
    assert beside.event_id == later.id
    assert await settle(scene, beside, DELIVERED) == "ok"
    found = await record(scene.store, bad)
    assert (found["state"], found["reason"], found["task"]) == ("dead", DeadReason.UNREADABLE, "t1")
    field = f"delivery:a:{bad.id}"
    said = json.loads(await scene.store.client.hget(scene.store.keys.rejected, field) or "{}")
    assert said["fix"] == f"bridge delivery retry {bad.id} --endpoint a"
    assert (await scene.store.outbox.retry(bad.id, "a")).word == "revived"
    assert [(one.event_id, one.body, one.type) for one in await scene.claim()] == [(bad.id, bad.body, bad.type)]
    assert not await scene.store.client.hexists(scene.store.keys.rejected, field)


async def test_a_record_overwritten_in_flight_is_settled_or_put_aside(scene: Scene, clock: Clock) -> None:
    """What came of the attempt counts; if nobody settles, the lease's end finds the nonsense."""
    await scene.endpoint("b")
    (event,) = await one_task(scene, "pending")
    claimed = {one.endpoint: one for one in await scene.claim()}
    for name in ("a", "b"):
        await scene.store.client.hset(scene.store.keys.deliveries(name), event.id, "oops")
    assert await settle(scene, claimed["a"], DELIVERED) == "ok"
    clock.advance(LEASE_MS)
    assert await scene.claim() == []
    found = [await record(scene.store, event, name) for name in ("a", "b")]
    assert [(one["state"], one.get("reason")) for one in found] == [("delivered", ""), ("dead", "unreadable")]


async def test_a_record_deleted_by_hand_lets_its_successor_go(scene: Scene) -> None:
    """Nothing is left of it to send; the line is not stuck behind it."""
    first, second = await one_task(scene, "pending", "queued")
    await scene.store.client.hdel(scene.store.keys.deliveries("a"), first.id)
    assert await scene.claim() == []
    assert [one.event_id for one in await scene.claim()] == [second.id]


async def test_an_endpoint_with_a_nonsense_record_can_be_removed(scene: Scene) -> None:
    """Its deliveries are cancelled, the unreadable one among them."""
    first, second = await one_task(scene, "pending", "queued")
    await scene.store.client.hset(scene.store.keys.deliveries("a"), first.id, "oops")
    await scene.store.client.hdel("bridge:endpoints", "a")
    await scene.intake.run()
    assert [(await record(scene.store, one))["state"] for one in (first, second)] == ["cancelled"] * 2


async def test_a_place_far_back_in_a_long_line_is_found(scene: Scene) -> None:
    """P4: cancelled and retried behind more than a thousand others, it goes out right after the one before it."""
    (first,) = await one_task(scene, "indexing", ordering="strict")
    entry = await record(scene.store, first)
    base = int(str(entry["revision"]))
    line, deliveries = scene.store.keys.line("a", "t1"), scene.store.keys.deliveries("a")
    ids = [f"evt_{number}" for number in range(1, 1_200)]
    pipe = scene.store.client.pipeline(transaction=False)
    for number, event_id in enumerate(ids, 1):
        state = "cancelled" if number == 1_100 else "pending"
        pipe.hset(deliveries, event_id, json.dumps(entry | {"revision": str(base + number), "state": state}))
        if state == "pending":
            pipe.rpush(line, event_id)
    pipe.hset(scene.store.keys.event("evt_1100"), mapping={"body": "{}", "refs": 1})
    await pipe.execute()
    assert (await scene.store.outbox.retry("evt_1100", "a")).word == "revived"
    waiting = await scene.store.client.lrange(line, 0, -1)
    assert waiting == [one.encode() for one in ids]
