"""What the doors are told is what the verbs did: read back after real intake, commits, claims and settles."""

from typing import Any

import pytest
from scene import LEASE_MS, START, Clock, Scene

from bridge.errors import NotFound, StoreDown, WrongType
from bridge.model import DeadReason, Decision, Delivery, DeliveryState, EndpointEffect
from bridge.store import Store
from bridge.store.reading import reading_errors
from bridge.store.reading.deliveries import deliveries_of, find_deliveries, list_deliveries
from bridge.store.reading.endpoints import (
    any_endpoint,
    cancelled_since,
    find_endpoint,
    list_endpoints,
    unknown_endpoints,
)
from bridge.store.reading.events import cursor_of, events_after, follow, last_cursor, latest_events
from bridge.store.reading.tasks import count_tasks, find_tasks, list_tasks, statuses, task_with_deliveries
from bridge.store.reading.vitals import live_workers, role, status

DELIVERED = Decision(DeliveryState.DELIVERED, EndpointEffect.SUCCESS)
DEAD = Decision(DeliveryState.DEAD, EndpointEffect.FAILURE, reason=DeadReason.EXHAUSTED)
ENDED = -1


async def settle(scene: Scene, decision: Decision) -> Delivery:
    """Claim the one due delivery and settle it."""
    (delivery,) = await scene.claim()
    assert await scene.store.outbox.settle(delivery, decision, '{"attempt": 1, "at": 5}') == "ok"
    return delivery


async def test_a_task_is_followed_from_its_request_to_its_end(scene: Scene) -> None:
    """Waiting, watched, being read, ended: each state is told, with what was seen last."""
    await scene.store.client.zadd("bridge:tasks", {"t1": 0})

    async def view() -> Any:
        return (await find_tasks(scene.store, ["t1"]))[0]

    assert ((await view()).state, (await view()).status, (await view()).registered) == ("waiting", None, True)
    await scene.intake.run()
    assert ((await view()).state, (await view()).next_at) == ("watched", START)
    task = await scene.claim_task()
    assert ((await view()).being_read, (await view()).next_at) == (True, None)
    scene.clock.advance(20_001)
    event = await scene.commit("indexing", delay_ms=5_000)
    seen = await view()
    assert (seen.status, seen.event_id, seen.revision) == ("indexing", event.id, event.revision)
    assert (seen.next_at, seen.polled_at) == (scene.clock.now, scene.clock.now - 5_000)
    await scene.commit("ready", delay_ms=ENDED)
    seen = await view()
    assert (seen.state, seen.status, seen.ended_at, seen.registered) == ("ended", "ready", scene.clock.now, False)
    assert task.member == "t1"
    assert (await find_tasks(scene.store, ["nobody"]))[0].state == "unknown"


async def test_a_rejected_task_is_told_with_its_reason_and_fix(scene: Scene) -> None:
    """A person sees in the list what became of a bad entry."""
    await scene.store.client.zadd("bridge:tasks", {"a b": 0})
    await scene.intake.run()
    (view,) = await list_tasks(scene.store)
    assert (view.task, view.state) == ("a b", "rejected")
    assert "a task id is 1 to 200" in view.note
    assert view.fix
    assert await count_tasks(scene.store) == {"watched": 0, "requests": 0, "ended": 0, "rejected": 1}


async def test_tasks_are_listed_due_first_then_the_latest_ended(scene: Scene) -> None:
    """The order of a list, and its limit; statuses are counted of what is watched."""
    for member in ("t1", "t2", "t3", "t4"):
        await scene.task(member)
        await scene.commit("indexing", member=member, delay_ms=60_000)
        scene.clock.advance(-59_000)
    for member in ("t1", "t2"):
        await scene.store.client.zadd("bridge:tasks", {member: 0}, xx=True)
        await scene.intake.run()
        await scene.commit("ready", member=member, delay_ms=ENDED)
        scene.clock.advance(1_000)
    assert [view.task for view in await list_tasks(scene.store)] == ["t3", "t4", "t2", "t1"]
    assert [view.task for view in await list_tasks(scene.store, limit=3)] == ["t3", "t4", "t2"]
    assert [view.task for view in await list_tasks(scene.store, status="ready", limit=1)] == ["t2"]
    assert await statuses(scene.store, 10) == {"indexing": 2}


