"""Taking in what clients wrote, on a real Redis: what a second look, worker or registration changes."""

import json
from ipaddress import ip_network

import pytest
from scene import Clock, Scene

from bridge import events
from bridge.guard import Policy
from bridge.model import Decision, Delivery, DeliveryState, EndpointEffect, Event, Postponement
from bridge.store import Store
from bridge.store.intake import Intake
from bridge.store.outbox import BLOCKED_BEFORE_DISABLED
from bridge.store.steering import Steering

POLICY = Policy(allow_networks=[ip_network("127.0.0.0/8")], allow_http=True)
CALLBACK = "http://127.0.0.1:9/cb"
DELIVERED = Decision(DeliveryState.DELIVERED, EndpointEffect.SUCCESS)
GONE = Decision(DeliveryState.DEAD, EndpointEffect.DISABLE_GONE)


def another(scene: Scene) -> Intake:
    """The intake of a second worker, with a memory of its own."""
    return Intake(scene.store, POLICY, has_default_secret=True)


async def settle(scene: Scene, delivery: Delivery, decision: Decision) -> str:
    return await scene.store.outbox.settle(delivery, decision, json.dumps({"attempt": 1}))


async def in_force(scene: Scene, name: str) -> str:
    return (await scene.store.registry.reload_endpoints()).by_name[name].url


async def write(scene: Scene, name: str, path: str) -> None:
    await scene.store.client.hset("bridge:endpoints", name, json.dumps({"url": f"http://127.0.0.1:9/{path}"}))


async def test_a_definition_changed_and_changed_back_is_in_force(scene: Scene) -> None:
    """A is seen by one worker, B by another, which then dies; A again is news to the first one all the same."""
    second = another(scene)
    for path, intake in (("A", scene.intake), ("B", second), ("A", scene.intake)):
        await write(scene, "e", path)
        await intake.run()
    assert await in_force(scene, "e") == "http://127.0.0.1:9/A"


async def test_a_definition_that_moved_while_it_was_looked_at_is_looked_at_again(scene: Scene) -> None:
    """Between reading A and accepting it the client writes B and then A again: A was seen, and yet not accepted."""
    await write(scene, "e", "old")
    await scene.intake.run()
    await write(scene, "e", "A")
    call = scene.store.scripts.call

    async def overtaken(name: str, *arguments: object, **more: object) -> object:
        if name != "accept_endpoint":
            return await call(name, *arguments, **more)  # type: ignore[arg-type]
        await write(scene, "e", "B")
        return await call(name, *arguments, **more)  # type: ignore[arg-type]

    scene.store.scripts.call = overtaken  # type: ignore[method-assign]
    await scene.intake.run()
    scene.store.scripts.call = call  # type: ignore[method-assign]
    await write(scene, "e", "A")
    await scene.intake.run()
    assert await in_force(scene, "e") == "http://127.0.0.1:9/A"


async def test_unchanged_endpoints_cost_no_more_than_a_look(scene: Scene) -> None:
    """Looking again is one call: nothing is judged or accepted twice, also while callbacks come and go."""
    for name in ("a", "b"):
        await write(scene, name, name)
    await scene.intake.run()
    calls: list[str] = []
    call = scene.store.scripts.call

    async def counted(name: str, *arguments: object, **more: object) -> object:
        calls.append(name)
        return await call(name, *arguments, **more)  # type: ignore[arg-type]

    scene.store.scripts.call = counted  # type: ignore[method-assign]
    await scene.intake.run()
    await scene.task("t1", callback_url=CALLBACK)
    await scene.intake.run()
    looks, done = calls.count("read_written"), [name for name in calls if name != "read_written"]
    assert looks == 3
    assert done == ["accept_endpoint", "admit_tasks", "read_endpoints"]  # read once, as the set has changed


async def test_a_definition_kept_in_spite_of_a_setting_is_told_once(scene: Scene) -> None:
    """In force, but our settings now forbid it: one line and one entry for each text, not one at every look."""
    await write(scene, "e", "A")
    await scene.intake.run()
    strict = Intake(scene.store, Policy(), has_default_secret=True)
    told = [tuple((await strict.run()).rejected) for _ in range(3)]
    assert told == [("endpoint:e",), (), ()]
    assert await scene.store.client.hget(scene.store.keys.stats, "rejected") == b"1"
    assert await in_force(scene, "e") == "http://127.0.0.1:9/A"
    await write(scene, "e", "B")
    assert [*(await strict.run()).rejected] == ["endpoint:e"]
    await scene.intake.run()
    assert await in_force(scene, "e") == "http://127.0.0.1:9/A"


