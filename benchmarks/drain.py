"""How fast what is owed is sent: a backlog of deliveries, one deliver process, and a receiver that costs nothing."""

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from statistics import median
from types import MappingProxyType
from typing import Any

from redis import Redis

from benchmarks.peers import Job, fill
from benchmarks.stage import HERE, process_seconds
from bridge import diff, events
from bridge.guard import Policy
from bridge.jobs import queue_for, send_shift
from bridge.model import Change, Observation, WatchedTask
from bridge.sandbox.redis import RedisServer
from bridge.signature import generate_secret
from bridge.store import Store
from bridge.store.intake import Intake

PEERS = {"bridge": 20_000, "aiohttp": 20_000, "rq": 1_000, "celery": 1_000}
"""Who drains how much."""
PUMPS = ("bridge", "aiohttp")
ROUNDS = 5
ENDPOINTS = 20
BODY_BYTES = 1_024
FILLER_BYTES = 560
"""So much more in a task's object makes an event's body 1 KiB."""
WITHIN_SECONDS = 120.0
"""A backlog that is not drained by then is not going to be."""
CLAIM = 250


@dataclass(frozen=True, slots=True)
class Drained:
    """What a drain came to."""

    per_second: float
    cpu_us: float
    """Of the deliver process, for each delivery."""
    redis_us: float
    lost: int
    doubled: int

    @property
    def figure(self) -> tuple[float, str]:
        """What it is about."""
        return self.per_second, "deliveries/s"

    def lines(self) -> str:
        """In a person's words."""
        cpu = f"CPU for each {self.cpu_us:.0f} µs, of Redis {self.redis_us:.0f} µs"
        return f"  {self.per_second:,.0f} deliveries/s, {cpu}; lost {self.lost}, doubled {self.doubled}"


def drain(_: float) -> Iterator[tuple[str, Drained | None]]:
    """20,000 owed deliveries of 1 KiB to 20 endpoints, one process; beside it what others would write, in turn."""
    results: dict[str, list[Drained]] = {}
    for number in range(1, ROUNDS + 1):
        for peer, deliveries in PEERS.items():
            results.setdefault(peer, []).append(drain_once(peer, deliveries))
            yield f"drain of {deliveries:,}, round {number}, {peer}", results[peer][-1]
    for peer in list(PEERS)[1:]:
        pairs = zip(results["bridge"], results[peer], strict=True)
        ratio = median(ours.per_second / theirs.per_second for ours, theirs in pairs)
        yield f"drain: the bridge sends {ratio:.1f} times what {peer} does", None


async def owe(url: str, receiver: int, secret: str, deliveries: int, endpoints: int = ENDPOINTS) -> None:
    """Have so many events owed, of 1 KiB each, one for each task, over all endpoints evenly."""
    async with Store.open(url) as store:
        async for batch, now in watched(store, receiver, secret, deliveries, endpoints):
            await asyncio.gather(*(a_commit(store, task, now, filler=FILLER_BYTES) for task in batch))
        due = [await store.client.zcard(f"bridge:queue:e{n}") for n in range(endpoints)]
        assert sum(due) == deliveries, due


async def watched(
    store: Store, receiver: int, secret: str, number: int, endpoints: int = ENDPOINTS, *, tasks: str = "e{n}-*"
) -> AsyncIterator[tuple[list[WatchedTask], int]]:
    """So many tasks, leased in batches; with Redis' time (ms). Of each task one endpoint hears, or as `tasks` says."""
    for n in range(endpoints):
        definition = {"url": f"http://127.0.0.1:{receiver}/{n}", "secret": secret, "tasks": [tasks.format(n=n)]}
        await store.client.hset("bridge:endpoints", f"e{n}", json.dumps(definition))
    for start in range(0, number, CLAIM):
        ids = {f"e{one % endpoints}-{one}": 0 for one in range(start, min(start + CLAIM, number))}
        await store.client.zadd("bridge:tasks", ids, nx=True)
    policy = Policy(allow_networks=[ip_network("127.0.0.0/8")], allow_http=True)
    intake = Intake(store, policy, has_default_secret=False)
    await intake.run()
    await store.registry.reload_endpoints()
    leased = 0
    while leased < number:
        claim = await store.registry.claim_tasks(CLAIM, lease_ms=600_000)
        leased += len(claim.tasks)
        if claim.tasks:
            yield claim.tasks, claim.now
        else:
            await intake.run()


