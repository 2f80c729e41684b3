"""An endpoint that is down for days: its schedule, its probes, the warnings, and how it ends."""

import json
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from corescene import LIMITS, START, Delivering, Stage, delivering, ready

from bridge.breaker import FAILURES_BEFORE_OPEN, PROBE_MAX_SECONDS
from bridge.model import Decision, DeliveryState, EndpointEffect, Event
from bridge.recovery import RECOVERABLE, choose
from bridge.sandbox.message import Response
from bridge.store.steering import Steering
from bridge.tell import Teller

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
TOLD = ["bridge.endpoint.*"]


@dataclass
class Days:
    """Time that passes for a deliverer and a teller, from moment to moment at which something is due."""

    deliver: Delivering
    attempts: list[int] = field(default_factory=list)
    """When the endpoint `e1` was attempted, in ms since the start."""

    async def run(self, ms: int, *, rounds: int = 5_000) -> None:
        """So much time, with everything done at the moment at which it is due."""
        stage = self.deliver.stage
        teller = Teller(stage.store.notices, stage.store.registry, stage.log)
        until = stage.clock.now + ms
        for _ in range(rounds):
            before = len(self.arrivals("/e1"))
            while await self.deliver.round():
                pass
            self.attempts += [stage.clock.now - START] * (len(self.arrivals("/e1")) - before)
            if await teller.run():
                continue
            due: Any = await stage.store.client.zrange("bridge:ready", 0, 0, withscores=True)
            if not due or due[0][1] > until:
                break
            stage.clock.now = max(stage.clock.now + 1, int(due[0][1]))
        else:
            raise AssertionError(f"more than {rounds} rounds in {ms} ms")
        stage.clock.now = until

    def arrivals(self, path: str) -> list[Any]:
        """What came in at this path."""
        return [one for one in self.deliver.receiver.arrivals if one.path == path]

    def told(self) -> list[dict[str, Any]]:
        """The bodies that who looks after endpoints got."""
        return [json.loads(one.body) for one in self.arrivals("/ops")]


async def state(stage: Stage, name: str = "e1") -> dict[str, str]:
    """The endpoint's hash."""
    raw: Any = await stage.store.client.hgetall(f"bridge:endpoint:{name}")
    return {key.decode(): value.decode() for key, value in raw.items()}


async def test_one_delivery_follows_the_schedule_exactly(deliver: Delivering) -> None:
    """Down for three days: each attempt at its moment, warned of at 50, 70 and 90 %, disabled, and held (P9)."""
    await deliver.endpoint("e1", "/e1")
    await deliver.endpoint("ops", "/ops", events=TOLD)
    deliver.receiver.always(503, "/e1")
    (event,) = await ready(deliver.stage, "t1")
    days = Days(deliver)
    await days.run(3 * DAY_MS)
    moments = [sum(LIMITS.schedule_seconds[: n + 1]) * 1000 for n in range(len(LIMITS.schedule_seconds))]
    until_disabled = [int(moment) for moment in moments if moment <= moments[8]]
    offsets = [moment - days.attempts[0] for moment in days.attempts]
    assert offsets == until_disabled
    kinds = [(body["type"].rpartition(".")[2], body["data"]["percent"]) for body in days.told()]
    assert kinds == [("failing", 50), ("failing", 70), ("failing", 90), ("disabled", None)]
    fields = await state(deliver.stage)
    assert (fields["state"], fields["reason"], fields["failures"]) == ("disabled", "failing", "9")
    record = await deliver.stage.delivery("e1", event.id)
    assert (record["state"], record["attempts"]) == ("pending", 9)


async def test_a_busy_endpoint_is_warned_of_in_time_and_its_backlog_held(deliver: Delivering) -> None:
    """Two events an hour for three days: probed all the time, told at the marks themselves, and in the end held."""
    await deliver.endpoint("e1", "/e1")
    await deliver.endpoint("ops", "/ops", events=TOLD)
    deliver.receiver.always(503, "/e1")
    days, events = Days(deliver), []
    for hour in range(72):
        events += await ready(deliver.stage, f"h{hour}a", f"h{hour}b")
        await days.run(HOUR_MS)
    data = [body["data"] for body in days.told()]
    assert [one["percent"] for one in data] == [50, 70, 90, None]
    for one, share in zip(data, (0.5, 0.7, 0.9, 1.0), strict=True):
        assert share <= one["share"] <= share + HOUR_MS / (2 * DAY_MS) + 0.001
        assert (one["endpoint"], one["status_code"], one["fault"]) == ("e1", 503, None)
    fields = await state(deliver.stage)
    assert (fields["state"], fields["reason"]) == ("disabled", "failing")
    records = [await deliver.stage.delivery("e1", event.id) for event in events]
    assert all(record["state"] == "pending" for record in records)
    assert [record["attempts"] for record in records[-40:]] == [0] * 40, "held, and not attempted any more"
    assert max(days.attempts) <= 2 * DAY_MS + HOUR_MS


