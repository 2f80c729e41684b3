"""What an endpoint's answers and its own limits do to the attempts that it gets."""

from datetime import timedelta
from email.utils import format_datetime

import pytest
from corescene import Delivering, Stage, delivering, ready

from bridge.sandbox.message import Response


async def limit(stage: Stage) -> int | None:
    """How many attempts the endpoint may have in flight, while that is fewer than its cap."""
    found = await stage.store.client.hget("bridge:endpoint:e1", "limit")
    return None if found is None else int(found)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_too_much_is_answered_with_less(deliver: Delivering, status: int) -> None:
    """32 attempts at once, each refused as too many: 16 at the next time."""
    await deliver.endpoint("e1", "/e1")
    deliver.receiver.always(status, "/e1")
    await ready(deliver.stage, *(f"t{n}" for n in range(32)))
    assert await deliver.round() == 32
    assert await limit(deliver.stage) == 16
    assert await deliver.round(6_000) == 16


async def test_silence_is_too_much_as_well(stage: Stage) -> None:
    """Attempts that run into their deadline: the endpoint is slow, and gets fewer at a time."""
    async with delivering(stage, deadline_seconds=0.2) as deliver:
        await deliver.endpoint("e1", "/e1", concurrency=4)
        deliver.receiver.always(Response(hang=True), "/e1")
        await ready(stage, *(f"t{n}" for n in range(4)))
        assert await deliver.round() == 4
        assert await limit(stage) == 2


@pytest.mark.parametrize("status", [400, 404, 500])
async def test_another_failure_is_no_sign_of_it(deliver: Delivering, status: int) -> None:
    """The endpoint refuses or breaks, however few it gets."""
    await deliver.endpoint("e1", "/e1")
    deliver.receiver.always(status, "/e1")
    await ready(deliver.stage, *(f"t{n}" for n in range(4)))
    assert await deliver.round() == 4
    assert await limit(deliver.stage) is None


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_date_to_come_back_at_rests_the_endpoint(deliver: Delivering, status: int) -> None:
    """Retry-After as an HTTP date, whatever the status: nothing goes out before."""
    await deliver.endpoint("e1", "/e1")
    at = deliver.stage.clock.moment() + timedelta(seconds=120)
    deliver.receiver.script(Response(status, (("retry-after", format_datetime(at, usegmt=True)),)), path="/e1")
    await ready(deliver.stage, "t1")
    assert await deliver.round() == 1
    await ready(deliver.stage, "t2")
    assert await deliver.round(110_000) == 0
    assert await deliver.round(15_000) == 2


async def test_a_success_that_asks_for_a_rest_gets_none(deliver: Delivering) -> None:
    """Retry-After beside a 2xx says nothing about what comes next."""
    await deliver.endpoint("e1", "/e1")
    deliver.receiver.always(Response(200, (("retry-after", "3600"),)), "/e1")
    await ready(deliver.stage, "t1")
    assert await deliver.round() == 1
    await ready(deliver.stage, "t2")
    assert await deliver.round() == 1


async def test_its_own_schedule_is_followed(deliver: Delivering) -> None:
    """Three attempts, a minute apart, and then it is dead; another endpoint keeps the operator's."""
    await deliver.endpoint("e1", "/e1", schedule=[0, 60, 60])
    await deliver.endpoint("e2", "/e2")
    deliver.receiver.always(500)
    (event,) = await ready(deliver.stage, "t1")
    for _ in range(20):
        await deliver.round(10_000)
    record = await deliver.stage.delivery("e1", event.id)
    assert (record["state"], record["reason"], record["attempts"]) == ("dead", "exhausted", 3)
    log = await deliver.stage.attempts("e1", event.id)
    assert [entry.get("retry_in_ms") for entry in log] == [60_000, 60_000, None]
    assert (await deliver.stage.delivery("e2", event.id))["attempts"] == 2
