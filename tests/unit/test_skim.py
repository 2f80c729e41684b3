"""A pass over upstream's list, as values: when it ends, where the next one may, what is told of a row. No I/O."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from factories import START, a_snapshot, an_observation, instant

from bridge.model import Observation
from bridge.skim import AHEAD_MS, OVERLAP_MS, QUIET_MS, Pass, Weight, is_plain, weigh

HOUR = 3_600_000


def rows(*moments: int) -> list[Observation]:
    """Rows of tasks of their own, updated so many ms after the start."""
    return [an_observation("queued", START + one, task_id=f"t{n}", from_list=True) for n, one in enumerate(moments)]


def a_pass(*moments: int, mark: int | None = START, **fields: Any) -> Pass:
    """A pass that has read a full page of these."""
    made = Pass(mark, START, **{"deep": False, **fields})
    made.add(rows(*moments), last=False, dated=instant(START))
    return made


def test_a_pass_ends_where_the_one_before_began() -> None:
    """Three rows below the mark; one or two may be out of place."""
    assert not a_pass(0, -10, -20).complete
    assert a_pass(0, -10, -20, -30).complete


def test_a_deep_pass_goes_on() -> None:
    """Two minutes further."""
    below = [-OVERLAP_MS - n for n in (1, 2, 3)]
    assert not a_pass(0, *range(-10, -OVERLAP_MS, -10_000), deep=True).complete
    assert a_pass(0, *below, deep=True).complete


def test_a_first_pass_begins_two_minutes_ago() -> None:
    """Whoever lists for the first time has read all by id a moment ago."""
    assert not a_pass(0, -OVERLAP_MS + 1, mark=None).complete
    assert a_pass(0, *(-OVERLAP_MS - n for n in (1, 2, 3)), mark=None).complete


@pytest.mark.parametrize("ahead", [1_000, HOUR, 1_000 * HOUR])
def test_no_row_moves_the_mark_ahead_of_upstreams_time(ahead: int) -> None:
    """What happens until then would be hidden."""
    assert a_pass(ahead, -10).next_mark == START
    assert a_pass(-10, mark=START + ahead).next_mark == START


def test_the_mark_follows_upstreams_clock_and_not_ours() -> None:
    """A quiet account is not read down to its last change in each pass; where upstream tells no time, it is."""
    made = Pass(START - HOUR, START)
    made.add(rows(-HOUR), last=False, dated=instant(START - 600_000))
    assert made.next_mark == START - 600_000 - QUIET_MS
    undated = Pass(START - HOUR, START)
    undated.add(rows(-HOUR + 5), last=False)
    assert undated.next_mark == START - HOUR + 5
    nonsense = Pass(START - HOUR, START)
    nonsense.add(rows(-HOUR + 5), last=False, dated=datetime(1999, 1, 1, tzinfo=UTC))
    assert nonsense.next_mark == START - HOUR + 5


@pytest.mark.parametrize(
    ("moments", "lies"),
    [
        ((0, -1_000, -2_000, -2_000), False),
        ((0, -9_000, -8_100, -9_500, -8_600, -9_700, -8_900), False),
        ((0, -5_000, -2_000, -9_000, -3_000), False),
        ((0, -5_000, -2_000, -9_000, -3_000, -9_000, -1_000), True),
    ],
    ids=["sorted", "within a second", "two moved meanwhile", "another order"],
)
def test_a_page_in_another_order_is_a_lie(moments: tuple[int, ...], lies: bool) -> None:
    """But not in a list of one page, which shows all in any order."""
    assert bool(a_pass(*moments).lie) is lies
    whole = Pass(START, START)
    whole.add(rows(*moments), last=True)
    assert (whole.complete, whole.lie) == (True, "")


def test_a_row_is_ahead_by_upstreams_clock() -> None:
    """A minute is nothing."""
    made = a_pass(0)
    near, far = rows(AHEAD_MS, AHEAD_MS + 1)
    assert (made.is_ahead(near), made.is_ahead(far)) == (False, True)


@pytest.mark.parametrize(
    ("status", "at", "plain"),
    [
        ("indexing", 5, True),
        ("composting", 5, True),
        ("ready", 5, False),
        ("failed", 5, False),
        ("queued", 5, False),
        ("indexing", 0, False),
        ("indexing", -5, False),
    ],
)
def test_a_row_is_told_unasked_if_nothing_speaks_against_it(status: str, at: int, plain: bool) -> None:
    """Another status, later, and no end."""
    assert is_plain(a_snapshot("queued"), an_observation(status, START + at)) is plain


@pytest.mark.parametrize(
    ("row", "seen", "weight"),
    [
        (("ready", 10), ("ready", 10), Weight.AGREES),
        (("ready", 10), ("ready", 5), Weight.AGREES),
        (("ready", 10), ("indexing", 5), Weight.CONTRADICTS),
        (("ready", 10), ("indexing", 10), Weight.CONTRADICTS),
        (("ready", 10), ("failed", 10), Weight.CONTRADICTS),
        (("ready", 10), ("indexing", 20), Weight.AGREES),
        (("indexing", 10), ("ready", 20), Weight.MOVED_ON),
        (("indexing", 10), ("ready", 10), Weight.MOVED_ON),
        (("queued", 10), ("queued", 10), Weight.AGREES),
        (("queued", 10), ("queued", 0), Weight.CONTRADICTS),
        (("queued", 10), ("indexing", 20), Weight.MOVED_ON),
        (("pending", 0), ("indexing", 20), Weight.AGREES),
    ],
)
def test_the_task_is_right(row: tuple[str, int], seen: tuple[str, int], weight: Weight) -> None:
    """An end is told by the task alone; what it has passed is told before what it is."""
    told = weigh(a_snapshot("queued"), *(an_observation(status, START + at) for status, at in (row, seen)))
    assert told is weight


def test_a_task_whose_row_is_all_that_is_known_agrees() -> None:
    """It has not been seen yet."""
    later = an_observation("indexing", updated_at=instant(START) + timedelta(seconds=1))
    assert weigh(None, an_observation("queued"), later) is Weight.AGREES
