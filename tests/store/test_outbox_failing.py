"""The breaker of an endpoint that keeps failing: when it opens, how it is probed, what waits, and how it closes."""

import json
from collections.abc import Coroutine
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scene import LEASE_MS, Clock, Scene

from bridge.breaker import FAILURES_BEFORE_OPEN, OPEN_AFTER_MS
from bridge.model import Decision, Delivery, DeliveryState, EndpointEffect
from bridge.store.reading.trips import as_delivery
from bridge.store.steering import Steering
from bridge.store.sweep import Sweep

DELIVERED = Decision(DeliveryState.DELIVERED, EndpointEffect.SUCCESS)
HOUR_MS = 3_600_000
PROBE_MS = 30_000
RETRY = Decision(DeliveryState.PENDING, EndpointEffect.FAILURE, retry_in_ms=HOUR_MS, probe_in_ms=PROBE_MS)
LATER = Decision(DeliveryState.PENDING, EndpointEffect.FAILURE, retry_in_ms=10 * HOUR_MS, probe_in_ms=PROBE_MS)
ENDPOINT = "bridge:endpoint:a"


async def settle(scene: Scene, delivery: Delivery, decision: Decision) -> str:
    return await scene.store.outbox.settle(delivery, decision, json.dumps({"attempt": delivery.attempts + 1}))


async def known(scene: Scene, name: str = "a") -> dict[str, str]:
    raw = cast(dict[bytes, bytes], await scene.store.client.hgetall(f"bridge:endpoint:{name}"))
    return {field.decode(): value.decode() for field, value in raw.items()}


async def attempts(scene: Scene, name: str = "a") -> dict[str, int]:
    """How many attempts were made of each delivery."""
    raw = cast(dict[bytes, bytes], await scene.store.client.hgetall(f"bridge:deliveries:{name}"))
    return {event_id.decode(): as_delivery(text)["attempts"] for event_id, text in raw.items()}


async def owe(scene: Scene, number: int, *, first: int = 0) -> list[str]:
    """So many tasks' only events, each owed to every endpoint; a millisecond apart."""
    made = []
    for one in range(first, first + number):
        await scene.task(f"t{one}")
        made.append((await scene.commit("indexing", member=f"t{one}", delay_ms=-1)).id)
        scene.clock.advance(1)
    return made


async def opened(scene: Scene, waiting: int = 5) -> list[str]:
    """An endpoint whose breaker has just opened, and what waits behind it."""
    await owe(scene, FAILURES_BEFORE_OPEN - 1)
    for delivery in await scene.claim():
        assert await settle(scene, delivery, RETRY) == "ok"
    scene.clock.advance(OPEN_AFTER_MS)
    behind = await owe(scene, waiting + 1, first=100)
    (last,) = await scene.claim(1)
    assert await settle(scene, last, RETRY) == "held"
    return behind[1:]


async def test_it_takes_many_failures_over_a_time(scene: Scene, clock: Clock) -> None:
    """Fifty failures within a minute leave the endpoint as it is; the next one after the minute opens its breaker."""
    await scene.endpoint("a", ordering="none")
    await owe(scene, 50)
    for _ in range(2):
        for delivery in await scene.claim():
            assert await settle(scene, delivery, RETRY) == "ok"
    assert (await known(scene))["state"] == "active"
    clock.now = int((await known(scene))["failing_since"]) + OPEN_AFTER_MS
    await owe(scene, 1, first=50)
    (late,) = await scene.claim()
    assert await settle(scene, late, RETRY) == "held"
    fields = await known(scene)
    assert (fields["state"], fields["reason"], fields["probes"]) == ("held", "failing", "0")
    assert int(fields["probe_at"]) == clock.now + PROBE_MS


async def test_few_failures_never_open_it(scene: Scene, clock: Clock) -> None:
    """Nine failures in a row over a day, and a success: the next nine do not either."""
    await scene.endpoint("a")
    for round_ in range(2):
        await owe(scene, 1, first=round_)
        for _ in range(FAILURES_BEFORE_OPEN - 1):
            (delivery,) = await scene.claim()
            assert await settle(scene, delivery, RETRY) == "ok"
            clock.advance(HOUR_MS * 3)
        (delivery,) = await scene.claim()
        assert await settle(scene, delivery, DELIVERED) == "ok"


