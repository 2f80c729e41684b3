"""What an operator asked for, as its receiver sees it, and what is never sent."""

from collections.abc import AsyncIterator

import pytest
from corescene import SECRET, Delivering, Stage, delivering

from bridge.recovery import RECOVERABLE, choose
from bridge.schedule import RetryPolicy
from bridge.signature import generate_secret
from bridge.store.steering import Steering

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


# -- held, and let go again --


async def test_the_expiry_clock_stands_still_while_an_endpoint_is_held(short: Delivering) -> None:
    """P9: a progress event, held for a week: let go, it has its hour anew, and then expires as ever."""
    steering = Steering(short.stage.store)
    await short.endpoint()
    await short.stage.task("t1")
    event = await short.stage.commit("indexing")
    await steering.disable("e1", "operator")
    assert await short.round(7 * 86_400_000) == 0
    await steering.enable("e1")
    short.receiver.always(500)
    assert await short.round() == 1
    record = await short.stage.delivery("e1", event.id)
    assert (record["state"], record["attempts"]) == ("pending", 1)
    assert await short.round(5_000) == 1
    assert (await short.stage.delivery("e1", event.id))["state"] == "pending"
    assert await short.round(3_600_000) == 1
    assert (await short.stage.delivery("e1", event.id))["state"] == "dead"


async def test_an_event_that_was_retried_before_the_hold_is_not_expired_by_it(short: Delivering) -> None:
    """Half an hour old and failed once, held for two: its next failure is the first of a new round."""
    await short.endpoint()
    await short.stage.task("t1")
    event = await short.stage.commit("indexing")
    short.receiver.always(500)
    assert await short.round(1_800_000) == 1
    steering = Steering(short.stage.store)
    await steering.disable("e1", "operator")
    short.stage.clock.advance(7_200_000)
    await steering.enable("e1")
    assert await short.round() == 1
    assert await short.round(5_000) == 1
    record = await short.stage.delivery("e1", event.id)
    assert (record["state"], record["attempts"], record["round_from"]) == ("pending", 3, 1)


@pytest.mark.parametrize("ordering", ["first-attempt", "strict"])
async def test_what_was_held_goes_out_in_order(short: Delivering, ordering: str) -> None:
    """One that had failed before the hold, and all that came meanwhile: by revision, each once."""
    await short.endpoint(ordering=ordering)
    await short.stage.task("t1")
    made = [await short.stage.commit("validating")]
    short.receiver.script(500)
    assert await short.round() == 1
    steering = Steering(short.stage.store)
    await steering.disable("e1", "operator")
    made += [await short.stage.commit(word) for word in ("pending", "queued", "indexing", "ready")]
    assert await short.round(60_000) == 0
    await steering.enable("e1")
    while await short.round(slots=1):
        pass
    assert [one.id for one in short.receiver.valid[1:]] == [event.id for event in made]


async def test_dead_letters_that_come_back_go_out_in_order_with_their_numbers(short: Delivering) -> None:
    """Exhausted one by one; recovered, the receiver gets them by revision, and sees who asked."""
    await short.endpoint()
    await short.stage.task("t1")
    made = [await short.stage.commit(word) for word in ("validating", "pending", "ready")]
    short.receiver.always(500)
    while await short.round(300_000):
        pass
    steering = Steering(short.stage.store)
    letters = await steering.dead_letters("e1", 0)
    ids = choose(letters.found, RECOVERABLE).event_ids
    assert list(ids) == [event.id for event in made]
    before = len(short.receiver.arrivals)
    short.receiver.always(204)
    assert (await steering.recover("e1", ids)).recovered == 3
    while await short.round(slots=1):
        pass
    again = short.receiver.valid[before:]
    assert [one.id for one in again] == list(ids)
    assert {(one.headers["bridge-trigger"], one.headers["bridge-attempt"]) for one in again} == {("recover", "4")}


async def test_an_old_secret_still_verifies_until_its_time(short: Delivering) -> None:
    """While a secret is rotated a receiver that has only the old one takes what it is owed."""
    new = generate_secret(bytes(32))
    until = int(short.stage.clock.now / 1000) + 60
    await short.endpoint(secret=new, previous_secrets=[{"secret": SECRET, "until": until}])
    await short.stage.task("t1")
    await short.stage.commit("indexing")
    assert await short.round() == 1
    assert len(short.receiver.valid) == 1
    await short.stage.commit("ready")
    assert await short.round(60_000) == 1
    assert len(short.receiver.valid) == 1
    assert len(short.receiver.invalid) == 1
