"""When to try again, when to stop, and how a Retry-After is read."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from math import inf, nan

import pytest
from factories import START, a_delivery, an_answer, an_endpoint
from hypothesis import given
from hypothesis import strategies as st

from bridge.model import DeadReason, Delivery, DeliveryState, EndpointEffect, Fault, Outcome
from bridge.schedule import (
    BACKOFF_SECONDS,
    FAULTS_BEFORE_BACKOFF,
    RETRY_AFTER_SECONDS,
    RetryPolicy,
    decide,
    fault_in_ms,
    parse_retry_after,
    poll_in_ms,
)

POLICY = RetryPolicy()
NOW = datetime(2027, 1, 15, 8, tzinfo=UTC)
HOUR_MS = 3_600_000
JITTER = st.floats(-1, 1)
DAY_MS = RETRY_AFTER_SECONDS * 1000


# -- deliveries --


@pytest.mark.parametrize("code", [200, 201, 202, 203, 204, 206, 226, 299])
@pytest.mark.parametrize("attempts", [0, 5, 9, 99])
def test_2xx_delivers(code: int, attempts: int) -> None:
    """At the first attempt and at the last, and whatever else was odd about the answer."""
    outcome = an_answer(code, fault=Fault.RESET, retry_after_seconds=60)
    decision = decide(a_delivery(attempts=attempts), outcome, POLICY, now=START, jitter=0)
    assert (decision.state, decision.effect) == (DeliveryState.DELIVERED, EndpointEffect.SUCCESS)
    assert (decision.retry_in_ms, decision.reason, decision.pause_ms) == (None, None, 0)


@pytest.mark.parametrize(
    "code",
    [100, 101, 199, 300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 408, 409, 411, 429, 500, 502, 503, 599],
)
def test_every_other_answer_is_tried_again(code: int) -> None:
    """Redirects included: they are never followed."""
    decision = decide(a_delivery(), an_answer(code), POLICY, now=START, jitter=0)
    effect = EndpointEffect.OVERLOAD if code in {429, 502, 503, 504} else EndpointEffect.FAILURE
    assert (decision.state, decision.effect) == (DeliveryState.PENDING, effect)
    assert (decision.retry_in_ms, decision.reason) == (5_000, None)


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.BLOCKED])
def test_every_fault_is_tried_again(fault: Fault) -> None:
    """No answer is no verdict."""
    decision = decide(a_delivery(), Outcome(fault=fault), POLICY, now=START, jitter=0)
    effect = EndpointEffect.OVERLOAD if fault is Fault.TIMEOUT else EndpointEffect.FAILURE
    assert (decision.state, decision.effect, decision.retry_in_ms) == ("pending", effect, 5_000)


def test_an_endpoint_s_own_schedule_goes_before() -> None:
    """Its waits, and as many attempts as it has; without one, the operator's."""
    policy = POLICY.of(an_endpoint(schedule=(0, 60)))
    first = decide(a_delivery(), an_answer(500), policy, now=START, jitter=0)
    last = decide(a_delivery(attempts=1), an_answer(500), policy, now=START, jitter=0)
    assert (first.retry_in_ms, last.state, last.reason) == (60_000, DeliveryState.DEAD, DeadReason.EXHAUSTED)
    assert POLICY.of(an_endpoint()) is POLICY


@pytest.mark.parametrize("attempts", [1, 8, 9, 500])
@pytest.mark.parametrize("kind", ["index.task.ready", "index.task.queued"])
def test_a_probe_ahead_of_its_time_costs_nothing_of_the_schedule(kind: str, attempts: int) -> None:
    """However many there were: it is due when it was, or later if the receiver asks for that, and does not expire."""
    asked = a_delivery(type=kind, attempts=attempts, created_at=START - 10**9, probe=3, early_until=START + 7_000)
    failed = decide(asked, an_answer(500), POLICY, now=START, jitter=1)
    assert (failed.state, failed.retry_in_ms, failed.reason) == (DeliveryState.PENDING, 7_000, None)
    assert failed.probe_in_ms > 0
    rests = decide(asked, an_answer(429, retry_after_seconds=60), POLICY, now=START, jitter=1)
    assert (rests.state, rests.retry_in_ms) == (DeliveryState.PENDING, 60_000)
    overdue = decide(asked, an_answer(500), POLICY, now=START + 9_000, jitter=1)
    assert overdue.retry_in_ms == 0
    for code, state in ((204, DeliveryState.DELIVERED), (410, DeliveryState.DEAD)):
        assert decide(asked, an_answer(code), POLICY, now=START, jitter=1).state == state


