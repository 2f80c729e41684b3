"""Watching: what each reading leads to, and what no accident may lead to."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from corescene import INTERVAL_MS, MovedClock, Stage, Watching, watching
from redis import Redis
from until import eventually

from bridge.poll import GRANT_SECONDS, KEY_PROBE_SECONDS, UNPROMPTED_PAUSE_SECONDS, Poller, PollPolicy, Reading
from bridge.pump import RedisClock
from bridge.sandbox.faults import Fault, http_date, redirect, throttled, unauthorized, unavailable
from bridge.sandbox.limits import LimitHeaders, RateLimit, RetryAfter
from bridge.sandbox.receiver import Receiver
from bridge.sandbox.redis import RedisServer
from bridge.sandbox.timeline import ABSENT
from bridge.sandbox.twelvelabs import API_KEY
from bridge.store import Store
from bridge.store.registry import PROBE_SOON_MS

PATH = "/tasks/*"
LATER = INTERVAL_MS + 500
LONGER_THAN_THE_CLIENT_TRIES = 3.0
"""Seconds that Redis is away: the client of redis-py has given up by then, so that ours to retry is retried by us."""


def patched(fields: Mapping[str, Any]) -> Fault:
    """The true answer with other fields in its task."""
    return Fault(patch=fields)


async def test_a_task_is_announced_once_and_then_read_in_peace(watch: Watching) -> None:
    """First sight is an event; what has not changed is read at the interval and says nothing."""
    await watch.add("indexing")
    assert await watch.stage.due_in("t1") == INTERVAL_MS
    assert await watch.round(INTERVAL_MS - 1) == 0
    assert await watch.round(1) == 1
    assert await watch.stage.event_types() == ["index.task.indexing"]
    assert await watch.stage.due_in("t1") == INTERVAL_MS


async def test_the_second_read_comes_within_the_last_half_of_the_interval(stage: Stage) -> None:
    """A thousand tasks registered at once do not stay a thousand requests at once."""
    async with watching(stage, jitter=-1.0) as watch:
        await watch.add("indexing")
        assert await stage.due_in("t1") == INTERVAL_MS / 2


async def test_each_status_is_an_event_of_its_own(watch: Watching) -> None:
    """A task that runs through its statuses is told status by status, and leaves `bridge:tasks` with the last."""
    await watch.add("validating")
    for status in ("pending", "queued", "indexing", "ready"):
        watch.simulator.change("t1", {"status": status})
        assert await watch.round(LATER) == 1
    words = ("validating", "pending", "queued", "indexing", "ready")
    assert await watch.stage.event_types() == [f"index.task.{word}" for word in words]
    assert await watch.stage.due_in("t1") is None
    assert await watch.stage.store.client.zscore("bridge:tasks", "t1") is None


async def test_another_watched_field_is_an_update(watch: Watching) -> None:
    """Same status, other system_metadata: `index.task.updated`."""
    await watch.add("indexing")
    watch.simulator.change("t1", {"system_metadata": {"duration": 12.5}}, touch=True)
    await watch.round(LATER)
    assert await watch.stage.event_types() == ["index.task.indexing", "index.task.updated"]


async def test_an_older_reading_is_ignored(watch: Watching) -> None:
    """A lagging replica upstream shows the past: no event, no step back."""
    await watch.add("indexing")
    before = (watch.stage.clock.moment() - timedelta(seconds=60)).isoformat()
    watch.simulator.fault(PATH, patched({"status": "pending", "updated_at": before}))
    assert await watch.round(LATER) == 1
    assert await watch.stage.event_types() == ["index.task.indexing"]
    assert await watch.stage.due_in("t1") == INTERVAL_MS


@pytest.mark.parametrize(
    "strange",
    [
        {"status": "composting"},
        {"updated_at": ABSENT},
        {"updated_at": "yesterday", "status": "queued"},
        {"updated_at": None, "status": "queued"},
        {"_id": ABSENT, "status": "queued"},
    ],
    ids=["unknown status", "no updated_at", "unreadable updated_at", "null updated_at", "no id"],
)
@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
async def test_a_strange_reading_needs_a_second_one(watch: Watching, strange: Mapping[str, Any], first: bool) -> None:
    """What is unlikely is told only when a reading at least a second later says the same."""
    if first:
        watch.simulator.add_task("t1", timeline=(), status="indexing")
        await watch.stage.task("t1")
    else:
        await watch.add("indexing")
    told = len(await watch.stage.event_types())
    watch.simulator.fault(PATH, patched({"system_metadata": {"a": 1}, **strange}), repeat=True)
    assert await watch.round(LATER) == 1
    assert len(await watch.stage.event_types()) == told
    assert await watch.round(999) == 0
    assert await watch.round(200) == 1
    assert len(await watch.stage.event_types()) == told + 1


async def test_two_strange_readings_that_disagree_are_not_believed(watch: Watching) -> None:
    """A second strange reading that says something else is doubted anew."""
    await watch.add("indexing")
    watch.simulator.fault(PATH, *(patched({"status": word}) for word in ("composting", "sleeping", "dreaming")))
    for _ in range(3):
        assert await watch.round(LATER) == 1
    assert await watch.round(LATER) == 1
    assert await watch.stage.event_types() == ["index.task.indexing"]


async def test_leaving_a_terminal_status_is_doubted(watch: Watching) -> None:
    """`ready` while its stream is made: a reading that takes it back must be confirmed."""
    await watch.add("ready", hls={"status": "PROCESSING"})
    watch.simulator.change("t1", {"status": "indexing"})
    await watch.round(LATER)
    assert await watch.stage.event_types() == ["index.task.ready"]
    await watch.round(1_100)
    assert await watch.stage.event_types() == ["index.task.ready", "index.task.indexing"]


async def test_a_doubt_survives_a_fault_in_between(watch: Watching) -> None:
    """A 503 between the two agreeing readings changes nothing."""
    await watch.add("indexing")
    strange = patched({"status": "composting"})
    watch.simulator.fault(PATH, strange, unavailable(), strange)
    for _ in range(3):
        await watch.round(LATER)
    assert await watch.stage.event_types() == ["index.task.indexing", "index.task.composting"]


async def test_a_stream_in_the_making_keeps_the_watch(watch: Watching) -> None:
    """`ready` with hls PROCESSING is read on; COMPLETE is told, and ends the watch."""
    await watch.add("ready", hls={"status": "PROCESSING"})
    assert await watch.stage.due_in("t1") == INTERVAL_MS
    watch.simulator.change("t1", {"hls": {"status": "COMPLETE"}})
    await watch.round(LATER)
    assert await watch.stage.event_types() == ["index.task.ready", "index.task.updated"]
    assert await watch.stage.due_in("t1") is None


async def test_a_stream_that_never_ends_is_given_up_after_a_day(watch: Watching) -> None:
    """The watch of a `ready` task whose stream stays PROCESSING ends after 24 h, without an event."""
    await watch.add("ready", hls={"status": "PROCESSING"})
    await watch.round(24 * 3_600_000 - 1_000)
    assert await watch.stage.due_in("t1") is not None
    await watch.round(LATER)
    assert await watch.stage.due_in("t1") is None
    assert await watch.stage.event_types() == ["index.task.ready"]


@pytest.mark.parametrize("status", ["ready", "failed"])
async def test_a_finished_task_is_told_and_not_watched(watch: Watching, status: str) -> None:
    """Registering a finished task is not silence, and needs one read."""
    await watch.add(status)
    assert await watch.stage.event_types() == [f"index.task.{status}"]
    assert await watch.stage.due_in("t1") is None
    assert watch.reads == 1


@pytest.mark.parametrize("missing_status", [404, 400])
async def test_a_task_that_vanished_is_told_once_and_no_longer_watched(watch: Watching, missing_status: int) -> None:
    """Three answers over at least 60 s, then exactly one event; the watch ends."""
    watch.simulator.missing_status = missing_status
    await watch.add("indexing")
    watch.simulator.remove("t1")
    for _ in range(4):
        assert await watch.round(14_900) == 1
    assert await watch.stage.event_types() == ["index.task.indexing"]
    await watch.round(15_400)
    assert await watch.stage.event_types() == ["index.task.indexing", "index.task.gone"]
    assert await watch.stage.due_in("t1") is None
    assert await watch.stage.store.client.zscore("bridge:tasks", "t1") is None


async def test_two_answers_are_not_enough_however_far_apart(watch: Watching) -> None:
    """A minute alone does not make a task gone: the third answer does."""
    await watch.add("indexing")
    watch.simulator.remove("t1")
    await watch.round(LATER)
    await watch.round(120_000)
    assert await watch.stage.event_types() == ["index.task.indexing"]
    await watch.round(LATER)
    assert await watch.stage.event_types() == ["index.task.indexing", "index.task.gone"]


async def test_a_task_that_reappears_was_never_gone(watch: Watching) -> None:
    """One answer that shows the task wipes the absences before it; faults in between do not."""
    await watch.add("indexing")
    missing = Fault(404, {"code": "resource_not_exist", "message": "no"})
    watch.simulator.fault(PATH, missing, missing, None, missing, unavailable(), missing)
    for _ in range(6):
        assert await watch.round(40_000) == 1
    assert await watch.stage.event_types() == ["index.task.indexing"]
    assert (await watch.stage.watch("t1"))["absences"] == "2"


@pytest.mark.parametrize(
    "answer",
    [
        Fault(403, {"code": "read_not_allowed", "message": "no"}),
        Fault(400, {"code": "parameter_invalid", "message": "no"}),
    ],
    ids=["403", "400"],
)
async def test_an_id_that_upstream_refuses_is_rejected_in_the_end(watch: Watching, answer: Fault) -> None:
    """403 and other 400s: after three answers over a minute, `bridge:rejected` says why; no event."""
    watch.simulator.fault(PATH, answer, repeat=True)
    await watch.stage.task("t1")
    for _ in range(2):
        await watch.round(LATER)
    assert not await watch.stage.rejected()
    await watch.round(61_000)
    entry = (await watch.stage.rejected())["task:t1"]
    assert str(answer.status) in entry["reason"]
    assert entry["fix"]
    assert await watch.stage.event_types() == []
    assert await watch.stage.due_in("t1") is None


async def test_a_refused_key_rests_and_is_probed_once_a_minute(watch: Watching) -> None:
    """401 stops all reading; one task a minute probes; an accepted probe frees all the others at once."""
    for number in range(5):
        watch.simulator.add_task(f"t{number}", timeline=(), status="indexing")
        await watch.stage.task(f"t{number}")
    watch.simulator.revoke_key(API_KEY)
    assert await watch.round() == 5
    assert await watch.round(int(KEY_PROBE_SECONDS * 1000) - 100) == 0
    assert await watch.round(200) == 1
    assert await watch.round(1_000) == 0
    watch.simulator.add_key(API_KEY)
    assert await watch.round(int(KEY_PROBE_SECONDS * 1000)) == 1
    assert await watch.round(100) == 4
    assert len(await watch.stage.event_types()) == 5
    assert not await watch.stage.rejected()
    assert len(watch.stage.log.named("key.refused")) == 6
    assert len(watch.stage.log.named("key.accepted")) == 1


async def test_with_a_mended_key_no_task_waits_for_a_minute(watch: Watching) -> None:
    """The pause is the key's alone: the task that it was refused for is read with the others, and its error is gone."""
    for number in range(2):
        watch.simulator.add_task(f"t{number}", timeline=(), status="indexing")
    await watch.stage.task("t0")
    watch.simulator.revoke_key(API_KEY)
    assert await watch.round() == 1
    watch.simulator.add_key(API_KEY)
    await watch.stage.task("t1")
    assert await watch.round(int(KEY_PROBE_SECONDS * 1000) - INTERVAL_MS) == 0
    assert await watch.round(INTERVAL_MS) == 1
    assert await watch.round(1) == 1
    assert [await watch.stage.store.client.hget(f"bridge:watch:t{number}", "error") for number in range(2)] == [b""] * 2