async def test_a_task_says_how_many_have_its_latest_event(scene: Scene) -> None:
    """Delivered of owed, over all endpoints, also those taken back since."""
    await scene.endpoint("a")
    await scene.endpoint("b")
    await scene.task("t1")
    event = await scene.commit("ready", delay_ms=ENDED)
    for delivery in await scene.claim():
        if delivery.endpoint == "a":
            await scene.store.outbox.settle(delivery, DELIVERED, "{}")
    view = await task_with_deliveries(scene.store, "t1")
    assert (view.delivered, view.owed) == (1, 2)
    owed = await deliveries_of(scene.store, [event.id, "evt_none"])
    assert {one.endpoint: one.state for one in owed[event.id]} == {"a": "delivered", "b": "pending"}


async def test_every_pending_delivery_is_listed_wherever_it_waits(scene: Scene) -> None:
    """Due, under way, waiting for its retry, or in a task's line behind another: all are owed."""
    await scene.endpoint("a")
    await scene.task("t1")
    events = [await scene.commit(word) for word in ("validating", "pending", "queued", "indexing")]
    (delivery,) = await scene.claim()
    views = await list_deliveries(scene.store, state="pending")
    assert {view.event_id for view in views} == {event.id for event in events}
    assert delivery.event_id == events[0].id
    retry = Decision(DeliveryState.PENDING, EndpointEffect.FAILURE, retry_in_ms=9_000)
    await scene.store.outbox.settle(delivery, retry, "{}")
    views = await list_deliveries(scene.store, endpoint="a")
    assert len(views) == 4
    assert {view.event_id: view.next_at for view in views}[events[0].id] == scene.clock.now + 9_000
    assert (await list_deliveries(scene.store, task="t2")) == []


async def test_deliveries_are_listed_by_when_they_last_moved(scene: Scene) -> None:
    """Newest first, over endpoints and states, and a limit takes the newest of all."""
    await scene.endpoint("a")
    await scene.endpoint("b", events=["index.task.ready"])
    await scene.task("t1")
    first = await scene.commit("indexing")
    await settle(scene, DELIVERED)
    scene.clock.advance(1_000)
    last = await scene.commit("ready", delay_ms=ENDED)
    for delivery in await scene.claim():
        scene.clock.advance(1_000)
        await scene.store.outbox.settle(delivery, DEAD if delivery.endpoint == "b" else DELIVERED, '{"attempt": 1}')
    views = await list_deliveries(scene.store)
    assert [view.moved_at for view in views] == sorted((view.moved_at for view in views), reverse=True)
    assert {(view.event_id, view.endpoint, view.state) for view in views} == {
        (first.id, "a", "delivered"), (last.id, "a", "delivered"), (last.id, "b", "dead"),
    }  # fmt: skip
    assert (await list_deliveries(scene.store, limit=1)) == views[:1]
    (dead,) = await list_deliveries(scene.store, state="dead")
    assert (dead.endpoint, dead.reason, dead.attempts) == ("b", "exhausted", 1)
    (shown,) = await find_deliveries(scene.store, last.id, "b")
    assert shown.log == ({"attempt": 1},)
    assert len(await find_deliveries(scene.store, last.id)) == 2
    assert await find_deliveries(scene.store, "evt_none") == []


