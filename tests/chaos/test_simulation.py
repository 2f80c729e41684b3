"""The same story under a storm, many times; each seed is a run that can be repeated."""

import pytest
from redis import Redis as SyncRedis
from scenario import tell
from weather import Storm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3_600)]

SEEDS = 200
SLICES = 10
SOAK = 20
"""Times as many seeds in `make soak`."""


def weathered(redis: SyncRedis, seed: int) -> tuple[Storm, list[str]]:
    """One storm, and what it broke. Duplicates and order are not promised while Redis forgets and workers freeze."""
    storm = Storm(seed)
    _, complaints = tell(redis, storm, faults=1_000_000, seed=seed, trouble=storm.rage)
    return storm, complaints


@pytest.mark.parametrize("part", range(SLICES))
def test_every_storm_is_weathered(world_redis: SyncRedis, part: int, soak: bool) -> None:
    for seed in range(part, SEEDS * (SOAK if soak else 1), SLICES):
        _, complaints = weathered(world_redis, seed)
        assert complaints == [], f"seed {seed}"


def test_a_seed_is_a_run(world_redis: SyncRedis) -> None:
    first, _ = weathered(world_redis, 1)
    second, _ = weathered(world_redis, 1)
    assert first.befell == second.befell
    assert len(first.befell) > 5
