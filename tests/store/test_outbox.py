"""The outbox on a real Redis: leases, order, fairness, settling, retention."""

import asyncio
import json
from ipaddress import ip_network
from typing import Any, cast
from unittest.mock import patch

import pytest
from scene import LEASE_MS, Clock, Scene

from bridge import events
from bridge.guard import Policy
from bridge.model import DeadReason, Decision, Delivery, DeliveryState, EndpointEffect
from bridge.store import Store, scripts
from bridge.store.intake import Intake
from bridge.store.reading.trips import as_delivery
from bridge.store.sweep import Sweep

DELIVERED = Decision(DeliveryState.DELIVERED, EndpointEffect.SUCCESS)
RETRY = Decision(DeliveryState.PENDING, EndpointEffect.FAILURE, retry_in_ms=5_000)
DEAD = Decision(DeliveryState.DEAD, EndpointEffect.FAILURE, reason=DeadReason.EXHAUSTED)


async def settle(scene: Scene, delivery: Delivery, decision: Decision) -> str:
    return await scene.store.outbox.settle(delivery, decision, json.dumps({"attempt": delivery.attempts + 1}))


async def record(store: Store, endpoint: str, event_id: str) -> dict[str, Any]:
    text = await store.client.hget(store.keys.deliveries(endpoint), event_id)
    assert text is not None
    return as_delivery(text)


async def test_a_committed_change_is_owed_to_each_matching_endpoint(scene: Scene) -> None:
    """One delivery for each endpoint whose filter takes the event, and none for the others."""
    await scene.endpoint("all")
    await scene.endpoint("ends", events=["index.task.ready", "index.task.failed"])
    await scene.endpoint("other", tasks=["nobody"])
    await scene.task()
    event = await scene.commit("indexing")
    assert [(d.endpoint, d.event_id, d.body) for d in await scene.claim()] == [("all", event.id, event.body)]


async def test_a_claimed_delivery_is_nobody_elses_until_its_lease_ends(scene: Scene, clock: Clock) -> None:
    """A second claim finds nothing; after the lease the same delivery comes again, and the first owner is stale."""
    await scene.endpoint("a")
    await scene.task()
    await scene.commit("indexing")
    (first,) = await scene.claim()
    assert await scene.claim() == []
    clock.advance(LEASE_MS)
    (second,) = await scene.claim()
    assert (second.event_id, second.attempts) == (first.event_id, 0)
    assert await settle(scene, first, DELIVERED) == "stale"
    assert await settle(scene, second, DELIVERED) == "ok"
    assert await settle(scene, second, DELIVERED) == "stale"


async def test_a_late_owner_may_still_settle_while_nobody_took_over(scene: Scene, clock: Clock) -> None:
    """A lease that ended, but was not claimed again, is still its owner's to settle: the POST did happen."""
    await scene.endpoint("a")
    await scene.task()
    await scene.commit("indexing")
    (delivery,) = await scene.claim()
    clock.advance(LEASE_MS * 2)
    assert await settle(scene, delivery, DELIVERED) == "ok"
    assert await scene.claim() == []


async def test_first_attempts_go_out_in_revision_order(scene: Scene) -> None:
    """P4: of one task, the queue holds one never-attempted delivery; settling it brings the next."""
    await scene.endpoint("a")
    await scene.task()
    made = [await scene.commit(status) for status in ("pending", "queued", "indexing")]
    seen = []
    for decision in (RETRY, DELIVERED, RETRY):
        (delivery,) = await scene.claim()
        seen.append(delivery.event_id)
        assert await settle(scene, delivery, decision) == "ok"
    assert seen == [event.id for event in made]


async def test_the_end_of_a_lease_brings_the_next_one_too(scene: Scene, clock: Clock) -> None:
    """P4: an attempt of unknown outcome has had its turn; it is claimed again together with its successor."""
    await scene.endpoint("a")
    await scene.task()
    made = [await scene.commit(status) for status in ("pending", "queued")]
    (first,) = await scene.claim()
    clock.advance(LEASE_MS)
    assert {d.event_id for d in await scene.claim()} == {event.id for event in made}
    assert first.event_id == made[0].id


async def test_strict_order_waits_for_success(scene: Scene, clock: Clock) -> None:
    """`ordering = strict`: a failing delivery holds back the later ones of its task, until it is delivered or dead."""
    await scene.endpoint("a", ordering="strict")
    await scene.task()
    made = [await scene.commit(status) for status in ("pending", "queued")]
    (first,) = await scene.claim()
    await settle(scene, first, RETRY)
    assert await scene.claim() == []
    clock.advance(5_000)
    (again,) = await scene.claim()
    assert (again.event_id, again.attempts) == (made[0].id, 1)
    await settle(scene, again, DEAD)
    (second,) = await scene.claim()
    assert second.event_id == made[1].id


