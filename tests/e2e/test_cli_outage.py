"""A Redis that goes away while a command looks on, and comes back: real processes, and a server that is killed."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import BusyLoadingError, RedisError
from until import until

from bridge.cli.outage import going_on
from bridge.cli.task_trouble import NO_WORKER, RETURN_SECONDS, Warnings
from bridge.errors import StoreLoading
from bridge.sandbox.redis import RedisServer
from bridge.settings import load_settings
from bridge.store import Store
from bridge.store.reading.tasks import find_tasks

ROOT = Path(__file__).parents[2]
AWAY, BACK = "this goes on when it is back", "Redis is back."


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis of this test alone, which may be killed."""
    with RedisServer() as server:
        yield server


Process = subprocess.Popen[str]
Look = Callable[..., Process]


@pytest.fixture
def look(server: RedisServer, tmp_path: Path) -> Iterator[Look]:
    """`python -m bridge`, once it has begun to follow: it waits for an event, or has shown something."""
    with ExitStack() as stack:

        def start(*words: str) -> Process:
            environment = {**os.environ, "BRIDGE_REDIS_URL": server.url, "PYTHONPATH": str(ROOT)}
            command = [sys.executable, "-m", "bridge", *words]
            process = subprocess.Popen(command, stdout=-1, stderr=-1, env=environment, cwd=tmp_path, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            if words[0] == "status":
                assert process.stdout is not None
                assert json.loads(process.stdout.readline())
            else:
                until(lambda: following(server), 30)
            return process

        yield start


def following(server: RedisServer) -> bool:
    """Whether somebody follows the stream at this moment."""
    with Redis.from_url(server.url) as client:
        return any(one["cmd"] == "xread" for one in client.client_list())


def told(process: Process, what: str) -> str:
    """The line of standard error that says this; what came before it is passed over."""
    assert process.stderr is not None
    for line in process.stderr:
        assert not line.startswith("Error"), line
        if what in line:
            return line
    raise AssertionError(f"it ended without having said “{what}”")


def announce(server: RedisServer, event_id: str) -> None:
    """A change is committed."""
    with Redis.from_url(server.url) as client:
        client.xadd("bridge:events", {"id": event_id, "type": "index.task.ready", "task": "t1", "revision": "1"})


def watched(server: RedisServer, status: str) -> None:
    """t1 is watched, or has ended, in this status."""
    with Redis.from_url(server.url) as client:
        client.hset("bridge:snapshot:t1", mapping={"status": status, "revision": "7", "observed_at": "1800000000000"})
        if status == "ready":
            client.zrem("bridge:tasks", "t1")
            client.zadd("bridge:ended", {"t1": 1_800_000_000_000})
        else:
            client.zadd("bridge:tasks", {"t1": "+inf"})


@pytest.mark.parametrize("verb", [("wait", "--timeout", "5m"), ("wait",), ("watch",)], ids=" ".join)
def test_whoever_waits_for_a_task_waits_for_redis_too(server: RedisServer, look: Look, verb: tuple[str, ...]) -> None:
    """Once it is said that Redis is away, once that it is back; what came meanwhile is seen, and ends it well."""
    watched(server, "indexing")
    process = look("task", *verb, "t1", "-o", "jsonl")
    server.kill()
    assert f"127.0.0.1:{server.port}" in told(process, AWAY)
    server.start()
    told(process, BACK)
    watched(server, "ready")
    out, rest = process.communicate(timeout=60)
    assert (process.returncode, json.loads(out.splitlines()[-1])["status"]) == (0, "ready"), rest
    assert AWAY not in rest


def test_whoever_waits_until_a_time_ends_then_if_redis_is_away_still(server: RedisServer, look: Look) -> None:
    """Exit code 5, not before it was said that it is waited for."""
    watched(server, "indexing")
    process = look("task", "wait", "t1", "--timeout", "4s")
    server.kill()
    told(process, AWAY)
    _, rest = process.communicate(timeout=60)
    assert (process.returncode, rest.count("Error: "), BACK in rest) == (5, 1, False)


def test_a_tail_misses_nothing_and_repeats_nothing(server: RedisServer, look: Look) -> None:
    """What was committed before, while it could not look, and after: each once, in order."""
    announce(server, "evt_1")
    process = look("event", "tail", "--after", "0-0", "--limit", "3", "-o", "ids")
    assert process.stdout is not None
    assert process.stdout.readline() == "evt_1\n"
    server.kill()
    told(process, AWAY)
    process.send_signal(signal.SIGSTOP)
    server.start()
    announce(server, "evt_2")
    process.send_signal(signal.SIGCONT)
    told(process, BACK)
    announce(server, "evt_3")
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "evt_2\nevt_3\n")


