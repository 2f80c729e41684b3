"""What counts as a change, and the event that is made of it."""

import json
from itertools import pairwise
from typing import Any

import pytest
from factories import START, a_snapshot, an_endpoint, an_observation, instant
from hypothesis import given
from hypothesis import strategies as st

from bridge import diff, events, formats
from bridge.diff import Doubtful, Stale, Unchanged, parse_instant
from bridge.model import Change, Event, Observation, Snapshot


def commit(snapshot: Snapshot | None, seen: Observation, now: int) -> tuple[Event, Snapshot]:
    """What committing this reading makes; it must be a change."""
    verdict = diff.diff(snapshot, seen, now=now)
    assert isinstance(verdict, Change), verdict
    event = events.event_from(verdict, "t1", now=now)
    return event, events.snapshot_after(verdict, event)


def test_the_first_sight_is_a_change_without_a_previous() -> None:
    """Registering a finished task must not be silence."""
    verdict = diff.diff(None, an_observation("ready"), now=START)
    assert isinstance(verdict, Change)
    assert (verdict.previous, verdict.changed) == (None, ("status", "updated_at"))


@pytest.mark.parametrize(
    ("seen", "changed"),
    [
        (an_observation("ready", START + 1), ("status", "updated_at")),
        (an_observation("ready", START), ("status",)),
        (an_observation("indexing", START + 1), ("updated_at",)),
        (an_observation("indexing", START, hls_status="PROCESSING"), ("hls.status",)),
        (an_observation("indexing", START, system_metadata={"duration": 1.5}), ("system_metadata",)),
    ],
)
def test_each_watched_field_is_a_change_of_its_own(seen: Observation, changed: tuple[str, ...]) -> None:
    """Status, updated_at, hls.status and system_metadata; equal times with another status are a change too."""
    verdict = diff.diff(a_snapshot(), seen, now=START)
    assert isinstance(verdict, Change)
    assert verdict.changed == changed


def test_a_field_left_out_is_unknown_not_changed() -> None:
    """A thin row says nothing about hls or metadata."""
    snapshot = a_snapshot(hls_status="COMPLETE", system_metadata_digest="d")
    assert isinstance(diff.diff(snapshot, an_observation(), now=START), Unchanged)


@pytest.mark.parametrize(
    "text", ["2027-01-15T08:00:00Z", "2027-01-15T17:00:00.000+09:00", "2027-01-15t08:00:00.000000000z"]
)
def test_instants_are_compared_not_their_text(text: str) -> None:
    """The same moment in another precision, offset or case is no change."""
    seen = an_observation(updated_at=parse_instant(text), updated_at_text=text)
    assert seen.updated_at == instant(START)
    assert isinstance(diff.diff(a_snapshot(), seen, now=START), Unchanged)


@pytest.mark.parametrize(
    "text",
    ["", "now", "2027-01-15", "2027-01-15T08:00:00", "20270115T080000Z", "2027-13-15T08:00:00Z",
     "2027-01-15T08:00:00.Z", "2027-01-15T08:00:00.0123456789Z", "２０２７-01-15T08:00:00Z", "2027-01-15T08:00:00Z\n"],
)  # fmt: skip
def test_what_is_not_an_instant_is_none(text: str) -> None:
    """RFC 3339 with an offset, or nothing."""
    assert parse_instant(text) is None


@given(st.text(max_size=40))
def test_no_text_makes_the_clock_reader_raise(text: str) -> None:
    """Whatever upstream writes."""
    parse_instant(text)


def test_an_older_reading_is_stale_whatever_it_says() -> None:
    """A lagging replica tells nobody anything."""
    assert isinstance(diff.diff(a_snapshot("ready"), an_observation("indexing", START - 1), now=START), Stale)


