"""The registry on a real Redis: intake, claims, commits, ends."""

import asyncio
import json
from typing import Any, cast

import pytest
from scene import Clock, Scene, an_observation

from bridge import diff, events
from bridge.guard import Policy
from bridge.model import Change, Postponement, WatchedTask
from bridge.store import Store
from bridge.store.intake import Intake
from bridge.store.registry import Registry
from bridge.store.sweep import Sweep


async def rejection(store: Store, field: str) -> dict[str, str]:
    text = await store.client.hget(store.keys.rejected, field)
    assert text is not None
    found: dict[str, str] = json.loads(text)
    return found


async def test_a_zadd_is_taken_in_and_due_at_once(scene: Scene) -> None:
    """A member with a score in the past is watched; its score says that it was taken in."""
    await scene.task("t1", metadata='{"order":1}')
    assert await scene.store.client.zscore("bridge:tasks", "t1") == float("inf")
    task = await scene.claim_task()
    assert (task.member, task.options.metadata, task.snapshot) == ("t1", {"order": 1}, None)


async def test_a_future_score_is_a_request_for_later(scene: Scene, clock: Clock) -> None:
    """A client may ask for a task to be watched from some moment on."""
    await scene.store.client.zadd("bridge:tasks", {"t1": clock.now / 1000 + 100})
    await scene.intake.run()
    assert (await scene.store.registry.claim_tasks(10, lease_ms=1)).tasks == []


@pytest.mark.parametrize(
    ("member", "score", "options", "field"),
    [
        ("../x", 0, {}, "member"),
        ("a//b", 0, {}, "member"),
        ("a b", 0, {}, "member"),
        ("x" * 201, 0, {}, "member"),
        ("video:1", 0, {}, "member"),
        ("t1", 1_800_000_000_000, {}, "score"),
        ("t1", 0, {"metadata": "{"}, "metadata"),
        ("t1", 0, {"metadata": json.dumps("x" * 5000)}, "metadata"),
        ("t1", 0, {"metadata": "NaN"}, "metadata"),
        ("t1", 0, {"callback_url": "http://10.0.0.1/"}, "callback_url"),
        ("t1", 0, {"callback_url": "ftp://example.com/"}, "callback_url"),
        ("t1", 0, {"expires_at": "1800000000000"}, "expires_at"),
        ("t1", 0, {"expires_at": "soon"}, "expires_at"),
        ("t1", 0, {"account": "other"}, "account"),
        ("t1", 0, {"endpoints": "a b"}, "endpoints"),
    ],
)
async def test_a_bad_entry_is_rejected_with_its_fix_and_stops_nobody(
    scene: Scene, member: str, score: float, options: dict[str, str], field: str
) -> None:
    """P10: the bad entry leaves bridge:tasks for bridge:rejected; the good one beside it is watched."""
    if options:
        await scene.store.client.hset(f"bridge:task:{member}", mapping=cast(Any, options))
    await scene.store.client.zadd("bridge:tasks", {member: score, "good": 0})
    await scene.intake.run()
    found = await rejection(scene.store, f"task:{member}")
    assert found["field"] == field
    assert found["reason"]
    assert found["fix"]
    assert await scene.store.client.zrange("bridge:tasks", 0, -1) == [b"good"]
    assert (await scene.claim_task()).member == "good"


async def test_bytes_that_are_not_text_are_rejected(scene: Scene) -> None:
    """Neither a binary member nor binary options stop the intake."""
    await scene.store.client.zadd("bridge:tasks", {b"\xff\xfe": 0, b"t1": 0, b"good": 0})
    await scene.store.client.hset("bridge:task:t1", "metadata", b"\xff")
    taken = await scene.intake.run()
    assert (taken.tasks, len(taken.rejected)) == (1, 2)


async def test_a_hand_written_endpoint_is_accepted(scene: Scene) -> None:
    """HSET is registration; unknown and x- fields are ignored."""
    await scene.endpoint("billing", events=["index.task.ready"], **{"x-team": "video", "colour": 1})
    endpoint = (await scene.store.registry.reload_endpoints()).by_name["billing"]
    assert (endpoint.url, endpoint.events) == ("http://127.0.0.1:9/billing", ("index.task.ready",))


