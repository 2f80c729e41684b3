"""When an endpoint that keeps failing is left alone, how it is probed, and when it is warned of. Pure.

The counters are in Redis, so `settle.lua` compares them with these numbers; jitter is an argument.
"""

FAILURES_BEFORE_OPEN = 10
"""The breaker of an endpoint opens after so many failed attempts in a row, …"""
OPEN_AFTER_MS = 60_000
"""… if the first of them is at least so long ago: a restart of the receiver is over sooner."""

PROBE_SECONDS = 30.0
"""While it is open, one delivery at a time is attempted: the first after so long, each one after twice that …"""
PROBE_MAX_SECONDS = 300.0
"""… up to this, which is also about how long a receiver that is back waits for what it is owed."""
PROBE_SPREAD = 0.2
"""Each interval is varied by up to this share, both ways."""


WARNED_AT_PERCENT = (50, 70, 90)
"""So much of the failure window is over when an endpoint is warned of that failed all the time; at its end the endpoint
is disabled."""


def probe_in_ms(failed: int, *, jitter: float) -> int:
    """When to probe after `failed` probes came to nothing; `jitter` uniform in [-1, 1]."""
    interval = min(PROBE_SECONDS * 2.0 ** min(failed, 32), PROBE_MAX_SECONDS)
    return int(interval * 1000 * (1 + PROBE_SPREAD * jitter))
