"""`python worker.py` as a process, and the town it works in: a Redis, an upstream and a receiver of our own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from redis import Redis
from until import until

from bridge.sandbox.receiver import Receiver
from bridge.sandbox.redis import RedisServer
from bridge.sandbox.timeline import Step
from bridge.sandbox.twelvelabs import Simulator
from bridge.signature import generate_secret

HERE = Path(__file__).resolve().parent.parent
SECRET = generate_secret(bytes(range(32)))
DEADLINE = 3.0
"""The deadline of reads and attempts here, in seconds."""


class Running:
    """`python worker.py` and what it says."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log = process, log

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def said(self, event: str) -> list[dict[str, Any]]:
        """The log lines of one event."""
        found = []
        for line in self.log.splitlines():
            if line.startswith("{"):
                entry = json.loads(line)
                if entry.get("event") == event:
                    found.append(entry)
        return found

    def children(self, kind: str = "") -> list[int]:
        """The pids of its worker processes."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(stat.read_text().rpartition(") ")[2].split()[1])
                words = (stat.parent / "cmdline").read_text().split("\0")
            except OSError:
                continue
            if parent == self.process.pid and (not kind or kind in words[-2:]):
                found.append(int(stat.parent.name))
        return found

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.process.terminate()
        return self.process.wait(30)  # a busy machine is slow; that it ends, and how, is what counts


@contextmanager
def worker(
    redis_url: str, folder: Path, *words: str, base_url: str = "http://127.0.0.1:9/v1.3", **settings: str
) -> Iterator[Running]:
    """`python worker.py <words>` in an environment of its own."""
    environment = {
        "PATH": os.environ["PATH"],
        "BRIDGE_REDIS_URL": redis_url,
        "BRIDGE_TWELVELABS_BASE_URL": base_url,
        "TWELVELABS_API_KEY": "tlk_sandbox",
        "BRIDGE_POLL_INTERVAL_SECONDS": "0.2",
        "BRIDGE_POLL_DEADLINE_SECONDS": str(DEADLINE),
        "BRIDGE_DELIVERY_DEADLINE_SECONDS": str(DEADLINE),
        "BRIDGE_DELIVERY_LEASE_SECONDS": "8",
        "BRIDGE_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8",
        "BRIDGE_DELIVERY_ALLOW_HTTP": "true",
        "BRIDGE_LOG_FORMAT": "json",
        **settings,
    }
    environment = {name: value for name, value in environment.items() if value}
    log = folder / "worker.log"
    with log.open("ab") as output:
        command = [sys.executable, "-X", "faulthandler", str(HERE / "worker.py"), *words]
        process = subprocess.Popen(command, cwd=HERE, env=environment, stdout=output, stderr=output)
    running = Running(process, log)
    orphans: list[int] = []
    try:
        yield running
    finally:
        if process.poll() is None:
            orphans = running.children()
            process.kill()
            process.wait()
        until(lambda: not any(alive(pid) for pid in orphans), timeout_seconds=30)
    raw = ["Fatal Python error", "Segmentation fault"]
    if settings.get("BRIDGE_LOG_FORMAT") != "console":  # there a fault that was logged looks like that too
        raw.append("Traceback (most recent call last)")
    for trouble in raw:
        assert f"\n{trouble}" not in f"\n{running.log}", running.log


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


class Town:
    """A Redis, an upstream whose one task changes when told, and a receiver."""

    def __init__(self, redis: RedisServer, simulator: Simulator, receiver: Receiver, folder: Path) -> None:
        self.redis, self.simulator, self.receiver, self.folder = redis, simulator, receiver, folder
        self.steps = 0

    def settle_in(self) -> None:
        """Register the endpoint and the task, by hand."""
        self.simulator.add_task("t1", timeline=(Step(0.0, {"status": "indexing"}),))
        with Redis.from_url(self.redis.url) as client:
            definition = {"url": f"{self.receiver.url}/hook", "secret": SECRET}
            client.hset("bridge:endpoints", "mine", json.dumps(definition))
            client.zadd("bridge:tasks", {"t1": 0}, nx=True)

    def change(self) -> int:
        """Change the task upstream; the number of the change."""
        self.steps += 1
        self.simulator.change("t1", {"system_metadata": {"step": self.steps}}, touch=True)
        return self.steps

    def arrived(self, step: int) -> bool:
        """Whether this change has reached the receiver."""
        return any(self.step_of(arrival) == step for arrival in self.receiver.valid)

    @staticmethod
    def step_of(arrival: Any) -> int:
        task = arrival.data.get("task") or {}
        return int((task.get("system_metadata") or {}).get("step", 0))

    def round_trip(self, timeout_seconds: float = 20.0) -> None:
        """A change upstream reaches the receiver."""
        step = self.change()
        until(lambda: self.arrived(step), timeout_seconds)

    def worker(self, *words: str, redis_url: str = "", **settings: str) -> AbstractContextManager[Running]:
        """`python worker.py` in this town."""
        return worker(redis_url or self.redis.url, self.folder, *words, base_url=self.simulator.base_url, **settings)


@contextmanager
def a_town(folder: Path, *, fsync: str = "everysec") -> Iterator[Town]:
    """A town with its endpoint and its task registered; no worker runs yet."""
    simulator, receiver = Simulator(), Receiver(SECRET)
    with RedisServer(fsync=fsync) as redis, simulator.in_thread(), receiver.in_thread():
        town = Town(redis, simulator, receiver, folder)
        town.settle_in()
        yield town
