"""What is to be told of endpoints: written down by settling, made an event once, whoever dies and whoever repeats."""

import asyncio
import json
from typing import Any, cast

import pytest
from scene import Clock, Scene

from bridge.events import event_of
from bridge.model import Decision, DeliveryState, EndpointEffect, Notice, NoticeKind
from bridge.store import Store
from bridge.store.notices import DROPPED, DROPPED_BYTES, KEPT, NOTICE_BYTES, Waiting

WINDOW_MS = 100_000
FAILED = Decision(DeliveryState.PENDING, EndpointEffect.FAILURE, retry_in_ms=1, window_ms=WINDOW_MS)
DELIVERED = Decision(DeliveryState.DELIVERED, EndpointEffect.SUCCESS)
ATTEMPT = json.dumps({"attempt": 1, "status_code": 503})


async def fail_at(scene: Scene, *moments: int) -> list[str]:
    """Fail the one delivery of endpoint `a` at these parts of the window, in percent; replies the store's words."""
    start, words = scene.clock.now, []
    for percent in moments:
        scene.clock.now = start + percent * WINDOW_MS // 100
        (delivery,) = [one for one in await scene.claim() if one.endpoint == "a"]
        words.append(await scene.store.outbox.settle(delivery, FAILED, ATTEMPT))
    return words


async def notices(scene: Scene) -> list[Notice]:
    found = (await scene.store.notices.waiting()).notices
    assert all(isinstance(one, Notice) for one in found)
    return [one for one in found if isinstance(one, Notice)]


async def tell(scene: Scene, notice: Notice) -> str:
    """As a worker does it."""
    endpoints = await scene.store.registry.reload_endpoints()
    event = event_of(notice, None)
    return await scene.store.notices.tell(notice, event, endpoints.hearers(notice), endpoints.version)


@pytest.fixture
async def failing(scene: Scene) -> Scene:
    """An endpoint that is owed something, and one that wants to hear of it."""
    await scene.endpoint("a")
    await scene.endpoint("ops", events=["bridge.endpoint.*"])
    await scene.task()
    await scene.commit("ready", delay_ms=-1)
    return scene


async def test_each_mark_is_told_once(failing: Scene) -> None:
    """Before a mark nothing, from it on once; at the end of the window the endpoint is disabled."""
    words = await fail_at(failing, 0, 49, 50, 51, 69, 70, 89, 90, 99, 100)
    assert words == ["ok"] * 9 + ["disabled"]
    told = await notices(failing)
    assert [(one.kind, one.percent, one.reason) for one in told] == [
        *((NoticeKind.FAILING, percent, None) for percent in (50, 70, 90)),
        (NoticeKind.DISABLED, None, "failing"),
    ]
    assert [one.failures for one in told] == [3, 6, 8, 10]
    assert {(one.status_code, one.fault, one.window_ms) for one in told} == {(503, None, WINDOW_MS)}
    revisions = [one.revision for one in told]
    assert revisions == sorted(set(revisions))


async def test_a_leap_over_marks_tells_each(failing: Scene) -> None:
    """No attempt for long: the next one tells what came meanwhile, in order, each with a revision of its own."""
    await fail_at(failing, 0, 95)
    told = await notices(failing)
    assert [one.percent for one in told] == [50, 70, 90]
    assert len({one.revision for one in told}) == len({event_of(one, None).id for one in told}) == 3


async def test_enabled_again_it_is_warned_of_anew(failing: Scene) -> None:
    """Written anew, the endpoint has a clean slate: the window starts with its next failure."""
    await fail_at(failing, 0, 60, 100)
    assert len(await notices(failing)) == 4
    await failing.endpoint("a", **{"x-fixed": 1})
    failing.clock.advance(1)
    await fail_at(failing, 0, 50)
    assert [one.percent for one in await notices(failing)][4:] == [50]


async def test_it_is_told_exactly_once(failing: Scene) -> None:
    """Ten workers tell the same notices at once, and repeat it: one event each, owed once, in order."""
    await fail_at(failing, 0, 95)
    told = await notices(failing)
    words = await asyncio.gather(*(tell(failing, one) for _ in range(10) for one in told))
    assert words.count("told") == 3
    assert {*words} == {"told", "stale"}
    assert await notices(failing) == []
    seen = []
    for _ in range(3):
        (delivery,) = [one for one in await failing.claim() if one.endpoint == "ops"]
        seen.append(json.loads(delivery.body)["data"]["percent"])
        await failing.store.outbox.settle(delivery, DELIVERED, "{}")
    assert seen == [50, 70, 90]


async def test_killed_between_the_settle_and_the_telling(failing: Scene, redis_url: str, clock: Clock) -> None:
    """What was to be told stands in Redis: another process finds it and tells it."""
    await fail_at(failing, 0, 50)
    async with Store.open(redis_url, clock=clock) as other:
        (notice,) = (await other.notices.waiting()).notices
        assert isinstance(notice, Notice)
        endpoints = await other.registry.reload_endpoints()
        event = event_of(notice, None)
        assert await other.notices.tell(notice, event, endpoints.hearers(notice), endpoints.version) == "told"
    assert [one.event_id for one in await failing.claim() if one.endpoint == "ops"] == [event.id]