async def test_an_endpoint_that_a_key_signs_for_outlives_the_key(scene: Scene) -> None:
    """Without a key it is refused; taken in with one, it stays in force as it is, and the complaint says what lacks."""
    signed = json.dumps({"url": "http://127.0.0.1:9/A", "signatures": ["v1a", "v1"]})
    await scene.store.client.hset("bridge:endpoints", "e", signed)
    assert [*(await scene.intake.run()).rejected] == ["endpoint:e"]
    refused = json.loads(await scene.store.client.hget("bridge:rejected", "endpoint:e") or "")
    assert (refused["field"], "bridge key new" in refused["fix"]) == ("signatures", True)
    await scene.store.client.hset("bridge:endpoints", "e", signed)
    await Intake(scene.store, POLICY, has_default_secret=True, has_signing_key=True).run()
    assert await scene.store.client.hlen("bridge:rejected") == 0
    assert (await scene.store.registry.reload_endpoints()).by_name["e"].signatures == ("v1", "v1a")
    await another(scene).run()
    assert (await scene.store.registry.reload_endpoints()).by_name["e"].signatures == ("v1", "v1a")
    assert await scene.store.client.hlen("bridge:rejected") == 1


async def test_a_setting_that_makes_a_kept_definition_good_again_ends_the_complaint(scene: Scene) -> None:
    """The operator mended the setting and started the worker anew: there is nothing left to say."""
    await write(scene, "e", "A")
    await scene.intake.run()
    await Intake(scene.store, Policy(), has_default_secret=True).run()
    assert await scene.store.client.hexists("bridge:rejected", "endpoint:e")
    await Intake(scene.store, POLICY, has_default_secret=True).run()
    assert not await scene.store.client.hexists("bridge:rejected", "endpoint:e")


async def blocked_by_a_setting(scene: Scene) -> Event:
    """An endpoint that a worker with stricter settings complains of, and disabled, as it may not dial there."""
    await write(scene, "e", "A")
    await scene.task()
    owed = await scene.commit("queued")
    await Intake(scene.store, Policy(), has_default_secret=True).run()
    (delivery,) = await scene.claim()
    blocked = Decision(DeliveryState.PENDING, EndpointEffect.BLOCKED, retry_in_ms=3_600_000)
    await scene.store.client.hset("bridge:endpoint:e", "blocked", BLOCKED_BEFORE_DISABLED - 1)
    assert await scene.store.outbox.settle(delivery, blocked, "{}") == "disabled"
    assert await scene.store.client.hmget("bridge:endpoint:e", "state", "reason") == [b"disabled", b"blocked"]
    return owed


async def test_a_setting_that_is_mended_has_what_it_blocked_go_out(scene: Scene) -> None:
    """We disabled it for a setting of ours; once that is right, nobody has to say so a second time."""
    owed = await blocked_by_a_setting(scene)
    await Intake(scene.store, POLICY, has_default_secret=True).run()
    assert await scene.store.client.hget("bridge:endpoint:e", "state") == b"active"
    await scene.store.scripts.call("mend_endpoint", "e", 32, 1_000)  # the sweep has what was held go out
    assert [one.event_id for one in await scene.claim()] == [owed.id]


@pytest.mark.parametrize("when", ["before", "since"])
async def test_a_setting_that_is_mended_overrules_no_operator(scene: Scene, when: str) -> None:
    """Held by a person, before the setting was wrong or since: only a person lets it go."""
    steering = Steering(scene.store)
    if when == "since":
        await blocked_by_a_setting(scene)
        await steering.disable("e", "blocked")  # even in the same word
    else:
        await write(scene, "e", "A")
        await scene.intake.run()
        await steering.disable("e", "blocked")
        await Intake(scene.store, Policy(), has_default_secret=True).run()
    await Intake(scene.store, POLICY, has_default_secret=True).run()
    assert await scene.store.client.hget("bridge:endpoint:e", "state") == b"disabled"
    assert not await scene.store.client.hexists("bridge:rejected", "endpoint:e")


async def test_a_mended_setting_says_nothing_of_another_reason(scene: Scene) -> None:
    """Its receiver answered 410 meanwhile: no setting of ours changes that."""
    await blocked_by_a_setting(scene)
    await scene.store.client.hset("bridge:endpoint:e", "reason", "gone")
    await Intake(scene.store, POLICY, has_default_secret=True).run()
    assert await scene.store.client.hget("bridge:endpoint:e", "state") == b"disabled"