async def test_one_probe_at_a_time_takes_the_oldest(scene: Scene, clock: Clock) -> None:
    """Open: nothing before the interval, then one, the longest due; what waits behind it spends nothing."""
    await scene.endpoint("a")
    behind = await opened(scene)
    before = await attempts(scene)
    assert await scene.claim() == []
    clock.advance(PROBE_MS - 1)
    assert await scene.claim() == []
    clock.advance(1)
    (probe,) = await scene.claim()
    assert (probe.event_id, probe.probe) == (behind[0], 0)
    assert await scene.claim() == []
    assert await settle(scene, probe, RETRY) == "ok"
    assert await scene.claim() == []
    clock.advance(PROBE_MS)
    (second,) = await scene.claim()
    assert (second.event_id, second.probe) == (behind[1], 1)
    assert await attempts(scene) == {**before, behind[0]: 1}


async def rested(scene: Scene, waiting: int = 3) -> dict[str, float]:
    """An open breaker behind which nothing is due for hours; when each will be."""
    await scene.endpoint("a")
    await opened(scene, waiting=waiting)
    for _ in range(FAILURES_BEFORE_OPEN + waiting + 1):
        scene.clock.advance(PROBE_MS)
        for probe in await scene.claim():
            assert await settle(scene, probe, LATER) == "ok"
    return await due(scene)


async def due(scene: Scene) -> dict[str, float]:
    """When each delivery in the queue is due."""
    pairs = cast(Any, await scene.store.client.zrange("bridge:queue:a", 0, -1, withscores=True))
    return {event_id.decode(): score for event_id, score in pairs}


async def test_while_nothing_is_due_each_is_asked_in_turn_ahead_of_its_time(scene: Scene, clock: Clock) -> None:
    """The receiver's return is noticed within an interval, whatever the schedule; nothing of which is spent."""
    when = await rested(scene)
    assert min(when.values()) > clock.now + 2 * len(when) * PROBE_MS
    asked = list[str]()
    for _ in range(2 * len(when)):
        clock.advance(PROBE_MS - 1)
        assert await scene.claim() == []
        clock.advance(1)
        (probe,) = await scene.claim()
        assert (probe.early_until, probe.probe is None) == (when[probe.event_id], False)
        assert probe.attempts - probe.round_from == 1
        assert await settle(scene, probe, RETRY) == "ok"
        assert await due(scene) == when
        asked.append(probe.event_id)
    assert sorted(asked) == sorted([*when, *when])
    assert sorted(asked[: len(when)]) == sorted(when)

    clock.advance(PROBE_MS)
    (probe,) = await scene.claim()
    assert await settle(scene, probe, DELIVERED) == "back"
    assert len(await scene.claim()) > 0, "what waited is due"


async def test_what_is_due_goes_before_what_is_not(scene: Scene, clock: Clock) -> None:
    """And counts as it always does."""
    await rested(scene)
    (fresh,) = await owe(scene, 1, first=500)
    clock.advance(PROBE_MS)
    (probe,) = await scene.claim()
    assert (probe.event_id, probe.early_until) == (fresh, None)
    assert await settle(scene, probe, RETRY) == "ok"
    assert (await due(scene))[fresh] == clock.now + HOUR_MS


async def test_a_probe_ahead_of_its_time_that_is_not_settled_keeps_its_time(scene: Scene, clock: Clock) -> None:
    """Given back, or its worker died: due when it was, and what comes of it then counts again."""
    when = await rested(scene)
    clock.advance(PROBE_MS)
    (probe,) = await scene.claim()
    assert await scene.store.outbox.give_back(probe, delay_ms=1_000) == "ok"
    assert await due(scene) == when
    clock.advance(1_000)
    (probe,) = await scene.claim()
    clock.advance(LEASE_MS)
    (again,) = await scene.claim()
    assert {**await due(scene), again.event_id: again.early_until} == when
    assert await settle(scene, again, RETRY) == "ok"
    (last,) = (one for one, score in when.items() if score == max(when.values()))
    clock.now = int(max(when.values()))
    while (probe := (await scene.claim())[0]).event_id != last:
        assert await settle(scene, probe, RETRY) == "ok"
        clock.advance(PROBE_MS)
    assert probe.early_until is None
    assert await settle(scene, probe, RETRY) == "ok"
    assert (await due(scene))[last] == clock.now + HOUR_MS


