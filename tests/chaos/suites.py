"""The proofs that a mutant must not pass, each as what it finds wrong, one run after another.

Those that take a Redis run in this process; the others are tests as they are, in a process of their own.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from fate import Fair, Fate, One
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from laboratory import lab_at, small_steps
from redis import Redis as SyncRedis
from scenario import tell
from second import NARROW, stage
from second import tell as tell_second
from test_state_machine import TheStore
from weather import Storm

ROOT = Path(__file__).parents[2]
SEEDS = 60
EXAMPLES = 400
SINGLE = ((Fate.KILL_AFTER, 0), (Fate.LOSE, 1))
"""Faults of the crash points that are tried here, and what each may repeat."""

Suite = Callable[[SyncRedis], Iterator[list[str]]]


def crash_points(redis: SyncRedis) -> Iterator[list[str]]:
    """The first story: fair weather, then single faults from a third of it on."""
    fair = Fair()
    yield tell(redis, fair)[1]
    for number in range(len(fair.passed) // 3, len(fair.passed), 5):
        for fate, faults in SINGLE:
            yield tell(redis, One(number, fate), faults=faults)[1]


def second_story(redis: SyncRedis) -> Iterator[list[str]]:
    """The second one, likewise."""
    image, fair = stage(redis, NARROW), Fair()
    yield tell_second(redis, image, NARROW, fair)[1]
    for number in range(len(fair.passed) // 3, len(fair.passed), 5):
        for fate, faults in SINGLE:
            yield tell_second(redis, image, NARROW, One(number, fate), faults=faults)[1]


def storms(redis: SyncRedis) -> Iterator[list[str]]:
    """The first story in bad weather."""
    for seed in range(SEEDS):
        storm = Storm(seed)
        yield tell(redis, storm, faults=1_000_000, seed=seed, trouble=storm.rage)[1]


def state_machine(redis: SyncRedis) -> Iterator[list[str]]:
    """Any order of calls to the store, the same ones each time."""
    chosen = settings(
        max_examples=EXAMPLES, stateful_step_count=40, deadline=None, phases=[Phase.generate], derandomize=True,
        database=None, report_multiple_bugs=False, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    with small_steps(), lab_at(f"redis://127.0.0.1:{redis.connection_pool.connection_kwargs['port']}") as lab:
        try:
            run_state_machine_as_test(type("TheStoreMutated", (TheStore,), {"lab": lab}), settings=chosen)
        except AssertionError as broken:
            yield [str(broken) or "an assertion failed"]


def selected(*names: str) -> Suite:
    """Tests by their names, on the mutant that the environment names: those of them that fail."""

    def suite(_: SyncRedis) -> Iterator[list[str]]:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "mutated", "-p", "no:cacheprovider", *names]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
        assert run.returncode in {0, 1}, run.stdout + run.stderr
        yield [line for line in run.stdout.splitlines() if line.startswith("FAILED")]

    return suite
