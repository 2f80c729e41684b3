"""The RQ seam: shifts that carry nothing, jobs that anybody forged, and processes that die when they like."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
import types
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from redis import Redis
from rq import Queue, SimpleWorker
from rq.exceptions import StopRequested
from rq.job import Job
from rq.serializers import JSONSerializer
from town import DEADLINE, HERE, SECRET, Town, a_town, alive, worker
from until import until

from bridge.jobs import SHIFTS, Bell, queue_for, send_shift, shift_job, shift_worker
from bridge.sandbox.message import Response
from bridge.sandbox.receiver import Receiver
from bridge.sandbox.redis import RedisServer
from bridge.store import connect_for_rq
from bridge.store.reading.trips import as_delivery
from bridge.store.shifts import Fleet, Shifts

# ---------------------------------------------------------------- forged jobs


@pytest.fixture
def signals() -> Iterator[None]:
    """RQ installs signal handlers of its own; the test runner wants its own back."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


class Shop:
    """One queue, and a worker as production makes it that works off what is in it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = connect_for_rq(url)
        self.queue = queue_for(self.connection, "bridge:", "deliver")
        self.ran: list[str] = []

    def forge(self, fields: Mapping[str, Any], data: object = None, job_id: bytes | str = "forged") -> None:
        """Put a job into the queue that no producer of ours wrote."""
        name = [SHIFTS["deliver"], None, [], {}] if data is None else data
        raw = data if isinstance(data, bytes) else zlib.compress(json.dumps(name).encode())
        key = b"rq:job:" + (job_id.encode() if isinstance(job_id, str) else job_id)
        base = {"data": raw, "origin": self.queue.name, "status": "queued", "created_at": "2026-11-01T10:00:00.000000Z"}
        mapping = {field: value for field, value in {**base, **fields}.items() if value is not None}
        if mapping:
            self.connection.hset(cast(Any, key), mapping=cast(Any, mapping))
        self.connection.rpush(self.queue.key, job_id)

    def work(self) -> None:
        """A worker works until the queue is empty."""
        worker = shift_worker(self.connection, "bridge:", "deliver", lambda: self.ran.append("shift"), stop=Bell())
        worker.work(burst=True, logging_level="CRITICAL")


@pytest.fixture
def shop(redis_url: str, signals: None) -> Iterator[Shop]:
    shop = Shop(redis_url)
    yield shop
    shop.connection.close()


@pytest.fixture
def canary() -> Iterator[list[str]]:
    """A module that a forged job may name; its list tells who was called."""
    called: list[str] = []
    module = types.ModuleType("forged_canary")
    module.sing = lambda *_, **__: called.append("sang")  # type: ignore[attr-defined]
    sys.modules["forged_canary"] = module
    yield called
    del sys.modules["forged_canary"]


@pytest.mark.parametrize(
    "data",
    [
        ["forged_canary.sing", None, [], {}],
        ["os.system", None, ["touch {file}"], {}],
        ["builtins.eval", None, ["__import__('pathlib').Path('{file}').touch()"], {}],
        ["bridge.jobs.poll_shift", None, [], {}],
        ["sing", "forged_canary", [], {}],
        [["bridge.jobs.deliver_shift"], None, [], {}],
        [None, None, [], {}],
        [7, None, [], {}],
        {"func": "forged_canary.sing"},
        "forged_canary.sing",
        [],
        None.__class__,
    ],
    ids=str,
)
def test_a_job_that_names_anything_else_runs_nothing(
    shop: Shop, canary: list[str], data: object, tmp_path: Path
) -> None:
    """os.system, eval, the other queue's shift, nonsense: nothing is called, and the worker goes on."""
    file = tmp_path / "touched"
    told = json.loads(json.dumps(data, default=lambda _: 3).replace("{file}", str(file)))
    shop.forge({}, told)
    send_shift(shop.queue, "deliver", 60)
    shop.work()
    assert not file.exists()
    assert not canary
    assert shop.ran == ["shift"]


