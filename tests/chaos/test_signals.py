"""SIGTERM, SIGKILL and SIGSTOP to worker processes with work in hand: what was in hand comes again, nothing else."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from crowd import HOOKS, STATES, everybody_knows, judge, leased, move_on, populate
from ledger import disagreements
from redis import Redis
from town import Running, Town, a_town
from until import until

from bridge.sandbox import faults
from bridge.sandbox.message import Response
from bridge.sandbox.receiver import Arrival
from bridge.store.reading.trips import as_delivery

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SHORT = {
    "BRIDGE_POLL_DEADLINE_SECONDS": "1",
    "BRIDGE_POLL_LEASE_SECONDS": "6",
    "BRIDGE_DELIVERY_ENDPOINT_CONCURRENCY": "64",
}
LONG = {"BRIDGE_DELIVERY_DEADLINE_SECONDS": "15", "BRIDGE_DELIVERY_LEASE_SECONDS": "25"}
"""The leases of production, for `make soak`."""
LONGER_THAN_A_START = {"BRIDGE_DELIVERY_LEASE_SECONDS": "24"}
"""On a busy machine a worker needs many seconds until it delivers; 16 were too few once."""
TIME_ENOUGH = 90.0

Delivery = tuple[str, str]
"""Path and event id."""


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with a_town(tmp_path, fsync="always") as town:
        yield town


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """SIGSTOP, and SIGCONT in the end."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def in_hand(town: Town) -> set[Delivery]:
    """What is leased just now."""
    with Redis.from_url(town.redis.url) as client:
        entries = {hook: cast(list[bytes], client.zrange(f"bridge:leases:{hook}", 0, -1)) for hook in HOOKS}
    return {(f"/{hook}", entry.decode().split("/")[0]) for hook, found in entries.items() for entry in found}


def tasks_in_hand(town: Town, names: list[str]) -> int:
    """How many tasks are leased just now."""
    with Redis.from_url(town.redis.url) as client:
        return sum(client.hexists(f"bridge:watch:{name}", "token") for name in names)


def in_the_last_second(town: Town) -> int:
    """Deliveries of the second state that arrived within the last second."""
    now = time.monotonic()
    return sum(now - arrival.at < 1 for arrival in town.receiver.arrivals if arrival.status == "indexing")


def repeated(town: Town) -> list[Arrival]:
    """Every arrival after the first one of its delivery."""
    return [arrival for arrival in town.receiver.arrivals if arrival.earlier]


def arrived(town: Town, names: list[str], status: str) -> bool:
    """Whether this state of all these tasks has arrived at every hook."""
    seen = {(arrival.path, arrival.task_id) for arrival in town.receiver.arrivals if arrival.status == status}
    return seen >= {(f"/{hook}", name) for hook in HOOKS for name in names}


def is_well_kept(town: Town) -> bool:
    """Redis agrees with itself, and every delivery ended as delivered after one settled attempt."""
    with Redis.from_url(town.redis.url) as client:
        assert not disagreements(client)
        texts = [text for hook in HOOKS for text in cast(Any, client.hvals(f"bridge:deliveries:{hook}"))]
    records = [as_delivery(text) for text in texts]
    assert {(record["state"], record["attempts"]) for record in records} == {("delivered", 1)}
    return True