@pytest.mark.parametrize(("probe", "expected"), [(None, 30_000), (0, 60_000), (3, 300_000)])
def test_a_failure_says_when_the_endpoint_is_probed(probe: int | None, expected: int) -> None:
    """In case it opens the breaker, or was a probe itself; and how long the endpoint may fail."""
    for attempts in (0, 9):
        decision = decide(a_delivery(attempts=attempts, probe=probe), an_answer(500), POLICY, now=START, jitter=0)
        assert (decision.probe_in_ms, decision.window_ms) == (expected, 172_800_000)


@pytest.mark.parametrize("attempts", [0, 9])
@pytest.mark.parametrize("event_type", ["index.task.ready", "index.task.indexing"])
def test_410_ends_this_delivery_and_the_endpoint(attempts: int, event_type: str) -> None:
    """Gone, be it the first attempt or the last."""
    delivery = a_delivery(attempts=attempts, type=event_type)
    decision = decide(delivery, an_answer(410, retry_after_seconds=9), POLICY, now=START, jitter=0)
    assert (decision.state, decision.reason) == (DeliveryState.DEAD, DeadReason.GONE)
    assert decision.effect is EndpointEffect.DISABLE_GONE
    assert decision.retry_in_ms is None


def test_the_guards_refusal_is_retried_and_told_to_the_endpoint() -> None:
    """DNS may be right again at the next attempt; three in a row are the endpoint's matter."""
    decision = decide(a_delivery(), Outcome(fault=Fault.BLOCKED), POLICY, now=START, jitter=0)
    assert (decision.state, decision.effect, decision.retry_in_ms) == ("pending", EndpointEffect.BLOCKED, 5_000)


@pytest.mark.parametrize(
    ("attempts", "seconds"),
    [(0, 5), (1, 300), (2, 1_800), (3, 7_200), (4, 18_000), (5, 36_000), (6, 50_400), (7, 72_000), (8, 86_400)],
)
def test_the_schedule_is_the_one_that_is_promised(attempts: int, seconds: int) -> None:
    """5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h after a failed attempt."""
    decision = decide(a_delivery(attempts=attempts), an_answer(500), POLICY, now=START, jitter=0)
    assert decision.retry_in_ms == seconds * 1000
    early = decide(a_delivery(attempts=attempts), an_answer(500), POLICY, now=START, jitter=-1)
    late = decide(a_delivery(attempts=attempts), an_answer(500), POLICY, now=START, jitter=1)
    assert (early.retry_in_ms, late.retry_in_ms) == (seconds * 800, seconds * 1_200)


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (an_answer(500), DeadReason.EXHAUSTED),
        (an_answer(302), DeadReason.EXHAUSTED),
        (Outcome(fault=Fault.TIMEOUT), DeadReason.EXHAUSTED),
        (Outcome(fault=Fault.BLOCKED), DeadReason.BLOCKED),
    ],
)
@pytest.mark.parametrize("attempts", [9, 10, 50])
def test_the_tenth_failure_is_the_last(outcome: Outcome, reason: DeadReason, attempts: int) -> None:
    """Ten attempts, then a dead letter that says why."""
    decision = decide(a_delivery(attempts=attempts), outcome, POLICY, now=START, jitter=1)
    assert (decision.state, decision.reason, decision.retry_in_ms) == (DeliveryState.DEAD, reason, None)


@pytest.mark.parametrize(("schedule", "attempts"), [((0,), 0), ((0, 1, 1), 2), ((), 0)])
def test_a_schedule_has_as_many_attempts_as_entries(schedule: tuple[float, ...], attempts: int) -> None:
    """The policy's, not the default's."""
    decision = decide(a_delivery(attempts=attempts), an_answer(500), RetryPolicy(schedule), now=START, jitter=0)
    assert decision.reason is DeadReason.EXHAUSTED