def test_a_pickle_is_not_opened(shop: Shop, tmp_path: Path) -> None:
    """A job whose data is a pickle is no JSON, and nothing more."""

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {tmp_path / 'touched'}",)

    shop.forge({}, zlib.compress(pickle.dumps((SHIFTS["deliver"], None, (Bomb(),), {}))))
    shop.forge({"meta": pickle.dumps(Bomb()), "result": pickle.dumps(Bomb())}, job_id="other")
    send_shift(shop.queue, "deliver", 60)
    shop.work()
    assert not (tmp_path / "touched").exists()
    assert shop.ran == ["shift", "shift"]


def test_arguments_and_an_instance_are_ignored(shop: Shop, canary: list[str]) -> None:
    """A job with our name runs our shift, whatever else it brings."""
    shop.forge({}, [SHIFTS["deliver"], "forged_canary", ["x"], {"y": 1}])
    shop.work()
    assert shop.ran == ["shift"]
    assert not canary


@pytest.mark.parametrize("name", [SHIFTS["deliver"], "os.getcwd"], ids=["succeeds", "fails"])
def test_callbacks_are_not_called(shop: Shop, canary: list[str], name: str) -> None:
    """Neither a success nor a failure nor a stop calls what the job names."""
    names = {f"{kind}_callback_name": "forged_canary.sing" for kind in ("success", "failure", "stopped")}
    shop.forge(names, [name, None, [], {}])
    shop.work()
    assert not canary


@pytest.mark.parametrize("name", [SHIFTS["deliver"], "os.getcwd"], ids=["succeeds", "fails"])
def test_rq_s_own_webhooks_are_not_sent(shop: Shop, name: str) -> None:
    """A forged job cannot make a worker call a URL."""
    receiver = Receiver()
    with receiver.in_thread():
        hooks = [{"url": f"{receiver.url}/{status}", "job_status": status} for status in ("finished", "failed")]
        shop.forge({"webhooks": json.dumps(hooks)}, [name, None, [], {}])
        shop.work()
    assert receiver.connections == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"timeout": "soon"},
        {"status": "undead"},
        {"created_at": "once"},
        {"started_at": b"\xff"},
        {"description": b"\xff\xfe"},
        {"origin": b"\xff"},
        {"result_ttl": "x"},
        {"failure_ttl": "-"},
        {"ttl": "1e9"},
        {"dependency_ids": "["},
        {"retry_intervals": "{"},
        {"success_callback_timeout": "x"},
        {"exc_info": b"\xff"},
        {"worker_name": b"\xff"},
        {"enqueue_at_front": "yes"},
        {"webhooks": "["},
        {"data": None},
        {"data": b""},
        {"data": b"\x00\xff"},
        {"meta": b"\x80"},
        {"rate_limit_key": "k", "rate_limit_concurrency": "1"},
    ],
    ids=str,
)
def test_an_unreadable_job_is_passed_over(shop: Shop, fields: dict[str, Any]) -> None:
    """Garbage in a job's hash ends neither this worker nor, by RQ's own tidying at its start, every later one."""
    shop.forge(fields)
    send_shift(shop.queue, "deliver", 60)
    shop.work()
    assert shop.ran[-1:] == ["shift"]
    send_shift(shop.queue, "deliver", 60)
    shop.connection.delete(*shop.connection.keys("rq:*lock*") or ["none"])
    before = len(shop.ran)
    shop.work()
    assert len(shop.ran) == before + 1


@pytest.mark.parametrize("job_id", [b"\xff\xfe", b"a b", b"a:b", b"", b"../x", b"x" * 5_000], ids=repr)
def test_an_impossible_job_id_is_passed_over(shop: Shop, job_id: bytes) -> None:
    """An entry of the queue that can name no job at all, or names one that is not there, or is not a hash."""
    shop.forge({}, job_id=job_id)
    shop.connection.set("rq:job:text", "a string")
    shop.connection.rpush(shop.queue.key, "text", "missing")
    for _ in range(2):
        send_shift(shop.queue, "deliver", 60)
        shop.work()
    assert shop.ran.count("shift") >= 2
    assert shop.connection.llen(shop.queue.key) == 0


