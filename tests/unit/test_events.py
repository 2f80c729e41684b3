"""From a change to an event: its type, its identity and revision, whom it concerns, and what is known after it."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta, timezone
from itertools import pairwise

import pytest
from factories import START, a_snapshot, an_endpoint, an_observation, instant
from hypothesis import given
from hypothesis import strategies as st

from bridge.diff import DOUBT_MS, Doubtful, Stale, Unchanged, Verdict, diff, gone, parse_instant
from bridge.events import ANNOUNCED, event_from, is_lasting, is_terminal, snapshot_after, type_of
from bridge.filters import matches
from bridge.model import KNOWN_STATUSES, TERMINAL_STATUSES, Change, Event, Observation, Snapshot


def change_of(snapshot: Snapshot | None, seen: Observation | None) -> Change:
    """The change that this reading (None: a confirmed absence) is; it must be one."""
    verdict = gone(snapshot) if seen is None else diff(snapshot, seen, now=START)
    assert isinstance(verdict, Change), verdict
    return verdict


def commit(snapshot: Snapshot | None, seen: Observation | None, now: int = START) -> tuple[Event, Snapshot]:
    """What committing this reading makes of the snapshot."""
    change = change_of(snapshot, seen)
    event = event_from(change, "t1", now=now)
    return event, snapshot_after(change, event)


def commit_all(readings: Sequence[Observation | None], now: int = START) -> tuple[list[Event], Snapshot]:
    """The events of these readings, a millisecond apart, from the first sight on."""
    snapshot, made = None, []
    for step, seen in enumerate(readings):
        event, snapshot = commit(snapshot, seen, now + step)
        made.append(event)
    assert snapshot is not None
    return made, snapshot


# -- types --


@pytest.mark.parametrize("status", sorted(KNOWN_STATUSES))
def test_a_changed_status_is_the_type(status: str) -> None:
    """`index.task.<status>`."""
    assert type_of(Change(an_observation(status), None, ("status", "updated_at"))) == f"index.task.{status}"


@pytest.mark.parametrize(
    "changed", [("updated_at",), ("hls.status",), ("system_metadata",), ("updated_at", "hls.status")]
)
def test_a_change_beside_the_status_is_an_update(changed: tuple[str, ...]) -> None:
    """The status is not news, so it is not the type."""
    assert type_of(Change(an_observation("ready"), a_snapshot("ready"), changed)) == "index.task.updated"


def test_gone_and_the_return_from_gone_have_their_types() -> None:
    """A return is told by the status, even if that is the one of before."""
    assert type_of(Change(None, a_snapshot(), ("gone",))) == "index.task.gone"
    assert type_of(Change(an_observation(), a_snapshot(gone=True), ("gone",))) == "index.task.indexing"


@pytest.mark.parametrize(
    ("status", "word"),
    [("Broken Video File", "broken_video_file"), ("…", "unknown"), ("", "unknown"), ("A-b.c", "a_b_c"), ("_x_", "x"),
     ("READY", "ready"), ("a\nb", "a_b"), ("ÄÖ odd", "odd"), ("\ud800", "unknown"), ("status", "status")],
)  # fmt: skip
def test_an_unknown_status_is_a_word_in_the_type(status: str, word: str) -> None:
    """Verbatim in the data only."""
    assert type_of(Change(an_observation(status), None, ("status",))) == f"index.task.{word}"


@pytest.mark.parametrize(
    ("status", "word"),
    [("gone", "gone"), ("updated", "updated"), ("Gone", "gone"), ("gone!", "gone"), ("…updated", "updated"),
     ("ready?", "ready"), ("¬ ready", "ready"), ("_failed_", "failed"), ("ÄÖ ready", "ready")],
)  # fmt: skip
def test_a_status_does_not_pass_for_what_it_is_not(status: str, word: str) -> None:
    """Our own two words, and a documented one of which letters were lost, say that they are upstream's."""
    event_type = type_of(Change(an_observation(status), None, ("status",)))
    assert event_type == f"index.task.status.{word}"
    assert not is_terminal(event_type)
    assert not matches(an_endpoint(events=(f"index.task.{word}",)), event_type, "t1")
    assert matches(an_endpoint(events=("index.task.*",)), event_type, "t1")


