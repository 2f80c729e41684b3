"""The figures of a scrape: what verbs count, what is read back, and what Prometheus' own parser makes of it."""

from collections.abc import Iterable
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families
from scene import Clock, Scene

from bridge import tally
from bridge.metrics import exposition
from bridge.model import Decision, DeliveryState, EndpointEffect, Outcome, Timing
from bridge.store.reading.figures import LOOKED_AT, by_status, checks, figures

DELIVERED = Decision(DeliveryState.DELIVERED, EndpointEffect.SUCCESS)
RETRY = Decision(DeliveryState.PENDING, EndpointEffect.FAILURE, retry_in_ms=0)
GONE = Decision(DeliveryState.DEAD, EndpointEffect.FAILURE)
WELL, ILL = Outcome(status_code=204, timing=Timing(total_ms=30)), Outcome(status_code=500, timing=Timing(total_ms=700))
CALLBACK = "http://127.0.0.1:9/callback"


async def scraped(scene: Scene) -> dict[str, float]:
    """Every sample of a scrape, by its name and labels."""
    text = exposition(await figures(scene.store), seconds=0.01).decode()
    return {
        f"{sample.name}{sorted(sample.labels.values())}": sample.value
        for family in cast(Iterable[Any], text_string_to_metric_families(text))
        for sample in family.samples
    }


async def settled(scene: Scene, decision: Decision, outcome: Outcome) -> int:
    """Claim what is due and settle it like this, as a deliverer does; how many there were."""
    claimed = await scene.claim()
    for delivery in claimed:
        counted = tally.of_attempt(delivery, outcome, decision, now=scene.clock.now)
        word = tally.attempt_word(outcome)
        assert await scene.store.outbox.settle(delivery, decision, "{}", word=word, tally=counted) == "ok"
        again = await scene.store.outbox.settle(delivery, decision, "{}", word=word, tally=counted)
        assert again == "stale"
    return len(claimed)


async def test_attempts_and_ends_are_counted_once_for_each_endpoint(scene: Scene) -> None:
    """What is repeated because its reply was lost counts nothing more."""
    for name in ("a", "b"):
        await scene.endpoint(name, supersede=True)
    await scene.task()
    await scene.commit("queued")
    assert await settled(scene, RETRY, ILL) == 2
    scene.clock.advance(1_000)
    assert await settled(scene, DELIVERED, WELL) == 2
    seen = await scraped(scene)
    for name in ("a", "b"):
        assert seen[f"bridge_delivery_attempts_total['{name}', 'success']"] == 1
        assert seen[f"bridge_delivery_attempts_total['{name}', 'http_error']"] == 1
        assert seen[f"bridge_deliveries_total['{name}', 'delivered']"] == 1
        assert seen[f"bridge_deliveries_pending['{name}']"] == 0
    assert seen["bridge_delivery_duration_seconds_count[]"] == 4
    assert seen["bridge_delivery_duration_seconds_sum[]"] == pytest.approx(1.46)
    assert seen["bridge_delivery_duration_seconds_bucket['0.05']"] == 2
    assert seen["bridge_delivery_duration_seconds_bucket['+Inf']"] == 4
    assert seen["bridge_delivery_end_to_end_seconds_count[]"] == 2
    assert seen["bridge_events_total['index.task.queued']"] == 1


async def test_callback_urls_share_one_label_and_it_never_steps_back(scene: Scene) -> None:
    """There is no end of them, and a counter that loses one of its parts would look like a restart."""
    for member in ("t1", "t2"):
        await scene.task(member, callback_url=f"{CALLBACK}/{member}")
        await scene.commit("ready", member=member, delay_ms=-1)
    assert (await scraped(scene))["bridge_deliveries_pending['url:*']"] == 2
    assert await settled(scene, DELIVERED, WELL) == 2
    seen = await scraped(scene)
    assert seen["bridge_delivery_attempts_total['success', 'url:*']"] == 2
    assert seen["bridge_endpoint_state['active', 'url:*']"] == 2
    assert not [name for name in seen if "url:" in name.replace("url:*", "")]
    scene.clock.advance(120_000)
    for name in [n.decode() for n in cast(set[bytes], await scene.store.client.smembers("bridge:names"))]:
        await scene.store.outbox.prune(name, delivered_ms=0, dead_ms=0)
        await scene.store.scripts.call("remove_endpoint", name, 100)
        await scene.store.outbox.prune(name, delivered_ms=0, dead_ms=0)
    seen = await scraped(scene)
    assert seen["bridge_endpoint_state['active', 'url:*']"] == 0
    assert seen["bridge_delivery_attempts_total['success', 'url:*']"] == 2


