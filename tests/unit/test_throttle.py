"""How a rate is read, and which answers ask for less."""

import pytest
from factories import an_answer
from hypothesis import given
from hypothesis import strategies as st

from bridge.model import Fault, Outcome
from bridge.throttle import TOO_MUCH, Rate, asks_for_less, parse_rate, per_minute


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("1/s", Rate(1_000, 1)),
        ("10/s", Rate(100, 10)),
        ("600/m", Rate(100, 10)),
        ("90/m", Rate(60_000 / 90, 1)),
        ("1/m", Rate(60_000, 1)),
        ("99999/s", Rate(1_000 / 99_999, 99_999)),
    ],
)
def test_a_rate_is_an_interval_and_a_second_s_worth(text: str, rate: Rate) -> None:
    """At least one attempt at once."""
    assert parse_rate(text) == rate
    interval, burst = rate.as_text().split()
    assert (float(interval), int(burst)) == (rate.interval_ms, rate.burst)


@pytest.mark.parametrize(("text", "number"), [("1/s", 60), ("10/s", 600), ("90/m", 90), ("99999/s", 5_999_940)])
def test_a_rate_is_so_many_a_minute(text: str, number: int) -> None:
    """As a receiver is asked for it."""
    assert per_minute(text) == number


@pytest.mark.parametrize("text", ["", "10", "/s", "0/s", "01/s", "100000/s", "1/h", "1 /s", "1/s\n", "١/s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    """With an example of one."""
    with pytest.raises(ValueError, match="10/s"):
        parse_rate(text)


@given(st.integers(1, 99_999), st.sampled_from("sm"))
def test_a_bucket_holds_at_most_a_second_s_worth(number: int, unit: str) -> None:
    """Whatever the rate: its burst takes a second to come back, or is one."""
    rate = parse_rate(f"{number}/{unit}")
    assert rate.burst == 1 or 0.5 * 1_000 < rate.burst * rate.interval_ms <= 1_000.001


def test_what_asks_for_less() -> None:
    """What Standard Webhooks names, and silence; no other answer and no other fault."""
    codes = {code for code in range(100, 600) if asks_for_less(an_answer(code))}
    assert codes == TOO_MUCH == {429, 502, 503, 504}
    assert [fault for fault in Fault if asks_for_less(Outcome(fault=fault))] == [Fault.TIMEOUT]
