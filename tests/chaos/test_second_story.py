"""Crash points over the second story: each command and network phase gone wrong in each way, one at a time.

In its narrow form every point is visited (`make soak`; a sample in `make test`); in its wide one, with more endpoints
than one step of a hand-out takes, the hand-out and the commits around it, and in `make soak` a seventh of all.
"""

from collections.abc import Sequence

import pytest
from fate import Effect, Fair, Fate, One
from redis import Redis as SyncRedis
from second import NARROW, WIDE, Image, Size, stage, tell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7_200)]

SLICES = 4
LEAST = 500
SAMPLE, SPARSE = 48, 7
"""`make test` visits one in SAMPLE points of the narrow story, `make soak` one in SPARSE of the wide one."""
FATES = (Fate.KILL_BEFORE, Fate.KILL_AFTER, Fate.LOSE, Fate.CUT)
KILLS = {Fate.KILL_BEFORE, Fate.KILL_AFTER}
HANDS_OUT = {"redis EVALSHA commit", "redis EVALSHA fan_out"}


def told(redis: SyncRedis, size: Size) -> tuple[Image, list[Effect]]:
    """What the story begins with, and its points in fair weather."""
    image, fair = stage(redis, size), Fair()
    assert tell(redis, image, size, fair)[1] == []
    return image, fair.passed


def visit(redis: SyncRedis, size: Size, image: Image, points: Sequence[int], fate: Fate) -> None:
    """Let each of these points, and it alone, go wrong."""
    for number in points:
        one = One(number, fate)
        _, complaints = tell(redis, image, size, one, faults=0 if fate in KILLS else 1)
        assert one.met is not None
        assert complaints == [], f"{one.met} {fate}"


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["narrow", "wide"])
def test_the_second_story_has_all_it_is_about_and_ends_well(world_redis: SyncRedis, size: Size) -> None:
    image, fair = stage(world_redis, size), Fair()
    world, complaints = tell(world_redis, image, size, fair)
    assert complaints == []
    assert len(fair.passed) >= LEAST
    labels = {effect.label.removeprefix("redis EVALSHA ") for effect in fair.passed}
    assert {"fan_out", "steer_endpoint", "recover_deliveries", "claim_listing", "sweep", "net dial"} <= labels
    assert len(world.receiver.duplicates) == len(world.receiver.out_of_order) == 0
    arrived = [(a.path, a.task_id, a.status, a.attempt) for a in world.receiver.arrivals]
    again = arrived.index(("/s", "t1", "indexing", 2))
    assert arrived.index(("/a", "t1", "ready", 1)) < again < arrived.index(("/s", "t1", "ready", 1))
    assert ("/h", "t2", "failed", 4) in arrived
    assert {request.path for request in world.upstream.requests} >= {"/tasks"}


def test_the_second_story_is_the_same_each_time(world_redis: SyncRedis) -> None:
    image, points = told(world_redis, NARROW)
    again = Fair()
    tell(world_redis, image, NARROW, again)
    assert again.passed == points


@pytest.mark.parametrize("part", range(SLICES))
@pytest.mark.parametrize("fate", FATES)
def test_whatever_goes_wrong_once_in_the_second_story_is_survived(
    world_redis: SyncRedis, fate: Fate, part: int, soak: bool
) -> None:
    image, points = told(world_redis, NARROW)
    step = SLICES if soak else SAMPLE * SLICES
    first = 1 + part if soak else 1 + part * SAMPLE + FATES.index(fate) * SAMPLE // len(FATES)
    visit(world_redis, NARROW, image, range(first, len(points) + 1, step), fate)


@pytest.mark.parametrize("fate", sorted(KILLS | {Fate.LOSE}))
def test_a_hand_out_to_more_than_one_step_takes_survives_whatever_goes_wrong(
    world_redis: SyncRedis, fate: Fate, soak: bool
) -> None:
    if not soak and fate is not Fate.KILL_AFTER:
        pytest.skip("the narrow story has a hand-out under each fate; the others of the wide one are for `make soak`")
    image, points = told(world_redis, WIDE)
    chosen = [one.number for one in points if one.label in HANDS_OUT]
    if soak:
        chosen += range(1 + FATES.index(fate), len(points) + 1, SPARSE)
    visit(world_redis, WIDE, image, chosen, fate)
