"""What somebody wrote over keys of ours, by hand: it costs the task or the endpoint it belongs to, and nobody else."""

import json
from contextlib import suppress
from typing import Any, cast

import pytest
from redis.exceptions import ResponseError
from scene import Clock, Scene, an_observation

from bridge import diff, events
from bridge.errors import NewerData, OlderWorkers, UnreadableData
from bridge.model import Change, Decision, DeliveryState, EndpointEffect
from bridge.store import DATA_VERSION, Store
from bridge.store.records import as_text
from bridge.store.sweep import Sweep

DELIVERED = Decision(DeliveryState.DELIVERED, EndpointEffect.SUCCESS)
LONG = 10**12
READ_AGAIN_MS = 30_000


def a_sweep(store: Store) -> Sweep:
    """One that forgets nothing."""
    return Sweep(store, delivered_ms=LONG, dead_ms=LONG, tasks_ms=LONG)


async def write(scene: Scene, *command: str | bytes) -> None:
    """A command as a person types it; SET takes the place of what was there."""
    await scene.store.client.execute_command(*command)  # type: ignore[no-untyped-call]


async def observed(scene: Scene, status: str) -> dict[str, str]:
    """Read every due task as `status`, and commit; replies the event of each that was committed."""
    made = {}
    for task in (await scene.store.registry.claim_tasks(10, lease_ms=20_000)).tasks:
        seen = an_observation(task.member, status, scene.clock.now)
        change = diff.diff(task.snapshot, seen, now=scene.clock.now)
        assert isinstance(change, Change)
        event = events.event_from(change, task.member, now=scene.clock.now)
        snapshot = events.snapshot_after(change, event)
        if await scene.store.registry.commit(task, event, snapshot, delay_ms=1_000) == "ok":
            made[task.member] = event.id
    scene.clock.advance(READ_AGAIN_MS)
    return made


async def arrived(scene: Scene) -> set[tuple[str, str]]:
    """Deliver whatever is due; replies (endpoint, event)."""
    found = set()
    while deliveries := await scene.claim():
        for delivery in deliveries:
            found.add((delivery.endpoint, delivery.event_id))
            await scene.store.outbox.settle(delivery, DELIVERED, "{}")
    return found


@pytest.mark.parametrize(
    "command",
    [
        ("HSET", "bridge:snapshot:t1", "revision", "abc"),
        ("HSET", "bridge:snapshot:t1", "revision", "99999999999999999999"),
        ("HSET", "bridge:snapshot:t1", "status", b"\xff"),
        ("HSET", "bridge:snapshot:t1", "terminal_since", "soon"),
        ("HSET", "bridge:watch:t1", "options", "{"),
        ("HSET", "bridge:watch:t1", "options", "7"),
        ("HSET", "bridge:watch:t1", "faults", "many"),
        ("SET", "bridge:watch:t1", "x"),
    ],
    ids=lambda command: ascii(command[1:])[:60],
)
async def test_a_task_that_cannot_be_read_stops_no_other(scene: Scene, command: tuple[str | bytes, ...]) -> None:
    """It is watched no longer, which stands in bridge:rejected with its fix; and the fix works."""
    client = scene.store.client
    for member in ("t1", "t2"):
        await scene.task(member)
    await observed(scene, "queued")
    await write(scene, *command)
    assert (await observed(scene, "indexing")).keys() == {"t2"}
    refused = json.loads(await client.hget("bridge:rejected", "task:t1") or "{}")
    assert refused["fix"]
    assert not await client.exists("bridge:watch:t1")
    await client.delete("bridge:snapshot:t1")
    await scene.task("t1")
    assert (await observed(scene, "validating")).keys() == {"t1", "t2"}
    assert not await client.hexists("bridge:rejected", "task:t1")


KEYS_OF_AN_ENDPOINT = ["queue:a", "leases:a", "endpoint:a", "turns:a", "line:a:t1"]