@pytest.mark.parametrize(
    ("snapshot", "seen"),
    [
        (a_snapshot(), an_observation("exploded", START + 1)),
        (a_snapshot(), an_observation("ready", None)),
        (a_snapshot(), an_observation("ready", None, updated_at_text="yesterday")),
        (a_snapshot("ready"), an_observation("indexing", START + 1)),
        (a_snapshot("ready"), an_observation("failed", START + 1)),
        (a_snapshot(), an_observation("ready", START + 1, task_id=None)),
        (None, an_observation("exploded")),
        (None, an_observation("indexing", None)),
    ],
)
def test_an_unlikely_reading_is_believed_when_the_next_one_agrees(snapshot: Snapshot | None, seen: Observation) -> None:
    """Unknown status, no readable updated_at, leaving a terminal state: asked again, at least a second later."""
    doubt = diff.diff(snapshot, seen, now=START)
    assert isinstance(doubt, Doubtful)
    again = {"doubt": doubt.fingerprint, "doubted_at": START}
    assert isinstance(diff.diff(snapshot, seen, now=START + 999, **again), Doubtful)  # type: ignore[arg-type]
    assert isinstance(diff.diff(snapshot, seen, now=START + 1_000, **again), Change)  # type: ignore[arg-type]
    other = an_observation("exploded too", START + 2)
    assert isinstance(diff.diff(snapshot, other, now=START + 5_000, **again), Doubtful)  # type: ignore[arg-type]


READINGS = st.builds(
    an_observation,
    st.sampled_from(["validating", "pending", "queued", "indexing", "ready", "failed", "odd"]),
    st.one_of(st.none(), st.integers(0, 40).map(lambda step: START + step * 500)),
    hls_status=st.sampled_from([None, "PROCESSING", "COMPLETE"]),
    system_metadata=st.sampled_from([None, {"duration": 1.0}, {"duration": 2.0}]),
)


@given(st.lists(READINGS, max_size=30))
def test_whatever_upstream_says_the_history_makes_sense(readings: list[Observation]) -> None:
    """Any sequence of readings: revisions grow, times never fall, ids are unique, two events in a row differ."""
    snapshot: Snapshot | None = None
    doubt, doubted_at, now, made = None, None, START, list[tuple[Event, Snapshot]]()
    for seen in readings:
        now += 1_000
        verdict = diff.diff(snapshot, seen, doubt=doubt, doubted_at=doubted_at, now=now)
        if isinstance(verdict, Doubtful):
            doubted_at = doubted_at if verdict.fingerprint == doubt else now
            doubt = verdict.fingerprint
            continue
        doubt = doubted_at = None
        if isinstance(verdict, Change):
            event = events.event_from(verdict, "t1", now=now)
            snapshot = events.snapshot_after(verdict, event)
            made.append((event, snapshot))
    assert [e.revision for e, _ in made] == sorted({e.revision for e, _ in made})
    assert len({e.id for e, _ in made}) == len(made)
    times = [s.updated_at for _, s in made if s.updated_at]
    assert times == sorted(times)
    watched = [(s.status, s.updated_at, s.hls_status, s.system_metadata_digest) for _, s in made]
    assert all(before != after for before, after in pairwise(watched))


def test_the_same_change_found_again_has_the_same_id() -> None:
    """After a rollback of Redis the snapshot is old again: the receiver can drop what it has seen."""
    first, _ = commit(a_snapshot(), an_observation("ready", START + 5), START + 10)
    again, _ = commit(a_snapshot(), an_observation("ready", START + 5), START + 2_000)
    assert first.id == again.id
    assert again.revision > first.revision


def test_a_return_to_a_state_is_news() -> None:
    """Announced before, so its revision goes into the id."""
    one, snapshot = commit(None, an_observation("queued"), START)
    _, snapshot = commit(snapshot, an_observation("indexing"), START + 1)
    back, _ = commit(snapshot, an_observation("queued"), START + 2)
    assert back.id != one.id