async def test_a_worker_that_starts_has_a_refused_key_probed_soon(watch: Watching) -> None:
    """It may have another key. However often one starts, one probe in five seconds is the most that upstream sees."""
    watch.simulator.add_task("t0", timeline=(), status="indexing")
    await watch.stage.task("t0")
    watch.simulator.revoke_key(API_KEY)
    assert await watch.round() == 1
    registry = watch.stage.store.registry
    probes = []
    for _ in range(20):
        await registry.hasten_probe(every_seconds=KEY_PROBE_SECONDS)
        probes.append(await watch.round(1_000))
    assert probes == [0, 0, 0, 0, 1] * 4
    watch.simulator.add_key(API_KEY)
    await registry.hasten_probe(every_seconds=KEY_PROBE_SECONDS)
    assert await watch.round(PROBE_SOON_MS) == 1
    assert await watch.stage.event_types() == ["index.task.indexing"]


@pytest.mark.parametrize("refused", [True, False], ids=["refused", "accepted"])
async def test_a_rest_that_was_asked_for_is_not_cut_short(watch: Watching, refused: bool) -> None:
    """P6: Retry-After is obeyed, whoever starts and whatever became of the key."""
    watch.simulator.add_task("t0", timeline=(), status="indexing")
    await watch.stage.task("t0")
    await watch.stage.store.registry.pause_account(600 if refused else 30, key_refused=refused)
    await watch.stage.store.registry.hasten_probe(every_seconds=KEY_PROBE_SECONDS)
    assert await watch.round(29_000) == 0
    assert await watch.round(600_000) == 1