async def test_a_removed_endpoint_takes_its_counters_along(scene: Scene) -> None:
    """Once it has nothing left to show: no key of it stays behind."""
    await scene.endpoint("a")
    await scene.task()
    await scene.commit("ready", delay_ms=-1)
    assert await settled(scene, GONE, ILL) == 1
    assert (await scraped(scene))["bridge_deliveries_total['a', 'dead']"] == 1
    await scene.store.client.hdel("bridge:endpoints", "a")
    await scene.intake.run()
    assert await scene.store.client.exists("bridge:stats:a") == 1
    scene.clock.advance(1_000)
    for _ in range(2):
        await scene.store.outbox.prune("a", delivered_ms=0, dead_ms=0)
    assert await scene.store.client.exists("bridge:stats:a") == 0
    assert not [name for name in await scraped(scene) if "'a'" in name]


async def test_no_name_that_somebody_made_up_is_a_label(scene: Scene) -> None:
    """Refused entries are counted; their names, a client's own words, stay out. Task ids are nowhere."""
    await scene.store.client.hset("bridge:endpoints", "EVIL\nname 1", "{}")
    await scene.store.client.zadd("bridge:tasks", {"../evil": 0})
    await scene.endpoint("a")
    await scene.task("a-task-of-ours")
    await scene.commit("ready", member="a-task-of-ours")
    text = exposition(await figures(scene.store), seconds=0.01).decode()
    assert (await scraped(scene))["bridge_rejected_entries[]"] == 2
    assert ("evil" in text.lower(), "a-task-of-ours" in text) == (False, False)


async def test_tasks_are_told_by_status_and_how_late_they_are(scene: Scene, clock: Clock) -> None:
    """An undocumented status is `other`; what is due and for how long."""
    for member, status in (("t1", "indexing"), ("t2", "polishing")):
        await scene.task(member)
        claim = await scene.store.registry.claim_tasks(10, lease_ms=20_000)
        assert [task.member for task in claim.tasks] == [member]
        await scene.store.client.hset(f"bridge:snapshot:{member}", "status", status)
    clock.advance(50_000)
    seen = await scraped(scene)
    assert (seen["bridge_tasks['indexing']"], seen["bridge_tasks['other']"], seen["bridge_tasks['ready']"]) == (1, 1, 0)
    assert (seen["bridge_tasks_due[]"], seen["bridge_poll_lag_seconds[]"]) == (2, 30)


def test_more_tasks_than_a_scrape_looks_at_are_said_to_be_uncounted() -> None:
    """The sum is right all the same."""
    found = by_status({"ready": 3, "a": 1, "b": 1}, LOOKED_AT)
    assert (found["ready"], found["other"], found["uncounted"], sum(found.values())) == (3, 2, LOOKED_AT - 5, LOOKED_AT)


@pytest.mark.parametrize(
    ("said", "check"),
    [
        ({"maxmemory_policy": "allkeys-lru"}, "noeviction"),
        ({"aof_enabled": 0}, "append_only"),
        ({"aof_last_write_status": "err"}, "append_only_written"),
        ({"role": "slave"}, "primary"),
        ({"maxmemory": 100, "used_memory": 95}, "memory"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_each_way_in_which_redis_loses_something_is_a_check(said: dict[str, object], check: str) -> None:
    """The others stay well."""
    found = checks({"aof_enabled": 1, "maxmemory": 100, "used_memory": 10, **said})
    assert {name for name, passed in found.items() if not passed} == {check}


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("stats", {"counters"}),
        ("rejected", {"tasks", "endpoints"}),
        ("shifts:poll", {"workers"}),
        ("registry", {"endpoints"}),
    ],
    ids=["stats", "rejected", "shifts", "registry"],
)
async def test_a_key_that_somebody_wrote_over_costs_its_own_figures(scene: Scene, key: str, parts: set[str]) -> None:
    """It is named, and the others are there."""
    await scene.endpoint("a")
    await scene.store.client.delete(f"bridge:{key}")
    await scene.store.client.set(f"bridge:{key}", "x")
    seen = await scraped(scene)
    assert {name for name in seen if "scrape_fault" in name} == {f"bridge_scrape_fault['{part}']" for part in parts}
    assert seen["bridge_redis_up[]"] == 1
    assert ("bridge_workers['poll']" in seen) == ("workers" not in parts)
    assert ("bridge_endpoint_state['a', 'active']" in seen) == ("endpoints" not in parts)


async def test_a_counter_that_somebody_wrote_over_stops_no_delivery(scene: Scene) -> None:
    """Neither the whole hash of an endpoint's counters, nor one field."""
    await scene.endpoint("a")
    await scene.task()
    await scene.store.client.set("bridge:stats:a", "x")
    await scene.store.client.hset("bridge:stats", "duration:0.05", "x")
    await scene.commit("ready")
    assert await settled(scene, DELIVERED, WELL) == 1