def test_gone_is_one_event_and_coming_back_another() -> None:
    """An absence is announced once; the task found again is a change, even with the state it had."""
    verdict = diff.gone(a_snapshot())
    assert isinstance(verdict, Change)
    event = events.event_from(verdict, "t1", now=START)
    snapshot = events.snapshot_after(verdict, event)
    assert (event.type, snapshot.gone, snapshot.status) == ("index.task.gone", True, "indexing")
    assert isinstance(diff.gone(snapshot), Unchanged)
    back, after = commit(snapshot, an_observation(), START + 1)
    assert (back.type, after.gone) == ("index.task.indexing", False)


@pytest.mark.parametrize(
    ("status", "hls", "since", "finished"),
    [
        ("indexing", None, None, False),
        ("ready", None, START, True),
        ("failed", "COMPLETE", START, True),
        ("ready", "PROCESSING", START, False),
        ("ready", "PROCESSING", START - 24 * 3_600_000, True),
    ],
)
def test_a_task_ends_with_its_stream(status: str, hls: str | None, since: int | None, finished: bool) -> None:
    """Terminal, and the HLS stream absent, settled or given up after a day."""
    assert diff.is_finished(status, hls, since, START) is finished


def test_the_body_is_what_the_contract_says() -> None:
    """Shape, order of keys, and nothing else."""
    event, _ = commit(a_snapshot("indexing", START, revision=5), an_observation("ready", START + 871), START + 1_123)
    body = json.loads(event.body)
    assert list(body) == ["type", "timestamp", "data"]
    assert list(body["data"]) == [
        "task_id", "status", "updated_at", "revision", "changed", "previous", "task", "metadata"
    ]  # fmt: skip
    assert body["timestamp"] == "2027-01-15T08:00:01.123Z"
    assert body["data"]["previous"] == {"status": "indexing", "updated_at": "2027-01-15T08:00:00+00:00"}
    assert body["data"]["revision"] == event.revision == START + 1_123


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON), JSON)
def test_any_upstream_object_makes_an_ascii_body(task: dict[str, Any], metadata: Any) -> None:
    """Bytes that any receiver reads, equal for equal input, with the object in them."""
    change = diff.diff(None, an_observation(task=task), now=START)
    assert isinstance(change, Change)
    made = [formats.standard("index.task.ready", "t1", 7, START, change, metadata) for _ in range(2)]
    assert made[0] == made[1]
    assert made[0].isascii()
    assert json.loads(made[0])["data"]["task"] == json.loads(json.dumps(task))


def test_an_object_too_large_is_left_out_and_said_so() -> None:
    """A body never exceeds 64 KiB."""
    change = diff.diff(None, an_observation(task={"_id": "t1", "blob": "x" * 70_000}), now=START)
    assert isinstance(change, Change)
    body = formats.standard("index.task.ready", "t1", 7, START, change, "m" * 4_096)
    assert len(body) <= formats.BODY_BYTES
    assert json.loads(body)["data"]["task"] is None
    assert json.loads(body)["data"]["task_omitted"] is True


@pytest.mark.parametrize(
    ("status", "word"),
    [("ready", "ready"), ("Broken Video File", "broken_video_file"), ("…", "unknown"), ("A-b", "a_b")],
)
def test_a_type_is_made_of_words(status: str, word: str) -> None:
    """An unknown status is passed on verbatim in the data, and as a word in the type."""
    verdict = Change(an_observation(status), None, ("status",))
    assert events.type_of(verdict) == f"index.task.{word}"


@pytest.mark.parametrize(
    ("filters", "taken"),
    [
        ({}, True),
        ({"events": ("index.task.ready",)}, True),
        ({"events": ("index.task.failed",)}, False),
        ({"events": ("*",)}, True),
        ({"events": ("index.*",)}, True),
        ({"events": ("index.task",)}, False),
        ({"tasks": ("t1",)}, True),
        ({"tasks": ("t",)}, False),
        ({"tasks": ("t*",)}, True),
        ({"tasks": ("x*", "t1")}, True),
    ],
)
def test_filters_take_what_they_say(filters: dict[str, Any], taken: bool) -> None:
    """Exact, or a prefix and a star, for types and for tasks."""
    assert events.matches(an_endpoint(**filters), "index.task.ready", "t1") is taken
