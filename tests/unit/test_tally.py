"""What is counted: bounded labels, buckets, and the words that the scripts take."""

from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import tally
from bridge.model import Event, Fault, Outcome, Snapshot

KNOWN = Snapshot("indexing", datetime(2026, 11, 1, tzinfo=UTC), "", None, None, 1, "evt_0")


def an_event(event_type: str, observed_at: int = 0) -> Event:
    return Event("evt_1", event_type, "t1", 2, observed_at, "", b"{}")


def test_what_upstream_invents_makes_no_label() -> None:
    """Its words are an open set; labels are not, or it could fill everybody's Prometheus."""
    assert tally.of_event("index.task.ready") == {"events:index.task.ready": 1}
    assert tally.of_event("index.task.status.polishing_99") == {"events:other": 1}
    assert tally.of_event("bridge.endpoint.failing") == {"events:bridge.endpoint.failing": 1}


def test_how_late_a_change_was_seen_is_told_of_tasks_known_before() -> None:
    """A first sight, the same `updated_at`, and a task that is gone say nothing about it."""
    later = Snapshot("ready", datetime(2026, 11, 1, 0, 1, tzinfo=UTC), "", None, None, 2, "evt_1")
    assert later.updated_at
    seen = int(later.updated_at.timestamp() * 1000) + 1_500
    event = an_event("index.task.ready", seen)
    assert tally.of_commit(event, KNOWN, later) == {
        "events:index.task.ready": 1,
        "detection:2.5": 1,
        "detection:ms": 1500,
    }
    for before, after in (
        (None, later),
        (later, later),
        (KNOWN, Snapshot("", None, None, None, None, 2, "", gone=True)),
    ):
        assert tally.of_commit(event, before, after) == {"events:index.task.ready": 1}


@given(st.floats(-1e6, 1e12), st.sampled_from([tally.DETECTION, tally.DURATION, tally.END_TO_END]))
def test_an_observation_is_in_the_one_bucket_that_it_belongs_to(milliseconds: float, shape: tally.Histogram) -> None:
    """At most its bound, above the one below; a clock that stepped back counts as no time at all."""
    counted = shape.of(milliseconds)
    (bucket,) = [name for name in counted if name != shape.total]
    index = [shape.bucket(i) for i in range(len(shape.bounds) + 1)].index(bucket)
    seconds = max(0.0, milliseconds) / 1000
    assert seconds <= (*shape.bounds, float("inf"))[index]
    assert index == 0 or seconds > shape.bounds[index - 1]
    assert counted[shape.total] == round(seconds * 1000)


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        (Outcome(status_code=204), "attempt:success"),
        (Outcome(status_code=302), "attempt:http_error"),
        (Outcome(status_code=503), "attempt:http_error"),
        (Outcome(fault=Fault.TIMEOUT), "attempt:timeout"),
        (Outcome(status_code=200, fault=Fault.RESET), "attempt:success"),
    ],
    ids=["204", "302", "503", "timeout", "200 then reset"],
)
def test_an_attempt_has_one_word(outcome: Outcome, word: str) -> None:
    """The same judgement as delivery's: 2xx is success."""
    assert tally.attempt_word(outcome) == word


@pytest.mark.parametrize(
    ("code", "label"),
    [(200, "2xx"), (404, "4xx"), (429, "429"), (502, "5xx"), (None, "none"), (999, "other")],
    ids=["200", "404", "429", "502", "no answer", "999"],
)
def test_an_answer_of_upstream_has_a_class(code: int | None, label: str) -> None:
    """429 is one of its own; nonsense is `other`."""
    assert tally.request_word(code) == f"requests:{label}"


def test_what_is_taken_is_counted_once() -> None:
    """Taking it leaves nothing behind; nothing is no words."""
    counted = Counter({"polls:changed": 2})
    assert tally.as_words(tally.taken_from(counted)) == "polls:changed 2"
    assert (tally.as_words(tally.taken_from(counted)), tally.as_words(None)) == ("", "")
