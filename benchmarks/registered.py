"""What registered tasks cost that have long ended: memory, and the time of a claim of those that have not."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from redis import Redis

from benchmarks.drain import a_commit
from bridge.guard import Policy
from bridge.model import WatchedTask
from bridge.sandbox.redis import RedisServer
from bridge.store import Store
from bridge.store.intake import Intake

ACTIVE = 1_000
REGISTERED = 100_000
CLAIMS = 2_000
SLOTS = 50
BATCH = 500
FAR_MS = 100_000_000
CREATED_AT = "2026-11-01T10:00:00.104Z"
COMPACT = ("--hash-max-ziplist-value", "2048")
"""As in config/redis.conf."""


@dataclass(frozen=True, slots=True)
class Registered:
    """So many registered tasks, a thousand of which are active."""

    tasks: int
    bytes_for_each: float
    """Of Redis' memory, snapshot and current event included."""
    claims_ms: list[float]

    @property
    def figure(self) -> tuple[float, str]:
        """What it is about."""
        return self.bytes_for_each, "bytes"

    def lines(self) -> str:
        """In a person's words."""
        ordered = sorted(self.claims_ms)
        times = ", ".join(f"p{share * 100:g} {ordered[int(len(ordered) * share)]:.2f} ms" for share in (0.5, 0.99))
        return f"  {self.bytes_for_each:.0f} bytes of Redis for each; a claim of {SLOTS}: {times}"


def registered(_: float) -> Iterator[tuple[str, Registered]]:
    """A thousand active tasks alone, then the same beside 99,000 that have ended."""
    for tasks in (ACTIVE, REGISTERED):
        with RedisServer(fsync="everysec", extra=COMPACT) as redis:
            yield f"{tasks:,} registered tasks, {ACTIVE:,} of them active", asyncio.run(_measure(redis.url, tasks))


async def _measure(url: str, tasks: int) -> Registered:
    async with Store.open(url) as store:
        with Redis.from_url(url) as client:
            before = used_memory(client)
            await _fill(store, tasks)
            each = (used_memory(client) - before) / tasks
        claims = []
        for _ in range(CLAIMS):
            active = [_id("task", number) for number in range(ACTIVE)]
            await store.client.zadd("bridge:watch", dict.fromkeys(active, 0), xx=True)
            began = time.perf_counter()
            claim = await store.registry.claim_tasks(SLOTS, lease_ms=20_000)
            claims.append((time.perf_counter() - began) * 1000)
            assert len(claim.tasks) == SLOTS
        return Registered(tasks, each, claims)


async def _fill(store: Store, tasks: int) -> None:
    """Have every task seen once; all but the first thousand have ended by then."""
    for start in range(0, tasks, BATCH):
        numbers = range(start, min(start + BATCH, tasks))
        await store.client.zadd("bridge:tasks", {_id("task", number): 0 for number in numbers}, nx=True)
        await Intake(store, Policy(), has_default_secret=False).run()
        claim = await store.registry.claim_tasks(BATCH, lease_ms=60_000)
        known = {_id("task", number): number for number in numbers}
        await asyncio.gather(*(_see(store, task, known[task.member], claim.now) for task in claim.tasks))


async def _see(store: Store, task: WatchedTask, number: int, now: int) -> None:
    more = {"index_id": _id("index", number // 1_000), "video_id": _id("video", number), "created_at": CREATED_AT}
    if number < ACTIVE:
        await a_commit(store, task, now, status="indexing", delay_ms=FAR_MS, more=more)
    else:
        await a_commit(store, task, now, status="ready", delay_ms=-1, more=more | _measured(number))


def _measured(number: int) -> dict[str, Any]:
    """What upstream's object of a task that is ready says beside, as long as it is there."""
    stream = _id("stream", number)
    return {
        "system_metadata": {"filename": f"take-{number}.mp4", "duration": number / 16, "width": 1920, "height": 1080},
        "hls": {
            "video_url": f"https://cdn.example.test/stream/{stream}.m3u8",
            "thumbnail_urls": [f"https://cdn.example.test/thumb/{stream}.0000001.jpg"],
            "status": "COMPLETE",
            "updated_at": f"2026-11-01T10:06:{number % 60:02d}.{number % 1000:03d}Z",
        },
    }


def _id(kind: str, number: int) -> str:
    """An id as upstream makes them: 24 hexadecimal digits."""
    return sha256(f"{kind}{number}".encode()).hexdigest()[:24]


def used_memory(client: "Redis") -> int:
    """What Redis has allocated, in bytes."""
    return int(client.info("memory")["used_memory"])
