"""When to try again, and when to stop."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from factories import START, a_delivery, an_answer
from hypothesis import given
from hypothesis import strategies as st

from bridge.model import DeadReason, DeliveryState, EndpointEffect, Fault, Outcome
from bridge.schedule import RetryPolicy, decide, fault_in_ms, parse_retry_after, poll_in_ms

POLICY = RetryPolicy()
NOW = datetime(2027, 1, 15, 8, tzinfo=UTC)


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
def test_2xx_delivers(code: int) -> None:
    """And nothing else does."""
    decision = decide(a_delivery(), an_answer(code), POLICY, now=START, jitter=0)
    assert (decision.state, decision.effect) == (DeliveryState.DELIVERED, EndpointEffect.SUCCESS)


@pytest.mark.parametrize("code", [100, 199, 300, 301, 302, 307, 400, 401, 404, 408, 429, 500, 503, 599])
def test_every_other_answer_is_tried_again(code: int) -> None:
    """Redirects included: they are never followed."""
    decision = decide(a_delivery(), an_answer(code), POLICY, now=START, jitter=0)
    assert (decision.state, decision.retry_in_ms, decision.effect) == ("pending", 5_000, "failure")


def test_410_ends_this_delivery_and_the_endpoint() -> None:
    """Gone: dead, and disabled."""
    decision = decide(a_delivery(), an_answer(410), POLICY, now=START, jitter=0)
    assert (decision.state, decision.reason, decision.effect) == ("dead", DeadReason.GONE, "disable-gone")


@given(st.sampled_from(list(Fault)), st.floats(-1, 1))
def test_the_whole_schedule_is_gone_through(fault: Fault, jitter: float) -> None:
    """Ten attempts, each wait within 20 % of the schedule's, then dead with the reason."""
    outcome = Outcome(fault=fault)
    for made, seconds in enumerate(POLICY.schedule_seconds[1:]):
        decision = decide(a_delivery(attempts=made), outcome, POLICY, now=START, jitter=jitter)
        assert decision.state is DeliveryState.PENDING
        assert decision.retry_in_ms is not None
        assert abs(decision.retry_in_ms - seconds * 1000) <= seconds * 200 + 1
    last = decide(a_delivery(attempts=9), outcome, POLICY, now=START, jitter=jitter)
    expected = DeadReason.BLOCKED if fault is Fault.BLOCKED else DeadReason.EXHAUSTED
    assert (last.state, last.reason) == (DeliveryState.DEAD, expected)


def test_progress_is_given_up_after_an_hour_and_ends_are_not() -> None:
    """The retry that would come too late is not waited for."""
    late = START + 3_400_000
    progress = a_delivery(type="index.task.indexing", attempts=2)
    assert decide(progress, an_answer(500), POLICY, now=late, jitter=0).reason is DeadReason.EXPIRED
    assert decide(a_delivery(attempts=2), an_answer(500), POLICY, now=late, jitter=0).state == "pending"
    gone = a_delivery(type="index.task.gone", attempts=2)
    assert decide(gone, an_answer(500), POLICY, now=late, jitter=0).state == "pending"


@pytest.mark.parametrize(("asked", "pause"), [(0, 0), (3, 3_000), (120, 120_000), (10**9, 86_400_000)])
def test_retry_after_rests_the_endpoint_and_never_hastens(asked: float, pause: int) -> None:
    """At most a day; the retry is the later of the two."""
    decision = decide(a_delivery(), an_answer(503, retry_after_seconds=asked), POLICY, now=START, jitter=0)
    assert decision.pause_ms == pause
    assert decision.retry_in_ms == max(5_000, pause)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("120", 120),
        (" 7 ", 7),
        ("0", 0),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("9" * 10, None),
        ("١٢", None),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0),
        ("Friday, 15-Jan-27 08:01:30 GMT", 90),
        ("Fri Jan 15 08:01:30 2027", 90),
    ],
)
def test_retry_after_is_read_in_all_its_forms(text: str | None, seconds: float | None) -> None:
    """Seconds, or one of HTTP's dates; anything else says nothing."""
    assert parse_retry_after(text, now=NOW) == seconds


@given(st.text())
def test_no_header_makes_the_reader_raise(text: str) -> None:
    """It comes from outside."""
    parsed = parse_retry_after(text, now=NOW)
    assert parsed is None or parsed >= 0


@given(st.floats(0.2, 86_400), st.integers(1, 10_000), st.floats(-1, 1))
def test_faults_back_off_from_the_third_in_a_row(interval: float, faults: int, jitter: float) -> None:
    """Twice at the interval, then twice as long each time, up to five minutes or the interval."""
    wait = fault_in_ms(interval, faults, jitter=jitter)
    assert 0 < wait <= max(300, interval) * 1_200 + 1
    if faults <= 2:
        assert wait <= interval * 1_050 + 1


@given(st.floats(0.2, 86_400), st.floats(-1, 1))
def test_reads_keep_their_interval(interval: float, jitter: float) -> None:
    """Within 5 %, but for the second one: that comes somewhere in the last half of the first interval."""
    assert abs(poll_in_ms(interval, first=False, jitter=jitter) - interval * 1000) <= interval * 50 + 1
    assert interval * 500 - 1 <= poll_in_ms(interval, first=True, jitter=jitter) <= interval * 1000
