"""An independent receiver that fails every first attempt: all arrives, nothing is invented, memory is flat."""

import json
import socket
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from failing_receiver import FAILURES, SUCCESSES
from memory import GROWTH_BYTES, Memory, needs_proc
from redis import Redis
from town import SECRET, worker
from until import until

from bridge.sandbox.redis import RedisServer
from bridge.sandbox.timeline import Step
from bridge.sandbox.twelvelabs import Simulator
from bridge.store.reading.trips import as_delivery

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

TASKS = 24
WAVES = {False: 4, True: 10}
"""How often all tasks change: in `make test`, and in `make soak`."""
SETTINGS = {
    "BRIDGE_DELIVERY_DEADLINE_SECONDS": "0.5",
    "BRIDGE_DELIVERY_SCHEDULE_SECONDS": "0,0.1,1,2,4,8,16,32",
}


class Log:
    """What the receiver wrote down."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def lines(self) -> list[dict[str, Any]]:
        text = self._path.read_text() if self._path.exists() else ""
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


@contextmanager
def receiver(log: Path) -> Iterator[str]:
    """The receiver's process; its URL."""
    command = [sys.executable, "-I", str(Path(__file__).with_name("failing_receiver.py")), SECRET, str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


def committed(client: "Redis") -> set[str]:
    """Ids of all the events that there are."""
    entries = cast(Any, client.xrange("bridge:events"))
    return {fields[b"id"].decode() for _, fields in entries}


def delivered(client: "Redis") -> set[str]:
    """Ids of the events of which the bridge knows that they were accepted."""
    records = cast(dict[bytes, bytes], client.hgetall("bridge:deliveries:theirs"))
    return {event.decode() for event, record in records.items() if as_delivery(record)["state"] == "delivered"}


def test_every_first_attempt_fails_and_everything_arrives(tmp_path: Path, soak: bool) -> None:
    """Failures, waits, drips, floods and forgeries: each event is accepted once, as it was committed, and no other."""
    needs_proc()
    simulator, log = Simulator(), Log(tmp_path / "arrivals.jsonl")
    with (
        RedisServer() as redis,
        simulator.in_thread(),
        receiver(tmp_path / "arrivals.jsonl") as url,
        socket.create_server(("127.0.0.1", 0)) as trap,
        worker(redis.url, tmp_path, base_url=simulator.base_url, **SETTINGS, **proxied_by(trap)) as running,
        Redis.from_url(redis.url) as client,
    ):
        for n in range(TASKS):
            simulator.add_task(f"t{n}", timeline=(Step(0.0, {"status": "indexing"}),))
        client.hset("bridge:endpoints", "theirs", json.dumps({"url": f"{url}/hook", "secret": SECRET}))
        client.zadd("bridge:tasks", {f"t{n}": 0 for n in range(TASKS)}, nx=True)
        until(lambda: len(delivered(client)) == TASKS, 60)
        (pid,) = running.children("deliver")
        memory = Memory(pid)
        before = memory.forget_peak()
        for wave in range(1, WAVES[soak] + 1):
            for n in range(TASKS):
                simulator.change(f"t{n}", {"system_metadata": {"step": wave}}, touch=True)
            until(partial(all_committed, client, TASKS * (wave + 1)), 30)
        events = committed(client)
        until(lambda: delivered(client) == events, 120)
        growth = memory.read("VmHWM") - before
        assert running.stop() == 0
        trap.setblocking(False)
        with pytest.raises(BlockingIOError):  # the environment's proxy was never spoken to
            trap.accept()
    assert_nothing_invented(log.lines(), events, WAVES[soak])
    assert growth < GROWTH_BYTES, f"{growth:,} bytes"
    print(f"{len(events)} events accepted after {len(log.lines())} requests; grown by {growth:,} bytes")


def proxied_by(trap: socket.socket) -> dict[str, str]:
    """An environment in which many a client would send everything through a proxy."""
    url = f"http://127.0.0.1:{trap.getsockname()[1]}"
    return {name: url for word in ("HTTP", "HTTPS", "ALL") for name in (f"{word}_PROXY", f"{word.lower()}_proxy")}


def all_committed(client: "Redis", count: int) -> bool:
    """So many events are there."""
    return len(committed(client)) == count


def assert_nothing_invented(lines: list[dict[str, Any]], events: set[str], waves: int) -> None:
    """Every request is an event of ours, unaltered, signed, in the order of its attempts, and none after a 2xx."""
    assert {line["start"] for line in lines} == {"POST /hook HTTP/1.1"}, "nobody followed the redirect"
    assert all(line["valid"] for line in lines)
    by_event: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        by_event[line["id"]].append(line)
    assert set(by_event) == events
    for told in by_event.values():
        numbers = [line["attempt"] for line in told]
        # A kept connection that is reset under a request may just have expired: the attempt goes on with a fresh one.
        assert numbers == ["1", "2"] or (numbers == ["1", "1"] and told[0]["answer"] == "reset")
        assert [told[0]["answer"] in FAILURES, told[1]["answer"] in SUCCESSES] == [True, True]
        assert told[0]["body"] == told[1]["body"]
    assert {told[0]["answer"] for told in by_event.values()} == set(FAILURES)
    states = {(body["data"]["task_id"], step_of(body)) for body in (json.loads(line["body"]) for line in lines)}
    assert states == {(f"t{n}", wave) for n in range(TASKS) for wave in range(waves + 1)}


def step_of(body: dict[str, Any]) -> int:
    """Which change of its task an event tells of."""
    return int((body["data"]["task"].get("system_metadata") or {}).get("step", 0))