@given(st.text(st.characters(), max_size=64))
def test_every_type_can_be_filtered_for(status: str) -> None:
    """Whatever upstream calls its status: a type that an endpoint's filter may name, and that its family takes."""
    made = type_of(Change(an_observation(status), None, ("status",)))
    assert re.fullmatch(r"index\.task\.(status\.)?[a-z0-9_]+", made, re.ASCII)
    assert made not in {"index.task.gone", "index.task.updated"}
    assert matches(an_endpoint(events=("index.task.*",)), made, "t1")
    assert matches(an_endpoint(events=(made,)), made, "t1")


@pytest.mark.parametrize(
    ("event_type", "terminal"),
    [(f"index.task.{status}", status in TERMINAL_STATUSES) for status in sorted(KNOWN_STATUSES)]
    + [("index.task.gone", True), ("index.task.updated", False), ("index.task.odd", False), ("index.task.", False),
       ("index.task.ready.x", False), ("index.task", False), ("", False)],
)  # fmt: skip
def test_the_end_of_a_task_is_terminal(event_type: str, terminal: bool) -> None:
    """Ready, failed and gone."""
    assert is_terminal(event_type) is terminal


@pytest.mark.parametrize(
    ("seen", "lasting"),
    [
        (an_observation("indexing", hls_status="PROCESSING"), False),
        (an_observation("odd", hls_status="PROCESSING"), False),
        (an_observation("ready", hls_status="COMPLETE"), True),
        (an_observation("failed", hls_status="ERROR"), True),
        (an_observation("ready", hls_status="COMPLETE", task={"blob": "x" * 70_000}), True),
    ],
)
def test_an_update_lasts_if_its_task_has_ended(seen: Observation, lasting: bool) -> None:
    """Read from the very body that is sent, also when the object did not fit into it."""
    event, _ = commit(a_snapshot(seen.status), seen)
    assert event.type == "index.task.updated"
    assert is_lasting(event.type, event.body) is lasting


# -- revisions --


@pytest.mark.parametrize(
    ("known", "now", "revision"), [(5, 7, 7), (7, 7, 8), (9, 7, 10), (START * 2, 7, START * 2 + 1)]
)
def test_a_revision_grows_also_when_the_clock_does_not(known: int, now: int, revision: int) -> None:
    """The larger of the one after and the time."""
    event, after = commit(a_snapshot(revision=known), an_observation("ready"), now)
    assert event.revision == after.revision == revision


@pytest.mark.parametrize(("now", "revision"), [(START, START), (0, 1), (-5, 1)])
def test_a_first_revision_is_the_time(now: int, revision: int) -> None:
    """So that it grows also after all was lost."""
    assert commit(None, an_observation(), now)[0].revision == revision


# -- identity --


def test_an_id_is_evt_and_32_hex_digits() -> None:
    """No full stop, which separates the signed parts; and fit for a trace id."""
    assert re.fullmatch(r"evt_[0-9a-f]{32}", commit(None, an_observation())[0].id)


def test_the_same_change_found_again_after_a_rollback_has_the_same_id() -> None:
    """Same snapshot, later clock: a receiver that has seen it can drop it."""
    first, _ = commit(a_snapshot(), an_observation("ready", START + 5), START + 10)
    again, _ = commit(a_snapshot(), an_observation("ready", START + 5), START + 90_000)
    assert (first.id, first.digest) == (again.id, again.digest)
    assert again.revision > first.revision


