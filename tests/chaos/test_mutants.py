"""The proofs are proved: each mutant turns one of them red."""

from collections.abc import Iterator

import pytest
from fate import Fair, Fate, One
from mutants import MUTANTS, Mutant
from redis import Redis as SyncRedis
from scenario import tell
from weather import Storm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SEEDS = 60


def runs(redis: SyncRedis, length: int) -> Iterator[list[str]]:
    """What is wrong in one run after another: fair weather, single faults from the middle on, storms."""
    yield tell(redis, Fair())[1]
    for number in range(length // 3, length, 5):
        for fate in (Fate.KILL_AFTER, Fate.LOSE):
            yield tell(redis, One(number, fate), faults=0 if fate is Fate.KILL_AFTER else 1)[1]
    for seed in range(SEEDS):
        storm = Storm(seed)
        yield tell(redis, storm, faults=1_000_000, seed=seed, trouble=storm.rage)[1]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_mutant_does_not_live(world_redis: SyncRedis, mutant: Mutant) -> None:
    fair = Fair()
    assert tell(world_redis, fair)[1] == []
    with mutant():
        assert any(complaints for complaints in runs(world_redis, len(fair.passed))), "every proof stayed green"
