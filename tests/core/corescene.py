"""What the core's tests stand on: a store on a clock that the test moves, the real edges, and a log to look at."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any, cast

from authorities import AUTHORITIES
from until import eventually

from bridge import diff, events
from bridge.deliver import Deliverer
from bridge.guard import Policy
from bridge.model import Change, Event, Observation, WatchedTask
from bridge.poll import Poller, PollPolicy
from bridge.pump import RedisClock
from bridge.sandbox.receiver import Receiver
from bridge.sandbox.twelvelabs import API_KEY, Simulator
from bridge.schedule import RetryPolicy
from bridge.sealing import Keyring
from bridge.sender import Sender
from bridge.signature import generate_secret
from bridge.store import Store
from bridge.store.intake import Intake
from bridge.store.reading.trips import as_delivery
from bridge.tracing import UNTRACED, Tracing
from bridge.transport import Limits, Proxy, Transport
from bridge.twelvelabs import BODY_BYTES, TwelveLabs

START = 1_800_000_000_000
SECRET = generate_secret(bytes(range(32)))
OTHER_SECRET = generate_secret(bytes(range(1, 33)))
INTERVAL_MS = 5_000
POLICY = Policy(allow_networks=[ip_network("127.0.0.0/8")], allow_http=True)
LIMITS = RetryPolicy(jitter=0.0)


async def soon(ask: Callable[[], Awaitable[object]], timeout_seconds: float = 10.0) -> Any:
    """`eventually` for a question that is itself awaited."""
    return await eventually(cast(Callable[[], Any], ask), timeout_seconds)


class MovedClock:
    """Redis' time in milliseconds, as the scripts see it; it moves only when told."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now

    def advance(self, ms: int) -> None:
        self.now += ms

    def moment(self) -> datetime:
        return datetime.fromtimestamp(self.now / 1000, UTC)


class StagedClock(RedisClock):
    """Redis' time as poller and deliverer tell it: the moved clock itself, however long a round really takes."""

    def __init__(self, clock: MovedClock) -> None:
        super().__init__()
        self._clock = clock

    def now(self) -> int:
        return self._clock.now


class Lines:
    """A log that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def info(self, event: str, **fields: object) -> None:
        self.lines.append((event, fields))

    warning = exception = info

    def named(self, event: str) -> list[dict[str, object]]:
        """The fields of every line of this event."""
        return [fields for name, fields in self.lines if name == event]


@dataclass
class Stage:
    """A store and its clients' keys, spoken as tests speak them."""

    store: Store
    clock: MovedClock
    log: Lines = field(default_factory=Lines)

    def __post_init__(self) -> None:
        self.intake = Intake(self.store, POLICY, has_default_secret=True)

    async def endpoint(self, name: str, url: str, **fields: object) -> None:
        """Register an endpoint by hand, and take it in."""
        definition = {"url": url, "secret": SECRET, **fields}
        definition = {key: value for key, value in definition.items() if value is not None}
        await self.store.client.hset("bridge:endpoints", name, json.dumps(definition))
        await self.intake.run()

    async def task(self, member: str, **options: str) -> None:
        """Register a task by hand, or ask for it again, and take it in."""
        if options:
            await self.store.client.hset(f"bridge:task:{member}", mapping=cast(Any, options))
        await self.store.client.zadd("bridge:tasks", {member: 0})
        await self.intake.run()

    async def commit(self, status: str, *, member: str = "t1") -> Event:
        """Claim the task, as if upstream said this status, and commit."""
        claim = await self.store.registry.claim_tasks(100, lease_ms=20_000)
        return await self.commit_claimed(next(task for task in claim.tasks if task.member == member), status)

    async def commit_claimed(self, task: WatchedTask, status: str) -> Event:
        """Commit this status for a task claimed before; it is due again at once."""
        moment = self.clock.moment()
        seen = Observation(
            task.member, status, moment, moment.isoformat(timespec="milliseconds"), None, None, {"_id": task.member}
        )
        change = diff.diff(task.snapshot, seen, now=self.clock.now)
        assert isinstance(change, Change)
        event = events.event_from(change, task.member, now=self.clock.now)
        snapshot = events.snapshot_after(change, event)
        assert await self.store.registry.commit(task, event, snapshot, delay_ms=1) == "ok"
        self.clock.advance(1)
        return event

    async def event_types(self) -> list[str]:
        """The types of all events committed, oldest first."""
        entries = cast(Any, await self.store.client.xrange("bridge:events"))
        return [entry[b"type"].decode() for _, entry in entries]

    async def watch(self, member: str) -> dict[str, str]:
        """The bridge's own record of a task."""
        raw = cast(dict[bytes, bytes], await self.store.client.hgetall(f"bridge:watch:{member}"))
        return {name.decode(): value.decode() for name, value in raw.items()}

    async def due_in(self, member: str) -> float | None:
        """Milliseconds until the task is read again; None if it is watched no longer."""
        score = await self.store.client.zscore("bridge:watch", member)
        return None if score is None else score - self.clock.now

    async def delivery(self, endpoint: str, event_id: str) -> dict[str, Any]:
        """The record of one delivery."""
        text = await self.store.client.hget(f"bridge:deliveries:{endpoint}", event_id)
        assert text is not None
        return as_delivery(text)

    async def attempts(self, endpoint: str, event_id: str) -> list[dict[str, Any]]:
        """The attempts of one delivery, as logged."""
        return [
            json.loads(text) for text in await self.store.client.lrange(f"bridge:attempts:{endpoint}:{event_id}", 0, -1)
        ]

    async def rejected(self) -> Mapping[str, Any]:
        """What is in `bridge:rejected`."""
        raw = cast(dict[bytes, bytes], await self.store.client.hgetall("bridge:rejected"))
        return {name.decode(): json.loads(text) for name, text in raw.items()}