async def test_a_probe_that_finds_a_missing_task_proves_the_key(watch: Watching) -> None:
    """404 is no answer that a broken key gets: the key works again."""
    for number in range(3):
        watch.simulator.add_task(f"t{number}", timeline=(), status="indexing")
        await watch.stage.task(f"t{number}")
    watch.simulator.fault(PATH, *[unauthorized()] * 3)
    assert await watch.round() == 3
    for number in range(3):
        watch.simulator.remove(f"t{number}")
    assert await watch.round(int(KEY_PROBE_SECONDS * 1000)) == 1
    assert await watch.round(100) == 2


@dataclass(frozen=True)
class Rest:
    """A 429 and how long (ms) it makes the whole key rest."""

    name: str
    fault: Fault
    least: int
    most: int


DAY_MS = 86_400_000
RESTS = [
    Rest("seconds", throttled(7), 7_000, 7_000),
    Rest("absent", throttled(None), int(UNPROMPTED_PAUSE_SECONDS * 1000), int(UNPROMPTED_PAUSE_SECONDS * 1000)),
    Rest("garbage", throttled("soon"), int(UNPROMPTED_PAUSE_SECONDS * 1000), int(UNPROMPTED_PAUSE_SECONDS * 1000)),
    Rest("negative", throttled("-5"), int(UNPROMPTED_PAUSE_SECONDS * 1000), int(UNPROMPTED_PAUSE_SECONDS * 1000)),
    Rest("zero", throttled(0), 1_000, 1_000),
    Rest("a past date", throttled("Wed, 21 Oct 2015 07:28:00 GMT"), 1_000, 1_000),
    Rest("an hour", throttled(3600), 3_600_000, 3_600_000),
    Rest("31 years", throttled(999_999_999), DAY_MS, DAY_MS),
    Rest("a reset in the past", throttled(None, {"X-Ratelimit-Reset": "1000"}), 1_000, 1_000),
    Rest("a reset in the year 5138", throttled(None, {"X-Ratelimit-Reset": "99999999999"}), DAY_MS, DAY_MS),
]


