"""Moments as they are written and read again."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.formats import rfc3339
from bridge.orders.moments import moment_from


@given(st.integers(0, 253_402_300_799_999))
def test_a_moment_is_read_to_the_millisecond(at: int) -> None:
    """What goes on from a moment that was told skips nothing, and meets nothing twice."""
    assert moment_from(rfc3339(at), 0) == at