@pytest.mark.parametrize(
    "texts", [("2027-01-15T08:00:00.5Z", "2027-01-15T17:00:00.500+09:00"), ("3 seconds ago", "4 seconds ago")]
)
def test_the_same_change_written_otherwise_has_the_same_id(texts: tuple[str, str]) -> None:
    """Instants, not text; and an unreadable time is no time."""
    ids = set()
    for text in texts:
        seen = an_observation("ready", updated_at=parse_instant(text), updated_at_text=text)
        ids.add(event_from(Change(seen, a_snapshot(), ("status",)), "t1", now=START).id)
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("changed", "task"),
    [
        (an_observation("failed", START + 1), "t1"),
        (an_observation("ready", START + 2), "t1"),
        (an_observation("ready", START + 1, hls_status="PROCESSING"), "t1"),
        (an_observation("ready", START + 1, system_metadata={}), "t1"),
        (an_observation("ready", START + 1), "t2"),
        (an_observation("ready", None), "t1"),
        (None, "t1"),
    ],
)
def test_another_change_has_another_id(changed: Observation | None, task: str) -> None:
    """The task and each watched field are part of it."""
    one = event_from(Change(an_observation("ready", START + 1), a_snapshot(), ("status",)), "t1", now=START)
    other = event_from(Change(changed, a_snapshot(), ("status",)), task, now=START)
    assert one.id != other.id


@pytest.mark.parametrize("back", ["metadata", "clock"])
def test_what_is_not_watched_is_not_in_the_id(back: str) -> None:
    """Neither the client's metadata nor the time of the observation."""
    change = Change(an_observation("ready"), a_snapshot(), ("status",))
    one = event_from(change, "t1", now=START)
    other = event_from(change, "t1", now=START + 1, metadata={"order": 42} if back == "metadata" else None)
    assert one.id == other.id


def test_a_return_to_an_announced_state_is_news() -> None:
    """Queued, indexing, queued again: three events, three ids."""
    made, _ = commit_all([an_observation("queued"), an_observation("indexing"), an_observation("queued")])
    assert len({event.id for event in made}) == 3


def test_a_return_found_again_after_a_rollback_has_the_same_id() -> None:
    """It hangs on the revision that it followed, not on the clock, so that it too can be dropped when repeated."""
    _, snapshot = commit_all([an_observation("queued"), an_observation("indexing")])
    first, _ = commit(snapshot, an_observation("queued"), START + 10)
    again, _ = commit(snapshot, an_observation("queued"), START + 90_000)
    assert first.id == again.id
    assert again.revision > first.revision


def test_gone_twice_is_two_events() -> None:
    """Gone, back, gone: the second absence is news, although the state before it is the same."""
    made, _ = commit_all([an_observation(), None, an_observation(), None])
    assert [event.type for event in made] == [f"index.task.{word}" for word in ("indexing", "gone", "indexing", "gone")]
    assert len({event.id for event in made}) == 4


def test_two_states_in_turn_do_not_push_a_third_out_of_memory() -> None:
    """A task that flaps for hours still knows that it was queued once: a return must not repeat an old id."""
    flapping = [an_observation("indexing"), an_observation("pending")] * ANNOUNCED
    made, _ = commit_all([an_observation("queued"), *flapping, an_observation("queued")])
    assert len({event.id for event in made}) == len(made)


def test_the_memory_of_states_is_bounded() -> None:
    """The last 32 different states."""
    _, snapshot = commit_all([an_observation(at=START + step) for step in range(ANNOUNCED * 3)])
    assert len(snapshot.announced) == len(set(snapshot.announced)) == ANNOUNCED


# -- what is known after --


def test_what_a_reading_left_out_stays_known() -> None:
    """A thin row forgets nothing."""
    full = an_observation("indexing", hls_status="PROCESSING", system_metadata={"width": 1})
    _, before = commit(None, full)
    thin = an_observation("ready", None, updated_at_text="soon")
    change = Change(thin, before, ("status",))
    after = snapshot_after(change, event_from(change, "t1", now=START))
    assert after.status == "ready"
    assert (after.updated_at, after.updated_at_text) == (before.updated_at, before.updated_at_text)
    assert (after.hls_status, after.system_metadata_digest) == ("PROCESSING", before.system_metadata_digest)


