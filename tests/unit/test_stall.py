"""When standing still is news: once, and not before a video's length explains it."""

import json

import pytest
from factories import START, a_snapshot, an_observation
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from bridge import events
from bridge.diff import Unchanged, diff
from bridge.event_schemas import event_schema
from bridge.model import Change, Observation, Snapshot
from bridge.stall import LONGEST_SECONDS, WAITING_FACTOR, length_ms, stall

HOUR = 3_600_000
PATIENCE = 2 * HOUR


def stalls(
    seen: Observation, after_ms: int, *, known: Snapshot | None = None, member: str = "t1", **more: int
) -> Change | None:
    """What there is to tell of a task, so long after it moved."""
    patience = {"patience_ms": PATIENCE} | more
    return stall(known or a_snapshot(seen.status, observed_at=START), seen, member, now=START + after_ms, **patience)


@pytest.mark.parametrize("status", ["uploading", "validating", "indexing", "odd"])
def test_a_task_that_stands_still_for_long_has_stalled(status: str) -> None:
    """Two hours since we saw it move; not a millisecond sooner."""
    assert stalls(an_observation(status), PATIENCE - 1) is None
    found = stalls(an_observation(status), PATIENCE)
    assert found is not None
    assert (found.changed, found.stalled_since) == (("stalled",), START)


@pytest.mark.parametrize("status", ["ready", "failed"])
def test_what_has_ended_stands_still_for_good(status: str) -> None:
    """Though its stream may be on its way."""
    assert stalls(an_observation(status, hls_status="PROCESSING"), 10**12) is None


@pytest.mark.parametrize("status", ["pending", "queued"])
def test_a_task_that_waits_for_others_has_more_time(status: str) -> None:
    """A hundred videos at once wait for each other through the night."""
    assert stalls(an_observation(status), WAITING_FACTOR * PATIENCE - 1) is None
    assert stalls(an_observation(status), WAITING_FACTOR * PATIENCE) is not None


@pytest.mark.parametrize(
    ("duration", "patience"),
    [(3 * 3_600, 3 * HOUR), (3 * 3_600.5, 3 * HOUR + 1_500), (60, PATIENCE), (0, PATIENCE), (-1, PATIENCE),
     ("9999", PATIENCE), (None, PATIENCE), (LONGEST_SECONDS, PATIENCE), (float("nan"), PATIENCE), ([], PATIENCE)],
    ids=str,
)  # fmt: skip
def test_a_long_video_may_take_as_long_as_it_lasts(duration: object, patience: int) -> None:
    """Indexing takes 30 to 40 % of that; a length that is none is not known."""
    seen = an_observation(system_metadata={"duration": duration})
    assert stalls(seen, patience - 1) is None
    assert stalls(seen, patience) is not None


@pytest.mark.parametrize("at", [START - 9 * HOUR, START - 10**10, START + 9 * HOUR, None], ids=str)
@pytest.mark.parametrize("member", ["t1", "asset:ix/a1", "analyze:n1"])
def test_by_our_clock_alone(at: int | None, member: str) -> None:
    """A time of upstream's in the wrong zone, or none at all, neither makes a stall nor hides one."""
    seen = an_observation(at=at)
    known = a_snapshot(at=at, observed_at=START)
    assert stalls(seen, PATIENCE - 1, known=known, member=member) is None
    assert stalls(seen, PATIENCE, known=known, member=member) is not None
    assert stalls(seen, 10**12, known=a_snapshot(at=at), member=member) is None


def test_a_row_that_leaves_the_length_out_tells_no_stall() -> None:
    """A reading by id says how long the video lasts, and comes."""
    known = a_snapshot(observed_at=START, system_metadata_digest="x")
    assert stalls(an_observation(), PATIENCE, known=known) is None
    assert stalls(an_observation(system_metadata={}), PATIENCE, known=known) is not None


def test_none_is_told_where_it_is_turned_off_or_the_task_is_gone() -> None:
    """0 is never."""
    assert stalls(an_observation(), 10**12, patience_ms=0) is None
    assert stalls(an_observation(), 10**12, known=a_snapshot(gone=True)) is None


def test_a_stall_is_told_once_and_the_next_one_is_another() -> None:
    """The same stall makes the same id, found again after a rollback too; whatever else was learnt of it."""
    seen = an_observation()
    known = a_snapshot(observed_at=START)
    first = stalls(seen, PATIENCE, known=known)
    assert first is not None
    event = events.event_from(first, "t1", now=START + PATIENCE)
    assert event.type == "index.task.stalled"
    after = events.snapshot_after(first, event)
    richer = an_observation(system_metadata={"duration": 5})
    again = stalls(richer, 3 * PATIENCE, known=known)
    assert again is not None
    assert events.event_from(again, "t1", now=START + 3 * PATIENCE).id == event.id
    assert stalls(seen, 10 * PATIENCE, known=after) is None
    later = stalls(an_observation("validating", START + HOUR), 4 * PATIENCE, known=after)
    assert later is not None
    assert events.event_from(later, "t1", now=START + 4 * PATIENCE).id != event.id


def test_a_stall_is_progress_and_no_status_of_upstreams() -> None:
    """It expires as progress does; upstream's own word `stalled` is told as one of its words."""
    change = stalls(an_observation(), PATIENCE)
    assert change is not None
    event = events.event_from(change, "t1", now=START + PATIENCE, metadata={"a": 1})
    assert not events.is_lasting(event.type, event.body)
    body = json.loads(event.body)
    assert (body["data"]["status"], body["data"]["previous"]["status"]) == ("indexing", "indexing")
    assert body["data"]["stalled_since"] == "2027-01-15T08:00:00.000Z"
    assert not [error.message for error in Draft202012Validator(event_schema()).iter_errors(body)]
    assert events.type_of(Change(an_observation("stalled"), None, ("status",))) == "index.task.status.stalled"


def test_after_a_stall_the_task_goes_on_as_ever() -> None:
    """What is unchanged is unchanged, and its next status an event."""
    change = stalls(an_observation(), PATIENCE)
    assert change is not None
    after = events.snapshot_after(change, events.event_from(change, "t1", now=START + PATIENCE))
    assert isinstance(diff(after, an_observation(), now=START + PATIENCE), Unchanged)
    moved = diff(after, an_observation("ready", START + 2 * PATIENCE), now=START + 2 * PATIENCE)
    assert isinstance(moved, Change)
    assert moved.stalled_since is None


@given(st.dictionaries(st.just("duration"), st.none() | st.booleans() | st.floats() | st.integers() | st.text()))
def test_any_length_is_a_length_or_none(metadata: dict[str, object]) -> None:
    """Upstream's number is not ours to trust."""
    assert 0 <= length_ms(an_observation(system_metadata=metadata)) <= LONGEST_SECONDS * 1000