@pytest.mark.parametrize(
    ("age_ms", "attempts", "asked", "expired"),
    [
        (0, 0, None, False),
        (HOUR_MS - 5_000, 0, None, False),
        (HOUR_MS - 4_999, 0, None, True),
        (HOUR_MS - 300_000, 1, None, False),
        (HOUR_MS - 299_999, 1, None, True),
        (0, 3, None, True),
        (0, 0, 3_600, False),
        (0, 0, 3_601, True),
        (HOUR_MS * 50, 0, None, True),
    ],
)
def test_progress_is_given_up_when_its_retry_would_come_too_late(
    age_ms: int, attempts: int, asked: float | None, expired: bool
) -> None:
    """An hour after it was made, whether the schedule or the endpoint's own wish makes it so late."""
    for event_type in ("index.task.indexing", "index.task.updated", "index.task.odd"):
        delivery = a_delivery(type=event_type, attempts=attempts)
        outcome = an_answer(503, retry_after_seconds=asked)
        decision = decide(delivery, outcome, POLICY, now=START + age_ms, jitter=0)
        assert (decision.reason is DeadReason.EXPIRED) is expired
        assert (decision.state is DeliveryState.DEAD) is expired


@pytest.mark.parametrize("event_type", ["index.task.ready", "index.task.failed", "index.task.gone"])
def test_the_end_of_a_task_never_expires(event_type: str) -> None:
    """It gets the whole schedule, however old."""
    delivery = a_delivery(type=event_type, attempts=8)
    decision = decide(delivery, an_answer(500), POLICY, now=START + 1_000 * HOUR_MS, jitter=0)
    assert decision.state is DeliveryState.PENDING


@pytest.mark.parametrize(
    ("status", "body", "state"),
    [
        ("ready", None, DeliveryState.PENDING),
        ("failed", None, DeliveryState.PENDING),
        ("indexing", None, DeliveryState.DEAD),
        ("odd", None, DeliveryState.DEAD),
        (None, None, DeliveryState.DEAD),
        ("", b"{", DeliveryState.DEAD),
        ("", b"[]", DeliveryState.DEAD),
        ("", b'{"data":[]}', DeliveryState.DEAD),
        ("", b'{"data":{"status":["ready"]}}', DeliveryState.DEAD),
        ("", b"\xff", DeliveryState.DEAD),
    ],
)
def test_an_update_after_the_end_never_expires(status: str | None, body: bytes | None, state: DeliveryState) -> None:
    """No later event makes up for it: the finished HLS stream of a `ready` task is told once."""
    whole = body or json.dumps({"type": "index.task.updated", "data": {"status": status}}).encode()
    delivery = a_delivery(type="index.task.updated", attempts=8, body=whole)
    decision = decide(delivery, an_answer(500), POLICY, now=START + 1_000 * HOUR_MS, jitter=0)
    assert decision.state is state


@pytest.mark.parametrize(
    ("asked", "pause"),
    [(None, 0), (0, 0), (0.5, 500), (3, 3_000), (120, 120_000), (86_400, DAY_MS), (86_401, DAY_MS), (10**30, DAY_MS),
     (inf, DAY_MS), (-5, 0), (-inf, 0), (nan, 0)],
)  # fmt: skip
def test_retry_after_rests_the_endpoint_and_never_hastens(asked: float | None, pause: int) -> None:
    """At most a day; the retry is the later of the two."""
    decision = decide(a_delivery(), an_answer(503, retry_after_seconds=asked), POLICY, now=START, jitter=0)
    assert decision.pause_ms == pause
    assert decision.retry_in_ms == max(5_000, pause)


@pytest.mark.parametrize("delivery", [a_delivery(attempts=9), a_delivery(type="index.task.indexing", attempts=5)])
def test_retry_after_rests_the_endpoint_also_when_this_delivery_is_dead(delivery: Delivery) -> None:
    """The others have to wait all the same."""
    decision = decide(delivery, an_answer(503, retry_after_seconds=60), POLICY, now=START, jitter=0)
    assert (decision.state, decision.pause_ms) == (DeliveryState.DEAD, 60_000)