@pytest.mark.parametrize(
    ("seen", "field_changed"),
    [(an_observation("ready"), "status"), (an_observation(at=START + 1), "updated_at"),
     (an_observation(hls_status="ERROR"), "hls_status"),
     (an_observation(system_metadata={}), "system_metadata_digest")],
)  # fmt: skip
def test_what_a_reading_said_is_known_and_no_change_again(seen: Observation, field_changed: str) -> None:
    """The same reading after the commit is unchanged."""
    before = a_snapshot()
    event, after = commit(before, seen)
    assert getattr(after, field_changed) != getattr(before, field_changed)
    assert after.event_id == event.id
    assert isinstance(diff(after, seen, now=START), Unchanged)


def test_gone_keeps_what_was_known_and_marks_it() -> None:
    """And a return clears the mark."""
    _, snapshot = commit(a_snapshot("ready", hls_status="COMPLETE", terminal_since=3), None)
    assert (snapshot.gone, snapshot.status, snapshot.hls_status) == (True, "ready", "COMPLETE")
    assert snapshot.updated_at == instant(START)
    assert not commit(snapshot, an_observation("ready"))[1].gone


def test_a_task_that_was_never_seen_can_be_gone() -> None:
    """And be seen later."""
    event, snapshot = commit(None, None)
    data = json.loads(event.body)["data"]
    assert (data["status"], data["updated_at"], data["previous"], data["task"]) == (None, None, None, None)
    back, _ = commit(snapshot, an_observation("queued"))
    assert back.type == "index.task.queued"
    assert json.loads(back.body)["data"]["previous"] == {"status": None, "updated_at": None}


@pytest.mark.parametrize(
    ("known", "since", "status", "expected"),
    [
        ("indexing", None, "ready", START + 9),
        ("ready", START, "ready", START),
        ("ready", START, "failed", START),
        ("ready", START, "indexing", None),
        ("indexing", START, "ready", START + 9),
        ("ready", None, "ready", START + 9),
    ],
)
def test_the_end_is_dated_when_it_is_first_seen(known: str, since: int | None, status: str, expected: int) -> None:
    """So that the patience with an HLS stream is counted from there."""
    change = Change(an_observation(status, START + 1), a_snapshot(known, terminal_since=since), ("updated_at",))
    assert snapshot_after(change, event_from(change, "t1", now=START + 9)).terminal_since == expected


# -- any history --


def spelt(milliseconds: int, minutes: int, timespec: str) -> str:
    """An instant with this offset and precision."""
    return instant(milliseconds).astimezone(timezone(timedelta(minutes=minutes))).isoformat(timespec=timespec)


@st.composite
def readings(draw: st.DrawFn) -> Observation:
    """One read of a task: in order or stale, repeated, thin, odd, without a time or with one in any spelling."""
    status = draw(st.sampled_from(["queued", "indexing", "ready", "failed", "odd"]))
    text: str | None = draw(
        st.one_of(
            st.builds(
                spelt,
                st.integers(0, 6).map(lambda step: START + step * 1_000),
                st.sampled_from([0, 540, -330]),
                st.sampled_from(["auto", "milliseconds", "microseconds"]),
            ),
            st.sampled_from([None, "yesterday", "2027-01-15"]),
        )
    )
    return an_observation(
        status,
        updated_at=parse_instant(text) if text else None,
        updated_at_text=text,
        task_id=draw(st.sampled_from(["t1", "t1", "t1", None])),
        hls_status=draw(st.sampled_from([None, None, "PROCESSING", "COMPLETE"])),
        system_metadata=draw(st.sampled_from([None, None, {"width": 1}, {"width": 1.5}])),
    )


STEPS = st.lists(
    st.tuples(readings() | st.none(), st.sampled_from([0, 1, 999, 1_000, 5_000]), st.integers(1, 3)), max_size=25
)
"""A reading (None: a confirmed absence), the time that passed before it, and how often it comes."""