async def test_while_it_is_open_there_is_a_probe_at_a_time(deliver: Delivering) -> None:
    """A hundred events wait: for two hours one attempt each five minutes, each with what has waited longest."""
    await deliver.endpoint("e1", "/e1")
    deliver.receiver.always(503, "/e1")
    await ready(deliver.stage, *(f"t{n}" for n in range(100)))
    days = Days(deliver)
    await days.run(10 * 60_000)
    assert (await state(deliver.stage))["state"] == "held"
    known = len(days.attempts)
    await days.run(2 * HOUR_MS)
    probes = days.attempts[known:]
    gaps = [b - a for a, b in pairwise(probes)]
    assert set(gaps[3:]) == {PROBE_MAX_SECONDS * 1000}
    ids = [one.id for one in days.arrivals("/e1")][known:]
    assert len(set(ids)) == len(ids)


async def test_it_comes_back_and_gets_everything(deliver: Delivering) -> None:
    """Down for a day and then up: within the longest interval of probes all forty arrive, and nothing was warned of."""
    await deliver.endpoint("e1", "/e1")
    await deliver.endpoint("ops", "/ops", events=TOLD)
    deliver.receiver.always(503, "/e1")
    events = await ready(deliver.stage, *(f"t{n}" for n in range(40)))
    days = Days(deliver)
    await days.run(20 * HOUR_MS)
    assert (await state(deliver.stage))["state"] == "held"
    deliver.receiver.always(204, "/e1")
    await days.run(int(PROBE_MAX_SECONDS * 1000) + 1)
    assert (await state(deliver.stage))["state"] == "active"
    records = [await deliver.stage.delivery("e1", event.id) for event in events]
    assert {record["state"] for record in records} == {"delivered"}
    assert days.told() == []
    assert [line["endpoint"] for line in deliver.stage.log.named("endpoint.back")] == ["e1"]


async def test_a_success_in_time_starts_the_window_anew(deliver: Delivering) -> None:
    """Warned of at 50 %, then one success, which is told: the next outage is warned of from the beginning."""
    await deliver.endpoint("e1", "/e1")
    await deliver.endpoint("ops", "/ops", events=TOLD)
    days = Days(deliver)
    for round_ in range(2):
        deliver.receiver.always(500, "/e1")
        for hour in range(25):
            await ready(deliver.stage, f"r{round_}h{hour}")
            await days.run(HOUR_MS)
        deliver.receiver.always(204, "/e1")
        await days.run(DAY_MS)
    told = [(body["type"].rpartition(".")[2], body["data"]) for body in days.told()]
    assert [kind for kind, _ in told] == ["failing", "recovered"] * 2
    for (_, warned), (_, recovered) in zip(told[::2], told[1::2], strict=True):
        assert recovered["failing_since"] == warned["failing_since"]
        assert recovered["failures"] >= warned["failures"]
        assert (recovered["reason"], recovered["disabled_at"], recovered["share"]) == ("recovered", None, None)
    assert len(deliver.stage.log.named("endpoint.recovered")) == 2
    assert (await state(deliver.stage))["state"] == "active"


async def test_a_recovery_from_being_disabled_is_told_when_an_attempt_succeeds(deliver: Delivering) -> None:
    """Not when it is enabled, which may come to nothing; and once, whatever succeeds after."""
    await deliver.endpoint("e1", "/e1")
    await deliver.endpoint("ops", "/ops", events=TOLD)
    deliver.receiver.always(410, "/e1")
    await ready(deliver.stage, "t1")
    days, steering = Days(deliver), Steering(deliver.stage.store)
    await days.run(1_000)
    await steering.enable("e1")
    await ready(deliver.stage, "t2")
    await days.run(1_000)
    assert [body["type"].rpartition(".")[2] for body in days.told()] == ["disabled", "disabled"]
    deliver.receiver.always(204, "/e1")
    await steering.enable("e1")
    await ready(deliver.stage, "t3", "t4")
    await days.run(1_000)
    *_, last = told = days.told()
    assert [body["type"].rpartition(".")[2] for body in told] == ["disabled", "disabled", "recovered"]
    assert (last["data"]["endpoint"], last["data"]["failures"], last["data"]["status_code"]) == ("e1", 0, None)