@pytest.mark.parametrize("ahead", [True, False])
async def test_a_probe_that_is_given_back_rests(scene: Scene, clock: Clock, ahead: bool) -> None:
    """For a reason of ours, such as a secret that is not there: the next one is as far away as it would be itself."""
    await rested(scene)
    if not ahead:
        await owe(scene, 1, first=500)
    clock.advance(PROBE_MS)
    (probe,) = await scene.claim()
    assert (probe.early_until is None) is not ahead
    assert await scene.store.outbox.give_back(probe, delay_ms=20_000) == "ok"
    assert await scene.claim() == []
    clock.advance(19_999)
    assert await scene.claim() == []
    clock.advance(1)
    assert len(await scene.claim()) == 1


async def test_one_that_cannot_be_attempted_does_not_stand_for_the_others(scene: Scene, clock: Clock) -> None:
    """Somebody wrote over its event's body: given back each time, and the others are asked in turn all the same."""
    when = await rested(scene)
    clock.advance(PROBE_MS)
    (broken,) = await scene.claim()
    assert await scene.store.outbox.give_back(broken, delay_ms=20_000) == "ok"
    asked = set[str]()
    for _ in range(2 * len(when)):
        clock.advance(PROBE_MS)
        (probe,) = await scene.claim()
        asked.add(probe.event_id)
        if probe.event_id == broken.event_id:
            assert await scene.store.outbox.give_back(probe, delay_ms=20_000) == "ok"
        else:
            assert await settle(scene, probe, RETRY) == "ok"
    assert asked == set(when)


@pytest.mark.parametrize("way", ["fail", "kill", "give back"])
async def test_once_the_hold_is_over_a_probe_on_its_way_is_due_like_all_that_was_held(
    scene: Scene, clock: Clock, way: str
) -> None:
    """P9: an operator enables the endpoint while somebody asks it ahead of its time, which comes to nothing."""
    await rested(scene)
    clock.advance(PROBE_MS)
    (probe,) = await scene.claim()
    assert (await Steering(scene.store).enable("a")).word == "done"
    for other in await scene.claim():
        assert await settle(scene, other, DELIVERED) != "stale"
    if way == "fail":
        assert await settle(scene, probe, RETRY) == "ok"
    elif way == "give back":
        assert await scene.store.outbox.give_back(probe, delay_ms=1_000) == "ok"
    clock.advance(LEASE_MS)
    assert probe.event_id in [one.event_id for one in await scene.claim()]


async def test_a_clock_set_back_makes_no_probe_ahead_of_its_time_late(scene: Scene, clock: Clock) -> None:
    """By a day, while it is on its way: it is due with its neighbours, which were pulled back."""
    sweep = Sweep(scene.store, delivered_ms=HOUR_MS, dead_ms=HOUR_MS, tasks_ms=HOUR_MS)
    when = await rested(scene)
    clock.advance(PROBE_MS)
    (probe,) = await scene.claim()
    await sweep.page()
    clock.advance(-24 * HOUR_MS)
    await sweep.page()
    assert await settle(scene, probe, RETRY) == "ok"
    after = await due(scene)
    assert {round((when[one] - score) / HOUR_MS) for one, score in after.items()} == {24}