@pytest.mark.parametrize("rest", RESTS, ids=[rest.name for rest in RESTS])
async def test_a_429_rests_the_whole_key(watch: Watching, rest: Rest) -> None:
    """For as long as it says, within a second and a day: never at once again, never for ever."""
    await watch.add("indexing", "t1")
    await watch.add("indexing", "t2")
    watch.simulator.fault(PATH, rest.fault, rest.fault)
    assert await watch.round(LATER) == 2
    reads = watch.reads
    paused = await watch.stage.store.client.zscore("bridge:pauses", "default")
    assert paused is not None
    assert rest.least <= paused - watch.stage.clock.now <= rest.most
    assert await watch.round(int(paused) - watch.stage.clock.now - 1) == 0
    assert watch.reads == reads
    assert await watch.round(LATER) == 2
    assert await watch.stage.event_types() == ["index.task.indexing"] * 2


async def test_a_429_may_name_a_date(watch: Watching) -> None:
    """Retry-After as an HTTP date is compared with the wall clock."""
    await watch.add("indexing")
    watch.simulator.fault(PATH, throttled(http_date(datetime.now(UTC) + timedelta(seconds=300))))
    await watch.round(LATER)
    assert await watch.round(200_000) == 0
    assert await watch.round(101_000) == 1


@pytest.mark.parametrize("headers", [LimitHeaders.BOTH, LimitHeaders.DOCUMENTED, LimitHeaders.REQUEST])
async def test_the_last_request_is_known_before_a_429(watch: Watching, headers: LimitHeaders) -> None:
    """The headers say that none is left: the key rests, no longer than a minute, and upstream refuses nothing."""
    for n in range(9):
        await watch.add("indexing", f"t{n}")
    budget = watch.simulator.limit(RateLimit(per_minute=4, headers=headers, retry_after=RetryAfter.ABSENT))
    watch.stage.clock.advance(LATER)
    for expected in (4, 8):
        for _ in range(9):
            batch = await watch.poller.claim(1)
            for reading in batch.items:
                await watch.poller.read(reading)
        assert (budget.granted, budget.refused) == (expected, 0)
        watch.stage.clock.advance(60_000)


