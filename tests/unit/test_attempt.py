"""What is remembered of an attempt: what helps, within its bounds, and no secret."""

import json
from typing import Any

import pytest
from factories import a_delivery
from hypothesis import given
from hypothesis import strategies as st

from bridge.attempt import (
    ANSWER_BYTES,
    ANSWER_HEADERS,
    REQUEST_BYTES,
    answer_head,
    attempt_record,
    because,
    keeps_heads,
    redirect,
    request_head,
)
from bridge.guard import Policy
from bridge.model import DeadReason, Decision, DeliveryState, EndpointEffect, Fault, Outcome, Timing
from bridge.redaction import Confidant
from bridge.signature import generate_secret
from bridge.waiting import redirected_to

SECRET = generate_secret(bytes(range(200, 232)))
OWN = {"X-Team": "C4N4RY-team", "authorization": "Bearer C4N4RY-token"}
URL = "https://example.com/hook?key=C4N4RY-query"
CONFIDANT = Confidant(URL, OWN, [SECRET])
SENT = [
    ("content-type", "application/json"), *OWN.items(), ("webhook-id", "evt_1"), ("webhook-timestamp", "1800000000"),
    ("webhook-signature", "v1,C4N4RY"), ("TL-Signature", "t=1,v1=C4N4RY"), ("traceparent", "00-1-2-01"),
    ("bridge-attempt", "2"), ("bridge-trigger", "schedule"),
]  # fmt: skip
NAMES = st.text("abcdefgh-_0123456789", min_size=1, max_size=60) | st.sampled_from(["server", "date", "location"])
VALUES = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=300) | st.sampled_from(
    [URL, SECRET, "C4N4RY-token", f"{URL}, {SECRET}", "https://u:pass-w0rd@h/x?t=1"]
)


def test_a_request_is_kept_without_what_proves_who_sent_it() -> None:
    """Signatures and the endpoint's own headers by name alone; what the record says elsewhere is not repeated."""
    assert request_head("https://example.com/hook?…", SENT, OWN).split("\n") == [
        "POST https://example.com/hook?...", "content-type: application/json", "x-team: ***", "authorization: ***",
        "webhook-timestamp: 1800000000", "webhook-signature: ***", "tl-signature: ***", "traceparent: 00-1-2-01",
    ]  # fmt: skip


def test_an_answer_is_kept_by_what_it_says_about_itself() -> None:
    """The telling headers first, whatever comes before them; none that is for browsers, and no cookie."""
    given = [(f"x-noise-{number}", "1") for number in range(ANSWER_HEADERS)]
    given += [("set-cookie", "session=1"), ("vary", "*"), ("server", "nginx"), ("retry-after", "120"), ("server", "2")]
    lines = answer_head(given, CONFIDANT).split("\n")
    assert lines[:4] == ["server: nginx", "retry-after: 120", "server: 2", "x-noise-0: 1"]
    assert len(lines) == ANSWER_HEADERS
    assert "session" not in "".join(lines)
    assert (
        answer_head([("location", "https://u:pass-w0rd@h/login?token=1")], CONFIDANT)
        == "location: https://...@h/login?..."
    )


@given(st.lists(st.tuples(NAMES, VALUES), max_size=300))
def test_an_answer_is_bounded_and_tells_no_secret(headers: list[tuple[str, str]]) -> None:
    """Whatever it holds: so many bytes, printable, a line a header, none of what this endpoint is told."""
    head = answer_head(headers, CONFIDANT)
    assert len(head.encode()) <= ANSWER_BYTES
    assert len(json.dumps(head)) <= 2 * ANSWER_BYTES + 2
    assert all(line.isascii() and line.isprintable() for line in head.split("\n"))
    assert len(head.split("\n")) <= ANSWER_HEADERS
    assert not any(mark in head for mark in ("C4N4RY", SECRET[6:], SECRET[:12], "pass-w0rd"))
    assert all(line.partition(": ")[0] in dict(headers) for line in head.split("\n") if line)


@pytest.mark.parametrize("name", ["x-auth-token", "x-session-id", "x-api-key", "authentication-info", "x-signature"])
def test_a_secret_of_the_receivers_own_is_hidden(name: str) -> None:
    """By its name: a session, a token; what asks for a password tells much, and is none."""
    given = [(name, "theirs"), ("www-authenticate", 'Basic realm="hooks"')]
    assert answer_head(given, CONFIDANT).split("\n") == ['www-authenticate: Basic realm="hooks"', f"{name}: ***"]


@pytest.mark.parametrize("name", ["x-c4n4ry-token", "c4n4ry-query"])
def test_a_name_that_repeats_a_secret_is_left_out(name: str) -> None:
    """In small letters, as names come; what tells most stays."""
    assert answer_head([(name, "1"), ("server", "nginx"), ("x-other", "2")], CONFIDANT) == "server: nginx"


