"""How an endpoint that keeps failing is probed."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bridge.breaker import PROBE_MAX_SECONDS, PROBE_SECONDS, PROBE_SPREAD, probe_in_ms

JITTER = st.floats(-1, 1)


def test_probes_come_at_growing_intervals() -> None:
    """Doubled from failure to failure, up to the longest."""
    intervals = [probe_in_ms(failed, jitter=0) for failed in range(40)]
    assert intervals[:4] == [30_000, 60_000, 120_000, 240_000]
    assert all(a <= b for a, b in pairwise(intervals))
    assert set(intervals[4:]) == {PROBE_MAX_SECONDS * 1000}


@given(failed=st.integers(0, 10**9), jitter=JITTER)
def test_no_interval_leaves_its_bounds(failed: int, jitter: float) -> None:
    """However often a probe failed, and whatever the jitter."""
    least, most = PROBE_SECONDS * (1 - PROBE_SPREAD), PROBE_MAX_SECONDS * (1 + PROBE_SPREAD)
    assert int(least * 1000) <= probe_in_ms(failed, jitter=jitter) <= most * 1000