@pytest.mark.parametrize("name", [SHIFTS["deliver"], "os.getcwd"], ids=["succeeds", "fails"])
def test_a_job_that_wants_to_come_again_does_not(shop: Shop, name: str) -> None:
    """Retries and repeats without end are RQ's memory, and a shift has none: it runs once."""
    fields = {"retries_left": "1000000", "repeats_left": "1000000", "repeat_intervals": "[0]", "retry_intervals": "[0]"}
    shop.forge(fields, [name, None, [], {}])
    shop.work()
    assert shop.ran == (["shift"] if name == SHIFTS["deliver"] else [])
    assert shop.connection.llen(shop.queue.key) == 0
    assert not shop.connection.keys("rq:scheduled*")


def test_a_shift_leaves_nothing_behind(shop: Shop) -> None:
    """P8: no result, no log of arguments: the job is gone when it has run."""
    send_shift(shop.queue, "deliver", 60)
    assert shop.connection.llen(shop.queue.key) == 1
    shop.work()
    assert shop.ran == ["shift"]
    assert not shop.connection.keys("rq:job:*")
    assert not shop.connection.keys("rq:results:*")


def test_a_plain_rq_worker_fails_our_job_and_lives(redis_url: str, signals: None) -> None:
    """Somebody's own RQ worker on our queue: the job fails with a word on what to run instead."""
    connection = connect_for_rq(redis_url)
    for kind in SHIFTS:
        queue = queue_for(connection, "bridge:", kind)
        send_shift(queue, kind, 60)
        (job_id,) = queue.get_job_ids()
        worker = SimpleWorker([queue], connection=connection, serializer=JSONSerializer)
        assert worker.work(burst=True, logging_level="CRITICAL")
        job = Job.fetch(job_id, connection=connection, serializer=JSONSerializer)
        assert job.is_failed
        result = job.latest_result()
        assert result is not None
        assert "a shift runs only in a worker of the bridge" in str(result.exc_string)
        assert isinstance(queue, Queue)
    connection.close()


def test_a_bell_ends_an_idle_worker(shop: Shop) -> None:
    """RQ may swallow the exception of its own signal handler; the bell was rung all the same, and that is enough."""
    bell = Bell()
    worker = shift_worker(shop.connection, "bridge:", "deliver", lambda: None, stop=bell)

    def ring_when_idle() -> None:
        with Redis.from_url(shop.url) as client:
            until(lambda: client.hget(worker.key, "state") == b"idle")
        bell.ring()

    ringer = threading.Thread(target=ring_when_idle)
    ringer.start()
    worker.work(logging_level="CRITICAL")
    ringer.join()


