"""What a pending delivery costs of Redis' memory beside its event, which is stored once for all endpoints."""

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_network

from redis import Redis

from benchmarks.drain import FILLER_BYTES, a_commit
from benchmarks.registered import COMPACT, used_memory
from bridge.guard import Policy
from bridge.sandbox.redis import RedisServer
from bridge.signature import generate_secret
from bridge.store import Store
from bridge.store.intake import Intake

TASKS = 5_000
FEW, MANY = 1, 6
"""Endpoints. What an event costs by itself is the same for both, so the difference is what deliveries cost."""
BATCH = 250


@dataclass(frozen=True, slots=True)
class Owed:
    """Deliveries that nobody has attempted yet."""

    deliveries: int
    bytes_for_each: float
    """Record, place in the queue, line of the task."""

    @property
    def figure(self) -> tuple[float, str]:
        """What it is about."""
        return self.bytes_for_each, "bytes"

    def lines(self) -> str:
        """In a person's words."""
        return f"  {self.bytes_for_each:.0f} bytes of Redis for each of {self.deliveries:,} beside the event's body"


def owed(_: float) -> Iterator[tuple[str, Owed]]:
    """5,000 events of 1 KiB, owed to one endpoint, and to six."""
    few, many = (asyncio.run(_memory(endpoints)) for endpoints in (FEW, MANY))
    deliveries = TASKS * (MANY - FEW)
    yield "pending deliveries", Owed(deliveries, (many - few) / deliveries)


async def _memory(endpoints: int) -> int:
    """What so many endpoints, to each of which each event is owed, come to."""
    with RedisServer(fsync="everysec", extra=COMPACT) as redis, Redis.from_url(redis.url) as client:
        async with Store.open(redis.url) as store:
            before = used_memory(client)
            await _fill(store, endpoints)
            assert client.zcard("bridge:queue:e0") == TASKS
            return used_memory(client) - before


async def _fill(store: Store, endpoints: int) -> None:
    for number in range(endpoints):
        definition = {"url": f"http://127.0.0.1:9/{number}", "secret": generate_secret(os.urandom(32))}
        await store.client.hset("bridge:endpoints", f"e{number}", json.dumps(definition))
    policy = Policy(allow_networks=[ip_network("127.0.0.0/8")], allow_http=True)
    for start in range(0, TASKS, BATCH):
        ids = {sha256(str(number).encode()).hexdigest()[:24]: 0 for number in range(start, start + BATCH)}
        await store.client.zadd("bridge:tasks", ids, nx=True)
        await Intake(store, policy, has_default_secret=False).run()
        await store.registry.reload_endpoints()
        claim = await store.registry.claim_tasks(BATCH, lease_ms=60_000)
        await asyncio.gather(*(a_commit(store, task, claim.now, filler=FILLER_BYTES) for task in claim.tasks))