async def test_what_was_refused_and_put_back_stays_told_through_a_restart(scene: Scene) -> None:
    """The client's change was bad, not a setting: whoever wrote it has yet to hear of it."""
    await write(scene, "e", "A")
    await scene.intake.run()
    await Intake(scene.store, Policy(), has_default_secret=True).run()  # this complaint is replaced by the next
    await scene.store.client.hset("bridge:endpoints", "e", "{")
    await scene.intake.run()
    await scene.intake.run()
    await Intake(scene.store, POLICY, has_default_secret=True).run()
    assert await in_force(scene, "e") == "http://127.0.0.1:9/A"
    assert await scene.store.client.hexists("bridge:rejected", "endpoint:e")


async def test_a_kept_definition_hides_no_change_of_another(scene: Scene) -> None:
    """Beside it, a new endpoint is taken in, and a bad one is refused, as ever."""
    await write(scene, "e", "A")
    await scene.intake.run()
    strict = Intake(scene.store, Policy(), has_default_secret=True)
    await strict.run()
    await scene.store.client.hset("bridge:endpoints", mapping={"good": '{"url":"https://example.com/"}', "bad": "{"})
    taken = await strict.run()
    assert (taken.endpoints, tuple(taken.rejected)) == (1, ("endpoint:bad",))


async def test_registering_again_makes_a_disabled_callback_active(scene: Scene) -> None:
    """410 disabled the implicit endpoint, which no HSET can enable: registering its task again does."""
    await scene.task(callback_url=CALLBACK)
    await scene.commit("queued")
    later = await scene.commit("ready", delay_ms=-1)
    (first,) = await scene.claim()
    assert await settle(scene, first, GONE) == "disabled"
    assert await scene.claim() == []
    await scene.task(callback_url=CALLBACK)
    assert [delivery.event_id for delivery in await scene.claim()] == [later.id]


async def test_a_request_for_a_watched_task_makes_its_callback_active(scene: Scene) -> None:
    """The same for a task that is still watched: asking for it again is asking for its callback."""
    await scene.task(callback_url=CALLBACK)
    await scene.commit("queued")
    later = await scene.commit("indexing")
    (first,) = await scene.claim()
    assert await settle(scene, first, GONE) == "disabled"
    await scene.store.client.zadd("bridge:tasks", {"t1": 0}, xx=True)
    await scene.intake.run()
    assert [delivery.event_id for delivery in await scene.claim()] == [later.id]


async def test_a_task_whose_callback_went_meanwhile_is_taken_in_with_it(scene: Scene, clock: Clock) -> None:
    """The sweep of another worker removes an idle callback between its acceptance and the task's: look again."""
    await scene.task("t0", callback_url=CALLBACK)
    await scene.store.client.zrem("bridge:tasks", "t0")
    assert (await scene.store.registry.claim_tasks(10, lease_ms=1)).tasks == []
    clock.advance(120_000)
    call = scene.store.scripts.call

    async def overtaken(name: str, *arguments: object, **more: object) -> object:
        if name == "admit_tasks":
            await call("remove_endpoint", (await scene.store.client.hkeys("bridge:registry"))[0], 500)
        return await call(name, *arguments, **more)  # type: ignore[arg-type]

    scene.store.scripts.call = overtaken  # type: ignore[method-assign]
    await scene.task(callback_url=CALLBACK)
    scene.store.scripts.call = call  # type: ignore[method-assign]
    await scene.intake.run()
    event = await scene.commit("queued")
    assert [delivery.event_id for delivery in await scene.claim()] == [event.id]


@pytest.mark.parametrize("during", ["rest", "lease"])
async def test_other_endpoints_named_for_a_watched_task_hear_of_it(scene: Scene, during: str) -> None:
    """ZREM, HSET, ZADD before anybody looked: the newly named endpoint gets the current event, and no other twice."""
    await scene.endpoint("a")
    await scene.endpoint("b")
    await scene.task(endpoints="a")
    event = await scene.commit("queued")
    (first,) = await scene.claim()
    await settle(scene, first, DELIVERED)
    claimed = await scene.claim_task() if during == "lease" else None
    await scene.store.client.zrem("bridge:tasks", "t1")
    await scene.store.client.hset("bridge:task:t1", "endpoints", "a,b")
    await scene.store.client.zadd("bridge:tasks", {"t1": 0}, nx=True)
    await scene.intake.run()
    if claimed:
        assert await scene.store.registry.postpone(claimed, Postponement(5_000)) == "ok"
    task = await scene.claim_task()
    assert task.announce
    assert await scene.store.registry.announce(task, event.id, delay_ms=5_000) == "ok"
    assert [(d.endpoint, d.event_id) for d in await scene.claim()] == [("b", event.id)]