async def test_without_order_nothing_waits(scene: Scene) -> None:
    """`ordering = none`: all deliveries of a task are claimed together."""
    await scene.endpoint("a", ordering="none")
    await scene.task()
    made = [await scene.commit(status) for status in ("pending", "queued")]
    assert {d.event_id for d in await scene.claim()} == {event.id for event in made}


async def test_two_claimers_never_share_a_delivery(scene: Scene) -> None:
    """Fifty deliveries, claimed by ten at once in small bites: each is claimed exactly once."""
    await scene.endpoint("a", ordering="none")
    for number in range(50):
        await scene.task(f"t{number}")
    claim = await scene.store.registry.claim_tasks(100, lease_ms=20_000)
    for task in claim.tasks:
        change, event = scene.change(task, "indexing")
        await scene.store.registry.commit(task, event, events.snapshot_after(change, event), delay_ms=1_000)
    bites = await asyncio.gather(*(scene.claim(5) for _ in range(10)))
    claimed = [delivery.event_id for bite in bites for delivery in bite]
    assert len(claimed) == len(set(claimed)) == 32  # the endpoint's cap, counted from live leases


async def test_the_cap_of_an_endpoint_leaves_slots_to_the_others(scene: Scene) -> None:
    """P5: an endpoint with a backlog holds at most its cap; another one's delivery is claimed with the rest."""
    await scene.endpoint("slow", ordering="none", tasks=["s*"])
    await scene.endpoint("quick", tasks=["q*"])
    for number in range(40):
        await scene.task(f"s{number}")
    await scene.task("q1")
    claim = await scene.store.registry.claim_tasks(100, lease_ms=20_000)
    for task in claim.tasks:
        change, event = scene.change(task, "indexing")
        await scene.store.registry.commit(task, event, events.snapshot_after(change, event), delay_ms=1_000)
    names = [delivery.endpoint for delivery in await scene.claim(500)]
    assert (names.count("slow"), names.count("quick")) == (32, 1)
    assert await scene.claim(500) == []


async def test_a_settled_slot_is_free_at_once(scene: Scene) -> None:
    """Settling one of a full endpoint's deliveries makes the next one due immediately, not at the lease's end."""
    await scene.endpoint("a", ordering="none")
    for number in range(33):
        await scene.task(f"t{number}")
        await scene.commit("indexing", member=f"t{number}", delay_ms=0)
    claimed = await scene.claim()
    assert len(claimed) == 32
    await settle(scene, claimed[0], DELIVERED)
    assert len(await scene.claim()) == 1


async def test_a_delivery_that_kills_its_owners_is_put_aside(scene: Scene, clock: Clock) -> None:
    """Twenty claims without a settle make it poison: dead, visible, and out of everybody's way."""
    await scene.endpoint("a")
    await scene.task()
    event = await scene.commit("indexing")
    for _ in range(20):
        assert len(await scene.claim()) == 1
        clock.advance(LEASE_MS)
    assert await scene.claim() == []
    found = await record(scene.store, "a", event.id)
    assert (found["state"], found["reason"]) == ("dead", "poison")


async def test_a_settle_records_the_attempt_and_the_state(scene: Scene, clock: Clock) -> None:
    """Two failures and a success: three attempts in the log, the delivery delivered, the counters right."""
    await scene.endpoint("a")
    await scene.task()
    event = await scene.commit("indexing")
    for decision in (RETRY, RETRY, DELIVERED):
        (delivery,) = await scene.claim()
        await settle(scene, delivery, decision)
        clock.advance(5_000)
    log = await scene.store.client.lrange(scene.store.keys.attempts("a", event.id), 0, -1)
    assert [json.loads(entry)["attempt"] for entry in log] == [1, 2, 3]
    assert (await record(scene.store, "a", event.id))["state"] == "delivered"
    stats = await scene.store.client.hgetall(scene.store.keys.stats)
    assert (stats[b"attempts"], stats[b"delivered"]) == (b"3", b"1")


async def test_gone_disables_the_endpoint_and_holds_the_rest(scene: Scene) -> None:
    """410: this delivery is dead, the endpoint disabled, later events are held and come when it is active again."""
    await scene.endpoint("a")
    await scene.task()
    await scene.commit("pending")
    later = await scene.commit("queued")
    (delivery,) = await scene.claim()
    gone = Decision(DeliveryState.DEAD, EndpointEffect.DISABLE_GONE, reason=DeadReason.GONE)
    assert await settle(scene, delivery, gone) == "disabled"
    assert await scene.claim() == []
    await scene.endpoint("a", events=["*"])
    assert [d.event_id for d in await scene.claim()] == [later.id]


