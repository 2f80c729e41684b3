"""What watching costs and how soon it tells: the bridge, the official SDK's `wait_for_done` in a thread per task, and
an RQ job for each read.

All watch the same simulated videos, whose states last tens of seconds, every five seconds.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from redis import Redis

from benchmarks import jobs_per_poll
from benchmarks.stage import HERE, start_worker
from bridge.sandbox.receiver import Receiver
from bridge.sandbox.redis import RedisServer
from bridge.sandbox.timeline import Step, a_timeline
from bridge.sandbox.twelvelabs import API_KEY, Simulator
from bridge.signature import generate_secret

INTERVAL_SECONDS = 5.0
TASKS = (100, 1_000)


@dataclass(frozen=True, slots=True)
class Watched:
    """One run: requests by what they were for, and how long after a change it was known (seconds)."""

    tasks: int
    pages: int
    by_id: int
    ends: int
    minutes: float
    latencies: list[float]

    @property
    def figure(self) -> tuple[float, str]:
        """What it is about."""
        return (self.pages + self.by_id - self.ends) / self.minutes, "requests/min"

    def lines(self) -> str:
        """The run in one line."""
        rate = self.figure[0] / self.tasks
        middle = median(self.latencies) if self.latencies else float("nan")
        worst = sorted(self.latencies)[int(len(self.latencies) * 0.99)] if self.latencies else float("nan")
        return (
            f"  {self.pages} pages, {self.by_id} reads by id for {self.ends} ends, in {self.minutes:.1f} min: "
            f"{rate:.3f} requests a task and minute beside one an end; told after p50 {middle:.2f} s, p99 {worst:.2f} s"
        )


def lives(tasks: int, seed: int) -> list[tuple[Step, ...]]:
    """Timelines of tasks in the middle of things: states of 20 to 90 s, no end in the first minute."""
    chance = random.Random(seed)
    return [
        a_timeline(
            validating=chance.uniform(20, 40), pending=chance.uniform(20, 40), queued=chance.uniform(20, 60),
            indexing=chance.uniform(30, 90),
        )
        for _ in range(tasks)
    ]  # fmt: skip


def by_the_bridge(tasks: int, seconds: float) -> Watched:
    """`python worker.py` with its defaults; counted from when every task has been seen."""
    simulator, receiver, secret = Simulator(), Receiver(reject_invalid=False), generate_secret(os.urandom(32))
    with RedisServer() as redis, simulator.in_thread(), receiver.in_thread(), Redis.from_url(redis.url) as client:
        members = [simulator.add_task(timeline=life) for life in lives(tasks, 1)]
        client.hset("bridge:endpoints", "all", json.dumps({"url": f"{receiver.url}/hook", "secret": secret}))
        client.zadd("bridge:tasks", dict.fromkeys(members, 0))
        settings = {"BRIDGE_POLL_INTERVAL_SECONDS": str(INTERVAL_SECONDS), "TWELVELABS_API_KEY": API_KEY}
        settings["BRIDGE_TWELVELABS_STRATEGY"] = "auto"
        worker = start_worker(redis.url, simulator.base_url, settings)
        try:
            while len({one.task_id for one in list(receiver.arrivals)}) < tasks:
                time.sleep(0.05)
            time.sleep(4 * INTERVAL_SECONDS)
            before, heard, began = len(simulator.requests), len(receiver.arrivals), time.monotonic()
            time.sleep(seconds)
            asked = [one.path for one in list(simulator.requests)[before:]]
            arrivals = list(receiver.arrivals)[heard:]
            minutes = (time.monotonic() - began) / 60
        finally:
            worker.send_signal(signal.SIGTERM)
            worker.wait(timeout=60)
    pages = sum(path.endswith("/tasks") for path in asked)
    ahead = time.time() - time.monotonic()
    late = [one.at + ahead - _seconds(one.data["updated_at"]) for one in arrivals if "status" in one.data["changed"]]
    ends = sum(one.status in {"ready", "failed"} for one in arrivals)
    return Watched(tasks, pages, len(asked) - pages, ends, minutes, late)


def by_the_sdk(tasks: int, seconds: float) -> Watched:
    """A thread for each task, in `wait_for_done` with its default interval; told at the callback of each read."""
    from twelvelabs import TwelveLabs

    simulator, late, ends = Simulator(), list[float](), list[str]()
    stop = threading.Event()

    def follow(member: str) -> None:
        known = [""]

        def tell(task: object) -> None:
            if stop.is_set():
                raise SystemExit
            status, moment = str(getattr(task, "status", "")), str(getattr(task, "updated_at", ""))
            if known[0] and status != known[0]:
                late.append(time.time() - _seconds(moment))
            known[0] = status

        sdk.tasks.wait_for_done(member, sleep_interval=INTERVAL_SECONDS, callback=tell)  # type: ignore[attr-defined]
        ends.append(member)

    with simulator.in_thread():
        sdk = TwelveLabs(api_key=API_KEY, base_url=simulator.base_url)
        members = [simulator.add_task(timeline=life) for life in lives(tasks, 1)]
        threads = [threading.Thread(target=follow, args=(member,), daemon=True) for member in members]
        for thread in threads:
            thread.start()
        time.sleep(2 * INTERVAL_SECONDS)
        before, began, known = len(simulator.requests), time.monotonic(), len(late)
        time.sleep(seconds)
        asked, minutes = len(simulator.requests) - before, (time.monotonic() - began) / 60
        told, ended = late[known:], len(ends)
        stop.set()
        for thread in threads:
            thread.join(timeout=2 * INTERVAL_SECONDS)
    return Watched(tasks, 0, asked, ended, minutes, told)


def by_jobs(tasks: int, seconds: float) -> Watched:
    """An RQ job for each read, by one SimpleWorker; told when its job has seen it."""
    simulator = Simulator()
    with RedisServer() as redis, simulator.in_thread(), Redis.from_url(redis.url) as client:
        members = [simulator.add_task(timeline=life) for life in lives(tasks, 1)]
        environment = {"PATH": os.environ["PATH"], "BRIDGE_REDIS_URL": redis.url}
        command = [sys.executable, "-m", "benchmarks.jobs_per_poll"]
        worker = subprocess.Popen(command, cwd=HERE, env=environment, stderr=subprocess.DEVNULL)
        loop = jobs_per_poll.Loop(redis.url, simulator.base_url, members, INTERVAL_SECONDS)
        loop.start()
        try:
            time.sleep(2 * INTERVAL_SECONDS)
            while client.hlen(jobs_per_poll.STATES) < tasks:
                time.sleep(0.05)
            before, began, heard = len(simulator.requests), time.monotonic(), client.llen(jobs_per_poll.TOLD)
            time.sleep(seconds)
            asked, minutes = len(simulator.requests) - before, (time.monotonic() - began) / 60
            told = [line.decode().split(" ") for line in client.lrange(jobs_per_poll.TOLD, heard, -1)]
        finally:
            loop.stop()
            worker.send_signal(signal.SIGTERM)
            worker.wait(timeout=60)
    late = [float(at) - _seconds(moment) for at, moment, _ in told if at]
    return Watched(tasks, 0, asked, sum(status in jobs_per_poll.TERMINAL for _, _, status in told), minutes, late)


def watching(seconds: float) -> Iterator[tuple[str, Watched]]:
    """The cost of watching, side by side."""
    for tasks in TASKS:
        for name, watch in (("bridge", by_the_bridge), ("SDK wait_for_done", by_the_sdk), ("RQ jobs", by_jobs)):
            yield f"{tasks} tasks, {name}", watch(tasks, seconds)


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
