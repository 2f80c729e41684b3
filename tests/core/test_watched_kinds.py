"""Watching what is no index task: indexed assets and analyses, read by id, told in events of their own."""

import json

import pytest
from corescene import INTERVAL_MS, Stage, Watching, delivering

from bridge.poll import PollPolicy
from bridge.store.reading.tasks import find_tasks

ASSET, ANALYSIS = "asset:69f0aa11bb22cc33dd44ee55/6a0b1c2d3e4f5a6b7c8d9e01", "analyze:6a0b1c2d3e4f5a6b7c8d9e01"
LATER = INTERVAL_MS + 500


async def test_an_indexed_asset_is_told_status_by_status_until_its_end(watch: Watching) -> None:
    """Read below its index, and no longer watched once it is ready."""
    await watch.add("pending", ASSET)
    for status in ("queued", "validating", "indexing", "ready"):
        watch.simulator.change(ASSET, {"status": status})
        assert await watch.round(LATER) == 1
    words = ("pending", "queued", "validating", "indexing", "ready")
    assert await watch.stage.event_types() == [f"index.asset.{word}" for word in words]
    assert await watch.stage.due_in(ASSET) is None
    assert await watch.stage.store.client.zscore("bridge:tasks", ASSET) is None
    assert {asked.path for asked in watch.simulator.requests} == {
        "/indexes/69f0aa11bb22cc33dd44ee55/indexed-assets/6a0b1c2d3e4f5a6b7c8d9e01"
    }


async def test_an_assets_stream_is_waited_for_after_it_is_ready(watch: Watching) -> None:
    """As a task's is: `index.asset.updated` tells that it is complete, and the watch ends."""
    await watch.add("ready", ASSET, hls={"status": "PROCESSING"})
    assert await watch.stage.due_in(ASSET) == INTERVAL_MS
    watch.simulator.change(ASSET, {"hls": {"status": "COMPLETE"}}, touch=False)
    await watch.round(LATER)
    assert await watch.stage.event_types() == ["index.asset.ready", "index.asset.updated"]
    assert await watch.stage.due_in(ASSET) is None


@pytest.mark.parametrize("missing_status", [404, 400])
@pytest.mark.parametrize(("member", "told"), [(ASSET, "index.asset.gone"), (ANALYSIS, "analyze.task.gone")])
async def test_what_vanished_is_told_once(watch: Watching, member: str, told: str, missing_status: int) -> None:
    """Whatever upstream's answer for a missing id looks like there; a nested 400 says that it cannot be watched."""
    watch.simulator.missing_status = missing_status
    await watch.add("queued", member)
    watch.simulator.remove(member)
    for _ in range(5):
        await watch.round(16_000)
    assert await watch.stage.due_in(member) is None
    if member == ANALYSIS and missing_status == 400:
        assert "refuses this id" in (await watch.stage.rejected())[f"task:{member}"]["reason"]
    else:
        assert (await watch.stage.event_types())[-1] == told


async def test_an_analysis_is_believed_at_once_though_it_has_no_updated_at(watch: Watching) -> None:
    """One read a status, and `canceled` is an end."""
    await watch.add("queued", ANALYSIS)
    for status in ("processing", "canceled"):
        watch.simulator.change(ANALYSIS, {"status": status})
        assert await watch.round(LATER) == 1
    types = ["analyze.task.queued", "analyze.task.processing", "analyze.task.canceled"]
    assert await watch.stage.event_types() == types
    assert await watch.stage.due_in(ANALYSIS) is None


async def test_what_no_list_tells_of_is_read_at_the_interval(watch: Watching) -> None:
    """Where index tasks rely on upstream's list, an asset does not."""
    policy = PollPolicy(interval_seconds=INTERVAL_MS / 1000, reconcile_seconds=1_800)
    watch.poller._policy = policy
    watch.simulator.add_task(ASSET, timeline=(), status="indexing")
    watch.simulator.add_task("t1", timeline=(), status="indexing")
    await watch.stage.task(ASSET)
    await watch.stage.task("t1")
    await watch.stage.store.client.hset("bridge:listing:default", "listed", str(watch.stage.clock.now))
    await watch.round()
    assert await watch.stage.due_in(ASSET) == INTERVAL_MS
    assert (await watch.stage.due_in("t1") or 0) > 10 * INTERVAL_MS


async def test_an_endpoint_is_told_of_assets_under_the_name_that_was_registered(watch: Watching) -> None:
    """`data.task_id` is the member; one that takes index tasks alone hears nothing."""
    async with delivering(watch.stage) as deliver:
        await deliver.endpoint("assets", "/assets", events=["index.asset.*"], indexes=["69f0*"])
        await deliver.endpoint("others", "/others", events=["index.asset.*"], indexes=["70*"])
        await deliver.endpoint("tasks", "/tasks")
        await watch.add("ready", ASSET)
        assert await deliver.round() == 1
        (arrival,) = deliver.receiver.arrivals
        assert arrival.path == "/assets"
        body = json.loads(arrival.body)
        assert (body["type"], body["data"]["task_id"]) == ("index.asset.ready", ASSET)
        assert body["data"]["task"]["asset_id"]


async def test_a_member_of_a_kind_that_is_not_known_is_never_read(watch: Watching) -> None:
    """A newer version registered it: it is kept, and said to be unknown, and not told to be gone."""
    await watch.stage.task(ASSET)
    await watch.stage.store.client.rename(f"bridge:watch:{ASSET}", "bridge:watch:later:x")
    await watch.stage.store.client.zadd("bridge:watch", {"later:x": 0})
    await watch.stage.store.client.zadd("bridge:tasks", {"later:x": float("inf")})
    for _ in range(6):
        await watch.round(60_000)
    (view,) = await find_tasks(watch.stage.store, ["later:x"])
    assert (view.state, "does not know" in view.note) == ("watched", True)
    assert not any("later" in asked.path for asked in watch.simulator.requests)


async def test_what_no_list_tells_of_is_no_reason_to_read_it(stage: Stage) -> None:
    """`auto` reads the list of index tasks from so many of them on, whatever else is watched."""

    async def word() -> str:
        turn = await stage.store.listings.claim(lease_ms=1, least=3, interval_ms=1, rest_ms=1)
        stage.clock.advance(10)
        return turn.word

    for number in range(300):
        await stage.store.client.zadd("bridge:watch", {f"asset:ix/a{number}": number})
    assert await word() == "few"
    await stage.store.client.zadd("bridge:watch", {f"t{number}": 10**15 for number in range(2)})
    assert await word() == "few"
    await stage.store.client.zadd("bridge:watch", {"t2": 10**15})
    assert await word() == "yours"