async def test_three_refusals_of_the_guard_in_a_row_disable(scene: Scene, clock: Clock) -> None:
    """Blocked attempts are retried on schedule; the third in a row disables the endpoint."""
    await scene.endpoint("a")
    await scene.task()
    await scene.commit("indexing")
    blocked = Decision(DeliveryState.PENDING, EndpointEffect.BLOCKED, retry_in_ms=1_000)
    words = []
    for _ in range(3):
        (delivery,) = await scene.claim()
        words.append(await settle(scene, delivery, blocked))
        clock.advance(1_000)
    assert words == ["ok", "ok", "disabled"]
    assert await scene.claim() == []


async def test_retry_after_rests_the_whole_endpoint(scene: Scene, clock: Clock) -> None:
    """A pause holds every delivery of the endpoint, and no other endpoint's."""
    await scene.endpoint("a")
    await scene.endpoint("b")
    await scene.task()
    await scene.commit("pending")
    first = {delivery.endpoint: delivery for delivery in await scene.claim()}
    rest = Decision(DeliveryState.PENDING, EndpointEffect.FAILURE, retry_in_ms=60_000, pause_ms=60_000)
    await settle(scene, first["a"], rest)
    await settle(scene, first["b"], DELIVERED)
    await scene.commit("queued")
    (other,) = await scene.claim()
    assert other.endpoint == "b"
    await settle(scene, other, DELIVERED)
    clock.advance(60_000)
    assert [d.endpoint for d in await scene.claim()] == ["a", "a"]


async def test_a_removed_endpoint_cancels_what_it_is_owed(scene: Scene) -> None:
    """HDEL ends all pending deliveries as cancelled, in the queue and in the lines, and owes nothing more."""
    await scene.endpoint("a")
    await scene.task()
    made = [await scene.commit(status) for status in ("pending", "queued", "indexing")]
    await scene.store.client.hdel("bridge:endpoints", "a")
    await scene.intake.run()
    assert await scene.claim() == []
    assert {str((await record(scene.store, "a", event.id))["state"]) for event in made} == {"cancelled"}
    await scene.commit("ready")
    assert await scene.claim() == []


@pytest.mark.parametrize("endpoints", [200, 201, 950])
async def test_a_large_fan_out_loses_and_doubles_nothing(scene: Scene, endpoints: int) -> None:
    """Above 200 endpoints a resumable entry stands for the deliveries; two events keep their order at each endpoint."""
    for number in range(endpoints):
        await scene.store.client.hset("bridge:endpoints", f"e{number}", '{"url":"http://127.0.0.1:9/"}')
    await scene.task()
    made = [await scene.commit(status) for status in ("pending", "queued")]
    while await scene.store.outbox.fan_out():
        pass
    order: dict[str, list[str]] = {}
    for _ in range(40):
        for delivery in await scene.claim(1000):
            order.setdefault(delivery.endpoint, []).append(delivery.event_id)
            await settle(scene, delivery, DELIVERED)
    assert len(order) == endpoints
    assert all(ids == [event.id for event in made] for ids in order.values())


