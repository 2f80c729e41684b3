"""Watching what stands still: a stall is an event, once, and everything else is as ever."""

from dataclasses import replace

from corescene import INTERVAL_MS, Watching

LATER = INTERVAL_MS + 500


async def test_a_task_that_stands_still_is_told_once(watch: Watching) -> None:
    """And whatever comes then is told as ever; it goes on being read meanwhile."""
    watch.poller._policy = replace(watch.poller._policy, stalled_seconds=7_200)
    await watch.add("indexing")
    await watch.round(7_100_000)
    assert await watch.stage.event_types() == ["index.task.indexing"]
    for _ in range(3):
        assert await watch.round(200_000) == 1
    assert await watch.stage.event_types() == ["index.task.indexing", "index.task.stalled"]
    watch.simulator.change("t1", {"status": "ready"})
    await watch.round(LATER)
    assert (await watch.stage.event_types())[2:] == ["index.task.ready"]


async def test_a_task_that_had_stalled_before_it_was_registered_is_told_once_we_have_seen_it(watch: Watching) -> None:
    """However old upstream's time is: it may be in the wrong zone."""
    watch.poller._policy = replace(watch.poller._policy, stalled_seconds=7_200)
    watch.simulator.add_task("t1", timeline=(), status="indexing", age_seconds=100_000)
    await watch.stage.task("t1")
    await watch.round()
    await watch.round(LATER)
    assert await watch.stage.event_types() == ["index.task.indexing"]
    await watch.round(7_200_000)
    assert await watch.stage.event_types() == ["index.task.indexing", "index.task.stalled"]


async def test_an_analysis_that_stands_still_is_told_once(watch: Watching) -> None:
    """It has no updated_at: since it was seen to move, and the telling of it is no move."""
    watch.poller._policy = replace(watch.poller._policy, stalled_seconds=600)
    await watch.add("processing", "analyze:n1")
    for _ in range(5):
        await watch.round(400_000)
    assert await watch.stage.event_types() == ["analyze.task.processing", "analyze.task.stalled"]


async def test_what_was_asked_to_be_told_again_comes_before_a_stall(watch: Watching) -> None:
    """Who registers it again is owed its present status first."""
    watch.poller._policy = replace(watch.poller._policy, stalled_seconds=7_200)
    await watch.add("indexing")
    await watch.stage.store.client.hset("bridge:watch:t1", "announce", "1")
    await watch.round(7_300_000)
    assert await watch.stage.event_types() == ["index.task.indexing"]
    await watch.round(LATER)
    assert await watch.stage.event_types() == ["index.task.indexing", "index.task.stalled"]