OUTCOMES = st.builds(
    Outcome,
    status_code=st.none() | st.integers(100, 599),
    fault=st.none() | st.sampled_from(list(Fault)),
    retry_after_seconds=st.none() | st.floats(),
)
DELIVERIES = st.builds(
    lambda event_type, attempts: a_delivery(type=event_type, attempts=attempts),
    st.sampled_from(["index.task.ready", "index.task.indexing", "index.task.updated", "bridge.endpoint.failing"]),
    st.integers(0, 12),
)


@given(DELIVERIES, OUTCOMES, st.integers(-DAY_MS, 10 * DAY_MS), JITTER)
def test_a_decision_is_whole(delivery: Delivery, outcome: Outcome, age: int, jitter: float) -> None:
    """Pending has its wait, dead its reason, and no other; nothing is negative; nothing raises."""
    decision = decide(delivery, outcome, POLICY, now=START + age, jitter=jitter)
    assert (decision.retry_in_ms is not None) is (decision.state is DeliveryState.PENDING)
    assert (decision.reason is not None) is (decision.state is DeliveryState.DEAD)
    assert 0 <= decision.pause_ms <= DAY_MS
    if decision.retry_in_ms is not None:
        assert decision.pause_ms <= decision.retry_in_ms <= DAY_MS * 1.2
    succeeded = outcome.status_code is not None and 200 <= outcome.status_code < 300
    assert (decision.state is DeliveryState.DELIVERED) is succeeded
    assert (decision.effect is EndpointEffect.SUCCESS) is succeeded


@given(st.sampled_from(list(Fault)), JITTER, st.floats(0, 0.5))
def test_waits_stay_near_the_schedule_and_grow(fault: Fault, jitter: float, share: float) -> None:
    """Within the policy's share, both ways; with the same jitter each wait is longer than the one before."""
    policy = RetryPolicy(jitter=share)
    waits = []
    for attempts, seconds in enumerate(policy.schedule_seconds[1:]):
        wait = decide(a_delivery(attempts=attempts), Outcome(fault=fault), policy, now=START, jitter=jitter).retry_in_ms
        assert wait is not None
        assert seconds * 1000 * (1 - share) - 1 <= wait <= seconds * 1000 * (1 + share)
        waits.append(wait)
    assert all(before < after for before, after in pairwise(waits))


@pytest.mark.parametrize("made_before", [1, 10, 25])
def test_a_schedule_started_anew_counts_its_own_attempts(made_before: int) -> None:
    """The attempts before it, however many, take nothing from it."""
    waits = []
    for attempts in range(made_before, made_before + len(POLICY.schedule_seconds) - 1):
        delivery = a_delivery(attempts=attempts, round_from=made_before, round_at=START)
        waits.append(decide(delivery, an_answer(500), POLICY, now=START, jitter=0).retry_in_ms)
    assert waits == [int(seconds * 1000) for seconds in POLICY.schedule_seconds[1:]]
    last = a_delivery(attempts=made_before + len(POLICY.schedule_seconds) - 1, round_from=made_before, round_at=START)
    assert decide(last, an_answer(500), POLICY, now=START, jitter=0).reason is DeadReason.EXHAUSTED


def test_progress_expires_an_hour_after_its_schedule_started_anew() -> None:
    """Not an hour after it was made: that is long past when an operator asks for it again."""
    old = a_delivery(
        type="index.task.indexing", attempts=1, created_at=START - 30 * DAY_MS, round_from=1, round_at=START
    )
    assert decide(old, an_answer(500), POLICY, now=START, jitter=0).retry_in_ms == 5_000
    late = decide(old, an_answer(500), POLICY, now=START + HOUR_MS, jitter=0)
    assert late.reason is DeadReason.EXPIRED


# -- reads --


@given(st.floats(0.2, 86_400), JITTER)
def test_reads_keep_their_interval(interval: float, jitter: float) -> None:
    """Within 5 %, but for the second one: that comes somewhere in the last half of the first interval."""
    assert abs(poll_in_ms(interval, first=False, jitter=jitter) - interval * 1000) <= interval * 50 + 1
    assert interval * 500 - 1 <= poll_in_ms(interval, first=True, jitter=jitter) <= interval * 1000