async def test_what_succeeds_late_tells_of_no_recovery_of_a_disabled_one(deliver: Delivering) -> None:
    """It was in flight when another one's 410 disabled the endpoint, which stays so."""
    await deliver.endpoint("e1", "/e1")
    await deliver.endpoint("ops", "/ops", events=TOLD)
    await ready(deliver.stage, "t1", "t2")
    claim = await deliver.stage.store.outbox.claim(10, lease_ms=20_000)
    gone, late = (one for one in claim.deliveries if one.endpoint == "e1")
    disabling = Decision(DeliveryState.PENDING, EndpointEffect.DISABLE_GONE, retry_in_ms=1_000)
    assert await deliver.stage.store.outbox.settle(gone, disabling, "{}") == "disabled"
    delivered = Decision(DeliveryState.DELIVERED, EndpointEffect.SUCCESS)
    assert await deliver.stage.store.outbox.settle(late, delivered, "{}") == "ok"
    days = Days(deliver)
    await days.run(1_000)
    assert [body["type"].rpartition(".")[2] for body in days.told()] == ["disabled"]
    assert (await state(deliver.stage))["state"] == "disabled"


async def test_who_is_told(deliver: Delivering) -> None:
    """Those that name such events, whatever tasks they take; not `*`, not the default, not the one itself."""
    await deliver.endpoint("e1", "/e1", events=["index.task.*", "bridge.endpoint.*"])
    await deliver.endpoint("all", "/all", events=["*"])
    await deliver.endpoint("default", "/default")
    await deliver.endpoint("ops", "/ops", events=TOLD, tasks=["nobody"])
    await deliver.endpoint("one", "/one", events=["bridge.endpoint.disabled"])
    await deliver.endpoint("bridge", "/bridge", events=["bridge.*"])
    deliver.receiver.always(410, "/e1")
    await ready(deliver.stage, "t1")
    days = Days(deliver)
    await days.run(1_000)
    got = {
        path: [one.type for one in days.arrivals(path)]
        for path in ("/e1", "/all", "/default", "/ops", "/one", "/bridge")
    }
    gone = ["bridge.endpoint.disabled"]
    told = ["index.task.ready"]
    assert got == {"/e1": told, "/all": told, "/default": told, "/ops": gone, "/one": gone, "/bridge": gone}
    (body,) = days.told()
    assert body["data"]["reason"] == "gone"
    assert not deliver.receiver.invalid
    assert (await deliver.stage.event_types())[-1] == "bridge.endpoint.disabled"


async def test_a_notice_tells_no_secret(deliver: Delivering) -> None:
    """Of the URL neither query nor token, as everywhere; of the answer nothing but its status."""
    await deliver.endpoint("e1", "/e1/T0k3nT0k3nT0k3nT0k3n?key=hidden-query")
    await deliver.endpoint("ops", "/ops", events=TOLD)
    deliver.receiver.always(Response(410, body=b"echoed-secret"))
    deliver.receiver.always(204, "/ops")
    await ready(deliver.stage, "t1")
    days = Days(deliver)
    await days.run(1_000)
    (body,) = days.told()
    text = json.dumps(body) + str(deliver.stage.log.named("endpoint.disabled"))
    assert body["data"]["url"].endswith("/e1/…?…")
    for secret in ("T0k3n", "hidden-query", "echoed-secret"):
        assert secret not in text


async def test_the_log_warns_once_each(deliver: Delivering) -> None:
    """The same as lines, also where nobody asked for events; with what to do next."""
    await deliver.endpoint("e1", "/e1")
    deliver.receiver.always(500, "/e1")
    await ready(deliver.stage, "t1")
    await Days(deliver).run(3 * DAY_MS)
    assert [line["percent"] for line in deliver.stage.log.named("endpoint.failing")] == [50, 70, 90]
    (line,) = deliver.stage.log.named("endpoint.disabled")
    assert (line["endpoint"], line["reason"], line["status_code"]) == ("e1", "failing", 500)
    assert line["fix"] == "bridge endpoint show e1"
    assert await deliver.stage.store.client.keys("bridge:notices") == []


