"""Every Redis command and every network phase of one story, each of them gone wrong in each way, one at a time."""

import pytest
from fate import Fair, Fate, One
from redis import Redis as SyncRedis
from scenario import tell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3_600)]

SLICES = 4
LEAST = 300
FATES = (Fate.KILL_BEFORE, Fate.KILL_AFTER, Fate.LOSE, Fate.CUT)


def test_the_story_has_enough_points_and_ends_well(world_redis: SyncRedis) -> None:
    fair = Fair()
    world, complaints = tell(world_redis, fair)
    assert complaints == []
    assert len(fair.passed) >= LEAST
    labels = {effect.label for effect in fair.passed}
    assert {"net dial", "net request", "net answer", "redis EVALSHA commit", "redis EVALSHA settle"} <= labels
    assert len(world.receiver.duplicates) == len(world.receiver.out_of_order) == 0
    told = [(a.path, a.status, a.attempt) for a in world.receiver.arrivals if a.task_id == "t1"]
    assert ("/a", "indexing", 1) in told
    assert ("/b", "indexing", 3) in told
    assert world_redis.zcard("bridge:dead:b") == 1


def test_the_same_seed_tells_the_same_story(world_redis: SyncRedis) -> None:
    first, second = Fair(), Fair()
    tell(world_redis, first)
    tell(world_redis, second)
    assert first.passed == second.passed


@pytest.mark.parametrize("part", range(SLICES))
@pytest.mark.parametrize("fate", FATES)
def test_whatever_goes_wrong_once_is_survived(world_redis: SyncRedis, fate: Fate, part: int, soak: bool) -> None:
    fair = Fair()
    tell(world_redis, fair)
    points = range(1 + part, len(fair.passed) + 1, SLICES)
    if fate is Fate.CUT and not soak:
        points = points[::4]  # the caller's view of a lost reply; redis-py's own repeating is Fate.LOSE, all of it
    for number in points:
        one = One(number, fate)
        _, complaints = tell(world_redis, one, faults=0 if fate in {Fate.KILL_BEFORE, Fate.KILL_AFTER} else 1)
        assert one.met is not None
        assert complaints == [], f"{one.met} {fate}"
