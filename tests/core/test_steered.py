"""What an operator asked for, as its receiver sees it, and what is never sent."""

from collections.abc import AsyncIterator

import pytest
from corescene import Delivering, Stage, delivering

from bridge.schedule import RetryPolicy

POLICY = RetryPolicy(schedule_seconds=(0, 5, 300), jitter=0.0)


@pytest.fixture
async def short(stage: Stage) -> AsyncIterator[Delivering]:
    """A deliverer that tries three times."""
    async with delivering(stage, policy=POLICY) as deliver:
        yield deliver


async def test_a_retried_dead_letter_gets_a_whole_schedule_and_goes_on_counting(short: Delivering) -> None:
    """Three failures, dead; retried by hand a month later: three more, numbered on, one id, one body."""
    await short.endpoint()
    await short.stage.task("t1")
    event = await short.stage.commit("indexing")
    short.receiver.always(500)
    for wait in (0, 5_000, 300_000):
        assert await short.round(wait) == 1
    assert (await short.stage.delivery("e1", event.id))["reason"] == "exhausted"
    short.stage.clock.advance(30 * 86_400_000)
    assert (await short.stage.store.outbox.retry(event.id, "e1")).word == "revived"
    for wait in (0, 5_000, 300_000):
        assert await short.round(wait) == 1
    record = await short.stage.delivery("e1", event.id)
    assert (record["state"], record["reason"], record["attempts"]) == ("dead", "exhausted", 6)
    heads = [one.headers for one in short.receiver.valid]
    assert [head["bridge-attempt"] for head in heads] == list("123456")
    assert [head["bridge-trigger"] for head in heads] == ["schedule"] * 3 + ["manual"] + ["schedule"] * 2
    assert {one.id for one in short.receiver.valid} == {event.id}
    assert {one.body for one in short.receiver.valid} == {event.body}
    log = await short.stage.attempts("e1", event.id)
    assert [entry["trigger"] for entry in log] == ["schedule"] * 3 + ["manual"] + ["schedule"] * 2


async def test_nothing_is_posted_for_an_event_without_a_body(short: Delivering) -> None:
    """An empty POST with a valid signature would say nothing and be believed."""
    await short.endpoint()
    await short.stage.task("t1")
    event = await short.stage.commit("ready")
    await short.stage.store.client.hdel(f"bridge:event:{event.id}", "body")
    assert await short.round() == 0
    assert not short.receiver.arrivals
    record = await short.stage.delivery("e1", event.id)
    assert (record["state"], record["reason"]) == ("dead", "body-lost")