def test_sigterm_under_load_lets_all_in_hand_finish(town: Town, soak: bool) -> None:
    """Hundreds of deliveries a second, at receivers that take their time: exit 0, then another worker."""
    with town.worker(**SHORT) as first:
        names = populate(town, 600 if soak else 150)
        until(lambda: everybody_knows(town, names), TIME_ENOUGH)
        town.receiver.always(Response(204, delay_seconds=0.4))
        move_on(town, names, "indexing")
        until(lambda: leased(town.redis.url) > 100 and (not soak or in_the_last_second(town) >= 200), TIME_ENOUGH)
        rate, told_at = in_the_last_second(town), time.monotonic()
        first.process.terminate()
        assert first.process.wait(20) == 0
        took = time.monotonic() - told_at
        assert leased(town.redis.url) == 0
    before = sum(arrival.status == "indexing" for arrival in town.receiver.arrivals)
    town.receiver.always(204)
    with town.worker(**SHORT) as second:
        until(lambda: everybody_knows(town, names), TIME_ENOUGH)
        move_on(town, names, "ready")
        until(lambda: everybody_knows(town, names), TIME_ENOUGH)
        assert second.stop() == 0
    figures = judge(town, names)
    print(f"SIGTERM at {rate} deliveries/s, gone after {took:.1f} s: {figures}, {before} of {len(names) * len(HOOKS)}")
    assert before < len(names) * len(HOOKS), "it ended too late to prove anything"
    assert not repeated(town)
    assert not town.receiver.out_of_order
    assert is_well_kept(town)


def some_arrived(town: Town) -> bool:
    """Whether something that a worker has in hand has come to the receiver: leased is not yet sent."""
    held = in_hand(town)
    return any((arrival.path, arrival.id) in held for arrival in town.receiver.arrivals)


def test_what_a_killed_worker_had_in_hand_comes_again_and_delays_nothing_else(town: Town, soak: bool) -> None:
    """kill -9 with about 100 attempts out: they are made again after one lease; only their own tasks wait for that."""
    with town.worker(**SHORT, **(LONG if soak else LONGER_THAN_A_START)) as running:
        *names, other = populate(town, 41)
        until(lambda: everybody_knows(town, [*names, other]), TIME_ENOUGH)
        town.receiver.always(Response(204, delay_seconds=1.5))
        move_on(town, names, "indexing")
        until(lambda: leased(town.redis.url) >= 100 and some_arrived(town), TIME_ENOUGH)
        (victim,) = running.children("deliver")
        os.kill(victim, signal.SIGKILL)
        lost, killed_at = in_hand(town), max(arrival.at for arrival in town.receiver.arrivals)
        town.receiver.always(204)
        move_on(town, names, "ready")
        move_on(town, [other], "indexing")
        until(lambda: everybody_knows(town, [*names, other]), TIME_ENOUGH)
        until(lambda: not leased(town.redis.url), TIME_ENOUGH)
        assert running.stop() == 0
    again = repeated(town)
    assert {(arrival.path, arrival.id) for arrival in again} <= lost
    assert max(arrival.earlier for arrival in again) == 1
    # Claimed and killed before its POST: the lease's end makes it due again beside its successor.
    assert {(arrival.path, arrival.id) for arrival in town.receiver.out_of_order} <= lost
    others = [arrival.at for arrival in town.receiver.arrivals if arrival.task_id == other]
    assert max(others) < min(arrival.at for arrival in again), "another task waited for a lease that was not its own"
    waited = max(arrival.at for arrival in again) - killed_at
    print(f"kill -9 with {len(lost)} in hand: {len(again)} came again within {waited:.1f} s, lost 0")
    assert is_well_kept(town)


def kill_poll_worker(running: Running) -> None:
    (victim,) = running.children("poll")
    os.kill(victim, signal.SIGKILL)


def kill_supervisor(running: Running) -> None:
    running.process.kill()
    running.process.wait()


