"""How fast an endpoint is attempted: the rate that its owner asks for, and which answers ask for less. Pure.

The counters are in Redis: `claim_deliveries.lua` spends the rate, `settle.lua` lowers and raises how many attempts an
endpoint has in flight.
"""

import re
from dataclasses import dataclass

from bridge.model import Fault, Outcome

TOO_MUCH = frozenset({429, 502, 503, 504})
"""Answers that ask for less, after Standard Webhooks; so does none in time."""

RATE = r"[1-9][0-9]{0,4}/[sm]"
"""So many attempts a second or a minute, as `10/s` or `300/m`."""
_RATE = re.compile(RATE, re.ASCII)
_UNIT_MS = {"s": 1_000, "m": 60_000}


@dataclass(frozen=True, slots=True)
class Rate:
    """A bucket that holds `burst` attempts and gets another one every `interval_ms`."""

    interval_ms: float
    burst: int
    """A second's worth, at least one: what may go out at once after a silence."""

    def as_text(self) -> str:
        """As it stands in the endpoint's hash."""
        return f"{self.interval_ms!r} {self.burst}"


def parse_rate(text: str) -> Rate:
    """Read a rate. Raises ValueError."""
    if not _RATE.fullmatch(text):
        raise ValueError("write attempts a second or a minute, 1 to 99999, as 10/s or 300/m")
    number, unit = int(text[:-2]), text[-1]
    return Rate(_UNIT_MS[unit] / number, max(1, number * 1_000 // _UNIT_MS[unit]))


def per_minute(text: str) -> int:
    """A rate as so many attempts a minute. Raises ValueError."""
    parse_rate(text)
    return int(text[:-2]) * (60 if text.endswith("s") else 1)


def asks_for_less(outcome: Outcome) -> bool:
    """Whether an endpoint had more on its hands than it could take."""
    return outcome.status_code in TOO_MUCH or outcome.fault is Fault.TIMEOUT
