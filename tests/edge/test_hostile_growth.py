"""Hostile receivers against `python worker.py`: hundreds of attempts each, and its delivery process stays as it was.

What each of them does to one exchange is in test_transport_hostile.py; here it is what they do to the process that
makes the attempts, and to everybody else's deliveries meanwhile.
"""

import asyncio
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from memory import GROWTH_BYTES, Memory, needs_proc
from misbehave import OK, Misbehaviour, Peer, Script, polite, says
from redis import Redis
from town import SECRET, Running, worker
from until import eventually, until

from bridge.sandbox.receiver import Arrival, Receiver
from bridge.sandbox.redis import RedisServer
from bridge.sandbox.timeline import Step
from bridge.sandbox.twelvelabs import Simulator
from bridge.store.reading.trips import as_delivery
from bridge.transport import Limits

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.xdist_group("stronghold")]

TASKS = 32
ATTEMPTS = 8
NO = b"HTTP/1.1 503 No\r\n"


@dataclass
class Stronghold:
    """A worker, an upstream with tasks that change when told, and a well-behaved endpoint beside the hostile one."""

    running: Running
    simulator: Simulator
    receiver: Receiver
    client: "Redis"
    changes: int = 0
    hostile: list[str] = field(default_factory=list)
    """The endpoints that are registered beside the good one."""

    def change(self) -> None:
        """Change all tasks upstream."""
        self.changes += 1
        for n in range(TASKS):
            self.simulator.change(f"t{n}", {"system_metadata": {"step": self.changes}}, touch=True)

    def register(self, url: str, names: dict[str, str]) -> None:
        """Register endpoints, each for its tasks, instead of those of before, and wait until that is in force."""
        written: dict[Any, Any] = {
            name: json.dumps({"url": url, "secret": SECRET, "events": ["*"], "tasks": [tasks]})
            for name, tasks in names.items()
        }
        with self.client.pipeline() as pipe:
            if self.hostile:
                pipe.hdel("bridge:endpoints", *self.hostile)
            pipe.hset("bridge:endpoints", mapping=written)
            pipe.execute()
        gone, self.hostile = self.hostile, [name for name in names if name != "good"]
        until(lambda: all(self.client.hexists("bridge:registry", name) for name in names))
        until(lambda: not gone or not self.client.exists(*(f"bridge:endpoint:{name}" for name in gone)))

    def good_ones(self) -> int:
        """How many tasks' latest change has reached the good endpoint."""
        return len({one.task_id for one in list(self.receiver.valid) if step_of(one) == self.changes})

    @property
    def memory(self) -> Memory:
        """Of the delivery process."""
        (pid,) = self.running.children("deliver")
        return Memory(pid)


def step_of(arrival: Arrival) -> int:
    """Which change of its task an event tells of."""
    return int((arrival.data["task"].get("system_metadata") or {}).get("step", 0))


@pytest.fixture(scope="module")
def stronghold(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stronghold]:
    """One worker for all of them, warm: its good endpoint has had every task's first event."""
    needs_proc()
    simulator, receiver = Simulator(), Receiver(SECRET)
    schedule = ",".join(["0", *["0.02"] * (ATTEMPTS - 1)])
    settings = {"DEADLINE_SECONDS": "0.5", "LEASE_SECONDS": "8", "SCHEDULE_SECONDS": schedule, "JITTER": "0"}
    folder = tmp_path_factory.mktemp("stronghold")
    with RedisServer() as redis, simulator.in_thread(), receiver.in_thread(), Redis.from_url(redis.url) as client:
        town = {f"BRIDGE_DELIVERY_{name}": value for name, value in settings.items()}
        with worker(redis.url, folder, base_url=simulator.base_url, **town) as running:
            held = Stronghold(running, simulator, receiver, client)
            for n in range(TASKS):
                simulator.add_task(f"t{n}", timeline=(Step(0.0, {"status": "indexing"}),))
            held.register(f"{receiver.url}/good", {"good": "*"})
            client.zadd("bridge:tasks", {f"t{n}": 0 for n in range(TASKS)}, nx=True)
            until(lambda: held.good_ones() == TASKS, 30)
            for _ in range(3):
                held.change()
                until(lambda: held.good_ones() == TASKS, 30)
            yield held
            assert not receiver.invalid
            assert not receiver.out_of_order
            assert running.stop() == 0