@pytest.mark.parametrize("kill", [kill_poll_worker, kill_supervisor], ids=["poll worker", "supervisor"])
def test_a_kill_of_who_delivers_nothing_doubles_nothing(town: Town, kill: Callable[[Running], None]) -> None:
    """kill -9 of the poll worker with reads under way, or of the supervisor, whose children finish and then end."""
    with town.worker(**SHORT) as first:
        names = populate(town, 40)
        until(lambda: everybody_knows(town, names), TIME_ENOUGH)
        town.simulator.fault("/tasks/*", *[faults.slow(0.3)] * len(names))
        town.receiver.always(Response(204, delay_seconds=0.2))
        move_on(town, names, "indexing")
        until(lambda: tasks_in_hand(town, names) > len(names) // 2, TIME_ENOUGH)
        kill(first)
        with town.worker(**SHORT) as second:
            until(lambda: everybody_knows(town, names), TIME_ENOUGH)
            move_on(town, names, "ready")
            until(lambda: everybody_knows(town, names), TIME_ENOUGH)
            assert second.stop() == 0
        if kill is kill_poll_worker:
            assert first.stop() == 0
    assert judge(town, names)["arrivals"] == STATES * len(names) * len(HOOKS)
    assert not repeated(town)
    assert not town.receiver.out_of_order
    assert is_well_kept(town)


def test_a_worker_that_wakes_after_its_lease_settles_nothing(town: Town) -> None:
    """SIGSTOP with attempts out, beyond their lease; others go on with later states; SIGCONT: its word is stale."""
    with town.worker(**SHORT) as running:
        names = populate(town, 20)
        until(lambda: everybody_knows(town, names), TIME_ENOUGH)
        town.receiver.always(Response(204, delay_seconds=2.0))
        move_on(town, names, "indexing")
        until(lambda: arrived(town, names, "indexing"), TIME_ENOUGH)
        (victim,) = running.children("deliver")
        with frozen(victim):
            held = in_hand(town)
            town.receiver.always(204)
            with town.worker("deliver", **SHORT) as other:
                until(lambda: not leased(town.redis.url), TIME_ENOUGH)
                move_on(town, names, "ready")
                until(lambda: everybody_knows(town, names), TIME_ENOUGH)
                assert other.stop() == 0
        until(lambda: said_stale(running), TIME_ENOUGH)
        assert running.stop() == 0
    again = repeated(town)
    print(f"SIGSTOP beyond the lease with {len(held)} in hand: {len(again)} came again, {said_stale(running)} stale")
    judge(town, names)
    assert {(arrival.path, arrival.id) for arrival in again} <= held
    assert max(arrival.earlier for arrival in again) == 1
    assert not town.receiver.out_of_order
    assert is_well_kept(town)


def said_stale(running: Running) -> int:
    """How many attempts were settled too late to count."""
    return sum(line["settled"] == "stale" for line in running.said("delivery.attempted"))


def test_a_poll_worker_that_wakes_after_its_lease_commits_nothing(town: Town) -> None:
    """SIGSTOP with reads out, beyond their lease; another reads later states; SIGCONT: what it read is no news."""
    with town.worker(**SHORT) as running:
        names = populate(town, 20)
        until(lambda: everybody_knows(town, names), TIME_ENOUGH)
        move_on(town, names, "indexing")
        slow = town.simulator.fault("/tasks/*", faults.slow(0.5), repeat=True)
        until(lambda: slow.calls > len(names) // 2 and tasks_in_hand(town, names) > 1, TIME_ENOUGH)
        (victim,) = running.children("poll")
        with frozen(victim), town.worker("poll", **SHORT) as other:
            town.simulator.clear_faults()
            until(lambda: everybody_knows(town, names), TIME_ENOUGH)
            move_on(town, names, "ready")
            until(lambda: everybody_knows(town, names), TIME_ENOUGH)
            assert other.stop() == 0
        before = len(running.said("poll.round"))
        town.simulator.add_task("later", (), status="ready")
        with Redis.from_url(town.redis.url) as client:
            client.zadd("bridge:tasks", {"later": 0}, nx=True)
        until(lambda: everybody_knows(town, ["later"]) and len(running.said("poll.round")) > before, TIME_ENOUGH)
        assert running.stop() == 0
    arrivals = [arrival for arrival in town.receiver.arrivals if arrival.task_id != "later"]
    assert len(arrivals) == STATES * len(names) * len(HOOKS)
    assert not repeated(town)
    assert not town.receiver.out_of_order
    assert is_well_kept(town)
