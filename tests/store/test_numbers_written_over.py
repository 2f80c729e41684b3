"""Somebody wrote nonsense where a number of ours stands: it costs nobody else anything, and its owner no event."""

import json
from typing import Any, cast

import pytest
from scene import LEASE_MS, Scene

from bridge.model import Decision, DeliveryState, EndpointEffect
from bridge.store.notices import Waiting
from bridge.store.sweep import Sweep

DELIVERED = Decision(DeliveryState.DELIVERED, EndpointEffect.SUCCESS)
RETRY = Decision(DeliveryState.PENDING, EndpointEffect.FAILURE, retry_in_ms=1_000)
OVERLOAD = Decision(DeliveryState.PENDING, EndpointEffect.OVERLOAD, retry_in_ms=1_000)
NONSENSE = ("abc", "0.5", "2.5", "nan", "inf", "-inf", "-3", "9e15", "")
LIMITS = ("cap", "limit", "rate", "rate_at", "paused_until", "resumed_at", "resuming", "probe_at", "probes")
COUNTERS = ("failures", "failing_since", "failed_at", "warned", "told", "troubled", "calm", "blocked", "limit_from")


@pytest.mark.parametrize("value", NONSENSE)
@pytest.mark.parametrize("field", LIMITS)
async def test_every_endpoint_is_served(scene: Scene, field: str, value: str) -> None:
    """Whatever stands in a field of one of three: each gets its event, that one, too, as soon as a sweep has looked."""
    for name in ("a", "b", "c"):
        await scene.endpoint(name)
    await scene.task()
    await cast(Any, scene.store.client.hset("bridge:endpoint:b", field, value))
    event = await scene.commit("ready")
    served: set[str] = set()
    for _ in range(10):
        for delivery in await scene.claim():
            assert delivery.event_id == event.id
            served.add(delivery.endpoint)
            assert await scene.store.outbox.settle(delivery, DELIVERED, "{}") == "ok"
        scene.clock.advance(LEASE_MS)
        await Sweep(scene.store, delivered_ms=10**12, dead_ms=10**12, tasks_ms=10**12).page()
    assert served == {"a", "b", "c"}


@pytest.mark.parametrize("value", NONSENSE)
@pytest.mark.parametrize("field", COUNTERS)
async def test_every_attempt_is_settled(scene: Scene, field: str, value: str) -> None:
    """Failures are counted from there on, and a success ends them."""
    await scene.endpoint("a")
    await scene.task()
    await scene.commit("ready")
    await cast(Any, scene.store.client.hset("bridge:endpoint:a", mapping={"limit": "5", field: value}))
    for decision in (RETRY, OVERLOAD, RETRY):
        (delivery,) = await scene.claim()
        assert await scene.store.outbox.settle(delivery, decision, "{}") in {"ok", "held"}
        scene.clock.advance(1_000)
    assert int(cast(bytes, await cast(Any, scene.store.client.hget("bridge:endpoint:a", "failures")))) >= 3
    (delivery,) = await scene.claim()
    assert await scene.store.outbox.settle(delivery, DELIVERED, "{}") == "ok"
    assert await cast(Any, scene.store.client.hget("bridge:endpoint:a", "failures")) == b"0"


@pytest.mark.parametrize("junk", ["1e999", "-1e999", '{"y":1e999}', "[[]]"])
async def test_a_record_that_json_cannot_write_back_is_settled(scene: Scene, junk: str) -> None:
    """Else it would be attempted for ever, and settled never."""
    await scene.endpoint("a")
    await scene.task()
    event = await scene.commit("ready")
    text = cast(bytes, await cast(Any, scene.store.client.hget("bridge:deliveries:a", event.id))).decode()
    await cast(Any, scene.store.client.hset("bridge:deliveries:a", event.id, f'{text[:-1]},"x":{junk}}}'))
    (delivery,) = await scene.claim()
    assert await scene.store.outbox.settle(delivery, DELIVERED, "{}") == "ok"
    assert await scene.claim() == []


@pytest.mark.parametrize(
    "junk",
    [b"\xff", b"{", b"[]", b'{"kind":"failing"}', *(
        json.dumps({"kind": "failing", "endpoint": "a", "at": 1, "revision": 1, "failures": 1, "failing_since": 1,
                    "window_ms": 1, "percent": 50} | wrong).encode()
        for wrong in ({"at": 1e20}, {"at": -1e17}, {"failing_since": 1e20}, {"endpoint": "\ud800"}, {"percent": "x"})
    )],
)  # fmt: skip
async def test_a_notice_that_cannot_be_told_holds_up_no_other(scene: Scene, junk: bytes) -> None:
    """It goes at once, or, where only its values are wrong, is read as what it is and dropped as it stands."""
    notices = scene.store.notices
    await cast(Any, scene.store.client.rpush("bridge:notices", junk))
    waiting = await notices.waiting()
    assert waiting in (Waiting([], 1), Waiting([junk], 0))
    for found in waiting.notices:
        assert isinstance(found, bytes)
        await notices.drop(found)
    assert await notices.waiting() == Waiting([], 0)