async def test_a_bad_change_of_an_endpoint_is_answered_by_its_last_good_definition(scene: Scene) -> None:
    """The client reads back what is in force, and the reason stands in bridge:rejected until a good change."""
    await scene.endpoint("a")
    good = await scene.store.client.hget("bridge:endpoints", "a")
    await scene.store.client.hset("bridge:endpoints", "a", '{"url":"http://10.0.0.1/"}')
    for _ in range(3):
        await scene.intake.run()
    assert await scene.store.client.hget("bridge:endpoints", "a") == good
    assert (await rejection(scene.store, "endpoint:a"))["field"] == "url"
    await scene.endpoint("a", events=["*"])
    assert await scene.store.client.hget(scene.store.keys.rejected, "endpoint:a") is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '"x"', "{}", '{"url":5}', '{"url":"https://u:p@example.com/"}', "\ud800"]
)
async def test_a_bad_new_endpoint_is_taken_out(scene: Scene, text: str) -> None:
    """Without a last good definition the field is deleted; another endpoint beside it is accepted."""
    raw = text.encode("utf-8", "surrogatepass")
    await scene.store.client.hset("bridge:endpoints", mapping={b"bad": raw, b"good": b'{"url":"http://127.0.0.1:9/"}'})
    await scene.intake.run()
    assert list(await scene.store.client.hgetall("bridge:endpoints")) == [b"good"]
    assert (await rejection(scene.store, "endpoint:bad"))["fix"]


async def test_secrets_are_redacted_in_rejections(scene: Scene) -> None:
    """P8: what is refused may hold a secret, in the value or in the URL."""
    secret = "whsec_" + "c2VjcmV0" * 4
    await scene.store.client.hset(
        "bridge:endpoints", "a", json.dumps({"url": "http://user:hunter2@10.0.0.1/", "secret": secret})
    )
    await scene.intake.run()
    text = await scene.store.client.hget(scene.store.keys.rejected, "endpoint:a")
    assert text is not None
    assert b"c2VjcmV0" not in text
    assert b"hunter2" not in text


async def test_a_wrong_type_pauses_intake_only(scene: Scene) -> None:
    """A client that overwrites bridge:tasks loses nobody's watch; what was claimed is committed and polled on."""
    await scene.endpoint("a")
    await scene.task()
    await scene.store.client.set("bridge:tasks", "oops")
    assert (await scene.intake.run()).trouble
    event = await scene.commit("indexing")
    assert [d.event_id for d in await scene.claim()] == [event.id]


async def test_a_commit_with_an_old_endpoint_set_matches_again(scene: Scene) -> None:
    """An endpoint registered between claim and commit gets the event."""
    await scene.task()
    task = await scene.claim_task()
    elsewhere = Registry(scene.store)
    await scene.endpoint("late")
    change, event = scene.change(task, "indexing")
    assert await elsewhere.commit(task, event, events.snapshot_after(change, event), delay_ms=1_000) == "ok"
    assert [d.endpoint for d in await scene.claim()] == ["late"]


async def test_a_commit_needs_the_lease(scene: Scene, clock: Clock) -> None:
    """P1: of two owners of one task, the one whose token was replaced changes nothing."""
    await scene.endpoint("a")
    await scene.task()
    first = await scene.claim_task()
    clock.advance(20_000)
    second = await scene.claim_task()
    change, event = scene.change(first, "indexing")
    snapshot = events.snapshot_after(change, event)
    assert await scene.store.registry.commit(first, event, snapshot, delay_ms=1) == "stale"
    assert await scene.claim() == []
    assert await scene.store.registry.commit(second, event, snapshot, delay_ms=1) == "ok"
    assert await scene.store.registry.commit(second, event, snapshot, delay_ms=1) == "stale"
    assert len(await scene.claim()) == 1


async def test_a_task_taken_back_is_watched_no_longer(scene: Scene) -> None:
    """ZREM during a lease: the commit says `removed`, nothing is owed, the watch is over."""
    await scene.endpoint("a")
    await scene.task()
    task = await scene.claim_task()
    await scene.store.client.zrem("bridge:tasks", "t1")
    change, event = scene.change(task, "indexing")
    word = await scene.store.registry.commit(task, event, events.snapshot_after(change, event), delay_ms=1)
    assert word == "removed"
    assert await scene.claim() == []
    assert await scene.store.client.zcard(scene.store.keys.watch) == 0


async def test_poll_now_makes_a_task_due_and_waits_for_a_lease(scene: Scene, clock: Clock) -> None:
    """ZADD XX 0: due at once when idle; during a lease, right after it."""
    await scene.task()
    task = await scene.claim_task()
    await scene.store.client.zadd("bridge:tasks", {"t1": 0}, xx=True)
    await scene.intake.run()
    assert (await scene.store.registry.claim_tasks(10, lease_ms=1)).tasks == []
    assert await scene.store.registry.postpone(task, Postponement(60_000)) == "ok"
    again = await scene.claim_task()
    await scene.store.registry.postpone(again, Postponement(60_000))
    await scene.store.client.zadd("bridge:tasks", {"t1": 0}, xx=True)
    await scene.intake.run()
    assert (await scene.claim_task()).member == "t1"