def test_a_stop_during_rq_s_tidying_is_a_stop(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that comes while RQ tidies up at its start is no entry that it stumbled over."""

    def stopped(*_: object, **__: object) -> None:
        raise StopRequested

    worker = shift_worker(shop.connection, "bridge:", "deliver", lambda: None, stop=Bell())
    monkeypatch.setattr(SimpleWorker, "clean_registries", stopped)
    with pytest.raises(StopRequested):
        worker.run_maintenance_tasks()
    monkeypatch.setattr(Job, "fetch", classmethod(stopped))
    with pytest.raises(StopRequested):
        shift_job(SHIFTS["deliver"], lambda: None).fetch("some", connection=shop.connection)


def test_the_job_class_runs_its_own_name_only(redis_url: str) -> None:
    """Two names and nothing else."""
    connection = connect_for_rq(redis_url)
    kind = shift_job(SHIFTS["poll"], lambda: None)
    job = kind(connection=connection, serializer=JSONSerializer)
    job.func_name = SHIFTS["deliver"]
    with pytest.raises(Exception, match="not a shift"):
        _ = job.func
    job.func_name = SHIFTS["poll"]
    assert job.func() is None
    connection.close()


# ---------------------------------------------------------------- shifts


@pytest.fixture
def connection(redis_url: str) -> Iterator["Redis"]:
    connection = connect_for_rq(redis_url)
    yield connection
    connection.close()


QUEUE = "rq:queue:bridge-poll"


def missing(connection: "Redis", *workers: str) -> int:
    """What a supervisor with these poll workers hears."""
    return Fleet(connection, "bridge:").missing({"poll": (QUEUE, workers)})["poll"]


def a_moment_later() -> None:
    """Tickets are named by the millisecond, so two supervisors that ask within one send a job too many: harmless."""
    began = time.time()
    until(lambda: time.time() - began > 0.002)


def test_two_supervisors_do_not_double(connection: "Redis") -> None:
    """Each asks for what is missing in all; what one sends, the other does not."""
    shifts = Shifts(connection, "bridge:", "poll")
    assert missing(connection, "a:1", "a:2") == 2
    a_moment_later()
    assert missing(connection, "b:1") == 1
    assert missing(connection, "a:1", "a:2") == 0
    for name in ("one", "two", "three"):
        assert shifts.start(name)
    assert not shifts.start("surplus")
    assert missing(connection, "a:1", "a:2") == 0
    shifts.end("two")
    assert missing(connection, "b:1") == 1
    assert missing(connection, "a:1", "a:2") == 0


def test_a_supervisor_asks_for_all_kinds_at_once(connection: "Redis") -> None:
    """Each kind has its own workers, shifts and queue; of a kind without workers none is missing."""
    fleet = Fleet(connection, "bridge:")
    asked = {"poll": (QUEUE, ["a:1"]), "deliver": ("rq:queue:bridge-deliver", ["a:2", "a:3"]), "other": ("rq:o", [])}
    assert fleet.missing(asked) == {"poll": 1, "deliver": 2, "other": 0}
    assert Shifts(connection, "bridge:", "deliver").start("one")
    connection.rpush("rq:queue:bridge-deliver", "job")
    a_moment_later()
    assert fleet.missing(asked) == {"poll": 0, "deliver": 0, "other": 0}


def test_a_shift_that_stops_beating_is_replaced(connection: "Redis") -> None:
    """No beat for five seconds: its place is free."""
    assert missing(connection, "a:1") == 1
    assert Shifts(connection, "bridge:", "poll").start("dead")
    assert missing(connection, "a:1") == 0
    until(lambda: missing(connection, "a:1") == 1)


def test_a_bell_rings_out_of_a_signal_handler() -> None:
    """Rung by a signal at any moment, it wakes its waiter; a threading.Event could lock up its own thread."""
    for _ in range(50):
        bell = Bell()
        before = signal.signal(signal.SIGUSR1, lambda *_, rung=bell: rung.ring())
        try:
            assert not bell.wait(0.0)
            os.kill(os.getpid(), signal.SIGUSR1)
            assert bell.wait(30)
            assert bell.rung
        finally:
            signal.signal(signal.SIGUSR1, before)


# ---------------------------------------------------------------- processes


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with a_town(tmp_path) as town:
        yield town


slow = pytest.mark.slow


@slow
@pytest.mark.parametrize("kind", ["poll", "deliver"])
def test_a_killed_worker_is_replaced(town: Town, kind: str) -> None:
    """kill -9 of a child: another one takes its place, and changes flow again."""
    with town.worker() as running:
        town.round_trip()
        (victim,) = running.children(kind)
        os.kill(victim, signal.SIGKILL)
        town.round_trip(45)  # it may have died with the task leased: that is 20 s
        assert running.children(kind) != [victim]
        assert running.stop() == 0


@slow
def test_sigterm_lets_what_is_in_flight_finish(town: Town) -> None:
    """SIGTERM while a POST is out: it is answered, settled, and the exit is clean; nothing is sent twice."""
    with town.worker() as running:
        town.round_trip()
        town.receiver.script(Response(200, delay_seconds=1.5))
        step = town.change()
        until(lambda: town.arrived(step))
        children = running.children()
        assert running.stop() == 0
        assert not any(alive(pid) for pid in children)
    with Redis.from_url(town.redis.url) as client:
        records = [as_delivery(text) for text in client.hvals("bridge:deliveries:mine")]
        assert {record["state"] for record in records} == {"delivered"}
        assert {record["attempts"] for record in records} == {1}
    assert not town.receiver.duplicates


@slow
def test_restarts_under_load_lose_and_spend_nothing(town: Town) -> None:
    """Three clean restarts while changes flow: no event lost, doubled or out of order, and not an attempt wasted."""
    for _ in range(3):
        with town.worker(BRIDGE_DELIVERY_WORKERS="2") as running:
            town.round_trip()
            for _ in range(10):
                town.round_trip()
            town.change()
            assert running.stop() == 0
    with town.worker() as running:
        town.round_trip()
        assert running.stop() == 0
    assert not town.receiver.duplicates
    assert not town.receiver.out_of_order
    assert {arrival.attempt for arrival in town.receiver.arrivals} == {1}


@slow
def test_children_end_with_their_supervisor(town: Town) -> None:
    """kill -9 of the supervisor: no orphan works on unseen."""
    with town.worker() as running:
        town.round_trip()
        children = running.children()
        assert len(children) == 2
        running.process.kill()
        running.process.wait()
        until(lambda: not any(alive(pid) for pid in children), timeout_seconds=DEADLINE + 5)


@slow
def test_redis_may_die_under_a_worker(town: Town) -> None:
    """kill -9 of Redis, until RQ gives up, and a start: the same processes go on, nothing is lost."""
    with town.worker(BRIDGE_SHIFT_SECONDS="2") as running:
        town.round_trip()
        children = sorted(running.children())
        town.redis.kill()
        step = town.change()
        until(lambda: running.log.count("quitting") >= 2, timeout_seconds=30)
        town.redis.start()
        until(lambda: town.arrived(step), timeout_seconds=30)
        with Redis.from_url(town.redis.url) as client:
            until(lambda: client.zcard("bridge:shifts:poll") and client.zcard("bridge:shifts:deliver"), 20)
        for _ in range(10):
            town.round_trip()
        assert sorted(running.children()) == children
        assert running.stop() == 0
        assert not running.said("worker.ended")
    assert not town.receiver.duplicates


@slow
def test_a_hanging_redis_does_not_hold_up_the_end(town: Town) -> None:
    """Redis is frozen: SIGTERM still ends everything in time, and nothing hangs on."""
    with town.worker() as running:
        town.round_trip()
        children = running.children()
        town.redis.pause()
        try:
            until(lambda: running.said("redis.away"), timeout_seconds=45)
            running.process.terminate()
            running.process.wait(DEADLINE + 5 + 1)
            assert not any(alive(pid) for pid in children)
        finally:
            town.redis.resume()


@slow
def test_short_shifts_leave_no_gap(town: Town) -> None:
    """Shifts of two seconds under steady traffic: one hands over to the next, and nothing stalls in between."""
    with town.worker(BRIDGE_SHIFT_SECONDS="2") as running:
        town.round_trip()
        began = time.monotonic()
        while time.monotonic() - began < 9:
            town.round_trip(timeout_seconds=2.0)
        assert running.stop() == 0
    assert not town.receiver.duplicates


@slow
def test_flushed_rq_keys_are_filled_again(town: Town) -> None:
    """All of RQ's keys vanish: shifts come anew, and what is owed was never there."""
    with town.worker(BRIDGE_SHIFT_SECONDS="4") as running:
        town.round_trip()
        with Redis.from_url(town.redis.url) as client:
            for _ in range(3):
                client.delete("rq:workers", *client.keys("rq:*"))
                town.round_trip()
            until(lambda: client.keys("rq:job:*"), timeout_seconds=20)
        town.round_trip()
        assert running.stop() == 0


def self_emptied(client: "Redis", key: str) -> bool:
    """Whether everything in a list has been taken."""
    return client.llen(key) == 0


@slow
def test_forged_jobs_do_not_stop_the_work(town: Town) -> None:
    """Garbage and os.system in both queues of a running worker: changes flow, no child ends, nothing runs."""
    touched = town.folder / "touched"
    with town.worker(BRIDGE_SHIFT_SECONDS="2") as running:
        town.round_trip()
        children = sorted(running.children())
        with Redis.from_url(town.redis.url) as client:
            for kind in ("poll", "deliver"):
                forged = zlib.compress(json.dumps(["os.system", None, [f"touch {touched}"], {}]).encode())
                client.hset("rq:job:forged", mapping={"data": forged, "origin": f"bridge-{kind}"})
                client.hset("rq:job:broken", mapping={"data": forged, "timeout": "x"})
                client.rpush(f"rq:queue:bridge-{kind}", "forged", "broken", b"\xff", "forged")
                until(partial(self_emptied, client, f"rq:queue:bridge-{kind}"))
        town.round_trip()
        town.round_trip()
        assert sorted(running.children()) == children
        assert running.stop() == 0
    assert not touched.exists()


@slow
def test_an_idle_worker_is_idle(town: Town) -> None:
    """With nothing due, the processes sleep: no busy loop."""
    with town.worker(BRIDGE_POLL_INTERVAL_SECONDS="3600") as running:
        until(lambda: town.receiver.valid)
        pids = [running.process.pid, *running.children()]
        before = sum(cpu_ticks(pid) for pid in pids)
        began = time.monotonic()
        until(lambda: time.monotonic() - began > 4)
        used = (sum(cpu_ticks(pid) for pid in pids) - before) / os.sysconf("SC_CLK_TCK")
        assert used < 4 * 0.15
        assert running.stop() == 0


def cpu_ticks(pid: int) -> int:
    """Processor time used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return int(fields[11]) + int(fields[12])


@slow
@pytest.mark.parametrize(
    ("words", "kinds"), [((), "both"), (("all",), "both"), (("poll",), "poll"), (("deliver",), "deliver")]
)
def test_the_word_says_which_workers_run(redis_url: str, tmp_path: Path, words: Sequence[str], kinds: str) -> None:
    """`worker.py`, `worker.py all`, `poll` and `deliver`."""
    wanted = ["poll", "deliver"] if kinds == "both" else [kinds]
    with worker(redis_url, tmp_path, *words) as running, Redis.from_url(redis_url) as client:
        until(lambda: all(client.zcard(f"bridge:shifts:{kind}") for kind in wanted))
        assert len(running.children()) == len(wanted)
        assert running.stop() == 0


@pytest.mark.parametrize("words", [("nonsense",), ("poll", "deliver"), ("",), ("--help-me",)], ids=str)
def test_any_other_word_is_refused(redis_url: str, tmp_path: Path, words: Sequence[str]) -> None:
    """Exit code 2, and what it understands."""
    with worker(redis_url, tmp_path, *words) as running:
        assert running.process.wait(30) == 2
        assert "worker.py [all|poll|deliver]" in running.log


@pytest.mark.parametrize(
    ("extra", "word"),
    [(("--appendonly", "no"), "appendonly"), (("--maxmemory-policy", "allkeys-lru"), "noeviction")],
    ids=["no AOF", "evicts"],
)
def test_a_redis_that_may_forget_is_refused(tmp_path: Path, extra: Sequence[str], word: str) -> None:
    """Exit code 5 with the fix; BRIDGE_REDIS_ALLOW_VOLATILE=true accepts it."""
    with RedisServer(extra=extra) as server:
        with worker(server.url, tmp_path) as running:
            assert running.process.wait(30) == 5
            assert word in running.log
            assert "BRIDGE_REDIS_ALLOW_VOLATILE=true" in running.log
        with worker(server.url, tmp_path, BRIDGE_REDIS_ALLOW_VOLATILE="true") as running:
            with Redis.from_url(server.url) as client:
                until(lambda: client.zcard("bridge:shifts:deliver"))
            assert running.stop() == 0


@pytest.mark.parametrize("kind", ["poll", "deliver"])
def test_a_worker_process_that_cannot_start_says_why(kind: str) -> None:
    """The child itself finds a Redis that may forget: exit code 5 and the fix, every time, not a silent 0."""
    with RedisServer(extra=("--appendonly", "no")) as server:
        environment = {"PATH": os.environ["PATH"], "BRIDGE_REDIS_URL": server.url}
        command = [sys.executable, "-m", "bridge.jobs", kind]
        children = [
            subprocess.Popen(command, cwd=HERE, env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
            for _ in range(3)
        ]
        for child in children:
            assert child.wait(30) == 5
            assert child.stderr is not None
            assert child.stdin is not None
            said = child.stderr.read()
            assert b"BRIDGE_REDIS_ALLOW_VOLATILE=true" in said
            assert b"Fatal Python error" not in said
            child.stderr.close()
            child.stdin.close()


@slow
def test_a_worker_process_that_is_still_starting_ends_at_once(tmp_path: Path) -> None:
    """SIGTERM while it has not reached Redis yet: it has nothing in flight, so it waits for nothing."""
    with RedisServer() as server:
        server.pause()
        environment = {"PATH": os.environ["PATH"], "BRIDGE_REDIS_URL": server.url}
        with (tmp_path / "child.log").open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "bridge.jobs", "poll"],
                cwd=HERE,
                env=environment,
                stdin=subprocess.PIPE,
                stderr=log,
            )
        until(lambda: len(list(Path(f"/proc/{child.pid}/task").iterdir())) >= 3)  # main, life line, engine
        child.terminate()
        try:
            assert child.wait(4) == 0
        finally:
            child.kill()
            child.wait()
            assert child.stdin is not None
            child.stdin.close()
            server.resume()
        assert "Fatal Python error" not in (tmp_path / "child.log").read_text()


@slow
def test_a_redis_that_comes_later_is_waited_for(tmp_path: Path) -> None:
    """Redis is not there yet at the start: a line says so, and when it is there, the work begins."""
    with RedisServer() as server:
        server.kill()
        with worker(server.url, tmp_path) as running:
            until(lambda: running.said("redis.away"))
            server.start()
            with Redis.from_url(server.url) as client:
                until(lambda: client.zcard("bridge:shifts:poll") and client.zcard("bridge:shifts:deliver"), 30)
            assert running.stop() == 0


@slow
def test_without_a_key_it_still_delivers(town: Town) -> None:
    """No API key: it starts, warns, polls nothing, and delivers what is owed."""
    with town.worker() as running:
        town.round_trip()
        town.receiver.always(500)
        step = town.change()
        until(lambda: town.arrived(step))
        assert running.stop() == 0
    asked = len(town.simulator.requests)
    town.receiver.always(204)
    with town.worker(TWELVELABS_API_KEY="") as running, Redis.from_url(town.redis.url) as client:
        until(lambda: running.said("poll.no_key"))
        until(lambda: not client.zcard("bridge:queue:mine") and not client.zcard("bridge:leases:mine"), 30)
        assert running.stop() == 0
    assert len(town.simulator.requests) == asked
    assert town.receiver.valid[-1].attempt == 2


def test_no_secret_is_said_on_the_way(redis_url: str, tmp_path: Path) -> None:
    """P8: neither the key nor the default secret is in the log of a start and an end."""
    secrets = {"TWELVELABS_API_KEY": "tlk_canary_0123456789", "BRIDGE_DELIVERY_DEFAULT_SECRET": SECRET}
    with (
        worker(redis_url, tmp_path, BRIDGE_LOG_LEVEL="DEBUG", **secrets) as running,
        Redis.from_url(redis_url) as client,
    ):
        until(lambda: client.zcard("bridge:shifts:deliver"))
        arguments = [Path(f"/proc/{pid}/cmdline").read_text() for pid in (running.process.pid, *running.children())]
        assert running.stop() == 0
        for value in secrets.values():
            assert value not in running.log
            assert value not in "".join(arguments)
            assert not any(re.search(value, str(client.hgetall(key))) for key in client.keys("rq:job:*"))
