"""Redis restarts, dies, fills up, refuses, forgets and dawdles under a real worker tree, which goes on by itself."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from ledger import disagreements
from redis import Redis
from redis.exceptions import ResponseError
from town import Running, Town, a_town
from until import until
from wire import Trouble, Wire

from bridge.sandbox.message import Response
from bridge.sandbox.timeline import Step
from bridge.store.reading.trips import as_delivery

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SETTINGS = {
    "BRIDGE_POLL_DEADLINE_SECONDS": "1",
    "BRIDGE_POLL_LEASE_SECONDS": "6",
    "BRIDGE_DELIVERY_SCHEDULE_SECONDS": "0,1,1,1",
    "BRIDGE_SHIFT_SECONDS": "3",
}
"""Short leases and shifts: what a lost answer costs is a lease, and every trouble meets the end of a shift."""

RECOVERY_SECONDS = 40.0


class Troubled:
    """A worker tree that reaches its Redis over a wire, and what trouble may do to either."""

    def __init__(self, town: Town, wire: Wire, running: Running) -> None:
        self.town, self.wire, self.running = town, wire, running
        self.children = sorted(running.children())

    @contextmanager
    def client(self) -> Iterator["Redis"]:
        """A look at Redis beside the wire."""
        with Redis.from_url(self.town.redis.url) as client:
            yield client

    def trouble(self, count: int, word: str = "") -> list[dict[str, Any]]:
        """What the workers said of a Redis that is away after the first `count` times, with this word in it.

        The trouble before may be complained of once more when the next one has begun.
        """
        return [line for line in self.running.said("redis.away")[count:] if word in line["error"]]

    def goes_on(self) -> None:
        """Changes flow; no process ended, nothing arrived twice or late or unsigned, no fault of ours was logged."""
        for _ in range(3):
            self.town.round_trip(RECOVERY_SECONDS)
        assert sorted(self.running.children()) == self.children, self.running.log[-3000:]
        assert not self.town.receiver.duplicates
        assert not self.town.receiver.out_of_order
        assert not self.town.receiver.invalid
        faults = [line for name in ("pump.fault", "upkeep.fault", "worker.fault") for line in self.running.said(name)]
        assert not faults, faults[:3]


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Troubled]:
    """One town for all the troubles here, so each also meets what those before it left behind."""
    with a_town(tmp_path_factory.mktemp("town"), fsync="always") as town:
        wire = Wire(town.redis.port)
        with wire.in_thread(), town.worker(redis_url=wire.url, **SETTINGS) as running:
            town.round_trip()
            yield Troubled(town, wire, running)
            assert running.stop() == 0
        with Redis.from_url(town.redis.url) as client:
            assert not disagreements(client)


Befall = Callable[[Troubled], AbstractContextManager[None]]


@contextmanager
def killed(at: Troubled) -> Iterator[None]:
    """kill -9, and a start."""
    at.town.redis.kill()
    try:
        yield
    finally:
        at.town.redis.start()


@contextmanager
def frozen(at: Troubled) -> Iterator[None]:
    """SIGSTOP, and SIGCONT."""
    at.town.redis.pause()
    try:
        yield
    finally:
        at.town.redis.resume()


@contextmanager
def replica_of_nobody(at: Troubled) -> Iterator[None]:
    """READONLY: a replica of a dead host, and a primary again."""
    with at.client() as client:
        client.replicaof("127.0.0.1", 9)
        try:
            yield
        finally:
            client.replicaof("NO", "ONE")


@contextmanager
def without_replicas(at: Troubled) -> Iterator[None]:
    """NOREPLICAS: it takes no write without a replica, and has none."""
    with configured(at, "min-replicas-to-write", "1", "0"):
        yield


@contextmanager
def configured(at: Troubled, name: str, value: str, after: str) -> Iterator[None]:
    """A configuration, and another."""
    with at.client() as client:
        client.config_set(name, value)
        try:
            yield
        finally:
            client.config_set(name, after)


@contextmanager
def unpermitted(at: Troubled) -> Iterator[None]:
    """NOPERM: the user may run no script."""
    with at.client() as client:
        cast(Any, client).execute_command("ACL", "SETUSER", "default", "-evalsha")
        try:
            yield
        finally:
            cast(Any, client).execute_command("ACL", "SETUSER", "default", "+evalsha")


@contextmanager
def busy(at: Troubled) -> Iterator[None]:
    """BUSY: somebody's script runs on and on."""

    def spin() -> None:
        with at.client() as client, pytest.raises(ResponseError, match="killed"):
            client.eval("while true do end", 0)

    with configured(at, "lua-time-limit", "50", "5000"):
        spinner = threading.Thread(target=spin)
        spinner.start()
        try:
            yield
        finally:
            with at.client() as client:
                client.script_kill()
            spinner.join()


def answering(error: str) -> Befall:
    """Every command is answered with an error, as by a server that only says this."""

    @contextmanager
    def befall(at: Troubled) -> Iterator[None]:
        with at.wire.spoiling(Trouble(error=error)):
            yield

    return befall


AWAY: dict[str, Befall] = {
    "killed": killed,
    "readonly": replica_of_nobody,
    "noreplicas": without_replicas,
    "noperm": unpermitted,
    "busy": busy,
    "loading": answering("LOADING Redis is loading the dataset in memory"),
    "misconf": answering("MISCONF Redis is configured to save RDB snapshots, but it's unable to persist to disk."),
    "masterdown": answering("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."),
}


