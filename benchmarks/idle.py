"""What a bridge costs that has nothing to do: commands, CPU, memory; with an empty Redis, and with a long past."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from benchmarks.drain import owe, redis_seconds
from benchmarks.stage import children, process_seconds, start_worker
from bridge.sandbox.redis import RedisServer
from bridge.signature import generate_secret

PAST = 100_000
"""Finished tasks, each with a delivery that was made."""
SETTLE_SECONDS = 15.0
"""After its start a worker takes stock once; that is not what it costs to be idle."""


@dataclass(frozen=True, slots=True)
class Idle:
    """What one stretch of idling cost."""

    commands_per_second: float
    """Of all clients."""
    inside_per_second: float
    """What their scripts run beside that."""
    core_percent: float
    """Of one core, all processes of the bridge together."""
    redis_percent: float
    resident_mib: list[float]
    """Of `worker.py`, and of its children."""

    @property
    def figure(self) -> tuple[float, str]:
        """What it is about."""
        return self.commands_per_second, "commands/s"

    def lines(self) -> str:
        """In a person's words."""
        commands = f"{self.commands_per_second:.1f} commands/s, {self.inside_per_second:.1f} more inside scripts"
        cpu = f"{self.core_percent:.2f} % of a core, Redis {self.redis_percent:.2f} %"
        return f"  {commands}; {cpu}; resident {', '.join(f'{size:.0f}' for size in self.resident_mib)} MiB"


def idle(seconds: float) -> Iterator[tuple[str, Idle | None]]:
    """`worker.py` with an endpoint and nothing to do, then the same after 100,000 tasks that have ended."""
    for past in (0, PAST):
        with ExitStack() as stack:
            redis = stack.enter_context(RedisServer(fsync="everysec"))
            client = stack.enter_context(Redis.from_url(redis.url))
            asyncio.run(owe(redis.url, 9, generate_secret(os.urandom(32)), past, endpoints=1))
            _finish(client)
            worker = start_worker(redis.url, "http://127.0.0.1:9/v1.3", {"BRIDGE_POLL_INTERVAL_SECONDS": "5"})
            stack.callback(worker.wait, 60)
            stack.callback(worker.send_signal, signal.SIGTERM)
            time.sleep(SETTLE_SECONDS)
            yield f"idle after {past:,} tasks", _measure(redis.url, worker.pid, seconds)


def _finish(client: "Redis") -> None:
    """Make of what is owed what has been delivered: it is the past that is wanted, not the sending."""
    for event, record in client.hscan_iter("bridge:deliveries:e0", count=1_000):
        ended = {**json.loads(record), "state": "delivered", "attempts": 1, "ended": int(time.time() * 1000)}
        client.hset("bridge:deliveries:e0", event, json.dumps(ended))
        client.zadd("bridge:done:e0", {event: ended["ended"]})
    client.delete("bridge:queue:e0", "bridge:ready")


def _measure(url: str, supervisor: int, seconds: float) -> Idle:
    family = [supervisor, *children(supervisor)]
    with Redis.from_url(url) as client:
        used, server, began = sum(map(process_seconds, family)), redis_seconds(client), time.monotonic()
        by_clients, by_scripts = _commands(url, began + seconds)
        passed = time.monotonic() - began
        return Idle(
            commands_per_second=by_clients / passed,
            inside_per_second=by_scripts / passed,
            core_percent=(sum(map(process_seconds, family)) - used) / passed * 100,
            redis_percent=(redis_seconds(client) - server) / passed * 100,
            resident_mib=[_resident(pid) for pid in family],
        )


def _commands(url: str, until: float) -> tuple[int, int]:
    """How many commands clients send until then, and how many scripts run inside."""
    by_clients = by_scripts = 0
    with Redis.from_url(url) as client, client.monitor() as monitor:
        while time.monotonic() < until:  # shifts beat once a second, so that there is always a next one
            inside = monitor.next_command()["client_type"] == "lua"
            by_scripts += inside
            by_clients += not inside
    return by_clients, by_scripts


def _resident(pid: int) -> float:
    """MiB of memory that a process holds, where /proc tells."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024
