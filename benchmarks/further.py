"""Deliveries in other shapes: one event to many, two processes, a process killed in the middle, and the ceiling."""

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from tempfile import NamedTemporaryFile
from typing import cast

import httptools
import uvloop
from redis import Redis

from benchmarks.drain import ROUNDS, Sink, a_commit, owe, wait_until_settled, watched
from benchmarks.stage import children, start_worker
from bridge.sandbox.redis import RedisServer
from bridge.signature import generate_secret
from bridge.store import Store

BACKLOG = 20_000
MANY = 1_000
CONNECTIONS = 64
SECONDS = 5.0
Line = tuple[str, "Rate | Spread | None"]


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a second."""

    per_second: float
    unit: str
    lost: int = 0
    doubled: int = 0

    @property
    def figure(self) -> tuple[float, str]:
        """What it is about."""
        return self.per_second, self.unit

    def lines(self) -> str:
        """In a person's words."""
        return f"  {self.per_second:,.0f} {self.unit}; lost {self.lost}, doubled {self.doubled}"


@dataclass(frozen=True, slots=True)
class Spread:
    """How long one event took to its first and to its last endpoint, in milliseconds."""

    first: float
    last: float

    @property
    def figure(self) -> tuple[float, str]:
        """What it is about."""
        return self.last, "ms"

    def lines(self) -> str:
        """In a person's words."""
        return f"  the first endpoint has it after {self.first:.0f} ms, the last after {self.last:.0f} ms"


def fan_out(_: float) -> Iterator[Line]:
    """One event of 1 KiB to 1,000 endpoints, from before its commit."""
    for number in range(1, ROUNDS + 1):
        with RedisServer(fsync="everysec") as redis, Sink(MANY) as sink:
            worker = start_worker(redis.url, "http://127.0.0.1:9/v1.3", {}, role="deliver")
            try:
                began = asyncio.run(_tell_all(redis.url, sink.port))
                sink.wait()
            finally:
                worker.send_signal(signal.SIGTERM)
                worker.wait(timeout=60)
            seen = sink.finish()
        yield (
            f"one event to {MANY:,} endpoints, round {number}",
            Spread((seen["first"] - began) * 1000, (seen["last"] - began) * 1000),
        )


async def _tell_all(url: str, receiver: int) -> float:
    async with Store.open(url) as store:
        secret = generate_secret(os.urandom(32))
        async for (task,), now in watched(store, receiver, secret, 1, MANY, tasks="*"):
            await asyncio.sleep(3)  # the worker has started, and taken note of its endpoints
            began = time.monotonic()
            await a_commit(store, task, now, filler=560)
    return began


def workers(_: float) -> Iterator[Line]:
    """A backlog drained by one deliver process, and by two."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for number in range(1, ROUNDS + 1):
        for processes in rates:
            result = _drained(processes)
            rates[processes].append(result.per_second)
            yield f"{processes} deliver process{'es' * (processes > 1)}, round {number}", result
    ratio = median(two / one for one, two in zip(rates[1], rates[2], strict=True))
    yield f"two processes send {ratio:.2f} times what one does", None


def killed(_: float) -> Iterator[Line]:
    """The same, and the deliver process is killed with -9 at a third of it."""
    for number in range(1, ROUNDS + 1):
        yield f"kill -9 at a third, round {number}", _drained(1, kill=True)


def _drained(processes: int, *, kill: bool = False) -> Rate:
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(fsync="everysec"))
        sink = stack.enter_context(Sink(BACKLOG))
        client = stack.enter_context(Redis.from_url(redis.url))
        asyncio.run(owe(redis.url, sink.port, generate_secret(os.urandom(32)), BACKLOG))
        settings = {"BRIDGE_DELIVERY_WORKERS": str(processes)}
        worker = start_worker(redis.url, "http://127.0.0.1:9/v1.3", settings, role="deliver")
        try:
            if kill:
                _kill_at(client, BACKLOG // 3, worker.pid)
            sink.wait()
            wait_until_settled(client, BACKLOG)
        finally:
            worker.send_signal(signal.SIGTERM)
            worker.wait(timeout=60)
        seen = sink.finish()
    rate = (BACKLOG - 1) / (seen["last"] - seen["first"])
    return Rate(rate, "deliveries/s", BACKLOG - seen["ids"], seen["requests"] - seen["ids"])


def _kill_at(client: "Redis", settled: int, supervisor: int) -> None:
    deadline = time.monotonic() + 60
    while int(client.hget("bridge:stats", "attempts") or 0) < settled:
        if time.monotonic() > deadline:
            raise RuntimeError("the worker delivers nothing")
        time.sleep(0.005)
    for child in children(supervisor):
        os.kill(child, signal.SIGKILL)


def ceiling(_: float) -> Iterator[Line]:
    """What the receiver takes at most on this machine: a client that does nothing but POST, and wrk where it is."""
    for number in range(1, ROUNDS + 1):
        with Sink(0) as sink:
            yield f"uvloop and httptools, round {number}", Rate(uvloop.run(_post_all(sink.port)), "requests/s")
        if wrk := shutil.which("wrk"):
            with Sink(0) as sink:
                yield f"wrk, round {number}", Rate(_by_wrk(wrk, sink.port), "requests/s")


class _Poster(asyncio.Protocol):
    """One connection that POSTs 1 KiB again and again."""

    def __init__(self, payload: bytes) -> None:
        self._payload, self._parser, self.done = payload, httptools.HttpResponseParser(self), 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._payload)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """The next one."""
        self.done += 1
        self._transport.write(self._payload)


async def _post_all(port: int) -> float:
    head = f"POST /0 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nwebhook-id: evt\r\nContent-Length: 1024\r\n\r\n"
    payload, loop = head.encode() + b"x" * 1024, asyncio.get_running_loop()
    pairs = [await loop.create_connection(lambda: _Poster(payload), "127.0.0.1", port) for _ in range(CONNECTIONS)]
    await asyncio.sleep(SECONDS)
    done = sum(poster.done for _, poster in pairs)
    for transport, _ in pairs:
        transport.abort()
    return done / SECONDS


def _by_wrk(wrk: str, port: int) -> float:
    script = 'wrk.method="POST" wrk.headers["webhook-id"]="evt" wrk.body=string.rep("x",1024)'
    with NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS:.0f}s", "-s", file.name, f"http://127.0.0.1:{port}/0"]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(told.partition("Requests/sec:")[2].split()[0])