@pytest.mark.parametrize("trouble", AWAY)
def test_what_keeps_redis_from_working_is_waited_out(troubled: Troubled, trouble: str) -> None:
    """The log says what and the fix; a change of that time arrives once when it is over; the same processes go on."""
    before = len(troubled.running.said("redis.away"))
    word = "'evalsha'" if trouble == "noperm" else ""
    with AWAY[trouble](troubled):
        step = troubled.town.change()
        until(lambda: bool(troubled.trouble(before, word)), RECOVERY_SECONDS)
    until(partial(troubled.town.arrived, step), RECOVERY_SECONDS)
    assert all(line["fix"] for line in troubled.trouble(before))
    if trouble == "noperm":
        assert [line for line in troubled.trouble(before, word) if "ACL" not in line["fix"]] == []
    troubled.goes_on()


@pytest.mark.parametrize("seconds", [3.0, pytest.param(30.0, id="30.0-soak")])
@pytest.mark.parametrize("gone", [killed, frozen], ids=["killed", "frozen"])
def test_a_redis_that_is_gone_for_long_is_waited_for(
    troubled: Troubled, gone: Befall, seconds: float, soak: bool
) -> None:
    """Dead, or frozen with its connections open, for longer than any lease and any shift here."""
    if seconds > 5 and not soak:
        pytest.skip("the long form is for `make soak`")
    with gone(troubled):
        step = troubled.town.change()
        began = time.monotonic()
        until(lambda: time.monotonic() - began > seconds, seconds + 5)
    until(partial(troubled.town.arrived, step), RECOVERY_SECONDS)
    troubled.goes_on()


def test_a_clean_restart_costs_nothing(troubled: Troubled) -> None:
    """SIGTERM and a start, with changes before and after."""
    for _ in range(3):
        troubled.town.round_trip()
        troubled.town.redis.restart()
    troubled.goes_on()


def test_a_forgotten_script_is_loaded_again(troubled: Troubled) -> None:
    """SCRIPT FLUSH in mid-run, again and again: nobody notices."""
    before = len(troubled.running.said("redis.away"))
    with troubled.client() as client:
        for _ in range(5):
            client.script_flush()
            troubled.town.round_trip()
    assert not troubled.trouble(before)
    troubled.goes_on()


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble(delay_seconds=0.3),
        Trouble(half=True),
        Trouble(cut_before=True),
        Trouble(cut_after=True),
        Trouble(delay_seconds=6),
    ],
    ids=["slow", "half answers", "reset before", "reset after", "stalled"],
)
def test_a_bad_line_to_redis_loses_and_doubles_nothing(troubled: Troubled, trouble: Trouble) -> None:
    """Every answer late; or one command in three cut, before or after Redis ran it; or answers later than we wait."""
    lot, least = random.Random(11), 4 if trouble.delay_seconds > 1 else 30

    def judge(words: Sequence[bytes]) -> Trouble | None:
        return trouble if trouble.delay_seconds or lot.random() < 1 / 3 else None

    with troubled.wire.spoiling(judge):
        step = troubled.town.change()
        until(lambda: troubled.wire.spoilt.total() >= least, RECOVERY_SECONDS)
    until(partial(troubled.town.arrived, step), RECOVERY_SECONDS)
    troubled.goes_on()


def test_a_full_redis_is_emptied_but_takes_nothing_in(troubled: Troubled) -> None:
    """OOM for longer than any shift: what is owed is delivered, though RQ can write no job; intake and commits wait."""
    town = troubled.town
    if int(town.redis.version.split(".")[0]) < 7:
        pytest.skip("before 7.0 Redis knows no allow-oom: a full one takes nothing at all")
    town.receiver.script(Response(503, (("retry-after", "8"),)))
    step = town.change()
    until(partial(town.arrived, step))
    town.simulator.add_task("t2", timeline=(Step(0.0, {"status": "indexing"}),))
    with troubled.client() as client:
        until(lambda: pending(client) == [1])  # settled: due again, after every shift of now has ended
        pipe = client.pipeline(transaction=True)
        pipe.zadd("bridge:tasks", {"t2": 0}, nx=True)
        pipe.config_set("maxmemory", "1")
        pipe.execute()
        try:
            while_full = town.change()
            until(lambda: not pending(client), RECOVERY_SECONDS)
            assert client.zscore("bridge:tasks", "t2") == 0
            assert not client.exists("bridge:watch:t2")
            assert not town.arrived(while_full)
        finally:
            client.config_set("maxmemory", "0")
    until(partial(town.arrived, while_full), RECOVERY_SECONDS)
    until(lambda: any(arrival.task_id == "t2" for arrival in town.receiver.valid), RECOVERY_SECONDS)
    assert [arrival.attempt for arrival in town.receiver.valid if town.step_of(arrival) == step] == [1, 2]
    troubled.goes_on()


def pending(client: "Redis") -> list[int]:
    """The attempts made so far of each delivery that is still owed."""
    records = [as_delivery(text) for text in cast(Any, client.hvals("bridge:deliveries:mine"))]
    return [record["attempts"] for record in records if record["state"] == "pending"]


def test_a_worker_process_starts_on_a_redis_that_takes_no_writes(tmp_path: Path) -> None:
    """A full Redis, and a worker started now: it delivers what is owed all the same."""
    with a_town(tmp_path, fsync="always") as town:
        if int(town.redis.version.split(".")[0]) < 7:
            pytest.skip("before 7.0 Redis knows no allow-oom: a full one takes nothing at all")
        with town.worker(**SETTINGS) as running:
            town.round_trip()
            town.receiver.always(503)
            step = town.change()
            until(partial(town.arrived, step))
            assert running.stop() == 0
        town.receiver.always(204)
        with Redis.from_url(town.redis.url) as client, town.worker("deliver", **SETTINGS) as running:
            client.config_set("maxmemory", "1")
            until(lambda: not pending(client), RECOVERY_SECONDS)
            assert running.stop() == 0
            assert not running.said("worker.ended")
