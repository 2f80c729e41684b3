"""How soon a committed change arrives, at a fixed rate of commits: from nearly idle to more than it can take."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, cast

from redis import Redis

from benchmarks.drain import ENDPOINTS, FILLER_BYTES, ROUNDS, Sink, a_commit, watched
from benchmarks.stage import start_worker
from bridge.model import WatchedTask
from bridge.sandbox.redis import RedisServer
from bridge.signature import generate_secret
from bridge.store import Store

RATES = (1, 100, 500, 2_000)
"""Events a second."""
FSYNC = ("everysec", "always", "no")
UP_WITHIN_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Paced:
    """One run, in milliseconds."""

    arrivals: Sequence[float]
    """From before the commit was sent to Redis until the receiver had the request."""
    posts: Sequence[float]
    """Of each attempt: from its request to its answer."""
    lost: int
    doubled: int

    @property
    def figure(self) -> tuple[float, str]:
        """What it is about."""
        return quantile(self.arrivals, 0.99), "ms, p99"

    def lines(self) -> str:
        """In a person's words."""
        times = "  ".join(f"p{share * 100:g} {quantile(self.arrivals, share):.1f}" for share in (0.5, 0.99, 1.0))
        posts = ", ".join(f"p{share * 100:g} {quantile(self.posts, share):.1f}" for share in (0.5, 0.99))
        return f"  commit to arrival, ms: {times}; the POST alone: {posts}; lost {self.lost}, doubled {self.doubled}"


def quantile(numbers: Sequence[float], share: float) -> float:
    """One of the numbers: the one that so many are not above."""
    ordered = sorted(numbers)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def rate(seconds: float) -> Iterator[tuple[str, Paced | None]]:
    """Events of 1 KiB at 1, 100, 500 and 2,000 a second to 20 endpoints, one deliver process, each way to fsync."""
    results: dict[tuple[int, str], list[Paced]] = {}
    for number in range(1, ROUNDS + 1):
        for per_second in RATES:
            for fsync in FSYNC:
                result = paced(per_second, seconds, fsync)
                results.setdefault((per_second, fsync), []).append(result)
                yield f"{per_second:,} events/s, fsync {fsync}, round {number}", result
    for (per_second, fsync), rounds in results.items():
        middle, worst = (median(quantile(one.arrivals, share) for one in rounds) for share in (0.5, 0.99))
        yield f"{per_second:,} events/s, fsync {fsync}: p50 {middle:.1f} ms, p99 {worst:.1f} ms", None


def paced(per_second: int, seconds: float, fsync: str) -> Paced:
    """One run: the worker is up, the tasks are registered and leased, then commits come one by one."""
    total, secret = int(per_second * seconds), generate_secret(os.urandom(32))
    with RedisServer(fsync=fsync) as redis, Sink(total) as sink, Redis.from_url(redis.url) as client:
        worker = start_worker(redis.url, "http://127.0.0.1:9/v1.3", {}, role="deliver")
        try:
            _wait_until_up(client)
            committed = asyncio.run(_commit(redis.url, sink.port, secret, total, per_second))
            sink.wait()
        finally:
            worker.send_signal(signal.SIGTERM)
            worker.wait(timeout=60)
        seen = sink.finish()
        return Paced(
            arrivals=[(seen["at"][event] - at) * 1000 for event, at in committed.items()],
            posts=list(_posts(client, list(committed))),
            lost=total - seen["ids"],
            doubled=seen["requests"] - seen["ids"],
        )


async def _commit(url: str, receiver: int, secret: str, total: int, per_second: int) -> dict[str, float]:
    """When each event's commit was sent, by its id."""
    committed: dict[str, float] = {}

    async def one(task: WatchedTask, now: int) -> None:
        began = time.monotonic()
        committed[await a_commit(store, task, now, filler=FILLER_BYTES)] = began

    async with Store.open(url) as store, asyncio.TaskGroup() as group:
        batches = [batch async for batch in watched(store, receiver, secret, total)]
        leased = [(task, now) for batch, now in batches for task in batch]
        began = time.monotonic()
        for number, (task, now) in enumerate(leased):
            await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
            group.create_task(one(task, now))
    return committed


def _wait_until_up(client: "Redis") -> None:
    """Until a shift runs; one that is only sent has a ticket."""
    deadline = time.monotonic() + UP_WITHIN_SECONDS
    while time.monotonic() < deadline:
        names = cast(list[bytes], client.zrange("bridge:shifts:deliver", 0, -1))
        if any(not name.startswith(b"ticket:") for name in names):
            return
        time.sleep(0.05)
    raise RuntimeError(f"no shift within {UP_WITHIN_SECONDS:g} s")


def _posts(client: "Redis", events: Sequence[str]) -> Iterator[float]:
    for event in events:
        for endpoint in range(ENDPOINTS):
            for text in cast(list[Any], client.lrange(f"bridge:attempts:e{endpoint}:{event}", 0, -1)):
                yield json.loads(text)["total_ms"]