def after_the_request(head: bytes, part: bytes, pause: bool = False) -> Script:
    """Answer with `head`, and then with `part` for ever: as fast as it is taken, or byte by byte."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(head)
        await (peer.drip(part * 100) if pause else peer.pour(part))

    return script


async def silent(peer: Peer) -> None:
    await peer.request()


async def mute(peer: Peer) -> None:
    peer.stop_reading()
    await asyncio.Event().wait()


async def resetting(peer: Peer) -> None:
    await peer.request()
    peer.reset()


BOMB = gzip.compress(b"\0" * 50_000_000)
HOSTILE: dict[str, Script] = {
    "slow-loris head": after_the_request(b"", NO, pause=True),
    "slow-loris body": after_the_request(NO + b"Content-Length: 99999\r\n\r\n", b".", pause=True),
    "endless 1xx": after_the_request(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 4),
    "header bomb": after_the_request(NO, b"X-Bomb: " + b"x" * 1000 + b"\r\n"),
    "many headers": after_the_request(NO, b"a:b\r\n" * 800),
    "one endless header": after_the_request(NO + b"X-Bomb: ", b"x" * 4096),
    "gzip bomb": says(NO + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB),
    "endless body": after_the_request(NO + b"\r\n", b"x" * 65_536),
    "endless chunks": after_the_request(NO + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 800),
    "endless chunk extension": after_the_request(NO + b"Transfer-Encoding: chunked\r\n\r\n1;", b"extension" * 400),
    "forged extra answer": says(NO + b"Content-Length: 0\r\n\r\n" + OK),
    "forged answer in the next breath": says(NO + b"Content-Length: 2\r\n\r\nno" + OK * 100),
    "redirect": says(
        b"HTTP/1.1 307 Go\r\nLocation: http://169.254.169.254/" + b"a" * 60_000 + b"\r\nContent-Length: 0\r\n\r\n"
    ),
    "line ends in an answer": says(NO + b"Retry-After: 1\r\n\rSet-Cookie: a\r\nContent-Length: 0\r\n\r\n"),
    "silence": silent,
    "not reading": mute,
    "reset": resetting,
}


@pytest.mark.parametrize("script", HOSTILE.values(), ids=HOSTILE)
async def test_memory_does_not_grow(stronghold: Stronghold, script: Script) -> None:
    """Hundreds of attempts, none of them believed; the peak of memory stays; the good endpoint hears all at once.

    Each task has a hostile endpoint of its own: one alone would be eased to an attempt at a time, and then held.
    """
    held, client = stronghold, stronghold.client
    bad = {f"bad{held.changes}-{n}": f"t{n}" for n in range(TASKS)}
    async with Misbehaviour(script) as server:
        held.register(f"http://127.0.0.1:{server.origin.port}/", bad)
        before = held.memory.forget_peak()
        held.change()
        await eventually(lambda: held.good_ones() == TASKS, 30)
        await eventually(lambda: all(client.zcard(f"bridge:dead:{name}") for name in bad), 90)
        growth = held.memory.read("VmHWM") - before
        records = [as_delivery(text) for name in bad for text in client.hvals(f"bridge:deliveries:{name}")]
    assert len(records) == TASKS
    assert {(one["state"], one["reason"], one["attempts"]) for one in records} == {("dead", "exhausted", ATTEMPTS)}
    print(f"grown by {growth:,} bytes")
    assert growth < GROWTH_BYTES, f"{growth:,} bytes"


async def test_memory_does_not_grow_with_kept_connections(stronghold: Stronghold) -> None:
    """A crowd of endpoints that keep every connection open: so many idle ones are kept, and memory stays."""
    held, client, crowd = stronghold, stronghold.client, 60
    async with Misbehaviour(polite) as server:

        def opened() -> int:
            return sum(not peer.closed_by_client.is_set() for peer in server.peers)

        held.register(f"http://127.0.0.1:{server.origin.port}/", {f"keeper{n}": "*" for n in range(crowd)})
        before = held.memory.forget_peak()
        for round_ in (1, 2):
            held.change()
            await eventually(partial(has_asked, server, round_ * crowd * TASKS), 60)
        await eventually(lambda: crowd <= opened() <= Limits().open_total)
        growth = held.memory.read("VmHWM") - before
        client.hdel("bridge:endpoints", *held.hostile)
        await eventually(lambda: not opened(), 30)
    print(f"grown by {growth:,} bytes in {len(server.peers)} connections")
    assert growth < GROWTH_BYTES, f"{growth:,} bytes"


def has_asked(server: Misbehaviour, times: int) -> bool:
    """So many requests have come."""
    return len(server.requests) >= times
