"""What a receiver's answer to the question for its consent means, by the letter of CloudEvents' HTTP WebHook."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.consent import LATE_MS, LONGEST_MS, REFUSED_MS, Consent, Word, consent_from, consenting, granted_rate

ORIGIN = "bridge.example.com"


def answered(
    status: int = 200, origin: str | None = ORIGIN, rate: str | None = "*", retry_after: float | None = None
) -> Consent:
    """What this answer means."""
    return consent_from(status, origin, rate, ORIGIN, retry_after)


@pytest.mark.parametrize("origin", [ORIGIN, "*", "Bridge.Example.COM", f" {ORIGIN} "])
@pytest.mark.parametrize(("rate", "per_minute"), [("*", None), (None, None), ("120", 120), (" 1 ", 1)])
def test_the_same_origin_or_a_star_is_consent(origin: str, rate: str | None, per_minute: int | None) -> None:
    """With a number of requests a minute, or without a bound."""
    for status in (200, 204):
        assert answered(status, origin, rate) == Consent(Word.GRANTED, status_code=status, per_minute=per_minute)


@pytest.mark.parametrize("status", [200, 204, 301, 307, 400, 401, 403, 404, 405, 410, 501])
def test_no_status_is_consent(status: int) -> None:
    """Many servers answer any OPTIONS. Why not is said in words that name the header."""
    found = answered(status, None, None)
    assert found.word is Word.REFUSED
    assert json.loads(found.failure())["detail"] == f"OPTIONS was answered HTTP {status} without WebHook-Allowed-Origin"


@pytest.mark.parametrize("status", [301, 400, 403, 405, 501])
def test_a_refusal_with_the_header_is_a_refusal(status: int) -> None:
    """Whoever adds the header to every answer, also to its errors, has not consented."""
    assert answered(status).word is Word.REFUSED


@pytest.mark.parametrize("origin", ["other.example.com", "", f"{ORIGIN}, *", "example.com", "**", "secret-of-theirs"])
def test_another_origin_is_a_refusal(origin: str) -> None:
    """There is one value, and it is not repeated: they wrote it."""
    found = answered(origin=origin)
    assert (found.word, ORIGIN in found.detail) == (Word.REFUSED, True)
    assert not origin or origin == "example.com" or origin not in found.detail.replace(ORIGIN, "")


@pytest.mark.parametrize("rate", ["0", "-1", "1.5", "ten", "1e3", "1" * 10, "60/m", "٣"])
def test_a_rate_that_is_none_is_no_consent(rate: str) -> None:
    """What they allow is not known, so nothing is sent."""
    assert answered(rate=rate).word is Word.REFUSED


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_trouble_is_no_refusal(status: int) -> None:
    """It is asked again soon, whatever headers came with it."""
    for origin in (None, ORIGIN):
        found = answered(status, origin)
        assert (found.word, found.status_code) == (Word.UNANSWERED, status)


def test_who_gives_no_answer_is_asked_less_and_less_often() -> None:
    """After 5 s, twice as long each time, up to a quarter of an hour; who refused, each hour."""
    found = answered(503)
    assert [found.again_ms(tries) // 1_000 for tries in range(10)] == [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]
    assert found.again_ms(1_000_000) == LATE_MS
    assert answered(405, None).again_ms(7) == REFUSED_MS


def test_retry_after_is_obeyed_up_to_a_day() -> None:
    """It makes a wait longer, never shorter."""
    waits = [answered(429, retry_after=seconds).again_ms(0) for seconds in (0, 1, 60, 10_000_000)]
    assert waits == [5_000, 5_000, 60_000, LONGEST_MS]


@given(st.integers(1, 100_000))
def test_a_granted_rate_holds_in_any_minute(per_minute: int) -> None:
    """What may go at once, and as many intervals as begin in what is left: together never more."""
    rate = granted_rate(per_minute)
    later = (60_000 - 1e-6) // rate.interval_ms
    assert rate.burst + later <= per_minute
    assert rate.burst + later >= per_minute - 1


def test_another_url_is_another_receiver() -> None:
    """And what stands for it in Redis repeats none of it."""
    assert consenting("https://example.com/a") == consenting("https://example.com/a")
    assert consenting("https://example.com/a") != consenting("https://example.com/b")
    assert "example" not in consenting("https://example.com/a")