def test_a_status_that_is_watched_goes_on(server: RedisServer, look: Look) -> None:
    """The next one has what ended since."""
    process = look("status", "-w", "-o", "jsonl")
    server.kill()
    told(process, AWAY)
    server.start()
    watched(server, "ready")
    told(process, BACK)
    assert process.stdout is not None
    assert any(json.loads(line)["tasks"]["ended"] == 1 for line in process.stdout)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_ctrl_c_ends_the_waiting(server: RedisServer, look: Look) -> None:
    """As ever, with 130 and no error."""
    process = look("event", "tail")
    server.kill()
    told(process, AWAY)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert (process.returncode, rest.strip()) == (130, "")


def test_a_redis_that_refuses_is_not_waited_for(server: RedisServer, look: Look) -> None:
    """It came back with another password: no waiting would end that. Exit code 5 with what helps."""
    process = look("event", "tail")
    server.kill()
    told(process, AWAY)
    process.send_signal(signal.SIGSTOP)
    server.start()
    with Redis.from_url(server.url) as client:
        client.config_set("requirepass", "x")
    until(lambda: locked(server))
    process.send_signal(signal.SIGCONT)
    _, rest = process.communicate(timeout=60)
    assert (process.returncode, "Redis wants a password" in rest, BACK in rest) == (5, True, False)


def locked(server: RedisServer) -> bool:
    """Whether it lets nobody in."""
    try:
        with Redis.from_url(server.url) as client:
            return not client.ping()
    except RedisError:
        return True


def test_a_key_of_the_wrong_type_ends_a_tail(server: RedisServer, look: Look) -> None:
    """Somebody wrote over the stream: that is no outage."""
    process = look("event", "tail")
    with Redis.from_url(server.url) as client:
        client.set("bridge:events", "oops")
    _, rest = process.communicate(timeout=60)
    assert (process.returncode, "of another type" in rest, AWAY in rest) == (1, True, False)


def test_at_a_terminal_it_is_said_above_what_is_shown(server: RedisServer, tmp_path: Path) -> None:
    """On lines of its own: the row that stands there is erased before, and drawn anew below."""
    watched(server, "indexing")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "BRIDGE_REDIS_URL": server.url, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    command = [sys.executable, "-m", "bridge", "task", "watch", "t1"]
    seen = b""

    def shown(what: str) -> bool:
        nonlocal seen
        if select.select([ours], [], [], 0)[0]:
            seen += os.read(ours, 65_536)
        return what.encode() in seen

    more = {"NO_COLOR": "1", "COLUMNS": "100"}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment | more, cwd=tmp_path) as process:
        try:
            until(lambda: shown("indexing"), 30)
            server.kill()
            until(lambda: shown(AWAY), 30)
            server.start()
            until(lambda: shown(f"{BACK}\r\n"), 30)
        finally:
            process.kill()
    os.close(ours)
    os.close(theirs)
    for line in ("! Redis: ", BACK):
        before, _, _ = seen.decode().partition(line)
        assert re.search(r"(\n|\r|\x1b\[2K)(\x1b\[\d*m)*$", before), before[-200:]


async def test_a_worker_has_time_to_come_back_once_redis_is(redis_url: str, capfd: pytest.CaptureFixture[str]) -> None:
    """At first it is said at once that none runs; after Redis was away only when none has come for a while."""
    clock = 0.0
    async with Store.open(redis_url) as store:
        await store.client.zadd("bridge:tasks", {"t1": "+inf"})
        await store.client.zadd("bridge:watch", {"t1": 1})
        views = await find_tasks(store, ["t1"])
        await store.client.zadd(store.keys.workers("poll"), {"here:1": "+inf"})
        warnings = Warnings(store, load_settings(), lambda: clock)
        warnings.begin()
        await warnings.look(views)
        await store.client.delete(store.keys.workers("poll"))
        warnings.begin()
        await warnings.look(views)
        assert NO_WORKER not in capfd.readouterr().err
        clock = RETURN_SECONDS
        await warnings.look(views)
        assert capfd.readouterr().err.count(NO_WORKER) == 1
        first = Warnings(store, load_settings(), lambda: clock)
        first.begin()
        await first.look(views)
        assert NO_WORKER in capfd.readouterr().err


async def test_a_redis_that_reads_its_data_is_waited_for(redis_url: str, capfd: pytest.CaptureFixture[str]) -> None:
    """As it does after a start: it refuses, and answers by itself before long. One that was never seen is an error."""
    answers: list[list[str | Exception]] = [
        ["one", BusyLoadingError("Redis is loading the dataset in memory")],
        ["two"],
    ]

    async def looks() -> AsyncGenerator[str]:
        for answer in answers.pop(0):
            if isinstance(answer, Exception):
                raise answer
            yield answer

    async with Store.look(redis_url) as store:
        seen = [one async for one in going_on(store, load_settings(), looks)]
        assert (seen, answers) == (["one", "two"], [])
        answers.append([BusyLoadingError("Redis is loading the dataset in memory")])
        with pytest.raises(StoreLoading):
            [one async for one in going_on(store, load_settings(), looks)]
    told = capfd.readouterr().err
    assert (told.count(AWAY), told.count(BACK), "wait: it reads its data" in told) == (1, 1, True)