@pytest.mark.parametrize("key", KEYS_OF_AN_ENDPOINT)
async def test_an_endpoint_with_a_broken_key_costs_the_others_nothing(scene: Scene, key: str) -> None:
    """Not what was owed to them, nor what comes; and it is mended itself, which bridge:rejected says."""
    for name in ("a", "b"):
        await scene.endpoint(name)
    await scene.task("t1")
    before = await observed(scene, "queued")
    await write(scene, "SET", f"bridge:{key}", "x")
    assert ("b", before["t1"]) in await arrived(scene)
    await scene.task("t2")
    sweep, made, found = a_sweep(scene.store), dict[str, str](), set[tuple[str, str]]()
    for status in ("indexing", "ready"):
        with suppress(ResponseError):  # what it could not commit is found again
            made |= await observed(scene, status)
        scene.clock.advance(READ_AGAIN_MS)
        await sweep.page()
        await scene.intake.run()
        found |= await arrived(scene)
    assert made.keys() == {"t1", "t2"}
    assert {("b", event) for event in made.values()} <= found
    assert {("a", event) for event in made.values()} <= found


async def test_what_a_commit_could_not_owe_it_has_not_seen(scene: Scene, clock: Clock) -> None:
    """P1: a key of ours that breaks it in the middle leaves the snapshot as it was, and the change is found again."""
    for name in ("a", "b"):
        await scene.endpoint(name)
    await scene.task()
    await observed(scene, "queued")
    await arrived(scene)
    await write(scene, "SET", "bridge:queue:b", "x")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await observed(scene, "indexing")
    assert await scene.store.client.hget("bridge:snapshot:t1", "status") == b"queued"
    await a_sweep(scene.store).page()
    clock.advance(READ_AGAIN_MS)
    made = await observed(scene, "indexing")
    assert {("a", made["t1"]), ("b", made["t1"])} <= await arrived(scene)


@pytest.mark.parametrize(
    "command",
    [("SET", "bridge:stats", "x"), ("HSET", "bridge:stats", "events", "x"), ("SET", "bridge:wake:deliver", "x"),
     ("SET", "bridge:rejected", "x")],
    ids=lambda command: " ".join(command[1:]),
)  # fmt: skip
async def test_counters_nudges_and_refusals_stop_nothing(scene: Scene, command: tuple[str, ...]) -> None:
    """They only tell: a task is taken in, read and delivered without them."""
    await scene.endpoint("a")
    await write(scene, *command)
    await scene.store.client.zadd("bridge:tasks", {"../x": 0})
    await scene.task()
    made = await observed(scene, "queued")
    assert await arrived(scene) == {("a", made["t1"])}
    assert await scene.store.client.zscore("bridge:tasks", "../x") is None


@pytest.mark.parametrize("cap", ["x", "", None])
async def test_an_endpoint_without_its_cap_is_served_one_by_one_and_mended(scene: Scene, cap: str | None) -> None:
    """Intake looks at nothing that did not change, so the sweep has to."""
    await scene.endpoint("a")
    for member in ("t1", "t2"):
        await scene.task(member)
    await observed(scene, "queued")
    if cap is None:
        await scene.store.client.hdel("bridge:endpoint:a", "cap")
    else:
        await scene.store.client.hset("bridge:endpoint:a", "cap", cap)
    await scene.intake.run()
    assert len(await scene.claim()) == 1
    await a_sweep(scene.store).page()
    assert len(await scene.claim()) == 1
    assert await scene.store.client.hget("bridge:endpoint:a", "cap") == b"32"


async def test_an_endpoint_in_no_known_state_takes_deliveries(scene: Scene) -> None:
    """No command could have brought it there, and none would bring it back."""
    await scene.endpoint("a")
    await scene.task()
    await scene.store.client.hset("bridge:endpoint:a", "state", "oops")
    made = await observed(scene, "queued")
    await a_sweep(scene.store).page()
    assert await arrived(scene) == {("a", made["t1"])}