@pytest.mark.parametrize("before", [["queued"], []], ids=["seen", "first sight"])
async def test_a_commit_under_the_old_names_leaves_the_announcement_to_come(scene: Scene, before: list[str]) -> None:
    """Renamed during the lease: the commit still goes to the old ones, and the new one is told right after it."""
    await scene.endpoint("a")
    await scene.endpoint("b")
    await scene.task(endpoints="a")
    for status in before:
        await scene.commit(status)
        for delivery in await scene.claim():
            await settle(scene, delivery, DELIVERED)
    claimed = await scene.claim_task()
    await scene.task(endpoints="b")
    await scene.store.client.zadd("bridge:tasks", {"t1": 0})
    await scene.intake.run()
    change, event = scene.change(claimed, "ready")
    word = await scene.store.registry.commit(claimed, event, events.snapshot_after(change, event), delay_ms=-1)
    assert word == "ok"
    task = await scene.claim_task()
    assert (task.announce, task.options.endpoints) == (True, ("b",))
    assert await scene.store.registry.announce(task, event.id, delay_ms=-1) == "ok"
    assert sorted((d.endpoint, d.event_id) for d in await scene.claim()) == [("a", event.id), ("b", event.id)]


async def test_asking_again_with_the_same_names_announces_nothing(scene: Scene) -> None:
    """A poll-now of a watched task is no second registration."""
    await scene.endpoint("a")
    await scene.task(endpoints="a")
    await scene.commit("queued")
    await scene.store.client.hset("bridge:task:t1", "metadata", "1")
    await scene.store.client.zadd("bridge:tasks", {"t1": 0}, xx=True)
    await scene.intake.run()
    assert not (await scene.claim_task()).announce


async def test_an_emptied_redis_comes_to_no_version_of_the_endpoints_again(scene: Scene, redis_url: str) -> None:
    """FLUSHALL, and another definition under the same name: who knew the first one must see that it is another."""
    await scene.endpoint("a", url="http://127.0.0.1:9/before")
    async with Store.open(redis_url, clock=scene.clock) as other:
        before = await other.registry.reload_endpoints()
        await scene.store.client.flushall()
        scene.clock.advance(1)
        await scene.endpoint("a", url="http://127.0.0.1:9/after")
        assert scene.store.registry.endpoints.version != before.version
        claimed = await other.outbox.claim(1, lease_ms=1_000)
        assert claimed.endpoints_version != before.version


@pytest.mark.parametrize("again", ["options", "removed"])
async def test_a_request_made_while_the_last_reading_is_under_way_is_kept(scene: Scene, again: str) -> None:
    """Its task ends at this very moment; intake has not seen the request yet. It is read once more, and told to all."""
    client = scene.store.client
    for name in ("a", "b"):
        await scene.endpoint(name)
    await scene.task(endpoints="a")
    task = await scene.claim_task()
    await client.hset("bridge:task:t1", "endpoints", "a,b")
    if again == "removed":
        await client.zrem("bridge:tasks", "t1")
    await client.zadd("bridge:tasks", {"t1": 0})
    change, event = scene.change(task, "ready")
    snapshot = events.snapshot_after(change, event)
    assert await scene.store.registry.commit(task, event, snapshot, delay_ms=-1) == "ok"
    assert (await scene.intake.run()).tasks == 1
    asked = await scene.claim_task()
    assert asked.announce
    assert await scene.store.registry.announce(asked, event.id, delay_ms=-1) == "ok"
    assert sorted(delivery.endpoint for delivery in await scene.claim()) == ["a", "b"]
    assert await client.zscore("bridge:tasks", "t1") is None


async def test_what_a_client_takes_back_is_kept_nowhere(scene: Scene) -> None:
    """P8: once its endpoint is gone, no key knows the secret, the headers or the URL any more."""
    words = {
        "secret": "whsec_" + "c2VjcmV0" * 4,
        "headers": {"x-key": "hunter2"},
        "url": "http://127.0.0.1:9/?k=hunter2",
    }
    await scene.endpoint("a", **words)
    await scene.task()
    await scene.commit("indexing")
    await scene.store.client.hdel("bridge:endpoints", "a")
    await scene.intake.run()
    client = scene.store.client
    kept = [await client.dump(key) for key in await client.keys()]  # a short value stands in a dump as it is
    assert kept
    assert not any(mark in str(text) for text in kept for mark in ("c2VjcmV0", "hunter2"))
