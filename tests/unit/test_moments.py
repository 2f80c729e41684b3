"""Moments as they are written and read again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import InvalidInput
from bridge.formats import rfc3339
from bridge.orders.moments import moment_from


@given(st.integers(0, 253_402_300_799_999))
def test_a_moment_is_read_to_the_millisecond(at: int) -> None:
    """What goes on from a moment that was told skips nothing, and meets nothing twice."""
    assert moment_from(rfc3339(at), 0) == at


@pytest.mark.parametrize("text", ["2", "90", "1763925001", "²"])
def test_a_moment_is_no_bare_number(text: str) -> None:
    """Two what? Two seconds are hardly meant, and Unix seconds would be fifty years ago."""
    with pytest.raises(InvalidInput) as caught:
        moment_from(text, 1_800_000_000_000)
    assert (f"“{text}” has no unit" in str(caught.value), "2h" in caught.value.fix) == (True, True)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_moment_that_cannot_be_written_again_is_refused(text: str) -> None:
    """The answer says where to go on by one; found out after the work, it would be lost."""
    with pytest.raises(InvalidInput, match="years 1 to 9999"):
        moment_from(text, 0)