@dataclass
class History:
    """A watch as the poller keeps it, and the rules as the design states them, checked at each step."""

    now: int = START
    snapshot: Snapshot | None = None
    doubt: str | None = None
    doubted_at: int | None = None
    agreed_since: int | None = None
    """Since when the readings, without a break, said what the last one said. Ours, to check the doubt by."""
    last: Observation | None = None
    made: list[tuple[Event, Snapshot]] = field(default_factory=list)

    def read(self, seen: Observation | None, later: int) -> None:
        self.now += later
        same = seen is not None and self.last is not None and words(seen) == words(self.last)
        self.agreed_since = self.agreed_since if same else self.now
        self.last = seen
        verdict: Verdict
        if seen is None:
            verdict = gone(self.snapshot)
        else:
            verdict = diff(self.snapshot, seen, doubt=self.doubt, doubted_at=self.doubted_at, now=self.now)
            self.check(seen, verdict)
        if isinstance(verdict, Doubtful):
            self.doubted_at = self.doubted_at if verdict.fingerprint == self.doubt else self.now
            self.doubt = verdict.fingerprint
            return
        self.doubt = self.doubted_at = None
        if isinstance(verdict, Change):
            self.commit(verdict)
            self.agreed_since, self.last = self.now, seen

    def check(self, seen: Observation, verdict: object) -> None:
        known = self.snapshot
        if known and known.updated_at and seen.updated_at and seen.updated_at < known.updated_at:
            assert isinstance(verdict, Stale)
        if isinstance(verdict, Change):
            if is_unlikely(known, seen):
                assert self.agreed_since is not None
                assert self.now - self.agreed_since >= DOUBT_MS
            absent = {"hls.status": seen.hls_status, "system_metadata": seen.system_metadata,
                      "updated_at": seen.updated_at}  # fmt: skip
            assert not {name for name, value in absent.items() if value is None} & set(verdict.changed)

    def commit(self, change: Change) -> None:
        event = event_from(change, "t1", now=self.now)
        assert event.id == event_from(change, "t1", now=self.now + 86_400_000).id
        assert (change.previous is None) is (not self.made)
        assert (json.loads(event.body)["data"]["previous"] is None) is (not self.made)
        self.snapshot = snapshot_after(change, event)
        self.made.append((event, self.snapshot))


def words(seen: Observation) -> tuple[object, ...]:
    """What a reading says."""
    return seen.status, seen.updated_at, seen.hls_status, json.dumps(seen.system_metadata)


def is_unlikely(known: Snapshot | None, seen: Observation) -> bool:
    """The design's list: no readable time (or no id), an unknown status, or leaving a terminal one."""
    moved = known is None or known.status != seen.status
    left = known is not None and known.status in TERMINAL_STATUSES and not known.gone
    return seen.updated_at is None or seen.task_id is None or (moved and (seen.status not in KNOWN_STATUSES or left))


@given(STEPS)
def test_whatever_upstream_says_the_history_makes_sense(steps: list[tuple[Observation | None, int, int]]) -> None:
    """Revisions grow, times never fall, ids are unique, two events in a row differ, and doubt comes first."""
    history = History()
    for seen, later, times in steps:
        for _ in range(times):
            history.read(seen, later)
    events = [event for event, _ in history.made]
    assert all(before.revision < after.revision for before, after in pairwise(events))
    assert all(event.revision >= event.observed_at for event in events)
    assert len({event.id for event in events}) == len(events)
    moments = [known.updated_at for _, known in history.made if known.updated_at]
    assert moments == sorted(moments)
    states = [(s.status, s.updated_at, s.hls_status, s.system_metadata_digest, s.gone) for _, s in history.made]
    assert all(before != after for before, after in pairwise(states))
    assert all(event.type == "index.task.gone" for event, known in history.made if known.gone)
    assert all((known.terminal_since is not None) is (known.status in TERMINAL_STATUSES) for _, known in history.made)


@given(st.lists(st.sampled_from(["queued", "pending", "indexing"]), min_size=1, max_size=120))
def test_a_task_that_flaps_never_repeats_an_id(statuses: list[str]) -> None:
    """At one `updated_at`, between a few states, for longer than the memory of announced states."""
    changes = [statuses[0], *(after for before, after in pairwise(statuses) if before != after)]
    made, _ = commit_all([an_observation(status) for status in changes])
    assert len({event.id for event in made}) == len(made)