async def test_a_429_without_retry_after_says_when_in_either_family(watch: Watching) -> None:
    """So many seconds, or a Unix time: the one that is used up counts."""
    await watch.add("indexing")
    extra = {"X-RateLimit-Request-Remaining": "0", "X-RateLimit-Request-Reset": "40", "X-Ratelimit-Reset": "1000"}
    watch.simulator.fault(PATH, throttled(None, extra))
    await watch.round(LATER)
    assert await watch.round(39_000) == 0
    assert await watch.round(1_100) == 1


async def test_one_throttled_task_keeps_the_others_waiting(watch: Watching) -> None:
    """The budget is the key's, so a 429 for one task stops the reading of every task."""
    await watch.add("indexing", "t1")
    watch.stage.clock.advance(2_000)
    await watch.add("indexing", "t2")
    watch.simulator.fault("/tasks/t1", throttled(20))
    assert await watch.round(INTERVAL_MS - 1_000) == 1
    assert await watch.round(15_000) == 0
    assert await watch.round(10_000) == 2


async def test_faults_back_off_from_the_third_in_a_row(watch: Watching) -> None:
    """Two faults are tried again at the interval, then it doubles up to a minute; a good reading ends that."""
    await watch.add("indexing")
    watch.simulator.fault(PATH, *[unavailable()] * 10)
    waits = []
    for _ in range(10):
        due = await watch.stage.due_in("t1")
        assert due is not None
        assert await watch.round(int(due)) == 1
        waits.append(await watch.stage.due_in("t1"))
    assert waits == [5_000, 5_000, 10_000, 20_000, 40_000, 60_000, 60_000, 60_000, 60_000, 60_000]
    watch.simulator.change("t1", {"status": "ready"}, touch=True)
    await watch.round(300_000)
    assert await watch.stage.event_types() == ["index.task.indexing", "index.task.ready"]


async def test_a_503_that_says_when_is_obeyed(watch: Watching) -> None:
    """Retry-After on a 5xx moves this task, not the key."""
    await watch.add("indexing", "t1")
    await watch.add("indexing", "t2")
    watch.simulator.fault("/tasks/t1", Fault(503, headers={"Retry-After": "120"}))
    await watch.round(LATER)
    assert await watch.stage.due_in("t1") == 120_000
    assert await watch.round(LATER) == 1


async def test_the_key_does_not_travel_with_a_redirect(watch: Watching) -> None:
    """A redirect is a fault: nobody else is asked, and nobody else sees the key."""
    thief = Receiver()
    await thief.start()
    try:
        await watch.add("indexing")
        for status in (301, 302, 303, 307, 308):
            watch.simulator.fault(PATH, redirect(f"{thief.url}/tasks/t1", status))
            await watch.round(600_000)
        assert thief.connections == 0
        assert await watch.stage.event_types() == ["index.task.indexing"]
    finally:
        await thief.stop()


