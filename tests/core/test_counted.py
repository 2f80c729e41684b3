"""What the cores count while they work, against a simulated upstream and a real receiver."""

from typing import cast

import pytest
from corescene import INTERVAL_MS, Delivering, Stage, Watching

from bridge.sandbox.faults import Fault, throttled, unavailable

LATER = INTERVAL_MS + 500


async def counters(stage: Stage, key: str = "bridge:stats") -> dict[str, int]:
    """The counters with labels, as Redis has them."""
    found = cast(dict[bytes, bytes], await stage.store.client.hgetall(key))
    return {name.decode(): int(by) for name, by in found.items() if b":" in name}


async def test_what_reads_came_to_is_in_redis_with_the_next_claim(watch: Watching) -> None:
    """One request each, by answer, and what it led to; nothing is counted twice."""
    await watch.add("indexing")
    await watch.round(LATER)
    watch.simulator.change("t1", {"status": "ready"})
    await watch.round(LATER)
    await watch.round(LATER)
    seen = await counters(watch.stage)
    assert {name: by for name, by in seen.items() if name.startswith(("polls:", "requests:"))} == {
        "polls:changed": 2,
        "polls:unchanged": 1,
        "requests:2xx": 3,
    }
    assert (seen["events:index.task.indexing"], seen["events:index.task.ready"]) == (1, 1)
    await watch.round(LATER)
    assert (await counters(watch.stage))["requests:2xx"] == 3


@pytest.mark.parametrize(
    ("fault", "poll", "request_class"),
    [
        (unavailable(), "transient", "5xx"),
        (throttled(), "throttled", "429"),
        (Fault(raw=b"no HTTP\r\n\r\n"), "transient", "none"),
    ],
    ids=["503", "429", "no answer"],
)
async def test_a_read_that_fails_is_counted_as_what_it_was(
    watch: Watching, fault: Fault, poll: str, request_class: str
) -> None:
    """429 has a class of its own, and so has no answer at all."""
    await watch.add("indexing")
    watch.simulator.fault("/tasks/*", fault)
    await watch.round(LATER)
    await watch.round(10 * LATER)
    await watch.round(1)
    seen = await counters(watch.stage)
    assert (seen[f"polls:{poll}"], seen[f"requests:{request_class}"]) == (1, 1)


async def test_an_attempt_and_its_time_are_counted(deliver: Delivering) -> None:
    """A failure, then a success: the endpoint's own counters, and the times of both."""
    await deliver.endpoint()
    await deliver.stage.task("t1")
    await deliver.stage.commit("ready")
    deliver.receiver.script(500)
    assert await deliver.round() == 1
    assert await deliver.round(10_000) == 1
    assert await counters(deliver.stage, "bridge:stats:e1") == {"attempt:http_error": 1, "attempt:success": 1}
    seen = await counters(deliver.stage)
    assert sum(by for name, by in seen.items() if name.startswith("duration:") and name != "duration:ms") == 2
    assert (seen["end_to_end:30"], seen["end_to_end:ms"]) == (1, 10_001)


async def test_what_an_operator_sends_again_does_not_count_as_late(deliver: Delivering) -> None:
    """A replay of last week's news would say that deliveries take a week."""
    await deliver.endpoint()
    await deliver.stage.task("t1")
    event = await deliver.stage.commit("ready")
    await deliver.round()
    before = await counters(deliver.stage)
    deliver.stage.clock.advance(600_000)
    retried = await deliver.stage.store.outbox.retry(event.id, "e1", force=True)
    assert (retried.word, await deliver.round()) == ("revived", 1)
    seen = await counters(deliver.stage)
    assert seen["end_to_end:ms"] == before["end_to_end:ms"]
    assert (await counters(deliver.stage, "bridge:stats:e1"))["attempt:success"] == 2
