"""What counts as a change, what is doubted first, and how instants are read."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from factories import START, a_snapshot, an_observation, instant
from hypothesis import given
from hypothesis import strategies as st

from bridge.diff import (
    AHEAD_MS,
    DOUBT_MS,
    FUTURE_MS,
    GONE_ANSWERS,
    GONE_MS,
    HLS_PATIENCE_MS,
    TAKEN_BACK_MS,
    Doubtful,
    Stale,
    Unchanged,
    diff,
    digest_of,
    gone,
    is_finished,
    is_gone,
    metadata_mark,
    order,
    parse_instant,
)
from bridge.model import KNOWN_STATUSES, TERMINAL_HLS_STATUSES, TERMINAL_STATUSES, Change, Observation, Snapshot

METADATA = {"duration": 612.48, "width": 1920}


def a_full_snapshot(**fields: Any) -> Snapshot:
    """A snapshot in which each watched field is known."""
    mark = metadata_mark(an_observation(system_metadata=METADATA))
    return a_snapshot(**{"hls_status": "PROCESSING", "system_metadata_digest": mark, **fields})


def a_full_observation(status: str = "indexing", at: int | None = START, **fields: Any) -> Observation:
    """The reading that says what `a_full_snapshot` says."""
    return an_observation(status, at, **{"hls_status": "PROCESSING", "system_metadata": METADATA, **fields})


def spelt(text: str, **fields: Any) -> Observation:
    """A reading whose `updated_at` is written like this."""
    return an_observation(updated_at=parse_instant(text), updated_at_text=text, **fields)


# -- changes --


@pytest.mark.parametrize("status", sorted(KNOWN_STATUSES))
def test_the_first_sight_of_any_known_status_is_a_change(status: str) -> None:
    """Registering a finished task must not be silence."""
    verdict = diff(None, an_observation(status), now=START)
    assert isinstance(verdict, Change)
    assert verdict.previous is None
    assert verdict.changed == ("status", "updated_at")


def test_the_first_sight_names_each_field_that_it_saw() -> None:
    """And no other."""
    verdict = diff(None, a_full_observation("ready"), now=START)
    assert isinstance(verdict, Change)
    assert verdict.changed == ("status", "updated_at", "hls.status", "system_metadata")


@pytest.mark.parametrize(
    ("seen", "changed"),
    [
        (a_full_observation("ready", START + 1), ("status", "updated_at")),
        (a_full_observation("ready", START), ("status",)),
        (a_full_observation("indexing", START + 1), ("updated_at",)),
        (a_full_observation(hls_status="COMPLETE"), ("hls.status",)),
        (a_full_observation(system_metadata={"duration": 1}), ("system_metadata",)),
        (a_full_observation(system_metadata={}), ("system_metadata",)),
        (a_full_observation("failed", START + 1, hls_status="ERROR"), ("status", "updated_at", "hls.status")),
    ],
)
def test_each_watched_field_is_a_change_of_its_own(seen: Observation, changed: tuple[str, ...]) -> None:
    """An equal `updated_at` with another status is a change too."""
    verdict = diff(a_full_snapshot(), seen, now=START)
    assert isinstance(verdict, Change)
    assert verdict.changed == changed


@pytest.mark.parametrize("field", ["index_id", "video_id", "estimated_time", "created_at"])
def test_a_field_that_is_not_watched_is_no_change(field: str) -> None:
    """The whole object is passed on, but only four fields tell."""
    seen = an_observation(task={"_id": "t1", field: "another"})
    assert isinstance(diff(a_snapshot(), seen, now=START), Unchanged)


@pytest.mark.parametrize(
    "absent",
    [{"hls_status": None}, {"system_metadata": None}, {"hls_status": None, "system_metadata": None},
     {"updated_at": None, "updated_at_text": None}, {"updated_at": None, "updated_at_text": "yesterday"}],
)  # fmt: skip
def test_a_field_left_out_is_unknown_not_changed(absent: dict[str, Any]) -> None:
    """A thin row says nothing about what it leaves out, and an unreadable time says nothing either."""
    assert isinstance(diff(a_full_snapshot(), a_full_observation(**absent), now=START), Unchanged)


def test_a_thin_reading_names_only_what_it_saw() -> None:
    """What is absent beside a real change is not in the list of changes."""
    verdict = diff(a_full_snapshot(), an_observation("ready", START + 1), now=START)
    assert isinstance(verdict, Change)
    assert verdict.changed == ("status", "updated_at")


def test_the_order_of_metadata_keys_is_no_change() -> None:
    """Two encoders write one object in two orders."""
    seen = a_full_observation(system_metadata=dict(reversed(METADATA.items())))
    assert isinstance(diff(a_full_snapshot(), seen, now=START), Unchanged)


# -- stale --


@pytest.mark.parametrize("status", ["indexing", "ready", "failed", "odd"])
@pytest.mark.parametrize("known", ["queued", "ready"])
@pytest.mark.parametrize("earlier", [timedelta(microseconds=1), timedelta(days=400)])
def test_an_older_reading_is_stale_whatever_it_says(known: str, status: str, earlier: timedelta) -> None:
    """A lagging replica tells nobody anything, however often."""
    at = instant(START) - earlier
    seen = a_full_observation(status, updated_at=at, hls_status="COMPLETE")
    doubt = diff(None, seen, now=START)
    fingerprint = doubt.fingerprint if isinstance(doubt, Doubtful) else "x"
    assert isinstance(diff(a_snapshot(known), seen, now=START), Stale)
    assert isinstance(diff(a_snapshot(known), seen, doubt=fingerprint, doubted_at=0, now=START), Stale)


def test_an_older_instant_is_stale_although_its_text_sorts_later() -> None:
    """17:00 in Tokyo is 08:00 in Greenwich."""
    assert isinstance(diff(a_snapshot(), spelt("2027-01-15T16:59:59.999+09:00", status="ready"), now=START), Stale)


# -- doubt --


UNLIKELY = [
    pytest.param(a_snapshot(), an_observation("exploded", START + 1), id="unknown status"),
    pytest.param(a_snapshot(), an_observation("READY", START + 1), id="known status in capitals"),
    pytest.param(a_snapshot(), an_observation("ready", None), id="no updated_at"),
    pytest.param(a_snapshot(), an_observation("ready", None, updated_at_text="soon"), id="unreadable updated_at"),
    pytest.param(a_snapshot(), an_observation(at=None, hls_status="COMPLETE"), id="no updated_at, other field"),
    pytest.param(a_snapshot("ready"), an_observation("indexing", START + 1), id="left ready"),
    pytest.param(a_snapshot("failed"), an_observation("queued", START), id="left failed"),
    pytest.param(a_snapshot("ready"), an_observation("failed", START + 1), id="ready to failed"),
    pytest.param(a_snapshot(), an_observation("ready", START + 1, task_id=None), id="no _id"),
    pytest.param(None, an_observation("exploded"), id="first sight, unknown status"),
    pytest.param(None, an_observation("indexing", None), id="first sight, no updated_at"),
]


@pytest.mark.parametrize(("snapshot", "seen"), UNLIKELY)
@pytest.mark.parametrize(
    ("later", "believed"), [(0, False), (1, False), (DOUBT_MS - 1, False), (DOUBT_MS, True), (86_400_000, True)]
)
def test_an_unlikely_reading_is_believed_when_a_later_one_agrees(
    snapshot: Snapshot | None, seen: Observation, later: int, believed: bool
) -> None:
    """Not at once, and not from a second reading of the same moment."""
    first = diff(snapshot, seen, now=START)
    assert isinstance(first, Doubtful)
    assert first.why
    again = diff(snapshot, seen, doubt=first.fingerprint, doubted_at=START, now=START + later)
    assert isinstance(again, Change if believed else Doubtful)


@pytest.mark.parametrize(("snapshot", "seen"), UNLIKELY)
@pytest.mark.parametrize(("doubt", "doubted_at"), [(None, None), (None, 0), ("another", 0), ("", 0)])
def test_a_doubt_about_something_else_is_no_agreement(
    snapshot: Snapshot | None, seen: Observation, doubt: str | None, doubted_at: int | None
) -> None:
    """The reading before must have said the same."""
    assert isinstance(diff(snapshot, seen, doubt=doubt, doubted_at=doubted_at, now=START), Doubtful)


@pytest.mark.parametrize(
    "other",
    [an_observation("odder", START + 1), an_observation("odd", START + 2),
     an_observation("odd", START + 1, hls_status="ERROR"), an_observation("odd", START + 1, system_metadata={"a": 1})],
)  # fmt: skip
def test_two_different_doubts_do_not_agree(other: Observation) -> None:
    """Each watched field is part of what a reading says."""
    first = diff(a_snapshot(), an_observation("odd", START + 1), now=START)
    assert isinstance(first, Doubtful)
    verdict = diff(a_snapshot(), other, doubt=first.fingerprint, doubted_at=START, now=START + 5_000)
    assert isinstance(verdict, Doubtful)
    assert verdict.fingerprint != first.fingerprint


def test_two_spellings_of_one_instant_agree() -> None:
    """A doubt is about what was said, not about how it was written."""
    first = diff(a_snapshot(), spelt("2027-01-15T08:00:01Z", status="odd"), now=START)
    assert isinstance(first, Doubtful)
    other = spelt("2027-01-15T17:00:01.000+09:00", status="odd")
    assert isinstance(diff(a_snapshot(), other, doubt=first.fingerprint, doubted_at=START, now=START + 1_000), Change)


def test_an_unreadable_time_that_differs_each_time_does_not_stop_agreement() -> None:
    """`3 seconds ago`, then `4 seconds ago`: an unreadable time says nothing, so both readings say `ready`."""
    first = diff(a_snapshot(), spelt("3 seconds ago", status="ready"), now=START)
    assert isinstance(first, Doubtful)
    other = spelt("4 seconds ago", status="ready")
    assert isinstance(diff(a_snapshot(), other, doubt=first.fingerprint, doubted_at=START, now=START + 1_000), Change)


@pytest.mark.parametrize(
    ("snapshot", "seen"),
    [
        (a_snapshot("odd"), an_observation("odd", START + 1)),
        (a_snapshot("odd"), an_observation("ready", START + 1)),
        (a_snapshot("ready"), an_observation("ready", START + 1)),
        (a_snapshot("ready"), an_observation("ready", hls_status="COMPLETE")),
        (a_snapshot("indexing"), an_observation("queued", START + 1)),
        (a_snapshot("ready", gone=True), an_observation("indexing", START + 1)),
    ],
)
def test_what_is_not_unlikely_is_believed_at_once(snapshot: Snapshot, seen: Observation) -> None:
    """An unknown status once believed, a terminal state that stays, a step back, a return from gone."""
    assert isinstance(diff(snapshot, seen, now=START), Change)


@pytest.mark.parametrize(
    ("snapshot", "seen", "why"),
    [
        (None, an_observation("exploded"), "the status “exploded” is not known"),
        (None, an_observation(task_id=None), "it has no _id"),
        (None, an_observation(at=None), "its updated_at is missing or unreadable"),
        (None, an_observation(at=START + 2 * FUTURE_MS), "its updated_at is more than a day ahead"),
        (a_snapshot("ready"), an_observation("indexing"), "“ready” is an end, and now it says “indexing”"),
        (a_snapshot(at=START + FUTURE_MS), an_observation("ready"), "it is older than what was known, whose time has"),
    ],
)
def test_a_doubt_says_why(snapshot: Snapshot | None, seen: Observation, why: str) -> None:
    """A person who looks at the task reads it."""
    verdict = diff(snapshot, seen, now=START)
    assert isinstance(verdict, Doubtful)
    assert verdict.why.startswith(why)


# -- times that have not come yet --


@pytest.mark.parametrize("ahead", [FUTURE_MS + 60_000, 970 * 365 * 86_400_000])
@pytest.mark.parametrize("snapshot", [None, a_snapshot()], ids=["first", "later"])
def test_a_time_far_ahead_is_no_time(snapshot: Snapshot | None, ahead: int) -> None:
    """As an unreadable one: asked again, then told; and what was known of the time stays known."""
    seen = an_observation("ready", START + ahead)
    first = diff(snapshot, seen, now=START)
    assert isinstance(first, Doubtful)
    change = diff(snapshot, seen, doubt=first.fingerprint, doubted_at=START, now=START + DOUBT_MS)
    assert isinstance(change, Change)
    assert change.changed == ("status",)
    assert change.observation is not None
    assert change.observation.updated_at is None
    assert change.observation.updated_at_text == seen.updated_at_text


def test_a_time_far_ahead_alone_is_no_change() -> None:
    """It says nothing, so nothing is said."""
    assert isinstance(diff(a_snapshot(), an_observation(at=START + FUTURE_MS + 1), now=START), Unchanged)


def test_a_time_far_ahead_that_runs_on_does_not_stop_agreement() -> None:
    """`now + 30 h` in each reading: another time each time, and the same word."""
    first = diff(a_snapshot(), an_observation("ready", START + FUTURE_MS + 1), now=START)
    assert isinstance(first, Doubtful)
    later = an_observation("ready", START + FUTURE_MS + 5_001)
    verdict = diff(a_snapshot(), later, doubt=first.fingerprint, doubted_at=START, now=START + 5_000)
    assert isinstance(verdict, Change)


def test_a_time_within_a_day_ahead_is_a_time() -> None:
    """Another clock, another zone: believed at once."""
    verdict = diff(a_snapshot(), an_observation("ready", START + FUTURE_MS), now=START)
    assert isinstance(verdict, Change)
    assert verdict.changed == ("status", "updated_at")


@pytest.mark.parametrize("ahead", [AHEAD_MS + 60_000, FUTURE_MS, 970 * 365 * 86_400_000])
def test_a_known_time_ahead_of_the_clock_silences_nothing(ahead: int) -> None:
    """A reading older than that is not stale but doubtful, and believed when the next one agrees."""
    snapshot, seen = a_snapshot(at=START + ahead), an_observation("ready", START)
    first = diff(snapshot, seen, now=START)
    assert isinstance(first, Doubtful)
    change = diff(snapshot, seen, doubt=first.fingerprint, doubted_at=START, now=START + DOUBT_MS)
    assert isinstance(change, Change)
    assert change.changed == ("status", "updated_at")


def test_clocks_that_differ_by_an_hour_leave_stale_readings_stale() -> None:
    """Up to there the known time is no lie."""
    assert isinstance(diff(a_snapshot(at=START + AHEAD_MS), an_observation("ready", START), now=START), Stale)


# -- gone --


def test_a_first_absence_is_one_change_and_a_second_none() -> None:
    """Gone is announced once."""
    verdict = gone(a_snapshot())
    assert isinstance(verdict, Change)
    assert (verdict.observation, verdict.changed) == (None, ("gone",))
    assert isinstance(gone(None), Change)
    assert isinstance(gone(a_snapshot(gone=True)), Unchanged)


@pytest.mark.parametrize(
    ("seen", "changed"),
    [(an_observation(), ("gone",)), (an_observation("ready", START + 1), ("gone", "status", "updated_at"))],
)
def test_a_return_from_gone_is_a_change_even_of_the_same_state(seen: Observation, changed: tuple[str, ...]) -> None:
    """The receivers were told that it is gone."""
    verdict = diff(a_snapshot(gone=True), seen, now=START)
    assert isinstance(verdict, Change)
    assert verdict.changed == changed


@pytest.mark.parametrize(
    ("absences", "lasted", "believed"),
    [
        (GONE_ANSWERS, GONE_MS, True),
        (GONE_ANSWERS - 1, GONE_MS * 100, False),
        (GONE_ANSWERS * 100, GONE_MS - 1, False),
        (GONE_ANSWERS + 1, GONE_MS + 1, True),
        (0, 0, False),
    ],
)
def test_gone_takes_three_answers_over_a_minute(absences: int, lasted: int, believed: bool) -> None:
    """Both, not one of them."""
    assert is_gone(absences, START, START + lasted) is believed


# -- the end of a watch --


@pytest.mark.parametrize("status", [*sorted(KNOWN_STATUSES - TERMINAL_STATUSES), "odd", "", "READY"])
@pytest.mark.parametrize("hls", [None, *sorted(TERMINAL_HLS_STATUSES)])
def test_a_task_that_is_not_terminal_never_ends(status: str, hls: str | None) -> None:
    """Whatever its stream says."""
    assert not is_finished(status, hls, 0, START)


@pytest.mark.parametrize("status", sorted(TERMINAL_STATUSES))
@pytest.mark.parametrize(
    ("hls", "waited", "finished"),
    [
        (None, 0, True),
        ("COMPLETE", 0, True),
        ("CANCELED", 0, True),
        ("ERROR", 0, True),
        ("PROCESSING", 0, False),
        ("PROCESSING", HLS_PATIENCE_MS - 1, False),
        ("PROCESSING", HLS_PATIENCE_MS, True),
        ("odd", 0, False),
        ("odd", HLS_PATIENCE_MS, True),
    ],
)
def test_a_terminal_task_ends_with_its_stream(status: str, hls: str | None, waited: int, finished: bool) -> None:
    """Absent, settled, or given up after a day."""
    assert is_finished(status, hls, START, START + waited) is finished


# -- instants --


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2027-01-15T08:00:00Z", datetime(2027, 1, 15, 8, tzinfo=UTC)),
        ("2027-01-15t08:00:00z", datetime(2027, 1, 15, 8, tzinfo=UTC)),
        ("2027-01-15 08:00:00Z", datetime(2027, 1, 15, 8, tzinfo=UTC)),
        ("2027-01-15T08:00:00+00:00", datetime(2027, 1, 15, 8, tzinfo=UTC)),
        ("2027-01-15T08:00:00-00:00", datetime(2027, 1, 15, 8, tzinfo=UTC)),
        ("2027-01-15T17:00:00+09:00", datetime(2027, 1, 15, 8, tzinfo=UTC)),
        ("2027-01-15T17:00:00+0900", datetime(2027, 1, 15, 8, tzinfo=UTC)),
        ("2027-01-14T20:15:00-11:45", datetime(2027, 1, 15, 8, tzinfo=UTC)),
        ("2027-01-15T08:00:00.5Z", datetime(2027, 1, 15, 8, 0, 0, 500_000, tzinfo=UTC)),
        ("2027-01-15T08:00:00.986Z", datetime(2027, 1, 15, 8, 0, 0, 986_000, tzinfo=UTC)),
        ("2027-01-15T08:00:00.118203Z", datetime(2027, 1, 15, 8, 0, 0, 118_203, tzinfo=UTC)),
        ("2027-01-15T08:00:00.118203999Z", datetime(2027, 1, 15, 8, 0, 0, 118_203, tzinfo=UTC)),
        ("2028-02-29T00:00:00Z", datetime(2028, 2, 29, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_an_instant_is_read_in_every_spelling(text: str, expected: datetime) -> None:
    """Any offset, no to nine fraction digits, either case."""
    assert parse_instant(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "now", "2027-01-15", "2027-01-15T08:00:00", "20270115T080000Z", "2027-W03-5T08:00:00Z", "2027-13-15T08:00:00Z",
     "2027-02-29T08:00:00Z", "2027-01-15T25:00:00Z", "2027-01-15T08:60:00Z", "2027-01-15T08:00:61Z",
     "2027-01-15T08:00Z", "2027-01-15T08:00:00.Z", "2027-01-15T08:00:00,5Z", "2027-01-15T08:00:00.0123456789Z",
     "2027-01-15T08:00:00 Z", "2027-01-15T08:00:00+25:00", "2027-01-15T08:00:00+09", "2027-01-15T08:00:00+09:00:30",
     "2027-01-15T08:00:00Z\n",
     " 2027-01-15T08:00:00Z", "0000-01-01T00:00:00Z", "12027-01-15T08:00:00Z", "-027-01-15T08:00:00Z", "1800000000",
     "２０２７-01-15T08:00:00Z", "2027-01-15T08:00:00\N{MINUS SIGN}09:00", "2027-01-15\x0008:00:00Z", "\ud800"],
)  # fmt: skip
def test_what_is_not_an_instant_is_none(text: str) -> None:
    """RFC 3339 with an offset, or nothing."""
    assert parse_instant(text) is None


ALMOST_INSTANTS = st.from_regex(r"\A\d{4}-\d{2}-\d{2}[Tt _]\d{2}:\d{2}:\d{2}(\.\d{0,11})?([Zz]|[+-]\d{2}:?\d{2})?\n?\Z")


@given(st.text(st.characters(), max_size=40) | ALMOST_INSTANTS)
def test_no_text_makes_the_reader_raise(text: str) -> None:
    """Whatever upstream writes: an aware moment that can be compared and counted, or None."""
    moment = parse_instant(text)
    if moment is not None:
        assert moment.tzinfo is not None
        assert isinstance(moment < instant(START), bool)
        moment.timestamp()


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(9998, 12, 31)),
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
    st.integers(0, 9),
    st.booleans(),
)
def test_a_moment_survives_its_spelling(naive: datetime, minutes: int, digits: int, capital: bool) -> None:
    """Written with any offset and precision it is the same moment, cut to the digits that were written."""
    moment = naive.replace(tzinfo=UTC)
    there = moment.astimezone(timezone(timedelta(minutes=minutes)))
    fraction = f"{there.microsecond:06d}000"[:digits]
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    text = f"{there:%Y-%m-%dT%H:%M:%S}{'.' * bool(digits)}{fraction}{sign}{hours:02d}:{rest:02d}"
    kept = int(fraction.ljust(6, "0")[:6] or 0)
    assert parse_instant(text if capital else text.lower()) == moment.replace(microsecond=kept)


@pytest.mark.parametrize(
    "text",
    ["2027-01-15T08:00:00Z", "2027-01-15T08:00:00+00:00", "2027-01-15T17:00:00.000+09:00",
     "2027-01-15t08:00:00.000000000z", "2027-01-15T02:30:00.0-0530"],
)  # fmt: skip
def test_instants_are_compared_not_their_text(text: str) -> None:
    """The same moment in another precision, offset or case is no change."""
    assert isinstance(diff(a_snapshot(), spelt(text), now=START), Unchanged)


# -- digests --


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_a_digest_depends_on_the_value_and_not_on_the_order_of_keys(value: dict[str, Any]) -> None:
    """32 hex digits, whatever is in it, surrogates and NaN included."""
    digest = digest_of(value)
    assert len(digest) == 32
    assert set(digest) <= set("0123456789abcdef")
    assert digest == digest_of(dict(reversed(value.items())))
    assert digest != digest_of([value])


# -- precision, and what only a list said --


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("12:00:00Z", "12:00:00.950Z", 0),
        ("12:00:00.950Z", "12:00:00Z", 0),
        ("12:00:01Z", "12:00:00.950Z", 0),
        ("12:00:01Z", "12:00:00Z", 1),
        ("12:00:00.950Z", "12:00:00.951Z", -1),
        ("12:00:00.95Z", "12:00:00.951Z", -1),
        ("12:00:02Z", "12:00:00.950Z", 1),
        ("12:00:00.950Z", "12:00:01.950000Z", -1),
    ],
)
def test_instants_are_compared_as_exactly_as_both_are_shown(one: str, other: str, expected: int) -> None:
    """Whole seconds beside parts of them, cut or rounded: less than a second is nothing."""
    assert order(spelt(f"2027-01-15T{one}"), spelt(f"2027-01-15T{other}")) == expected


@pytest.mark.parametrize(("known", "seen"), [("12:00:00Z", "12:00:00.4Z"), ("12:00:00.4Z", "12:00:00Z")])
@pytest.mark.parametrize(
    ("status", "verdict"),
    [("ready", Change), ("failed", Change), ("indexing", Unchanged), ("queued", Doubtful), ("composting", Doubtful)],
)
def test_within_a_second_what_comes_later_in_a_tasks_life_came_later(
    known: str, seen: str, status: str, verdict: type
) -> None:
    """Another status is news, the same is none, and a step back is asked for again."""
    snapshot = a_snapshot(updated_at=parse_instant(f"2027-01-15T{known}"), updated_at_text=f"2027-01-15T{known}")
    assert isinstance(diff(snapshot, spelt(f"2027-01-15T{seen}", status=status), now=START), verdict)


def test_a_row_is_taken_back_by_what_the_task_has_said_for_a_minute() -> None:
    """The list said something later; the task, read by id, goes on saying something older, and other."""
    snapshot = a_snapshot("indexing", START + 30_000, from_list=True)
    seen = an_observation("ready", START)
    first = diff(snapshot, seen, now=START + 40_000)
    assert isinstance(first, Doubtful)
    soon, late = (
        diff(snapshot, seen, doubt=first.fingerprint, doubted_at=START, now=START + ms)
        for ms in (TAKEN_BACK_MS - 1, TAKEN_BACK_MS)
    )
    assert isinstance(soon, Doubtful)
    assert isinstance(late, Change)
    assert isinstance(diff(snapshot, an_observation("indexing", START), now=START), Unchanged)
    assert isinstance(diff(snapshot, an_observation("ready", START, from_list=True), now=START), Stale)
    assert isinstance(diff(replace(snapshot, from_list=False), seen, now=START), Stale)