@given(st.text(max_size=3_000), st.lists(st.tuples(NAMES, VALUES), max_size=30))
def test_a_request_is_bounded(url: str, headers: list[tuple[str, str]]) -> None:
    """A URL may be long, and so may ten headers."""
    head = request_head(url, headers, {})
    assert len(head.encode()) <= REQUEST_BYTES
    assert head.startswith("POST ")


@pytest.mark.parametrize(
    ("attempts", "status", "kept"),
    [(0, 204, False), (0, 500, True), (0, 302, True), (0, None, True), (1, 204, True), (1, None, True)],
)
def test_what_went_well_at_once_stays_cheap(attempts: int, status: int | None, kept: bool) -> None:
    """There are most of those, and nobody asks about them."""
    assert keeps_heads(a_delivery(attempts=attempts), status) is kept


def record(outcome: Outcome, decision: Decision, **fields: Any) -> dict[str, Any]:
    """What is stored of an attempt."""
    found: dict[str, Any] = json.loads(attempt_record(a_delivery(**fields), outcome, decision, at=7))
    return found


def test_a_record_says_what_followed_and_why() -> None:
    """What did not happen is not there; times are tenths of a millisecond."""
    done = Decision(DeliveryState.DELIVERED, EndpointEffect.SUCCESS)
    assert record(Outcome(status_code=204, timing=Timing(wait_ms=1.26, total_ms=0.0)), done) == {
        "attempt": 1, "at": 7, "trigger": "schedule", "status_code": 204, "wait_ms": 1.3, "total_ms": 0.0,
        "next": "delivered",
    }  # fmt: skip
    asked = Decision(DeliveryState.PENDING, EndpointEffect.OVERLOAD, retry_in_ms=120_000, pause_ms=120_000)
    found = record(Outcome(status_code=429, request="POST x", answer="server: y", excerpt="z"), asked, attempts=1)
    assert (found["attempt"], found["pause_ms"], found["effect"]) == (2, 120_000, "overload")
    assert (found["request"], found["answer"], found["excerpt"]) == ("POST x", "server: y", "z")
    dead = Decision(DeliveryState.DEAD, EndpointEffect.BLOCKED, reason=DeadReason.BLOCKED)
    found = record(Outcome(fault=Fault.BLOCKED, detail="private"), dead)
    assert (found["fault"], found["detail"], found["reason"], found["effect"]) == (
        "blocked",
        "private",
        *["blocked"] * 2,
    )


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"next": "delivered"}, ""),
        ({"next": "pending", "retry_in_ms": 5_000}, "as scheduled"),
        ({"retry_in_ms": 5_000, "pause_ms": 1_000}, "as scheduled"),
        ({"retry_in_ms": 9_500, "pause_ms": 9_500, "effect": "overload"},
         "its Retry-After asks for 9.5 s; it gets fewer at a time"),
        ({"next": "dead", "reason": "exhausted", "effect": "blocked"},
         "its schedule has no further attempt; policy forbids its address"),
        ({"next": "dead", "reason": "gone", "effect": "disable-gone"},
         "410 says that nobody wants it there any more; its endpoint is disabled"),
        ({"retry_in_ms": "x", "pause_ms": [], "reason": {}, "effect": None}, ""),
    ],
)  # fmt: skip
def test_why_something_followed_is_said(record: dict[str, Any], why: str) -> None:
    """From what was recorded, also by hand."""
    assert because(record) == why


@pytest.mark.parametrize(
    ("location", "told", "place"),
    [
        ("https://example.com/new", "redirects to https://example.com/new", "https://example.com/new"),
        ("/new", "redirects to https://example.com/new", "https://example.com/new"),
        ("//other.com/", "redirects to https://other.com/, another host", ""),
        ("http://example.com/x", "redirects to http://example.com/x, which policy forbids", ""),
        ("https://169.254.169.254/x", "redirects to https://169.254.169.254/x, which policy forbids", ""),
        ("https://example.com/new?a=b", "redirects to https://example.com/new?…", ""),
        ("https://u:p@example.com/", "redirects to https://…@example.com/, which policy forbids", ""),
        ("https://example.com/C4N4RY-token", "", ""),
        ("https://example.com/\x1b[2J", "", ""),
        ("https://example.com/" + "a" * 200, "", ""),
        ("javascript:alert(1)", "", ""),
        ("http://[", "", ""),
        ("", "", ""),
    ],
)  # fmt: skip
def test_where_a_redirect_leads_is_told_as_far_as_it_may_be(location: str, told: str, place: str) -> None:
    """A place of which something is hidden is shown, and is none that could be pasted."""
    assert redirect(URL, location, CONFIDANT, Policy()) == told
    assert redirected_to(f"HTTP 302, {told}") == place


@given(VALUES)
def test_no_redirect_tells_a_secret(location: str) -> None:
    """Whatever a receiver writes there."""
    told = redirect(URL, location, CONFIDANT, Policy())
    assert told.isprintable()
    assert len(told) < 220
    assert not any(one in told for one in ("C4N4RY", SECRET, "pass-w0rd"))