async def test_a_lease_that_names_nothing_is_dropped(scene: Scene) -> None:
    """By the next claim, or by the sweep."""
    await scene.endpoint("a")
    await scene.task()
    await scene.store.client.zadd("bridge:leases:a", {"nonsense": 1, "oops": 9e15})
    await a_sweep(scene.store).page()
    made = await observed(scene, "queued")
    assert await arrived(scene) == {("a", made["t1"])}
    assert await scene.store.client.zcard("bridge:leases:a") == 0


@pytest.mark.parametrize(("name", "text"), [("a", "{"), ("a", "{}"), ("a", "[]"), ("zz", "{}"), (b"\xff", "{}")])
async def test_a_definition_in_force_that_cannot_be_read_is_put_right(
    scene: Scene, name: str | bytes, text: str
) -> None:
    """From what the endpoint's hash keeps; one that nobody registered goes."""
    for good in ("a", "b"):
        await scene.endpoint(good)
    await scene.task()
    await scene.store.client.hset("bridge:registry", cast(Any, name), text)
    assert (await scene.store.registry.reload_endpoints()).by_name.keys() == {"a", "b"}
    made = await observed(scene, "queued")
    assert await arrived(scene) == {("a", made["t1"]), ("b", made["t1"])}


async def test_a_definition_that_is_nowhere_to_be_read_is_taken_in_anew(scene: Scene) -> None:
    """Both of its copies are gone; what its client wrote is not."""
    await scene.endpoint("a")
    await scene.store.client.hset("bridge:registry", "a", "{")
    await scene.store.client.hset("bridge:endpoint:a", "config", "[]")
    await scene.store.registry.reload_endpoints()
    await scene.intake.run()
    assert scene.store.registry.endpoints.by_name["a"].url == "http://127.0.0.1:9/a"


async def test_an_ended_delivery_in_a_queue_is_not_sent_again(scene: Scene) -> None:
    """Somebody put it there by hand; `delivery retry` is what asks for another attempt."""
    await scene.endpoint("a")
    await scene.task()
    made = await observed(scene, "queued")
    await arrived(scene)
    await scene.store.client.zadd("bridge:queue:a", {made["t1"]: 0})
    await scene.store.client.zadd("bridge:ready", {"a": 0})
    assert await scene.claim() == []
    assert await scene.store.client.zcard("bridge:queue:a") == 0


# -- clients' keys, put right again --


@pytest.mark.parametrize("repair", ["RENAME", "DEL"])
async def test_endpoints_come_back_when_their_key_is_put_right(scene: Scene, repair: str) -> None:
    """To lose bridge:endpoints was an accident, and cancels nothing; what was registered meanwhile is kept."""
    await scene.endpoint("a")
    await scene.task()
    made = await observed(scene, "queued")
    client = scene.store.client
    before = await client.hgetall("bridge:endpoints")
    await write(scene, "SET", "bridge:endpoints", "x")
    for endpoints in (True, False):
        assert "bridge:endpoints" in (await scene.intake.run(endpoints=endpoints)).trouble
        assert await client.hexists("bridge:rejected", "key:bridge:endpoints")
    await write(scene, repair, "bridge:endpoints", *(["elsewhere"] if repair == "RENAME" else []))
    await a_sweep(scene.store).page()
    await client.hset("bridge:endpoints", "b", json.dumps({"url": "http://127.0.0.1:9/b"}))
    assert (await scene.intake.run()).trouble == ""
    assert {name: await client.hget("bridge:endpoints", as_text(name)) for name in before} == before
    assert (await scene.store.registry.reload_endpoints()).by_name.keys() == {"a", "b"}
    assert await client.hlen("bridge:rejected") == 0
    assert await arrived(scene) == {("a", made["t1"])}
    await client.hdel("bridge:endpoints", "a")
    await scene.intake.run()
    assert scene.store.registry.endpoints.by_name.keys() == {"b"}