async def test_endpoints_that_changed_meanwhile_are_matched_again(failing: Scene) -> None:
    """With an older set nothing is written; the notice waits."""
    await fail_at(failing, 0, 50)
    (notice,) = await notices(failing)
    before = failing.store.registry.endpoints
    await failing.endpoint("late", events=["bridge.*"])
    event = event_of(notice, None)
    hearers = before.hearers(notice)
    assert await failing.store.notices.tell(notice, event, hearers, before.version) == "changed"
    assert await notices(failing) == [notice]
    assert await tell(failing, notice) == "told"
    assert {one.endpoint for one in await failing.claim()} >= {"ops", "late"}


async def test_without_hearers_no_body_is_kept(scene: Scene) -> None:
    """Nobody asked: the stream has the pointer, and nothing stays behind."""
    await scene.endpoint("a")
    await scene.task()
    await scene.commit("ready", delay_ms=-1)
    await fail_at(scene, 0, 50)
    (notice,) = await notices(scene)
    assert await tell(scene, notice) == "told"
    assert not await scene.store.client.exists(f"bridge:event:{event_of(notice, None).id}")
    ((_, pointer),) = cast(Any, await scene.store.client.xrevrange("bridge:events", count=1))
    assert pointer[b"type"] == b"bridge.endpoint.failing"


async def test_nonsense_in_the_list_stops_nothing(failing: Scene) -> None:
    """Somebody writes into bridge:notices: it goes at the next look, and what is behind it is told."""
    await failing.store.client.rpush("bridge:notices", "what?", "{}", '{"endpoint": 1}', "[" * 900, b"\xff")
    await fail_at(failing, 0, 50)
    waiting = await failing.store.notices.waiting()
    assert waiting.dropped == 5
    (notice,) = waiting.notices
    assert isinstance(notice, Notice)
    assert await tell(failing, notice) == "told"
    assert await failing.store.notices.waiting() == Waiting([], 0)


async def test_what_only_looks_like_a_notice_is_told_as_unreadable(failing: Scene) -> None:
    """Its numbers are none: whoever tells drops it by its bytes, and goes on."""
    await failing.store.client.rpush("bridge:notices", '{"endpoint": "a", "at": "x"}')
    await fail_at(failing, 0, 50)
    first, second = (await failing.store.notices.waiting()).notices
    assert isinstance(first, bytes)
    await failing.store.notices.drop(first)
    assert isinstance(second, Notice)
    assert await tell(failing, second) == "told"


async def test_a_long_entry_is_never_handed_out(failing: Scene) -> None:
    """Not at the head, nor behind a notice: what is read stays small, whatever stands in the list."""
    await failing.store.client.rpush("bridge:notices", json.dumps({"endpoint": "a" * NOTICE_BYTES}))
    await fail_at(failing, 0, 50)
    await failing.store.client.rpush("bridge:notices", "x" * (DROPPED_BYTES + 1), "y", "z")
    waiting = await failing.store.notices.waiting()
    assert (waiting.dropped, len(waiting.notices)) == (1, 1)
    assert isinstance(notice := waiting.notices[0], Notice)
    assert await tell(failing, notice) == "told"
    assert await failing.store.notices.waiting() == Waiting([], 1)
    assert await failing.store.notices.waiting() == Waiting([], 2)


async def test_a_heap_of_nonsense_goes_step_by_step(failing: Scene) -> None:
    """One look drops so many and no more, and the notice behind them is reached."""
    await failing.store.client.rpush("bridge:notices", *["junk"] * (2 * DROPPED + 1))
    await fail_at(failing, 0, 50)
    assert await failing.store.notices.waiting() == Waiting([], DROPPED)
    assert await failing.store.notices.waiting() == Waiting([], DROPPED)
    waiting = await failing.store.notices.waiting()
    assert (waiting.dropped, len(waiting.notices)) == (1, 1)


async def test_the_list_has_a_bound(failing: Scene) -> None:
    """Beyond it the oldest go, also where nobody could tell them from notices; the latest are told."""
    for _ in range(11):
        await failing.store.client.rpush("bridge:notices", *['{"endpoint": "a"}'] * (KEPT // 10))
    await fail_at(failing, 0, 50)
    assert (await failing.store.notices.waiting()).dropped == KEPT // 10 + 1
    assert await cast(Any, failing.store.client.llen("bridge:notices")) == KEPT


async def test_a_list_of_a_wrong_type_costs_the_notice_only(failing: Scene) -> None:
    """Somebody writes over bridge:notices: attempts are settled all the same."""
    await failing.store.client.set("bridge:notices", "x")
    assert await fail_at(failing, 0, 50, 100) == ["ok", "ok", "disabled"]
    assert await failing.store.notices.waiting() == Waiting([], 0)