async def test_a_finished_task_leaves_and_registering_it_again_repeats_nothing(scene: Scene) -> None:
    """Registered again, its current event goes, with the same id, to whoever has no delivery of it, and to no other."""
    await scene.endpoint("a")
    await scene.task()
    event = await scene.commit("ready", delay_ms=-1)
    assert await scene.store.client.zscore("bridge:tasks", "t1") is None
    assert [d.endpoint for d in await scene.claim()] == ["a"]
    await scene.endpoint("b")
    await scene.task()
    task = await scene.claim_task()
    assert task.announce
    assert await scene.store.registry.announce(task, event.id, delay_ms=-1) == "ok"
    (delivery,) = await scene.claim()
    assert (delivery.endpoint, delivery.event_id, delivery.body) == ("b", event.id, event.body)
    assert await scene.store.client.zscore("bridge:tasks", "t1") is None


async def test_named_endpoints_and_a_callback_narrow_and_widen(scene: Scene) -> None:
    """`endpoints` names who hears of the task; `callback_url` comes on top as an endpoint of its own."""
    await scene.endpoint("a")
    await scene.endpoint("b")
    await scene.task(endpoints="b", callback_url="http://127.0.0.1:9/cb")
    await scene.commit("indexing")
    names = sorted(d.endpoint for d in await scene.claim())
    assert names[0] == "b"
    assert names[1].startswith("url:")


async def test_an_implicit_endpoint_goes_when_nobody_relies_on_it(scene: Scene, clock: Clock) -> None:
    """It stays while its task is watched or a delivery of it is kept; then it can be removed."""
    await scene.task(callback_url="http://127.0.0.1:9/cb")
    (name,) = (await scene.store.registry.reload_endpoints()).by_name
    clock.advance(120_000)
    await scene.intake.remove_endpoint(name)
    assert name in scene.store.registry.endpoints.by_name
    await scene.store.client.zrem("bridge:tasks", "t1")
    assert (await scene.store.registry.claim_tasks(10, lease_ms=1)).tasks == []
    await scene.intake.remove_endpoint(name)
    assert scene.store.registry.endpoints.by_name == {}