@pytest.mark.parametrize("way", ["fail", "kill", "give back"])
@pytest.mark.parametrize("junk", ["inf", "nan", "1e300", "{token} inf {hold}", "{token} 99999999999999 {hold}", "x", 7])
async def test_nonsense_about_a_probe_loses_nothing(scene: Scene, clock: Clock, way: str, junk: str | int) -> None:
    """Somebody wrote over it while it was on its way: the delivery is due, sooner than it was at the worst."""
    await rested(scene)
    clock.advance(PROBE_MS)
    (probe,) = await scene.claim()
    deliveries = cast(Any, scene.store.client)
    record = json.loads(await deliveries.hget("bridge:deliveries:a", probe.event_id))
    hold = record["early"].split(" ")[2]
    written = junk.format(token=probe.token, hold=hold) if isinstance(junk, str) else junk
    changed = record | {"early": written, "round_from": "nan"}
    await deliveries.hset("bridge:deliveries:a", probe.event_id, json.dumps(changed))
    if way == "fail":
        assert await settle(scene, probe, RETRY) == "ok"
    elif way == "give back":
        assert await scene.store.outbox.give_back(probe, delay_ms=1_000) == "ok"
    else:
        clock.advance(LEASE_MS)
        await scene.claim()
        clock.advance(LEASE_MS)
        await scene.claim(0)
    clock.advance(10 * HOUR_MS)
    claimed = set[str]()
    for _ in range(40):
        clock.advance(PROBE_MS)
        for one in await scene.claim():
            claimed.add(one.event_id)
            await settle(scene, one, DELIVERED)
    assert probe.event_id in claimed


async def test_what_another_lease_left_is_no_probe_of_this_one(scene: Scene, clock: Clock) -> None:
    """An older worker knows nothing of it, and leaves it in the record: the next lease that ends is due at once."""
    await rested(scene)
    clock.advance(PROBE_MS)
    (probe,) = await scene.claim()
    old = await cast(Any, scene.store.client).hget("bridge:deliveries:a", probe.event_id)
    assert await settle(scene, probe, RETRY) == "ok"
    await scene.store.client.hset("bridge:deliveries:a", probe.event_id, old)
    clock.now = int((await due(scene))[probe.event_id])
    while (one := (await scene.claim())[0]).event_id != probe.event_id:
        assert await settle(scene, one, RETRY) == "ok"
        clock.advance(PROBE_MS)
    clock.advance(LEASE_MS)
    await scene.claim(0)
    assert all(score <= clock.now for event_id, score in (await due(scene)).items() if event_id == probe.event_id)


async def test_a_probe_whose_worker_dies_is_made_again(scene: Scene, clock: Clock) -> None:
    """Its lease ends: the endpoint is probed again at once, and nothing else goes out meanwhile."""
    await scene.endpoint("a")
    behind = await opened(scene)
    clock.advance(PROBE_MS)
    (probe,) = await scene.claim()
    clock.advance(LEASE_MS - 1)
    assert await scene.claim() == []
    clock.advance(1)
    (again,) = await scene.claim()
    assert again.event_id in behind
    assert again.probe == 0
    assert await settle(scene, probe, RETRY) == "stale"


async def test_a_success_closes_it_and_what_waited_is_due(scene: Scene, clock: Clock) -> None:
    """The probe is answered: all that waited, retries in an hour included, goes out, within the endpoint's cap."""
    await scene.endpoint("a", ordering="none")
    behind = await opened(scene, waiting=60)
    clock.advance(PROBE_MS)
    (probe,) = await scene.claim()
    assert await settle(scene, probe, DELIVERED) == "back"
    fields = await known(scene)
    assert (fields["state"], fields["failures"]) == ("active", "0")
    assert not {"reason", "failing_since", "probe_at", "probes"} & fields.keys()
    delivered = {probe.event_id}
    for _ in range(4):
        claimed = await scene.claim()
        assert len(claimed) <= 32
        for delivery in claimed:
            await settle(scene, delivery, DELIVERED)
        delivered |= {delivery.event_id for delivery in claimed}
    assert delivered >= set(behind)
    assert delivered == set(await attempts(scene)), "without any of them having to wait for its hour"
    assert "recovering" not in await known(scene)