@pytest.mark.parametrize("window_ms", [0, 40 * DAY_MS])
async def test_without_a_window_it_is_never_disabled(stage: Stage, window_ms: int) -> None:
    """0 is never: the delivery ends after its schedule, and the endpoint stays as it is."""
    policy = type(LIMITS)(jitter=0.0, failure_window_ms=window_ms)
    async with delivering(stage, policy=policy) as deliver:
        await deliver.endpoint("e1", "/e1")
        await deliver.endpoint("ops", "/ops", events=TOLD)
        deliver.receiver.always(500, "/e1")
        (event,) = await ready(stage, "t1")
        days = Days(deliver)
        await days.run(10 * DAY_MS)
        assert (await stage.delivery("e1", event.id))["reason"] == "exhausted"
        assert (await state(stage))["state"] == "held", "ten failures in a row, the last of them of a dead delivery"
        assert len(days.attempts) == FAILURES_BEFORE_OPEN
        assert days.told() == []


async def test_without_traffic_nothing_ages(deliver: Delivering) -> None:
    """One failure, and then nothing is owed any more: a week later the endpoint is as it was."""
    await deliver.endpoint("e1", "/e1")
    deliver.receiver.always(500, "/e1")
    (event,) = await ready(deliver.stage, "t1")
    await deliver.round()
    assert await deliver.stage.store.outbox.cancel(event.id, "e1") == "cancelled"
    days = Days(deliver)
    await days.run(7 * DAY_MS)
    assert (await state(deliver.stage))["state"] == "active"
    assert deliver.stage.log.named("endpoint.failing") == []


async def test_a_failure_after_a_long_silence_begins_the_window_anew(deliver: Delivering) -> None:
    """Nothing was sent for a week: one more failure disables nobody who was not warned; two more days of them do."""
    await deliver.endpoint("e1", "/e1")
    await deliver.endpoint("ops", "/ops", events=TOLD)
    deliver.receiver.always(500, "/e1")
    (event,) = await ready(deliver.stage, "t1")
    await deliver.round()
    assert await deliver.stage.store.outbox.cancel(event.id, "e1") == "cancelled"
    days = Days(deliver)
    await days.run(7 * DAY_MS)
    await ready(deliver.stage, "t2")
    await days.run(HOUR_MS)
    assert (await state(deliver.stage))["state"] == "active"
    assert days.told() == []
    await days.run(3 * DAY_MS)
    assert (await state(deliver.stage))["reason"] == "failing"
    assert [body["data"]["percent"] for body in days.told()] == [50, 70, 90, None]


async def test_down_for_three_days_and_recovered_everything_arrives_once_and_in_order(deliver: Delivering) -> None:
    """Warned of, disabled, held; what had not expired before the hold comes after `recover`, each task's in order."""
    await deliver.endpoint("e1", "/e1")
    deliver.receiver.always(503, "/e1")
    days, owed = Days(deliver), dict[str, list[Event]]()
    for member in ("t1", "t2", "t3"):
        await deliver.stage.task(member)
        owed[member] = []
    for status in ("validating", "pending", "queued", "indexing", "queued", "ready"):  # twice a day, for three days
        claim = await deliver.stage.store.registry.claim_tasks(10, lease_ms=20_000)
        for task in claim.tasks:
            owed[task.member].append(await deliver.stage.commit_claimed(task, status))
        await days.run(12 * HOUR_MS)
    assert (await state(deliver.stage))["reason"] == "failing"
    deliver.receiver.always(204, "/e1")
    await days.run(DAY_MS)
    seen = len(days.arrivals("/e1"))
    steering = Steering(deliver.stage.store)
    letters = (await steering.dead_letters("e1", 0)).found
    expired = {one.event_id for one in letters if one.reason == "expired"}
    await steering.recover("e1", choose(letters, RECOVERABLE).event_ids)
    assert (await steering.enable("e1")).word == "done"
    await days.run(DAY_MS)
    arrived = [one.id for one in days.arrivals("/e1")[seen:]]
    kept = {event.id for made in owed.values() for event in made} - expired
    assert 0 < len(kept) < 18, "some progress had expired before the hold, some had not"
    assert sorted(arrived) == sorted(kept)
    for made in owed.values():
        assert [one for one in arrived if one in {event.id for event in made}] == [
            event.id for event in made if event.id in kept
        ]