async def test_an_endpoint_is_told_with_what_it_is_owed_and_without_its_secret(scene: Scene) -> None:
    """Counts, the last end, and of secrets only the number, of headers only the names."""
    secret = "whsec_" + "A" * 44
    await scene.endpoint("a", secret=secret, headers={"X-Token": "hidden"}, url="http://127.0.0.1:9/x?token=hidden")
    await scene.task("t1")
    await scene.commit("indexing")
    await settle(scene, DELIVERED)
    at = scene.clock.now
    await scene.commit("ready")
    (view,) = await list_endpoints(scene.store)
    assert (view.pending, view.delivered, view.dead, view.last_at) == (1, 1, 0, at)
    assert (view.secrets, view.headers, view.url) == (1, ("X-Token",), "http://127.0.0.1:9/x?…")
    assert "hidden" not in repr(view)
    assert secret not in repr(view)
    assert await find_endpoint(scene.store, "a") == view
    assert await find_endpoint(scene.store, "b") is None
    assert await unknown_endpoints(scene.store, ["a", "b"]) == ["b"]
    assert await any_endpoint(scene.store)
    await scene.store.client.hdel("bridge:endpoints", "a")
    await scene.intake.run()
    assert await cancelled_since(scene.store, "a", scene.clock.now) == 1
    assert await cancelled_since(scene.store, "a", scene.clock.now + 1) == 0
    assert not await any_endpoint(scene.store)


async def test_a_refused_change_stands_beside_what_is_in_force(scene: Scene) -> None:
    """Its last good definition is in force, and the refusal is told with it; one that never was good is rejected."""
    await scene.endpoint("a")
    await scene.endpoint("a", url="ftp://nowhere")
    await scene.endpoint("b", url="ftp://nowhere")
    await scene.store.client.hset("bridge:endpoints", "c", "{")
    views = {view.name: view for view in await list_endpoints(scene.store)}
    assert {name: view.state for name, view in views.items()} == {"a": "active", "b": "rejected", "c": "waiting"}
    assert "scheme_not_https" in views["a"].note
    assert views["a"].url == "http://127.0.0.1:9/a"


async def test_one_endpoint_is_taken_in_and_no_other_entry_is_judged(scene: Scene) -> None:
    """Intake for a caller with other settings: good or bad, it is this one only."""
    await scene.store.client.hset(
        "bridge:endpoints", mapping={"a": '{"url": "http://127.0.0.1:9/"}', "b": "{", "c": "{"}
    )
    assert await scene.intake.take_endpoint("a") == []
    assert await scene.intake.take_endpoint("b") == ["endpoint:b"]
    assert await scene.intake.take_endpoint("d") == []
    assert await scene.store.client.hkeys("bridge:rejected") == [b"endpoint:b"]
    assert set(scene.store.registry.endpoints.by_name) == {"a"}


async def test_events_are_read_by_cursor_and_by_name(scene: Scene) -> None:
    """Both directions, and the place of an event by its id."""
    await scene.task("t1")
    events = [await scene.commit(word) for word in ("validating", "pending", "ready")]

    def every(_: object) -> bool:
        return True

    views = await latest_events(scene.store, every, 10)
    assert [view.event_id for view in views] == [event.id for event in events]
    assert [view.event_id for view in await latest_events(scene.store, every, 2)] == [event.id for event in events[1:]]
    cursor = await cursor_of(scene.store, events[0].id)
    after = await events_after(scene.store, cursor, every, 1)
    assert [view.event_id for view in after] == [events[1].id]
    assert await events_after(scene.store, await last_cursor(scene.store), every, 1) == []
    with pytest.raises(NotFound):
        await cursor_of(scene.store, "evt_none")


async def test_a_follower_hears_what_is_committed_and_ends_in_time(scene: Scene) -> None:
    """The page of an event comes when it does; without any, an empty one; at its deadline nothing more."""
    await scene.task("t1")
    cursor = await last_cursor(scene.store)
    event = await scene.commit("ready")
    pages = follow(scene.store, cursor)
    assert [view.event_id for view in await anext(pages)] == [event.id]
    assert await anext(pages) == []
    await pages.aclose()
    assert [page async for page in follow(scene.store, cursor, deadline=0.0)] == []