@pytest.mark.parametrize(
    ("faults", "seconds"),
    [(0, 5), (1, 5), (2, 5), (3, 10), (4, 20), (5, 40), (6, 60), (7, 60), (10_000, 60)],
)
def test_faults_back_off_from_the_third_in_a_row(faults: int, seconds: int) -> None:
    """Twice at the interval, then twice as long each time, up to a minute."""
    assert fault_in_ms(5, faults, jitter=0) == seconds * 1000
    spread = 0.2 if faults > FAULTS_BEFORE_BACKOFF else 0.05
    assert fault_in_ms(5, faults, jitter=1) == pytest.approx(seconds * 1000 * (1 + spread), abs=1)
    assert fault_in_ms(5, faults, jitter=-1) == pytest.approx(seconds * 1000 * (1 - spread), abs=1)


@pytest.mark.parametrize("interval", [50, 60, 250, 300, 600, 86_400])
def test_backing_off_never_comes_sooner_than_the_interval(interval: float) -> None:
    """Where the interval itself is about a minute or longer, a third fault must not hasten the next read."""
    for faults in range(1, 20):
        assert fault_in_ms(interval, faults, jitter=-1) >= poll_in_ms(interval, first=False, jitter=-1)


@given(st.floats(0.2, 86_400), JITTER)
def test_each_fault_in_a_row_waits_at_least_as_long_as_the_one_before(interval: float, jitter: float) -> None:
    """And never longer than the ceiling and its spread."""
    waits = [fault_in_ms(interval, faults, jitter=jitter) for faults in range(40)]
    assert all(before <= after for before, after in pairwise(waits))
    assert waits[0] > 0
    assert waits[-1] <= max(BACKOFF_SECONDS, interval) * 1_200


# -- Retry-After --


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("007", 7),
        ("999999999", 999_999_999),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0),
        ("Fri, 15 Jan 2027 08:01:30 GMT", 90),
        ("Friday, 15-Jan-27 08:01:30 GMT", 90),
        ("Fri Jan 15 08:01:30 2027", 90),
        ("Fri, 15 Jan 2027 17:01:30 +0900", 90),
        ("Fri, 31 Dec 9999 23:59:59 GMT", (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - NOW).total_seconds()),
        ("Mon, 01 Jan 0100 00:00:00 GMT", 0),
    ],
)
def test_retry_after_is_read_in_all_its_forms(text: str, seconds: float) -> None:
    """Seconds, or one of HTTP's three dates, into seconds from now and never below 0."""
    assert parse_retry_after(text, now=NOW) == seconds


@pytest.mark.parametrize(
    "text",
    [None, "", " ", "-1", "+5", "1.5", "1e3", "0x10", "1_000", "5 s", "soon", "nan", "inf", "9" * 10, "9" * 10_000,
     "١٢", "²", "1\n2", "\x00", "2027-01-15T08:01:30Z", "Fri, 32 Jan 2027 08:01:30 GMT",
     "Fri, 15 Foo 2027 08:01:30 GMT", "Fri, 15 Jan 2027 25:01:30 GMT", "Fri, 15 Jan 2027 08:01:30 +99999999999999",
     "Fri, 15 Jan 99999 08:01:30 GMT",
     ",", ":", "()", "\ud800"],
)  # fmt: skip
def test_what_is_no_retry_after_says_nothing(text: str | None) -> None:
    """Neither a wait of 0 nor one for ever."""
    assert parse_retry_after(text, now=NOW) is None


PIECES = st.sampled_from(
    ["Fri", "Friday", ",", "15", "Jan", "Feb", "15-Jan-27", "2027", "99999", "08:01:30", "60:60:60", "8:1", "::", "GMT",
     "EST", "+0900", "-0000", "+99999999999", "-1", "(", ")", "\\", '"', "<", "@", ".", "\x00", "٣", " ", ""]
)  # fmt: skip


@given(
    st.text(st.characters()) | st.lists(PIECES, max_size=9).map(" ".join) | st.lists(PIECES, max_size=9).map("".join)
)
def test_no_header_makes_the_reader_raise(text: str) -> None:
    """It comes from outside: seconds from now on, or nothing."""
    parsed = parse_retry_after(text, now=NOW)
    assert parsed is None or 0 <= parsed < inf