async def ready(stage: Stage, *members: str) -> list[Event]:
    """The last word on some tasks."""
    for member in members:
        await stage.task(member)
    claim = await stage.store.registry.claim_tasks(1_000, lease_ms=20_000)
    made = [await stage.commit_claimed(task, "ready") for task in claim.tasks if task.member in members]
    assert len(made) == len(members)
    return made


@dataclass
class Watching:
    """A poller between a real store and a simulated upstream."""

    stage: Stage
    simulator: Simulator
    poller: Poller

    async def round(self, advance_ms: int = 0) -> int:
        """Let time pass, read what is due, and say how many that was."""
        self.stage.clock.advance(advance_ms)
        batch = await self.poller.claim(100)
        await asyncio.gather(*(self.poller.read(reading) for reading in batch.items))
        return len(batch.items)

    async def add(self, status: str = "indexing", member: str = "t1", **fields: Any) -> None:
        """A task upstream that we watch, and whose first sight is committed."""
        self.simulator.add_task(member, timeline=(), status=status, **fields)
        await self.stage.task(member)
        assert await self.round() == 1

    @property
    def reads(self) -> int:
        """Requests that upstream got."""
        return len(self.simulator.requests)


@asynccontextmanager
async def watching(
    stage: Stage,
    *,
    lease_seconds: float = 20.0,
    deadline_seconds: float = 5.0,
    jitter: float = 0.0,
    tracing: Tracing = UNTRACED,
) -> AsyncIterator[Watching]:
    """A poller as production builds it, except for the clocks and the jitter."""
    simulator = Simulator(clock=lambda: stage.clock.now / 1000)
    await simulator.start()
    transport = Transport(lambda *_: None, limits=Limits(body_bytes=BODY_BYTES), ssl_context=AUTHORITIES)
    counted = Counter[str]()
    upstream = TwelveLabs(
        transport,
        base_url=simulator.base_url,
        api_key=API_KEY,
        deadline_seconds=deadline_seconds,
        counted=counted,
    )
    poller = Poller(
        stage.store.registry,
        upstream,
        PollPolicy(interval_seconds=INTERVAL_MS / 1000, lease_seconds=lease_seconds),
        clock=StagedClock(stage.clock),
        jitter=lambda: jitter,
        log=stage.log,
        counted=counted,
        tracing=tracing,
    )
    upstream.used_up = poller.use_up
    try:
        yield Watching(stage, simulator, poller)
    finally:
        await transport.aclose()
        await simulator.stop()


@dataclass
class Delivering:
    """A deliverer between a real store and a real receiver."""

    stage: Stage
    receiver: Receiver
    sender: Sender
    deliverer: Deliverer

    async def endpoint(self, name: str = "e1", path: str = "/e1", **fields: object) -> None:
        """Register an endpoint at the receiver."""
        await self.stage.endpoint(name, f"{self.receiver.url}{path}", **fields)

    async def round(self, advance_ms: int = 0, slots: int = 100) -> int:
        """Let time pass, attempt what is due, and say how many that was."""
        self.stage.clock.advance(advance_ms)
        batch = await self.deliverer.claim(slots)
        await asyncio.gather(*(self.deliverer.attempt(item) for item in batch.items))
        return len(batch.items)


@asynccontextmanager
async def delivering(
    stage: Stage,
    *,
    policy: RetryPolicy = LIMITS,
    guard: Policy = POLICY,
    default_secret: str | None = SECRET,
    lease_seconds: float = 25.0,
    deadline_seconds: float = 5.0,
    proxy: Proxy | None = None,
    keyring: Keyring | None = None,
    tracing: Tracing = UNTRACED,
) -> AsyncIterator[Delivering]:
    """A deliverer as production builds it, except for the clocks and the jitter."""
    receiver = Receiver(SECRET, clock=lambda: stage.clock.now / 1000)
    await receiver.start()

    def judge(host: str, port: int, addresses: Any) -> str | None:
        verdict = guard.judge_addresses(host, port, addresses)
        return None if verdict.allowed else f"{verdict.reason}"

    transport = Transport(judge, proxy=proxy, ssl_context=AUTHORITIES)
    sender = Sender(
        transport,
        guard,
        deadline_seconds=deadline_seconds,
        default_secret=default_secret,
        keyring=keyring,
        now=stage.clock.moment,
        tracing=tracing,
    )
    deliverer = Deliverer(
        stage.store.outbox,
        stage.store.registry,
        sender,
        policy,
        lease_seconds=lease_seconds,
        clock=StagedClock(stage.clock),
        jitter=lambda: 0.0,
        log=stage.log,
    )
    try:
        yield Delivering(stage, receiver, sender, deliverer)
    finally:
        await transport.aclose()
        await receiver.stop()