async def a_commit(
    store: Store,
    task: WatchedTask,
    now: int,
    *,
    status: str = "ready",
    delay_ms: int = -1,
    filler: int = 0,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """Commit that a task was seen in this status; replies the event's id.

    `more` is what upstream's object says besides; `filler` bytes are added that no deflate makes shorter.
    """
    moment = "2026-11-01T10:04:39.871Z"
    whole = {"_id": task.member, "status": status, "updated_at": moment, **more}
    if filler:
        whole["filler"] = urlsafe_b64encode(os.urandom(filler)).decode()[:filler]
    seen = Observation(
        task_id=task.member,
        status=status,
        updated_at=diff.parse_instant(moment),
        updated_at_text=moment,
        hls_status=whole.get("hls", {}).get("status"),
        system_metadata=whole.get("system_metadata"),
        task=whole,
    )
    change = diff.diff(task.snapshot, seen, now=now)
    assert isinstance(change, Change)
    event = events.event_from(change, task.member, now=now)
    word = await store.registry.commit(task, event, events.snapshot_after(change, event), delay_ms=delay_ms)
    assert word == "ok", word
    return event.id


def drain_once(peer: str, deliveries: int, *, fsync: str = "everysec") -> Drained:
    """A backlog of so many, worked off by one process of this peer."""
    secret = generate_secret(os.urandom(32))
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(fsync=fsync))
        sink = stack.enter_context(Sink(deliveries))
        client = stack.enter_context(Redis.from_url(redis.url))
        if peer in PUMPS:
            asyncio.run(owe(redis.url, sink.port, secret, deliveries))
            send_shift(queue_for(client, "bridge:", "deliver"), "deliver", WITHIN_SECONDS)
        else:
            fill(peer, redis.url, jobs_for(sink.port, secret, deliveries))
        redis_before = redis_seconds(client)
        process = stack.enter_context(working(peer, redis.url))
        sink.wait()
        if peer in PUMPS:
            wait_until_settled(client, deliveries)
        used, redis_used = process_seconds(process.pid), redis_seconds(client) - redis_before
        seen = sink.finish()
    return Drained(
        per_second=(deliveries - 1) / (seen["last"] - seen["first"]),
        cpu_us=used / deliveries * 1e6,
        redis_us=redis_used / deliveries * 1e6,
        lost=deliveries - seen["ids"],
        doubled=seen["requests"] - seen["ids"],
    )


def jobs_for(port: int, secret: str, deliveries: int) -> list[Job]:
    """The same deliveries, as jobs."""
    url, body = f"http://127.0.0.1:{port}/", "x" * BODY_BYTES
    return [(f"{url}{n % ENDPOINTS}", secret, f"evt_{n}", body) for n in range(deliveries)]


@contextmanager
def working(peer: str, redis_url: str) -> Iterator[subprocess.Popen[bytes]]:
    """One process of a peer, for as long as the block lasts."""
    environment = {"PATH": os.environ["PATH"], "BRIDGE_REDIS_URL": redis_url, "TWELVELABS_API_KEY": "tlk_benchmark"}
    environment |= {"BRIDGE_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8", "BRIDGE_DELIVERY_ALLOW_HTTP": "true"}
    command = [sys.executable, "-m", "benchmarks.peers", peer]
    process = subprocess.Popen(
        command,
        cwd=HERE,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()


def redis_seconds(client: "Redis") -> float:
    """CPU time of the server so far."""
    info = client.info("cpu")
    return float(info["used_cpu_sys"]) + float(info["used_cpu_user"])


def wait_until_settled(client: "Redis", deliveries: int) -> None:
    """Wait until Redis, too, knows that everything was delivered."""
    deadline = time.monotonic() + WITHIN_SECONDS
    while sum(client.zcard(f"bridge:done:e{n}") for n in range(ENDPOINTS)) < deliveries:
        if time.monotonic() > deadline:
            raise RuntimeError(f"not settled within {WITHIN_SECONDS:g} s")
        time.sleep(0.02)


class Sink:
    """The receiver, in a process of its own."""

    def __init__(self, deliveries: int) -> None:
        command = [sys.executable, "-m", "benchmarks.sink", str(deliveries)]
        self._process = subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._out = self._process.stdout
        self.port = int(self._out.readline())

    def __enter__(self) -> "Sink":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def wait(self) -> None:
        """Wait until everything has come."""
        if not select.select([self._out], [], [], WITHIN_SECONDS)[0]:
            raise RuntimeError(f"not everything came within {WITHIN_SECONDS:g} s")
        self._out.readline()

    def finish(self) -> dict[str, Any]:
        """End it, and hear what it saw."""
        self._process.send_signal(signal.SIGTERM)
        out, _ = self._process.communicate(timeout=60)
        seen: dict[str, Any] = json.loads(out)
        return seen
