"""Real processes, an upstream that lies, and kills: what upstream truly said arrives, once, and nothing else does."""

import random
from pathlib import Path

import pytest
from crowd import HOOKS, STATES, everybody_knows, judge, kill_tree, leased, move_on, populate
from redis import Redis
from redis.exceptions import RedisError
from town import a_town
from until import until

from bridge.sandbox import faults
from bridge.sandbox.faults import Fault

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_800)]

TASKS = 40
STALE = {"status": "validating", "updated_at": "2020-01-01T00:00:00Z"}
GARBAGE = Fault(raw=b"\x00\xff\x13garbage \r\n\r\n")
SHAPES = (
    faults.patched(status=7), faults.patched(_id="another"), Fault(200, b"[]"), Fault(200, b'{"data": {}}'),
)  # fmt: skip


LONGEST = 6
"""The most lies in a row."""


def lies(seed: int, length: int = 4_099) -> list[Fault | None]:
    """A prime number of answers, so that no crowd of tasks keeps step with them and each hears its own lie for ever.

    10 % 503, 1 % hangs, 10 % stale, 10 % of another shape, 5 % truncated, 5 % garbage, 5 % HTML; else the truth. After
    LONGEST lies it comes: the last task left hears all of a row, and waits longer each time.
    """
    dice = random.Random(seed)
    told = [faults.unavailable()] * 10 + [faults.hang()] + [faults.patched(**STALE)] * 10 + [faults.truncated()] * 5
    told += [dice.choice(SHAPES) for _ in range(10)] + [GARBAGE] * 5 + [faults.html(200)] * 5
    bag: list[Fault | None] = [*told, *[None] * (100 - len(told))]
    said = [dice.choice(bag) for _ in range(length)]
    for i in range(LONGEST, length):
        if None not in said[i - LONGEST : i + 1]:
            truth = said.index(None, i)
            said[i], said[truth] = None, said[i]
    return said


SETTINGS = {"BRIDGE_POLL_INTERVAL_SECONDS": "0.5", "BRIDGE_DELIVERY_SCHEDULE_SECONDS": "0,1,2,2,2,2"}


def test_an_upstream_that_lies_is_not_believed(tmp_path: Path, soak: bool) -> None:
    with a_town(tmp_path, fsync="always") as town, town.worker(**SETTINGS):
        names = populate(town, TASKS * (10 if soak else 1))
        until(lambda: everybody_knows(town, names), 60)
        town.simulator.fault("/tasks/*", *lies(1), repeat=True)
        for status in ("indexing", "ready"):
            move_on(town, names, status)
            until(lambda: everybody_knows(town, names), 240)
        figures = judge(town, names)
        print("lying upstream:", figures)
        assert figures["arrivals"] == STATES * len(names) * len(HOOKS)
        assert (figures["doubled"], figures["late"]) == (0, 0)


def test_kills_among_lies_lose_no_end(tmp_path: Path, soak: bool) -> None:
    with a_town(tmp_path, fsync="always") as town:
        with town.worker(**SETTINGS) as first:
            names = populate(town, TASKS * (10 if soak else 1))
            until(lambda: everybody_knows(town, names), 60)
            town.simulator.fault("/tasks/*", *lies(1), repeat=True)
            move_on(town, names, "indexing")
            until(lambda: any(a.status == "indexing" for a in town.receiver.arrivals), 60)
            kill_tree(first)
            in_hand = leased(town.redis.url)
        with town.worker(**SETTINGS):
            until(lambda: everybody_knows(town, names), 240)
            move_on(town, names, "ready")
            until(lambda: any(a.status == "ready" for a in town.receiver.arrivals), 60)
            town.redis.kill()
            town.redis.start()
            in_hand += leased(town.redis.url)
            until(lambda: everybody_knows(town, names), 240)
            figures = judge(town, names)
            print("lying upstream, killed:", figures, "in hand:", in_hand)
            assert figures["doubled"] <= in_hand
            assert figures["late"] <= in_hand


def owed(url: str) -> int:
    """Deliveries that have not ended."""
    try:
        with Redis.from_url(url) as client:
            return sum(client.zcard(f"bridge:{kind}:{hook}") for hook in HOOKS for kind in ("queue", "leases"))
    except RedisError:
        return 1


def test_sigterm_under_load_doubles_and_loses_nothing(tmp_path: Path) -> None:
    """About 200 deliveries a second at a receiver that takes its time; a worker stops, another goes on."""
    with a_town(tmp_path) as town:
        with town.worker(**SETTINGS) as first:
            names = populate(town, 200)
            until(lambda: everybody_knows(town, names), 60)
            move_on(town, names, "indexing")
            until(lambda: sum(a.status == "indexing" for a in town.receiver.arrivals) > 100, 60)
            assert first.stop() == 0
            cut = sum(a.status == "indexing" for a in town.receiver.arrivals)
            assert cut < len(names) * len(HOOKS), "it stopped too late to prove anything"
        with town.worker(**SETTINGS):
            until(lambda: everybody_knows(town, names), 120)
            move_on(town, names, "ready")
            until(lambda: everybody_knows(town, names) and not owed(town.redis.url), 120)
        figures = judge(town, names)
        print("SIGTERM:", figures, "arrived before:", cut)
        assert figures["arrivals"] == STATES * len(names) * len(HOOKS)
        assert (figures["doubled"], figures["late"]) == (0, 0)
