"""Delivering: what each answer leads to, in which order, and what survives a crash between any two steps."""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from ipaddress import ip_network
from typing import Any

import pytest
from corescene import LIMITS, OTHER_SECRET, POLICY, SECRET, Delivering, Lines, MovedClock, Stage, delivering, soon
from standardwebhooks import Webhook
from until import eventually

from bridge.deliver import Deliverer
from bridge.errors import StoreDown
from bridge.guard import Policy
from bridge.model import Delivery
from bridge.pump import Permit, Pump, RedisClock
from bridge.sandbox.message import Response
from bridge.sandbox.receiver import Arrival, Receiver
from bridge.sandbox.redis import RedisServer
from bridge.schedule import RetryPolicy
from bridge.store import Store

LEASE_MS = 25_000


async def test_an_event_arrives_signed(deliver: Delivering) -> None:
    """One POST, verified by the standard's own library, with what a subscriber was promised in its head."""
    await deliver.endpoint(headers={"authorization": "Bearer theirs"})
    await deliver.stage.task("t1", metadata='{"order": 42}')
    event = await deliver.stage.commit("indexing")
    assert await deliver.round() == 1
    (arrival,) = deliver.receiver.arrivals
    assert arrival.verdict is None
    assert (arrival.method, arrival.path, arrival.body) == ("POST", "/e1", event.body)
    assert arrival.id == event.id
    head = arrival.headers
    assert head["content-type"] == "application/json"
    assert head["user-agent"].startswith("bridge/")
    assert head["authorization"] == "Bearer theirs"
    assert (head["bridge-attempt"], head["bridge-trigger"]) == ("1", "schedule")
    assert head["traceparent"].split("-")[:2] == ["00", event.id.removeprefix("evt_")]
    assert head["webhook-timestamp"] == str(deliver.stage.clock.now // 1000)
    assert (await deliver.stage.delivery("e1", event.id))["state"] == "delivered"


async def test_the_reference_library_agrees(stage: Stage) -> None:
    """The signature of an attempt made now verifies with standardwebhooks."""
    stage.clock.now = int(time.time() * 1000)
    async with delivering(stage) as deliver:
        await deliver.endpoint()
        await stage.task("t1")
        await stage.commit("indexing")
        await deliver.round()
        (arrival,) = deliver.receiver.arrivals
        Webhook(SECRET).verify(arrival.body, dict(arrival.headers))


async def test_a_failure_is_tried_again_with_the_same_id_and_a_fresh_signature(deliver: Delivering) -> None:
    """P3: 500, then 204: one id, one body, two timestamps, two signatures, both valid; the attempts are counted."""
    await deliver.endpoint()
    await deliver.stage.task("t1")
    event = await deliver.stage.commit("indexing")
    deliver.receiver.script(500)
    assert await deliver.round() == 1
    assert await deliver.round(4_900) == 0
    assert await deliver.round(200) == 1
    first, second = deliver.receiver.valid
    assert first.id == second.id == event.id
    assert first.body == second.body
    for name in ("webhook-timestamp", "webhook-signature"):
        assert first.headers[name] != second.headers[name]
    trace, span = zip(*(one.headers["traceparent"].split("-")[1:3] for one in (first, second)), strict=True)
    assert trace[0] == trace[1]
    assert span[0] != span[1]
    assert [one.attempt for one in (first, second)] == [1, 2]
    record = await deliver.stage.delivery("e1", event.id)
    assert (record["state"], record["attempts"]) == ("delivered", 2)
    log = await deliver.stage.attempts("e1", event.id)
    assert [(entry["attempt"], entry["status_code"], entry["next"]) for entry in log] == [
        (1, 500, "pending"),
        (2, 204, "delivered"),
    ]


async def test_an_attempt_is_remembered_as_far_as_somebody_will_ask(deliver: Delivering) -> None:
    """A failure with both heads, and so the success after it; one that is taken at once costs 200 bytes at most."""
    await deliver.endpoint(headers={"authorization": "Bearer C4N4RY-token"})
    await deliver.stage.task("t1")
    deliver.receiver.script(500)
    event = await deliver.stage.commit("indexing")
    await deliver.round()
    await deliver.round(5_100)
    failed, taken = await deliver.stage.attempts("e1", event.id)
    for entry in (failed, taken):
        assert entry["request"].startswith(f"POST {deliver.receiver.url}/e1\n")
        assert "authorization: ***" in entry["request"]
        assert "C4N4RY" not in str(entry)
    assert "content-length: " in failed["answer"]
    event = await deliver.stage.commit("ready")
    await deliver.round()
    (text,) = await deliver.stage.store.client.lrange(f"bridge:attempts:e1:{event.id}", 0, -1)
    assert (b"delivered" in text, b"request" in text, len(text) <= 200) == (True, False, True)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_delivers(deliver: Delivering, status: int) -> None:
    """The whole class counts."""
    await deliver.endpoint()
    await deliver.stage.task("t1")
    event = await deliver.stage.commit("ready")
    deliver.receiver.always(status)
    await deliver.round()
    assert (await deliver.stage.delivery("e1", event.id))["state"] == "delivered"


@pytest.mark.parametrize(
    "answer",
    [
        *(Response(status) for status in (300, 304, 400, 401, 403, 404, 408, 409, 418, 425, 429, 500, 502, 503, 599)),
        Response(302, (("location", "/elsewhere"),)),
        Response(307, (("location", "/elsewhere"),)),
        Response(reset=True),
        Response(raw=b"220 smtp\r\n\r\n"),
        Response(raw=b""),
        Response(hang=True),
    ],
    ids=lambda answer: f"{answer.status}{'r' * answer.reset}{'h' * answer.hang}{answer.raw!r}",
)
async def test_every_other_answer_is_tried_again(stage: Stage, answer: Response) -> None:
    """3xx included, which is never followed; a fault is one line in the log, not an exception."""
    async with delivering(stage, deadline_seconds=0.5 if answer.hang else 5.0) as deliver:
        await deliver.endpoint()
        await stage.task("t1")
        event = await stage.commit("ready")
        deliver.receiver.always(answer)
        await deliver.round()
        record = await stage.delivery("e1", event.id)
        assert (record["state"], record["attempts"]) == ("pending", 1)
        assert {arrival.path for arrival in deliver.receiver.arrivals} == {"/e1"}
        deliver.receiver.always(204)
        await deliver.round(90_000_000)
        assert (await stage.delivery("e1", event.id))["state"] == "delivered"


@pytest.mark.parametrize("spoilt", [{"cut_at": 3}, {"drip_seconds": 30.0}], ids=["cut", "dripped"])
async def test_a_2xx_counts_whatever_its_body_does(stage: Stage, spoilt: dict[str, Any]) -> None:
    """The status line decides; the body is decoration."""
    async with delivering(stage, deadline_seconds=1.0) as deliver:
        await deliver.endpoint()
        await stage.task("t1")
        event = await stage.commit("ready")
        deliver.receiver.always(Response(200, body=b"thanks a lot", **spoilt))
        await deliver.round()
        assert (await stage.delivery("e1", event.id))["state"] == "delivered"


async def test_dead_after_the_schedule(stage: Stage) -> None:
    """As many attempts as the schedule has entries, then a dead letter: exhausted."""
    async with delivering(stage, policy=RetryPolicy(schedule_seconds=(0, 1, 2), jitter=0.0)) as deliver:
        await deliver.endpoint()
        await stage.task("t1")
        event = await stage.commit("ready")
        deliver.receiver.always(500)
        for _ in range(5):
            await deliver.round(10_000)
        assert [arrival.attempt for arrival in deliver.receiver.arrivals] == [1, 2, 3]
        record = await stage.delivery("e1", event.id)
        assert (record["state"], record["reason"], record["attempts"]) == ("dead", "exhausted", 3)
        assert await stage.store.client.zscore("bridge:dead:e1", event.id)


async def test_old_progress_expires_and_an_end_does_not(deliver: Delivering) -> None:
    """After an hour nobody needs to hear `indexing`; `ready` gets the whole schedule."""
    await deliver.endpoint()
    deliver.receiver.always(500)
    await deliver.stage.task("t1")
    await deliver.stage.task("t2")
    claim = await deliver.stage.store.registry.claim_tasks(10, lease_ms=20_000)
    words = {"t1": "indexing", "t2": "ready"}
    events = {task.member: await deliver.stage.commit_claimed(task, words[task.member]) for task in claim.tasks}
    for wait in (0, 6_000, 300_000, 1_900_000, 7_300_000):
        await deliver.round(wait)
    old = await deliver.stage.delivery("e1", events["t1"].id)
    assert (old["state"], old["reason"]) == ("dead", "expired")
    assert (await deliver.stage.delivery("e1", events["t2"].id))["state"] == "pending"


async def test_410_ends_the_delivery_and_holds_the_rest(deliver: Delivering) -> None:
    """This delivery is dead (gone), the endpoint disabled; what else it is owed is held, not dropped."""
    await deliver.endpoint()
    for member in ("t1", "t2"):
        await deliver.stage.task(member)
    claim = await deliver.stage.store.registry.claim_tasks(10, lease_ms=20_000)
    events = [await deliver.stage.commit_claimed(task, "ready") for task in claim.tasks]
    deliver.receiver.always(410)
    assert await deliver.round(slots=1) == 1
    assert await deliver.round(90_000_000) == 0
    states = sorted([(await deliver.stage.delivery("e1", event.id))["state"] for event in events])
    assert states == ["dead", "pending"]
    endpoint = await deliver.stage.store.client.hgetall("bridge:endpoint:e1")
    assert (endpoint[b"state"], endpoint[b"reason"]) == (b"disabled", b"gone")


async def test_an_address_that_policy_forbids_is_never_dialled(stage: Stage) -> None:
    """P7: the guard at the dial blocks; retried on schedule; after three in a row the endpoint is disabled."""
    strict = Policy(allow_http=True)
    async with delivering(stage, guard=strict) as deliver:
        await deliver.endpoint()
        await stage.task("t1")
        event = await stage.commit("ready")
        for wait in (0, 6_000, 400_000, 2_000_000):
            await deliver.round(wait)
        assert deliver.receiver.connections == 0
        log = await stage.attempts("e1", event.id)
        assert [entry["fault"] for entry in log] == ["blocked"] * 3
        endpoint = await stage.store.client.hgetall("bridge:endpoint:e1")
        assert (endpoint[b"state"], endpoint[b"reason"]) == (b"disabled", b"blocked")
        assert (await stage.delivery("e1", event.id))["state"] == "pending"


async def test_a_url_that_policy_forbids_by_now_is_an_attempt_blocked(stage: Stage) -> None:
    """http was allowed when it was registered and is not any more: an outcome, not an exception."""
    secure = Policy(allow_networks=[ip_network("127.0.0.0/8")], allow_http=False)
    async with delivering(stage, guard=secure) as deliver:
        await deliver.endpoint()
        await stage.task("t1")
        event = await stage.commit("ready")
        await deliver.round()
        (entry,) = await stage.attempts("e1", event.id)
        assert entry["fault"] == "blocked"
        assert not stage.log.named("pump.fault")
        assert deliver.receiver.connections == 0


async def test_retry_after_rests_the_whole_endpoint(deliver: Delivering) -> None:
    """429 with Retry-After: nothing goes to this endpoint meanwhile, and everything else goes on."""
    await deliver.endpoint("e1", "/e1")
    await deliver.endpoint("e2", "/e2")
    for member in ("t1", "t2"):
        await deliver.stage.task(member)
    claim = await deliver.stage.store.registry.claim_tasks(10, lease_ms=20_000)
    await deliver.stage.commit_claimed(claim.tasks[0], "ready")
    deliver.receiver.script(Response(429, (("retry-after", "120"),)), path="/e1")
    assert await deliver.round() == 2
    await deliver.stage.commit_claimed(claim.tasks[1], "ready")
    await deliver.round(100_000)
    paths = [arrival.path for arrival in deliver.receiver.arrivals]
    assert (paths.count("/e1"), paths.count("/e2")) == (1, 2)
    await deliver.round(21_000)
    assert [arrival.path for arrival in deliver.receiver.arrivals].count("/e1") == 3


@pytest.mark.parametrize("value", ["soon", "-1", "1e9", "Thu, 99 Foo 2026 99:99:99 GMT", "\xff", "9" * 40, ""])
async def test_a_strange_retry_after_is_none(deliver: Delivering, value: str) -> None:
    """Whatever they write there: the schedule goes on, and the endpoint is never parked for ever."""
    await deliver.endpoint()
    await deliver.stage.task("t1")
    event = await deliver.stage.commit("ready")
    deliver.receiver.script(Response(503, (("retry-after", value),)))
    await deliver.round()
    await deliver.round(86_500_000)
    assert (await deliver.stage.delivery("e1", event.id))["state"] == "delivered"


async def test_an_endpoint_removed_in_flight_is_cancelled(deliver: Delivering) -> None:
    """HDEL while the POST is out: the attempt may end, nothing goes out after it, what was owed is cancelled."""
    await deliver.endpoint(ordering="none")
    await deliver.stage.task("t1")
    first = await deliver.stage.commit("indexing")
    second = await deliver.stage.commit("ready")
    batch = await deliver.deliverer.claim(1)
    await deliver.stage.store.client.hdel("bridge:endpoints", "e1")
    removal = asyncio.create_task(deliver.stage.intake.run())
    await asyncio.gather(*(deliver.deliverer.attempt(item) for item in batch.items))
    await removal
    assert await deliver.round(LEASE_MS) == 0
    await deliver.stage.intake.run()
    assert len(deliver.receiver.arrivals) <= 1
    states = {event.id: (await deliver.stage.delivery("e1", event.id))["state"] for event in (first, second)}
    assert states[second.id] == "cancelled"
    assert states[first.id] in {"cancelled", "delivered"}


async def test_claimed_and_then_removed_it_is_not_posted(deliver: Delivering) -> None:
    """The endpoint is gone from the set when the attempt begins: no POST, no exception."""
    await deliver.endpoint()
    await deliver.stage.task("t1")
    await deliver.stage.commit("ready")
    batch = await deliver.deliverer.claim(1)
    await deliver.stage.store.client.hdel("bridge:endpoints", "e1")
    removal = asyncio.create_task(deliver.stage.intake.run())
    await eventually(lambda: "e1" not in deliver.stage.store.registry.endpoints.by_name)
    for item in batch.items:
        await deliver.deliverer.attempt(item)
    deliver.stage.clock.advance(LEASE_MS + 1)
    await removal
    assert deliver.receiver.connections == 0


async def test_a_changed_endpoint_counts_at_once(deliver: Delivering) -> None:
    """New URL and secret: the next attempt goes there, signed so; the old connection is closed."""
    await deliver.endpoint("e1", "/old")
    await deliver.stage.task("t1")
    await deliver.stage.commit("indexing")
    await deliver.round()
    assert deliver.receiver.connections == 1
    deliver.receiver.trust("/new", OTHER_SECRET)
    await deliver.endpoint("e1", "/new", secret=OTHER_SECRET)
    await deliver.stage.commit("ready")
    await deliver.round()
    old, new = deliver.receiver.arrivals
    assert (old.path, old.verdict, new.path, new.verdict) == ("/old", None, "/new", None)
    assert deliver.receiver.connections == 2


async def test_a_changed_endpoint_counts_for_a_retry_too(deliver: Delivering) -> None:
    """What failed at the old address is tried again at the new one."""
    await deliver.endpoint("e1", "/old")
    await deliver.stage.task("t1")
    await deliver.stage.commit("ready")
    deliver.receiver.script(500, path="/old")
    await deliver.round()
    await deliver.endpoint("e1", "/new")
    await deliver.round(6_000)
    assert [(arrival.path, arrival.attempt) for arrival in deliver.receiver.valid] == [("/old", 1), ("/new", 2)]


async def test_without_a_secret_no_attempt_is_spent(stage: Stage) -> None:
    """The default secret is gone: what is owed waits, a line says so, and with the secret back it goes out as first."""
    async with delivering(stage, default_secret=None) as deliver:
        await deliver.endpoint(secret=None)
        await stage.task("t1")
        event = await stage.commit("ready")
        for _ in range(3):
            await deliver.round(LEASE_MS + 1)
        assert deliver.receiver.connections == 0
        assert stage.log.named("delivery.not_attempted")
        record = await stage.delivery("e1", event.id)
        assert (record["state"], record["attempts"]) == ("pending", 0)
    async with delivering(stage) as again:
        again.receiver.always(204)
        await again.endpoint()
        await again.round(LEASE_MS + 1)
        assert [arrival.attempt for arrival in again.receiver.valid] == [1]


async def test_without_a_secret_what_is_owed_waits_however_long(stage: Stage) -> None:
    """Twenty leases without a secret (eight minutes) are our fault, not poison."""
    async with delivering(stage, default_secret=None) as deliver:
        await deliver.endpoint(secret=None)
        await stage.task("t1")
        event = await stage.commit("ready")
        for _ in range(25):
            await deliver.round(LEASE_MS + 1)
        assert (await stage.delivery("e1", event.id))["state"] == "pending"


class Broken:
    """A sender with a bug."""

    async def post(self, *_: object) -> Any:
        raise ZeroDivisionError

    def forget(self, _: str) -> None: ...


async def test_our_own_exception_never_spends_an_attempt(deliver: Delivering) -> None:
    """A bug of ours settles nothing: the lease lapses and the delivery goes out as its first attempt."""
    await deliver.endpoint()
    await deliver.stage.task("t1")
    event = await deliver.stage.commit("ready")
    stage = deliver.stage
    broken = Deliverer(
        stage.store.outbox, stage.store.registry, Broken(), LIMITS,
        lease_seconds=25, clock=RedisClock(), jitter=lambda: 0.0, log=stage.log,
    )  # fmt: skip
    batch = await broken.claim(10)
    with pytest.raises(ZeroDivisionError):
        await broken.attempt(batch.items[0])
    assert (await stage.delivery("e1", event.id))["attempts"] == 0
    assert await deliver.round() == 0
    assert await deliver.round(LEASE_MS + 1) == 1
    assert [arrival.attempt for arrival in deliver.receiver.valid] == [1]


# ---------------------------------------------------------------- crashes


async def test_killed_after_the_claim(deliver: Delivering) -> None:
    """Claimed and never posted: after the lease it goes out, once."""
    await deliver.endpoint()
    await deliver.stage.task("t1")
    event = await deliver.stage.commit("ready")
    assert len((await deliver.deliverer.claim(10)).items) == 1
    assert await deliver.round() == 0
    assert await deliver.round(LEASE_MS + 1) == 1
    assert [arrival.attempt for arrival in deliver.receiver.arrivals] == [1]
    assert (await deliver.stage.delivery("e1", event.id))["state"] == "delivered"


async def test_killed_while_posting(deliver: Delivering) -> None:
    """The pump's task is cancelled with the request out: it is sent again after the lease, same id, same body."""
    await deliver.endpoint()
    await deliver.stage.task("t1")
    await deliver.stage.commit("ready")
    deliver.receiver.script(Response(hang=True))
    batch = await deliver.deliverer.claim(10)
    attempt = asyncio.create_task(deliver.deliverer.attempt(batch.items[0]))
    await eventually(lambda: deliver.receiver.arrivals)
    attempt.cancel()
    await asyncio.gather(attempt, return_exceptions=True)
    assert await deliver.round(LEASE_MS - 10) == 0
    assert await deliver.round(20) == 1
    first, second = deliver.receiver.valid
    assert (first.id, first.body) == (second.id, second.body)
    assert not deliver.receiver.duplicates


async def test_killed_before_the_settle(deliver: Delivering) -> None:
    """Accepted by them, unknown to us: sent again after the lease with the same id. The one honest duplicate."""
    await deliver.endpoint()
    await deliver.stage.task("t1")
    event = await deliver.stage.commit("ready")
    batch = await deliver.deliverer.claim(10)
    delivery, _ = batch.items[0]
    endpoint = deliver.stage.store.registry.endpoints.by_name["e1"]
    assert (await deliver.sender.post(endpoint, delivery)).status_code == 204
    assert await deliver.round(LEASE_MS + 1) == 1
    assert [arrival.id for arrival in deliver.receiver.duplicates] == [event.id]
    assert (await deliver.stage.delivery("e1", event.id))["attempts"] == 1


async def test_killed_after_the_settle(deliver: Delivering) -> None:
    """Settled is settled: nothing goes out again, ever."""
    await deliver.endpoint()
    await deliver.stage.task("t1")
    await deliver.stage.commit("ready")
    batch = await deliver.deliverer.claim(10)
    await deliver.deliverer.attempt(batch.items[0])
    await deliver.deliverer.attempt(batch.items[0])  # a zombie that repeats it all
    assert await deliver.round(90_000_000) == 0
    assert len(deliver.receiver.arrivals) == 2
    assert deliver.stage.log.named("delivery.attempted")[-1]["settled"] == "stale"


async def test_a_zombie_s_settle_changes_nothing(deliver: Delivering) -> None:
    """Frozen past its lease, it posts a second time at most; its settle is stale, the attempt counted once."""
    await deliver.endpoint()
    await deliver.stage.task("t1")
    event = await deliver.stage.commit("ready")
    frozen = await deliver.deliverer.claim(10)
    assert await deliver.round(LEASE_MS + 1) == 1
    deliver.receiver.always(500)
    await deliver.deliverer.attempt(frozen.items[0])
    record = await deliver.stage.delivery("e1", event.id)
    assert (record["state"], record["attempts"]) == ("delivered", 1)


async def test_a_claim_whose_lease_ended_before_its_attempt_is_not_attempted(deliver: Delivering) -> None:
    """A worker that slept between claim and POST leaves the delivery to whoever has it now: no needless duplicate."""
    await deliver.endpoint()
    await deliver.stage.task("t1")
    await deliver.stage.commit("ready")
    batch = await deliver.deliverer.claim(10)
    assert await deliver.round(LEASE_MS + 1) == 1
    delivery, claimed_at = batch.items[0]
    await deliver.deliverer.attempt((delivery, claimed_at - 25))
    assert len(deliver.receiver.arrivals) == 1


async def test_a_settle_waits_for_redis() -> None:
    """Redis dies while the POST is out: when it is back, the attempt is settled, and nothing is sent twice."""
    clock = MovedClock()
    with RedisServer() as server:
        async with Store.open(server.url, clock=clock) as store, delivering(Stage(store, clock)) as deliver:
            await deliver.endpoint()
            await deliver.stage.task("t1")
            event = await deliver.stage.commit("ready")

            def dies(_: Arrival) -> int:
                server.kill()
                return 204

            deliver.receiver.script(dies)
            batch = await deliver.deliverer.claim(10)
            attempt = asyncio.create_task(deliver.deliverer.attempt(batch.items[0]))
            await eventually(lambda: deliver.receiver.arrivals)
            await asyncio.wait({attempt}, timeout=3.0)
            server.start()
            await attempt
            assert (await deliver.stage.delivery("e1", event.id))["state"] == "delivered"
            assert await deliver.round(LEASE_MS + 1) == 0
            assert len(deliver.receiver.arrivals) == 1


async def test_what_was_claimed_is_not_lost_when_redis_goes_away_after_it() -> None:
    """The endpoints changed, and Redis dies before they are read: what the claim brought still goes out."""
    clock = MovedClock()
    with RedisServer() as server:
        async with Store.open(server.url, clock=clock) as store, delivering(Stage(store, clock)) as deliver:
            await deliver.endpoint()
            await deliver.stage.task("t1")
            await deliver.stage.commit("ready")
            async with Store.open(server.url, clock=clock) as other:
                # Another process: it has never read the endpoints, so its first claim has to.
                reload = other.registry.reload_endpoints
                died = asyncio.Event()

                async def dies_first() -> Any:
                    if not died.is_set():
                        server.kill()
                        died.set()
                    return await reload()

                other.registry.reload_endpoints = dies_first  # type: ignore[method-assign]
                elsewhere = Deliverer(
                    other.outbox, other.registry, deliver.sender, LIMITS,
                    lease_seconds=25, clock=RedisClock(), jitter=lambda: 0.0, log=Lines(),
                )  # fmt: skip
                claiming = asyncio.create_task(elsewhere.claim(10))
                await died.wait()
                await asyncio.wait({claiming}, timeout=3.0)
                server.start()
                batch = await claiming
                assert len(batch.items) == 1
                await elsewhere.attempt(batch.items[0])
                assert len(deliver.receiver.valid) == 1


async def test_a_hand_out_that_fails_keeps_what_was_claimed(deliver: Delivering) -> None:
    """Redis goes away between the claim and the hand-out of another event: the claimed deliveries are worked."""
    await deliver.endpoint()
    await deliver.stage.task("t1")
    await deliver.stage.commit("ready")
    await deliver.stage.store.client.rpush("bridge:fanout", "evt_none")
    calls = []

    async def away() -> int:
        calls.append(1)
        raise StoreDown("away")

    deliver.stage.store.outbox.fan_out = away  # type: ignore[method-assign]
    assert await deliver.round() == 1
    assert calls
    assert len(deliver.receiver.valid) == 1


async def test_an_event_for_very_many_endpoints_reaches_each(deliver: Delivering) -> None:
    """Above 200 endpoints the hand-out takes several claims; each endpoint gets it once."""
    for number in range(230):
        await deliver.stage.store.client.hset(
            "bridge:endpoints", f"e{number}", f'{{"url": "{deliver.receiver.url}/e{number}", "secret": "{SECRET}"}}'
        )
    await deliver.stage.intake.run()
    await deliver.stage.task("t1")
    await deliver.stage.commit("ready")
    for _ in range(12):
        await deliver.round(slots=1_000)
    paths = [arrival.path for arrival in deliver.receiver.valid]
    assert sorted(paths) == sorted(f"/e{number}" for number in range(230))


# ---------------------------------------------------------------- order and fairness


class Churn:
    """Answers 500 at random, by a seed; keeps the order in which events of a task were first seen."""

    def __init__(self, seed: int, share: float) -> None:
        self._random = random.Random(seed)
        self._share = share
        self.first: defaultdict[str, list[int]] = defaultdict(list)

    def __call__(self, arrival: Arrival) -> int:
        assert arrival.revision is not None
        if not arrival.earlier:
            self.first[arrival.task_id].append(arrival.revision)
        return 500 if self._random.random() < self._share else 204


@pytest.fixture
async def patient(stage: Stage) -> AsyncIterator[Delivering]:
    """A deliverer that tries often and soon."""
    async with delivering(stage, policy=RetryPolicy(schedule_seconds=(0, *[1] * 30), jitter=0.0)) as scene:
        yield scene


@pytest.fixture
async def pumped(patient: Delivering) -> AsyncIterator[Pump[tuple[Delivery, float]]]:
    """A pump over the deliverer, with few slots so that it has to choose."""
    permit = Permit()
    permit.extend(600)
    pump = Pump(
        slots=8,
        claim=patient.deliverer.claim,
        work=patient.deliverer.attempt,
        wait=lambda seconds: patient.stage.store.wait_for_wake("deliver", seconds),
        permit=permit,
        log=patient.stage.log,
    )
    running = asyncio.create_task(pump.run())
    yield pump
    await pump.drain(10)
    await running


@pytest.mark.parametrize("seed", range(4))
async def test_first_attempts_come_in_revision_order(
    patient: Delivering, pumped: Pump[tuple[Delivery, float]], seed: int
) -> None:
    """P4: 12 tasks, 6 changes each, a third of all answers 500: first attempts in order, nothing lost or doubled."""
    churn = Churn(seed, 0.33)
    patient.receiver.always(churn)
    await patient.endpoint()
    members = [f"t{number}" for number in range(12)]
    for member in members:
        await patient.stage.task(member)
    owed = []
    for step in range(6):
        claim = await patient.stage.store.registry.claim_tasks(100, lease_ms=20_000)
        assert len(claim.tasks) == len(members)
        owed += [await patient.stage.commit_claimed(task, ("queued", "indexing")[step % 2]) for task in claim.tasks]
        pumped.nudge()

    async def all_delivered() -> bool:
        if not pumped.in_flight:  # the clock must not run away from what is leased
            patient.stage.clock.advance(500)
        pumped.nudge()
        return await patient.stage.store.client.zcard("bridge:done:e1") == len(owed)

    await soon(all_delivered, timeout_seconds=30)
    assert {event.id for event in owed} == {arrival.id for arrival in patient.receiver.arrivals}
    for member in members:
        assert churn.first[member] == sorted(churn.first[member])
        assert len(churn.first[member]) == 6
    assert not patient.receiver.duplicates
    assert not patient.receiver.invalid


async def test_strict_ordering_waits_for_success(deliver: Delivering) -> None:
    """With `strict`, the next revision of a task goes out only once the one before it has ended."""
    await deliver.endpoint(ordering="strict")
    await deliver.stage.task("t1")
    deliver.receiver.script(500, 500)
    for status in ("queued", "indexing", "ready"):
        await deliver.stage.commit(status)
    for wait in (0, 0, 6_000, 400_000, 0, 0):
        await deliver.round(wait)
    assert [arrival.status for arrival in deliver.receiver.valid] == ["queued", "queued", "queued", "indexing", "ready"]


async def test_a_failed_first_attempt_lets_the_next_revision_go(deliver: Delivering) -> None:
    """By default an event that fails does not hold up its successors."""
    await deliver.endpoint()
    await deliver.stage.task("t1")
    deliver.receiver.script(500)
    for status in ("queued", "indexing"):
        await deliver.stage.commit(status)
    assert [await deliver.round() for _ in range(3)] == [1, 1, 0]
    assert [arrival.status for arrival in deliver.receiver.valid] == ["queued", "indexing"]


async def test_an_endpoint_that_hangs_holds_its_cap_and_no_more(stage: Stage) -> None:
    """P5: forty events for one that hangs, one for one that answers: the second is not kept waiting."""
    async with delivering(stage, deadline_seconds=2.0) as deliver:
        deliver.receiver.always(Response(hang=True), "/hang")
        await deliver.endpoint("hang", "/hang", tasks=["h*"])
        await deliver.endpoint("fine", "/fine", tasks=["f*"])
        for number in range(40):
            await stage.task(f"h{number}")
        claim = await stage.store.registry.claim_tasks(100, lease_ms=20_000)
        for task in claim.tasks:
            await stage.commit_claimed(task, "ready")
        batch = await deliver.deliverer.claim(100)
        assert len(batch.items) == 32
        hanging = [asyncio.create_task(deliver.deliverer.attempt(item)) for item in batch.items]
        await stage.task("f1")
        await stage.commit("ready", member="f1")
        assert await deliver.round() == 1
        assert [arrival.path for arrival in deliver.receiver.valid if arrival.path == "/fine"] == ["/fine"]
        assert not any(task.done() for task in hanging)
        await asyncio.gather(*hanging)


def test_the_policy_of_these_tests_is_the_default_one() -> None:
    """Only the jitter differs from what production uses."""
    assert RetryPolicy(jitter=0.0) == LIMITS
    assert POLICY.allow_http
    assert isinstance(Receiver, type)