async def test_registered_again_it_is_announced_to_those_who_missed_it(watch: Watching) -> None:
    """One read; the same event goes to an endpoint that has no delivery of it, and to nobody twice."""
    await watch.stage.endpoint("old", "http://127.0.0.1:9/old")
    await watch.add("ready")
    await watch.stage.endpoint("new", "http://127.0.0.1:9/new")
    await watch.stage.task("t1")
    assert await watch.round(LATER) == 1
    claimed = await watch.stage.store.outbox.claim(100, lease_ms=25_000)
    assert sorted(delivery.endpoint for delivery in claimed.deliveries) == ["new", "old"]
    assert len({delivery.event_id for delivery in claimed.deliveries}) == 1
    assert await watch.stage.event_types() == ["index.task.ready"]
    assert await watch.stage.due_in("t1") is None


@pytest.mark.parametrize("fault", [unavailable(), throttled(2), unauthorized(), Fault(404)], ids=str)
async def test_a_fault_does_not_forget_the_announcement(watch: Watching, fault: Fault) -> None:
    """Registered again, first read a fault: the announcement is still owed after it."""
    await watch.add("ready")
    await watch.stage.endpoint("new", "http://127.0.0.1:9/new")
    watch.simulator.fault(PATH, fault)
    await watch.stage.task("t1")
    assert await watch.round(LATER) == 1
    assert await watch.round(120_000) == 1
    claimed = await watch.stage.store.outbox.claim(100, lease_ms=25_000)
    assert [delivery.endpoint for delivery in claimed.deliveries] == ["new"]


async def test_taken_back_during_the_fetch_it_is_not_told(watch: Watching, redis_url: str) -> None:
    """ZREM while the answer is on its way: no event, no watch, nothing left to read."""
    await watch.add("indexing")
    with Redis.from_url(redis_url) as client:
        watch.simulator.change("t1", {"status": "ready"})
        watch.simulator.fault(PATH, Fault(before=lambda: client.zrem("bridge:tasks", "t1")))
        await watch.round(LATER)
    assert await watch.stage.event_types() == ["index.task.indexing"]
    assert await watch.stage.due_in("t1") is None
    assert watch.stage.log.named("task.changed")[-1]["outcome"] == "removed"


async def test_asked_for_during_the_fetch_it_is_read_again_at_once(watch: Watching) -> None:
    """A request that comes in while the task is leased takes effect after the lease's end."""
    await watch.add("indexing")
    watch.stage.clock.advance(LATER)
    batch = await watch.poller.claim(10)
    await watch.stage.task("t1")
    for reading in batch.items:
        await watch.poller.read(reading)
    assert await watch.stage.due_in("t1") == 0


async def test_a_late_grant_is_given_back_unread(watch: Watching) -> None:
    """Read too long after its claim, a task would not be within the budget any more: not a request is made."""
    await watch.add("indexing")
    watch.stage.clock.advance(LATER)
    batch = await watch.poller.claim(10)
    (reading,) = batch.items
    reads = watch.reads
    await watch.poller.read(Reading(reading.task, time.monotonic() - GRANT_SECONDS - 0.1, reading.probe))
    assert watch.reads == reads
    assert await watch.stage.due_in("t1") == 0
    assert await watch.round() == 1


async def test_what_somebody_else_claimed_is_not_ours_to_commit(watch: Watching) -> None:
    """A worker that froze past its lease changes nothing when it thaws."""
    await watch.add("indexing")
    watch.simulator.change("t1", {"status": "queued"})
    watch.stage.clock.advance(LATER)
    frozen = await watch.poller.claim(10)
    assert await watch.round(21_000) == 1
    for reading in frozen.items:
        await watch.poller.read(reading)
    assert await watch.stage.event_types() == ["index.task.indexing", "index.task.queued"]
    assert watch.stage.log.named("task.changed")[-1]["outcome"] == "stale"