async def test_a_relapse_spends_no_more_than_the_cap_too_soon(scene: Scene, clock: Clock) -> None:
    """It answers once and fails again: retries that were to come later are not all called up for nothing."""
    await scene.endpoint("a", ordering="none")
    await owe(scene, 60)
    for _ in range(2):
        for delivery in await scene.claim():
            await settle(scene, delivery, RETRY)
    clock.advance(OPEN_AFTER_MS)
    await owe(scene, 2, first=60)
    (last,) = await scene.claim(1)
    assert await settle(scene, last, RETRY) == "held"
    clock.advance(PROBE_MS)
    (probe,) = await scene.claim()
    assert await settle(scene, probe, DELIVERED) == "back"
    early = 0
    for _ in range(5):
        for delivery in await scene.claim():
            early += 1
            await settle(scene, delivery, RETRY)
    assert early == 32
    assert (await known(scene)).get("recovering") is None


async def test_a_late_success_closes_it_too(scene: Scene, clock: Clock) -> None:
    """An attempt that was under way when the breaker opened is answered: the endpoint is back."""
    await scene.endpoint("a")
    await owe(scene, FAILURES_BEFORE_OPEN + 1)
    *failing, lucky = await scene.claim()
    clock.advance(OPEN_AFTER_MS)
    await settle(scene, failing[0], RETRY)
    clock.advance(OPEN_AFTER_MS)
    words = [await settle(scene, delivery, RETRY) for delivery in failing[1:]]
    assert words[-1] == "held"
    assert await settle(scene, lucky, DELIVERED) == "back"


async def test_what_was_under_way_does_not_move_the_probe(scene: Scene, clock: Clock) -> None:
    """Attempts that fail after the breaker opened, and were no probes, count as failures and change nothing else."""
    await scene.endpoint("a")
    await owe(scene, FAILURES_BEFORE_OPEN + 5)
    claimed = await scene.claim()
    await settle(scene, claimed[0], RETRY)
    clock.advance(OPEN_AFTER_MS)
    words = [await settle(scene, delivery, RETRY) for delivery in claimed[1:FAILURES_BEFORE_OPEN]]
    assert words == ["ok"] * (FAILURES_BEFORE_OPEN - 2) + ["held"]
    before = await known(scene)
    clock.advance(1_000)
    for delivery in claimed[FAILURES_BEFORE_OPEN:]:
        assert await settle(scene, delivery, RETRY) == "ok"
    after = await known(scene)
    assert int(after.pop("failures")) == int(before.pop("failures")) + 5
    assert int(after.pop("failed_at")) > int(before.pop("failed_at"))
    assert after == before


async def test_a_new_event_waits_behind_it(scene: Scene, clock: Clock) -> None:
    """What is committed while the breaker is open waits for the probe like the rest, and in its task's order (P4)."""
    await scene.endpoint("a")
    await opened(scene, waiting=0)
    await scene.task("new")
    made = [await scene.commit(status, member="new", delay_ms=1) for status in ("validating", "ready")]
    assert await scene.claim() == []
    clock.advance(PROBE_MS)
    (probe,) = await scene.claim()
    assert probe.event_id == made[0].id
    assert await settle(scene, probe, DELIVERED) == "back"
    assert made[1].id in {delivery.event_id for delivery in await scene.claim()}


async def test_an_operator_s_retry_probes_at_once(scene: Scene, clock: Clock) -> None:
    """Who asks for a delivery believes that the receiver is back: the probe does not wait for its interval."""
    await scene.endpoint("a")
    behind = await opened(scene)
    retried = await scene.store.outbox.retry(behind[-1], "a")
    assert (retried.word, retried.endpoint_state) == ("due", "held")
    (probe,) = await scene.claim()
    assert probe.event_id == behind[0]


async def test_410_and_the_guard_disable_a_held_endpoint(scene: Scene, clock: Clock) -> None:
    """A probe that is told 410 ends the probing: disabled, the rest held."""
    await scene.endpoint("a")
    await opened(scene)
    clock.advance(PROBE_MS)
    (probe,) = await scene.claim()
    gone = Decision(DeliveryState.DEAD, EndpointEffect.DISABLE_GONE)
    assert await settle(scene, probe, gone) == "disabled"
    clock.advance(HOUR_MS * 24)
    assert await scene.claim() == []
    assert "probe_at" not in await known(scene)