async def test_an_announcement_does_not_overtake_a_hand_out(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """P4: two events wait to be handed out; the task, registered again, is announced: each endpoint hears in order."""
    monkeypatch.setattr("bridge.store.registry.FANOUT_STEP", 1)
    for name in "abc":
        await scene.endpoint(name)
    await scene.task()
    made = [await scene.commit(status, delay_ms=delay) for status, delay in (("queued", 0), ("ready", -1))]
    await scene.task()
    assert await scene.store.registry.announce(await scene.claim_task(), made[1].id, delay_ms=-1) == "ok"
    while await scene.store.outbox.fan_out():
        pass
    order: dict[str, list[str]] = {}
    for _ in range(2):
        for delivery in await scene.claim():
            order.setdefault(delivery.endpoint, []).append(delivery.event_id)
            await settle(scene, delivery, DELIVERED)
    assert order == {name: [event.id for event in made] for name in "abc"}
    assert await scene.store.client.hget(scene.store.keys.event(made[1].id), "refs") == b"4"


async def test_an_announcement_is_of_the_current_event(scene: Scene) -> None:
    """With a lease, but for an event that is no longer the snapshot's: nothing is owed."""
    await scene.task()
    made = [await scene.commit(status) for status in ("queued", "indexing")]
    await scene.endpoint("a")
    task = await scene.claim_task()
    assert await scene.store.registry.announce(task, made[0].id, delay_ms=1_000) == "stale"
    assert await scene.claim() == []


@pytest.mark.parametrize("ordering", ["none", "first-attempt"])
async def test_a_line_made_under_another_order_moves_on(scene: Scene, clock: Clock, ordering: str) -> None:
    """P2: what waited under strict does not wait for the end of a retried head when the endpoint no longer asks it."""
    await scene.endpoint("a", ordering="strict")
    await scene.task()
    made = [await scene.commit(status) for status in ("pending", "queued")]
    await scene.endpoint("a", ordering=ordering)
    (first,) = await scene.claim()
    await settle(scene, first, RETRY)
    assert [d.event_id for d in await scene.claim()] == [made[1].id]


async def test_bodies_live_as_long_as_somebody_needs_them(scene: Scene, clock: Clock) -> None:
    """Retention forgets ended deliveries and with the last one the body, but never the current event of a snapshot."""
    await scene.endpoint("a")
    await scene.task()
    old, current = await scene.commit("pending"), await scene.commit("queued")
    for _ in range(2):
        (delivery,) = await scene.claim()
        await settle(scene, delivery, DELIVERED)
    clock.advance(1_000)
    assert await scene.store.outbox.prune("a", delivered_ms=500, dead_ms=500) == 2
    assert not await scene.store.client.exists(scene.store.keys.event(old.id))
    assert await scene.store.client.exists(scene.store.keys.event(current.id))
    assert await scene.store.client.keys("bridge:attempts:*") == []


async def test_pruning_touches_nothing_that_is_still_owed(scene: Scene, clock: Clock) -> None:
    """Years later a pending delivery is still there."""
    await scene.endpoint("a")
    await scene.task()
    event = await scene.commit("pending")
    clock.advance(10 * 365 * 86_400_000)
    assert await scene.store.outbox.prune("a", delivered_ms=1, dead_ms=1) == 0
    assert [d.event_id for d in await scene.claim()] == [event.id]


async def test_what_was_leased_when_its_endpoint_went_is_cancelled_too(scene: Scene, clock: Clock) -> None:
    """P2: HDEL with a delivery in flight; once its lease has ended, the sweep cancels it and leaves nothing behind."""
    await scene.endpoint("a")
    await scene.task()
    made = [await scene.commit(status) for status in ("pending", "queued")]
    assert len(await scene.claim()) == 1
    await scene.store.client.hdel("bridge:endpoints", "a")
    await scene.intake.run()
    clock.advance(LEASE_MS)
    sweep = Sweep(scene.store, delivered_ms=10**12, dead_ms=10**12, tasks_ms=10**12)
    for _ in range(2):
        await sweep.page()
    assert {str((await record(scene.store, "a", event.id))["state"]) for event in made} == {"cancelled"}
    for key in ("queue:a", "leases:a", "turns:a", "line:a:t1", "endpoint:a"):
        assert not await scene.store.client.exists(f"bridge:{key}"), key


async def test_an_endpoint_that_cannot_be_served_costs_the_others_nothing(redis_url: str, clock: Clock) -> None:
    """Whatever a script trips over at one endpoint is said in bridge:rejected; what was claimed beside it goes out."""
    original = scripts.script_text

    def tripping(name: str, *, shebang: bool) -> str:
        serve = "local function serve(endpoint)\n"
        return original(name, shebang=shebang).replace(
            serve, serve + "  if endpoint == 'b' then error('tripped') end\n"
        )

    with patch.object(scripts, "script_text", tripping):
        async with Store.open(redis_url, clock=clock) as store:
            policy = Policy(allow_networks=[ip_network("127.0.0.0/8")], allow_http=True)
            scene = Scene(store, clock, Intake(store, policy, has_default_secret=True))
            for name in ("a", "b", "c"):
                await scene.endpoint(name)
            await scene.task()
            await scene.commit("ready")
            assert {delivery.endpoint for delivery in await scene.claim()} == {"a", "c"}
            entry = json.loads(await cast(Any, store.client.hget("bridge:rejected", "key:bridge:endpoint:b")))
            assert "endpoint b cannot be served" in entry["reason"]
            assert "tripped" in entry["reason"]
    async with Store.open(redis_url, clock=clock) as store:
        clock.advance(5_000)
        claimed = (await store.outbox.claim(10, lease_ms=LEASE_MS)).deliveries
        assert [delivery.endpoint for delivery in claimed] == ["b"]