async def test_a_commit_waits_for_redis_and_happens_once() -> None:
    """P1: Redis dies while the answer is on its way; when it is back, the change is committed, once."""
    clock = MovedClock()
    with RedisServer() as server:
        async with Store.open(server.url, clock=clock) as store, watching(Stage(store, clock)) as watch:
            await watch.add("indexing")
            watch.simulator.change("t1", {"status": "ready"})
            watch.simulator.fault(PATH, Fault(before=server.kill))
            clock.advance(LATER)
            batch = await watch.poller.claim(10)
            reading = asyncio.create_task(watch.poller.read(batch.items[0]))
            await eventually(lambda: watch.reads == 2)
            await eventually(lambda: len(watch.simulator.served) == 2)
            await asyncio.wait({reading}, timeout=LONGER_THAN_THE_CLIENT_TRIES)
            server.start()
            await reading
            assert await watch.stage.event_types() == ["index.task.indexing", "index.task.ready"]
            assert watch.stage.log.named("task.changed")[-1]["outcome"] == "ok"


async def test_a_commit_is_given_up_when_its_lease_ends() -> None:
    """Redis stays away longer than the lease: the reading is let go, and the next one finds the same change."""
    clock = MovedClock()
    with RedisServer() as server:
        async with (
            Store.open(server.url, clock=clock) as store,
            watching(Stage(store, clock), lease_seconds=1.0) as watch,
        ):
            await watch.add("indexing")
            watch.simulator.change("t1", {"status": "ready"})
            watch.simulator.fault(PATH, Fault(before=server.kill))
            await watch.round(LATER)
            assert watch.stage.log.named("lease.lost")
            server.start()
            assert await watch.round(1_000) == 1
            assert await watch.stage.event_types() == ["index.task.indexing", "index.task.ready"]


async def test_an_accepted_probe_is_not_lost_with_redis() -> None:
    """Redis dies under the probe of a refused key: what the probe saw is committed when Redis is back."""
    clock = MovedClock()
    with RedisServer() as server:
        async with Store.open(server.url, clock=clock) as store, watching(Stage(store, clock)) as watch:
            await watch.add("indexing")
            watch.simulator.change("t1", {"status": "ready"})
            watch.simulator.fault(PATH, unauthorized(), Fault(before=server.kill))
            await watch.round(LATER)
            clock.advance(int(KEY_PROBE_SECONDS * 1000))
            batch = await watch.poller.claim(10)
            reading = asyncio.create_task(watch.poller.read(batch.items[0]))
            await eventually(lambda: len(watch.simulator.served) == 2)
            await asyncio.wait({reading}, timeout=LONGER_THAN_THE_CLIENT_TRIES)
            server.start()
            await reading
            assert await watch.stage.event_types() == ["index.task.indexing", "index.task.ready"]


async def test_the_budget_bounds_what_is_read(stage: Stage) -> None:
    """N requests in any 60 s, however many tasks are due."""
    async with watching(stage) as watch:
        frugal = Poller(
            stage.store.registry,
            watch.poller._upstream,
            PollPolicy(interval_seconds=1, requests_per_minute=7),
            clock=RedisClock(),
            jitter=lambda: 0.0,
            log=stage.log,
        )
        for number in range(10):
            watch.simulator.add_task(f"t{number}", timeline=(), status="indexing")
            await stage.task(f"t{number}")
        taken = []
        for _ in range(70):
            batch = await frugal.claim(100)
            for reading in batch.items:
                await frugal.read(reading)
            taken.append(len(batch.items))
            stage.clock.advance(1_000)
        assert sum(taken[:60]) == 7
        assert sum(taken) == 14


async def test_a_round_is_told_in_one_line(watch: Watching) -> None:
    """The report counts what the readings came to, and starts anew."""
    await watch.add("indexing")
    watch.simulator.fault(PATH, unavailable())
    await watch.round(LATER)
    watch.poller.report()
    watch.poller.report()
    (line,) = watch.stage.log.named("poll.round")
    assert (line["reads"], line["changed"], line["transient"]) == (2, 1, 1)
    (trouble,) = watch.stage.log.named("upstream.faulty")
    assert (trouble["reads"], "503" in str(trouble["detail"])) == (1, True)