async def test_written_anew_it_starts_with_a_clean_slate(scene: Scene, clock: Clock) -> None:
    """A changed definition closes the breaker and forgets the failures; what waited is due."""
    await scene.endpoint("a")
    behind = await opened(scene)
    await scene.endpoint("a", **{"x-fixed": 1})
    assert {delivery.event_id for delivery in await scene.claim()} >= set(behind)
    assert not {"failing_since", "probe_at", "probes", "reason"} & (await known(scene)).keys()


async def test_a_clock_set_back_delays_no_probe(scene: Scene, clock: Clock) -> None:
    """Redis' clock jumps back an hour: the next probe is as far away as before, and the failures no younger."""
    await scene.endpoint("a")
    await opened(scene)
    sweep = Sweep(scene.store, delivered_ms=10**12, dead_ms=10**12, tasks_ms=10**12)
    await sweep.page()
    clock.advance(-HOUR_MS)
    await sweep.page()
    fields = await known(scene)
    assert int(fields["probe_at"]) == clock.now + PROBE_MS
    assert int(fields["failing_since"]) <= clock.now
    clock.advance(PROBE_MS)
    assert len(await scene.claim()) == 1


async def test_it_is_nobody_else_s_breaker(scene: Scene, clock: Clock) -> None:
    """P5: another endpoint with the same events goes on."""
    await scene.endpoint("a", tasks=["t*"])
    await scene.endpoint("b", tasks=["u*"])
    await opened(scene)
    await scene.task("u1")
    event = await scene.commit("indexing", member="u1")
    assert [(d.endpoint, d.event_id) for d in await scene.claim()] == [("b", event.id)]


class Model:
    """What the rules say of one endpoint: failures in a row, since when, and the breaker."""

    def __init__(self) -> None:
        self.failures, self.since, self.probe_at, self.probes = 0, 0, 0, -1

    def take(self, now: int, probe: int | None, *, success: bool) -> None:
        """One attempt was settled."""
        if success:
            self.failures, self.probe_at, self.probes = 0, 0, -1
            return
        self.since = self.since if self.failures else now
        self.failures += 1
        if self.probes >= 0:
            if probe is not None:
                self.probes, self.probe_at = probe + 1, now + PROBE_MS
        elif self.failures >= FAILURES_BEFORE_OPEN and now - self.since >= OPEN_AFTER_MS:
            self.probes, self.probe_at = 0, now + PROBE_MS

    def fields(self) -> dict[str, str | None]:
        """As they should stand in Redis."""
        is_open = self.probes >= 0
        return {
            "state": "held" if is_open else "active",
            "failures": str(self.failures),
            "failing_since": str(self.since) if self.failures else None,
            "probe_at": str(self.probe_at) if is_open else None,
            "probes": str(self.probes) if is_open else None,
        }


steps = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 5_000, 31_000, OPEN_AFTER_MS, HOUR_MS]),
        st.integers(1, 8),
        st.lists(st.integers(0, 15).map(lambda number: number == 15), min_size=8, max_size=8),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=steps)
async def test_the_breaker_is_what_the_rules_say(scene: Scene, steps: list[tuple[int, int, list[bool]]]) -> None:
    """Whatever the answers and their times: the same state as in the model; open, one at a time and not too soon."""
    model = Model()
    await cast(Coroutine[Any, Any, Any], scene.store.client.flushall())
    await scene.endpoint("a", ordering="none")
    await owe(scene, 20)
    for wait, slots, answers in steps:
        scene.clock.advance(wait)
        is_open = model.probes >= 0
        claimed = await scene.claim(slots)
        if is_open:
            assert len(claimed) <= (1 if scene.clock.now >= model.probe_at else 0)
            assert all(one.probe == model.probes for one in claimed)
        for delivery, answer in zip(claimed, answers, strict=False):
            word = await settle(scene, delivery, DELIVERED if answer else RETRY)
            before = model.probes >= 0
            model.take(scene.clock.now, delivery.probe, success=answer)
            changed = {(False, True): "held", (True, False): "back"}.get((before, model.probes >= 0), "ok")
            assert word == changed
            fields = await known(scene)
            assert {name: fields.get(name) for name in model.fields()} == model.fields()
