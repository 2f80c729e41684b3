"""A refused value as it may be shown: what helps, and no secret."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import CANARY

from bridge.rejection import VALUE_HEAD, redacted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("plain words, what?", "plain words, what?"),
        (f"whsec_{CANARY}", "whsec_…"),
        (f"a whsec_{CANARY}=, b", "a whsec_…, b"),
        ("https://example.com/hook", "https://example.com/hook"),
        ("https://example.com:8443/@team/hook", "https://example.com:8443/@team/hook"),
        ("https://example.com/hook?a=b#c", "https://example.com/hook?…"),
        ("https://example.com/hook#c", "https://example.com/hook#…"),
        ("https://u:p@example.com/hook", "https://…@example.com/hook"),
        ("https://u@example.com", "https://…@example.com"),
        ("https://u:p@q@example.com/hook?x=1", "https://…@example.com/hook?…"),
        ("https://u:p?q@example.com", "https://…"),
        ("u:p@example.com/hook", "…@example.com/hook"),
        ('{"url": "https://u:p@example.com/"}', '{"url": "https://…@example.com/"}'),
        ("a#b", "a#b"),
        ("\ud800", "\\ud800"),
    ],
)
def test_a_shown_value_keeps_what_helps_and_hides_what_is_secret(text: str, shown: str) -> None:
    """Host and path stay; signing secrets, user info, query and fragment go."""
    assert redacted(text) == shown


@given(st.text(st.characters()) | st.from_regex(r"\A(https?:)?//[a-z:/?#@.\[\]]{0,30}\Z"))
def test_a_shown_value_is_short_and_can_be_written(text: str) -> None:
    """By its head, lone surrogates spelt out."""
    shown = redacted(text)
    assert len(shown) <= VALUE_HEAD
    shown.encode()


@pytest.mark.parametrize("text", ["a" * 2_000_000, "/" * 2_000_000, "@" * 2_000_000, "?" * 2_000_000, "//a?" * 500_000])
def test_a_long_value_is_redacted_in_reasonable_time(text: str) -> None:
    """No pattern goes back over it again and again (the suite's own time limit tells)."""
    assert len(redacted(text)) <= VALUE_HEAD