async def test_an_expired_task_is_watched_no_longer(scene: Scene, clock: Clock) -> None:
    """`expires_at` ends the watch at the first claim after it."""
    await scene.task(expires_at=str(clock.now // 1000 + 10))
    task = await scene.claim_task()
    await scene.store.registry.postpone(task, Postponement(5_000))
    clock.advance(11_000)
    assert (await scene.store.registry.claim_tasks(10, lease_ms=1)).tasks == []
    assert await scene.store.client.zscore("bridge:tasks", "t1") is None


async def test_the_request_budget_holds_in_any_minute(scene: Scene, clock: Clock) -> None:
    """P6: never more than N grants in any 60 s, whoever claims, however the claims fall."""
    for number in range(30):
        await scene.task(f"t{number}")
    grants: list[int] = []
    for _ in range(400):
        claim = await scene.store.registry.claim_tasks(4, lease_ms=500, per_minute=10)
        grants += [clock.now] * len(claim.tasks)
        clock.advance(777)
    assert max(sum(1 for g in grants if start <= g < start + 60_000) for start in grants) <= 10
    assert len(grants) >= 40


async def test_a_refused_key_lets_one_probe_a_minute_through(scene: Scene, clock: Clock) -> None:
    """401: nothing for a minute, then one task; when that works, all of them."""
    for number in range(5):
        await scene.task(f"t{number}")
    await scene.store.registry.pause_account(60, key_refused=True)
    assert (await scene.store.registry.claim_tasks(10, lease_ms=1_000)).tasks == []
    clock.advance(62_000)
    probe = await scene.store.registry.claim_tasks(10, lease_ms=1_000)
    assert (probe.probe, len(probe.tasks)) == (True, 1)
    assert (await scene.store.registry.claim_tasks(10, lease_ms=1_000)).tasks == []
    await scene.store.registry.key_accepted()
    assert len((await scene.store.registry.claim_tasks(10, lease_ms=1_000)).tasks) == 4


async def test_the_sweep_rights_what_got_out_of_step(scene: Scene, clock: Clock) -> None:
    """A watch whose member went, a member whose watch a rollback took, and options that never got a member."""
    await scene.task("gone")
    await scene.task("lost")
    await scene.store.client.zrem("bridge:tasks", "gone")
    await scene.store.client.zrem(scene.store.keys.watch, "lost")
    await scene.store.client.hset("bridge:task:never", "metadata", "1")
    sweep = Sweep(scene.store, delivered_ms=1, dead_ms=1, tasks_ms=10**12)
    await sweep.page()
    assert await scene.store.client.zscore(scene.store.keys.watch, "gone") is None
    assert await scene.store.client.zscore("bridge:tasks", "lost") == 0
    assert await scene.store.client.exists("bridge:task:never")
    clock.advance(24 * 3_600_000)
    await sweep.page()
    assert not await scene.store.client.exists("bridge:task:never")


async def test_a_state_announced_before_gets_an_id_of_its_own(scene: Scene) -> None:
    """Back to an earlier state, same times: news, so another id; the same change found again: the same id."""
    await scene.endpoint("a", ordering="none")
    await scene.task()
    at = scene.clock.now
    task = await scene.claim_task()
    ids = []
    for status in ("queued", "indexing", "queued"):
        seen = an_observation("t1", status, at)
        verdict = diff.diff(task.snapshot, seen, now=scene.clock.now)
        assert isinstance(verdict, Change)
        event = events.event_from(verdict, "t1", now=scene.clock.now)
        assert event.id == events.event_from(verdict, "t1", now=scene.clock.now).id
        ids.append(event.id)
        snapshot = events.snapshot_after(verdict, event)
        assert await scene.store.registry.commit(task, event, snapshot, delay_ms=0) == "ok"
        task = await scene.claim_task()
    assert len(set(ids)) == 3


async def test_a_snapshot_comes_back_as_it_was_meant(scene: Scene, clock: Clock) -> None:
    """Though it says nothing of what goes without saying: what was true before, and is no more, is gone from it."""
    await scene.task()
    readings: list[dict[str, Any]] = [
        {"status": "indexing", "from_list": True, "hls_status": "PROCESSING", "system_metadata": {"duration": 1}},
        {"status": "ready"},
        {},
        {"status": "indexing", "updated_at": None, "updated_at_text": None},
        {"status": "ready", "from_list": True},
    ]
    for fields in (*readings, *readings):
        task = await scene.claim_task()
        seen = an_observation("t1", now=clock.now, **fields) if fields else None
        change = Change(seen, task.snapshot, ("status",) if seen else ("gone",))
        event = events.event_from(change, "t1", now=clock.now, behind_ms=1 if fields.get("from_list") else 0)
        meant = events.snapshot_after(change, event)
        assert await scene.store.registry.commit(task, event, meant, delay_ms=1_000) == "ok"
        clock.advance(1_000)
        assert (await scene.claim_task()).snapshot == meant
        clock.advance(20_000)


@pytest.mark.parametrize(
    "lost", [("FLUSHALL",), ("DEL", "bridge:registry"), ("DEL", "bridge:registry", "bridge:endpoint:a")]
)
async def test_an_endpoint_that_redis_forgot_is_taken_in_again(scene: Scene, lost: tuple[str, ...]) -> None:
    """P2: our own memory of a client's text is worth nothing when Redis lost what we made of it."""
    await scene.endpoint("a")
    text = await scene.store.client.hget("bridge:endpoints", "a")
    await scene.store.client.execute_command(*lost)  # type: ignore[no-untyped-call]
    await scene.store.client.hset("bridge:endpoints", "a", text or "")
    await scene.task()
    event = await scene.commit("indexing")
    assert [d.event_id for d in await scene.claim()] == [event.id]


async def test_implicit_endpoints_are_swept_when_nobody_needs_them(scene: Scene, clock: Clock) -> None:
    """The callbacks of tasks that are over do not pile up."""
    for number in range(5):
        await scene.task(f"t{number}", callback_url=f"http://127.0.0.1:9/{number}")
        await scene.store.client.zrem("bridge:tasks", f"t{number}")
    clock.advance(120_000)
    sweep = Sweep(scene.store, delivered_ms=1, dead_ms=1, tasks_ms=10**12)
    for _ in range(2):
        await sweep.page()
    assert (await scene.store.registry.reload_endpoints()).by_name == {}
    assert await scene.store.client.smembers("bridge:names") == set()


async def test_a_burst_of_outdated_commits_reads_the_endpoints_once(scene: Scene) -> None:
    """Two hundred commits told `changed` at once: all succeed, with one reading of the registry."""
    for number in range(200):
        await scene.store.client.zadd("bridge:tasks", {f"t{number}": 0})
    await scene.intake.run()
    claim = await scene.store.registry.claim_tasks(200, lease_ms=20_000)
    await scene.endpoint("late")
    elsewhere = Registry(scene.store)
    before = await scene.store.client.info("commandstats")

    async def commit(task: WatchedTask) -> str:
        change, event = scene.change(task, "indexing")
        return await elsewhere.commit(task, event, events.snapshot_after(change, event), delay_ms=1_000)

    assert set(await asyncio.gather(*(commit(task) for task in claim.tasks))) == {"ok"}
    after = await scene.store.client.info("commandstats")
    reads = [stats.get("cmdstat_hgetall", {"calls": 0})["calls"] for stats in (before, after)]
    assert reads[1] - reads[0] == 1


async def test_a_broken_event_stream_costs_no_delivery(scene: Scene) -> None:
    """P1: a bridge:events of the wrong type loses the pointer, not the event: snapshot and deliveries move together."""
    await scene.endpoint("a")
    await scene.task()
    await scene.store.client.set("bridge:events", "oops")
    event = await scene.commit("ready")
    assert [d.event_id for d in await scene.claim()] == [event.id]


async def test_a_broken_snapshot_stops_nobody_else(scene: Scene) -> None:
    """P10: a snapshot of the wrong type is said in bridge:rejected, and the other tasks are claimed."""
    await scene.store.client.set("bridge:snapshot:bad", "oops")
    await scene.task("bad")
    await scene.task("good")
    claim = await scene.store.registry.claim_tasks(10, lease_ms=20_000)
    assert [task.member for task in claim.tasks] == ["good"]
    assert "snapshot" in (await rejection(scene.store, "task:bad"))["reason"]


async def test_the_stream_is_as_long_as_was_asked_for(redis_url: str, clock: Clock) -> None:
    """BRIDGE_RETENTION_EVENTS bounds bridge:events (to the node that Redis trims by)."""
    async with Store.open(redis_url, clock=clock, events_kept=100) as store:
        scene = Scene(store, clock, Intake(store, Policy(), has_default_secret=True))
        await scene.task()
        for number in range(400):
            await scene.commit("queued" if number % 2 else "indexing", delay_ms=1)
        assert await store.client.xlen("bridge:events") < 250


async def test_many_endpoints_are_taken_in_with_few_round_trips(scene: Scene) -> None:
    """A thousand definitions, good and bad, share their trips: one at a time they would hold up tasks for seconds."""
    good = {f"e{n}": '{"url":"http://127.0.0.1:9/"}' for n in range(500)}
    await scene.store.client.hset("bridge:endpoints", mapping=cast(Any, good | {f"b{n}": "{" for n in range(500)}))
    trips = 0
    send = scene.store.scripts._send

    async def counted(commands: list[list[Any]]) -> list[Any]:
        nonlocal trips
        trips += 1
        return await send(commands)

    scene.store.scripts._send = counted  # type: ignore[method-assign]
    taken = await scene.intake.run()
    assert (taken.endpoints, len(taken.rejected)) == (500, 500)
    assert trips <= 10


async def test_filters_of_index_and_metadata_choose_whom_an_event_concerns(scene: Scene) -> None:
    """At the commit, and when the current state is announced to endpoints registered later."""
    await scene.endpoint("mine", indexes=["ix1"], metadata={"tenant": ["a", "b"]})
    await scene.endpoint("elsewhere", indexes=["ix2"])
    await scene.endpoint("others", metadata={"tenant": "c"})
    await scene.task(metadata='{"tenant": "a"}')
    task = await scene.claim_task()
    seen = an_observation("t1", "ready", scene.clock.now, task={"_id": "t1", "index_id": "ix1"})
    change = diff.diff(None, seen, now=scene.clock.now)
    assert isinstance(change, Change)
    event = events.event_from(change, "t1", now=scene.clock.now, metadata=task.options.metadata)
    after = events.snapshot_after(change, event)
    assert await scene.store.registry.commit(task, event, after, delay_ms=-1) == "ok"
    assert [one.endpoint for one in await scene.claim()] == ["mine"]
    await scene.endpoint("later", indexes=["ix*"], metadata={"tenant": "a"})
    await scene.endpoint("never", indexes=["ix2"], metadata={"tenant": "a"})
    await scene.store.client.zadd("bridge:tasks", {"t1": 0})
    await scene.intake.run()
    again = await scene.claim_task()
    assert again.announce
    assert await scene.store.registry.announce(again, event.id, delay_ms=0) == "ok"
    assert [one.endpoint for one in await scene.claim()] == ["later"]