async def test_vitals_tell_who_is_alive_and_how_late(store: Store, scene: Scene, clock: Clock) -> None:
    """Live and sent shifts apart; lags by Redis' clock; a key that is refused."""
    await scene.endpoint("a")
    await scene.task("t1")
    await scene.commit("indexing")
    await store.client.zadd("bridge:workers:poll", {"poll:1": clock.now + 1, "poll:2": clock.now})
    await store.client.zadd("bridge:shifts:poll", {"x": clock.now + 1, "ticket:1": clock.now + 1, "old": clock.now - 1})
    assert await live_workers(store, "poll") == 1
    await store.registry.pause_account(60, key_refused=True)
    clock.advance(-1)
    seen = await role(store, "poll")
    assert (seen.workers, seen.shifts, seen.tickets) == (2, 1, 1)
    clock.advance(5_001)
    seen = await role(store, "poll")
    assert (seen.lag_ms, seen.key_refused) == (5_000, True)
    assert seen.paused_until_at is not None
    whole = await status(store)
    assert (whole.pending, whole.dead, whole.endpoints, whole.tasks["watched"]) == (1, 0, {"active": 1}, 1)
    assert whole.oldest_due_ms == 6_000
    assert whole.counters["events"] == 1


@pytest.mark.parametrize(
    ("names", "has_key"),
    [
        ((), None),
        (("a:1",), None),
        (("a:1:keyless", "b:2"), None),
        (("a:1:keyless",), False),
        (("a:1:keyless", "b:2:keyed"), True),
    ],
    ids=["nobody", "older", "one-older", "keyless", "one-keyed"],
)
async def test_vitals_tell_whether_the_workers_have_a_key(
    store: Store, clock: Clock, names: tuple[str, ...], has_key: bool | None
) -> None:
    """Their own word, while they live; who says nothing leaves it open, and then one's own key counts."""
    for name in names:
        await store.client.zadd("bridge:workers:poll", {name: clock.now + 1_000})
    await store.client.zadd("bridge:workers:poll", {"dead:3:keyed": clock.now})
    seen = await role(store, "poll")
    assert (seen.has_key, seen.workers) == (has_key, len(names))
    assert [seen.polls_by(here) for here in (False, True)] == ([False, True] if has_key is None else [has_key] * 2)


async def test_vitals_tell_of_a_budget_that_leaves_no_request(scene: Scene, clock: Clock) -> None:
    """Whatever this shell has set: the worker's bound, from when it asked in vain until it has one again."""
    for member in ("t1", "t2", "t3"):
        await scene.task(member)
    claim = scene.store.registry.claim_tasks
    assert len((await claim(9, lease_ms=500, per_minute=2)).tasks) == 2
    assert (await role(scene.store, "poll")).spent_of is None
    assert not (await claim(9, lease_ms=500, per_minute=2)).tasks
    assert [(await role(scene.store, kind)).spent_of for kind in ("poll", "deliver")] == [2, None]
    clock.now += 63_000
    assert (await role(scene.store, "poll")).spent_of == 2
    clock.now += 10_000
    assert (await role(scene.store, "poll")).spent_of is None
    clock.now -= 3_600_000
    assert (await role(scene.store, "poll")).spent_of is None


async def test_what_waits_at_an_endpoint_without_a_free_slot_is_no_lag(scene: Scene) -> None:
    """P5: an endpoint that holds all its slots is looked at again when one may be free, and nobody is late."""
    await scene.endpoint("a")
    for member in ("t1", "t2"):
        await scene.task(member)
        await scene.commit("indexing", member=member, delay_ms=60_000)
        scene.clock.advance(-60_000)
    await scene.store.client.hset("bridge:endpoint:a", "cap", 1)
    assert len(await scene.claim()) == 1
    scene.clock.advance(LEASE_MS - 1)
    assert (await role(scene.store, "deliver")).lag_ms == 0


async def test_refusals_of_redis_are_errors_with_a_fix(store: Store) -> None:
    """A key of the wrong type, a command that is not allowed, a server that is gone."""
    await store.client.set("bridge:tasks", "x")
    with pytest.raises(WrongType, match="the key bridge:tasks holds") as refused, reading_errors():
        await count_tasks(store)
    assert "bridge doctor" in refused.value.fix
    with pytest.raises(StoreDown), reading_errors():
        raise ConnectionRefusedError