async def test_tasks_come_back_when_their_key_is_put_right(scene: Scene, clock: Clock) -> None:
    """Also where a claim or the sweep looks before intake does."""
    await scene.task("t1")
    await scene.task("t2")
    client = scene.store.client
    await write(scene, "SET", "bridge:tasks", "x")
    await scene.intake.run()
    await client.rename("bridge:tasks", "elsewhere")
    await a_sweep(scene.store).page()
    assert (await observed(scene, "queued")).keys() == {"t1", "t2"}
    assert (await scene.intake.run()).trouble == ""
    assert await client.zrange("bridge:tasks", 0, -1, withscores=True) == [(b"t1", float("inf")), (b"t2", float("inf"))]
    await client.zrem("bridge:tasks", "t1")
    clock.advance(READ_AGAIN_MS)
    assert (await observed(scene, "indexing")).keys() == {"t2"}


async def test_many_refusals_do_not_push_out_the_word_that_a_clients_key_was_broken(scene: Scene) -> None:
    """On account of it what was registered is written back; another entry makes place."""
    client, kept = scene.store.client, {b"key:bridge:tasks", b"key:bridge:endpoints"}
    await client.hset("bridge:rejected", mapping=dict.fromkeys((*kept, b"task:first"), "{}"))
    for number in range(30):
        await client.zadd("bridge:tasks", {f"t{number}": 0})
        assert await scene.store.scripts.call("reject_task", f"t{number}", f"task:t{number}", "{}", 3) == b"rejected"
    assert set(await client.hkeys("bridge:rejected")) == {*kept, b"task:t29"}


@pytest.mark.parametrize("before", [1, DATA_VERSION])
async def test_the_data_of_an_older_bridge_is_ours_from_now_on(scene: Scene, redis_url: str, before: int) -> None:
    """So that the older one, which cannot read what we write, does not start on it again."""
    await write(scene, "HSET", "bridge:meta", "data_version", str(before))
    async with Store.open(redis_url, rehearse=True):
        assert await scene.store.client.hget("bridge:meta", "data_version") == str(DATA_VERSION).encode()


@pytest.mark.parametrize("kind", ["poll", "deliver"])
async def test_no_worker_begins_beside_an_older_one(scene: Scene, redis_url: str, kind: str) -> None:
    """It would POST what we packed. Whoever only looks, or registers, neither waits nor takes its data away from it."""
    client = scene.store.client
    await write(scene, "HSET", "bridge:meta", "data_version", "1")
    alive = 1000 * (await client.time())[0] + 60_000
    await client.zadd(f"bridge:workers:{kind}", {"host:1:keyed": alive})
    with pytest.raises(OlderWorkers, match="1 of an older bridge's worker processes"):
        async with Store.open(redis_url, rehearse=True):
            pass
    async with Store.open(redis_url):
        assert await client.hget("bridge:meta", "data_version") == b"1"
    await client.zadd(f"bridge:workers:{kind}", {"host:1:keyed": 1})
    async with Store.open(redis_url, rehearse=True):
        assert await client.hget("bridge:meta", "data_version") == str(DATA_VERSION).encode()


async def test_the_data_of_a_newer_bridge_is_refused(scene: Scene, redis_url: str) -> None:
    """And stays its own."""
    newer = str(DATA_VERSION + 1)
    await write(scene, "HSET", "bridge:meta", "data_version", newer)
    with pytest.raises(NewerData, match=f"version {newer}"):
        async with Store.open(redis_url):
            pass
    assert await scene.store.client.hget("bridge:meta", "data_version") == newer.encode()


@pytest.mark.parametrize("command", [("HSET", "bridge:meta", "data_version", "x"), ("SET", "bridge:meta", "x")])
async def test_an_unreadable_version_of_the_data_is_told_with_its_fix(
    scene: Scene, redis_url: str, command: tuple[str, ...]
) -> None:
    """Not with a traceback."""
    await write(scene, *command)
    with pytest.raises(UnreadableData) as refused:
        async with Store.open(redis_url):
            pass
    assert "bridge:meta" in refused.value.fix
