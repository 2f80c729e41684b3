"""One run of the whole bridge, as `python worker.py`, between an upstream and a receiver it has never seen."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from redis import Redis

from benchmarks.actors import task_id
from bridge.sandbox.redis import RedisServer
from bridge.signature import generate_secret

HERE = Path(__file__).resolve().parent.parent
WARM_UP_SECONDS = 5.0
"""Arrivals of what was served earlier are checked, but not timed: a thousand first sights at once are not the load."""


class Actor:
    """An actor's process."""

    def __init__(self, role: str, **options: object) -> None:
        command = [sys.executable, "-m", "benchmarks.actors", role, json.dumps(options)]
        self.process = subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def finish(self) -> dict[str, Any]:
        """End it, and hear what it saw."""
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=60)
        return cast(dict[str, Any], json.loads(out))


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to. Latencies in milliseconds, from "served to us" to "arrived"."""

    requests_per_second: float
    served: int
    arrived: int
    lost: int
    invented: int
    doubled: int
    out_of_order: int
    unverified: int
    latencies: Sequence[float]
    stopped_with: int
    cpu_seconds: dict[str, float]

    def quantile(self, share: float) -> float:
        """A latency quantile."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")

    @property
    def figure(self) -> tuple[float, str]:
        """What it is about."""
        return self.quantile(0.5), "ms, p50"

    def lines(self) -> str:
        """In a person's words."""
        counts = f"served {self.served}, lost {self.lost}, invented {self.invented}, doubled {self.doubled}, "
        counts += f"out of order {self.out_of_order}, unverified {self.unverified}"
        times = "  ".join(f"p{share * 100:g} {self.quantile(share):.1f}" for share in (0.5, 0.9, 0.99, 1.0))
        cpu = ", ".join(f"{kind} {seconds:.1f} s" for kind, seconds in sorted(self.cpu_seconds.items()))
        rest = f"CPU: {cpu}; worker.py ended with {self.stopped_with}"
        return f"  {self.requests_per_second:.0f} reads/s, {counts}; ms: {times}\n  {rest}"


def run(
    *,
    tasks: int,
    changes_per_second: float,
    seconds: float,
    endpoints: Mapping[str, Mapping[str, object]],
    fsync: str = "always",
    settings: dict[str, str] | None = None,
) -> Result:
    """Run the bridge for so long. An endpoint's `path` is where it listens at the receiver."""
    secret = generate_secret(os.urandom(32))
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(fsync=fsync))
        upstream = Actor("upstream", tasks=tasks, changes_per_second=changes_per_second)
        receiver = Actor("receiver", secret=secret)
        for actor in (upstream, receiver):
            stack.callback(actor.process.kill)  # no more than a word to one that has ended
        client = stack.enter_context(Redis.from_url(redis.url))
        worker = start_worker(redis.url, f"http://127.0.0.1:{upstream.port}/v1.3", settings or {})
        try:
            for name, definition in endpoints.items():
                fields = {key: value for key, value in definition.items() if key != "path"}
                url = f"http://127.0.0.1:{receiver.port}{definition['path']}"
                client.hset("bridge:endpoints", name, json.dumps({"url": url, "secret": secret, **fields}))
            client.zadd("bridge:tasks", {task_id(number): 0 for number in range(tasks)}, nx=True)
            _wait_until_working(client, worker)
            began = time.monotonic()
            time.sleep(seconds)
            cpu = _cpu_seconds(worker.pid)
            served = upstream.finish()
            _wait_until_drained(client, [name for name in endpoints if not name.startswith("hang")])
        finally:
            worker.send_signal(signal.SIGTERM)
            stopped_with = worker.wait(timeout=60)
        served["served"] = [fact for fact in served["served"] if _answers(endpoints, fact[0])]
        return _judge(served, receiver.finish(), began, seconds, stopped_with, cpu)


def _answers(endpoints: Mapping[str, Mapping[str, object]], task: str) -> bool:
    """Whether some endpoint that answers is owed this task's changes."""
    return any(
        task in cast(Sequence[str], definition.get("tasks", [task]))
        for name, definition in endpoints.items()
        if not name.startswith("hang")
    )


def start_worker(
    redis_url: str, base_url: str, settings: dict[str, str], *, role: str = "all"
) -> subprocess.Popen[bytes]:
    """`python worker.py` in an environment of its own: reads each task once a second, loopback callbacks allowed."""
    environment = {
        "PATH": os.environ["PATH"],
        "BRIDGE_REDIS_URL": redis_url,
        "BRIDGE_TWELVELABS_BASE_URL": base_url,
        "TWELVELABS_API_KEY": "tlk_benchmark",
        "BRIDGE_POLL_INTERVAL_SECONDS": "1",
        "BRIDGE_TWELVELABS_STRATEGY": "retrieve",
        "BRIDGE_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8",
        "BRIDGE_DELIVERY_ALLOW_HTTP": "true",
        **settings,
    }
    return subprocess.Popen([sys.executable, "worker.py", role], cwd=HERE, env=environment, stderr=subprocess.DEVNULL)


def _wait_until_working(client: "Redis", worker: subprocess.Popen[bytes]) -> None:
    """Wait until the first change is committed, at most a minute: a run begins with the work."""
    deadline = time.monotonic() + 60
    while not client.exists("bridge:events"):
        if time.monotonic() > deadline or worker.poll() is not None:
            raise RuntimeError(f"the worker commits nothing; it ended with {worker.poll()}")
        time.sleep(0.02)


def _wait_until_drained(client: "Redis", endpoints: Sequence[str]) -> None:
    """Wait until nothing is owed to these endpoints, at most ten seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        owed = [client.zcard(f"bridge:{kind}:{name}") for name in endpoints for kind in ("queue", "leases")]
        if not any(owed):
            return
        time.sleep(0.05)


def _cpu_seconds(supervisor: int) -> dict[str, float]:
    """CPU time of the worker processes so far, where /proc tells."""
    return {_role(pid): process_seconds(pid) for pid in children(supervisor)}


def children(supervisor: int) -> list[int]:
    """The processes that `worker.py` has started, where /proc tells."""
    try:
        return [int(pid) for pid in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()]
    except OSError:
        return []


def _role(pid: int) -> str:
    """`poll` or `deliver`."""
    return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").rpartition("\0")[2]


def process_seconds(pid: int) -> float:
    """CPU time of a process so far; 0 where /proc does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _judge(
    upstream: dict[str, Any], receiver: dict[str, Any], began: float, seconds: float, stopped_with: int, cpu: Any
) -> Result:
    served = {(task, status, moment): at for task, status, moment, at in upstream["served"]}
    arrived: dict[tuple[str, str, str], float] = {}
    revisions: dict[tuple[str, str], int] = {}
    doubled = out_of_order = 0
    latencies = []
    for at, path, task, status, moment, revision in receiver["arrived"]:
        fact = (task, status, moment)
        doubled += fact in arrived
        arrived[fact] = at
        out_of_order += revisions.get((path, task), 0) >= revision
        revisions[path, task] = revision
        if fact in served and served[fact] > began + WARM_UP_SECONDS:
            latencies.append((at - served[fact]) * 1000)
    return Result(
        requests_per_second=upstream["requests"] / seconds,
        served=len(served),
        arrived=len(receiver["arrived"]),
        lost=len(served.keys() - arrived.keys()),
        invented=len(arrived.keys() - served.keys()),
        doubled=doubled,
        out_of_order=out_of_order,
        unverified=receiver["bad"],
        latencies=latencies,
        stopped_with=stopped_with,
        cpu_seconds=cpu,
    )
